/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL: found, made, started, asked. */
#include "deploy/engines/postgresql.h"

#include "deploy/engines/internal.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OLDEST 15
#define DEBIAN "/usr/lib/postgresql"

/* ---- where it is installed ---- */

static int
look_at(const char *folder, struct engine_programs *out, struct coffer_error *err)
{
    char path[ENGINE_PATH_MAX];
    struct buf text;
    int rc;

    if (snprintf(path, sizeof path, "%s/postgres", folder) >= (int)sizeof path ||
        access(path, X_OK) != 0)
        return error_set(err, COFFER_E_NOTFOUND, "no PostgreSQL server in %.200s", folder);
    buf_init(&text, 4096);
    rc = program_version(path, &text, err);
    if (rc == COFFER_OK && !version_read(buf_cstr(&text), out->version, &out->major))
        rc = error_set(err, COFFER_E_FORMAT, "%s does not say which version it is", path);
    if (rc == COFFER_OK)
        snprintf(out->folder, sizeof out->folder, "%s", folder);
    buf_wipe(&text);
    return rc;
}

/* Debian keeps each version in a folder of its own; the newest, or the one wanted. */
static unsigned
newest_of_debian(unsigned wanted)
{
    DIR *folder = opendir(DEBIAN);
    struct dirent *entry;
    unsigned best = 0;

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        unsigned major = (unsigned)strtoul(entry->d_name, NULL, 10);
        char path[sizeof DEBIAN + sizeof entry->d_name + 32];

        snprintf(path, sizeof path, DEBIAN "/%s/bin/postgres", entry->d_name);
        if (major > best && (wanted == 0 || major == wanted) && access(path, X_OK) == 0)
            best = major;
    }
    if (folder != NULL)
        closedir(folder);
    return best;
}

static int
find(unsigned major, struct engine_programs *out, struct coffer_error *err)
{
    char folder[ENGINE_PATH_MAX];
    unsigned best;
    int rc;

    memset(out, 0, sizeof *out);
    if (major != 0 && major < OLDEST)
        return error_set(err, COFFER_E_UNSUPPORTED, "PostgreSQL %u is too old: %d or later", major,
                         OLDEST);
    best = newest_of_debian(major);
    if (best >= OLDEST) {
        snprintf(folder, sizeof folder, DEBIAN "/%u/bin", best);
        return look_at(folder, out, err);
    }
    rc = program_find("postgres", NULL, "postgresql", folder, err);
    if (rc == COFFER_OK) {
        *strrchr(folder, '/') = '\0';
        rc = look_at(folder, out, err);
    }
    if (rc == COFFER_OK && (out->major < OLDEST || (major != 0 && out->major != major)))
        rc = COFFER_E_NOTFOUND;
    if (rc == COFFER_E_NOTFOUND && major != 0)
        return error_set(err, rc,
                         "PostgreSQL %u is not installed; the Debian package is postgresql-%u",
                         major, major);
    return rc == COFFER_E_NOTFOUND
               ? error_set(
                     err, rc,
                     "PostgreSQL %d or later is not installed; the Debian package is postgresql",
                     OLDEST)
               : rc;
}

/* ---- making it ---- */

static int
run_initdb(const struct engine_place *place, struct coffer_error *err)
{
    struct process_spec spec;
    int rc = spec_begin(place, &spec, err);

    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "%s/initdb", place->programs->folder);
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "--pgdata=%s/data", place->root);
    /* The superuser has no password (postgresql.h), so there is none to hand over. */
    if (rc == COFFER_OK)
        rc = spec_args(&spec, err, "--username=" POSTGRESQL_ADMIN, "--auth-local=peer",
                       "--auth-host=scram-sha-256", "--data-checksums", "--encoding=UTF8",
                       "--locale=C.UTF-8", NULL);
    if (rc == COFFER_OK)
        rc = process_run(&spec, bytes_of(NULL, 0), NULL, NULL, NULL, err);
    process_spec_clear(&spec);
    return rc;
}

