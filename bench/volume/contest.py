# SPDX-License-Identifier: Apache-2.0
"""What the volume benchmarks share: the contestants, the rounds, and the judgement.

A contestant is a folder to work in: raw, on the disk itself; coffer, a mounted volume; gocryptfs, a mounted gocryptfs.  All three are on
one disk (--dir), and names are plain on all.  They take turns, another one first in each round, so that what the machine does meanwhile
meets all of them.  A measure is a rate or a time; its ratio is always a speed, above 1 where the contestant is faster than the floor.
"""
import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.geteuid() == 0
SKIPPED = 77


def fail(message, code=1):
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    sys.exit(code)


def run(*command, **more):
    """Run to the end; the output, or the end of this program."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if done.returncode != 0:
        fail(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def timed(work):
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def settle():
    """Nothing of one turn is left to be written, or to be discarded, in the next."""
    os.sync()


# ---- contestants ----


class Raw:
    name = "raw"

    def __init__(self, base, options):
        self.top = self.lower = os.path.join(base, self.name)

    @staticmethod
    def missing():
        return None

    def open(self):
        os.makedirs(self.top, exist_ok=True)

    def close(self):
        pass

    def status(self):
        return {}


class Mounted:
    def __init__(self, base, options):
        self.base = os.path.join(base, self.name)
        self.lower = os.path.join(self.base, "lower")
        self.top = os.path.join(self.base, "mnt")
        self.secret = os.path.join(self.base, "passphrase")
        self.options = options

    @staticmethod
    def missing():
        return None if os.path.exists("/dev/fuse") else "/dev/fuse is not there"

    def open(self):
        new = not os.path.exists(self.lower)
        os.makedirs(self.lower, exist_ok=True)
        os.makedirs(self.top, exist_ok=True)
        if new:
            with open(self.secret, "w", encoding="ascii") as file:
                file.write("of no account")
            os.chmod(self.secret, 0o600)
            self.make()
        self.mount()

    def make(self):
        pass

    def status(self):
        return {}


class Coffer(Mounted):
    """A volume whose key is in a keyring, as `coffer volume create` makes it."""

    name = "coffer"

    def keys(self):
        return ["--keyring", os.path.join(self.base, "keyring"), "--kek", "file:" + os.path.join(self.base, "kek")]

    def coffer(self, *words):
        return run(os.path.join(self.options.build, "coffer"), *words)

    def make(self):
        self.coffer("keyring", "init", *self.keys())
        self.coffer("volume", "create", *self.keys(), self.lower)

    def mount(self):
        self.coffer("volume", "mount", *self.keys(), self.lower, self.top)

    def close(self):
        if os.path.ismount(self.top):
            self.coffer("volume", "unmount", self.top)

    def ask(self, **request):
        """One request on the control channel (src/volume/fuse/control.h)."""
        device = os.stat(self.top).st_dev
        base = "/run" if ROOT else os.environ["XDG_RUNTIME_DIR"]
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(f"{base}/coffer/volume-{os.major(device)}-{os.minor(device)}.sock")
            channel.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(channel.makefile().readline())

    def status(self):
        return self.ask(command="status")


class Gocryptfs(Mounted):
    name = "gocryptfs"

    @staticmethod
    def missing():
        return Mounted.missing() or (None if shutil.which("gocryptfs") else "gocryptfs is not installed")

    def make(self):
        run("gocryptfs", "-q", "-init", "-plaintextnames", "-scryptn", "10", "-passfile", self.secret, self.lower)

    def mount(self):
        others = ["-allow_other"] if ROOT else []
        run("gocryptfs", "-q", *others, "-passfile", self.secret, self.lower, self.top)

    def close(self):
        if os.path.ismount(self.top):
            run("fusermount3", "-u", self.top) if shutil.which("fusermount3") else run("umount", self.top)


KINDS = {kind.name: kind for kind in (Raw, Coffer, Gocryptfs)}


# ---- options, and a run from beginning to end ----


def parser(doc, rounds):
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--build", default="build-bench", help="the build folder (build-bench)")
    options.add_argument("--dir", default=os.environ.get("TMPDIR", "/var/tmp"), help="where on the disk ($TMPDIR, or /var/tmp)")
    options.add_argument("--rounds", type=int, default=rounds)
    options.add_argument("--quick", action="store_true", help="one round of tiny sizes: does the program work? Its figures mean nothing")
    return options


def parse(options):
    o = options.parse_args()
    o.build = os.path.abspath(o.build)
    o.rounds = 1 if o.quick else o.rounds
    return o


@contextlib.contextmanager
def contestants(o, names):
    """Those of `names` that can run here, open, in a folder of their own that is gone afterwards."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # through what closes and removes
    base = o.base = tempfile.mkdtemp(prefix="coffer-bench-", dir=o.dir)
    os.chmod(base, 0o755)
    here = []
    try:
        for kind in (KINDS[name] for name in names):
            why = kind.missing()
            if why is not None and kind is Coffer:
                fail(why, SKIPPED)
            if why is not None:
                print(f"without {kind.name}: {why}")
                continue
            here.append(kind(base, o))
            here[-1].open()
        yield here
    finally:
        for each in here:
            each.close()
        shutil.rmtree(base, ignore_errors=not o.quick)


