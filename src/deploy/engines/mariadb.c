/* SPDX-License-Identifier: Apache-2.0 */
/* MariaDB: found, made, started, asked. */
#include "deploy/engines/mariadb.h"

#include "deploy/engines/account.h"
#include "deploy/engines/internal.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define OLDEST 1011 /* 10.11 */

static const char *const folders[] = {"/usr/sbin", "/usr/libexec", "/usr/bin", NULL};

static int
find(unsigned major, struct engine_programs *out, struct coffer_error *err)
{
    char path[ENGINE_PATH_MAX];
    unsigned minor = 0;
    struct buf text;
    int rc;

    memset(out, 0, sizeof *out);
    rc = program_find("mariadbd", folders, "mariadb-server", path, err);
    if (rc != COFFER_OK)
        return rc;
    buf_init(&text, 4096);
    rc = program_version(path, &text, err);
    if (rc == COFFER_OK && (!version_read(buf_cstr(&text), out->version, &out->major) ||
                            sscanf(out->version, "%*u.%u", &minor) != 1))
        rc = error_set(err, COFFER_E_FORMAT, "%s does not say which version it is", path);
    buf_wipe(&text);
    if (rc == COFFER_OK && major != 0 && out->major != major)
        rc = error_set(err, COFFER_E_NOTFOUND, "MariaDB %u is not installed; %s is", major,
                       out->version);
    if (rc == COFFER_OK && out->major * 100 + minor < OLDEST)
        rc = error_set(err, COFFER_E_UNSUPPORTED, "MariaDB %s is too old: 10.11 or later",
                       out->version);
    *strrchr(path, '/') = '\0';
    snprintf(out->folder, sizeof out->folder, "%s", path);
    return rc;
}

int
mariadb_program(const struct engine_place *place, const char *program, const char *package,
                char out[ENGINE_PATH_MAX], struct coffer_error *err)
{
    const char *const places[] = {place->programs->folder, "/usr/bin", NULL};

    return program_find(program, places, package, out, err);
}

/* ---- making it ---- */

static int
install(const struct engine_place *place, struct coffer_error *err)
{
    char path[ENGINE_PATH_MAX], name[256];
    struct process_spec spec;
    int rc = spec_begin(place, &spec, err);

    if (rc == COFFER_OK)
        rc = account_name(place->uid, name, sizeof name, err);
    if (rc == COFFER_OK)
        rc = mariadb_program(place, "mariadb-install-db", "mariadb-server", path, err);
    if (rc == COFFER_OK)
        rc = spec_args(&spec, err, path, "--no-defaults", "--skip-test-db", "--skip-name-resolve",
                       "--innodb-use-native-aio=0", "--auth-root-authentication-method=socket",
                       NULL);
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "--auth-root-socket-user=%s", name);
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "--datadir=%s/data", place->root);
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "--tmpdir=%s/tmp", place->root);
    if (rc == COFFER_OK)
        rc = process_run(&spec, bytes_of(NULL, 0), NULL, NULL, NULL, err);
    process_spec_clear(&spec);
    return rc;
}

static int
init(const struct engine_place *place, struct coffer_error *err)
{
    bool done;
    int rc = place_init_begin(place, "data/ibdata1", &done, err);

    if (rc == COFFER_OK && place->archive)
        rc = error_set(
            err, COFFER_E_UNSUPPORTED,
            "MariaDB's log is not archived by this version: backups without points in time");
    if (rc == COFFER_OK && !done)
        rc = install(place, err);
    if (rc == COFFER_OK)
        rc = mariadb_configure(place, err);
    return rc != COFFER_OK || done ? rc : place_init_end(place, err);
}

/* ---- running it ---- */

