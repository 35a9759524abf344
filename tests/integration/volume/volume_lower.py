#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Damage below a mounted volume, file by file, and a lower filesystem that is full, fails or goes away: volume_lower.py VOLUME_MOUNT [TEST …]

What is damaged is that file's business: the right error, once in the log with its path, and all others unharmed.  COFFER_FLIP_STEP: every
so manieth bit of a header is turned over (5; 1 takes a minute)."""
import contextlib
import errno
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

from volume_support import ECRYPTFS, HEADER, NAMES, ROOT, Skip, code_of, get, main, overwrite, put, raises, test, volume

DATA = bytes(range(256)) * 64
STEP = int(os.environ.get("COFFER_FLIP_STEP", "5"))


def evict(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


# ---- damage while nothing is mounted ----


def used_bytes(header):
    """The header's fields and packets, up to the first zeros that mean nothing."""
    return len(header.rstrip(b"\0"))


@test
def header_bits_turned_over_one_by_one():
    """Each bit in a file of its own: an error, or a file that is still right; never a crash, never wrong data without a word."""
    with volume() as v:
        os.mkdir(v.path("d"))
        put(v.path("whole"), DATA)
        put(v.path("d", "whole"), DATA)
        v.unmount()
        lower = get(v.below("whole"))
        bits = range(0, used_bytes(lower[:HEADER]) * 8, STEP)
        for bit in bits:
            turned = bytearray(lower)
            turned[bit // 8] ^= 1 << bit % 8
            with open(v.below("d", f"bit{bit}"), "wb") as file:
                file.write(turned)
        v.mount()
        found = {}
        for bit in bits:
            path = v.path("d", f"bit{bit}")
            os.stat(path)
            got = code_of(get, path)
            for _ in range(2):
                raised = code_of(get, path)
                assert raised == got, (bit, raised)
            kind = got if isinstance(got, str) else "right" if got == DATA else f"{len(got)} of {len(DATA)}" if DATA.startswith(got) else "wrong"
            found.setdefault(kind, []).append(bit)
            if isinstance(got, str):
                assert sum(f"d/bit{bit}: " in line for line in v.lines()) == 1, (bit, v.lines()[-5:])
        print("  ", {kind: len(found[kind]) for kind in found})
        # The format has no authentication: a smaller size, and an encrypted file key turned to another one, go unseen.
        assert set(found) <= {"EIO", "ENOKEY", "right", "wrong"} | {kind for kind in found if " of " in kind}, found
        assert len(found["EIO"]) > 20 and "ENOKEY" in found
        assert all(bit < 64 for kind in found if " of " in kind for bit in found[kind])
        assert get(v.path("whole")) == get(v.path("d", "whole")) == DATA
        shutil.rmtree(v.path("d"))
        assert os.listdir(v.mnt) == ["whole"]


@test
def truncated_to_every_interesting_length():
    with volume() as v:
        put(v.path("whole"), DATA)
        v.unmount()
        lower = get(v.below("whole"))
        lengths = [0, 1, 7, 8, 15, 16, 20, 26, 100, 511, 512, 4095, 4096, HEADER - 1, HEADER, HEADER + 1, HEADER + 4095, HEADER + 4096, len(lower) - 1]
        for length in lengths:
            with open(v.below(f"cut{length}"), "wb") as file:
                file.write(lower[:length])
        v.mount()
        for length in lengths:
            got = code_of(get, v.path(f"cut{length}"))
            assert got == (b"" if length == 0 else "EIO"), (length, got)
            assert sum(f"cut{length}: " in line for line in v.lines()) == (length > 0), (length, v.lines())
            raises(errno.EIO, os.open, v.path(f"cut{length}"), os.O_RDWR) if length else None
        assert get(v.path("whole")) == DATA
        # What is damaged can be moved, read about, and removed.
        os.rename(v.path("cut8"), v.path("moved"))
        os.chmod(v.path("moved"), 0o600)
        os.unlink(v.path("moved"))


@test
def swapped_zeroed_and_foreign():
    with volume() as v:
        for name in ("a", "b", "zeroed", "header", "text", "block"):
            put(v.path(name), DATA + name.encode())
        v.unmount()
        a, b = get(v.below("a")), get(v.below("b"))
        with open(v.below("a"), "wb") as file:  # whole files change places: nothing ties a file to its name
            file.write(b)
        with open(v.below("b"), "wb") as file:
            file.write(a)
        with open(v.below("zeroed"), "r+b") as file:
            file.write(bytes(len(a)))
        overwrite(v.below("header"), 0, b[:HEADER])  # another file's header: another key
        with open(v.below("text"), "wb") as file:
            file.write(b"never was a file of a volume\n" * 1000)
        overwrite(v.below("block"), HEADER + 4096, bytes(4096))
        with open(v.below("random"), "wb") as file:
            file.write(random.Random(1).randbytes(100000))
        v.mount()
        assert get(v.path("a")) == DATA + b"b" and get(v.path("b")) == DATA + b"a"
        assert get(v.path("header"))[:100] != DATA[:100]
        for name in ("zeroed", "text", "random", "block"):
            raises(errno.EIO, get, v.path(name))
            raises(errno.EIO, get, v.path(name))
            assert sum(line.startswith(f"{name}: ") for line in v.lines()) == 1, v.lines()
        # Of a file with one bad block the rest can be read.
        fd = os.open(v.path("block"), os.O_RDONLY)
        assert os.pread(fd, 100, 0) == DATA[:100] and os.pread(fd, 100, 8192) == DATA[8192:8292]
        raises(errno.EIO, os.pread, fd, 100, 5000)
        os.close(fd)
        # And a block that is written whole is whole again.
        fd = os.open(v.path("block"), os.O_RDWR)
        os.pwrite(fd, b"n" * 4096, 4096)
        os.fsync(fd)
        os.close(fd)
        evict(v.path("block"))
        assert get(v.path("block"))[4096:8192] == b"n" * 4096


@test
def encrypted_names_that_are_damaged_are_not_shown():
    with volume(*NAMES) as v:
        for number in range(20):
            put(v.path(f"file {number}"), b"%d" % number)
        v.unmount()
        names = sorted(name for name in os.listdir(v.lower) if not name.startswith(".coffer"))
        for number, name in enumerate(names[:10]):
            at = 24 + number % (len(name) - 24)
            os.rename(v.below(name), v.below(name[:at] + ("B" if name[at] != "B" else "C") + name[at + 1:]))
        v.mount()
        shown = os.listdir(v.mnt)
        assert 10 <= len(shown) <= 12 and all(get(v.path(name)) == name[5:].encode() for name in shown if name.startswith("file ")), shown


@test
def the_wrong_key_and_the_wrong_cipher():
    with volume() as v:
        put(v.path("f"), DATA)
        v.remount("--key", "7", "--old", "8")
        raises(errno.ENOKEY, get, v.path("f"))
        raises(errno.ENOKEY, os.truncate, v.path("f"), 3)
        assert sum("f: " in line for line in v.lines()) == 1
        v.remount("--bits", "128")  # each file says its own
        assert get(v.path("f")) == DATA
        put(v.path("g"), DATA)
        v.remount()
        assert get(v.path("f")) == get(v.path("g")) == DATA


# ---- damage while it is mounted ----


@test
def damage_while_it_is_mounted():
    with volume("--descriptors", "16", *ECRYPTFS) as v:
        for number in range(60):
            put(v.path(f"f{number}"), DATA)
        held = os.open(v.path("f0"), os.O_RDWR)
        for number in range(60):
            evict(v.path(f"f{number}"))
        os.truncate(v.below("f0"), HEADER + 4096)
        os.truncate(v.below("f1"), 100)
        overwrite(v.below("f2"), 8, b"x" * 8)
        os.unlink(v.below("f3"))
        os.unlink(v.below("f4"))
        os.mkdir(v.below("f4"))
        os.rename(v.below("f5"), v.below("f6"))
        raises(errno.EIO, os.pread, held, 10, 8192)
        assert code_of(os.pread, held, 10, 0) in ("EIO", DATA[:10])  # EIO, if it had been closed below meanwhile
        for number in (1, 2):
            assert code_of(get, v.path(f"f{number}")) in ("EIO", DATA)  # what was open may still know its key
        for number in (3, 4, 5, 6):
            assert code_of(get, v.path(f"f{number}")) in ("EIO", "ENOENT", "ESTALE", "EISDIR", DATA), number
        for number in range(7, 60):
            assert get(v.path(f"f{number}")) == DATA
        os.close(held)
        os.rmdir(v.below("f4"))
        v.remount()
        raises(errno.EIO, get, v.path("f1"))
        raises(errno.EIO, get, v.path("f2"))
        raises(errno.ENOENT, get, v.path("f3"))
        assert get(v.path("f6")) == DATA


@test
def the_lower_folder_is_removed():
    with volume() as v:
        os.mkdir(v.path("d"))
        put(v.path("d", "f"), DATA)
        held = os.open(v.path("d", "f"), os.O_RDWR)
        shutil.rmtree(v.lower)
        assert code_of(os.listdir, v.mnt) == []
        assert code_of(put, v.path("new"), b"x") == "ENOENT"
        assert code_of(os.mkdir, v.path("new")) == "ENOENT"
        os.pwrite(held, b"the file lives while it is open", 0)
        os.fsync(held)
        assert os.pread(held, 8, 0) == b"the file"
        os.close(held)
        v.unmount()


# ---- filesystems below ----


@contextlib.contextmanager
def lower_filesystem(*mount):
    if not ROOT:
        raise Skip("only root may mount")
    point = tempfile.mkdtemp(prefix="coffer-lower-")
    done = subprocess.run(["mount", *mount, point], capture_output=True, text=True)
    if done.returncode != 0:
        os.rmdir(point)
        raise Skip(f"cannot mount: {done.stderr.strip()}")
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", point], check=True)
        os.rmdir(point)


@contextlib.contextmanager
def ext4(megabytes):
    with tempfile.NamedTemporaryFile(prefix="coffer-image-") as image:
        os.truncate(image.name, megabytes << 20)
        if shutil.which("mkfs.ext4") is None:
            raise Skip("no mkfs.ext4")
        subprocess.run(["mkfs.ext4", "-q", "-F", "-e", "remount-ro", image.name], check=True)
        with lower_filesystem("-o", "loop", image.name) as point:
            yield point


def fill(v):
    """Write until it is full; what was synced before is known."""
    known = {}
    for number in range(100000):
        path = v.path(f"fill{number}")
        try:
            fd = os.open(path, os.O_CREAT | os.O_WRONLY)
        except OSError as error:
            return known, error.errno
        try:
            os.write(fd, DATA * 8)
            os.fsync(fd)
            known[path] = DATA * 8
        except OSError as error:
            return known, error.errno
        finally:
            with contextlib.suppress(OSError):
                os.close(fd)
    raise AssertionError("it was never full")


def full(lower):
    with volume(lower=os.path.join(lower, "lower")) as v:
        put(v.path("first"), DATA)
        fd = os.open(v.path("first"), os.O_RDWR)
        os.fsync(fd)
        known, code = fill(v)
        assert code == errno.ENOSPC, errno.errorcode[code]
        assert len(known) > 10
        for _ in range(3):
            assert code_of(os.pwrite, fd, b"over", 0) in (4, "ENOSPC")  # no room is needed for what is there already
        assert code_of(os.posix_fallocate, fd, 0, 1 << 30) == "ENOSPC"
        assert os.fstat(fd).st_size == len(DATA)
        assert code_of(os.mkdir, v.path("d")) in (None, "ENOSPC")
        for path, data in known.items():
            assert get(path) == data, path
        os.close(fd)
        for path in list(known)[::2]:
            os.unlink(path)
            del known[path]
        put(v.path("room again"), DATA)
        v.remount()
        for path, data in known.items():
            assert get(path) == data, path
        assert get(v.path("room again")) == DATA
        got = code_of(get, v.path("first"))
        assert got[4:] == DATA[4:], got if isinstance(got, str) else len(got)
        assert not any("first" in line for line in v.lines()), v.lines()
        # What met the end of the disk while it was written is an error or a file, as long as what it says.
        for name in os.listdir(v.mnt):
            got = code_of(get, v.path(name))
            assert isinstance(got, bytes) and len(got) == os.stat(v.path(name)).st_size or got is None or name == "d", (name, got)


@test
def a_full_tmpfs():
    with lower_filesystem("-t", "tmpfs", "-o", "size=8m,nr_inodes=2000", "coffer-test") as point:
        full(point)


@test
def a_full_ext4():
    with ext4(24) as point:
        full(point)


@test
def what_was_just_written_has_blocks():
    """No blocks mean no data to tar --sparse, and where attributes take no room below, an empty file has none there."""
    with lower_filesystem("-t", "tmpfs", "-o", "size=8m", "coffer-test") as point:
        with volume(*ECRYPTFS, "--xattr-metadata", lower=os.path.join(point, "lower")) as v:
            fd = os.open(v.path("f"), os.O_CREAT | os.O_RDWR)
            os.write(fd, DATA)
            assert os.fstat(fd).st_blocks > 0
            if shutil.which("tar"):
                subprocess.run(["tar", "-cSf", os.path.join(v.base, "tar"), "-C", v.mnt, "f"], check=True)
                subprocess.run(["tar", "-xSf", os.path.join(v.base, "tar"), "-C", v.base], check=True)
                assert get(os.path.join(v.base, "f")) == DATA
            os.close(fd)


@test
def no_inodes_left():
    with lower_filesystem("-t", "tmpfs", "-o", "size=64m,nr_inodes=60", "coffer-test") as point, volume(lower=os.path.join(point, "lower")) as v:
        made = 0
        while code_of(put, v.path(f"f{made}"), b"x") is None:
            made += 1
            assert made < 100
        assert code_of(put, v.path("more"), b"x") == code_of(os.mkdir, v.path("d")) == code_of(os.symlink, "x", v.path("l")) == "ENOSPC"
        for number in range(made):
            assert get(v.path(f"f{number}")) == b"x"
        os.unlink(v.path("f0"))
        until = time.monotonic() + 10  # the kernel forgets the file, and with it we let go of it, when it comes to that
        while code_of(put, v.path("more"), b"y") == "ENOSPC" and time.monotonic() < until:
            time.sleep(0.05)
        assert get(v.path("more")) == b"y"


@test
def a_quota_of_file_size():
    """A limit of the process is none of its users': a file beyond it fails alone."""
    with volume(mount=False) as v:
        done = subprocess.run(["prlimit", "--fsize=1048576:1048576", *v.command()], capture_output=True, text=True, env=v.sanitizer())
        assert done.returncode == 0, done.stderr
        fd = os.open(v.path("f"), os.O_CREAT | os.O_RDWR)
        os.pwrite(fd, b"x", 0)
        os.fsync(fd)
        got = code_of(lambda: (os.pwrite(fd, b"y", 2 << 20), os.fsync(fd)))
        assert got in ("EFBIG", "EIO"), got
        with contextlib.suppress(OSError):
            os.close(fd)
        put(v.path("g"), b"still serves")
        assert get(v.path("g")) == b"still serves" and get(v.path("f"))[:1] == b"x"


@test
def a_read_only_lower_filesystem():
    with ext4(16) as point:
        with volume(lower=os.path.join(point, "lower")) as v:
            put(v.path("f"), DATA)
            v.unmount()
            subprocess.run(["mount", "-o", "remount,ro", point], check=True)
            assert "Read-only" in v.mount(code=8)
            v.mount("--read-only")
            assert get(v.path("f")) == DATA
            raises(errno.EROFS, os.open, v.path("f"), os.O_RDWR)
            v.unmount()
            subprocess.run(["mount", "-o", "remount,rw", point], check=True)
            v.mount()
            # And one that becomes read-only under a mounted volume, as ext4 does after an error.
            fd = os.open(v.path("f"), os.O_RDWR)
            os.pwrite(fd, b"1", 0)
            os.fsync(fd)
            if os.path.exists(f"/sys/fs/ext4/{os.path.basename(loop_of(point))}/trigger_fs_error"):
                with open(f"/sys/fs/ext4/{os.path.basename(loop_of(point))}/trigger_fs_error", "w", encoding="ascii") as file:
                    file.write("1")
                assert code_of(lambda: (os.pwrite(fd, b"2", 0), os.fsync(fd))) in (None, "EROFS", "EIO")
                assert code_of(put, v.path("new"), b"x") in (None, "EROFS", "EIO")
                assert os.pread(fd, 100, 1) == DATA[1:101]
            code_of(os.close, fd)  # which may say once more that a write failed


def loop_of(point):
    with open("/proc/self/mounts", encoding="utf-8") as file:
        return next(line.split()[0] for line in file if line.split()[1] == point)


class Mapper:
    """A disk of which parts can be made to fail."""

    def __init__(self, megabytes):
        if not ROOT or shutil.which("dmsetup") is None:
            raise Skip("no dmsetup")
        self.image = tempfile.NamedTemporaryFile(prefix="coffer-disk-")
        os.truncate(self.image.name, megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image.name], check=True)
        self.sectors = megabytes << 11
        self.loop = subprocess.run(["losetup", "-f", "--show", self.image.name], capture_output=True, text=True, check=True).stdout.strip()
        self.name = f"coffer-test-{os.getpid()}"
        done = subprocess.run(["dmsetup", "create", self.name, "--table", self.good()], capture_output=True, text=True)
        if done.returncode != 0:
            subprocess.run(["losetup", "-d", self.loop])
            raise Skip(f"no device mapper: {done.stderr.strip().splitlines()[-1]}")

    def good(self):
        return f"0 {self.sectors} linear {self.loop} 0"

    def load(self, table):
        subprocess.run(["dmsetup", "suspend", "--nolockfs", self.name], check=True)
        subprocess.run(["dmsetup", "load", self.name, "--table", table], check=True)
        subprocess.run(["dmsetup", "resume", self.name], check=True)

    def fail(self):
        self.load(f"0 {self.sectors} error")

    def close(self):
        subprocess.run(["dmsetup", "remove", "--retry", "-f", self.name], capture_output=True)
        subprocess.run(["losetup", "-d", self.loop], capture_output=True)


