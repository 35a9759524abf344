/* SPDX-License-Identifier: Apache-2.0 */
/* Reading rows that need work, in key order. */
#include "base/mem.h"
#include "db/sqlite/internal.h"

#include <stdio.h>
#include <string.h>

void
walk_keys(struct buf *sql, const struct sqlite_walk *w)
{
    size_t i;

    for (i = 0; i < w->table->key_count; i++) {
        if (i > 0)
            buf_str(sql, ", ");
        sql_ident(sql, w->table->key[i]);
    }
}

void
walk_compare_keys(struct buf *sql, const struct sqlite_walk *w, const char *operation, size_t first)
{
    size_t i;

    buf_str(sql, "(");
    walk_keys(sql, w);
    buf_format(sql, ") %s (", operation);
    for (i = 0; i < w->table->key_count; i++)
        buf_format(sql, "%s?%zu", i > 0 ? ", " : "", first + i);
    buf_str(sql, ")");
}

static void
forget_writes(struct sqlite_walk *w)
{
    size_t i;

    for (i = 0; i < 8; i++) {
        sqlite3_finalize(w->writes[i].update);
        sqlite3_finalize(w->writes[i].again);
        w->writes[i] = (struct sqlite_write){0};
    }
}

int
sqlite_walk_open(struct db *db, const struct db_table *table, const struct db_want *wants,
                 size_t count, struct db_walk **out, struct coffer_error *err)
{
    struct sqlite_walk *w = mem_alloc(sizeof *w);
    size_t i;
    int rc = COFFER_OK;

    *out = NULL;
    if (w == NULL)
        return error_nomem(err);
    if (count > 32) {
        mem_free(w);
        return error_set(err, COFFER_E_LIMIT, "more than 32 protected columns in table %s",
                         table->name);
    }
    w->walk.db = db;
    w->table = table;
    w->wants = wants;
    w->count = count;
    for (i = 0; rc == COFFER_OK && i < count; i++) {
        const struct db_column *column = db_table_column(table, wants[i].cell.plain);

        if (column == NULL)
            rc = error_set(err, COFFER_E_NOTFOUND, "table %s has no column %s", table->name,
                           wants[i].cell.plain);
        else
            w->affinities[i] = sqlite_affinity_of(column->sql_type);
    }
    if (rc == COFFER_OK)
        rc = walk_functions_add(w, err);
    /* Others wait while a commit does; nothing is lost but work, since WAL keeps the order. */
    if (rc == COFFER_OK)
        rc = sqlite_relax(db, err);
    if (rc != COFFER_OK) {
        sqlite_walk_close(&w->walk);
        return rc;
    }
    *out = &w->walk;
    return COFFER_OK;
}

void
sqlite_walk_close(struct db_walk *walk)
{
    struct sqlite_walk *w = (struct sqlite_walk *)walk;
    size_t i;

    for (i = 0; i < 4; i++)
        sqlite3_finalize(w->read[i]);
    for (i = 0; i < 2; i++)
        sqlite3_finalize(w->bound[i]);
    forget_writes(w);
    sqlite_set_forget(w);
    sqlite_unrelax(walk->db);
    walk_functions_remove(w);
    mem_free(w);
}

static void
bind_keys(sqlite3_stmt *stmt, size_t first, const struct coffer_value *keys, size_t count)
{
    size_t i;

    for (i = 0; keys != NULL && i < count; i++)
        sqlite_bind(stmt, (int)(first + i), &keys[i]);
}

int
sqlite_walk_bound(struct db_walk *walk, const struct coffer_value *after, uint64_t rows,
                  struct db_result **key, bool *found, struct coffer_error *err)
{
    struct sqlite_walk *w = (struct sqlite_walk *)walk;
    sqlite3_stmt **slot = &w->bound[after != NULL];
    struct coffer_value cells[DB_KEY_MAX];
    size_t keys = w->table->key_count, i;
    int step, rc = COFFER_OK;

