/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of a MariaDB database: dumps and physical copies, and what a copy needs to become this database. */
#include "deploy/engines/internal.h"
#include "deploy/engines/mariadb.h"

#include <stdio.h>
#include <string.h>

static int
finish(struct process_spec *out, int rc)
{
    if (rc != COFFER_OK)
        process_spec_clear(out);
    return rc;
}

/* ---- logical ---- */

int
mariadb_dump(const struct engine_place *place, struct process_spec *out, struct coffer_error *err)
{
    int rc = mariadb_client(place, "mariadb-dump", "mariadb-client", out, err);

    if (rc == COFFER_OK)
        rc = spec_args(out, err, "--single-transaction", "--quick", "--skip-lock-tables",
                       "--routines", "--triggers", "--events", "--hex-blob",
                       "--default-character-set=utf8mb4", place->name, NULL);
    return finish(out, rc);
}

/* A dump drops what it makes: one that was broken off is loaded again. */
int
mariadb_load(const struct engine_place *place, struct process_spec *out, struct coffer_error *err)
{
    int rc = mariadb_client(place, "mariadb", "mariadb-client", out, err);

    if (rc == COFFER_OK)
        rc = spec_args(out, err, "--batch", "--default-character-set=utf8mb4", NULL);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "--database=%s", place->name);
    return finish(out, rc);
}

/* ---- physical ---- */

/* $1 root, then mariadb-backup and its arguments.  What it keeps beside the stream lies inside the volume too. */
static const char backup_script[] =
    "root=$1; shift\n"
    "rm -rf -- \"$root/tmp/backup\"\n"
    "\"$@\" --backup --stream=xbstream --target-dir=\"$root/tmp/backup\" --tmpdir=\"$root/tmp\"\n"
    "code=$?\n"
    "rm -rf -- \"$root/tmp/backup\"\n"
    "exit $code\n";

int
mariadb_backup(const struct engine_place *place, struct process_spec *out, struct coffer_error *err)
{
    struct process_spec client;
    size_t i;
    int rc = spec_begin(place, out, err);

    if (rc == COFFER_OK)
        rc =
            spec_args(out, err, "/bin/sh", "-c", backup_script, "coffer-backup", place->root, NULL);
    if (rc != COFFER_OK)
        return finish(out, rc);
    rc = mariadb_client(place, "mariadb-backup", "mariadb-backup", &client, err);
    for (i = 0; rc == COFFER_OK && i < client.argc; i++)
        rc = process_arg(out, err, "%s", client.argv[i]);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "--datadir=%s/data", place->root);
    process_spec_clear(&client);
    return finish(out, rc);
}

/* $1 root, $2 mbstream, $3 mariadb-backup.  A copy becomes a data folder by being prepared: the log that was written meanwhile is applied. */
static const char restore_script[] =
    "set -e\n"
    "\"$2\" -x -C \"$1/data\"\n"
    "\"$3\" --no-defaults --prepare --target-dir=\"$1/data\" --tmpdir=\"$1/tmp\" "
    "--innodb-use-native-aio=0\n"
    "rm -f -- \"$1/data\"/mariadb_backup_* \"$1/data\"/xtrabackup_*\n"
    "find \"$1/data\" -exec sync {} +\n";

int
mariadb_restore(const struct engine_place *place, struct process_spec *out,
                struct coffer_error *err)
{
    char stream[ENGINE_PATH_MAX], backup[ENGINE_PATH_MAX];
    int rc = place_folders(place, err);

    if (rc == COFFER_OK)
        rc = mariadb_program(place, "mbstream", "mariadb-backup", stream, err);
    if (rc == COFFER_OK)
        rc = mariadb_program(place, "mariadb-backup", "mariadb-backup", backup, err);
    if (rc != COFFER_OK)
        return rc;
    rc = spec_begin(place, out, err);
    if (rc == COFFER_OK)
        rc = spec_args(out, err, "/bin/sh", "-c", restore_script, "coffer-restore", place->root,
                       stream, backup, NULL);
    return finish(out, rc);
}

