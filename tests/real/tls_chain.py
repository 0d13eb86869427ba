#!/usr/bin/env python3
"""fairlead between others that speak TLS: nginx and HAProxy as its clients; nginx, HAProxy, node,
gnutls-serv and another fairlead as its origins. Bodies of several sizes pass both ways, connections
are kept, certificates are verified on each side."""
# asan
import hashlib
import os
import shutil
import subprocess

import rig
import tlsrig

SIZES = (0, 1, 16000, 300000)
CONFIG = """
upstreams:
  app:
    servers: [127.0.0.1:{origin}]
    tls: {{ ca: {ca}, name: localhost, min_version: {version} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""
NODE = """
const https = require('https'), fs = require('fs');
https.createServer({ key: fs.readFileSync(process.argv[3]), cert: fs.readFileSync(process.argv[4]),
                     maxVersion: process.argv[5] }, (q, r) => {
  const body = []; q.on('data', d => body.push(d)); q.on('end', () => {
    const n = +(q.url.match(/bytes\\/(\\d+)/) || [0, 0])[1];
    r.end(q.method == 'POST' ? Buffer.concat(body) : Buffer.alloc(n, 'x')); });
}).listen(+process.argv[2], '127.0.0.1', () => console.log('ready'));
"""
HAPROXY = """
global
    maxconn 1000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
frontend in
    bind 127.0.0.1:{port}{bind}
    default_backend app
backend app
    server app 127.0.0.1:{to}{server}
"""
NGINX = """
        location / {{
            proxy_pass https://127.0.0.1:{to}; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host $host; proxy_request_buffering off;
            proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca}; proxy_ssl_name localhost;
            proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.2 TLSv1.3;
        }}
"""


def peer(name):
    path = os.path.join(rig.PEERS, name)
    return path if os.path.exists(path) else None


# --- origins: each returns (port, program), or None if it is not installed ---------------

def haproxy(bind, to, server):
    port, = rig.free_ports(1)
    path = os.path.join(rig.TMP, f"haproxy-{port}.cfg")
    with open(path, "w") as f:
        f.write(HAPROXY.format(port=port, bind=bind, to=to, server=server))
    program = rig.Program("haproxy", [peer("haproxy"), "-db", "-f", path])
    rig.until(lambda: rig.accepts(port) or not program.alive(), "haproxy")
    rig.check(program.alive(), lambda: f"haproxy: {program.log()}")
    return port, program


def origin_haproxy(world, version):
    if not peer("haproxy"):
        return None
    return haproxy(f" ssl crt {world.pki.ecdsa.pem} ssl-min-ver TLSv{version} ssl-max-ver "
                   f"TLSv{version}", world.lab, "")


def origin_nginx(world, version):
    program = tlsrig.nginx(world.lab, (world.pki.ecdsa,), f"TLSv{version}")
    return program.port, program


def origin_fairlead(world, version):
    if version == "1.2":    # it always offers 1.3 as well
        return None
    program = rig.Fairlead(tlsrig.CONFIG.format(origin=world.lab), tls=world.pki.tls())
    return program.port, program


def origin_node(world, version):
    node = shutil.which("node")
    if not node:
        return None
    port, = rig.free_ports(1)
    path = os.path.join(rig.TMP, "origin.js")
    with open(path, "w") as f:
        f.write(NODE)
    return port, rig.Program("node", [node, path, str(port), world.pki.rsa.key,
                                      world.pki.rsa.chain, f"TLSv{version}"], ready="ready")


ORIGINS = (origin_haproxy, origin_nginx, origin_node, origin_fairlead)


def client_nginx(world, to):
    port, = rig.free_ports(1)
    program = rig.nginx(port, NGINX.format(to=to, ca=world.pki.root.file))
    return port, program


def client_haproxy(world, to):
    if not peer("haproxy"):
        return None
    return haproxy("", to, f" ssl verify required ca-file {world.pki.root.file} verifyhost "
                   "localhost sni str(localhost)")


CLIENTS = (client_nginx, client_haproxy)


# --- what passes ----------------------------------------------------------------------

def curl(*words):
    done = subprocess.run(["curl", "-sS", "--fail", "-m", "60", *words], capture_output=True,
                          check=False)
    rig.check(done.returncode == 0, lambda: f"curl {words[-1]}: {done.stderr.decode()}")
    return done.stdout


def passes(port, what):
    """Downloads, and uploads that come back (the lab's /echo, or node)."""
    urls = [f"http://127.0.0.1:{port}/bytes/{n}" for n in SIZES]
    got = curl(*urls)
    rig.check(len(got) == sum(SIZES), f"{what}: {len(got)} bytes of {sum(SIZES)}")
    path = os.path.join(rig.TMP, "sent")
    with open(path, "wb") as f:
        f.write(os.urandom(1 << 20))
    with open(path, "rb") as f:
        sent = f.read()
    got = curl("--data-binary", "@" + path, f"http://127.0.0.1:{port}/echo")
    rig.check(hashlib.sha256(got[-len(sent):]).digest() == hashlib.sha256(sent).digest(),
              f"{what}: {len(got)} bytes came back of {len(sent)}")


def gnutls_serv(world):
    """Its server answers each request with a page about the connection."""
    if not peer("gnutls-cli"):
        return
    program = os.path.join(os.path.dirname(rig.PEERS), "gnutls-cli/usr/bin/gnutls-serv")
    program = program if os.path.exists(program) else shutil.which("gnutls-serv")
    port, = rig.free_ports(1)
    rig.Program("gnutls-serv", [program, "--port", str(port), "--http", "--quiet",
                                "--x509keyfile", world.pki.rsa.key, "--x509certfile",
                                world.pki.rsa.chain],
                env=dict(os.environ, LD_LIBRARY_PATH=os.path.join(
                    os.path.dirname(os.path.dirname(program)), "lib/x86_64-linux-gnu")))
    rig.until(lambda: rig.accepts(port), "gnutls-serv")
    proxy = world.proxy(port, "1.2")
    got = rig.get(proxy.port, "/")
    rig.check(got.status == 200 and b"GnuTLS" in got.body, f"gnutls-serv: {got.head} {got.body[:200]}")
    proxy.stop()


class World:
    def __init__(self):
        self.lab, = rig.free_ports(1)
        rig.lab("0ms", self.lab)
        self.pki = tlsrig.Pki()

    def proxy(self, origin, version, tls=None):
        return rig.Fairlead(CONFIG.format(origin=origin, ca=self.pki.root.file, version=version),
                            tls=tls)


def main():
    world = World()
    for origin in ORIGINS:
        for version in ("1.3", "1.2"):
            there = origin(world, version)
            if not there:
                print(f"{origin.__name__} {version}: not tried")
                continue
            proxy = world.proxy(there[0], version)
            passes(proxy.port, f"{origin.__name__} {version}")
            told = proxy.metrics()
            rig.check(told.get("upstream_connections_opened_total", 1) <= 4, f"{told}")
            proxy.stop()
            there[1].stop()
    gnutls_serv(world)
    back = origin_nginx(world, "1.3")
    proxy = world.proxy(back[0], "1.3", world.pki.tls())
    for client in CLIENTS:
        there = client(world, proxy.port)
        if there:
            passes(there[0], client.__name__)
            there[1].stop()
    print(f"{rig.ENGINE}: all pass")


rig.main(main)
