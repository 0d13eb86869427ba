"""examples/site.yaml in a network and mount namespace of its own, where all its ports and addresses
are free: backends as processes, which can be killed, and a client that chooses its address.

Not executable, because it is no test itself. `siterig.py backend PORT` is a backend."""
import http.server
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib

import rig

SITE = os.path.join(rig.ROOT, "examples/site.yaml")
INSIDE, OUTSIDE, LOCAL = "10.1.2.3", "192.0.2.9", "127.0.0.1"
BACKENDS, SHOP, CACHE, ADMIN = (3001, 3002, 3003), 4001, 11211, 9180
ENTERED = "FAIRLEAD_SITE_NAMESPACE"


def enter():
    """Starts this script again in the namespaces, under the same process id."""
    if os.getuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        rig.skip("namespaces need root, unshare and ip")
    if ENTERED not in os.environ:
        if subprocess.run(["unshare", "--net", "--mount", "true"], check=False).returncode != 0:
            rig.skip("no namespace can be made here")
        os.environ[ENTERED] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])
    for command in ("ip link set lo up", f"ip address add {INSIDE}/32 dev lo",
                    f"ip address add {OUTSIDE}/32 dev lo", "mount -t tmpfs tmpfs /run"):
        subprocess.run(command.split(), check=True)


# --- backends ---------------------------------------------------------------------

class Backend(http.server.BaseHTTPRequestHandler):
    """Says who it is and what it was asked. /events streams, /slow is late, an upgrade is answered and
    echoed in capitals, a body is counted. Ill while a file of its name exists."""
    protocol_version = "HTTP/1.1"
    checks = 0

    def do_GET(self):
        port = self.server.server_port
        if self.path == "/healthz":
            Backend.checks += 1
            self.answer({}, 503 if os.path.exists(f"ill-{port}") else 200)
        elif self.path == "/-/checks":
            self.answer({"checks": Backend.checks})
        elif self.path.startswith("/events"):
            self.events(float(self.path.partition("?")[2] or 0.3))
        elif self.path.startswith("/slow"):
            time.sleep(float(self.path.partition("?")[2]))
            self.answer({})
        elif self.headers.get("Upgrade"):
            self.echo()
        else:
            self.answer({})

    do_HEAD = do_GET

    def do_PUT(self):
        left, sum_ = int(self.headers["Content-Length"]), 0
        while left > 0:
            piece = self.rfile.read(min(left, 1 << 20))
            if not piece:
                return
            left, sum_ = left - len(piece), zlib.crc32(piece, sum_)
        self.answer({"bytes": int(self.headers["Content-Length"]), "sum": sum_})

    do_POST = do_PUT

    def events(self, silent_s):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"data: first\n\n")
        time.sleep(silent_s)
        self.wfile.write(b"data: last\n\n")
        self.close_connection = True

    def echo(self):
        self.send_response(101)
        self.send_header("Connection", "upgrade")
        self.send_header("Upgrade", self.headers["Upgrade"])
        self.end_headers()
        while piece := self.rfile.read1(100):
            self.wfile.write(piece.upper())
        self.close_connection = True

    def answer(self, more, status=200):
        body = json.dumps({"port": self.server.server_port, "method": self.command,
                           "path": self.path, "fields": dict(self.headers.items()),
                           **more}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def backend(port):
    program = rig.Program(f"backend-{port}", [sys.executable, os.path.abspath(__file__), "backend",
                                              str(port)], cwd=rig.TMP)
    rig.until(lambda: rig.accepts(port), f"backend {port}")
    return program


# --- a client ---------------------------------------------------------------------

class Client:
    """One connection, over TLS to port 443 or without to port 80."""

    def __init__(self, url, source=LOCAL):
        scheme, _, rest = url.partition("://")
        self.host, slash, path = rest.partition("/")
        self.path = slash + path
        port = 443 if scheme == "https" else 80
        self.socket = socket.create_connection((LOCAL, port), rig.PATIENCE_S, (source, 0))
        if scheme == "https":
            context = ssl.create_default_context(cafile=os.path.join(rig.TMP, "site.crt"))
            self.socket = context.wrap_socket(self.socket, server_hostname=self.host)

    def send(self, method="GET", fields="", body=b""):
        self.socket.sendall(f"{method} {self.path} HTTP/1.1\r\nHost: {self.host}\r\n{fields}\r\n"
                            .encode() + body)

    def until(self, what):
        """Reads until the bytes have been seen; returns what was read."""
        got = b""
        while what not in got:
            piece = self.socket.recv(65536)
            rig.check(piece, lambda: f"the connection ended before {what}: {got[-300:]}")
            got += piece
        return got

    def rest(self):
        got = b""
        while piece := self.socket.recv(65536):
            got += piece
        return got

    def answer(self):
        head, _, body = self.rest().partition(b"\r\n\r\n")
        rig.check(head, f"no response to {self.path}")
        if b"\r\ntransfer-encoding: chunked" in head.lower():
            body = rig.whole_of(body, self.path)
        return rig.Answer(head, body)

    def close(self):
        self.socket.close()


def ask(url, method="GET", fields="", body=b"", source=LOCAL):
    client = Client(url, source)
    if body or method in ("PUT", "POST"):
        fields += f"Content-Length: {len(body)}\r\n"
    client.send(method, "Connection: close\r\n" + fields, body)
    answer = client.answer()
    client.close()
    return answer


def told(answer):
    """What a backend says."""
    rig.check(answer.status == 200, lambda: answer.head)
    return json.loads(answer.body)


# --- the site ---------------------------------------------------------------------

def make_files():
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "
        "/CN=example.org -addext subjectAltName=DNS:example.org,DNS:*.example.org -keyout site.key "
        "-out site.crt && cat site.crt site.key > site.pem && chmod 600 site.pem site.key",
        shell=True, check=True, cwd=rig.TMP, capture_output=True)
    with open(os.path.join(rig.TMP, "users.htpasswd"), "w") as f:
        f.write("ann:" + subprocess.run(["openssl", "passwd", "-6", "secret"], check=True,
                                        capture_output=True, text=True).stdout)
    shutil.copytree(os.path.join(rig.ROOT, "examples/pages"), os.path.join(rig.TMP, "pages"))


