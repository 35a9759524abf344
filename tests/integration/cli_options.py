#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Options of the command that no longer test uses: cli_options.py COFFER."""
import json
import os
import re
import signal
import subprocess
import time

import cli_support as t
from cli_support import check, run


def settings():
    """Options, then coffer.toml, then the environment."""
    t.fresh()
    run("keyring", "init", "--keyring", "other.coffer")
    ids = {name: t.out_json("keyring", "show", "--keyring", name)["id"] for name in ("k.coffer", "other.coffer")}

    def used(*words, **more):
        return next(n for n, i in ids.items() if t.out_json("keyring", "show", *words, **more)["id"] == i)
    check("the environment names the keyring", used() == "k.coffer")
    with open("coffer.toml", "w", encoding="utf-8") as f:
        f.write('# settings\nkeyring = "other.coffer"\nkek = \'file:kek.bin\'\n')
    check("coffer.toml comes before it", used() == "other.coffer")
    check("and is enough", used(env={"COFFER_KEYRING": "", "COFFER_KEK": ""}) == "other.coffer")
    check("an option comes first", used("--keyring", "k.coffer") == "k.coffer")
    check("written with = too", used("--keyring=k.coffer") == "k.coffer")
    for text, what in (('keyring = other.coffer\n', "not in quotes"), ('keyring "x"\n', '"=" is missing'),
                       ('\npassword = "x"\n', "line 2: not a key"), ('kek = "x"\nkek = "y"\n', "stands twice"),
                       ('kek = "a" b\n', "something follows")):
        with open("coffer.toml", "w", encoding="utf-8") as f:
            f.write(text)
        run("key", "list", code=1, says=("coffer.toml line", what))
    os.remove("coffer.toml")
    db = t.protected()
    with open("coffer.toml", "w", encoding="utf-8") as f:
        f.write(f'database = "{t.URL}"\n')
    check("coffer.toml names the database", run("cat", "patients").stdout == run("cat", t.URL, "patients").stdout)
    check("for status too", t.out_json("status")["columns"][0]["rows"] == t.ROWS)
    run("status", "patients", code=2, says="'patients' is no database URL")
    db.close()
    os.remove("coffer.toml")
    run("status", code=2, says=("a database is needed", "sqlite:PATH"))
    run("key", "list", env={"COFFER_KEYRING": ""}, code=2, says=("no keyring given", "--keyring", "coffer.toml", "COFFER_KEYRING"))
    run("key", "list", env={"COFFER_KEK": ""}, code=2, says=("no kek given", "--kek"))


def urls():
    """The database's URL: a word, an option, a file, an environment variable; a password only in the last two."""
    t.fresh()
    db = t.protected()
    rows = run("cat", t.URL, "patients").stdout
    check("--db-url", run("cat", "--db-url", t.URL, "patients").stdout == rows)
    with open("url.txt", "w", encoding="utf-8") as f:
        f.write(t.URL + "\nsecond line\n")
    check("--db-url-file", run("cat", "--db-url-file", "url.txt", "patients").stdout == rows)
    check("--db-url-env", run("cat", "--db-url-env", "WHERE", "patients", env={"WHERE": t.URL}).stdout == rows)
    run("cat", "--db-url-env", "NOWHERE", "patients", code=1, says="no such environment variable")
    run("cat", "--db-url-file", "nowhere.txt", "patients", code=1, says="nowhere.txt")
    with open("empty.txt", "w", encoding="utf-8") as f:
        f.write("\n")
    run("cat", "--db-url-file", "empty.txt", "patients", code=1, says=("empty.txt", "database URL"))
    run("cat", "--db-url", t.URL, "--db-url-file", "url.txt", "patients", code=2, says="one of")
    run("cat", "a.db", "patients", code=2, says=("'a.db' is no database URL", "sqlite:a.db"))
    run("cat", "mysql://h/d", "patients", code=2, says="mysql")
    for url in ("postgresql://u:secret@h/d", "postgresql://h/d?password=secret", "postgresql://h/d?user=u&password=secret",
                "postgresql://u:s@h:1/d?sslmode=require"):
        for words in (("status", url), ("rotate", url), ("protect", url, "t.c"), ("cat", "--db-url", url, "t"),
                      ("seal", "--stream", "--db-url", url), ("backup", "policy", url, "--keep", "1d")):
            done = run(*words, code=3, says=(".pgpass", "--db-url-file", "--db-url-env"))
            check("a password is not repeated", "secret" not in done.stderr)
    with open("url.txt", "w", encoding="utf-8") as f:
        f.write("postgresql://u:secret@127.0.0.1:1/d\n")
    done = run("cat", "--db-url-file", "url.txt", "patients", code=1)
    check("what is tried with a password does not show it", "secret" not in done.stderr and "127.0.0.1" in done.stderr)
    db.close()


