"""What TLS changes in the ticks of fairlead: the same requests, at the same moments, with TLS and
without it. In a closed loop the two could not be compared: with TLS the load is what is slow, so
that the proxy waits for it, and finds fewer requests at a time."""
import load
import turns
import workloads
from contestants import FairleadRing
from matrix import ATTEMPTS, Stage

NAME = "tls-paced"
TITLE = ("100 B, 64 connections, at the same rate with TLS and without it: half of what is "
         "possible with TLS")
SECURE, PLAIN = FairleadRing.name, f"{FairleadRing.name}-plain"
COLUMNS = (SECURE, PLAIN)
RATE_KEPT = 0.95
CLOSED = next(w for w in workloads.MATRIX if w.name == "tls-small-64")


class Paced:
    """What load.measure() takes for a workload."""
    by, body_bytes, path, connections = "tlsload", 0, "/", CLOSED.connections

    def __init__(self, mode, rate):
        self.how, self.rate = (mode,), rate


class Case:
    def __init__(self, name, mode, tls):
        self.name, self.mode = name, mode
        self.stage = Stage(1, (FairleadRing.name,), tls=tls)
        self.proxy = self.stage.proxies[0]

    def measure(self, rate, seconds):
        return load.measure(Paced(self.mode, rate), self.proxy, seconds, self.stage)


def length_s(rounds, seconds):
    return (len(COLUMNS) * rounds + 1) * seconds + len(COLUMNS)


def cell(record, case, number, rate, seconds):
    """A round in which the load did not keep the rate, because of other work, is no result."""
    for _ in range(ATTEMPTS):
        result = case.measure(rate, seconds)
        if result["errors"] == 0 and result["rate"] >= RATE_KEPT * rate:
            record.add(NAME, case.name, number, result)
            return
        record.add(NAME, case.name, number, {"failed": result["errors"]})


def run(record, rounds, seconds, progress):
    cases = (Case(SECURE, "paced", "front"), Case(PLAIN, "paced-plain", ""))
    progress.show(f"{NAME}: the maximum rate with TLS")
    with turns.exclusive():
        rate = load.measure(CLOSED, cases[0].proxy, seconds, cases[0].stage)["rate"] / 2
    for case in cases:
        case.measure(rate, 1)
    progress.advance(seconds + len(cases))
    for number in range(1, rounds + 1):
        with turns.exclusive():
            for case in cases:
                progress.show(f"{NAME}: {rate:.0f} requests/s, round {number} of {rounds}, "
                              f"{case.name}")
                cell(record, case, number, rate, seconds)
                progress.advance(seconds)
    for case in reversed(cases):
        case.stage.end()
