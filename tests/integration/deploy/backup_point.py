# SPDX-License-Identifier: Apache-2.0
"""The archived log: sealed, taken from the volume, and a restore to a moment between two writes."""
import datetime
import glob
import os
import time

from core_support import Refused, holds, psql, run


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def wait(what, fn):
    end = time.monotonic() + 60
    while not fn():
        assert time.monotonic() < end, what
        time.sleep(0.2)


def main(deploy):
    deploy.start()
    deploy.do("database.create", {"name": "shop", "archive": True})
    shop = deploy.show("shop")
    spool = shop["mount"] + "/archive"
    sealed = f"{deploy.state}/backups/{shop['id']}.wal"
    admin = shop["url"]
    fill = "INSERT INTO t(v) SELECT 'planted-in-the-log' || g FROM generate_series(1, 150000) g"
    psql(admin, "CREATE TABLE t(id bigserial PRIMARY KEY, v text)")

    # Before there is a backup to go on from, segments are of no use and are not kept.
    psql(admin, fill)
    wait("segments without a backup go", lambda: not os.listdir(spool) and psql(admin, "SELECT archived_count > 0 FROM pg_stat_archiver") == "t")
    assert not os.path.exists(sealed)

    backup = deploy.do("backup.create", {"database": "shop"})["result"]
    psql(admin, "INSERT INTO t(v) VALUES('before')")
    time.sleep(0.1)
    moment = now()
    time.sleep(0.1)
    psql(admin, "INSERT INTO t(v) VALUES('after')")
    try:
        deploy.ask("backup.restore", {"id": backup["id"], "as": "early", "until": moment})
        raise AssertionError("the log does not reach so far yet")
    except Refused as e:
        assert e.status in ("not yet", "notyet"), e.status
    psql(admin, fill)
    psql(admin, fill)
    wait("segments are sealed", lambda: len(os.listdir(sealed)) > 2 and not os.listdir(spool))
    assert holds(sealed, "planted-in-the-log") is None and not glob.glob(sealed + "/.*")
    shown = deploy.ask("backup.list", {"database": "shop"})[0]
    assert shown["until"] > shown["from"], shown
    held = deploy.ask("key.show", {"id": backup["key_id"]})["held_by"]
    assert any("shop log" in h["text"] for h in held), held

    deploy.do("backup.restore", {"id": backup["id"], "as": "then", "until": moment})
    then = deploy.show("then")["url"]
    assert psql(then, "SELECT string_agg(v, ',') FROM t WHERE v IN ('before', 'after')") == "before"
    psql(then, "INSERT INTO t(v) VALUES('goes on')")

    # A newer backup: what only the older one went on from goes with it, and the newer one still reaches a moment.
    time.sleep(1.5)
    before = {f for f in os.listdir(sealed) if len(f) == 24}
    newer = deploy.do("backup.create", {"database": "shop"})["result"]
    deploy.do("backup.expire", {"id": backup["id"]})
    wait("older segments go", lambda: not before & set(os.listdir(sealed)))
    psql(admin, "INSERT INTO t(v) VALUES('later')")
    time.sleep(0.1)
    moment = now()
    psql(admin, fill)
    psql(admin, fill)
    wait("newer ones are sealed", lambda: deploy.ask("backup.list", {"database": "shop"})[0]["until"] > moment[:19] + "Z" and not os.listdir(spool))
    deploy.do("backup.restore", {"id": newer["id"], "as": "later", "until": moment})
    assert psql(deploy.show("later")["url"], "SELECT count(*) FROM t WHERE v IN ('after', 'later')") == "2"

    deploy.do("backup.expire", {"id": newer["id"]})
    assert not os.path.exists(sealed)
    deploy.stop()


run(main)
