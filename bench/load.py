"""Loads one contestant and says what a request cost: by ends.c, or by wrk."""
import os
import re
import subprocess

import contestants
from contestants import rig

HEAD_BYTES = 250    # about: only to count answers of 100 KB and more by their bytes


def told_by(out, name):
    found = re.search(r"^told (.*)$", out, re.M)
    rig.check(found, lambda: f"{name}: {out}")
    return {k: float(v) for k, v in (word.split("=") for word in found[1].split())}


def wrk(workload, port, seconds, stage):
    command = [os.path.join(rig.PEERS, "wrk"), "-t1", f"-c{workload.connections}",
               f"-d{seconds}s", "--timeout", "10s", "-s",
               os.path.join(contestants.HERE, "wrk.lua"),
               f"http://127.0.0.1:{port}{workload.path}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **contestants.pinned(stage.setting.load))
    return told_by(done.stdout, "wrk")


def ends(workload, port, seconds, stage):
    out = stage.world.ends.ask(port, workload.path, workload.connections, seconds, *workload.how)
    return told_by(out, "ends: " + stage.world.ends.program.log())


def ask(workload, port, seconds, stage):
    told = (wrk if workload.by == "wrk" else ends)(workload, port, seconds, stage)
    if workload.body_bytes:
        told["requests"] = told["bytes"] / (workload.body_bytes + HEAD_BYTES)
    return told


def each(before, after, requests):
    return {k: (after[k] - before[k]) / max(requests, 1) for k in after}


def measure(workload, proxy, seconds, stage):
    """Per request: cpu_us, switches, and enters where the proxy counts them. busy: the share
    of one core that it used."""
    before = proxy.spent()
    told = ask(workload, proxy.port, seconds, stage)
    figures = each(before, proxy.spent(), told["requests"])
    rate = told["requests"] / told["seconds"]
    return {**figures, "rate": rate, "busy": figures["cpu_us"] * rate / 1e6,
            "p50_us": told["p50"], "p99_us": told["p99"], "p999_us": told["p999"],
            "requests": told["requests"], "errors": told["errors"]}
