"""What connections to a TLS listener cost in memory: idle after a request, and with the first 100
bytes of a ClientHello; and the latency of others while many handshakes begin at once.

A contestant is started anew for each cell, as in held.py."""
import os
import subprocess
import time
from types import SimpleNamespace

import contestants
import held
import load
import turns
from contestants import rig
from matrix import ATTEMPTS

IDLE, HELLO, BURSTS = "tls-idle", "tls-hello", "tls-bursts"
NAMES = (IDLE, HELLO, BURSTS)
TITLES = {IDLE: "idle TLS connections", HELLO: "connections with 100 bytes of a ClientHello",
          BURSTS: "requests while 64 handshakes begin at once, ten times a second"}
HELLO_BYTES = 100
TAKEN_IN_S = 1        # until the proxy has accepted and read everything
AT_ONCE = 64          # handshakes of a burst
BURSTS_BIN = os.path.join(rig.BUILD, "bench/bursts")


def lowest(proxy, seconds):
    end, least = time.monotonic() + seconds, held.own_bytes(proxy)
    while time.monotonic() < end:
        time.sleep(0.25)
        least = min(least, held.own_bytes(proxy))
    return least


def memory(name, proxy, setting, sizes):
    """Bytes of each of sizes.n connections. First a few with a request each, so that first
    allocations are not counted."""
    load.TlsLoad(setting, "idle", proxy.port, "/status/200", 10).stop()
    base = lowest(proxy, sizes.settle_s / 2)
    mode = ("idle", proxy.port, "/status/200") if name == IDLE else ("hello", proxy.port,
                                                                     HELLO_BYTES)
    holding = load.TlsLoad(setting, *mode, sizes.n)
    time.sleep(TAKEN_IN_S)
    least = lowest(proxy, sizes.settle_s)
    holding.stop()
    return {"bytes": (least - base) / sizes.n, "n": sizes.n}


def memory_cell(name, kind, setting, sizes):
    with held.stopping_all():
        return memory(name, kind(held.lab(0, setting), setting), setting, sizes)


def bursts_cell(kind, setting, seconds):
    """The load is the origin as well, so that one thread, which never sleeps, sees everything."""
    origin, = rig.free_ports(1)
    with held.stopping_all():
        process = rig.Program("bursts", [BURSTS_BIN, str(origin)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, **contestants.pinned(setting.load)).process
        rig.check(process.stdout.readline() == b"ready\n", "bursts ended")
        proxy = kind(SimpleNamespace(origin=origin, memcached=1), setting)
        out, _ = process.communicate(f"{proxy.port} {AT_ONCE} {seconds}\n".encode())
    result = load.parse_result(out.decode(), "bursts")
    if result["errors"] or not result["handshakes"]:
        return None
    return {"p50_us": result["p50"], "p99_us": result["p99"], "p999_us": result["p999"],
            "max_us": result["max"], "requests": result["requests"],
            "handshakes": result["handshakes"] / result["seconds"]}


class Sizes:
    def __init__(self, quick, rounds, seconds):
        self.n, self.settle_s = (500, 1.5) if quick else (2000, 5)
        self.rounds, self.seconds = rounds, seconds

    def rounds_of(self, name):
        return self.rounds if name == BURSTS else 1

    def cell_s(self, name):
        return self.seconds + 1 if name == BURSTS else 1.5 * self.settle_s + self.n / 1000 + 2

    def length_s(self, names):
        return len(contestants.SECURE) * sum(self.rounds_of(n) * self.cell_s(n) for n in names)


def cell(record, name, kind, number, setting, sizes):
    for _ in range(ATTEMPTS):
        result = (bursts_cell(kind, setting, sizes.seconds) if name == BURSTS else
                  memory_cell(name, kind, setting, sizes))
        if result:
            record.add(name, kind.name, number, result)
            return
        record.add(name, kind.name, number, {"failed": 1})


def run(record, names, sizes, progress):
    setting = contestants.Setting(1, tls="front")
    for name in names:
        rounds = sizes.rounds_of(name)
        for number in range(1, rounds + 1):
            with turns.exclusive():
                for kind in contestants.SECURE:
                    progress.show(f"{name}: round {number} of {rounds}, {kind.name}")
                    cell(record, name, kind, number, setting, sizes)
                    progress.advance(sizes.cell_s(name))
