/* SPDX-License-Identifier: Apache-2.0 */
#include "db/terms.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* A statement under construction: text and its parameters. */
struct statement {
    struct db *db;
    struct buf sql;
    struct coffer_value params[DB_TERMS_MAX + DB_KEY_MAX + 8];
    size_t count;
};

static void
begin(struct statement *st, struct db *db)
{
    st->db = db;
    st->count = 0;
    buf_init(&st->sql, 1 << 20);
}

static void
text(struct statement *st, const char *sql)
{
    buf_add(&st->sql, sql, strlen(sql));
}

static void
name(struct statement *st, const char *identifier)
{
    db_quote(st->db, identifier, &st->sql);
}

/* "schema.table" in its parts. */
static void
table_name(struct statement *st, const char *table)
{
    const char *dot = db_engine(st->db) == DB_POSTGRESQL ? strchr(table, '.') : NULL;
    char schema[DB_NAME_MAX];

    if (dot != NULL) {
        (void)snprintf(schema, sizeof schema, "%.*s", (int)(dot - table), table);
        name(st, schema);
        text(st, ".");
        table = dot + 1;
    }
    name(st, table);
}

static void
param(struct statement *st, const struct coffer_value *value)
{
    st->params[st->count++] = *value;
    buf_format(&st->sql, "$%zu", st->count);
}

static int
run(struct statement *st, struct db_result **result, struct coffer_error *err)
{
    int rc = buf_status(&st->sql, err);

    if (rc == COFFER_OK)
        rc = db_run(st->db, buf_cstr(&st->sql), st->params, st->count, result, err);
    buf_wipe(&st->sql);
    return rc;
}

static bool
on_postgres(const struct db *db)
{
    return db_engine(db) == DB_POSTGRESQL;
}

static bool
has_side(const struct db *db, const struct db_terms *terms)
{
    return terms->columns[0].form == DB_TERM_TOKENS && !on_postgres(db);
}

/* Without its schema. */
static const char *
bare(const struct db *db, const char *table)
{
    const char *dot = on_postgres(db) ? strchr(table, '.') : NULL;

    return dot != NULL ? dot + 1 : table;
}

void
db_terms_side(const struct db *db, const struct db_terms *terms, char out[2 * DB_NAME_MAX])
{
    out[0] = '\0';
    if (has_side(db, terms))
        (void)snprintf(out, 2 * DB_NAME_MAX, "%s_%s", terms->table->name, terms->columns[0].name);
}

/* At most 18 bytes of a name, whole characters. */
static int
beginning(const char *text)
{
    size_t len = strlen(text), n = len < 18 ? len : 18;

    while (n > 0 && n < len && ((uint8_t)text[n] & 0xc0) == 0x80)
        n--;
    return (int)n;
}

/* Names of what we make: at most 63 bytes, as PostgreSQL wants; what does not fit gets a number of its own (FNV-1a), so that two long names
 * do not become one. */
static void
made_name(const struct db *db, const struct db_terms *terms, const char *what, char out[64])
{
    const char *table = bare(db, terms->table->name), *column = terms->columns[0].name;
    uint32_t number = 2166136261u;

    if (strlen(table) + strlen(column) <= 45) {
        (void)snprintf(out, 64, "coffer_%.*s_%.*s_%.6s", (int)strlen(table), table, (int)strlen(column), column, what);
        return;
    }
    for (const char *p = table; *p != '\0'; p++)
        number = (number ^ (uint8_t)*p) * 16777619u;
    number *= 16777619u;
    for (const char *p = column; *p != '\0'; p++)
        number = (number ^ (uint8_t)*p) * 16777619u;
    (void)snprintf(out, 64, "coffer_%.*s_%.*s_%08x_%.6s", beginning(table), table, beginning(column), column, (unsigned)number, what);
}

static const char *
sql_type(const struct db *db, enum db_term_form form)
{
    switch (form) {
    case DB_TERM_16:
        return on_postgres(db) ? "uuid" : "BLOB";
    case DB_TERM_BYTES:
        return on_postgres(db) ? "bytea" : "BLOB";
    case DB_TERM_INT:
        return on_postgres(db) ? "bigint" : "INTEGER";
    default:
        return "bigint[]";
    }
}

/* The value as the engine's column takes it. */
static struct coffer_value
as_stored(const struct db *db, enum db_term_form form, const struct coffer_value *value)
{
    struct coffer_value v = *value;

    if (form == DB_TERM_16 && v.type == COFFER_BYTES && on_postgres(db))
        v.type = COFFER_UUID;
    return v;
}

