#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turn the published field vectors into the C table that coffer_selftest() runs.

    tools/make_selftest.py tests/kat/field-vectors.json > src/api/selftest_vectors.h
"""
import json
import struct
import sys
import uuid

TYPES = ["null", "bytes", "text", "bool", "int64", "float64", "numeric", "date", "timestamp", "uuid", "json"]
BINDINGS = ["none", "column", "row"]
ERRORS = {"format": "COFFER_E_FORMAT", "key": "COFFER_E_KEY", "auth": "COFFER_E_AUTH"}


def encode(kind, value):
    if kind == "bytes":
        return bytes.fromhex(value)
    if kind == "uuid":
        return uuid.UUID(value).bytes
    if kind == "bool":
        return bytes([value])
    if kind == "date":
        return struct.pack(">i", value)
    if kind in ("int64", "timestamp"):
        return struct.pack(">q", value)
    if kind == "float64":
        return struct.pack(">d", value)
    return value.encode()


def row(parts):
    out = b""
    for kind, value in parts or []:
        data = encode(kind, value)
        out += struct.pack(">BH", TYPES.index(kind), len(data)) + data
    return out.hex()


def text(value):
    """A C string, in pieces that fit a line; whatever is not plain ASCII as an octal escape."""
    raw = "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else "\\%03o" % b for b in value.encode())
    pieces, line = [], ""
    while raw:
        step = raw[:4] if raw[0] == "\\" else raw[0]
        line, raw = line + step, raw[len(step):]
        if len(line) >= 84:
            pieces.append(line)
            line = ""
    pieces.append(line)
    return "\n     ".join('"%s"' % piece for piece in pieces)


def case(c, name, expected):
    print("    {%s, %s, %s, \"%s\", 0x%08x, %d, %d, %d, %d," % (
        text(name), expected, text(c["data_key"]), uuid.UUID(c["column_id"]).hex, c["key_id"], c["suite"],
        TYPES.index(c["type"]), BINDINGS.index(c["binding"]), c.get("pad") or 0))
    value = encode(c["type"], c["value"]).hex() if "value" in c else ""
    for member in (row(c.get("row")), c.get("nonce", ""), value, c.get("envelope")):
        print("     %s," % ("NULL" if member is None else text(member)))
    print("     %s}," % ("NULL" if "text_form" not in c else text(c["text_form"])))


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        vectors = json.load(file)
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* Made by tools/make_selftest.py from tests/kat/field-vectors.json; do not edit. */")
    print("/* clang-format off */")
    print("static const struct answer ANSWERS[] = {")
    for c in vectors["valid"]:
        case(c, "valid %d" % c["id"], "COFFER_OK")
    for c in vectors["invalid"]:
        case(c, c["name"], ERRORS[c["error"]])
    print("};")


if __name__ == "__main__":
    main()
