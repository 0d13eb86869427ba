#!/usr/bin/env python3
"""The variable ${tls.ja4}: what curl, openssl s_client and Python sent is recorded on the way, and its
fingerprint computed here, from the specification. Without the variable there is none."""
# timeout: 60
# asan
import hashlib
import json
import os
import socket
import struct
import subprocess
import threading

import pki
import rig

CONFIG = """
access_log: {{ path: {log}, format: json }}
routes: [ {{ prefix: /, redirect: {{ to: "/{to}", status: 302 }} }} ]
"""
GREASE = {n << 12 | 0xa << 8 | n << 4 | 0xa for n in range(16)}
VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10"}
NAME, GROUPS, SIGNATURES, PROTOCOLS, SUPPORTED = 0, 10, 13, 16, 43


class Recorder:
    """Forwards connections to a port, and keeps what clients say."""

    def __init__(self, port):
        self.to, self.said = port, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.to))
            self.said.append(bytearray())
            threading.Thread(target=self.pump, args=(client, server, self.said[-1]),
                             daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, None), daemon=True).start()

    @staticmethod
    def pump(source, sink, kept):
        try:
            while piece := source.recv(65536):
                if kept is not None:
                    kept += piece
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def numbers(data):
    return [n for n, in struct.iter_unpack(">H", data)]


def hello(stream):
    """(version, suites, {type: content} in their order) of the ClientHello at the start."""
    message = b""
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
        kind, _, n = struct.unpack_from(">BHH", stream)
        rig.check(kind == 22, f"a record of type {kind}")
        message, stream = message + bytes(stream[5:5 + n]), stream[5 + n:]
    version, at = numbers(message[4:6])[0], 38
    at += 1 + message[at]                                   # session id
    n = numbers(message[at:at + 2])[0]
    suites, at = numbers(message[at + 2:at + 2 + n]), at + 2 + n
    at += 1 + message[at] + 2                               # compression; length of extensions
    extensions = {}
    while at < len(message):
        kind, n = struct.unpack_from(">HH", message, at)
        extensions[kind] = message[at + 4:at + 4 + n]
        at += 4 + n
    return version, suites, extensions


def ja4(stream):
    version, suites, extensions = hello(stream)
    suites = [s for s in suites if s not in GREASE]
    kinds = [e for e in extensions if e not in GREASE]
    if SUPPORTED in extensions:
        version = max(v for v in numbers(extensions[SUPPORTED][1:]) if v not in GREASE)
    first = "00"
    if PROTOCOLS in extensions:
        n = extensions[PROTOCOLS][2]
        name = extensions[PROTOCOLS][3:3 + n].decode()
        first = name[0] + name[-1]

    def digest(text):
        return hashlib.sha256(text.encode()).hexdigest()[:12] if text else "0" * 12

    def listed(values):
        return ",".join(f"{v:04x}" for v in values)
    algorithms = [s for s in numbers(extensions.get(SIGNATURES, b"  ")[2:]) if s not in GREASE]
    others = listed(sorted(k for k in kinds if k not in (NAME, PROTOCOLS)))
    others += "_" + listed(algorithms) if algorithms else ""
    return (f"t{VERSIONS[version]}{'d' if NAME in kinds else 'i'}{min(len(suites), 99):02}"
            f"{min(len(kinds), 99):02}{first}_{digest(listed(sorted(suites)))}_{digest(others)}")


def run(*command, text=""):
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=20,
                          check=False)
    return done.stdout + done.stderr


def curl(port, *options):
    return run("curl", "-sSk", "-D-", "--resolve", f"localhost:{port}:127.0.0.1", *options,
               f"https://localhost:{port}/")


def s_client(port, *options):
    """With -ign_eof it waits for the response."""
    return run("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-ign_eof", *options,
               text="GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")


def location(text):
    found = [line for line in text.splitlines() if line.lower().startswith("location: ")]
    rig.check(found, lambda: text[-1500:])
    return found[0].partition("/")[2]


CLIENTS = (
    (curl,), (curl, "--tls-max", "1.2"), (curl, "--http1.1"), (curl, "--no-alpn"),
    (curl, "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256", "--tls-max", "1.2"),
    (s_client, "-servername", "localhost"), (s_client, "-noservername", "-tls1_2"),
    (s_client, "-noservername", "-alpn", "http/1.1"),
    (s_client, "-servername", "localhost", "-sigalgs", "ECDSA+SHA256", "-groups", "P-256"),
)


def front(log, to, root, server):
    return rig.Fairlead(CONFIG.format(log=log, to=to), workers=1,
                        tls=f"{{ certificates: [{server.pem}] }}")


def logged(path, n):
    def lines():
        with open(path) as f:
            return [json.loads(line)["tls"].get("ja4") for line in f]
    return rig.until(lambda: len(lines()) >= n and lines(), "the log")


def test():
    root = pki.Authority()
    server = root.issue("localhost")
    log = os.path.join(rig.TMP, "access.log")
    recorder = Recorder(front(log, "${tls.ja4}", root, server).port)
    wanted = []
    for client, *options in CLIENTS:
        got = location(client(recorder.port, *options))
        wanted.append(ja4(recorder.said[-1]))
        rig.check(got == wanted[-1], f"{client.__name__} {options}: {got}, not {wanted[-1]}")
    rig.check(len(set(wanted)) >= 7, f"clients that differ look the same: {wanted}")
    rig.check(logged(log, len(wanted)) == wanted, "the log has others")
    log += ".without"
    location(curl(front(log, "${tls.sni}", root, server).port))
    rig.check(logged(log, 1) == [None], "computed although nobody asked for it")


if __name__ == "__main__":
    rig.main(test)
