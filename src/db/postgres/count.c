/* SPDX-License-Identifier: Apache-2.0 */
/* Counting cells by the key that sealed them: one statement, one snapshot, nothing hidden and
 * nothing assumed. */
#include "internal.h"

#include "db/internal.h"

#include <stdio.h>
#include <string.h>

/* "t.name" of the cell's columns, and the key id expression: NULL no envelope, zero if not of an
 * envelope's shape. */
static void
key_expression(const struct db_cell_spec *cell, struct buf *out)
{
    struct buf column;
    const char *c;

    if (cell->sealed == NULL && !cell->text_form) {
        /* Envelopes in place are text: without a companion yet, this column is plaintext of any
         * type, and functions over bytes would not even parse. */
        buf_str(out, "NULL::pg_catalog.bytea");
        return;
    }
    buf_init(&column, 4 * DB_NAME_MAX);
    buf_str(&column, "t.");
    pg_quote(&column, cell->sealed != NULL ? cell->sealed : cell->plain);
    c = buf_cstr(&column);
    buf_format(out, "CASE WHEN %s IS NULL THEN NULL WHEN ", c);
    pg_sql_is_sealed(out, c, cell->sealed == NULL && cell->text_form);
    buf_str(out, " THEN ");
    pg_sql_key_id(out, c, cell->sealed == NULL && cell->text_form);
    /* In place, what has no envelope's shape is plaintext. In a companion it is damage, shown as
     * key 0. */
    buf_format(out, " ELSE %s END",
               cell->sealed != NULL ? "'\\x00000000'::pg_catalog.bytea" : "NULL");
    buf_wipe(&column);
}

static void
count_sql(const struct pg_rel *rel, const struct db_cell_spec *cell, const char *sample,
          struct buf *sql)
{
    buf_str(sql, "SELECT s.k, s.p, count(*) FROM (SELECT ");
    key_expression(cell, sql);
    buf_str(sql, " AS k, t.");
    pg_quote(sql, cell->plain);
    buf_format(sql, " IS NOT NULL AS p FROM %s AS t%s) AS s GROUP BY s.k, s.p", rel->quoted,
               sample);
}

static int
collect(const PGresult *result, const struct db_cell_spec *cell, struct db_count *count,
        struct coffer_error *err)
{
    int row, rc = COFFER_OK;

    for (row = 0; rc == COFFER_OK && row < PQntuples(result); row++) {
        struct bytes key = pg_field(result, row, 0);
        bool plain = pg_int(result, row, 1) != 0;
        uint64_t n = (uint64_t)pg_int(result, row, 2);

        count->rows += n;
        if (key.ptr != NULL && key.len == 4)
            rc = count_add(count, get_be32(key.ptr), n, err);
        else if (plain)
            count->plaintext += n;
        else
            count->nulls += n;
        if (key.ptr != NULL && plain && cell->sealed != NULL)
            count->both += n;
    }
    return rc;
}

static int
count_with(struct db *db, const struct pg_rel *rel, const struct db_cell_spec *cell,
           const char *sample, struct db_count **out, struct coffer_error *err)
{
    struct db_count *count = NULL;
    PGresult *result = NULL;
    struct buf sql;
    int rc;

    *out = NULL;
    buf_init(&sql, PG_SQL_MAX);
    count_sql(rel, cell, sample, &sql);
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = pg_read(pg_of(db), buf_cstr(&sql), NULL, &result, err);
    if (rc == COFFER_OK) {
        count = mem_alloc(sizeof *count);
        rc = count == NULL ? error_nomem(err) : collect(result, cell, count, err);
    }
    PQclear(result);
    buf_wipe(&sql);
    if (rc == COFFER_OK)
        *out = count;
    else
        db_count_free(count);
    return rc;
}

int
pg_count(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
         struct db_count **out, struct coffer_error *err)
{
    struct pg_rel rel;
    int rc = pg_resolve(pg_of(db), table->name, &rel, err);

    *out = NULL;
    return rc != COFFER_OK ? rc : count_with(db, &rel, cell, "", out, err);
}

/* What the planner knows is exact after ANALYZE and may be old by now: it counts if the sample says about the same. */
static uint64_t
likely_rows(const struct db_table *table, double sampled)
{
    double known = (double)table->estimate_rows;

    return (uint64_t)(known > sampled * 0.8 && known < sampled * 1.25 ? known : sampled);
}

/* From the rows of a sample to those of the table: exactly `rows`, with the parts adding up. */
static void
stretch(struct db_count *count, uint64_t rows)
{
    double by = count->rows > 0 ? (double)rows / (double)count->rows : 0;
    uint64_t *largest = &count->nulls, sum;
    size_t i;

    if (count->rows == 0)
        return;
    count->nulls = (uint64_t)((double)count->nulls * by + 0.5);
    count->plaintext = (uint64_t)((double)count->plaintext * by + 0.5);
    count->both = (uint64_t)((double)count->both * by + 0.5);
    sum = count->nulls + count->plaintext;
    if (count->plaintext > *largest)
        largest = &count->plaintext;
    for (i = 0; i < count->key_count; i++) {
        count->keys[i].cells = (uint64_t)((double)count->keys[i].cells * by + 0.5);
        sum += count->keys[i].cells;
        if (count->keys[i].cells > *largest)
            largest = &count->keys[i].cells;
    }
    *largest += rows - sum; /* what rounding made of it: a few, in either direction */
    count->rows = rows;
}

int
pg_count_estimate(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
                  struct db_count **out, struct coffer_error *err)
{
    struct pg_rel rel;
    char sample[64];
    double percent;
    int rc = pg_resolve(pg_of(db), table->name, &rel, err);

    *out = NULL;
    if (rc != COFFER_OK)
        return rc;
    if (rel.partitioned) /* a parent has no pages of its own; its size was summed when the table was
                            opened */
        rel.pages = table->estimate_bytes / 8192;
    if (rel.pages <= 2000) /* 16 MiB are counted as fast as guessed */
        return count_with(db, &rel, cell, "", out, err);
    percent = 100.0 * 1000 / (double)rel.pages;
    /* Always the same pages, so that columns of one table are counted over the same rows. */
    snprintf(sample, sizeof sample, " TABLESAMPLE SYSTEM (%.6f) REPEATABLE (1)", percent);
    rc = count_with(db, &rel, cell, sample, out, err);
    if (rc == COFFER_OK)
        stretch(*out, likely_rows(table, (double)(*out)->rows * 100 / percent));
    return rc;
}
