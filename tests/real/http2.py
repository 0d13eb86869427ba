#!/usr/bin/env python3
"""Clients of HTTP/2, by ALPN and with prior knowledge: curl, h2load, nghttp and raw frames get their
responses; bodies are intact, streams do not stop each other, resets reach the server, floods end
the connection and nobody else's."""
# asan
import hashlib
import os
import socket
import subprocess
import threading
import time

import h2raw
import rig
import tlsrig
from h2raw import frame

MIB = 1 << 20
CONFIG = """
access_log: {{ path: "{log}", format: combined }}
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ path: /no, respond: {{ status: 404 }} }}, {{ prefix: /, proxy: {{ upstream: app }} }} ]
limits: {{ request_body: none, send_timeout: 2s, header_timeout: 2s }}
"""


def run(command, patience_s=120):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=patience_s, check=False)
    rig.check(done.returncode == 0, lambda: f"{command}: {done.returncode} {done.stdout[-600:]}")
    return done.stdout


def curl(proxy, path, *options):
    return run(["curl", "-sS", "--http2-prior-knowledge", *options, proxy.url + path])


# --- programs of others ------------------------------------------------------------------

def with_curl(proxy, log):
    out = curl(proxy, "/bytes/100", "-o", "/dev/null", "-w", "%{http_version} %{http_code} %{size_download}")
    rig.check(out == b"2 200 100", out)
    out = curl(proxy, "/status/404", "-o", "/dev/null", "-w", "%{http_code}")
    rig.check(out == b"404", out)
    out = curl(proxy, "/bytes/100", "-I", "-w", "%{http_code} %{size_download}")
    rig.check(out.endswith(b"200 0") and b"content-length: 100" in out, out)
    out = curl(proxy, "/headers", "-H", "Cookie: a=1; b=2", "-H", "X-Mine: yes")
    rig.check(b"Via: 2.0 " in out and b"x-mine: yes" in out and b"a=1; b=2" in out, out)
    rig.until(lambda: b'"GET /bytes/100 HTTP/2.0" 200' in open(log, "rb").read(), "a line of the log")
    out = run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_version}", proxy.url + "/bytes/1"])
    rig.check(out == b"1.1", "HTTP/1.1 on the same port")


def upgrade_is_ignored(proxy):
    """h2c by Upgrade: a response of HTTP/1.1."""
    out = run(["curl", "-sS", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}",
               proxy.url + "/bytes/1"])
    rig.check(out == b"1.1 200", out)


def bodies(proxy):
    path = os.path.join(rig.TMP, "h2-upload")
    sent = os.urandom(3 * MIB + 17)
    with open(path, "wb") as f:
        f.write(sent)
    for options in (("--data-binary", "@" + path), ("-T", path, "-X", "POST"),
                    ("-T", "-", "-X", "POST")):
        with open(path, "rb") as f:
            done = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "-H", "Expect:",
                                   *options, proxy.url + "/echo"], stdin=f,
                                  stdout=subprocess.PIPE, timeout=120, check=False)
        rig.check(done.stdout == sent, lambda: f"{options}: {len(done.stdout)} of {len(sent)} bytes")
    plain = run(["curl", "-sS", "--http1.1", proxy.url + "/bytes/20000000"])
    large = curl(proxy, "/bytes/20000000")
    rig.check(hashlib.sha256(plain).digest() == hashlib.sha256(large).digest(),
              f"20 MB: {len(large)} bytes")
    chunked = curl(proxy, "/chunked/300000")
    rig.check(len(chunked) == 300000, f"chunked: {len(chunked)}")


def with_h2load(proxy):
    for streams, path, n in ((1, "/bytes/100", 500), (100, "/bytes/100", 5000),
                             (10, "/bytes/100000", 500)):
        out = run(["h2load", "-n", str(n), "-c", "8", "-m", str(streams), proxy.url + path])
        rig.check(b"%d succeeded, 0 failed, 0 errored, 0 timeout" % n in out, out[-700:])


