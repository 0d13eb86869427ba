#!/usr/bin/env python3
"""Basic authentication: the same answers as nginx with the same file, what the server and the log get,
new files, one verification for many requests at once, a full queue, names that are nobody's, and the
first reload that needs threads, under the sandbox."""
# asan
# timeout: 1800
import base64
import crypt
import os
import signal
import socket
import statistics
import threading
import time

import rig

CONFIG = """
access_log: {{ path: {tmp}/access.log, format: json }}
certificates: {{ watch: {watch} }}
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes:
{routes}  - {{ prefix: /, proxy: {{ upstream: app }} }}
"""
AUTH = """
  - prefix: /admin/
    basic_auth: {{ users: {users}{more} }}
    proxy: {{ upstream: app }}
"""
# What the server got.
ECHO = ('location / { default_type text/plain; add_header X-Got "$http_authorization" always; '
        'return 200 "hello\\n"; }')


def hashed(password, rounds=4):
    return crypt.crypt(password, f"$2y${rounds:02}$abcdefghijklmnopqrstuu")


def write(path, lines):
    with open(path + ".new", "w") as f:
        f.write("".join(line + "\n" for line in lines))
    os.rename(path + ".new", path)


def basic(user, password):
    text = f"{user}:{password}".encode()
    return "Basic " + base64.b64encode(text).decode()


def field(value):
    return f"Authorization: {value}\r\n"


def ask(port, path="/admin/", user=None, password=""):
    return rig.get(port, path, field(basic(user, password)) if user else "")


def config(origin, users=None, more="", watch="off"):
    routes = AUTH.format(users=users, more=more) if users else ""
    return CONFIG.format(tmp=rig.TMP, origin=origin, routes=routes, watch=watch)


def reload(proxy, text, said="fairlead: reloaded"):
    with open(proxy.path, "w") as f:
        f.write(f"listen: [127.0.0.1:{proxy.port}]\nadmin: 127.0.0.1:{proxy.admin}\n" + text)
    again(proxy, said)


def again(proxy, said="fairlead: reloaded"):
    before = proxy.log().count(said)
    proxy.signal(signal.SIGHUP)
    rig.until(lambda: proxy.log().count(said) > before, said)


# --- the same as nginx ------------------------------------------------------------------

def same_as_nginx(proxy, origin, users):
    write(users, ["ann:" + hashed("secret"), "# bob:x", "bob:" + crypt.crypt("b:c", "$6$abc$"),
                  "zoe:" + crypt.crypt("\xe9t\xe9", "$y$j75$F5Jx5fExrKuPp53xLKQ..1") + ":comment",
                  "cy:" + crypt.crypt("", "$5$rounds=1000$abc$")])
    again(proxy)
    port = rig.free_ports(1)[0]
    rig.nginx(port, f'auth_basic "restricted"; auth_basic_user_file {users}; '
               f'location / {{ proxy_pass http://127.0.0.1:{origin}; }}')
    fields = [basic("ann", "secret"), basic("ann", "Secret"), basic("ann", ""), basic("ann", "secret "),
              basic("bob", "b:c"), basic("bob", "b"), basic("zoe", "\xe9t\xe9"), basic("cy", ""),
              basic("cy", "x"), basic("Ann", "secret"), basic("", "secret"), basic("# bob", "x"),
              basic("nobody", "secret"), "Bearer " + basic("ann", "secret")[6:], "Basic", "Basic ",
              "Basic !!!!", "Basic " + base64.b64encode(b"ann").decode(),
              "bAsIc   " + basic("ann", "secret")[6:],
              basic("a" * 300, "x"), basic("ann", "y" * 600)]
    for value in fields:
        wanted = rig.get(port, "/", field(value))
        got = rig.get(proxy.port, "/admin/", field(value))
        rig.check(got.status == wanted.status in (200, 401),
                  f"{value}: {got.status}, nginx {wanted.status}")
        if got.status == 401:
            rig.check(got.field("www-authenticate") == 'Basic realm="restricted", charset="UTF-8"',
                      got.head)
            rig.check(got.body == b"401 Unauthorized\n", got.body)
    # Where nginx reads up to the first "=".
    got = rig.get(proxy.port, "/admin/", field(basic("ann", "secret") + "x"))
    rig.check(got.status == 401, "not base64")
    rig.check(rig.get(port, "/").status == 401 == ask(proxy.port).status, "without the field")
    rig.check(rig.get(proxy.port, "/other").status == 200, "another route")


