/* SPDX-License-Identifier: Apache-2.0 */
/* A deployed database: its row, its object, where it is. */
#include "deploy/internal.h"

#include "base/error.h"
#include "base/secret.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS                                                                                    \
    "d.id, d.name, d.engine, d.stack, d.version, d.programs, d.major, d.generation, g.key_bits, "  \
    "g.volume, d.state, d.wanted,"                                                                 \
    " d.listen, d.error, d.port, d.memory, d.size_limit, d.archive, d.size, d.size_at, d.created," \
    " (SELECT max(id) FROM jobs j WHERE j.database = d.id AND j.state IN ('running', 'paused')),"  \
    " (SELECT known FROM copies c WHERE c.database = d.id)"
#define FROM                                                                                       \
    " FROM databases d LEFT JOIN generations g ON g.database = d.id AND g.generation = "           \
    "d.generation "

int
name_check(const char *what, const char *name, struct coffer_error *err)
{
    size_t len = strlen(name);
    bool good = len > 0 && len < DEPLOY_NAME_MAX && name[0] >= 'a' && name[0] <= 'z';

    for (size_t i = 0; good && i < len; i++)
        good = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') ||
               name[i] == '-';
    if (good)
        return COFFER_OK;
    return error_set(err, COFFER_E_FORMAT,
                     "\"%.60s\" is no name for a %s: a lower-case letter, then up to 39 lower-case "
                     "letters, digits and hyphens",
                     name, what);
}

/* ---- rows ---- */

static void
copy(char *out, size_t max, sqlite3_stmt *row, int column)
{
    (void)snprintf(out, max, "%s", state_text(row, column));
}

static void
take(struct deploy *deploy, sqlite3_stmt *row, struct database *d)
{
    memset(d, 0, sizeof *d);
    copy(d->id, sizeof d->id, row, 0);
    copy(d->name, sizeof d->name, row, 1);
    copy(d->engine, sizeof d->engine, row, 2);
    copy(d->stack, sizeof d->stack, row, 3);
    copy(d->version, sizeof d->version, row, 4);
    copy(d->programs, sizeof d->programs, row, 5);
    d->major = (unsigned)sqlite3_column_int(row, 6);
    d->generation = (unsigned)sqlite3_column_int(row, 7);
    d->key_bits = (unsigned)sqlite3_column_int(row, 8);
    copy(d->volume, sizeof d->volume, row, 9);
    copy(d->state, sizeof d->state, row, 10);
    copy(d->wanted, sizeof d->wanted, row, 11);
    copy(d->listen, sizeof d->listen, row, 12);
    copy(d->error, sizeof d->error, row, 13);
    d->port = (unsigned)sqlite3_column_int(row, 14);
    d->memory = (uint64_t)sqlite3_column_int64(row, 15);
    d->limit = (uint64_t)sqlite3_column_int64(row, 16);
    d->archive = sqlite3_column_int(row, 17) != 0;
    d->size = (uint64_t)sqlite3_column_int64(row, 18);
    d->size_us = sqlite3_column_int64(row, 19);
    d->created_us = sqlite3_column_int64(row, 20);
    d->job = (uint64_t)sqlite3_column_int64(row, 21);
    copy(d->known, sizeof d->known, row, 22);
    (void)snprintf(d->folder, sizeof d->folder, "%.400s/databases/%.8s", deploy->dir, d->id);
}

struct list {
    struct deploy *deploy;
    struct database *rows;
    size_t count, size;
};

static int
take_row(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    struct list *list = arg;

    if (list->count == list->size) {
        size_t size = list->size == 0 ? 16 : list->size * 2;
        struct database *rows = realloc(list->rows, size * sizeof *rows);

        if (rows == NULL)
            return error_nomem(err);
        list->rows = rows;
        list->size = size;
    }
    take(list->deploy, row, &list->rows[list->count++]);
    return COFFER_OK;
}

int
database_get(struct deploy *deploy, const char *name_or_id, struct database *out,
             struct coffer_error *err)
{
    struct list list = {.deploy = deploy};
    int rc = state_each(deploy, take_row, &list, err,
                        "SELECT " COLUMNS FROM "WHERE d.id = ?1 OR d.name = ?1", "s", name_or_id);

    if (rc == COFFER_OK && list.count == 0)
        rc = error_set(err, COFFER_E_NOTFOUND, "there is no database %.60s", name_or_id);
    if (rc == COFFER_OK)
        *out = list.rows[0];
    free(list.rows);
    return rc;
}

