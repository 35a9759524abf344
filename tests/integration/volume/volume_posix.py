#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""POSIX by comparison, in the spirit of pjdfstest: volume_posix.py VOLUME_MOUNT [SCENARIO …]

COFFER_POSIX_ALL=1 takes every combination, which is minutes; else every seventh of the long lists.
Every scenario runs in a plain folder of the lower filesystem and in a mounted volume, both fresh.  Each step's result or errno, and what the
whole tree looks like afterwards, must be the same in both."""
import ctypes
import itertools
import json
import os
import shutil
import stat
import sys
import time
import traceback

from volume_support import NAMES, NOBODY, ROOT, code_of, main, test, volume

LIBC = ctypes.CDLL(None, use_errno=True)
OTHER = 12345  # a user and group without a name
SCENARIOS = []
os.umask(0)


def scenario(function):
    SCENARIOS.append(function)
    return function


def some(combinations):
    """Seven has no divisor with the lengths of the lists, so that every value comes by."""
    return itertools.islice(combinations, 0, None, 1 if os.environ.get("COFFER_POSIX_ALL") else 7)


def renameat2(a, b, flags):
    if LIBC.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


class Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


NOW, OMIT = (1 << 30) - 1, (1 << 30) - 2


def utimensat(path, access, modification, flags=0):
    times = (Timespec * 2)(Timespec(1000, access), Timespec(2000, modification))
    if LIBC.utimensat(-100, os.fsencode(path), times, flags) != 0:
        raise OSError(ctypes.get_errno(), "utimensat")


class Tree:
    """A folder in which a scenario works; what it saw."""

    def __init__(self, root):
        self.root = root
        self.seen = []

    def path(self, *names):
        return os.path.join(self.root, *names)

    def do(self, label, function, *args, **kwargs):
        self.seen.append((label, code_of(function, *args, **kwargs)))

    def as_user(self, uid, gid, groups, steps):
        """Steps (label, function) as another user, in a child; one after the other."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                if ROOT:
                    os.setgroups(groups)
                    os.setresgid(gid, gid, gid)
                    os.setresuid(uid, uid, uid)
                found = [(label, code_of(function)) for label, function in steps]
                os.write(write, json.dumps(found).encode())
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.close(write)
        with open(read, "rb") as file:
            data = file.read()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        self.seen += [tuple(step) for step in json.loads(data)]

    def clear(self):
        for name in os.listdir(self.root):
            path = self.path(name)
            shutil.rmtree(path) if stat.S_ISDIR(os.lstat(path).st_mode) else os.unlink(path)

    def look(self, label):
        self.seen.append((label + ": tree", self.entries(self.root)))

    def entries(self, folder):
        found = {}
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            st = os.lstat(path)
            line = [stat.filemode(st.st_mode), st.st_uid, st.st_gid]
            if stat.S_ISDIR(st.st_mode):
                line.append(self.entries(path))
            elif stat.S_ISLNK(st.st_mode):
                line += [st.st_nlink, st.st_size, os.readlink(path)]
            elif stat.S_ISREG(st.st_mode):
                with open(path, "rb") as file:
                    data = file.read()
                line += [st.st_nlink, st.st_size, data[:100].rstrip(b'\0').decode("latin1")]
            else:
                line += [st.st_nlink, st.st_rdev]
            found[name] = line
        return found


def write(path, data=b"data", mode=0o644):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, mode)
    os.write(fd, data)
    os.close(fd)


def touch_open(path, flags, mode=0o640):
    """Open; what can be read and written; close."""
    fd = os.open(path, flags, mode)
    try:
        read = code_of(lambda: os.read(fd, 3).decode())
        wrote = code_of(lambda: os.write(fd, b"W"))
        return [read, wrote, os.fstat(fd).st_size, code_of(os.lseek, fd, 0, os.SEEK_CUR)]
    finally:
        os.close(fd)


