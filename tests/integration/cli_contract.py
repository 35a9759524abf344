#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command contract on SQLite, by the real program: cli_contract.py COFFER [COFFER_SQLITE_SO]."""
import json
import os
import sqlite3
import subprocess
import sys
import tempfile

COFFER = os.path.abspath(sys.argv[1])
PASSED = 0


def run(*words, code=0, text=None):
    done = subprocess.run([COFFER, *words], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    return done


def check(what, holds):
    global PASSED
    assert holds, what
    PASSED += 1


def main():
    os.chdir(tempfile.mkdtemp(prefix="coffer-cli-"))
    os.environ.pop("COFFER_KEYRING", None)
    os.environ.pop("COFFER_KEK", None)
    err = run("key", "list", code=2).stderr
    check("a missing keyring says what to give", "keyring" in err)
    os.environ.update(COFFER_KEYRING="k.coffer", COFFER_KEK="file:kek.bin")

    run("keyring", "init")
    check("the key file has 32 bytes", os.path.getsize("kek.bin") == 32)
    check("and is the owner's alone", os.stat("kek.bin").st_mode & 0o777 == 0o600)
    before = open("k.coffer", "rb").read()
    run("keyring", "init", code=1)
    check("init never overwrites", open("k.coffer", "rb").read() == before)

    db = sqlite3.connect("a.db")
    db.execute("create table patients(id integer primary key, ssn text, born date, photo blob, note text)")
    db.executemany("insert into patients values(?,?,?,?,?)",
                   [(2, None, None, None, ""), (1, "123", "2001-02-03", b"\x01\xff", "a,b"), (3, "", "1999-01-01", b"", 'q"')])
    db.commit()
    url = "sqlite:a.db"
    run("protect", "--yes", url, "patients.ssn", "patients.born:date")
    check("the database holds no plaintext", db.execute("select typeof(ssn) from patients where id=1").fetchone() == ("blob",))
    expected = 'id,ssn,born,photo,note\n1,123,2001-02-03,\\x01ff,"a,b"\n2,,,,""\n3,"",1999-01-01,\\x,"q"""\n'
    check("cat prints PostgreSQL's CSV", run("cat", url, "patients", "--format", "csv").stdout == expected)
    check("cat takes a condition", run("cat", url, "patients", "--where", "id = 2").stdout.count("\n") == 2)
    rows = [json.loads(l) for l in run("cat", "--format", "json", url, "patients").stdout.splitlines()]
    check("cat as JSON keeps NULL and empty apart", [r["ssn"] for r in rows] == ["123", None, ""])

    def figures():
        status = json.loads(run("status", url, "--json", "--exact").stdout)
        for c in status["columns"]:
            assert c["rows"] == c["nulls"] + sum(c["by_key"].values()) + c["plaintext"] + c["quarantine"], c
        return status
    status = figures()
    check("two columns are sealed", [c["phase"] for c in status["columns"]] == ["sealed", "sealed"])
    old = next(iter(status["columns"][0]["by_key"]))

    lines = ('{"column":"patients.ssn","row":[["int64",7]],"value":"é"}\n{"column":"patients.ssn","value":null}\n'
             'nonsense\n{"column":"patients.born","value":"no date"}\n')
    sealed = [json.loads(l) for l in run("seal", "--stream", "--db-url", url, text=lines, code=1).stdout.splitlines()]
    check("one line out for each line in", len(sealed) == 4)
    check("null stays null", sealed[1] == {"sealed": None})
    check("errors have code and message", [sorted(s["error"]) for s in sealed[2:]] == [["code", "message"]] * 2)
    back = run("open", "--stream", "--db-url", url, text=json.dumps(
        {"column": "patients.ssn", "row": [["int64", 7]], "sealed": sealed[0]["sealed"]}) + "\n").stdout
    check("what was sealed opens", json.loads(back) == {"value": "é"})
    with subprocess.Popen([COFFER, "seal", "--stream", "--db-url", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as child:
        for _ in range(2):  # the answer comes before the next question
            child.stdin.write('{"column":"patients.ssn","value":"x"}\n')
            child.stdin.flush()
            assert "sealed" in json.loads(child.stdout.readline())
        child.stdin.close()
    check("each line is flushed", child.returncode == 0)

    db.execute("create table wards(code text not null, bed integer not null, day date not null, guest text, primary key(code, bed, day))")
    db.executemany("insert into wards values(?,?,?,?)", [("B", 10, "2024-01-02", "x"), ("A", 10, "2024-01-01", ""), ("A", 9, "2024-01-01", None)])
    db.commit()
    said = run("protect", "--yes", url, "wards.guest").stdout
    check("a composite key binds", "row binding" in said)
    check("cat reads rows of a composite key, in its order",
          run("cat", url, "wards").stdout == 'code,bed,day,guest\nA,9,2024-01-01,\nA,10,2024-01-01,""\nB,10,2024-01-02,x\n')
    run("unprotect", "--yes", url, "wards.guest")
    db.execute("create table visits(id integer primary key, at timestamp)")
    db.execute("insert into visits values(1, '2024-01-01T10:00:00.500')")
    db.commit()
    err = run("protect", "--yes", url, "visits.at", code=3)
    check("a form that would not come back is refused, with what works", "protect it as visits.at:text" in err.stdout + err.stderr)
    run("protect", "--yes", url, "visits.at:text")
    check("which keeps every byte", run("cat", url, "visits").stdout == "id,at\n1,2024-01-01T10:00:00.500\n")
    run("unprotect", "--yes", url, "visits.at")
    check("there and back", db.execute("select at from visits").fetchone() == ("2024-01-01T10:00:00.500",))

    run("rotate", "--yes", url)
    keys = json.loads(run("key", "list", "--json").stdout)
    check("the old key is in escrow", [k["state"] for k in keys if k["id"] == old] == ["escrowed"])
    check("the newest key is last and active", keys[-1]["state"] == "active" and keys[-1]["purpose"] == "field")
    check("nothing is under the old key", all(old not in c["by_key"] for c in figures()["columns"]))
    check("values are what they were", run("cat", url, "patients").stdout == expected)
    run("prove", url, old, "--out", "cert.json")
    open("pub.pem", "w").write(run("keyring", "show", "--audit-key").stdout)
    run("prove", "--verify", "cert.json", "--audit-key", "pub.pem")
    text = open("cert.json").read()
    open("forged.json", "w").write(text.replace(old, "0badc0de"))
    run("prove", "--verify", "forged.json", "--audit-key", "pub.pem", code=1)
    check("destroy is refused by the promise", "still needed" in run("key", "destroy", "--yes", old, code=3).stderr)
    run("audit", "--verify")

    cell = db.execute("select ssn from patients where id=1").fetchone()[0]
    db.execute("drop trigger if exists x")
    db.execute("update patients set ssn=? where id=1", (cell[:-1] + bytes([cell[-1] ^ 1]),))
    db.commit()
    check("a changed cell is !AUTH", "1,!AUTH," in run("cat", url, "patients", code=1).stdout)

    err = run("cat", "postgresql://u:p@h/d", "t", code=3).stderr
    check("a password in argv names the three ways", all(w in err for w in (".pgpass", "--db-url-file", "--db-url-env")))
    error = json.loads(run("cta", "--json", code=2).stdout)["error"]
    check("errors are JSON too", error["code"] == "misuse" and "cat" in error["message"])
    check("--version", run("--version").stdout.startswith("coffer "))
    run("selftest")
    for shell in ("bash", "zsh"):
        script = run("completion", shell).stdout
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    run("completion", "csh", code=2)
    print(f"{PASSED} passed")


main()
