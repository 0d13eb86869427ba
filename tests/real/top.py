#!/usr/bin/env python3
"""`fairlead top` in a real terminal (tmux): what it shows of traffic, of servers in each state and of
connections; its keys; other sizes; no colour; an end and a return of fairlead. --once for scripts.
With PICTURES=FOLDER the picture of the documents is made there."""
# once: it is a client of the admin address
# timeout: 180
import http.server
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import api
import rig
import status_page
import tlsrig

CONFIG = """
upstreams:
  app:
    servers:
      - {{ address: 127.0.0.1:{one}, name: app-1, weight: 2 }}
      - {{ address: 127.0.0.1:{two}, name: app-2 }}
    health_check: {{ path: /status/200, interval: 1s }}
  broken: {{ servers: [127.0.0.1:{nobody}], connect_timeout: 1s }}
  films: {{ servers: [ {{ address: 127.0.0.1:{two}, name: films-1 }} ] }}
routes:
  - {{ prefix: /broken, proxy: {{ upstream: broken }} }}
  - {{ prefix: /delay, proxy: {{ upstream: films }} }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""


class Terminal:
    """A session of tmux with a server of its own."""

    def __init__(self, command, width=80, height=24, **env):
        self.socket = os.path.join(rig.TMP, f"tmux-{width}-{time.monotonic_ns()}")
        self.env = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **env}
        settings = os.path.join(rig.TMP, "tmux.conf")
        with open(settings, "w") as f:
            f.write("set -g default-terminal tmux-256color\nset -g status off\nset -g remain-on-exit on\n")
        self.run("-f", settings, "new-session", "-d", "-x", str(width), "-y", str(height), "exec " + command)

    def run(self, *arguments):
        return subprocess.run(["tmux", "-S", self.socket, *arguments], env=self.env, capture_output=True,
                              text=True, check=True).stdout

    def text(self):
        return self.run("capture-pane", "-p")

    def colored(self):
        return self.run("capture-pane", "-e", "-p")

    def until(self, found, what):
        rig.until(lambda: found(self.text()), what)

    def key(self, key):
        self.run("send-keys", key)

    def resize(self, width, height):
        self.run("resize-window", "-x", str(width), "-y", str(height))

    def end(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], env=self.env, check=False)


def rows(text):
    """{first word: line} of the table."""
    return {line.split()[0]: line for line in text.splitlines() if line.strip()}


def table(text):
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(("UPSTREAM, SERVER", "CLIENT")))
    return [line for line in lines[at + 1:] if line.strip()]


def once(proxy, *arguments, status=0, errors=None):
    done = subprocess.run([rig.FAIRLEAD, "top", *arguments], capture_output=True, text=True, check=False,
                          errors=errors, stdin=subprocess.DEVNULL, timeout=60)
    rig.check(done.returncode == status, lambda: f"{arguments}: {done}")
    return done.stdout if status == 0 else done.stderr


def printed(proxy):
    text = once(proxy, "--once", f"127.0.0.1:{proxy.admin}")
    rig.check("\x1b" not in text and all(len(line) <= 100 for line in text.splitlines()), text)
    rig.check(text.startswith("fairlead ") and f"127.0.0.1:{proxy.admin}" in text.splitlines()[0], text)
    found = rows(text)
    rig.check(float(re.search(r"([\d.]+)k?/s", found["requests"])[1]) > 5, text)
    rig.check(re.search(r"99% [\d.]+(us|ms|s) ", found["time"]), text)
    rig.check(re.search(r"5xx [\d.]+%", found["requests"]) and "5xx 0%" not in found["requests"], text)
    rig.check(re.search(r"[1-9][\d.]*/s handshakes", found["TLS"]), text)
    rig.check(re.search(r"[\d.]+ calls  [\d.]+ enters/request", found["engine"]), text)
    rig.check(re.search(r" up +[\d.]+ .* 2 +up$", found["app-1"]), found["app-1"])
    rig.check(re.search(r" drained +0 ", found["app-2"]), found["app-2"])
    rig.check(float(found["broken"].split()[2]) > 0, found["broken"])
    rig.check(re.search(r"127.0.0.1 +waiting +\d.* films films-1  GET", text), text)
    # By the file, and by a file in place of it.
    for arguments in (["--once", proxy.path], ["--once", "-c", proxy.path]):
        rig.check(once(proxy, *arguments).startswith("fairlead "), f"{arguments}")


def unusable(proxy):
    nobody, = rig.free_ports(1)
    for arguments, status, wanted in (
            ([f"127.0.0.1:{nobody}"], 1, "no answer from 127.0.0.1"), (["nothing"], 2, "neither a file nor an address"),
            ([f"127.0.0.1:{nobody}", "x"], 2, "one FILE or ADDRESS"), (["--once", "unix:/nothing"], 1, "No such file"),
            ([f"127.0.0.1:{proxy.port}"], 1, "it is no admin address"),
            ([f"127.0.0.1:{proxy.admin}"], 1, "use --once")):    # no terminal
        said = once(proxy, *arguments, status=status)
        rig.check(wanted in said, f"{arguments}: {said}")
    path = os.path.join(rig.TMP, "without.yaml")
    with open(path, "w") as f:
        f.write("listen: [127.0.0.1:8080]\nupstreams: { a: { servers: [127.0.0.1:1] } }\n"
                "routes: [ { prefix: /, proxy: { upstream: a } } ]\n")
    rig.check("add 'admin: 127.0.0.1:9180'" in once(proxy, path, status=1), "no admin")
    with open(f"/proc/{proxy.worker_pid()}/maps") as f:
        rig.check("curses" not in f.read(), "the daemon has loaded it")


class Hostile(http.server.BaseHTTPRequestHandler):
    """An admin address whose texts have control octets."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write({
            "/metrics": b'fairlead_requests_total 1\n'
                        b'fairlead_upstream_waiting{upstream="evil\x1b[31m"} 1\n'
                        b'fairlead_server_requests_total{upstream="evil\x1b[31m",server="s\x9b2J\x07"} 1\n',
            "/api/status": b'{"version":"1\x1b]0;title\x07\x7f"}\n',
        }.get(self.path, b'{"connections":[\n{"id":"0-1-1","client":"c\x1b[2J","state":"\x9bidle"}\n]}\n'))

    def log_message(self, *_):
        pass


