#!/usr/bin/env python3
"""The status page at the admin address: its policy, and what it shows of traffic in a headless
Chromium, in light, dark and on a phone, without an error in the console. With PICTURES=FOLDER the
screenshots stay there."""
# once: the page is the same on each engine
# timeout: 120
import base64
import hashlib
import json
import os
import re
import select
import shutil
import threading
import time

import rig
import tlsrig

CONFIG = """
upstreams:
  app: {{ servers: [127.0.0.1:{app}], health_check: {{ path: /status/200, interval: 1s }} }}
  broken: {{ servers: [127.0.0.1:{nobody}], connect_timeout: 1s }}
routes:
  - {{ prefix: /broken, proxy: {{ upstream: broken }} }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""
PICTURES = {"light": 1280, "dark": 1280, "phone": 390}    # width
LOOKS_S = float(os.environ.get("LOOKS_S", "9"))    # how long the page looks before the pictures


class Traffic(threading.Thread):
    """Requests of several kinds, without a pause to speak of."""

    def __init__(self, proxy, made):
        super().__init__(daemon=True)
        self.port, self.context, self.stopped = proxy.port, tlsrig.context(made), False
        self.start()

    def run(self):
        while not self.stopped:
            with tlsrig.Socket(self.port, self.context) as client:
                for path in ["/bytes/5000"] * 20 + ["/delay/20", "/status/404", "/broken/x"]:
                    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                    self.read(client)
            time.sleep(0.01)

    @staticmethod
    def read(client):
        data = b""
        while b"\r\n\r\n" not in data:
            data += client.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        while len(body) < length:
            body += client.recv(65536)


class Browser:
    """A headless Chromium with one page, driven through its pipe."""

    def __init__(self, url):
        ours, theirs = os.pipe(), os.pipe()    # to it, from it

        def place():
            os.dup2(ours[0], 3)
            os.dup2(theirs[1], 4)
        self.program = rig.Program(
            "chromium", ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                         "--hide-scrollbars", "--disable-dev-shm-usage", "--remote-debugging-pipe",
                         f"--user-data-dir={rig.TMP}/chromium"],
            close_fds=False, preexec_fn=place)
        os.close(ours[0])
        os.close(theirs[1])
        self.out, self.inp = ours[1], theirs[0]
        self.left, self.n, self.session, self.complaints = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in "Page", "Runtime", "Log":
            self.call(domain + ".enable")
        self.call("Page.navigate", url=url)

    def message(self):
        while b"\0" not in self.left:
            rig.check(select.select([self.inp], [], [], rig.PATIENCE_S)[0], "chromium is silent")
            piece = os.read(self.inp, 1 << 20)
            rig.check(piece, "chromium ended")
            self.left += piece
        text, _, self.left = self.left.partition(b"\0")
        said = json.loads(text)
        if said.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded",
                                  "Runtime.consoleAPICalled"):
            self.complaints.append(said["params"])
        return said

    def call(self, method, **params):
        self.n += 1
        asked = {"id": self.n, "method": method, "params": params}
        if self.session:
            asked["sessionId"] = self.session
        os.write(self.out, json.dumps(asked).encode() + b"\0")
        while True:
            said = self.message()
            if said.get("id") == self.n:
                rig.check("result" in said, f"{method}: {said}")
                return said["result"]

    def dom(self):
        return self.call("Runtime.evaluate", expression="document.documentElement.outerHTML")[
            "result"]["value"]

    def picture(self, path, width, scheme):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                  deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": scheme}])
        wide = self.call("Runtime.evaluate", expression="document.documentElement.scrollWidth")
        rig.check(wide["result"]["value"] <= width, f"{wide} is wider than {width}")
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(data))
        return len(data)


def policy(proxy):
    answer = rig.get(proxy.admin, "/")
    rig.check(answer.status == 200 and answer.field("Content-Type") == "text/html; charset=utf-8",
              answer.head)
    sent, page = answer.field("Content-Security-Policy"), answer.body.decode()
    rig.check(sent.startswith("default-src 'none'; ") and "unsafe" not in sent, sent)
    for name in "style", "script":
        text = re.search(rf"<{name}>(.*?)</{name}>", page, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        rig.check(f"{name}-src 'sha256-{digest}'" in sent, f"{name}: {sent}")
    rig.check(not re.findall(r"""(?:src|href)=["'](?!data:)|https?://(?!www.w3.org/2000/svg)""", page),
              "the page names something outside")
    rig.check(" on" + "click=" not in page and " style=" not in page, "the policy forbids it")
    for path, status in (("/x", 404), ("/index.html", 404)):
        rig.check(rig.get(proxy.admin, path).status == status, path)


