/* SPDX-License-Identifier: Apache-2.0 */
/* database.start, .stop, .resize, .destroy. */
#include "deploy/generation.h"

#include "base/error.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

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
begin(struct deploy *deploy, const struct job_kind *kind, const struct database *d,
      const struct deploy_caller *caller, const json_t *request, json_t **reply,
      struct coffer_error *err)
{
    uint64_t job = 0;
    int rc = job_begin(deploy, kind, d->id, caller, request, &job, err);

    if (rc == COFFER_OK)
        *reply = json_job(job);
    return rc;
}

static const char *const only_name[] = {"name", NULL};

static int
check_complete(const struct database *d, struct coffer_error *err)
{
    if (strcmp(d->state, "creating") == 0 || strcmp(d->state, "destroying") == 0)
        return error_set(err, COFFER_E_CONFLICT, "database %s is %s", d->name, d->state);
    return COFFER_OK;
}

static int
give(struct job *job, struct coffer_error *err)
{
    struct database d;
    int rc = database_get(job->deploy, job->database, &d, err);

    return rc == COFFER_OK ? database_json(job->deploy, &d, ROLE_VIEWER, &job->result, err) : rc;
}

/* ---- start ---- */

static int
step_up(struct job *job, struct coffer_error *err)
{
    int rc;

    watch_hold(job->deploy, job->database);
    rc = database_put_wanted(job->deploy, job->database, "running", err);
    if (rc == COFFER_OK)
        rc = run_up(job->deploy, job->database, err);
    if (rc != COFFER_OK && rc != COFFER_E_CANCELLED && err != NULL)
        (void)!database_put_state(job->deploy, job->database, "failed", err->message, NULL);
    watch_release(job->deploy, job->database);
    return rc == COFFER_OK ? give(job, err) : rc;
}

static const struct job_step steps_start[] = {{"start", step_up, NULL}, {NULL, NULL, NULL}};
const struct job_kind job_start = {"start", steps_start};

static int
run_start(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
          json_t **reply, struct coffer_error *err)
{
    struct database d;
    int rc = find_named(deploy, request, only_name, &d, err);

    if (rc == COFFER_OK)
        rc = check_complete(&d, err);
    return rc == COFFER_OK ? begin(deploy, &job_start, &d, caller, request, reply, err) : rc;
}

/* ---- stop ---- */

static int
step_down(struct job *job, struct coffer_error *err)
{
    int rc;

    watch_hold(job->deploy, job->database);
    rc = database_put_wanted(job->deploy, job->database, "stopped", err);
    if (rc == COFFER_OK)
        rc = run_down(job->deploy, job->database, err);
    watch_release(job->deploy, job->database);
    return rc == COFFER_OK ? give(job, err) : rc;
}

static const struct job_step steps_stop[] = {{"stop", step_down, NULL}, {NULL, NULL, NULL}};
const struct job_kind job_stop = {"stop", steps_stop};

static int
run_stop(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
         json_t **reply, struct coffer_error *err)
{
    struct database d;
    int rc = find_named(deploy, request, only_name, &d, err);

    if (rc == COFFER_OK)
        rc = check_complete(&d, err);
    return rc == COFFER_OK ? begin(deploy, &job_stop, &d, caller, request, reply, err) : rc;
}

/* ---- resize ---- */

/* The limit is checked and reported; the memory is the engine's, which reads it when it starts. */
static int
step_resize(struct job *job, struct coffer_error *err)
{
    struct database d;
    uint64_t memory, limit;
    int rc = database_get(job->deploy, job->database, &d, err);

    if (rc == COFFER_OK)
        rc = request_count(job->request, "memory", d.memory, UINT64_C(1) << 50, &memory, err);
    if (rc == COFFER_OK)
        rc = request_count(job->request, "limit", d.limit, UINT64_C(1) << 60, &limit, err);
    if (rc == COFFER_OK)
        rc = state_run(job->deploy, err,
                       "UPDATE databases SET memory = ?, size_limit = ? WHERE id = ?", "iis",
                       (int64_t)memory, (int64_t)limit, job->database);
    if (rc == COFFER_OK && memory != d.memory)
        (void)json_object_set_new(job->memory, "restart", json_true());
    if (rc == COFFER_OK)
        database_measure(job->deploy, job->database);
    return rc == COFFER_OK ? job_remember(job, err) : rc;
}

