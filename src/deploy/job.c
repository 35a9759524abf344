/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: a row, a thread, steps.
 *
 *   running ──steps end──▶ done
 *      │  ├──a step fails──▶ failed ──resume──▶ running
 *      │  ├──pause──▶ paused ──resume──▶ running
 *      │  └──cancel──▶ (undo, in reverse) ──▶ cancelled
 *      └── the process ends: stays running, and goes on at the next start
 *
 * The row is the truth: the step is written before it begins, and the memory with it.
 */
#include "deploy/job_internal.h"

#include "base/error.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGES_MAX 200

static const struct job_kind *
kind_find(const char *name)
{
    for (size_t i = 0; job_kinds[i] != NULL; i++)
        if (strcmp(job_kinds[i]->name, name) == 0)
            return job_kinds[i];
    return NULL;
}

static void
running_free(struct running *r)
{
    if (r == NULL)
        return;
    json_decref(r->job.request);
    json_decref(r->job.memory);
    json_decref(r->job.result);
    json_decref(r->messages);
    (void)pthread_mutex_destroy(&r->lock);
    mem_free(r);
}

static char *
text_of(const json_t *value)
{
    return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
}

/* ---- the row ---- */

int
job_remember(struct job *job, struct coffer_error *err)
{
    char *memory = text_of(job->memory);
    int rc = memory == NULL
                 ? error_nomem(err)
                 : state_run(job->deploy, err,
                             "UPDATE jobs SET memory = ?, step = ?, updated = ? WHERE id = ?",
                             "ssii", memory, job->step, job->deploy->os->now_us(job->deploy->os),
                             (int64_t)job->id);

    free(memory);
    return rc;
}

static void
tell(struct running *r)
{
    json_t *object = NULL;

    if (job_json(r->job.deploy, r->job.id, &object, NULL) == COFFER_OK)
        deploy_event(r->job.deploy, "job", object);
}

static int
put_end(struct running *r, const char *state, const char *error, struct coffer_error *err)
{
    struct job *job = &r->job;
    char *result = job->result == NULL ? NULL : text_of(job->result), *messages,
         *memory = text_of(job->memory);
    int rc;

    (void)pthread_mutex_lock(&r->lock);
    messages = text_of(r->messages);
    (void)pthread_mutex_unlock(&r->lock);
    rc = state_run(job->deploy, err,
                   "UPDATE jobs SET state = ?, error = ?, result = ?, messages = coalesce(?, "
                   "'[]'), memory = coalesce(?, memory),"
                   " step = ?, undo = ?, done = ?, total = ?, unit = ?, updated = ? WHERE id = ?",
                   "ssssssiiisii", state, error, result, messages, memory, job->step,
                   (int64_t)r->undo, (int64_t)r->done, (int64_t)r->total, r->unit,
                   job->deploy->os->now_us(job->deploy->os), (int64_t)job->id);
    free(result);
    free(messages);
    free(memory);
    return rc;
}

/* ---- from within steps ---- */

void
job_progress(struct job *job, uint64_t done, uint64_t total, const char *unit)
{
    struct running *r = (struct running *)job;
    int64_t now = job->deploy->os->monotonic_ms(job->deploy->os);
    bool due;

    (void)pthread_mutex_lock(&r->lock);
    if (strcmp(r->unit, unit) != 0 || done < r->done) {
        r->since_ms = now;
        r->since_done = done;
        r->rate = 0;
    }
    r->done = done;
    r->total = total;
    (void)snprintf(r->unit, sizeof r->unit, "%s", unit);
    if (now - r->since_ms >= 1000) { /* over the last second or so, half of it from before */
        double lately = (double)(done - r->since_done) * 1000.0 / (double)(now - r->since_ms);

        r->rate = r->rate > 0 ? (r->rate + lately) / 2 : lately;
        r->since_ms = now;
        r->since_done = done;
    }
    due = now - r->told_ms >= 250;
    if (due)
        r->told_ms = now;
    (void)pthread_mutex_unlock(&r->lock);
    if (due)
        tell(r);
}

