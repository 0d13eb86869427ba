#!/usr/bin/env python3
"""Files with very many upstreams, servers and routes: the memory that each costs, that each is
found, and that memory returns to the system when the file is small again."""
# release: it measures memory, and sanitizers use memory of their own
import os
import re
import signal

import rig

WORKERS = 2
# Supervisor and worker process together, with two workers; the limits have a third of headroom.
COSTS = (    # what, upstreams, servers of each, routes, bytes at most
    ("upstream", 2000, 1, 2, 10000),
    ("server", 1, 4096, 2, 8000),
    ("route", 1, 1, 20000, 1500),
)
ROUNDS = 4
LARGE = (5000, 1, 20000)
RETURNS_KIB = 4096    # allowed growth after the large file, which takes ten times as much


def text_of(origin, upstreams, servers, routes):
    """The last route goes to the last server of the last upstream; all others are backups."""
    lines = ["upstreams:"]
    for i in range(upstreams):
        addresses = [f"{{ address: 127.0.{k // 200 + 1}.{k % 200 + 1}:{origin}, backup: true }}"
                     for k in range(servers - 1)]
        lines.append(f"  u{i}: {{ servers: [{', '.join([*addresses, f'127.0.0.1:{origin}'])}] }}")
    lines.append("routes:")
    for i in range(routes - 1):
        lines.append(f"  - {{ path: /status/{200 + i}, proxy: {{ upstream: u{i % upstreams} }} }}")
    lines.append(f"  - {{ prefix: /, proxy: {{ upstream: u{upstreams - 1} }} }}")
    return "\n".join(lines) + "\n"


def anonymous_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"RssAnon:\s+(\d+)", f.read())[1])


def memory_kib(proxy):
    return anonymous_kib(proxy.pid) + anonymous_kib(proxy.worker_pid())


def ask(proxy):
    for path in ("/status/200", "/status/201", "/bytes/100"):
        rig.check(rig.get(proxy.port, path).status // 100 == 2, path)


def costs(origin):
    small = rig.Fairlead(text_of(origin, 1, 1, 2), WORKERS)
    ask(small)
    base = memory_kib(small)
    small.stop()
    for what, upstreams, servers, routes, most in COSTS:
        proxy = rig.Fairlead(text_of(origin, upstreams, servers, routes), WORKERS)
        ask(proxy)
        each = (memory_kib(proxy) - base) * 1024 / max(upstreams, servers, routes)
        proxy.stop()
        print(f"{rig.ENGINE}: {each:.0f} bytes for each {what}", flush=True)
        rig.check(each <= most, f"a {what} takes {each:.0f} bytes, not at most {most}")


def reload(proxy, text):
    head = f"listen: [127.0.0.1:{proxy.port}]\nadmin: 127.0.0.1:{proxy.admin}\n"
    with open(proxy.path + ".new", "w") as f:
        f.write(head + text)
    os.rename(proxy.path + ".new", proxy.path)
    before = proxy.log().count("fairlead: reloaded")
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.log().count("fairlead: reloaded") > before or not proxy.alive(),
              "a reload")
    ask(proxy)


def reloads(origin):
    small, large = text_of(origin, 1, 1, 2), text_of(origin, *LARGE)
    proxy = rig.Fairlead(small, WORKERS)
    pid = proxy.worker_pid()
    reload(proxy, small)    # code that the first reload needs is loaded now
    base = memory_kib(proxy)
    seen = []
    for _ in range(ROUNDS):
        reload(proxy, large)
        seen.append(memory_kib(proxy))
        reload(proxy, small)
        rig.until(lambda: memory_kib(proxy) <= base + RETURNS_KIB, f"{seen[-1]} KiB to go back "
                  f"to {base} KiB")
    print(f"{rig.ENGINE}: small {base} KiB, large {seen} KiB, small again {memory_kib(proxy)} KiB")
    rig.check(max(seen) <= 1.2 * seen[0] + RETURNS_KIB, f"each time more: {seen}")
    rig.check(proxy.worker_pid() == pid, "another worker process")
    proxy.stop()


def main():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    costs(origin)
    reloads(origin)


rig.main(main)
