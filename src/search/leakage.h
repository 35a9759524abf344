/* SPDX-License-Identifier: Apache-2.0 */
/* What terms would reveal of a column: known attacks, run over a sample of its own values.
 *
 * Pure computation in memory; nothing is read, written or kept.  A share is of rows, 0…1, and a
 * lower bound: "at least".  Values are encodings (encode.h): equality encodings, or order encodings
 * of one width for order.  NULL rows are left out by the caller.  Attacks: Naveed, Kamara, Wright,
 * CCS 2015; Grubbs et al., S&P 2017.  Every function: NOMEM.  An empty sample gives zeros.
 */
#ifndef COFFER_SEARCH_LEAKAGE_H
#define COFFER_SEARCH_LEAKAGE_H

#include "base/bytes.h"
#include "search/bucket.h"
#include "search/tokens.h"

/* A ≤ 1 %, B ≤ 5 %, C ≤ 20 %, D ≤ 50 %, F above.  D and F want an explicit yes of the owner. */
char leakage_grade(double share);

struct leakage_equality {
    size_t rows, distinct;
    double exact;   /* recovered by who knows how often each value occurs */
    double similar; /* by who has other data like it: one random half against the other, by rank */
};
/* Rank matching is the assignment of least cost for counts alone, since |a - b| is convex. */
COFFER_MUST_CHECK int leakage_equality(const struct bytes *values, size_t count, uint64_t seed,
                                       struct leakage_equality *out, struct coffer_error *err);

/* Terms of `bits` bits: values that fall together are guessed as the most frequent of them. */
struct leakage_short {
    double share;           /* recovered by who knows all counts */
    double false_positives; /* other rows that a look-up of one row's value brings, on average */
};
COFFER_MUST_CHECK int leakage_short(const struct bytes *values, size_t count, unsigned bits,
                                    uint64_t seed, struct leakage_short *out,
                                    struct coffer_error *err);

struct leakage_order {
    size_t rows, distinct;
    double density;       /* distinct / domain; at 1 sorting the terms reads them all */
    double assignment;    /* half against half, by count and cumulative share, least cost; up to
                          LEAKAGE_MATCHED_MAX values, else 0 */
    double crossing_free; /* half against half, in order, by dynamic programming; likewise */
    double gap_bits;      /* mean log2 of the distance to the next value */
    double fixed_by_bit;  /* mean bits of a value that first differing bits give (OPE) */
    double fixed_by_byte; /* mean bits that first differing bytes give (ORE) */
    double worst;         /* what to grade: the largest share, 1 at density 1, and the density */
};
#define LEAKAGE_MATCHED_MAX 500
/* `domain`: how many values are possible, 0: 2^(8 · width). */
COFFER_MUST_CHECK int leakage_order(const struct bytes *encodings, size_t count, double domain,
                                    uint64_t seed, struct leakage_order *out,
                                    struct coffer_error *err);

struct leakage_tokens {
    double top_matched;   /* of the 100 most frequent tokens, matched by rank between halves */
    double unique_counts; /* rows whose number of tokens no other row has */
};
COFFER_MUST_CHECK int leakage_tokens(const struct tokens *rows, size_t count, uint64_t seed,
                                     struct leakage_tokens *out, struct coffer_error *err);

struct leakage_buckets {
    double entropy_bits, entropy_max_bits; /* of the sizes of classes; equal: nothing is shown */
    double over_fetch; /* rows fetched for a row asked for, over random ranges of the sample */
};
COFFER_MUST_CHECK int leakage_buckets(const struct bucket_layout *layout,
                                      const struct bytes *encodings, size_t count, uint64_t seed,
                                      struct leakage_buckets *out, struct coffer_error *err);

/* Two columns of the same rows together: recovered by who knows how often each pair occurs. */
COFFER_MUST_CHECK int leakage_pair(const struct bytes *a, const struct bytes *b, size_t count,
                                   double *share, struct coffer_error *err);

#endif
