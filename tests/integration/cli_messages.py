#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a newcomer is told where he goes wrong, and what status says in plain words, on SQLite: cli_messages.py COFFER ATTACH_CLIENT."""
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

import cli_support as t
from cli_support import check, run

CLIENT = os.path.abspath(sys.argv[2])


def client(*words, env=None):
    return subprocess.run([CLIENT, *words], capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})


def nothing_there():
    """No keyring, no key file, or neither."""
    os.chdir(tempfile.mkdtemp(prefix="coffer-cli-"))
    for name in ("COFFER_KEYRING", "COFFER_KEK"):
        os.environ.pop(name, None)
    said = client("sqlite:a.db").stderr
    check("a library names its own options", "struct coffer_host_options" in said and "COFFER_KEYRING" in said and "--keyring" not in said)
    os.environ.update(COFFER_KEYRING="k.coffer", COFFER_KEK="file:kek.bin")
    run("key", "list", code=1, says=("neither keyring k.coffer nor key file kek.bin", "coffer keyring init"))
    run("keyring", "init")
    os.rename("kek.bin", "kept")
    run("key", "list", code=1, says=("key file kek.bin", "unlock keyring k.coffer", "COFFER_KEK"))
    os.rename("kept", "kek.bin")


def names():
    """Columns that are not there, before anything is planned."""
    t.fresh()
    db = t.database()
    for asked, says in (("patients.sssn", "table patients has no column sssn; did you mean ssn?"),
                        ("patients.treatment", "it has id, ssn, born, note")):
        done = run("protect", "--plan", t.URL, "patients.ssn", asked, code=1, says=says)
        check("no plan is printed of the others", done.stdout == "")
    run("unprotect", "--yes", t.URL, "patients.ssn", code=1)
    run("protect", "--yes", t.URL, "patients.ssn", "patients.born:date")
    run("unprotect", "--yes", t.URL, "patients.note", code=1, says=("patients.note is no protected column",
                                                                    "protected are patients.ssn, patients.born"))
    run("seal", t.URL, "--column", "patients.born", text="some day", code=1, says=("patients.born: ", "date"))
    sealed = run("seal", t.URL, "--column", "patients.ssn", text="1").stdout.strip()
    run("open", t.URL, "--column", "patients.born", sealed, code=1, says=("bound to its key, database and column", "patients.born"))
    try:
        db.execute("update patients set ssn = 'x' where id = 2")
        check("plaintext is refused", False)
    except sqlite3.IntegrityError as error:
        check("with the name of the column", str(error).startswith("coffer: 23514 patients.ssn is sealed and takes no plaintext"))
    db.execute("""create table "it's"("o'clock" text)""")
    run("protect", "--yes", t.URL, "it's.o'clock")
    try:
        db.execute("""insert into "it's" values('x')""")
        check("plaintext is refused", False)
    except sqlite3.IntegrityError as error:
        check("with quotes in the name too", "it's.o'clock is sealed" in str(error))


def plan():
    """What must be settled is no warning; the foreign key goes where it stands; what is no plan is not called one."""
    t.fresh()
    db = t.database()
    db.execute("create table codes(code text primary key, alias text unique)")
    db.execute("create table uses(id integer primary key, code text references codes(code), alias text references codes(alias))")
    said = run("protect", "--plan", t.URL, "uses.code", "codes.alias", code=3, says="2 things must be settled").stdout
    of, to = (next(line for line in said.splitlines() if name in line) for name in ("uses.code", "codes.alias"))
    check("what stands in the way is no warning", "must be settled first: uses.code" in of and "warning" not in of)
    check("it refers", "refers to table codes" in of and "drop the foreign key first" in of)
    check("it is referred to", "is what uses.alias refers to" in to and "drop the foreign key first" not in to)
    said = run("protect", "--yes", "--shadow-only", t.URL, "patients.ssn").stdout
    check("a plan comes first", said.startswith("plan     patients.ssn: text"))
    said = run("protect", "--yes", t.URL, "patients.ssn").stdout
    check("what goes on says so in short", said.startswith("protect  patients.ssn is in phase shadow, and goes on from there\n"))
    check("and plans nothing again", not re.search(r"^plan", said, re.M))
    said = run("protect", "--yes", t.URL, "patients.ssn").stdout
    check("what is done is no plan", said == "protect  patients.ssn is sealed already\n")


