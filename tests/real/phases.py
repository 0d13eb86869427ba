#!/usr/bin/env python3
"""Histograms by phase of routes, upstreams and servers: each phase that took place is counted once
for each request; they go on over a reload; what is beyond limits.metric_series shares one series,
and memory follows what is used. Server-Timing has them too, where a route says so. A scrape of 1,000 upstreams wakes no worker."""
# asan
# timeout: 300
import re
import signal
import socket
import threading
import time

import rig

DELAY_MS = 300
LEAST_MS = 270    # two clocks: that of the origin's timer, and that of the proxy's loop
CONFIG = """
limits: {{ metric_series: {series} }}
upstreams:
  slow: {{ servers: [127.0.0.1:{slow}] }}
  one: {{ servers: [{{ address: 127.0.0.1:{fast}, name: first }}], connections: 1 }}
routes:
  - {{ prefix: /slow/, rewrite: {{ strip: /slow }}, proxy: {{ upstream: slow }} }}
  - {{ host: example.org, prefix: /, respond: {{ status: 204 }} }}
  - {{ prefix: /, proxy: {{ upstream: one }} }}
"""
UPSTREAMS = 1000


def count(proxy, family, phase, **labels):
    return proxy.samples(f"{family}_phase_seconds_count", phase=phase, **labels)


def seconds(proxy, family, phase, **labels):
    return proxy.samples(f"{family}_phase_seconds_sum", phase=phase, **labels)


def expect(proxy, family, wanted, **labels):
    """An exchange ends after its response was read: the counts follow soon."""
    def given():
        return {phase: count(proxy, family, phase, **labels)
                for phase in ("receive", "queue", "connect", "tls", "response", "first_byte", "total")}
    full = dict.fromkeys(("receive", "queue", "connect", "tls", "response", "first_byte", "total"), 0)
    full.update(wanted)
    rig.until(lambda: given() == full or None, f"{family} {labels}: {full}, not {given()}")


def post(proxy, path, body):
    with socket.create_connection(("127.0.0.1", proxy.port), rig.PATIENCE_S) as s:
        s.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
                  "Connection: close\r\n\r\n".encode() + body)
        text = b""
        while piece := s.recv(65536):
            text += piece
    rig.check(text.startswith(b"HTTP/1.1 200"), text[:200])


def counted(slow, fast):
    config = CONFIG.format(slow=slow, fast=fast, series=1000)
    proxy = rig.Fairlead(config, workers=1)
    for _ in range(3):
        rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "a request")
    all_phases = {"queue": 3, "connect": 1, "response": 3, "first_byte": 3, "total": 3}
    expect(proxy, "route", all_phases, route="/*")
    attempts = {"queue": 3, "connect": 1, "response": 3, "total": 3}
    expect(proxy, "upstream", attempts, upstream="one")
    expect(proxy, "server", attempts, upstream="one", server="first", address=f"127.0.0.1:{fast}")
    expect(proxy, "route", {}, route="example.org/*")
    # A POST that is the first request of its client gets a new connection (`reuse`).
    post(proxy, "/bytes/10", b"x" * 100)
    expect(proxy, "route", {"receive": 1, "queue": 4, "connect": 2, "response": 4, "first_byte": 4,
                            "total": 4}, route="/*")
    rig.check(rig.get(proxy.port, "/slow/delay/300").status == 200, "a slow request")
    expect(proxy, "route", {"queue": 1, "connect": 1, "response": 1, "first_byte": 1, "total": 1},
           route="/slow/*")
    for family, labels in ("route", {"route": "/slow/*"}), ("upstream", {"upstream": "slow"}), \
                          ("server", {"upstream": "slow"}):
        for phase in "response", "total":
            took = seconds(proxy, family, phase, **labels)
            rig.check(took >= LEAST_MS / 1000, lambda: f"{family} {phase}: {took} s")
        rig.check(seconds(proxy, family, "connect", **labels) < LEAST_MS / 1000, "connect")
    # The second request of an upstream with one connection waits for the first.
    workers = [threading.Thread(target=rig.get, args=(proxy.port, "/bytes/100000")) for _ in range(8)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    rig.until(lambda: count(proxy, "upstream", "queue", upstream="one") == 12, "those that waited")
    # A reload keeps the counts of what it keeps.
    with open(proxy.path) as f:
        text = f.read()
    with open(proxy.path, "w") as f:
        f.write(text.replace("host: example.org", "host: example.com"))
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.said("reloaded"), "the reload")
    rig.check(count(proxy, "route", "total", route="/*") == 12, "counts after the reload")
    rig.get(proxy.port, "/", "Host: example.com\r\n")
    rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "a request after the reload")
    expect(proxy, "server", {"queue": 13, "connect": 2, "response": 13, "total": 13}, server="first")
    proxy.stop()


