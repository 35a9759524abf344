/* SPDX-License-Identifier: Apache-2.0 */
/* Rows without their terms get them: opened, worked out, written if the row is still what was read. */
#include "rotate/index_internal.h"

#include "base/mem.h"
#include "base/number.h"
#include "rotate/row_place.h"

#include <stdio.h>
#include <string.h>

enum { FILL_ROWS = 500 };

struct fill {
    struct index_work *w;
    struct index *index;
    struct codec *codec;
    struct buf opened;
    struct row_place place;
    uint64_t done, moved, unreadable;
    char first[300]; /* what could not be opened first */
};

static int
fill_row(struct fill *f, struct db_term_row *row, struct stored *stored, struct coffer_error *err)
{
    const struct keyring_column *column = f->w->column;
    struct coffer_value value = {.type = COFFER_NULL};
    struct coffer_place place;
    int rc = COFFER_OK;

    if (row->sealed.ptr == NULL)
        return COFFER_OK;
    f->place.count = 0;
    for (size_t i = 0; rc == COFFER_OK && i < column->part_count; i++) {
        const struct db_column *part = db_table_column(f->w->table, column->parts[i].name);

        rc = part == NULL ? error_set(err, COFFER_E_NOTFOUND, "%s has no column %s any more", column->table, column->parts[i].name)
                          : row_place_add(&f->place, db_engine(f->w->s->database->db), part, &row->place[i], err);
    }
    place = (struct coffer_place){f->place.parts, f->place.count};
    buf_clear(&f->opened);
    buf_bytes(&f->opened, row->sealed); /* room for what is opened: never longer */
    if (rc == COFFER_OK)
        rc = buf_status(&f->opened, err);
    if (rc == COFFER_OK)
        rc = codec_open(f->codec, column, &place, row->sealed, f->opened.ptr, f->opened.len, &value, NULL, err);
    if (rc == COFFER_OK)
        rc = index_store(f->index, &value, stored, err);
    if (rc != COFFER_OK)
        return rc;
    memcpy(row->values, stored->values, f->w->terms.count * sizeof *row->values);
    row->tokens = stored->tokens.at;
    row->token_count = stored->tokens.count;
    return COFFER_OK;
}

static bool
of_the_row(int rc)
{
    return rc == COFFER_E_AUTH || rc == COFFER_E_KEY || rc == COFFER_E_FORMAT || rc == COFFER_E_TYPE || rc == COFFER_E_LIMIT ||
           rc == COFFER_E_RANGE;
}

static int
fill_batch(struct fill *f, struct db_term_rows *rows, struct coffer_error *err)
{
    struct stored *stored = mem_array(rows->count, sizeof *stored);
    int rc = stored == NULL ? error_nomem(err) : COFFER_OK;

    for (size_t i = 0; rc == COFFER_OK && i < rows->count; i++) {
        struct coffer_error why = {0};
        int failed = fill_row(f, &rows->rows[i], &stored[i], &why);

        if (failed == COFFER_OK)
            continue;
        if (!of_the_row(failed)) {
            rc = error_set(err, failed, "%s", why.message);
            break;
        }
        rows->rows[i].skip = true;
        if (f->unreadable++ == 0)
            (void)snprintf(f->first, sizeof f->first, "%.250s", why.message);
    }
    if (rc == COFFER_OK)
        rc = db_terms_write(f->w->s->database->db, &f->w->terms, rows, NULL, err);
    for (size_t i = 0; rc == COFFER_OK && i < rows->count; i++) {
        f->done += rows->rows[i].written;
        f->moved += !rows->rows[i].written && !rows->rows[i].skip;
    }
    for (size_t i = 0; stored != NULL && i < rows->count; i++)
        stored_wipe(&stored[i]);
    mem_free(stored);
    return rc;
}

/* Where a batch ended, kept beyond the batch. */
static int
keep_key(const struct coffer_value *key, size_t count, struct buf *storage, struct coffer_value *out, struct coffer_error *err)
{
    size_t at = 0;

    buf_clear(storage);
    for (size_t i = 0; i < count; i++)
        buf_add(storage, key[i].data, key[i].data != NULL ? key[i].len : 0);
    for (size_t i = 0; i < count; i++) {
        out[i] = key[i];
        if (key[i].data == NULL)
            continue;
        out[i].data = storage->ptr + at;
        at += key[i].len;
    }
    return buf_status(storage, err);
}

