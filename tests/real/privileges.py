#!/usr/bin/env python3
"""Privileges of each process: started as root, the worker process has another user and no
capability, and the supervisor keeps a few; what is refused when started as root; what is left
for other users; the sandbox on all threads."""
# asan
import os
import re
import signal
import subprocess

import rig

ROUTES = """upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""
NOBODY = 65534
# NET_BIND_SERVICE, DAC_OVERRIDE, KILL, SETUID, SETGID, SETPCAP, CHOWN
KEPT = 1 | 1 << 10 | 1 << 1 | 1 << 5 | 1 << 7 | 1 << 6 | 1 << 8
SETPCAP = 1 << 8


def status(pid):
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def capabilities(of, names):
    return {name: int(of[name], 16) for name in names}


def check_powerless(pid, had):
    """Every thread of the worker process."""
    names = ["CapInh", "CapPrm", "CapEff", "CapAmb"] + ["CapBnd"] * bool(had & SETPCAP)
    for task in os.listdir(f"/proc/{pid}/task"):
        of = status(f"{pid}/task/{task}")
        left = capabilities(of, names)
        rig.check(not any(left.values()), f"thread {task} has {left}")
        rig.check(of["NoNewPrivs"] == "1", "new privileges are possible")


def check_ids(pid, uid, gid):
    of = status(pid)
    rig.check(of["Uid"].split() == [str(uid)] * 4, f"Uid {of['Uid']}")
    rig.check(of["Gid"].split() == [str(gid)] * 4, f"Gid {of['Gid']}")


def serves(proxy):
    rig.check(rig.get(proxy.port, "/status/200").status == 200, "it does not serve")


def is_root():
    return os.geteuid() == 0


def had():
    return int(status("self")["CapPrm"], 16)


def becomes_nobody(config):
    """Also with a log that only root can open, and a socket in a directory of root."""
    closed = os.path.join(rig.TMP, "closed")
    os.makedirs(closed, mode=0o700, exist_ok=True)
    log, sock = os.path.join(closed, "access.log"), os.path.join(closed, "admin.sock")
    proxy = rig.Fairlead(config + f"access_log: {{ path: {log}, format: json }}\n")
    text = open(proxy.path).read()
    proxy.stop()
    with open(proxy.path, "w") as f:
        f.write(re.sub(r"(?m)^admin: .*", f'admin: "unix:{sock}"', text))
    again = rig.Program("fairlead", [rig.FAIRLEAD, "-c", proxy.path, "--engine", rig.ENGINE],
                        ready="fairlead: ready")
    worker = int(open(f"/proc/{again.pid}/task/{again.pid}/children").read().split()[0])
    check_ids(worker, NOBODY, NOBODY)
    check_powerless(worker, had())
    supervisor = capabilities(status(again.pid), ["CapPrm", "CapEff", "CapInh"])
    rig.check(supervisor == {"CapPrm": had() & KEPT, "CapEff": had() & KEPT, "CapInh": 0},
              f"the supervisor has {supervisor}")
    if os.environ.get("VARIANT") != "asan":
        rig.check(os.stat(f"/proc/{worker}/environ").st_uid == 0, "other users may read it")
    serves(proxy)
    rig.until(lambda: "/status/200" in open(log).read(), "a line in the log")
    rig.check(os.path.exists(sock), "no socket")
    again.signal(signal.SIGTERM)
    rig.check(again.ended() == 0 and not os.path.exists(sock), "the socket was left behind")


def replaced_and_killed(config):
    """The supervisor can still signal its worker process and start another."""
    proxy = rig.Fairlead(config)
    first = proxy.worker_pid()
    os.kill(first, signal.SIGKILL)
    rig.until(lambda: proxy.log().count("fairlead: ready") == 2, "another worker process")
    check_ids(proxy.worker_pid(), NOBODY, NOBODY)
    serves(proxy)
    os.kill(proxy.worker_pid(), signal.SIGSTOP)    # so that it cannot end by itself
    proxy.signal(signal.SIGTERM)
    rig.until(lambda: proxy.said("draining"), "the drain")
    proxy.signal(signal.SIGTERM)
    proxy.ended()
    rig.check(proxy.said("ended at once"), proxy.log())


def chosen(config):
    proxy = rig.Fairlead(config + "user: 12345\ngroup: 23456\n")
    check_ids(proxy.worker_pid(), 12345, 23456)
    check_powerless(proxy.worker_pid(), had())
    rig.check(status(proxy.worker_pid())["Groups"].split() == ["23456"], "other groups")
    serves(proxy)
    proxy.stop()
    proxy = rig.Fairlead(config + "user: root\n")
    check_ids(proxy.worker_pid(), 0, 0)
    check_powerless(proxy.worker_pid(), had())
    serves(proxy)
    proxy.stop()


def stays(config):
    """Started as another user it keeps that user, and says that `user` has no effect."""
    who = {"user": 12345, "group": 12345, "extra_groups": []} if is_root() else {}
    os.chmod(rig.TMP, 0o755)
    if subprocess.run([rig.FAIRLEAD, "--help"], capture_output=True, check=False,
                      **who).returncode:
        rig.skip("other users cannot reach the program")
    proxy = rig.Fairlead(config + "user: daemon\n", **who)
    uid = 12345 if is_root() else os.geteuid()
    check_ids(proxy.worker_pid(), uid, 12345 if is_root() else os.getegid())
    check_powerless(proxy.worker_pid(), 0)
    rig.check(proxy.said("'user: daemon' has no effect"), proxy.log())
    serves(proxy)
    proxy.stop()


def filters(pid):
    """Seccomp filters of every thread, minus those of this script."""
    before = int(status("self").get("Seccomp_filters", 0))
    return {int(status(f"{pid}/task/{task}")["Seccomp_filters"]) - before
            for task in os.listdir(f"/proc/{pid}/task")}


def sandboxed(config):
    """On every thread, also the log's, before the first request, unless it is off."""
    config += f"access_log: {{ path: {rig.TMP}/sandboxed.log }}\n"
    proxy = rig.Fairlead(config)
    closed = {0 if os.environ.get("VARIANT") == "asan" else 1}
    rig.check(filters(proxy.worker_pid()) == closed, f"{filters(proxy.worker_pid())}")
    serves(proxy)
    rig.check(filters(proxy.worker_pid()) == closed, "a thread without it")
    os.kill(proxy.worker_pid(), signal.SIGSYS)
    rig.until(lambda: proxy.said("(SIGSYS: a system call that the sandbox forbids"),
              "the reason")
    rig.until(lambda: proxy.log().count("fairlead: ready") == 2, "another worker process")
    serves(proxy)
    proxy.stop()
    proxy = rig.Fairlead(config + "sandbox: off\n")
    rig.check(filters(proxy.worker_pid()) == {0}, "it is not off")
    serves(proxy)
    proxy.stop()


