/* SPDX-License-Identifier: Apache-2.0 */
/* backup.create and backup.expire.
 *
 *   begin    the keyring gets the backup key and the backup, open: from now on it holds the keys that it needs
 *   copy     the engine's copy, sealed as it comes, into DIR/backups/.ID.new/stream
 *   finish   record, sync, rename; the keyring and the row hear of its end
 *
 * A run that died begins `copy` anew.  One that is taken back leaves a row "failed" and nothing in the folder.
 */
#include "deploy/backup/archive.h"

#include "base/error.h"
#include "deploy/backup/stream.h"
#include "ledger/audit.h"
#include "ledger/guard.h"
#include "ledger/json.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE "backup"

/* ---- the keyring ---- */

struct change {
    struct keyring_backup backup;
    int64_t now_us;
    const char *who;
    uint32_t key_id;
};

static int
change_begin(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct change *c = arg;
    const struct keyring_key *key = keyring_active(kr, KEY_BACKUP, LINE);
    int rc = COFFER_OK;

    if (key != NULL)
        c->key_id = key->id;
    else {
        rc = keyring_key_add(kr, KEY_BACKUP, LINE, c->who, c->now_us, &c->key_id, err);
        if (rc == COFFER_OK)
            rc = keyring_key_move(kr, c->key_id, KEY_ACTIVE, c->now_us, err);
    }
    if (rc == COFFER_OK)
        rc = keyring_key_used_in(kr, c->key_id, &c->backup.database, err);
    return rc == COFFER_OK ? keyring_backup_put(kr, &c->backup, err) : rc;
}

static int
change_put(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct change *c = arg;
    int rc =
        c->key_id == 0 ? COFFER_OK : keyring_key_used_in(kr, c->key_id, &c->backup.database, err);

    return rc == COFFER_OK ? keyring_backup_put(kr, &c->backup, err) : rc;
}

static int
tell_keyring(struct job *job, const struct backup *b, const char *event, struct change *c,
             keyring_change change, struct coffer_error *err)
{
    json_t *details =
        json_pack("{s:s,s:s,s:s}", "backup", b->id, "database", b->name, "kind", b->kind);
    char *text = details == NULL ? NULL : json_dumps(details, JSON_COMPACT);
    int rc;

    json_decref(details);
    if (text == NULL)
        return error_nomem(err);
    c->now_us = job->deploy->os->now_us(job->deploy->os);
    c->who = job->who;
    c->backup.start_us = b->started_us;
    c->backup.end_us = b->ended_us;
    c->backup.expired_us = b->expired_us;
    (void)snprintf(c->backup.label, sizeof c->backup.label, "%s",
                   b->id); /* by which it is expired */
    rc = uuid_parse(bytes_str(b->id), &c->backup.id) &&
                 uuid_parse(bytes_str(b->known), &c->backup.database)
             ? audit_change(deploy_keyring(job->deploy), job->deploy->os, job->who, event, text,
                            change, c, NULL, err)
             : error_set(err, COFFER_E_FORMAT, "the row of backup %s is damaged", b->id);
    free(text);
    return rc;
}

/* Its own key, and every key that may be in what is copied. */
static int
keys_needed(struct deploy *deploy, struct backup *b, struct coffer_error *err)
{
    struct keyring_backup known = {.start_us = b->started_us, .end_us = b->ended_us};
    struct snapshot *snapshot = NULL;
    const struct keyring *kr;
    int rc = snapshot_take(deploy, &snapshot, err);

    if (rc != COFFER_OK)
        return rc;
    kr = snapshot_keyring(snapshot);
    (void)uuid_parse(bytes_str(b->known), &known.database);
    json_decref(b->needs);
    b->needs = json_array();
    for (size_t i = 0; i < keyring_key_count(kr); i++) {
        const struct keyring_key *key = keyring_key_at(kr, i);

        if (key->id == b->key_id || (key->purpose != KEY_BACKUP && key->state != KEY_DESTROYED &&
                                     guard_backup_needs(kr, &known, key)))
            (void)json_array_append_new(b->needs, json_key_id(key->id));
    }
    snapshot_give(snapshot);
    return COFFER_OK;
}

