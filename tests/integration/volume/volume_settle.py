#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The first mount after the machine stopped while a volume was mounted: volume_settle.py VOLUME_MOUNT [TEST …]

A crash is played: the volume is killed, its lower files are made what a lower filesystem may leave of growth that nobody synced, and
the mark gets another boot id."""
import errno
import os
import stat
import struct
import sys

from volume_support import HEADER, NAMES, ROOT, Skip, main, get, overwrite, put, raises, test, volume


def lower_files(v):
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(v.lower) for name in names if not name.startswith(".coffer"))


def size_in_header(path):
    with open(path, "rb") as file:
        return struct.unpack(">Q", file.read(8))[0]


def blocks(*numbers):
    return b"".join(bytes([n]) * 4096 for n in numbers)


def prepared(v):
    """Five files of which the crash has taken the end or the middle, and two that are whole."""
    os.mkdir(v.path("d"))
    os.mkdir(v.path("d", "e"))
    for name in ("cut", "d/linked", "d/e/nothing", "holes", "whole", "damaged"):
        put(v.path(name), blocks(1, 2, 3) + b"end")
    put(v.path("empty"), b"")
    os.link(v.path("d", "linked"), v.path("second"))
    v.kill()
    os.truncate(v.below("cut"), HEADER + 4096 + 100)
    os.truncate(v.below("d", "linked"), HEADER + 3 * 4096)
    os.truncate(v.below("d", "e", "nothing"), HEADER)
    whole = get(v.below("holes"))
    os.truncate(v.below("holes"), 0)  # and again without the block in the middle
    overwrite(v.below("holes"), 0, whole[:HEADER + 4096])
    overwrite(v.below("holes"), HEADER + 8192, whole[HEADER + 8192:])
    overwrite(v.below("damaged"), 26, b"\xff" * 40)  # where its keys are
    v.crash()
    assert v.crashed()


def expect(v):
    assert get(v.path("cut")) == blocks(1)
    assert get(v.path("d", "linked")) == get(v.path("second")) == blocks(1, 2, 3)
    assert get(v.path("d", "e", "nothing")) == b"" == get(v.path("empty"))
    assert get(v.path("holes")) == blocks(1, 0, 3) + b"end"
    assert get(v.path("whole")) == blocks(1, 2, 3) + b"end"
    raises(errno.EIO, get, v.path("damaged"))


@test
def every_file_is_settled_before_the_crash_is_forgotten():
    with volume() as v:
        prepared(v)
        v.mount()
        assert not v.crashed()
        assert sum("damaged: cannot be settled" in line for line in v.lines()) == 1, v.lines()
        assert any("8 files looked at, 4 settled" in line for line in v.lines()), v.lines()
        assert size_in_header(v.below("cut")) == 4096
        assert size_in_header(v.below("second")) == 3 * 4096
        expect(v)
        with open(v.path("cut"), "ab") as file:
            file.write(b"more")
        v.remount()  # which knows of no crash
        assert get(v.path("cut")) == blocks(1) + b"more"
        os.unlink(v.path("cut"))
        put(v.path("cut"), blocks(1))
        expect(v)


@test
def a_file_nobody_opened_is_whole_at_the_next_mount():
    with volume() as v:
        prepared(v)
        v.mount()
        v.remount()
        expect(v)


@test
def a_kill_while_settling_leaves_the_crash_on_record():
    with volume() as v:
        prepared(v)
        for nth in (1, 4, 7):
            v.mount("--settle-stop", str(nth), code=8)
            assert v.crashed(), nth
        v.mount()
        assert not v.crashed()
        v.remount()
        expect(v)


@test
def an_error_of_the_disk_leaves_the_crash_on_record_and_the_volume_served():
    with volume() as v:
        prepared(v)
        v.mount("--settle-fail", "2")
        assert v.crashed()
        assert any("the next mount will try again" in line for line in v.lines())
        expect(v)
        v.unmount()
        assert v.crashed()
        v.mount()
        assert not v.crashed()
        v.remount()
        expect(v)


@test
def a_file_under_another_key_with_a_hole_leaves_the_crash_on_record():
    with volume() as v:
        prepared(v)
        v.mount("--key", "else", "--old", "other")
        assert v.crashed()
        assert sum("holes: cannot be settled" in line for line in v.lines()) == 1, v.lines()
        v.unmount()
        v.mount()
        assert not v.crashed()
        v.remount()
        expect(v)


@test
def a_read_only_mount_settles_nothing_and_forgets_nothing():
    with volume() as v:
        prepared(v)
        before = {path: (get(path), os.stat(path).st_mtime_ns) for path in lower_files(v)}
        v.mount("--read-only")
        expect(v)
        assert v.crashed()
        v.unmount()
        assert v.crashed()
        assert before == {path: (get(path), os.stat(path).st_mtime_ns) for path in lower_files(v)}
        v.mount()
        assert not v.crashed()
        v.remount()
        expect(v)


@test
def encrypted_names_and_attributes():
    with volume(*NAMES, "--xattr-metadata") as v:
        os.mkdir(v.path("folder"))
        put(v.path("folder", "cut"), blocks(1, 2))
        v.kill()
        [path] = [path for path in lower_files(v)]
        os.truncate(path, 4096)
        with open(os.path.join(v.lower, "stranger"), "w") as file:
            file.write("is nobody's business")
        v.crash()
        v.mount()
        assert not v.crashed()
        v.remount()
        assert get(v.path("folder", "cut")) == blocks(1)
        assert get(os.path.join(v.lower, "stranger")) == b"is nobody's business"


@test
def a_tree_deeper_than_a_path_may_be_long():
    with volume() as v:
        here = os.getcwd()
        os.chdir(v.mnt)
        for _ in range(40):
            os.mkdir("n" * 200)
            os.chdir("n" * 200)
        put("cut", blocks(1, 2))
        os.chdir(here)
        v.kill()
        os.chdir(v.lower)
        for _ in range(40):
            os.chdir("n" * 200)
        os.truncate("cut", HEADER + 4096)
        os.chdir(here)
        v.crash()
        v.mount()
        assert not v.crashed()
        v.remount()
        os.chdir(v.mnt)
        for _ in range(40):
            os.chdir("n" * 200)
        assert get("cut") == blocks(1)
        os.chdir(here)


@test
def a_file_that_may_not_be_written_by_its_mode_is_settled():
    if not ROOT:
        raise Skip("root is needed to write it")
    with volume() as v:
        put(v.path("f"), blocks(1, 2), mode=0o400)
        os.mkfifo(v.path("fifo"))
        os.symlink("f", v.path("link"))
        v.kill()
        os.truncate(v.below("f"), HEADER + 4096)
        v.crash()
        v.mount()
        assert stat.S_IMODE(os.stat(v.path("f")).st_mode) == 0o400
        v.remount()
        assert get(v.path("link")) == blocks(1)



sys.exit(main(sys.argv[2:]))
