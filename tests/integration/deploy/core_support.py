# SPDX-License-Identifier: Apache-2.0
"""cofferd's core, driven through deploy_tool: a state folder of its own for each test."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time


class Refused(Exception):
    def __init__(self, error):
        super().__init__(f"{error['status']}: {error['message']}")
        self.status = error["status"]


class Deploy:
    def __init__(self, tool, program):
        self.tool, self.program = tool, program
        self.dir = tempfile.mkdtemp(prefix="cf.", dir="/tmp")
        os.chmod(self.dir, 0o711)
        self.state = self.dir + "/s"
        self.proc = None

    def start(self):
        self.log = open(self.dir + "/log", "a")
        env = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
        self.proc = subprocess.Popen([self.tool, self.state, self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=self.log, text=True, env=env)
        reply = json.loads(self.proc.stdout.readline())
        if "error" in reply:
            text = self.proc.stdout.readline()
            self.proc.wait()
            raise Refused({"status": reply["error"]["status"], "message": text})
        return self

    def ask(self, action, request=None, who=None, role=3):
        prefix = f":{who} {role} " if who else ""
        self.proc.stdin.write(f"{prefix}{action} {json.dumps(request or {})}\n")
        self.proc.stdin.flush()
        line = self.proc.stdout.readline()
        assert line, "the core ended: " + open(self.dir + "/log").read()[-3000:]
        reply = json.loads(line)
        if isinstance(reply, dict) and set(reply) == {"error"} and isinstance(reply["error"], dict):
            raise Refused(reply["error"])
        return reply

    def wait(self, job, seconds=240):
        end = time.monotonic() + seconds
        while True:
            found = self.ask("job.show", {"id": job, "wait_ms": 5000})
            if found["state"] != "running":
                return found
            assert time.monotonic() < end, found

    def do(self, action, request, want="done"):
        job = self.wait(self.ask(action, request)["job"])
        assert job["state"] == want, job
        return job

    def show(self, name):
        return self.ask("database.show", {"name": name})

    def until(self, name, state, seconds=90):
        end = time.monotonic() + seconds
        while self.show(name)["state"] != state:
            assert time.monotonic() < end, self.show(name)
            time.sleep(0.1)

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def stop(self, databases=True):
        if self.proc is None or self.proc.poll() is not None:
            return
        if databases:
            self.proc.stdin.write("stop\n")
        self.proc.stdin.close()
        assert self.proc.wait(120) == 0, open(self.dir + "/log").read()[-3000:]

    def remove(self):
        """Whatever a test left: servers, mounts, the folder."""
        if self.proc is not None and self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        for name in ("server.pid", "mount.pid"):
            for path in pathlib.Path(self.state).glob("databases/*/*/" + name):
                pid = int(path.read_text().split()[0])
                try:
                    if self.state in open(f"/proc/{pid}/cmdline").read():
                        os.kill(pid, signal.SIGKILL)
                except (OSError, ProcessLookupError):
                    pass
        for path in pathlib.Path(self.state).glob("databases/*/*/mnt"):
            subprocess.run(["fusermount3", "-uz", str(path)], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


def psql(url, sql, check=True):
    result = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", url, "-c", sql], capture_output=True, text=True, check=False)
    if check and result.returncode != 0:
        raise AssertionError(result.stderr)
    return result.stdout.strip() if result.returncode == 0 else None


def pid_of(shown, name):
    return int((pathlib.Path(shown["lower"]).parent / name).read_text().split()[0])


def holds(folder, words):
    """Is `words` in any file below `folder`?"""
    for path in pathlib.Path(folder).rglob("*"):
        if path.is_file() and not path.is_symlink() and words.encode() in path.read_bytes():
            return str(path)
    return None


def run(main):
    import sys
    import shutil as sh
    if sh.which("psql") is None or not os.path.exists("/dev/fuse") or not os.path.isdir("/usr/lib/postgresql"):
        print("skipped: PostgreSQL or /dev/fuse is missing")
        sys.exit(77)
    deploy = Deploy(*(os.path.abspath(word) for word in sys.argv[1:3]))  # a volume's mount is given the program's path
    try:
        main(deploy)
    except BaseException:
        print(open(deploy.dir + "/log").read()[-4000:])
        raise
    finally:
        deploy.remove()
