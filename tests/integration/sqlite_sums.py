#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""coffer_sum and coffer_paillier_sum in SQLite, against the published answers.

    sqlite_sums.py coffer_sqlite.so search-vectors.json
"""
import json
import os
import re
import subprocess
import sys

EXTENSION, VECTORS = (os.path.abspath(path) for path in sys.argv[1:3])


def environment():
    """A shell that was built without sanitizers needs theirs loaded first."""
    sanitizer = re.search(r"=> (\S*libasan\S*)", subprocess.run(["ldd", EXTENSION], text=True, capture_output=True).stdout)
    if sanitizer:
        return {**os.environ, "LD_PRELOAD": sanitizer[1], "ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0"}
    return dict(os.environ)


ENVIRONMENT = environment()


def run(sql):
    done = subprocess.run(["sqlite3", "-bail", ":memory:"], input=f".load {EXTENSION}\n{sql}\n", text=True, capture_output=True,
                          env=ENVIRONMENT)
    return done.stdout.strip().lower(), done.stderr


def answer(sql):
    out, err = run(sql)
    assert not err, err
    return out


vectors = json.load(open(VECTORS))
column = next(c for c in vectors["sum"] if c["bits"] == 64)
rows = ",".join(f"({r['id_hi']},{r['id_lo']},{r['l']})" for r in column["rows"])
table = f"CREATE TABLE t (hi INTEGER, lo INTEGER, c INTEGER); INSERT INTO t VALUES {rows}, (NULL, NULL, NULL);"
checked = 0
for query in column["queries"]:
    if "answer" not in query:
        continue
    chosen = ",".join(str(i + 1) for i in query["rows"])
    assert answer(f"{table} SELECT hex(coffer_sum(hi, lo, c)) FROM t WHERE rowid IN ({chosen}) OR c IS NULL;") == query["answer"]
    checked += 1
assert checked >= 6
assert answer(f"{table} SELECT coffer_sum(hi, lo, c) IS NULL FROM t WHERE c IS NULL;") == "1"
assert answer(f"{table} SELECT coffer_sum(hi, lo, c) IS NULL FROM t WHERE 0;") == "1"
# A join that repeats rows is refused, not added up.
assert "came twice" in run(f"{table} SELECT coffer_sum(a.hi, a.lo, a.c) FROM t a, t b;")[1]
assert "three integers" in run("SELECT coffer_sum(1, 2, 'x');")[1]

paillier = vectors["paillier"]
n2 = f"x'{int(paillier['n'], 16) ** 2:01536x}'"
version = f"{paillier['version']:04x}"
a, b = (paillier["textbook"][paillier["add"][k]]["c"] for k in "ab")
values = f"(SELECT x'{version}{a}' c UNION ALL SELECT x'{version}{b}' UNION ALL SELECT NULL)"
assert answer(f"SELECT hex(coffer_paillier_sum(c, {n2})) FROM {values};") == version + paillier["add"]["c"]
assert "two key versions" in run(f"SELECT coffer_paillier_sum(c, {n2}) FROM (SELECT x'{version}{a}' c UNION ALL SELECT x'0001{b}');")[1]
assert "ciphertext" in run(f"SELECT coffer_paillier_sum(x'0001{paillier['invalid'][0]['c']}', {n2});")[1]
assert "takes a Paillier" in run(f"SELECT coffer_paillier_sum(x'00', {n2});")[1]
