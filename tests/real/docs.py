#!/usr/bin/env python3
"""The pages of docs/ agree with the program: each configuration is accepted, each name of a key,
metric, option, signal, make goal, file, log field and message exists, and each metric, log field
and ending of a request is described.

Marks in the pages:
    ```yaml             a whole configuration: fairlead -t accepts it without a warning
    ```yaml fragment    some sections of one: accepted with the missing sections added
    ```yaml refused     fairlead -t refuses it
    ```log              lines that the program prints, as formats in src/ print them; so are
                        lines of other blocks that begin with "fairlead: "
    <!-- peers: begin --> … <!-- peers: end -->    settings of other programs: no key is checked
A column of a table with the head "message" holds such lines too."""
# once
import functools
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading

import docs_messages
import pki
import rig

# CHANGELOG.md is not among them: it has names of the past.
ALL = [os.path.join(rig.ROOT, name) for name in (
    "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "STYLE.md",
    "bench/README.md", "tests/README.md")] + sorted(glob.glob(os.path.join(rig.ROOT, "docs/*.md")))
CONFIG = """
access_log: {{ path: "{tmp}/access.log", format: json }}
resolver: {{ servers: ["127.0.0.1:{dns}"] }}
upstreams:
  app:
    servers: [origin.test:{http}]
    health_check: {{ path: /status/200, interval: 100ms }}
  cache:
    protocol: memcached
    servers: [127.0.0.1:{memcached}]
routes:
  - path: /cache
    memcached: {{ upstream: cache, key: foo }}
  - prefix: /
    proxy: {{ upstream: app }}
    retry: {{ tries: 2 }}
"""
faults = []


def fault(page, line, what):
    faults.append(f"{os.path.relpath(page.path, rig.ROOT)}:{line}: {what}")


# --- pages ----------------------------------------------------------------------

class Page:
    """Blocks: (line, mark, text) of what stands between ```. Spans: (line, text) of `…` in the
    prose. Tables: (line, {column: cell}) of each row."""

    def __init__(self, path, text=None):
        self.path, self.name, self.text = path, os.path.basename(path), text
        if text is None:
            with open(path) as f:
                self.text = f.read()
        self.blocks, self.prose = [], []
        self.read()
        self.spans = [(n, s) for n, line in self.prose for s in spans_of(line)]

    def read(self):
        block, peers = None, False
        for n, line in enumerate(self.text.splitlines(), 1):
            peers = "<!-- peers: begin" in line or (peers and "<!-- peers: end" not in line)
            if line.startswith("```"):
                if block is None:
                    block = (n, line[3:].strip(), [])
                else:
                    self.blocks.append((block[0], block[1], "\n".join(block[2]) + "\n"))
                    block = None
            elif block is not None:
                block[2].append(line)
            elif not peers:
                self.prose.append((n, line))

    def rows(self):
        head = None
        for n, line in self.prose:
            cells = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not line.startswith("|"):
                head = None
            elif head is None:
                head = cells
            elif not set(line) <= set("|-: "):
                yield n, dict(zip(head, cells))

    def anchors(self):
        for _, line in self.prose:
            if line.startswith("#"):
                title = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
                yield title.replace(" ", "-")


def spans_of(line):
    return [s.replace("\\|", "|") for s in re.findall(r"`([^`]+)`", line)]


# --- configurations -------------------------------------------------------------

def with_addresses(text):
    """Names become addresses, as there is no nameserver here, each its own; a user that not every
    system has becomes one that every system has."""
    names = {}

    def address(found):
        names.setdefault(found[1], f"127.1.0.{len(names) + 1}:")
        return names[found[1]]
    text = re.sub(r"\b((?:[a-z0-9-]+\.)+(?:example|internal|test)):(?=\d)", address, text)
    text = re.sub(r"/etc/(?:[\w.-]+/)*(?:[\w.-]+\.(?:html|json|txt)|admins\b)|(?<=file:)[\w-]+\.txt",
                  other_file, text)
    return re.sub(r"/etc/(?:[\w.-]+/)*(?:[\w.-]+\.(?:pem|crt|key)|certs\b)", certificate_file,
                  text.replace("www-data", "daemon"))