def with_nghttp(proxy):
    out = run(["nghttp", "-v", "-w", "16", *(proxy.url + f"/bytes/{n}" for n in (1, 20000, 300000))])
    rig.check(out.count(b":status: 200") == 3, out[-2000:])


def by_alpn(origin):
    made = tlsrig.Pki()
    proxy = rig.Fairlead(tlsrig.CONFIG.format(origin=origin), tls=made.tls(), http="[2, 1.1]")
    for version in ("1.2", "1.3"):
        for asked, got in (("--http2", b"2"), ("--http1.1", b"1.1")):
            out = run(["curl", "-sS", "--resolve", f"localhost:{proxy.port}:127.0.0.1", "--cacert",
                       made.root.file, asked, f"--tlsv{version}", "--tls-max", version, "-o", "/dev/null",
                       "-w", "%{http_version} %{http_code} %{size_download}",
                       f"https://localhost:{proxy.port}/bytes/200000"])
            rig.check(out == got + b" 200 200000", f"{version} {asked}: {out}")
    out = run(["h2load", "-n", "2000", "-c", "4", "-m", "20", f"https://127.0.0.1:{proxy.port}/bytes/1000"])
    rig.check(b"2000 succeeded" in out, out[-600:])
    proxy.stop()


# --- frames --------------------------------------------------------------------------------

def in_flight(proxy):
    return proxy.samples("requests_in_flight")


def reset_reaches_server(proxy):
    """The request of a stream that the client resets is not worked on any more."""
    c = h2raw.Connection(proxy.port)
    stream = c.headers(h2raw.get("/fault/never"))
    rig.until(lambda: in_flight(proxy) == 1, "a request in flight")
    c.reset(stream)
    rig.until(lambda: in_flight(proxy) == 0, "the end of the request")
    rig.check(c.request("/bytes/5").body and not c.goaway, "the connection")
    c.close()


def end_reaches_server(proxy):
    c = h2raw.Connection(proxy.port)
    for _ in range(10):
        c.headers(h2raw.get("/fault/never"))
    rig.until(lambda: in_flight(proxy) == 10, "requests in flight")
    c.close()
    rig.until(lambda: in_flight(proxy) == 0, "the end of the requests")


def zero_window(proxy):
    """A stream whose client reads nothing stops nobody, and is reset after send_timeout."""
    c = h2raw.Connection(proxy.port, {frame.SettingsFrame.INITIAL_WINDOW_SIZE: 0})
    slow = c.headers(h2raw.get("/bytes/1000000"))
    c.until(lambda: slow in c.streams and c.streams[slow].heads, "the head")
    fast = c.headers(h2raw.get("/bytes/10"))
    c.window(fast, 100)
    rig.check(c.response(fast).ended, "another stream of the connection")
    c.until(lambda: c.streams[slow].reset is not None, "the reset", 30)
    rig.check(not c.streams[slow].body and not c.goaway, "the connection stays")
    c.close()


def slow_but_steady(proxy):
    """A client that takes a response slowly, but some of it all the time, gets all of it."""
    c = h2raw.Connection(proxy.port)
    c.credit = False
    stream = c.headers(h2raw.get("/bytes/400000"))
    end = time.monotonic() + 60
    while not (stream in c.streams and c.streams[stream].ended) and time.monotonic() < end:
        c.read(0.1)
        if c.streams.get(stream) and c.streams[stream].reset is not None:
            break
        c.window(0, 10000)
        c.window(stream, 10000)
        time.sleep(0.1)
    rig.check(len(c.streams[stream].body) == 400000 and c.streams[stream].ended,
              lambda: f"{len(c.streams[stream].body)} bytes, reset {c.streams[stream].reset}")
    c.close()


def many_slow_readers(proxy):
    """What waits for 100 streams of a client that does not read is bounded."""
    before = proxy.resident_kib()
    c = h2raw.Connection(proxy.port, {frame.SettingsFrame.INITIAL_WINDOW_SIZE: 0})
    for _ in range(100):
        c.headers(h2raw.get("/bytes/1000000"))
    rig.until(lambda: proxy.samples("requests_in_flight") == 100, "requests in flight")
    c.read(1)
    rig.check(proxy.resident_kib() - before < 16384, "memory of streams that nobody reads")
    c.close()
    rig.until(lambda: in_flight(proxy) == 0, "the end of the requests")


