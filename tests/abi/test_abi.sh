#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# libcoffer.so exports what the list says, nothing more and nothing less, under its soname.
# usage: test_abi.sh LIBRARY LIST
set -eu
library=$1 list=$2
found=$(nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort)
wanted=$(grep -v '^#' "$list" | sort)
if [ "$found" != "$wanted" ]; then
    echo "the exported symbols are not those of $list (a name that goes breaks programs; a new one belongs there):"
    printf '%s\n' "$wanted" >"${TMPDIR:-/tmp}/abi-wanted.$$"
    printf '%s\n' "$found" | diff "${TMPDIR:-/tmp}/abi-wanted.$$" - || true
    rm -f "${TMPDIR:-/tmp}/abi-wanted.$$"
    exit 1
fi
readelf -d "$library" | grep -q 'SONAME.*\[libcoffer\.so\.0\]' || { echo "the soname is not libcoffer.so.0"; exit 1; }
