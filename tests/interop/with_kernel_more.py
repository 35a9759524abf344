#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What Coffer and a real kernel's eCryptfs leave to each other after a crash, files of other ciphers, and wrapped passphrases;
for arguments see sides.py"""
import os
import random
import sys
import time

sys.dont_write_bytecode = True
import kernel
import tree
from sides import Form, InKernel, main, metadata_of, run, same, small_tree, test, tool

READ = (("blowfish", 16), ("blowfish", 32), ("blowfish", 56), ("cast5", 16), ("des3_ede", 24))
NOT_READ = (("cast6", 32), ("twofish", 16))  # OpenSSL has neither


@test
def a_killed_mount_leaves_nothing_that_a_kernel_reads_as_garbage(bench):
    form = Form("killed")
    here, there = bench.coffer(form), InKernel(bench.linux, form)
    here.mount()
    writer = os.fork()
    if writer == 0:
        try:
            here.step("grow", random.randrange(1 << 30), 100000)
        except OSError:
            pass  # the mount is gone
        os._exit(0)
    size = lambda: sum(os.path.getsize(path) for path in here.lower_files())
    enough = random.randrange(1 << 20, 6 << 20)
    while size() < enough:
        time.sleep(0.01)
    here.kill()
    os.waitpid(writer, 0)
    bench.hand_over(here, there)
    there.mount()
    found = there.step("grown_wrong")
    there.unmount()
    assert found["wrong"] == [] and found["right"] > enough // 2, found


@test
def files_of_other_ciphers_are_read_and_moved_to_aes(bench):
    for cipher in READ + NOT_READ:
        form = Form("another cipher", kernel_cipher=cipher)
        here, there, plain = bench.coffer(form), InKernel(bench.linux, form), bench.folder()
        there.load(None)
        there.mount()
        there.step("grow", 1, 20)
        tree.step(plain, "grow", 1, 20)
        wanted = tree.step(plain, "manifest")["what"]
        there.unmount()
        bench.hand_over(there, here)
        here.mount("--next", "now in AES")
        if cipher in NOT_READ:
            errors = {here.step("error_of_open", name) for name in wanted}
            assert errors == {"ENOTSUP"}, (cipher, errors)
            here.unmount()
            continue
        same(here.step("manifest")["what"], wanted, f"Coffer, {cipher}")
        for name in wanted:
            here.call(command="copy", name=name, step=1 << 20, finish=True)
        here.unmount()
        bench.linux("forget_passphrases")
        there = InKernel(bench.linux, Form("now in AES"))
        bench.hand_over(here, there)
        there.mount()
        same(there.step("manifest")["what"], wanted, f"kernel, {cipher} moved to AES")
        there.unmount()
        bench.linux("forget_passphrases")


@test
def after_a_power_failure_of_the_kernel_s_machine_all_files_can_be_read(bench):
    """Growth that was not synced may be lost, or be zeros; nothing else, and no error."""
    form = Form("power")
    here = bench.coffer(form)
    folder = os.path.join(bench.base, "machine")
    os.mkdir(folder)
    linux = kernel.Kernel(folder)
    there = InKernel(linux, form)
    there.load(None)
    there.mount()
    there.step("write", form.name_max)
    linux("sync")
    wanted = there.step("manifest")["what"]
    linux("flush_soon")
    linux.ask("step", "grow", random.randrange(1 << 30), 100000)
    time.sleep(random.uniform(0.3, 2))
    linux.power_off()
    linux = kernel.Kernel(folder)
    try:
        there = InKernel(linux, form)
        archive = os.path.join(linux.share, "after.tar")
        there.save(archive)
        here.load(archive)
        here.mount("--after-crash")
        grown = here.step("grown_wrong")
        assert grown["wrong"] == [], grown
        found = here.step("manifest")["what"]
        same({path: entry for path, entry in found.items() if not path.startswith("grow-")}, wanted, "what was synced")
        here.unmount()
        # What Coffer made of it is a volume again.
        here.save(archive)
        there.load(archive)
        there.mount()
        holes = {os.path.basename(path) for path in here.lower_files() if has_zero_extent(path)}
        again = there.step("manifest")["what"]
        same({path: entry for path, entry in again.items() if path not in holes},
             {path: entry for path, entry in found.items() if path not in holes}, "kernel, afterwards")
    finally:
        linux.stop()


def has_zero_extent(path):
    at = metadata_of(path)[1]
    with open(path, "rb") as file:
        file.seek(at)
        return any(not any(extent) for extent in iter(lambda: file.read(4096), b""))


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


sys.exit(main())
