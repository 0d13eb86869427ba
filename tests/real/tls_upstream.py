#!/usr/bin/env python3
"""TLS to origins, memcached and health checks, with nginx, openssl s_server, memcached and Python's
ssl as peers: what is verified, what is sent, what is resumed, what a failure looks like, and what a
reload changes."""
# asan
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading

import pki
import rig

CERTIFICATE, PROTOCOL, ALERT = "tls_certificate_error", "tls_protocol_error", "tls_alert_received"


# --- origins --------------------------------------------------------------------

class Origin:
    """An HTTP server on Python's ssl: its responses say what it knows of the connection, or are
    the bytes that the request's path asks for."""

    def __init__(self, certificate, issuer=None, oldest=None, newest=None, port=None):
        self.port = port or rig.free_ports(1)[0]
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.chain, certificate.key)
        self.context.minimum_version = oldest or ssl.TLSVersion.TLSv1_2
        if newest:
            self.context.maximum_version = newest
        if issuer:
            self.context.verify_mode = ssl.CERT_REQUIRED
            self.context.load_verify_locations(issuer.file)
        self.context.sni_callback = self.named
        self.names, self.connections, self.open = {}, 0, 0
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        threading.Thread(target=self.accept, daemon=True).start()

    def named(self, s, name, _context):
        self.names[s] = name

    def accept(self):
        while True:
            try:
                raw = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(raw,), daemon=True).start()

    def serve(self, raw):
        try:
            s = self.context.wrap_socket(raw, server_side=True)
        except OSError:
            raw.close()
            return
        self.connections += 1
        self.open += 1
        name = next((n for k, n in self.names.items() if k is s), None)
        facts = {"sni": name, "reused": s.session_reused, "version": s.version(),
                 "subject": self.subject(s), "number": self.connections}
        try:
            while self.respond(s, facts):
                pass
        except OSError:
            pass
        self.open -= 1
        s.close()

    @staticmethod
    def subject(s):
        return [v for rdn in (s.getpeercert() or {}).get("subject", ()) for k, v in rdn]

    @staticmethod
    def respond(s, facts):
        text = b""
        while b"\r\n\r\n" not in text:
            piece = s.recv(65536)
            if not piece:
                return False
            text += piece
        head, _, body = text.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\nContent-Length: *(\d+)", head)
        digest = hashlib.sha256(body)
        left = int(length[1]) - len(body) if length else 0
        while left > 0:
            piece = s.recv(min(left, 65536))
            if not piece:
                return False
            digest.update(piece)
            left -= len(piece)
        path = re.sub("^/[a-z0-9]+/", "/", head.split(b" ")[1].decode())    # the upstream's name
        if path.startswith("/cut"):    # no length, and no close_notify
            s.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 1000)
            socket.socket.shutdown(s, socket.SHUT_RDWR)
            return False
        if path.startswith("/ends"):
            s.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 1000)
            s.unwrap()
            return False
        if path.startswith("/bytes/"):
            out = os.urandom(1 << 16) * (int(path.split("/")[2]) >> 16)
            facts = dict(facts, digest=hashlib.sha256(out).hexdigest())
        else:
            out = json.dumps(dict(facts, digest=digest.hexdigest())).encode()
        s.sendall(b"HTTP/1.1 200 OK\r\nX-Digest: " + facts.get("digest", "-").encode() +
                  b"\r\nContent-Length: " + str(len(out)).encode() + b"\r\n\r\n" + out)
        return True

    def stop(self):
        self.listener.close()


def s_server(certificate, *more):
    port = rig.free_ports(1)[0]
    rig.Program("s_server", ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-www",
                             "-cert", certificate.chain, "-key", certificate.key, *more])
    rig.until(lambda: rig.accepts(port), "s_server")
    return port


def pin_of(certificate):
    key = subprocess.run(["openssl", "x509", "-in", certificate.chain, "-pubkey", "-noout"],
                         capture_output=True, check=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=key,
                         capture_output=True, check=True).stdout
    return "sha256/" + ssl.base64.b64encode(hashlib.sha256(der).digest()).decode()


