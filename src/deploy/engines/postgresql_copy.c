/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of a PostgreSQL database: dumps, physical copies, recovery to a point in time. */
#include "deploy/engines/internal.h"
#include "deploy/engines/postgresql.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int
finish(struct process_spec *out, int rc)
{
    if (rc != COFFER_OK)
        process_spec_clear(out);
    return rc;
}

/* Not compressed: a rotation reads it at once, and a backup is encrypted as it comes. */
int
postgresql_dump(const struct engine_place *place, struct process_spec *out,
                struct coffer_error *err)
{
    int rc = postgresql_client(place, "pg_dump", out, err);

    if (rc == COFFER_OK)
        rc = spec_args(out, err, "--format=custom", "--compress=0", "--no-subscriptions", NULL);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "--dbname=%s", place->name);
    return finish(out, rc);
}

/* All or nothing. */
int
postgresql_load(const struct engine_place *place, struct process_spec *out,
                struct coffer_error *err)
{
    int rc = postgresql_client(place, "pg_restore", out, err);

    if (rc == COFFER_OK)
        rc = spec_args(out, err, "--single-transaction", "--exit-on-error", NULL);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "--dbname=%s", place->name);
    return finish(out, rc);
}

/* $1 folder of the programs, $2 socket, $3 port.
 *
 * The log that is written meanwhile is part of the copy (-X fetch), so the server has to keep it.  A temporary replication slot says so for
 * as long as the session that made it lives: psql runs until pg_basebackup has ended, however that ends, and no slot stays behind
 * after a crash.  The exit code comes back by descriptor 4; the copy goes to descriptor 3, our stdout. */
static const char backup_script[] =
    "exec 3>&1\n"
    "code=$({ {\n"
    "  echo \"SELECT pg_create_physical_replication_slot('coffer_backup_$$', true, true);\"\n"
    "  \"$1/pg_basebackup\" --host=\"$2\" --port=\"$3\" --username=" POSTGRESQL_ADMIN
    " --no-password --pgdata=- --format=tar"
    " --wal-method=fetch --checkpoint=fast >&3 4>&-\n"
    "  echo $? >&4\n"
    "} | \"$1/psql\" --host=\"$2\" --port=\"$3\" --username=" POSTGRESQL_ADMIN
    " --no-password --no-psqlrc --quiet --dbname=postgres"
    " --set=ON_ERROR_STOP=1 >/dev/null 3>&- 4>&-\n"
    "} 4>&1)\n"
    "exit \"${code:-1}\"\n";

int
postgresql_backup(const struct engine_place *place, struct process_spec *out,
                  struct coffer_error *err)
{
    int rc = spec_begin(place, out, err);

    if (rc == COFFER_OK)
        rc = spec_args(out, err, "/bin/sh", "-c", backup_script, "coffer-backup",
                       place->programs->folder, place->run, NULL);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "%u", place->port);
    if (rc == COFFER_OK)
        rc = process_env(out, err, "PGCONNECT_TIMEOUT=10");
    return finish(out, rc);
}

/* The server itself syncs every file of a copy before it recovers from it (recovery_init_sync_method = fsync). */
int
postgresql_restore(const struct engine_place *place, struct process_spec *out,
                   struct coffer_error *err)
{
    int rc = place_folders(place, err);

    if (rc != COFFER_OK)
        return rc;
    rc = spec_begin(place, out, err);
    if (rc == COFFER_OK)
        rc = spec_args(out, err, "/bin/tar", "--extract", "--file=-", "--no-same-owner",
                       "--preserve-permissions", NULL);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "--directory=%s/data", place->root);
    return finish(out, rc);
}

static int
target_time(int64_t until_us, struct buf *out, struct coffer_error *err)
{
    time_t seconds = (time_t)(until_us / 1000000);
    struct tm parts;
    char text[32];

    if (until_us == INT64_MAX) /* to the end of the log */
        return COFFER_OK;
    if (until_us < 0 || gmtime_r(&seconds, &parts) == NULL ||
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts) == 0)
        return error_set(err, COFFER_E_MISUSE, "no time to recover to");
    buf_format(out, "recovery_target_time = '%s.%06d+00'\n", text, (int)(until_us % 1000000));
    return COFFER_OK;
}

/* Files of the log come from root/recover; the server runs in data, so the path needs no quoting. */
int
postgresql_recover(const struct engine_place *place, int64_t until_us, struct coffer_error *err)
{
    struct buf conf;
    int rc;

    buf_init(&conf, 4096);
    buf_str(&conf, "restore_command = 'cp ../recover/%f %p'\n"
                   "recovery_target_timeline = 'latest'\n"
                   "recovery_target_action = 'promote'\n");
    rc = target_time(until_us, &conf, err);
    if (rc == COFFER_OK)
        rc = buf_status(&conf, err);
    if (rc == COFFER_OK)
        rc = place_write(place, "conf/recover.conf", buf_view(&conf), err);
    if (rc == COFFER_OK)
        rc = place_write(place, "data/recovery.signal", bytes_of(NULL, 0), err);
    buf_wipe(&conf);
    return rc;
}
