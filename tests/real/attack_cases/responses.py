"""Responses of origins that are malformed, incomplete or floods."""
from .bodies import EXTENSIONS, MALFORMED
from .case import (BROKEN, CLOSE, CLOSED, CUT_OFF, NOTHING, OPEN, RESET, SHUT, Case, Seen,
                   get)

CASES = []
OK = b"HTTP/1.1 200 OK\r\n"
SMUGGLED_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON"
ZERO = b"Content-Length: 0\r\n"


def reply(name, script, responses, end=OPEN, kept=False, method=b"GET", version=b"1.1", then=b"",
        origin=None, **more):
    """A response to a plain request; `then`: bytes that the client sends after the request."""
    if origin is None:
        origin = [Seen(method + b" /", via=version)]
    CASES.append(Case("response: " + name, get(method=method, version=version) + then,
                      responses, end, origin, kept=kept,
                      script=script if isinstance(script, list) else [script],
                      methods=[method] + [b"GET"] * 20, **more))


def bad(name, script, **more):
    reply(name, script, [502], **more)


def broken(name, script, **more):
    reply(name, script, [], BROKEN, **more)


# --- malformed heads: 502 -------------------------------------------------------------

for name, line in (
        ("garbage", b"hello"), ("an SSH greeting", b"SSH-2.0-OpenSSH_9.2"),
        ("an SMTP greeting", b"220 mail ESMTP"), ("HTTP/0.9", b"<html>hello</html>"),
        ("a TLS alert", b"\x15\x03\x01\x00\x02\x02\x46"), ("memcached", b"ERROR"),
        ("NUL", b"\x00"), ("version 2", b"HTTP/2.0 200 OK"),
        ("version 0.9", b"HTTP/0.9 200 OK"),
        ("lower case version", b"http/1.1 200 OK"), ("no minor", b"HTTP/1 200 OK"),
        ("ICY", b"ICY 200 OK"), ("no status", b"HTTP/1.1"),
        ("an empty status", b"HTTP/1.1  OK"),
        ("two digits", b"HTTP/1.1 20 OK"), ("four digits", b"HTTP/1.1 2000 OK"),
        ("a negative status", b"HTTP/1.1 -20 OK"), ("letters as status", b"HTTP/1.1 2xx OK"),
        ("a low status", b"HTTP/1.1 099 OK"), ("status 000", b"HTTP/1.1 000 OK"),
        ("two spaces", b"HTTP/1.1  200 OK"), ("a tab", b"HTTP/1.1\t200 OK"),
        ("a space before", b" HTTP/1.1 200 OK"), ("a line before", b"\r\nHTTP/1.1 200 OK"),
        ("NUL in the phrase", b"HTTP/1.1 200 O\x00K"),
        ("CR in the phrase", b"HTTP/1.1 200 O\rK"), ("LF in the phrase", b"HTTP/1.1 200 O\nK"),
        ("a request", b"GET / HTTP/1.1"), ("no phrase, no space, a letter", b"HTTP/1.1 200OK"),
        ("escapes in the phrase", b"HTTP/1.1 200 \x1b[2J")):
    bad(f"line: {name}", line + b"\r\n" + ZERO + b"\r\n")
for name, field in (
        ("space before the colon of no name", b" : b"), ("space in a name", b"A b : c"),
        ("space and no colon", b"A "), ("folded", b"A: b\r\n c"), ("fold first", b" A: b"), ("no colon", b"A"),
        ("no name", b": b"),
        ("bare LF", b"A: b\nC: d"), ("bare CR", b"A: b\rC: d"), ("NUL", b"A: \x00"),
        ("control character", b"A: \x01"), ("DEL", b"A: \x7f"),
        ("space in the name", b"A b: c"),
        ("high byte in the name", b"\xc3\x84: b"), ("quotes around the name", b'"A": b'),
        ("CR CR LF", b"A: b\r"), ("bad Connection", b"Connection: a b")):
    bad(f"field: {name}", OK + field + b"\r\n" + ZERO + b"\r\n")
# RFC 9112 5.1: removed when forwarded.
for name, field in (("space before the colon", b"A : b"), ("tabs before the colon", b"A\t \t: b"),
                    ("space before the colon of a length", b"Content-Length : 0")):
    reply(f"field: {name}", OK + field + b"\r\n" + (b"" if b"Length" in field else ZERO) + b"\r\n",
          [(200, b"")], kept=True)
