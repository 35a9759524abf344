#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The loadable extension in the sqlite3 shell: sqlite_extension.py COFFER COFFER_SQLITE_SO."""
import os
import re
import shutil
import subprocess
import sys

import cli_support as t
from cli_support import check, run

MODULE = os.path.abspath(sys.argv[2])
ATTACH = "select coffer_attach('k.coffer','file:kek.bin');\n"


def shell(sql, error=None, attach=True, name="a.db"):
    """Lines that the statements print after attaching; with `error` they must fail with that in the message."""
    env = dict(os.environ)
    libraries = subprocess.run(["ldd", MODULE], capture_output=True, text=True, check=True).stdout
    sanitizer = re.search(r"=> (\S*libasan\S*)", libraries)
    if sanitizer:  # its runtime must come first, in a shell that was built without
        env.update(LD_PRELOAD=sanitizer[1], ASAN_OPTIONS="detect_leaks=0:verify_asan_link_order=0")
    script = f".bail on\n.load {os.path.splitext(MODULE)[0]}\n" + (ATTACH if attach else "") + sql + "\n"
    done = subprocess.run(["sqlite3", "-batch", name], input=script, capture_output=True, text=True, check=False, env=env)
    if error is not None:
        assert done.returncode != 0 and error in done.stderr, (sql, done.returncode, done.stdout, done.stderr)
        t.PASSED += 1
        return []
    assert done.returncode == 0, (sql, done.stdout, done.stderr)
    return done.stdout.splitlines()[1 if attach else 0:]


