#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The commands of a state folder, by the contract that scripts rely on: cli_deploy.py COFFER.  The engine is PostgreSQL for root, for whom
each engine runs as an account of its own, else SQLite."""
import json
import os
import subprocess

import api_support as t
from api_support import check

MEMBERS = {"name", "engine", "version", "stack", "cipher", "format", "key_id", "state", "url", "lower"}


def settings(d):
    """--state before and after the command, coffer.toml, the environment; the folder's keyring."""
    names = [[s["name"] for s in json.loads(subprocess.run([t.COFFER, *words], capture_output=True, text=True, check=True, cwd=d.dir,
                                                           env={**os.environ, **env}).stdout)]
             for words, env in ((["stack", "list", "--json", "--state", d.state], {}), (["stack", "list", "--json"], {"COFFER_STATE": d.state}))]
    with open(d.dir + "/coffer.toml", "w", encoding="utf-8") as f:
        f.write('state = "state"\n')
    names.append([s["name"] for s in json.loads(subprocess.run([t.COFFER, "stack", "list", "--json"], capture_output=True, text=True, check=True,
                                                               cwd=d.dir, env=os.environ).stdout)])
    os.remove(d.dir + "/coffer.toml")
    check(f"the stack main, in each way: {names}", names == [["main"]] * 3)
    check("the folder's keyring", "verified" in d.coffer("audit").stdout or d.coffer("key", "list").returncode == 0)
    no = d.coffer("db", "show", "none", code=1)
    check("no such database", "none" in no.stderr)


def life(d):
    engine = "postgresql" if os.getuid() == 0 else "sqlite"
    legacy = d.json("stack", "create", "legacy", "--version", "v1")
    check("a legacy stack", legacy["cipher"] == "aes-192")
    made = d.json("db", "create", "clinic", "--engine", engine)
    check(f"the object: {made}", MEMBERS <= set(made) and made["cipher"] == "aes-256" and made["state"] == "running")
    check("a directory of ciphertext", os.path.isdir(made["lower"]))
    old = d.json("db", "create", "old", "--engine", engine, "--stack", "legacy")
    check("AES-192 there", old["cipher"] == "aes-192")
    check("a list of the same", [x["name"] for x in d.json("db", "list")] == ["clinic", "old"])
    check("shown the same", d.json("db", "show", "clinic")["key_id"] == made["key_id"])
    check("a name twice", d.coffer("db", "create", "clinic", "--engine", engine, code=1).stderr)
    url = d.coffer("db", "url", "clinic").stdout.strip()
    if engine == "postgresql":
        say = subprocess.run(["psql", url, "-Atc", "select 6*7"], capture_output=True, text=True, check=False)
        check(f"psql needs nothing else: {say.stderr}", say.stdout == "42\n")
    check("it stops", d.json("db", "stop", "clinic")["state"] == "stopped")
    check("it starts", d.json("db", "start", "clinic")["state"] == "running")
    check("jobs", {j["kind"] for j in d.json("job", "list")} >= {"create", "start", "stop"})
    check("a wrong name destroys nothing", "once more" in d.coffer("db", "destroy", "old", "--yes-destroy", "clinic", code=3).stderr)
    d.coffer("db", "destroy", "old", "--yes-destroy", "old")
    check("it is gone", [x["name"] for x in d.json("db", "list")] == ["clinic"])
    d.coffer("stop")
    d.begun = d.serve()
    check("what ran comes back", d.json("db", "show", "clinic")["state"] in ("starting", "running"))
    check("the API gives the same objects",
          d.ask("GET", "/api/v1/databases", headers=d.sign_in("--role", "viewer"))[2][0]["key_id"] == made["key_id"])


def main():
    d = t.Cofferd()
    for part in (settings, life):
        part(d)
        print(f"{part.__name__}: good")
    d.end()
    print(f"{t.PASSED} passed, 0 failed")


main()
