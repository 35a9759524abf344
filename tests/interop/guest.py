# SPDX-License-Identifier: Apache-2.0
"""Inside the guest, the first and only process: answers the requests of kernel.py, one JSON object a line on the serial port.

The root is the host's, read only; /mnt holds everything else: the folder shared with the host, and a disk."""
import ctypes
import glob
import json
import os
import subprocess
import sys
import traceback
import tty

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tree

LIBC = ctypes.CDLL(None, use_errno=True)
KEYCTL, FINIT_MODULE = 250, 313  # x86-64
MODULES = ("cbc", "ecb", "hmac", "ecryptfs",
           "blowfish_generic", "cast5_generic", "cast6_generic", "des_generic", "twofish_generic")
SHARE, DISK, MOUNT = "/mnt/share", "/mnt/disk", "/mnt/upper"


def checked(rc, what):
    if rc < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return rc


def mount(source, target, kind, options=""):
    os.makedirs(target, exist_ok=True)
    checked(LIBC.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode()), f"{kind} at {target}, {options}")


def run(*command, stdin=None):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
    return done.stdout


def load_modules():
    folder = glob.glob(f"/usr/lib/uml/modules/{os.uname().release}/")[0]
    needs = dict(line.strip().split(":") for line in open(folder + "modules.dep"))
    loaded = set()

    def load(path):
        if path in loaded:
            return
        for other in needs[path].split():
            load(other)
        fd = os.open(folder + path, os.O_RDONLY)
        checked(LIBC.syscall(FINIT_MODULE, fd, b"", 0), path)
        os.close(fd)
        loaded.add(path)

    for name in MODULES:
        for path in needs:
            if path.endswith(f"/{name}.ko"):
                load(path)


# ---- requests ----


def add_passphrase(passphrase):
    """Into the keyring, as key of files and, salted as the utilities do, of names; the two signatures."""
    out = run("ecryptfs-add-passphrase", "--fnek", stdin=passphrase)
    return [line.split("[")[1].split("]")[0] for line in out.splitlines() if "sig [" in line]


def add_passphrase_file(file):
    """As `coffer volume export` says to do it."""
    return run("sh", "-c", 'ecryptfs-add-passphrase - <"$0"', os.path.join(SHARE, file))


def insert_wrapped(file, wrapping):
    out = run("ecryptfs-insert-wrapped-passphrase-into-keyring", os.path.join(SHARE, file), "-", stdin=wrapping)
    return [line.split("[")[1].split("]")[0] for line in out.splitlines() if "sig [" in line]


def forget_passphrases():
    checked(LIBC.syscall(KEYCTL, 7, -4), "keyctl clear")


def load(lower, archive):
    """A lower folder on the disk, from an archive in the shared folder (None: empty)."""
    path = os.path.join(DISK, lower)
    run("rm", "-rf", path)
    os.mkdir(path)
    if archive:
        run("tar", "--xattrs", "--xattrs-include=user.*", "-xpf", os.path.join(SHARE, archive), "-C", path)


def save(lower, archive):
    path = os.path.join(SHARE, archive)
    run("tar", "--xattrs", "--xattrs-include=user.*", "--format=posix", "-cf", path, "-C", os.path.join(DISK, lower), ".")
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def mount_ecryptfs(lower, options):
    mount(os.path.join(DISK, lower), MOUNT, "ecryptfs", options)


def unmount():
    checked(LIBC.umount2(MOUNT.encode(), 0), "unmount")


def flush_soon():
    """Write-back of what is dirty a tenth of a second after it was written, not half a minute."""
    for name in ("dirty_writeback_centisecs", "dirty_expire_centisecs"):
        with open(f"/proc/sys/vm/{name}", "w") as file:
            file.write("10")


def sync():
    LIBC.sync()


def step(name, *arguments):
    return tree.step(MOUNT, name, *arguments)


REQUESTS = {function.__name__: function for function in (add_passphrase, add_passphrase_file, insert_wrapped, forget_passphrases, load, save,
                                                         mount_ecryptfs, unmount, flush_soon, sync, step)}


def answer(line):
    try:
        name, *arguments = json.loads(line)
        return {"ok": REQUESTS[name](*arguments)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}


def serve():
    port = os.open("/dev/ttyS0", os.O_RDWR)
    tty.setraw(port)
    with os.fdopen(port, "r+b", buffering=0) as raw:
        raw.write(json.dumps({"ok": os.uname().release}).encode() + b"\n")
        pending = b""
        while more := raw.read(4096):  # nothing: the host is gone
            pending += more
            while b"\n" in pending:
                line, pending = pending.split(b"\n", 1)
                reply = json.dumps(answer(line)).encode() + b"\n"
                while reply:
                    reply = reply[raw.write(reply) :]


def main():
    try:
        os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
        for kind, target in (("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/mnt")):
            mount(kind, target, kind)
        options = dict(word.split("=", 1) for word in open("/proc/cmdline").read().split() if "=" in word)
        mount("none", SHARE, "hostfs", options["share"])
        mount("/dev/ubda", DISK, "ext4")
        load_modules()
        serve()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        LIBC.sync()
        LIBC.reboot(0x4321FEDC)  # off


if __name__ == "__main__":
    main()
