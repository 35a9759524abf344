/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a row that came back meets the condition: its cells are opened, and what the condition says is done here. */
#include "cli/query.h"

#include "field/field.h"
#include "sums/figures.h"

#include <string.h>

/* Opened once a row. */
int
query_value(struct query *q, size_t i, struct coffer_value *out)
{
    struct query_column *column = &q->columns[i];
    struct coffer_stored stored;
    int rc;

    if (q->values[i].type < 0) {
        if (column->handle == NULL) {
            q->values[i] = q->cells[i];
        } else {
            rc = reader_cell(q->reader->coffer, column->handle, &column->info, (struct coffer_place){q->place.parts, q->place.count}, &q->cells[i],
                             column->companion != 0 ? &q->cells[column->companion - 1] : NULL, &q->spaces[i], &stored, &q->values[i], q->err);
            if (rc != COFFER_OK)
                return rc;
        }
    }
    *out = q->values[i];
    return COFFER_OK;
}

/* -1, 0, 1; 2: they have no order. */
static int
compare(const struct coffer_value *a, const struct coffer_value *b)
{
    struct coffer_error ignored;
    int128 x, y;
    size_t len = a->len < b->len ? a->len : b->len;
    int by;

    switch (a->type) {
    case COFFER_FLOAT64:
        return a->f64 != a->f64 || b->f64 != b->f64 ? (a->f64 != a->f64) - (b->f64 != b->f64) : (a->f64 > b->f64) - (a->f64 < b->f64);
    case COFFER_BYTES:
    case COFFER_TEXT:
    case COFFER_UUID:
    case COFFER_JSON:
        by = len > 0 ? memcmp(a->data, b->data, len) : 0;
        return by != 0 ? (by > 0) - (by < 0) : (a->len > b->len) - (a->len < b->len);
    case COFFER_NUMERIC:
        for (unsigned scale = 0; scale <= FIGURES_SCALE_MAX; scale++) {
            if (decimal_read(bytes_of(a->data, a->len), scale, &x, &ignored) == COFFER_OK &&
                decimal_read(bytes_of(b->data, b->len), scale, &y, &ignored) == COFFER_OK)
                return (x > y) - (x < y);
        }
        return 2;
    default:
        return (a->i64 > b->i64) - (a->i64 < b->i64);
    }
}

static bool
equal(struct query *q, const struct query_column *column, const struct coffer_value *a, const struct coffer_value *b)
{
    const struct index *index = column->indexes[INDEX_EQUALITY];
    struct buf x, y;
    bool same;

    if (a->type != COFFER_TEXT || index == NULL)
        return compare(a, b) == 0;
    buf_init(&x, 64u << 20);
    buf_init(&y, 64u << 20);
    same = equality_encode(a, (int)index_def(index)->normaliser, &x, q->err) == COFFER_OK &&
           equality_encode(b, (int)index_def(index)->normaliser, &y, q->err) == COFFER_OK && bytes_equal(buf_view(&x), buf_view(&y));
    buf_wipe(&x);
    buf_wipe(&y);
    return same;
}

enum truth
query_test_row(void *arg, const struct node *test)
{
    struct query *q = arg;
    const struct query_column *column = &q->columns[test->column_index];
    struct coffer_value value;
    bool matches = false;
    int rc, by;

    if (test->plain) {
        const struct coffer_value *truth = &q->cells[test->result];

        return truth->type == COFFER_NULL ? UNKNOWN : truth->i64 != 0 ? YES : NO;
    }
    rc = query_value(q, test->column_index, &value);
    if (rc != COFFER_OK) {
        q->failed = rc;
        return UNKNOWN;
    }
    if (test->test == TEST_NULL)
        return value.type == COFFER_NULL ? YES : NO;
    if (value.type == COFFER_NULL)
        return UNKNOWN;
    if (test->has_like) {
        q->failed = like_match(&test->like, bytes_of(value.data, value.len), &matches, q->err);
        return matches ? YES : NO;
    }
    if (test->test == TEST_EQUAL || test->test == TEST_IN || test->test == TEST_UNEQUAL) {
        for (size_t i = 0; i < test->value_count && !matches; i++)
            matches = equal(q, column, &value, &test->parsed[i]);
        return matches == (test->test != TEST_UNEQUAL) ? YES : NO;
    }
    by = compare(&value, &test->parsed[0]);
    if (by == 2)
        return UNKNOWN;
    switch (test->test) {
    case TEST_LESS:
        return by < 0 ? YES : NO;
    case TEST_AT_MOST:
        return by <= 0 ? YES : NO;
    case TEST_MORE:
        return by > 0 ? YES : NO;
    case TEST_AT_LEAST:
        return by >= 0 ? YES : NO;
    default:
        return by >= 0 && compare(&value, &test->parsed[1]) <= 0 ? YES : NO;
    }
}