# --- the proxy ------------------------------------------------------------------

class Upstreams:
    """The text of a configuration: an upstream and a route /NAME for each entry."""

    def __init__(self):
        self.all = {}

    def add(self, name, servers, tls="true", more=""):
        servers = servers if isinstance(servers, str) else f"localhost:{servers}"
        self.all[name] = f"  {name}:\n    servers: [{servers}]\n    tls: {tls}\n{more}"

    def text(self):
        routes = "".join(
            f"  - prefix: /{name}/\n    memcached: {{ upstream: {name}, key: \"${{path.rest}}\" }}\n"
            if "protocol: memcached" in text else
            f"  - prefix: /{name}/\n    proxy: {{ upstream: {name} }}\n"
            for name, text in self.all.items())
        return ("access_log: { format: json }\nresolver: { family: ipv4 }\nupstreams:\n" +
                "".join(self.all.values()) + "routes:\n" + routes)


NEVER = "    reuse: never\n"


def facts(proxy, path):
    answer = rig.get(proxy.port, path)
    rig.check(answer.status == 200, lambda: f"{path}: {answer.head}")
    return json.loads(answer.body)


def refused(proxy, name, error, text):
    """The request fails with this Proxy-Status, and the log says why."""
    answer = rig.get(proxy.port, f"/{name}/")
    rig.check(answer.status == 502, lambda: f"{name}: {answer.head}")
    rig.check(answer.field("Proxy-Status") == f"fairlead; error={error}",
              lambda: f"{name}: {answer.head}")
    rig.until(lambda: re.search(rf'"[^"]*/{name}/[^\n]*{re.escape(text)}', proxy.log()),
              f"{text!r} in the log of {name}: {proxy.log()[-2000:]}", 5)


def metric(proxy, upstream, name):
    text = rig.get(proxy.admin, "/metrics").body.decode()
    found = re.findall(rf'fairlead_upstream_{name}{{upstream="{upstream}"}} (\S+)', text)
    return sum(float(n) for n in found)


# --- what is verified -----------------------------------------------------------