def furnish(t):
    """One of each kind."""
    write(t.path("file"))
    os.mkdir(t.path("folder"), 0o755)
    os.mkdir(t.path("full"), 0o755)
    write(t.path("full", "inside"))
    os.symlink("file", t.path("link"))
    os.symlink("folder", t.path("tofolder"))
    os.symlink("nowhere", t.path("dangling"))
    os.symlink("loop", t.path("loop"))
    os.mkfifo(t.path("fifo"), 0o644)
    os.link(t.path("file"), t.path("hard"))


KINDS = ["file", "folder", "full", "full/inside", "link", "tofolder", "dangling", "loop", "loop/x", "fifo", "hard", "missing", "missing/x",
         "file/x", "file/", "folder/", "link/", "tofolder/", "tofolder/x", "dangling/", "missing/", "folder/.", "folder/..", "folder/../file",
         ".", "..", "", "fifo/x", "n" * 256, "folder/" + "n" * 256, "a/" * 2050 + "x", "n" * 256 + "/x"]

ONE = {
    "stat": lambda p: oct(os.stat(p).st_mode),
    "lstat": lambda p: oct(os.lstat(p).st_mode),
    "access": lambda p: os.access(p, os.R_OK),
    "listdir": lambda p: sorted(os.listdir(p))[:1],
    "readlink": os.readlink,
    "mkdir": lambda p: os.mkdir(p, 0o751),
    "rmdir": os.rmdir,
    "unlink": os.unlink,
    "mkfifo": lambda p: os.mkfifo(p, 0o640),
    "mknod regular": lambda p: os.mknod(p, stat.S_IFREG | 0o604),
    "symlink": lambda p: os.symlink("target", p),
    "chmod": lambda p: os.chmod(p, 0o711),
    "chown": lambda p: os.chown(p, -1, -1),
    "lchown": lambda p: os.lchown(p, OTHER if ROOT else -1, -1),
    "truncate": lambda p: os.truncate(p, 2),
    "truncate negative": lambda p: os.truncate(p, -1),
    "truncate long": lambda p: os.truncate(p, 10000),
    "utime": lambda p: os.utime(p, ns=(1, 2)),
    "utime link": lambda p: os.utime(p, ns=(1, 2), follow_symlinks=False),
    "getxattr": lambda p: os.getxattr(p, "user.none"),
    "listxattr": lambda p: os.listxattr(p),
    "statvfs": lambda p: os.statvfs(p).f_namemax > 0,
    "chdir": lambda p: (os.chdir(p), os.chdir("/"))[1],
}


@scenario
def one_path(t):
    for (name, function), kind in itertools.product(ONE.items(), KINDS):
        if (name in ("rmdir", "unlink", "lchown", "chmod", "utime", "utime link", "truncate long") and kind in ("..", "folder/..")):
            continue
        furnish(t)
        t.do(f"{name} {kind[:30]}", function, os.path.join(t.root, kind) if kind != "" else "")
        t.look(f"{name} {kind[:30]}")
        t.clear()


TWO_FROM = ["file", "folder", "full", "link", "tofolder", "dangling", "loop", "fifo", "hard", "missing", "file/", "folder/", "link/", ".",
            "folder/.", "file/x", "full/inside", "n" * 256]
TWO_TO = ["file", "folder", "full", "link", "tofolder", "dangling", "fifo", "hard", "missing", "missing/", "file/", "folder/", "folder/new",
          "full/new", "full/inside", "link/new", "file/new", ".", "folder/..", "folder/sub/..", "missing/new", "loop/new", "n" * 256]


@scenario
def two_paths(t):
    functions = {
        "rename": os.rename,
        "rename noreplace": lambda a, b: renameat2(a, b, 1),
        "rename exchange": lambda a, b: renameat2(a, b, 2),
        "link": lambda a, b: os.link(a, b, follow_symlinks=False),
        "link following": lambda a, b: os.link(a, b, follow_symlinks=True),
    }
    for (name, function), a, b in some(itertools.product(functions.items(), TWO_FROM, TWO_TO)):
        furnish(t)
        label = f"{name} {a[:30]} {b[:30]}"
        t.do(label, function, t.path(a), t.path(b))
        t.look(label)
        t.clear()


