/* SPDX-License-Identifier: Apache-2.0 */
/* What touches a column and must be settled before it is protected.  SQL of views, triggers and
 * indexes is searched for the column's name, not parsed: what is found "may" touch it. */
#include "base/number.h"
#include "db/sqlite/internal.h"

#include <ctype.h>
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

/* After a closing quote, bracket or comment that begins at `p`; `p` itself if none begins there. */
static const char *
skip_quoted(const char *p)
{
    const char *end = NULL;

    if (*p == '\'' || *p == '"' || *p == '`')
        end = strchr(p + 1, *p);
    else if (*p == '[')
        end = strchr(p + 1, ']');
    else if (p[0] == '-' && p[1] == '-')
        end = strchr(p, '\n');
    else if (p[0] == '/' && p[1] == '*') {
        end = strstr(p + 2, "*/");
        return end != NULL ? end + 2 : p + strlen(p);
    } else
        return p;
    return end != NULL ? end + 1 : p + strlen(p);
}

/* Does the parenthesis at `p` hold `name`? */
static bool
group_mentions(const char *p, const char *name)
{
    struct buf group;
    const char *start = p;
    int depth = 0;
    bool found;

    while (*p != '\0') {
        const char *next = skip_quoted(p);

        if (next != p) {
            p = next;
            continue;
        }
        depth += *p == '(' ? 1 : *p == ')' ? -1 : 0;
        p++;
        if (depth == 0)
            break;
    }
    buf_init(&group, 1u << 20);
    buf_add(&group, start, (size_t)(p - start));
    found = group.failed != 0 || mentions(buf_cstr(&group), name);
    buf_wipe(&group);
    return found;
}

/* Is there `keyword (… name …)` in a CREATE TABLE? */
static bool
clause_mentions(const char *sql, const char *keyword, const char *name)
{
    size_t len = strlen(keyword);
    const char *p = sql;

    while (*p != '\0') {
        const char *next = skip_quoted(p), *open;

        if (next != p) {
            p = next;
            continue;
        }
        if (sqlite3_strnicmp(p, keyword, (int)len) == 0 && (p == sql || !word_char(p[-1])) &&
            !word_char(p[len])) {
            open = p + len;
            while (isspace((unsigned char)*open))
                open++;
            if (*open == '(' && group_mentions(open, name))
                return true;
        }
        p++;
    }
    return false;
}

struct scan {
    struct db *db;
    const struct db_table *table;
    const struct db_cell_spec *cell;
    struct db_obstacles *out;
};

static int
own_table(struct scan *scan, const char *name, const char *sql, struct coffer_error *err)
{
    int rc = COFFER_OK;

    if (clause_mentions(sql, "CHECK", scan->cell->plain))
        rc = obstacle_add(scan->out, 'i', "check", name, err,
                          "the table has a CHECK that speaks of the column: envelopes go to a "
                          "companion column");
    if (rc == COFFER_OK && clause_mentions(sql, "AS", scan->cell->plain))
        rc = obstacle_add(scan->out, 'w', "generated", name, err,
                          "a generated column may be computed from this one: it will be computed "
                          "from envelopes");
    return rc;
}

static int
schema_row(void *arg, const struct coffer_value *cells, size_t columns, struct coffer_error *err)
{
    struct scan *scan = arg;
    const char *type = (const char *)cells[0].data, *name = (const char *)cells[1].data,
               *table = (const char *)cells[2].data;
    const char *sql = cells[3].data != NULL ? (const char *)cells[3].data : "";
    bool own = sqlite3_stricmp(table, scan->table->name) == 0;

    if (sqlite3_strnicmp(name, "coffer_zzz_fence_", 17) == 0 ||
        sqlite3_strnicmp(name, "coffer_shadow_", 14) == 0 || !mentions(sql, scan->cell->plain))
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
    if (strcmp(type, "table") == 0 && own)
        return own_table(scan, name, sql, err);
    if (strcmp(type, "table") == 0 && mentions(sql, "VIRTUAL") && mentions(sql, scan->table->name))
        return obstacle_add(scan->out, 'w', "copy", name, err,
                            "a virtual table over this one may index the column's plaintext; drop "
                            "it, or rebuild it without the column");
    return COFFER_OK;
}

