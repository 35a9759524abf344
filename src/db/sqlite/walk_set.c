/* SPDX-License-Identifier: Apache-2.0 */
/* Writing most of a batch by one statement over its range of keys (walk_functions.c): a statement a
 * row costs three times as much.
 *
 * It takes the rows whose columns to be set are those of the first one and whose new values are
 * envelopes or NULL: SQLite keeps these exactly as they are sent, so that nothing needs to be read
 * again, unless a trigger interferes.  All other rows, and those that were not found as they were
 * read, are left for walk_write.c to write one by one.
 */
#include "db/sqlite/internal.h"

#include <string.h>

static uint64_t
row_mask(const struct sqlite_walk *w, const struct db_row *row)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < w->count; i++)
        if (row->cells[i].set_plain || row->cells[i].set_sealed)
            mask |= (uint64_t)(w->wants[i].cell.sealed != NULL ? 3 : 1) << 2 * i;
    return mask;
}

bool
sqlite_set_eligible(const struct sqlite_walk *w, const struct db_row *row)
{
    if (row_mask(w, row) != w->set.mask)
        return false;
    for (size_t i = 0; i < w->count; i++)
        if (row->cells[i].set_plain && row->cells[i].new_plain.type != COFFER_NULL)
            return false;
    return true;
}

void
sqlite_set_values(const struct db_row *row, const struct sqlite_set_slot *slot,
                  struct coffer_value *before, struct coffer_value *now)
{
    const struct db_cell *cell = &row->cells[slot->cell];
    bool in_place = slot->spec->sealed == NULL;

    if (slot->sealed) {
        *before = sqlite_sealed_value(slot->spec, cell->sealed);
        *now = cell->set_sealed ? sqlite_sealed_value(slot->spec, cell->new_sealed) : *before;
        return;
    }
    *before = sqlite_stored_plain(cell);
    *now = *before;
    if (in_place && cell->set_sealed && cell->new_sealed.ptr != NULL)
        *now = sqlite_sealed_value(slot->spec, cell->new_sealed);
    else if (cell->set_plain)
        *now = (struct coffer_value){0};
}

/* The fence only refuses; whatever else runs on an update might change what was sent. */
static int
triggers_interfere(struct sqlite_walk *w, bool *yes, struct coffer_error *err)
{
    int step, rc = COFFER_OK;

    if (w->set.triggers == NULL)
        rc = sqlite_prepare(w->walk.db,
                            "SELECT 1 FROM sqlite_master WHERE type='trigger' AND tbl_name=?1 "
                            "COLLATE NOCASE AND name NOT GLOB 'coffer_zzz_fence_*' LIMIT 1",
                            &w->set.triggers, err);
    if (rc != COFFER_OK)
        return rc;
    sqlite3_bind_text(w->set.triggers, 1, w->table->name, -1, SQLITE_STATIC);
    step = sqlite3_step(w->set.triggers);
    *yes = step == SQLITE_ROW;
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        rc = sqlite_failed(w->walk.db, err, "looking for triggers");
    sqlite3_reset(w->set.triggers);
    return rc;
}

static void
slots_of(struct sqlite_walk *w)
{
    struct sqlite_set *set = &w->set;

    set->slot_count = 0;
    for (size_t i = 0; i < w->count; i++) {
        const struct db_cell_spec *spec = &w->wants[i].cell;

        if (set->mask & (uint64_t)1 << 2 * i)
            set->slots[set->slot_count++] = (struct sqlite_set_slot){spec, i, false};
        if (set->mask & (uint64_t)2 << 2 * i)
            set->slots[set->slot_count++] = (struct sqlite_set_slot){spec, i, true};
    }
}

static const char *
slot_name(const struct sqlite_set_slot *slot)
{
    return slot->sealed ? slot->spec->sealed : slot->spec->plain;
}

