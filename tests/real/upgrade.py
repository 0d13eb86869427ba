#!/usr/bin/env python3
"""The running program is replaced by another one (SIGUSR2): same process id, same sockets, no
client is turned away; and if the next program cannot start, the old one continues."""
# asan
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import threading

import rig
import tlsrig

CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""


class Fairlead(rig.Fairlead):
    """A copy of the program, which can be replaced by another."""

    def __init__(self, config, **more):
        self.program = os.path.join(rig.TMP, f"fairlead-{len(rig.running)}")
        shutil.copy(rig.FAIRLEAD, self.program)
        kept, rig.FAIRLEAD = rig.FAIRLEAD, self.program
        super().__init__(config, **more)
        rig.FAIRLEAD = kept

    def replace(self, text):
        """Through a script: what the path names at the time is executed."""
        os.rename(self.program, self.program + ".old")
        with open(self.program, "w") as f:
            f.write(text)
        os.chmod(self.program, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH
                 | stat.S_IXOTH)

    def restore(self):
        os.rename(self.program + ".old", self.program)

    def workers(self):
        """The worker processes, oldest first."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as f:
            return [int(pid) for pid in f.read().split()]

    def upgrade(self, said="fairlead: ready"):
        before = self.log().count(said)
        self.signal(signal.SIGUSR2)
        rig.until(lambda: self.log().count(said) > before or not self.alive(), said)
        rig.check(self.alive(), self.log)


def asked(port, path):
    s = socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S)
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return s


def read_all(s):
    text = b""
    with s:
        while piece := s.recv(65536):
            text += piece
    return text


def listening(pid):
    """Inodes of the sockets of a process that listen."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            inodes.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"} & inodes


def in_place(origin):
    proxy = Fairlead(CONFIG.format(origin=origin))
    sockets, first = listening(proxy.pid), proxy.worker_pid()
    slow, idle = asked(proxy.port, "/delay/5000"), asked(proxy.port, "/bytes/10")
    rig.check(b"200 OK" in idle.recv(4096), "the first request")
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == 1, "the slow request")
    proxy.upgrade()
    rig.check(listening(proxy.pid) == sockets, "the sockets are others")
    rig.check(first in proxy.workers() and len(proxy.workers()) == 2, proxy.workers)
    rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "the next program")
    # An open connection may send one more request, and gets Connection: close.
    idle.sendall(b"GET /bytes/10 HTTP/1.1\r\nHost: x\r\n\r\n")
    last = read_all(idle)
    rig.check(b"200 OK" in last and b"Connection: close" in last, last)
    rig.check(b"200 OK" in read_all(slow), "the request in flight")
    rig.until(lambda: first not in proxy.workers(), "the end of the old worker process")
    rig.check(rig.get(proxy.admin, "/healthz").status == 200, "the admin address")
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended() == 0, proxy.log)


def next_program_fails(origin):
    proxy = Fairlead(CONFIG.format(origin=origin))
    first = proxy.worker_pid()
    with open(proxy.path) as f:
        good = f.read()
    for text in ("not a program\n", "#!/bin/sh\nexit 3\n", "#!/nowhere\n"):
        proxy.replace(text)
        proxy.upgrade(said="fairlead: not upgraded")
        proxy.restore()
        rig.check(proxy.workers() == [first], proxy.workers)
        rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "no response")
    with open(proxy.path, "a") as f:
        f.write("rutes: []\n")
    proxy.upgrade(said="fairlead: not upgraded")
    rig.check(proxy.said("unknown key"), proxy.log)
    with open(proxy.path, "w") as f:
        f.write(good)
    proxy.upgrade()
    rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "no response")
    proxy.stop()


def write(proxy, text):
    with open(proxy.path, "w") as f:
        f.write(text)


def address_space(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[0]) * resource.getpagesize()


class Words:
    """The notifications for the service manager."""

    def __init__(self):
        path = os.path.join(rig.TMP, "notify.sock")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.settimeout(rig.PATIENCE_S)
        self.env = {**os.environ, "NOTIFY_SOCKET": path}

    def become(self, expected):
        words = [self.socket.recv(4096).decode().splitlines()[0] for _ in expected]
        rig.check(words == expected, words)


def next_worker_process_fails(origin):
    """The next supervisor takes over the old worker process, and later replaces it."""
    if rig.BUILD.endswith("asan"):    # it needs terabytes of address space
        return
    words = Words()
    proxy = Fairlead(CONFIG.format(origin=origin), env=words.env)
    first = proxy.worker_pid()
    more, = rig.free_ports(1)
    with open(proxy.path) as f:
        few = f.read()
    many = few.replace("listen: [", f"listen: [127.0.0.1:{more}, ")
    write(proxy, many)
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.said("fairlead: reloaded"), "two addresses")
    before = resource.prlimit(proxy.pid, resource.RLIMIT_AS)
    resource.prlimit(proxy.pid, resource.RLIMIT_AS,
                     (address_space(proxy.pid) + (12 << 20), before[1]))
    words.become(["READY=1", "RELOADING=1", "READY=1"])
    proxy.upgrade(said="the previous worker process continues")
    words.become(["RELOADING=1", "READY=1"])
    rig.check(proxy.workers() == [first], proxy.workers)
    rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "no response")
    write(proxy, few)
    gone_back = proxy.log().count("the previous worker process continues")
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.log().count("the previous worker process continues") > gone_back, "no other")
    words.become(["RELOADING=1", "READY=1"])
    rig.check(rig.get(more, "/bytes/10").status == 200, "it serves what it served")
    resource.prlimit(proxy.pid, resource.RLIMIT_AS, before)
    write(proxy, many)
    ready = proxy.log().count("fairlead: ready")
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.log().count("fairlead: ready") > ready, "another worker process")
    rig.until(lambda: first not in proxy.workers(), "the end of the old worker process")
    for port in proxy.port, more:
        rig.check(rig.get(port, "/bytes/10").status == 200, "no response")
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended() == 0, proxy.log)