def verification(root, other):
    good = root.issue("good", names=["localhost"])
    wrong = root.issue("wrong", names=["elsewhere.test"], addresses=["192.0.2.1"])
    strange = other.issue("strange", names=["localhost"])
    ours = root.issue("ours", names=["client.test"])
    origin, misnamed = Origin(good), Origin(wrong)
    ca = f"ca: {root.file}"
    u = Upstreams()
    u.add("good", origin.port, f"{{ {ca} }}", NEVER)
    u.add("address", f"127.0.0.1:{origin.port}", f"{{ {ca} }}", NEVER)
    u.add("named", misnamed.port, f"{{ {ca}, name: elsewhere.test }}", NEVER)
    u.add("sni", origin.port, f"{{ {ca}, sni: other.test }}", NEVER)
    u.add("silent", origin.port, f"{{ {ca}, sni: off }}", NEVER)
    u.add("openssl", origin.port, f"{{ {ca}, records: openssl }}", NEVER)
    u.add("wrong", misnamed.port, f"{{ {ca} }}")
    u.add("wrongaddress", f"127.0.0.1:{misnamed.port}", f"{{ {ca} }}")
    u.add("expired", Origin(root.issue("old", days=0)).port, f"{{ {ca} }}")
    u.add("strange", Origin(strange).port, f"{{ {ca} }}")
    u.add("system", origin.port, "true")
    u.add("off", misnamed.port, "{ verify: off }")
    u.add("pinned", origin.port, f"{{ {ca}, pins: [{pin_of(ours)}, {pin_of(good)}] }}")
    u.add("unpinned", origin.port, f"{{ {ca}, pins: [{pin_of(ours)}] }}")
    u.add("client", Origin(good, issuer=root).port,
          f"{{ {ca}, certificate: {{ chain: {ours.chain}, key: {ours.key} }} }}")
    u.add("noclient", Origin(good, issuer=root, newest=ssl.TLSVersion.TLSv1_2).port,
          f"{{ {ca} }}")
    u.add("noclient13", Origin(good, issuer=root).port, f"{{ {ca} }}")
    u.add("old", Origin(good, newest=ssl.TLSVersion.TLSv1_2).port, f"{{ {ca} }}", NEVER)
    u.add("tooold", Origin(good, newest=ssl.TLSVersion.TLSv1_2).port,
          f"{{ {ca}, min_version: 1.3 }}")
    plain = rig.free_ports(1)[0]
    rig.nginx(plain)
    u.add("plain", plain, f"{{ {ca} }}")
    proxy = rig.Fairlead(u.text())

    for name, sni in (("good", "localhost"), ("address", None), ("named", "elsewhere.test"),
                      ("sni", "other.test"), ("silent", None), ("openssl", "localhost"),
                      ("old", "localhost")):
        got = facts(proxy, f"/{name}/")
        rig.check(got["sni"] == sni, lambda: f"{name}: SNI {got}")
        rig.check(got["version"] == ("TLSv1.2" if name == "old" else "TLSv1.3"), lambda: f"{got}")
    rig.check("client.test" in str(facts(proxy, "/client/")) or
              facts(proxy, "/client/")["subject"] == ["ours"], "the client certificate")
    facts(proxy, "/off/")
    facts(proxy, "/pinned/")
    rig.check(proxy.said("the certificates of 'off' are not verified"), "the warning")

    refused(proxy, "wrong", CERTIFICATE, "certificate is for another name")
    refused(proxy, "wrongaddress", CERTIFICATE, "certificate is for another name")
    refused(proxy, "expired", CERTIFICATE, "certificate expired or not yet valid")
    refused(proxy, "strange", CERTIFICATE, "certificate of an unknown issuer")
    refused(proxy, "system", CERTIFICATE, "certificate of an unknown issuer")
    refused(proxy, "unpinned", CERTIFICATE, "certificate has none of the pinned keys")
    refused(proxy, "noclient", ALERT, "alert received")
    refused(proxy, "noclient13", ALERT, "alert received")
    refused(proxy, "plain", PROTOCOL, "not a TLS record")
    answer = rig.get(proxy.port, "/tooold/")
    rig.check(answer.status == 502 and "error=tls_" in answer.head, lambda: answer.head)
    rig.check(metric(proxy, "wrong", "tls_failures_total") >= 1, "failures are counted")
    rig.check(ours.chain in rig.get(proxy.admin, "/metrics").body.decode(),
              "the expiry of the certificate that is sent to servers")
    rig.check(metric(proxy, "wrong", "tls_handshakes_total") == 0, "no handshake")
    proxy.stop()
    print(f"{rig.ENGINE}: verification")


# --- sessions, servers that fail, bodies ------------------------------------------

def resumption(root):
    good = root.issue("good2", names=["localhost"])
    modern, old = Origin(good), Origin(good, newest=ssl.TLSVersion.TLSv1_2)
    u = Upstreams()
    for name, origin, more in (("new", modern, ""), ("old", old, ""), ("never", modern, ", resume: off"),
                               ("library", modern, ", records: openssl")):
        u.add(name, origin.port, f"{{ ca: {root.file}{more} }}", NEVER)
    proxy = rig.Fairlead(u.text(), workers=1)
    for name in ("new", "old", "library"):
        first = facts(proxy, f"/{name}/")
        rig.check(not first["reused"], lambda: f"{name}: a session of another upstream: {first}")
        for _ in range(5):
            rig.check(facts(proxy, f"/{name}/")["reused"], f"{name}: no session is resumed")
        rig.check(metric(proxy, name, "tls_handshakes_total") == 6, "handshakes")
        rig.check(metric(proxy, name, "tls_resumed_total") == 5, "resumed")
    rig.check(proxy.samples("tls_tickets_total", side="upstream", result="hit") == 15, "hits")
    rig.check(proxy.samples("tls_handshake_seconds_count", side="upstream") == 18, "timed")
    for _ in range(3):
        rig.check(not facts(proxy, "/never/")["reused"], "resume: off")
    proxy.stop()
    print(f"{rig.ENGINE}: resumption")