@scenario
def long_names_and_targets(t):
    for length in (142, 143, 144, 254, 255):
        name = "é".encode() * (length // 2) + b"x" * (length % 2)
        path = os.path.join(os.fsencode(t.root), name)
        t.do(f"make {length}", write, path)
        t.do(f"stat {length}", lambda p: os.stat(p).st_size, path)
        t.do(f"rename {length}", os.rename, path, path[:-2] + b"\xff\xfe")
    for length in (1, 255, 256, 2000, 4095, 4096):
        t.do(f"target {length}", os.symlink, "t" * length, t.path(f"s{length}"))
        t.do(f"read {length}", lambda n=length: len(os.readlink(t.path(f"s{n}"))))
        t.do(f"size {length}", lambda n=length: os.lstat(t.path(f"s{n}")).st_size)
    t.do("empty target", os.symlink, "", t.path("empty"))
    t.seen.append(("names", sorted(name.decode("latin1") for name in os.listdir(os.fsencode(t.root)))))


@scenario
def open_flags(t):
    bits = {"CREAT": os.O_CREAT, "EXCL": os.O_EXCL, "TRUNC": os.O_TRUNC, "APPEND": os.O_APPEND, "DIRECTORY": os.O_DIRECTORY,
            "NOFOLLOW": os.O_NOFOLLOW}
    ways = {"RDONLY": os.O_RDONLY, "WRONLY": os.O_WRONLY, "RDWR": os.O_RDWR, "PATH": os.O_PATH}
    kinds = ["file", "folder", "link", "tofolder", "dangling", "loop", "missing", "file/", "folder/", "missing/", "file/x", "full/new", "."]
    subsets = [chosen for count in range(len(bits) + 1) for chosen in itertools.combinations(bits, count)
               if not {"DIRECTORY", "CREAT"} <= set(chosen)]  # where kernels differ, and filesystems have no say
    for (way, flags), chosen, kind in some(itertools.product(ways.items(), subsets, kinds)):
        furnish(t)
        label = f"open {way} {' '.join(chosen)} {kind}"
        t.do(label, touch_open, t.path(kind), flags | os.O_NONBLOCK | sum(bits[name] for name in chosen))
        if "CREAT" in chosen or "TRUNC" in chosen or way in ("WRONLY", "RDWR"):
            t.look(label)
        t.clear()


@scenario
def modes_at_birth(t):
    os.mkdir(t.path("setgid"))
    if ROOT:
        os.chown(t.path("setgid"), 0, OTHER)
    os.chmod(t.path("setgid"), 0o2777)
    for mask, folder in itertools.product((0o000, 0o022, 0o027, 0o777), (".", "setgid")):
        os.umask(mask)
        for mode in (0o000, 0o644, 0o777, 0o1777, 0o2755, 0o4755, 0o6777):
            name = f"{folder}/{mask:o}-{mode:o}"
            t.do(f"mkdir {name}", os.mkdir, t.path(name + "d"), mode)
            t.do(f"create {name}", lambda n=name, m=mode: os.close(os.open(t.path(n + "f"), os.O_CREAT | os.O_RDWR, m)))
            t.do(f"mkfifo {name}", os.mkfifo, t.path(name + "p"), mode)
            t.do(f"mknod {name}", os.mknod, t.path(name + "n"), stat.S_IFREG | mode)
    os.umask(0)
    t.look("modes")


@scenario
def chmod_and_chown(t):
    if not ROOT:
        return
    for kind, mode, uid, gid in itertools.product(("f", "d"), (0o644, 0o4755, 0o2755, 0o6777, 0o2745, 0o1755), (-1, 0, NOBODY), (-1, 0, OTHER)):
        if uid == gid == -1:
            continue  # the kernel asks a FUSE filesystem for nothing then

        def make(kind=kind, mode=mode):
            write(t.path("f"), b"x") if kind == "f" else os.mkdir(t.path("d"))
            os.chown(t.path(kind), NOBODY, NOBODY)
            os.chmod(t.path(kind), mode)

        label = f"{kind} {mode:o} to {uid} {gid}"
        make()
        t.do("root: " + label, os.chown, t.path(kind), uid, gid)
        t.look("root: " + label)
        t.clear()
        make()
        for who, groups in ((NOBODY, []), (NOBODY, [OTHER]), (OTHER, [NOBODY])):
            steps = [
                (f"{who} {groups} chown: {label}", lambda u=uid, g=gid, k=kind: os.chown(t.path(k), u, g)),
                (f"{who} {groups} chmod: {label}", lambda m=mode, k=kind: os.chmod(t.path(k), m)),
            ]
            t.as_user(who, who, groups, steps)
            t.look(f"{who} {groups}: {label}")
        t.clear()


@scenario
def privileges_end_with_a_change(t):
    if not ROOT:
        return

    def append(path):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"more")
        os.close(fd)

    changes = {
        "write": append,
        "truncate": lambda p: os.truncate(p, 1),
        "open truncating": lambda p: os.close(os.open(p, os.O_WRONLY | os.O_TRUNC)),
        "nothing written": lambda p: os.close(os.open(p, os.O_WRONLY)),
        "chmod": lambda p: os.chmod(p, 0o6755),
        "utime": lambda p: os.utime(p),
        "copy": lambda p: os.close((lambda fd, out: (os.copy_file_range(fd, out, 3), os.close(out), fd)[2])(os.open(t.path("from"), os.O_RDONLY), os.open(p, os.O_RDWR))),
        "allocate": lambda p: os.close((lambda fd: (os.posix_fallocate(fd, 0, 20000), fd)[1])(os.open(p, os.O_RDWR))),
    }
    for (name, change), mode, who in itertools.product(changes.items(), (0o4777, 0o2777, 0o6777, 0o2767, 0o777), (0, NOBODY)):
        write(t.path("from"), b"from")
        write(t.path("f"), b"12345")
        os.chown(t.path("f"), NOBODY, NOBODY)
        os.chmod(t.path("f"), mode)
        os.stat(t.path("f"))
        t.as_user(who, who, [], [(f"{name} {mode:o} by {who}", lambda c=change: c(t.path("f")))])
        t.look(f"{name} {mode:o} by {who}")
        t.clear()


