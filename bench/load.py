"""Runs wrk on one contestant and says what a request cost."""
import os
import re
import subprocess
from dataclasses import dataclass

import contestants
from contestants import rig

HEAD_BYTES = 250    # about: only to count answers of 100 KB and more by their bytes


@dataclass
class Cell:
    """What one contestant did in one round of one workload."""
    workload: str
    contestant: str
    round: int
    requests: float
    seconds: float
    errors: int
    cpu_us: float          # this and the next two: per request
    switches: float
    system_calls: float    # None: not its own to tell
    p50_us: float
    p99_us: float
    p999_us: float

    @property
    def rate(self):
        return self.requests / self.seconds

    @property
    def busy(self):
        """The share of one core that the proxy used."""
        return self.cpu_us * self.rate / 1e6


def told_by(out):
    found = re.search(r"^told (.*)$", out, re.M)
    rig.check(found, f"wrk: {out}")
    return {k: float(v) for k, v in (word.split("=") for word in found[1].split())}


def wrk(workload, port, seconds, setting):
    command = [os.path.join(rig.PEERS, "wrk"), "-t1", f"-c{workload.connections}",
               f"-d{seconds}s", "--timeout", "10s", "-s",
               os.path.join(contestants.HERE, "wrk.lua"),
               f"http://127.0.0.1:{port}{workload.path}", "--", *workload.how]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **contestants.pinned(setting.load))
    told = told_by(done.stdout)
    if workload.body_bytes:
        told["requests"] = told["bytes"] / (workload.body_bytes + HEAD_BYTES)
    return told


def measure(workload, proxy, number, seconds, setting):
    before = proxy.spent()
    told = wrk(workload, proxy.port, seconds, setting)
    after = proxy.spent()
    each = {k: (after[k] - before[k]) / max(told["requests"], 1) for k in after}
    return Cell(workload.name, proxy.name, number, told["requests"], told["seconds"],
                int(told["errors"]), each["cpu_us"], each["switches"],
                each.get("system_calls"), told["p50"], told["p99"], told["p999"])