    if (*slot == NULL) {
        struct buf sql;

        buf_init(&sql, 1u << 16);
        buf_str(&sql, "SELECT ");
        walk_keys(&sql, w);
        buf_str(&sql, " FROM ");
        sql_ident(&sql, w->table->name);
        if (after != NULL) {
            buf_str(&sql, " WHERE ");
            walk_compare_keys(&sql, w, ">", 1);
        }
        buf_str(&sql, " ORDER BY ");
        walk_keys(&sql, w);
        buf_format(&sql, " LIMIT 1 OFFSET ?%zu", keys + 1);
        rc = buf_status(&sql, err);
        if (rc == COFFER_OK)
            rc = sqlite_prepare(walk->db, buf_cstr(&sql), slot, err);
        buf_wipe(&sql);
    }
    if (rc != COFFER_OK)
        return rc;
    bind_keys(*slot, 1, after, keys);
    sqlite3_bind_int64(*slot, (int)keys + 1, (sqlite3_int64)(rows > 0 ? rows - 1 : 0));
    step = sqlite3_step(*slot);
    *found = step == SQLITE_ROW;
    if (step == SQLITE_ROW) {
        for (i = 0; i < keys; i++)
            sqlite_column(*slot, (int)i, &cells[i]);
        rc = result_new(keys, key, err);
        if (rc == COFFER_OK)
            rc = result_add(*key, cells, err);
        if (rc == COFFER_OK)
            rc = result_done(*key, err);
    } else if (step != SQLITE_DONE) {
        rc = sqlite_failed(walk->db, err, "looking for the end of a chunk");
    }
    sqlite3_reset(*slot);
    return rc;
}

/* "plain1, sealed1, plain2, …" */
static void
cell_columns(struct buf *sql, const struct sqlite_walk *w)
{
    size_t i;

    for (i = 0; i < w->count; i++) {
        buf_str(sql, i > 0 ? ", " : "");
        sql_ident(sql, w->wants[i].cell.plain);
        if (w->wants[i].cell.sealed != NULL) {
            buf_str(sql, ", ");
            sql_ident(sql, w->wants[i].cell.sealed);
        }
    }
}

/* Keys, then each cell's columns. */
static int
prepare_read(struct sqlite_walk *w, bool after, bool until, sqlite3_stmt **out,
             struct coffer_error *err)
{
    size_t keys = w->table->key_count;
    struct buf sql;
    int rc;

    buf_init(&sql, 2u << 20);
    buf_str(&sql, "SELECT ");
    walk_keys(&sql, w);
    buf_str(&sql, ", ");
    cell_columns(&sql, w);
    buf_str(&sql, " FROM ");
    sql_ident(&sql, w->table->name);
    buf_format(&sql, " WHERE coffer_walk%u_wants(", w->number);
    cell_columns(&sql, w);
    buf_str(&sql, ")");
    if (after) {
        buf_str(&sql, " AND ");
        walk_compare_keys(&sql, w, ">", 1);
    }
    if (until) {
        buf_str(&sql, " AND ");
        walk_compare_keys(&sql, w, "<=", keys + 1);
    }
    buf_str(&sql, " ORDER BY ");
    walk_keys(&sql, w);
    buf_format(&sql, " LIMIT ?%zu", 2 * keys + 1);
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = sqlite_prepare(w->walk.db, buf_cstr(&sql), out, err);
    buf_wipe(&sql);
    return rc;
}

/* In place, one stored value is given as what it can be; with a companion, each column is what it
 * is. */
static void
take_cell(sqlite3_stmt *stmt, struct db_batch *batch, const struct db_want *want,
          enum sqlite_affinity affinity, int *column, struct db_cell *cell)
{
    struct coffer_value stored, sealed = {0};
    bool in_place = want->cell.sealed == NULL;
    char text[64];

