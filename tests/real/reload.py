#!/usr/bin/env python3
"""A new configuration in a running process (SIGHUP): it is used as a whole or not at all, requests
in flight keep the old one, listeners come and go, logs are reopened, and the service manager is
notified."""
# asan
import os
import resource
import select
import signal
import socket
import time

import rig

CONFIG = """
access_log: {{ path: {tmp}/access.log, format: json }}
upstreams:
  app: {{ servers: [127.0.0.1:{origin}] }}
routes:
  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""
NONE = "routes: [ { path: /none, proxy: { upstream: app } } ]\n"


def write(proxy, config, listen=(), admin=True):
    listens = ", ".join(f"127.0.0.1:{p}" for p in (proxy.port, *listen))
    with open(proxy.path, "w") as f:
        f.write(f"listen: [{listens}]\n" + (f"admin: 127.0.0.1:{proxy.admin}\n" if admin else "")
                + config)


def reload(proxy, config=None, said="fairlead: reloaded", **more):
    """Waits until the supervisor says that the reload is done."""
    if config is not None:
        write(proxy, config, **more)
    before = proxy.log().count(said)
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.log().count(said) > before or not proxy.alive(), said)
    rig.check(proxy.alive(), proxy.log)


def asked(port, path):
    s = socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S)
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return s


def answer(s):
    """One response with a Content-Length; the connection stays open."""
    text = b""
    while b"\r\n\r\n" not in text:
        piece = s.recv(65536)
        rig.check(piece, f"the connection ended after {text!r}")
        text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    a = rig.Answer(head, body)
    while len(a.body) < int(a.field("content-length") or 0):
        piece = s.recv(65536)
        rig.check(piece, "the connection ended in a response")
        a.body += piece
    return a


def config_of(origin):
    return CONFIG.format(tmp=rig.TMP, origin=origin)


def without_routes(origin):
    return config_of(origin).partition("routes:")[0]


def routes(origin):
    """Requests in flight and connections stay; the next request gets the new configuration."""
    proxy = rig.Fairlead(config_of(origin))
    worker = proxy.worker_pid()
    slow, idle = asked(proxy.port, "/delay/4000"), asked(proxy.port, "/bytes/10")
    rig.check(answer(idle).status == 200, "the first request")
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == 1, "the slow request")
    reload(proxy, without_routes(origin) + NONE)
    idle.sendall(b"GET /bytes/10 HTTP/1.1\r\nHost: x\r\n\r\n")
    rig.check(answer(idle).status == 404, "the new routes")
    rig.check(answer(slow).status == 200, "the request in flight")
    reload(proxy, config_of(origin))
    rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "and back")
    rig.check(proxy.worker_pid() == worker, "it is another worker process")
    rig.check(proxy.metrics()["upstream_requests_total"] >= 3, "counters were reset")
    proxy.stop()


def errors(origin):
    """If the file has errors, or something in it cannot be opened, nothing changes."""
    proxy = rig.Fairlead(config_of(origin))
    os.mkfifo(rig.TMP + "/fifo")
    for bad, word in ((config_of(origin).replace("/access.log", "/fifo"), "nobody reads it"),
                      (config_of(origin) + "rutes: []\n", "unknown key"),
                      (config_of(origin).replace(rig.TMP, rig.TMP + "/nowhere"),
                       "cannot open the access log")):
        reload(proxy, bad, said="fairlead: not reloaded")
        rig.check(proxy.said(word), proxy.log)
        rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "no response")
    taken = socket.create_server(("127.0.0.1", 0))
    reload(proxy, config_of(origin), listen=(taken.getsockname()[1],),
           said="fairlead: not reloaded")
    rig.check(proxy.said("another process listens there"), proxy.log)
    reload(proxy, config_of(origin))
    rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "no response")
    proxy.stop()


def no_descriptors(origin):
    """The worker process has no free descriptors for the new ones: it says so and continues."""
    config = ("user: root\n" if os.geteuid() == 0 else "") + config_of(origin)
    proxy = rig.Fairlead(config)
    worker = proxy.worker_pid()
    for _ in range(2):
        before = resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, rig.descriptors()))
        reload(proxy, config.partition("routes:")[0] + NONE, said="fairlead: not reloaded")
        resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
        rig.check(proxy.said("descriptors could not be received"), proxy.log)
        rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "the old routes")
        reload(proxy, config)
    rig.check(proxy.worker_pid() == worker, "it is another worker process")
    rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "no response")
    proxy.stop()


def stuck(origin):
    """A worker process that does not read does not block the supervisor for ever."""
    proxy = rig.Fairlead(config_of(origin))
    worker = proxy.worker_pid()
    os.kill(worker, signal.SIGSTOP)
    large = f"# {1000 * 'x'}\n" * 1000    # than what a socket holds
    reload(proxy, config_of(origin) + large, said="fairlead: not reloaded")
    rig.check(proxy.said("the configuration cannot be sent to the worker process"), proxy.log)
    reload(proxy, config_of(origin), said="fairlead: ready")
    os.kill(worker, signal.SIGCONT)
    rig.until(lambda: proxy.worker_pid() != worker, "another worker process")
    rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "no response")
    proxy.stop()


def listeners(origin):
    more, path = rig.free_ports(1)[0], os.path.join(rig.TMP, "door.sock")
    proxy = rig.Fairlead(config_of(origin))
    stays = asked(proxy.port, "/delay/1")
    reload(proxy, config_of(origin), listen=(more,))
    rig.check(rig.get(more, "/bytes/10").status == 200, "the new listener")
    came = asked(more, "/bytes/10")
    rig.check(answer(came).status == 200, "the new listener")
    with open(proxy.path) as f:
        text = f.read()
    with open(proxy.path, "w") as f:
        f.write(text.replace(f"127.0.0.1:{more}", f"\"unix:{path}\""))
    reload(proxy)
    rig.until(lambda: not rig.accepts(more), "the end of a listener")
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(b"GET /bytes/10 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        rig.check(s.recv(100).startswith(b"HTTP/1.1 200"), "the path")
    came.sendall(b"GET /bytes/10 HTTP/1.1\r\nHost: x\r\n\r\n")
    rig.check(answer(came).status == 200, "a connection of a closed listener")
    reload(proxy, config_of(origin), admin=False)
    rig.check(not os.path.exists(path), "the path is left")
    rig.until(lambda: not rig.accepts(proxy.admin), "the end of the admin address")
    reload(proxy, config_of(origin))
    rig.check(rig.get(proxy.admin, "/healthz").status == 200, "the admin address")
    rig.check(answer(stays).status == 200, "an old connection")
    proxy.stop()


def lines(path):
    with open(path) as f:
        return f.read().splitlines()


def log(origin):
    """As after logrotate: the moved file gets no more lines, and none is lost."""
    proxy = rig.Fairlead(config_of(origin))
    path = os.path.join(rig.TMP, "access.log")
    os.path.exists(path) and os.truncate(path, 0)
    for _ in range(50):
        rig.get(proxy.port, "/bytes/10")
    os.rename(path, path + ".1")
    slow = asked(proxy.port, "/delay/4000")
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == 1, "the slow request")
    reload(proxy)
    rig.check(answer(slow).status == 200, "the slow request")
    for _ in range(50):
        rig.get(proxy.port, "/bytes/10")
    rig.until(lambda: len(lines(path + ".1")) == 50 and len(lines(path)) == 51, "101 lines")
    rig.until(lambda: open_files(proxy.worker_pid()).count(path + ".1") == 0,
              "the old log to be closed")
    reload(proxy, config_of(origin).replace("format: json", "format: \"off\""))
    rig.get(proxy.port, "/bytes/10")
    reload(proxy, config_of(origin).replace("format: json", "format: combined"))
    rig.get(proxy.port, "/bytes/10")
    rig.until(lambda: len(lines(path)) == 52 and lines(path)[-1].startswith("127."), "a line")
    proxy.stop()


def full_fifo(path):
    """A pipe without a reader so far. Returns its read end."""
    os.mkfifo(path)
    out = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    into = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        while os.write(into, 4096 * b"x"):
            pass
    except BlockingIOError:
        os.close(into)
    return out


def unread(origin):
    """A log without a reader: a reload needs no more memory for it, also one that changes its format.
    Reloads that change its path again and again are refused in the end. When it is read, everything
    continues."""
    paths = [os.path.join(rig.TMP, name) for name in ("unread", "unread-too")]
    outs = [full_fifo(path) for path in paths]
    json, other = (config_of(origin).replace("/access.log", f"/{os.path.basename(path)}")
                   for path in paths)
    proxy = rig.Fairlead(json, workers=1)
    held = lambda: sum(open_files(proxy.worker_pid()).count(path) for path in paths)
    for i in range(20):
        rig.get(proxy.port, "/bytes/10")
        rig.until(lambda: proxy.metrics()["requests_in_flight"] == 0, "a line")
        reload(proxy, json if i % 2 else json.replace("format: json", "format: combined"))
        rig.until(lambda: held() == 1, "no more than one descriptor")
    changes = 0
    while not proxy.said("not reloaded"):
        write(proxy, json if changes % 2 else other)
        rig.get(proxy.port, "/bytes/10")
        rig.until(lambda: proxy.metrics()["requests_in_flight"] == 0, "a line")
        done = proxy.log().count("reloaded")
        proxy.signal(signal.SIGHUP)
        rig.until(lambda: proxy.log().count("reloaded") > done, "a response")
        changes += 1
        rig.check(changes < 50, f"{held()} descriptors")
    rig.check(proxy.said("have lines that nobody reads"), proxy.log)
    read = lambda: [[*iter(lambda: os.read(out, 1 << 16) if select.select([out], [], [], 0)[0]
                           else b"", b"")] for out in outs]
    rig.until(lambda: (read(), held())[1] == 1, "the old logs to be closed")
    reload(proxy, json)
    proxy.stop()
    for out in outs:
        os.close(out)


def open_files(pid):
    names = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            names.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
    return names


def needs_restart(origin):
    """Keys that need a restart are reported, and the rest is applied."""
    proxy = rig.Fairlead(config_of(origin))
    reload(proxy, without_routes(origin) + NONE + "workers: 7\nlimits: { buffers: 64MiB }\n")
    for key in "'workers'", "'limits.buffers'":
        rig.check(proxy.said(f"{key} stays as it was"), proxy.log)
    rig.check(rig.get(proxy.port, "/bytes/10").status == 404, "the rest")
    study = config_of(origin) + "  - { path: /cpu, cpu: { ms: 1, on: pool } }\nstudy: true\n"
    reload(proxy, study, said="fairlead: not reloaded")
    rig.check(rig.get(proxy.port, "/bytes/10").status == 404, "the rest")
    proxy.stop()


def many_at_once(origin):
    """Signals during a reload are not lost: the last file is used."""
    proxy = rig.Fairlead(config_of(origin))
    for i in range(40):
        write(proxy, config_of(origin) if i % 2 else without_routes(origin) + NONE)
        proxy.signal(signal.SIGHUP)
    rig.until(lambda: rig.get(proxy.port, "/bytes/10").status == 200, "the last one")
    os.kill(proxy.worker_pid(), signal.SIGKILL)
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.said("killed by signal 9"), "its end")
    rig.until(lambda: rig.get(proxy.port, "/bytes/10").status == 200, "another worker process")
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended() == 0, proxy.log)


def ready_n(proxy):
    return proxy.log().count("fairlead: ready")


def successor(proxy, worker):
    """Stops the next worker process, if possible while it starts."""
    end = time.monotonic() + rig.PATIENCE_S
    while not (pids := [p for p in proxy.children() if p != worker and is_worker(p)]):
        rig.check(time.monotonic() < end, "no other worker process")
    os.kill(pids[0], signal.SIGSTOP)
    return pids[0]


def is_worker(pid):
    """The process that reads the configuration has one thread."""
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def ends_late(origin):
    """A worker process ends while its successor starts: the log says how it ended."""
    proxy = rig.Fairlead(config_of(origin))
    how = "was killed by signal 9 (Killed)"
    for n in range(1, 11):
        worker = proxy.worker_pid()
        os.kill(worker, signal.SIGSTOP)
        large = f"# {1000 * 'x'}\n" * 1000
        reload(proxy, config_of(origin) + large, said="fairlead: not reloaded")
        proxy.signal(signal.SIGHUP)
        starting = successor(proxy, worker)
        os.kill(worker, signal.SIGKILL)
        rig.until(lambda: proxy.log().count(how) == n, "its end")
        os.kill(starting, signal.SIGCONT)
        rig.until(lambda: ready_n(proxy) == n + 1, "another worker process")
        rig.check(proxy.children() == [starting], "it was started twice")
        if proxy.said(f"the worker process {worker} {how}; another is starting already"):
            break
    else:
        rig.check(False, "each worker process was ready at once")
    rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "no response")
    proxy.stop()


def read_while_starting(proxy, origin):
    """Reloads a file with an error, and kills the worker process meanwhile. Returns false if its
    successor was ready before the file was read."""
    worker, ready = proxy.worker_pid(), ready_n(proxy)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        nobody.settimeout(rig.PATIENCE_S)
        write(proxy, f"resolver: {{ servers: [127.0.0.1:{nobody.getsockname()[1]}], "
              "strict: true }\n"
              + config_of(origin).replace("servers: [", "servers: [nobody.test:80, "))
        proxy.signal(signal.SIGHUP)
        rig.check(nobody.recv(4096), "a question")
        os.kill(worker, signal.SIGKILL)
        starting = successor(proxy, worker)
    # The supervisor takes messages before ends: what was sent before the stop is in the log now.
    rig.until(lambda: proxy.children() == [starting], "the end of the reader")
    waited = ready_n(proxy) == ready
    os.kill(starting, signal.SIGCONT)
    return waited


def result_waits(origin):
    """The file is read while a worker process starts in place of one that ended: the result is
    used after the start, and the file is not read again."""
    proxy = rig.Fairlead(config_of(origin))
    for n in range(1, 11):
        waited = read_while_starting(proxy, origin)
        rig.until(lambda: proxy.log().count("not reloaded") == n, "the result")
        rig.until(lambda: ready_n(proxy) == n + 1, "another worker process")
        rig.check(proxy.log().count("nobody.test") == n, proxy.log)
        if waited:
            break
    rig.check(waited, "each worker process was ready at once")
    log = proxy.log()
    rig.check(log.rindex("fairlead: ready") < log.rindex("not reloaded"), "it was not waited for")
    rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "no response")
    proxy.stop()


def memcached(origin):
    """A new kind of upstream: the sandbox allows what it needs."""
    port, = rig.free_ports(1)
    rig.memcached(port)
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(b"set foo 0 0 3\r\nbar\r\n")
        rig.check(s.recv(100) == b"STORED\r\n", "memcached")
    proxy = rig.Fairlead(config_of(origin))
    worker = proxy.worker_pid()
    config = config_of(origin).replace("upstreams:", f"upstreams:\n  cache: {{ protocol: "
                                       f"memcached, servers: [127.0.0.1:{port}] }}")
    config += "  - { path: /c, memcached: { upstream: cache, key: foo } }\n"
    reload(proxy, config.replace("  - { prefix: /,", "  - { prefix: /app,"))
    rig.check(rig.get(proxy.port, "/c").body == b"bar", "the value")
    rig.check(proxy.worker_pid() == worker, "it is another worker process")
    proxy.stop()


def supervisor_works_meanwhile(proxy, nobody, answer):
    """A worker process that dies while a file is read is replaced."""
    ready, answers = proxy.log().count("fairlead: ready"), proxy.log().count(answer)
    rig.check(nobody.recv(4096), "a question")
    os.kill(proxy.worker_pid(), signal.SIGKILL)
    rig.until(lambda: proxy.log().count("fairlead: ready") > ready, "another worker process")
    rig.check(proxy.log().count(answer) == answers, "it waited for the lookup")
    rig.check(rig.get(proxy.port, "/bytes/10").status == 200, "no response")


def silent_names(origin):
    """While lookups get no answer, the supervisor keeps working, and the command that ordered the
    reload gets its result."""
    path = os.path.join(rig.TMP, "silent.sock")
    config = f"control: unix:{path}\n" + config_of(origin)
    proxy = rig.Fairlead(config)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody, \
            socket.socket(socket.AF_UNIX) as order:
        nobody.bind(("127.0.0.1", 0))
        for s in nobody, order:
            s.settimeout(rig.PATIENCE_S)
        write(proxy, f"resolver: {{ servers: [127.0.0.1:{nobody.getsockname()[1]}], "
              "strict: true }\n"
              + config.replace("servers: [", "servers: [nobody.test:80, "))
        order.connect(path)
        order.sendall(b"reload\n")
        supervisor_works_meanwhile(proxy, nobody, "not reloaded")
        told = order.recv(1000)
        rig.check(told.startswith(b"no the file has errors"), told)
        proxy.signal(signal.SIGUSR2)
        supervisor_works_meanwhile(proxy, nobody, "not upgraded")
        rig.until(lambda: proxy.said("not upgraded"), "the end of the upgrade")
        proxy.signal(signal.SIGHUP)
        proxy.signal(signal.SIGTERM)
        rig.check(proxy.ended() == 0, proxy.log)
        rig.check(proxy.log().count("not reloaded") == 1, "it waited for the lookup")


def notified(origin):
    """The notifications for systemd, in its protocol."""
    path = os.path.join(rig.TMP, "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(rig.PATIENCE_S)
        proxy = rig.Fairlead(config_of(origin), env=dict(os.environ, NOTIFY_SOCKET=path))
        words = [s.recv(4096).decode()]
        reload(proxy)
        words += [s.recv(4096).decode(), s.recv(4096).decode()]
        write(proxy, "x\n")
        reload(proxy, said="fairlead: not reloaded")
        words += [s.recv(4096).decode(), s.recv(4096).decode()]
        proxy.signal(signal.SIGTERM)
        words += [s.recv(4096).decode()]
        rig.check(proxy.ended() == 0, proxy.log)
    first = [w.splitlines()[0] for w in words]
    rig.check(first == ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1",
                        "STOPPING=1"], words)
    rig.check("MONOTONIC_USEC=" in words[1] and f"MAINPID={proxy.pid}\n" in words[0], words)


def main():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    for test in (routes, errors, no_descriptors, stuck, listeners, log, unread,
                 needs_restart, many_at_once, ends_late, result_waits,
                 memcached, silent_names, notified):
        test(origin)
        print(f"{rig.ENGINE}: {test.__name__}", flush=True)


rig.main(main)
