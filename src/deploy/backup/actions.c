/* SPDX-License-Identifier: Apache-2.0 */
/* backup.list, .create, .restore, .verify, .expire: what is asked for, checked; jobs do the rest. */
#include "deploy/backup/archive.h"

#include "base/error.h"

#include <string.h>
#include <time.h>

static int
run_list(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
         json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"database", NULL};
    const char *database = NULL;
    int rc = request_check(request, names, err);

    (void)caller;
    if (rc == COFFER_OK)
        rc = request_text(request, "database", false, &database, err);
    return rc == COFFER_OK ? backup_list(deploy, database, reply, err) : rc;
}

static int
run_create(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
           json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"database", "kind", NULL};
    const char *database = NULL, *kind = NULL;
    const struct engine *engine;
    struct database d;
    uint64_t job = 0;
    int rc = request_check(request, names, err);

    if (rc == COFFER_OK)
        rc = request_text(request, "database", true, &database, err);
    if (rc == COFFER_OK)
        rc = request_text(request, "kind", false, &kind, err);
    if (rc == COFFER_OK && kind != NULL && strcmp(kind, "physical") != 0 &&
        strcmp(kind, "logical") != 0)
        rc = error_set(err, COFFER_E_FORMAT, "\"kind\" is physical or logical");
    if (rc == COFFER_OK)
        rc = database_get(deploy, database, &d, err);
    if (rc != COFFER_OK)
        return rc;
    engine = engine_find(d.engine);
    if (kind != NULL && strcmp(kind, "physical") == 0 && engine->backup == NULL)
        return error_set(err, COFFER_E_UNSUPPORTED,
                         "%s has no physical copies: ask for a logical one", engine->title);
    rc = job_begin(deploy, &job_backup, d.id, caller, request, &job, err);
    if (rc == COFFER_OK)
        *reply = json_job(job);
    return rc;
}

/* What is protected in the copy is so under the original's id, as it is now or was at the backup. */
static int
enter_copy(struct deploy *deploy, const struct backup *b, const char *id, struct coffer_error *err)
{
    struct snapshot *snapshot = NULL;
    struct database original;
    struct uuid known;
    char text[37];
    int rc = snapshot_take(deploy, &snapshot, err);

    if (rc != COFFER_OK)
        return rc;
    (void)snprintf(text, sizeof text, "%s", b->known);
    if (database_get(deploy, b->database, &original, NULL) == COFFER_OK &&
        database_known_as(snapshot_keyring(snapshot), &original, &known))
        uuid_format(&known, text);
    snapshot_give(snapshot);
    return state_run(deploy, err, "INSERT OR REPLACE INTO copies(database, known) VALUES(?, ?)",
                     "ss", id, text);
}

/* A database to fill, then the job that does. */
static int
begin_restore(struct deploy *deploy, const struct deploy_caller *caller,
              const struct job_kind *kind, const struct backup *b, const char *as, int64_t until_us,
              json_t **reply, struct coffer_error *err)
{
    json_t *create = json_pack("{s:s,s:s,s:s,s:i}", "name", as, "engine", b->engine, "stack",
                               b->stack, "version", (int)b->major);
    json_t *request = json_pack("{s:s,s:s}", "id", b->id, "as", as);
    uint64_t job = 0;
    char id[37];
    int rc;

    if (until_us != 0)
        (void)json_object_set_new(request, "until_us", json_integer((json_int_t)until_us));
    rc = database_enter(deploy, caller, create, id, err);
    if (rc == COFFER_OK)
        rc = enter_copy(deploy, b, id, err);
    if (rc == COFFER_OK) {
        database_tell(deploy, id);
        rc = job_begin(deploy, kind, id, caller, request, &job, err);
    }
    if (rc == COFFER_OK)
        *reply = json_job(job);
    json_decref(create);
    json_decref(request);
    return rc;
}

static int
find(struct deploy *deploy, const json_t *request, const char *const *names, bool complete,
     struct backup *b, struct coffer_error *err)
{
    const char *id = NULL;
    int rc = request_check(request, names, err);

