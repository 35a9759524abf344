#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Volumes between Coffer and a real kernel's eCryptfs: with_kernel.py VOLUME_MOUNT ECRYPTFS_TOOL 128|192|256 [TEST …]

A lower folder goes to and fro as an archive.  A plain folder has the same done to it and says what must be in the mount.
Ends with 77 (skipped) only where the guest kernel is not installed, or nothing can be mounted."""
import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
import kernel
import tree

MOUNT, TOOL = map(os.path.abspath, sys.argv[1:3])
BITS = int(sys.argv[3])
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

    def __init__(self, passphrase, names="plain", xattr=False):
        self.passphrase, self.names, self.xattr = passphrase, names, xattr
        self.name_max = 255 if names == "plain" else 143

    def __str__(self):
        return f"AES-{BITS}, {self.names} names, metadata in {'an attribute' if self.xattr else 'a header'}"

    def for_coffer(self):
        options = ["--format", "ecryptfs", "--bits", str(BITS), "--key", self.passphrase]
        options += {"plain": [], "encrypted": ["--encrypt-names"], "utilities'": ["--utilities-names"]}[self.names]
        return options + ["--xattr-metadata"] * self.xattr

    def for_kernel(self, signatures):
        options = [f"ecryptfs_sig={signatures[0]}", "ecryptfs_cipher=aes", f"ecryptfs_key_bytes={BITS // 8}"]
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

    def drop(self):
        if os.path.ismount(self.mnt):
            subprocess.run([MOUNT, "--unmount", self.mnt], capture_output=True, timeout=60)


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

    def coffer(self, form):
        self.count += 1
        base = os.path.join(self.base, f"coffer{self.count}")
        os.mkdir(base)
        self.open.append(Coffer(base, form))
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
            except kernel.KernelError:
                pass
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


def lower_is_sound(coffer):
    """Every lower file has the length that its size asks for, and all have metadata of one shape, whoever wrote them: they differ
    in size, marker and key alone."""
    shapes = {}
    for path in coffer.lower_files():
        raw, at = metadata_of(path)
        size = int.from_bytes(raw[:8], "big")
        assert os.path.getsize(path) == at + (size + 4095) // 4096 * 4096, (path, size, os.path.getsize(path))
        wrapped = raw[27] - 13
        shapes.setdefault(raw[16:41] + raw[41 + wrapped :], path)
        assert at == (0 if coffer.form.xattr else HEADER), path
        if coffer.form.names != "plain":
            assert os.path.basename(path).startswith("ECRYPTFS_FNEK_ENCRYPTED."), path
    assert len(shapes) == 1, [(shape[:80].hex(), path) for shape, path in shapes.items()]
    assert tool("check", str(BITS), coffer.form.passphrase, *coffer.lower_files()) == ""


def to_and_fro(bench, form, kernel_first):
    """One side writes a tree, the other finds it and changes it, the first finds that and changes it again, and so on."""
    here, there, plain = bench.coffer(form), InKernel(bench.linux, form), bench.folder()
    sides = [("kernel", there), ("Coffer", here)] if kernel_first else [("Coffer", here), ("kernel", there)]
    rounds = [[("write", form.name_max)], [("change", form.name_max)], [("churn", 1, 60)], [("churn", 2, 60)], []]
    former = times = None
    for (who, side), steps in zip(itertools.cycle(sides), rounds):
        if former is None:
            side.load(None)
        else:
            bench.hand_over(former, side)
        if former is there:
            lower_is_sound(here)
        side.mount()
        try:
            if former is not None:
                found = side.step("manifest")
                same(found["what"], tree.step(plain, "manifest")["what"], f"what {who} finds")
                # What a mount said before its last write had reached the lower file may be a little early.
                late = {path: t - times[path] for path, t in found["times"].items() if abs(t - times[path]) > 10**9}
                assert not late, f"times that {who} finds: {late}"
                old = tree.OLD_NS // 10**9 * 10**9 if kernel_first else tree.OLD_NS  # a kernel's mount sets whole seconds
                assert found["times"]["metadata/old"] == times["metadata/old"] == old, (found["times"]["metadata/old"], old)
                assert side.step("too_long", form.name_max) == "ENAMETOOLONG"
            for step in steps:
                side.step(*step)
                tree.step(plain, *step)
            times = side.step("manifest")["times"]
        finally:
            side.unmount()
        former = side


def register_to_and_fro():
    for names, xattr, kernel_first in itertools.product(("plain", "encrypted", "utilities'"), (False, True), (False, True)):
        if names == "utilities'" and xattr != kernel_first:
            continue  # who makes the key of names has nothing to do with the rest: both kinds, not each with each
        form = Form(f"to and fro {BITS} {names} {xattr}", names, xattr)

        def case(bench, form=form, kernel_first=kernel_first):
            to_and_fro(bench, form, kernel_first)

        case.__name__ = f"{'kernel' if kernel_first else 'coffer'}_first_{names.strip(chr(39))}_{'xattr' if xattr else 'header'}"
        TESTS.append(case)


register_to_and_fro()


@test
def what_one_left_behind_the_end_the_other_does_not_uncover(bench):
    """Both have a file in a page whose rest was written through a mapping; the other one extends it."""
    form = Form("tails")
    plain = bench.folder()
    tree.step(plain, "dirty_tail")
    tree.step(plain, "past_the_tail")
    wanted = tree.step(plain, "manifest")["what"]
    here, there = bench.coffer(form), InKernel(bench.linux, form)
    for first, second, who in ((here, there, "kernel after Coffer"), (there, here, "Coffer after the kernel")):
        first.load(None)
        first.mount()
        first.step("dirty_tail")
        first.unmount()
        bench.hand_over(first, second)
        second.mount()
        second.step("past_the_tail")
        found = second.step("manifest")["what"]
        second.unmount()
        same(found, wanted, who)


def small_tree(bench, form):
    """Coffer's lower folder with a small tree, unmounted, and what is in it."""
    here = bench.coffer(form)
    here.mount()
    for size in (0, 1, 5000, 100000):
        tree.put(os.fsencode(here.mnt) + b"/%d" % size, tree.content(size, size))
    wanted = here.step("manifest")["what"]
    here.unmount()
    return here, wanted


