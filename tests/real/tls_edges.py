#!/usr/bin/env python3
"""What TLS of a client means for requests: forwarding fields, Client-Cert, variables, the access log,
421 for hosts of another policy, no redirect of what came by https; and the PROXY protocol before TLS,
and towards origins with what it says of TLS."""
# timeout: 60
# asan
import base64
import http.client
import http.server
import json
import os
import re
import socket
import ssl
import threading

import pki
import rig

CONFIG = """
access_log: {{ path: {log}, format: json }}
upstreams:
  echo: {{ servers: [127.0.0.1:{echo}] }}
  raw: {{ servers: [127.0.0.1:{raw}], proxy_protocol: v2 }}
routes:
  - path: /variables
    redirect:
      to: "/${{tls.version}}/${{tls.cipher}}/${{tls.sni}}/${{tls.alpn}}/${{tls.resumed}}"
      status: 302
  - path: /client
    redirect:
      to: "/?${{tls.client.subject}}&${{tls.client.issuer}}&${{tls.client.san}}&${{tls.client.serial}}&${{tls.client.fingerprint}}"
      status: 302
  - {{ prefix: /raw, proxy: {{ upstream: raw }} }}
  - {{ prefix: /, redirect: https }}
  - {{ prefix: /, proxy: {{ upstream: echo }} }}
"""
POLICIES = """{{ certificates: [{pem}], client_auth: [
  {{ mode: off }},
  {{ names: [secret.test], ca: {ca}, forward: chain }},
  {{ names: [leaf.test], ca: {ca}, mode: optional, forward: leaf }},
  {{ names: [quiet.test], ca: {ca}, mode: optional }} ] }}"""
NAMES = ("localhost", "secret.test", "leaf.test", "quiet.test")
CLAIMS = "Client-Cert: :AAAA:\r\nclient_cert: x\r\nClient-Cert-Chain: :AAAA:\r\nX-Forwarded-Proto: http\r\n"


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the request's head as body."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        text = str(self.headers).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def serve_raw(listener):
    """Answers with all that it has received, in hexadecimal."""
    while True:
        s, _ = listener.accept()
        got = b""
        while b"\r\n\r\n" not in got[16:]:
            got += s.recv(65536)
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                  % (2 * len(got), got.hex().encode()))
        s.close()


