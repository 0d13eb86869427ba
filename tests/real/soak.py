#!/usr/bin/env python3
"""A long mixed load on real servers that are killed, stopped and started again, on a worker
process that is killed, and on drains and restarts. No response is lost, wrong or short; at the
end nothing is left, and memory did not grow.

    make soak MIN=10      so many minutes for each engine; curves and charts go to build/soak
    MIN=10 ENGINE=epoll OUT=build/soak tests/real/soak.py

tests/README.md says when it passes. In `make test` it takes 20 s."""
import csv
import json
import os
import random
import signal
import statistics
import sys
import threading
import time

import rig
import soak_chart
import soak_clients

SECONDS = float(os.environ.get("MIN") or 0) * 60 or 20
OUT = os.environ.get("OUT") or rig.TMP
PROCESSES = 2
SETTLE_S = 3     # after a server has returned, until it must be used again
CONFIG = """
upstreams:
  nginx: {{ servers: [127.0.0.1:{nginx[0]}, 127.0.0.1:{nginx[1]}], response_timeout: 10s }}
  lab: {{ servers: [127.0.0.1:{lab[0]}], response_timeout: 10s, keepalive: 8 }}
  memcached: {{ protocol: memcached, servers: [127.0.0.1:{memcached[0]},
                127.0.0.1:{memcached[1]}], timeout: 5s }}
routes:
  - prefix: /file/
    proxy: {{ upstream: nginx }}
  - prefix: /cache/
    memcached: {{ upstream: memcached, key: "${{path.rest}}" }}
  - prefix: /
    proxy: {{ upstream: lab }}
access_log: {{ path: {log} }}
"""
SIGNALS = (signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE, signal.SIGWINCH, signal.SIGCONT)
COLUMNS = ("second", "resident_kib", "descriptors", "connections", "requests_in_flight", "buffers",
           "buffers_free", "block_bytes", "upstream_connections", "requests")


class Window:
    """While it is open, and a little longer, requests to its server may fail."""

    def __init__(self, what, backend):
        self.what, self.backend = what, backend
        self.began, self.ended = time.monotonic(), float("inf")

    def close(self):
        self.ended = time.monotonic() + SETTLE_S

    def explains(self, failure):
        if failure["ended"] < self.began or failure["began"] > self.ended:
            return False
        if failure["what"].startswith("status "):
            return self.backend == failure["backend"]
        # A drain ends requests whose response has not begun, and tunnels; others it completes.
        if self.what == "restart":
            return failure["got"] == 0
        return self.backend in (failure["backend"], "all")


class Servers:
    """The servers behind fairlead; each can be ended and started again."""

    def __init__(self):
        ports = rig.free_ports(5)
        self.ports = {"nginx": ports[:2], "memcached": ports[2:4], "lab": ports[4:]}
        os.makedirs(os.path.join(rig.TMP, "file"))
        for name, text in soak_clients.KNOWN.items():
            if name.startswith("file"):
                with open(os.path.join(rig.TMP, "file", name), "wb") as f:
                    f.write(text)
        self.running = {(backend, port): self.start(backend, port)
                        for backend in self.ports for port in self.ports[backend]}

    def start(self, backend, port):
        if backend == "nginx":
            return rig.nginx(port, server="location / { }")
        if backend == "lab":
            return rig.lab("0ms", port)
        program = rig.memcached(port, "-m", "256")
        with rig.socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S) as s:
            for name, text in soak_clients.KNOWN.items():
                if name.startswith("value"):
                    s.sendall(b"set %s 0 0 %d noreply\r\n%s\r\n"
                              % (name.encode(), len(text), text))
            s.sendall(b"version\r\n")
            rig.check(s.recv(100).startswith(b"VERSION"), "memcached does not take values")
        return program


