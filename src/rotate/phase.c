/* SPDX-License-Identifier: Apache-2.0 */
/* Phases of columns: off, shadow, dual, sealed, and the record that holds them together. */
#include "base/mem.h"
#include "rotate/protect.h"

#include <stdio.h>
#include <string.h>

size_t
columns_in_phase(struct session *s, const struct rotation *r, int phase, struct uuid *ids)
{
    size_t i, n = 0;

    for (i = 0; i < r->column_count; i++) {
        const struct keyring_column *column = keyring_column_by_id(s->keyring, &r->columns[i]);

        if (column != NULL && !column->retired && column->phase == phase)
            ids[n++] = column->id;
    }
    return n;
}

/* DDL that finds the table busy tries again; it never queues in front of readers. */
static int
apply_ddl(struct session *s, struct rotation *r, const struct uuid *ids, size_t n, int from, int to,
          struct coffer_error *err)
{
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < n; i++) {
        const struct keyring_column *column = keyring_column_by_id(s->keyring, &ids[i]);
        struct db_table *table = NULL;
        struct db_cell_spec cell;
        char who[300];
        unsigned attempt;

        column_cell_spec(column, &cell);
        rc = db_table_open(s->database->db, column->table, &table, err);
        for (attempt = 0; rc == COFFER_OK; attempt++) {
            rc = db_phase_apply(s->database->db, table, &cell, from, to, err);
            if (rc != COFFER_E_CONFLICT)
                break;
            if (attempt == 0)
                session_blame(s, who, sizeof who);
            if (attempt == 0 && s->options->no_wait) {
                rc = error_set(err, COFFER_E_NOTYET, "table %s is busy: %s", table->name, who);
                break;
            }
            if (attempt == 0)
                say(s->env, ROTATE_WAIT, coffer_phase_name(to),
                    "table %s is busy: %s; waiting for a moment between its transactions",
                    table->name, who);
            s->env->os->sleep_ms(s->env->os, 100 + attempt % 7 * 30);
            rc = rotation_check(s, r, err);
        }
        db_table_free(table);
    }
    return rc;
}

int
phase_step(struct session *s, struct rotation *r, int from, int to, bool gate,
           struct coffer_error *err)
{
    struct uuid *ids = mem_array(r->column_count + 1, sizeof *ids);
    struct phase_arg arg = {.ids = ids, .phase = to};
    char details[160];
    int rc = COFFER_OK;

    if (ids == NULL)
        return error_nomem(err);
    arg.count = columns_in_phase(s, r, from, ids);
    if (arg.count > 0) {
        say(s->env, ROTATE_STEP, coffer_phase_name(to), "%zu column%s from %s to %s", arg.count,
            arg.count == 1 ? "" : "s", coffer_phase_name(from), coffer_phase_name(to));
        /* Going forward, the companion must be there, and NULL allowed, before a client may rely on
         * it. */
        if (to > from)
            rc = apply_ddl(s, r, ids, arg.count, from, to, err);
        snprintf(details, sizeof details,
                 "{\"columns\":%zu,\"from\":\"%s\",\"rotation\":\"%s\",\"to\":\"%s\"}", arg.count,
                 coffer_phase_name(from), r->id, coffer_phase_name(to));
        if (rc == COFFER_OK)
            rc = session_change(s, "column.phase", details, change_phase, &arg, err);
        if (rc == COFFER_OK && to < from && to != COFFER_OFF)
            rc = apply_ddl(s, r, ids, arg.count, from, to, err);
        if (rc == COFFER_OK) {
            r->activate_epoch = keyring_epoch(s->keyring);
            rc = rotation_save(&s->database->journal, r, err);
        }
    }
    if (rc == COFFER_OK && gate)
        rc = gate_wait(s, r, r->activate_epoch, coffer_phase_name(to), err);
    mem_free(ids);
    return rc;
}

int
open_record(struct session *s, enum rotation_kind kind, const struct uuid *ids, size_t count,
            struct rotation *r, struct coffer_error *err)
{
    struct rotation other;
    struct uuid id;
    int rc = rotation_find_open(&s->database->journal, 0, NULL, &other, err);

    memset(r, 0, sizeof *r);
    if (rc == COFFER_OK && other.kind != kind) {
        rc = error_set(
            err, COFFER_E_REFUSED,
            "a coffer %s of this database is not finished (step %s); run it again to its end first",
            rotation_kind_name(other.kind), rotation_step_name(other.step));
        rotation_free(&other);
        return rc;
    }
    if (rc == COFFER_OK) { /* go on with it, for these columns too */
        *r = other;
        mem_free(r->columns);
        r->columns = NULL;
    } else if (rc == COFFER_E_NOTFOUND) {
        rc = uuid_new(&id, err);
        if (rc != COFFER_OK)
            return rc;
        uuid_format(&id, r->id);
        r->kind = kind;
        r->step = STEP_DRAIN; /* further workers join in this step */
        r->started_us = r->step_us = s->env->os->now_us(s->env->os);
        r->begin_epoch = r->activate_epoch = keyring_epoch(s->keyring);
    } else {
        return rc;
    }
    r->columns = mem_array(count + 1, sizeof *r->columns);
    if (r->columns == NULL)
        return error_nomem(err);
    memcpy(r->columns, ids, count * sizeof *ids);
    r->column_count = count;
    rc = rotation_save(&s->database->journal, r, err);
    if (rc != COFFER_OK)
        rotation_free(r);
    return rc;
}
