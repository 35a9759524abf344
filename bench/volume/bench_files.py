#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files on a mounted volume, on the raw disk and on gocryptfs, by fio and tar.

    bench/volume/bench_files.py [--build DIR] [--dir DIR] [--rounds N] [--mib N] [--quick]

A turn: --mib written in order and synced; the same file read in order, once after its pages were dropped from the cache that programs see
(a volume then reads from the cache of its lower file; the raw disk has no second cache, and reads the disk) and once with them;
8 KiB writes with O_DSYNC over a file that is there, named as a segment of PostgreSQL's log; a tar file of 4,000 small files unpacked.
"""
import io
import json
import os
import random
import shutil
import sys
import tarfile

import contest
from contest import Measure, fail, run, timed

LOG = "pg_wal/0000000100000000000000A1"

MEASURES = [
    Measure("sequential write with fsync", "MiB/s", raw=0.55, gocryptfs=2),
    Measure("sequential read, first cache cold", "MiB/s", raw=0.7, gocryptfs=3),
    Measure("sequential read, all caches warm", "MiB/s"),
    Measure("8 KiB O_DSYNC writes", "a second", raw=0.9),
    Measure("untar", "s", gocryptfs=5, time=True, digits=2),
]


def fio(folder, rw, *words):
    """What fio says of the job's `rw`."""
    out = run("fio", "--name=job", f"--rw={rw}", "--ioengine=psync", "--fallocate=none", "--output-format=json", f"--directory={folder}", *words)
    job = json.loads(out[out.index("{"):])["jobs"][0]
    return job["write" if rw == "write" else "read"]


def sequential(contestant, figures, o):
    folder, file = contestant.top, os.path.join(contestant.top, "big")
    size = ["--filename=big", "--bs=1M", f"--size={o.mib}M"]
    told = fio(folder, "write", *size, "--end_fsync=1")
    figures.add("sequential write with fsync", contestant, o.mib / (told["runtime"] / 1e3))
    fio(folder, "read", *size, "--invalidate=1")  # now the lower cache is warm
    told = fio(folder, "read", *size, "--invalidate=1")
    figures.add("sequential read, first cache cold", contestant, told["bw_bytes"] / 2**20)
    told = fio(folder, "read", *size, "--invalidate=0")
    figures.add("sequential read, all caches warm", contestant, told["bw_bytes"] / 2**20)
    os.unlink(file)
    contest.settle()


def log_writes(contestant, figures, requests, o):
    path = os.path.join(contestant.top, LOG)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:  # as PostgreSQL makes it: zeros, synced
        for _ in range(o.log_mib):
            file.write(bytes(2**20))
        file.flush()
        os.fsync(file.fileno())
    before = contestant.status().get("requests", 0)
    told = fio(contestant.top, "write", f"--filename={LOG}", "--bs=8k", f"--size={o.log_mib}M", "--sync=dsync", "--overwrite=1", "--invalidate=0")
    figures.add("8 KiB O_DSYNC writes", contestant, told["iops"])
    requests.setdefault(contestant.name, []).append((contestant.status().get("requests", 0) - before) / told["total_ios"])


def make_tar(path, count):
    chance = random.Random(4000)
    with tarfile.open(path, "w") as tar:
        for i in range(count):
            data = chance.randbytes(chance.choice([300, 2000, 5000, 12000]))
            member = tarfile.TarInfo(f"tree/{i // 40}/file-{i}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def untar(contestant, figures, requests, tar, o):
    before = contestant.status().get("requests", 0)
    figures.add("untar", contestant, timed(lambda: run("tar", "-C", contestant.top, "-xf", tar)))
    requests.setdefault(contestant.name, []).append((contestant.status().get("requests", 0) - before) / o.files)
    contest.settle()
    shutil.rmtree(os.path.join(contestant.top, "tree"))
    contest.settle()


def main():
    options = contest.parser(__doc__, 5)
    options.add_argument("--mib", type=int, default=1024)
    options.add_argument("--files", type=int, default=4000)
    o = contest.parse(options)
    if shutil.which("fio") is None:
        fail("fio is not installed (package fio)", contest.SKIPPED)
    o.log_mib = 16
    if o.quick:
        o.mib, o.files, o.log_mib = 8, 100, 1
    figures, log_requests, file_requests = contest.Figures(MEASURES, o.quick), {}, {}
    with contest.contestants(o, ["raw", "coffer", "gocryptfs"]) as here:
        tar = os.path.join(o.base, "files.tar")
        make_tar(tar, o.files)
        for number in range(o.rounds):
            sync = contest.sync_time(o.base)
            for each in contest.turns(here, number):
                sequential(each, figures, o)
                log_writes(each, figures, log_requests, o)
                untar(each, figures, file_requests, tar, o)
            figures.round_done(number, sync)
    figures.summary()
    print(f"FUSE requests an O_DSYNC write: {contest.spread(log_requests['coffer'])}; goal 1")
    print(f"FUSE requests an unpacked file: {contest.spread(file_requests['coffer'])}")
    return 0


sys.exit(main())
