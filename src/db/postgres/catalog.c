/* SPDX-License-Identifier: Apache-2.0 */
/* Schema coffer: the working tables, and plain SQL functions that recognise an envelope. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

static const char *const tables[] = {"meta", "rotation", "chunk", "client", "quarantine"};

const char *
pg_catalog_name(const char *table)
{
    static const char *const names[] = {"coffer.meta", "coffer.rotation", "coffer.chunk",
                                        "coffer.client", "coffer.quarantine"};
    size_t i;

    for (i = 0; i < sizeof tables / sizeof *tables; i++) {
        if (strcmp(table, tables[i]) == 0)
            return names[i];
    }
    return "";
}

/* The functions see no key: they only read what the envelope says of itself. */
static void
functions(struct buf *sql)
{
    static const char text_shape[] =
        "v COLLATE pg_catalog.\"C\" ~ '^cfr1[.][0-9a-f]{8}[.][A-Za-z0-9_-]{64,}$'"
        " AND pg_catalog.substr(v, 6, 8) = pg_catalog.encode(pg_catalog.substr(e.b, 5, 4), 'hex')"
        /* Unused bits of the last character are zero, and no length is 4k+1. */
        " AND CASE (pg_catalog.length(v) - 14) % 4 WHEN 0 THEN true WHEN 2 THEN "
        "pg_catalog.strpos('AQgw', pg_catalog.right(v, 1)) > 0"
        " WHEN 3 THEN pg_catalog.strpos('AEIMQUYcgkosw048', pg_catalog.right(v, 1)) > 0 ELSE false "
        "END";

    buf_str(sql, "CREATE OR REPLACE FUNCTION coffer.is_sealed(c bytea) RETURNS boolean LANGUAGE "
                 "sql IMMUTABLE STRICT PARALLEL SAFE AS $f$ SELECT ");
    pg_sql_is_sealed(sql, "$1", false);
    buf_str(sql, " $f$;");
    buf_format(sql,
               "CREATE OR REPLACE FUNCTION coffer.is_sealed(c text) RETURNS boolean LANGUAGE sql "
               "IMMUTABLE STRICT PARALLEL SAFE AS $f$"
               " SELECT CASE WHEN $1 COLLATE pg_catalog.\"C\" !~ "
               "'^cfr1[.][0-9a-f]{8}[.][A-Za-z0-9_-]{64,}$' THEN false ELSE"
               " (SELECT %s AND e.whole_ok FROM (SELECT $1 AS v) s,"
               " LATERAL (SELECT pg_catalog.decode(pg_catalog.translate(pg_catalog.substr($1, 15, "
               "12), '-_', '+/'), 'base64') AS b) d,"
               " LATERAL (SELECT d.b, pg_catalog.get_byte(d.b, 0) = 249 AND "
               "(pg_catalog.get_byte(d.b, 1) = 1"
               " OR (pg_catalog.get_byte(d.b, 1) = 2 AND pg_catalog.length($1) - 14 >= 107))"
               " AND pg_catalog.get_byte(d.b, 2) IN (0, 1, 2, 4, 5, 6) AND "
               "pg_catalog.get_byte(d.b, 3) BETWEEN 1 AND 10"
               " AND pg_catalog.substr(d.b, 5, 4) <> '\\x00000000'::pg_catalog.bytea AS whole_ok) "
               "e) END $f$;",
               text_shape);
    buf_str(sql,
            "CREATE OR REPLACE FUNCTION coffer.key_id(c bytea) RETURNS bytea LANGUAGE sql "
            "IMMUTABLE STRICT PARALLEL SAFE AS"
            " $f$ SELECT CASE WHEN coffer.is_sealed($1) THEN pg_catalog.substr($1, 5, 4) END $f$;"
            "CREATE OR REPLACE FUNCTION coffer.key_id(c text) RETURNS bytea LANGUAGE sql IMMUTABLE "
            "STRICT PARALLEL SAFE AS"
            " $f$ SELECT CASE WHEN coffer.is_sealed($1) THEN "
            "pg_catalog.decode(pg_catalog.substr($1, 6, 8), 'hex') END $f$;");
}

int
pg_catalog_install(struct db *db, struct coffer_error *err)
{
    struct pg *pg = pg_of(db);
    struct buf sql;
    size_t i;
    bool present;
    int rc = pg_catalog_present(db, &present, err);

    if (rc != COFFER_OK || present)
        return rc;
    buf_init(&sql, PG_SQL_MAX);
    /* Two that install at once must not fail each other: the lock is the transaction's. */
    buf_str(&sql, "BEGIN; SELECT pg_catalog.pg_advisory_xact_lock(7162529); CREATE SCHEMA IF NOT "
                  "EXISTS coffer;");
    for (i = 0; i < sizeof tables / sizeof *tables; i++)
        buf_format(&sql,
                   "CREATE TABLE IF NOT EXISTS coffer.%s (key text COLLATE pg_catalog.\"C\" "
                   "PRIMARY KEY, epoch bigint NOT NULL,"
                   " content text NOT NULL, mac bytea NOT NULL);",
                   tables[i]);
    functions(&sql);
    buf_str(&sql, "COMMIT");
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK) {
        PGresult *result = PQexec(pg->conn, buf_cstr(&sql));

        if (PQresultStatus(result) != PGRES_COMMAND_OK) {
            rc = pg_fail(pg, result, err);
            (void)error_prefix(err,
                               "cannot make schema coffer (GRANT CREATE ON DATABASE is needed): ");
        }
        PQclear(result);
    }
    buf_wipe(&sql);
    return rc;
}

int
pg_catalog_present(struct db *db, bool *present, struct coffer_error *err)
{
    PGresult *result = NULL;
    int rc;

    *present = false;
    rc = pg_exec(pg_of(db),
                 "SELECT count(*) = 5 AND pg_catalog.to_regprocedure('coffer.key_id(text)') IS NOT "
                 "NULL FROM pg_catalog.pg_class c"
                 " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = "
                 "'coffer' AND c.relkind = 'r'"
                 " AND c.relname IN ('meta', 'rotation', 'chunk', 'client', 'quarantine')",
                 NULL, &result, err);
    if (rc == COFFER_OK)
        *present = pg_int(result, 0, 0) != 0;
    PQclear(result);
    return rc;
}

/* A client beats in coffer.client and reads the rest; nothing else of ours is its to write. */
int
pg_catalog_grants(const char *role, struct buf *out)
{
    struct buf name;

    buf_init(&name, 4 * DB_NAME_MAX);
    pg_quote(&name, role);
    buf_format(out, "GRANT USAGE ON SCHEMA coffer TO %s;\n", buf_cstr(&name));
    buf_format(out, "GRANT SELECT ON ALL TABLES IN SCHEMA coffer TO %s;\n", buf_cstr(&name));
    buf_format(out, "GRANT INSERT, UPDATE, DELETE ON coffer.client TO %s;\n", buf_cstr(&name));
    buf_wipe(&name);
    return buf_status(out, NULL);
}
