"""Chunked bodies and their trailers."""
from .case import (CLOSED, CUT_OFF, EITHER, GONE, RESET, SHUT, SMUGGLED, Case, Seen, cut_off,
    passed, post)

CASES = []
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"


def bad(name, body, status=400, end=CLOSED, **more):
    CASES.append(Case("chunks: " + name, post(CHUNKED, body), [status], end, CUT_OFF, **more))


def good(name, body, content, trailers=(), **more):
    CASES.append(passed("chunks: " + name, post(CHUNKED, body),
                        Seen(b"POST /", chunked=content, trailers=trailers), **more))


# --- sizes -------------------------------------------------------------------------

for size in (b"", b"g", b"x", b"-1", b"-5", b"+5", b"0x5", b"0X5", b"\\x5", b"5h", b"5g",
    b" 5", b"\t5", b"5 5", b"5.0", b"5,5",
             b"'5'", b'"5"', b"\x005", b"5\x00", b"\xd9\xa5", b"5\x0b", b"5\x0c", b"5\x7f",
             b"5\xa0", b"5_0", b"%35", b"#5", b"(5)",
             b"5:", b"5=", b"5 x", b"5\tx", b"5  \t", b"5 "):
    bad(f"size {size!r}", size + b"\r\nabcde\r\n" + END + SMUGGLED)
for size in (b"8000000000000000", b"ffffffffffffffff", b"FFFFFFFFFFFFFFFB",
    b"10000000000000000", b"10000000000000005",
             b"100000000000000000000000000000005", b"00000000000000005", b"f" * 300,
             b"0" * 300 + b"5", b"7fffffffffffffff0"):
    bad(f"size {size[:40].decode()}{len(size)}", size + b"\r\nabcde\r\n" + END + SMUGGLED)
bad("size over the limit of bodies", b"7fffffffffffffff\r\n" + b"a" * 200000, 413)
bad("sizes over the limit together",
    b"f000\r\n" + b"a" * 0xf000 + b"\r\nf000\r\n" + b"a" * 0xf000 + b"\r\n" + END, 413,
    end=EITHER)
for size, n in ((b"5", 5), (b"05", 5), (b"0000000000000005", 5), (b"a", 10), (b"A", 10),
    (b"00f", 15), (b"0F", 15)):
    good(f"size {size.decode()}", size + b"\r\n" + b"a" * n + b"\r\n" + END, b"a" * n)
good("none", END, b"")
good("last of many zeros", b"1\r\na\r\n0000000000000000\r\n\r\n", b"a")
good("of one byte", b"".join(b"1\r\n%c\r\n" % c for c in b"abcdefghij") + END, b"abcdefghij")
good("many", b"1\r\na\r\n" * 2000 + END, b"a" * 2000, cut=False)
good("one large", b"10000\r\n" + b"a" * 65536 + b"\r\n" + END, b"a" * 65536)

# --- ends of lines and chunks -------------------------------------------------------

for name, body in (
        ("bare LF behind a size", b"5\nabcde\r\n"), ("bare CR behind a size", b"5\rabcde\r\n"),
        ("CR CR LF behind a size", b"5\r\r\nabcde\r\n"),
        ("LF CR behind a size", b"5\n\rabcde\r\n"),
        ("bare LF behind data", b"5\r\nabcde\n"),
        ("bare CR behind data", b"5\r\nabcde\r0\r\n\r\n"),
        ("nothing behind data", b"5\r\nabcde"), ("two letters behind data", b"5\r\nabcdexx"),
        ("CR and a letter behind data", b"5\r\nabcde\rX"),
        ("two line ends behind data", b"5\r\nabcde\r\n\r\n"),
        ("size too small", b"4\r\nabcde\r\n"), ("size too large", b"6\r\nabcde\r\n0\r\n\r\n"),
        ("bare LF at the last chunk", b"5\r\nabcde\r\n0\n\r\n"),
        ("bare CR at the last chunk", b"0\r\r\n"),
        ("all in LF", b"5\nabcde\n0\n\n"), ("NUL behind data", b"5\r\nabcde\x00\x00"),
        ("empty line first", b"\r\n5\r\nabcde\r\n"),
        ("a space behind data", b"5\r\nabcde \r\n"),
        ("a space behind the last size", b"0 \r\n\r\n")):
    bad(name, body + END + SMUGGLED)
