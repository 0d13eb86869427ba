"""Open-loop latency: every proxy gets the same rate, half of what nginx can take."""
import os
import subprocess

import contestants
import load
import turns
import workloads
from contestants import rig
from matrix import Stage, TRIES

OPENLOOP = os.path.join(rig.BUILD, "bench/openloop")
CONNECTIONS = 256    # so that a request which is due does not wait for one
CLOSED = next(w for w in workloads.MATRIX if w.name == "small-64")
NAME = "open-loop"


def openloop(proxy, rate, seconds, setting):
    command = [OPENLOOP, str(proxy.port), "/", str(CONNECTIONS), f"{rate:.0f}", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **contestants.pinned(setting.load))
    return load.told_by(done.stdout, "openloop")


def measure(proxy, rate, seconds, setting):
    before = proxy.spent()
    told = openloop(proxy, rate, seconds, setting)
    each = load.each(before, proxy.spent(), told["requests"])
    return {**each, "rate": told["requests"] / told["seconds"], "p50_us": told["p50"],
            "p99_us": told["p99"], "p999_us": told["p999"], "most_us": told["most"],
            "errors": told["errors"]}


def length_s(rounds, seconds):
    return len(contestants.ALL) * rounds * (seconds + 1) + 2 * seconds


def cell(record, proxy, number, rate, seconds, setting):
    for _ in range(TRIES):
        told = measure(proxy, rate, seconds, setting)
        if told["errors"] == 0:
            record.add(NAME, proxy.name, number, told)
            return
        record.add(NAME, proxy.name, number, {"failed": told["errors"]})


def saturation(stage, seconds):
    nginx = next(p for p in stage.proxies if p.name == "nginx")
    return load.measure(CLOSED, nginx, seconds, stage)["rate"]


def run(record, rounds, seconds, progress):
    stage = Stage(1, workloads.EVERYBODY)
    progress.say(f"{NAME}: what nginx can take")
    with turns.mine():
        rate = saturation(stage, 2 * seconds) / 2
    progress.done(2 * seconds)
    for number in range(1, rounds + 1):
        with turns.mine():
            for proxy in stage.proxies:
                progress.say(f"{NAME}: {rate:.0f} requests/s, round {number} of {rounds}, "
                             f"{proxy.name}")
                cell(record, proxy, number, rate, seconds, stage.setting)
                progress.done(seconds + 1)
    stage.end()
