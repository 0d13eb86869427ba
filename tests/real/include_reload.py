#!/usr/bin/env python3
"""A reload of a configuration with `include`: a file that is added to the pattern's, changed,
broken or removed takes effect or is refused with its own name, line and column; what was in force
goes on."""
# asan
import os
import re
import shutil
import signal

import rig

HEAD = """
include: [{tmp}/sites/*.yaml]
upstreams: {{ app: {{ servers: [127.0.0.1:{origin}] }} }}
routes: [{{ path: /main, proxy: {{ upstream: app, path: /delay/1 }} }}]
"""


def site(name, text):
    """Written as an editor does: under another name, which the pattern does not have, first."""
    path = f"{rig.TMP}/sites/{name}"
    with open(path + ".new", "w") as f:
        f.write(text)
    os.rename(path + ".new", path)
    return path


def route(path, upstream="app"):
    return f"routes: [{{ path: {path}, proxy: {{ upstream: {upstream}, path: /delay/1 }} }}]\n"


def reload(proxy, good=True):
    """What the reload has said."""
    before = len(proxy.log())
    proxy.signal(signal.SIGHUP)
    end = "fairlead: reloaded " if good else "fairlead: not reloaded: "
    rig.until(lambda: re.search(r"fairlead: (not )?reloaded", proxy.log()[before:]), "the reload")
    said = proxy.log()[before:]
    rig.check(end in said, said)
    return said


def serves(proxy, **routes):
    """The status of each path."""
    got = {name: rig.get(proxy.port, f"/{name}").status for name in routes}
    rig.check(got == routes, lambda: f"{got} instead of {routes}")


def refused(proxy, path, *places):
    """Each place is named once, in its file."""
    said = reload(proxy, good=False)
    for place in places:
        rig.check(said.count(f"{path}:{place}") == 1, lambda: f"{path}:{place} in {said}")


def main():
    origin, = rig.free_ports(1)
    rig.lab(http=origin)
    os.mkdir(f"{rig.TMP}/sites")
    a = site("a.yaml", route("/a"))
    proxy = rig.Fairlead(HEAD.format(tmp=rig.TMP, origin=origin), workers=1)
    serves(proxy, main=200, a=200, b=404)

    # One more file, with an upstream of its own.
    site("b.yaml", f"upstreams: {{ b: {{ servers: [127.0.0.1:{origin}] }} }}\n" + route("/b", "b"))
    serves(proxy, b=404)
    reload(proxy)
    serves(proxy, main=200, a=200, b=200)

    # A pattern does not have every file of the folder.
    site("c.yml", "this is no configuration: [\n")
    reload(proxy)

    # Broken in three ways: each is named by the file it is in, and nothing changes.
    for text, *places in (
            (route("/a") + "nonsense: 1\n", "2:1: unknown key "),
            (route("/a", "none") + "wrong: 2\n", "1:41: ", "2:1: unknown key "),
            ("routes: [\n", "2:1: ")):
        site("a.yaml", text)
        refused(proxy, a, *places)
        serves(proxy, main=200, a=200, b=200)
    # The same key in two files: both are named.
    site("a.yaml", f"upstreams: {{ b: {{ servers: [127.0.0.1:{origin}] }} }}\n" + route("/a"))
    said = reload(proxy, good=False)
    rig.check(f"{rig.TMP}/sites/b.yaml:1:" in said and "sites/a.yaml" in said, said)
    serves(proxy, main=200, a=200, b=200)

    # Mended and changed; then removed, with the upstream that only its routes used.
    site("a.yaml", route("/a2"))
    reload(proxy)
    serves(proxy, main=200, a=404, a2=200, b=200)
    os.unlink(f"{rig.TMP}/sites/b.yaml")
    reload(proxy)
    serves(proxy, main=200, a2=200, b=404)
    # A file that the others need.
    site("d.yaml", f"upstreams: {{ d: {{ servers: [127.0.0.1:{origin}] }} }}\n")
    site("a.yaml", route("/a3", "d"))
    reload(proxy)
    serves(proxy, a2=404, a3=200)
    os.unlink(f"{rig.TMP}/sites/d.yaml")
    refused(proxy, a, "1:42: ")
    serves(proxy, main=200, a3=200)
    # A pattern without a file is no error, as at the start.
    shutil.rmtree(f"{rig.TMP}/sites")
    reload(proxy)
    serves(proxy, main=200, a3=404)
    proxy.stop()


rig.main(main)