/* ---- conditions ---- */

static void
first_column(struct statement *st, const struct db_terms *terms)
{
    name(st, terms->columns[0].name);
    if (terms->columns[0].form == DB_TERM_TOKENS)
        text(st, "[1]");
}

/* `expr` within the wanted version. */
static void
in_range(struct statement *st, const struct db_terms *terms)
{
    struct coffer_value low = as_stored(st->db, terms->columns[0].form, &terms->low);
    struct coffer_value high = as_stored(st->db, terms->columns[0].form, &terms->high);

    text(st, " >= ");
    param(st, &low);
    text(st, " AND ");
    if (has_side(st->db, terms))
        text(st, "tok");
    else
        first_column(st, terms);
    text(st, terms->open_end ? " <= " : " < ");
    param(st, &high);
}

/* Rows whose terms are not as wanted. */
static void
needy(struct statement *st, const struct db_terms *terms)
{
    char side[2 * DB_NAME_MAX];

    text(st, "((");
    name(st, terms->sealed);
    if (has_side(st->db, terms)) {
        db_terms_side(st->db, terms, side);
        text(st, " IS NOT NULL AND NOT EXISTS (SELECT 1 FROM ");
        name(st, side);
        text(st, " WHERE id = ");
        table_name(st, terms->table->name);
        text(st, ".");
        name(st, terms->table->key[0]);
        text(st, " AND tok");
        in_range(st, terms);
        text(st, ")) OR (");
        name(st, terms->sealed);
        text(st, " IS NULL AND EXISTS (SELECT 1 FROM ");
        name(st, side);
        text(st, " WHERE id = ");
        table_name(st, terms->table->name);
        text(st, ".");
        name(st, terms->table->key[0]);
        text(st, ")))");
        return;
    }
    text(st, " IS NOT NULL AND (");
    name(st, terms->columns[0].name);
    text(st, " IS NULL OR NOT (");
    first_column(st, terms);
    in_range(st, terms);
    text(st, "))) OR (");
    name(st, terms->sealed);
    text(st, " IS NULL AND ");
    name(st, terms->columns[0].name);
    text(st, " IS NOT NULL))");
}

static void
key_list(struct statement *st, const struct db_table *table)
{
    for (size_t i = 0; i < table->key_count; i++) {
        text(st, i > 0 ? ", " : "");
        if (table->key_kind == DB_KEY_ROWID)
            text(st, table->key[i]); /* rowid, ctid: not quoted */
        else
            name(st, table->key[i]);
    }
}

/* Compared as the column's own type, by its index, and char(n) without its padding. */
static void
key_param(struct statement *st, const struct db_table *table, size_t i, const struct coffer_value *value)
{
    const struct db_column *column = db_table_column(table, table->key[i]);

    param(st, value);
    if (!on_postgres(st->db))
        return;
    text(st, "::");
    text(st, table->key_kind == DB_KEY_ROWID ? "tid" : column != NULL ? column->sql_type : "text");
}

static void
key_is(struct statement *st, const struct db_table *table, const struct coffer_value *key)
{
    for (size_t i = 0; i < table->key_count; i++) {
        text(st, i > 0 ? " AND " : "");
        if (table->key_kind == DB_KEY_ROWID)
            text(st, table->key[i]);
        else
            name(st, table->key[i]);
        text(st, " = ");
        key_param(st, table, i, &key[i]);
    }
}

/* ---- made and dropped ---- */

static int
add_side(struct db *db, const struct db_terms *terms, struct coffer_error *err)
{
    char side[2 * DB_NAME_MAX], trigger[64];
    struct statement st;
    int rc;

    if (terms->table->key_count != 1)
        return error_set(err, COFFER_E_REFUSED, "%s has a key of %zu columns: on SQLite tokens need a key of one column", terms->table->name,
                         terms->table->key_count);
    db_terms_side(db, terms, side);
    begin(&st, db);
    text(&st, "CREATE TABLE IF NOT EXISTS ");
    name(&st, side);
    text(&st, " (tok INTEGER NOT NULL, id NOT NULL, PRIMARY KEY (tok, id)) WITHOUT ROWID");
    rc = run(&st, NULL, err);
    if (rc != COFFER_OK)
        return rc;
    made_name(db, terms, "id", trigger);
    begin(&st, db);
    text(&st, "CREATE INDEX IF NOT EXISTS ");
    name(&st, trigger);
    text(&st, " ON ");
    name(&st, side);
    text(&st, " (id)");
    rc = run(&st, NULL, err);
    if (rc != COFFER_OK)
        return rc;
    made_name(db, terms, "gone", trigger);
    begin(&st, db);
    text(&st, "CREATE TRIGGER IF NOT EXISTS ");
    name(&st, trigger);
    text(&st, " AFTER DELETE ON ");
    name(&st, terms->table->name);
    text(&st, " BEGIN DELETE FROM ");
    name(&st, side);
    text(&st, " WHERE id = OLD.");
    if (terms->table->key_kind == DB_KEY_ROWID)
        text(&st, "rowid");
    else
        name(&st, terms->table->key[0]);
    text(&st, "; END");
    return run(&st, NULL, err);
}

