#!/usr/bin/env python3
"""Which clients are trusted to send forwarding fields: by the address of the connection, also over
a reload that changes it while the connection stays. What follows from it: the access log and a
hash by client. Via, with a name or without the field, and what nginx compresses because of it."""
# timeout: 60
import collections
import http.client
import http.server
import os
import re
import socket
import subprocess
import threading

import rig

PROXY, STRANGER = "127.0.0.2", "127.0.0.3"
CONFIG = """
access_log: {{ path: {log}, format: combined }}
control: unix:{tmp}/control
trusted_proxies: {trusted}
upstreams:
  echo: {{ servers: [127.0.0.1:{echo}] }}
  hashed:
    servers: [127.0.0.1:{a}, 127.0.0.1:{b}]
    balance: hash
    hash: "${{client.address}}"
  named: {{ servers: [127.0.0.1:{nginx}] }}
  unnamed: {{ servers: [127.0.0.1:{nginx}], via: off }}
routes:
  - {{ prefix: /hashed, proxy: {{ upstream: hashed }} }}
  - {{ prefix: /named, proxy: {{ upstream: named, path: /text }} }}
  - {{ prefix: /unnamed, proxy: {{ upstream: unnamed, path: /text }} }}
  - {{ prefix: /any, proxy: {{ upstream: named, path: /any }} }}
  - {{ prefix: /, proxy: {{ upstream: echo }} }}
"""
NGINX = """
location /text { default_type text/plain; gzip on; gzip_types text/plain; gzip_min_length 20;
                 root ROOT; try_files /forwarding.txt =404; }
location /any { default_type text/plain; gzip on; gzip_types text/plain; gzip_min_length 20;
                gzip_proxied any; root ROOT; try_files /forwarding.txt =404; }
"""


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the request's head as body."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        text = str(self.headers).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Client:
    def __init__(self, port, source):
        self.s = socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S, (source, 0))
        self.file = self.s.makefile("rb")

    def ask(self, path="/", fields=""):
        """(fields of the response, its body)"""
        self.s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode())
        rig.check(b" 200 " in self.file.readline(), "not 200")
        head = http.client.parse_headers(self.file)
        return head, self.file.read(int(head["Content-Length"])) if head["Content-Length"] else b""

    def told(self, fields):
        """{field: value} of the forwarding fields that the origin got."""
        return dict(re.findall(rb"(?m)^([A-Za-z_-]+): (.*)$", self.ask("/", fields)[1]))


def equal(got, wanted):
    rig.check(got == wanted, lambda: f"{got!r}, not {wanted!r}")


def gzipped(p, path):
    c = Client(p.port, STRANGER)
    c.s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n"
                f"Connection: close\r\n\r\n".encode())
    return b"\r\nContent-Encoding: gzip" in c.file.read().partition(b"\r\n\r\n")[0]


def trusted_peers(p):
    fields = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 192.0.2.7\r\n"
    for source, client, proto in ((PROXY, b"192.0.2.7, 127.0.0.2", b"https"),
                                  (STRANGER, b"127.0.0.3", b"http")):
        told = Client(p.port, source).told(fields)
        equal((told[b"X-Forwarded-For"], told[b"X-Forwarded-Proto"], b"X-Real-IP" in told),
              (client, proto, source == PROXY))


def over_a_reload(p, text):
    """The connection stays open, and a reload decides anew whether its peer is trusted."""
    c = Client(p.port, PROXY)
    fields = "X-Forwarded-For: 192.0.2.8\r\n"
    equal(c.told(fields)[b"X-Forwarded-For"], b"192.0.2.8, 127.0.0.2")
    for trusted, got in (("[]", b"127.0.0.2"), (f"[{PROXY}/32]", b"192.0.2.8, 127.0.0.2")):
        with open(p.path) as f:
            head = f.read().split("\naccess_log")[0]
        with open(p.path, "w") as f:
            f.write(head + text.replace("TRUSTED", trusted))
        subprocess.run([rig.FAIRLEAD, "reload", "-c", p.path], check=True, timeout=20,
                       stderr=subprocess.DEVNULL)
        equal(c.told(fields)[b"X-Forwarded-For"], got)


def hash_by_client(p):
    """The clients behind one proxy are hashed one by one, each always to the same server."""
    c = Client(p.port, PROXY)
    went = collections.defaultdict(set)
    for i in [*range(32), *range(32)]:
        went[i].add(c.ask("/hashed", f"X-Forwarded-For: 192.0.2.{i}\r\n")[1])
    rig.check(all(len(s) == 1 for s in went.values()), lambda: f"moved: {went}")
    equal(len(set.union(*went.values())), 2)


def test():
    echo, a, b, nginx = rig.free_ports(4)
    log = os.path.join(rig.TMP, "access.log")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", echo), Echo)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for port in (a, b):
        rig.nginx(port, 'location / { default_type text/plain; return 200 "$server_port"; }')
    with open(os.path.join(rig.TMP, "forwarding.txt"), "w") as f:
        f.write("hello, world\n" * 1000)
    rig.nginx(nginx, NGINX.replace("ROOT", rig.TMP))
    text = CONFIG.format(log=log, tmp=rig.TMP, echo=echo, a=a, b=b, nginx=nginx,
                         trusted="TRUSTED")
    p = rig.Fairlead(text.replace("TRUSTED", f"[{PROXY}]"), workers=1)
    trusted_peers(p)
    over_a_reload(p, text)
    hash_by_client(p)
    equal([gzipped(p, path) for path in ("/named", "/unnamed", "/any")], [False, True, True])
    p.stop()
    with open(log) as f:
        logged = [line.split(" ", 1)[0] for line in f]
    equal(logged[:5], ["192.0.2.7", STRANGER, "192.0.2.8", "127.0.0.2", "192.0.2.8"])
    rig.check({"192.0.2.0", "192.0.2.31"} <= set(logged), lambda: f"the log: {logged}")


rig.main(test)
