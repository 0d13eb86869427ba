#!/usr/bin/env python3
"""Retries, deadlines and hedges in front of real nginx: one that is busy, one that hangs. What the
client gets, and how many more requests the origins get than were sent."""
import os
import signal
import time

import rig

SHARE = 20
CLIENTS = 16    # which may leave at the end: their requests count for the budget only
BUSY = "access_log {log} combined; location / {{ return 503; }}"
CONFIG = """
upstreams:
  busy: {{ servers: [127.0.0.1:{busy}] }}
  half: {{ servers: [127.0.0.1:{busy}, 127.0.0.1:{good}] }}
  hangs: {{ servers: [127.0.0.1:{good}, 127.0.0.1:{hangs}], eject_failures: off }}
routes:
  - prefix: /storm
    proxy: {{ upstream: busy }}
    retry: {{ tries: 4, backoff: 1ms, budget_percent: {share}, budget_per_second: 0 }}
  - prefix: /half/plain
    proxy: {{ upstream: half }}
  - prefix: /half/
    proxy: {{ upstream: half }}
    retry: {{ on: [503], tries: 2, budget_percent: 100 }}
  - prefix: /hangs/plain
    proxy: {{ upstream: hangs }}
    deadline: 1s
  - prefix: /hangs/hedged
    proxy: {{ upstream: hangs }}
    deadline: 30s
    hedge: {{ percentile: 90, budget_percent: 100 }}
  - prefix: /hangs/
    proxy: {{ upstream: hangs }}
    deadline: 30s
    retry: {{ on: [timeout], per_try_timeout: 1s, budget_percent: 100 }}
"""


def gained(proxy, before):
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == 0, "the last responses")
    after = proxy.metrics()
    return {k: after[k] - before.get(k, 0) for k in after}


def storm(proxy, log):
    """All requests fail: the origin gets a share more requests, not four times as many."""
    before = proxy.metrics()
    done, errors, _ = rig.wrk(proxy.port, "/storm", CLIENTS, 1)
    got = gained(proxy, before)
    retries = got["upstream_retries_total"]
    with open(log) as f:
        seen = sum(1 for _ in f)
    print(f"storm: {done} answered, {seen} received, {retries:.0f} retries, "
          f"{got['upstream_retry_refusals_total']:.0f} refused")
    rig.check(errors >= done > 0, f"{errors} of {done} failed")
    rig.check(seen <= got["upstream_requests_total"], f"nginx saw {seen}")
    first = got["upstream_requests_total"] - retries
    rig.check(first * SHARE / 200 <= retries <= (first + CLIENTS) * SHARE / 100,
              f"{retries} retries of {first} requests")


def half(proxy):
    before = proxy.metrics()
    done, errors, _ = rig.wrk(proxy.port, "/half/plain", 8, 1)
    rig.check(errors > done / 4, f"without retries {errors} of {done} failed")
    done, errors, _ = rig.wrk(proxy.port, "/half/", 8, 1)
    retries = gained(proxy, before)["upstream_retries_total"]
    print(f"half: {done} requests, {errors} failed, {retries:.0f} retries")
    rig.check(errors == 0, f"with retries {errors} of {done} failed")
    rig.check(retries > done / 4, f"{retries} retries of {done}")


def asked(proxy, path, n):
    """How many requests were answered, and the longest time."""
    good, longest = 0, 0
    for _ in range(n):
        begun = time.monotonic()
        good += rig.get(proxy.port, path).status == 200
        longest = max(longest, time.monotonic() - begun)
    return good, longest


def hangs(proxy, origin):
    rig.wrk(proxy.port, "/hangs/hedged", 4, 1)
    before = proxy.metrics()
    origin.signal(signal.SIGSTOP)
    try:
        good, longest = asked(proxy, "/hangs/plain", 4)
        print(f"hangs: {good} of 4 answered, within {longest:.2f} s")
        rig.check(good < 4, "nothing hangs")
        rig.check(gained(proxy, before)["upstream_deadlines_total"] == 4 - good, "deadlines")
        good, longest = asked(proxy, "/hangs/timed", 8)
        print(f"hangs, retry after 1 s: {good} of 8 answered, within {longest:.2f} s")
        rig.check(good == 8 and longest >= 1, f"{good} of 8 within {longest}")
        good, longest = asked(proxy, "/hangs/hedged", 20)
        got = gained(proxy, before)
        print(f"hangs, hedged: {good} of 20 answered, within {longest:.3f} s, "
              f"{got['upstream_hedges_won_total']:.0f} of {got['upstream_hedges_total']:.0f} "
              f"hedges won")
        rig.check(good == 20, f"{good} of 20 answered")
        rig.check(got["upstream_hedges_won_total"] > 0, "no hedge won")
    finally:
        origin.signal(signal.SIGCONT)


def main():
    busy, good, hanging = rig.free_ports(3)
    log = os.path.join(rig.TMP, "busy.log")
    rig.nginx(busy, BUSY.format(log=log))
    rig.nginx(good)
    origin = rig.nginx(hanging)
    proxy = rig.Fairlead(CONFIG.format(busy=busy, good=good, hangs=hanging, share=SHARE),
                         workers=1)
    storm(proxy, log)
    half(proxy)
    hangs(proxy, origin)
    proxy.stop()
    rig.check(proxy.ended() == 0, "exit status is not 0")


rig.main(main)
