#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The key of a volume changed by the command: volume_rotate.py COFFER [TEST…]

Not mounted and mounted, re-wrapped and re-encrypted, killed on either side and resumed, with databases at work on it; certificates
checked without a keyring; backups that hold keys; columns and volumes in one keyring."""
import contextlib
import glob
import hashlib
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
COFFER = os.path.abspath(sys.argv[1])
WANTED = sys.argv[2:]
ROOT = os.geteuid() == 0
CAN_MOUNT = os.path.exists("/dev/fuse")
BIN = max(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]), default=None)
USER = next((name for name in ("postgres", "nobody") if subprocess.run(["id", name], capture_output=True).returncode == 0), None)
TESTS = []


def test(function):
    TESTS.append(function)
    return function


class Skip(Exception):
    """Cannot be tested here."""


def run(*words, code=0, says=(), timeout=120):
    done = subprocess.run([COFFER, *map(str, words)], capture_output=True, text=True, check=False, timeout=timeout)
    assert "Sanitizer" not in done.stderr, done.stderr
    assert done.returncode == code, (words, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    for part in (says,) if isinstance(says, str) else says:
        assert part in done.stderr + done.stdout, (words, "should say", part, done.stdout, done.stderr)
    return done


def out_json(*words, **more):
    return json.loads(run(*words, "--json", **more).stdout)


def lines_json(*words, **more):
    return [json.loads(line) for line in run(*words, "--json", **more).stdout.splitlines()]


def start(*words):
    return subprocess.Popen([COFFER, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.01)


class World:
    """A folder with a keyring and one volume."""

    def __init__(self, *options):
        self.base = tempfile.mkdtemp(prefix="coffer-rotate-")
        os.chmod(self.base, 0o755)
        os.chdir(self.base)
        os.environ.update(COFFER_KEYRING=f"{self.base}/k.coffer", COFFER_KEK=f"file:{self.base}/kek.bin")
        os.environ.setdefault("XDG_RUNTIME_DIR", self.base)
        run("keyring", "init")
        self.lower, self.mnt = f"{self.base}/lower", f"{self.base}/mnt"
        self.programs = []
        os.mkdir(self.lower)
        os.mkdir(self.mnt)
        run("volume", "create", *options, self.lower)
        self.first = self.key()

    def mount(self, lower=None, mnt=None, *options):
        done = subprocess.run([COFFER, "volume", "mount", *options, lower or self.lower, mnt or self.mnt], capture_output=True, text=True,
                              timeout=120)
        if done.returncode != 0 and "cannot mount" in done.stderr:
            raise Skip(done.stderr)
        assert done.returncode == 0, (done.returncode, done.stderr)

    def unmount(self, mnt=None):
        run("volume", "unmount", mnt or self.mnt)

    @contextlib.contextmanager
    def mounted(self):
        self.mount()
        yield
        self.unmount()

    def pid(self):
        return out_json("volume", "status", self.mnt)["pid"]

    def kill(self):
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not os.path.exists(f"/proc/{pid}") or open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()[0] == "Z")

    def keys(self):
        return [k for k in out_json("key", "list") if k["purpose"] == "volume"]

    def key(self, state="active"):
        return next((k["id"] for k in self.keys() if k["state"] == state), None)

    def rotate(self, *words, path=None, **more):
        return run("volume", "rotate", *words, path or self.lower, **more)

    def certificate(self, key):
        """Checked with nothing but the public key."""
        pub = f"{self.base}/pub.pem"
        with open(pub, "w", encoding="ascii") as file:
            file.write(run("keyring", "show", "--audit-key").stdout)
        path = glob.glob(f"{self.base}/k.coffer.certificates/{key}-*.json")
        assert len(path) == 1, path
        done = run("prove", "--verify", path[0], "--audit-key", pub, says=("files", "names", "links", "ecryptfs"))
        assert "Valid" in done.stdout
        content = json.load(open(path[0], encoding="utf-8"))
        assert content["key"]["id"] == key and content["key"]["purpose"] == "volume"
        assert [c["name"] for c in content["columns"]] == ["files", "names", "links"]
        assert all(c["under_key"] == 0 for c in content["columns"])
        return content

    def settled(self, before=None):
        """One key, active; the others in escrow with a certificate; the audit log whole."""
        states = sorted(k["state"] for k in self.keys())
        assert states.count("active") == 1 and set(states) <= {"active", "escrowed", "destroyed"}, self.keys()
        for key in self.keys():
            if key["state"] == "escrowed":
                self.certificate(key["id"])
        run("audit", "--verify")
        litter = [p for p in glob.glob(f"{self.lower}/**/.coffer*", recursive=True)
                  if os.path.basename(p) not in (".coffer.volume", ".coffer.mounted")]
        assert not litter, litter
        if before:
            assert self.key() != before

    def fill(self, files=40, size=20000):
        with self.mounted():
            for number in range(files):
                folder = f"{self.mnt}/folder{number % 3}"
                os.makedirs(folder, exist_ok=True)
                with open(f"{folder}/file{number}", "wb") as file:
                    file.write(content(number, size + number * 37))
            os.link(f"{self.mnt}/folder0/file0", f"{self.mnt}/folder1/again")
            os.symlink("folder0/file0", f"{self.mnt}/way")

    def check(self, files=40, size=20000, mnt=None):
        for number in range(files):
            with open(f"{mnt or self.mnt}/folder{number % 3}/file{number}", "rb") as file:
                assert file.read() == content(number, size + number * 37), number
        assert os.readlink(f"{mnt or self.mnt}/way") == "folder0/file0"
        assert os.stat(f"{mnt or self.mnt}/folder1/again").st_nlink == 2

    def check_mounted(self, **more):
        with self.mounted():
            self.check(**more)

    def drop(self):
        os.chdir("/")
        for program in self.programs:
            program.kill()
            program.wait()
        for line in open("/proc/self/mountinfo", encoding="utf-8").read().splitlines():
            where = line.split()[4]
            if where.startswith(self.base):
                subprocess.run(["umount", "-l", where] if ROOT else ["fusermount3", "-u", "-z", where], capture_output=True)
        shutil.rmtree(self.base, ignore_errors=True)


def content(number, size):
    block = hashlib.sha256(f"{number}".encode()).digest()
    return (block * (size // 32 + 1))[:size]


@contextlib.contextmanager
def world(*options):
    if not CAN_MOUNT:
        raise Skip("no /dev/fuse here")
    made = World(*options)
    try:
        yield made
    finally:
        made.drop()


# ---- not mounted ----


@test
def a_rewrap_and_a_reencryption_offline():
    with world() as w:
        w.fill()
        lines = lines_json("volume", "rotate", "--rewrap", w.lower)
        assert [line["step"] for line in lines if line.get("event") == "step"][:2] == ["stage", "activate"], lines
        assert lines[-1] == {"result": {"command": "volume rotate", "ok": True}}
        second = w.key()
        w.settled(w.first)
        assert "re-wrap" in w.certificate(w.first)["notes"][0]
        w.check_mounted()
        w.rotate("--reencrypt")
        w.settled(second)
        assert "re-encryption" in w.certificate(second)["notes"][0]
        w.check_mounted()
        log = [line["event"] for line in out_json_lines("audit")]
        for event in ("volume.create", "key.stage", "key.activate", "key.fence", "key.prove", "key.escrow"):
            assert event in log, log


def out_json_lines(*words):
    text = run(*words, "--json").stdout.strip()
    try:
        whole = json.loads(text)
        return whole if isinstance(whole, list) else [whole]
    except ValueError:
        return [json.loads(line) for line in text.splitlines()]


@test
def another_cipher_and_encrypted_names_offline():
    with world("--cipher", "aes-192") as w:
        w.fill()
        assert os.path.exists(f"{w.lower}/folder0/file0")
        w.rotate("--rewrap", "--cipher", "aes-256", code=2, says="--reencrypt")
        w.rotate("--reencrypt", "--cipher", "aes-256", "--encrypt-names", "--plan", says="nothing was changed")
        assert w.key() == w.first
        w.rotate("--reencrypt", "--cipher", "aes-256", "--encrypt-names")
        w.settled(w.first)
        assert not os.path.exists(f"{w.lower}/folder0")
        assert all(name.startswith(("ECRYPTFS_FNEK_ENCRYPTED.", ".coffer")) for name in os.listdir(w.lower)), os.listdir(w.lower)
        w.check_mounted()
        second = w.key()
        w.rotate("--rewrap", "--plain-names")
        w.settled(second)
        assert os.path.exists(f"{w.lower}/folder0/file0")
        w.check_mounted()


@test
def refusals_and_their_codes():
    with world() as w:
        w.fill(4)
        w.rotate("--rewrap", "--reencrypt", code=2)
        w.rotate(code=2, says="--rewrap")
        w.rotate("--pause", code=1, says="mounted")
        w.rotate("--abort", code=1, says="no rotation")
        run("volume", "prove", w.lower, w.first, code=3, says="active")
        run("volume", "prove", w.lower, "12345678", code=1)
        run("volume", "rotate", "--rewrap", f"{w.base}/nothing", code=1)
        with open(f"{w.lower}/folder0/file0", "r+b") as file:
            file.seek(8)
            file.write(b"\0" * 40)
        w.rotate("--rewrap", code=3, says="file0")
        assert w.key("draining") == w.first
        run("volume", "prove", w.lower, w.first, code=3)
        os.unlink(f"{w.lower}/folder1/again")
        os.unlink(f"{w.lower}/folder0/file0")
        w.rotate("--rewrap")
        w.settled(w.first)
        run("volume", "prove", w.lower, w.first, "--out", f"{w.base}/again.json", says="Proven")


@test
def a_killed_command_is_taken_up_offline():
    with world() as w:
        w.fill(200, 60000)
        started = time.monotonic()
        w.rotate("--reencrypt")
        whole = time.monotonic() - started
        for part in range(8):
            before = w.key()
            command = start("volume", "rotate", "--reencrypt", w.lower)
            with contextlib.suppress(subprocess.TimeoutExpired):
                command.wait(whole * (part + 0.5) / 8)
            command.kill()
            command.communicate()
            w.rotate("--reencrypt")
            w.settled(before)
        w.check_mounted(files=200, size=60000)


@test
def ctrl_c_and_abort_offline():
    with world() as w:
        w.fill(100, 60000)
        command = start("volume", "rotate", "--reencrypt", "--encrypt-names", "--rate", "1", w.lower)
        wait_until(lambda: w.key("draining") == w.first)
        command.send_signal(signal.SIGINT)
        _, errors = command.communicate(timeout=60)
        assert command.returncode == 1 and "goes on from here" in errors, (command.returncode, errors)
        w.rotate("--rewrap", code=3, says="re-encryption")
        w.rotate("--abort")
        w.settled()
        assert w.key() == w.first
        assert os.path.exists(f"{w.lower}/folder0/file0")
        w.check_mounted(files=100, size=60000)


# ---- backups ----


@test
def backups_hold_keys_and_escrow_opens_them():
    with world("--encrypt-names") as w:
        w.fill()
        run("backup", "policy", f"volume:{w.lower}", "--keep", "0")
        run("backup", "register", "volume:lower", "monday")
        backup = f"{w.base}/backup"
        subprocess.run(["cp", "-a", w.lower, backup], check=True)
        w.rotate("--reencrypt")
        w.settled(w.first)
        run("key", "why", w.first, says=("monday", "files under key"))
        run("key", "destroy", "--yes", w.first, code=3, says="monday")
        # The backup is read with the key from its escrow file.
        mnt = f"{w.base}/old"
        os.mkdir(mnt)
        done = subprocess.run([COFFER, "volume", "mount", "--read-only", "--moved", backup, mnt], capture_output=True, text=True)
        if done.returncode == 0:  # its files are under a key that is not there
            assert not os.path.exists(f"{mnt}/folder0/file0")
            run("volume", "unmount", mnt)
        run("keyring", "import", f"{w.base}/k.coffer.escrow/{w.first}.key", says="Imported 1 key")
        assert w.key("draining") == w.first
        w.mount(backup, mnt, "--read-only", "--moved")
        w.check(mnt=mnt)
        run("volume", "rotate", "--rewrap", mnt, code=3, says="read-only")
        w.unmount(mnt)
        # The next rotation of the volume retires it again, with the one that it had meanwhile.
        w.rotate("--rewrap")
        w.settled()
        run("backup", "expire", "monday")
        run("key", "why", w.first, says="nothing")
        run("key", "destroy", "--yes", w.first)
        assert next(k for k in w.keys() if k["id"] == w.first)["state"] == "destroyed"
        w.rotate("--rewrap")
        w.settled()
        w.check_mounted()


@test
def columns_and_volumes_in_one_keyring():
    with world() as w:
        w.fill(100, 60000)
        db = sqlite3.connect("a.db", isolation_level=None)
        db.execute("create table patients(id integer primary key, ssn text)")
        db.executemany("insert into patients values(?, ?)", [(i, f"ssn-{i}") for i in range(50)])
        db.close()
        run("protect", "--yes", "sqlite:a.db", "patients.ssn")
        field = next(k["id"] for k in out_json("key", "list") if k["purpose"] == "field" and k["state"] == "active")
        # A rotation of the volume stands open while the column is rotated, and the other way round.
        command = start("volume", "rotate", "--reencrypt", "--rate", "1", w.lower)
        wait_until(lambda: w.key("draining") == w.first)
        command.send_signal(signal.SIGINT)
        command.communicate(timeout=60)
        run("rotate", "sqlite:a.db")
        assert w.key("draining") == w.first
        assert next(k for k in out_json("key", "list") if k["id"] == field)["state"] == "escrowed"
        run("status", "sqlite:a.db")
        run("keyring", "show")
        run("backup", "policy", "sqlite:a.db", "--keep", "0")
        run("key", "destroy", "--yes", field)
        run("prove", "sqlite:a.db", field, "--out", "column.json", code=0)
        w.rotate("--reencrypt")
        w.settled(w.first)
        assert run("cat", "sqlite:a.db", "patients").stdout.count("ssn-") == 50
        run("backup", "policy", f"volume:{w.lower}", "--keep", "0")
        run("key", "destroy", "--yes", w.first)
        run("rotate", "sqlite:a.db")
        w.check_mounted(files=100, size=60000)


# ---- mounted ----


@test
def online_the_mount_moves_its_files():
    with world() as w:
        w.fill()
        w.mount()
        for work in ("--rewrap", "--reencrypt"):
            before = w.key()
            lines = lines_json("volume", "rotate", work, w.mnt)
            assert any(line.get("event") == "progress" for line in lines)
            w.settled(before)
            w.check()
        before = w.key()
        w.rotate("--reencrypt", "--encrypt-names", "--cipher", "aes-192", path=w.lower)  # by its lower folder, too
        w.settled(before)
        w.check()
        status = out_json("volume", "status", w.mnt)
        assert status["cipher"] == "aes-192" and status["encrypt_names"] is True
        assert len(status["keys"]) == 1 and status["keys"][0]["id"] == w.key()
        w.unmount()
        assert not os.path.exists(f"{w.lower}/folder0")
        w.check_mounted()
        run("volume", "prove", w.lower, before, says="certificate")


WRITER = """
import os, sys
where, n = sys.argv[1], 0
while True:
    n += 1
    name = f"{where}/w{n % 20}"
    with open(name + ".new", "wb") as file:
        file.write(b"%d " % n * (n % 4000 + 1))
        file.flush()
        os.fsync(file.fileno())
    os.rename(name + ".new", name)
    with open(name, "r+b") as file:
        file.seek(n % 3000)
        file.write(b"#%d#" % n)
    data = open(name, "rb").read()
    assert b"#%d#" % n in data
    print(n, flush=True)
