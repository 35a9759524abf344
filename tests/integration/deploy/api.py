#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""cofferd's HTTP API against a real cofferd: who may, what is refused, load, events: api.py COFFER."""
import concurrent.futures
import http.client
import json
import os
import re
import signal
import socket
import stat
import time

import api_support as t
from api_support import check

LIST = "/api/v1/databases"


def sign_in(d):
    code, headers, value = d.ask("GET", LIST)
    check("no token", code == 401 and value["error"]["status"] == "auth" and headers["WWW-Authenticate"] == "Bearer")
    link = d.begun["link"]
    check("the first link is on the screen", link.startswith(d.begun["url"] + "/signin#"))
    token = link.split("#")[1]
    code, headers, value = d.ask("POST", "/api/v1/session", {"token": token})
    cookie = headers["Set-Cookie"]
    check("a link signs in", code == 200 and value["role"] == "custodian")
    check("the cookie is closed to pages", "HttpOnly" in cookie and "SameSite=Strict" in cookie)
    check("a link signs in once", d.ask("POST", "/api/v1/session", {"token": token})[0] == 401)
    me = {"Cookie": cookie.split(";")[0]}
    check("a session reads", d.ask("GET", LIST, headers=me)[0] == 200)
    check("who it is", d.ask("GET", "/api/v1/session", headers=me)[2]["csrf"] == value["csrf"])
    new = {"name": "one"}
    check("no CSRF token", d.ask("POST", "/api/v1/stacks", new, me)[0] == 403)
    check("another's CSRF token", d.ask("POST", "/api/v1/stacks", new, {**me, "X-Coffer-CSRF": "x" * 43})[0] == 403)
    me["X-Coffer-CSRF"] = value["csrf"]
    check("with it", d.ask("POST", "/api/v1/stacks", new, me)[0] == 200)
    check("a page of another site", d.ask("GET", LIST, headers={**me, "Origin": "http://evil.example"})[0] == 403)
    check("DNS rebinding", d.ask("GET", LIST, headers={**me, "Host": f"evil.example:{d.port}"})[0] == 403)
    check("localhost is ours", d.ask("GET", LIST, headers={**me, "Host": f"localhost:{d.port}"})[0] == 200)
    with open(d.state + "/state.db", "rb") as f:
        content = f.read()
    check("no token is on disk", token.encode() not in content and me["Cookie"].split("=")[1].encode() not in content)
    check("signed out", d.ask("DELETE", "/api/v1/session", headers=me)[0] == 200 and d.ask("GET", LIST, headers=me)[0] == 401)


def roles(d):
    viewer, operator = d.sign_in("--role", "viewer", "--who", "ann"), d.sign_in("--role", "operator", "--who", "bob")
    custodian = d.sign_in("--role", "custodian", "--who", "eve")
    check("a viewer reads", d.ask("GET", LIST, headers=viewer)[0] == 200)
    code, _, value = d.ask("POST", "/api/v1/stacks", {"name": "two"}, viewer)
    check("and changes nothing", code == 403 and "operator" in value["error"]["message"])
    check("an operator makes", d.ask("POST", "/api/v1/stacks", {"name": "two"}, operator)[0] == 200)
    check("a conflict", d.ask("POST", "/api/v1/stacks", {"name": "two"}, operator)[0] == 409)
    check("and destroys nothing", d.ask("DELETE", LIST + "/x", {"confirm": "x"}, operator)[0] == 403)
    check("nobody makes himself a second custodian",
          d.ask("POST", "/api/v1/signin", {"who": "eve2", "role": "custodian"}, custodian)[0] == 422)
    code, _, made = d.ask("POST", "/api/v1/tokens", {"name": "ci", "role": "viewer", "days": 1}, custodian)
    bearer = {"Authorization": "Bearer " + made["token"]}
    check("a bearer token needs no CSRF token", code == 200 and d.ask("GET", LIST, headers=bearer)[0] == 200)
    check("but its role", d.ask("POST", "/api/v1/stacks", {"name": "x"}, bearer)[0] == 403)
    check("it is listed without itself", "token" not in d.ask("GET", "/api/v1/tokens", headers=custodian)[2][0])
    check("metrics", b"coffer_http_requests_total{code=\"200\"}" in d.ask("GET", "/metrics", headers=bearer)[2])
    check("no metrics for nobody", d.ask("GET", "/metrics")[0] == 401)
    check("it ends", d.ask("DELETE", "/api/v1/tokens/" + made["id"], headers=custodian)[0] == 200
          and d.ask("GET", LIST, headers=bearer)[0] == 401)
    codes = [d.ask("GET", LIST, headers={"Authorization": f"Bearer coffer_{i}"})[0] for i in range(30)]
    check("guessing", codes[0] == 401 and codes[-1] == 429)
    check("locks out nobody", d.ask("GET", LIST, headers=viewer)[0] == 200)
    events = {e["event"] for e in map(json.loads, d.coffer("audit", "--json").stdout.splitlines()) if "event" in e}
    check(f"all of it is in the audit log: {events}", {"signin", "signin.link", "signin.refused", "token.create"} <= events)


