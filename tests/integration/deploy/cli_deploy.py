#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The commands of a state folder, by the contract that scripts rely on: cli_deploy.py COFFER.  The engine is PostgreSQL for root, for whom
each engine runs as an account of its own, else SQLite."""
import http.client
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


def sql(url, text):
    return subprocess.run(["psql", url, "-AtqXc", text], capture_output=True, text=True, check=True).stdout.strip()


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


RESULT = {"method", "downtime_ms", "bytes", "old_key_id", "new_key_id", "certificate"}


def rotated(d, key, *words):
    """The new key's id: a rotation ends with its result, and the database has the key that it names."""
    result = json.loads(d.coffer("db", *words, "--yes", "--json").stdout.strip().splitlines()[-1])
    check(f"the result of {words}: {result}", set(result) == RESULT and result["old_key_id"] == key != result["new_key_id"])
    check("a certificate", os.path.isfile(result["certificate"]) and result["bytes"] > 0)
    check("the new key", d.json("db", "show", words[1])["key_id"] == result["new_key_id"])
    return result["new_key_id"]


def rotations(d):
    root = os.getuid() == 0
    url = d.coffer("db", "url", "clinic").stdout.strip()
    key = d.json("db", "show", "clinic")["key_id"]
    if root:
        sql(url, "CREATE TABLE patients(id bigint PRIMARY KEY, ssn text); "
                 "INSERT INTO patients SELECT i, 'number-' || i FROM generate_series(1, 500) i")
    for method in ("online", "dump-restore", "replicate") if root else ("online",):
        key = rotated(d, key, "rotate", "clinic", "--method", method, *(["--rate", "1G"] if method == "online" else []))
        check("the same rows by the same URL", not root or sql(url, "SELECT count(*) FROM patients") == "500")
    old = d.json("db", "create", "old", "--engine", "postgresql" if root else "sqlite", "--stack", "legacy")
    rotated(d, old["key_id"], "move", "old", "--stack", "main", "--rate", "1G")
    moved = d.json("db", "show", "old")
    check(f"AES-256 by a move: {moved}", (moved["cipher"], moved["stack"]) == ("aes-256", "main"))


def looked_at(d):
    doctor = d.json("db", "doctor", "clinic")
    check(f"the doctor: {doctor}", len(doctor["checks"]) > 8 and not doctor["failed"])
    headers = d.sign_in("--role", "custodian")
    detail = d.ask("GET", "/api/v1/databases/clinic/detail", headers=headers)[2]
    check("its last report", detail["doctor"] == doctor)
    report = [x for x in d.ask("GET", "/api/v1/compliance", headers=headers)[2]["databases"] if x["name"] == "clinic"][0]
    check("in the report", report["checks"] == doctor["checks"] and report["checked"] == doctor["at"])
    check("its log", os.getuid() != 0 or d.json("db", "logs", "clinic", "--lines", "2")["lines"])
    check("a limit", d.json("db", "resize", "clinic", "--limit", "2G")["limit"] == 2 << 30)
    newest = d.ask("GET", "/api/v1/audit?before=1000000&limit=3", headers=headers)[2]
    seqs = [e["seq"] for e in newest["entries"]]
    check(f"the newest entries first: {seqs}", seqs == [newest["count"] - n for n in range(3)])
    held = {k["id"]: k["held_counts"] for k in d.ask("GET", "/api/v1/keys", headers=headers)[2]}
    check(f"what holds the key: {held}", held[detail["key_id"]].get("database") == 1)


def done(d, headers, path, body):
    code, _, begun = d.ask("POST", path, body, headers)
    check(f"{path}: {begun}", code == 202)
    for _ in range(12):
        job = d.ask("GET", f"/api/v1/jobs/{begun['job']}?wait_ms=10000", headers=headers)[2]
        if job["state"] != "running":
            break
    check(f"{path} is done: {job}", job["state"] == "done")
    return job["result"]


def columns(d):
    """A column protected and its key rotated, as the dashboard asks for it."""
    if os.getuid() != 0:
        return
    url = d.coffer("db", "url", "clinic").stdout.strip()
    headers = d.sign_in()
    place = "/api/v1/databases/clinic"
    check("no option by the back door", d.ask("POST", place + "/protect", {"columns": ["--scrub.x"]}, headers)[0] == 400)
    sealed = done(d, headers, place + "/protect", {"columns": ["patients.ssn"], "settle": "0s", "no_unaware_clients": True})
    check(f"sealed: {sealed}", [c["phase"] for c in sealed["columns"]] == ["sealed"] and sealed["rows"] == 500)
    check("no plaintext", sql(url, "SELECT count(*) FROM patients WHERE ssn LIKE 'number%'") == "0")
    result = done(d, headers, place + "/rotate-field", {"settle": "0s", "grace": "0s"})
    check(f"another key: {result}", result["old_key_id"] == sealed["columns"][0]["key_id"] != result["new_key_id"])
    check("its certificate", os.path.isfile(result["certificate"]) and result["rows"] == 500)
    shown = d.ask("GET", place + "/detail", headers=headers)[2]
    check("shown", [c["key_id"] for c in shown["columns"]] == [result["new_key_id"]] and shown["protected_columns"] == 1)
    check("no URL is left", os.listdir(d.state + "/run") == [])


def ends(d):
    """A rotation paused, resumed and taken back; a database that goes is told of."""
    begun = subprocess.Popen([t.COFFER, "--state", d.state, "db", "rotate", "old", "--rate", "1M", "--yes", "--json"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = json.loads(begun.stdout.readline())
    job = str(line["job"])
    d.coffer("job", "pause", job)
    _, words = begun.communicate(timeout=60)
    check(f"the command says so: {words}", begun.returncode == 1 and "resume" in words)
    check("paused", d.json("job", "show", job)["state"] == "paused")
    d.coffer("job", "resume", job)
    d.coffer("job", "cancel", job)
    headers = d.sign_in()
    for _ in range(12):
        state = d.ask("GET", f"/api/v1/jobs/{job}?wait_ms=10000", headers=headers)[2]["state"]
        if state != "running":
            break
    check(f"taken back: {state}", state == "cancelled")
    stream = http.client.HTTPConnection(d.host, d.port, timeout=60)
    stream.request("GET", "/api/v1/events", headers=headers)
    reply = stream.getresponse()
    d.coffer("db", "destroy", "old", "--yes-destroy", "old")
    kinds = set()
    for line in reply:
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            kinds.add((event["event"], event.get("kind")))
            if event["event"] == "database" and event["state"] == "destroyed":
                break
    check(f"an event of its own, and the job's kind: {kinds}", ("job", "destroy") in kinds and event["name"] == "old")
    stream.close()


def main():
    d = t.Cofferd()
    for part in (settings, life, rotations, looked_at, columns, ends):
        part(d)
        print(f"{part.__name__}: good")
    d.end()
    print(f"{t.PASSED} passed, 0 failed")


main()
