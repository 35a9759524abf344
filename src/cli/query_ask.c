/* SPDX-License-Identifier: Apache-2.0 */
/* The question that the server is asked: by terms where a column is protected, for rows that may match. */
#include "cli/query.h"

#include "base/mem.h"
#include "db/terms.h"
#include "field/field.h"

#include <string.h>

int
query_column_named(const struct query *q, const char *name, size_t *out, struct coffer_error *err)
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
int
query_prepare_test(void *arg, struct node *test, struct coffer_error *err)
{
    struct query *q = arg;
    struct query_column *column;
    int rc = query_column_named(q, test->column, &test->column_index, err);

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

int
query_build(struct query *q, struct coffer_error *err)
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
    rc = query_column_named(q, order, &column, err);
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