@test
def a_disk_that_fails():
    disk = Mapper(32)
    try:
        with lower_filesystem(f"/dev/mapper/{disk.name}") as point, volume(lower=os.path.join(point, "lower")) as v:
            for name in ("read", "written"):
                put(v.path(name), DATA * 20)
            v.remount()
            fd = os.open(v.path("written"), os.O_RDWR)
            os.fsync(fd)
            disk.fail()
            assert code_of(lambda: (os.pwrite(fd, b"lost" * 2000, 0), os.fsync(fd))) in ("EIO", "EROFS")
            with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
                file.write("3\n")
            assert code_of(get, v.path("read")) in ("EIO", DATA * 20)
            os.close(fd)
            disk.load(disk.good())
    finally:
        disk.close()


# ---- EIO from below, call by call ----

SEAM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
/* Fails calls on files of a size that no other file has, while the file COFFER_EIO names is there: its first letter says which calls. */
static int fails(int fd, char what)
{
    struct stat st;
    char letters[8] = "";
    int seam = open_seam();
    if (seam < 0)
        return 0;
    if (read(seam, letters, 7) < 0)
        letters[0] = 0;
    close(seam);
    for (char *p = letters; *p; p++)
        if (*p == what)
            return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_mtime != 0 && (st.st_mode & 0111) == 0111;
    return 0;
}
"""


def seam(folder):
    """A library that fails the calls whose letters are in $COFFER_EIO, on files that are executable by all."""
    source = SEAM.replace("static int fails", "#include <fcntl.h>\nstatic int open_seam(void) { return open(getenv(\"COFFER_EIO\"), O_RDONLY | O_CLOEXEC); }\nstatic int fails", 1)
    for letter, kind, name, parameters, arguments in (
            ("r", "ssize_t", "preadv", "int fd, const struct iovec *v, int n, off_t at", "fd, v, n, at"),
            ("w", "ssize_t", "pwritev2", "int fd, const struct iovec *v, int n, off_t at, int f", "fd, v, n, at, f"),
            ("t", "int", "ftruncate", "int fd, off_t n", "fd, n"),
            ("s", "int", "fsync", "int fd", "fd"),
            ("s", "int", "fdatasync", "int fd", "fd")):
        large = "pwritev64v2" if name == "pwritev2" else name + "64"
        for symbol in (name, large) if "off_t" in parameters else (name,):
            source += (f"{kind} {symbol}({parameters}) {{ if (fails(fd, '{letter}')) {{ errno = EIO; return -1; }}\n"
                       f"  return (({kind} (*)({parameters}))dlsym(RTLD_NEXT, \"{symbol}\"))({arguments}); }}\n")
    path = os.path.join(folder, "seam.c")
    with open(path, "w", encoding="ascii") as file:
        file.write(source)
    library = os.path.join(folder, "seam.so")
    done = subprocess.run(["cc", "-shared", "-fPIC", "-U_FORTIFY_SOURCE", "-o", library, path, "-ldl"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library


@test
def eio_from_below_call_by_call():
    with volume(mount=False) as v:
        switch = os.path.join(v.base, "fail")
        put(switch, b"")
        env = {"COFFER_EIO": switch, "LD_PRELOAD": seam(v.base)}
        options = v.sanitizer()["ASAN_OPTIONS"] + ":verify_asan_link_order=0"
        v.mount(env={**env, "ASAN_OPTIONS": options})
        put(v.path("other"), DATA)
        put(v.path("bad"), DATA)
        for name in ("bad", "other"):
            evict(v.path(name))
        os.chmod(v.path("bad"), 0o755)
        fd, other = os.open(v.path("bad"), os.O_RDWR), os.open(v.path("other"), os.O_RDWR)
        for letter, act in (("r", lambda: get(v.path("bad"))),
                            ("w", lambda: (os.pwrite(fd, b"x" * 100, 4096), os.fsync(fd))),
                            ("s", lambda: (os.pwrite(fd, DATA[:100], 4096), os.fsync(fd))),
                            ("t", lambda: os.ftruncate(fd, 5000)),
                            ("rw", lambda: os.truncate(v.path("bad"), 100000))):
            put(switch, letter.encode())
            assert code_of(act) == "EIO", letter
            os.pwrite(other, b"fine", 0)
            os.fsync(other)
            evict(v.path("other"))
            assert get(v.path("other"))[:4] == b"fine"
            put(switch, b"")
            got = code_of(get, v.path("bad"))
            assert isinstance(got, bytes), (letter, got)
            os.pwrite(fd, DATA, 0)
            os.fsync(fd)
            evict(v.path("bad"))
            assert get(v.path("bad"))[:len(DATA)] == DATA, letter
        os.close(fd)
        os.close(other)
        v.remount()
        assert get(v.path("bad"))[:len(DATA)] == DATA and get(v.path("other"))[4:] == DATA[4:]


sys.exit(main(sys.argv[2:]))
