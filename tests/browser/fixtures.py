# SPDX-License-Identifier: Apache-2.0
"""The objects that mock.py serves, in the shapes of docs/API.md."""
import datetime
import random

UTC = datetime.timezone.utc
NAMES = ("clinic lab-results billing pharmacy appointments imaging referrals consent sessions triage wards-north wards-south "
         "research claims directory messaging").split()
ENGINES = {"postgresql": "15.20", "mariadb": "10.11.14", "redis": "7.0.15", "sqlite": "3.40.1"}
CHECKS = [
    ("fsync", "ok", "a write was found in the lower file after fsync"),
    ("directory-fsync", "ok", "a new name was found after fsync of its folder"),
    ("syncfs", "warn", "syncfs does not reach this file system: recovery_init_sync_method is fsync, as it must be"),
    ("shared-mmap", "ok", "two mappings of one file see each other's writes"),
    ("locks", "ok", "flock, fcntl and OFD locks exclude each other"),
    ("rename", "ok", "rename replaces; RENAME_NOREPLACE refuses"),
    ("o_direct", "ok", "direct reads give what was written"),
    ("fallocate", "ok", "preallocated space reads as zeros"),
    ("append", "ok", "two appenders lose nothing"),
    ("unlinked", "ok", "a file stays readable while open after its name is gone"),
    ("ciphertext", "ok", "what was planted was not found in the lower folder"),
    ("ssl", "ok", "the server refuses connections without TLS"),
]


def ago(days=0.0, **more):
    at = datetime.datetime.now(UTC) - datetime.timedelta(days=days, **more)
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def hex8(rng):
    return f"{rng.getrandbits(32):08x}"


def database(rng, i, name, engine):
    legacy = i % 9 == 4
    running = i % 7 != 5
    failed = i % 23 == 8
    size = int(rng.uniform(0.02, 180) * 2**30 / (1 if engine == "postgresql" else 6))
    return {
        "name": name, "id": f"{hex8(rng)}-0000-4000-8000-{rng.getrandbits(48):012x}", "engine": engine,
        "version": ENGINES[engine], "stack": "legacy" if legacy else "main", "cipher": "aes-192" if legacy else "aes-256",
        "format": "ecryptfs", "key_id": hex8(rng), "key_created": ago(rng.uniform(1, 420)),
        "state": "failed" if failed else "running" if running else "stopped", "wanted": "running" if running else "stopped",
        "port": None if engine == "sqlite" else 20000 + i, "url": None,
        "lower": f"/var/lib/coffer/databases/{hex8(rng)}/1/lower", "mount": f"/var/lib/coffer/databases/{hex8(rng)}/1/mnt",
        "size": size, "limit": None if i % 3 else 256 * 2**30, "protected_columns": rng.choice([0, 0, 3, 5, 9]) if engine != "redis" else 0,
        "backups": rng.randint(0, 14), "last_backup": ago(rng.uniform(0.01, 3)), "job": None,
        "error": "the server ended with exit code 1 three times in a minute: FATAL: could not bind 127.0.0.1:20008: address in use"
        if failed else None, "created": ago(rng.uniform(420, 500))}


def databases(count):
    rng = random.Random(7)
    engines = ["postgresql", "postgresql", "mariadb", "postgresql", "redis", "sqlite", "postgresql"]
    out = {}
    for i in range(count):
        name = NAMES[i] if i < len(NAMES) else f"{NAMES[i % len(NAMES)]}-{i:04d}"
        out[name] = database(rng, i, name, engines[i % len(engines)])
    return out


def columns(db):
    key = db["key_id"][::-1]
    table = [
        ("patients.ssn", "text", ["equality"], "C", "equal values are seen to be equal, so frequent ones stand out"),
        ("patients.family_name", "text", ["equality", "tokens"], "C", "which rows share a word is seen"),
        ("patients.born", "date", ["order"], "D", "the order of rows by this column is seen"),
        ("visits.notes", "text", [], "A", "nothing but the length, padded to 64 bytes"),
        ("visits.diagnosis", "text", ["equality", "buckets"], "B", "32 buckets of even size"),
        ("invoices.amount", "decimal(12,2)", ["sum"], "A", "nothing but the length"),
        ("patients.phone", "text", ["equality"], "C", "equal values are seen to be equal"),
        ("patients.address", "json", [], "A", "nothing but the length, padded"),
        ("lab.value", "real", ["order"], "D", "order is seen"),
    ][:db["protected_columns"]]
    return [{"column": c, "type": t, "phase": "sealed", "key_id": key, "terms": terms, "leakage": {"grade": g, "text": text}}
            for c, t, terms, g, text in table]


