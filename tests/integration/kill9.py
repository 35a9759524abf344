#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random instants of a whole protect and of whole rotations, then the same command again: kill9.py COFFER [KILLS [SEED]].

After each kill every row must still be readable, as what it was; at the end everything is under one key and nothing is open."""
import csv
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

COFFER = os.path.abspath(sys.argv[1])
KILLS = int(sys.argv[2]) if len(sys.argv) > 2 else 30
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 30)
ROWS = 1500
URL = "sqlite:a.db"
COLUMNS = ["people.ssn", "people.born:date", "people.photo"]


def run(*words):
    done = subprocess.run([COFFER, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.returncode, done.stdout[-2000:], done.stderr)
    return done.stdout


def rows():
    return list(csv.reader(io.StringIO(run("cat", URL, "people", "--format", "csv"))))


def killed(words, after):
    """Start the command and kill it after so many seconds; True if it had ended by itself before."""
    child = subprocess.Popen([COFFER, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, err = child.communicate(timeout=after)
        assert child.returncode == 0, err
        return True
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
        child.communicate()
        return False


def main():
    print("seed", SEED)
    dice = random.Random(SEED)
    os.chdir(tempfile.mkdtemp(prefix="coffer-kill-"))
    os.environ.update(COFFER_KEYRING="k.coffer", COFFER_KEK="file:kek.bin")
    db = sqlite3.connect("a.db")
    db.execute("pragma journal_mode=wal")
    db.execute("create table people(id integer primary key, ssn text, born date, photo blob)")
    db.executemany("insert into people values(?,?,?,?)",
                   [(i, None if i % 9 == 0 else "" if i % 9 == 1 else f"{i:03}-{i}", f"19{i % 100:02}-02-{1 + i % 28:02}",
                     b"\xf9" + bytes([i % 256]) * (i % 90)) for i in range(ROWS)])
    db.commit()
    db.close()
    run("keyring", "init")

    began = time.monotonic()
    run("protect", "--yes", "--shadow-only", URL, *COLUMNS)
    expected = rows()
    assert len(expected) == ROWS + 1
    words, length = ("protect", "--yes", URL, *COLUMNS), 2.0
    kills = finished = 0
    while kills < KILLS or finished == 0:
        started = time.monotonic()
        if killed(words, dice.uniform(0, length)):
            length = max(0.1, (length + time.monotonic() - started) / 2)  # aim within the command's own time
            finished += 1
            words = ("rotate", "--yes", URL)
        else:
            kills += 1
        assert rows() == expected, f"after kill {kills}"
    run("rotate", "--yes", URL)
    assert rows() == expected
    status = json.loads(run("status", "--exact", "--json", URL))
    assert status["rotations"] == [] and status["tampered"] == 0, status
    for column in status["columns"]:
        assert column["phase"] == "sealed" and len(column["by_key"]) == 1 and column["plaintext"] == 0, column
    states = [key["state"] for key in json.loads(run("key", "list", "--json")) if key["purpose"] == "field"]
    assert states.count("active") == 1 and set(states) <= {"active", "escrowed"}, states
    run("audit", "--verify")
    print(f"{kills} kills, {finished} commands ended, {len(states)} keys, {time.monotonic() - began:.0f} s")


main()
