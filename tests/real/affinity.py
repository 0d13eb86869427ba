#!/usr/bin/env python3
"""`cpu_affinity`: workers stay on CPUs of their own; with `steer` each gets the connections that
arrive on its CPU, also after reloads, upgrades and the end of a worker process, and no connection
is lost by that."""
# asan
import glob
import os
import re
import signal
import threading

import rig

CONFIG = """
cpu_affinity: {affinity}
routes: [ {{ prefix: /, respond: {{ body: "{text}" }} }} ]
"""
CPUS = sorted(os.sched_getaffinity(0))[:2]
CONNECTIONS = 30


def affinities(pid):
    """The CPUs of each thread, as lists of numbers."""
    for path in glob.glob(f"/proc/{pid}/task/*"):
        yield sorted(os.sched_getaffinity(int(os.path.basename(path))))


def pinned(proxy):
    """The CPUs of threads that have one only."""
    rig.until(lambda: len(proxy.children()) == 1, "the end of the worker process before")
    return sorted({cpus[0] for cpus in affinities(proxy.worker_pid()) if len(cpus) == 1})


def accepted(proxy):
    """Connections of each worker."""
    text = rig.get(proxy.admin, "/metrics?by=worker").body.decode()
    found = re.findall(r'(?m)^fairlead_accepted_total\{worker="(\d)"\} (\d+)', text)
    rig.check(len(found) == 2, text)
    return [int(n) for _, n in sorted(found)]


def spread(proxy, cpu):
    """How many of CONNECTIONS that this thread makes on this CPU each worker gets."""
    os.sched_setaffinity(0, {cpu})
    before = accepted(proxy)
    for _ in range(CONNECTIONS):
        rig.check(rig.get(proxy.port, "/").status == 200, "a response")
    got = [after - b for b, after in zip(before, accepted(proxy))]
    os.sched_setaffinity(0, CPUS)
    rig.check(sum(got) == CONNECTIONS, f"{got}")
    return got


def steered(proxy, when):
    rig.check(pinned(proxy) == CPUS, lambda: f"{when}: {list(affinities(proxy.worker_pid()))}")
    for worker, cpu in enumerate(CPUS):
        got = spread(proxy, cpu)
        rig.check(got[worker] == CONNECTIONS, f"{when}: from CPU {cpu}: {got}")


class Load(threading.Thread):
    """A connection after the other, from one CPU."""

    def __init__(self, port, cpu):
        super().__init__(daemon=True)
        self.port, self.cpu, self.done, self.failed = port, cpu, 0, []
        self.over = threading.Event()
        self.start()

    def run(self):
        os.sched_setaffinity(0, {self.cpu})
        while not self.over.is_set():
            try:
                rig.check(rig.get(self.port, "/").status == 200, "another status")
                self.done += 1
            except (OSError, AssertionError) as e:
                self.failed.append(repr(e))


def changed(proxy, sign, said):
    before = proxy.log().count(said)
    proxy.signal(sign)
    rig.until(lambda: proxy.log().count(said) > before, said)


def write(proxy, affinity, text, more=""):
    with open(proxy.path) as f:
        head = "".join(f.readlines()[:2])
    with open(proxy.path, "w") as f:
        f.write(head.replace("listen: [", "listen: [" + more) +
                CONFIG.format(affinity=affinity, text=text))


def under_load(proxy):
    """Another listener comes and goes, another program takes over, a worker process is killed."""
    loads = [Load(proxy.port, cpu) for cpu in CPUS]
    other, = rig.free_ports(1)
    write(proxy, "steer", "second", f"127.0.0.1:{other}, ")
    changed(proxy, signal.SIGHUP, "fairlead: reloaded")
    rig.check(rig.get(other, "/").body == b"second", "the other address")
    write(proxy, "steer", "third")
    changed(proxy, signal.SIGHUP, "fairlead: reloaded")
    changed(proxy, signal.SIGUSR2, "fairlead: ready")
    for load in loads:
        load.over.set()
        load.join()
        rig.check(load.done > 10 and not load.failed, f"{load.done}, {load.failed[:3]}")
    print(f"{[load.done for load in loads]} connections meanwhile, none lost")


def main():
    if len(CPUS) < 2:
        rig.skip("one CPU only")
    if tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (6, 2):
        rig.skip("SO_INCOMING_CPU has no effect in a group before Linux 6.2")
    proxy = rig.Fairlead(CONFIG.format(affinity="steer", text="first"))
    steered(proxy, "at the start")
    under_load(proxy)
    steered(proxy, "after reloads and an upgrade")
    os.kill(proxy.worker_pid(), signal.SIGKILL)
    rig.until(lambda: proxy.log().count("fairlead: ready") == 3, "another worker process")
    steered(proxy, "after the end of a worker process")
    # A reload cannot change it, and says so; an upgrade can.
    write(proxy, "pin", "fourth")
    changed(proxy, signal.SIGHUP, "fairlead: reloaded")
    rig.check(proxy.said("cpu_affinity"), proxy.log)
    steered(proxy, "after a reload")
    changed(proxy, signal.SIGUSR2, "fairlead: ready")
    rig.check(pinned(proxy) == CPUS, "pin")
    # By a hash of ports: all 30 at one worker is one case in 10^9.
    rig.check(all(spread(proxy, CPUS[0])), "pin: one worker gets all connections")
    write(proxy, "off", "fifth")
    changed(proxy, signal.SIGUSR2, "fairlead: ready")
    rig.check(pinned(proxy) == [], "off")
    proxy.stop()


rig.main(main)