"""

BANK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode=wal"); db.execute("PRAGMA synchronous=FULL")
db.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, words TEXT)")
db.execute("CREATE TABLE IF NOT EXISTS s AS SELECT 0 AS n")
n = db.execute("SELECT coalesce(max(id), 0) FROM t").fetchone()[0]
while True:
    n += 1
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO t VALUES(?, ?)", (n, "x" * (n % 3000)))
    db.execute("UPDATE s SET n = n + ?", (n % 3000,))
    db.execute("COMMIT")
    print(n, flush=True)
"""


class Load:
    """Programs that work on the mount until they are stopped, and what they confirmed."""

    def __init__(self, w):
        self.w, self.programs, self.outputs = w, [], []
        w.programs.clear()
        os.makedirs(f"{w.mnt}/load", exist_ok=True)
        for name, text, arg in (("writer", WRITER, f"{w.mnt}/load"), ("bank", BANK, f"{w.mnt}/bank.db")):
            output = f"{w.base}/{name}.out"
            self.outputs.append(output)
            self.programs.append(subprocess.Popen([sys.executable, "-c", text, arg], stdout=open(output, "w", encoding="ascii"),
                                                  stderr=open(output + ".err", "w", encoding="ascii")))
        w.programs.extend(self.programs)
        wait_until(lambda: all(os.stat(o).st_size > 0 for o in self.outputs))

    def alive(self):
        for program, output in zip(self.programs, self.outputs):
            assert program.poll() is None, open(output + ".err", encoding="ascii").read()

    def counts(self):
        return [open(o, encoding="ascii").read().count("\n") for o in self.outputs]

    def stop(self, alive=True):
        if alive:
            self.alive()
        for program in self.programs:
            program.kill()
            program.wait()

    def check(self):
        lines = open(self.outputs[1], encoding="ascii").read().split("\n")[:-1]
        db = sqlite3.connect(f"{self.w.mnt}/bank.db")
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        now, total = db.execute("SELECT max(id), sum(length(words)) FROM t").fetchone()
        assert now >= int(lines[-1]), (now, lines[-1])
        assert total == db.execute("SELECT n FROM s").fetchone()[0]
        db.close()


