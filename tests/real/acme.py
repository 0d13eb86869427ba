#!/usr/bin/env python3
"""examples/acme.yaml, against pebble, the test server of Let's Encrypt: a placeholder first; lego gets a certificate by HTTP-01 through the proxy, whose other requests by HTTP are
redirected; the proxy takes it, and later ones, while clients send requests, of which none fails."""
# once
import json
import os
import re
import ssl
import subprocess
import threading
import time

import pki
import rig
import tlsrig

DOMAIN = "www.example.com"
RENEWALS = 10 if rig.FULL else 2
LEGO = ("lego --path /etc/lego --email you@example.com --accept-tos --domains www.example.com "
        "--key-type ec256 --http --http.port 127.0.0.1:8402")


def example():
    """The file, which docs/tls.md has as well, with the command for lego that this test runs."""
    with open(os.path.join(rig.ROOT, "examples/acme.yaml")) as f:
        text = f.read()
    with open(os.path.join(rig.ROOT, "docs/tls.md")) as f:
        page = f.read()
    rig.check(LEGO in re.sub(r"\s*\\\n\s*", " ", page), "docs/tls.md has another lego command")
    rig.check(re.sub(r"(?m)^#.*\n| +#.*$", "", text) in page, "docs/tls.md has another example")
    return text


class Acme:
    """pebble, with a nameserver for which every name is 127.0.0.1."""

    def __init__(self, http):
        self.authority = pki.Authority("pebble-api")
        own = self.authority.issue("localhost", file="pebble-api-leaf")
        self.port, self.management, dns, control = rig.free_ports(4)
        path = os.path.join(rig.TMP, "pebble.json")
        with open(path, "w") as f:
            json.dump({"pebble": {
                "listenAddress": f"127.0.0.1:{self.port}",
                "managementListenAddress": f"127.0.0.1:{self.management}",
                "certificate": own.chain, "privateKey": own.key, "httpPort": http,
                "tlsPort": 1, "ocspResponderURL": "", "externalAccountBindingRequired": False}}, f)
        bin_dir = os.path.dirname(os.path.realpath(os.path.join(rig.PEERS, "pebble")))
        names = next(p for p in (os.path.join(bin_dir, "pebble-challtestsrv"), os.path.join(
            os.path.dirname(rig.PEERS), "pebble/usr/bin/pebble-challtestsrv"))
            if os.path.exists(p))
        rig.Program("names", [names, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01",
                              f"127.0.0.1:{dns}", "-http01", "", "-https01", "", "-tlsalpn01", "",
                              "-management", f"127.0.0.1:{control}"])
        rig.until(lambda: rig.accepts(control), "the nameserver")
        rig.Program("pebble", [os.path.join(rig.PEERS, "pebble"), "-strict", "-config", path,
                               "-dnsserver", f"127.0.0.1:{dns}"],
                    env=dict(os.environ, PEBBLE_VA_NOSLEEP="1", PEBBLE_WFE_NONCEREJECT="0"))
        rig.until(lambda: rig.accepts(self.port), "pebble")

    def root(self):
        """The file of the authority that issues."""
        path = os.path.join(rig.TMP, "acme-root.pem")
        subprocess.run(["curl", "-sS", "--fail", "--cacert", self.authority.file, "-o", path,
                        f"https://localhost:{self.management}/roots/0"], check=True)
        return path


class Proxy(rig.Fairlead):
    """The example with ports and paths of this test."""

    def __init__(self, http, secure, acme, folder, origin):
        self.port, self.admin = secure, rig.free_ports(1)[0]
        self.path = os.path.join(rig.TMP, "acme.yaml")
        text = example().replace("/etc/lego", folder).replace("127.0.0.1:8402",
                                                              f"127.0.0.1:{acme}")
        text = re.sub(r"address: 443\b", f"address: 127.0.0.1:{secure}", text)
        text = re.sub(r"address: 80\b", f"address: 127.0.0.1:{http}", text)
        text = text.replace("127.0.0.1:6000", f"127.0.0.1:{origin}").replace("watch: 1m",
                                                                            "watch: 1s")
        text = text.replace("redirect: https", f"redirect: {{ to: https, port: {secure} }}")
        with open(self.path, "w") as f:
            f.write(f"admin: 127.0.0.1:{self.admin}\n{text}")
        rig.Program.__init__(self, "fairlead", [rig.FAIRLEAD, "-c", self.path, "--engine",
                                                "io_uring" if rig.ENGINE == "-" else rig.ENGINE,
                                                "--workers", "1"], ready="fairlead: ready")


