#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The front door: quickstart's main job, on SQLite or, with COFFER_TEST_PG set, on PostgreSQL by an ordinary role.

quickstart.py SOURCE_FOLDER BUILD_FOLDER
"""
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile

SOURCE, BUILD = (os.path.abspath(word) for word in sys.argv[1:3])
PATIENT = "José 田中,025-91-3520,1996-08-04"  # number 3 of seed 1
PASSED = 0


def check(what, holds):
    global PASSED
    assert holds, what
    PASSED += 1


def quickstart(*words, code=0):
    done = subprocess.run(["./quickstart", "--no-build", "--no-serve", "--rows", "120", *words], capture_output=True, check=False,
                          timeout=120, env={**os.environ, "LC_ALL": "C.UTF-8"})
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == code, (words, done.returncode, out[-3000:], err[-2000:])
    # Lines are broken to fit the screen.
    return re.sub(r"\s+", " ", out + err)


def main_job(shown):
    """What every run must show."""
    check("nothing failed and nothing was wrong", shown.count(" 0 failed, 0 wrong") == 2)
    check("the application reads", shown.count(f"3,{PATIENT}") >= 1)
    check("a key was rotated to escrow", "escrow key" in shown)
    check("its certificate is valid", "Valid: signed by this audit key" in shown)
    check("destroying it is refused, for the backup", "Refused." in shown and "--waive 'backup:nightly'" in shown)
    check("the cost is told", "of cells re-encrypted" in shown and shown.rstrip().endswith('"Your own database".'))


def on_sqlite():
    main_job(quickstart())
    with open("quickstart-data/clinic.db", "rb") as file:
        check("the file holds envelopes", b"\xf9\x01" in file.read())
    with sqlite3.connect("mine.db") as mine:
        mine.execute("CREATE TABLE patients(name TEXT)")
    refused = quickstart("--db", "sqlite:mine.db", code=1)
    check("a foreign file is refused", "left as it is" in refused)
    check("and stays", sqlite3.connect("mine.db").execute("SELECT count(*) FROM patients").fetchone() == (0,))
    for _ in range(2):  # the second starts over
        shown = quickstart("--db", "sqlite:other.db")
        main_job(shown)
        check("the backup opens", shown.count(f"3,{PATIENT}") == 2)


def psql(sql, url):
    return subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", url, "-c", sql], capture_output=True, check=True,
                          text=True).stdout.strip()


def on_postgres():
    boss = os.environ["COFFER_TEST_PG_SUPER"]
    server = os.environ["COFFER_TEST_PG"].rsplit("/", 1)[0]
    url, other = f"{server}/coffer_quick_{os.getpid()}", f"{server}/coffer_other_{os.getpid()}"
    for name in url, other:
        psql(f"CREATE DATABASE {name.rsplit('/', 1)[1]} OWNER coffer_app", boss)
    psql("ALTER ROLE coffer_app NOCREATEDB", boss)
    shown = quickstart("--db", url)
    main_job(shown)
    check("without CREATEDB it says so and opens an old value", "may not create databases" in shown and
          "025-91-3520, the ssn of patient 3" in shown)
    check("the database holds no plaintext", psql("SELECT count(*) FROM clinic.patients WHERE ssn IS NOT NULL", url) == "0")

    psql("ALTER ROLE coffer_app CREATEDB", boss)
    shown = quickstart("--db", url)
    main_job(shown)
    check("with CREATEDB the dump is restored into a database", "restored into database coffer_quickstart_" in shown and
          shown.count(f"3,{PATIENT}") == 2)
    left = psql("SELECT count(*) FROM pg_database WHERE datname LIKE 'coffer\\_quickstart\\_%'", boss)
    check("which goes again", left == "0")
    psql("ALTER ROLE coffer_app NOCREATEDB", boss)

    psql("CREATE SCHEMA clinic CREATE TABLE patients(name text)", other)
    check("a foreign schema is refused", "left as it is" in quickstart("--db", other, code=1))
    check("and stays", psql("SELECT count(*) FROM clinic.patients", other) == "0")
    psql("DROP SCHEMA clinic CASCADE; CREATE SCHEMA coffer CREATE TABLE meta(key text)", other)
    check("so are foreign working tables", "left as it is" in quickstart("--db", other, code=1))
    check("which stay", psql("SELECT count(*) FROM coffer.meta", other) == "0")
    psql("CREATE TABLE mine(x int); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
         "CREATE TRIGGER coffer_zzz_fence BEFORE UPDATE ON mine FOR EACH ROW EXECUTE FUNCTION f()", url)
    check("so are working tables that others use", "left as it is" in quickstart("--db", url, code=1))

    secret = url.replace("coffer_app@", "coffer_app:abracadabra@")
    refused = quickstart("--db", secret, code=3)
    check("a password in the URL is refused and not shown", ".pgpass" in refused and "abracadabra" not in refused)


def main():
    postgres = "COFFER_TEST_PG" in os.environ
    for program in ["sqlite3"] + ["psql", "pg_dump", "pg_restore"] * postgres:
        if shutil.which(program) is None:
            print(f"{program} is not installed")
            sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="coffer-quickstart-") as folder:
        os.chdir(folder)
        shutil.copy(os.path.join(SOURCE, "quickstart"), folder)
        os.symlink(os.path.join(SOURCE, "examples"), "examples")
        os.symlink(BUILD, "build")
        if postgres:
            on_postgres()
        else:
            on_sqlite()
    print(f"{PASSED} passed, 0 failed")


main()
