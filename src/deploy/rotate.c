/* SPDX-License-Identifier: Apache-2.0 */
/* database.rotate by the method "online", and database.move: the volume changes its key in place, while it is used.
 *
 * The work is volume/lifecycle.h's, which goes on wherever a run ended; the job gives it progress, pauses and pace.
 */
#include "deploy/rotate.h"

#include "base/error.h"
#include "ledger/retire.h"
#include "volume/fuse/control.h"
#include "volume/lifecycle.h"

#include <string.h>

#define MOUNT_WAIT_MS 60000
#define TRIES 20

/* ---- keys ---- */

int
rotate_active_key(struct deploy *deploy, const char *volume, uint32_t *id, struct coffer_error *err)
{
    struct snapshot *snapshot = NULL;
    const struct keyring_key *key;
    char line[KEYRING_NAME_MAX];
    int rc = snapshot_take(deploy, &snapshot, err);

    *id = 0;
    if (rc != COFFER_OK)
        return rc;
    (void)snprintf(line, sizeof line, "volume/%s", volume);
    key = keyring_active(snapshot_keyring(snapshot), KEY_VOLUME, line);
    if (key != NULL)
        *id = key->id;
    else
        rc = error_set(err, COFFER_E_KEY, "the keyring has no active key for volume %s", volume);
    snapshot_give(snapshot);
    return rc;
}

json_t *
rotate_key_json(uint32_t id)
{
    char text[9];

    (void)snprintf(text, sizeof text, "%08x", (unsigned)id);
    return id == 0 ? json_null() : json_string(text);
}

json_t *
rotate_certificate_json(struct deploy *deploy, uint32_t id, const char *volume)
{
    char name[RETIRE_NAME_LEN], path[DEPLOY_PATH_MAX + 128];
    struct uuid uuid;
    uint64_t stamp = 0;

    if (!uuid_parse(bytes_str(volume), &uuid))
        return json_null();
    retire_certificate_name(id, &uuid, name);
    (void)snprintf(path, sizeof path, "%s.certificates/%s", deploy->keyring_path, name);
    if (deploy->os->stamp_file(deploy->os, path, &stamp, NULL) != COFFER_OK || stamp == 0)
        return json_null();
    return json_string(path);
}

/* ---- the walk, as the job sees it ---- */

struct walk {
    struct job *job;
    const struct database_place *place;
    uint64_t bytes;
    double rate, duty; /* as the mount was told last */
    bool paced;
};

static bool
on_stop(void *arg)
{
    return job_cancelled(((struct walk *)arg)->job);
}

static void
on_say(void *arg, const char *step, const char *text)
{
    job_say(((struct walk *)arg)->job, "%s: %s", step, text);
}

static void
call(const struct walk *walk, const char *command, json_t *request)
{
    json_t *reply = NULL;

    if (request != NULL && json_object_set_new(request, "command", json_string(command)) == 0)
        (void)!volume_control_call(walk->place->mount, request, &reply, NULL);
    json_decref(reply);
}

/* A database's syncs swing more than a disk's alone, and its clients feel a brake that never lets go as a rotation that never ends: half of
 * the time, and slower when they wait four times as long as at best.  A rate or a share that was asked for is kept, whoever feels it. */
static struct volume_pace
pace_of(double rate, double duty)
{
    bool asked = rate > 0 || duty > 0;

    return (struct volume_pace){.bytes_per_second = rate,
                                .duty = duty > 0 ? duty : rate > 0 ? 1 : 0.5,
                                .latency_ratio = asked ? 1000 : 4};
}

static void
on_progress(void *arg, const struct volume_progress *p)
{
    struct walk *walk = arg;
    struct volume_pace pace;
    double rate, duty;

    if (p->bytes_done > walk->bytes)
        walk->bytes = p->bytes_done;
    if (p->bytes > 0)
        job_progress(walk->job, p->bytes_done, p->bytes, "bytes");
    else
        job_progress(walk->job, p->files_done + p->files_skipped, p->files, "files");
    if (!job_pace(walk->job, &rate, &duty) ||
        (walk->paced && rate == walk->rate && duty == walk->duty))
        return;
    walk->paced = true;
    walk->rate = rate;
    walk->duty = duty;
    pace = pace_of(rate, duty);
    call(walk, "throttle",
         json_pack("{s:{s:f,s:f,s:f}}", "pace", "bytes_per_second", pace.bytes_per_second, "duty",
                   pace.duty, "latency_ratio", pace.latency_ratio));
}

