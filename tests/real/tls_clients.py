#!/usr/bin/env python3
"""TLS clients of others: curl, openssl s_client, gnutls-cli, node and Python get their responses,
resume sessions, renew keys, and are refused what is not offered."""
# asan
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time

import rig
import tlsrig

MIB = 1 << 20
GET = b"GET /bytes/%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
SUITES_1_3 = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
SUITES_1_2 = [f"ECDHE-{key}-{cipher}" for key in ("ECDSA", "RSA") for cipher in
              ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")]
REFUSED_1_2 = ("ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "AES128-GCM-SHA256",
               "DHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-CCM")
GROUPS = ("X25519", "P-256", "P-384")


def run(command, text=b"", patience_s=60):
    return subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=patience_s, check=False)


# --- curl -----------------------------------------------------------------------------

def curl(world, *options, path="/bytes/100", good=True):
    done = run(["curl", "-sS", "--http1.1", "--resolve", f"localhost:{world.port}:127.0.0.1",
                "--cacert", world.pki.root.file, *options, f"https://localhost:{world.port}{path}"])
    rig.check((done.returncode == 0) == good,
              lambda: f"curl {options}: {done.returncode} {done.stdout[-500:]}")
    return done


def with_curl(world):
    for version in ("1.2", "1.3"):
        done = curl(world, f"--tlsv{version}", "--tls-max", version, "-o", "/dev/null",
                    "-w", "%{ssl_verify_result} %{http_code} %{size_download}", path="/bytes/100000")
        rig.check(done.stdout == b"0 200 100000", lambda: f"{version}: {done.stdout}")
    done = curl(world, "--http2", "-w", "\n%{http_version}", "-o", "/dev/null")
    rig.check(done.stdout.strip() in (b"1.1", b"2"), lambda: f"ALPN h2, http/1.1: {done.stdout}")
    path = os.path.join(rig.TMP, "upload")
    with open(path, "wb") as f:
        f.write(os.urandom(3 * MIB))
    done = curl(world, "--data-binary", "@" + path, path="/echo")
    rig.check(open(path, "rb").read() in (done.stdout, done.stdout.partition(b"\r\n\r\n")[2]),
              lambda: f"an upload of 3 MiB came back as {len(done.stdout)} bytes")
    curl(world, "--tls-max", "1.1", "--tlsv1.0", "--ciphers", "DEFAULT@SECLEVEL=0", good=False)
    done = run(["curl", "-sS", world.address])
    rig.check(done.returncode == 60, "curl trusts an unknown authority")


def plain_http(world):
    """Answered in plain text, since the client would not understand an alert."""
    answer = rig.get(world.port, "/bytes/100")
    rig.check(answer.status == 400, f"plain HTTP on the TLS port: {answer.status}")
    rig.check(b"HTTPS" in answer.body or b"https" in answer.body, f"{answer.body}")


# --- openssl s_client -----------------------------------------------------------------

