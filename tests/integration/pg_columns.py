#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Columns and tables of every kind, through protect, rotate, prove and unprotect, or the refusal that each is due.

pg_cluster.sh run pg_columns.py COFFER
"""
import os

from pg_support import (NOW, Session, active_key, all_under, check, coffer, end, psql, same, seal, sibling, start, state_of)

URL = start("columns")
SUPER = sibling("COFFER_TEST_PG_SUPER", URL.rsplit("/", 1)[1])

SCHEMA = """
CREATE EXTENSION citext;
CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);

-- compared without case: as a value, as a key, under a collation
CREATE TABLE folded(k citext PRIMARY KEY, v citext, w text COLLATE blind);
INSERT INTO folded VALUES('Bob', 'Bob', 'Bob'), ('alice', 'bob', 'bob'), ('', '', ''), ('Zoë', NULL, NULL), ('x', 'ZOË', 'zoë');

-- partitions, two levels of them, and rows that move between them
CREATE TABLE visits(id int, region text, v text NOT NULL, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE visits_north PARTITION OF visits FOR VALUES IN ('n');
CREATE TABLE visits_south PARTITION OF visits FOR VALUES IN ('s') PARTITION BY RANGE (id);
CREATE TABLE visits_south_1 PARTITION OF visits_south FOR VALUES FROM (0) TO (500);
CREATE TABLE visits_south_2 PARTITION OF visits_south DEFAULT;
CREATE TABLE visits_rest PARTITION OF visits DEFAULT;
INSERT INTO visits SELECT i, (ARRAY['n', 's', 'w'])[1 + i % 3], 'v' || i FROM generate_series(1, 900) i;

-- a trigger that rewrites what is stored
CREATE TABLE lowered(id int PRIMARY KEY, v text, w text);
CREATE FUNCTION lower_all() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN NEW.v := lower(NEW.v); NEW.w := coalesce(lower(NEW.w), ''); RETURN NEW; END$$;
CREATE TRIGGER lower_all BEFORE INSERT OR UPDATE ON lowered FOR EACH ROW EXECUTE FUNCTION lower_all();
INSERT INTO lowered SELECT i, 'Abc' || i, 'Def' || i FROM generate_series(1, 50) i;

-- row-level security: the owner passes it, unless it is forced
CREATE TABLE guarded(id int PRIMARY KEY, v text);
INSERT INTO guarded SELECT i, 'g' || i FROM generate_series(1, 50) i;
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON guarded USING (id % 2 = 0);
CREATE TABLE forced(id int PRIMARY KEY, v text);
INSERT INTO forced SELECT i, 'f' || i FROM generate_series(1, 50) i;
ALTER TABLE forced ENABLE ROW LEVEL SECURITY;
ALTER TABLE forced FORCE ROW LEVEL SECURITY;
CREATE POLICY few ON forced USING (id % 2 = 0);

-- a view, a materialised view and a foreign key beside the column
CREATE TABLE parents(id int PRIMARY KEY, v varchar(12) NOT NULL CHECK (length(v) < 10), w text, at timestamptz DEFAULT now());
INSERT INTO parents(id, v, w) SELECT i, 'p' || i, 'w' || i FROM generate_series(1, 200) i;
CREATE TABLE children(id int PRIMARY KEY, parent int NOT NULL REFERENCES parents ON DELETE CASCADE);
INSERT INTO children SELECT i, i FROM generate_series(1, 200) i;
CREATE VIEW shown AS SELECT id, v FROM parents;
CREATE MATERIALIZED VIEW copied AS SELECT id, v FROM parents;
CREATE INDEX by_w ON parents (w);

-- no key at all, and a primary key that is not one column
CREATE TABLE keyless(a int, v text);
INSERT INTO keyless SELECT i, 'k' || i FROM generate_series(1, 300) i;

-- what is refused
CREATE TABLE odd(id int PRIMARY KEY, gen text, made text GENERATED ALWAYS AS (upper(gen)) STORED, def text DEFAULT 'x', uni text UNIQUE,
                 ref int REFERENCES parents, code text, addr inet, nar varchar(20));
CREATE TABLE refers(id int PRIMARY KEY, v text REFERENCES odd (uni));
CREATE TABLE ruled(id int PRIMARY KEY, v text);
CREATE RULE no_delete AS ON DELETE TO ruled DO INSTEAD NOTHING;
CREATE TABLE by_value(v text, id int) PARTITION BY LIST (v);
CREATE TABLE spread(id int, v text) PARTITION BY RANGE (id);
CREATE TABLE spread_1 PARTITION OF spread FOR VALUES FROM (0) TO (9);
CREATE TABLE base(id int PRIMARY KEY, v text);
CREATE TABLE derived() INHERITS (base);
CREATE TABLE announced(id int, v text);
CREATE PUBLICATION news FOR TABLE announced;
CREATE TABLE far(id int, v text) PARTITION BY RANGE (id);
"""
COLUMNS = ("folded.v", "folded.w", "visits.v", "guarded.v", "parents.v", "parents.w", "keyless.v", "lowered.v")
TABLES = {"folded": "k::text COLLATE \"C\"", "visits": "id", "guarded": "id", "parents": "id", "keyless": "a", "lowered": "id"}
REFUSED = {  # column: what the plan calls it, and the thing that stands in the way
    "odd.gen": "generated made", "odd.made": "generated made", "odd.def": "default def", "odd.uni": "unique odd_uni_key",
    "odd.ref": "foreign-key odd_ref_fkey", "odd.id": "not-null id", "refers.v": "foreign-key refers_v_fkey",
    "ruled.v": "rule no_delete", "by_value.v": "partition v", "base.v": "partition derived", "announced.v": "publication news",
    "visits_north.v": "partition visits_north", "forced.v": "row-security forced", "far.v": "foreign-table far_1",
    "theirs.v": "row-security theirs", "spread.v": "partition spread",
}


def dump():
    return {t: psql(f"COPY (SELECT * FROM {t} ORDER BY {key}) TO STDOUT (FORMAT csv, HEADER)", URL) for t, key in TABLES.items()}


def shown():
    """What coffer cat prints, which sorts keys as the database does."""
    out = {t: coffer("cat", URL, t).removesuffix("\n") for t in TABLES}
    for t in ("folded", "keyless"):  # by a collation, by address
        head, *rows = out[t].split("\n")
        out[t] = "\n".join([head, *sorted(rows, key=lambda r: (r.split(",")[0].strip('"').encode() if t == "folded" else int(r.split(",")[0])))])
    return out


def reads_as(before, when):
    for table, rows in shown().items():
        same(f"{table}, {when}", rows, before[table])


def refusals():
    psql("CREATE EXTENSION postgres_fdw; CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw;"
         "GRANT USAGE ON FOREIGN SERVER elsewhere TO coffer_app;"
         "CREATE TABLE theirs(id int PRIMARY KEY, v text); INSERT INTO theirs VALUES(1, 'a');"
         "ALTER TABLE theirs ENABLE ROW LEVEL SECURITY; GRANT ALL ON theirs TO coffer_app", SUPER)
    psql("CREATE FOREIGN TABLE far_1 PARTITION OF far FOR VALUES FROM (0) TO (9) SERVER elsewhere", URL)
    for column, why in REFUSED.items():
        said = coffer("protect", "--yes", *NOW, URL, column, code=3)
        check(f"{column} is refused for its {why}", why in said and "must be settled first" in said)
    check("a column in place needs room", "length nar" in coffer("protect", "--yes", *NOW, "--in-place", URL, "odd.nar", code=3))
    check("another type is not guessed", "has type inet" in coffer("protect", "--yes", *NOW, URL, "odd.addr", code=3))
    check("a refusal leaves nothing behind", psql("SELECT count(*) FROM pg_attribute WHERE attname LIKE '%\\_sealed'", URL) == "0")


def a_trigger_that_rewrites():
    """What comes back other than it was sent stops the work and names the trigger; nothing is lost. (T)"""
    before = psql("SELECT * FROM lowered ORDER BY id", URL)
    said = coffer("protect", "--yes", *NOW, URL, "lowered.w", code=1)
    check("the trigger is named", "lower_all" in said and "nothing was written" in said)
    said = coffer("protect", "--yes", *NOW, "--in-place", URL, "lowered.v", code=1)
    check("it would have folded envelopes in place, too", "lower_all" in said and "nothing was written" in said)
    check("no value was touched", psql("SELECT id, v, w FROM lowered ORDER BY id", URL) == before)
    check("and all is readable", "7,abc7,def7" in coffer("cat", URL, "lowered"))
    psql("ALTER TABLE lowered DISABLE TRIGGER lower_all", URL)
    coffer("protect", "--yes", *NOW, URL, "lowered.w", "lowered.v")
    check("without the trigger both are sealed", psql("SELECT count(*) FROM lowered WHERE w IS NOT NULL OR v NOT LIKE 'cfr1.%'", URL) == "0")
    psql("ALTER TABLE lowered ENABLE TRIGGER lower_all", URL)
    said = coffer("rotate", "--yes", *NOW, URL, code=1)
    check(f"a rotation stops at it as well: {said}", "lower_all" in said)
    check("and everything stays readable", "7,abc7,def7" in coffer("cat", URL, "lowered"))
    psql("ALTER TABLE lowered DISABLE TRIGGER lower_all", URL)
    coffer("rotate", "--yes", *NOW, URL)
    coffer("unprotect", "--yes", *NOW, URL, "lowered.w", "lowered.v")
    check("unprotected it is what it was", psql("SELECT * FROM lowered ORDER BY id", URL) == before)
    psql("ALTER TABLE lowered ENABLE TRIGGER lower_all", URL)


def unaware_application(session):
    """Prepared statements and views of an application that never changes outlive every phase. (T)"""
    got = session.run("EXECUTE one(7)")
    check(f"the prepared statement still runs: {got}", got in ("7|p7", "7|"))
    return got


def rows_move_between_partitions(old):
    """A moved row is an INSERT: one that still holds the retired key is refused until it is drained, others pass."""
    psql("UPDATE visits SET region = 'n' WHERE id = 1; UPDATE visits SET region = 's' WHERE id = 1; UPDATE visits SET id = 950 WHERE id = 1", URL)
    check("a moved row opens", "950,s,v1" in coffer("cat", URL, "visits", "--where", "id = 950"))
    psql("UPDATE visits SET id = 1, region = 's' WHERE id = 950", URL)
    psql("CREATE TABLE visits_late PARTITION OF visits FOR VALUES IN ('late')", URL)
    stale = "f9010102" + old + "11" * 40
    said = psql(f"INSERT INTO visits(id, region, v_sealed) VALUES(2000, 'late', '\\x{stale}')", URL, fails=True)
    check("a partition attached later is fenced", "40001" in said or "23514" in said)
    said = psql("INSERT INTO visits(id, region, v) VALUES(2000, 'late', 'plain')", URL, fails=True)
    check("and takes no plaintext", "23514" in said)
    psql("CREATE TABLE visits_own(id int NOT NULL, region text NOT NULL, v text, v_sealed bytea)", URL)
    psql(f"INSERT INTO visits_own VALUES(3000, 'own', NULL, '\\x{stale}')", URL)
    said = psql("ALTER TABLE visits ATTACH PARTITION visits_own FOR VALUES IN ('own')", URL, fails=True)
    check("a table that lacks the constraints is not attached", "coffer_" in said)
    psql("DROP TABLE visits_own", URL)


def main():
    psql(SCHEMA, URL)
    before = dump()
    coffer("keyring", "init")
    refusals()
    a_trigger_that_rewrites()

    plan = coffer("protect", "--plan", URL, *COLUMNS)
    for word in ("view shown", "copy copied", "index by_w", "trigger lower_all", "row-security guarded", "collation blind", "check parents_v_check",
                 "NOT NULL moves to a CHECK"):
        check(f"the plan tells of {word}", word in plan)
    check("a plan changes nothing", dump() == before)

    application = Session(URL)
    application.run("PREPARE one(int) AS SELECT id, v FROM parents WHERE id = $1")
    unaware_application(application)
    # Rows that move between partitions change their key, which a value bound to the row would not outlive.
    coffer("protect", "--yes", *NOW, "--no-unaware-clients", "--bind", "column", URL, "visits.v")
    coffer("protect", "--yes", *NOW, "--no-unaware-clients", URL, *COLUMNS)
    check("the application sees NULL", unaware_application(application) == "7|")
    check("so does the view", psql("SELECT count(v) FROM shown", URL) == "0")
    check("no plaintext is left", all(psql(f"SELECT count({c.split('.')[1]}) FROM {c.split('.')[0]}", URL) == "0" for c in COLUMNS))
    reads_as(before, "sealed")
    check("NOT NULL holds over both", "23514" in psql("INSERT INTO parents(id) VALUES(1000)", URL, fails=True))
    psql("DELETE FROM parents WHERE id = 200", URL)
    check("foreign keys work as ever", psql("SELECT count(*) FROM children", URL) == "199")
    fresh = seal(URL, "parents.v", [["int64", 200]], "p200")
    again = seal(URL, "parents.w", [["int64", 200]], "w200")
    check("two envelopes of one value differ", fresh != seal(URL, "parents.v", [["int64", 200]], "p200"))
    psql(f"INSERT INTO parents(id, v_sealed, w_sealed, at) VALUES(200, '\\x{fresh}', '\\x{again}',"
         f" (SELECT at FROM parents WHERE id = 1))", URL)

    old = active_key()
    coffer("rotate", "--yes", *NOW, URL)
    new = active_key()
    check("every cell of every table is under the new key", all_under(URL, new))
    check("the old key is in escrow", state_of(old) == "escrowed")
    reads_as(before, "rotated")
    coffer("prove", URL, old, "--out", "cert.json")
    rows_move_between_partitions(old)
    coffer("rotate", "--yes", *NOW, "--workers", "2", URL)
    reads_as(before, "rotated by two workers, with a partition more")
    unaware_application(application)

    coffer("unprotect", "--yes", *NOW, URL, *COLUMNS)
    check("the application sees its values again", unaware_application(application) == "7|p7")
    application.close()
    for table, rows in dump().items():
        same(f"{table} unprotected", rows, before[table])
    check("NOT NULL is back", "23502" in psql("UPDATE parents SET v = NULL", URL, fails=True))
    left = psql("SELECT count(*) FROM pg_attribute WHERE attname LIKE '%\\_sealed'"
                " UNION ALL SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'coffer%'"
                " UNION ALL SELECT count(*) FROM pg_constraint WHERE conname LIKE 'coffer%'", URL)
    check(f"nothing of Coffer is left in the tables: {left}", left == "0\n0\n0")
    end()


main()
