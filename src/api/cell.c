/* SPDX-License-Identifier: Apache-2.0 */
/* Sealing and opening cells, and what the phase of a column says of a stored one. */
#include "api/internal.h"

#include <string.h>

static int
stale(struct coffer_error *err)
{
    return error_set(err, COFFER_E_STALE,
                     "the keyring was not confirmed for %d s, so that nothing may be sealed: is "
                     "its file still readable?",
                     COFFER_LEASE_MS / 1000);
}

static int
gone(struct coffer_error *err)
{
    return error_set(err, COFFER_E_NOTFOUND, "this column is no longer in the keyring");
}

/* A place of another shape than the primary key's would give a cell that nobody can open later. */
static int
check_place(const struct keyring_column *column, const struct coffer_place *place,
            struct coffer_error *err)
{
    size_t i;

    if (column->binding != COFFER_BIND_ROW)
        return COFFER_OK;
    if (place->count != column->part_count || place->parts == NULL)
        return error_set(err, COFFER_E_MISUSE,
                         "%s.%s is bound to its row by %zu key part%s; given: %zu",
                         column->table, column->name, column->part_count,
                         column->part_count == 1 ? "" : "s", place->count);
    for (i = 0; i < place->count; i++) {
        if (place->parts[i].type != column->parts[i].type)
            return error_set(err, COFFER_E_MISUSE,
                             "%s.%s is bound to its row: key part %s is of type %s, %s was given",
                             column->table, column->name, column->parts[i].name,
                             coffer_type_name(column->parts[i].type),
                             coffer_type_name(place->parts[i].type));
    }
    return COFFER_OK;
}

static int
seal_one(struct snapshot *snapshot, struct coffer_cell *cell, struct coffer_error *err)
{
    const struct keyring_column *column;

    cell->sealed = NULL;
    cell->sealed_len = 0;
    if (cell->column == NULL || (cell->out == NULL && cell->value.type != COFFER_NULL))
        return error_set(err, COFFER_E_MISUSE, "coffer_seal: a cell has no column or no room");
    if (cell->value.type == COFFER_NULL)
        return COFFER_OK;
    column = column_now(snapshot, cell->column);
    if (column == NULL)
        return gone(err);
    if (check_place(column, &cell->place, err) != COFFER_OK)
        return err->status;
    if (codec_seal(snapshot->codec, column, 0, &cell->place, &cell->value, cell->out, cell->out_max,
                   &cell->sealed_len, err) != COFFER_OK)
        return err->status;
    cell->sealed = cell->out;
    return COFFER_OK;
}

static int
open_one(struct snapshot *snapshot, struct coffer_cell *cell, struct coffer_error *err)
{
    const struct keyring_column *column;

    cell->value = (struct coffer_value){0};
    if (cell->column == NULL)
        return error_set(err, COFFER_E_MISUSE, "coffer_open: a cell has no column");
    if (cell->sealed == NULL)
        return COFFER_OK;
    if (cell->out == NULL)
        return error_set(err, COFFER_E_MISUSE, "coffer_open: a cell has no room");
    column = column_now(snapshot, cell->column);
    if (column == NULL)
        return gone(err);
    if (check_place(column, &cell->place, err) != COFFER_OK)
        return err->status;
    return codec_open(snapshot->codec, column, &cell->place,
                      bytes_of(cell->sealed, cell->sealed_len), cell->out, cell->out_max,
                      &cell->value, NULL, err);
}

/* Each cell gets its own status; the first failure is the call's. */
static int
each(struct coffer *coffer, struct coffer_cell *cells, size_t count,
     int (*work)(struct snapshot *, struct coffer_cell *, struct coffer_error *),
     struct coffer_error *err)
{
    struct snapshot *held;
    size_t i;
    int rc = COFFER_OK;

    held = snapshot_hold(coffer);
    for (i = 0; i < count; i++) {
        struct coffer_error one = {0};

        cells[i].status = work(held, &cells[i], &one);
        if (cells[i].status != COFFER_OK && rc == COFFER_OK) {
            rc = cells[i].status;
            if (err != NULL)
                *err = one;
        }
    }
    snapshot_release(held);
    return rc;
}

int
coffer_seal(struct coffer *coffer, struct coffer_cell *cells, size_t count,
            struct coffer_error *err)
{
    if (coffer == NULL || (cells == NULL && count > 0))
        return error_set(err, COFFER_E_MISUSE, "coffer_seal: NULL argument");
    if (!lease_holds(coffer))
        return stale(err);
    return each(coffer, cells, count, seal_one, err);
}

int
coffer_open(struct coffer *coffer, struct coffer_cell *cells, size_t count,
            struct coffer_error *err)
{
    if (coffer == NULL || (cells == NULL && count > 0))
        return error_set(err, COFFER_E_MISUSE, "coffer_open: NULL argument");
    return each(coffer, cells, count, open_one, err);
}

