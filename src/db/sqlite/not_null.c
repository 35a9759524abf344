/* SPDX-License-Identifier: Apache-2.0 */
/* NOT NULL of a column that has a companion, lifted and put back.
 *
 * SQLite cannot drop a NOT NULL.  Nothing on disk depends on it, so that its own documentation has the stored CREATE TABLE
 * edited instead (sqlite.org/lang_altertable.html, section 7).  The words become a comment in their place:
 *
 *     note TEXT NOT NULL   becomes   note TEXT, then "NOT NULL" as a comment that begins with "coffer:"
 *
 * and triggers see to it that the column or its companion has a value.  The edited text must parse in an empty database
 * before it is used.
 */
#include "db/sqlite/internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define MARK "/*coffer:"

static bool
word_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

/* After the comment that begins at `p`, or `p`. */
static const char *
skip_comment(const char *p)
{
    const char *end;

    if (p[0] == '-' && p[1] == '-') {
        end = strchr(p, '\n');
        return end != NULL ? end + 1 : p + strlen(p);
    }
    if (p[0] == '/' && p[1] == '*') {
        end = strstr(p + 2, "*/");
        return end != NULL ? end + 2 : p + strlen(p);
    }
    return p;
}

static const char *
skip_space(const char *p)
{
    for (;;) {
        const char *next = isspace((unsigned char)*p) ? p + 1 : skip_comment(p);

        if (next == p)
            return p;
        p = next;
    }
}

/* After one token: a quoted name or string, a word, or one character. */
static const char *
skip_token(const char *p)
{
    char close = *p == '[' ? ']' : *p;

    if (*p == '\'' || *p == '"' || *p == '`' || *p == '[') {
        for (p++; *p != '\0'; p++) {
            if (*p == close && !(close != ']' && p[1] == close))
                return p + 1;
            p += *p == close; /* doubled */
        }
        return p;
    }
    if (!word_char(*p))
        return *p != '\0' ? p + 1 : p;
    while (word_char(*p))
        p++;
    return p;
}

static bool
token_is(const char *p, const char *end, const char *word)
{
    return (size_t)(end - p) == strlen(word) && sqlite3_strnicmp(p, word, (int)(end - p)) == 0;
}

/* The token at `p`, unquoted, is this name. */
static bool
names(const char *p, const char *end, const char *name)
{
    char text[DB_NAME_MAX + 2];
    size_t len = 0;
    char quote = *p == '[' ? ']' : *p;

    if (*p == '"' || *p == '`' || *p == '\'' || *p == '[') {
        for (p++, end--; p < end && len + 1 < sizeof text; p++) {
            text[len++] = *p;
            p += *p == quote && quote != ']'; /* doubled */
        }
        text[len] = '\0';
        return sqlite3_stricmp(text, name) == 0;
    }
    return token_is(p, end, name);
}

/* The definition of the column in a CREATE TABLE: from after its name to the comma or parenthesis that ends it. */
static bool
find_definition(const char *sql, const char *column, const char **begin, const char **end)
{
    const char *p = skip_space(sql), *next;
    bool ours = false, first = true;
    int depth = 0;

    for (; *p != '\0'; p = skip_space(next)) {
        next = skip_token(p);
        if (depth == 1 && first) {
            ours = names(p, next, column);
            *begin = next;
            first = false;
        } else if (*p == '(' && ++depth == 1) {
            first = true;
        } else if ((*p == ',' && depth == 1) || (*p == ')' && depth == 1)) {
            *end = p;
            if (ours || *p == ')')
                return ours;
            first = true;
        } else if (*p == ')') {
            depth--;
        }
    }
    return false;
}

/* NOT NULL with its conflict clause, at `p`; `p` itself if there is none. */
static const char *
skip_not_null(const char *p)
{
    const char *end = skip_token(p), *next;

    if (!token_is(p, end, "NOT"))
        return p;
    next = skip_space(end);
    end = skip_token(next);
    if (!token_is(next, end, "NULL"))
        return p;
    next = skip_space(end);
    if (!token_is(next, skip_token(next), "ON"))
        return end;
    next = skip_space(skip_token(next)); /* CONFLICT */
    next = skip_space(skip_token(next)); /* what then */
    return skip_token(next);
}

static bool
has_comment(const char *p, const char *end)
{
    for (; p < end; p++) {
        if ((p[0] == '-' && p[1] == '-') || (p[0] == '/' && p[1] == '*'))
            return true;
    }
    return false;
}

