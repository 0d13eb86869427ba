"""Runs a load of ends.c, tlsload.c or wrk through one contestant, and computes the cost of a
request."""
import os
import re
import subprocess

import contestants
from contestants import rig

TLSLOAD = os.path.join(rig.BUILD, "bench/tlsload")
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


class TlsLoad:
    """The program tlsload.c: prepared (its connections are open), then run() measures. What is
    open stays so until stop()."""
    def __init__(self, setting, mode, port, path, connections, *seconds):
        self.process = subprocess.Popen(
            [TLSLOAD, *map(str, (mode, port, path, connections, *seconds))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            **contestants.pinned(setting.load))
        self.ready = self.process.stdout.readline().strip() == "ready"
        rig.check(self.ready, lambda: f"tlsload: {self.process.stderr.read()}")

    def run(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        rig.check(line, lambda: f"tlsload: {self.process.stderr.read()}")
        return line

    def stop(self):
        self.process.communicate()
        rig.check(self.process.returncode == 0, "tlsload failed")


class Load:
    """A load of a workload through one proxy. Until run() everything is prepared that is not
    measured."""
    def __init__(self, workload, port, seconds, stage):
        self.workload, self.port, self.seconds, self.stage = workload, port, seconds, stage
        self.prepared = None
        if workload.by == "tlsload":
            rate = [f"{workload.rate:.0f}"] if workload.rate else []
            self.prepared = TlsLoad(stage.setting, *workload.how, port, workload.path,
                                    workload.connections, seconds, *rate)

    def run(self):
        if self.prepared:
            return parse_result(self.prepared.run(), "tlsload")
        by = wrk if self.workload.by == "wrk" else ends
        result = by(self.workload, self.port, self.seconds, self.stage)
        if self.workload.body_bytes:
            result["requests"] = result["bytes"] / (self.workload.body_bytes + HEAD_BYTES)
        return result

    def stop(self):
        if self.prepared:
            self.prepared.stop()


def run_load(workload, port, seconds, stage):
    load = Load(workload, port, seconds, stage)
    result = load.run()
    load.stop()
    return result


def per_request(before, after, requests):
    return {k: (after[k] - before[k]) / max(requests, 1) for k in after}


def measure(workload, proxy, seconds, stage):
    """Per request: cpu_us, switches, and enters if the proxy counts them. busy: the number of
    cores that it used."""
    load = Load(workload, proxy.port, seconds, stage)
    before = proxy.spent()
    result = load.run()
    figures = per_request(before, proxy.spent(), result["requests"])
    load.stop()
    rate = result["requests"] / result["seconds"]
    return {**figures, "rate": rate, "busy": figures["cpu_us"] * rate / 1e6,
            "p50_us": result["p50"], "p99_us": result["p99"], "p999_us": result["p999"],
            "requests": result["requests"], "errors": result["errors"]}
