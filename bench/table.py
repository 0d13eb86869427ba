"""Markdown tables of a record: a summary for README.md; all tables for docs/benchmarks.md."""
import csv
import os

import figures
import held
import latency
import loading
import paced
import routecost
import tlsheld
from contestants import HERE, PEERS
from workloads import MATRIX

COUNTED = ("bytes", "instructions", "to_few")    # figures that are counted, not timed
WIDE = ("fairlead", "fairlead-epoll", "nginx", "haproxy", "tunnel")
SECURE = ("fairlead", "fairlead-epoll", "fairlead-openssl", "nginx", "haproxy")


def rows_to_text(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def number(value, digits=3):
    """Rounded to that many significant digits, without an exponent."""
    if value is None:
        return "–"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


class Ratio:
    """The ratio of a figure of `of` to the contestant of `names` with the lowest median. It is
    taken in each round, so that load on the machine during a whole round cancels out. value: the
    median of the ratios, None if a contestant is missing. interval: their spread."""
    def __init__(self, record, workload, figure, of, names):
        known = {n: record.median(workload, n, figure) for n in names}
        known = {n: v for n, v in known.items() if v}
        base = min(known, key=known.get) if known else ""
        rounds, others = (record.by_round(workload, n, figure) for n in (of, base))
        ratios = [v / others[r] for r, v in rounds.items() if others.get(r)]
        self.value, self.interval = figures.median(ratios), figures.interval(ratios)

    def __str__(self):
        if self.value is None:
            return "–"
        return f"{self.value:.2f}" + (" ({:.2f}–{:.2f})".format(*self.interval)
                                      if self.interval else "")


def cell(record, workload, name, figure):
    values = record.values(workload, name, figure)
    if not values:
        return "no result" if record.values(workload, name, "failed") else "–"
    spread = figures.spread(values)
    return number(figures.median(values)) + (f" ±{100 * spread:.0f} %" if spread else "")


def matrix(record, tls, columns, against):
    """One row for each workload with or without TLS: the CPU time of each contestant, and ratios of
    the first to the best of others. against: {title: names}."""
    head = ["CPU µs per request", *columns, *against]
    rows = []
    for w in MATRIX:
        if w.name not in record.names("workload") or bool(w.tls) != tls:
            continue
        rows.append([w.title, *(cell(record, w.name, n, "cpu_us") for n in columns)] +
                    [str(Ratio(record, w.name, "cpu_us", "fairlead", names))
                     for names in against.values()])
    return rows_to_text(head, rows) if rows else ""


def plain_matrix(record):
    return matrix(record, False, WIDE, {"to the better peer": PEERS, "to the tunnel": ("tunnel",),
                                        "to epoll": ("fairlead-epoll",)})


def secure_matrix(record):
    return matrix(record, True, SECURE, {"to the better peer": PEERS,
                                         "to OpenSSL's records": ("fairlead-openssl",),
                                         "to epoll": ("fairlead-epoll",)})


DETAILS = {
    "rate": "requests/s", "busy": "cores used", "cpu_us": "CPU µs",
    "runnable_us": "µs runnable, not running", "switches": "context switches",
    "enters": "`io_uring_enter`", "system_calls": "system calls (strace)",
    "instructions": "user instructions (callgrind)",
    "instructions_few": "user instructions with ten routes", "to_few": "ratio of both", "p50_us": "p50 µs", "p99_us": "p99 µs",
    "p999_us": "p99.9 µs", "max_us": "max µs", "seconds": "seconds in total",
    "handshakes": "handshakes begun per second", "bytes": "bytes each", "peak_mib": "MiB of the process tree at most", "mib": "MiB at its end",
}


def details(record, workload, columns=WIDE):
    """All figures of one workload, one row for each."""
    shown = [f for f in DETAILS if any(record.values(workload, n, f) for n in columns)]
    rows = [[DETAILS[f], *(cell(record, workload, n, f) for n in columns)] for f in shown]
    return rows_to_text(["", *columns], rows) if rows else ""


# --- targets --------------------------------------------------------------------

def targets():
    with open(os.path.join(HERE, "targets.csv"), newline="") as f:
        return list(csv.DictReader(f))


class Single:
    """A figure without a comparison: like a Ratio with base 1."""
    def __init__(self, record, workload, figure, of):
        self.value = record.median(workload, of, figure)
        self.interval = figures.interval(list(record.by_round(workload, of, figure).values()))

    def __str__(self):
        return number(self.value)


def measured(record, target):
    where = target["workload"], target["figure"], target["of"]
    if not target["against"]:
        return Single(record, where[0], where[1], where[2])
    names = target["against"].split()
    if any(record.median(where[0], n, where[1]) is None for n in names):
        names = ()    # the better one may be missing: no ratio
    return Ratio(record, *where, names)


def verdict(found, target):
    """yes or no only if the whole interval lies on one side of the target. A single round of a
    time is inconclusive; memory is counted once and does not vary."""
    must, value, interval = float(target["must"]), found.value, found.interval
    if value is None:
        return "not measured"
    if not interval and target["figure"] not in COUNTED:
        return "inconclusive"
    low, high = interval or (value, value)
    if low <= must < high:
        return "inconclusive"
    if target["aim"] and high <= float(target["aim"]):
        return "**aim**"
    return "yes" if high <= must else "**no**"


def target_table(record):
    rows = []
    for target in targets():
        found = measured(record, target)
        rows.append([target["work"], target["must"], target["aim"] or "–", str(found),
                     verdict(found, target)])
    return rows_to_text(["target", "must", "aim", "measured", "reached"], rows)


# --- the report -----------------------------------------------------------------

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
        target_table(record),
        image(directory, "cpu", "CPU time per request"),
        plain_matrix(record),
        section("TLS 1.3, `TLS_AES_128_GCM_SHA256`, X25519, a certificate on P-256; "
                "`fairlead-openssl` has OpenSSL's records instead of its own:",
                secure_matrix(record)),
        section("Per request, 100 B, 64 connections:", details(record, "small-64")),
        section("Per request, 100 B, 512 connections:", details(record, "small-512")),
        section("Open loop, up to 256 connections, at half of nginx's maximum rate:",
                details(record, latency.NAME)),
        section(f"{most:,.0f} requests at once to the two-second origin, over new connections:",
                details(record, held.WAITING)),
        section("User memory per request while these requests wait:",
                details(record, held.MEMORY)),
        section("User memory per connection with the same number of idle connections:",
                details(record, held.IDLE)),
        section("Per request over TLS, 100 B, 64 connections:",
                details(record, "tls-small-64", SECURE)),
        section(f"Per request, {paced.TITLE}:", details(record, paced.NAME, paced.COLUMNS)),
        *(section(f"{tlsheld.TITLES[name][0].upper()}{tlsheld.TITLES[name][1:]}:",
                  details(record, name, SECURE)) for name in tlsheld.NAMES),
        section(f"Start with {loading.ROUTES:,} routes and {loading.UPSTREAMS:,} upstreams:",
                details(record, loading.START)),
        section("Reload of a configuration of this size, in which each route and server is "
                "another:", details(record, loading.RELOAD)),
        section(f"A request on the last of {routecost.MANY:,} routes:",
                details(record, routecost.NAME)),
    ]
    return "\n".join(part for part in parts if part)


# --- the summary of README.md ---------------------------------------------------

SUMMARY = ("small-64", "file-10k", "file-100k", "file-10m", "new-connection", "memcached",
           "tls-small-64", "tls-file-100k", "tls-full", "tls-resumed")


def summary(record, facts, directory):
    """CPU time of a few workloads, and memory, compared with nginx and HAProxy."""
    names = ("fairlead", *PEERS)
    titles = {w.name: w.title for w in MATRIX}
    rows = [[f"{titles[w]}: CPU µs per request", *(cell(record, w, n, "cpu_us") for n in names)]
            for w in SUMMARY if w in record.names("workload")]
    rows += [[title, *(cell(record, w, n, "bytes") for n in names)]
             for title, w in (("waiting request: bytes of user memory", held.MEMORY),
                              ("idle connection: bytes of user memory", held.IDLE),
                              ("idle TLS connection: bytes of user memory", tlsheld.IDLE))
             if w in record.names("workload")]
    return (rows_to_text(["", *names], rows) + "\n" +
            f"{facts['date']}, {facts['kernel']}, one core each, {facts['peers']}: "
            "medians; ± is half the distance between the quartiles.\n")
