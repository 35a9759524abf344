/* SPDX-License-Identifier: Apache-2.0 */
/* Columns by name, and tables opened for a walk. */
#include "base/mem.h"
#include "rotate/machine.h"

#include <stdio.h>
#include <string.h>

/* "table.column", "schema.table.column", or "table" alone against a column of the keyring. */
static bool
name_matches(const struct keyring_column *column, const char *name)
{
    char full[2 * KEYRING_NAME_MAX];
    const char *short_name;

    snprintf(full, sizeof full, "%s.%s", column->table, column->name);
    if (strcmp(full, name) == 0)
        return true;
    short_name = strchr(column->table, '.');
    if (short_name == NULL)
        return false;
    snprintf(full, sizeof full, "%s.%s", short_name + 1, column->name);
    return strcmp(full, name) == 0;
}

static int
not_protected(struct session *s, const char *name, struct coffer_error *err)
{
    struct buf list;
    size_t i, n = 0;

    buf_init(&list, 64u << 10);
    for (i = 0; i < keyring_column_count(s->keyring); i++) {
        const struct keyring_column *column = keyring_column_at(s->keyring, i);

        if (!column->retired && uuid_equal(&column->database, &s->database->id))
            buf_format(&list, "%s%s.%s", n++ > 0 ? ", " : "", column->table, column->name);
    }
    error_set(err, COFFER_E_NOTFOUND, "%s is no protected column of %s%s%.300s", name, s->database->name,
              n > 0 ? "; protected are " : ", where none is protected", n > 0 ? buf_cstr(&list) : "");
    buf_wipe(&list);
    return COFFER_E_NOTFOUND;
}

int
columns_resolve(struct session *s, const char *const *names, size_t count, struct uuid **out,
                size_t *out_count, struct coffer_error *err)
{
    size_t total = keyring_column_count(s->keyring), n = 0, i, j;
    bool *seen = mem_array(count + 1, sizeof *seen);
    struct uuid *ids = mem_array(total + 1, sizeof *ids);
    int rc = COFFER_OK;

    *out = NULL;
    *out_count = 0;
    if (ids == NULL || seen == NULL) {
        rc = error_nomem(err);
        goto out;
    }
    for (i = 0; i < total; i++) {
        const struct keyring_column *column = keyring_column_at(s->keyring, i);
        bool take = count == 0;

        if (column->retired || !uuid_equal(&column->database, &s->database->id))
            continue;
        for (j = 0; j < count; j++) {
            if (name_matches(column, names[j]))
                take = seen[j] = true;
        }
        if (take)
            ids[n++] = column->id;
    }
    for (j = 0; j < count; j++) {
        if (!seen[j]) {
            rc = not_protected(s, names[j], err);
            goto out;
        }
    }
    *out = ids;
    *out_count = n;
    ids = NULL;
out:
    mem_free(seen);
    mem_free(ids);
    return rc;
}

void
column_cell_spec(const struct keyring_column *column, struct db_cell_spec *spec)
{
    memset(spec, 0, sizeof *spec);
    spec->plain = column->name;
    spec->sealed = column->companion[0] != '\0' ? column->companion : NULL;
    spec->type = column->type;
    spec->text_form = column->text_form;
    spec->sql_type = column->sql_type;
}

int
column_table(struct session *s, const struct keyring_column *column, struct db_table **out,
             struct coffer_error *err)
{
    int rc = db_table_open(s->database->db, column->table, out, err);

    if (rc == COFFER_E_NOTFOUND)
        rc = error_set(err, rc,
                       "protected column %s.%s: there is no table %s any more. If it was renamed, rename "
                       "it back; if it was dropped: coffer unprotect --gone",
                       column->table, column->name, column->table);
    else if (rc != COFFER_OK)
        rc = error_prefix(err, "protected column %s.%s: ", column->table, column->name);
    return rc;
}

/* In place, SQL cannot tell a plaintext that looks like an envelope from one: bytes anywhere, text
 * in text form. */
static bool
must_examine(const struct keyring_column *column)
{
    return column->companion[0] == '\0' && column->phase != COFFER_SEALED &&
           (column->type == COFFER_BYTES || column->text_form);
}

