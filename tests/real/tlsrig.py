"""What the tests of TLS share: a proxy with a TLS listener, and a client as a socket is.

Not executable, because it is no test itself. STAND_IN=nginx puts nginx in fairlead's place: what
fails then as well is the test's fault, or a property of OpenSSL."""
import os
import socket
import ssl
import struct

import pki
import rig

STAND_IN = os.environ.get("STAND_IN")
CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }}, half_close: allow }} ]
limits: {{ request_body: none }}
"""
NGINX = """
        listen 127.0.0.1:{secure} ssl; client_header_timeout 2s;
        {certificates}
        ssl_protocols {versions}; ssl_prefer_server_ciphers on;
        ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20; ssl_ecdh_curve X25519:P-256:P-384;
        client_max_body_size 0;
        location / {{ proxy_pass http://127.0.0.1:{origin}; proxy_http_version 1.1;
                      proxy_request_buffering off; }}
"""


class Pki:
    """An authority, and certificates on both kinds of key for localhost."""

    def __init__(self):
        self.root = pki.Authority()
        self.ecdsa = self.root.issue("localhost", file="ecdsa")
        self.rsa = self.root.issue("localhost", key="RSA", file="rsa")

    def tls(self, more=""):
        """The keys of a listener."""
        return f"{{ certificates: [{self.ecdsa.pem}, {self.rsa.pem}]{more} }}"


def nginx(origin, certificates, versions="TLSv1.2 TLSv1.3"):
    plain, secure = rig.free_ports(2)
    text = " ".join(f"ssl_certificate {c.chain}; ssl_certificate_key {c.key};"
                    for c in certificates)
    program = rig.nginx(plain, NGINX.format(secure=secure, origin=origin, certificates=text,
                                              versions=versions))
    program.port = secure
    return program


def front(origin, made, more="", config=CONFIG, **options):
    """A proxy in front of the origin's port; more: further keys of the listener's `tls`."""
    if STAND_IN == "nginx":
        return nginx(origin, (made.ecdsa, made.rsa))
    return rig.Fairlead(config.format(origin=origin), tls=made.tls(more), **options)


def context(made, version=None):
    """For clients of Python's ssl, which verify."""
    it = ssl.create_default_context(cafile=made.root.file)
    if version:
        it.minimum_version = it.maximum_version = version
    return it


class Socket:
    """A TLS client over a socket with the calls of a socket, non-blocking ones included.
    shutdown(SHUT_WR) sends close_notify. The end of the TCP connection without close_notify is a
    ConnectionResetError, so recv() returns b"" only for an end that TLS vouches for."""

    def __init__(self, port, ctx, name="localhost", patience_s=rig.PATIENCE_S, session=None):
        self.sock = socket.create_connection(("127.0.0.1", port), patience_s)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = ctx.wrap_bio(self.into, self.out, server_hostname=name, session=session)
        self.eof = self.shut = False
        self.left = b""    # sealed bytes that the socket did not take
        self.until_done(self.tls.do_handshake)

    def until_done(self, call):
        while True:
            try:
                value = call()
                self.flush()
                return value
            except ssl.SSLWantReadError:
                self.flush()
                self.fill()

    def flush(self):
        self.left += self.out.read()
        while self.left:
            self.left = self.left[self.sock.send(self.left):]

    def fill(self):
        """Reads from the socket; raises BlockingIOError if it is non-blocking and empty."""
        piece = self.sock.recv(262144)
        if piece:
            self.into.write(piece)
        else:
            self.eof = True
            self.into.write_eof()

    def send(self, data):
        """Takes all, or nothing while earlier bytes wait for the socket."""
        try:
            self.flush()
        except BlockingIOError:
            return 0
        self.tls.write(data)
        try:
            self.flush()
        except BlockingIOError:
            pass
        return len(data)

    def sendall(self, data):
        for at in range(0, len(data), 65536):
            self.tls.write(data[at:at + 65536])
            self.flush()

    def seal(self, data):
        """The records of data, not sent."""
        self.tls.write(data)
        return self.out.read()

    def recv(self, n):
        try:
            self.flush()
        except BlockingIOError:
            pass
        while True:
            try:
                return self.tls.read(n)
            except ssl.SSLWantReadError:
                if self.eof:
                    raise ConnectionResetError("no close_notify") from None
                self.fill()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError:
                raise ConnectionResetError("no close_notify") from None
            except ssl.SSLError as e:
                raise ConnectionResetError(str(e)) from None

    def shutdown(self, _how):
        """Sends close_notify; the other direction stays open."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:    # SSLWantReadError, as a rule: the peer's is not there yet
            pass
        self.shut = True
        self.flush()

    def close(self):
        try:
            if not self.shut:
                self.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def setsockopt(self, *option):
        self.sock.setsockopt(*option)

    def setblocking(self, on):
        self.sock.setblocking(on)

    def fileno(self):
        return self.sock.fileno()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
