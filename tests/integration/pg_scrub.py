#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where the plaintext of a column still is, by searching the table's files: pg_scrub.py COFFER"""
import json

from pg_support import NOW, active_key, check, coffer, end, psql, sibling, start

URL = start("scrub")
SUPER = sibling("COFFER_TEST_PG_SUPER", URL.rsplit("/", 1)[1])
ROWS = 2000
SECRET = "plaintext-to-be-gone"
SCHEMA = f"""
CREATE TABLE people(id int PRIMARY KEY, ssn text, long text);
INSERT INTO people SELECT i, '{SECRET}-' || i, repeat('{SECRET}', 20) || (SELECT string_agg(md5(i || '.' || j), '') FROM generate_series(1, 200) j)
  FROM generate_series(1, {ROWS}) i;
"""


def in_the_files():
    """How many of the table's files, TOAST and planner statistics included, hold it."""
    psql("CHECKPOINT", SUPER)
    return int(psql("SELECT count(*) FROM pg_class c WHERE (oid = 'people'::regclass OR oid = (SELECT reltoastrelid FROM pg_class WHERE"
                    f" oid = 'people'::regclass) OR relname = 'pg_statistic') AND position('{SECRET}'::bytea IN"
                    " pg_read_binary_file(pg_relation_filepath(oid))) > 0", SUPER))


def level():
    coffer("rotate", "--yes", *NOW, URL)
    key = [k["id"] for k in json.loads(coffer("key", "list", "--json")) if k["state"] == "escrowed"][-1]
    coffer("prove", URL, key, "--out", "cert.json", "--force")
    with open("cert.json", encoding="utf8") as f:
        text = f.read()
    return next(name for name in ("not in the files", "not in live tuples", "not selectable", "readable") if name in text)


def main():
    psql(SCHEMA, URL)
    psql("VACUUM ANALYZE people", URL)
    check("it is in the files", in_the_files() >= 2)
    coffer("keyring", "init")
    coffer("protect", "--yes", *NOW, URL, "people.ssn", "people.long")
    check("no row has it", psql("SELECT count(*) FROM people WHERE ssn IS NOT NULL OR long IS NOT NULL", URL) == "0")
    check("VACUUM alone leaves it in the heap", in_the_files() >= 1)
    check("and no more is claimed", level() == "not in live tuples")
    said = coffer("protect", "--yes", "--scrub", *NOW, URL, "people.ssn", "people.long")
    check("a role that cannot read the files is told so", "cannot read the server's files" in said)
    check("and nothing is claimed", level() == "not in live tuples")
    check("though it is in no file of the table any more", in_the_files() == 0)
    psql("GRANT pg_read_server_files TO coffer_app;"
         "GRANT EXECUTE ON FUNCTION pg_read_binary_file(text, bigint, bigint, boolean) TO coffer_app", SUPER)
    coffer("protect", "--yes", "--scrub", *NOW, URL, "people.ssn", "people.long")
    psql("REVOKE pg_read_server_files FROM coffer_app", SUPER)
    check("scrubbed, it is in no file of the table", in_the_files() == 0)
    check("which the certificate says", level() == "not in the files")
    check("and the values are there", SECRET + "-7," in coffer("cat", URL, "people", "--where", "id = 7"))
    check("one key is active", active_key() is not None)
    end()


main()
