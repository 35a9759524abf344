/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "rotate/machine.h"

#include <stdio.h>
#include <string.h>

/* Quarantined cells are counted by the scan as plaintext or under their key; they are shown once.  One that the scan
 * did not see there has been repaired since. */
static int
set_apart(void *arg, uint32_t key_id, const char *place, const char *reason, struct coffer_error *err)
{
    struct rotate_column_status *status = arg;
    uint64_t *from = key_id == 0 ? &status->plaintext : NULL;
    struct rotate_quarantined *cell;
    size_t i;

    for (i = 0; i < status->key_count && from == NULL; i++)
        if (status->keys[i].key_id == key_id)
            from = &status->keys[i].cells;
    if (from == NULL || *from == 0)
        return COFFER_OK;
    --*from;
    status->quarantine++;
    if (status->cell_count == ROTATE_QUARANTINED_MAX)
        return COFFER_OK;
    if (status->cells == NULL)
        status->cells = mem_array(ROTATE_QUARANTINED_MAX, sizeof *status->cells);
    if (status->cells == NULL)
        return error_nomem(err);
    cell = &status->cells[status->cell_count++];
    cell->key_id = key_id;
    snprintf(cell->place, sizeof cell->place, "%s", place);
    snprintf(cell->reason, sizeof cell->reason, "%s", reason);
    return COFFER_OK;
}

/* `rows`: Coffer's working tables are there.  A restored copy may lack them, and companions too. */
static int
column_status(struct session *s, const struct keyring_column *column, bool exact, bool rows,
              struct rotate_column_status *out, struct coffer_error *err)
{
    struct db_table *table = NULL;
    struct db_count *count = NULL;
    struct db_cell_spec cell;
    unsigned level = 0;
    size_t k;
    int rc;

    out->column = column;
    column_cell_spec(column, &cell);
    rc = column_table(s, column, &table, err);
    if (rc == COFFER_OK && cell.sealed != NULL && db_table_column(table, cell.sealed) == NULL)
        cell.sealed = NULL; /* in phase off, or in a copy from before the protect */
    if (rc == COFFER_OK)
        rc = exact || db_engine(s->database->db) == DB_SQLITE
                 ? db_count(s->database->db, table, &cell, &count, err)
                 : db_count_estimate(s->database->db, table, &cell, &count, err);
    out->exact = exact || db_engine(s->database->db) == DB_SQLITE;
    if (rc == COFFER_OK && rows)
        rc = plaintext_level(s, &column->id, &level, err);
    out->plaintext_level = plaintext_level_name(level);
    if (rc == COFFER_OK) {
        out->rows = count->rows;
        out->nulls = count->nulls;
        out->plaintext = count->plaintext;
        out->both = count->both;
        for (k = 0; k < count->key_count && k < 64; k++)
            out->keys[out->key_count++] = count->keys[k];
    }
    if (rc == COFFER_OK && rows)
        rc = quarantine_each(&s->database->journal, &column->id, set_apart, out, NULL, err);
    db_count_free(count);
    db_table_free(table);
    return rc;
}

static void
name_columns(struct session *s, const struct rotation *r, struct rotate_open *out)
{
    size_t at = 0, i;

    for (i = 0; i < r->column_count; i++) {
        const struct keyring_column *column = keyring_column_by_id(s->keyring, &r->columns[i]);
        char name[2 * KEYRING_NAME_MAX + 4];

        if (column == NULL)
            continue;
        snprintf(name, sizeof name, "%s%s.%s", at > 0 ? ", " : "", column->table, column->name);
        if (at + strlen(name) + sizeof ", …" > sizeof out->columns) {
            memcpy(out->columns + at, ", …", sizeof ", …");
            return;
        }
        strcpy(out->columns + at, name);
        at += strlen(name);
    }
}

/* How far a protect or an unprotect is, from the counts of its columns. */
static void
phase_progress(const struct rotation *r, const struct rotate_status *status, struct rotate_open *out)
{
    size_t i, k, n;

    out->done = out->total = 0;
    for (i = 0; i < r->column_count; i++) {
        for (n = 0; n < status->column_count; n++) {
            const struct rotate_column_status *column = &status->columns[n];
            uint64_t sealed = 0;

            if (!uuid_equal(&column->column->id, &r->columns[i]))
                continue;
            for (k = 0; k < column->key_count; k++)
                sealed += column->keys[k].cells;
            out->total += sealed + column->plaintext;
            if (r->kind == ROTATION_UNPROTECT)
                out->done += column->plaintext;
            else if (column->column->phase == COFFER_SHADOW) /* plaintext stays beside until the next phase */
                out->done += sealed;
            else
                out->done += sealed > column->both ? sealed - column->both : 0;
        }
    }
}

static int
open_status(struct session *s, const struct rotate_status *status, struct rotate_open *out, bool *found,
            struct coffer_error *err)
{
    struct coffer_error reason = {0};
    struct walk_stats pass;
    struct rotation r;
    int rc = rotation_find_open(&s->database->journal, 0, NULL, &r, err);

