"""What the templates of peers/ contain more for TLS. All contestants have the same certificate, with
a key on P-256, and the same suites; all verify the origin's certificate. `tls`: "" (nowhere),
"front" (with clients) or "both" (also with the origin)."""
import functools
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "tests/real"))
import pki  # noqa: E402

SUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
NAME = "localhost"


@functools.cache
def files():
    """(file of the authority, certificate of proxies and origin), made for this run."""
    authority = pki.Authority()
    return authority.file, authority.issue(NAME)


def nginx_server(tls):
    """Directives of a `server`; the same in the origin."""
    if not tls:
        return {"ssl": "", "server_tls": ""}
    certificate = files()[1]
    return {"ssl": " ssl", "server_tls": f"""
        ssl_certificate {certificate.chain}; ssl_certificate_key {certificate.key};
        ssl_protocols TLSv1.2 TLSv1.3; ssl_conf_command Ciphersuites {SUITES};
        ssl_buffer_size 16k; ssl_session_tickets on; ssl_session_cache off;
"""}


def nginx(tls):
    parts = {**nginx_server(tls), "scheme": "http", "upstream_tls": ""}
    if tls == "both":
        parts.update(scheme="https", upstream_tls=f"""
        proxy_ssl_trusted_certificate {files()[0]}; proxy_ssl_verify on;
        proxy_ssl_name {NAME}; proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.2 TLSv1.3;
        proxy_ssl_conf_command Ciphersuites {SUITES};
""")
    return parts


def origin(tls, port):
    """A second listener of the origin."""
    parts = nginx_server(tls == "both")
    listen = f"listen 127.0.0.1:{port} ssl backlog=16384;" if tls == "both" else ""
    return {"listen_tls": listen + parts["server_tls"]}


def haproxy(tls):
    parts = {"bind_tls": "", "server_tls": "", "global_tls": ""}
    if tls:
        parts.update(bind_tls=f" ssl crt {files()[1].pem}", global_tls=f"""
    ssl-default-bind-ciphersuites {SUITES}
    ssl-default-server-ciphersuites {SUITES}
    ssl-default-bind-options ssl-min-ver TLSv1.2
""")
    if tls == "both":
        parts["server_tls"] = (f" ssl verify required ca-file {files()[0]} sni str({NAME})"
                               f" verifyhost {NAME}")
    return parts


def fairlead(tls, records):
    """records: own or openssl."""
    parts = {"listen_tls": "", "upstream_tls": ""}
    if tls:
        certificate = files()[1]
        more = "" if records == "own" else f", records: {records}"
        parts["listen_tls"] = (f", tls: {{ certificates: [{{ chain: {certificate.chain}, "
                               f"key: {certificate.key} }}]{more} }}")
    if tls == "both":
        parts["upstream_tls"] = f", tls: {{ ca: {files()[0]}, name: {NAME} }}"
    return parts
