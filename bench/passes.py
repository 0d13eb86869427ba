"""What can only be counted while slowing the proxy down: system calls by strace, and
instructions in user space by callgrind. Passes of their own; no time comes from them."""
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
# Under valgrind 3.19 a process with several threads and a ring did not come to listen.
COUNTABLE = [kind for kind in contestants.ALL if kind is not contestants.FairleadRing]
START_S = 4
ASIDE_S = 1    # of a load, before and after what is counted


# --- system calls -----------------------------------------------------------------

def attach(proxy, out):
    """strace on all processes of the tree, once it says that it is there."""
    pids = [word for pid in figures.family(proxy.pid) for word in ("-p", str(pid))]
    strace = rig.Program("strace", [os.path.join(rig.PEERS, "strace"), "-f", "-c", "-U",
                                    "calls,name", "-o", out, *pids])
    rig.until(lambda: strace.said("attached") or not strace.alive(), "strace")
    return strace


def counted(path):
    with open(path) as f:
        rows = re.findall(r"^\s*(\d+)\s+(\w+)$", f.read(), re.M)
    return sum(int(calls) for calls, name in rows if name != "total")


def answered(world):
    """Requests that the origin has had, by its own count."""
    told = rig.get(world.origin, "/count").body.decode()
    return int(re.search(r"requests\n \d+ \d+ (\d+)", told)[1])


def system_calls(workload, proxy, seconds, stage):
    """Of the middle of a load, when all connections are there."""
    out = os.path.join(rig.TMP, f"strace-{proxy.port}")
    asking = threading.Thread(target=load.ask, args=(workload, proxy.port, seconds + 2 * ASIDE_S,
                                                     stage))
    asking.start()
    time.sleep(ASIDE_S)
    strace = attach(proxy, out)
    attached = strace.alive()    # else it may not do so here
    before = answered(stage.world)
    time.sleep(seconds)
    requests = answered(stage.world) - before
    if attached:
        strace.signal(signal.SIGINT)
        strace.ended()
    asking.join()
    return counted(out) / requests if attached and requests else None


def run_calls(record, chosen, seconds, progress):
    stage = Stage(1, {name for w in chosen for name in w.contestants}, "nginx")
    for workload in chosen:
        for proxy in stage.proxies:
            progress.say(f"{workload.name}: system calls of {proxy.name}")
            with turns.mine():
                calls = system_calls(workload, proxy, seconds, stage)
            record.add(workload.name, proxy.name, 1, {"system_calls": calls})
            progress.done(seconds + 2 * ASIDE_S)
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
    """Under valgrind a wait in io_uring_enter hides the signal, until there is something to do;
    and a second signal would end the writing of what was counted."""
    def has_ended():
        rig.accepts(proxy.port)
        return not proxy.program.alive()
    proxy.program.signal(signal.SIGTERM)
    rig.until(has_ended, f"{proxy.name} to end", START_PATIENCE_S)


def one_life(kind, workload, seconds, stage, out):
    """Instructions from start to end, and the requests within."""
    with held.stopping_all():
        proxy = kind(stage.world, stage.setting, before=under_callgrind(out))
        told = load.ask(workload, proxy.port, seconds, stage)
        end(proxy)
    return instructions(out), told["requests"]


def run_instructions(record, chosen, seconds, progress):
    """What a longer life takes more than a short one, by the requests that it has more."""
    stage = Stage(1, ())
    for workload in chosen:
        for kind in COUNTABLE:
            out = os.path.join(rig.TMP, f"callgrind-{kind.name}")
            progress.say(f"{workload.name}: instructions of {kind.name}")
            (less, few), (more, many) = (
                one_life(kind, workload, s, stage, out) for s in (1, 1 + seconds))
            if many > few and more > less:
                record.add(workload.name, kind.name, 1,
                           {"instructions": (more - less) / (many - few)})
            progress.done(life_s(seconds))
    stage.end()


def life_s(seconds):
    return 2 * START_S + 2 + seconds


def calls_s(chosen, seconds):
    return len(contestants.ALL) * len(chosen) * (seconds + 2 * ASIDE_S)


def instructions_s(chosen, seconds):
    return len(COUNTABLE) * len(chosen) * life_s(seconds)
