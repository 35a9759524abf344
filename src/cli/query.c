/* SPDX-License-Identifier: Apache-2.0 */
/* coffer query: rows that meet a condition on protected and plain columns, decrypted; totals of sum columns.
 *
 * The server is asked by terms for rows that may match.  Each is opened here, and only what meets the condition itself is shown or added up.
 */
#include "cli/query.h"

#include "base/mem.h"
#include "cli/commands.h"
#include "field/field.h"
#include "sums/figures.h"

#include <stdlib.h>
#include <string.h>

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
            rc = query_column_named(q, column->info.sealed_name, &column->companion, err);
            column->companion++;
        }
    }
    return rc;
}

/* ---- a row ---- */

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
            rc = query_value(q, q->shown[i], &value);
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
    if (q->where != NULL && condition_holds(q->where, query_test_row, q) != YES) {
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
        rc = query_column_named(q, word, &q->shown[q->shown_count++], err);
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
    rc = query_column_named(q, column, &sum->column, err);
    if (rc != COFFER_OK)
        return rc;
    sum->name = column;
    index = q->columns[sum->column].indexes[INDEX_SUM];
    if (index == NULL)
        return error_set(err, COFFER_E_REFUSED, "%s.%s is no sum column: coffer protect --sum makes it one", q->table->name, column);
    count = index_columns(index_def(index), stored);
    for (size_t i = 0; rc == COFFER_OK && i < count; i++)
        rc = query_column_named(q, stored[i].name, &sum->stored[i], err);
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
        rc = condition_each(q->where, query_prepare_test, q, err);
    return rc == COFFER_OK ? query_build(q, err) : rc;
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