int
db_terms_add(struct db *db, const struct db_terms *terms, struct coffer_error *err)
{
    struct db_table *now = NULL;
    int rc;

    if (has_side(db, terms))
        return add_side(db, terms, err);
    rc = db_table_open(db, terms->table->name, &now, err); /* as it is now: a repeated call finds what it made */
    for (size_t i = 0; rc == COFFER_OK && i < terms->count; i++) {
        const char *type = sql_type(db, terms->columns[i].form);
        const struct db_column *there = db_table_column(now, terms->columns[i].name);
        struct statement st;

        if (there != NULL) {
            if (strcmp(there->sql_type, type) != 0)
                rc = error_set(err, COFFER_E_REFUSED, "%s has a column %s of type %s already: rename it first", terms->table->name,
                               terms->columns[i].name, there->sql_type);
            continue;
        }
        begin(&st, db);
        text(&st, "ALTER TABLE ");
        table_name(&st, terms->table->name);
        text(&st, " ADD COLUMN ");
        name(&st, terms->columns[i].name);
        text(&st, " ");
        text(&st, type);
        rc = run(&st, NULL, err);
    }
    db_table_free(now);
    return rc;
}

static int
drop_named(struct db *db, const struct db_terms *terms, const char *what, const char *index, struct coffer_error *err)
{
    struct statement st;

    begin(&st, db);
    text(&st, "DROP ");
    text(&st, what);
    text(&st, " IF EXISTS ");
    if (on_postgres(db) && strchr(terms->table->name, '.') != NULL) {
        char schema[DB_NAME_MAX];

        (void)snprintf(schema, sizeof schema, "%.*s", (int)strcspn(terms->table->name, "."), terms->table->name);
        name(&st, schema);
        text(&st, ".");
    }
    name(&st, index);
    return run(&st, NULL, err);
}

/* An index that a broken CONCURRENTLY left behind answers nothing. */
static int
drop_invalid(struct db *db, const struct db_terms *terms, const char *index, struct coffer_error *err)
{
    struct coffer_value params[1] = {{.type = COFFER_TEXT, .data = (const uint8_t *)index, .len = strlen(index)}};
    struct db_result *result = NULL;
    bool invalid;
    int rc = db_run(db, "SELECT 1 FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE relname = $1 AND NOT indisvalid", params, 1,
                    &result, err);

    if (rc != COFFER_OK)
        return rc;
    invalid = result->rows > 0;
    db_result_free(result);
    return invalid ? drop_named(db, terms, "INDEX", index, err) : COFFER_OK;
}

int
db_terms_index(struct db *db, const struct db_terms *terms, struct coffer_error *err)
{
    size_t columns = terms->columns[0].form == DB_TERM_INT && terms->count >= 3 ? 2 : 1; /* of a sum: its id */
    char index[64];
    struct statement st;
    int rc;

    if (has_side(db, terms))
        return COFFER_OK; /* its primary key */
    made_name(db, terms, "idx", index);
    rc = on_postgres(db) ? drop_invalid(db, terms, index, err) : COFFER_OK;
    if (rc != COFFER_OK)
        return rc;
    begin(&st, db);
    text(&st, terms->unique || columns == 2 ? "CREATE UNIQUE INDEX " : "CREATE INDEX ");
    if (on_postgres(db))
        text(&st, "CONCURRENTLY ");
    text(&st, "IF NOT EXISTS ");
    name(&st, index);
    text(&st, " ON ");
    table_name(&st, terms->table->name);
    if (terms->columns[0].form == DB_TERM_TOKENS)
        text(&st, " USING gin");
    text(&st, " (");
    for (size_t i = 0; i < columns; i++) {
        text(&st, i > 0 ? ", " : "");
        name(&st, terms->columns[i].name);
    }
    text(&st, ")");
    return run(&st, NULL, err);
}

