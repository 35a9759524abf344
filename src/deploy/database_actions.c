/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at databases: list, show, detail, url, logs. */
#include "deploy/internal.h"

#include "base/error.h"
#include "base/secret.h"
#include "deploy/engines/account.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIST_MAX 10000
#define LOG_TAIL 262144

struct listing {
    struct deploy *deploy;
    enum deploy_role role;
    json_t *list;
};

static int
add(void *arg, const struct database *d, struct coffer_error *err)
{
    struct listing *l = arg;
    json_t *object;
    int rc = database_json(l->deploy, d, l->role, &object, err);

    return rc != COFFER_OK                               ? rc
           : json_array_append_new(l->list, object) == 0 ? COFFER_OK
                                                         : error_nomem(err);
}

static int
run_list(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
         json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"after", "limit", NULL};
    struct listing l = {deploy, caller->role, json_array()};
    const char *after;
    uint64_t limit;
    int rc = request_check(request, names, err);

    *reply = l.list;
    if (rc == COFFER_OK)
        rc = request_text(request, "after", false, &after, err);
    if (rc == COFFER_OK)
        rc = request_count(request, "limit", LIST_MAX, LIST_MAX, &limit, err);
    if (rc == COFFER_OK)
        rc = state_begin(deploy, err); /* one look at the file for all the rows' parts */
    if (rc != COFFER_OK)
        return rc;
    return state_end(deploy, database_each(deploy, after, (int64_t)limit, add, &l, err), err);
}

static const char *const only_name[] = {"name", NULL};

static int
find_named(struct deploy *deploy, const json_t *request, const char *const *names,
           struct database *d, struct coffer_error *err)
{
    const char *name;
    int rc = request_check(request, names, err);

    if (rc == COFFER_OK)
        rc = request_text(request, "name", true, &name, err);
    return rc == COFFER_OK ? database_get(deploy, name, d, err) : rc;
}

static int
run_show(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
         json_t **reply, struct coffer_error *err)
{
    struct database d;
    int rc = find_named(deploy, request, only_name, &d, err);

    return rc == COFFER_OK ? database_json(deploy, &d, caller->role, reply, err) : rc;
}

static int
run_url(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
        json_t **reply, struct coffer_error *err)
{
    struct database_place place;
    char url[1024];
    struct database d;
    int rc = find_named(deploy, request, only_name, &d, err);

    if (rc == COFFER_OK)
        rc = database_place(deploy, d.id, 0, &place, err);
    if (rc != COFFER_OK)
        return rc;
    rc = place.engine->url(&place.place, url, sizeof url, err);
    if (rc == COFFER_OK)
        *reply = json_pack("{s:s}", "url", url);
    wipe(url, sizeof url);
    database_place_wipe(&place);
    return rc;
}

/* ---- detail ---- */

static json_t *
volume_json(struct deploy *deploy, const struct database *d)
{
    json_t *keys = json_array(), *volume;
    struct snapshot *snapshot = NULL;
    char line[KEYRING_NAME_MAX];

    (void)snprintf(line, sizeof line, "volume/%s", d->volume);
    if (snapshot_take(deploy, &snapshot, NULL) == COFFER_OK) {
        const struct keyring *kr = snapshot_keyring(snapshot);

        for (size_t i = 0; i < keyring_key_count(kr); i++) {
            const struct keyring_key *key = keyring_key_at(kr, i);
            char id[9];

            if (key->purpose != KEY_VOLUME || strcmp(key->line, line) != 0)
                continue;
            (void)snprintf(id, sizeof id, "%08x", (unsigned)key->id);
            (void)json_array_append_new(keys, json_pack("{s:s,s:s,s:o,s:o}", "id", id, "state",
                                                        key_state_name(key->state), "created",
                                                        json_time(key->entered_us[0]), "since",
                                                        json_time(key->entered_us[key->state])));
        }
    }
    snapshot_give(snapshot);
    volume = json_pack("{s:s,s:s,s:s,s:i,s:o}", "id", d->volume, "format", "ecryptfs", "cipher",
                       d->key_bits == 192 ? "aes-192" : "aes-256", "generation", (int)d->generation,
                       "keys", keys);
    return volume;
}

json_t *
database_columns_json(const struct keyring *kr, const struct database *d)
{
    json_t *columns = json_array();
    struct uuid id;

    if (!database_known_as(kr, d, &id))
        return columns;
    for (size_t i = 0; i < keyring_column_count(kr); i++) {
        const struct keyring_column *column = keyring_column_at(kr, i);
        const struct keyring_key *key;
        char name[2 * KEYRING_NAME_MAX], key_id[9] = "";

        if (column->retired || !uuid_equal(&column->database, &id))
            continue;
        (void)snprintf(name, sizeof name, "%s.%s", column->table, column->name);
        key = keyring_active(kr, KEY_FIELD, column->line);
        if (key != NULL)
            (void)snprintf(key_id, sizeof key_id, "%08x", (unsigned)key->id);
        (void)json_array_append_new(
            columns, json_pack("{s:s,s:s,s:s,s:s,s:o,s:s}", "name", name, "type",
                               coffer_type_name(column->type), "phase",
                               coffer_phase_name(column->phase), "line", column->line, "key_id",
                               key == NULL ? json_null() : json_string(key_id), "binding",
                               column->binding == COFFER_BIND_ROW      ? "row"
                               : column->binding == COFFER_BIND_COLUMN ? "column"
                                                                       : "none"));
    }
    return columns;
}

