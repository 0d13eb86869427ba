#!/usr/bin/env python3
"""Slow attacks with slowhttptest: slow heads, bodies and readers. Each connection is closed when
its limit has passed, and ordinary clients are served meanwhile; how fast is printed and not
asserted, because attacker, proxy, origin and clients share the machine."""
# release: it measures times
import os
import re
import socket
import subprocess
import threading
import time

import rig

CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
limits: {{ header_timeout: 2s, receive_timeout: 2s, send_timeout: 2s, idle_timeout: 3s }}
"""
LIMIT_S = 2
CONNECTIONS = 3000 if rig.FULL else 600
SLACK_S = 30       # for opening them on a busy machine
CLIENTS = 4
# Arguments of slowhttptest, and how its connections end.
ATTACKS = {
    "slow headers": ["-H", "-i", "1", "-u", "http://127.0.0.1:{port}/"],
    "slow headers, long pauses": ["-H", "-i", "30", "-u", "http://127.0.0.1:{port}/"],
    "slow body": ["-B", "-i", "30", "-s", "65536", "-u", "http://127.0.0.1:{port}/echo"],
    "slow read": ["-X", "-w", "8", "-y", "16", "-n", "30", "-z", "5", "-k", "3",
                  "-u", "http://127.0.0.1:{port}/bytes/3000000"],
}


class Ordinary:
    """Clients that send one request after another, each on its own connection."""

    def __init__(self, port):
        self.port, self.stop, self.took_ms, self.wrong = port, False, [], []
        self.threads = [threading.Thread(target=self.run) for _ in range(CLIENTS)]
        for t in self.threads:
            t.start()

    def run(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 10) as s:
                while not self.stop:
                    began = time.monotonic()
                    s.sendall(b"GET /status/200 HTTP/1.1\r\nHost: x\r\n\r\n")
                    text = b""
                    while not text.endswith(b"\r\n\r\n200\n"):
                        piece = s.recv(65536)
                        rig.check(piece, lambda: f"ended: {text!r}")
                        text += piece
                    rig.check(text.startswith(b"HTTP/1.1 200 "), lambda: f"{text!r}")
                    self.took_ms.append((time.monotonic() - began) * 1000)
                    time.sleep(0.01)
        except (AssertionError, OSError) as e:
            self.wrong.append(e)

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join()
        rig.check(not self.wrong, lambda: f"an ordinary client: {self.wrong[0]}")
        took = sorted(self.took_ms)
        rig.check(took, "no ordinary client was served")
        return len(took), took[len(took) // 2], took[len(took) * 99 // 100]


def attack(proxy, name, arguments):
    """Seconds until the last connection was gone, and the most that were open."""
    command = [os.path.join(rig.PEERS, "slowhttptest"), "-c", str(CONNECTIONS),
               "-r", str(CONNECTIONS), "-l", "40", "-p", "10", "-v", "1",
               *(a.format(port=proxy.port) for a in arguments)]
    before = proxy.metrics()["connections"]
    out = os.path.join(rig.TMP, "slowhttptest.out")
    most, began = 0, time.monotonic()
    with open(out, "wb") as f:
        p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=f, stderr=f)
    while p.poll() is None:
        rig.check(time.monotonic() - began < 60, lambda: f"{name} does not end")
        most = max(most, proxy.metrics()["connections"] - before)
        if most > CONNECTIONS / 2 and proxy.metrics()["connections"] - before < 10:
            break
        time.sleep(0.1)
    took = time.monotonic() - began
    p.terminate()
    p.wait()
    with open(out, errors="replace") as f:
        said = re.findall(r"Exit status: ([^\x1b\n]*)", f.read())
    return took, most, said[-1:] or "ended by us"


def test():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    limit = rig.descriptors()
    if limit < 2 * CONNECTIONS + 400:
        rig.skip(f"needs {2 * CONNECTIONS + 400} descriptors, has {limit}")
    proxy = rig.Fairlead(CONFIG.format(origin=origin))
    calm = Ordinary(proxy.port)
    time.sleep(2)
    n, middle, p99 = calm.end()
    print(f"{rig.ENGINE}: no attack: {n} responses, median {middle:.1f} ms, p99 {p99:.1f} ms")
    for name, arguments in ATTACKS.items():
        ordinary = Ordinary(proxy.port)
        try:
            took, most, said = attack(proxy, name, arguments)
        finally:
            n, middle, p99 = ordinary.end()
        print(f"{rig.ENGINE}: {name}: {most:.0f} of {CONNECTIONS} held, gone after "
              f"{took:.1f} s; {n} responses, median {middle:.1f} ms, p99 {p99:.1f} ms")
        rig.check(most > CONNECTIONS / 2,
            f"{name}: only {most} connections were there: {said}")
        rig.check(took < LIMIT_S + SLACK_S, f"{name}: held for {took:.1f} s: {said}")
        rig.until(lambda: proxy.metrics()["connections"] == 0, "all connections to be gone")
    rig.check(not proxy.said("worker process"), lambda: proxy.log())


rig.main(test)
