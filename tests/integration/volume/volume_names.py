#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Names that change their form while a volume is in use: volume_names.py VOLUME_MOUNT [TEST …]

Random operations are seeded: COFFER_SEED repeats a run, COFFER_NAMES_OPS makes it longer.  Ends with 77 (skipped) only where nothing can be
mounted."""
import ctypes
import errno
import json
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
SEED = int(os.environ.get("COFFER_SEED", random.randrange(1 << 32)))
OPS = int(os.environ.get("COFFER_NAMES_OPS", "1000"))
ROOT = os.geteuid() == 0
SEALED = "ECRYPTFS_FNEK_ENCRYPTED."
LIBC = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE = 1, 2
TESTS = []

# A form of names: what it takes to mount it, and to change to it.
FIRST = {"keys": ["first"], "encrypt": True}
SECOND = {"keys": ["second"], "encrypt": True}
PLAIN = {"keys": ["first"], "encrypt": False}
SHORT = {"keys": ["first"], "encrypt": True, "bits": 128}


def test(function):
    TESTS.append(function)
    return function


def options_of(form, mixed=False):
    out = [word for key in form["keys"] for word in ("--name-key", key)]
    out += ["--encrypt-names"] if form["encrypt"] else []
    out += ["--name-bits", str(form["bits"])] if "bits" in form else []
    out += [word for cipher in form.get("former", []) for word in ("--former", cipher)]
    return out + (["--mixed-names"] if mixed else [])


def on_the_way(old, new):
    """`new`, with what it takes to read `old`."""
    mixed = dict(new, keys=new["keys"] + [key for key in old["keys"] if key not in new["keys"]])
    if old.get("bits", 256) != new.get("bits", 256):
        mixed["former"] = [f"aes-{old.get('bits', 256)}"]
    return mixed


class Volume:
    def __init__(self, form):
        self.base = tempfile.mkdtemp(prefix="coffer-names-")
        os.chmod(self.base, 0o755)
        self.lower, self.mnt, self.log, self.model = (os.path.join(self.base, name)
                                                      for name in ("lower", "mnt", "log", "model"))
        for path in (self.lower, self.mnt, self.model):
            os.mkdir(path)
        self.mount(form)

    def mount(self, form, mixed=False):
        command = [MOUNT, "--log", self.log, "--format", "ecryptfs", *options_of(form, mixed), *([] if ROOT else ["--only-me"]),
                   self.lower, self.mnt]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (done.returncode, done.stderr)

    def unmount(self):
        done = subprocess.run([MOUNT, "--unmount", self.mnt], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (done.returncode, done.stderr)

    def remount(self, form, mixed=False):
        self.unmount()
        self.mount(form, mixed)

    def call(self, **request):
        done = subprocess.run([MOUNT, "--call", self.mnt, json.dumps(request)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def change(self, form, mixed):
        self.call(command="names", mixed=mixed, **form)

    def forward(self):
        reply = self.call(command="forward")
        return {name: reply[name] for name in ("moved", "current", "failed")}

    def kill(self):
        pid = self.call(command="status")["pid"]
        os.kill(pid, signal.SIGKILL)
        while os.path.exists(f"/proc/{pid}"):
            time.sleep(0.01)
        subprocess.run(["fusermount3", "-u", "-z", self.mnt] if not ROOT else ["umount", "-l", self.mnt], check=True)

    def path(self, *names):
        return os.path.join(self.mnt, *names)

    def entries(self):
        """All lower entries but Coffer's own: folder's path and name."""
        return [(folder, name) for folder, folders, files in os.walk(self.lower) for name in folders + files
                if not name.startswith(".coffer")]

    def drop(self):
        if os.path.ismount(self.mnt):
            subprocess.run([MOUNT, "--unmount", self.mnt], capture_output=True, timeout=60)
        if os.path.ismount(self.mnt):
            subprocess.run(["fusermount3", "-u", "-z", self.mnt] if not ROOT else ["umount", "-l", self.mnt])
        shutil.rmtree(self.base, ignore_errors=True)


def rename(old, new, flags=0):
    if LIBC.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def write(path, data, flags=os.O_CREAT | os.O_TRUNC):
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def raises(code, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except OSError as error:
        assert error.errno == code, (errno.errorcode[error.errno], "expected", errno.errorcode[code])
        return
    raise AssertionError(f"no error, expected {errno.errorcode[code]}")


def describe(path):
    st = os.lstat(path)
    what = [stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode)]
    if stat.S_ISREG(st.st_mode):
        what += [st.st_nlink, st.st_size, read(path)]
    elif stat.S_ISLNK(st.st_mode):
        what += [st.st_size, os.readlink(path)]
    return what


def tree(top):
    out = {}
    for folder, folders, files in os.walk(top):
        names = folders + files
        assert len(names) == len(set(names)), names
        for name in names:
            path = os.path.join(folder, name)
            out[os.path.relpath(path, top)] = describe(path)
    return out


def assert_same(v):
    have, want = tree(v.mnt), tree(v.model)
    assert have == want, {name: (have.get(name), want.get(name)) for name in have.keys() | want.keys()
                          if have.get(name) != want.get(name)}


def assert_form(v, form):
    """Every lower name and target is in it."""
    reply = v.forward()
    assert reply["moved"] == 0 and reply["failed"] == {}, reply
    for folder, name in v.entries():
        assert name.startswith(SEALED) == form["encrypt"], name
        path = os.path.join(folder, name)
        if os.path.islink(path):
            assert os.readlink(path).startswith(SEALED) == form["encrypt"], name


# ---- random operations beside a plain folder ----

LONG = "long-" + "ü" * 69  # 143 bytes
NAMES = ["a", "b", "base", "pg_wal", "name with spaces", "\udcff\udcfe.bin", "x" * 15, "x" * 16, LONG, "..."]


class Application:
    """Does the same to the mount and to the model, and compares what comes of it."""

    def __init__(self, v, seed):
        self.v = v
        self.random = random.Random(seed)
        self.folders = ["", "d", os.path.join("d", "e"), "f"]
        self.open = []
        self.count = 0

    def both(self, what, function):
        outcomes = []
        for top in (self.v.mnt, self.v.model):
            try:
                outcomes.append(("ok", function(top)))
            except OSError as error:
                outcomes.append((errno.errorcode[error.errno], None))
        assert outcomes[0] == outcomes[1], (self.count, what, *outcomes)

    def name(self):
        return os.path.join(self.random.choice(self.folders), self.random.choice(NAMES + ["d", "e", "f"]))

    def data(self):
        return self.random.randbytes(self.random.choice([0, 1, 100, 5000]))

    def step(self):
        self.count += 1
        kind = self.random.choice(OPERATIONS)
        getattr(self, kind)()

    def write(self):
        name, data = self.name(), self.data()
        flags = self.random.choice([os.O_CREAT | os.O_TRUNC, os.O_CREAT | os.O_EXCL, os.O_CREAT | os.O_APPEND, os.O_TRUNC, 0])
        # A fifo without a reader says ENXIO, so nothing hangs.
        self.both(("write", name, flags), lambda top: write(os.path.join(top, name), data, flags | os.O_NONBLOCK))

    def keep_open(self):
        name, files = self.name(), []
        try:
            for top in (self.v.mnt, self.v.model):
                path = os.path.join(top, name)
                if not stat.S_ISREG(os.lstat(path).st_mode):
                    return
                files.append(os.open(path, os.O_RDWR))
        except OSError:
            return
        self.open.append((files, os.fstat(files[0]).st_ino))
        if len(self.open) > 10:
            self.close(*self.open.pop(0))

    def close(self, files, number):
        assert os.fstat(files[0]).st_ino == number
        data = self.data()
        for fd in files:
            os.pwrite(fd, data, 17)
        assert os.pread(files[0], 10000, 0) == os.pread(files[1], 10000, 0)
        assert os.fstat(files[0]).st_nlink == os.fstat(files[1]).st_nlink
        for fd in files:
            os.close(fd)

    def use_open(self):
        if self.open:
            self.close(*self.open.pop(self.random.randrange(len(self.open))))

    def unlink(self):
        name = self.name()
        self.both(("unlink", name), lambda top: os.unlink(os.path.join(top, name)))

    def mkdir(self):
        name = self.name() if self.random.random() < 0.5 else self.random.choice(self.folders[1:])
        self.both(("mkdir", name), lambda top: os.mkdir(os.path.join(top, name)))

    def rmdir(self):
        name = self.name()
        self.both(("rmdir", name), lambda top: os.rmdir(os.path.join(top, name)))

    def rename(self):
        old, new, flags = self.name(), self.name(), self.random.choice([0, 0, 0, NOREPLACE, EXCHANGE])
        self.both(("rename", old, new, flags), lambda top: rename(os.path.join(top, old), os.path.join(top, new), flags))

    def replace(self):
        """As databases write their settings: a new file over the old one."""
        name, data = self.name(), self.data()
        other = os.path.join(os.path.dirname(name), "new")
        self.both(("make", other), lambda top: write(os.path.join(top, other), data))
        self.both(("replace", name), lambda top: os.rename(os.path.join(top, other), os.path.join(top, name)))

    def link(self):
        old, new = self.name(), self.name()
        if os.path.islink(os.path.join(self.v.model, old)):
            return
        self.both(("link", old, new), lambda top: os.link(os.path.join(top, old), os.path.join(top, new)))

    def symlink(self):
        name, target = self.name(), self.random.choice(NAMES) + "/" + "t" * self.random.choice([0, 10, 300])
        self.both(("symlink", name), lambda top: os.symlink(target, os.path.join(top, name)))

    def mknod(self):
        name = self.name()
        self.both(("mkfifo", name), lambda top: os.mkfifo(os.path.join(top, name)))

    def look(self):
        name = self.name()
        self.both(("look", name), lambda top: describe(os.path.join(top, name)))

    def list(self):
        folder = self.random.choice(self.folders)
        self.both(("list", folder), lambda top: sorted(os.listdir(os.path.join(top, folder))))

    def chmod(self):
        name, mode = self.name(), self.random.choice([0o600, 0o644, 0o755])
        if os.path.islink(os.path.join(self.v.model, name)) or os.path.isdir(os.path.join(self.v.model, name)):
            return
        self.both(("chmod", name), lambda top: os.chmod(os.path.join(top, name), mode))

    def end(self):
        while self.open:
            self.use_open()


OPERATIONS = (["write"] * 6 + ["look"] * 4 + ["unlink", "rename", "replace", "symlink", "list"] * 3 +
              ["mkdir", "link", "keep_open"] * 2 + ["rmdir", "mknod", "use_open", "chmod"])


def random_transition(old, new, seed):
    v = Volume(old)
    stop = threading.Event()
    moved, errors = [0, 0], []

    def walker():
        while not stop.is_set():
            try:
                reply = v.forward()
                moved[0] += reply["moved"]
                moved[1] += 1
                if set(reply["failed"]) - {str(errno.ENOENT)}:
                    errors.append(reply)
            except Exception as error:  # pylint: disable=broad-except
                errors.append(error)
                return

    try:
        application = Application(v, seed)
        for _ in range(OPS // 2):
            application.step()
        v.change(on_the_way(old, new), True)
        for _ in range(OPS // 3):  # former forms stand about
            application.step()
        thread = threading.Thread(target=walker)
        thread.start()
        try:
            for n in range(OPS):
                application.step()
                # Back and forth, so that there is something to move all the time.
                if n % (OPS // 4 + 1) == OPS // 4:
                    v.change(on_the_way(new, old), True)
                elif n % (OPS // 4 + 1) == OPS // 8:
                    v.change(on_the_way(old, new), True)
        finally:
            stop.set()
            thread.join()
        assert not errors, errors
        assert moved[0] > 0, moved
        v.change(on_the_way(old, new), True)
        assert_same(v)
        reply = v.forward()
        assert reply["failed"] == {}, reply
        assert_form(v, new)
        assert_same(v)
        v.change(new, False)
        assert_same(v)
        application.end()
        for _ in range(OPS // 4):
            application.step()
        application.end()
        v.remount(new)
        assert_same(v)
        assert_form(v, new)
    finally:
        v.drop()


@test
def a_new_name_key_while_an_application_works():
    random_transition(FIRST, SECOND, SEED)


@test
def names_come_to_be_encrypted_while_an_application_works():
    random_transition(PLAIN, FIRST, SEED + 1)


@test
def names_come_to_be_plain_while_an_application_works():
    random_transition(SECOND, PLAIN, SEED + 2)


@test
def names_get_longer_keys_while_an_application_works():
    random_transition(SHORT, FIRST, SEED + 3)


# ---- one thing each ----


def volume_with_former(old=FIRST, new=SECOND):
    """Everything in `old`, read as `new`."""
    v = Volume(old)
    write(v.path("file"), b"content")
    os.mkdir(v.path("folder"))
    write(v.path("folder", "below"), b"below")
    os.symlink("../some/where", v.path("link"))
    os.mkfifo(v.path("fifo"))
    v.change(on_the_way(old, new), True)
    return v


@test
def what_stands_in_a_former_form_is_there():
    for old, new in ((FIRST, SECOND), (PLAIN, FIRST), (FIRST, PLAIN)):
        v = volume_with_former(old, new)
        try:
            for remounted in (False, True):
                if remounted:
                    v.remount(on_the_way(old, new), True)
                assert sorted(os.listdir(v.mnt)) == ["fifo", "file", "folder", "link"]
                for name in os.listdir(v.mnt):
                    path = v.path(name)
                    raises(errno.EEXIST, os.open, path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
                    raises(errno.EEXIST, os.mkdir, path)
                    raises(errno.EEXIST, os.symlink, "x", path)
                    raises(errno.EEXIST, os.mkfifo, path)
                    raises(errno.EEXIST, os.link, v.path("folder", "below"), path)
                    raises(errno.EEXIST, rename, v.path("folder", "below"), path, NOREPLACE)
                assert read(v.path("file")) == b"content"
                assert read(v.path("folder", "below")) == b"below"
                assert os.readlink(v.path("link")) == "../some/where"
            write(v.path("file"), b" more", os.O_CREAT | os.O_APPEND)
            rename(v.path("file"), v.path("folder", "below"), EXCHANGE)
            assert read(v.path("folder", "below")) == b"content more" and read(v.path("file")) == b"below"
            os.rename(v.path("folder", "below"), v.path("file"))
            os.rename(v.path("fifo"), v.path("folder", "fifo"))
            raises(errno.ENOTEMPTY, os.rmdir, v.path("folder"))
            os.unlink(v.path("folder", "fifo"))
            os.rmdir(v.path("folder"))
            os.unlink(v.path("link"))
            assert os.listdir(v.mnt) == ["file"]
            assert len(v.entries()) == 1, v.entries()
            v.forward()
            v.remount(new)
            assert read(v.path("file")) == b"content more"
        finally:
            v.drop()


@test
def a_name_in_two_forms_is_one():
    """Somebody made both below: the present one is shown, once, and none is left behind it."""
    for action in ("unlink", "over", "away", "rmdir"):
        v = Volume(FIRST)
        try:
            for form, data in ((FIRST, b"old"), (SECOND, b"new")):
                v.remount(form)
                if action == "rmdir":
                    os.mkdir(v.path("name"))
                else:
                    write(v.path("name"), data)
            write(v.path("other"), b"other")
            v.remount(on_the_way(FIRST, SECOND), True)
            assert sorted(os.listdir(v.mnt)) == ["name", "other"]
            assert v.forward()["failed"] == {str(errno.EEXIST): 1}
            assert action == "rmdir" or read(v.path("name")) == b"new"
            if action == "unlink":
                os.unlink(v.path("name"))
            elif action == "rmdir":
                os.rmdir(v.path("name"))
            elif action == "over":
                os.rename(v.path("other"), v.path("name"))
                assert read(v.path("name")) == b"other"
            else:
                os.rename(v.path("name"), v.path("other"))
                assert read(v.path("other")) == b"new"
            assert len(v.entries()) == 1, v.entries()
            assert v.forward()["failed"] == {}
            assert os.listdir(v.mnt) == ["name" if action == "over" else "other"]
        finally:
            v.drop()


@test
def a_name_too_long_to_be_encrypted_stays_as_it_is():
    v = Volume(PLAIN)
    try:
        fits, folder = "n" * 143, "d" * 255
        names = ["m" * 144, "o" * 255]
        for name in (fits, *names):
            write(v.path(name), name.encode())
        os.mkdir(v.path(folder))
        write(v.path(folder, "below"), b"below")
        os.symlink("t" * 3008, v.path("link"))
        v.change(on_the_way(PLAIN, FIRST), True)
        reply = v.forward()
        assert reply["failed"] == {str(errno.ENAMETOOLONG): 4} and reply["moved"] == 2, reply
        assert sorted(os.listdir(v.mnt)) == sorted([fits, folder, "link", *names])
        for name in (fits, *names):
            assert read(v.path(name)) == name.encode()
            write(v.path(name), b"!", os.O_CREAT | os.O_APPEND)
            raises(errno.EEXIST, os.open, v.path(name), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        assert os.readlink(v.path("link")) == "t" * 3008
        raises(errno.ENAMETOOLONG, write, v.path("q" * 144), b"")
        raises(errno.ENAMETOOLONG, os.rename, v.path(fits), v.path("q" * 144))
        # What replaces such a name takes its place, under the same form.
        write(v.path("new"), b"new")
        os.rename(v.path("new"), v.path(names[0]))
        assert read(v.path(names[0])) == b"new"
        os.rename(v.path(names[1]), v.path("short"))
        os.rename(v.path(folder), v.path("folder"))
        os.unlink(v.path("link"))
        os.unlink(v.path(names[0]))
        assert v.forward()["failed"] == {}
        v.remount(FIRST)
        assert sorted(os.listdir(v.mnt)) == sorted([fits, "folder", "short"])
        assert read(v.path("folder", "below")) == b"below"
    finally:
        v.drop()


@test
def a_link_made_anew_is_the_same_link():
    v = Volume(FIRST)
    try:
        os.symlink("target", v.path("link"))
        if ROOT:
            os.setxattr(v.path("link"), "trusted.mark", b"value", follow_symlinks=False)
            os.chown(v.path("link"), 1234, 4321, follow_symlinks=False)
        os.utime(v.path("link"), ns=(10**18 + 1, 10**18 + 2), follow_symlinks=False)
        os.utime(v.mnt, ns=(10**18 + 3, 10**18 + 4))
        lower = os.lstat(os.path.join(*v.entries()[0]))
        fd = os.open(v.path("link"), os.O_PATH | os.O_NOFOLLOW)
        before = os.fstat(fd)
        v.change(on_the_way(FIRST, SECOND), True)
        assert v.forward() == {"moved": 1, "current": 0, "failed": {}}
        assert v.forward() == {"moved": 0, "current": 1, "failed": {}}
        folder, name = v.entries()[0]
        assert os.lstat(os.path.join(folder, name)).st_ino != lower.st_ino
        assert os.stat(v.lower).st_mtime_ns == 10**18 + 4
        for st in (os.fstat(fd), os.lstat(v.path("link"))):
            assert (st.st_ino, st.st_uid, st.st_gid, st.st_mode, st.st_size, st.st_mtime_ns) == \
                (before.st_ino, before.st_uid, before.st_gid, before.st_mode, before.st_size, before.st_mtime_ns)
        assert os.readlink("", dir_fd=fd) == "target"
        os.close(fd)
        v.remount(SECOND)
        assert os.readlink(v.path("link")) == "target"
        st = os.lstat(v.path("link"))
        assert (st.st_uid, st.st_mtime_ns) == (before.st_uid, 10**18 + 2)
        if ROOT:
            assert st.st_uid == 1234
            assert os.getxattr(v.path("link"), "trusted.mark", follow_symlinks=False) == b"value"
    finally:
        v.drop()


@test
def a_reader_of_a_folder_meets_each_name_once():
    names = [f"file-{n:04}" for n in range(2000)]
    v = Volume(FIRST)
    try:
        for name in names:
            write(v.path(name), b"")
        with os.scandir(v.mnt) as early:  # in the middle when forms begin to change
            got = [next(early).name for _ in range(700)]
            v.change(on_the_way(FIRST, SECOND), True)
            with os.scandir(v.mnt) as late:
                late_got = [next(late).name for _ in range(700)]
                assert v.forward()["failed"] == {}
                late_got += [entry.name for entry in late]
            got += [entry.name for entry in early]
        assert sorted(got) == names and sorted(late_got) == names
        stop = threading.Event()

        def walk():
            flip = False
            while not stop.is_set():
                v.change(on_the_way(SECOND, FIRST) if flip else on_the_way(FIRST, SECOND), True)
                v.forward()
                flip = not flip

        thread = threading.Thread(target=walk)
        thread.start()
        try:
            for n in range(15):
                assert sorted(os.listdir(v.mnt)) == names
                with os.scandir(v.mnt) as entries:
                    seen = [entry.name for entry in entries if entry.stat(follow_symlinks=False).st_size == 0]
                assert sorted(seen) == names
        finally:
            stop.set()
            thread.join()
    finally:
        v.drop()


@test
def a_kill_in_between_loses_nothing():
    v = Volume(FIRST)
    try:
        for n in range(150):
            write(v.path(f"file-{n}"), str(n).encode())
            os.symlink(f"target-{n}" * (1 + n % 20), v.path(f"link-{n}"))
        want = tree(v.mnt)
        chance = random.Random(SEED)
        for n in range(6):
            old, new = (FIRST, SECOND) if n % 2 == 0 else (SECOND, FIRST)
            v.remount(on_the_way(old, new), True)
            call = subprocess.Popen([MOUNT, "--call", v.mnt, '{"command":"forward"}'], stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL)
            time.sleep(chance.uniform(0, 0.1))
            v.kill()
            call.wait()
            v.mount(on_the_way(old, new), True)
            assert tree(v.mnt) == want
            assert v.forward()["failed"] == {}
            assert not [name for name in os.listdir(v.lower) if name.startswith(".coffer.copy.")]
            assert tree(v.mnt) == want
    finally:
        v.drop()


@test
def names_are_brought_forward_offline():
    v = volume_with_former(PLAIN, SECOND)
    try:
        want = tree(v.mnt)
        v.unmount()
        form = on_the_way(PLAIN, SECOND)
        command = [MOUNT, *options_of(form, True), "--forward", v.lower]
        for moved in (5, 0):
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
            assert json.loads(done.stdout) == {"moved": moved, "current": 5 - moved, "failed": {}}
        v.mount(SECOND)
        assert tree(v.mnt) == want
        assert_form(v, SECOND)
    finally:
        v.drop()


def main():
    if not os.path.exists("/dev/fuse"):
        print("no /dev/fuse here")
        return 77
    print("seed", SEED, flush=True)
    wanted, failed = sys.argv[2:], 0
    for function in TESTS:
        if wanted and function.__name__ not in wanted:
            continue
        start = time.time()
        try:
            function()
            print(f"ok   {function.__name__} {time.time() - start:.1f} s", flush=True)
        except BaseException as error:
            import traceback
            if "cannot mount" in str(error) and function is TESTS[0]:
                print("this process may not mount:", error)
                return 77
            traceback.print_exc()
            print(f"FAIL {function.__name__}: {error}", flush=True)
            failed += 1
            if isinstance(error, KeyboardInterrupt):
                raise
    print(f"{failed} failed")
    return 1 if failed else 0


sys.exit(main())