static json_t *
asked(struct deploy *deploy, const struct deploy_caller *caller, const char *action,
      const char *name)
{
    json_t *request = json_pack("{s:s}", "database", name), *reply = NULL;

    if (deploy_do(deploy, caller, action, request, &reply, NULL) != COFFER_OK)
        reply = json_array();
    json_decref(request);
    return reply;
}

static int
run_detail(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
           json_t **reply, struct coffer_error *err)
{
    struct snapshot *snapshot = NULL;
    json_t *doctor = NULL, *jobs, *rotations, *job;
    struct database d;
    size_t i;
    int rc = find_named(deploy, request, only_name, &d, err);

    if (rc == COFFER_OK)
        rc = database_json(deploy, &d, caller->role, reply, err);
    if (rc == COFFER_OK)
        rc = doctor_last(deploy, d.id, &doctor, err);
    if (rc == COFFER_OK)
        rc = snapshot_take(deploy, &snapshot, err);
    if (rc != COFFER_OK)
        return rc;
    jobs = asked(deploy, caller, "job.list", d.id);
    rotations = json_array();
    json_array_foreach(jobs, i, job) if (strncmp(json_string_value(json_object_get(job, "kind")),
                                                 "rotate", 6) == 0)(void)
        json_array_append(rotations, job);
    json_decref(jobs);
    (void)json_object_set_new(*reply, "volume", volume_json(deploy, &d));
    (void)json_object_set_new(*reply, "columns",
                              database_columns_json(snapshot_keyring(snapshot), &d));
    (void)json_object_set_new(*reply, "rotations", rotations);
    (void)json_object_set_new(*reply, "backups", asked(deploy, caller, "backup.list", d.name));
    (void)json_object_set_new(*reply, "doctor", doctor);
    snapshot_give(snapshot);
    return COFFER_OK;
}

/* ---- logs ---- */

/* The last lines of a file of the account's, read as the account. */
static int
tail(const struct database_place *place, const char *path, size_t lines, json_t *out,
     struct coffer_error *err)
{
    struct account before;
    char *text, *at;
    off_t size;
    ssize_t n;
    int fd;

    account_enter(place->place.uid, place->place.gid, &before);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    account_leave(&before);
    if (fd < 0)
        return COFFER_OK; /* it has not said anything yet, or the volume is not mounted */
    size = lseek(fd, 0, SEEK_END);
    text = malloc(LOG_TAIL + 1);
    n = text == NULL ? -1 : pread(fd, text, LOG_TAIL, size > LOG_TAIL ? size - LOG_TAIL : 0);
    close(fd);
    if (n < 0) {
        free(text);
        return error_set(err, COFFER_E_IO, "%s cannot be read", path);
    }
    while (n > 0 && text[n - 1] == '\n')
        n--;
    text[n] = '\0';
    for (at = text + n; at > text && lines > 0; at--)
        if (at[-1] == '\n' && --lines == 0)
            break;
    while (n > 0 && *at != '\0') {
        size_t len = strcspn(at, "\n");

        (void)json_array_append_new(out, utf8_valid(bytes_of(at, len))
                                             ? json_stringn(at, len)
                                             : json_string("(a line that is not UTF-8)"));
        at += len + (at[len] == '\n');
    }
    free(text);
    return COFFER_OK;
}

static int
run_logs(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
         json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"name", "lines", NULL};
    struct database_place place;
    json_t *list = json_array();
    struct database d;
    uint64_t lines;
    int rc = find_named(deploy, request, names, &d, err);

    if (rc == COFFER_OK)
        rc = request_count(request, "lines", 200, 10000, &lines, err);
    if (rc == COFFER_OK)
        rc = database_place(deploy, d.id, 0, &place, err);
    if (rc == COFFER_OK) {
        rc = tail(&place, place.server_log, (size_t)lines, list, err);
        database_place_wipe(&place);
    }
    *reply = json_pack("{s:o}", "lines", list);
    return rc;
}

const struct deploy_action database_actions[] = {
    {"database.list", ROLE_VIEWER, run_list},     {"database.show", ROLE_VIEWER, run_show},
    {"database.detail", ROLE_VIEWER, run_detail}, {"database.url", ROLE_OPERATOR, run_url},
    {"database.logs", ROLE_OPERATOR, run_logs},   {NULL, ROLE_NONE, NULL},
};
