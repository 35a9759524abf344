# SPDX-License-Identifier: Apache-2.0
"""The two sides of a test between Coffer and a real kernel's eCryptfs, what goes to and fro between them, and the test runner.

A lower folder goes from one to the other as an archive.  Arguments of every test program here:
COFFER VOLUME_MOUNT ECRYPTFS_TOOL 128|192|256 [TEST …]
It ends with 77 (skipped) only where the guest kernel is not installed, or nothing can be mounted."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import kernel
import tree

COFFER, MOUNT, TOOL = map(os.path.abspath, sys.argv[1:4])
BITS = int(sys.argv[4])
ROOT = os.geteuid() == 0
HEADER = 8192
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def run(*command, stdin=None, code=0):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, errors="surrogateescape", timeout=120)
    assert done.returncode == code, (command, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


def tool(*arguments, code=0):
    return run(TOOL, *arguments, code=code)


class Form:
    """How a volume is written: its passphrase, and the options of both sides that say the rest."""

    def __init__(self, passphrase, names="plain", xattr=False, kernel_cipher=("aes", BITS // 8)):
        self.passphrase, self.names, self.xattr, self.kernel_cipher = passphrase, names, xattr, kernel_cipher
        self.name_max = 255 if names == "plain" else 143

    def for_coffer(self):
        options = ["--format", "ecryptfs", "--bits", str(BITS), "--key", self.passphrase]
        options += {"plain": [], "encrypted": ["--encrypt-names"], "utilities'": ["--utilities-names"]}[self.names]
        return options + ["--xattr-metadata"] * self.xattr

    def for_kernel(self, signatures):
        options = [f"ecryptfs_sig={signatures[0]}", "ecryptfs_cipher=%s,ecryptfs_key_bytes=%d" % self.kernel_cipher]
        options += {"plain": [], "encrypted": [f"ecryptfs_fnek_sig={signatures[0]}"],
                    "utilities'": [f"ecryptfs_fnek_sig={signatures[1]}"]}[self.names]
        return ",".join(options + ["ecryptfs_xattr_metadata"] * self.xattr)


class Coffer:
    """A lower folder here, and Coffer's mount of it."""

    def __init__(self, base, form):
        self.base, self.form = base, form
        self.lower, self.mnt, self.log = (os.path.join(base, name) for name in ("lower", "mnt", "log"))
        os.mkdir(self.lower)
        os.mkdir(self.mnt)

    def load(self, archive):
        run("rm", "-rf", self.lower)
        os.mkdir(self.lower)
        if archive:
            run("tar", "--xattrs", "--xattrs-include=user.*", "-xpf", archive, "-C", self.lower)

    def save(self, archive):
        run("tar", "--xattrs", "--xattrs-include=user.*", "--format=posix", "-cf", archive, "-C", self.lower, ".")

    def mount(self, *more):
        run(MOUNT, "--log", self.log, *([] if ROOT else ["--only-me"]), *self.form.for_coffer(), *more, self.lower, self.mnt)

    def unmount(self):
        run(MOUNT, "--unmount", self.mnt)

    def step(self, name, *arguments):
        return tree.step(self.mnt, name, *arguments)

    def lower_files(self):
        return [os.path.join(folder, name) for folder, _, names in os.walk(self.lower) for name in names
                if os.path.isfile(os.path.join(folder, name)) and not os.path.islink(os.path.join(folder, name))]

    def call(self, **request):
        reply = json.loads(run(MOUNT, "--call", self.mnt, json.dumps(request)))
        assert reply["ok"], reply
        return reply

    def kill(self):
        """The process that serves the mount, not what it has written."""
        pid = self.call(command="status")["pid"]
        os.kill(pid, signal.SIGKILL)
        while os.path.exists(f"/proc/{pid}"):
            time.sleep(0.01)
        run(*(["umount", "-l"] if ROOT else ["fusermount3", "-u", "-z"]), self.mnt)

    def drop(self):
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            mounted = any(line.split()[4] == self.mnt for line in mounts)
        if mounted and subprocess.run([MOUNT, "--unmount", self.mnt], capture_output=True, timeout=60).returncode != 0:
            subprocess.run([*(["umount", "-l"] if ROOT else ["fusermount3", "-u", "-z"]), self.mnt], timeout=60)


