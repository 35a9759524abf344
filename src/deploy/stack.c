/* SPDX-License-Identifier: Apache-2.0 */
/* Stacks: where databases are deployed.  Version 1 is legacy: AES-192. */
#include "deploy/generation.h"

#include "base/error.h"

#include <string.h>

static json_t *
row_json(sqlite3_stmt *row)
{
    bool legacy = sqlite3_column_int(row, 1) == 1;

    return json_pack("{s:s,s:s,s:s,s:I,s:o}", "name", state_text(row, 0), "version",
                     legacy ? "v1" : "v2", "cipher", legacy ? "aes-192" : "aes-256", "databases",
                     (json_int_t)sqlite3_column_int64(row, 3), "created",
                     json_time(sqlite3_column_int64(row, 2)));
}

static int
take_stack(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    return json_array_append_new(arg, row_json(row)) == 0 ? COFFER_OK : error_nomem(err);
}

#define SELECT                                                                                     \
    "SELECT s.name, s.version, s.created, (SELECT count(*) FROM databases d WHERE d.stack = "      \
    "s.name) FROM stacks s "

static int
run_list(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
         json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {NULL};
    int rc = request_check(request, names, err);

    if (rc != COFFER_OK)
        return rc;
    *reply = json_array();
    return *reply == NULL
               ? error_nomem(err)
               : state_each(deploy, take_stack, *reply, err, SELECT "ORDER BY s.name", "");
}

static int
run_create(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
           json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"name", "version", NULL};
    const char *name, *version;
    json_t *list = NULL;
    bool legacy;
    int rc = request_check(request, names, err);

    if (rc == COFFER_OK)
        rc = request_text(request, "name", true, &name, err);
    if (rc == COFFER_OK)
        rc = name_check("stack", name, err);
    if (rc == COFFER_OK)
        rc = request_text(request, "version", false, &version, err);
    if (rc != COFFER_OK)
        return rc;
    if (version != NULL && strcmp(version, "v1") != 0 && strcmp(version, "v2") != 0)
        return error_set(err, COFFER_E_FORMAT,
                         "a stack is v2, or v1 for what must stay on AES-192");
    legacy = version != NULL && strcmp(version, "v1") == 0;
    rc = state_run(deploy, err, "INSERT INTO stacks(name, version, created) VALUES(?, ?, ?)", "sii",
                   name, (int64_t)(legacy ? 1 : 2), deploy->os->now_us(deploy->os));
    if (rc == COFFER_E_EXISTS)
        return error_set(err, rc, "there is a stack %s already", name);
    if (rc == COFFER_OK)
        rc = deploy_audit(deploy, caller->who, "stack.create",
                          json_pack("{s:s,s:s}", "stack", name, "version", legacy ? "v1" : "v2"),
                          err);
    list = json_array();
    if (rc == COFFER_OK)
        rc = state_each(deploy, take_stack, list, err, SELECT "WHERE s.name = ?", "s", name);
    if (rc == COFFER_OK)
        *reply = json_incref(json_array_get(list, 0));
    json_decref(list);
    return rc;
}

int
stack_key_bits(struct deploy *deploy, const char *name, unsigned *bits, struct coffer_error *err)
{
    int64_t version = 0;
    bool found = false;
    int rc = state_number(deploy, &version, &found, err,
                          "SELECT version FROM stacks WHERE name = ?", "s", name);

    if (rc == COFFER_OK && !found)
        rc = error_set(err, COFFER_E_NOTFOUND, "there is no stack %.60s", name);
    *bits = version == 1 ? 192 : 256;
    return rc;
}

const struct deploy_action stack_actions[] = {
    {"stack.list", ROLE_VIEWER, run_list},
    {"stack.create", ROLE_OPERATOR, run_create},
    {NULL, ROLE_NONE, NULL},
};