static int
add_column(struct session *s, struct table_set *set, const struct keyring_column *column,
           size_t room, enum db_goal goal, uint32_t target_key, struct coffer_error *err)
{
    struct walk_column *walk;
    size_t i;
    int rc;

    for (i = 0; i < set->count; i++) {
        if (strcmp(set->items[i].table->name, column->table) == 0)
            break;
    }
    if (i == set->count) {
        rc = column_table(s, column, &set->items[i].table, err);
        if (rc != COFFER_OK)
            return rc;
        set->count++;
        set->items[i].columns = mem_array(room, sizeof *set->items[i].columns);
        if (set->items[i].columns == NULL)
            return error_nomem(err);
    }
    if (db_table_column(set->items[i].table, column->name) == NULL)
        return error_set(err, COFFER_E_NOTFOUND,
                         "column %s.%s is protected but is not in the table any more. If it was "
                         "renamed, rename it back; if it was dropped: coffer unprotect --gone",
                         column->table, column->name);
    walk = &set->items[i].columns[set->items[i].count++];
    walk->column = column;
    column_cell_spec(column, &walk->want.cell);
    walk->want.goal = goal;
    walk->want.target_key = target_key;
    walk->want.examine_all = must_examine(column);
    return COFFER_OK;
}

enum db_goal
walk_goal(const struct keyring_column *column, const struct rotation *rotation)
{
    bool in_place = column->companion[0] == '\0';

    switch (rotation->kind) {
    case ROTATION_PROTECT:
        if (column->phase == COFFER_SHADOW)
            return in_place ? 0 : DB_GOAL_SEAL_BESIDE;
        return column->phase == COFFER_OFF ? 0 : DB_GOAL_SEAL;
    case ROTATION_UNPROTECT:
        return column->phase == COFFER_SHADOW ? DB_GOAL_PLAIN : 0;
    case ROTATION_ROTATE:
    case ROTATION_RECOVER:
        if (column->phase == COFFER_SEALED || (in_place && column->phase == COFFER_DUAL))
            return DB_GOAL_SEAL;
        return in_place || column->phase == COFFER_OFF ? 0 : DB_GOAL_SEAL_BESIDE;
    }
    return 0;
}

int
table_set_open(struct session *s, const struct rotation *rotation, struct table_set *out,
               struct coffer_error *err)
{
    size_t i;
    int rc = COFFER_OK;

    memset(out, 0, sizeof *out);
    out->items = mem_array(rotation->column_count + 1, sizeof *out->items);
    if (out->items == NULL)
        return error_nomem(err);
    /* The record may be another process's by now, which staged a key that we have not read yet. */
    if (rotation->to_key != 0 && keyring_key(s->keyring, rotation->to_key) == NULL)
        rc = session_refresh(s, err);
    for (i = 0; rc == COFFER_OK && i < rotation->column_count; i++) {
        const struct keyring_column *column =
            keyring_column_by_id(s->keyring, &rotation->columns[i]);
        const struct keyring_key *target;
        enum db_goal goal;

        if (column == NULL || column->retired)
            continue;
        goal = walk_goal(column, rotation);
        if (goal == 0)
            continue;
        target = rotation->to_key != 0 ? keyring_key(s->keyring, rotation->to_key)
                                       : keyring_active(s->keyring, KEY_FIELD, column->line);
        if (target == NULL && rotation->to_key != 0)
            rc = error_set(err, COFFER_E_KEY,
                           "the rotation goes to key %08x, which is not in this keyring: is it the "
                           "keyring that the rotation was begun with?",
                           rotation->to_key);
        else if (target == NULL)
            rc = error_set(
                err, COFFER_E_KEY,
                "line %s has no active field key; make one with: coffer key add --line %s",
                column->line, column->line);
        else
            rc = add_column(s, out, column, rotation->column_count, goal, target->id, err);
    }
    if (rc != COFFER_OK)
        table_set_close(out);
    return rc;
}

void
table_set_close(struct table_set *set)
{
    size_t i;

    for (i = 0; i < set->count; i++) {
        db_table_free(set->items[i].table);
        mem_free(set->items[i].columns);
    }
    mem_free(set->items);
    memset(set, 0, sizeof *set);
}
