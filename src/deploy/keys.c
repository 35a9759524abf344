/* SPDX-License-Identifier: Apache-2.0 */
/* key.list, .show, .approve, .destroy; audit.list. */
#include "deploy/internal.h"

#include "base/error.h"
#include "ledger/audit.h"
#include "ledger/guard.h"
#include "rotate/rotate.h"

#include <stdlib.h>
#include <string.h>

#define CUSTODIANS 2 /* who have to approve */
#define APPROVAL_US (INT64_C(7) * 86400 * 1000000)

/* ---- the object ---- */

static int
take_approval(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    json_t *list = arg;

    return json_array_append_new(list, json_pack("{s:s,s:o}", "who", state_text(row, 0), "at",
                                                 json_time(sqlite3_column_int64(row, 1)))) == 0
               ? COFFER_OK
               : error_nomem(err);
}

/* People know a volume by its database. */
static json_t *
database_names(struct deploy *deploy, const struct keyring *kr, const struct keyring_key *key)
{
    json_t *names = json_array();

    for (size_t i = 0; i < key->database_count; i++) {
        const struct keyring_database *known = keyring_database(kr, &key->databases[i]);
        struct database d;
        char folder[16] = "";
        const char *at = known == NULL ? NULL : strstr(known->name, "/databases/");

        if (at != NULL)
            (void)snprintf(folder, sizeof folder, "%.8s", at + strlen("/databases/"));
        if (folder[0] != '\0' && database_by_folder(deploy, folder, &d) == COFFER_OK) {
            (void)json_array_append_new(names, json_string(d.name));
            continue;
        }
        if (known != NULL)
            (void)json_array_append_new(names, json_string(known->name));
    }
    return names;
}

static json_t *
key_json(struct deploy *deploy, const struct keyring *kr, const struct keyring_key *key)
{
    json_t *states = json_object(), *approvals = json_array();
    char id[9];

    (void)snprintf(id, sizeof id, "%08x", (unsigned)key->id);
    for (int state = KEY_STAGED; state <= KEY_DESTROYED; state++)
        if (key->entered_us[state] != 0)
            (void)json_object_set_new(states, key_state_name((enum key_state)state),
                                      json_time(key->entered_us[state]));
    (void)!state_each(deploy, take_approval, approvals, NULL,
                      "SELECT who, at FROM approvals WHERE key_id = ? AND at > ? ORDER BY at", "ii",
                      (int64_t)key->id, deploy->os->now_us(deploy->os) - APPROVAL_US);
    return json_pack("{s:s,s:s,s:s,s:i,s:s,s:o,s:o,s:b,s:o,s:o}", "id", id, "purpose",
                     key_purpose_name(key->purpose), "line", key->line, "version",
                     (int)key->version, "state", key_state_name(key->state), "states", states,
                     "created", json_time(key->entered_us[0]), "compromised", (int)key->compromised,
                     "databases", database_names(deploy, kr, key), "approvals", approvals);
}

static int
add_holder(void *arg, const struct guard_holder *holder, struct coffer_error *err)
{
    json_t *list = arg;

    if (holder->waived)
        return COFFER_OK;
    return json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:o}", "kind", holder->kind, "name",
                                                 holder->name, "text", holder->text, "until",
                                                 json_time(holder->until_us))) == 0
               ? COFFER_OK
               : error_nomem(err);
}

/* Of a list: how many of each kind. */
static int
count_holder(void *arg, const struct guard_holder *holder, struct coffer_error *err)
{
    json_t *counts = arg;
    json_int_t n = json_integer_value(json_object_get(counts, holder->kind));

    (void)err;
    if (!holder->waived)
        (void)json_object_set_new(counts, holder->kind, json_integer(n + 1));
    return COFFER_OK;
}

/* ---- looking ---- */

static int
run_list(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
         json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {NULL};
    struct snapshot *snapshot = NULL;
    const struct keyring *kr;
    int rc = request_check(request, names, err);

    if (rc == COFFER_OK)
        rc = snapshot_take(deploy, &snapshot, err);
    if (rc != COFFER_OK)
        return rc;
    kr = snapshot_keyring(snapshot);
    *reply = json_array();
    for (size_t i = 0; rc == COFFER_OK && i < keyring_key_count(kr); i++) {
        const struct keyring_key *key = keyring_key_at(kr, i);
        json_t *one = key_json(deploy, kr, key), *counts = json_object();

        (void)json_object_set_new(one, "held_counts", counts);
        if (key->state != KEY_DESTROYED)
            rc = guard_why(kr, key->id, deploy->os->now_us(deploy->os), count_holder, counts, NULL,
                           err);
        (void)json_array_append_new(*reply, one);
    }
    snapshot_give(snapshot);
    return rc;
}