/* Cells that hold no value of the type, or one that would not come back the same. */
struct misfits {
    struct scan *scan;
    enum sqlite_affinity affinity;
    uint64_t count, by_class[COFFER_JSON + 1];
    struct buf first;
};

static int
misfit_row(void *arg, const struct coffer_value *cells, size_t columns, struct coffer_error *err)
{
    struct misfits *misfits = arg;
    const struct db_cell_spec *cell = misfits->scan->cell;
    const struct coffer_value *stored = &cells[columns - 1];
    struct coffer_value plain;
    char text[64];

    if (sqlite_decode(cell->type, misfits->affinity, stored, text, &plain))
        return COFFER_OK;
    if (misfits->count++ == 0)
        sqlite_show_key(misfits->scan->table, cells, &misfits->first);
    misfits->by_class[stored->type]++;
    return COFFER_OK;
}

static const char *
class_of(const struct misfits *misfits)
{
    bool only = true;
    int i, found = COFFER_NULL;

    for (i = COFFER_BYTES; i <= COFFER_JSON; i++) {
        only = only && (found == COFFER_NULL || misfits->by_class[i] == 0);
        if (misfits->by_class[i] > 0)
            found = i;
    }
    return !only                     ? "several kinds of values"
           : found == COFFER_BYTES   ? "a blob"
           : found == COFFER_INT64   ? "an integer"
           : found == COFFER_TEXT    ? "text"
           : found == COFFER_FLOAT64 ? "a real"
                                     : "something";
}

/* One class of misfits may be the class of all: then that type keeps every byte.  "2024-01-01T10:00" is text that way. */
static int
say_misfits(struct scan *scan, struct misfits *misfits, struct coffer_error *err)
{
    const char *what = class_of(misfits);
    int type = strcmp(what, "text") == 0         ? COFFER_TEXT
               : strcmp(what, "a blob") == 0     ? COFFER_BYTES
               : strcmp(what, "an integer") == 0 ? COFFER_INT64
               : strcmp(what, "a real") == 0     ? COFFER_FLOAT64
                                                 : 0;
    char advice[2 * DB_NAME_MAX + 80] = "";

    if (type != 0 && type != scan->cell->type)
        snprintf(advice, sizeof advice, "protect it as %s.%s:%s, which keeps them byte by byte, or ", scan->table->name,
                 scan->cell->plain, coffer_type_name(type));
    return obstacle_add(scan->out, 'r', "storage-class", scan->cell->plain, err,
                        "%s of %.60s.%.60s: %s that is no %s as it would be written back; first %.60s; "
                        "%.120scorrect them",
                        counted(misfits->count, "cell").text, scan->table->name, scan->cell->plain, what, coffer_type_name(scan->cell->type), buf_cstr(&misfits->first), advice);
}

static int
scan_storage(struct scan *scan, struct coffer_error *err)
{
    struct misfits misfits = {.scan = scan};
    struct buf sql, name;
    size_t i;
    int rc;

    misfits.affinity =
        sqlite_affinity_of(db_table_column(scan->table, scan->cell->plain)->sql_type);
    buf_init(&misfits.first, 1u << 14);
    buf_init(&sql, 1u << 14);
    buf_init(&name, 1024);
    sql_ident(&name, scan->cell->plain);
    buf_str(&sql, "SELECT ");
    for (i = 0; i < scan->table->key_count; i++) {
        sql_ident(&sql, scan->table->key[i]);
        buf_str(&sql, ", ");
    }
    buf_format(&sql, "%s FROM ", buf_cstr(&name));
    sql_ident(&sql, scan->table->name);
    buf_format(&sql, " WHERE %s IS NOT NULL", buf_cstr(&name));
    if (scan->cell->sealed == NULL) {
        buf_str(&sql, " AND NOT ");
        sql_shape(&sql, buf_cstr(&name), scan->cell);
    }
    rc = sqlite_stream(scan->db, buf_cstr(&sql), NULL, 0, misfit_row, &misfits, err);
    if (rc == COFFER_OK && misfits.count > 0)
        rc = say_misfits(scan, &misfits, err);
    buf_wipe(&misfits.first);
    buf_wipe(&sql);
    buf_wipe(&name);
    return rc;
}

