#!/usr/bin/env python3
"""What a TLS listener offers with its defaults, and with min_version: 1.3, as sslscan and testssl.sh
see it: exactly what is in the tables below, and no known weakness."""
# once
# release: two scanners tell nothing more with sanitizers
import json
import os
import re
import subprocess
import xml.etree.ElementTree

import rig
import tlsrig

ECDHE = {f"ECDHE-{key}-{cipher}" for key in ("ECDSA", "RSA") for cipher in
         ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")}
CIPHERS = {
    "TLSv1.3": {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                "TLS_CHACHA20_POLY1305_SHA256"},
    "TLSv1.2": ECDHE,
}
GROUPS = {"x25519", "secp256r1 (NIST P-256)", "secp384r1 (NIST P-384)"}
# Of testssl.sh: severities that need no look, and findings that are the test's own.
FINE = ("OK", "INFO", "DEBUG")
OURS = {"engine_problem": "the openssl program has no GOST"}
TESTSSL = ["-p", "-P", "-U", *(["-g", "-E", "-f"] if rig.FULL else [])]
WANTED = {    # id of testssl.sh: what its finding says
    "SSLv2": "^not offered", "SSLv3": "^not offered", "TLS1": "^not offered",
    "TLS1_1": "^not offered", "TLS1_2": "^offered", "TLS1_3": "^offered",
    "ALPN": r"^http/1\.1$|^h2,? ?http/1\.1$", "cipher_order": "^server$",
    "cipher_negotiated": "^TLS_AES_128_GCM_SHA256", "heartbleed": "^not vulnerable",
    "CCS": "^not vulnerable", "ticketbleed": "^not vulnerable", "ROBOT": "^not vulnerable",
    "secure_renego": "^supported", "secure_client_renego": "^not vulnerable",
    "CRIME_TLS": "^not vulnerable", "SWEET32": "^not vulnerable", "LOGJAM": "^not vulnerable",
    "LUCKY13": "^not vulnerable", "RC4": "^not vulnerable", "BEAST": "^not vulnerable",
}


def sslscan(port):
    path = os.path.join(rig.TMP, "sslscan.xml")
    subprocess.run([os.path.join(rig.PEERS, "sslscan"), f"--xml={path}", "--sni-name=localhost",
                    f"127.0.0.1:{port}"], check=True, timeout=300, stdout=subprocess.DEVNULL)
    return xml.etree.ElementTree.parse(path).find("ssltest")


def with_sslscan(port, versions):
    found = sslscan(port)
    on = {f"{p.get('type')}{p.get('version')}" for p in found.findall("protocol")
          if p.get("enabled") == "1"}
    rig.check(on == {"tls" + v for v in versions}, f"protocols {on}")
    for version in ("TLSv1.2", "TLSv1.3"):
        have = {c.get("cipher") for c in found.findall("cipher")
                if c.get("sslversion") == version}
        want = CIPHERS[version] if version[4:] in versions else set()
        rig.check(have == want, f"{version}: {have ^ want} differ")
        groups = {g.get("name") for g in found.findall("group")
                  if g.get("sslversion") == version}
        want = GROUPS if version[4:] in versions else set()
        rig.check(groups == want, f"groups of {version}: {groups}")
    weak = [c.get("cipher") for c in found.findall("cipher")
            if c.get("strength") not in ("strong", "acceptable")]
    rig.check(not weak, f"weak: {weak}")
    for it in found.findall("heartbleed"):
        rig.check(it.get("vulnerable") == "0", "heartbleed")
    again = found.find("renegotiation")
    rig.check(again is None or again.get("supported") == "0", "renegotiation")
    compression = found.find("compression")
    rig.check(compression is None or compression.get("supported") == "0", "compression")


def testssl(port, root):
    """The findings of testssl.sh: [{id, severity, finding}]. It insists on a program that resolves
    names, and does not use it for an address that is given."""
    stub = os.path.join(rig.TMP, "stub")
    os.makedirs(stub, exist_ok=True)
    with open(os.path.join(stub, "host"), "w", opener=lambda p, f: os.open(p, f, 0o755)) as f:
        f.write("#!/bin/sh\nexit 1\n")
    unpacked = os.path.join(os.path.dirname(rig.PEERS), "testssl")
    path = os.path.join(rig.TMP, "testssl.json")
    env = dict(os.environ, PATH=f"{stub}:{unpacked}/usr/bin:{os.environ['PATH']}")
    if os.path.isdir(unpacked):
        env["TESTSSL_INSTALL_DIR"] = os.path.join(unpacked, "etc/testssl")
    done = subprocess.run([os.path.join(rig.PEERS, "testssl"), *TESTSSL, "--jsonfile", path,
                           "--warnings", "off", "--color", "0", "--nodns", "none", "--ip",
                           "127.0.0.1", "--add-ca", root, f"localhost:{port}"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env,
                          timeout=800, check=False)
    rig.check(os.path.exists(path), lambda: f"testssl: {done.stdout[-2000:]}{done.stderr[-500:]}")
    with open(path) as f:
        return json.load(f)


def with_testssl(port, root):
    findings = testssl(port, root)
    said = {f["id"]: f["finding"] for f in findings}
    for name, wanted in WANTED.items():
        rig.check(re.search(wanted, said.get(name, "")),
                  f"{name}: {said.get(name)!r}, not {wanted}")
    bad = [f"{f['severity']} {f['id']}: {f['finding']}" for f in findings
           if f["severity"] not in FINE and f["id"] not in OURS]
    rig.check(not bad, "\n".join(bad))
    print(f"testssl.sh: {len(findings)} findings, none bad")


def main():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    made = tlsrig.Pki()
    default = tlsrig.front(origin, made, engine="auto")
    with_sslscan(default.port, ("1.2", "1.3"))
    if not tlsrig.STAND_IN:
        with_sslscan(tlsrig.front(origin, made, ", min_version: 1.3", engine="auto").port, ("1.3",))
    with_testssl(default.port, made.root.file)


rig.main(main)
