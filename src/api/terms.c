/* SPDX-License-Identifier: Apache-2.0 */
/* Search terms of a value, for whoever writes it. */
#include "api/internal.h"
#include "base/mem.h"
#include "index/index.h"

#include <string.h>

enum { INDEXES_MAX_OF_COLUMN = INDEX_PAILLIER };

struct coffer_terms {
    struct coffer_term terms[INDEXES_MAX_OF_COLUMN * INDEX_COLUMNS_MAX];
    struct stored_column columns[INDEXES_MAX_OF_COLUMN][INDEX_COLUMNS_MAX]; /* their names */
    struct stored stored[INDEXES_MAX_OF_COLUMN];
    size_t count, indexes;
};

static int
add_index(struct coffer_terms *terms, const struct keyring *keyring, const struct keyring_index *def, const struct keyring_column *column,
          const struct coffer_value *value, struct coffer_error *err)
{
    struct stored_column *columns = terms->columns[terms->indexes];
    struct stored *stored = &terms->stored[terms->indexes];
    size_t count = index_columns(def, columns);
    struct index *index = NULL;
    int rc = index_new(keyring, def, column, &index, err);

    if (rc == COFFER_OK)
        rc = index_store(index, value, stored, err);
    index_free(index);
    terms->indexes++;
    for (size_t i = 0; rc == COFFER_OK && i < count; i++) {
        struct coffer_term *term = &terms->terms[terms->count++];

        term->column = columns[i].name;
        term->value = stored->values[i];
        if (columns[i].form != STORED_TOKENS || value->type == COFFER_NULL)
            continue;
        term->tokens = stored->tokens.at;
        term->token_count = stored->tokens.count;
    }
    return rc;
}

int
coffer_terms(struct coffer *coffer, const struct coffer_column *column, const struct coffer_value *value, struct coffer_terms **out,
             struct coffer_error *err)
{
    const struct keyring_column *record;
    struct coffer_terms *terms;
    struct snapshot *held;
    int rc = COFFER_OK;

    if (out != NULL)
        *out = NULL;
    if (coffer == NULL || column == NULL || value == NULL || out == NULL)
        return error_set(err, COFFER_E_MISUSE, "coffer_terms: NULL argument");
    if (!lease_holds(coffer))
        return error_set(err, COFFER_E_STALE, "the keyring was not confirmed within %d s: no terms are made", COFFER_LEASE_MS / 1000);
    terms = mem_alloc(sizeof *terms);
    if (terms == NULL)
        return error_nomem(err);
    held = snapshot_hold(coffer);
    record = column_now(held, column);
    if (record == NULL)
        rc = error_set(err, COFFER_E_NOTFOUND, "the column is no longer protected");
    for (size_t i = 0; rc == COFFER_OK && i < keyring_index_count(held->keyring); i++) {
        const struct keyring_index *def = keyring_index_at(held->keyring, i);

        if (uuid_equal(&def->column, &record->id) && def->state != INDEX_DROPPING && terms->indexes < INDEXES_MAX_OF_COLUMN)
            rc = add_index(terms, held->keyring, def, record, value, err);
    }
    snapshot_release(held);
    if (rc != COFFER_OK) {
        coffer_terms_free(terms);
        return rc;
    }
    *out = terms;
    return COFFER_OK;
}

size_t
coffer_terms_count(const struct coffer_terms *terms)
{
    return terms->count;
}

const struct coffer_term *
coffer_terms_at(const struct coffer_terms *terms, size_t i)
{
    return i < terms->count ? &terms->terms[i] : NULL;
}

void
coffer_terms_free(struct coffer_terms *terms)
{
    if (terms == NULL)
        return;
    for (size_t i = 0; i < terms->indexes; i++)
        stored_wipe(&terms->stored[i]);
    mem_free(terms);
}
