# SPDX-License-Identifier: Apache-2.0
"""How long backups are kept, when they are made by themselves, and one that fails."""
import os
import sqlite3
import time

from core_support import Refused, psql, run

DAY_US = 86400 * 1000000


def refused(fn, status, words):
    try:
        fn()
    except Refused as e:
        assert e.status == status and words in str(e), e
        return
    raise AssertionError("was not refused: " + words)


def until(deploy, what, fn):
    end = time.monotonic() + 90
    while True:
        backups = deploy.ask("backup.list", {"database": "shop"})
        if fn(backups):
            return backups
        assert time.monotonic() < end, (what, backups)
        time.sleep(0.2)


def complete(backups):
    return [b["id"] for b in backups if b["state"] == "complete"]


def keeping(deploy):
    policy = {"name": "shop"}
    assert deploy.ask("backup.policy", policy) == {"keep_days": 0, "keep_last": 0, "schedule": ""}
    refused(lambda: deploy.ask("backup.policy", {**policy, "keep_days": 1}, who="ann", role=1), "refused", "operator")
    refused(lambda: deploy.ask("backup.policy", {**policy, "schedule": "sometimes"}), "format", "weekly")
    assert deploy.ask("backup.policy", policy, who="ann", role=1)["keep_days"] == 0
    made = [deploy.do("backup.create", {"database": "shop", "kind": "logical"})["result"]["id"] for _ in range(3)]
    assert deploy.ask("backup.policy", {**policy, "keep_days": 1, "keep_last": 1}) == {"keep_days": 1, "keep_last": 1, "schedule": ""}
    assert sorted(complete(deploy.ask("backup.list"))) == sorted(made)

    # Two days later: the newest stays although it is too old, the others go with their files and release the key.
    deploy.stop(databases=False)
    with sqlite3.connect(deploy.state + "/state.db") as db:
        db.execute("UPDATE backups SET started = started - ?1, ended = ended - ?1", (2 * DAY_US,))
    db.close()
    deploy.start()
    backups = until(deploy, "two expired", lambda all: complete(all) == made[2:] and len(all) == 3)
    assert [b["state"] for b in backups if b["id"] in made[:2]] == ["expired"] * 2
    for one in made[:2]:
        assert not os.path.exists(f"{deploy.state}/backups/{one}"), one
    held = deploy.ask("key.show", {"id": backups[0]["key_id"]})["held_by"]
    assert sum(h["kind"] == "backup" for h in held) == 1, held

    # The last one is of the day before yesterday: a daily one is due at once, and then only one.
    deploy.until("shop", "running")
    assert deploy.ask("backup.policy", {**policy, "schedule": "daily"})["schedule"] == "daily"
    backups = until(deploy, "one is made", lambda all: len(all) == 4 and complete(all) and complete(all)[0] not in made)
    assert backups[0]["kind"] == "physical"
    until(deploy, "the old one goes, since there is a newer", lambda all: len(complete(all)) == 1)
    deploy.ask("backup.policy", {**policy, "schedule": "daily"})
    assert len(deploy.ask("backup.list")) == 4


def failing(deploy):
    """One that fails is listed so, keeps no key and no file, and can be resumed."""
    deploy.do("database.stop", {"name": "shop"})
    job = deploy.do("backup.create", {"database": "shop"}, want="failed")
    assert "start it" in job["error"], job
    failed = [b for b in deploy.ask("backup.list") if b["state"] == "failed"]
    assert len(failed) == 1 and not os.path.exists(f"{deploy.state}/backups/.{failed[0]['id']}.new"), failed
    held = deploy.ask("key.show", {"id": failed[0]["key_id"]})["held_by"]
    assert failed[0]["id"][:8] not in str(held), held
    refused(lambda: deploy.ask("backup.restore", {"id": failed[0]["id"], "as": "x"}), "conflict", "failed")
    deploy.do("database.start", {"name": "shop"})
    deploy.ask("job.resume", {"id": job["id"]})
    assert deploy.wait(job["id"])["state"] == "done"
    assert failed[0]["id"] in complete(deploy.ask("backup.list"))
    deploy.do("backup.restore", {"id": failed[0]["id"], "as": "again"})
    assert psql(deploy.show("again")["url"], "SELECT v FROM t") == "here"


def main(deploy):
    deploy.start()
    deploy.do("database.create", {"name": "shop"})
    psql(deploy.show("shop")["url"], "CREATE TABLE t(v text); INSERT INTO t VALUES('here')")
    keeping(deploy)
    failing(deploy)
    deploy.stop()


run(main)
