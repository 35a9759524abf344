/* SPDX-License-Identifier: Apache-2.0 */
#include "sqlite_ext/sums.h"

#include "sums/answer.h"
#include "sums/paillier.h"

#include <sqlite3ext.h>
#include <stdio.h>
#include <string.h>
SQLITE_EXTENSION_INIT3

#define ANSWER_MAX (1u << 29)

struct sum_state { /* zeroed by SQLite */
    struct sum_builder *builder;
    struct coffer_error err;
};

struct paillier_state {
    struct paillier_sum *sum;
    uint8_t version[2];
    struct coffer_error err;
};

static void
fail(sqlite3_context *context, const struct coffer_error *err)
{
    char text[560];

    (void)snprintf(text, sizeof text, "coffer: %s", err->message);
    sqlite3_result_error(context, text, -1);
    if (err->status == COFFER_E_NOMEM)
        sqlite3_result_error_nomem(context);
}

static void
sum_step(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    struct sum_state *state = sqlite3_aggregate_context(context, sizeof *state);
    struct sum_cell cell = {0};
    struct sum_id id;

    (void)argc;
    if (state == NULL) {
        sqlite3_result_error_nomem(context);
        return;
    }
    if (state->err.status != COFFER_OK || sqlite3_value_type(argv[2]) == SQLITE_NULL)
        return;
    for (int i = 0; i < 3; i++)
        if (sqlite3_value_type(argv[i]) != SQLITE_INTEGER) {
            (void)error_set(&state->err, COFFER_E_TYPE,
                            "coffer_sum(hi, lo, c) takes the three integers of a sum column");
            return;
        }
    id = (struct sum_id){sqlite3_value_int64(argv[0]), sqlite3_value_int64(argv[1])};
    cell.l = sqlite3_value_int64(argv[2]);
    if (state->builder == NULL &&
        sum_builder_new(0, SUM_ROWS_MAX, &state->builder, &state->err) != COFFER_OK)
        return;
    (void)!sum_builder_add(state->builder, id, &cell, &state->err);
}

static void
sum_final(sqlite3_context *context)
{
    struct sum_state *state = sqlite3_aggregate_context(context, 0);
    struct buf answer;

    if (state == NULL)
        return; /* NULL */
    buf_init(&answer, ANSWER_MAX);
    if (state->err.status == COFFER_OK && state->builder != NULL)
        (void)!sum_builder_encode(state->builder, &answer, &state->err);
    if (state->err.status != COFFER_OK)
        fail(context, &state->err);
    else if (state->builder != NULL)
        sqlite3_result_blob64(context, answer.ptr, answer.len, SQLITE_TRANSIENT);
    buf_wipe(&answer);
    sum_builder_free(state->builder);
}

static void
add_cipher(struct paillier_state *state, struct bytes cell, struct bytes n2)
{
    if (cell.ptr == NULL || n2.ptr == NULL || cell.len != 2 + PAILLIER_C_LEN) {
        (void)error_set(&state->err, COFFER_E_TYPE,
                        "coffer_paillier_sum(c, n2) takes a Paillier column and n² as blobs");
        return;
    }
    if (state->sum == NULL) {
        memcpy(state->version, cell.ptr, 2);
        if (paillier_sum_new(n2, &state->sum, &state->err) != COFFER_OK)
            return;
    }
    if (memcmp(state->version, cell.ptr, 2) != 0) {
        (void)error_set(&state->err, COFFER_E_MISUSE,
                        "rows of two key versions: GROUP BY substr(c, 1, 2)");
        return;
    }
    (void)!paillier_sum_add(state->sum, bytes_of(cell.ptr + 2, PAILLIER_C_LEN), &state->err);
}

static struct bytes
blob_of(sqlite3_value *value)
{
    const void *blob = sqlite3_value_type(value) == SQLITE_BLOB ? sqlite3_value_blob(value) : NULL;

    return bytes_of(blob, (size_t)sqlite3_value_bytes(value));
}

static void
paillier_step(sqlite3_context *context, int argc, sqlite3_value **argv)
{
    struct paillier_state *state = sqlite3_aggregate_context(context, sizeof *state);

    (void)argc;
    if (state == NULL)
        sqlite3_result_error_nomem(context);
    else if (state->err.status == COFFER_OK && sqlite3_value_type(argv[0]) != SQLITE_NULL)
        add_cipher(state, blob_of(argv[0]), blob_of(argv[1]));
}

static void
paillier_final(sqlite3_context *context)
{
    struct paillier_state *state = sqlite3_aggregate_context(context, 0);
    uint8_t answer[2 + PAILLIER_C_LEN];

    if (state == NULL)
        return; /* NULL */
    if (state->err.status != COFFER_OK) {
        fail(context, &state->err);
    } else if (state->sum != NULL) {
        memcpy(answer, state->version, 2);
        paillier_sum_result(state->sum, answer + 2);
        sqlite3_result_blob(context, answer, sizeof answer, SQLITE_TRANSIENT);
    }
    paillier_sum_free(state->sum);
}

int
sums_register(struct sqlite3 *db)
{
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
    int rc = sqlite3_create_function_v2(db, "coffer_sum", 3, flags, NULL, NULL, sum_step, sum_final,
                                        NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_create_function_v2(db, "coffer_paillier_sum", 2, flags, NULL, NULL,
                                        paillier_step, paillier_final, NULL);
    return rc;
}
