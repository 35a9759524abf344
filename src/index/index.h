/* SPDX-License-Identifier: Apache-2.0 */
/* Indexes of the keyring put to work: from a value to what is stored beside it, and from a question to the terms that are asked for.
 *
 * An index is prepared once for a keyring snapshot, with the keys of every version that rows may still be under; the active one
 * writes.  Which rows a condition on terms finds may be too many (the client opens and looks), never too few.
 * Immutable but for the issuer of sum ids, which locks; any number of threads.
 */
#ifndef COFFER_INDEX_INDEX_H
#define COFFER_INDEX_INDEX_H

#include "keyring/keyring.h"
#include "search/encode.h"
#include "search/like.h"
#include "search/tokens.h"
#include "sums/sum.h"

#define INDEX_COLUMNS_MAX 6
#define INDEX_VERSIONS_MAX 8
#define OPE_ROOM 226 /* bytes of the longest order term of stock servers */

enum stored_form {
    STORED_TERM = 1, /* 16 bytes: uuid in PostgreSQL, BLOB in SQLite */
    STORED_BYTES,    /* bytea, BLOB; compared as bytes */
    STORED_INT,      /* bigint, INTEGER */
    STORED_TOKENS,   /* bigint[]; a side table in SQLite */
};
struct stored_column {
    char name[KEYRING_NAME_MAX];
    enum stored_form form;
};
/* What it stores, in order; the first one bears the version.  Returns how many; 0: a kind that is no column of its own. */
size_t index_columns(const struct keyring_index *def, struct stored_column out[INDEX_COLUMNS_MAX]);
/* The version that a stored first column is of, in form of its range: low ≤ stored < high (bytes for TERM and BYTES).  For version 32767 of
 * a number `*open_end` says that `high` is included. */
struct index_range {
    struct coffer_value low, high; /* borrowed from `room` */
    bool open_end;
    uint8_t room[2 * (OPE_ROOM)];
};
int index_version_range(const struct keyring_index *def, unsigned version, struct index_range *out);

struct index;
/* Prepare.  KEY: no active key of its line, or more than INDEX_VERSIONS_MAX that rows may be under.  UNSUPPORTED: a kind that this
 * build stores nothing for.  TYPE, REFUSED: the column's type has no such index. */
COFFER_MUST_CHECK int index_new(const struct keyring *keyring, const struct keyring_index *def, const struct keyring_column *column,
                                struct index **out, struct coffer_error *err);
void index_free(struct index *index); /* accepts NULL */
const struct keyring_index *index_def(const struct index *index); /* a copy of its own */
unsigned index_version(const struct index *index);                /* that writes */
size_t index_versions(const struct index *index, unsigned out[INDEX_VERSIONS_MAX]); /* the writing one first */

/* Check a definition against its column before it is entered; sets `width` where the type gives it.  REFUSED bool and json, floats in
 * sums, order of long text; MISUSE what makes no sense. */
COFFER_MUST_CHECK int index_def_check(struct keyring_index *def, const struct keyring_column *column, struct coffer_error *err);

/* ---- what is stored for a value ---- */

struct stored {
    struct coffer_value values[INDEX_COLUMNS_MAX]; /* TERM and BYTES as BYTES, INT as INT64; borrowed from `room` */
    struct tokens tokens;                          /* of STORED_TOKENS */
    uint8_t room[2048];
};
/* NULL gives NULLs.  Sums draw a new id each time.  RANGE: outside what the index declares.  TYPE, FORMAT, LIMIT, NOMEM. */
COFFER_MUST_CHECK int index_store(struct index *index, const struct coffer_value *value, struct stored *out, struct coffer_error *err);
void stored_wipe(struct stored *stored);

/* ---- questions: one answer a version, in the order of index_versions() ---- */

/* Terms of values equal to `value`; `out` has 16 bytes a version. */
COFFER_MUST_CHECK int index_ask_equal(const struct index *index, const struct coffer_value *value, uint8_t out[INDEX_VERSIONS_MAX][16],
                                      struct coffer_error *err);
/* Bounds of a range over order terms, both included, NULL: open.  `low` and `high` get the lengths written; an open end is the version's own
 * bound.  A value outside the declared domain counts as open. */
struct order_bounds {
    uint8_t low[OPE_ROOM], high[OPE_ROOM];
    size_t low_len, high_len;
    bool high_open; /* `high` itself is excluded */
};
COFFER_MUST_CHECK int index_ask_range(const struct index *index, const struct coffer_value *low, const struct coffer_value *high,
                                      struct order_bounds out[INDEX_VERSIONS_MAX], struct coffer_error *err);
/* Tokens that a matching row has.  MISUSE: the needle is too short. */
COFFER_MUST_CHECK int index_ask_like(const struct index *index, const struct like *like, struct tokens out[INDEX_VERSIONS_MAX],
                                     struct coffer_error *err);
COFFER_MUST_CHECK int index_ask_words(const struct index *index, struct bytes query, struct tokens out[INDEX_VERSIONS_MAX],
                                      struct coffer_error *err);

/* ---- sums ---- */

const struct sum_def *index_sum_def(const struct index *index);
/* The total of a set, by the keys of all versions. */
COFFER_MUST_CHECK int index_sum_open(const struct index *index, struct sum_set *set, struct sum_total *out, struct coffer_error *err);
/* A value as a sum column's integer, and back as text.  RANGE, FORMAT, TYPE. */
COFFER_MUST_CHECK int index_sum_value(const struct index *index, const struct coffer_value *value, int128 *out, struct coffer_error *err);

#endif
