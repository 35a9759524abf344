#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A volume whose keys change while programs use it: volume_walk.py VOLUME_MOUNT [SECONDS [TEST …]]

Writers do the same to the mount and to a plain folder; when the walk has ended both are the same, and a scan finds nothing under
the former key.  Ends with 77 (skipped) only where nothing can be mounted."""
import contextlib
import hashlib
import json
import mmap
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time

MOUNT = os.path.abspath(sys.argv[1])
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 3
ROOT = os.geteuid() == 0
OLD, NEW = "former passphrase", "next passphrase"
UNLIMITED = {"duty": 1}
TESTS = []


def test(function):
    TESTS.append(function)
    return function


class Volume:
    def __init__(self, *options):
        self.base = tempfile.mkdtemp(prefix="coffer-walk-")
        os.chmod(self.base, 0o755)
        self.lower, self.mnt, self.plain, self.log = (
            os.path.join(self.base, name) for name in ("lower", "mnt", "plain", "log"))
        for folder in (self.lower, self.mnt, self.plain):
            os.mkdir(folder)
        self.options = options
        self.mount(OLD, NEW)

    def mount(self, key, other):
        """The first key writes, both open."""
        command = [MOUNT, "--log", self.log, "--format", "ecryptfs", "--key", key, "--old", other, "--next", other, *self.options]
        if not ROOT:
            command.append("--only-me")
        done = subprocess.run([*command, self.lower, self.mnt], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (done.returncode, done.stderr)

    def unmount(self):
        done = subprocess.run([MOUNT, "--unmount", self.mnt], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (done.returncode, done.stderr)

    def call(self, **request):
        done = subprocess.run([MOUNT, "--call", self.mnt, json.dumps(request)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (request, done.stderr)
        return json.loads(done.stdout)

    def refused(self, **request):
        done = subprocess.run([MOUNT, "--call", self.mnt, json.dumps(request)], capture_output=True, text=True, timeout=60)
        assert done.returncode != 0, request
        return done.stderr

    def pid(self):
        return self.call(command="status")["pid"]

    def kill(self):
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        while os.path.exists(f"/proc/{pid}"):
            time.sleep(0.01)
        subprocess.run(["fusermount3", "-u", "-z", self.mnt] if not ROOT else ["umount", "-l", self.mnt], check=True)

    def walk(self, work, pace=UNLIMITED, names=False):
        self.call(command="walk", work=work, pace=pace, names=names)

    def wait(self, seconds=240):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            progress = self.call(command="progress")
            if progress["ended"]:
                assert progress["end"] == 0, progress
                return progress
            time.sleep(0.05)
        raise AssertionError(("the walk does not end", progress))

    def expect_only_new(self):
        """Nothing is under the former key, whose name the volume says after it was changed."""
        scan = self.call(command="scan", key=self.old)
        assert self.old not in scan["keys"], scan
        assert scan["damaged"] == scan["plain"] == scan["other_keys"] == 0, scan
        assert not scan["found"], scan

    def change(self, names=False):
        reply = self.call(command="change", names=names)
        self.old, self.new = reply["old"], reply["new"]

    def hidden(self):
        return [os.path.join(folder, name) for folder, _, names in os.walk(self.lower) for name in names
                if name.startswith(".coffer") and name != ".coffer.mounted"]

    def path(self, *names):
        return os.path.join(self.mnt, *names)

    def drop(self):
        if os.path.ismount(self.mnt):
            subprocess.run([MOUNT, "--unmount", self.mnt], capture_output=True, timeout=60)
        if any(line.split()[4] == self.mnt for line in open("/proc/self/mountinfo")):
            subprocess.run(["fusermount3", "-u", "-z", self.mnt] if not ROOT else ["umount", "-l", self.mnt])
        shutil.rmtree(self.base, ignore_errors=True)


# ---- the same twice: on the mount and in a plain folder ----


class Pair:
    """A file system object reached by the same path in both."""

    def __init__(self, volume, zone, seed):
        self.roots = [os.path.join(volume.mnt, zone), os.path.join(volume.plain, zone)]
        self.random = random.Random(seed)
        self.files, self.folders, self.open = [], [""], []
        self.count = 0
        for root in self.roots:
            os.mkdir(root)

    def both(self, function, *paths):
        results = []
        for root in self.roots:
            try:
                results.append(function(*(os.path.join(root, path) for path in paths)))
            except OSError as error:
                results.append(error.errno)
        assert results[0] == results[1], (function, paths, results)
        return results[0]

    def fresh(self, kind):
        self.count += 1
        return os.path.join(self.random.choice(self.folders), f"{kind}{self.count}")

    def create(self):
        path = self.fresh("f")
        data = self.random.randbytes(self.random.choice([0, 1, 100, 4096, 5000, 70000, 300000]))

        def write(at):
            with open(at, "xb") as file:
                file.write(data)
        self.both(write, path)
        self.files.append(path)

    def change(self):
        path = self.random.choice(self.files)
        at, data = self.random.randrange(0, 200000), self.random.randbytes(self.random.choice([1, 33, 4096, 20000]))

        def write(name):
            with open(name, "r+b") as file:
                file.seek(at)
                file.write(data)
        self.both(write, path)

    def append(self):
        path, data = self.random.choice(self.files), self.random.randbytes(self.random.choice([1, 500, 9000]))

        def write(name):
            with open(name, "ab") as file:
                file.write(data)
                if len(data) == 500:
                    file.flush()
                    os.fsync(file.fileno())
        self.both(write, path)

    def truncate(self):
        path, size = self.random.choice(self.files), self.random.choice([0, 1, 4096, 5000, 100000])
        self.both(lambda name: os.truncate(name, size), path)

    def rename(self):
        i = self.random.randrange(len(self.files))
        new = self.fresh("r")
        self.both(os.rename, self.files[i], new)
        self.files[i] = new

    def rename_over(self):
        if len(self.files) < 5:
            return
        i, j = self.random.sample(range(len(self.files)), 2)
        self.both(os.rename, self.files[i], self.files[j])
        if self.both(os.path.exists, self.files[i]):
            return  # two names of one file: nothing happens
        del self.files[i]

    def link(self):
        path, new = self.random.choice(self.files), self.fresh("l")
        self.both(os.link, path, new)
        self.files.append(new)

    def unlink(self):
        if len(self.files) > 20:
            self.both(os.unlink, self.files.pop(self.random.randrange(len(self.files))))

    def unlink_open(self):
        """Removed, and used on."""
        if len(self.files) < 20:
            return
        path = self.files.pop(self.random.randrange(len(self.files)))
        handles = [open(os.path.join(root, path), "r+b", buffering=0) for root in self.roots]
        self.both(os.unlink, path)
        self.open.append(handles)
        if len(self.open) > 3:
            self.close(self.open.pop(0))

    def use_open(self):
        for handles in self.open:
            at, data = self.random.randrange(0, 50000), self.random.randbytes(700)
            for file in handles:
                file.seek(at)
                file.write(data)

    def close(self, handles):
        contents = []
        for file in handles:
            file.seek(0)
            contents.append(file.read())
            file.close()
        assert contents[0] == contents[1], "a removed file has other bytes"

    def folder(self):
        if len(self.folders) < 12:
            path = self.fresh("d")
            self.both(os.mkdir, path)
            self.folders.append(path)

    def move_folder(self):
        """With everything in it, into another one."""
        if len(self.folders) < 4:
            return
        old = self.random.choice(self.folders[1:])
        target = self.random.choice(self.folders)
        if target == old or target.startswith(old + "/"):
            return
        self.count += 1
        new = os.path.join(target, f"m{self.count}")
        self.both(os.rename, old, new)

        def moved(path):
            return new + path[len(old):] if path == old or path.startswith(old + "/") else path
        self.files = [moved(path) for path in self.files]
        self.folders = [moved(path) for path in self.folders]

    def map(self):
        path = self.random.choice(self.files)
        at, data = self.random.randrange(0, 3000), self.random.randbytes(2000)

        def write(name):
            if os.path.getsize(name) < 6000:
                return 0
            with open(name, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
                mapped[at:at + len(data)] = data
                mapped.flush()
            return 1
        self.both(write, path)

    def mode(self):
        path, mode = self.random.choice(self.files), self.random.choice([0o600, 0o644, 0o755, 0o444] if ROOT else [0o600, 0o755])
        self.both(lambda name: os.chmod(name, mode), path)

    def xattr(self):
        path, value = self.random.choice(self.files), self.random.randbytes(20)
        self.both(lambda name: os.setxattr(name, "user.note", value), path)

    def read(self):
        def content(name):
            with open(name, "rb") as file:
                return hashlib.sha256(file.read()).hexdigest()
        self.both(content, self.random.choice(self.files))

    STEPS = [(create, 6), (change, 12), (append, 8), (truncate, 4), (rename, 5), (rename_over, 2), (link, 2), (unlink, 4),
             (unlink_open, 2), (use_open, 4), (folder, 1), (move_folder, 3), (map, 3), (mode, 2), (xattr, 2), (read, 5)]

    def step(self):
        if not self.files:
            self.create()
        self.random.choices([s for s, _ in self.STEPS], [w for _, w in self.STEPS])[0](self)

    def finish(self):
        for handles in self.open:
            self.close(handles)
        self.open = []


def picture(root):
    """All there is to compare: names, kinds, modes, sizes, bytes, attributes, which names are one file."""
    out, inodes = {}, {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            where = os.path.relpath(path, root)
            info = os.lstat(path)
            entry = [stat.S_IFMT(info.st_mode), stat.S_IMODE(info.st_mode), info.st_uid]
            if stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    entry += [info.st_size, hashlib.sha256(file.read()).hexdigest(), info.st_nlink]
                entry.append({name: os.getxattr(path, name) for name in os.listxattr(path) if name == "user.note"})
                inodes.setdefault((info.st_dev, info.st_ino), []).append(where)
            elif stat.S_ISLNK(info.st_mode):
                entry.append(os.readlink(path))
            out[where] = entry
    return out, sorted(sorted(names) for names in inodes.values() if len(names) > 1)


def compare(volume):
    mounted, plain = picture(volume.mnt), picture(volume.plain)
    for where in sorted(set(mounted[0]) | set(plain[0])):
        assert mounted[0].get(where) == plain[0].get(where), (where, mounted[0].get(where), plain[0].get(where))
    assert mounted[1] == plain[1], "the same names are not one file"


class Load:
    """Workers with a zone each, until told to stop."""

    def __init__(self, volume, workers=3, seed=1):
        self.pairs = [Pair(volume, f"zone{i}", seed * 100 + i) for i in range(workers)]
        for pair in self.pairs:
            for _ in range(120):
                pair.step()
        self.failed, self.ended = [], threading.Event()
        self.steps = [0] * workers

    def run(self, i):
        try:
            while not self.ended.is_set():
                self.pairs[i].step()
                self.steps[i] += 1
        except BaseException as error:  # the test fails with it
            self.failed.append(error)

    def __enter__(self):
        self.threads = [threading.Thread(target=self.run, args=[i]) for i in range(len(self.pairs))]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *what):
        self.ended.set()
        for thread in self.threads:
            thread.join()
        if self.failed:
            raise self.failed[0]
        for pair in self.pairs:
            pair.finish()


def under_load(volume, work, **options):
    load = Load(volume)
    volume.change(options.get("names", False))
    with load:
        until = time.monotonic() + SECONDS
        volume.walk(work, **options)
        progress = volume.wait()
        assert progress["failed"] == 0, progress
        first = volume.call(command="scan", key=volume.old)
        assert volume.old not in first["keys"], first
        # Now that all of it is under the new key, it stays so while the load goes on.
        time.sleep(max(0, until - time.monotonic()))
        again = volume.call(command="scan", key=volume.old)
        assert volume.old not in again["keys"], again
    assert min(load.steps) > 20, load.steps
    compare(volume)
    volume.unmount()
    assert not volume.hidden(), volume.hidden()
    if options.get("names"):
        volume.options = (*volume.options, "--encrypt-names")
        assert all(name.startswith("ECRYPTFS_FNEK") for _, folders, files in os.walk(volume.lower) for name in folders + files)
    volume.mount(NEW, NEW)
    compare(volume)
    volume.expect_only_new()


@test
def headers_move_under_load():
    volume = yield
    under_load(volume, "rewrap")


@test
def files_are_written_anew_under_load():
    volume = yield
    under_load(volume, "reencrypt")


@test
def metadata_in_attributes_move_under_load():
    volume = yield ["--xattr-metadata", "--bits", "192"]
    under_load(volume, "rewrap")


@test
def attributes_and_files_are_written_anew_under_load():
    volume = yield ["--xattr-metadata", "--bits", "128", "--descriptors", "40"]
    under_load(volume, "reencrypt")


@test
def names_are_encrypted_under_load():
    volume = yield
    under_load(volume, "rewrap", names=True)


@test
def names_take_a_new_key_under_load_with_files_written_anew():
    volume = yield ["--encrypt-names"]
    under_load(volume, "reencrypt", names=True)


@test
def a_removed_file_in_use_moves_too():
    for work in ("rewrap", "reencrypt"):
        volume = yield
        data = os.urandom(300000)
        with open(volume.path("f"), "w+b", buffering=0) as file:
            file.write(data)
            os.unlink(volume.path("f"))
            volume.change()
            volume.walk(work)
            volume.wait()
            if ROOT:  # what the filesystem has open below
                folder = f"/proc/{volume.pid()}/fd"
                seen = 0
                for name in os.listdir(folder):
                    with contextlib.suppress(FileNotFoundError):
                        if os.readlink(f"{folder}/{name}").endswith("(deleted)") and \
                                os.readlink(f"{folder}/{name}").startswith(volume.lower):
                            with open(f"{folder}/{name}", "rb") as below:
                                header = below.read(512)
                            assert bytes.fromhex(volume.old) not in header
                            assert bytes.fromhex(volume.new) in header
                            seen += 1
                assert seen == 1, seen
            file.seek(1000)
            file.write(b"after")
            file.seek(0)
            assert file.read() == data[:1000] + b"after" + data[1005:]
        assert not volume.hidden(), volume.hidden()


@test
def a_mapped_file_keeps_what_is_written_through_the_mapping():
    volume = yield
    size = 3 << 20
    with open(volume.path("f"), "w+b") as file:
        file.write(bytes(size))
        file.flush()
        os.fsync(file.fileno())
        with mmap.mmap(file.fileno(), size) as mapped:
            volume.change()
            volume.walk("reencrypt", pace={"duty": 1, "bytes_per_second": 3 << 20})
            expected, rng = bytearray(size), random.Random(3)
            while not volume.call(command="progress")["ended"]:
                for _ in range(20):
                    at = rng.randrange(0, size - 100)
                    data = rng.randbytes(100)
                    mapped[at:at + 100] = data
                    expected[at:at + 100] = data
                mapped.flush()
            mapped[5:10] = b"after"
            expected[5:10] = b"after"
            mapped.flush()
    volume.wait()
    volume.expect_only_new()
    volume.unmount()
    volume.mount(NEW, NEW)
    assert open(volume.path("f"), "rb").read() == expected


@test
def it_pauses_goes_on_and_changes_its_pace():
    volume = yield
    for i in range(8):
        with open(volume.path(f"f{i}"), "wb") as file:
            file.write(os.urandom(1 << 20))
    volume.change()
    volume.walk("reencrypt", pace={"bytes_per_second": 1 << 20})
    time.sleep(0.6)
    assert "under way" in volume.refused(command="walk", work="rewrap")
    volume.call(command="pause")
    time.sleep(0.3)
    first = volume.call(command="progress")
    assert first["paused"] and not first["ended"] and first["bytes"] == 8 << 20, first
    time.sleep(0.7)
    second = volume.call(command="progress")
    assert second["bytes_done"] == first["bytes_done"] and second["bytes_done"] < 4 << 20, (first, second)
    volume.call(command="resume")
    volume.call(command="throttle", pace=UNLIMITED)
    start = time.monotonic()
    third = volume.wait()
    assert time.monotonic() - start < 6, "unlimited is slow"
    assert third["bytes_done"] == third["bytes"] and third["files_done"] == 8, third
    volume.expect_only_new()


@test
def stopped_it_goes_on_where_it_was():
    volume = yield
    for i in range(6):
        with open(volume.path(f"f{i}"), "wb") as file:
            file.write(os.urandom(1 << 20))
    volume.change()
    volume.walk("reencrypt", pace={"bytes_per_second": 2 << 20})
    while volume.call(command="progress")["files_done"] == 0:
        time.sleep(0.05)
    volume.call(command="stop-walk")
    assert not volume.hidden(), volume.hidden()
    volume.walk("reencrypt")
    progress = volume.wait()
    assert 0 < progress["files_skipped"] < 6 and progress["files_skipped"] + progress["files_done"] == 6, progress
    volume.expect_only_new()


@test
def a_killed_mount_loses_nothing():
    for work in ("rewrap", "reencrypt"):
        for round in range(3):
            volume = yield
            rng = random.Random(round)
            for i in range(150):
                name = f"f{i}"
                for root in (volume.mnt, volume.plain):
                    with open(os.path.join(root, name), "wb") as file:
                        file.write(random.Random(i).randbytes(i * 700 % 60000))
                if i % 10 == 0:
                    for root in (volume.mnt, volume.plain):
                        os.link(os.path.join(root, name), os.path.join(root, f"link{i}"))
            subprocess.run(["sync", "-f", volume.mnt], check=True)
            for name in os.listdir(volume.mnt):
                fd = os.open(volume.path(name), os.O_RDWR)
                os.fsync(fd)
                os.close(fd)
            volume.change()
            volume.walk(work)
            # While it walks, one file grows, and what is synced has to be there afterwards.
            log = os.open(volume.path("log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            other = os.open(os.path.join(volume.plain, "log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            until = time.monotonic() + rng.uniform(0.0, 0.5)
            while time.monotonic() < until:
                line = rng.randbytes(300)
                os.write(log, line)
                os.fsync(log)
                os.write(other, line)
            volume.kill()
            with contextlib.suppress(OSError):
                os.close(log)
            os.close(other)
            volume.mount(NEW, OLD)
            compare(volume)
            volume.old = volume.call(command="keys")["old"]
            volume.walk(work)
            volume.wait()
            compare(volume)
            volume.expect_only_new()
            volume.unmount()
            assert not volume.hidden(), volume.hidden()
            volume.mount(NEW, NEW)
            compare(volume)


def main():
    if not os.path.exists("/dev/fuse"):
        print("no /dev/fuse")
        return 77
    chosen = sys.argv[3:]
    failed = 0
    for function in TESTS:
        if chosen and function.__name__ not in chosen:
            continue
        start = time.monotonic()
        volume = None
        steps = function()
        try:
            options = next(steps)
            while True:
                volume = Volume(*(options or []))
                options = steps.send(volume)
                volume.drop()
        except StopIteration:
            print(f"ok      {function.__name__} ({time.monotonic() - start:.1f} s)", flush=True)
        except Exception as error:
            failed += 1
            import traceback
            traceback.print_exc()
            print(f"FAILED  {function.__name__}: {error!r:.2000}", flush=True)
            with contextlib.suppress(FileNotFoundError):
                print(open(volume.log, errors="replace").read())
        finally:
            if volume is not None:
                volume.drop()
    return 1 if failed else 0


sys.exit(main())
