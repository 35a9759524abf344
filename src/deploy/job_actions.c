/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs as others see them: list, show, pause, resume, cancel, throttle. */
#include "deploy/job_internal.h"

#include "base/error.h"

#include <string.h>

#define LIST_MAX 200

static json_t *
parsed(const char *text)
{
    json_t *value = text[0] == '\0' ? NULL : json_loads(text, JSON_DECODE_ANY, NULL);

    return value != NULL ? value : json_null();
}

#define COLUMNS                                                                                    \
    "id, kind, database, name, state, step, done, total, unit, messages, error, result, created, " \
    "updated"

static json_t *
row_json(sqlite3_stmt *row)
{
    return json_pack(
        "{s:I,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:s,s:i,s:n,s:n,s:o,s:o,s:o,s:o,s:o}", "id",
        (json_int_t)sqlite3_column_int64(row, 0), "kind", state_text(row, 1), "database",
        state_text(row, 2), "name", state_text(row, 3), "state", state_text(row, 4), "step",
        state_text(row, 5), "done", (json_int_t)sqlite3_column_int64(row, 6), "total",
        (json_int_t)sqlite3_column_int64(row, 7), "unit", state_text(row, 8), "rate", 0,
        "seconds_left", "latency", "messages", parsed(state_text(row, 9)), "error",
        state_text(row, 10)[0] == '\0' ? json_null() : json_string(state_text(row, 10)), "result",
        parsed(state_text(row, 11)), "created", json_time(sqlite3_column_int64(row, 12)), "updated",
        json_time(sqlite3_column_int64(row, 13)));
}

/* What is newer in memory. */
static void
add_live(struct deploy *deploy, uint64_t id, json_t *object)
{
    (void)pthread_mutex_lock(&deploy->jobs_lock);
    for (struct running *r = deploy->jobs; r != NULL; r = r->next) {
        if (r->job.id != id)
            continue;
        (void)pthread_mutex_lock(&r->lock);
        (void)json_object_set_new(object, "done", json_integer((json_int_t)r->done));
        (void)json_object_set_new(object, "total", json_integer((json_int_t)r->total));
        (void)json_object_set_new(object, "unit", json_string(r->unit));
        (void)json_object_set_new(object, "rate", json_real(r->rate));
        if (r->latency > 0)
            (void)json_object_set_new(object, "latency", json_real(r->latency));
        if (r->rate > 0 && r->total >= r->done)
            (void)json_object_set_new(object, "seconds_left",
                                      json_real((double)(r->total - r->done) / r->rate));
        (void)json_object_set_new(object, "messages", json_deep_copy(r->messages));
        (void)pthread_mutex_unlock(&r->lock);
    }
    (void)pthread_mutex_unlock(&deploy->jobs_lock);
}

static int
take_job(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    json_t *list = arg;

    return json_array_append_new(list, row_json(row)) == 0 ? COFFER_OK : error_nomem(err);
}

int
job_json(struct deploy *deploy, uint64_t id, json_t **out, struct coffer_error *err)
{
    json_t *list = json_array();
    int rc;

    *out = NULL;
    if (list == NULL)
        return error_nomem(err);
    rc = state_each(deploy, take_job, list, err, "SELECT " COLUMNS " FROM jobs WHERE id = ?", "i",
                    (int64_t)id);
    if (rc == COFFER_OK && json_array_size(list) == 0)
        rc = error_set(err, COFFER_E_NOTFOUND, "there is no job %llu", (unsigned long long)id);
    if (rc == COFFER_OK) {
        *out = json_incref(json_array_get(list, 0));
        add_live(deploy, id, *out);
    }
    json_decref(list);
    return rc;
}

/* ---- actions ---- */

static int
run_list(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
         json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"database", "limit", NULL};
    const char *database;
    uint64_t limit;
    json_t *job;
    size_t i;
    int rc = request_check(request, names, err);

    if (rc == COFFER_OK)
        rc = request_text(request, "database", false, &database, err);
    if (rc == COFFER_OK)
        rc = request_count(request, "limit", LIST_MAX, 10000, &limit, err);
    if (rc != COFFER_OK)
        return rc;
    *reply = json_array();
    rc = state_each(
        deploy, take_job, *reply, err,
        "SELECT " COLUMNS
        " FROM jobs WHERE ?1 IS NULL OR name = ?1 OR database = ?1 ORDER BY id DESC LIMIT ?2",
        "si", database, (int64_t)limit);
    json_array_foreach(*reply, i, job)
        add_live(deploy, (uint64_t)json_integer_value(json_object_get(job, "id")), job);
    return rc;
}

