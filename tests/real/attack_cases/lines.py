"""Request lines, targets, Host, field lines, and the limits of a head."""
from .case import (CLOSED, GONE, NOTHING, OPEN, SHUT, SMUGGLED, Case, Seen, get, passed,
                   post, refused)

CASES = []


def add(make, *args, **more):
    CASES.append(make(*args, **more))


# --- request line ------------------------------------------------------------------

LINES_REFUSED = (
    ("two spaces before the target", b"GET  / HTTP/1.1"),
    ("two spaces before the version", b"GET /  HTTP/1.1"),
    ("space behind the version", b"GET / HTTP/1.1 "),
    ("space before the method", b" GET / HTTP/1.1"),
    ("tab before the method", b"\tGET / HTTP/1.1"),
    ("tab before the target", b"GET\t/ HTTP/1.1"),
    ("tab before the version", b"GET /\tHTTP/1.1"),
    ("vertical tab in the line", b"GET\x0b/ HTTP/1.1"),
    ("form feed in the line", b"GET /\x0cHTTP/1.1"),
    ("no target", b"GET HTTP/1.1"),
    ("empty target", b"GET  HTTP/1.1"),
    ("no method", b"/ HTTP/1.1"),
    ("no version", b"GET /"),
    ("no version but a space", b"GET / "),
    ("only a method", b"GET"),
    ("space in the target", b"GET /a b HTTP/1.1"),
    ("a second version", b"GET / HTTP/1.1 HTTP/1.1"),
    ("a smuggled line", b"GET / HTTP/1.1\rGET /smuggled HTTP/1.1"),
    ("lower case version", b"GET / http/1.1"),
    ("mixed case version", b"GET / Http/1.1"),
    ("version without digits", b"GET / HTTP/"),
    ("version with one digit", b"GET / HTTP/1"),
    ("version with an empty minor", b"GET / HTTP/1."),
    ("version with a long minor", b"GET / HTTP/1.10"),
    ("version with a long major", b"GET / HTTP/11.1"),
    ("version with a leading zero", b"GET / HTTP/01.1"),
    ("version with a sign", b"GET / HTTP/+1.1"),
    ("version with a comma", b"GET / HTTP/1,1"),
    ("version with a letter", b"GET / HTTP/1.x"),
    ("version of another protocol", b"GET / HTCPCP/1.0"),
    ("version of ICY", b"GET / ICY/1.1"),
    ("method with a control character", b"G\x01ET / HTTP/1.1"),
    ("method with NUL", b"GET\x00 / HTTP/1.1"),
    ("method with a colon", b"GET: / HTTP/1.1"),
    ("method with brackets", b"G(E)T / HTTP/1.1"),
    ("method with a slash", b"G/T / HTTP/1.1"),
    ("method with an at sign", b"G@T / HTTP/1.1"),
    ("method with high bytes", b"G\xc3\x89T / HTTP/1.1"),
    ("method in quotes", b'"GET" / HTTP/1.1'),
    ("a field as first line", b"Host: x"),
    ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("PROXY protocol", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2"),
    ("an SSH greeting", b"SSH-2.0-OpenSSH_9.2"),
    ("NUL only", b"\x00"),
    ("byte order mark", b"\xef\xbb\xbfGET / HTTP/1.1"),
    ("DEL in the line", b"GET /\x7f HTTP/1.1"),
)
for name, line in LINES_REFUSED:
    add(refused, "line: " + name, line + b"\r\nHost: x\r\n\r\n" + SMUGGLED)

for version in (b"0.9", b"2.0", b"3.0", b"9.9", b"0.0"):
    add(refused, "version " + version.decode(), get(version=version) + SMUGGLED, 505)
add(refused, "preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)
for version in (b"1.2", b"1.9"):
    add(passed, "version " + version.decode(), get(version=version), Seen())

add(refused, "line ends in bare LF", b"GET / HTTP/1.1\nHost: x\r\n\r\n" + SMUGGLED)
add(refused, "line ends in bare CR", b"GET / HTTP/1.1\rHost: x\r\n\r\n" + SMUGGLED)
add(refused, "line ends in CR CR LF", b"GET / HTTP/1.1\r\r\nHost: x\r\n\r\n" + SMUGGLED)
add(refused, "line ends in LF CR", b"GET / HTTP/1.1\n\rHost: x\r\n\r\n" + SMUGGLED)
add(refused, "all in bare LF", b"GET / HTTP/1.1\nHost: x\n\n" + SMUGGLED)
add(refused, "empty line of LF before", b"\n" + get() + SMUGGLED)
add(refused, "empty line of CR before", b"\r" + get() + SMUGGLED)
add(refused, "a space on a line before", b" \r\n" + get() + SMUGGLED)
add(passed, "empty line before", b"\r\n" + get(), Seen())
add(passed, "several empty lines before", b"\r\n" * 5 + get(), Seen())
add(passed, "empty lines between", get(target=b"/1") + b"\r\n\r\n" + get(target=b"/2"),
    Seen(b"GET /1"), Seen(b"GET /2"))

for method in (b"get", b"Get", b"X", b"PATCH", b"PROPFIND", b"TRACE", b"DELETE", b"M-SEARCH",
               b"!#$%&'*+-.^_`|~1", b"A" * 200):
    add(passed, f"method {method[:20].decode()}", get(method=method), Seen(method + b" /"))
add(passed, "OPTIONS", get(method=b"OPTIONS"), Seen(b"OPTIONS /"))
add(passed, "OPTIONS *", get(method=b"OPTIONS", target=b"*"), Seen(b"OPTIONS *"))
add(passed, "HEAD", get(method=b"HEAD"), Seen(b"HEAD /"))

for name, target in (("an authority", b"x:80"), ("nothing", b""), ("a path", b"/"),
                     ("no port", b"x"), ("an empty port", b"x:"), ("a URI", b"http://x/"),
                     ("a large port", b"x:65536"), ("user information", b"a@x:80")):
    status = 405 if name == "an authority" else 400
    if status == 400:
        add(refused, "CONNECT to " + name, get(method=b"CONNECT", target=target) + SMUGGLED)
add(Case, "CONNECT", get(method=b"CONNECT", target=b"x:80", host=b"Host: x:80\r\n"),
    [405], OPEN, NOTHING)
add(Case, "CONNECT with bytes behind",
    get(method=b"CONNECT", target=b"x:80", host=b"Host: x:80\r\n") + b"\x16\x03\x01garbage",
    [405, 400], CLOSED, NOTHING)


# --- targets -----------------------------------------------------------------------

TARGETS_REFUSED = (
    ("no slash", b"x"), ("a relative path", b"a/b"), ("a query alone", b"?q"),
    ("an asterisk", b"*"), ("an asterisk and more", b"*x"), ("a fragment", b"/a#b"),
    ("a fragment alone", b"#"), ("high bytes", b"/\xc3\xa4"), ("a lone high byte", b"/\xff"),
    ("NUL", b"/\x00"), ("an encoded nothing", b"/%"), ("half an encoding", b"/%4"),
    ("a bad encoding", b"/%zz"), ("a bad encoding amid", b"/a%4gb"),
    ("encoding of encoding, cut", b"/%%41"), ("a bare CR", b"/a\rb"), ("a backslash", b"\\"),
    ("another scheme", b"ftp://x/"), ("a scheme without slashes", b"http:x"),
    ("a scheme with one slash", b"http:/x"), ("a scheme and no host", b"http://"),
    ("a scheme and a path", b"http:///a"), ("a scheme and a query", b"http://?q"),
    ("user information", b"http://u@x/"), ("user and password", b"http://u:p@x/"),
    ("a port of letters", b"http://x:y/"), ("a port too large", b"http://x:65536/"),
    ("a port too long", b"http://x:000080/"), ("a negative port", b"http://x:-1/"),
    ("a host with a space encoded badly", b"http://x%2/"),
    ("an IPv6 host, open", b"http://[::1/"),
    ("an IPv6 host, bad", b"http://[::g]/"), ("an IPv6 zone", b"http://[fe80::1%25eth0]/"),
    ("javascript", b"javascript:alert(1)"), ("file", b"file:///etc/passwd"),
    ("no scheme", b"://x/"), ("an absolute target with a fragment", b"http://x/#f"),
)
for name, target in TARGETS_REFUSED:
    add(refused, "target: " + name, get(target=target) + SMUGGLED)

for target in (b"/", b"//", b"//x/y", b"/a/../../b", b"/./a", b"/%2e%2e/%2f", b"/%00",
    b"/%0d%0a",
               b"/a?b=c&d", b"/?", b"/??", b"/a;b=c", b"/|{}[]^`\\\"<>", b"/a?%zz", b"/:80",
               b"/@", b"/http://y/", b"/*", b"/" + b"a" * 4000):
    add(passed, "target " + target[:30].decode(), get(target=target), Seen(b"GET " + target))

ABSOLUTE = (
    (b"http://y/a?b", b"/a?b", b"y"), (b"HTTP://y/", b"/", b"y"), (b"https://y/", b"/", b"y"),
    (b"http://y", b"/", b"y"), (b"http://y?q", b"/?q", b"y"),
    (b"http://y:8080/", b"/", b"y:8080"),
    (b"http://y:/", b"/", b"y:"), (b"http://[::1]:80/", b"/", b"[::1]:80"),
    (b"http://y//x", b"//x", b"y"), (b"http://127.0.0.1/", b"/", b"127.0.0.1"),
)
for target, path, host in ABSOLUTE:
    add(passed, "target " + target.decode(), get(target=target),
        Seen(b"GET " + path, host=host))
add(passed, "OPTIONS of an authority", get(method=b"OPTIONS", target=b"http://y"),
    Seen(b"OPTIONS *", host=b"y"))
add(passed, "an absolute target beats an empty Host",
    get(target=b"http://y/", host=b"Host:\r\n"), Seen(host=b"y"))
add(refused, "an absolute target without Host", get(target=b"http://y/", host=b""))
add(refused, "an absolute target with a bad Host",
    get(target=b"http://y/", host=b"Host: a b\r\n"))
add(refused, "an absolute target with two Hosts",
    get(target=b"http://y/", host=b"Host: x\r\nHost: y\r\n"))
add(passed, "an absolute target in HTTP/1.0",
    get(target=b"http://y/", host=b"", version=b"1.0"), Seen(host=b"y", via=b"1.0"),
    end=CLOSED)


# --- Host --------------------------------------------------------------------------

HOSTS_REFUSED = (
    ("missing", b""), ("empty", b"Host:\r\n"), ("of spaces", b"Host: \t \r\n"),
    ("twice", b"Host: x\r\nHost: x\r\n"),
    ("twice, differing", b"Host: x\r\nHost: y\r\n"),
    ("twice, in other case", b"Host: x\r\nhOST: x\r\n"),
    ("twice, apart", b"Host: x\r\nA: b\r\nHost: y\r\n"),
    ("twice, one empty", b"Host: x\r\nHost:\r\n"),
    ("a list", b"Host: x, y\r\n"), ("two words", b"Host: x y\r\n"),
    ("a path", b"Host: x/y\r\n"),
    ("a scheme", b"Host: http://x\r\n"), ("user information", b"Host: u@x\r\n"),
    ("a query", b"Host: x?y\r\n"), ("a fragment", b"Host: x#y\r\n"),
    ("a backslash", b"Host: x\\y\r\n"),
    ("letters as port", b"Host: x:y\r\n"), ("a port too large", b"Host: x:65536\r\n"),
    ("two ports", b"Host: x:1:2\r\n"), ("a negative port", b"Host: x:-1\r\n"),
    ("a port alone", b"Host: :80\r\n"), ("an IPv6 address without brackets", b"Host: ::1\r\n"),
    ("an IPv6 address, open", b"Host: [::1\r\n"),
    ("an IPv6 address, bad", b"Host: [:::1]\r\n"),
    ("an IPv6 address and more", b"Host: [::1]x\r\n"), ("high bytes", b"Host: \xc3\xa4\r\n"),
    ("NUL", b"Host: x\x00y\r\n"), ("a tab", b"Host: x\ty\r\n"),
    ("a bad encoding", b"Host: x%2\r\n"),
    ("folded", b"Host:\r\n x\r\n"), ("a space before the colon", b"Host : x\r\n"),
    ("quotes", b'Host: "x"\r\n'), ("markup", b"Host: <x>\r\n"), ("a caret", b"Host: x^y\r\n"),
    ("braces", b"Host: {x}\r\n"), ("a bar", b"Host: x|y\r\n"),
)
for name, host in HOSTS_REFUSED:
    add(refused, "Host: " + name, get(host=host) + SMUGGLED)

for host in (b"x", b"X.Example", b"x:80", b"x:", b"127.0.0.1:1", b"[::1]",
    b"[::ffff:1.2.3.4]:65535",
             b"a_b", b"x.", b"xn--nxasmq6b", b"a%41", b"-", b"x'y(z)!$&*+;=~"):
    add(passed, "Host " + host.decode(), get(host=b"Host: " + host + b"\r\n"), Seen(host=host))
add(refused, "Host is empty, OPTIONS *", get(target=b"*", host=b"Host:\r\n", method=b"OPTIONS"))
add(refused, "Host is empty in HTTP/1.0", get(host=b"Host:\r\n", version=b"1.0") + SMUGGLED)
add(passed, "Host in other letters, with spaces", get(host=b"hOsT:\t x \r\n"), Seen())
add(passed, "Connection names Host", get(b"Connection: Host\r\n"), Seen())


# --- field lines -------------------------------------------------------------------

FIELDS_REFUSED = (
    ("space before the colon", b"A : b\r\n"), ("tab before the colon", b"A\t: b\r\n"),
    ("space within the name", b"A b: c\r\n"), ("no colon", b"A\r\n"), ("no name", b": b\r\n"),
    ("folded", b"A: b\r\n c\r\n"), ("folded with a tab", b"A: b\r\n\tc\r\n"),
    ("folded to nothing", b"A: b\r\n \r\n"), ("folded at the colon", b"A:\r\n b\r\n"),
    ("bare LF", b"A: b\nC: d\r\n"), ("bare LF and an empty line",
    b"A: b\n\nGET /smuggled HTTP/1.1\n"),
    ("bare CR", b"A: b\rC: d\r\n"), ("bare CR at the end", b"A: b\r\r\n"),
    ("LF CR", b"A: b\n\rC: d\r\n"),
    ("NUL in a value", b"A: b\x00c\r\n"), ("NUL in a name", b"A\x00: b\r\n"),
    ("NUL before", b"\x00A: b\r\n"),
    ("control character in a value", b"A: \x01\r\n"), ("escape in a value", b"A: \x1b[2J\r\n"),
    ("DEL in a value", b"A: \x7f\r\n"), ("vertical tab in a value", b"A: b\x0bc\r\n"),
    ("form feed in a value", b"A: b\x0cc\r\n"), ("backspace in a value", b"A: b\x08\r\n"),
    ("high byte in a name", b"\xc3\x84: b\r\n"), ("slash in a name", b"A/B: c\r\n"),
    ("quote in a name", b'"A": b\r\n'), ("bracket in a name", b"A(b): c\r\n"),
    ("comma in a name", b"A,B: c\r\n"),
    ("at sign in a name", b"A@b: c\r\n"), ("equals sign in a name", b"A=b: c\r\n"),
    ("a semicolon in a name", b"A;b: c\r\n"), ("a backslash in a name", b"A\\b: c\r\n"),
    ("a bracket of HTTP/2", b":method: GET\r\n"), ("a brace in a name", b"{A}: b\r\n"),
    ("no-break space before the colon", b"A\xa0: b\r\n"),
    ("a vertical tab before the colon", b"A\x0b: b\r\n"),
)
for name, field in FIELDS_REFUSED:
    add(refused, "field: " + name, get(field) + SMUGGLED)
add(refused, "field: a space before the first",
    b"GET / HTTP/1.1\r\n Host: x\r\n\r\n" + SMUGGLED)
add(refused, "field: a space line before the first",
    b"GET / HTTP/1.1\r\n \r\nHost: x\r\n\r\n" + SMUGGLED)
add(refused, "field: a line of spaces at the end",
    b"GET / HTTP/1.1\r\nHost: x\r\n \r\n\r\n" + SMUGGLED)
add(refused, "head ends in CR CR LF", b"GET / HTTP/1.1\r\nHost: x\r\n\r\r\n" + SMUGGLED)
add(refused, "head ends in LF", b"GET / HTTP/1.1\r\nHost: x\r\n\n" + SMUGGLED)
add(refused, "head ends in CR", b"GET / HTTP/1.1\r\nHost: x\r\n\rX" + SMUGGLED)

FIELDS_PASSED = (
    ("no space behind the colon", b"A:b\r\n", [(b"A", b"b")]),
    ("spaces around the value", b"A: \t b c \t\r\n", [(b"A", b"b c")]),
    ("empty", b"A:\r\n", [(b"A", b"")]), ("only spaces", b"A:  \t \r\n", [(b"A", b"")]),
    ("a tab within", b"A: b\tc\r\n", [(b"A", b"b\tc")]),
    ("high bytes", b"A: \x80\xff\r\n", [(b"A", b"\x80\xff")]),
    ("a colon within", b"A:: b:\r\n", [(b"A", b": b:")]),
    ("repeated", b"A: 1\r\nB: x\r\na: 2\r\nA: 1\r\n",
     [(b"A", b"1"), (b"B", b"x"), (b"a", b"2"), (b"A", b"1")]),
    ("of odd letters", b"!#$%&'*+-.^_`|~: b\r\n", [(b"!#$%&'*+-.^_`|~", b"b")]),
    ("underscores, which some read as dashes",
    b"Content_Length: 5\r\nTransfer_Encoding: chunked\r\n",
     [(b"Content_Length", b"5"), (b"Transfer_Encoding", b"chunked")]),
    ("encoded line ends", b"A: b%0d%0aC: d\\r\\n\r\n", [(b"A", b"b%0d%0aC: d\\r\\n")]),
    ("Unicode line ends", b"A: \xe5\x98\x8d\xe5\x98\x8a\xe2\x80\xa8\xc2\x85\r\n",
     [(b"A", b"\xe5\x98\x8d\xe5\x98\x8a\xe2\x80\xa8\xc2\x85")]),
    ("a request in a value", b"A: GET /smuggled HTTP/1.1\r\n",
    [(b"A", b"GET /smuggled HTTP/1.1")]),
    ("shell shock", b"A: () { :; }; echo x\r\n", [(b"A", b"() { :; }; echo x")]),
)
for name, fields, kept in FIELDS_PASSED:
    add(passed, "field: " + name, get(fields), Seen(fields=kept))

HOPS = (
    ("Keep-Alive", b"Keep-Alive: timeout=5\r\n"),
    ("Proxy-Connection", b"Proxy-Connection: close\r\n"),
    ("TE", b"TE: gzip\r\n"), ("HTTP2-Settings", b"HTTP2-Settings: AAA\r\n"),
    ("Upgrade alone", b"Upgrade: x\r\n"),
    ("Connection: keep-alive", b"Connection: keep-alive\r\n"),
    ("a named field", b"Connection: A\r\nA: b\r\n"),
    ("a named field before", b"a: b\r\nConnection: A\r\n"),
    ("a named field, repeated",
    b"Connection: ,a ,\r\nA: b\r\na: c\r\nConnection: B\r\nb: d\r\n"),
    ("a named X-Forwarded-For",
    b"X-Forwarded-For: 6.6.6.6\r\nConnection: x-forwarded-for\r\n"),
    ("a named X-Forwarded-Proto",
    b"X-Forwarded-Proto: https\r\nConnection: X-Forwarded-Proto\r\n"),
    ("a named Via", b"Connection: via\r\nVia: 1.0 a\r\n"),
    ("empty Connection", b"Connection:\r\n"),
    ("Connection of commas", b"Connection: , ,,\r\n"),
    ("an overwritten X-Forwarded-Host",
    b"X-Forwarded-Host: evil\r\nX-Forwarded-Proto: evil\r\n"),
    ("Connection names Transfer-Encoding", b"Connection: Transfer-Encoding\r\n"),
)
for name, fields in HOPS:
    add(passed, "hop: " + name, get(fields), Seen())
add(passed, "hop: TE: trailers", get(b"TE: gzip, Trailers\r\n"),
    Seen(hop=[(b"TE", b"trailers"), (b"Connection", b"TE")]))
add(passed, "hop: close", get(b"Connection: close\r\n") + SMUGGLED, Seen(), end=GONE)
add(passed, "hop: close among others", get(b"Connection: keep-alive, CLOSE\r\n") + SMUGGLED,
    Seen(), end=GONE)
FORWARDING = (b"Forwarded", b"X-Forwarded-For", b"X-Forwarded-Port", b"X-Forwarded-Prefix",
              b"X-Forwarded-Server", b"X-Real-IP", b"Client-IP", b"True-Client-IP",
              b"CF-Connecting-IP")
for name in FORWARDING:
    spellings = {name, name.upper()} | {name.replace(b"-", b) for b in (b"_", b".")}
    for spelled in sorted(spellings):
        add(passed, f"a stranger's {spelled.decode()}",
            get(b"A: b\r\n" + spelled + b": 6.6.6.6\r\nC: d\r\n"),
            Seen(fields=[(b"A", b"b"), (b"C", b"d")]))
add(passed, "Connection names the length",
    post(b"Content-Length: 3\r\nConnection: content-length\r\n", b"abc"),
    Seen(b"POST /", body=b"abc"))
for name, value in (("a space", b"a b"), ("a quote", b'"close"'),
    ("a parameter", b"close;q=1"),
                    ("a colon", b"a:b"), ("65 options", b",".join([b"a"] * 65))):
    add(refused, "Connection with " + name, get(b"Connection: " + value + b"\r\n") + SMUGGLED)


# --- limits ------------------------------------------------------------------------

HEAD_MAX, FIELDS_MAX = 8192, 50
small = len(get())
add(passed, "the longest head", get(b"A: " + b"a" * (HEAD_MAX - small - 5) + b"\r\n"),
    Seen(fields=[(b"A", b"a" * (HEAD_MAX - small - 5))]))
add(refused, "a head one byte too long", get(b"A: " + b"a" * (HEAD_MAX - small - 4) + b"\r\n"),
    431)
add(refused, "a head without end", b"GET / HTTP/1.1\r\nA: " + b"a" * 30000, 431)
add(refused, "a field name without end", b"GET / HTTP/1.1\r\n" + b"a" * 30000, 431)
add(refused, "a target without end", b"GET /" + b"a" * 30000, 414)
add(refused, "a method without end", b"A" * 30000, 414)
add(passed, "the longest target", get(target=b"/" + b"a" * (HEAD_MAX - small)),
    Seen(b"GET /" + b"a" * (HEAD_MAX - small)))
add(passed, "the most fields", get(b"A: b\r\n" * (FIELDS_MAX - 1)),
    Seen(fields=[(b"A", b"b")] * (FIELDS_MAX - 1)))
add(refused, "one field too many", get(b"A: b\r\n" * FIELDS_MAX) + SMUGGLED, 431)
add(refused, "empty lines without end", b"\r\n" * 20000, 431)
add(refused, "a head that never comes", [b"GET / HTTP/1.1\r\nHost: x\r\n"], 408, cut=False)
add(Case, "half a head and the end", [b"GET / HTTP/1.1\r\nHost: x\r\n", SHUT], [], CLOSED,
    NOTHING)
add(Case, "nothing and the end", [b"", SHUT], [], CLOSED, NOTHING, cut=False)
