/* SPDX-License-Identifier: Apache-2.0 */
/* backup.policy, and who acts on it. */
#include "deploy/backup/retention.h"

#include "base/error.h"
#include "base/mem.h"
#include "deploy/backup/store.h"

#include <string.h>

#define HOUR_US (INT64_C(3600) * 1000000)
#define DAY_US (24 * HOUR_US)
#define DAYS_MAX 36500
#define EXPIRE_MAX 16 /* begun at one look */

struct policy {
    char database[37], schedule[16];
    uint64_t keep_days; /* 0: until somebody expires it */
    uint64_t keep_last; /* the newest so many stay, however old */
};

static int64_t
period_of(const char *schedule) /* 0: by hand */
{
    static const struct {
        const char *name;
        int64_t us;
    } known[] = {{"hourly", HOUR_US}, {"daily", DAY_US}, {"weekly", 7 * DAY_US}};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(schedule, known[i].name) == 0)
            return known[i].us;
    return 0;
}

static int
table(struct deploy *deploy, struct coffer_error *err)
{
    int rc = backup_table(deploy, err);

    return rc != COFFER_OK
               ? rc
               : state_run(deploy, err,
                           "CREATE TABLE IF NOT EXISTS backup_policies(database TEXT PRIMARY KEY, "
                           "keep_days INTEGER NOT NULL, keep_last INTEGER NOT NULL, schedule TEXT "
                           "NOT NULL) WITHOUT ROWID",
                           "");
}

/* ---- looking after ---- */

struct list {
    struct policy *policies;
    size_t count, room;
};

static void
take(sqlite3_stmt *row, struct policy *out)
{
    (void)snprintf(out->database, sizeof out->database, "%s", state_text(row, 0));
    out->keep_days = (uint64_t)sqlite3_column_int64(row, 1);
    out->keep_last = (uint64_t)sqlite3_column_int64(row, 2);
    (void)snprintf(out->schedule, sizeof out->schedule, "%s", state_text(row, 3));
}

static int
take_policy(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    struct list *list = arg;

    if (list->count == list->room) {
        size_t room = list->room == 0 ? 16 : 2 * list->room;
        struct policy *grown = mem_grow(list->policies, room * sizeof *grown);

        if (grown == NULL)
            return error_nomem(err);
        list->policies = grown;
        list->room = room;
    }
    take(row, &list->policies[list->count++]);
    return COFFER_OK;
}

struct due {
    char id[EXPIRE_MAX][37];
    size_t count;
};

static int
take_due(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    struct due *due = arg;

    (void)err;
    if (due->count < EXPIRE_MAX)
        (void)snprintf(due->id[due->count++], sizeof due->id[0], "%s", state_text(row, 0));
    return COFFER_OK;
}

static void
ask(struct deploy *deploy, const char *action, json_t *request)
{
    static const struct deploy_caller caller = {ROLE_OPERATOR, "cofferd"};
    struct coffer_error why = {0};
    json_t *reply = NULL;

    if (deploy_do(deploy, &caller, action, request, &reply, &why) != COFFER_OK)
        deploy_log(deploy, "%s by its policy: %s", action, why.message);
    json_decref(reply);
    json_decref(request);
}

static void
expire_due(struct deploy *deploy, const struct policy *p, int64_t now)
{
    struct due due = {.count = 0};

    if (p->keep_days == 0)
        return;
    if (state_each(deploy, take_due, &due, NULL,
                   "SELECT id FROM backups WHERE database = ?1 AND state = 'complete' AND ended < "
                   "?2 AND id NOT IN (SELECT id FROM backups WHERE database = ?1 AND state = "
                   "'complete' ORDER BY ended DESC LIMIT ?3) ORDER BY ended LIMIT 16",
                   "sii", p->database, now - (int64_t)p->keep_days * DAY_US,
                   (int64_t)p->keep_last) != COFFER_OK)
        return;
    for (size_t i = 0; i < due.count; i++)
        ask(deploy, "backup.expire", json_pack("{s:s}", "id", due.id[i]));
}

/* One that failed is tried again after an hour, not at every look. */
static void
make_due(struct deploy *deploy, const struct policy *p, int64_t now)
{
    int64_t period = period_of(p->schedule), good = 0, tried = 0;
    struct database d;

    if (period == 0 || database_get(deploy, p->database, &d, NULL) != COFFER_OK || d.job != 0 ||
        strcmp(d.state, "running") != 0)
        return;
    if (state_number(deploy, &good, NULL, NULL,
                     "SELECT coalesce(max(started), 0) FROM backups WHERE database = ? AND state "
                     "IN ('complete', 'expired')",
                     "s", d.id) != COFFER_OK ||
        state_number(deploy, &tried, NULL, NULL,
                     "SELECT coalesce(max(started), 0) FROM backups WHERE database = ?", "s",
                     d.id) != COFFER_OK)
        return;
    if (now - good >= period && now - tried >= HOUR_US)
        ask(deploy, "backup.create", json_pack("{s:s}", "database", d.id));
}

