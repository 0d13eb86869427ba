#!/usr/bin/env python3
"""Origins and caches that fail: killed during a body, absent and back, silent, slow; a real
memcached with large values and among others; and one that sends wrong replies."""
import os
import signal
import socket
import threading
import time

import rig

MIB = 1 << 20
CONFIG = """
upstreams:
  app: {{ servers: [127.0.0.1:{origin}], connect_timeout: 1s }}
  one: {{ protocol: memcached, servers: [127.0.0.1:{first}], timeout: 20s, value_max: 2MiB }}
  silent: {{ servers: [127.0.0.1:{silent}], connect_timeout: 1s, response_timeout: 1s }}
  liar: {{ protocol: memcached, servers: [127.0.0.1:{liar}], timeout: 1s, value_max: 64KiB }}
  several:
    protocol: memcached
    servers: [127.0.0.1:{first}, 127.0.0.1:{second}, {{ address: 127.0.0.1:{third}, weight: 2 }}]
    timeout: 20s
routes:
  - prefix: /one/
    memcached: {{ upstream: one, key: "${{path.rest}}" }}
  - prefix: /several/
    memcached: {{ upstream: several, key: "${{path.rest}}" }}
  - prefix: /silent/
    proxy: {{ upstream: silent }}
  - prefix: /liar/
    memcached: {{ upstream: liar, key: "${{path.rest}}" }}
  - prefix: /
    proxy: {{ upstream: app }}
"""
# Wrong replies to "get KEY": none of them may reach a client as a value.
LIES = (b"VALUE other 0 4\r\nEVIL\r\nEND\r\n", b"VALUE %s 0 9\r\nEVIL\r\nEND\r\n",
        b"VALUE %s 0 2\r\nEVIL\r\nEND\r\n", b"VALUE %s 0 99999999999\r\nEVIL\r\n",
        b"VALUE %s 0 -4\r\nEVIL\r\nEND\r\n", b"EVIL\r\n", b"ERROR EVIL\r\n",
        b"SERVER_ERROR EVIL\r\n", b"VALUE %s 0 4\r\nEV", b"", b"\0\xff" * 500,
        b"VALUE %s 0 4\r\nEVIL\r\nVALUE %s 0 4\r\nEVIL\r\nEND\r\n")
KEYS = 60


def store(port, values):
    """Stores the values with the text protocol."""
    with socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S) as s:
        for key, value in values.items():
            s.sendall(f"set {key} 0 0 {len(value)}\r\n".encode() + value + b"\r\n")
            said = s.recv(64)
            rig.check(said == b"STORED\r\n", f"memcached said {said}")


def origin_killed(proxy, origin_program, origin):
    """The client must see that the body is incomplete; the next responses are 502, until the
    origin is back."""
    with socket.create_connection(("127.0.0.1", proxy.port), rig.PATIENCE_S) as s:
        s.sendall(b"GET /drip/1000/20 HTTP/1.1\r\nHost: x\r\n\r\n")
        text = b""
        while b"\r\n\r\n" not in text or text.endswith(b"\r\n\r\n"):
            text += s.recv(65536)
        origin_program.signal(signal.SIGKILL)
        try:
            while piece := s.recv(65536):
                text += piece
        except ConnectionResetError:
            pass
    head, _, body = text.partition(b"\r\n\r\n")
    whole = body.endswith(b"0\r\n\r\n") if b"chunked" in head.lower() else False
    length = [int(l.split(b":")[1]) for l in head.lower().split(b"\r\n")
              if l.startswith(b"content-length")]
    rig.check(not whole and (not length or len(body) < length[0]), f"{head}: {len(body)} bytes")
    rig.check(rig.get(proxy.port, "/status/200").status == 502, "no 502")
    rig.lab("0ms", origin)
    rig.until(lambda: rig.get(proxy.port, "/status/200").status == 200, "the origin again")


