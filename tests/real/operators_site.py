#!/usr/bin/env python3
"""examples/site.yaml, the operator's site, as it is: on its own ports, in a network of its own. Each
line of the file is in the table of checks below, or the test fails; so does a check without a line.
FULL=1: an upload of 1 GiB, silences longer than each default time limit, and every line is left out
once, which its check must notice."""
# asan
# timeout: 2400
import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import zlib

import yaml

import rig
import siterig
from siterig import ADMIN, BACKENDS, CACHE, INSIDE, LOCAL, OUTSIDE, SHOP, Client, ask, told

MIB = 1 << 20
UPLOAD = 1024 * MIB if rig.FULL else 80 * MIB    # more than the default of limits.request_body
BEYOND_S = 70 if rig.FULL else 4                 # defaults: 60 s
SITE = "https://example.org"
FIELDS = {"Strict-Transport-Security": "max-age=31536000", "X-Content-Type-Options": "nosniff",
          "X-Frame-Options": "SAMEORIGIN"}
ROUTE = "hosts.example.org.routes"
checks, backends = [], {}


def check(*lines, impatient=False):
    """The lines of the file that a function checks."""
    def add(function):
        checks.append((function, lines, impatient))
        return function
    return add


# --- the table --------------------------------------------------------------------

@check("listen[0]", ROUTE + "[0]", "hosts.shop.example.org.routes[0]")
def redirects(_):
    for host in "example.org", "shop.example.org":
        answer = ask(f"http://{host}/x?y=1")
        rig.check(answer.status == 308 and
                  answer.field("Location") == f"https://{host}/x?y=1", answer.head)
        secured(answer)


@check("hosts.www.example.org")
def apex(_):
    for scheme in "http", "https":
        answer = ask(f"{scheme}://www.example.org/a/b?c")
        rig.check(answer.status in (301, 302, 307, 308) and
                  answer.field("Location") == "https://example.org/a/b?c", answer.head)
        secured(answer)


@check("listen[1]", ROUTE + "[8]", ROUTE + "[8].proxy")
def served(_):
    """The certificate is verified by the client."""
    said = told(ask(SITE + "/anything"))
    rig.check(said["port"] in BACKENDS and said["fields"]["X-Forwarded-Proto"] == "https", said)


@check("hosts.shop.example.org.routes[1]", "upstreams.shop.servers")
def shop(_):
    rig.check(told(ask("https://shop.example.org/"))["port"] == SHOP, "the shop")


@check("admin")
def prometheus(site):
    """The examples of Prometheus as they are: it scrapes the address of the file."""
    rig.check(b"<html" in rig.get(ADMIN, "/").body and
              rig.get(ADMIN, "/healthz").status == 200, "the status page")
    text = rig.get(ADMIN, "/metrics").body
    rig.check(b'fairlead_upstream_requests_total{upstream="app"}' in text, text)
    if not shutil.which("promtool") or not shutil.which("prometheus"):
        return
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True,
                          check=False)
    rig.check(done.returncode == 0 and not done.stdout + done.stderr, f"{done}")
    folder = os.path.join(rig.ROOT, "examples/prometheus")
    port, = rig.free_ports(1)
    database = os.path.join(rig.TMP, f"prometheus-{site.program.pid}")
    with open(os.path.join(folder, "prometheus.yaml")) as f:
        config = f.read().replace("scrape_interval: 15s", "scrape_interval: 1s")
    with open(os.path.join(rig.TMP, "prometheus.yaml"), "w") as f:
        f.write(config.replace("alerts.yaml", os.path.join(folder, "alerts.yaml")))
    program = rig.Program("prometheus", [
        "prometheus", f"--config.file={rig.TMP}/prometheus.yaml", f"--storage.tsdb.path={database}",
        f"--web.listen-address=127.0.0.1:{port}"],
        ready="Server is ready to receive web requests", patience_s=60)
    rig.until(lambda: json.loads(rig.get(port, "/api/v1/query?query=up==1").body)["data"]["result"],
              "a scrape")
    program.stop()