void
retention_look(struct deploy *deploy)
{
    struct list list = {0};
    int64_t now = deploy->os->now_us(deploy->os);

    if (table(deploy, NULL) == COFFER_OK)
        (void)!state_each(deploy, take_policy, &list, NULL,
                          "SELECT database, keep_days, keep_last, schedule FROM backup_policies",
                          "");
    for (size_t i = 0; i < list.count && !atomic_load(&deploy->closing); i++) {
        expire_due(deploy, &list.policies[i], now);
        make_due(deploy, &list.policies[i], now);
    }
    mem_free(list.policies);
}

/* ---- the action ---- */

static int
take_found(void *arg, sqlite3_stmt *row, struct coffer_error *err)
{
    (void)err;
    take(row, arg);
    return COFFER_OK;
}

static int
change(struct deploy *deploy, const struct deploy_caller *caller, const struct database *d,
       const json_t *request, struct policy *p, struct coffer_error *err)
{
    const char *schedule = NULL;
    int rc;

    if (caller->role < ROLE_OPERATOR)
        return error_set(err, COFFER_E_REFUSED,
                         "to change how long backups are kept needs the role operator");
    rc = request_count(request, "keep_days", p->keep_days, DAYS_MAX, &p->keep_days, err);
    if (rc == COFFER_OK)
        rc = request_count(request, "keep_last", p->keep_last, 100000, &p->keep_last, err);
    if (rc == COFFER_OK)
        rc = request_text(request, "schedule", false, &schedule, err);
    if (rc == COFFER_OK && schedule != NULL && schedule[0] != '\0' && period_of(schedule) == 0)
        rc = error_set(
            err, COFFER_E_FORMAT,
            "\"schedule\" is hourly, daily, weekly, or empty for backups by hand, not \"%.30s\"",
            schedule);
    if (rc != COFFER_OK)
        return rc;
    if (schedule != NULL)
        (void)snprintf(p->schedule, sizeof p->schedule, "%s", schedule);
    rc = deploy_audit(deploy, caller->who, "backup.policy",
                      json_pack("{s:s,s:I,s:I,s:s}", "database", d->name, "keep_days",
                                (json_int_t)p->keep_days, "keep_last", (json_int_t)p->keep_last,
                                "schedule", p->schedule),
                      err);
    return rc == COFFER_OK
               ? state_run(deploy, err,
                           "INSERT OR REPLACE INTO backup_policies(database, keep_days, "
                           "keep_last, schedule) VALUES(?, ?, ?, ?)",
                           "siis", d->id, (int64_t)p->keep_days, (int64_t)p->keep_last, p->schedule)
               : rc;
}

static int
run_policy(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request,
           json_t **reply, struct coffer_error *err)
{
    static const char *const names[] = {"name", "keep_days", "keep_last", "schedule", NULL};
    struct policy p = {.keep_days = 0};
    const char *name = NULL;
    struct database d;
    int rc = request_check(request, names, err);

    if (rc == COFFER_OK)
        rc = request_text(request, "name", true, &name, err);
    if (rc == COFFER_OK)
        rc = database_get(deploy, name, &d, err);
    if (rc == COFFER_OK)
        rc = table(deploy, err);
    if (rc == COFFER_OK)
        rc =
            state_each(deploy, take_found, &p, err,
                       "SELECT database, keep_days, keep_last, schedule FROM backup_policies WHERE "
                       "database = ?",
                       "s", d.id);
    if (rc == COFFER_OK && json_object_size(request) > 1) {
        rc = change(deploy, caller, &d, request, &p, err);
        if (rc == COFFER_OK && deploy->serve)
            retention_look(deploy);
    }
    if (rc == COFFER_OK)
        *reply = json_pack("{s:I,s:I,s:s}", "keep_days", (json_int_t)p.keep_days, "keep_last",
                           (json_int_t)p.keep_last, "schedule", p.schedule);
    return rc;
}

const struct deploy_action retention_actions[] = {
    {"backup.policy", ROLE_VIEWER, run_policy},
    {NULL, ROLE_NONE, NULL},
};
