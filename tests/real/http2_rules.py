#!/usr/bin/env python3
"""What RFC 9113 demands of a server, rule by rule: each row sends frames, and says what must come
back. What is refused never reaches the origin, and what does is a request that HTTP/1 allows."""
import socket
import struct
import threading

import h2raw
import rig
from h2raw import frame, get, raw_frame

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED, COMPRESSION = \
    1, 3, 5, 6, 7, 9
CALM = 11
END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 4, 8, 32
DATA, HEADERS, PRIO, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""
ROWS = []


def row(section, what, *wanted):
    """wanted: a status; ("reset", code …); ("goaway", code …); "alive": the connection serves."""
    def add(send):
        ROWS.append((section, what, wanted, send))
        return send
    return add


def fields_row(section, what, fields, *wanted, end=True):
    row(section, what, *wanted)(lambda c: c.headers(fields, end=end))


def window(n, stream=0):
    return raw_frame(WINDOW, 0, stream, struct.pack(">I", n))


# --- 3.4, 4: preface and frames -------------------------------------------------------------

@row("3.4", "a preface that is not one", "closed")
def _(c):
    c.send(b"INVALID CONNECTION PREFACE\r\n\r\n")


@row("4.2", "DATA larger than SETTINGS_MAX_FRAME_SIZE", "goaway", FRAME_SIZE_ERROR)
def _(c):
    stream = c.headers(get("/", method="POST"), end=False)
    c.send(raw_frame(DATA, 0, stream, b"x" * 16385))


@row("4.2", "HEADERS larger than SETTINGS_MAX_FRAME_SIZE", "goaway", FRAME_SIZE_ERROR)
def _(c):
    c.send(raw_frame(HEADERS, END_STREAM | END_HEADERS, 1, b"x" * 16385))


@row("4.1", "a frame of an unknown type", "alive")
def _(c):
    c.send(raw_frame(0x16, 0, 0, b"x"))


@row("4.1", "undefined flags", "alive")
def _(c):
    c.send(raw_frame(PING, 0x16, 0, b"12345678"))


@row("4.1", "a reserved bit", "alive")
def _(c):
    c.send(raw_frame(PING, 0, 0x80000000, b"12345678"))


