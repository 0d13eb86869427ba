"""Flask, the same program for both kinds of gunicorn workers."""
import http.client
import os
import socket

import flask

app = flask.Flask(__name__)
ORIGIN = os.environ["ORIGIN"]
CACHE_HOST, CACHE_PORT = os.environ["CACHE"].rsplit(":", 1)


def origin_get(path):
    connection = http.client.HTTPConnection(ORIGIN)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.read(), response.status
    finally:
        connection.close()


def cache_get(key):
    with socket.create_connection((CACHE_HOST, int(CACHE_PORT))) as s:
        s.sendall(f"get {key}\r\n".encode())
        with s.makefile("rb") as lines:
            head = lines.readline().split()
            return lines.read(int(head[3])) if head[0] == b"VALUE" else None


@app.route("/sync")
@app.route("/async")
def sync():
    return origin_get("/")


@app.route("/cache")
def cache():
    value = cache_get("foo")
    return (value, 200) if value is not None else ("", 404)


def origin_get_unpatched(path):
    """With a socket that gevent has not patched: the whole process waits."""
    from gevent.monkey import get_original
    with get_original("socket", "socket")() as s:
        host, port = ORIGIN.rsplit(":", 1)
        s.connect((host, int(port)))
        s.sendall(f"GET {path} HTTP/1.0\r\nHost: {ORIGIN}\r\n\r\n".encode())
        text = b""
        while chunk := s.recv(65536):
            text += chunk
    head, _, body = text.partition(b"\r\n\r\n")
    return body, int(head.split()[1])


@app.route("/block")
def block():
    return origin_get_unpatched("/") if os.environ["KIND"] == "gevent" else origin_get("/")


@app.route("/login/")
def login():
    return origin_get("/status/200")
