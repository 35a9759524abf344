/* SPDX-License-Identifier: Apache-2.0 */
/* Totals by a column of few values that nobody may see (SPLASHE): instead of the value, a row has one
 * sum column for each value, 1 in that of its own and 0 in the others; for each measure that is totalled by value likewise,
 * the measure or 0.  All share the row's id, all are written together, all look alike.
 *
 * The plan, which value has which columns, is in the keyring.  Each column is a sum column of its own index id (sum.h): its
 * total is opened with splashe_column() and splashe_key().
 * Source: Papadimitriou et al., Seabed, OSDI 2016; docs/FORMAT.md, "Sum columns". */
#ifndef COFFER_SUMS_SPLASHE_H
#define COFFER_SUMS_SPLASHE_H

#include "sums/sum.h"

#define SPLASHE_VALUES_MAX 16
#define SPLASHE_MEASURES_MAX 8

/* Columns of a row, in order: the counts of all values, then the first measure of all values, and so on. */
struct splashe_plan {
    size_t values, measures;
    unsigned flags; /* SUM_TAGGED; counts are of 64 bits */
    uint8_t count_ids[SPLASHE_VALUES_MAX][16];
    struct sum_def measure[SPLASHE_MEASURES_MAX]; /* bounds and flags; the index id is not used */
    uint8_t measure_ids[SPLASHE_MEASURES_MAX][SPLASHE_VALUES_MAX][16];
};

/* MISUSE: no value, too many, or an index id that stands twice. */
COFFER_MUST_CHECK int splashe_check(const struct splashe_plan *plan, struct coffer_error *err);
size_t splashe_columns(const struct splashe_plan *plan);
/* The definition of a column, to open its total. */
void splashe_column(const struct splashe_plan *plan, size_t column, struct sum_def *def);

struct splashe_keys;

/* Of one version.  As sum_key_new(). */
COFFER_MUST_CHECK int splashe_keys_new(const struct splashe_plan *plan, const struct secret *key,
                                       unsigned version, struct splashe_keys **out,
                                       struct coffer_error *err);
void splashe_keys_free(struct splashe_keys *keys); /* accepts NULL */
const struct sum_key *splashe_key(const struct splashe_keys *keys, size_t column);

/* All columns of one row, under a fresh id: value number `value` of the plan, and its measures.  A
 * change of any of it writes all of them anew.
 * MISUSE (no such value), and as sum_encrypt().  After a failure `out` holds nothing to store. */
COFFER_MUST_CHECK int splashe_encrypt(const struct splashe_plan *plan,
                                      const struct splashe_keys *keys, struct sum_id id,
                                      size_t value, const int128 *measures, struct sum_cell *out,
                                      struct coffer_error *err);

/* The opened counts over the same `rows` rows: none negative, together as many as rows.  AUTH: the
 * columns are not those of these rows. */
COFFER_MUST_CHECK int splashe_counts(const struct splashe_plan *plan,
                                     const struct sum_total *counts, uint64_t rows,
                                     struct coffer_error *err);

#endif