class Site:
    """The file as it is, or without a line. impatient: with time limits of a second wherever there
    is a default."""

    def __init__(self, without=None, impatient=False):
        self.path = os.path.join(rig.TMP, "site.yaml")
        self.log = os.path.join(rig.TMP, "access.log")
        with open(SITE) as f:
            lines = f.readlines()
        if without is not None:
            del lines[without]
        text = "".join(lines)
        if impatient:
            text = text.replace("    health_check: { path", "    response_timeout: 1s\n"
                                "    health_check: { path", 1) + "limits: { idle_timeout: 1s }\n"
        with open(self.path, "w") as f:
            f.write(text)
        checked = subprocess.run([rig.FAIRLEAD, "check", self.path], capture_output=True, text=True,
                                 check=False, cwd=rig.TMP)
        rig.check(checked.returncode == 0 and not checked.stderr, lambda: f"{checked}")
        self.program = rig.Program("site", [rig.FAIRLEAD, "-c", self.path, "--engine", rig.ENGINE,
                                            "--workers", "2"], ready="fairlead: ready", cwd=rig.TMP)

    def printed(self):
        """The file with all defaults."""
        return subprocess.run([rig.FAIRLEAD, "-t", "--print", "-c", self.path], check=True, text=True,
                              capture_output=True, cwd=rig.TMP).stdout

    def stop(self):
        """At once: with the second signal."""
        for _ in range(2):
            if self.program.alive():
                self.program.signal(signal.SIGTERM)
                time.sleep(0.1)
        self.program.ended()


if __name__ == "__main__" and sys.argv[1:2] == ["backend"]:
    threading.stack_size(1 << 18)
    Server(("127.0.0.1", int(sys.argv[2])), Backend).serve_forever()
