"""The clients of the soak, in one process: python3 soak_clients.py PORT SEED RESULT

Until SIGTERM, threads choose at random what to do: many requests on a connection, pipelines,
bodies in both directions, values of memcached, slow readers, single bytes, tunnels, and clients
that leave or reset. The content of each response is known in advance: it follows from the name
in the request, or is the request's body. RESULT gets, as JSON, the number of correct responses,
and for each other one: when, which client, what."""
import hashlib
import json
import random
import signal
import sys
import threading
import time

import soak_wire

THREADS = 14
FILES = 200
PAUSE_S = 0.01
PATTERN = bytes(97 + i % 23 for i in range(65536))    # the lab's pattern


def content(name, most=300_000):
    """The bytes of a name: no other name's begin or end like them."""
    seed = hashlib.sha256(name.encode()).digest()
    size = int.from_bytes(seed[:4], "big")
    size = size % most if size % 3 == 0 else size % 9000
    piece = hashlib.sha512(seed).digest() + seed
    return (piece * (size // len(piece) + 1))[:size] + b"." + name.encode()


KNOWN = {f"{kind}{i}": content(f"{kind}{i}") for kind in ("file", "value") for i in range(FILES)}


class Asked:
    """A request, and its correct response."""

    def __init__(self, backend, method, path, status=200, body=b"", fields="", sent=b""):
        self.backend, self.status, self.method = backend, status, method
        self.body = b"" if method == "HEAD" else body
        self.sent = sent
        self.path = path
        self.head = f"{method} {path} HTTP/1.1\r\nHost: soak\r\n{fields}\r\n".encode()


def some_file(rnd, method="GET"):
    name = f"file{rnd.randrange(FILES)}"
    return Asked("nginx", method, f"/file/{name}", body=KNOWN[name])


def some_value(rnd, method="GET"):
    name = f"value{rnd.randrange(FILES)}"
    return Asked("memcached", method, f"/cache/{name}", body=KNOWN[name])


def some_bytes(rnd, method="GET"):
    n = rnd.choice((0, 1, 500, 20_000, 300_000))
    body = (PATTERN * (n // len(PATTERN) + 1))[:n]
    return Asked("lab", method, f"/{rnd.choice(('bytes', 'chunked'))}/{n}", body=body)


def some_status(rnd, method="GET"):
    status = rnd.choice((200, 201, 204, 304, 404, 410, 500))
    body = b"" if status in (204, 304) else b"%d\n" % status
    return Asked("lab", method, f"/status/{status}", status=status, body=body)


def some_wait(rnd, method="GET"):
    return Asked("lab", method, f"/delay/{rnd.choice((1, 20, 150))}", body=b"ok\n")


def some_page(rnd):
    what = rnd.choices((some_file, some_value, some_bytes, some_status, some_wait),
                       (4, 4, 2, 2, 1))[0]
    return what(rnd, "HEAD" if rnd.random() < 0.05 else "GET")


def some_echo(rnd, chunked):
    body = rnd.randbytes(rnd.choice((0, 1, 100, 5000, 16384, 100_000)))
    if not chunked:
        return Asked("lab", "POST", "/echo", body=body,
                     fields=f"Content-Length: {len(body)}\r\n", sent=body)
    at, sent = 0, b""
    while at < len(body):
        piece = body[at:at + rnd.randrange(1, 30_000)]
        sent += b"%x\r\n%s\r\n" % (len(piece), piece)
        at += len(piece)
    return Asked("lab", "POST", "/echo", body=body, fields="Transfer-Encoding: chunked\r\n",
                 sent=sent + b"0\r\n\r\n")


class Clients:
    def __init__(self, port, seed):
        self.port, self.stop, self.lock = port, False, threading.Lock()
        self.good, self.failures, self.left = {}, [], 0
        self.threads = [threading.Thread(target=self.run, args=(random.Random(f"{seed}/{i}"),))
                        for i in range(THREADS)]
        for t in self.threads:
            t.start()

    def run(self, rnd):
        deeds = {self.many: 6, self.pipeline: 4, self.bodies: 4, self.leave: 3, self.slow: 1,
                 self.single_bytes: 1, self.tunnel: 1}
        while not self.stop:
            deed = rnd.choices(list(deeds), deeds.values())[0]
            deed(rnd)
            time.sleep(rnd.random() * 2 * PAUSE_S)

    # --- checks -------------------------------------------------------------------

    def failed(self, deed, asked, began, what, got=0):
        with self.lock:
            self.failures.append({"deed": deed, "backend": asked.backend, "path": asked.path,
                                  "began": began, "ended": time.monotonic(), "what": what,
                                  "got": got})

    def check(self, deed, asked, began, answer):
        """Returns whether the connection stays open."""
        status, fields, body = answer
        if status == asked.status and body == asked.body:
            with self.lock:
                self.good[deed] = self.good.get(deed, 0) + 1
        elif status in (502, 503, 504) or (asked.backend, status) == ("memcached", 404):
            self.failed(deed, asked, began, f"status {status}")
        else:
            self.failed(deed, asked, began, f"FOREIGN: {status} and {len(body)} bytes "
                        f"{body[:40]!r}, not {asked.status} and {len(asked.body)}")
        return fields.get("connection", "").lower() != "close"

    def wire(self, deed, asked, began, **more):
        try:
            return soak_wire.Wire(self.port, **more)
        except soak_wire.Broken as e:
            self.failed(deed, asked, began, str(e))
            return None

    def read(self, deed, wire, asked, began, slowly=None):
        """Checks the response; returns whether the connection stays open."""
        try:
            answer = wire.answer(asked.method == "HEAD", slowly)
        except soak_wire.Broken as e:
            self.failed(deed, asked, began, str(e), e.got)
            return False
        return self.check(deed, asked, began, answer)

    # --- actions ------------------------------------------------------------------

    def exchange(self, deed, asked, wire, slowly=None):
        began = time.monotonic()
        wire.send(asked.head + asked.sent)
        return self.read(deed, wire, asked, began, slowly)

    def many(self, rnd):
        asked = some_page(rnd)
        wire = self.wire("many", asked, time.monotonic())
        for _ in range(rnd.randrange(1, 30) if wire else 0):
            if self.stop or not self.exchange("many", asked, wire):
                break
            asked = some_page(rnd)
        if wire:
            wire.close()

    def pipeline(self, rnd):
        began = time.monotonic()
        line = [some_page(rnd) for _ in range(rnd.randrange(2, 12))]
        wire = self.wire("pipeline", line[0], began)
        if not wire:
            return
        wire.send(b"".join(a.head for a in line))
        for asked in line:
            if not self.read("pipeline", wire, asked, began):
                break
        wire.close()

    def bodies(self, rnd):
        asked = some_echo(rnd, rnd.random() < 0.5)
        wire = self.wire("bodies", asked, time.monotonic())
        for _ in range(3 if wire else 0):
            if not self.exchange("bodies", asked, wire):
                break
            asked = some_echo(rnd, rnd.random() < 0.5)
        if wire:
            wire.close()

    def slow(self, rnd):
        name = max((f"file{rnd.randrange(FILES)}" for _ in range(8)),
                   key=lambda n: len(KNOWN[n]))
        asked = Asked("nginx", "GET", f"/file/{name}", body=KNOWN[name],
                      fields="Connection: close\r\n" if rnd.random() < 0.5 else "")
        wire = self.wire("slow", asked, time.monotonic(), receive_bytes=4096)
        if wire:
            self.exchange("slow", asked, wire, lambda: time.sleep(0.02))
            wire.close()

    def single_bytes(self, rnd):
        asked = some_file(rnd)
        began = time.monotonic()
        wire = self.wire("single bytes", asked, began)
        if not wire:
            return
        for i in range(len(asked.head)):
            wire.send(asked.head[i:i + 1])
            time.sleep(0.001)
        self.read("single bytes", wire, asked, began)
        wire.close()

    def tunnel(self, rnd):
        asked = Asked("lab", "GET", "/upgrade", status=101,
                      fields="Connection: upgrade\r\nUpgrade: soak\r\n")
        wire = self.wire("tunnel", asked, time.monotonic())
        if not wire or not self.exchange("tunnel", asked, wire):
            return
        for _ in range(rnd.randrange(1, 8)):
            said, began = rnd.randbytes(rnd.randrange(1, 20_000)), time.monotonic()
            wire.taken = 0
            wire.send(said)
            try:
                back = wire.take(len(said))
            except soak_wire.Broken as e:
                self.failed("tunnel", asked, began, str(e), 0)
                break
            self.check("tunnel", Asked("lab", "GET", "/upgrade", body=said), began,
                       (200, {}, back))
        wire.close()

    def leave(self, rnd):
        """Sends a request and does not wait for the whole response."""
        try:
            wire = soak_wire.Wire(self.port)
        except soak_wire.Broken:
            return
        asked = some_echo(rnd, rnd.random() < 0.5) if rnd.random() < 0.5 else some_page(rnd)
        text = (asked.head + asked.sent) * rnd.choice((1, 1, 1, 5))
        wire.send(text[:rnd.randrange(1, len(text) + 1)] if rnd.random() < 0.5 else text)
        time.sleep(rnd.random() * 0.05)
        (wire.reset if rnd.random() < 0.5 else wire.close)()
        with self.lock:
            self.left += 1


def main():
    port, seed, result = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    clients = Clients(port, seed)
    print("ready", flush=True)
    while not over.wait(1):
        pass
    clients.stop = True
    for t in clients.threads:
        t.join()
    with open(result, "w") as f:
        json.dump({"good": clients.good, "failures": clients.failures, "left": clients.left},
                  f)


if __name__ == "__main__":
    main()
