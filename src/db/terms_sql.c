/* SPDX-License-Identifier: Apache-2.0 */
#include "db/terms_sql.h"

#include <stdio.h>
#include <string.h>

void
st_begin(struct statement *st, struct db *db)
{
    st->db = db;
    st->count = 0;
    buf_init(&st->sql, 1 << 20);
}

void
st_text(struct statement *st, const char *sql)
{
    buf_add(&st->sql, sql, strlen(sql));
}

void
st_name(struct statement *st, const char *identifier)
{
    db_quote(st->db, identifier, &st->sql);
}

/* "schema.table" in its parts. */
void
st_table(struct statement *st, const char *table)
{
    const char *dot = db_engine(st->db) == DB_POSTGRESQL ? strchr(table, '.') : NULL;
    char schema[DB_NAME_MAX];

    if (dot != NULL) {
        (void)snprintf(schema, sizeof schema, "%.*s", (int)(dot - table), table);
        st_name(st, schema);
        st_text(st, ".");
        table = dot + 1;
    }
    st_name(st, table);
}

void
st_param(struct statement *st, const struct coffer_value *value)
{
    st->params[st->count++] = *value;
    buf_format(&st->sql, "$%zu", st->count);
}

int
st_run(struct statement *st, struct db_result **result, struct coffer_error *err)
{
    int rc = buf_status(&st->sql, err);

    if (rc == COFFER_OK)
        rc = db_run(st->db, buf_cstr(&st->sql), st->params, st->count, result, err);
    buf_wipe(&st->sql);
    return rc;
}

bool
on_postgres(const struct db *db)
{
    return db_engine(db) == DB_POSTGRESQL;
}

bool
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
void
terms_made_name(const struct db *db, const struct db_terms *terms, const char *what, char out[64])
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

const char *
terms_sql_type(const struct db *db, enum db_term_form form)
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
struct coffer_value
terms_stored(const struct db *db, enum db_term_form form, const struct coffer_value *value)
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
    st_name(st, terms->columns[0].name);
    if (terms->columns[0].form == DB_TERM_TOKENS)
        st_text(st, "[1]");
}

/* `expr` within the wanted version. */
static void
in_range(struct statement *st, const struct db_terms *terms)
{
    struct coffer_value low = terms_stored(st->db, terms->columns[0].form, &terms->low);
    struct coffer_value high = terms_stored(st->db, terms->columns[0].form, &terms->high);

    st_text(st, " >= ");
    st_param(st, &low);
    st_text(st, " AND ");
    if (has_side(st->db, terms))
        st_text(st, "tok");
    else
        first_column(st, terms);
    st_text(st, terms->open_end ? " <= " : " < ");
    st_param(st, &high);
}

/* Rows whose terms are not as wanted. */
void
st_needy(struct statement *st, const struct db_terms *terms)
{
    char side[2 * DB_NAME_MAX];

    st_text(st, "((");
    st_name(st, terms->sealed);
    if (has_side(st->db, terms)) {
        db_terms_side(st->db, terms, side);
        st_text(st, " IS NOT NULL AND NOT EXISTS (SELECT 1 FROM ");
        st_name(st, side);
        st_text(st, " WHERE id = ");
        st_table(st, terms->table->name);
        st_text(st, ".");
        st_name(st, terms->table->key[0]);
        st_text(st, " AND tok");
        in_range(st, terms);
        st_text(st, ")) OR (");
        st_name(st, terms->sealed);
        st_text(st, " IS NULL AND EXISTS (SELECT 1 FROM ");
        st_name(st, side);
        st_text(st, " WHERE id = ");
        st_table(st, terms->table->name);
        st_text(st, ".");
        st_name(st, terms->table->key[0]);
        st_text(st, ")))");
        return;
    }
    st_text(st, " IS NOT NULL AND (");
    st_name(st, terms->columns[0].name);
    st_text(st, " IS NULL OR NOT (");
    first_column(st, terms);
    in_range(st, terms);
    st_text(st, "))) OR (");
    st_name(st, terms->sealed);
    st_text(st, " IS NULL AND ");
    st_name(st, terms->columns[0].name);
    st_text(st, " IS NOT NULL))");
}

void
st_keys(struct statement *st, const struct db_table *table)
{
    for (size_t i = 0; i < table->key_count; i++) {
        st_text(st, i > 0 ? ", " : "");
        if (table->key_kind == DB_KEY_ROWID)
            st_text(st, table->key[i]); /* rowid, ctid: not quoted */
        else
            st_name(st, table->key[i]);
    }
}

/* Compared as the column's own type, by its index, and char(n) without its padding. */
void
st_key_param(struct statement *st, const struct db_table *table, size_t i, const struct coffer_value *value)
{
    const struct db_column *column = db_table_column(table, table->key[i]);

    st_param(st, value);
    if (!on_postgres(st->db))
        return;
    st_text(st, "::");
    st_text(st, table->key_kind == DB_KEY_ROWID ? "tid" : column != NULL ? column->sql_type : "text");
}

void
st_key_is(struct statement *st, const struct db_table *table, const struct coffer_value *key)
{
    for (size_t i = 0; i < table->key_count; i++) {
        st_text(st, i > 0 ? " AND " : "");
        if (table->key_kind == DB_KEY_ROWID)
            st_text(st, table->key[i]);
        else
            st_name(st, table->key[i]);
        st_text(st, " = ");
        st_key_param(st, table, i, &key[i]);
    }
}