def opens_under_new_key_alone(bench, here, wanted, new):
    """The kernel finds everything with the new passphrase, and with the old one opens nothing."""
    old = here.form.passphrase
    there = InKernel(bench.linux, here.form, [new])
    bench.hand_over(here, there)
    there.mount()
    same(there.step("manifest")["what"], wanted, f"kernel, under {new}")
    there.unmount()
    bench.linux("forget_passphrases")
    there = InKernel(bench.linux, here.form, [old])
    there.mount()
    for name in wanted:
        assert there.step("error_of_open", name) == "EIO", (name, "opens with the old passphrase")
    there.unmount()


@test
def files_rewrapped_by_coffer_open_under_the_new_passphrase_alone(bench):
    for xattr in (False, True):
        here, wanted = small_tree(bench, Form("the old one", xattr=xattr))
        before = {path: hashlib.sha256(open(path, "rb").read()[metadata_of(path)[1] :]).digest() for path in here.lower_files()}
        tool("rewrap", "the old one", "the new one", *here.lower_files())
        for path, digest in before.items():  # no data were touched
            assert hashlib.sha256(open(path, "rb").read()[metadata_of(path)[1] :]).digest() == digest, path
        opens_under_new_key_alone(bench, here, wanted, "the new one")
        bench.linux("forget_passphrases")


@test
def files_copied_to_another_key_while_mounted_open_under_it_alone(bench):
    here, wanted = small_tree(bench, Form("the old one"))
    here.mount("--next", "the next one")
    for name in wanted:
        reply = run(MOUNT, "--call", here.mnt, '{"command":"copy","name":"%s","step":8192,"finish":true,"replace":true}' % name)
        assert '"ok":true' in reply, reply
    assert {name: entry["sha256"] for name, entry in here.step("manifest")["what"].items()} == \
        {name: entry["sha256"] for name, entry in wanted.items()}
    here.unmount()
    opens_under_new_key_alone(bench, here, wanted, "the next one")


@test
def a_kernel_s_files_of_two_keys_open_under_either_and_are_rewrapped_to_one(bench):
    form = Form("key one")
    there, plain = InKernel(bench.linux, form, ["key one", "key two"]), bench.folder()
    there.load(None)
    there.mount(f"ecryptfs_sig={there.signatures[1][0]}")
    os.mkdir(os.path.join(plain, "files"))
    there.step("write", form.name_max)
    there.unmount()
    shutil.rmtree(plain)
    os.mkdir(plain)
    tree.step(plain, "write", form.name_max)
    wanted = tree.step(plain, "manifest")["what"]
    for key in ("key one", "key two"):
        here = bench.coffer(Form(key))
        bench.hand_over(there, here)
        assert all(metadata_of(path)[0].count(b"_CONSOLE") == 2 for path in here.lower_files())
        here.mount()
        same(here.step("manifest")["what"], wanted, f"Coffer, with {key}")
        here.unmount()
    here.form.passphrase = "key three"
    tool("rewrap", "key two", "key three", *sorted({os.stat(path).st_ino: path for path in here.lower_files()}.values()))
    lower_is_sound(here)
    bench.linux("forget_passphrases")
    there = InKernel(bench.linux, form, ["key three"])
    bench.hand_over(here, there)
    there.mount()
    same(there.step("manifest")["what"], wanted, "kernel, with key three")
    there.unmount()


@test
def wrapped_passphrase_files_go_both_ways(bench):
    path = os.path.join(bench.base, "wrapped-passphrase")
    for passphrase in ("p", "0123456789abcde", "0123456789abcdef", "c0ffee" * 5 + "00", "x" * 64):
        tool("wrap", path, passphrase, "wrapping it")
        assert run("ecryptfs-unwrap-passphrase", path, "-", stdin="wrapping it").split("\n")[-2] == passphrase
        os.unlink(path)
        run("ecryptfs-wrap-passphrase", path, "-", stdin=f"{passphrase}\nwrapping it too")
        assert tool("unwrap", path, "wrapping it too") == passphrase + "\n"
        assert tool("unwrap", path, "wrapping it", code=1) == ""
    # All the way: what Coffer wrapped opens what Coffer wrote.
    here, wanted = small_tree(bench, Form("from a file", "utilities'"))
    file = os.path.join(bench.linux.share, "wrapped-passphrase")
    tool("wrap", file, "from a file", "wrapping it")
    there = InKernel(bench.linux, here.form)
    bench.linux("forget_passphrases")
    assert bench.linux("insert_wrapped", "wrapped-passphrase", "wrapping it")[0] in there.signatures[0]
    bench.hand_over(here, there)
    there.mount()
    same(there.step("manifest")["what"], wanted, "kernel, with the wrapped passphrase")
    there.unmount()


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
    wanted = sys.argv[4:]
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


if __name__ == "__main__":
    sys.exit(main())
