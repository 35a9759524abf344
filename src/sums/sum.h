/* SPDX-License-Identifier: Apache-2.0 */
/* Sum columns: values that a database adds up without a key (ASHE), and tags that show the total to
 * be that of its rows (a linear homomorphic MAC).
 *
 * A column declares the largest absolute value that it takes.  Values are integers: a numeric column has
 * a scale (figures.h).  64-bit columns store one number l, 128-bit columns l and h; both, and the
 * tag, stand beside the id of ids.h, which is drawn anew for each change of the value.
 *
 * A total is opened from a sum_set: ids of the rows and sums of the stored columns, as the server
 * answered them.  What a verified total says: it is that of exactly the values written under these
 * ids.  It does not say that the rows are all, that they meet a condition, or that they are current.
 * Source: Papadimitriou et al., Seabed, OSDI 2016; Agrawal and Boneh, ACNS 2009; docs/FORMAT.md, "Sum columns".
 * Thread-safe: keys are never changed; a set belongs to one thread. */
#ifndef COFFER_SUMS_SUM_H
#define COFFER_SUMS_SUM_H

#include "base/secret.h"
#include "sums/answer.h"

/* ---- the column ---- */

struct sum_def {
    uint8_t index_id[16];
    int128 max_abs; /* of a stored integer: 1 to 2^63-1, with 128 bits 2^127-1 */
    unsigned scale; /* decimal places: the stored integer is value·10^scale */
    unsigned flags; /* SUM_WIDE, SUM_TAGGED */
};

/* For a column of `type` (enum coffer_type).
 * COFFER_E_REFUSED  floating point: sums would depend on the order of the rows
 * COFFER_E_TYPE     a type that has no sums
 * COFFER_E_MISUSE   max_abs, scale (int64: 0; numeric: at most 38) or flags out of bounds */
COFFER_MUST_CHECK int sum_def_init(struct sum_def *def, const uint8_t index_id[16], int type,
                                   int128 max_abs, unsigned scale, unsigned flags,
                                   struct coffer_error *err);

/* ---- keys ---- */

struct sum_key;

/* The three subkeys of one version of the sum key (32 bytes), for the column `index_id`.  MISUSE (version, length), NOMEM. */
COFFER_MUST_CHECK int sum_key_new(const struct secret *key, const uint8_t index_id[16],
                                  unsigned version, struct sum_key **out, struct coffer_error *err);
void sum_key_free(struct sum_key *key); /* accepts NULL */
unsigned sum_key_version(const struct sum_key *key);

/* ---- encrypt ---- */

/* One value under a fresh id of the key's version.
 * COFFER_E_RANGE   |value| above max_abs     COFFER_E_MISUSE  an id of another version, or counter 0
 * COFFER_E_NOMEM */
COFFER_MUST_CHECK int sum_encrypt(const struct sum_def *def, const struct sum_key *key,
                                  struct sum_id id, int128 value, struct sum_cell *out,
                                  struct coffer_error *err);
/* `count` values under consecutive ids from `first` on, as sum_ids_draw() gives them: half the work
 * a value.  After a failure `out` holds nothing to store. */
COFFER_MUST_CHECK int sum_encrypt_many(const struct sum_def *def, const struct sum_key *key,
                                       struct sum_id first, const int128 *values, size_t count,
                                       struct sum_cell *out, struct coffer_error *err);

/* ---- what the server answered ---- */

/* Sums of the stored columns over some rows, exactly: Σl, with 128 bits Σh, with tags Σth and Σtl.
 * Weighted sums multiply each row's number by its weight. */
struct sum_sums {
    int128 l, h, tag_h, tag_l;
};
struct sum_run {
    uint32_t first, last; /* counters */
};

struct sum_set;

/* `flags` as the column's.  NOMEM. */
COFFER_MUST_CHECK int sum_set_new(unsigned flags, struct sum_set **out, struct coffer_error *err);
void sum_set_free(struct sum_set *set); /* accepts NULL */

/* Each adds rows with their sums; together they are what sum_open() totals, in any order, of any
 * versions.  After a failure the set is to be freed.
 *
 * COFFER_E_FORMAT  not what a server should answer: malformed, counter 0, version out of range, runs that
 *                  do not ascend; without tags a sum that no rows could have
 * COFFER_E_AUTH    with tags, such a sum
 * COFFER_E_LIMIT   2^62 rows or weights in all
 * COFFER_E_NOMEM */

/* The bytes of the aggregate. */
COFFER_MUST_CHECK int sum_set_answer(struct sum_set *set, struct bytes answer,
                                     struct coffer_error *err);
/* One session's runs, ascending and disjoint. */
COFFER_MUST_CHECK int sum_set_runs(struct sum_set *set, const uint8_t group[SUM_GROUP_LEN],
                                   const struct sum_run *runs, size_t count,
                                   const struct sum_sums *sums, struct coffer_error *err);
/* Ids in any order, all of one version.  `weights` NULL: 1 each; an id that comes twice is then COFFER_E_FORMAT at
 * sum_open(), unless `repeats` says that a join may repeat rows; it counts twice.  With weights,
 * those of an id are added. */
COFFER_MUST_CHECK int sum_set_ids(struct sum_set *set, const struct sum_id *ids,
                                  const int64_t *weights, bool repeats, size_t count,
                                  const struct sum_sums *sums, struct coffer_error *err);
/* Rows of one `hi` of which only count, min(lo), max(lo) and sum(lo) are known.  `*contiguous` says whether they are
 * one run, and only then are they added; otherwise ask for the ids.  Only for rows of one table without a join. */
COFFER_MUST_CHECK int sum_set_contiguous(struct sum_set *set, int64_t hi, uint64_t count,
                                         int64_t min_lo, int64_t max_lo, int128 sum_lo,
                                         const struct sum_sums *sums, bool *contiguous,
                                         struct coffer_error *err);

/* ---- open ---- */

/* Keys by version; NULL where there is none. */
struct sum_keys {
    const struct sum_key *(*find)(const void *ctx, unsigned version);
    const void *ctx;
};
struct sum_total {
    int128 value;
    uint64_t rows; /* 0: the SUM is NULL */
    bool verified; /* the column has tags, and they hold: see the head of this page */
};

/* The total of all rows of the set.
 *
 * COFFER_E_FORMAT  an id twice; the set's flags are not the column's
 * COFFER_E_KEY     no key of a version
 * COFFER_E_LIMIT   so many rows of max_abs could overflow: sum parts, or declare the column wider
 * COFFER_E_AUTH    the tags say that the sum is not that of the rows; or it is larger than they could have
 * COFFER_E_NOMEM
 */
COFFER_MUST_CHECK int sum_open(const struct sum_def *def, const struct sum_keys *keys,
                               struct sum_set *set, struct sum_total *out,
                               struct coffer_error *err);

#endif
