#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Volumes of the command `coffer` and a real kernel's eCryptfs; for arguments see sides.py"""
import json
import os
import sys

sys.dont_write_bytecode = True
import tree
from sides import BITS, COFFER, ROOT, Coffer, Form, InKernel, main, run, same, test

RECORD = ".coffer.volume"  # Coffer's own file in a lower folder: a kernel that encrypts no names lists it, and cannot open it


class ByCommand(Coffer):
    """A lower folder in a keyring, mounted with the command."""

    def __init__(self, base, form):
        super().__init__(base, form)
        os.environ.update(COFFER_KEYRING=os.path.join(base, "k.coffer"), COFFER_KEK="file:" + os.path.join(base, "kek.bin"))
        run(COFFER, "keyring", "init")

    def mount(self, *more):
        run(COFFER, "volume", "mount", "--log", self.log, *([] if ROOT else ["--only-me"]), *more, self.lower, self.mnt)

    def unmount(self):
        run(COFFER, "volume", "unmount", self.mnt)

    def export(self, share, name, *more):
        return json.loads(run(COFFER, "volume", "export", "--json", "--passphrase-file", os.path.join(share, name), *more, self.lower))


class Exported:
    """The lower folder in the guest, mounted as the export said."""

    def __init__(self, linux, options):
        self.linux, self.options = linux, options
        self.load, self.save = InKernel.load.__get__(self), InKernel.save.__get__(self)
        self.unmount, self.step = InKernel.unmount.__get__(self), InKernel.step.__get__(self)

    def mount(self):
        self.linux("mount_ecryptfs", "lower", self.options)


def secret_file(bench, name, text):
    path = os.path.join(bench.base, name)
    with open(path, "w", opener=lambda file, flags: os.open(file, flags, 0o600), encoding="utf-8") as file:
        file.write(text)
    return path


@test
def a_kernel_mounts_a_volume_of_the_keyring_with_what_export_says(bench):
    for names, wrapped in (("plain", False), ("encrypted", True)):
        form = Form("none of its own", names)
        here, plain = bench.coffer(form, ByCommand), bench.folder()
        run(COFFER, "volume", "create", "--cipher", f"aes-{BITS}", *["--encrypt-names"] * (names != "plain"), here.lower)
        here.mount()
        here.step("write", form.name_max)
        here.unmount()
        tree.step(plain, "write", form.name_max)
        if wrapped:
            said = here.export(bench.linux.share, names, "--wrapped", "--wrapping-file", secret_file(bench, "wrapping", "wrap it\n"))
            bench.linux("insert_wrapped", names, "wrap it")
        else:
            said = here.export(bench.linux.share, names)
            assert said["signature"] in bench.linux("add_passphrase_file", names)
        there = Exported(bench.linux, said["options"])
        bench.hand_over(here, there)
        there.mount()
        same(there.step("manifest", RECORD)["what"], tree.step(plain, "manifest")["what"], f"kernel, {names} names")
        there.step("change", form.name_max)
        there.unmount()
        tree.step(plain, "change", form.name_max)
        bench.hand_over(there, here)
        run(COFFER, "volume", "check", "--deep", here.lower)
        here.mount()
        same(here.step("manifest")["what"], tree.step(plain, "manifest")["what"], f"Coffer, {names} names, after the kernel")
        here.unmount()
        bench.linux("forget_passphrases")


@test
def a_kernel_s_folder_is_mounted_with_its_passphrase_and_imported(bench):
    """Whichever key its names have; after the import a kernel needs the exported passphrase."""
    for names, xattr in (("plain", True), ("encrypted", False), ("utilities'", True)):
        form = Form("of the kernel", names, xattr)
        here, plain, there = bench.coffer(form, ByCommand), bench.folder(), InKernel(bench.linux, form)
        there.load(None)
        there.mount()
        there.step("write", form.name_max)
        there.unmount()
        tree.step(plain, "write", form.name_max)
        bench.hand_over(there, here)
        how = ["--passphrase-file", secret_file(bench, "old", form.passphrase + "\n"), *["--encrypt-names"] * (names != "plain"),
               *["--xattr-metadata"] * xattr]
        here.mount("--format", "ecryptfs", *how)
        same(here.step("manifest")["what"], tree.step(plain, "manifest")["what"], f"with the passphrase, {names} names")
        here.step("change", form.name_max)
        here.unmount()
        tree.step(plain, "change", form.name_max)
        run(COFFER, "volume", "import", *how, here.lower)
        here.mount()
        here.step("churn", 1, 60)
        here.unmount()
        tree.step(plain, "churn", 1, 60)
        bench.linux("forget_passphrases")
        said = here.export(bench.linux.share, f"imported-{names}")
        bench.linux("add_passphrase_file", f"imported-{names}")
        there = Exported(bench.linux, said["options"])
        bench.hand_over(here, there)
        there.mount()
        same(there.step("manifest", RECORD)["what"], tree.step(plain, "manifest")["what"], f"kernel, after the import, {names} names")
        there.unmount()
        bench.linux("forget_passphrases")


sys.exit(main())