def issuers_replaced(root):
    """Issuers that cannot be used leave the previous ones in force, and the rest of a reload goes
    on; good ones count at once, for connections that are kept as well."""
    stranger = pki.Authority("stranger2")
    path = os.path.join(rig.TMP, "issuers.pem")
    shutil.copy(root.file, path)
    origin = Origin(root.issue("good5", names=["localhost"]))
    u = Upstreams()
    u.add("app", origin.port, f"{{ ca: {path} }}")
    u.add("again", origin.port, f"{{ ca: {path}, resume: off }}")
    proxy = rig.Fairlead(u.text(), workers=1)
    facts(proxy, "/app/")

    def reload(content):
        with open(path, "w") as f:
            f.write(content)
        with open(proxy.path, "a") as f:
            f.write(f"x-{reload.n}: 1\n")
        reload.n += 1
        proxy.signal(signal.SIGHUP)
        rig.until(lambda: proxy.log().count("fairlead: reloaded") == reload.n, "a reload")
    reload.n = 0
    for content in ("noise\n", "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        reload(content)
        for name in "app", "again":
            facts(proxy, f"/{name}/")
        said = [line for line in proxy.log().splitlines()
                if f"'{path}' cannot be used (" in line and "previous content stays in force" in line]
        rig.check(len(said) == reload.n, proxy.log)
        rig.check(proxy.metrics()["certificates_refused_total"] == reload.n, "the count")
    with open(stranger.file) as f:
        reload(f.read())
    for name in "app", "again":
        refused(proxy, name, CERTIFICATE, "certificate of an unknown issuer")
    proxy.stop()
    print(f"{rig.ENGINE}: issuers replaced")


def bodies(root):
    good = root.issue("good3", names=["localhost"])
    sent = os.urandom(4 << 20)
    path = os.path.join(rig.TMP, "upload")
    with open(path, "wb") as f:
        f.write(sent)
    u = Upstreams()
    for name, more in (("own", ""), ("library", ", records: openssl")):
        for version, newest in (("13", None), ("12", ssl.TLSVersion.TLSv1_2)):
            u.add(name + version, Origin(good, newest=newest).port,
                  f"{{ ca: {root.file}{more} }}")
    proxy = rig.Fairlead(u.text())
    for name in u.all:
        got = subprocess.run(["curl", "-s", "-T", path, f"{proxy.url}/{name}/up"],
                             capture_output=True, check=True).stdout
        rig.check(json.loads(got)["digest"] == hashlib.sha256(sent).hexdigest(),
                  f"{name}: the upload differs")
        answer = rig.get(proxy.port, f"/{name}/bytes/8388608")
        rig.check(len(answer.body) == 8 << 20 and
                  hashlib.sha256(answer.body).hexdigest() == answer.field("X-Digest"),
                  lambda: f"{name}: {len(answer.body)} bytes, or others")
    proxy.stop()
    print(f"{rig.ENGINE}: bodies")


def ends(root):
    """The end of a connection without close_notify is not the end of a response."""
    u = Upstreams()
    u.add("app", Origin(root.issue("good4", names=["localhost"])).port, f"{{ ca: {root.file} }}")
    proxy = rig.Fairlead(u.text())
    rig.check(rig.get(proxy.port, "/app/ends").body == b"x" * 1000, "an end with close_notify")
    try:
        whole = rig.get(proxy.port, "/app/cut").status == 200
    except (AssertionError, OSError):
        whole = False
    rig.check(not whole, "a truncated response looks whole")
    rig.until(lambda: proxy.said("truncated response from the origin"), "the log")
    proxy.stop()
    print(f"{rig.ENGINE}: ends of responses")


def failover(root, other):
    """A server whose certificate is refused costs no request."""
    good, bad = Origin(root.issue("good5", names=["localhost"])), \
        Origin(other.issue("bad5", names=["localhost"]))
    u = Upstreams()
    u.add("two", f"localhost:{good.port}, localhost:{bad.port}", f"{{ ca: {root.file} }}",
          NEVER + "    eject_failures: 2\n    eject_time: 60s\n")
    proxy = rig.Fairlead(u.text(), workers=1)
    for _ in range(30):
        facts(proxy, "/two/")
    rig.check(metric(proxy, "two", "tls_failures_total") >= 1, "no handshake has failed")
    rig.until(lambda: facts(proxy, "/two/") and metric(proxy, "two", "ejections_total") == 1,
              "the ejection")
    proxy.stop()
    print(f"{rig.ENGINE}: failover")


# --- reload -----------------------------------------------------------------------

def reload(proxy, text):
    with open(proxy.path) as f:
        head = "".join(f.readlines()[:2])
    with open(proxy.path, "w") as f:
        f.write(head + text)
    before = proxy.log().count("fairlead: reloaded")
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.log().count("fairlead: reloaded") > before, "a reload")


