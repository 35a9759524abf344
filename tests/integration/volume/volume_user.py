#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mounts by and for ordinary users: volume_user.py VOLUME_MOUNT [TEST …]

Run as root, it becomes nobody for what an ordinary user does; run as somebody else, it is one already."""
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile

from volume_support import ECRYPTFS, MOUNT, NOBODY, ROOT, Skip, Volume, as_user, code_of, get, main, mounts_at, put, test, wait_gone

USER = pwd.getpwuid(NOBODY).pw_name if ROOT else None


def as_nobody(*command, **more):
    return subprocess.run(["runuser", "-u", USER, "--", *command] if ROOT else command, capture_output=True, text=True, timeout=120, **more)


class Own(Volume):
    """A volume of an ordinary user, mounted by him."""

    def __init__(self, *options):
        super().__init__(*(options or ECRYPTFS), mount=False)
        self.give()
        self.mount()

    def give(self):
        os.mkdir(self.runtime(), 0o700)
        if ROOT:
            for path in (self.base, self.lower, self.mnt, self.runtime()):
                os.chown(path, NOBODY, NOBODY)

    def runtime(self):
        return os.path.join(self.base, "run")

    def environment(self):
        return {**self.sanitizer(), "XDG_RUNTIME_DIR": self.runtime()}

    def mount(self, *more, code=0, env=None):
        command = [MOUNT, "--log", self.log, "--only-me", *self.options, *more, self.lower, self.mnt]
        done = as_nobody(*command, env=self.environment())
        if "cannot mount" in done.stderr and code == 0:
            raise Skip(f"an ordinary user may not mount: {done.stderr.strip()}")
        assert done.returncode == code, (done.returncode, done.stderr)
        return done.stderr

    def unmount(self, code=0):
        done = as_nobody(MOUNT, "--unmount", self.mnt, env=self.environment())
        assert done.returncode == code, (done.returncode, done.stderr)
        return done.stderr

    def call(self, **request):
        done = as_nobody(MOUNT, "--call", self.mnt, json.dumps(request), env=self.environment())
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr

    def act(self, function):
        """As that user; the name of its errno, or None."""
        got = as_user(function) if ROOT else code_of(function)
        return got if isinstance(got, str) else None


def own(function, *options):
    def run():
        v = Own(*options)
        try:
            function(v)
            if mounts_at(v.mnt):
                v.unmount()
            assert not v.findings(), v.findings()[:8000]
        except BaseException:
            print("--- log", *v.lines()[-30:], v.findings()[:8000], sep="\n", flush=True)
            raise
        finally:
            v.drop()

    run.__name__ = function.__name__ + ("_with_metadata_in_attributes" if options else "")
    return test(run)


@own
def an_ordinary_user_mounts_uses_and_unmounts(v):
    def use():
        put(v.path("f"), b"mine", mode=0o600)
        os.mkdir(v.path("d"))
        os.rename(v.path("f"), v.path("d", "g"))
        os.chmod(v.path("d", "g"), 0o400)
        assert get(v.path("d", "g")) == b"mine"
        os.link(v.path("d", "g"), v.path("h"))
        os.symlink("h", v.path("l"))
        assert get(v.path("l")) == b"mine"
        os.setxattr(v.path("d"), "user.a", b"1")
        os.truncate(v.path("d"), 0)

    assert v.act(use) == "EISDIR"
    st = os.stat(v.below("d"))
    assert not ROOT or (st.st_uid, st.st_gid) == (NOBODY, NOBODY)
    assert v.call(command="status")["ok"]
    v.unmount()
    assert not mounts_at(v.mnt) and not os.path.lexists(v.below(".coffer.mounted"))
    v.mount()
    assert v.act(lambda: get(v.path("d", "g"))) is None


def modes_do_not_cut_off_who_has_it_open(v):
    def use():
        fd = os.open(v.path("f"), os.O_CREAT | os.O_WRONLY, 0o400)
        os.write(fd, b"1" * 5000)
        os.fsync(fd)
        os.fchmod(fd, 0)
        os.write(fd, b"2" * 5000)
        os.fsync(fd)
        assert os.fstat(fd).st_mode & 0o7777 == 0
        os.close(fd)
        put(v.path("g"), b"secret", mode=0o200)

    assert v.act(use) is None
    assert os.stat(v.below("f")).st_mode & 0o7777 == 0
    v.unmount()
    v.mount()
    assert v.act(lambda: get(v.path("f"))) == "EACCES"
    assert v.act(lambda: os.chmod(v.path("f"), 0o600)) is None
    assert v.act(lambda: get(v.path("f")) == b"1" * 5000 + b"2" * 5000 or os.stat("/wrong data")) is None
    assert v.act(lambda: put(v.path("g"), b"longer than it was")) is None
    assert v.act(lambda: get(v.path("g"))) == "EACCES"


own(modes_do_not_cut_off_who_has_it_open)
own(modes_do_not_cut_off_who_has_it_open, *ECRYPTFS, "--xattr-metadata")


@own
def not_even_root_gets_in_uninvited(v):
    """Without allow_other the kernel keeps everybody else out."""
    if not ROOT:
        raise Skip("about another user")
    assert code_of(os.listdir, v.mnt) == "EACCES"
    assert as_user(lambda: os.listdir(v.mnt), uid=12345, gid=12345) == "EACCES"
    assert v.act(lambda: os.listdir(v.mnt)) is None


@own
def others_do_not_unmount_or_command_it(v):
    if not ROOT:
        raise Skip("about another user")
    done = subprocess.run(["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", MOUNT, "--unmount", v.mnt], capture_output=True, text=True)
    assert done.returncode != 0 and mounts_at(v.mnt) == 1, done
    done = subprocess.run(["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", MOUNT, "--call", v.mnt, '{"command":"unmount"}'],
                          capture_output=True, text=True)
    assert done.returncode != 0 and mounts_at(v.mnt) == 1, done
    assert v.call(command="unmount")["ok"]
    assert mounts_at(v.mnt) == 0


@own
def busy_killed_and_mounted_again(v):
    script = ("import os, sys; fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR, 0o600); os.write(fd, b'synced'); os.fsync(fd); "
              "print('open', flush=True); sys.stdin.read()")
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if ROOT else []
    holder = subprocess.Popen([*command, "/usr/bin/env", "python3", "-c", script, v.path("f")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "open\n"
    assert "in use" in v.unmount(code=15)
    pid = v.call(command="status")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    holder.communicate()
    v.mount()
    assert mounts_at(v.mnt) == 1
    assert v.act(lambda: get(v.path("f"))) is None
    pid = v.call(command="status")["pid"]
    os.kill(pid, signal.SIGTERM)
    wait_gone(pid)
    assert mounts_at(v.mnt) == 0


@own
def what_the_lower_folder_denies_is_denied(v):
    """Files of others in the lower folder: shown, and not opened."""
    if not ROOT:
        raise Skip("about another user")
    v.unmount()
    put(os.path.join(v.base, "whole"), b"")
    v.mount()
    assert v.act(lambda: put(v.path("f"), b"data", mode=0o600)) is None
    v.unmount()
    os.chown(v.below("f"), 0, 0)
    v.mount()
    assert v.act(lambda: os.stat(v.path("f"))) is None
    assert v.act(lambda: get(v.path("f"))) == "EACCES"
    assert v.act(lambda: os.chmod(v.path("f"), 0o777)) == "EPERM"
    assert v.act(lambda: put(v.path("f"), b"x")) == "EACCES"
    assert v.act(lambda: os.rename(v.path("f"), v.path("g"))) is None
    assert v.act(lambda: os.unlink(v.path("g"))) is None


@own
def a_crash_with_a_file_that_cannot_be_settled(v):
    if not ROOT:
        raise Skip("about another user")
    assert v.act(lambda: (put(v.path("mine"), b"1" * 5000), put(v.path("foreign"), b"2" * 5000))) is None
    v.kill()
    os.truncate(v.below("mine"), 8192 + 4096)
    os.chown(v.below("foreign"), 0, 0)
    os.chmod(v.below("foreign"), 0o600)
    v.crash()
    v.mount()
    assert v.crashed()
    assert sum("foreign: cannot be settled" in line for line in v.lines()) == 1, v.lines()
    assert v.act(lambda: (get(v.path("mine")))) is None
    v.unmount()
    os.chmod(v.below("foreign"), 0o644)
    v.mount()
    assert not v.crashed()


def with_open_device():
    """Where only root may open /dev/fuse (it is everybody's on an ordinary system), again with a device of our own, in a mount namespace
    of our own."""
    if not ROOT or os.stat("/dev/fuse").st_mode & 0o006 == 0o006 or os.environ.get("COFFER_OWN_DEVICE"):
        return main(sys.argv[2:])
    folder = tempfile.mkdtemp(prefix="coffer-dev-")
    try:
        device = os.path.join(folder, "fuse")
        os.mknod(device, stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
        os.chmod(device, 0o666)
        done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount --bind "$0" /dev/fuse && exec "$@"', device,
                               sys.executable, *sys.argv], env={**os.environ, "COFFER_OWN_DEVICE": "1"})
        return done.returncode
    finally:
        shutil.rmtree(folder)


if not os.path.exists("/dev/fuse"):
    sys.exit(77)
sys.exit(with_open_device())
