#!/usr/bin/env python3
"""Servers of an upstream that die, flap and are slow, with real nginx and memcached: what a client
gets; a hash that stays the same; and a limit of concurrent requests under twice the load."""
# alone: it compares times under load
# release: it compares times
import re
import signal
import socket
import threading
import time

import rig

CLIENTS = 16    # so that both workers have some
PORT_ONLY = 'location / { default_type text/plain; return 200 "$server_port"; }'
CONFIG = """
upstreams:
  three:
    servers: [127.0.0.1:{a}, 127.0.0.1:{b}, 127.0.0.1:{c}]
    connect_timeout: 2s
    response_timeout: 2s
    eject_failures: 3
    eject_time: 500ms
  hashed:
    servers: [127.0.0.1:{a}, 127.0.0.1:{b}, 127.0.0.1:{c}]
    balance: hash
    hash: "${{cookie.user}}"
    eject_failures: 1
    eject_time: 60s
  narrow:
    servers: [127.0.0.1:{slow}]
    requests: 8
    queue: 8
    queue_timeout: 2s
  cached:
    protocol: memcached
    servers: [127.0.0.1:{d}, 127.0.0.1:{e}, 127.0.0.1:{f}]
    timeout: 1500ms
routes:
  - {{ prefix: /cached/, memcached: {{ upstream: cached, key: "${{path.rest}}" }} }}
  - {{ prefix: /three, proxy: {{ upstream: three }} }}
  - {{ prefix: /hashed, proxy: {{ upstream: hashed }} }}
  - {{ prefix: /narrow, proxy: {{ upstream: narrow, path: / }} }}
"""
SERVICE_S = 0.05


def read_answer(s):
    """Reads a response with a Content-Length, with little work."""
    text = b""
    while True:
        piece = s.recv(65536)
        rig.check(piece, lambda: f"ended after {text!r}")
        text += piece
        head, found, body = text.partition(b"\r\n\r\n")
        if found and len(body) >= int(re.search(rb"(?i)\r\nContent-Length: *(\d+)", head)[1]):
            return text