OTHER_FILES = {
    ".txt": "192.0.2.1\n",
    # openssl passwd -6 -salt abcdefgh secret
    "admins": "alice:$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5"
              "Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.\n",
}


def other_file(found):
    """A file like the one that a page names: addresses, passwords, or a page."""
    name = found[0].rpartition("/")[2]
    path = os.path.join(rig.TMP, name)
    with open(path, "w") as f:
        f.write(next((text for end, text in OTHER_FILES.items() if name.endswith(end)), "page"))
    return path


@functools.cache
def certificate_files():
    """(authority, certificate, file of ticket keys, folder), for what pages name."""
    authority = pki.Authority("page")
    tickets = authority.path("page-tickets")
    with open(tickets, "wb") as f:
        f.write(os.urandom(80))
    folder = os.path.join(rig.TMP, "page-folder")
    os.makedirs(folder)
    shutil.copy(authority.issue("page-other", ("shop.example.com",), ()).pem, folder)
    return authority, authority.issue("page-leaf", ("*.example.com", "localhost"), ()), tickets, folder


def certificate_file(found):
    """A file like the one that a page names: `ca` in its name is an authority, `key` a private
    key, `ticket` keys of tickets; a folder has certificates."""
    authority, issued, tickets, folder = certificate_files()
    name = found[0].rpartition("/")[2]
    return (folder if name == "certs" else tickets if "ticket" in name else authority.file if re.search(r"\bca\b", name) else
            issued.key if "key" in name else issued.pem)


def completed(text):
    """A fragment with the sections that a whole configuration needs."""
    has = set(re.findall(r"(?m)^(\w+):", text))
    if "listen" not in has:
        text = "listen: [127.0.0.1:8080]\n" + text
    if not has & {"routes", "hosts"}:
        known = re.search(r"(?m)^upstreams:.*\n((?:#.*\n|\n)*)  (\w[\w-]*):", text)
        names = re.findall(r"(?m)^  (\w[\w-]*):", text.partition("upstreams:")[2]) if known else []
        text += "routes:\n" + "".join(
            f"  - prefix: /{name}\n    " + (
                f"memcached: {{ upstream: {name}, key: x }}\n" if is_memcached(text, name) else
                f"proxy: {{ upstream: {name} }}\n") for name in names or ["app"])
    if "upstreams" not in has:
        cached = set(re.findall(r"memcached: *\{ *upstream: *([\w-]+)", text))
        names = dict.fromkeys(re.findall(r"upstream: *([\w-]+)", text))
        text += ("upstreams:\n" if names else "") + "".join(
            f"  {name}: {{ servers: [127.0.0.1:6000]" +
            (", protocol: memcached" if name in cached else "") + " }\n" for name in names)
    return text


def is_memcached(text, name):
    own = re.search(rf"(?ms)^  {name}:(.*?)(?=^  \w|^\w|\Z)", text.partition("upstreams:")[2])
    return bool(own and "protocol: memcached" in own[1])


@functools.cache
def credentials():
    """The folder of the credentials that pages name."""
    folder = os.path.join(rig.TMP, "credentials")
    os.makedirs(folder)
    shutil.copy(certificate_files()[1].pem, os.path.join(folder, "www.pem"))
    with open(os.path.join(folder, "api-token"), "w") as f:
        f.write("token\n")
    return folder


def tested(text):
    path = os.path.join(rig.TMP, "page.yaml")
    with open(path, "w") as f:
        f.write(with_addresses(text))
    return subprocess.run([rig.FAIRLEAD, "-t", "-c", path], capture_output=True, text=True,
                          env={**os.environ, "CREDENTIALS_DIRECTORY": credentials()})


