#!/usr/bin/env python3
"""A descriptor limit far too small for the number of clients: no client gets a broken response,
all are served in the end, the pauses are counted, and waiting costs no CPU."""
import resource
import socket
import time

import rig

LIMIT = 300    # of which 200 are reserved for other uses
CLIENTS = 400
CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""


def few():
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))


def asked(port, path):
    s = socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S)
    s.settimeout(60)
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return s


def read_all(s):
    text = b""
    with s:
        while chunk := s.recv(65536):
            text += chunk
    return text


def all_served(proxy):
    """More clients than descriptors at once, with responses slow enough that others wait."""
    clients = [asked(proxy.port, "/delay/100") for _ in range(CLIENTS)]
    answers = [read_all(s) for s in clients]
    whole = [a for a in answers if a.startswith(b"HTTP/1.1 200 ") and a.endswith(b"ok\n")]
    rig.check(len(whole) == CLIENTS,
              lambda: f"{len(whole)} of {CLIENTS}; {[a for a in answers if a not in whole][:3]}")


def no_spin(proxy):
    """Idle connections use all descriptors: nothing can be accepted, and no CPU is used."""
    held = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(CLIENTS)]
    rig.until(lambda: proxy.metrics()["accept_pauses_total"] > pauses(proxy), "a pause")
    before, began = proxy.cpu_us(), time.monotonic()
    time.sleep(1)
    share = (proxy.cpu_us() - before) / ((time.monotonic() - began) * 1e6)
    print(f"{rig.ENGINE}: {share:.1%} of a CPU while {CLIENTS} connections want "
          f"{proxy.metrics()['connections']:.0f} places")
    rig.check(share < 0.2, f"it spins: {share:.0%} of a CPU")
    for s in held:
        s.close()


def pauses(proxy, first=[]):
    first.append(proxy.metrics()["accept_pauses_total"])
    return first[0]


def main():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    proxy = rig.Fairlead(CONFIG.format(origin=origin), preexec_fn=few)
    all_served(proxy)
    rig.check(proxy.metrics()["accept_pauses_total"] > 0, "no pause was counted")
    no_spin(proxy)
    rig.until(lambda: proxy.metrics()["connections"] == 0, "the connections to be gone")
    rig.check(rig.get(proxy.port, "/status/200").status == 200, "it does not recover")


rig.main(main)
