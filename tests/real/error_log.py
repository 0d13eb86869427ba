#!/usr/bin/env python3
"""The error log: each output has its lines from its level on, in its format, from the supervisor
and from worker processes, also after a reload, a reopening and the death of a worker process. A reload
that is refused says why in it; many lines of a kind become one that counts them; standard error has
what happens until fairlead serves."""
# asan
import datetime
import json
import os
import re
import signal
import socket
import threading

import rig

CONFIG = """
error_log:
  - {{ path: "{tmp}/all.json", format: json, rate: {rate} }}
  - {{ path: "{tmp}/warning.log", level: {level} }}
  - {{ syslog: "127.0.0.1:{udp}", facility: 17, tag: edge, level: notice }}
  - {{ journald: "unix:{tmp}/journal", level: warning }}
upstreams:
  app: {{ servers: [127.0.0.1:{origin}], health_check: {{ interval: 200ms, fall: 1, rise: 1 }} }}
  gone: {{ servers: [{gone}], health_check: {{ interval: 1s, fall: 1 }} }}
routes:
  - {{ prefix: /gone/, proxy: {{ upstream: gone }} }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
TEXT = re.compile(TIME + r" (\w+) (\w+)\[(\d+)\]: (.*)")
SYSLOG = re.compile(rf"<(\d+)>1 {TIME} (\S+) (\S+) (\d+) (\w+) - (.*)")
GONE_N, RATE = 9, 4


class Daemon:
    """A socket that is read all the time."""

    def __init__(self, path=None, port=None):
        self.socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(path or ("127.0.0.1", port))
        self.got = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            self.got.append(self.socket.recv(65536).decode())

    def received(self, text):
        return rig.until(lambda: next((x for x in self.got if text in x), None), f"{text!r}")


def read(path):
    try:
        with open(path) as f:
            return f.read().splitlines()
    except FileNotFoundError:
        return []


def events(path):
    return [json.loads(line) for line in read(path)]


def event(path, word, text=""):
    """Waits for an event of this kind whose message has the text."""
    return rig.until(lambda: next((e for e in events(path) if e["event"] == word and
                                   text in e["message"]), None), f"{word}: {text!r} in {path}")


class Test:
    def __init__(self):
        self.tmp = rig.TMP
        self.all, self.warning = f"{self.tmp}/all.json", f"{self.tmp}/warning.log"
        self.origin, self.udp_port, *gone = rig.free_ports(2 + GONE_N)
        self.gone = ", ".join(f"127.0.0.1:{port}" for port in gone)
        self.udp, self.journal = Daemon(port=self.udp_port), Daemon(f"{self.tmp}/journal")
        self.proxy = rig.Fairlead(self.config())

    def config(self, **more):
        return CONFIG.format(**{"tmp": self.tmp, "origin": self.origin, "udp": self.udp_port,
                                "gone": self.gone, "level": "warning", "rate": "off", **more})

    def write(self, config):
        head = "".join(line + "\n" for line in read(self.proxy.path)[:2])
        with open(self.proxy.path, "w") as f:
            f.write(head + config)

    def starts(self):
        e = event(self.all, "ready")
        rig.check(set(e) == {"time", "level", "event", "pid", "message"} and e["level"] == "info"
                  and e["pid"] == self.proxy.pid and e["message"].startswith("ready engine="),
                  lambda: f"{e}")
        at = datetime.datetime.fromisoformat(e["time"])
        now = datetime.datetime.now(datetime.timezone.utc)
        rig.check(abs((now - at).total_seconds()) < 60, lambda: f"{e} at {now}")
        # The server of `app` is not there: said by the worker process, from warning on.
        e = event(self.all, "server_down", "upstream app")
        rig.check(e["level"] == "warning" and e["pid"] == self.proxy.worker_pid(), lambda: f"{e}")
        rig.until(lambda: any("upstream app" in line for line in read(self.warning)), "the text")
        for line in read(self.warning):
            m = TEXT.fullmatch(line)
            rig.check(m and m[1] in ("error", "warning"), line)
        m = SYSLOG.fullmatch(self.udp.received("upstream app"))
        rig.check(m and m[1] == str(17 * 8 + 4) and m[2] == socket.gethostname() and
                  m[3] == "edge" and m[4] == str(self.proxy.worker_pid()) and
                  m[5] == "server_down", lambda: f"{m}")
        fields = dict(x.split("=", 1) for x in self.journal.received("upstream app").splitlines())
        rig.check(fields["PRIORITY"] == "4" and fields["SYSLOG_FACILITY"] == "3" and
                  fields["SYSLOG_IDENTIFIER"] == "fairlead" and
                  fields["FAIRLEAD_EVENT"] == "server_down" and
                  fields["MESSAGE"].startswith("upstream app: server "), lambda: f"{fields}")

    def serves(self):
        """A server comes: a notice, which two outputs have."""
        self.lab = rig.lab(http=self.origin)
        e = event(self.all, "server_up", "upstream app")
        rig.check(e["level"] == "notice", lambda: f"{e}")
        m = SYSLOG.fullmatch(self.udp.received("is up"))
        rig.check(m[1] == str(17 * 8 + 5) and m[5] == "server_up", lambda: f"{m}")
        rig.check(not any("is up" in line for line in read(self.warning)), "a notice at warning")
        # Since it serves, nothing goes to standard error.
        rig.check(not self.proxy.said("is up"), self.proxy.log)

    def refuses(self):
        """The mistakes of a file that a reload refuses, one line each, and then that it did."""
        before = read(self.proxy.path)
        with open(self.proxy.path, "a") as f:
            f.write('"bad\\n\\e[31mkey": true\nworse: 1\n')
        self.proxy.signal(signal.SIGHUP)
        e = event(self.all, "change_failed", "not reloaded")
        rig.check(e["level"] == "error", lambda: f"{e}")
        faults = [e["message"] for e in events(self.all) if e["event"] == "config_fault"]
        rig.check(len(faults) == 2 and
                  all(re.match(rf"{re.escape(self.proxy.path)}:\d+:1: unknown key ", f)
                      for f in faults) and not any("\x1b" in f or "\n" in f for f in faults),
                  lambda: f"{faults}")
        rig.check(sum("config_fault[" in line for line in read(self.warning)) == 2, "the text")
        rig.check(not self.proxy.said("worse"), self.proxy.log)
        with open(self.proxy.path, "w") as f:
            f.write("\n".join(before) + "\n")

    def rotates(self):
        """Each process writes to the new file."""
        os.rename(self.all, self.all + ".1")
        self.proxy.signal(signal.SIGUSR1)
        e = event(self.all, "log_reopened", self.all)
        rig.check(e["level"] == "info", lambda: f"{e}")
        before = len(read(self.all + ".1"))
        os.kill(self.proxy.worker_pid(), signal.SIGKILL)
        e = event(self.all, "process_ended", "signal 9")
        rig.check(e["level"] == "error", lambda: f"{e}")
        event(self.all, "ready")
        pid = self.proxy.worker_pid()
        rig.until(lambda: any(e["event"] == "server_down" and e["pid"] == pid
                              for e in events(self.all)), "a line of the next worker process")
        rig.check(len(read(self.all + ".1")) == before, "lines in the file that was renamed")

    def reloads(self):
        """Another level, and a rate: many lines of a kind become one that counts them. The worker
        process takes both over."""
        rig.until(lambda: sum(e["event"] == "server_down" for e in events(self.all)) >= GONE_N,
                  "all lines of the servers that are gone")
        os.rename(self.all, self.all + ".2")
        self.write(self.config(level="info", rate=RATE))
        self.proxy.signal(signal.SIGHUP)
        event(self.all, "reloaded")
        rig.until(lambda: any(" info reloaded[" in line for line in read(self.warning)),
                  "an event of level info")
        self.lab.stop()
        e = event(self.all, "server_down", "upstream app")
        rig.check(e["pid"] == self.proxy.worker_pid(), lambda: f"{e}")
        os.kill(self.proxy.worker_pid(), signal.SIGKILL)    # the next one sees all servers fail
        e = event(self.all, "server_down", "more like this")
        rig.check(e["suppressed"] == GONE_N + 1 - RATE and
                  e["message"] == f"{GONE_N + 1 - RATE} more like this: server_down" and
                  e["level"] == "warning", lambda: f"{e}")
        pid = self.proxy.worker_pid()
        rig.check(sum(e["event"] == "server_down" and e["pid"] == pid
                      for e in events(self.all)) == RATE + 1,
                  lambda: f"{events(self.all)}")
        rig.check(self.proxy.metrics()["error_log_lines_dropped_total"] == 0, "lines were lost")


def to_journal():
    """Standard error that is the journal: each line begins with its level."""
    port, origin = rig.free_ports(2)
    path = os.path.join(rig.TMP, "journal.yaml")
    with open(path, "w") as f:
        f.write(f"listen: [127.0.0.1:{port}]\nupstreams: {{ app: {{ servers: [127.0.0.1:{origin}], "
                "health_check: { interval: 200ms, fall: 1 } } }\n"
                "routes: [{ prefix: /, proxy: { upstream: app } }]\n")
    here, there = socket.socketpair()
    st = os.fstat(there.fileno())
    proxy = rig.Program("journal", [
        "sh", "-c", 'exec "$@" 2>&0 </dev/null', "sh", rig.FAIRLEAD, "-c", path, "--engine",
        rig.ENGINE, "--workers", "1"], stdin=there,
        env={**os.environ, "JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"})
    there.close()
    here.settimeout(rig.PATIENCE_S)
    text = b""
    while b"is down" not in text:
        text += here.recv(65536)
    rig.check(b"<6>fairlead: ready engine=" in text and b"<4>fairlead: upstream app" in text,
              lambda: f"{text}")
    proxy.stop()


def main():
    t = Test()
    t.starts()
    t.serves()
    t.refuses()
    t.rotates()
    t.reloads()
    t.proxy.stop()
    rig.check(event(t.all, "stopping")["level"] == "info", "the end")
    to_journal()


rig.main(main)
