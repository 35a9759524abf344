/* SPDX-License-Identifier: Apache-2.0 */
/* Between decimal text and the integers of a sum column, and what is worked out from totals: exactly,
 * never through floating point.  No state. */
#ifndef COFFER_SUMS_FIGURES_H
#define COFFER_SUMS_FIGURES_H

#include "sums/int128.h"

#define FIGURES_SCALE_MAX 38

/* `-?[0-9]+(\.[0-9]*)?` as value·10^scale.  Zeros beyond the scale are dropped.
 * COFFER_E_FORMAT  not such a text (NaN, infinity, exponents)
 * COFFER_E_RANGE   digits beyond the scale
 * COFFER_E_LIMIT   more than 127 bits */
COFFER_MUST_CHECK int decimal_read(struct bytes text, unsigned scale, int128 *out,
                                   struct coffer_error *err);
/* The other way, with all `scale` decimal places (1.50). */
void decimal_write(int128 value, unsigned scale, struct buf *out);

/* a + b, a - b, a·b.  LIMIT: more than 127 bits. */
COFFER_MUST_CHECK int total_add(int128 a, int128 b, int128 *out, struct coffer_error *err);
COFFER_MUST_CHECK int total_subtract(int128 a, int128 b, int128 *out, struct coffer_error *err);
COFFER_MUST_CHECK int total_multiply(int128 a, int128 b, int128 *out, struct coffer_error *err);

/* sum/rows with `places` (at most 38) decimal places, half away from zero, as PostgreSQL's numeric rounds.  MISUSE: no rows,
 * or too many places. */
COFFER_MUST_CHECK int average_write(int128 sum, uint64_t rows, unsigned scale, unsigned places,
                                    struct buf *out, struct coffer_error *err);

enum spread { VARIANCE_POPULATION, VARIANCE_SAMPLE, DEVIATION_POPULATION, DEVIATION_SAMPLE };
/* From the totals of x and of x² (a 128-bit column of scale 2·`scale`) over the same rows, rounded half up.
 * MISUSE  fewer rows than the kind needs (1; a sample 2), or too many places
 * AUTH    no numbers have such totals */
COFFER_MUST_CHECK int spread_write(enum spread kind, int128 sum, int128 sum_of_squares,
                                   uint64_t rows, unsigned scale, unsigned places, struct buf *out,
                                   struct coffer_error *err);

#endif
