"""A second parser of HTTP/1.1, independent of fairlead: it accepts only what a proxy that rewrites
every message writes, and calls anything else malformed.

Not executable, because it is no test itself.
"""
import re

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
TEXT = rb"[\t\x20-\x7e\x80-\xff]"
SOLID = rb"[\x21-\x7e\x80-\xff]"
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") (/[\x21\x22\x24-\x7e]*|\*) HTTP/1\.1")
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9]{2}) (" + TEXT + rb"*)")
FIELD = re.compile(rb"(" + TOKEN + rb"): ((?:" + SOLID + rb"(?:" + TEXT + rb"*" + SOLID
                   + rb")?)?)")
NUMBER = re.compile(rb"0|[1-9][0-9]*")
CHUNK = re.compile(rb"[1-9a-f][0-9a-f]*")
UNFINISHED = re.compile(rb"(?:(?:" + TEXT + rb"|\r\n)*\r?)?")    # the beginning of a head
HOP = (b"keep-alive", b"proxy-connection", b"http2-settings")
NOT_IN_TRAILERS = HOP + (
    b"authorization", b"cache-control", b"connection", b"content-encoding",
    b"content-length", b"content-range", b"content-type", b"cookie", b"date", b"expect",
    b"host", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since",
    b"if-range", b"location", b"max-forwards", b"proxy-authenticate",
    b"proxy-authorization", b"range", b"set-cookie", b"te", b"trailer",
    b"transfer-encoding", b"upgrade", b"via", b"www-authenticate", b"x-forwarded-for",
    b"x-forwarded-host", b"x-forwarded-proto", b"forwarded", b"x_real_ip")


class Malformed(Exception):
    pass


def demand(good, what, seen):
    if not good:
        raise Malformed(f"{what}: {bytes(seen)[:200]!r}")


class Message:
    """`framing`: none, length, chunked or close. Field names keep their spelling."""

    def __init__(self, line, fields):
        self.line, self.fields = line, fields
        self.framing, self.body, self.trailers = "none", b"", []

    def values(self, name):
        return [v for n, v in self.fields if n.lower() == name]

    def options(self, name):
        return [o.strip().lower() for v in self.values(name) for o in v.split(b",")]


def section(lines):
    fields = []
    for line in lines:
        found = FIELD.fullmatch(line)
        demand(found, "field line", line)
        fields.append((found[1], found[2]))
    return fields


def head(data, at, first_line):
    """(match of the first line, Message, where the body begins), or None: it is incomplete."""
    end = data.find(b"\r\n\r\n", at)
    if end < 0:
        demand(UNFINISHED.fullmatch(data[at:]), "beginning of a head", data[at:])
        return None
    lines = data[at:end].split(b"\r\n")
    found = first_line.fullmatch(lines[0])
    demand(found, "first line", lines[0])
    return found, Message(lines[0], section(lines[1:])), end + 4


def check_fields(m):
    lengths, codings = m.values(b"content-length"), m.values(b"transfer-encoding")
    demand(len(lengths) + len(codings) <= 1, "two framings", m.line)
    demand(all(NUMBER.fullmatch(v) for v in lengths), "Content-Length", b"".join(lengths))
    demand(all(v == b"chunked" for v in codings), "Transfer-Encoding", b"".join(codings))
    for name in HOP:
        demand(not m.values(name), "a field of one hop", name)
    demand(len(m.values(b"connection")) <= 1, "two Connection fields", m.line)
    demand(bool(m.values(b"upgrade")) == (b"upgrade" in m.options(b"connection")),
           "Upgrade and Connection do not match", m.line)
    return int(lengths[0]) if lengths else None, bool(codings)


def chunks(m, data, at):
    """Returns where the message ends, or None."""
    while True:
        end = data.find(b"\r\n", at)
        line = data[at:end] if end >= 0 else data[at:].rstrip(b"\r")
        demand(line == b"0" or CHUNK.fullmatch(line) or end < 0 and not line,
               "chunk line", data[at:at + 40])
        demand(len(line) <= 8, "chunk line", line)
        if end < 0:
            return None
        size, at = int(line, 16), end + 2
        if size == 0:
            return trailers(m, data, at)
        m.body += data[at:at + size]
        after = data[at + size:at + size + 2]
        demand(b"\r\n".startswith(after), "end of a chunk", after)
        if len(after) < 2:
            return None
        at += size + 2


def trailers(m, data, at):
    if data[at:at + 2] == b"\r\n":
        return at + 2
    end = data.find(b"\r\n\r\n", at)
    if end < 0:
        demand(UNFINISHED.fullmatch(data[at:]), "beginning of trailers", data[at:])
        return None
    m.trailers = section(data[at:end].split(b"\r\n"))
    for name, _ in m.trailers:
        demand(name.lower() not in NOT_IN_TRAILERS, "in trailers", name)
    return end + 4


def body(m, data, at, length, chunked):
    if chunked:
        m.framing = "chunked"
        return chunks(m, data, at)
    if length is not None:
        m.framing = "length"
        m.body = data[at:at + length]
        return at + length if len(data) >= at + length else None
    return at


def request(data, at=0):
    """(Message, where it ends, or None if it is incomplete), or None: the head is incomplete."""
    found = head(data, at, REQUEST_LINE)
    if not found:
        return None
    line, m, at = found
    m.method, m.target = line[1], line[2]
    demand(m.target != b"*" or m.method == b"OPTIONS", "target", m.line)
    demand(len(m.values(b"host")) == 1, "Host", m.line)
    demand(all(o in (b"upgrade", b"te") for o in m.options(b"connection")), "Connection",
           m.line)
    demand(all(v == b"trailers" for v in m.values(b"te")), "TE", m.line)
    length, chunked = check_fields(m)
    return m, body(m, data, at, length, chunked)


def response(data, at, method, ended):
    """The same for a response; `ended`: the connection has ended with FIN."""
    found = head(data, at, STATUS_LINE)
    if not found:
        return None
    line, m, at = found
    m.status = int(line[1])
    length, chunked = check_fields(m)
    if m.status < 200 or m.status == 204:
        demand(length is None and not chunked, "framing of a response without body", m.line)
    if m.status < 200 or m.status in (204, 304) or method == b"HEAD":
        demand(not chunked or method == b"HEAD", "chunked without a body", m.line)
        return m, at
    if length is None and not chunked:
        m.framing = "close"
        m.body = data[at:]
        return m, len(data) if ended else None
    return m, body(m, data, at, length, chunked)
