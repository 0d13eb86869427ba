#!/usr/bin/env python3
"""Certificates in a running process: new ones by reload and by watching, ones that cannot be used,
tickets across workers, reload, upgrade and restart, TLS turned on by a reload, the key log, and what
each kind of failed handshake leaves behind under the sandbox."""
# asan
# timeout: 1800
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pki
import rig
import tlsrig

CONFIG = """
certificates: {{ watch: {watch} }}
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""
REPLACEMENTS = 200


def config(origin, watch="off"):
    return CONFIG.format(origin=origin, watch=watch)


def install(certificate, path):
    """As certbot does: a new file takes the place of the previous one."""
    shutil.copy(certificate.pem, path + ".new")
    os.chmod(path + ".new", 0o600)
    os.rename(path + ".new", path)


def write(path, text):
    with open(path + ".new", "w") as f:
        f.write(text)
    os.chmod(path + ".new", 0o600)
    os.rename(path + ".new", path)


def serial_of(pem):
    return pki.openssl("x509", "-noout", "-serial", "-in", pem)


def served(port, name="localhost"):
    """The serial number of the certificate that a new connection gets."""
    return pki.openssl("x509", "-noout", "-serial", "-in", write_served(port, name))


def write_served(port, name):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S) as s:
        with ctx.wrap_socket(s, server_hostname=name) as t:
            der = t.getpeercert(binary_form=True)
    path = os.path.join(rig.TMP, "served.pem")
    with open(path, "w") as f:
        f.write(ssl.DER_cert_to_PEM_cert(der))
    return path


def ask(s, path="/bytes/10", last=False):
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n".encode() +
              (b"Connection: close\r\n\r\n" if last else b"\r\n"))
    text = b""
    while not (text.endswith(b"x" * 10) or (b"\r\n\r\n" in text and len(text) > 200)):
        piece = s.recv(65536)
        rig.check(piece, f"the connection ended after {text!r}")
        text += piece
        if b"\r\n\r\n" in text:
            head, _, body = text.partition(b"\r\n\r\n")
            if len(body) >= 10:
                break
    return int(text.split()[1])


def reload(proxy, said="fairlead: reloaded", sign=signal.SIGHUP):
    before = proxy.log().count(said)
    proxy.signal(sign)
    rig.until(lambda: proxy.log().count(said) > before or not proxy.alive(), said)
    rig.check(proxy.alive(), proxy.log)


def metric(proxy, name):
    return proxy.metrics().get(name, 0)


def reloaded(origin, root):
    """New connections get the new certificate, open ones go on; a pair that cannot be used leaves
    the previous one in force, and the rest of the reload goes on."""
    first, second = root.issue("localhost", file="r1"), root.issue("localhost", file="r2")
    path = os.path.join(rig.TMP, "reloaded.pem")
    install(first, path)
    proxy = rig.Fairlead(config(origin), tls=f"{{ certificates: {path} }}")
    worker = proxy.worker_pid()
    ctx = ssl.create_default_context(cafile=root.file)
    old = tlsrig.Socket(proxy.port, ctx)
    rig.check(ask(old) == 200, "the first request")
    install(second, path)
    reload(proxy)
    rig.check(served(proxy.port) == serial_of(second.pem), "the new certificate")
    rig.check(ask(old) == 200, "the open connection")
    for n, (text, reason) in enumerate((
            ("noise\n", "no certificate in the file"),
            (open(first.chain).read() + open(second.key).read(), "does not belong to"))):
        write(path, text)
        with open(proxy.path) as f:
            changed = f.read()
        with open(proxy.path, "w") as f:
            f.write(changed + f"x-{n}: 1\n")
        reload(proxy)
        rig.check(served(proxy.port) == serial_of(second.pem), f"{reason}: the previous one stays")
        rig.check("the previous certificate stays in force" in proxy.log() and reason in proxy.log(),
                  proxy.log)
        rig.check(metric(proxy, "certificates_refused_total") == n + 1, "the count")
    install(first, path)
    reload(proxy)
    rig.check(served(proxy.port) == serial_of(first.pem), "a good one again")
    rig.check(ask(old, last=True) == 200, "the open connection")
    rig.check(proxy.worker_pid() == worker, "the worker process")
    proxy.stop()
    write(path, "noise\n")
    fails = subprocess.run([rig.FAIRLEAD, "-c", proxy.path], capture_output=True, text=True,
                           timeout=rig.PATIENCE_S, check=False)
    rig.check(fails.returncode == 1 and "no certificate in the file" in fails.stderr,
              f"a start with a bad file: {fails}")


def watched(origin, root):
    """Replaced by rename and by a symbolic link, without a reload; nothing but these files is
    read; a bad file is reported once."""
    made = [root.issue("localhost", file=f"w{i}") for i in range(4)]
    path, link = os.path.join(rig.TMP, "watched.pem"), os.path.join(rig.TMP, "data")
    install(made[0], path)
    proxy = rig.Fairlead(config(origin, "1s"), tls=f"{{ certificates: {path} }}")
    with open(proxy.path, "w") as f:
        f.write("nonsense: [\n")    # an editor is open
    install(made[1], path)
    rig.until(lambda: served(proxy.port) == serial_of(made[1].pem), "the renamed file")
    # As Kubernetes does it: the file is a link to a link that changes.
    for i in (2, 3):
        os.makedirs(link + str(i), exist_ok=True)
        shutil.copy(made[i].pem, os.path.join(link + str(i), "site.pem"))
    os.symlink(link + "2", link)
    os.unlink(path)
    os.symlink(os.path.join(link, "site.pem"), path)
    rig.until(lambda: served(proxy.port) == serial_of(made[2].pem), "the link")
    os.symlink(link + "3", link + ".new")
    os.rename(link + ".new", link)
    rig.until(lambda: served(proxy.port) == serial_of(made[3].pem), "the link that changed")
    write(path, "noise\n")
    rig.until(lambda: metric(proxy, "certificates_refused_total") == 1, "the count")
    time.sleep(2.5)
    rig.check(proxy.log().count("stays in force") == 1, proxy.log)
    rig.check(metric(proxy, "certificates_refused_total") == 1, "counted once")
    rig.check(served(proxy.port) == serial_of(made[3].pem), "the previous one stays")
    os.unlink(path)
    rig.until(lambda: metric(proxy, "certificates_refused_total") == 2, "the missing file")
    rig.check(proxy.log().count("replaced certificates of") == 3, proxy.log)
    install(made[0], path)
    rig.until(lambda: served(proxy.port) == serial_of(made[0].pem), "a good one again")
    proxy.stop()


def resumes(port, ctx, session):
    with tlsrig.Socket(port, ctx, session=session) as s:
        rig.check(ask(s, last=True) == 200, "a request")
        return s.tls.session_reused


def tickets(origin, root):
    """One secret: tickets are good on every worker, after a reload, an upgrade, the end of a worker
    process, and not after a restart."""
    certificate = root.issue("localhost", file="t")
    proxy = rig.Fairlead(config(origin), tls=f"{{ certificates: {certificate.pem} }}")
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        ctx = tlsrig.context(type("Made", (), {"root": root}), version)
        with tlsrig.Socket(proxy.port, ctx) as s:
            rig.check(ask(s) == 200, "a request")
            session = s.tls.session
        rig.check(all(resumes(proxy.port, ctx, session) for _ in range(16)), "on each worker")
        reload(proxy)
        rig.check(resumes(proxy.port, ctx, session), f"{version}: after a reload")
        reload(proxy, "fairlead: ready", signal.SIGUSR2)
        rig.check(resumes(proxy.port, ctx, session), f"{version}: after an upgrade")
        ready = proxy.log().count("fairlead: ready")
        os.kill(proxy.children()[-1], signal.SIGKILL)
        rig.until(lambda n=ready: proxy.log().count("fairlead: ready") > n, "another worker process")
        rig.check(resumes(proxy.port, ctx, session), f"{version}: after a crash")
    proxy.stop()
    again = rig.Fairlead(config(origin), tls=f"{{ certificates: {certificate.pem} }}")
    rig.check(not resumes(again.port, ctx, session), "after a restart")
    again.stop()


def fleet(origin, root):
    """Two programs with the same `keys` resume each other's sessions; keys are replaced."""
    certificate = root.issue("localhost", file="f")
    keys = [os.path.join(rig.TMP, f"ticket{i}") for i in range(2)]
    for key in keys:
        with open(key, "wb") as f:
            f.write(os.urandom(80))
    # The name of a listener, which is its address, is part of what a session belongs to.
    tls = f"{{ certificates: {certificate.pem}, tickets: {{ keys: [{keys[0]}, {keys[1]}] }} }}"
    one = rig.Fairlead(config(origin), tls=tls)
    ctx = tlsrig.context(type("Made", (), {"root": root}))
    with tlsrig.Socket(one.port, ctx) as s:
        rig.check(ask(s) == 200, "a request")
        session = s.tls.session
    one.stop()
    two = rig.Fairlead(config(origin), tls=tls, port=one.port)
    rig.check(resumes(two.port, ctx, session), "the other program")
    os.rename(keys[0], keys[0] + ".old")
    os.rename(keys[1], keys[0])
    os.rename(keys[0] + ".old", keys[1])
    reload(two)
    rig.check(resumes(two.port, ctx, session), "the key is the second one now")
    for key in keys:
        with open(key, "wb") as f:
            f.write(os.urandom(80))
    reload(two)
    rig.check(not resumes(two.port, ctx, session), "the key is gone")
    two.stop()


