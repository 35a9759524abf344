/* SPDX-License-Identifier: Apache-2.0 */
/* What it costs to rewrite rows, tried on a few of them and rolled back. */
#include "db/sqlite/internal.h"

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

static void
keys(struct buf *sql, const struct db_table *table)
{
    size_t i;

    for (i = 0; i < table->key_count; i++) {
        buf_str(sql, i > 0 ? ", " : "");
        sql_ident(sql, table->key[i]);
    }
}

/* Mean bytes of a row and of the column, in the first rows. */
static int
sample(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
       struct db_trial *out, struct coffer_error *err)
{
    struct db_result *result = NULL;
    struct buf sql;
    size_t i;
    int rc;

    buf_init(&sql, 1u << 16);
    buf_str(&sql,
            "SELECT CAST(coalesce(avg(r), 0) AS INTEGER), CAST(coalesce(avg(v), 0) AS INTEGER) "
            "FROM (SELECT 4");
    for (i = 0; i < table->column_count; i++) {
        buf_str(&sql, " + coalesce(length(CAST(");
        sql_ident(&sql, table->columns[i].name);
        buf_str(&sql, " AS BLOB)), 0) + 1");
    }
    buf_str(&sql, " AS r, length(CAST(");
    sql_ident(&sql, cell->plain);
    buf_str(&sql, " AS BLOB)) AS v FROM ");
    sql_ident(&sql, table->name);
    buf_format(&sql, " LIMIT %d)", SAMPLE_ROWS);
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = sqlite_run(db, buf_cstr(&sql), NULL, 0, &result, err);
    if (rc == COFFER_OK && result->rows == 1) {
        out->row_bytes = (uint64_t)result->cells[0].i64;
        out->value_bytes = (uint64_t)result->cells[1].i64;
    }
    db_result_free(result);
    buf_wipe(&sql);
    return rc;
}

int
sqlite_trial(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
             unsigned rows, struct db_trial *out, struct coffer_error *err)
{
    struct db_result *result = NULL;
    struct buf sql;
    double began;
    int rc = sample(db, table, cell, out, err);

    if (rc == COFFER_OK)
        rc = sqlite_begin(db, DB_TXN_WRITE, err);
    if (rc != COFFER_OK)
        return rc;
    buf_init(&sql, 1u << 14);
    buf_str(&sql, "UPDATE ");
    sql_ident(&sql, table->name);
    buf_str(&sql, " SET ");
    sql_ident(&sql, cell->plain);
    buf_str(&sql, "=");
    sql_ident(&sql, cell->plain);
    buf_str(&sql, " WHERE (");
    keys(&sql, table);
    buf_str(&sql, ") IN (SELECT ");
    keys(&sql, table);
    buf_str(&sql, " FROM ");
    sql_ident(&sql, table->name);
    buf_format(&sql, " LIMIT %u)", rows);
    began = now_seconds();
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = sqlite_run(db, buf_cstr(&sql), NULL, 0, &result, err);
    out->seconds = now_seconds() - began;
    if (rc == COFFER_OK)
        out->rows = result->affected;
    db_result_free(result);
    sqlite_rollback(db);
    buf_wipe(&sql);
    return rc;
}
