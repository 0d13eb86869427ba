#!/usr/bin/env python3
"""The admin address with 1,000 upstreams. /metrics is complete and well-formed, with sums and
values by worker; a client that does not read it holds no memory; idle connections are closed to
make room, however many there are; /healthz waits for none of them."""
# asan
import os
import re
import socket
import time

import rig

UPSTREAMS = 1000
NOT_READING = 20
IDLE = 300
GROWTH_KIB = 20 * 1024    # one page with all workers is 7 MiB


def config():
    upstreams = "".join(f"  app{i}: {{ servers: [127.0.0.1:{20000 + i}] }}\n" for i in range(UPSTREAMS))
    routes = "".join(f"  - {{ prefix: /{i}/, proxy: {{ upstream: app{i} }} }}\n"
                     for i in range(UPSTREAMS))
    return "upstreams:\n" + upstreams + "routes:\n" + routes


def families(text):
    """{family: {labels: value}}; every family occurs once, after its HELP and TYPE."""
    found, name, kind, helped = {}, None, None, set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            rig.check(line.split()[2] not in helped, f"twice: {line}")
            helped.add(line.split()[2])
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            rig.check(name not in found and name in helped, f"misplaced: {line}")
            found[name] = {}
        else:
            sample = re.fullmatch(r'(fairlead_\w+?)(\{.*\})? ([0-9.e+-]+)', line)
            rig.check(sample, f"no sample: {line}")
            base = re.sub("_(bucket|sum|count)$", "", sample[1]) if kind == "histogram" else sample[1]
            rig.check(base == name, f"{line} stands among {name}")
            key = (sample[1], sample[2])
            rig.check(key not in found[name], f"twice: {line}")
            found[name][key] = float(sample[3])
    rig.check(all(found.values()), lambda: [name for name in found if not found[name]])
    return found


def pages(proxy):
    sums = families(rig.get(proxy.admin, "/metrics").body.decode())
    each = families(rig.get(proxy.admin, "/metrics?by=worker").body.decode())
    rig.check(sums.keys() == each.keys(), lambda: sums.keys() ^ each.keys())
    rig.check(len(sums["fairlead_upstream_requests_total"]) == UPSTREAMS, "not all upstreams")
    rig.check(len(each["fairlead_upstream_requests_total"]) == 2 * UPSTREAMS, "not all workers")
    rig.check(not any("worker=" in (labels or "") for f in sums.values() for _, labels in f),
              "a label of workers")
    status = rig.get(proxy.admin, "/metrics?by=port").status
    rig.check(status == 400, f"?by=port is {status}")


def clients_not_reading(proxy):
    rig.get(proxy.admin, "/metrics")
    before = proxy.anonymous_kib()
    deaf = []
    for _ in range(NOT_READING):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", proxy.admin))
        s.sendall(b"GET /metrics?by=worker HTTP/1.1\r\nHost: x\r\n\r\n")
        rig.check(s.recv(1) == b"H", "no response")
        deaf.append(s)
    grown = proxy.anonymous_kib() - before
    rig.check(grown < GROWTH_KIB or os.environ.get("VARIANT") == "asan",    # asan frees late
              f"{NOT_READING} clients that do not read: {grown} KiB more")
    pages(proxy)
    # They hold the configuration that they read, and release it.
    rig.check(rig.get(proxy.admin, "/healthz").status == 200, "no /healthz")
    for s in deaf:
        s.close()
    return grown


def idle_connections(proxy):
    idle = [socket.create_connection(("127.0.0.1", proxy.admin)) for _ in range(IDLE)]
    began = time.monotonic()
    rig.check(rig.get(proxy.admin, "/healthz").status == 200, "no /healthz")
    took = time.monotonic() - began
    rig.check(took < 5, f"{IDLE} idle connections: /healthz takes {took:.1f} s")
    for s in idle:
        s.close()


def main():
    proxy = rig.Fairlead(config())
    pages(proxy)
    grown = clients_not_reading(proxy)
    idle_connections(proxy)
    idle_connections(proxy)
    print(f"{rig.ENGINE}: {NOT_READING} clients that do not read hold {grown} KiB")


rig.main(main)