class Load:
    """Clients that send one request after the other until they are stopped."""

    def __init__(self, port, path, clients=CLIENTS, pause_s=0.0):
        self.port, self.path, self.pause_s = port, path, pause_s
        self.lock, self.over = threading.Lock(), False
        self.took, self.statuses, self.unasked_for = [], {}, 0
        self.turns = [0] * clients
        self.threads = [threading.Thread(target=self.ask_on, args=(i,)) for i in range(clients)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.over = True
        for t in self.threads:
            t.join()

    def ask_on(self, who):
        request = f"GET {self.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", self.port), rig.PATIENCE_S) as s:
            while not self.over:
                began = time.monotonic()
                s.sendall(request)
                answer = read_answer(s)
                took = time.monotonic() - began
                status = int(answer[9:12])
                with self.lock:
                    self.statuses[status] = self.statuses.get(status, 0) + 1
                    self.turns[who] += 1
                    if status == 200:
                        self.took.append(took)
                    elif status == 503 and b"\r\nRetry-After: " not in answer:
                        self.unasked_for += 1
                if status == 503:
                    time.sleep(self.pause_s)

    def forget(self):
        """Resets the counters."""
        with self.lock:
            self.took, self.statuses = [], {}

    def come_round(self):
        """Waits until the requests in flight now are answered."""
        before = list(self.turns)
        rig.until(lambda: all(map(int.__lt__, before, self.turns)), "each client's next response")

    def failed(self):
        return sum(n for status, n in self.statuses.items() if status != 200)

    def p99_ms(self):
        took = sorted(self.took)
        return 1000 * took[len(took) * 99 // 100] if took else 0.0

    def show(self, what):
        print(f"{rig.ENGINE} {what}: {sum(self.statuses.values())} requests, statuses "
              f"{self.statuses}, p99 {self.p99_ms():.1f} ms", flush=True)


def lasting(load, seconds):
    load.come_round()
    load.forget()
    time.sleep(seconds)


def state(proxy, server, name, upstream="three"):
    """For how many workers this server is in that state."""
    text = rig.get(proxy.admin, "/metrics").body.decode()
    found = re.findall(rf'fairlead_server_state{{[^}}]*upstream="{upstream}",server="127.0.0.1:'
                       rf'{server}"[^}}]*state="{name}"}} (\d)', text)
    rig.check(found, f"no state of {server} in /metrics")
    return sum(int(n) for n in found)


def dead(proxy, load, nginx, port):
    """Requests in flight may be lost; none after that."""
    load.forget()
    nginx.signal(signal.SIGKILL)
    nginx.process.wait()
    load.come_round()
    load.show("one of three dies")
    rig.check(load.failed() <= CLIENTS, "more errors than there were requests in flight")
    lasting(load, 1)
    load.show("one of three servers is dead")
    rig.check(load.failed() == 0, "errors from a dead server")
    rig.until(lambda: state(proxy, port, "ejected") == 2, "both workers to eject it")
    rig.until(lambda: proxy.said(f"server 127.0.0.1:{port} is ejected for"), "a line in the log")


def back(proxy, port):
    nginx = rig.nginx(port, PORT_ONLY)
    rig.until(lambda: state(proxy, port, "up") == 2, "both workers to ask it again")
    return nginx


def flapping(proxy, load, nginx, port):
    """Each time the server dies, at most its requests in flight fail."""
    load.forget()
    for _ in range(4):
        nginx.signal(signal.SIGKILL)
        nginx.process.wait()
        time.sleep(0.3)
        nginx = rig.nginx(port, PORT_ONLY)
        time.sleep(0.3)
    load.show("one of three flaps, 4 times")
    rig.check(load.failed() <= 4 * CLIENTS, "more errors than there were requests in flight")
    rig.until(lambda: state(proxy, port, "up") == 2, "both workers to ask it again")
    lasting(load, 0.5)
    rig.check(load.failed() == 0, "errors when all are there")
    return nginx


def ejected_by(proxy, port, since):
    """The workers that have ejected it: each tries it again at its own time."""
    return set(re.findall(rf"server 127\.0\.0\.1:{port} is ejected for .*, worker (\d+)",
                          proxy.log()[since:]))


def slow(proxy, load, nginx, port):
    """The server accepts connections and does not answer. Three requests of each worker notice it,
    and one of each whenever it is tried again."""
    load.forget()
    before = len(proxy.log())
    nginx.signal(signal.SIGSTOP)
    rig.until(lambda: ejected_by(proxy, port, before) == {"0", "1"}, "both workers to eject it")
    load.show("one of three stands still, until it is ejected")
    rig.check(set(load.statuses) <= {200, 504}, f"{load.statuses}")
    lasting(load, 2)
    load.show("one of three stands still, ejected")
    rig.check(load.failed() <= 2 * CLIENTS, "more than the few that try it")
    nginx.signal(signal.SIGCONT)
    rig.until(lambda: state(proxy, port, "up") == 2, "both workers to ask it again")


def whom(proxy, user):
    answer = rig.get(proxy.port, "/hashed", f"Cookie: user={user}\r\n")
    rig.check(answer.status == 200, f"{user}: {answer.status}")
    return answer.body


def hashed(proxy, nginx, port):
    """Users stay on their server; when one dies, only its users move."""
    users = [f"u{i}" for i in range(60)]
    before = {u: whom(proxy, u) for u in users}
    rig.check(all(whom(proxy, u) == before[u] for u in users), "a user has moved")
    share = {p: list(before.values()).count(p) for p in set(before.values())}
    print(f"{rig.ENGINE} 60 users are spread {sorted(share.values())}")
    rig.check(len(share) == 3, "a server has no users")
    nginx.signal(signal.SIGKILL)
    nginx.process.wait()
    after = {u: whom(proxy, u) for u in users}
    moved = {u for u in users if after[u] != before[u]}
    rig.check(moved == {u for u in users if before[u] == str(port).encode()},
              f"others have moved: {moved}")


def store(port, keys):
    with socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S) as s:
        for key in keys:
            s.sendall(f"set {key} 0 0 {len(str(port))}\r\n{port}\r\n".encode())
            rig.check(s.recv(64) == b"STORED\r\n", "memcached does not store")


def ask_all(proxy, keys):
    """{key: (status, body)}, and the longest time in ms."""
    answers, longest_ms = {}, 0.0
    for key in keys:
        began = time.monotonic()
        answer = rig.get(proxy.port, f"/cached/{key}")
        longest_ms = max(longest_ms, 1000 * (time.monotonic() - began))
        answers[key] = (answer.status, answer.body)
    return answers, longest_ms


