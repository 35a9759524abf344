#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input and faults, each with the message that a person gets, on SQLite: cli_bad_input.py COFFER."""
import os
import resource
import shutil
import signal
import sqlite3
import time

import cli_support as t
from cli_support import check, run


def keyrings():
    """Unreadable, truncated, foreign, edited, rolled back, exchanged."""
    t.fresh()
    run("keyring", "init", code=1, says=("k.coffer exists", "never overwrites"))
    run("key", "list", "--keyring", "nowhere", code=1, says=("keyring nowhere: no such file", "coffer keyring init"))
    os.mkdir("folder")
    run("key", "list", "--keyring", "folder", code=1, says="folder")
    run("key", "list", "--kek", "file:nowhere.bin", code=1, says="nowhere.bin")
    os.chmod("kek.bin", 0o644)
    run("key", "list", code=3, says="kek.bin")
    os.chmod("kek.bin", 0o600)
    db = t.protected()
    with open("k.coffer", "rb") as f:
        whole = f.read()

    def holds(content, *words, command=("key", "list"), code=1):
        with open("k.coffer", "wb") as f:
            f.write(content)
        run(*command, code=code, says=("keyring k.coffer", *words))

    newest = max(int(n.rsplit(".", 1)[1]) for n in os.listdir(".") if n.startswith("k.coffer.") and n[9:].isdigit())
    for size in (1, 9, 20, 100, len(whole) - 1):
        holds(whole[:size], f"k.coffer.{newest}")
        check("truncated is said", size < 9 or "truncated" in run("key", "list", code=1).stderr)
    holds(b"", "empty", f"k.coffer.{newest}")
    holds(b"hello, world, this is a text\n" * 9, "not a Coffer keyring")
    holds(whole + b"\0", "after its end")
    middle = len(whole) // 2
    holds(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1:], "damaged", "checksum")
    holds(whole[:9] + b"\x09" + whole[10:], "version 9", "newer release")
    with open(f"k.coffer.{newest - 1}", "rb") as f:
        older = f.read()
    for command in (("cat", t.URL, "patients"), ("rotate", "--yes", t.URL), ("status", t.URL)):
        with open("k.coffer", "wb") as f:
            f.write(older)
        run(*command, code=1, says=("this keyring is at epoch", "the database has seen"))
    run("keyring", "init", "--keyring", "stranger")
    shutil.copy("stranger", "k.coffer")
    run("cat", t.URL, "patients", code=3, says=("belongs to keyring", "use its own"))
    run("protect", "--yes", t.URL, "patients.note", code=3, says=("belongs to keyring", "use its own"))
    with open("k.coffer", "wb") as f:
        f.write(whole)
    run("cat", t.URL, "patients")
    run("cat", "sqlite:nowhere.db", "patients", code=1, says="no database file nowhere.db")
    with open("text.db", "w", encoding="utf-8") as f:
        f.write("hello\n" * 1000)
    run("status", "sqlite:text.db", code=1, says=("text.db is no SQLite database",))
    db.close()


