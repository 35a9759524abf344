#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many files, odd names, and planted plaintext: volume_many.py VOLUME_MOUNT [TEST …]

COFFER_FILES: how many (20000; a million takes some minutes).  Asserted are memory and descriptors, not time."""
import errno
import os
import random
import resource
import subprocess
import sys
import time

from volume_support import ECRYPTFS, NAMES, code_of, get, main, mounts_at, put, raises, test, volume

FILES = int(os.environ.get("COFFER_FILES", "20000"))
FOLDER = 1000


def rss(pid, what="VmRSS"):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(what + ":"))


def sanitized(pid):
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
        return any("libasan" in line or "libtsan" in line for line in file)


def check_memory(v, when):
    """32 MiB, and 1 KiB an inode that the kernel has us remember.  A sanitizer takes several times that: then only what grows is seen."""
    status = v.call(command="status")
    used, peak = rss(status["pid"]), rss(status["pid"], "VmHWM")
    most = (160 << 20) + 6144 * status["inodes"] if sanitized(status["pid"]) else (32 << 20) + 1024 * status["inodes"]
    print(f"  {when}: {used >> 10} KiB, {status['inodes']} inodes, {status['descriptors']} descriptors", flush=True)
    assert used <= most, f"{when}: {used} bytes with {status['inodes']} inodes, at most {most}"
    if os.geteuid() == 0:  # an ordinary user may not open by handle: each known file keeps its descriptor
        assert status["descriptors"] <= 64 + 8, status
        assert len(os.listdir(f"/proc/{status['pid']}/fd")) < 200
    return peak


def path_of(v, number):
    return v.path(f"d{number // FOLDER}", f"file number {number}")


def many(*options):
    env = {"ASAN_OPTIONS": "quarantine_size_mb=1:malloc_context_size=2"}
    with volume("--descriptors", "64", *options, mount=False) as v:
        env["ASAN_OPTIONS"] += f":log_path={v.base}/sanitizer"
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        v.mount(env=env)
        times = [time.monotonic()]
        for number in range(FILES):
            if number % FOLDER == 0:
                os.mkdir(v.path(f"d{number // FOLDER}"))
            put(path_of(v, number), b"%d" % number if number % 10 == 0 else b"")
        times.append(time.monotonic())
        check_memory(v, "made")
        for number in random.Random(1).sample(range(FILES), FILES):
            assert os.stat(path_of(v, number)).st_size == (len(str(number)) if number % 10 == 0 else 0)
        times.append(time.monotonic())
        check_memory(v, "looked at")
        found = 0
        for folder in os.listdir(v.mnt):
            with os.scandir(v.path(folder)) as entries:
                found += sum(entry.is_file() for entry in entries)
        assert found == FILES
        times.append(time.monotonic())
        for number in range(0, FILES, 10):
            assert get(path_of(v, number)) == b"%d" % number
        times.append(time.monotonic())
        check_memory(v, "read")
        v.unmount()
        v.mount(env=env)
        total = sum(entry.stat().st_size for folder in os.listdir(v.mnt) for entry in os.scandir(v.path(folder)))
        assert total == sum(len(str(number)) for number in range(0, FILES, 10))
        check_memory(v, "listed with attributes")
        times.append(time.monotonic())
        for number in range(FILES):
            os.unlink(path_of(v, number))
        for number in range(0, FILES, FOLDER):
            os.rmdir(v.path(f"d{number // FOLDER}"))
        times.append(time.monotonic())
        assert os.listdir(v.mnt) == []
        check_memory(v, "removed")
        assert v.call(command="status")["inodes"] < 100
        print("  make, stat, list, read, mount and list again, remove:", *(f"{b - a:.1f} s" for a, b in zip(times, times[1:])))
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


@test
def many_files():
    many(*ECRYPTFS)


@test
def many_files_with_encrypted_names():
    many(*NAMES, "--xattr-metadata")


@test
def many_files_in_one_folder():
    count = min(FILES, 50000)
    with volume("--descriptors", "64", *ECRYPTFS) as v:
        for number in range(count):
            os.mknod(v.path(f"{number}"))
        assert len(os.listdir(v.mnt)) == count
        seen = 0
        with os.scandir(v.mnt) as entries:
            for entry in entries:
                os.rename(entry.path, v.path("x" + entry.name)) if not entry.name.startswith("x") else None
                seen += 1
        assert seen >= count
        assert sorted(os.listdir(v.mnt)) == sorted(f"x{number}" for number in range(count))


@test
def few_descriptors_for_the_process():
    """ulimit -n of 64 before the mount, hard too: what is open above may be many more files."""
    with volume(mount=False) as v:
        done = subprocess.run(["prlimit", "--nofile=64:64", "setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource", *v.command()]
                              if os.geteuid() == 0 else ["prlimit", "--nofile=64:64", *v.command()], capture_output=True, text=True, env=v.sanitizer())
        assert done.returncode == 0, done.stderr
        held = []
        handles = v.call(command="status").get("descriptors")
        assert handles is not None
        for number in range(300):
            fd = code_of(os.open, v.path(f"f{number}"), os.O_CREAT | os.O_RDWR)
            if not isinstance(fd, int):
                assert os.geteuid() != 0 and fd in ("EMFILE", "ENFILE"), fd  # without handles each known file keeps its descriptor
                break
            os.write(fd, b"%d" % number)
            held.append(fd)
        for number, fd in enumerate(held):
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(fd, 10, 0) == b"%d" % number
        for fd in held:
            os.close(fd)
        assert code_of(lambda: len(os.listdir(v.mnt))) in (len(held), "EMFILE" if os.geteuid() else "")


# ---- names ----


def names_of(longest):
    """Of every length around a limit, of every kind of byte."""
    dice = random.Random(4)
    for length in (1, 2, 15, 16, 17, 100, 127, 128, 141, 142, 143, 144, 200, 254, 255):
        if length <= longest:
            yield b"n" * length
            yield bytes(dice.choice(range(0x80, 0x100)) for _ in range(length))
            yield bytes(dice.choice([byte for byte in range(1, 256) if byte != 0x2f]) for _ in range(length))
    yield from (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b" ", b"...", b"-rf", b"a\nb", b"ECRYPTFS_FNEK_ENCRYPTED.", "ﬁ̈".encode())


def names(longest, *options):
    with volume(*options) as v:
        base = v.mnt.encode()
        made = set(names_of(longest))
        if "--encrypt-names" not in options:
            made.discard(b"ECRYPTFS_FNEK_ENCRYPTED.")
        for name in made:
            put(os.path.join(base, name), name)
            os.mkdir(os.path.join(base, b"dir"))
            os.symlink(name, os.path.join(base, b"dir", b"link"))
            assert os.readlink(os.path.join(base, b"dir", b"link")) == name
            os.unlink(os.path.join(base, b"dir", b"link"))
            os.rmdir(os.path.join(base, b"dir"))
        assert os.statvfs(v.mnt).f_namemax == longest
        for length in (longest + 1, 256, 1000):
            name = os.path.join(base, b"l" * length)
            raises(errno.ENAMETOOLONG, os.open, name, os.O_CREAT | os.O_RDWR)
            raises(errno.ENAMETOOLONG, os.stat, name)
            raises(errno.ENAMETOOLONG, os.mkdir, name)
            raises(errno.ENAMETOOLONG, os.symlink, "x", name)
            raises(errno.ENAMETOOLONG, os.rename, os.path.join(base, b"n"), name)
            raises(errno.ENAMETOOLONG, os.link, os.path.join(base, b"n"), name)
            raises(errno.ENAMETOOLONG, os.unlink, name)
        v.remount()
        assert set(os.listdir(base)) == made
        for name in made:
            assert get(os.path.join(base, name)) == name
            os.rename(os.path.join(base, name), os.path.join(base, name[::-1] + b"" if name[::-1] not in made else name))
        v.remount()
        assert len(os.listdir(base)) == len(made)


@test
def names_in_the_clear():
    names(255, *ECRYPTFS)


@test
def names_encrypted():
    names(143, *NAMES)


# ---- plaintext ----


def markers(count):
    dice = random.Random()
    return [dice.randbytes(32).hex().encode() for _ in range(count)]


def search(folder, wanted):
    """The markers that are found in any file, name or attribute below."""
    found = set()
    for base, folders, files in os.walk(os.fsencode(folder)):
        for name in folders + files:
            path = os.path.join(base, name)
            data = name
            for attribute in os.listxattr(path, follow_symlinks=False):
                data += b"\0" + os.getxattr(path, attribute, follow_symlinks=False)
            if os.path.islink(path):
                data += b"\0" + os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    data += b"\0" + file.read()
            found |= {marker for marker in wanted if marker in data or marker[:32] in data}
    return found


def planted(*options):
    contents, in_names = markers(8), markers(4)
    hidden = "--encrypt-names" in options
    with volume(*options) as v:
        base = v.mnt.encode()
        for number, marker in enumerate(contents):
            put(os.path.join(base, b"f%d" % number), marker * 200)
        for marker in in_names:
            os.mkdir(os.path.join(base, b"d-" + marker))
            put(os.path.join(base, b"d-" + marker, b"f-" + marker), contents[0])
            os.symlink(marker, os.path.join(base, b"l-" + marker))
        # Every way that bytes take: appended, through a map, synchronous, a cut and grown end, a renamed and a removed file.
        with open(os.path.join(base, b"f0"), "ab") as file:
            file.write(contents[1] * 3)
        fd = os.open(os.path.join(base, b"f1"), os.O_RDWR | os.O_DSYNC)
        os.pwrite(fd, contents[2], 4090)
        os.ftruncate(fd, 4100)
        os.ftruncate(fd, 50000)
        os.posix_fallocate(fd, 0, 60000)
        os.close(fd)
        os.rename(os.path.join(base, b"f2"), os.path.join(base, b"f2-renamed"))
        held = os.open(os.path.join(base, b"f3"), os.O_RDWR)
        os.unlink(os.path.join(base, b"f3"))
        os.pwrite(held, contents[3] * 100, 100000)
        os.fsync(held)
        # A copy to another key is under way, and its hidden file is there.
        if not hidden:
            reply = v.call(command="copy", name="f4", step=8192)
            assert reply["ok"], reply
            assert any(name.startswith(".coffer.copy") for name in os.listdir(v.lower))
        everywhere = contents if not hidden else contents + in_names
        os.sync()
        assert not search(v.lower, everywhere), "plaintext below the mount"
        assert search(v.mnt, contents + in_names) >= set(contents) - {contents[3]}  # it can be found where it is
        if not hidden:
            assert search(v.lower, in_names) == set(in_names)
        v.kill()
        assert not search(v.lower, everywhere), "plaintext below the mount after a kill"
        code_of(os.close, held)
        v.mount()
        v.unmount()
        assert not mounts_at(v.mnt) and not search(v.lower, everywhere)
        assert not any(marker.decode() in line for marker in contents for line in v.lines())


@test
def no_plaintext_below_the_mount():
    planted(*ECRYPTFS)


@test
def no_plaintext_and_no_names_below_the_mount():
    planted(*NAMES)


@test
def no_plaintext_with_metadata_in_attributes():
    planted(*ECRYPTFS, "--xattr-metadata")


sys.exit(main(sys.argv[2:]))
