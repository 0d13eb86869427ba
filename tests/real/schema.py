#!/usr/bin/env python3
"""The JSON schema accepts what fairlead accepts, and finds what is wrong with keys and scalars."""
# once
import glob
import json
import os
import re
import subprocess

import jsonschema
import yaml

import rig

GOOD = """listen: [8080]
upstreams: { app: { servers: [127.0.0.1:1] } }
routes: [ { prefix: /, proxy: { upstream: app } } ]
"""
# What is added to GOOD.
ACCEPTED = [
    "", "workers: auto\n", "workers: 3\n", "workers: ${env.N:-2}\n", "sandbox: off\n", "sandbox: no\n",
    "access_log: off\n", "access_log: { format: json }\n", "access_log: [{ format: json }]\n",
    "limits: { idle_timeout: 1.5s, request_body: none, window: 64KiB }\n", "x-mine: { a: [b] }\n",
    "defaults: { upstream: { queue: 3 }, route: { deadline: none } }\n",
    "hosts: { a.test: { deadline: 3s, routes: [{ path: /, proxy: { upstream: app } }] } }\n",
    "include: [sites/*.yaml]\n", "resolver: off\n", "trusted_proxies: 10.0.0.0/8\n",
    "x-u: &u { queue: 4 }\nhosts: { b.test: { <<: { deadline: 3s }, proxy: { upstream: app } } }\n",
]
# What is added, and the path of the value that is wrong.
WRONG = [
    ("workrs: 3\n", []), ("workers: many\n", ["workers"]), ("workers: 300\n", ["workers"]),
    ("engine: fast\n", ["engine"]), ("limits: { idle_timeout: 60 }\n", ["limits", "idle_timeout"]),
    ("limits: { window: 64K }\n", ["limits", "window"]), ("limits: { no_such: 1 }\n", ["limits"]),
    ("access_log: { format: jsn }\n", ["access_log", "format"]),
    ("defaults: { upstream: { quue: 3 } }\n", ["defaults", "upstream"]),
    ("defaults: { route: { deadline: 3 } }\n", ["defaults", "route", "deadline"]),
    ("hosts: { a.test: { routes: [{ path: /, proxi: {} }] } }\n", ["hosts", "a.test", "routes", 0]),
    ("hosts: { a.test: { rutes: [] } }\n", ["hosts", "a.test"]),
    ("routes: [{ prefix: /, proxy: { upstrem: app } }]\n", ["routes", 0, "proxy"]),
    ("routes: [{ prefix: /, memcached: { upstream: mc } }]\n", ["routes", 0, "memcached"]),
    ("upstreams: { app: { queue: 3 } }\n", ["upstreams", "app"]),
    ("upstreams: { app: { servers: [{ address: a:1, wait: 3 }] } }\n",
     ["upstreams", "app", "servers", 0]),
    ("upstreams: { app: { servers: [a:1], health_check: { path: x } } }\n",
     ["upstreams", "app", "health_check", "path"]),
]


class Loader(yaml.SafeLoader):
    """YAML 1.2, as editors read it: only true and false are booleans."""


BOOL = "tag:yaml.org,2002:bool"
Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}
Loader.add_implicit_resolver(BOOL, re.compile("true|false"), list("tf"))


def main():
    said = subprocess.run([rig.FAIRLEAD, "--schema"], capture_output=True, text=True)
    rig.check(said.returncode == 0, f"{said}")
    schema = json.loads(said.stdout)
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)

    def faults(text):
        return list(validator.iter_errors(yaml.load(text, Loader)))

    for more in ACCEPTED:
        found = faults(GOOD + more)
        rig.check(not found, lambda: f"{more}: {found[0].message} at {list(found[0].path)}")
    for more, path in WRONG:
        # In YAML of Python the last of two equal keys counts.
        found = faults(GOOD + more)
        rig.check(any(list(f.absolute_path) == path for f in found),
                  lambda: f"{more}: {[(list(f.absolute_path), f.message) for f in found]}")
    for path in glob.glob(os.path.join(rig.ROOT, "examples", "*.yaml")):
        with open(path) as f:
            found = faults(f.read())
        rig.check(not found, lambda: f"{path}: {found[0].message} at {list(found[0].path)}")


rig.main(main)
