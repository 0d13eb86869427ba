#!/usr/bin/env python3
"""io_uring as in older kernels: each optional kernel feature is switched off, then all; each time
the contract suite and varnishtest scripts of every kind must pass."""
# once
import concurrent.futures
import os
import subprocess

import rig

FEATURES = ("cap", "silent", "no_iowait", "ringfd", "restrictions")
SCRIPTS = ("request_body", "response_body", "pipeline", "upgrade", "drain", "memcached_pipeline",
         "too_slow", "origin_short", "queue")


def run(what, command, without):
    got = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True,
                         env={**os.environ, "FAIRLEAD_RING_WITHOUT": without})
    if got.returncode == 77:
        rig.skip(got.stdout)
    rig.check(got.returncode == 0, f"{what} without {without}:\n{got.stdout[-4000:]}")


def run_vtc(name, without):
    macros = {"fairlead": rig.FAIRLEAD, "lab": rig.LAB, "peers": rig.PEERS,
              "engine": "io_uring"}
    run(name, [os.path.join(rig.PEERS, "varnishtest"), "-t", "60",
               *(f"-D{k}={v}" for k, v in macros.items()),
               os.path.join(rig.ROOT, "tests/vtc", name + ".vtc")], without)


def test():
    contract = os.path.join(os.path.dirname(os.path.dirname(rig.TOOLS)), "tests/contract")
    for without in (*FEATURES, ",".join(FEATURES)):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:    # they mostly wait
            list(pool.map(lambda name: run_vtc(name, without), SCRIPTS))
        run("the contract suite", [contract, "io_uring"], without)
        print(f"without {without}: contract suite and {len(SCRIPTS)} varnishtest scripts", flush=True)


rig.main(test)
