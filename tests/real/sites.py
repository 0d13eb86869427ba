#!/usr/bin/env python3
"""The examples of everyday cases, each started as it is, on other ports, and each line of
examples/site.yaml: HTTPS with redirect, hosts, stickiness, a WebSocket, an event stream, an upload,
memcached before an origin, who may do what, and a page when all servers are down."""
# asan
import http.server
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time

import rig

PATTERN = re.compile(r"127\.0\.0\.1:(\d+)")


class Origin(http.server.BaseHTTPRequestHandler):
    """Says who it is and what it was asked; /events streams, /chat/ upgrades, /upload/ counts."""
    protocol_version = "HTTP/1.1"
    down = False

    def do_GET(self):
        if Origin.down:
            self.close_connection = True
        elif self.path.startswith("/events"):
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
            self.answer(0)

    def do_PUT(self):
        left = length = int(self.headers["Content-Length"])
        while left > 0:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        self.answer(length)

    do_HEAD = do_GET

    def answer(self, length):
        body = (f"{self.server.server_port} {self.command} {self.headers['Host']} {self.path} "
                f"{length} {self.headers.get('X-Forwarded-For')} "
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


# --- the site -------------------------------------------------------------------

def site_files(folder):
    os.makedirs(folder, exist_ok=True)
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "
        "/CN=example.org -addext subjectAltName=DNS:example.org,DNS:*.example.org -keyout key "
        "-out crt && cat crt key > site.pem && chmod 600 site.pem", shell=True, check=True, cwd=folder,
        capture_output=True)
    with open(os.path.join(folder, "users.htpasswd"), "w") as f:
        f.write("ann:" + subprocess.run(["openssl", "passwd", "-6", "secret"], check=True,
                                        capture_output=True, text=True).stdout)


def site():
    plain, secure, admin, a, b, c, shop, memcached = rig.free_ports(8)
    folder = os.path.join(rig.TMP, "site")
    site_files(folder)
    backends = [origin(port) for port in (a, b, c, shop)]
    rig.memcached(memcached)
    program, _ = start("site", {9180: admin, 3001: a, 3002: b, 3003: c, 4001: shop,
                                11211: memcached},
                       **{"  - 80\n": f"  - 127.0.0.1:{plain}\n",
                          "address: 443": f"address: 127.0.0.1:{secure}",
                          "unix:/run/fairlead.sock": f"unix:{folder}/control.sock",
                          "redirect: https }": f"redirect: {{ to: https, port: {secure} }} }}"})
    with socket.create_connection(("127.0.0.1", memcached)) as s:
        s.sendall(b"set page:known 0 0 5\r\n<b>2\n\r\n")
        s.recv(100)

    def curl(url, *more):
        host = re.match("https?://([^/:]+)", url)[1]
        scheme = url.split(":")[0]
        port = secure if scheme == "https" else plain
        url = url.replace(host, f"{host}:{port}", 1)
        r = subprocess.run(["curl", "-s", "-i", "--max-time", "30", "--cacert",
                            os.path.join(folder, "crt"), "--resolve",
                            f"{host}:{port}:127.0.0.1", *more, url], capture_output=True)
        rig.check(r.returncode == 0, lambda: f"{url}: {r}")
        head, _, body = r.stdout.partition(b"\r\n\r\n")
        if b" 100 " in head.split(b"\r\n")[0]:
            head, _, body = body.partition(b"\r\n\r\n")
        return rig.Answer(head, body)

    answer = curl("http://example.org/x?y")
    rig.check(answer.field("Location") == f"https://example.org:{secure}/x?y", answer.head)
    answer = curl("https://www.example.org/x")
    rig.check(answer.field("Location").startswith("https://example.org/x"), answer.head)
    rig.check(answer.field("Strict-Transport-Security"), answer.head)
    answer = curl("https://example.org/")
    rig.check(answer.status == 200 and answer.field("X-Frame-Options") == "SAMEORIGIN" and
              answer.field("X-Content-Type-Options") == "nosniff", answer.head)
    cookie = re.search("(?i)set-cookie: (backend=[^;]+); .*Secure", answer.head)[1]
    for _ in range(9):
        again = curl("https://example.org/", "-b", cookie)
        rig.check(again.body.split()[0] == answer.body.split()[0], "stickiness")
    rig.check(curl("https://shop.example.org/").body.startswith(b"%d " % shop), "the shop")
    rig.check(curl("https://example.org/pages/known").body == b"<b>2\n", "memcached")
    rig.check(b" /pages/none " in curl("https://example.org/pages/none").body, "a miss")
    rig.check(curl("https://example.org/internal/").status == 200, "/internal/ from inside")
    rig.check(curl("https://example.org/admin/").status == 401, "/admin/ without a password")
    rig.check(curl("https://example.org/admin/", "-u", "ann:wrong").status == 401, "a wrong one")
    rig.check(curl("https://example.org/admin/", "-u", "ann:secret").status == 200, "the password")
    rig.check(b"data: 1" in curl("https://example.org/events").body, "events")
    statuses = [curl("https://example.org/login").status for _ in range(12)]
    rig.check(statuses[0] == 200 and statuses[-1] == 429, f"/login: {statuses}")
    rig.check(curl("https://example.org/upload/x").status == 405, "GET of /upload/")
    large = os.path.join(folder, "large")
    with open(large, "wb") as f:
        f.truncate(100 << 20)
    rig.check(b" %d " % (100 << 20) in curl("https://example.org/upload/x", "-T", large).body,
              "an upload of 100 MiB")
    rig.check(curl("https://example.org/upload/x", "-T", large, "-H",
                   f"Content-Length: {2 << 30}", "--max-time", "5").status == 413, "2 GiB")
    chat(secure, os.path.join(folder, "crt"))
    log = rig.until(lambda: [line for line in open(os.path.join(rig.TMP, "access.log"))]
                    if os.path.exists(os.path.join(rig.TMP, "access.log"))
                    else open(os.path.join(os.getcwd(), "access.log")).readlines(), "the log")
    rig.check('"request_id"' in log[-1], lambda: log[-1])
    metrics = rig.get(admin, "/metrics").body
    rig.check(b"fairlead_requests_total" in metrics, "metrics")
    Origin.down = True
    for backend in backends:
        backend.shutdown()
        backend.server_close()
    answer = rig.becomes(lambda: curl("https://example.org/"), lambda r: r.status in (502, 503),
                         "all servers are down")
    rig.check(b"Back soon" in answer.body and answer.field("X-Frame-Options"), answer.head)
    program.stop()


def chat(port, ca):
    context = ssl.create_default_context(cafile=ca)
    with socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S) as raw, \
            context.wrap_socket(raw, server_hostname="example.org") as s:
        s.sendall(b"GET /chat/ HTTP/1.1\r\nHost: example.org\r\nConnection: upgrade\r\n"
                  b"Upgrade: websocket\r\n\r\n")
        rig.check(b" 101 " in s.recv(4096), "no upgrade")
        s.sendall(b"hello")
        rig.check(s.recv(100) == b"HELLO", "the tunnel")


def main():
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
    site()


rig.main(main)
