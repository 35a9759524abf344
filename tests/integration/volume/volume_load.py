#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Much at once on one mount: volume_load.py VOLUME_MOUNT FSX [TEST …]

Built with a sanitizer, the mount must have nothing to report afterwards.  COFFER_FSX_OPS: operations of each exerciser (1500);
COFFER_FSX_SEED: the first one's seed."""
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time

from volume_support import ECRYPTFS, MOUNT, NAMES, ROOT, Skip, code_of, get, main, mounts_at, put, test, volume, wait_gone

FSX = os.path.abspath(sys.argv[2])
OPS = os.environ.get("COFFER_FSX_OPS", "1500")
SEED = int(os.environ.get("COFFER_FSX_SEED", "0")) or random.randrange(1 << 30)
EXPECTED = {"ENOENT", "EEXIST", "ENOTEMPTY", "EISDIR", "ENOTDIR", "ENODATA", "EINVAL", "EMLINK", "ELOOP", "EBUSY", "EPERM"}  # EPERM: a link of a folder


def exerciser(v, number):
    if not ROOT:
        raise Skip("the exerciser looks at files past their modes")
    tested, model = v.path(f"x{number}"), os.path.join(v.base, f"model{number}")
    os.mkdir(tested)
    os.mkdir(model)
    return subprocess.Popen([FSX, "--ops", OPS, "--seed", str(SEED + number), "--name-max", "143", tested, model],
                            stderr=subprocess.PIPE, text=True, errors="replace")


@contextlib.contextmanager
def opened(path, flags):
    fd = os.open(path, flags, 0o644)
    try:
        yield fd
    finally:
        os.close(fd)


