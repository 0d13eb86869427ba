"""Open-loop latency: every proxy gets the same rate, half of nginx's maximum."""
import os
import subprocess

import contestants
import load
import turns
import workloads
from contestants import rig
from matrix import ATTEMPTS, Stage

OPENLOOP = os.path.join(rig.BUILD, "bench/openloop")
CONNECTIONS = 256    # enough, so that a request that is due need not wait for one
CLOSED = next(w for w in workloads.MATRIX if w.name == "small-64")
NAME = "open-loop"


def openloop(proxy, rate, seconds, setting):
    command = [OPENLOOP, str(proxy.port), "/", str(CONNECTIONS), f"{rate:.0f}", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **contestants.pinned(setting.load))
    return load.parse_result(done.stdout, "openloop")


def measure(proxy, rate, seconds, setting):
    before = proxy.spent()
    result = openloop(proxy, rate, seconds, setting)
    each = load.per_request(before, proxy.spent(), result["requests"])
    return {**each, "rate": result["requests"] / result["seconds"], "p50_us": result["p50"],
            "p99_us": result["p99"], "p999_us": result["p999"], "max_us": result["max"],
            "errors": result["errors"]}


def length_s(rounds, seconds):
    return len(contestants.ALL) * rounds * (seconds + 1) + 2 * seconds


def cell(record, proxy, number, rate, seconds, setting):
    for _ in range(ATTEMPTS):
        result = measure(proxy, rate, seconds, setting)
        if result["errors"] == 0:
            record.add(NAME, proxy.name, number, result)
            return
        record.add(NAME, proxy.name, number, {"failed": result["errors"]})


def saturation(stage, seconds):
    nginx = next(p for p in stage.proxies if p.name == "nginx")
    return load.measure(CLOSED, nginx, seconds, stage)["rate"]


def run(record, rounds, seconds, progress):
    stage = Stage(1, workloads.ALL_NAMES)
    progress.show(f"{NAME}: the maximum rate of nginx")
    with turns.exclusive():
        rate = saturation(stage, 2 * seconds) / 2
    progress.advance(2 * seconds)
    for number in range(1, rounds + 1):
        with turns.exclusive():
            for proxy in stage.proxies:
                progress.show(f"{NAME}: {rate:.0f} requests/s, round {number} of {rounds}, "
                              f"{proxy.name}")
                cell(record, proxy, number, rate, seconds, stage.setting)
                progress.advance(seconds + 1)
    stage.end()
