"""The source tree, for the checks of this folder."""
import os
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')
NOT_OURS = (".git", "build", "__pycache__")


class Tree:
    def __init__(self, root):
        self.root = root
        self.paths = sorted(self.walk())
        self.lines = {}

    def walk(self):
        for folder, folders, files in os.walk(self.root):
            folders[:] = [f for f in folders if f not in NOT_OURS]
            for name in files:
                yield os.path.relpath(os.path.join(folder, name), self.root)

    def code(self, *tops):
        """C files below the given folders, default include and src."""
        tops = tuple(t + "/" for t in tops or ("include", "src"))
        return [p for p in self.paths
                if p.startswith(tops) and p.endswith((".c", ".h", ".def"))]

    def read(self, path):
        if path not in self.lines:
            with open(os.path.join(self.root, path), errors="replace") as f:
                self.lines[path] = f.read().split("\n")
        return self.lines[path]

    def includes(self, path):
        """(line number, is it <system>, name) of each #include."""
        for number, line in enumerate(self.read(path), 1):
            found = INCLUDE.match(line)
            if found:
                yield number, found.group(1) == "<", found.group(2)

    def included_file(self, path, name):
        """The file of the tree that #include "name" in path means, or None."""
        for there in (os.path.join(os.path.dirname(path), name),
                      os.path.join("include", name)):
            if os.path.exists(os.path.join(self.root, there)):
                return os.path.normpath(there)
        return None


def main(check):
    """Prints what check(tree) yields; everything but a warning is a failure."""
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    faults = list(check(Tree(os.path.normpath(sys.argv[1] if sys.argv[1:] else default))))
    print(*faults, sep="\n", end="\n" if faults else "")
    sys.exit(any(": warning: " not in fault for fault in faults))
