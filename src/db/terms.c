/* SPDX-License-Identifier: Apache-2.0 */
/* Columns of terms, made and dropped. */
#include "db/terms_sql.h"

#include <stdio.h>
#include <string.h>

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
    st_begin(&st, db);
    st_text(&st, "CREATE TABLE IF NOT EXISTS ");
    st_name(&st, side);
    st_text(&st, " (tok INTEGER NOT NULL, id NOT NULL, PRIMARY KEY (tok, id)) WITHOUT ROWID");
    rc = st_run(&st, NULL, err);
    if (rc != COFFER_OK)
        return rc;
    terms_made_name(db, terms, "id", trigger);
    st_begin(&st, db);
    st_text(&st, "CREATE INDEX IF NOT EXISTS ");
    st_name(&st, trigger);
    st_text(&st, " ON ");
    st_name(&st, side);
    st_text(&st, " (id)");
    rc = st_run(&st, NULL, err);
    if (rc != COFFER_OK)
        return rc;
    terms_made_name(db, terms, "gone", trigger);
    st_begin(&st, db);
    st_text(&st, "CREATE TRIGGER IF NOT EXISTS ");
    st_name(&st, trigger);
    st_text(&st, " AFTER DELETE ON ");
    st_name(&st, terms->table->name);
    st_text(&st, " BEGIN DELETE FROM ");
    st_name(&st, side);
    st_text(&st, " WHERE id = OLD.");
    if (terms->table->key_kind == DB_KEY_ROWID)
        st_text(&st, "rowid");
    else
        st_name(&st, terms->table->key[0]);
    st_text(&st, "; END");
    return st_run(&st, NULL, err);
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
        const char *type = terms_sql_type(db, terms->columns[i].form);
        const struct db_column *there = db_table_column(now, terms->columns[i].name);
        struct statement st;

        if (there != NULL) {
            if (strcmp(there->sql_type, type) != 0)
                rc = error_set(err, COFFER_E_REFUSED, "%s has a column %s of type %s already: rename it first", terms->table->name,
                               terms->columns[i].name, there->sql_type);
            continue;
        }
        st_begin(&st, db);
        st_text(&st, "ALTER TABLE ");
        st_table(&st, terms->table->name);
        st_text(&st, " ADD COLUMN ");
        st_name(&st, terms->columns[i].name);
        st_text(&st, " ");
        st_text(&st, type);
        rc = st_run(&st, NULL, err);
    }
    db_table_free(now);
    return rc;
}

static int
drop_named(struct db *db, const struct db_terms *terms, const char *what, const char *index, struct coffer_error *err)
{
    struct statement st;

    st_begin(&st, db);
    st_text(&st, "DROP ");
    st_text(&st, what);
    st_text(&st, " IF EXISTS ");
    if (on_postgres(db) && strchr(terms->table->name, '.') != NULL) {
        char schema[DB_NAME_MAX];

        (void)snprintf(schema, sizeof schema, "%.*s", (int)strcspn(terms->table->name, "."), terms->table->name);
        st_name(&st, schema);
        st_text(&st, ".");
    }
    st_name(&st, index);
    return st_run(&st, NULL, err);
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
    terms_made_name(db, terms, "idx", index);
    rc = on_postgres(db) ? drop_invalid(db, terms, index, err) : COFFER_OK;
    if (rc != COFFER_OK)
        return rc;
    st_begin(&st, db);
    st_text(&st, terms->unique || columns == 2 ? "CREATE UNIQUE INDEX " : "CREATE INDEX ");
    if (on_postgres(db))
        st_text(&st, "CONCURRENTLY ");
    st_text(&st, "IF NOT EXISTS ");
    st_name(&st, index);
    st_text(&st, " ON ");
    st_table(&st, terms->table->name);
    if (terms->columns[0].form == DB_TERM_TOKENS)
        st_text(&st, " USING gin");
    st_text(&st, " (");
    for (size_t i = 0; i < columns; i++) {
        st_text(&st, i > 0 ? ", " : "");
        st_name(&st, terms->columns[i].name);
    }
    st_text(&st, ")");
    return st_run(&st, NULL, err);
}

