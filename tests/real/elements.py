#!/usr/bin/env python3
"""The proxy sends what it has received completely before it waits for more, and reports what
stays incomplete. Client, origin and cache are this script. Each sends one element of a message (a
head, a chunk with its CRLF, trailers, a 1xx, a request of a pipeline, a value of a cache) and
pauses until the other side has all of it.
Arguments: the names of some cases, else all are tried."""
# timeout: 300
# asan
import json
import socket
import struct

import rig

CONFIG = """
access_log: {{ path: {log}, format: json }}
upstreams:
  app: {{ servers: [127.0.0.1:{origin}], response_timeout: 20s, keepalive: 0 }}
  cache: {{ protocol: memcached, servers: [127.0.0.1:{cache}], connections_per_server: 1, timeout: 10s }}
routes:
  - {{ prefix: /cache/, memcached: {{ upstream: cache, key: "${{path.rest}}" }} }}
  - {{ prefix: /tried/, proxy: {{ upstream: app }}, retry: {{ tries: 3, on: [reset, 503] }},
       deadline: 60s, hedge: {{ percentile: 95 }} }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
limits: {{ request_body: none }}
"""
WITHHELD_S = 5    # only waited for if an element does not arrive
TIMES = 20        # for cases that depend on how the kernel splits segments