def what_others_get(proxy, origin, users):
    rig.check(ask(proxy.port, user="ann", password="secret").field("x-got") is None,
              "the server got the password")
    rig.until(lambda: '"user":"ann"' in log(), "the user in the log")
    rig.check('"user":"nobody"' not in log(), "the log names a user that is none")
    reload(proxy, config(origin, users, ', forward: on, realm: \'the "inner" \\ circle\''))
    got = ask(proxy.port, user="ann", password="secret")
    rig.check(got.field("x-got") == basic("ann", "secret"), got.head)
    got = ask(proxy.port)
    rig.check(got.field("www-authenticate") ==
              'Basic realm="the \\"inner\\" \\\\ circle", charset="UTF-8"', got.head)
    # A refused request never gets a 100, and its body may stay with the client.
    with socket.create_connection(("127.0.0.1", proxy.port)) as s:
        s.sendall(b"POST /admin/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
                  b"Expect: 100-continue\r\n\r\n")
        rig.check(s.recv(100).startswith(b"HTTP/1.1 401 "), "Expect")


def log():
    with open(os.path.join(rig.TMP, "access.log")) as f:
        return f.read()


# --- new files --------------------------------------------------------------------------

def new_files(proxy, origin, users):
    write(users, ["ann:" + hashed("one"), "bob:" + hashed("two")])
    reload(proxy, config(origin, users))
    for _ in range(2):    # the second time it is known
        rig.check(ask(proxy.port, user="ann", password="one").status == 200, "ann")
        rig.check(ask(proxy.port, user="bob", password="two").status == 200, "bob")
    write(users, ["ann:" + hashed("new")])
    again(proxy)
    rig.check(ask(proxy.port, user="ann", password="one").status == 401, "the former password")
    rig.check(ask(proxy.port, user="ann", password="new").status == 200, "the new password")
    rig.check(ask(proxy.port, user="bob", password="two").status == 401, "a removed user")
    # One that cannot be used leaves the previous one in force.
    write(users, ["ann:" + hashed("new"), "eve:$apr1$abc$def"])
    again(proxy)
    rig.check("the hash of 'eve' is MD5" in proxy.log(), proxy.log)
    rig.check(ask(proxy.port, user="ann", password="new").status == 200, "after a bad file")
    # Found without a reload.
    reload(proxy, config(origin, users, watch="1s"))
    write(users, ["ann:" + hashed("newer")])
    rig.until(lambda: ask(proxy.port, user="ann", password="newer").status == 200, "the watch")
    reload(proxy, config(origin, users))


# --- many at once -----------------------------------------------------------------------

def at_once(n, call):
    results = [None] * n

    def run(i):
        results[i] = call(i)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def one_for_all(proxy, users):
    """64 requests with the same credentials cost one hash for each worker, not 64."""
    write(users, ["ann:" + hashed("secret", 9)])
    again(proxy)
    began = time.monotonic()
    rig.check(ask(proxy.port, user="ann", password="wrong").status == 401, "wrong")
    one = time.monotonic() - began

    def measure():
        write(users, ["ann:" + hashed("secret", 9), f"x{time.monotonic_ns()}:" + hashed("")])
        again(proxy)
        return proxy.cpu_us() / 1e6

    def many(password):
        before = measure()
        got = at_once(64, lambda _: ask(proxy.port, user="ann", password=password).status)
        rig.check(set(got) == {200 if password == "secret" else 401}, got)
        return (proxy.cpu_us() / 1e6 - before) / one
    for password in ("secret", "wrong"):
        rig.becomes(lambda p=password: many(p), lambda hashes: hashes < 32,
                    f"hashes for 64 requests with the password {password!r}", 4)


