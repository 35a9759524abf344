/* SPDX-License-Identifier: Apache-2.0 */
/* Columns that stand beside a protected one to search, sort or add by: made, filled, dropped.
 *
 * The adapter sees terms as bytes and numbers; what they mean is index/'s.  On SQLite a set of tokens is a side table
 * (tok, id), kept in step by a trigger when rows go; on PostgreSQL it is bigint[].
 * SQLite and PostgreSQL differ by a few words of SQL only, so that there is one body for both.  Errors as db.h.
 */
#ifndef COFFER_DB_TERMS_H
#define COFFER_DB_TERMS_H

#include "db/db.h"

#define DB_TERMS_MAX 6

enum db_term_form { DB_TERM_16 = 1, DB_TERM_BYTES, DB_TERM_INT, DB_TERM_TOKENS }; /* as enum stored_form */
struct db_term_column {
    char name[DB_NAME_MAX];
    enum db_term_form form;
};
struct db_terms {
    const struct db_table *table;
    const char *sealed; /* the column with the envelopes */
    struct db_term_column columns[DB_TERMS_MAX];
    size_t count;
    bool unique; /* one row a term (sums: one row an id) */
    /* A stored first column is as wanted if low ≤ it < high (`open_end`: ≤). */
    struct coffer_value low, high;
    bool open_end;
};

/* Add the columns or the side table that are not there yet.  REFUSED: a column of that name is there and of another type; tokens on SQLite in a
 * table without a key of one column. */
COFFER_MUST_CHECK int db_terms_add(struct db *db, const struct db_terms *terms, struct coffer_error *err);
/* The index by which it is asked, without keeping writers out (PostgreSQL: CONCURRENTLY; one that was left invalid is made anew). */
COFFER_MUST_CHECK int db_terms_index(struct db *db, const struct db_terms *terms, struct coffer_error *err);
/* From now on the database refuses rows that have an envelope without its term, or a term without an envelope (23514).  CONFLICT: such rows are
 * there.  Tokens: nothing. */
COFFER_MUST_CHECK int db_terms_require(struct db *db, const struct db_terms *terms, struct coffer_error *err);
/* Take it all away: constraint, index, columns or side table.  What is not there is no error. */
COFFER_MUST_CHECK int db_terms_drop(struct db *db, const struct db_terms *terms, struct coffer_error *err);

/* ---- filling in ---- */

struct db_term_row {
    struct coffer_value key[DB_KEY_MAX];
    struct bytes sealed;                 /* ptr NULL: NULL, its terms are to go */
    struct coffer_value *place;          /* columns asked for, for row binding */
    struct coffer_value values[DB_TERMS_MAX]; /* to write: BYTES, INT64 or NULL */
    const int64_t *tokens;               /* to write, DB_TERM_TOKENS */
    size_t token_count;
    bool skip;                           /* nothing is written */
    bool written;
};
struct db_term_rows {
    struct db_term_row *rows;
    size_t count;
    struct db_result *result; /* what they borrow from */
};
/* Rows after `after` (NULL: from the start), in key order, at most `limit`, whose terms are not as wanted.  `place` names columns of the row's place. */
COFFER_MUST_CHECK int db_terms_read(struct db *db, const struct db_terms *terms, const char *const *place, size_t place_count,
                                    const struct coffer_value *after, size_t limit, struct db_term_rows *out, struct coffer_error *err);
void db_term_rows_free(struct db_term_rows *rows);
/* In one transaction: each row that still has this envelope and still needs it.  Sets `written`.  `guard` as db_walk_write(). */
COFFER_MUST_CHECK int db_terms_write(struct db *db, const struct db_terms *terms, struct db_term_rows *rows, const struct db_guard *guard,
                                     struct coffer_error *err);
/* How many rows have no term as wanted, up to `limit`. */
COFFER_MUST_CHECK int db_terms_left(struct db *db, const struct db_terms *terms, uint64_t limit, uint64_t *count, struct coffer_error *err);

/* ---- asking ---- */

/* The side table's name; "" where tokens are an array. */
void db_terms_side(const struct db *db, const struct db_terms *terms, char out[2 * DB_NAME_MAX]);

#endif
