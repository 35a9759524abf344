#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The memory of the process behind a mount, by how many files it knows.

    bench/volume/bench_memory.py [--build DIR] [--dir DIR] [--files N] [--quick]

Each file is looked up, then each is opened and read.  Afterwards the kernel is asked to drop what it caches, and takes its references back.
The lower files are copies of one: the format ties them to no name.
"""
import os
import re
import shutil
import sys

import contest

GOAL_BASE_KIB, GOAL_FILE_KIB = 32 * 1024, 1


def rss_kib(volume):
    with open(f"/proc/{volume.status()['pid']}/status", encoding="ascii") as file:
        return int(re.search(r"^VmRSS:\s+(\d+) kB", file.read(), re.M).group(1))


def make_files(volume, count):
    with open(os.path.join(volume.top, "first"), "wb") as file:
        file.write(b"x")
    contest.settle()
    for i in range(count):
        folder = os.path.join(volume.lower, str(i // 1000))
        if i % 1000 == 0:
            os.mkdir(folder)
        shutil.copyfile(os.path.join(volume.lower, "first"), os.path.join(folder, f"file-{i}"))


def tell(what, volume, count, base):
    rss, status = rss_kib(volume), volume.status()
    room = GOAL_BASE_KIB + GOAL_FILE_KIB * count
    print(f"{what}: {rss / 1024:.1f} MiB with {status['inodes']} inodes and {status['descriptors']} lower files open: "
          f"{(rss - base) * 1024 / count:.0f} bytes a file over {base / 1024:.1f} MiB; "
          f"goal {room / 1024:.0f} MiB: {'reached' if rss <= room else 'NOT REACHED'}", flush=True)


def main():
    options = contest.parser(__doc__, 1)
    options.add_argument("--files", type=int, default=100000)
    o = contest.parse(options)
    if o.quick:
        o.files = 300
    with contest.contestants(o, ["coffer"]) as here:
        volume = here[0]
        make_files(volume, o.files)
        base = rss_kib(volume)
        for at, _, names in os.walk(volume.top):
            for name in names:
                os.stat(os.path.join(at, name))
        tell("looked up", volume, o.files, base)
        for at, _, names in os.walk(volume.top):
            for name in names:
                with open(os.path.join(at, name), "rb") as file:
                    if file.read() != b"x":
                        contest.fail(f"{at}/{name} reads as something else")
        tell("opened and read", volume, o.files, base)
        if contest.ROOT and not o.quick:
            with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
                file.write("2\n")
            tell("after the kernel forgot them", volume, o.files, base)
    return 0


sys.exit(main())
