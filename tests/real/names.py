#!/usr/bin/env python3
"""Servers whose names change, with a real nameserver (dnsmasq): addresses that change, come and go
under load, services (SRV), answers too long for UDP, nameservers that die or have no answer, and
reloads during all of it."""
# asan
import os
import signal
import socket
import subprocess
import threading
import time

import rig

CONFIG = """
resolver: {{ servers: [127.0.0.1:{dns}], ttl_min: 200ms }}
upstreams:
  app: {{ servers: [app.test:{origin}], connect_timeout: 2s }}
  service: {{ servers: ["srv:_http._tcp.test"] }}
  many: {{ servers: [many.test:{origin}] }}
  later: {{ servers: [later.test:{origin}] }}
  partly: {{ servers: [later.test:{origin}, "127.0.0.4:{origin}"] }}
  no_cache: {{ protocol: memcached, servers: [no-cache.test:{cache}] }}
  local: {{ servers: [localhost:{origin}] }}
  cache: {{ protocol: memcached, servers: [cache.test:{cache}] }}
routes:
  - prefix: /service
    proxy: {{ upstream: service }}
  - prefix: /local
    proxy: {{ upstream: local }}
  - prefix: /later
    proxy: {{ upstream: later }}
  - prefix: /partly
    proxy: {{ upstream: partly }}
  - prefix: /no-cache/
    memcached: {{ upstream: no_cache, key: "${{path.rest}}" }}
  - prefix: /many
    proxy: {{ upstream: many }}
  - prefix: /cache/
    memcached: {{ upstream: cache, key: "${{path.rest}}" }}
  - prefix: /
    proxy: {{ upstream: app }}
"""
ORIGIN = """
listen [::1]:{port}; {listens}
location / {{ default_type text/plain; return 200 "$server_addr:$server_port"; }}
location /slow {{ limit_rate 40k; alias {file}; }}
"""
MANY, USED = 1100, 1024    # addresses that do not fit into a datagram; how many are used
SLOW = 120000


