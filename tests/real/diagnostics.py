#!/usr/bin/env python3
"""Standard error that accepts nothing delays nothing. With a full pipe, a socket without a reader,
a stopped terminal or a full disk, /healthz answers, a worker process that dies is replaced, a
reload works and SIGTERM ends the program. Lost lines are counted, and reported when standard
error is read again; so are lost lines of the access log."""
import fcntl
import os
import re
import signal
import socket
import termios
import time

import rig

CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""
LOST = re.compile(rb"fairlead: (\d+) lines? of standard error lost: ")


def ok(port, path="/healthz"):
    try:
        return rig.get(port, path, patience_s=3).status == 200
    except (OSError, AssertionError):
        return False


def start(name, origin, stderr, more=""):
    """Starts fairlead, not by rig.Fairlead, which waits for its messages."""
    port, admin = rig.free_ports(2)
    path = os.path.join(rig.TMP, f"{name}.yaml")
    with open(path, "w") as f:
        f.write(f"listen: [127.0.0.1:{port}]\nadmin: 127.0.0.1:{admin}\n")
        f.write(CONFIG.format(origin=origin) + more)
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notified.bind(os.path.join(rig.TMP, f"{name}.notify"))
    notified.settimeout(rig.PATIENCE_S)
    proxy = rig.Program(name, ["sh", "-c", 'exec "$@" 2>&0 </dev/null', "sh", rig.FAIRLEAD, "-c",
                               path, "--engine", rig.ENGINE, "--workers", "1"], stdin=stderr,
                        env={**os.environ, "NOTIFY_SOCKET": notified.getsockname()})
    rig.check(b"READY=1" in notified.recv(4096), f"{name}: it is not ready")
    notified.close()
    proxy.port, proxy.admin, proxy.path = port, admin, path
    return proxy


def worker_of(proxy):
    with open(f"/proc/{proxy.pid}/task/{proxy.pid}/children") as f:
        return f.read().split()[:1]


def lost(proxy):
    text = rig.get(proxy.admin, "/metrics").body.decode()
    return int(re.search(r"^fairlead_stderr_lines_dropped_total (\d+)$", text, re.M)[1])


def works(proxy, name):
    """All that an operator does, while standard error has no reader."""
    rig.check(ok(proxy.admin), f"{name}: no /healthz")
    first = worker_of(proxy)
    os.kill(int(first[0]), signal.SIGKILL)
    rig.until(lambda: worker_of(proxy) not in ([], first), f"{name}: another worker process")
    rig.until(lambda: ok(proxy.admin) and ok(proxy.port, "/delay/1"), f"{name}: it to serve")
    with open(proxy.path, "a") as f:
        f.write("\nwrong: true\n")
    before = lost(proxy)
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: lost(proxy) > before, f"{name}: a reload that was refused")
    rig.check(ok(proxy.port, "/delay/1"), f"{name}: it does not serve")


def ends(proxy, name):
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended() == 0, f"{name}: status {proxy.process.returncode}")


def reads_until(fd, what, name):
    """Reads until the text has arrived."""
    os.set_blocking(fd, False)
    text, end = b"", time.monotonic() + rig.PATIENCE_S
    while not what.search(text):
        rig.check(time.monotonic() < end, lambda: f"{name}: not reported: {text[-500:]}")
        try:
            text += os.read(fd, 1 << 16)
        except BlockingIOError:
            time.sleep(0.02)
    return text


def fill(fd):
    """Writes until it accepts nothing more, then restores its flags."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    os.set_blocking(fd, False)
    try:
        while True:
            os.write(fd, b"x" * 1023 + b"\n")
    except BlockingIOError:
        pass
    try:
        while True:
            os.write(fd, b"\n")
    except BlockingIOError:
        pass
    fcntl.fcntl(fd, fcntl.F_SETFL, flags)
    return flags


def full(origin, name, out, into):
    flags = fill(into)
    proxy = start(name, origin, into)
    works(proxy, name)
    rig.check(fcntl.fcntl(into, fcntl.F_GETFL) == flags, f"{name}: O_NONBLOCK is set for all")
    n = lost(proxy)
    told = LOST.search(reads_until(out, LOST, name))
    rig.check(n <= int(told[1]) <= lost(proxy), f"{name}: {n} lost, {told[0]}")
    fill(into)
    ends(proxy, name)
    os.close(out)
    os.close(into)


def full_pipe(origin):
    full(origin, "pipe", *os.pipe())


def full_socket(origin):
    full(origin, "socket", *(s.detach() for s in socket.socketpair()))


def stopped_terminal(origin):
    master, slave = os.openpty()
    termios.tcflow(slave, termios.TCOOFF)
    proxy = start("terminal", origin, slave)
    works(proxy, "terminal")
    termios.tcflow(slave, termios.TCOON)
    reads_until(master, LOST, "terminal")
    termios.tcflow(slave, termios.TCOOFF)
    ends(proxy, "terminal")


def full_disk(origin):
    proxy = start("disk", origin, os.open("/dev/full", os.O_RDWR))
    works(proxy, "disk")
    ends(proxy, "disk")


def reader_gone(origin):
    out, into = os.pipe()
    proxy = start("gone", origin, into)
    os.close(into)
    os.close(out)
    works(proxy, "gone")
    ends(proxy, "gone")


def access_log(origin):
    """A full disk is reported at once, and then only once in a while."""
    proxy = rig.Fairlead(CONFIG.format(origin=origin) + "access_log: { path: /dev/full }\n")
    rig.check(ok(proxy.port, "/delay/1"), "it does not serve")
    rig.until(lambda: proxy.said("1 line of the access log lost: No space left on device"),
              "the loss to be reported")
    rig.check(ok(proxy.port, "/delay/1"), "it does not serve")
    rig.until(lambda: proxy.metrics()["log_lines_dropped_total"] == 2, "another loss")
    proxy.stop()
    rig.check(proxy.log().count("of the access log lost") == 2, proxy.log)


def main():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    for test in (full_pipe, full_socket, stopped_terminal, full_disk, reader_gone, access_log):
        test(origin)
        print(f"{rig.ENGINE}: {test.__name__}", flush=True)


rig.main(main)
