/* SPDX-License-Identifier: Apache-2.0 */
/* coffer query: rows that meet a condition on protected and plain columns, decrypted; totals of sum columns.
 *
 * The server is asked by terms for rows that may match.  Each is opened here, and only what meets the condition itself is shown or added up.
 */
#include "base/mem.h"
#include "cli/commands.h"
#include "cli/condition.h"
#include "cli/reader.h"
#include "db/terms.h"
#include "field/field.h"
#include "index/index.h"
#include "sums/figures.h"

#include <stdlib.h>
#include <string.h>

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

static int
column_named(struct query *q, const char *name, size_t *out, struct coffer_error *err)
{
    *out = 0;
    for (size_t i = 0; i < q->table->column_count; i++) {
        if (strcmp(q->table->columns[i].name, name) == 0) {
            *out = i;
            return COFFER_OK;
        }
    }
    return error_set(err, COFFER_E_NOTFOUND, "table %s has no column %s", q->table->name, name);
}

static int
load_indexes(struct query *q, struct query_column *column, struct coffer_error *err)
{
    const struct keyring *kr = q->reader->keyring;
    struct uuid id;
    const struct keyring_column *record;
    int rc = COFFER_OK;

    memcpy(id.b, column->info.id, sizeof id.b);
    record = keyring_column_by_id(kr, &id);
    for (size_t i = 0; rc == COFFER_OK && record != NULL && i < keyring_index_count(kr); i++) {
        const struct keyring_index *def = keyring_index_at(kr, i);

        if (uuid_equal(&def->column, &id) && def->state == INDEX_READY)
            rc = index_new(kr, def, record, &column->indexes[def->kind], err);
    }
    return rc;
}

static int
find_columns(struct query *q, struct coffer_error *err)
{
    int rc = COFFER_OK;

    for (size_t i = 0; rc == COFFER_OK && i < q->table->column_count; i++) {
        struct query_column *column = &q->columns[i];
        char name[2 * DB_NAME_MAX + 2];

        column->column = &q->table->columns[i];
        (void)snprintf(name, sizeof name, "%s.%s", q->table->name, column->column->name);
        rc = coffer_column_find(q->reader->coffer, q->reader->database->id.b, name, &column->handle, err);
        if (rc == COFFER_E_NOTFOUND) {
            column->handle = NULL;
            rc = COFFER_OK;
            continue;
        }
        if (rc != COFFER_OK)
            break;
        coffer_column_info(column->handle, &column->info);
        rc = load_indexes(q, column, err);
        if (rc == COFFER_OK && strcmp(column->info.sealed_name, column->info.name) != 0) {
            rc = column_named(q, column->info.sealed_name, &column->companion, err);
            column->companion++;
        }
    }
    return rc;
}

/* ---- the question in SQL ---- */

static void
name(struct query *q, size_t column)
{
    db_quote(q->db, q->table->columns[column].name, &q->sql);
}

static int
param(struct query *q, struct buf *sql, const struct coffer_value *value, struct coffer_error *err)
{
    if (q->param_count == PARAMS_MAX)
        return error_set(err, COFFER_E_LIMIT, "--where: more than %d values", PARAMS_MAX);
    q->params[q->param_count++] = *value;
    buf_format(sql, "$%zu", q->param_count);
    return COFFER_OK;
}

/* Terms are kept until the statement ran. */
static int
param_bytes(struct query *q, const void *data, size_t len, bool uuid, struct coffer_error *err)
{
    struct coffer_value v = {.type = uuid && !q->sqlite ? COFFER_UUID : COFFER_BYTES, .len = len};
    uint8_t *kept = mem_alloc(len);

    if (kept == NULL)
        return error_nomem(err);
    memcpy(kept, data, len);
    v.data = kept;
    if (q->param_count < PARAMS_MAX)
        q->owned[q->param_count] = kept;
    else
        mem_free(kept);
    return param(q, &q->sql, &v, err);
}