int
database_by_folder(struct deploy *deploy, const char *folder, struct database *out)
{
    struct list list = {.deploy = deploy};
    int rc = state_each(deploy, take_row, &list, NULL,
                        "SELECT " COLUMNS FROM "WHERE substr(d.id, 1, 8) = ?", "s", folder);

    if (rc == COFFER_OK && list.count == 0)
        rc = COFFER_E_NOTFOUND;
    if (rc == COFFER_OK)
        *out = list.rows[0];
    free(list.rows);
    return rc;
}

/* The rows are read first, so that `fn` may do what it likes. */
int
database_each(struct deploy *deploy, const char *after, int64_t limit, database_fn fn, void *arg,
              struct coffer_error *err)
{
    struct list list = {.deploy = deploy};
    int rc = state_each(deploy, take_row, &list, err,
                        "SELECT " COLUMNS FROM "WHERE d.name > ? ORDER BY d.name LIMIT ?", "si",
                        after == NULL ? "" : after, limit);

    for (size_t i = 0; rc == COFFER_OK && i < list.count; i++)
        rc = fn(arg, &list.rows[i], err);
    free(list.rows);
    return rc;
}

/* ---- state ---- */

void
database_tell(struct deploy *deploy, const char *id)
{
    struct database database;
    json_t *object = NULL;

    if (database_get(deploy, id, &database, NULL) == COFFER_OK &&
        database_json(deploy, &database, ROLE_VIEWER, &object, NULL) == COFFER_OK)
        deploy_event(deploy, "database", object);
}

int
database_put_state(struct deploy *deploy, const char *id, const char *state, const char *error,
                   struct coffer_error *err)
{
    int64_t before = 0, after = 0;
    int rc = state_begin(deploy, err);

    if (rc != COFFER_OK)
        return rc;
    rc = state_number(deploy, &before, NULL, err, "SELECT total_changes()", "");
    if (rc == COFFER_OK)
        rc = state_run(deploy, err,
                       "UPDATE databases SET state = coalesce(?1, state), error = coalesce(?2, "
                       "error) WHERE id = ?3"
                       " AND (state <> coalesce(?1, state) OR error <> coalesce(?2, error))",
                       "sss", state, error, id);
    if (rc == COFFER_OK)
        rc = state_number(deploy, &after, NULL, err, "SELECT total_changes()", "");
    rc = state_end(deploy, rc, err);
    if (rc == COFFER_OK && after != before)
        database_tell(deploy, id);
    return rc;
}

int
database_put_wanted(struct deploy *deploy, const char *id, const char *wanted,
                    struct coffer_error *err)
{
    return state_run(deploy, err, "UPDATE databases SET wanted = ? WHERE id = ?", "ss", wanted, id);
}

/* ---- the object ---- */

static const struct keyring_key *
volume_key(const struct keyring *kr, const char *volume)
{
    char line[KEYRING_NAME_MAX];

    if (volume[0] == '\0')
        return NULL;
    (void)snprintf(line, sizeof line, "volume/%s", volume);
    return keyring_active(kr, KEY_VOLUME, line);
}

/* Columns and backups belong to the database inside the server, which the keyring knows by a name of its own: its URL without a
 * password.  The port tells. */
static bool
keyring_name_is(const struct database *d, const struct keyring_database *known)
{
    char here[80], plain[80];

    if (strncmp(known->name, "volume:", 7) == 0)
        return false;
    (void)snprintf(here, sizeof here, ":%u/", d->port);
    (void)snprintf(plain, sizeof plain, "/databases/%.8s/", d->id);
    return (d->port != 0 && strstr(known->name, here) != NULL) ||
           strstr(known->name, plain) != NULL;
}

bool
database_known_as(const struct keyring *kr, const struct database *d, struct uuid *id)
{
    for (size_t i = 0; i < keyring_database_count(kr); i++) {
        const struct keyring_database *known = keyring_database_at(kr, i);

        if (keyring_name_is(d, known)) {
            *id = known->id;
            return true;
        }
    }
    /* Restored from a backup: the keyring knows the copy under the id of what was copied, whose name is the original's URL. */
    return uuid_parse(bytes_str(d->known), id) && keyring_database(kr, id) != NULL;
}

static json_int_t
columns_of(const struct keyring *kr, const struct database *d)
{
    json_int_t count = 0;
    struct uuid id;

    if (!database_known_as(kr, d, &id))
        return 0;
    for (size_t i = 0; i < keyring_column_count(kr); i++) {
        const struct keyring_column *column = keyring_column_at(kr, i);

        count += !column->retired && uuid_equal(&column->database, &id);
    }
    return count;
}

static int place_of(struct deploy *deploy, const struct database *d, unsigned generation,
                    struct database_place *out, struct coffer_error *err);

static json_t *
url_json(struct deploy *deploy, const struct database *d)
{
    struct database_place place;
    char url[1024];
    json_t *value = NULL;

    if (place_of(deploy, d, 0, &place, NULL) == COFFER_OK) {
        if (place.engine->url(&place.place, url, sizeof url, NULL) == COFFER_OK)
            value = json_string(url);
        database_place_wipe(&place);
        wipe(url, sizeof url);
    }
    return value != NULL ? value : json_null();
}

