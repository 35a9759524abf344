#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keyrings, keys, clients, backups and the audit log by the real program: cli_keys.py COFFER."""
import json
import os
import shutil
import stat

import cli_support as t
from cli_support import check, run


def passphrases():
    os.chdir(t.tempfile.mkdtemp(prefix="coffer-pass-"))
    with open("pass.txt", "w", encoding="utf-8") as f:
        f.write("Grünes Haus 7\nnot this line\n")
    os.chmod("pass.txt", 0o600)
    by_prompt = {"COFFER_KEYRING": "p.coffer", "COFFER_KEK": "passphrase:"}
    by_file = {"COFFER_KEYRING": "p.coffer", "COFFER_KEK": "passphrase:pass.txt"}

    run("keyring", "init", env=by_prompt, code=3, says=("no terminal", "passphrase:FILE"), preexec=os.setsid)
    shown = t.terminal(["keyring", "init"], [("New passphrase", "Grünes Haus 7\n"), ("again", "Grünes Haus 8\n")], code=2,
                       env=by_prompt)
    check("two passphrases that differ make nothing", "differ" in shown and not os.path.exists("p.coffer"))
    shown = t.terminal(["keyring", "init"], [("New passphrase", "Grünes Haus 7\n"), ("again", "Grünes Haus 7\n")],
                       env=by_prompt)
    check("a passphrase is not shown", "Haus" not in shown)
    check("the keyring is the owner's alone", stat.S_IMODE(os.stat("p.coffer").st_mode) == 0o600)
    shown = t.terminal(["key", "list"], [("Passphrase of the keyring", "Grünes Haus 7\n")], env=by_prompt)
    check("the passphrase opens it", "active" in shown and shown.count("Passphrase") == 1)
    shown = t.terminal(["key", "list"], [("Passphrase of the keyring", "wrong\n")], code=1, env=by_prompt)
    check("a wrong one is said", "wrong passphrase" in shown)
    run("key", "list", env=by_file)

    with open("wrong.txt", "w", encoding="utf-8") as f:
        f.write("Gruenes Haus 7\n")
    os.chmod("wrong.txt", 0o600)
    run("key", "list", "--kek", "passphrase:wrong.txt", env=by_file, code=1, says=("keyring p.coffer", "wrong passphrase"))
    os.chmod("wrong.txt", 0o644)
    run("key", "list", "--kek", "passphrase:wrong.txt", env=by_file, code=3, says="wrong.txt")
    open("empty.txt", "w", encoding="utf-8").close()
    os.chmod("empty.txt", 0o600)
    run("key", "list", "--kek", "passphrase:empty.txt", env=by_file, code=1, says="empty.txt")
    run("key", "list", "--kek", "passphrase:nowhere.txt", env=by_file, code=1, says="passphrase")
    run("key", "list", "--kek", "file:pass.txt", env=by_file, code=1, says=("pass.txt is no key file", "not 32"))
    run("key", "list", "--kek", "vault:x", env=by_file, code=2, says=("no KEK that this release knows", "file:", "passphrase:"))


def rewrap():
    t.fresh()
    db = t.protected()
    old = t.active_key()
    run("rotate", "--yes", t.URL)
    before = run("cat", t.URL, "patients").stdout
    with open("pass.txt", "w", encoding="utf-8") as f:
        f.write("one passphrase\n")
    os.chmod("pass.txt", 0o600)
    run("keyring", "rewrap", code=2, says="--new-kek")
    said = run("keyring", "rewrap", "--new-kek", "passphrase:pass.txt").stdout
    check("rewrap says what it did and did not", "escrow" in said and "rotate it" in said)
    run("key", "list", code=1, says=("under a passphrase", "not under a key file"))
    os.environ["COFFER_KEK"] = "passphrase:pass.txt"
    check("data opens as before", run("cat", t.URL, "patients").stdout == before)
    # The escrow file came along: its key opens under the new KEK alone.
    os.rename("kek.bin", "away.bin")
    run("keyring", "import", f"k.coffer.escrow/{old}.key")
    check("the escrowed key is back", [k["state"] for k in t.field_keys() if k["id"] == old] == ["draining"])
    run("audit", "--verify")
    said = run("keyring", "rewrap", "--new-kek", "file:second.bin").stdout
    check("a missing key file is made, and said", os.path.getsize("second.bin") == 32 and "Made second.bin" in said)
    run("key", "list", "--kek", "file:second.bin")
    db.close()