static int
no_index(struct query *q, const struct node *test, const char *kind, struct coffer_error *err)
{
    if (q->scan) {
        buf_str(&q->sql, "1 = 1");
        return COFFER_OK;
    }
    return error_set(err, COFFER_E_REFUSED, "%s.%s cannot be asked for this by the server: add terms (coffer protect --search %s … %s.%s), or let "
                                            "--scan open every row", q->table->name, test->column, kind, q->table->name, test->column);
}

static int
ask_equal(struct query *q, const struct node *test, struct coffer_error *err)
{
    const struct query_column *column = &q->columns[test->column_index];
    const struct index *index = column->indexes[INDEX_EQUALITY];
    uint8_t terms[INDEX_VERSIONS_MAX][16];
    unsigned versions[INDEX_VERSIONS_MAX];
    struct stored_column stored[INDEX_COLUMNS_MAX];
    size_t count = index_versions(index, versions);
    int rc = COFFER_OK;

    (void)index_columns(index_def(index), stored);
    db_quote(q->db, stored[0].name, &q->sql);
    buf_str(&q->sql, " IN (");
    for (size_t v = 0; rc == COFFER_OK && v < test->value_count; v++) {
        rc = index_ask_equal(index, &test->parsed[v], terms, err);
        for (size_t i = 0; rc == COFFER_OK && i < count; i++) {
            buf_str(&q->sql, v + i > 0 ? ", " : "");
            rc = param_bytes(q, terms[i], 16, true, err);
        }
    }
    buf_str(&q->sql, ")");
    return rc;
}

static int
ask_range(struct query *q, const struct node *test, const struct coffer_value *low, const struct coffer_value *high, struct coffer_error *err)
{
    const struct index *index = q->columns[test->column_index].indexes[INDEX_OPE];
    struct order_bounds bounds[INDEX_VERSIONS_MAX];
    unsigned versions[INDEX_VERSIONS_MAX];
    struct stored_column stored[INDEX_COLUMNS_MAX];
    size_t count = index_versions(index, versions);
    int rc = index_ask_range(index, low, high, bounds, err);

    (void)index_columns(index_def(index), stored);
    for (size_t i = 0; rc == COFFER_OK && i < count; i++) {
        buf_str(&q->sql, i > 0 ? " OR (" : "(");
        db_quote(q->db, stored[0].name, &q->sql);
        buf_str(&q->sql, " >= ");
        rc = param_bytes(q, bounds[i].low, bounds[i].low_len, false, err);
        buf_str(&q->sql, " AND ");
        db_quote(q->db, stored[0].name, &q->sql);
        buf_str(&q->sql, bounds[i].high_open ? " < " : " <= ");
        if (rc == COFFER_OK)
            rc = param_bytes(q, bounds[i].high, bounds[i].high_len, false, err);
        buf_str(&q->sql, ")");
    }
    return rc;
}

static void
ask_tokens(struct query *q, const struct index *index, const struct tokens *tokens)
{
    struct stored_column stored[INDEX_COLUMNS_MAX];

    (void)index_columns(index_def(index), stored);
    if (!q->sqlite) {
        db_quote(q->db, stored[0].name, &q->sql);
        buf_str(&q->sql, " @> '{");
    } else {
        char side[2 * DB_NAME_MAX];

        (void)snprintf(side, sizeof side, "%s_%s", q->table->name, stored[0].name);
        buf_str(&q->sql, q->table->key_kind == DB_KEY_ROWID ? "rowid" : "");
        if (q->table->key_kind != DB_KEY_ROWID)
            db_quote(q->db, q->table->key[0], &q->sql);
        buf_str(&q->sql, " IN (SELECT id FROM ");
        db_quote(q->db, side, &q->sql);
        buf_str(&q->sql, " WHERE tok IN (");
    }
    for (size_t i = 0; i < tokens->count; i++)
        buf_format(&q->sql, "%s%lld", i > 0 ? "," : "", (long long)tokens->at[i]);
    if (q->sqlite)
        buf_format(&q->sql, ") GROUP BY id HAVING count(*) = %zu)", tokens->count);
    else
        buf_str(&q->sql, "}'::bigint[]");
}