def status():
    """Open work by its columns, plaintext in plain words, clients that left, a time on each page of a pipe."""
    t.fresh()
    db = t.database(rows=30)
    db.execute("create table strictly(id integer primary key, s text not null, n text) strict")
    db.executemany("insert into strictly values(?, 'x', null)", [(i,) for i in range(1, 11)])
    run("protect", "--yes", "--shadow-only", t.URL, "strictly.s", "strictly.n")
    said = run("status", t.URL).stdout
    check("a protect is named by its columns", "protect of strictly.s, strictly.n: " in said and "plain to plain" not in said)
    check("what is sealed counts", "100%: 10 of 10 cells" in said)
    check("JSON too", t.out_json("status", t.URL)["rotations"][0]["columns"] == "strictly.s, strictly.n")
    check("plaintext beside is said", "plaintext beside the sealed value, in: strictly.s, strictly.n" in " ".join(said.split()))
    run("protect", "--yes", t.URL, "strictly.s", "strictly.n")
    said = run("status", t.URL).stdout
    check("the remedy is said", "coffer protect with --scrub rewrites them): strictly.s, strictly.n" in said)
    run("protect", "--yes", "--scrub", t.URL, "strictly.s", "strictly.n")
    check("and helps", "nor in the database's files: strictly.s, strictly.n" in run("status", t.URL).stdout)

    done = client(t.URL, "web")
    check("a client came", done.returncode == 0)
    line = next(l for l in run("status", t.URL).stdout.splitlines() if l.startswith("client web@"))
    check("and left", re.search(r"  left 20\d\d-", line) and "seen" not in line)
    check("JSON says it", t.out_json("status", t.URL)["clients"][0]["left"] is True)

    with subprocess.Popen([t.COFFER, "status", "--watch", t.URL], stdout=subprocess.PIPE, text=True) as watch:
        time.sleep(0.1)
        first = watch.stdout.readline()
        watch.terminate()
        watch.stdout.read()
    check("each page of a pipe has its time", re.fullmatch(r"== 20\d\d-\d\d-\d\d \d\d:\d\d:\d\dZ\n", first))


def keys():
    """Keys that a copy asks for, what needs a key, certificates, a new KEK."""
    t.fresh()
    t.protected().close()
    shutil.copy("a.db", "copy.db")
    old = t.active_key()
    run("rotate", "--yes", "--restored", t.URL, code=3, says=("is no restored copy", "Leave it away"))
    check("nothing was rotated", t.active_key() == old)
    run("backup", "register", t.URL, "nightly")
    run("rotate", "--yes", t.URL)
    said = run("cat", "sqlite:copy.db", "patients", code=1, says=(f"key {old} is in escrow", "--escrow", "cells did not open")).stderr
    check("what there is none of is not counted", "!AUTH" not in said and "!PLAINTEXT" not in said)
    run("cat", "--escrow", "sqlite:copy.db", "patients")
    cell = run("cat", "sqlite:copy.db", "patients", "--where", "id = 3", code=1).stderr
    check("one cell is one", cell.startswith("coffer: 1 cell did not open: 1 !KEY "))

    why = run("key", "why", old).stdout
    until = re.findall(r"20\d\d-\d\d-\d\d \d\d:\d\d", next(l for l in why.splitlines() if l.startswith("  promise")))
    check("the end of a promise is said once", len(until) == 1)
    done = run("key", "destroy", "--yes", old, code=3, says=("still needed by 2 things", f"coffer key why {old}"))
    lines = done.stdout.splitlines()
    check("what needs it stands line by line", len(lines) == 2 and "'backup:nightly'" in done.stdout and "'promise:" in done.stdout)

    run("prove", t.URL, old, "--out", "cert.json")
    with open("cert.json", "rb") as f:
        before = f.read()
    run("prove", t.URL, old, "--out", "cert.json", code=1, says=("cert.json exists", "--force"))
    with open("cert.json", "rb") as f:
        check("it is what it was", f.read() == before)
    run("prove", t.URL, old, "--out", "cert.json", "--force")
    with open("cert.json", "rb") as f:
        check("with --force it is another", f.read() != before)
    with open("pub.pem", "w", encoding="utf-8") as f:
        f.write(run("keyring", "show", "--audit-key").stdout)
    run("prove", "--verify", "cert.json", "--audit-key", "pub.pem")
    with open("empty.json", "w", encoding="utf-8"):
        pass
    run("prove", "--verify", "empty.json", "--audit-key", "pub.pem", code=1, says="empty.json: the certificate is empty")
    said = run("keyring", "rewrap", "--new-kek", "file:new.bin").stdout
    check("what to change next is said", "COFFER_KEK" in said and "coffer.toml" in said)


nothing_there()
names()
plan()
status()
keys()
print(f"{t.PASSED} passed")
