#!/usr/bin/env python3
"""When the system refuses something, the message says what was tried, the error and a remedy; and
the remedy works."""
# once
# release: sanitizers make system calls of their own
import json
import os
import shutil
import signal
import socket
import subprocess
import threading

import rig

CONFIG = """upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""
PROFILE = os.path.join(rig.ROOT, "examples/seccomp.json")
IN_PROFILE = os.path.join(rig.ROOT, "tests/lib/in_profile")


def written(text):
    path = os.path.join(rig.TMP, "refused.yaml")
    with open(path, "w") as f:
        f.write(text)
    return path


def refused(text, *told, before=()):
    """It does not start, and one line has all these texts."""
    r = subprocess.run([*before, rig.FAIRLEAD, "-c", written(text), "--engine", "epoll",
                        "--workers", "1"], capture_output=True, text=True, timeout=rig.PATIENCE_S)
    if r.returncode == 77:
        rig.skip(r.stderr)
    rig.check(r.returncode == 1 and any(all(t in line for t in told)
                                        for line in r.stderr.splitlines()), f"{told}: {r}")


def starts(text, before=()):
    proxy = rig.Program("fairlead", [*before, rig.FAIRLEAD, "-c", written(text), "--engine",
                                     "epoll", "--workers", "1"], ready="fairlead: ready")
    proxy.stop()


def paths(config):
    """Refusals for a unix listener."""
    path = os.path.join(rig.TMP, "listen.sock")
    text = f'listen: ["unix:{path}"]\n' + config
    with open(path, "w") as f:
        f.write("precious\n")
    refused(text, path, "Address already in use", "this is not a socket; remove it")
    rig.check(open(path).read() == "precious\n", "the file has been touched")
    os.unlink(path)
    starts(text)
    os.mkdir(path)
    refused(text, path, "this is a directory; write the path of a socket in it")
    starts(text.replace(path, path + "/in_it"))
    os.rmdir(path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        refused(text, path, "another process listens there; stop it")
    starts(text)    # the socket of a program that has ended is replaced
    missing = os.path.join(rig.TMP, "missing")
    text = text.replace(path, f"{missing}/listen.sock")
    refused(text, "No such file or directory", "its directory does not exist; create it")
    os.mkdir(missing, 0o700)
    starts(text)
    if os.geteuid() == 0:
        os.chmod(rig.TMP, 0o755)
        user = ["setpriv", "--reuid", "31900", "--regid", "31900", "--clear-groups"]
        refused(text, "Permission denied", "the user that fairlead is started as cannot access its directory", before=user)
        os.chown(missing, 31900, 31900)
        starts(text, before=user)


def profile_without(name):
    path = os.path.join(rig.TMP, "profile.json")
    with open(PROFILE) as f:
        profile = json.load(f)
    for rule in profile["syscalls"]:
        rule["names"] = [n for n in rule["names"] if n != name]
    with open(path, "w") as f:
        json.dump(profile, f)
    return [IN_PROFILE, path]


def calls(config):
    """System calls that a filter refuses."""
    port, = rig.free_ports(1)
    text = f"listen: [127.0.0.1:{port}]\n" + config
    refused(text, "signalfd4", "Operation not permitted", "examples/seccomp.json",
            before=profile_without("signalfd4"))
    refused(text, "close the sandbox (seccomp)", "Operation not permitted",
            "allow the system call seccomp", "'sandbox: off'", before=profile_without("seccomp"))
    starts(text, before=[IN_PROFILE, PROFILE])
    starts(text + "sandbox: off\n", before=profile_without("seccomp"))


def upgrades(config):
    """Each way in which a next program cannot start, and the message for the operator."""
    program = os.path.join(rig.TMP, "program")
    shutil.copy(rig.FAIRLEAD, program)
    kept, rig.FAIRLEAD = rig.FAIRLEAD, program
    proxy = rig.Fairlead(config + f'control: "unix:{rig.TMP}/control.sock"\n', engine="epoll",
                         workers=1)
    rig.FAIRLEAD = kept

    def put(text, mode=0o755):
        os.unlink(program)
        with open(program, "wb") as f:
            f.write(text)
        os.chmod(program, mode)

    def upgraded():
        r = subprocess.run([kept, "upgrade", "-c", proxy.path], capture_output=True, text=True,
                           timeout=rig.PATIENCE_S)
        return r.returncode, r.stdout + r.stderr

    for text, mode, told in ((b"#!/bin/sh\nexit 3\n", 0o755, "ended with status 3"),
                             (b"#!/bin/sh\nexit 0\n", 0o755, "ended with status 0"),
                             (b"#!/bin/sh\nkill -9 $$\n", 0o755, "killed by signal 9"),
                             (b"no program", 0o755, "ended with status 1"),
                             (b"", 0o644, "ended with status 1")):
        put(text, mode)
        status, said = upgraded()
        rig.check(status == 1 and "not upgraded: " in said and told in said, f"{text}: {said}")
        rig.check(rig.get(proxy.port, "/status/200").status == 200, "it does not serve")
    rig.check("Exec format error" in proxy.log() and "Permission denied; install a program"
              in proxy.log(), proxy.log())
    put(open(kept, "rb").read())
    status, said = upgraded()
    rig.check(status == 0, said)
    proxy.stop()


def while_it_ends(config):
    proxy = rig.Fairlead(config, engine="epoll", workers=1)
    client = socket.create_connection(("127.0.0.1", proxy.port))
    client.sendall(b"GET /delay/700 HTTP/1.1\r\nHost: x\r\n\r\n")
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == 1, "a request in flight")
    proxy.signal(signal.SIGTERM)
    rig.until(lambda: proxy.said("draining"), "the drain")
    proxy.signal(signal.SIGUSR2)
    rig.until(lambda: proxy.said("not upgraded: fairlead is draining"), "a word")
    client.close()


def permissions(engine):
    """Refusals for a unix socket of an upstream: reported in the response, in the log and by the
    health check, and not as a refused connection."""
    path, log = (os.path.join(rig.TMP, name + engine) for name in ("origin.sock", "access.log"))
    os.chmod(rig.TMP, 0o755)
    with socket.socket(socket.AF_UNIX) as origin:
        origin.bind(path)
        origin.listen()
        os.chmod(path, 0o700)
        proxy = rig.Fairlead(f"""upstreams:
  app: {{ servers: ["unix:{path}"] }}
  checked: {{ servers: ["unix:{path}"], health_check: {{ type: tcp, interval: 50ms }} }}
  away: {{ servers: ["255.255.255.255:1"] }}