static int
step_restart(struct job *job, struct coffer_error *err)
{
    struct database_place place;
    int rc;

    if (!json_is_true(json_object_get(job->memory, "restart")))
        return give(job, err);
    watch_hold(job->deploy, job->database);
    rc = database_place(job->deploy, job->database, 0, &place, err);
    if (rc == COFFER_OK && strcmp(place.database.wanted, "running") == 0) {
        job_say(job, "the server is started anew with its new memory");
        rc = run_stop_server(job->deploy, &place, err);
        if (rc == COFFER_OK)
            rc = run_up(job->deploy, job->database, err);
    }
    database_place_wipe(&place);
    watch_release(job->deploy, job->database);
    database_measure(job->deploy, job->database);
    return rc == COFFER_OK ? give(job, err) : rc;
}

static const struct job_step steps_resize[] = {
    {"resize", step_resize, NULL}, {"restart", step_restart, NULL}, {NULL, NULL, NULL}};
const struct job_kind job_resize = {"resize", steps_resize};

static int
run_resize(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
           json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"name", "memory", "limit", NULL};
    struct database d;
    uint64_t n;
    int rc = find_named(deploy, request, names, &d, err);

    if (rc == COFFER_OK)
        rc = request_count(request, "memory", 0, UINT64_C(1) << 50, &n, err);
    if (rc == COFFER_OK)
        rc = request_count(request, "limit", 0, UINT64_C(1) << 60, &n, err);
    if (rc == COFFER_OK)
        rc = check_complete(&d, err);
    return rc == COFFER_OK ? begin(deploy, &job_resize, &d, caller, request, reply, err) : rc;
}

/* ---- destroy ---- */

struct generations {
    unsigned number[64];
    size_t count;
};

static int
take_generation(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    struct generations *g = arg;

    (void)err;
    if (g->count < sizeof g->number / sizeof *g->number)
        g->number[g->count++] = (unsigned)sqlite3_column_int(row, 0);
    return COFFER_OK;
}

int
generations_each(struct deploy *deploy, const char *id,
                 int (*fn)(void *arg, const struct database_place *place, struct coffer_error *err),
                 void *arg, struct coffer_error *err)
{
    struct generations g = {.count = 0};
    int rc = state_each(deploy, take_generation, &g, err,
                        "SELECT generation FROM generations WHERE database = ? ORDER BY generation",
                        "s", id);

    for (size_t i = 0; rc == COFFER_OK && i < g.count; i++) {
        struct database_place place;

        rc = database_place(deploy, id, g.number[i], &place, err);
        if (rc == COFFER_OK)
            rc = fn(arg, &place, err);
        database_place_wipe(&place);
    }
    return rc;
}

static int
halt_one(void *arg, const struct database_place *place, struct coffer_error *err)
{
    struct job *job = arg;
    int rc = run_stop_server(job->deploy, place, err);

    return rc == COFFER_OK ? run_unmount(job->deploy, place, err) : rc;
}

static int
remove_one(void *arg, const struct database_place *place, struct coffer_error *err)
{
    return generation_remove(((struct job *)arg)->deploy, place, err);
}

static int
shred_one(void *arg, const struct database_place *place, struct coffer_error *err)
{
    struct job *job = arg;
    char held[400];
    int rc = volume_shred(job->deploy, place->volume, job->who, held, sizeof held, err);

    if (rc == COFFER_OK && held[0] != '\0') {
        job_say(job, "keys of its volume are kept in escrow: %s", held);
        (void)json_object_set_new(job->memory, "held", json_string(held));
    }
    return rc;
}

static int
step_halt(struct job *job, struct coffer_error *err)
{
    int rc;

    watch_hold(job->deploy, job->database);
    rc = database_put_wanted(job->deploy, job->database, "stopped", err);
    if (rc == COFFER_OK)
        rc = database_put_state(job->deploy, job->database, "destroying", "", err);
    if (rc == COFFER_OK)
        rc = generations_each(job->deploy, job->database, halt_one, job, err);
    watch_release(job->deploy, job->database);
    return rc;
}

static int
step_remove(struct job *job, struct coffer_error *err)
{
    return generations_each(job->deploy, job->database, remove_one, job, err);
}

static int
step_shred(struct job *job, struct coffer_error *err)
{
    return generations_each(job->deploy, job->database, shred_one, job, err);
}

