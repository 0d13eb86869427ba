"""The contestants of bench/concurrency: how each is started, and which paths it serves.
bench/peers/README.md describes them."""
import os
import re
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HERE = os.path.join(ROOT, "bench/peers")
sys.path.insert(0, os.path.join(ROOT, "tests/real"))
import rig  # noqa: E402

PYTHON = "/usr/bin/python3"    # the Python of Debian's packages
WORKERS = len(os.sched_getaffinity(0))


def first_line(command):
    """The first line of a program's output; "" if it cannot be run."""
    try:
        out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return out.stdout.split("\n")[0] if out.returncode == 0 else ""
    except FileNotFoundError:
        return ""


def python_version(*names):
    """The versions of modules of Debian's Python; "" if one is missing."""
    code = ("import importlib.metadata as m, sys; "
            "print(*(n + ' ' + m.version(n) for n in sys.argv[1:]), sep=', ')")
    return first_line([PYTHON, "-c", code, *names])


class Contestant:
    """name; lanes(work): how many requests it can handle at once, None: any number."""
    works = ("sync", "cache")

    def lanes(self, work):
        return None

    def path(self, work):
        return "/" + work

    def version(self):
        """Name and version; "" if it is not installed."""
        raise NotImplementedError

    def start(self, http, memcached):
        """Starts it in front of a lab; sets self.port and self.program."""
        self.port = rig.free_ports(1)[0]
        self.program = self.run(http, memcached)
        rig.until(lambda: rig.accepts(self.port) or not self.program.alive(), self.name, 60)
        rig.check(self.program.alive(), lambda: f"{self.name} ended: {self.program.log()}")

    def stop(self):
        """Kills it at once: requests without a response were counted as unfinished."""
        try:
            os.killpg(self.program.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.program.ended()
        rig.running.remove(self.program)


class Peer(Contestant):
    """A program in a folder of bench/peers, configured by environment variables."""

    def __init__(self, name, works, lanes=None):
        self.name, self.works, self.at_once = name, works, lanes or {}

    def lanes(self, work):
        return self.at_once.get(work)

    def launch(self, command, http, memcached):
        env = dict(os.environ, PORT=str(self.port), ORIGIN=f"127.0.0.1:{http}",
                   CACHE=f"127.0.0.1:{memcached}", WORKERS=str(WORKERS))
        return rig.Program(self.name, command, env=env)


class Gunicorn(Peer):
    def __init__(self, kind, works, lanes):
        super().__init__(f"gunicorn {kind}", works, lanes)
        self.kind = kind

    def version(self):
        return python_version("gunicorn", "flask", *(["gevent"] * (self.kind == "gevent")))

    def run(self, http, memcached):
        return self.launch([os.path.join(HERE, "gunicorn/start"), self.kind], http, memcached)


class Tornado(Peer):
    def version(self):
        return python_version("tornado")

    def run(self, http, memcached):
        return self.launch([PYTHON, "-B", os.path.join(HERE, "tornado/server.py")],
                           http, memcached)


class Node(Peer):
    def version(self):
        found = first_line(["node", "--version"])
        return found and "node " + found.lstrip("v")

    def run(self, http, memcached):
        return self.launch(["node", os.path.join(HERE, "node/server.js")], http, memcached)


class Go(Peer):
    server = os.path.join(ROOT, "build/bench/go-server")

    def version(self):
        """Builds the server as well; "" if Go is not installed."""
        env = dict(os.environ, CGO_ENABLED="0", GO111MODULE="off", GOFLAGS="",
                   GOCACHE=os.path.join(ROOT, "build/bench/go-cache"))
        found = first_line(["go", "version"])
        if not found:
            return ""
        os.makedirs(os.path.dirname(self.server), exist_ok=True)
        subprocess.run(["go", "build", "-o", self.server, os.path.join(HERE, "go/server.go")],
                       env=env, check=True)
        return found.split()[2].replace("go", "go ")

    def run(self, http, memcached):
        return self.launch([self.server], http, memcached)


class Nginx(Peer):
    program_path = os.path.join(rig.PEERS, "nginx")

    def version(self):
        return first_line([self.program_path, "-v"]).replace("nginx version: nginx/", "nginx ")

    def run(self, http, memcached):
        with open(os.path.join(HERE, "nginx/nginx.conf")) as f:
            text = f.read()
        here = {"PORT": self.port, "ORIGIN": f"127.0.0.1:{http}", "TMP": rig.TMP,
                "CACHE": f"127.0.0.1:{memcached}", "WORKERS": WORKERS,
                "FILES": rig.descriptors()}
        path = os.path.join(rig.TMP, "concurrency-nginx.conf")
        with open(path, "w") as f:
            f.write(re.sub(r"\$\{(\w+)\}", lambda m: str(here[m[1]]), text))
        return rig.Program("nginx", [self.program_path, "-p", rig.TMP, "-c", path,
                                     "-e", "stderr"])


class Tunnel(Peer):
    """Copies bytes between sockets without HTTP: the lower bound."""
    path_of = {"sync": "/"}

    def version(self):
        return "tests/real/tunnel.c"

    def path(self, work):
        return self.path_of.get(work, "/status/200")

    def run(self, http, memcached):
        return rig.Program("tunnel", [os.path.join(rig.TOOLS, "tunnel"), str(self.port),
                                      "127.0.0.1", str(http)], ready="ready")


class Fairlead(Contestant):
    works = ("sync", "cache", "block", "page", "cpu", "cpu/pool")

    def __init__(self, engine):
        self.name, self.engine = f"fairlead {engine}", engine

    def lanes(self, work):
        return WORKERS if work in ("block", "cpu", "cpu/pool") else None

    def path(self, work):
        return f"/{work}?ms={CPU_MS}" if work.startswith("cpu") else "/" + work

    def version(self):
        return first_line([rig.FAIRLEAD, "-V"])

    def start(self, http, memcached):
        self.program = rig.Fairlead(rig.example("concurrency", http, memcached),
                                    workers=WORKERS, engine=self.engine)
        self.port = self.program.port


CPU_MS = 10    # of work for each request to /cpu

ALL = [
    Fairlead("io_uring"),
    Fairlead("epoll"),
    Tunnel("tunnel", ("sync",)),
    Nginx("nginx", ("sync", "cache")),
    Go("go", ("sync", "cache")),
    Node("node", ("sync", "cache", "block"), {"block": WORKERS}),
    Tornado("tornado", ("sync", "cache", "block"), {"block": WORKERS}),
    Gunicorn("gevent", ("sync", "cache", "block"), {"block": WORKERS}),
    Gunicorn("sync", ("sync", "cache"), dict.fromkeys(("sync", "cache"), 2 * WORKERS + 1)),
]
