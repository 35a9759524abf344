#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What programs may expect of a mounted volume: volume_fs.py VOLUME_MOUNT FSX plain|ecryptfs|names|names-mixed [TEST …]

names is eCryptfs with encrypted names, AES-192, and metadata in an extended attribute; names-mixed, too, while its names may
stand in other forms.

Each test has a lower folder and a mount of its own.  Ends with 77 (skipped) only where nothing can be mounted."""
import contextlib
import ctypes
import errno
import fcntl
import glob
import json
import mmap
import os
import random
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

MOUNT, FSX = map(os.path.abspath, sys.argv[1:3])
KIND = sys.argv[3].removesuffix("-mixed")
MIXED = ["--mixed-names", "--name-key", "90", "--name-key", "51"] if sys.argv[3].endswith("-mixed") else []
PLAIN = KIND == "plain"
OPTIONS = {
    "plain": [],
    "ecryptfs": ["--format", "ecryptfs"],
    "names": ["--format", "ecryptfs", "--encrypt-names", "--xattr-metadata", "--bits", "192"],
}[KIND] + MIXED
PREFIX = "p." if PLAIN else ""
NAME_MAX = {"plain": 253, "ecryptfs": 255, "names": 143}[KIND]
HIDDEN = "user.plain" if PLAIN else "user.ecryptfs"
ROOT = os.geteuid() == 0
NOBODY = 65534
TESTS = []


class NotHere(Exception):
    """The test is about something else than what is mounted now."""


def test(function):
    TESTS.append(function)
    return function


def lower_size(size):
    if PLAIN:
        return 16 + size
    return (0 if KIND == "names" else 8192) + (size + 4095) // 4096 * 4096


class Volume:
    """A lower folder and its mount."""

    def __init__(self, *options):
        self.base = tempfile.mkdtemp(prefix="coffer-volume-")
        os.chmod(self.base, 0o755)
        self.lower, self.mnt, self.log = (os.path.join(self.base, name) for name in ("lower", "mnt", "log"))
        os.mkdir(self.lower)
        os.mkdir(self.mnt)
        self.mount(*options)

    def command(self, *options):
        if not ROOT:
            options = ("--only-me", *options)
        return [MOUNT, "--log", self.log, *OPTIONS, *options, self.lower, self.mnt]

    def mount(self, *options, code=0):
        self.options = options
        done = subprocess.run(self.command(*options), capture_output=True, text=True, timeout=60)
        assert done.returncode == code, (done.returncode, done.stderr)
        return done.stderr

    def unmount(self, code=0):
        done = subprocess.run([MOUNT, "--unmount", self.mnt], capture_output=True, text=True, timeout=60)
        assert done.returncode == code, (done.returncode, done.stderr)
        return done.stderr

    def remount(self, *options):
        self.unmount()
        self.mount(*(options or self.options))

    def call(self, **request):
        done = subprocess.run([MOUNT, "--call", self.mnt, json.dumps(request)], capture_output=True, text=True, timeout=60)
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr

    def kill(self):
        pid = self.call(command="status")["pid"]
        os.kill(pid, signal.SIGKILL)
        while os.path.exists(f"/proc/{pid}"):
            time.sleep(0.01)

    def path(self, *names):
        return os.path.join(self.mnt, *names)

    def below(self, *names):
        """The lower file of an upper name."""
        if KIND == "names":
            raise NotHere
        return os.path.join(self.lower, *(PREFIX + name for name in names))

    def name(self, upper):
        return os.path.basename(self.below(upper))

    def lines(self):
        with contextlib.suppress(FileNotFoundError):
            return open(self.log, errors="replace").read().splitlines()
        return []

    def drop(self):
        if is_mounted(self.mnt):
            subprocess.run([MOUNT, "--unmount", self.mnt], capture_output=True, timeout=60)
        if is_mounted(self.mnt):
            subprocess.run(["fusermount3", "-u", "-z", self.mnt] if not ROOT else ["umount", "-l", self.mnt])
        shutil.rmtree(self.base, ignore_errors=True)


def mounts_at(path):
    return sum(line.split()[4] == path for line in open("/proc/self/mountinfo"))


def is_mounted(path):
    return mounts_at(path) > 0


def raises(code, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except OSError as error:
        assert error.errno == code, (errno.errorcode[error.errno], "expected", errno.errorcode[code])
        return
    raise AssertionError(f"no error, expected {errno.errorcode[code]}")


def put(path, data, flags=0, mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags, mode)
    os.write(fd, data)
    os.close(fd)


def get(path):
    with open(path, "rb") as file:
        return file.read()


def evict(fd):
    """Out of the kernel's cache: the next access asks the filesystem."""
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def as_user(function, uid=NOBODY, gid=NOBODY, groups=(), umask=0o022):
    """Run in a child that is this user; its errno, 0 for none."""
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
            os.umask(umask)
            function()
        except OSError as error:
            code = error.errno
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 255
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---- names ----


@test
def errors_are_those_of_posix(v):
    os.mkdir(v.path("folder"))
    put(v.path("file"), b"1")
    put(v.path("folder", "inside"), b"1")
    raises(errno.EEXIST, os.open, v.path("file"), os.O_CREAT | os.O_EXCL | os.O_RDWR)
    raises(errno.EEXIST, os.mkdir, v.path("folder"))
    raises(errno.EEXIST, os.link, v.path("file"), v.path("folder", "inside"))
    raises(errno.EEXIST, os.symlink, "x", v.path("file"))
    raises(errno.ENOENT, os.open, v.path("none"), os.O_RDONLY)
    raises(errno.ENOENT, os.unlink, v.path("none"))
    raises(errno.ENOENT, os.rename, v.path("none"), v.path("other"))
    raises(errno.ENOTEMPTY, os.rmdir, v.path("folder"))
    raises(errno.ENOTDIR, os.rmdir, v.path("file"))
    raises(errno.EISDIR, os.unlink, v.path("folder"))
    raises(errno.EISDIR, os.open, v.path("folder"), os.O_RDWR)
    raises(errno.EISDIR, os.rename, v.path("file"), v.path("folder"))
    raises(errno.ENOTDIR, os.rename, v.path("folder"), v.path("file"))
    raises(errno.ENOTDIR, os.open, v.path("file", "below"), os.O_RDONLY)
    raises(errno.EINVAL, os.rename, v.path("folder"), v.path("folder", "sub"))
    raises(errno.EXDEV, os.link, v.path("file"), os.path.join(v.base, "outside"))
    raises(errno.EPERM, os.link, v.path("folder"), v.path("hard"))
    raises(errno.ELOOP, os.open, loop(v), os.O_RDONLY)
    raises(errno.EINVAL, os.truncate, v.path("file"), -1)
    os.mkdir(v.path("full"))
    put(v.path("full", "x"), b"")
    raises(errno.ENOTEMPTY, os.rename, v.path("folder"), v.path("full"))


