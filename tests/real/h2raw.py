"""A client of HTTP/2 that sends any frame, and reads frames as they are.

Not executable, because it is no test itself. HPACK and the layout of frames are those of
python3-hpack and python3-hyperframe; nothing here decides what is right."""
import socket
import struct
import sys
import time

# Debian's packages, also for another Python.
sys.path.append("/usr/lib/python3/dist-packages")
import hpack
from hyperframe import frame

import rig

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ENHANCE_YOUR_CALM = 11
GET = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost")]


def get(path, *more, method="GET"):
    return [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path),
            *more]


class Stream:
    """What has come for one stream."""

    def __init__(self):
        self.heads = []       # lists of fields; trailers are one as well
        self.body = b""
        self.ended = False
        self.reset = None     # the code of RST_STREAM

    @property
    def status(self):
        return int(dict(self.heads[-1] if len(self.heads) == 1 else self.heads[0])[":status"])


class Connection:
    """Its streams by id; goaway: (last stream, code) of each."""

    def __init__(self, port, settings=None, sock=None, greet=True):
        self.sock = sock or socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.streams, self.goaway, self.frames = {}, [], []
        self.buffer, self.closed, self.credit = b"", False, True
        self.next_id = 1
        if greet:
            self.send(PREFACE + frame.SettingsFrame(0, settings=settings or {}).serialize())

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            self.closed = True

    def headers(self, fields, end=True, stream=None):
        stream = stream or self.next_id
        self.next_id = max(self.next_id, stream + 2)
        block = self.encoder.encode(fields)
        parts = [block[n:n + 16384] for n in range(0, max(len(block), 1), 16384)]
        frames = [frame.HeadersFrame(stream, parts[0])]
        frames += [frame.ContinuationFrame(stream, part) for part in parts[1:]]
        frames[-1].flags.add("END_HEADERS")
        if end:
            frames[0].flags.add("END_STREAM")
        self.send(b"".join(f.serialize() for f in frames))
        return stream

    def data(self, stream, data, end=False):
        f = frame.DataFrame(stream, data)
        if end:
            f.flags.add("END_STREAM")
        self.send(f.serialize())

    def reset(self, stream, code=8):
        self.send(frame.RstStreamFrame(stream, error_code=code).serialize())

    def window(self, stream, n):
        self.send(frame.WindowUpdateFrame(stream, window_increment=n).serialize())

    def ping(self):
        self.send(frame.PingFrame(0, opaque_data=b"12345678").serialize())

    # --- what comes -------------------------------------------------------------

    def take(self, f):
        self.frames.append(f)
        s = self.streams.setdefault(f.stream_id, Stream())
        if isinstance(f, frame.SettingsFrame) and "ACK" not in f.flags:
            self.send(frame.SettingsFrame(0, flags=["ACK"]).serialize())
        elif isinstance(f, frame.HeadersFrame):
            s.heads.append(self.decoder.decode(f.data))
        elif isinstance(f, frame.DataFrame):
            s.body += f.data
            if self.credit and f.flow_controlled_length:
                self.window(0, f.flow_controlled_length)
                if "END_STREAM" not in f.flags:
                    self.window(f.stream_id, f.flow_controlled_length)
        elif isinstance(f, frame.RstStreamFrame):
            s.reset = f.error_code
        elif isinstance(f, frame.GoAwayFrame):
            self.goaway.append((f.last_stream_id, f.error_code))
        if "END_STREAM" in f.flags:
            s.ended = True

    def read(self, patience_s=0.2):
        """Reads what comes within this time. False: nothing did, or the end."""
        self.sock.settimeout(patience_s)
        try:
            data = self.sock.recv(65536)
        except (TimeoutError, BlockingIOError):
            return False
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return False
        self.buffer += data
        while len(self.buffer) >= 9:
            f, n = frame.Frame.parse_frame_header(memoryview(self.buffer[:9]))
            if len(self.buffer) < 9 + n:
                break
            f.parse_body(memoryview(self.buffer[9:9 + n]))
            self.buffer = self.buffer[9 + n:]
            self.take(f)
        return True

    def until(self, found, what, patience_s=rig.PATIENCE_S):
        end = time.monotonic() + patience_s
        while not found():
            rig.check(time.monotonic() < end and not (self.closed and not found()),
                      lambda: f"{what}: {[repr(f)[:80] for f in self.frames[-8:]]}"
                              f"{' closed' if self.closed else ''}")
            self.read()

    def response(self, stream):
        """Waits for the whole response, or for the end of the stream."""
        self.until(lambda: stream in self.streams and
                   (self.streams[stream].ended or self.streams[stream].reset is not None),
                   f"stream {stream}")
        return self.streams[stream]

    def request(self, path, *more, method="GET", body=None):
        stream = self.headers(get(path, *more, method=method), end=body is None)
        if body is not None:
            self.data(stream, body, end=True)
        return self.response(stream)

    def close(self):
        self.sock.close()


def raw_frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + \
        struct.pack(">I", stream) + payload
