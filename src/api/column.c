/* SPDX-License-Identifier: Apache-2.0 */
/* Columns by name. */
#include "api/internal.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

const struct keyring_column *
column_now(const struct snapshot *snapshot, const struct coffer_column *column)
{
    return keyring_column_by_id(snapshot->keyring, &column->record.id);
}

/* "schema.table.column" in full, or without the schema. */
static bool
bears_name(const struct keyring_column *column, const char *name)
{
    char full[2 * KEYRING_NAME_MAX];
    const char *dot = strchr(column->table, '.');

    snprintf(full, sizeof full, "%s.%s", column->table, column->name);
    return strcmp(full, name) == 0 ||
           (dot != NULL && strcmp(full + (dot - column->table) + 1, name) == 0);
}

static int
not_found(const struct keyring *keyring, const char *name, struct coffer_error *err)
{
    struct buf known;
    size_t i, n = 0;
    int rc;

    buf_init(&known, 300);
    for (i = 0; i < keyring_column_count(keyring) && known.len < 200; i++) {
        const struct keyring_column *column = keyring_column_at(keyring, i);

        if (!column->retired)
            buf_format(&known, "%s%.60s.%.60s", n++ > 0 ? ", " : "", column->table, column->name);
    }
    rc = error_set(err, COFFER_E_NOTFOUND, "%.100s is no protected column; there are: %s", name,
                   n > 0 ? buf_cstr(&known) : "none");
    buf_wipe(&known);
    return rc;
}

int
coffer_column_find(struct coffer *coffer, const uint8_t *database, const char *name,
                   const struct coffer_column **out, struct coffer_error *err)
{
    const struct keyring_column *found = NULL;
    struct coffer_column *column;
    struct snapshot *held;
    size_t i, matches = 0;
    int rc = COFFER_OK;

    if (coffer == NULL || name == NULL || out == NULL)
        return error_set(err, COFFER_E_MISUSE, "coffer_column_find: NULL argument");
    *out = NULL;
    held = snapshot_hold(coffer);
    for (i = 0; i < keyring_column_count(held->keyring); i++) {
        const struct keyring_column *candidate = keyring_column_at(held->keyring, i);

        if (candidate->retired || !bears_name(candidate, name) ||
            (database != NULL && memcmp(candidate->database.b, database, 16) != 0))
            continue;
        found = candidate;
        matches++;
    }
    if (matches == 0)
        rc = not_found(held->keyring, name, err);
    else if (matches > 1)
        rc = error_set(
            err, COFFER_E_MISUSE,
            "%.100s is the name of %zu protected columns: give the schema or the database", name,
            matches);
    pthread_mutex_lock(&coffer->lock);
    for (column = coffer->columns; rc == COFFER_OK && column != NULL; column = column->next) {
        if (uuid_equal(&column->record.id, &found->id))
            break;
    }
    if (rc == COFFER_OK && column == NULL) {
        column = mem_alloc(sizeof *column);
        if (column == NULL) {
            rc = error_nomem(err);
        } else {
            column->record = *found;
            column->coffer = coffer;
            column->next = coffer->columns;
            coffer->columns = column;
        }
    }
    pthread_mutex_unlock(&coffer->lock);
    snapshot_release(held);
    if (rc == COFFER_OK)
        *out = column;
    return rc;
}

void
coffer_column_info(const struct coffer_column *column, struct coffer_column_info *info)
{
    struct snapshot *held = snapshot_hold(column->coffer);
    const struct keyring_column *now = column_now(held, column);
    const struct keyring_column *record = &column->record;
    const struct keyring_key *active;

    *info = (struct coffer_column_info){0};
    active = keyring_active(held->keyring, KEY_FIELD, now != NULL ? now->line : record->line);
    memcpy(info->id, record->id.b, sizeof info->id);
    info->type = record->type;
    info->binding = record->binding;
    info->suite = record->suite;
    info->phase = now != NULL && !now->retired ? now->phase : COFFER_OFF;
    info->pad = record->pad;
    info->active_key_id = active != NULL ? active->id : 0;
    info->text_form = record->text_form;
    info->key_parts = record->part_count;
    info->table = record->table;
    info->name = record->name;
    info->sealed_name = record->companion[0] != '\0' ? record->companion : record->name;
    snapshot_release(held);
}

size_t
coffer_sealed_max(const struct coffer_column *column, size_t plain_len)
{
    struct field_def def;

    codec_def(&column->record, &def);
    return field_sealed_max(&def, plain_len < 16 ? 16 : plain_len);
}