void
job_latency(struct job *job, double ratio)
{
    struct running *r = (struct running *)job;

    (void)pthread_mutex_lock(&r->lock);
    r->latency = ratio;
    (void)pthread_mutex_unlock(&r->lock);
}

void
job_say(struct job *job, const char *format, ...)
{
    struct running *r = (struct running *)job;
    struct coffer_error text = {0};
    char line[480];
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    (void)error_set(&text, COFFER_E_MISUSE, "%s", line); /* control characters go */
    (void)pthread_mutex_lock(&r->lock);
    (void)json_array_append_new(r->messages,
                                json_pack("{s:o,s:s}", "at",
                                          json_time(job->deploy->os->now_us(job->deploy->os)),
                                          "text", text.message));
    if (json_array_size(r->messages) > MESSAGES_MAX)
        (void)json_array_remove(r->messages, 0);
    (void)pthread_mutex_unlock(&r->lock);
    deploy_log(job->deploy, "job %llu %s: %s", (unsigned long long)job->id, job->kind,
               text.message);
    tell(r);
}

bool
job_cancelled(const struct job *job)
{
    const struct running *r = (const struct running *)job;

    return atomic_load(&r->ask) != ASK_NOTHING && !r->undo;
}

bool
job_paused(const struct job *job)
{
    return atomic_load(&((const struct running *)job)->ask) == ASK_PAUSE;
}

bool
job_pace(struct job *job, double *rate, double *duty)
{
    struct running *r = (struct running *)job;
    bool given;

    (void)pthread_mutex_lock(&r->lock);
    given = r->paced;
    *rate = r->pace_rate;
    *duty = r->pace_duty;
    (void)pthread_mutex_unlock(&r->lock);
    return given;
}

/* ---- the thread ---- */

static size_t
step_index(const struct job_kind *kind, const char *name)
{
    for (size_t i = 0; kind->steps[i].name != NULL; i++)
        if (strcmp(kind->steps[i].name, name) == 0)
            return i;
    return 0;
}

static int
enter_step(struct running *r, const char *name, struct coffer_error *err)
{
    (void)snprintf(r->job.step, sizeof r->job.step, "%s", name);
    return job_remember(&r->job, err);
}

static int
run_steps(struct running *r, struct coffer_error *err)
{
    const struct job_step *steps = r->kind->steps;
    int rc = COFFER_OK;

    for (size_t i = step_index(r->kind, r->job.step); rc == COFFER_OK && steps[i].name != NULL;
         i++) {
        if (job_cancelled(&r->job))
            return error_set(err, COFFER_E_CANCELLED, "stopped before %s", steps[i].name);
        rc = enter_step(r, steps[i].name, err);
        if (rc == COFFER_OK) {
            tell(r);
            rc = steps[i].run(&r->job, err);
        }
    }
    return rc;
}

static int
run_undo(struct running *r, struct coffer_error *err)
{
    const struct job_step *steps = r->kind->steps;
    int rc = COFFER_OK;

    for (size_t i = step_index(r->kind, r->job.step) + 1; rc == COFFER_OK && i-- > 0;) {
        rc = enter_step(r, steps[i].name, err);
        if (rc == COFFER_OK && steps[i].undo != NULL)
            rc = steps[i].undo(&r->job, err);
    }
    return rc;
}

/* What the database is shown as, when a job of it did not come to its end. */
static void
database_of_failed(struct running *r, const char *message)
{
    struct database database;

    if (r->job.database[0] == '\0' ||
        database_get(r->job.deploy, r->job.database, &database, NULL) != COFFER_OK)
        return;
    if (strcmp(database.state, "creating") == 0 || strcmp(database.state, "destroying") == 0)
        (void)!database_put_state(r->job.deploy, r->job.database, "failed", message, NULL);
}

