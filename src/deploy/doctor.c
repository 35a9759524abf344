/* SPDX-License-Identifier: Apache-2.0 */
/* database.doctor: is the mount safe for that engine, and is the engine set so that it is?  The last report is kept. */
#include "deploy/internal.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

struct report {
    json_t *checks;
    unsigned failed, warned;
};

static int
add(void *arg, const struct engine_check *check, struct coffer_error *err)
{
    struct report *report = arg;

    report->failed += strcmp(check->state, "fail") == 0;
    report->warned += strcmp(check->state, "warn") == 0;
    return json_array_append_new(report->checks,
                                 json_pack("{s:s,s:s,s:s}", "name", check->name, "state",
                                           check->state, "text", check->text)) == 0
               ? COFFER_OK
               : error_nomem(err);
}

static int
keep(struct job *job, struct coffer_error *err)
{
    char *text = json_dumps(job->result, JSON_COMPACT);
    int rc = text == NULL
                 ? error_nomem(err)
                 : state_run(job->deploy, err, "UPDATE databases SET doctor = ? WHERE id = ?", "ss",
                             text, job->database);

    free(text);
    return rc;
}

static int
take_last(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    json_t **out = arg;

    (void)err;
    *out = json_loads(state_text(row, 0), 0, NULL);
    return COFFER_OK;
}

int
doctor_last(struct deploy *deploy, const char *id, json_t **out, struct coffer_error *err)
{
    int rc;

    *out = NULL;
    rc = state_each(deploy, take_last, out, err,
                    "SELECT coalesce(doctor, '') FROM databases WHERE id = ?", "s", id);
    if (rc == COFFER_OK && *out == NULL)
        *out = json_null();
    return rc;
}

static int
look(struct job *job, const struct database_place *place, struct coffer_error *err)
{
    struct report report = {.checks = json_array()};
    int rc;

    if (!run_mounted(place)) {
        json_decref(report.checks);
        return error_set(err, COFFER_E_CONFLICT, "the volume of %s is not mounted: start it first",
                         place->database.name);
    }
    rc = doctor_mount(place->mount, place->lower, add, &report, err);
    if (rc == COFFER_OK && place->engine->doctor != NULL && run_serving(place))
        rc = place->engine->doctor(&place->place, add, &report, err);
    if (rc != COFFER_OK) {
        json_decref(report.checks);
        return rc;
    }
    job->result = json_pack("{s:o,s:o,s:i,s:i}", "checks", report.checks, "at",
                            json_time(job->deploy->os->now_us(job->deploy->os)), "failed",
                            (int)report.failed, "warned", (int)report.warned);
    return job->result == NULL ? error_nomem(err) : keep(job, err);
}

static int
step_look(struct job *job, struct coffer_error *err)
{
    struct database_place place;
    int rc = database_place(job->deploy, job->database, 0, &place, err);

    if (rc == COFFER_OK)
        rc = look(job, &place, err);
    database_place_wipe(&place);
    return rc;
}

static const struct job_step steps[] = {{"look", step_look, NULL}, {NULL, NULL, NULL}};
const struct job_kind job_doctor = {"doctor", steps};

static int
run_doctor(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
           json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"name", NULL};
    struct database d;
    const char *name;
    uint64_t job = 0;
    int rc = request_check(request, names, err);

    if (rc == COFFER_OK)
        rc = request_text(request, "name", true, &name, err);
    if (rc == COFFER_OK)
        rc = database_get(deploy, name, &d, err);
    if (rc == COFFER_OK)
        rc = job_begin(deploy, &job_doctor, d.id, caller, request, &job, err);
    if (rc == COFFER_OK)
        *reply = json_job(job);
    return rc;
}

const struct deploy_action doctor_actions[] = {
    {"database.doctor", ROLE_OPERATOR, run_doctor},
    {NULL, ROLE_NONE, NULL},
};