int
database_json(struct deploy *deploy, const struct database *d, enum deploy_role role, json_t **out,
              struct coffer_error *err)
{
    const struct keyring_key *key = NULL;
    struct snapshot *snapshot = NULL;
    char key_id[9] = "", lower[DEPLOY_PATH_MAX + 32], mount[DEPLOY_PATH_MAX + 32];
    json_int_t columns = 0;
    json_t *object;
    int rc = snapshot_take(deploy, &snapshot, err);

    *out = NULL;
    if (rc != COFFER_OK)
        return rc;
    key = volume_key(snapshot_keyring(snapshot), d->volume);
    columns = columns_of(snapshot_keyring(snapshot), d);
    if (key != NULL)
        (void)snprintf(key_id, sizeof key_id, "%08x", (unsigned)key->id);
    (void)snprintf(lower, sizeof lower, "%s/%u/lower", d->folder, d->generation);
    (void)snprintf(mount, sizeof mount, "%s/%u/mnt", d->folder, d->generation);
    object =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:s,s:s,s:i,s:s,s:s,s:I,s:I,s:I}", "name",
                  d->name, "id", d->id, "engine", d->engine, "version", d->version, "stack",
                  d->stack, "cipher", d->key_bits == 192 ? "aes-192" : "aes-256", "format",
                  "ecryptfs", "key_id", key == NULL ? json_null() : json_string(key_id),
                  "key_created", json_time(key == NULL ? 0 : key->entered_us[0]), "state", d->state,
                  "wanted", d->wanted, "port", (int)d->port, "lower", lower, "mount", mount, "size",
                  (json_int_t)d->size, "limit", (json_int_t)d->limit, "protected_columns", columns);
    snapshot_give(snapshot);
    if (object == NULL)
        return error_nomem(err);
    (void)json_object_set_new(object, "listen", json_string(d->listen));
    (void)json_object_set_new(object, "memory", json_integer((json_int_t)d->memory));
    (void)json_object_set_new(object, "archive", json_boolean(d->archive));
    (void)json_object_set_new(object, "job",
                              d->job == 0 ? json_null() : json_integer((json_int_t)d->job));
    (void)json_object_set_new(object, "error",
                              d->error[0] == '\0' ? json_null() : json_string(d->error));
    (void)json_object_set_new(object, "created", json_time(d->created_us));
    (void)json_object_set_new(object, "url",
                              role >= ROLE_OPERATOR ? url_json(deploy, d) : json_null());
    (void)json_object_set_new(object, "backups", json_integer(0));
    (void)json_object_set_new(object, "last_backup", json_null());
    deploy_backup_summary(deploy, d->id, object);
    *out = object;
    return COFFER_OK;
}

/* ---- its place ---- */

struct generation {
    struct database_place *place;
    bool found;
};

static int
take_generation(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    struct generation *g = arg;

    (void)err;
    (void)snprintf(g->place->volume, sizeof g->place->volume, "%s", state_text(row, 0));
    g->place->key_bits = (unsigned)sqlite3_column_int(row, 1);
    g->found = true;
    return COFFER_OK;
}

struct password {
    struct deploy *deploy;
    const char *id;
    char *out;
    size_t max;
};

static int
take_password(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    const struct password *p = arg;
    int len = sqlite3_column_bytes(row, 0);

    return secret_open_text(p->deploy, p->id,
                            bytes_of(sqlite3_column_blob(row, 0), len < 0 ? 0 : (size_t)len),
                            p->out, p->max, err);
}

static int
find_account(struct deploy *deploy, const struct engine *engine, struct engine_place *place,
             struct coffer_error *err)
{
    struct passwd entry, *found = NULL;
    char room[4096];

    if (!deploy->root || engine->server == NULL) /* a file belongs to whoever runs cofferd */
        return COFFER_OK;
    if (engine->account == NULL)
        return error_set(err, COFFER_E_UNSUPPORTED,
                         "%s has no account to run as: run cofferd as an ordinary user for it",
                         engine->title);
    if (getpwnam_r(engine->account, &entry, room, sizeof room, &found) != 0 || found == NULL)
        return error_set(err, COFFER_E_NOTFOUND,
                         "there is no account %s, as which %s runs; Debian's package makes it",
                         engine->account, engine->title);
    place->uid = entry.pw_uid;
    place->gid = entry.pw_gid;
    return COFFER_OK;
}

