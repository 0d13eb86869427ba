#!/usr/bin/env python3
"""What varnishtest cannot send or see: the exact bytes on both sides, half-closed connections, and
whether a connection ended with a reset. Client and origin are this script.
Arguments: the names of some cases, else all are tried."""
# asan
import socket
import struct
import threading

import rig

CONFIG = """
access_log: {{ path: {log} }}
upstreams:
  app: {{ servers: [127.0.0.1:{origin}], response_timeout: 20s }}
  one: {{ servers: [127.0.0.1:{origin}], requests: 1, queue_timeout: 20s }}
  few: {{ servers: [127.0.0.1:{origin}], keepalive: 1 }}
  deaf: {{ servers: [127.0.0.1:{deaf}], connect_timeout: 300ms }}
  either: {{ servers: [127.0.0.1:{deaf}, 127.0.0.1:{origin}], connect_timeout: 300ms }}
routes:
  - {{ path: /deaf, proxy: {{ upstream: deaf }} }}
  - {{ prefix: /one/, proxy: {{ upstream: one }} }}
  - {{ prefix: /half/, proxy: {{ upstream: app }}, half_close: allow }}
  - {{ prefix: /few/, proxy: {{ upstream: few }} }}
  - {{ path: /either, proxy: {{ upstream: either }} }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
limits: {{ request_body: 1MiB }}
"""
BYTES = 12_000_000    # more than all buffers on the way hold


class Wire:
    """One TCP connection, read and written as bytes."""

    def __init__(self, sock):
        self.sock, self.seen = sock, b""
        sock.settimeout(rig.PATIENCE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())
        return self

    def more(self):
        data = self.sock.recv(65536)
        self.seen += data
        return data

    def until(self, mark):
        """The bytes up to and including this mark."""
        mark = mark if isinstance(mark, bytes) else mark.encode()
        while mark not in self.seen:
            rig.check(self.more(), lambda: f"ended before {mark!r}: {self.seen!r}")
        n = self.seen.index(mark) + len(mark)
        got, self.seen = self.seen[:n], self.seen[n:]
        return got

    def head(self):
        """The fields of a head as a list of pairs, without its first line."""
        lines = self.until("\r\n\r\n").decode("latin1").split("\r\n")[:-2]
        return lines[:1] + [tuple(line.split(": ", 1)) for line in lines[1:]]

    def rest(self):
        """All bytes up to the end, and how it came: "end" or "reset"."""
        try:
            while self.more():
                pass
            how = "end"
        except ConnectionResetError:
            how = "reset"
        got, self.seen = self.seen, b""
        return got, how

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Rig:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(rig.PATIENCE_S)
        self.deaf = full_listener()
        self.log = rig.os.path.join(rig.TMP, "access.log")
        self.proxy = rig.Fairlead(CONFIG.format(
            origin=self.listener.getsockname()[1], log=self.log,
            deaf=self.deaf[0].getsockname()[1]), workers=1)

    def client(self):
        return Wire(socket.create_connection(("127.0.0.1", self.proxy.port)))

    def origin(self):
        return Wire(self.listener.accept()[0])

    def ask(self, request):
        """A new client and the origin's connection that its request came on."""
        client = self.client().send(request)
        return client, self.origin()


