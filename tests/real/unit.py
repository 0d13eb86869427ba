#!/usr/bin/env python3
"""examples/fairlead.service and its socket: systemd finds no mistake in them, its security score is
2.0 at most, and io_uring is allowed."""
# once
import os
import re
import shutil
import subprocess

import rig

EXAMPLES = os.path.join(rig.ROOT, "examples")
UNIT = os.path.join(EXAMPLES, "fairlead.service")
SCORE_MAX = 2.0
PROGRAM = "/usr/local/bin/fairlead"


def settings(path):
    with open(path) as f:
        return [line.strip() for line in f if "=" in line and not line.startswith("#")]


def analyse(*arguments):
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True)


def security():
    done = analyse("security", "--offline=true", f"--threshold={SCORE_MAX * 10:.0f}", UNIT)
    score = re.search(r"Overall exposure level for fairlead.service: ([\d.]+)", done.stdout)
    rig.check(score and float(score[1]) <= SCORE_MAX, done.stdout + done.stderr)
    print(f"exposure {score[1]}")


def verified():
    """With programs that exist, as this one is not installed."""
    for name in "fairlead.service", "fairlead.socket":
        with open(os.path.join(EXAMPLES, name)) as f:
            text = f.read().replace(PROGRAM, rig.FAIRLEAD)
        # The user is made at the installation, the manual with the package.
        text = re.sub("(?m)^(User|Documentation)=.*\\n", "", text)
        with open(os.path.join(rig.TMP, name), "w") as f:
            f.write(text)
    done = analyse("verify", "--man=no", os.path.join(rig.TMP, "fairlead.service"),
                   os.path.join(rig.TMP, "fairlead.socket"))
    said = [line for line in (done.stdout + done.stderr).splitlines() if "fairlead" in line]
    rig.check(not said, "\n".join(said))


def system_calls():
    allowed = [s for s in settings(UNIT) if s.startswith("SystemCallFilter=@")]
    for call in "io_uring_setup", "io_uring_enter", "io_uring_register":
        rig.check(allowed and call in allowed[0], f"the unit does not allow {call}")
    # Both are in a set that the unit forbids, or in none; a later line allows them again.
    last = [s for s in settings(UNIT) if s.startswith("SystemCallFilter=")][-1]
    for call in "capset", "seccomp":
        rig.check(call in last, f"the unit does not allow {call}")


def main():
    if not shutil.which("systemd-analyze"):
        rig.skip("systemd-analyze is missing")
    security()
    verified()
    system_calls()


rig.main(main)
