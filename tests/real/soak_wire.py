"""One connection of a soak client: sends requests and reads responses byte by byte.

A response is complete, or the connection has visibly ended (Broken). The caller knows in advance
what a response must contain."""
import socket
import struct


class Broken(Exception):
    """The connection has ended; `got` bytes of the response had arrived."""

    def __init__(self, why, got):
        super().__init__(f"{why} after {got} bytes")
        self.why, self.got = why, got


class Wire:
    def __init__(self, port, receive_bytes=None, patience_s=30):
        self.text = b""
        self.taken = 0    # bytes of the current response
        self.socket = socket.socket()
        self.socket.settimeout(patience_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError as e:
            self.close()
            raise Broken(f"connect: {e}", 0)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except TimeoutError:
            raise Broken("send timed out", self.taken)
        except OSError:
            pass    # the received bytes tell more

    def more(self, most=65536):
        try:
            piece = self.socket.recv(most)
        except TimeoutError:
            raise Broken("no bytes for too long", self.taken + len(self.text))
        except OSError as e:
            raise Broken(e.strerror or str(e), self.taken + len(self.text))
        if not piece:
            raise Broken("ended", self.taken + len(self.text))
        self.text += piece

    def take(self, n):
        while len(self.text) < n:
            self.more()
        piece, self.text = self.text[:n], self.text[n:]
        self.taken += n
        return piece

    def line(self, end=b"\r\n"):
        while end not in self.text:
            self.more()
        return self.take(self.text.index(end) + len(end))

    def answer(self, head_only=False, slowly=None):
        """Status, fields and body of the next response that is not a 1xx."""
        self.taken = 0
        while True:
            lines = self.line(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(lines[0].split(" ")[1])
            fields = {k.lower(): v.strip() for k, v in
                      (l.split(":", 1) for l in lines[1:] if l)}
            if status == 101 or status >= 200:
                break
        if head_only or status in (101, 204, 304):
            return status, fields, b""
        if "chunked" in fields.get("transfer-encoding", ""):
            return status, fields, self.chunks()
        if "content-length" not in fields:
            raise Broken("neither length nor chunks", self.taken)
        n = int(fields["content-length"])
        return status, fields, self.gently(n, slowly) if slowly else self.take(n)

    def chunks(self):
        body = []
        while n := int(self.line().split(b";")[0], 16):
            body.append(self.take(n))
            self.take(2)
        while self.line() != b"\r\n":
            pass    # trailers
        return b"".join(body)

    def gently(self, n, pause):
        body = b""
        while len(body) < n:
            if not self.text:
                pause()
                self.more(16384)
            body += self.take(min(len(self.text), n - len(body)))
        return body

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        self.socket.close()