static void
agrees(struct statement *st, const struct db_terms *terms, const char *row)
{
    text(st, "(");
    text(st, row);
    name(st, terms->sealed);
    text(st, " IS NULL) = (");
    text(st, row);
    name(st, terms->columns[0].name);
    text(st, " IS NULL)");
}

/* The table's name as SQL has it, as a value. */
static struct coffer_value
quoted_name(struct db *db, const char *table, struct buf *room, struct coffer_error *err)
{
    struct statement st;

    begin(&st, db);
    table_name(&st, table);
    *room = st.sql; /* the caller's to wipe */
    if (buf_status(room, err) != COFFER_OK) {
        buf_wipe(room);
        return (struct coffer_value){.type = COFFER_NULL};
    }
    return (struct coffer_value){.type = COFFER_TEXT, .data = room->ptr, .len = room->len};
}

static int
require_by_trigger(struct db *db, const struct db_terms *terms, const char *when, const char *what, struct coffer_error *err)
{
    char trigger[64];
    struct statement st;

    made_name(db, terms, what, trigger);
    begin(&st, db);
    text(&st, "CREATE TRIGGER IF NOT EXISTS ");
    name(&st, trigger);
    text(&st, when);
    name(&st, terms->table->name);
    text(&st, " WHEN NOT (");
    agrees(&st, terms, "NEW.");
    text(&st, ") BEGIN SELECT RAISE(ABORT, 'coffer: an envelope and its search terms are written together: see coffer_terms()'); END");
    return run(&st, NULL, err);
}

int
db_terms_require(struct db *db, const struct db_terms *terms, struct coffer_error *err)
{
    struct db_result *result = NULL;
    char constraint[64];
    struct coffer_value quoted;
    struct buf name_room;
    struct statement st;
    bool there;
    int rc;

    if (terms->columns[0].form == DB_TERM_TOKENS)
        return COFFER_OK;
    if (!on_postgres(db)) {
        rc = require_by_trigger(db, terms, " BEFORE INSERT ON ", "insert", err);
        return rc != COFFER_OK ? rc : require_by_trigger(db, terms, " BEFORE UPDATE ON ", "update", err);
    }
    made_name(db, terms, "both", constraint);
    begin(&st, db);
    text(&st, "SELECT 1 FROM pg_constraint WHERE conname = ");
    param(&st, &(struct coffer_value){.type = COFFER_TEXT, .data = (const uint8_t *)constraint, .len = strlen(constraint)});
    text(&st, " AND conrelid = CAST(");
    quoted = quoted_name(db, terms->table->name, &name_room, err);
    if (quoted.type == COFFER_NULL) {
        buf_wipe(&st.sql);
        return error_nomem(err);
    }
    param(&st, &quoted);
    text(&st, " AS regclass)");
    rc = run(&st, &result, err);
    buf_wipe(&name_room);
    if (rc != COFFER_OK)
        return rc;
    there = result->rows > 0;
    db_result_free(result);
    if (!there) {
        begin(&st, db);
        text(&st, "ALTER TABLE ");
        table_name(&st, terms->table->name);
        text(&st, " ADD CONSTRAINT ");
        name(&st, constraint);
        text(&st, " CHECK (");
        agrees(&st, terms, "");
        text(&st, ") NOT VALID");
        rc = run(&st, NULL, err);
    }
    if (rc != COFFER_OK)
        return rc;
    begin(&st, db);
    text(&st, "ALTER TABLE ");
    table_name(&st, terms->table->name);
    text(&st, " VALIDATE CONSTRAINT ");
    name(&st, constraint);
    return run(&st, NULL, err);
}

static int
drop_columns(struct db *db, const struct db_terms *terms, struct coffer_error *err)
{
    struct db_table *now = NULL;
    int rc = db_table_open(db, terms->table->name, &now, err);

    for (size_t i = 0; rc == COFFER_OK && i < terms->count; i++) {
        struct statement st;

        if (db_table_column(now, terms->columns[i].name) == NULL)
            continue;
        begin(&st, db);
        text(&st, "ALTER TABLE ");
        table_name(&st, terms->table->name);
        text(&st, " DROP COLUMN ");
        name(&st, terms->columns[i].name);
        rc = run(&st, NULL, err);
    }
    db_table_free(now);
    return rc;
}

