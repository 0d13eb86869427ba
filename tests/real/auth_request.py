#!/usr/bin/env python3
"""The rule auth_request beside nginx's, with nginx as auth server and as server: the same decisions,
claims of clients, kept connections under load, an auth server that is gone and comes back."""
# asan
import concurrent.futures

import rig

CONFIG = """
upstreams:
  auth: {{ servers: [127.0.0.1:{auth}] }}
  app: {{ servers: [127.0.0.1:{app}] }}
routes:
  - prefix: /open/
    auth_request: {{ upstream: auth, path: /by-cookie, on_error: pass, request_fields: [X-User] }}
    proxy: {{ upstream: app }}
  - prefix: /
    auth_request: {{ upstream: auth, path: /by-cookie, request_fields: [X-User] }}
    proxy: {{ upstream: app }}
"""
# The status is that of the cookie; the user as well.
AUTH = """
location / {
    add_header X-User $cookie_user always;
    add_header X-Connection $connection always;
    add_header WWW-Authenticate 'Custom realm="x"' always;
    if ($cookie_status = "") { return 401 "who?\\n"; }
    %s
    return 200;
}
"""
STATUSES = (200, 201, 204, 206, 401, 403, 302, 400, 404, 429, 500, 502, 503)
# What the server got.
APP = ('location / { add_header X-Got "$http_x_user|$http_x_original_uri" always; '
       'return 200 "hello\\n"; }')
NGINX = """
location = /auth {{
    internal; proxy_pass http://127.0.0.1:{auth}/by-cookie;
    proxy_pass_request_body off; proxy_set_header Content-Length "";
    proxy_set_header X-Original-URI $request_uri;
}}
location / {{
    auth_request /auth; auth_request_set $user $upstream_http_x_user;
    proxy_set_header X-User $user; proxy_pass http://127.0.0.1:{app};
}}
"""


def auth_server(port):
    answers = "\n".join(f'if ($cookie_status = "{s}") {{ return {s} ' +
                        ('http://login.example/' if s == 302 else '"answer"') + '; }'
                        for s in STATUSES if s != 204)
    answers += ' if ($cookie_status = "204") { return 204; }'
    return rig.nginx(port, AUTH % answers)


def ask(port, status, path="/x?y=1", more=""):
    cookie = f"Cookie: status={status}; user=ann\r\n" if status else ""
    return rig.get(port, path, cookie + more)


def same_as_nginx(proxy, nginx):
    for status in STATUSES + (None,):
        wanted, got = ask(nginx, status), ask(proxy.port, status)
        if status == 302:             # relayed, where nginx says 500
            rig.check(got.status == 302 and got.field("location") == "http://login.example/",
                      got.head)
            continue
        expected = 503 if wanted.status == 500 else wanted.status
        rig.check(got.status == expected, f"{status}: {got.status}, nginx {wanted.status}")
        if got.status == 200:
            rig.check(got.field("x-got") == wanted.field("x-got").split("|")[0] + "|", got.head)
        if got.status == 401:
            rig.check(got.field("www-authenticate") == wanted.field("www-authenticate") ==
                      'Custom realm="x"', got.head)


def claims(proxy):
    for name in ("X-User", "x-user", "X_User", "X.User"):
        got = ask(proxy.port, 200, more=f"{name}: root\r\n")
        rig.check(got.field("x-got") == "ann|", f"{name}: {got.head}")


def many(proxy, n, path="/x"):
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        return [a.status for a in pool.map(lambda i: ask(proxy.port, (200, 403)[i % 2], path),
                                           range(n))]


def test():
    auth, app, reference = rig.free_ports(3)
    server = auth_server(auth)
    rig.nginx(app, APP)
    rig.nginx(reference, NGINX.format(auth=auth, app=app))
    proxy = rig.Fairlead(CONFIG.format(auth=auth, app=app))
    same_as_nginx(proxy, reference)
    claims(proxy)
    got = many(proxy, 300)
    rig.check(got.count(200) == got.count(403) == 150, got)
    server.stop()
    rig.check(set(many(proxy, 40)) == {503}, "without the auth server")
    got = ask(proxy.port, None, "/open/x", "X-User: root\r\nX_User: root\r\n")
    rig.check(got.status == 200 and got.field("x-got") == "|", got.head)
    auth_server(auth)
    rig.until(lambda: ask(proxy.port, 200).status == 200, "the auth server again")
    got = many(proxy, 100)
    rig.check(got.count(200) == got.count(403) == 50, got)
    rig.until(lambda: proxy.metrics()["requests_in_flight"] == 0, "no request in flight")


rig.main(test)
