#!/usr/bin/env python3
"""Spans of sampled traces reach a collector as OTLP/HTTP in JSON: one of the request, one of each try,
with the ids that the servers see. A collector that fails, refuses or is gone holds up no request, and
what it costs is counted; a drain sends what waits."""
# asan
# timeout: 300
import collections
import http.server
import json
import re
import signal
import subprocess
import threading
import time

import rig

CONFIG = """
trusted_proxies: [127.0.0.0/8]
request_id: on
tracing:
  sample: 0%
  export: {{ upstream: collector, service: 'shop "a"', batch: {batch}, interval: {interval}, queue: {queue} }}
upstreams:
  collector: {{ servers: [127.0.0.1:{collector}] }}
  app: {{ servers: [{{ address: 127.0.0.1:{app}, name: first }}], response_timeout: 20s }}
  gone: {{ servers: [127.0.0.1:{gone}] }}
  auth: {{ servers: [127.0.0.1:{app}] }}
routes:
  - {{ path: /flaky, proxy: {{ upstream: app }}, retry: {{ tries: 3, on: [503], budget_percent: 100, backoff: 1ms }} }}
  - {{ path: /gone, proxy: {{ upstream: gone }} }}
  - {{ prefix: /checked/, auth_request: {{ upstream: auth, path: /auth }}, proxy: {{ upstream: app }} }}
  - {{ path: /own, respond: {{ status: 204 }} }}
  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port, handler):
        super().__init__(("127.0.0.1", port), handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, body=b"", **fields):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class App(Handler):
    seen = []              # (path, traceparent)
    failures = 0           # responses 503 to come

    def do_GET(self):
        App.seen.append((self.path, self.headers["traceparent"]))
        if self.path == "/flaky" and App.failures > 0:
            App.failures -= 1
            self.reply(503)
        else:
            self.reply(404 if self.path == "/missing" else 200, b"hello")


class Collector(Handler):
    batches, statuses, refused = [], collections.deque(), 0
    is_gone = False        # connections that are open end without a response

    def do_POST(self):
        if Collector.is_gone:
            self.close_connection = True
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, fields = Collector.statuses.popleft() if Collector.statuses else (200, {})
        if status == 200:
            assert self.path == "/v1/traces" and self.headers["Content-Type"] == "application/json"
            Collector.batches.append(body)
        answer = {"partialSuccess": {"rejectedSpans": str(Collector.refused)}} if Collector.refused else {}
        self.reply(status, json.dumps(answer).encode(), **fields)


def attributes(of):
    """{key: value}; the kinds of values as the JSON form of Protocol Buffers has them."""
    found = {}
    for a in of["attributes"]:
        rig.check(set(a) == {"key", "value"} and len(a["value"]) == 1, a)
        (kind, value), = a["value"].items()
        rig.check(kind in ("stringValue", "intValue") and isinstance(value, str), a)
        rig.check(a["key"] not in found, a)
        found[a["key"]] = int(value) if kind == "intValue" else value
    return found


def checked(span):
    """As opentelemetry-proto says of a Span in JSON."""
    known = {"traceId", "spanId", "parentSpanId", "flags", "name", "kind", "startTimeUnixNano",
             "endTimeUnixNano", "attributes", "status"}
    rig.check(set(span) <= known, span)
    rig.check(re.fullmatch("[0-9a-f]{32}", span["traceId"]) and int(span["traceId"], 16), span)
    rig.check(re.fullmatch("[0-9a-f]{16}", span["spanId"]) and int(span["spanId"], 16), span)
    rig.check(re.fullmatch("[0-9a-f]{16}", span.get("parentSpanId", "1" * 16)), span)
    rig.check(span["kind"] in (2, 3) and span["flags"] & 1, span)
    begin, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    rig.check(begin <= end and abs(time.time() - end / 1e9) < 300, span)
    rig.check(span["status"] in ({}, {"code": 2}), span)
    return dict(span, attributes=attributes(span))


def spans():
    """All that the collector has taken."""
    found = []
    for batch in list(Collector.batches):
        for of in batch["resourceSpans"]:
            rig.check(attributes(of["resource"]) == {"service.name": 'shop "a"'}, of["resource"])
            for scope in of["scopeSpans"]:
                rig.check(scope["scope"]["name"] == "fairlead", scope["scope"])
                found += [checked(s) for s in scope["spans"]]
    rig.check(len({s["spanId"] for s in found}) == len(found), "ids that occur twice")
    return found


def trace_of(n):
    """A trace for the nth case."""
    return f"{int(TRACE, 16) + n:032x}"


def ask(proxy, path, n, flags="01"):
    return rig.get(proxy.port, path, f"traceparent: 00-{trace_of(n)}-{PARENT}-{flags}\r\n"
                                     'User-Agent: "probe"\r\n')


def spans_of(n, many):
    """Those of a trace: the server's, and its children in order of their beginning."""
    def found():
        of = [s for s in spans() if s["traceId"] == trace_of(n)]
        return of if len(of) >= many else None
    of = rig.until(found, f"{many} spans of trace {n}")
    rig.check(len(of) == many, lambda: f"{len(of)} spans of trace {n}: {of}")
    server = [s for s in of if s["kind"] == 2]
    rig.check(len(server) == 1 and server[0]["parentSpanId"] == PARENT, server)
    clients = sorted((s for s in of if s["kind"] == 3), key=lambda s: int(s["startTimeUnixNano"]))
    rig.check(all(s["parentSpanId"] == server[0]["spanId"] for s in clients), clients)
    return server[0], clients


