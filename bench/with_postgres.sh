#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Run a program against a PostgreSQL cluster of its own that is as careful with the disk as a real one.
#
#   bench/with_postgres.sh CMD...      `URL` as a word of CMD becomes the URL of an empty database
#
# The cluster of the tests (tests/support/pg_cluster.sh) does without fsync and full pages; a measurement may not.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${COFFER_BENCH_INSIDE:-}" ]; then
    [ $# -ge 1 ] || { sed -n '3,8s/^# \?//p' "$0" >&2; exit 2; }
    COFFER_BENCH_INSIDE=1 exec "$here/../tests/support/pg_cluster.sh" run "$here/with_postgres.sh" "$@"
fi
for setting in fsync=on full_page_writes=on "max_wal_size='4GB'"; do
    psql -qX "$COFFER_TEST_PG_SUPER" -c "ALTER SYSTEM SET $setting"
done
psql -qAtX "$COFFER_TEST_PG_SUPER" -c 'SELECT pg_reload_conf()' >/dev/null
psql -qX "$COFFER_TEST_PG_SUPER" -c "ALTER ROLE coffer_app CREATEDB"
words=()
for word in "$@"; do
    [ "$word" != URL ] || word=$COFFER_TEST_PG
    words+=("$word")
done
"${words[@]}"