def s_client(world, *options, text=b"", pause_s=0.3, good=True):
    """The output of s_client, to which text is written in lines, with pauses: a line K, k, R or Q
    is a command to s_client."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{world.port}", "-servername",
               "localhost", "-CAfile", world.pki.root.file, "-verify_return_error", *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, bufsize=0)
    out = []
    reader = threading.Thread(target=lambda: out.append(process.stdout.read()))
    reader.start()
    try:
        for piece in text if isinstance(text, list) else [text]:
            time.sleep(pause_s)
            process.stdin.write(piece)
        time.sleep(pause_s)
    except BrokenPipeError:
        pass
    process.stdin.close()
    process.wait(30)
    reader.join()
    said = out[0].decode("latin-1")
    rig.check(("Verify return code: 0 (ok)" in said and "Cipher is (NONE)" not in said) == good,
              lambda: f"s_client {options}: {said[-1500:]}")
    return said


def suites(world):
    for suite in SUITES_1_3:
        said = s_client(world, "-tls1_3", "-ciphersuites", suite, pause_s=0.02)
        rig.check(suite in said, f"{suite}: {said[-800:]}")
    for suite in SUITES_1_2:
        said = s_client(world, "-tls1_2", "-cipher", suite, pause_s=0.02)
        rig.check(f"Cipher    : {suite}" in said, f"{suite}: {said[-800:]}")
    for suite in REFUSED_1_2:
        said = s_client(world, "-tls1_2", "-cipher", suite + ":@SECLEVEL=0", pause_s=0.02, good=False)
        rig.check("handshake failure" in said, f"{suite}: {said[-800:]}")
    for group in GROUPS:
        said = s_client(world, "-tls1_3", "-groups", group, pause_s=0.02)
        rig.check("Server Temp Key" in said, f"{group}: {said[-800:]}")
    s_client(world, "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0", pause_s=0.02, good=False)


def certificates(world):
    """ECDSA if the client can, else RSA."""
    for options, wanted in ((("-tls1_3",), "id-ecPublicKey"),
                            (("-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"), "rsaEncryption"),
                            (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"),
                             "rsaEncryption")):
        said = s_client(world, *options, pause_s=0.02)
        rig.check(f"PKEY: {wanted}" in said, f"{options}: {said[:800]}")


def alpn(world):
    said = s_client(world, "-alpn", "http/1.1", pause_s=0.02)
    rig.check("ALPN protocol: http/1.1" in said, said[-800:])
    said = s_client(world, "-alpn", "spdy/3", pause_s=0.02, good=False)
    rig.check("no application protocol" in said, said[-800:])


def responses(said):
    return said.count("HTTP/1.1 200 OK")


def key_updates(world):
    """Keys renewed with (K) and without (k) a request for the other side's."""
    request = GET % 100
    said = s_client(world, "-tls1_3", text=[request, b"K\n", request, b"k\n", b"k\n", b"K\n",
                                            GET % 100000])
    rig.check(responses(said) == 3, f"{responses(said)} of 3 responses: {said[-1500:]}")
    rig.check(said.count("KEYUPDATE") == 4, said[-1500:])


def renegotiation(world):
    said = s_client(world, "-tls1_2", text=[GET % 100, b"R\n", GET % 100])
    rig.check(responses(said) == 1, f"{responses(said)} responses: {said[-1500:]}")
    rig.check("no renegotiation" in said or "unexpected" in said, said[-1500:])


def resumption(world):
    for version in ("-tls1_3", "-tls1_2"):
        path = os.path.join(rig.TMP, "session" + version)
        said = s_client(world, version, "-sess_out", path, text=GET % 100)
        rig.check("\nNew, " in said and responses(said) == 1, said[-1500:])
        said = s_client(world, version, "-sess_in", path, text=GET % 100)
        rig.check("\nReused, " in said and responses(said) == 1, f"{version}: {said[-1500:]}")
    early = os.path.join(rig.TMP, "early")
    with open(early, "wb") as f:
        f.write(GET % 100)
    path = os.path.join(rig.TMP, "session-tls1_3")
    said = s_client(world, "-tls1_3", "-sess_out", path, text=GET % 100)
    rig.check("Max Early Data: 0" in said, said[-1500:])
    said = s_client(world, "-tls1_3", "-sess_in", path, "-early_data", early, text=GET % 100)
    rig.check("Early data was not sent" in said or "Early data was rejected" in said,
              said[-1500:])


# --- metrics ----------------------------------------------------------------------------

COUNTED = {
    "handshakes": ("tls_handshakes_total", {"side": "listener"}),
    "timed": ("tls_handshake_seconds_count", {"side": "listener"}),
    "in first": ("tls_handshake_seconds_bucket", {"side": "listener", "le": "0.00025"}),
    "within 8 s": ("tls_handshake_seconds_bucket", {"side": "listener", "le": "8.192"}),
    "hits": ("tls_tickets_total", {"side": "listener", "result": "hit"}),
    "misses": ("tls_tickets_total", {"side": "listener", "result": "miss"}),
    "records in": ("tls_records_total", {"direction": "received"}),
    "records out": ("tls_records_total", {"direction": "sent"}),
    "updates in": ("tls_key_updates_total", {"direction": "received"}),
    "updates out": ("tls_key_updates_total", {"direction": "sent"}),
    "upstream": ("tls_handshake_seconds_count", {"side": "upstream"}),
}


def counts(world):
    return {what: world.proxy.samples(name, **labels) for what, (name, labels) in COUNTED.items()}