def bounded(slow, fast):
    """Two series would be needed of upstreams and servers, three of routes."""
    proxy = rig.Fairlead(CONFIG.format(slow=slow, fast=fast, series=1), workers=2)
    for path in "/bytes/10", "/slow/delay/300":
        rig.check(rig.get(proxy.port, path).status == 200, path)
    expect(proxy, "route", {"queue": 1, "connect": 1, "response": 1, "first_byte": 1, "total": 1},
           route="/slow/*")
    expect(proxy, "route", {"queue": 1, "connect": 1, "response": 1, "first_byte": 1, "total": 1},
           route="(other)")
    expect(proxy, "upstream", {"queue": 1, "connect": 1, "response": 1, "total": 1}, upstream="(other)")
    expect(proxy, "server", {"queue": 1, "connect": 1, "response": 1, "total": 1}, server="(other)")
    for of, n in ("route", 2), ("upstream", 1), ("server", 1):
        rig.check(proxy.samples("metric_series_sharing", of=of) == n, of)
    proxy.stop()


def phases_of(answer):
    value = answer.field("Server-Timing")
    rig.check(value and re.fullmatch(r"\w+;dur=\d+\.\d{3}(, \w+;dur=\d+\.\d{3})*", value), answer.head)
    return {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([\d.]+)", value)}


def server_timing(fast):
    config = f"""
upstreams: {{ app: {{ servers: [127.0.0.1:{fast}], reuse: never }} }}
routes:
  - {{ prefix: /trusted/, server_timing: trusted, rewrite: {{ strip: /trusted }}, proxy: {{ upstream: app }} }}
  - {{ prefix: /all/, server_timing: all, rewrite: {{ strip: /all }}, proxy: {{ upstream: app }} }}
  - {{ prefix: /own/, server_timing: all, respond: {{ status: 204 }} }}
  - {{ prefix: /off/, server_timing: off, proxy: {{ upstream: app }} }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""
    proxy = rig.Fairlead(config)
    given = phases_of(rig.get(proxy.port, "/all/delay/300"))
    rig.check(list(given) == ["queue", "connect", "response", "proxy"], given)
    rig.check(given["proxy"] >= given["response"] >= LEAST_MS > given["queue"] + given["connect"], given)
    rig.check(list(phases_of(rig.get(proxy.port, "/own/"))) == ["proxy"], "a response of our own")
    for path in "/trusted/bytes/10", "/off/", "/bytes/10":
        rig.check(rig.get(proxy.port, path).field("Server-Timing") is None, path)
    proxy.stop()
    proxy = rig.Fairlead("trusted_proxies: [127.0.0.1]\n" + config)
    rig.check("response" in phases_of(rig.get(proxy.port, "/trusted/bytes/10")), "a trusted client")
    rig.check(rig.get(proxy.port, "/bytes/10").field("Server-Timing") is None, "another route")
    proxy.stop()


def cost_of_a_scrape(fast):
    """The control thread answers; the workers sleep on. Their loops run for the timers of the second
    alone, whatever is scraped meanwhile."""
    upstreams = "".join(f"  u{i}: {{ servers: [127.0.0.1:{fast}, 127.0.0.2:{fast}] }}\n"
                        for i in range(UPSTREAMS))
    routes = "".join(f"  - {{ prefix: /{i}/, rewrite: {{ strip: /{i} }}, proxy: {{ upstream: u{i} }} }}\n"
                     for i in range(UPSTREAMS))
    proxy = rig.Fairlead(f"upstreams:\n{upstreams}routes:\n{routes}", workers=2)
    for i in range(0, UPSTREAMS, 10):
        rig.check(rig.get(proxy.port, f"/{i}/bytes/10").status == 200, f"upstream {i}")
    before, begin = proxy.metrics()["ticks_total"], time.monotonic()
    scrapes, size = 0, 0
    while time.monotonic() - begin < 5 or scrapes < 5:
        size = len(rig.get(proxy.admin, "/metrics").body)
        scrapes += 1
    ticks, took = proxy.metrics()["ticks_total"] - before, time.monotonic() - begin
    print(f"{scrapes} scrapes of {size / 1e6:.1f} MB, {took / scrapes * 1000:.0f} ms each; "
          f"{ticks:.0f} iterations of 2 workers in {took:.1f} s")
    # A tick for each timer: a few in each second and worker, not one for each chunk of a response.
    rig.check(ticks < 40 * took, lambda: f"{ticks} ticks in {took} s of {scrapes} scrapes")
    chunks = scrapes * size / 49152
    rig.check(ticks < chunks / 2, lambda: f"{ticks} ticks, {chunks} chunks")
    proxy.stop()


def test():
    slow, fast = rig.free_ports(2)
    rig.lab(f"{DELAY_MS}ms", slow)
    rig.lab("0ms", fast)
    counted(slow, fast)
    bounded(slow, fast)
    server_timing(fast)
    cost_of_a_scrape(fast)


if __name__ == "__main__":
    rig.main(test)