def check_configurations(page):
    for line, mark, text in page.blocks:
        if mark.split()[:1] != ["yaml"] or mark not in ("yaml", "yaml fragment", "yaml refused"):
            if mark.startswith("yaml"):
                fault(page, line, f"unknown mark '{mark}'")
            continue
        r = tested(completed(text) if mark == "yaml fragment" else text)
        if mark == "yaml refused" and r.returncode == 0:
            fault(page, line, "is not refused")
        elif mark != "yaml refused" and (r.returncode or "warning" in r.stderr):
            fault(page, line, f"is not accepted: {r.stderr.strip()}")


def check_peers(page):
    """Configurations of nginx and HAProxy, if these are here: what they are compared with works."""
    for line, mark, text in page.blocks:
        program = os.path.join(rig.PEERS, mark)
        if mark not in ("nginx", "haproxy") or not os.path.exists(program):
            continue
        path = os.path.join(rig.TMP, "peer.conf")
        text = text.replace("/var/log/nginx", rig.TMP).replace("http {", "http {" + "".join(
            f" {kind}_temp_path {rig.TMP}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")), 1)
        included = re.findall(r"(?m)^#   (.*;)$", text)
        with open(path, "w") as f:
            f.write(text)
        with open(os.path.join(rig.TMP, "proxy_params.conf"), "w") as f:
            f.write("\n".join(included) + "\n")
        r = subprocess.run([program, "-t", "-q", "-p", rig.TMP, "-e", "stderr", "-g",
                            f"pid {rig.TMP}/nginx.pid;", "-c", path]
                           if mark == "nginx" else [program, "-c", "-q", "-f", path],
                           capture_output=True, text=True)
        if r.returncode or "[WARNING]" in r.stderr:
            fault(page, line, f"{mark} refuses this: {r.stderr}")


def known_keys():
    text = subprocess.run([rig.FAIRLEAD, "--reference"], capture_output=True, text=True).stdout
    return {k for k in re.findall(r"(?m)^\| `([^`]+)` \|", text) if "$" not in k}


def check_keys(page, keys, source):
    """`a.b` with a section as its first word; `key: value`; and `words_like_this` are in src/."""
    sections = {re.split(r"[.\[]", k)[0] for k in keys}
    last = {re.split(r"[.]", k)[-1].removesuffix("[]") for k in keys}
    for line, span in page.spans:
        path = re.fullmatch(r"([a-z_]+)((?:\[\])?\.[\w\[\].]+)", span)
        if path and path[1] in sections and span not in keys and \
                not any(k.startswith(span + ".") for k in keys):
            fault(page, line, f"no key '{span}'")
        pair = re.fullmatch(r"([a-z_]+): \S.*", span)
        if pair and pair[1] not in last | {"fairlead"}:
            fault(page, line, f"no key '{pair[1]}'")
        word = re.fullmatch(r"(?!fairlead_)[a-z]+(_[a-z]+)+", span) and "docs/" in page.path
        if word and not re.search(rf"\b{span}\b", source):
            fault(page, line, f"no '{span}' in src/ and include/")


# --- a running one: metrics and log fields ---------------------------------------

