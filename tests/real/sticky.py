#!/usr/bin/env python3
"""Clients that stay at their server (`sticky`), or at their part of a split, by cookies that fairlead
sets: on both workers, over a reload, and when the server dies; with real nginx."""
import os
import re
import signal

import rig

PORT_ONLY = 'location / { default_type text/plain; return 200 "$server_port"; }'
CLIENTS = 12
CONFIG = """
upstreams:
  app:
    servers: [127.0.0.1:{a}, 127.0.0.1:{b}]
    sticky: {{ cookie: srv, path: /, same_site: strict }}
  canary: {{ servers: [127.0.0.1:{c}] }}
routes:
  - {{ prefix: /split, proxy: {{ split: [{{ upstream: app, weight: {weight} }}, {{ upstream: canary, weight: 20 }}], split_cookie: side }} }}
  - {{ prefix: /user/, proxy: {{ split: [{{ upstream: app, weight: 80 }}, {{ upstream: canary, weight: 20 }}], split_by: "${{path.rest}}" }} }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""


class Client:
    """A browser: it sends the cookies that it was given."""

    def __init__(self, fairlead):
        self.fairlead, self.cookies = fairlead, {}

    def get(self, path):
        """The port of the server, and the names of the cookies that were set."""
        sent = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        answer = rig.get(self.fairlead.port, path, f"Cookie: {sent}\r\n" if sent else "")
        rig.check(answer.status == 200, lambda: answer.head)
        given = re.findall(r"(?im)^set-cookie: (\w+)=([0-9a-f]+); Path=/; HttpOnly; "
                           r"SameSite=(?:Lax|Strict)\r?$", answer.head + "\r\n")
        rig.check(len(given) == answer.head.lower().count("set-cookie"), lambda: answer.head)
        self.cookies.update(given)
        return int(answer.body), [name for name, _ in given]


def stays(clients, homes):
    for client, home in zip(clients, homes):
        for _ in range(4):
            got = client.get("/")
            rig.check(got == (home, []), lambda: f"{got} instead of {home}")


def sticky(fairlead, a, b):
    clients = [Client(fairlead) for _ in range(CLIENTS)]
    homes = []
    for client in clients:
        port, given = client.get("/")
        rig.check(given == ["srv"], lambda: f"{given}")
        rig.check(str(port) not in client.cookies["srv"], lambda: f"{client.cookies}")
        homes.append(port)
    rig.check(set(homes) == {a, b}, lambda: f"{homes}")
    stays(clients, homes)
    return clients, homes


def splits(fairlead, c):
    clients = [Client(fairlead) for _ in range(60)]
    sides = []
    for client in clients:
        port, given = client.get("/split")
        rig.check("side" in given, lambda: f"{given}")
        sides.append(port == c)
    rig.check(2 <= sum(sides) <= 25, lambda: f"{sum(sides)} of 60 went to the canary")
    for client, side in zip(clients, sides):
        port, given = client.get("/split")
        rig.check((port == c) == side and "side" not in given, lambda: f"{port} {given}")
    for i in range(20):
        first = Client(fairlead).get(f"/user/{i}")[0] == c
        rig.check((Client(fairlead).get(f"/user/{i}")[0] == c) == first, f"user {i} moved")
    return clients, sides


def example(a, b, c):
    """examples/canary.yaml, with these ports."""
    with open(os.path.join(rig.ROOT, "examples/canary.yaml")) as f:
        text = re.sub(r"(?m)^listen:.*\n", "", f.read())
    for port, own in ((3001, a), (3002, b), (3003, c)):
        # Whole numbers: a port of ours may begin like one of the file.
        text = re.sub(rf"127\.0\.0\.1:{port}\b", f"127.0.0.1:{own}", text)
    fairlead = rig.Fairlead(text)
    clients = [Client(fairlead) for _ in range(60)]
    ports = [client.get("/")[0] for client in clients]
    rig.check(ports.count(c) < 15 and {a, b} <= set(ports), lambda: f"{ports}")
    for client, port in zip(clients, ports):
        rig.check(client.get("/") == (port, []), lambda: f"a client has left {port}")
    clients[0].cookies["version"] = "canary"
    rig.check(clients[0].get("/")[0] == c, "a tester does not get the canary")


def test():
    a, b, c = rig.free_ports(3)
    origins = [rig.nginx(port, PORT_ONLY) for port in (a, b, c)]
    example(a, b, c)
    fairlead = rig.Fairlead(CONFIG.format(a=a, b=b, c=c, weight=80))
    clients, homes = sticky(fairlead, a, b)
    browsers, sides = splits(fairlead, c)
    # A reload with more for the canary, and a further server: nobody leaves home.
    (d,) = rig.free_ports(1)
    origins.append(rig.nginx(d, PORT_ONLY))
    text = CONFIG.format(a=a, b=b, c=c, weight=20).replace(f"127.0.0.1:{b}]",
                                                           f"127.0.0.1:{b}, 127.0.0.1:{d}]")
    with open(fairlead.path) as f:
        head = "".join(f.readlines()[:2])
    with open(fairlead.path, "w") as f:
        f.write(head + text)
    fairlead.signal(signal.SIGHUP)
    rig.until(lambda: fairlead.said("fairlead: reloaded"), "reloaded")
    stays(clients, homes)
    for client, side in zip(browsers, sides):
        port, _ = client.get("/split")
        rig.check(port == c or not side, "a client has left the canary")
    # A server dies: its clients get another one and its cookie, the others notice nothing.
    origins[1].stop()
    for client, home in zip(clients, homes):
        port, given = client.get("/")
        if home == b:
            rig.check(port != b and given == ["srv"], lambda: f"{port} {given}")
        else:
            rig.check((port, given) == (home, []), lambda: f"{port} {given}")
    stays(clients, [client.get("/")[0] for client in clients])


rig.main(test)
