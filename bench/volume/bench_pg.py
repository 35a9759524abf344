#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL on a mounted volume, on the raw disk and on gocryptfs.

    bench/volume/bench_pg.py [--build DIR] [--dir DIR] [--rounds N] [--scale N] [--seconds N] [--wal-sync METHOD] [--quick]

Each contestant has a cluster of its own (shared_buffers 64 MB, fsync and full pages on), which runs only in its turn.  A turn: TPC-B with
eight clients for --seconds, select-only as long, CREATE DATABASE three times with either strategy, and `pgbench -i` into an empty database.
PostgreSQL runs as an ordinary user (postgres, else nobody) if this program runs as root.
"""
import os
import re
import shutil
import statistics
import subprocess
import sys

import contest
from contest import Measure, fail, run, timed


def newest_server():
    base = "/usr/lib/postgresql"
    versions = sorted((d for d in os.listdir(base) if d.isdigit()), key=int) if os.path.isdir(base) else []
    return f"{base}/{versions[-1]}/bin" if versions else None


BIN = newest_server()
USER = "postgres" if subprocess.run(["id", "postgres"], capture_output=True).returncode == 0 else "nobody"
CLIENTS = ["-c", "8", "-j", "2"]

MEASURES = [
    Measure("TPC-B", "tps", raw=0.85, gocryptfs=1.3),
    Measure("select-only", "tps", raw=0.95, gocryptfs=1.5),
    Measure("pgbench -i", "s", raw=0.7, gocryptfs=5, time=True, digits=1),
    Measure("CREATE DATABASE", "ms", raw=1 / 2.2, time=True),
    Measure("CREATE DATABASE … FILE_COPY", "ms", raw=1 / 2.2, time=True),
]


def user(*command, **more):
    as_user = ["runuser", "-u", USER, "--"] if contest.ROOT else []
    return run(*as_user, *command, cwd="/", **more)


class Cluster:
    def __init__(self, contestant, o):
        self.contestant = contestant
        self.data = os.path.join(contestant.top, "data")
        self.run = os.path.join(o.base, "run-" + contestant.name)
        for folder in (self.data, self.run):
            os.mkdir(folder, 0o700)
            if contest.ROOT:
                shutil.chown(folder, USER)
        user(f"{BIN}/initdb", "-D", self.data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="ascii") as file:
            file.write(f"listen_addresses = ''\nunix_socket_directories = '{self.run}'\nshared_buffers = 64MB\n"
                       f"max_wal_size = 4GB\ncheckpoint_timeout = 30min\nwal_sync_method = {o.wal_sync}\n")
        self.start()
        self.client("createdb", "bench")
        self.client("pgbench", "-i", "-q", "-s", str(o.scale), "bench")
        self.stop()

    def start(self):
        user(f"{BIN}/pg_ctl", "-D", self.data, "-l", os.path.join(self.run, "log"), "-w", "-t", "120", "start")

    def stop(self):
        user(f"{BIN}/pg_ctl", "-D", self.data, "-w", "-m", "fast", "stop")

    def client(self, program, *words):
        return run(f"{BIN}/{program}", "-h", self.run, "-U", "bench", *words)

    def sql(self, text):
        return self.client("psql", "-d", "bench", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", text)

    def tps(self, seconds, *words):
        """Transactions a second without connecting, and requests of the filesystem for each."""
        before = self.contestant.status().get("requests", 0)
        out = self.client("pgbench", "-n", *CLIENTS, "-T", str(seconds), *words, "bench")
        requests = self.contestant.status().get("requests", 0) - before
        done = int(re.search(r"actually processed: (\d+)", out).group(1))
        return float(re.search(r"^tps = ([0-9.]+)", out, re.M).group(1)), requests / max(done, 1)


def create_database(cluster, strategy, times):
    # Strategies came with PostgreSQL 15; before it there was only the copy of files.
    words = f" STRATEGY {strategy}" if int(cluster.sql("SHOW server_version_num")) >= 150000 else ""
    taken = []
    for _ in range(times):
        taken.append(timed(lambda: cluster.sql(f"CREATE DATABASE other{words}")))
        cluster.sql("DROP DATABASE other")
    return statistics.median(taken) * 1e3


def turn(cluster, figures, requests, o):
    contestant = cluster.contestant
    cluster.start()
    try:
        # Vacuumed and read once, so that no contestant begins colder than another.
        cluster.sql("VACUUM pgbench_branches, pgbench_tellers")
        cluster.sql("SELECT sum(abalance) FROM pgbench_accounts")
        cluster.sql("CHECKPOINT")
        tps, each = cluster.tps(o.seconds)
        figures.add("TPC-B", contestant, tps)
        requests.setdefault(contestant.name, []).append(each)
        tps, _ = cluster.tps(o.seconds, "-S")
        figures.add("select-only", contestant, tps)
        cluster.sql("CHECKPOINT")
        figures.add("CREATE DATABASE", contestant, create_database(cluster, "WAL_LOG", o.databases))
        if not o.quick:
            figures.add("CREATE DATABASE … FILE_COPY", contestant, create_database(cluster, "FILE_COPY", o.databases))
        cluster.sql("CREATE DATABASE fill")
        figures.add("pgbench -i", contestant, timed(lambda: cluster.client("pgbench", "-i", "-q", "-s", str(o.scale), "fill")))
        cluster.sql("DROP DATABASE fill")
    finally:
        cluster.stop()
    contest.settle()


def main():
    options = contest.parser(__doc__, 5)
    options.add_argument("--scale", type=int, default=30)
    options.add_argument("--seconds", type=int, default=15, help="of each span of TPC-B and of select-only (15)")
    options.add_argument("--wal-sync", default="fdatasync", help="wal_sync_method of all clusters (fdatasync)")
    o = contest.parse(options)
    if BIN is None:
        fail("no PostgreSQL server is installed (package postgresql)", contest.SKIPPED)
    o.databases = 3
    if o.quick:
        o.scale, o.seconds, o.databases = 1, 1, 1
    figures, requests = contest.Figures(MEASURES, o.quick), {}
    with contest.contestants(o, ["raw", "coffer"] + ([] if o.quick else ["gocryptfs"])) as here:
        clusters = {each: Cluster(each, o) for each in here}
        for number in range(o.rounds):
            sync = contest.sync_time(o.base)
            for each in contest.turns(here, number):
                turn(clusters[each], figures, requests, o)
            figures.round_done(number, sync)
    figures.summary()
    print(f"FUSE requests a TPC-B transaction: {contest.spread(requests['coffer'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
