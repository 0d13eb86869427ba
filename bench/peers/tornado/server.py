"""Tornado with coroutines, one process per core; /block shows what not to do."""
import asyncio
import os
import urllib.request

import tornado.httpclient
import tornado.httpserver
import tornado.iostream
import tornado.netutil
import tornado.process
import tornado.tcpclient
import tornado.web

ORIGIN = "http://" + os.environ["ORIGIN"]
CACHE_HOST, CACHE_PORT = os.environ["CACHE"].rsplit(":", 1)
MANY = 20000
TIMEOUT_S = 300
idle = []    # idle connections to the cache


class Sync(tornado.web.RequestHandler):
    origin_path = "/"

    async def get(self):
        response = await tornado.httpclient.AsyncHTTPClient().fetch(
            ORIGIN + self.origin_path, raise_error=False, connect_timeout=TIMEOUT_S,
            request_timeout=TIMEOUT_S)
        self.set_status(response.code)
        self.finish(response.body)


class Login(Sync):
    origin_path = "/status/200"


async def cache_get(key):
    stream = idle.pop() if idle else \
        await tornado.tcpclient.TCPClient().connect(CACHE_HOST, int(CACHE_PORT))
    await stream.write(f"get {key}\r\n".encode())
    head = (await stream.read_until(b"\r\n")).split()
    value = None
    if head[0] == b"VALUE":
        value = await stream.read_bytes(int(head[3]))
        await stream.read_until(b"END\r\n")
    idle.append(stream)
    return value


class Cache(tornado.web.RequestHandler):
    async def get(self):
        value = await cache_get("foo")
        if value is None:
            self.set_status(404)
        self.finish(value or b"")


class Block(tornado.web.RequestHandler):
    def get(self):
        with urllib.request.urlopen(ORIGIN + "/") as response:
            self.finish(response.read())


async def serve(sockets):
    tornado.httpclient.AsyncHTTPClient.configure(None, max_clients=MANY)
    app = tornado.web.Application(
        [("/sync", Sync), ("/async", Sync), ("/cache", Cache), ("/block", Block),
         ("/login/", Login)], log_function=lambda handler: None)
    tornado.httpserver.HTTPServer(app).add_sockets(sockets)
    await asyncio.Event().wait()


listeners = tornado.netutil.bind_sockets(int(os.environ["PORT"]), "127.0.0.1", backlog=16384)
tornado.process.fork_processes(int(os.environ["WORKERS"]))
asyncio.run(serve(listeners))
