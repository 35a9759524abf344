/* SPDX-License-Identifier: Apache-2.0 */
/* Small statements: results as typed values, whole or streamed. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

/* System types that have a short binary form; everything else that type.c does not know must be
 * asked for as text. */
static bool
readable(Oid oid)
{
    return pg_type_find(oid, NULL) != NULL || oid == PG_OID || oid == 18 /* "char" */ ||
           oid == 705 /* unknown */ || oid == 2278 /* void */;
}

static int
decode(const PGresult *result, int row, int column, struct buf *storage, struct coffer_value *out)
{
    Oid oid = PQftype(result, column);

    if (oid == PG_OID && !PQgetisnull(result, row, column)) {
        *out = (struct coffer_value){.type = COFFER_INT64, .i64 = pg_int(result, row, column)};
        return COFFER_OK;
    }
    return pg_value_decode(oid, pg_field(result, row, column), storage, out);
}

/* The same query with the columns that have no binary form here cast to text; false if there are
 * none. */
static bool
wrap(const PGresult *result, const char *sql, struct buf *out)
{
    size_t len = strlen(sql);
    bool needed = false;
    int i, n = PQnfields(result);

    for (i = 0; i < n; i++)
        needed |= !readable(PQftype(result, i));
    if (!needed)
        return false;
    while (len > 0 && (sql[len - 1] == ';' || sql[len - 1] == ' ' || sql[len - 1] == '\n'))
        len--;
    buf_str(out, "SELECT ");
    /* format() gives a type's own output; the cast differs from it for inet ("/32").  num_nulls()
     * since IS NULL looks into composites. */
    for (i = 0; i < n; i++)
        if (readable(PQftype(result, i)))
            buf_format(out, "%sq.c%d", i > 0 ? ", " : "", i);
        else
            buf_format(out,
                       "%sCASE WHEN pg_catalog.num_nulls(q.c%d) = 0 THEN pg_catalog.format('%%s', "
                       "q.c%d) END",
                       i > 0 ? ", " : "", i, i);
    buf_str(out, " FROM (");
    buf_add(out, sql, len);
    buf_str(out, "\n) AS q(");
    for (i = 0; i < n; i++)
        buf_format(out, "%sc%d", i > 0 ? ", " : "", i);
    buf_str(out, ")");
    return true;
}

static int
names_of(const PGresult *result, struct db_result *out)
{
    size_t i;

    out->columns = (size_t)PQnfields(result);
    out->names = mem_array(out->columns, sizeof *out->names);
    if (out->names == NULL)
        return COFFER_E_NOMEM;
    for (i = 0; i < out->columns; i++) {
        out->names[i] = mem_strdup(PQfname(result, (int)i));
        if (out->names[i] == NULL)
            return COFFER_E_NOMEM;
    }
    return COFFER_OK;
}

static int
cells_of(const PGresult *result, struct db_result *out, struct coffer_error *err)
{
    size_t row, column, i, at = 0, total = 0;

    out->rows = (size_t)PQntuples(result);
    out->cells = mem_array(out->rows * out->columns, sizeof *out->cells);
    if (out->cells == NULL)
        return error_nomem(err);
    /* Everything is copied into one block first: views into it are set when it moves no more. */
    for (row = 0; row < out->rows; row++) {
        for (column = 0; column < out->columns; column++) {
            struct coffer_value *v = &out->cells[at++];

            if (decode(result, (int)row, (int)column, &out->storage, v) != COFFER_OK)
                return error_set(err, COFFER_E_FORMAT,
                                 "PostgreSQL sent a malformed value in column \"%s\"",
                                 out->names[column]);
            if (v->data != NULL) {
                total = out->storage.len;
                buf_add(&out->storage, v->data, v->len);
                v->i64 = (int64_t)total + 1;
                v->data = NULL;
            }
        }
    }
    buf_u8(&out->storage, 0);
    if (buf_status(&out->storage, err) != COFFER_OK)
        return out->storage.failed;
    for (i = 0; i < at; i++) {
        struct coffer_value *v = &out->cells[i];

        if (v->type == COFFER_BYTES || v->type == COFFER_TEXT || v->type == COFFER_NUMERIC ||
            v->type == COFFER_UUID || v->type == COFFER_JSON) {
            v->data = out->storage.ptr + v->i64 - 1;
            v->i64 = 0;
        }
    }
    return COFFER_OK;
}

int
pg_result_of(const PGresult *result, struct db_result **out, struct coffer_error *err)
{
    struct db_result *made = mem_alloc(sizeof *made);
    int rc;

    *out = NULL;
    if (made == NULL)
        return error_nomem(err);
    buf_init(&made->storage, PG_PARAMS_MAX);
    made->affected = strtoull(PQcmdTuples((PGresult *)(uintptr_t)result), NULL, 10);
    rc = names_of(result, made) != COFFER_OK ? error_nomem(err) : cells_of(result, made, err);
    if (rc == COFFER_OK)
        *out = made;
    else
        db_result_free(made);
    return rc;
}

static int
params_of(const struct coffer_value *params, size_t count, struct pg_params *out,
          struct coffer_error *err)
{
    size_t i;

    for (i = 0; i < count; i++)
        (void)pg_params_value(out, 0, &params[i]);
    return pg_params_finish(out, err);
}

/* The wrapped query calls its columns c0, c1, …. */
static int
rename_column(struct db_result *result, size_t i, const char *name, struct coffer_error *err)
{
    char *copy = mem_strdup(name);

    if (copy == NULL)
        return error_nomem(err);
    mem_free(result->names[i]);
    result->names[i] = copy;
    return COFFER_OK;
}

