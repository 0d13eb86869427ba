"""Pipelines, interim responses, Expect, Upgrade, HEAD: cases of more than one message."""
from .case import (CLOSED, CUT_OFF, GONE, NOTHING, OPEN, SHUT, SMUGGLED, Case, Seen, get,
                   passed, post)

CASES = []
LENGTH, CHUNKED = b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"


def add(make, *args, **more):
    CASES.append(make(*args, **more))


# --- pipelines -----------------------------------------------------------------------

add(passed, "pipeline of 3", get(target=b"/1") + get(target=b"/2") + get(target=b"/3"),
    Seen(b"GET /1"), Seen(b"GET /2"), Seen(b"GET /3"))
add(passed, "pipeline of 100", b"".join(get(target=b"/%d" % i) for i in range(100)),
    *[Seen(b"GET /%d" % i) for i in range(100)])
add(passed, "pipeline of bodies", post(LENGTH, b"abcde", target=b"/1") + post(CHUNKED,
    b"2\r\nab\r\n0\r\n\r\n", target=b"/2") + get(target=b"/3"),
    Seen(b"POST /1", body=b"abcde"), Seen(b"POST /2", chunked=b"ab"), Seen(b"GET /3"))
add(passed, "pipeline with HEAD", get(method=b"HEAD", target=b"/1") + get(target=b"/2"),
    Seen(b"HEAD /1"), Seen(b"GET /2"), methods=[b"HEAD", b"GET", b"GET"])
