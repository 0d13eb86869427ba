#!/usr/bin/env python3
"""Each line of the example configurations, against the lab with a shorter delay; and study
routes are refused without `study: true`. Times are compared only roughly."""
# asan
import json
import os
import re
import subprocess
import threading
import time

import rig

DELAY_S = 0.3


def took(call):
    began = time.monotonic()
    value = call()
    return time.monotonic() - began, value


def together(n, call):
    threads = [threading.Thread(target=call) for _ in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def curl(proxy, path, *more):
    """Does what the comments in the examples say."""
    r = subprocess.run(["curl", "-s", "-i", "--max-time", "20", *more, proxy.url + path],
                       capture_output=True)
    head, _, body = r.stdout.partition(b"\r\n\r\n")
    rig.check(r.returncode == 0 and head, f"curl {path}: status {r.returncode}")
    return rig.Answer(head, body)


def quickstart(http, memcached):
    proxy = rig.Fairlead(rig.example("quickstart", http, memcached))
    for path in ("/sync", "/async"):
        seconds, a = took(lambda: curl(proxy, path))
        rig.check((a.status, a.body) == (200, b"ok\n"), f"{path}: {a.status} {a.body}")
        rig.check(seconds >= DELAY_S, f"{path} in {seconds} s")
    a = curl(proxy, "/cache")
    rig.check((a.status, a.body, a.field("Content-Type")) == (200, b"bar", "text/plain"),
              f"/cache: {a.head} {a.body}")
    rig.check(curl(proxy, "/sessions/alice").body == b"in", "/sessions/alice")
    rig.check(curl(proxy, "/sessions/nobody").status == 404, "/sessions/nobody")
    rig.check(b"Host: " in curl(proxy, "/headers").body, "/headers")
    rig.check(len(curl(proxy, "/bytes/1000").body) == 1000, "/bytes/1000")
    a = curl(proxy, "/echo", "-d", "what goes in")
    rig.check(a.body == b"what goes in", f"/echo: {a.body}")
    rig.check(a.field("Via") == "1.1 fairlead", f"Via: {a.field('Via')}")
    rig.check(proxy.metrics()["requests_total"] == 8, "requests that were counted")
    rig.check(rig.get(proxy.admin, "/healthz").body == b"ok\n", "/healthz")
    rig.until(lambda: proxy.log().count("curl/") == 8, "the access log")
    proxy.stop()


def page(proxy):
    """A check and two parts: two delays in sequence, not three."""
    a = curl(proxy, "/page")
    rig.check(a.status == 302 and a.field("Location") == "/login/", f"{a.head}")
    rig.check(curl(proxy, "/page", "-b", "session=nobody").status == 302, "an unknown session")
    rig.check(curl(proxy, a.field("Location")).status == 200, "/login/")
    seconds, a = rig.becomes(lambda: took(lambda: curl(proxy, "/page", "-b", "session=alice")),
                             lambda r: r[0] < 3 * DELAY_S, "/page one after the other")
    rig.check(a.status == 200, f"{a.head} {a.body}")
    rig.check(json.loads(a.body) == {"session": "in", "cached": {"status": 200, "body": "bar"},
                                     "origin": {"status": 200, "body": "ok\n"}}, f"{a.body}")
    rig.check(2 * DELAY_S <= seconds, f"/page took {seconds} s")


def block(proxy):
    """What not to do: requests run in sequence, and no other is served meanwhile."""
    seconds, _ = took(lambda: together(4, lambda: curl(proxy, "/block")))
    rig.check(seconds >= 4 * DELAY_S, f"4 of /block took only {seconds} s")
    rig.becomes(lambda: took(lambda: together(4, lambda: curl(proxy, "/sync")))[0],
                lambda seconds: seconds < 4 * DELAY_S, "4 of /sync took")


def cpu(proxy):
    """On the worker it blocks all other requests, on the pool it does not."""
    def beside(path):
        answers = []
        burn = threading.Thread(target=lambda: answers.append(curl(proxy, path + "?ms=1500")))
        burn.start()
        time.sleep(0.3)    # by now it mostly computes
        seconds, a = took(lambda: curl(proxy, "/login/"))
        burn.join()
        rig.check(a.status == 200 and answers[0].status == 200, f"{path}: {answers[0].head}")
        return seconds

    rig.becomes(lambda: beside("/cpu"), lambda seconds: seconds > 0.7, "/login/ beside /cpu")
    rig.becomes(lambda: beside("/cpu/pool"), lambda seconds: seconds < 0.7,
                "/login/ beside /cpu/pool")


def concurrency(http, memcached):
    # One worker, so that the blocked requests are known.
    proxy = rig.Fairlead(rig.example("concurrency", http, memcached), workers=1)
    for path, body in (("/sync", b"ok\n"), ("/async", b"ok\n"), ("/cache", b"bar"),
                       ("/block", b"ok\n")):
        a = curl(proxy, path)
        rig.check((a.status, a.body) == (200, body), f"{path}: {a.status} {a.body}")
    for path in ("/sync", "/cache"):
        seconds = rig.becomes(lambda: took(lambda: together(10, lambda: curl(proxy, path)))[0],
                              lambda seconds: seconds < 6 * DELAY_S, f"10 of {path} took")
        rig.check(DELAY_S <= seconds, f"10 of {path} took {seconds} s")
    page(proxy)
    block(proxy)
    cpu(proxy)
    proxy.stop()


def refused_without_study(http, memcached):
    """-t names each of them."""
    text = rig.example("concurrency", http, memcached)
    path = os.path.join(rig.TMP, "study.yaml")
    with open(path, "w") as f:
        f.write("listen: [127.0.0.1:1]\n" + re.sub(r"(?m)^study:.*\n", "", text))
    r = subprocess.run([rig.FAIRLEAD, "-t", "-c", path], capture_output=True, text=True)
    refusals = [line for line in r.stderr.splitlines() if "study: true" in line]
    rig.check(r.returncode == 1 and len(refusals) == 4, f"{r}")


def https(http):
    """With the certificate that the example's command makes, in the folder of its file."""
    with open(os.path.join(rig.ROOT, "examples/https.yaml")) as f:
        text = f.read()
    command = re.search(r"#   (openssl req .*\\\n)#     (-subj .*)\n", text)
    subprocess.run(command[1] + command[2], shell=True, check=True, cwd=rig.TMP,
                   capture_output=True)
    plain, secure = rig.free_ports(2)
    text = re.sub(r"(?m)^admin:.*\n", "", text).replace("127.0.0.1:6000", f"127.0.0.1:{http}")
    # Whole numbers: a port of ours may have these digits in it.
    text = re.sub(r"\b8443\b", str(secure), text.replace("127.0.0.1:8080", f"127.0.0.1:{plain}"))
    path = os.path.join(rig.TMP, "https.yaml")
    with open(path, "w") as f:
        f.write(text)
    checked = subprocess.run([rig.FAIRLEAD, "-t", "-c", path], capture_output=True, text=True)
    rig.check(checked.returncode == 0 and "www.crt: localhost (ECDSA, until 2" in checked.stdout,
              f"{checked}")
    proxy = rig.Program("https", [rig.FAIRLEAD, "-c", path, "--engine", rig.ENGINE],
                        ready="fairlead: ready")
    for url, status in ((f"http://localhost:{plain}/x?y=1", 308),
                        (f"https://localhost:{secure}/bytes/10", 200)):
        r = subprocess.run(["curl", "-s", "-i", "--max-time", "20", "--cacert",
                            os.path.join(rig.TMP, "www.crt"), url], capture_output=True, text=True)
        rig.check(f" {status} " in r.stdout, f"{url}: {r}")
        rig.check(status == 200 or f"https://localhost:{secure}/x?y=1" in r.stdout, f"{r}")
    proxy.stop()


def main():
    http, memcached = rig.free_ports(2)
    rig.lab(f"{int(DELAY_S * 1000)}ms", http, memcached, "--item", "session:alice=in")
    quickstart(http, memcached)
    concurrency(http, memcached)
    refused_without_study(http, memcached)
    https(http)


rig.main(main)
