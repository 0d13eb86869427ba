#!/usr/bin/env python3
"""The rule mirror with real servers: what the mirror gets, its share, a mirror that hangs, is gone or
sends without end; reload and end of the process while requests are mirrored."""
# asan
import collections
import concurrent.futures
import hashlib
import http.server
import signal
import socket
import threading

import rig

CONFIG = """
access_log: {{ path: {log}, format: json }}
upstreams:
  app: {{ servers: [127.0.0.1:{app}] }}
  mirror: {{ servers: [127.0.0.1:{mirror}], via: off }}
  hanging: {{ servers: [127.0.0.1:{hanging}] }}
  gone: {{ servers: [127.0.0.1:1] }}
routes:
  - {{ prefix: /share/, mirror: {{ upstream: mirror, share: 20%, requests: 10000 }}, proxy: {{ upstream: app }} }}
  - {{ prefix: /hanging/, mirror: {{ upstream: hanging, timeout: 1h, requests: 5 }}, proxy: {{ upstream: app }} }}
  - {{ prefix: /gone/, mirror: {{ upstream: gone }}, proxy: {{ upstream: app }} }}
  - prefix: /
    rewrite: {{ strip: /old, add: /new }}
    request_fields: {{ set: {{ X-Rule: "${{path}}" }}, remove: [X-Secret] }}
    mirror: {{ upstream: mirror, request_body: 40KiB, requests: 10000, timeout: 60s }}
    proxy: {{ upstream: app, host: app.example }}
"""


class Recorder(http.server.BaseHTTPRequestHandler):
    """Remembers each request."""
    protocol_version = "HTTP/1.1"
    seen, lock = None, threading.Lock()

    def do_GET(self):
        if self.headers.get("Transfer-Encoding"):
            body = b""
            while n := int(self.rfile.readline(), 16):
                body += self.rfile.read(n)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.lock:
            self.seen.append((self.command, self.path, hashlib.sha256(body).hexdigest(),
                              self.headers.get("X-Rule"), self.headers.get("X-Secret"),
                              self.headers.get("Host"), self.headers.get("Expect"),
                              self.headers.get("X-Mirror")))
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    do_POST = do_PUT = do_GET

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1000


def record(port):
    seen = []
    server = Server(("127.0.0.1", port), type("R", (Recorder,), {"seen": seen}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return seen


def send(port, path, body=None, chunked=False, fields=""):
    with socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S) as s:
        if body is None:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n".encode())
        elif chunked:
            s.sendall(f"PUT {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}"
                      f"Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body +
                      b"\r\n0\r\n\r\n")
        else:
            s.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}"
                      f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        data = b""
        while part := s.recv(65536):
            data += part
    rig.check(data.startswith(b"HTTP/1.1 200") and data.endswith(b"hello"), data[:200])


def idle(proxy):
    rig.until(lambda: proxy.metrics()["mirrors_in_flight"] == 0, "mirrored requests end")


def same_requests(proxy, pool, app, mirror):
    """The mirror gets what the server gets, but for the mark, Expect, and bodies over 40 KiB."""
    def one(i):
        size = (0, 1, 1000, 40000, 41000, 300000)[i % 6]
        send(proxy.port, f"/old/{i}?q", None if i % 5 == 0 else bytes([i % 251]) * size, i % 3 == 0,
             "X-Secret: 1\r\nX-Mirror: me\r\nx_mirror: me\r\n")
    list(pool.map(one, range(300)))
    idle(proxy)
    large = {hashlib.sha256(bytes([i % 251]) * n).hexdigest() for i in range(300)
             for n in (41000, 300000)}
    wanted = collections.Counter(s[:7] for s in app if s[2] not in large)
    got = collections.Counter(s[:7] for s in mirror)
    rig.check(len(app) == 300 and got == wanted, f"{got - wanted} {wanted - got}")
    rig.check({s[7] for s in mirror} == {"1"} and {s[7] for s in app} == {None}, "X-Mirror")
    rig.check({s[4] for s in app} == {None} and {s[5] for s in app} == {"app.example"}, "fields")
    rig.check(all(s[1].startswith("/new/") and s[3].startswith("/old/") for s in mirror), "paths")
    dropped = proxy.samples("mirror_dropped_total", reason="body")
    rig.check(dropped == 300 - len(mirror), f"{dropped} bodies were too large")
    rig.check(proxy.metrics()["mirror_requests_total"] == len(mirror), "mirror_requests_total")


def share(proxy, pool, mirror):
    del mirror[:]
    list(pool.map(lambda i: send(proxy.port, f"/share/{i}"), range(1500)))
    idle(proxy)
    # 300 ± 5 standard deviations of 15.5.
    rig.check(220 < len(mirror) < 380, f"{len(mirror)} of 1500 mirrored at 20 %")


def hanging(proxy, pool):
    """At most five per worker wait for the mirror; nobody waits for them."""
    list(pool.map(lambda i: send(proxy.port, f"/hanging/{i}", b"x" * (i % 2)), range(300)))
    now = proxy.metrics()["mirrors_in_flight"]
    rig.check(5 <= now <= 10, f"{now} wait for the mirror that hangs")
    full = proxy.samples("mirror_dropped_total", reason="full")
    reasons = {r: proxy.samples("mirror_dropped_total", reason=r)
               for r in ("full", "body", "incomplete", "upgrade", "memory")}
    rig.check(full == 300 - now, f"{now} wait, dropped: {reasons}, {proxy.metrics()['mirror_requests_total']} sent, {proxy.metrics()['mirror_failures_total']} failed")
    list(pool.map(lambda i: send(proxy.port, f"/gone/{i}"), range(20)))


def lines(log):
    with open(log) as f:
        return sum(1 for _ in f)


def test():
    app, mirror = rig.free_ports(2)
    at_app, at_mirror = record(app), record(mirror)
    hangs = socket.create_server(("127.0.0.1", 0), backlog=100)
    log = rig.os.path.join(rig.TMP, "mirror.log")
    proxy = rig.Fairlead(CONFIG.format(app=app, mirror=mirror, log=log,
                                       hanging=hangs.getsockname()[1]))
    pool = concurrent.futures.ThreadPoolExecutor(16)
    same_requests(proxy, pool, at_app, at_mirror)
    share(proxy, pool, at_mirror)
    hanging(proxy, pool)
    rig.until(lambda: lines(log) == 2120, lambda: f"{lines(log)} lines in the log")
    # A reload: those of the old configuration go on, and hold it; requests under the new one go on.
    before = proxy.log().count("fairlead: reloaded")
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.log().count("fairlead: reloaded") > before, "the reload")
    waiting = proxy.metrics()["mirrors_in_flight"]
    del at_mirror[:]
    send(proxy.port, "/after", b"x")
    rig.until(lambda: len(at_mirror) == 1, "a mirrored request after the reload")
    rig.check(proxy.metrics()["mirrors_in_flight"] >= waiting, "the reload ends no request")
    # One hour is not waited for.
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended() == 0, "the exit status")


rig.main(test)
