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
    """The row of a table that begins with this word."""
    found = [line for line in text.splitlines() if line.split()[:1] == [name]]
    rig.check(len(found) == 1, f"{len(found)} rows {name}")
    return found[0]


def loaded_anywhere():
    rig.check("DYN (" in readelf("--file-header"), "no position-independent executable")
    rig.check(" PIE" in readelf("--dynamic"), "no PIE among the flags")


def nothing_to_overwrite():
    """The tables of function addresses are filled in at the start, then read-only."""
    row(readelf("--program-headers"), "GNU_RELRO")
    dynamic = readelf("--dynamic")
    rig.check("NOW" in dynamic, "symbols are bound late, so RELRO is not full")
    rig.check("TEXTREL" not in dynamic, "relocations in the code")
    rig.check("RPATH" not in dynamic and "RUNPATH" not in dynamic, "a path to libraries")


def nothing_to_execute():
    """No memory is both writable and executable."""
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
    """Targets of indirect jumps are marked. The note for the kernel exists only if the C library's
    start-up code is marked, too; so this reads the code itself."""
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
