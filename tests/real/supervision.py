#!/usr/bin/env python3
"""Signals and kills: a drain loses no request in flight, a second SIGTERM ends the program at once,
SIGPIPE does nothing, a killed worker process is replaced, a killed supervisor's worker process
drains."""
# asan
import os
import resource
import signal
import socket
import threading
import time

import rig

CONFIG = """
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [ {{ prefix: /, proxy: {{ upstream: app }} }} ]
"""
CLIENTS = 20


def asked(port, path):
    s = socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S)
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return s


def read_all(s):
    text = b""
    with s:
        while piece := s.recv(65536):
            text += piece
    return text


def in_flight(proxy, path, n=CLIENTS):
    clients = [asked(proxy.port, path) for _ in range(n)]
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == n, f"{n} requests in flight")
    return clients


def refuses(port):
    return not rig.accepts(port)


def gone(pid):
    """No child may be left as a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def response_complete(answer):
    return answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"ok\n")


def drain(origin):
    """Under load: clients that send request after request get no broken response, either."""
    proxy = rig.Fairlead(CONFIG.format(origin=origin))
    broken, stop = [], threading.Event()

    def ask_again():
        while not stop.is_set():
            try:
                s = asked(proxy.port, "/delay/20")
            except OSError:
                return    # it has stopped listening
            try:
                answer = read_one(s)
            except OSError as e:
                answer = str(e).encode()
            s.close()
            # A connection that was still in the backlog is reset without a response.
            if answer and b"reset" not in answer and not response_complete(answer):
                broken.append(answer)

    askers = [threading.Thread(target=ask_again) for _ in range(4)]
    for asker in askers:
        asker.start()
    clients = slow(proxy, len(askers))
    proxy.signal(signal.SIGTERM)
    rig.until(lambda: refuses(proxy.port), "the listener to be closed")
    health = rig.get(proxy.admin, "/healthz").status
    rig.check(health == 503, f"/healthz is {health} while it drains")
    answers = [read_all(s) for s in clients]
    stop.set()
    for asker in askers:
        asker.join()
    rig.check(all(map(response_complete, answers)),
              lambda: f"{[a for a in answers if not response_complete(a)][:3]}")
    rig.check(all(b"onnection: close" in a for a in answers), "no Connection: close")
    rig.check(not broken, f"{broken[:3]}")
    rig.check(proxy.ended() == 0, f"status {proxy.process.returncode}")


def read_one(s):
    text = b""
    while not text.endswith(b"\r\n\r\nok\n"):
        piece = s.recv(65536)
        if not piece:
            break
        text += piece
    return text


def slow(proxy, others=0):
    """Requests that are answered long after the signal, and all of which have been received:
    beside these there are at most `others`."""
    clients = [asked(proxy.port, "/delay/5000") for _ in range(CLIENTS)]
    rig.until(lambda: proxy.metrics()["requests_in_flight"] >= CLIENTS + others,
              "requests in flight")
    return clients


def second_signal(origin):
    proxy = rig.Fairlead(CONFIG.format(origin=origin))
    clients = in_flight(proxy, "/fault/never")
    proxy.signal(signal.SIGTERM)
    rig.until(lambda: proxy.said("draining"), "the drain")
    rig.check(proxy.alive(), "it did not wait for what is in flight")
    worker, began = proxy.worker_pid(), time.monotonic()
    proxy.signal(signal.SIGTERM)
    proxy.ended()
    rig.check(time.monotonic() - began < 15, "the second signal took long")    # of 30 s
    rig.until(lambda: gone(worker), "the worker process to end")
    for s in clients:
        s.close()


def signal_at_start(origin):
    """The drain begins before the worker process has started its workers."""
    for n in range(10):
        port, = rig.free_ports(1)
        path = os.path.join(rig.TMP, "early.yaml")
        with open(path, "w") as f:
            f.write(f"listen: [127.0.0.1:{port}]\n" + CONFIG.format(origin=origin))
        proxy = rig.Program(f"early{n}", [rig.FAIRLEAD, "-c", path, "--engine", rig.ENGINE,
                                          "--workers", "16"])
        children = f"/proc/{proxy.pid}/task/{proxy.pid}/children"
        rig.until(lambda: open(children).read(), "a worker process")
        proxy.signal(signal.SIGTERM)
        rig.check(proxy.ended() == 0, lambda: f"status {proxy.process.returncode}")
        rig.check(not proxy.said("worker process"), proxy.log)


def only_child(program):
    while program.alive():
        with open(f"/proc/{program.pid}/task/{program.pid}/children") as f:
            if text := f.read():
                return int(text)


def first_ends_at_once(origin):
    """The first worker process dies while descriptors are being sent to it, more than a socket
    holds: the supervisor learns of its end before it has read from it."""
    ports = ", ".join(f"127.0.0.1:{p}" for p in rig.free_ports(30))
    path = os.path.join(rig.TMP, "at_once.yaml")
    with open(path, "w") as f:
        f.write(f"listen: [{ports}]\n" + CONFIG.format(origin=origin))
    for n in range(20):
        proxy = rig.Program(f"at_once{n}", [rig.FAIRLEAD, "-c", path, "--engine", rig.ENGINE,
                                            "--workers", "32"])
        worker = only_child(proxy)
        os.kill(worker, signal.SIGSTOP)
        proxy.signal(signal.SIGSTOP)
        early = not proxy.said("fairlead: ready")
        os.kill(worker, signal.SIGKILL)
        rig.until(lambda: gone(worker), "its end")
        proxy.signal(signal.SIGCONT)
        if early:
            break
        proxy.stop()
    rig.check(proxy.ended() == 1, lambda: f"status {proxy.process.returncode}")
    rig.check(proxy.said("the worker process was killed by signal 9"), proxy.log)


def standard_descriptors_closed(origin):
    """No socket gets their numbers: messages written there would go to a client."""
    port, = rig.free_ports(1)
    path = os.path.join(rig.TMP, "closed.yaml")
    with open(path, "w") as f:
        f.write(f"listen: [127.0.0.1:{port}]\n" + CONFIG.format(origin=origin))
    proxy = rig.Program("closed", ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", rig.FAIRLEAD,
                                   "-c", path, "--engine", rig.ENGINE])
    rig.until(lambda: rig.accepts(port), "the listener")
    rig.check(rig.get(port, "/delay/1").status == 200, "no response")
    with open(f"/proc/{proxy.pid}/task/{proxy.pid}/children") as f:
        pids = [proxy.pid, int(f.read())]
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for pid in pids for fd in range(3)]
    rig.check(links == 6 * ["/dev/null"], links)
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended() == 0, f"status {proxy.process.returncode}")


def sigpipe(origin):
    proxy = rig.Fairlead(CONFIG.format(origin=origin))
    os.kill(proxy.pid, signal.SIGPIPE)
    os.kill(proxy.worker_pid(), signal.SIGPIPE)
    for _ in range(20):    # clients that are gone when their response arrives
        asked(proxy.port, "/bytes/5000000").close()
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == 0, "those requests to be over")
    rig.check(rig.get(proxy.port, "/delay/1").status == 200, "no response")
    proxy.stop()


def worker_killed(origin):
    proxy = rig.Fairlead(CONFIG.format(origin=origin))
    first = proxy.worker_pid()
    os.kill(first, signal.SIGKILL)
    rig.until(lambda: proxy.said("killed by signal 9"), "the reason")
    # The listeners stay open: new connections wait in the backlog.
    rig.check(rig.get(proxy.port, "/delay/1").status == 200, "no response")
    rig.until(lambda: proxy.worker_pid() not in (None, first), "another worker process")
    rig.until(lambda: proxy.log().count("fairlead: ready") == 2, "ready once more")
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended() == 0, f"status {proxy.process.returncode}")


def no_descriptors_for_worker(origin):
    """Too few descriptors for a new worker process: the supervisor tries again."""
    proxy = rig.Fairlead(CONFIG.format(origin=origin))
    before = resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (3, rig.descriptors()))
    os.kill(proxy.worker_pid(), signal.SIGKILL)
    rig.until(lambda: proxy.said("socketpair") or not proxy.alive(), "a failed start")
    rig.check(proxy.alive(), proxy.log)
    resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, before)
    rig.until(lambda: proxy.log().count("fairlead: ready") == 2, "ready once more")
    rig.check(rig.get(proxy.port, "/delay/1").status == 200, "no response")
    proxy.signal(signal.SIGTERM)
    rig.check(proxy.ended() == 0, f"status {proxy.process.returncode}")


def no_descriptor_to_wait_with(origin):
    """A supervisor that cannot wait for events says so, and ends with its worker process."""
    proxy = rig.Fairlead(CONFIG.format(origin=origin))
    worker = proxy.worker_pid()
    resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (1, 1))
    proxy.signal(signal.SIGHUP)
    rig.check(proxy.ended() == 1, lambda: f"status {proxy.process.returncode}")
    rig.check(proxy.said("poll: Invalid argument"), proxy.log)
    rig.until(lambda: gone(worker), "the worker process to end")


def supervisor_killed(origin):
    proxy = rig.Fairlead(CONFIG.format(origin=origin))
    clients, worker = slow(proxy), proxy.worker_pid()
    proxy.signal(signal.SIGKILL)
    proxy.process.wait()
    answers = [read_all(s) for s in clients]
    rig.check(all(map(response_complete, answers)), lambda: f"{answers[0]}")
    rig.until(lambda: gone(worker), "the worker process to end")


def main():
    origin, = rig.free_ports(1)
    rig.lab("0ms", origin)
    for test in (drain, second_signal, signal_at_start, first_ends_at_once,
                 standard_descriptors_closed, sigpipe, worker_killed, no_descriptors_for_worker,
                 no_descriptor_to_wait_with, supervisor_killed):
        test(origin)
        print(f"{rig.ENGINE}: {test.__name__}", flush=True)


rig.main(main)