@scenario
def permissions_of_another(t):
    """A folder and what is in it, by owner and mode; what somebody else may do there."""
    if not ROOT:
        return
    steps = {
        "list": lambda p: sorted(os.listdir(p("d"))),
        "stat": lambda p: os.stat(p("d/f")).st_size,
        "read": lambda p: touch_open(p("d/f"), os.O_RDONLY),
        "write": lambda p: touch_open(p("d/f"), os.O_WRONLY),
        "append": lambda p: touch_open(p("d/f"), os.O_WRONLY | os.O_APPEND),
        "cut": lambda p: touch_open(p("d/f"), os.O_RDONLY | os.O_TRUNC),
        "truncate": lambda p: os.truncate(p("d/f"), 1),
        "chmod": lambda p: os.chmod(p("d/f"), 0o666),
        "utime": lambda p: os.utime(p("d/f"), ns=(1, 2)),
        "utime now": lambda p: utimensat(p("d/f"), NOW, NOW),
        "utime omit": lambda p: utimensat(p("d/f"), OMIT, OMIT),
        "utime half": lambda p: utimensat(p("d/f"), OMIT, NOW),
        "setxattr": lambda p: os.setxattr(p("d/f"), "user.x", b"1"),
        "getxattr": lambda p: os.getxattr(p("d/f"), "user.x").decode(),
        "make": lambda p: os.close(os.open(p("d/new"), os.O_CREAT | os.O_WRONLY, 0o600)),
        "mkdir": lambda p: os.mkdir(p("d/newdir")),
        "mkfifo": lambda p: os.mkfifo(p("d/newfifo")),
        "symlink": lambda p: os.symlink("x", p("d/newlink")),
        "device": lambda p: os.mknod(p("d/newdev"), stat.S_IFCHR | 0o600, os.makedev(1, 3)),
        "link": lambda p: os.link(p("d/f"), p("d/hard")),
        "rename in": lambda p: os.rename(p("d/f"), p("d/renamed")),
        "rename back": lambda p: os.rename(p("d/renamed"), p("d/f")),
        "rename over": lambda p: os.rename(p("mine"), p("d/f")),
        "rename out": lambda p: os.rename(p("d/sub"), p("own/sub")),
        "rmdir": lambda p: os.rmdir(p("d/sub")),
        "unlink": lambda p: os.unlink(p("d/f")),
        "execute": lambda p: os.access(p("d/f"), os.X_OK),
    }
    for mode, sticky, owner, group, file_owner, file_mode in some(itertools.product(
            (0, 1, 2, 3, 4, 5, 7), (0, 0o1000), (0, NOBODY), (0, OTHER), (0, NOBODY), (0o600, 0o644, 0o666))):
        os.mkdir(t.path("own"), 0o777)
        write(t.path("mine"), b"mine", 0o666)
        os.chown(t.path("mine"), NOBODY, NOBODY)
        os.mkdir(t.path("d"))
        os.mkdir(t.path("d", "sub"))
        write(t.path("d", "f"), b"data")
        os.chown(t.path("d", "f"), file_owner, 0)
        os.chmod(t.path("d", "f"), file_mode)
        os.chown(t.path("d"), owner, group)
        os.chmod(t.path("d"), sticky | mode << 6 | mode << 3 | (mode if owner == group == 0 else 0))
        label = f"folder {sticky | mode:o} of {owner}:{group}, file {file_mode:o} of {file_owner}: "
        t.as_user(NOBODY, NOBODY, [OTHER], [(label + name, lambda s=step: s(t.path)) for name, step in steps.items()])
        t.look(label)
        t.clear()