bad("bare LF for the last line", b"0\r\n\n" + SMUGGLED)
bad("bare CR for the last line", b"0\r\n\rX" + SMUGGLED)
bad("CR CR LF for the last line", b"0\r\n\r\r\n" + SMUGGLED)

# --- extensions ----------------------------------------------------------------------

# Also for responses (responses.py).
EXTENSIONS = (("a name", b";a"), ("a value", b";a=b"), ("a quoted value", b';a="b c"'),
    ("several", b";a;b=c;d"), ("all characters of a token", b";!#$%&'*+-.^_`|~09aZ=!"),
    ("spaces", b" ; a = b"), ("tabs", b"\t;\ta\t=\tb\t;\tc"),
    ("spaces between", b" ;a ;b = c ; d"),
    ("an escaped quote", b';a="\\""'), ("an escaped backslash", b';a="\\\\"'),
    ("a quoted semicolon", b';a=";"'), ("an empty quoted value", b';a=""'),
    ("a tab and high bytes, quoted", b';a="\t\xff\\\xff"'),
    ("behind a quoted value", b';a="b" ; c'), ("a size", b";5"),
    ("the longest", b";" + b"a" * 1000))
MALFORMED = (("bare LF", b";a\n"), ("bare LF and a chunk", b";a\n0\r\n\r\n"),
    ("bare CR", b";a\rb"), ("quoted LF", b';a="\n"'), ("quoted CR LF", b';a="\r\n"'),
    ("an escaped CR", b';a="\\\r\n"'), ("NUL", b";a\x00"), ("quoted NUL", b';a="\x00"'),
    ("an escaped control character", b';a="\\\x01"'),
    ("control character", b";\x01"), ("DEL", b";\x7f"), ("quoted DEL", b';a="\x7f"'),
    ("too long", b";" + b"a" * 1100), ("too long, quoted", b';a="' + b"a" * 1100 + b'"'),
    ("without end", b";" + b"a" * 20000),
    ("no semicolon", b" a"), ("a vertical tab", b"\x0b;a"), ("CR CR LF", b";a\r\r\n"),
    ("nothing", b";"), ("a space", b"; "), ("nothing, twice", b";;"), ("nothing before", b";;a"),
    ("nothing behind", b";a;"), ("high bytes", b";\xff"), ("an at sign", b";a@b=c"),
    ("a quoted name", b';"a"'), ("no name", b";=b"), ("no value", b";a="),
    ("no value, and another", b";a=;b"), ("two values", b";a=b=c"),
    ("a space within a name", b";a b"), ("a space within a value", b";a=b c"),
    ("a space at the end", b";a "), ("a space behind a value", b";a=b "),
    ("a space behind a quoted value", b';a="b" '),
    ("a quote within a value", b';a=b"c"'), ("a quote that stays open", b';a="b'),
    ("an escape that stays open", b';a="b\\"'), ("letters behind a quote", b';a="b"c'),
    ("a high byte in a value", b";a=\xff"), ("a comma", b";a,b"), ("a slash in a value", b";a=b/c"))
for name, ext in EXTENSIONS:
    good(f"extension: {name}", b"5" + ext + b"\r\nabcde\r\n0" + ext + b"\r\n\r\n", b"abcde")
for name, ext in MALFORMED:
    bad(f"extension: {name}", b"5" + ext + b"\r\nabcde\r\n" + END + SMUGGLED)
    bad(f"extension of the last chunk: {name}", b"0" + ext + b"\r\n\r\n" + SMUGGLED)
