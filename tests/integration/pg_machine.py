#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A rotation on PostgreSQL while others use the database: pause, resume, abort, gates, old snapshots, stale write-backs.

pg_cluster.sh run pg_machine.py COFFER
"""
import signal
import time

from pg_support import (NOW, Session, active_key, all_under, background, check, coffer, end, finish, keys, psql, same, seal, sibling,
                        start, state_of, status, step, unseal, until)

URL = start("machine")
SUPER = sibling("COFFER_TEST_PG_SUPER", URL.rsplit("/", 1)[1])
ROWS = 3000
SLOW = ("--rate", "1500", "--batch", "100")
SCHEMA = f"""
CREATE TABLE people(id int PRIMARY KEY, name text, ssn text, note text);
INSERT INTO people SELECT i, 'n' || i, 's' || i, CASE WHEN i % 3 > 0 THEN 'note ' || i END FROM generate_series(1, {ROWS}) i;
CREATE TABLE other(n int);
INSERT INTO other VALUES(1);
"""
values = ""


def shown():
    return coffer("cat", URL, "people")


def envelope(of, where=7):
    return of(f"SELECT encode(ssn_sealed, 'hex') FROM people WHERE id = {where}")


def direct(sql):
    return psql(sql, URL)


def opens(sealed, key):
    check("the envelope opens", unseal(URL, "people.ssn", [["int64", 7]], sealed)["value"] == "s7")
    check("and is under that key", sealed[8:16] == key)


def done_is(old, new=None):
    """The rotation away from `old` ended as it should."""
    new = new or active_key()
    check("everything is under the new key", all_under(URL, new))
    check("the old one is in escrow", state_of(old) == "escrowed")
    check("nothing is open", step(URL) is None)
    same("the values", shown(), values)


def moved():
    return len(status(URL)["columns"][0]["by_key"]) == 2


def pause_and_resume():
    old = active_key()
    child = background("rotate", "--yes", *NOW, *SLOW, URL)
    until("some rows have moved", moved)
    coffer("rotate", "--pause", URL)
    time.sleep(0.5)  # a batch under way ends
    counts = status(URL)["columns"][0]["by_key"]
    check("it stopped in the middle", len(counts) == 2)
    same("values while it is paused", shown(), values)
    time.sleep(1)
    same("nothing moves while it is paused", status(URL)["columns"][0]["by_key"], counts)
    check("another command does not go on by itself", "paused" in coffer("rotate", "--yes", "--no-wait", URL, code=4))
    child.send_signal(signal.SIGTERM)
    finish(child, code=1)
    check("it stays paused when its command is gone", step(URL)["paused"])
    coffer("rotate", "--yes", "--resume", *NOW, URL)
    done_is(old)


def abort():
    old = active_key()
    child = background("rotate", "--yes", *NOW, *SLOW, URL)
    until("some rows have moved", moved)
    new = step(URL)["to"]
    said = coffer("rotate", "--abort", URL)
    check("one of the two turns it round", "active again" in said + finish(child))
    check("the first key is active", active_key() == old)
    done_is(new, old)

    # Killed in the middle, then aborted: that command goes the other way to the end.
    child = background("rotate", "--yes", *NOW, *SLOW, URL)
    until("some rows have moved", moved)
    new = step(URL)["to"]
    child.kill()
    child.communicate()
    coffer("rotate", "--abort", URL)
    check("the first key is active", active_key() == old)
    done_is(new, old)

    # A compromised key is never made active again: forward to a third.
    child = background("rotate", "--yes", *NOW, *SLOW, URL)
    until("some rows have moved", moved)
    new = step(URL)["to"]
    coffer("key", "mark-compromised", old)
    coffer("rotate", "--abort", URL)
    finish(child)
    check("neither is active", active_key() not in (old, new))
    check("nothing is under the compromised key", all_under(URL, active_key()))
    check("both are proven and in escrow", state_of(old) == state_of(new) == "escrowed")
    same("values", shown(), values)


def waits_for(what, release):
    """The rotation names what it waits for, with exit code 4, and ends when that is gone."""
    old = active_key()
    said = coffer("rotate", "--yes", "--no-wait", *NOW, URL, code=4)
    check(f"it waits for {what}: {said[-400:]}", what in said)
    check(f"the old key stays: {state_of(old)} {said}", state_of(old) in ("draining", "fenced", "proven"))
    release()
    coffer("rotate", "--yes", "--no-wait", *NOW, URL)
    done_is(old)


def old_transactions():
    """Whatever may still see rows as they were before the proof keeps the old key in the keyring. (T)"""
    psql("BEGIN; INSERT INTO other VALUES(2); PREPARE TRANSACTION 'beside'", URL)
    waits_for("prepared transaction 'beside'", lambda: psql("COMMIT PREPARED 'beside'", URL))
    psql("BEGIN; UPDATE people SET name = name WHERE id = 9; PREPARE TRANSACTION 'within'", URL)
    waits_for("prepared", lambda: psql("COMMIT PREPARED 'within'", URL))
    psql("SELECT pg_create_physical_replication_slot('standby', true)", SUPER)
    waits_for("replication slot standby", lambda: psql("SELECT pg_drop_replication_slot('standby')", SUPER))


def marks_say_no_origin():
    """A subscriber gets every row that a rotation writes, and a trigger can tell them from an application's. (T)"""
    psql("CREATE TABLE seen(id int, mark text); CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS"
         " $$BEGIN INSERT INTO seen VALUES(NEW.id, current_setting('coffer.rotation', true)); RETURN NULL; END$$;"
         "CREATE TRIGGER see AFTER UPDATE ON people FOR EACH ROW EXECUTE FUNCTION see();"
         "UPDATE people SET name = name WHERE id = 1", URL)
    psql("SELECT pg_create_logical_replication_slot('subscriber', 'test_decoding')", SUPER)
    got = []
    waits_for("replication slot subscriber", lambda: got.append(psql(
        "SELECT count(*) FROM pg_logical_slot_get_changes('subscriber', NULL, NULL, 'only-local', '1') WHERE data LIKE 'table public.people: UPDATE%'",
        SUPER)))
    psql("SELECT pg_drop_replication_slot('subscriber')", SUPER)
    same("rows that a subscriber is sent", got, [str(ROWS)])
    same("the application's own write has no mark", psql("SELECT coalesce(mark, '') FROM seen LIMIT 1", URL), "")
    same("rows marked by the rotation", psql("SELECT count(*), count(DISTINCT id) FROM seen WHERE length(mark) = 36", URL), f"{ROWS}|{ROWS}")
    psql("DROP TRIGGER see ON people; DROP FUNCTION see; DROP TABLE seen", URL)


