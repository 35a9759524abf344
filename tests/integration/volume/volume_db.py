#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Databases on a mounted volume, and kill -9 of them and of the filesystem: volume_db.py VOLUME_MOUNT [ROUNDS [SEED]]

In every round PostgreSQL works, and then either it or the filesystem below it is killed.  Afterwards the database recovers, has every
transaction that it had confirmed, its books balance, and pg_amcheck finds nothing.  In half of the rounds a rotation runs meanwhile.  SQLite the same, with a rollback journal and with a
log, and with memory maps."""
import glob
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

MOUNT = os.path.abspath(sys.argv[1])
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 4
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 30)
ROOT = os.geteuid() == 0
BASE = tempfile.mkdtemp(prefix="coffer-volume-db-")
LOWER, MNT, LOG = (os.path.join(BASE, name) for name in ("lower", "mnt", "log"))
USER = next((name for name in ("postgres", "nobody") if subprocess.run(["id", name], capture_output=True).returncode == 0), None)
BIN = max(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]), default=None)
SECRET = "an-unmistakable-plaintext-7f3a"


def words(*command):
    return ["runuser", "-u", USER, "--", *command] if ROOT else list(command)


def run(*command, check=True, timeout=180):
    done = subprocess.run(words(*command), capture_output=True, text=True, timeout=timeout, cwd="/")
    assert not check or done.returncode == 0, (command, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    return done


# ---- the volume ----


def mount():
    options = [] if ROOT else ["--only-me"]
    done = subprocess.run([MOUNT, "--format", "ecryptfs", "--log", LOG, "--key", KEYS[0], "--old", KEYS[1], *options, LOWER, MNT],
                          capture_output=True, text=True)
    if "cannot mount" in done.stderr or not os.path.exists("/dev/fuse"):
        print("this process may not mount:", done.stderr)
        shutil.rmtree(BASE)
        sys.exit(77)
    assert done.returncode == 0, done.stderr
    assert mounts() == 1, "a dead mount is still there"


def mounts():
    return sum(line.split()[4] == MNT for line in open("/proc/self/mountinfo", encoding="utf-8"))


def unmount():
    done = subprocess.run([MOUNT, "--unmount", MNT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


KEYS = ["key 1", "key 0"]  # what writes, and what opens too until everything is moved
WORKS = {"begun": 0, "ended": 0}


def rotate(dice):
    """Go on with the rotation that a kill has ended, or begin another one."""
    status = json.loads(subprocess.run([MOUNT, "--call", MNT, '{"command":"status"}'], capture_output=True, text=True, check=True).stdout)
    if status.get("walk", {}).get("ended"):
        assert status["walk"]["status"] == 0 and status["walk"]["failed"] == 0, status["walk"]
        WORKS["ended"] += 1
        KEYS[:] = [f"key {int(KEYS[0].split()[1]) + 1}", KEYS[0]]
    elif "walk" in status:
        return
    WORKS["begun"] += 1
    ask = json.dumps({"command": "rotate", "work": dice.choice(["rewrap", "reencrypt"]), "key": KEYS[0], "old": KEYS[1]})
    done = subprocess.run([MOUNT, "--call", MNT, ask], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def finish_rotation(dice):
    """To its end, in use, however often it was killed; then no file needs the old key."""
    rotate(dice)
    ended = WORKS["ended"]
    while WORKS["ended"] == ended:
        time.sleep(0.05)
        rotate(dice)
    while not json.loads(subprocess.run([MOUNT, "--call", MNT, '{"command":"status"}'], capture_output=True, text=True, check=True).stdout)["walk"]["ended"]:
        time.sleep(0.05)
    KEYS[1] = "no key of theirs"


def server_of_volume():
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            line = open(path, "rb").read().split(b"\0")
        except OSError:
            continue
        if MNT.encode() in line and line[0].endswith(b"volume_mount"):
            return int(path.split("/")[2])
    raise AssertionError("nothing serves the volume")


def kill_volume():
    pid = server_of_volume()
    os.kill(pid, signal.SIGKILL)
    while os.path.exists(f"/proc/{pid}"):
        time.sleep(0.01)


# ---- PostgreSQL ----

DATA = os.path.join(MNT, "data")


FAMILY = []  # the server's processes, as last seen


def children_of(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def kill_postgres():
    family = FAMILY + [child for pid in FAMILY for child in children_of(pid)]
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    while any(os.path.exists(f"/proc/{pid}") for pid in family):
        time.sleep(0.01)
    FAMILY.clear()


def start():
    run(f"{BIN}/pg_ctl", "-D", DATA, "-l", os.path.join(BASE, "run", "pg.log"), "-w", "-t", "120", "start")
    with open(os.path.join(DATA, "postmaster.pid"), encoding="ascii") as file:
        FAMILY[:] = [int(file.readline())]


def stop():
    run(f"{BIN}/pg_ctl", "-D", DATA, "-w", "-m", "fast", "stop")
    FAMILY.clear()


def sql(text):
    return run(f"{BIN}/psql", "-h", os.path.join(BASE, "run"), "-U", "super", "-d", "bank", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", text
               ).stdout.strip()


def make_cluster():
    os.mkdir(os.path.join(BASE, "run"))
    os.mkdir(DATA)
    if ROOT:
        shutil.chown(DATA, USER)
        shutil.chown(os.path.join(BASE, "run"), USER)
    run(f"{BIN}/initdb", "-D", DATA, "-U", "super", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums")
    with open(os.path.join(DATA, "postgresql.conf"), "a", encoding="ascii") as file:
        file.write(f"listen_addresses = ''\nunix_socket_directories = '{BASE}/run'\nshared_buffers = 16MB\n"
                   "checkpoint_timeout = 30s\nmax_wal_size = 64MB\nwal_sync_method = open_datasync\nrestart_after_crash = off\n")
    start()
    run(f"{BIN}/createdb", "-h", os.path.join(BASE, "run"), "-U", "super", "bank")
    run(f"{BIN}/pgbench", "-h", os.path.join(BASE, "run"), "-U", "super", "-i", "-q", "-s", "2", "bank")
    sql(f"CREATE EXTENSION IF NOT EXISTS amcheck; CREATE TABLE notes(id int primary key, words text); "
        f"INSERT INTO notes SELECT g, '{SECRET}' || g FROM generate_series(1, 500) g")


def balanced():
    """pgbench moves the same amount in four tables; every transaction has one line in the history."""
    one = sql("SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),"
              " (SELECT sum(bbalance) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)").split("|")
    assert len(set(one)) == 1, one
    return int(sql("SELECT count(*) FROM pgbench_history"))


def postgres(dice):
    make_cluster()
    confirmed = balanced()
    for number in range(ROUNDS):
        log = os.path.join(BASE, "run", f"bench{number}")
        bench = subprocess.Popen(words(f"{BIN}/pgbench", "-h", os.path.join(BASE, "run"), "-U", "super", "-n", "-c", "4", "-T", "60",
                                       "-l", "--log-prefix", log, "bank"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if number % 2 == 1:
            rotate(dice)
        time.sleep(0.5 + dice.random() * 2)
        victim = ("postgres", "the filesystem", "both")[number % 3]
        if victim != "postgres":
            kill_volume()
        kill_postgres()
        bench.wait(60)
        # pgbench logs a transaction once the server has said that it is committed.
        for path in glob.glob(log + "*"):
            confirmed += open(path, encoding="ascii").read().count("\n")
            os.unlink(path)
        if victim != "postgres":
            mount()
        start()
        now = balanced()
        assert now >= confirmed, f"{confirmed} transactions were confirmed, {now} are there"
        run(f"{BIN}/pg_amcheck", "-h", os.path.join(BASE, "run"), "-U", "super", "--heapallindexed", "bank", timeout=600)
        print(f"ok   PostgreSQL, killed {victim}: {now} transactions, {WORKS['begun']} walks begun, {WORKS['ended']} ended", flush=True)
        confirmed = now
    # A database is made by copying files, and goes by removing them.
    sql("CREATE DATABASE copy TEMPLATE bank STRATEGY file_copy") if int(BIN.split("/")[4]) >= 15 else None
    finish_rotation(dice)
    stop()
    unmount()
    grep = subprocess.run(["grep", "-r", "-l", "-a", SECRET, LOWER], capture_output=True, text=True)
    assert grep.returncode == 1, f"plaintext below the mount: {grep.stdout}"
    mount()
    start()
    assert sql("SELECT count(*) FROM notes WHERE words LIKE 'an-unmistakable%'") == "500"
    assert balanced() >= confirmed
    run(f"{BIN}/pg_amcheck", "-h", os.path.join(BASE, "run"), "-U", "super", "--heapallindexed", "bank", timeout=600)
    print(f"ok   PostgreSQL, remounted with the new key alone after {WORKS['ended']} rotations; no plaintext below", flush=True)
    stop()


# ---- SQLite ----

WORKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode=" + sys.argv[2]); db.execute("PRAGMA synchronous=FULL"); db.execute("PRAGMA mmap_size=" + sys.argv[3])
n = db.execute("SELECT coalesce(max(id), 0) FROM t").fetchone()[0]
while True:
    n += 1
    db.execute("BEGIN")
    db.execute("INSERT INTO t VALUES(?, ?)", (n, "x" * (n % 3000)))
    db.execute("UPDATE sum SET n = n + ?", (n % 3000,))
    db.execute("COMMIT")
    print(n, flush=True)
"""


