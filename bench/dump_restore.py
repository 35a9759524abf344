#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Changing the key of the protected columns against dumping and restoring the whole database.

    bench/dump_restore.py [--db URL] [--rows N] [--rounds N] [--build DIR]

Makes the clinic, protects the six columns of the quickstart, and lets the contestants take turns:
`coffer rotate` at full speed, the whole machine with fence and proof; dump and restore into a new
database beside it (`sqlite3 .dump | sqlite3`, `pg_dump | psql`); on SQLite also VACUUM INTO, which
copies pages.  Without --db: SQLite files in a temporary folder (TMPDIR).  With it: an empty
PostgreSQL database, whose role may create databases; what is made there is not removed.
"""
import argparse
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

COLUMNS = ["patients.ssn", "patients.born", "patients.email", "patients.notes", "labs.value", "invoices.amount"]
TABLES = ["patients", "labs", "invoices"]  # in schema clinic on PostgreSQL
RESTORED = "coffer_bench_restored"


def run(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"dump_restore: {command} ended with {done.returncode}")
    return done.stdout.strip()


def shell(command):
    return run(["bash", "-o", "pipefail", "-c", command])


class Sqlite:
    schema = ""

    def __init__(self, folder):
        self.path = f"{folder}/clinic.db"
        self.url = f"sqlite:{self.path}"
        self.copy = f"{folder}/restored.db"

    def fresh(self):
        if os.path.exists(self.copy):
            os.unlink(self.copy)

    def dump_restore(self):
        shell(f"sqlite3 {shlex.quote(self.path)} .dump | sqlite3 {shlex.quote(self.copy)}")

    def vacuum_into(self):
        run(["sqlite3", self.path, f"VACUUM INTO '{self.copy}'"])

    def ask(self, sql, copy=False):
        return run(["sqlite3", self.copy if copy else self.path, sql])

    def size(self):
        return os.path.getsize(self.path)

    contestants = {".dump | sqlite3": dump_restore, "VACUUM INTO": vacuum_into}


class Postgres:
    schema = "clinic."

    def __init__(self, url):
        self.url = url
        self.copy = re.sub(r"(://[^/]*/)[^?]*", rf"\g<1>{RESTORED}", url)

    def fresh(self):
        self.ask(f"DROP DATABASE IF EXISTS {RESTORED}")
        self.ask(f"CREATE DATABASE {RESTORED}")

    def dump_restore(self):
        shell(f"pg_dump --no-owner {shlex.quote(self.url)} | psql -qXo /dev/null {shlex.quote(self.copy)}")

    def ask(self, sql, copy=False):
        return run(["psql", "-qAtX", self.copy if copy else self.url, "-c", sql])

    def size(self):
        return int(self.ask("SELECT pg_database_size(current_database())"))

    contestants = {"pg_dump | psql": dump_restore}


def timed(work):
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def check(database):
    for table in TABLES:
        sql = f"SELECT count(*) FROM {database.schema}{table}"
        if database.ask(sql) != database.ask(sql, copy=True):
            sys.exit(f"dump_restore: the copy's {table} has another number of rows")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--db")
    options.add_argument("--rows", type=int, default=100000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--build", default="build-bench", help="the build folder (build-bench)")
    o = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="coffer-bench-") as folder:
        database = Postgres(o.db) if o.db else Sqlite(folder)
        keys = ["--keyring", f"{folder}/k.coffer", "--kek", f"file:{folder}/kek.bin"]
        now = ["--yes", "--duty", "1", "--settle", "0", "--grace", "0"]
        coffer = f"{o.build}/coffer"
        run([f"{o.build}/examples/clinic/clinic", "make", database.url, str(o.rows), "1"])
        run([coffer, "keyring", "init", *keys])
        run([coffer, "protect", *keys, *now, "--no-unaware-clients", database.url, *COLUMNS])
        print(f"{o.rows} patients, {database.size() / 2**20:.0f} MiB, {len(COLUMNS)} columns", flush=True)
        seconds = {name: [] for name in ["coffer rotate", *database.contestants]}
        for number in range(1, o.rounds + 1):
            seconds["coffer rotate"].append(timed(lambda: run([coffer, "rotate", *keys, *now, database.url])))
            for name, work in database.contestants.items():
                database.fresh()
                seconds[name].append(timed(lambda: work(database)))
                check(database)
            print(f"round {number}: " + ", ".join(f"{name} {taken[-1]:.1f} s" for name, taken in seconds.items()), flush=True)
        rotation = seconds.pop("coffer rotate")
        for name, taken in seconds.items():
            ratios = sorted(other / mine for other, mine in zip(taken, rotation))
            print(f"{name} takes {statistics.median(ratios):.2f} times as long as coffer rotate "
                  f"({ratios[0]:.2f} to {ratios[-1]:.2f})")
        if o.db:
            database.ask(f"DROP DATABASE IF EXISTS {RESTORED}")


main()