def reloads(root, other):
    origin = Origin(root.issue("good6", names=["localhost", "second.test"]))
    u = Upstreams()
    u.add("app", origin.port, f"{{ ca: {root.file} }}")
    proxy = rig.Fairlead(u.text(), workers=1)
    first = facts(proxy, "/app/")
    rig.check(facts(proxy, "/app/")["number"] == first["number"], "no connection is kept")
    reload(proxy, u.text() + "# the same\n")
    rig.check(facts(proxy, "/app/")["number"] == first["number"],
              "a reload without changes ends a connection")
    u.add("app", origin.port, f"{{ ca: {root.file}, name: second.test }}")
    reload(proxy, u.text())
    second = facts(proxy, "/app/")
    rig.check(second["sni"] == "second.test" and not second["reused"],
              lambda: f"a connection or a session for another name: {second}")
    u.add("app", origin.port, f"{{ ca: {other.file} }}")
    reload(proxy, u.text())
    refused(proxy, "app", CERTIFICATE, "certificate of an unknown issuer")
    rig.until(lambda: origin.open == 0, "the end of idle connections")
    u.add("app", origin.port, f"{{ ca: {root.file}, min_version: 1.3 }}")
    reload(proxy, u.text())
    rig.until(lambda: rig.get(proxy.port, "/app/").status == 200, "the first issuer again")
    proxy.stop()
    print(f"{rig.ENGINE}: reloads")


def watching(root, other):
    """Issuers that change in their file are used without a reload."""
    origin = Origin(root.issue("good8", names=["localhost"]))
    path = os.path.join(rig.TMP, "watched.pem")
    shutil.copy(root.file, path)
    u = Upstreams()
    u.add("app", origin.port, f"{{ ca: {path} }}")
    proxy = rig.Fairlead(u.text() + "certificates: { watch: 1s }\n", workers=1)
    facts(proxy, "/app/")
    shutil.copy(other.file, path)
    rig.until(lambda: rig.get(proxy.port, "/app/").status == 502, "the other issuer")
    shutil.copy(root.file, path)
    rig.until(lambda: rig.get(proxy.port, "/app/").status == 200, "the first issuer again")
    proxy.stop()
    print(f"{rig.ENGINE}: watching")


# --- other peers --------------------------------------------------------------------

def health(root, other):
    good, bad = Origin(root.issue("good7", names=["localhost"])), \
        Origin(other.issue("bad7", names=["localhost"]))
    u = Upstreams()
    check = "    health_check: { path: /, interval: 100ms, rise: 1, fall: 1 }\n"
    u.add("checked", f"localhost:{good.port}, localhost:{bad.port}", f"{{ ca: {root.file} }}", check)
    u.add("tcp", good.port, f"{{ ca: {other.file} }}",
          "    health_check: { type: tcp, interval: 100ms, rise: 1, fall: 1 }\n")
    proxy = rig.Fairlead(u.text())
    rig.until(lambda: proxy.said(f"upstream checked: server localhost:{bad.port}") and
              proxy.said("is down (certificate of an unknown issuer)"), "the check fails")
    rig.until(lambda: proxy.said("upstream tcp: server"), "the check of type tcp fails")
    rig.check(not proxy.said(f"upstream checked: server localhost:{good.port} is down"),
              "the good server is down")
    proxy.stop()
    print(f"{rig.ENGINE}: health checks")


