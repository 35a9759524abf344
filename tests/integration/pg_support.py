# SPDX-License-Identifier: Apache-2.0
"""What the PostgreSQL programs of this folder share.

Each runs as  pg_cluster.sh run PROGRAM COFFER  and works in a database and a folder of its own, as an ordinary role.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

COFFER = os.path.abspath(sys.argv[1])
NOW = ("--settle", "0", "--grace", "0")
passed = 0


def need(*programs):
    """Skip where a program is missing."""
    for program in programs:
        if shutil.which(program) is None:
            print(f"SKIPPED: {program} is not installed")
            sys.exit(77)


def start(name):
    """A folder and a database of this program's own; its URL."""
    need("psql")
    os.chdir(tempfile.mkdtemp(prefix="coffer-pg-"))
    os.environ.update(COFFER_KEYRING="k.coffer", COFFER_KEK="file:kek.bin")
    return database(f"coffer_{name}_{os.getpid()}")


def sibling(variable, name):
    """The URL of another database on the same server."""
    return os.environ[variable].rsplit("/", 1)[0] + "/" + name


def database(name):
    psql(f"CREATE DATABASE {name} OWNER coffer_app", os.environ["COFFER_TEST_PG_SUPER"])
    return sibling("COFFER_TEST_PG", name)


def coffer(*words, code=0, text=None, timeout=120):
    done = subprocess.run([COFFER, *words], input=text, capture_output=True, text=True, check=False, timeout=timeout)
    assert done.returncode == code, (words, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout if code == 0 else done.stdout + done.stderr


def background(*words):
    """The command, running; its output is read by finish()."""
    return subprocess.Popen([COFFER, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(child, code=0, timeout=120):
    out, _ = child.communicate(timeout=timeout)
    assert child.returncode == code, (child.args, child.returncode, out[-3000:])
    return out


def psql(sql, url, fails=False):
    """What the statement prints, or its error where it must fail."""
    done = subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", url, "-c", sql],
                          capture_output=True, check=False, timeout=120)
    assert (done.returncode != 0) == fails, (sql[:300], done.stdout.decode(), done.stderr.decode())
    return (done.stderr if fails else done.stdout).decode().removesuffix("\n")


class Session:
    """A connection that stays: transactions, snapshots, prepared statements."""

    def __init__(self, url):
        self.child = subprocess.Popen(["psql", "-qAtX", "-v", "VERBOSITY=verbose", url], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, sql):
        self.child.stdin.write(f"{sql};\n\\warn =end=\n")
        self.child.stdin.flush()
        lines = []
        while (line := self.child.stdout.readline()) != "=end=\n":
            assert line, (sql, lines)
            lines.append(line)
        return "".join(lines).removesuffix("\n")

    def close(self):
        self.child.stdin.close()
        self.child.wait(timeout=10)


def check(what, holds):
    global passed
    assert holds, what
    passed += 1


def same(what, got, expected):
    check(f"{what}: {got!r:.1500} is not {expected!r:.1500}", got == expected)


def until(what, holds, seconds=60):
    """Wait for something that must come true by itself."""
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return value


def keys():
    return [k for k in json.loads(coffer("key", "list", "--json")) if k["purpose"] == "field"]


def active_key():
    return next(k["id"] for k in keys() if k["state"] == "active")


def state_of(key):
    return next(k["state"] for k in keys() if k["id"] == key)


def status(url, exact=True):
    return json.loads(coffer("status", url, "--json", *(["--exact"] if exact else [])))


def step(url):
    """At which step the open rotation is; None without one."""
    rotations = status(url, False)["rotations"]
    return rotations[0] if rotations else None


def all_under(url, key):
    """Nothing but this key, NULL apart."""
    return all(list(c["by_key"]) in ([key], []) and c["plaintext"] == c["quarantine"] == 0 for c in status(url)["columns"])


def seal(url, column, row, value):
    """One envelope, as the application makes it, in hex."""
    cell = json.dumps({"column": column, "row": row, "value": value})
    return json.loads(coffer("seal", "--stream", "--db-url", url, text=cell + "\n"))["sealed"]


def unseal(url, column, row, sealed, code=0):
    cell = json.dumps({"column": column, "row": row, "sealed": sealed})
    out = coffer("open", "--stream", "--db-url", url, code=code, text=cell + "\n")
    return json.loads(out.splitlines()[0])


def end():
    print(f"{passed} passed")
