#!/usr/bin/env python3
"""Other things that operators do: the signals of nginx, a log that was moved, a directory that was
replaced, a configuration from standard input, process 1 of a container, permissions of a unix
socket."""
import grp
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys

import rig

CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""
BROKEN = "\nnonsense: true\n"


def ok(port):
    return rig.get(port, "/delay/1").status == 200


def whole(origin, more=""):
    """A configuration with a listener and an admin address; returns it and the ports."""
    port, admin = rig.free_ports(2)
    return (f"listen: [127.0.0.1:{port}]\nadmin: 127.0.0.1:{admin}\n" +
            CONFIG.format(origin=origin) + more), port


def started(name, command, **popen):
    return rig.Program(name, [*command, "--engine", rig.ENGINE, "--workers", "1"],
                       ready="fairlead: ready", **popen)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(child) for child in f.read().split()]


def ends(proxy):
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended() == 0, lambda: f"status {proxy.process.returncode}: {proxy.log()}")


# --- signals --------------------------------------------------------------------

def quit_drains(origin):
    proxy = rig.Fairlead(CONFIG.format(origin=origin))
    slow = socket.create_connection(("127.0.0.1", proxy.port), rig.PATIENCE_S)
    slow.sendall(b"GET /delay/700 HTTP/1.1\r\nHost: x\r\n\r\n")
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == 1, "the request")
    # From the keyboard it reaches all processes.
    os.killpg(proxy.pid, signal.SIGQUIT)
    answer = b""
    while piece := slow.recv(65536):
        answer += piece
    rig.check(answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"ok\n"), answer)
    rig.check(proxy.ended() == 0 and proxy.said("draining"), proxy.log)


def stray_signals(origin):
    """Signals without a meaning, and the supervisor's sent to all processes: nothing ends."""
    proxy = rig.Fairlead(CONFIG.format(origin=origin))
    worker = proxy.worker_pid()
    for sign in ("SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPWR", "SIGXFSZ", "SIGPIPE", "SIGUSR1"):
        os.killpg(proxy.pid, getattr(signal, sign))
    rig.until(lambda: proxy.said("there is no log to reopen"), "SIGUSR1")
    rig.check(ok(proxy.port) and proxy.worker_pid() == worker, proxy.log)
    ends(proxy)


def log_reopened(origin):
    """Only the log is reopened: the file, which has an error by now, is not read."""
    log = os.path.join(rig.TMP, "access.log")
    proxy = rig.Fairlead(CONFIG.format(origin=origin) + f"access_log: {{ path: {log} }}\n")
    worker = proxy.worker_pid()
    rig.check(ok(proxy.port), "it does not serve")
    rig.until(lambda: os.path.getsize(log) > 0, "a line")
    os.rename(log, log + ".1")
    with open(proxy.path, "a") as f:
        f.write(BROKEN)
    proxy.signal(signal.SIGUSR1)
    rig.until(lambda: proxy.said(f"reopened the access log {log}"), "the log")
    before = os.path.getsize(log + ".1")
    rig.check(ok(proxy.port), "it does not serve")
    rig.until(lambda: os.path.getsize(log) > 0, "a line in the new file")
    rig.check(os.path.getsize(log + ".1") == before, "a line in the old file")
    rig.check(proxy.worker_pid() == worker, "another worker process")
    os.rename(log, log + ".2")
    os.mkdir(log)
    proxy.signal(signal.SIGUSR1)
    rig.until(lambda: proxy.said("not reopened: an address or log of the configuration cannot be "
                                 "opened; the current logs stay open"), "the refusal")
    before = os.path.getsize(log + ".2")
    rig.check(ok(proxy.port), "it does not serve")
    rig.until(lambda: os.path.getsize(log + ".2") > before, "a line in the old file")
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.said("not reloaded: the file has errors"), "the reload")
    os.rmdir(log)
    # A worker process that starts now uses the current configuration.
    os.kill(worker, signal.SIGKILL)
    rig.until(lambda: proxy.log().count("fairlead: ready") == 2, "ready once more")
    rig.check(ok(proxy.port), "it does not serve")
    ends(proxy)


# --- the file -------------------------------------------------------------------

def directory_replaced(origin):
    """As deployments do: a symbolic link changes, or a directory is renamed."""
    text, port = whole(origin)
    for n in (1, 2):
        os.mkdir(os.path.join(rig.TMP, f"release{n}"))
    with open(os.path.join(rig.TMP, "release1", "some.yaml"), "w") as f:
        f.write(text)
    current = os.path.join(rig.TMP, "current")
    os.symlink("release1", current)
    proxy = started("replaced", ["sh", "-c", 'cd "$1" && exec "$2" -csome.yaml --engine $4', "sh", current,
                                 rig.FAIRLEAD])
    with open(os.path.join(rig.TMP, "release2", "some.yaml"), "w") as f:
        f.write(text.replace("{ prefix: /, ", "{ prefix: /delay, "))
    os.symlink("release2", current + ".new")
    os.rename(current + ".new", current)
    shutil.rmtree(os.path.join(rig.TMP, "release1"))
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.said(f"reloaded {current}/some.yaml"), "the reload")
    rig.check(rig.get(port, "/other").status == 404, "the old file was read")
    proxy.signal(signal.SIGUSR2)
    rig.until(lambda: proxy.log().count("fairlead: ready") == 2, "the upgrade")
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.log().count(f"reloaded {current}/some.yaml") == 2, "another reload")
    os.rename(current, current + ".gone")
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.said(f"{current}/some.yaml:1:1: cannot be read"), "the refusal")
    rig.check(ok(port), "it does not serve")
    ends(proxy)


