/* SPDX-License-Identifier: Apache-2.0 */
/* Statements, one or several in one round trip, and transactions. */
#include "internal.h"

#include "base/os.h"

#include <stdio.h>
#include <string.h>

bool
pg_in_transaction(const struct pg *pg)
{
    return PQtransactionStatus(pg->conn) == PQTRANS_INTRANS;
}

/* Read whatever is still under way, so that the connection can take a statement again. */
static void
drain(struct pg *pg)
{
    PGresult *result;
    int empty = 0;

    if (PQpipelineStatus(pg->conn) == PQ_PIPELINE_OFF) {
        while ((result = PQgetResult(pg->conn)) != NULL)
            PQclear(result);
        return;
    }
    while (PQstatus(pg->conn) == CONNECTION_OK && !PQexitPipelineMode(pg->conn) && empty < 2) {
        result = PQgetResult(pg->conn);
        empty = result == NULL ? empty + 1 : 0;
        PQclear(result);
    }
}

void
pg_rollback(struct db *db)
{
    struct pg *pg = pg_of(db);

    drain(pg);
    if (PQstatus(pg->conn) == CONNECTION_OK && PQtransactionStatus(pg->conn) != PQTRANS_IDLE)
        PQclear(PQexec(pg->conn, "ROLLBACK"));
}

static bool
good(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);

    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
}

int
pg_exec(struct pg *pg, const char *sql, struct pg_params *params, PGresult **out,
        struct coffer_error *err)
{
    PGresult *result;
    int rc;

    if (out != NULL)
        *out = NULL;
    result = PQexecParams(
        pg->conn, sql, params != NULL ? params->count : 0, params != NULL ? params->types : NULL,
        params != NULL ? params->value : NULL, params != NULL ? params->length : NULL,
        params != NULL ? params->format : NULL, 1);
    if (!good(result)) {
        rc = pg_fail(pg, result, err);
        PQclear(result);
        return rc;
    }
    if (out != NULL)
        *out = result;
    else
        PQclear(result);
    return COFFER_OK;
}

static int
send_all(struct pg *pg, struct pg_statement *statements, size_t count)
{
    size_t i;

    if (!PQenterPipelineMode(pg->conn))
        return 0;
    for (i = 0; i < count; i++) {
        struct pg_params *p = statements[i].params;

        if (!PQsendQueryParams(pg->conn, statements[i].sql, p != NULL ? p->count : 0,
                               p != NULL ? p->types : NULL, p != NULL ? p->value : NULL,
                               p != NULL ? p->length : NULL, p != NULL ? p->format : NULL, 1))
            return 0;
    }
    return PQpipelineSync(pg->conn);
}

int
pg_pipeline(struct pg *pg, struct pg_statement *statements, size_t count, struct coffer_error *err)
{
    PGresult *failed = NULL;
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; i < count; i++)
        statements[i].result = NULL;
    if (!send_all(pg, statements, count))
        rc = pg_fail(pg, NULL, err);
    for (i = 0; i < count && rc == COFFER_OK; i++) {
        statements[i].result = PQgetResult(pg->conn);
        if (!good(statements[i].result)) {
            failed = statements[i].result;
            statements[i].result = NULL;
            rc = pg_fail(pg, failed, err);
            PQclear(failed);
            break;
        }
        PQclear(PQgetResult(pg->conn)); /* the NULL after each statement's results */
    }
    if (rc == COFFER_OK) {
        PQclear(PQgetResult(pg->conn)); /* the sync */
        if (!PQexitPipelineMode(pg->conn))
            rc = pg_fail(pg, NULL, err);
    }
    if (rc != COFFER_OK) {
        for (i = 0; i < count; i++) {
            PQclear(statements[i].result);
            statements[i].result = NULL;
        }
    }
    return rc;
}

/* row_security=off makes a hidden row an error instead of a silent gap; constraint_exclusion=off
 * keeps the planner from answering a proof out of the very constraint that is to be proven. */
int
pg_read(struct pg *pg, const char *sql, struct pg_params *params, PGresult **out,
        struct coffer_error *err)
{
    struct pg_statement all[] = {
        {"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL, NULL},
        {"SELECT pg_catalog.set_config('row_security', 'off', true), "
         "pg_catalog.set_config('constraint_exclusion', 'off', true)",
         NULL, NULL},
        {sql, params, NULL},
        {"COMMIT", NULL, NULL},
    };
    bool inside = pg_in_transaction(pg);
    int rc = pg_pipeline(pg, inside ? all + 1 : all, inside ? 2 : 4, err);

    *out = NULL;
    if (rc != COFFER_OK)
        return rc;
    *out = all[2].result;
    PQclear(all[0].result);
    PQclear(all[1].result);
    PQclear(all[3].result);
    return COFFER_OK;
}

int
pg_ddl(struct pg *pg, const char *sql, unsigned tries, struct coffer_error *err)
{
    unsigned attempt, pause_ms = 20;
    char *whole = mem_format("BEGIN; SET LOCAL lock_timeout = '50ms'; %s; COMMIT", sql);
    int rc = COFFER_OK;

    if (whole == NULL)
        return error_nomem(err);
    for (attempt = 0; attempt < tries; attempt++) {
        PGresult *result = PQexec(pg->conn, whole);
        uint8_t jitter = 0;

        rc = good(result) ? COFFER_OK : pg_fail(pg, result, err);
        PQclear(result);
        if (rc != COFFER_E_CONFLICT || attempt + 1 == tries)
            break;
        (void)!os_real.random(&os_real, &jitter, 1, NULL);
        os_real.sleep_ms(&os_real, pause_ms + pause_ms * jitter / 256);
        pause_ms = pause_ms < 500 ? pause_ms * 2 : pause_ms;
    }
    mem_free(whole);
    return rc;
}

int
pg_begin(struct db *db, enum db_txn kind, struct coffer_error *err)
{
    return pg_exec(pg_of(db),
                   kind == DB_TXN_WRITE ? "BEGIN ISOLATION LEVEL READ COMMITTED"
                                        : "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                   NULL, NULL, err);
}

int
pg_commit(struct db *db, struct coffer_error *err)
{
    struct pg *pg = pg_of(db);
    PGresult *result = NULL;
    int rc = pg_exec(pg, "COMMIT", NULL, &result, err);

    if (rc == COFFER_OK && strcmp(PQcmdStatus(result), "ROLLBACK") == 0)
        rc = error_set(err, COFFER_E_DB, "PostgreSQL rolled the transaction back");
    PQclear(result);
    return rc;
}

struct bytes
pg_field(const PGresult *result, int row, int column)
{
    if (PQgetisnull(result, row, column))
        return (struct bytes){0};
    return bytes_of(PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column));
}

const char *
pg_text(const PGresult *result, int row, int column)
{
    return PQgetisnull(result, row, column) ? "" : PQgetvalue(result, row, column);
}

int64_t
pg_int(const PGresult *result, int row, int column)
{
    struct bytes raw = pg_field(result, row, column);
    bool natural = PQftype(result, column) == PG_OID;
    uint64_t v = raw.len > 1 && !natural && (raw.ptr[0] & 0x80) != 0 ? ~(uint64_t)0 : 0;
    size_t i;

    for (i = 0; i < raw.len; i++)
        v = v << 8 | raw.ptr[i];
    return (int64_t)v;
}
