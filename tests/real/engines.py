#!/usr/bin/env python3
"""Which engine a worker process gets where rings are refused: for lack of locked memory, whoever
starts it, or because io_uring was forbidden at run time. Each new worker process decides anew,
and there is always one that serves."""
# alone: it uses up the limit of locked memory, which a busy kernel frees late
# once
# asan
import os
import re
import shutil
import signal
import subprocess

import rig

CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""
SHORT_KIB = 60
TOLD = re.compile(r"(\d+) rings take (\d+) KiB of locked memory, and the limit is (\d+) KiB")
REMEDIES = ("'LimitMEMLOCK=infinity'", "'--ulimit memlock=-1'", "'ulimit -l unlimited'")

users = iter(range(31000, 32000))    # users that have no other locked memory


def limited(kib, hard_kib=None):
    return ["prlimit", f"--memlock={kib * 1024}:{(hard_kib or kib) * 1024}"]


def as_user():
    user = str(next(users))
    return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"]


def serves(proxy):
    rig.check(rig.get(proxy.port, "/status/200").status == 200, "it does not serve")


def told(text):
    """The memory it needs, in KiB, from its message."""
    found = TOLD.search(text)
    rig.check(found and all(r in text for r in REMEDIES), text)
    rig.check((int(found[1]), int(found[3])) == (2, SHORT_KIB), text)
    return int(found[2])


def engine(proxy, n):
    """The engine of the n-th worker process that became ready."""
    rig.until(lambda: proxy.log().count("fairlead: ready") >= n or not proxy.alive(),
              f"worker process {n}")
    rig.check(proxy.alive(), proxy.log)
    serves(proxy)
    return re.findall(r"fairlead: ready engine=(\w+)", proxy.log())[n - 1]


def killed(proxy, n):
    os.kill(proxy.worker_pid(), signal.SIGKILL)
    return engine(proxy, n)


def needed(config):
    """Without enough memory it uses epoll and says how much it needs; that much is enough."""
    user = as_user()
    proxy = rig.Fairlead(config, workers=1, engine="auto", before=limited(SHORT_KIB) + user)
    rig.check(engine(proxy, 1) == "epoll", proxy.log())
    kib = told(proxy.log())
    proxy.stop()
    r = subprocess.run([*limited(SHORT_KIB), *user, rig.FAIRLEAD, "-c", proxy.path, "--engine",
                        "io_uring", "--workers", "1"], capture_output=True, text=True,
                       timeout=rig.PATIENCE_S)
    rig.check(r.returncode == 1 and "ready" not in r.stderr, f"{r}")
    rig.check(told(r.stderr) == kib and "engine io_uring: " in r.stderr, f"{r}")
    for wanted in ("auto", "io_uring"):
        proxy = rig.Fairlead(config, workers=1, engine=wanted, before=limited(kib) + as_user())
        rig.check(engine(proxy, 1) == "io_uring", proxy.log())
        proxy.stop()
    return kib


def at_the_limit(config, kib):
    """The rings of a killed worker process do not keep the next one from having some."""
    proxy = rig.Fairlead(config, workers=1, engine="auto", before=limited(kib) + as_user())
    for n in range(2, 5):
        rig.check(killed(proxy, n) == "io_uring", proxy.log())
    proxy.stop()


def upgraded(config, kib):
    """Not enough memory for two at once: the next worker process uses epoll, and the one after it
    decides anew."""
    program = os.path.join(rig.TMP, "upgraded")
    shutil.copy(rig.FAIRLEAD, program)
    before, rig.FAIRLEAD = rig.FAIRLEAD, program
    proxy = rig.Fairlead(config, workers=1, engine="auto",
                         before=limited(kib * 3 // 2) + as_user())
    rig.FAIRLEAD = before
    first = proxy.worker_pid()
    rig.check(engine(proxy, 1) == "io_uring", proxy.log())
    proxy.signal(signal.SIGUSR2)
    rig.check(engine(proxy, 2) == "epoll", proxy.log())
    rig.check("falling back to epoll: 2 rings take" in proxy.log(), proxy.log())
    rig.until(lambda: proxy.worker_pid() != first, "the end of the old worker process")
    rig.check(killed(proxy, 3) == "io_uring", proxy.log())
    proxy.stop()


def raised(config):
    """Root raises the limit for the user of the worker process, as far as it may."""
    soft = rig.Fairlead(config + f"user: {next(users)}\ngroup: 31000\n", workers=2,
                        engine="auto", before=limited(4, 8192))
    rig.check(engine(soft, 1) == "io_uring", soft.log())
    soft.stop()
    hard = rig.Fairlead(config + f"user: {next(users)}\ngroup: 31000\n", workers=2,
                        engine="auto", before=[
                            *limited(4), "setpriv", "--bounding-set", "-sys_resource"])
    rig.check(engine(hard, 1) == "epoll" and "the limit is 4 KiB" in hard.log(), hard.log())
    hard.stop()


def forbidden(config, wanted):
    """With --engine io_uring a later worker process uses epoll if there would be none else; but if
    an old one serves, that one continues."""
    switch = os.path.join(rig.TMP, f"forbidden-{wanted}")
    program = os.path.join(rig.TMP, f"program-{wanted}")
    shutil.copy(rig.FAIRLEAD, program)
    before, rig.FAIRLEAD = rig.FAIRLEAD, program
    proxy = rig.Fairlead(config, workers=2, engine=wanted,
                         before=[os.path.join(rig.TOOLS, "io_uring_switch"), switch])
    rig.FAIRLEAD = before
    rig.check(engine(proxy, 1) == "io_uring", proxy.log())
    open(switch, "w").close()
    n = 1
    if wanted == "io_uring":
        proxy.signal(signal.SIGUSR2)
        rig.until(lambda: proxy.said("the previous worker process continues"), "the end of the upgrade")
        rig.check("engine io_uring: a seccomp filter" in proxy.log(), proxy.log())
        serves(proxy)
    n += 1
    rig.check(killed(proxy, n) == "epoll", proxy.log())
    rig.check("falling back to epoll: a seccomp filter or security module" in proxy.log(),
              proxy.log())
    os.unlink(switch)
    n += 1
    rig.check(killed(proxy, n) == "io_uring", proxy.log())
    proxy.stop()


def main():
    if os.geteuid() != 0:
        rig.skip("only root can start programs of other users")
    os.chmod(rig.TMP, 0o755)
    if subprocess.run([*as_user(), rig.FAIRLEAD, "--help"], capture_output=True,
                      check=False).returncode:
        rig.skip("other users cannot reach the program")
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin, None, "--engine", "epoll")
    config = CONFIG.format(origin=origin)
    kib = needed(config)
    at_the_limit(config, kib)
    upgraded(config, kib)
    raised(config)
    forbidden(config, "auto")
    forbidden(config, "io_uring")


rig.main(main)
