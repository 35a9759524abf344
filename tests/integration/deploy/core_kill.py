# SPDX-License-Identifier: Apache-2.0
"""kill -9 of cofferd in the steps of creation, of a rotation by dump and restore, and of destruction: the next one goes on."""
import os
import pathlib
import sqlite3
import time

from core_support import Refused, psql, run


def step_of(deploy, job):
    db = sqlite3.connect(f"file:{deploy.state}/state.db?mode=ro", uri=True)
    try:
        return db.execute("SELECT step FROM jobs WHERE id = ?", (job,)).fetchone()[0]
    finally:
        db.close()


def kill_in(deploy, action, request, step, seconds=60):
    """Begin, kill when the step is written down, start again, and let it end."""
    job = deploy.ask(action, request)["job"]
    end = time.monotonic() + seconds
    while (now := step_of(deploy, job)) != step:
        assert time.monotonic() < end, now
        if deploy.ask("job.show", {"id": job})["state"] != "running":
            break # it was quicker than we looked
    deploy.kill()
    deploy.start()
    ended = deploy.wait(job)
    assert ended["state"] == "done", ended
    return ended


def main(deploy):
    deploy.start()
    for n, step in enumerate(["folder", "volume", "mount", "init", "server", "prepare", "ready"]):
        name = f"d{n}"
        kill_in(deploy, "database.create", {"name": name}, step)
        url = deploy.show(name)["url"]
        assert psql(url, "SELECT 1") == "1"
        if n > 0:
            deploy.do("database.destroy", {"name": name, "confirm": name})
    url = deploy.show("d0")["url"]
    psql(url, "CREATE TABLE t(id serial PRIMARY KEY, v text); INSERT INTO t(v) SELECT repeat('y', 200) FROM generate_series(1, 3000)")
    for step in ["volume", "server", "copy", "switch", "retire"]:
        ended = kill_in(deploy, "database.rotate", {"name": "d0", "method": "dump-restore"}, step)
        shown = deploy.show("d0")
        assert shown["url"] == url and shown["key_id"] == ended["result"]["new_key_id"], (shown, ended)
        assert psql(url, "SELECT count(*) FROM t") == "3000"
        psql(url, "UPDATE t SET v = v WHERE id < 10")
        generations = [p.name for p in pathlib.Path(shown["lower"]).parent.parent.iterdir() if p.name != "run"]
        assert len(generations) == 1, generations
    key, folder = deploy.show("d0")["key_id"], pathlib.Path(deploy.show("d0")["lower"]).parent.parent
    kill_in(deploy, "database.destroy", {"name": "d0", "confirm": "d0"}, "remove")
    assert deploy.ask("key.show", {"id": key})["state"] == "destroyed" and not folder.exists()
    deploy.stop()

    # a damaged state file is refused, and stays as it is
    path = deploy.state + "/state.db"
    with open(path, "r+b") as file:
        file.seek(0)
        file.write(b"\0" * 4096)
    before = open(path, "rb").read()
    try:
        deploy.start()
        raise AssertionError("a damaged state file was opened")
    except Refused as error:
        assert error.status == "format" and "damaged" in str(error), error
    assert open(path, "rb").read() == before and os.path.exists(deploy.state + "/keyring/keyring.coffer")


run(main)