def malformed(d):
    me = d.sign_in()
    post = "/api/v1/stacks"
    for raw, what in (("{", "no JSON"), ("[]", "object"), ('{"name":"a","name":"b"}', "no JSON"), ('{"name":"x","bogus":1}', "bogus")):
        code, _, value = d.ask("POST", post, headers=me, raw=raw)
        check(f"{raw}: {value}", code == 400 and what in value["error"]["message"])
    check("a form", d.ask("POST", post, headers={**me, "Content-Type": "text/plain"}, raw='{"name":"f"}')[0] == 400)
    check("too large", d.ask("POST", post, headers=me, raw='{"name":"' + "x" * 300000 + '"}')[0] == 413)
    check("too large a header", d.ask("GET", LIST, headers={**me, "X-Long": "x" * 40000})[0] in (413, 431))
    code, headers, _ = d.ask("PUT", post, {}, me)
    check("another method", code == 405 and headers["Allow"] == "POST")
    check("no such path", d.ask("GET", "/api/v1/nothing", headers=me)[0] == 404)
    check("no such database", d.ask("GET", LIST + "/none", headers=me)[0] == 404)
    for name in ("%00", "a%2Fb", "..%2f..", "%ff", "a%00b", "x" * 299):
        check(name, d.ask("GET", f"{LIST}/{name}", headers=me)[0] in (400, 404))
    check("an unknown argument", d.ask("GET", LIST + "?bogus=1", headers=me)[0] == 400)
    check("no number", d.ask("GET", LIST + "?limit=-1", headers=me)[0] == 400)
    for text in (b"\r\n\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n",
                 b"POST /api/v1/stacks HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n"):
        begin = time.monotonic()
        got = d.raw(text)
        check(text, (not got or got.startswith(b"HTTP/1.")) and time.monotonic() - begin < 25)
    check("it lives", d.ask("GET", "/api/v1/health")[2]["ok"])


