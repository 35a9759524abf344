# SPDX-License-Identifier: Apache-2.0
"""A tree of files, ways to change it, and what is in it.

The same functions run over a plain folder, over a mount of Coffer's and, inside the guest, over a mount of the kernel's; nothing
here is random but by its seed, so that the three must come out alike."""
import ctypes
import errno
import hashlib
import mmap
import os
import random
import stat

LIBC = ctypes.CDLL(None, use_errno=True)
HIDDEN = "user.ecryptfs"  # eCryptfs's own metadata, which a kernel shows through the upper file

OLD_NS = 123456789987654321


def content(seed, length):
    return random.Random(seed).randbytes(length)


def put(path, data, flags=0):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def append(path, data):
    put(path, data, os.O_APPEND)


def patch(path, at, data):
    fd = os.open(path, os.O_WRONLY)
    assert os.pwrite(fd, data, at) == len(data)
    os.close(fd)


def patch_mapped(path, at, data):
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[at : at + len(data)] = data
        memory.flush()


def lengths_of_names(name_max):
    """Around each block of an encrypted name, and the longest."""
    return sorted({n for block in range(0, name_max + 1, 16) for n in (block - 1, block, block + 1) if 1 <= n <= name_max} | {name_max})


def files(root, prefix):
    """What programs do to one file."""
    path = lambda name: root + b"/" + prefix + name
    for size in (0, 1, 100, 4095, 4096, 4097, 8192, (1 << 20) + 3):
        put(path(b"size-%d" % size), content(size, size))
    put(path(b"sparse"), b"")
    patch(path(b"sparse"), 300000, b"island")
    os.truncate(path(b"sparse"), 500001)
    put(path(b"cut"), content("cut", 20000))
    os.truncate(path(b"cut"), 5000)
    put(path(b"grown"), content("grown", 100))
    os.truncate(path(b"grown"), 9000)
    put(path(b"cut-and-grown"), content("cut-and-grown", 9000))
    os.truncate(path(b"cut-and-grown"), 4100)
    os.truncate(path(b"cut-and-grown"), 12288)
    put(path(b"emptied"), content("emptied", 9000))
    put(path(b"emptied"), content("refilled", 3000), os.O_TRUNC)
    for n, size in enumerate((1000, 5000, 3097)):
        append(path(b"appended"), content(f"appended{n}", size))
    put(path(b"patched"), content("patched", 50000))
    for at, size in ((4090, 12), (8192, 4096), (49999, 1), (50100, 7), (20000, 9001)):
        patch(path(b"patched"), at, content(at, size))
    put(path(b"mapped"), content("mapped", 10000))
    patch_mapped(path(b"mapped"), 4000, content("mapped again", 3000))
    put(path(b"before"), content("renamed", 6000))
    os.rename(path(b"before"), path(b"after"))
    put(path(b"replaced"), content("replaced", 100))
    put(path(b"replacing"), content("replacing", 5000))
    os.rename(path(b"replacing"), path(b"replaced"))
    put(path(b"removed"), content("removed", 5000))
    os.unlink(path(b"removed"))


def names(root, name_max):
    os.mkdir(root)
    for length in lengths_of_names(name_max):
        put(root + b"/" + b"n" * length, b"%d" % length)
    for name in ("zażółć gęślą jaźń", "数据库的文件", "e\u0301", "🗄️", " space ", "-dash", "new\nline", "a.b,c;d*e?", "%41"):
        put(root + b"/" + name.encode(), name.encode())
    for name in (b"caf\xe9", b"\xff\xfe\x01", b"ECRYPTFS_FNEK_ENCRYPTED.", b"ECRYPTFS_FNEK_ENCRYPTED.FWYnotreally"):
        put(root + b"/" + name, name)


def links(root):
    os.mkdir(root)
    os.mkdir(root + b"/folder")
    put(root + b"/first", content("first", 5000))
    os.link(root + b"/first", root + b"/second")
    os.link(root + b"/second", root + b"/folder/third")
    append(root + b"/folder/third", content("third", 5000))
    targets = {b"relative": b"folder/third", b"up": b"../files", b"absolute": b"/usr/bin/env", b"dangling": b"nowhere",
               b"unicode": "数据/数据".encode(), b"bytes": b"\xff\xfe", b"one": b"x", b"dot": b".", b"long": b"/abs/" + b"z" * 300,
               b"longest": b"/".join([b"y" * 99] * 30)}
    for name, target in targets.items():
        os.symlink(target, root + b"/link-" + name)


