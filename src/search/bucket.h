/* SPDX-License-Identifier: Apache-2.0 */
/* Bucket terms: range queries of which a stolen copy shows no order.  docs/FORMAT.md "Search terms".
 *
 * A layout cuts the domain into buckets of about equal size, and a heavy bucket into sub-buckets
 * among which rows are spread at random.  A range asks for all terms of the buckets that it touches;
 * the client drops rows outside.  Layouts are read by any number of threads.
 */
#ifndef COFFER_SEARCH_BUCKET_H
#define COFFER_SEARCH_BUCKET_H

#include "base/bytes.h"
#include "base/secret.h"
#include "search/encode.h"

#define BUCKETS_MAX 65536

struct bucket_layout {
    uint32_t number;  /* of the layout, within its index: another layout gives other terms */
    unsigned width;   /* bytes of an order encoding */
    uint32_t buckets; /* 1…65536 */
    uint8_t *bounds;  /* (buckets - 1) · width bytes, ascending: bucket j begins at bound j - 1 */
    uint16_t *splits; /* sub-buckets of each, at least 1 */
};
void bucket_layout_wipe(struct bucket_layout *layout); /* accepts a zeroed one */

/* How many buckets to ask for: rows / 200, at most 65536 and a tenth of the sample, at least 1. */
uint32_t bucket_wanted(uint64_t rows, size_t sampled);

/* From a sample of `count` encodings of `width` bytes, which is sorted in place; about `wanted`
 * buckets.  MISUSE  a width or number that is none, an empty sample      NOMEM */
COFFER_MUST_CHECK int bucket_layout_build(uint8_t *sample, size_t count, unsigned width,
                                          uint32_t wanted, uint32_t number,
                                          struct bucket_layout *out, struct coffer_error *err);

/* The record that is sealed in the catalog (type bytes, bound to the index id as column id). */
COFFER_MUST_CHECK int bucket_layout_write(const struct bucket_layout *layout, struct buf *out,
                                          struct coffer_error *err);
/* FORMAT  anything but a record that bucket_layout_write() gives      NOMEM */
COFFER_MUST_CHECK int bucket_layout_parse(struct bytes record, struct bucket_layout *out,
                                          struct coffer_error *err);

uint32_t bucket_of(const struct bucket_layout *layout, const uint8_t *value); /* `width` bytes */

struct bucket_key;
COFFER_MUST_CHECK int bucket_key_new(const struct secret *key, const uint8_t index_id[16],
                                     unsigned version, struct bucket_key **out,
                                     struct coffer_error *err);
void bucket_key_free(struct bucket_key *key); /* accepts NULL */

int64_t bucket_term(const struct bucket_key *key, const struct bucket_layout *layout,
                    uint32_t bucket, uint32_t sub);
/* The term to store with a value: its bucket, a sub-bucket drawn at random.  NOMEM, IO as
 * random_nonce(). */
COFFER_MUST_CHECK int bucket_term_of(const struct bucket_key *key,
                                     const struct bucket_layout *layout, const uint8_t *value,
                                     int64_t *out, struct coffer_error *err);
/* All terms of [low, high], ascending; `*out` is freed with mem_free().  NULL and 0 if low > high.
 * LIMIT  more than `max`      NOMEM */
COFFER_MUST_CHECK int bucket_range(const struct bucket_key *key, const struct bucket_layout *layout,
                                   const uint8_t *low, const uint8_t *high, size_t max,
                                   int64_t **out, size_t *count, struct coffer_error *err);

/* The record as a cell, and back: under a column key whose column id is the index id.  AUTH, KEY as
 * field_open(); FORMAT. */
struct column_key;
COFFER_MUST_CHECK int bucket_layout_seal(const struct bucket_layout *layout,
                                         const uint8_t index_id[16], const struct column_key *key,
                                         struct buf *out, struct coffer_error *err);
COFFER_MUST_CHECK int bucket_layout_open(struct bytes cell, const uint8_t index_id[16],
                                         const struct column_key *key, struct bucket_layout *out,
                                         struct coffer_error *err);

#endif
