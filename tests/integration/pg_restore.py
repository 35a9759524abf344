#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Dumps from before a protect and from before an unprotect, put back over the database: pg_restore.py COFFER"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

COFFER = os.path.abspath(sys.argv[1])
SUPER = os.environ["COFFER_TEST_PG_SUPER"]
NAME = f"coffer_restore_{os.getpid()}"
URL = os.environ["COFFER_TEST_PG"].rsplit("/", 1)[0] + "/" + NAME
NOW = ("--settle", "0", "--grace", "0")
PASSED = 0

# A column dropped before the protect makes the numbers of columns others after a dump.
TABLE = """
CREATE TABLE people(gone int, id int PRIMARY KEY, name varchar(30) NOT NULL, born date, fee numeric(10,2), photo bytea);
ALTER TABLE people DROP COLUMN gone;
INSERT INTO people SELECT i, 'n' || i, date '1950-01-01' + i, CASE WHEN i % 3 > 0 THEN i * 1.50 END,
                          decode(md5(i::text), 'hex') FROM generate_series(1, 2000) i;
CREATE TABLE twin AS SELECT * FROM people;
"""
COLUMNS = ("people.name", "people.born", "people.fee", "people.photo")
COPY = "COPY (SELECT {} FROM {} ORDER BY id) TO STDOUT (FORMAT csv, HEADER)"


def coffer(*words, code=0):
    done = subprocess.run([COFFER, *words], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == code, (words, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout + done.stderr


def psql(sql, url=URL, fails=False):
    done = subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", url, "-c", sql],
                          capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == fails, (sql, done.stdout, done.stderr)
    return done.stderr if fails else done.stdout


def dump(path):
    subprocess.run(["pg_dump", "--no-owner", "-f", path, URL], check=True)


def restore(path):
    psql(f"DROP DATABASE {NAME}", SUPER)
    psql(f"CREATE DATABASE {NAME} OWNER coffer_app", SUPER)
    subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", path, URL], check=True)


def check(what, holds):
    global PASSED
    assert holds, what
    PASSED += 1


def status():
    return json.loads(coffer("status", URL, "--json", "--exact"))


def main():
    for program in ("psql", "pg_dump"):
        if shutil.which(program) is None:
            print(f"{program} is not installed (package postgresql-client)")
            sys.exit(77)
    os.chdir(tempfile.mkdtemp(prefix="coffer-restore-"))
    os.environ.update(COFFER_KEYRING="k.coffer", COFFER_KEK="file:kek.bin")
    psql(f"CREATE DATABASE {NAME} OWNER coffer_app", SUPER)
    psql(TABLE)
    expected = psql(COPY.format("*", "twin"))

    def same(when):
        check(f"cat prints what COPY printed, {when}", coffer("cat", URL, "people") == expected)

    coffer("keyring", "init")
    dump("plain.sql")
    coffer("protect", "--yes", *NOW, URL, *COLUMNS)
    dump("sealed.sql")
    coffer("rotate", "--yes", *NOW, URL)
    same("protected and rotated")

    restore("plain.sql")
    check("status sees the restore", status()["restored"])
    refused = coffer("rotate", "--yes", *NOW, URL, code=3)
    check("what it is, is said", "people.name is from before its protect" in refused and "--restored" in refused)
    check("and nothing was changed", psql(COPY.format("*", "people")) == expected)
    coffer("rotate", "--yes", "--restored", *NOW, URL)
    same("restored from before the protect")
    now = status()
    check("all is sealed", [(c["phase"], c["plaintext"]) for c in now["columns"]] == [("sealed", 0)] * len(COLUMNS))
    check("it is no restore any more", not now["restored"])
    check("the database refuses plaintext", "23514" in psql("UPDATE people SET name = 'x' WHERE id = 3", fails=True))
    check("and a row without the value", "23514" in psql("INSERT INTO people(id) VALUES(-1)", fails=True))

    coffer("unprotect", "--yes", *NOW, URL, *COLUMNS)
    check("unprotected, the table is its twin", psql(COPY.format("*", "people")) == expected)
    restore("sealed.sql")
    check("a copy from before the unprotect is seen", status()["restored"])
    refused = coffer("rotate", "--yes", *NOW, URL, code=3)
    check("and said", "people.name is from before its unprotect" in refused)
    coffer("rotate", "--yes", "--restored", *NOW, URL)
    check("it is plaintext again", psql(COPY.format("*", "people")) == expected)
    check("NOT NULL too", "23502" in psql("UPDATE people SET name = NULL", fails=True))
    check("nothing of the fence is left", psql("SELECT count(*) FROM pg_constraint WHERE conname LIKE 'coffer%'"
                                               " AND conrelid = 'people'::regclass") == "0\n")
    coffer("audit", "--verify")
    print(f"{PASSED} passed")


main()
