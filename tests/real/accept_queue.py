#!/usr/bin/env python3
"""No connection stays in the accept queue of a socket from which two worker processes accept: at
an upgrade, when the previous process stops accepting, does not run, or is killed."""
import os
import signal
import socket
import time

import rig

CONFIG = """
study: true
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes:
  - {{ prefix: /block, block: {{ url: "http://127.0.0.1:{blocker}/" }} }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
WAIT_S = 6
REARMED_S = 3    # listener_rearm() repeats for 2.6 s


def send(s, path):
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


def request(port, path="/bytes/10"):
    s = socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S)
    send(s, path)
    return s


def served(s, patience_s=WAIT_S):
    s.settimeout(patience_s)
    try:
        return s.recv(4096).startswith(b"HTTP/1.1 200 ")
    except TimeoutError:
        return False


def upgrade(proxy):
    ready = proxy.log().count("fairlead: ready")
    proxy.signal(signal.SIGUSR2)
    rig.until(lambda: proxy.log().count("fairlead: ready") > ready, "the next worker process")


class Blocker:
    """The origin of the blocking calls: the worker thread blocks until it is let go."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(rig.PATIENCE_S)
        self.port = self.listener.getsockname()[1]
        self.query = None

    def wait(self):
        self.query = self.listener.accept()[0]

    def let_go(self):
        self.query.recv(4096)
        self.query.sendall(RESPONSE)
        self.query.close()


def stops(origin):
    """The worker thread blocks twice. Between the two calls it gets the message to drain, and can
    submit the cancels of its accepts only after the second call. A client that connects during the
    second call wakes an accept that is then cancelled."""
    blocker = Blocker()
    proxy = rig.Fairlead(CONFIG.format(origin=origin, blocker=blocker.port), workers=1)
    second = request(proxy.port)
    rig.check(served(second), proxy.log)
    first = request(proxy.port, "/block")
    blocker.wait()
    send(second, "/block")
    upgrade(proxy)
    time.sleep(REARMED_S)    # it must not be this that serves the client
    blocker.let_go()
    blocker.wait()
    with request(proxy.port) as client:
        time.sleep(0.1)
        blocker.let_go()
        rig.check(served(client), "the connection waits for another one")
    for s in first, second:
        rig.check(served(s), proxy.log)
        s.close()
    proxy.stop()


def killed(origin):
    """The previous process does not run; then it is killed."""
    proxy = rig.Fairlead(CONFIG.format(origin=origin, blocker=1), workers=1)
    previous = proxy.worker_pid()
    os.kill(previous, signal.SIGSTOP)
    upgrade(proxy)
    with request(proxy.port) as client:
        rig.check(served(client), "the connection waits while the previous process is stopped")
    time.sleep(REARMED_S)
    with request(proxy.port) as client:
        if rig.ENGINE == "io_uring":
            rig.check(not served(client, 0.2), "the previous process was not woken")
        os.kill(previous, signal.SIGKILL)
        rig.check(served(client), "the connection waits for another one")
    proxy.stop()


def main():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    for test in (stops, killed):
        test(origin)
        print(f"{rig.ENGINE}: {test.__name__}", flush=True)


rig.main(main)