def full_listener():
    """A listener with a full backlog: connecting to it never completes."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(4):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(listener.getsockname())
        waiting.append(s)
    return [listener, *waiting]


def equal(got, wanted):
    rig.check(got == wanted, lambda: f"got {got!r}\nwanted {wanted!r}")


def get(path="/", fields="", version="1.1"):
    return f"GET {path} HTTP/{version}\r\nHost: x\r\n{fields}\r\n"


def post(fields, body=""):
    return f"POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}"


def done(client, origin):
    client.close()
    origin.close()


# --- forwarded messages ------------------------------------------------------------

def fields_in_order(r):
    c, o = r.ask(get("/a?b", "X-A: 1\r\nY:2  \r\nx-a:\t3\r\nEmpty:\r\nZ: \xe9\r\n"))
    equal(o.head(), ["GET /a?b HTTP/1.1", ("Host", "x"), ("X-A", "1"), ("Y", "2"),
                     ("x-a", "3"), ("Empty", ""), ("Z", "\xc3\xa9"), ("Via", "1.1 fairlead"),
                     ("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Proto", "http"),
                     ("X-Forwarded-Host", "x"), ("X-Forwarded-Port", "80")])
    o.send("HTTP/1.1 200 Quite all right\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
           "Date: now\r\nContent-Length: 0\r\n\r\n")
    equal(c.head(), ["HTTP/1.1 200 Quite all right", ("Set-Cookie", "a"),
                     ("Set-Cookie", "b"), ("Date", "now"), ("Content-Length", "0"),
                     ("Via", "1.1 fairlead")])
    done(c, o)


def chunks_anew(r):
    c, o = r.ask(post("Transfer-Encoding: chunked\r\n",
                      "003;a=\"b;c\"\r\nabc\r\n2 ;x\r\nde\r\n0;end\r\n\r\n"))
    rig.check(("Transfer-Encoding", "chunked") in o.head(), "not chunked")
    equal(joined(o), (b"abcde", b""))
    o.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
           "001;q\r\nx\r\n00A;r=s\r\n0123456789\r\n00\r\n\r\n")
    c.head()
    equal(joined(c), (b"x0123456789", b""))
    done(c, o)


def joined(wire):
    """Content and trailer section of a chunked body that has no extensions."""
    content = b""
    while True:
        line = wire.until("\r\n")[:-2]
        rig.check(line.isalnum(), lambda: f"chunk line {line!r}")
        if int(line, 16) == 0:
            section = b""
            while not (b"\r\n" + section).endswith(b"\r\n\r\n"):
                section += wire.until("\r\n")
            return content, section[:-2]
        while len(wire.seen) < int(line, 16) + 2:
            rig.check(wire.more(), "ended within a chunk")
        n = int(line, 16)
        equal(wire.seen[n:n + 2], b"\r\n")
        content += wire.seen[:n]
        wire.seen = wire.seen[n + 2:]


# A trailer must not be taken for a field of the head that frames, routes or authenticates.
TRAILERS = ("X-Sum: 1\r\nContent-Length: 5\r\nHost: y\r\n"
            "Authorization: z\r\nConnection: close\r\nSet-Cookie: a\r\nX-More: 2\r\n")


def trailers(r):
    c, o = r.ask(post("Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\nTE: trailers\r\n",
                      "1\r\na\r\n0\r\n" + TRAILERS + "\r\n"))
    rig.check(("Trailer", "X-Sum") in o.head(), "Trailer is lost")
    equal(joined(o), (b"a", b"X-Sum: 1\r\nX-More: 2\r\n"))
    o.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n"
           + TRAILERS + "\r\n")
    c.head()
    equal(joined(c), (b"b", b"X-Sum: 1\r\nX-More: 2\r\n"))
    # Both connections can be used again.
    c.send(get("/next"))
    equal(o.head()[0], "GET /next HTTP/1.1")
    o.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")
    c.until("\r\n\r\nnext")
    done(c, o)


def trailers_to_1_0(r):
    c, o = r.ask(get(version="1.0"))
    o.head()
    o.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n"
           "X-Sum: 1\r\n\r\n")
    c.head()
    equal(c.rest(), (b"b", "end"))
    done(c, o)


def byte_by_byte(r):
    c = r.client()
    for b in post("Transfer-Encoding: chunked\r\n", "2;x\r\nab\r\n0\r\nT: u\r\n\r\n"):
        c.send(b)
    o = r.origin()
    o.head()
    equal(joined(o), (b"ab", b"T: u\r\n"))
    for b in ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"
              "\r\n\r\n2;x\r\nab\r\n0\r\nT: u\r\n\r\n"):
        o.send(b)
    equal(c.head()[0], "HTTP/1.1 100 Continue")
    equal(c.head()[0], "HTTP/1.1 200 OK")
    equal(joined(c), (b"ab", b"T: u\r\n"))
    done(c, o)


def pipelined_deep(r):
    n = 300
    c, o = r.ask("".join(get(f"/{i}") for i in range(n)))
    for i in range(n):
        equal(o.head()[0], f"GET /{i} HTTP/1.1")
        o.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(str(i))}\r\n\r\n{i}")
    for i in range(n):
        c.head()
        while len(c.seen) < len(str(i)):
            c.more()
        equal(c.seen[:len(str(i))].decode(), str(i))
        c.seen = c.seen[len(str(i)):]
    done(c, o)


OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def last_in_first_out(r):
    """The connection that was used last is reused first: it is most likely still open."""
    (c1, o1), (c2, o2) = r.ask(get()), r.ask(get())
    for c, o in ((c1, o1), (c2, o2)):
        o.head()
        o.send(OK)
        c.until("ok")
    for _ in range(3):
        c1.send(get("/last"))
        equal(o2.head()[0], "GET /last HTTP/1.1")
        o2.send(OK)
        c1.until("ok")
    done(c1, o1)
    done(c2, o2)


ASKS = ("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: NTLM\r\n"
        "Content-Length: 0\r\n\r\n")


def asked_on(client, origin, request):
    client.send(request)
    equal(origin.head()[0], request.split("\r\n")[0])
    origin.send(OK)
    client.until("ok")


def identity_of_one_client(r):
    """A connection that was authenticated serves its client only, and ends with it."""
    a, o = r.ask(get("/a1"))
    o.head()
    o.send(ASKS)
    equal(a.head()[0], "HTTP/1.1 401 Unauthorized")
    b, p = r.ask(get("/b1"))    # a connection of its own
    equal(p.head()[0], "GET /b1 HTTP/1.1")
    p.send(OK)
    b.until("ok")
    asked_on(a, o, get("/a2", "Authorization: NTLM TlRM\r\n"))
    asked_on(a, o, get("/a3"))
    a.close()
    equal(o.rest()[0], b"")
    o.close()
    # Credentials on a connection that was shared.
    asked_on(b, p, get("/b2", "Authorization: Negotiate YII=\r\n"))
    c, q = r.ask(get("/c1"))
    q.head()
    q.send(OK)
    c.until("ok")
    asked_on(b, p, get("/b3"))
    p.close()
    rig.time.sleep(0.1)
    asked_on(b, q, get("/b4"))
    c.close()
    done(b, q)


def idle_limit(r):
    """With keepalive: 1 one of two idle connections is kept."""
    (c1, o1), (c2, o2) = r.ask(get("/few/1")), r.ask(get("/few/2"))
    for c, o in ((c1, o1), (c2, o2)):
        o.head()
        o.send(OK)
        c.until("ok")
    equal(o2.rest(), (b"", "end"))
    c2.send(get("/few/3"))
    equal(o1.head()[0], "GET /few/3 HTTP/1.1")
    o1.send(OK)
    c2.until("ok")
    done(c1, o1)
    done(c2, o2)


def nothing_behind_close(r):
    """Bytes after a request with Connection: close are not served."""
    c, o = r.ask(get("/one", "Connection: close\r\n") + get("/two"))
    equal(o.head()[0], "GET /one HTTP/1.1")
    o.send(OK)
    got, how = c.rest()
    equal((got.count(b"HTTP/1.1 "), how), (1, "end"))
    o.half_close()
    equal(o.rest()[0], b"")
    done(c, o)


def additional_bytes_are_dropped(r):
    """Bytes after a response are not the next response, however soon the next request comes."""
    c, o = r.ask(get("/one") + get("/two"))
    o.head()
    o.send(OK + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
    c.until("ok")
    equal(o.rest()[0], b"")
    o.close()
    o = r.origin()
    equal(o.head()[0], "GET /two HTTP/1.1")
    o.send(OK)
    rig.check(b"forged" not in c.until("ok"), "taken for a response")
    done(c, o)


# --- how connections end -----------------------------------------------------------

def tunnel(r):
    c, o = r.ask(get(fields="Connection: upgrade\r\nUpgrade: x\r\n"))
    o.head()
    o.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
    equal(c.head()[0], "HTTP/1.1 101 Switching Protocols")
    return c, o


def tunnel_half_closed_by_client(r):
    c, o = tunnel(r)
    c.send(b"question\x00\xff")
    c.half_close()
    equal(o.rest(), (b"question\x00\xff", "end"))
    o.send(b"answer\x00" * 20000)
    o.close()
    equal(c.rest(), (b"answer\x00" * 20000, "end"))
    c.close()


def tunnel_half_closed_by_origin(r):
    c, o = tunnel(r)
    o.send("greeting")
    o.half_close()
    equal(c.rest(), (b"greeting", "end"))
    c.send("still here")
    c.close()
    equal(o.rest(), (b"still here", "end"))
    o.close()


def tunnel_reset(r):
    c, o = tunnel(r)
    o.reset()
    equal(c.rest(), (b"", "reset"))
    c.close()


def request_behind_refused_upgrade(r):
    c, o = r.ask(get("/one", "Connection: upgrade\r\nUpgrade: x\r\n") + get("/two"))
    o.head()
    equal(o.seen, b"")
    o.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    c.head()
    equal(o.head()[:2], ["GET /two HTTP/1.1", ("Host", "x")])
    o.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    c.head()
    done(c, o)


def half_closed_client_is_answered(r):
    c = r.client().send(get("/half/"))
    c.half_close()
    o = r.origin()
    o.head()
    o.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    got, how = c.rest()
    rig.check(got.endswith(b"\r\n\r\nok") and how == "end", lambda: f"{got!r} {how}")
    done(c, o)


def left(r, client, origin=None):
    """The client's connection ends with FIN and without a byte, and the origin's ends, too."""
    began = rig.time.monotonic()
    equal(client.rest(), (b"", "end"))
    client.close()
    if origin:
        equal(origin.rest()[0], b"")
        origin.close()
    rig.check(rig.time.monotonic() - began < 4, "this took long")


def closed_client_is_dropped(r):
    for request, mark in ((get(), "\r\n\r\n"), (get(version="1.0"), "\r\n\r\n"),
                          (get() + get("/two") + "\r\n", "\r\n\r\n"),
                          (post("Content-Length: 10\r\n", "0123"), "\r\n\r\n0123")):
        c, o = r.ask(request)
        o.until(mark)
        c.half_close()
        left(r, c, o)
    c = r.client()    # FIN in one segment with the request: mostly it is not forwarded
    c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    c.send(get("/same"))
    c.half_close()
    left(r, c)
    r.listener.settimeout(0.3)
    try:
        r.origin().close()
    except TimeoutError:
        pass
    r.listener.settimeout(rig.PATIENCE_S)


def fin_behind_unread_bytes(r):
    """Before the FIN there are more bytes than the proxy receives while the first request waits."""
    c, o = r.ask(get())
    o.head()
    c.send(get("/more") * 3000)
    c.half_close()
    left(r, c, o)


def client_left_during_response(r):
    """A response that has begun is delivered."""
    c, o = r.ask(get() + get("/two"))
    o.head()
    o.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
    c.until("ab")
    c.half_close()
    rig.time.sleep(0.1)
    o.send("cd")
    equal(c.rest(), (b"cd", "end"))
    done(c, o)


def clients_that_left_the_queue(r):
    c, o = r.ask(get("/one/held"))
    o.head()
    gone = [r.client().send(get("/one/gone")) for _ in range(5)]
    stays = r.client().send(get("/one/stays"))
    rig.time.sleep(0.1)
    for g in gone:
        g.half_close()
    for g in gone:
        left(r, g)
    o.send(OK)
    c.until("ok")
    equal(o.head()[0], "GET /one/stays HTTP/1.1")
    o.send(OK)
    stays.until("ok")
    stays.close()
    done(c, o)


def broken_answers(r):
    """The client must see that each response is incomplete: by its framing, or by a reset."""
    whole = "HTTP/1.1 200 OK\r\n"
    for version, answer, seen, wanted in (
            ("1.1", whole + "Content-Length: 10\r\n\r\nabc", "abc", "end"),
            ("1.1", whole + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "abc", "end"),
            ("1.1", whole + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX", "abc",
             "end"),
            ("1.0", whole + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "abc", "reset"),
            ("1.0", whole + "Content-Length: 10\r\n\r\nabc", "abc", "end")):
        c, o = r.ask(get(version=version))
        o.head()
        o.send(answer)
        c.until(seen)
        o.close()
        got, how = c.rest()
        rig.check(how == wanted and b"0\r\n" not in got, lambda: f"{answer!r}: {got!r} {how}")
        c.close()


def reset_answer_without_length(r):
    """A close-delimited body is complete only if the origin ended with FIN."""
    for version, wanted in (("1.1", "end"), ("1.0", "reset")):    # 1.1: in chunks
        c, o = r.ask(get(version=version))
        o.head()
        o.send("HTTP/1.1 200 OK\r\n\r\nabc")
        c.until("abc")
        o.reset()
        got, how = c.rest()
        rig.check(how == wanted and b"0\r\n" not in got, lambda: f"{got!r} {how}")
        c.close()


def reset_before_the_head(r):
    for begun in ("", "HTTP/1.1 2"):
        c, o = r.ask(get())
        o.head()
        o.send(begun)
        if begun:
            rig.time.sleep(0.1)    # or the reset discards the bytes
        o.reset()
        head = c.head()
        equal(head[0], "HTTP/1.1 502 Bad Gateway")
        rig.check(("Proxy-Status", "fairlead; error=connection_terminated") in head,
                  lambda: head)
        c.close()


def broken_request(r):
    """The origin must not take an incomplete body for a complete one."""
    for fields, body in (("Content-Length: 10\r\n", "abc"),
                         ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n")):
        c, o = r.ask(post(fields, body))
        o.until("abc")
        c.close()
        got, _ = o.rest()
        rig.check(b"0\r\n" not in got, lambda: f"{got!r}")
        o.close()


def lost_client(r):
    c, o = r.ask(get())
    o.head()
    c.reset()
    equal(o.rest()[0], b"")    # the client waits for no response any more
    o.close()


# --- responses that must arrive -----------------------------------------------------

def sending(wire, data):
    """Sends to the end, whatever is received; True if all was sent."""
    taken = []

    def run():
        try:
            wire.send(data)
            taken.append(True)
        except OSError:
            taken.append(False)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, taken


def refused_while_sending(r):
    body = b"x" * BYTES
    for status, request in (
            ("413", f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {BYTES}\r\n\r\n"),
            ("405", f"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\nContent-Length: {BYTES}\r\n\r\n"),
            ("400", f"POST / HTTP/1.1\r\nContent-Length: {BYTES}\r\n\r\n"),
            ("431", "GET / HTTP/1.1\r\nHost: x\r\nX: ")):
        c = r.client()
        thread, taken = sending(c, request.encode() + body)
        thread.join(rig.PATIENCE_S)    # a client that reads only after it has sent everything
        equal(taken, [True])
        equal(c.head()[0].split()[1], status)
        got, how = c.rest()
        equal((got.split()[0].decode(), how), (status, "end"))
        c.close()


def too_large_in_chunks(r):
    c = r.client().send(post("Transfer-Encoding: chunked\r\n"))
    o = r.origin()
    o.head()
    reading = threading.Thread(target=o.rest, daemon=True)
    reading.start()
    c.send((b"10000\r\n" + b"x" * 65536 + b"\r\n") * 40)
    equal(c.head()[0], "HTTP/1.1 413 Content Too Large")
    c.close()
    reading.join(rig.PATIENCE_S)
    rig.check(not reading.is_alive(), "the origin's connection is still open")
    o.close()


def deaf_server(r):
    c = r.client().send(get("/deaf"))
    head = c.head()
    equal(head[0], "HTTP/1.1 504 Gateway Timeout")
    rig.check(("Proxy-Status", "fairlead; error=connection_timeout") in head, lambda: head)
    c.close()
    c, o = r.ask(get("/either"))    # and the next address, which listens
    equal(o.head()[0], "GET /either HTTP/1.1")
    o.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    c.head()
    done(c, o)


def logged(r):
    r.proxy.signal(rig.signal.SIGTERM)
    equal(r.proxy.ended(), 0)
    with open(r.log) as log:
        lines = log.read().splitlines()
    rig.check(all(line.startswith("127.0.0.1 - - [") for line in lines), lambda: lines[:3])
    rig.check(any('"GET /deaf HTTP/1.1" 504 20 "-" "-"' in line for line in lines), "no /deaf")
    equal(sum('"GET /one/gone HTTP/1.1" 499 0 "-" "-"' in line for line in lines), 5)


CASES = (fields_in_order, chunks_anew, trailers, trailers_to_1_0, byte_by_byte,
         pipelined_deep, last_in_first_out, identity_of_one_client, idle_limit,
         additional_bytes_are_dropped,
         nothing_behind_close, tunnel_half_closed_by_client,
         tunnel_half_closed_by_origin, tunnel_reset, request_behind_refused_upgrade,
         half_closed_client_is_answered, closed_client_is_dropped,
         fin_behind_unread_bytes, client_left_during_response,
         clients_that_left_the_queue, broken_answers, reset_answer_without_length,
         reset_before_the_head, broken_request, lost_client, refused_while_sending,
         too_large_in_chunks, deaf_server, logged)


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
