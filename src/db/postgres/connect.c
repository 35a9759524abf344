/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing a connection, cancelling, and what an engine's error means to us. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct db_ops postgres_ops = {
    .close = pg_close,
    .cancel = pg_cancel,
    .incarnation = pg_incarnation,
    .run = pg_run,
    .stream = pg_stream,
    .begin = pg_begin,
    .commit = pg_commit,
    .rollback = pg_rollback,
    .catalog_name = pg_catalog_name,
    .catalog_install = pg_catalog_install,
    .catalog_present = pg_catalog_present,
    .catalog_grants = pg_catalog_grants,
    .table_open = pg_table_open,
    .obstacles = pg_obstacles,
    .phase_apply = pg_phase_apply,
    .walk_open = pg_walk_open,
    .walk_close = pg_walk_close,
    .walk_bound = pg_walk_bound,
    .walk_read = pg_walk_read,
    .walk_write = pg_walk_write,
    .count = pg_count,
    .count_estimate = pg_count_estimate,
    .fence_set = pg_fence_set,
    .fence_constrain = pg_fence_constrain,
    .fence_unconstrain = pg_fence_unconstrain,
    .mark_now = pg_mark_now,
    .mark_passed = pg_mark_passed,
    .replicas = pg_replicas,
    .others = pg_others,
    .find_envelopes = pg_find_envelopes,
    .load = pg_load,
    .clean = pg_clean,
    .files = pg_files,
    .trial = pg_trial,
    .sizes = pg_sizes,
};

static void
ignore_notice(void *arg, const PGresult *result)
{
}

/* libpq ends its messages with a newline; a message of ours is one line. */
static const char *
one_line(const char *text, char *out, size_t out_max)
{
    size_t len;

    snprintf(out, out_max, "%s", text);
    for (len = strlen(out); len > 0 && (out[len - 1] == '\n' || out[len - 1] == ' '); len--)
        out[len - 1] = '\0';
    return out;
}

int
db_postgres_open(const char *conninfo, const struct db_options *options, struct db **out,
                 struct coffer_error *err)
{
    char timeout[16], line[300];
    unsigned ms = options != NULL && options->busy_ms != 0 ? options->busy_ms : 5000;
    const char *service =
        strncmp(conninfo, "postgresql:service=", 19) == 0 ? conninfo + 11 : conninfo;
    const char *name =
        options != NULL && options->application_name != NULL ? options->application_name : "coffer";
    /* libpq takes the first dbname that is a connection string apart; what follows it wins. */
    const char *keys[] = {"dbname", "application_name", "client_encoding", "connect_timeout", NULL};
    const char *values[] = {service, name, "UTF8", timeout, NULL};
    struct pg *pg;

    *out = NULL;
    snprintf(timeout, sizeof timeout, "%u", ms < 2000 ? 2 : (ms + 999) / 1000);
    pg = mem_alloc(sizeof *pg);
    if (pg == NULL)
        return error_nomem(err);
    pg->db.ops = &postgres_ops;
    pg->db.engine = DB_POSTGRESQL;
    pg->conn = PQconnectdbParams(keys, values, 1);
    if (pg->conn == NULL || PQstatus(pg->conn) != CONNECTION_OK) {
        int rc = error_set(err, COFFER_E_LOST, "cannot connect to PostgreSQL: %s",
                           one_line(PQerrorMessage(pg->conn), line, sizeof line));

        pg_close(&pg->db);
        return rc;
    }
    if (PQserverVersion(pg->conn) < 140000) {
        pg_close(&pg->db);
        return error_set(err, COFFER_E_UNSUPPORTED, "PostgreSQL 14 or later is needed");
    }
    (void)PQsetNoticeReceiver(pg->conn, ignore_notice, NULL);
    pg->cancel = PQgetCancel(pg->conn);
    *out = &pg->db;
    return COFFER_OK;
}

void
pg_close(struct db *db)
{
    struct pg *pg = pg_of(db);

    if (pg == NULL)
        return;
    /* Behind a pooler the server connection lives on: leave no transaction open in it. */
    if (pg->conn != NULL && PQstatus(pg->conn) == CONNECTION_OK)
        pg_rollback(db);
    PQfreeCancel(pg->cancel);
    PQfinish(pg->conn);
    mem_free(pg);
}

void
pg_cancel(struct db *db)
{
    char message[256];

    (void)!PQcancel(pg_of(db)->cancel, message, sizeof message);
}

static int
status_of(const char *state)
{
    if (strncmp(state, "08", 2) == 0 || strcmp(state, "57P01") == 0 ||
        strcmp(state, "57P02") == 0 || strcmp(state, "57P03") == 0 || strcmp(state, "57P05") == 0 ||
        strcmp(state, "25P03") == 0)
        return COFFER_E_LOST;
    if (strcmp(state, "40001") == 0 || strcmp(state, "40P01") == 0 || strcmp(state, "55P03") == 0 ||
        strcmp(state, "55006") == 0)
        return COFFER_E_CONFLICT;
    if (strcmp(state, "57014") == 0)
        return COFFER_E_CANCELLED;
    return COFFER_E_DB;
}

int
pg_fail(struct pg *pg, const PGresult *result, struct coffer_error *err)
{
    const char *state = result != NULL ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    const char *primary =
        result != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    const char *hint = result != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_HINT) : NULL;
    char line[300];
    int rc;

    /* Only the primary message and the hint: details and contexts quote rows. */
    if (state != NULL)
        rc = error_set(err, status_of(state), "PostgreSQL: %s%s%s (SQLSTATE %s)",
                       primary != NULL ? primary : "", hint != NULL ? "; " : "",
                       hint != NULL ? hint : "", state);
    else if (PQstatus(pg->conn) != CONNECTION_OK)
        rc = error_set(err, COFFER_E_LOST, "the connection to PostgreSQL was lost: %s",
                       one_line(PQerrorMessage(pg->conn), line, sizeof line));
    else
        rc = error_set(err, COFFER_E_DB, "PostgreSQL: %s",
                       one_line(PQerrorMessage(pg->conn), line, sizeof line));
    pg_rollback(&pg->db);
    /* A session that was ended may have said so with any SQLSTATE; the socket is what counts. */
    if (PQstatus(pg->conn) != CONNECTION_OK && rc != COFFER_E_LOST)
        rc = error_set(err, COFFER_E_LOST, "the connection to PostgreSQL was lost");
    return rc;
}

int
pg_incarnation(struct db *db, char *out, struct coffer_error *err)
{
    struct pg *pg = pg_of(db);
    PGresult *result = NULL;
    int rc;

    /* The system identifier needs pg_control_system(), which everybody may call unless it was
     * revoked. */
    rc = pg_exec(pg,
                 "SELECT 'postgresql/' || s.system_identifier::text || '/' || c.timeline_id::text "
                 "|| '/' || d.oid::text"
                 " FROM pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c, "
                 "pg_catalog.pg_database d"
                 " WHERE d.datname = pg_catalog.current_database()",
                 NULL, &result, err);
    if (rc != COFFER_OK)
        return rc;
    snprintf(out, DB_NAME_MAX, "%s", pg_text(result, 0, 0));
    PQclear(result);
    return COFFER_OK;
}
