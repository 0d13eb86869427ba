"""Runs a load of ends.c or wrk through one contestant, and computes the cost of a request."""
import os
import re
import subprocess

import contestants
from contestants import rig

HEAD_BYTES = 250    # estimate, used only to count responses of 100 KB and more by their bytes


def parse_result(out, name):
    """The figures of the line "result NAME=VALUE ..."."""
    found = re.search(r"^result (.*)$", out, re.M)
    rig.check(found, lambda: f"{name}: {out}")
    return {k: float(v) for k, v in (word.split("=") for word in found[1].split())}


def wrk(workload, port, seconds, stage):
    command = [os.path.join(rig.PEERS, "wrk"), "-t1", f"-c{workload.connections}",
               f"-d{seconds}s", "--timeout", "10s", "-s",
               os.path.join(contestants.HERE, "wrk.lua"),
               f"http://127.0.0.1:{port}{workload.path}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **contestants.pinned(stage.setting.load))
    return parse_result(done.stdout, "wrk")


def ends(workload, port, seconds, stage):
    out = stage.world.ends.run_load(port, workload.path, workload.connections, seconds,
                                    *workload.how)
    return parse_result(out, "ends: " + stage.world.ends.program.log())


def run_load(workload, port, seconds, stage):
    result = (wrk if workload.by == "wrk" else ends)(workload, port, seconds, stage)
    if workload.body_bytes:
        result["requests"] = result["bytes"] / (workload.body_bytes + HEAD_BYTES)
    return result


def per_request(before, after, requests):
    return {k: (after[k] - before[k]) / max(requests, 1) for k in after}


def measure(workload, proxy, seconds, stage):
    """Per request: cpu_us, switches, and enters if the proxy counts them. busy: the number of
    cores that it used."""
    before = proxy.spent()
    result = run_load(workload, proxy.port, seconds, stage)
    figures = per_request(before, proxy.spent(), result["requests"])
    rate = result["requests"] / result["seconds"]
    return {**figures, "rate": rate, "busy": figures["cpu_us"] * rate / 1e6,
            "p50_us": result["p50"], "p99_us": result["p99"], "p999_us": result["p999"],
            "requests": result["requests"], "errors": result["errors"]}
