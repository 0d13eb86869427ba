#!/usr/bin/env python3
"""rate_limit with `shared`: two processes and a real memcached hold one limit together. With the
memcached killed or stopped each has its own, and no request waits longer than its timeout."""
# asan
import collections
import concurrent.futures
import itertools
import signal
import time

import rig

BURST = 60
EACH = 80
CONFIG = """
upstreams:
  app: {{ servers: [127.0.0.1:{origin}], reuse: always }}
  limits: {{ protocol: memcached, servers: [127.0.0.1:{memcached}], timeout: 60s }}
routes:
  - prefix: /bytes/
    rate_limit: {{ requests: 1/m, burst: {burst}, key: "${{header.X-Key}}",
                   shared: {{ upstream: limits, timeout: 10s }} }}
    proxy: {{ upstream: app }}
  - prefix: /delay/
    rate_limit: {{ requests: 1/m, burst: {burst}, key: "${{header.X-Key}}",
                   shared: {{ upstream: limits, timeout: 100ms }} }}
    proxy: {{ upstream: app }}
  - prefix: /chunked/
    rate_limit: {{ requests: 10/s, burst: 1, key: all, delay: 60s,
                   shared: {{ upstream: limits, timeout: 10s }} }}
    proxy: {{ upstream: app }}
  - prefix: /headers
    rate_limit: {{ requests: 1/h, key: all, dry_run: on,
                   shared: {{ upstream: limits, timeout: 10s }} }}
    proxy: {{ upstream: app }}
"""
pool = concurrent.futures.ThreadPoolExecutor(40)
keys = (f"key-{i}" for i in itertools.count())


def both(proxies, path, key, each=EACH):
    """The statuses of requests to both at the same time, and the responses."""
    ports = [p.port for p in proxies] * each
    answers = list(pool.map(lambda port: rig.get(port, path, f"X-Key: {key}\r\n"), ports))
    return collections.Counter(a.status for a in answers), answers


def total(proxies, name):
    return sum(p.metrics()[name] for p in proxies)


def is_shared(proxies, path="/bytes/1"):
    seen, _ = both(proxies, path, next(keys))
    return seen == {200: BURST, 429: 2 * EACH - BURST}


def test():
    origin, port = rig.free_ports(2)
    rig.lab("0ms", origin)
    memcached = rig.memcached(port)
    config = CONFIG.format(origin=origin, memcached=port, burst=BURST)
    proxies = [rig.Fairlead(config, workers=2) for _ in range(2)]

    # Not one request more, and not one less, however they are spread over the processes.
    for key in ("a", "b"):
        seen, answers = both(proxies, "/bytes/1", key)
        rig.check(seen == {200: BURST, 429: 2 * EACH - BURST}, f"{key}: {seen}")
        refused = [a for a in answers if a.status == 429]
        rig.check(all(1 <= int(a.field("retry-after")) <= 7200 and
                      a.field("ratelimit") == f'"default";r=0;t={a.field("retry-after")}'
                      for a in refused), lambda: [(a.field("retry-after"), a.field("ratelimit")) for a in refused])
        # What was refused was not counted: the next ones are refused for the same reason.
        seen, _ = both(proxies, "/bytes/1", key, 5)
        rig.check(seen == {429: 10}, f"{key} again: {seen}")
    rig.check(total(proxies, "rate_limits_unshared_total") == 0, "all were judged together")
    rig.check(total(proxies, "rate_limits_shared_total") >= 2 * BURST, "judged together")

    # A delay is that of all together: 30 of each at 10/s, the first 10 at once.
    begun = time.monotonic()
    seen, _ = both(proxies, "/chunked/1", "x", 15)
    took = time.monotonic() - begun
    rig.check(seen == {200: 30} and took > 1.4, f"in turn: {seen} in {took:.2f} s")

    before = total(proxies, "rate_limits_exceeded_total")
    seen, answers = both(proxies, "/headers", "x", 3)
    rig.check(seen == {200: 6} and not any(a.field("ratelimit") for a in answers),
              f"dry run: {seen}")
    rig.check(total(proxies, "rate_limits_exceeded_total") == before + 5, "dry run: counted")

    # Without the memcached each process has its own limit.
    memcached.process.kill()
    memcached.process.wait()
    seen, _ = both(proxies, "/bytes/1", next(keys))
    rig.check(seen == {200: 2 * BURST, 429: 2 * EACH - 2 * BURST}, f"killed: {seen}")
    rig.check(total(proxies, "rate_limits_unshared_total") >= 2 * BURST, "unshared")
    for p in proxies:
        lines = [line for line in p.log().splitlines() if "rate limits are not shared" in line]
        rig.check(1 <= len(lines) <= 2 and "'limits'" in lines[0], f"one line each: {lines}")

    memcached = rig.memcached(port)
    rig.until(lambda: is_shared(proxies), "shared again after a restart", 90)

    # One that takes connections and requests but never replies.
    memcached.signal(signal.SIGSTOP)
    begun = time.monotonic()
    seen, _ = both(proxies, "/delay/0", next(keys))
    rig.check(seen == {200: 2 * BURST, 429: 2 * EACH - 2 * BURST}, f"stopped: {seen}")
    rig.check(time.monotonic() - begun < 30, "waited for a stopped memcached")
    memcached.signal(signal.SIGCONT)
    rig.until(lambda: is_shared(proxies), "shared again after a stop", 90)

    # A reload in between changes nothing.
    key = next(keys)
    seen, _ = both(proxies, "/bytes/1", key, 15)
    rig.check(seen == {200: 30}, f"before a reload: {seen}")
    for p in proxies:
        count = p.log().count("fairlead: reloaded")
        p.signal(signal.SIGHUP)
        rig.until(lambda: p.log().count("fairlead: reloaded") > count, "the reload")
    seen, _ = both(proxies, "/bytes/1", key)
    rig.check(seen[200] == BURST - 30, f"after a reload: {seen}")


rig.main(test)