static int
ask_like(struct query *q, const struct node *test, struct coffer_error *err)
{
    const struct index *index = q->columns[test->column_index].indexes[INDEX_TEXT];
    struct tokens tokens[INDEX_VERSIONS_MAX];
    unsigned versions[INDEX_VERSIONS_MAX];
    size_t count = index_versions(index, versions);
    int rc = index_ask_like(index, &test->like, tokens, err);

    for (size_t i = 0; rc == COFFER_OK && i < count; i++) {
        buf_str(&q->sql, i > 0 ? " OR " : "");
        ask_tokens(q, index, &tokens[i]);
        tokens_wipe(&tokens[i]);
    }
    return rc;
}

static int
ask_protected(struct query *q, struct node *test, struct coffer_error *err)
{
    struct query_column *column = &q->columns[test->column_index];
    bool order = column->indexes[INDEX_OPE] != NULL;
    int rc;

    buf_str(&q->sql, "(");
    switch (test->test) {
    case TEST_NULL:
        name(q, column->companion != 0 ? column->companion - 1 : test->column_index);
        buf_str(&q->sql, " IS NULL");
        rc = COFFER_OK;
        break;
    case TEST_EQUAL:
    case TEST_IN:
        if (column->indexes[INDEX_EQUALITY] != NULL)
            rc = ask_equal(q, test, err);
        else
            rc = order && test->value_count == 1 ? ask_range(q, test, &test->parsed[0], &test->parsed[0], err) : no_index(q, test, "eq", err);
        break;
    case TEST_LESS:
    case TEST_AT_MOST:
        rc = order ? ask_range(q, test, NULL, &test->parsed[0], err) : no_index(q, test, "order", err);
        break;
    case TEST_MORE:
    case TEST_AT_LEAST:
        rc = order ? ask_range(q, test, &test->parsed[0], NULL, err) : no_index(q, test, "order", err);
        break;
    case TEST_BETWEEN:
        rc = order ? ask_range(q, test, &test->parsed[0], &test->parsed[1], err) : no_index(q, test, "order", err);
        break;
    case TEST_LIKE:
    case TEST_ILIKE:
        rc = column->indexes[INDEX_TEXT] != NULL ? ask_like(q, test, err) : no_index(q, test, "text", err);
        break;
    default:
        rc = no_index(q, test, "eq", err);
    }
    buf_str(&q->sql, ")");
    return rc;
}

/* The server's own truth of a plain test. */
static int
plain_test(struct query *q, const struct node *test, struct buf *sql, struct coffer_error *err)
{
    static const char *const signs[] = {"", " = ", " <> ", " < ", " <= ", " > ", " >= ", " LIKE ", " ILIKE ", " BETWEEN ", " IN (", " IS NULL"};
    int rc = COFFER_OK;

    buf_str(sql, "(");
    db_quote(q->db, test->column, sql);
    buf_str(sql, test->test == TEST_ILIKE && q->sqlite ? " LIKE " : signs[test->test]);
    for (size_t i = 0; rc == COFFER_OK && i < test->value_count; i++) {
        buf_str(sql, i == 0 ? "" : test->test == TEST_BETWEEN ? " AND " : ", ");
        rc = param(q, sql, &test->parsed[i], err);
    }
    buf_str(sql, test->test == TEST_IN ? "))" : ")");
    return rc;
}

static bool
has_protected(const struct node *node)
{
    if (node->kind == NODE_TEST)
        return !node->plain;
    return has_protected(node->left) || (node->right != NULL && has_protected(node->right));
}