@row("4.3", "a block that HPACK cannot decode", "goaway", COMPRESSION)
def _(c):
    c.send(raw_frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x82\x88\xff\xff\xff\xff\xff"))


@row("4.3", "PRIORITY between HEADERS and CONTINUATION", "goaway", PROTOCOL_ERROR)
def _(c):
    c.send(raw_frame(HEADERS, END_STREAM, 1, c.encoder.encode(get("/"))))
    c.send(raw_frame(PRIO, 0, 1, b"\0\0\0\0\x0f"))


@row("4.3", "HEADERS of another stream in a block", "goaway", PROTOCOL_ERROR)
def _(c):
    c.send(raw_frame(HEADERS, END_STREAM, 1, c.encoder.encode(get("/"))))
    c.send(raw_frame(HEADERS, END_STREAM | END_HEADERS, 3, c.encoder.encode(get("/"))))


# --- 5.1: states of streams ------------------------------------------------------------------

@row("5.1", "DATA on an idle stream", "goaway", PROTOCOL_ERROR, STREAM_CLOSED)
def _(c):
    c.send(raw_frame(DATA, END_STREAM, 1, b"x"))


@row("5.1", "RST_STREAM on an idle stream", "goaway", PROTOCOL_ERROR)
def _(c):
    c.reset(1)


@row("5.1", "WINDOW_UPDATE on an idle stream", "goaway", PROTOCOL_ERROR)
def _(c):
    c.send(window(100, 1))


@row("5.1", "CONTINUATION on an idle stream", "goaway", PROTOCOL_ERROR)
def _(c):
    c.send(raw_frame(CONTINUATION, END_HEADERS, 1, c.encoder.encode(get("/"))))


@row("5.1", "DATA on a stream that the client has ended", "reset goaway", STREAM_CLOSED)
def _(c):
    stream = c.headers(get("/wait"))
    c.data(stream, b"x", end=True)


@row("5.1", "HEADERS on a stream that the client has ended", "reset goaway", STREAM_CLOSED)
def _(c):
    stream = c.headers(get("/wait"))
    c.headers(get("/"), stream=stream)


@row("5.1", "CONTINUATION on a stream that the client has ended", "reset goaway", STREAM_CLOSED,
     PROTOCOL_ERROR)
def _(c):
    stream = c.headers(get("/wait"))
    c.send(raw_frame(CONTINUATION, END_HEADERS, stream, c.encoder.encode(get("/"))))


@row("5.1", "HEADERS on a stream that was reset by the client", "goaway reset", STREAM_CLOSED)
def _(c):
    stream = c.headers(get("/wait"))
    c.reset(stream)
    c.headers(get("/"), stream=stream)


@row("5.1", "HEADERS on a stream that has ended", "goaway", STREAM_CLOSED)
def _(c):
    c.response(c.headers(get("/")))
    c.headers(get("/"), stream=1)


@row("5.1", "WINDOW_UPDATE on a stream that has ended", "alive")
def _(c):
    c.response(c.headers(get("/")))
    c.send(window(1, 1))


@row("5.1", "PRIORITY on a stream that has ended", "alive")
def _(c):
    c.response(c.headers(get("/")))
    c.send(raw_frame(PRIO, 0, 1, b"\0\0\0\0\x0f"))


@row("5.1", "RST_STREAM on a stream that has ended", "alive")
def _(c):
    c.response(c.headers(get("/")))
    c.reset(1)


@row("5.1.1", "an even stream", "goaway", PROTOCOL_ERROR)
def _(c):
    c.headers(get("/"), stream=2)


@row("5.1.1", "a stream that was passed over", "goaway", PROTOCOL_ERROR, STREAM_CLOSED)
def _(c):
    c.response(c.headers(get("/"), stream=5))
    c.headers(get("/"), stream=3)


@row("5.1.2", "more streams than are allowed", "reset goaway", REFUSED, PROTOCOL_ERROR)
def _(c):
    for _ in range(101):
        c.headers(get("/wait"))


# --- 6: frames ---------------------------------------------------------------------------------

@row("6.1", "DATA on stream 0", "goaway", PROTOCOL_ERROR)
def _(c):
    c.send(raw_frame(DATA, END_STREAM, 0, b"x"))


@row("6.1", "DATA with more padding than payload", "goaway", PROTOCOL_ERROR)
def _(c):
    stream = c.headers(get("/", method="POST"), end=False)
    c.send(raw_frame(DATA, PADDED | END_STREAM, stream, b"\x06test"))


@row("6.1", "DATA with padding", 200)
def _(c):
    stream = c.headers(get("/", method="POST"), end=False)
    c.send(raw_frame(DATA, PADDED | END_STREAM, stream, b"\x06test\0\0\0\0\0\0"))


@row("6.2", "HEADERS on stream 0", "goaway", PROTOCOL_ERROR)
def _(c):
    c.send(raw_frame(HEADERS, END_STREAM | END_HEADERS, 0, c.encoder.encode(get("/"))))


@row("6.2", "HEADERS with more padding than payload", "goaway", PROTOCOL_ERROR)
def _(c):
    c.send(raw_frame(HEADERS, PADDED | END_STREAM | END_HEADERS, 1, b"\xff\x82"))


@row("6.2", "HEADERS with priority and padding", 200)
def _(c):
    c.send(raw_frame(HEADERS, PADDED | PRIORITY | END_STREAM | END_HEADERS, 1,
                     b"\x02\0\0\0\0\x0f" + c.encoder.encode(get("/")) + b"\0\0"))


@row("6.3", "PRIORITY on stream 0", "goaway", PROTOCOL_ERROR)
def _(c):
    c.send(raw_frame(PRIO, 0, 0, b"\0\0\0\0\x0f"))


@row("6.3", "PRIORITY of another length", "reset goaway", FRAME_SIZE_ERROR)
def _(c):
    stream = c.headers(get("/wait"))
    c.send(raw_frame(PRIO, 0, stream, b"\0\0\0\0"))


@row("6.4", "RST_STREAM on stream 0", "goaway", PROTOCOL_ERROR)
def _(c):
    c.send(raw_frame(RST, 0, 0, b"\0\0\0\x08"))


@row("6.4", "RST_STREAM of another length", "goaway", FRAME_SIZE_ERROR)
def _(c):
    stream = c.headers(get("/wait"))
    c.send(raw_frame(RST, 0, stream, b"\0\0\x08"))


for what, flags, stream, payload, code in (
        ("an ACK with a payload", 1, 0, b"\0\0\0\0\0\0", FRAME_SIZE_ERROR),
        ("on a stream", 0, 1, b"\0\x03\0\0\0\x64", PROTOCOL_ERROR),
        ("of a length that is no multiple of 6", 0, 0, b"\0\x03\0", FRAME_SIZE_ERROR),
        ("ENABLE_PUSH other than 0 or 1", 0, 0, b"\0\x02\0\0\0\x02", PROTOCOL_ERROR),
        ("INITIAL_WINDOW_SIZE above 2^31-1", 0, 0, b"\0\x04\x80\0\0\0", FLOW_CONTROL_ERROR),
        ("MAX_FRAME_SIZE below 2^14", 0, 0, b"\0\x05\0\0\x3f\xff", PROTOCOL_ERROR),
        ("MAX_FRAME_SIZE above 2^24-1", 0, 0, b"\0\x05\x01\0\0\0", PROTOCOL_ERROR)):
    row("6.5", "SETTINGS: " + what, "goaway", code)(
        lambda c, f=flags, s=stream, p=payload: c.send(raw_frame(SETTINGS, f, s, p)))


@row("6.5.2", "SETTINGS: an unknown one", "alive")
def _(c):
    c.send(raw_frame(SETTINGS, 0, 0, b"\xff\x01\0\0\0\x64"))


@row("6.5.3", "SETTINGS are acknowledged", "alive")
def _(c):
    c.send(raw_frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x64"))
    c.until(lambda: sum(isinstance(f, frame.SettingsFrame) and "ACK" in f.flags
                        for f in c.frames) == 2, "two ACKs")


@row("6.6", "PUSH_PROMISE of a client", "goaway", PROTOCOL_ERROR)
def _(c):
    stream = c.headers(get("/wait"))
    c.send(raw_frame(PUSH, END_HEADERS, stream, b"\0\0\0\x02" + c.encoder.encode(get("/"))))


@row("6.7", "PING on a stream", "goaway", PROTOCOL_ERROR)
def _(c):
    c.send(raw_frame(PING, 0, 1, b"12345678"))


@row("6.7", "PING of another length", "goaway", FRAME_SIZE_ERROR)
def _(c):
    c.send(raw_frame(PING, 0, 0, b"1234567"))


@row("6.7", "PING is answered", "alive")
def _(c):
    c.ping()
    c.until(lambda: any(isinstance(f, frame.PingFrame) and "ACK" in f.flags and
                        f.opaque_data == b"12345678" for f in c.frames), "PONG")


@row("6.7", "an unasked PING ACK", "alive")
def _(c):
    c.send(raw_frame(PING, 1, 0, b"12345678"))


@row("6.8", "GOAWAY on a stream", "goaway", PROTOCOL_ERROR)
def _(c):
    c.send(raw_frame(GOAWAY, 0, 1, b"\0" * 8))


@row("6.9", "WINDOW_UPDATE of 0", "goaway", PROTOCOL_ERROR)
def _(c):
    c.send(window(0))


@row("6.9", "WINDOW_UPDATE of 0 on a stream", "reset goaway", PROTOCOL_ERROR)
def _(c):
    c.send(window(0, c.headers(get("/wait"))))


@row("6.9", "WINDOW_UPDATE of another length", "goaway", FRAME_SIZE_ERROR)
def _(c):
    c.send(raw_frame(WINDOW, 0, 0, b"\0\0\x01"))


@row("6.9.1", "a window of the connection above 2^31-1", "goaway", FLOW_CONTROL_ERROR)
def _(c):
    c.send(window(2**31 - 1))
    c.send(window(2**31 - 1))


@row("6.9.1", "a window of a stream above 2^31-1", "reset", FLOW_CONTROL_ERROR)
def _(c):
    stream = c.headers(get("/wait"))
    c.send(window(2**31 - 1, stream))
    c.send(window(2**31 - 1, stream))


@row("6.10", "CONTINUATION completes a block", 200)
def _(c):
    block = c.encoder.encode(get("/"))
    c.send(raw_frame(HEADERS, END_STREAM, 1, block[:3]))
    c.send(raw_frame(CONTINUATION, 0, 1, block[3:6]))
    c.send(raw_frame(CONTINUATION, END_HEADERS, 1, block[6:]))
    c.next_id = 3


@row("6.10", "DATA in a block", "goaway", PROTOCOL_ERROR)
def _(c):
    c.send(raw_frame(HEADERS, 0, 1, c.encoder.encode(get("/", method="POST"))))
    c.send(raw_frame(DATA, END_STREAM, 1, b"x"))


@row("6.10", "CONTINUATION on stream 0", "goaway", PROTOCOL_ERROR)
def _(c):
    c.send(raw_frame(HEADERS, END_STREAM, 1, c.encoder.encode(get("/"))))
    c.send(raw_frame(CONTINUATION, END_HEADERS, 0, b""))


@row("6.10", "CONTINUATION after END_HEADERS", "goaway", PROTOCOL_ERROR)
def _(c):
    c.headers(get("/", method="POST"), end=False)
    c.send(raw_frame(CONTINUATION, END_HEADERS, 1, b""))


@row("10.5", "CONTINUATION without end", "goaway", CALM, PROTOCOL_ERROR, 2)
def _(c):
    c.send(raw_frame(HEADERS, END_STREAM, 1, c.encoder.encode(get("/"))))
    for _ in range(100):
        c.send(raw_frame(CONTINUATION, 0, 1, b""))


# --- 8: messages -----------------------------------------------------------------------------

M, S, A, P = (":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/")
BAD = ("reset", PROTOCOL_ERROR)
for section, what, fields, wanted in (
        ("8.2.1", "an upper-case name", [M, S, A, P, ("X-A", "1")], BAD),
        ("8.2.1", "a space in a name", [M, S, A, P, ("x a", "1")], BAD),
        ("8.2.1", "a colon in a name", [M, S, A, P, ("x:a", "1")], BAD),
        ("8.2.1", "CR in a name", [M, S, A, P, ("x\ra", "1")], BAD),
        ("8.2.1", "LF in a name", [M, S, A, P, ("x\na", "1")], BAD),
        ("8.2.1", "NUL in a name", [M, S, A, P, ("x\0a", "1")], BAD),
        ("8.2.1", "DEL in a name", [M, S, A, P, ("x\x7fa", "1")], BAD),
        ("8.2.1", "an empty name", [M, S, A, P, ("", "1")], BAD),
        ("8.2.1", "CR in a value", [M, S, A, P, ("a", "x\ry")], BAD),
        ("8.2.1", "LF in a value", [M, S, A, P, ("a", "x\ny")], BAD),
        ("8.2.1", "CRLF and a field in a value", [M, S, A, P, ("a", "x\r\nb: y")], BAD),
        ("8.2.1", "NUL in a value", [M, S, A, P, ("a", "x\0y")], BAD),
        ("8.2.1", "a leading space in a value", [M, S, A, P, ("a", " x")], BAD),
        ("8.2.1", "a trailing tab in a value", [M, S, A, P, ("a", "x\t")], BAD),
        ("8.2.2", "connection", [M, S, A, P, ("connection", "close")], BAD),
        ("8.2.2", "keep-alive", [M, S, A, P, ("keep-alive", "5")], BAD),
        ("8.2.2", "proxy-connection", [M, S, A, P, ("proxy-connection", "keep-alive")], BAD),
        ("8.2.2", "transfer-encoding", [M, S, A, P, ("transfer-encoding", "chunked")], BAD),
        ("8.2.2", "upgrade", [M, S, A, P, ("upgrade", "websocket")], BAD),
        ("8.2.2", "te: gzip", [M, S, A, P, ("te", "gzip")], BAD),
        ("8.2.2", "te: trailers, deflate", [M, S, A, P, ("te", "trailers, deflate;q=0.5")], BAD),
        ("8.2.2", "te: trailers", [M, S, A, P, ("te", "trailers")], (200,)),
        ("8.3", "an unknown pseudo-field", [M, S, A, P, (":x", "1")], BAD),
        ("8.3", ":status in a request", [M, S, A, P, (":status", "200")], BAD),
        ("8.3", ":protocol that was not allowed", [M, S, A, P, (":protocol", "websocket")], BAD),
        ("8.3", "a pseudo-field after a field", [M, S, A, ("a", "1"), P], BAD),
        ("8.3.1", "no :method", [S, A, P], BAD),
        ("8.3.1", "no :scheme", [M, A, P], BAD),
        ("8.3.1", "no :path", [M, S, A], BAD),
        ("8.3.1", "neither :authority nor host", [M, S, P], (BAD, 400)),
        ("8.3.1", "two :method", [M, M, S, A, P], BAD),
        ("8.3.1", "two :scheme", [M, S, S, A, P], BAD),
        ("8.3.1", "two :authority", [M, S, A, A, P], BAD),
        ("8.3.1", "two :path", [M, S, A, P, P], BAD),
        ("8.3.1", "an empty :path", [M, S, A, (":path", "")], BAD),
        ("8.3.1", ":path without a slash", [M, S, A, (":path", "x")], BAD),
        ("8.3.1", ":path * with GET", [M, S, A, (":path", "*")], BAD),
        ("8.3.1", ":path * with OPTIONS", [(":method", "OPTIONS"), S, A, (":path", "*")], (200,)),
        ("8.3.1", "an absolute :path", [M, S, A, (":path", "http://other/")], BAD),
        ("8.3.1", "a space in :path", [M, S, A, (":path", "/a b")], BAD),
        ("8.3.1", "CRLF in :path", [M, S, A, (":path", "/ HTTP/1.1\r\nx: y")], BAD),
        ("8.3.1", "a fragment in :path", [M, S, A, (":path", "/#x")], (400,)),
        ("8.3.1", "non-ASCII in :path", [M, S, A, (":path", b"/\xc3\xa4")], (400,)),
        ("8.3.1", "a malformed % in :path", [M, S, A, (":path", "/%zz")], (400,)),
        ("8.3.1", "an empty :method", [(":method", ""), S, A, P], BAD),
        ("8.3.1", "a space in :method", [(":method", "GET /x"), S, A, P], BAD),
        ("8.3.1", ":scheme ftp", [M, (":scheme", "ftp"), A, P], (400,)),
        ("8.3.1", ":scheme https without TLS", [M, (":scheme", "https"), A, P], (400,)),
        ("8.3.1", "userinfo in :authority", [M, S, (":authority", "u@localhost"), P], (BAD, 400)),
        ("8.3.1", "a list in :authority", [M, S, (":authority", "a,b"), P], (200, 400)),
        ("8.3.1", "a path in :authority", [M, S, (":authority", "a/b"), P], BAD),
        ("8.3.1", "a bad port in :authority", [M, S, (":authority", "a:x"), P], (400,)),
        ("8.3.1", "host equal to :authority", [M, S, A, P, ("host", "LOCALHOST")], (200,)),
        ("8.3.1", "host unlike :authority", [M, S, A, P, ("host", "other")], (400,)),
        ("8.3.1", "host alone", [M, S, P, ("host", "localhost")], (200,)),
        ("8.3.1", "two host", [M, S, P, ("host", "a"), ("host", "b")], (BAD, 400)),
        ("8.5", "CONNECT", [(":method", "CONNECT"), (":authority", "a:1")], (405, 501)),
        ("8.5", "CONNECT to a long authority",
         [(":method", "CONNECT"), (":authority", "a" * 800 + ":1")], (405, 501)),
        ("8.5", "CONNECT with :path", [(":method", "CONNECT"), S, A, P], BAD),
        ("8.6", "an upgrade by http2-settings", [M, S, A, P, ("http2-settings", "x")], (200,)),
        ("10.5.1", "fields of more than the limit",
         [M, S, A, P, *((f"x-{n}", "y" * 1000) for n in range(40))], (431,)),
        ("10.5.1", "more fields than the limit",
         [M, S, A, P, *((f"x-{n}", "y") for n in range(150))], (431,)),
):
    ROWS.append((section, what, wanted, lambda c, fields=fields: c.headers(fields)))

POST = [(":method", "POST"), S, A, P]
for section, what, fields, body, wanted in (
        ("8.1.1", "content-length above the body", [("content-length", "3")], b"ab", BAD),
        ("8.1.1", "content-length below the body", [("content-length", "1")], b"ab", BAD),
        ("8.1.1", "content-length of the body", [("content-length", "2")], b"ab", (200,)),
        ("8.1.1", "no content-length", [], b"ab", (200,)),
        ("8.1.1", "content-length that is no number", [("content-length", "x")], b"", BAD),
        ("8.1.1", "content-length with a sign", [("content-length", "+2")], b"ab", BAD),
        ("8.1.1", "two content-length", [("content-length", "2")] * 2, b"ab", BAD),
        ("8.1.1", "a list in content-length", [("content-length", "2, 2")], b"ab", BAD),
):
    def post(c, fields=fields, body=body):
        stream = c.headers(POST + fields, end=False)
        c.data(stream, body, end=True)
    ROWS.append((section, what, wanted, post))


def trailers_row(what, fields, *wanted, end=True):
    def send(c):
        stream = c.headers(POST, end=False)
        c.data(stream, b"ab")
        c.headers(fields, stream=stream, end=end)
    ROWS.append(("8.1", what, wanted, send))


trailers_row("trailers", [("x-sum", "1")], 200)
trailers_row("a pseudo-field in trailers", [(":path", "/x")], *BAD)
trailers_row("trailers that do not end the stream", [("x-sum", "1")], *BAD, end=False)
trailers_row("an upper-case name in trailers", [("X-Sum", "1")], *BAD)
trailers_row("connection in trailers", [("connection", "x")], *BAD)
trailers_row("content-length in trailers", [("content-length", "2")], 200, BAD)
trailers_row("host in trailers", [("host", "other")], 200)


# --- the judge ----------------------------------------------------------------------------------

class Origin(threading.Thread):
    """Answers each request, and keeps what it was asked; /wait is not answered."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.seen = b""

    def run(self):
        while True:
            s, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        text = b""
        while piece := s.recv(65536):
            text += piece
            self.seen += piece
            while b"\r\n\r\n" in text:
                head, _, rest = text.partition(b"\r\n\r\n")
                if b"chunked" in head:
                    if not rest.endswith(b"\r\n\r\n") or b"0\r\n" not in rest:
                        break
                    rest = b""
                elif b"content-length:" in head.lower():
                    n = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                    if len(rest) < n:
                        break
                    rest = rest[n:]
                text = rest
                if not head.split(b" ")[1].startswith(b"/wait"):
                    s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def satisfied(c, wanted):
    """What of `wanted` has come; wanted: codes behind the words they are for, or statuses."""
    flat = []
    for w in wanted:
        flat += w if isinstance(w, tuple) else (w,)
    words = " ".join(w for w in flat if isinstance(w, str))
    numbers = [w for w in flat if isinstance(w, int)]
    if "closed" in words:
        return c.closed
    if "goaway" in words and c.goaway:
        return c.goaway[-1][1] in numbers
    for s in c.streams.values():
        if "reset" in words and s.reset is not None:
            return s.reset in numbers
        if s.heads and s.ended:
            return s.status in numbers
    return False


def judge(proxy, origin, section, what, wanted, send):
    origin.seen = b""
    c = h2raw.Connection(proxy.port, greet=what != "a preface that is not one")
    if what != "a preface that is not one":
        c.until(lambda: any(isinstance(f, frame.SettingsFrame) for f in c.frames), "SETTINGS")
    send(c)
    title = f"{section} {what}"
    if wanted == ("alive",):
        rig.check(c.request("/").status == 200 and not c.goaway, title)
    else:
        def decided():
            return satisfied(c, wanted) or c.closed or c.goaway or any(
                s.reset is not None or (s.ended and s.heads) for s in c.streams.values())
        c.until(decided, title)
        c.read(0.05)
        rig.check(satisfied(c, wanted), lambda: f"{title}: wanted {wanted}, goaway {c.goaway}, " + str(
            {n: (s.heads[:1], s.reset) for n, s in c.streams.items() if n}))
        statuses = [w for w in wanted if isinstance(w, int) and w == 200]
        refused = not statuses and "/wait" not in origin.seen.decode("latin1") and \
            "5.1" not in section and "6." not in section
        if refused and not what.startswith(("content-length", "trailers", "a pseudo", "an upper",
                                            "connection in")):
            rig.check(not origin.seen, lambda: f"{title}: the origin got {origin.seen}")
    c.close()


def test():
    origin = Origin()
    origin.start()
    proxy = rig.Fairlead(CONFIG.format(origin=origin.port), http="[2, 1.1]")
    wrong = []
    for r in ROWS:
        try:
            judge(proxy, origin, *r)
        except AssertionError as e:
            wrong.append(str(e))
    rig.check(not wrong, "\n".join(wrong))
    print(f"{rig.ENGINE}: {len(ROWS)} rules held")


if __name__ == "__main__":
    rig.main(test)
