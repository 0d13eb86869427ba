"""Draws the chart of a soak from its CSV, with gnuplot if it is installed."""
import os
import shutil
import subprocess

SCRIPT = """
set datafile separator ","
set terminal svg size 900,640 font "sans-serif,12" background "white"
set output "{svg}"
set multiplot layout 3,1 title "fairlead on {engine}: \
{minutes:g} minutes of mixed load, kills and restarts" noenhanced
set xrange [0:{seconds}]
set lmargin 9
set rmargin 8
set key above right horizontal
set grid ytics lc rgb "#dddddd"
set ytics nomirror autofreq
set format y "%g"
set xtics format ""
{marks}
set yrange [0:*]
set ylabel "MiB"
plot "{csv}" every {every} using 1:($2/1024) with lines lw 2 lc rgb "#1f4e9e" title "resident", \\
     "" every {every} using 1:(($6-$7)*16/1024) with lines lc rgb "#d08000" title "receive buffers in use"
set ylabel "count"
plot "{csv}" every {every} using 1:3 with lines lw 2 lc rgb "#1f4e9e" title "descriptors", \\
     "" every {every} using 1:4 with lines lc rgb "#208040" title "client connections", \\
     "" every {every} using 1:5 with lines lc rgb "#d08000" title "requests in flight"
set xtics format "%g"
set xlabel "seconds; grey: a server killed; red: the worker process killed; \
blue: a drain and a new start"
set ylabel "requests/s"
last_time = last_count = 0
rate(t, n) = (r = n >= last_count && t > last_time ? (n - last_count) / (t - last_time) : NaN, \\
              last_time = t, last_count = n, r)
plot "{csv}" every {every} using 1:(rate($1, $10)) with lines lc rgb "#1f4e9e" notitle
"""


def colour(what, backend):
    return "#5080ff" if what == "restart" else "#ff4040" if backend == "all" else "#c8c8c8"


def write(csv, events, seconds, engine):
    gnuplot = shutil.which("gnuplot")
    if not gnuplot:
        print("no gnuplot, no chart")
        return
    marks = "\n".join(f'set arrow from {at:.1f},graph 0 to {at:.1f},graph 1 nohead back '
                      f'lc rgb "{colour(what, backend)}"' for at, what, backend in events)
    svg = os.path.splitext(csv)[0] + ".svg"
    subprocess.run([gnuplot], input=SCRIPT.format(csv=csv, svg=svg, engine=engine,
                   seconds=seconds, minutes=seconds / 60, marks=marks,
                   every=1 + int(seconds // 400)), text=True, check=True)