reply("field: space before the colon, of 1xx as well",
      b"HTTP/1.1 103 Early Hints\r\nLink : </a>\r\n\r\n" + OK + b"A : b\r\n" + ZERO + b"\r\n",
      [(200, b"")], interim=[103], kept=True)
reply("field: space before the colon of chunked",
    OK + b"Transfer-Encoding : chunked\r\n\r\n3\r\nabc\r\n0\r\nA : b\r\n\r\n", [(200, b"abc")], kept=True)
reply("field: space before the colon of chunked, and more behind",
      OK + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED_RESPONSE, [(200, b"")])
bad("field: space before the colon of a second framing",
    OK + b"Content-Length: 5\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n")
bad("field: space before the colon of a second length",
    OK + b"Content-Length: 5\r\nContent-Length : 6\r\n\r\nabcde")
bad("head ends in LF", OK + ZERO + b"\n")
bad("all in LF", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n")

# --- ambiguous framing: 502 -----------------------------------------------------------

for name, fields in (
        ("two lengths", b"Content-Length: 1\r\nContent-Length: 2\r\n"),
        ("one length twice", b"Content-Length: 1\r\n" * 2),
        ("a list of lengths", b"Content-Length: 1, 1\r\n"),
        ("a negative length", b"Content-Length: -1\r\n"),
        ("a signed length", b"Content-Length: +1\r\n"),
        ("an empty length", b"Content-Length:\r\n"),
        ("hexadecimal length", b"Content-Length: 0x1\r\n"),
        ("a huge length", b"Content-Length: 18446744073709551617\r\n"),
        ("a length of letters", b"Content-Length: x\r\n"),
        ("a length and chunks", b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        ("chunks and a length", b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"),
        ("identity and a length", b"Transfer-Encoding: identity\r\nContent-Length: 1\r\n"),
        ("chunked twice", b"Transfer-Encoding: chunked, chunked\r\n"),
        ("chunked in two fields", b"Transfer-Encoding: chunked\r\n" * 2),
        ("gzip, chunked", b"Transfer-Encoding: gzip, chunked\r\n"),
        ("identity", b"Transfer-Encoding: identity\r\n"),
        ("chunked with a tab inside", b"Transfer-Encoding: chun\tked\r\n"),
        ("an empty coding", b"Transfer-Encoding:\r\n"),
        ("xchunked", b"Transfer-Encoding: xchunked\r\n"),
        ("quoted chunked", b'Transfer-Encoding: "chunked"\r\n')):
    bad(f"framing: {name}", OK + fields + b"\r\n0\r\n\r\n" + SMUGGLED_RESPONSE)
bad("framing: chunked in HTTP/1.0",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

# --- malformed chunks: the forwarded part must look broken ----------------------------

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
for name, body in (
        ("size of letters", b"xyz\r\n"), ("no size", b"\r\nabc\r\n"),
        ("negative size", b"-1\r\na\r\n"), ("0x", b"0x1\r\na\r\n"),
        ("space before a size", b" 1\r\na\r\n"),
        ("space behind a size", b"1 \r\na\r\n"),
        ("size beyond 64 bits", b"10000000000000001\r\na\r\n"),
        ("size of 2^64-1", b"ffffffffffffffff\r\na\r\n"),
        ("bare LF behind a size", b"1\na\r\n"),
        ("bare LF behind data", b"1\r\na\n"), ("no line end behind data", b"1\r\nab"),
        ("size too small", b"2\r\nabc\r\n"), ("size too large", b"3\r\nab\r\n"),
        ("LF in an extension", b"1;a\nb\r\na\r\n"),
        ("extension too long", b"1;" + b"a" * 2000 + b"\r\na\r\n"),
        ("NUL behind a size", b"1\x00\r\na\r\n"),
        ("bad trailers", b"1\r\na\r\n0\r\nA b: c\r\n\r\n"),
        ("folded trailers", b"1\r\na\r\n0\r\nA: b\r\n c\r\n\r\n"),
        ("trailers too large", b"0\r\nA: " + b"a" * 9000 + b"\r\n\r\n"),
        ("a response instead of a chunk", SMUGGLED_RESPONSE)):
    broken(f"chunks: {name}",
        CHUNKED + b"3\r\nabc\r\n" + body + b"0\r\n\r\n" + SMUGGLED_RESPONSE)
    broken(f"chunks to HTTP/1.0: {name}", CHUNKED + b"3\r\nabc\r\n" + body + b"0\r\n\r\n",
        version=b"1.0", cut=False)

for name, ext in EXTENSIONS:
    reply(f"chunks: extension: {name}",
          CHUNKED + b"3" + ext + b"\r\nabc\r\n0" + ext + b"\r\n\r\n", [(200, b"abc")], kept=True)
for name, ext in MALFORMED:
    broken(f"chunks: malformed extension: {name}",
        CHUNKED + b"3\r\nabc\r\n1" + ext + b"\r\na\r\n0\r\n\r\n" + SMUGGLED_RESPONSE)

# --- responses that end early ---------------------------------------------------------

for how in (CLOSE, RESET, SHUT):
    reply(f"{how} at once", [how], [502])
    reply(f"{how} in the head", [OK + b"Content-Le", 0.01, how], [502])
    reply(f"{how} behind the line", [OK, 0.01, how], [502])
    broken(f"{how} in a body", [OK + b"Content-Length: 10\r\n\r\nabc", 0.01, how])
    broken(f"{how} in a body, HTTP/1.0", [OK + b"Content-Length: 10\r\n\r\nabc", 0.01, how],
        version=b"1.0")
    broken(f"{how} before a body", [OK + b"Content-Length: 10\r\n\r\n", 0.01, how])
    broken(f"{how} in a chunk", [CHUNKED + b"a\r\nabc", 0.01, how])
    broken(f"{how} behind a chunk", [CHUNKED + b"3\r\nabc\r\n", 0.01, how])
    broken(f"{how} before the last line", [CHUNKED + b"3\r\nabc\r\n0\r\n", 0.01, how])
    broken(f"{how} in trailers", [CHUNKED + b"3\r\nabc\r\n0\r\nA: b", 0.01, how])
    broken(f"{how} behind a chunk, HTTP/1.0", [CHUNKED + b"3\r\nabc\r\n", 0.01, how],
        version=b"1.0")
    reply(f"{how} behind 100", [b"HTTP/1.1 100 Continue\r\n\r\n", 0.01, how], [502],
          interim=[100])
    reply(f"{how} behind a whole response", [OK + b"Content-Length: 3\r\n\r\nabc", 0.02, how],
          [(200, b"abc")])
broken("reset in a body without length", [OK + b"\r\nabc", 0.02, RESET])
broken("reset in a body without length, HTTP/1.0", [OK + b"\r\nabc", 0.02, RESET],
    version=b"1.0")
reply("end of a body without length", [OK + b"\r\nabc", 0.01, CLOSE], [(200, b"abc")])
reply("end of a body without length, HTTP/1.0", [OK + b"\r\nabc", 0.01, CLOSE], [(200, b"abc")],
      CLOSED, version=b"1.0")
reply("HTTP/1.0, no length", [b"HTTP/1.0 200 OK\r\n\r\nabc", CLOSE], [(200, b"abc")])
reply("HTTP/1.0, a length", b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", [(200, b"abc")])
reply("Connection: close and no close",
      OK + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc", [(200, b"abc")],
      missing=(b"connection",))
reply("never", [], [504], cut=False)
reply("half a head, then never", [OK + b"A: "], [504], cut=False)
broken("half a body, then never", [OK + b"Content-Length: 9\r\n\r\nabc"], cut=False)

# --- additional bytes -----------------------------------------------------------------

reply("an additional response, at once", OK + b"Content-Length: 3\r\n\r\nabc" + SMUGGLED_RESPONSE,
      [(200, b"abc")])
reply("an additional response, later", [OK + b"Content-Length: 3\r\n\r\nabc", 0.005,
      SMUGGLED_RESPONSE], [(200, b"abc")], kept=None)
reply("three additional responses", OK + ZERO + b"\r\n" + SMUGGLED_RESPONSE * 3, [(200, b"")])
reply("one byte too many", OK + b"Content-Length: 3\r\n\r\nabcX", [(200, b"abc")])
reply("a line end too many", OK + b"Content-Length: 3\r\n\r\nabc\r\n", [(200, b"abc")])
reply("a body longer than its length", OK + b"Content-Length: 3\r\n\r\nabc" + b"X" * 100000,
      [(200, b"abc")])
reply("bytes behind chunks", CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + SMUGGLED_RESPONSE,
      [(200, b"abc")])
reply("a line end behind chunks", CHUNKED + b"3\r\nabc\r\n0\r\n\r\n\r\n", [(200, b"abc")])
reply("an additional response, two pipelined",
      OK + b"Content-Length: 3\r\n\r\nabc" + SMUGGLED_RESPONSE, [(200, b"abc"), (200, b"/2")],
      then=get(target=b"/2"), origin=[Seen(), Seen(b"GET /2")])
for status in (b"204 No", b"304 No", b"204 No Content", b"205 Reset"):
    for name, rest in (("a length", b"Content-Length: 6\r\n\r\nPOISON"),
        ("a body without length", b"\r\nPOISON"),
                       ("chunks", b"Transfer-Encoding: chunked\r\n\r\n6\r\nPOISON\r\n0\r\n\r\n"), ("a response", b"\r\n" + SMUGGLED_RESPONSE)):
        if status != b"205 Reset":
            reply(f"{status.decode()} with {name}", b"HTTP/1.1 " + status + b"\r\n" + rest,
                  [(int(status[:3]), b"")])
reply("304 with a length and no body", b"HTTP/1.1 304 No\r\nContent-Length: 6\r\n\r\n",
      [(304, b"")], kept=True)
reply("204 alone", b"HTTP/1.1 204 No\r\n\r\n", [(204, b"")], kept=True)
reply("204 with length 0", b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", [(204, b"")],
      kept=True)
reply("205 with a body", b"HTTP/1.1 205 Reset\r\nContent-Length: 6\r\n\r\nPOISON",
      [(205, b"POISON")], kept=True)
for name, rest in (("a length and a body", b"Content-Length: 6\r\n\r\nPOISON"),
    ("chunks", b"Transfer-Encoding: chunked\r\n\r\n6\r\nPOISON\r\n0\r\n\r\n"),
                   ("a body without length", b"\r\nPOISON"),
                   ("a response", ZERO + b"\r\n" + SMUGGLED_RESPONSE)):
    reply(f"HEAD with {name}", OK + rest, [(200, b"")], method=b"HEAD")
reply("HEAD with a length", OK + b"Content-Length: 6\r\n\r\n", [(200, b"")], method=b"HEAD",
      kept=True)
reply("HEAD with a coding", OK + b"Transfer-Encoding: chunked\r\n\r\n", [(200, b"")],
      method=b"HEAD", kept=True)
reply("HEAD, 100 and then a body",
      b"HTTP/1.1 100 C\r\n\r\n" + OK + b"Content-Length: 6\r\n\r\nPOISON", [(200, b"")],
      method=b"HEAD", interim=[100])

# --- hop-by-hop fields ----------------------------------------------------------------

abc = b"Content-Length: 3\r\n\r\nabc"
for name, fields, missing in (
        ("Keep-Alive", b"Keep-Alive: timeout=5\r\n", b"keep-alive"),
        ("Proxy-Connection", b"Proxy-Connection: close\r\n", b"proxy-connection"),
        ("Upgrade", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"upgrade"),
        ("Upgrade alone", b"Upgrade: h2c\r\n", b"upgrade"),
        ("a named field", b"Connection: A\r\nA: b\r\n", b"a"),
        ("a named field before", b"a: b\r\nConnection: A\r\n", b"a"),
        ("TE", b"TE: trailers\r\n", b"te"),
        ("a named length", b"Connection: Content-Length\r\n", b"connection"),
        ("a named Date", b"Connection: date\r\nDate: evil\r\n", b"connection")):
    reply(f"hop: {name}", OK + fields + abc, [(200, b"abc")], missing=(missing,), kept=True)
reply("hop: Connection: close and more bytes",
      OK + b"Connection: close\r\n" + abc + SMUGGLED_RESPONSE, [(200, b"abc")])
reply("hop: Connection: close, keep-alive", OK + b"Connection: keep-alive, close\r\n" + abc,
      [(200, b"abc")])
reply("hop: HTTP/1.0 with keep-alive", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + abc,
      [(200, b"abc")], kept=True)
reply("trailers that are none of theirs",
    CHUNKED + b"0\r\nContent-Length: 5\r\nSet-Cookie: a\r\nLocation: /\r\nConnection: close\r\n\r\n", [(200, b"")], kept=True)
broken("broken, with a request behind it", CHUNKED + b"3\r\nabc\r\nx\r\n",
    then=get(target=b"/2"), kept=None)
broken("broken by its end, with requests behind it",
    [OK + b"Content-Length: 9\r\n\r\nabc", CLOSE], then=get(target=b"/2") * 5, kept=None)

# --- 1xx ------------------------------------------------------------------------------

CONTINUE, HINTS = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
last = OK + b"Content-Length: 2\r\n\r\nok"
reply("100 unasked", CONTINUE + last, [(200, b"ok")], interim=[100], kept=True)
reply("103", HINTS + last, [(200, b"ok")], interim=[103], kept=True)
reply("several 1xx", HINTS * 3 + CONTINUE + b"HTTP/1.1 199 x\r\n\r\n" + last, [(200, b"ok")],
      interim=[103] * 3 + [100, 199], kept=True)
reply("1xx to HTTP/1.0", HINTS * 3 + last, [(200, b"ok")], CLOSED, version=b"1.0", kept=None)
reply("1xx with a length", b"HTTP/1.1 103 x\r\nContent-Length: 5\r\n\r\n" + last, [(200, b"ok")],
      interim=[103], kept=True)
reply("1xx with chunks", b"HTTP/1.1 103 x\r\nTransfer-Encoding: chunked\r\n\r\n" + last,
      [(200, b"ok")], interim=[103], kept=True)
reply("1xx with a body", b"HTTP/1.1 103 x\r\nContent-Length: 6\r\n\r\nPOISON" + last, [502],
      interim=[103])
reply("1xx with two lengths",
      b"HTTP/1.1 103 x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" + last, [502])
reply("1xx with hop fields",
      b"HTTP/1.1 103 x\r\nConnection: close, A\r\nA: b\r\nKeep-Alive: x\r\n\r\n" + last,
      [(200, b"ok")], interim=[103], kept=True)
reply("a bad 1xx behind a good one", HINTS + b"HTTP/1.1 10 x\r\n\r\n", [502], interim=[103])
reply("102 and never", [b"HTTP/1.1 102 x\r\n\r\n"], [504], interim=[102], cut=False)

# --- floods ---------------------------------------------------------------------------

bad("a head without end", OK + b"A: " + b"a" * 2000000)
bad("a line without end", b"HTTP/1.1 200 " + b"a" * 2000000)
bad("fields without end", OK + b"A: b\r\n" * 200000)
bad("one field too many", OK + b"A: b\r\n" * 50 + ZERO + b"\r\n")
bad("a head too long by one",
    OK + b"A: " + b"a" * (8192 - len(OK) - len(ZERO) - 7 + 1) + b"\r\n" + ZERO + b"\r\n")
reply("the longest head",
      OK + b"A: " + b"a" * (8192 - len(OK) - len(ZERO) - 7) + b"\r\n" + ZERO + b"\r\n",
      [(200, b"")], kept=True)
bad("empty lines without end", b"\r\n" * 200000)
bad("1xx without end, HTTP/1.0", [CONTINUE * 20000], version=b"1.0", end=CLOSED)
CASES.append(Case("response: 1xx without end", get(), [502], OPEN, [Seen()],
    script=[CONTINUE * 20000], kept=False, interim="any"))
bad("garbage without end", b"\x00\xff" * 500000)
broken("chunk extensions without end", CHUNKED + b"1;" + b"a" * 1000000)
broken("trailers without end", CHUNKED + b"0\r\n" + b"A: b\r\n" * 100000)
reply("4 MB in chunks of a byte", CHUNKED + b"1\r\na\r\n" * 50000 + b"0\r\n\r\n",
      [(200, b"a" * 50000)], kept=True)

# --- at the wrong time ----------------------------------------------------------------

reply("before the request", [last], [(200, b"ok")], when="connect", kept=None)
reply("garbage before the request", [b"220 hello\r\n"], [502], when="connect")
reply("an end before the request", [CLOSE], [502], when="connect", origin=NOTHING, kept=None)
body = b"Content-Length: 90000\r\n"
CASES.append(Case("response: before the body, and no end",
    [get(body, method=b"POST"), 0.05, b"a" * 50000, 0.02, b"a" * 40000], [(200, b"ok")],
    CLOSED,
                  CUT_OFF, announced=False, script=[last], when="head", cut=False, kept=None))
CASES.append(Case("response: before the body, and an end",
    [get(body, method=b"POST"), 0.05, b"a" * 90000], [(413, b"no")], CLOSED, CUT_OFF,
                  script=[b"HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno", CLOSE], when="head", cut=False, kept=None, announced=False))
CASES.append(Case("response: an end before the body",
    [get(body, method=b"POST"), 0.05, b"a" * 90000], [502], CLOSED, CUT_OFF,
                  script=[CLOSE], when="head", cut=False, kept=None))