@check("control")
def reload(site):
    done = subprocess.run([rig.FAIRLEAD, "reload", "-c", site.path], capture_output=True, text=True,
                          check=False, cwd=rig.TMP)
    rig.check(done.returncode == 0, f"{done}")
    rig.check(site.program.said("fairlead: reloaded"), site.program.log)
    served(site)


@check("access_log")
def rotated(site):
    """By the rule of the package and logrotate, or by what it does: no line is lost or doubled."""
    asked = []

    def load():
        while not over.is_set():
            asked.append(f"/rotated/{len(asked)}")
            told(ask(SITE + asked[-1]))
    over = threading.Event()
    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    try:
        for _ in range(3):
            before = len(asked)
            rig.until(lambda: len(asked) > before + 5 or not thread.is_alive(), "requests")
            rig.until(lambda: os.path.getsize(site.log) > 0, "lines")    # an empty log stays
            rotate(site)
    finally:
        over.set()
        thread.join()
    rig.until(lambda: len(logged("/rotated/")) >= len(asked), "the last line")
    rig.check(sorted(logged("/rotated/")) == sorted(asked), "lines are lost, or there twice")
    rig.check(len(log_files()) == 4, f"{log_files()}")


@check("request_id")
def request_ids(_):
    """The same one at the server, for the client and in the log; none of a client is believed."""
    answer = ask(SITE + "/identified", fields="X-Request-Id: mine\r\n")
    id_ = told(answer)["fields"]["X-Request-Id"]
    rig.check(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}", id_), id_)
    line, = rig.until(lambda: [x for x in records() if "/identified" in x["request"]], "the line")
    rig.check(line["request_id"] == id_ and line["status"] == 200, f"{line}")


@check("addresses.inside", ROUTE + "[6]", ROUTE + "[6].proxy", ROUTE + "[6].allow")
def internal(_):
    for source, status in (INSIDE, 200), (LOCAL, 200), (OUTSIDE, 403):
        answer = ask(SITE + "/internal/x", source=source)
        rig.check(answer.status == status, f"{source}: {answer.head}")
        secured(answer)
    rig.check(told(ask(SITE + "/", source=OUTSIDE)), "elsewhere")


@check("defaults.upstream.connect_timeout")
def connect_timeout(site):
    """A server that does not accept; that the time is the one of the file, --print says."""
    times = re.findall(r"(?m)^ +connect_timeout: (\S+)", site.printed())
    rig.check(times == ["500ms"] * 3, f"{times}")
    backends.pop(SHOP).stop()
    full = socket.socket()
    full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    full.bind((LOCAL, SHOP))
    full.listen(0)
    waiting = []
    for _ in range(3):
        waiting.append(socket.socket())
        waiting[-1].setblocking(False)
        waiting[-1].connect_ex((LOCAL, SHOP))
    try:
        answer = ask("https://shop.example.org/")
        rig.check(answer.status in (502, 503, 504), answer.head)
    finally:
        for s in (*waiting, full):
            s.close()
        backends[SHOP] = siterig.backend(SHOP)
    rig.until(lambda: ask("https://shop.example.org/").status == 200, "the shop again")


@check("defaults.upstream.health_check")
def health_checks(_):
    """A server that is ill gets no requests, until it is well again."""
    for port in (*BACKENDS, SHOP):
        rig.until(lambda: json.loads(rig.get(port, "/-/checks").body)["checks"] > 0, f"{port}")
    ill = os.path.join(rig.TMP, f"ill-{BACKENDS[1]}")
    open(ill, "w").close()
    try:
        rig.until(lambda: BACKENDS[1] not in ports(12), "requests for the others only")
    finally:
        os.unlink(ill)
    rig.until(lambda: BACKENDS[1] in ports(6), "requests for all")


@check("defaults.route.error_pages")
def maintenance(_):
    """All backends are down, and return."""
    for port in BACKENDS:
        backends.pop(port).stop()
    answer = ask(SITE + "/")
    for port in BACKENDS:
        backends[port] = siterig.backend(port)
    rig.check(answer.status in (502, 503) and b"Back soon" in answer.body and
              answer.field("Content-Type").startswith("text/html"), answer.head)
    secured(answer)
    rig.until(lambda: ask(SITE + "/").status == 200, "the end of the maintenance")
    rig.until(lambda: ports(6) == set(BACKENDS), "all backends")


