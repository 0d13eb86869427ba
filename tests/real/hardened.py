#!/usr/bin/env python3
"""The release program has the hardening of its build flags."""
# release: it checks the flags of the release build
# once
import platform
import subprocess

import rig


def readelf(*words):
    return subprocess.run(["readelf", "--wide", *words, rig.FAIRLEAD], check=True,
                          capture_output=True, text=True).stdout


def row(text, name):
    """The line of a table that begins with this word."""
    found = [line for line in text.splitlines() if line.split()[:1] == [name]]
    rig.check(len(found) == 1, f"{len(found)} rows {name}")
    return found[0]


def loaded_anywhere():
    rig.check("DYN (" in readelf("--file-header"), "no position-independent executable")
    rig.check(" PIE" in readelf("--dynamic"), "no PIE among the flags")


def nothing_to_overwrite():
    """The tables that calls go through are filled in at the start, then read only."""
    row(readelf("--program-headers"), "GNU_RELRO")
    dynamic = readelf("--dynamic")
    rig.check("NOW" in dynamic, "symbols are bound late, so RELRO is not full")
    rig.check("TEXTREL" not in dynamic, "relocations in the code")
    rig.check("RPATH" not in dynamic and "RUNPATH" not in dynamic, "a path to libraries")


def nothing_to_execute():
    """What can be written cannot be executed."""
    headers = readelf("--program-headers")
    rig.check("E" not in row(headers, "GNU_STACK").split()[-2], "an executable stack")
    for line in headers.splitlines():
        if line.split()[:1] == ["LOAD"]:
            flags = line.split("0x")[-2].split(None, 1)[1]
            rig.check(not {"W", "E"} <= set(flags), f"writable code: {line}")


def overflows_seen():
    symbols = readelf("--dyn-syms")
    rig.check("__stack_chk_fail" in symbols, "no stack protector")
    rig.check("_chk@" in symbols.replace("__stack_chk_fail", ""), "no _FORTIFY_SOURCE")


def jumps_checked():
    """What may be jumped to is marked so. The note that tells the kernel is there only if
    the C library's own start-up code is marked as well, so the code itself is read."""
    mark = {"x86_64": "endbr64", "aarch64": "paciasp"}.get(platform.machine())
    code = subprocess.run(["objdump", "--disassemble=main", rig.FAIRLEAD], check=True,
                          capture_output=True, text=True).stdout
    rig.check(not mark or mark in code, f"no {mark} in main")


def main():
    for test in (loaded_anywhere, nothing_to_overwrite, nothing_to_execute, overflows_seen,
                 jumps_checked):
        test()
        print(test.__name__)


rig.main(main)