def counts_added(world, call, **wanted):
    """call() adds these to the counts, and nothing to those of handshakes and sessions else."""
    before = counts(world)
    call()

    def added():
        return {what: n - before[what] for what, n in counts(world).items()}
    exact = {"hits": 0, "misses": 0, "updates in": 0, "updates out": 0, "upstream": 0,
             **{what.replace("_", " "): n for what, n in wanted.items()}}
    exact["within 8 s"] = exact["timed"] = exact["handshakes"]
    deadline = time.monotonic() + 5
    while any(added()[what] != n for what, n in exact.items()):
        rig.check(time.monotonic() < deadline, lambda: f"{added()}, not {exact}")
        time.sleep(0.05)
    return added()


def asks(port, context, session=None):
    """One request; the session of its connection."""
    with tlsrig.Socket(port, context, session=session) as client:
        client.sendall(GET % 100)
        body_of(client, 100)
        rig.check(client.tls.session_reused in (bool(session), False), "resumed")
        return client.tls.session


def metrics(world):
    if tlsrig.STAND_IN:
        return
    stranger = World(pki=world.pki)    # its tickets are sealed by another secret
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = tlsrig.context(world.pki, version)
        added = counts_added(world, lambda: asks(world.port, context), handshakes=1)
        # A request, close_notify; a response, close_notify.
        rig.check(added["records in"] == 2 and 1 <= added["records out"] <= 3, f"{added}")
        session = asks(world.port, context)
        counts_added(world, lambda: asks(world.port, context, session), handshakes=1, hits=1)
    session = asks(stranger.port, context)
    counts_added(world, lambda: asks(world.port, context, session), handshakes=1, misses=1)
    counts_added(world, lambda: s_client(world, "-tls1_3", text=[b"K\n", GET % 100, b"k\n", b""]),
                 handshakes=1, updates_in=2, updates_out=1)
    rig.check(0 < world.proxy.samples("tls_handshake_seconds_sum", side="listener") < 3600, "sum")
    stranger.proxy.stop()


# --- gnutls-cli -----------------------------------------------------------------------