    *found = rc == COFFER_OK;
    if (rc == COFFER_E_NOTFOUND)
        return COFFER_OK;
    if (rc != COFFER_OK)
        return rc;
    memcpy(out->id, r.id, sizeof r.id);
    snprintf(out->kind, sizeof out->kind, "%s", rotation_kind_name(r.kind));
    snprintf(out->step, sizeof out->step, "%s", rotation_step_name(r.step));
    snprintf(out->line, sizeof out->line, "%s", r.line);
    out->from_key = r.from_key;
    out->to_key = r.to_key;
    out->paused = r.paused;
    out->aborting = r.aborting;
    out->total = r.total_rows;
    out->started_us = r.started_us;
    rc = pass_totals(s, &r, r.pass, &pass, err);
    out->done = pass.rows_read;
    if (r.kind == ROTATION_PROTECT || r.kind == ROTATION_UNPROTECT) {
        name_columns(s, &r, out);
        phase_progress(&r, status, out);
    }
    if (rc == COFFER_OK && gate_check(s, &r, r.activate_epoch, NULL, &reason) == COFFER_E_NOTYET)
        snprintf(out->waiting, sizeof out->waiting, "%.290s", reason.message);
    rotation_free(&r);
    return rc;
}

static int
add_beat(void *arg, const struct heartbeat *beat, struct coffer_error *err)
{
    struct rotate_status *status = arg;
    struct heartbeat *grown = mem_grow(status->clients, (status->client_count + 1) * sizeof *grown);

    if (grown == NULL)
        return error_nomem(err);
    status->clients = grown;
    status->clients[status->client_count++] = *beat;
    return COFFER_OK;
}

static int
ignore_row(void *arg, const struct journal_row *row, struct coffer_error *err)
{
    return COFFER_OK;
}

static int
count_tampered(struct session *s, size_t *tampered, struct coffer_error *err)
{
    static const char *const TABLES[] = {"meta", "rotation", "chunk", "client", "quarantine"};
    size_t i;
    int rc = COFFER_OK;

    *tampered = 0;
    for (i = 0; rc == COFFER_OK && i < sizeof TABLES / sizeof *TABLES; i++) {
        size_t n = 0;

        rc = journal_list(&s->database->journal, TABLES[i], "", ignore_row, NULL, &n, err);
        *tampered += n;
    }
    return rc;
}

/* A rotation's progress from the counts: its passes' chunks say how far a pass is, not how much is
 * left. */
static void
progress_of(struct rotate_open *open, const struct rotate_status *status)
{
    size_t i, k;

    if (open->from_key == 0 || open->to_key == 0)
        return;
    open->done = open->total = 0;
    for (i = 0; i < status->column_count; i++) {
        const struct rotate_column_status *column = &status->columns[i];

        for (k = 0; strcmp(column->column->line, open->line) == 0 && k < column->key_count; k++) {
            if (column->keys[k].key_id == open->to_key)
                open->done += column->keys[k].cells;
            if (column->keys[k].key_id == open->to_key || column->keys[k].key_id == open->from_key)
                open->total += column->keys[k].cells;
        }
    }
}

static int
fill(struct session *s, bool exact, struct rotate_status *out, struct coffer_error *err)
{
    struct uuid *ids = NULL;
    bool found = false, rows = false;
    size_t n = 0, i;
    int rc = columns_resolve(s, NULL, 0, &ids, &n, err);

    if (rc == COFFER_OK)
        rc = db_catalog_present(s->database->db, &rows, err);
    if (rc == COFFER_OK) {
        out->columns = mem_array(n + 1, sizeof *out->columns);
        out->open = mem_array(1, sizeof *out->open);
        if (out->columns == NULL || out->open == NULL)
            rc = error_nomem(err);
    }
    for (i = 0; rc == COFFER_OK && i < n; i++) {
        rc = column_status(s, keyring_column_by_id(s->keyring, &ids[i]), exact, rows, &out->columns[i],
                           err);
        out->column_count++;
    }
    if (rc == COFFER_OK && rows)
        rc = open_status(s, out, &out->open[0], &found, err);
    out->open_count = found;
    if (rc == COFFER_OK && found)
        progress_of(&out->open[0], out);
    if (rc == COFFER_OK && rows)
        rc = heartbeat_list(&s->database->journal, add_beat, out, err);
    if (rc == COFFER_OK && rows)
        rc = count_tampered(s, &out->tampered, err);
    mem_free(ids);
    return rc;
}

int
rotate_status(const struct rotate_env *env, bool exact, struct rotate_status **out,
              struct coffer_error *err)
{
    static const struct rotate_options NO_OPTIONS;
    struct rotate_status *status;
    struct session s;
    int rc;

    *out = NULL;
    rc = session_open(&s, env, &NO_OPTIONS, err);
    if (rc != COFFER_OK)
        return rc;
    status = mem_alloc(sizeof *status);
    if (status == NULL)
        rc = error_nomem(err);
    else if (s.database->registered)
        rc = fill(&s, exact, status, err);
    if (rc == COFFER_OK) {
        status->restored = s.database->restored;
        status->keyring = s.keyring; /* its columns are what `columns` points at */
        s.keyring = NULL;
        *out = status;
    } else {
        rotate_status_free(status);
    }
    session_close(&s);
    return rc;
}

void
rotate_status_free(struct rotate_status *status)
{
    if (status == NULL)
        return;
    for (size_t i = 0; i < status->column_count; i++)
        mem_free(status->columns[i].cells);
    mem_free(status->columns);
    mem_free(status->open);
    mem_free(status->clients);
    keyring_free(status->keyring);
    mem_free(status);
}
