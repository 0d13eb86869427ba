"""The vocabulary of the tables in this folder."""
import re


# The state of the client's connection afterwards.
OPEN = "open"          # and usable for another request
CLOSED = "closed"      # with FIN, after a complete response
GONE = "gone"          # after a complete response, maybe by a reset: the client was malformed
EITHER = "either"      # open or closed, as the last response says
BROKEN = "broken"      # so that the response is visibly incomplete; or the client gets a
                       # 502, because no byte of the response had been forwarded
# What an origin's script or a client may do besides sending bytes. A number is a pause in
# seconds.
SHUT, CLOSE, RESET = "shut", "close", "reset"

NOTHING = ()           # no byte has reached an origin
CUT_OFF = "cut off"    # at most a part of one request, and then the end of its connection

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"

# How the client reaches the proxy; set before the cases are imported.
SCHEME, DEFAULT_PORT = b"http", b"80"


class Case:
    """send: bytes or steps of the client. responses: statuses, or (status, body). end: of the
    client's connection. origin: the requests it received. script: what the origin does;
    without it, it responds with the target as body. when: the script begins after the first
    "request", after its "head", or on "connect". kept: the origin's connection is used
    again. partial: an origin may have got a part of one more request, and then the end of
    its connection. announced: a close must have been announced."""

    def __init__(self, name, send, responses, end, origin, script=None, when="request",
                 kept=None, interim=(), methods=None, missing=(), cut=True, partial=False,
                 announced=True):
        self.name = name
        self.send = send if isinstance(send, (list, tuple)) else [send]
        self.responses = [a if isinstance(a, tuple) else (a, None) for a in responses]
        self.end, self.origin = end, origin
        self.script, self.when, self.kept = script, when, kept
        self.interim = None if interim == "any" else list(interim)
        self.missing, self.cut = missing, cut
        self.partial, self.announced = partial, announced and SHUT not in self.send
        first = next((s for s in self.send if isinstance(s, bytes)), b"")
        self.methods = methods or [first.lstrip(b"\r\n").split(b" ")[0]] + [b"GET"] * 400


class Seen:
    """A request as the origin must have received it, to the byte except chunk sizes."""

    def __init__(self, line=b"GET /", host=b"x", fields=(), body=None, chunked=None,
                 trailers=(), via=b"1.1", hop=(), asked=None, client=b"127.0.0.1"):
        asked = host if asked is None else asked
        self.line = line + b" HTTP/1.1"
        self.body = body if body is not None else chunked or b""
        self.trailers = list(trailers)
        self.fields = [(b"Host", host), *fields]
        if body is not None:
            self.fields.append((b"Content-Length", b"%d" % len(body)))
        if chunked is not None:
            self.fields.append((b"Transfer-Encoding", b"chunked"))
        self.fields += [(b"Via", via + b" fairlead"), (b"X-Forwarded-For", client),
                        (b"X-Forwarded-Proto", SCHEME)]
        if asked:
            port = re.search(rb":(\d+)$", asked)
            self.fields += [(b"X-Forwarded-Host", asked),
                            (b"X-Forwarded-Port", port[1] if port else DEFAULT_PORT)]
        self.fields += hop

    def differs(self, m):
        for what, got, wanted in (("line", m.line, self.line), ("body", m.body, self.body),
                                  ("fields", m.fields, self.fields),
                                  ("trailers", m.trailers, self.trailers)):
            if got != wanted:
                return f"the origin's {what}: {got!r}, not {wanted!r}"
        return None


def refused(name, send, status=400, **more):
    """The request gets this status and the connection is closed; no origin gets a byte."""
    return Case(name, send, [status], CLOSED, NOTHING, **more)


def cut_off(name, send, status=400, **more):
    """The body is malformed, and the origin may have received a part of it."""
    return Case(name, send, [status], CLOSED, CUT_OFF, **more)


def passed(name, send, *seen, end=OPEN, **more):
    return Case(name, send, [200] * len(seen), end, seen, **more)


def get(fields=b"", target=b"/", version=b"1.1", host=b"Host: x\r\n", method=b"GET"):
    return method + b" " + target + b" HTTP/" + version + b"\r\n" + host + fields + b"\r\n"


def post(fields=b"", body=b"", **more):
    return get(fields, method=b"POST", **more) + body
