#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lines that the tests reached, by folder of src/:  coverage.py BUILD [-v]

BUILD is a folder made with -Db_coverage=true in which tests have run.  -v adds every file and the numbers of its lines that
were not reached.  A line that says /* uncovered: why */ cannot be reached by a test and does not count."""
import collections
import glob
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def reports(build):
    """What gcov says of each object of src/, as JSON."""
    # libcoffer's objects are those of the static libraries; a test links either.
    data = glob.glob(os.path.join(build, "src", "**", "*.gcno"), recursive=True)
    for at in range(0, len(data), 50):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(["gcov", "--json-format", "--stdout", *data[at:at + 50]], cwd=folder, capture_output=True,
                                  text=True, check=True)
        for line in done.stdout.splitlines():
            if line.startswith("{"):
                yield json.loads(line)


def lines_reached(build):
    """{file: {line: times}}, files relative to src/."""
    files = collections.defaultdict(dict)
    for report in reports(os.path.abspath(build)):
        for entry in report["files"]:
            path = os.path.relpath(os.path.join(report["current_working_directory"], entry["file"]), os.path.join(ROOT, "src"))
            if path.startswith(".."):
                continue
            for line in entry["lines"]:
                times = files[path]
                times[line["line_number"]] = times.get(line["line_number"], 0) + line["count"]
    for path, times in files.items():
        with open(os.path.join(ROOT, "src", path), encoding="utf-8") as source:
            for number, text in enumerate(source, 1):
                if "uncovered:" in text:
                    times.pop(number, None)
    return files


def ranges(numbers):
    """[3, 4, 5, 9] as "3-5 9"."""
    out = []
    for n in numbers:
        if out and out[-1][1] == n - 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return " ".join(str(a) if a == b else f"{a}-{b}" for a, b in out)


def share(name, total, reached, more=""):
    print(f"{100 * reached / total if total else 100:6.1f} %  {reached:6} of {total:6}  {name}{more}")


def main():
    build, verbose = sys.argv[1], "-v" in sys.argv[2:]
    files = lines_reached(build)
    if not files:
        sys.exit(f"{build}: no coverage data; make it with meson setup -Db_coverage=true and run tests in it")
    folders = collections.defaultdict(list)
    for path in sorted(files):
        folders[os.path.dirname(path)].append(path)
    everything = [0, 0]
    for folder, paths in sorted(folders.items()):
        totals = [0, 0]
        for path in paths:
            missed = sorted(n for n, times in files[path].items() if times == 0)
            counts = len(files[path]), len(files[path]) - len(missed)
            totals = [a + b for a, b in zip(totals, counts)]
            if verbose:
                share("  src/" + path, *counts, "  not: " + ranges(missed) if missed else "")
        share(f"src/{folder}/", *totals)
        everything = [a + b for a, b in zip(everything, totals)]
    share("all", *everything)


main()
