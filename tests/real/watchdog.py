#!/usr/bin/env python3
"""The service manager's watchdog (WATCHDOG_USEC) is fed as long as every worker's loop runs. A
worker whose thread is stopped is named on standard error, and the watchdog gets nothing until it
runs again. While a worker process is restarted, and while it drains, the watchdog is fed."""
import ctypes
import os
import signal
import socket
import time

import rig

CONFIG = """
sandbox: off
routes: [ { prefix: /, redirect: https } ]
"""
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, thread):
    rig.check(LIBC.ptrace(request, thread, None, None) == 0,
              lambda: f"ptrace {request}: {os.strerror(ctypes.get_errno())}")


class Stopped:
    """One thread of another process does not run."""
    def __init__(self, thread):
        self.thread = thread

    def __enter__(self):
        ptrace(PTRACE_SEIZE, self.thread)
        ptrace(PTRACE_INTERRUPT, self.thread)
        os.waitpid(self.thread, WALL)

    def __exit__(self, *unused):
        ptrace(PTRACE_DETACH, self.thread)


class Manager:
    """A stand-in for the service manager's socket."""
    def __init__(self):
        path = os.path.join(rig.TMP, "watched.sock")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.env = {**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "4000000"}
        self.env.pop("WATCHDOG_PID", None)

    def next(self, patience_s):
        """The next notification; None: none came in this time."""
        self.socket.settimeout(patience_s)
        try:
            return self.socket.recv(4096).decode().splitlines()
        except socket.timeout:
            return None

    def fed(self, for_s, at_most_s=2.5):
        """Whether it is fed all that time, without a longer pause."""
        end = time.monotonic() + for_s
        while time.monotonic() < end:
            words = self.next(at_most_s)
            if words is None:
                return False
        return True

    def silent(self, for_s):
        while (words := self.next(for_s)) is not None:
            rig.check(words == ["WATCHDOG=1"], words)
        return True


def worker_threads(proxy):
    """Those of the worker process but its control thread. Not all are workers: each is stopped in
    turn until one is named."""
    process = proxy.worker_pid()
    return sorted(int(t) for t in os.listdir(f"/proc/{process}/task") if int(t) != process)


def start(manager):
    proxy = rig.Fairlead(CONFIG, workers=2, env=manager.env)
    rig.check(manager.next(rig.PATIENCE_S)[0] == "READY=1", "ready")
    return proxy


def stuck_worker(manager, proxy):
    for thread in worker_threads(proxy):
        with Stopped(thread):
            began = time.monotonic()
            while time.monotonic() < began + 9 and not proxy.said("is stuck"):
                time.sleep(0.1)
            if proxy.said("is stuck"):
                manager.silent(2.5)
                break
    rig.check(proxy.said("fairlead: worker "), proxy.log)
    rig.check(proxy.said(" is stuck: its loop has not run for 5."), proxy.log)
    rig.until(lambda: proxy.said(" runs again after "), "it to run again")
    rig.check(manager.fed(4), "not fed after the worker ran again")


def main():
    manager = Manager()
    proxy = start(manager)
    rig.check(manager.fed(6), "not fed while all run")
    stuck_worker(manager, proxy)
    os.kill(proxy.worker_pid(), signal.SIGKILL)
    rig.check(manager.fed(5), "not fed while a worker process is restarted")
    proxy.signal(signal.SIGTERM)
    words = manager.next(rig.PATIENCE_S)
    while words == ["WATCHDOG=1"]:
        words = manager.next(rig.PATIENCE_S)
    rig.check(words[0] == "STOPPING=1", words)
    rig.check(proxy.ended() == 0, proxy.log)


rig.main(main)
