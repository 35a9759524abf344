#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The whole life of protected columns on PostgreSQL, by the real program and an ordinary role.

pg_cluster.sh run cli_postgres.py COFFER
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

COFFER = os.path.abspath(sys.argv[1])
SUPER = os.environ["COFFER_TEST_PG_SUPER"]
# A database of its own: a pooler's idle connection to another one is nobody who may write here.
URL = os.environ["COFFER_TEST_PG"].rsplit("/", 1)[0] + f"/coffer_cli_{os.getpid()}"
ROWS = 5000
COLUMNS = ("note", "born", "amount", "active", "extra", "photo")
NOW = ("--settle", "0", "--grace", "0")
PASSED = 0

TABLE = f"""
CREATE TABLE patients(id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, note text, born date,
                      amount numeric(10,2), active bool, extra jsonb, photo bytea);
INSERT INTO patients(name, note, born, amount, active, extra, photo)
SELECT 'n' || i,
       CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN 'a,"b"' || E'\\n' || i ELSE 'é€ ' || i END,
       CASE WHEN i % 7 > 0 THEN date '1900-01-01' + i * 11 END,
       CASE i % 6 WHEN 0 THEN NULL WHEN 1 THEN 0 WHEN 2 THEN -i / 100.0 ELSE i * 1.25 END,
       CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN true ELSE false END,
       CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN '{{}}' ELSE jsonb_build_object('i', i, 'a', jsonb_build_array(1.50, null, 'ü')) END,
       CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN ''::bytea ELSE decode(md5(i::text), 'hex') END
FROM generate_series(1, {ROWS}) i;
CREATE TABLE twin AS SELECT * FROM patients;
"""
COPY = "COPY (SELECT * FROM {} ORDER BY id) TO STDOUT (FORMAT csv, HEADER)"