routes:
  - {{ prefix: /away, proxy: {{ upstream: away }} }}
  - {{ prefix: /checked, proxy: {{ upstream: checked }} }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
access_log: {{ path: {log}, format: json }}
""", engine=engine, workers=1)
        answer = rig.get(proxy.port, "/")
        rig.check((answer.status, answer.field("proxy-status")) ==
                  (502, "fairlead; error=proxy_configuration_error"), str(answer.head))
        rig.until(lambda: "no permission to connect" in open(log).read(), "a line in the log")
        rig.until(lambda: proxy.said("Permission denied; open it to the user"), "its check")
        answer = rig.get(proxy.port, "/away")
        rig.check((answer.status, answer.field("proxy-status")) ==
                  (502, "fairlead; error=destination_ip_unroutable"), str(answer.head))
        os.chmod(path, 0o777)

        def serve():
            while True:
                client, _ = origin.accept()
                with client:
                    if client.recv(65536):
                        client.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        rig.until(lambda: rig.get(proxy.port, "/").status == 204, "the origin's response")
        proxy.stop()


def main():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin, None, "--engine", "epoll")
    config = CONFIG.format(origin=origin)
    for test in (paths, calls, upgrades, while_it_ends):
        test(config)
        print(test.__name__, flush=True)
    if os.geteuid() == 0:
        permissions("io_uring")
        permissions("epoll")


rig.main(main)