@test
def online_while_programs_work_on_it():
    with world("--cipher", "aes-192") as w:
        w.fill(60, 100000)
        w.mount()
        load = Load(w)
        for words in (("--rewrap",), ("--reencrypt", "--cipher", "aes-256"), ("--rewrap", "--encrypt-names"),
                      ("--reencrypt", "--plain-names")):
            before, counts = w.key(), load.counts()
            w.rotate(*words, "--duty", "0.8")
            load.alive()
            wait_until(lambda: all(now > then for now, then in zip(load.counts(), counts)))
            w.settled(before)
        load.stop()
        load.check()
        w.check(files=60, size=100000)
        w.unmount()
        w.mount()
        load.check()
        w.check(files=60, size=100000)
        w.unmount()
        run("volume", "check", w.lower)


@test
def pause_resume_throttle_and_no_wait():
    with world() as w:
        w.fill(100, 60000)
        w.mount()
        w.rotate("--pause", code=1, says="no walk")
        command = start("volume", "rotate", "--reencrypt", "--rate", "0.5", w.mnt)
        wait_until(lambda: out_json("volume", "status", w.mnt).get("walk", {}).get("bytes_done", 0) > 0)
        w.rotate("--reencrypt", "--no-wait", code=4, says="running")
        w.rotate("--pause", path=w.mnt)
        wait_until(lambda: out_json("volume", "status", w.mnt)["walk"]["paused"])
        done = out_json("volume", "status", w.mnt)["walk"]["bytes_done"]
        time.sleep(0.5)
        assert out_json("volume", "status", w.mnt)["walk"]["bytes_done"] <= done + 2_000_000
        # Ctrl-C ends the waiting alone.
        command.send_signal(signal.SIGINT)
        _, errors = command.communicate(timeout=60)
        assert command.returncode == 1 and "stopped waiting" in errors, errors
        w.rotate("--resume", path=w.mnt)
        w.rotate("--throttle", "--rate", "1000", "--duty", "1", path=w.mnt)
        wait_until(lambda: out_json("volume", "status", w.mnt)["walk"]["ended"])
        assert w.key("draining") == w.first  # moved; the same command ends it
        w.rotate("--reencrypt", path=w.mnt)
        w.settled(w.first)
        w.check(files=100, size=60000)
        w.unmount()


