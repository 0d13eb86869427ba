"""Many connections at once: requests that wait for a slow origin, and idle connections.

A contestant is started anew for each cell, so that it has no connections to the origin yet and
its memory starts at the same size."""
import contextlib
import os
import subprocess
import time
from types import SimpleNamespace

import contestants
import figures
import turns
from contestants import rig
from matrix import ATTEMPTS

LOAD = os.path.join(rig.TOOLS, "load")
WAITING, MEMORY, IDLE = "waiting", "waiting-memory", "idle"
DELAY_S = 2
RAMP = 16    # idle connections opened at once; a larger burst would itself allocate memory


@contextlib.contextmanager
def stopping_all():
    """Stops the programs that were started inside."""
    before = len(rig.running)
    try:
        yield
    finally:
        for program in reversed(rig.running[before:]):
            program.stop()
        del rig.running[before:]


def lab(delay_s, setting):
    http, = rig.free_ports(1)
    rig.Program("lab", [rig.LAB, "--delay", f"{delay_s * 1000:.0f}ms", "--workers", "1",
                        "--http", f"127.0.0.1:{http}"], ready="fairlead-lab: ready",
                **contestants.pinned(setting.load))
    return SimpleNamespace(origin=http, memcached=1)


def start_load(proxy, path, n, setting, *options):
    return subprocess.Popen([LOAD, *options, "127.0.0.1", str(proxy.port), path, str(n)],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                            **contestants.pinned(setting.load))


def own_bytes(proxy):
    return figures.memory_kib(proxy.pid)["anonymous_kib"] * 1024


def result_of(line):
    r = rig.load_result(line)
    return r if r.get("failed") == 0 else None


def before_load(proxy, setting):
    """The memory after a few requests, so that first allocations are not counted."""
    with start_load(proxy, "/status/200", 10, setting) as first:
        first.communicate()
    return own_bytes(proxy)


# --- the three measurements -------------------------------------------------------

def waiting(proxy, n, setting):
    """The total time of n requests at once to an origin that takes two seconds."""
    before = proxy.spent()
    with start_load(proxy, "/", n, setting) as process:
        r = result_of(process.communicate()[0])
    spent = proxy.spent()
    return r and {"seconds": r["seconds"], "cpu_us": (spent["cpu_us"] - before["cpu_us"]) / n}


def sampled(proxy, process):
    """[(seconds since the start, bytes)] while the load runs."""
    start, samples = time.monotonic(), []
    while process.poll() is None:
        samples.append((time.monotonic() - start, own_bytes(proxy)))
        time.sleep(0.1)
    return samples


def waiting_memory(proxy, n, setting):
    """Memory per request: the lowest between the last connection and the first response."""
    base = before_load(proxy, setting)
    with start_load(proxy, "/", n, setting) as process:
        samples = sampled(proxy, process)
        r = result_of(process.stdout.read())
    if not r:
        return None
    during = [b for at, b in samples if r["connected"] + 0.5 < at < r["first"]]
    return {"bytes": (min(during) - base) / n} if during else None


def idle(proxy, n, setting, settle_s):
    base = before_load(proxy, setting)
    with start_load(proxy, "/status/200", n, setting, "-k", "-c", str(RAMP)) as process:
        r = result_of(process.stdout.readline())
        end, samples = time.monotonic() + settle_s, [own_bytes(proxy)]
        while time.monotonic() < end:
            time.sleep(0.25)
            samples.append(own_bytes(proxy))
        process.stdin.close()
    return r and {"bytes": (min(samples) - base) / n}


# --- in turns ---------------------------------------------------------------------

class Sizes:
    def __init__(self, quick):
        self.n = 1000 if quick else rig.most_requests()
        self.rounds = 3
        self.hold_s, self.settle_s = (3, 1.5) if quick else (8, 5)

    def length_s(self, names):
        each = {WAITING: self.rounds * (DELAY_S + self.n / 5000 + 1.5),
                MEMORY: self.hold_s + self.n / 5000 + 1,
                IDLE: self.settle_s + self.n / 5000 + 1}
        return len(contestants.ALL) * sum(each[name] for name in names)


def pause():
    time.sleep(1.1)    # the kernel reuses a port in TIME_WAIT after a second


def measure(name, proxy, sizes, setting):
    if name == WAITING:
        return waiting(proxy, sizes.n, setting)
    if name == MEMORY:
        return waiting_memory(proxy, sizes.n, setting)
    return idle(proxy, sizes.n, setting, sizes.settle_s)


def cell(record, name, kind, number, sizes, setting):
    delay_s = {WAITING: DELAY_S, MEMORY: sizes.hold_s, IDLE: 0}[name]
    for _ in range(ATTEMPTS):
        with stopping_all():
            proxy = kind(lab(delay_s, setting), setting)
            result = measure(name, proxy, sizes, setting)
        pause()
        if result:
            record.add(name, kind.name, number, {**result, "n": sizes.n})
            return
        record.add(name, kind.name, number, {"failed": 1})


def run(record, names, sizes, progress):
    setting = contestants.Setting(1)
    for name in names:
        rounds = sizes.rounds if name == WAITING else 1
        for number in range(1, rounds + 1):
            for kind in contestants.ALL:
                progress.show(f"{name}: {sizes.n} at once, round {number} of {rounds}, "
                              f"{kind.name}")
                with turns.exclusive():
                    cell(record, name, kind, number, sizes, setting)
                progress.advance(sizes.length_s([name]) / rounds / len(contestants.ALL))
