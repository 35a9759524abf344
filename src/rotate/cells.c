/* SPDX-License-Identifier: Apache-2.0 */
/* What to write for one row: the heart of every walk.
 *
 * First each cell is read as its phase says (cell_read): which of the two stored forms is the
 * truth, and whether the other one agrees.  Then it is given the form that the goal asks for
 * (cell_seal, cell_plain).  A new envelope is opened again in memory and compared with the value
 * before it is set.  Whenever a companion's plaintext is set, its envelope is set too, afresh: the
 * shadow trigger takes an unchanged envelope beside a changed plaintext for an old one and removes
 * it.
 */
#include "base/mem.h"
#include "base/secret.h"
#include "rotate/internal.h"

#include <stdio.h>
#include <string.h>

/* One cell under work.  `truth` borrows from the row, `decoded` or `opened`. */
struct work {
    struct codec *codec;
    const struct walk_column *column;
    struct coffer_place place;
    struct db_cell *cell;
    const struct rotate_options *options;
    struct buf *storage;               /* of the row */
    struct buf decoded, opened, again; /* kept from row to row, wiped at the end */
    bool has_plain, has_sealed;        /* what is stored, once it is known */
    bool agree;                        /* both are there and equal */
    uint32_t key_id;                   /* of the envelope */
    struct coffer_value truth;
    size_t sealed_at, sealed_len; /* in storage */
    size_t plain_at;
    char reason[300]; /* why it goes to quarantine; "" */
    struct coffer_error error;
};

static bool
in_place(const struct work *w)
{
    return w->column->want.cell.sealed == NULL;
}

/* The failures of one cell, which quarantine it; all others stop the walk. */
static bool
cell_failure(int rc)
{
    return rc == COFFER_E_AUTH || rc == COFFER_E_KEY || rc == COFFER_E_FORMAT ||
           rc == COFFER_E_TYPE || rc == COFFER_E_LIMIT;
}

/* Exactly the same value: value_equal() compares encodings, and it is the encoding that is checked
 * here. */
static bool
identical(const struct coffer_value *a, const struct coffer_value *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case COFFER_NULL:
        return true;
    case COFFER_BOOL:
    case COFFER_INT64:
    case COFFER_DATE:
    case COFFER_TIMESTAMP:
        return a->i64 == b->i64;
    case COFFER_FLOAT64:
        return memcmp(&a->f64, &b->f64, sizeof a->f64) == 0;
    default:
        return bytes_equal(bytes_of(a->data, a->len), bytes_of(b->data, b->len));
    }
}

/* `len` bytes at the end of `buf`, to be written by somebody else. */
static int
room(struct buf *buf, size_t len, uint8_t **out, struct coffer_error *err)
{
    size_t need;

    if (!size_add(buf->len, len, &need) || need > buf->max)
        return error_set(err, COFFER_E_LIMIT, "a row of more than %zu bytes", buf->max);
    if (buf->ptr == NULL || need > buf->size) {
        size_t size = need < buf->max / 2 ? 2 * need : buf->max;
        uint8_t *grown = mem_grow(buf->ptr, size);

        if (grown == NULL)
            return error_nomem(err);
        buf->ptr = grown;
        buf->size = size;
    }
    *out = buf->ptr + buf->len;
    return COFFER_OK;
}

static int
open_into(struct work *w, struct bytes sealed, struct buf *buf, struct coffer_value *value,
          uint32_t *key_id)
{
    uint8_t *out = NULL;
    int rc;

    buf_clear(buf);
    rc = room(buf, sealed.len, &out, &w->error);
    if (rc != COFFER_OK)
        return rc;
    buf->len = sealed.len;
    *key_id = 0;
    return codec_open(w->codec, w->column->column, &w->place, sealed, out, sealed.len, value,
                      key_id, &w->error);
}

static int
refuse(struct work *w, const char *what)
{
    snprintf(w->reason, sizeof w->reason, "%s", what);
    return COFFER_OK;
}