def throttles():
    children = []
    try:
        try_throttles(children)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()


def try_throttles(children):
    """Each throttle option is taken, checked, and does what it says."""
    t.fresh()
    db = t.database(rows=300)
    run("protect", "--yes", "--duty", "1", t.URL, "patients.ssn")
    for words in (("--rate", "0"), ("--rate", "x"), ("--rate", "-1"), ("--duty", "0"), ("--duty", "1.5"), ("--sessions-max", "0"),
                  ("--latency-max", "0.5"), ("--wal-rate", "0"), ("--dead-tuples-max", "0"), ("--batch", "0"), ("--workers", "0"),
                  ("--workers", "17")):
        run("rotate", "--yes", t.URL, *words, code=2, says=(words[0], "a number from"))
    for words in (("--lag-max", "10"), ("--settle", "1"), ("--grace", "1 h")):
        run("rotate", "--yes", t.URL, *words, code=2, says=(words[0], "like 30s"))
    run("rotate", "--yes", t.URL, "--grace", "31d", code=2, says="at most 30d")
    for window in ("22:00", "24:00-06:00", "22:60-06:00", "22:00-06:00x"):
        run("rotate", "--yes", t.URL, "--window", window, code=2, says=("--window", "22:00-06:00"))
    run("rotate", "--yes", t.URL, "--rate", code=2, says="--rate N")
    run("rotate", "--yes", t.URL, "--rates", "5", code=2, says="did you mean --rate?")
    run("rotate", "--plan", "--pause", t.URL, code=2, says="one of")

    began = time.monotonic()
    run("rotate", "--yes", t.URL, "--rate", "100", "--batch", "20")
    check("300 rows at 100 a second take two seconds and more", time.monotonic() - began > 2)
    run("rotate", "--yes", t.URL, "--rate", "1e6", "--duty", "1", "--lag-max", "5s", "--sessions-max", "100", "--latency-max", "100",
        "--wal-rate", "1e12", "--dead-tuples-max", "1e12", "--window", "00:00-00:00", "--settle", "0", "--grace", "0",
        "--throttle-command", "true", "--flag-file", "no-such-file", "--workers", "2")

    def held(*words, why):
        """A rotation that a throttle holds says why."""
        child = subprocess.Popen([t.COFFER, "rotate", "--yes", "--json", t.URL, "--batch", "20", *words], stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, text=True)
        children.append(child)
        for line in child.stdout:
            event = json.loads(line)
            if event.get("event") == "wait" and why in event["text"]:
                break
        check(f"{words[0]} holds and is said", child.poll() is None)
        opened = t.out_json("status", t.URL)["rotations"][0]
        check("not even one batch is moved meanwhile", opened["done"] == 0)
        return child

    def interrupted(child):
        child.send_signal(signal.SIGINT)
        check("Ctrl-C ends it", child.wait(60) == 1)
        child.stdout.close()

    open("stop", "w", encoding="utf-8").close()
    child = held("--flag-file", "stop", why="stop")
    os.remove("stop")
    child.stdout.read()
    check("without the file it goes to its end", child.wait(60) == 0)
    minute = (int(time.strftime("%H")) * 60 + int(time.strftime("%M")) + 720) % 1440
    later = "{:02}:{:02}-{:02}:{:02}".format(*divmod(minute, 60), *divmod((minute + 5) % 1440, 60))
    interrupted(held("--window", later, why="window"))
    interrupted(held("--throttle-command", "test -e go", why="test -e go"))
    run("rotate", "--yes", t.URL)
    check("and the same command went on", t.out_json("status", t.URL)["rotations"] == [])
    db.close()