class Nameserver:
    """dnsmasq, with records from a file and from its command line."""

    def __init__(self, port, services=()):
        self.port, self.services = port, services
        self.hosts = os.path.join(rig.TMP, f"hosts-{port}")
        self.program = None

    def tell(self, hosts):
        """{name: addresses}"""
        with open(self.hosts + ".new", "w") as f:
            for name, addresses in hosts.items():
                f.writelines(f"{a} {name}\n" for a in addresses)
        os.rename(self.hosts + ".new", self.hosts)
        if self.program:
            self.program.signal(signal.SIGHUP)

    def start(self):
        user = ["--user=root"] if os.getuid() == 0 else []
        self.program = rig.Program("dnsmasq", [
            os.path.join(rig.PEERS, "dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null",
            f"--port={self.port}", "--listen-address=127.0.0.1", "--bind-interfaces",
            "--no-resolv", "--no-hosts", f"--addn-hosts={self.hosts}", "--local-ttl=1",
            "--local=/test/", f"--pid-file={self.hosts}.pid", "--log-facility=-",
            *(f"--srv-host={s}" for s in self.services), *user])
        rig.until(lambda: rig.accepts(self.port), "dnsmasq")

    def kill(self):
        self.program.signal(signal.SIGKILL)
        self.program.ended()
        self.program = None


class Load:
    """Sends requests on persistent connections all the time, and checks each response."""

    def __init__(self, port):
        self.port, self.answers, self.over, self.wrong = port, {}, False, []
        self.threads = [threading.Thread(target=self.run) for _ in range(3)]
        for t in self.threads:
            t.start()

    def run(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), rig.PATIENCE_S) as s:
                f = s.makefile("rb")
                while not self.over:
                    s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    self.take(f)
                    time.sleep(0.002)
        except Exception as e:    # noqa: end() reports what went wrong
            self.wrong.append(repr(e))

    def take(self, f):
        status = f.readline()
        length = 0
        while (line := f.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = f.read(length).decode()
        if b" 200 " not in status:
            self.wrong.append(status.decode())
        self.answers[body] = self.answers.get(body, 0) + 1

    def end(self):
        self.over = True
        for t in self.threads:
            t.join()
        rig.check(not self.wrong, f"{len(self.wrong)} failed: {self.wrong[:3]}")
        return self.answers


def asked(proxy, path="/", times=12):
    """Which servers answer, in so many requests."""
    return {rig.get(proxy.port, path).body.decode() for _ in range(times)}


def becomes(proxy, expected, path="/"):
    rig.until(lambda: asked(proxy, path) == expected, f"{path} from {expected}")


def moves(proxy, dns, origin):
    """From one address to another, to both, to an IPv6 one; requests in flight are completed."""
    at = lambda *addresses: {f"{a}:{origin}" for a in addresses}
    becomes(proxy, at("127.0.0.2"))
    slow = []
    begun = threading.Event()

    def ask_slowly():
        with socket.create_connection(("127.0.0.1", proxy.port), rig.PATIENCE_S) as s:
            s.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            text = s.recv(65536)
            begun.set()
            while piece := s.recv(65536):
                text += piece
            slow.append(len(text.partition(b"\r\n\r\n")[2]))

    thread = threading.Thread(target=ask_slowly)
    thread.start()
    begun.wait(rig.PATIENCE_S)
    load = Load(proxy.port)
    for hosts in (["127.0.0.3"], ["127.0.0.2", "127.0.0.3"], ["127.0.0.3"], ["::1"],
                  ["127.0.0.3", "127.0.0.4"]):
        dns.tell({**NAMES, "app.test": hosts})
        becomes(proxy, at(*hosts))
    answers = load.end()
    thread.join()
    rig.check(slow == [SLOW], f"the slow response has {slow} bytes")
    print(f"{rig.ENGINE}: {sum(answers.values())} requests while the name moved: {answers}")
    rig.check(proxy.said(f"upstream app: app.test:{origin} is now 127.0.0.3:{origin}"), "no log")


def stays(proxy, dns, origin):
    """A server that stays keeps its connections when others come and go."""
    becomes(proxy, {f"127.0.0.3:{origin}", f"127.0.0.4:{origin}"})
    with socket.create_connection(("127.0.0.1", proxy.port), rig.PATIENCE_S):
        before = proxy.metrics()["upstream_connections_idle"]
        changes = proxy.metrics()["resolver_changes_total"]
        dns.tell({**NAMES, "app.test": ["127.0.0.3", "127.0.0.4", "127.0.0.2"]})
        rig.until(lambda: proxy.metrics()["resolver_changes_total"] > changes, "a change")
        rig.check(proxy.metrics()["upstream_connections_idle"] >= before,
                  f"of {before} idle connections not all are left")


def nameserver_silent(proxy, dns, origin):
    """The last answer stays in use while there is none, or while the name does not exist."""
    dns.tell({**NAMES, "app.test": ["127.0.0.2"]})
    becomes(proxy, {f"127.0.0.2:{origin}"})
    dns.kill()
    failures = proxy.metrics()["resolver_failures_total"]
    load = Load(proxy.port)
    rig.until(lambda: proxy.metrics()["resolver_failures_total"] > failures + 2, "failures")
    rig.until(lambda: proxy.said(f"app.test:{origin} cannot be resolved ("), "a line")
    dns.tell({**NAMES, "app.test": ["127.0.0.3"]})
    dns.start()
    becomes(proxy, {f"127.0.0.3:{origin}"})
    rig.check(set(load.end()) == {f"127.0.0.2:{origin}", f"127.0.0.3:{origin}"}, "another one")
    rig.check(proxy.said(f"app.test:{origin} can be resolved again"), "no second line")
    dns.tell({n: a for n, a in NAMES.items() if n != "app.test"})
    failures = proxy.metrics()["resolver_failures_total"]
    rig.until(lambda: proxy.metrics()["resolver_failures_total"] > failures, "no such name")
    rig.check(asked(proxy) == {f"127.0.0.3:{origin}"}, "the last answer is no longer used")
    rig.check(proxy.said("(there is no such name)"), "the reason is not logged")


def reload(proxy, times=1):
    for _ in range(times):
        before = proxy.log().count("fairlead: reloaded")
        proxy.signal(signal.SIGHUP)
        rig.until(lambda: proxy.log().count("fairlead: reloaded") > before, "a reload")


def configure(proxy, config):
    with open(proxy.path, "w") as f:
        f.write(f"listen: [127.0.0.1:{proxy.port}]\nadmin: 127.0.0.1:{proxy.admin}\n")
        f.write(config.format(**PORTS))


def reloads(proxy, dns, origin):
    """Reloads while names move: nothing is lost."""
    dns.tell({**NAMES, "app.test": ["127.0.0.3"]})
    becomes(proxy, {f"127.0.0.3:{origin}"})
    load = Load(proxy.port)
    reload(proxy, 5)
    dns.tell({**NAMES, "app.test": ["127.0.0.4"]})
    becomes(proxy, {f"127.0.0.4:{origin}"})
    reload(proxy, 5)
    load.end()
    dns.kill()    # a reload and an upgrade without it: the last answer stays in use
    reload(proxy)
    rig.check(asked(proxy) == {f"127.0.0.4:{origin}"}, "the last answer is no longer used")
    before = proxy.log().count("fairlead: ready")
    proxy.signal(signal.SIGUSR2)
    rig.until(lambda: proxy.log().count("fairlead: ready") > before, "an upgrade")
    rig.check(asked(proxy, times=40) <= {f"127.0.0.3:{origin}", f"127.0.0.4:{origin}"},
              "an upgrade has forgotten what the name stood for")
    configure(proxy, CONFIG.replace("ttl_min", "strict: true, ttl_min"))
    before = proxy.log().count("not reloaded")
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.log().count("not reloaded") > before, "a refusal")
    configure(proxy, CONFIG)
    dns.start()


