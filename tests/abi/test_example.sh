#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The program of libcoffer(3) does what the page says.  usage: test_example.sh MAKE_KEYRING PROGRAM
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$1" "$folder/k" "$folder/kek"
got=$("$2" "$folder/k" "$folder/kek" people.ssn 123-45-6789)
[ "$got" = "59 bytes sealed
123-45-6789" ] || { echo "it printed: $got"; exit 1; }
code=0
said=$("$2" "$folder/k" "$folder/kek" people.nothing x 2>&1) || code=$?
case "$code $said" in
"1 notfound: "*people.ssn*) ;;
*) echo "for a column that is not there: exit $code, $said"; exit 1 ;;
esac
