#!/usr/bin/env python3
"""The access log never delays a request. Into a pipe without a reader, lines are dropped and
counted; when the pipe is read again, complete lines arrive again; and a drain ends."""
import os
import signal
import threading

import rig

CONFIG = """
access_log: {{ path: "-", format: combined }}
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}], keepalive: 1024 }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""
CONNECTIONS = 32


class Reader(threading.Thread):
    def __init__(self, fd):
        super().__init__(daemon=True)
        self.fd, self.text = fd, []
        self.start()

    def run(self):
        while piece := os.read(self.fd, 1 << 16):
            self.text.append(piece)

    def lines(self):
        self.join()
        return b"".join(self.text).splitlines()


def is_broken(line):
    return line.count(b'"') != 6 or b"GET / HTTP/1.1" not in line


def fuller(proxy):
    """Sends some requests; whether lines were dropped."""
    _, errors, _ = rig.wrk(proxy.port, "/", CONNECTIONS, 1)
    rig.check(errors == 0, f"{errors} requests failed")
    return proxy.metrics()["log_lines_dropped_total"] > 0


def flows(proxy):
    """Sends requests that all get their line. Returns how many, and how many per second."""
    before = proxy.metrics()["log_lines_dropped_total"]
    done, errors, rate = rig.wrk(proxy.port, "/", CONNECTIONS, 2)
    rig.check(errors == 0, f"{errors} requests failed")
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == 0, "the last responses")
    return (done, rate) if proxy.metrics()["log_lines_dropped_total"] == before else None


def drain_ends(origin):
    """Also if the pipe has no reader for the remaining lines."""
    out, into = os.pipe()
    proxy = rig.Fairlead(CONFIG.format(origin=origin) + "limits: { drain_timeout: 1s }",
                         stdout=into)
    os.close(into)
    rig.until(lambda: fuller(proxy), "the pipe to be full", 60)
    proxy.signal(signal.SIGTERM)
    status = proxy.ended()
    rig.check(status == 0 and proxy.said("access log"), lambda: f"{status}: {proxy.log()}")
    os.close(out)


def main():
    origin, = rig.free_ports(1)
    rig.nginx(origin)
    drain_ends(origin)
    out, into = os.pipe()
    proxy = rig.Fairlead(CONFIG.format(origin=origin), stdout=into)
    os.close(into)
    _, errors, stalled = rig.wrk(proxy.port, "/", CONNECTIONS, 3)
    rig.check(errors == 0, f"{errors} requests failed")
    rig.until(lambda: fuller(proxy), "the pipe to be full", 60)
    reader = Reader(out)
    rig.until(lambda: reader.text, "lines")
    done, flowing = rig.becomes(lambda: flows(proxy), lambda r: r, "lines are dropped, and read")
    total = proxy.metrics()
    proxy.stop()
    lines = reader.lines()
    print(f"{rig.ENGINE}: {stalled:.0f}/s into a full pipe, {flowing:.0f}/s into one that is "
          f"read; {len(lines)} lines, {total['log_lines_dropped_total']:.0f} dropped of "
          f"{total['requests_total']:.0f}")
    rig.check(len(lines) >= done, f"{len(lines)} lines, but {done} requests at the end alone")
    broken = [line for line in lines if is_broken(line)]
    rig.check(not broken, lambda: f"incomplete: {broken[:3]}")
    rig.check(len(lines) + total["log_lines_dropped_total"] == total["requests_total"],
              "lines and those dropped are not all requests")


rig.main(main)