def export_import():
    t.fresh()
    db = t.protected()
    old = t.active_key()
    shutil.copy("a.db", "backup.db")
    db.execute("pragma wal_checkpoint(truncate)")
    shutil.copy("a.db", "backup.db")
    before = run("cat", t.URL, "patients").stdout
    run("rotate", "--yes", t.URL)
    run("keyring", "export", "nonsense", "--out", "x", code=2, says="8 hex digits")
    run("keyring", "export", old, code=2, says="--out FILE")
    run("keyring", "export", "0badc0de", "--out", "x", code=1, says=("no key 0badc0de",))
    run("keyring", "export", old, "--out", "old.escrow", "--export-kek", "file:travel.bin")
    check("the KEK of the export was made", os.path.getsize("travel.bin") == 32)
    run("keyring", "export", old, "--out", "old.escrow", code=1, says="old.escrow")
    entry = [json.loads(l) for l in run("audit", "--json").stdout.splitlines()]
    check("the audit log says which key was exported",
          [json.loads(e["details"]) for e in entry if e["event"] == "key.export"][0] == {"key": old})

    check("cells of an old backup need the key", f"!KEY" in run("cat", "sqlite:backup.db", "patients", code=1).stdout)
    check("--escrow reads them", run("cat", "--escrow", "sqlite:backup.db", "patients").stdout == before)
    run("keyring", "import", "old.escrow", code=1, says=("old.escrow", "--export-kek"))
    run("keyring", "import", "nowhere.escrow", code=1, says="nowhere.escrow")
    with open("old.escrow", "rb") as f:
        whole = f.read()
    with open("cut.escrow", "wb") as f:
        f.write(whole[:-7])
    run("keyring", "import", "cut.escrow", "--export-kek", "file:travel.bin", code=1, says=("cut.escrow", "truncated"))
    run("key", "list", "--keyring", f"k.coffer.escrow/{old}.key", code=1, says=("escrow file, not a keyring", "coffer keyring import"))
    check("import takes one key", "Imported 1 key" in run("keyring", "import", "old.escrow", "--export-kek", "file:travel.bin").stdout)
    check("and only once", "Nothing to do" in run("keyring", "import", "old.escrow", "--export-kek", "file:travel.bin").stdout)
    run("cat", "sqlite:backup.db", "patients")
    db.close()


def why_and_destroy():
    t.fresh()
    db = t.protected()
    old = t.active_key()
    check("why names live data", "live" in run("key", "why", old).stdout or t.URL[7:] in run("key", "why", old).stdout)
    run("key", "destroy", "--yes", old, code=3)
    run("key", "why", "0badc0de", code=1, says=("no key 0badc0de", "coffer key list"))
    run("key", "why", "00000000", code=2, says="no key id")
    run("backup", "register", t.URL, "nightly")
    run("backup", "register", t.URL, "nightly", code=1, says="registered already")
    run("backup", "register", "sqlite:other.db", "x", code=1, says=("knows no database", "coffer keyring show"))
    run("backup", "register", t.URL, "y", "--start", "yesterday", code=2, says="write a time like")
    run("backup", "register", t.URL, "y", "--start", "2026-02-01", "--end", "2026-01-01", code=2, says="ends before it starts")
    run("rotate", "--yes", t.URL)
    check("why names the backup", "nightly" in run("key", "why", old).stdout)
    run("key", "destroy", "--yes", old, code=3, says="nightly")
    run("key", "destroy", "--yes", old, "--waive", "night", code=3)
    check("no terminal is no yes", run("key", "destroy", old, code=1, preexec=os.setsid).returncode == 1)
    run("backup", "expire", "weekly", code=1, says=("no backup weekly", "coffer backup list"))
    run("backup", "expire", "nightly")
    listed = run("backup", "list").stdout
    check("an expired backup stays listed", "nightly" in listed and "EXPIRED" in listed)
    run("key", "destroy", "--yes", old, code=3, says="still needed")
    check("one day is a day", "for 1 day." in run("backup", "policy", t.URL, "--keep", "1s").stdout)
    check("two are days", "for 2 days." in run("backup", "policy", t.URL, "--keep", "25h").stdout)
    run("backup", "policy", t.URL, code=2, says="--keep")
    run("backup", "policy", t.URL, "--keep", "35", code=2, says="a number with its unit")
    run("backup", "policy", t.URL, "--keep", "0")
    holders = [json.loads(l) for l in run("key", "why", old, "--json").stdout.splitlines()]
    check("nothing holds it with no promise", holders[-1]["holders"] == 0)
    check("the question can be answered", "is destroyed" in t.terminal(["key", "destroy", old], [("[y/N]", "y\n")]))
    check("its id stays", [k["state"] for k in t.field_keys() if k["id"] == old] == ["destroyed"])
    check("no file of it stays", not os.path.exists(f"k.coffer.escrow/{old}.key"))
    run("keyring", "export", old, "--out", "gone", code=1, says=(old, "destroyed"))
    run("audit", "--verify")
    db.close()


