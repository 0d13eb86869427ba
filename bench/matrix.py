"""Runs the workloads. Contestants take turns: each round goes through all of them once."""
import contestants
import load
import turns
from contestants import rig

ATTEMPTS = 3
WARM_UP_S = 1


class Stage:
    """Origins, load and contestants of one setting. They run until end()."""
    def __init__(self, workers, wanted, behind="ends", routes=0, tls=""):
        self.setting = contestants.Setting(workers, routes, tls)
        self.before = len(rig.running)
        self.world = contestants.World(self.setting, behind)
        self.proxies = [kind(self.world, self.setting) for kind in
                        (contestants.SECURE if tls else contestants.ALL) if kind.name in wanted]

    def end(self):
        for program in reversed(rig.running[self.before:]):
            program.stop()
        del rig.running[self.before:]


def length_s(workloads, rounds, seconds):
    return sum(len(w.contestants) * (rounds * seconds + WARM_UP_S) for w in workloads)


def cell(record, workload, proxy, number, seconds, stage):
    """A round with errors is not a result: it is recorded as failed and repeated."""
    for _ in range(ATTEMPTS):
        result = load.measure(workload, proxy, seconds, stage)
        if result["errors"] == 0 and result["requests"] > 0:
            record.add(workload.name, proxy.name, number, result)
            return
        record.add(workload.name, proxy.name, number, {"failed": result["errors"]})


def warm_up(stage, workload, proxies, progress):
    """A load before the first round, which would otherwise include new connections to the
    origin, cold caches and first allocations."""
    for proxy in proxies:
        progress.show(f"{workload.name}: warm-up of {proxy.name}")
        load.run_load(workload, proxy.port, WARM_UP_S, stage)
        progress.advance(WARM_UP_S)


def run_workload(record, stage, workload, rounds, seconds, progress):
    proxies = [p for p in stage.proxies if p.name in workload.contestants]
    warm_up(stage, workload, proxies, progress)
    for number in range(1, rounds + 1):
        with turns.exclusive():
            for proxy in proxies:
                progress.show(f"{workload.name}: round {number} of {rounds}, {proxy.name}")
                cell(record, workload, proxy, number, seconds, stage)
                progress.advance(seconds)


def run(record, workloads, rounds, seconds, progress):
    for key in sorted({w.stage for w in workloads}):
        selected = [w for w in workloads if w.stage == key]
        workers, *rest = key
        stage = Stage(workers, {name for w in selected for name in w.contestants}, *rest)
        for workload in selected:
            run_workload(record, stage, workload, rounds, seconds, progress)
        stage.end()
