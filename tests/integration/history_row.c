/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of patients through libcoffer, in place or with companions: an application's data layer. */
#include "history.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const NAMES[2] = {"ssn", "amount"};

static struct history_form
form_of(struct history *h, int i)
{
    struct history_form form = {0};
    struct coffer_column_info info;
    char name[40];

    snprintf(name, sizeof name, "patients.%s", NAMES[i]);
    if (coffer_column_find(h->coffer, NULL, name, &form.column, NULL) != COFFER_OK)
        return (struct history_form){0};
    coffer_column_info(form.column, &info);
    if (strcmp(info.sealed_name, info.name) == 0)
        form.text_form = info.text_form;
    else if (info.phase != COFFER_OFF) /* before that, it may not be there */
        form.companion = info.sealed_name;
    return form;
}

static struct coffer_value
int64_value(int64_t v)
{
    return (struct coffer_value){.type = COFFER_INT64, .i64 = v};
}

/* ---- reading ---- */

static int
load(struct history *h, struct db *db, const char *where, const struct coffer_value *params,
     size_t count, struct history_row *out, struct coffer_error *err)
{
    char sql[200];
    int i;

    memset(out, 0, sizeof *out);
    for (i = 0; i < 2; i++)
        out->forms[i] = form_of(h, i);
    snprintf(sql, sizeof sql, "SELECT ssn, %s, amount, %s, id FROM patients%s",
             out->forms[0].companion != NULL ? out->forms[0].companion : "NULL",
             out->forms[1].companion != NULL ? out->forms[1].companion : "NULL", where);
    return db_run(db, sql, params, count, &out->result, err);
}

int
history_row_load(struct history *h, struct db *db, int64_t id, struct history_row *out,
                 struct coffer_error *err)
{
    struct coffer_value key = int64_value(id);
    int rc = load(h, db, " WHERE id=$1", &key, 1, out, err);

    if (rc == COFFER_OK && out->result->rows == 0) {
        history_row_free(out);
        return error_set(err, COFFER_E_NOTFOUND, "no row %" PRId64, id);
    }
    if (rc == COFFER_OK)
        history_row_at(out, 0);
    return rc;
}

int
history_row_load_all(struct history *h, struct db *db, struct history_row *out,
                     struct coffer_error *err)
{
    return load(h, db, "", NULL, 0, out, err);
}

int64_t
history_row_at(struct history_row *row, size_t i)
{
    const struct coffer_value *cells = &row->result->cells[5 * i];

    memcpy(row->stored, cells, sizeof row->stored);
    return cells[4].i64;
}

void
history_row_free(struct history_row *row)
{
    db_result_free(row->result);
    memset(row, 0, sizeof *row);
}

/* As coffer.h says that a stored cell is given. */
static struct coffer_stored
stored_of(const struct history_form *form, const struct coffer_value cell[2])
{
    const struct coffer_value *envelope = form->companion != NULL ? &cell[1] : &cell[0];
    struct coffer_stored stored = {0};

    if (envelope->type == COFFER_BYTES || (form->text_form && envelope->type == COFFER_TEXT)) {
        stored.sealed = envelope->data;
        stored.sealed_len = envelope->len;
    }
    if (form->companion != NULL || cell[0].type != COFFER_BYTES)
        stored.plain = cell[0];
    return stored;
}

static int
open_cell(struct history *h, int64_t id, const struct history_form *form,
          const struct coffer_value cell[2], uint8_t *out, size_t out_max,
          struct coffer_value *value, struct coffer_error *err)
{
    struct coffer_stored stored = stored_of(form, cell);
    struct coffer_value key = int64_value(id);
    struct coffer_place place = {.parts = &key, .count = 1};

    if (form->column == NULL) {
        *value = cell[0];
        return COFFER_OK;
    }
    return coffer_cell_read(h->coffer, form->column, place, &stored, out, out_max, value, err);
}

int
history_row_open(struct history *h, int64_t id, const struct history_row *row, char ssn[48],
                 int64_t *amount, struct coffer_error *err)
{
    struct coffer_value value;
    uint8_t out[400];
    int i, rc;

    rc = open_cell(h, id, &row->forms[0], row->stored[0], out, sizeof out, &value, err);
    if (rc == COFFER_OK)
        snprintf(ssn, 48, "%.*s", (int)value.len, (const char *)value.data);
    if (rc == COFFER_OK)
        rc = open_cell(h, id, &row->forms[1], row->stored[1], out, sizeof out, &value, err);
    *amount = value.i64;
    for (i = 0; i < 2; i++) {
        struct history_form now = form_of(h, i);

        if (now.column != row->forms[i].column || now.companion != row->forms[i].companion)
            return error_set(err, COFFER_E_CONFLICT, "%s changed its form", NAMES[i]);
    }
    return rc;
}