int
db_terms_drop(struct db *db, const struct db_terms *terms, struct coffer_error *err)
{
    static const char *const triggers[] = {"insert", "update", "gone"};
    char made[64], side[2 * DB_NAME_MAX];
    struct statement st;
    int rc = COFFER_OK;

    if (on_postgres(db)) {
        made_name(db, terms, "both", made);
        begin(&st, db);
        text(&st, "ALTER TABLE ");
        table_name(&st, terms->table->name);
        text(&st, " DROP CONSTRAINT IF EXISTS ");
        name(&st, made);
        rc = run(&st, NULL, err);
    }
    for (size_t i = 0; rc == COFFER_OK && !on_postgres(db) && i < 3; i++) {
        made_name(db, terms, triggers[i], made);
        rc = drop_named(db, terms, "TRIGGER", made, err);
    }
    made_name(db, terms, "idx", made);
    if (rc == COFFER_OK)
        rc = drop_named(db, terms, "INDEX", made, err);
    if (rc == COFFER_OK && has_side(db, terms)) {
        db_terms_side(db, terms, side);
        return drop_named(db, terms, "TABLE", side, err);
    }
    return rc != COFFER_OK ? rc : drop_columns(db, terms, err);
}

/* ---- filling in ---- */

int
db_terms_read(struct db *db, const struct db_terms *terms, const char *const *place, size_t place_count, const struct coffer_value *after,
              size_t limit, struct db_term_rows *out, struct coffer_error *err)
{
    const struct db_table *table = terms->table;
    struct statement st;
    struct db_result *result = NULL;
    int rc;

    memset(out, 0, sizeof *out);
    begin(&st, db);
    text(&st, "SELECT ");
    key_list(&st, table);
    text(&st, ", ");
    name(&st, terms->sealed);
    for (size_t i = 0; i < place_count; i++) {
        text(&st, ", ");
        name(&st, place[i]);
    }
    text(&st, " FROM ");
    table_name(&st, table->name);
    text(&st, " WHERE ");
    needy(&st, terms);
    if (after != NULL) {
        text(&st, " AND (");
        key_list(&st, table);
        text(&st, ") > (");
        for (size_t i = 0; i < table->key_count; i++) {
            text(&st, i > 0 ? ", " : "");
            key_param(&st, table, i, &after[i]);
        }
        text(&st, ")");
    }
    text(&st, " ORDER BY ");
    key_list(&st, table);
    buf_format(&st.sql, " LIMIT %zu", limit);
    rc = run(&st, &result, err);
    if (rc != COFFER_OK)
        return rc;
    out->result = result;
    out->rows = mem_array(result->rows + 1, sizeof *out->rows);
    if (out->rows == NULL) {
        db_term_rows_free(out);
        return error_nomem(err);
    }
    for (size_t i = 0; i < result->rows; i++) {
        struct coffer_value *cells = result->cells + i * result->columns;
        struct db_term_row *row = &out->rows[out->count++];

        memcpy(row->key, cells, table->key_count * sizeof *cells);
        row->sealed = bytes_of(cells[table->key_count].data, cells[table->key_count].len);
        if (cells[table->key_count].type == COFFER_NULL)
            row->sealed = bytes_of(NULL, 0);
        row->place = cells + table->key_count + 1;
    }
    return COFFER_OK;
}

void
db_term_rows_free(struct db_term_rows *rows)
{
    mem_free(rows->rows);
    db_result_free(rows->result);
    memset(rows, 0, sizeof *rows);
}

static void
token_array(struct statement *st, const struct db_term_row *row)
{
    text(st, "'{");
    for (size_t i = 0; i < row->token_count; i++)
        buf_format(&st->sql, "%s%lld", i > 0 ? "," : "", (long long)row->tokens[i]);
    text(st, "}'::bigint[]");
}

/* The row as it was read: its envelope, and still in need. */
static void
unchanged(struct statement *st, const struct db_terms *terms, const struct db_result *result, const struct db_term_row *row)
{
    key_is(st, terms->table, row->key);
    text(st, " AND ");
    name(st, terms->sealed);
    if (row->sealed.ptr == NULL) {
        text(st, " IS NULL");
    } else {
        text(st, " = ");
        param(st, &result->cells[(size_t)(row->place - result->cells) - 1]);
    }
    text(st, " AND ");
    needy(st, terms);
}

