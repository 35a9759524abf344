#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random instants of protect and of rotations on PostgreSQL, then the same command again: pg_kill9.py COFFER [KILLS [SEED]].

After each kill every row must still be readable, as what it was; at the end everything is under one key and nothing is open."""
import random
import subprocess
import sys
import time

from pg_support import COFFER, NOW, active_key, all_under, check, coffer, end, keys, psql, same, start, status

URL = start("kill9")
KILLS = int(sys.argv[2]) if len(sys.argv) > 2 else 20
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 30)
SCHEMA = """
CREATE TABLE people(id int PRIMARY KEY, ssn text NOT NULL, born date, photo bytea);
INSERT INTO people SELECT i, 's' || i, CASE WHEN i % 4 > 0 THEN date '1950-01-01' + i END, CASE WHEN i % 3 > 0 THEN decode(md5(i::text), 'hex') END
  FROM generate_series(1, 1500) i;
"""
COLUMNS = ("people.ssn", "people.born", "people.photo")


def killed(words, after):
    """Start the command and kill it after so many seconds; whether it had ended by itself before."""
    child = subprocess.Popen([COFFER, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, error = child.communicate(timeout=after)
        assert child.returncode == 0, error
        return False
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return True


def main():
    print("seed", SEED)
    dice = random.Random(SEED)
    psql(SCHEMA, URL)
    expected = psql("COPY people TO STDOUT (FORMAT csv, HEADER)", URL) + "\n"
    coffer("keyring", "init")
    coffer("protect", "--yes", "--shadow-only", *NOW, URL, *COLUMNS)
    # A killed command's connection lives on for a moment, and nobody else writes here.
    words, length = ("protect", "--yes", "--no-unaware-clients", *NOW, URL, *COLUMNS), 2.0
    kills = ended = 0
    while kills < KILLS or (ended == 0 and kills < 3 * KILLS):
        began = time.monotonic()
        if killed(words, dice.uniform(0, length)):
            kills += 1
        else:
            length = max(0.1, (length + time.monotonic() - began) / 2)  # aim within the command's own time
            ended += 1
            words = ("rotate", "--yes", *NOW, URL)
        same(f"values after kill {kills}", coffer("cat", URL, "people"), expected)
    coffer(*words)
    coffer("rotate", "--yes", *NOW, URL)
    same("values at the end", coffer("cat", URL, "people"), expected)
    now = status(URL)
    check("nothing is open", now["rotations"] == [] and now["tampered"] == 0 and not now["restored"])
    check("all is sealed under one key", all_under(URL, active_key()) and {c["phase"] for c in now["columns"]} == {"sealed"})
    check("the other keys are in escrow", {k["state"] for k in keys()} <= {"active", "escrowed"})
    coffer("audit", "--verify")
    print(f"{kills} kills, {ended} commands ended")
    end()


main()