def sqlite(dice):
    for number in range(ROUNDS):
        mode, size = (("delete", 0), ("wal", 0), ("wal", 1 << 26), ("truncate", 1 << 26))[number % 4]
        path = os.path.join(MNT, f"{mode}{size}.db")
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, words TEXT)")
        db.execute("CREATE TABLE IF NOT EXISTS sum AS SELECT 0 AS n")
        db.close()
        output = os.path.join(BASE, "sqlite.out")
        with open(output, "w", encoding="ascii") as file:
            worker = subprocess.Popen([sys.executable, "-c", WORKER, path, mode, str(size)], stdout=file, stderr=subprocess.DEVNULL)
        while os.stat(output).st_size == 0:
            assert worker.poll() is None, "the writer ended"
            time.sleep(0.01)
        if number % 2 == 1:
            rotate(dice)
        time.sleep(dice.random())
        volume_too = number % 4 < 3
        if volume_too:
            kill_volume()
        worker.kill()
        worker.wait()
        lines = open(output, encoding="ascii").read().split("\n")[:-1]
        confirmed = int(lines[-1]) if lines else 0
        if volume_too:
            mount()
        db = sqlite3.connect(path)
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        now, total = db.execute("SELECT max(id), sum(length(words)) FROM t").fetchone()
        assert (now or 0) >= confirmed, (now, confirmed)
        assert (total or 0) == db.execute("SELECT n FROM sum").fetchone()[0]
        db.close()
        print(f"ok   SQLite {mode}, map {size}, killed {'both' if volume_too else 'it'}: {now} rows, {confirmed} confirmed", flush=True)


def main():
    print("seed", SEED)
    dice = random.Random(SEED)
    os.chmod(BASE, 0o755)
    os.mkdir(LOWER)
    os.mkdir(MNT)
    os.chmod(LOWER, 0o755)
    mount()
    try:
        sqlite(dice)
        if BIN is None or (ROOT and USER is None):
            print("PostgreSQL is not here")
        else:
            postgres(dice)
        unmount()
    except BaseException:
        for log in (LOG, os.path.join(BASE, "run", "pg.log")):
            if os.path.exists(log):
                print(f"--- {log}", *open(log, errors="replace").read().splitlines()[-30:], sep="\n")
        raise
    finally:
        kill_postgres()
        if mounts() > 0:
            subprocess.run([MOUNT, "--unmount", MNT], capture_output=True)
        if mounts() > 0:
            subprocess.run(["umount", "-l", MNT] if ROOT else ["fusermount3", "-u", "-z", MNT], capture_output=True)
        shutil.rmtree(BASE, ignore_errors=True)


main()
