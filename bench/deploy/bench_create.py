#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`coffer db create` of a PostgreSQL against `initdb` on a plain folder of the same disk: bench_create.py COFFER [ROUNDS].

They take turns.  What is created is mounted, runs, and answers; initdb only writes its folder."""
import glob
import os
import pwd
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

COFFER = os.path.abspath(sys.argv[1])
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
INITDB = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: int(path.split("/")[4]))[-1]
HOME = tempfile.mkdtemp(prefix="coffer-bench-")
STATE = HOME + "/state"


def coffer(*words):
    subprocess.run([COFFER, "--state", STATE, *words], stdout=subprocess.DEVNULL, check=True)


def timed(run):
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def initdb(folder):
    os.mkdir(folder, 0o700)
    user = []
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        user = ["runuser", "-u", "postgres", "--"]
    # As Coffer calls it.
    subprocess.run([*user, INITDB, "--pgdata=" + folder, "--username=postgres", "--auth-local=peer", "--auth-host=scram-sha-256",
                    "--data-checksums", "--encoding=UTF8", "--locale=C.UTF-8"], stdout=subprocess.DEVNULL, check=True, cwd="/")


def main():
    os.chmod(HOME, 0o711)
    coffer("serve", "--http", "none")
    plain, created = [], []
    try:
        for turn in range(ROUNDS + 1):
            name = f"db{turn}"
            plain.append(timed(lambda: initdb(f"{HOME}/{name}")))
            created.append(timed(lambda: coffer("db", "create", name, "--engine", "postgresql")))
            coffer("db", "stop", name)  # so that the next one has the machine for itself
    finally:
        coffer("stop")
        shutil.rmtree(HOME)
    del plain[0], created[0]  # programs came from the disk
    ratios = [after / before for before, after in zip(plain, created)]
    print(f"initdb {statistics.median(plain):.2f} s, db create {statistics.median(created):.2f} s: "
          f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})")


main()
