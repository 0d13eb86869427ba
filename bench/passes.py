"""Separate passes for counts that slow the proxy down: system calls by strace, and instructions in
user space by callgrind. No time is measured in them."""
import glob
import os
import re
import signal
import threading
import time

import contestants
import figures
import held
import load
import turns
from contestants import START_PATIENCE_S, rig
from matrix import Stage

CALLS_OF = ("small-1", "small-64", "small-512", "file-100k")
INSTRUCTIONS_OF = ("small-1", "small-64")
# Under valgrind 3.19 a process with several threads and a ring did not start.
COUNTABLE = [kind for kind in contestants.ALL if kind is not contestants.FairleadRing]
START_S = 4
MARGIN_S = 1    # of load before and after the counted time


# --- system calls -----------------------------------------------------------------

def attach(proxy, out):
    """Starts strace on all processes of the tree and waits until it is attached."""
    pids = [word for pid in figures.family(proxy.pid) for word in ("-p", str(pid))]
    strace = rig.Program("strace", [os.path.join(rig.PEERS, "strace"), "-f", "-c", "-U",
                                    "calls,name", "-o", out, *pids])
    rig.until(lambda: strace.said("attached") or not strace.alive(), "strace")
    return strace


def counted(path):
    with open(path) as f:
        rows = re.findall(r"^\s*(\d+)\s+(\w+)$", f.read(), re.M)
    return sum(int(calls) for calls, name in rows if name != "total")


def origin_requests(world):
    """The number of requests that the origin has received, by its own count."""
    status = rig.get(world.origin, "/count").body.decode()
    return int(re.search(r"requests\n \d+ \d+ (\d+)", status)[1])


def system_calls(workload, proxy, seconds, stage):
    """System calls per request in the middle of a load, when all connections are open."""
    out = os.path.join(rig.TMP, f"strace-{proxy.port}")
    loading = threading.Thread(target=load.run_load,
                               args=(workload, proxy.port, seconds + 2 * MARGIN_S, stage))
    loading.start()
    time.sleep(MARGIN_S)
    strace = attach(proxy, out)
    attached = strace.alive()    # if not, strace is not permitted here
    before = origin_requests(stage.world)
    time.sleep(seconds)
    requests = origin_requests(stage.world) - before
    if attached:
        strace.signal(signal.SIGINT)
        strace.ended()
    loading.join()
    return counted(out) / requests if attached and requests else None


def run_calls(record, chosen, seconds, progress):
    stage = Stage(1, {name for w in chosen for name in w.contestants}, "nginx")
    for workload in chosen:
        for proxy in stage.proxies:
            progress.show(f"{workload.name}: system calls of {proxy.name}")
            with turns.exclusive():
                calls = system_calls(workload, proxy, seconds, stage)
            record.add(workload.name, proxy.name, 1, {"system_calls": calls})
            progress.advance(seconds + 2 * MARGIN_S)
    stage.end()


# --- instructions -----------------------------------------------------------------

def under_callgrind(out):
    return ("valgrind", "-q", "--vgdb=no", "--tool=callgrind", "--trace-children=yes",
            f"--callgrind-out-file={out}.%p")


def instructions(out):
    total = 0
    for path in glob.glob(out + ".*"):
        with open(path) as f:
            found = re.search(r"^(?:totals|summary): (\d+)", f.read(), re.M)
        total += int(found[1]) if found else 0
        os.unlink(path)
    return total


def end(proxy):
    """Under valgrind a wait in io_uring_enter delays the signal until there is work, so this makes
    connections. A second signal would interrupt the writing of the counts."""
    def has_ended():
        rig.accepts(proxy.port)
        return not proxy.program.alive()
    proxy.program.signal(signal.SIGTERM)
    rig.until(has_ended, f"{proxy.name} to end", START_PATIENCE_S)


def run_once(kind, workload, seconds, stage, out):
    """(instructions from start to end, requests)."""
    with held.stopping_all():
        proxy = kind(stage.world, stage.setting, before=under_callgrind(out))
        result = load.run_load(workload, proxy.port, seconds, stage)
        end(proxy)
    return instructions(out), result["requests"]


def run_instructions(record, chosen, seconds, progress):
    """Instructions per request: a long run minus a short run, divided by the difference in
    requests."""
    stage = Stage(1, ())
    for workload in chosen:
        for kind in COUNTABLE:
            out = os.path.join(rig.TMP, f"callgrind-{kind.name}")
            progress.show(f"{workload.name}: instructions of {kind.name}")
            (less, few), (more, many) = (
                run_once(kind, workload, s, stage, out) for s in (1, 1 + seconds))
            if many > few and more > less:
                record.add(workload.name, kind.name, 1,
                           {"instructions": (more - less) / (many - few)})
            progress.advance(run_s(seconds))
    stage.end()


def run_s(seconds):
    return 2 * START_S + 2 + seconds


def calls_s(chosen, seconds):
    return len(contestants.ALL) * len(chosen) * (seconds + 2 * MARGIN_S)


def instructions_s(chosen, seconds):
    return len(COUNTABLE) * len(chosen) * run_s(seconds)
