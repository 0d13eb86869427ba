#!/usr/bin/env python3
"""The benchmark still works: every contestant answers a second of load without an error, and
what it costs is something that a machine could have spent; the report says so."""
# once
# timeout: 120
import csv
import os
import subprocess

import rig

BENCH = os.path.join(rig.ROOT, "bench/run")
CONTESTANTS = {"fairlead", "fairlead-epoll", "nginx", "haproxy", "tunnel"}
LEAST_US, MOST_US = 1, 2000    # of CPU for a request of 100 B


def rows(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def judge(told):
    def values(figure):
        return {r["contestant"]: float(r["value"]) for r in told if r["figure"] == figure}
    rig.check(not values("failed"), f"errors: {values('failed')}")
    cost = values("cpu_us")
    rig.check(set(cost) == CONTESTANTS, f"a cost of {sorted(cost)} only")
    rig.check(all(LEAST_US < c < MOST_US for c in cost.values()), f"{cost}")
    rig.check(all(n > 10 for n in values("requests").values()), f"{values('requests')}")
    enters = values("enters")
    rig.check(set(enters) == {"fairlead", "tunnel"} and all(0.001 < n < 5 for n in
                                                            enters.values()), f"{enters}")
    print({name: f"{c:.1f} us" for name, c in cost.items()})


def main():
    for peer in ("nginx", "haproxy", "wrk", "memcached"):
        if not os.path.exists(os.path.join(rig.PEERS, peer)):
            rig.skip(f"no {peer}: tools/bring test bench fetches it")
    done = subprocess.run([BENCH, "--only", "small-64", "--rounds", "1", "--seconds", "1",
                           "--no-charts", "--out", rig.TMP], capture_output=True, text=True)
    rig.check(done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:])
    judge(rows(os.path.join(rig.TMP, "rounds.csv")))
    rig.check("| 100 B, 64 connections |" in done.stdout, done.stdout)


rig.main(main)