    memset(b, 0, sizeof *b);
    if (rc == COFFER_OK)
        rc = request_text(request, "id", true, &id, err);
    if (rc == COFFER_OK)
        rc = backup_get(deploy, id, b, err);
    if (rc == COFFER_OK && complete && strcmp(b->state, "complete") != 0)
        rc = error_set(err, COFFER_E_CONFLICT, "backup %s is %s", b->id, b->state);
    return rc;
}

/* Within what the backup and the log after it reach. */
static int
read_until(struct deploy *deploy, const struct backup *b, const char *text, int64_t *out,
           struct coffer_error *err)
{
    int64_t last = archive_until(deploy, b->database);
    struct tm parts = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
    int64_t us = 0, unit = 100000;

    if (end != NULL && *end == '.')
        for (end++; *end >= '0' && *end <= '9'; end++, unit /= 10)
            us += (*end - '0') * unit;
    if (end == NULL || strcmp(end, "Z") != 0)
        return error_set(err, COFFER_E_FORMAT,
                         "\"until\" is a time in UTC, like 2026-11-24T05:11:00Z");
    *out = (int64_t)timegm(&parts) * 1000000 + us;
    if (strcmp(b->kind, "physical") != 0 || engine_find(b->engine)->recover == NULL)
        return error_set(
            err, COFFER_E_UNSUPPORTED,
            "a point in time needs a physical backup of an engine whose log is archived");
    if (*out < b->ended_us)
        return error_set(err, COFFER_E_NOTFOUND, "backup %.8s ended after %s: take an older one",
                         b->id, text);
    if (*out > last)
        return error_set(err, COFFER_E_NOTYET,
                         "the archived log does not reach %s yet: a segment is archived when it is "
                         "full, or after 5 minutes",
                         text);
    return COFFER_OK;
}

static int
run_restore(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
            json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"id", "as", "until", NULL};
    const char *as = NULL, *until = NULL;
    int64_t until_us = 0;
    struct backup b;
    int rc = find(deploy, request, names, true, &b, err);

    if (rc == COFFER_OK)
        rc = request_text(request, "as", true, &as, err);
    if (rc == COFFER_OK)
        rc = request_text(request, "until", false, &until, err);
    if (rc == COFFER_OK && until != NULL)
        rc = read_until(deploy, &b, until, &until_us, err);
    if (rc == COFFER_OK)
        rc = begin_restore(deploy, caller, &job_restore, &b, as, until_us, reply, err);
    backup_wipe(&b);
    return rc;
}

static const char *const only_id[] = {"id", NULL};

static int
run_verify(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
           json_t **reply, struct coffer_error *err)
{
    char as[32];
    struct backup b;
    int rc = find(deploy, request, only_id, true, &b, err);

    (void)snprintf(as, sizeof as, "verify-%.8s", b.id);
    if (rc == COFFER_OK)
        rc = begin_restore(deploy, caller, &job_verify, &b, as, 0, reply, err);
    backup_wipe(&b);
    return rc;
}

static int
run_expire(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
           json_t **reply, struct coffer_error *err)
{
    struct backup b;
    uint64_t job = 0;
    int rc = find(deploy, request, only_id, true, &b, err);

    if (rc == COFFER_OK)
        rc = job_begin(deploy, &job_expire, NULL, caller, request, &job, err);
    if (rc == COFFER_OK)
        *reply = json_job(job);
    backup_wipe(&b);
    return rc;
}

const struct deploy_action backup_actions[] = {
    {"backup.list", ROLE_VIEWER, run_list},         {"backup.create", ROLE_OPERATOR, run_create},
    {"backup.restore", ROLE_OPERATOR, run_restore}, {"backup.verify", ROLE_OPERATOR, run_verify},
    {"backup.expire", ROLE_OPERATOR, run_expire},   {NULL, ROLE_NONE, NULL},
};