def compromised():
    t.fresh()
    db = t.protected()
    old = t.active_key()
    run("key", "mark-compromised", "12345678", code=1, says="12345678")
    run("key", "mark-compromised", old)
    check("the mark is shown", "active, compromised" in run("key", "list").stdout)
    run("rotate", "--yes", t.URL)
    check("and stays", [k["compromised"] for k in t.field_keys() if k["id"] == old] == [True])
    added = t.out_json("key", "add", "--line", "new")
    check("a key is staged", added["state"] == "staged" and added["line"] == "new")
    db.close()


def clients():
    t.fresh()
    db = t.protected()
    run("client", "add", "nightly")
    run("client", "add", "nightly", code=1, says="declared already")
    run("client", "waive", "weekly", code=1, says=("no client weekly", "coffer client list"))
    check("clients are listed", [c["client"] for c in t.out_json("client", "list")] == ["nightly"])
    run("rotate", "--yes", "--no-wait", t.URL, code=4, says=("nightly", "coffer client waive nightly"))
    status = t.out_json("status", t.URL)
    check("status says for whom it waits", "nightly" in status["rotations"][0]["waiting"])
    check("and so on the screen", "waiting: " in run("status", t.URL).stdout)
    run("rotate", "--yes", "--no-wait", t.URL, code=4)
    run("client", "waive", "nightly")
    run("rotate", "--yes", "--no-wait", t.URL)
    run("rotate", "--yes", "--no-wait", t.URL, code=4, says="nightly")
    db.close()


def audit():
    t.fresh()
    db = t.protected()
    check("the log is valid", t.out_json("audit", "--verify")["valid"] is True)
    with open("k.coffer.audit", "r", encoding="utf-8") as f:
        lines = f.readlines()

    def write(new):
        with open("k.coffer.audit", "w", encoding="utf-8") as f:
            f.writelines(new)

    write([lines[0].replace("keyring.init", "keyring.xxxx")] + lines[1:])
    run("audit", "--verify", code=1, says=("entry 1", "edited"))
    write([lines[0]] + lines[2:])
    run("audit", "--verify", code=1, says=("entry 2", "removed, inserted or swapped"))
    write(lines[:-1])
    run("audit", code=1, says=("cut", f"after entry {len(lines) - 1}", f"has marked {len(lines)}"))
    run("client", "add", "x", code=1, says=("cut", "coffer audit --accept-loss"))
    run("audit", "--accept-loss")
    run("client", "add", "x")
    entries = [json.loads(l) for l in run("audit", "--json").stdout.splitlines()]
    check("the loss stands in the log", entries[-2]["event"] == "audit.loss-accepted" and
          json.loads(entries[-2]["details"])["marked_count"] == len(lines))
    os.remove("k.coffer.audit")
    run("audit", "--verify", code=1, says="cut")
    db.close()


def main():
    for part in (passphrases, rewrap, export_import, why_and_destroy, compromised, clients, audit):
        part()
    print(f"{t.PASSED} passed")


main()
