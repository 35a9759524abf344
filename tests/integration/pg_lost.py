#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The connection to PostgreSQL is lost at each statement of protect, rotate and unprotect in turn, then the same command again.

pg_cluster.sh run pg_lost.py COFFER [PERIOD]

Every row must end as if nothing had happened, and be written exactly once by each rotation: a trigger counts.
"""
import subprocess
import sys
import time

from pg_proxy import Proxy
from pg_support import (COFFER, NOW, active_key, all_under, check, coffer, end, keys, psql, same, start, state_of, status)

DIRECT = start("lost")
PERIOD = int(sys.argv[2]) if len(sys.argv) > 2 else 61
ROWS = 400
SCHEMA = f"""
CREATE TABLE people(id int PRIMARY KEY, ssn text NOT NULL, born date, note text);
INSERT INTO people SELECT i, 's' || i, CASE WHEN i % 5 > 0 THEN date '1950-01-01' + i END, CASE WHEN i % 3 > 0 THEN 'n' || i END
  FROM generate_series(1, {ROWS}) i;
CREATE TABLE twin AS SELECT * FROM people;
CREATE TABLE writes(id int, old text, new text);
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
  INSERT INTO writes VALUES(NEW.id, encode(substr(OLD.ssn_sealed, 5, 4), 'hex'), encode(substr(NEW.ssn_sealed, 5, 4), 'hex'));
  RETURN NULL; END$$;
"""
COLUMNS = ("people.ssn", "people.born", "people.note")
COPY = "COPY (SELECT * FROM {} ORDER BY id) TO STDOUT (FORMAT csv, HEADER)"


class Cuts:
    """Cuts at statement `first` since reset(), and at each `period` statements after; before or after it."""

    def __init__(self):
        self.first, self.period, self.how, self.number = 0, 0, "before", 0
        self.after = self.at_sql = ""
        self.left = 0
        self.seen = {}

    def reset(self, first, period, how):
        self.first, self.period, self.how, self.number = first, period, how, 0
        self.left = 6  # or a step that takes just a period would never end
        self.after = self.at_sql = ""

    def reset_to(self, after, sql, how):
        """Cut once, at this statement, when one with `after` in it has been."""
        self.reset(0, 0, how)
        self.after, self.at_sql = after, sql

    def at(self, _, sql):
        self.number += 1
        if self.at_sql and not self.after and sql.startswith(self.at_sql):
            self.at_sql = ""
            self.seen.setdefault(sql[:16], set()).add(self.how)
            return self.how
        if self.after and self.after in sql:
            self.after = ""
        over = self.number - self.first
        if self.first == 0 or over < 0 or (over % self.period if self.period > 0 else over) != 0 or self.left == 0:
            return None
        self.left -= 1
        self.seen.setdefault(" ".join(sql.split()[:2])[:40], set()).add(self.how)
        return self.how


cuts = Cuts()
proxy = Proxy(DIRECT, cuts.at)
URL = proxy.url


def attempt(*words):
    """Whether the command ended well; if not, it must say that the connection was lost."""
    done = subprocess.run([COFFER, *words], capture_output=True, text=True, check=False, timeout=120)
    said = done.stderr
    assert done.returncode == 0 or (done.returncode == 1 and ("lost" in said or "cannot connect" in said)), (
        words, done.returncode, done.stdout[-2000:], said)
    return done.returncode == 0


def cut_later_each_time(words, first, step, how):
    """One cut a run, each run a little later, until one ends; how many it took."""
    runs = 0
    while True:
        cuts.reset(first + step * runs, 0, how)
        runs += 1
        if attempt(*words):
            cuts.reset(0, 0, how)
            return runs


def cut_all_over(words, first, how):
    """Many cuts in one run, which connects anew each time."""
    cuts.reset(first, PERIOD, how)
    ended = attempt(*words)
    cuts.reset(0, 0, how)
    if not ended:
        coffer(*words)


def rotated_once(old, new):
    """Each row was written by one committed transaction, from the old key to the new one."""
    same("rows written", psql("SELECT count(*), count(DISTINCT id), min(old), max(old), min(new), max(new) FROM writes", DIRECT),
         f"{ROWS}|{ROWS}|{old}|{old}|{new}|{new}")


def main():
    psql(SCHEMA, DIRECT)
    expected = psql(COPY.format("twin"), DIRECT) + "\n"
    coffer("keyring", "init")

    def values(when):
        same(f"values {when}", coffer("cat", DIRECT, "people"), expected)

    for how, first in (("before", 1), ("after", 3)):
        runs = cut_later_each_time(("protect", "--yes", *NOW, URL, *COLUMNS), first, 5, how)
        check("all is sealed", {c["phase"] for c in status(DIRECT)["columns"]} == {"sealed"} and all_under(DIRECT, active_key()))
        values(f"protected with cuts {how}")
        runs += cut_later_each_time(("unprotect", "--yes", *NOW, URL, *COLUMNS), first, 5, how)
        same("unprotected", psql(COPY.format("people"), DIRECT) + "\n", expected)
        print(f"protect and unprotect, cut {how}: {runs} runs", flush=True)
    coffer("protect", "--yes", *NOW, URL, *COLUMNS)
    psql("CREATE TRIGGER log AFTER UPDATE ON people FOR EACH ROW EXECUTE FUNCTION log()", DIRECT)

    def rotated(run):
        old = active_key()
        psql("TRUNCATE writes", DIRECT)
        run(("rotate", "--yes", *NOW, URL))
        new = active_key()
        check("everything is under the new key", all_under(DIRECT, new))
        check("the old key is in escrow", state_of(old) == "escrowed")
        rotated_once(old, new)

    def cut_at(after, sql, how):
        def run(words):
            cuts.reset_to(after, sql, how)
            check("it goes on by itself", attempt(*words))
        return run

    began, cut = time.monotonic(), proxy.cuts
    for how in ("before", "after"):
        rotated(cut_at('FROM "public"."people"', 'UPDATE "public"', how))
        rotated(cut_at('UPDATE "public"', "COMMIT", how))
    for first in range(2, PERIOD, 3):
        rotated(lambda words, first=first: cut_all_over(words, first, "before" if first % 2 == 0 else "after"))
    values("rotated with cuts")
    print(f"rotations: {proxy.cuts - cut} cuts, {time.monotonic() - began:.0f} s")
    print("cut at:", "; ".join(f"{sql} ({', '.join(sorted(how))})" for sql, how in sorted(cuts.seen.items())))
    for statement in ('UPDATE "public".', "COMMIT"):
        check(f"{statement} was cut before and after", cuts.seen.get(statement) == {"before", "after"})
    check("nothing is open", status(DIRECT)["rotations"] == [] and status(DIRECT)["tampered"] == 0)
    check("one key seals, the others are in escrow", sorted({k["state"] for k in keys()}) == ["active", "escrowed"])
    coffer("audit", "--verify")
    end()


main()