static int
ask(struct query *q, struct node *node, struct coffer_error *err)
{
    int rc;

    if (node->kind == NODE_TEST)
        return node->plain ? plain_test(q, node, &q->sql, err) : ask_protected(q, node, err);
    if (node->kind == NODE_NOT) {
        /* The opposite of a superset is none; IS NOT NULL is exact. */
        if (has_protected(node) && !(node->left->kind == NODE_TEST && node->left->test == TEST_NULL)) {
            if (!q->scan)
                return error_set(err, COFFER_E_REFUSED, "NOT over a protected column opens every row: say --scan");
            buf_str(&q->sql, "1 = 1");
            return COFFER_OK;
        }
        buf_str(&q->sql, "NOT ");
        return ask(q, node->left, err);
    }
    buf_str(&q->sql, "(");
    rc = ask(q, node->left, err);
    buf_str(&q->sql, node->kind == NODE_AND ? " AND " : " OR ");
    if (rc == COFFER_OK)
        rc = ask(q, node->right, err);
    buf_str(&q->sql, ")");
    return rc;
}

/* Values by the column's type; patterns parsed; what the server decides by itself gets a column of the answer. */
static int
prepare_test(void *arg, struct node *test, struct coffer_error *err)
{
    struct query *q = arg;
    struct query_column *column;
    int rc = column_named(q, test->column, &test->column_index, err);

    if (rc != COFFER_OK)
        return rc;
    column = &q->columns[test->column_index];
    column->tested = true;
    test->plain = column->handle == NULL;
    test->parsed = mem_array(test->value_count + 1, sizeof *test->parsed);
    test->kept = mem_array(test->value_count + 1, sizeof *test->kept);
    if (test->parsed == NULL || test->kept == NULL)
        return error_nomem(err);
    for (size_t i = 0; rc == COFFER_OK && i < test->value_count; i++) {
        bool like = test->test == TEST_LIKE || test->test == TEST_ILIKE;
        int type = test->plain ? column->column->type : column->info.type;
        struct bytes text = bytes_str(test->values[i]);

        if (like || type == 0) {
            test->parsed[i] = (struct coffer_value){.type = COFFER_TEXT, .data = text.ptr, .len = text.len};
            continue;
        }
        buf_init(&test->kept[i], 1 << 16);
        rc = value_parse(type, text, &test->kept[i], &test->parsed[i], err);
        if (rc != COFFER_OK)
            rc = error_set(err, rc, "--where: '%.60s' is no %s, which %s is", test->values[i], coffer_type_name(type), test->column);
    }
    if (rc == COFFER_OK && !test->plain && (test->test == TEST_LIKE || test->test == TEST_ILIKE)) {
        if (column->info.type != COFFER_TEXT)
            return error_set(err, COFFER_E_TYPE, "LIKE is for text, and %s is %s", test->column, coffer_type_name(column->info.type));
        rc = like_parse(bytes_str(test->values[0]), q->sqlite ? LIKE_ESCAPE_SQLITE : LIKE_ESCAPE_POSTGRESQL,
                        test->test == TEST_ILIKE ? LIKE_CASELESS : LIKE_EXACT, &test->like, err);
        test->has_like = rc == COFFER_OK;
    }
    if (rc == COFFER_OK && test->plain) {
        if (q->extras == EXTRA_MAX)
            return error_set(err, COFFER_E_LIMIT, "--where: more than %d tests", EXTRA_MAX);
        test->result = q->table->column_count + q->extras++;
        buf_str(&q->extra_sql, ", ");
        rc = plain_test(q, test, &q->extra_sql, err);
    }
    return rc;
}

