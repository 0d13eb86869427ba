#!/usr/bin/env python3
"""The benchmark works: every contestant answers a second of load without an error, with a cost
that a machine can have; a large configuration is started and reloaded; the report says so. And the
bare tunnel loses no byte to slow readers, for which its buffers are too small."""
# alone: it measures
# once
import csv
import hashlib
import os
import subprocess
import sys

import rig

sys.path.insert(0, os.path.join(rig.ROOT, "bench"))
import record  # noqa: E402
import table  # noqa: E402

BENCH = os.path.join(rig.ROOT, "bench/run")
CONTESTANTS = {"fairlead", "fairlead-epoll", "nginx", "haproxy", "tunnel"}
LARGE = [(work, name) for work in ("loading", "reloading")
         for name in ("fairlead", "fairlead-epoll")]
SECURE = {"fairlead", "fairlead-epoll", "fairlead-openssl", "nginx", "haproxy"}
READERS, FILE_BYTES = 24, 10 << 20
LEAST_US, MOST_US = 1, 2000    # CPU time of a request of 100 B


def rows(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def judge(told):
    def values(figure):
        return {r["contestant"]: float(r["value"]) for r in told if r["figure"] == figure}
    rig.check(not values("failed"), f"errors: {values('failed')}")
    for work in ("tls-small-64", "tls-resumed"):
        found = {r["contestant"] for r in told if (r["workload"], r["figure"]) == (work, "cpu_us")}
        rig.check(found == SECURE, f"{work}: a cost of {sorted(found)} only")
    told = [r for r in told if r["workload"] not in ("tls-small-64", "tls-resumed")]
    cost = values("cpu_us")
    rig.check(set(cost) == CONTESTANTS, f"a cost of {sorted(cost)} only")
    rig.check(all(LEAST_US < c < MOST_US for c in cost.values()), f"{cost}")
    rig.check(all(n > 10 for n in values("requests").values()), f"{values('requests')}")
    enters = values("enters")
    rig.check(set(enters) == {"fairlead", "tunnel"} and all(0.001 < n < 5 for n in
                                                            enters.values()), f"{enters}")
    large = [(r["workload"], r["contestant"]) for r in told if r["figure"] == "seconds"]
    rig.check(sorted(large) == LARGE, f"a large configuration: {large}")
    print({name: f"{c:.1f} us" for name, c in cost.items()})


def slow_readers(port, file):
    """READERS clients at once through the tunnel; each must get the whole file."""
    out = [os.path.join(rig.TMP, f"read-{i}") for i in range(READERS)]
    curls = [subprocess.Popen(["curl", "-sS", "--limit-rate", "20M", "-m", "60", "-o", path,
                               f"http://127.0.0.1:{port}/{file}"]) for path in out]
    statuses = [curl.wait() for curl in curls]
    rig.check(not any(statuses), f"curl ended with {statuses}")
    for path in out:
        with open(path, "rb") as f:
            yield hashlib.md5(f.read()).hexdigest()
        os.unlink(path)


def tunnel_keeps_all():
    port, origin = rig.free_ports(2)
    whole = os.urandom(FILE_BYTES)
    with open(os.path.join(rig.TMP, "whole"), "wb") as f:
        f.write(whole)
    rig.nginx(origin, "location / { }")
    rig.Program("tunnel", [os.path.join(rig.BUILD, "bench/tunnel"), str(port), "127.0.0.1",
                           str(origin), os.path.join(rig.TMP, "counts")], ready="ready")
    right = hashlib.md5(whole).hexdigest()
    wrong = sum(md5 != right for md5 in slow_readers(port, "whole"))
    rig.check(not wrong, f"{wrong} of {READERS} files were not what the origin sent")


def told(mine, peers):
    """A record of one row: a figure of fairlead and one of nginx for each round."""
    return record.Record([("small-64", n, i, "cpu_us", v) for n, values in
                          (("fairlead", mine), ("nginx", peers)) for i, v in enumerate(values)])


def verdicts():
    """A claim with rounds on both sides of it is neither met nor missed."""
    target = {"workload": "small-64", "figure": "cpu_us", "of": "fairlead", "against": "nginx",
              "must": "0.90", "aim": "0.70"}
    for mine, peers, wanted in (
            ((8, 8.5, 8.8), (10, 10, 10), "yes"),
            ((6, 6.5, 6.8), (10, 10, 10), "**aim**"),
            ((9.1, 9.5, 11), (10, 10, 10), "**no**"),
            ((8, 8.5, 12.6), (10, 10, 10), "inconclusive"),
            ((8, 16, 24), (10, 20, 30), "yes"),           # the machine, not the program
            ((8, 8, 8, 8, 20), (10,) * 5, "yes"),         # one bad round of five
            ((8,), (10,), "inconclusive"),
            ((8, 8.5, 8.8), (), "not measured")):
        said = table.verdict(table.measured(told(mine, peers), target), target)
        rig.check(said == wanted, f"{mine} to {peers}: {said}, not {wanted}")
    once = record.Record([("idle", "fairlead", 1, "bytes", 400)])
    memory = {"workload": "idle", "figure": "bytes", "of": "fairlead", "against": "", "aim": "",
              "must": "512"}
    said = table.verdict(table.measured(once, memory), memory)
    rig.check(said == "yes", f"400 bytes of 512: {said}")


def main():
    verdicts()
    tunnel_keeps_all()
    for peer in ("nginx", "haproxy", "wrk", "memcached"):
        if not os.path.exists(os.path.join(rig.PEERS, peer)):
            rig.skip(f"no {peer}: tools/bring test bench fetches it")
    done = subprocess.run([BENCH, "--only",
                           "small-64,loading,tls-small-64,tls-resumed", "--rounds", "1", "--seconds", "1",
                           "--no-charts", "--out", rig.TMP], capture_output=True, text=True)
    rig.check(done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:])
    judge(rows(os.path.join(rig.TMP, "rounds.csv")))
    rig.check("| 100 B, 64 connections |" in done.stdout, done.stdout)


rig.main(main)