def gnutls(world, priority, *options):
    done = run([os.path.join(rig.PEERS, "gnutls-cli"), "--x509cafile", world.pki.root.file,
                "--priority", priority, "--port", str(world.port), "--sni-hostname", "localhost",
                "--verify-hostname", "localhost", *options, "127.0.0.1"],
               b"GET /bytes/100000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    return done.returncode, done.stdout.decode("latin-1")


def with_gnutls(world):
    for version in ("1.2", "1.3"):
        priority = f"NORMAL:-VERS-ALL:+VERS-TLS{version}"
        status, said = gnutls(world, priority)
        rig.check(status == 0 and "HTTP/1.1 200" in said and len(said) > 100000,
                  lambda: f"gnutls {priority}: {status} {said[-1500:]}")
        status, said = gnutls(world, priority, "--resume", "--waitresumption")
        rig.check(status == 0 and "*** This is a resumed session" in said,
                  lambda: f"gnutls {priority}, resumed: {status} {said[-1500:]}")
    status, said = gnutls(world, "NORMAL:-VERS-ALL:+VERS-TLS1.1")
    rig.check(status != 0, "TLS 1.1 with gnutls")
    status, said = gnutls(world, "NORMAL:-GROUP-ALL:+GROUP-SECP384R1:-CIPHER-ALL:+AES-256-GCM")
    rig.check(status == 0, lambda: f"P-384 with AES-256: {said[-1500:]}")
    status, said = gnutls(world, "NORMAL:-GROUP-ALL:+GROUP-FFDHE2048:-KX-ALL:+DHE-RSA")
    rig.check(status != 0, "a finite-field group")


# --- node -----------------------------------------------------------------------------

NODE = """
const https = require('https'), tls = require('tls'), fs = require('fs');
const port = +process.argv[2], ca = fs.readFileSync(process.argv[3]);
const agent = new https.Agent({ ca, keepAlive: true, maxSockets: 1, servername: 'localhost' });
const get = path => new Promise((done, failed) => https.get(
  { host: '127.0.0.1', port, path, agent, headers: { host: 'localhost' } },
  r => { let n = 0; const from = r.socket.localPort; r.on('data', d => n += d.length);
         r.on('end', () => done([r.statusCode, n, from])); }).on('error', failed));
const ask = options => new Promise((done, failed) => {
  let text = '', session = null, reused, version;
  const s = tls.connect({ host: '127.0.0.1', port, ca, servername: 'localhost', ...options }, () => {
    reused = s.isSessionReused(); version = s.getProtocol();
    s.write('GET /bytes/100 HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n'); });
  s.on('session', x => session = x);
  s.on('data', d => text += d); s.on('error', failed);
  s.on('close', () => done({ text, session, reused, version })); });
(async () => {
  const told = { kept: [await get('/bytes/100'), await get('/bytes/300000')] };
  for (const v of ['TLSv1.2', 'TLSv1.3']) {
    const first = await ask({ minVersion: v, maxVersion: v });
    const second = await ask({ minVersion: v, maxVersion: v, session: first.session });
    told[v] = [first.text.includes('200 OK'), first.reused, second.text.includes('200 OK'),
               second.reused, second.version];
  }
  agent.destroy();
  console.log(JSON.stringify(told));
})();
"""


def with_node(world):
    node = shutil.which("node")
    if not node:
        print("no node: not tried")
        return
    path = os.path.join(rig.TMP, "client.js")
    with open(path, "w") as f:
        f.write(NODE)
    done = run([node, path, str(world.port), world.pki.root.file])
    found = re.search(rb"\{.*\}", done.stdout)
    rig.check(done.returncode == 0 and found, lambda: f"node: {done.stdout[-1500:]}")
    told = json.loads(found[0])
    (a, n, port), (b, m, again) = told["kept"]
    rig.check((a, n, b, m) == (200, 100, 200, 300000) and port == again, f"node: {told}")
    for version in ("TLSv1.2", "TLSv1.3"):
        rig.check(told[version] == [True, False, True, True, version], f"node: {told}")


# --- Python: half-closed connections, ends ----------------------------------------------

def read_all(client):
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data


def half_close(world):
    """close_notify after the request: the response comes, then the proxy's close_notify. (nginx
    takes close_notify for the end of the client.)"""
    if tlsrig.STAND_IN:
        return
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with tlsrig.Socket(world.port, tlsrig.context(world.pki, version)) as client:
            client.sendall(b"GET /delay/300 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
            data = read_all(client)
        rig.check(data.startswith(b"HTTP/1.1 200 OK\r\n"), f"{version}: {data[:300]}")


def ends(world):
    """Connections that the proxy ends say so; a connection that is kept says nothing."""
    with tlsrig.Socket(world.port, tlsrig.context(world.pki)) as client:
        client.sendall(b"GET /bytes/100 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head, _, body = read_all(client).partition(b"\r\n\r\n")
        rig.check(b"200 OK" in head and len(body) == 100, f"{head} and {len(body)} bytes")
    with tlsrig.Socket(world.port, tlsrig.context(world.pki)) as client:
        for n in (1, 16383, 16384, 16385, 100000, 1):
            client.sendall(GET % n)
            rig.check(len(body_of(client, n)) == n, f"{n} bytes")


def body_of(client, n):
    data = b""
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < n:
        piece = client.recv(65536)
        rig.check(piece, f"it ended after {len(data)} bytes")
        data += piece
    return data.partition(b"\r\n\r\n")[2]


class World:
    def __init__(self, more="", pki=None):
        self.origin, = rig.free_ports(1)
        rig.lab("0ms", self.origin)
        self.pki = pki or tlsrig.Pki()
        self.proxy = tlsrig.front(self.origin, self.pki, more)
        self.port = self.proxy.port
        self.address = f"https://127.0.0.1:{self.port}/bytes/100"


def main():
    for more in ("",) if tlsrig.STAND_IN else ("", ", records: openssl"):
        world = World(more)
        for test in (with_curl, plain_http, suites, certificates, alpn, key_updates,
                     renegotiation, resumption, metrics, with_gnutls, with_node, half_close, ends):
            began = time.monotonic()
            test(world)
            print(f"{rig.ENGINE}{more}: {test.__name__}, {time.monotonic() - began:.1f} s",
                  flush=True)
        world.proxy.stop()


rig.main(main)
