/* SPDX-License-Identifier: Apache-2.0 */
/* Where the server stands, and whether anything older than a mark can still read what was there
 * before. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
pg_mark_now(struct db *db, struct db_mark *mark, struct coffer_error *err)
{
    PGresult *result = NULL;
    int rc = pg_exec(pg_of(db),
                     "SELECT pg_catalog.pg_current_wal_lsn()::text,"
                     " pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::int8",
                     NULL, &result, err);

    if (rc == COFFER_OK) {
        snprintf(mark->position, sizeof mark->position, "%s", pg_text(result, 0, 0));
        mark->xid = (uint64_t)pg_int(result, 0, 1);
    }
    PQclear(result);
    return rc;
}

/* Everything that may still see rows as they were before transaction $1 or WAL position $2; a
 * person can read each line. age() counts from the next transaction id, as does the snapshot's
 * xmax: their difference is the 64-bit number. backend_xmin is shown to every role; standbys'
 * positions are not, and what cannot be seen has not passed. */
static const char passed_sql[] =
    "WITH now AS (SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::int8 "
    "AS next,"
    " pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::int8 AS oldest),"
    " older AS ("
    "SELECT 1 AS n, 'session ' || a.pid || coalesce(' (' || nullif(a.application_name, '') || ')', "
    "'') || ' holds an older snapshot'"
    " || coalesce(', since ' || pg_catalog.to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS'), '') AS "
    "who"
    " FROM pg_catalog.pg_stat_activity a, now WHERE a.pid <> pg_catalog.pg_backend_pid()"
    " AND (a.datname = pg_catalog.current_database() OR a.datname IS NULL)"
    " AND a.backend_xmin IS NOT NULL AND now.next - pg_catalog.age(a.backend_xmin) < $1"
    " UNION ALL SELECT 2, 'session ' || a.pid || coalesce(' (' || nullif(a.application_name, '') "
    "|| ')', '')"
    " || ' is in an older transaction' || coalesce(', since ' || pg_catalog.to_char(a.xact_start, "
    "'YYYY-MM-DD HH24:MI:SS'), '')"
    " FROM pg_catalog.pg_stat_activity a, now WHERE a.pid <> pg_catalog.pg_backend_pid()"
    " AND a.datname = pg_catalog.current_database() AND a.backend_xid IS NOT NULL AND now.next - "
    "pg_catalog.age(a.backend_xid) < $1"
    " UNION ALL SELECT 3, 'prepared transaction ''' || p.gid || ''', since ' || "
    "pg_catalog.to_char(p.prepared, 'YYYY-MM-DD HH24:MI:SS')"
    " FROM pg_catalog.pg_prepared_xacts p, now WHERE p.database = pg_catalog.current_database()"
    " AND now.next - pg_catalog.age(p.transaction) < $1"
    " UNION ALL SELECT 4, 'replication slot ' || s.slot_name || ' has not passed ' || $2"
    " FROM pg_catalog.pg_replication_slots s, now WHERE (s.database IS NULL OR s.database = "
    "pg_catalog.current_database())"
    " AND ((s.xmin IS NOT NULL AND now.next - pg_catalog.age(s.xmin) < $1)"
    " OR coalesce(s.confirmed_flush_lsn, s.restart_lsn) < $2::pg_catalog.pg_lsn)"
    " UNION ALL SELECT 5, CASE WHEN r.replay_lsn IS NULL THEN 'how far standby ' || "
    "coalesce(r.application_name, r.pid::text)"
    " || ' is cannot be seen: GRANT pg_read_all_stats to this role' ELSE 'standby ' || "
    "coalesce(r.application_name, r.pid::text)"
    " || ' has replayed ' || r.replay_lsn || ' of ' || $2 END"
    " FROM pg_catalog.pg_stat_replication r WHERE r.replay_lsn IS NULL OR r.replay_lsn < "
    "$2::pg_catalog.pg_lsn)"
    " SELECT coalesce((SELECT count(*) FROM older), 0), coalesce((SELECT who FROM older ORDER BY n "
    "LIMIT 1), ''),"
    " now.oldest < $1 FROM now";

int
pg_mark_passed(struct db *db, const struct db_mark *mark, struct coffer_error *err)
{
    struct pg_params params;
    PGresult *result = NULL;
    int rc;

    pg_params_init(&params);
    (void)pg_params_int(&params, (int64_t)mark->xid);
    (void)pg_params_text(&params, mark->position[0] != '\0' ? mark->position : "0/0");
    rc = pg_params_finish(&params, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg_of(db), passed_sql, &params, &result, err);
    if (rc == COFFER_OK && pg_int(result, 0, 0) > 0)
        rc = error_set(err, COFFER_E_NOTYET, "%s%s", pg_text(result, 0, 1),
                       pg_int(result, 0, 0) > 1 ? ", and others" : "");
    else if (rc == COFFER_OK && pg_int(result, 0, 2) != 0)
        /* Transactions of other databases count here too: they end, and cannot be told apart by
         * every role. */
        rc = error_set(err, COFFER_E_NOTYET,
                       "a transaction older than %llu is still running on this server",
                       (unsigned long long)mark->xid);
    PQclear(result);
    pg_params_wipe(&params);
    return rc;
}

