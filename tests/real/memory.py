#!/usr/bin/env python3
"""Memory per connection: anonymous RSS of the worker process with N connections minus that
without, divided by N. For idle keep-alive connections after one request each, and for requests
that wait for a slow origin."""
# release: it measures memory, and sanitizers use memory of their own
# alone: beside other tests more requests are in progress at once, which leaves more behind
import os
import subprocess
import time

import rig

IDLE_BYTES_MAX = 512    # with 10,000 connections; with fewer the fixed costs weigh more
SHARED_BYTES = 1 << 19
IDLE_RUNS = 3
# The target is 4,096, which `make bench W=waiting-memory` holds (4,034 on io_uring). Here, with what
# a run leaves behind, epoll took 4,252 since spans, phases and rates made a request 248 bytes larger.
WAITING_BYTES_MAX = 4352
DELAYS_S = (8, 16, 32)    # a slow or busy machine needs longer to send all requests
CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}], keepalive: 64, connect_timeout: 10s }} }}
routes:
  - prefix: /
    proxy: {{ upstream: app }}
limits: {{ header_timeout: 60s, idle_timeout: 300s, backlog: 16384 }}
"""


def holding(port, path, n):
    """n connections that stay open after their response, until its input is closed."""
    return subprocess.Popen([os.path.join(rig.TOOLS, "load"), "-k", "127.0.0.1", str(port), path,
                             str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def connections(proxy, n):
    return lambda: proxy.metrics()["connections"] >= n


def lowest(proxy, patience_s=6):
    """The memory in use after the proxy has returned what it does not need."""
    seen = [proxy.anonymous_kib()]
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        time.sleep(0.25)
        seen.append(proxy.anonymous_kib())
    return min(seen)


def idle(origin, n):
    """What a connection needs is the least of several runs: how many requests are in progress at
    once before they are idle, and what that leaves behind, depends on the machine."""
    most = IDLE_BYTES_MAX + (SHARED_BYTES / n if n < 9000 else 0)
    for _ in range(IDLE_RUNS):
        each = idle_once(origin, n)
        print(f"{rig.ENGINE}: {each:.0f} bytes for each of {n} idle connections", flush=True)
        if each <= most:
            return
    rig.check(False, f"{each:.0f} bytes, not at most {most:.0f}")


def idle_once(origin, n):
    proxy = rig.Fairlead(CONFIG.format(origin=origin))
    rig.check(rig.load(proxy.port, "/status/200", 10)["failed"] == 0, "10 requests")
    before = proxy.anonymous_kib()
    with holding(proxy.port, "/status/200", n) as held:
        told = rig.load_result(held.stdout.readline())
        rig.check(told["failed"] == 0, f"{told}")
        rig.until(connections(proxy, n), f"{n} connections")
        each = (lowest(proxy) - before) * 1024 / n
        held.stdin.close()
    proxy.stop()
    return each


def waiting(origin, n):
    for delay_s in DELAYS_S:
        waits, each = waiting_for(origin, n, delay_s)
        if waits == n:
            break
        print(f"only {waits:.0f} of {n} were waiting for {delay_s} s when it was measured")
    print(f"{rig.ENGINE}: {each:.0f} bytes for each of {n} waiting requests", flush=True)
    rig.check(waits == n, "they were never all waiting")
    rig.check(each <= WAITING_BYTES_MAX, f"{each:.0f} bytes, not at most {WAITING_BYTES_MAX}")


def waiting_for(origin, n, delay_s):
    """How many requests were waiting, and the memory of each."""
    proxy = rig.Fairlead(CONFIG.format(origin=origin))
    rig.check(rig.load(proxy.port, "/status/200", 10)["failed"] == 0, "10 requests")
    before = proxy.anonymous_kib()
    with holding(proxy.port, f"/delay/{delay_s * 1000}", n) as held:
        # The last ones have reached the origin, and the first ones are not answered yet.
        rig.until(lambda: proxy.metrics()["upstream_requests_total"] >= n + 10, f"{n} requests",
                  60)
        each = (lowest(proxy, 2) - before) * 1024 / n
        waits = proxy.metrics()["requests_in_flight"]
        told = rig.load_result(held.stdout.readline())
        held.stdin.close()
    proxy.stop()
    rig.check(told["failed"] == 0, f"{told}")
    return waits, each


def main():
    n = rig.most_requests()
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    idle(origin, n)
    waiting(origin, n)


rig.main(main)