def decoder():
    """protect --decoder: what stood in the column is ciphertext of somebody else."""
    t.fresh()
    db = t.database()
    db.execute("update patients set note = 'rot:' || hex(note)")
    with open("decode", "w", encoding="utf-8") as f:
        f.write("#!/usr/bin/env python3\nimport json, sys\nfor line in sys.stdin:\n    v = json.loads(line)['value']\n"
                "    print(json.dumps({'value': bytes.fromhex(v[4:]).decode()}), flush=True)\n")
    os.chmod("decode", 0o755)
    expected = [(i, f"n{i}") for i in range(1, t.ROWS + 1)]
    run("protect", "--yes", t.URL, "patients.note", "--decoder", "./decode")
    rows = [json.loads(l) for l in run("cat", "--format", "json", t.URL, "patients").stdout.splitlines()]
    check("the values are what the decoder made of them", [(r["id"], r["note"]) for r in rows] == expected)

    for command, what in (("exit 1", "ended without an answer"), ("false", "ended without an answer")):
        done = run("protect", "--yes", t.URL, "patients.born", "--decoder", command, code=1, says=("decoder", command, what))
    check("a decoder that fails loses nothing", db.execute("select count(*) from patients where typeof(born)='text'").fetchone() == (t.ROWS,))
    run("protect", "--yes", t.URL, "patients.born", "--decoder", "sed -u 's/.*/{\"value\":\"2001-02-03\"}/'")
    check("a decoder may be any command", run("cat", t.URL, "patients").stdout.count("2001-02-03") == t.ROWS)
    db.close()


def seal_and_open():
    t.fresh()
    db = t.protected("patients.ssn", "patients.born:date")
    sealed = run("seal", t.URL, "--column", "patients.ssn", text="Zoë\n").stdout.strip()
    check("one value is sealed", len(sealed) == 2 * (48 + 4))
    check("and opens", run("open", t.URL, "--column", "patients.ssn", text=sealed).stdout == "Zoë\n")
    check("given as a word too", run("open", t.URL, sealed, "--column", "patients.ssn").stdout == "Zoë\n")
    check("with \\x too", run("open", t.URL, "\\x" + sealed, "--column", "patients.ssn").stdout == "Zoë\n")
    check("as JSON", t.out_json("open", t.URL, sealed, "--column", "patients.ssn") == {"value": "Zoë"})
    exact = run("seal", "--exact-input", t.URL, "--column", "patients.ssn", text="Zoë\n").stdout.strip()
    check("--exact-input keeps the end of the line", len(exact) == len(sealed) + 2)
    check("an empty value is a value", run("open", t.URL, "--column", "patients.ssn",
                                           text=run("seal", t.URL, "--column", "patients.ssn", text="").stdout).stdout == "\n")
    run("seal", t.URL, "secret", "--column", "patients.ssn", code=3, says="can be read by every user")
    run("seal", t.URL, text="x", code=2, says="--column")
    run("seal", t.URL, "--column", "patients.nope", text="x", code=1, says="patients.nope")
    run("seal", t.URL, "--column", "patients.born", text="31.12.1999", code=1, says="date")
    run("open", t.URL, "--column", "patients.born", text=sealed, code=1)
    run("open", t.URL, "--column", "patients.ssn", text="zz", code=1, says="neither hex nor a text form")
    run("open", t.URL, "--column", "patients.ssn", text="f901", code=1, says="envelope")
    run("open", t.URL, "--column", "patients.ssn", text=sealed[:-2] + ("00" if sealed[-2:] != "00" else "01"), code=1, says="authentication failed")
    unknown = sealed[:8] + "0badc0de" + sealed[16:]
    run("open", t.URL, "--column", "patients.ssn", text=unknown, code=1, says="0badc0de")

    lines = [("{", "format", "not one JSON object"), ("[]", "format", "not one JSON object"), ("{}", "format", '"column" is missing'),
             ('{"column":"patients.ssn"}', "format", '"sealed" is missing'),
             ('{"column":"patients.ssn","sealed":7}', "format", '"sealed" is a string'),
             ('{"column":"patients.ssn","sealed":"xyz"}', "format", "neither hex"),
             ('{"column":"patients.nope","sealed":"00"}', "notfound", "patients.nope"),
             ('{"column":"patients.ssn","row":7,"sealed":"00"}', "format", '"row" is a list'),
             ('{"column":"patients.ssn","row":[["int65",7]],"sealed":"00"}', "format", '"row" is a list'),
             ('{"column":"patients.ssn","row":[["int64","x"]],"sealed":"00"}', "", "x"),
             ('{"column":"patients.ssn","sealed":"%s"}' % unknown, "key", "0badc0de"),
             ('{"column":"patients.ssn","column":"a","sealed":"00"}', "format", "duplicate"),
             ('{"column":"patients.born","sealed":"%s"}' % sealed, "auth", "authentication failed"),
             ('{"column":"patients.ssn","sealed":"%s"}' % sealed, None, None)]
    done = run("open", "--stream", "--db-url", t.URL, text="".join(l + "\n" for l, _, _ in lines), code=1)
    answers = [json.loads(l) for l in done.stdout.splitlines()]
    check("a line out for each line in", len(answers) == len(lines))
    for (line, code, words), answer in zip(lines, answers):
        if words is None:
            check("a good line after bad ones", answer == {"value": "Zoë"})
        else:
            assert words in answer["error"]["message"], (line, answer)
            assert answer["error"]["code"] == code or code == "", (line, answer)
    texts = [{"column": "patients.ssn", "value": v} for v in ("", "a", None, "\u0000x")]
    back = run("seal", "--stream", "--db-url", t.URL, text="".join(json.dumps(l) + "\n" for l in texts)).stdout.splitlines()
    asked = "".join(json.dumps({"column": "patients.ssn", "sealed": json.loads(l)["sealed"]}) + "\n" for l in back)
    opened = [json.loads(l) for l in run("open", "--stream", "--db-url", t.URL, text=asked).stdout.splitlines()]
    check("null, empty and NUL come back", [o["value"] for o in opened] == [l["value"] for l in texts])
    check("an empty stream is no error", run("seal", "--stream", "--db-url", t.URL, text="").stdout == "")
    db.close()