def hostile(proxy):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        text = once(proxy, "--once", f"127.0.0.1:{server.server_port}", errors="backslashreplace")
        server.shutdown()
    rig.check(text.startswith("fairlead 1?]0;title??") and "evil?[31m" in text and "s?2J?" in text and
              "c?[2J" in text, text)
    rig.check(all(line.isprintable() and line.isascii() for line in text.splitlines()) and "\\x" not in text, text)


def shown(proxy):
    top = Terminal(f"{rig.FAIRLEAD} top {proxy.path}")
    top.until(lambda t: "q quit" in t and "app-1" in t, "the page")
    top.until(lambda t: re.search(r"requests +[1-9][\d.]*/s", t), "a rate")
    text = top.text()
    lines = text.splitlines()
    rig.check(len(lines) == 24 and max(map(len, lines)) <= 80, text)
    rig.check(lines[0].startswith("fairlead ") and lines[23].startswith("q quit"), text)
    rig.check([line.split()[0] for line in table(text)[:1]] == ["app"], text)
    rig.check("\x1b[31m" in top.colored() or "\x1b[1m\x1b[31m" in top.colored(), "red")
    keys(proxy, top)
    sizes(top)
    top.key("u")
    top.until(lambda t: t.splitlines()[0].startswith("fairlead "), "the page")
    return top


def keys(proxy, top):
    top.key("n")
    top.until(lambda t: [line.split()[0] for line in table(t) if not line.startswith(" ")][:3] ==
              ["app", "broken", "films"], "by name")
    top.key("e")
    top.until(lambda t: table(t)[0].startswith("broken"), "by errors")
    top.key("-")
    top.until(lambda t: not table(t)[0].startswith("broken"), "reversed")
    top.key("-")
    top.key("r")
    top.until(lambda t: table(t)[0].startswith("app"), "by requests")
    top.key("c")
    top.until(lambda t: "CLIENT" in t and re.search(r"127.0.0.1 +waiting +\d", t), "connections")
    rig.check(re.search(r"waiting.* films films-1  GET", table(top.text())[0]), table(top.text())[0])
    top.key("Down")
    top.key("u")
    top.key("Space")
    top.until(lambda t: "paused" in t, "a pause")
    clock = top.text().splitlines()[0].split()[-1]
    time.sleep(2.5)
    rig.check(top.text().splitlines()[0].split()[-1] == clock, "it goes on")
    top.key("Space")
    top.until(lambda t: "paused" not in t, "the end of the pause")


