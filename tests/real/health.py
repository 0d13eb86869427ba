#!/usr/bin/env python3
"""Active health checks with real nginx and memcached: servers that answer as expected get
requests, others get none, and no request fails because of a check."""
# asan
import os
import re
import signal
import socket
import threading
import time

import rig

CONFIG = """
upstreams:
  app:
    servers: [127.0.0.1:{one}, 127.0.0.1:{two}]
    response_timeout: 10s
    health_check: {{ path: /health, interval: 100ms, timeout: 1500ms, rise: 2, fall: 3 }}
  plain:
    servers: [127.0.0.1:{one}, 127.0.0.1:{dead}]
    health_check: {{ type: tcp, interval: 100ms }}
  side:
    servers: [127.0.0.1:{one}]
    health_check: {{ path: /health, port: {two}, interval: 100ms, status: 503, rise: 1, fall: 1 }}
  cache:
    protocol: memcached
    servers: [127.0.0.1:{cache}]
    health_check: {{ interval: 100ms, timeout: 1500ms, rise: 1, fall: 2 }}
routes:
  - prefix: /plain
    proxy: {{ upstream: plain }}
  - prefix: /side
    proxy: {{ upstream: side }}
  - prefix: /cache/
    memcached: {{ upstream: cache, key: "${{path.rest}}" }}
  - prefix: /
    proxy: {{ upstream: app }}
"""
ORIGIN = """
location / {{ default_type text/plain; return 200 "{port}"; }}
location /health {{ if (-f {flag}) {{ return 503; }} return 200 "up"; }}
"""


def asked(proxy, path="/", times=20):
    return {rig.get(proxy.port, path).body.decode() for _ in range(times)}


def state(proxy, upstream, port):
    """The value in /metrics: 1, 0 or None."""
    text = rig.get(proxy.admin, "/metrics").body.decode()
    begin = f'fairlead_health_up{{upstream="{upstream}",server="127.0.0.1:{port}"'
    found = [line for line in text.splitlines() if line.startswith(begin)]
    return int(found[0].split()[-1]) if found else None


def down_at(proxy, upstream, port):
    """For each worker 1 if the server is down for it, else 0."""
    text = rig.get(proxy.admin, "/metrics?by=worker").body.decode()
    return [int(n) for n in re.findall(rf'fairlead_server_state{{[^}}]*upstream="{upstream}",server='
                                       rf'"127.0.0.1:{port}"[^}}]*state="down"}} (\d)', text)]


def becomes(proxy, upstream, port, value):
    """The prober has the result, and then each worker."""
    rig.until(lambda: state(proxy, upstream, port) == value, f"{upstream} {port}: {value}")
    rig.until(lambda: down_at(proxy, upstream, port) == 2 * [1 - value],
              f"{upstream} {port}: {value} at both workers")


class Load:
    """Sends requests until end(), which reports those that failed or took long."""

    def __init__(self, port, patience_s):
        self.port, self.patience_s, self.over, self.wrong, self.n = port, patience_s, False, [], 0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.over:
            began = time.monotonic()
            try:
                answer = rig.get(self.port, "/")
                took = time.monotonic() - began
                if answer.status != 200 or took > self.patience_s:
                    self.wrong.append((answer.status, took))
            except Exception as e:    # noqa: end() reports what went wrong
                self.wrong.append(repr(e))
            self.n += 1
            time.sleep(0.01)

    def end(self):
        self.over = True
        self.thread.join()
        rig.check(not self.wrong, f"of {self.n} {len(self.wrong)} failed: {self.wrong[:3]}")
        return self.n


def answers_503(proxy, flag, one, two):
    """The server answers its check with an error status: no request is lost."""
    load = Load(proxy.port, 5)
    open(flag, "w").close()
    becomes(proxy, "app", two, 0)
    rig.until(lambda: asked(proxy) == {str(one)}, "only the other one")
    rig.check(proxy.said(f"upstream app: server 127.0.0.1:{two} is down (status 503)"), "no log")
    os.unlink(flag)
    becomes(proxy, "app", two, 1)
    rig.until(lambda: asked(proxy) == {str(one), str(two)}, "both again")
    rig.check(proxy.said(f"upstream app: server 127.0.0.1:{two} is up"), "no second line")
    print(f"{rig.ENGINE}: {load.end()} requests, none lost")