def parents_seen(path, n):
    return [p.split("-")[2] for where, p in App.seen if where == path and p.split("-")[1] == trace_of(n)]


def content(proxy, app):
    rig.check(ask(proxy, "/a/b?secret=1", 1).status == 200, "a request")
    server, (client,) = spans_of(1, 2)
    rig.check(server["name"] == "GET /*" and server["status"] == {}, server)
    has = server["attributes"]
    rig.check(re.fullmatch("[0-9a-f-]{36}", has.pop("fairlead.request_id")), server)
    rig.check(has == {
        "http.request.method": "GET", "http.route": "/*", "url.scheme": "http", "url.path": "/a/b",
        "server.address": "127.0.0.1", "server.port": proxy.port, "user_agent.original": '"probe"',
        "client.address": "127.0.0.1", "network.peer.address": "127.0.0.1",
        "network.protocol.version": "1.1", "http.response.status_code": 200,
        "fairlead.ending": "complete"}, has)
    rig.check(client["name"] == "GET" and client["attributes"] == {
        "http.request.method": "GET", "server.address": "first", "url.full": "http://first/a/b",
        "fairlead.upstream": "app", "http.response.status_code": 200}, client)
    rig.check(parents_seen("/a/b?secret=1", 1) == [client["spanId"]], App.seen)
    # A request that is sent again: each try has an id, which its server sees.
    App.failures = 2
    rig.check(ask(proxy, "/flaky", 2).status == 200, "a request that is retried")
    server, clients = spans_of(2, 4)
    rig.check(parents_seen("/flaky", 2) == [c["spanId"] for c in clients], (App.seen, clients))
    rig.check([c["attributes"]["http.response.status_code"] for c in clients] == [503, 503, 200], clients)
    rig.check([c["attributes"].get("http.request.resend_count") for c in clients] == [None, 1, 2], clients)
    rig.check([c["status"] for c in clients] == [{"code": 2}, {"code": 2}, {}], clients)
    rig.check(clients[0]["attributes"]["error.type"] == "503" and server["status"] == {}, clients)
    # Errors: of a server that is gone; of a client, which is no error of ours but one of the try.
    rig.check(ask(proxy, "/gone", 3).status == 502, "a server that is gone")
    server, (client,) = spans_of(3, 2)
    rig.check(server["status"] == {"code": 2} and server["attributes"]["error.type"] == "502", server)
    rig.check(client["attributes"]["error.type"] != "502" and client["status"] == {"code": 2}, client)
    rig.check(ask(proxy, "/missing", 4).status == 404, "404")
    server, (client,) = spans_of(4, 2)
    rig.check((server["status"], client["status"]) == ({}, {"code": 2}), (server, client))
    # The request to the auth server is a try of its own; a response of our own has none.
    rig.check(ask(proxy, "/checked/x", 5).status == 200, "a checked request")
    server, clients = spans_of(5, 3)
    rig.check([c["attributes"]["url.full"].split("/", 3)[3] for c in clients] == ["auth", "checked/x"],
              clients)
    rig.check(parents_seen("/auth", 5) + parents_seen("/checked/x", 5) ==
              [c["spanId"] for c in clients], clients)
    rig.check(ask(proxy, "/own", 6).status == 204, "a response of our own")
    rig.check(spans_of(6, 1)[0]["attributes"]["http.response.status_code"] == 204, "its status")
    # Versions of HTTP.
    for n, option, version in (100, "--http1.0", "1.0"), (101, "--http2-prior-knowledge", "2"):
        subprocess.run(["curl", "-sS", option, "-H", f"traceparent: 00-{trace_of(n)}-{PARENT}-01",
                        proxy.url + "/own"], check=True, timeout=rig.PATIENCE_S)
        has = spans_of(n, 1)[0]["attributes"]
        rig.check(has["network.protocol.version"] == version, has)
    # What is not sampled has none.
    n = len(spans())
    ask(proxy, "/", 7, flags="00")
    rig.get(proxy.port, "/")
    ask(proxy, "/", 8)
    spans_of(8, 2)
    rig.check(len(spans()) == n + 2, "spans of traces that are not sampled")


