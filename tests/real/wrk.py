#!/usr/bin/env python3
"""wrk at 64 and 512 connections through an nginx origin: no error, each request counted and logged
once. Prints the cost of a request; the times are not checked."""
# release: it prints the cost of a request
import os

import rig

SECONDS = 60 if rig.FULL else 5
CONFIG = """
access_log: {{ path: {log}, format: combined }}
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}], keepalive: 1024 }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""


def lines(path):
    with open(path, "rb") as f:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: f.read(1 << 20), b""))


def round_of(proxy, connections):
    before, cpu = proxy.metrics(), proxy.cpu_us()
    done, errors, rate = rig.wrk(proxy.port, "/", connections, SECONDS)
    cpu = proxy.cpu_us() - cpu
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == 0, "the last responses")
    after = proxy.metrics()
    gained = {k: after[k] - before.get(k, 0) for k in after}
    print(f"{rig.ENGINE} {connections} connections: {done} requests, {rate:.0f}/s, "
          f"{cpu / done:.1f} us of CPU, {gained['engine_enters_total'] / done:.3f} enters, "
          f"{gained['engine_submissions_total'] / done:.2f} submissions and "
          f"{gained['engine_completions_total'] / done:.2f} completions a request")
    rig.check(errors == 0, f"{errors} of {done} requests failed")
    # wrk drops the requests it has sent last, at most one per connection.
    counted = gained["requests_total"]
    rig.check(done <= counted <= done + connections,
              f"wrk made {done} requests, {counted:.0f} were counted")
    rig.check(gained["responses_total_2xx"] >= done, f"2xx: {gained['responses_total_2xx']}")
    rig.check(gained["responses_total_5xx"] == 0, f"5xx: {gained['responses_total_5xx']}")


def main():
    origin, = rig.free_ports(1)
    log = os.path.join(rig.TMP, "access.log")
    rig.nginx(origin)
    proxy = rig.Fairlead(CONFIG.format(origin=origin, log=log))
    for connections in (64, 512):
        round_of(proxy, connections)
    total = proxy.metrics()
    proxy.stop()
    written, counted = lines(log), total["log_lines_total"] + total["log_lines_dropped_total"]
    print(f"{written} log lines, {total['log_lines_dropped_total']:.0f} dropped")
    rig.check(proxy.ended() == 0, "exit status is not 0")
    rig.check(total["requests_total"] == written + total["log_lines_dropped_total"],
              f"{total['requests_total']:.0f} requests, {written} lines in the log, {counted:.0f} "
              f"counted")


rig.main(main)