def connections(proxy):
    return proxy.samples("connections")


def half_a_block(proxy):
    """HEADERS without END_HEADERS, then silence: the connection ends after header_timeout."""
    c = h2raw.Connection(proxy.port)
    c.until(lambda: len(c.frames) >= 3, "SETTINGS") # their ACK may not be within the block
    c.send(h2raw.raw_frame(1, 1, 1, c.encoder.encode(h2raw.get("/"))))
    c.until(lambda: c.closed, "the end of the connection", 30)
    rig.check(c.goaway and c.goaway[-1][1] == h2raw.ENHANCE_YOUR_CALM, lambda: f"{c.goaway}")
    c.close()


def half_a_block_and_end(proxy):
    """The same, and the client has gone: nothing is left of it."""
    before = connections(proxy)
    c = h2raw.Connection(proxy.port)
    c.until(lambda: len(c.frames) >= 3, "SETTINGS") # their ACK may not be within the block
    c.send(h2raw.raw_frame(1, 1, 1, c.encoder.encode(h2raw.get("/"))))
    c.close()
    rig.until(lambda: connections(proxy) <= before, "the end of the connection")


def early_responses(proxy):
    """Responses before the end of the request: the rest is not wanted, and costs the others no
    credit."""
    c = h2raw.Connection(proxy.port)
    for _ in range(30):
        stream = c.headers(h2raw.get("/no", method="POST"), end=False)
        c.data(stream, b"x" * 16000)
        c.data(stream, b"x" * 16000)
        rig.check(c.response(stream).ended, "an early response")
        c.until(lambda: c.streams[stream].reset is not None, "the reset")
        rig.check(c.streams[stream].reset == 0, lambda: f"its code {c.streams[stream].reset}")
    rig.check(c.request("/echo", method="POST", body=b"y" * 16000).body.endswith(b"y" * 16000),
              "another upload")
    rig.check(not c.goaway, "the connection")
    c.close()


def unread_tail(proxy):
    """A response that is queued whole, and whose client gives no credit, ends like any other."""
    c = h2raw.Connection(proxy.port, {frame.SettingsFrame.INITIAL_WINDOW_SIZE: 0})
    stream = c.headers(h2raw.get("/bytes/100"))
    c.until(lambda: stream in c.streams and c.streams[stream].reset is not None, "the reset", 30)
    c.close()
    before = connections(proxy)
    c = h2raw.Connection(proxy.port, {frame.SettingsFrame.INITIAL_WINDOW_SIZE: 0})
    c.headers(h2raw.get("/bytes/100"))
    c.until(lambda: 1 in c.streams and c.streams[1].heads, "the head")
    c.close()
    rig.until(lambda: connections(proxy) <= before, "the end of the connection")


def split_preface(proxy):
    c = h2raw.Connection(proxy.port, greet=False)
    for n in range(len(h2raw.PREFACE)):
        c.send(h2raw.PREFACE[n:n + 1])
        time.sleep(0.01)
    c.send(frame.SettingsFrame(0).serialize())
    rig.check(c.request("/bytes/5").ended, "a preface in single bytes")
    c.close()


def small_pieces(log):
    """A server that sends many small chunks at once."""
    port = rig.free_ports(1)[0]
    listener = socket.create_server(("127.0.0.1", port))
    chunk = b"12c\r\n" + b"z" * 300 + b"\r\n"

    def serve():
        s, _ = listener.accept()
        while b"\r\n\r\n" not in s.recv(65536):
            pass
        s.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 400 +
                  b"0\r\n\r\n")
        s.close()
    threading.Thread(target=serve, daemon=True).start()
    proxy = rig.Fairlead(CONFIG.format(origin=port, log=log), http="[2]")
    c = h2raw.Connection(proxy.port)
    rig.check(len(c.request("/").body) == 120000 and not c.goaway, "a body of small chunks")
    c.close()
    proxy.stop()