static int
remove_folder(const struct database *d, struct coffer_error *err)
{
    static const char *const inner[] = {"run", ""};
    struct process_spec spec = {0};
    int rc;

    process_spec_clear(&spec);
    rc = process_arg(&spec, err, "/bin/rm");
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "-rf");
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "--one-file-system");
    if (rc == COFFER_OK)
        rc = process_arg(&spec, err, "%s/%s", d->folder, inner[0]);
    if (rc == COFFER_OK)
        rc = process_run(&spec, bytes_of(NULL, 0), NULL, NULL, NULL, err);
    process_spec_clear(&spec);
    if (rc == COFFER_OK && rmdir(d->folder) != 0 && errno != ENOENT)
        rc = error_set(err, COFFER_E_IO, "%s: %s", d->folder, strerror(errno));
    return rc;
}

static int
step_forget(struct job *job, struct coffer_error *err)
{
    json_t *held = json_object_get(job->memory, "held");
    struct database d;
    int rc = database_get(job->deploy, job->database, &d, err);

    if (rc == COFFER_E_NOTFOUND) /* by a run that died here */
        return COFFER_OK;
    if (rc == COFFER_OK)
        rc = remove_folder(&d, err);
    if (rc == COFFER_OK)
        rc = deploy_audit(job->deploy, job->who, "database.destroy",
                          json_pack("{s:s,s:s,s:o}", "database", d.name, "id", d.id, "held",
                                    held == NULL ? json_null() : json_incref(held)),
                          err);
    if (rc == COFFER_OK)
        rc = state_begin(job->deploy, err);
    if (rc != COFFER_OK)
        return rc;
    rc = state_run(job->deploy, err, "DELETE FROM generations WHERE database = ?", "s", d.id);
    if (rc == COFFER_OK)
        rc = state_run(job->deploy, err, "DELETE FROM databases WHERE id = ?", "s", d.id);
    rc = state_end(job->deploy, rc, err);
    if (rc != COFFER_OK)
        return rc;
    job->result = json_pack("{s:s,s:s,s:o}", "destroyed", d.name, "id", d.id, "held",
                            held == NULL ? json_null() : json_incref(held));
    deploy_event(job->deploy, "database",
                 json_pack("{s:s,s:s,s:s}", "id", d.id, "name", d.name, "state", "destroyed"));
    return COFFER_OK;
}

int
database_remove(struct job *job, struct coffer_error *err)
{
    int rc = step_halt(job, err);

    if (rc == COFFER_OK)
        rc = step_remove(job, err);
    if (rc == COFFER_OK)
        rc = step_shred(job, err);
    return rc == COFFER_OK ? step_forget(job, err) : rc;
}

static int
no_way_back(struct job *job, struct coffer_error *err)
{
    return error_set(err, COFFER_E_REFUSED,
                     "what is destroyed does not come back: resume the job to end it");
}

static const struct job_step steps_destroy[] = {
    {"stop", step_halt, no_way_back},
    {"remove", step_remove, no_way_back},
    {"shred", step_shred, no_way_back},
    {"forget", step_forget, no_way_back},
    {NULL, NULL, NULL},
};
const struct job_kind job_destroy = {"destroy", steps_destroy};

static int
run_destroy(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
            json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"name", "confirm", NULL};
    const char *confirm = NULL;
    struct database d;
    int rc = find_named(deploy, request, names, &d, err);

    if (rc == COFFER_OK)
        rc = request_text(request, "confirm", false, &confirm, err);
    if (rc == COFFER_OK && (confirm == NULL || strcmp(confirm, d.name) != 0))
        rc = error_set(
            err, COFFER_E_REFUSED,
            "to destroy database %s and the key of its volume, \"confirm\" has to be its name",
            d.name);
    if (rc == COFFER_OK)
        rc = deploy_audit(deploy, caller->who, "database.destroy.begin",
                          json_pack("{s:s,s:s}", "database", d.name, "id", d.id), err);
    return rc == COFFER_OK ? begin(deploy, &job_destroy, &d, caller, request, reply, err) : rc;
}

const struct deploy_action change_actions[] = {
    {"database.start", ROLE_OPERATOR, run_start},
    {"database.stop", ROLE_OPERATOR, run_stop},
    {"database.resize", ROLE_OPERATOR, run_resize},
    {"database.destroy", ROLE_CUSTODIAN, run_destroy},
    {NULL, ROLE_NONE, NULL},
};