def memcached(root, other):
    cert = root.issue("cache", names=["localhost"])
    port = rig.free_ports(1)[0]
    rig.memcached(port, "-Z", "-o", f"ssl_chain_cert={cert.chain},ssl_key={cert.key}")
    with ssl.create_default_context(cafile=root.file).wrap_socket(
            socket.create_connection(("127.0.0.1", port)), server_hostname="localhost") as s:
        s.sendall(b"set key 0 0 5\r\nvalue\r\n")
        rig.check(s.recv(100) == b"STORED\r\n", "memcached stores")
    u = Upstreams()
    cache = "    protocol: memcached\n"
    u.add("cache", port, f"{{ ca: {root.file} }}",
          cache + "    health_check: { interval: 100ms, rise: 1, fall: 1 }\n")
    u.add("strange", port, f"{{ ca: {other.file} }}", cache)
    proxy = rig.Fairlead(u.text())
    for _ in range(50):
        answer = rig.get(proxy.port, "/cache/key")
        rig.check(answer.status == 200 and answer.body == b"value", lambda: answer.head)
    rig.check(rig.get(proxy.port, "/cache/none").status == 404, "a miss")
    rig.check(rig.get(proxy.port, "/strange/key").status in (404, 503), "an unknown issuer")
    rig.check(metric(proxy, "strange", "tls_failures_total") >= 1, "failures of memcached")
    rig.check(not proxy.said("is down"), "the check of memcached")
    proxy.stop()
    print(f"{rig.ENGINE}: memcached")


def tls_nginx(certificate):
    plain, port = rig.free_ports(2)
    rig.nginx(plain, http=f"""server {{
        listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on;
        ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.key};
        location / {{ default_type text/plain;
                     return 200 "$ssl_server_name $ssl_session_reused $ssl_protocol"; }}
    }}""")
    return port


def others(root):
    """nginx and openssl s_server, which ends each connection after its response."""
    certificate = root.issue("peer", names=["localhost"])
    u = Upstreams()
    u.add("nginx", tls_nginx(certificate), f"{{ ca: {root.file} }}", NEVER)
    u.add("s12", s_server(certificate, "-tls1_2"), f"{{ ca: {root.file} }}", NEVER)
    u.add("s13", s_server(certificate, "-tls1_3"), f"{{ ca: {root.file} }}", NEVER)
    proxy = rig.Fairlead(u.text(), workers=1)
    got = [rig.get(proxy.port, "/nginx/").body.decode() for _ in range(3)]
    rig.check(got == ["localhost . TLSv1.3", "localhost r TLSv1.3", "localhost r TLSv1.3"],
              lambda: f"nginx: {got}")
    for name, version in (("s12", "TLSv1.2"), ("s13", "TLSv1.3")):
        got = [rig.get(proxy.port, f"/{name}/").body.decode() for _ in range(3)]
        rig.check(all(version in text for text in got), lambda: f"{name}: {got[0]}")
        rig.check("Reused" in got[1] and "Reused" not in got[0], lambda: f"{name}: {got[1]}")
    proxy.stop()
    print(f"{rig.ENGINE}: nginx, s_server")


def test():
    root, other = pki.Authority(), pki.Authority("other")
    verification(root, other)
    resumption(root)
    bodies(root)
    ends(root)
    failover(root, other)
    reloads(root, other)
    issuers_replaced(root)
    watching(root, other)
    health(root, other)
    memcached(root, other)
    others(root)


if __name__ == "__main__":
    rig.main(test)
