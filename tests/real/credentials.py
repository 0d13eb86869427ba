#!/usr/bin/env python3
"""LoadCredential= of systemd: a certificate with its key in $CREDENTIALS_DIRECTORY, and a secret, as
docs/operations.md writes them, also over a reload and an upgrade."""
# asan
import os
import re
import signal
import ssl
import subprocess

import rig
import tlsrig

PAGE = os.path.join(rig.ROOT, "docs/operations.md")


def example():
    """The configuration of the page."""
    with open(PAGE) as f:
        page = f.read().partition("**Keys as credentials.**")[2]
    return re.search(r"(?s)```yaml fragment\n(.*?)```", page)[1]


def credentials(serial):
    """As systemd makes them: read-only for the user of the unit."""
    folder = os.path.join(rig.TMP, "credentials")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "
        f"/CN=localhost -addext subjectAltName=DNS:localhost -set_serial {serial} -keyout key "
        "-out crt && cat crt key > new && mv new www.pem && rm crt key && chmod 400 www.pem",
        shell=True, check=True, cwd=folder, capture_output=True, umask=0o077)
    path = os.path.join(folder, "api-token")
    if not os.path.exists(path):
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o400), "w") as f:
            f.write("s3cret\n")
    return folder


def serial(port):
    ctx = ssl.create_default_context()
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    with tlsrig.Socket(port, ctx, "localhost") as client:
        der = client.tls.getpeercert(True)
        client.sendall(b"GET /headers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := client.recv(4096):
            answer += piece
    rig.check(b"Authorization: Bearer s3cret\r\n" in answer, answer)
    out = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-serial"], input=der,
                         capture_output=True, check=True).stdout
    return int(out.decode().partition("=")[2], 16)


def main():
    folder = credentials(1)
    origin, port = rig.free_ports(2)
    rig.lab("0ms", origin)
    path = os.path.join(rig.TMP, "site.yaml")
    with open(path, "w") as f:
        f.write(example().replace("address: 443", f"address: 127.0.0.1:{port}")
                .replace("127.0.0.1:3000", f"127.0.0.1:{origin}"))
    env = {**os.environ, "CREDENTIALS_DIRECTORY": folder}
    without = subprocess.run([rig.FAIRLEAD, "check", path], capture_output=True, text=True,
                             check=False)
    rig.check(without.returncode == 1 and "'CREDENTIALS_DIRECTORY' is not set" in without.stderr,
              f"{without}")
    printed = subprocess.run([rig.FAIRLEAD, "-t", "--print", "-c", path], env=env, check=True,
                             capture_output=True, text=True).stdout
    rig.check("s3cret" not in printed and "${credential.api-token}" in printed, printed)
    proxy = rig.Program("fairlead", [rig.FAIRLEAD, "-c", path, "--engine", rig.ENGINE, "--workers",
                                     "2"], ready="fairlead: ready", env=env)
    rig.check(serial(port) == 1, "the certificate")
    rig.check(not proxy.said("warning"), proxy.log)
    for number, sign, said in ((2, signal.SIGHUP, "fairlead: reloaded"),
                               (3, signal.SIGUSR2, "fairlead: ready")):
        credentials(number)
        before = proxy.log().count(said)
        proxy.signal(sign)
        rig.until(lambda: proxy.log().count(said) > before, said)
        rig.until(lambda: serial(port) == number, "the new certificate")
    proxy.stop()


rig.main(main)