/* UPDATE t SET c=put(0, k), … WHERE (k) >= (?1) AND (k) <= (?2) AND pick(k, c, …) */
static int
prepare_set(struct sqlite_walk *w, struct coffer_error *err)
{
    struct sqlite_set *set = &w->set;
    struct buf sql;
    int rc;

    sqlite3_finalize(set->update);
    set->update = NULL;
    slots_of(w);
    set->prepared = set->mask;
    buf_init(&sql, 1u << 20);
    buf_str(&sql, "UPDATE ");
    sql_ident(&sql, w->table->name);
    buf_str(&sql, " SET ");
    for (size_t i = 0; i < set->slot_count; i++) {
        buf_str(&sql, i > 0 ? ", " : "");
        sql_ident(&sql, slot_name(&set->slots[i]));
        buf_format(&sql, "=coffer_walk%u_put(%zu, ", w->number, i);
        walk_keys(&sql, w);
        buf_str(&sql, ")");
    }
    buf_str(&sql, " WHERE ");
    walk_compare_keys(&sql, w, ">=", 1);
    buf_str(&sql, " AND ");
    walk_compare_keys(&sql, w, "<=", w->table->key_count + 1);
    buf_format(&sql, " AND coffer_walk%u_pick(", w->number);
    walk_keys(&sql, w);
    for (size_t i = 0; i < set->slot_count; i++) {
        buf_str(&sql, ", ");
        sql_ident(&sql, slot_name(&set->slots[i]));
    }
    buf_str(&sql, ")");
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = sqlite_prepare(w->walk.db, buf_cstr(&sql), &set->update, err);
    buf_wipe(&sql);
    return rc;
}

static int
run_set(struct sqlite_walk *w, struct db_batch *batch, size_t first, size_t last,
        struct coffer_error *err)
{
    struct sqlite_set *set = &w->set;
    size_t keys = w->table->key_count, i, picked = 0;
    int step, rc = COFFER_OK;

    for (i = 0; i < keys; i++) {
        sqlite_bind(set->update, (int)i + 1, &batch->rows[first].key[i]);
        sqlite_bind(set->update, (int)(keys + i) + 1, &batch->rows[last].key[i]);
    }
    set->batch = batch;
    set->at = set->put_at = first;
    step = sqlite3_step(set->update);
    set->batch = NULL;
    for (i = first; i <= last; i++)
        picked += batch->rows[i].outcome == DB_ROW_DONE;
    if (step != SQLITE_DONE)
        rc = sqlite_failed(w->walk.db, err, "updating a batch of rows");
    else if (sqlite3_changes64(handle_of(w->walk.db)) != (sqlite3_int64)picked)
        rc = error_set(
            err, COFFER_E_MANGLED,
            "table %s: the database changed another number of rows than it was asked to; "
            "nothing was changed. Is there a trigger that ignores updates? Remove it, and run "
            "the command again",
            w->table->name);
    sqlite3_reset(set->update);
    return rc;
}

int
sqlite_set_write(struct sqlite_walk *w, struct db_batch *batch, struct coffer_error *err)
{
    size_t first = batch->count, last = 0, count = 0, i;
    bool interfere = true;
    int rc;

    for (i = 0; i < batch->count; i++) {
        if (first == batch->count)
            w->set.mask = row_mask(w, &batch->rows[i]);
        if (w->set.mask == 0 || !sqlite_set_eligible(w, &batch->rows[i]))
            continue;
        first = first < i ? first : i;
        last = i;
        count++;
    }
    if (count == 0)
        return COFFER_OK;
    rc = triggers_interfere(w, &interfere, err);
    if (rc != COFFER_OK || interfere)
        return rc;
    if (w->set.update == NULL || w->set.prepared != w->set.mask)
        rc = prepare_set(w, err);
    if (rc == COFFER_OK)
        rc = run_set(w, batch, first, last, err);
    return rc;
}

void
sqlite_set_forget(struct sqlite_walk *w)
{
    sqlite3_finalize(w->set.update);
    sqlite3_finalize(w->set.triggers);
    w->set.update = w->set.triggers = NULL;
}
