#!/usr/bin/env python3
"""Who reads slowly, but reads, gets all of an answer behind which the connection closes: the
end waits for progress, not for a time."""
# timeout: 60
import socket
import time

import rig

N = 4000000
RATE = 400000    # bytes per second: longer than a lingering close waits without progress
CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""


def read_slowly(s):
    got, began = 0, time.monotonic()
    while data := s.recv(16384):
        got += len(data)
        time.sleep(max(0, began + got / RATE - time.monotonic()))
    return got


def main():
    origin = rig.free_ports(1)[0]
    rig.lab(http=origin)
    proxy = rig.Fairlead(CONFIG.format(origin=origin), workers=1)
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    s.settimeout(20)
    s.connect(("127.0.0.1", proxy.port))
    s.sendall(f"GET /bytes/{N} HTTP/1.0\r\nHost: a\r\n\r\n".encode())
    got = read_slowly(s)
    rig.check(got > N, f"{got} bytes of head and body, not {N} and a head")


rig.main(main)