/* One whose mount has just died is brought up by the supervisor; until then its volume must not be taken for one that nobody serves. */
static int
wait_mounted(struct job *job, const struct database_place *place, struct coffer_error *err)
{
    int64_t until = job->deploy->os->monotonic_ms(job->deploy->os) + MOUNT_WAIT_MS;

    while (strcmp(place->database.wanted, "running") == 0 && !run_mounted(place)) {
        if (job_cancelled(job))
            return error_set(err, COFFER_E_CANCELLED, "stopped, as asked");
        if (job->deploy->os->monotonic_ms(job->deploy->os) > until)
            return error_set(err, COFFER_E_NOTYET,
                             "database %s should run and its volume is not mounted: see its state",
                             place->database.name);
        job->deploy->os->sleep_ms(job->deploy->os, 100);
    }
    return COFFER_OK;
}

/* The keyring says that the former key is out, and the record that nothing is open: a run that died after its last step. */
static int
already_done(struct job *job, const struct database_place *place, uint32_t old, bool *done,
             struct coffer_error *err)
{
    struct snapshot *snapshot = NULL;
    const struct keyring_key *key;
    struct volume_setup setup = {0};
    int rc = snapshot_take(job->deploy, &snapshot, err);

    *done = false;
    if (rc != COFFER_OK)
        return rc;
    key = keyring_key(snapshot_keyring(snapshot), old);
    if (key != NULL && key->state >= KEY_ESCROWED) {
        rc = volume_setup_load(place->lower, snapshot_keyring(snapshot), false, &setup, err);
        *done = rc == COFFER_OK && setup.rotation.work == 0;
        volume_setup_close(&setup);
    }
    snapshot_give(snapshot);
    return rc;
}

static uint32_t
key_of(const json_t *memory, const char *name)
{
    const json_t *value = json_object_get(memory, name);

    return (uint32_t)json_integer_value(value);
}

static int
options_of(struct job *job, struct volume_rotate_options *out, struct coffer_error *err)
{
    const char *kind = json_string_value(json_object_get(job->request, "kind"));
    const json_t *bits = json_object_get(job->memory, "key_bits");

    *out = (struct volume_rotate_options){
        .work = kind != NULL && strcmp(kind, "rewrap") == 0 ? VOLUME_REWRAP : VOLUME_REENCRYPT,
        .encrypt_names = -1};
    out->pace = pace_of(json_number_value(json_object_get(job->request, "rate")), 0);
    if (json_is_integer(bits))
        out->key_bits = (unsigned)json_integer_value(bits);
    (void)err;
    return COFFER_OK;
}

static int
walk_once(struct walk *walk, bool abort_it, struct coffer_error *err)
{
    struct job *job = walk->job;
    struct volume_env env = {.store = job->deploy->store,
                             .os = job->deploy->os,
                             .who = job->who,
                             .stop = on_stop,
                             .say = on_say,
                             .progress = on_progress,
                             .arg = walk};
    struct volume_rotate_options options;
    int rc = options_of(job, &options, err);

    options.abort = abort_it;
    if (rc == COFFER_OK && !abort_it)
        rc = wait_mounted(job, walk->place, err);
    if (rc != COFFER_OK)
        return rc;
    call(walk, "resume", json_object()); /* one that was paused */
    rc = volume_rotate(&env, walk->place->lower, &options, err);
    if (rc == COFFER_E_CANCELLED && job_paused(job))
        call(walk, "pause", json_object());
    return rc;
}

/* ---- steps ---- */

