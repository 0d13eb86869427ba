"""Messages of the program, read from its source: whether src/ contains a format string that
prints a given line. Used by docs.py; not executable, so that it is no test itself."""
import glob
import os
import re

import rig

LITERAL = r'"(?:[^"\\\n]|\\.)*"'
# Comments and characters are matched first, so that a quote in one opens no literal. PRIu64 and
# the like stand between literals, or at the end.
TOKEN = re.compile(rf"/\*.*?\*/|//[^\n]*|'(?:[^'\\]|\\.)+'|"
                   rf"(?P<text>{LITERAL}(?:\s*(?:PRI\w+|{LITERAL}))*)", re.S)
CONVERSION = re.compile(r"%[-0 #+]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|z|j)?([diouxXcsgmp%]?)")
LETTERS_MIN = 6        # a format with fewer of its own explains nothing
WORDS_MAX = 3          # of what a conversion stands for; more must be explained as well
ERRORS = {os.strerror(n) for n in range(1, 134)}


def unescaped(text):
    return text.replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\").replace("\\r", "")


def texts_of(path):
    """The string literals of a source file, joined as C joins them."""
    with open(path) as f:
        source = f.read()
    for found in TOKEN.finditer(source):
        if found["text"]:
            parts = re.findall(rf"PRI\w+|{LITERAL}", found["text"])
            yield unescaped("".join(p[1:-1] if p[0] == '"' else "llu" for p in parts))


class Format:
    def __init__(self, text):
        text = text.strip()
        pieces, at = [], 0
        own = CONVERSION.sub("", text)
        for c in CONVERSION.finditer(text):
            pieces.append(re.escape(text[at:c.start()]))
            pieces.append("%" if c[1] == "%" else r"([\d.-]*)" if c[1] in ("d", "u", "i", "g", "")
                          else "(.*?)")
            at = c.end()
        pieces.append(re.escape(text[at:]))
        self.pattern = re.compile("".join(pieces), re.S)
        self.inside = re.compile(rf"(?:\S+ ){{0,2}}\(?{''.join(pieces)}\)?(?:,? \S+){{0,3}}", re.S)
        self.own_n = sum(c.isalpha() for c in own.removeprefix("fairlead: "))
        self.longest = max(CONVERSION.split(text)[::2], key=len).strip()


def formats():
    found = {}
    for pattern in ("src/**/*.c", "include/*/*.def"):
        for path in glob.glob(os.path.join(rig.ROOT, pattern), recursive=True):
            for text in texts_of(path):
                if text not in found and "include" not in text:
                    found[text] = Format(text)
    return sorted((f for f in found.values() if f.own_n >= LETTERS_MIN), key=lambda f: -f.own_n)


class Messages:
    def __init__(self):
        self.formats = formats()
        rig.check(len(self.formats) > 500, f"only {len(self.formats)} texts found in src/")

    def part_known(self, text):
        """A name or two, an error of the system, or another message, perhaps with a name before
        and behind it, as what is written in several steps."""
        return any(len(t.split()) <= WORDS_MAX or t in ERRORS or self.known(t) or
                   any(f.inside.fullmatch(t) for f in self.formats if f.longest in t)
                   for t in (text, text.strip(" ;,.()")))

    def known(self, line):
        """Whether a format prints this line, and others what it has put into it."""
        for f in self.formats:
            if f.longest not in line:
                continue
            found = f.pattern.fullmatch(line)
            if found and all(self.part_known(g) for g in found.groups() if g):
                return True
        return False

    def printed(self, line):
        """The same for a line of standard error, with the name or the place before it."""
        line = re.sub(r"^\S+:\d+:\d+: (warning: )?", "", line.strip())
        return self.known(line) or self.known(line.removeprefix("fairlead: "))
