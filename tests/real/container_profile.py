#!/usr/bin/env python3
"""examples/seccomp.json, the profile for containers, applied as a runtime does: everything in
fairlead works under it. Without its first rule epoll is used, and the log says why. The image of
examples/Dockerfile has the libraries that the program needs."""
# release: sanitizers make system calls of their own
import json
import os
import re
import shutil
import signal
import subprocess

import rig

CONFIG = """
study: true
access_log: {{ path: {tmp}/profile.log, format: combined }}
upstreams: {{ app: {{ servers: ["localhost:{origin}"] }} }}
routes:
  - {{ path: /cpu, cpu: {{ ms: 1, on: pool }} }}
  - {{ path: /block, block: {{ url: "http://127.0.0.1:{origin}/status/200" }} }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""
PROFILE = os.path.join(rig.ROOT, "examples/seccomp.json")
IN_PROFILE = os.path.join(rig.ROOT, "tests/lib/in_profile")
RING = ["io_uring_setup", "io_uring_enter", "io_uring_register"]


def profile_without(names):
    """A copy of the profile."""
    path = os.path.join(rig.TMP, "without.json")
    with open(PROFILE) as f:
        profile = json.load(f)
    for rule in profile["syscalls"]:
        rule["names"] = [n for n in rule["names"] if n not in names]
    with open(path, "w") as f:
        json.dump(profile, f)
    return path


def works(origin, profile, engine, tells):
    proxy = rig.Fairlead(CONFIG.format(origin=origin, tmp=rig.TMP), engine=engine,
                         before=[IN_PROFILE, profile])
    rig.check(proxy.said(tells), proxy.log())
    for path in ("/status/200", "/bytes/100000", "/cpu", "/block"):
        rig.check(rig.get(proxy.port, path).status == 200, f"{path}: no 200")
    os.kill(proxy.worker_pid(), signal.SIGKILL)
    rig.until(lambda: proxy.log().count("fairlead: ready") == 2, "another worker process")
    rig.check(rig.get(proxy.port, "/status/200").status == 200, "it does not serve")
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended() == 0, f"status {proxy.process.returncode}: {proxy.log()}")


def libraries():
    """On Debian, where the image is from."""
    if not shutil.which("dpkg") or not os.path.exists("/etc/debian_version"):
        return
    with open(os.path.join(rig.ROOT, "examples/Dockerfile")) as f:
        installed = f.read().split()
    needed = re.findall(r"=> (/\S+)", subprocess.run(["ldd", rig.FAIRLEAD], check=True, text=True,
                                                     capture_output=True).stdout)
    for path in needed:
        found = subprocess.run(["dpkg", "-S", os.path.basename(path)], capture_output=True,
                               text=True).stdout
        packages = {line.split(":")[0] for line in found.splitlines()}
        # libc6 and libcrypt1 are in every image of Debian.
        rig.check(packages & {*installed, "libc6", "libcrypt1"},
                  f"examples/Dockerfile does not install {packages} for {path}")


def main():
    libraries()
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin, None, "--engine", "epoll")
    works(origin, PROFILE, rig.ENGINE, f"ready engine={rig.ENGINE}")
    # Without the three calls, as in runtimes' own profiles, it says what is missing and continues.
    works(origin, profile_without(RING), "auto",
          "allow io_uring_setup, io_uring_enter and io_uring_register")


rig.main(main)
