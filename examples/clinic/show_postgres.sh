# SPDX-License-Identifier: Apache-2.0
# The show on PostgreSQL, as a role that owns its database or may at least create schemas in it.

prefix=clinic.
pg=$url # as libpq's own programs take it
[[ $url != postgresql:service=* ]] || pg=${url#postgresql:}
# Every application here goes through libcoffer, and none keeps a row for longer than a second.
protect_options+=(--no-unaware-clients --settle 1s --grace 1s) rotate_options+=(--settle 1s --grace 1s)
copy_comment="Coffer quickstart: a restored backup; dropped, and made anew, without asking"
export PGCONNECT_TIMEOUT=${PGCONNECT_TIMEOUT:-10}

sql() { psql -XqAt -v ON_ERROR_STOP=1 -F ', ' "${@:2}" "$pg" -c "$1"; }

db_check() {
    local server dump
    server=$(sql "SELECT current_setting('server_version_num')::int / 10000") || fail "the database does not answer"
    dump=$(pg_dump --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
    [ "$dump" -ge "$server" ] ||
        fail "pg_dump $dump cannot read a server of version $server: install postgresql-client-$server"
    [ "$(sql "SELECT has_database_privilege(current_database(), 'CREATE')")" = t ] ||
        fail "role $(sql 'SELECT current_user') may not create schemas in $(sql 'SELECT current_database()'):
  GRANT CREATE ON DATABASE …, or make it the owner"
    shown_url="schema clinic of $(sql 'SELECT current_database()')"
    # Coffer's working tables, where the clinic did not bring them, are of somebody who works with Coffer here.
    [ "$(sql "SELECT count(*) FROM pg_namespace n WHERE nspname = 'coffer' AND (pg_get_userbyid(nspowner) <> current_user
            OR NOT EXISTS (SELECT FROM pg_namespace c WHERE c.nspname = 'clinic'
                           AND obj_description(c.oid, 'pg_namespace') LIKE 'Coffer''s clinic example;%')
            OR EXISTS (SELECT FROM pg_trigger t JOIN pg_class r ON r.oid = tgrelid JOIN pg_namespace s ON s.oid = relnamespace
                       WHERE tgname LIKE 'coffer%' AND s.nspname <> 'clinic'))")" = 0 ] ||
        fail "schema coffer of this database is not of a quickstart: it is left as it is; give another database"
    [ "$(sql "SELECT count(*) FROM pg_namespace WHERE nspname = 'clinic_restored'
              AND obj_description(oid, 'pg_namespace') IS DISTINCT FROM '$copy_comment'")" = 0 ] ||
        fail "schema clinic_restored of this database is not of a quickstart: it is left as it is; give another database"
}

# A copy that an interrupted run left; and the working rows, which belong to a keyring that goes too.
db_clear() {
    local name
    for name in $(sql "SELECT datname FROM pg_database WHERE datname LIKE 'coffer\_quickstart\_%'
                       AND pg_get_userbyid(datdba) = current_user
                       AND shobj_description(oid, 'pg_database') = '$copy_comment'"); do
        sql "DROP DATABASE \"$name\""
    done
    drop_schemas clinic_restored coffer
}
drop_schemas() {
    local name
    for name; do
        sql "SET client_min_messages = warning; SET lock_timeout = '10s'; DROP SCHEMA IF EXISTS $name CASCADE" ||
            fail "somebody uses these tables, perhaps an earlier run: wait until it is done, or stop it"
    done
}

db_size() { sql 'SELECT pg_database_size(current_database())'; }
db_written() { sql "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8"; }
db_plain() { sql 'SELECT name, ssn, born FROM clinic.patients WHERE id=3'; }
db_cells() {
    sql "SELECT (SELECT sum(coalesce(length(ssn_sealed),0)+coalesce(length(born_sealed),0)+coalesce(length(email_sealed),0)
        +coalesce(length(notes_sealed),0)) FROM clinic.patients)+(SELECT coalesce(sum(length(value_sealed)),0) FROM clinic.labs)
        +(SELECT coalesce(sum(length(amount_sealed)),0) FROM clinic.invoices)"
}
db_inject() {
    note "SELECT id, ssn, ssn_sealed FROM clinic.patients WHERE id=3 OR 1=1 ORDER BY id LIMIT 2"
    sql "SELECT id || ' | ' || coalesce(ssn, 'NULL') || ' | ' || left(ssn_sealed::text, 50) || '…' FROM clinic.patients
         WHERE id=3 OR 1=1 ORDER BY id LIMIT 2" | sed 's/^/   /'
}
db_backup() {
    pg_dump -Fc -n clinic -n coffer -f backup.dump "$pg"
    backup="backup.dump ($(bytes "$(stat -c %s backup.dump)"), pg_dump of schemas clinic and coffer)"
}

# Elsewhere is a database of its own where the role may create one.
db_restore() {
    if [ "$(sql 'SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user')" = t ] && [[ $pg = *://* && $pg != *dbname=* ]]; then
        restore_database
    else
        restore_schema
    fi
}

with_database() { # the URL, with another database in it
    local rest=${pg#*://} query=''
    [[ $rest != *\?* ]] || query=?${rest#*\?}
    rest=${rest%%\?*}
    printf '%s://%s/%s%s' "${pg%%://*}" "${rest%%/*}" "$1" "$query"
}

restore_database() {
    local name=coffer_quickstart_$$ there
    there=$(with_database "$name")
    sql "CREATE DATABASE $name TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
    sql "COMMENT ON DATABASE $name IS '$copy_comment'"
    pg_restore -x -O -d "$there" backup.dump
    plain "restored into database $name, which goes again"
    fact "$(coffer_row "$there" --escrow)"
    sql "DROP DATABASE $name"
}

# Without the right to create databases: the table beside the live one, and a copy of the keyring that takes the
# old key back from escrow.
restore_schema() {
    local sealed
    plain "this role may not create databases: the patients are restored into schema clinic_restored, which goes again"
    sql "CREATE SCHEMA clinic_restored; COMMENT ON SCHEMA clinic_restored IS '$copy_comment'"
    pg_restore -x -O -n clinic -t patients -f - backup.dump |
        sed -e 's/^\(CREATE TABLE\|ALTER TABLE\|COPY\|ALTER TABLE ONLY\) clinic\./\1 clinic_restored./' |
        psql -XqAt -v ON_ERROR_STOP=1 "$pg" >/dev/null
    sealed=$(sql "SELECT encode(ssn_sealed, 'hex') FROM clinic_restored.patients WHERE id=3")
    mkdir -m 700 restored
    cp k.coffer k.coffer.audit restored/
    "$coffer" keyring import --keyring restored/k.coffer --kek file:kek.bin --yes "k.coffer.escrow/$old.key" >/dev/null
    fact "$("$coffer" open --keyring restored/k.coffer --kek file:kek.bin "$url" --column clinic.patients.ssn --row 3 "$sealed"),"\
        "the ssn of patient 3, by a copy of the keyring that took $old back"
    rm -rf restored
    drop_schemas clinic_restored
}
