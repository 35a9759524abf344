/* SPDX-License-Identifier: Apache-2.0 */
/* Values as the bytes that terms are made of.  docs/FORMAT.md "Search terms", encodings.
 *
 * The equality encoding is the same for equal values; the order encoding has a fixed width and
 * sorts as the values do, compared as unsigned bytes.  No state.
 */
#ifndef COFFER_SEARCH_ENCODE_H
#define COFFER_SEARCH_ENCODE_H

#include "base/bytes.h"

#define ORDER_WIDTH_MAX 32

/* What a column declares to be ordered: which members count depends on the type. */
struct order_domain {
    int type;       /* enum coffer_type */
    unsigned width; /* int64: 2, 4 or 8; bytes and text: 1…32; others: set by the check */
    unsigned precision, scale; /* numeric: 1…38 digits, of which `scale` after the point */
    int normaliser;            /* text; not digits */
};
/* Check the declaration and set `width` where the type gives it.
 *
 * MISUSE  a width, precision, scale or normaliser that is none      REFUSED  bool, json */
COFFER_MUST_CHECK int order_domain_check(struct order_domain *domain, struct coffer_error *err);

/* `out` gets domain->width bytes of a checked domain.  Text and bytes are cut at the width: equal
 * encodings may be different values, which the client tells apart.
 *
 * RANGE  outside the declared width or precision      FORMAT  ill-formed text, or a numeric that is
 * not canonical      TYPE  another type      NOMEM */
COFFER_MUST_CHECK int order_encode(const struct order_domain *domain,
                                   const struct coffer_value *value, uint8_t out[ORDER_WIDTH_MAX],
                                   struct coffer_error *err);

/* Append the equality encoding.  `normaliser` counts for text alone.
 *
 * REFUSED  bool, json      FORMAT  as above      TYPE  a malformed value      MISUSE  NULL, an
 * unknown normaliser      NOMEM, LIMIT */
COFFER_MUST_CHECK int equality_encode(const struct coffer_value *value, int normaliser,
                                      struct buf *out, struct coffer_error *err);

/* A numeric as terms want it: no leading or trailing zero, no -0.  "1.50" gives "1.5".  FORMAT for
 * NaN, infinities and what is no number. */
COFFER_MUST_CHECK int numeric_canonical(struct bytes text, struct buf *out,
                                        struct coffer_error *err);

#endif