static void
fill_paths(struct deploy *deploy, struct database_place *p)
{
    const char *folder = p->database.folder;

    (void)snprintf(p->lower, sizeof p->lower, "%.440s/%u/lower", folder, p->generation);
    (void)snprintf(p->mount, sizeof p->mount, "%.440s/%u/mnt", folder, p->generation);
    (void)snprintf(p->tls, sizeof p->tls, "%.440s/tls", deploy->dir);
    /* The current generation's socket is always at the same place; one that is being built has its own. */
    if (p->current)
        (void)snprintf(p->run, sizeof p->run, "%.440s/run", folder);
    else
        (void)snprintf(p->run, sizeof p->run, "%.440s/%u/run", folder, p->generation);
    (void)snprintf(p->mount_pid, sizeof p->mount_pid, "%.440s/%u/mount.pid", folder, p->generation);
    (void)snprintf(p->server_pid, sizeof p->server_pid, "%.440s/%u/server.pid", folder,
                   p->generation);
    (void)snprintf(p->mount_log, sizeof p->mount_log, "%.440s/%u/mount.log", folder, p->generation);
    (void)snprintf(p->server_log, sizeof p->server_log, "%.440s/log/server.log", p->mount);
}

int
database_place(struct deploy *deploy, const char *name_or_id, unsigned generation,
               struct database_place *out, struct coffer_error *err)
{
    struct database d;
    int rc = database_get(deploy, name_or_id, &d, err);

    if (rc == COFFER_OK)
        return place_of(deploy, &d, generation, out, err);
    memset(out, 0, sizeof *out);
    return rc;
}

static int
place_of(struct deploy *deploy, const struct database *d, unsigned generation,
         struct database_place *out, struct coffer_error *err)
{
    struct generation g = {.place = out};
    struct password password;
    int rc;

    memset(out, 0, sizeof *out);
    out->database = *d;
    out->generation = generation == 0 ? out->database.generation : generation;
    out->current = out->generation == out->database.generation;
    out->engine = engine_find(out->database.engine);
    if (out->engine == NULL)
        return error_set(err, COFFER_E_UNSUPPORTED, "this build has no engine %.30s",
                         out->database.engine);
    rc = find_account(deploy, out->engine, &out->place, err);
    if (rc == COFFER_OK)
        rc = state_each(
            deploy, take_generation, &g, err,
            "SELECT volume, key_bits FROM generations WHERE database = ? AND generation = ?", "si",
            out->database.id, (int64_t)out->generation);
    if (rc == COFFER_OK && !g.found)
        rc = error_set(err, COFFER_E_NOTFOUND, "database %s has no generation %u",
                       out->database.name, out->generation);
    password = (struct password){deploy, out->database.id, out->password, sizeof out->password};
    if (rc == COFFER_OK)
        rc = state_each(deploy, take_password, &password, err,
                        "SELECT secret FROM databases WHERE id = ?", "s", out->database.id);
    if (rc != COFFER_OK) {
        database_place_wipe(out);
        return rc;
    }
    fill_paths(deploy, out);
    (void)snprintf(out->programs.folder, sizeof out->programs.folder, "%s", out->database.programs);
    (void)snprintf(out->programs.version, sizeof out->programs.version, "%s",
                   out->database.version);
    out->programs.major = out->database.major;
    (void)snprintf(out->user, sizeof out->user, "coffer");
    (void)snprintf(out->dbname, sizeof out->dbname, "%s", out->database.name);
    for (char *c = out->dbname; *c != '\0'; c++)
        if (*c == '-')
            *c = '_';
    out->place.programs = &out->programs;
    out->place.os = deploy->os;
    out->place.root = out->mount;
    out->place.run = out->run;
    out->place.tls = out->tls;
    out->place.name = out->dbname;
    out->place.user = out->user;
    out->place.password = out->password;
    out->place.listen = out->database.listen;
    out->place.port = out->database.port;
    out->place.memory = out->database.memory;
    out->place.archive = out->database.archive;
    if (!out->current) /* only by its own Unix socket, until it is the one that answers */
        out->place.listen = "";
    return COFFER_OK;
}

void
database_place_wipe(struct database_place *place)
{
    wipe(place->password, sizeof place->password);
}

/* ---- backups, in short ---- */

static int
take_summary(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    json_t *object = arg;

    (void)err;
    (void)json_object_set_new(object, "backups",
                              json_integer((json_int_t)sqlite3_column_int64(row, 0)));
    (void)json_object_set_new(object, "last_backup", json_time(sqlite3_column_int64(row, 1)));
    return COFFER_OK;
}

void
deploy_backup_summary(struct deploy *deploy, const char *id, json_t *object)
{
    (void)!state_each(deploy, take_summary, object, NULL,
                      "SELECT count(*), coalesce(max(ended), 0) FROM backups WHERE database = "
                      "? AND state = 'complete'",
                      "s", id);
}
