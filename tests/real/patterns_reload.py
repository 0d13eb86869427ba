#!/usr/bin/env python3
"""A reload that brings the first regular expressions: under the system call filter PCRE2 may make no
machine code, so they are interpreted; the worker process goes on, and they match."""
# release: builds with sanitizers have no filter
import signal

import rig

CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes:
{more}  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""
PATTERNS = """  - { prefix: /x/, match: { header: { X-A: "~^(a|b)+c$" } }, respond: { status: 201 } }
  - { prefix: /delay/, match: { query: { q: "~[0-9]{3}" } }, respond: { status: 202 } }
"""


def main():
    origin, = rig.free_ports(1)
    rig.lab(http=origin)
    proxy = rig.Fairlead(CONFIG.format(origin=origin, more=""))
    pid = proxy.worker_pid()
    with open(proxy.path) as f:
        head = "".join(f.readlines()[:2])
    with open(proxy.path, "w") as f:
        f.write(head + CONFIG.format(origin=origin, more=PATTERNS))
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.said("fairlead: reloaded "), "the reload")
    for path, fields, status in (("/x/", "X-A: abbac\r\n", 201), ("/delay/1?q=a123", "", 202),
                                 ("/delay/1?q=12", "", 200)):
        got = rig.get(proxy.port, path, fields).status
        rig.check(got == status, f"{path}: {got}")
    rig.check(proxy.worker_pid() == pid and not proxy.said("was killed"), proxy.log)
    proxy.stop()


rig.main(main)