static int
fill_pass(struct fill *f, uint64_t *found, struct throttle *throttle, struct coffer_error *err)
{
    struct index_work *w = f->w;
    struct coffer_value after[DB_KEY_MAX];
    struct buf key;
    bool more = true, begun = false;
    int rc = COFFER_OK;

    *found = 0;
    buf_init(&key, 1 << 20);
    while (rc == COFFER_OK && more) {
        int64_t at = w->s->env->os->monotonic_ms(w->s->env->os);
        struct db_term_rows rows;

        if (stopped(w->s->env)) {
            rc = error_set(err, COFFER_E_CANCELLED, "stopped; run the same command again to go on");
            break;
        }
        rc = db_terms_read(w->s->database->db, &w->terms, w->place, w->column->part_count, begun ? after : NULL, FILL_ROWS, &rows, err);
        if (rc != COFFER_OK)
            break;
        more = rows.count == FILL_ROWS;
        if (rows.count > 0) {
            begun = true;
            rc = keep_key(rows.rows[rows.count - 1].key, w->table->key_count, &key, after, err);
            if (rc == COFFER_OK)
                rc = fill_batch(f, &rows, err);
        }
        *found += rows.count;
        say_progress(w->s->env, "fill", f->done, w->table->estimate_rows > f->done ? w->table->estimate_rows : f->done, 0, 0);
        if (rc == COFFER_OK && rows.count > 0)
            rc = throttle_after(throttle, rows.count, (double)(w->s->env->os->monotonic_ms(w->s->env->os) - at), w->s->env, err);
        db_term_rows_free(&rows);
        if (rc == COFFER_E_CONFLICT) { /* busy: the same rows again */
            rc = COFFER_OK;
            more = true;
            w->s->env->os->sleep_ms(w->s->env->os, 50);
        }
    }
    buf_wipe(&key);
    return rc;
}

static int
fill_open(struct index_work *w, struct fill *f, struct coffer_error *err)
{
    int rc;

    memset(f, 0, sizeof *f);
    f->w = w;
    buf_init(&f->opened, 64u << 20);
    row_place_init(&f->place);
    rc = session_codec(w->s, &f->codec, err);
    if (rc == COFFER_OK)
        rc = index_new(w->s->keyring, &w->def, w->column, &f->index, err);
    if (rc == COFFER_OK)
        rc = index_work_terms(w, index_version(f->index), err);
    return rc;
}

static void
fill_close(struct fill *f)
{
    index_free(f->index);
    buf_wipe(&f->opened);
    row_place_wipe(&f->place);
}

/* Until a pass finds nothing that it can do. */
int
index_fill(struct index_work *w, const char *step, struct coffer_error *err)
{
    struct throttle *throttle = NULL;
    struct fill f;
    uint64_t found = 1;
    unsigned passes = 0;
    int rc = fill_open(w, &f, err);

    if (rc == COFFER_OK)
        rc = throttle_new(&w->s->options->throttle, w->s->database, w->table, w->s->env->os, &throttle, err);
    while (rc == COFFER_OK && found > 0 && passes++ < 100) {
        uint64_t before = f.done;

        f.unreadable = f.moved = 0;
        rc = fill_pass(&f, &found, throttle, err);
        if (f.done == before && f.moved == 0)
            break;
    }
    if (rc == COFFER_OK && f.unreadable > 0)
        rc = error_set(err, COFFER_E_REFUSED, "%s of %s.%s got no terms, the first because: %s.  Repair them and run the same command again",
                       counted(f.unreadable, "row").text, w->column->table, w->column->name, f.first);
    if (rc == COFFER_OK)
        say(w->s->env, ROTATE_DONE, step, "%s filled in", counted(f.done, "row").text);
    throttle_free(throttle);
    fill_close(&f);
    return rc;
}
