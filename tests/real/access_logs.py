#!/usr/bin/env python3
"""Several access logs at once: by route, with a template, with conditions, to a syslog daemon by UDP
and by unix socket, and to a journal. A daemon that reads nothing delays no request, and a reload
keeps and exchanges logs."""
# asan
import http.client
import http.server
import json
import os
import re
import signal
import socket
import threading
import time

import rig

CONFIG = """
request_id: on
trusted_proxies: [127.0.0.1]
access_log:
  - {{ name: all, path: "{tmp}/all.log", format: json }}
  - {{ name: errors, path: "{tmp}/errors.log", requests: errors, format: combined }}
  - {{ name: slow, path: "{tmp}/slow.log", slower_than: 300ms,
       template: "${{status}} ${{request.line}} ${{header.X-Who}} ${{query.q}} ${{request.id}} ${{route}} ${{upstream}} ${{time.first_byte}} $$" }}
  - {{ name: admin, path: "{tmp}/admin.log", all_routes: false, template: "${{path}} ${{time}}" }}
  - {{ syslog: "127.0.0.1:{udp}", facility: 17, tag: edge, template: "${{path}} ${{ending}}" }}
  - {{ syslog: "unix:{tmp}/dev-log", template: "${{path}} ${{header.X-Who}}" }}
  - {{ journald: "unix:{tmp}/journal", format: json }}
upstreams:
  app: {{ servers: [127.0.0.1:{origin}] }}
  fast: {{ servers: [127.0.0.1:{fast}], keepalive: 1024 }}
routes:
  - {{ path: /quiet, access_log: off, proxy: {{ upstream: app }} }}
  - {{ prefix: /admin/, access_log: [admin], proxy: {{ upstream: app }} }}
  - {{ path: /fast, proxy: {{ upstream: fast }} }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""
SYSLOG = re.compile(rb"<(\d+)>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\S+) (\S+) (\d+) - - (.*)")


def datagrams(path=None, port=None):
    s = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(path or ("127.0.0.1", port))
    s.settimeout(5)
    return s


def received(s, n):
    return [s.recv(65536) for _ in range(n)]


def lines(tmp, name, n):
    def read():
        with open(f"{tmp}/{name}.log") as f:
            found = f.read().splitlines()
        return found if len(found) >= n else None
    found = rig.until(read, f"{n} lines in {name}.log")
    rig.check(len(found) == n, lambda: f"{name}: {found}")
    return found


def check_files(tmp):
    everything = [json.loads(line) for line in lines(tmp, "all", 4)]
    statuses = [x["status"] for x in everything]
    rig.check(statuses == [200, 200, 502, 404], lambda: f"{statuses}")
    paths = [x["request"].split()[1] for x in everything]
    rig.check(paths == ["/a?q=1", "/slow?q=a%22b", "/post", "/none/x"], lambda: f"{paths}")
    first, slow, post, _ = everything
    rig.check(first["route"] == "/*" and first["upstream"] == "app" and
              first["request_id"] == "id-1", lambda: f"{first}")
    times = first["times_us"]
    rig.check(set(times) == {"receive", "queue", "connect", "response", "first_byte"} and
              times["first_byte"] <= first["took_us"] and
              times["response"] <= times["first_byte"], lambda: f"{first}")
    rig.check(slow["times_us"]["response"] >= 350000 and slow["took_us"] >= 350000,
              lambda: f"{slow}")
    rig.check(post["received_bytes"] == 70000, lambda: f"{post}")
    line, error = lines(tmp, "slow", 2)    # errors always
    rig.check(error.startswith("502 POST /post"), error)
    got = line.split(" ")
    rig.check(got[:8] == ["200", "GET", r"/slow?q=a%22b", "HTTP/1.1", r"me\x22", r"a\x22b", "id-2",
                          "/*"] and got[8] == "app" and int(got[9]) >= 350000 and got[10] == "$",
              lambda: line)
    line, = lines(tmp, "admin", 1)
    rig.check(line.startswith("/admin/x 20"), line)
    line, = lines(tmp, "errors", 1)
    rig.check('"POST /post HTTP/1.1" 502 ' in line, line)


def check_daemons(udp, unix, journal):
    for text, want in zip(received(udp, 4), (
            b"/a complete", b"/slow complete", b"/post the origin closed before a response",
            b"/none/x complete")):
        m = SYSLOG.fullmatch(text)
        rig.check(m and m[1] == (b"140" if b"/post" in want else b"142") and m[3] == b"edge" and m[5] == want, lambda: f"{text}")
        rig.check(m[2] == socket.gethostname().encode(), lambda: f"{text}")
    texts = [SYSLOG.fullmatch(x)[5] for x in received(unix, 4)]
    rig.check(texts == [b"/a -", rb"/slow me\x22", b"/post -", b"/none/x -"], lambda: f"{texts}")
    for text in received(journal, 4):
        fields = dict(x.split(b"=", 1) for x in text.splitlines())
        rig.check(set(fields) == {b"PRIORITY", b"SYSLOG_FACILITY", b"SYSLOG_IDENTIFIER",
                                  b"FAIRLEAD_STATUS", b"MESSAGE"} and text.endswith(b"\n"),
                  lambda: f"{text}")
        rig.check(str(json.loads(fields[b"MESSAGE"])["status"]).encode() ==
                  fields[b"FAIRLEAD_STATUS"], lambda: f"{text}")


def stalled_daemon(proxy, journal, tmp):
    """The journal takes nothing more: requests go on, its lines are dropped and counted; no other
    log loses one. When it is read again, it gets whole entries again."""
    before = rig.until(lambda: proxy.metrics(), "metrics")
    done = 0
    for _ in range(8):
        n, errors, _ = rig.wrk(proxy.port, "/fast", 32, 1)
        done += n
        rig.check(errors == 0, f"{errors} requests failed")
        if proxy.metrics()["log_lines_dropped_total"] > before["log_lines_dropped_total"] + 100:
            break
    rig.check(proxy.metrics()["log_lines_dropped_total"] > before["log_lines_dropped_total"] + 100,
              "nothing was dropped")

    def file_lines():
        with open(f"{tmp}/all.log") as f:
            return sum(line == "new /fast\n" for line in f)
    # The first requests and those that wrk gives up at its end are not in `done`.
    rig.until(lambda: file_lines() >= done, f"{done} lines in the file beside it")
    reader = threading.Thread(target=lambda: [got.append(x) for x in iter(
        lambda: journal.recv(65536), b"")], daemon=True)
    got = []
    reader.start()
    rig.until(lambda: request(proxy, "GET", "/again") and any(b"GET /again " in x for x in got),
              "entries after the stall")
    rig.check(all(b"\nMESSAGE={" in x and x.endswith(b"}\n") for x in got), "half an entry")
    print(f"{rig.ENGINE}: {done} requests beside a journal that is not read; it then got "
          f"{len(got)} entries")


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if "/slow" in self.path:
            time.sleep(4 if self.path.endswith("/slower") else 0.4)
        self.send_response(404 if self.path.startswith("/none") else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        """Takes the body and closes without a response."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.close_connection = True

    def log_message(self, *_):
        pass