def turns(here, number):
    """The contestants in the order of this round."""
    first = number % len(here)
    return here[first:] + here[:first]


def sync_time(folder, count=100):
    """The median seconds of one fdatasync after overwriting 8 KiB, on the disk itself: what every ratio has to be read beside."""
    path = os.path.join(folder, "sync-time")
    block, taken = os.urandom(8192), []
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(fd, bytes(len(block) * count), 0)
        os.fsync(fd)
        for i in range(count):
            os.pwrite(fd, block, i * len(block))
            taken.append(timed(lambda: os.fdatasync(fd)))
    finally:
        os.close(fd)
        os.unlink(path)
    return statistics.median(taken)


# ---- figures ----


class Measure:
    """`goals`: the least ratio to that floor, or None where there is none.  A time is better when it is small."""

    def __init__(self, name, unit, time=False, digits=0, **goals):
        self.name, self.unit, self.time, self.digits = name, unit, time, digits
        self.goals = goals


def spread(values, digits=2):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


class Figures:
    def __init__(self, measures, quick):
        self.measures, self.quick = measures, quick
        self.values = {measure.name: {} for measure in measures}
        self.syncs = []

    def add(self, measure, contestant, value):
        self.values[measure].setdefault(contestant.name, []).append(value)

    def round_done(self, number, sync):
        self.syncs.append(sync)
        parts = []
        for measure in self.measures:
            last = [f"{name} {values[-1]:.{measure.digits}f}" for name, values in self.values[measure.name].items()]
            if last:
                parts.append(f"{measure.name}: {', '.join(last)} {measure.unit}")
        print(f"round {number + 1} (fdatasync {sync * 1e3:.2f} ms): {'; '.join(parts)}", flush=True)

    def ratios(self, measure, name, floor):
        of = self.values[measure.name]
        pairs = zip(of.get(name, []), of.get(floor, []))
        return [(b / a if measure.time else a / b) for a, b in pairs if a > 0 and b > 0]

    def summary(self):
        """Prints it; the number of goals that were missed."""
        missed = 0
        print(f"the disk's own fdatasync of 8 KiB: {spread([s * 1e3 for s in self.syncs])} ms, median of each round")
        for measure in self.measures:
            for name, values in self.values[measure.name].items():
                print(f"{measure.name}: {name} {spread(values, measure.digits)} {measure.unit}")
            for floor in self.values[measure.name]:
                ratios = self.ratios(measure, "coffer", floor)
                if floor != "coffer" and ratios:
                    missed += self.judge(f"    coffer is {spread(ratios)} times as fast as {floor}", statistics.median(ratios),
                                         measure.goals.get(floor))
        return missed

    def judge(self, text, ratio, goal):
        if goal is None or self.quick:
            print(text)
            return 0
        print(f"{text}; goal {goal:.2f}: {'reached' if ratio >= goal else 'NOT REACHED'}")
        return ratio < goal
