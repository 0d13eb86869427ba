#!/usr/bin/env python3
"""The PROXY protocol with nginx and HAProxy on both sides, versions 1 and 2: who the client is for
an origin behind fairlead, also of a client that came through HAProxy; connections to such origins
are for one client; health checks are accepted."""
# timeout: 60
# asan
import os
import re
import socket

import rig

NGINX = """
listen 127.0.0.1:{proxied} proxy_protocol;
location / {{
    default_type text/plain;
    return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port $connection\\n";
}}
"""
# The one in front forwards connections; the one behind says whom its headers name.
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
frontend origin
    bind 127.0.0.1:{origin} accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst_port] %[fc_pp_authority]"
listen front1
    mode tcp
    bind 127.0.0.1:{front1}
    server f 127.0.0.1:{fairlead} send-proxy
listen front2
    mode tcp
    bind 127.0.0.1:{front2}
    server f 127.0.0.1:{fairlead} send-proxy-v2
"""
CONFIG = """
upstreams:
  v1:
    servers: [127.0.0.1:{nginx}]
    proxy_protocol: v1
    health_check: {{ interval: 100ms }}
  v2:
    servers: [127.0.0.1:{nginx}]
    proxy_protocol: v2
    health_check: {{ interval: 100ms }}
  haproxy:
    servers: [127.0.0.1:{haproxy}]
    proxy_protocol: v2
    health_check: {{ interval: 100ms, type: tcp }}
  plain: {{ servers: [127.0.0.1:{plain}] }}
routes:
  - {{ prefix: /v1, proxy: {{ upstream: v1 }} }}
  - {{ prefix: /v2, proxy: {{ upstream: v2 }} }}
  - {{ prefix: /haproxy, proxy: {{ upstream: haproxy }} }}
  - {{ prefix: /plain, proxy: {{ upstream: plain }} }}
"""
CLIENT = "127.0.0.5"


class Client:
    def __init__(self, port, source=CLIENT):
        self.s = socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S, (source, 0))
        self.port = str(self.s.getsockname()[1])
        self.file = self.s.makefile("rb")

    def ask(self, path):
        """The words of the body."""
        self.s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.file.readline()
            rig.check(line, f"no response to {path}: {head}")
            head += line
        rig.check(b" 200 " in head, head)
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        return self.file.read(length).decode().split()


def equal(got, wanted):
    rig.check(got == wanted, lambda: f"{got!r}, not {wanted!r}")


def origins_are_told(p, port, listens):
    """port: where clients connect; listens: the port that they connect to, as origins are told."""
    for path in "/v1", "/v2", "/haproxy":
        c = Client(port)
        equal(c.ask(path)[:3], [CLIENT, c.port, str(listens)])


def connections_have_one_client(p):
    first, second = Client(p.port), Client(p.port, "127.0.0.6")
    for path in "/v1", "/v2":
        mine = {first.ask(path)[3] for _ in range(5)}
        theirs = {second.ask(path)[3] for _ in range(5)}
        rig.check(len(mine) == 1 and len(theirs) == 1 and mine != theirs, f"{mine}, {theirs}")
    connections = p.metrics()["upstream_connections"]
    rig.check(connections >= 4, connections)
    first.s.close()
    second.s.close()
    rig.until(lambda: p.metrics()["upstream_connections"] == 0, "connections to be closed")


def health_checks_pass(p):
    """Those of servers that take connections with a header only."""
    rig.until(lambda: len(servers(p)) >= 3 and all(s["up"] for s in servers(p)), "servers to be up")


def servers(p):
    text = rig.get(p.admin, "/metrics").body.decode()
    found = re.findall(r'fairlead_health_up\{(.*?)\} (\d)', text)
    return [{"labels": labels, "up": up == "1"} for labels, up in found]


def test():
    plain, proxied, origin, front1, front2, direct = rig.free_ports(6)
    rig.nginx(plain, server=NGINX.format(proxied=proxied))
    config = CONFIG.format(nginx=proxied, haproxy=origin, plain=plain)
    p = rig.Fairlead(config, port=direct)
    behind = rig.Fairlead(config, proxy_protocol="{ from: [127.0.0.1] }")
    path = os.path.join(rig.TMP, "haproxy.cfg")
    with open(path, "w") as f:
        f.write(HAPROXY.format(origin=origin, front1=front1, front2=front2, fairlead=behind.port))
    rig.Program("haproxy", [os.path.join(rig.PEERS, "haproxy"), "-db", "-f", path])
    rig.until(lambda: rig.accepts(front2), "haproxy")

    health_checks_pass(p)
    origins_are_told(p, direct, direct)
    origins_are_told(behind, front1, front1)
    origins_are_told(behind, front2, front2)
    # Who is no trusted proxy is a client.
    equal(Client(behind.port).ask("/v2")[0], CLIENT)
    connections_have_one_client(p)
    rig.check(rig.running[0].alive() and "broken header" not in rig.running[0].log(),
              rig.running[0].log)


if __name__ == "__main__":
    rig.main(test)
