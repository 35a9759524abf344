#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""MariaDB and Redis on a mounted volume, killed at random instants: volume_crash.py VOLUME_MOUNT [TEST …]

In turn the filesystem below, the database, or both are killed with SIGKILL while it works; it recovers, and has everything that it had
confirmed.  (PostgreSQL and SQLite: volume_db.py.)  COFFER_ROUNDS: how often (3)."""
import glob
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time

from volume_support import ECRYPTFS, NAMES, ROOT, Skip, main, mounts_at, test, volume, wait_until

ROUNDS = int(os.environ.get("COFFER_ROUNDS", "3"))
VICTIMS = ("the filesystem", "the database", "both")


def program(*names):
    for name in names:
        found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
        if found:
            return found
    raise Skip(f"{names[0]} is not installed")


def user_of(*names):
    """Whom a database runs as; servers refuse to be root."""
    if not ROOT:
        return None
    for name in (*names, "nobody"):
        if subprocess.run(["id", name], capture_output=True).returncode == 0:
            return name
    raise Skip("no ordinary user")


class Server:
    """A database whose data lie on a volume; its socket and log beside it."""

    def __init__(self, v, name, users):
        self.v, self.user = v, user_of(*users)
        self.process = None
        self.data, self.run = v.path(name), os.path.join(v.base, name)
        self.socket, self.log = os.path.join(self.run, "socket"), os.path.join(self.run, "log")
        for folder in (self.data, self.run):
            os.mkdir(folder, 0o755)
            if self.user:
                shutil.chown(folder, self.user)

    def words(self, *command):
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", *command] if self.user else list(command)

    def start(self, *command):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.words(*command), stdout=log, stderr=log, cwd="/")

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) is not None

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    def tail(self):
        with open(self.log, errors="replace") as file:
            return "\n".join(file.read().splitlines()[-30:])


def strike(v, server, number):
    victim = VICTIMS[number % 3]
    if victim != "the database":
        v.kill()
    server.kill()
    if victim != "the database":
        v.mount()
        assert mounts_at(v.mnt) == 1
    return victim


# ---- Redis ----


class Redis(Server):
    def __init__(self, v):
        super().__init__(v, "redis", ("redis",))
        self.program = program("redis-server")

    def begin(self):
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        self.start(self.program, "--port", "0", "--unixsocket", self.socket, "--unixsocketperm", "777", "--dir", self.data, "--appendonly", "yes",
                   "--appendfsync", "always", "--save", "1 50", "--daemonize", "no", "--auto-aof-rewrite-min-size", "64kb")
        wait_until(self.answers)

    def answers(self):
        assert self.process.poll() is None, self.tail()
        try:
            return self.ask("PING") == b"+PONG"
        except OSError:
            return False

    def ask(self, *words, on=None):
        request = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)
        connection = on or self.connect()
        connection.sendall(request)
        answer = b""
        while not answer.endswith(b"\r\n"):
            piece = connection.recv(65536)
            if not piece:
                raise ConnectionResetError
            answer += piece
        if on is None:
            connection.close()
        return answer.split(b"\r\n")[0 if not answer.startswith(b"$") or answer.startswith(b"$-1") else 1]

    def connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(self.socket)
        return connection


def redis_writer(server, key, confirmed):
    try:
        connection = server.connect()
        while True:
            answer = server.ask("INCR", key, on=connection)
            if not answer.startswith(b":"):
                return
            confirmed[key] = int(answer[1:])
            server.ask("RPUSH", key + ":list", str(confirmed[key]) + "x" * random.randrange(200), on=connection)
    except OSError:
        return


def redis_on(*options):
    dice = random.Random()
    program("redis-server")
    with volume(*options) as v:
        server = Redis(v)
        confirmed = {f"k{i}": 0 for i in range(4)}
        try:
            server.begin()
            for number in range(ROUNDS):
                threads = [threading.Thread(target=redis_writer, args=(server, key, confirmed)) for key in confirmed]
                for thread in threads:
                    thread.start()
                time.sleep(0.3 + dice.random())
                victim = strike(v, server, number)
                for thread in threads:
                    thread.join()
                server.begin()
                for key, least in confirmed.items():
                    now = int(server.ask("GET", key) or 0)
                    assert least <= now <= least + 1, (key, least, now)
                    length = int(server.ask("LLEN", key + ":list")[1:])
                    assert now - number - 1 <= length <= now, (key, now, length)
                    confirmed[key] = now
                print(f"  Redis, killed {victim}: {sum(confirmed.values())} increments", flush=True)
            server.stop()
            for path in glob.glob(os.path.join(server.data, "appendonlydir", "*.manifest")) + glob.glob(os.path.join(server.data, "*.aof")):
                done = subprocess.run([program("redis-check-aof"), path], capture_output=True, text=True)
                assert done.returncode == 0, done.stdout
        except BaseException:
            print(server.tail())
            raise
        finally:
            server.kill()


@test
def redis():
    redis_on(*ECRYPTFS)


@test
def redis_with_encrypted_names():
    redis_on(*NAMES)


# ---- MariaDB ----


class MariaDb(Server):
    def __init__(self, v):
        super().__init__(v, "mariadb", ("mysql",))
        self.program, self.client = program("mariadbd", "mysqld"), program("mariadb", "mysql")
        done = subprocess.run(self.words(program("mariadb-install-db", "mysql_install_db"), "--no-defaults", f"--datadir={self.data}", "--skip-test-db",
                                         "--auth-root-authentication-method=normal"), capture_output=True, text=True, cwd="/", timeout=300)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    def begin(self):
        self.start(self.program, "--no-defaults", f"--datadir={self.data}", f"--socket={self.socket}", f"--pid-file={self.run}/pid",
                   "--skip-networking", "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=1",
                   f"--log-bin={self.data}/binlog", "--sync-binlog=1", f"--tmpdir={self.run}")
        wait_until(self.answers, 120)

    def answers(self):
        assert self.process.poll() is None, self.tail()
        return os.path.exists(self.socket) and self.sql("SELECT 1", check=False).strip() == "1"

    def command(self):
        return [self.client, "--no-defaults", f"--socket={self.socket}", "-uroot", "-N", "-B", "--unbuffered"]

    def sql(self, text, check=True):
        done = subprocess.run(self.command(), input=text, capture_output=True, text=True, timeout=300)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout


def mariadb_writer(server, account, confirmed, text):
    """One transaction after the other, each confirmed by the line that follows its commit."""
    client = subprocess.Popen(server.command() + ["bank"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        number = confirmed[account]
        while True:
            number += 1
            client.stdin.write(f"BEGIN; INSERT INTO moves VALUES({account}, {number}, REPEAT('{text}', {number % 50 + 1})); "
                               f"UPDATE sums SET n = n + 1 WHERE account = {account}; COMMIT; SELECT {number};\n")
            client.stdin.flush()
            line = client.stdout.readline()
            if line.strip() != str(number):
                return
            confirmed[account] = number
    except OSError:
        return
    finally:
        client.kill()
        client.wait()


def mariadb_on(*options):
    dice = random.Random()
    text = "unmistakable%x" % dice.randrange(1 << 60)
    program("mariadbd", "mysqld")
    with volume(*options) as v:
        server = MariaDb(v)
        confirmed = {i: 0 for i in range(4)}
        try:
            server.begin()
            server.sql("CREATE DATABASE bank; USE bank; CREATE TABLE moves(account int, n int, words text, PRIMARY KEY(account, n), KEY(n)) ENGINE=InnoDB;"
                       "CREATE TABLE sums(account int PRIMARY KEY, n int) ENGINE=InnoDB; INSERT INTO sums VALUES(0,0),(1,0),(2,0),(3,0);")
            for number in range(ROUNDS):
                threads = [threading.Thread(target=mariadb_writer, args=(server, account, confirmed, text)) for account in confirmed]
                for thread in threads:
                    thread.start()
                time.sleep(0.5 + dice.random() * 1.5)
                victim = strike(v, server, number)
                for thread in threads:
                    thread.join()
                server.begin()
                checks = server.sql("USE bank; CHECK TABLE moves EXTENDED; CHECK TABLE sums EXTENDED;").splitlines()
                assert [line.split("\t")[-1] for line in checks] == ["OK", "OK"], checks
                for account, least in confirmed.items():
                    sums, rows, last = server.sql(f"USE bank; SELECT n FROM sums WHERE account = {account}; SELECT COUNT(*) FROM moves WHERE account = {account};"
                                                  f"SELECT COALESCE(MAX(n), 0) FROM moves WHERE account = {account};").split()
                    assert sums == rows == last and least <= int(sums) <= least + 1, (account, least, sums, rows, last)
                    confirmed[account] = int(sums)
                print(f"  MariaDB, killed {victim}: {sum(confirmed.values())} transactions", flush=True)
            server.stop()
            v.unmount()
            grep = subprocess.run(["grep", "-r", "-l", "-a", text, v.lower], capture_output=True, text=True)
            assert grep.returncode == 1, grep.stdout
            v.mount()
            server.begin()
            assert int(server.sql("USE bank; SELECT COUNT(*) FROM moves")) == sum(confirmed.values())
            server.stop()
        except BaseException:
            print(server.tail())
            raise
        finally:
            server.kill()


@test
def mariadb():
    mariadb_on(*ECRYPTFS)


sys.exit(main(sys.argv[2:]))
