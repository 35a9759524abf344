/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a batch: one short IMMEDIATE transaction, each row only if its stored bytes are what was
 * read.  First as many as one statement can take (walk_set.c), then the others one by one.
 *
 * A row's UPDATE compares the stored value by storage class and bytes, never by the column's
 * collation, and what was stored is read again in the transaction and compared with what was sent.
 * RETURNING would not do: a trigger may change the row after it was computed; and it is slower,
 * since SQLite opens a temporary table for each statement that has it.
 */
#include "db/sqlite/internal.h"

#include <string.h>

/* One column that a statement sets: its name, the new value, and the value that must still be
 * there. */
struct slot {
    const char *name;
    enum sqlite_affinity affinity;
    struct coffer_value now, before;
};

struct coffer_value
sqlite_stored_plain(const struct db_cell *cell)
{
    struct coffer_value value = {.type = cell->stored_class};

    if (value.type == COFFER_INT64)
        memcpy(&value.i64, cell->stored_plain.ptr, sizeof value.i64);
    else if (value.type == COFFER_FLOAT64)
        memcpy(&value.f64, cell->stored_plain.ptr, sizeof value.f64);
    else if (value.type != COFFER_NULL) {
        value.data = cell->stored_plain.ptr;
        value.len = cell->stored_plain.len;
    }
    return value;
}

struct coffer_value
sqlite_sealed_value(const struct db_cell_spec *spec, struct bytes sealed)
{
    struct coffer_value value = {.type = sealed.ptr == NULL ? COFFER_NULL
                                         : spec->text_form  ? COFFER_TEXT
                                                            : COFFER_BYTES,
                                 .data = sealed.ptr,
                                 .len = sealed.len};

    return value;
}

/* The columns that this row's statement sets, both of a companion's pair together: what one says
 * depends on the other. */
static size_t
row_slots(const struct sqlite_walk *w, const struct db_row *row, struct slot *slots,
          char (*texts)[64], uint64_t *mask)
{
    size_t i, n = 0;

    *mask = 0;
    for (i = 0; i < w->count; i++) {
        const struct db_cell_spec *spec = &w->wants[i].cell;
        const struct db_cell *cell = &row->cells[i];

        if (!cell->set_plain && !cell->set_sealed)
            continue;
        *mask |= (uint64_t)(spec->sealed != NULL ? 3 : 1) << 2 * i;
        if (spec->sealed == NULL) {
            slots[n] = (struct slot){.name = spec->plain,
                                     .affinity = w->affinities[i],
                                     .before = sqlite_stored_plain(cell)};
            if (cell->set_sealed && cell->new_sealed.ptr != NULL)
                slots[n].now = sqlite_sealed_value(spec, cell->new_sealed);
            else
                sqlite_encode(spec->type, w->affinities[i], &cell->new_plain, texts[i],
                              &slots[n].now);
            n++;
            continue;
        }
        slots[n] = (struct slot){
            .name = spec->plain, .affinity = w->affinities[i], .before = sqlite_stored_plain(cell)};
        if (cell->set_plain)
            sqlite_encode(spec->type, w->affinities[i], &cell->new_plain, texts[i], &slots[n].now);
        else
            slots[n].now = slots[n].before;
        n++;
        slots[n] =
            (struct slot){.name = spec->sealed, .before = sqlite_sealed_value(spec, cell->sealed)};
        slots[n].now =
            cell->set_sealed ? sqlite_sealed_value(spec, cell->new_sealed) : slots[n].before;
        n++;
    }
    return n;
}

/* UPDATE t SET c=?1 … WHERE k=? … AND typeof(c)=? AND c IS ? COLLATE BINARY …;
 * parameters in that order. */
static int
prepare_write(struct sqlite_walk *w, const struct slot *slots, size_t n, struct sqlite_write *write,
              struct coffer_error *err)
{
    size_t keys = w->table->key_count, i, p = 1;
    struct buf sql, again;
    int rc;

