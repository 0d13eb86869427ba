#!/usr/bin/env python3
"""The wall clock is set hours ahead and back (with libfaketime: the machine's own clock stays).
Timeouts, deadlines and idle connections do not notice; Date and the log have the new time."""
import calendar
import glob
import os
import socket
import threading
import time

import rig

CONFIG = """
upstreams:
  app: {{ servers: [127.0.0.1:{origin}], response_timeout: 20s }}
  strict: {{ servers: [127.0.0.1:{origin}], response_timeout: 2s }}
routes:    # other paths get a response of the proxy, whose Date is checked
  - prefix: /status/
    proxy: {{ upstream: app }}
  - prefix: /delay/
    proxy: {{ upstream: app }}
  - prefix: /fault/
    proxy: {{ upstream: strict }}
limits: {{ header_timeout: 2s, idle_timeout: 60s }}
access_log: {{ path: {log} }}
sandbox: off    # the faked clock is read from a file
"""
STEPS_H = (5, -9, 0, 1000, -3, 0)
AT_ONCE = 20


def library():
    found = [f for root in (os.path.join(rig.ROOT, "build/peers/faketime/usr"), "/usr")
             for where in ("lib/*/faketime", "lib64/faketime")
             for f in glob.glob(f"{root}/{where}/libfaketimeMT.so.1")]
    return found[0] if found else rig.skip("there is no libfaketimeMT.so.1")


class Clock:
    def __init__(self):
        self.path = os.path.join(rig.TMP, "clock")
        self.hours = 0
        self.set(0)

    def set(self, hours):
        self.hours = hours
        with open(self.path + ".new", "w") as f:
            f.write(f"{hours * 3600:+d}\n")
        os.chmod(self.path + ".new", 0o644)
        os.rename(self.path + ".new", self.path)

    def environment(self):
        return {**os.environ, "LD_PRELOAD": library(), "FAKETIME_NO_CACHE": "1",
                "FAKETIME_TIMESTAMP_FILE": self.path, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1"}

    def now(self):
        return time.time() + self.hours * 3600


def stepping(clock, over):
    """Sets the clock again and again until `over` is set."""
    while not over.is_set():
        for hours in STEPS_H:
            clock.set(hours)
            time.sleep(0.05)


def date_follows(proxy, clock):
    """Equal to within the second for which a worker keeps it, and a tick."""
    def right():
        told = rig.get(proxy.port, "/nowhere").field("Date")
        at = calendar.timegm(time.strptime(told, "%a, %d %b %Y %H:%M:%S GMT"))
        return abs(at - clock.now()) < 3

    for hours in STEPS_H:
        clock.set(hours)
        rig.until(right, f"Date to be {hours} h from now")


def log_follows(proxy, clock, log):
    clock.set(7)
    began = clock.now()
    rig.get(proxy.port, "/status/204?marked")

    def line():
        with open(log) as f:
            return [l for l in f if "?marked" in l]

    told = rig.until(line, "the line")[0].split("[")[1].split("]")[0]
    at = calendar.timegm(time.strptime(told.split()[0], "%d/%b/%Y:%H:%M:%S"))
    rig.check(told.endswith("+0000") and began - 3 < at < clock.now() + 3,
              f"the log says {told}")


def answered(proxy):
    """Requests in flight are neither aborted nor late."""
    began = time.monotonic()
    r = rig.load(proxy.port, "/delay/1000", AT_ONCE)
    took = time.monotonic() - began
    rig.check(r.get("ok") == AT_ONCE, lambda: f"{r}")
    rig.check(took < 10, f"responses of 1 s took {took:.1f} s")


def timed_out(proxy):
    """A limit of 2 s stays 2 s whatever the wall clock does."""
    began = time.monotonic()
    status = rig.get(proxy.port, "/fault/never").status
    took = time.monotonic() - began
    print(f"{rig.ENGINE}: response_timeout of 2 s after {took:.2f} s, the clock stepping")
    rig.check(status == 504 and 1.9 < took < 10, f"{status} after {took:.2f} s")
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", proxy.port), rig.PATIENCE_S) as s:
        s.sendall(b"GET / HTTP")
        text = s.recv(1000)
        took = time.monotonic() - began
    rig.check(b" 408 " in text and 1.9 < took < 10, f"{text[:40]} after {took:.2f} s")


def test():
    clock, log = Clock(), os.path.join(rig.TMP, "access.log")
    os.chmod(rig.TMP, 0o755)
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    proxy = rig.Fairlead(CONFIG.format(origin=origin, log=log), env=clock.environment())
    idle = socket.create_connection(("127.0.0.1", proxy.port), rig.PATIENCE_S)
    idle.sendall(b"GET /status/200 HTTP/1.1\r\nHost: x\r\n\r\n")
    rig.check(idle.recv(1000).startswith(b"HTTP/1.1 200 "), "no response")
    date_follows(proxy, clock)
    log_follows(proxy, clock, log)
    over = threading.Event()
    setter = threading.Thread(target=stepping, args=(clock, over))
    setter.start()
    try:
        for _ in range(2):
            answered(proxy)
            timed_out(proxy)
    finally:
        over.set()
        setter.join()
    idle.sendall(b"GET /status/200 HTTP/1.1\r\nHost: x\r\n\r\n")
    rig.check(idle.recv(1000).startswith(b"HTTP/1.1 200 "), "an idle connection was closed")
    idle.close()
    rig.check(not proxy.said("worker process"), lambda: proxy.log())


rig.main(test)
