#!/usr/bin/env python3
"""Scarcity of everything: queues, buffers, kernel features, disk; thousands of connections that
are reset; signals at any time. No client gets a wrong response, and the program recovers.
Arguments: the names of some cases, else all are tried."""
import collections
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import threading
import time

import rig

CONFIG = """
upstreams:
  app:
    servers: [127.0.0.1:{origin}]
    connections: {connections}
    queue: 100000
    queue_timeout: 30s
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
limits: {{ {limits} }}
{more}
"""
HERE = os.path.dirname(os.path.abspath(__file__))
FEATURES = ("cap", "silent", "no_iowait", "ringfd", "restrictions")
ALL = ",".join(FEATURES)
MANY = 9000


class Place:
    def __init__(self):
        self.limit = rig.descriptors()
        self.origin, = rig.free_ports(1)
        rig.lab("0ms", self.origin)

    def proxy(self, limits="header_timeout: 10s", more="", env=None, connections=0, **popen):
        return rig.Fairlead(CONFIG.format(origin=self.origin, limits=limits, more=more,
                                          connections=connections),
                            env={**os.environ, **(env or {})}, **popen)


def served(proxy, what):
    rig.check(rig.get(proxy.port, "/status/200").status == 200, f"{what}: it does not serve")
    rig.check(proxy.alive() and not proxy.said("worker process"), lambda: proxy.log())


def loaded(proxy, path, n, what):
    r = rig.load(proxy.port, path, n)
    rig.check(r.get("ok") == n, lambda: f"{what}: {r}")
    served(proxy, what)
    return r["seconds"]


def quiet(proxy, what):
    """Nothing is left: no client, no exchange."""
    rig.until(lambda: proxy.metrics()["connections"] == 0, f"{what}: connections to end")
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == 0, f"{what}: exchanges to end")


