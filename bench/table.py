"""Markdown of a record: the matrix, and what was to be reached."""
import csv
import os

import figures
from contestants import HERE, PEERS

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


def matrix(record, workloads, figure="cpu_us"):
    """One row a workload; the last three columns are ratios of the first."""
    head = ["work", *WIDE, "to the better peer", "to the tunnel", "to our epoll"]
    rows = []
    for w in workloads:
        mine = record.median(w.name, "fairlead", figure)
        if not any(record.values(w.name, n, figure) for n in WIDE):
            continue
        rows.append([w.title, *(cell(record, w.name, n, figure) for n in WIDE)] +
                    [as_ratio(ratio(mine, better(record, w.name, figure, names)))
                     for names in (PEERS, ("tunnel",), ("fairlead-epoll",))])
    return rows_to_text(head, rows)


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
