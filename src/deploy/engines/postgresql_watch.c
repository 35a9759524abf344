/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of a PostgreSQL that runs: no more writes, its settings, its rows. */
#include "deploy/engines/internal.h"
#include "deploy/engines/postgresql.h"

#include <stdio.h>
#include <string.h>

/* ---- read only ----
 *
 * Airtight, because a switch between two databases must lose nothing:
 *
 *   1. CONNECTION LIMIT 0, committed: who connects from now on is turned away.
 *   2. A session that is just being made may have read the old limit.  It holds a lock on the database until it shows in
 *      pg_stat_activity.  SET TABLESPACE, to the one that it has, takes the lock that conflicts with that, and does nothing else: after it every
 *      session is either refused or to be seen.
 *   3. Sessions end: idle ones at once, those in a transaction after a grace.  A session that is gone has committed and said so, or has not.
 *
 * Refusing writes and letting sessions live (default_transaction_read_only) would not do: any session may set that back. */

static const char refuse_form[] =
    "ALTER DATABASE \"%1$s\" CONNECTION LIMIT 0;\n"
    "ALTER DATABASE \"%1$s\" SET TABLESPACE pg_default;\n"
    "DO $do$\n"
    "DECLARE\n"
    "  began timestamptz := clock_timestamp();\n"
    "  left_over int;\n"
    "BEGIN\n"
    "  LOOP\n"
    "    PERFORM pg_stat_clear_snapshot();\n"
    "    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity\n"
    "      WHERE datname = '%1$s' AND backend_type = 'client backend'\n"
    "        AND usename IS DISTINCT FROM '" POSTGRESQL_ADMIN "'\n"
    "        AND (state = 'idle' OR clock_timestamp() > began + interval '3 s');\n"
    "    PERFORM pg_stat_clear_snapshot();\n"
    "    SELECT count(*) INTO left_over FROM pg_stat_activity\n"
    "      WHERE datname = '%1$s' AND backend_type IN ('client backend', 'parallel worker')\n"
    "        AND usename IS DISTINCT FROM '" POSTGRESQL_ADMIN "';\n"
    "    EXIT WHEN left_over = 0;\n"
    "    IF clock_timestamp() > began + interval '30 s' THEN\n"
    "      RAISE EXCEPTION '%% sessions of %1$s do not end', left_over;\n"
    "    END IF;\n"
    "    PERFORM pg_sleep(0.01);\n"
    "  END LOOP;\n"
    "END $do$;\n";

int
postgresql_read_only(const struct engine_place *place, bool on, struct coffer_error *err)
{
    struct buf sql;
    int rc;

    buf_init(&sql, 8192);
    buf_format(&sql, on ? refuse_form : "ALTER DATABASE \"%1$s\" CONNECTION LIMIT -1;\n",
               place->name);
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = postgresql_sql(place, "postgres", buf_cstr(&sql), NULL, err);
    buf_wipe(&sql);
    return rc;
}

/* ---- census ---- */

/* Unlogged tables are empty after a recovery, rightly; partitions are counted, what holds them together is not. */
static const char census_sql[] =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n"
    "SELECT format('SELECT json_build_array(%L, (SELECT count(*) FROM ONLY %I.%I))', n.nspname || "
    "'.' || c.relname, n.nspname, c.relname)\n"
    "  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace\n"
    "  WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND n.nspname NOT IN "
    "('pg_catalog', 'information_schema')\n"
    "    AND n.nspname NOT LIKE 'pg\\_toast%' AND n.nspname NOT LIKE 'pg\\_temp%' ORDER BY 1 "
    "\\gexec\n"
    "COMMIT;\n";

int
postgresql_census(const struct engine_place *place, json_t **out, struct coffer_error *err)
{
    struct buf lines;
    int rc;

    *out = NULL;
    buf_init(&lines, OUTPUT_MAX);
    rc = postgresql_sql(place, place->name, census_sql, &lines, err);
    if (rc == COFFER_OK)
        rc = census_read(buf_view(&lines), out, err);
    buf_wipe(&lines);
    return rc;
}

/* ---- doctor ---- */

static const struct {
    const char *name, *wanted, *state, *advice;
} settings[] = {
    {"fsync", "on", "fail", "a crash can destroy the database; take it out of ALTER SYSTEM"},
    {"full_page_writes", "on", "fail", "a crash can leave torn pages; take it out of ALTER SYSTEM"},
    {"synchronous_commit", "on", "warn",
     "a crash loses the last commits that clients were told of"},
    {"recovery_init_sync_method", "fsync", "fail",
     "syncfs(2) does not reach an encrypted volume; take it out of ALTER SYSTEM"},
    {"data_checksums", "on", "warn",
     "damaged pages pass for good ones; stop the server and run pg_checksums --enable"},
    {"ssl", "on", "fail", "passwords and data cross the network in clear"},
    {"password_encryption", "scram-sha-256", "warn", "passwords are kept in a weaker form"},
    {"log_statement", "none", "warn", "the log has the application's data in it"},
    {"log_parameter_max_length", "0", "warn", "the log has the application's data in it"},
};

static const char settings_sql[] =
    "SELECT name || '=' || setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', "
    "'synchronous_commit',"
    " 'recovery_init_sync_method', 'data_checksums', 'ssl', 'password_encryption', "
    "'log_statement', 'log_parameter_max_length');\n"
    "SELECT 'checksum_failures=' || coalesce(sum(checksum_failures), 0) FROM pg_stat_database;\n"
    "SELECT 'tablespaces=' || count(*) FROM pg_tablespace WHERE spcname NOT IN ('pg_default', "
    "'pg_global');\n"
    "SELECT 'archiver=' || CASE WHEN last_failed_time > coalesce(last_archived_time, '-infinity') "
    "THEN 'failing' ELSE 'fine' END"
    " FROM pg_stat_archiver;\n";

static int
check_line(const char *lines, const char *name, const char *wanted, const char *state,
           const char *advice, engine_check_fn fn, void *arg, struct coffer_error *err)
{
    char seen[64];

    line_value(lines, name, '=', seen, sizeof seen);
    return check_setting(name, seen, wanted, state, advice, fn, arg, err);
}

int
postgresql_doctor(const struct engine_place *place, engine_check_fn fn, void *arg,
                  struct coffer_error *err)
{
    struct buf out;
    const char *lines;
    size_t i;
    int rc;

    buf_init(&out, 65536);
    rc = postgresql_sql(place, "postgres", settings_sql, &out, err);
    lines = buf_cstr(&out);
    for (i = 0; rc == COFFER_OK && i < sizeof settings / sizeof *settings; i++)
        rc = check_line(lines, settings[i].name, settings[i].wanted, settings[i].state,
                        settings[i].advice, fn, arg, err);
    if (rc == COFFER_OK)
        rc = check_line(lines, "checksum_failures", "0", "fail",
                        "pages on the disk are damaged: restore a backup", fn, arg, err);
    if (rc == COFFER_OK)
        rc = check_line(
            lines, "tablespaces", "0", "fail",
            "tablespaces lie outside the encrypted volume: move what is in them back, drop them",
            fn, arg, err);
    if (rc == COFFER_OK && place->archive)
        rc = check_line(
            lines, "archiver", "fine", "warn",
            "segments of the log are not archived, and gather in the volume: see the log", fn, arg,
            err);
    buf_wipe(&out);
    return rc;
}