def request(proxy, method, path, body=None, **fields):
    c = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    c.request(method, path, body=body, headers={k.replace("_", "-"): v for k, v in fields.items()})
    status = c.getresponse().status
    c.close()
    return status


def requests(proxy):
    """In an order that the logs keep: each has ended when the next begins."""
    got = [request(proxy, "GET", "/a?q=1", X_Request_Id="id-1"),
           request(proxy, "GET", "/quiet"),
           request(proxy, "GET", "/admin/x"),
           request(proxy, "GET", "/slow?q=a%22b", X_Who='me"', X_Request_Id="id-2"),
           request(proxy, "POST", "/post", body=b"x" * 70000),
           request(proxy, "GET", "/none/x")]
    rig.check(got == [200, 200, 200, 200, 502, 404], lambda: f"{got}")


def reloaded(proxy, config, tmp):
    """Files are opened again, under their new settings and in another order; sockets go on. A
    request that began before is written to the log of the same name."""
    os.rename(f"{tmp}/all.log", f"{tmp}/old.log")
    with open(proxy.path) as f:
        head = f.read().split("request_id:")[0]
    logs = config.split("\n")
    one, other = (next(i for i, line in enumerate(logs) if f"name: {name}," in line)
                  for name in ("all", "admin"))
    logs[one] = logs[one].replace("format: json", 'template: "new ${path}"')
    logs[one], logs[other] = logs[other], logs[one]
    with open(proxy.path, "w") as f:
        f.write(head + "\n".join(logs))
    late = threading.Thread(target=request, args=(proxy, "GET", "/admin/slower"))
    late.start()
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == 1, "the slow request")
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.said("reloaded"), "the reload")
    rig.check(late.is_alive(), "the slow request has ended before the reload")
    rig.check(request(proxy, "GET", "/b") == 200, "after the reload")
    late.join()
    # Of its route: that log alone, which has another index now.
    got = lines(tmp, "admin", 2)
    rig.check(got[1].startswith("/admin/slower 20"), lambda: f"{got}")
    rig.check(lines(tmp, "all", 1) == ["new /b"], "a line in the log of another route")


def main():
    tmp = rig.TMP
    origin, fast, udp_port = rig.free_ports(3)
    rig.nginx(fast)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", origin), Origin)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    udp = datagrams(port=udp_port)
    unix, journal = datagrams(f"{tmp}/dev-log"), datagrams(f"{tmp}/journal")
    config = CONFIG.format(tmp=tmp, udp=udp_port, origin=origin, fast=fast)
    proxy = rig.Fairlead(config, workers=1)
    requests(proxy)
    check_files(tmp)
    check_daemons(udp, unix, journal)
    reloaded(proxy, config, tmp)
    stalled_daemon(proxy, journal, tmp)
    proxy.stop()


rig.main(main)
