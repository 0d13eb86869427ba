#!/usr/bin/env python3
"""rewrite_location and rewrite_cookies beside proxy_redirect and proxy_cookie_* of nginx; fields and
trailers of a client that a WSGI server would take for ours; cookies beside an error page."""
# asan
import http.server
import socket
import threading
import wsgiref.simple_server

import rig

CONFIG = """
upstreams:
  app: {{ servers: [127.0.0.1:{origin}] }}
  sticky: {{ servers: [127.0.0.1:{origin}], sticky: {{ cookie: server, key: k }} }}
  wsgi: {{ servers: [127.0.0.1:{wsgi}], via: off, keepalive: 0 }}
  raw: {{ servers: [127.0.0.1:{raw}] }}
defaults:
  route: {{ rewrite_location: off }}
request_id: on
routes:
  - prefix: /api/
    rewrite: {{ strip: /api, add: /v1 }}
    rewrite_location:
      replace:
        - {{ from: "http://app.internal/", to: /x/ }}
        - {{ from: "https://old.example", to: "https://${{host}}" }}
        - {{ from: /static, to: "https://cdn.example/s/" }}
    rewrite_cookies:
      domain: [{{ from: app.internal, to: shop.example }}, {{ from: .gone.example, to: off }}]
      secure: on
      http_only: on
      same_site: lax
    proxy: {{ upstream: app }}
  - prefix: /strip/
    rewrite: {{ strip: /strip }}
    rewrite_location: on
    rewrite_cookies: on
    proxy: {{ upstream: app, host: inner.example }}
  - prefix: /none/
    rewrite_location: {{ default: off, replace: [{{ from: "http://a.example", to: / }}] }}
    rewrite_cookies: {{ default: off, secure: off, path: [{{ from: /, to: /none }}], domain: [{{ from: "*", to: all.example }}] }}
    proxy: {{ upstream: app }}
  - prefix: /page/
    rewrite_cookies: {{ path: [{{ from: /, to: /page }}] }}
    error_pages: {{ 5xx: {page} }}
    proxy: {{ split: [{{ upstream: sticky }}, {{ upstream: app, weight: 0 }}], split_cookie: side }}
  - prefix: /wsgi/
    request_fields: {{ set: {{ X-User: ours }}, remove: [X-Secret] }}
    proxy: {{ upstream: wsgi }}
  - prefix: /raw/
    request_fields: {{ set: {{ X-User: ours }}, remove: [X-Secret] }}
    response_fields: {{ set: {{ X-Answer: ours }}, remove: [X-Leak] }}
    proxy: {{ upstream: raw }}
"""
NGINX = """
absolute_redirect off;
location /api/ {{
    proxy_pass http://127.0.0.1:{origin}/v1/;
    proxy_redirect http://app.internal/ /x/;
    proxy_redirect default;
    proxy_cookie_domain app.internal shop.example;
    proxy_cookie_path /v1/ /api/;
    proxy_cookie_flags ~ secure httponly samesite=lax;
}}
"""