def nameserver(port):
    """Answers each question with 127.0.0.1, or with no address of IPv6."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", port))

    def serve():
        while True:
            query, peer = s.recvfrom(2048)
            end = query.index(b"\0", 12) + 5
            is_a = query[end - 4:end - 2] == b"\0\1"
            s.sendto(query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0" +
                     query[12:end] + (b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1" if is_a else b""),
                     peer)
    threading.Thread(target=serve, daemon=True).start()


AFTER_A_WHILE = {"fairlead_health_up", "fairlead_resolver_addresses"}


def observed():
    """({metric: kind}, names of log fields) of one that has served a few requests."""
    http, memcached, dns = rig.free_ports(3)
    nameserver(dns)
    rig.lab("0ms", http, memcached)
    proxy = rig.Fairlead(CONFIG.format(tmp=rig.TMP, http=http, memcached=memcached, dns=dns),
                         engine="auto")
    rig.check(rig.get(proxy.port, "/").status == 200, "no 200 from the lab")
    rig.check(rig.get(proxy.port, "/cache").status == 200, "no 200 from memcached")

    secure = rig.Fairlead(CONFIG.format(tmp=rig.TMP, http=http, memcached=memcached, dns=dns),
                          tls=f"{{ certificates: [{certificate_files()[1].pem}] }}",
                          engine="auto")

    def scraped():
        text = "".join(rig.get(p.admin, "/metrics").body.decode() for p in (proxy, secure))
        found = dict(re.findall(r"(?m)^# TYPE (\S+) (\S+)$", text))
        return found if AFTER_A_WHILE <= set(found) else None
    metrics = rig.until(scraped, "metrics of health and names")
    proxy.stop()
    secure.stop()
    with open(os.path.join(rig.TMP, "access.log")) as f:
        fields = set(json.loads(f.readline()))
    return metrics, fields


def fields_of_source(fields):
    """The same, and those that only some lines have."""
    with open(os.path.join(rig.ROOT, "src/proxy/logline.c")) as f:
        text = f.read()
    found = set(re.findall(r'put_\w+\(e, "(\w+)"', text) + re.findall(r',\\"(\w+)\\":', text))
    found -= {"resumed"}    # a member of `tls`
    rig.check(len(found & fields) > 8, "src/proxy/logline.c: no put_…(e, NAME for each field")
    return fields | found


def check_metrics(page, metrics):
    families = set(metrics) | {f"{m}_{end}" for m, kind in metrics.items() if kind == "histogram"
                               for end in ("bucket", "sum", "count")}
    for n, line in enumerate(page.text.splitlines(), 1):
        for name in re.findall(r"\bfairlead_[a-z_]+\b(?!\.)", line):
            if name not in families:
                fault(page, n, f"no metric '{name}'")


def check_observability(page, metrics, fields):
    described, kinds, logged = {}, {}, set()
    for n, row in page.rows():
        if "metric" in row:
            name = (spans_of(row["metric"]) or [""])[0]
            described[name], kinds[name] = n, row.get("type")
        logged |= set(spans_of(row.get("field", "")))
    for name, kind in metrics.items():
        if name not in described:
            fault(page, 1, f"'{name}' has no row")
        elif kinds[name] != kind:
            fault(page, described[name], f"'{name}' is a {kind}")
    for name in fields ^ logged:
        fault(page, 1, f"field '{name}' of the log is " +
              ("not described" if name in fields else "described, and does not exist"))


# --- other names ------------------------------------------------------------------

def commands_of(page):
    """(line, command) of shell lines and spans; with a line's comment taken off."""
    for line, mark, text in page.blocks:
        if mark in ("", "sh", "console", "ini", "dockerfile"):
            for i, command in enumerate(re.sub(r"\\\n", "  ", text).splitlines()):
                yield line + 1 + i, re.sub(r"\s#\s.*", "", command)
    yield from page.spans


def options_of(program):
    """Of the program and of its commands, which its help lists with two spaces before them."""
    def help_of(*command):
        out = subprocess.run([program, *command, "-h"], capture_output=True, text=True)
        return out.stdout + out.stderr
    text = help_of()
    if "COMMAND" in text:
        text += "".join(map(help_of, re.findall(r"(?m)^  ([a-z]+)  ", text)))
    return set(re.findall(r"(?<![\w-])--?\w[\w-]*", text))


OWN_COMMAND = re.compile(r"(?:\$ |ExecStart=|ExecReload=)?(?:[\w./-]*/)?"
                         r"(fairlead|fairlead-lab) (.*)")


def check_options(page, programs):
    """Of our programs, and options that stand alone."""
    every = set().union(*programs.values())
    for line, command in commands_of(page):
        if re.fullmatch(r"-[a-zA-Z]|--?[a-z][\w-]+", command) and command not in every:
            fault(page, line, f"no option '{command}'")
        found = OWN_COMMAND.match(command.strip())
        for option in re.findall(r"(?:^| )(--?[a-zA-Z][\w-]*)", found[2] if found else ""):
            if option not in programs[found[1]]:
                fault(page, line, f"{found[1]} has no option '{option}'")


def make_goals():
    out = subprocess.run(["make", "help"], cwd=rig.ROOT, capture_output=True, text=True).stdout
    return set(re.findall(r"\bmake ([a-z][\w-]*)", out))


