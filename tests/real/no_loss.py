#!/usr/bin/env python3
# release: it counts memory and descriptors of the release program
"""Reloads and upgrades under load: wrk on persistent connections, requests that take long, and none
that fails or is reset; memory and descriptors stay the same.

RELOADS, UPGRADES and LONG say how many; FULL=1: 200, 20 and 2,000, as in tests/README.md."""
import os
import re
import selectors
import signal
import socket
import subprocess
import threading
import time

import rig

RELOADS = int(os.environ.get("RELOADS", 200 if rig.FULL else 30))
UPGRADES = int(os.environ.get("UPGRADES", 20 if rig.FULL else 3))
LONG = int(os.environ.get("LONG", 2000 if rig.FULL else 200))
LONG_MS = 1500
WRK_CONNECTIONS = 16

CONFIG = """
upstreams:
  app: {{ servers: [127.0.0.1:{origin}], keepalive: {keepalive}, connections: 0 }}
  slow: {{ servers: [127.0.0.1:{origin}], queue: 10000, queue_timeout: 60s }}
{more}
routes:
{decoys}
  - {{ prefix: /delay/, proxy: {{ upstream: slow }} }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
limits: {{ upgrade_timeout: 60s }}
"""


class Long(threading.Thread):
    """Keeps so many long requests in flight, each on its own connection; all must be answered."""

    def __init__(self, port, n):
        super().__init__()
        self.port, self.n = port, n
        self.answered, self.failed = 0, []
        self.ending = False
        self.selector = selectors.DefaultSelector()

    def open(self):
        s = socket.create_connection(("127.0.0.1", self.port), rig.PATIENCE_S)
        s.sendall(f"GET /delay/{LONG_MS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                  .encode())
        self.selector.register(s, selectors.EVENT_READ, bytearray())

    def look(self, key):
        try:
            piece = key.fileobj.recv(65536)
        except OSError as e:
            piece = b""
            self.failed.append(f"{e} after {len(key.data)} bytes")
        key.data.extend(piece)
        if piece:
            return
        self.selector.unregister(key.fileobj)
        key.fileobj.close()
        if b" 200 OK\r\n" in key.data[:20]:
            self.answered += 1
        else:
            self.failed.append(bytes(key.data[:80]))
        if not self.ending:
            self.open()

    def run(self):
        for _ in range(self.n):
            self.open()
        while self.selector.get_map():
            for key, _ in self.selector.select(rig.PATIENCE_S):
                self.look(key)

    def end(self):
        self.ending = True
        self.join()
        rig.check(not self.failed, lambda: f"{len(self.failed)} long requests failed, "
                                           f"{self.answered} did not: {self.failed[:3]}")


class Wrk:
    def __init__(self, port, path, seconds):
        self.process = subprocess.Popen(
            [os.path.join(rig.PEERS, "wrk"), "-t1", f"-c{WRK_CONNECTIONS}", f"-d{seconds}s",
             "--timeout", "20s", f"http://127.0.0.1:{port}{path}"], stdout=subprocess.PIPE,
            text=True)

    def end(self):
        """Requests that were answered; none may have failed."""
        self.process.send_signal(signal.SIGINT)
        out = self.process.communicate(timeout=60)[0]
        rig.check("Socket errors" not in out and "Non-2xx" not in out, out)
        return int(re.search(r"(\d+) requests in", out)[1])


def config_of(origin, i):
    """Each configuration differs from the previous one in everything that a reload can change."""
    more = "".join(f"  more{k}: {{ servers: [127.0.0.1:{origin}] }}\n" for k in range(i % 3))
    decoys = "".join(f"  - {{ path: /decoy{k}, proxy: {{ upstream: app }} }}\n"
                     for k in range(i % 7))
    return CONFIG.format(origin=origin, keepalive=64 + i % 50, more=more, decoys=decoys)


def write(proxy, text, more):
    listens = ", ".join(f"127.0.0.1:{p}" for p in [proxy.port, *more])
    with open(proxy.path + ".new", "w") as f:
        f.write(f"listen: [{listens}]\nadmin: 127.0.0.1:{proxy.admin}\n{text}")
    os.rename(proxy.path + ".new", proxy.path)


def after(proxy, sign, words):
    before = proxy.log().count(words)
    proxy.signal(sign)
    rig.until(lambda: proxy.log().count(words) > before or not proxy.alive(), words)
    rig.check(proxy.alive(), proxy.log)


def descriptors(pid):
    """Open descriptors without connections, which come and go."""
    names = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            names.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
    return len(names)


def reloads(proxy, origin):
    spare, = rig.free_ports(1)
    for i in range(RELOADS):
        write(proxy, config_of(origin, i), [spare] if i % 2 else [])
        after(proxy, signal.SIGHUP, "fairlead: reloaded")
        if i % 2 == 0:    # workers release an address a moment later; the next reload needs it
            rig.until(lambda: not rig.accepts(spare), "the end of a listener")
    write(proxy, config_of(origin, 0), [])
    after(proxy, signal.SIGHUP, "fairlead: reloaded")


def under_load(proxy, what):
    """Runs wrk and long requests during `it`. Returns how many were answered."""
    long, wrk = Long(proxy.port, LONG), Wrk(proxy.port, "/bytes/100", 600)
    long.start()
    rig.until(lambda: proxy.metrics()["requests_in_flight"] >= LONG, f"{LONG} long requests")
    try:
        what()
    finally:
        long.ending = True
    time.sleep(0.5)    # a while after the last change
    answered = wrk.end()
    long.end()
    return answered, long.answered


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return f.read().split()


def measure(proxy):
    rig.until(lambda: len(children(proxy.pid)) == 1, "one worker process", 90)
    rig.until(lambda: proxy.metrics()["connections"] <= 1, "connections to end")
    return (descriptors(proxy.pid), descriptors(proxy.worker_pid()) -
            int(proxy.metrics()["upstream_connections"]), proxy.anonymous_kib())


def settled(proxy, good, what):
    """Descriptors may still be closed after a moment; a leak stays open."""
    end = time.monotonic() + rig.PATIENCE_S
    while not good(now := measure(proxy)):
        rig.check(time.monotonic() < end, lambda: f"{what}: {now}")
        time.sleep(0.2)
    return now


def main():
    origin, = rig.free_ports(1)
    rig.descriptors()
    rig.lab("0ms", origin)
    proxy = rig.Fairlead(config_of(origin, 0))
    under_load(proxy, lambda: reloads(proxy, origin))    # one-time allocations are done now
    before = measure(proxy)
    began = time.monotonic()
    counts = under_load(proxy, lambda: reloads(proxy, origin))
    print(f"{rig.ENGINE}: {RELOADS} reloads in {time.monotonic() - began:.1f} s under "
          f"{counts[0]} short and {counts[1]} long requests, none failed")
    now = settled(proxy, lambda now: now[0] == before[0] and now[1] <= before[1]
                  and now[2] <= before[2] * 1.1 + 1024, "descriptors are left open, or memory grew")
    print(f"descriptors of supervisor and worker process, KiB: {before} before, {now} after")
    pid, began = proxy.pid, time.monotonic()
    counts = under_load(proxy, lambda: [after(proxy, signal.SIGUSR2, "fairlead: ready")
                                        or rig.until(lambda: len(children(proxy.pid)) < 7,
                                                     "a worker process to end", 90)
                                        for _ in range(UPGRADES)])
    print(f"{rig.ENGINE}: {UPGRADES} upgrades in {time.monotonic() - began:.1f} s under "
          f"{counts[0]} short and {counts[1]} long requests, none failed")
    now = settled(proxy, lambda now: now[0] <= before[0] + 1
                  and now[2] <= before[2] * 1.1 + 1024, "descriptors are left open, or memory grew")
    print(f"descriptors of supervisor and worker process, KiB: {now} after")
    rig.check(proxy.pid == pid, "it is another process")
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended() == 0, proxy.log)


rig.main(main)