def unknown_at_start(proxy, dns, origin):
    """Names without an address at the start: the rest is served, later these names as well."""
    rig.check(proxy.said("warning: 'later.test' cannot be resolved (there is no such name): "
                         "upstream 'later' starts without it"), "no warning")
    answer = rig.get(proxy.port, "/later")
    rig.check(answer.status == 503 and
              "error=dns_error" in answer.field("Proxy-Status"), answer.head)
    rig.check(asked(proxy, "/partly") == {f"127.0.0.4:{origin}"}, "one of two")
    rig.check(rig.get(proxy.port, "/no-cache/x").status == 404, "a cache that is not there")
    gauge = f'resolver_addresses{{upstream="later",server="later.test:{origin}"}} '
    text = lambda: rig.get(proxy.admin, "/metrics").body.decode()
    rig.check(gauge + "0\n" in text(), "no gauge")
    dns.tell({**NAMES, "later.test": ["127.0.0.2", "127.0.0.3"]})
    becomes(proxy, {f"127.0.0.2:{origin}", f"127.0.0.3:{origin}"}, "/later")
    becomes(proxy, {f"127.0.0.{i}:{origin}" for i in (2, 3, 4)}, "/partly")
    rig.check(gauge + "2\n" in text(), "the gauge")
    rig.check(proxy.said(f"later.test:{origin} can be resolved again"), "no line")
    dns.tell(NAMES)


def refused_at_start(dns, origin):
    """A name that cannot be resolved at the start is reported with its place and the reason."""
    path = os.path.join(rig.TMP, "refused.yaml")
    dead, = rig.free_ports(1)
    for server, resolver, why in (
            (f"nowhere.test:{origin}", dns.port, "(there is no such name)"),
            ("'srv:_none._tcp.test'", dns.port, "(there is no such name)"),
            (f"app.test:{origin}", dead, "(no nameserver ")):
        with open(path, "w") as f:
            f.write(f"listen: [127.0.0.1:{dead}]\nresolver: 127.0.0.1:{resolver}\nupstreams:\n"
                    f"  app: {{ servers: [{server}] }}\n"
                    "routes: [{ prefix: /, proxy: { upstream: app } }]\n")
        told = subprocess.run([rig.FAIRLEAD, "-t", "-c", path], capture_output=True, text=True)
        rig.check(told.returncode == 1 and f"{path}:4:" in told.stderr and
                  f"cannot be resolved {why}" in told.stderr, f"{server}: {told.stderr}")


def many_addresses(proxy, origin):
    """More addresses than are used, in another order in each answer: the same ones stay in use."""
    def metric(name):
        text = rig.get(proxy.admin, "/metrics").body.decode()
        return int(text.partition(f'{name}{{upstream="many",server="many.test:{origin}"}} ')[2]
                   .partition("\n")[0] or 0)

    rig.until(lambda: metric("resolver_addresses") == USED, f"{USED} of {MANY}, over TCP")
    changes, lookups = metric("resolver_changes_total"), metric("resolver_lookups_total")
    rig.until(lambda: metric("resolver_lookups_total") >= lookups + 3, "three more answers")
    rig.check(metric("resolver_changes_total") == changes, "servers come and go")
    told = f"many.test:{origin} has more than {USED} addresses"
    rig.check(proxy.log().count(told) == 1, f"not logged once: {told}")


NAMES = {}
PORTS = {}


def main():
    ports = rig.free_ports(4)
    dns_port, origin, other, cache = ports
    file = os.path.join(rig.TMP, "slow")
    with open(file, "wb") as f:
        f.write(b"x" * SLOW)
    listens = " ".join(f"listen 127.0.0.{i}:{origin};" for i in (2, 3, 4))
    rig.nginx(origin, ORIGIN.format(port=origin, listens=listens, file=file))
    rig.nginx(other, 'location / { return 200 "$server_addr:$server_port"; }')
    rig.memcached(cache)
    NAMES.update({"app.test": ["127.0.0.2"], "cache.test": ["127.0.0.1"],
                  "many.test": [f"127.0.{1 + i // 250}.{1 + i % 250}" for i in range(MANY)],
                  "one.test": ["127.0.0.1"], "two.test": ["127.0.0.2"]})
    dns = Nameserver(dns_port, [f"_http._tcp.test,one.test,{other},10,3",
                                f"_http._tcp.test,two.test,{origin},10,1",
                                f"_http._tcp.test,two.test,{cache},20,1"])
    dns.tell(NAMES)
    dns.start()
    PORTS.update(dns=dns_port, origin=origin, cache=cache)
    proxy = rig.Fairlead(CONFIG.format(**PORTS))
    unknown_at_start(proxy, dns, origin)
    becomes(proxy, {f"127.0.0.1:{other}", f"127.0.0.2:{origin}"}, "/service")
    first = sum(rig.get(proxy.port, "/service").body == f"127.0.0.1:{other}".encode()
                for _ in range(40))
    rig.check(26 <= first <= 34, f"{first} of 40 where 3 of 4 are due")
    rig.check(rig.get(proxy.port, "/local").status == 200, "localhost")
    rig.check(rig.get(proxy.port, "/cache/x").status == 404, "memcached by name")
    many_addresses(proxy, origin)
    moves(proxy, dns, origin)
    stays(proxy, dns, origin)
    nameserver_silent(proxy, dns, origin)
    reloads(proxy, dns, origin)
    refused_at_start(dns, origin)


rig.main(main)