static int
build(struct query *q, struct coffer_error *err)
{
    const char *dot = q->sqlite ? NULL : strchr(q->table->name, '.'), *order = args_text(q->cli->args, "order-by");
    size_t column;
    int rc = COFFER_OK;

    buf_str(&q->sql, "SELECT ");
    for (size_t i = 0; i < q->table->column_count; i++) {
        buf_str(&q->sql, i > 0 ? ", " : "");
        name(q, i);
    }
    buf_bytes(&q->sql, buf_view(&q->extra_sql));
    buf_str(&q->sql, " FROM ");
    if (dot != NULL) {
        char schema[DB_NAME_MAX];

        (void)snprintf(schema, sizeof schema, "%.*s", (int)(dot - q->table->name), q->table->name);
        db_quote(q->db, schema, &q->sql);
        buf_str(&q->sql, ".");
    }
    db_quote(q->db, dot != NULL ? dot + 1 : q->table->name, &q->sql);
    if (q->where != NULL) {
        buf_str(&q->sql, " WHERE ");
        rc = ask(q, q->where, err);
    }
    if (rc != COFFER_OK || order == NULL)
        return rc != COFFER_OK ? rc : buf_status(&q->sql, err);
    rc = column_named(q, order, &column, err);
    if (rc != COFFER_OK)
        return rc;
    buf_str(&q->sql, " ORDER BY ");
    if (q->columns[column].handle != NULL) {
        const struct index *index = q->columns[column].indexes[INDEX_OPE];
        unsigned versions[INDEX_VERSIONS_MAX];
        struct stored_column stored[INDEX_COLUMNS_MAX];

        if (index == NULL)
            return error_set(err, COFFER_E_REFUSED, "%s has no order terms: coffer protect --search order adds them", order);
        if (index_versions(index, versions) > 1)
            return error_set(err, COFFER_E_NOTYET, "the order terms of %s are under two keys while they are rotated: order them afterwards", order);
        (void)index_columns(index_def(index), stored);
        db_quote(q->db, stored[0].name, &q->sql);
    } else {
        name(q, column);
    }
    buf_str(&q->sql, args_flag(q->cli->args, "desc") ? " DESC" : "");
    return buf_status(&q->sql, err);
}

/* ---- a row ---- */

/* Opened once a row. */
static int
open_value(struct query *q, size_t i, struct coffer_value *out)
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

static enum truth
test_row(void *arg, const struct node *test)
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
    rc = open_value(q, test->column_index, &value);
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

static int
show(struct query *q)
{
    json_t *object = q->cli->json ? json_object() : NULL;
    const char *cells[DB_KEY_MAX * 16] = {NULL};
    struct buf texts[DB_KEY_MAX * 16];
    int rc = COFFER_OK;

    for (size_t i = 0; i < q->shown_count; i++) {
        struct coffer_value value = {.type = COFFER_NULL};

        buf_init(&texts[i], 64u << 20);
        if (rc == COFFER_OK)
            rc = open_value(q, q->shown[i], &value);
        if (rc == COFFER_OK && value.type != COFFER_NULL)
            rc = value_format(&value, &texts[i], q->err);
        cells[i] = value.type == COFFER_NULL ? "" : buf_cstr(&texts[i]);
        if (object != NULL)
            json_object_set_new(object, q->table->columns[q->shown[i]].name,
                                value.type == COFFER_NULL    ? json_null()
                                : value.type == COFFER_INT64 ? json_integer(value.i64)
                                : value.type == COFFER_BOOL  ? json_boolean(value.i64)
                                                             : json_stringn_nocheck((const char *)texts[i].ptr, texts[i].len));
    }
    if (rc == COFFER_OK && object != NULL)
        out_json(json_incref(object));
    else if (rc == COFFER_OK)
        table_row(q->out, cells);
    json_decref(object);
    for (size_t i = 0; i < q->shown_count; i++)
        buf_wipe(&texts[i]);
    return rc;
}

