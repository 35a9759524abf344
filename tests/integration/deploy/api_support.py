# SPDX-License-Identifier: Apache-2.0
"""What the tests of cofferd's API share: a cofferd of its own, requests over TCP and over its socket."""
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

COFFER = os.path.abspath(sys.argv[1])
PASSED = 0


def check(what, holds):
    global PASSED
    assert holds, what
    PASSED += 1


class Cofferd:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="coffer-api-")
        os.chmod(self.dir, 0o711)  # engines run as accounts of their own
        self.state = self.dir + "/state"
        self.begun = self.serve()

    def coffer(self, *words, code=0):
        env = {k: v for k, v in os.environ.items() if not k.startswith("COFFER_")}
        done = subprocess.run([COFFER, "--state", self.state, *words], capture_output=True, text=True, check=False, env=env,
                              timeout=120, cwd=self.dir)
        assert code is None or done.returncode == code, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        assert "Sanitizer" not in done.stderr, done.stderr
        return done

    def json(self, *words):
        return json.loads(self.coffer(*words, "--json").stdout)

    def serve(self, *words):
        it = self.json("serve", *words)
        self.host, self.port = it["url"].split("//")[1].split(":")
        self.port = int(self.port)
        return it

    def ask(self, method, path, body=None, headers=None, raw=None):
        """(code, headers, value) over TCP."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        headers = dict(headers or {})
        if body is not None:
            raw = json.dumps(body)
        if raw is not None:
            headers.setdefault("Content-Type", "application/json")
        connection.request(method, path, raw, headers)
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        kind = reply.getheader("Content-Type", "")
        return reply.status, dict(reply.getheaders()), json.loads(text) if kind == "application/json" else text

    def sign_in(self, *words):
        """Headers of a new session."""
        link = self.json("signin", *words)["link"]
        code, headers, value = self.ask("POST", "/api/v1/session", {"token": link.split("#")[1]})
        assert code == 200, value
        return {"Cookie": headers["Set-Cookie"].split(";")[0], "X-Coffer-CSRF": value["csrf"]}

    def raw(self, text, timeout=40):
        with socket.create_connection((self.host, self.port), timeout=timeout) as s:
            s.sendall(text)
            got = b""
            while True:
                try:
                    chunk = s.recv(65536)
                except ConnectionResetError:
                    break
                if not chunk:
                    break
                got += chunk
            return got

    def end(self):
        self.coffer("stop")
        shutil.rmtree(self.dir)
