#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What cofferd costs: bench_api.py COFFER [DATABASES].

Registers databases in state.db (stopped ones: no servers), then measures the list over HTTP, memory and idle CPU; and, where
`npm ci` was run in tests/browser, the dashboard's first paint in Chromium."""
import http.client
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import json
import time
import uuid

COFFER = os.path.abspath(sys.argv[1])
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
STATE = tempfile.mkdtemp(prefix="coffer-bench-") + "/state"


def coffer(*words):
    return json.loads(subprocess.run([COFFER, "--state", STATE, *words, "--json"], capture_output=True, text=True, check=True).stdout)


def fill():
    """Rows as a stopped database has them."""
    db = sqlite3.connect(STATE + "/state.db")
    columns = {row[1]: row[2] for row in db.execute("pragma table_info(databases)")}
    for i in range(COUNT):
        row = {"id": str(uuid.uuid4()), "name": f"db{i:05}", "engine": "sqlite", "stack": "main", "generation": 1, "state": "stopped",
               "wanted": "stopped", "created": 1}
        names = list(columns)
        db.execute(f"insert into databases({','.join(names)}) values({','.join('?' * len(names))})",
                   [row.get(n, b"" if columns[n] == "BLOB" else "" if columns[n] == "TEXT" else 0) for n in names])
    db.commit()
    db.close()


def ticks_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def main():
    coffer("serve")
    coffer("stop")
    fill()
    it = coffer("serve")
    host, port = it["url"].split("//")[1].split(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.request("POST", "/api/v1/session", json.dumps({"token": it["link"].split("#")[1]}), {"Content-Type": "application/json"})
    reply = connection.getresponse()
    reply.read()
    headers = {"Cookie": reply.getheader("Set-Cookie").split(";")[0]}
    times, size, spent = [], 0, ticks_of(it["pid"])
    for _ in range(50):
        begin = time.perf_counter()
        connection.request("GET", f"/api/v1/databases?limit={COUNT}", headers=headers)
        text = connection.getresponse().read()
        times.append((time.perf_counter() - begin) * 1000)
        size = len(json.loads(text))
    before = ticks_of(it["pid"])
    time.sleep(10)
    ticks = ticks_of(it["pid"]) - before
    with open(f"/proc/{it['pid']}/status", encoding="ascii") as f:
        memory = next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
    hertz = os.sysconf("SC_CLK_TCK")
    print(f"{size} of {COUNT} databases listed: median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms, "
          f"{(before - spent) / hertz / len(times) * 1000:.1f} ms of processor time each")
    print(f"memory {memory / 1024:.1f} MiB, idle CPU {ticks / hertz / 10 * 100:.2f} %")
    here = os.path.dirname(os.path.abspath(__file__))
    if os.path.isdir(here + "/../../tests/browser/node_modules"):
        subprocess.run(["node", here + "/paint.mjs", coffer("signin")["link"], "11"], check=True)
    coffer("stop")
    shutil.rmtree(os.path.dirname(STATE))


main()