def a_declared_client():
    coffer("client", "add", "nightly")
    old = active_key()
    check("--yes waives nobody", "nightly" in coffer("rotate", "--yes", "--no-wait", *NOW, URL, code=4))
    check("the new key seals nothing yet", active_key() == old)
    child = background("rotate", "--yes", *NOW, URL)
    for _ in range(60):  # it holds each gate in turn
        coffer("client", "waive", "nightly")
        if child.poll() is not None:
            break
        time.sleep(0.3)
    finish(child)
    done_is(old)


def stale_write_backs():
    """An application saves the whole row that it loaded before the rotation. (T)"""
    global values
    old = active_key()
    stale = envelope(direct)
    values = values.replace("\n7,n7,s7,note 7\n", "\n7,n7,s7,\n")  # the rest of the row is the application's to write
    child = background("rotate", "--yes", "--settle", "3s", "--grace", "0", URL)
    until("everything is drained", lambda: (step(URL) or {}).get("step") == "settle")
    new = active_key()
    psql(f"UPDATE people SET name = 'n7', ssn_sealed = '\\x{stale}', note = NULL WHERE id = 7", URL)
    check("after the drain the old key is back", old in status(URL)["columns"][0]["by_key"])
    finish(child)
    done_is(old, new)
    for statement in (f"UPDATE people SET name = 'n7', ssn_sealed = '\\x{stale}', note = NULL WHERE id = 7",
                      f"INSERT INTO people(id, name, ssn_sealed) VALUES({ROWS + 1}, 'n', '\\x{stale}')",
                      f"SET session_replication_role = replica; UPDATE people SET ssn_sealed = '\\x{stale}' WHERE id = 7"):
        said = psql(statement, SUPER, fails=True)
        check("the fence refuses it, and says to reload", "40001" in said and "reload the row" in said)
    psql("UPDATE people SET name = name WHERE id = 7", URL)
    fresh = seal(URL, "people.ssn", [["int64", 7]], "s7")
    psql(f"UPDATE people SET ssn_sealed = '\\x{fresh}' WHERE id = 7", URL)
    done_is(old, new)


