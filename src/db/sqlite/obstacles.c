/* SPDX-License-Identifier: Apache-2.0 */
/* What touches a column and must be settled before it is protected.  SQL of views, triggers and
 * indexes is searched for the column's name, not parsed: what is found "may" touch it. */
#include "db/sqlite/internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool
word_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* `name` as a whole word anywhere in `sql`, in any case. */
static bool
mentions(const char *sql, const char *name)
{
    size_t len = strlen(name);
    const char *p;

    for (p = sql; *p != '\0'; p++) {
        if (sqlite3_strnicmp(p, name, (int)len) == 0 && (p == sql || !word_char(p[-1])) &&
            !word_char(p[len]))
            return true;
    }
    return false;
}

struct scan {
    const struct db_table *table;
    const struct db_cell_spec *cell;
    struct db_obstacles *out;
};

static int
schema_row(void *arg, const struct coffer_value *cells, size_t columns, struct coffer_error *err)
{
    struct scan *scan = arg;
    const char *type = (const char *)cells[0].data, *name = (const char *)cells[1].data,
               *table = (const char *)cells[2].data;
    const char *sql = cells[3].data != NULL ? (const char *)cells[3].data : "";
    bool own = sqlite3_stricmp(table, scan->table->name) == 0;

    if (sqlite3_strnicmp(name, "coffer_", 7) == 0 || !mentions(sql, scan->cell->plain))
        return COFFER_OK;
    if (strcmp(type, "index") == 0 && own)
        return obstacle_add(scan->out, 'w', "index", name, err,
                            "indexes the column: after protect it orders envelopes and finds "
                            "nothing; drop it, or keep it until "
                            "search terms replace it");
    if (strcmp(type, "view") == 0 && mentions(sql, scan->table->name))
        return obstacle_add(scan->out, 'w', "view", name, err,
                            "may show the column: it will show envelopes");
    if (strcmp(type, "trigger") == 0 && (own || mentions(sql, scan->table->name)))
        return obstacle_add(scan->out, 'w', "trigger", name, err,
                            "may read or change the column: it will see envelopes, and must not "
                            "change them or copy plaintext "
                            "elsewhere");
    if (strcmp(type, "table") == 0 && own && mentions(sql, "CHECK"))
        return obstacle_add(scan->out, 'i', "check", name, err,
                            "the table has a CHECK that may speak of the column: envelopes go to a "
                            "companion column");
    return COFFER_OK;
}

static int
scan_storage(struct db *db, struct scan *scan, struct coffer_error *err)
{
    static const char *const CLASSES[] = {"", "blob", "text", "integer", "integer", "real",
                                          "", "text", "text", "text",    "text"};
    struct db_result *result = NULL;
    struct buf sql, name;
    int rc;

    if (scan->cell->type == COFFER_NUMERIC)
        return COFFER_OK; /* three classes are right; what is no number is counted when it is met */
    buf_init(&sql, 8192);
    buf_init(&name, 1024);
    sql_ident(&name, scan->cell->plain);
    buf_format(&sql, "SELECT typeof(%s), count(*) FROM ", buf_cstr(&name));
    sql_ident(&sql, scan->table->name);
    buf_format(&sql, " WHERE %s IS NOT NULL AND typeof(%s)<>'%s' GROUP BY 1 LIMIT 1",
               buf_cstr(&name), buf_cstr(&name), CLASSES[scan->cell->type]);
    rc = sqlite_run(db, buf_cstr(&sql), NULL, 0, &result, err);
    if (rc == COFFER_OK && result->rows > 0)
        rc = obstacle_add(
            scan->out, 'r', "storage-class", scan->cell->plain, err,
            "%" PRId64
            " cells hold %s where type %s has %s; correct them, or give the type that they have "
            "(table.column:type)",
            result->cells[1].i64, (const char *)result->cells[0].data,
            coffer_type_name(scan->cell->type), CLASSES[scan->cell->type]);
    db_result_free(result);
    buf_wipe(&sql);
    buf_wipe(&name);
    return rc;
}

static int
column_itself(struct scan *scan, struct coffer_error *err)
{
    const struct db_column *column = db_table_column(scan->table, scan->cell->plain);
    int rc = COFFER_OK;

    if (column->generated)
        rc = obstacle_add(scan->out, 'r', "generated", column->name, err,
                          "is computed by the database from other columns; protect those, and drop "
                          "or empty this one");
    if (rc == COFFER_OK && column->key_position > 0)
        rc = obstacle_add(scan->out, 'r', "unique", column->name, err,
                          "is part of the primary key, which must stay readable to find rows; "
                          "protect another column");
    if (rc == COFFER_OK && column->not_null && scan->cell->sealed != NULL)
        rc = obstacle_add(scan->out, 'r', "not-null", column->name, err,
                          "is NOT NULL in a table that cannot hold an envelope in place; recreate "
                          "the table without NOT NULL on it "
                          "(sqlite.org/lang_altertable.html, section 7), then protect");
    if (rc == COFFER_OK && column->has_default)
        rc = obstacle_add(scan->out, 'w', "default", column->name, err,
                          "has a default, which is plaintext: an INSERT that leaves the column out "
                          "is refused once it is sealed");
    return rc;
}

static int
foreign_keys(struct db *db, struct scan *scan, struct coffer_error *err)
{
    struct coffer_value params[] = {
        {.type = COFFER_TEXT,
         .data = (const uint8_t *)scan->table->name,
         .len = strlen(scan->table->name)},
        {.type = COFFER_TEXT,
         .data = (const uint8_t *)scan->cell->plain,
         .len = strlen(scan->cell->plain)},
    };
    struct db_result *result = NULL;
    int rc = sqlite_run(db,
                        "SELECT 1 FROM pragma_foreign_key_list($1) WHERE \"from\"=$2 COLLATE "
                        "NOCASE UNION ALL SELECT 1 FROM "
                        "sqlite_schema s, pragma_foreign_key_list(s.name) f WHERE s.type='table' "
                        "AND f.\"table\"=$1 COLLATE NOCASE "
                        "AND f.\"to\"=$2 COLLATE NOCASE",
                        params, 2, &result, err);

    if (rc == COFFER_OK && result->rows > 0)
        rc = obstacle_add(
            scan->out, 'r', "foreign-key", scan->cell->plain, err,
            "is part of a foreign key, which envelopes cannot satisfy; drop the foreign key first");
    db_result_free(result);
    return rc;
}

int
sqlite_obstacles(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
                 struct db_obstacles *out, struct coffer_error *err)
{
    struct scan scan = {.table = table, .cell = cell, .out = out};
    int rc;

    if (db_table_column(table, cell->plain) == NULL)
        return error_set(err, COFFER_E_NOTFOUND, "table %s has no column %s", table->name,
                         cell->plain);
    rc = column_itself(&scan, err);
    if (rc == COFFER_OK)
        rc = foreign_keys(db, &scan, err);
    if (rc == COFFER_OK)
        rc = sqlite_stream(
            db, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name", NULL, 0,
            schema_row, &scan, err);
    if (rc == COFFER_OK)
        rc = scan_storage(db, &scan, err);
    return rc;
}