/* Constraints have no SQL of their own in the schema. */
static int
unique_constraints(struct scan *scan, struct coffer_error *err)
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
    int rc = sqlite_run(scan->db,
                        "SELECT i.name FROM pragma_index_list($1) i, pragma_index_info(i.name) x "
                        "WHERE i.\"unique\" AND i.origin<>'pk' AND x.name=$2 COLLATE NOCASE",
                        params, 2, &result, err);

    if (rc == COFFER_OK && result->rows > 0)
        rc = obstacle_add(scan->out, 'w', "unique", (const char *)result->cells[0].data, err,
                          "keeps values apart: every envelope is another one, so that equal "
                          "values will pass once the column is sealed");
    db_result_free(result);
    return rc;
}

static int
collation(struct scan *scan, struct coffer_error *err)
{
    const char *name = NULL;

    if (sqlite3_table_column_metadata(handle_of(scan->db), "main", scan->table->name,
                                      scan->cell->plain, NULL, &name, NULL, NULL,
                                      NULL) != SQLITE_OK ||
        name == NULL || sqlite3_stricmp(name, "BINARY") == 0)
        return COFFER_OK;
    return obstacle_add(scan->out, 'i', "collation", scan->cell->plain, err,
                        "compares by %s; envelopes do not, and Coffer compares stored bytes", name);
}

static int
column_itself(struct scan *scan, struct coffer_error *err)
{
    const struct db_column *column = db_table_column(scan->table, scan->cell->plain);
    bool liftable = false;
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
        rc = sqlite_not_null_liftable(scan->db, scan->table, column->name, &liftable, err);
    if (rc == COFFER_OK && liftable)
        rc = obstacle_add(scan->out, 'i', "not-null", column->name, err,
                          "NOT NULL becomes a comment in the stored CREATE TABLE, and triggers see to it that the column or "
                          "its companion has a value; unprotect puts it back");
    else if (rc == COFFER_OK && column->not_null && scan->cell->sealed != NULL)
        rc = obstacle_add(scan->out, 'r', "not-null", column->name, err,
                          "is NOT NULL in a table that cannot hold an envelope in place, and its definition cannot be "
                          "edited (a comment within NOT NULL, or something that an empty database does not know); recreate "
                          "the table without NOT NULL on it (sqlite.org/lang_altertable.html, section 7), then protect");
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
    size_t i;
    int rc = sqlite_run(db,
                        "SELECT 1, \"table\" FROM pragma_foreign_key_list($1) WHERE \"from\"=$2 COLLATE "
                        "NOCASE UNION ALL SELECT 0, s.name || '.' || f.\"from\" FROM "
                        "sqlite_schema s, pragma_foreign_key_list(s.name) f WHERE s.type='table' "
                        "AND f.\"table\"=$1 COLLATE NOCASE "
                        "AND f.\"to\"=$2 COLLATE NOCASE",
                        params, 2, &result, err);

    for (i = 0; rc == COFFER_OK && i < result->rows; i++) {
        const struct coffer_value *row = &result->cells[2 * i];

        if (row[0].i64 == 1)
            rc = obstacle_add(scan->out, 'r', "foreign-key", scan->cell->plain, err,
                              "refers to table %.*s by a foreign key, which envelopes cannot satisfy; drop the foreign key first",
                              (int)row[1].len, (const char *)row[1].data);
        else
            rc = obstacle_add(scan->out, 'r', "foreign-key", scan->cell->plain, err,
                              "is what %.*s refers to, and envelopes match nothing; protect another column, or end that "
                              "foreign key where it stands",
                              (int)row[1].len, (const char *)row[1].data);
    }
    db_result_free(result);
    return rc;
}

int
sqlite_obstacles(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
                 struct db_obstacles *out, struct coffer_error *err)
{
    struct scan scan = {.db = db, .table = table, .cell = cell, .out = out};
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
        rc = unique_constraints(&scan, err);
    if (rc == COFFER_OK)
        rc = collation(&scan, err);
    if (rc == COFFER_OK)
        rc = scan_storage(&scan, err);
    return rc;
}