static int
step_begin(struct job *job, struct coffer_error *err)
{
    const char *stack = json_string_value(json_object_get(job->request, "stack"));
    struct database d;
    unsigned bits;
    uint32_t id;
    int rc = database_get(job->deploy, job->database, &d, err);

    if (rc == COFFER_OK)
        rc = rotate_active_key(job->deploy, d.volume, &id, err);
    if (rc == COFFER_OK)
        rc = stack_key_bits(job->deploy, stack != NULL ? stack : d.stack, &bits, err);
    if (rc != COFFER_OK)
        return rc;
    (void)json_object_set_new(job->memory, "old", json_integer(id));
    if (bits != d.key_bits)
        (void)json_object_set_new(job->memory, "key_bits", json_integer((json_int_t)bits));
    return job_remember(job, err);
}

static int
step_rotate(struct job *job, struct coffer_error *err)
{
    struct database_place place;
    struct walk walk = {.job = job, .place = &place};
    uint32_t old = key_of(job->memory, "old");
    bool done = false;
    int rc = database_place(job->deploy, job->database, 0, &place, err);

    for (unsigned n = 0; rc == COFFER_OK && !done; n++) {
        rc = already_done(job, &place, old, &done, err);
        if (rc != COFFER_OK || done)
            break;
        rc = walk_once(&walk, false, err);
        done = rc == COFFER_OK;
        /* The mount died under it: whoever comes next goes on. */
        if ((rc == COFFER_E_IO || rc == COFFER_E_NOTFOUND || rc == COFFER_E_LOST ||
             rc == COFFER_E_CONFLICT) &&
            n < TRIES && !job_cancelled(job)) {
            job_say(job, "tried again: %s", err != NULL ? err->message : "");
            job->deploy->os->sleep_ms(job->deploy->os, 1000);
            rc = COFFER_OK;
        }
    }
    database_place_wipe(&place);
    if (rc == COFFER_OK && walk.bytes > 0)
        (void)json_object_set_new(job->memory, "bytes", json_integer((json_int_t)walk.bytes));
    return rc;
}

static int
undo_rotate(struct job *job, struct coffer_error *err)
{
    struct database_place place;
    struct walk walk = {.job = job, .place = &place};
    struct snapshot *snapshot = NULL;
    struct volume_setup setup = {0};
    bool open = false;
    int rc = database_place(job->deploy, job->database, 0, &place, err);

    if (rc == COFFER_OK)
        rc = snapshot_take(job->deploy, &snapshot, err);
    if (rc == COFFER_OK)
        rc = volume_setup_load(place.lower, snapshot_keyring(snapshot), false, &setup, err);
    open = rc == COFFER_OK && setup.rotation.work != 0;
    volume_setup_close(&setup);
    snapshot_give(snapshot);
    if (open)
        rc = walk_once(&walk, true, err);
    database_place_wipe(&place);
    return rc;
}

static int
step_end(struct job *job, struct coffer_error *err)
{
    const char *stack = json_string_value(json_object_get(job->request, "stack"));
    const json_t *bits = json_object_get(job->memory, "key_bits");
    uint32_t old = key_of(job->memory, "old"), now = 0;
    struct database d;
    int rc = database_get(job->deploy, job->database, &d, err);

    if (rc == COFFER_OK)
        rc = rotate_active_key(job->deploy, d.volume, &now, err);
    if (rc == COFFER_OK)
        rc = state_begin(job->deploy, err);
    if (rc != COFFER_OK)
        return rc;
    if (json_is_integer(bits))
        rc = state_run(job->deploy, err,
                       "UPDATE generations SET key_bits = ? WHERE database = ? AND generation = ?",
                       "isi", (int64_t)json_integer_value(bits), d.id, (int64_t)d.generation);
    if (rc == COFFER_OK && stack != NULL)
        rc = state_run(job->deploy, err, "UPDATE databases SET stack = ? WHERE id = ?", "ss", stack,
                       d.id);
    rc = state_end(job->deploy, rc, err);
    if (rc == COFFER_OK)
        job->result =
            json_pack("{s:s,s:i,s:I,s:o,s:o,s:o}", "method", "online", "downtime_ms", 0, "bytes",
                      json_integer_value(json_object_get(job->memory, "bytes")), "old_key_id",
                      rotate_key_json(old), "new_key_id", rotate_key_json(now), "certificate",
                      rotate_certificate_json(job->deploy, old, d.volume));
    return rc;
}

