"""The machine, versions and settings of a run, which are recorded with its figures."""
import csv
import os
import platform
import re
import subprocess
import time

import contestants
from contestants import ROOT, rig


def first_line(*command):
    """The first line of a program's output, on stdout or stderr; "none" without output."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    except OSError:
        return "none"
    return ((done.stdout + done.stderr).strip().splitlines() or ["none"])[0]


def version(name, option):
    found = re.search(r"\d+\.\d+[\w.+-]*", first_line(os.path.join(rig.PEERS, name), option))
    return f"{name} {found[0] if found else '?'}"


def cpu():
    with open("/proc/cpuinfo") as f:
        found = re.search(r"^model name\s*:\s*(.*)$", f.read(), re.M)
    return found[1].strip() if found else platform.machine()


def commit():
    clean = subprocess.run(["git", "diff", "--quiet", "HEAD"], cwd=ROOT, check=False)
    return first_line("git", "rev-parse", "--short=12", "HEAD") + "+" * bool(clean.returncode)


def flags():
    with open(os.path.join(rig.BUILD, "flags")) as f:
        return " ".join(word for word in f.read().split()
                        if not word.startswith(("-I", "-L", "-W", "-D_GNU", "-DLLHTTP")))


def facts(rounds, seconds):
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": commit(),
        "kernel": f"Linux {platform.release()} {platform.machine()}",
        "cpu": cpu(),
        "cores": str(len(contestants.cores())),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "rounds": str(rounds),
        "seconds a round": str(seconds),
        "peers": ", ".join((version("nginx", "-v"), version("haproxy", "-v"),
                            version("memcached", "-V"), version("wrk", "-v"))),
        "compiler": first_line(flags().split()[0], "--version"),
        "flags": flags(),
    }


def write(path, values):
    with open(path, "w", newline="") as f:
        csv.writer(f, lineterminator="\n").writerows(values.items())


def read(path):
    with open(path, newline="") as f:
        return dict(csv.reader(f))