static void
agrees(struct statement *st, const struct db_terms *terms, const char *row)
{
    st_text(st, "(");
    st_text(st, row);
    st_name(st, terms->sealed);
    st_text(st, " IS NULL) = (");
    st_text(st, row);
    st_name(st, terms->columns[0].name);
    st_text(st, " IS NULL)");
}

/* The table's name as SQL has it, as a value. */
static struct coffer_value
quoted_name(struct db *db, const char *table, struct buf *room, struct coffer_error *err)
{
    struct statement st;

    st_begin(&st, db);
    st_table(&st, table);
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

    terms_made_name(db, terms, what, trigger);
    st_begin(&st, db);
    st_text(&st, "CREATE TRIGGER IF NOT EXISTS ");
    st_name(&st, trigger);
    st_text(&st, when);
    st_name(&st, terms->table->name);
    st_text(&st, " WHEN NOT (");
    agrees(&st, terms, "NEW.");
    st_text(&st, ") BEGIN SELECT RAISE(ABORT, 'coffer: an envelope and its search terms are written together: see coffer_terms()'); END");
    return st_run(&st, NULL, err);
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
    terms_made_name(db, terms, "both", constraint);
    st_begin(&st, db);
    st_text(&st, "SELECT 1 FROM pg_constraint WHERE conname = ");
    st_param(&st, &(struct coffer_value){.type = COFFER_TEXT, .data = (const uint8_t *)constraint, .len = strlen(constraint)});
    st_text(&st, " AND conrelid = CAST(");
    quoted = quoted_name(db, terms->table->name, &name_room, err);
    if (quoted.type == COFFER_NULL) {
        buf_wipe(&st.sql);
        return error_nomem(err);
    }
    st_param(&st, &quoted);
    st_text(&st, " AS regclass)");
    rc = st_run(&st, &result, err);
    buf_wipe(&name_room);
    if (rc != COFFER_OK)
        return rc;
    there = result->rows > 0;
    db_result_free(result);
    if (!there) {
        st_begin(&st, db);
        st_text(&st, "ALTER TABLE ");
        st_table(&st, terms->table->name);
        st_text(&st, " ADD CONSTRAINT ");
        st_name(&st, constraint);
        st_text(&st, " CHECK (");
        agrees(&st, terms, "");
        st_text(&st, ") NOT VALID");
        rc = st_run(&st, NULL, err);
    }
    if (rc != COFFER_OK)
        return rc;
    st_begin(&st, db);
    st_text(&st, "ALTER TABLE ");
    st_table(&st, terms->table->name);
    st_text(&st, " VALIDATE CONSTRAINT ");
    st_name(&st, constraint);
    return st_run(&st, NULL, err);
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
        st_begin(&st, db);
        st_text(&st, "ALTER TABLE ");
        st_table(&st, terms->table->name);
        st_text(&st, " DROP COLUMN ");
        st_name(&st, terms->columns[i].name);
        rc = st_run(&st, NULL, err);
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
        terms_made_name(db, terms, "both", made);
        st_begin(&st, db);
        st_text(&st, "ALTER TABLE ");
        st_table(&st, terms->table->name);
        st_text(&st, " DROP CONSTRAINT IF EXISTS ");
        st_name(&st, made);
        rc = st_run(&st, NULL, err);
    }
    for (size_t i = 0; rc == COFFER_OK && !on_postgres(db) && i < 3; i++) {
        terms_made_name(db, terms, triggers[i], made);
        rc = drop_named(db, terms, "TRIGGER", made, err);
    }
    terms_made_name(db, terms, "idx", made);
    if (rc == COFFER_OK)
        rc = drop_named(db, terms, "INDEX", made, err);
    if (rc == COFFER_OK && has_side(db, terms)) {
        db_terms_side(db, terms, side);
        return drop_named(db, terms, "TABLE", side, err);
    }
    return rc != COFFER_OK ? rc : drop_columns(db, terms, err);
}
