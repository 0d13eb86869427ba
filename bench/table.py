"""Markdown of a record: the matrix, and what was to be reached."""
import csv
import os

import figures
import held
import latency
from contestants import HERE, PEERS
from workloads import MATRIX

WIDE = ("fairlead", "fairlead-epoll", "nginx", "haproxy", "tunnel")


def rows_to_text(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def number(value, digits=3):
    """So many digits that count, no exponent, no noise."""
    if value is None:
        return "–"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def better(record, workload, figure, names=PEERS):
    known = [v for v in (record.median(workload, n, figure) for n in names) if v is not None]
    return min(known) if known else None


def ratio(value, base):
    return None if value is None or not base else value / base


def as_ratio(value):
    return "–" if value is None else f"{value:.2f}"


def cell(record, workload, name, figure):
    values = record.values(workload, name, figure)
    if not values:
        return "no result" if record.values(workload, name, "failed") else "–"
    spread = figures.spread(values)
    return number(figures.median(values)) + (f" ±{100 * spread:.0f} %" if spread else "")


def matrix(record, figure="cpu_us"):
    """One row a workload; the last three columns are ratios of the first."""
    head = ["CPU µs per request", *WIDE, "to the better peer", "to the tunnel", "to our epoll"]
    rows = []
    for w in MATRIX:
        mine = record.median(w.name, "fairlead", figure)
        if w.name not in record.names("workload"):
            continue
        rows.append([w.title, *(cell(record, w.name, n, figure) for n in WIDE)] +
                    [as_ratio(ratio(mine, better(record, w.name, figure, names)))
                     for names in (PEERS, ("tunnel",), ("fairlead-epoll",))])
    return rows_to_text(head, rows) if rows else ""


DETAILS = {
    "rate": "requests/s", "busy": "cores used", "cpu_us": "CPU µs", "switches": "switches",
    "enters": "`io_uring_enter`", "system_calls": "system calls (strace)",
    "instructions": "user instructions (callgrind)", "p50_us": "p50 µs", "p99_us": "p99 µs",
    "p999_us": "p99.9 µs", "most_us": "most µs", "seconds": "seconds in all", "bytes": "bytes each",
}


def details(record, workload):
    """All figures of one workload: a row each."""
    shown = [f for f in DETAILS if any(record.values(workload, n, f) for n in WIDE)]
    rows = [[DETAILS[f], *(cell(record, workload, n, f) for n in WIDE)] for f in shown]
    return rows_to_text(["", *WIDE], rows) if rows else ""


# --- what was to be reached -----------------------------------------------------

def targets():
    with open(os.path.join(HERE, "targets.csv"), newline="") as f:
        return list(csv.DictReader(f))


def measured(record, target):
    value = record.median(target["workload"], target["of"], target["figure"])
    if not target["against"]:
        return value
    names = target["against"].split()
    if any(record.median(target["workload"], n, target["figure"]) is None for n in names):
        return None    # a better one may be missing
    return ratio(value, better(record, target["workload"], target["figure"], names))


def verdict(value, target):
    if value is None:
        return "not measured"
    if target["aim"] and value <= float(target["aim"]):
        return "**aim**"
    return "yes" if value <= float(target["must"]) else "**no**"


def reached(record):
    rows = []
    for target in targets():
        value = measured(record, target)
        shown = "–" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"
        rows.append([target["work"], target["must"], target["aim"] or "–", shown,
                     verdict(value, target)])
    return rows_to_text(["work", "must", "aim", "measured", "holds"], rows)


# --- all of it ------------------------------------------------------------------

def made_on(facts):
    return (f"{facts['date']}, commit {facts['commit']}, {facts['kernel']}, {facts['cores']} cores "
            f"of {facts['cpu']} (load before: {facts['load before']}), medians of "
            f"{facts['rounds']} rounds of {facts['seconds a round']} s in turns; {facts['peers']}; "
            f"{facts['compiler']}, `{facts['flags']}`.\n")


def image(directory, name, alt):
    return f"![{alt}]({directory}/{name}.svg)\n"


def section(title, text):
    return f"{title}\n\n{text}" if text else ""


def report(record, facts, directory):
    most = record.median(held.WAITING, "fairlead", "n") or record.median(held.IDLE, "fairlead",
                                                                         "n") or 0
    parts = [
        made_on(facts),
        reached(record),
        image(directory, "cpu", "CPU time per request"),
        matrix(record),
        section("Each request, 100 B, 64 connections:", details(record, "small-64")),
        section("The same, 512 connections:", details(record, "small-512")),
        section("Open loop, up to 256 connections, half of what nginx can take:",
                details(record, latency.NAME)),
        section(f"{most:,.0f} requests at once to the two-second origin, over new connections:",
                details(record, held.WAITING)),
        section("User memory of each of them while it waits:", details(record, held.MEMORY)),
        section("User memory of each of as many idle connections:",
                details(record, held.IDLE)),
    ]
    return "\n".join(part for part in parts if part)
