#!/usr/bin/env python3
"""The programs that bench/concurrency compares fairlead with still start, answer, and are
measured: few requests, a short wait, and only those that are installed."""
# once
import importlib.machinery
import importlib.util
import os
import sys

import rig

sys.dont_write_bytecode = True
DELAY_S = 0.3
N = 20
LIMIT_S = 20


def bench():
    """Loads the script, whose name is not that of a module."""
    loader = importlib.machinery.SourceFileLoader("concurrency",
                                                  os.path.join(rig.ROOT, "bench/concurrency"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("concurrency", loader))
    loader.exec_module(module)
    return module


def check_cell(b, contestant, work):
    n = 2 if work in ("block", "cpu", "cpu/pool") else N
    row = b.cell(contestant, work, n, DELAY_S, LIMIT_S)
    rig.check(row["completed"] == n and row["failed"] == 0 and row["unfinished"] == 0, f"{row}")
    rig.check(work.startswith("cpu") or row["seconds"] >= DELAY_S, f"it did not wait: {row}")
    rig.check(row["cpu_us"] > 0, f"no CPU time: {row}")
    rig.check(work.startswith("cpu") or 1 <= row["waiting"] <= n, f"no request waited: {row}")
    return row


def check_serial(b):
    """A server that serves one at a time is stopped in the middle; what it completed is counted."""
    contestant = b.waiters.Fairlead("epoll")
    row = b.cell(contestant, "block", 100, DELAY_S, 3 * DELAY_S)
    rig.check(row["unfinished"] > 0, f"a hundred blocking calls in no time: {row}")
    rig.check(row["completed"] + row["unfinished"] == 100, f"{row}")
    rig.check(3 * DELAY_S <= row["seconds"] < LIMIT_S, f"not stopped: {row}")


def main():
    b = bench()
    versions = {c: c.version() for c in b.waiters.ALL}
    rows = []
    for contestant in (c for c in b.waiters.ALL if versions[c]):
        for work in contestant.works:
            rows.append(check_cell(b, contestant, work))
    check_serial(b)
    absent = [c for c in b.waiters.ALL if not versions[c]]
    print("not installed:", ", ".join(c.name for c in absent) or "none")
    text = b.table(rows, [2, N], absent, [v for v in versions.values() if v])
    rig.check(all(f"| {c.name} |" in text for c in b.waiters.ALL), f"a row is missing:\n{text}")
    print(text)


rig.main(main)