static int
init(const struct engine_place *place, struct coffer_error *err)
{
    bool done;
    int rc = place_init_begin(place, "data/PG_VERSION", &done, err);

    if (rc != COFFER_OK)
        return rc;
    if (!done)
        rc = run_initdb(place, err);
    if (rc == COFFER_OK)
        rc = postgresql_configure(place, err);
    return rc != COFFER_OK || done ? rc : place_init_end(place, err);
}

/* ---- running it ---- */

/* A server of another version refuses the folder anyway; this says what to do. */
static int
check_version(const struct engine_place *place, struct coffer_error *err)
{
    struct buf text;
    unsigned major;
    int rc;

    buf_init(&text, 64);
    rc = place_read(place, "data/PG_VERSION", 64, &text, err);
    if (rc == COFFER_OK) {
        major = (unsigned)strtoul(buf_cstr(&text), NULL, 10);
        if (major != place->programs->major)
            rc = error_set(err, COFFER_E_UNSUPPORTED,
                           "the data folder is of PostgreSQL %u, the server of %u: install "
                           "postgresql-%u, or move the database by a rotation "
                           "with dump and restore",
                           major, place->programs->major, major);
    }
    buf_wipe(&text);
    return rc;
}

static int
server(const struct engine_place *place, struct process_spec *out, struct coffer_error *err)
{
    int rc = spec_begin(place, out, err);

    if (rc == COFFER_OK)
        rc = check_version(place, err);
    if (rc == COFFER_OK)
        rc = postgresql_configure(place, err);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "%s/postgres", place->programs->folder);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "-D%s/data", place->root);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "--config_file=%s/conf/postgresql.conf", place->root);
    if (rc != COFFER_OK)
        process_spec_clear(out);
    return rc;
}

int
postgresql_client(const struct engine_place *place, const char *program, struct process_spec *out,
                  struct coffer_error *err)
{
    int rc = spec_begin(place, out, err);

    if (rc == COFFER_OK)
        rc = process_arg(out, err, "%s/%s", place->programs->folder, program);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "--host=%s", place->run);
    if (rc == COFFER_OK)
        rc = process_arg(out, err, "--port=%u", place->port);
    if (rc == COFFER_OK)
        rc = spec_args(out, err, "--username=" POSTGRESQL_ADMIN, "--no-password", NULL);
    if (rc == COFFER_OK)
        rc = process_env(out, err, "PGCONNECT_TIMEOUT=10");
    return rc;
}

int
postgresql_conninfo(const struct engine_place *place, const char *database, struct buf *out,
                    struct coffer_error *err)
{
    const char *c;

    buf_str(out, "host='");
    for (c = place->run; *c != '\0'; c++)
        buf_format(out, *c == '\'' || *c == '\\' ? "\\%c" : "%c", *c);
    buf_format(out, "' port=%u user=" POSTGRESQL_ADMIN " dbname=%s", place->port, database);
    return buf_status(out, err);
}

int
postgresql_sql(const struct engine_place *place, const char *database, const char *statements,
               struct buf *out, struct coffer_error *err)
{
    struct process_spec spec;
    int rc = postgresql_client(place, "psql", &spec, err);

    if (rc == COFFER_OK)
        rc = spec_args(&spec, err, "--no-psqlrc", "--quiet", "--no-align", "--tuples-only",
                       "--set=ON_ERROR_STOP=1", "--file=-", NULL);
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "--dbname=%s", database);
    if (rc == COFFER_OK)
        rc = process_run(&spec, bytes_str(statements), out, NULL, NULL, err);
    process_spec_clear(&spec);
    return rc;
}

/* What a client is told by a server that is on its way up, or by nobody. */
static bool
comes_later(const char *message)
{
    static const char *const words[] = {
        "No such file or directory",   "Connection refused", "is starting up",
        "not yet accepting",           "not accepting",      "is shutting down",
        "server closed the connection"};
    size_t i;

    for (i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(message, words[i]) != NULL)
            return true;
    return false;
}

