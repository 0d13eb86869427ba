#!/usr/bin/env python3
"""Clients that read slowly get all of their response: when it ends the connection, when the proxy
drains, and past send_timeout as long as they read. Clients that send single bytes use up no
pool. Requests that wait in the queue at the end of a drain are freed once.

In a network namespace of its own, so that the kernel buffers little and the proxy the rest."""
# asan
import concurrent.futures
import ctypes
import fcntl
import os
import signal
import socket
import struct
import threading
import time

import rig

SIZE = 100_000     # all of it fits the proxy's outbox
RATE = 12_500      # bytes a second
STARTING = threading.Lock()    # two would choose the same free ports
CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}], queue_timeout: 60s{upstream} }} }}
study: true
routes:
  - path: /join
    join:
      parts:
        a: {{ proxy: {{ upstream: app, path: /fault/never }} }}
        b: {{ proxy: {{ upstream: app, path: /fault/never }} }}
        c: {{ proxy: {{ upstream: app, path: /fault/never }} }}
  - prefix: /
    proxy: {{ upstream: app }}
limits: {{ {limits} }}
"""


def network_namespace():
    """A network namespace whose sockets buffer only a few KiB."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_net, new_user = 0x40000000, 0x10000000
    if libc.unshare(new_net) != 0 and libc.unshare(new_net | new_user) != 0:
        rig.skip(f"no network of its own: {os.strerror(ctypes.get_errno())}")
    with socket.socket() as s:    # SIOCSIFFLAGS: IFF_UP, IFF_RUNNING
        fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
    with open("/proc/sys/net/ipv4/tcp_wmem", "w") as f:
        f.write("4096 8192 8192")


def proxy(origin, limits="idle_timeout: 60s", upstream=""):
    with STARTING:
        return rig.Fairlead(CONFIG.format(origin=origin, limits=limits, upstream=upstream),
                            workers=1)


def asked(fairlead, path, fields=""):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.settimeout(rig.PATIENCE_S)
    s.connect(("127.0.0.1", fairlead.port))
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode())
    return s


def read_slowly(s, size=SIZE):
    """The bytes of the body, and how the connection ended."""
    text, began, end = b"", time.monotonic(), "whole"
    while len(text.partition(b"\r\n\r\n")[2]) < size:
        try:
            piece = s.recv(RATE // 10)
        except OSError as e:
            end = str(e)
            break
        if not piece:
            end = "ended"
            break
        text += piece
        time.sleep(max(0, began + len(text) / RATE - time.monotonic()))
    return len(text.partition(b"\r\n\r\n")[2]), end, time.monotonic() - began


def read_whole(what, *readers):
    """All at the same time, because slow reading takes long."""
    results = []
    threads = [threading.Thread(target=lambda s=s: results.append(read_slowly(s)))
               for s in readers]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(f"{rig.ENGINE}: {what}: " + ", ".join(
        f"{n} of {SIZE} bytes in {took:.1f} s ({end})" for n, end, took in results))
    rig.check(all(n == SIZE for n, _, _ in results), f"{what}: it was aborted")


def last_response(origin):
    """Longer than any linger: 5 s."""
    fairlead = proxy(origin)
    read_whole("a response that ends its connection",
               *(asked(fairlead, f"/bytes/{SIZE}", "Connection: close\r\n") for _ in range(2)))
    rig.until(lambda: fairlead.metrics()["connections"] == 0, "the connections to be gone")
    fairlead.stop()


def drained(origin):
    """When the drain begins the proxy has the whole response, and the client almost nothing."""
    fairlead = proxy(origin)
    readers = [asked(fairlead, f"/bytes/{SIZE}") for _ in range(2)]
    rig.until(lambda: fairlead.metrics()["requests_in_flight"] == 0
              and fairlead.metrics()["responses_total_2xx"] == 2, "the responses to be there")
    fairlead.signal(signal.SIGTERM)
    time.sleep(1)
    read_whole("a drain", *readers)
    rig.check(fairlead.ended() == 0, lambda: fairlead.log())


def slower_than_the_limit(origin):
    """A part of the response takes longer than send_timeout, but some bytes are read in time."""
    fairlead = proxy(origin, "send_timeout: 4s")
    readers = [asked(fairlead, f"/bytes/{SIZE}") for _ in range(2)]
    deaf = asked(fairlead, f"/bytes/{SIZE}")
    read_whole("send_timeout of 4 s", *readers)
    n, end, _ = read_slowly(deaf)
    rig.check(n < SIZE, "a client that reads nothing is not aborted")
    for s in readers:
        s.close()
    fairlead.stop()


def single_bytes(origin):
    """Hundreds of clients wait for their response and keep sending single bytes."""
    fairlead = proxy(origin, "buffers: 1MiB", ", connect_timeout: 10s")
    clients = [asked(fairlead, "/delay/8000") for _ in range(300)]
    rig.until(lambda: fairlead.metrics()["requests_in_flight"] == 300, "the requests")
    for s in clients:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(6):
        for s in clients:
            s.send(b"G")
        time.sleep(0.05)
    m, began = fairlead.metrics(), time.monotonic()
    rig.check(rig.get(fairlead.port, "/status/200", patience_s=5).status == 200, "no response")
    print(f"{rig.ENGINE}: 300 clients with single bytes: {m['buffers'] - m['buffers_free']:.0f} "
          f"of {m['buffers']:.0f} buffers in use, another is answered after "
          f"{time.monotonic() - began:.2f} s")
    for s in clients:
        s.close()
    fairlead.stop()


def join_in_queue(origin):
    """One connection for nine fetches: most wait in the queue at the end of the drain."""
    fairlead = proxy(origin, "drain_timeout: 300ms", ", connections: 1")
    clients = [asked(fairlead, "/join") for _ in range(3)]
    rig.until(lambda: fairlead.metrics()["upstream_waiting"] >= 8, "a line")
    fairlead.signal(signal.SIGTERM)
    status = fairlead.ended()
    print(f"{rig.ENGINE}: joins in line at the end of a drain: status {status}")
    rig.check(status == 0 and not fairlead.said("worker process"), lambda: fairlead.log())
    for s in clients:
        s.close()


def test():
    network_namespace()
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    cases = [c for c in (last_response, drained, slower_than_the_limit, single_bytes, join_in_queue)
             if not rig.sys.argv[1:] or c.__name__ in rig.sys.argv[1:]]
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:    # they mostly wait
        list(pool.map(lambda case: case(origin), cases))


rig.main(test)