static int
take_key(const json_t *request, const char *const *names, uint32_t *id, struct coffer_error *err)
{
    const char *text;
    char *end;
    int rc = request_check(request, names, err);

    if (rc == COFFER_OK)
        rc = request_text(request, "id", true, &text, err);
    if (rc != COFFER_OK)
        return rc;
    *id = (uint32_t)strtoul(text, &end, 16);
    if (strlen(text) != 8 || *end != '\0' || *id == 0)
        return error_set(err, COFFER_E_FORMAT, "\"%.40s\" is no key: 8 hex digits", text);
    return COFFER_OK;
}

static int
give_key(struct deploy *deploy, uint32_t id, json_t **reply, struct coffer_error *err)
{
    struct snapshot *snapshot = NULL;
    const struct keyring_key *key;
    json_t *holders = json_array();
    int rc = snapshot_take(deploy, &snapshot, err);

    if (rc != COFFER_OK)
        return rc;
    key = keyring_key(snapshot_keyring(snapshot), id);
    if (key == NULL)
        rc = error_set(err, COFFER_E_NOTFOUND, "the keyring has no key %08x", (unsigned)id);
    if (rc == COFFER_OK)
        rc = guard_why(snapshot_keyring(snapshot), id, deploy->os->now_us(deploy->os), add_holder,
                       holders, NULL, err);
    if (rc == COFFER_OK) {
        *reply = key_json(deploy, snapshot_keyring(snapshot), key);
        (void)json_object_set(*reply, "held_by", holders);
    }
    json_decref(holders);
    snapshot_give(snapshot);
    return rc;
}

static const char *const only_id[] = {"id", NULL};

static int
run_show(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
         json_t **reply, struct coffer_error *err)
{
    uint32_t id;
    int rc = take_key(request, only_id, &id, err);

    return rc == COFFER_OK ? give_key(deploy, id, reply, err) : rc;
}

/* ---- two custodians ---- */

static int
check_key(struct deploy *deploy, uint32_t id, struct coffer_error *err)
{
    struct snapshot *snapshot = NULL;
    const struct keyring_key *key;
    int rc = snapshot_take(deploy, &snapshot, err);

    if (rc != COFFER_OK)
        return rc;
    key = keyring_key(snapshot_keyring(snapshot), id);
    if (key == NULL)
        rc = error_set(err, COFFER_E_NOTFOUND, "the keyring has no key %08x", (unsigned)id);
    else if (key->state == KEY_DESTROYED)
        rc = error_set(err, COFFER_E_CONFLICT, "key %08x is destroyed already", (unsigned)id);
    snapshot_give(snapshot);
    return rc;
}

static int
run_approve(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
            json_t **reply, struct coffer_error *err)
{
    char text[9];
    uint32_t id;
    int rc = take_key(request, only_id, &id, err);

    if (rc == COFFER_OK)
        rc = check_key(deploy, id, err);
    if (rc == COFFER_OK) /* an old one is renewed */
        rc = state_run(deploy, err,
                       "INSERT INTO approvals(key_id, who, at) VALUES(?1, ?2, ?3) ON "
                       "CONFLICT(key_id, who) DO UPDATE SET at = ?3",
                       "isi", (int64_t)id, caller->who, deploy->os->now_us(deploy->os));
    if (rc != COFFER_OK)
        return rc;
    (void)snprintf(text, sizeof text, "%08x", (unsigned)id);
    rc = deploy_audit(deploy, caller->who, "key.approve", json_pack("{s:s}", "key", text), err);
    if (rc == COFFER_OK)
        rc = give_key(deploy, id, reply, err);
    if (rc == COFFER_OK)
        deploy_event(deploy, "key", json_deep_copy(*reply));
    return rc;
}

static int
run_destroy(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
            json_t **reply, struct coffer_error *err)
{
    struct rotate_env env = {.store = deploy->store, .os = deploy->os, .who = caller->who};
    int64_t approvals = 0;
    uint32_t id;
    int rc = take_key(request, only_id, &id, err);

    if (rc == COFFER_OK)
        rc = check_key(deploy, id, err);
    if (rc == COFFER_OK)
        rc = state_number(deploy, &approvals, NULL, err,
                          "SELECT count(*) FROM approvals WHERE key_id = ? AND at > ?", "ii",
                          (int64_t)id, deploy->os->now_us(deploy->os) - APPROVAL_US);
    if (rc == COFFER_OK && approvals < CUSTODIANS)
        rc = error_set(err, COFFER_E_REFUSED,
                       "two different key custodians have to approve before key %08x is destroyed; "
                       "%s has within the last "
                       "seven days",
                       (unsigned)id, approvals == 0 ? "none" : "one");
    if (rc == COFFER_OK)
        rc = rotate_destroy(&env, id, NULL, 0, err);
    if (rc == COFFER_OK)
        rc = state_run(deploy, err, "DELETE FROM approvals WHERE key_id = ?", "i", (int64_t)id);
    if (rc == COFFER_OK)
        rc = give_key(deploy, id, reply, err);
    if (rc == COFFER_OK)
        deploy_event(deploy, "key", json_deep_copy(*reply));
    return rc;
}

