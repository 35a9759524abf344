/* SPDX-License-Identifier: Apache-2.0 */
/* Rows whose terms are not as wanted, read and written. */
#include "db/terms_sql.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

int
db_terms_read(struct db *db, const struct db_terms *terms, const char *const *place, size_t place_count, const struct coffer_value *after,
              size_t limit, struct db_term_rows *out, struct coffer_error *err)
{
    const struct db_table *table = terms->table;
    struct statement st;
    struct db_result *result = NULL;
    int rc;

    memset(out, 0, sizeof *out);
    st_begin(&st, db);
    st_text(&st, "SELECT ");
    st_keys(&st, table);
    st_text(&st, ", ");
    st_name(&st, terms->sealed);
    for (size_t i = 0; i < place_count; i++) {
        st_text(&st, ", ");
        st_name(&st, place[i]);
    }
    st_text(&st, " FROM ");
    st_table(&st, table->name);
    st_text(&st, " WHERE ");
    st_needy(&st, terms);
    if (after != NULL) {
        st_text(&st, " AND (");
        st_keys(&st, table);
        st_text(&st, ") > (");
        for (size_t i = 0; i < table->key_count; i++) {
            st_text(&st, i > 0 ? ", " : "");
            st_key_param(&st, table, i, &after[i]);
        }
        st_text(&st, ")");
    }
    st_text(&st, " ORDER BY ");
    st_keys(&st, table);
    buf_format(&st.sql, " LIMIT %zu", limit);
    rc = st_run(&st, &result, err);
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
    st_text(st, "'{");
    for (size_t i = 0; i < row->token_count; i++)
        buf_format(&st->sql, "%s%lld", i > 0 ? "," : "", (long long)row->tokens[i]);
    st_text(st, "}'::bigint[]");
}

/* The row as it was read: its envelope, and still in need. */
static void
unchanged(struct statement *st, const struct db_terms *terms, const struct db_result *result, const struct db_term_row *row)
{
    st_key_is(st, terms->table, row->key);
    st_text(st, " AND ");
    st_name(st, terms->sealed);
    if (row->sealed.ptr == NULL) {
        st_text(st, " IS NULL");
    } else {
        st_text(st, " = ");
        st_param(st, &result->cells[(size_t)(row->place - result->cells) - 1]);
    }
    st_text(st, " AND ");
    st_needy(st, terms);
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
    st_begin(&st, db);
    st_text(&st, "SELECT 1 FROM ");
    st_table(&st, terms->table->name);
    st_text(&st, " WHERE ");
    unchanged(&st, terms, result, row);
    rc = st_run(&st, &there, err);
    if (rc != COFFER_OK)
        return rc;
    as_read = there->rows > 0;
    db_result_free(there);
    if (!as_read)
        return COFFER_OK;
    st_begin(&st, db);
    st_text(&st, "DELETE FROM ");
    st_name(&st, side);
    st_text(&st, " WHERE id = ");
    st_param(&st, &row->key[0]);
    rc = st_run(&st, &there, err);
    if (rc != COFFER_OK)
        return rc;
    if (there->affected == 0 && (row->sealed.ptr == NULL || row->token_count == 0))
        row->skip = true; /* a text without tokens: there is nothing that could say that it was seen */
    db_result_free(there);
    for (size_t i = 0; rc == COFFER_OK && row->sealed.ptr != NULL && i < row->token_count; i++) {
        st_begin(&st, db);
        st_text(&st, "INSERT INTO ");
        st_name(&st, side);
        st_text(&st, " (tok, id) VALUES (");
        st_param(&st, &(struct coffer_value){.type = COFFER_INT64, .i64 = row->tokens[i]});
        st_text(&st, ", ");
        st_param(&st, &row->key[0]);
        st_text(&st, ")");
        rc = st_run(&st, NULL, err);
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
    st_begin(&st, db);
    st_text(&st, "UPDATE ");
    st_table(&st, terms->table->name);
    st_text(&st, " SET ");
    for (size_t i = 0; i < terms->count; i++) {
        struct coffer_value value = terms_stored(db, terms->columns[i].form, &row->values[i]);

        st_text(&st, i > 0 ? ", " : "");
        st_name(&st, terms->columns[i].name);
        st_text(&st, " = ");
        if (row->sealed.ptr == NULL)
            st_text(&st, "NULL");
        else if (terms->columns[i].form == DB_TERM_TOKENS)
            token_array(&st, row);
        else
            st_param(&st, &value);
    }
    st_text(&st, " WHERE ");
    unchanged(&st, terms, result, row);
    rc = st_run(&st, &done, err);
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

    st_begin(&st, db);
    st_text(&st, "SELECT count(*) FROM (SELECT 1 FROM ");
    st_table(&st, terms->table->name);
    st_text(&st, " WHERE ");
    st_needy(&st, terms);
    buf_format(&st.sql, " LIMIT %llu) AS needy", (unsigned long long)limit);
    rc = st_run(&st, &result, err);
    if (rc != COFFER_OK)
        return rc;
    *count = (uint64_t)result->cells[0].i64;
    db_result_free(result);
    return COFFER_OK;
}
