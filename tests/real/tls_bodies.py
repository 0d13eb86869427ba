#!/usr/bin/env python3
"""Large bodies through TLS in both directions arrive intact: at several sizes of records, from
clients that write records of any size, over segments cut at any place, with slow readers, and
with both kinds of records. 48 MiB each way; with FULL a gigabyte."""
# asan
import hashlib
import os
import random
import socket
import ssl
import subprocess
import threading
import time

import rig
import tlsrig

MIB = 1 << 20
SIZE = 1024 * MIB if rig.FULL else 48 * MIB
SMALL = SIZE // 8    # for what Python encrypts or cuts byte by byte
SIZES = ("auto", "1KiB", "1500B", "4093B", "16KiB")
BLOCK = hashlib.shake_128(b"fairlead").digest(997 * 1024 + 1)    # no multiple of a record


def body(size, seed):
    """The body of this seed, in blocks."""
    left, at = size, seed * 7919 % len(BLOCK)
    while left:
        piece = BLOCK[at:at + min(left, 65536)]
        yield piece
        left -= len(piece)
        at = (at + len(piece)) % len(BLOCK)


def digest_of(size, seed):
    digest = hashlib.sha256()
    for piece in body(size, seed):
        digest.update(piece)
    return digest.hexdigest()


class Origin(threading.Thread):
    """Answers GET /SIZE/SEED with that body, and a PUT with the digest of what it got."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            s, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        with s, s.makefile("rb") as f:
            while line := f.readline():
                n = 0
                while (field := f.readline()) not in (b"\r\n", b""):
                    name, _, value = field.partition(b":")
                    n = int(value) if name.lower() == b"content-length" else n
                if line.startswith(b"GET "):
                    size, seed = map(int, line.split()[1].split(b"/")[1:3])
                    s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                    for piece in body(size, seed):
                        s.sendall(piece)
                    continue
                digest = hashlib.sha256()
                while n:
                    piece = f.read(min(n, MIB))
                    if not piece:
                        return
                    digest.update(piece)
                    n -= len(piece)
                s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" +
                          digest.hexdigest().encode())


# --- clients ----------------------------------------------------------------------------

def curl(world, *options, path="/", version="1.3"):
    return subprocess.Popen(
        ["curl", "-sS", "--fail", "--http1.1", f"--tlsv{version}", "--tls-max", version,
         "--resolve", f"localhost:{world.port}:127.0.0.1", "--cacert", world.pki.root.file,
         *options, f"https://localhost:{world.port}{path}"], stdout=subprocess.PIPE)


def hashed(process, pause_every=0):
    digest, n = hashlib.sha256(), 0
    while piece := process.stdout.read(262144):
        digest.update(piece)
        n += len(piece)
        if pause_every and n % pause_every < len(piece):
            time.sleep(0.02)
    rig.check(process.wait() == 0, f"curl ended with {process.returncode}")
    return digest.hexdigest()


def down(world, size, version, pause_every=0):
    seed = random.randrange(1000)
    got = hashed(curl(world, path=f"/{size}/{seed}", version=version), pause_every)
    rig.check(got == digest_of(size, seed), f"{size} bytes down are others")


def up(world, path, digest, version):
    got = curl(world, "-T", path, "-H", "Expect:", path="/up", version=version)
    said = got.stdout.read().decode()
    rig.check(got.wait() == 0 and said == digest, f"an upload is another: {said}")


def cut(world, size, version):
    """A client of our own: records of 1 to 16384 bytes, segments of any length."""
    choose, seed = random.Random(size), random.randrange(1000)
    digest, plain = hashlib.sha256(), b""
    with tlsrig.Socket(world.port, tlsrig.context(world.pki, version), patience_s=60) as client:
        client.sendall(b"PUT /cut HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
        sealed = b""
        for piece in body(size, seed):
            digest.update(piece)
            plain += piece
            while plain:
                n = choose.choice((1, 2, 100, 1000, 5000, 16384, 16384, 16384))
                sealed += client.seal(plain[:n])
                plain = plain[n:]
            while sealed:
                n = choose.choice((1, 3, 50, 1460, 4096, 16406, 40000, 40000))
                client.sock.sendall(sealed[:n])
                sealed = sealed[n:]
        text = b""
        while len(text.partition(b"\r\n\r\n")[2]) < 64:
            piece = client.recv(4096)
            rig.check(piece, f"it ended: {text}")
            text += piece
    rig.check(text.endswith(digest.hexdigest().encode()), "what was cut is another")


class World:
    def __init__(self, origin, pki, more):
        self.pki = pki
        self.proxy = tlsrig.front(origin.port, pki, more)
        self.port = self.proxy.port


def at_once(*calls):
    failed = []

    def call(it):
        try:
            it()
        except BaseException as e:    # reported by the caller
            failed.append(e)
    threads = [threading.Thread(target=call, args=(it,)) for it in calls]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failed:
        raise failed[0]


def main():
    origin, made = Origin(), tlsrig.Pki()
    path = os.path.join(rig.TMP, "body")
    with open(path, "wb") as f:
        f.writelines(body(SIZE, 1))
    digest = digest_of(SIZE, 1)
    settings = [f", record_size: {size}" for size in SIZES] + [", records: openssl"]
    for more in ("",) if tlsrig.STAND_IN else settings:
        began = time.monotonic()
        world = World(origin, made, more)
        share = SIZE if rig.FULL or more in ("", settings[0], settings[-1]) else SMALL
        for version, name in (("1.3", ssl.TLSVersion.TLSv1_3), ("1.2", ssl.TLSVersion.TLSv1_2)):
            at_once(lambda: down(world, share, version), lambda: up(world, path, digest, version))
            at_once(lambda: down(world, SMALL, version, MIB), lambda: cut(world, SMALL // 4, name))
        print(f"{rig.ENGINE}{more}: {share // MIB} MiB each way, twice, "
              f"{time.monotonic() - began:.1f} s", flush=True)
        world.proxy.stop()
    os.unlink(path)


rig.main(main)
