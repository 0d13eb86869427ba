"""Where a request's body ends: Content-Length and Transfer-Encoding in all spellings."""
from .case import (CLOSED, GONE, SMUGGLED, Case, Seen, get, passed, post, refused)

CASES = []


def add(make, *args, **more):
    CASES.append(make(*args, **more))


LENGTHS_REFUSED = (
    b"", b"-1", b"+5", b"-0", b"5 5", b"5,5", b"5, 5", b"5,6", b"5,", b",5", b"0x5", b"5x",
    b"x5", b"5.0", b"5e0", b"0b101",
    b"1_0", b"5;", b'"5"', b"(5)", b"\xd9\xa5", b"\xef\xbc\x95", b"5\x00", b"5\t5",
    b"9223372036854775808",
    b"18446744073709551616", b"18446744073709551621", b"4294967296000000000000", b"9" * 400,
    b"NaN", b"inf", b"five",
    b"5 chunked", b"chunked", b"%35", b"5\t",
)
for value in LENGTHS_REFUSED:
    add(refused, f"length {value[:24]!r}", post(b"Content-Length: " + value + b"\r\n",
        b"abcde") + SMUGGLED)

for value, body in ((b"0", b""), (b"5", b"abcde"), (b"00005", b"abcde"),
    (b"0" * 40 + b"5", b"abcde"), (b" \t5  ", b"abcde")):
    add(passed, f"length {value[:24]!r}", post(b"Content-Length:" + value + b"\r\n", body),
        Seen(b"POST /", body=body))

LENGTH, CHUNKED = b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"
BODIES = {"as length": b"0\r\n\r\n", "as chunks": b"5\r\nabcde\r\n0\r\n\r\n"}
# Two framings are refused, in every spelling and order.
FIRST = (LENGTH, b"content-length: 5\r\n", b"CONTENT-LENGTH: 0\r\n", b"Content-Length: 6\r\n",
    b"Content-Length:\r\n")
SECOND = (CHUNKED, b"transfer-encoding: chunked\r\n", b"TRANSFER-ENCODING: CHUNKED\r\n",
    b"Transfer-Encoding:chunked\r\n",
          b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding:\r\n",
          b"Transfer-Encoding: x\r\n")
for i, first in enumerate(FIRST):
    for j, second in enumerate(SECOND):
        fields = first + second if (i + j) % 2 else second + b"A: b\r\n" + first
        body = BODIES["as length" if i % 2 else "as chunks"]
        add(refused, f"length and coding {i}{j}", post(fields, body) + SMUGGLED)

for name, fields in (
        ("twice alike", LENGTH + LENGTH), ("twice apart", LENGTH + b"A: b\r\n" + LENGTH),
        ("twice, differing", LENGTH + b"Content-Length: 0\r\n"),
        ("twice, the other first", b"Content-Length: 0\r\n" + LENGTH),
        ("twice, other letters", LENGTH + b"cONTENT-lENGTH: 5\r\n"),
        ("twice, one empty", LENGTH + b"Content-Length:\r\n"),
        ("thrice", LENGTH * 3), ("folded", b"Content-Length:\r\n 5\r\n"),
        ("folded on", b"Content-Length: 5\r\n 0\r\n"),
        ("with a space before the colon", b"Content-Length : 5\r\n"),
        ("with a tab before the colon", b"Content-Length\t: 5\r\n"),
        ("behind a bare LF", b"A: b\nContent-Length: 5\r\n"),
        ("behind a bare CR", b"A: b\rContent-Length: 5\r\n"),
        ("behind NUL", b"\x00Content-Length: 5\r\n"),
        ("behind a space", b" Content-Length: 5\r\n"),
        ("with NUL in the name", b"Content-\x00Length: 5\r\n"),
        ("with a fold in the name", b"Content-\r\n Length: 5\r\n"),
        ("with a bare CR behind", b"Content-Length: 5\r\r\n"),
        ("with DEL", b"Content-Length: \x7f5\r\n"),
        ("with a vertical tab", b"Content-Length: \x0b5\r\n"),
        ("with a no-break space", b"Content-Length: \xa05\r\n")):
    add(refused, "lengths: " + name, post(fields, b"abcde") + SMUGGLED)

CODINGS_REFUSED = (
    b"", b"identity", b"gzip", b"x", b"chunked, identity", b"identity, chunked",
    b"gzip, chunked", b"chunked, gzip", b"chunked, chunked",
    b"chunked,", b",chunked", b"chunked;", b"chunked;a=b", b"chunked; q=1", b'"chunked"',
    b"'chunked'", b"xchunked", b"chunkedx", b"chunke",
    b"chunked chunked", b"chunked\x00", b"\x00chunked", b"\x0bchunked", b"chunked\x0b",
    b"\x0cchunked", b"chunked\x7f", b"\xa0chunked",
    b"chunked\xc2\x85", b"(chunked)", b"chunked, ", b"c\thunked", b"chun\xe2\x84\xaaed",
    b"chunK\xc4\xb1ed", b"%63hunked", b"deflate",
    b"compress, chunked", b"chunked, trailers", b"cow, chunked",
)
for value in CODINGS_REFUSED:
    add(refused, f"coding {value!r}", post(b"Transfer-Encoding: " + value + b"\r\n",
        BODIES["as chunks"]) + SMUGGLED)

