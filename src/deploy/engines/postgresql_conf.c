/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL's configuration, all of it in root/conf, written at each start. */
#include "deploy/engines/account.h"
#include "deploy/engines/internal.h"
#include "deploy/engines/postgresql.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What goes into a quoted value of postgresql.conf, which knows backslashes. */
static void
conf_text(const char *text, struct buf *out)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\')
            buf_u8(out, (uint8_t)*text);
        if (*text == '\n')
            buf_str(out, "\\n");
        else
            buf_u8(out, (uint8_t)*text);
    }
}

static void
conf_path(const char *name, const char *folder, const char *rest, struct buf *out)
{
    buf_format(out, "%s = '", name);
    conf_text(folder, out);
    buf_format(out, "%s'\n", rest);
}

/* A list of folders in which commas part: so in double quotes, and those doubled. */
static void
conf_socket(const char *run, struct buf *out)
{
    struct buf inner;

    buf_init(&inner, 2 * ENGINE_PATH_MAX);
    buf_u8(&inner, '"');
    quote_double(run, '"', &inner);
    buf_u8(&inner, '"');
    conf_path("unix_socket_directories", buf_cstr(&inner), "", out);
    buf_wipe(&inner);
}

static const char fixed[] =
    /* The volume is a filesystem in userspace, which syncfs(2) never reaches. */
    "fsync = on\n"
    "full_page_writes = on\n"
    "recovery_init_sync_method = fsync\n"
    /* A segment of the log that is used again is written in place: its length stays, so a commit need not write the lower file's header. */
    "wal_recycle = on\n"
    "wal_init_zero = on\n"
    /* Logical, so that a rotation can replicate into the next database without a restart of this one. */
    "wal_level = logical\n"
    "max_wal_senders = 10\n"
    "max_replication_slots = 10\n"
    "hot_standby = off\n"
    "ssl = on\n"
    "ssl_cert_file = '../tls/server.pem'\n"
    "ssl_key_file = '../tls/server.pem'\n"
    "ssl_ca_file = ''\n"
    "ssl_min_protocol_version = 'TLSv1.2'\n"
    "password_encryption = 'scram-sha-256'\n"
    /* stderr is the log, inside the volume.  What operators read in it shall not be the application's data. */
    "logging_collector = off\n"
    "log_destination = 'stderr'\n"
    "log_line_prefix = '%m [%p] %q%u@%d '\n"
    "log_statement = 'none'\n"
    "log_min_error_statement = 'panic'\n"
    "log_parameter_max_length = 0\n"
    "log_parameter_max_length_on_error = 0\n"
    "log_error_verbosity = terse\n"
    "temp_tablespaces = ''\n"
    "restart_after_crash = on\n";

static void
conf_archive(const struct engine_place *place, struct buf *out)
{
    if (!place->archive) {
        buf_str(out, "archive_mode = off\n");
        return;
    }
    /* A segment has its name in the archive only once it is whole and on the disk.  After a crash the server hands out one again: the
     * same bytes are fine, others are not.  Relative, since the server runs in data: no path to quote. */
    buf_str(out, "archive_mode = on\n"
                 "archive_timeout = 300\n"
                 "archive_command = 'if test -e ../archive/%f; then cmp -s %p ../archive/%f; else "
                 "cp %p ../archive/.%f.part && "
                 "sync ../archive/.%f.part && mv ../archive/.%f.part ../archive/%f && sync "
                 "../archive; fi'\n");
}

static int
write_conf(const struct engine_place *place, struct coffer_error *err)
{
    struct buf conf;
    int rc;

    buf_init(&conf, 65536);
    buf_str(&conf, "# Written by Coffer at each start.  Settings of your own: ALTER SYSTEM, or "
                   "data/postgresql.conf.\n"
                   "include_if_exists '../data/postgresql.conf'\n");
    conf_path("hba_file", place->root, "/conf/pg_hba.conf", &conf);
    conf_path("ident_file", place->root, "/conf/pg_ident.conf", &conf);
    conf_path("listen_addresses", place->listen, "", &conf);
    buf_format(&conf, "port = %u\n", place->port);
    conf_socket(place->run, &conf);
    conf_path("cluster_name", place->name, "", &conf);
    buf_str(&conf, fixed);
    if (place->memory > 0)
        buf_format(&conf, "shared_buffers = %llukB\n",
                   (unsigned long long)(place->memory / 1024 > 128 ? place->memory / 1024 : 128));
    conf_archive(place, &conf);
    if (place_has(place, "data/recovery.signal"))
        buf_str(&conf, "include_if_exists 'recover.conf'\n");
    rc = buf_status(&conf, err);
    if (rc == COFFER_OK)
        rc = place_write(place, "conf/postgresql.conf", buf_view(&conf), err);
    buf_wipe(&conf);
    return rc;
}

static const char hba[] = "# Written by Coffer at each start.\n"
                          "local all " POSTGRESQL_ADMIN " peer map=coffer\n"
                          "local replication " POSTGRESQL_ADMIN " peer map=coffer\n"
                          "local all all scram-sha-256\n"
                          "host all " POSTGRESQL_ADMIN " all reject\n"
                          "hostssl all all all scram-sha-256\n";

static int
write_access(const struct engine_place *place, struct coffer_error *err)
{
    struct buf map;
    char name[256];
    int rc = account_name(place->uid, name, sizeof name, err);

    buf_init(&map, 4096);
    buf_str(&map, "# Written by Coffer at each start.\ncoffer \"");
    quote_double(name, '"', &map);
    buf_str(&map, "\" " POSTGRESQL_ADMIN "\n");
    if (rc == COFFER_OK)
        rc = buf_status(&map, err);
    if (rc == COFFER_OK)
        rc = place_write(place, "conf/pg_ident.conf", buf_view(&map), err);
    if (rc == COFFER_OK)
        rc = place_write(place, "conf/pg_hba.conf", bytes_str(hba), err);
    buf_wipe(&map);
    return rc;
}

int
postgresql_configure(const struct engine_place *place, struct coffer_error *err)
{
    int rc = place_folders(place, err);

    if (rc == COFFER_OK)
        rc = place_tls(place, NULL, err);
    if (rc == COFFER_OK)
        rc = write_access(place, err);
    return rc != COFFER_OK ? rc : write_conf(place, err);
}
