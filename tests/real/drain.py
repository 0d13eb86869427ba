#!/usr/bin/env python3
"""The admin API: a drained server gets no new request on any worker, completes what it has, stays
drained over a reload, and is used again on demand; its status is told; who may not change anything is
refused."""
import json
import signal
import socket
import threading
import urllib.parse

import rig

CONFIG = """
upstreams:
  app:
    servers: [ {{ address: 127.0.0.1:{one}, name: one }}, {{ address: 127.0.0.1:{two}, name: "two/a" }} ]
    health_check: {{ path: /status/200, interval: 200ms }}
  plain: {{ servers: [127.0.0.1:{one}, 127.0.0.1:{two}] }}
  cache: {{ protocol: memcached, servers: [127.0.0.1:{one}] }}
routes:
  - {{ prefix: /cache/, memcached: {{ upstream: cache, key: "${{path.rest}}" }} }}
  - {{ path: /bytes/11, proxy: {{ upstream: plain }} }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""


def api(port, method, path, fields="", host="127.0.0.1"):
    with socket.create_connection((host, port), rig.PATIENCE_S) as s:
        s.sendall(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n"
                  f"Connection: close\r\n{fields}\r\n".encode())
        text = b""
        while piece := s.recv(65536):
            text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    if b"\r\ntransfer-encoding: chunked" in head.lower() and method != "HEAD":
        body = rig.whole_of(body, path)
    answer = rig.Answer(head, body)
    if method != "HEAD" and answer.field("Content-Type") == "application/json":
        answer.json = json.loads(body)
    return answer


def put(proxy, upstream, server, state, wanted=200, **options):
    server = urllib.parse.quote(server, safe="")
    answer = api(proxy.admin, "PUT", f"/api/upstreams/{upstream}/servers/{server}?state={state}",
                 **options)
    rig.check(answer.status == wanted, lambda: f"{upstream} {server} {state}: {answer.head} {answer.body}")
    rig.check((wanted == 200) == ("error" not in answer.json), answer.json)
    return answer.json


def shares(proxy, upstream, path, n=60):
    """Requests that each server of the upstream gets of n, on new connections: of all workers."""
    def counts():
        return {s: proxy.samples("server_requests_total", upstream=upstream, server=s) for s in names}
    names = set()
    for line in rig.get(proxy.admin, "/metrics").body.decode().splitlines():
        if line.startswith(f'fairlead_server_requests_total{{upstream="{upstream}"'):
            names.add(line.split('server="')[1].split('"')[0])
    before = counts()
    for _ in range(n):
        rig.check(rig.get(proxy.port, path).status == 200, "a request")
    return {name: after - before[name] for name, after in counts().items()}


def drained(proxy):
    return {(it["upstream"], it["server"]) for it in
            api(proxy.admin, "GET", "/api/status").json["drained_servers"]}


def drains(proxy):
    slow = rig.Answer(b"HTTP/1.1 0 x", b"")

    def ask():
        slow.status = rig.get(proxy.port, "/delay/1500").status
    requests = [threading.Thread(target=ask) for _ in range(4)]
    for r in requests:
        r.start()
    rig.until(lambda: proxy.samples("server_in_flight", upstream="app", server="two/a") >= 1, "a request")
    rig.check(put(proxy, "app", "two/a", "drain")["servers"] == 1, "one server")
    rig.until(lambda: proxy.samples("server_state", server="two/a", state="down") == 2, "all workers")
    rig.check(shares(proxy, "app", "/bytes/10") == {"one": 60, "two/a": 0}, "of new requests")
    for r in requests:
        r.join()
    rig.check(slow.status == 200, "a request in progress was not completed")
    rig.check(drained(proxy) == {("app", "two/a")}, f"{drained(proxy)}")
    rig.check(proxy.samples("server_drained", server="two/a") == 1, "the metric")
    # Health checks go on, and a reload makes new generations.
    probes = proxy.samples("health_probes_total", server="two/a")
    rig.until(lambda: proxy.samples("health_probes_total", server="two/a") > probes + 2, "probes")
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.said("fairlead: reloaded"), "a reload")
    rig.check(shares(proxy, "app", "/bytes/10") == {"one": 60, "two/a": 0}, "after a reload")
    put(proxy, "app", "two/a", "up")
    rig.until(lambda: proxy.samples("server_state", server="two/a", state="up") == 2, "all workers")
    rig.check(min(shares(proxy, "app", "/bytes/10").values()) > 10, "both again")
    rig.check(drained(proxy) == set(), "nothing is drained")


def by_address(proxy, one, two):
    """A server without name and health check; the last one that is left is used."""
    put(proxy, "plain", f"127.0.0.1:{one}", "drain")
    rig.until(lambda: proxy.samples("server_state", upstream="plain", state="down") == 2, "all workers")
    rig.check(shares(proxy, "plain", "/bytes/11")[f"127.0.0.1:{one}"] == 0, "by address")
    put(proxy, "plain", f"127.0.0.1:{two}", "drain")
    rig.until(lambda: proxy.samples("server_state", upstream="plain", state="down") == 4, "all workers")
    rig.check(sum(shares(proxy, "plain", "/bytes/11").values()) == 60, "the last resort")
    for port in one, two:
        put(proxy, "plain", f"127.0.0.1:{port}", "up")


def refused(proxy, one):
    put(proxy, "app", "one", "nothing", 400)
    put(proxy, "app", "nobody", "drain", 404)
    put(proxy, "nothing", "one", "drain", 404)
    for field in ("Origin: http://evil.example", "Via: 1.1 fairlead", "Forwarded: for=192.0.2.1",
                  "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1"):
        put(proxy, "app", "one", "drain", 403, fields=f"{field}\r\n")
    for method, path, status, allow in (
            ("POST", "/api/upstreams/app/servers/one?state=drain", 405, "GET, HEAD, PUT"),
            ("PUT", "/api/status", 405, "GET, HEAD"), ("HEAD", "/api/status", 200, None),
            ("GET", "/api/", 404, None), ("PUT", "/api/upstreams/app?state=drain", 404, None),
            ("PUT", "/api/upstreams/app/servers/%zz?state=drain", 400, None),
            ("PUT", "/api/upstreams/app/servers/%00?state=drain", 404, None),
            ("PUT", "/api/upstreams/app/servers/" + "x" * 600 + "?state=drain", 404, None)):
        answer = api(proxy.admin, method, path)
        rig.check((answer.status, answer.field("Allow")) == (status, allow), lambda: answer.head)
    status = api(proxy.admin, "GET", "/api/status").json
    rig.check((status["pid"], status["workers"]) == (proxy.worker_pid(), 2), f"{status}")
    rig.check(status["drained_servers"] == [], f"{status}")


def stranger(one, two):
    """An admin address that others reach: they may read."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
        except OSError:
            print("no address but loopback: not tried")
            return
        host = s.getsockname()[0]
    proxy = rig.Fairlead(CONFIG.format(one=one, two=two))
    port, = rig.free_ports(1)
    with open(proxy.path) as f:
        text = f.read()
    with open(proxy.path, "w") as f:
        f.write(text.replace(f"admin: 127.0.0.1:{proxy.admin}", f"admin: 0.0.0.0:{port}"))
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: accepts(host, port), "the address")
    proxy.admin = port
    put(proxy, "app", "one", "drain", 403, host=host)
    rig.check(api(proxy.admin, "GET", "/api/status", host=host).status == 200, "reading")
    put(proxy, "app", "one", "drain")
    proxy.stop()


def accepts(host, port):
    try:
        socket.create_connection((host, port), 1).close()
        return True
    except OSError:
        return False


def test():
    one, two = rig.free_ports(2)
    for port in one, two:
        rig.lab("0ms", port)
    proxy = rig.Fairlead(CONFIG.format(one=one, two=two))
    drains(proxy)
    by_address(proxy, one, two)
    refused(proxy, one)
    proxy.stop()
    stranger(one, two)
    print(f"{rig.ENGINE}: all pass")


if __name__ == "__main__":
    rig.main(test)