/* `out`: the text with NOT NULL made a comment.  False: it has none, or one that cannot be. */
static bool
lifted(const char *sql, const char *column, struct buf *out)
{
    const char *begin, *end, *p, *copied = sql;
    int depth = 0;
    bool any = false;

    if (!find_definition(sql, column, &begin, &end))
        return false;
    for (p = skip_space(begin); p < end;) {
        const char *after = depth == 0 ? skip_not_null(p) : p;

        if (after != p) {
            if (has_comment(p, after))
                return false;
            buf_add(out, copied, (size_t)(p - copied));
            buf_str(out, MARK);
            buf_add(out, p, (size_t)(after - p));
            buf_str(out, "*/");
            copied = after;
            any = true;
        } else {
            depth += *p == '(' ? 1 : *p == ')' ? -1 : 0;
            after = skip_token(p);
        }
        p = skip_space(after);
    }
    buf_str(out, copied);
    return any;
}

/* The other way round. */
static bool
put_back(const char *sql, const char *column, struct buf *out)
{
    const char *begin, *end, *p, *copied = sql, *mark;
    bool any = false;

    if (!find_definition(sql, column, &begin, &end))
        return false;
    for (p = begin; (mark = strstr(p, MARK)) != NULL && mark < end; p = copied) {
        const char *close = strstr(mark, "*/");

        if (close == NULL)
            return false;
        buf_add(out, copied, (size_t)(mark - copied));
        mark += strlen(MARK);
        buf_add(out, mark, (size_t)(close - mark));
        copied = close + 2;
        any = true;
    }
    buf_str(out, copied);
    return any;
}

static bool
parses(const char *sql)
{
    sqlite3 *empty = NULL;
    bool good = sqlite3_open(":memory:", &empty) == SQLITE_OK &&
                sqlite3_exec(empty, sql, NULL, NULL, NULL) == SQLITE_OK;

    sqlite3_close(empty);
    return good;
}

/* `*edited` false: nothing to change, or it cannot be. */
static int
edit(struct db *db, const struct db_table *table, const char *column, bool back, struct buf *out,
     bool *edited, struct coffer_error *err)
{
    struct coffer_value param = {
        .type = COFFER_TEXT, .data = (const uint8_t *)table->name, .len = strlen(table->name)};
    struct db_result *result = NULL;
    int rc = sqlite_run(
        db, "SELECT sql FROM sqlite_schema WHERE type='table' AND name=$1 COLLATE NOCASE", &param,
        1, &result, err);

    *edited = false;
    if (rc == COFFER_OK && result->rows == 1 && result->cells[0].type == COFFER_TEXT) {
        const char *sql = (const char *)result->cells[0].data;

        *edited = back ? put_back(sql, column, out) : lifted(sql, column, out);
        *edited = *edited && out->failed == 0 && parses(buf_cstr(out));
    }
    db_result_free(result);
    return rc;
}

int
sqlite_not_null_liftable(struct db *db, const struct db_table *table, const char *column, bool *can,
                         struct coffer_error *err)
{
    struct buf sql;
    int rc;

    buf_init(&sql, 1u << 20);
    rc = edit(db, table, column, false, &sql, can, err);
    buf_wipe(&sql);
    return rc;
}

/* Within the caller's transaction: whatever fails, the schema stays as it was. */
static int
store(struct db *db, const struct db_table *table, struct buf *sql, struct coffer_error *err)
{
    struct coffer_value params[] = {
        {.type = COFFER_TEXT, .data = sql->ptr, .len = sql->len},
        {.type = COFFER_TEXT, .data = (const uint8_t *)table->name, .len = strlen(table->name)},
    };
    struct db_result *result = NULL;
    char text[64];
    int rc = sqlite_run(db, "PRAGMA schema_version", NULL, 0, &result, err);
    long long version = rc == COFFER_OK && result->rows == 1 ? (long long)result->cells[0].i64 : 0;

    db_result_free(result);
    if (rc == COFFER_OK)
        rc = sqlite_exec(db, "PRAGMA writable_schema=ON", err);
    if (rc == COFFER_OK)
        rc = sqlite_run(
            db, "UPDATE sqlite_schema SET sql=$1 WHERE type='table' AND name=$2 COLLATE NOCASE",
            params, 2, NULL, err);
    snprintf(text, sizeof text, "PRAGMA schema_version=%lld",
             version + 1); /* other connections read it anew */
    if (rc == COFFER_OK)
        rc = sqlite_exec(db, text, err);
    /* In any case; it also makes this connection read the schema anew. */
    if (sqlite3_exec(handle_of(db), "PRAGMA writable_schema=RESET", NULL, NULL, NULL) !=
            SQLITE_OK &&
        rc == COFFER_OK)
        rc = sqlite_failed(db, err, "reading the schema again");
    return rc;
}