def hangs(proxy, program, one, two):
    """The server accepts and stays silent: without a check every second request would wait."""
    program.signal(signal.SIGSTOP)
    becomes(proxy, "app", two, 0)
    load = Load(proxy.port, 5)
    rig.check(asked(proxy) == {str(one)}, "the server that hangs got requests")
    load.end()
    rig.check(proxy.said("is down (no response in time)"), "the reason is not logged")
    program.signal(signal.SIGCONT)
    becomes(proxy, "app", two, 1)


def reload(proxy, times=1):
    for _ in range(times):
        before = proxy.log().count("fairlead: reloaded")
        proxy.signal(signal.SIGHUP)
        rig.until(lambda: proxy.log().count("fairlead: reloaded") > before, "a reload")


def reloads(proxy, flag, one, two):
    """A server that is down stays down over a reload, and checks continue."""
    open(flag, "w").close()
    becomes(proxy, "app", two, 0)
    load = Load(proxy.port, 5)
    for _ in range(5):
        reload(proxy)
        rig.check(asked(proxy, times=8) == {str(one)}, "after a reload a server that is down is used")
    os.unlink(flag)
    becomes(proxy, "app", two, 1)
    rig.until(lambda: asked(proxy) == {str(one), str(two)}, "both again")
    load.end()


def dies(proxy, program, cache):
    """memcached: its keys are misses at once; then it is back."""
    with socket.create_connection(("127.0.0.1", cache)) as s:
        s.sendall(b"set k 0 0 5\r\nvalue\r\n")
        s.recv(64)
    becomes(proxy, "cache", cache, 1)
    rig.check(rig.get(proxy.port, "/cache/k").body == b"value", "no value")
    program.signal(signal.SIGSTOP)
    becomes(proxy, "cache", cache, 0)
    began = time.monotonic()
    rig.check(rig.get(proxy.port, "/cache/k").status == 404, "no miss")
    took = time.monotonic() - began
    rig.check(took < 4, f"the miss took {took} s, as if the link had timed out")
    program.signal(signal.SIGCONT)
    becomes(proxy, "cache", cache, 1)
    rig.until(lambda: rig.get(proxy.port, "/cache/k").body == b"value", "the value again")


def drain_during_probes(proxy, two):
    """A drain during probes ends cleanly."""
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended() == 0, "no good end")
    rig.check(not [line for line in proxy.log().splitlines() if "must hold" in line], "asserts")
    rig.check(two.alive(), "nginx has gone")


def main():
    one, two, dead, cache = rig.free_ports(4)
    flags = [os.path.join(rig.TMP, f"flag-{port}") for port in (one, two)]
    rig.nginx(one, ORIGIN.format(port=one, flag=flags[0]))
    second = rig.nginx(two, ORIGIN.format(port=two, flag=flags[1]))
    memcached = rig.memcached(cache)
    proxy = rig.Fairlead(CONFIG.format(one=one, two=two, dead=dead, cache=cache))
    for port in (one, two):
        becomes(proxy, "app", port, 1)
    becomes(proxy, "plain", dead, 0)
    rig.check(asked(proxy, "/plain") == {str(one)}, "tcp")
    rig.check(proxy.said(f"upstream plain: server 127.0.0.1:{dead} is down (Connection refused)"),
              "the first result is not logged")
    becomes(proxy, "side", one, 0)    # 200 is not what is expected there
    answers_503(proxy, flags[1], one, two)
    hangs(proxy, second, one, two)
    reloads(proxy, flags[1], one, two)
    dies(proxy, memcached, cache)
    probes = proxy.metrics()["health_probes_total"]
    rig.until(lambda: proxy.metrics()["health_probes_total"] > probes + 10, "more probes")
    drain_during_probes(proxy, second)


rig.main(main)