def restart_keys(origin):
    """An upgrade applies what a reload cannot change, and opens what is new in the file."""
    proxy = Fairlead(CONFIG.format(origin=origin), workers=1)
    more, = rig.free_ports(1)
    with open(proxy.path) as f:
        text = f.read()
    with open(proxy.path, "w") as f:
        f.write(text.replace("listen: [", f"listen: [127.0.0.1:{more}, ") + "study: true\n"
                "limits: { buffers: 64MiB, upgrade_timeout: 1s }\n")
    proxy.upgrade()
    rig.check(rig.get(more, "/bytes/10").status == 200, "the new listener")
    with open(proxy.path, "w") as f:
        f.write(text)
    held = asked(proxy.port, "/bytes/10")
    rig.check(b"200 OK" in held.recv(4096), "a request")
    proxy.upgrade()
    rig.until(lambda: not rig.accepts(more), "the end of a listener")
    rig.until(lambda: len(proxy.workers()) == 1, "the end of the old worker processes")
    rig.check(held.recv(1) == b"", "an idle connection outlives its worker process")
    proxy.stop()


def release(number):
    folder = os.path.join(rig.TMP, f"release-{number}")
    os.makedirs(folder, exist_ok=True)
    program = os.path.join(folder, "fairlead")
    os.path.exists(program) or shutil.copy(rig.FAIRLEAD, program)
    return program


def through_symbolic_link(origin):
    """Releases that are switched by a symbolic link: its current target is started, however the
    first one was found."""
    programs, link = [release(n) for n in range(2)], os.path.join(rig.TMP, "current")
    for name, more in ((os.path.join(link, "fairlead"), {}),
                       ("fairlead", {"env": {**os.environ, "PATH": "/bin:" + link}}),
                       ("current/fairlead", {"cwd": rig.TMP})):
        os.path.lexists(link) and os.remove(link)
        os.symlink(os.path.dirname(programs[0]), link)
        kept, rig.FAIRLEAD = rig.FAIRLEAD, name
        proxy = rig.Fairlead(CONFIG.format(origin=origin), **more)
        rig.FAIRLEAD = kept
        rig.check(os.readlink(f"/proc/{proxy.pid}/exe") == programs[0], "the first program")
        os.remove(link)
        os.symlink(os.path.dirname(programs[1]), link)
        proxy.signal(signal.SIGUSR2)
        rig.until(lambda: proxy.log().count("fairlead: ready") == 2, "the next")
        exe = os.readlink(f"/proc/{proxy.pid}/exe")
        rig.check(exe == programs[1], f"{name}: {exe}")
        rig.check(re.search(r"version [0-9.]+ -> [0-9.]+, /.*current/fairlead", proxy.log()),
                  proxy.log)
        proxy.stop()


def reload_crash_drain(origin):
    """After an upgrade: reload, crash, drain."""
    proxy = Fairlead(CONFIG.format(origin=origin))
    proxy.upgrade()
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.said("fairlead: reloaded"), "a reload")
    rig.until(lambda: len(proxy.workers()) == 1, "the end of the old worker process")
    worker, = proxy.workers()
    os.kill(worker, signal.SIGKILL)
    rig.until(lambda: proxy.said("killed by signal 9"), "its end")
    rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "another worker process")
    proxy.upgrade()
    proxy.signal(signal.SIGUSR2)
    proxy.signal(signal.SIGHUP)
    proxy.signal(signal.SIGUSR2)
    rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "no response")
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended() == 0, proxy.log)
    rig.check(not rig.accepts(proxy.port), "a process still listens")


def crash_loop(origin):
    """A reload or an upgrade that mends the fault does not wait for the next restart."""
    if rig.BUILD.endswith("asan"):
        return
    path = os.path.join(rig.TMP, "dies.sock")
    proxy = Fairlead(CONFIG.format(origin=origin) + f"control: unix:{path}\n")
    before = resource.prlimit(proxy.pid, resource.RLIMIT_AS)
    for sign in signal.SIGHUP, signal.SIGUSR2:
        resource.prlimit(proxy.pid, resource.RLIMIT_AS,
                         (address_space(proxy.pid) + (12 << 20), before[1]))
        os.kill(proxy.worker_pid(), signal.SIGKILL)
        ends = proxy.log().count("starting another")
        rig.until(lambda: proxy.log().count("starting another") >= ends + 3, "three ends")
        status, text = run_command(proxy, "reload")
        rig.check(status == 1 and "it is being restarted" in text, text)
        resource.prlimit(proxy.pid, resource.RLIMIT_AS, before)
        ready = proxy.log().count("fairlead: ready")
        proxy.signal(sign)
        rig.until(lambda: proxy.log().count("fairlead: ready") > ready, "a worker process")
        rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "no response")
    proxy.stop()