def cells():
    """Cells swapped, lowered, damaged, under an unknown key."""
    t.fresh()
    db = t.database()
    db.execute("create table wards(code text not null, bed int not null, guest text, nurse text, primary key(code, bed))")
    db.executemany("insert into wards values('W', ?, ?, ?)", [(i, f"guest {i}", f"nurse {i}") for i in range(1, 6)])
    run("protect", "--yes", t.URL, "wards.guest", "wards.nurse")
    run("protect", "--yes", "--suite", "2", t.URL, "patients.ssn")
    good = run("cat", t.URL, "wards").stdout

    def shows(sql, mark, table="wards"):
        """`mark` is shown in place of the cell; nothing else changes, and no rotation passes over it."""
        db.execute("begin")
        before = [db.execute(f"select * from {n}").fetchall() for n in ("wards", "patients")]
        db.execute(sql)
        db.execute("commit")
        done = run("cat", t.URL, table, code=1, says="did not open")
        check(f"{sql} shows {mark}", done.stdout.count(mark) == 1 and done.stdout.count("!") == 1)
        for name, rows in zip(("wards", "patients"), before):
            db.execute(f"delete from {name}")
            db.executemany(f"insert into {name} values({','.join('?' * len(rows[0]))})", rows)

    shows("update wards set guest = (select guest from wards where bed = 2) where bed = 1", "!AUTH")
    shows("update wards set guest = (select nurse from wards where bed = 1) where bed = 1", "!AUTH")
    cell = "(select guest from wards where bed = 3)"
    for where, byte in ((1, "02"), (2, "00"), (2, "01"), (3, "01"), (40, "ff")):
        shows(f"update wards set guest = cast(substr({cell},1,{where}) || x'{byte}' || substr({cell},{where + 2}) as blob) where bed = 3", "!AUTH")
    shows(f"update wards set guest = substr({cell},1,length({cell})-1) where bed = 3", "!AUTH")
    shows(f"update wards set guest = cast(substr({cell},1,4) || x'0badc0de' || substr({cell},9) as blob) where bed = 3", "!KEY")
    ssn = "(select ssn from patients where id = 3)"
    shows(f"update patients set ssn = cast(substr({ssn},1,1) || x'01' || substr({ssn},3) as blob) where id = 3", "!AUTH", "patients")
    check("nothing else was changed", run("cat", t.URL, "wards").stdout == good)
    for sql, what in (("update wards set guest = 'plain' where bed = 1", "plaintext"), ("insert into wards values('W', 7, 'plain', null)", "plaintext")):
        try:
            db.execute(sql)
            check("the database refuses plaintext", False)
        except sqlite3.Error as e:
            check("the database refuses plaintext", what in str(e))

    old = t.active_key()
    db.execute("update wards set guest = (select guest from wards where bed = 2) where bed = 1")
    run("rotate", "--yes", t.URL, code=3, says=("1 cell could not be opened", "repair or delete", old))
    found = {c["column"]: c for c in t.out_json("status", "--exact", t.URL)["columns"]}["guest"]
    check("its place is shown", found["quarantine"] == 1 and
          [(c["row"], c["key"]) for c in found["quarantined"]] == [([["text", "W"], ["int64", 1]], old)])
    check("it is counted apart from its key, and only there", found["by_key"].get(old, 0) == 0 and
          sum(found["by_key"].values()) == found["rows"] - found["nulls"] - 1)
    shown = run("status", t.URL).stdout
    check("status shows it to people", all(x in shown for x in ("quarantine wards.guest", '[["text","W"],["int64",1]]', "key " + old)))
    for where in ("guest = 'guest 1'", "bed = 1 and guest > 'a'"):
        run("cat", "--where", where, t.URL, "wards", code=2, says=("wards.guest, which is sealed",))
    check("ciphertext can be asked for NULL", run("cat", "--where", "guest is null", t.URL, "wards").stdout.count("\n") == 1)
    run("protect", "--yes", t.URL, "patients.note", "patients.note", code=2, says=("given twice",))
    check("the old key stays", [k["state"] for k in t.field_keys() if k["id"] == old] == ["draining"])
    db.execute("update wards set guest = null where bed = 1")
    run("rotate", "--yes", t.URL)
    check("repaired, it goes on to its end", [k["state"] for k in t.field_keys() if k["id"] == old] == ["escrowed"])
    db.close()


def working_rows():
    """Rows of Coffer's own tables edited, deleted, replayed, their tables dropped."""
    t.fresh()
    db = t.protected()
    shutil.copy("k.coffer", "good.coffer")
    db.execute("pragma wal_checkpoint(truncate)")
    db.close()
    shutil.copy("a.db", "good.db")

    def after(sql):
        for name in ("a.db-wal", "a.db-shm"):
            if os.path.exists(name):
                os.remove(name)
        shutil.copy("good.db", "a.db")
        shutil.copy("good.coffer", "k.coffer")
        with sqlite3.connect("a.db") as c:
            c.executescript(sql)
        c.close()

    for sql, words in (("update coffer_meta set content = content || ' ' where key = 'seen'", ("edited or moved", "Restore")),
                       ("update coffer_meta set epoch = epoch + 1 where key = 'seen'", ("edited or moved",)),
                       ("delete from coffer_meta where key = 'seen'", ('row "seen"', "is gone")),
                       ("update coffer_meta set content = replace(content, 'a', 'b') where key = 'database'", ("edited",))):
        for command in (("status", t.URL), ("cat", t.URL, "patients"), ("rotate", "--yes", t.URL)):
            after(sql)
            run(*command, code=1, says=("Coffer's working table meta", *words))
    after("delete from coffer_meta")
    check("without its id a database counts as restored", "was restored or copied" in run("status", t.URL).stdout)
    after("insert into coffer_client select 'nobody@x:1', 1, content, mac from coffer_meta where key = 'seen'")
    check("a row moved to another table is not believed", "1 working row" in run("status", t.URL).stdout)
    after("drop table coffer_rotation; drop table coffer_quarantine")
    run("rotate", "--yes", t.URL)
    after("update coffer_rotation set content = replace(content, 'done', 'drain')")
    run("rotate", "--yes", t.URL)
    check("and the cells are all there", run("cat", t.URL, "patients").stdout.count("ssn-") == t.ROWS - 5)


