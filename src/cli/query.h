/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of `coffer query` share: its state, the question in SQL (query_ask.c), and the judgement of a row (query_row.c). */
#ifndef COFFER_CLI_QUERY_H
#define COFFER_CLI_QUERY_H

#include "cli/condition.h"
#include "cli/reader.h"
#include "index/index.h"

enum { PARAMS_MAX = 4096, EXTRA_MAX = 64, SUMS_MAX = 8 };

struct query_column {
    const struct db_column *column;
    const struct coffer_column *handle; /* NULL: not protected */
    struct coffer_column_info info;
    size_t companion;                      /* index + 1; 0: in place */
    struct index *indexes[INDEX_PAILLIER + 1]; /* by kind; those that are ready */
    bool tested;
};
struct query_sum {
    size_t column;
    struct sum_set *set;
    size_t stored[INDEX_COLUMNS_MAX]; /* columns of the table */
    const char *name;
};
struct query {
    struct cli *cli;
    struct reader *reader;
    struct db *db;
    struct db_table *table;
    struct query_column *columns;
    struct node *where;
    bool sqlite, scan;
    struct buf sql;
    struct coffer_value *params;
    uint8_t **owned; /* terms among the parameters */
    size_t param_count;
    size_t extras; /* truths of plain tests, after the table's columns */
    struct buf extra_sql;
    size_t shown[DB_KEY_MAX * 16], shown_count;
    struct query_sum sums[SUMS_MAX];
    size_t sum_count;
    uint64_t limit, matched, candidates, unreadable;
    struct table *out;
    /* of the row at hand: */
    const struct coffer_value *cells;
    struct row_place place;
    struct buf *spaces;
    struct coffer_value *values; /* opened; type -1: not yet */
    int failed;
    struct coffer_error *err;
};

/* NOTFOUND.  `*out` is 0 then. */
COFFER_MUST_CHECK int query_column_named(const struct query *q, const char *name, size_t *out, struct coffer_error *err);
/* For condition_each(), with the query: values by their columns' types, patterns; a test of a plain column gets a column of the answer.
 * NOTFOUND, TYPE, FORMAT, LIMIT, NOMEM. */
COFFER_MUST_CHECK int query_prepare_test(void *query, struct node *test, struct coffer_error *err);
/* Write q->sql and its parameters: every column of the table, then the truths of plain tests, of rows that may match.
 * REFUSED: terms are missing, and not --scan.  MISUSE: a needle is too short.  NOTYET: order terms under two keys. */
COFFER_MUST_CHECK int query_build(struct query *q, struct coffer_error *err);
/* The value of a column in the row at hand, opened once.  Errors as coffer_cell_read(). */
COFFER_MUST_CHECK int query_value(struct query *q, size_t column, struct coffer_value *out);
/* For condition_holds(), with the query: a cell that does not open sets q->failed and is UNKNOWN. */
enum truth query_test_row(void *query, const struct node *test);

#endif