int
pg_replicas(struct db *db, db_line_fn fn, void *arg, struct coffer_error *err)
{
    PGresult *result = NULL;
    int row, rc = pg_exec(pg_of(db),
                          "SELECT 'standby ' || coalesce(nullif(application_name, ''), pid::text) || coalesce(' at ' || "
                          "replay_lsn, ', position unknown to this role') FROM pg_catalog.pg_stat_replication"
                          " UNION ALL SELECT 'replication slot ' || slot_name || coalesce(' at ' || "
                          "coalesce(confirmed_flush_lsn, restart_lsn), '') FROM pg_catalog.pg_replication_slots"
                          " WHERE database IS NULL OR database = pg_catalog.current_database() ORDER BY 1",
                          NULL, &result, err);

    for (row = 0; rc == COFFER_OK && row < PQntuples(result); row++)
        rc = fn(arg, pg_text(result, row, 0), err);
    PQclear(result);
    return rc;
}

int
pg_others(struct db *db, bool *known, size_t *count, struct buf *who, struct coffer_error *err)
{
    PGresult *result = NULL;
    /* Background processes have no user. */
    int rc =
        pg_exec(pg_of(db),
                "SELECT coalesce(nullif(application_name, ''), 'unnamed') || ' (' || "
                "coalesce(usename::text, '?') || ', pid ' || pid || ')'"
                " FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database()"
                " AND pid <> pg_catalog.pg_backend_pid() AND usesysid IS NOT NULL AND "
                "application_name NOT LIKE 'coffer%'"
                " ORDER BY pid",
                NULL, &result, err);
    int row;

    *known = rc == COFFER_OK;
    *count = rc == COFFER_OK ? (size_t)PQntuples(result) : 0;
    for (row = 0; who != NULL && row < (int)*count && row < 20; row++)
        buf_format(who, "%s%s", row > 0 ? ", " : "", pg_text(result, row, 0));
    PQclear(result);
    return rc;
}

static double
number(const PGresult *result, int column)
{
    return (double)pg_int(result, 0, column);
}

int
pg_load(struct db *db, const struct db_table *table, struct db_load *load, struct coffer_error *err)
{
    struct pg_params params;
    PGresult *result = NULL;
    struct pg_rel rel;
    int rc = pg_resolve(pg_of(db), table->name, &rel, err);

    *load = (struct db_load){0};
    if (rc != COFFER_OK)
        return rc;
    pg_params_init(&params);
    (void)pg_params_oid(&params, rel.oid);
    rc = pg_params_finish(&params, err);
    /* A role without pg_read_all_stats sees the state and the lag of nobody else: those then count
     * as zero. */
    if (rc == COFFER_OK)
        rc = pg_exec(pg_of(db),
                     "SELECT (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE state = "
                     "'active' AND pid <> pg_catalog.pg_backend_pid()"
                     " AND usesysid IS NOT NULL AND application_name NOT LIKE 'coffer%'),"
                     " (SELECT coalesce(max(pg_catalog.date_part('epoch', replay_lag) * 1000), "
                     "0)::int8 FROM pg_catalog.pg_stat_replication),"
                     " (SELECT coalesce(sum(n_dead_tup), 0)::int8 FROM "
                     "pg_catalog.pg_stat_all_tables WHERE relid = $1 OR relid IN"
                     " (SELECT p.relid FROM pg_catalog.pg_partition_tree($1) p)),"
                     " pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::int8,"
                     " (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = "
                     "pg_catalog.current_database() AND backend_type = 'client backend'"
                     " AND pid <> pg_catalog.pg_backend_pid() AND application_name NOT LIKE 'coffer%')",
                     &params, &result, err);
    if (rc == COFFER_OK) {
        load->active_sessions = number(result, 0);
        load->replica_lag_seconds = number(result, 1) / 1000;
        load->dead_tuples = (uint64_t)pg_int(result, 0, 2);
        load->wal_bytes = (uint64_t)pg_int(result, 0, 3);
        load->alone = pg_int(result, 0, 4) == 0;
    }
    PQclear(result);
    pg_params_wipe(&params);
    return rc;
}

int
pg_clean(struct db *db, const struct db_table *table, bool scrub, struct coffer_error *err)
{
    struct pg_rel rel;
    char sql[5 * DB_NAME_MAX];
    int rc = pg_resolve(pg_of(db), table->name, &rel, err);

    if (rc != COFFER_OK)
        return rc;
    /* ANALYZE rebuilds the column statistics and the extended ones, which both hold values of the
     * column. */
    snprintf(sql, sizeof sql, "VACUUM (%sANALYZE) %s", scrub ? "FULL, " : "", rel.quoted);
    return pg_exec(pg_of(db), sql, NULL, NULL, err);
}

int
pg_sizes(struct db *db, uint64_t *database_bytes, uint64_t *written_bytes, struct coffer_error *err)
{
    PGresult *result = NULL;
    int rc = pg_exec(pg_of(db),
                     "SELECT pg_catalog.pg_database_size(pg_catalog.current_database()),"
                     " pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::int8",
                     NULL, &result, err);

    if (rc == COFFER_OK) {
        *database_bytes = (uint64_t)pg_int(result, 0, 0);
        *written_bytes = (uint64_t)pg_int(result, 0, 1);
    }
    PQclear(result);
    return rc;
}
