#!/usr/bin/env python3
"""A worker that has slept: times count from when an event happened, not from the worker's last
tick before its sleep."""
import socket
import time

import rig

CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
limits: {{ header_timeout: 300ms }}
"""
# An idle worker ticks once a second. These pauses connect at different times of that second.
PAUSES_S = (0.9, 1.2, 0.75, 0.95, 1.1, 0.85, 0.6, 0.97)
HEAD = b"GET /status/200 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def first_request(port, pause_s):
    """A new connection has the whole header_timeout for its first head."""
    time.sleep(pause_s)
    with socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S) as s:
        time.sleep(0.05)
        s.sendall(HEAD)
        try:
            return s.recv(12)
        except ConnectionResetError:
            return b"a reset"


def test():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    proxy = rig.Fairlead(CONFIG.format(origin=origin), 1)
    rig.get(proxy.port, "/status/200")
    got = [first_request(proxy.port, pause_s) for pause_s in PAUSES_S]
    rig.check(got.count(b"HTTP/1.1 200") >= len(got) - 1, got)    # one may be late on a busy machine


rig.main(test)