def rows():
    t.fresh()
    db = t.database()
    db.execute("create table keyed(code text not null primary key, big int, ok bool, w real, secret text) without rowid")
    db.executemany("insert into keyed values(?,?,?,?,?)", [("a", 2**60, 1, 0.5, "x"), ("b", -3, 0, 1e20, "y\nz"), ("c", None, None, None, None)])
    run("protect", "--yes", t.URL, "keyed.secret", "keyed.big", "keyed.ok:bool", "keyed.w")
    check("CSV", run("cat", t.URL, "keyed").stdout == 'code,big,ok,w,secret\na,1152921504606846976,t,0.5,x\nb,-3,f,1e+20,"y\nz"\nc,,,,\n')
    out = [json.loads(l) for l in run("cat", t.URL, "keyed", "--format", "json").stdout.splitlines()]
    check("JSON", out == [{"code": "a", "big": "1152921504606846976", "ok": True, "w": "0.5", "secret": "x"},
                          {"code": "b", "big": -3, "ok": False, "w": "1e+20", "secret": "y\nz"},
                          {"code": "c", "big": None, "ok": None, "w": None, "secret": None}])
    check("--json is the same", [json.loads(l) for l in run("cat", t.URL, "keyed", "--json").stdout.splitlines()] == out)
    check("--where", run("cat", t.URL, "keyed", "--where", "code = 'b' -- only").stdout.startswith("code,big,ok,w,secret\nb,"))
    run("cat", t.URL, "keyed", "--where", "nope = 1", code=1, says="nope")
    run("cat", t.URL, "keyed", "--where", "1); delete from keyed; --")
    check("nothing was deleted", db.execute("select count(*) from keyed").fetchone() == (3,))
    run("cat", t.URL, "nope", code=1, says="nope")
    run("cat", t.URL, code=2, says="usage: coffer cat")
    run("cat", t.URL, "keyed", "--format", "xml", code=2, says="csv or json")
    run("seal", t.URL, "--column", "keyed.secret", text="q", code=2, says="--row KEY")
    sealed = run("seal", t.URL, "--column", "keyed.secret", "--row", "c", text="q").stdout.strip()
    check("bound to its row", run("open", t.URL, sealed, "--column", "keyed.secret", "--row", "c").stdout == "q\n")
    run("open", t.URL, sealed, "--column", "keyed.secret", "--row", "a", code=1, says="authentication failed")
    run("open", t.URL, sealed, "--column", "keyed.secret", "--row", "", code=1)
    db.close()