static int
add_up(struct query *q, struct query_sum *sum)
{
    const struct index *index = q->columns[sum->column].indexes[INDEX_SUM];
    const struct sum_def *def = index_sum_def(index);
    const struct coffer_value *c = q->cells;
    struct sum_id id = {c[sum->stored[0]].i64, c[sum->stored[1]].i64};
    struct sum_sums sums = {.l = c[sum->stored[2]].i64};
    size_t next = 3;

    if (c[sum->stored[0]].type == COFFER_NULL)
        return COFFER_OK;
    if (def->flags & SUM_WIDE)
        sums.h = c[sum->stored[next++]].i64;
    if (def->flags & SUM_TAGGED) {
        sums.tag_h = c[sum->stored[next]].i64;
        sums.tag_l = c[sum->stored[next + 1]].i64;
    }
    return sum_set_ids(sum->set, &id, NULL, false, 1, &sums, q->err);
}

static int
on_row(void *arg, const struct coffer_value *cells, size_t count, struct coffer_error *err)
{
    struct query *q = arg;
    int rc;

    (void)count;
    if (q->limit > 0 && q->matched >= q->limit)
        return COFFER_OK;
    if (cli_stop)
        return error_set(err, COFFER_E_CANCELLED, "stopped");
    q->cells = cells;
    q->err = err;
    q->failed = COFFER_OK;
    q->candidates++;
    for (size_t i = 0; i < q->table->column_count; i++)
        q->values[i].type = -1;
    rc = row_place_of(&q->place, db_engine(q->db), q->table, cells, err);
    if (rc != COFFER_OK)
        return rc;
    if (q->where != NULL && condition_holds(q->where, test_row, q) != YES) {
        if (q->failed == COFFER_E_NOMEM)
            return q->failed;
        q->unreadable += q->failed != COFFER_OK;
        return COFFER_OK;
    }
    q->matched++;
    for (size_t i = 0; rc == COFFER_OK && i < q->sum_count; i++)
        rc = add_up(q, &q->sums[i]);
    if (rc == COFFER_OK && q->shown_count > 0) {
        rc = show(q);
        if (rc == COFFER_E_AUTH || rc == COFFER_E_KEY || rc == COFFER_E_FORMAT || rc == COFFER_E_PLAINTEXT) {
            q->unreadable++;
            rc = COFFER_OK;
        }
    }
    return rc;
}

/* ---- what is asked for ---- */

static int
choose(struct query *q, const char *list, struct coffer_error *err)
{
    int rc = COFFER_OK;

    while (rc == COFFER_OK && *list != '\0') {
        char word[DB_NAME_MAX];
        size_t len = strcspn(list, ",");

        (void)snprintf(word, sizeof word, "%.*s", (int)len, list);
        if (q->shown_count == sizeof q->shown / sizeof q->shown[0])
            return error_set(err, COFFER_E_LIMIT, "too many columns");
        rc = column_named(q, word, &q->shown[q->shown_count++], err);
        list += len + (list[len] == ',');
    }
    return rc;
}

static int
choose_sum(struct query *q, const char *column, struct coffer_error *err)
{
    struct query_sum *sum = &q->sums[q->sum_count];
    struct stored_column stored[INDEX_COLUMNS_MAX];
    const struct index *index;
    size_t count;
    int rc;

    if (q->sum_count == SUMS_MAX)
        return error_set(err, COFFER_E_LIMIT, "at most %d sums", SUMS_MAX);
    rc = column_named(q, column, &sum->column, err);
    if (rc != COFFER_OK)
        return rc;
    sum->name = column;
    index = q->columns[sum->column].indexes[INDEX_SUM];
    if (index == NULL)
        return error_set(err, COFFER_E_REFUSED, "%s.%s is no sum column: coffer protect --sum makes it one", q->table->name, column);
    count = index_columns(index_def(index), stored);
    for (size_t i = 0; rc == COFFER_OK && i < count; i++)
        rc = column_named(q, stored[i].name, &sum->stored[i], err);
    if (rc == COFFER_OK)
        rc = sum_set_new(index_sum_def(index)->flags, &sum->set, err);
    q->sum_count += rc == COFFER_OK;
    return rc;
}

