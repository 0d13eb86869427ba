#!/usr/bin/env python3
"""Records as nobody should write them: of wrong types and lengths, cut at every byte, changed,
repeated, empty ones by the thousand, half a ClientHello, no ClientHello. Each connection must
end, with the right alert where one can be sent; no byte of it may reach the origin as a request;
and the next client must be served."""
# asan
import socket
import ssl
import struct
import time

import rig
import tlsrig

CHANGE, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
CLOSE_NOTIFY, UNEXPECTED, BAD_MAC, OVERFLOW = 0, 10, 20, 22
DECODE, VERSION, INTERNAL = 50, 70, 80
GET = b"GET /bytes/10 HTTP/1.1\r\nHost: localhost\r\n\r\n"
FRAGMENT_MAX = 1 << 14
FLOOD = 20000
CONFIG = tlsrig.CONFIG.rstrip()[:-2] + ", handshake_timeout: 2s }}\n"
PATIENCE_S = 10


def record(kind, body, version=0x0303):
    return struct.pack(">BHH", kind, version, len(body)) + body


class Raw:
    """A TCP connection."""

    def __init__(self, world):
        self.sock = socket.create_connection(("127.0.0.1", world.port), PATIENCE_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        """False: the proxy has ended the connection."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def rest(self):
        """What the proxy sends until its end."""
        data = b""
        try:
            while piece := self.sock.recv(65536):
                data += piece
        except ConnectionResetError:
            pass
        self.sock.close()
        return data


def alerts(data):
    """The descriptions of plaintext alerts in data, which must be whole records."""
    found, at = [], 0
    while at + 5 <= len(data):
        kind, _, n = struct.unpack_from(">BHH", data, at)
        rig.check(kind in (CHANGE, ALERT, HANDSHAKE, DATA) and at + 5 + n <= len(data),
                  lambda: f"not records: {data[at:at + 20]!r}")
        if kind == ALERT and n == 2:
            found.append(data[at + 6])
        at += 5 + n
    return found


# --- before the handshake ---------------------------------------------------------------

def hello_of(world, version=None):
    """The handshake message of a ClientHello, and the client that goes on with it."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tlsrig.context(world.pki, version).wrap_bio(into, out, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()[5:], client, into, out


def completes(world, pieces_of, version=None, pause_s=0.0):
    """A handshake whose ClientHello goes in the pieces that pieces_of() makes of it, and a
    request."""
    message, client, into, out = hello_of(world, version)
    raw = Raw(world)
    for piece in pieces_of(message):
        rig.check(raw.send(piece), "it ended within the ClientHello")
        time.sleep(pause_s)
    steps = [client.do_handshake, lambda: client.write(GET), lambda: client.read(4096)]
    got = None
    while steps:
        try:
            got = steps[0]()
            steps.pop(0)
            raw.send(out.read())
        except ssl.SSLWantReadError:
            raw.send(out.read())
            piece = raw.sock.recv(65536)
            rig.check(piece, "it ended in the handshake")
            into.write(piece)
    rig.check(got.startswith(b"HTTP/1.1 200"), f"{got}")
    raw.sock.close()


def cut_hellos(world):
    """A ClientHello in two records, cut at each byte; in the smallest records; in segments of one
    byte."""
    piece = 9    # at most 64 records
    n = len(hello_of(world)[0])
    step = 1 if rig.FULL else 5
    for version in (None, ssl.TLSVersion.TLSv1_2):
        for at in range(1, n, step if version is None else 37):
            completes(world, lambda m, at=at: [record(HANDSHAKE, m[:at]) +
                                               record(HANDSHAKE, m[at:])], version)
        completes(world, lambda m: [b"".join(record(HANDSHAKE, m[i:i + piece])
                                             for i in range(0, len(m), piece))], version)
        completes(world, lambda m: [record(HANDSHAKE, m)[i:i + 1] for i in range(len(m) + 5)],
                  version, 0.0005)


FIRST = (    # what comes first, and the alert that answers it; None: nothing does, it is no TLS
    ("type 0", record(0, b"x" * 10), None),
    ("type 24", record(24, b"x" * 10), UNEXPECTED),
    ("application data", record(DATA, b"x" * 100), UNEXPECTED),
    ("an alert", record(ALERT, b"\2\50"), UNEXPECTED),
    ("an empty record", record(HANDSHAKE, b"") * 3, UNEXPECTED),
    ("empty records", record(HANDSHAKE, b"") * FLOOD, UNEXPECTED),
    ("change_cipher_specs", record(CHANGE, b"\1") * FLOOD, UNEXPECTED),
    ("a long record", struct.pack(">BHH", HANDSHAKE, 0x0301, FRAGMENT_MAX + 1) +
     b"\1\0\xff\xff" + b"x" * FRAGMENT_MAX, OVERFLOW),
    ("a longer record", struct.pack(">BHH", HANDSHAKE, 0x0301, 65535) + b"x" * 65535,
     OVERFLOW),
    ("a ServerHello", record(HANDSHAKE, b"\2\0\0\4abcd"), UNEXPECTED),
    ("a hello of 16 MB", record(HANDSHAKE, b"\1\xff\xff\xff" + b"x" * 16000) * 40,
     DECODE),
    ("a hello of nothing", record(HANDSHAKE, b"\1\0\0\0"), DECODE),
    ("a hello of garbage", record(HANDSHAKE, b"\1\0\0\x50" + b"\x07" * 80), DECODE),
    ("SSLv2", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80" + b"\2" * 34, None),
    ("noise", bytes((i * 89 + 7) % 256 for i in range(5000)), None),
    ("zeros", bytes(5000), None),
)


def wrong_first(world):
    for name, data, wanted in FIRST:
        raw = Raw(world)
        raw.send(data)
        try:
            raw.sock.shutdown(socket.SHUT_WR)    # an incomplete hello is not waited for
        except OSError:
            pass
        got = raw.rest()
        # After many bytes unread, a reset may eat the alert.
        if not tlsrig.STAND_IN and (got or len(data) < 1000):
            exact = [] if wanted is None else [wanted]
            world.expect(alerts(got) == exact, f"{name}: alerts {alerts(got)}, not {exact}")
        rig.check(len(got) < 1000, f"{name}: {len(got)} bytes in response")
        world.served(name)


def plain_http(world):
    for line in (b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.1\r\n", b"OPTIONS * HTTP/1.1\r\n",
                 b"PRI * HTTP/2.0\r\n"):
        raw = Raw(world)
        raw.send(line + b"Host: x\r\n\r\n")
        got = raw.rest()
        rig.check(got.startswith(b"HTTP/1.1 400 ") and b"use https://" in got,
                  f"{line}: {got[:200]}")
    world.served("plain HTTP")


def silent(world):
    """Nothing, and parts of a ClientHello: ended by limits.handshake_timeout."""
    message = hello_of(world)[0]
    whole = record(HANDSHAKE, message)
    raws = []
    for n in (0, 1, 5, 6, 100, len(whole) - 1, len(whole)):
        raws.append(Raw(world))
        raws[-1].send(whole[:n])
    began = time.monotonic()
    for raw in raws:
        raw.rest()
    took = time.monotonic() - began
    rig.check(0.5 < took < PATIENCE_S - 1, f"ended after {took:.1f} s, not after two")
    world.served("silence")


# --- after the handshake ----------------------------------------------------------------

def changed(data, at, mask=1):
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1:]


AFTER = (    # name; what is made of the sealed request; the alert that answers it, in TLS 1.3 and 1.2
    ("the tag's last bit", lambda r: changed(r, len(r) - 1), BAD_MAC, BAD_MAC),
    ("the tag's first bit", lambda r: changed(r, len(r) - 16, 128), BAD_MAC, BAD_MAC),
    ("the first byte", lambda r: changed(r, 5), BAD_MAC, BAD_MAC),
    ("the length", lambda r: changed(r, 4) + b"x", BAD_MAC, BAD_MAC),
    ("no tag", lambda r: r[:3] + b"\0\4" + b"xxxx", BAD_MAC, BAD_MAC),
    ("nothing", lambda r: r[:3] + b"\0\0", BAD_MAC, BAD_MAC),
    ("the type alert", lambda r: bytes([ALERT]) + r[1:], UNEXPECTED, BAD_MAC),
    ("the type handshake", lambda r: bytes([HANDSHAKE]) + r[1:], UNEXPECTED, BAD_MAC),
    ("type 0", lambda r: bytes([0]) + r[1:], UNEXPECTED, UNEXPECTED),
    ("type 99", lambda r: bytes([99]) + r[1:], UNEXPECTED, UNEXPECTED),
    ("too long", lambda r: r[:3] + struct.pack(">H", FRAGMENT_MAX + 2049) + bytes(FRAGMENT_MAX),
     OVERFLOW, OVERFLOW),
    ("change_cipher_specs", lambda r: record(CHANGE, b"\1") * 100, UNEXPECTED, UNEXPECTED),
    ("a ClientHello", lambda r: record(HANDSHAKE, b"\1\0\0\4abcd"), UNEXPECTED, BAD_MAC),
    # In TLS 1.2 it is of another version, and so no TLS at all.
    ("plain text", lambda r: GET, UNEXPECTED, None),
)
# Where OpenSSL's records (records: openssl) have another one.
LIBRARY = {
    (ssl.TLSVersion.TLSv1_3, "plain text"): VERSION,
    (ssl.TLSVersion.TLSv1_2, "no tag"): INTERNAL,
    (ssl.TLSVersion.TLSv1_2, "nothing"): INTERNAL,
    (ssl.TLSVersion.TLSv1_2, "type 0"): BAD_MAC,
    (ssl.TLSVersion.TLSv1_2, "type 99"): BAD_MAC,
    (ssl.TLSVersion.TLSv1_2, "change_cipher_specs"): INTERNAL,
    (ssl.TLSVersion.TLSv1_2, "a ClientHello"): INTERNAL,
    (ssl.TLSVersion.TLSv1_2, "plain text"): VERSION,
}
NAMES = {BAD_MAC: "BAD_RECORD_MAC", UNEXPECTED: "UNEXPECTED_MESSAGE", OVERFLOW: "RECORD_OVERFLOW",
         VERSION: "PROTOCOL_VERSION", INTERNAL: "INTERNAL_ERROR", None: None}


def alert_of(client):
    """The alert at the end of a connection, as Python's error names it; None: there was none."""
    try:
        while client.recv(65536):
            pass
        return "CLOSE_NOTIFY"
    except OSError as e:
        said = str(e).upper().replace(" ", "_")
        names = filter(None, NAMES.values())
        return next((name for name in names if name in said),
                    None if "close_notify" in str(e) else str(e))


def wrong_records(world):
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        for name, change, *wanted in AFTER:
            before = world.requests()
            client = world.client(version)
            client.sock.sendall(change(client.seal(GET)))
            client.sock.shutdown(socket.SHUT_WR)    # more bytes are not waited for
            got = alert_of(client)
            client.sock.close()
            good = wanted[version == ssl.TLSVersion.TLSv1_2]
            if world.openssl:
                good = LIBRARY.get((version, name), good)
            world.expect(got == NAMES[good], f"{version.name}, {name}: {got}, not {NAMES[good]}")
            rig.check(world.requests() == before, f"{name}: a request reached the origin")
        world.served(version.name)


def repeated(world):
    """A record that was opened once is not opened again."""
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        client, before = world.client(version), world.requests()
        sealed = client.seal(GET)
        client.sock.sendall(sealed + sealed)
        got = alert_of(client)
        rig.check(got == NAMES[BAD_MAC] or "reset" in got,    # a reset: within the response
                  f"{version.name}, a record twice: {got}")
        rig.check(world.requests() - before <= 1, "both reached the origin")
        client.sock.close()


def left_out(world):
    """A record that is missing is noticed."""
    client, before = world.client(), world.requests()
    client.seal(GET)
    client.sock.sendall(client.seal(GET))
    rig.check(alert_of(client) == NAMES[BAD_MAC], "the second record without the first")
    rig.check(world.requests() == before, "it reached the origin")
    client.sock.close()


def cut_records(world):
    """A request in one record, cut into two segments at each byte; in records of one byte; several
    records in one segment."""
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        with world.client(version) as client:
            n = len(client.seal(GET))
            client.sock.sendall(client.seal(b"") or b"")
        with world.client(version) as client:
            for at in range(1, n, 1 if rig.FULL else 3):
                sealed = client.seal(GET)
                client.sock.sendall(sealed[:at])
                time.sleep(0.0003)
                client.sock.sendall(sealed[at:])
                world.response(client)
            for _ in range(3):
                client.sock.sendall(b"".join(client.seal(GET[i:i + 1])
                                             for i in range(len(GET))))
                world.response(client)
            client.sock.sendall(b"".join(client.seal(GET) for _ in range(20)))
            for _ in range(20):
                world.response(client)


def cut_off(world):
    """The TCP connection ends within a record, and without close_notify: no request."""
    before = world.requests()
    for n in (1, 5, 20, -1):
        client = world.client()
        client.sock.sendall(client.seal(GET)[:n])
        client.sock.shutdown(socket.SHUT_WR)
        alert_of(client)
        client.sock.close()
    rig.check(world.requests() == before, "a part of a record reached the origin")
    world.served("a connection cut off")


class World:
    def __init__(self, more):
        origin, = rig.free_ports(1)
        rig.lab("0ms", origin)
        self.pki = tlsrig.Pki()
        self.proxy = tlsrig.front(origin, self.pki, more, CONFIG, workers=1)
        self.port, self.origin = self.proxy.port, origin
        self.worker = None if tlsrig.STAND_IN else self.proxy.worker_pid()
        self.faults = []
        self.left, self.openssl = {}, bool(more or tlsrig.STAND_IN)

    def expect(self, good, what):
        """Like rig.check(), but the other cases are tried first."""
        if not good:
            self.faults.append(what)

    def client(self, version=None):
        return tlsrig.Socket(self.port, tlsrig.context(self.pki, version))

    def response(self, client):
        data = self.left.pop(client, b"")
        while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < 10:
            piece = client.recv(65536)
            rig.check(piece, "it ended before the response")
            data += piece
        head, _, rest = data.partition(b"\r\n\r\n")
        rig.check(head.startswith(b"HTTP/1.1 200"), f"{head}")
        if rest[10:]:
            self.left[client] = rest[10:]

    def requests(self):
        return 0 if tlsrig.STAND_IN else self.proxy.metrics()["upstream_requests_total"]

    def served(self, what):
        with self.client() as client:
            client.sendall(GET)
            self.response(client)
        if self.worker:
            rig.check(self.proxy.worker_pid() == self.worker,
                      lambda: f"{what}: the worker process died: {self.proxy.log()[-2000:]}")


def main():
    for more in ("",) if tlsrig.STAND_IN else ("", ", records: openssl"):
        world = World(more)
        for test in (cut_hellos, wrong_first, plain_http, silent, wrong_records, repeated, left_out,
                     cut_records, cut_off):
            began = time.monotonic()
            test(world)
            rig.check(not world.faults, lambda: "\n" + "\n".join(world.faults))
            print(f"{rig.ENGINE}{more}: {test.__name__}, {time.monotonic() - began:.1f} s",
                  flush=True)
        world.proxy.stop()


rig.main(main)