/* ---- by phase ---- */

static int
read_sealed(struct snapshot *held, const struct keyring_column *column,
            const struct coffer_place *place, const struct coffer_stored *stored, uint8_t *out,
            size_t out_max, struct coffer_value *value, struct coffer_error *err)
{
    return codec_open(held->codec, column, place, bytes_of(stored->sealed, stored->sealed_len), out,
                      out_max, value, NULL, err);
}

static int
plaintext_refused(const struct keyring_column *column, struct coffer_error *err)
{
    return error_set(err, COFFER_E_PLAINTEXT,
                     "%s.%s is sealed but holds plaintext here, which is not returned; somebody "
                     "wrote it around Coffer",
                     column->table, column->name);
}

/* While the two forms live side by side in one column, what opens at its place is an envelope.  A
 * class that cannot be plaintext and does not open is an error. */
static int
read_in_place(struct snapshot *held, const struct keyring_column *column,
              const struct coffer_place *place, const struct coffer_stored *stored, uint8_t *out,
              size_t out_max, struct coffer_value *value, struct coffer_error *err)
{
    int rc;

    if (stored->sealed == NULL) {
        *value = stored->plain;
        return COFFER_OK;
    }
    rc = read_sealed(held, column, place, stored, out, out_max, value, err);
    if (rc != COFFER_OK && stored->plain.type != COFFER_NULL) {
        *value = stored->plain;
        return COFFER_OK;
    }
    return rc;
}

static int
read_by_phase(struct snapshot *held, const struct keyring_column *column,
              const struct coffer_place *place, const struct coffer_stored *stored, uint8_t *out,
              size_t out_max, struct coffer_value *value, struct coffer_error *err)
{
    bool in_place = column->companion[0] == '\0', prefer_plain = column->phase == COFFER_SHADOW;

    if (column->phase == COFFER_OFF || column->retired) {
        *value = stored->plain;
        return COFFER_OK;
    }
    if (column->phase == COFFER_SEALED) {
        if (!in_place && stored->plain.type != COFFER_NULL)
            return plaintext_refused(column, err);
        if (stored->sealed != NULL)
            return read_sealed(held, column, place, stored, out, out_max, value, err);
        return stored->plain.type != COFFER_NULL ? plaintext_refused(column, err) : COFFER_OK;
    }
    if (in_place)
        return read_in_place(held, column, place, stored, out, out_max, value, err);
    if (stored->sealed == NULL || (prefer_plain && stored->plain.type != COFFER_NULL)) {
        *value = stored->plain;
        return COFFER_OK;
    }
    return read_sealed(held, column, place, stored, out, out_max, value, err);
}

int
coffer_cell_read(struct coffer *coffer, const struct coffer_column *column,
                 struct coffer_place place, const struct coffer_stored *stored, uint8_t *out,
                 size_t out_max, struct coffer_value *value, struct coffer_error *err)
{
    const struct keyring_column *now;
    struct snapshot *held;
    int rc;

    if (coffer == NULL || column == NULL || stored == NULL || value == NULL)
        return error_set(err, COFFER_E_MISUSE, "coffer_cell_read: NULL argument");
    *value = (struct coffer_value){0};
    held = snapshot_hold(coffer);
    now = column_now(held, column);
    rc = now == NULL ? gone(err)
                     : read_by_phase(held, now, &place, stored, out, out_max, value, err);
    snapshot_release(held);
    return rc;
}

int
coffer_cell_write(struct coffer *coffer, const struct coffer_column *column,
                  struct coffer_place place, const struct coffer_value *value, uint8_t *out,
                  size_t out_max, struct coffer_stored *stored, struct coffer_error *err)
{
    struct coffer_cell cell = {.column = column, .place = place, .out = out, .out_max = out_max};
    struct coffer_error own = {0};
    const struct keyring_column *now;
    struct snapshot *held;
    int rc;

    if (coffer == NULL || column == NULL || stored == NULL || value == NULL)
        return error_set(err, COFFER_E_MISUSE, "coffer_cell_write: NULL argument");
    *stored = (struct coffer_stored){0};
    if (!lease_holds(coffer))
        return stale(err);
    held = snapshot_hold(
        coffer); /* phase and key of one content: a swap in between must not mix them */
    now = column_now(held, column);
    if (now == NULL) {
        rc = gone(err);
    } else if (now->phase == COFFER_OFF || now->phase == COFFER_SHADOW || now->retired) {
        stored->plain = *value;
        rc = COFFER_OK;
    } else {
        cell.value = *value;
        rc = seal_one(held, &cell, &own);
        stored->sealed = cell.sealed;
        stored->sealed_len = cell.sealed_len;
        if (rc != COFFER_OK && err != NULL)
            *err = own;
    }
    snapshot_release(held);
    return rc;
}
