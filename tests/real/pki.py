"""Certificates for tests and measurements, made by openssl(1): an authority, and what it issues.

Not executable, because it is no test itself."""
import os
import subprocess

import rig

KEYS = {
    "P-256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "RSA": ["-newkey", "rsa:2048"],
}


def openssl(*arguments, **popen):
    done = subprocess.run(["openssl", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False, **popen)
    rig.check(done.returncode == 0, lambda: f"openssl {arguments[0]}: {done.stderr}")
    return done.stdout


class Certificate:
    """chain: the certificate and what it was issued by, without the root; key; pem: both in one
    file."""

    def __init__(self, path):
        self.chain, self.key, self.pem = path + ".crt", path + ".key", path + ".pem"

    def join(self):
        with open(self.pem, "w") as out:
            for path in (self.chain, self.key):
                with open(path) as f:
                    out.write(f.read())
        os.chmod(self.pem, 0o600)
        return self


class Authority:
    """A root certificate: `file`, which clients trust."""

    def __init__(self, name="root", folder=None):
        self.name, self.folder = name, folder or rig.TMP
        self.file, self.key = self.path(name) + ".crt", self.path(name) + ".key"
        openssl("req", "-x509", *KEYS["P-256"], "-nodes", "-keyout", self.key, "-out", self.file,
                "-days", "30", "-subj", f"/CN={name}",
                "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def path(self, name):
        return os.path.join(self.folder, name)

    def issue(self, name, names=("localhost",), addresses=("127.0.0.1",), key="P-256",
              days=20, usage="serverAuth,clientAuth", file=None):
        """A certificate for these DNS names and addresses."""
        it = Certificate(self.path(file or name))
        request, extensions = it.chain + ".req", it.chain + ".ext"
        alternatives = [f"DNS:{n}" for n in names] + [f"IP:{a}" for a in addresses]
        with open(extensions, "w") as f:
            f.write(f"basicConstraints=critical,CA:FALSE\nextendedKeyUsage={usage}\n"
                    f"keyUsage=critical,digitalSignature\n"
                    f"subjectAltName={','.join(alternatives)}\n")
        openssl("req", *KEYS[key], "-nodes", "-keyout", it.key, "-out", request,
                "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.key,
                "-CAcreateserial", "-out", it.chain, "-days", str(days), "-extfile", extensions)
        os.chmod(it.key, 0o600)
        return it.join()
