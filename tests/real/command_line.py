#!/usr/bin/env python3
"""The command line: -t with and without errors, the output of --print read back, -V, --help, and
what --engine does where io_uring is refused."""
# once
# asan
import glob
import os
import re
import shutil
import signal
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


# Each command line that is wrong, and what the message says.
WRONG_LINES = [
    (["relod", "-c", "x"], "unknown command 'relod'; write 'reload'"),
    (["nonsense"], "unknown command 'nonsense'; use one of the commands"),
    (["-c", "x", "--worker5", "3"], "unknown option '--worker5'; write '--workers'"),
    (["proxy", "--lsten", ":1"], "unknown option '--lsten'; write '--listen'"),
    (["--zzzzzz"], "unknown option '--zzzzzz'; remove it"),
    (["-x"], "unknown option '-x'; remove it"),
    (["-c"], "'-c' has no value; write '--config FILE'"),
    (["--to", "3000"], "'--to' is an option of 'fairlead proxy'"),
    (["fmt", "--workers", "3", "x"], "'fairlead fmt' has no option '--workers'; remove it"),
    (["proxy"], "--to is missing; write '--to HOST:PORT'"),
    (["proxy", ":3000"], "':3000' is not an option; write '--to :3000'"),
    (["proxy", "--to", "http://a/b"], "has a path, but requests keep theirs; write '--to http://a'"),
    (["proxy", "--to", "http://a", "--to", "https://b"], "write all of one kind"),
    (["proxy", "--to", "a b:1"], "takes printable characters"),
    (["check"], "FILE is missing; write 'fairlead check FILE'"),
    (["fmt"], "FILE is missing; write 'fairlead fmt FILE'"),
    (["reload"], "-c FILE is missing"),
    (["reload", "-c", "x", "now"], "unexpected argument 'now'; remove it"),
    (["completion", "fish"], "write 'fairlead completion bash'"),
    ([os.path.join(rig.ROOT, "README.md")], "is not a command; to serve as this file says write"),
]


def lines():
    """Wrong command lines have a suggestion; help fits a screen; files that are nearly there."""
    for line, says in WRONG_LINES:
        r = fairlead(*line)
        rig.check(r.returncode == 2 and says in r.stderr and "--help" in r.stderr and
                  len(r.stderr.splitlines()) == 1 and not r.stdout, f"{line}: {r}")
    commands = re.findall("^  ([a-z]+)  ", fairlead("--help").stdout, re.M)
    rig.check(len(commands) >= 6, f"commands: {commands}")
    for command in [None, *commands]:
        r = fairlead(*([command] if command else []), "--help")
        lines = r.stdout.splitlines()
        rig.check(r.returncode == 0 and len(lines) <= 24 and max(map(len, lines)) <= 80,
                  f"{command}: {r.stdout}")
        rig.check(fairlead("help", *([command] if command else [])).stdout == r.stdout, f"{command}")
    good = file(GOOD, "good.yaml")
    r = fairlead("check", os.path.join(rig.TMP, "goood.yaml"))
    rig.check(r.returncode == 1 and f"use '{good}'" in r.stderr, f"{r}")
    bad = file(GOOD + "workrs: 2\n", "bad.yaml")
    r = fairlead("check", good, bad, good)
    rig.check(r.returncode == 1 and r.stdout == f"{good}: ok\n" * 2 and bad in r.stderr, f"{r}")
    rig.check(fairlead("check", "--print", good).stdout ==
              fairlead("-t", "--print", "-c", good).stdout, "check --print")


def formatted():
    """fmt prints, tells or replaces; comments and meaning stay."""
    text = "a:\n    - x: 1   # why\n\n\n      y: 2\n"
    laid_out = "a:\n  - x: 1   # why\n\n    y: 2\n"
    path = file(text, "layout.yaml")
    os.chmod(path, 0o640)
    rig.check(fairlead("fmt", path).stdout == laid_out, "fmt")
    r = fairlead("fmt", "--check", path)
    rig.check(r.returncode == 1 and r.stdout == path + "\n", f"{r}")
    rig.check(open(path).read() == text, "fmt without --write has changed the file")
    r = fairlead("fmt", "-w", path)
    rig.check(r.returncode == 0 and open(path).read() == laid_out and
              os.stat(path).st_mode & 0o777 == 0o640, f"{r}")
    rig.check(fairlead("fmt", "--check", path).returncode == 0, "fmt twice")
    r = fairlead("fmt", file("a: [\n", "broken.yaml"))
    rig.check(r.returncode == 1 and "broken.yaml:2:1: " in r.stderr and not r.stdout, f"{r}")
    for path in glob.glob(os.path.join(rig.ROOT, "examples", "*.yaml")):
        rig.check(fairlead("fmt", "--check", path).returncode == 0, f"{path}: fairlead fmt -w")


def completed():
    """Completion has each command and each option; bash runs it."""
    script = fairlead("completion", "bash").stdout
    for typed, offered in (("fairlead rel", "reload"), ("fairlead proxy --li", "--listen"),
                           ("fairlead -c x --eng", "--engine"), ("fairlead completion z", "zsh"),
                           ("fairlead --engine io", "io_uring")):
        words = typed.split()
        r = subprocess.run(
            ["bash", "--norc", "-c", script + f"COMP_WORDS=({typed}); "
             f"COMP_CWORD={len(words) - 1}; _fairlead; echo ${{COMPREPLY[@]}}"],
            capture_output=True, text=True)
        rig.check(r.stdout.split() == [offered] and not r.stderr, f"{typed}: {r}")
    zsh = fairlead("completion", "zsh").stdout
    for line in fairlead("--help").stdout.splitlines():
        for word in re.findall("--[a-z]+|^  [a-z]+(?=  )", line):
            rig.check(word.strip() in script and word.strip() in zsh, f"{word}: not completed")
    if shutil.which("zsh"):
        r = subprocess.run(["zsh", "-n"], input=zsh, capture_output=True, text=True)
        rig.check(r.returncode == 0 and not r.stderr, f"zsh: {r}")


def serves(port):
    try:
        return rig.get(port, "/status/200").status == 200
    except OSError:
        return False


def proxied():
    """`fairlead proxy` serves as the file that it prints does."""
    origin, port, other = rig.free_ports(3)
    rig.lab("0ms", origin, None, "--engine", "epoll")
    command = ["proxy", "--listen", f"127.0.0.1:{port}", "--to", f":{origin}", "--engine", "epoll",
               "--workers", "1"]
    printed = fairlead(*command, "--print")
    rig.check(printed.returncode == 0 and fairlead("check", file(printed.stdout)).returncode == 0,
              f"{printed}")
    rig.check(fairlead("fmt", file(printed.stdout)).stdout == printed.stdout, "fmt of --print")
    process = subprocess.Popen([rig.FAIRLEAD, *command], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        rig.until(lambda: serves(port), "it serves")
        process.send_signal(signal.SIGHUP)
        process.terminate()
        out, err = process.communicate(timeout=rig.PATIENCE_S)
    finally:
        process.kill()
    rig.check('"GET /status/200 HTTP/1.1" 200' in out, f"log: {out}")
    rig.check(process.returncode == 0 and "standard input or the command line" in err, err)
    r = fairlead("proxy", "--listen", "nonsense", "--to", f":{other}")
    rig.check(r.returncode == 1 and "command line:2:14: 'nonsense'" in r.stderr, f"{r}")


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
    lines()
    formatted()
    completed()
    proxied()
    refused("EPERM", "seccomp")
    refused("ENOSYS", "has no io_uring")
    busy_port()


rig.main(main)