def main():
    if shutil.which("sqlite3") is None:
        print("the sqlite3 shell is not installed (package sqlite3)")
        sys.exit(77)
    t.fresh()
    db = t.database()
    db.execute("create table wards(code text not null, bed int not null, guest text, fee numeric, primary key(code, bed))")
    db.execute("insert into wards values('W', 1, 'Zoë', 12.5), ('W', 2, '', null)")
    run("protect", "--yes", t.URL, "patients.ssn", "patients.born:date", "wards.guest", "wards.fee:numeric")
    key = t.active_key()
    epoch = t.out_json("keyring", "show")["epoch"]

    check("attach gives the epoch", shell(ATTACH, attach=False) == [str(epoch)])
    open_ssn = "select coffer_open(ssn,'patients.ssn',id) from patients where id={}"
    check("a cell opens", shell(open_ssn.format(3)) == ["ssn-3"])
    check("a key that does not bind it does no harm, nor does none", shell("select coffer_open(ssn,'patients.ssn') from patients where id=3") == ["ssn-3"])
    check("NULL stays NULL, empty stays empty", shell(
        "select typeof(coffer_open(ssn,'patients.ssn',id)), quote(coffer_open(ssn,'patients.ssn',id)) from patients where id in (5,6);") ==
        ["null|NULL", "text|''"])
    check("a date is text", shell("select coffer_open(born,'patients.born',id) from patients where id=3") == ["1903-02-03"])
    check("a composite key", shell("select coffer_open(guest,'wards.guest',code,bed), coffer_open(fee,'wards.fee',code,bed) from wards order by bed") ==
          ["Zoë|12.5", "|"])
    check("the key id", shell("select distinct coffer_key_id(ssn) from patients where ssn is not null") == [key])
    check("of what is no envelope there is none", shell("select quote(coffer_key_id(note)), quote(coffer_key_id(null)), quote(coffer_key_id(7)) from patients where id=1") ==
          ["NULL|NULL|NULL"])
    check("it needs no keyring", shell("select coffer_key_id(ssn) from patients where id=3", attach=False) == [key])

    shell("update patients set ssn = coffer_seal('new','patients.ssn',id) where id=3;"
          "update wards set guest = coffer_seal('Ann','wards.guest',code,bed), fee = coffer_seal(7.25,'wards.fee',code,bed) where bed=2;"
          "update patients set born = coffer_seal(null,'patients.born',id) where id=4")
    check("what was sealed is read by the command", ",new," in "," + run("cat", t.URL, "patients", "--where", "id=3").stdout.replace("\n", ","))
    check("composite too", "W,2,Ann,7.25" in run("cat", t.URL, "wards").stdout)
    check("sealing NULL gives NULL", db.execute("select born from patients where id=4").fetchone() == (None,))
    check("search by opening", shell("select id from patients where coffer_open(ssn,'patients.ssn',id) = 'ssn-7'") == ["7"])

    shell("select coffer_open(ssn,'patients.ssn',id) from patients", "first select coffer_attach", attach=False)
    shell("select coffer_attach('nowhere','file:kek.bin')", "nowhere", attach=False)
    shell("select coffer_attach('k.coffer','file:nowhere')", "nowhere", attach=False)
    shell("select coffer_attach('k.coffer','passphrase:')", "no terminal", attach=False)
    shell("select coffer_attach(null,'file:kek.bin')", "coffer_attach('keyring file'", attach=False)
    with open("wrong.bin", "wb") as f:
        f.write(b"x" * 32)
    os.chmod("wrong.bin", 0o600)
    shell("select coffer_attach('k.coffer','file:wrong.bin')", "wrong key file", attach=False)
    shell("select coffer_open(ssn,'patients.nope',id) from patients", "patients.nope is no protected column")
    shell("select coffer_open(ssn,null,id) from patients", "'table.column'")
    shell("select coffer_open(ssn) from patients", "coffer_open(cell, 'table.column', key…)")
    shell("select coffer_open(guest,'wards.guest',code) from wards", "give its primary key (2 parts)")
    shell("select coffer_open(guest,'wards.guest',code,9) from wards", "authentication failed")
    shell("select coffer_open(born,'patients.ssn',id) from patients where id=3", "authentication failed")
    shell("select coffer_open('plain','patients.ssn',1)", "plaintext")
    shell("select coffer_seal('31.12.1999','patients.born',1)", "date")
    shell("select coffer_seal(x'00','patients.born',1)", "no date")

    # Nothing in the database file can call what reads plaintext or takes a path.
    db.execute("create view leak as select coffer_open(ssn,'patients.ssn',id) as ssn from patients")
    shell("select * from leak", "unsafe use of coffer_open")
    db.execute("create trigger t after insert on patients begin select coffer_attach('k.coffer','file:kek.bin'); end")
    shell("insert into patients(id) values(99)", "unsafe use of coffer_attach")
    db.execute("drop trigger t")
    db.execute("create trigger t before update on patients begin select coffer_seal('x','patients.ssn',1); end")
    shell("update patients set note='x'", "unsafe use of coffer_seal")
    db.execute("drop trigger t")
    db.execute("create view ids as select coffer_key_id(ssn) as k from patients where id=3")
    check("the key id may be in a view", shell("select k from ids", attach=False) == [key])

    # A rotation under an open connection: the next statement uses the newest keyring.
    with open("both.sql", "w", encoding="utf-8") as f:
        f.write(f"select coffer_open(ssn,'patients.ssn',id) from patients where id=7;\n"
                f".system {t.COFFER} rotate --yes {t.URL} >/dev/null 2>&1\n"
                "select coffer_open(ssn,'patients.ssn',id), coffer_key_id(ssn) <> coffer_key_id(coffer_seal('x','patients.ssn',7)) from patients where id=7;\n")
    os.environ.pop("LD_PRELOAD", None)
    check("after a rotation beside it cells open under the new key", shell(".read both.sql") == ["ssn-7", "ssn-7|0"])
    check("the key changed", t.active_key() != key)
    os.remove("k.coffer")
    shell("select coffer_open(ssn,'patients.ssn',id) from patients", "k.coffer", attach=True)
    db.close()
    print(f"{t.PASSED} passed")


main()