/* ---- reading ---- */

/* The plaintext as it is to be protected: through the decoder, where there is one and we are
 * sealing. */
static int
plain_truth(struct work *w, struct coffer_value *out, struct coffer_error *err)
{
    int rc;

    *out = w->cell->plain;
    if (w->options == NULL || w->options->decode == NULL ||
        (w->column->want.goal != DB_GOAL_SEAL && w->column->want.goal != DB_GOAL_SEAL_BESIDE))
        return COFFER_OK;
    rc = w->options->decode(w->options->decode_arg, w->column->column, &w->cell->plain, &w->decoded,
                            out, &w->error);
    if (cell_failure(rc)) {
        snprintf(w->reason, sizeof w->reason, "the decoder refused it: %.250s", w->error.message);
        return COFFER_OK;
    }
    if (rc == COFFER_OK && out->type != w->column->column->type)
        return refuse(w, "the decoder gave a value of another type than the column's");
    return rc == COFFER_OK ? COFFER_OK : error_set(err, rc, "decoder: %s", w->error.message);
}

static int
unopenable(struct work *w, int rc)
{
    snprintf(w->reason, sizeof w->reason, "the envelope does not open (%s), key %08x",
             coffer_status_name(rc), w->key_id);
    return COFFER_OK;
}

/* In place the class of the stored value may fit both: then what opens at its place is an envelope.
 */
static int
read_in_place(struct work *w, struct coffer_error *err)
{
    int rc;

    if (!w->has_sealed)
        return plain_truth(w, &w->truth, err);
    rc = open_into(w, w->cell->sealed, &w->opened, &w->truth, &w->key_id);
    if (rc == COFFER_OK) {
        w->has_plain = false;
        return COFFER_OK;
    }
    if (!cell_failure(rc))
        return error_set(err, rc, "%s", w->error.message);
    if (!w->has_plain || w->column->column->phase == COFFER_SEALED)
        return unopenable(w, rc);
    w->has_sealed = false;
    return plain_truth(w, &w->truth, err);
}

static int
read_companion(struct work *w, struct coffer_error *err)
{
    struct coffer_value plain = {0};
    int phase = w->column->column->phase;
    int rc;

    if (w->has_sealed) {
        rc = open_into(w, w->cell->sealed, &w->opened, &w->truth, &w->key_id);
        if (cell_failure(rc))
            return unopenable(w, rc);
        if (rc != COFFER_OK)
            return error_set(err, rc, "%s", w->error.message);
    }
    if (!w->has_plain)
        return COFFER_OK;
    rc = plain_truth(w, &plain, err);
    if (rc != COFFER_OK || w->reason[0] != '\0')
        return rc;
    w->agree = w->has_sealed && identical(&plain, &w->truth);
    if (!w->has_sealed || phase == COFFER_SHADOW || phase == COFFER_OFF)
        w->truth = plain;
    else if (!w->agree)
        return refuse(w, "plaintext and envelope differ");
    return COFFER_OK;
}

/* ---- giving it the form of the goal ---- */

/* Seal the truth under the target key at the end of the row's storage, and see that it opens to the
 * same value. */
static int
seal_truth(struct work *w, struct coffer_error *err)
{
    const struct keyring_column *column = w->column->column;
    struct coffer_value back = {0};
    struct field_def def;
    uint32_t key_id;
    uint8_t *out = NULL;
    size_t max;
    int rc;

    codec_def(column, &def);
    max = field_sealed_max(&def, w->truth.len + 16);
    rc = room(w->storage, max, &out, err);
    if (rc != COFFER_OK)
        return rc;
    rc = codec_seal(w->codec, column, w->column->want.target_key, &w->place, &w->truth, out, max,
                    &w->sealed_len, &w->error);
    if (rc == COFFER_E_TYPE || rc == COFFER_E_LIMIT) {
        snprintf(w->reason, sizeof w->reason, "it cannot be encoded: %.260s", w->error.message);
        return COFFER_OK;
    }
    if (rc != COFFER_OK)
        return error_set(err, rc, "%s", w->error.message);

    rc = open_into(w, bytes_of(out, w->sealed_len), &w->again, &back, &key_id);
    if (cell_failure(rc) || (rc == COFFER_OK && !identical(&back, &w->truth)))
        return refuse(w, "the value does not survive being encoded and decoded");
    if (rc != COFFER_OK)
        return error_set(err, rc, "%s", w->error.message);
    w->sealed_at = w->storage->len;
    w->storage->len += w->sealed_len;
    w->cell->set_sealed = true;
    return COFFER_OK;
}