static const char *
finish(struct running *r, int rc, struct coffer_error *err)
{
    int ask = atomic_load(&r->ask);

    if (rc == COFFER_OK && !r->undo)
        return "done";
    if (rc == COFFER_OK)
        return "cancelled";
    if (rc == COFFER_E_CANCELLED && ask == ASK_END)
        return "running";
    if (rc == COFFER_E_CANCELLED && ask == ASK_PAUSE)
        return "paused";
    if (rc == COFFER_E_CANCELLED && ask == ASK_CANCEL) {
        r->undo = true;
        if (state_run(r->job.deploy, err, "UPDATE jobs SET undo = 1 WHERE id = ?", "i",
                      (int64_t)r->job.id) == COFFER_OK &&
            run_undo(r, err) == COFFER_OK)
            return "cancelled";
    }
    return "failed";
}

static void *
work(void *arg)
{
    struct running *r = arg;
    struct deploy *deploy = r->job.deploy;
    struct coffer_error err = {0};
    int rc = r->undo ? run_undo(r, &err) : run_steps(r, &err);
    const char *state = finish(r, rc, &err);
    bool failed = strcmp(state, "failed") == 0;

    if (failed)
        database_of_failed(r, err.message);
    if (put_end(r, state, failed ? err.message : "", NULL) != COFFER_OK)
        deploy_log(deploy, "job %llu: its end could not be written", (unsigned long long)r->job.id);
    if (failed)
        deploy_log(deploy, "job %llu %s failed in %s: %s", (unsigned long long)r->job.id,
                   r->job.kind, r->job.step, err.message);
    (void)pthread_mutex_lock(&deploy->jobs_lock);
    for (struct running **at = &deploy->jobs; *at != NULL; at = &(*at)->next) {
        if (*at == r) {
            *at = r->next;
            break;
        }
    }
    deploy->jobs_ending++; /* jobs_stop() waits for those that still tell */
    (void)pthread_mutex_unlock(&deploy->jobs_lock);
    tell(r);
    if (r->job.database[0] != '\0')
        database_tell(deploy, r->job.database);
    running_free(r);
    supervise_wake(deploy);
    (void)pthread_mutex_lock(&deploy->jobs_lock);
    deploy->jobs_ending--;
    (void)pthread_cond_broadcast(&deploy->jobs_changed);
    (void)pthread_mutex_unlock(&deploy->jobs_lock);
    return NULL;
}

/* ---- starting ---- */

static int
take_row(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    struct running *r = arg;

    r->kind = kind_find(state_text(row, 0));
    if (r->kind == NULL)
        return error_set(err, COFFER_E_UNSUPPORTED,
                         "job %llu is of a kind that this build does not know: %.40s",
                         (unsigned long long)r->job.id, state_text(row, 0));
    r->job.kind = r->kind->name;
    (void)snprintf(r->database, sizeof r->database, "%s", state_text(row, 1));
    (void)snprintf(r->who, sizeof r->who, "%s", state_text(row, 2));
    (void)snprintf(r->job.step, sizeof r->job.step, "%s", state_text(row, 3));
    r->undo = sqlite3_column_int(row, 4) != 0;
    r->job.request = json_loads(state_text(row, 5), JSON_DECODE_ANY, NULL);
    r->job.memory = json_loads(state_text(row, 6), JSON_DECODE_ANY, NULL);
    r->messages = json_loads(state_text(row, 7), 0, NULL);
    if (r->messages == NULL)
        r->messages = json_array();
    if (r->job.memory == NULL)
        r->job.memory = json_object();
    r->job.database = r->database;
    r->job.who = r->who;
    r->found = true;
    return r->messages == NULL || r->job.memory == NULL ? error_nomem(err) : COFFER_OK;
}

