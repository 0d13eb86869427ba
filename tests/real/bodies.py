#!/usr/bin/env python3
"""A large body in each direction with a slow receiver: it arrives complete, and the proxy holds
no more of it than its window."""
# release: it measures memory, and sanitizers use memory of their own
import hashlib
import os
import socket
import threading
import time

import rig

MIB = 1 << 20
SIZE = 1024 * MIB if rig.FULL else 64 * MIB
# Slow at first, so that all buffers fill up; then as fast as possible.
SLOW_S = 3
SLOW_BYTES = 8 * MIB
GROWTH_KIB_MAX = 4096
CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}], response_timeout: 300s }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
limits: {{ request_body: none }}
"""


class Watch(threading.Thread):
    """The largest RSS of the worker process."""

    def __init__(self, proxy):
        super().__init__(daemon=True)
        self.proxy, self.over = proxy, threading.Event()
        self.first = self.most = proxy.resident_kib()
        self.start()

    def run(self):
        while not self.over.wait(0.05):
            self.most = max(self.most, self.proxy.resident_kib())

    def growth(self):
        self.over.set()
        self.join()
        return self.most - self.first


def made(path):
    """A file of bytes without repetition, and its digest."""
    digest = hashlib.sha256()
    with open(path, "wb") as f:
        for i in range(SIZE // MIB):
            block = hashlib.shake_128(i.to_bytes(8, "big")).digest(4096) * (MIB // 4096)
            f.write(block)
            digest.update(block)
    return digest.hexdigest()


def slowly(s, took):
    """Reads to the end; `took` is called with each piece."""
    began, n = time.monotonic(), 0
    while piece := s.recv(262144):
        took(piece)
        n += len(piece)
        while n < SLOW_BYTES and time.monotonic() - began < SLOW_S * n / SLOW_BYTES:
            time.sleep(0.01)


def head_and_rest(s):
    text = b""
    while b"\r\n\r\n" not in text:
        piece = s.recv(65536)
        rig.check(piece, f"it ended in the head: {text}")
        text += piece
    head, _, rest = text.partition(b"\r\n\r\n")
    return head, rest


def download(proxy, digest):
    got, n = hashlib.sha256(), [0]

    def took(piece):
        got.update(piece)
        n[0] += len(piece)

    with socket.create_connection(("127.0.0.1", proxy.port)) as s:
        s.sendall(b"GET /body HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        _, rest = head_and_rest(s)
        took(rest)
        slowly(s, took)
    rig.check(n[0] == SIZE and got.hexdigest() == digest, f"{n[0]} of {SIZE} bytes arrived")


def receive_upload(listener, result):
    """An origin that reads slowly, and answers with the digest of the body."""
    s, _ = listener.accept()
    got, n = hashlib.sha256(), 0
    with s:
        _, piece = head_and_rest(s)
        began = time.monotonic()
        while True:
            got.update(piece)
            n += len(piece)
            if n >= SIZE:
                break
            while n < SLOW_BYTES and time.monotonic() - began < SLOW_S * n / SLOW_BYTES:
                time.sleep(0.01)
            piece = s.recv(262144)
            if not piece:
                break
        result.append((n, got.hexdigest()))
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")


def upload(proxy, listener, path, digest):
    result = []
    origin = threading.Thread(target=receive_upload, args=(listener, result), daemon=True)
    origin.start()
    with socket.create_connection(("127.0.0.1", proxy.port)) as s, open(path, "rb") as f:
        s.sendall(f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {SIZE}\r\n\r\n".encode())
        s.sendfile(f)
        head, _ = head_and_rest(s)
    origin.join(rig.PATIENCE_S)
    rig.check(head.startswith(b"HTTP/1.1 200 "), f"{head}")
    rig.check(result == [(SIZE, digest)], f"{result[0][0]} of {SIZE} bytes arrived")


def measured(proxy, what, transfer):
    watch, began, cpu = Watch(proxy), time.monotonic(), proxy.cpu_us()
    transfer()
    growth, took = watch.growth(), time.monotonic() - began
    print(f"{rig.ENGINE} {what} {SIZE // MIB} MiB in {took:.1f} s, RSS grew by {growth} KiB, "
          f"{(proxy.cpu_us() - cpu) / (SIZE / MIB):.0f} us of CPU a MiB", flush=True)
    rig.check(growth <= GROWTH_KIB_MAX, f"RSS grew by {growth} KiB")


def main():
    path = os.path.join(rig.TMP, "body")
    digest = made(path)
    origin, = rig.free_ports(1)
    rig.nginx(origin, server="location / { }")
    down = rig.Fairlead(CONFIG.format(origin=origin))
    rig.check(rig.get(down.port, "/nothing").status == 404, "no response from nginx")
    measured(down, "down", lambda: download(down, digest))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        up = rig.Fairlead(CONFIG.format(origin=listener.getsockname()[1]))
        measured(up, "up", lambda: upload(up, listener, path, digest))
    os.unlink(path)


rig.main(main)