def tables():
    """What protect says of keys, types, checks, triggers, views and the like, and what it does."""
    t.fresh()
    db = t.database()
    db.executescript("""
        create table nokey(a text); insert into nokey values('x'),('y'),(null),('');
        create table nullkey(code text primary key, s text); insert into nullkey values(null,'x'),(null,'y'),('a','z');
        create table mixed(id integer primary key, n int); insert into mixed values(1,5),(2,'five');
        create table dated(id integer primary key, d date); insert into dated values(1,'2020-13-45');
        create table parent(id integer primary key, s text unique); insert into parent values(1,'q');
        create table child(id integer primary key, s text references parent(s)); insert into child values(1,'q');
        create table computed(id integer primary key, s text, g text generated always as (upper(s)) stored); insert into computed(id,s) values(1,'q');
        create table short(id integer primary key, s text check(length(s)<5)); insert into short values(1,'q');
        create table indexed(id integer primary key, s text); create index by_s on indexed(s); insert into indexed values(1,'q');
        create table seen(id integer primary key, s text); create view shows_s as select s from seen; insert into seen values(1,'q');
        create table lowered(id integer primary key, s text); insert into lowered values(1,'Q');
        create trigger lower_s after update of s on lowered begin update lowered set s=lower(s) where id=new.id; end;
        create table defaulted(id integer primary key, s text default 'abc'); insert into defaulted(id) values(1);
        create table strictly(id integer primary key, s text) strict; insert into strictly values(1,'q');
        create table cased(id integer primary key, s text collate nocase); insert into cased values(1,'Bob'),(2,'bob');
        create table named(s text not null primary key); insert into named values('a');""")

    def plan(column, *words, code=0):
        done = run("protect", "--plan", "--yes", t.URL, column, code=code)
        said = done.stdout + done.stderr
        assert all(w in said for w in words), (column, words, said)
        check("a plan changes nothing", db.execute("select count(*) from sqlite_master where name like 'coffer_zzz%'").fetchone() == (0,))

    plan("nokey.a", "column binding", "no declared NOT NULL primary key")
    plan("nullkey.s", "column binding", "no declared NOT NULL primary key")
    plan("mixed.n", "must be settled first", "first id 2", code=3)
    plan("dated.d", "must be settled first", "no date", "first id 1", code=3)
    plan("parent.s", "foreign-key", "is what child.s refers to", code=3)
    plan("child.s", "foreign key", code=3)
    plan("computed.g", "computed by the database", code=3)
    plan("computed.s", "generated column")
    plan("short.s", "CHECK", "companion")
    plan("indexed.s", "index by_s")
    plan("seen.s", "view shows_s")
    plan("lowered.s", "trigger lower_s")
    plan("defaulted.s", "default")
    plan("strictly.s", "s_sealed")
    plan("named.s", "part of the primary key", code=3)
    for column, code, words in (("shows_s.s", 1, "shows_s is a view, not a table"), ("nope.s", 1, ("no table nope", "there are: ")),
                                ("cased.nope", 1, ("table cased has no column nope", "it has id, s")), ("cased", 2, "table.column"),
                                ("cased.s:strange", 2, ("no type strange", "timestamp, uuid and json"))):
        run("protect", "--yes", t.URL, column, code=code, says=words)
    run("protect", "--yes", t.URL, "--bind", "tight", "cased.s", code=2, says="none, column or row")
    run("protect", "--yes", t.URL, "--bind", "row", "nokey.a", code=3)
    run("protect", "--yes", t.URL, "--suite", "3", "cased.s", code=2, says="--suite")
    run("protect", "--yes", t.URL, code=2, says="which columns?")
    run("unprotect", "--yes", t.URL, "cased.s", code=1, says=("no protected column", "coffer protect"))

    run("protect", "--yes", t.URL, "lowered.s", code=1, says=("stored something other than what was sent", "lower_s"))
    check("a value that the trigger would have changed is what it was", db.execute("select s from lowered").fetchone() == ("Q",))
    db.execute("drop trigger lower_s")
    run("protect", "--yes", t.URL, "lowered.s", "nokey.a", "nullkey.s", "cased.s", "strictly.s", "short.s")
    run("unprotect", "--yes", t.URL, "patients.note", code=1, says="patients.note")
    run("rotate", "--yes", t.URL, "patients.note", code=1, says="patients.note")
    check("NOCASE keeps the values apart", run("cat", t.URL, "cased").stdout == "id,s\n1,Bob\n2,bob\n")
    run("rotate", "--yes", t.URL)
    for _ in range(2):
        check("no key", run("cat", t.URL, "nokey").stdout == 'a\nx\ny\n\n""\n')
        check("a nullable key", run("cat", t.URL, "nullkey").stdout.splitlines()[1:] == [",x", ",y", "a,z"])
        db.execute("delete from nokey where rowid = 99")
        db.execute("vacuum")
    db.execute("insert into nullkey(code) values(null)")
    db.close()


