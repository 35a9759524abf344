/* SPDX-License-Identifier: Apache-2.0 */
/* Shared within sums/: the insides of a key and of a set. */
#ifndef COFFER_SUMS_INTERNAL_H
#define COFFER_SUMS_INTERNAL_H

#include "crypto/aes_block.h"
#include "sums/modp.h"
#include "sums/sum.h"

struct alphas { /* 1 to p-1 */
    uint128 l, h;
};

struct sum_key {
    unsigned version;
    struct secret *mask, *tag; /* struct aes_schedule */
    struct secret *alpha;      /* struct alphas */
};

const struct alphas *sum_alphas(const struct sum_key *key);
/* Ids to F(id), or to R(id), in place. */
void sum_masks(const struct sum_key *key, uint8_t *blocks, size_t count);
void sum_tag_blocks(const struct sum_key *key, uint8_t *blocks, size_t count);

/* HKDF of the specification, "Keys": `len` bytes for `label` of a column and version.  NOMEM. */
COFFER_MUST_CHECK int sums_subkey(const struct secret *key, const char *label,
                                  const uint8_t index_id[16], unsigned version, uint8_t *out,
                                  size_t len, struct coffer_error *err);

/* Rows of one session, in runs that all count `weight` times, or each its own. */
struct part {
    uint8_t group[SUM_GROUP_LEN];
    struct sum_run *runs;
    int64_t *weights; /* NULL: 1 each */
    size_t count;
};

/* What all rows of one version add up to. */
struct part_sums {
    unsigned version;
    uint64_t rows;
    uint64_t weight; /* Σ|w|, below 2^62 */
    int128 l, h;
    uint128 tag; /* mod p */
};

struct sum_set {
    unsigned flags;
    struct part *parts;
    size_t count, size;
    struct part_sums *sums;
    size_t sums_count;
    bool ids_repeat; /* among parts, too */
};

#define SUM_WEIGHT_MAX ((uint64_t)1 << 62)

#endif