def turned_on(origin, root):
    """A reload that turns TLS on starts a new worker process, in which it works; one that turns it
    off does not."""
    certificate = root.issue("localhost", file="on")
    proxy = rig.Fairlead(config(origin))
    worker = proxy.worker_pid()
    with open(proxy.path) as f:
        plain = f.read()
    idle = socket.create_connection(("127.0.0.1", proxy.port))
    rig.check(ask(idle) == 200, "a request")
    address = f"address: 127.0.0.1:{proxy.port}"
    rig.check(address in plain, plain)
    with open(proxy.path, "w") as f:
        f.write(plain.replace(address,
                              f"{address}, tls: {{ certificates: {certificate.pem} }}"))
    reload(proxy, "fairlead: ready")
    rig.until(lambda: served(proxy.port) == serial_of(certificate.pem), "the certificate")
    rig.check(ask(idle, last=True) == 200, "the open connection, in the previous process")
    rig.until(lambda: worker not in proxy.children(), "the end of the previous process")
    worker = proxy.worker_pid()
    with open(proxy.path, "w") as f:
        f.write(plain)
    reload(proxy)
    rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "without TLS again")
    rig.check(proxy.worker_pid() == worker, "in the same process")
    proxy.stop()


def keylog(origin, root):
    certificate = root.issue("localhost", file="k")
    path = os.path.join(rig.TMP, "keys.log")
    proxy = rig.Fairlead(config(origin),
                         tls=f"{{ certificates: {certificate.pem}, keylog: {path} }}")
    rig.check("the secrets of all TLS connections" in proxy.log(), proxy.log)
    for n in (1, 2):
        served(proxy.port)
        with open(path) as f:
            lines = f.read().splitlines()
        rig.check(sum(line.startswith("CLIENT_HANDSHAKE_TRAFFIC_SECRET ") for line in lines) == n,
                  lines)
        reload(proxy)
    rig.check(os.stat(path).st_mode & 0o777 == 0o600, "its mode")
    rig.check(proxy.log().count("the secrets") == 3, proxy.log)
    proxy.stop()