def changed(t, paths, function):
    """Which of mtime and ctime of the paths the function moves on."""
    before = {path: os.lstat(t.path(path)) for path in paths if os.path.lexists(t.path(path))}
    time.sleep(0.012)
    function()
    found = {}
    for path, old in before.items():
        if os.path.lexists(t.path(path)):
            now = os.lstat(t.path(path))
            if now.st_ino == old.st_ino:
                found[path] = [now.st_mtime_ns > old.st_mtime_ns, now.st_ctime_ns > old.st_ctime_ns]
    return found


@scenario
def times_move_on(t):
    def on_fd(flags, function):
        fd = os.open(t.path("file"), flags)
        try:
            function(fd)
        finally:
            os.close(fd)

    changes = {
        "write": lambda: on_fd(os.O_WRONLY, lambda fd: os.write(fd, b"x")),
        "write nothing": lambda: on_fd(os.O_WRONLY, lambda fd: os.write(fd, b"")),
        "read": lambda: on_fd(os.O_RDONLY, lambda fd: os.read(fd, 1)),
        "truncate shorter": lambda: os.truncate(t.path("file"), 1),
        # Not: truncate(2) to the size that it has, where filesystems differ and POSIX leaves it open.
        "ftruncate same": lambda: on_fd(os.O_WRONLY, lambda fd: os.ftruncate(fd, 4)),
        "truncate longer": lambda: os.truncate(t.path("file"), 9000),
        "open truncating": lambda: on_fd(os.O_WRONLY | os.O_TRUNC, lambda fd: None),
        "open": lambda: on_fd(os.O_RDWR, lambda fd: None),
        "open creating": lambda: on_fd(os.O_RDWR | os.O_CREAT, lambda fd: None),
        "create": lambda: write(t.path("new")),
        "chmod": lambda: os.chmod(t.path("file"), 0o600),
        "chown": lambda: os.chown(t.path("file"), os.geteuid(), os.getegid()),
        "link": lambda: os.link(t.path("file"), t.path("folder", "hard2")),
        "unlink one of two": lambda: os.unlink(t.path("hard")),
        "rename": lambda: os.rename(t.path("file"), t.path("folder", "file")),
        "rename over": lambda: os.rename(t.path("fifo"), t.path("hard")),
        "mkdir": lambda: os.mkdir(t.path("folder", "new")),
        "rmdir": lambda: os.rmdir(t.path("folder")),
        "symlink": lambda: os.symlink("x", t.path("folder", "new")),
        "mkfifo": lambda: os.mkfifo(t.path("folder", "new")),
        "setxattr": lambda: os.setxattr(t.path("file"), "user.a", b"1"),
        "utime": lambda: os.utime(t.path("file"), ns=(1, 2)),
        "failed rename": lambda: code_of(os.rename, t.path("folder"), t.path("full")),
        "failed unlink": lambda: code_of(os.unlink, t.path("folder")),
        "failed mkdir": lambda: code_of(os.mkdir, t.path("full")),
    }
    for name, function in changes.items():
        furnish(t)
        t.do("times: " + name, lambda f=function: changed(t, ["file", "hard", "folder", "full", "fifo", "."], f))
        t.clear()
    for access, modification, flags, kind in itertools.product((NOW, OMIT, 5, 10**9), (NOW, OMIT, 7, -1), (0, 0x100), ("file", "link", "folder", "fifo")):
        furnish(t)

        def exact(access=access, modification=modification, flags=flags, kind=kind):
            utimensat(t.path(kind), access, modification, flags)
            st = os.stat(t.path(kind), follow_symlinks=flags == 0)
            return [st.st_atime_ns if access == 5 else 0, st.st_mtime_ns if modification == 7 else 0]

        t.do(f"utimensat {access} {modification} {flags} {kind}", exact)
        t.clear()