for name, wrong, status in (
        ("a bad line", b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("a bad field", get(b"A : b\r\n"), 400), ("no Host", get(host=b""), 400),
        ("two framings", post(LENGTH + CHUNKED, b"0\r\n\r\n"), 400),
        ("a bare LF", b"GET / HTTP/1.1\n\n", 400), ("HTTP/2", get(version=b"2.0"), 505),
        ("too many fields", get(b"A: b\r\n" * 60), 431),
        ("a long head", get(b"A: " + b"a" * 9000 + b"\r\n"), 431),
        ("a large body", post(b"Content-Length: 999999\r\n"), 413)):
    add(Case, f"pipeline: good, {name}, good", get(target=b"/1") + wrong + SMUGGLED,
        [200, status], CLOSED, [Seen(b"GET /1")])
    add(Case, f"pipeline: {name}, then others", wrong + SMUGGLED * 5, [status], CLOSED,
        NOTHING)
add(Case, "pipeline: bad chunks behind a good one",
    get(target=b"/1") + post(CHUNKED, b"x\r\n") + SMUGGLED, [200, 400], CLOSED,
    [Seen(b"GET /1")], partial=True)
add(Case, "pipeline: half a request at the end",
    [get(target=b"/1") + b"GET /2 HTTP/1.1\r\nHo", 0.05, SHUT], [200], CLOSED,
    [Seen(b"GET /1")])
add(Case, "pipeline: half closed", [get(target=b"/1") + get(target=b"/2"), SHUT], [200, 200],
    CLOSED, [Seen(b"GET /1"), Seen(b"GET /2")])
add(Case, "pipeline: not behind close", get(b"Connection: close\r\n",
    target=b"/1") + SMUGGLED * 3, [200], GONE, [Seen(b"GET /1")])
add(Case, "pipeline: a refused method, then others",
    post(LENGTH, b"abcde", target=b"/cache/a") + get(target=b"/2"),
    [(405, None), (200, b"/2")], OPEN, [Seen(b"GET /2")], cut=False)
add(Case, "pipeline: a refused method whose body is a request",
    post(b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED,
    target=b"/cache/a") + get(target=b"/2"), [(405, None), (200, b"/2")], OPEN,
    [Seen(b"GET /2")], cut=False)
add(Case, "pipeline: a refused method whose chunks are bad",
    post(CHUNKED, b"x\r\n", target=b"/cache/a") + SMUGGLED, [405], CLOSED, NOTHING)
add(Case, "pipeline: a key that is none", get(target=b"/cache/%00") + get(target=b"/2"),
    [(400, None), (200, b"/2")], OPEN, [Seen(b"GET /2")])
add(Case, "key with a line end", get(target=b"/cache/a%0d%0aset%20x%200%200%201%0d%0aa"),
    [400], OPEN, NOTHING)
add(Case, "key with a space", get(target=b"/cache/a%20b"), [400], OPEN, NOTHING)
add(Case, "key too long", get(target=b"/cache/" + b"a" * 251), [400], OPEN, NOTHING)

# --- Expect and interim responses --------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
expects = LENGTH + b"Expect: 100-continue\r\n"
went = Seen(b"POST /", fields=[(b"Expect", b"100-continue")], body=b"abcde")
add(Case, "Expect: body sent at once", post(expects, b"abcde"), [(200, b"ok")], OPEN, [went],
    script=[CONTINUE, OK], interim=[100], kept=True)
add(Case, "Expect: 100 comes first", [post(expects), 0.05, b"abcde"], [(200, b"ok")], OPEN,
    [went], script=[CONTINUE, 0.1, OK], when="head", interim=[100])
add(Case, "Expect: refused at once, no body follows", [post(expects)], [(417, b"")], CLOSED,
    NOTHING,
    script=[b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"], when="head", kept=False)
add(Case, "Expect: refused at once, a request follows in place of the body",
    [post(expects), 0.05, SMUGGLED], [(417, b"")], CLOSED, NOTHING,
    script=[b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"], when="head", kept=False)
add(passed, "Expect of something else", post(LENGTH + b"Expect: x\r\n", b"abcde"),
    Seen(b"POST /", fields=[(b"Expect", b"x")], body=b"abcde"))
add(passed, "Expect twice", post(LENGTH + b"Expect: 100-continue\r\nExpect: 100-continue\r\n",
    b"abcde"),
    Seen(b"POST /", fields=[(b"Expect", b"100-continue")] * 2, body=b"abcde"))
add(passed, "Expect without body", get(b"Expect: 100-continue\r\n"),
    Seen(fields=[(b"Expect", b"100-continue")]))

# --- Upgrade --------------------------------------------------------------------------------

WANTS = b"Connection: upgrade\r\nUpgrade: "
HOP = [(b"Upgrade", b"websocket"), (b"Connection", b"upgrade")]
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
for name, fields in (("h2c", WANTS + b"h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
    ("h2c, upper case", WANTS + b"H2C\r\n"),
                     ("h2c among others", WANTS + b"websocket, h2c\r\n"),
                     ("h2c among others, no space", WANTS + b"a,h2c,b\r\n"),
                     ("h2c with tab", WANTS + b"\th2c\t\r\n"), ("h2c with the settings named",
                      b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
                     ("two fields", WANTS + b"a\r\nUpgrade: h2c\r\n"),
                     ("two fields, h2c first", WANTS + b"h2c\r\nUpgrade: a\r\n"),
                     ("no Connection", b"Upgrade: websocket\r\n"),
                     ("Connection of another",
                     b"Connection: close2\r\nUpgrade: websocket\r\n"),
                     ("empty", WANTS + b"\r\n"), ("malformed", WANTS + b"web socket\r\n"),
                     ("quoted", WANTS + b'"h2c"\r\n'),
                     ("h2c with a version", WANTS + b"h2c/1\r\n"),
                     ("HTTP/2.0", WANTS + b"HTTP/2.0\r\n"), ("TLS", WANTS + b"TLS/1.0\r\n")):
    if name in ("HTTP/2.0", "TLS", "h2c with a version"):
        token = fields[len(WANTS):-2]
        add(passed, "Upgrade to " + name, get(fields),
            Seen(hop=[(b"Upgrade", token), (b"Connection", b"upgrade")]))
    else:
        add(passed, "Upgrade refused: " + name, get(fields), Seen())
add(passed, "Upgrade that the origin ignores",
    get(WANTS + b"websocket\r\n", target=b"/1") + get(target=b"/2"),
    Seen(b"GET /1", hop=HOP), Seen(b"GET /2"))
add(passed, "Upgrade with a body", post(LENGTH + WANTS + b"websocket\r\n", b"abcde"),
    Seen(b"POST /", body=b"abcde", hop=HOP))
add(Case, "101 unasked", get(), [502], OPEN, [Seen()], script=[SWITCH], kept=False)
add(Case, "101 to h2c", get(WANTS + b"h2c\r\n"), [502], OPEN, [Seen()],
    script=[SWITCH.replace(b"websocket", b"h2c")], kept=False)
add(Case, "101 to HTTP/1.0", get(WANTS + b"websocket\r\n", version=b"1.0"), [502], CLOSED,
    [Seen(via=b"1.0")], script=[SWITCH], kept=False)
add(Case, "101 to HEAD", get(method=b"HEAD"), [502], OPEN, [Seen(b"HEAD /")], script=[SWITCH],
    kept=False, methods=[b"HEAD", b"GET"])
for name, fields, part in (("a length", LENGTH, b"ab"), ("chunks", CHUNKED, b"5\r\nab"),
    ("chunks, between", CHUNKED, b"2\r\nab\r\n"), ("chunks, none", CHUNKED, b"")):
    add(Case, f"101 amid a body: {name}", [post(fields + WANTS + b"websocket\r\n", part)],
        [502], CLOSED, CUT_OFF, script=[SWITCH], when="head", kept=False)
add(Case, "426 is no switch", get(WANTS + b"websocket\r\n"), [(426, b"no")], OPEN,
    [Seen(hop=HOP)],
    script=[b"HTTP/1.1 426 No\r\nContent-Length: 2\r\n\r\nno"], kept=True)

# --- the proxy's responses---------------------------------------------------------------------

for name, data in (("HEAD of a refused key", get(method=b"HEAD", target=b"/cache/%00")),
    ("HEAD of a refused key, HTTP/1.1 kept", get(
        b"Connection: keep-alive\r\n", method=b"HEAD", target=b"/cache/%00"))):
    add(Case, name, data, [(400, b"")], OPEN, NOTHING, methods=[b"HEAD", b"GET"])
add(Case, "HTTP/1.0 is refused and closed",
    get(target=b"/cache/%00", version=b"1.0") + SMUGGLED, [400], GONE, NOTHING)
