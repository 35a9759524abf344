/* SPDX-License-Identifier: Apache-2.0 */
/* report.compliance, and figures for /metrics.  What is said was looked at when it was asked for. */
#include "deploy/internal.h"

#include "base/error.h"

#include <string.h>
#include <sys/stat.h>

static int
columns_open(const json_t *columns)
{
    size_t i;
    json_t *column;
    int open = 0;

    json_array_foreach(columns, i, column) open +=
        strcmp(json_string_value(json_object_get(column, "phase")), "sealed") != 0;
    return open;
}

struct report {
    struct deploy *deploy;
    const struct keyring *keyring;
    json_t *databases;
    unsigned count, at_rest, in_transit;
};

/* At rest: the volume has an active key, and what is mounted is that lower folder's. */
static int
add(void *arg, const struct database *d, struct coffer_error *err)
{
    struct report *r = arg;
    struct database_place place;
    json_t *object, *columns, *doctor = NULL, *checks;
    bool mounted = false, encrypted, tls;
    struct stat st;
    char certificate[DEPLOY_PATH_MAX + 64];
    int rc = database_json(r->deploy, d, ROLE_VIEWER, &object, err);

    if (rc != COFFER_OK)
        return rc;
    if (database_place(r->deploy, d->id, 0, &place, NULL) == COFFER_OK) {
        mounted = run_mounted(&place);
        (void)snprintf(certificate, sizeof certificate, "%.500s/tls/server.pem", place.mount);
        database_place_wipe(&place);
    } else {
        certificate[0] = '\0';
    }
    encrypted = !json_is_null(json_object_get(object, "key_id")) &&
                (mounted || strcmp(d->wanted, "stopped") == 0);
    /* Without a port nothing is in transit but on the machine's own Unix socket. */
    tls = d->port == 0 || d->listen[0] == '\0' || (mounted && stat(certificate, &st) == 0);
    columns = database_columns_json(r->keyring, d);
    if (doctor_last(r->deploy, d->id, &doctor, NULL) != COFFER_OK)
        doctor = NULL;
    checks = json_object_get(doctor, "checks");
    r->count++;
    r->at_rest += encrypted;
    r->in_transit += tls;
    (void)json_array_append_new(
        r->databases,
        json_pack("{s:s,s:s,s:s,s:{s:O,s:O,s:o,s:s,s:s},s:{s:b,s:s,s:s},s:i,s:o,s:{s:O,s:O},s:o,s:O}",
                  "name", d->name, "engine", d->engine, "state", d->state, "at_rest", "cipher",
                  json_object_get(object, "cipher"), "key_id", json_object_get(object, "key_id"),
                  "checked", json_time(r->deploy->os->now_us(r->deploy->os)), "result",
                  encrypted ? "ok" : "fail", "text",
                  mounted ? "its data folder, log and temporary files are on an encrypted volume "
                            "that is mounted"
                  : encrypted ? "it is stopped: only ciphertext is there"
                              : "its volume is not mounted, although it should run",
                  "in_transit", "tls", tls && d->port != 0 && d->listen[0] != '\0', "result",
                  tls ? "ok" : "fail", "text",
                  d->port == 0 || d->listen[0] == '\0'
                      ? "it is reached by files or a Unix socket of this machine alone"
                      : "its port has a certificate of this folder's authority",
                  "columns_open", columns_open(columns), "columns", columns, "backups", "count",
                  json_object_get(object, "backups"), "last",
                  json_object_get(object, "last_backup"), "checks",
                  checks != NULL ? json_incref(checks) : json_array(), "checked",
                  json_object_get(doctor, "at") != NULL ? json_object_get(doctor, "at")
                                                        : json_null()));
    json_decref(doctor);
    json_decref(object);
    return COFFER_OK;
}

static json_t *
keys_json(const struct keyring *kr)
{
    json_t *counts = json_object();

    for (size_t i = 0; i < keyring_key_count(kr); i++) {
        const char *state = key_state_name(keyring_key_at(kr, i)->state);

        (void)json_object_set_new(
            counts, state, json_integer(json_integer_value(json_object_get(counts, state)) + 1));
    }
    return counts;
}

static json_t *
rule(const char *number, const char *title, bool ok, const char *const *evidence)
{
    json_t *list = json_array();

    for (size_t i = 0; evidence[i] != NULL; i++)
        (void)json_array_append_new(list, json_string(evidence[i]));
    return json_pack("{s:s,s:s,s:s,s:o}", "rule", number, "title", title, "result",
                     ok ? "ok" : "fail", "evidence", list);
}