def step(v, dice):
    """Something to a few names that all threads have in common."""
    a, b = (v.path("shared", f"n{dice.randrange(12)}") for _ in range(2))
    what = dice.randrange(14)
    if what == 0:
        put(a, dice.randbytes(dice.randrange(20000)))
    elif what == 1:
        get(a)
    elif what == 2:
        os.rename(a, b)
    elif what == 3:
        os.link(a, b)
    elif what == 4:
        os.unlink(a)
    elif what == 5:
        os.truncate(a, dice.randrange(30000))
    elif what == 6:
        os.listdir(v.path("shared"))
    elif what == 7:
        with os.scandir(v.path("shared")) as entries:
            for entry in entries:
                entry.stat(follow_symlinks=False)
    elif what == 8:
        os.setxattr(a, "user.x", dice.randbytes(30))
        os.getxattr(a, "user.x")
    elif what == 9:
        os.chmod(a, dice.choice((0o600, 0o644, 0o4711)))
        os.utime(a)
    elif what == 10:
        os.mkdir(b) if dice.randrange(2) else os.rmdir(b)
    elif what == 11:
        own = v.path("shared", f"own{threading.get_ident()}")
        with opened(own, os.O_RDWR | os.O_CREAT) as fd:
            os.unlink(own)
            os.pwrite(fd, b"unlinked", 5000)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(fd, 8, 5000) == b"unlinked"
    elif what == 12:
        with opened(a, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as fd:
            os.write(fd, b"appended")
            os.fdatasync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    else:
        os.statvfs(v.path("shared"))
        os.symlink("n0", b)


class Crowd:
    """Threads that do steps until they are told to end."""

    def __init__(self, v, count):
        self.stop, self.errors = threading.Event(), []
        self.steps = 0
        os.makedirs(v.path("shared"), exist_ok=True)
        self.threads = [threading.Thread(target=self.work, args=(v, random.Random(SEED + i))) for i in range(count)]
        for thread in self.threads:
            thread.start()

    def work(self, v, dice):
        while not self.stop.is_set():
            try:
                got = code_of(step, v, dice)
            except AssertionError:
                got = "wrong data"
            self.steps += 1
            if isinstance(got, str) and got not in EXPECTED:
                self.errors.append(got)
                if got in ("ENOTCONN", "ECONNABORTED"):
                    return

    def end(self, allowed=()):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        wrong = [error for error in self.errors if error not in allowed]
        assert not wrong, wrong[:10]
        assert self.steps > 50, self.steps


class Rotation:
    """Keys that change all the time: rewrap and re-encryption in turn, each to its end, or until a kill; then on with the same."""

    def __init__(self):
        self.number, self.ended, self.begun = 1, 0, 0

    def keys(self):
        return "--key", f"key {self.number}", "--old", f"key {self.number - 1}"

    def go_on(self, v):
        walk = v.call(command="status").get("walk")
        if walk and not walk["ended"]:
            return
        if walk:
            assert walk["status"] == 0, walk
            # A file that changes faster than it is moved may be left to the next walk, which comes before the key is given up.
            if walk["failed"] == 0:
                self.number += 1
                self.ended += 1
        self.begun += 1
        reply = v.call(command="rotate", work=("rewrap", "reencrypt")[self.begun % 2], key=f"key {self.number}", old=f"key {self.number - 1}")
        assert isinstance(reply, dict) and reply["ok"], reply


@test
def exercisers_while_keys_change():
    rotation = Rotation()
    with volume(*ECRYPTFS, "--descriptors", "24", "--threads", "8", *rotation.keys()) as v:
        print("  seed", SEED)
        runs = [exerciser(v, i) for i in range(3)]
        crowd = Crowd(v, 3)
        try:
            while any(run.poll() is None for run in runs):
                rotation.go_on(v)
                time.sleep(0.02)
        finally:
            crowd.end()
            for run in runs:
                _, errors = run.communicate()
                assert run.returncode == 0, errors[-4000:]
        print(f"  {rotation.ended} rotations ended, {rotation.begun} walks begun, {crowd.steps} steps")
        assert rotation.ended > 0
        v.unmount()
        v.options = (*ECRYPTFS, *rotation.keys())
        v.mount()
        everything_can_be_read(v)


def everything_can_be_read(v):
    for folder, _, names in os.walk(v.mnt):
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                assert isinstance(code_of(get, path), bytes), path
    assert not v.lines(), v.lines()


@test
def a_kill_of_the_mount_while_keys_change():
    rotation = Rotation()
    with volume(*ECRYPTFS, *rotation.keys()) as v:
        for number in range(int(os.environ.get("COFFER_ROUNDS", "4"))):
            crowd = Crowd(v, 3)
            for _ in range(200):
                name = v.path(f"synced{random.randrange(200)}")
                with opened(name, os.O_RDWR | os.O_CREAT) as fd:
                    os.pwrite(fd, b"safe" * 2000, 0)
                    os.fsync(fd)
            deadline = time.monotonic() + 0.2 + random.random()
            while time.monotonic() < deadline:
                rotation.go_on(v)
                time.sleep(0.01)
            v.kill()
            crowd.end(allowed=("ENOTCONN", "ECONNABORTED", "EIO", "ENODEV"))
            v.options = (*ECRYPTFS, *rotation.keys())
            v.mount()
            for name in os.listdir(v.mnt):
                if name.startswith("synced"):
                    assert get(v.path(name)) == b"safe" * 2000, (number, name)
            everything_can_be_read(v)
        print(f"  {rotation.ended} rotations ended, {rotation.begun} walks begun")
        while rotation.ended < 2 or rotation.begun < 4:
            rotation.go_on(v)
        left = [name for _, _, names in os.walk(v.lower) for name in names if name.startswith(".coffer.copy")]
        assert len(left) <= 1, left  # of the walk that is under way


def under_load(*options):
    with volume(*options, "--descriptors", "24", "--threads", "8") as v:
        print("  seed", SEED)
        runs = [exerciser(v, i) for i in range(3)]
        crowd = Crowd(v, 4)
        copies = 0
        try:
            while any(run.poll() is None for run in runs):
                # A copy to the other key of whatever file is there, as a rotation does.
                names = [name for name in os.listdir(v.lower + "/shared") if not name.startswith(".coffer")] if "--encrypt-names" not in options else []
                if names:
                    reply = v.call(command="copy", name="shared/" + random.choice(names), step=4096, finish=True)
                    copies += isinstance(reply, dict)
                assert v.call(command="status")["ok"]
                time.sleep(0.02)
        finally:
            crowd.end()
            for run in runs:
                _, errors = run.communicate()
                assert run.returncode == 0, errors[-4000:]
        assert copies > 0 or "--encrypt-names" in options
        print(f"  {crowd.steps} steps, {copies} copies beside {OPS} operations each of {len(runs)} exercisers")


@test
def exercisers_and_a_crowd_side_by_side():
    under_load(*ECRYPTFS)


@test
def with_encrypted_names():
    under_load(*NAMES, "--xattr-metadata")


@test
def sigterm_under_load():
    """It leaves the tree at once and ends when the last user is gone; what was confirmed is there."""
    with volume() as v:
        crowd = Crowd(v, 4)
        fd = os.open(v.path("kept"), os.O_RDWR | os.O_CREAT)
        time.sleep(0.5)
        pid = v.pid()
        os.kill(pid, signal.SIGTERM)
        while mounts_at(v.mnt):
            time.sleep(0.01)
        os.write(fd, b"written after the signal")
        os.fsync(fd)
        crowd.stop.set()
        for thread in crowd.threads:
            thread.join()
        assert not crowd.errors, crowd.errors[:5]
        assert os.pread(fd, 100, 0) == b"written after the signal"
        os.close(fd)
        wait_gone(pid)
        assert not v.crashed() and not os.path.lexists(v.below(".coffer.mounted"))
        v.mount()
        assert get(v.path("kept")) == b"written after the signal"


@test
def unmount_while_busy_under_load():
    with volume() as v:
        crowd = Crowd(v, 3)
        fd = os.open(v.path("held"), os.O_RDWR | os.O_CREAT)
        for _ in range(5):
            assert "in use" in v.unmount(code=15)
            time.sleep(0.05)
        crowd.end()
        os.close(fd)
        v.unmount()
        v.mount()


@test
def two_mounts_of_one_volume_at_the_same_moment():
    """Whoever comes second is refused, however close they are; never do both serve."""
    with volume(mount=False) as v:
        points = [os.path.join(v.base, f"m{i}") for i in range(4)]
        for point in points:
            os.mkdir(point)
        for _ in range(5):
            runs = [subprocess.Popen([*v.command()[:-1], point], stderr=subprocess.PIPE, text=True, env=v.sanitizer()) for point in points]
            codes = [(run.communicate()[1], run.returncode) for run in runs]
            assert sorted(code for _, code in codes) == [0, 15, 15, 15], codes
            assert sum(mounts_at(point) for point in points) == 1
            [point] = [point for point in points if mounts_at(point)]
            put(os.path.join(point, "f"), b"x")
            subprocess.run([MOUNT, "--unmount", point], check=True)


@test
def a_kill_of_the_mount_under_load():
    """Nobody hangs: who has files open gets errors, and the next mount has what was synced."""
    with volume() as v:
        for number in range(3):
            crowd = Crowd(v, 4)
            fd = os.open(v.path(f"synced{number}"), os.O_RDWR | os.O_CREAT)
            os.write(fd, b"safe" * 5000)
            os.fsync(fd)
            time.sleep(0.3)
            v.kill()
            crowd.end(allowed=("ENOTCONN", "ECONNABORTED", "EIO", "ENODEV"))
            with contextlib.suppress(OSError):
                os.close(fd)
            v.mount()
            for old in range(number + 1):
                assert get(v.path(f"synced{old}")) == b"safe" * 5000
            everything_can_be_read(v)


sys.exit(main(sys.argv[3:]))
