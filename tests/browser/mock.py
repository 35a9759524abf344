#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Serves web/ and, from fixtures, the API of docs/API.md: for work on the pages and for tests of what a real cofferd cannot be brought to do quickly.

  mock.py [--port N] [--databases N]

Sign-in tokens: viewer, operator, custodian, custodian2 (each as often as one likes); any other is expired.
POST /mock {"fail": "POST /databases", "status": 422, "word": "refused", "message": "…"}: the next such request fails so.
POST /mock {"expire": true}: all sessions end.  {"broken": true}: the chain of the audit log is.
"""
import argparse
import json
import mimetypes
import pathlib
import re
import secrets
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fixtures as fx

WEB = pathlib.Path(__file__).resolve().parents[2] / "web"
CSP = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
       "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'")
ROLES = {"viewer": 1, "operator": 2, "custodian": 3}
PEOPLE = {"viewer": ("vera", "viewer"), "operator": ("omar", "operator"), "custodian": ("clara", "custodian"), "custodian2": ("tomas", "custodian")}


class Refused(Exception):
    def __init__(self, code, status, message):
        super().__init__(message)
        self.code, self.status = code, status


class World:
    def __init__(self, count):
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.databases = fx.databases(count)
        self.backups = fx.backups(self.databases)
        self.keys = fx.keys(self.databases)
        self.jobs = fx.jobs(self.databases)
        for j in self.jobs.values():
            if j["state"] in ("running", "paused") and j["name"] in self.databases:
                self.databases[j["name"]]["job"] = j["id"]
        self.audit, self.whole = fx.audit(), True
        self.stacks = {"main": {"name": "main", "version": "v2", "cipher": "aes-256", "created": fx.ago(500)},
                       "legacy": {"name": "legacy", "version": "v1", "cipher": "aes-192", "created": fx.ago(480)}}
        self.sessions, self.events, self.fails, self.next_job = {}, [], {}, 72
        self.retention = {}
        threading.Thread(target=self.run, daemon=True).start()

    def event(self, kind, what):
        with self.lock:
            self.events.append((len(self.events) + 1, kind, json.dumps({**what, "event": kind})))
            self.changed.notify_all()

    def run(self):
        """What is running goes on, four times a second."""
        while True:
            time.sleep(0.25)
            with self.lock:
                for j in [j for j in self.jobs.values() if j["state"] == "running"]:
                    self.advance(j)

    def advance(self, j):
        if j["kind"] in ("rotate", "rotate-field") and j["id"] == 71:
            j["rate"] = int(min(j.get("limit") or 164 * 2**20, 164 * 2**20) * (0.8 + 0.4 * secrets.randbelow(100) / 100))
            j["done"] = min(j["total"] - 1, j["done"] + j["rate"] // 4)
            j["latency"] = round(1 + secrets.randbelow(14) / 100, 2)
        else:
            j["total"] = j["total"] or 2**30
            j["rate"] = j["total"]
            j["done"] = min(j["total"], j["done"] + j["total"] // 4)
        j["seconds_left"] = round((j["total"] - j["done"]) / max(j["rate"], 1))
        j["updated"] = fx.ago()
        if j["done"] >= j["total"]:
            self.finish(j)
        self.event("job", j)

    def finish(self, j):
        j["state"], j["step"], db = "done", "done", self.databases.get(j["name"])
        if db:
            db["job"] = None
        if j["kind"] == "create":
            db["state"], j["result"] = "running", db
        elif j["kind"] == "rotate":
            j["result"] = {"method": j["request"].get("method", "online"), "downtime_ms": 0, "bytes": j["total"], "old_key_id": db["key_id"],
                           "new_key_id": f"{secrets.randbits(32):08x}", "certificate": "c.json"}
            db["key_id"], db["key_created"] = j["result"]["new_key_id"], fx.ago()
        elif j["kind"] == "backup":
            b = {"id": f"{secrets.randbits(32):08x}", "database": j["name"], "name": j["name"], "kind": "physical", "started": j["created"],
                 "ended": fx.ago(), "bytes": j["total"], "key_id": "6f0c21aa", "needs": ["6f0c21aa", db["key_id"]], "state": "complete",
                 "expires": fx.ago(-30), "verified": None, "from": fx.ago(), "until": fx.ago()}
            self.backups[b["id"]] = j["result"] = b
            self.event("backup", b)
        elif j["kind"] == "verify":
            self.backups[j["request"]["id"]]["verified"] = fx.ago()
            self.event("backup", self.backups[j["request"]["id"]])
        elif j["kind"] == "doctor":
            j["result"] = {"checks": [dict(zip(("name", "state", "text"), c)) for c in fx.CHECKS]}
        elif j["kind"] == "destroy":
            self.databases.pop(j["name"], None)
            db = dict(db, state="destroying", gone=True)
        if db:
            self.event("database", db)

    def job(self, kind, name, request):
        j = fx.job(self.next_job, kind, name, "running", request=request, created=fx.ago(), step=kind)
        self.next_job += 1
        self.jobs[j["id"]] = j
        if name in self.databases and kind != "doctor":
            self.databases[name]["job"] = j["id"]
            self.event("database", self.databases[name])
        self.event("job", j)
        return 202, {"job": j["id"]}

    def named(self, table, name, what):
        if name not in table:
            raise Refused(404, "notfound", f"there is no {what} {name}")
        return table[name]


ROUTES = []


def route(method, pattern, role):
    def add(fn):
        ROUTES.append((method, re.compile(pattern + "$"), role, fn))
        return fn
    return add


@route("GET", "/stacks", 1)
def stacks(w, r):
    return 200, [dict(s, databases=sum(d["stack"] == s["name"] for d in w.databases.values())) for s in w.stacks.values()]


@route("POST", "/stacks", 2)
def stack_create(w, r):
    b = r.body
    w.stacks[b["name"]] = {"name": b["name"], "version": b.get("version", "v2"), "cipher": "aes-192" if b.get("version") == "v1" else "aes-256",
                           "created": fx.ago()}
    return 200, w.stacks[b["name"]]


@route("GET", "/databases", 1)
def database_list(w, r):
    names = sorted(n for n in w.databases if n > r.query.get("after", ""))
    return 200, [w.databases[n] for n in names[:int(r.query.get("limit", 1 << 30))]]


@route("POST", "/databases", 2)
def database_create(w, r):
    b = r.body
    if not re.match(r"[a-z][a-z0-9-]{0,62}$", b.get("name", "")):
        raise Refused(400, "misuse", f"\"{b.get('name', '')}\" is no name for a database: a small letter, then small letters, digits and \"-\"")
    if b["name"] in w.databases:
        raise Refused(409, "exists", f"there is a database {b['name']} already")
    db = fx.database(__import__("random").Random(1), len(w.databases), b["name"], b["engine"])
    stack = w.stacks[b.get("stack", "main")]
    db.update(state="creating", wanted="running", error=None, stack=stack["name"], cipher=stack["cipher"], created=fx.ago(), key_created=fx.ago(),
              size=0, backups=0, last_backup=None, protected_columns=0, limit=b.get("limit"))
    w.databases[b["name"]] = db
    w.event("database", db)
    return w.job("create", b["name"], b)


@route("GET", "/databases/([^/]+)", 1)
def database_show(w, r, name):
    return 200, w.named(w.databases, name, "database")


@route("GET", "/databases/([^/]+)/detail", 1)
def database_detail(w, r, name):
    return 200, fx.detail(w.named(w.databases, name, "database"), w.backups, w.jobs)


@route("GET", "/databases/([^/]+)/url", 2)
def database_url(w, r, name):
    db = w.named(w.databases, name, "database")
    return 200, {"url": f"{db['engine']}://coffer:pW8mZq2LrT5vXc9NbK4hJd7fGs3aYe6u@127.0.0.1:{db['port']}/{name.replace('-', '_')}?sslmode=verify-full"}


@route("POST", "/databases/([^/]+)/(start|stop|resize)", 2)
def database_state(w, r, name, verb):
    db = w.named(w.databases, name, "database")
    if verb != "resize":
        db["state"] = db["wanted"] = "running" if verb == "start" else "stopped"
        db["error"] = None
    else:
        db["limit"] = r.body.get("limit")
    w.event("database", db)
    return 200, db


@route("GET", "/databases/([^/]+)/logs", 2)
def database_logs(w, r, name):
    w.named(w.databases, name, "database")
    return 200, {"lines": [f"2026-11-24 15:{m:02d}:11.402 UTC [{4100 + m}] LOG:  checkpoint complete: wrote {m * 13} buffers" for m in range(40)]}


@route("POST", "/databases/([^/]+)/(doctor|rotate|move|protect|rotate-field)", 2)
def database_job(w, r, name, verb):
    db = w.named(w.databases, name, "database")
    if db["job"] and verb != "doctor":
        raise Refused(409, "conflict", f"{name} has job {db['job']} already; wait for it, or cancel it")
    return w.job(verb, name, r.body)


@route("DELETE", "/databases/([^/]+)", 3)
def database_destroy(w, r, name):
    db = w.named(w.databases, name, "database")
    if r.body.get("confirm") != name:
        raise Refused(422, "refused", "the name was not given")
    db["state"] = "destroying"
    return w.job("destroy", name, r.body)


@route("GET", "/jobs", 1)
def job_list(w, r):
    return 200, sorted(w.jobs.values(), key=lambda j: -j["id"])


@route("GET", "/jobs/([0-9]+)", 1)
def job_show(w, r, ident):
    return 200, w.named(w.jobs, int(ident), "job")


@route("POST", "/jobs/([0-9]+)/(pause|resume|cancel|throttle)", 2)
def job_act(w, r, ident, verb):
    j = w.named(w.jobs, int(ident), "job")
    if verb == "throttle":
        j["limit"] = r.body.get("rate") or int(164 * 2**20 * r.body.get("duty", 1))
    else:
        j["state"] = {"pause": "paused", "resume": "running", "cancel": "cancelled"}[verb]
        j["rate"] = 0 if verb != "resume" else j["rate"]
        if verb == "cancel" and j["name"] in w.databases:
            w.databases[j["name"]]["job"] = None
            w.event("database", w.databases[j["name"]])
    w.event("job", j)
    return 200, j


@route("GET", "/backups", 1)
def backup_list(w, r):
    return 200, sorted((b for b in w.backups.values() if r.query.get("database") in (None, b["database"])), key=lambda b: b["started"], reverse=True)


@route("POST", "/backups", 2)
def backup_create(w, r):
    w.named(w.databases, r.body.get("database"), "database")
    return w.job("backup", r.body["database"], r.body)


@route("POST", "/backups/([0-9a-f]+)/(restore|verify|expire)", 2)
def backup_act(w, r, ident, verb):
    b = w.named(w.backups, ident, "backup")
    if verb == "expire":
        b["state"] = "expired"
        w.event("backup", b)
        return 200, b
    if verb == "restore":
        if r.body.get("as") in w.databases:
            raise Refused(409, "exists", f"there is a database {r.body['as']} already; restore under another name")
        source = w.databases[b["database"]]
        w.databases[r.body["as"]] = dict(source, name=r.body["as"], state="creating", job=None)
        return w.job("create", r.body["as"], r.body)
    return w.job(verb, b["database"], {"id": ident})


@route("GET", "/databases/([^/]+)/retention", 1)
def retention_get(w, r, name):
    return 200, w.retention.get(name, {"keep_days": 30, "keep_last": 3, "schedule": "daily"})


@route("PUT", "/databases/([^/]+)/retention", 2)
def retention_put(w, r, name):
    w.retention[name] = r.body
    return 200, r.body


@route("GET", "/keys", 1)
def key_list(w, r):
    return 200, list(w.keys.values())


@route("GET", "/keys/([0-9a-f]+)", 1)
def key_show(w, r, ident):
    return 200, w.named(w.keys, ident, "key")


@route("POST", "/keys/([0-9a-f]+)/(approve|destroy)", 3)
def key_act(w, r, ident, verb):
    k = w.named(w.keys, ident, "key")
    if k["held_by"]:
        h = k["held_by"][0]
        raise Refused(422, "refused", f"key {ident} is needed by {h['kind']} {h['name']}: {h['text']}")
    if verb == "approve":
        if any(a["who"] == r.who for a in k["approvals"]):
            raise Refused(422, "refused", f"{r.who} has approved already; another custodian must")
        k["approvals"].append({"who": r.who, "at": fx.ago()})
    elif len(k["approvals"]) < 2:
        raise Refused(422, "refused", f"{2 - len(k['approvals'])} more approval is needed")
    else:
        k["state"], k["states"]["destroyed"] = "destroyed", fx.ago()
    w.event("key", k)
    return 200, k


@route("GET", "/audit", 1)
def audit_list(w, r):
    q = r.query
    found = [e for e in w.audit if q.get("event", "") in e["event"] and q.get("who", "") in e["who"] and e["seq"] > int(q.get("after", 0))]
    return 200, {"verified": w.whole, "count": len(w.audit), "entries": found[:int(q.get("limit", 100))]}


@route("GET", "/compliance", 1)
def compliance(w, r):
    return 200, fx.compliance(w.databases)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world = None

    def log_message(self, *args):
        pass

    def answer(self, code, what, kind="application/json", cookie=None):
        body = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", CSP)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store" if kind == "application/json" else "no-cache")
        if cookie is not None:
            self.send_header("Set-Cookie", f"coffer_session={cookie}; HttpOnly; SameSite=Strict; Path=/")
        self.end_headers()
        self.wfile.write(body)

    def asset(self, path):
        file = WEB / ("index.html" if path in ("/", "/signin") else path.lstrip("/"))
        if not file.resolve().is_relative_to(WEB) or not file.is_file():
            return self.answer(404, {"error": {"status": "notfound", "message": f"there is no {path}"}})
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return self.answer(200, file.read_bytes(), kind + ("; charset=utf-8" if kind.startswith("text") else ""))

    def session(self):
        cookie = re.search(r"coffer_session=([0-9a-f]+)", self.headers.get("Cookie", ""))
        return self.world.sessions.get(cookie[1]) if cookie else None

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        w, seen = self.world, int(self.headers.get("Last-Event-ID", len(self.world.events)))
        try:
            while True:
                with w.lock:
                    w.changed.wait_for(lambda: len(w.events) > seen, timeout=15)
                    new, seen = w.events[seen:], len(w.events)
                text = "".join(f"id: {n}\nevent: {kind}\ndata: {data}\n\n" for n, kind, data in new) or ": still here\n\n"
                self.wfile.write(text.encode())
                self.wfile.flush()
        except OSError:
            self.close_connection = True

    def do(self):
        url = urllib.parse.urlsplit(self.path)
        path, self.query = urllib.parse.unquote(url.path), dict(urllib.parse.parse_qsl(url.query))
        length = int(self.headers.get("Content-Length") or 0)
        self.body = json.loads(self.rfile.read(length) or b"{}")
        if path == "/mock":
            return self.control()
        if not path.startswith("/api/v1"):
            return self.asset(path)
        try:
            self.api(self.command, path[len("/api/v1"):])
        except Refused as e:
            self.answer(e.code, {"error": {"status": e.status, "message": str(e)}})

    def control(self):
        if self.body.get("expire"):
            self.world.sessions.clear()
        if self.body.get("broken"):
            self.world.whole = False
        if "fail" in self.body:
            self.world.fails[self.body["fail"]] = self.body
        self.answer(200, {})

    def api(self, method, path):
        w = self.world
        failing = w.fails.pop(f"{method} {path}", None)
        if failing:
            raise Refused(failing.get("status", 500), failing.get("word", "io"), failing["message"])
        if (method, path) == ("POST", "/session"):
            if self.body.get("token") not in PEOPLE:
                raise Refused(401, "auth", "this link has expired or was used already; ask for another: coffer signin")
            who, role = PEOPLE[self.body["token"]]
            ident = secrets.token_hex(16)
            w.sessions[ident] = {"who": who, "role": role, "csrf": secrets.token_hex(16), "expires": fx.ago(-0.5)}
            return self.answer(200, w.sessions[ident], cookie=ident)
        s = self.session()
        if path == "/health":
            return self.answer(200, {"ok": True, "databases": len(w.databases), "version": "0.1.0"})
        if not s:
            raise Refused(401, "auth", "no session; sign in with a link from: coffer signin")
        if path == "/session":
            if method == "DELETE":
                w.sessions = {k: v for k, v in w.sessions.items() if v is not s}
                return self.answer(200, {}, cookie="")
            return self.answer(200, s)
        if path == "/events":
            return self.stream()
        self.who = s["who"]
        for verb, pattern, role, fn in ROUTES:
            match = pattern.match(path)
            if verb == method and match:
                if ROLES[s["role"]] < role:
                    raise Refused(403, "refused", f"a {s['role']} may not do this")
                if method != "GET" and self.headers.get("X-Coffer-CSRF") != s["csrf"]:
                    raise Refused(403, "refused", "the CSRF token is missing or wrong")
                with w.lock:
                    code, what = fn(w, self, *match.groups())
                return self.answer(code, what)
        raise Refused(404, "notfound", f"there is no {method} {path}")

    do_GET = do_POST = do_PUT = do_DELETE = do


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--databases", type=int, default=16)
    a = p.parse_args()
    Handler.world = World(a.databases)
    server = Server(("127.0.0.1", a.port), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
