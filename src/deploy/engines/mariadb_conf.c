/* SPDX-License-Identifier: Apache-2.0 */
/* MariaDB's configuration, all of it in root/conf, written at each start. */
#include "deploy/engines/account.h"
#include "deploy/engines/internal.h"
#include "deploy/engines/mariadb.h"

#include <stdio.h>
#include <string.h>

int
mariadb_socket(const struct engine_place *place, char out[ENGINE_PATH_MAX],
               struct coffer_error *err)
{
    if (snprintf(out, ENGINE_PATH_MAX, "%s/mariadb.%u.sock", place->run, place->port) >= 108)
        return error_set(err, COFFER_E_LIMIT, "the path %.120s… is too long for a Unix socket",
                         place->run);
    return COFFER_OK;
}

/* name = "folder/rest": in quotes backslashes are escapes, and nothing stands for a quote. */
static int
option(const char *name, const char *folder, const char *rest, struct buf *out,
       struct coffer_error *err)
{
    const char *c;

    buf_format(out, "%s = \"", name);
    for (c = folder; *c != '\0'; c++) {
        if (*c == '"' || (unsigned char)*c < ' ')
            return error_set(err, COFFER_E_MISUSE,
                             "MariaDB's configuration cannot hold the path %.200s", folder);
        buf_format(out, *c == '\\' ? "\\%c" : "%c", *c);
    }
    buf_format(out, "%s\"\n", rest);
    return buf_status(out, err);
}

static const char fixed[] =
    "skip_name_resolve = 1\n"
    "require_secure_transport = 1\n"
    "tls_version = TLSv1.2,TLSv1.3\n"
    "character_set_server = utf8mb4\n"
    /* A commit is on the disk before the client hears of it; torn pages are put right. */
    "innodb_flush_log_at_trx_commit = 1\n"
    "innodb_doublewrite = 1\n"
    "sync_binlog = 1\n"
    /* io_uring takes locked memory, of which a server beside others may have none left; and a filesystem in userspace gains nothing by it. */
    "innodb_use_native_aio = 0\n"
    /* What is in the log shall not be the application's data. */
    "general_log = 0\n"
    "slow_query_log = 0\n"
    "local_infile = 0\n"
    "performance_schema = 0\n";

static int
options(const struct engine_place *place, struct buf *out, struct coffer_error *err)
{
    char socket[ENGINE_PATH_MAX];
    int rc = mariadb_socket(place, socket, err);

    buf_str(out, "# Written by Coffer at each start.\n[mariadbd]\n");
    if (rc == COFFER_OK)
        rc = option("datadir", place->root, "/data", out, err);
    if (rc == COFFER_OK)
        rc = option("tmpdir", place->root, "/tmp", out, err);
    if (rc == COFFER_OK)
        rc = option("pid_file", place->root, "/data/server.pid", out, err);
    if (rc == COFFER_OK)
        rc = option("init_file", place->root, "/conf/init.sql", out, err);
    if (rc == COFFER_OK)
        rc = option("ssl_cert", place->root, "/tls/server.pem", out, err);
    if (rc == COFFER_OK)
        rc = option("ssl_key", place->root, "/tls/server.pem", out, err);
    if (rc == COFFER_OK)
        rc = option("socket", socket, "", out, err);
    if (rc == COFFER_OK && place->listen[0] != '\0')
        rc = option("bind_address", place->listen, "", out, err);
    if (place->listen[0] == '\0')
        buf_str(out, "skip_networking = 1\n");
    buf_format(out, "port = %u\n", place->port);
    buf_str(out, fixed);
    if (place->memory > 0)
        buf_format(out, "innodb_buffer_pool_size = %llu\n",
                   (unsigned long long)(place->memory > (8u << 20) ? place->memory : (8u << 20)));
    buf_format(out, "read_only = %d\n", place_has(place, MARIADB_READ_ONLY));
    return rc != COFFER_OK ? rc : buf_status(out, err);
}

/* One statement a line, as the server wants them. */
static int
statements(const struct engine_place *place, struct buf *out, struct coffer_error *err)
{
    char name[256];
    int rc = account_name(place->uid, name, sizeof name, err);

    if (rc != COFFER_OK)
        return rc;
    buf_str(out, "CREATE OR REPLACE USER `");
    quote_double(name, '`', out);
    buf_str(out, "`@localhost IDENTIFIED VIA unix_socket;\nGRANT ALL PRIVILEGES ON *.* TO `");
    quote_double(name, '`', out);
    buf_str(out, "`@localhost WITH GRANT OPTION;\n");
    return buf_status(out, err);
}

int
mariadb_configure(const struct engine_place *place, struct coffer_error *err)
{
    struct buf text;
    int rc = place_folders(place, err);

    buf_init(&text, 65536);
    if (rc == COFFER_OK)
        rc = place_tls(place, NULL, err);
    if (rc == COFFER_OK)
        rc = options(place, &text, err);
    if (rc == COFFER_OK)
        rc = place_write(place, "conf/my.cnf", buf_view(&text), err);
    buf_clear(&text);
    if (rc == COFFER_OK)
        rc = statements(place, &text, err);
    if (rc == COFFER_OK)
        rc = place_write(place, "conf/init.sql", buf_view(&text), err);
    buf_wipe(&text);
    return rc;
}
