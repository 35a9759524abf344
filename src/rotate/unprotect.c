/* SPDX-License-Identifier: Apache-2.0 */
/* Back to plaintext.
 *
 *   sealed ──▶ dual ──gate──▶ shadow ──gate──▶ [restore plaintext] ──▶ off ──gate──▶ companion dropped
 */
#include "rotate/protect.h"

#include "base/mem.h"
#include "base/number.h"

#include <string.h>

static int
change_retire(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct rotation *r = arg;
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < r->column_count; i++) {
        const struct keyring_column *found = keyring_column_by_id(kr, &r->columns[i]);
        struct keyring_column *column;

        if (found == NULL || found->retired)
            continue;
        column = mem_alloc(sizeof *column);
        if (column == NULL)
            return error_nomem(err);
        *column = *found;
        column->retired = true;
        rc = keyring_column_put(kr, column, err);
        mem_free(column);
    }
    return rc;
}

static int
drop_companions(struct session *s, const struct rotation *r, struct coffer_error *err)
{
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < r->column_count; i++) {
        const struct keyring_column *column = keyring_column_by_id(s->keyring, &r->columns[i]);
        struct db_table *table = NULL;
        struct db_cell_spec cell;

        if (column == NULL || column->phase != COFFER_OFF)
            continue;
        column_cell_spec(column, &cell);
        rc = db_table_open(s->database->db, column->table, &table, err);
        if (rc == COFFER_OK)
            rc = db_phase_apply(s->database->db, table, &cell, COFFER_SHADOW, COFFER_OFF, err);
        db_table_free(table);
    }
    return rc;
}

int
unprotect_columns(struct session *s, struct rotation *r, struct coffer_error *err)
{
    struct drain_result result;
    int rc = fence_unconstrain(s, r->columns, r->column_count, err);

    if (rc == COFFER_OK)
        rc = phase_step(s, r, COFFER_SEALED, COFFER_DUAL, true, err);
    if (rc == COFFER_OK)
        rc = fence_tables(s, r->columns, r->column_count, false, 0,
                          err); /* plaintext is allowed again */
    if (rc == COFFER_OK)
        rc = phase_step(s, r, COFFER_DUAL, COFFER_SHADOW, true, err);
    if (rc == COFFER_OK)
        rc = drain(s, r, "unseal", &result, err);
    if (rc == COFFER_OK && result.quarantined > 0)
        rc =
            error_set(err, COFFER_E_REFUSED,
                      "%s could not be opened and stayed as they were; coffer status lists them",
                      counted(result.quarantined, "cell").text);
    if (rc == COFFER_OK) {
        say(s->env, ROTATE_DONE, "unseal", "plaintext again: %s",
            counted(result.stats.rows_done, "row").text);
        rc = phase_step(s, r, COFFER_SHADOW, COFFER_OFF, true, err);
    }
    if (rc == COFFER_OK)
        rc = fence_tables(s, r->columns, r->column_count, false, 0, err);
    if (rc == COFFER_OK)
        rc = drop_companions(s, r, err);
    /* The record first: retired columns have no name by which the command could be run again. */
    if (rc == COFFER_OK)
        rc = rotation_enter(s, r, STEP_DONE, err);
    if (rc == COFFER_OK)
        rc = session_change(s, "column.retire", NULL, change_retire, r, err);
    if (rc == COFFER_OK) /* a copy from before is told from the database as it is now */
        rc = incarnation_renew(s, r->id, err);
    return rc;
}

/* ---- columns whose table, or which themselves, were dropped ---- */

static int
is_gone(struct session *s, const struct keyring_column *column, bool *gone, struct coffer_error *err)
{
    struct db_table *table = NULL;
    int rc = db_table_open(s->database->db, column->table, &table, err);

    *gone = rc == COFFER_E_NOTFOUND;
    if (rc == COFFER_OK)
        *gone = db_table_column(table, column->name) == NULL;
    db_table_free(table);
    return *gone ? COFFER_OK : rc;
}