/* ---- audit ---- */

struct listing {
    uint64_t after, before, limit;
    const char *event, *who;
    json_t *list;
};

static int
take_entry(void *arg, const struct audit_entry *entry, struct coffer_error *err)
{
    struct listing *l = arg;
    json_t *details;

    if (entry->seq <= l->after || (l->before != 0 && entry->seq >= l->before) ||
        (l->before == 0 && json_array_size(l->list) >= l->limit) || l->limit == 0 ||
        (l->event != NULL && strstr(entry->event, l->event) == NULL) ||
        (l->who != NULL && strstr(entry->who, l->who) == NULL))
        return COFFER_OK;
    if (json_array_size(l->list) >= l->limit) /* the newest are wanted: the oldest goes */
        (void)json_array_remove(l->list, 0);
    details = entry->details == NULL ? NULL : json_loads(entry->details, JSON_DECODE_ANY, NULL);
    return json_array_append_new(
               l->list, json_pack("{s:I,s:o,s:s,s:s,s:o}", "seq", (json_int_t)entry->seq, "at",
                                  json_time(entry->at_us), "who", entry->who, "event", entry->event,
                                  "details", details != NULL ? details : json_null())) == 0
               ? COFFER_OK
               : error_nomem(err);
}

/* Takes `list`. */
static json_t *
reversed(json_t *list)
{
    json_t *out = json_array();

    for (size_t i = json_array_size(list); i-- > 0;)
        (void)json_array_append(out, json_array_get(list, i));
    json_decref(list);
    return out;
}

int
audit_json(struct deploy *deploy, uint64_t after, uint64_t before, uint64_t limit,
           const char *event, const char *who, json_t **out, struct coffer_error *err)
{
    struct listing l = {after, before, limit, event, who, json_array()};
    struct coffer_error why = {0};
    struct snapshot *snapshot = NULL;
    uint64_t count = 0;
    struct buf log;
    int rc, checked = COFFER_OK;

    buf_init(&log, 256u << 20);
    rc = deploy->store->audit_read(deploy->store, &log, err);
    if (rc == COFFER_OK)
        rc = snapshot_take(
            deploy, &snapshot,
            err); /* after the log: its mark is not older than what was read by more than what follows */
    if (rc == COFFER_OK)
        checked = audit_verify(buf_view(&log), snapshot_keyring(snapshot), NULL, take_entry, &l,
                               &count, &why);
    snapshot_give(snapshot);
    buf_wipe(&log);
    if (before != 0)
        l.list = reversed(l.list);
    if (rc == COFFER_OK)
        *out = json_pack("{s:b,s:I,s:O,s:o}", "verified", checked == COFFER_OK, "count",
                         (json_int_t)count, "entries", l.list, "error",
                         checked == COFFER_OK ? json_null() : json_string(why.message));
    json_decref(l.list);
    return rc;
}

static int
run_audit(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
          json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"after", "before", "limit", "event", "who", NULL};
    const char *event, *who;
    uint64_t after, before, limit;
    int rc = request_check(request, names, err);

    if (rc == COFFER_OK)
        rc = request_count(request, "after", 0, INT64_MAX, &after, err);
    if (rc == COFFER_OK)
        rc = request_count(request, "before", 0, INT64_MAX, &before, err);
    if (rc == COFFER_OK)
        rc = request_count(request, "limit", 500, 10000, &limit, err);
    if (rc == COFFER_OK)
        rc = request_text(request, "event", false, &event, err);
    if (rc == COFFER_OK)
        rc = request_text(request, "who", false, &who, err);
    return rc == COFFER_OK ? audit_json(deploy, after, before, limit, event, who, reply, err)
                           : rc;
}

const struct deploy_action key_actions[] = {
    {"key.list", ROLE_VIEWER, run_list},          {"key.show", ROLE_VIEWER, run_show},
    {"key.approve", ROLE_CUSTODIAN, run_approve}, {"key.destroy", ROLE_CUSTODIAN, run_destroy},
    {"audit.list", ROLE_VIEWER, run_audit},       {NULL, ROLE_NONE, NULL},
};