class Origin(http.server.BaseHTTPRequestHandler):
    """Answers with the fields that the request asks for."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(int(self.headers.get("X-Status", "302")))
        for line in filter(None, self.headers.get("X-Want", "").split("~~")):
            self.send_header(*line.split(": ", 1))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def serve(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def fields(answer, name):
    return [line.split(": ", 1)[1] for line in answer.head.split("\r\n")
            if line.lower().startswith(name.lower() + ": ")]


def ask(port, path, *want, host="shop.example", more=""):
    with socket.create_connection(("127.0.0.1", port), rig.PATIENCE_S) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Want: {'~~'.join(want)}\r\n{more}"
                  "Connection: close\r\n\r\n".encode())
        data = b""
        while part := s.recv(65536):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    return rig.Answer(head, body)


def attributes(cookie):
    first, *rest = cookie.replace("omain=.", "omain=").split(";")      # says nothing (RFC 6265 5.2.3)
    return [first] + sorted(a.strip().lower() for a in rest)


def same_as_nginx(proxy, nginx, origin):
    for url in (f"http://127.0.0.1:{origin}/v1/login?x=1#f", f"http://127.0.0.1:{origin}/v1/",
                f"http://127.0.0.1:{origin}/other", f"https://127.0.0.1:{origin}/v1/a",
                "http://app.internal/a/b", "http://app.internal.example/a", "http://elsewhere/v1/a",
                "relative", "?q", "mailto:a@b.example"):
        for name, form in (("Location", "{}"), ("Refresh", "5; url={}")):
            field = f"{name}: {form.format(url)}"
            wanted = fields(ask(nginx, "/api/x", field), name)
            got = fields(ask(proxy.port, "/api/x", field), name)
            rig.check(got == wanted, f"{field}: {got}, nginx {wanted}")
    for cookie in ("a=1", "a=1; Path=/v1/x; Domain=app.internal", 'a="x=1,2"; path=/v1/',
                   "a=/v1/; PATH=/other; domain=.APP.internal; Max-Age=3", "a=1; Secure; HttpOnly",
                   "a=Domain=app.internal; Expires=Wed, 21 Oct 2026 07:28:00 GMT; SameSite=None"):
        wanted = fields(ask(nginx, "/api/x", f"Set-Cookie: {cookie}"), "Set-Cookie")
        got = fields(ask(proxy.port, "/api/x", f"Set-Cookie: {cookie}"), "Set-Cookie")
        rig.check(attributes(got[0]) == attributes(wanted[0]), f"{cookie}: {got}, nginx {wanted}")


def locations(proxy, origin):
    here = f"http://127.0.0.1:{origin}"
    for path, url, wanted in (
            # What nginx does not do: a path alone, Content-Location, the client's own host.
            ("/api/x", "/v1/login", "/api/login"), ("/api/x", "/v1", "/api"),
            ("/api/x", "/v10/a", "/v10/a"), ("/api/x", "/static/a.css?v", "https://cdn.example/s/a.css?v"),
            ("/api/x", "http://shop.example/v1/a", "/api/a"),
            ("/api/x", "HTTP://SHOP.example:80/v1/a", "/api/a"),
            # To HTTPS: that is another place.
            ("/api/x", "https://shop.example/v1/a", "https://shop.example/v1/a"),
            ("/api/x", "https://old.example/a?b", "https://shop.example/a?b"),
            ("/api/x", "https://old.example.evil.example/", "https://old.example.evil.example/"),
            ("/api/x", "//old.example/a", "//old.example/a"),
            ("/strip/x", here + "/a/b", "/strip/a/b"), ("/strip/x", here, "/strip"),
            ("/strip/x", here + "?q", "/strip?q"), ("/strip/x", "/", "/strip/"),
            ("/strip/x", "http://inner.example/a", "/strip/a"), ("/strip/x", "//inner.example/a", "/strip/a"),
            ("/strip/x", "http://user@inner.example/a", "http://user@inner.example/a"),
            ("/none/x", here + "/a", here + "/a"),
            # A path that would be an authority.
            ("/none/x", "http://a.example//evil.example/", "/evil.example/"),
            ("/none/x", "http://a.example/\\evil.example/", "/evil.example/"),
            ("/none/x", "http://a.example/ \t/\\/evil.example/", "/evil.example/"),
            ("/none/x", "http://a.example", "/"), ("/none/x", "http://a.example?q", "/?q")):
        for name, form in (("Location", "{}"), ("Content-Location", "{}"),
                           ("Refresh", "0;URL='{}'; x")):
            field = f"{name}: {form.format(url)}"
            got = fields(ask(proxy.port, path, field), name)
            rig.check(got == [form.format(wanted)], f"{path}, {field}: {got}")
    for text in ("5", "5; url", "5; x=http://a.example/", ";", "5; url="):
        got = fields(ask(proxy.port, "/none/x", f"Refresh: {text}"), "Refresh")
        rig.check([t.strip() for t in got] == [text], f"Refresh: {text}: {got}")


def cookies(proxy):
    got = fields(ask(proxy.port, "/strip/x", "Set-Cookie: a=1; Path=/; Domain=127.0.0.1",
                     "set-cookie: b=Path=/;path=/x;Secure", 'Set-Cookie: c=";Path=/"; Path="/y"',
                     "Set-Cookie: __Host-d=1; Path=/; Secure", "Set-Cookie: e=1; Domain=inner.example",
                     "Set-Cookie: f=1; Domain=shop.example; Path=x"), "Set-Cookie")
    wanted = ["a=1; Path=/strip/", "b=Path=/; Path=/strip/x;Secure", got[2],
              "__Host-d=1; Path=/; Secure", "e=1", "f=1; Domain=shop.example; Path=x"]
    rig.check(got == wanted, got)
    # Browsers end the value at the first ";", so this Path is one; the last counts.
    rig.check(got[2].startswith('c=";') and got[2].endswith("; Path=/strip/y"), got[2])
    got = fields(ask(proxy.port, "/none/x", "Set-Cookie: a=1; Secure; Domain=x.example; Path=/y",
                     "Set-Cookie: __Secure-b=1; Secure; Path=z"), "Set-Cookie")
    rig.check(got == ["a=1; Domain=all.example; Path=/none/y", "__Secure-b=1; Secure; Path=z"], got)
    got = fields(ask(proxy.port, "/api/x", "Set-Cookie: a=1; Domain=gone.example",
                     *[f"Set-Cookie: n{i}=1" for i in range(40)]), "Set-Cookie")
    rig.check(len(got) == 41 and set(c.partition("; ")[2] for c in got) ==
              {"Secure; HttpOnly; SameSite=Lax"}, got)


def pages(proxy):
    answer = ask(proxy.port, "/page/x", "Set-Cookie: a=1; Path=/b", more="X-Status: 503\r\n")
    got = fields(answer, "Set-Cookie")
    rig.check(answer.status == 503 and answer.body == b"page\n", answer.head)
    rig.check(got[0] == "a=1; Path=/page/b" and
              sorted(c.split("=")[0] for c in got) == ["a", "server", "side"], got)
    rig.check(all("Path=/;" in c for c in got[1:]), got)


def claims(proxy):
    for name in ("X-User", "x_user", "X.User", "X_Secret", "X_Request_Id"):
        answer = rig.get(proxy.port, "/wsgi/", f"{name}: root\r\n")
        rig.check(b"root" not in answer.body and b"HTTP_X_USER=ours\n" in answer.body, answer.body)


def trailers(proxy, raw):
    """What is removed from the head does not come back behind the body."""
    with socket.create_connection(("127.0.0.1", proxy.port), rig.PATIENCE_S) as s:
        s.sendall(b"POST /raw/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"
                  b"0\r\nX-Secret: t\r\nx_user: root\r\nX-Request-Id: t\r\nX-Leak: t\r\nX-Sum: 1\r\n\r\n")
        origin = raw.accept()[0]
        data = b""
        while not data.endswith(b"X-Sum: 1\r\n\r\n"):
            part = origin.recv(65536)
            rig.check(part, data)
            data += part
        rig.check(data.partition(b"\r\n0\r\n")[2] == b"X-Leak: t\r\nX-Sum: 1\r\n\r\n", data)
        origin.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n"
                       b"x-leak: t\r\nX-Answer: t\r\nX_Leak: t\r\nX-Secret: t\r\n\r\n")
        origin.close()
        data = b""
        while b"X-Secret: t\r\n\r\n" not in data:
            part = s.recv(65536)
            rig.check(part, data)
            data += part
    rig.check(data.endswith(b"0\r\nX_Leak: t\r\nX-Secret: t\r\n\r\n"), data)


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["".join(f"{k}={v}\n" for k, v in environ.items() if k.startswith("HTTP_")).encode()]


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *args):
        pass


def test():
    nginx, origin, third = rig.free_ports(3)
    serve(http.server.ThreadingHTTPServer(("127.0.0.1", origin), Origin))
    serve(wsgiref.simple_server.make_server("127.0.0.1", third, wsgi, handler_class=Quiet))
    raw = socket.create_server(("127.0.0.1", 0))
    page = rig.os.path.join(rig.TMP, "page.txt")
    with open(page, "w") as f:
        f.write("page\n")
    rig.nginx(nginx, NGINX.format(origin=origin))
    proxy = rig.Fairlead(CONFIG.format(origin=origin, wsgi=third, raw=raw.getsockname()[1],
                                       page=page))
    same_as_nginx(proxy, nginx, origin)
    locations(proxy, origin)
    cookies(proxy)
    pages(proxy)
    claims(proxy)
    trailers(proxy, raw)


rig.main(test)
