#!/usr/bin/env python3
"""The system calls of a worker under a steady load, by strace: with io_uring only io_uring_enter,
with the access log on; with epoll no epoll_ctl for each request."""
# release: sanitizers make system calls of their own
import os
import re
import subprocess
import time

import rig

CONFIG = """
access_log: {{ path: {log}, format: combined }}
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}], keepalive: 1024 }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""
CONNECTIONS = 32
LOOKS = 4
ALLOWED = {
    "io_uring": {"io_uring_enter"},
    # futex wakes the thread that writes the log, the eventfd reports that it has written.
    "epoll": {"epoll_wait", "recvfrom", "sendmsg", "sendto", "recvmsg", "futex", "write",
              "epoll_pwait"},
}


def threads(pid):
    """The threads that run a worker: they have used the most CPU."""
    used = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            used[task] = int(f.read().split()[0])
    return sorted(used, key=used.get)[-2:]


def traced(tasks):
    """{system call: count} of these threads in one second."""
    out = os.path.join(rig.TMP, "strace")
    attach = [word for task in tasks for word in ("-p", task)]
    strace = subprocess.Popen([os.path.join(rig.PEERS, "strace"), "-c", "-o", out, *attach],
                              stderr=subprocess.PIPE, text=True)
    time.sleep(2.5)
    strace.send_signal(2)
    said = strace.communicate()[1]
    if "not permitted" in said:
        rig.skip(f"strace may not attach here: {said.strip()}")
    with open(out) as f:
        rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", f.read(),
                          re.M)
    return {name: int(calls) for calls, name in rows if name != "total"}


def main():
    origin, = rig.free_ports(1)
    rig.nginx(origin)
    log = os.path.join(rig.TMP, "access.log")
    proxy = rig.Fairlead(CONFIG.format(origin=origin, log=log))
    load = subprocess.Popen([os.path.join(rig.PEERS, "wrk"), "-t1", f"-c{CONNECTIONS}", "-d300s",
                             proxy.url], stdout=subprocess.DEVNULL)
    time.sleep(5)    # buffers that only the start needed were returned
    # strace stops threads, and the requests that pile up need memory that is returned later:
    # at least one of several samples must show the steady state.
    for _ in range(LOOKS):
        before = proxy.metrics()
        calls = traced(threads(proxy.worker_pid()))
        done = proxy.metrics()["requests_total"] - before["requests_total"]
        print(f"{rig.ENGINE}: {calls} in {done:.0f} requests")
        rig.check(sum(calls.values()) > 10, "strace has no calls")
        if set(calls) <= ALLOWED[rig.ENGINE]:
            break
    load.terminate()
    load.wait()
    rig.check(set(calls) <= ALLOWED[rig.ENGINE], f"{set(calls) - ALLOWED[rig.ENGINE]}")


rig.main(main)