static int
server(const struct engine_place *place, struct process_spec *out, struct coffer_error *err)
{
    int rc = spec_begin(place, out, err);

    if (rc == COFFER_OK && !place_has(place, "data/ibdata1"))
        rc = error_set(err, COFFER_E_NOTFOUND, "there is no MariaDB database in %s/data",
                       place->root);
    if (rc == COFFER_OK)
        rc = mariadb_configure(place, err);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "%s/mariadbd", place->programs->folder);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "--defaults-file=%s/conf/my.cnf", place->root);
    if (rc != COFFER_OK)
        process_spec_clear(out);
    return rc;
}

int
mariadb_client(const struct engine_place *place, const char *program, const char *package,
               struct process_spec *out, struct coffer_error *err)
{
    char path[ENGINE_PATH_MAX], socket[ENGINE_PATH_MAX], name[256];
    int rc = spec_begin(place, out, err);

    if (rc == COFFER_OK)
        rc = mariadb_program(place, program, package, path, err);
    if (rc == COFFER_OK)
        rc = mariadb_socket(place, socket, err);
    if (rc == COFFER_OK)
        rc = account_name(place->uid, name, sizeof name, err);
    if (rc == COFFER_OK)
        rc = spec_args(out, err, path, "--no-defaults", NULL);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "--user=%s", name);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "--socket=%s", socket);
    return rc;
}

int
mariadb_sql(const struct engine_place *place, const char *database, const char *statements,
            struct buf *out, struct coffer_error *err)
{
    struct process_spec spec;
    int rc = mariadb_client(place, "mariadb", "mariadb-client", &spec, err);

    if (rc == COFFER_OK)
        rc = spec_args(&spec, err, "--batch", "--raw", "--skip-column-names",
                       "--connect-timeout=10", "--default-character-set=utf8mb4", NULL);
    if (rc == COFFER_OK && database != NULL)
        rc = process_arg(&spec, err, "--database=%s", database);
    if (rc == COFFER_OK)
        rc = process_run(&spec, bytes_str(statements), out, NULL, NULL, err);
    process_spec_clear(&spec);
    return rc;
}

static int
ready(const struct engine_place *place, struct coffer_error *err)
{
    struct coffer_error own = {0};
    int rc = mariadb_sql(place, NULL, "SELECT 1;\n", NULL, &own);

    if (rc == COFFER_E_IO &&
        (strstr(own.message, "ERROR 2002") != NULL || strstr(own.message, "ERROR 2013") != NULL ||
         strstr(own.message, "ERROR 2006") != NULL || strstr(own.message, "ERROR 1053") != NULL))
        return error_set(err, COFFER_E_NOTYET, "MariaDB is starting: %s", own.message);
    return rc != COFFER_OK ? error_set(err, rc, "%s", own.message) : rc;
}

static int
url(const struct engine_place *place, char *out, size_t max, struct coffer_error *err)
{
    char socket[ENGINE_PATH_MAX];
    struct buf text;
    int rc = mariadb_socket(place, socket, err);

    buf_init(&text, max > 0 ? max - 1 : 0);
    buf_format(&text, "mariadb://%s:%s@", place->user, place->password);
    if (place->listen[0] == '\0') {
        buf_format(&text, "localhost/%s?unix_socket=", place->name);
        url_escape(socket, &text);
    } else {
        url_host(place->listen, &text);
        buf_format(&text, ":%u/%s", place->port, place->name);
        if (place->tls != NULL) {
            buf_str(&text, "?ssl_ca=");
            url_escape(place->tls, &text);
            buf_str(&text, "/ca.crt");
        }
    }
    return url_end(rc, &text, out, err);
}

const struct engine engine_mariadb = {
    .name = "mariadb",
    .title = "MariaDB",
    .account = "mysql",
    .default_port = 3306,
    .stop_signal = SIGTERM,
    .find = find,
    .init = init,
    .server = server,
    .ready = ready,
    .prepare = mariadb_prepare,
    .url = url,
    .dump = mariadb_dump,
    .load = mariadb_load,
    .backup = mariadb_backup,
    .restore = mariadb_restore,
    .read_only = mariadb_read_only,
    .doctor = mariadb_doctor,
    .census = mariadb_census,
};