def security_field(name):
    def field(_):
        for url in SITE + "/", "http://example.org/", SITE + "/admin/":
            answer = ask(url)
            rig.check(answer.field(name) == FIELDS[name], answer.head)
    return field


for field_name in FIELDS:
    check(f"defaults.route.response_fields.set.{field_name}")(security_field(field_name))


@check("upstreams.app.servers")
def three(_):
    rig.until(lambda: ports(6) == set(BACKENDS), "all backends")


@check("upstreams.app.sticky")
def sticky(_):
    """Through the death of the backend to another one, where the client then stays."""
    def steady():
        answer = ask(SITE + "/")
        return answer if stays(cookie(answer)) == {told(answer)["port"]} else None
    # After another check a worker may not know yet that a backend is up again.
    first = rig.until(steady, "stickiness")
    chosen = told(first)["port"]
    backends.pop(chosen).stop()
    second = ask(SITE + "/", fields=cookie(first))
    moved = told(second)["port"]
    rig.check(moved != chosen and stays(cookie(second)) == {moved}, f"{moved}")
    backends[chosen] = siterig.backend(chosen)
    rig.until(lambda: chosen in ports(6), "the backend again")
    rig.check(stays(cookie(second)) == {moved}, "stickiness when the first one is back")


@check("upstreams.cache.protocol", "upstreams.cache.servers", ROUTE + "[4]",
       ROUTE + "[4].memcached.upstream", ROUTE + "[4].memcached.key",
       ROUTE + "[4].memcached.content_type", ROUTE + "[4].memcached.miss")
def cached(_):
    with socket.create_connection((LOCAL, CACHE)) as s:
        s.sendall(b"set page:known 0 0 5\r\n<b>2\n\r\n")
        s.recv(100)
    answer = ask(SITE + "/pages/known")
    rig.check(answer.body == b"<b>2\n" and answer.field("Content-Type") == "text/html", answer.head)
    secured(answer)
    rig.check(told(ask(SITE + "/pages/none"))["path"] == "/pages/none", "a miss falls through")


@check(ROUTE + "[4].match")
def cached_methods(_):
    cached(_)
    said = told(ask(SITE + "/pages/known", "POST", body=b"x"))
    rig.check(said["method"] == "POST" and said["bytes"] == 1, f"{said}")


@check("upstreams.cache.health_check")
def cache_unchecked(site):
    """The path of `defaults` is none of memcached."""
    text = site.printed()
    cache = text[text.index("  cache:"):].partition("\nhosts:")[0]
    rig.check(re.search(r"health_check:\s+off", cache), text)


@check(ROUTE + "[1]", ROUTE + "[1].proxy")
def chat(_):
    chatter().close()


@check(ROUTE + "[1].idle_timeout", impatient=True)
def silent_chat(_):
    """Silent for longer than all time limits; elsewhere it ends."""
    client, other = chatter(), chatter("/elsewhere")
    rig.check(other.rest() == b"", "the other tunnel ends")
    time.sleep(BEYOND_S)
    client.socket.sendall(b"still here")
    client.until(b"STILL HERE")
    client.close()


@check(ROUTE + "[2]", ROUTE + "[2].proxy")
def events(_):
    """Each event when it comes."""
    client = Client(SITE + "/events?1")
    client.send()
    got = client.until(b"data: first")
    rig.check(b"data: last" not in got, "events are held back")
    client.until(b"data: last")
    client.close()


@check(ROUTE + "[2].response_timeout", impatient=True)
def silent_events(_):
    """Silent for longer than all time limits; elsewhere it is a 504."""
    silent, other = Client(SITE + f"/events?{BEYOND_S}"), Client(SITE + f"/slow?{BEYOND_S}")
    for client in silent, other:
        client.socket.settimeout(BEYOND_S + rig.PATIENCE_S)
        client.send(fields="Connection: close\r\n")
    silent.until(b"data: first")
    rig.check(other.answer().status == 504, "the other response is late")
    silent.until(b"data: last")
    silent.close()


