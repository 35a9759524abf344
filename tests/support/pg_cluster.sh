#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A private PostgreSQL cluster for tests: its own folder, a free port of 127.0.0.1, an unprivileged user.
#
#   pg_cluster.sh start DIR    start one in DIR (made if missing); prints what to export
#   pg_cluster.sh stop DIR     stop it and remove DIR
#   pg_cluster.sh run CMD...   start, run CMD with the variables set, stop always; the exit code is CMD's
#
# COFFER_TEST_PG            an ordinary role that owns its database; no superuser
# COFFER_TEST_PG_SUPER      the superuser in the same database, for setting things up
# COFFER_TEST_PGBOUNCER     COFFER_TEST_PG through pgbouncer in transaction mode, where that is installed
set -eu

fail() { echo "pg_cluster: $*" >&2; exit 77; }

find_bin() {
    local d
    for d in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -Vr); do
        [ -x "$d/initdb" ] && { echo "$d"; return; }
    done
    d=$(command -v initdb || true)
    [ -n "$d" ] && dirname "$d"
}

# initdb and postgres refuse to run as root.
as_user() {
    if [ "$(id -u)" -eq 0 ]; then
        (cd / && runuser -u "$(server_user)" -- "$@")
    else
        "$@"
    fi
}
server_user() { id -u postgres >/dev/null 2>&1 && echo postgres || echo nobody; }

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null ||
        perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1)->sockport' ||
        fail "neither python3 nor perl is here to find a free port"
}

start_bouncer() {
    local dir=$1 port=$2 bouncer bport i
    bouncer=$(command -v pgbouncer || ls /usr/sbin/pgbouncer 2>/dev/null || true)
    [ -n "$bouncer" ] || return 0
    bport=$(free_port)
    cat >"$dir/pgbouncer.ini" <<INI
[databases]
coffer_test = host=127.0.0.1 port=$port dbname=coffer_test
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $bport
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
pidfile = $dir/pgbouncer.pid
logfile = $dir/pgbouncer.log
INI
    # auth_type any needs the server's user in the database line.
    sed -i 's/dbname=coffer_test$/dbname=coffer_test user=coffer_app/' "$dir/pgbouncer.ini"
    [ "$(id -u)" -ne 0 ] || chown "$(server_user)" "$dir/pgbouncer.ini"
    as_user "$bouncer" -q -d "$dir/pgbouncer.ini" >/dev/null 2>&1 || return 0
    for i in $(seq 50); do
        if "$BIN/psql" -qAtX "postgresql://coffer_app@127.0.0.1:$bport/coffer_test" -c 'select 1' >/dev/null 2>&1; then
            echo "COFFER_TEST_PGBOUNCER='postgresql://coffer_app@127.0.0.1:$bport/coffer_test'" >>"$dir/env"
            return 0
        fi
        sleep 0.1
    done
    echo "pg_cluster: pgbouncer does not answer; its tests are skipped" >&2
}

start() {
    local dir=$1 port try
    BIN=$(find_bin)
    [ -n "$BIN" ] || fail "no PostgreSQL server is installed (package postgresql)"
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    [ "$(id -u)" -ne 0 ] || chown "$(server_user)" "$dir"
    chmod 700 "$dir"
    as_user "$BIN/initdb" -D "$dir/data" -U coffer_super -A trust -E UTF8 --locale=C.UTF-8 --no-sync \
        >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; fail "initdb failed"; }
    cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
full_page_writes = off
max_prepared_transactions = 5
max_connections = 60
wal_level = logical
deadlock_timeout = 200ms
log_min_messages = warning
autovacuum_naptime = 60
CONF
    # Part of PostgreSQL's contrib, which some systems package apart.
    if ls "$BIN"/../lib/pg_stat_statements.so >/dev/null 2>&1; then
        echo "shared_preload_libraries = 'pg_stat_statements'" >>"$dir/data/postgresql.conf"
    fi
    # Another process may take the port between finding and using it: try again then.
    for try in 1 2 3 4 5; do
        port=$(free_port)
        if as_user "$BIN/pg_ctl" -D "$dir/data" -o "-p $port" -l "$dir/data/server.log" -w -t 60 start >/dev/null 2>&1; then
            break
        fi
        [ "$try" -lt 5 ] || { cat "$dir/data/server.log" >&2; fail "the server does not start"; }
    done
    "$BIN/psql" -qX -v ON_ERROR_STOP=1 "postgresql://coffer_super@127.0.0.1:$port/postgres" <<SQL
CREATE ROLE coffer_app LOGIN;
CREATE ROLE coffer_other LOGIN;
CREATE DATABASE coffer_test OWNER coffer_app;
\c coffer_test
ALTER SCHEMA public OWNER TO coffer_app;
CREATE EXTENSION IF NOT EXISTS citext;
CREATE EXTENSION IF NOT EXISTS hstore;
SQL
    {
        echo "COFFER_TEST_PG='postgresql://coffer_app@127.0.0.1:$port/coffer_test'"
        echo "COFFER_TEST_PG_SUPER='postgresql://coffer_super@127.0.0.1:$port/coffer_test'"
    } >"$dir/env"
    start_bouncer "$dir" "$port"
}

stop() {
    local dir=$1
    BIN=$(find_bin)
    [ ! -f "$dir/pgbouncer.pid" ] || kill "$(cat "$dir/pgbouncer.pid")" 2>/dev/null || true
    [ ! -f "$dir/data/postmaster.pid" ] || as_user "$BIN/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 || true
    # Only what start() made is removed.
    [ ! -f "$dir/initdb.log" ] || rm -rf "$dir"
}

case "${1:-}" in
start)
    [ $# -eq 2 ] || fail "usage: pg_cluster.sh start DIR"
    start "$2"
    sed 's/^/export /' "$2/env"
    ;;
stop)
    [ $# -eq 2 ] || fail "usage: pg_cluster.sh stop DIR"
    stop "$2"
    ;;
run)
    shift
    [ $# -ge 1 ] || fail "usage: pg_cluster.sh run CMD..."
    dir=$(mktemp -d "${TMPDIR:-/tmp}/coffer-pg.XXXXXX")
    child=
    trap 'stop "$dir"' EXIT
    trap '[ -z "$child" ] || kill "$child" 2>/dev/null; exit 143' INT TERM HUP
    start "$dir"
    set -a
    . "$dir/env"
    set +a
    "$@" &
    child=$!
    rc=0
    wait "$child" || rc=$?
    exit $rc
    ;;
*)
    echo "usage: pg_cluster.sh start DIR | stop DIR | run CMD..." >&2
    exit 2
    ;;
esac