def trouble(proxy):
    """429 and 503 are asked again, as late as they say; 400 is not; a part may be refused."""
    rig.until(lambda: proxy.samples("spans_exported_total") == len(spans()), "a count of all spans")
    for status in 429, 503:
        Collector.statuses.append((status, {"Retry_After": "1"}))
    begin = time.monotonic()
    rig.check(ask(proxy, "/", 10).status == 200, "a request")
    spans_of(10, 2)
    rig.check(time.monotonic() - begin >= 2, "Retry-After")
    rig.check(proxy.samples("span_exports_failed_total") == 2 and
              proxy.samples("spans_dropped_total") == 0, "failures")
    Collector.statuses.append((400, {}))
    rig.check(ask(proxy, "/own", 11).status == 204, "a request")
    rig.until(lambda: proxy.samples("spans_dropped_total") == 1, "a batch that is refused")
    Collector.refused = 1
    rig.check(ask(proxy, "/own", 12).status == 204, "a request")
    rig.until(lambda: proxy.samples("spans_dropped_total") == 2, "a part that is refused")
    Collector.refused = 0


def gone(proxy, collector, queue):
    """Without a collector requests go on; the queue is bounded; it comes back, and so do spans."""
    collector.close()
    Collector.is_gone = True
    dropped = proxy.samples("spans_dropped_total")
    for _ in range(queue + 20):
        rig.check(ask(proxy, "/own", 20).status == 204, "without a collector")
    rig.until(lambda: proxy.samples("spans_dropped_total") == dropped + 20, "dropped spans")
    Collector.is_gone = False
    again = Server(collector.server_port, Collector)
    rig.until(lambda: sum(s["traceId"] == trace_of(20) for s in spans()) == queue, "those that waited", 60)
    return again


def drained(proxy):
    """What waits for its interval is sent before the process ends."""
    rig.check(ask(proxy, "/own", 30).status == 204, "a request")
    rig.check(not any(s["traceId"] == trace_of(30) for s in spans()), "a span before its interval")
    proxy.signal(signal.SIGTERM)
    proxy.ended()
    rig.check(any(s["traceId"] == trace_of(30) for s in spans()), "the span of a drain")


def reloaded(proxy):
    """Without `export` nothing is sent any more, and what waits is dropped."""
    rig.check(ask(proxy, "/own", 40).status == 204, "a request")
    with open(proxy.path) as f:
        text = f.read()
    with open(proxy.path, "w") as f:
        f.write(re.sub(r"(?m)^  export:.*\n", "", text))
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.samples("spans_dropped_total") == 1, "what waits is dropped")
    rig.check(ask(proxy, "/a", 41).status == 200, "a request")
    proxy.signal(signal.SIGTERM)
    proxy.ended()
    rig.check(not any(s["traceId"] in (trace_of(40), trace_of(41)) for s in spans()), "spans")


def test():
    app, gone_port, port = rig.free_ports(3)
    Server(app, App)
    collector = Server(port, Collector)

    def start(**options):
        return rig.Fairlead(CONFIG.format(app=app, gone=gone_port, collector=port, **options), workers=1,
                            http="[2, 1.1]")
    proxy = start(batch=1, interval="10m", queue=50)
    content(proxy, app)
    trouble(proxy)
    collector = gone(proxy, collector, 50)
    proxy.stop()
    drained(start(batch=100, interval="10m", queue=100))
    reloaded(start(batch=100, interval="10m", queue=100))
    # Batches by time.
    proxy = start(batch=100, interval="1s", queue=100)
    n = len(Collector.batches)
    for _ in range(10):
        rig.check(ask(proxy, "/own", 50).status == 204, "a request")
    rig.until(lambda: sum(s["traceId"] == trace_of(50) for s in spans()) == 10, "spans of an interval")
    rig.check(len(Collector.batches) < n + 10, "batches")
    proxy.stop()
    collector.close()


if __name__ == "__main__":
    rig.main(test)