static int
show_sums(struct query *q, struct coffer_error *err)
{
    int rc = COFFER_OK;

    for (size_t i = 0; rc == COFFER_OK && i < q->sum_count; i++) {
        const struct index *index = q->columns[q->sums[i].column].indexes[INDEX_SUM];
        struct sum_total total;
        struct buf text;

        rc = index_sum_open(index, q->sums[i].set, &total, err);
        if (rc != COFFER_OK)
            break;
        buf_init(&text, 256);
        if (total.rows > 0)
            decimal_write(total.value, index_sum_def(index)->scale, &text);
        if (q->cli->json)
            out_json(json_pack("{s:{s:s, s:s?, s:I, s:b}}", "sum", "column", q->sums[i].name, "value", total.rows > 0 ? buf_cstr(&text) : NULL,
                               "rows", (json_int_t)total.rows, "verified", total.verified));
        else
            printf("sum of %s: %s over %llu rows%s\n", q->sums[i].name, total.rows > 0 ? buf_cstr(&text) : "none",
                   (unsigned long long)total.rows, total.verified ? ", verified" : "");
        buf_wipe(&text);
    }
    return rc;
}

static int
prepare(struct query *q, struct coffer_error *err)
{
    const struct args *args = q->cli->args;
    const char *select = args_text(args, "select"), *where = args_text(args, "where"), *sums[SUMS_MAX + 1];
    size_t sum_count = args_all(args, "sum", sums, SUMS_MAX + 1);
    double limit = 0;
    int rc = find_columns(q, err);

    if (rc == COFFER_OK && args_text(args, "limit") != NULL)
        rc = parse_number("limit", args_text(args, "limit"), 1, 1e9, &limit, err);
    q->limit = (uint64_t)limit;
    for (size_t i = 0; rc == COFFER_OK && i < sum_count; i++)
        rc = choose_sum(q, sums[i], err);
    if (rc == COFFER_OK && select != NULL)
        rc = choose(q, select, err);
    if (rc == COFFER_OK && select == NULL && sum_count == 0)
        rc = error_set(err, COFFER_E_MISUSE, "what shall be shown?  --select name,ssn or --sum invoice");
    if (rc == COFFER_OK && where != NULL)
        rc = condition_parse(where, &q->where, err);
    if (rc == COFFER_OK && q->where != NULL)
        rc = condition_each(q->where, prepare_test, q, err);
    return rc == COFFER_OK ? build(q, err) : rc;
}

static int
run_with(struct query *q, struct coffer_error *err)
{
    const char *headings[DB_KEY_MAX * 16];
    int rc = prepare(q, err);

    if (rc != COFFER_OK)
        return rc;
    for (size_t i = 0; i < q->shown_count; i++)
        headings[i] = q->table->columns[q->shown[i]].name;
    if (q->shown_count > 0 && !q->cli->json && (q->out = table_new(headings, q->shown_count)) == NULL)
        return error_nomem(err);
    rc = db_stream(q->db, buf_cstr(&q->sql), q->params, q->param_count, on_row, q, err);
    if (rc == COFFER_OK && q->out != NULL)
        table_print(q->out, stdout, q->cli->colour);
    if (rc == COFFER_OK)
        rc = show_sums(q, err);
    if (rc == COFFER_OK && q->unreadable > 0)
        rc = error_set(err, COFFER_E_AUTH, "%llu rows could not be opened and are not among these; coffer status lists damaged cells",
                       (unsigned long long)q->unreadable);
    return rc;
}