def echoed(port, size, n, at_once):
    """Echoes n bodies, at_once of them at a time; returns how many came back unchanged."""
    left, good, lock = list(range(n)), [], threading.Lock()

    def run():
        while True:
            with lock:
                if not left:
                    return
                i = left.pop()
            body = bytes([i % 251]) * size
            try:
                with socket.create_connection(("127.0.0.1", port), 60) as s:
                    threading.Thread(target=s.sendall, daemon=True, args=(
                        b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                        b"Content-Length: %d\r\n\r\n" % size + body,)).start()
                    text = b"".join(iter(lambda: s.recv(65536), b""))
            except OSError:
                continue
            if text.startswith(b"HTTP/1.1 200 ") and text.count(bytes([i % 251])) >= size:
                good.append(i)

    threads = [threading.Thread(target=run) for _ in range(at_once)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return len(good)


# --- cases --------------------------------------------------------------------------

def small_queues(place):
    """A completion queue of 64 and 1,000 connections: whether it overflows or the kernel delays
    completions (as 6.18 does), nothing is lost."""
    env = {"FAIRLEAD_RING_ENTRIES": "32", "FAIRLEAD_RING_CQ": "64"}
    for off in ("", ALL):
        proxy = place.proxy(env={**env, "FAIRLEAD_RING_WITHOUT": off})
        n = min(1000, (place.limit - 200) // 2)
        took = loaded(proxy, "/delay/100", n, "small queues")
        good = echoed(proxy.port, 100_000, 60, 20)
        rig.check(good == 60, "small queues: an echo is not what was sent")
        overflows = proxy.metrics()["engine_overflows_total"]
        print(f"{rig.ENGINE}: a completion queue of 64{' and no features' if off else ''}: "
              f"{n} requests of 100 ms at once in {took:.2f} s, {overflows:.0f} overflows")
        quiet(proxy, "small queues")
        proxy.stop()


def few_buffers(place):
    """Receive buffers of 1 MiB in all, and more bodies than that at once."""
    proxy = place.proxy("buffers: 1MiB, window: 64KiB")
    n = min(2000, (place.limit - 200) // 2)
    socks = [socket.create_connection(("127.0.0.1", proxy.port), 60) for _ in range(n)]
    for s in socks:
        s.sendall(b"GET /bytes/20000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    whole = 0
    for s in socks:
        with s:
            head, _, body = b"".join(iter(lambda: s.recv(65536), b"")).partition(b"\r\n\r\n")
            whole += head.startswith(b"HTTP/1.1 200 ") and len(body) == 20000
    rig.check(whole == n, f"few buffers: {whole} of {n} responses")
    good = echoed(proxy.port, 400_000, 200, 100)
    print(f"{rig.ENGINE}: 64 buffers: {n} responses of 20 kB at once, {good} of 200 echoes of "
          f"400 kB, 100 at once")
    rig.check(good == 200, "few buffers: an echo is not what was sent")
    quiet(proxy, "few buffers")


def queued_bodies(place):
    """Bodies that wait in the queue for a connection hold no buffers that responses need."""
    proxy = place.proxy("buffers: 1MiB, window: 64KiB", connections=2)
    begun = time.monotonic()
    good = echoed(proxy.port, 200_000, 300, 150)
    took = time.monotonic() - begun
    print(f"{rig.ENGINE}: 64 buffers, two connections to the origin: {good} of 300 echoes of "
          f"200 kB, 150 at once, in {took:.1f} s")
    rig.check(good == 300, "line of bodies: an echo is not what was sent")
    rig.check(took < 30, "line of bodies: it stood still")
    quiet(proxy, "line of bodies")
    proxy.stop()


def silent_many(place):
    """Connections that only hold buffers: half a head each."""
    proxy = place.proxy("buffers: 1MiB, header_timeout: 3s")
    n = min(1500, (place.limit - 200) // 2)
    held = [socket.create_connection(("127.0.0.1", proxy.port)) for _ in range(n)]
    for s in held:
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nA: ")
    began = time.monotonic()
    rig.check(rig.get(proxy.port, "/status/200").status == 200, "others are not served")
    print(f"{rig.ENGINE}: 64 buffers and {n} incomplete heads: another client is answered after "
          f"{time.monotonic() - began:.2f} s")
    for s in held:
        s.close()
    quiet(proxy, "halves of heads")
    served(proxy, "halves of heads")


def features_off(place):
    """Each code path that the engine uses on another kernel."""
    for off in (*FEATURES, ALL):
        proxy = place.proxy(env={"FAIRLEAD_RING_WITHOUT": off})
        took = loaded(proxy, "/delay/50", 500, f"without {off}")
        good = echoed(proxy.port, 1_000_000, 20, 10)
        print(f"{rig.ENGINE}: without {off}: 500 requests in {took:.2f} s, {good} of 20 echoes")
        rig.check(good == 20, f"without {off}: an echo is not what was sent")
        quiet(proxy, f"without {off}")
        proxy.stop()


def attacked_without_features(place):
    """The attack suite on the code paths for Linux 6.1."""
    got = subprocess.run([os.path.join(HERE, "attack.py")], capture_output=True, text=True,
                         env={**os.environ, "FAIRLEAD_RING_WITHOUT": ALL})
    print(got.stdout.strip()[-2000:])
    rig.check(got.returncode == 0, "the attack suite fails without features")


def reset_at_once(place):
    """Thousands of connections, half of them with half a request, all reset together."""
    n = min(MANY, place.limit - 500)
    proxy = place.proxy("header_timeout: 60s")
    socks = []
    for i in range(n):
        s = socket.create_connection(("127.0.0.1", proxy.port), 20)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socks.append(s)
        if i % 2:
            s.sendall((b"GET /delay/30000 HTTP/1.1\r\nHost: x\r\n\r\n",
                b"GET / HTTP")[i % 4 == 1])
    if place.limit >= 2 * n:
        rig.until(lambda: proxy.metrics()["connections"] > n * 0.9, "most to be accepted")
    most = proxy.metrics()["connections"]
    began = time.monotonic()
    for s in socks:
        s.close()
    rig.until(lambda: proxy.metrics()["connections"] == 0, "the reset connections to be gone")
    print(f"{rig.ENGINE}: {n} connections reset at once ({most:.0f} were there): all gone "
          f"after {time.monotonic() - began:.2f} s")
    quiet(proxy, "resets")
    loaded(proxy, "/status/200", 500, "after resets")


def request_slowly(s):
    """A request of 4 KB that waits for the origin."""
    try:
        s.sendall(b"GET /delay/500 HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 4000
                  + b"\r\nConnection: close\r\n\r\n")
    except OSError:
        pass


def many_requests(proxy, n, connections=None):
    """n slow requests; how many got which status. They are sent at once when all connections are
    open; with a limit of connections each one is sent when its connection is open, because one
    that has sent nothing for a second gives way to the next."""
    socks = []
    for _ in range(n):
        socks.append(socket.create_connection(("127.0.0.1", proxy.port), 60))
        if connections:
            request_slowly(socks[-1])
    for s in socks if not connections else ():
        request_slowly(s)
    return collections.Counter(status_of(s) for s in socks)


def memory_short(place):
    """The worker process gets no more memory: admitted requests are answered, others get a 503 or
    wait; almost none is reset, and the process does not die."""
    # Another process of the same user sets the limits.
    proxy = place.proxy(more="user: root\n" if os.geteuid() == 0 else "")
    worker = proxy.worker_pid()
    with open(f"/proc/{worker}/status") as f:
        kib = int(re.search(r"VmData:\s+(\d+)", f.read())[1])
    resource.prlimit(worker, resource.RLIMIT_DATA, ((kib + 16384) << 10, -1))
    n = min(4000, (place.limit - 200) // 2)
    got = many_requests(proxy, n)
    print(f"{rig.ENGINE}: {n} requests at once and 16 MiB more for them: {dict(got)}")
    rig.check(set(got) <= {"200", "503", "ended", "reset"}, lambda: f"{got}")
    rig.check(proxy.worker_pid() == worker, lambda: f"it has died: {proxy.log()}")
    rig.check(got["503"] > 0, "memory was not short")
    rig.check(got["200"] >= n / 40, "admitted requests got no response")
    rig.check(got["ended"] + got["reset"] <= n / 50, "too many got neither a response nor a 503")
    # It continues with the memory it has; the reserve is checked once a second.
    rig.until(lambda: rig.load(proxy.port, "/status/200", 200, 20)["ok"] == 200,
              "responses to a few requests while memory is short")
    resource.prlimit(worker, resource.RLIMIT_DATA, (-1, -1))
    loaded(proxy, "/status/200", 500, "memory is back")
    quiet(proxy, "memory is back")


class Group:
    """A control group with a memory limit; `missing` says why there is none."""

    def __init__(self, mib):
        self.missing = None
        for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                            ("/sys/fs/cgroup", "memory.max")):
            self.path = os.path.join(root, f"fairlead-test-{os.getpid()}-{mib}")
            try:
                os.mkdir(self.path)
                self.write(limit, mib << 20)
                return
            except OSError as e:
                self.missing = f"no control group of our own: {e}"
                self.remove()

    def write(self, name, value):
        with open(os.path.join(self.path, name), "r+") as f:
            f.write(str(value))

    def remove(self):
        try:
            os.rmdir(self.path)
        except OSError:
            pass    # it was not made, or still has a process


def memory_group(place):
    """A control group kills instead of refusing memory. With limits that fit, the worker process
    lives; with others, a new one replaces it."""
    fits = "connections: 400, buffers: 8MiB, backlog: 4096"
    for mib, limits, connections in ((64, fits, 400), (14, "header_timeout: 10s", None)):
        group = Group(mib)
        if group.missing:
            print(f"skipped: {group.missing}")
            return
        proxy = place.proxy(limits)
        worker = proxy.worker_pid()
        group.write("cgroup.procs", worker)
        n = min(3000, (place.limit - 200) // 2)
        got = many_requests(proxy, n, connections)
        lived = proxy.worker_pid() == worker
        print(f"{rig.ENGINE}: a control group of {mib} MiB, {limits}: {got['200']} of {n} responses, "
              f"the worker process {'lived' if lived else 'was replaced'}")
        rig.check(mib < 64 or (lived and got["200"] == n), lambda: f"{got}: {proxy.log()}")
        rig.until(lambda: answers(proxy), "responses again")
        rig.check(proxy.alive(), "the supervisor has died")
        proxy.stop()
        rig.until(lambda: group.remove() or not os.path.exists(group.path), "an empty group")


def answers(proxy):
    try:
        return rig.get(proxy.port, "/status/200").status == 200
    except (AssertionError, OSError):
        return False


def status_of(s):
    try:
        with s:
            text = b"".join(iter(lambda: s.recv(65536), b""))
        head, _, body = text.partition(b"\r\n\r\n")
        whole = b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"
        return "ended" if not text else head.split(b" ", 2)[1].decode() if whole else "cut"
    except OSError:
        return "reset"


def signals(place):
    """Signals to supervisor, worker process and threads, under load."""
    proxy = place.proxy()
    results = []
    loads = threading.Thread(target=lambda: results.extend(
        rig.load(proxy.port, "/delay/20", 300) for _ in range(5)))
    loads.start()
    sent = 0
    while loads.is_alive():
        worker = proxy.worker_pid()
        threads = [int(t) for t in os.listdir(f"/proc/{worker}/task")]
        for sign in (signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGWINCH,
                     signal.SIGURG, signal.SIGCONT):
            for pid in (proxy.pid, worker, *threads):
                try:
                    os.kill(pid, sign)
                    sent += 1
                except ProcessLookupError:
                    pass
        for pid in (worker, proxy.pid):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.01)
            os.kill(pid, signal.SIGCONT)
        for sign in (signal.SIGTERM, signal.SIGINT):
            os.kill(worker, sign)    # the supervisor decides what to do
    loads.join()
    rig.check(all(r.get("ok") == 300 for r in results), lambda: f"signals: {results}")
    served(proxy, "signals")
    print(f"{rig.ENGINE}: {sent} signals, {sum(r['ok'] for r in results):.0f} responses")


def worker_killed(place):
    """Whatever signal kills the worker process, it is replaced."""
    proxy = place.proxy()
    for sign in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGILL):
        before = proxy.worker_pid()
        os.kill(before, sign)
        rig.until(lambda: proxy.worker_pid() not in (None, before), "another worker process")
        rig.until(lambda: rig.accepts(proxy.port), "it to listen")
        rig.until(lambda: rig.get(proxy.port, "/status/200").status == 200, "a response")
    rig.check(proxy.alive(), "the supervisor has died")


def disk_full(place):
    """The access log cannot be written: lines are dropped and counted, requests are not."""
    proxy = place.proxy(more="access_log: { path: /dev/full }")
    for _ in range(3):
        loaded(proxy, "/status/200", 500, "disk full")
    rig.until(lambda: proxy.metrics()["log_lines_dropped_total"] >= 1500, "lost lines to be counted")
    rig.check(proxy.metrics()["log_lines_total"] == 0, "a lost line counts as written")
    quiet(proxy, "disk full")


def log_gone(place):
    """The directory of the access log is removed."""
    where = os.path.join(rig.TMP, "logs")
    os.makedirs(where)
    path = os.path.join(where, "access.log")
    proxy = place.proxy(more=f"access_log: {{ path: {path} }}")
    loaded(proxy, "/status/200", 100, "log")
    os.remove(path)
    os.rmdir(where)
    loaded(proxy, "/status/200", 100, "log is gone")


CASES = (small_queues, few_buffers, queued_bodies, silent_many, features_off,
         attacked_without_features, reset_at_once, memory_short, memory_group, signals,
         worker_killed, disk_full, log_gone)
OF_RINGS = (small_queues, features_off, attacked_without_features)


def test():
    place = Place()
    for case in CASES:
        if rig.sys.argv[1:] and case.__name__ not in rig.sys.argv[1:]:
            continue
        if rig.ENGINE != "io_uring" and case in OF_RINGS:
            continue
        began = time.monotonic()
        case(place)
        print(f"{rig.ENGINE}: {case.__name__} took {time.monotonic() - began:.1f} s",
            flush=True)


rig.main(test)