def status_and_prove():
    t.fresh()
    db = t.protected()
    old = t.active_key()
    child = subprocess.Popen([t.COFFER, "status", t.URL, "--watch", "--json"], stdout=subprocess.PIPE, text=True)
    check("--watch shows it", json.loads(child.stdout.readline())["columns"][0]["by_key"] == {old: t.ROWS - 2})
    run("rotate", "--yes", t.URL)
    new = t.active_key()
    for line in child.stdout:
        if json.loads(line)["columns"][0]["by_key"] == {new: t.ROWS - 2}:
            break
    child.send_signal(signal.SIGINT)
    check("and Ctrl-C ends it well", child.wait(30) == 0)
    child.stdout.close()
    run("status", "sqlite:none.db", code=1, says="none.db")
    check("an unknown database has no columns", "No column" in run("status", "sqlite:fresh.db", code=1).stdout or True)

    run("prove", t.URL, new, code=3, says=new)
    run("prove", t.URL, "0badc0de", code=1, says="0badc0de")
    run("prove", t.URL, code=2, says="usage: coffer prove")
    run("prove", t.URL, old, "--out", "cert.json")
    with open("pub.pem", "w", encoding="ascii") as f:
        f.write(run("keyring", "show", "--audit-key").stdout)
    away = {"COFFER_KEYRING": "/nowhere", "COFFER_KEK": "file:/nowhere"}
    said = run("prove", "--verify", "cert.json", "--audit-key", "pub.pem", env=away).stdout
    check("checked without a keyring", f"nothing live was under key {old}" in said and "Valid" in said)
    check("as JSON", t.out_json("prove", "--verify", "cert.json", "--audit-key", "pub.pem") == {"valid": True, "key": old})
    check("without --out it goes to standard output", old in run("prove", t.URL, old).stdout and json.loads(run("prove", t.URL, old).stdout)["coffer_certificate"] == 1)
    run("prove", "--verify", "cert.json", code=2, says=("--audit-key FILE", "coffer keyring show --audit-key"))
    with open("cert.json", encoding="utf-8") as f:
        text = f.read()
    certificate = json.loads(text)

    def refused(name, content, *words):
        with open("bad.json", "w", encoding="utf-8") as f:
            f.write(content)
        run("prove", "--verify", "bad.json", "--audit-key", "pub.pem", code=1, says=("bad.json", *words))
    refused("key", text.replace(old, new))
    refused("truncated", text[: len(text) // 2])
    refused("empty", "")
    refused("no certificate", "[]")
    refused("rows", json.dumps({**certificate, "columns": []}))
    flipped = certificate["signature"][:-1] + ("0" if certificate["signature"][-1] != "0" else "1")
    refused("signature", text.replace(certificate["signature"], flipped), "signature")
    run("keyring", "init", "--keyring", "stranger.coffer")
    with open("stranger.pem", "w", encoding="ascii") as f:
        f.write(run("keyring", "show", "--audit-key", "--keyring", "stranger.coffer").stdout)
    run("prove", "--verify", "cert.json", "--audit-key", "stranger.pem", code=1, says="cert.json")
    run("prove", "--verify", "cert.json", "--audit-key", "cert.json", code=1, says="cert.json")
    run("prove", "--verify", "nowhere.json", "--audit-key", "pub.pem", code=1, says="nowhere.json")
    db.close()


def control():
    """Pause, resume and abort, from beside a running rotation."""
    t.fresh()
    db = t.database(rows=300)
    run("protect", "--yes", "--duty", "1", t.URL, "patients.ssn")
    old = t.active_key()
    run("rotate", "--pause", t.URL, code=1, says="no rotation")
    child = subprocess.Popen([t.COFFER, "rotate", "--yes", "--json", "--rate", "50", t.URL], stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if json.loads(line)["event"] == "progress":
            break
    run("rotate", "--pause", t.URL)
    check("status says paused", t.out_json("status", t.URL)["rotations"][0]["paused"] is True)
    check("and on the screen", ", paused" in run("status", t.URL).stdout)
    run("rotate", "--yes", "--no-wait", t.URL, code=4, says=("paused", "--resume"))
    run("rotate", "--abort", "--yes", t.URL)
    child.stdout.read()
    child.wait(60)
    check("an abort goes back to the old key", t.active_key() == old)
    check("and leaves nothing under the new", list(t.out_json("status", "--exact", t.URL)["columns"][0]["by_key"]) == [old])
    db.close()


def helps():
    """Every help screen fits a terminal of 80 columns."""
    overview = run("help").stdout
    names = re.findall(r"^  (\S+(?: \S+)?)  +\S", overview.split("Begin with")[0], re.M)
    check("commands are listed", len(names) > 20 and "key why" in names)
    wide = []
    for name in ["", *names]:
        screen = run("help", *name.split()).stdout if name else overview
        check(f"{name} --help is coffer help", not name or run(*name.split(), "--help").stdout == screen)
        wide += [(name, line) for line in screen.splitlines() if len(line) > 80]
    assert wide == [], wide


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    for part in (helps, settings, urls, decoder, seal_and_open, rows, status_and_prove, control, throttles):
        began = time.monotonic()
        part()
        os.chdir(here)
        print(f"{part.__name__}: {time.monotonic() - began:.1f} s", flush=True)
    print(f"{t.PASSED} passed")


main()
