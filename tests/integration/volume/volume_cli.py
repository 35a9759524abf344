# SPDX-License-Identifier: Apache-2.0
"""The volume commands from outside: a volume's whole life, folders that a kernel wrote, mount.coffer, and what is refused.
volume_cli.py COFFER MOUNT.COFFER KERNEL-FIXTURES"""
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

COFFER, HELPER, KERNEL = (os.path.abspath(word) for word in sys.argv[1:4])
ROOT = os.geteuid() == 0
PASSPHRASE = "correct horse battery staple"
TESTS = []


class Skip(Exception):
    """Cannot be tested here."""


def test(function):
    TESTS.append(function)
    return function


def run(*words, code=0, says="", program=COFFER, env=None):
    """Run coffer; what it says on standard error must hold `says`, and one line of it is enough."""
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
                          env={**os.environ, **(env or {})}, start_new_session=True)
    if code == 0 and "cannot mount" in done.stderr:
        raise Skip("this process may not mount")
    assert done.returncode == code, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    assert says in " ".join(done.stderr.split()), (words, "should say", says, "says", done.stderr)
    assert "Sanitizer" not in done.stderr, done.stderr
    return done.stdout


def secret(path, text):
    with open(path, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as file:
        file.write(text)


def put(path, data):
    with open(path, "wb") as file:
        file.write(data)


def get(path):
    with open(path, "rb") as file:
        return file.read()


class Place:
    """A folder of its own with a keyring, an empty lower folder and a mount point."""

    def __init__(self):
        self.base = tempfile.mkdtemp(prefix="coffer-volume-cli-")
        os.chdir(self.base)
        os.environ.update(COFFER_KEYRING="k.coffer", COFFER_KEK="file:kek.bin")
        run("keyring", "init")
        os.mkdir("lower")
        os.mkdir("mnt")
        secret("pass", PASSPHRASE + "\n")
        secret("wrong", "another one\n")

    def drop(self):
        os.chdir("/")
        mnt = os.path.join(self.base, "mnt")
        for _ in range(3):
            if not mounted(mnt):
                break
            if subprocess.run([COFFER, "volume", "unmount", mnt], capture_output=True).returncode != 0:
                subprocess.run(["umount", "-l", mnt] if ROOT else ["fusermount3", "-u", "-z", mnt], capture_output=True)
        shutil.rmtree(self.base, ignore_errors=True)


def mounted(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return [line.split()[5] for line in file if line.split()[4] == path]


def mount(*words, **more):
    return run("volume", "mount", "--log", "log", *(() if ROOT else ("--only-me",)), *words, **more)


def unmount():
    run("volume", "unmount", "mnt")


def status(*words):
    return json.loads(run("volume", "status", "--json", *words))


def kernel_folder(name):
    """A folder that a kernel wrote, copied with its attributes; its sums."""
    where = os.path.join("kernel", "lower", name)
    if not os.path.exists("kernel"):
        os.mkdir("kernel")
        subprocess.run(["tar", "--xattrs", "--xattrs-include=user.*", "--no-same-owner", "-xf", os.path.join(KERNEL, "lower.tar.xz"),
                        "-C", "kernel"], check=True)
        if name.endswith("xattr") and not any(os.listxattr(os.path.join(where, f), follow_symlinks=False) for f in os.listdir(where)):
            raise Skip("no user attributes on this filesystem")
    with open(os.path.join(KERNEL, "sums." + name), encoding="utf-8") as file:
        return where, dict(reversed(line.rstrip("\n").split("  ", 1)) for line in file)


def check_sums(sums):
    assert len(sums) > 10
    for name, digest in sums.items():
        assert hashlib.sha256(get(os.path.join("mnt", name))).hexdigest() == digest, name


# ---- a volume of the keyring ----


@test
def a_volume_from_birth_to_check():
    shown = run("volume", "create", "--encrypt-names", "lower")
    assert "AES-256" in shown and "names encrypted" in shown
    assert "Mounted lower at mnt" in mount("lower", "mnt")
    put("mnt/letter", b"secret words" * 1000)
    os.mkdir("mnt/sub")
    os.symlink("letter", "mnt/link")
    running = status("mnt")
    assert running["cipher"] == "aes-256" and running["encrypt_names"] and running["format"] == "ecryptfs"
    assert running["mount"] == os.path.realpath("mnt") and running["lower"] == os.path.realpath("lower")
    [key] = running["keys"]
    assert key["writes"] and key["state"] == "active" and len(key["name"]) == 16
    assert [k["id"] for k in json.loads(run("key", "list", "--json")) if k["purpose"] == "volume"] == [key["id"]]
    scanned = status("--scan", "mnt")["keys"][0]
    assert (scanned["files"], scanned["bytes"], scanned["names"]) == (1, 12000, 4), scanned
    assert status("lower")["pid"] == running["pid"]  # either end of the mount
    os.stat("mnt/letter")
    unmount()
    assert not mounted(os.path.realpath("mnt")) and not os.path.lexists("lower/.coffer.mounted")
    assert not any(b"secret words" in get(os.path.join("lower", n)) or "letter" in n for n in os.listdir("lower")
                   if os.path.isfile(os.path.join("lower", n)))
    resting = status("lower")
    assert resting["mount"] is None and resting["keys"][0]["files"] == 1 and resting["volume"] == running["volume"]
    text = run("volume", "status", "lower")
    assert "Mounted  nowhere" in text and key["id"] in text and "1 file of 12.0 kB, 1 folder, 1 link" in text, text
    assert "no damage" in run("volume", "check", "--deep", "lower")
    mount("lower", "mnt")
    assert get("mnt/letter") == b"secret words" * 1000 and os.readlink("mnt/link") == "letter"
    unmount()


@test
def ciphers_are_as_they_were_asked_for():
    for cipher, code in (("aes-256", 9), ("aes-192", 8), ("aes-128", 7)):
        os.mkdir(cipher)
        run("volume", "create", "--cipher", cipher, cipher)
        mount(cipher, "mnt")
        put("mnt/f", b"x")
        unmount()
        assert get(os.path.join(cipher, "f"))[29] == code  # marker and flags, Tag 3, length, version, cipher
        assert status(cipher)["cipher"] == cipher


@test
def what_create_refuses():
    run("volume", "create", "nowhere", code=1, says="No such file")
    put("lower/x", b"")
    run("volume", "create", "lower", code=3, says="not empty")
    os.unlink("lower/x")
    run("volume", "create", "--cipher", "aes-512", "lower", code=2, says="aes-256, aes-192 or aes-128")
    run("volume", "create", "lower", "more", code=2, says="usage: coffer volume create")
    run("volume", "create", code=2, says="usage: coffer volume create")
    run("volume", "create", "--encrypt-name", "lower", code=2, says="did you mean --encrypt-names")
    run("volume", "create", "lower")
    run("volume", "create", "lower", code=1, says="volume already")
    run("volume", "creat", code=2, says="it has no creat")
    run("volume", code=2, says="which of its commands")
    run("volume", "create", "--keyring", "none.coffer", "mnt", code=1, says="none.coffer")


@test
def what_mount_refuses():
    run("volume", "create", "lower")
    os.mkdir("second")
    mount("lower", "nowhere", code=1, says="nowhere")
    mount("nowhere", "mnt", code=1, says="No such file")
    mount("second", "mnt", code=1, says="coffer volume create")
    mount("lower", code=2, says="usage: coffer volume mount")
    mount("--cipher", "aes-192", "lower", "mnt", code=3, says="under aes-256, not aes-192")
    mount("--encrypt-names", "lower", "mnt", code=3, says="not encrypted")
    mount("--signature", "0" * 16, "lower", "mnt", code=1, says="as --signature has it")
    mount("--wrapping-file", "pass", "lower", "mnt", code=2, says="goes with --wrapped-passphrase")
    mount("--options", "bogus", "lower", "mnt", code=2, says="bogus")
    mount("--direct", "a/b/c", "lower", "mnt", code=2)
    mount("--log", "nowhere/log", "lower", "mnt", code=1, says="nowhere/log")
    mount("--keyring", "none.coffer", "lower", "mnt", code=1, says="none.coffer")
    mount("--format", "sealed", "--passphrase-file", "pass", "lower", "mnt", code=2, says="the only format is ecryptfs")
    mount("--format", "ecryptfs", "lower", "mnt", code=2, says="one of --passphrase-file")
    mount("--passphrase-file", "pass", "--wrapped-passphrase", "pass", "lower", "mnt", code=2, says="one of")
    put("mnt/x", b"")
    mount("lower", "mnt", code=3, says="mnt")
    os.unlink("mnt/x")
    run("keyring", "init", "--keyring", "other.coffer", "--kek", "file:other.bin")
    mount("--keyring", "other.coffer", "--kek", "file:other.bin", "lower", "mnt", code=3, says="another keyring")
    os.rename("lower", "elsewhere")
    mount("elsewhere", "mnt", code=3, says="--moved")
    assert not mounted(os.path.realpath("mnt"))
    mount("--moved", "elsewhere", "mnt")
    unmount()
    mount("elsewhere", "mnt")  # known there from now on
    unmount()
    assert "volume.move" in run("audit", "--json")


@test
def a_second_mount_and_a_busy_one():
    run("volume", "create", "lower")
    mount("lower", "mnt")
    os.mkdir("second")
    mount("lower", "second", code=1, says="is mounted")
    run("volume", "check", "lower", code=1, says="is mounted")
    run("volume", "import", "--passphrase-file", "pass", "lower", code=1, says="is mounted")
    with open("mnt/open", "wb"):
        run("volume", "unmount", "mnt", code=1, says="in use")
    unmount()
    run("volume", "unmount", "mnt", code=1, says="mnt")
    run("volume", "unmount", "mnt", "x", code=2, says="usage")


@test
def a_mount_goes_on_without_its_keyring():
    run("volume", "create", "lower")
    mount("lower", "mnt")
    for name in os.listdir("."):
        if name.startswith(("k.coffer", "kek")):
            os.rename(name, "away-" + name)
    put("mnt/f", b"still there")
    assert get("mnt/f") == b"still there"
    assert "state" not in status("mnt")["keys"][0]
    unmount()
    mount("lower", "mnt", code=1, says="k.coffer")
    run("volume", "check", "lower", code=1, says="k.coffer")


@test
def read_only_is_read_only():
    run("volume", "create", "lower")
    mount("lower", "mnt")
    put("mnt/f", b"x")
    unmount()
    before = sorted(os.listdir("lower"))
    mount("--read-only", "--options", "noexec", "lower", "mnt")
    assert {"ro", "noexec"} <= set(mounted(os.path.realpath("mnt"))[0].split(","))
    try:
        put("mnt/g", b"x")
        raise AssertionError("it was written")
    except OSError as error:
        assert error.errno == 30, error
    assert sorted(os.listdir("lower")) == before
    unmount()


@test
def in_the_foreground_it_stays_until_it_is_told():
    run("volume", "create", "lower")
    with subprocess.Popen([COFFER, "volume", "mount", "--foreground", *(() if ROOT else ("--only-me",)), "lower", "mnt"],
                          stderr=subprocess.PIPE, text=True) as process:
        while not mounted(os.path.realpath("mnt")):
            if process.poll() is not None:
                said = process.stderr.read()
                assert "cannot mount" in said, said
                raise Skip("this process may not mount")
        put("mnt/f", b"x")
        process.terminate()
        assert process.wait(60) == 0
    assert not mounted(os.path.realpath("mnt"))


# ---- damage ----


@test
def check_names_what_is_damaged():
    run("volume", "create", "--encrypt-names", "lower")
    mount("lower", "mnt")
    os.mkdir("mnt/sub")
    for name in ("fine", "sub/cut", "sub/header", "sub/hole"):
        put(os.path.join("mnt", name), os.urandom(20000))
    numbers = {os.stat(os.path.join("mnt", n)).st_ino: n for n in ("sub/cut", "sub/header", "sub/hole")}
    unmount()
    files = {}
    for top, _, names in os.walk("lower"):
        for name in names:
            path = os.path.join(top, name)
            if os.stat(path).st_ino in numbers:
                files[numbers[os.stat(path).st_ino]] = path
    os.truncate(files["sub/cut"], 12288)
    with open(files["sub/header"], "r+b") as file:
        file.seek(8)
        file.write(b"\0\0\0\0")
    with open(files["sub/hole"], "r+b") as file:
        file.seek(8192 + 4096)
        file.write(bytes(4096))
    put("lower/stray", b"not one of ours")
    shown = run("volume", "check", "lower", code=1)
    for line in ("damaged  sub/cut: cut off", "foreign  sub/header:", "foreign  stray: a name that is not this volume's"):
        assert line in shown, (line, shown)
    assert "sub/hole" not in shown and "fine" not in shown
    lines = [json.loads(line) for line in run("volume", "check", "--deep", "--json", "lower", code=1).splitlines()]
    found = {line["path"]: line["kind"] for line in lines if "path" in line}
    assert found["sub/hole"] == "damaged" and found["sub/cut"] == "damaged" and "fine" not in found, found
    assert lines[-1]["files"] == 5 and lines[-1]["deep"], lines[-1]
    mount("lower", "mnt")
    assert len(get("mnt/fine")) == 20000 and sorted(os.listdir("mnt")) == ["fine", "sub"]
    unmount()


@test
def an_edited_record_opens_nothing():
    run("volume", "create", "lower")
    text = get("lower/.coffer.volume")
    put("lower/.coffer.volume", text.replace(b'"key_bits":256', b'"key_bits":128'))
    for command in (("mount", "lower", "mnt"), ("check", "lower"), ("status", "lower"), ("export", "--passphrase-file", "out", "lower")):
        run("volume", *command, code=1, says="its MAC does not hold")
    put("lower/.coffer.volume", text[:50])
    run("volume", "status", "lower", code=1, says=".coffer.volume")


# ---- out, and in ----


@test
def what_is_exported_opens_it():
    run("volume", "create", "--encrypt-names", "lower")
    mount("lower", "mnt")
    put("mnt/f", b"x" * 5000)
    unmount()
    secret("wrap", "login\n")
    shown = run("volume", "export", "--passphrase-file", "out", "lower")
    key = status("lower")["keys"][0]["name"]
    assert f"ecryptfs_sig={key},ecryptfs_fnek_sig={key},ecryptfs_cipher=aes,ecryptfs_key_bytes=32" in shown
    assert get("out").decode() not in shown and len(get("out")) == 64 and os.stat("out").st_mode & 0o777 == 0o600
    run("volume", "export", "--passphrase-file", "out", "lower", code=1, says="exists")
    run("volume", "export", "lower", code=2, says="--passphrase-file")
    told = json.loads(run("volume", "export", "--json", "--wrapped", "--wrapping-file", "wrap", "--passphrase-file", "wrapped", "lower"))
    assert told["wrapped"] and told["signature"] == key
    run("volume", "export", "--wrapped", "--passphrase-file", "third", "lower", code=3, says="--wrapping-file")
    assert not os.path.exists("third")
    assert run("audit", "--json").count("volume.export") >= 2
    for words in (("--passphrase-file", "out"), ("--wrapped-passphrase", "wrapped", "--wrapping-file", "wrap")):
        mount("--format", "ecryptfs", "--encrypt-names", "--signature", key, *words, "lower", "mnt")
        assert get("mnt/f") == b"x" * 5000
        unmount()
    mount("--wrapped-passphrase", "wrapped", "--wrapping-file", "pass", "lower", "mnt", code=1, says="wrapping passphrase is wrong")
    mount("--wrapped-passphrase", "pass", "--wrapping-file", "pass", "lower", "mnt", code=1, says="not a wrapped-passphrase file")
    os.chmod("out", 0o644)
    mount("--passphrase-file", "out", "lower", "mnt", code=3, says="can be read by others")


@test
def folders_of_a_kernel_are_mounted():
    for name in ("aes128", "aes192", "aes256", "aes192-names", "aes256-names", "aes256-xattr"):
        options = ("--encrypt-names",) if name.endswith("names") else ("--xattr-metadata",) if name.endswith("xattr") else ()
        lower, sums = kernel_folder(name)
        mount("--format", "ecryptfs", "--passphrase-file", "pass", *options, lower, "mnt")
        check_sums(sums)
        put("mnt/more", b"more")
        told = status("--scan", "mnt")
        assert told["cipher"] == "aes-" + name[3:6] and "volume" not in told  # found by looking
        assert [k["name"] for k in told["keys"]] == ["3ab38bb4917daae6"], told["keys"]
        unmount()
        assert "no damage" in run("volume", "check", "--passphrase-file", "pass", *options, "--deep", lower)


@test
def a_wrong_passphrase_or_cipher_is_said_at_once():
    lower, _ = kernel_folder("aes192-names")
    mount("--passphrase-file", "wrong", "--encrypt-names", lower, "mnt", code=1, says="3ab38bb4917daae6, which this passphrase does not give")
    mount("--passphrase-file", "pass", "--encrypt-names", "--cipher", "aes-256", lower, "mnt", code=3, says="--cipher aes-192")
    mount("--passphrase-file", "pass", lower, "mnt", code=3, says="say --encrypt-names")
    mount("--passphrase-file", "pass", os.path.join("kernel", "expect"), "mnt", code=1, says="is it the lower folder?")
    secret("long", "x" * 65)
    secret("empty", "\n")
    mount("--passphrase-file", "long", lower, "mnt", code=1, says="at most 64 bytes")
    mount("--passphrase-file", "empty", lower, "mnt", code=1, says="empty")
    mount("--passphrase-file", "nowhere", lower, "mnt", code=1, says="nowhere")
    assert not mounted(os.path.realpath("mnt"))


@test
def folders_of_a_kernel_come_into_the_keyring():
    for name in ("aes128", "aes256-names", "aes256-xattr"):
        options = ("--encrypt-names",) if name.endswith("names") else ("--xattr-metadata",) if name.endswith("xattr") else ()
        lower, sums = kernel_folder(name)
        run("volume", "import", "--passphrase-file", "wrong", *options, lower, code=1, says="does not give")
        assert not os.path.exists(os.path.join(lower, ".coffer.volume"))
        run("volume", "import", "--passphrase-file", "pass", *options, lower)
        run("volume", "import", "--passphrase-file", "pass", *options, lower, code=1, says="already")
        mount("--passphrase-file", "pass", *options, lower, "mnt", code=1, says="does not give")
        mount(lower, "mnt")
        check_sums(sums)
        unmount()
        told = status(lower)
        assert [k["state"] for k in told["keys"]] == ["active"] and told["cipher"] == "aes-" + name[3:6], told
        assert "no damage" in run("volume", "check", "--deep", lower)


@test
def an_import_that_was_hindered_goes_on():
    lower, sums = kernel_folder("aes256")
    header = get(os.path.join(lower, "size-4096"))
    with open(os.path.join(lower, "size-4096"), "r+b") as file:
        file.seek(8)
        file.write(bytes(8))
    run("volume", "import", "--passphrase-file", "pass", lower, code=3, says="size-4096")
    mount(lower, "mnt", code=3, says="import")
    assert status(lower)["importing"]
    put(os.path.join(lower, "size-4096"), header)
    run("volume", "import", "--passphrase-file", "pass", lower)
    mount(lower, "mnt")
    check_sums(sums)
    unmount()


@test
def an_import_that_was_killed_goes_on():
    lower, sums = kernel_folder("aes256-names")
    for number in range(300):  # enough for a kill to fall into the walk
        os.link(os.path.join(lower, next(n for n in os.listdir(lower) if os.path.isfile(os.path.join(lower, n)))),
                os.path.join(lower, f"plain-{number}"))
    command = [COFFER, "volume", "import", "--passphrase-file", "pass", "--encrypt-names", lower]
    rounds = 0
    for rounds in range(40):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            while process.poll() is None and not os.path.exists(os.path.join(lower, ".coffer.volume")):
                time.sleep(0.001)
            try:
                process.wait((0.02 + 0.9 * random.random()) if rounds < 39 else 120)
            except subprocess.TimeoutExpired:
                process.kill()
            said = process.stderr.read()
        if process.returncode == 0 or "already" in said:
            break
        assert process.returncode == -9, (process.returncode, said)
    mount(lower, "mnt")
    check_sums(sums)
    assert sum(name.startswith("plain-") for name in os.listdir("mnt")) == 300
    unmount()
    assert not any(name.startswith("plain-") for name in os.listdir(lower))
    assert len(json.loads(run("volume", "status", "--json", lower))["keys"]) == 1
    assert len([k for k in json.loads(run("key", "list", "--json")) if k["purpose"] == "volume"]) == 1


# ---- mount.coffer ----


def helper(*words, **more):
    return run(*words, program=HELPER, **more)


@test
def mount_coffer_takes_the_names_of_options_of_ecryptfs():
    user = () if ROOT else ("only_me",)
    lower, sums = kernel_folder("aes192-names")
    sig = "3ab38bb4917daae6"
    helper(lower, "mnt", "-o", ",".join((f"rw,noauto,x-systemd.requires=a.service,key=passphrase:passphrase_passwd_file=pass,ecryptfs_sig={sig}",
                                         f"ecryptfs_fnek_sig={sig},ecryptfs_cipher=aes,ecryptfs_key_bytes=24,ecryptfs_unlink_sigs,noexec,log=log", *user)))
    check_sums(sums)
    assert "noexec" in mounted(os.path.realpath("mnt"))[0]
    unmount()
    run("volume", "create", "lower")
    assert helper("lower", "mnt", "-n", "-o", ",".join(("ro,keyring=k.coffer,kek=file:kek.bin,ecryptfs_cipher=aes,ecryptfs_key_bytes=32", *user))) == ""
    assert "ro" in mounted(os.path.realpath("mnt"))[0].split(",")
    unmount()
    helper("-f", "lower", "mnt", "-o", "rw")
    assert not mounted(os.path.realpath("mnt"))


@test
def mount_coffer_refuses_what_it_does_not_know():
    run("volume", "create", "lower")
    for options, code, says in (("bogus", 1, "mount option bogus is not known"), ("ecryptfs_cipher=blowfish", 1, "made under aes"),
                                ("ecryptfs_key_bytes=20", 1, "16, 24 or 32"), ("passphrase_passwd=x", 1, "every user of this machine"),
                                ("ecryptfs_encrypted_view", 1, "that view"), ("keyring", 1, "needs a value"),
                                ("key=openssl:keyfile=x", 1, "only key=passphrase"), ("encrypt_names=maybe", 1, "y or n"),
                                ("ecryptfs_cipher=aes,ecryptfs_key_bytes=16", 32, "aes-256, not aes-128"),
                                ("passphrase_file=nowhere", 32, "nowhere")):
        helper("lower", "mnt", "-o", options, code=code, says=says)
    helper("lower", code=1, says="usage: mount.coffer")
    helper("lower", "mnt", "-x", code=1, says="unknown option -x")
    helper("lower", "mnt", "-N", "ns", code=1, says="nsenter")


def main(wanted):
    if not os.path.exists("/dev/fuse"):
        print("no /dev/fuse here")
        return 77
    failed = skipped = 0
    for function in TESTS:
        if wanted and function.__name__ not in wanted:
            continue
        place = Place()
        try:
            function()
            print("ok  ", function.__name__, flush=True)
        except Skip as reason:
            skipped += 1
            print(f"skip {function.__name__}: {reason}", flush=True)
        except Exception:
            traceback.print_exc()
            failed += 1
            print("FAIL", function.__name__, flush=True)
        finally:
            place.drop()
    print(f"{len(TESTS)} tests, {skipped} skipped, {failed} failed")
    return 1 if failed else 77 if skipped == len(TESTS) else 0


sys.exit(main(sys.argv[4:]))
