"""The proxies that are compared: how each is started and what it reports.

All listen on 127.0.0.1, use the same origin, and get the workers and cores of a Setting."""
import os
import signal
import string
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, "tests/real"))
import rig  # noqa: E402

import figures  # noqa: E402
import manyroutes  # noqa: E402
import tlsparts  # noqa: E402

TUNNEL = os.path.join(rig.BUILD, "bench/tunnel")
ENDS = os.path.join(rig.BUILD, "bench/ends")
TLSORIGIN = os.path.join(rig.BUILD, "bench/tlsorigin")
HUNDRED = "x" * 100
START_PATIENCE_S = 90    # under valgrind
# A program that runs and traces fairlead does not work inside the sandbox.
TRACED = "sandbox: off\n" + ("user: root\n" if os.getuid() == 0 else "")


def exit_on_sigterm():
    """SIGTERM ends the started programs, as an interrupt does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def cores():
    return sorted(os.sched_getaffinity(0))


def pinned(where):
    """Arguments of subprocess: the child and its children run on these cores only."""
    return {"preexec_fn": lambda: os.sched_setaffinity(0, where)}


class Setting:
    """Which cores belong to the proxy, and which to origin and load; how many routes the proxy
    has besides those of its template; where TLS is spoken: nowhere (""), with clients ("front"),
    or with clients and with the origin ("both")."""
    def __init__(self, workers=1, routes=0, tls=""):
        self.workers, self.routes, self.tls = workers, routes, tls
        have = cores()
        self.proxy = set(have[:workers])
        self.load = set(have[workers:]) or set(have)


def fill(template, **values):
    with open(os.path.join(HERE, "peers", template)) as f:
        return string.Template(f.read()).substitute(values)


def written(name, text):
    path = os.path.join(rig.TMP, name)
    with open(path, "w") as f:
        f.write(text)
    return path


def limits():
    files = rig.descriptors()
    # nginx closes idle connections when less than a sixteenth of its table is free, so the table
    # is larger than the descriptor limit.
    return {"files": files, "connections": 2 * files, "clients": (files - 100) // 2,
            "tmp": rig.TMP, "user": "user root;" if os.getuid() == 0 else ""}


# --- behind the proxies ---------------------------------------------------------

class Ends:
    """The program ends.c: an origin on a port, and loads that are started by lines."""
    def __init__(self, setting):
        self.port, = rig.free_ports(1)
        self.program = rig.Program("ends", [ENDS, str(self.port)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, **pinned(setting.load))
        rig.check(self.read_line() == "ready", lambda: f"ends ended: {self.program.log()}")

    def read_line(self):
        return self.program.process.stdout.readline().decode().strip()

    def run_load(self, *words):
        """Runs a load and returns its result line. The program exits if the proxy is silent."""
        self.program.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        self.program.process.stdin.flush()
        return self.read_line()


class World:
    """The servers behind the proxies: `origin` is the port of the origin that is used."""
    FILES = {"file/1k": 1 << 10, "file/10k": 10 << 10, "file/100k": 100 << 10,
             "file/10m": 10 << 20, "chunked/10k": 10 << 10}

    def __init__(self, setting, behind="ends"):
        self.ends = Ends(setting)
        nginx, secure, small, self.memcached = rig.free_ports(4)
        self.origin = {"ends": self.ends.port, "nginx": nginx, "tlsorigin": small}[behind]
        if setting.tls == "both" and behind == "nginx":
            self.origin = secure
        if behind == "tlsorigin":
            certificate = tlsparts.files()[1]
            rig.Program("tlsorigin", [TLSORIGIN, str(small), certificate.chain, certificate.key],
                        **pinned(setting.load))
            rig.until(lambda: rig.accepts(small), "tlsorigin")
        self.write_files()
        conf = fill("origin.nginx.conf", port=nginx, hundred=HUNDRED, **limits(),
                    **tlsparts.origin(setting.tls, secure))
        rig.Program("origin", [os.path.join(rig.PEERS, "nginx"), "-p", rig.TMP, "-e", "stderr",
                               "-c", written("origin.conf", conf)], **pinned(setting.load))
        user = ["-u", "root"] if os.getuid() == 0 else []
        rig.Program("memcached", [os.path.join(rig.PEERS, "memcached"), "-l", "127.0.0.1", "-t",
                                  "1", "-c", "16384", "-p", str(self.memcached), "-U", "0",
                                  *user], **pinned(setting.load))
        rig.until(lambda: rig.accepts(nginx), "the origin")
        rig.until(lambda: rig.accepts(self.memcached), "memcached")
        self.put("/cache/hundred", HUNDRED)

    def write_files(self):
        for name, size in self.FILES.items():
            path = os.path.join(rig.TMP, "files", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                f.write(b"0123456789abcdef" * (size // 16))

    def put(self, key, value):
        with rig.socket.create_connection(("127.0.0.1", self.memcached), 5) as s:
            s.sendall(f"set {key} 0 0 {len(value)}\r\n{value}\r\n".encode())
            rig.check(s.recv(100) == b"STORED\r\n", "memcached did not store")


# --- the contestants ------------------------------------------------------------

class Proxy:
    """name, port, and the resources that the process tree has used."""
    def start(self, command, setting, ready=None, name=None):
        self.program = rig.Program(name or self.name, command, ready, START_PATIENCE_S,
                                   **pinned(setting.proxy))
        self.pid = self.program.pid
        rig.until(lambda: rig.accepts(self.port) or not self.program.alive(), self.name,
                  START_PATIENCE_S)
        rig.check(self.program.alive(), lambda: f"{self.name} ended: {self.program.log()}")

    def spent(self):
        return figures.spent(self.pid)

    def stop(self):
        self.program.stop()


class Fairlead(Proxy):
    program_path, records = rig.FAIRLEAD, "own"

    def __init__(self, world, setting, before=()):
        self.port, self.admin = rig.free_ports(2)
        conf = fill("fairlead.yaml", port=self.port, admin=self.admin, origin=world.origin,
                    memcached=world.memcached, routes=manyroutes.fairlead(setting.routes),
                    **tlsparts.fairlead(setting.tls, self.records))
        path = written(f"fairlead-{self.port}.yaml", conf + (TRACED if before else ""))
        self.start([*before, self.program_path, "-c", path, "--engine", self.engine,
                    "--workers", str(setting.workers)], setting, "fairlead: ready")

    metrics = rig.Fairlead.metrics


class FairleadRing(Fairlead):
    name, engine = "fairlead", "io_uring"

    def spent(self):
        enters = self.metrics()["engine_enters_total"]
        return {"enters": enters, **figures.spent(self.pid)}


class FairleadEpoll(Fairlead):
    name, engine = "fairlead-epoll", "epoll"


class FairleadOpenssl(FairleadRing):
    """With OpenSSL's records instead of its own: the yardstick of these."""
    name, records = "fairlead-openssl", "openssl"


