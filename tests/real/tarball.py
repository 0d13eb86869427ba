#!/usr/bin/env python3
"""`make dist`: the same bytes with another umask, with other times, and from the unpacked tarball,
where there is no git; it has the files that git has. tests/dist builds and installs it."""
# once
# release: nothing is run
import filecmp
import os
import shutil
import subprocess
import tarfile

import rig


def git(tree, *words):
    return subprocess.run(["git", *words], cwd=tree, check=True, capture_output=True).stdout


def dist(tree, umask):
    """A copy of the tarball that tools/dist makes of this tree."""
    done = subprocess.run(["tools/dist"], cwd=tree, umask=umask, capture_output=True, text=True,
                          check=False)
    rig.check(done.returncode == 0, f"{done}")
    made = os.path.join(tree, done.stdout.split()[1])
    return shutil.copy(made, os.path.join(rig.TMP, f"{len(os.listdir(rig.TMP))}.tar.gz"))


def main():
    if not shutil.which("git") or not os.path.exists(os.path.join(rig.ROOT, ".git")):
        rig.skip("no git")
    tree = os.path.join(rig.TMP, "tree")
    files = [name for name in git(rig.ROOT, "ls-files", "-z").decode().split("\0")
             if os.path.lexists(os.path.join(rig.ROOT, name)) and name]
    for name in files:    # as they are, also what is not committed yet
        os.makedirs(os.path.dirname(os.path.join(tree, name)), exist_ok=True)
        shutil.copy(os.path.join(rig.ROOT, name), os.path.join(tree, name), follow_symlinks=False)
    git(tree, "init", "-q")
    git(tree, "add", "-A", "-f")
    git(tree, "-c", "user.name=t", "-c", "user.email=t@t.test", "commit", "-q", "-m", "all")
    first = dist(tree, 0o022)
    os.utime(os.path.join(tree, "README.md"), (1, 1))
    os.chmod(os.path.join(tree, "README.md"), 0o600)
    second = dist(tree, 0o077)
    with tarfile.open(first) as tar:
        members = tar.getmembers()
        tar.extractall(rig.TMP)
    folder = members[0].name.partition("/")[0]
    have = {m.name.partition("/")[2] for m in members}
    rig.check(have == set(files), lambda: f"{have ^ set(files)}")
    rig.check({m.uid for m in members} == {0} and {m.mode for m in members} == {0o644, 0o755},
              f"{ {oct(m.mode) for m in members} }")
    third = dist(os.path.join(rig.TMP, folder), 0o022)
    for other in second, third:
        rig.check(filecmp.cmp(first, other, shallow=False), f"{other} differs")
    print(f"{folder}: {len(members)} files, {os.path.getsize(first) >> 10} KiB")


rig.main(main)