def large_values(proxy, cache):
    values = {f"k{n}": bytes([65 + n % 26]) * n
              for n in (0, 1, 16383, 16384, 65536, MIB // 2, MIB - 1024, MIB)}
    store(cache, values)
    for key, value in values.items():
        answer = rig.get(proxy.port, f"/one/{key}")
        rig.check(answer.status == 200 and answer.body == value,
                  f"{key}: {answer.status}, {len(answer.body)} bytes")
    rig.check(rig.get(proxy.port, "/one/none").status == 404, "no 404 for a miss")


def many_at_once(proxy):
    """Large values on few links to many readers: no reader gets another's bytes."""
    wrong = []

    def ask(n):
        for _ in range(10):
            answer = rig.get(proxy.port, f"/one/k{n}")
            if answer.status != 200 or len(answer.body) != n:
                wrong.append((n, answer.status, len(answer.body)))

    threads = [threading.Thread(target=ask, args=(n,))
               for n in (1, 16383, 16384, 65536, MIB // 2, MIB) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    rig.check(not wrong, f"{wrong[:5]}")


class Liar:
    """A memcached that replies with each of LIES in turn, then correctly."""

    def __init__(self, port):
        self.turn, self.lock = 0, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            threading.Thread(target=self.serve, args=(self.listener.accept()[0],),
                             daemon=True).start()

    def serve(self, s):
        text = b""
        with s:
            while piece := s.recv(65536):
                text += piece
                while b"\r\n" in text:
                    line, _, text = text.partition(b"\r\n")
                    words = line.split()
                    if words[:1] == [b"get"]:
                        s.sendall(self.answer(words[1]))

    def answer(self, key):
        with self.lock:
            n, self.turn = self.turn, self.turn + 1
        if n >= len(LIES):
            return b"VALUE %s 0 4\r\ntrue\r\nEND\r\n" % key
        return LIES[n].replace(b"%s", key)


def cache_lies(proxy, port):
    """The client gets an error or a visibly incomplete response, and others get their own value."""
    liar = Liar(port)
    while liar.turn < len(LIES):
        before = liar.turn
        with socket.create_connection(("127.0.0.1", proxy.port), rig.PATIENCE_S) as s:
            s.sendall(b"GET /liar/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            text = b""
            try:
                while piece := s.recv(65536):
                    text += piece
            except ConnectionResetError:
                pass
        head, _, body = text.partition(b"\r\n\r\n")
        whole = head.startswith(b"HTTP/1.1 200") and \
            b"Content-Length: %d\r\n" % len(body) in head + b"\r\n"
        rig.check(not whole or body == b"true", lambda: f"wrong reply {before}: {text!r}")
        rig.check(rig.get(proxy.port, "/status/200").status == 200, "others suffer")
    rig.until(lambda: rig.get(proxy.port, "/liar/k").body == b"true", "the truth")
    print(f"{rig.ENGINE}: {len(LIES)} lies of a memcached, none was passed on")


def origin_refuses_or_is_silent(proxy, port):
    """Refused: 502 at once. Accepted by the kernel and never by the origin: 504 at the timeout."""
    def refused():
        began = time.monotonic()
        rig.check(rig.get(proxy.port, "/silent/").status == 502, "no 502")
        return time.monotonic() - began

    rig.becomes(refused, lambda seconds: seconds < 1, "a refusal takes long")
    with socket.create_server(("127.0.0.1", port)):
        began = time.monotonic()
        statuses = {rig.get(proxy.port, "/silent/").status for _ in range(2)}
        took = time.monotonic() - began
        rig.check(statuses == {504} and 1.9 < took < 20, f"{statuses} after {took:.1f} s")
    rig.check(rig.get(proxy.port, "/drip/40/50").status == 200, "a slow response is aborted")
    rig.lab("0ms", port)
    rig.until(lambda: rig.get(proxy.port, "/silent/").status == 404, "the origin, now awake")


def cache_killed(proxy, program, port):
    program.signal(signal.SIGKILL)
    program.process.wait()
    # A server that is down is a miss.
    rig.until(lambda: rig.get(proxy.port, "/one/k1").status == 404, "a miss")
    rig.check(rig.get(proxy.port, "/status/200").status == 200, "others suffer")
    rig.memcached(port, "-I", "2m")
    store(port, {"k1": b"back"})
    rig.until(lambda: rig.get(proxy.port, "/one/k1").body == b"back", "the value again")


def several_servers(proxy, ports):
    """Each key is looked up on the server that ketama chooses: each server has another value for
    it."""
    for port in ports:
        store(port, {f"s{i}": str(port).encode() for i in range(KEYS)})
    asked = {i: int(rig.get(proxy.port, f"/several/s{i}").body) for i in range(KEYS)}
    again = {i: int(rig.get(proxy.port, f"/several/s{i}").body) for i in range(KEYS)}
    share = {port: list(asked.values()).count(port) for port in ports}
    print(f"{rig.ENGINE}: {KEYS} keys on the servers: {list(share.values())}")
    rig.check(asked == again, "a key has moved")
    rig.check(all(share.values()), f"a server got no key: {share}")
    return asked


def one_of_several_killed(proxy, program, port, asked):
    """No rehash: its keys are misses, all others stay on their servers."""
    program.signal(signal.SIGKILL)
    program.process.wait()
    gone = [i for i in asked if asked[i] == port]
    rig.until(lambda: rig.get(proxy.port, f"/several/s{gone[0]}").status == 404, "a miss")
    for i, was in asked.items():
        answer = rig.get(proxy.port, f"/several/s{i}")
        good = answer.status == 404 if was == port else answer.body == str(was).encode()
        rig.check(good, f"s{i} was on {was}: {answer.status} {answer.body}")


def main():
    origin, first, second, third, silent, liar = rig.free_ports(6)
    lab = rig.lab("0ms", origin)
    caches = {port: rig.memcached(port, "-I", "2m") for port in (first, second, third)}
    proxy = rig.Fairlead(CONFIG.format(origin=origin, first=first, second=second, third=third,
                                       silent=silent, liar=liar))
    origin_refuses_or_is_silent(proxy, silent)
    origin_killed(proxy, lab, origin)
    cache_lies(proxy, liar)
    large_values(proxy, first)
    many_at_once(proxy)
    asked = several_servers(proxy, list(caches))
    one_of_several_killed(proxy, caches[third], third, asked)
    cache_killed(proxy, caches[first], first)
    rig.check(proxy.alive() and proxy.log().count("ready") == 1, "the proxy has died")


rig.main(main)
