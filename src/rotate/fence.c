/* SPDX-License-Identifier: Apache-2.0 */
/* The fence: the database itself refuses keys that are on their way out, and plaintext in sealed
 * columns. */
#include "base/mem.h"
#include "rotate/machine.h"

#include <string.h>

struct fence_set {
    struct db_table *table;
    struct db_fence *fences;
    uint32_t *keys; /* of all fences, one after another */
    const struct keyring_column **columns;
    size_t count;
};

static void
fence_set_free(struct fence_set *set)
{
    db_table_free(set->table);
    mem_free(set->fences);
    mem_free(set->keys);
    mem_free((void *)set->columns);
    memset(set, 0, sizeof *set);
}

static bool
listed(const struct uuid *ids, size_t count, const struct uuid *id)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (uuid_equal(&ids[i], id))
            return true;
    }
    return false;
}

/* Is this key refused in this column?  Never the one that its line writes under, or is about to. */
static bool
refused(struct session *s, const struct keyring_column *column, const struct keyring_key *key,
        uint32_t fencing_key)
{
    if (key->purpose != KEY_FIELD)
        return false;
    if (strcmp(key->line, column->line) == 0 &&
        (key->state == KEY_ACTIVE || key->state == KEY_STAGED))
        return false;
    return key->id == fencing_key || key->state >= KEY_FENCED ||
           keyring_certificate(s->keyring, key->id, &s->database->id) != NULL;
}

static int
fence_set_make(struct session *s, const char *table_name, const struct uuid *ids, size_t count,
               bool closing, uint32_t fencing_key, struct fence_set *out, struct coffer_error *err)
{
    size_t columns = keyring_column_count(s->keyring), keys = keyring_key_count(s->keyring), i, k;
    uint32_t *next;
    int rc;

    memset(out, 0, sizeof *out);
    rc = db_table_open(s->database->db, table_name, &out->table, err);
    if (rc != COFFER_OK)
        return rc;
    out->fences = mem_array(columns + 1, sizeof *out->fences);
    out->columns = mem_array(columns + 1, sizeof *out->columns);
    out->keys = mem_array(columns * keys + 1, sizeof *out->keys);
    if (out->fences == NULL || out->keys == NULL || out->columns == NULL) {
        fence_set_free(out);
        return error_nomem(err);
    }
    next = out->keys;
    for (i = 0; i < columns; i++) {
        const struct keyring_column *column = keyring_column_at(s->keyring, i);
        struct db_fence *fence = &out->fences[out->count];

        if (column->retired || !uuid_equal(&column->database, &s->database->id) ||
            strcmp(column->table, table_name) != 0 || column->phase == COFFER_OFF)
            continue;
        column_cell_spec(column, &fence->cell);
        fence->refused = next;
        for (k = 0; k < keys; k++) {
            const struct keyring_key *key = keyring_key_at(s->keyring, k);

            if (refused(s, column, key, fencing_key))
                *next++ = key->id;
        }
        fence->refused_count = (size_t)(next - fence->refused);
        fence->refuse_plaintext =
            column->phase == COFFER_SEALED || (closing && listed(ids, count, &column->id));
        if (fence->refused_count > 0 || fence->refuse_plaintext)
            out->columns[out->count++] = column;
    }
    return COFFER_OK;
}

/* The next table that holds one of these columns, each once. */
static const char *
next_table(struct session *s, const struct uuid *ids, size_t count, size_t *at)
{
    while (*at < count) {
        const struct keyring_column *column = keyring_column_by_id(s->keyring, &ids[*at]);
        bool seen = false;
        size_t i;

        for (i = 0; column != NULL && i < *at && !seen; i++) {
            const struct keyring_column *before = keyring_column_by_id(s->keyring, &ids[i]);

            seen = before != NULL && strcmp(before->table, column->table) == 0;
        }
        (*at)++;
        if (column != NULL && !seen)
            return column->table;
    }
    return NULL;
}