/* ---- the database and its owner ---- */

#define OTHERS "schema_name NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys')"

/* The database that a restored copy brought under the name that it had where it was copied; "" when there is none. */
static int
former_name(const struct engine_place *place, char out[256], struct coffer_error *err)
{
    struct buf sql, names;
    int rc;

    buf_init(&sql, 4096);
    buf_init(&names, 4096);
    buf_format(&sql,
               "SELECT schema_name FROM information_schema.schemata WHERE " OTHERS
               " AND schema_name <> '%s';\n",
               place->name);
    rc = mariadb_sql(place, NULL, buf_cstr(&sql), &names, err);
    if (rc == COFFER_OK) {
        size_t len = strcspn(buf_cstr(&names), "\n");

        if (len >= 256 || (len > 0 && strlen(buf_cstr(&names)) > len + 1))
            rc = error_set(err, COFFER_E_CONFLICT,
                           "the server has several databases, and none is called %s: rename the "
                           "right one by hand",
                           place->name);
        else
            snprintf(out, 256, "%.*s", (int)len, buf_cstr(&names));
    }
    buf_wipe(&names);
    buf_wipe(&sql);
    return rc;
}

/* Views, triggers, routines and events name their database: they move by a dump.  `*only` says that there are none. */
static int
only_tables(const struct engine_place *place, const char *name, bool *only,
            struct coffer_error *err)
{
    struct buf sql, count;
    int rc;

    buf_init(&sql, 4096);
    buf_init(&count, 4096);
    buf_format(&sql,
               "SELECT (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '%1$s' "
               "AND table_type <> 'BASE TABLE')"
               " + (SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = '%1$s')"
               " + (SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = '%1$s')"
               " + (SELECT COUNT(*) FROM information_schema.events WHERE event_schema = '%1$s');\n",
               name);
    rc = mariadb_sql(place, NULL, buf_cstr(&sql), &count, err);
    *only = rc == COFFER_OK && strcmp(buf_cstr(&count), "0\n") == 0;
    buf_wipe(&count);
    buf_wipe(&sql);
    return rc;
}

static int
move_tables(const struct engine_place *place, const char *from, struct coffer_error *err)
{
    struct buf sql, moves;
    int rc;

    buf_init(&sql, 4096);
    buf_init(&moves, OUTPUT_MAX);
    buf_format(&sql,
               "SELECT CONCAT('RENAME TABLE `%1$s`.`', REPLACE(table_name, '`', '``'), '` TO "
               "`%2$s`.`', REPLACE(table_name, '`', '``'), '`;')"
               " FROM information_schema.tables WHERE table_schema = '%1$s';\n",
               from, place->name);
    rc = mariadb_sql(place, NULL, buf_cstr(&sql), &moves, err);
    if (rc == COFFER_OK)
        rc = mariadb_sql(place, NULL, buf_cstr(&moves), NULL, err);
    buf_wipe(&moves);
    buf_wipe(&sql);
    return rc;
}

/* A dump that breaks off must not pass for a short one: what is written then is no statement, and ends the load. */
static const char copy_script[] = "set -e\n"
                                  "dump=$1 load=$2 user=$3 socket=$4 from=$5 to=$6\n"
                                  "{ \"$dump\" --no-defaults --user=\"$user\" --socket=\"$socket\" "
                                  "--single-transaction --quick --routines --triggers"
                                  " --events --hex-blob --default-character-set=utf8mb4 \"$from\" "
                                  "|| echo 'THE DUMP BROKE OFF;'; } |\n"
                                  " \"$load\" --no-defaults --user=\"$user\" --socket=\"$socket\" "
                                  "--batch --default-character-set=utf8mb4 \"$to\"\n";