static void
trigger_name(struct buf *sql, const struct db_table *table, const struct db_cell_spec *cell,
             const char *event)
{
    char name[2 * DB_NAME_MAX + 40];

    snprintf(name, sizeof name, "coffer_notnull_%s_%s_%s", event, table->name, cell->plain);
    sql_ident(sql, name);
}

static int
make_trigger(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
             bool update, struct coffer_error *err)
{
    struct buf sql;

    buf_init(&sql, 1u << 14);
    buf_str(&sql, "CREATE TRIGGER IF NOT EXISTS ");
    trigger_name(&sql, table, cell, update ? "update" : "insert");
    buf_str(&sql, update ? " BEFORE UPDATE OF " : " BEFORE INSERT");
    if (update) {
        sql_ident(&sql, cell->plain);
        buf_str(&sql, ", ");
        sql_ident(&sql, cell->sealed);
    }
    buf_str(&sql, " ON ");
    sql_ident(&sql, table->name);
    buf_str(&sql, " WHEN NEW.");
    sql_ident(&sql, cell->plain);
    buf_str(&sql, " IS NULL AND NEW.");
    sql_ident(&sql, cell->sealed);
    buf_str(&sql, " IS NULL BEGIN SELECT RAISE(ABORT, 'coffer: 23502 this column is NOT NULL: "
                  "write a value'); END");
    return sqlite_exec_buf(db, &sql, err);
}

static int
drop_triggers(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
              struct coffer_error *err)
{
    static const char *const EVENTS[] = {"insert", "update"};
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < 2; i++) {
        struct buf sql;

        buf_init(&sql, 4096);
        buf_str(&sql, "DROP TRIGGER IF EXISTS ");
        trigger_name(&sql, table, cell, EVENTS[i]);
        rc = sqlite_exec_buf(db, &sql, err);
    }
    return rc;
}

int
sqlite_not_null_lift(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
                     struct coffer_error *err)
{
    struct buf sql;
    bool edited = false;
    int rc;

    buf_init(&sql, 1u << 20);
    rc = edit(db, table, cell->plain, false, &sql, &edited, err);
    if (rc == COFFER_OK && edited)
        rc = make_trigger(db, table, cell, false, err);
    if (rc == COFFER_OK && edited)
        rc = make_trigger(db, table, cell, true, err);
    if (rc == COFFER_OK && edited)
        rc = store(db, table, &sql, err);
    buf_wipe(&sql);
    return rc;
}

int
sqlite_not_null_restore(struct db *db, const struct db_table *table,
                        const struct db_cell_spec *cell, struct coffer_error *err)
{
    struct db_result *result = NULL;
    struct buf sql;
    bool edited = false, nulls;
    int rc = drop_triggers(db, table, cell, err);

    buf_init(&sql, 1u << 20);
    if (rc == COFFER_OK)
        rc = edit(db, table, cell->plain, true, &sql, &edited, err);
    if (rc == COFFER_OK && edited) {
        struct buf query;

        buf_init(&query, 4096);
        buf_str(&query, "SELECT 1 FROM ");
        sql_ident(&query, table->name);
        buf_str(&query, " WHERE ");
        sql_ident(&query, cell->plain);
        buf_str(&query, " IS NULL LIMIT 1");
        rc = sqlite_run(db, buf_cstr(&query), NULL, 0, &result, err);
        nulls = rc == COFFER_OK && result->rows > 0;
        db_result_free(result);
        buf_wipe(&query);
        if (nulls)
            rc = error_set(err, COFFER_E_REFUSED,
                           "%s.%s was NOT NULL and now holds NULL, written around Coffer: give "
                           "those rows a value and run "
                           "the command again",
                           table->name, cell->plain);
    }
    if (rc == COFFER_OK && edited)
        rc = store(db, table, &sql, err);
    buf_wipe(&sql);
    return rc;
}