@test
def abort_online():
    with world() as w:
        w.fill(100, 60000)
        w.mount()
        load = Load(w)
        command = start("volume", "rotate", "--reencrypt", "--encrypt-names", "--rate", "0.5", w.mnt)
        wait_until(lambda: out_json("volume", "status", w.mnt).get("walk", {}).get("bytes_done", 0) > 0)
        command.kill()
        command.communicate()
        w.rotate("--abort", "--duty", "1", path=w.mnt)
        w.settled()
        assert w.key() == w.first
        load.stop()
        load.check()
        w.check(files=100, size=60000)
        w.unmount()
        assert os.path.exists(f"{w.lower}/folder0/file0")
        w.check_mounted(files=100, size=60000)


def seen(w):
    """Files that the present walk has been at.  One that ended is followed by another, which finds them done."""
    walk = out_json("volume", "status", w.mnt).get("walk", {})
    return walk.get("files_done", 0) + walk.get("files_skipped", 0)


@test
def killed_commands_and_mounts_are_taken_up():
    with world("--encrypt-names") as w:
        w.fill(100, 60000)
        w.mount()
        for number in range(6):
            before = w.key()
            load = Load(w)
            command = start("volume", "rotate", "--reencrypt", "--rate", "3", "--duty", "1", "--latency-max", "1000", w.mnt)
            wait_until(lambda: seen(w) > number * 15)
            if number % 3 != 1:
                command.kill()
            if number % 3 != 0:
                w.kill()
                load.stop(alive=False)
                command.communicate(timeout=60)
                if number % 2 == 0:
                    w.mount()
                else:  # its files, while nobody serves them
                    subprocess.run(["umount", "-l", w.mnt] if ROOT else ["fusermount3", "-u", "-z", w.mnt], capture_output=True)
            command.communicate(timeout=60)
            w.rotate("--reencrypt", "--rate", "1000", "--duty", "1", "--latency-max", "1000")
            w.settled(before)
            if number % 3 == 0:
                load.stop()
            elif number % 2 != 0:
                w.mount()
            load.check()
            w.check(files=100, size=60000)
        w.unmount()
        run("volume", "check", w.lower)