def dropped():
    """A table or a column that was renamed or dropped under protection."""
    t.fresh()
    db = t.database()
    db.execute("create table wards(id integer primary key, guest text)")
    db.execute("insert into wards values(1,'Zoë')")
    run("protect", "--yes", t.URL, "patients.ssn", "wards.guest")
    old = t.active_key()
    db.execute("alter table wards rename column guest to visitor")
    for command in (("status", t.URL), ("status", t.URL, "--exact"), ("prove", t.URL, old), ("rotate", "--yes", t.URL)):
        run(*command, code=1, says=("wards.guest", "rename it back", "coffer unprotect --gone"))
    run("unprotect", "--yes", "--gone", t.URL, "wards.guest")
    run("rotate", "--yes", t.URL, code=3, says=("wards.visitor", "not protected"))
    db.execute("drop table wards")
    run("rotate", "--yes", t.URL)
    check("the rotation ended", [k["state"] for k in t.field_keys() if k["id"] == old] == ["escrowed"])
    db.execute("alter table patients rename to people")
    for command in (("status", t.URL), ("rotate", "--yes", t.URL)):
        run(*command, code=1, says=("patients.ssn", "no table patients any more", "coffer unprotect --gone"))
    run("cat", t.URL, "patients", code=1, says=("no table patients", "people"))
    run("unprotect", "--yes", t.URL, "patients.ssn", code=3, says="--gone")
    db.execute("alter table people rename to patients")
    run("rotate", "--yes", t.URL)
    check("renamed back, all is there", run("cat", t.URL, "patients").stdout.count("ssn-") == t.ROWS - 5)
    db.close()


def full_disk():
    """No file may grow beyond a limit, at many sizes: what was there stays readable, and the same command goes on."""
    t.fresh()
    db = t.database(rows=400)
    db.execute("pragma journal_mode=delete")
    db.close()
    run("protect", "--yes", "--shadow-only", t.URL, "patients.note")
    expected = run("cat", t.URL, "patients").stdout

    def limit(size):
        def set_limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        return set_limit

    stopped = 0
    for words in (("protect", "--yes", "--duty", "1", t.URL, "patients.note"), ("rotate", "--yes", "--duty", "1", t.URL)):
        for size in (600, 3000, 9000, 30000, 60000):
            try:
                run(*words, code=1, says="File too large" if size < 1000 and stopped == 0 else "Is the disk full?", preexec=limit(size))
                stopped += 1
            except AssertionError as e:
                if "0," not in str(e):
                    raise
            check("nothing is lost", run("cat", t.URL, "patients").stdout == expected)
        run(*words)
        check("it goes on when there is room", run("cat", t.URL, "patients").stdout == expected)
    check("some writes failed", stopped > 4)
    run("audit", "--verify")


def busy():
    """Somebody holds the database's write lock."""
    t.fresh()
    db = t.protected()
    db.execute("begin immediate")
    run("cat", t.URL, "patients")
    began = time.monotonic()
    child = t.subprocess.Popen([t.COFFER, "rotate", "--yes", t.URL], stdout=t.subprocess.DEVNULL, stderr=t.subprocess.PIPE, text=True)
    time.sleep(1)
    db.execute("commit")
    _, err = child.communicate(timeout=60)
    check("rotate waits for a writer", child.returncode == 0 and time.monotonic() - began >= 1)
    check("and says nothing bad", err == "")
    db.close()


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    for part in (keyrings, cells, working_rows, tables, dropped, full_disk, busy):
        began = time.monotonic()
        part()
        os.chdir(here)
        print(f"{part.__name__}: {time.monotonic() - began:.1f} s", flush=True)
    print(f"{t.PASSED} passed")


main()
