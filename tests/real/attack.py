#!/usr/bin/env python3
"""Requests and responses as attackers write them. Client and origin are this script, in one
thread; the tables of cases are in attack_cases. Each case is sent at once and in pieces.

For each case the script checks what the client got, how its connection ended, and what the
origin received, to the byte, with a strict parser (strict.py) that accepts only canonical
messages. After each case it sends another request on the same connection, if that should still
be usable, and one on a new connection, which mostly gets the case's connection to the origin:
bytes that the case left behind would become part of these requests or their responses.
Arguments: the names of some cases, else all are tried."""
# asan
import collections
import copy
import selectors
import socket
import struct
import time

import rig
import strict
from attack_cases import bodies, connections, framing, lines, responses
from attack_cases.case import (BROKEN, CLOSE, CLOSED, CUT_OFF, EITHER, GONE, OPEN, RESET, SHUT,
                               Seen)

CONFIG = """
upstreams:
  app: {{ servers: [127.0.0.1:{origin}], response_timeout: 700ms }}
  cache: {{ protocol: memcached, servers: [127.0.0.1:{origin}] }}
routes:
  - prefix: /cache/
    memcached: {{ upstream: cache, key: "${{path.rest}}" }}
    half_close: allow
  - {{ prefix: /, proxy: {{ upstream: app }}, half_close: allow }}
limits: {{ request_head: 8KiB, headers: 50, request_body: 100KiB, header_timeout: 1s }}
"""
PATIENCE_S = 8
PIECES_MAX = 40
PAUSE_S = 0.0003
TABLES = (lines, framing, bodies, connections, responses)


# If this script gets no CPU for longer, it is late itself, as client or as origin.
LATE_S = 0.2
TRIES_MAX = 10


start = rig.Fairlead    # replaced by tls_attack.py, as is connect()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), PATIENCE_S)


class Wrong(Exception):
    pass


def demand(good, what):
    if not good:
        raise Wrong(what() if callable(what) else what)


class Wire:
    """A connection with steps to do, each at its time."""

    def __init__(self, world, sock):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.world, self.sock = world, sock
        self.data, self.how = b"", None    # received; how it ended: "end" or "reset"
        self.steps, self.wake = collections.deque(), 0
        world.selector.register(sock, selectors.EVENT_READ, self)
        world.wires.add(self)

    def take_steps(self):
        while self.steps and self.sock and time.monotonic() >= self.wake:
            step = self.steps.popleft()
            if isinstance(step, bytes):
                self.send(step)
            elif step == SHUT:
                self.sock.shutdown(socket.SHUT_WR)
            elif step in (CLOSE, RESET):
                self.close(step == RESET)
            else:
                self.wake = time.monotonic() + step

    def send(self, data):
        try:
            n = self.sock.send(data) if data else 0
        except BlockingIOError:
            n = 0
        except OSError:
            return    # it has ended; read() reports how
        if n < len(data):
            self.steps.appendleft(data[n:])
            self.wake = time.monotonic() + 0.001

    def read(self):
        try:
            while piece := self.sock.recv(262144):
                self.data += piece
            how = "end"
        except BlockingIOError:
            how = None
        except OSError:
            how = "reset"
        if how:
            self.how = how
            self.world.selector.unregister(self.sock)
        self.received()

    def received(self):
        pass

    def close(self, reset=False):
        if not self.sock:
            return
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if not self.how:
            self.world.selector.unregister(self.sock)
        self.sock.close()
        self.sock = None
        self.steps.clear()
        self.world.wires.discard(self)