def s_client(port, *arguments, text=b""):
    return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *arguments],
                          input=text, capture_output=True, timeout=rig.PATIENCE_S, check=False)


def failures(origin, root):
    """Each kind of handshake that fails is counted under its fault, and the worker process lives;
    at most one line a second for each fault."""
    stranger = pki.Authority("stranger")
    certificate = root.issue("localhost", file="s")
    client, other = root.issue("client", file="c"), stranger.issue("client", file="o")
    server_only = root.issue("client", file="so", usage="serverAuth")
    proxy = rig.Fairlead(
        config(origin),
        tls=f"{{ certificates: {certificate.pem}, default: none, "
            f"client_auth: [{{ names: [required.test, localhost], ca: {root.file} }}] }}")
    worker = proxy.worker_pid()

    def count(fault):
        for line in rig.get(proxy.admin, "/metrics").body.decode().splitlines():
            if line.startswith(f'fairlead_tls_failures_total{{side="listener",fault="{fault}"}}'):
                return int(line.split()[-1])
        raise AssertionError(f"no metric of {fault}")

    name = ("-servername", "localhost")
    key = lambda c: ("-cert", c.chain, "-key", c.key)    # noqa: E731
    cases = (
        ("version", ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0", *name)),
        ("suite", ("-tls1_2", "-cipher", "AES128-SHA", *name)),
        ("group", ("-tls1_3", "-groups", "X448", *name)),
        ("name", ("-servername", "unknown.test")),
        ("name", ("-noservername",)),
        ("certificate_missing", name),
        ("certificate_missing", ("-tls1_2", *name)),
        ("certificate_untrusted", (*name, *key(other))),
        ("certificate", (*name, *key(server_only))),
        ("protocol", (*name, *key(client), "-alpn", "nonsense")),
    )
    for fault, arguments in cases:
        before = count(fault)
        s_client(proxy.port, *arguments)
        rig.until(lambda f=fault, n=before: count(f) == n + 1, f"{fault}: {arguments}")
    for fault, data in (("plain_http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
                        ("not_tls", b"\0" * 40), ("not_tls", b"SSH-2.0-x\r\n"),
                        ("closed", b"\x16\x03\x01")):
        before = count(fault)
        with socket.create_connection(("127.0.0.1", proxy.port)) as s:
            s.sendall(data)
            if fault == "closed":
                s.shutdown(socket.SHUT_WR)
            s.settimeout(rig.PATIENCE_S)
            try:
                while s.recv(4096):
                    pass
            except ConnectionResetError:
                pass
        rig.until(lambda f=fault, n=before: count(f) == n + 1, f"{fault}: {data}")
    good = s_client(proxy.port, *name, *key(client),
                    text=b"GET /bytes/10 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    rig.check(b"Verify return code" in good.stdout, good.stdout)
    rig.check(proxy.worker_pid() == worker, proxy.log)
    lines = [line for line in proxy.log().splitlines() if "TLS handshake with 127.0.0.1" in line]
    rig.check(any("server name unknown.test" in line for line in lines), proxy.log)
    rig.check(any("no server name" in line for line in lines), proxy.log)
    # A burst of one kind: few lines, all counted.
    before, n = count("not_tls"), len(proxy.log().splitlines())
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", proxy.port)) as s:
            s.sendall(b"\0" * 40)
            try:
                s.recv(100)
            except ConnectionResetError:
                pass
    rig.until(lambda: count("not_tls") == before + 50, "all are counted")
    rig.check(len(proxy.log().splitlines()) - n < 20, proxy.log)
    # A connection that only looks whether the port is open.
    n = len(proxy.log().splitlines())
    for _ in range(10):
        socket.create_connection(("127.0.0.1", proxy.port)).close()
    time.sleep(0.3)
    rig.check(len(proxy.log().splitlines()) == n, proxy.log)
    proxy.stop()


class Load(threading.Thread):
    """Requests without a pause, on kept connections and on new ones."""

    def __init__(self, port, ctx, kept):
        super().__init__(daemon=True)
        self.port, self.ctx, self.kept = port, ctx, kept
        self.n, self.fault, self.stopped = 0, None, False
        self.start()

    def run(self):
        s = None
        try:
            while not self.stopped:
                s = s or tlsrig.Socket(self.port, self.ctx)
                status = ask(s, last=not self.kept)
                rig.check(status == 200, f"status {status}")
                self.n += 1
                if not self.kept:
                    s.close()
                    s = None
        except Exception as e:    # pylint: disable=broad-except
            self.fault = repr(e)


def replaced_under_load(origin, root):
    """REPLACEMENTS reloads, each with another certificate, under load: no request is lost."""
    made = [root.issue("localhost", file=f"l{i}") for i in range(2)]
    path = os.path.join(rig.TMP, "load.pem")
    install(made[0], path)
    proxy = rig.Fairlead(config(origin), tls=f"{{ certificates: {path} }}")
    worker = proxy.worker_pid()
    ctx = ssl.create_default_context(cafile=root.file)
    loads = [Load(proxy.port, ctx, kept) for kept in (True, False, False)]
    for i in range(REPLACEMENTS):
        install(made[(i + 1) % 2], path)
        reload(proxy)
    rig.check(served(proxy.port) == serial_of(made[REPLACEMENTS % 2].pem), "the last certificate")
    for load in loads:
        load.stopped = True
        load.join(rig.PATIENCE_S)
        rig.check(not load.fault, lambda it=load: f"after {it.n} requests: {it.fault}")
        rig.check(load.n > 0, "requests")
    rig.check(proxy.worker_pid() == worker, "the worker process")
    print(f"{REPLACEMENTS} replacements, {[load.n for load in loads]} requests")
    proxy.stop()


def main():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    root = pki.Authority()
    reloaded(origin, root)
    watched(origin, root)
    tickets(origin, root)
    fleet(origin, root)
    turned_on(origin, root)
    keylog(origin, root)
    failures(origin, root)
    replaced_under_load(origin, root)


rig.main(main)
