#!/usr/bin/env python3
"""`fairlead explain` says of each request what the running fairlead then does with it."""
import os
import re
import socket
import subprocess

import rig

CONFIG = """
access_log: {{ path: {log}, format: json }}
request_id: on
trusted_proxies: [127.0.0.1]
upstreams:
  a: {{ servers: [127.0.0.1:{a}] }}
  b: {{ servers: [127.0.0.1:{b}] }}
routes:
  - {{ prefix: /, host: "*.example.org", proxy: {{ upstream: b }} }}
  - {{ prefix: /api/, match: {{ method: [POST, PUT], not: {{ cookie: {{ old: "*" }} }} }}, proxy: {{ upstream: b }} }}
  - {{ prefix: /api/, match: {{ client: 192.0.2.0/24 }}, proxy: {{ upstream: b }} }}
  - {{ prefix: /api/, match: {{ query: {{ v: "~^[0-9]+$" }} }}, proxy: {{ upstream: b }} }}
  - {{ prefix: /q, match: {{ query: {{ q: "~(a+)+[PQ]" }} }}, proxy: {{ upstream: b }} }}
  - {{ path: /login, redirect: https }}
  - {{ prefix: /api/, proxy: {{ upstream: a }} }}
  - {{ path: /login, proxy: {{ upstream: a }} }}
"""
METHODS = ("GET", "POST", "DELETE")
TARGETS = ("/api/x", "/api/x?v=7", "/api/x?v=7a", "/login", "/nothing", "/%61pi/../api/y",
           "/q?q=" + "a" * 50 + "b")
HOSTS = ("example.org", "www.example.org")
FIELDS = ("", "Cookie: old=1", "X-Forwarded-For: 192.0.2.5", "X-Forwarded-Proto: https", "Bad Field: x")


def explained(fairlead, method, host, target, field):
    """Status, or the upstream."""
    command = [rig.FAIRLEAD, "explain", "-c", fairlead.path, method, f"http://{host}{target}"]
    text = subprocess.run(command + (["-H", field] if field else []), check=True,
                          capture_output=True, text=True).stdout
    status = re.search(r"(?m)^response: (\d+)|^refused .*: (\d+),", text)
    if status:
        return int(status[1] or status[2])
    if "redirect:" in text:
        return 308
    return re.search(r"server of '(\w)'", text)[1]


def seen(fairlead, method, host, target, field):
    with socket.create_connection(("127.0.0.1", fairlead.port), rig.PATIENCE_S) as s:
        s.sendall(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
                  f"{field}{chr(13) + chr(10) if field else ''}\r\n".encode())
        text = b""
        while piece := s.recv(65536):
            text += piece
    status = int(text.split()[1])
    return text.split(b"\r\n\r\n", 1)[1].decode() if status == 200 else status


def finds(fairlead, what, *expected):
    command = [rig.FAIRLEAD, "why", "-c", fairlead.path, what]
    got = subprocess.run(command, capture_output=True, text=True)
    for text in expected:
        rig.check(text in got.stdout, lambda: f"{what}: no {text!r} in {got}")
    rig.check(got.returncode == (0 if expected else 1), lambda: f"{what}: {got}")


def why(fairlead, log):
    """A request, found again in the log by its id and by its URL."""
    def ids():
        with open(log) as f:
            return re.findall(r'POST /why.*"request_id":"([0-9a-f-]{36})"', f.read())
    for _ in range(2):
        seen(fairlead, "POST", "www.example.org", "/why?x=1", "User-Agent: why")
    rig.until(lambda: len(ids()) == 2, "two lines in the log")
    found = ids()
    finds(fairlead, found[0], "POST /why?x=1 HTTP/1.1\n", found[0], " complete\n",
          "upstream       b\n", "prefix / of *.example.org: taken\n")
    finds(fairlead, "http://www.example.org/why?x=1", found[0], found[1])
    finds(fairlead, "0190-none")


def test():
    a, b = rig.free_ports(2)
    for port, name in ((a, "a"), (b, "b")):
        rig.nginx(port, f'location / {{ default_type text/plain; return 200 "{name}"; }}')
    log = os.path.join(rig.TMP, f"access-{a}.log")
    fairlead = rig.Fairlead(CONFIG.format(a=a, b=b, log=log))
    found = set()
    for method in METHODS:
        for host in HOSTS:
            for target in TARGETS:
                for field in FIELDS:
                    request = (fairlead, method, host, target, field)
                    said, got = explained(*request), seen(*request)
                    rig.check(said == got, lambda: f"{request[1:]}: {said} was said, {got} seen")
                    found.add(got)
    rig.check(found == {"a", "b", 308, 400, 404}, lambda: f"{found}")
    why(fairlead, log)


rig.main(test)