def loop(v):
    os.symlink("loop", v.path("loop"))
    return v.path("loop")


@test
def long_and_odd_names(v):
    limit = os.statvfs(v.mnt).f_namemax
    assert limit == NAME_MAX, limit
    names = [b"n" * limit, b"m" * (limit - 1), b"o" * (limit // 2), b"\xff\xfe\x80", b"a b\nc,d", b"\xc3\xa9", b"-", b"...", b".hidden", b"p.x"]
    for name in names:
        put(os.path.join(v.mnt.encode(), name), name)
    raises(errno.ENAMETOOLONG, os.open, v.path("n" * (limit + 1)), os.O_CREAT | os.O_RDWR)
    raises(errno.ENAMETOOLONG, os.stat, v.path("n" * (limit + 1)))
    raises(errno.ENAMETOOLONG, os.mkdir, v.path("n" * 256))
    v.remount()
    assert sorted(os.listdir(v.mnt.encode())) == sorted(names)
    for name in names:
        assert get(os.path.join(v.mnt.encode(), name)) == name


@test
def foreign_and_reserved_lower_names_are_hidden(v):
    if not PLAIN:
        open(os.path.join(v.lower, ".coffer.copy-1"), "w").close()
        assert os.listdir(v.mnt) == []
        if KIND == "ecryptfs":
            raises(errno.ENOENT, os.stat, v.path(".coffer.copy-1"))
            raises(errno.EPERM, os.mkdir, v.path(".coffer.new"))
            raises(errno.EPERM, os.open, v.path(".coffer.new"), os.O_CREAT | os.O_RDWR)
        else:
            open(os.path.join(v.lower, "stranger"), "w").close()
            assert os.listdir(v.mnt) == (["stranger"] if MIXED else [])
        return
    open(os.path.join(v.lower, "stranger"), "w").close()
    open(os.path.join(v.lower, ".coffer.copy-1"), "w").close()
    os.mkdir(v.path("sub"))
    open(os.path.join(v.below("sub"), ".coffer.x"), "w").close()
    assert os.listdir(v.mnt) == ["sub"], os.listdir(v.mnt)
    assert os.listdir(v.path("sub")) == []
    raises(errno.ENOENT, os.stat, v.path("stranger"))
    os.unlink(os.path.join(v.below("sub"), ".coffer.x"))


@test
def hard_links_are_one_file(v):
    put(v.path("a"), b"one")
    os.mkdir(v.path("d"))
    os.link(v.path("a"), v.path("d", "b"))
    a, b = os.stat(v.path("a")), os.stat(v.path("d", "b"))
    assert a.st_ino == b.st_ino and a.st_nlink == b.st_nlink == 2
    with open(v.path("d", "b"), "ab") as file:
        file.write(b" two")
    assert get(v.path("a")) == b"one two"
    os.unlink(v.path("a"))
    assert os.stat(v.path("d", "b")).st_nlink == 1
    assert get(v.path("d", "b")) == b"one two"
    v.remount()
    os.link(v.path("d", "b"), v.path("c"))  # through a descriptor that comes from a handle
    assert os.stat(v.path("c")).st_ino == os.stat(v.path("d", "b")).st_ino
    os.symlink("target", v.path("s"))
    os.link(v.path("s"), v.path("s2"), follow_symlinks=False)
    assert os.readlink(v.path("s2")) == "target"


@test
def renames(v):
    libc = ctypes.CDLL(None, use_errno=True)

    def rename2(a, b, flags):
        if libc.renameat2(-100, v.path(a).encode(), -100, v.path(b).encode(), flags) != 0:
            raise OSError(ctypes.get_errno(), "renameat2")

    put(v.path("a"), b"a")
    put(v.path("b"), b"b")
    raises(errno.EEXIST, rename2, "a", "b", 1)
    rename2("a", "b", 2)
    assert get(v.path("a")) == b"b" and get(v.path("b")) == b"a"
    os.mkdir(v.path("d"))
    put(v.path("d", "in"), b"in")
    rename2("a", "d", 2)  # a file and a folder change places
    assert get(v.path("d")) == b"b" and get(v.path("a", "in")) == b"in"
    raises(errno.EINVAL, rename2, "b", "c", 4)  # whiteout
    with open(v.path("b"), "rb") as old:
        put(v.path("new"), b"new")
        os.rename(v.path("new"), v.path("b"))
        assert get(v.path("b")) == b"new"
        assert old.read() == b"a"  # what was replaced is still there for who has it open
        assert os.fstat(old.fileno()).st_nlink == 0
    os.rename(v.path("a"), v.path("moved"))
    assert get(v.path("moved", "in")) == b"in"
    os.rename(v.path("moved", "in"), v.path("out"))
    assert os.listdir(v.path("moved")) == []


@test
def symlinks(v):
    for target in ("x", "a/long/" + "t" * 3000, "/absolute", "../up"):
        os.symlink(target, v.path("link"))
        assert os.readlink(v.path("link")) == target
        assert os.lstat(v.path("link")).st_size == len(target)
        v.remount()
        assert os.readlink(v.path("link")) == target
        assert os.lstat(v.path("link")).st_size == len(target)
        if PLAIN:
            assert os.readlink(v.below("link")) == target[::-1]
        os.unlink(v.path("link"))
    put(v.path("file"), b"through")
    os.symlink("file", v.path("link"))
    assert get(v.path("link")) == b"through"
    os.utime(v.path("link"), ns=(5, 7), follow_symlinks=False)
    assert os.lstat(v.path("link")).st_mtime_ns == 7


@test
def special_files(v):
    os.mkfifo(v.path("fifo"))
    thread = threading.Thread(target=lambda: put(v.path("fifo"), b"through the pipe"))
    thread.start()
    assert get(v.path("fifo")) == b"through the pipe"
    thread.join()
    server = socket.socket(socket.AF_UNIX)
    server.bind(v.path("socket"))
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(v.path("socket"))
    assert stat.S_ISSOCK(os.stat(v.path("socket")).st_mode)
    if ROOT:
        os.mknod(v.path("null"), stat.S_IFCHR | 0o600, os.makedev(1, 3))
        assert os.stat(v.path("null")).st_rdev == os.makedev(1, 3)
    client.close()
    server.close()
    os.mknod(v.path("regular"), stat.S_IFREG | 0o640)
    put(v.path("regular"), b"x")
    v.remount()
    assert stat.S_ISFIFO(os.stat(v.path("fifo")).st_mode)
    assert get(v.path("regular")) == b"x"


@test
def folders_are_read_whole_while_they_change(v):
    names = {f"file-{i:05}" for i in range(1500)}
    for name in names:
        os.mknod(v.path(name), stat.S_IFREG | 0o600)
    assert set(os.listdir(v.mnt)) == names
    seen = set()
    with os.scandir(v.mnt) as entries:
        for entry in entries:
            assert entry.inode() == os.lstat(entry.path).st_ino
            os.unlink(entry.path)
            seen.add(entry.name)
    assert seen == names and os.listdir(v.mnt) == []


# ---- data ----


@test
def an_appended_file_synced_twice_has_its_data_once(v):
    fd = os.open(v.path("log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    for part in (b"aaaa", b"bbbb", b"cccc"):
        os.write(fd, part)
        os.fsync(fd)
    os.close(fd)
    assert get(v.path("log")) == b"aaaabbbbcccc"
    v.remount()
    assert get(v.path("log")) == b"aaaabbbbcccc"
    fd = os.open(v.path("log"), os.O_WRONLY | os.O_APPEND)
    os.pwrite(fd, b"dddd", 0)  # appends, as Linux has it
    evict(fd)
    assert get(v.path("log")) == b"aaaabbbbccccdddd"
    os.close(fd)


@test
def a_write_only_file_takes_partial_writes_after_eviction(v):
    data = bytearray(os.urandom(20000))
    fd = os.open(v.path("f"), os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(fd, data)
    evict(fd)
    os.pwrite(fd, b"middle", 7001)
    data[7001:7007] = b"middle"
    evict(fd)
    os.close(fd)
    assert get(v.path("f")) == data
    os.chmod(v.path("f"), 0o200)
    fd = os.open(v.path("f"), os.O_WRONLY)
    os.pwrite(fd, b"again", 100)
    evict(fd)
    os.close(fd)
    os.chmod(v.path("f"), 0o600)
    data[100:105] = b"again"
    v.remount()
    assert get(v.path("f")) == data


@test
def sizes_survive_a_remount(v):
    sizes = [0, 1, 4095, 4096, 4097, 8192, 100000, 1048577]
    for size in sizes:
        put(v.path(f"w{size}"), b"x" * size)
        fd = os.open(v.path(f"t{size}"), os.O_CREAT | os.O_RDWR)
        os.write(fd, b"y" * 5000)
        os.ftruncate(fd, size)
        os.close(fd)
    fd = os.open(v.path("open"), os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, b"end", 300000)
    os.close(fd)
    v.remount()
    for size in sizes:
        assert os.stat(v.path(f"w{size}")).st_size == size
        assert get(v.path(f"w{size}")) == b"x" * size
        assert get(v.path(f"t{size}")) == (b"y" * 5000).ljust(size, b"\0")[:size]
        if KIND != "names":
            assert os.stat(v.below(f"w{size}")).st_size == lower_size(size)
    assert get(v.path("open")) == b"\0" * 300000 + b"end"
    put(v.path("open"), b"cut")
    assert get(v.path("open")) == b"cut"


@test
def an_unlinked_file_lives_until_it_is_closed(v):
    fd = os.open(v.path("gone"), os.O_CREAT | os.O_RDWR)
    os.write(fd, b"before")
    os.unlink(v.path("gone"))
    put(v.path("gone"), b"another")
    evict(fd)
    os.pwrite(fd, b" after", 6)
    evict(fd)
    assert os.pread(fd, 100, 0) == b"before after"
    assert os.fstat(fd).st_nlink == 0 and os.fstat(fd).st_size == 12
    os.ftruncate(fd, 3)
    os.fchmod(fd, 0o600)
    assert os.pread(fd, 100, 0) == b"bef"
    assert os.fstat(fd).st_ino != os.stat(v.path("gone")).st_ino
    os.close(fd)
    assert get(v.path("gone")) == b"another"
    os.mkdir(v.path("d"))
    fd = os.open(v.path("d"), os.O_RDONLY)
    os.rmdir(v.path("d"))
    assert os.fstat(fd).st_nlink == 0 and os.listdir(fd) == []
    os.close(fd)


@test
def shared_maps(v):
    fd = os.open(v.path("map"), os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, 100000)
    with mmap.mmap(fd, 100000) as one, mmap.mmap(fd, 100000) as two:
        one[50000:50005] = b"hello"
        assert two[50000:50005] == b"hello"
        assert os.pread(fd, 5, 50000) == b"hello"
        os.pwrite(fd, b"world", 70000)
        assert one[70000:70005] == b"world"
        one.flush()
    os.close(fd)
    v.remount()
    data = get(v.path("map"))
    assert data[50000:50005] == b"hello" and data[70000:70005] == b"world" and data.count(0) == 99990


@test
def direct_and_synchronous_io(v):
    buffer = mmap.mmap(-1, 65536)
    buffer[:] = bytes(random.Random(1).randbytes(65536))
    fd = os.open(v.path("direct"), os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    assert os.pwritev(fd, [buffer], 0) == 65536
    other = mmap.mmap(-1, 65536)
    assert os.preadv(fd, [other], 0) == 65536 and other[:] == buffer[:]
    os.close(fd)
    assert get(v.path("direct")) == buffer[:]
    for flag in (os.O_DSYNC, os.O_SYNC):
        fd = os.open(v.path("sync"), os.O_CREAT | os.O_RDWR | flag)
        before = v.call(command="status")["syncs"]
        os.pwrite(fd, b"12345", 3)
        assert v.call(command="status")["syncs"] == before + 1
        os.close(fd)
    folder = os.open(v.mnt, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


@test
def log_segments_take_one_request_a_synchronous_write(v):
    os.mkdir(v.path("pg_wal"))
    made, used = v.path("pg_wal", "xlogtemp.1"), v.path("pg_wal", "0000000100000000000000A1")
    put(made, bytes(1 << 20))
    fd = os.open(made, os.O_RDWR)
    os.fsync(fd)
    os.close(fd)
    os.rename(made, used)
    fd = os.open(used, os.O_RDWR | os.O_DSYNC)
    os.pwrite(fd, b"0" * 8192, 0)
    before = v.call(command="status")
    for i in range(50):
        os.pwrite(fd, bytes([i]) * 8192, i * 8192)
    after = v.call(command="status")
    made = after["requests"] - before["requests"]
    assert made == 50, f"{made} requests for 50 writes"
    assert after["writes"] - before["writes"] == 50 and after["syncs"] == before["syncs"]
    # Another descriptor without O_DSYNC sees and syncs the same bytes.
    second = os.open(used, os.O_RDWR)
    assert os.pread(second, 8192, 8192 * 7) == bytes([7]) * 8192
    os.pwrite(second, b"last", 0)
    os.fsync(second)
    assert os.pread(fd, 4, 0) == b"last"
    with contextlib.suppress(OSError):  # kernels before 6.6 do not map such files
        with mmap.mmap(second, 4096) as mapped:
            assert mapped[:4] == b"last"
    # Used again under another name by a rename, and archived under a name that is none of a segment.
    os.close(fd)
    os.close(second)
    again = v.path("pg_wal", "0000000100000000000000B2")
    os.rename(used, again)
    fd = os.open(again, os.O_RDWR | os.O_DSYNC)
    before = v.call(command="status")["requests"]
    os.pwrite(fd, b"x" * 8192, 0)
    assert v.call(command="status")["requests"] - before == 1
    os.close(fd)
    os.rename(again, v.path("archived"))
    data = get(v.path("archived"))
    assert data[:8192] == b"x" * 8192 and data[8192 * 3 : 8192 * 4] == bytes([3]) * 8192 and len(data) == 1 << 20
    v.remount()
    assert get(v.path("archived")) == data


@test
def a_cached_file_that_was_direct_shows_what_was_written_directly(v):
    os.mkdir(v.path("pg_wal"))
    segment, other = v.path("pg_wal", "0" * 24), v.path("other")
    put(other, b"a" * 8192)
    assert get(other) == b"a" * 8192  # in the kernel's cache
    os.rename(other, segment)
    fd = os.open(segment, os.O_RDWR | os.O_DSYNC)
    os.pwrite(fd, b"b" * 8192, 0)
    os.close(fd)
    os.rename(segment, other)
    assert get(other) == b"b" * 8192


@test
def log_segments_that_are_synced_by_hand_are_cached(v):
    """A database that fills its log faster than it syncs it pays no request a page."""
    os.mkdir(v.path("pg_wal"))
    fd = os.open(v.path("pg_wal", "0" * 24), os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, bytes(1 << 20), 0)
    before = v.call(command="status")["writes"]
    for i in range(128):
        os.pwrite(fd, bytes([i]) * 8192, i * 8192)
    os.fdatasync(fd)
    made = v.call(command="status")["writes"] - before
    assert made < 20, f"{made} write requests for 128 pages and one sync"
    os.close(fd)


def commit(fd, data):
    os.pwrite(fd, data, 0)
    os.fdatasync(fd)


@test
def a_sync_after_each_write_begins_early(v):
    fd = os.open(v.path("log"), os.O_CREAT | os.O_RDWR)
    commit(fd, bytes(8192))
    for i in range(4):
        commit(fd, bytes([i]) * 8192)
    before = v.call(command="status")
    for i in range(50):
        commit(fd, bytes([i]) * 8192)
    after = v.call(command="status")
    assert after["syncs"] - before["syncs"] == 50
    # Most: the kernel may write a page by itself before it is asked to.
    assert after["early_syncs"] - before["early_syncs"] >= 40, after
    # What changes after an early sync began is not covered by it, and a full sync is never an early one.
    os.pwrite(fd, b"x" * 8192, 0)
    os.ftruncate(fd, 5000)
    os.fdatasync(fd)
    before = v.call(command="status")["early_syncs"]
    for i in range(10):
        os.pwrite(fd, b"y" * 4096, 0)
        os.fsync(fd)
    assert v.call(command="status")["early_syncs"] == before
    os.close(fd)


@test
def no_sync_begins_early_when_it_is_not_expected(v):
    fd = os.open(v.path("pg_wal"), os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    with mmap.mmap(-1, 8192) as block:
        for i in range(20):
            for j in range(3):
                os.pwritev(fd, [block], j * 8192)
            os.fdatasync(fd)
    assert v.call(command="status")["early_syncs"] == 0
    os.close(fd)


@test
def a_failed_early_sync_is_told(v):
    if not PLAIN:
        raise NotHere
    fd = os.open(v.path("log"), os.O_CREAT | os.O_RDWR)

    def regular():
        for _ in range(5):
            commit(fd, b"fine" * 100)

    regular()
    os.pwrite(fd, b"NOSYNC", 0)
    raises(errno.EIO, os.fdatasync, fd)
    # To the next one who asks, if nobody did in time; once.
    for _ in range(50):
        regular()
        wait = os.open(v.path("log"), os.O_RDWR | os.O_DIRECT)
        with mmap.mmap(-1, 4096) as block:
            block[:6] = b"NOSYNC"
            os.pwritev(wait, [block], 0)  # a write request now, and an early sync
            time.sleep(0.02)
            block[:6] = b"better"
            os.pwritev(wait, [block], 0)
        try:
            os.fdatasync(wait)
        except OSError as error:
            assert error.errno == errno.EIO
            os.fdatasync(wait)
            break
        finally:
            os.close(wait)
    else:
        raise AssertionError("no early sync's failure was told")
    os.close(fd)


@test
def buffered_writes_ask_for_no_attribute(v):
    """Without FUSE_HANDLE_KILLPRIV_V2 each write costs a request for security.capability."""
    fd = os.open(v.path("f"), os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, bytes(1 << 20), 0)
    before = v.call(command="status")["requests"]
    for i in range(1000):
        os.pwrite(fd, b"x" * 512, i * 512)
    made = v.call(command="status")["requests"] - before
    assert made < 100, f"{made} requests for 1000 cached writes"
    os.close(fd)


@test
def allocate_copy_and_holes(v):
    fd = os.open(v.path("f"), os.O_CREAT | os.O_RDWR)
    os.posix_fallocate(fd, 0, 50000)
    assert os.fstat(fd).st_size == 50000 and os.pread(fd, 50000, 0) == bytes(50000)
    os.pwrite(fd, b"data" * 1000, 0)
    assert os.lseek(fd, 0, os.SEEK_DATA) == 0
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 50000  # a volume has no holes
    raises(errno.ENXIO, os.lseek, fd, 50000, os.SEEK_DATA)
    out = os.open(v.path("copy"), os.O_CREAT | os.O_RDWR)
    assert os.copy_file_range(fd, out, 50000, 0, 10) == 50000
    assert os.pread(out, 60010, 0) == bytes(10) + b"data" * 1000 + bytes(46000)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.fallocate(fd, 0x20, ctypes.c_long(0), ctypes.c_long(4096)) == -1  # insert range: no
    assert ctypes.get_errno() == errno.EOPNOTSUPP
    os.close(fd)
    os.close(out)


@test
def locks(v):
    put(v.path("f"), b"x")
    fd = os.open(v.path("f"), os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 1, 5)

    def other(code):
        mine = os.open(v.path("f"), os.O_RDWR)
        if code == "posix":
            fcntl.lockf(mine, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 5)
        else:
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def child(code):
        pid = os.fork()
        if pid == 0:
            try:
                other(code)
            except OSError as error:
                os._exit(error.errno)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert child("posix") == errno.EAGAIN
    fcntl.lockf(fd, fcntl.LOCK_UN, 1, 5)
    assert child("posix") == 0
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert child("flock") == errno.EAGAIN
    os.close(fd)
    assert child("flock") == 0


# ---- attributes and rights ----


@test
def times_and_modes_last(v):
    put(v.path("f"), b"x" * 5000)
    os.chmod(v.path("f"), 0o4751)
    os.utime(v.path("f"), ns=(1_000_000_000_123_456_789, 1_234_567_890_987_654_321))
    os.mkdir(v.path("d"), 0o700)
    os.chmod(v.path("d"), 0o1777)
    put(v.path("written"), b"1")
    time.sleep(0.02)
    put(v.path("written"), b"2")
    written = os.stat(v.path("written")).st_mtime_ns
    v.remount()
    st = os.stat(v.path("f"))
    assert st.st_mtime_ns == 1_234_567_890_987_654_321 and stat.S_IMODE(st.st_mode) == 0o4751
    assert stat.S_IMODE(os.stat(v.path("d")).st_mode) == 0o1777
    assert os.stat(v.path("written")).st_mtime_ns == written  # the kernel's own clock was kept
    assert st.st_blocks * 512 >= 5000


@test
def extended_attributes(v):
    put(v.path("f"), b"x")
    os.mkdir(v.path("d"))
    for name in ("f", "d"):
        raises(errno.EPERM, os.setxattr, v.path(name), HIDDEN, b"x")
        os.setxattr(v.path(name), "user.a", b"value")
        os.setxattr(v.path(name), "user.empty", b"")
        assert sorted(os.listxattr(v.path(name))) == ["user.a", "user.empty"]
        assert os.getxattr(v.path(name), "user.a") == b"value"
        raises(errno.ENODATA, os.getxattr, v.path(name), "user.none")
        raises(errno.EEXIST, os.setxattr, v.path(name), "user.a", b"", os.XATTR_CREATE)
        raises(errno.ENODATA, os.setxattr, v.path(name), "user.b", b"", os.XATTR_REPLACE)
        os.removexattr(v.path(name), "user.empty")
    # The format's own attribute is not there for anybody above.
    if KIND != "names":  # where it is in use anyway
        os.setxattr(v.below("f"), HIDDEN, b"secret")
    assert os.listxattr(v.path("f")) == ["user.a"]
    raises(errno.ENODATA, os.getxattr, v.path("f"), HIDDEN)
    raises(errno.EPERM, os.removexattr, v.path("f"), HIDDEN)
    v.remount()
    assert os.getxattr(v.path("f"), "user.a") == b"value"


@test
def files_belong_to_who_makes_them(v):
    if not ROOT:
        return
    os.chmod(v.mnt, 0o777)

    def make():
        put(v.path("mine"), b"x", mode=0o666)
        os.mkdir(v.path("folder"), 0o777)
        os.symlink("x", v.path("link"))
        os.mkfifo(v.path("fifo"), 0o666)

    assert as_user(make, umask=0o027) == 0
    for name, mode in (("mine", 0o640), ("folder", 0o750), ("link", None), ("fifo", 0o640)):
        for st in [os.lstat(v.path(name))] + ([os.lstat(v.below(name))] if KIND != "names" else []):
            assert (st.st_uid, st.st_gid) == (NOBODY, NOBODY), name
            assert mode is None or stat.S_IMODE(st.st_mode) == mode, (name, oct(st.st_mode))
    # A folder's group goes to what is made in it; a group of the caller's may be enough to write there.
    os.mkdir(v.path("team"))
    os.chown(v.path("team"), 0, 12345)
    os.chmod(v.path("team"), 0o2770)
    assert as_user(lambda: put(v.path("team", "f"), b"x")) == errno.EACCES
    assert as_user(lambda: put(v.path("team", "f"), b"x"), groups=[12345]) == 0
    st = os.stat(v.path("team", "f"))
    assert (st.st_uid, st.st_gid) == (NOBODY, 12345)
    # And the other way: what is not theirs is not.
    put(v.path("root"), b"x", mode=0o600)
    assert as_user(lambda: get(v.path("root"))) == errno.EACCES
    assert as_user(lambda: os.chmod(v.path("root"), 0o777)) == errno.EPERM
    assert as_user(lambda: os.chown(v.path("mine"), 0, 0)) == errno.EPERM
    os.mkdir(v.path("sticky"))
    os.chmod(v.path("sticky"), 0o1777)
    put(v.path("sticky", "root"), b"x")
    assert as_user(lambda: os.unlink(v.path("sticky", "root"))) == errno.EPERM


@test
def set_user_id_goes_with_a_write(v):
    if not ROOT:
        return
    os.chmod(v.mnt, 0o777)

    def mode():
        return stat.S_IMODE(os.stat(v.path("f")).st_mode)

    def write():
        fd = os.open(v.path("f"), os.O_WRONLY)
        os.write(fd, b"x")
        os.close(fd)

    def fresh():
        os.chown(v.path("f"), NOBODY, NOBODY)
        os.chmod(v.path("f"), 0o6777)
        assert mode() == 0o6777

    put(v.path("f"), b"12345", mode=0o777)
    fresh()
    assert as_user(write) == 0
    assert mode() == 0o777, oct(mode())
    if KIND != "names":
        assert stat.S_IMODE(os.stat(v.below("f")).st_mode) == 0o777
    fresh()
    assert as_user(lambda: os.truncate(v.path("f"), 2)) == 0
    assert mode() == 0o777, oct(mode())
    fresh()
    assert as_user(lambda: os.close(os.open(v.path("f"), os.O_WRONLY | os.O_TRUNC))) == 0
    assert mode() == 0o777, oct(mode())
    fresh()
    write()  # root keeps it
    assert mode() == 0o6777, oct(mode())
    os.chown(v.path("f"), NOBODY, 0)
    assert mode() == 0o777, oct(mode())


@test
def access_control_lists(v):
    if not ROOT or shutil.which("setfacl") is None:
        return
    try:
        subprocess.run(["setfacl", "-m", "u:12345:r", v.lower], check=True, capture_output=True)
    except subprocess.CalledProcessError:
        return  # the lower filesystem has none
    subprocess.run(["setfacl", "-b", v.lower], check=True)
    put(v.path("f"), b"x", mode=0o600)
    assert as_user(lambda: get(v.path("f"))) == errno.EACCES
    subprocess.run(["setfacl", "-m", f"u:{NOBODY}:r", v.path("f")], check=True)
    assert as_user(lambda: get(v.path("f"))) == 0
    os.mkdir(v.path("d"))
    subprocess.run(["setfacl", "-d", "-m", f"u:{NOBODY}:rwx", v.path("d")], check=True)
    put(v.path("d", "new"), b"x", mode=0o660)
    assert as_user(lambda: get(v.path("d", "new"))) in (0, errno.EACCES)
    assert b"\x02" in os.getxattr(v.path("d", "new"), "system.posix_acl_access")


# ---- mounts ----


@test
def a_second_mount_of_one_folder_is_refused(v):
    other = os.path.join(v.base, "other")
    os.mkdir(other)
    done = subprocess.run([MOUNT, *OPTIONS, "--only-me", v.lower, other], capture_output=True, text=True)
    assert done.returncode == 15 and "mounted already" in done.stderr, done
    put(v.path("f"), b"still fine")
    v.unmount()
    done = subprocess.run([MOUNT, *OPTIONS, "--only-me", v.lower, other], capture_output=True, text=True)
    assert done.returncode == 0, done
    assert get(os.path.join(other, "f")) == b"still fine"
    subprocess.run([MOUNT, "--unmount", other], check=True)


@test
def mount_points_are_checked(v):
    v.unmount()
    assert "no such folder" in subprocess.run([MOUNT, v.lower, v.path("no")], capture_output=True, text=True).stderr
    put(os.path.join(v.base, "plain"), b"")
    assert "not a folder" in subprocess.run([MOUNT, v.lower, v.base + "/plain"], capture_output=True, text=True).stderr
    put(v.path("content"), b"")
    assert "not empty" in v.mount(code=11)
    os.unlink(v.path("content"))
    os.mkdir(os.path.join(v.lower, "in"))
    assert "inside" in subprocess.run([MOUNT, v.lower, v.lower + "/in"], capture_output=True, text=True).stderr
    done = subprocess.run([MOUNT, v.base + "/none", v.mnt], capture_output=True, text=True)
    assert done.returncode == 10 and "none" in done.stderr, done
    assert not is_mounted(v.mnt)
    done = subprocess.run([MOUNT, "--unmount", v.mnt], capture_output=True, text=True)
    assert done.returncode == 10 and "no volume" in done.stderr, done
    # Over itself, as people have it in their fstab.
    done = subprocess.run([MOUNT, *OPTIONS, "--only-me", v.lower, v.lower], capture_output=True, text=True)
    assert done.returncode == 0, done
    put(os.path.join(v.lower, "over"), b"itself")
    subprocess.run([MOUNT, "--unmount", v.lower], check=True)
    assert len(os.listdir(v.lower)) == 2
    v.mount()
    assert get(v.path("over")) == b"itself"


@test
def a_busy_volume_is_not_unmounted(v):
    fd = os.open(v.path("f"), os.O_CREAT | os.O_RDWR)
    assert "in use" in v.unmount(code=15)
    os.write(fd, b"x")
    assert v.call(command="unmount").endswith("in use\n")
    os.close(fd)
    assert v.call(command="unmount")["ok"]
    assert not is_mounted(v.mnt)


@test
def sigterm_unmounts(v):
    put(v.path("f"), b"x" * 100000)
    pid = v.call(command="status")["pid"]
    os.kill(pid, signal.SIGTERM)
    wait_gone(pid)
    assert not is_mounted(v.mnt)
    v.mount()
    assert get(v.path("f")) == b"x" * 100000


@test
def sigterm_leaves_a_busy_volume_to_its_users(v):
    fd = os.open(v.path("f"), os.O_CREAT | os.O_RDWR)
    pid = v.call(command="status")["pid"]
    os.kill(pid, signal.SIGTERM)
    deadline = time.time() + 20
    while is_mounted(v.mnt) and time.time() < deadline:
        time.sleep(0.01)
    assert not is_mounted(v.mnt)
    os.write(fd, b"still served")
    os.fsync(fd)
    assert os.pread(fd, 100, 0) == b"still served"
    os.close(fd)
    wait_gone(pid)
    assert any("in use" in line for line in v.lines())
    v.mount()
    assert get(v.path("f")) == b"still served"


def wait_gone(pid):
    deadline = time.time() + 30
    while os.path.exists(f"/proc/{pid}") and open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.time() < deadline, "the process does not end"
        time.sleep(0.01)


@test
def what_was_synced_survives_kill_9(v):
    fd = os.open(v.path("f"), os.O_CREAT | os.O_RDWR)
    for i in range(50):
        os.pwrite(fd, bytes([i]) * 4096, i * 4096)
        os.fsync(fd)
    v.kill()
    raises(errno.ENOTCONN, os.stat, v.path("f"))
    with contextlib.suppress(OSError):
        os.close(fd)
    v.mount()
    assert mounts_at(v.mnt) == 1  # the dead one was taken away
    data = get(v.path("f"))
    assert len(data) == 50 * 4096 and all(data[i * 4096] == i for i in range(50))
    assert subprocess.run([MOUNT, "--crashed", v.lower], capture_output=True, text=True).stdout == "0\n"
    v.kill()
    os.unlink(os.path.join(v.lower, ".coffer.mounted"))  # a link, not to be written through
    with open(os.path.join(v.lower, ".coffer.mounted"), "w") as mark:  # as after a reboot
        mark.write("00000000-0000-0000-0000-000000000000")
    assert subprocess.run([MOUNT, "--crashed", v.lower], capture_output=True, text=True).stdout == "1\n"
    os.stat(v.mnt)  # from the kernel's cache, although nobody serves it
    v.mount()
    assert mounts_at(v.mnt) == 1
    v.unmount()
    assert subprocess.run([MOUNT, "--crashed", v.lower], capture_output=True, text=True).stdout == "0\n"
    assert not os.path.lexists(os.path.join(v.lower, ".coffer.mounted"))


@test
def read_only(v):
    put(v.path("f"), b"x")
    v.unmount()
    before = os.stat(v.lower).st_mtime_ns
    v.mount("--read-only")
    assert get(v.path("f")) == b"x"
    raises(errno.EROFS, os.open, v.path("f"), os.O_RDWR)
    raises(errno.EROFS, os.mkdir, v.path("d"))
    v.unmount()
    assert os.stat(v.lower).st_mtime_ns == before


@test
def control_channel(v):
    status = v.call(command="status")
    assert status["lower"] == v.lower and status["mount"] == v.mnt and status["format"] == ("plain" if PLAIN else "ecryptfs") and status["test"]
    assert status["open"] == 0
    with open(v.path("f"), "w"):
        now = v.call(command="status")
        assert now["open"] == 1 and now["inodes"] > status["inodes"] and now["requests"] > status["requests"]
    by_lower = subprocess.run([MOUNT, "--call", v.lower, '{"command":"status"}'], capture_output=True, text=True)
    assert json.loads(by_lower.stdout)["mount"] == v.mnt
    assert "no such command" in v.call(command="nonsense")
    assert "command" in v.call(no="command")
    if ROOT:
        dev = os.stat(v.mnt).st_dev
        path = f"/run/coffer/volume-{os.major(dev)}-{os.minor(dev)}.sock"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert as_user(lambda: socket.socket(socket.AF_UNIX).connect(path)) == errno.EACCES
        # Whoever sends rubbish, or nothing, does no harm.
        for rubbish in (b"\n", b"{\n", b"[" * 70000, b""):
            client = socket.socket(socket.AF_UNIX)
            client.connect(path)
            with contextlib.suppress(OSError):
                client.sendall(rubbish)
            client.close()
    assert v.call(command="status")["ok"]


# ---- pressure and damage ----


@test
def few_descriptors_are_enough(v):
    v.remount("--descriptors", "16")
    held = {}
    for i in range(300):
        fd = os.open(v.path(f"f{i}"), os.O_CREAT | os.O_RDWR)
        os.write(fd, b"%d" % i)
        held[i] = fd
    for i in range(0, 300, 10):
        os.unlink(v.path(f"f{i}"))
    os.rename(v.path("f1"), v.path("renamed"))
    for i, fd in held.items():
        evict(fd)
    status = v.call(command="status")
    assert status["open"] == 300
    for i in random.sample(range(300), 300):
        assert os.pread(held[i], 10, 0) == b"%d" % i, i
        os.pwrite(held[i], b"*", 5)
    for i, fd in held.items():
        os.fsync(fd)
        os.close(fd)
    assert get(v.path("renamed"))[:2] == b"1\0"
    assert v.call(command="status")["descriptors"] < 60  # the 30 without a name were kept until they were closed


@test
def many_files(v):
    count = 2000
    for i in range(count):
        if i % 500 == 0:
            os.mkdir(v.path(f"d{i // 500}"))
        put(v.path(f"d{i // 500}", f"file {i}"), b"%d" % i)
    v.remount()
    total = 0
    for folder, _, names in os.walk(v.mnt):
        for name in names:
            total += os.stat(os.path.join(folder, name)).st_size
    assert total == sum(len(str(i)) for i in range(count))
    assert get(v.path("d3", "file 1999")) == b"1999"
    shutil.rmtree(v.path("d1"))
    assert v.call(command="status")["inodes"] < count + 20


@test
def damage_is_one_files_business(v):
    os.mkdir(v.path("d"))
    for name in ("header", "short", "zeroed", "good"):
        put(v.path("d", name), b"x" * 10000)
    v.unmount()
    with open(v.below("d", "header"), "r+b") as file:
        file.seek(0 if PLAIN else 8)
        file.write(b"WRONG")
    os.truncate(v.below("d", "short"), lower_size(10000) - 5000)
    with open(v.below("d", "zeroed"), "r+b") as file:
        file.write(bytes(64))
    v.mount()
    raises(errno.EIO, get, v.path("d", "header"))
    raises(errno.EIO, get, v.path("d", "header"))
    raises(errno.EIO, get, v.path("d", "zeroed"))
    raises(errno.EIO, os.open, v.path("d", "zeroed"), os.O_RDWR)
    raises(errno.EIO, get, v.path("d", "short"))
    assert get(v.path("d", "good")) == b"x" * 10000
    assert sorted(os.listdir(v.path("d"))) == ["good", "header", "short", "zeroed"]
    lines = v.lines()
    for name in ("header", "short", "zeroed"):
        assert sum(f"d/{name}: " in line for line in lines) == 1, (name, lines)
    os.rename(v.path("d", "header"), v.path("moved"))
    os.unlink(v.path("moved"))
    shutil.rmtree(v.path("d"))
    assert os.listdir(v.mnt) == []


@test
def another_key_is_said_to_be_missing(v):
    if KIND == "names":
        raise NotHere  # names under another key are not shown at all
    put(v.path("f"), b"x")
    v.remount("--key", "7", "--old", "8")
    raises(errno.ENOKEY, get, v.path("f"))
    assert os.stat(v.path("f")).st_size == 1
    put(v.path("new"), b"y")
    assert get(v.path("new")) == b"y"
    v.remount("--key", "7", "--old", "90")
    assert get(v.path("f")) == b"x" and get(v.path("new")) == b"y"


@test
def an_unfinished_lower_file_is_an_empty_one(v):
    if KIND == "names":
        raise NotHere  # an empty lower file with its attribute is whole
    for name in ("read", "write"):
        open(v.below(name), "w").close()
    assert get(v.path("read")) == b"" and os.stat(v.path("write")).st_size == 0
    with open(v.path("write"), "ab") as file:
        file.write(b"now")
    v.remount()
    assert get(v.path("write")) == b"now" and get(v.path("read")) == b""


# ---- copying to another key under way ----


@test
def a_file_moves_to_another_key_while_it_is_in_use(v):
    data = bytearray(random.Random(2).randbytes(1 << 20))
    fd = os.open(v.path("f"), os.O_CREAT | os.O_RDWR, 0o640)
    os.write(fd, data)
    os.setxattr(v.path("f"), "user.a", b"kept")
    ino, lower_ino = os.fstat(fd).st_ino, os.stat(v.below("f")).st_ino
    reply = v.call(command="copy", name=v.name("f"), step=400000)
    assert reply["ok"] and reply["done"] == 400000, reply

    def write(at, what):
        os.pwrite(fd, what, at)
        os.fsync(fd)
        if len(data) < at:
            data.extend(bytes(at - len(data)))
        data[at : at + len(what)] = what

    write(100, b"copied already")
    write(399990, b"across the seam, on both sides")
    write(900000, b"to come")
    with mmap.mmap(fd, 4096) as mapped:
        mapped[10:14] = b"mmap"
        mapped.flush()
    data[10:14] = b"mmap"
    os.ftruncate(fd, 300000)
    del data[300000:]
    write(350000, b"grown again beyond a gap")
    assert v.call(command="copy", name=v.name("f"), step=10)["ok"]
    assert os.stat(v.below("f")).st_ino == lower_ino
    reply = v.call(command="copy", name=v.name("f"), step=70000, finish=True)
    assert reply["ok"], reply
    st = os.fstat(fd)
    assert st.st_ino == ino and os.stat(v.path("f")).st_ino == ino  # programs tell files apart by it
    assert os.stat(v.below("f")).st_ino != lower_ino
    assert not PLAIN or open(v.below("f"), "rb").read(6) == b"PLAIN\x33"
    assert os.pread(fd, 1 << 21, 0) == data
    evict(fd)
    assert os.pread(fd, 1 << 21, 0) == data
    write(5, b"after")
    assert stat.S_IMODE(st.st_mode) == 0o640 and os.getxattr(v.path("f"), "user.a") == b"kept"
    with os.scandir(v.mnt) as entries:
        assert [(entry.name, entry.inode()) for entry in entries] == [("f", ino)]
    # The lower number that came free may go to a new file: two files never show the same.
    made = []
    for i in range(200):
        put(v.path(f"n{i}"), b"")
        made.append(os.stat(v.path(f"n{i}")).st_ino)
    assert len(set(made) | {ino}) == 201
    os.close(fd)
    v.remount("--key", "51", "--old", "0")
    assert get(v.path("f")) == data


@test
def a_copy_gives_way_to_unlink_and_rename(v):
    fd = os.open(v.path("f"), os.O_CREAT | os.O_RDWR)
    os.write(fd, b"x" * 100000)
    assert v.call(command="copy", name=v.name("f"), step=1000)["ok"]
    os.unlink(v.path("f"))
    reply = v.call(command="copy", name=v.name("f"), step=1000, finish=True)
    assert reply["ok"], reply  # a file without a name moves too, as long as somebody has it open
    evict(fd)
    assert os.pread(fd, 200000, 0) == b"x" * 100000
    os.close(fd)
    put(v.path("g"), b"y" * 1000)
    put(v.path("h"), b"z" * 1000)
    assert v.call(command="copy", name=v.name("g"), step=10)["ok"]
    os.rename(v.path("h"), v.path("g"))
    assert "g: " in v.call(command="copy", name=v.name("g"), step=1000, finish=True)
    assert get(v.path("g")) == b"z" * 1000
    assert sorted(os.listdir(v.lower)) == [".coffer.mounted", v.name("g")]


@test
def a_copy_of_a_busy_file_is_the_file(v):
    """Writers all the time, the copy in small steps, again and again."""
    size, stop = 300000, threading.Event()
    put(v.path("f"), bytes(size))
    fd = os.open(v.path("f"), os.O_RDWR)
    model = bytearray(size)

    def writer():
        dice = random.Random(3)
        while not stop.is_set():
            at, what = dice.randrange(size - 5000), dice.randbytes(dice.randrange(1, 5000))
            os.pwrite(fd, what, at)
            model[at : at + len(what)] = what
            if dice.randrange(10) == 0:
                os.fdatasync(fd)

    thread = threading.Thread(target=writer)
    thread.start()
    try:
        for _ in range(8):
            reply = v.call(command="copy", name=v.name("f"), step=5000, finish=True)
            assert isinstance(reply, dict) and reply["ok"], reply
    finally:
        stop.set()
        thread.join()
    assert os.pread(fd, size, 0) == model
    evict(fd)
    assert os.pread(fd, size, 0) == model
    os.close(fd)


# ---- random operations ----


def exercise(v, ops, *more):
    model = os.path.join(v.base, "model")
    os.mkdir(model)
    done = subprocess.run([FSX, "--ops", str(ops), *more, v.mnt, model], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-8000:]


@test
def random_operations(v):
    v.remount("--descriptors", "24")
    remount = " ".join([MOUNT, "--unmount", v.mnt, "&&", *v.command("--descriptors", "24")])
    exercise(v, int(os.environ.get("COFFER_FSX_OPS", "3000")), "--remount", remount, "--name-max", str(NAME_MAX))


def main():
    if not os.path.exists("/dev/fuse"):
        print("no /dev/fuse here")
        return 77
    wanted = sys.argv[4:]
    failed = 0
    for function in TESTS:
        if wanted and function.__name__ not in wanted:
            continue
        try:
            volume = Volume()
        except AssertionError as error:
            if function is TESTS[0] and ("cannot mount" in str(error)):
                print("this process may not mount:", error)
                return 77
            raise
        start = time.time()
        try:
            function(volume)
            print(f"ok   {function.__name__} {time.time() - start:.1f} s", flush=True)
        except NotHere:
            pass
        except BaseException as error:
            import traceback
            traceback.print_exc()
            print(f"FAIL {function.__name__}: {error}", *volume.lines()[-20:], sep="\n", flush=True)
            failed += 1
            if isinstance(error, KeyboardInterrupt):
                raise
        finally:
            volume.drop()
    print(f"{failed} failed")
    return 1 if failed else 0


sys.exit(main())
