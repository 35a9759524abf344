#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Changing the key of a volume: what it takes, and what a database on it feels of it.

    bench/volume/bench_rotation.py [--build DIR] [--dir DIR] [--rounds N] [--files N] [--mib N] [--scale N] [--seconds N] [--quick]

A round: `coffer volume rotate --rewrap` of a volume of --files small files, offline; `--reencrypt` of a volume of --mib in files of mixed
sizes, offline, and for the floor a copy of the same lower folder with each file synced; TPC-B with nothing beside it and then during an online
`--reencrypt` of the same volume at its default throttle, --seconds each.  The commands are the whole thing, proof and escrow included.
"""
import os
import random
import shutil
import statistics
import subprocess
import sys
import time

import bench_pg
import contest
from contest import Measure, fail, run, timed

MEASURES = [
    Measure("re-wrap", "s", time=True, digits=2),
    Measure("re-encryption, offline", "MiB/s", copy=0.7),
    Measure("TPC-B during re-encryption", "tps", quiet=0.9),
]
REWRAP_SECONDS = 10  # the goal, for 10,000 files


def fill(folder, sizes, chance):
    for i, size in enumerate(sizes):
        os.makedirs(f"{folder}/{i // 200}", exist_ok=True)
        with open(f"{folder}/{i // 200}/file-{i}", "wb") as file:
            while size > 0:
                size -= file.write(chance.randbytes(min(size, 2**20)))
    contest.settle()


def mixed_sizes(mib, chance):
    """Half the bytes in files of 16 MiB, as a database's bigger tables; the rest from 8 KiB up."""
    left, sizes = mib * 2**20, []
    while left > 0:
        sizes.append(min(left, 2**24 if left > mib * 2**19 else chance.choice([2**13, 2**15, 2**18, 2**20])))
        left -= sizes[-1]
    return sizes


def rotate(volume, work, path):
    volume.coffer("volume", "rotate", work, *volume.keys(), path)


def copy_synced(lower, copy):
    run("cp", "-a", lower, copy)
    # sync(1) with names is fsync of each.
    run("find", copy, "-type", "f", "-exec", "sync", "{}", "+")


def lower_bytes(folder):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


class Part:
    """A contestant by another name, for the figures."""

    def __init__(self, name):
        self.name = name


COFFER, COPY, QUIET = Part("coffer"), Part("copy"), Part("quiet")


def offline(small, big, base, figures, number):
    figures.add("re-wrap", COFFER, timed(lambda: rotate(small, "--rewrap", small.lower)))
    contest.settle()
    mib, copy = lower_bytes(big.lower) / 2**20, os.path.join(base, "copy")

    def ours():
        figures.add("re-encryption, offline", COFFER, mib / timed(lambda: rotate(big, "--reencrypt", big.lower)))
        contest.settle()

    def floor():
        figures.add("re-encryption, offline", COPY, mib / timed(lambda: copy_synced(big.lower, copy)))
        contest.settle()
        shutil.rmtree(copy)
        contest.settle()

    for work in (ours, floor) if number % 2 else (floor, ours):
        work()


def online(cluster, figures, o):
    """The two spans; the seconds that the rotation took in all."""
    volume = cluster.contestant
    cluster.start()
    try:
        cluster.sql("SELECT sum(abalance) FROM pgbench_accounts")
        cluster.sql("CHECKPOINT")
        figures.add("TPC-B during re-encryption", QUIET, cluster.tps(o.seconds)[0])
        begun = time.monotonic()
        words = [os.path.join(o.build, "coffer"), "volume", "rotate", "--reencrypt", *o.pace, *volume.keys(), volume.top]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as rotation:
            tps, _ = cluster.tps(o.seconds)
            during = rotation.poll() is None
            if rotation.wait() != 0:
                fail(f"the online rotation ended with {rotation.returncode}")
        figures.add("TPC-B during re-encryption", COFFER, tps)
        if not during and not o.quick:
            print(f"the rotation ended within the {o.seconds} seconds: give fewer --seconds or a larger --scale")
    finally:
        cluster.stop()
    contest.settle()
    return time.monotonic() - begun


def volumes(o):
    """Three volumes, each in a folder of its own."""
    for name in ("small", "big", "database"):
        base = os.path.join(o.base, name)
        os.mkdir(base)
        yield contest.Coffer(base, o)


def measure(o, figures):
    chance, spans = random.Random(4711), []
    small, big, database = volumes(o)
    for volume, sizes in ((small, [4096] * o.files), (big, mixed_sizes(o.mib, chance))):
        volume.open()
        fill(volume.top, sizes, chance)
        volume.close()
    database.open()
    try:
        cluster = bench_pg.Cluster(database, o)
        for number in range(o.rounds):
            sync = contest.sync_time(o.base)
            offline(small, big, o.base, figures, number)
            spans.append(online(cluster, figures, o))
            figures.round_done(number, sync)
    finally:
        database.close()
    return spans


def main():
    options = contest.parser(__doc__, 3)
    options.add_argument("--files", type=int, default=10000)
    options.add_argument("--mib", type=int, default=1024)
    options.add_argument("--scale", type=int, default=30)
    options.add_argument("--seconds", type=int, default=15)
    o = contest.parse(options)
    o.wal_sync, o.pace = "fdatasync", []
    if bench_pg.BIN is None:
        fail("no PostgreSQL server is installed (package postgresql)", contest.SKIPPED)
    if contest.Coffer.missing() is not None:
        fail(contest.Coffer.missing(), contest.SKIPPED)
    if o.quick:
        o.files, o.mib, o.scale, o.seconds, o.pace = 50, 4, 1, 1, ["--duty", "1"]
    figures = contest.Figures(MEASURES, o.quick)
    with contest.contestants(o, []):
        spans = measure(o, figures)
    figures.summary()
    wrapped = statistics.median(figures.values["re-wrap"]["coffer"])
    if not o.quick:
        print(f"re-wrap of {o.files} files: {wrapped:.2f} s; goal {REWRAP_SECONDS} s for 10000: "
              f"{'reached' if wrapped * 10000 / o.files <= REWRAP_SECONDS else 'NOT REACHED'}")
    print(f"online re-encryption of the database took {contest.spread(spans, 1)} s in all")
    return 0


sys.exit(main())
