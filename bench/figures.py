"""Figures of a process tree from /proc, and the statistics of rounds."""
import math
import os
import re
import statistics


# --- /proc ----------------------------------------------------------------------

def tasks(pid):
    try:
        return [f"/proc/{pid}/task/{task}" for task in os.listdir(f"/proc/{pid}/task")]
    except FileNotFoundError:
        return []


def read(path):
    """The text of a file; empty if the thread has just ended."""
    try:
        with open(path) as f:
            return f.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def family(pid):
    """This process and all its descendants."""
    found = [pid]
    for task in tasks(pid):
        for child in read(task + "/children").split():
            found += family(int(child))
    return found


def spent(pid):
    """What the process tree has used so far: CPU time, time in which it was runnable but had no
    core, and context switches."""
    cpu_ns = runnable_ns = switches = 0
    for task in (t for p in family(pid) for t in tasks(p)):
        ran, waited = (read(task + "/schedstat") or "0 0").split()[:2]
        cpu_ns, runnable_ns = cpu_ns + int(ran), runnable_ns + int(waited)
        switches += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", read(task + "/status"))))
    return {"cpu_us": cpu_ns / 1000, "runnable_us": runnable_ns / 1000, "switches": switches}


def memory_kib(pid):
    """Memory of the tree: anonymous, and its share of all resident memory (PSS)."""
    own = share = 0
    for p in family(pid):
        own += sum(map(int, re.findall(r"RssAnon:\s+(\d+)", read(f"/proc/{p}/status"))))
        share += sum(map(int, re.findall(r"^Pss:\s+(\d+)", read(f"/proc/{p}/smaps_rollup"),
                                         re.M)))
    return {"anonymous_kib": own, "pss_kib": share}


# --- rounds ---------------------------------------------------------------------

def median(values):
    values = [v for v in values if v is not None and not math.isnan(v)]
    return statistics.median(values) if values else None


def spread(values):
    """Half of the distance between the quartiles, divided by the median."""
    values = [v for v in values if v is not None]
    if len(values) < 3 or not statistics.median(values):
        return None
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2 / statistics.median(values)


def interval(values):
    """(lower, upper): the quartiles of five values or more, the extremes of fewer. None for a
    single value, whose spread is unknown."""
    if len(values) < 2:
        return None
    if len(values) < 5:
        return min(values), max(values)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