def sizes(top):
    for width, height in (120, 40), (40, 10), (20, 4), (3, 1), (200, 60), (80, 24):
        top.resize(width, height)
        top.until(lambda t: len(t.splitlines()) <= height, "another size")
        if width >= 80:
            top.until(lambda t: t.splitlines()[-1].startswith("q quit") and
                      len(t.splitlines()) == height, f"{width}x{height}")
            rig.check(("WEIGHT" in top.text()) == (width >= 88), top.text())


def interrupted(proxy):
    """The signal of another size comes while top waits for a response. It is a top of its own, since a
    reading that took long is followed by a long pause."""
    top = Terminal(f"{rig.FAIRLEAD} top 127.0.0.1:{proxy.admin}")
    top.until(lambda t: "q quit" in t, "the page")
    os.kill(proxy.worker_pid(), signal.SIGSTOP)
    time.sleep(1.3)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        for width in 90, 80:
            top.resize(width, 24)
            time.sleep(0.05)
            rig.check("no answer" not in top.text(), top.text())
    os.kill(proxy.worker_pid(), signal.SIGCONT)
    top.end()


def lost(proxy, top):
    proxy.signal(signal.SIGSTOP)
    os.kill(proxy.worker_pid(), signal.SIGSTOP)
    top.until(lambda t: "no answer" in t, "no answer")
    os.kill(proxy.worker_pid(), signal.SIGCONT)
    proxy.signal(signal.SIGCONT)
    top.until(lambda t: "no answer" not in t, "an answer again")
    top.key("q")
    rig.until(lambda: top.run("display", "-p", "#{pane_dead} #{pane_dead_status}").strip() == "1 0", "its end", 60)


def without_color(proxy):
    top = Terminal(f"{rig.FAIRLEAD} top 127.0.0.1:{proxy.admin}", NO_COLOR="1")
    top.until(lambda t: re.search(r"broken", t) and "q quit" in t, "the page")
    time.sleep(1.5)
    rig.check(not re.search(r"\x1b\[[\d;]*3[0-7]", top.colored()), lambda: top.colored())
    rig.check("\x1b[7m" in top.colored(), "reverse")
    top.key("q")
    rig.until(lambda: top.run("display", "-p", "#{pane_dead} #{pane_dead_status}").strip() == "1 0", "its end", 60)
    top.end()


def picture(proxy):
    folder = os.environ.get("PICTURES") or rig.TMP
    top = Terminal(f"{rig.FAIRLEAD} top 127.0.0.1:{proxy.admin}", width=96, height=20)
    top.until(lambda t: re.search(r"requests +[1-9][\d.]*/s", t) and re.search(r"broken +\d", t), "the page")
    made = subprocess.run([os.path.join(rig.ROOT, "tools/terminal-svg")], input=top.colored(), text=True,
                          capture_output=True, check=False)
    svg = made.stdout
    rig.check(made.returncode == 0, made.stderr)
    with open(os.path.join(folder, "top.svg"), "w") as f:
        f.write(svg.replace(f":{proxy.admin}", ":9180"))
    rig.check(svg.count("<text") > 40 and "app-2" in svg, svg)
    top.end()


def test():
    one, two, nobody = rig.free_ports(3)
    for port in one, two:
        rig.lab("1ms", port)
    made = tlsrig.Pki()
    proxy = rig.Fairlead(CONFIG.format(one=one, two=two, nobody=nobody), tls=made.tls(), engine="auto")
    traffic = [status_page.Traffic(proxy, made) for _ in range(3)]
    slow = tlsrig.Socket(proxy.port, tlsrig.context(made))
    slow.sendall(b"GET /delay/600000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    api.order(proxy, "app", "app-2", "state=drain")
    unusable(proxy)
    hostile(proxy)
    rig.until(lambda: proxy.samples("requests_total") > 50, "traffic")
    printed(proxy)
    if not shutil.which("tmux"):
        rig.skip("no tmux")
    top = shown(proxy)
    picture(proxy)
    without_color(proxy)
    lost(proxy, top)
    top.end()
    interrupted(proxy)
    for t in traffic:
        t.stopped = True
        t.join()
    proxy.stop()


if __name__ == "__main__":
    rig.main(test)