def slow(d):
    """A client that sends a byte a second is cut off; others are served meanwhile."""
    begin = time.monotonic()
    with socket.create_connection((d.host, d.port)) as s:
        s.sendall(b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        try:
            while time.monotonic() - begin < 60:
                s.sendall(b"a")
                check("others are served", d.ask("GET", "/api/v1/health")[0] == 200)
                time.sleep(1)
        except OSError:
            pass
    check(f"cut off after {time.monotonic() - begin:.0f} s", time.monotonic() - begin < 30)


def load(d, count=10000, at_once=64):
    me = d.sign_in()

    def work(n):
        connection = http.client.HTTPConnection(d.host, d.port, timeout=60)
        good = 0
        for _ in range(n):
            connection.request("GET", LIST, headers=me)
            reply = connection.getresponse()
            good += reply.status == 200 and json.loads(reply.read()) == []
        connection.close()
        return good
    share = [count // at_once + (i < count % at_once) for i in range(at_once)]
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        good = sum(pool.map(work, share))
    check(f"{good} of {count}", good == count)
    print(f"{count} requests, {at_once} at once: {time.monotonic() - begin:.1f} s")


def stream(d, me, last=None):
    connection = http.client.HTTPConnection(d.host, d.port, timeout=30)
    connection.request("GET", "/api/v1/events", headers={**me, **({"Last-Event-ID": last} if last else {})})
    return connection.getresponse(), connection


def event(reply, kind):
    """The next event of a kind: (id, data)."""
    found = {}
    while True:
        line = reply.readline().decode().rstrip("\n")
        if not line:
            if found.get("event") == kind:
                return found["id"], json.loads(found["data"])
            found = {}
        elif ": " in line:
            name, _, value = line.partition(": ")
            found[name] = value


def events(d):
    me = d.sign_in("--role", "operator")
    many = [stream(d, me) for _ in range(100)]
    reply, connection = many[0]
    check("a stream", reply.getheader("Content-Type") == "text/event-stream" and reply.readline() == b"retry: 2000\n")
    code, _, value = d.ask("POST", LIST, {"name": "events", "engine": "sqlite", "version": "none"}, me)
    if code != 202:
        code, _, value = d.ask("POST", LIST, {"name": "events", "engine": "sqlite"}, me)
    check(f"a job begins: {value}", code == 202 and value["job"] > 0)
    first, data = event(reply, "job")
    check("an event of it", data["id"] == value["job"])
    for r, _ in many[1:]:
        check("everybody hears", event(r, "job")[0] == first)
    connection.close()
    begin = time.monotonic()
    job = d.ask("GET", f"/api/v1/jobs/{value['job']}?wait_ms=30000", headers=me)[2]
    check("waited for", job["state"] in ("done", "failed") and time.monotonic() - begin < 29)
    run, number = first.split("-")
    again, connection = stream(d, me, f"{run}-{int(number) - 1}")
    check("goes on where it stopped", event(again, "job")[0] == first)
    connection.close()
    for bad in ("deadbeef-1", "nonsense", f"{run}-99999999"):
        other, connection = stream(d, me, bad)
        check(bad, event(other, "reset")[1] == {})
        connection.close()
    d.ask("DELETE", "/api/v1/session", headers=me)
    for r, c in many[1:]:
        c.close()


def pages(d):
    code, headers, text = d.ask("GET", "/", headers={"Accept-Encoding": "identity"})
    policy = headers["Content-Security-Policy"]
    check("the page", code == 200 and b"<html" in text.lower())
    check("strict", "default-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy)
    check("no sniffing", headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer")
    check("kept by its ETag", d.ask("GET", "/", headers={"If-None-Match": headers["ETag"]})[0] == 304)
    packed = d.ask("GET", "/", headers={"Accept-Encoding": "gzip"})
    check("packed", packed[1]["Content-Encoding"] == "gzip" and len(packed[2]) < len(text))
    check("its own addresses", d.ask("GET", "/signin", headers={"Accept": "text/html"})[2] == text)
    for part in re.findall(rb'(?:src|href)="([^"#]+)"', text):
        check(part, d.ask("GET", "/" + part.decode().lstrip("/"))[0] == 200)


def description(d):
    code, _, api = d.ask("GET", "/api/v1/openapi.json")
    check("OpenAPI 3.1", code == 200 and api["openapi"] == "3.1.0")
    told = {(m.upper(), p) for p, item in api["paths"].items() for m in item}
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../docs/API.md"), encoding="utf-8") as f:
        rows = re.findall(r"^\| (?:GET|POST|DELETE|PUT)[^|]*", f.read(), re.M)
    check("the document has a table", len(rows) > 20)
    for row in rows:
        words = row.strip("| ").split(" `")[0].split(" (")[0]
        methods, _, paths = words.partition(" /")
        base = None
        for path in ("/" + paths).split(" · "):
            path = path.strip().replace("NAME", "{name}").replace("/jobs/N", "/jobs/{id}").replace("ID", "{id}")
            base, path = (path, path) if path[0] == "/" else (base, base.rsplit("/", 1)[0] + "/" + path)
            for method in methods.replace(",", " ").split():
                full = path if path == "/metrics" else "/api/v1" + path
                check(f"{method} {full} of API.md is described", (method, full) in told)
    refs = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(api)))
    check("every schema is there", refs <= set(api["components"]["schemas"]))
    check("and used", set(api["components"]["schemas"]) == refs)


def process(d):
    sock = d.state + "/coffer.sock"
    check("the socket is its owner's", stat.S_IMODE(os.stat(sock).st_mode) == 0o600)
    done = d.coffer("serve", code=1)
    check(f"a second one is refused: {done.stderr}", str(d.begun["pid"]) in done.stderr)
    me = d.sign_in("--role", "viewer")
    os.kill(d.begun["pid"], signal.SIGKILL)
    while os.path.exists(f"/proc/{d.begun['pid']}"):
        time.sleep(0.05)
    done = d.coffer("db", "list", code=1)
    check("nobody serves", f"coffer serve --state {d.state}" in done.stderr)
    d.begun = d.serve()
    check("a session outlives a kill -9", d.ask("GET", LIST, headers=me)[0] == 200)
    check("beyond this machine with TLS only", "--tls-cert" in t_refused(d))


def t_refused(d):
    d.coffer("stop")
    said = d.coffer("serve", "--http", "0.0.0.0:0", code=3).stderr
    d.begun = d.serve()
    return said


def main():
    d = t.Cofferd()
    for part in (sign_in, roles, malformed, load, pages, description, events, slow, process):
        part(d)
        print(f"{part.__name__}: good")
    d.end()
    print(f"{t.PASSED} passed, 0 failed")


main()
