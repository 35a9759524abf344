#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the plan says of a PostgreSQL column, and a scrub by a role that may read files and one that may not: pg_plan.py COFFER"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

COFFER = os.path.abspath(sys.argv[1])
SUPER = os.environ["COFFER_TEST_PG_SUPER"]
NAME = f"coffer_plan_{os.getpid()}"
URL = os.environ["COFFER_TEST_PG"].rsplit("/", 1)[0] + "/" + NAME
NOW = ("--settle", "0", "--grace", "0")
PASSED = 0


def coffer(*words, code=0):
    done = subprocess.run([COFFER, *words], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == code, (words, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout + done.stderr


def psql(sql, url=URL, fails=False):
    done = subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", url, "-c", sql], capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == fails, (sql, done.stdout, done.stderr)
    return done.stderr if fails else done.stdout


def check(what, holds):
    global PASSED
    assert holds, what
    PASSED += 1


def rows_of_a_table():
    """Estimates of a table that is too large to count: one number for all its columns, near the truth, parts that add up."""
    psql("CREATE TABLE wide(id int PRIMARY KEY, a text, b text, c text);"
         "INSERT INTO wide SELECT i, 'a' || i, CASE WHEN i % 4 > 0 THEN 'b' || i END, repeat('c', 900 + i % 700) FROM generate_series(1, 20000) i;"
         "ANALYZE wide")
    coffer("protect", "--yes", "--shadow-only", "--duty", "1", *NOW, URL, "wide.a", "wide.b")
    psql("VACUUM wide")
    status = json.loads(coffer("status", "--json", URL))
    columns = {c["column"]: c for c in status["columns"] if c["table"] == "public.wide"}
    check("they are estimated", not columns["a"]["exact"] and not columns["b"]["exact"])
    check("the rows are one number", columns["a"]["rows"] == columns["b"]["rows"])
    check("which is near", 18000 < columns["a"]["rows"] < 22000)
    for c in columns.values():
        check("the parts add up", c["rows"] == c["nulls"] + sum(c["by_key"].values()) + c["plaintext"] + c["quarantine"])
    check("a protect in shadow shows what is sealed", status["rotations"][0]["done"] == status["rotations"][0]["total"] > 30000)
    check("under its columns", "protect of public.wide.a, public.wide.b: " in coffer("status", URL))
    coffer("protect", "--yes", "--duty", "1", *NOW, URL, "wide.a", "wide.b")


def foreign_keys():
    psql("CREATE TABLE codes(code text PRIMARY KEY, alias text UNIQUE);"
         "CREATE TABLE uses(id int PRIMARY KEY, alias text REFERENCES codes(alias))")
    said = coffer("protect", "--plan", URL, "uses.alias", "codes.alias", code=3)
    of, to = (next(line for line in said.splitlines() if f"{name}: foreign-key" in line) for name in ("uses.alias", "codes.alias"))
    check("a foreign key goes where it stands", "must be settled first" in of and "drop the foreign key first" in of and "warning" not in of)
    check("not where it points", "uses refers to the column" in to and "drop the foreign key first" not in to)


def main():
    if shutil.which("psql") is None:
        print("psql is not installed (package postgresql-client)")
        sys.exit(77)
    os.chdir(tempfile.mkdtemp(prefix="coffer-plan-"))
    os.environ.update(COFFER_KEYRING="k.coffer", COFFER_KEK="file:kek.bin")
    psql(f"CREATE DATABASE {NAME} OWNER coffer_app", SUPER)
    own_super = SUPER.rsplit("/", 1)[0] + "/" + NAME
    watched = psql("SELECT current_setting('shared_preload_libraries')", own_super) == "pg_stat_statements\n"
    if watched:
        psql("CREATE EXTENSION pg_stat_statements", own_super)
    psql("CREATE TABLE people(id int PRIMARY KEY, name text, city text);"
         "INSERT INTO people SELECT i, 'a name of its own, number ' || i, 'city ' || i % 10 FROM generate_series(1, 4000) i; ANALYZE people")
    psql("SELECT id FROM people WHERE name = 'x'")
    psql("SELECT id, name FROM people ORDER BY people.name LIMIT 1")
    psql("UPDATE people SET name = name WHERE id = 3")
    psql("SELECT p.id FROM people p JOIN people q ON q.name = p.name WHERE p.id = 1")
    coffer("keyring", "init")
    before = psql("SELECT xmin, * FROM people ORDER BY id")

    plan = coffer("protect", "--plan", URL, "people.name")
    check("time and growth are predicted", re.search(r"people: 4000 rows, 2 passes; 100 were rewritten as they are and rolled back", plan))
    check("WAL and dead rows too", re.search(r"about [0-9.]+ [kMG]B of WAL .* of dead rows until VACUUM", plan))
    check("rights are told, first and a line each", re.match(r"plan +each application's role .*\nplan +GRANT USAGE ON SCHEMA coffer TO .*\n"
                                                            r"plan +GRANT SELECT .*\nplan +GRANT INSERT, ", plan))
    both = coffer("protect", "--plan", URL, "people.name", "people.city")
    check("what holds for all columns is said once", both.count("pg_statistic") == 1 and both.count("pg_stat_statements") <= 1)
    check("nothing was changed", psql("SELECT xmin, * FROM people ORDER BY id") == before)
    if watched:
        check("a comparison is told", re.search(r"statement compares it: .*WHERE name = ", plan))
        check("a sort is told", re.search(r"statement sorts or groups by it: .*ORDER BY people.name", plan))
        check("a join is told", re.search(r"statement joins or compares by it: .*q.name = p.name", plan))
        check("an assignment is none", "SET name" not in plan)
    else:
        check("that nothing is known of statements is said", "pg_stat_statements" in plan)

    coffer("protect", "--yes", *NOW, URL, "people.name")
    check("a rotation is predicted", "4000 rows, 1 pass; 100 were rewritten" in coffer("rotate", "--plan", URL))
    said = coffer("protect", "--yes", "--scrub", *NOW, URL, "people.name")
    check("who cannot read the files is told so", "pg_read_server_files" in said and "is not in the files" not in said)
    old = json.loads(coffer("key", "list", "--json"))
    old = next(k["id"] for k in old if k["purpose"] == "field")
    coffer("rotate", "--yes", *NOW, URL)
    psql("SELECT pg_create_physical_replication_slot('standby1')", own_super)
    coffer("prove", URL, old, "--out", "c.json")
    psql("SELECT pg_drop_replication_slot('standby1')", own_super)
    check("replicas are listed", "replication slot standby1" in open("c.json", encoding="utf-8").read())
    check("and nothing is claimed", '"plaintext_level":"not in live tuples"' in open("c.json", encoding="utf-8").read())

    psql("GRANT pg_read_server_files TO coffer_app; GRANT EXECUTE ON FUNCTION"
         " pg_read_binary_file(text, bigint, bigint, boolean) TO coffer_app", own_super)
    try:
        said = coffer("protect", "--yes", "--scrub", *NOW, URL, "people.name")
        check("who can has them searched", "none of " in said and "not in the files" in said)
        coffer("prove", URL, old, "--out", "d.json")
        check("and that is claimed", '"plaintext_level":"not in the files"' in open("d.json", encoding="utf-8").read())
    finally:
        psql("REVOKE pg_read_server_files FROM coffer_app", own_super)
    rows_of_a_table()
    foreign_keys()
    print(f"{PASSED} passed")


main()