def open_to_all(config):
    """Root does not read files that everybody may write; other users do."""
    path = os.path.join(rig.TMP, "open.yaml")
    with open(path, "w") as f:
        f.write("listen: [127.0.0.1:1]\n" + config)
    os.chmod(path, 0o666)
    r = subprocess.run([rig.FAIRLEAD, "-t", "-c", path], capture_output=True, text=True)
    if is_root():
        rig.check(r.returncode == 1 and f"chmod o-w {path}" in r.stderr, f"{r}")
    else:
        rig.check(r.returncode == 0, f"{r}")
    os.chmod(path, 0o664)
    r = subprocess.run([rig.FAIRLEAD, "-t", "-c", path], capture_output=True, text=True)
    rig.check(r.returncode == 0, f"{r}")


def cannot_become(config):
    """Root that may not change its user: it says so and does not continue as root."""
    setpriv = ["setpriv", "--bounding-set", "-setuid,-setgid", "--inh-caps", "-all"]
    path = os.path.join(rig.TMP, "cannot.yaml")
    port, = rig.free_ports(1)
    with open(path, "w") as f:
        f.write(f"listen: [127.0.0.1:{port}]\n" + config)
    r = subprocess.run([*setpriv, rig.FAIRLEAD, "-c", path, "--engine", rig.ENGINE],
                       capture_output=True, text=True, timeout=rig.PATIENCE_S)
    rig.check(r.returncode == 1 and "cannot become its user (nobody)" in r.stderr, f"{r}")
    rig.check("ready" not in r.stderr, r.stderr)


def main():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    config = ROUTES.format(origin=origin)
    tests = [open_to_all, stays, sandboxed]
    if is_root():
        tests += [becomes_nobody, replaced_and_killed, chosen, cannot_become]
    for test in tests:
        test(config)
        print(f"{rig.ENGINE}: {test.__name__}", flush=True)


rig.main(main)