bad("many extensions",
    (b"1;" + b"a" * 900 + b"\r\na\r\n") * 2 + b"1;" + b"a" * 1100 + b"\r\na\r\n" + END)

# --- trailers ------------------------------------------------------------------------

good("trailers", b"1\r\na\r\n0\r\nX-Sum: 1\r\nb:2 \r\n\r\n", b"a",
    [(b"X-Sum", b"1"), (b"b", b"2")])
good("trailers repeated", b"0\r\nA: 1\r\nA: 2\r\n\r\n", b"", [(b"A", b"1"), (b"A", b"2")])
for field in (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: evil",
    b"Authorization: x", b"Cookie: a=b", b"Connection: close",
              b"Set-Cookie: a", b"Content-Type: a/b", b"Content-Encoding: gzip",
              b"Content-Range: bytes 0-1/2", b"TE: trailers",
              b"Trailer: A", b"Upgrade: x", b"X-Forwarded-For: 6.6.6.6",
              b"X-Forwarded-Host: evil", b"X-Forwarded-Proto: evil",
              b"Forwarded: for=6.6.6.6", b"X_Real_IP: 6.6.6.6",
              b"Keep-Alive: x", b"Proxy-Connection: close", b"Max-Forwards: 0",
              b"Range: bytes=0-", b"If-Match: *", b"Expect: 100-continue",
              b"Via: 1.1 x", b"Cache-Control: x", b"Proxy-Authorization: x", b"hOST: evil",
              b"cONTENT-lENGTH: 5"):
    good(f"trailer {field.decode()}", b"1\r\na\r\n0\r\nA: b\r\n" + field + b"\r\nC: d\r\n\r\n",
        b"a", [(b"A", b"b"), (b"C", b"d")])
for name, section in (
        ("space before the colon", b"A : b\r\n"), ("no colon", b"A\r\n"),
        ("folded", b"A: b\r\n c\r\n"), ("fold first", b" A: b\r\n"),
        ("bare LF", b"A: b\nC: d\r\n"), ("bare CR", b"A: b\rC: d\r\n"),
        ("NUL", b"A: \x00\r\n"), ("a request", b"GET /smuggled HTTP/1.1\r\n"),
        ("no name", b": b\r\n"), ("a control character", b"A: \x01\r\n"),
        ("a space in the name", b"A b: c\r\n"), ("a size", b"5\r\n"),
        ("bare LF at the end", b"A: b\r\n\n"), ("LF LF", b"A: b\n\n")):
    bad(f"trailers: {name}", b"1\r\na\r\n0\r\n" + section + b"\r\n" + SMUGGLED)
bad("trailers too large", b"0\r\nA: " + b"a" * 10000 + b"\r\n\r\n", 400)
bad("trailers too many", b"0\r\n" + b"A: b\r\n" * 51 + b"\r\n", 400)
bad("trailers without end", b"0\r\n" + b"A: b\r\n" * 5000, 400)

# --- bodies that end too early --------------------------------------------------------

for name, fields, body in (("no byte", b"Content-Length: 5\r\n", b""),
    ("a part", b"Content-Length: 5\r\n", b"abc"),
                           ("no chunk", CHUNKED, b""), ("half a size", CHUNKED, b"5"),
                           ("half a chunk", CHUNKED, b"5\r\nabc"),
                           ("no last chunk", CHUNKED, b"5\r\nabcde\r\n"),
                           ("no last line", CHUNKED, b"0\r\n"),
                           ("half trailers", CHUNKED, b"0\r\nA: b")):
    CASES.append(cut_off(f"body ends: {name}", [post(fields, body), SHUT], 400))
    CASES.append(Case(f"body ends in a reset: {name}", [post(fields, body), 0.01, RESET], [],
        GONE, CUT_OFF, cut=False))
