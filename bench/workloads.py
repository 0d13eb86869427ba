"""The workloads of the matrix, one row for each."""
import sys
from dataclasses import dataclass

import manyroutes

ALL_NAMES = ("fairlead", "fairlead-epoll", "nginx", "haproxy", "tunnel")
CACHES = ("fairlead", "fairlead-epoll", "nginx")    # the others do not speak memcached
PROXIES = ALL_NAMES[:4]
SECURE_NAMES = ("fairlead", "fairlead-epoll", "fairlead-openssl", "nginx", "haproxy")


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    connections: int
    path: str = "/"
    how: tuple = ()           # mode and argument of bench/ends.c; mode of bench/tlsload.c
    body_bytes: int = 0       # not 0: responses are counted by bytes; many are in flight at the end
    contestants: tuple = ALL_NAMES
    workers: int = 1
    behind: str = "ends"      # the origin: bench/ends.c, bench/tlsorigin.c or nginx
    by: str = "ends"          # the load: bench/ends.c, bench/tlsload.c or wrk
    routes: int = 0           # more routes than those of the templates
    tls: str = ""             # "front": with clients; "both": with the origin as well
    rate = None               # a closed loop; see paced.py

    @property
    def stage(self):
        """Workloads with the same values share the running origins and proxies."""
        return self.workers, self.behind, self.routes, self.tls


def secure(name, title, connections, path="/", how="keep", behind="ends", tls="front"):
    """A workload over TLS 1.3."""
    return Workload(name, title, connections, path, (how,), contestants=SECURE_NAMES,
                    behind=behind, by="tlsload", tls=tls)


MATRIX = [
    Workload("small-1", "100 B, 1 connection", 1),
    Workload("small-64", "100 B, 64 connections", 64),
    Workload("small-512", "100 B, 512 connections", 512),
    Workload("small-64-wrk", "100 B, 64 connections, load by wrk, origin nginx", 64,
             behind="nginx", by="wrk"),
    Workload("file-1k", "1 KB file, 64 connections", 64, "/file/1k", behind="nginx"),
    Workload("file-10k", "10 KB file, 64 connections", 64, "/file/10k", behind="nginx"),
    Workload("file-100k", "100 KB file, 64 connections", 64, "/file/100k", ("bulk",), 100 << 10,
             behind="nginx"),
    Workload("file-10m", "10 MB file, 64 connections", 64, "/file/10m", ("bulk",), 10 << 20,
             behind="nginx"),
    Workload("upload-100k", "100 KB upload, 64 connections", 64, "/upload", ("upload", "102400")),
    Workload("new-connection", "100 B, new connection per request, 64 at once", 64,
             how=("close",)),
    Workload("pipelined", "100 B, 64 connections, 16 pipelined requests each", 64,
             how=("pipeline", "16")),
    Workload("chunked-10k", "10 KB chunked, 64 connections", 64, "/chunked/10k", behind="nginx"),
    Workload("memcached", "100 B from memcached, 64 connections", 64, "/cache/hundred",
             contestants=CACHES),
    Workload("two-workers", "100 B, 64 connections, two workers on two cores", 64,
             contestants=PROXIES, workers=2),
    Workload("routes", "100 B, 64 connections, the last of 10,000 routes", 64,
             manyroutes.last_path(10000), contestants=PROXIES, routes=10000),
    secure("tls-small-64", "TLS: 100 B, 64 connections", 64),
    secure("tls-small-512", "TLS: 100 B, 512 connections", 512),
    secure("tls-file-100k", "TLS: 100 KB file, 64 connections", 64, "/file/100k", behind="nginx"),
    secure("tls-file-10m", "TLS: 10 MB file, 64 connections", 64, "/file/10m", behind="nginx"),
    secure("tls-full", "TLS: new connection per request, full handshake, 64 at once", 64,
           how="full"),
    secure("tls-resumed", "TLS: new connection per request, resumed, 64 at once", 64,
           how="resumed"),
    secure("tls-both-small", "TLS on both sides: 100 B, 64 connections", 64,
           behind="tlsorigin", tls="both"),
    secure("tls-both-100k", "TLS on both sides: 100 KB file, 64 connections", 64, "/file/100k",
           behind="nginx", tls="both"),
]


def chosen(names):
    """The workloads of these names; without names, all."""
    known = {w.name for w in MATRIX}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"bench: unknown workload {', '.join(unknown)}; known are "
                 f"{', '.join(sorted(known))}")
    return [w for w in MATRIX if not names or w.name in names]
