#!/usr/bin/env python3
"""rate_limit and concurrency_limit with several workers: not one request more than the limit, however
they are spread; a reload keeps what was used; what is in flight is counted exactly."""
# asan
import collections
import concurrent.futures
import signal
import time

import rig

BURST = 60
CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}], reuse: always }} }}
routes:
  - prefix: /bytes/
    rate_limit: {{ requests: 1/m, burst: {burst}, key: "${{header.X-Key}}" }}
    proxy: {{ upstream: app }}
  - prefix: /delay/
    concurrency_limit: {{ requests: 5 }}
    proxy: {{ upstream: app }}
  - prefix: /chunked/
    rate_limit: {{ requests: 20/s, burst: 1, delay: 10s }}
    proxy: {{ upstream: app }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""


def statuses(pool, port, path, n, fields=""):
    answers = list(pool.map(lambda _: rig.get(port, path, fields), range(n)))
    return collections.Counter(a.status for a in answers), answers


def reload(proxy):
    before = proxy.log().count("fairlead: reloaded")
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.log().count("fairlead: reloaded") > before, "the reload")


def test():
    origin = rig.free_ports(1)[0]
    rig.lab("0ms", origin)
    proxy = rig.Fairlead(CONFIG.format(origin=origin, burst=BURST), workers=4)
    pool = concurrent.futures.ThreadPoolExecutor(40)

    for key in ("a", "b"):
        seen, answers = statuses(pool, proxy.port, "/bytes/1", 2 * BURST, f"X-Key: {key}\r\n")
        rig.check(seen == {200: BURST, 429: BURST}, f"key {key}: {seen}")
        left = sorted(int(a.field("ratelimit").split("r=")[1].split(";")[0])
                      for a in answers if a.status == 200)
        # The clocks of two workers differ by the time of a tick.
        rig.check(all(abs(a - b) <= 1 for a, b in zip(left, range(BURST))), f"what was left: {left}")
        rig.check(all(int(a.field("retry-after")) <= 60 for a in answers if a.status == 429),
                  "Retry-After")
    reload(proxy)
    seen, _ = statuses(pool, proxy.port, "/bytes/1", 5, "X-Key: a\r\n")
    rig.check(seen == {429: 5}, f"after a reload: {seen}")
    seen, _ = statuses(pool, proxy.port, "/headers", 20)
    rig.check(seen == {200: 20}, f"another route: {seen}")

    # 40 at once, each takes 200 ms: the first five, and no more before one of them has ended.
    seen, _ = statuses(pool, proxy.port, "/delay/200", 40)
    rig.check(5 <= seen[200] <= 15 and seen[200] + seen[429] == 40, f"at once: {seen}")
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == 0, "no request in flight")
    for _ in range(20):
        seen, _ = statuses(pool, proxy.port, "/delay/200", 5)
        rig.check(seen == {200: 5}, f"five at once: {seen}")

    begun = time.monotonic()
    seen, _ = statuses(pool, proxy.port, "/chunked/1", 30)
    took = time.monotonic() - begun
    rig.check(seen == {200: 30} and took > 29 / 20, f"in turn: {seen} in {took:.2f} s")

    metrics = proxy.metrics()
    rig.check(metrics["rate_limits_exceeded_total"] >= 2 * BURST + 5 + 29, metrics)
    rig.check(metrics["requests_delayed_total"] >= 20, metrics)
    rig.check(metrics["concurrency_limits_exceeded_total"] >= 25, metrics)


rig.main(test)