    buf_init(&sql, 1u << 20);
    buf_init(&again, 1u << 20);
    buf_str(&sql, "UPDATE ");
    sql_ident(&sql, w->table->name);
    buf_str(&sql, " SET ");
    buf_str(&again, "SELECT ");
    for (i = 0; i < n; i++) {
        buf_str(&sql, i > 0 ? ", " : "");
        sql_ident(&sql, slots[i].name);
        buf_format(&sql, "=?%zu", p++);
        buf_str(&again, i > 0 ? ", " : "");
        sql_ident(&again, slots[i].name);
    }
    buf_str(&sql, " WHERE ");
    buf_str(&again, " FROM ");
    sql_ident(&again, w->table->name);
    buf_str(&again, " WHERE ");
    for (i = 0; i < keys; i++) {
        buf_str(&sql, i > 0 ? " AND " : "");
        sql_ident(&sql, w->table->key[i]);
        buf_format(&sql, "=?%zu", p++);
        buf_str(&again, i > 0 ? " AND " : "");
        sql_ident(&again, w->table->key[i]);
        buf_format(&again, "=?%zu", i + 1);
    }
    for (i = 0; i < n; i++) {
        buf_str(&sql, " AND typeof(");
        sql_ident(&sql, slots[i].name);
        buf_format(&sql, ")=typeof(?%zu) AND ", p);
        sql_ident(&sql, slots[i].name);
        buf_format(&sql, " IS ?%zu COLLATE BINARY", p++);
    }
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = buf_status(&again, err);
    if (rc == COFFER_OK)
        rc = sqlite_prepare(w->walk.db, buf_cstr(&sql), &write->update, err);
    if (rc == COFFER_OK)
        rc = sqlite_prepare(w->walk.db, buf_cstr(&again), &write->again, err);
    buf_wipe(&sql);
    buf_wipe(&again);
    return rc;
}

static int
write_for(struct sqlite_walk *w, const struct slot *slots, size_t n, uint64_t mask,
          struct sqlite_write **out, struct coffer_error *err)
{
    struct sqlite_write *write;
    unsigned i;
    int rc;

    for (i = 0; i < 8; i++) {
        if (w->writes[i].mask == mask && w->writes[i].update != NULL) {
            *out = &w->writes[i];
            return COFFER_OK;
        }
    }
    write = &w->writes[w->next_write++ % 8];
    sqlite3_finalize(write->update);
    sqlite3_finalize(write->again);
    *write = (struct sqlite_write){.mask = mask};
    rc = prepare_write(w, slots, n, write, err);
    *out = write;
    return rc;
}

/* Is what column `column` of the current row holds what was sent?  Numbers may change class by
 * affinity and mean the same. */
static bool
came_back(sqlite3_stmt *stmt, int column, enum sqlite_affinity affinity,
          const struct coffer_value *sent)
{
    struct coffer_value got;
    char text[64];

    sqlite_column(stmt, column, &got);
    if (got.type == sent->type && value_borrows(&got))
        return bytes_equal(bytes_of(got.data, got.len), bytes_of(sent->data, sent->len));
    if (got.type == sent->type)
        return got.type == COFFER_FLOAT64 ? memcmp(&got.f64, &sent->f64, sizeof got.f64) == 0
                                          : got.i64 == sent->i64;
    /* A REAL column keeps 5.0 as the integer 5, and RETURNING shows it as it is kept. */
    if (sent->type == COFFER_FLOAT64 && got.type == COFFER_INT64)
        return affinity == AFFINITY_REAL && (double)got.i64 == sent->f64;
    if (sent->type == COFFER_TEXT && (got.type == COFFER_INT64 || got.type == COFFER_FLOAT64)) {
        return sqlite_number_text(&got, text) &&
               bytes_equal(bytes_str(text), bytes_of(sent->data, sent->len));
    }
    return false;
}

static int
mangled(struct sqlite_walk *w, const char *column, struct coffer_error *err)
{
    struct buf names;
    int rc;

    sqlite_rollback(w->walk.db);
    buf_init(&names, 300);
    rc = sqlite_trigger_names(w->walk.db, w->table, &names, err);
    if (rc == COFFER_OK)
        rc = error_set(err, COFFER_E_MANGLED,
                       "%s.%s: the database stored something other than what was sent; nothing was "
                       "changed. Triggers of this "
                       "table: %s. Change the trigger so that it leaves sealed values alone, and "
                       "run the command again",
                       w->table->name, column, names.len > 0 ? buf_cstr(&names) : "none");
    buf_wipe(&names);
    return rc;
}