class Peer:
    """One TCP connection. `seen`: bytes that were received and not checked yet."""

    def __init__(self, sock):
        self.sock, self.seen = sock, b""
        sock.settimeout(WITHHELD_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def say(self, text):
        self.sock.sendall(text if isinstance(text, bytes) else text.encode())
        return self

    def has(self, *parts):
        """Exactly these bytes arrive, while the other side pauses."""
        wanted = b"".join(p if isinstance(p, bytes) else p.encode() for p in parts)
        while len(self.seen) < len(wanted):
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                data = b""
            rig.check(data, lambda: f"withheld: {wanted[len(self.seen):][:80]!r} "
                                    f"behind {self.seen[-80:]!r}")
            self.seen += data
        rig.check(self.seen == wanted, lambda: f"got {self.seen[:300]!r}\nnot {wanted[:300]!r}")
        self.seen = b""
        return self

    def head(self):
        """A head arrives, with this first line and nothing behind it."""
        while b"\r\n\r\n" not in self.seen:
            data = self.sock.recv(65536)
            rig.check(data, lambda: f"ended in a head: {self.seen!r}")
            self.seen += data
        head, _, self.seen = self.seen.partition(b"\r\n\r\n")
        rig.check(not self.seen, lambda: f"behind the head: {self.seen!r}")
        return head.decode("latin1").split("\r\n")[0]

    def rest(self):
        """All bytes up to the end, and how the connection ended."""
        got, how = self.seen, "end"
        try:
            while data := self.sock.recv(65536):
                got += data
        except ConnectionResetError:
            how = "reset"
        self.seen = b""
        return got, how

    def close(self):
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Rig:
    def __init__(self):
        self.origins = socket.create_server(("127.0.0.1", 0))
        self.caches = socket.create_server(("127.0.0.1", 0))
        self.origins.settimeout(rig.PATIENCE_S)
        self.caches.settimeout(rig.PATIENCE_S)
        self.log = rig.os.path.join(rig.TMP, "access.log")
        self.proxy = rig.Fairlead(CONFIG.format(
            origin=self.origins.getsockname()[1], cache=self.caches.getsockname()[1],
            log=self.log), workers=1)

    def client(self):
        return Peer(socket.create_connection(("127.0.0.1", self.proxy.port)))

    def origin(self):
        return Peer(self.origins.accept()[0])

    def ask(self, request):
        client = self.client().say(request)
        return client, self.origin()

    def logged(self, path):
        """The log entry of the exchange with this path, which no other has."""
        def found():
            with open(self.log) as log:
                lines = [json.loads(line) for line in log if line.endswith("\n")]
            return [x for x in lines if f" {path} " in x["request"]]
        return rig.until(found, f"a line of {path}")[0]


def equal(got, wanted):
    rig.check(got == wanted, lambda: f"got {got!r:.300}\nwanted {wanted!r:.300}")


def get(path="/", version="1.1", fields=""):
    return f"GET {path} HTTP/{version}\r\nHost: x\r\n{fields}\r\n"


def post(path="/", fields="Transfer-Encoding: chunked\r\n"):
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"


OK = "HTTP/1.1 200 OK\r\n"
CHUNKED = OK + "Transfer-Encoding: chunked\r\n\r\n"
EVENTS = ("7\r\nevent0\n\r\n", "1\r\nx\r\n", "a\r\n0123456789\r\n")
LAST = "0\r\nX-Sum: 1\r\n\r\n"
BIG = b"30000\r\n" + b"b" * 0x30000 + b"\r\n"
MANY = "".join(f"2\r\n{i:02}\r\n" for i in range(90))


def content(text):
    """The parts of complete chunks that are the same for sender and receiver."""
    text, out = text if isinstance(text, bytes) else text.encode(), b""
    while text:
        line, _, text = text.partition(b"\r\n")
        n = int(line, 16)
        rig.check(text[n:n + 2] == b"\r\n", lambda: f"no CRLF behind {text[:n][-20:]!r}")
        out += text[:n]
        text = text[n + 2:]
    return out


def has_chunks(peer, sent):
    """The content arrives, in any chunks, each of them complete."""
    wanted = content(sent)
    while True:
        try:
            if content(peer.seen) == wanted:
                break
        except (AssertionError, ValueError):
            pass
        try:
            data = peer.sock.recv(262144)
        except TimeoutError:
            data = b""
        rig.check(data, lambda: f"withheld, behind {peer.seen[-40:]!r}")
        peer.seen += data
    peer.seen = b""


# --- responses ---------------------------------------------------------------------

def chunks_down(r):
    for path in ("/", "/tried/"):
        c, o = r.ask(get(path))
        o.head()
        o.say(CHUNKED)
        equal(c.head(), "HTTP/1.1 200 OK")
        for event in EVENTS:
            o.say(event)
            c.has(event)
        for event in (BIG, MANY):
            o.say(event)
            has_chunks(c, event)
        o.say(LAST)
        c.has(LAST)
        c.close(), o.close()


def chunk_with_its_head(r):
    """Elements as they mostly arrive in the first event."""
    c, o = r.ask(get())
    o.head()
    o.say(CHUNKED + EVENTS[0])
    while b"\r\n\r\n" not in c.seen:
        c.seen += c.sock.recv(65536)
    c.seen = c.seen.partition(b"\r\n\r\n")[2]
    c.has(EVENTS[0])
    c.close(), o.close()


def data_without_its_end(r):
    """The part of a chunk that has arrived is forwarded at once, as a chunk."""
    c, o = r.ask(get())
    o.head()
    o.say(CHUNKED)
    c.head()
    o.say("7\r\nevent0\n")
    c.has(EVENTS[0])
    o.say("\r\n7\r\neve")
    c.has("3\r\neve\r\n")
    o.say("nt1\n\r\n" + LAST)
    c.has("4\r\nnt1\n\r\n" + LAST)
    c.close(), o.close()


def interim_down(r):
    for path in ("/", "/tried/"):
        c, o = r.ask(get(path))
        o.head()
        for status in ("100 Continue", "103 Early Hints", "103 Early Hints"):
            o.say(f"HTTP/1.1 {status}\r\n\r\n")
            equal(c.head(), f"HTTP/1.1 {status}")
        o.say(OK + "Content-Length: 4\r\n\r\n")
        equal(c.head(), "HTTP/1.1 200 OK")
        for half in ("ab", "cd"):
            o.say(half)
            c.has(half)
        c.close(), o.close()


def other_framings_down(r):
    """Without chunks: with a length, close-delimited, and to an HTTP/1.0 client."""
    for version, fields, said, heard in (
            ("1.1", "Content-Length: 9\r\n", ("abc", "def"), ("abc", "def")),
            ("1.1", "", ("abc", "def"), ("3\r\nabc\r\n", "3\r\ndef\r\n")),
            ("1.0", "", ("abc", "def"), ("abc", "def")),
            ("1.0", "Transfer-Encoding: chunked\r\n", EVENTS,
             [content(e) for e in EVENTS])):
        c, o = r.ask(get(version=version))
        o.head()
        o.say(OK + fields + "\r\n")
        equal(c.head(), "HTTP/1.1 200 OK")
        for out, into in zip(said, heard):
            o.say(out)
            c.has(into)
        c.close(), o.close()


# --- requests ----------------------------------------------------------------------

def chunks_up(r):
    """An origin waits for a complete chunk, and a client for its response."""
    for path in ("/", "/tried/"):
        c, o = r.ask(post(path))
        equal(o.head(), f"POST {path} HTTP/1.1")
        for event in EVENTS:
            c.say(event)
            o.has(event)
        for event in (BIG, MANY):
            c.say(event)
            has_chunks(o, event)
        c.say(LAST)
        o.has(LAST)
        o.say(OK + "Content-Length: 0\r\n\r\n")
        equal(c.head(), "HTTP/1.1 200 OK")
        c.close(), o.close()


def both_bodies_at_once(r):
    """Both bodies at the same time, chunk by chunk."""
    c, o = r.ask(post())
    o.head()
    o.say(CHUNKED)
    c.head()
    for event in EVENTS:
        c.say(event)
        o.has(event)
        o.say(event)
        c.has(event)
    c.say(LAST)
    o.has(LAST)
    o.say(LAST)
    c.has(LAST)
    c.close(), o.close()


def length_up(r):
    c, o = r.ask(post(fields="Content-Length: 9\r\nExpect: 100-continue\r\n"))
    o.head()
    o.say("HTTP/1.1 100 Continue\r\n\r\n")
    equal(c.head(), "HTTP/1.1 100 Continue")
    for third in ("abc", "def", "ghi"):
        c.say(third)
        o.has(third)
    o.say(OK + "Content-Length: 0\r\n\r\n")
    equal(c.head(), "HTTP/1.1 200 OK")
    c.close(), o.close()


def halves_of_a_pipeline(r):
    """A request is forwarded and answered although the next one is incomplete."""
    first, second = get("/first"), post("/second", "Content-Length: 2\r\n")
    c = r.client().say(first + second[:20])
    o = r.origin()
    equal(o.head(), "GET /first HTTP/1.1")
    o.say(OK + "Content-Length: 0\r\n\r\n")
    equal(c.head(), "HTTP/1.1 200 OK")
    c.say(second[20:])
    o.close()
    o = r.origin()
    equal(o.head(), "POST /second HTTP/1.1")
    c.say("ab" + get("/third")[:7])
    o.has("ab")
    o.say(CHUNKED + EVENTS[0])
    while b"\r\n\r\n7" not in c.seen:
        c.seen += c.sock.recv(65536)
    c.seen = c.seen.partition(b"\r\n\r\n")[2]
    c.has(EVENTS[0])
    o.say(LAST)
    c.has(LAST)
    c.close(), o.close()


# --- others ------------------------------------------------------------------------

def values(r):
    """A reply and half of the next one, on the only link to a cache."""
    c1, c2 = r.client().say(get("/cache/one")), r.client()
    cache = Peer(r.caches.accept()[0])
    cache.has("get one\r\n")
    c2.say(get("/cache/two"))
    cache.has("get two\r\n")
    cache.say("VALUE one 0 3\r\nabc\r\nEND\r\nVALUE two 0 3\r\nde")
    while not c1.seen.endswith(b"\r\n\r\nabc"):
        c1.seen += c1.sock.recv(65536)
    cache.say("f\r\nEND\r\n")
    while not c2.seen.endswith(b"\r\n\r\ndef"):
        c2.seen += c2.sock.recv(65536)
    c1.close(), c2.close(), cache.close()


def tunnel(r):
    c, o = r.ask(get(fields="Connection: upgrade\r\nUpgrade: x\r\n"))
    o.head()
    o.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    equal(c.head(), "HTTP/1.1 101 Switching Protocols")
    for _ in range(3):
        c.say("q")
        o.has("q")
        o.say("a")
        c.has("a")
    c.close(), o.close()


# --- incomplete messages -------------------------------------------------------------

def broken(r, path, said, version):
    """A new connection whose origin sends all its bytes and ends at the same moment. Returns
    what the client has in the end, and how its connection ended."""
    c, o = r.ask(get(path, version, "Connection: close\r\n"))
    o.head()
    o.say(said)
    o.close()
    got = c.rest()
    c.close()
    return got


def honest(r, path, got, how, whole):
    """Either a response of the proxy, because nothing had been forwarded; or the complete elements
    of the origin's response, and visibly not all of it. The log says which, and how much."""
    head, _, body = got.partition(b"\r\n\r\n")
    line = r.logged(path)
    if head.startswith(b"HTTP/1.1 502 "):
        rig.check(b"\r\nProxy-Status: fairlead; error=" in head, lambda: f"{head}")
        equal((line["status"], line["sent_bytes"], line["server"]), (502, len(body), ""))
        equal((body, how), (b"502 Bad Gateway\n", "end"))
        return
    rig.check(got, lambda: f"{path}: no bytes, then {how}: {line}")
    rig.check(head.startswith(b"HTTP/1.1 500 "), lambda: f"{head}")
    equal((line["status"], line["sent_bytes"]), (500, len(whole)))
    equal(body if b"chunked" not in head else content(body), whole)
    equal(how, "reset" if b"chunked" not in head and b"Content-Length" not in head else "end")


ERROR = "HTTP/1.1 500 Internal Server Error\r\n"


def broken_at_once(r):
    """The head and the break arrive at the same moment, or nearly."""
    tried = []
    for version, said, whole in (
            ("1.1", "Content-Length: 123\r\n\r\n", b""),
            ("1.1", "Content-Length: 123\r\n\r\nabc", b"abc"),
            ("1.1", "Transfer-Encoding: chunked\r\n\r\nx\r\n", b""),
            ("1.1", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"abc"),
            ("1.1", "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd", b"abc"),
            ("1.1", "Transfer-Encoding: chunked\r\n\r\n0\r\nX y\r\n\r\n", b""),
            ("1.0", "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd", b"abc")):
        for _ in range(TIMES):
            path = f"/at-once/{len(tried)}"
            tried.append((path, *broken(r, path, ERROR + said, version), whole))
    for one in tried:
        honest(r, *one)


def broken_later(r):
    """Elements that were complete before the break arrive, although the client reads them later."""
    for n, (version, fields, said, whole, cut) in enumerate((
            ("1.1", "Content-Length: 99999\r\n", "abc", b"abc", "end"),
            ("1.1", "Transfer-Encoding: chunked\r\n", EVENTS[0] + "3\r\nabc\r\n7\r\neventual",
             b"event0\nabceventua", "end"),
            ("1.1", "Transfer-Encoding: chunked\r\n", EVENTS[0] + "x", b"event0\n", "end"),
            ("1.1", "", "abc", b"abc", "reset"),
            ("1.0", "Transfer-Encoding: chunked\r\n", EVENTS[0] + "x", b"event0\n", "end"),
            ("1.0", "", "x" * 300000, b"x" * 300000, "reset"))):
        path = f"/later/{n}"
        c, o = r.ask(get(path, version))
        o.head()
        o.say(ERROR + fields + "\r\n")
        equal(c.head(), "HTTP/1.1 500 Internal Server Error")
        o.say(said)
        rig.time.sleep(0.2)    # else the origin's reset discards its own bytes
        o.close() if cut == "end" else o.reset()
        line = r.logged(path)
        equal((line["status"], line["sent_bytes"]), (500, len(whole)))
        got, how = c.rest()
        chunked = version == "1.1" and "Content-Length" not in fields
        equal(content(got) if chunked else got, whole)
        equal(how, "end" if chunked or "Content-Length" in fields else "reset")
        c.close()


def broken_in_pipeline(r):
    """In a pipeline: earlier responses are complete, and the broken one is a response, too."""
    c, o = r.ask(get("/behind/1") + get("/behind/2", fields="Connection: close\r\n"))
    o.head()
    o.say(OK + "Content-Length: 5\r\n\r\nwhole")
    o.close()
    o = r.origin()
    o.head()
    o.say(ERROR + "Content-Length: 9\r\n\r\n")
    o.close()
    while b"\r\n\r\nwhole" not in c.seen:
        c.seen += c.sock.recv(65536)
    c.seen = c.seen.partition(b"\r\n\r\nwhole")[2]
    rig.check(c.rest()[0].split(b" ")[1] in (b"500", b"502"), "no second response")
    c.close()


def broken_tunnel(r):
    """Bytes that arrived before a reset are forwarded before the reset."""
    c, o = r.ask(get(fields="Connection: upgrade\r\nUpgrade: x\r\n"))
    o.head()
    o.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    c.head()
    o.say("b" * 300000)
    rig.time.sleep(0.2)
    o.reset()
    rig.time.sleep(0.2)
    equal(c.rest(), (b"b" * 300000, "reset"))
    c.close()


CASES = (chunks_down, chunk_with_its_head, data_without_its_end, interim_down, other_framings_down,
         chunks_up, both_bodies_at_once, length_up, halves_of_a_pipeline, values, tunnel,
         broken_at_once, broken_later, broken_in_pipeline, broken_tunnel)


def test():
    r = Rig()
    failed = []
    for case in CASES:
        if rig.sys.argv[1:] and case.__name__ not in rig.sys.argv[1:]:
            continue
        try:
            case(r)
        except (AssertionError, OSError, IndexError) as e:
            failed.append(case.__name__)
            print(f"{case.__name__}: {type(e).__name__} {e}", flush=True)
        rig.check(r.proxy.said("worker process") is False, lambda: r.proxy.log())
    rig.check(not failed, lambda: f"failed: {' '.join(failed)}")


rig.main(test)
