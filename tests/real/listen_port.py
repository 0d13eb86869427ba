#!/usr/bin/env python3
"""`listen: PORT` listens on both families, and on IPv4 where the kernel has no IPv6. What looks
like a mistake in the configuration is reported by -t, at the start and at a reload, once each."""
# timeout: 60
import ctypes
import os
import socket
import struct
import subprocess

import rig

CONFIG = """listen: {listen}
control: unix:{control}
upstreams:
  app: {{ servers: 127.0.0.1:{origin} }}
  spare: {{ servers: 127.0.0.1:{origin} }}
routes:
  - {{ path: /api/*, proxy: {{ upstream: app, path: / }} }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""
SOCKET = {"x86_64": 41, "aarch64": 198}
WARNINGS = ("5:3: warning: no route uses 'spare'", "7:18: warning: 'path' takes no patterns")


def without_ipv6():
    """In the child: socket(AF_INET6) fails, as with ipv6.disable=1 on the kernel command line."""
    def bpf(code, yes, no, k):
        return struct.pack("HBBI", code, yes, no, k)
    filters = (bpf(0x20, 0, 0, 0) + bpf(0x15, 0, 3, SOCKET[os.uname().machine])
               + bpf(0x20, 0, 0, 16) + bpf(0x15, 0, 1, socket.AF_INET6)
               + bpf(0x06, 0, 0, 0x50000 | 97) + bpf(0x06, 0, 0, 0x7fff0000))
    code = ctypes.create_string_buffer(filters)
    program = struct.pack("HxxxxxxP", len(filters) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_char_p(program)):
        os._exit(77)


def answers(family, host, port):
    with socket.socket(family) as s:
        s.settimeout(rig.PATIENCE_S)
        try:
            s.connect((host, port))
        except OSError:
            return False
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return s.makefile("rb").read().startswith(b"HTTP/1.1 200 ")


def start(path, **popen):
    return rig.Program("fairlead", [rig.FAIRLEAD, "-c", path, "--engine", rig.ENGINE,
                                    "--workers", "2"], ready="fairlead: ready", **popen)


def told(text):
    """How often each warning is printed."""
    return [text.count(w) for w in WARNINGS]


def test():
    port, origin = rig.free_ports(2)
    path, control = os.path.join(rig.TMP, "f.yaml"), os.path.join(rig.TMP, "control")
    rig.lab("0ms", origin)
    have_ipv6 = os.path.exists("/proc/net/if_inet6") and bool(open("/proc/net/if_inet6").read())
    for listen in (f'":{port}"', str(port)):
        with open(path, "w") as f:
            f.write(CONFIG.format(listen=listen, control=control, origin=origin))
        r = subprocess.run([rig.FAIRLEAD, "-t", "-c", path], capture_output=True, text=True,
                           timeout=20)
        rig.check(r.returncode == 0 and told(r.stderr) == [1, 1], lambda: f"-t: {r}")
        p = start(path)
        rig.check(told(p.log()) == [1, 1], p.log)
        rig.check(answers(socket.AF_INET, "127.0.0.1", port), "no response by IPv4")
        rig.check(not have_ipv6 or answers(socket.AF_INET6, "::1", port), "no response by IPv6")
        r = subprocess.run([rig.FAIRLEAD, "reload", "-c", path], capture_output=True, text=True,
                           timeout=20)
        rig.check(r.returncode == 0, lambda: f"reload: {r}")
        rig.check(told(p.log()) == [2, 2], p.log)
        rig.check(answers(socket.AF_INET, "127.0.0.1", port), "no response after the reload")
        p.stop()
    p = start(path, preexec_fn=without_ipv6)
    rig.check("no IPv6 on this machine" in p.log(), p.log)
    rig.check(answers(socket.AF_INET, "127.0.0.1", port), "no response without IPv6")
    rig.check(not answers(socket.AF_INET6, "::1", port), "there was IPv6 although it is off")


rig.main(test)
