"""What is asked of the proxies: one row for each workload of the matrix."""
import sys
from dataclasses import dataclass

EVERYBODY = ("fairlead", "fairlead-epoll", "nginx", "haproxy", "tunnel")
CACHES = ("fairlead", "fairlead-epoll", "nginx")    # the others do not speak memcached
PROXIES = EVERYBODY[:4]


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    connections: int
    path: str = "/"
    how: tuple = ()           # for bench/ends.c
    body_bytes: int = 0       # not 0: answers are counted by bytes, so many are under way
    contestants: tuple = EVERYBODY
    workers: int = 1
    behind: str = "ends"      # the origin: bench/ends.c or nginx
    by: str = "ends"          # the load: bench/ends.c or wrk


MATRIX = [
    Workload("small-1", "100 B, 1 connection", 1),
    Workload("small-64", "100 B, 64 connections", 64),
    Workload("small-512", "100 B, 512 connections", 512),
    Workload("small-64-wrk", "100 B, 64 connections of wrk, nginx behind", 64, behind="nginx",
             by="wrk"),
    Workload("file-1k", "1 KB file, 64", 64, "/file/1k", behind="nginx"),
    Workload("file-10k", "10 KB file, 64", 64, "/file/10k", behind="nginx"),
    Workload("file-100k", "100 KB file, 64", 64, "/file/100k", ("bulk",), 100 << 10,
             behind="nginx"),
    Workload("file-10m", "10 MB file, 64", 64, "/file/10m", ("bulk",), 10 << 20,
             behind="nginx"),
    Workload("upload-100k", "upload of 100 KB, 64", 64, "/upload", ("upload", "102400")),
    Workload("new-connection", "a new connection per request, 64", 64, how=("close",)),
    Workload("pipelined", "100 B, 16 requests at once on each of 64", 64,
             how=("pipeline", "16")),
    Workload("chunked-10k", "10 KB chunked, 64", 64, "/chunked/10k", behind="nginx"),
    Workload("memcached", "100 B from memcached, 64", 64, "/cache/hundred",
             contestants=CACHES),
    Workload("two-workers", "100 B, 64, two workers on two cores", 64, contestants=PROXIES,
             workers=2),
]


def chosen(names):
    """Of the matrix; all of it where no names are given."""
    known = {w.name for w in MATRIX}
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"bench: no workload {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [w for w in MATRIX if not names or w.name in names]