@scenario
def writes_and_positions(t):
    fd = os.open(t.path("f"), os.O_CREAT | os.O_RDWR)
    more = os.open(t.path("f"), os.O_WRONLY | os.O_APPEND)
    third = os.open(t.path("f"), os.O_RDONLY)
    t.do("write", os.write, fd, b"12345")
    t.do("append", os.write, more, b"67890")
    t.do("position", os.lseek, more, 0, os.SEEK_CUR)
    t.do("gap", os.pwrite, fd, b"end", 5000)
    t.do("read across", lambda: os.pread(third, 20, 4990).decode())
    t.do("read beyond", lambda: os.pread(third, 20, 9000).decode())
    t.do("cut", os.ftruncate, fd, 3)
    t.do("append after a cut", os.write, more, b"A")
    t.do("grow", os.ftruncate, fd, 4200)
    t.do("append after growth", os.write, more, b"B")
    t.do("all", lambda: os.pread(third, 10000, 0).decode())
    t.do("write to a reader", os.write, third, b"x")
    t.do("cut a reader", os.ftruncate, third, 0)
    t.do("read from a writer", lambda: os.read(more, 1).decode())
    t.do("seek beyond", os.lseek, fd, 1 << 40, os.SEEK_SET)
    t.do("seek before", os.lseek, fd, -1, os.SEEK_SET)
    t.do("seek from the end", os.lseek, fd, -1, os.SEEK_END)
    t.do("write at a negative place", os.pwrite, fd, b"x", -1)
    t.do("unlink", os.unlink, t.path("f"))
    t.do("links", lambda: os.fstat(fd).st_nlink)
    t.do("write unlinked", os.pwrite, fd, b"still", 0)
    t.do("chmod unlinked", os.fchmod, fd, 0o600)
    t.do("read unlinked", lambda: os.pread(third, 5, 0).decode())
    t.do("link of an unlinked one", lambda: os.link(f"/proc/self/fd/{fd}", t.path("back"), follow_symlinks=True))
    for each in (fd, more, third):
        os.close(each)
    folder = os.open(t.root, os.O_RDONLY)
    t.do("write to a folder", os.write, folder, b"x")
    t.do("read of a folder", os.read, folder, 1)
    t.do("sync of a folder", os.fsync, folder)
    t.do("cut of a folder", os.ftruncate, folder, 0)
    os.close(folder)
    t.look("end")


