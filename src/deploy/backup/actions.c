/* SPDX-License-Identifier: Apache-2.0 */
/* backup.list, .create, .restore, .verify, .expire: what is asked for, checked; jobs do the rest. */
#include "deploy/backup/store.h"

#include "base/error.h"

#include <string.h>

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

/* A database to fill, then the job that does. */
static int
begin_restore(struct deploy *deploy, const struct deploy_caller *caller,
              const struct job_kind *kind, const struct backup *b, const char *as, json_t **reply,
              struct coffer_error *err)
{
    json_t *create = json_pack("{s:s,s:s,s:s,s:i}", "name", as, "engine", b->engine, "stack",
                               b->stack, "version", (int)b->major);
    json_t *request = json_pack("{s:s,s:s}", "id", b->id, "as", as);
    uint64_t job = 0;
    char id[37];
    int rc = database_enter(deploy, caller, create, id, err);

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

static int
run_restore(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
            json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"id", "as", NULL};
    const char *as = NULL;
    struct backup b;
    int rc = find(deploy, request, names, true, &b, err);

    if (rc == COFFER_OK)
        rc = request_text(request, "as", true, &as, err);
    if (rc == COFFER_OK)
        rc = begin_restore(deploy, caller, &job_restore, &b, as, reply, err);
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
        rc = begin_restore(deploy, caller, &job_verify, &b, as, reply, err);
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
