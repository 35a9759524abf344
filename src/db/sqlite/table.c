/* SPDX-License-Identifier: Apache-2.0 */
/* A table as the walk needs it: columns, and the key to walk by. */
#include "base/mem.h"
#include "db/sqlite/internal.h"

#include <stdio.h>
#include <string.h>

static int
find_table(struct db *db, const char *name, struct db_table *table, bool *without_rowid,
           struct coffer_error *err)
{
    struct coffer_value param = {
        .type = COFFER_TEXT, .data = (const uint8_t *)name, .len = strlen(name)};
    struct db_result *result = NULL, *all = NULL;
    struct buf near;
    size_t i;
    int rc = sqlite_run(db,
                        "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema='main' "
                        "AND name=$1 COLLATE NOCASE",
                        &param, 1, &result, err);

    if (rc == COFFER_OK && result->rows == 1) {
        if (result->cells[0].len >= sizeof table->name)
            rc = error_set(err, COFFER_E_LIMIT, "the table name is longer than %zu bytes",
                           sizeof table->name - 1);
        snprintf(table->name, sizeof table->name, "%s", (const char *)result->cells[0].data);
        *without_rowid = result->cells[2].i64 != 0;
        table->strict = result->cells[3].i64 != 0;
        if (rc == COFFER_OK && strcmp((const char *)result->cells[1].data, "table") != 0)
            rc = error_set(err, COFFER_E_UNSUPPORTED,
                           "%s is a %s, not a table; protect the table that its rows come from",
                           name, (const char *)result->cells[1].data);
    } else if (rc == COFFER_OK) {
        buf_init(&near, 300);
        rc = sqlite_run(db,
                        "SELECT name FROM sqlite_schema WHERE type='table' AND name NOT LIKE "
                        "'sqlite~_%' ESCAPE '~' AND name NOT "
                        "LIKE 'coffer~_%' ESCAPE '~' ORDER BY name LIMIT 8",
                        NULL, 0, &all, err);
        for (i = 0; rc == COFFER_OK && i < all->rows; i++)
            buf_format(&near, "%s%.30s", i > 0 ? ", " : "", (const char *)all->cells[i].data);
        if (rc == COFFER_OK)
            rc = error_set(err, COFFER_E_NOTFOUND, "there is no table %s; there are: %s", name,
                           buf_cstr(&near));
        buf_wipe(&near);
    }
    db_result_free(result);
    db_result_free(all);
    return rc;
}

static int
read_columns(struct db *db, struct db_table *table, struct coffer_error *err)
{
    struct coffer_value param = {
        .type = COFFER_TEXT, .data = (const uint8_t *)table->name, .len = strlen(table->name)};
    struct db_result *result = NULL;
    size_t i;
    int rc = sqlite_run(db,
                        "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk, hidden FROM "
                        "pragma_table_xinfo($1)",
                        &param, 1, &result, err);

    if (rc != COFFER_OK)
        return rc;
    table->columns = mem_array(result->rows + 1, sizeof *table->columns);
    if (table->columns == NULL)
        rc = error_nomem(err);
    for (i = 0; rc == COFFER_OK && i < result->rows; i++) {
        const struct coffer_value *row = &result->cells[i * result->columns];
        struct db_column *column = &table->columns[table->column_count++];

        if (row[0].len >= sizeof column->name)
            rc = error_set(err, COFFER_E_LIMIT, "table %s has a column name longer than %zu bytes",
                           table->name, sizeof column->name - 1);
        snprintf(column->name, sizeof column->name, "%s", (const char *)row[0].data);
        snprintf(column->sql_type, sizeof column->sql_type, "%s",
                 row[1].data != NULL ? (const char *)row[1].data : "");
        column->type = sqlite_declared_type(column->sql_type);
        column->not_null = row[2].i64 != 0;
        column->has_default = row[3].i64 != 0;
        column->key_position = (int)row[4].i64;
        column->generated = row[5].i64 == 2 || row[5].i64 == 3;
    }
    db_result_free(result);
    return rc;
}

/* What a key column's values are, for ordering and for places: by affinity, since that is what is
 * stored. */
static int
key_type(const struct db_column *column)
{
    switch (column->type) {
    case COFFER_INT64:
    case COFFER_BOOL:
        return COFFER_INT64;
    case COFFER_FLOAT64:
        return COFFER_FLOAT64;
    case COFFER_BYTES:
        return COFFER_BYTES;
    default:
        return COFFER_TEXT;
    }
}

/* Does an index that collates by `collation` order this column as its own comparisons do?  Where
 * they differ, "k > ?" would pass by rows that the index holds apart, or "k = ?" find two. */
