"""Common functions of the scripts in this folder: start programs, wait for them, end them.

Not executable, because it is no test itself. All settings come from the environment that
tests/run makes; each script can also be run by hand:

    ENGINE=epoll tests/real/concurrency.py
"""
import glob
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build", os.environ.get("VARIANT", "release"))
FAIRLEAD = os.environ.get("FAIRLEAD", os.path.join(BUILD, "fairlead"))
LAB = os.environ.get("LAB", os.path.join(BUILD, "fairlead-lab"))
TOOLS = os.environ.get("TOOLS", os.path.join(BUILD, "tests/real"))
PEERS = os.environ.get("PEERS", os.path.join(ROOT, "build/peers/bin"))
ENGINE = os.environ.get("ENGINE", "io_uring")
FULL = os.environ.get("FULL", "") not in ("", "0")    # the sizes of a real measurement
TMP = os.environ.get("TMP") or tempfile.mkdtemp(prefix="fairlead-real-")
PATIENCE_S = 20

running, taken = [], []


# --- small things ---------------------------------------------------------------

def skip(why):
    print(why)
    stop_all()
    sys.exit(77)


def check(good, what):
    """Fails the test with a message that has the numbers."""
    if not good:
        raise AssertionError(what() if callable(what) else what)


def free_ports(n):
    """Free ports that no other program gets before they are bound, or while a server is down: they
    are outside of the kernel's range, and locks keep scripts that run at the same time off."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        first = int(f.read().split()[0])
    wanted = range(10240, first if first > 12288 else 65536)
    ports = []
    while len(ports) < n:
        port = random.choice(wanted)
        if take_port(port):
            ports.append(port)
    return ports


def take_port(port):
    """By an abstract name, which is freed with this process."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0fairlead-test-port-{port}")
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as s:
                s.bind(("", port))
    except OSError:
        name.close()
        return False
    taken.append(name)
    return True


def until(found, what, patience_s=PATIENCE_S):
    """Polls found() until it returns something true, and returns that."""
    end = time.monotonic() + patience_s
    while True:
        value = found()
        if value:
            return value
        check(time.monotonic() < end, lambda: f"waited {patience_s} s for {what}")
        time.sleep(0.02)


