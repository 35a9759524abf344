/* SPDX-License-Identifier: Apache-2.0 */
/* Protected columns: looked up, put, moved from phase to phase. */
#include "keyring/internal.h"

#include <string.h>

size_t
keyring_column_count(const struct keyring *kr)
{
    return kr->columns.count;
}

const struct keyring_column *
keyring_column_at(const struct keyring *kr, size_t i)
{
    return list_at(&kr->columns, i);
}

const struct keyring_column *
keyring_column(const struct keyring *kr, const struct uuid *database, const char *table,
               const char *name)
{
    for (size_t i = 0; i < kr->columns.count; i++) {
        const struct keyring_column *column = list_at(&kr->columns, i);

        if (!column->retired && uuid_equal(&column->database, database) &&
            strcmp(column->table, table) == 0 && strcmp(column->name, name) == 0)
            return column;
    }
    return NULL;
}

static struct keyring_column *
find_column(const struct keyring *kr, const struct uuid *id)
{
    for (size_t i = 0; i < kr->columns.count; i++) {
        struct keyring_column *column = list_at(&kr->columns, i);

        if (uuid_equal(&column->id, id))
            return column;
    }
    return NULL;
}

const struct keyring_column *
keyring_column_by_id(const struct keyring *kr, const struct uuid *id)
{
    return find_column(kr, id);
}

int
keyring_column_put(struct keyring *kr, const struct keyring_column *column,
                   struct coffer_error *err)
{
    const char *problem = column_problem(column);
    const struct keyring_column *namesake;
    struct keyring_column *found, new;

    if (problem != NULL)
        return error_set(err, COFFER_E_MISUSE, "column: %s", problem);
    namesake = keyring_column(kr, &column->database, column->table, column->name);
    if (namesake != NULL && !column->retired && !uuid_equal(&namesake->id, &column->id))
        return error_set(err, COFFER_E_EXISTS, "column %s.%s is protected already", column->table,
                         column->name);

    found = find_column(kr, &column->id);
    new = *column;
    if (found == NULL || found->phase != new.phase)
        new.phase_epoch = kr->epoch + 1;
    else
        new.phase_epoch = found->phase_epoch;
    if (found == NULL)
        return list_append(&kr->columns, &new, err);
    *found = new;
    return COFFER_OK;
}

int
keyring_column_phase(struct keyring *kr, const struct uuid *id, int phase, struct coffer_error *err)
{
    struct keyring_column *column = find_column(kr, id);

    if (column == NULL)
        return error_set(err, COFFER_E_NOTFOUND, "the keyring holds no column of this id");
    if (phase < COFFER_OFF || phase > COFFER_SEALED)
        return error_set(err, COFFER_E_MISUSE, "no phase has the number %d", phase);
    if (column->phase != phase) {
        column->phase = phase;
        column->phase_epoch = kr->epoch + 1;
    }
    return COFFER_OK;
}