/* Their records retire, which keeps them for old backups; `ids` is left with the others.  Should one
 * have been renamed, a proof still finds its envelopes: as those of no protected column. */
static int
forget_gone(struct session *s, struct uuid *ids, size_t *n, struct coffer_error *err)
{
    struct rotation gone = {0};
    size_t i, left = 0;
    int rc = COFFER_OK;

    gone.columns = mem_array(*n + 1, sizeof *gone.columns);
    if (gone.columns == NULL)
        return error_nomem(err);
    for (i = 0; rc == COFFER_OK && i < *n; i++) {
        const struct keyring_column *column = keyring_column_by_id(s->keyring, &ids[i]);
        bool is = false;

        rc = is_gone(s, column, &is, err);
        if (rc == COFFER_OK && is && !s->options->forget_gone)
            rc = error_set(err, COFFER_E_REFUSED,
                           "%s.%s is not in the database any more. If it was renamed, rename it back; "
                           "if it was dropped, --gone forgets it",
                           column->table, column->name);
        if (rc == COFFER_OK && is) {
            say(s->env, ROTATE_NOTE, "unseal", "%s.%s is gone from the database, and forgotten",
                column->table, column->name);
            gone.columns[gone.column_count++] = ids[i];
        } else {
            ids[left++] = ids[i];
        }
    }
    if (rc == COFFER_OK && gone.column_count > 0 && !s->options->plan_only)
        rc = session_change(s, "column.gone", NULL, change_retire, &gone, err);
    *n = left;
    mem_free(gone.columns);
    return rc;
}

/* Terms beside a plaintext would only tell of it. */
static int
without_terms(const struct session *s, const struct uuid *ids, size_t count, struct coffer_error *err)
{
    for (size_t i = 0; i < keyring_index_count(s->keyring); i++) {
        const struct keyring_index *index = keyring_index_at(s->keyring, i);

        for (size_t k = 0; k < count; k++) {
            const struct keyring_column *column = keyring_column_by_id(s->keyring, &ids[k]);

            if (column != NULL && uuid_equal(&index->column, &ids[k]))
                return error_set(err, COFFER_E_REFUSED, "%s.%s has %s terms beside it: drop them first (coffer protect --drop-search)", column->table,
                                 column->name, index_kind_name(index->kind));
        }
    }
    return COFFER_OK;
}

int
rotate_unprotect(const struct rotate_env *env, const char *const *columns, size_t count,
                 const struct rotate_options *options, struct coffer_error *err)
{
    struct rotation r = {0};
    struct uuid *ids = NULL;
    struct session s;
    size_t n = 0;
    int rc = session_open(&s, env, options, err);

    if (rc != COFFER_OK)
        return rc;
    rc = session_require_registered(&s, err);
    if (rc == COFFER_OK && count == 0)
        rc = error_set(err, COFFER_E_MISUSE, "name the columns that are to be plaintext again");
    if (rc == COFFER_OK)
        rc = columns_resolve(&s, columns, count, &ids, &n, err);
    if (rc == COFFER_OK)
        rc = without_terms(&s, ids, n, err);
    if (rc == COFFER_OK && !options->yes &&
        !(env->ask != NULL &&
          env->ask(env->arg, "Write these columns back as plaintext that everybody can read?")))
        rc = error_set(err, COFFER_E_CANCELLED, "nothing was changed; answer yes, or give --yes");
    if (rc == COFFER_OK)
        rc = forget_gone(&s, ids, &n, err);
    if (rc == COFFER_OK && n > 0 && !options->plan_only)
        rc = open_record(&s, ROTATION_UNPROTECT, ids, n, &r, err);
    if (rc == COFFER_OK && n > 0 && !options->plan_only)
        rc = unprotect_columns(&s, &r, err);
    rotation_free(&r);
    mem_free(ids);
    session_close(&s);
    return rc;
}
