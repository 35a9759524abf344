# SPDX-License-Identifier: Apache-2.0
"""A Linux kernel with eCryptfs, run as an ordinary process (Debian's user-mode-linux), to try files with.

It boots in seconds, with the host's root folder for its own (read only), guest.py as its first process, a disk of its own and a
folder shared with the host.  Requests go over its serial port, which is a socket here."""
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LINUX = "linux.uml"
MEMORY = 160 << 20
BOOT_S, REQUEST_S = 60, 120
NEEDED = {LINUX: "user-mode-linux", "ecryptfs-add-passphrase": "ecryptfs-utils", "mkfs.ext4": "e2fsprogs"}


def find(program):
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def missing():
    """Debian packages that are not installed."""
    return [package for program, package in NEEDED.items() if find(program) is None]


class KernelError(Exception):
    """What a request came to, or the end of the kernel."""


class Kernel:
    def __init__(self, folder):
        """`folder` is the caller's, and empty or a former kernel's, whose disk this one takes over; what is in its `share` both
        sides see."""
        self.folder, self.share = folder, os.path.join(folder, "share")
        self.console, disk = os.path.join(folder, "console"), os.path.join(folder, "disk")
        os.makedirs(self.share, exist_ok=True)
        if not os.path.exists(disk):
            with open(disk, "wb") as file:
                file.truncate(512 << 20)
            subprocess.run([find("mkfs.ext4"), "-q", "-b", "4096", disk], check=True)
        self.port, theirs = socket.socketpair()
        environment = {**os.environ, "TMPDIR": self.memory_folder()}
        command = [find(LINUX), f"mem={MEMORY >> 20}M", "rootfstype=hostfs", "rootflags=/", "ro", f"ubd0={disk}",
                   f"init={sys.executable}", f"share={self.share}", "con=null", "con0=null,fd:1", f"ssl0=fd:{theirs.fileno()}", "quiet",
                   f"uml_dir={folder}", "umid=kernel", "--", f"{HERE}/guest.py"]
        with open(self.console, "wb") as console:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
                                            pass_fds=[theirs.fileno()], env=environment, start_new_session=True)
        theirs.close()
        self.pending = b""
        self.release = self.reply(BOOT_S)

    def memory_folder(self):
        """The guest's memory is a file; it must lie where there is room, and better not on a disk."""
        try:
            room = os.statvfs("/dev/shm")
            if room.f_bavail * room.f_frsize > 2 * MEMORY:
                return "/dev/shm"
        except OSError:
            pass
        return self.folder

    def reply(self, timeout_s):
        end = time.monotonic() + timeout_s
        while b"\n" not in self.pending:
            ready, _, _ = select.select([self.port], [], [], max(0, end - time.monotonic()))
            more = self.port.recv(1 << 16) if ready else b""
            if not more:
                why = "ended" if ready else f"did not answer in {timeout_s} s"
                self.stop()
                raise KernelError(f"the guest's kernel {why}; its console:\n{self.lines()}")
            self.pending += more
        line, self.pending = self.pending.split(b"\n", 1)
        answer = json.loads(line)
        if "error" in answer:
            raise KernelError(f"{answer['error']}\n{answer['trace']}\nconsole:\n{self.lines()}")
        return answer["ok"]

    def ask(self, request, *arguments):
        """Without waiting for the answer."""
        self.port.sendall(json.dumps([request, *arguments]).encode() + b"\n")

    def __call__(self, request, *arguments):
        self.ask(request, *arguments)
        return self.reply(REQUEST_S)

    def lines(self, count=40):
        with open(self.console, errors="replace") as file:
            return "".join(file.readlines()[-count:])

    def stop(self):
        self.port.close()  # the guest reads the end, and halts
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.power_off()

    def power_off(self):
        """As the plug does it: what the guest had not written to its disk is lost."""
        self.port.close()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