int
pg_run(struct db *db, const char *sql, const struct coffer_value *params, size_t count,
       struct db_result **result, struct coffer_error *err)
{
    struct pg *pg = pg_of(db);
    struct pg_params bound;
    PGresult *got = NULL, *again = NULL;
    struct buf wrapped;
    size_t i;
    int rc;

    if (result != NULL)
        *result = NULL;
    pg_params_init(&bound);
    buf_init(&wrapped, PG_SQL_MAX);
    rc = params_of(params, count, &bound, err);
    if (rc == COFFER_OK)
        rc = pg_exec(pg, sql, &bound, &got, err);
    if (rc != COFFER_OK || result == NULL)
        goto out;

    if (wrap(got, sql, &wrapped)) {
        rc = buf_status(&wrapped, err);
        if (rc == COFFER_OK)
            rc = pg_exec(pg, buf_cstr(&wrapped), &bound, &again, err);
        if (rc != COFFER_OK)
            goto out;
    }
    rc = pg_result_of(again != NULL ? again : got, result, err);
    for (i = 0; rc == COFFER_OK && again != NULL && i < (*result)->columns; i++)
        rc = rename_column(*result, i, PQfname(got, (int)i), err);

out:
    if (rc != COFFER_OK)
        pg_rollback(db);
    buf_wipe(&wrapped);
    pg_params_wipe(&bound);
    PQclear(again);
    PQclear(got);
    return rc;
}

/* What the columns of `sql` are, in one round trip that executes nothing.  The unnamed statement
 * does not outlive its sync, so a pooler may give the next one to another server. */
static int
describe(struct pg *pg, const char *sql, const struct pg_params *params, PGresult **out,
         struct coffer_error *err)
{
    PGresult *result;
    int rc = COFFER_OK, i;

    *out = NULL;
    if (!PQenterPipelineMode(pg->conn) ||
        !PQsendPrepare(pg->conn, "", sql, params->count, params->types) ||
        !PQsendDescribePrepared(pg->conn, "") || !PQpipelineSync(pg->conn))
        return pg_fail(pg, NULL, err);
    for (i = 0; i < 2 && rc == COFFER_OK; i++) {
        result = PQgetResult(pg->conn);
        if (PQresultStatus(result) != PGRES_COMMAND_OK) {
            rc = pg_fail(pg, result, err);
            PQclear(result);
        } else if (i == 1) {
            *out = result;
        } else {
            PQclear(result);
        }
        if (rc == COFFER_OK)
            PQclear(PQgetResult(pg->conn));
    }
    if (rc == COFFER_OK) {
        PQclear(PQgetResult(pg->conn));
        if (!PQexitPipelineMode(pg->conn))
            rc = pg_fail(pg, NULL, err);
    }
    return rc;
}

static int
give_row(const PGresult *result, struct coffer_value *cells, struct buf *storage, db_row_fn fn,
         void *arg, struct coffer_error *err)
{
    int i, n = PQnfields(result);

    buf_clear(storage);
    for (i = 0; i < n; i++) {
        if (decode(result, 0, i, storage, &cells[i]) != COFFER_OK)
            return error_set(err, COFFER_E_FORMAT,
                             "PostgreSQL sent a malformed value in column \"%s\"",
                             PQfname(result, i));
    }
    for (i = 0; i < n; i++)
        pg_value_fix(&cells[i], storage);
    return fn(arg, cells, (size_t)n, err);
}

int
pg_stream(struct db *db, const char *sql, const struct coffer_value *params, size_t count,
          db_row_fn fn, void *arg, struct coffer_error *err)
{
    struct pg *pg = pg_of(db);
    struct coffer_value *cells = NULL;
    struct pg_params bound;
    struct buf wrapped, storage;
    PGresult *result = NULL;
    int rc;

    pg_params_init(&bound);
    buf_init(&wrapped, PG_SQL_MAX);
    buf_init(&storage, PG_PARAMS_MAX);
    rc = params_of(params, count, &bound, err);
    if (rc == COFFER_OK)
        rc = describe(pg, sql, &bound, &result, err);
    if (rc != COFFER_OK)
        goto out;
    cells = mem_array((size_t)PQnfields(result) + 1, sizeof *cells);
    if (cells == NULL) {
        rc = error_nomem(err);
        goto out;
    }
    if (wrap(result, sql, &wrapped)) {
        sql = buf_cstr(&wrapped);
        rc = buf_status(&wrapped, err);
        if (rc != COFFER_OK)
            goto out;
    }
    PQclear(result);
    result = NULL;
    if (!PQsendQueryParams(pg->conn, sql, bound.count, bound.types, bound.value, bound.length,
                           bound.format, 1) ||
        !PQsetSingleRowMode(pg->conn)) {
        rc = pg_fail(pg, NULL, err);
        goto out;
    }
    while (rc == COFFER_OK && (result = PQgetResult(pg->conn)) != NULL) {
        if (PQresultStatus(result) == PGRES_SINGLE_TUPLE)
            rc = give_row(result, cells, &storage, fn, arg, err);
        else if (PQresultStatus(result) != PGRES_TUPLES_OK &&
                 PQresultStatus(result) != PGRES_COMMAND_OK)
            rc = pg_fail(pg, result, err);
        PQclear(result);
        result = NULL;
    }
    if (rc != COFFER_OK && PQtransactionStatus(pg->conn) == PQTRANS_ACTIVE)
        pg_cancel(db); /* the callback had enough: do not read the rest of a large table */

out:
    if (rc != COFFER_OK)
        pg_rollback(db);
    PQclear(result);
    mem_free(cells);
    buf_wipe(&storage);
    buf_wipe(&wrapped);
    pg_params_wipe(&bound);
    return rc;
}
