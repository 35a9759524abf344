# SPDX-License-Identifier: Apache-2.0
"""The three ways to change a disk key, each with writers at work; a move from a legacy stack; two custodians."""
import threading

from core_support import Refused, psql, run


class Writer(threading.Thread):
    """Inserts until told to stop; what was acknowledged must be there afterwards."""

    def __init__(self, url):
        super().__init__()
        self.url, self.done, self.acknowledged, self.failures = url, threading.Event(), 0, 0

    def run(self):
        while not self.done.wait(0.02):
            if psql(self.url, "INSERT INTO t(v) VALUES('w')", check=False) is None:
                self.failures += 1
            else:
                self.acknowledged += 1


def rotate(deploy, method):
    before = deploy.show("shop")
    rows = int(psql(before["url"], "SELECT count(*) FROM t"))
    writer = Writer(before["url"])
    writer.start()
    try:
        result = deploy.do("database.rotate", {"name": "shop", "method": method, **({"rate": 500000000} if method == "online" else {})})["result"]
    finally:
        writer.done.set()
        writer.join()
    after = deploy.show("shop")
    assert result["method"] == method and result["old_key_id"] == before["key_id"], result
    assert result["new_key_id"] == after["key_id"] != before["key_id"], result
    assert after["url"] == before["url"] and after["port"] == before["port"]
    assert result["certificate"] and open(result["certificate"]).read(1) == "{", result
    now = int(psql(after["url"], "SELECT count(*) FROM t"))
    assert now >= rows + writer.acknowledged, (now, rows, writer.acknowledged)
    psql(after["url"], "INSERT INTO t(v) VALUES('after')")
    if method == "online":
        assert writer.failures == 0 and result["downtime_ms"] == 0, (writer.failures, result)
    print(method, result, "writes", writer.acknowledged, "failed", writer.failures)
    return result


def two_custodians(deploy, key):
    """A retired key goes only when two different ones have approved."""
    assert deploy.ask("key.show", {"id": key})["state"] == "escrowed"
    for _ in range(2):
        deploy.ask("key.approve", {"id": key}, who="alice")
        try:
            deploy.ask("key.destroy", {"id": key}, who="alice")
            raise AssertionError("destroyed by one")
        except Refused as error:
            assert error.status == "refused" and "two" in str(error), error
    deploy.ask("key.approve", {"id": key}, who="bob")
    assert deploy.ask("key.destroy", {"id": key}, who="bob")["state"] == "destroyed"
    active = deploy.show("shop")["key_id"]
    for who in ("alice", "bob"):
        deploy.ask("key.approve", {"id": active}, who=who)
    try:
        deploy.ask("key.destroy", {"id": active}, who="bob")
        raise AssertionError("a key in use was destroyed")
    except Refused as error:
        assert error.status == "refused", error


def main(deploy):
    deploy.start()
    deploy.ask("stack.create", {"name": "legacy", "version": "v1"})
    deploy.do("database.create", {"name": "shop", "stack": "legacy"})
    assert deploy.show("shop")["cipher"] == "aes-192"
    psql(deploy.show("shop")["url"], "CREATE TABLE t(id bigserial PRIMARY KEY, v text); CREATE TABLE nokey(a int);"
                                     " INSERT INTO t(v) SELECT repeat('x', 500) FROM generate_series(1, 20000)")
    result = deploy.do("database.move", {"name": "shop", "stack": "main", "rate": 500000000})["result"]
    shop = deploy.show("shop")
    assert shop["cipher"] == "aes-256" and shop["stack"] == "main", (shop, result)
    old = rotate(deploy, "online")["old_key_id"]
    two_custodians(deploy, old)
    rotate(deploy, "dump-restore")
    rotate(deploy, "replicate")

    deploy.ask("database.list")
    report = deploy.ask("report.compliance")
    assert [m["result"] for m in report["mapping"]] == ["ok"] * 3, report
    deploy.stop()


run(main)