static int
run_report(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
           json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {NULL};
    char rest[160], transit[160], log[160];
    struct report r = {.deploy = deploy, .databases = json_array()};
    struct snapshot *snapshot = NULL;
    json_t *audit = NULL;
    bool verified;
    int rc = request_check(request, names, err);

    if (rc == COFFER_OK)
        rc = snapshot_take(deploy, &snapshot, err);
    if (rc != COFFER_OK) {
        json_decref(r.databases);
        return rc;
    }
    r.keyring = snapshot_keyring(snapshot);
    rc = database_each(deploy, NULL, -1, add, &r, err);
    if (rc == COFFER_OK)
        rc = audit_json(deploy, 0, 0, 0, NULL, NULL, &audit, err);
    verified = json_is_true(json_object_get(audit, "verified"));
    (void)snprintf(rest, sizeof rest,
                   "%u of %u databases are on an encrypted volume with an active key of its own",
                   r.at_rest, r.count);
    (void)snprintf(transit, sizeof transit,
                   "%u of %u databases are reached by TLS or do not leave this machine",
                   r.in_transit, r.count);
    (void)snprintf(log, sizeof log, "the audit log of %lld entries was %s",
                   (long long)json_integer_value(json_object_get(audit, "count")),
                   verified
                       ? "verified entry by entry: hashes, signatures and the keyring's mark hold"
                       : "not whole");
    if (rc == COFFER_OK)
        *reply = json_pack(
            "{s:o,s:s,s:O,s:o,s:{s:b,s:O},s:[o,o,o]}", "at",
            json_time(deploy->os->now_us(deploy->os)), "by", caller->who, "databases", r.databases,
            "keys", keys_json(r.keyring), "audit", "verified", (int)verified, "count",
            json_object_get(audit, "count"), "mapping",
            rule("164.312(a)(2)(iv)", "Encryption and decryption", r.at_rest == r.count,
                 (const char *const[]){rest, NULL}),
            rule("164.312(e)(2)(ii)", "Encryption in transit", r.in_transit == r.count,
                 (const char *const[]){transit, NULL}),
            rule("164.312(b)", "Audit controls", verified, (const char *const[]){log, NULL}));
    json_decref(r.databases);
    json_decref(audit);
    snapshot_give(snapshot);
    return rc == COFFER_OK && *reply == NULL ? error_nomem(err) : rc;
}

/* ---- metrics ---- */

struct sampling {
    deploy_metric_fn fn;
    void *arg;
};

static int
sample_database(void *arg, const struct database *d, struct coffer_error *err)
{
    const struct sampling *s = arg;
    char labels[256];

    (void)err;
    (void)snprintf(labels, sizeof labels, "database=\"%s\",engine=\"%s\",stack=\"%s\"", d->name,
                   d->engine, d->stack);
    s->fn(s->arg, "coffer_database_up", labels, strcmp(d->state, "running") == 0);
    s->fn(s->arg, "coffer_database_size_bytes", labels, (double)d->size);
    if (d->limit > 0)
        s->fn(s->arg, "coffer_database_limit_bytes", labels, (double)d->limit);
    return COFFER_OK;
}

static int
sample_jobs(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    const struct sampling *s = arg;
    char labels[160];

    (void)err;
    (void)snprintf(labels, sizeof labels, "kind=\"%s\",state=\"%s\"", state_text(row, 0),
                   state_text(row, 1));
    s->fn(s->arg, "coffer_jobs", labels, (double)sqlite3_column_int64(row, 2));
    return COFFER_OK;
}

void
deploy_metrics(struct deploy *deploy, deploy_metric_fn fn, void *arg)
{
    struct sampling sampling = {fn, arg};
    struct snapshot *snapshot = NULL;
    size_t states[KEY_DESTROYED + 1] = {0};

    (void)!database_each(deploy, NULL, -1, sample_database, &sampling, NULL);
    (void)!state_each(deploy, sample_jobs, &sampling, NULL,
                      "SELECT kind, state, count(*) FROM jobs GROUP BY kind, state", "");
    if (snapshot_take(deploy, &snapshot, NULL) != COFFER_OK)
        return;
    for (size_t i = 0; i < keyring_key_count(snapshot_keyring(snapshot)); i++)
        states[keyring_key_at(snapshot_keyring(snapshot), i)->state]++;
    for (int state = KEY_STAGED; state <= KEY_DESTROYED; state++) {
        char labels[64];

        (void)snprintf(labels, sizeof labels, "state=\"%s\"",
                       key_state_name((enum key_state)state));
        fn(arg, "coffer_keys", labels, (double)states[state]);
    }
    fn(arg, "coffer_keyring_epoch", NULL, (double)keyring_epoch(snapshot_keyring(snapshot)));
    snapshot_give(snapshot);
}

const struct deploy_action report_actions[] = {
    {"report.compliance", ROLE_VIEWER, run_report},
    {NULL, ROLE_NONE, NULL},
};