static int
cell_seal(struct work *w, struct coffer_error *err)
{
    bool fresh = !w->has_sealed || w->key_id != w->column->want.target_key;
    bool clear = !in_place(w) && w->column->want.goal == DB_GOAL_SEAL && w->has_plain;
    int rc;

    /* In shadow the plaintext won over an envelope that differs. */
    if (w->has_plain && w->has_sealed && !w->agree)
        fresh = true;
    if (!fresh && !clear)
        return COFFER_OK;
    rc = seal_truth(w, err);
    if (rc == COFFER_OK && w->cell->set_sealed && clear)
        w->cell->set_plain = true; /* new_plain is NULL */
    return rc;
}

static int
cell_plain(struct work *w, struct coffer_error *err)
{
    bool beside = w->column->want.goal == DB_GOAL_PLAIN_BESIDE && !in_place(w);
    bool restore = !w->has_plain;
    uint8_t *out = NULL;
    int rc = COFFER_OK;

    if (beside && (restore || !w->agree)) {
        rc = seal_truth(w, err);
        if (rc != COFFER_OK || w->reason[0] != '\0')
            return rc;
    }
    if (!beside && !in_place(w) && w->has_sealed)
        w->cell->set_sealed = true; /* new_sealed is NULL */
    if (!restore)
        return COFFER_OK;
    if (w->truth.len != 0) {
        rc = room(w->storage, w->truth.len, &out, err);
        if (rc != COFFER_OK)
            return rc;
        memcpy(out, w->truth.data, w->truth.len);
    }
    w->plain_at = w->storage->len;
    w->storage->len += w->truth.len;
    w->cell->new_plain = w->truth;
    w->cell->set_plain = true;
    return COFFER_OK;
}

/* In a sealed column plaintext is no data: to seal it would make what anybody could write there look like the application's. */
static bool
planted(const struct work *w)
{
    return w->column->column->phase == COFFER_SEALED && w->has_plain && !w->has_sealed;
}

static int
cell_work(struct work *w, struct coffer_error *err)
{
    enum db_goal goal = w->column->want.goal;
    int rc;

    if (w->cell->plain_unsuitable) {
        snprintf(w->reason, sizeof w->reason, "what is stored is no value of type %s",
                 coffer_type_name(w->column->column->type));
        return COFFER_OK;
    }
    if (!w->has_plain && !w->has_sealed)
        return COFFER_OK;
    if ((goal == DB_GOAL_SEAL || goal == DB_GOAL_SEAL_BESIDE) && planted(w))
        return refuse(w, "plaintext in a sealed column, written around Coffer");
    rc = in_place(w) ? read_in_place(w, err) : read_companion(w, err);
    if (rc != COFFER_OK || w->reason[0] != '\0')
        return rc;
    if (goal == DB_GOAL_SEAL || goal == DB_GOAL_SEAL_BESIDE)
        return cell_seal(w, err);
    return cell_plain(w, err);
}

/* ---- the row ---- */

/* Where a cell's new bytes are: told only when the storage has stopped moving. */
struct spot {
    size_t sealed_at, sealed_len, plain_at;
};

