#!/usr/bin/env python3
"""N requests at once to /sync and /cache of examples/concurrency.yaml take the slow servers'
delay once, and with c allowed at once ceil(N/c) times; none fails. FULL=1 uses the largest N and
alternates with a bare TCP tunnel for comparison."""
# alone: it compares times
# release: it compares times with a bare tunnel
import math
import os
import statistics
import time

import rig

DELAY_S = 2
ROUNDS = 3
# Connecting needs CPU, too, of which a busy machine has little. So the limits of times are
# generous here; measure by hand.
GENEROUS_S = 30


def dropped():
    """Connections refused by the kernel because of a full backlog, on the whole machine."""
    with open("/proc/net/netstat") as f:
        names, values = [line.split()[1:] for line in f if line.startswith("TcpExt:")]
    count = dict(zip(names, map(int, values)))
    return count["ListenDrops"]


def ask(port, path, n, at_once=None):
    before = dropped()
    r = rig.load(port, path, n, at_once)
    rig.check(r["ok"] == n, f"{path}, {n} at once: {r}")
    most = DELAY_S * math.ceil(n / (at_once or n))
    rig.check(most - 0.1 <= r["seconds"] <= most + GENEROUS_S,
              f"{path}, {n} requests, {at_once or n} at once, took {r['seconds']} s")
    r["drops"] = dropped() - before
    return r


def show(what, n, r):
    print(f"{rig.ENGINE} {what} {n}: {r['seconds']:.2f} s, connected after "
          f"{r['connected']:.2f} s, first response after {r['first']:.2f} s, "
          f"{r['drops']} connections dropped at a backlog", flush=True)


def settle(proxy):
    """Waits until the last round has left nothing behind."""
    rig.until(lambda: proxy.metrics()["connections"] <= 1, "clients to be gone")
    time.sleep(1.1)    # the kernel reuses a port in TIME_WAIT after a second


def compare(proxy, ways, n):
    took = {what: [] for what in ways}
    for _ in range(ROUNDS):
        for what, (port, path) in ways.items():
            r = ask(port, path, n)
            took[what].append(r["seconds"])
            show(what, n, r)
            settle(proxy)
    middle = {what: statistics.median(seconds) for what, seconds in took.items()}
    for what in ("/sync", "/cache"):
        print(f"{rig.ENGINE} {n} requests, medians of {ROUNDS}: {what} {middle[what]:.2f} s, "
              f"tunnel {middle['tunnel']:.2f} s, ratio {middle[what] / middle['tunnel']:.2f}")


def main():
    largest = rig.most_requests()
    http, memcached, tunnel = rig.free_ports(3)
    rig.lab(f"{DELAY_S}s", http, memcached)
    proxy = rig.Fairlead(rig.example("concurrency", http, memcached))
    for path in ("/sync", "/cache"):
        for n in (1, 100, 1000):
            show(path, n, ask(proxy.port, path, n))
    show("/sync, 100 at once,", 250, ask(proxy.port, "/sync", 250, at_once=100))
    if rig.FULL:
        rig.Program("tunnel", [os.path.join(rig.TOOLS, "tunnel"), str(tunnel), "127.0.0.1",
                               str(http)], ready="ready")
        settle(proxy)
        compare(proxy, {"tunnel": (tunnel, "/"), "/sync": (proxy.port, "/sync"),
                        "/cache": (proxy.port, "/cache")}, largest)


rig.main(main)