def cells(page, table):
    text = re.search(rf'<table id="{table}">(.*?)</table>', page, re.S)[1]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", text)[1:]]


def shown(proxy, nobody, page):
    rig.check(f'<span id="state" class="">127.0.0.1:{proxy.admin}' in page, page[-3000:])
    rate = float(re.search(r'id="rate">([\d.]+)', page)[1])
    rig.check(rate > 1, f"{rate} requests per second")
    rig.check(re.search(r'id="time">[\d.]+ (µs|ms|s)<', page), "a time to respond")
    rig.check(re.search(r'id="errors">[\d.]+ % 5xx', page) and '"errors">0.0' not in page, "errors")
    rows = {row[0]: row for row in cells(page, "upstreams")}
    rig.check(float(rows["app"][1]) > 1 and float(rows["app"][2]) == 0, f"{rows}")
    rig.check(float(rows["broken"][2]) > 0, f"{rows}")
    servers = {row[0]: row for row in cells(page, "servers")}
    rig.check(servers["app"][3:5] == ["up", "up"], f"{servers}")
    rig.check(servers["broken"][1] == f"127.0.0.1:{nobody}", f"{servers}")
    rig.check(servers["app"][8] == "1", f"{servers}")
    longest = {row[0]: row for row in cells(page, "longest")}
    rig.check(longest["app"][3].startswith("GET") and longest["app"][4] == "waiting", f"{longest}")
    handshakes = re.search(r"<dt>handshakes per second</dt><dd[^>]*>([\d.]+)", page)
    rig.check(float(handshakes[1]) > 0, "handshakes")
    rig.check(page.count("<polyline") == 9, "charts")


def pictures(browser):
    folder = os.environ.get("PICTURES") or rig.TMP
    for name, width in PICTURES.items():
        path = os.path.join(folder, f"status-{name}.png")
        size = browser.picture(path, width, "light" if name == "light" else "dark")
        rig.check(size > 20000, f"{name}: {size} bytes")


def test():
    app, nobody = rig.free_ports(2)
    rig.lab("1ms", app)
    made = tlsrig.Pki()
    proxy = rig.Fairlead(CONFIG.format(app=app, nobody=nobody), tls=made.tls(), engine="auto")
    policy(proxy)
    if not shutil.which("chromium"):
        rig.skip("no chromium")
    traffic = [Traffic(proxy, made) for _ in range(4)]
    slow = tlsrig.Socket(proxy.port, tlsrig.context(made))
    slow.sendall(b"GET /delay/600000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    browser = Browser(f"http://127.0.0.1:{proxy.admin}/")
    time.sleep(LOOKS_S)
    shown(proxy, nobody, browser.dom())
    pictures(browser)
    rig.check(not browser.complaints, lambda: f"{browser.complaints}")
    rig.check(all(t.is_alive() for t in traffic), "the traffic ended")
    for t in traffic:
        t.stopped = True
        t.join()
    slow.close()
    proxy.stop()
    rig.until(lambda: 'class="lost">no answer' in browser.dom(), "the page to notice the end")


if __name__ == "__main__":
    rig.main(test)