def full_queue(proxy, users):
    """Different wrong passwords at once: some get 503, and other routes are served meanwhile."""
    write(users, ["ann:" + hashed("secret", 8)])
    again(proxy)
    rig.check(ask(proxy.port, user="ann", password="secret").status == 200, "ann")
    slowest = []

    def others():
        began = time.monotonic()
        status = rig.get(proxy.port, "/other").status
        slowest.append(time.monotonic() - began)
        return status
    got = at_once(220, lambda i: ask(proxy.port, user="ann", password=f"guess {i}")
                  if i != 150 else others())
    statuses = [a.status for a in got if not isinstance(a, int)]
    rig.check(set(statuses) == {401, 503}, statuses)
    rig.check(all(a.field("retry-after") == "1" for a in got
                  if not isinstance(a, int) and a.status == 503), "Retry-After")
    rig.check(statuses.count(401) >= 64, statuses)
    # Those that are known need no thread.
    rig.check(ask(proxy.port, user="ann", password="secret").status == 200, "ann again")


def clients_leave(proxy):
    for i in range(100):
        s = socket.create_connection(("127.0.0.1", proxy.port))
        s.sendall(b"GET /admin/ HTTP/1.1\r\nHost: x\r\n" +
                  field(basic("ann", f"leaves {i}")).encode() + b"\r\n")
        s.close()
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == 0, "no request in flight")
    rig.check(rig.get(proxy.port, "/other").status == 200, "afterwards")
    rig.until(lambda: ask(proxy.port, user="ann", password="secret").status == 200, "ann")


def nobody_takes_as_long(proxy, users):
    write(users, ["ann:" + hashed("secret", 7), "bob:" + hashed("secret", 7)])
    again(proxy)

    # The passwords of those that have left may fill the queue still.
    rig.until(lambda: ask(proxy.port, user="bob", password="first").status == 401, "an empty queue")

    def median(user):
        times = []
        for i in range(15):
            began = time.monotonic()
            rig.check(ask(proxy.port, user=user, password=f"x{i}").status == 401, user)
            times.append(time.monotonic() - began)
        return statistics.median(times)

    def ratio():
        return median("nobody") / median("ann")
    rig.becomes(ratio, lambda r: 0.75 < r < 1.33, "time for nobody, by that for a user")


def test():
    origin = rig.free_ports(1)[0]
    users = os.path.join(rig.TMP, "users")
    rig.nginx(origin, ECHO)
    write(users, ["ann:" + hashed("secret")])
    proxy = rig.Fairlead(config(origin))
    began_with = proxy.worker_pid()
    rig.check(ask(proxy.port).status == 200, "without the rule")
    # Threads cannot be made in the sandbox: another process takes over.
    reload(proxy, config(origin, users), said="fairlead: ready")
    # The one before it still accepts until it has been told to drain.
    rig.until(lambda: proxy.children() and proxy.worker_pid() != began_with, "another process")
    rig.until(lambda: ask(proxy.port).status == 401, "with the rule")
    rig.check(ask(proxy.port, user="ann", password="secret").status == 200, "ann")
    second = proxy.worker_pid()
    same_as_nginx(proxy, origin, users)
    what_others_get(proxy, origin, users)
    new_files(proxy, origin, users)
    one_for_all(proxy, users)
    full_queue(proxy, users)
    clients_leave(proxy)
    nobody_takes_as_long(proxy, users)
    reload(proxy, config(origin))
    rig.check(ask(proxy.port).status == 200, "without the rule again")
    reload(proxy, config(origin, users))
    rig.check(ask(proxy.port).status == 401, "with the rule again")
    rig.check(proxy.worker_pid() == second, "another process")


rig.main(test)
