/* SPDX-License-Identifier: Apache-2.0 */
/* What the sum aggregate answers, one byte string: for each session the sums of the stored columns
 * and the counters of the rows, as runs.  docs/FORMAT.md, "Answer of the sum aggregate".
 *
 * No key: this is what a database's extension runs.  The builder is the aggregate's state; its bytes
 * are its serialised form too, so that states of parallel workers are combined.  The reader takes
 * exactly what the builder writes, and nothing else.
 * No shared state: different builders may be used in parallel. */
#ifndef COFFER_SUMS_ANSWER_H
#define COFFER_SUMS_ANSWER_H

#include "base/bytes.h"
#include "sums/ids.h"
#include "sums/int128.h"

#define SUM_WIDE 1            /* a value is two columns: c = h·2^64 + l */
#define SUM_TAGGED 2          /* with tags */
#define SUM_ROWS_MAX 16000000 /* what an aggregate takes unless told otherwise */

/* What a row stores for one sum column. `h` of wide columns, the tag of tagged ones; else 0. */
struct sum_cell {
    int64_t l, h, tag_h, tag_l;
};

/* ---- build ---- */

struct sum_builder;

/* `flags` are SUM_WIDE, SUM_TAGGED.  At most `rows_max` rows are taken: at worst eight bytes of memory each, sixteen while
 * they are sorted; next to nothing for rows that come in the order in which they were written.
 * COFFER_E_NOMEM, COFFER_E_MISUSE (unknown flag). */
COFFER_MUST_CHECK int sum_builder_new(unsigned flags, uint64_t rows_max, struct sum_builder **out,
                                      struct coffer_error *err);
void sum_builder_free(struct sum_builder *builder); /* accepts NULL */

/* One row.  After any failure of these functions the builder takes no more: it answers with the same error.
 *
 * COFFER_E_FORMAT  not an id: version 0 or above SUM_VERSION_MAX, or counter 0
 * COFFER_E_LIMIT   more than `rows_max` rows
 * COFFER_E_NOMEM   out of memory
 * COFFER_E_MISUSE  an id came twice (found here or when encoding): a join repeats rows
 */
COFFER_MUST_CHECK int sum_builder_add(struct sum_builder *builder, struct sum_id id,
                                      const struct sum_cell *cell, struct coffer_error *err);
/* All rows of an encoded builder.  Also FORMAT, AUTH: not an answer with the same flags. */
COFFER_MUST_CHECK int sum_builder_combine(struct sum_builder *builder, struct bytes answer,
                                          struct coffer_error *err);
/* The same of another builder, which is used up: it must not be used but for sum_builder_free(). */
COFFER_MUST_CHECK int sum_builder_merge(struct sum_builder *builder, struct sum_builder *other,
                                        struct coffer_error *err);
/* Append the answer.  LIMIT where `out` is too small.  Rows may be added afterwards. */
COFFER_MUST_CHECK int sum_builder_encode(struct sum_builder *builder, struct buf *out,
                                         struct coffer_error *err);
uint64_t sum_builder_rows(const struct sum_builder *builder);
size_t sum_builder_memory(const struct sum_builder *builder); /* bytes held now */

/* ---- read ---- */

struct sum_group {
    uint8_t id[SUM_GROUP_LEN];
    uint64_t rows;
    int128 l, h, tag; /* h, tag: 0 where the flags have none */
    uint32_t runs;
};

/* Called for each group, then for each of its runs (counters `first` to `last`); a status other than COFFER_OK ends the
 * reading and is returned.  What was given is worth nothing until the reading ended well. Members may be NULL. */
struct sum_visitor {
    int (*group)(void *arg, const struct sum_group *group, struct coffer_error *err);
    int (*run)(void *arg, uint32_t first, uint32_t last, struct coffer_error *err);
    void *arg;
};

/* COFFER_E_FORMAT  not an answer with these flags
 * COFFER_E_AUTH    a tagged one whose sums no rows could have */
COFFER_MUST_CHECK int sum_answer_read(struct bytes answer, unsigned flags,
                                      const struct sum_visitor *visitor, struct coffer_error *err);
/* The flags that an answer bears.  FORMAT. */
COFFER_MUST_CHECK int sum_answer_flags(struct bytes answer, unsigned *flags,
                                       struct coffer_error *err);

#endif
