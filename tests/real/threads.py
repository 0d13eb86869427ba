#!/usr/bin/env python3
"""Everything that crosses threads, under the thread sanitizer: requests to all workers, jobs on
the CPU pool and back, log lines, idle connections that one worker closes for another, permits of
a server that workers pass to each other, ejected servers that come back, results of health checks
(of a cache that mostly replies too late), metrics read all the time, a worker process that is
killed and replaced, and a drain during all of it. The sanitizer must report nothing, for the
proxy and for the lab."""
# tsan
import os
import signal
import subprocess
import threading
import time

import rig

CONFIG = """
study: true
access_log: {{ path: {log}, format: json }}
upstreams:
  app:
    servers: [127.0.0.1:{origin}]
    queue: 10000
    queue_timeout: 30s
    health_check: {{ path: /status/200, interval: 20ms, fall: 100 }}
  few:
    servers: [127.0.0.1:{origin}, 127.0.0.1:{nobody}]
    requests: 5
    queue: 10000
    queue_timeout: 30s
    eject_failures: 1
    eject_time: 50ms
  cache: {{ protocol: memcached, servers: [127.0.0.1:{memcached}] }}
  shaky:
    protocol: memcached
    servers: [127.0.0.1:{memcached}]
    health_check: {{ interval: 20ms, timeout: 1ms, rise: 1, fall: 1 }}
routes:
  - path: /pool
    cpu: {{ ms: 1, on: pool }}
  - path: /cache
    memcached: {{ upstream: cache, key: foo }}
  - path: /few
    proxy: {{ upstream: few, path: /delay/2 }}
  - prefix: /
    proxy: {{ upstream: app }}
limits: {{ connections: 300, drain_timeout: 10s }}
"""
# 300 for clients and the reserve are too few for an origin each: workers evict for each other.
DESCRIPTORS = 600
MANY = 280
WORKERS = 3
LOAD_S = 2


class Scraper(threading.Thread):
    """Reads /metrics again and again, also before workers have started and while they end."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.seen, self.stopped = port, 0, False
        self.start()

    def run(self):
        while not self.stopped:
            try:
                self.seen += rig.get(self.port, "/metrics", patience_s=1).status == 200
            except (OSError, AssertionError):
                time.sleep(0.002)

    def stop(self):
        self.stopped = True
        self.join()


class EarlyScraped(rig.Fairlead):
    """Its metrics are read before it says that it is ready."""

    def __init__(self, *args, **more):
        ports = rig.free_ports
        rig.free_ports = lambda n: self.scrape(ports(n))
        super().__init__(*args, **more)
        rig.free_ports = ports

    def scrape(self, ports):
        self.scraper = Scraper(ports[1])
        return ports


def proxy_started(origin, memcached, nobody):
    return EarlyScraped(
        CONFIG.format(origin=origin, memcached=memcached, nobody=nobody, log=os.path.join(rig.TMP, "log")),
        workers=WORKERS, before=("prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"))


def start_load(proxy, path, connections, seconds=LOAD_S):
    return subprocess.Popen(
        [os.path.join(rig.PEERS, "wrk"), "-t1", f"-c{connections}", f"-d{seconds}s",
         "--timeout", "20s", f"http://127.0.0.1:{proxy.port}{path}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def faultless(load):
    out = load.communicate()[0]
    rig.check("Socket errors" not in out and "Non-2xx" not in out and "Requests/sec" in out,
              f"wrk: {out}")


def loaded(proxy):
    for load in [start_load(proxy, path, n)
                 for path, n in (("/pool", 12), ("/cache", 12), ("/delay/5", 24), ("/few", 24))]:
        faultless(load)
    rig.check(proxy.said("is ejected for"), "no server was ejected")
    rig.check(proxy.metrics()["server_requests_total"] > 0, "no requests of servers")
    faultless(start_load(proxy, "/delay/20", MANY, 1))


def killed(proxy):
    first = proxy.worker_pid()
    os.kill(first, signal.SIGKILL)
    rig.until(lambda: proxy.log().count("fairlead: ready") == 2, "another worker process")
    rig.check(rig.get(proxy.port, "/pool").status == 200, "no response")


def drained(proxy):
    """With jobs in the pool and requests in flight."""
    loads = [start_load(proxy, path, n) for path, n in (("/pool?ms=20", 12), ("/delay/100", 50))]
    rig.until(lambda: proxy.metrics()["requests_in_flight"] >= 50, "requests in flight")
    proxy.signal(signal.SIGTERM)
    status = proxy.ended(40)
    for load in loads:
        load.communicate()
    return status


def silent(program):
    text = program.log()
    rig.check("ThreadSanitizer" not in text,
              lambda: text[text.index("WARNING: ThreadSanitizer"):][:8000])


def main():
    origin, memcached, nobody = rig.free_ports(3)
    lab = rig.lab("0ms", origin, memcached, "--workers", "2", "--engine", rig.ENGINE)
    proxy = proxy_started(origin, memcached, nobody)
    loaded(proxy)
    killed(proxy)
    status = drained(proxy)
    proxy.scraper.stop()
    lab.signal(signal.SIGTERM)
    lab_status = lab.ended()
    silent(proxy)
    silent(lab)
    rig.check(status == 0 and lab_status == 0, f"status {status}, of the lab {lab_status}")
    rig.check(proxy.scraper.seen > 10, "its metrics were hardly read")
    print(f"{rig.ENGINE}: metrics read {proxy.scraper.seen} times, nothing reported")


rig.main(main)
