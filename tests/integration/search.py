#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Questions over protected columns give what the same questions give over a plaintext twin: search.py COFFER sqlite|postgresql.

A table of random rows is protected with every kind of terms, and asked at random: equality, ranges, LIKE, NULLs, and/or/not, totals.  Then the
keys of envelopes and of terms are changed, rows are edited by hand as a careless writer would, terms are dropped.
"""
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import tempfile

COFFER, ENGINE = os.path.abspath(sys.argv[1]), sys.argv[2]
QUERIES = int(os.environ.get("COFFER_SEARCH_QUERIES", "60"))
chance = random.Random(2016)
NAMES = ["Anna", "ANNA", "Müller", "Mu\u0308ller", "Johnson", "Sonja", "Straße", "ﬁnn", "Øre", "O'Neil", "50%", "a_b", "", "李雷"]
TABLE = "patients" if ENGINE == "sqlite" else "public.patients"


def coffer(*words, code=0):
    done = subprocess.run([COFFER, *words], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout if code == 0 else done.stdout + done.stderr


def rows():
    for i in range(400):
        pick = chance.random
        yield (i, None if pick() < 0.1 else " ".join(chance.choice(NAMES) for _ in range(chance.randrange(1, 4))),
               None if pick() < 0.1 else f"{chance.randrange(200):09d}",
               None if pick() < 0.1 else f"{chance.randrange(1930, 2010)}-{chance.randrange(1, 13):02d}-{chance.randrange(1, 29):02d}",
               None if pick() < 0.1 else chance.choice([0, 1, -1, chance.randrange(-10**9, 10**9)]), chance.randrange(100), chance.choice("fm"))


def make(data):
    create = "CREATE TABLE patients (id bigint PRIMARY KEY, name text, ssn text, birth date, invoice bigint, ward integer, sex text)"
    if ENGINE == "sqlite":
        with sqlite3.connect("app.db") as db:
            db.execute(create.replace("bigint PRIMARY", "INTEGER PRIMARY").replace("bigint", "INTEGER"))
            db.executemany("INSERT INTO patients VALUES (?, ?, ?, ?, ?, ?, ?)", data)
        db.close()
        return "sqlite:app.db"
    import pg_support  # pylint: disable=import-outside-toplevel
    url = pg_support.start("search")
    pg_support.psql(create, url)
    quote = lambda v: "NULL" if v is None else str(v) if isinstance(v, int) else "'" + v.replace("'", "''") + "'"
    pg_support.psql("INSERT INTO patients VALUES " + ", ".join("(" + ", ".join(map(quote, r)) + ")" for r in data), url)
    return url


def sql(url, statement):
    if ENGINE == "sqlite":
        db = sqlite3.connect("app.db")
        got = db.execute(statement).fetchall()
        db.commit()
        db.close()
        return got
    import pg_support  # pylint: disable=import-outside-toplevel
    return pg_support.psql(statement, url)


# ---- questions, each with what it means over the twin ----

def folded(text):
    import unicodedata  # pylint: disable=import-outside-toplevel
    step = lambda t: unicodedata.normalize("NFKD", t.casefold())
    return step(step(unicodedata.normalize("NFD", text)))


def like(pattern, text):
    parts = [".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern]
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def test_of(data):
    """SQL text, and a function from a row to True, False or None."""
    quote = lambda t: "'" + t.replace("'", "''") + "'"
    kind = chance.randrange(8)
    if kind == 0:
        name = chance.choice([r[1] for r in data if r[1] is not None])
        name = chance.choice([name, name.upper(), name.lower()])
        return f"name = {quote(name)}", lambda r: None if r[1] is None else folded(r[1]) == folded(name)
    if kind == 1:
        few = [f"{chance.randrange(220):09d}" for _ in range(chance.randrange(1, 5))]
        return f"ssn in ({', '.join(map(quote, few))})", lambda r: None if r[2] is None else r[2] in few
    if kind == 2:
        low, high = sorted(f"{chance.randrange(1925, 2015)}-0{chance.randrange(1, 10)}-15" for _ in range(2))
        return f"birth between {low} and {high}", lambda r: None if r[3] is None else low <= r[3] <= high
    if kind == 3:
        day, sign = f"{chance.randrange(1930, 2010)}-06-15", chance.choice(["<", "<=", ">", ">="])
        holds = {"<": lambda a: a < day, "<=": lambda a: a <= day, ">": lambda a: a > day, ">=": lambda a: a >= day}[sign]
        return f"birth {sign} {day}", lambda r: None if r[3] is None else holds(r[3])
    if kind == 4:
        word = chance.choice(NAMES[:8] + ["李雷 Anna", "son"])
        pattern = chance.choice([f"%{word}%", f"{word}%", f"%{word}"])
        if len(word) < 4:
            pattern = "%son%"
        return f"name like {quote(pattern)}", lambda r: None if r[1] is None else like(pattern, r[1])
    if kind == 5:
        column, i = chance.choice([("name", 1), ("ssn", 2), ("birth", 3), ("invoice", 4)])
        no = chance.random() < 0.5
        return f"{column} is {'not ' if no else ''}null", lambda r: (r[i] is None) != no
    ward = chance.randrange(100)
    return f"ward >= {ward}", lambda r: r[5] >= ward


def question(data, depth=0):
    if depth > 2 or chance.random() < 0.5:
        return test_of(data)
    (a, f), (b, g) = question(data, depth + 1), question(data, depth + 1)
    if chance.random() < 0.5:
        return f"({a}) and ({b})", lambda r: False if False in (f(r), g(r)) else None if None in (f(r), g(r)) else True
    return f"({a}) or ({b})", lambda r: True if True in (f(r), g(r)) else None if None in (f(r), g(r)) else False


def ask(url, data, number):
    for _ in range(number):
        text, holds = question(data)
        found = [json.loads(line) for line in coffer("query", "--json", url, "--table", TABLE, "--where", text, "--select", "id", "--sum", "invoice").splitlines()]
        total = found.pop()["sum"]
        wanted = [r for r in data if holds(r) is True]
        assert sorted(f["id"] for f in found) == [r[0] for r in wanted], (text, len(found), len(wanted))
        numbers = [r[4] for r in wanted if r[4] is not None]
        assert total["rows"] == len(numbers) and total["value"] == (str(sum(numbers)) if numbers else None), (text, total)
        assert total["verified"], text
    ordered = [json.loads(line)["birth"] for line in coffer("query", "--json", url, "--table", TABLE, "--select", "birth", "--order-by", "birth",
                                                            "--where", "birth is not null").splitlines()]
    assert ordered == sorted(r[3] for r in data if r[3] is not None)


def bound_to_padded_keys(url, now):
    """Terms of a column that is bound to a key of char(n) and date: every reader has to see the key as the writer did."""
    sql(url, "CREATE TABLE visits (site char(6) NOT NULL, day date NOT NULL, note text, PRIMARY KEY (site, day))")
    sql(url, "INSERT INTO visits VALUES ('eu', '2026-01-02', 'first'), ('us', '2026-01-03', 'second'), ('us', '2026-01-04', '')")
    coffer("protect", *now, "--bind", "row", "--search", "eq,text" if ENGINE == "postgresql" else "eq", url, "visits.note")
    found = coffer("query", "--json", url, "--table", "visits", "--select", "site,note", "--where", "note = 'SECOND'")
    assert json.loads(found)["note"] == "second", found
    coffer("rotate", *now, "--terms", url, "visits.note")
    assert "second" in coffer("query", url, "--table", "visits", "--select", "note", "--where", "note in ('second', 'x')")
    coffer("report", "leakage", url, "visits.note")
    # Names so long that what is made for them would be cut to one name.
    long = "a_column_with_a_name_of_forty_characters"
    sql(url, f"CREATE TABLE a_table_with_a_name_of_forty_characters_ (id bigint PRIMARY KEY, {long}_x text, {long}_y text)")
    sql(url, "INSERT INTO a_table_with_a_name_of_forty_characters_ VALUES (1, 'a', 'b')")
    wide = f"a_table_with_a_name_of_forty_characters_.{long}"
    coffer("protect", *now, "--search", "eq", url, f"{wide}_x", f"{wide}_y")
    assert "1" in coffer("query", url, "--table", "a_table_with_a_name_of_forty_characters_", "--select", "id", "--where", f"{long}_x = 'A' and {long}_y = 'b'")
    indexes = sql(url, "SELECT count(*) FROM " + ("sqlite_master WHERE type = 'index' AND" if ENGINE == "sqlite" else "pg_class WHERE relkind = 'i' AND") +
                  (" name" if ENGINE == "sqlite" else " relname") + " LIKE 'coffer_a_table%_idx'")
    assert str(indexes).strip("[](),") == "2", indexes


def refuse(text, *says):
    assert all(s in text for s in says), text


def main():
    os.chdir(tempfile.mkdtemp(prefix="coffer-search-"))
    os.environ.update(COFFER_KEYRING="k.coffer", COFFER_KEK="file:kek.bin")
    data = list(rows())
    url = make(data)
    if ENGINE == "postgresql":
        os.chdir(tempfile.mkdtemp(prefix="coffer-search-"))
    with open("kek.bin", "wb") as f:
        f.write(os.urandom(32))
    os.chmod("kek.bin", 0o600)
    coffer("keyring", "init")
    now = ("--yes", "--settle", "0", "--grace", "0")
    coffer("protect", *now, "--search", "eq", url, f"{TABLE}.ssn", f"{TABLE}.name")
    coffer("protect", *now, "--search", "text", url, f"{TABLE}.name")
    refuse(coffer("protect", *now, "--search", "eq", url, f"{TABLE}.sex", code=3), "--accept-leak", "grade F")
    refuse(coffer("report", "leakage", url, f"{TABLE}.sex"), "equality", "not there", " F ")
    coffer("protect", *now, "--search", "eq", "--accept-leak", "a test", url, f"{TABLE}.sex")
    coffer("protect", *now, "--search", "order", url, f"{TABLE}.birth")
    coffer("protect", *now, "--sum", "--max", "1000000000", url, f"{TABLE}.invoice")
    coffer("protect", *now, "--search", "eq", url, f"{TABLE}.ssn")  # again: nothing to do
    ask(url, data, QUERIES)
    print("ok   random questions", flush=True)

    refuse(coffer("query", url, "--table", TABLE, "--select", "id", "--where", "birth = 'x'", code=1), "'x' is no date")
    refuse(coffer("query", url, "--table", TABLE, "--select", "id", "--where", "ssn < 'x'", code=3), "--search order", "--scan")
    refuse(coffer("query", url, "--table", TABLE, "--select", "id", "--where", "name like '%an%'", code=2), "short")
    refuse(coffer("query", url, "--table", TABLE, "--select", "id", "--where", "name = 'a' and (", code=2), "--where")
    refuse(coffer("query", url, "--table", TABLE, "--sum", "ward", code=3), "no sum column")
    found = coffer("query", "--json", url, "--table", TABLE, "--select", "id", "--scan", "--where", "ssn <> '000000001' and not name like '%an%'")
    assert len(found.splitlines()) == sum(1 for r in data if r[2] not in (None, "000000001") and r[1] is not None and "an" not in r[1])
    refuse(coffer("unprotect", *now, url, f"{TABLE}.ssn", code=3), "--drop-search")
    print("ok   what cannot be asked is refused", flush=True)

    bound_to_padded_keys(url, now)
    print("ok   keys of padded text and dates", flush=True)

    coffer("rotate", *now, url)
    ask(url, data, QUERIES // 4)
    coffer("rotate", *now, "--terms", url, f"{TABLE}.ssn", f"{TABLE}.name", f"{TABLE}.birth", f"{TABLE}.invoice")
    ask(url, data, QUERIES // 4)
    keys = json.loads("[" + ",".join(coffer("key", "list", "--json").splitlines()) + "]")
    text = json.dumps(keys)
    assert text.count('"proven"') >= 5, text
    print("ok   keys of envelopes and of terms changed", flush=True)

    # Bytes of a sum that somebody edits are found by the tags.
    sql(url, "UPDATE patients SET invoice_c = invoice_c + 1 WHERE id = (SELECT min(id) FROM patients WHERE invoice_c IS NOT NULL)")
    refuse(coffer("query", url, "--table", TABLE, "--sum", "invoice", code=1), "tag")
    sql(url, "UPDATE patients SET invoice_c = invoice_c - 1 WHERE id = (SELECT min(id) FROM patients WHERE invoice_c IS NOT NULL)")
    ask(url, data, 1)
    print("ok   an edited sum is found", flush=True)

    coffer("protect", *now, "--drop-search", "eq,text", url, f"{TABLE}.name")
    refuse(coffer("query", url, "--table", TABLE, "--select", "id", "--where", "name = 'Anna'", code=3), "--search eq")
    coffer("protect", *now, "--drop-search", "eq", url, f"{TABLE}.ssn")
    coffer("unprotect", *now, url, f"{TABLE}.ssn")
    got = coffer("query", "--json", url, "--table", TABLE, "--select", "id", "--where", "ssn = '000000007'")
    assert len(got.splitlines()) == sum(1 for r in data if r[2] == "000000007")
    print("ok   terms dropped, column plain again", flush=True)


main()