def descriptors():
    """Raises the descriptor limit of this process and its children to the maximum."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def most_requests():
    """The largest number of requests at once: the proxy needs two descriptors each."""
    return min(10000, (descriptors() - 200) // 2)


def becomes(call, good, what, times=10):
    """Repeats a measurement until it succeeds, because other work disturbs it. Returns the last
    result."""
    tried = []
    for _ in range(times):
        tried.append(call())
        if good(tried[-1]):
            return tried[-1]
    check(False, f"{what}: {tried}")


# --- programs -------------------------------------------------------------------

class Program:
    """Started in a session of its own; its output goes to a file."""

    def __init__(self, name, command, ready=None, patience_s=PATIENCE_S, **popen):
        self.name, self.ready = name, ready
        self.log_path = os.path.join(TMP, f"{name}-{len(running)}.log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, stderr=log, start_new_session=True,
                **{"stdin": subprocess.DEVNULL, "stdout": log, **popen})
        self.pid = self.process.pid
        running.append(self)
        if ready:
            until(lambda: self.said(ready) or not self.alive(), f"{name}: {ready!r}", patience_s)
            check(self.said(ready), lambda: f"{name} ended: {self.log()}")

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def said(self, text):
        return text in self.log()

    def alive(self):
        return self.process.poll() is None

    def signal(self, sign):
        """Returns from SIGSTOP when no thread runs any more: one that runs on another CPU takes a
        moment."""
        self.process.send_signal(sign)
        if sign == signal.SIGSTOP:
            until(lambda: set(self.thread_states()) == {"T"}, "all threads to stop")

    def thread_states(self):
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/stat"):
            with open(path) as f:
                yield f.read().rpartition(")")[2].split()[0]

    def ended(self, patience_s=PATIENCE_S):
        """Waits for the exit status."""
        return self.process.wait(patience_s)

    def stop(self):
        if self.alive():
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def stop_all():
    for program in reversed(running):
        program.stop()


def main(test):
    """Runs the test; then ends all programs, and prints the logs if it failed."""
    try:
        test()
    except BaseException:
        for program in running:
            print(f"--- {program.name}:\n{program.log()[-4000:]}")
        raise
    finally:
        stop_all()
        if "TMP" not in os.environ:
            shutil.rmtree(TMP, ignore_errors=True)


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def lab(delay="0ms", http=None, memcached=None, *more):
    """The lab, on its own engine: only the proxy is under test."""
    command = [LAB, "--delay", delay, "--workers", "1", *more]
    if http:
        command += ["--http", f"127.0.0.1:{http}"]
    if memcached:
        command += ["--memcached", f"127.0.0.1:{memcached}"]
    return Program("lab", command, ready="fairlead-lab: ready")


NGINX = """
daemon off; master_process off; worker_processes 1; pid {tmp}/nginx-{port}.pid;
error_log stderr warn; worker_rlimit_nofile {files};
events {{ worker_connections {connections}; }}
http {{
    access_log off; client_max_body_size 0; client_body_temp_path {tmp}/nginx-body-{port};
    proxy_temp_path {tmp}/nginx-proxy; fastcgi_temp_path {tmp}/nginx-fastcgi;
    uwsgi_temp_path {tmp}/nginx-uwsgi; scgi_temp_path {tmp}/nginx-scgi;
    sendfile on; keepalive_timeout 75s; keepalive_requests 1000000000; root {tmp};
    {http}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        {server}
    }}
}}
"""
HELLO = 'location / { default_type text/plain; return 200 "hello, world\\n"; }'


def nginx(port, server=HELLO, http="", connections=4096):
    path = os.path.join(TMP, f"nginx-{port}.conf")
    with open(path, "w") as f:
        f.write(NGINX.format(tmp=TMP, port=port, server=server, http=http,
                             connections=connections, files=connections + 100))
    program = Program("nginx", [os.path.join(PEERS, "nginx"), "-p", TMP, "-c", path,
                                "-e", "stderr"])
    until(lambda: accepts(port), "nginx")
    return program


def memcached(port, *more):
    user = ["-u", "root"] if os.getuid() == 0 else []
    program = Program("memcached", [os.path.join(PEERS, "memcached"), "-l", "127.0.0.1",
                                    "-p", str(port), "-U", "0", *user, *more])
    until(lambda: accepts(port), "memcached")
    return program


# --- the proxy ------------------------------------------------------------------

class Fairlead(Program):
    """fairlead with this configuration; listen and admin are added. tls, proxy_protocol, http: those
    keys of the listener, as maps in braces or lists."""

    def __init__(self, config, workers=2, engine=ENGINE, more=(), before=(), port=None,
                 tls=None, proxy_protocol=None, http=None, **popen):
        self.port, self.admin = free_ports(2)
        self.port = port or self.port
        self.path = os.path.join(TMP, f"fairlead-{self.port}-{self.admin}.yaml")
        with open(self.path, "w") as f:
            listen = f"address: 127.0.0.1:{self.port}"
            listen += f", tls: {tls}" if tls else ""
            listen += f", proxy_protocol: {proxy_protocol}" if proxy_protocol else ""
            listen += f", http: {http}" if http else ""
            f.write(f"listen: [{{ {listen} }}]\nadmin: 127.0.0.1:{self.admin}\n")
            f.write(config)
        super().__init__("fairlead", [*before, FAIRLEAD, "-c", self.path, "--engine", engine,
                                      "--workers", str(workers), *more],
                         ready="fairlead: ready", **popen)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"

    def children(self):
        """The child processes of the supervisor, the oldest first."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as f:
            return [int(pid) for pid in f.read().split()]

    def worker_pid(self):
        """The oldest child of the supervisor: the worker process. None: there is none."""
        return next(iter(self.children()), None)

    def metrics(self):
        """{name: value}, summed over workers and all other labels but class."""
        sums = {}
        for line in get(self.admin, "/metrics").body.decode().splitlines():
            found = re.match(r'fairlead_(\w+)(?:\{(.*)\})? ([0-9.e+-]+)$', line)
            if not found or "_bucket" in found[1]:
                continue
            name = found[1]
            status = re.search(r'class="(\w+)"', found[2] or "")
            if status:
                name += "_" + status[1]
            sums[name] = sums.get(name, 0) + float(found[3])
        return sums

    def samples(self, name, **labels):
        """The sum of the samples of fairlead_NAME that have these labels."""
        text, total = get(self.admin, "/metrics").body.decode(), 0
        for sample in re.findall(rf"(?m)^fairlead_{name}(?:\{{(.*)\}})? (\S+)$", text):
            given = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', sample[0]))
            if all(given.get(label) == value for label, value in labels.items()):
                total += float(sample[1])
        return total

    def anonymous_kib(self):
        """RSS of the worker process without file mappings."""
        with open(f"/proc/{self.worker_pid()}/status") as f:
            return int(re.search(r"RssAnon:\s+(\d+)", f.read())[1])

    def resident_kib(self):
        with open(f"/proc/{self.worker_pid()}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1])

    def cpu_us(self):
        """CPU time so far of supervisor and worker process."""
        pids = [self.pid, self.worker_pid()]
        return sum(cpu_us(pid) for pid in pids if pid)


def example(name, http, memcached):
    """examples/NAME.yaml with other ports, and without the addresses that Fairlead adds."""
    with open(os.path.join(ROOT, "examples", name + ".yaml")) as f:
        text = f.read()
    text = re.sub(r"(?m)^(listen|admin):.*\n", "", text)
    return (text.replace("127.0.0.1:6000", f"127.0.0.1:{http}")
                .replace("127.0.0.1:11212", f"127.0.0.1:{memcached}"))


def cpu_us(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total // 1000


# --- requests -------------------------------------------------------------------

class Answer:
    def __init__(self, head, body):
        self.status = int(head.split(b" ", 2)[1])
        self.head = head.decode("latin-1")
        self.body = body

    def field(self, name):
        found = re.search(rf"(?im)^{name}:[ \t]*(.*?)\r?$", self.head)
        return found[1] if found else None


def get(port, path, fields="", patience_s=PATIENCE_S):
    """One GET on a connection of its own, read to the end."""
    with socket.create_connection(("127.0.0.1", port), patience_s) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                  f"Connection: close\r\n{fields}\r\n".encode())
        text = b""
        while chunk := s.recv(65536):
            text += chunk
    head, _, body = text.partition(b"\r\n\r\n")
    check(head, f"no response to GET {path}")
    if b"\r\ntransfer-encoding: chunked" in head.lower():
        body = whole_of(body, path)
    return Answer(head, body)


def whole_of(chunks, path):
    """The data of all chunks; the last chunk must be there."""
    parts, at = [], 0
    while True:
        line = chunks.find(b"\r\n", at)
        check(line >= 0, f"GET {path}: the response is incomplete")
        n = int(chunks[at:line].split(b";")[0], 16)
        if n == 0:
            return b"".join(parts)
        parts.append(chunks[line + 2:line + 2 + n])
        at = line + 2 + n + 2


def load(port, path, n, at_once=None):
    """Runs tests/real/load.c with n requests at once; its result as {name: value}."""
    command = [os.path.join(TOOLS, "load"), *(["-c", str(at_once)] if at_once else []),
               "127.0.0.1", str(port), path, str(n)]
    out = subprocess.run(command, capture_output=True, text=True).stdout
    return load_result(out)


def load_result(line):
    return {k: v.strip('"') if v[0] == '"' else float(v)
            for k, v in re.findall(r'(\w+)=("[^"]*"|\S+)', line)}


def wrk(port, path, connections, seconds, threads=1):
    """Requests, those that failed, and requests per second of one wrk run."""
    out = subprocess.run([os.path.join(PEERS, "wrk"), f"-t{threads}", f"-c{connections}",
                          f"-d{seconds}s", "--timeout", "10s",
                          f"http://127.0.0.1:{port}{path}"],
                         capture_output=True, text=True).stdout
    found = re.search(r"(\d+) requests in", out)
    check(found, f"wrk: {out}")
    errors = sum(int(n) for line in re.findall(r"Socket errors: (.*)", out)
                 for n in re.findall(r"\d+", line))
    errors += sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    return int(found[1]), errors, rate
