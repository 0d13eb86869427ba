"""What the kernel says of a tree of processes, and the arithmetic of rounds."""
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
    """Empty if the thread has just ended."""
    try:
        with open(path) as f:
            return f.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def family(pid):
    """This process and all below it."""
    found = [pid]
    for task in tasks(pid):
        for child in read(task + "/children").split():
            found += family(int(child))
    return found


def spent(pid):
    """What the process tree has used so far: CPU time, time that it was ready to run and something
    else had its core, and times it was switched away."""
    cpu_ns = kept_ns = switches = 0
    for task in (t for p in family(pid) for t in tasks(p)):
        ran, kept = (read(task + "/schedstat") or "0 0").split()[:2]
        cpu_ns, kept_ns = cpu_ns + int(ran), kept_ns + int(kept)
        switches += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", read(task + "/status"))))
    return {"cpu_us": cpu_ns / 1000, "kept_us": kept_ns / 1000, "switches": switches}


def memory_kib(pid):
    """Of the tree: what is its own (anonymous), and its share of all that is resident."""
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
    """Half of what lies between the quartiles, as a share of the median."""
    values = [v for v in values if v is not None]
    if len(values) < 3 or not statistics.median(values):
        return None
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2 / statistics.median(values)


def interval(values):
    """Where they lie: between the quartiles from five on, between the extremes of fewer. None
    of a single one, which does not say how much it varies."""
    if len(values) < 2:
        return None
    if len(values) < 5:
        return min(values), max(values)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
