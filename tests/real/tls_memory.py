#!/usr/bin/env python3
"""Memory of connections to a TLS listener: anonymous RSS of the worker process with N of them minus
that without, divided by N. For idle connections after a request each, for connections that have
sent 100 bytes of a ClientHello, and for connections that have sent nothing; and that all of it
can be used again afterwards."""
# release: it measures memory, and sanitizers use memory of their own
import os
import subprocess
import time

import rig
import tlsrig

TLSLOAD = os.path.join(rig.BUILD, "bench/tlsload")
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


def measured(proxy, mode, argument):
    before = lowest(proxy, 1.5)
    held = Held(proxy, mode, argument, N)
    rig.until(lambda: proxy.metrics()["connections"] >= N, f"{N} connections")
    time.sleep(1)    # the last of them are read as well
    each = (lowest(proxy) - before) * 1024 / N
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
        each = measured(proxy, mode, argument)
        again = measured(proxy, mode, argument)
        print(f"{rig.ENGINE}: {each:.0f} bytes for each of {N} connections, {mode} {argument}; "
              f"{again:.0f} the second time", flush=True)
        rig.check(each <= most + SHARED_BYTES / N, f"{each:.0f} bytes, not at most {most}")
        rig.check(again <= each + 512, f"{again:.0f} bytes the second time")
        proxy.stop()


rig.main(main)
