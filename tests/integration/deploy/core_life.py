# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL from creation to destruction: encrypted, supervised, stopped, moved, gone."""
import os
import pathlib
import signal

from core_support import Refused, holds, pid_of, psql, run

PLANTED = "the-planted-plaintext-of-core-life"


def refused(deploy, status, action, request, **who):
    try:
        deploy.ask(action, request, **who)
    except Refused as error:
        assert error.status == status, error
        return str(error)
    raise AssertionError(f"{action} {request} was not refused")


def names_and_ports(deploy, url):
    for name in ("", "A", "1a", "a b", "../x", "a'; --", "a" * 41, "-a", "ä"):
        refused(deploy, "format", "database.create", {"name": name})
    refused(deploy, "exists", "database.create", {"name": "shop"})
    port = int(url.split("/shop")[0].rsplit(":", 1)[1])
    refused(deploy, "conflict", "database.create", {"name": "other", "port": port})
    refused(deploy, "unsupported", "database.create", {"name": "other", "engine": "oracle"})
    refused(deploy, "notfound", "database.create", {"name": "other", "stack": "none"})
    refused(deploy, "format", "database.create", {"name": "other", "colour": "red"})
    refused(deploy, "refused", "database.create", {"name": "other"}, who="v", role=1)
    assert deploy.ask("database.show", {"name": "shop"}, who="v", role=1)["url"] is None


def main(deploy):
    deploy.start()
    second = type(deploy)(deploy.tool, deploy.program)
    os.rmdir(second.dir)
    second.dir, second.state = deploy.dir, deploy.state
    try:
        second.start()
        raise AssertionError("two serve one folder")
    except Refused as error:
        assert error.status == "conflict" and str(deploy.proc.pid) in str(error), error
    deploy.do("database.create", {"name": "shop"})
    shop = deploy.show("shop")
    assert shop["cipher"] == "aes-256" and shop["state"] == "running", shop
    url = shop["url"]
    psql(url, f"CREATE TABLE t(id serial PRIMARY KEY, v text); INSERT INTO t(v) SELECT '{PLANTED}' || n FROM generate_series(1, 2000) n")
    names_and_ports(deploy, url)

    checks = deploy.do("database.doctor", {"name": "shop"})["result"]
    assert checks["checks"] and checks["failed"] == 0, checks
    assert deploy.ask("database.detail", {"name": "shop"})["doctor"] == checks

    # a server, a mount and cofferd itself die
    os.kill(pid_of(shop, "server.pid"), signal.SIGKILL)
    back = lambda: psql(url, "SELECT count(*) FROM t", check=False) == "2000"
    wait_for(back)
    before = pid_of(shop, "mount.pid")
    os.kill(before, signal.SIGKILL)
    wait_for(back)
    assert pid_of(shop, "mount.pid") != before
    pids = [pid_of(shop, name) for name in ("server.pid", "mount.pid")]
    deploy.kill()
    assert back()
    deploy.start()
    deploy.until("shop", "running")
    assert pids == [pid_of(shop, name) for name in ("server.pid", "mount.pid")], "what ran was not taken over"

    # stop, start, a clean stop of everything
    deploy.do("database.stop", {"name": "shop"})
    assert not os.path.ismount(shop["mount"]) and deploy.show("shop")["state"] == "stopped"
    deploy.do("database.start", {"name": "shop"})
    assert back()
    psql(url, "CHECKPOINT", check=False)
    deploy.stop()
    assert not os.path.ismount(shop["mount"]) and not back()
    found = holds(deploy.state, PLANTED)
    assert found is None, found
    deploy.start()
    deploy.until("shop", "running")
    assert back()
    deploy.do("database.resize", {"name": "shop", "limit": 1000, "memory": 256 << 20})
    assert "limit" in deploy.show("shop")["error"] and back()
    assert deploy.ask("database.logs", {"name": "shop", "lines": 5})["lines"]

    # destroyed: refused without its name, then folder and key are gone
    refused(deploy, "refused", "database.destroy", {"name": "shop", "confirm": "ship"})
    key = deploy.show("shop")["key_id"]
    deploy.do("database.destroy", {"name": "shop", "confirm": "shop"})
    refused(deploy, "notfound", "database.show", {"name": "shop"})
    assert not pathlib.Path(shop["lower"]).parent.parent.exists()
    assert deploy.ask("key.show", {"id": key})["state"] == "destroyed"
    audit = deploy.ask("audit.list")
    assert audit["verified"] and any(e["event"] == "database.destroy" for e in audit["entries"]), audit
    deploy.stop()


def wait_for(check, seconds=90):
    import time
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.1)


run(main)