@scenario
def folders_by_their_own_mode(t):
    """What their owner may do in folders that he may only read, only search, or neither; root may anyway."""
    for mode in (0o000, 0o100, 0o200, 0o300, 0o400, 0o500, 0o600, 0o700):
        os.mkdir(t.path("d"))
        write(t.path("d", "f"))
        if ROOT:
            os.chown(t.path("d"), NOBODY, NOBODY)
            os.chown(t.path("d", "f"), NOBODY, NOBODY)
        os.chmod(t.path("d"), mode)
        steps = {
            "list": lambda: os.listdir(t.path("d")),
            "stat": lambda: os.stat(t.path("d", "f")).st_size,
            "stat nothing": lambda: os.stat(t.path("d", "none")),
            "read": lambda: touch_open(t.path("d", "f"), os.O_RDONLY),
            "make": lambda: write(t.path("d", "new")),
            "unlink": lambda: os.unlink(t.path("d", "new")),
            "rename": lambda: os.rename(t.path("d"), t.path("d2")),
            "back": lambda: os.rename(t.path("d2"), t.path("d")),
            "sync": lambda: (lambda fd: (os.fsync(fd), os.close(fd))[1])(os.open(t.path("d"), os.O_RDONLY)),
        }
        t.as_user(NOBODY, NOBODY, [], [(f"{mode:o} {name}", step) for name, step in steps.items()])
        os.chmod(t.path("d"), 0o700)
        t.look(f"{mode:o}")
        t.clear()


@scenario
def removed_folders(t):
    os.mkdir(t.path("d"))
    fd = os.open(t.path("d"), os.O_RDONLY)
    os.rmdir(t.path("d"))
    t.do("list", os.listdir, fd)
    t.do("make", lambda: os.close(os.open("f", os.O_CREAT | os.O_RDWR, dir_fd=fd)))
    t.do("mkdir", lambda: os.mkdir("f", dir_fd=fd))
    t.do("symlink", lambda: os.symlink("x", "f", dir_fd=fd))
    t.do("stat", lambda: os.stat("f", dir_fd=fd))
    t.do("up", lambda: os.close(os.open("..", os.O_RDONLY, dir_fd=fd)))
    write(t.path("file"))
    t.do("rename into", lambda: os.rename(t.path("file"), "f", dst_dir_fd=fd))
    t.do("link into", lambda: os.link(t.path("file"), "f", dst_dir_fd=fd))
    t.do("chmod", os.fchmod, fd, 0o700)
    os.close(fd)
    t.look("end")


def compare(v, function):
    plain = Tree(os.path.join(v.base, "plain", "work"))
    os.mkdir(os.path.dirname(plain.root), 0o777)
    os.chmod(v.mnt, 0o777)
    mounted = Tree(v.path("work"))
    for tree in (plain, mounted):
        os.mkdir(tree.root, 0o777)
        function(tree)
    different = [(a, b) for a, b in zip(plain.seen, mounted.seen) if a != b]
    for a, b in different[:25]:
        print(f"  {a[0]}\n    plain:  {a[1]}\n    volume: {b[1]}")
    assert not different and len(plain.seen) == len(mounted.seen) > 0, f"{len(different)} of {len(plain.seen)} steps differ"
    print(f"  {len(plain.seen)} steps")


def as_test(function, *options):
    def run():
        with volume(*options) as v:
            compare(v, function)

    run.__name__ = function.__name__ + ("_encrypted_names" if options else "")
    test(run)


for each in SCENARIOS:
    if ROOT or each not in (modes_at_birth, chmod_and_chown, privileges_end_with_a_change, permissions_of_another):
        as_test(each)
# With encrypted names of 143 bytes at most, what has no longer ones.
for each in (open_flags, times_move_on, removed_folders):
    as_test(each, *NAMES)
sys.exit(main(sys.argv[2:]))
