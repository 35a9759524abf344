# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command share: a folder of its own with a keyring and a small database, and the program run in it."""
import json
import os
import pty
import select
import sqlite3
import subprocess
import sys
import tempfile
import time

COFFER = os.path.abspath(sys.argv[1])
URL = "sqlite:a.db"
ROWS = 12
PASSED = 0


def check(what, holds):
    global PASSED
    assert holds, what
    PASSED += 1


def run(*words, code=0, text=None, env=None, says=(), timeout=120, preexec=None):
    """Run coffer; its exit code must be `code`, and what it says on standard error must hold each of `says`."""
    global PASSED
    full = dict(os.environ, **(env or {}))
    done = subprocess.run([COFFER, *words], input=text, capture_output=True, text=True, check=False, env=full,
                          timeout=timeout, preexec_fn=preexec)
    assert done.returncode == code, (words, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    for part in (says,) if isinstance(says, str) else says:
        assert part in done.stderr, (words, "should say", part, "says", done.stderr)
    assert "Sanitizer" not in done.stderr, done.stderr
    if says or code != 0:
        assert done.stderr.startswith("coffer: ") or not says, done.stderr
        PASSED += 1
    return done


def fresh():
    """A new folder, with a keyring under a key file."""
    os.chdir(tempfile.mkdtemp(prefix="coffer-cli-"))
    os.environ.update(COFFER_KEYRING="k.coffer", COFFER_KEK="file:kek.bin")
    run("keyring", "init")


def database(name="a.db", rows=ROWS):
    """patients(id, ssn, born, note), with NULLs and empty strings."""
    db = sqlite3.connect(name, isolation_level=None)
    db.execute("pragma journal_mode=wal")
    db.execute("create table patients(id integer primary key, ssn text, born date, note text)")
    db.execute("begin")
    db.executemany("insert into patients values(?,?,?,?)",
                   [(i, None if i % 5 == 0 else "" if i % 5 == 1 else f"ssn-{i}", f"19{i % 100:02}-02-03", f"n{i}")
                    for i in range(1, rows + 1)])
    db.execute("commit")
    return db


def protected(*columns):
    """A database with protected columns, and the connection to it."""
    db = database()
    run("protect", "--yes", URL, *(columns or ("patients.ssn",)))
    return db


def out_json(*words, **more):
    return json.loads(run(*words, "--json", **more).stdout)


def field_keys():
    return [k for k in out_json("key", "list") if k["purpose"] == "field"]


def active_key():
    return next(k["id"] for k in field_keys() if k["state"] == "active")


def terminal(words, answers, code=0, env=None, timeout=60):
    """Run on a terminal of its own, answering each question in turn; what the terminal showed."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(env or {})
        os.execv(COFFER, [COFFER, *words])
    shown, until, pending = b"", time.monotonic() + timeout, list(answers)
    while time.monotonic() < until:
        ready, _, _ = select.select([fd], [], [], 0.2)
        if not ready:
            continue
        try:
            chunk = os.read(fd, 65536)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
        if pending and pending[0][0].encode() in shown.rsplit(b"\n", 1)[-1]:
            os.write(fd, pending.pop(0)[1].encode())
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    text = shown.decode()
    assert os.waitstatus_to_exitcode(status) == code, (words, status, text)
    assert not pending, (words, "never asked", pending, text)
    return text