static const struct job_step steps[] = {{"begin", step_begin, NULL},
                                        {"rotate", step_rotate, undo_rotate},
                                        {"end", step_end, NULL},
                                        {NULL, NULL, NULL}};
const struct job_kind job_rotate = {"rotate", steps};

/* ---- actions ---- */

static int
begin(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
      const char *method, const char *stack, json_t **reply, struct coffer_error *err)
{
    const struct job_kind *kind = strcmp(method, "online") == 0         ? &job_rotate
                                  : strcmp(method, "dump-restore") == 0 ? &job_rotate_copy
                                                                        : &job_rotate_replicate;
    const char *name = NULL;
    struct database d;
    uint64_t job = 0;
    int rc = request_text(request, "name", true, &name, err);

    if (rc == COFFER_OK)
        rc = database_get(deploy, name, &d, err);
    if (rc == COFFER_OK && (strcmp(d.state, "creating") == 0 ||
                            strcmp(d.state, "destroying") == 0 || d.volume[0] == '\0'))
        rc = error_set(err, COFFER_E_CONFLICT, "database %s is %s", d.name, d.state);
    if (rc == COFFER_OK && kind != &job_rotate && strcmp(d.state, "running") != 0)
        rc = error_set(err, COFFER_E_CONFLICT, "database %s is %s: it has to run to be copied",
                       d.name, d.state);
    if (rc == COFFER_OK && kind == &job_rotate_replicate && strcmp(d.engine, "postgresql") != 0)
        rc = error_set(err, COFFER_E_UNSUPPORTED,
                       "only PostgreSQL replicates into a new database: use the method online or "
                       "dump-restore");
    if (rc == COFFER_OK)
        rc = deploy_audit(deploy, caller->who, stack != NULL ? "database.move" : "database.rotate",
                          json_pack("{s:s,s:s,s:s,s:s*}", "database", d.name, "id", d.id, "method",
                                    method, "stack", stack),
                          err);
    if (rc == COFFER_OK)
        rc = job_begin(deploy, kind, d.id, caller, request, &job, err);
    if (rc == COFFER_OK)
        *reply = json_job(job);
    return rc;
}

static int
run_rotate(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
           json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"name", "method", "kind", "rate", NULL};
    const char *method, *kind;
    int rc = request_check(request, names, err);

    if (rc == COFFER_OK)
        rc = request_text(request, "method", false, &method, err);
    if (rc == COFFER_OK)
        rc = request_text(request, "kind", false, &kind, err);
    if (rc != COFFER_OK)
        return rc;
    method = method != NULL ? method : "online";
    if (strcmp(method, "online") != 0 && strcmp(method, "dump-restore") != 0 &&
        strcmp(method, "replicate") != 0)
        return error_set(err, COFFER_E_FORMAT, "\"method\" is online, dump-restore or replicate");
    if (kind != NULL && strcmp(kind, "reencrypt") != 0 && strcmp(kind, "rewrap") != 0)
        return error_set(err, COFFER_E_FORMAT, "\"kind\" is reencrypt or rewrap");
    if (kind != NULL && strcmp(method, "online") != 0)
        return error_set(err, COFFER_E_MISUSE, "\"kind\" goes with the method online");
    if (json_number_value(json_object_get(request, "rate")) < 0)
        return error_set(err, COFFER_E_FORMAT, "\"rate\" is bytes a second");
    return begin(deploy, caller, request, method, NULL, reply, err);
}

static int
run_move(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
         json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"name", "stack", "rate", NULL};
    const char *stack;
    unsigned bits;
    int rc = request_check(request, names, err);

    if (rc == COFFER_OK)
        rc = request_text(request, "stack", true, &stack, err);
    if (rc == COFFER_OK)
        rc = stack_key_bits(deploy, stack, &bits, err);
    return rc == COFFER_OK ? begin(deploy, caller, request, "online", stack, reply, err) : rc;
}

const struct deploy_action rotate_actions[] = {
    {"database.rotate", ROLE_OPERATOR, run_rotate},
    {"database.move", ROLE_OPERATOR, run_move},
    {NULL, ROLE_NONE, NULL},
};
