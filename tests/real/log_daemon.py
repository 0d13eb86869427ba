#!/usr/bin/env python3
"""A syslog daemon that is restarted: lines of the access log wait for it for some seconds and
arrive in the new one, without a signal; of a long absence they are dropped and counted. The error
log comes back as well, of the supervisor and of the worker process, and says what it has lost."""
# asan
import os
import re
import signal
import socket
import threading

import rig

CONFIG = """
access_log: {{ syslog: "unix:{tmp}/access", template: "${{path}}" }}
error_log: [{{ path: "-" }}, {{ syslog: "unix:{tmp}/error" }}]
upstreams:
  app: {{ servers: [127.0.0.1:{origin}], health_check: {{ interval: 200ms, fall: 1, rise: 1 }} }}
routes: [{{ prefix: /, proxy: {{ upstream: app }} }}]
"""


class Daemon:
    """Listens until it is ended; then its socket is gone, and its file."""

    def __init__(self, path):
        self.path, self.got = path, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while (text := self.socket.recv(65536).decode()) != "end":
            self.got.append(text)

    def end(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"end", self.path)
        self.thread.join()
        self.socket.close()
        os.unlink(self.path)

    def has(self, text):
        return any(text in x for x in self.got)

    def waits(self, text):
        rig.until(lambda: self.has(text), lambda: f"{text!r} in {self.got}")


def dropped(proxy):
    return proxy.metrics()["log_lines_dropped_total"]


def access_log(proxy, daemon):
    """A restart, then an absence that is longer than lines wait."""
    rig.get(proxy.port, "/one")
    daemon.waits(" /one")
    daemon.end()
    for path in ("/two", "/three"):
        rig.get(proxy.port, path)
    # The supervisor has been told: it finds no daemon yet. Then there is one.
    daemon = Daemon(daemon.path)
    for path in ("/two", "/three"):
        daemon.waits(f" {path}")
    rig.check(dropped(proxy) == 0, "lines were dropped")
    rig.check(proxy.said(f"the daemon of the access log at unix:{daemon.path} is back"), proxy.log)
    daemon.end()

    def one_more():
        rig.get(proxy.port, "/lost")
        return dropped(proxy) > 0
    rig.until(one_more, "lines to be dropped")
    rig.until(lambda: re.search(r"\d+ lines? of the access log lost: ", proxy.log()), "a report")
    daemon = Daemon(daemon.path)

    def back():
        rig.get(proxy.port, "/back")
        return daemon.has(" /back")
    rig.until(back, "lines in the daemon that has come back")


def error_log(proxy, daemon, origin):
    """Of the worker process, then of the supervisor alone."""
    lab = rig.lab(http=origin)
    daemon.waits(" server_up - ")
    daemon.end()
    lab.stop()
    rig.until(lambda: proxy.said("is down"), "the server to fail")
    daemon = Daemon(daemon.path)
    daemon.waits(f"line of the error log unix:{daemon.path} lost: ")
    lab = rig.lab(http=origin)
    daemon.waits(" server_up - ")
    daemon.end()
    proxy.signal(signal.SIGUSR1)    # which cannot open it
    rig.until(lambda: proxy.said("not reopened"), "the refusal")
    daemon = Daemon(daemon.path)
    daemon.waits(" of the error log ")
    daemon.waits(" log_reopened - the daemon of the error log at ")
    rig.check(proxy.metrics()["error_log_lines_dropped_total"] > 0, "nothing was counted")


def main():
    origin, = rig.free_ports(1)
    access, errors = Daemon(f"{rig.TMP}/access"), Daemon(f"{rig.TMP}/error")
    proxy = rig.Fairlead(CONFIG.format(tmp=rig.TMP, origin=origin), workers=1)
    errors.waits(" ready - ready engine=")
    errors.waits(" server_down - ")
    error_log(proxy, errors, origin)
    access_log(proxy, access)
    proxy.stop()


rig.main(main)
