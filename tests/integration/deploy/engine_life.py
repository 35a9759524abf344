#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An engine on a real volume, from the first start to a restored copy: engine_life.py VOLUME_MOUNT ENGINE_DRIVE ENGINE [--user | --root]

--root: each server runs as its account.  --user: everything as one ordinary user (nobody, when root runs it).
Skipped (77) with a reason where the engine is not installed or nobody may mount."""
import glob
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "volume"))
from volume_support import ROOT, Skip, Volume, main, test  # noqa: E402  (reads argv[1])

DRIVE, ENGINE, HOW = os.path.abspath(sys.argv[2]), sys.argv[3], sys.argv[4]
ACCOUNTS = {"postgresql": "postgres", "mariadb": "mysql", "redis": "redis", "sqlite": "postgres"}
PROGRAMS = {"postgresql": "/usr/lib/postgresql/*/bin/postgres", "mariadb": "/usr/sbin/mariadbd", "redis": "/usr/bin/redis-server",
            "sqlite": "/usr/bin/sqlite3"}
MARK = f"unmistakable-{os.urandom(6).hex()}"
BEGAN = time.time()
ROWS = 500
PASSWORD = secrets.token_hex(16)[:31]  # of this run alone: the clients of another one are seen in the list of processes
NOTFOUND, NOTYET, CONFLICT, DB, UNSUPPORTED = 10, 12, 15, 13, 17


def port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Place:
    """A database of the engine on a volume of its own, or on that of another."""

    count = 0

    def __init__(self, name="my_app", **more):
        Place.count += 1
        self.volume = Volume("--format", "ecryptfs")
        self.base = self.volume.base
        self.root = os.path.join(self.volume.mnt, "db")
        self.run = tempfile.mkdtemp(prefix="cf-", dir="/tmp")
        self.name = name
        os.mkdir(self.root)
        self.account = ACCOUNTS[ENGINE] if ROOT else pwd.getpwuid(os.geteuid()).pw_name
        if ROOT:
            for path in (self.root, self.run):
                shutil.chown(path, self.account, pwd.getpwnam(self.account).pw_gid)
        os.chmod(self.run, 0o711)
        self.place = {"root": self.root, "run": self.run, "tls": os.path.join(self.base, "tls"), "name": name, "account": self.account,
                      "password": f"{PASSWORD}{Place.count % 10}", "listen": "127.0.0.1", "port": port(), **more}
        self.save()

    def save(self, **more):
        self.place.update(more)
        with open(os.path.join(self.base, "place.json"), "w", encoding="utf-8") as file:
            json.dump(self.place, file)

    def drive(self, *words, code=0, data=None):
        done = subprocess.run([DRIVE, ENGINE, os.path.join(self.base, "place.json"), *words], input=data, capture_output=True, timeout=300)
        assert done.returncode == code, (words, done.returncode, done.stderr.decode(errors="replace"), self.log())
        return done.stdout

    def up(self):
        self.start()
        self.drive("prepare")

    def start(self):
        """Right after a kill, the dead server's children, or its entry in the table of processes, may be in the way: whoever looks after servers tries again."""
        for _ in range(50):
            if self.try_to_start():
                return
            time.sleep(0.2)
        self.drive("start" if ENGINE != "sqlite" else "ready")

    def try_to_start(self):
        words = [DRIVE, ENGINE, os.path.join(self.base, "place.json"), "start" if ENGINE != "sqlite" else "ready"]
        return subprocess.run(words, capture_output=True, timeout=300).returncode == 0

    def stop(self):
        if ENGINE != "sqlite":
            self.drive("stop")

    def url(self):
        return self.drive("url").decode().strip()

    def census(self):
        return json.loads(self.drive("census"))["tables"]

    def log(self):
        path = os.path.join(self.root, "log", "server.log")
        return open(path, errors="replace").read()[-3000:] if os.path.exists(path) else ""

    def drop(self):
        if ENGINE != "sqlite":
            subprocess.run([DRIVE, ENGINE, os.path.join(self.base, "place.json"), "kill"], capture_output=True)
        self.volume.drop()
        shutil.rmtree(self.run, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.drop()


# ---- clients: what an application would use, with the URL alone ----


def client(place, text):
    """The command that runs statements of its standard input or argument, as the application."""
    if ENGINE == "postgresql":
        return ["psql", "-X", "-qAt", "-v", "ON_ERROR_STOP=1", place.url(), "-c", text]
    if ENGINE == "mariadb":
        return ["mariadb", "--no-defaults", "-h127.0.0.1", f"-P{place.place['port']}", "-ucoffer", f"-p{place.place['password']}",
                f"--ssl-ca={place.place['tls']}/ca.crt", "--ssl-verify-server-cert", "-N", place.name, "-e", text]
    if ENGINE == "redis":
        return ["redis-cli", "--tls", "--cacert", f"{place.place['tls']}/ca.crt", "-p", str(place.place["port"]), "--user", "coffer", "--pass",
                place.place["password"], "--no-auth-warning", *text.split(" ")]
    words = ["sqlite3", "-batch", "-bail", "-cmd", ".timeout 5000", place.url().split(":", 1)[1], text]
    return ["runuser", "-u", place.account, "--", *words] if ROOT else words


def ask(place, text, fine=True):
    done = subprocess.run(client(place, text), capture_output=True, text=True, timeout=60, cwd="/")
    refused = done.returncode != 0 or done.stdout.startswith(("NOPERM", "ERR ", "WRONGPASS", "NOAUTH"))
    assert refused != fine, (text, done.returncode, done.stdout, done.stderr, place.log())
    return done.stdout.strip()


def fill(place):
    if ENGINE == "redis":
        for number in range(ROWS // 10):
            ask(place, f"SET patient{number} {MARK}-{number}")
        ask(place, f"RPUSH list {MARK} b c")
        return
    series = {"postgresql": "SELECT g, '%s-' || g FROM generate_series(1, %d) g", "mariadb": "SELECT seq, CONCAT('%s-', seq) FROM seq_1_to_%d",
              "sqlite": "SELECT value, '%s-' || value FROM generate_series(1, %d)"}[ENGINE] % (MARK, ROWS)
    ask(place, "CREATE TABLE patients(id INTEGER PRIMARY KEY, name VARCHAR(200) NOT NULL)")
    ask(place, f"INSERT INTO patients {series}")
    ask(place, "CREATE TABLE visits(id INTEGER PRIMARY KEY, patient INTEGER REFERENCES patients(id))")
    ask(place, "INSERT INTO visits SELECT id, id FROM patients WHERE id <= 20")
    ask(place, "CREATE VIEW seen AS SELECT p.name FROM patients p JOIN visits v ON v.patient = p.id")


def check_rows(place):
    if ENGINE == "redis":
        assert ask(place, "GET patient7") == f"{MARK}-7"
        assert ask(place, "LRANGE list 0 -1").split() == [MARK, "b", "c"]
        return
    assert ask(place, "SELECT name FROM patients WHERE id = 321") == f"{MARK}-321"
    assert int(ask(place, "SELECT count(*) FROM seen")) >= 20


def write_one(place, number, fine=True):
    ask(place, f"SET late{number} x" if ENGINE == "redis" else f"INSERT INTO visits VALUES({1000 + number}, 1)", fine)


def begun(place=None, **more):
    place = place or Place(**more)
    try:
        place.drive("init")
        place.up()
    except BaseException:
        place.drop()
        raise
    return place


def no_plaintext(*folders):
    """Not below; and where programs like to leave their temporary files, in none that was written since this began."""
    seconds = int(time.time() - BEGAN) + 2
    for folder in folders:
        words = ["find", folder, "-xdev", "-type", "f", "-newermt", f"-{seconds} seconds", "-exec", "grep", "-l", "-a", "-s", MARK, "{}", "+"]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.stdout == "", f"plaintext in {done.stdout}"


# ---- tests ----


@test
def finds_itself_and_names_the_package_otherwise():
    with Place() as place:
        found = json.loads(place.drive("find"))
        assert found["version"].startswith(str(found["major"])), found
        place.save(major=1)
        place.drive("find", code=NOTFOUND if ENGINE in ("mariadb", "redis") else UNSUPPORTED)


@test
def what_was_written_is_there_after_kill_and_only_in_the_volume():
    with begun() as place:
        place.drive("init")  # again, as after a crash: it does no harm
        place.drive("prepare")
        fill(place)
        check_rows(place)
        before = place.census()
        if ENGINE != "sqlite":
            place.drive("kill")
            place.drive("ready", code=NOTYET)
        place.start()
        check_rows(place)
        assert place.census() == before and sum(before.values()) > 20, before
        place.stop()
        no_plaintext(place.volume.lower, place.run, "/tmp")
        place.volume.remount()
        place.start()
        check_rows(place)
        place.stop()


@test
def an_init_that_broke_off_begins_anew():
    if ENGINE == "redis":
        raise Skip("its data folder is made by the server")
    with Place() as place:
        place.drive("init")
        os.truncate(os.path.join(place.root, "data", {"postgresql": "PG_VERSION", "mariadb": "ibdata1", "sqlite": "my_app.db"}[ENGINE]), 0)
        marker = os.path.join(place.root, ".init")
        open(marker, "wb").close()
        if ROOT:
            shutil.chown(marker, place.account)
        place.drive("init")
        assert not os.path.exists(marker)
        place.up()
        fill(place)
        check_rows(place)
        place.stop()


@test
def a_dump_loads_into_another_database():
    with begun() as place, begun() as other:
        fill(place)
        dump = place.drive("dump")
        other.drive("load", data=dump)
        assert other.census() == place.census()
        check_rows(other)
        if ENGINE != "sqlite":
            other.drive("kill")
        other.start()
        check_rows(other)
        assert other.census() == place.census()
        other.stop()
        place.stop()
        no_plaintext(other.volume.lower)


@test
def a_dump_that_is_cut_off_is_refused():
    with begun() as place, begun() as other:
        fill(place)
        dump = place.drive("dump")
        done = subprocess.run([DRIVE, ENGINE, os.path.join(other.base, "place.json"), "load"], input=dump[:len(dump) // 2], capture_output=True,
                              timeout=120)
        if ENGINE in ("postgresql", "redis"):
            assert done.returncode != 0
        assert other.census() != place.census()
        other.drive("load", data=dump)
        assert other.census() == place.census()


@test
def a_physical_copy_under_writes_becomes_a_database_of_another_name():
    if ENGINE == "mariadb" and not shutil.which("mariadb-backup"):
        raise Skip("mariadb-backup is not installed")
    with begun() as place, Place("other_one") as copy:
        fill(place)
        going = threading.Event()
        writer = threading.Thread(target=lambda: [write_one(place, n) for n in range(200) if not going.is_set()])
        writer.start()
        backup = place.drive("backup")
        going.set()
        writer.join()
        copy.drive("restore", data=backup)
        if ENGINE == "sqlite":
            assert ask(copy, "PRAGMA integrity_check") == "ok"
        copy.up()
        check_rows(copy)
        then, now = copy.census(), place.census()
        assert then.keys() == now.keys() and sum(then.values()) <= sum(now.values()), (then, now)
        if ENGINE != "redis":
            assert {**then, [k for k in then if "visits" in k][0]: 0} == {**now, [k for k in now if "visits" in k][0]: 0}
        write_one(copy, 900)
        copy.stop()
        if ENGINE != "sqlite":
            copy.start()  # what a copy brings is not asked again
            check_rows(copy)
            copy.stop()
        no_plaintext(copy.volume.lower)


@test
def read_only_refuses_each_write_and_loses_none():
    with begun() as place:
        fill(place)
        confirmed, stop = [], threading.Event()

        def write():
            number = 0
            while not stop.is_set():
                number += 1
                text = f"SET w{number} x" if ENGINE == "redis" else f"INSERT INTO visits VALUES({2000 + number}, 1)"
                done = subprocess.run(client(place, text), capture_output=True, text=True)
                if done.returncode == 0 and not done.stdout.startswith("NOPERM"):
                    confirmed.append(number)

        writer = threading.Thread(target=write)
        writer.start()
        while len(confirmed) < 5:
            time.sleep(0.01)
        place.drive("read-only", "on")
        frozen = place.census()
        enough = len(confirmed) + 3
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline and len(confirmed) < enough:
            time.sleep(0.05)
        stop.set()
        writer.join()
        assert place.census() == frozen, "somebody wrote"
        table = [name for name in frozen if name in ("public.visits", "visits", "db0")][0]
        base = 20 if ENGINE != "redis" else ROWS // 10 + 1
        assert frozen[table] >= base + len(confirmed), (frozen, len(confirmed))
        write_one(place, 1, fine=False)
        place.drive("dump")
        if ENGINE != "sqlite":
            place.stop()
            place.start()
            write_one(place, 2, fine=False)
        place.drive("read-only", "off")
        write_one(place, 3)
        place.stop()


@test
def open_transactions_do_not_write_after_the_switch():
    if ENGINE not in ("postgresql", "mariadb"):
        raise Skip("no sessions that could hold a transaction open against it")
    with begun() as place:
        fill(place)
        words = client(place, "")
        words = words[:-2]  # without -c or -e: statements come by the standard input
        session = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        session.stdin.write("BEGIN;\nINSERT INTO visits VALUES(5000, 1);\nSELECT 'waits';\n")
        session.stdin.flush()
        if ENGINE == "postgresql":
            assert session.stdout.readline().strip() == "waits"
        else:
            time.sleep(1)  # this client writes its answers at the end
        place.drive("read-only", "on")
        frozen = place.census()
        _, errors = session.communicate("COMMIT;\n", timeout=60)
        assert session.returncode != 0, "the commit was confirmed"
        assert place.census() == frozen, errors
        place.stop()


@test
def networks_need_tls_and_the_right_password():
    if ENGINE == "sqlite":
        raise Skip("no network")
    with begun() as place:
        if ENGINE == "postgresql":
            assert ask(place, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t"
            plain = place.url().replace("sslmode=require", "sslmode=disable")
            wrong = place.url().replace(place.place["password"], "x" * 32)
            for url in (plain, wrong, place.url().replace("coffer:", "coffer_admin:")):
                assert subprocess.run(["psql", "-X", "-w", url, "-c", "SELECT 1"], capture_output=True).returncode != 0, url
            strict = place.url().replace("sslmode=require", "sslmode=verify-full")
            assert subprocess.run(["psql", "-X", "-w", strict, "-c", "SELECT 1"], capture_output=True).returncode == 0
            assert subprocess.run(["psql", "-X", "-w", place.url().replace("/my_app", "/postgres"), "-c", "SELECT 1"],
                                  capture_output=True).returncode != 0
        elif ENGINE == "mariadb":
            words = ["mariadb", "--no-defaults", "-h127.0.0.1", f"-P{place.place['port']}", "-ucoffer", f"-p{place.place['password']}"]
            assert subprocess.run([*words, "--skip-ssl", "-e", "SELECT 1"], capture_output=True).returncode != 0
            ask(place, "SELECT 1")
        else:
            words = ["redis-cli", "-p", str(place.place["port"]), "PING"]
            assert b"PONG" not in subprocess.run(words, capture_output=True).stdout
            words = ["redis-cli", "--tls", "--cacert", f"{place.place['tls']}/ca.crt", "-p", str(place.place["port"]), "PING"]
            assert b"NOAUTH" in subprocess.run(words, capture_output=True).stdout
            ask(place, "CONFIG GET dir", fine=False)
        place.stop()


@test
def by_the_socket_alone():
    if ENGINE == "sqlite":
        raise Skip("no socket")
    with begun(listen="") as place:
        with socket.socket() as sock:
            assert sock.connect_ex(("127.0.0.1", place.place["port"])) != 0, "it listens"
        if ENGINE == "postgresql":
            fill(place)
            check_rows(place)
        place.census()
        place.stop()


@test
def secrets_are_in_no_list_of_processes():
    if ENGINE == "sqlite":
        raise Skip("no secrets")
    with begun() as place:
        fill(place)
        hidden = [place.place["password"]]
        if ENGINE == "redis":
            hidden.append(open(os.path.join(place.root, "conf", "admin"), encoding="ascii").read())
            assert not any(secret in open(os.path.join(place.root, "conf", "redis.conf"), encoding="ascii").read() for secret in hidden)
        leaks, done = [], threading.Event()

        def watch():
            while not done.is_set():
                for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
                    try:
                        text = open(path, "rb").read().decode(errors="replace")
                    except OSError:
                        continue
                    if any(secret in text for secret in hidden):
                        leaks.append(text)

        watcher = threading.Thread(target=watch)
        watcher.start()
        for words in (("prepare",), ("census",), ("dump",), ("read-only", "on"), ("read-only", "off"), ("ready",), ("doctor",)):
            place.drive(*words)
        done.set()
        watcher.join()
        assert not leaks, leaks[0]
        place.stop()


@test
def the_doctor_is_content_and_sees_what_is_wrong():
    with begun() as place:
        checks = [json.loads(line) for line in place.drive("doctor").splitlines()]
        assert checks and all(check["state"] == "ok" for check in checks), checks
        mount = {check["name"]: check for check in map(json.loads, place.drive("doctor-mount", place.volume.lower).splitlines())}
        assert len(mount) == 14, mount
        assert mount["syncfs"]["state"] == "warn", mount["syncfs"]
        assert mount["ciphertext below"]["state"] == "ok", mount["ciphertext below"]
        assert all(check["state"] != "fail" for check in mount.values()), mount
        assert not [name for name in os.listdir(place.root) if name.startswith(".doctor")]
        wrong = json.loads(place.drive("doctor-mount", place.volume.mnt).splitlines()[-1])
        assert wrong["state"] == "fail", "plaintext went unnoticed"
        if ENGINE == "postgresql":
            with open(os.path.join(place.root, "data", "postgresql.auto.conf"), "a", encoding="ascii") as file:
                file.write("full_page_writes = off\n")
            place.stop()
            place.start()
            checks = {check["name"]: check["state"] for check in map(json.loads, place.drive("doctor").splitlines())}
            assert checks["full_page_writes"] == "fail", checks
        place.stop()


@test
def a_point_in_time():
    if ENGINE != "postgresql":
        raise Skip("this engine has none")
    with begun(archive=True) as place, Place("order") as copy:
        fill(place)
        backup = place.drive("backup")
        write_one(place, 1)
        time.sleep(0.1)
        moment = int(time.time() * 1e6)
        time.sleep(0.1)
        write_one(place, 2)
        place.stop()  # the last segment is archived on the way out
        archive = os.path.join(place.root, "archive")
        assert not [name for name in os.listdir(archive) if name.startswith(".")]
        copy.drive("restore", data=backup)
        shutil.copytree(archive, os.path.join(copy.root, "recover"))
        if ROOT:
            subprocess.run(["chown", "-R", f"{copy.account}:", os.path.join(copy.root, "recover")], check=True)
        copy.drive("recover", str(moment))
        copy.up()
        assert copy.census()["public.visits"] == 21
        write_one(copy, 3)
        copy.stop()


@test
def certificates_are_kept_until_near_their_end_or_for_other_names():
    if ENGINE == "sqlite":
        raise Skip("no network")
    with begun() as place:
        path = os.path.join(place.root, "tls", "server.pem")
        first = open(path, "rb").read()
        assert os.stat(path).st_mode & 0o777 == 0o600
        place.stop()
        place.start()
        assert open(path, "rb").read() == first
        place.stop()
        place.save(listen="127.0.0.2")
        place.start()
        assert open(path, "rb").read() != first
        place.stop()
        assert subprocess.run(["openssl", "verify", "-purpose", "sslserver", "-verify_ip", "127.0.0.2", "-CAfile",
                               f"{place.place['tls']}/ca.crt", path], capture_output=True).returncode == 0
        os.unlink(f"{place.place['tls']}/authority.pem")  # another authority: what it did not sign is replaced
        second = open(path, "rb").read()
        place.start()
        assert open(path, "rb").read() != second
        place.stop()


if __name__ == "__main__":
    if not glob.glob(PROGRAMS[ENGINE]):
        print(f"{ENGINE} is not installed")
        sys.exit(77)
    if HOW == "--root" and not ROOT:
        print("needs root: servers get accounts of their own")
        sys.exit(77)
    if HOW == "--user" and ROOT:
        user = pwd.getpwuid(65534).pw_name
        python = next((path for path in (sys.executable, "/usr/bin/python3")
                       if subprocess.run(["runuser", "-u", user, "--", path, "-c", ""], capture_output=True).returncode == 0), None)
        if python is None:
            print(f"{user} may not run Python")
            sys.exit(77)
        runtime = tempfile.mkdtemp(prefix="cf-run-")
        shutil.chown(runtime, user)
        words = ["runuser", "-u", user, "--", "env", "-u", "TMPDIR", f"XDG_RUNTIME_DIR={runtime}", python, os.path.abspath(sys.argv[0]),
                 os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), *sys.argv[3:]]
        code = subprocess.run(words, cwd="/").returncode
        shutil.rmtree(runtime, ignore_errors=True)
        sys.exit(code)
    sys.exit(main(sys.argv[5:]))