/* Again at the end: its first column may have been protected while it was copied. */
static int
know_database(struct deploy *deploy, struct backup *b, struct coffer_error *err)
{
    struct snapshot *snapshot = NULL;
    struct database d;
    struct uuid known;
    int rc = snapshot_take(deploy, &snapshot, err);

    if (rc != COFFER_OK)
        return rc;
    if (database_get(deploy, b->database, &d, NULL) == COFFER_OK &&
        database_known_as(snapshot_keyring(snapshot), &d, &known))
        uuid_format(&known, b->known);
    snapshot_give(snapshot);
    return COFFER_OK;
}

/* ---- steps ---- */

static int
mine(struct job *job, struct backup *b, struct coffer_error *err)
{
    const char *id = json_string_value(json_object_get(job->memory, "id"));

    memset(b, 0, sizeof *b);
    return backup_get(job->deploy, id != NULL ? id : "", b, err);
}

static int
enter(struct job *job, struct backup *b, struct coffer_error *err)
{
    const char *kind = json_string_value(json_object_get(job->request, "kind"));
    const struct engine *engine;
    struct snapshot *snapshot = NULL;
    struct database d;
    struct uuid known;
    int rc = database_get(job->deploy, job->database, &d, err);

    if (rc == COFFER_OK)
        rc = snapshot_take(job->deploy, &snapshot, err);
    if (rc != COFFER_OK)
        return rc;
    engine = engine_find(d.engine);
    if (!database_known_as(snapshot_keyring(snapshot), &d, &known))
        (void)uuid_parse(bytes_str(d.id), &known);
    snapshot_give(snapshot);
    (void)snprintf(b->id, sizeof b->id, "%s",
                   json_string_value(json_object_get(job->memory, "id")));
    (void)snprintf(b->database, sizeof b->database, "%s", d.id);
    (void)snprintf(b->name, sizeof b->name, "%s", d.name);
    (void)snprintf(b->engine, sizeof b->engine, "%s", d.engine);
    (void)snprintf(b->stack, sizeof b->stack, "%s", d.stack);
    (void)snprintf(b->kind, sizeof b->kind, "%s",
                   kind != NULL             ? kind
                   : engine->backup != NULL ? "physical"
                                            : "logical");
    (void)snprintf(b->state, sizeof b->state, "running");
    uuid_format(&known, b->known);
    b->major = d.major;
    b->started_us = job->deploy->os->now_us(job->deploy->os);
    b->needs = json_array();
    b->census = json_null();
    return COFFER_OK;
}

static int
step_begin(struct job *job, struct coffer_error *err)
{
    struct change change = {0};
    struct backup b = {0};
    struct uuid id;
    char text[37];
    int rc = backup_table(job->deploy, err);

    if (rc == COFFER_OK && json_object_get(job->memory, "id") == NULL) {
        rc = uuid_new(&id, err);
        uuid_format(&id, text);
        (void)json_object_set_new(job->memory, "id", json_string(text));
        if (rc == COFFER_OK)
            rc = job_remember(job, err);
    }
    if (rc == COFFER_OK)
        rc = enter(job, &b, err);
    if (rc == COFFER_OK)
        rc = tell_keyring(job, &b, "backup.begin", &change, change_begin, err);
    b.key_id = change.key_id;
    if (rc == COFFER_OK)
        rc = backup_put(job->deploy, &b, err);
    backup_wipe(&b);
    return rc;
}

static bool
progress(void *arg, uint64_t plain)
{
    struct job *job = arg;

    job_progress(job, plain, (uint64_t)json_integer_value(json_object_get(job->memory, "size")),
                 "bytes");
    return !job_cancelled(job);
}

static int
seal(struct job *job, struct backup *b, struct process_spec *spec, int out,
     struct coffer_error *err)
{
    struct process_stream *program = NULL;
    struct snapshot *snapshot = NULL;
    struct stream_total total = {0};
    struct coffer_error end = {0};
    char name[64];
    int in = -1, ended, rc = snapshot_take(job->deploy, &snapshot, err);