class InKernel:
    """A lower folder in the guest, and its kernel's mount of it."""

    def __init__(self, linux, form, passphrases=()):
        self.linux, self.form = linux, form
        self.signatures = [linux("add_passphrase", passphrase) for passphrase in passphrases or [form.passphrase]]

    def load(self, archive):
        self.linux("load", "lower", archive and os.path.basename(archive))

    def save(self, archive):
        self.linux("save", "lower", os.path.basename(archive))

    def mount(self, *more):
        self.linux("mount_ecryptfs", "lower", ",".join([self.form.for_kernel(self.signatures[0]), *more]))

    def unmount(self):
        self.linux("unmount")

    def step(self, name, *arguments):
        return self.linux("step", name, *arguments)


class Bench:
    """What a test has: the guest, a folder, and archives that both sides see."""

    def __init__(self, linux):
        self.linux = linux
        self.base = tempfile.mkdtemp(prefix="coffer-interop-")
        self.count = 0
        self.open = []

    def coffer(self, form, kind=Coffer):
        self.count += 1
        base = os.path.join(self.base, f"coffer{self.count}")
        os.mkdir(base)
        self.open.append(kind(base, form))
        return self.open[-1]

    def folder(self):
        self.count += 1
        path = os.path.join(self.base, f"plain{self.count}")
        os.mkdir(path)
        return path

    def archive(self):
        self.count += 1
        return os.path.join(self.linux.share, f"{os.path.basename(self.base)}-{self.count}.tar")

    def hand_over(self, giver, taker):
        archive = self.archive()
        giver.save(archive)
        taker.load(archive)
        os.unlink(archive)

    def drop(self):
        for volume in self.open:
            volume.drop()
        for request in ("unmount", "forget_passphrases"):
            try:
                self.linux(request)
            except (kernel.KernelError, OSError):
                pass  # it was not mounted, or the guest is gone
        shutil.rmtree(self.base, ignore_errors=True)


def same(found, wanted, who):
    differs = [f"{path!r}: {found.get(path)} instead of {wanted.get(path)}" for path in sorted({*found, *wanted})
               if found.get(path) != wanted.get(path)]
    assert not differs, f"{who}: {len(differs)} of {len(wanted)} differ:\n" + "\n".join(differs[:10])


def metadata_of(path):
    """The bytes that open a lower file, and where its extents begin."""
    try:
        return os.getxattr(path, "user.ecryptfs"), 0
    except OSError:
        with open(path, "rb") as file:
            return file.read(HEADER), HEADER


def small_tree(bench, form):
    """Coffer's lower folder with a small tree, unmounted, and what is in it."""
    here = bench.coffer(form)
    here.mount()
    for size in (0, 1, 5000, 100000):
        tree.put(os.fsencode(here.mnt) + b"/%d" % size, tree.content(size, size))
    wanted = here.step("manifest")["what"]
    here.unmount()
    return here, wanted


def may_mount(base):
    """Why nothing can be mounted here, or None."""
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    lower, mnt = os.path.join(base, "lower"), os.path.join(base, "mnt")
    os.mkdir(lower)
    os.mkdir(mnt)
    done = subprocess.run([MOUNT, *([] if ROOT else ["--only-me"]), lower, mnt], capture_output=True, text=True)
    if done.returncode == 0:
        run(MOUNT, "--unmount", mnt)
        return None
    return done.stderr if "cannot mount" in done.stderr else None


def main():
    wanted = sys.argv[5:]
    if packages := kernel.missing():
        print("not installed:", *packages)
        return 77
    base = tempfile.mkdtemp(prefix="coffer-interop-")
    failed, linux = [], None
    try:
        if why := may_mount(base):
            print("this process may not mount:", why)
            return 77
        os.mkdir(os.path.join(base, "kernel"))
        start = time.time()
        linux = kernel.Kernel(os.path.join(base, "kernel"))
        print(f"Linux {linux.release} serves after {time.time() - start:.1f} s", flush=True)
        for function in TESTS:
            if wanted and function.__name__ not in wanted:
                continue
            bench, start = Bench(linux), time.time()
            try:
                function(bench)
                print(f"ok   {function.__name__} {time.time() - start:.1f} s", flush=True)
            except Exception:
                traceback.print_exc(limit=-3)
                print("FAIL", function.__name__, flush=True)
                failed.append(function.__name__)
            finally:
                bench.drop()
    finally:
        if linux is not None:
            linux.stop()
        shutil.rmtree(base, ignore_errors=True)
    print(f"{len(failed)} failed", *failed)
    return 1 if failed else 0