/* ---- writing ---- */

struct statement { /* columns and their parameters, in order */
    const char *names[6];
    struct coffer_value params[6];
    size_t count;
};

static void
set(struct statement *st, const char *name, struct coffer_value value)
{
    st->names[st->count] = name;
    st->params[st->count++] = value;
}

static int
insert(struct db *db, const struct statement *st, struct coffer_error *err)
{
    char sql[400] = "INSERT INTO patients (", marks[60] = "";
    size_t i;

    for (i = 0; i < st->count; i++) {
        snprintf(sql + strlen(sql), sizeof sql - strlen(sql), "%s%s", i > 0 ? ", " : "",
                 st->names[i]);
        snprintf(marks + strlen(marks), sizeof marks - strlen(marks), "%s$%zu", i > 0 ? ", " : "",
                 i + 1);
    }
    snprintf(sql + strlen(sql), sizeof sql - strlen(sql), ") VALUES (%s)", marks);
    return db_run(db, sql, st->params, st->count, NULL, err);
}

static int
update(struct db *db, struct statement *st, int64_t id, struct coffer_error *err)
{
    char sql[400] = "UPDATE patients SET ";
    size_t i;

    for (i = 0; i < st->count; i++)
        snprintf(sql + strlen(sql), sizeof sql - strlen(sql), "%s%s=$%zu", i > 0 ? ", " : "",
                 st->names[i], i + 1);
    snprintf(sql + strlen(sql), sizeof sql - strlen(sql), " WHERE id=$%zu", i + 1);
    set(st, "id", int64_value(id));
    return db_run(db, sql, st->params, st->count, NULL, err);
}

static struct coffer_value
envelope_value(const struct history_form *form, const struct coffer_stored *stored)
{
    if (stored->sealed == NULL)
        return (struct coffer_value){0};
    return (struct coffer_value){.type = form->text_form ? COFFER_TEXT : COFFER_BYTES,
                                 .data = stored->sealed,
                                 .len = stored->sealed_len};
}

/* The form is looked at after the sealing: phases only go forward here, so that a cell that was
 * sealed finds its companion. */
static int
set_cell(struct history *h, struct statement *st, int i, int64_t id,
         const struct coffer_value *value, uint8_t *out, size_t out_max, struct coffer_error *err)
{
    struct history_form form = form_of(h, i);
    struct coffer_stored stored = {.plain = *value};
    struct coffer_value key = int64_value(id);
    struct coffer_place place = {.parts = &key, .count = 1};
    int rc = COFFER_OK;

    if (form.column != NULL)
        rc = coffer_cell_write(h->coffer, form.column, place, value, out, out_max, &stored, err);
    if (rc != COFFER_OK)
        return rc;
    form = form_of(h, i);
    if (form.companion != NULL) {
        set(st, NAMES[i], stored.plain);
        set(st, form.companion, envelope_value(&form, &stored));
    } else {
        set(st, NAMES[i], stored.sealed != NULL ? envelope_value(&form, &stored) : stored.plain);
    }
    return COFFER_OK;
}

int
history_row_write(struct history *h, struct db *db, enum history_write what,
                  const struct history_slot *slot, int64_t old_id, struct coffer_error *err)
{
    const struct coffer_value ssn = {
        .type = COFFER_TEXT, .data = (const uint8_t *)slot->ssn, .len = strlen(slot->ssn)};
    const struct coffer_value amount = int64_value(slot->amount);
    struct statement st = {.count = 0};
    uint8_t out[2][400];
    int rc = COFFER_OK;

    if (what != HISTORY_CHANGE_AMOUNT)
        rc = set_cell(h, &st, 0, slot->id, &ssn, out[0], sizeof out[0], err);
    if (rc == COFFER_OK)
        rc = set_cell(h, &st, 1, slot->id, &amount, out[1], sizeof out[1], err);
    if (rc != COFFER_OK)
        return rc;
    if (what == HISTORY_INSERT || what == HISTORY_MOVE)
        set(&st, "id", int64_value(slot->id));
    return what == HISTORY_INSERT ? insert(db, &st, err)
                                  : update(db, &st, what == HISTORY_MOVE ? old_id : slot->id, err);
}

int
history_row_store(struct db *db, int64_t id, const struct history_row *row,
                  struct coffer_error *err)
{
    struct statement st = {.count = 0};
    int i;

    for (i = 0; i < 2; i++) {
        set(&st, NAMES[i], row->stored[i][0]);
        if (row->forms[i].companion != NULL)
            set(&st, row->forms[i].companion, row->stored[i][1]);
    }
    return update(db, &st, id, err);
}