for name, fields in (
        ("twice", CHUNKED + CHUNKED), ("twice, in other letters",
        CHUNKED + b"tRANSFER-eNCODING: chunked\r\n"),
        ("and identity", CHUNKED + b"Transfer-Encoding: identity\r\n"),
        ("behind identity", b"Transfer-Encoding: identity\r\n" + CHUNKED),
        ("and cow", CHUNKED + b"Transfer-Encoding: cow\r\n"),
        ("and nothing", CHUNKED + b"Transfer-Encoding:\r\n"),
        ("folded", b"Transfer-Encoding:\r\n chunked\r\n"),
        ("folded with a tab", b"Transfer-Encoding:\r\n\tchunked\r\n"),
        ("folded on", b"Transfer-Encoding: chunked\r\n , identity\r\n"),
        ("with a space before the colon", b"Transfer-Encoding : chunked\r\n"),
        ("with a tab before the colon", b"Transfer-Encoding\t: chunked\r\n"),
        ("behind a bare LF", b"A: b\nTransfer-Encoding: chunked\r\n"),
        ("behind a bare CR", b"A: b\rTransfer-Encoding: chunked\r\n"),
        ("behind a space", b" Transfer-Encoding: chunked\r\n"),
        ("behind a tab", b"\tTransfer-Encoding: chunked\r\n"),
        ("with a vertical tab before the colon", b"Transfer-Encoding\x0b: chunked\r\n"),
        ("with NUL before the colon", b"Transfer-Encoding\x00: chunked\r\n"),
        ("with a fold in the name", b"Transfer-\r\n Encoding: chunked\r\n"),
        ("in quotes", b'"Transfer-Encoding": chunked\r\n'),
        ("with a bare CR behind", b"Transfer-Encoding: chunked\r\r\n"),
        ("without a colon", b"Transfer-Encoding chunked\r\n"),
        ("with LF CR", b"Transfer-Encoding: chunked\n\r\r\n")):
    add(refused, "codings: " + name, post(fields, BODIES["as chunks"]) + SMUGGLED)

for value in (b"chunked", b"CHUNKED", b"Chunked", b" \tchunked\t "):
    add(passed, f"coding {value!r}", post(b"Transfer-Encoding:" + value + b"\r\n",
        BODIES["as chunks"]),
        Seen(b"POST /", chunked=b"abcde"))
for method in (b"GET", b"DELETE", b"OPTIONS", b"PUT", b"X"):
    add(passed, f"{method.decode()} with a length", get(LENGTH, method=method) + b"abcde",
        Seen(method + b" /", body=b"abcde"))
    add(passed, f"{method.decode()} with chunks",
        get(CHUNKED, method=method) + BODIES["as chunks"],
        Seen(method + b" /", chunked=b"abcde"))
add(passed, "HEAD with a length", get(LENGTH, method=b"HEAD") + b"abcde",
    Seen(b"HEAD /", body=b"abcde"))
add(passed, "no framing: what follows is a request", get(target=b"/1") + post(target=b"/2"),
    Seen(b"GET /1"), Seen(b"POST /2"))

# HTTP/1.0 has no codings; recipients with and without them must read the same.
for name, fields in (("chunked", CHUNKED), ("both", CHUNKED + LENGTH),
    ("identity", b"Transfer-Encoding: identity\r\n"),
                     ("keep-alive", CHUNKED + b"Connection: keep-alive\r\n")):
    add(refused, "HTTP/1.0 and a coding: " + name,
        post(fields, BODIES["as chunks"], version=b"1.0") + SMUGGLED)
add(passed, "HTTP/1.0 and a length", post(LENGTH, b"abcde", version=b"1.0"),
    Seen(b"POST /", body=b"abcde", via=b"1.0"), end=CLOSED)
add(passed, "HTTP/1.0 kept alive", get(b"Connection: keep-alive\r\n",
    version=b"1.0") + get(target=b"/2"),
    Seen(via=b"1.0"), Seen(b"GET /2"))
add(passed, "HTTP/1.0 not kept alive", get(version=b"1.0") + SMUGGLED, Seen(via=b"1.0"),
    end=GONE)
add(passed, "HTTP/1.0 wants to upgrade", get(b"Connection: upgrade\r\nUpgrade: x\r\n",
    version=b"1.0"),
    Seen(via=b"1.0"), end=CLOSED)
add(passed, "HTTP/1.0 expects", post(LENGTH + b"Expect: 100-continue\r\n", b"abcde",
    version=b"1.0"),
    Seen(b"POST /", body=b"abcde", via=b"1.0"), end=CLOSED)

# Bodies that are requests.
add(passed, "a request as body", post(b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED),
    Seen(b"POST /", body=SMUGGLED))
add(passed, "a request as chunk", post(CHUNKED,
    b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n"),
    Seen(b"POST /", chunked=SMUGGLED))
add(passed, "chunks as body", post(b"Content-Length: 15\r\n", b"0\r\n\r\nGET / HTTP"),
    Seen(b"POST /", body=b"0\r\n\r\nGET / HTTP"))
add(Case, "garbage behind a body", post(LENGTH, b"abcde\x00"), [200, 400], CLOSED,
    [Seen(b"POST /", body=b"abcde")])
add(Case, "a large body", post(b"Content-Length: 102401\r\n"), [413], CLOSED, ())
add(passed, "the largest body", post(b"Content-Length: 102400\r\n", b"a" * 102400),
    Seen(b"POST /", body=b"a" * 102400))