def cached(proxy, caches):
    """Keys of a dead memcached are misses, those of a stopped one time out; the others stay on
    their server and are as fast as before."""
    keys = [f"k{i}" for i in range(60)]
    for port in caches:
        store(port, keys)
    before, _ = ask_all(proxy, keys)
    of = {port: [k for k in keys if before[k] == (200, str(port).encode())] for port in caches}
    rig.check(all(of.values()) and sum(map(len, of.values())) == 60, f"{before}")
    dead_port, still_port, well_port = caches
    caches[dead_port].signal(signal.SIGKILL)
    caches[dead_port].process.wait()
    rig.until(lambda: all(a[0] == 404 for a in ask_all(proxy, of[dead_port])[0].values()),
              "misses")
    rig.until(lambda: state(proxy, dead_port, "ejected", "cached") >= 1, "its state")
    rig.until(lambda: proxy.said(f"server 127.0.0.1:{dead_port} cannot be connected"), "a line")
    caches[still_port].signal(signal.SIGSTOP)
    late, _ = ask_all(proxy, of[still_port][:3])
    rig.check({a[0] for a in late.values()} == {504}, f"{late}")

    def of_the_well():
        well, longest_ms = ask_all(proxy, of[well_port])
        rig.check(well == {k: before[k] for k in of[well_port]}, "others suffer")
        return longest_ms

    longest_ms = rig.becomes(of_the_well, lambda ms: ms < 200, "others wait for it")
    print(f"{rig.ENGINE} one memcached is dead and one stands still: keys of the third take "
          f"{longest_ms:.1f} ms at most")
    caches[still_port].signal(signal.SIGCONT)
    rig.memcached(dead_port)
    store(dead_port, keys)
    rig.until(lambda: ask_all(proxy, keys)[0] == before, "all to be as it was")
    rig.until(lambda: state(proxy, dead_port, "ejected", "cached") == 0, "its state")


def twice_the_load(proxy):
    """Twice as many clients as the limit and the queue: admitted requests do not notice. The limits
    of times are generous here; measure by hand."""
    rig.becomes(lambda: loaded_twice(proxy), lambda r: min(r[1]) > 0.5 * 4 * 8 / SERVICE_S and
                r[0][1] < 2 * r[0][0], "twice the load, and those admitted wait much longer", 4)


def loaded_twice(proxy):
    """p99 and number of the admitted requests, for each load."""
    p99, served = [], []
    for clients in (32, 64):
        with Load(proxy.port, "/narrow", clients, pause_s=0.1) as load:
            time.sleep(0.5)
            lasting(load, 4)
            p99.append(load.p99_ms())
            served.append(load.statuses.get(200, 0))
            load.show(f"{clients} clients, 8 requests at once")
            in_flight = proxy.metrics()["server_in_flight"]
        rig.check(set(load.statuses) == {200, 503}, f"{load.statuses}")
        rig.check(load.unasked_for == 0, "503 without Retry-After")
        rig.check(in_flight <= 8 + 3 * CLIENTS, f"{in_flight} in flight")
    print(f"{rig.ENGINE} p99 of the admitted: {p99[0]:.1f} ms, at twice the load "
          f"{p99[1]:.1f} ms ({p99[1] / p99[0] - 1:+.1%})")
    return p99, served


def main():
    a, b, c, d, e, f, slow_port = rig.free_ports(7)
    nginxes = {port: rig.nginx(port, PORT_ONLY) for port in (a, b, c)}
    rig.lab(f"{int(SERVICE_S * 1000)}ms", slow_port)
    caches = {port: rig.memcached(port) for port in (d, e, f)}
    proxy = rig.Fairlead(CONFIG.format(a=a, b=b, c=c, d=d, e=e, f=f, slow=slow_port))
    with Load(proxy.port, "/three") as load:
        lasting(load, 0.5)
        load.show("all servers are up")
        rig.check(load.failed() == 0, "errors with all servers up")
        dead(proxy, load, nginxes[a], a)
        nginxes[a] = back(proxy, a)
        nginxes[b] = flapping(proxy, load, nginxes[b], b)
        slow(proxy, load, nginxes[c], c)
    hashed(proxy, nginxes[b], b)
    cached(proxy, caches)
    twice_the_load(proxy)
    rig.check(proxy.alive() and proxy.log().count("ready") == 1, "the proxy has died")


rig.main(main)