int
fence_tables(struct session *s, const struct uuid *ids, size_t count, bool closing,
             uint32_t fencing_key, struct coffer_error *err)
{
    const char *name;
    size_t at = 0;
    int rc = COFFER_OK;

    while (rc == COFFER_OK && (name = next_table(s, ids, count, &at)) != NULL) {
        struct fence_set set;
        char who[300];
        unsigned attempt;

        rc = fence_set_make(s, name, ids, count, closing, fencing_key, &set, err);
        for (attempt = 0; rc == COFFER_OK; attempt++) {
            rc = db_fence_set(s->database->db, set.table, set.fences, set.count, err);
            if (rc != COFFER_E_CONFLICT || stopped(s->env))
                break;
            if (attempt == 0 || s->options->no_wait)
                session_blame(s, who, sizeof who);
            if (s->options->no_wait) {
                rc = error_set(err, COFFER_E_NOTYET, "table %s is busy: %s", name, who);
                break;
            }
            if (attempt == 0)
                say(s->env, ROTATE_WAIT, "fence", "table %s is busy: %s", name, who);
            s->env->os->sleep_ms(s->env->os, 100 + 37 * (attempt % 8));
            rc = COFFER_OK;
        }
        fence_set_free(&set);
    }
    return rc;
}

static void
remember_constraint(struct session *s, const struct keyring_column *column, const char *name)
{
    size_t i;

    for (i = 0; i < s->constraint_count; i++) {
        if (uuid_equal(&s->constraints[i].column, &column->id))
            break;
    }
    if (i == sizeof s->constraints / sizeof *s->constraints)
        return;
    s->constraints[i].column = column->id;
    memcpy(s->constraints[i].name, name, sizeof s->constraints[i].name);
    if (i == s->constraint_count)
        s->constraint_count++;
}

/* One column; waits while an older transaction holds the table. */
static int
constrain_column(struct session *s, struct rotation *rotation, const struct db_table *table,
                 const struct db_fence *fence, const struct keyring_column *column,
                 struct coffer_error *err)
{
    char name[DB_NAME_MAX] = "", last[500] = "";
    struct coffer_error reason = {0};
    int rc;

    for (;;) {
        rc = db_fence_constrain(s->database->db, table, fence, name, &reason);
        if (rc == COFFER_OK) {
            remember_constraint(s, column, name);
            return COFFER_OK;
        }
        if (rc != COFFER_E_NOTYET || s->options->no_wait)
            return error_set(err, rc, "%s", reason.message);
        if (strcmp(last, reason.message) != 0)
            say(s->env, ROTATE_WAIT, "fence", "%s", reason.message);
        memcpy(last, reason.message, sizeof last);
        s->env->os->sleep_ms(s->env->os, 500);
        rc = rotation_check(s, rotation, err);
        if (rc != COFFER_OK)
            return rc;
    }
}

int
fence_constrain(struct session *s, struct rotation *rotation, const struct uuid *ids, size_t count,
                bool closing, uint32_t fencing_key, struct coffer_error *err)
{
    const char *name;
    size_t at = 0, i;
    int rc = COFFER_OK;

    while (rc == COFFER_OK && (name = next_table(s, ids, count, &at)) != NULL) {
        struct fence_set set;

        rc = fence_set_make(s, name, ids, count, closing, fencing_key, &set, err);
        for (i = 0; rc == COFFER_OK && i < set.count; i++)
            rc = constrain_column(s, rotation, set.table, &set.fences[i], set.columns[i], err);
        fence_set_free(&set);
    }
    return rc;
}

int
fence_unconstrain(struct session *s, const struct uuid *ids, size_t count, struct coffer_error *err)
{
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < count; i++) {
        const struct keyring_column *column = keyring_column_by_id(s->keyring, &ids[i]);
        struct db_table *table = NULL;
        struct db_fence fence = {0};

        if (column == NULL)
            continue;
        column_cell_spec(column, &fence.cell);
        rc = db_table_open(s->database->db, column->table, &table, err);
        if (rc == COFFER_OK)
            rc = db_fence_unconstrain(s->database->db, table, &fence, err);
        db_table_free(table);
    }
    return rc;
}