def sigterm_ends_retiring(origin):
    """SIGTERM also ends retiring worker processes: they have no more time than others."""
    proxy = Fairlead(CONFIG.format(origin=origin) + "limits: { drain_timeout: 500ms }\n")
    never, idle = asked(proxy.port, "/delay/60000"), asked(proxy.port, "/bytes/10")
    rig.check(b"200 OK" in idle.recv(4096), "the first request")
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == 1, "the endless request")
    proxy.upgrade()
    rig.check(len(proxy.workers()) == 2, proxy.workers)
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended(15) == 0, proxy.log)
    never.close()
    idle.close()


def run_command(proxy, *words):
    done = subprocess.run([rig.FAIRLEAD, *words, "-c", proxy.path], capture_output=True,
                          text=True, timeout=rig.PATIENCE_S)
    return done.returncode, done.stdout + done.stderr


def upgrade_by_command(origin):
    """The same by command, which prints the result."""
    path = os.path.join(rig.TMP, "control.sock")
    proxy = Fairlead(CONFIG.format(origin=origin) + f"control: unix:{path}\n")
    rig.check(os.stat(path).st_mode & 0o777 == 0o600, "others may write to the socket")
    first = proxy.worker_pid()
    status, text = run_command(proxy, "reload")
    rig.check(status == 0 and "reloaded" in text, text)
    with socket.create_server(("127.0.0.1", 0)) as taken, open(proxy.path) as f:
        good = f.read()
        with open(proxy.path, "w") as out:
            out.write(good.replace("listen: [", f"listen: [127.0.0.1:{taken.getsockname()[1]}, "))
        status, text = run_command(proxy, "reload")
        rig.check(status == 1 and "cannot be opened" in text, text)
        status, text = run_command(proxy, "upgrade")
        rig.check(status == 1 or "taken over" in text, text)
    with open(proxy.path, "w") as out:
        out.write(good)
    status, text = run_command(proxy, "upgrade")
    rig.check(status == 0 and re.search(r"taken over; version [0-9.]+ -> [0-9.]+$", text), text)
    rig.until(lambda: first not in proxy.workers(), "the end of the old worker process")
    os.remove(path)    # as a cleaner of temporary files does
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.said("was missing; it was created again"), "its path")
    proxy.replace("not a program\n")
    status, text = run_command(proxy, "upgrade")
    rig.check(status == 1 and "not upgraded" in text, text)
    proxy.restore()
    many = [threading.Thread(target=lambda: results.append(run_command(proxy, "reload")))
            for _ in range(8)]
    results = []
    for thread in many:
        thread.start()
    for thread in many:
        thread.join()
    rig.check([s for s, _ in results] == 8 * [0], results)
    with socket.socket(socket.AF_UNIX) as s:    # a client that sends no command
        s.connect(path)
        s.sendall(b"dance\n")
        rig.check(s.recv(100).startswith(b"no "), "an unknown command")
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended() == 0, proxy.log)
    rig.check(not os.path.exists(path), "the path is left")
    rig.check(run_command(proxy, "reload")[0] == 1, "there is no server")


def farewell(origin):
    """When the time of the old worker process is over, clients with TLS that are idle get
    close_notify: for them b"" is an end that TLS vouches for."""
    made = tlsrig.Pki()
    proxy = Fairlead(CONFIG.format(origin=origin) + "limits: { upgrade_timeout: 1s }\n",
                     tls=made.tls())
    unused = tlsrig.Socket(proxy.port, tlsrig.context(made))
    used = [tlsrig.Socket(proxy.port, tlsrig.context(made, version))
            for version in (None, ssl.TLSVersion.TLSv1_2)]
    for client in used:
        client.sendall(b"GET /bytes/10 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        rig.check(b"200 OK" in client.recv(4096), "a request")
    plain = socket.create_connection(("127.0.0.1", proxy.port))    # has begun no handshake
    proxy.upgrade()
    for client in (*used, unused):
        while piece := client.recv(4096):    # the rest of the response
            rig.check(b"HTTP" not in piece, piece)
    rig.check(plain.recv(1) == b"", "a connection without a byte")
    rig.until(lambda: len(proxy.workers()) == 1, "the end of the old worker process")
    proxy.stop()


def main():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    for test in (in_place, next_program_fails, next_worker_process_fails, restart_keys,
                 through_symbolic_link, reload_crash_drain,
                 crash_loop, sigterm_ends_retiring, farewell, upgrade_by_command):
        test(origin)
        print(f"{rig.ENGINE}: {test.__name__}", flush=True)


rig.main(main)