def an_old_snapshot():
    """It reads old envelopes after a complete proof, and can still open them. (T)"""
    old = active_key()
    reader = Session(URL)
    reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
    reader.run("SELECT * FROM other")
    child = background("rotate", "--yes", *NOW, URL)
    until("the proof is complete", lambda: state_of(old) == "proven")
    until("it waits", lambda: (step(URL) or {}).get("step") == "wait")
    opens(envelope(reader.run), old)
    time.sleep(1)
    check("it waits for that session", child.poll() is None and state_of(old) == "proven")
    opens(envelope(reader.run), old)
    reader.run("COMMIT")
    opens(envelope(reader.run), active_key())
    check("the wait named it", "holds an older snapshot" in finish(child))
    reader.close()
    done_is(old)


def a_reader_in_the_way_of_the_fence():
    """The constraint waits for it, and nobody queues behind. (T)"""
    old = active_key()
    reader = Session(URL)
    reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
    before = envelope(reader.run)
    time.sleep(1.2)  # one that ends within a second is only tried around
    child = background("rotate", "--yes", *NOW, URL)
    until("it is at the fence", lambda: (step(URL) or {}).get("step") == "fence")
    slowest, others = 0, Session(URL)
    for i in range(60):
        began = time.monotonic()
        check("others read", others.run(f"SELECT count(*) FROM people WHERE id = {i + 1}") == "1")
        check("and write", others.run(f"UPDATE people SET name = name WHERE id = {i + 1}") == "")
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.05)
    others.close()
    check(f"others wait no longer than the lock timeout allows: {slowest:.3f} s", slowest < 1)
    check("it waits for the reader", child.poll() is None)
    same("the reader reads what it read", envelope(reader.run), before)
    opens(before, old)
    reader.run("COMMIT")
    said = finish(child)
    check(f"the wait named it: {said}", "held by an older transaction" in said)
    reader.close()
    done_is(old)


def past_the_fence():
    old = active_key()
    child = background("rotate", "--yes", "--settle", "0", "--grace", "2s", URL)
    until("the fence is up", lambda: (step(URL) or {}).get("step") == "wait")
    check("no way back", "let it finish" in coffer("rotate", "--abort", URL, code=3))
    coffer("rotate", "--pause", URL)
    time.sleep(2.5)
    check("the grace may be paused too", child.poll() is None and state_of(old) == "proven")
    coffer("rotate", "--yes", "--resume", *NOW, URL)
    finish(child)
    done_is(old)


def main():
    global values
    psql(SCHEMA, URL)
    values = psql("COPY people TO STDOUT (FORMAT csv, HEADER)", URL) + "\n"
    coffer("keyring", "init")
    coffer("protect", "--yes", *NOW, URL, "people.ssn")
    same("values", shown(), values)
    for part in (pause_and_resume, abort, old_transactions, marks_say_no_origin, a_reader_in_the_way_of_the_fence,
                 stale_write_backs, an_old_snapshot, past_the_fence, a_declared_client):
        began = time.monotonic()
        part()
        print(f"{part.__name__}: {time.monotonic() - began:.0f} s", flush=True)
    coffer("audit", "--verify")
    check("keys that are not active are in escrow", {k["state"] for k in keys()} <= {"active", "escrowed"})
    end()


main()
