#!/usr/bin/env python3
"""/metrics and Prometheus: promtool finds nothing to complain about; the alerts of
examples/prometheus load, and each fires when its test says; every metric that they and the dashboard
name exists; a Prometheus that scrapes fairlead evaluates each expression of both."""
# timeout: 120
import json
import os
import re
import shutil
import subprocess
import urllib.parse

import rig
import tlsrig

FOLDER = os.path.join(rig.ROOT, "examples/prometheus")
CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{app}], health_check: {{ path: /status/200, interval: 1s }} }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""
SCRAPER = """
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: [ {rules} ]
scrape_configs:
  - job_name: fairlead
    static_configs: [ {{ targets: [ 127.0.0.1:{admin} ] }} ]
"""


def promtool(*arguments, text=""):
    done = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True,
                          check=False, cwd=FOLDER)
    rig.check(done.returncode == 0, lambda: f"promtool {arguments}: {done.stdout} {done.stderr}")
    return done


def metrics(proxy):
    """Names of the samples; promtool has nothing to say about them."""
    for path in "/metrics", "/metrics?by=worker":
        text = rig.get(proxy.admin, path).body.decode()
        done = promtool("check", "metrics", text=text)
        rig.check(done.stdout + done.stderr == "", lambda: f"{path}: {done.stdout} {done.stderr}")
    return {line.partition(" ")[0].partition("{")[0] for line in text.splitlines() if line[0] != "#"}


def expressions():
    """Of the alerts and the dashboard, with its variables replaced."""
    with open(os.path.join(FOLDER, "alerts.yaml")) as f:
        rules = f.read()
    with open(os.path.join(FOLDER, "dashboard.json")) as f:
        panels = json.load(f)["panels"]
    alerts = re.findall(r"expr: (?:\|\n)?((?:.+)(?:\n {12}.+)*)", rules)
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    rig.check(len(alerts) == rules.count("- alert:") and len(queries) > 20, "expressions")
    return [e.replace("$__rate_interval", "10s").replace("$instance", ".*").replace("$upstream", ".*")
            for e in alerts + queries]


def ask(port, made):
    with tlsrig.Socket(port, tlsrig.context(made)) as client:
        client.sendall(b"GET /bytes/10 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return client.recv(4096)


def evaluated(proxy, made):
    port, = rig.free_ports(1)
    path = os.path.join(rig.TMP, "prometheus.yaml")
    with open(path, "w") as f:
        f.write(SCRAPER.format(admin=proxy.admin, rules=os.path.join(FOLDER, "alerts.yaml")))
    rig.Program("prometheus", ["prometheus", f"--config.file={path}",
                               f"--storage.tsdb.path={rig.TMP}/prometheus",
                               f"--web.listen-address=127.0.0.1:{port}"],
                ready="Server is ready to receive web requests")

    def query(expression):
        found = rig.get(port, "/api/v1/query?query=" + urllib.parse.quote(expression))
        answer = json.loads(found.body)
        rig.check(answer["status"] == "success", lambda: f"{expression}: {answer}")
        return answer["data"]["result"]
    rig.until(lambda: query("up == 1"), "a scrape")
    for expression in expressions():
        query(expression)
    quantile = "histogram_quantile(0.99, sum by (le) (rate(fairlead_request_seconds_bucket[10s]))) > 0"
    rig.until(lambda: ask(proxy.port, made) and query(quantile), "a quantile")
    rig.check(not query('ALERTS{alertstate="firing"}'), "alerts of a proxy that is well")


def test():
    if not shutil.which("promtool"):
        rig.skip("no promtool")
    app, = rig.free_ports(1)
    rig.lab("1ms", app)
    made = tlsrig.Pki()
    proxy = rig.Fairlead(CONFIG.format(app=app), tls=made.tls())
    # Histograms by phase appear with their first value.
    rig.check(b"200" in ask(proxy.port, made), "a request")
    rig.until(lambda: proxy.samples("route_phase_seconds_count", phase="total") == 1, "its phases")
    names = metrics(proxy)
    promtool("check", "config", "prometheus.yaml")
    promtool("test", "rules", "alerts-test.yaml")
    for expression in expressions():
        for name in re.findall(r"fairlead_\w+", expression):
            rig.check(name in names, f"{name}: no such metric, in {expression}")
    evaluated(proxy, made)


if __name__ == "__main__":
    rig.main(test)
