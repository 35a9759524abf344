/* SPDX-License-Identifier: Apache-2.0 */
/* The application's own PostgreSQL: a connection a thread, prepared statements, binary results. */
#include "foreground.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>

struct connection {
    PGconn *pg;
    PGresult *row; /* of the last read: its cells are borrowed */
};

static int
open_server(const char *url, void **out)
{
    struct connection *c = calloc(1, sizeof *c);

    if (c == NULL)
        abort();
    *out = c;
    c->pg = PQconnectdb(url);
    return PQstatus(c->pg) == CONNECTION_OK ? 0 : -1;
}

static void
close_server(void *connection)
{
    struct connection *c = connection;

    PQclear(c->row);
    PQfinish(c->pg);
    free(c);
}

static const char *
error(void *connection)
{
    return PQerrorMessage(((struct connection *)connection)->pg);
}

/* Keeps the result in `c->row`. */
static int
take(struct connection *c, PGresult *result, ExecStatusType wanted)
{
    PQclear(c->row);
    c->row = result;
    return PQresultStatus(result) == wanted ? 0 : -1;
}

static int
run(void *connection, const char *sql)
{
    struct connection *c = connection;
    PGresult *result = PQexec(c->pg, sql);

    return take(c, result,
                PQresultStatus(result) == PGRES_TUPLES_OK ? PGRES_TUPLES_OK : PGRES_COMMAND_OK);
}

static int
prepare(void *connection)
{
    struct connection *c = connection;

    if (take(c,
             PQprepare(c->pg, "read",
                       "SELECT ssn, ssn_sealed, email, email_sealed FROM " FOREGROUND_TABLE
                       " WHERE id=$1::bigint",
                       0, NULL),
             PGRES_COMMAND_OK) != 0)
        return -1;
    return take(c,
                PQprepare(c->pg, "write",
                          "UPDATE " FOREGROUND_TABLE
                          " SET email=$1, email_sealed=$2, visits=visits+1 WHERE id=$3::bigint",
                          0, NULL),
                PGRES_COMMAND_OK);
}

static int
read_row(void *connection, long id, struct coffer_stored cells[2])
{
    struct connection *c = connection;
    char number[24];
    const char *params[] = {number};

    snprintf(number, sizeof number, "%ld", id);
    if (take(c, PQexecPrepared(c->pg, "read", 1, params, NULL, NULL, 1), PGRES_TUPLES_OK) != 0 ||
        PQntuples(c->row) != 1)
        return -1;
    for (int i = 0; i < 2; i++) {
        cells[i] = (struct coffer_stored){0};
        if (!PQgetisnull(c->row, 0, 2 * i)) {
            cells[i].plain.type = COFFER_TEXT;
            cells[i].plain.data = (const uint8_t *)PQgetvalue(c->row, 0, 2 * i);
            cells[i].plain.len = (size_t)PQgetlength(c->row, 0, 2 * i);
        }
        if (!PQgetisnull(c->row, 0, 2 * i + 1)) {
            cells[i].sealed = (const uint8_t *)PQgetvalue(c->row, 0, 2 * i + 1);
            cells[i].sealed_len = (size_t)PQgetlength(c->row, 0, 2 * i + 1);
        }
    }
    return 0;
}

static int
write_row(void *connection, long id, const struct coffer_stored *email)
{
    struct connection *c = connection;
    char number[24];
    const char *params[] = {(const char *)email->plain.data, (const char *)email->sealed, number};
    const int lengths[] = {(int)email->plain.len, (int)email->sealed_len, 0};
    const int formats[] = {1, 1, 0};

    snprintf(number, sizeof number, "%ld", id);
    if (take(c, PQexecPrepared(c->pg, "write", 3, params, lengths, formats, 0), PGRES_COMMAND_OK))
        return -1;
    return atoi(PQcmdTuples(c->row)) == 1 ? 0 : -1;
}

const struct foreground_driver foreground_postgres = {
    .open = open_server,
    .close = close_server,
    .error = error,
    .run = run,
    .prepare = prepare,
    .read = read_row,
    .write = write_row,
    .key_type = "bigint",
    .numbers = "WITH n(i) AS (SELECT generate_series(1, %ld))",
};