class Client(Wire):
    def __init__(self, world, methods):
        super().__init__(world, connect(world.proxy.port))
        self.methods, self.at = list(methods), 0
        self.interim, self.responses, self.begun = [], [], None
        self.malformed = None

    def received(self):
        """Parses the complete responses; `begun` is an incomplete one."""
        try:
            while self.at < len(self.data) or self.begun:
                method = self.methods[len(self.responses)]
                found = strict.response(self.data, self.at, method, self.how == "end")
                self.begun = found[0] if found else None
                if not found or found[1] is None:
                    return
                self.begun = None
                self.at = found[1]
                (self.interim if found[0].status < 200 else self.responses).append(found[0])
                if found[0].status == 101:
                    return
        except strict.Malformed as e:
            self.malformed = e

    def rest(self):
        return self.data[self.at:]


class OriginConn(Wire):
    """A connection that the proxy opened. Its requests are added to the world's `seen`."""

    def __init__(self, world, sock):
        super().__init__(world, sock)
        self.answered = self.scripted = False
        self.ended_by_script = False
        if world.case and world.case.when == "connect" and world.script_left():
            self.run_script()

    def run_script(self):
        self.scripted = True
        self.steps.extend(self.world.take_script())

    def received(self):
        try:
            while self.data:
                found = strict.request(self.data)
                if not found:
                    return
                m, end = found
                if not self.answered:
                    self.response(m, end is not None)
                if end is None:
                    return
                self.data, self.answered = self.data[end:], False
                self.world.seen.append((m, self))
        except strict.Malformed as e:
            self.world.malformed = self.world.malformed or e

    def response(self, m, whole):
        if not m.target.startswith(b"/sentinel") and self.world.script_left():
            case = self.world.case
            if whole or case.when == "head":
                self.answered = True
                if case.when != "connect" or not self.scripted:
                    self.run_script()
                    return
            else:
                return
        if whole:
            self.answered = True
            self.steps.append(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
                              % (len(m.target), b"" if m.method == b"HEAD" else m.target))


class World:
    def __init__(self):
        self.selector = selectors.SelectSelector()    # to the microsecond
        self.wires, self.case, self.script = set(), None, None
        self.seen, self.malformed, self.sentinels = [], None, 0
        self.pumped, self.late = time.monotonic(), 0    # the longest time between two calls
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.proxy = start(CONFIG.format(origin=self.listener.getsockname()[1]),
                           workers=1)

    def script_left(self):
        return self.script is not None

    def take_script(self):
        script, self.script = self.script, None
        return script

    def pump(self, timeout=0.02):
        now = time.monotonic()
        self.late, self.pumped = max(self.late, now - self.pumped), now
        for wire in list(self.wires):
            wire.take_steps()
        waking = [w.wake for w in self.wires if w.steps]
        if waking:
            timeout = min(timeout, max(0, min(waking) - time.monotonic()))
        for key, _ in self.selector.select(timeout):
            if key.data:
                key.data.read()
                if key.data.sock:
                    key.data.take_steps()
            else:
                OriginConn(self, self.listener.accept()[0])

    def until(self, found, what):
        end = time.monotonic() + PATIENCE_S
        while not found():
            demand(time.monotonic() < end, lambda: f"waited {PATIENCE_S} s for "
                   + (what() if callable(what) else what))
            self.pump()

    def origins(self):
        return [w for w in self.wires if isinstance(w, OriginConn)]

    def forget_ended(self):
        for o in self.origins():
            if o.how:
                o.close()

    def renew_origins(self):
        """Makes the proxy open a new connection, because the script needs one."""
        for o in self.origins():
            if not o.how:
                o.sock.shutdown(socket.SHUT_WR)
        self.until(lambda: all(o.how for o in self.origins()), "idle connections to end")
        self.forget_ended()

    def sentinel(self, client, what):
        """Sends a request that must get a normal response."""
        self.sentinels += 1
        target = b"/sentinel/%d" % self.sentinels
        n = len(client.responses)
        client.methods[n:] = [b"GET"]
        client.steps.append(b"GET " + target + b" HTTP/1.1\r\nHost: s\r\n\r\n")
        self.until(lambda: len(client.responses) > n or client.how or client.malformed,
                   lambda: f"a response on {what}: {client.rest()!r}")
        demand(len(client.responses) > n, lambda: f"{what} ended: {client.data!r}")
        response = client.responses[n]
        demand((response.status, response.body) == (200, target) and not client.rest(),
               lambda: f"{what} got {response.line!r} {response.body!r} {client.rest()!r}")
        demand(self.seen and self.seen[-1][0].target == target,
               lambda: f"{what} did not reach the origin")
        client.close()