static void
cell_point(struct db_cell *cell, const struct spot *spot, const struct buf *storage)
{
    if (cell->set_sealed && spot->sealed_len != 0)
        cell->new_sealed = bytes_of(storage->ptr + spot->sealed_at, spot->sealed_len);
    if (cell->set_plain && cell->new_plain.type != COFFER_NULL)
        cell->new_plain.data =
            cell->new_plain.len != 0 ? storage->ptr + spot->plain_at : (const uint8_t *)"";
}

static void
work_next(struct work *w, const struct walk_column *column, struct db_cell *cell)
{
    buf_clear(&w->decoded);
    w->column = column;
    w->cell = cell;
    w->has_plain = cell->plain.type != COFFER_NULL;
    w->has_sealed = cell->sealed.ptr != NULL;
    w->agree = false;
    w->key_id = 0;
    w->truth = (struct coffer_value){0};
    w->sealed_at = w->sealed_len = w->plain_at = 0;
    w->reason[0] = '\0';
    cell->set_plain = cell->set_sealed = false;
    cell->new_plain = (struct coffer_value){0};
    cell->new_sealed = (struct bytes){0};
}

static int
check_place(const struct keyring_column *column, size_t place_count, struct coffer_error *err)
{
    if (column->binding != COFFER_BIND_ROW || place_count == column->part_count)
        return COFFER_OK;
    return error_set(
        err, COFFER_E_REFUSED,
        "%s.%s is bound to a primary key of %zu columns, but the table's has %zu: restore the "
        "primary key that it was protected with",
        column->table, column->name, column->part_count, place_count);
}

struct cells {
    struct work work;
    const struct walk_column *columns;
    size_t count;
    struct spot *spots; /* one a column */
};

int
cells_new(struct codec *codec, const struct walk_column *columns, size_t count,
          const struct rotate_options *options, struct cells **out, struct coffer_error *err)
{
    struct cells *cells = mem_alloc(sizeof *cells);

    *out = NULL;
    if (cells == NULL)
        return error_nomem(err);
    cells->work.codec = codec;
    cells->work.options = options;
    buf_init(&cells->work.decoded, FIELD_VALUE_MAX);
    buf_init(&cells->work.opened, 2u * FIELD_VALUE_MAX);
    buf_init(&cells->work.again, 2u * FIELD_VALUE_MAX);
    cells->columns = columns;
    cells->count = count;
    cells->spots = mem_array(count, sizeof *cells->spots);
    if (cells->spots == NULL) {
        cells_free(cells);
        return error_nomem(err);
    }
    *out = cells;
    return COFFER_OK;
}

void
cells_free(struct cells *cells)
{
    if (cells == NULL)
        return;
    buf_wipe(&cells->work.decoded);
    buf_wipe(&cells->work.opened);
    buf_wipe(&cells->work.again);
    mem_free(cells->spots);
    mem_free(cells);
}

int
cells_transform(struct cells *cells, struct db_row *row, size_t place_count, struct buf *storage,
                walk_quarantine quarantine, void *arg, struct coffer_error *err)
{
    struct work *w = &cells->work;
    int rc = COFFER_OK;

    w->storage = storage;
    for (size_t i = 0; rc == COFFER_OK && i < cells->count; i++) {
        const struct walk_column *column = &cells->columns[i];

        rc = check_place(column->column, place_count, err);
        if (rc != COFFER_OK)
            break;
        w->place.parts = row->place;
        w->place.count = column->column->binding == COFFER_BIND_ROW ? place_count : 0;
        work_next(w, column, &row->cells[i]);
        rc = cell_work(w, err);
        cells->spots[i] = (struct spot){w->sealed_at, w->sealed_len, w->plain_at};
        if (rc == COFFER_OK && w->reason[0] != '\0') {
            row->cells[i].set_plain = row->cells[i].set_sealed = false;
            rc = quarantine(arg, column, row, place_count, w->reason, err);
        }
    }
    for (size_t i = 0; rc == COFFER_OK && i < cells->count; i++)
        cell_point(&row->cells[i], &cells->spots[i], storage);
    return rc;
}
