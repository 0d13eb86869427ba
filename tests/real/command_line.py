#!/usr/bin/env python3
"""The command line: -t with and without errors, the output of --print read back, -V, --help, and
what --engine does where io_uring is refused."""
# once
# asan
import os
import subprocess

import rig

GOOD = """listen: [127.0.0.1:1]
upstreams: { app: { servers: [127.0.0.1:1] } }
routes: [ { prefix: /, proxy: { upstream: app } } ]
"""
CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""
# Each: the file, and the beginning of the first error after "FILE:" (all have a remedy after a
# semicolon). test_config_errors checks the texts.
WRONG = [
    ("", "1:1: "),
    ("listen: [a\n", "2:1: "),
    (GOOD + "workrs: 2\n", "4:1: unknown key 'workrs'; write 'workers'"),
    (GOOD + "workers: many\n", "4:10: "),
    (GOOD + "limits: { idle_timeout: 60 }\n", "4:25: "),
    (GOOD + "limits: { window: 1 }\n", "4:19: "),
    (GOOD.replace(":1]", "]", 1), "1:10: "),
    (GOOD.replace("upstream: app", "upstream: ap"), "3:43: unknown upstream"),
    (GOOD.replace("proxy: { upstream: app }", "cpu: { ms: 1 }"), "3:24: "),
    (GOOD.replace("listen", "#", 1), "2:1: "),
]


def fairlead(*words, before=()):
    return subprocess.run([*before, rig.FAIRLEAD, *words], capture_output=True, text=True,
                          timeout=rig.PATIENCE_S)


def file(text, name="test.yaml"):
    path = os.path.join(rig.TMP, name)
    with open(path, "w") as f:
        f.write(text)
    return path


def errors():
    for text, begins in WRONG:
        path = file(text)
        r = fairlead("-t", "-c", path)
        lines = r.stderr.splitlines()
        rig.check(r.returncode == 1 and r.stdout == "" and lines, f"{text!r}: {r}")
        rig.check(lines[0].startswith(f"{path}:{begins}"), f"{text!r}: {lines[0]}")
        rig.check(all(line.startswith(path + ":") and "; " in line for line in lines),
                  f"{text!r}: {lines}")
    path = file(GOOD + "workrs: 2\nengine: fast\nlimits: { window: x }\n")
    r = fairlead("-t", "-c", path)
    rig.check(len(r.stderr.splitlines()) == 3, f"not every error: {r.stderr}")
    r = fairlead("-t", "-c", os.path.join(rig.TMP, "none.yaml"))
    rig.check(r.returncode == 1 and "none.yaml" in r.stderr, f"no such file: {r}")


def printed():
    """--print of the output of --print gives the same output."""
    for name in ("quickstart", "concurrency"):
        path = os.path.join(rig.ROOT, "examples", name + ".yaml")
        r = fairlead("-t", "-c", path)
        rig.check(r.returncode == 0 and r.stdout == f"{path}: ok\n" and not r.stderr, f"{r}")
        first = fairlead("-t", "--print", "-c", path)
        second = fairlead("-t", "--print", "-c", file(first.stdout))
        rig.check(first.returncode == second.returncode == 0, f"{first} {second}")
        rig.check(first.stdout == second.stdout, f"{name}: --print does not read back")


def words():
    r = fairlead("-V")
    rig.check(r.returncode == 0, f"{r}")
    for word in ("fairlead ", "liburing", "llhttp", "libyaml", os.uname().release, "io_uring",
                 "epoll"):
        rig.check(word in r.stdout, f"-V does not have {word}: {r.stdout}")
    r = fairlead("--help")
    rig.check(r.returncode == 0 and r.stdout.startswith("usage: "), f"{r}")
    for wrong in (["--nonsense"], [], ["-c"], ["-c", "x", "--workers", "0"]):
        r = fairlead(*wrong)
        rig.check(r.returncode == 2 and "--help" in r.stderr, f"{wrong}: {r}")
    path = file("listen: [127.0.0.1:1]\n" + CONFIG.format(origin=1))
    r = fairlead("-c", path, "--engine", "fast")
    rig.check(r.returncode == 2 and "auto, io_uring or epoll" in r.stderr, f"{r}")


def refused(error, tells):
    launcher = [os.path.join(rig.TOOLS, "without_io_uring"), error]
    r = fairlead("-V", before=launcher)
    if r.returncode == 77:
        rig.skip(r.stderr)
    rig.check(tells in r.stdout, f"-V does not have {tells}: {r.stdout}")
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin, None, "--engine", "epoll")
    config = CONFIG.format(origin=origin)
    proxy = rig.Fairlead(config, engine="auto", before=launcher)
    said = proxy.log()
    rig.check("falling back to epoll" in said and tells in said, said)
    rig.check("ready engine=epoll" in said, said)
    rig.check(rig.get(proxy.port, "/status/200").status == 200, "it does not serve")
    proxy.stop()
    r = fairlead("-c", proxy.path, "--engine", "io_uring", before=launcher)
    rig.check(r.returncode == 1 and tells in r.stderr, f"{r}")


def busy_port():
    """A port in use is an error at the start, with a remedy."""
    origin, = rig.free_ports(1)
    proxy = rig.Fairlead(CONFIG.format(origin=origin), engine="epoll")
    r = fairlead("-c", proxy.path)
    rig.check(r.returncode == 1 and f"127.0.0.1:{proxy.port}" in r.stderr and
              "another process" in r.stderr, f"{r}")


def main():
    errors()
    printed()
    words()
    refused("EPERM", "seccomp")
    refused("ENOSYS", "has no io_uring")
    busy_port()


rig.main(main)
