/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "db/sqlite/internal.h"

#include <stdlib.h>
#include <string.h>

/* One row a (has plaintext, key) pair: kind, key hex or NULL, count. */
static void
count_sql(struct buf *sql, const struct db_table *table, const struct db_cell_spec *cell)
{
    struct buf plain, sealed;

    buf_init(&plain, 1024);
    buf_init(&sealed, 1024);
    sql_ident(&plain, cell->plain);
    sql_sealed(&sealed, cell);
    buf_str(sql, "SELECT ");
    if (cell->sealed == NULL) {
        buf_format(sql, "CASE WHEN %s IS NULL THEN 0 WHEN ", buf_cstr(&plain));
        sql_shape(sql, buf_cstr(&sealed), cell);
        buf_str(sql, " THEN 2 ELSE 1 END AS kind, CASE WHEN ");
        sql_shape(sql, buf_cstr(&sealed), cell);
    } else {
        buf_format(sql, "(%s IS NOT NULL) + 2 * (%s IS NOT NULL) AS kind, CASE WHEN %s IS NOT NULL",
                   buf_cstr(&plain), buf_cstr(&sealed), buf_cstr(&sealed));
    }
    buf_str(sql, " THEN ");
    sql_key_id(sql, buf_cstr(&sealed), cell);
    buf_str(sql, " END AS id, count(*) FROM ");
    sql_ident(sql, table->name);
    buf_str(sql, " GROUP BY 1, 2");
    buf_wipe(&plain);
    buf_wipe(&sealed);
}

static int
count_row(void *arg, const struct coffer_value *cells, size_t columns, struct coffer_error *err)
{
    struct db_count *count = arg;
    uint64_t n = (uint64_t)cells[2].i64;
    char hex[9] = "";

    count->rows += n;
    if (cells[0].i64 == 0)
        count->nulls += n;
    else if (cells[0].i64 == 1)
        count->plaintext += n;
    else if (cells[0].i64 == 3)
        count->both += n;
    if (cells[0].i64 < 2)
        return COFFER_OK;
    if (cells[1].len == 8)
        memcpy(hex, cells[1].data, 8);
    return count_add(count, (uint32_t)strtoul(hex, NULL, 16), n, err);
}

int
sqlite_count(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
             struct db_count **out, struct coffer_error *err)
{
    struct db_count *count = mem_alloc(sizeof *count);
    struct buf sql;
    int rc;

    *out = NULL;
    if (count == NULL)
        return error_nomem(err);
    buf_init(&sql, 8192);
    count_sql(&sql, table, cell);
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = sqlite_stream(db, buf_cstr(&sql), NULL, 0, count_row, count, err);
    buf_wipe(&sql);
    if (rc == COFFER_OK)
        *out = count;
    else
        db_count_free(count);
    return rc;
}
