/* SPDX-License-Identifier: Apache-2.0 */
/* backup.restore and backup.verify: a new database, its own volume and key, filled from a backup.
 *
 *   folder, volume, fill, server, prepare   as a creation, but that the engine's copy comes out of the stream; a dump is loaded at `load`
 *   ready                                   rows of every table compared with what was noted when the backup was made
 *   remove                                  only for verify: the database goes again
 *
 * What cannot be opened to its end never becomes a database: the job fails, and taking it back removes what it made.
 */
#include "deploy/backup/archive.h"

#include "base/error.h"
#include "deploy/backup/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int
source(struct job *job, struct backup *b, struct coffer_error *err)
{
    const char *id = json_string_value(json_object_get(job->request, "id"));

    return backup_get(job->deploy, id != NULL ? id : "", b, err);
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
check_total(const struct backup *b, const struct stream_total *total, struct coffer_error *err)
{
    char digest[65];

    hex_encode(bytes_of(total->digest, sizeof total->digest), digest);
    if (strcmp(digest, b->digest) != 0 || total->plain != b->plain)
        return error_set(err, COFFER_E_TAMPERED,
                         "the stream of backup %s is not the one that its record names", b->id);
    return COFFER_OK;
}

/* Out of the stream into a program. */
static int
pour(struct job *job, const struct backup *b, struct process_spec *spec, struct coffer_error *err)
{
    char path[DEPLOY_PATH_MAX + 80], name[64];
    struct process_stream *program = NULL;
    struct snapshot *snapshot = NULL;
    struct stream_total total = {0};
    struct coffer_error end = {0};
    int in, out = -1, ended, rc = COFFER_OK;

    (void)json_object_set_new(job->memory, "size", json_integer((json_int_t)b->plain));
    backup_path(job->deploy, b->id, false, "stream", path);
    backup_stream_name(b->id, name);
    in = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (in < 0)
        return error_set(err, errno == ENOENT ? COFFER_E_NOTFOUND : COFFER_E_IO, "%s: %s", path,
                         strerror(errno));
    rc = snapshot_take(job->deploy, &snapshot, err);
    if (rc == COFFER_OK)
        rc = process_stream_begin(spec, false, &out, &program, err);
    if (rc == COFFER_OK) {
        rc = stream_open(in, out, snapshot_keyring(snapshot), bytes_str(name), progress, job,
                         &total, err);
        if (rc == COFFER_OK)
            rc = check_total(b, &total, err);
        if (rc != COFFER_OK && rc != COFFER_E_CANCELLED)
            (void)error_prefix(err, "%s: ", path);
        ended = process_stream_end(program, rc != COFFER_OK, &end);
        if (rc == COFFER_OK && ended != COFFER_OK)
            rc = error_set(err, ended, "%s", end.message);
    }
    snapshot_give(snapshot);
    close(in);
    return rc;
}

/* What a run that died had put there. */
static int
empty_data(const struct database_place *place, struct coffer_error *err)
{
    struct process_spec spec = {
        .in = -1, .out = -1, .err_fd = -1, .uid = place->place.uid, .gid = place->place.gid};
    int rc = process_arg(&spec, err, "/bin/rm");

    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "-rf");
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "--");
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "%s/data", place->place.root);
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "%s/recover", place->place.root);
    if (rc == COFFER_OK)
        rc = process_run(&spec, bytes_of(NULL, 0), NULL, NULL, NULL, err);
    process_spec_clear(&spec);
    return rc;
}

/* ---- steps ---- */

typedef int (*place_fn)(struct job *job, const struct database_place *place, const struct backup *b,
                        struct coffer_error *err);

static int
with(struct job *job, place_fn fn, struct coffer_error *err)
{
    struct database_place place;
    struct backup b;
    int rc = source(job, &b, err);

    if (rc == COFFER_OK) {
        rc = database_place(job->deploy, job->database, 0, &place, err);
        if (rc == COFFER_OK)
            rc = fn(job, &place, &b, err);
        database_place_wipe(&place);
    }
    backup_wipe(&b);
    return rc;
}

static int
do_folder(struct job *job, const struct database_place *place, const struct backup *b,
          struct coffer_error *err)
{
    (void)b;
    return generation_folder(job->deploy, place, err);
}

static int
do_volume(struct job *job, const struct database_place *place, const struct backup *b,
          struct coffer_error *err)
{
    (void)b;
    return generation_volume(job->deploy, place, job->who, err);
}

static int
do_fill(struct job *job, const struct database_place *place, const struct backup *b,
        struct coffer_error *err)
{
    const json_t *until = json_object_get(job->request, "until_us");
    struct process_spec spec = {0};
    int rc = run_stop_server(job->deploy, place, err);