def detail(db, backups, jobs):
    old = [{"id": 40 + n, "kind": "rotate", "method": m, "started": ago(d, minutes=9), "ended": ago(d), "downtime_ms": down,
            "bytes": size, "old_key_id": f"{0x1a2b3c4d * (n + 2) & 0xffffffff:08x}",
            "new_key_id": db["key_id"] if n == 0 else f"{0x1a2b3c4d * (n + 1) & 0xffffffff:08x}",
            "certificate": f"/var/lib/coffer/keyring/certificates/{n:04d}.json"}
           for n, (m, d, down, size) in enumerate([("online", 34, 0, 48 * 2**30), ("replicate", 210, 2140, 41 * 2**30),
                                                   ("dump-restore", 388, 912000, 33 * 2**30)])]
    return dict(db, volume={"format": db["format"], "cipher": db["cipher"], "key_id": db["key_id"], "key_created": db["key_created"],
                            "names_encrypted": True, "files": 2231, "bytes": db["size"], "generation": 1, "lower": db["lower"],
                            "mount": db["mount"], "uuid": db["id"]},
                columns=columns(db), rotations=old, backups=[b for b in backups.values() if b["database"] == db["name"]],
                doctor={"at": ago(0.3), "checks": [dict(zip(("name", "state", "text"), c)) for c in CHECKS]})


def backups(dbs):
    rng, out = random.Random(3), {}
    for db in list(dbs.values())[:12]:
        for n in range(min(db["backups"], 5)):
            ident, logical = hex8(rng), n % 3 == 2 or db["engine"] in ("redis", "sqlite")
            start = n * 1.0 + rng.uniform(0, 0.2)
            out[ident] = {
                "id": ident, "database": db["name"], "name": f"{db['name']}-{ago(start)[:10]}", "kind": "logical" if logical else "physical",
                "started": ago(start, minutes=6), "ended": ago(start), "bytes": int(db["size"] * rng.uniform(0.4, 0.6)), "key_id": "6f0c21aa",
                "needs": sorted({"6f0c21aa", db["key_id"]}), "state": "failed" if n == 4 else "complete",
                "expires": ago(start - 30), "verified": ago(start - 0.1) if n in (0, 1) else None,
                "from": ago(start) if not logical else None, "until": ago(0.004) if not logical else None}
    return out


def keys(dbs):
    first = list(dbs.values())
    a, b = first[0], first[1] if len(first) > 1 else first[0]

    def key(ident, purpose, line, version, state, states, databases, held=(), compromised=None, approvals=()):
        return {"id": ident, "purpose": purpose, "line": line, "version": version, "state": state, "states": states,
                "compromised": compromised, "databases": databases, "held_by": list(held), "approvals": list(approvals)}
    out = [
        key("c41e07b2", "field", "default", 3, "active", {"staged": ago(62), "active": ago(61)}, [a["name"], b["name"]],
            [{"kind": "column", "name": "patients.ssn", "text": "48 210 cells are sealed under it", "until": None}]),
        key("9be2f106", "field", "default", 2, "proven",
            {"staged": ago(402), "active": ago(401), "draining": ago(61), "fenced": ago(60), "proven": ago(60, hours=-2)}, [a["name"]],
            [{"kind": "backup", "name": f"{a['name']}-weekly", "text": "made while cells were under it", "until": ago(-21)},
             {"kind": "promise", "name": "retention", "text": "kept until backups of 90 days ago are gone", "until": ago(-30)}]),
        key("17d5c90e", "field", "default", 1, "escrowed",
            {"staged": ago(800), "active": ago(799), "draining": ago(401), "fenced": ago(400), "proven": ago(400), "escrowed": ago(310)},
            [], [], approvals=[{"who": "maria", "at": ago(0.6)}]),
        key("e00ab1d4", "index", "default", 2, "active", {"staged": ago(62), "active": ago(61)}, [a["name"]],
            [{"kind": "column", "name": "patients.family_name", "text": "search terms are made with it", "until": None}]),
        key("6f0c21aa", "backup", "default", 1, "active", {"staged": ago(210), "active": ago(210)}, [d["name"] for d in first[:6]],
            [{"kind": "backup", "name": "31 backups", "text": "are sealed under it", "until": ago(-30)}]),
        key("33aa9c5f", "volume", a["name"], 1, "destroyed",
            {"staged": ago(500), "active": ago(500), "draining": ago(90), "fenced": ago(89), "proven": ago(89), "destroyed": ago(58)}, []),
        key("84f1d2c7", "volume", b["name"], 1, "draining", {"staged": ago(300), "active": ago(300), "draining": ago(0.02)}, [b["name"]],
            [{"kind": "volume", "name": b["name"], "text": "812 of 2 231 files are still under it", "until": None}], compromised=ago(0.1)),
    ]
    for d in first:
        out.append(key(d["key_id"], "volume", d["name"], 2, "active", {"staged": d["key_created"], "active": d["key_created"]}, [d["name"]],
                       [{"kind": "volume", "name": d["name"], "text": "files are sealed under it", "until": None}]))
    return {k["id"]: k for k in out}