static void
query_close(struct query *q)
{
    for (size_t i = 0; q->columns != NULL && i < q->table->column_count; i++) {
        for (size_t k = 0; k <= INDEX_PAILLIER; k++)
            index_free(q->columns[i].indexes[k]);
        if (q->spaces != NULL)
            buf_wipe(&q->spaces[i]);
    }
    for (size_t i = 0; i < q->sum_count; i++)
        sum_set_free(q->sums[i].set);
    condition_free(q->where);
    table_free(q->out);
    buf_wipe(&q->sql);
    buf_wipe(&q->extra_sql);
    row_place_wipe(&q->place);
    mem_free(q->columns);
    mem_free(q->spaces);
    mem_free(q->values);
    for (size_t i = 0; q->owned != NULL && i < PARAMS_MAX; i++)
        mem_free(q->owned[i]);
    mem_free(q->owned);
    mem_free(q->params);
    db_table_free(q->table);
}

static int
run_query(struct cli *cli, struct coffer_error *err)
{
    struct reader reader = {0};
    struct query q = {.cli = cli, .scan = args_flag(cli->args, "scan")};
    struct cli_url url;
    const char *table = args_text(cli->args, "table");
    size_t next = 0;
    int rc = cli_url(cli, &next, &url, err);

    if (rc == COFFER_OK && table == NULL)
        rc = error_set(err, COFFER_E_MISUSE, "of which table?  --table patients");
    if (rc == COFFER_OK)
        rc = reader_open(cli, &url, &reader, err);
    if (rc != COFFER_OK)
        return rc;
    q.reader = &reader;
    q.db = reader.database->db;
    q.sqlite = db_engine(q.db) == DB_SQLITE;
    buf_init(&q.sql, 16u << 20);
    buf_init(&q.extra_sql, 16u << 20);
    row_place_init(&q.place);
    rc = db_table_open(q.db, table, &q.table, err);
    if (rc == COFFER_OK) {
        q.columns = mem_array(q.table->column_count + 1, sizeof *q.columns);
        q.values = mem_array(q.table->column_count + 1, sizeof *q.values);
        q.spaces = mem_array(q.table->column_count + 1, sizeof *q.spaces);
        q.params = mem_array(PARAMS_MAX, sizeof *q.params);
        q.owned = mem_array(PARAMS_MAX, sizeof *q.owned);
        if (q.columns == NULL || q.values == NULL || q.spaces == NULL || q.params == NULL || q.owned == NULL)
            rc = error_nomem(err);
        for (size_t i = 0; q.spaces != NULL && i < q.table->column_count; i++)
            buf_init(&q.spaces[i], 96u << 20);
    }
    if (rc == COFFER_OK)
        rc = run_with(&q, err);
    if (q.table != NULL)
        query_close(&q);
    reader_close(&reader);
    return rc;
}

static const struct arg_option options_query[] = {
    {"table", "TABLE", "of which table"},
    {"where", "CONDITION", "on protected and plain columns alike"},
    {"select", "COLUMN,…", "what is shown"},
    {"sum", "COLUMN", "the total of a sum column over the rows; repeatable"},
    {"order-by", "COLUMN", "a plain column, or one with order terms"},
    {"desc", NULL, "the largest first"},
    {"limit", "N", "at most so many rows"},
    {"scan", NULL, "open every row where no terms help"},
    {NULL, NULL, NULL}};
const struct command command_query = {
    .name = "query",
    .synopsis = "DBURL --table TABLE [--where CONDITION] [--select COLUMN,…] [--sum COLUMN]",
    .summary = "find, sort and add up what the server cannot read",
    .details = "The server finds rows by their terms; they are opened here, and only those that meet the condition are\n"
               "shown.  A condition has =, <>, <, <=, >, >=, LIKE, ILIKE, BETWEEN, IN, IS NULL, AND, OR, NOT and\n"
               "parentheses; a date may be written bare.\n\n"
               "  coffer query sqlite:app.db --table patients --select name,ssn \\\n"
               "    --where \"birth between 1950-01-01 and 1960-12-31 and name like '%son%'\"\n"
               "  coffer query sqlite:app.db --table patients --sum invoice --where \"ward = 7\"\n",
    .options = options_query,
    .more_options = options_url,
    .words_max = 1,
    .run = run_query,
};
