/* SPDX-License-Identifier: Apache-2.0 */
/* What it costs to rewrite rows, tried on a few of them and rolled back. */
#include "internal.h"

#include <stdio.h>
#include <time.h>

#define SAMPLE_ROWS 1000

static double
now_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int
sample(struct pg *pg, const struct pg_rel *rel, const char *column, struct db_trial *out,
       struct coffer_error *err)
{
    PGresult *result = NULL;
    struct buf sql;
    int rc;

    buf_init(&sql, PG_SQL_MAX);
    buf_str(&sql, "SELECT coalesce(avg(r), 0)::int8, coalesce(avg(v), 0)::int8 FROM (SELECT "
                  "pg_catalog.pg_column_size(t.*) AS r, pg_catalog.pg_column_size(t.");
    pg_quote(&sql, column);
    buf_format(&sql, ") AS v FROM %s AS t LIMIT %d) s", rel->quoted, SAMPLE_ROWS);
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg, buf_cstr(&sql), NULL, &result, err);
    if (rc == COFFER_OK) {
        out->row_bytes = (uint64_t)pg_int(result, 0, 0);
        out->value_bytes = (uint64_t)pg_int(result, 0, 1);
    }
    PQclear(result);
    buf_wipe(&sql);
    return rc;
}

static int
wal_position(struct pg *pg, uint64_t *bytes, struct coffer_error *err)
{
    PGresult *result = NULL;
    int rc = pg_exec(
        pg,
        "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::int8",
        NULL, &result, err);

    if (rc == COFFER_OK)
        *bytes = (uint64_t)pg_int(result, 0, 0);
    PQclear(result);
    return rc;
}

/* As the worker does it: rows that somebody holds are left out, and no transaction waits for this one for long.  A
 * partitioned table's ctid says no partition: its rows are taken with their table's oid. */
static int
rewrite(struct pg *pg, const struct pg_rel *rel, const char *column, unsigned rows,
        struct db_trial *out, struct coffer_error *err)
{
    uint64_t before = 0, after = 0;
    PGresult *result = NULL;
    struct buf sql;
    double began;
    int rc = wal_position(pg, &before, err);

    buf_init(&sql, PG_SQL_MAX);
    buf_format(&sql,
               "WITH few AS MATERIALIZED (SELECT tableoid AS o, ctid AS c FROM %s LIMIT %u FOR NO "
               "KEY UPDATE SKIP "
               "LOCKED), done AS (UPDATE %s AS t SET ",
               rel->quoted, rows, rel->quoted);
    pg_quote(&sql, column);
    buf_str(&sql, " = t.");
    pg_quote(&sql, column);
    buf_str(&sql, " FROM few WHERE t.tableoid = few.o AND t.ctid = few.c RETURNING 1) SELECT "
                  "count(*) FROM done");
    if (rc == COFFER_OK)
        rc = buf_status(&sql, err);
    began = now_seconds();
    if (rc == COFFER_OK)
        rc = pg_exec(pg, buf_cstr(&sql), NULL, &result, err);
    out->seconds = now_seconds() - began;
    if (rc == COFFER_OK)
        out->rows = (uint64_t)pg_int(result, 0, 0);
    PQclear(result);
    if (rc == COFFER_OK)
        rc = wal_position(pg, &after, err);
    out->wal_bytes = after - before;
    buf_wipe(&sql);
    return rc;
}

int
pg_trial(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
         unsigned rows, struct db_trial *out, struct coffer_error *err)
{
    struct pg *pg = pg_of(db);
    struct pg_rel rel;
    int rc = pg_resolve(pg, table->name, &rel, err);

    if (rc == COFFER_OK)
        rc = sample(pg, &rel, cell->plain, out, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg, "BEGIN ISOLATION LEVEL READ COMMITTED", NULL, NULL, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg, "SET LOCAL lock_timeout = '50ms'; ", NULL, NULL, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg, "SET LOCAL coffer.rotation = 'rehearsal'", NULL, NULL, err);
    if (rc == COFFER_OK)
        rc = rewrite(pg, &rel, cell->plain, rows, out, err);
    pg_rollback(db);
    return rc;
}
