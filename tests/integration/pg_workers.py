#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A worker that is frozen past its lease while another command takes over, and what it does when it wakes up.

pg_cluster.sh run pg_workers.py COFFER          each case in a database of its own, at the same time
pg_cluster.sh run pg_workers.py COFFER CASE

A lease is 30 seconds, which is what the cases take.  (T): without the epoch inside the transaction a frozen worker writes
under a key that was aborted, even destroyed.
"""
import os
import signal
import subprocess
import sys
import threading
import time

from pg_proxy import Proxy
from pg_support import (NOW, active_key, all_under, background, check, coffer, end, finish, psql, same, start, state_of, status, step,
                        until)

ROWS = 3000
SCHEMA = f"""
CREATE TABLE people(id int PRIMARY KEY, ssn text);
INSERT INTO people SELECT i, 's' || i FROM generate_series(1, {ROWS}) i;
CREATE TABLE writes(id int, old text, new text);
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
  INSERT INTO writes VALUES(NEW.id, encode(substr(OLD.ssn_sealed, 5, 4), 'hex'), encode(substr(NEW.ssn_sealed, 5, 4), 'hex'));
  RETURN NULL; END$$;
"""


class Freezer:
    """Holds the first connection that wants to run `before`, once `after` was asked for, and stops the process behind it."""

    def __init__(self, after, before):
        self.after, self.before, self.armed, self.frozen = after, before, False, None
        self.wake = threading.Event()
        self.child = None

    def at(self, _, sql):
        if self.frozen is None and self.armed and sql.startswith(self.before):
            self.frozen = sql
            os.kill(self.child.pid, signal.SIGSTOP)
            return self.wake
        self.armed = self.armed or self.after in sql
        return None

    def thaw(self):
        os.kill(self.child.pid, signal.SIGCONT)
        self.wake.set()


WRITING = ('UPDATE "public"."people"', "COMMIT")  # its rows are written and locked, not committed
READ = ('FROM "public"."people"', "BEGIN ISOLATION LEVEL READ COMMITTED")  # its envelopes are sealed, nothing is sent


def frozen_rotation(direct, where):
    """A rotation whose command is frozen in the middle of its second batch or so."""
    psql(SCHEMA, direct)
    coffer("keyring", "init")
    coffer("protect", "--yes", *NOW, direct, "people.ssn")
    psql("CREATE TRIGGER log AFTER UPDATE ON people FOR EACH ROW EXECUTE FUNCTION log()", direct)
    freezer = Freezer(*where)
    proxy = Proxy(direct, freezer.at)
    freezer.child = background("rotate", "--yes", *NOW, "--batch", "200", proxy.url)
    until("it is frozen", lambda: freezer.frozen)
    return freezer


def values(direct):
    same("values", coffer("cat", direct, "people"), psql("COPY (SELECT i, 's' || i FROM generate_series(1, " + str(ROWS) + ") i) TO STDOUT (FORMAT csv)", direct)
         .join(["id,ssn\n", "\n"]))


def written_once(direct, old, new):
    same("every row was written once, from the old key to the new",
         psql("SELECT count(*), count(DISTINCT id), min(old), max(old), min(new), max(new) FROM writes", direct),
         f"{ROWS}|{ROWS}|{old}|{old}|{new}|{new}")


def taken_over(direct, where):
    freezer = frozen_rotation(direct, where)
    began = time.monotonic()
    old = step(direct)["from"]
    coffer("rotate", "--yes", *NOW, direct, timeout=200)
    waited = time.monotonic() - began
    check(f"the other took over when the lease had run out: {waited:.0f} s", 15 < waited < 120)
    new = active_key()
    check("the rotation is complete", all_under(direct, new) and state_of(old) == "escrowed" and step(direct) is None)
    freezer.thaw()
    finish(freezer.child)
    check("it began no rotation of its own when it woke up", active_key() == new)
    check("nothing has changed", all_under(direct, new))
    written_once(direct, old, new)
    values(direct)


def aborted(direct):
    freezer = frozen_rotation(direct, READ)
    old, new = step(direct)["from"], step(direct)["to"]
    coffer("rotate", "--abort", *NOW, direct, timeout=200)
    check("the first key is active again", active_key() == old and all_under(direct, old))
    check("the other is in escrow", state_of(new) == "escrowed")
    before = psql("SELECT count(*) FROM writes", direct)
    freezer.thaw()
    finish(freezer.child)
    same("the one that woke up wrote nothing", psql("SELECT count(*) FROM writes", direct), before)
    check("not under the aborted key either", all_under(direct, old))
    check("and began nothing", active_key() == old and status(direct)["rotations"] == [])
    values(direct)


CASES = {
    "writing": lambda url: taken_over(url, WRITING),
    "read": lambda url: taken_over(url, READ),
    "aborted": aborted,
}


def main():
    if len(sys.argv) > 2:
        CASES[sys.argv[2]](start(f"workers_{sys.argv[2]}"))
        end()
        return
    children = [subprocess.Popen([sys.executable, __file__, sys.argv[1], case]) for case in CASES]
    sys.exit(max(child.wait() for child in children))


main()
