"""The results of a run: rows of (workload, contestant, round, figure, value), their file and their
medians; and the line that shows the progress."""
import csv
import os
import sys
import time

import figures

COLUMNS = ("workload", "contestant", "round", "figure", "value")


class Record:
    def __init__(self, rows=()):
        self.rows = list(rows)

    def add(self, workload, contestant, number, values):
        self.rows += [(workload, contestant, number, figure, float(value))
                      for figure, value in values.items() if value is not None]

    def values(self, workload, contestant, figure):
        return [value for w, c, _, f, value in self.rows
                if (w, c, f) == (workload, contestant, figure)]

    def by_round(self, workload, contestant, figure):
        return {r: value for w, c, r, f, value in self.rows
                if (w, c, f) == (workload, contestant, figure)}

    def median(self, workload, contestant, figure):
        return figures.median(self.values(workload, contestant, figure))

    def names(self, column):
        """The distinct values of a column, in the order in which they were measured."""
        at = COLUMNS.index(column)
        return list(dict.fromkeys(row[at] for row in self.rows))

    def write(self, path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", newline="") as f:
            out = csv.writer(f, lineterminator="\n")
            out.writerow(COLUMNS)
            out.writerows((*row[:4], f"{row[4]:.6g}") for row in self.rows)

    @classmethod
    def read(cls, path):
        with open(path, newline="") as f:
            rows = list(csv.reader(f))[1:]
        return cls((w, c, int(r), figure, float(value)) for w, c, r, figure, value in rows)


class Progress:
    """The forecast is the nominal length of the remaining cells, corrected by the real time of the
    cells so far."""
    def __init__(self, total_s):
        self.total_s, self.done_s = total_s, 0
        self.start = time.monotonic()

    def left_s(self):
        passed = time.monotonic() - self.start
        pace = passed / self.done_s if self.done_s > 10 else 1.2
        return max(self.total_s - self.done_s, 0) * pace

    def show(self, what):
        left = int(self.left_s())
        line = f"{what}; {left // 60}:{left % 60:02} left"
        end = "" if sys.stderr.isatty() else "\n"
        print(f"\r\033[K{line}" if not end else line, end=end, file=sys.stderr, flush=True)

    def advance(self, seconds):
        self.done_s += seconds

    def end(self):
        if sys.stderr.isatty():
            print(file=sys.stderr)
