#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What cofferd costs: bench_api.py COFFER [DATABASES].

Registers databases in state.db (stopped ones: no servers), then measures the list over HTTP, memory and idle CPU."""
import http.client
import os
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
    times, size = [], 0
    for _ in range(50):
        begin = time.perf_counter()
        connection.request("GET", f"/api/v1/databases?limit={COUNT}", headers=headers)
        text = connection.getresponse().read()
        times.append((time.perf_counter() - begin) * 1000)
        size = len(json.loads(text))
    with open(f"/proc/{it['pid']}/stat", encoding="ascii") as f:
        before = f.read().rsplit(")", 1)[1].split()
    time.sleep(10)
    with open(f"/proc/{it['pid']}/stat", encoding="ascii") as f:
        after = f.read().rsplit(")", 1)[1].split()
    ticks = sum(int(after[i]) - int(before[i]) for i in (11, 12))
    print(f"{size} of {COUNT} databases listed: median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms")
    print(f"memory {int(after[21]) * os.sysconf('SC_PAGE_SIZE') / 2**20:.1f} MiB, "
          f"idle CPU {ticks / os.sysconf('SC_CLK_TCK') / 10 * 100:.2f} %")
    coffer("stop")


main()
