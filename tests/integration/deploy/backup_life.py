# SPDX-License-Identifier: Apache-2.0
"""Backups of a real PostgreSQL: made, listed, restored, verified, expired; across rotations; killed; damaged."""
import glob
import json
import os
import pathlib

from core_support import Refused, holds, psql, run

SECRET = "planted-plaintext-of-a-backup"


def refused(fn, words):
    try:
        fn()
    except Refused as e:
        assert words in str(e), e
        return
    raise AssertionError("was not refused: " + words)


def main(deploy):
    deploy.start()
    deploy.do("database.create", {"name": "shop"})
    url = deploy.show("shop")["url"]
    psql(url, f"CREATE TABLE t(id bigserial PRIMARY KEY, v text); INSERT INTO t(v) SELECT '{SECRET}' || g FROM generate_series(1, 20000) g")
    made = {}
    for kind in ("physical", "logical"):
        made[kind] = deploy.do("backup.create", {"database": "shop", "kind": kind})["result"]
        assert made[kind]["state"] == "complete" and made[kind]["kind"] == kind, made
        assert made[kind]["key_id"] in made[kind]["needs"], made
    assert holds(deploy.state + "/backups", SECRET) is None
    assert holds(deploy.state + "/databases", "PGDMP") is None
    assert deploy.show("shop")["backups"] == 2 and deploy.show("shop")["last_backup"]

    # The key under which they are is held by them.
    held = deploy.ask("key.show", {"id": made["physical"]["key_id"]})["held_by"]
    assert any(h["kind"] == "backup" for h in held), held

    # What is made before a rotation of the disk key restores after it; what was written later is not in it.
    psql(url, "DELETE FROM t WHERE id > 10")
    deploy.do("database.rotate", {"name": "shop", "method": "dump-restore"})
    for kind in ("physical", "logical"):
        name = "again-" + kind
        restored = deploy.do("backup.restore", {"id": made[kind]["id"], "as": name})["result"]
        assert restored["name"] == name and restored["state"] == "running", restored
        shown = deploy.show(name)
        assert shown["key_id"] != deploy.show("shop")["key_id"]
        assert psql(shown["url"], "SELECT count(*), max(v) FROM t") == f"20000|{SECRET}9999", kind
        psql(shown["url"], "INSERT INTO t(v) VALUES('goes on')")
        deploy.do("database.destroy", {"name": name, "confirm": name})
    refused(lambda: deploy.ask("backup.restore", {"id": made["physical"]["id"], "as": "shop"}), "already")

    checked = deploy.do("backup.verify", {"id": made["physical"]["id"]})["result"]
    assert checked["verified"] and checked["census_equal"] is True, checked
    assert [d["name"] for d in deploy.ask("database.list")] == ["shop"]

    # Killed while it copies: the same job goes on, and nothing half-made looks like a backup.
    job = deploy.ask("backup.create", {"database": "shop"})["job"]
    deploy.kill()
    for folder in glob.glob(deploy.state + "/backups/*-*[!l]"):
        assert os.path.exists(folder + "/record.json"), folder
    deploy.start()
    assert deploy.wait(job)["state"] == "done"
    assert glob.glob(deploy.state + "/backups/.*.new") == []

    # One flipped bit is found, with its place, and no database is left of it.
    victim = deploy.do("backup.create", {"database": "shop", "kind": "logical"})["result"]
    path = pathlib.Path(deploy.state, "backups", victim["id"], "stream")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    failed = deploy.do("backup.restore", {"id": victim["id"], "as": "broken"}, want="failed")
    assert "damaged between bytes" in failed["error"], failed
    deploy.ask("job.cancel", {"id": failed["id"]})
    deploy.wait(failed["id"])
    assert [d["name"] for d in deploy.ask("database.list")] == ["shop"]
    gone = deploy.do("backup.expire", {"id": victim["id"]})["result"]
    assert gone["state"] == "expired" and not path.parent.exists()
    refused(lambda: deploy.ask("backup.restore", {"id": victim["id"], "as": "x"}), "expired")

    # Without the table, the signed records say what there is; an edited one is not believed.
    count = sum(b["state"] == "complete" for b in deploy.ask("backup.list"))
    deploy.stop(databases=False)
    import sqlite3
    with sqlite3.connect(deploy.state + "/state.db") as db:
        db.execute("DROP TABLE backups")
    record = pathlib.Path(deploy.state, "backups", made["logical"]["id"], "record.json")
    text = record.read_text()
    record.write_text(text.replace('"major":', '"major":1'))
    deploy.start()
    found = deploy.ask("backup.list")
    assert len(found) == count - 1 and made["physical"]["id"] in [b["id"] for b in found], found
    print(json.dumps(found))
    deploy.stop()


run(main)