    sqlite_column(stmt, (*column)++, &stored);
    cell->stored_class = stored.type;
    if (in_place) {
        if (stored.type == (want->cell.text_form ? COFFER_TEXT : COFFER_BYTES))
            sealed = stored;
    } else {
        sqlite_column(stmt, (*column)++, &sealed);
    }
    if (sealed.type == COFFER_BYTES || sealed.type == COFFER_TEXT) {
        storage_add(&batch->storage, sealed.data, sealed.len, &cell->sealed.ptr);
        cell->sealed.len = sealed.len;
    }
    if (stored.type == COFFER_NULL)
        return;
    if (sqlite_decode(want->cell.type, affinity, &stored, text, &cell->plain))
        value_store(&batch->storage, &cell->plain);
    else if (in_place && sealed.type != COFFER_NULL)
        cell->plain = (struct coffer_value){0};
    else
        cell->plain_unsuitable = true;
    if (!value_borrows(&stored)) { /* numbers: their eight bytes */
        int64_t bits;

        memcpy(&bits,
               stored.type == COFFER_FLOAT64 ? (const void *)&stored.f64
                                             : (const void *)&stored.i64,
               sizeof bits);
        storage_add(&batch->storage, &bits, sizeof bits, &cell->stored_plain.ptr);
        cell->stored_plain.len = sizeof bits;
    } else if (in_place && sealed.type != COFFER_NULL) {
        cell->stored_plain = cell->sealed; /* the same bytes, once */
    } else {
        storage_add(&batch->storage, stored.data, stored.len, &cell->stored_plain.ptr);
        cell->stored_plain.len = stored.len;
    }
    if (cell->plain_unsuitable)
        cell->plain = (struct coffer_value){0};
}

static int
take_row(struct sqlite_walk *w, sqlite3_stmt *stmt, struct db_batch *batch,
         struct coffer_error *err)
{
    struct db_row *row = &batch->rows[batch->count];
    int column = 0;
    size_t i;

    batch->count++;
    for (i = 0; i < batch->key_count; i++) {
        sqlite_column(stmt, column++, &row->key[i]);
        value_store(&batch->storage, &row->key[i]);
    }
    for (i = 0; i < w->count; i++)
        take_cell(stmt, batch, &w->wants[i], w->affinities[i], &column, &row->cells[i]);
    return buf_status(&batch->storage, err);
}

static void
fix_batch(struct db_batch *batch)
{
    size_t r, i;

    for (r = 0; r < batch->count; r++) {
        struct db_row *row = &batch->rows[r];

        for (i = 0; i < batch->key_count; i++)
            storage_fix(&batch->storage, &row->key[i].data);
        for (i = 0; i < batch->cell_count; i++) {
            storage_fix(&batch->storage, &row->cells[i].plain.data);
            storage_fix(&batch->storage, &row->cells[i].sealed.ptr);
            storage_fix(&batch->storage, &row->cells[i].stored_plain.ptr);
        }
    }
}

int
sqlite_walk_read(struct db_walk *walk, const struct coffer_value *after,
                 const struct coffer_value *until, size_t limit, struct db_batch **out,
                 struct coffer_error *err)
{
    struct sqlite_walk *w = (struct sqlite_walk *)walk;
    sqlite3_stmt **slot = &w->read[(after != NULL) | (until != NULL) << 1];
    size_t keys = w->table->key_count;
    struct db_batch *batch = NULL;
    int step = SQLITE_DONE, rc = COFFER_OK;

    *out = NULL;
    if (*slot == NULL)
        rc = prepare_read(w, after != NULL, until != NULL, slot, err);
    if (rc == COFFER_OK)
        rc = batch_new(keys, w->table->primary_not_null, w->count, limit, &batch, err);
    if (rc != COFFER_OK)
        return rc;
    bind_keys(*slot, 1, after, keys);
    bind_keys(*slot, keys + 1, until, keys);
    sqlite3_bind_int64(*slot, (int)(2 * keys + 1), (sqlite3_int64)limit);
    while (rc == COFFER_OK && (step = sqlite3_step(*slot)) == SQLITE_ROW)
        rc = take_row(w, *slot, batch, err);
    if (rc == COFFER_OK && step != SQLITE_DONE)
        rc = sqlite_failed(walk->db, err, "reading rows to work on");
    sqlite3_reset(
        *slot); /* ends the read transaction: no lock is held while the rows are worked on */
    if (rc != COFFER_OK) {
        db_batch_free(batch);
        return rc;
    }
    batch->end = batch->count < limit;
    fix_batch(batch);
    *out = batch;
    return COFFER_OK;
}
