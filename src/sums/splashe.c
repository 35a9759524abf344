/* SPDX-License-Identifier: Apache-2.0 */
#include "sums/splashe.h"

#include "base/mem.h"

#include <string.h>

struct splashe_keys {
    size_t count;
    struct sum_key *key[SPLASHE_VALUES_MAX * (1 + SPLASHE_MEASURES_MAX)];
};

size_t
splashe_columns(const struct splashe_plan *plan)
{
    return plan->values * (1 + plan->measures);
}

void
splashe_column(const struct splashe_plan *plan, size_t column, struct sum_def *def)
{
    size_t group = column / plan->values, value = column % plan->values;

    memset(def, 0, sizeof *def);
    if (group == 0) {
        def->max_abs = 1;
        def->flags = plan->flags & SUM_TAGGED;
        memcpy(def->index_id, plan->count_ids[value], 16);
    } else {
        *def = plan->measure[group - 1];
        memcpy(def->index_id, plan->measure_ids[group - 1][value], 16);
    }
}

int
splashe_check(const struct splashe_plan *plan, struct coffer_error *err)
{
    struct sum_def a, b;

    if (plan->values == 0 || plan->values > SPLASHE_VALUES_MAX ||
        plan->measures > SPLASHE_MEASURES_MAX)
        return error_set(err, COFFER_E_MISUSE,
                         "totals by value take 1 to %d values and at most %d measures",
                         SPLASHE_VALUES_MAX, SPLASHE_MEASURES_MAX);
    /* Two columns under one id and one key would show which of them holds the 1. */
    for (size_t i = 0; i < splashe_columns(plan); i++)
        for (size_t k = 0; k < i; k++) {
            splashe_column(plan, i, &a);
            splashe_column(plan, k, &b);
            if (memcmp(a.index_id, b.index_id, 16) == 0)
                return error_set(err, COFFER_E_MISUSE, "two columns have one index id");
        }
    return COFFER_OK;
}

int
splashe_keys_new(const struct splashe_plan *plan, const struct secret *key, unsigned version,
                 struct splashe_keys **out, struct coffer_error *err)
{
    struct splashe_keys *made;
    struct sum_def def;
    int rc;

    *out = NULL;
    rc = splashe_check(plan, err);
    if (rc != COFFER_OK)
        return rc;
    made = mem_alloc(sizeof *made);
    if (made == NULL)
        return error_nomem(err);
    for (; rc == COFFER_OK && made->count < splashe_columns(plan);) {
        splashe_column(plan, made->count, &def);
        rc = sum_key_new(key, def.index_id, version, &made->key[made->count], err);
        made->count += rc == COFFER_OK;
    }
    if (rc != COFFER_OK) {
        splashe_keys_free(made);
        return rc;
    }
    *out = made;
    return COFFER_OK;
}

void
splashe_keys_free(struct splashe_keys *keys)
{
    if (keys == NULL)
        return;
    for (size_t i = 0; i < keys->count; i++)
        sum_key_free(keys->key[i]);
    mem_free(keys);
}

const struct sum_key *
splashe_key(const struct splashe_keys *keys, size_t column)
{
    return column < keys->count ? keys->key[column] : NULL;
}

int
splashe_encrypt(const struct splashe_plan *plan, const struct splashe_keys *keys, struct sum_id id,
                size_t value, const int128 *measures, struct sum_cell *out,
                struct coffer_error *err)
{
    int rc = COFFER_OK;

    if (value >= plan->values)
        return error_set(err, COFFER_E_MISUSE,
                         "the column does not list this value: add it to the plan first");
    for (size_t i = 0; rc == COFFER_OK && i < splashe_columns(plan); i++) {
        size_t group = i / plan->values;
        int128 own = group == 0 ? 1 : measures[group - 1];
        struct sum_def def;

        splashe_column(plan, i, &def);
        /* Each column is encrypted, so that the time tells nothing of the value. */
        rc = sum_encrypt(&def, keys->key[i], id, i % plan->values == value ? own : 0, &out[i], err);
    }
    return rc;
}

int
splashe_counts(const struct splashe_plan *plan, const struct sum_total *counts, uint64_t rows,
               struct coffer_error *err)
{
    int128 sum = 0;
    bool negative = false;

    for (size_t i = 0; i < plan->values; i++) {
        negative = negative || counts[i].value < 0 || counts[i].rows != rows;
        sum += counts[i].value;
    }
    if (negative || sum != (int128)rows)
        return error_set(err, COFFER_E_AUTH,
                         "the counts by value are not those of %llu rows, each with one value",
                         (unsigned long long)rows);
    return COFFER_OK;
}
