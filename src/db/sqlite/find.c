/* SPDX-License-Identifier: Apache-2.0 */
/* Envelope-shaped cells in columns that nobody registered. */
#include "db/sqlite/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool
is_known(const char *const *known, size_t count, const char *column)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (strcmp(known[i], column) == 0)
            return true;
    }
    return false;
}

static int
look_at(struct db *db, const char *table, const char *column, struct db_find *find,
        struct coffer_error *err)
{
    struct db_cell_spec blob = {0}, text = {.text_form = true};
    struct db_result *result = NULL;
    struct coffer_error why = {0};
    struct buf sql, name;
    char hex[9] = "";
    int rc;

    buf_init(&sql, 16384);
    buf_init(&name, 1024);
    sql_ident(&name, column);
    buf_str(&sql, "SELECT count(*), min(CASE typeof(");
    buf_format(&sql, "%s) WHEN 'text' THEN ", buf_cstr(&name));
    sql_key_id(&sql, buf_cstr(&name), &text);
    buf_str(&sql, " ELSE ");
    sql_key_id(&sql, buf_cstr(&name), &blob);
    buf_str(&sql, " END) FROM ");
    sql_ident(&sql, table);
    buf_str(&sql, " WHERE (");
    sql_shape(&sql, buf_cstr(&name), &blob);
    buf_format(&sql,
               " AND hex(substr(%s,2,1)) IN ('01','02') AND hex(substr(%s,3,1)) < '07' AND "
               "hex(substr(%s,4,1)) BETWEEN '01' AND '0A') OR ",
               buf_cstr(&name), buf_cstr(&name), buf_cstr(&name));
    sql_shape(&sql, buf_cstr(&name), &text);
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = sqlite_run(db, buf_cstr(&sql), NULL, 0, &result, &why);
    if (rc == COFFER_E_DB) { /* a virtual table of a module that is not loaded */
        find->unreadable = true;
        rc = COFFER_OK;
    } else if (rc != COFFER_OK) {
        rc = error_set(err, rc, "%s", why.message);
    }
    if (result != NULL && result->rows == 1) {
        find->count = (uint64_t)result->cells[0].i64;
        if (result->cells[1].len == 8)
            memcpy(hex, result->cells[1].data, 8);
        find->key_id = (uint32_t)strtoul(hex, NULL, 16);
    }
    db_result_free(result);
    buf_wipe(&sql);
    buf_wipe(&name);
    return rc;
}

int
sqlite_find_envelopes(struct db *db, const char *const *known, size_t known_count, db_find_fn fn,
                      void *arg, struct coffer_error *err)
{
    struct db_result *columns = NULL;
    size_t i;
    int rc = sqlite_run(db,
                        "SELECT l.name, c.name FROM pragma_table_list l, "
                        "pragma_table_xinfo(l.name) c WHERE l.schema='main' AND "
                        "l.type IN ('table','virtual','shadow') AND l.name NOT LIKE 'sqlite~_%' "
                        "ESCAPE '~' AND l.name NOT IN "
                        "('coffer_meta','coffer_rotation','coffer_chunk','coffer_client','coffer_"
                        "quarantine') ORDER BY 1, c.cid",
                        NULL, 0, &columns, err);

    for (i = 0; rc == COFFER_OK && i < columns->rows; i++) {
        const char *table = (const char *)columns->cells[2 * i].data,
                   *column = (const char *)columns->cells[2 * i + 1].data;
        struct db_find find = {0};

        snprintf(find.column, sizeof find.column, "%s.%s", table, column);
        if (is_known(known, known_count, find.column))
            continue;
        rc = look_at(db, table, column, &find, err);
        if (rc == COFFER_OK && (find.count > 0 || find.unreadable))
            rc = fn(arg, &find, err);
    }
    db_result_free(columns);
    return rc;
}