static int
copy_all(const struct engine_place *place, const char *from, struct coffer_error *err)
{
    struct process_spec dump, load, spec;
    int rc = spec_begin(place, &spec, err);

    memset(&dump, 0, sizeof dump);
    memset(&load, 0, sizeof load);
    if (rc == COFFER_OK)
        rc = mariadb_client(place, "mariadb-dump", "mariadb-client", &dump, err);
    if (rc == COFFER_OK)
        rc = mariadb_client(place, "mariadb", "mariadb-client", &load, err);
    if (rc == COFFER_OK)
        rc = spec_args(&spec, err, "/bin/sh", "-c", copy_script, "coffer-copy", dump.argv[0],
                       load.argv[0], strchr(dump.argv[2], '=') + 1, strchr(dump.argv[3], '=') + 1,
                       from, place->name, NULL);
    if (rc == COFFER_OK)
        rc = process_run(&spec, bytes_of(NULL, 0), NULL, NULL, NULL, err);
    process_spec_clear(&spec);
    process_spec_clear(&load);
    process_spec_clear(&dump);
    return rc;
}

/* The former database goes last, so that one broken off goes on from there. */
static int
take_over(const struct engine_place *place, const char *from, struct coffer_error *err)
{
    struct buf sql;
    bool only = false;
    int rc = only_tables(place, from, &only, err);

    if (rc == COFFER_OK)
        rc = only ? move_tables(place, from, err) : copy_all(place, from, err);
    if (rc != COFFER_OK)
        return rc;
    buf_init(&sql, 4096);
    buf_format(&sql, "DROP DATABASE `%s`;\n", from);
    rc = mariadb_sql(place, NULL, buf_cstr(&sql), NULL, err);
    buf_wipe(&sql);
    return rc;
}

/* In GRANT the database is a pattern, in which "_" is any character: escaped, so that it is this database alone. */
static void
grant_name(const char *name, struct buf *out)
{
    for (; *name != '\0'; name++)
        buf_format(out, *name == '_' ? "\\%c" : "%c", *name);
}

/* What the owner may: everything in its database, nothing elsewhere. */
static int
give(const struct engine_place *place, bool alone, struct coffer_error *err)
{
    struct buf sql;
    int rc;

    buf_init(&sql, 4096);
    if (alone)
        buf_format(&sql, "REVOKE ALL PRIVILEGES, GRANT OPTION FROM `%s`@`%%`;\n", place->user);
    buf_str(&sql, "GRANT ALL PRIVILEGES ON `");
    grant_name(place->name, &sql);
    buf_format(&sql, "`.* TO `%s`@`%%`;\n", place->user);
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = mariadb_sql(place, NULL, buf_cstr(&sql), NULL, err);
    buf_wipe(&sql);
    return rc;
}

/* The former database stays the owner's until it is taken over: a view whose definer may not see its tables is not dumped right. */
int
mariadb_prepare(const struct engine_place *place, struct coffer_error *err)
{
    char from[256] = "";
    struct buf sql;
    int rc;

    buf_init(&sql, 8192);
    buf_format(&sql,
               "CREATE DATABASE IF NOT EXISTS `%1$s` CHARACTER SET utf8mb4;\nCREATE USER IF NOT "
               "EXISTS `%2$s`@`%%`;\n"
               "ALTER USER `%2$s`@`%%` IDENTIFIED BY '%3$s';\n",
               place->name, place->user, place->password);
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = mariadb_sql(place, NULL, buf_cstr(&sql), NULL, err);
    buf_wipe(&sql);
    if (rc == COFFER_OK)
        rc = give(place, false, err);
    if (rc == COFFER_OK)
        rc = former_name(place, from, err);
    if (rc == COFFER_OK && from[0] != '\0')
        rc = take_over(place, from, err);
    if (rc == COFFER_OK)
        rc = give(place, true, err);
    return rc != COFFER_OK ? rc : mariadb_read_only(place, false, err);
}