def check_goals(page, goals):
    for line, command in commands_of(page):
        for goal in re.findall(r"(?:^|[;&|] *)make ([a-z][\w-]*)", command.strip()):
            if goal not in goals:
                fault(page, line, f"no goal 'make {goal}'")


def sources():
    text = ""
    for pattern in ("src/**/*.c", "include/**/*.*"):
        for path in glob.glob(os.path.join(rig.ROOT, pattern), recursive=True):
            with open(path) as f:
                text += f.read()
    return text


# Those that nobody has to handle to meet them.
FOREIGN_SIGNALS = ("SIGKILL", "SIGSTOP", "SIGCONT", "SIGSEGV", "SIGABRT", "SIGILL", "SIGWINCH")


def check_signals(page, source):
    for n, line in enumerate(page.text.splitlines(), 1):
        for name in re.findall(r"\bSIG[A-Z][A-Z0-9]+\b", line):
            known = name in FOREIGN_SIGNALS or re.search(rf"\b{name}\b", source)
            if not hasattr(signal, name) or not known:
                fault(page, n, f"signal '{name}' is not in src/")


TREE = r"(?:src|include|tests|bench|docs|tools|examples|kernel-notes)/[\w./*-]*\w|[A-Z]+\.md"
PLACEHOLDER = re.compile(r"NN-|NAME|MODULE|LAYER|[/_]x\.[ch]$")


def check_files(page, pages):
    here = os.path.dirname(page.path)
    for line, span in page.spans:
        found = re.match(rf"(?:\./)?({TREE})(?=$|[ :`])", span)
        if found and not PLACEHOLDER.search(found[1]) and \
                not glob.glob(os.path.join(rig.ROOT, found[1])):
            fault(page, line, f"no file '{found[1]}'")
    for n, text in page.prose:
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            check_link(page, n, here, target, pages)


def check_link(page, line, here, target, pages):
    if re.match(r"https?:", target):
        return
    path, _, anchor = target.partition("#")
    full = os.path.normpath(os.path.join(here, path)) if path else page.path
    if not os.path.exists(full):
        fault(page, line, f"no file '{target}'")
    elif anchor and full.endswith(".md"):
        other = pages.setdefault(full, None) or Page(full)
        if anchor not in set(other.anchors()):
            fault(page, line, f"no heading '{target}'")


# --- messages -----------------------------------------------------------------------

def check_messages(page, messages):
    lines = [(n + 1 + i, text) for n, mark, block in page.blocks
             for i, text in enumerate(block.splitlines())
             if text.startswith("fairlead: ") or mark == "log" and text.strip()]
    lines += [(n, span) for n, row in page.rows() for span in spans_of(row.get("message", ""))]
    for n, text in lines:
        if not messages.printed(text):
            fault(page, n, f"nothing in src/ prints '{text}'")


def rows_of(name):
    with open(os.path.join(rig.ROOT, name)) as f:
        return re.findall(r'(?m)^[A-Z]+\(\w+, (\d+), (?:"([\w]*)", )?"(.*)"\)$', f.read())


def check_tls_faults(page):
    """Each row of tls/fault.def has a row, with the same error."""
    with open(os.path.join(rig.ROOT, "include/tls/fault.def")) as f:
        rows = {text: error for error, text in re.findall(
            r'TLS_FAULT\(\w+, "(\w+)",\s+"(.*)"\)', f.read())}
    told = {row["TLS fault"].strip("`"): row for _, row in page.rows() if "TLS fault" in row}
    rig.check(len(rows) > 20, "rows of tls/fault.def")
    for text in set(rows) ^ set(told):
        fault(page, 1, f"TLS fault '{text}' is in one of the page and tls/fault.def only")
    for text in set(rows) & set(told):
        if told[text]["Proxy-Status"] != f"`{rows[text]}`":
            fault(page, 1, f"TLS fault '{text}' is {rows[text]}")