def job(ident, kind, name, state, **more):
    base = {"id": ident, "kind": kind, "database": "", "name": name, "state": state, "step": "walk", "done": 0, "total": 0, "unit": "bytes",
            "rate": 0, "seconds_left": None, "latency": None, "messages": [], "error": None, "result": None,
            "created": ago(0.02), "updated": ago(0)}
    return dict(base, **more)


def jobs(dbs):
    first = list(dbs.values())
    total = 52 * 2**30
    out = [
        job(71, "rotate", first[min(1, len(first) - 1)]["name"], "running", step="re-encrypt", done=int(total * .36), total=total,
            rate=164 * 2**20, seconds_left=212, latency=1.07, request={"method": "online", "kind": "reencrypt"},
            messages=[{"at": ago(0.004), "text": "key 84f1d2c7 to 51a0be33, files in use are moved as they are"}]),
        job(70, "rotate-field", first[0]["name"], "paused", step="drain", done=21400, total=48210, unit="rows", rate=0,
            messages=[{"at": ago(0.01), "text": "paused by maria"}]),
        job(69, "rotate", first[-1]["name"], "failed", step="switch", done=0, total=0, request={"method": "replicate"},
            error="the table audit.log has no primary key: replication cannot follow updates of it. Add one, or rotate with --method online",
            created=ago(0.4), updated=ago(0.39)),
    ]
    for n, d in enumerate(first[:6]):
        out.append(job(60 - n, "rotate", d["name"], "done", step="done", done=d["size"], total=d["size"], rate=150 * 2**20,
                       created=ago(3 + n * 11, minutes=7), updated=ago(3 + n * 11),
                       result={"method": ["online", "replicate", "dump-restore"][n % 3], "downtime_ms": [0, 2140, 912000][n % 3],
                               "bytes": d["size"], "old_key_id": "84f1d2c7", "new_key_id": d["key_id"], "certificate": "c.json"}))
    return {j["id"]: j for j in out}


EVENTS = ["database.create", "backup.create", "key.active", "rotation.begin", "rotation.end", "session.begin", "database.stop", "key.escrowed",
          "backup.verify", "doctor", "signin.refused"]


def audit(count=420):
    rng, out = random.Random(5), []
    for n in range(1, count + 1):
        event = rng.choice(EVENTS)
        out.append({"seq": n, "at": ago((count - n) * 0.11), "who": rng.choice(["maria", "tomas", "cofferd", "deploy-bot"]), "event": event,
                    "details": {"database": rng.choice(NAMES), **({"key": hex8(rng)} if "key" in event or "rotation" in event else {})}})
    return out


def compliance(dbs):
    rows = []
    for d in list(dbs.values())[:40]:
        old = d["cipher"] == "aes-192"
        rows.append({
            "name": d["name"], "engine": d["engine"],
            "at_rest": {"cipher": d["cipher"], "key_id": d["key_id"], "checked": ago(0.01), "result": "warn" if old else "ok"},
            "in_transit": {"tls": None if d["engine"] == "sqlite" else "TLSv1.3", "result": "none" if d["engine"] == "sqlite" else "ok"},
            "columns": [c["column"] for c in columns(d)], "backups": {"count": d["backups"], "encrypted": d["backups"], "last": d["last_backup"]},
            "checks": [{"name": "ciphertext", "state": "ok", "text": "no planted plaintext in the lower folder"}]})
    return {"at": ago(0), "by": "maria", "databases": rows,
            "keys": {"active": 14, "draining": 1, "proven": 1, "escrowed": 1, "destroyed": 1},
            "audit": {"verified": True, "count": 420},
            "mapping": [
                {"rule": "164.312(a)(2)(iv)", "title": "Encryption and decryption of electronic protected health information", "result": "ok",
                 "evidence": ["every volume's headers name a key of the keyring; 16 of 16 were read",
                              "14 databases are under AES-256, 2 on the legacy stack under AES-192",
                              "planted plaintext was searched for in 16 lower folders, swap and /tmp: none found"]},
                {"rule": "164.312(e)(2)(ii)", "title": "Encryption of electronic protected health information in transit", "result": "ok",
                 "evidence": ["every engine's port answers with TLS 1.2 or newer; 13 of 13 were tried",
                              "connections without TLS were refused: 13 of 13"]}]}