def placeholder(folder):
    """What the page says to make before the first certificate is there."""
    path = os.path.join(folder, "certificates", DOMAIN)
    os.makedirs(os.path.dirname(path))
    pki.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "30", "-subj", f"/CN={DOMAIN}", "-addext",
                f"subjectAltName=DNS:{DOMAIN}", "-keyout", path + ".key", "-out", path + ".crt")
    os.chmod(path + ".key", 0o600)


def lego(acme, folder, http, *words):
    command = LEGO.replace("/etc/lego", folder).replace("127.0.0.1:8402", f"127.0.0.1:{http}")
    done = subprocess.run([os.path.join(rig.PEERS, "lego"), *command.split()[1:], "--server",
                           f"https://localhost:{acme.port}/dir", *words],
                          capture_output=True, text=True, timeout=120, check=False,
                          env=dict(os.environ, LEGO_CA_CERTIFICATES=acme.authority.file))
    rig.check(done.returncode == 0, lambda: f"lego {words}: {done.stdout}{done.stderr}")


def serial(port):
    """The serial number of the certificate that a new connection gets."""
    ctx = ssl.create_default_context()
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    with tlsrig.Socket(port, ctx, DOMAIN) as client:
        der = client.tls.getpeercert(True)
    out = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-serial"], input=der,
                         capture_output=True, check=True).stdout
    return out.decode().strip()


class Load(threading.Thread):
    """A request after the other, each over a new connection; some over kept ones."""

    def __init__(self, port, kept):
        super().__init__(daemon=True)
        self.port, self.kept, self.done, self.failed = port, kept, 0, []
        self.over = threading.Event()
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.start()

    def run(self):
        while not self.over.is_set():
            try:
                with tlsrig.Socket(self.port, self.context, DOMAIN) as client:
                    for _ in range(50 if self.kept else 1):
                        client.sendall(b"GET /bytes/10 HTTP/1.1\r\nHost: " + DOMAIN.encode() +
                                       b"\r\n\r\n")
                        data = b""
                        while len(data.partition(b"\r\n\r\n")[2]) < 10:
                            piece = client.recv(4096)
                            rig.check(piece, "the connection ended")
                            data += piece
                        rig.check(data.startswith(b"HTTP/1.1 200 "), f"{data}")
                        self.done += 1
                        time.sleep(0.01)
            except (OSError, AssertionError) as e:
                self.failed.append(str(e))

    def end(self):
        self.over.set()
        self.join()
        rig.check(not self.failed and self.done > 10, f"{self.done} requests, {self.failed[:3]}")
        return self.done


def main():
    http, secure, challenge, origin = rig.free_ports(4)
    folder = os.path.join(rig.TMP, "lego")
    rig.lab("0ms", origin)
    acme = Acme(http)
    placeholder(folder)
    proxy = Proxy(http, secure, challenge, folder, origin)
    answer = rig.get(http, "/x?y=1")
    rig.check(answer.status == 308 and answer.field("Location").startswith("https://"),
              f"{answer.head}")
    loads = [Load(secure, kept) for kept in (False, True)]
    seen = [serial(secure)]
    for words in [("run",)] + [("renew", "--days", "100000", "--no-random-sleep")] * RENEWALS:
        lego(acme, folder, challenge, *words)
        rig.until(lambda: serial(secure) not in seen, "the new certificate")
        seen.append(serial(secure))
    done = [load.end() for load in loads]
    r = subprocess.run(["curl", "-sS", "--cacert", acme.root(), "--resolve",
                        f"{DOMAIN}:{secure}:127.0.0.1", f"https://{DOMAIN}:{secure}/bytes/10"],
                       capture_output=True, check=False)
    rig.check(r.returncode == 0 and len(r.stdout) == 10, lambda: f"{r}")
    worker = proxy.worker_pid()
    rig.check(proxy.alive() and worker, "it still runs")
    print(f"{len(seen) - 1} certificates, {done} requests meanwhile, none failed")


rig.main(main)
