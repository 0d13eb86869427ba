"""For a machine that is shared with other work: BENCH_TURNS names a file that the other work locks
(flock(1)) while it runs. Each round of a measurement holds the lock for all contestants together,
so that all are measured without that load."""
import contextlib
import fcntl
import os


@contextlib.contextmanager
def exclusive():
    path = os.environ.get("BENCH_TURNS")
    if not path:
        yield
        return
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