# ---- PostgreSQL ----


def words(*command):
    return ["runuser", "-u", USER, "--", *command] if ROOT else list(command)


def pg(*command, **more):
    done = subprocess.run(words(*command), capture_output=True, text=True, timeout=300, cwd="/", **more)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout.strip()


@test
def postgresql_at_work():
    if BIN is None or (ROOT and USER is None):
        raise Skip("PostgreSQL is not here")
    with world("--cipher", "aes-192") as w:
        w.mount()
        data, sock = f"{w.mnt}/data", f"{w.base}/run"
        os.mkdir(sock)
        os.mkdir(data)
        if ROOT:
            shutil.chown(data, USER)
            shutil.chown(sock, USER)
        pg(f"{BIN}/initdb", "-D", data, "-U", "super", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums")
        with open(f"{data}/postgresql.conf", "a", encoding="ascii") as file:
            file.write(f"listen_addresses = ''\nunix_socket_directories = '{sock}'\nshared_buffers = 16MB\nmax_wal_size = 64MB\n")
        pg(f"{BIN}/pg_ctl", "-D", data, "-l", f"{sock}/pg.log", "-w", "-t", "120", "start")
        at = ("-h", sock, "-U", "super")
        try:
            pg(f"{BIN}/createdb", *at, "bank")
            pg(f"{BIN}/pgbench", *at, "-i", "-q", "-s", "2", "bank")
            bench = subprocess.Popen(words(f"{BIN}/pgbench", *at, "-n", "-c", "4", "-T", "600", "bank"), stdout=subprocess.DEVNULL,
                                     stderr=subprocess.PIPE, text=True)
            for command in (("--rewrap",), ("--reencrypt", "--cipher", "aes-256", "--encrypt-names")):
                before = w.key()
                count = int(pg(f"{BIN}/psql", *at, "-d", "bank", "-qAtX", "-c", "SELECT count(*) FROM pgbench_history"))
                w.rotate(*command, "--duty", "0.8", "--latency-max", "1000", timeout=600)
                w.settled(before)
                assert bench.poll() is None, bench.stderr.read()
                assert int(pg(f"{BIN}/psql", *at, "-d", "bank", "-qAtX", "-c", "SELECT count(*) FROM pgbench_history")) > count
            bench.terminate()
            bench.communicate(timeout=60)
            one = pg(f"{BIN}/psql", *at, "-d", "bank", "-qAtX", "-c",
                     "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),"
                     " (SELECT sum(bbalance) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)").split("|")
            assert len(set(one)) == 1, one
            pg(f"{BIN}/psql", *at, "-d", "bank", "-qAtX", "-c", "CREATE EXTENSION amcheck")
            pg(f"{BIN}/pg_amcheck", *at, "--heapallindexed", "bank")
        finally:
            subprocess.run(words(f"{BIN}/pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"), capture_output=True, cwd="/")
        w.unmount()
        run("volume", "check", w.lower)


def main():
    failed = skipped = 0
    for function in TESTS:
        if WANTED and function.__name__ not in WANTED:
            continue
        began = time.monotonic()
        try:
            function()
            print(f"ok   {function.__name__} {time.monotonic() - began:.1f} s", flush=True)
        except Skip as reason:
            skipped += 1
            print(f"skip {function.__name__}: {reason}", flush=True)
        except Exception:
            failed += 1
            traceback.print_exc()
            print(f"FAIL {function.__name__}", flush=True)
    sys.exit(1 if failed else 77 if skipped == len(TESTS) else 0)


main()
