"""The workloads in turns: each round goes through all contestants once."""
import contestants
import load
import turns
from contestants import rig

TRIES = 3
WARM_S = 1


class Stage:
    """Origins, load and contestants of one setting, up as long as their workloads run."""
    def __init__(self, workers, wanted, behind="ends"):
        self.setting = contestants.Setting(workers)
        self.before = len(rig.running)
        self.world = contestants.World(self.setting, behind)
        self.proxies = [kind(self.world, self.setting) for kind in contestants.ALL
                        if kind.name in wanted]

    def end(self):
        for program in reversed(rig.running[self.before:]):
            program.stop()
        del rig.running[self.before:]


def length_s(workloads, rounds, seconds):
    return sum(len(w.contestants) * (rounds * seconds + WARM_S) for w in workloads)


def cell(record, workload, proxy, number, seconds, stage):
    """A round with errors is no result: it is written down as such, and done again."""
    for _ in range(TRIES):
        told = load.measure(workload, proxy, seconds, stage)
        if told["errors"] == 0 and told["requests"] > 0:
            record.add(workload.name, proxy.name, number, told)
            return
        record.add(workload.name, proxy.name, number, {"failed": told["errors"]})


def warm(stage, workload, proxies, progress):
    """Connections to the origin, caches, memory: what only a first round would pay."""
    for proxy in proxies:
        progress.say(f"{workload.name}: warming {proxy.name}")
        load.ask(workload, proxy.port, WARM_S, stage)
        progress.done(WARM_S)


def one(record, stage, workload, rounds, seconds, progress):
    proxies = [p for p in stage.proxies if p.name in workload.contestants]
    warm(stage, workload, proxies, progress)
    for number in range(1, rounds + 1):
        with turns.mine():
            for proxy in proxies:
                progress.say(f"{workload.name}: round {number} of {rounds}, {proxy.name}")
                cell(record, workload, proxy, number, seconds, stage)
                progress.done(seconds)


def run(record, workloads, rounds, seconds, progress):
    for workers, behind in sorted({(w.workers, w.behind) for w in workloads}):
        mine = [w for w in workloads if (w.workers, w.behind) == (workers, behind)]
        stage = Stage(workers, {name for w in mine for name in w.contestants}, behind)
        for workload in mine:
            one(record, stage, workload, rounds, seconds, progress)
        stage.end()