static int
write_row(struct sqlite_walk *w, struct db_row *row, struct coffer_error *err)
{
    struct slot slots[64];
    char texts[32][64];
    struct sqlite_write *write = NULL;
    sqlite3_stmt *shown;
    size_t keys = w->table->key_count, n, i;
    uint64_t mask;
    int step, p = 1, rc;

    n = row_slots(w, row, slots, texts, &mask);
    if (n == 0)
        return COFFER_OK;
    rc = write_for(w, slots, n, mask, &write, err);
    if (rc != COFFER_OK)
        return rc;
    for (i = 0; i < n; i++)
        sqlite_bind(write->update, p++, &slots[i].now);
    for (i = 0; i < keys; i++)
        sqlite_bind(write->update, p++, &row->key[i]);
    for (i = 0; i < n; i++)
        sqlite_bind(write->update, p++, &slots[i].before);
    step = sqlite3_step(write->update);
    if (step != SQLITE_ROW && step != SQLITE_DONE) {
        rc = sqlite_failed(w->walk.db, err, "updating a row");
        sqlite3_reset(write->update);
        return rc;
    }
    shown = write->update;
    row->outcome = sqlite3_changes64(handle_of(w->walk.db)) == 1 ? DB_ROW_DONE : DB_ROW_MOVED;
    if (row->outcome == DB_ROW_DONE) {
        shown = write->again;
        for (i = 0; i < keys; i++)
            sqlite_bind(shown, (int)i + 1, &row->key[i]);
        if (sqlite3_step(shown) !=
            SQLITE_ROW) /* the trigger moved or deleted the row: not what was sent */
            rc = COFFER_E_MANGLED;
    }
    for (i = 0; rc == COFFER_OK && row->outcome == DB_ROW_DONE && i < n; i++) {
        if (!came_back(shown, (int)i, slots[i].affinity, &slots[i].now))
            rc = COFFER_E_MANGLED;
    }
    sqlite3_reset(write->update);
    if (write->again != NULL)
        sqlite3_reset(write->again);
    return rc == COFFER_E_MANGLED ? mangled(w, slots[i > 0 && i <= n ? i - 1 : 0].name, err) : rc;
}

static int
check_guard(struct db *db, const struct db_guard *guard, struct coffer_error *err)
{
    struct db_result *result = NULL;
    bool open;
    int rc;

    if (guard == NULL || guard->sql == NULL)
        return COFFER_OK;
    rc = sqlite_run(db, guard->sql, guard->params, guard->count, &result, err);
    open = rc == COFFER_OK && result->rows > 0;
    db_result_free(result);
    if (rc == COFFER_OK && !open) {
        sqlite_rollback(db);
        rc = error_set(err, COFFER_E_CANCELLED,
                       "the rotation was paused, aborted or moved on; nothing was written");
    }
    return rc;
}

int
sqlite_walk_write(struct db_walk *walk, struct db_batch *batch, const struct db_guard *guard,
                  unsigned wait_ms, const char *rotation_id, struct coffer_error *err)
{
    struct sqlite_walk *w = (struct sqlite_walk *)walk;
    size_t i;
    int rc = sqlite_begin(walk->db, DB_TXN_WRITE, err);

    if (rc == COFFER_OK)
        rc = check_guard(walk->db, guard, err);
    for (i = 0; i < batch->count; i++)
        batch->rows[i].outcome = DB_ROW_UNTOUCHED;
    if (rc == COFFER_OK)
        rc = sqlite_set_write(w, batch, err);
    for (i = 0; rc == COFFER_OK && i < batch->count; i++)
        if (batch->rows[i].outcome == DB_ROW_UNTOUCHED)
            rc = write_row(w, &batch->rows[i], err);
    if (rc == COFFER_OK && guard != NULL && guard->rehearse)
        sqlite_rollback(walk->db);
    else if (rc == COFFER_OK)
        rc = sqlite_commit(walk->db, err);
    if (rc != COFFER_OK)
        sqlite_rollback(walk->db);
    return rc;
}
