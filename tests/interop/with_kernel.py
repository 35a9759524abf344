#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Coffer and a real kernel's eCryptfs take turns in one lower folder; for arguments see sides.py

A plain folder has the same done to it and says what must be in the mount."""
import hashlib
import itertools
import os
import shutil
import sys

sys.dont_write_bytecode = True
import tree
from sides import BITS, HEADER, TESTS, Form, InKernel, main, metadata_of, same, small_tree, test, tool


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
    rounds = [[("write", form.name_max)], [("change", form.name_max), ("churn", 1, 60)], [("churn", 2, 60)], []]
    if kernel_first:
        del rounds[2]  # the kernel ends with its own files under Coffer's changes
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
        if names == "utilities'" and (xattr != kernel_first or BITS != 256):
            continue  # who makes the key of names has nothing to do with the rest: not each with each
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
        here.call(command="copy", name=name, step=8192, finish=True)
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


sys.exit(main())