def metadata(root):
    os.mkdir(root)
    for mode in (0o600, 0o644, 0o755, 0o4711):
        put(root + b"/mode-%o" % mode, content(mode, 100))
        os.chmod(root + b"/mode-%o" % mode, mode)
    for mode in (0o700, 0o1777, 0o2755):
        os.mkdir(root + b"/folder-%o" % mode)
        os.chmod(root + b"/folder-%o" % mode, mode)
    put(root + b"/old", content("old", 5000))
    os.utime(root + b"/old", ns=(987654321123456789, OLD_NS))
    put(root + b"/attributes", content("attributes", 5000))
    os.setxattr(root + b"/attributes", "user.note", content("note", 100))
    os.setxattr(root + b"/folder-700", "user.note", b"of a folder")
    os.mkfifo(root + b"/fifo")
    os.makedirs(root + b"/deep/" + b"/".join(b"%d" % n for n in range(20)))
    put(root + b"/deep/" + b"/".join(b"%d" % n for n in range(20)) + b"/file", content("deep", 5000))


def write(root, name_max):
    os.mkdir(root + b"/files")
    files(root + b"/files", b"")
    names(root + b"/names", name_max)
    links(root + b"/links")
    metadata(root + b"/metadata")


def change(root, name_max):
    """What the other side does to a tree of write()."""
    at = lambda name: root + b"/" + name
    for size in (0, 1, 4095, 4096, 4097, 8192):
        append(at(b"files/size-%d" % size), content(f"more{size}", 4097))
    os.truncate(at(b"files/size-%d" % ((1 << 20) + 3)), 700001)
    patch(at(b"files/size-100"), 300, b"beyond the end, in the last extent")
    patch(at(b"files/sparse"), 299998, b"is")
    append(at(b"files/sparse"), b"end")
    append(at(b"files/cut"), content("after the cut", 4000))
    os.truncate(at(b"files/grown"), 50)
    os.truncate(at(b"files/grown"), 5000)
    put(at(b"files/emptied"), b"", os.O_TRUNC)
    patch(at(b"files/patched"), 4093, content("patched again", 9000))
    patch_mapped(at(b"files/mapped"), 3000, content("mapped by the other", 6999))
    os.rename(at(b"files/after"), at(b"links/folder/moved"))
    put(at(b"files/new"), content("new", 100))
    os.rename(at(b"files/new"), at(b"files/replaced"))
    os.rename(at(b"names/" + b"n" * name_max), at(b"names/" + b"N" * name_max))
    os.rename(at("names/数据库的文件".encode()), at("names/数据库".encode()))
    append(at(b"names/caf\xe9"), b"more")
    patch(at(b"links/second"), 4090, content("by the second name", 12))
    os.unlink(at(b"links/first"))
    os.link(at(b"links/second"), at(b"files/fourth"))
    os.unlink(at(b"links/link-long"))
    os.symlink(b"/abs/" + b"y" * 301, at(b"links/link-long"))
    os.rename(at(b"links/folder"), at(b"metadata/folder-700/folder"))
    os.chmod(at(b"metadata/mode-600"), 0o640)
    os.utime(at(b"metadata/mode-600"), ns=(1, 2000000003))
    os.setxattr(at(b"metadata/attributes"), "user.note", b"another")
    os.removexattr(at(b"metadata/folder-700"), "user.note")
    os.rmdir(at(b"metadata/folder-1777"))
    os.mkdir(at(b"other"))
    files(at(b"other"), b"other-")


def paths(root, prefix=b""):
    """Everything below, a folder before what is in it, in an order that does not depend on the filesystem."""
    for name in sorted(os.listdir(root + b"/" + prefix)):
        inner = prefix + name
        yield inner
        if stat.S_ISDIR(os.lstat(root + b"/" + inner).st_mode):
            yield from paths(root, inner + b"/")


def churn(root, seed, count):
    """Operations chosen by `seed`."""
    dice = random.Random(seed)
    kinds = {p: stat.S_IFMT(os.lstat(root + b"/" + p).st_mode) for p in paths(root)}
    regular = [p for p, kind in kinds.items() if kind == stat.S_IFREG and p != b"metadata/old"]
    folders = [p for p, kind in kinds.items() if kind == stat.S_IFDIR and not p.startswith(b"metadata/deep")]
    for n in range(count):
        path = root + b"/" + dice.choice(regular)
        fresh = dice.choice(folders) + b"/%s-%d-%d" % (dice.choice((b"x", "ж".encode() * 20)), seed, n)
        size = os.stat(path).st_size if dice.randrange(2) else 0
        what = dice.randrange(8)
        if what == 0:
            append(path, dice.randbytes(dice.randrange(9000)))
        elif what <= 2:
            patch(path, dice.randrange(size + 5000), dice.randbytes(dice.randrange(1, 9000)))
        elif what == 3:
            os.truncate(path, dice.randrange(size + 5000))
        elif what == 4:
            put(path, dice.randbytes(dice.randrange(9000)), os.O_TRUNC)
        elif what == 5:
            os.rename(path, root + b"/" + fresh)
            regular[regular.index(path[len(root) + 1 :])] = fresh
        elif what == 6:
            put(root + b"/" + fresh, dice.randbytes(dice.randrange(9000)))
            regular.append(fresh)
        elif len(regular) > 20:
            os.unlink(path)
            regular.remove(path[len(root) + 1 :])