def standard_input(origin):
    text, port = whole(origin, f"control: unix:{rig.TMP}/control\n"
                               f"access_log: {{ path: {rig.TMP}/input.log }}\n")
    read, write = os.pipe()
    os.write(write, text.encode())
    os.close(write)
    proxy = started("input", [rig.FAIRLEAD, "-c", "-"], stdin=read)
    os.close(read)
    rig.check(ok(port), "it does not serve")
    os.kill(children(proxy.pid)[0], signal.SIGKILL)
    rig.until(lambda: proxy.log().count("fairlead: ready") == 2, "another worker process")
    said = ordered("reload", text)
    rig.check(said.returncode == 1 and b"cannot be read again" in said.stderr, said)
    rig.check(proxy.said("not reloaded: the configuration came from standard input"), proxy.log)
    proxy.signal(signal.SIGUSR1)
    rig.until(lambda: proxy.said("reopened the access log"), "the log")
    for n in (1, 2):
        said = ordered("upgrade", text)
        rig.check(said.returncode == 0, lambda: f"{said} {proxy.log()}")
        rig.check(ok(port), "it does not serve")
    wrong = subprocess.run([rig.FAIRLEAD, "-t", "-c", "-"], input=BROKEN.encode(), capture_output=True)
    rig.check(wrong.returncode == 1 and b"standard input:2:1: " in wrong.stderr, wrong)
    ends(proxy)


def ordered(what, text):
    """A command may also get the configuration from standard input."""
    return subprocess.run([rig.FAIRLEAD, what, "-c", "-"], input=text.encode(), capture_output=True)


# --- process 1 ------------------------------------------------------------------

ORPHANS = """
import os
for n in range(20):
    if os.fork() == 0:
        if os.fork() == 0:
            os.execvp("sleep", ["sleep", "0.05"])
        os._exit(0)
    os.wait()
"""


def process_one(origin):
    """Orphans of other processes are reaped."""
    alone = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        print("no process namespace here")
        return
    text, port = whole(origin)
    path = os.path.join(rig.TMP, "one.yaml")
    with open(path, "w") as f:
        f.write(text)
    proxy = started("one", [*alone, rig.FAIRLEAD, "-c", path])
    one = children(proxy.pid)[0]
    into = ["nsenter", "--target", str(one), "--pid", "--mount"]
    subprocess.run([*into, sys.executable, "-c", ORPHANS], check=True)

    def left():
        return [p for p in children(one) if p != worker[0]]

    worker = children(one)[:1]
    rig.until(lambda: not left(), "the orphans to be gone")
    os.kill(worker[0], signal.SIGKILL)
    rig.until(lambda: proxy.log().count("fairlead: ready") == 2, "another worker process")
    rig.check(ok(port), "it does not serve")
    os.kill(one, signal.SIGTERM)
    rig.check(proxy.ended() == 0, lambda: f"status {proxy.process.returncode}")


# --- unix sockets ---------------------------------------------------------------

def socket_permissions(path):
    st = os.lstat(path)
    return stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid


def unix_rights(origin):
    if os.geteuid() != 0:
        print("only root can give a socket away")
        return
    path = os.path.join(rig.TMP, "some.sock")
    admin = os.path.join(rig.TMP, "admin.sock")
    who = pwd.getpwnam("nobody")
    group = grp.getgrgid(who.pw_gid).gr_name
    text = (f"listen: [ {{ address: unix:{path}, mode: 0620, owner: nobody, group: {group} }} ]\n"
            f"admin: {{ address: unix:{admin}, mode: '0606' }}\n" + CONFIG.format(origin=origin))
    file = os.path.join(rig.TMP, "rights.yaml")
    with open(file, "w") as f:
        f.write(text)
    proxy = started("rights", [rig.FAIRLEAD, "-c", file])
    rig.check(socket_permissions(path) == (0o620, who.pw_uid, who.pw_gid),
              lambda: socket_permissions(path))
    rig.check(socket_permissions(admin) == (0o606, 0, 0), lambda: socket_permissions(admin))
    with open(file, "w") as f:
        f.write(text.replace("0620", "0640").replace("owner: nobody", "owner: root"))
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.said("reloaded"), "the reload")
    rig.check(socket_permissions(path) == (0o640, 0, who.pw_gid), lambda: socket_permissions(path))
    printed = subprocess.run([rig.FAIRLEAD, "-t", "-c", file, "--print"], capture_output=True, text=True).stdout
    rig.check(re.search(r'mode: "0640"\n +owner: "root"\n +group: "' + group, printed), printed)
    ends(proxy)
    rig.check(not os.path.exists(path), "the socket is left")


def main():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    for test in (quit_drains, stray_signals, log_reopened, directory_replaced,
                 standard_input, process_one,
                 unix_rights):
        test(origin)
        print(f"{rig.ENGINE}: {test.__name__}", flush=True)


rig.main(main)