static int
write_side(struct db *db, const struct db_terms *terms, const struct db_result *result, struct db_term_row *row, struct coffer_error *err)
{
    char side[2 * DB_NAME_MAX];
    struct db_result *there = NULL;
    struct statement st;
    bool as_read;
    int rc;

    db_terms_side(db, terms, side);
    begin(&st, db);
    text(&st, "SELECT 1 FROM ");
    table_name(&st, terms->table->name);
    text(&st, " WHERE ");
    unchanged(&st, terms, result, row);
    rc = run(&st, &there, err);
    if (rc != COFFER_OK)
        return rc;
    as_read = there->rows > 0;
    db_result_free(there);
    if (!as_read)
        return COFFER_OK;
    begin(&st, db);
    text(&st, "DELETE FROM ");
    name(&st, side);
    text(&st, " WHERE id = ");
    param(&st, &row->key[0]);
    rc = run(&st, &there, err);
    if (rc != COFFER_OK)
        return rc;
    if (there->affected == 0 && (row->sealed.ptr == NULL || row->token_count == 0))
        row->skip = true; /* a text without tokens: there is nothing that could say that it was seen */
    db_result_free(there);
    for (size_t i = 0; rc == COFFER_OK && row->sealed.ptr != NULL && i < row->token_count; i++) {
        begin(&st, db);
        text(&st, "INSERT INTO ");
        name(&st, side);
        text(&st, " (tok, id) VALUES (");
        param(&st, &(struct coffer_value){.type = COFFER_INT64, .i64 = row->tokens[i]});
        text(&st, ", ");
        param(&st, &row->key[0]);
        text(&st, ")");
        rc = run(&st, NULL, err);
    }
    row->written = rc == COFFER_OK && !row->skip;
    return rc;
}

static int
write_row(struct db *db, const struct db_terms *terms, const struct db_result *result, struct db_term_row *row, struct coffer_error *err)
{
    struct db_result *done = NULL;
    struct statement st;
    int rc;

    if (has_side(db, terms))
        return write_side(db, terms, result, row, err);
    begin(&st, db);
    text(&st, "UPDATE ");
    table_name(&st, terms->table->name);
    text(&st, " SET ");
    for (size_t i = 0; i < terms->count; i++) {
        struct coffer_value value = as_stored(db, terms->columns[i].form, &row->values[i]);

        text(&st, i > 0 ? ", " : "");
        name(&st, terms->columns[i].name);
        text(&st, " = ");
        if (row->sealed.ptr == NULL)
            text(&st, "NULL");
        else if (terms->columns[i].form == DB_TERM_TOKENS)
            token_array(&st, row);
        else
            param(&st, &value);
    }
    text(&st, " WHERE ");
    unchanged(&st, terms, result, row);
    rc = run(&st, &done, err);
    if (rc != COFFER_OK)
        return rc;
    row->written = done->affected > 0;
    db_result_free(done);
    return COFFER_OK;
}

int
db_terms_write(struct db *db, const struct db_terms *terms, struct db_term_rows *rows, const struct db_guard *guard, struct coffer_error *err)
{
    struct db_result *allowed = NULL;
    int rc = db_begin(db, DB_TXN_WRITE, err);

    if (rc == COFFER_OK && guard != NULL) {
        rc = db_run(db, guard->sql, guard->params, guard->count, &allowed, err);
        if (rc == COFFER_OK && allowed->rows == 0)
            rc = error_set(err, COFFER_E_CANCELLED, "the rotation has moved on");
        db_result_free(allowed);
    }
    for (size_t i = 0; rc == COFFER_OK && i < rows->count; i++)
        if (!rows->rows[i].skip)
            rc = write_row(db, terms, rows->result, &rows->rows[i], err);
    if (rc == COFFER_OK)
        return db_commit(db, err);
    db_rollback(db);
    return rc;
}

int
db_terms_left(struct db *db, const struct db_terms *terms, uint64_t limit, uint64_t *count, struct coffer_error *err)
{
    struct db_result *result = NULL;
    struct statement st;
    int rc;

    begin(&st, db);
    text(&st, "SELECT count(*) FROM (SELECT 1 FROM ");
    table_name(&st, terms->table->name);
    text(&st, " WHERE ");
    needy(&st, terms);
    buf_format(&st.sql, " LIMIT %llu) AS needy", (unsigned long long)limit);
    rc = run(&st, &result, err);
    if (rc != COFFER_OK)
        return rc;
    *count = (uint64_t)result->cells[0].i64;
    db_result_free(result);
    return COFFER_OK;
}