class Nginx(Proxy):
    name = "nginx"

    def __init__(self, world, setting, before=()):
        self.port, = rig.free_ports(1)
        conf = fill("nginx.conf", port=self.port, origin=world.origin, workers=setting.workers,
                    memcached=world.memcached, locations=manyroutes.nginx(setting.routes),
                    **tlsparts.nginx(setting.tls), **limits())
        path = written(f"nginx-{self.port}.conf", conf)
        self.start([*before, os.path.join(rig.PEERS, "nginx"), "-p", rig.TMP, "-e", "stderr",
                    "-c", path], setting)


class Haproxy(Proxy):
    name = "haproxy"

    def __init__(self, world, setting, before=()):
        self.port, = rig.free_ports(1)
        conf = fill("haproxy.cfg", port=self.port, origin=world.origin,
                    workers=setting.workers, routing=self.routing(setting.routes),
                    **tlsparts.haproxy(setting.tls), **limits())
        path = written(f"haproxy-{self.port}.cfg", conf)
        self.start([*before, os.path.join(rig.PEERS, "haproxy"), "-db", "-f", path], setting)

    def routing(self, n):
        if n == 0:
            return ""
        path = written(f"haproxy-{self.port}.map", manyroutes.haproxy(n))
        return f"    use_backend %[path,map_beg({path})]\n"


class Tunnel(Proxy):
    """The lower bound. It has one thread, whatever the setting."""
    name = "tunnel"

    def __init__(self, world, setting, before=()):
        self.port, = rig.free_ports(1)
        self.counts = os.path.join(rig.TMP, f"tunnel-{self.port}.counts")
        self.start([*before, TUNNEL, str(self.port), "127.0.0.1", str(world.origin),
                    self.counts], setting, "ready")

    def spent(self):
        with open(self.counts, "rb") as f:
            enters, = struct.unpack("=Q", f.read())
        return {"enters": enters, **figures.spent(self.pid)}


ALL = (FairleadRing, FairleadEpoll, Nginx, Haproxy, Tunnel)
SECURE = (FairleadRing, FairleadEpoll, FairleadOpenssl, Nginx, Haproxy)    # those with TLS
PEERS = ("nginx", "haproxy")
