"""Draws the charts of a record with gnuplot, each as SVG and PNG."""
import os
import subprocess

import held
import latency
from contestants import PEERS
from table import WIDE
from workloads import MATRIX

COLOURS = {"fairlead": "#1f5fbf", "fairlead-epoll": "#8fb4e8", "nginx": "#3a9a4b",
           "haproxy": "#d98b2b", "tunnel": "#9a9a9a"}
SCRIPT = """
set terminal {terminal}
set output '{out}'
set title '{title}' font ',13'
set style data histograms
set style histogram clustered gap 1.5
set style fill solid 1 noborder
set boxwidth 0.9
set grid ytics lc '#dddddd'
set border 3
set tics nomirror
set xtics rotate by -28 font ',10'
set yrange [0:*]
set ylabel '{unit}'
set key outside top center horizontal
{extra}
$data << END
{data}
END
plot {plots}
"""
TERMINALS = {"svg": "svg size 960,420 background '#ffffff' font 'sans,11'",
             "png": "pngcairo size 960,420 font 'sans,10'"}


def quoted(cells):
    return " ".join("NaN" if c is None else f'"{c}"' if isinstance(c, str) else f"{c:.4g}"
                    for c in cells)


def draw(directory, name, title, unit, rows, extra=""):
    """rows: [(label, {contestant: value})]."""
    if not rows:
        return
    present = [n for n in WIDE if any(values.get(n) is not None for _, values in rows)]
    data = "\n".join(quoted([label, *(values.get(n) for n in present)])
                     for label, values in rows)
    plots = ", ".join(f"$data using {i + 2}{':xtic(1)' if i == 0 else ''} title '{n}' "
                      f"lc rgb '{COLOURS[n]}'" for i, n in enumerate(present))
    for kind, terminal in TERMINALS.items():
        out = os.path.join(directory, f"{name}.{kind}")
        script = SCRIPT.format(terminal=terminal, out=out, title=title, unit=unit, data=data,
                               plots=plots, extra=extra)
        subprocess.run(["gnuplot"], input=script, text=True, check=True)


def relative_cpu(record, tls):
    """CPU time per request, divided by that of the better peer, of workloads with or without TLS."""
    rows = []
    for w in MATRIX:
        if bool(w.tls) != tls:
            continue
        medians = {n: record.median(w.name, n, "cpu_us") for n in WIDE}
        peers = [medians[n] for n in PEERS if medians[n]]
        if peers:
            rows.append((w.name, {n: v and v / min(peers) for n, v in medians.items()}))
    return rows


def figure_rows(record, workload, figures, scale=1):
    rows = []
    for figure, label in figures.items():
        values = {n: record.median(workload, n, figure) for n in WIDE}
        if any(v is not None for v in values.values()):
            rows.append((label, {n: v and v / scale for n, v in values.items()}))
    return rows


def draw_all(record, directory):
    for name, tls in (("cpu", False), ("cpu-tls", True)):
        draw(directory, name, f"CPU time per request{' over TLS' * tls}, the better of "
             f"{' and '.join(PEERS)} = 1 (lower is better)", "ratio", relative_cpu(record, tls),
             "set arrow from graph 0,first 1 to graph 1,first 1 nohead lc '#444444' dt 2")
    draw(directory, "latency", "Latency, open loop at half of the maximum rate of nginx",
         "milliseconds", figure_rows(record, latency.NAME, {"p50_us": "p50", "p99_us": "p99",
                                                           "p999_us": "p99.9"}, 1000))
    memory = (figure_rows(record, held.MEMORY, {"bytes": "per waiting request"}, 1024) +
              figure_rows(record, held.IDLE, {"bytes": "per idle connection"}, 1024))
    draw(directory, "memory", "User memory", "KiB", memory)