static int
take_id(const json_t *request, const char *const *names, uint64_t *id, struct coffer_error *err)
{
    int rc = request_check(request, names, err);

    if (rc == COFFER_OK)
        rc = request_count(request, "id", 0, INT64_MAX, id, err);
    if (rc == COFFER_OK && *id == 0)
        rc = error_set(err, COFFER_E_FORMAT, "\"id\" is missing: of which job?");
    return rc;
}

static const char *const only_id[] = {"id", NULL};

static int
run_show(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
         json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"id", "wait_ms", NULL};
    uint64_t id, wait_ms;
    int64_t until = 0;
    int rc = take_id(request, names, &id, err);

    if (rc == COFFER_OK)
        rc = request_count(request, "wait_ms", 0, 30000, &wait_ms, err);
    if (rc != COFFER_OK)
        return rc;
    until = deploy->os->monotonic_ms(deploy->os) + (int64_t)wait_ms;
    for (uint64_t seen = deploy_last_event(deploy);;) {
        int64_t left;
        json_t *events = NULL;

        rc = job_json(deploy, id, reply, err);
        left = until - deploy->os->monotonic_ms(deploy->os);
        if (rc != COFFER_OK ||
            strcmp(json_string_value(json_object_get(*reply, "state")), "running") != 0 ||
            left <= 0)
            return rc;
        json_decref(*reply);
        *reply = NULL;
        rc =
            deploy_events(deploy, seen, (unsigned)left, &events, err); /* a job that ends says so */
        json_decref(events);
        if (rc != COFFER_OK)
            return rc;
        seen = deploy_last_event(deploy);
        if (atomic_load(&deploy->closing))
            until = 0;
    }
}

static int
run_pause(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
          json_t **reply, struct coffer_error *err)
{
    uint64_t id;
    int rc = take_id(request, only_id, &id, err);

    if (rc == COFFER_OK && !job_ask(deploy, id, ASK_PAUSE, NULL)) {
        rc = job_json(deploy, id, reply, err);
        if (rc == COFFER_OK &&
            strcmp(json_string_value(json_object_get(*reply, "state")), "paused") != 0)
            rc = error_set(err, COFFER_E_CONFLICT, "job %llu is %s", (unsigned long long)id,
                           json_string_value(json_object_get(*reply, "state")));
        return rc;
    }
    return rc == COFFER_OK ? job_json(deploy, id, reply, err) : rc;
}

static int
run_resume(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
           json_t **reply, struct coffer_error *err)
{
    uint64_t id;
    int rc = take_id(request, only_id, &id, err);

    if (rc == COFFER_OK)
        rc = job_again(deploy, id, false, err);
    return rc == COFFER_OK ? job_json(deploy, id, reply, err) : rc;
}

static int
run_cancel(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
           json_t **reply, struct coffer_error *err)
{
    uint64_t id;
    int rc = take_id(request, only_id, &id, err);

    if (rc == COFFER_OK && !job_ask(deploy, id, ASK_CANCEL, NULL))
        rc = job_again(deploy, id, true, err);
    return rc == COFFER_OK ? job_json(deploy, id, reply, err) : rc;
}

static int
run_throttle(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
             json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"id", "rate", "duty", NULL};
    struct job_pace_ask pace = {json_number_value(json_object_get(request, "rate")),
                                json_number_value(json_object_get(request, "duty"))};
    uint64_t id;
    int rc = take_id(request, names, &id, err);

    if (rc == COFFER_OK && (pace.rate < 0 || pace.duty < 0 || pace.duty > 1))
        rc = error_set(err, COFFER_E_FORMAT,
                       "\"rate\" is bytes a second, \"duty\" a share from 0 to 1");
    if (rc == COFFER_OK)
        rc = job_json(deploy, id, reply, err);
    if (rc == COFFER_OK &&
        strcmp(json_string_value(json_object_get(*reply, "kind")), job_rotate.name) != 0)
        rc = error_set(err, COFFER_E_UNSUPPORTED,
                       "only an online rotation changes its pace while it runs, and job %llu is a %s",
                       (unsigned long long)id,
                       json_string_value(json_object_get(*reply, "kind")));
    json_decref(*reply);
    *reply = NULL;
    if (rc == COFFER_OK && !job_ask(deploy, id, ASK_NOTHING, &pace))
        rc = error_set(err, COFFER_E_CONFLICT, "job %llu does not run", (unsigned long long)id);
    return rc == COFFER_OK ? job_json(deploy, id, reply, err) : rc;
}

const struct deploy_action job_actions[] = {
    {"job.list", ROLE_VIEWER, run_list},
    {"job.show", ROLE_VIEWER, run_show},
    {"job.pause", ROLE_OPERATOR, run_pause},
    {"job.resume", ROLE_OPERATOR, run_resume},
    {"job.cancel", ROLE_OPERATOR, run_cancel},
    {"job.throttle", ROLE_OPERATOR, run_throttle},
    {NULL, ROLE_NONE, NULL},
};
