#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each folder under src/ includes only what the house lets it use (docs/ARCHITECTURE.md)."""
import pathlib
import re
import sys

BELOW_FIELD = ["keyring", "crypto", "base"]
USES = {
    "base": [],
    "crypto": ["base"],
    "keyring": ["crypto", "base"],
    "kek": BELOW_FIELD,
    "field": BELOW_FIELD,
    "api": ["index", "search", "sums", "field"] + BELOW_FIELD,
    "ledger": BELOW_FIELD,
    "db": ["base"],
    "host": ["api", "kek", "db", "ledger", "field"] + BELOW_FIELD,
    "rotate": ["host", "index", "search", "sums", "ledger", "db", "search", "sums", "field"] + BELOW_FIELD,
    "volume": ["ledger"] + BELOW_FIELD,
    "search": ["field"] + BELOW_FIELD,
    "sums": ["search", "field"] + BELOW_FIELD,
    "index": ["search", "sums", "field"] + BELOW_FIELD,
    "deploy": ["volume", "rotate", "host", "api", "kek", "db", "ledger", "field"] + BELOW_FIELD,
    "daemon": ["deploy", "volume", "rotate", "host", "api", "kek", "db", "ledger", "field"] + BELOW_FIELD,
    "cli": ["daemon", "deploy", "index", "search", "sums", "volume", "rotate", "host", "api", "kek", "db", "ledger", "field"] + BELOW_FIELD,
    "sqlite_ext": ["sums", "host", "api", "kek", "field"] + BELOW_FIELD,
}
LIBRARIES = {"openssl/": {"crypto"}, "sodium.h": {"crypto"}, "sqlite3.h": {"db", "sqlite_ext", "deploy", "daemon"}, "libpq-fe.h": {"db"},
             "fuse": {"volume"}, "intel-ipsec-mb.h": {"crypto"},
             "microhttpd.h": {"daemon"}, "curl/": {"cli"}, "utf8proc.h": {"search"}, "gmp.h": {"sums"}}

root = pathlib.Path(__file__).resolve().parent.parent / "src"
bad = 0
for path in sorted(root.rglob("*.[ch]")):
    folder = path.relative_to(root).parts[0]
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = re.match(r'\s*#\s*include\s+[<"]([^>"]+)[>"]', line)
        if not found:
            continue
        name = found.group(1)
        part = name.split("/")[0]
        wrong = part in USES and part != folder and part not in USES.get(folder, [])
        for library, allowed in LIBRARIES.items():
            wrong = wrong or (name.startswith(library) and folder not in allowed)
        if wrong:
            print(f"src/{path.relative_to(root)}:{number}: {folder}/ may not include {name}")
            bad += 1
sys.exit(1 if bad else 0)