def in_pieces(steps):
    """The same bytes in pieces, cut where the state of a parser changes, with pauses."""
    for step in steps:
        if not isinstance(step, bytes):
            yield step
            continue
        cuts = [i for i in range(1, len(step)) if step[i - 1] in b"\r\n :;," or i == 2]
        every = max(1, -(-len(cuts) // PIECES_MAX))
        last = 0
        for i in cuts[::every] + [len(step)]:
            yield step[last:i]
            yield PAUSE_S
            last = i


# --- the result of a case ----------------------------------------------------------

def check_responses(case, client):
    demand(not client.malformed, lambda: f"malformed response: {client.malformed}")
    got = [a.status for a in client.responses]
    wanted = [status for status, _ in case.responses]
    demand(got == wanted, lambda: f"responses {got}, not {wanted}: {client.data[:300]!r}")
    got = [a.status for a in client.interim]
    demand(case.interim in (None, got), lambda: f"interim responses {got}, not {case.interim}")
    targets = [s.line.split(b" ")[1] for s in case.origin] if case.origin != CUT_OFF else []
    for i, (response, (status, body)) in enumerate(zip(client.responses, case.responses)):
        if body is None and status == 200 and client.methods[i] != b"HEAD":
            body = targets[i]
        demand(body is None or body == response.body,
               lambda: f"body {response.body[:200]!r}, not {body[:200]!r}")
        for name in case.missing:
            demand(not response.values(name), lambda: f"{name!r} in {response.fields!r}")
        demand(response.values(b"proxy-status") or response.values(b"via"),
               lambda: f"neither Via nor Proxy-Status: {response.fields!r}")


def check_end(world, case, client):
    end = case.end
    if end == EITHER:
        end = CLOSED if b"close" in client.responses[-1].options(b"connection") else OPEN
    if end == OPEN:
        demand(not client.how, lambda: f"the client's connection ended: {client.how}")
        demand(not client.rest(), lambda: f"behind the responses: {client.rest()!r}")
        world.sentinel(client, "the same connection")
        return
    world.until(lambda: client.how or not client.sock, "the client's connection to end")
    check_responses(case, client)
    if end in (CLOSED, GONE):
        demand(client.how == "end" or end == GONE, "the client's connection was reset")
        demand(not client.rest(), lambda: f"behind the responses: {client.rest()!r}")
        last = client.responses[-1] if client.responses else None
        demand(not last or not case.announced or b"close" in last.options(b"connection")
               or b" HTTP/1.0\r\n" in case.send[0], "the close was not announced")
    else:
        demand(client.begun or not client.rest() or client.how == "reset",
               lambda: f"looks complete: {client.data!r}")
        demand(client.how == "reset" or client.begun and client.begun.framing != "close"
               or not client.data, lambda: f"looks complete: {client.data!r}")


def check_origin(world, case):
    demand(not world.malformed, lambda: f"the origin got malformed bytes: {world.malformed}")
    seen = [(m, o) for m, o in world.seen if not m.target.startswith(b"/sentinel/")]
    world.until(lambda: all(o.how for o in world.origins() if o.data),
                "an incomplete request to be aborted")
    if case.origin == CUT_OFF:
        demand(not seen, lambda: f"the origin got a complete request: {seen[0][0].line!r}")
        return
    if not case.partial and case.script is None:
        cut = [o.data for o in world.origins() if o.data]
        demand(not cut, lambda: f"the origin got a part of a request: {cut!r}")
    demand(len(seen) == len(case.origin),
           lambda: f"the origin got {[m.line for m, _ in seen]}, not {len(case.origin)}")
    for (m, _), wanted in zip(seen, case.origin):
        demand(not wanted.differs(m), lambda: wanted.differs(m))


def check_kept(world, case):
    scripted = [o for o in world.origins() if o.scripted]
    if case.kept is None or not scripted:
        return
    if case.kept:
        demand(not scripted[0].how and scripted[0] is world.seen[-1][1],
               "the origin's connection was not used again")
    else:
        world.until(lambda: scripted[0].how, "the origin's connection to end")
        demand(all(o is not scripted[0] for m, o in world.seen
                   if m.target.startswith(b"/sentinel/")), "it was used again")


def requests(case):
    return sum(s.count(b" HTTP/1.") for s in case.send if isinstance(s, bytes))


def replaced(case, client):
    """If a response broke before any byte of it was forwarded, the client gets a 502 instead,
    and later requests are answered."""
    if case.end != BROKEN or not client.responses or client.responses[0].status != 502:
        return None
    behind = requests(case) - 1
    other = copy.copy(case)
    other.responses, other.end = [(502, None)] + [(200, None)] * behind, EITHER
    other.origin = [*case.origin, *[Seen(b"GET /2")] * behind]
    return other


def run(world, case, pieces):
    world.seen.clear()
    world.malformed = None
    world.case = case
    world.late, world.pumped = 0, time.monotonic()
    if case.script is not None:
        world.renew_origins()
        world.script = list(case.script)
    client = Client(world, case.methods)
    client.steps.extend(in_pieces(case.send) if pieces else case.send)
    try:
        world.until(lambda: len(client.responses) >= len(case.responses)
                    and case.end in (OPEN, EITHER) and not client.steps
                    or client.how or client.malformed or not client.sock
                    or replaced(case, client) and len(client.responses) == requests(case),
                    lambda: f"responses: {client.data[-300:]!r}")
        world.until(lambda: not any(o.steps for o in world.origins()), "the script's end")
        case = replaced(case, client) or case
        check_responses(case, client)
        check_end(world, case, client)
        world.sentinel(Client(world, [b"GET"]), "a new connection")
        world.pump(0)
        check_origin(world, case)
        check_kept(world, case)
    finally:
        world.script = None
        client.close()
        for o in world.origins():
            if o.how or o.data or o.steps:
                o.close()
            o.scripted = o.answered = False


def run_in_time(world, case, pieces):
    """Repeats a failed case if this script was late."""
    for n in range(TRIES_MAX):
        try:
            run(world, case, pieces)
            return
        except (Wrong, OSError) as e:
            world.pump(0)
            if world.late < LATE_S or n == TRIES_MAX - 1:
                raise
            print(f"{case.name}: late by {world.late:.2f} s: {e}", flush=True)


def all_cases():
    return [c for table in TABLES for c in table.CASES]


def test():
    world = World()
    cases = all_cases()
    names = [c.name for c in cases]
    rig.check(len(set(names)) == len(names),
              lambda: f"twice: {[n for n in names if names.count(n) > 1]}")
    failed, tries, began = [], 0, time.monotonic()
    for case in cases:
        if rig.sys.argv[1:] and case.name not in rig.sys.argv[1:]:
            continue
        for pieces in (False, True) if case.cut else (False,):
            tries += 1
            try:
                run_in_time(world, case, pieces)
            except (Wrong, OSError) as e:
                failed.append(case.name)
                print(f"{case.name}{' in pieces' if pieces else ''}: {e}", flush=True)
            rig.check(not world.proxy.said("worker process"), lambda: world.proxy.log())
    print(f"{rig.ENGINE}: {len(cases)} cases, {tries} tries, "
          f"{time.monotonic() - began:.1f} s")
    rig.check(not failed, lambda: f"{len(failed)} failed: {' '.join(failed)}")


if __name__ == "__main__":
    rig.main(test)
