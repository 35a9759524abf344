# SPDX-License-Identifier: Apache-2.0
"""What the tests of faults below and around a mounted volume share: a volume of its own for each test, and the runner."""
import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

MOUNT = os.path.abspath(sys.argv[1])
ROOT = os.geteuid() == 0
NOBODY = 65534
ECRYPTFS = ("--format", "ecryptfs")
NAMES = (*ECRYPTFS, "--encrypt-names")
HEADER = 8192
TESTS = []


class Skip(Exception):
    """Cannot be tested here; says why."""


def test(function):
    TESTS.append(function)
    return function


class Volume:
    """A lower folder and its mount."""

    def __init__(self, *options, lower=None, mount=True):
        self.base = tempfile.mkdtemp(prefix="coffer-volume-")
        os.chmod(self.base, 0o755)
        self.lower, self.mnt, self.log = (os.path.join(self.base, name) for name in ("lower", "mnt", "log"))
        self.lower = lower or self.lower
        os.makedirs(self.lower, exist_ok=True)
        os.mkdir(self.mnt)
        self.options = options or ECRYPTFS
        if mount:
            self.mount()

    def command(self, *more):
        return [MOUNT, "--log", self.log, *(() if ROOT else ("--only-me",)), *self.options, *more, self.lower, self.mnt]

    def mount(self, *more, code=0, env=None):
        done = subprocess.run(self.command(*more), capture_output=True, text=True, timeout=300, env={**self.sanitizer(), **(env or {})})
        if "cannot mount" in done.stderr and code == 0:
            raise Skip("this process may not mount")
        assert done.returncode == code, (done.returncode, done.stderr)
        return done.stderr

    def sanitizer(self):
        """The mount has no terminal: what a sanitizer finds goes to files, which drop() looks for."""
        env = dict(os.environ)
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            env[name] = ":".join([*filter(None, [env.get(name)]), f"log_path={self.base}/sanitizer"])
        return env

    def findings(self):
        return "".join(open(os.path.join(self.base, name), errors="replace").read() for name in os.listdir(self.base)
                       if name.startswith("sanitizer"))

    def unmount(self, code=0):
        done = subprocess.run([MOUNT, "--unmount", self.mnt], capture_output=True, text=True, timeout=900)
        assert done.returncode == code, (done.returncode, done.stderr)
        return done.stderr

    def remount(self, *more):
        self.unmount()
        self.mount(*more)

    def call(self, **request):
        done = subprocess.run([MOUNT, "--call", self.mnt, json.dumps(request)], capture_output=True, text=True, timeout=60)
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr

    def pid(self):
        return self.call(command="status")["pid"]

    def kill(self):
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)

    def path(self, *names):
        return os.path.join(self.mnt, *names)

    def below(self, *names):
        """The lower file; only where names are not encrypted."""
        return os.path.join(self.lower, *names)

    def crash(self):
        """As if the machine had stopped while this was mounted."""
        if os.path.lexists(self.below(".coffer.mounted")):  # a link, not to be written through
            os.unlink(self.below(".coffer.mounted"))
        with open(self.below(".coffer.mounted"), "w", encoding="ascii") as mark:
            mark.write("00000000-0000-0000-0000-000000000000")

    def crashed(self):
        return subprocess.run([MOUNT, "--crashed", self.lower], capture_output=True, text=True, check=True).stdout == "1\n"

    def lines(self):
        with contextlib.suppress(FileNotFoundError), open(self.log, errors="replace") as file:
            return file.read().splitlines()
        return []

    def forget_lines(self):
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self.log, 0)

    def drop(self):
        for _ in range(5):
            if mounts_at(self.mnt) == 0:
                break
            if subprocess.run([MOUNT, "--unmount", self.mnt], capture_output=True, timeout=120).returncode != 0:
                subprocess.run(["umount", "-l", self.mnt] if ROOT else ["fusermount3", "-u", "-z", self.mnt], capture_output=True)
        shutil.rmtree(self.base, ignore_errors=True)


@contextlib.contextmanager
def volume(*options, **more):
    made = Volume(*options, **more)
    try:
        yield made
        if mounts_at(made.mnt):
            made.unmount()
        assert not made.findings(), made.findings()[:8000]
    except BaseException:
        print("--- log", *made.lines()[-30:], made.findings()[:8000], sep="\n", flush=True)
        raise
    finally:
        made.drop()


def mounts_at(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return sum(line.split()[4] == path for line in file)


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_gone(pid, seconds=60):
    wait_until(lambda: gone(pid), seconds)


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.005)


def code_of(function, *args, **kwargs):
    """The name of its errno, or what it returned."""
    try:
        return function(*args, **kwargs)
    except OSError as error:
        return errno.errorcode[error.errno]


def raises(code, function, *args, **kwargs):
    got = code_of(function, *args, **kwargs)
    assert got == errno.errorcode[code], (got, "expected", errno.errorcode[code])


def put(path, data, flags=0, mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | flags, mode)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def get(path):
    with open(path, "rb") as file:
        return file.read()


def overwrite(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def as_user(function, uid=NOBODY, gid=NOBODY, groups=(), umask=0o022):
    """Run in a child that is this user; the name of its errno, or None."""
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
            os.umask(umask)
            function()
        except OSError as error:
            code = error.errno
        except BaseException:
            traceback.print_exc()
            code = 255
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert 0 <= code < 255, code
    return errno.errorcode[code] if code else None


def main(wanted):
    """Run the tests, or those named.  77: none could be run."""
    if not os.path.exists("/dev/fuse"):
        print("no /dev/fuse here")
        return 77
    failed = skipped = ran = 0
    for function in TESTS:
        if wanted and function.__name__ not in wanted:
            continue
        start = time.monotonic()
        try:
            function()
            ran += 1
            print(f"ok   {function.__name__} {time.monotonic() - start:.1f} s", flush=True)
        except Skip as reason:
            skipped += 1
            print(f"skip {function.__name__}: {reason}", flush=True)
        except Exception:
            traceback.print_exc()
            failed += 1
            print(f"FAIL {function.__name__}", flush=True)
    print(f"{ran} ok, {skipped} skipped, {failed} failed")
    return 1 if failed else 0 if ran else 77