static int
ready(const struct engine_place *place, struct coffer_error *err)
{
    struct coffer_error own = {0};
    struct buf out;
    int rc;

    buf_init(&out, 4096);
    rc = postgresql_sql(place, "postgres", "SELECT pg_is_in_recovery();\n", &out, &own);
    if (rc == COFFER_OK && strncmp(buf_cstr(&out), "f", 1) != 0)
        rc = error_set(err, COFFER_E_NOTYET, "PostgreSQL is recovering");
    else if (rc == COFFER_E_IO && comes_later(own.message))
        rc = error_set(err, COFFER_E_NOTYET, "PostgreSQL is starting: %s", own.message);
    else if (rc != COFFER_OK)
        rc = error_set(err, rc, "%s", own.message);
    buf_wipe(&out);
    return rc;
}

/* ---- the database and its owner ---- */

/* A restored copy has the name that the database had where it was copied: the one that is there is the one that is meant. */
static const char prepare_form[] =
    "SELECT 'CREATE ROLE \"%1$s\" LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = "
    "'%1$s') \\gexec\n"
    "ALTER ROLE \"%1$s\" LOGIN PASSWORD '%2$s';\n"
    "SELECT format('ALTER DATABASE %%I RENAME TO \"%3$s\"', min(datname)) FROM pg_database"
    " WHERE NOT datistemplate AND datname <> 'postgres' HAVING count(*) = 1 AND min(datname) <> "
    "'%3$s' \\gexec\n"
    "SELECT 'CREATE DATABASE \"%3$s\" OWNER \"%1$s\" TEMPLATE template0'"
    " WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '%3$s') \\gexec\n"
    "ALTER DATABASE \"%3$s\" OWNER TO \"%1$s\";\n"
    "ALTER DATABASE \"%3$s\" CONNECTION LIMIT -1;\n"
    "REVOKE ALL ON DATABASE \"%3$s\", postgres, template1 FROM PUBLIC;\n";

static int
prepare(const struct engine_place *place, struct coffer_error *err)
{
    struct buf sql;
    int rc;

    buf_init(&sql, 8192);
    buf_format(&sql, prepare_form, place->user, place->password, place->name);
    rc = buf_status(&sql, err);
    if (rc == COFFER_OK)
        rc = postgresql_sql(place, "postgres", buf_cstr(&sql), NULL, err);
    buf_wipe(&sql);
    return rc;
}

/* "require" with a root certificate is checked against it where the client can read the file, and encrypts in any case; "verify-ca" would
 * turn away a client that has only the URL. */
static void
url_text(const struct engine_place *place, struct buf *out)
{
    buf_format(out, "postgresql://%s:%s@", place->user, place->password);
    if (place->listen[0] == '\0') {
        buf_format(out, "/%s?host=", place->name);
        url_escape(place->run, out);
        buf_format(out, "&port=%u", place->port);
        return;
    }
    url_host(place->listen, out);
    buf_format(out, ":%u/%s?sslmode=require", place->port, place->name);
    if (place->tls != NULL) {
        buf_str(out, "&sslrootcert=");
        url_escape(place->tls, out);
        buf_str(out, "/ca.crt");
    }
}

static int
url(const struct engine_place *place, char *out, size_t max, struct coffer_error *err)
{
    struct buf text;
    int rc;

    buf_init(&text, max > 0 ? max - 1 : 0);
    url_text(place, &text);
    rc = buf_status(&text, err);
    if (rc == COFFER_OK)
        memcpy(out, buf_cstr(&text), text.len + 1);
    buf_wipe(&text);
    return rc;
}

const struct engine engine_postgresql = {
    .name = "postgresql",
    .title = "PostgreSQL",
    .account = "postgres",
    .default_port = 5432,
    .stop_signal = SIGINT, /* "fast": ends sessions, then writes a checkpoint */
    .find = find,
    .init = init,
    .server = server,
    .ready = ready,
    .prepare = prepare,
    .url = url,
    .dump = postgresql_dump,
    .load = postgresql_load,
    .backup = postgresql_backup,
    .restore = postgresql_restore,
    .recover = postgresql_recover,
    .read_only = postgresql_read_only,
    .doctor = postgresql_doctor,
    .census = postgresql_census,
};
