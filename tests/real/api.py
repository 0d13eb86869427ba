#!/usr/bin/env python3
"""The rest of the admin API: weights and servers taken down at run time, on each worker, over a
reload; memcached servers; the configuration in force, without secrets; connections: who, where, how
long, in bounded slices; one is closed, and its id never names another one; who may ask for what."""
import os
import re
import signal
import socket
import subprocess
import threading
import time

import drain
import rig
import tlsrig

CONFIG = """
trusted_proxies: [127.0.0.1]
access_log: {{ path: {tmp}/access.log, format: json }}
upstreams:
  app: {{ servers: [ {{ address: 127.0.0.1:{one}, name: one, weight: 3 }}, {{ address: 127.0.0.1:{two}, name: two }} ] }}
  hashed:
    balance: hash
    hash: "${{path}}"
    servers: [ 127.0.0.1:{one}, 127.0.0.1:{two} ]
    sticky: off
  single: {{ servers: [127.0.0.1:{one}] }}
  cache: {{ protocol: memcached, servers: [127.0.0.1:{cache}] }}
routes:
  - {{ prefix: /cache/, memcached: {{ upstream: cache, key: "${{path.rest}}" }} }}
  - {{ prefix: /hashed/, rewrite: {{ strip: /hashed }}, proxy: {{ upstream: hashed }} }}
  - {{ path: /status/204, proxy: {{ upstream: single }} }}
  - prefix: /secret/
    request_fields: {{ set: {{ X-Key: "${{env.FAIRLEAD_TEST_SECRET}}" }} }}
    proxy: {{ upstream: single }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""
SECRET = "do-not-tell-4711"


def api(proxy, method, path, status=200, fields=""):
    answer = drain.api(proxy.admin, method, path, fields)
    rig.check(answer.status == status, lambda: f"{method} {path}: {answer.head} {answer.body}")
    answer.text = answer.body.decode()
    return answer.json if answer.field("Content-Type") == "application/json" else answer


def order(proxy, upstream, server, query, status=200):
    return api(proxy, "PUT", f"/api/upstreams/{upstream}/servers/{server}?{query}", status)


def server_of(proxy, upstream, server):
    found, = api(proxy, "GET", f"/api/upstreams/{upstream}/servers/{server}")["servers"]
    return found


def weights(proxy):
    by_worker = re.findall(r'fairlead_server_weight\{worker="\d",upstream="app",server="(\w+)".*\} (\d+)',
                           rig.get(proxy.admin, "/metrics?by=worker").body.decode())
    return sorted(by_worker)


def weight(proxy, one, two):
    """Of 80 requests on two workers, each of which begins its turns anew."""
    rig.until(lambda: weights(proxy) == [("one", "3")] * 2 + [("two", "1")] * 2, "the configured weights")
    rig.check(drain.shares(proxy, "app", "/bytes/10", 80)["one"] in range(56, 65), "3 to 1")
    rig.check(order(proxy, "app", "two", "weight=9") == {"servers": 1, "weight": 9}, "9")
    rig.until(lambda: weights(proxy) == [("one", "3")] * 2 + [("two", "9")] * 2, "each worker")
    rig.check(drain.shares(proxy, "app", "/bytes/10", 80)["two"] in range(56, 65), "3 to 9")
    found = server_of(proxy, "app", "two")
    rig.check((found["weight"], found["weight_is_set"]) == (9, True), f"{found}")
    # A reload keeps it; one that changes the weight in the file does not.
    reload(proxy)
    rig.check(weights(proxy) == [("one", "3")] * 2 + [("two", "9")] * 2, "over a reload")
    with open(proxy.path) as f:
        text = f.read()
    with open(proxy.path, "w") as f:
        f.write(text.replace("name: two }", "name: two, weight: 2 }"))
    reload(proxy)
    rig.until(lambda: weights(proxy) == [("one", "3")] * 2 + [("two", "2")] * 2, "that of the file")
    with open(proxy.path, "w") as f:
        f.write(text)
    reload(proxy)
    rig.check(order(proxy, "app", "two", "weight=configured&state=up")["weight"] == "configured", "")
    rig.until(lambda: weights(proxy) == [("one", "3")] * 2 + [("two", "1")] * 2, "the configured one")
    hashed(proxy, one, two)


def hashed(proxy, one, two):
    """The keys of a ring move with the weights, and come back."""
    def where():
        before = {s: proxy.samples("server_requests_total", upstream="hashed", server=s) for s in names}
        for i in range(100):
            rig.check(rig.get(proxy.port, f"/hashed/bytes/{i}").status == 200, "hashed")
        return [proxy.samples("server_requests_total", upstream="hashed", server=s) - before[s] for s in names]
    names = f"127.0.0.1:{one}", f"127.0.0.1:{two}"
    first = where()
    rig.check(min(first) > 20, f"{first}")
    order(proxy, "hashed", names[1], "weight=9")
    rig.until(lambda: proxy.samples("server_weight", upstream="hashed", server=names[1]) == 9, "the weight")
    moved = rig.becomes(where, lambda n: n[1] > 75, "most keys move")
    order(proxy, "hashed", names[1], "weight=configured")
    rig.becomes(where, lambda n: n == first, f"all keys come back from {moved}")


def down(proxy):
    """A server that is down gets nothing, not even as the last one."""
    order(proxy, "app", "one", "state=down")
    rig.until(lambda: proxy.samples("server_state", server="one", state="down") == 2, "each worker")
    rig.check(drain.shares(proxy, "app", "/bytes/10", 40) == {"one": 0, "two": 40}, "down")
    order(proxy, "app", "two", "state=drain")
    rig.until(lambda: proxy.samples("server_state", server="two", state="down") == 2, "each worker")
    rig.check(drain.shares(proxy, "app", "/bytes/10", 40) == {"one": 0, "two": 40}, "a drained one is the last resort")
    order(proxy, "app", "two", "state=down")
    rig.until(lambda: rig.get(proxy.port, "/bytes/10").status == 503, "no server")
    for _ in range(20):
        answer = rig.get(proxy.port, "/bytes/10")
        rig.check(answer.status == 503 and "destination_unavailable" in answer.field("Proxy-Status"), answer.head)
    reload(proxy)
    rig.check(rig.get(proxy.port, "/bytes/10").status == 503, "after a reload")
    states = {s["server"]: s["state"] for s in api(proxy, "GET", "/api/upstreams/app")["servers"]}
    rig.check(states == {"one": "down", "two": "down"}, f"{states}")
    rig.check({s["state"] for s in api(proxy, "GET", "/api/status")["drained_servers"]} == {"down"}, "status")
    order(proxy, "single", server_names(proxy, "single")[0], "state=down")
    rig.until(lambda: rig.get(proxy.port, "/status/204").status == 503, "an upstream of one server")
    for upstream, name in ("app", "one"), ("app", "two"), ("single", server_names(proxy, "single")[0]):
        order(proxy, upstream, name, "state=up")
    rig.until(lambda: proxy.samples("server_state", state="up", upstream="app") == 4, "both are up")
    rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "up again")
    rig.until(lambda: rig.get(proxy.port, "/status/204").status == 204, "one server")


def server_names(proxy, upstream):
    return [s["server"] for s in api(proxy, "GET", f"/api/upstreams/{upstream}")["servers"]]


def cache(proxy):
    """Keys of a drained memcached server are misses; its weight is not changed."""
    name, = server_names(proxy, "cache")
    with begin(int(name.rsplit(":", 1)[1]), "set bytes/5 0 0 5\r\nhello\r\n") as s:
        rig.check(s.recv(100) == b"STORED\r\n", "set")
    rig.check(rig.get(proxy.port, "/cache/bytes/5").status == 200, "a hit")
    for state in "drain", "down":
        order(proxy, "cache", name, f"state={state}")
        rig.until(lambda: proxy.samples("server_state", upstream="cache", state="down") == 2, "each worker")
        before = proxy.samples("upstream_requests_total", upstream="cache")
        for _ in range(10):
            rig.check(rig.get(proxy.port, "/cache/bytes/5").status == 404, "a miss")
        rig.check(proxy.samples("server_requests_total", upstream="cache") >= 0, before)
        reload(proxy)
        rig.check(rig.get(proxy.port, "/cache/bytes/5").status == 404, "after a reload")
        order(proxy, "cache", name, "state=up")
        rig.until(lambda: proxy.samples("server_state", upstream="cache", state="up") == 2, "each worker")
        rig.until(lambda: rig.get(proxy.port, "/cache/bytes/5").status == 200, "a hit again")
    rig.check("file" in order(proxy, "cache", name, "weight=2", 409)["error"], "409")


def reload(proxy):
    n = proxy.log().count("fairlead: reloaded")
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.log().count("fairlead: reloaded") > n, "a reload")


def configuration(proxy):
    """What --print writes of the same file."""
    answer = api(proxy, "GET", "/api/configuration")
    rig.check(answer.field("Content-Type") == "application/yaml", answer.head)
    printed = subprocess.run([rig.FAIRLEAD, "check", "--print", proxy.path], capture_output=True, text=True,
                             env={**os.environ, "FAIRLEAD_TEST_SECRET": SECRET}, check=True).stdout
    rig.check(answer.text == printed, lambda: f"{answer.text}\n{printed}")
    rig.check(SECRET not in answer.text and "${env.FAIRLEAD_TEST_SECRET}" in answer.text, "a secret")
    for _ in range(20):
        rig.check(api(proxy, "GET", "/api/configuration").text == printed, "again")


# --- connections ------------------------------------------------------------------

def listed(proxy, query=""):
    found = api(proxy, "GET", f"/api/connections{query}")
    rig.check(found["listed"] == len(found["connections"]), f"{found}")
    return found["connections"]


def begin(port, text):
    s = socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S)
    s.sendall(text.encode())
    return s


def one_of(proxy, s, query=""):
    port = s.getsockname()[1]
    return next((c for c in listed(proxy, query or "?limit=1000") if c["port"] == port), None)


def phases(proxy):
    """Who is where: in each state that a client can bring about."""
    began = time.monotonic()
    fresh = begin(proxy.port, "")
    idle = begin(proxy.port, "GET /bytes/10 HTTP/1.1\r\nHost: a\r\n\r\n")
    rig.check(idle.recv(4096), "a response")
    head = begin(proxy.port, "GET /half HTTP/1.1\r\nHo")
    waits = begin(proxy.port, "GET /delay/60000?x HTTP/1.1\r\nHost: shop.example\r\n"
                              "X-Forwarded-For: 192.0.2.77\r\n\r\n")
    reads = begin(proxy.port, "GET /bytes/80000000 HTTP/1.1\r\nHost: a\r\n\r\n")
    for s, state in (fresh, "new"), (idle, "idle"), (head, "head"), (waits, "waiting"), (reads, "responding"):
        rig.until(lambda: (one_of(proxy, s) or {}).get("state") == state, state)
    found = one_of(proxy, waits)
    rig.check((found["client"], found["peer"], found["requests"]) == ("192.0.2.77", "127.0.0.1", 1), f"{found}")
    rig.check((found["request"], found["host"], found["route"], found["upstream"]) ==
              ("GET /delay/60000?x HTTP/1.1", "shop.example", "/*", "app"), f"{found}")
    rig.check(found["server"] in ("one", "two"), f"{found}")
    rig.check(0 <= found["for_ms"] <= 1000 * (time.monotonic() - began) + 50, f"{found}")
    rig.check(found["received_bytes"] > 60 and found["sent_bytes"] == 0, f"{found}")
    rig.check(one_of(proxy, idle)["sent_bytes"] > 10, "bytes")
    ports = {s.getsockname()[1]: s for s in (fresh, idle, head, waits, reads)}

    def named(query):
        return {c["port"] for c in listed(proxy, query)} & set(ports)
    rig.check(named("?client=192.0.2.0/24") == {waits.getsockname()[1]}, "client=")
    rig.check(named("?client=127.0.0.1") == set(ports), "client=, its connection")
    rig.check(named("?client=2001:db8::/32") == set(), "client=, another")
    rig.check(named("?upstream=app") == {s.getsockname()[1] for s in (waits, reads)}, "upstream=")
    rig.check(named("?upstream=single") == set(), "upstream=, another")
    rig.check(named("?older=1h") == set() and named("?older=0") == set(ports), "older=")
    rig.until(lambda: named("?older=1500ms") == set(ports), "older= after a while")
    found = api(proxy, "GET", "/api/connections?limit=2")
    rig.check((found["listed"], found["truncated"]) == (2, True), f"{found}")
    found = api(proxy, "GET", "/api/connections?limit=5&older=1")
    rig.check(found["truncated"] is (found["listed"] == 5 and len(listed(proxy, "?older=1")) > 5), f"{found}")
    return list(ports.values())


def kill(proxy, held):
    """In each state; once."""
    ids = [one_of(proxy, s)["id"] for s in held]
    waits = held[3]
    closed = api(proxy, "DELETE", "/api/connections/" + one_of(proxy, waits)["id"])["closed"]
    rig.check((closed["client"], closed["upstream"]) == ("192.0.2.77", "app"), f"{closed}")
    rig.check(reset(waits), "the client sees it")
    rig.until(lambda: '"ending":"the operator closed the connection"' in access_log(), "its line")
    rig.check(proxy.said("client 192.0.2.77 is closed, by the admin API from 127.0.0.1"), "a message")
    rig.until(lambda: proxy.samples("server_in_flight", upstream="app") == 1, "its server is free")
    for s in held:
        if s is not waits:
            api(proxy, "DELETE", "/api/connections/" + one_of(proxy, s)["id"])
            rig.check(reset(s), "closed")
    for gone in ids:
        api(proxy, "DELETE", "/api/connections/" + gone, 404)
    # The descriptors are used again, by others.
    again = [begin(proxy.port, "") for _ in range(40)]
    rig.until(lambda: len(listed(proxy, "?limit=1000")) >= 40, "others")
    taken = {c["id"].split("-")[1] for c in listed(proxy, "?limit=1000")}
    rig.check(taken & {i.split("-")[1] for i in ids}, "no descriptor is used again: nothing is shown")
    for gone in ids:
        api(proxy, "DELETE", "/api/connections/" + gone, 404)
    rig.check(len(listed(proxy, "?limit=1000")) == 40, "another one was closed")
    for s in again:
        s.close()


def access_log():
    with open(os.path.join(rig.TMP, "access.log")) as f:
        return f.read()


def reset(s):
    try:
        while s.recv(1 << 20):
            pass
        return True
    except ConnectionResetError:
        return True


def many(proxy):
    """More than a slice, while they come and go; the listing is complete, and requests go on."""
    held = [begin(proxy.port, "") for _ in range(1500)]
    ports = {s.getsockname()[1] for s in held}
    rig.until(lambda: len(listed(proxy, "?limit=5000")) >= 1500, "all of them")
    stopped = threading.Event()
    failed = []

    def churn():
        while not stopped.is_set():
            try:
                if rig.get(proxy.port, "/bytes/10").status != 200:
                    failed.append("status")
            except OSError as error:
                failed.append(error)
    others = [threading.Thread(target=churn) for _ in range(2)]
    for t in others:
        t.start()
    for _ in range(10):
        found = listed(proxy, "?limit=5000")
        seen = [c["port"] for c in found]
        rig.check(ports <= set(seen), lambda: f"{len(ports - set(seen))} of {len(ports)} are missing")
        rig.check(len({c["id"] for c in found}) == len(found), "one is listed twice")
    rig.check(len({c["worker"] for c in found}) == 2, "of all workers")
    left(proxy)
    stopped.set()
    for t in others:
        t.join()
    rig.check(not failed, lambda: f"{failed}")
    last = next(c for c in found if c["port"] == held[-1].getsockname()[1])
    api(proxy, "DELETE", "/api/connections/" + last["id"])
    rig.check(reset(held[-1]), "the last one")
    for s in held:
        s.close()


def left(proxy):
    """Clients that leave in the middle of a listing: none is left over, also as many as may be."""
    for _ in range(30):
        s = begin(proxy.admin, "GET /api/connections?limit=5000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        s.recv(100)
        s.close()
    rig.until(lambda: listed_or_busy(proxy), "a listing")
    deaf = [begin(proxy.admin, "GET /api/connections?limit=5000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            for _ in range(12)]
    rig.check(rig.get(proxy.admin, "/healthz").status == 200, "healthz")
    for s in deaf:
        s.close()
    rig.until(lambda: listed_or_busy(proxy), "a listing")


def listed_or_busy(proxy):
    return drain.api(proxy.admin, "GET", "/api/connections").status == 200


def secured(made, one):
    proxy = rig.Fairlead(f"upstreams: {{ app: {{ servers: [127.0.0.1:{one}] }} }}\n"
                         "routes: [ { prefix: /, proxy: { upstream: app } } ]\n", tls=made.tls())
    with tlsrig.Socket(proxy.port, tlsrig.context(made)) as s:
        s.sendall(b"GET /delay/60000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        rig.until(lambda: [c for c in listed(proxy) if c["state"] == "waiting"], "a request")
        found, = listed(proxy)
        rig.check((found["tls"], found["sni"]) == ("TLSv1.3", "localhost"), f"{found}")
        rig.check(found["request"] == "GET", "without an access log")
        api(proxy, "DELETE", "/api/connections/" + found["id"])
        rig.until(lambda: proxy.samples("connections") == 0, "its end")
    silent = begin(proxy.port, "")
    rig.until(lambda: [c["state"] for c in listed(proxy)] == ["handshake"], "a handshake")
    api(proxy, "DELETE", "/api/connections/" + listed(proxy)[0]["id"])
    rig.check(reset(silent), "closed")
    # It ends while listings are asked for.
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            try:
                drain.api(proxy.admin, "GET", "/api/connections")
            except (OSError, ValueError, AssertionError):    # cut off by the end
                pass
    asks = threading.Thread(target=ask)
    asks.start()
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended() == 0, "its end")
    stop.set()
    asks.join()


def log_level(proxy):
    """At run time, of the supervisor and the worker process; a line of each level or above."""
    rig.check(api(proxy, "GET", "/api/log") == {"level": "info"}, "at the start")
    rig.check(api(proxy, "PUT", "/api/log?level=warning") == {"level": "warning"}, "warning")
    rig.check(proxy.said("the level of the error log is warning"), "the change itself")
    before = proxy.log()
    order(proxy, "app", "one", "weight=5")
    proxy.signal(signal.SIGUSR1)    # the supervisor's line
    order(proxy, "app", "one", "weight=configured")
    rig.until(lambda: proxy.samples("server_weight", server="one") == 3, "the weight")
    time.sleep(1)
    rig.check(proxy.log() == before, lambda: proxy.log()[len(before):])
    api(proxy, "PUT", "/api/log?level=info")
    rig.until(lambda: proxy.said("the level of the error log is info"), "the change itself")
    api(proxy, "PUT", "/api/log?level=error")
    rig.check(api(proxy, "PUT", "/api/log?level=configured") == {"level": "info"}, "as in the file")
    api(proxy, "PUT", "/api/log?level=error")
    reload(proxy)
    rig.check(api(proxy, "GET", "/api/log") == {"level": "info"}, "after a reload")


# --- who may, and what is malformed -------------------------------------------------

def refused(proxy):
    for method, path, status in (
            ("GET", "/api/connections?limit=0", 400), ("GET", "/api/connections?limit=1000001", 400),
            ("GET", "/api/connections?limit=", 400), ("GET", "/api/connections?limit=1x", 400),
            ("GET", "/api/connections?client=host", 400), ("GET", "/api/connections?client=10.0.0.0/33", 400),
            ("GET", "/api/connections?older=1y", 400), ("GET", "/api/connections?what=1", 400),
            ("GET", "/api/connections?upstream=nothing", 404), ("POST", "/api/connections", 405),
            ("GET", "/api/connections/0-1-1", 405), ("DELETE", "/api/connections", 405),
            ("DELETE", "/api/connections/0-1-1", 404), ("DELETE", "/api/connections/99-1-1", 404),
            ("DELETE", "/api/connections/1", 400), ("DELETE", "/api/connections/0-1-1x", 400),
            ("DELETE", "/api/connections/0--1-1", 400), ("DELETE", "/api/connections/", 400),
            ("PUT", "/api/log?level=loud", 400), ("PUT", "/api/log", 400), ("DELETE", "/api/log", 405),
            ("PUT", "/api/log?level=info&x=y", 400), ("PUT", "/api/configuration", 405), ("GET", "/api/upstreams/nothing", 404),
            ("GET", "/api/upstreams/app/servers/three", 404),
            ("PUT", "/api/upstreams/app/servers/one?weight=0", 400),
            ("PUT", "/api/upstreams/app/servers/one?weight=1001", 400),
            ("PUT", "/api/upstreams/app/servers/one?weight=-1", 400),
            ("PUT", "/api/upstreams/app/servers/one?state=up&color=red", 400),
            ("PUT", "/api/upstreams/app/servers/one", 400), ("GET", "/api/x", 404)):
        rig.check("error" in api(proxy, method, path, status), path)
    for method, path in (("GET", "/api/connections"), ("GET", "/api/configuration"),
                         ("DELETE", "/api/connections/0-1-1"), ("PUT", "/api/upstreams/app/servers/one?state=up")):
        for field in "Via: 1.1 a", "Forwarded: for=a", "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1":
            api(proxy, method, path, 403, field + "\r\n")
        for host, status in (("evil.example", 403), ("evil.example:80", 403), ("localhost:9180", None),
                             ("[::1]:9180", None), ("127.0.0.1", None)):
            with socket.create_connection(("127.0.0.1", proxy.admin)) as s:
                s.sendall(f"{method} {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
                got = int(s.recv(4096).split()[1])
                rig.check(got == status if status else got in (200, 404), f"{method} {path} {host}: {got}")
    for method, path in (("DELETE", "/api/connections/0-1-1"), ("PUT", "/api/upstreams/app/servers/one?state=up"),
                         ("PUT", "/api/log?level=info")):
        api(proxy, method, path, 403, "Origin: http://127.0.0.1\r\n")
    for path in "/api/connections", "/api/configuration", "/api/upstreams":
        answer = drain.api(proxy.admin, "HEAD", path)
        rig.check(answer.status == 200 and not answer.body, answer.head)


def test():
    rig.descriptors()
    one, two, memcached = rig.free_ports(3)
    for port in one, two:
        rig.lab("0ms", port, memcached if port == one else None)
    os.environ["FAIRLEAD_TEST_SECRET"] = SECRET
    proxy = rig.Fairlead(CONFIG.format(one=one, two=two, cache=memcached, tmp=rig.TMP))
    weight(proxy, one, two)
    down(proxy)
    cache(proxy)
    configuration(proxy)
    kill(proxy, phases(proxy))
    many(proxy)
    log_level(proxy)
    refused(proxy)
    proxy.stop()
    secured(tlsrig.Pki(), one)
    print(f"{rig.ENGINE}: all pass")


if __name__ == "__main__":
    rig.main(test)
