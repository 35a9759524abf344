/* SPDX-License-Identifier: Apache-2.0 */
/* Everything that can be asked for, and every kind of job. */
#include "deploy/backup/retention.h"
#include "deploy/backup/store.h"

#include "base/error.h"

#include <string.h>

const struct deploy_action *const deploy_actions[] = {
    job_actions, stack_actions, create_actions, database_actions, change_actions, rotate_actions, key_actions,
    doctor_actions, protect_actions, report_actions,
    backup_actions, retention_actions, NULL,
};

const struct job_kind *const job_kinds[] = {
    &job_create, &job_start, &job_stop, &job_resize, &job_destroy, &job_rotate, &job_rotate_copy, &job_rotate_replicate,
    &job_doctor, &job_protect, &job_rotate_field,
    &job_backup, &job_restore, &job_verify, &job_expire, NULL,
};

static const struct deploy_action *
find(const char *name)
{
    for (size_t t = 0; deploy_actions[t] != NULL; t++)
        for (const struct deploy_action *a = deploy_actions[t]; a->name != NULL; a++)
            if (strcmp(a->name, name) == 0)
                return a;
    return NULL;
}

static const char *
role_name(enum deploy_role role)
{
    static const char *const names[] = {"nobody", "viewer", "operator", "key custodian"};

    return names[role];
}

int
deploy_do(struct deploy *deploy, const struct deploy_caller *caller, const char *action,
          const json_t *request, json_t **reply, struct coffer_error *err)
{
    const struct deploy_action *found = find(action);
    struct coffer_error own = {0};
    json_t *empty = NULL;
    int rc;

    *reply = NULL;
    if (err == NULL)
        err = &own;
    if (found == NULL)
        return error_set(err, COFFER_E_NOTFOUND, "there is no action %.60s", action);
    if (caller->role < found->role)
        return error_set(err, COFFER_E_REFUSED, "%s needs the role %s; %s is %s", action,
                         role_name(found->role), caller->who, role_name(caller->role));
    if (request == NULL)
        request = empty = json_object();
    rc = found->run(deploy, caller, request, reply, err);
    json_decref(empty);
    if (rc != COFFER_OK) {
        json_decref(*reply);
        *reply = NULL;
    }
    return rc;
}
