#!/usr/bin/env python3
"""Sockets of the service manager (LISTEN_FDS): a connection that was made before the start is
served; all workers share a socket that others cannot bind beside; it stays over reload and upgrade;
a socket that the configuration does not have is named and closed."""
import os
import signal
import socket

import rig
from rig import Fairlead

CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""
REQUEST = b"GET /bytes/10 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def listening(reuse_port=False):
    s = socket.socket()
    if reuse_port:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("127.0.0.1", 0))
    s.listen(64)
    return s


def start(origin, *sockets, names):
    """As systemd does: the sockets are descriptors 3 and following."""
    fds = [s.fileno() for s in sockets]
    moved = " ".join(f"{3 + i}<&{fd} {fd}<&-" for i, fd in enumerate(fds))
    env = {**os.environ, "LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": names}
    return Fairlead(CONFIG.format(origin=origin), port=sockets[0].getsockname()[1], workers=2,
                    before=["bash", "-c", f'LISTEN_PID=$$ exec "$@" {moved}', "bash"],
                    env=env, pass_fds=fds)


def high(*sockets):
    """With descriptors that are none of 3 and following."""
    for i, s in enumerate(sockets):
        low = s.detach()
        os.dup2(low, 100 + i)
        os.close(low)
        yield socket.socket(fileno=100 + i)


def served(client):
    client.settimeout(rig.PATIENCE_S)
    answer = b""
    while piece := client.recv(4096):
        answer += piece
    rig.check(answer.startswith(b"HTTP/1.1 200 "), answer)


def serves(port):
    for _ in range(30):
        rig.check(rig.get(port, "/bytes/10").status == 200, "no response")


def takes_over(origin, reuse_port):
    ours, other = high(listening(reuse_port), listening())
    early = socket.create_connection(ours.getsockname())
    early.sendall(REQUEST)
    port, others_port = ours.getsockname()[1], other.getsockname()[1]
    proxy = start(origin, ours, other, names="http:forgotten")
    ours.close()
    other.close()
    served(early)
    rig.check(proxy.said("the socket 'http' is that of the service manager"), proxy.log)
    rig.check(proxy.said("passed the socket 'forgotten', but"), proxy.log)
    rig.check(not rig.accepts(others_port), "a socket that nobody serves is open")
    serves(port)
    for what, said in (signal.SIGHUP, "fairlead: reloaded"), (signal.SIGUSR2, "fairlead: ready"):
        before = proxy.log().count(said)
        proxy.signal(what)
        rig.until(lambda: proxy.log().count(said) > before, said)
        serves(port)
    proxy.stop()


def unix_socket(origin):
    """Its path, owner and mode are the service manager's, over reload and upgrade, and when fairlead
    has ended or was killed; it serves what waits there at the next start."""
    path = os.path.join(rig.TMP, "http.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o640)
    listener.listen(64)
    os.dup2(listener.fileno(), 100)
    made = os.stat(path)
    config = os.path.join(rig.TMP, "unix.yaml")
    with open(config, "w") as f:
        f.write(f"listen: [{{ address: 'unix:{path}', mode: '0666' }}]\n" +
                CONFIG.format(origin=origin))

    def untouched(when):
        now = os.stat(path)
        rig.check((now.st_ino, now.st_mode) == (made.st_ino, made.st_mode), f"{when}: {now}")

    def ask():
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        client.sendall(REQUEST)
        return client

    for how in signal.SIGTERM, signal.SIGKILL, signal.SIGINT:
        waiting = ask()
        proxy = rig.Program("fairlead", [
            "bash", "-c", 'LISTEN_PID=$$ exec "$@" 3<&100 100<&-', "bash", rig.FAIRLEAD, "-c", config,
            "--engine", rig.ENGINE, "--workers", "2"], ready="fairlead: ready", pass_fds=[100],
            env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"})
        served(waiting)
        for what, said in (signal.SIGHUP, "fairlead: reloaded"), (signal.SIGUSR2, "fairlead: ready"):
            before = proxy.log().count(said)
            proxy.signal(what)
            rig.until(lambda: proxy.log().count(said) > before, said)
            served(ask())
            untouched(said)
        proxy.signal(how)
        proxy.ended()
        untouched(f"after {how}")
    os.close(100)


def not_ours(origin):
    """LISTEN_PID of another process: it has inherited the variables only."""
    ours, = high(listening())
    taken = ours.getsockname()[1]
    ours.close()
    env = {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "http"}
    proxy = Fairlead(CONFIG.format(origin=origin), port=taken, env=env)
    rig.check(rig.get(taken, "/bytes/10").status == 200, "no response")
    rig.check(not proxy.said("service manager"), proxy.log)
    proxy.stop()


def main():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    takes_over(origin, reuse_port=False)
    takes_over(origin, reuse_port=True)
    not_ours(origin)
    unix_socket(origin)


rig.main(main)