def check_endings(page):
    """Each row of ending.def and fault.def has a row here, with the same status and error."""
    told = {row["ending"].strip("`"): (n, row) for n, row in page.rows() if "ending" in row}
    rows = rows_of("include/proxy/ending.def") + rows_of("include/http/fault.def")
    rig.check(len(rows) > 50, "rows of ending.def and fault.def")
    for status, error, text in rows:
        n, row = told.get(text, (0, {}))
        if not row:
            fault(page, 1, f"'{text}' has no row")
        elif status not in ("0", row["status"]) or \
                error and row.get("Proxy-Status") != f"`{error}`":
            fault(page, n, f"'{text}' is {status} {error}")
    for text in set(told) - {text for _, _, text in rows}:
        fault(page, told[text][0], f"no request ends with '{text}'")


# A line, and what has to be found in it.
WRONG = (
    ("```yaml\nlisten: 8080\n```", "is not accepted"),
    ("```yaml fragment\nlimits: { nonsense: 1 }\n```", "is not accepted"),
    ("```yaml refused\nlisten: 8080\nroutes: [{ prefix: /, proxy: { upstream: a } }]\n"
     "upstreams: { a: { servers: [127.0.0.1:1] } }\n```", "is not refused"),
    ("```yaml part\n```", "unknown mark 'yaml part'"),
    ("`limits.nonsense`", "no key 'limits.nonsense'"),
    ("`nonsense: off`", "no key 'nonsense'"),
    ("`no_sense`", "no 'no_sense' in src/"),
    ("fairlead_nonsense_total", "no metric 'fairlead_nonsense_total'"),
    ("`fairlead -t --nonsense`", "fairlead has no option '--nonsense'"),
    ("`--nonsense`", "no option '--nonsense'"),
    ("```sh\nmake nonsense\n```", "no goal 'make nonsense'"),
    ("SIGXCPU", "signal 'SIGXCPU' is not in src/"),
    ("`src/run/nonsense.c`", "no file 'src/run/nonsense.c'"),
    ("[x](nonsense.md)", "no file 'nonsense.md'"),
    ("[x](operations.md#nonsense)", "no heading 'operations.md#nonsense'"),
    ("```log\nfairlead: there is nonsense in it\n```", "nothing in src/ prints"),
    ("| message |\n|---|\n| `fairlead: ready for nonsense` |", "nothing in src/ prints"),
)


class Checks:
    def __init__(self):
        self.pages = {path: Page(path) for path in ALL}
        self.keys, self.goals, self.source = known_keys(), make_goals(), sources()
        self.programs = {"fairlead": options_of(rig.FAIRLEAD), "fairlead-lab": options_of(rig.LAB)}
        self.metrics, self.fields = observed()
        self.messages = docs_messages.Messages()

    def run(self, page):
        check_configurations(page)
        check_peers(page)
        check_keys(page, self.keys, self.source)
        check_metrics(page, self.metrics)
        check_options(page, self.programs)
        check_goals(page, self.goals)
        check_signals(page, self.source)
        check_files(page, self.pages)
        check_messages(page, self.messages)

    def find_what_is_wrong(self):
        """Each check reports what it is for."""
        path = os.path.join(rig.ROOT, "docs/wrong.md")    # for links from there
        for text, expected in WRONG:
            faults.clear()
            self.run(Page(path, text + "\n"))
            rig.check([f for f in faults if expected in f], lambda: f"{text}: {faults}")
        faults.clear()
        empty = Page(path, "| metric | field | ending |\n|---|---|---|\n| | `x` | `x` |\n")
        check_observability(empty, self.metrics, self.fields)
        check_endings(empty)
        rig.check(len(faults) > len(self.metrics) + len(self.fields) + 50, lambda: f"{faults}")
        faults.clear()


def main():
    checks = Checks()
    checks.find_what_is_wrong()
    for page in list(checks.pages.values()):
        checks.run(page)
        if page.name == "observability.md":
            check_observability(page, checks.metrics, fields_of_source(checks.fields))
        if page.name == "troubleshooting.md":
            check_endings(page)
            check_tls_faults(page)
    rig.check(not faults, lambda: "\n" + "\n".join(faults))


rig.main(main)