PATTERN_LEN = 1 << 20


def grow(root, seed, rounds):
    """A dozen files that grow by pieces of a pattern of their own, in no order."""
    dice, sizes = random.Random(seed), {}
    patterns = {n: content(f"grow-{n}", PATTERN_LEN) for n in range(12)}
    for _ in range(rounds):
        n = dice.randrange(12)
        at = sizes.get(n, 0)
        piece = patterns[n][at : at + dice.randrange(1, 20000)]
        append(root + b"/grow-%d" % n, piece)
        sizes[n] = at + len(piece)


def grown_wrong(root):
    """Files of grow() that hold anything but their pattern and, from some point in a block on, zeros; and how many bytes in all are
    the pattern's."""
    wrong, right = [], 0
    for n in range(12):
        try:
            with open(root + b"/grow-%d" % n, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            continue
        except OSError as error:
            wrong.append(f"grow-{n}: {errno.errorcode[error.errno]}")
            continue
        pattern = content(f"grow-{n}", PATTERN_LEN)
        for at in range(0, len(data), 4096):
            block, wanted = data[at : at + 4096].rstrip(b"\0"), pattern[at : at + 4096]
            right += len(block)
            if not wanted.startswith(block):
                wrong.append(f"grow-{n}: block at {at}")
    return {"wrong": wrong, "right": right}


def dirty_tail(root):
    """Bytes that a shared mapping left behind the end of a file, in its last page."""
    path = root + b"/tail"
    put(path, content("tail", 100))
    LIBC.mmap.restype = ctypes.c_void_p
    fd = os.open(path, os.O_RDWR)
    at = LIBC.mmap(None, ctypes.c_size_t(4096), mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, ctypes.c_size_t(0))
    assert at not in (None, ctypes.c_void_p(-1).value), os.strerror(ctypes.get_errno())
    ctypes.memset(at, 0x55, 4096)
    assert LIBC.msync(ctypes.c_void_p(at), ctypes.c_size_t(4096), 4) == 0
    assert LIBC.munmap(ctypes.c_void_p(at), ctypes.c_size_t(4096)) == 0
    os.close(fd)


def past_the_tail(root):
    patch(root + b"/tail", 300, b"past the tail")


def too_long(root, name_max):
    """One byte more than a name may have."""
    try:
        put(root + b"/" + b"t" * (name_max + 1), b"")
    except OSError as error:
        return errno.errorcode[error.errno]
    return "no error"


def error_of_open(root, name):
    try:
        os.close(os.open(root + b"/" + name.encode(), os.O_RDONLY))
    except OSError as error:
        return errno.errorcode[error.errno]
    return "no error"


def manifest(root, but=""):
    """What is in a tree, by path, without the top entry `but`; times apart, since two trees cannot have the same."""
    what, times, first = {}, {}, {}
    for path in paths(root):
        full, key = root + b"/" + path, path.decode("utf-8", "surrogateescape")
        if key == but:
            continue
        st = os.lstat(full)
        entry = {"mode": oct(st.st_mode)}
        if stat.S_ISREG(st.st_mode):
            # Read before stat: with its metadata in an attribute a kernel knows the size of a file only once it was open.
            with open(full, "rb") as file:
                data = file.read()
                st = os.fstat(file.fileno())
            entry.update(size=st.st_size, read=len(data), sha256=hashlib.sha256(data).hexdigest(), links=st.st_nlink,
                         same=first.setdefault(st.st_ino, key))
        elif stat.S_ISLNK(st.st_mode):
            entry.update(size=st.st_size, target=os.readlink(full).decode("utf-8", "surrogateescape"))
        if not stat.S_ISLNK(st.st_mode):
            entry["attributes"] = {name: os.getxattr(full, name).hex() for name in sorted(os.listxattr(full))
                                   if name.startswith("user.") and name != HIDDEN}
        what[key], times[key] = entry, st.st_mtime_ns
    return {"what": what, "times": times}


STEPS = {function.__name__: function for function in (write, change, churn, grow, grown_wrong, dirty_tail, past_the_tail, too_long,
                                                      error_of_open, manifest)}


def step(root, name, *arguments):
    return STEPS[name](os.fsencode(root), *arguments)
