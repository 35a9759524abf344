/* SPDX-License-Identifier: Apache-2.0 */
/* A sample sorted into classes of equal values, with counts in each of two random halves.  Internal
 * to search/. */
#ifndef COFFER_SEARCH_CLASSES_H
#define COFFER_SEARCH_CLASSES_H

#include "base/bytes.h"

struct value_class {
    struct bytes value; /* borrowed */
    size_t count;
    size_t known, target; /* rows in the attacker's half and in the other */
    uint64_t tie;         /* random: how equal counts are ranked */
};
/* Ascending by value; `*out` is freed with mem_free(). */
COFFER_MUST_CHECK int classes_of(const struct bytes *values, size_t count, uint64_t seed,
                                 struct value_class **out, size_t *classes,
                                 struct coffer_error *err);
uint64_t chance_next(uint64_t *state); /* splitmix64: repeatable, for sampling only */

/* Of the rows of the target half, how many an attacker names rightly. */
COFFER_MUST_CHECK int match_by_rank(const struct value_class *classes, size_t count, double *share,
                                    struct coffer_error *err);
COFFER_MUST_CHECK int match_by_assignment(const struct value_class *classes, size_t count,
                                          double *share, struct coffer_error *err);
COFFER_MUST_CHECK int match_in_order(const struct value_class *classes, size_t count, double *share,
                                     struct coffer_error *err);

#endif