/* Start the thread of a job whose row is "running". */
static int
launch(struct deploy *deploy, uint64_t id, struct coffer_error *err)
{
    struct running *r = mem_alloc(sizeof *r);
    pthread_attr_t detached;
    pthread_t thread;
    int rc;

    if (r == NULL)
        return error_nomem(err);
    (void)pthread_mutex_init(&r->lock, NULL);
    r->job.deploy = deploy;
    r->job.id = id;
    rc = state_each(
        deploy, take_row, r, err,
        "SELECT kind, database, who, step, undo, request, memory, messages FROM jobs WHERE id = ?",
        "i", (int64_t)id);
    if (rc == COFFER_OK && !r->found)
        rc = error_set(err, COFFER_E_NOTFOUND, "there is no job %llu", (unsigned long long)id);
    if (rc != COFFER_OK) {
        running_free(r);
        return rc;
    }
    (void)pthread_attr_init(&detached);
    (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    (void)pthread_mutex_lock(&deploy->jobs_lock);
    r->next = deploy->jobs;
    deploy->jobs = r;
    if (pthread_create(&thread, &detached, work, r) != 0) {
        deploy->jobs = r->next;
        running_free(r);
        rc =
            error_set(err, COFFER_E_NOMEM,
                      "cannot start a thread for job %llu: it stays, and goes on at the next start",
                      (unsigned long long)id);
    }
    (void)pthread_mutex_unlock(&deploy->jobs_lock);
    (void)pthread_attr_destroy(&detached);
    return rc;
}

struct open_job {
    uint64_t id;
    char kind[32], state[16];
};

static int
take_open(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    struct open_job *open = arg;

    (void)err;
    open->id = (uint64_t)sqlite3_column_int64(row, 0);
    (void)snprintf(open->kind, sizeof open->kind, "%s", state_text(row, 1));
    (void)snprintf(open->state, sizeof open->state, "%s", state_text(row, 2));
    return COFFER_OK;
}

/* In a transaction. */
static int
check_alone(struct deploy *deploy, const char *database, uint64_t but, struct coffer_error *err)
{
    struct open_job open = {0};
    int rc;

    if (database[0] == '\0')
        return COFFER_OK;
    rc = state_each(deploy, take_open, &open, err,
                    "SELECT id, kind, state FROM jobs WHERE database = ? AND state IN ('running', "
                    "'paused') AND id <> ? LIMIT 1",
                    "si", database, (int64_t)but);
    if (rc == COFFER_OK && open.id != 0)
        rc = error_set(err, COFFER_E_CONFLICT,
                       "job %llu (%s, %s) of this database is open: wait for it, or cancel it",
                       (unsigned long long)open.id, open.kind, open.state);
    return rc;
}

static int
insert(struct deploy *deploy, const struct job_kind *kind, const char *database, const char *who,
       const char *request, struct coffer_error *err)
{
    struct database known = {0};
    int64_t now = deploy->os->now_us(deploy->os);

    if (database[0] != '\0' && database_get(deploy, database, &known, err) != COFFER_OK)
        return err != NULL ? err->status : COFFER_E_NOTFOUND;
    return state_run(deploy, err,
                     "INSERT INTO jobs(kind, database, name, who, state, step, request, memory, "
                     "created, updated)"
                     " VALUES(?, ?, ?, ?, 'running', ?, ?, '{}', ?, ?)",
                     "ssssssii", kind->name, database, known.name, who, kind->steps[0].name,
                     request, now, now);
}

int
job_begin(struct deploy *deploy, const struct job_kind *kind, const char *database,
          const struct deploy_caller *caller, const json_t *request, uint64_t *id,
          struct coffer_error *err)
{
    char *text = request == NULL ? NULL : text_of(request);
    struct coffer_error own = {0};
    int rc;

    *id = 0;
    if (err == NULL)
        err = &own;
    if (database == NULL)
        database = "";
    rc = state_begin(deploy, err);
    if (rc == COFFER_OK) {
        rc = check_alone(deploy, database, 0, err);
        if (rc == COFFER_OK)
            rc = insert(deploy, kind, database, caller->who, text != NULL ? text : "{}", err);
        if (rc == COFFER_OK)
            *id = (uint64_t)sqlite3_last_insert_rowid(deploy->db);
        rc = state_end(deploy, rc, err);
    }
    free(text);
    return rc == COFFER_OK ? launch(deploy, *id, err) : rc;
}

/* ---- for the whole ---- */

struct ids {
    uint64_t id[256];
    size_t count;
};

static int
take_id(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    struct ids *ids = arg;

    (void)err;
    if (ids->count < sizeof ids->id / sizeof *ids->id)
        ids->id[ids->count++] = (uint64_t)sqlite3_column_int64(row, 0);
    return COFFER_OK;
}

void
jobs_resume(struct deploy *deploy)
{
    struct coffer_error err = {0};
    struct ids ids = {.count = 0};

    if (state_each(deploy, take_id, &ids, &err,
                   "SELECT id FROM jobs WHERE state = 'running' ORDER BY id", "") != COFFER_OK)
        deploy_log(deploy, "jobs cannot be read: %s", err.message);
    for (size_t i = 0; i < ids.count; i++) {
        deploy_log(deploy, "job %llu goes on", (unsigned long long)ids.id[i]);
        if (launch(deploy, ids.id[i], &err) != COFFER_OK)
            deploy_log(deploy, "%s", err.message);
    }
}

void
jobs_stop(struct deploy *deploy)
{
    (void)pthread_mutex_lock(&deploy->jobs_lock);
    for (struct running *r = deploy->jobs; r != NULL; r = r->next)
        atomic_store(&r->ask, ASK_END);
    while (deploy->jobs != NULL || deploy->jobs_ending > 0)
        (void)pthread_cond_wait(&deploy->jobs_changed, &deploy->jobs_lock);
    (void)pthread_mutex_unlock(&deploy->jobs_lock);
}

/* Ask a job that runs; false if it does not. */
bool
job_ask(struct deploy *deploy, uint64_t id, enum job_ask ask, const struct job_pace_ask *pace)
{
    bool found = false;

    (void)pthread_mutex_lock(&deploy->jobs_lock);
    for (struct running *r = deploy->jobs; r != NULL && !found; r = r->next) {
        if (r->job.id != id)
            continue;
        found = true;
        if (pace != NULL) {
            (void)pthread_mutex_lock(&r->lock);
            r->paced = true;
            r->pace_rate = pace->rate;
            r->pace_duty = pace->duty;
            (void)pthread_mutex_unlock(&r->lock);
        } else {
            atomic_store(&r->ask, ask);
        }
    }
    (void)pthread_mutex_unlock(&deploy->jobs_lock);
    return found;
}

/* Bring a job that stands still to running again, or take it back. */
int
job_again(struct deploy *deploy, uint64_t id, bool undo, struct coffer_error *err)
{
    struct open_job open = {0};
    int64_t changed = 0;
    int rc = state_begin(deploy, err);

    if (rc != COFFER_OK)
        return rc;
    rc = state_each(deploy, take_open, &open, err,
                    "SELECT id, database, state FROM jobs WHERE id = ?", "i", (int64_t)id);
    if (rc == COFFER_OK && open.id == 0)
        rc = error_set(err, COFFER_E_NOTFOUND, "there is no job %llu", (unsigned long long)id);
    if (rc == COFFER_OK && strcmp(open.state, "paused") != 0 && strcmp(open.state, "failed") != 0)
        rc =
            error_set(err, COFFER_E_CONFLICT, "job %llu is %s", (unsigned long long)id, open.state);
    if (rc == COFFER_OK)
        rc = state_number(
            deploy, &changed, NULL, err,
            "SELECT count(*) FROM jobs a JOIN jobs b ON a.database = b.database AND a.id <> b.id"
            " WHERE b.id = ? AND b.database <> '' AND a.state IN ('running', 'paused')",
            "i", (int64_t)id);
    if (rc == COFFER_OK && changed > 0)
        rc = error_set(err, COFFER_E_CONFLICT,
                       "another job of this database is open: wait for it, or cancel it");
    if (rc == COFFER_OK)
        rc = state_run(deploy, err,
                       "UPDATE jobs SET state = 'running', error = '', undo = ? WHERE id = ?", "ii",
                       (int64_t)undo, (int64_t)id);
    rc = state_end(deploy, rc, err);
    return rc == COFFER_OK ? launch(deploy, id, err) : rc;
}