class Client:
    """A TLS connection; `before`: bytes sent first, in the segment of the ClientHello."""

    def __init__(self, port, made, sni, certificate=None, before=b"", session=None):
        context = ssl.create_default_context(cafile=made.file)
        context.set_alpn_protocols(["http/1.1"])
        if certificate:
            context.load_cert_chain(certificate.chain, certificate.key)
        if session:
            context = session[0]
        self.context = context
        self.s = socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S)
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.into, self.out, server_hostname=sni,
                                    session=session[1] if session else None)
        self.before = before
        self.call(self.tls.do_handshake)

    def call(self, what, *arguments):
        while True:
            try:
                value = what(*arguments)
                self.send()
                return value
            except ssl.SSLWantReadError:
                self.send()
                piece = self.s.recv(65536)
                rig.check(piece, "closed")
                self.into.write(piece)

    def send(self):
        bytes_ = self.before + self.out.read()
        self.before = b""
        if bytes_:
            self.s.sendall(bytes_)

    def ask(self, path="/", host="localhost", fields=""):
        """(status, fields, body)"""
        self.call(self.tls.write, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
        got = b""
        while b"\r\n\r\n" not in got:
            got += self.call(self.tls.read, 65536)
        head, _, body = got.partition(b"\r\n\r\n")
        fields = http.client.parse_headers(_file(head.partition(b"\r\n")[2] + b"\r\n\r\n"))
        while len(body) < int(fields["Content-Length"] or 0):
            body += self.call(self.tls.read, 65536)
        return int(head.split(b" ")[1]), fields, body.decode()

    def told(self, **options):
        """{field: value}, as the origin got them."""
        status, _, body = self.ask(**options)
        equal(status, 200)
        return dict(re.findall(r"(?m)^([A-Za-z_-]+): (.*)$", body))


def _file(data):
    import io
    return io.BytesIO(data)


def equal(got, wanted):
    rig.check(got == wanted, lambda: f"{got!r}, not {wanted!r}")


def der(certificate):
    """The bytes of the first certificate in the file."""
    with open(certificate.chain) as f:
        first = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", f.read(), re.S)
    return ssl.PEM_cert_to_DER_cert(first[0])


def fields_are_ours(p, root, mine):
    c = Client(p.port, root, "localhost")
    told = c.told(fields=CLAIMS)
    equal(told["X-Forwarded-Proto"], "https")
    equal(told["X-Forwarded-Port"], "443")
    rig.check(not [name for name in told if "ert" in name], told)
    # A verified certificate is forwarded as the policy says, also instead of what is claimed.
    leaf = ":" + base64.b64encode(der(mine)).decode() + ":"
    for sni, cert, chain in (("secret.test", leaf, True), ("leaf.test", leaf, False),
                             ("quiet.test", None, False)):
        told = Client(p.port, root, sni, mine).told(host=sni, fields=CLAIMS)
        equal(told.get("Client-Cert"), cert)
        rig.check(("Client-Cert-Chain" in told) == chain, told)
        rig.check("client_cert" not in told, told)
    told = Client(p.port, root, "leaf.test").told(host="leaf.test", fields=CLAIMS)
    rig.check(not [name for name in told if "ert" in name], told)


def hosts_have_their_policy(p, root, mine):
    c = Client(p.port, root, "localhost")
    for host in "secret.test", "SECRET.test.:443", "leaf.test":
        status, fields, _ = c.ask(host=host)
        equal((status, fields["Proxy-Status"]), (421, "fairlead; error=http_request_denied"))
    equal(c.ask(host="localhost")[0], 200)
    equal(c.ask(host="elsewhere.test")[0], 200)
    c = Client(p.port, root, "secret.test", mine)
    equal(c.ask(host="localhost")[0], 421)
    equal(c.ask(host="secret.test:8443")[0], 200)


def variables(p, root, mine):
    c = Client(p.port, root, "localhost")
    location = c.ask("/variables")[1]["Location"]
    equal(location, f"/TLSv1.3/{c.tls.cipher()[0]}/localhost/http/1.1/false")
    again = Client(p.port, root, "localhost", session=(c.context, c.tls.session))
    equal(again.tls.session_reused, True)
    equal(again.ask("/variables")[1]["Location"], location.replace("false", "true"))
    equal(again.ask("/client")[0], 400)
    c = Client(p.port, root, "secret.test", mine)
    location = c.ask("/client", host="secret.test")[1]["Location"]
    import hashlib
    for part in ("CN%3Dmine", "CN%3Dinner", "DNS:mine.test", hashlib.sha256(der(mine)).hexdigest()):
        rig.check(part in location, location)


def log(p, path):
    def lines():
        with open(path) as f:
            return [json.loads(line) for line in f]
    found = rig.until(lambda: [it["tls"] for it in lines() if it["host"] == "secret.test:8443"],
                      "the log")[0]
    equal(found["version"], "TLSv1.3")
    equal((found["sni"], found["alpn"], found["client"]), ("secret.test", "http/1.1", "CN=mine"))
    equal((found["resumed"], len(found["client_fingerprint"])), (False, 64))
    equal({it["ending"] for it in lines() if it["status"] == 421},
          {"another policy for client certificates"})


def proxied(p, root, mine):
    """The header comes before TLS, here in one segment with the ClientHello, and in parts."""
    header = b"PROXY TCP4 192.0.2.7 192.0.2.8 1234 443\r\n"
    told = Client(p.port, root, "localhost", before=header).told()
    equal((told["X-Forwarded-For"], told["X-Forwarded-Proto"]), ("192.0.2.7", "https"))
    s = socket.create_connection(("127.0.0.1", p.port), rig.PATIENCE_S)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for i in range(len(header)):
        s.sendall(header[i:i + 1])
    with ssl.create_default_context(cafile=root.file).wrap_socket(s, server_hostname="localhost") as t:
        t.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        got = b""
        while piece := t.recv(65536):
            got += piece
    rig.check(b"192.0.2.7" in got, got)


def introduced(p, root, mine):
    """The origin learns of TLS by the header."""
    c = Client(p.port, root, "secret.test", mine)
    status, _, body = c.ask("/raw", host="secret.test")
    equal(status, 200)
    got = bytes.fromhex(body)
    rig.check(got.startswith(b"\r\n\r\n\0\r\nQUIT\n\x21\x11"), got)
    for entry in (b"\x01\0\x08http/1.1", b"\x02\0\x0bsecret.test", b"\x21\0\x07TLSv1.3",
                  b"\x22\0\x04mine", b"TLS_AES_"):
        rig.check(entry in got, lambda e=entry: f"{e} is not in {got}")


def intermediate(root):
    """An authority that the root has issued, for Client-Cert-Chain."""
    it = pki.Authority("inner")
    request, extensions = it.file + ".req", it.file + ".ext"
    with open(extensions, "w") as f:
        f.write("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n")
    pki.openssl("req", "-new", "-key", it.key, "-out", request, "-subj", "/CN=inner")
    pki.openssl("x509", "-req", "-in", request, "-CA", root.file, "-CAkey", root.key,
                "-CAcreateserial", "-out", it.file, "-days", "20", "-extfile", extensions)
    return it


def test():
    echo = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=echo.serve_forever, daemon=True).start()
    raw = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve_raw, args=(raw,), daemon=True).start()
    root = pki.Authority()
    server = root.issue("localhost", names=NAMES)
    inner = intermediate(root)
    mine = inner.issue("mine", names=("mine.test",))
    with open(mine.chain, "a") as out, open(inner.file) as f:
        out.write(f.read())
    path = os.path.join(rig.TMP, "access.log")
    config = CONFIG.format(log=path, echo=echo.server_port, raw=raw.getsockname()[1])
    tls = POLICIES.format(pem=server.pem, ca=root.file).replace("\n", " ")
    p = rig.Fairlead(config, tls=tls)
    fields_are_ours(p, root, mine)
    hosts_have_their_policy(p, root, mine)
    variables(p, root, mine)
    log(p, path)
    introduced(p, root, mine)
    proxied(rig.Fairlead(config, tls=tls, proxy_protocol="{ from: [127.0.0.1] }"), root, mine)


if __name__ == "__main__":
    rig.main(test)
