#!/usr/bin/env python3
"""Memory of connections to a TLS listener: anonymous RSS of the worker process with N of them minus
that without, divided by N. For idle connections after a request each, for connections that have
sent 100 bytes of a ClientHello, for connections that have sent nothing, and for handshakes in
which the client has sent nothing but its ClientHello; and that all of it can be used again
afterwards."""
# release: it measures memory, and sanitizers use memory of their own
import os
import socket
import ssl
import subprocess
import time

import rig
import tlsrig

TLSLOAD = os.path.join(rig.BUILD, "bench/tlsload")
SHAKING = 500
N = 5000 if rig.FULL else 2000
SHARED_BYTES = 1 << 19    # slabs and buffers that are not full
CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}], keepalive: 64, connect_timeout: 10s }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
limits: {{ idle_timeout: 300s, handshake_timeout: 120s, handshakes: 10000, backlog: 16384 }}
"""
CASES = (    # mode and argument of tlsload; bytes of each at most
    ("idle", "/status/200", 2048),
    ("hello", "100", 2048),
    ("hello", "1", 2048),
)
SHAKING_BYTES = {ssl.TLSVersion.TLSv1_3: 50000, ssl.TLSVersion.TLSv1_2: 50000}


class Held:
    """tlsload with all its connections open, until end()."""

    def __init__(self, proxy, mode, argument, n):
        self.process = subprocess.Popen(
            [TLSLOAD, mode, str(proxy.port), argument, str(n)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        rig.check(self.process.stdout.readline() == "ready\n", f"{mode}: tlsload failed")

    def end(self):
        self.process.communicate()


def lowest(proxy, patience_s=3):
    """The memory in use after the proxy has returned what it does not need."""
    seen = [proxy.anonymous_kib()]
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        time.sleep(0.25)
        seen.append(proxy.anonymous_kib())
    return min(seen)


class Shaking:
    """Clients that have sent a whole ClientHello each, and read nothing, until end()."""

    def __init__(self, proxy, made, version, n=SHAKING):
        self.sockets = []
        for _ in range(n):
            out = ssl.MemoryBIO()
            client = tlsrig.context(made, version).wrap_bio(ssl.MemoryBIO(), out,
                                                            server_hostname="localhost")
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                pass
            self.sockets.append(socket.create_connection(("127.0.0.1", proxy.port)))
            self.sockets[-1].sendall(out.read())
            rig.check(self.sockets[-1].recv(1) == b"\x16", "no ServerHello")

    def end(self):
        for s in self.sockets:
            s.close()


def measured(proxy, hold, n):
    before = lowest(proxy, 1.5)
    held = hold()
    rig.until(lambda: proxy.metrics()["connections"] >= n, f"{n} connections")
    time.sleep(1)    # the last of them are read as well
    each = (lowest(proxy) - before) * 1024 / n
    held.end()
    rig.until(lambda: proxy.metrics()["connections"] < 10, "all connections to end", 60)
    return each


def main():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    rig.descriptors()
    made = tlsrig.Pki()
    for mode, argument, most in CASES:
        proxy = rig.Fairlead(CONFIG.format(origin=origin), tls=made.tls())
        Held(proxy, "idle", "/status/200", 50).end()    # what the first connections need once
        each, again = (measured(proxy, lambda: Held(proxy, mode, argument, N), N)
                       for _ in range(2))
        print(f"{rig.ENGINE}: {each:.0f} bytes for each of {N} connections, {mode} {argument}; "
              f"{again:.0f} the second time", flush=True)
        rig.check(each <= most + SHARED_BYTES / N, f"{each:.0f} bytes, not at most {most}")
        rig.check(again <= each + 512, f"{again:.0f} bytes the second time")
        proxy.stop()
    for version, most in SHAKING_BYTES.items():
        proxy = rig.Fairlead(CONFIG.format(origin=origin), tls=made.tls())
        Shaking(proxy, made, version, 10).end()
        each, again = (measured(proxy, lambda: Shaking(proxy, made, version), SHAKING)
                       for _ in range(2))
        print(f"{rig.ENGINE}: {each:.0f} bytes for each of {SHAKING} handshakes, {version.name}; "
              f"{again:.0f} the second time", flush=True)
        rig.check(most / 4 < each <= most + SHARED_BYTES / SHAKING,
                  f"{each:.0f} bytes, not at most {most}")
        proxy.stop()


rig.main(main)