    if (rc == COFFER_OK)
        rc = run_mount(job->deploy, place, err);
    if (rc != COFFER_OK)
        return rc;
    rc = empty_data(place, err);
    if (rc == COFFER_OK && strcmp(b->kind, "physical") != 0)
        return place->engine->init(&place->place, err);
    if (rc == COFFER_OK)
        rc = place->engine->restore(&place->place, &spec, err);
    if (rc == COFFER_OK)
        rc = pour(job, b, &spec, err);
    process_spec_clear(&spec);
    if (rc == COFFER_OK && until != NULL)
        rc = archive_unseal(job, b->database, place, err);
    return rc == COFFER_OK && until != NULL
               ? place->engine->recover(&place->place, json_integer_value(until), err)
               : rc;
}

static int
do_serve(struct job *job, const struct database_place *place, const struct backup *b,
         struct coffer_error *err)
{
    int rc = run_mount(job->deploy, place, err);

    (void)b;
    return rc == COFFER_OK ? run_server(job->deploy, place, err) : rc;
}

static int
do_prepare(struct job *job, const struct database_place *place, const struct backup *b,
           struct coffer_error *err)
{
    int rc = do_serve(job, place, b, err);

    return rc == COFFER_OK && place->engine->prepare != NULL
               ? place->engine->prepare(&place->place, err)
               : rc;
}

static bool
as_noted(const struct database_place *place, const struct backup *b)
{
    json_t *now = NULL;
    bool same = place->engine->census(&place->place, &now, NULL) == COFFER_OK &&
                json_equal(now, b->census) != 0;

    json_decref(now);
    return same;
}

static int
do_load(struct job *job, const struct database_place *place, const struct backup *b,
        struct coffer_error *err)
{
    struct process_spec spec = {0};
    int rc = do_serve(job, place, b, err);

    if (rc != COFFER_OK || strcmp(b->kind, "physical") == 0)
        return rc;
    if (json_is_true(json_object_get(job->memory, "loading")) && as_noted(place, b))
        return COFFER_OK; /* by a run that died right after */
    (void)json_object_set_new(job->memory, "loading", json_true());
    rc = job_remember(job, err);
    if (rc == COFFER_OK)
        rc = place->engine->load(&place->place, &spec, err);
    if (rc == COFFER_OK)
        rc = pour(job, b, &spec, err);
    process_spec_clear(&spec);
    return rc;
}

static int
do_ready(struct job *job, const struct database_place *place, const struct backup *b,
         struct coffer_error *err)
{
    struct database d;
    int rc = do_serve(job, place, b, err);
    bool same = rc == COFFER_OK && as_noted(place, b);

    (void)json_object_set_new(job->memory, "same", json_boolean(same));
    if (rc == COFFER_OK && json_object_get(job->request, "until_us") == NULL)
        job_say(job, same ? "every table has the rows that were counted when the backup was made"
                          : "tables have other rows than were counted right after the backup: "
                            "whoever wrote meanwhile is the reason, or ask verify "
                            "of a backup made while nobody writes");
    if (rc == COFFER_OK)
        rc = database_put_state(job->deploy, job->database, "running", "", err);
    if (rc == COFFER_OK) {
        database_measure(job->deploy, job->database);
        rc = database_get(job->deploy, job->database, &d, err);
    }
    return rc == COFFER_OK ? database_json(job->deploy, &d, ROLE_VIEWER, &job->result, err) : rc;
}

#define STEP(name)                                                                                 \
    static int step_##name(struct job *job, struct coffer_error *err)                              \
    {                                                                                              \
        return with(job, do_##name, err);                                                          \
    }
STEP(folder)
STEP(volume)
STEP(fill)
STEP(serve)
STEP(prepare)
STEP(load)
STEP(ready)

static int
undo_folder(struct job *job, struct coffer_error *err)
{
    return database_remove(job, err);
}

static int
step_remove(struct job *job, struct coffer_error *err)
{
    struct database d;
    struct backup b;
    int rc = source(job, &b, err);

    if (rc == COFFER_OK)
        rc = database_get(job->deploy, job->database, &d, err);
    if (rc == COFFER_OK)
        rc = database_remove(job, err);
    else if (rc == COFFER_E_NOTFOUND)
        rc = COFFER_OK; /* by a run that died here */
    if (rc == COFFER_OK) {
        b.verified_us = job->deploy->os->now_us(job->deploy->os);
        rc = backup_put(job->deploy, &b, err);
    }
    json_decref(job->result);
    job->result = rc == COFFER_OK ? backup_json(job->deploy, &b) : NULL;
    if (job->result != NULL)
        (void)json_object_set(job->result, "census_equal", json_object_get(job->memory, "same"));
    backup_wipe(&b);
    return rc;
}

#define BUILD                                                                                      \
    {"folder", step_folder, undo_folder}, {"volume", step_volume, NULL},                           \
        {"fill", step_fill, NULL}, {"server", step_serve, NULL}, {"prepare", step_prepare, NULL},  \
        {"load", step_load, NULL},                                                                 \
    {                                                                                              \
        "ready", step_ready, NULL                                                                  \
    }

static const struct job_step steps_restore[] = {BUILD, {NULL, NULL, NULL}};
static const struct job_step steps_verify[] = {
    BUILD, {"remove", step_remove, NULL}, {NULL, NULL, NULL}};
const struct job_kind job_restore = {"restore", steps_restore};
const struct job_kind job_verify = {"verify", steps_verify};