    backup_stream_name(b->id, name);
    if (rc == COFFER_OK)
        rc = process_stream_begin(spec, true, &in, &program, err);
    if (rc == COFFER_OK) {
        rc = stream_seal(in, out, snapshot_keyring(snapshot), b->key_id, bytes_str(name), progress,
                         job, &total, err);
        /* A copy that ended early must not be taken for a whole one. */
        ended = process_stream_end(program, rc != COFFER_OK, &end);
        if (rc == COFFER_OK && ended != COFFER_OK)
            rc = error_set(err, ended, "%s", end.message);
    }
    if (rc == COFFER_OK && fsync(out) != 0)
        rc = error_set(err, COFFER_E_IO, "the stream cannot be synced: %s", strerror(errno));
    b->bytes = total.sealed;
    b->plain = total.plain;
    hex_encode(bytes_of(total.digest, sizeof total.digest), b->digest);
    snapshot_give(snapshot);
    return rc;
}

static int
copy_out(struct job *job, struct backup *b, const struct database_place *place,
         struct coffer_error *err)
{
    char path[DEPLOY_PATH_MAX + 80];
    struct process_spec spec = {0};
    int fd = -1, rc = COFFER_OK;

    if (place->engine->server != NULL && !run_serving(place))
        return error_set(err, COFFER_E_NOTYET,
                         "database %s does not run: start it, its server makes the copy", b->name);
    rc = backup_remove_files(job->deploy, b->id, err);
    backup_path(job->deploy, b->id, true, "", path);
    if (rc == COFFER_OK && mkdir(path, 0700) != 0)
        rc = error_set(err, COFFER_E_IO, "%s: %s", path, strerror(errno));
    backup_path(job->deploy, b->id, true, "stream", path);
    if (rc == COFFER_OK &&
        (fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
        rc = error_set(err, COFFER_E_IO, "%s: %s", path, strerror(errno));
    if (rc == COFFER_OK)
        rc = strcmp(b->kind, "physical") == 0 ? place->engine->backup(&place->place, &spec, err)
                                              : place->engine->dump(&place->place, &spec, err);
    if (rc == COFFER_OK)
        rc = seal(job, b, &spec, fd, err);
    process_spec_clear(&spec);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* The files go first: a keyring that still holds keys for nothing is the lesser harm. */
static int
end_backup(struct job *job, struct backup *b, const char *state, const char *event,
           struct coffer_error *err)
{
    struct change change = {0};
    int rc = backup_remove_files(job->deploy, b->id, err);

    if (b->expired_us == 0)
        b->expired_us = job->deploy->os->now_us(job->deploy->os);
    if (rc == COFFER_OK)
        rc = tell_keyring(job, b, event, &change, change_put, err);
    (void)snprintf(b->state, sizeof b->state, "%s", state);
    if (rc == COFFER_OK)
        rc = backup_put(job->deploy, b, err);
    return rc == COFFER_OK ? archive_expire(job->deploy, b, job->who, err) : rc;
}

/* A copy that failed and is resumed holds its keys again from now on. */
static int
begin_again(struct job *job, struct backup *b, struct coffer_error *err)
{
    struct change change = {0};
    int rc;

    if (strcmp(b->state, "failed") != 0)
        return COFFER_OK;
    b->started_us = job->deploy->os->now_us(job->deploy->os);
    b->ended_us = b->expired_us = 0;
    (void)snprintf(b->state, sizeof b->state, "running");
    rc = tell_keyring(job, b, "backup.begin", &change, change_begin, err);
    b->key_id = change.key_id;
    return rc == COFFER_OK ? backup_put(job->deploy, b, err) : rc;
}

static int
step_copy(struct job *job, struct coffer_error *err)
{
    struct coffer_error why = {0};
    struct database_place place;
    struct backup b;
    json_t *census = NULL;
    int rc = mine(job, &b, err);

    if (rc != COFFER_OK)
        return rc;
    rc = begin_again(job, &b, err);
    if (rc != COFFER_OK)
        goto out;
    rc = database_place(job->deploy, job->database, 0, &place, err);
    if (rc == COFFER_OK) {
        (void)json_object_set_new(job->memory, "size",
                                  json_integer((json_int_t)place.database.size));
        rc = copy_out(job, &b, &place, err);
    }
    if (rc == COFFER_OK && place.engine->census(&place.place, &census, NULL) == COFFER_OK) {
        json_decref(b.census);
        b.census = census;
    }
    if (rc == COFFER_OK)
        rc = backup_put(job->deploy, &b, err);
    database_place_wipe(&place);
    /* Who stopped it wants it to go on; what failed is listed as failed, and holds no key. */
    if (rc != COFFER_OK && rc != COFFER_E_CANCELLED &&
        end_backup(job, &b, "failed", "backup.failed", &why) != COFFER_OK)
        job_say(job, "what was copied could not be removed: %s", why.message);
out:
    backup_wipe(&b);
    return rc;
}

static int
sync_folder(const char *path, struct coffer_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = COFFER_OK;

    if (fd < 0 || fsync(fd) != 0)
        rc = error_set(err, COFFER_E_IO, "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

static int
step_finish(struct job *job, struct coffer_error *err)
{
    char from[DEPLOY_PATH_MAX + 80], to[DEPLOY_PATH_MAX + 80], all[DEPLOY_PATH_MAX + 16];
    struct change change = {0};
    struct backup b;
    int rc = mine(job, &b, err);

    if (rc != COFFER_OK)
        return rc;
    backup_path(job->deploy, b.id, true, "", from);
    backup_path(job->deploy, b.id, false, "", to);
    (void)snprintf(all, sizeof all, "%.500s/backups", job->deploy->dir);
    if (b.ended_us == 0) { /* kept, so that a second run writes the same record */
        b.ended_us = job->deploy->os->now_us(job->deploy->os);
        rc = know_database(job->deploy, &b, err);
        if (rc == COFFER_OK)
            rc = keys_needed(job->deploy, &b, err);
        if (rc == COFFER_OK)
            rc = backup_put(job->deploy, &b, err);
    }
    if (rc == COFFER_OK && access(to, F_OK) != 0) {
        rc = backup_record_write(job->deploy, &b, err);
        if (rc == COFFER_OK)
            rc = sync_folder(from, err);
        if (rc == COFFER_OK && rename(from, to) != 0)
            rc = error_set(err, COFFER_E_IO, "%s: %s", to, strerror(errno));
        if (rc == COFFER_OK)
            rc = sync_folder(all, err);
    }
    change.key_id = b.key_id;
    if (rc == COFFER_OK)
        rc = tell_keyring(job, &b, "backup.create", &change, change_put, err);
    if (rc == COFFER_OK) {
        (void)snprintf(b.state, sizeof b.state, "complete");
        rc = backup_put(job->deploy, &b, err);
    }
    if (rc == COFFER_OK) {
        job->result = backup_json(job->deploy, &b);
        database_tell(job->deploy, job->database);
    }
    backup_wipe(&b);
    return rc;
}

static int
undo_begin(struct job *job, struct coffer_error *err)
{
    struct backup b;
    int rc = mine(job, &b, err);

    if (rc == COFFER_E_NOTFOUND)
        return COFFER_OK;
    if (rc == COFFER_OK)
        rc = end_backup(job, &b, "failed", "backup.failed", err);
    backup_wipe(&b);
    return rc;
}

static const struct job_step steps_backup[] = {
    {"begin", step_begin, undo_begin},
    {"copy", step_copy, NULL},
    {"finish", step_finish, NULL},
    {NULL, NULL, NULL},
};
const struct job_kind job_backup = {"backup", steps_backup};

static int
step_expire(struct job *job, struct coffer_error *err)
{
    const char *id = json_string_value(json_object_get(job->request, "id"));
    struct backup b;
    int rc = backup_get(job->deploy, id != NULL ? id : "", &b, err);

    if (rc == COFFER_OK)
        rc = end_backup(job, &b, "expired", "backup.expire", err);
    if (rc == COFFER_OK)
        job->result = backup_json(job->deploy, &b);
    backup_wipe(&b);
    return rc;
}

static const struct job_step steps_expire[] = {{"expire", step_expire, NULL}, {NULL, NULL, NULL}};
const struct job_kind job_expire = {"backup-expire", steps_expire};