static bool
orders_alike(struct db *db, const struct db_table *table, const char *column, const char *collation)
{
    const char *own = NULL;

    return sqlite3_table_column_metadata(handle_of(db), "main", table->name, column, NULL, &own,
                                         NULL, NULL, NULL) == SQLITE_OK &&
           own != NULL && sqlite3_stricmp(own, collation) == 0;
}

/* The index of the primary key: `*exists` false for a rowid alias, which has none; `*alike` if all
 * its parts order as their columns do. */
static int
primary_index(struct db *db, const struct db_table *table, bool *exists, bool *alike,
              struct coffer_error *err)
{
    struct coffer_value param = {
        .type = COFFER_TEXT, .data = (const uint8_t *)table->name, .len = strlen(table->name)};
    struct db_result *parts = NULL;
    size_t i;
    int rc = sqlite_run(db,
                        "SELECT x.name, x.coll FROM pragma_index_list($1) i, "
                        "pragma_index_xinfo(i.name) x WHERE i.origin='pk' AND x.key",
                        &param, 1, &parts, err);

    *exists = rc == COFFER_OK && parts->rows > 0;
    *alike = true;
    for (i = 0; rc == COFFER_OK && i < parts->rows; i++)
        *alike = *alike && orders_alike(db, table, (const char *)parts->cells[2 * i].data,
                                        (const char *)parts->cells[2 * i + 1].data);
    db_result_free(parts);
    return rc;
}

static int
use_primary_key(struct db *db, struct db_table *table, bool without_rowid, struct coffer_error *err)
{
    size_t i, parts = 0;
    bool indexed, alike, not_null = true;
    int rc;

    for (i = 0; i < table->column_count; i++) {
        const struct db_column *column = &table->columns[i];

        if (column->key_position == 0)
            continue;
        if (column->key_position > DB_KEY_MAX)
            return COFFER_OK;
        snprintf(table->key[column->key_position - 1], DB_NAME_MAX, "%s", column->name);
        table->key_types[column->key_position - 1] = key_type(column);
        not_null = not_null && (column->not_null || without_rowid);
        parts++;
    }
    if (parts == 0)
        return COFFER_OK;
    rc = primary_index(db, table, &indexed, &alike, err);
    if (rc != COFFER_OK || !alike)
        return rc;
    if (!not_null && indexed) /* SQLite primary keys may hold NULL, unless they are the rowid */
        return COFFER_OK;
    table->key_kind = DB_KEY_PRIMARY;
    table->key_count = parts;
    table->primary_not_null = true;
    table->key_generated = !indexed;
    return COFFER_OK;
}

static int
use_unique_index(struct db *db, struct db_table *table, struct coffer_error *err)
{
    struct coffer_value param = {
        .type = COFFER_TEXT, .data = (const uint8_t *)table->name, .len = strlen(table->name)};
    struct db_result *indexes = NULL;
    size_t i, j;
    int rc =
        sqlite_run(db, "SELECT name FROM pragma_index_list($1) WHERE \"unique\" AND NOT partial",
                   &param, 1, &indexes, err);

    for (i = 0; rc == COFFER_OK && i < indexes->rows && table->key_count == 0; i++) {
        struct db_result *parts = NULL;
        bool fits = true;

        rc =
            sqlite_run(db, "SELECT name, coll FROM pragma_index_xinfo($1) WHERE key ORDER BY seqno",
                       &indexes->cells[i], 1, &parts, err);
        for (j = 0; rc == COFFER_OK && j < parts->rows && fits; j++) {
            const struct coffer_value *row = &parts->cells[2 * j];
            const struct db_column *column =
                row[0].data != NULL ? db_table_column(table, (const char *)row[0].data) : NULL;

            fits = j < DB_KEY_MAX && column != NULL && column->not_null &&
                   strcmp((const char *)row[1].data, "BINARY") == 0 &&
                   orders_alike(db, table, column->name, "BINARY");
            if (fits) {
                snprintf(table->key[j], DB_NAME_MAX, "%s", column->name);
                table->key_types[j] = key_type(column);
            }
        }
        if (rc == COFFER_OK && fits) {
            table->key_kind = DB_KEY_UNIQUE;
            table->key_count = parts->rows;
        }
        db_result_free(parts);
    }
    db_result_free(indexes);
    return rc;
}

/* rowid has three names; a column may have taken some. */
static int
use_rowid(struct db_table *table, bool without_rowid, struct coffer_error *err)
{
    static const char *const NAMES[] = {"rowid", "_rowid_", "oid"};
    size_t i, j;

    if (without_rowid)
        return error_set(err, COFFER_E_UNSUPPORTED,
                         "table %s is WITHOUT ROWID and its primary key has more than %d parts or "
                         "another collation than its columns; add a unique index over NOT NULL "
                         "columns",
                         table->name, DB_KEY_MAX);
    for (i = 0; i < 3; i++) {
        for (j = 0;
             j < table->column_count && sqlite3_stricmp(table->columns[j].name, NAMES[i]) != 0; j++)
            ;
        if (j == table->column_count) {
            table->key_kind = DB_KEY_ROWID;
            table->key_count = 1;
            strcpy(table->key[0], NAMES[i]);
            table->key_types[0] = COFFER_INT64;
            return COFFER_OK;
        }
    }
    return error_set(
        err, COFFER_E_UNSUPPORTED,
        "table %s has no usable key: columns bear all names of the rowid; add a primary key",
        table->name);
}

