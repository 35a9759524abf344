#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Backups as their owner makes them, of a PostgreSQL with a protected column: `coffer serve`, then commands alone; restored and read after a
rotation of the field key: backup_serve.py COFFER."""
import glob
import json
import os
import shutil
import subprocess
import sys
import time

import api_support as t
from api_support import check

SECRET, OPEN = "planted-ssn-", "planted-in-the-open-"


class Owner(t.Cofferd):
    def __init__(self):
        super().__init__()
        os.chmod(self.dir, 0o711)

    def url(self, name):
        return self.coffer("db", "url", name).stdout.strip()

    def psql(self, name, sql):
        return subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", self.url(name), "-c", sql], capture_output=True, text=True,
                              check=True).stdout.strip()

    def on(self, name, command, *words, code=0):
        """A command on the database itself; its URL has a password, so that it comes from a file."""
        path = self.dir + "/url"
        with open(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="utf-8") as f:
            f.write(self.url(name) + "\n")
        return self.coffer(command, "--db-url-file", path, *words, code=code)

    def field_key(self):
        return [k["id"] for k in self.json("key", "list") if k["purpose"] == "field" and k["line"] == "main" and k["state"] == "active"][0]


def holds(folder, words):
    for path in glob.glob(folder + "/**", recursive=True):
        if os.path.isfile(path):
            with open(path, "rb") as f:
                if words.encode() in f.read():
                    return path
    return None


def made(d):
    d.json("db", "create", "clinic", "--engine", "postgresql")
    d.psql("clinic", f"CREATE TABLE patients(id bigint PRIMARY KEY, ssn text, note text);"
                     f" INSERT INTO patients SELECT g, '{SECRET}' || g, '{OPEN}' || g FROM generate_series(1, 500) g")
    bare = d.json("backup", "create", "clinic")
    check(f"the contract: {bare}", bare["id"] and bare["needs"] == [bare["key_id"]] and len(bare["needs"][0]) == 8)
    d.on("clinic", "protect", "public.patients.ssn:text", "--yes")
    old = d.field_key()
    backup = d.json("backup", "create", "clinic")
    check(f"names the field key: {backup}", sorted(backup["needs"]) == sorted([backup["key_id"], old]))
    for words in (SECRET, OPEN):
        check(f"{words} is nowhere", holds(d.state + "/backups", words) is None)
    check("listed", {b["id"] for b in d.json("backup", "list")} == {bare["id"], backup["id"]})
    return backup, old


def restored(d, backup, old):
    """After a rotation of the field key: its cells open with the key from escrow, and the guard keeps that."""
    d.on("clinic", "rotate", "--yes", "--settle", "1s", "--grace", "1s")
    check("another key", d.field_key() != old)
    why = d.coffer("key", "why", old, code=None).stdout
    check(f"the guard knows the backup: {why}", backup["id"] in why)
    d.coffer("key", "destroy", old, "--yes", code=3)
    copy = d.json("backup", "restore", backup["id"], "--as", "copy")
    check(f"it runs: {copy}", copy["state"] == "running" and copy["key_id"] != d.json("db", "show", "clinic")["key_id"])
    check("what was in the open", d.psql("copy", "SELECT count(*), max(note) FROM patients") == f"500|{OPEN}99")
    read = d.on("copy", "cat", "public.patients", "--escrow", "--where", "id = 7").stdout
    check(f"what was protected: {read}", f"{SECRET}7," in read)
    check("its columns are known", d.json("db", "show", "copy")["protected_columns"] == 1)
    again = d.json("backup", "create", "copy")
    check(f"and so are the keys of its own backups: {again}", d.field_key() in again["needs"])


def damaged(d, backup):
    path = f"{d.state}/backups/{backup['id']}/stream"
    size = os.path.getsize(path)
    with open(path, "r+b") as f:
        f.truncate(size - 1000)
    said = d.coffer("backup", "restore", backup["id"], "--as", "broken", code=None)
    check(f"a stream that was cut: {said.stderr}", said.returncode != 0 and "damaged" in said.stderr or "cut off" in said.stderr)
    check(f"names the file: {said.stderr}", backup["id"] in said.stderr)
    job = [j for j in d.json("job", "list") if j["kind"] == "restore" and j["state"] == "failed"][0]
    d.coffer("job", "cancel", str(job["id"]))
    end = time.monotonic() + 60
    while "broken" in {x["name"] for x in d.json("db", "list")}:
        check("nothing is left of it", time.monotonic() < end)
        time.sleep(0.2)
    d.json("backup", "expire", backup["id"])
    check("its folder is gone", not os.path.exists(os.path.dirname(path)))


def main():
    if shutil.which("psql") is None or not os.path.exists("/dev/fuse") or not os.path.isdir("/usr/lib/postgresql"):
        print("skipped: PostgreSQL or /dev/fuse is missing")
        sys.exit(77)
    d = Owner()
    try:
        backup, old = made(d)
        restored(d, backup, old)
        damaged(d, backup)
    finally:
        d.end()
    print(json.dumps({"passed": t.PASSED}))


main()