def coffer(*words, code=0, text=None):
    done = subprocess.run([COFFER, *words], input=text, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == code, (words, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


def psql(sql, url=URL, fails=False):
    """What the statement prints, or its error where it must fail."""
    done = subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", url, "-c", sql],
                          capture_output=True, check=False)
    assert (done.returncode != 0) == fails, (sql, done.stdout.decode(), done.stderr.decode())
    return (done.stderr if fails else done.stdout).decode()


def check(what, holds):
    global PASSED
    assert holds, what
    PASSED += 1


def columns():
    """The columns' figures, which must add up."""
    found = json.loads(coffer("status", URL, "--json", "--exact"))["columns"]
    for c in found:
        assert c["rows"] == c["nulls"] + sum(c["by_key"].values()) + c["plaintext"] + c["quarantine"] == ROWS, c
    return found


def active_key():
    keys = json.loads(coffer("key", "list", "--json"))
    return next(k["id"] for k in keys if k["purpose"] == "field" and k["state"] == "active")


def rotate(*options):
    """Rotate and check that no cell is left under the old key."""
    old = active_key()
    coffer("rotate", "--yes", URL, *options)
    new = active_key()
    check("there is a new key", new != old)
    check("every cell is under the new key", all(list(c["by_key"]) == [new] for c in columns()))
    state = next(k["state"] for k in json.loads(coffer("key", "list", "--json")) if k["id"] == old)
    check("the old key is in escrow", state == "escrowed")
    return old


def accounts():
    """A key of the application's own, other types, one column in place, and somebody else connected."""
    psql("CREATE TABLE accounts(code text PRIMARY KEY, iban varchar(20) NOT NULL, ref uuid, seen timestamptz, rate real,"
         " doc text, host inet DEFAULT '10.0.0.1', tags int[] DEFAULT '{1,NULL}');"
         "INSERT INTO accounts SELECT 'k' || to_char(i, 'FM0000'), 's' || i, md5(i::text)::uuid,"
         " timestamptz '2026-11-01 00:00+02' + i * interval '61 min', i * 5000 / 3.0, 'd' || i FROM generate_series(1, 700) i;"
         "INSERT INTO accounts VALUES('k9998', '', NULL, 'infinity', 'NaN', ''),"
         " ('k9999', 'x', NULL, '0044-03-15 12:00+00 BC', NULL, NULL)")
    copy = "SET timezone = 'UTC'; COPY (SELECT * FROM accounts ORDER BY code) TO STDOUT (FORMAT csv, HEADER)"
    expected = psql(copy)
    names = [f"accounts.{c}" for c in ("iban", "ref", "seen", "rate")]
    protect = ("protect", "--yes", "--no-wait", *NOW, URL, *names)

    with subprocess.Popen(["psql", "-qAtX", URL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        other.stdin.write("SELECT 1;\n")
        other.stdin.flush()
        assert other.stdout.readline() == "1\n"
        coffer(*protect, code=4)
        check("while a stranger is connected, plaintext stays", psql(copy.replace("*", "code,iban,ref,seen,rate,doc,host,tags")) == expected)
        other.stdin.close()
    coffer(*protect)
    coffer("protect", "--yes", *NOW, "--in-place", URL, "accounts.doc")
    check("no document is plaintext", psql("SELECT count(*) FROM accounts WHERE doc NOT LIKE 'cfr1.%'") == "0\n")
    check("cat prints what COPY printed, accounts", coffer("cat", URL, "accounts") == expected)

    cell = {"column": "accounts.iban", "row": [["text", "k0007"]], "value": "é"}
    sealed = json.loads(coffer("seal", "--stream", "--db-url", URL, text=json.dumps(cell) + "\n"))["sealed"]
    psql(f"UPDATE accounts SET iban_sealed = decode('{sealed}', 'hex') WHERE code = 'k0007'")
    check("what was sealed is read in its row", "k0007,é," in coffer("cat", URL, "accounts", "--where", "code = 'k0007'"))
    psql("UPDATE accounts SET iban_sealed = (SELECT iban_sealed FROM accounts WHERE code = 'k0007') WHERE code = 'k0008'")
    check("and in no other", "k0008,!AUTH," in coffer("cat", URL, "accounts", "--where", "code = 'k0008'", code=1))
    cell = {"column": "accounts.iban", "row": [["text", "k0008"]], "value": "s8"}
    sealed = json.loads(coffer("seal", "--stream", "--db-url", URL, text=json.dumps(cell) + "\n"))["sealed"]
    psql(f"UPDATE accounts SET iban_sealed = decode('{sealed}', 'hex') WHERE code = 'k0008'")

    coffer("rotate", "--yes", URL)
    coffer("unprotect", "--yes", *NOW, URL, *names, "accounts.doc")
    check("unprotected, the accounts are what they were", psql(copy) == expected.replace("k0007,s7,", "k0007,é,"))
    null = psql("UPDATE accounts SET iban = NULL", fails=True)
    check("NOT NULL is back", "23502" in null)


def people():
    """A table that the planner knows, with companions of which it knows nothing."""
    psql("CREATE TABLE people(id int PRIMARY KEY, a text, b text, c text, d text);"
         "INSERT INTO people SELECT i, 'a' || i, 'b' || i, 'c' || i, repeat('long note ', 8) || i"
         " FROM generate_series(1, 20000) i")
    psql("ANALYZE people")
    coffer("protect", "--yes", "--shadow-only", "--duty", "1", URL, *(f"people.{c}" for c in "abcd"))
    scans = "SELECT idx_scan FROM pg_stat_user_tables WHERE relname = 'people'"
    check("no batch is looked up again for each row of the table", int(psql(scans)) < 100000)


def main():
    if shutil.which("psql") is None:
        print("psql is not installed (package postgresql-client)")
        sys.exit(77)
    os.chdir(tempfile.mkdtemp(prefix="coffer-pg-"))
    os.environ.update(COFFER_KEYRING="k.coffer", COFFER_KEK="file:kek.bin")
    psql(f"CREATE DATABASE {URL.rsplit('/', 1)[1]} OWNER coffer_app", SUPER)
    psql(TABLE)
    expected = psql(COPY.format("twin"))
    nulls = {c: int(psql(f"SELECT count(*) FROM twin WHERE {c} IS NULL")) for c in COLUMNS}

    def same(when):
        check(f"cat prints what COPY printed, {when}", coffer("cat", URL, "patients", "--format", "csv") == expected)

    coffer("keyring", "init")
    coffer("protect", "--yes", *NOW, URL, *(f"patients.{c}" for c in COLUMNS))
    figures = columns()
    check("six columns are sealed", [c["phase"] for c in figures] == ["sealed"] * len(COLUMNS))
    check("nothing is plaintext", all(c["plaintext"] == c["quarantine"] == 0 for c in figures))
    check("NULL stays NULL", {c["column"]: c["nulls"] for c in figures} == nulls)
    same("protected")
    plain = psql("SELECT " + " AND ".join(f"bool_and({c} IS NULL)" for c in COLUMNS) + " FROM patients")
    check("the database holds no plaintext", plain == "t\n")
    refused = psql("UPDATE patients SET note = 'x' WHERE id = 3", fails=True)
    check("the database refuses plaintext", "23514" in refused)

    rotate(*NOW)
    same("after a rotation")
    old = rotate()
    same("after a rotation with what is usual")
    coffer("prove", URL, old, "--out", "cert.json")
    with open("pub.pem", "w", encoding="ascii") as f:
        f.write(coffer("keyring", "show", "--audit-key"))
    coffer("prove", "--verify", "cert.json", "--audit-key", "pub.pem")
    rotate(*NOW, "--workers", "2")
    same("after a rotation by two workers")
    coffer("audit", "--verify")

    coffer("unprotect", "--yes", *NOW, URL, *(f"patients.{c}" for c in COLUMNS))
    check("unprotected, the table is its twin", psql(COPY.format("patients")) == expected)
    accounts()
    people()
    print(f"{PASSED} passed")


main()
