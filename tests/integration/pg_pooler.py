#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The whole life of a column through pgbouncer in transaction mode, with traffic through it: pg_pooler.py COFFER"""
import os
import sys
import threading

from pg_support import NOW, active_key, all_under, check, coffer, end, psql, same, start, state_of, status

if "COFFER_TEST_PGBOUNCER" not in os.environ:
    print("SKIPPED: pgbouncer is not installed (package pgbouncer)")
    sys.exit(77)
start("pooler")
URL = os.environ["COFFER_TEST_PGBOUNCER"]  # the one database that the pooler knows
ROWS = 2000
SCHEMA = f"""
CREATE TABLE pooled(id int PRIMARY KEY, v text, born date, visits int NOT NULL DEFAULT 0);
INSERT INTO pooled(id, v, born) SELECT i, CASE WHEN i % 4 > 0 THEN 'v' || i END, date '1950-01-01' + i FROM generate_series(1, {ROWS}) i;
"""
COLUMNS = ("pooled.v", "pooled.born")
COPY = "COPY (SELECT id, v, born FROM pooled ORDER BY id) TO STDOUT (FORMAT csv, HEADER)"


class Traffic(threading.Thread):
    """Requests of another application, each on whatever server connection the pooler has."""

    def __init__(self):
        super().__init__(daemon=True)
        self.stop, self.done, self.error = threading.Event(), 0, None

    def run(self):
        while not self.stop.is_set():
            try:
                psql(f"UPDATE pooled SET visits = visits + 1 WHERE id = {1 + self.done % ROWS}", URL)
                self.done += 1
            except AssertionError as error:
                self.error = error
                return


def main():
    psql(SCHEMA, URL)
    expected = psql(COPY, URL)
    coffer("keyring", "init")

    def values(when):
        lines = coffer("cat", URL, "pooled").removesuffix("\n").split("\n")
        same(f"values {when}", "\n".join(line.rsplit(",", 1)[0] for line in lines), expected)

    traffic = Traffic()
    traffic.start()
    coffer("protect", "--yes", *NOW, "--no-unaware-clients", URL, *COLUMNS)
    check("both are sealed", {c["phase"] for c in status(URL)["columns"]} == {"sealed"})
    values("protected")
    for workers in ("1", "2"):
        old = active_key()
        coffer("rotate", "--yes", *NOW, "--workers", workers, URL)
        check("everything is under the new key", all_under(URL, active_key()))
        check("the old one is in escrow", state_of(old) == "escrowed")
        values(f"rotated by {workers}")
    coffer("prove", URL, old, "--out", "cert.json")
    traffic.stop.set()
    traffic.join()
    check(f"no request of {traffic.done} failed: {traffic.error}", traffic.error is None and traffic.done > 10)
    same("every request was kept", psql("SELECT sum(visits) FROM pooled", URL), str(traffic.done))
    left = psql("SELECT current_setting('lock_timeout'), current_setting('row_security'), current_setting('coffer.rotation', true)", URL)
    check(f"no setting stays in a pooled connection: {left}", left in ("0|on|", "0|on"))
    coffer("unprotect", "--yes", *NOW, URL, *COLUMNS)
    same("unprotected", psql(COPY, URL), expected)
    psql("DROP TABLE pooled", URL)
    end()


main()