@check(ROUTE + "[3]", ROUTE + "[3].proxy", ROUTE + "[3].request_body")
def upload(_):
    """All bytes arrive; one more than the file allows is refused before it is sent."""
    block, sum_ = os.urandom(MIB), 0
    client = Client(SITE + "/upload/x")
    client.send("PUT", f"Connection: close\r\nContent-Length: {UPLOAD}\r\n")
    for _n in range(UPLOAD // MIB):
        client.socket.sendall(block)
        sum_ = zlib.crc32(block, sum_)
    said = told(client.answer())
    rig.check((said["bytes"], said["sum"]) == (UPLOAD, sum_), f"{said}")
    for url, size in (SITE + "/upload/x", 1024 * MIB + 1), (SITE + "/", 65 * MIB):
        client = Client(url)
        client.send("PUT", f"Connection: close\r\nContent-Length: {size}\r\n")
        rig.check(client.answer().status == 413, f"{size} bytes to {url}")


@check(ROUTE + "[3].methods")
def upload_methods(_):
    for method, status in ("GET", 405), ("DELETE", 405), ("PUT", 200), ("POST", 200):
        answer = ask(SITE + "/upload/x", method, body=b"x" if status == 200 else b"")
        rig.check(answer.status == status, f"{method}: {answer.head}")


@check(ROUTE + "[5]", ROUTE + "[5].proxy", ROUTE + "[5].rate_limit")
def login(_):
    """Of a client: others are not limited."""
    statuses = [ask(SITE + "/login", source=OUTSIDE).status for _ in range(12)]
    rig.check(statuses[0] == 200 and statuses[-1] == 429, f"{statuses}")
    rig.check(ask(SITE + "/login", source=INSIDE).status == 200, "another client")
    rig.check(ask(SITE + "/", source=OUTSIDE).status == 200, "elsewhere")
    secured(ask(SITE + "/login", source=OUTSIDE))


@check(ROUTE + "[7]", ROUTE + "[7].proxy", ROUTE + "[7].basic_auth")
def administration(_):
    for fields, status in (("", 401), ("Authorization: Basic YW5uOndyb25n\r\n", 401),
                           ("Authorization: Basic YW5uOnNlY3JldA==\r\n", 200)):
        answer = ask(SITE + "/admin/x", fields=fields)
        rig.check(answer.status == status, f"{fields}: {answer.head}")
        secured(answer)
        rig.check(status == 200 or 'realm="administration"' in answer.field("WWW-Authenticate"),
                  answer.head)


# --- what they need ---------------------------------------------------------------

def secured(answer):
    for name, value in FIELDS.items():
        rig.check(answer.field(name) == value, f"{name}: {answer.head}")


def ports(n):
    """Of the backends that n requests reach."""
    return {told(ask(SITE + "/"))["port"] for _ in range(n)}


def cookie(answer):
    found = re.search("(?i)set-cookie: (backend=[^;]+); .*Secure", answer.head)
    rig.check(found, answer.head)
    return f"Cookie: {found[1]}\r\n"


def stays(field):
    return {told(ask(SITE + "/", fields=field))["port"] for _ in range(9)}


def chatter(path="/chat/"):
    client = Client(SITE + path)
    client.socket.settimeout(BEYOND_S + rig.PATIENCE_S)
    client.send(fields="Connection: upgrade\r\nUpgrade: websocket\r\n")
    rig.check(b" 101 " in client.until(b"\r\n\r\n"), "no upgrade")
    client.socket.sendall(b"hello")
    client.until(b"HELLO")
    return client


def log_files():
    return sorted(name for name in os.listdir(rig.TMP) if name.startswith("access.log"))


def records():
    """Of all files, also of those that are compressed."""
    found = []
    for name in log_files():
        with (gzip.open if name.endswith(".gz") else open)(os.path.join(rig.TMP, name), "rt") as f:
            found += [json.loads(line) for line in f]
    return found


def logged(prefix):
    paths = [record["request"].split()[1] for record in records()]
    return [path for path in paths if path.startswith(prefix)]


def rotate(site):
    """debian/fairlead.logrotate with the path of this log, and without systemd."""
    program = shutil.which("logrotate", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    before = site.program.log().count("fairlead: ")
    if program:
        with open(os.path.join(rig.ROOT, "debian/fairlead.logrotate")) as f:
            rule = f.read().replace("/var/log/fairlead/*.log", site.log)
        rule = re.sub(r"(?s)\tpostrotate.*endscript",
                      f"\tpostrotate\n\t\tkill -USR1 {site.program.pid}\n\tendscript", rule)
        rule = rule.replace("create 0640 fairlead adm", "create 0640")
        path = os.path.join(rig.TMP, "logrotate.conf")
        with open(path, "w") as f:
            f.write(rule)
        os.chmod(path, 0o644)
        subprocess.run([program, "--force", "--state", os.path.join(rig.TMP, "rotated"), path],
                       check=True)
    else:
        os.rename(site.log, f"{site.log}.{len(log_files())}")
        os.kill(site.program.pid, rig.signal.SIGUSR1)
    rig.until(lambda: site.program.log().count("fairlead: ") > before, "the log again")


# --- the file ---------------------------------------------------------------------

def lines_of_file():
    """{path of keys: line} of the lines that have a value, or begin an entry of a list."""
    with open(siterig.SITE) as f:
        text = f.read()
    first = {}

    def walk(node, path):
        if isinstance(node, yaml.MappingNode):
            entries = [(key.start_mark.line, f"{path}.{key.value}".lstrip("."), value)
                       for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            entries = [(value.start_mark.line, f"{path}[{i}]", value)
                       for i, value in enumerate(node.value)]
        else:
            return
        for line, name, value in entries:
            if isinstance(value, yaml.ScalarNode) or value.start_mark.line == line:
                first.setdefault(line, name)
            walk(value, name)
    walk(yaml.compose(text), "")
    rig.check(text.count("\n") < 80, "the file has 80 lines")
    return {name: line for line, name in first.items()}


def contains(whole, part):
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(k in whole and contains(whole[k], v)
                                               for k, v in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and all(any(contains(w, p) for w in whole) for p in part)
    return whole == part


def steps():
    """What docs/getting-started.md builds the file up from is in it."""
    with open(os.path.join(rig.ROOT, "docs/getting-started.md")) as f:
        page = f.read().partition("## A whole site")[2].partition("\n## ")[0]
    with open(siterig.SITE) as f:
        site = yaml.safe_load(f)
    site["routes"] = site["hosts"]["example.org"]["routes"]
    fragments = re.findall(r"(?s)```yaml fragment\n(.*?)```", page)
    rig.check(len(fragments) > 4, "steps")
    for text in fragments:
        rig.check(contains(site, yaml.safe_load(text)), f"not in examples/site.yaml:\n{text}")


def clean():
    for name in log_files():
        os.unlink(os.path.join(rig.TMP, name))


def run(wanted, **how):
    clean()
    site = siterig.Site(**how)
    try:
        for function, lines, impatient in wanted:
            function(site)
    finally:
        site.stop()


def left_out(names):
    """Each line once: the file is refused, or a check of it fails."""
    unnoticed = []
    for name, line in names.items():
        wanted = [c for c in checks if name in c[1]]
        try:
            run(wanted, without=line, impatient=wanted[0][2])
            unnoticed.append(f"{line + 1}: {name}")
        except (AssertionError, OSError, KeyError, TypeError, AttributeError, ValueError) as e:
            print(f"without {name}: {str(e)[:90]!r}")
        for port in (*BACKENDS, SHOP):
            if port not in backends:
                backends[port] = siterig.backend(port)
    rig.check(not unnoticed, f"no check fails without these lines: {unnoticed}")


def main():
    siterig.enter()
    names = lines_of_file()
    checked = [line for _, lines, _ in checks for line in lines]
    rig.check(set(names) == set(checked),
              f"without a check: {set(names) - set(checked)}; without a line: "
              f"{set(checked) - set(names)}")
    steps()
    siterig.make_files()
    for port in (*BACKENDS, SHOP):
        backends[port] = siterig.backend(port)
    rig.memcached(CACHE)
    run([c for c in checks if not c[2]])
    run([c for c in checks if c[2]], impatient=not rig.FULL)
    if rig.FULL:
        global BEYOND_S
        BEYOND_S = 4
        left_out(names)
    print(f"{len(names)} lines, {len(checks)} checks, {UPLOAD >> 20} MiB")


if len(sys.argv) == 1:
    rig.main(main)
