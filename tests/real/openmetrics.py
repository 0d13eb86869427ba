#!/usr/bin/env python3
"""/metrics in OpenMetrics: only if a client prefers it; the parser of prometheus_client accepts it
and finds the same values as in the text format; exemplars name the sampled trace of their bucket."""
import re

import rig

try:
    from prometheus_client import parser as text_parser
    from prometheus_client.openmetrics import parser
except ImportError:
    parser = None

TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS = ("application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;"
              "version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER = "1af7651916cd43dd8448eb211c80319c"
CONFIG = """
trusted_proxies: [127.0.0.0/8]
tracing: {{ sample: 0%, exemplars: {exemplars} }}
upstreams: {{ app: {{ servers: [127.0.0.1:{app}], health_check: {{ path: /status/200, interval: 1s }} }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""


def scrape(proxy, path="/metrics"):
    answer = rig.get(proxy.admin, path, f"Accept: {PROMETHEUS}\r\n")
    rig.check(answer.field("Content-Type") == TYPE, answer.head)
    text = answer.body.decode()
    rig.check(text.endswith("\n# EOF\n") and text.count("# EOF") == 1, text[-80:])
    return list(parser.text_string_to_metric_families(text))


def negotiated(proxy):
    for accept, wanted in ((None, False), ("*/*", False), ("text/plain", False), ("text/html,*/*;q=0.8", False),
                           ("application/openmetrics-text", True), (PROMETHEUS, True),
                           ("application/openmetrics-text;q=0.2, text/plain", False),
                           ("application/openmetrics-text;q=0, */*", False)):
        answer = rig.get(proxy.admin, "/metrics", f"Accept: {accept}\r\n" if accept else "")
        rig.check((answer.field("Content-Type") == TYPE) == wanted, lambda: f"{accept}: {answer.head}")
        rig.check(wanted == answer.body.endswith(b"# EOF\n"), f"{accept}: the end")


def same_values(proxy):
    """Families, their types and labels as in the text format; the suffix of counters apart."""
    for path in "/metrics", "/metrics?by=worker":
        text = rig.get(proxy.admin, path).body.decode()
        before = {(s.name, tuple(sorted(s.labels.items())))
                  for f in text_parser.text_string_to_metric_families(text) for s in f.samples}
        families = scrape(proxy, path)
        after = {(s.name, tuple(sorted(s.labels.items()))) for f in families for s in f.samples}
        rig.check(before == after, lambda: f"{before ^ after}")
        for f in families:
            rig.check(not f.name.endswith("_total") and f.documentation, f.name)
    rig.check(len(families) > 50, families)


def exemplars(families):
    """{trace: [(le, value)]}"""
    found = {}
    for f in families:
        for s in f.samples:
            if s.exemplar:
                rig.check(s.name == "fairlead_request_seconds_bucket", s)
                rig.check(set(s.exemplar.labels) == {"trace_id"} and float(s.exemplar.timestamp) > 1e9, s)
                found.setdefault(s.exemplar.labels["trace_id"], []).append(
                    (float(s.labels["le"]), s.exemplar.value))
    return found


def ask(proxy, path, trace, flags="01"):
    rig.check(rig.get(proxy.port, path, f"traceparent: 00-{trace}-b7ad6b7169203331-{flags}\r\n").status == 200,
              path)


def test():
    if not parser:
        rig.skip("no prometheus_client")
    app, = rig.free_ports(1)
    rig.lab("0ms", app)
    proxy = rig.Fairlead(CONFIG.format(app=app, exemplars="on"))
    negotiated(proxy)
    same_values(proxy)
    rig.check(not exemplars(scrape(proxy)), "exemplars before a request")
    ask(proxy, "/bytes/10", OTHER, "00")
    ask(proxy, "/delay/300", TRACE)
    found = rig.until(lambda: exemplars(scrape(proxy)), "an exemplar")
    (le, value), = found[TRACE]
    rig.check(list(found) == [TRACE] and 0.27 <= value <= le and le / 2 <= value, found)
    # The last one of a bucket.
    ask(proxy, "/delay/300", OTHER)
    rig.until(lambda: OTHER in exemplars(scrape(proxy)), "another exemplar")
    rig.check(not re.search(" # {", rig.get(proxy.admin, "/metrics").body.decode()), "text has none")
    proxy.stop()
    proxy = rig.Fairlead(CONFIG.format(app=app, exemplars="off"))
    ask(proxy, "/bytes/10", TRACE)
    rig.until(lambda: proxy.samples("request_seconds_count") == 1, "the request")
    rig.check(not exemplars(scrape(proxy)), "exemplars that nobody asked for")


if __name__ == "__main__":
    rig.main(test)
