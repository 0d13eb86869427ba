"""Start and reload with very many routes and upstreams: how long each takes, and how much memory
the process tree has at most meanwhile. No load runs, and the proxy may use all cores.

Each reload changes all routes and the addresses of all servers, so nothing of the previous file is
of use. The time of a start ends with the line `fairlead: ready`, that of a reload with `fairlead:
reloaded`; both are seen 20 ms late at most."""
import os
import signal
import time

import contestants
import figures
import manyroutes
import turns
from contestants import rig

START, RELOAD = "loading", "reloading"
ROUTES, UPSTREAMS = 100000, 1000
ENGINES = {kind.name: kind.engine for kind in (contestants.FairleadRing,
                                               contestants.FairleadEpoll)}
EXPECTED_S = 2      # of a start or a reload
SAMPLE_S = 0.03
PATIENCE_S = 60


def text_of(variant):
    """A configuration; no route and no server of one variant occurs in the next."""
    lines = ["upstreams:"]
    lines += [f"  u{i}: {{ servers: [127.{variant % 200 + 1}.{i // 200}.{i % 200 + 1}:80] }}"
              for i in range(UPSTREAMS)]
    lines.append("routes:")
    lines += [f"  - {{ prefix: /{variant}{manyroutes.PREFIX.format(i)}, "
              f"proxy: {{ upstream: u{i % UPSTREAMS} }} }}" for i in range(ROUTES)]
    return "\n".join(lines) + "\n"


def tree_mib(pid):
    return figures.memory_kib(pid)["pss_kib"] / 1024


def until_done(pid, done):
    """(seconds until done(), the most memory of the tree meanwhile)."""
    began, most = time.monotonic(), 0
    while not done():
        most = max(most, tree_mib(pid))
        rig.check(time.monotonic() < began + PATIENCE_S, "not done")
        time.sleep(SAMPLE_S / 2)
    return time.monotonic() - began, most


class Proxy(rig.Program):
    """Started without waiting for its readiness, which is what is measured."""
    def __init__(self, engine):
        self.port, self.admin = rig.free_ports(2)
        self.path = os.path.join(rig.TMP, f"loading-{self.port}.yaml")
        self.write(0)
        super().__init__("fairlead", [rig.FAIRLEAD, "-c", self.path, "--engine", engine,
                                      "--workers", "1"])

    def write(self, variant):
        with open(self.path + ".new", "w") as f:
            f.write(f"listen: [127.0.0.1:{self.port}]\nadmin: 127.0.0.1:{self.admin}\n" +
                    text_of(variant))
        os.rename(self.path + ".new", self.path)

    def start(self):
        seconds, most = until_done(self.pid, lambda: self.said("fairlead: ready") or
                                   not self.alive())
        rig.check(self.alive(), lambda: f"fairlead ended: {self.log()}")
        return {"seconds": seconds, "peak_mib": most, "mib": tree_mib(self.pid)}

    def reload(self, variant):
        self.write(variant)
        before = self.log().count("fairlead: reloaded")
        self.signal(signal.SIGHUP)
        seconds, most = until_done(
            self.pid, lambda: self.log().count("fairlead: reloaded") > before)
        return {"seconds": seconds, "peak_mib": most, "mib": tree_mib(self.pid)}


def length_s(rounds):
    return len(ENGINES) * (EXPECTED_S + rounds * EXPECTED_S) * 1.5


def run(record, rounds, progress):
    for name, engine in ENGINES.items():
        for number in range(1, rounds + 1):
            progress.show(f"{START}: {ROUTES} routes, round {number} of {rounds}, {name}")
            with turns.exclusive():
                proxy = Proxy(engine)
                record.add(START, name, number, proxy.start())
                if number == rounds:
                    for change in range(1, rounds + 1):
                        record.add(RELOAD, name, change, proxy.reload(change))
            proxy.stop()
            rig.running.remove(proxy)
            progress.advance(EXPECTED_S)
        progress.advance(rounds * EXPECTED_S)
