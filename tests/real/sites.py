#!/usr/bin/env python3
"""The examples of everyday cases, each started as it is, on other ports. The whole site is in
operators_site.py."""
# asan
import glob
import http.server
import os
import re
import shutil
import socket
import subprocess
import threading
import time

import rig

PATTERN = re.compile(r"127\.0\.0\.1:(\d+)")


class Origin(http.server.BaseHTTPRequestHandler):
    """Says who it is and what it was asked; /events streams, /chat/ upgrades."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/events"):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for n in range(2):
                self.wfile.write(b"data: %d\n\n" % n)
                time.sleep(0.3)
            self.close_connection = True
        elif self.headers.get("Upgrade"):
            self.send_response(101)
            self.send_header("Connection", "upgrade")
            self.send_header("Upgrade", self.headers["Upgrade"])
            self.end_headers()
            self.wfile.write(self.rfile.read1(100).upper())
            self.close_connection = True
        elif self.path == "/oauth2/auth":
            known = "user=ann" in self.headers.get("Cookie", "")
            self.send_response(200 if known else 401)
            self.send_header("X-User", "ann")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.answer()

    do_HEAD = do_GET

    def answer(self):
        body = (f"{self.server.server_port} {self.command} {self.headers['Host']} {self.path} "
                f"{self.headers.get('X-Forwarded-For')} "
                f"{self.headers.get('X-User')}\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def origin(port):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Origin)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def get_of(port, path, host):
    with socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        text = b""
        while chunk := s.recv(65536):
            text += chunk
    head, _, body = text.partition(b"\r\n\r\n")
    return rig.Answer(head, body)


def start(name, ports, **replaced):
    """examples/NAME.yaml in a folder of its own, with other ports: {port there: port here}."""
    folder = os.path.join(rig.TMP, name)
    os.makedirs(folder, exist_ok=True)
    shutil.copytree(os.path.join(rig.ROOT, "examples/pages"), os.path.join(folder, "pages"),
                    dirs_exist_ok=True)
    with open(os.path.join(rig.ROOT, "examples", name + ".yaml")) as f:
        text = PATTERN.sub(lambda m: f"127.0.0.1:{ports.get(int(m[1]), m[1])}", f.read())
    for before, after in replaced.items():
        rig.check(before in text, f"{name}: {before}")
        text = text.replace(before, after)
    path = os.path.join(folder, name + ".yaml")
    with open(path, "w") as f:
        f.write(text)
    checked = subprocess.run([rig.FAIRLEAD, "check", path], capture_output=True, text=True)
    rig.check(checked.returncode == 0 and not checked.stderr, f"{name}: {checked}")
    return rig.Program(name, [rig.FAIRLEAD, "-c", path, "--engine", rig.ENGINE, "--workers", "2"],
                       ready="fairlead: ready"), folder


def hosts(port, ports, a, b):
    program, _ = start("hosts", ports)
    for host, path, served in (("example.org", "/x", a), ("example.org", "/docs/x", b),
                               ("docs.example.org", "/", b), ("v2.docs.example.org", "/", b)):
        answer = get_of(port, path, host)
        rig.check(answer.body.startswith(f"{served} GET {host} {path} ".encode()),
                  f"{host}{path}: {answer.body}")
    answer = get_of(port, "/y?z", "other.test")
    rig.check(answer.status in (307, 308) and
              answer.field("Location").startswith("https://example.org/y"), answer.head)
    program.stop()


def streams(port, ports):
    for name in ("events", "websocket"):
        program, _ = start(name, ports)
        with socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S) as s:
            if name == "events":
                s.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
                got = b""
                while b"data: 0" not in got:
                    got += s.recv(4096)
                rig.check(b"data: 1" not in got, "events are held back")
                while b"data: 1" not in got:
                    got += s.recv(4096)
            else:
                s.sendall(b"GET /chat/ HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
                          b"Upgrade: websocket\r\n\r\n")
                rig.check(b" 101 " in s.recv(4096), "no upgrade")
                s.sendall(b"hello")
                rig.check(s.recv(100) == b"HELLO", "the tunnel")
        program.stop()


def shares(port, ports, a, b):
    other, = rig.free_ports(1)
    origin(other)
    program, _ = start("canary", {**ports, 3001: a, 3002: other, 3003: b})
    rig.check(rig.get(port, "/", "Cookie: version=canary\r\n").body.startswith(b"%d " % b), "try")
    seen = [rig.get(port, "/") for _ in range(200)]
    new = sum(answer.body.startswith(b"%d " % b) for answer in seen)
    rig.check(1 <= new <= 40, f"{new} of 200 at the canary, not about 10")
    cookie = re.search("(?i)set-cookie: (side=[^;]+)", seen[0].head)[1]
    new = seen[0].body.startswith(b"%d " % b)
    for _ in range(20):
        answer = rig.get(port, "/", f"Cookie: {cookie}\r\n")
        rig.check(answer.body.startswith(b"%d " % b) == new, "stays")
    program.stop()
    program, _ = start("sticky", ports)
    first = rig.get(port, "/")
    cookie = re.search("(?i)set-cookie: (backend=[^;]+)", first.head)[1]
    for _ in range(10):
        answer = rig.get(port, "/", f"Cookie: {cookie}\r\n")
        rig.check(answer.body.split()[0] == first.body.split()[0], f"{answer.body}")
    program.stop()


def limits(port, ports):
    program, _ = start("tenants", ports)
    statuses = [rig.get(port, "/api/", "X-Api-Key: a\r\n").status for _ in range(40)]
    rig.check(statuses[:10] == [200] * 10 and 429 in statuses, f"{statuses}")
    rig.check(rig.get(port, "/api/", "X-Api-Key: b\r\n").status == 200, "another tenant")
    rig.check(rig.get(port, "/", "X-Api-Key: a\r\n").status == 200, "elsewhere")
    program.stop()
    memcached, = rig.free_ports(1)
    rig.memcached(memcached)
    program, _ = start("fleet", {**ports, 11212: memcached})
    statuses = [rig.get(port, "/api/", "X-Api-Key: a\r\n").status for _ in range(60)]
    rig.check(statuses[:8] == [200] * 8 and 429 in statuses, f"{statuses}")
    rig.check(rig.get(port, "/api/", "X-Api-Key: b\r\n").status == 200, "another tenant")
    program.stop()
    program, _ = start("forward-auth", ports)
    rig.check(rig.get(port, "/", "X-User: root\r\n").status == 401, "without a session")
    answer = rig.get(port, "/", "Cookie: user=ann\r\nX-User: root\r\n")
    rig.check(answer.status == 200 and answer.body.endswith(b" ann\n"), f"{answer.body}")
    program.stop()


def balancer(port, ports):
    program, _ = start("balancer", ports)
    with socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S) as s:
        s.sendall(b"PROXY TCP4 203.0.113.9 192.0.2.1 1234 80\r\n"
                  b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        got = b""
        while more := s.recv(4096):
            got += more
    rig.check(b" 203.0.113.9 " in got, f"{got}")
    program.stop()


def maintenance(port, ports):
    program, _ = start("maintenance", ports)
    rig.check(rig.get(port, "/").status == 200, "/")
    answer = rig.get(port, "/closed/x")
    rig.check(answer.status == 503 and b"Back soon" in answer.body, answer.head)
    program.stop()
    program, _ = start("maintenance", {**ports, 6000: rig.free_ports(1)[0]})
    answer = rig.get(port, "/")
    rig.check(answer.status in (502, 503) and b"Back soon" in answer.body and
              answer.field("Content-Type").startswith("text/html"), answer.head)
    program.stop()


def cache(port, ports, memcached):
    program, _ = start("cache", ports)
    with socket.create_connection(("127.0.0.1", memcached)) as s:
        s.sendall(b"set known 0 0 5\r\n<b>1\n\r\nset page:known 0 0 5\r\n<b>2\n\r\n")
        rig.until(lambda: s.recv(100), "memcached")
    answer = rig.get(port, "/pages/known")
    rig.check(answer.body == b"<b>1\n" and answer.field("Content-Type") == "text/html", answer.head)
    rig.check(b" /pages/other " in rig.get(port, "/pages/other").body, "a miss")
    program.stop()


def all_of_them():
    """Each example has a row in docs/getting-started.md, and a test that starts it."""
    with open(os.path.join(rig.ROOT, "docs/getting-started.md")) as f:
        page = f.read()
    tests = ""
    for name in "sites", "examples", "acme", "siterig":
        with open(os.path.join(rig.ROOT, f"tests/real/{name}.py")) as f:
            tests += f.read()
    for path in glob.glob(os.path.join(rig.ROOT, "examples/*.yaml")):
        name = os.path.basename(path)
        rig.check(f"(../examples/{name})" in page, f"docs/getting-started.md has no {name}")
        rig.check(f'"{name[:-5]}"' in tests or f"examples/{name}" in tests,
                  f"no test starts {name}")


def main():
    all_of_them()
    os.chdir(rig.TMP)
    port, a, b, memcached = rig.free_ports(4)
    ports = {8080: port, 6000: a, 6001: b, 11212: memcached}
    origin(a)
    origin(b)
    rig.memcached(memcached)
    hosts(port, ports, a, b)
    streams(port, ports)
    shares(port, ports, a, b)
    limits(port, ports)
    balancer(port, ports)
    maintenance(port, ports)
    cache(port, ports, memcached)


rig.main(main)
