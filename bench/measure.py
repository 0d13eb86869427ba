"""Resources that a program and all its descendants have used so far, read from /proc."""
import os
import re
import threading

TICKS = os.sysconf("SC_CLK_TCK")


def text_of(path):
    """The text of a file; empty if the process has ended."""
    try:
        with open(path) as f:
            return f.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def tasks(pid):
    try:
        return [f"/proc/{pid}/task/{task}" for task in os.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        return []


def family(pid):
    """This process and all its descendants; any thread may have started them."""
    children = [int(child) for task in tasks(pid) for child in text_of(task + "/children").split()]
    return [pid] + [p for child in children for p in family(child)]


def number(pattern, text):
    return sum(int(n) for n in re.findall(pattern, text))


def reaped_us(pid):
    """CPU time of children that have ended and were waited for, in microseconds."""
    fields = text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) * 1000000 // TICKS if fields else 0


def cpu_us(pid):
    """CPU time, user and system, in microseconds."""
    total = 0
    for p in family(pid):
        running_ns = [text_of(task + "/schedstat").split() for task in tasks(p)]
        total += sum(int(ns[0]) for ns in running_ns if ns) // 1000 + reaped_us(p)
    return total


def switches(pid):
    """Context switches, voluntary and involuntary."""
    return sum(number(r"ctxt_switches:\s+(\d+)", text_of(task + "/status"))
               for p in family(pid) for task in tasks(p))


def pss_kib(pid):
    """User memory (PSS); memory that several processes of the family share counts once."""
    return sum(number(r"(?m)^Pss:\s+(\d+)", text_of(f"/proc/{p}/smaps_rollup"))
               for p in family(pid))


def descriptors(pid):
    try:
        return sum(len(os.listdir(f"/proc/{p}/fd")) for p in family(pid))
    except (FileNotFoundError, ProcessLookupError):
        return 0


class Watch:
    """Calls sample() periodically on a thread of its own and collects (time, result)."""

    def __init__(self, clock, sample, every_s):
        self.seen, self.clock, self.sample, self.every_s = [], clock, sample, every_s
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over.wait(self.every_s):
            self.seen.append((self.clock(), self.sample()))

    def stop(self):
        self.over.set()
        self.thread.join()
        return self.seen