def too_many_streams(proxy):
    c = h2raw.Connection(proxy.port)
    streams = [c.headers(h2raw.get("/fault/never")) for _ in range(101)]
    c.until(lambda: streams[-1] in c.streams and c.streams[streams[-1]].reset is not None, "a reset")
    rig.check(c.streams[streams[-1]].reset == 7, "REFUSED_STREAM")
    rig.check(sum(s.reset is not None for s in c.streams.values()) == 1, "the others go on")
    c.close()
    rig.until(lambda: in_flight(proxy) == 0, "the end of the requests")


def flood(proxy, what, frames, code=h2raw.ENHANCE_YOUR_CALM):
    c = h2raw.Connection(proxy.port)
    other = h2raw.Connection(proxy.port)
    for _ in range(3000):
        c.send(frames(c))
        c.read(0)
        if c.closed or c.goaway:
            break
    c.until(lambda: c.goaway or c.closed, what)
    rig.check(c.goaway and c.goaway[-1][1] == code, lambda: f"{what}: {c.goaway}")
    rig.check(other.request("/bytes/5").ended, f"{what}: another client")
    c.close()
    other.close()


def floods(proxy):
    flood(proxy, "PING", lambda c: frame.PingFrame(0, opaque_data=b"12345678").serialize())
    flood(proxy, "SETTINGS", lambda c: frame.SettingsFrame(0).serialize())
    flood(proxy, "WINDOW_UPDATE", lambda c: frame.WindowUpdateFrame(0, window_increment=1).serialize())
    flood(proxy, "unknown frames", lambda c: h2raw.raw_frame(0x77, 0, 0, b"x"))

    def rapid(c):
        stream = c.next_id
        c.headers(h2raw.get("/fault/never"))
        return frame.RstStreamFrame(stream, error_code=8).serialize()
    flood(proxy, "rapid reset", rapid)

    def made_you_reset(c):
        stream = c.next_id
        if stream > 1: # no more streams at once than are allowed
            c.until(lambda: stream - 2 in c.streams or c.closed or c.goaway, "a reset")
        c.headers(h2raw.get("/fault/never"), end=False)
        return frame.WindowUpdateFrame(stream, window_increment=2**31 - 1).serialize()
    flood(proxy, "resets that we are made to send", made_you_reset)
    rig.until(lambda: in_flight(proxy) == 0, "the end of all requests")


def drains(proxy, origin):
    """At the end of the process a request in flight is completed, and GOAWAY says which was the
    last."""
    c = h2raw.Connection(proxy.port)
    rig.check(c.request("/bytes/5").ended, "before")
    stream = c.headers(h2raw.get("/drip/20"))
    c.until(lambda: stream in c.streams and c.streams[stream].body, "its first byte")
    proxy.signal(15)
    rig.check(c.response(stream).ended, "the response in flight")
    c.until(lambda: c.closed, "the end of the connection")
    rig.check(c.goaway and c.goaway[-1] == (stream, 0), lambda: f"GOAWAY {c.goaway}")
    c.close()


def test():
    origin = rig.free_ports(1)[0]
    rig.lab("0ms", origin)
    log = os.path.join(rig.TMP, "http2.log")
    proxy = rig.Fairlead(CONFIG.format(origin=origin, log=log), http="[2, 1.1]")
    with_curl(proxy, log)
    upgrade_is_ignored(proxy)
    bodies(proxy)
    with_h2load(proxy)
    with_nghttp(proxy)
    by_alpn(origin)
    reset_reaches_server(proxy)
    end_reaches_server(proxy)
    zero_window(proxy)
    slow_but_steady(proxy)
    many_slow_readers(proxy)
    half_a_block(proxy)
    half_a_block_and_end(proxy)
    early_responses(proxy)
    unread_tail(proxy)
    split_preface(proxy)
    small_pieces(log)
    too_many_streams(proxy)
    floods(proxy)
    drains(proxy, origin)
    print(f"{rig.ENGINE}: all pass")


if __name__ == "__main__":
    rig.main(test)