class Soak:
    def __init__(self):
        self.rnd = random.Random(7)
        self.servers = Servers()
        self.config = CONFIG.format(log=os.path.join(rig.TMP, "access.log"),
                                    **self.servers.ports)
        self.proxy = rig.Fairlead(self.config)
        self.idle = self.sample(0)
        self.windows, self.rows, self.stop = [], [], False

    # --- what is measured -------------------------------------------------------

    def sample(self, second):
        """One row of the curve, or None while there is no worker process."""
        proxy = self.proxy
        try:
            m = proxy.metrics()
            worker = proxy.worker_pid()
            return (second, proxy.resident_kib(), len(os.listdir(f"/proc/{worker}/fd")),
                    *(m[k] for k in COLUMNS[3:-1]), m["requests_total"])
        except (OSError, AssertionError, KeyError, TypeError, IndexError, ValueError):
            return None

    def watch(self):
        while not self.stop:
            row = self.sample(time.monotonic() - self.began)
            if row:
                self.rows.append(row)
            time.sleep(1 - (time.monotonic() - self.began) % 1)

    # --- what is done to it -----------------------------------------------------

    def window(self, what, backend):
        self.windows.append(Window(what, backend))
        return self.windows[-1]

    def server_killed(self):
        where = self.rnd.choice(list(self.servers.running))
        window = self.window("killed", where[0])
        program = self.servers.running[where]
        program.signal(signal.SIGKILL)
        program.ended()
        time.sleep(self.rnd.random())
        self.servers.running[where] = self.servers.start(*where)
        window.close()

    def server_stopped(self):
        """Stops a server for less than any timeout: only times may change."""
        program = self.rnd.choice(list(self.servers.running.values()))
        program.signal(signal.SIGSTOP)
        time.sleep(self.rnd.random())
        program.signal(signal.SIGCONT)

    def signals_sent(self):
        for pid in (self.proxy.pid, self.proxy.worker_pid()):
            for sign in SIGNALS:
                os.kill(pid, sign)

    def worker_killed(self):
        proxy, window = self.proxy, self.window("killed", "all")
        before, ready = proxy.worker_pid(), proxy.log().count("fairlead: ready")
        os.kill(before, signal.SIGKILL)
        rig.until(lambda: proxy.log().count("fairlead: ready") > ready, "a worker process")
        window.close()

    def restarted(self):
        """The program drains, and another one replaces it."""
        old, window = self.proxy, self.window("restart", "all")
        old.signal(signal.SIGTERM)
        rig.check(old.ended(40) == 0, lambda: f"a drain ended with {old.log()[-500:]}")
        self.proxy = rig.Fairlead(self.config, port=old.port)
        window.close()

    def plan(self):
        """Worker processes end in the first fifth; the last one must live to the end."""
        first = [self.worker_killed, self.restarted, self.worker_killed, self.restarted]
        step = SECONDS / 5 / (len(first) + 1)
        events = [(step * (i + 1), deed) for i, deed in enumerate(first)]
        pause = max(4, min(12, SECONDS / 5))
        at = pause / 2
        while at < SECONDS - pause:
            events.append((at, self.rnd.choice((self.server_killed, self.server_killed,
                                                self.server_stopped, self.signals_sent))))
            at += pause
        return sorted(events, key=lambda e: e[0])

    # --- the run ----------------------------------------------------------------

    def loads(self):
        here = os.path.dirname(os.path.abspath(__file__))
        results = [os.path.join(rig.TMP, f"clients-{i}.json") for i in range(PROCESSES)]
        programs = [rig.Program("clients", [sys.executable, os.path.join(
            here, "soak_clients.py"), str(self.proxy.port), str(i), results[i]], "ready")
            for i in range(PROCESSES)]
        return programs, results

    def run(self):
        self.began = time.monotonic()
        watcher = threading.Thread(target=self.watch)
        watcher.start()
        programs, results = self.loads()
        try:
            for at, deed in self.plan():
                time.sleep(max(0, self.began + at - time.monotonic()))
                deed()
            time.sleep(max(0, self.began + SECONDS - time.monotonic()))
            for program in programs:
                program.signal(signal.SIGTERM)
            for program in programs:
                rig.check(program.ended(60) == 0, lambda: f"clients: {program.log()}")
        finally:
            self.stop = True
            watcher.join()
        return [json.load(open(r)) for r in results]

    # --- the verdict ------------------------------------------------------------

    def judge_answers(self, results):
        good = sum(sum(r["good"].values()) for r in results)
        failures = [f for r in results for f in r["failures"]]
        open_questions = [f for f in failures
                          if not any(w.explains(f) for w in self.windows)]
        print(f"{rig.ENGINE}: {SECONDS:.0f} s, {good} correct responses, "
              f"{sum(r['left'] for r in results)} clients that left, {len(failures)} failures "
              f"within {len(self.windows)} kills and restarts")
        for f in open_questions[:20]:
            print(f"  at {f['began'] - self.began:.2f} to {f['ended'] - self.began:.2f} s: {f}")
        rig.check(not open_questions, f"{len(open_questions)} unexplained failures")
        rig.check(good > 20 * SECONDS, "there was hardly a load")
        rig.check(all(len(r["good"]) == 6 for r in results), lambda: f"a deed is missing "
                  f"{[r['good'] for r in results]}")

    def judge_memory(self):
        """Compares the last fifth with the second, in the same worker process."""
        def median(fifth):
            return statistics.median(r[1] for r in self.rows
                                     if fifth <= r[0] * 5 / SECONDS < fifth + 1)
        early, late = median(1), median(4)
        most = early * 1.05 + 1024 if SECONDS >= 300 else early * 1.25 + 8192
        print(f"{rig.ENGINE}: resident: {early:.0f} KiB in the second fifth, {late:.0f} in the "
              f"last; buffers: at most {max(r[5] - r[6] for r in self.rows):.0f} in use")
        rig.check(late <= most, f"memory grows: {late:.0f} KiB, at most {most:.0f}")

    def left(self):
        """What is in use more than at the start."""
        row = dict(zip(COLUMNS, self.sample(0) or ()))
        if not row:
            return {"worker process": "none"}
        start = dict(zip(COLUMNS, self.idle))
        row["buffers_out"] = row["buffers"] - row["buffers_free"]
        start["buffers_out"] = start["buffers"] - start["buffers_free"]
        # On io_uring the kernel has some: as many as it gets when it runs short.
        spare = {"buffers_out": 2 * 256 if rig.ENGINE == "io_uring" else 0}
        return {k: (start[k], row[k]) for k in ("descriptors", "connections", "requests_in_flight",
                "block_bytes", "upstream_connections", "buffers_out")
                if row[k] > start[k] + spare.get(k, 0)}

    def judge_rest(self):
        for program in self.servers.running.values():
            program.stop()
        try:
            rig.until(lambda: not self.left(), "everything to be given back")
        except AssertionError as e:
            raise AssertionError(f"{e}; more than at the start: {self.left()}") from e
        self.proxy.signal(signal.SIGTERM)
        rig.check(self.proxy.ended() == 0, lambda: self.proxy.log()[-500:])

    def write(self):
        os.makedirs(OUT, exist_ok=True)
        path = os.path.join(OUT, f"soak-{rig.ENGINE}.csv")
        with open(path, "w", newline="") as f:
            rows = csv.writer(f)
            rows.writerow(COLUMNS)
            rows.writerows((f"{r[0]:.1f}", *map(int, r[1:])) for r in self.rows)
        events = [(w.began - self.began, w.what, w.backend) for w in self.windows]
        soak_chart.write(path, events, SECONDS, rig.ENGINE)


def test():
    rig.descriptors()
    soak = Soak()
    results = soak.run()
    soak.write()
    soak.judge_answers(results)
    soak.judge_memory()
    soak.judge_rest()


if __name__ == "__main__":
    rig.main(test)
