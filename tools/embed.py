#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files as tables of C: embed.py OUT.c DEPFILE NAME=FOLDER …

Each FOLDER (one that is not there is empty) becomes `const struct asset NAME[]`, sorted by path, with type, ETag and, where it
saves something, a gzip form.  DEPFILE names what was read, folders too, so that a new file is noticed."""
import gzip
import hashlib
import pathlib
import sys

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".mjs": "text/javascript; charset=utf-8", ".json": "application/json", ".svg": "image/svg+xml", ".png": "image/png",
         ".ico": "image/x-icon", ".woff2": "font/woff2", ".txt": "text/plain; charset=utf-8",
         ".webmanifest": "application/manifest+json"}


def array(name, data):
    rows = [",".join(map(str, data[i:i + 40])) for i in range(0, len(data), 40)]
    return f"static const uint8_t {name}[] = {{\n" + ",\n".join(rows or ["0"]) + "};\n"


def table(name, folder, read):
    arrays, entries = [], []
    if folder.is_dir():
        read.append(folder)
        for path in sorted(folder.rglob("*"), key=lambda p: p.as_posix()):
            if path.name.startswith("."):
                continue
            read.append(path)
            if not path.is_file() or path.suffix not in TYPES:
                continue
            data = path.read_bytes()
            packed = gzip.compress(data, 9, mtime=0)
            mine = f"{name}_{len(entries)}"
            arrays.append(array(mine, data))
            small = len(packed) < len(data) * 0.9
            if small:
                arrays.append(array(mine + "_gzip", packed))
            entries.append(f'    {{"/{path.relative_to(folder).as_posix()}", "{TYPES[path.suffix]}", '
                           f'"\\"{hashlib.sha256(data).hexdigest()[:16]}\\"", {mine}, {len(data)}, '
                           + (f"{mine}_gzip, {len(packed)}}},\n" if small else "NULL, 0},\n"))
    return "".join(arrays) + f"const struct asset {name}[] = {{\n" + "".join(entries) + "    {NULL}};\n"


def main():
    out, depfile = map(pathlib.Path, sys.argv[1:3])
    read = []
    text = "/* Made by tools/embed.py. */\n#include \"daemon/assets.h\"\n\n"
    for word in sys.argv[3:]:
        name, _, folder = word.partition("=")
        text += table(name, pathlib.Path(folder), read)
    out.write_text(text, encoding="utf-8")
    depfile.write_text(f"{out}: " + " ".join(str(p).replace(" ", "\\ ") for p in read) + "\n", encoding="utf-8")


main()