/* A foreign key of this table's own key columns that cascades would change places behind our back.
 */
static int
read_cascades(struct db *db, struct db_table *table, struct coffer_error *err)
{
    struct coffer_value param = {
        .type = COFFER_TEXT, .data = (const uint8_t *)table->name, .len = strlen(table->name)};
    struct db_result *result = NULL;
    size_t i, k;
    int rc =
        sqlite_run(db, "SELECT \"from\" FROM pragma_foreign_key_list($1) WHERE on_update='CASCADE'",
                   &param, 1, &result, err);

    for (i = 0; rc == COFFER_OK && i < result->rows; i++) {
        for (k = 0; k < table->key_count; k++) {
            if (sqlite3_stricmp((const char *)result->cells[i].data, table->key[k]) == 0)
                table->key_cascades = true;
        }
    }
    db_result_free(result);
    return rc;
}

static int
read_size(struct db *db, struct db_table *table, struct coffer_error *err)
{
    struct db_result *result = NULL;
    struct buf sql;
    int rc;

    buf_init(&sql, 4096);
    buf_str(&sql, "SELECT count(*) FROM "); /* over the smallest index; SQLite keeps no estimate */
    sql_ident(&sql, table->name);
    rc = sqlite_run(db, buf_cstr(&sql), NULL, 0, &result, err);
    if (rc == COFFER_OK)
        table->estimate_rows = (uint64_t)result->cells[0].i64;
    db_result_free(result);
    buf_wipe(&sql);
    return rc;
}

int
sqlite_table_open(struct db *db, const char *name, struct db_table **out, struct coffer_error *err)
{
    struct db_table *table = mem_alloc(sizeof *table);
    bool without_rowid = false;
    int rc;

    *out = NULL;
    if (table == NULL)
        return error_nomem(err);
    if (strncmp(name, "main.", 5) == 0)
        name += 5;
    rc = find_table(db, name, table, &without_rowid, err);
    if (rc == COFFER_OK)
        rc = read_columns(db, table, err);
    if (rc == COFFER_OK)
        rc = use_primary_key(db, table, without_rowid, err);
    if (rc == COFFER_OK && table->key_count == 0)
        rc = use_unique_index(db, table, err);
    if (rc == COFFER_OK && table->key_count == 0)
        rc = use_rowid(table, without_rowid, err);
    if (rc == COFFER_OK)
        rc = read_cascades(db, table, err);
    if (rc == COFFER_OK)
        rc = read_size(db, table, err);
    if (rc != COFFER_OK) {
        db_table_free(table);
        return rc;
    }
    *out = table;
    return COFFER_OK;
}

void
sqlite_show_key(const struct db_table *table, const struct coffer_value *key, struct buf *out)
{
    char text[64];
    size_t i;

    for (i = 0; i < table->key_count; i++) {
        buf_format(out, "%s%s ", i > 0 ? ", " : "", table->key[i]);
        if (key[i].type == COFFER_TEXT)
            buf_format(out, "'%.*s'", (int)(key[i].len < 40 ? key[i].len : 40),
                       (const char *)key[i].data);
        else if (key[i].type == COFFER_BYTES)
            buf_format(out, "(%zu bytes)", key[i].len);
        else
            buf_str(out, sqlite_number_text(&key[i], text) ? text : "?");
    }
}

int
sqlite_trigger_names(struct db *db, const struct db_table *table, struct buf *out,
                     struct coffer_error *err)
{
    struct coffer_value param = {
        .type = COFFER_TEXT, .data = (const uint8_t *)table->name, .len = strlen(table->name)};
    struct db_result *result = NULL;
    size_t i;
    int rc = sqlite_run(db,
                        "SELECT name FROM sqlite_schema WHERE type='trigger' AND tbl_name=$1 "
                        "COLLATE NOCASE AND name NOT LIKE "
                        "'coffer~_zzz~_fence~_%' ESCAPE '~' AND name NOT LIKE "
                        "'coffer~_shadow~_%' ESCAPE '~'",
                        &param, 1, &result, err);

    for (i = 0; rc == COFFER_OK && i < result->rows; i++)
        buf_format(out, "%s%s", i > 0 ? ", " : "", (const char *)result->cells[i].data);
    db_result_free(result);
    return rc;
}
