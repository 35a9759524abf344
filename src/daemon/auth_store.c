/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/auth_store.h"
#include "base/mem.h"
#include "ledger/audit.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TABLE                                                                                                          \
    "create table if not exists daemon_credentials(hash blob primary key, kind integer not null, who text not null, "  \
    "role integer not null, made integer not null, seen integer not null, expires integer not null) without rowid"

struct work {
    const char *sql;
    const struct credential *one; /* ?1 hash ?2 kind ?3 who ?4 role ?5 made ?6 seen ?7 expires, as far as the statement goes */
    struct credential *all;
    size_t count, max;
};

static int
failed(sqlite3 *db, struct coffer_error *err)
{
    return error_set(err, COFFER_E_DB, "state.db, table daemon_credentials: %s", sqlite3_errmsg(db));
}

static void
bind_one(sqlite3_stmt *statement, const struct credential *c)
{
    int count = sqlite3_bind_parameter_count(statement);

    if (count >= 1)
        (void)sqlite3_bind_blob(statement, 1, c->hash, 32, SQLITE_STATIC);
    if (count == 2)
        (void)sqlite3_bind_int64(statement, 2, c->seen_us);
    if (count < 7)
        return;
    (void)sqlite3_bind_int(statement, 2, c->kind);
    (void)sqlite3_bind_text(statement, 3, c->who, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int(statement, 4, (int)c->role);
    (void)sqlite3_bind_int64(statement, 5, c->made_us);
    (void)sqlite3_bind_int64(statement, 6, c->seen_us);
    (void)sqlite3_bind_int64(statement, 7, c->expires_us);
}

static int
run_one(void *arg, sqlite3 *db, struct coffer_error *err)
{
    struct work *work = arg;
    sqlite3_stmt *statement = NULL;
    int rc = COFFER_OK;

    if (sqlite3_prepare_v2(db, work->sql, -1, &statement, NULL) != SQLITE_OK)
        return failed(db, err);
    bind_one(statement, work->one);
    if (sqlite3_step(statement) != SQLITE_DONE)
        rc = failed(db, err);
    (void)sqlite3_finalize(statement);
    return rc;
}

static int
add_row(struct work *work, sqlite3_stmt *s, struct coffer_error *err)
{
    struct credential *grown = mem_grow(work->all, (work->count + 1) * sizeof *grown);
    const char *who = (const char *)sqlite3_column_text(s, 2);
    struct credential *c;

    if (grown == NULL)
        return error_nomem(err);
    work->all = grown;
    c = &grown[work->count];
    *c = (struct credential){.kind = sqlite3_column_int(s, 1), .made_us = sqlite3_column_int64(s, 4),
                             .seen_us = sqlite3_column_int64(s, 5), .expires_us = sqlite3_column_int64(s, 6),
                             .noted_us = sqlite3_column_int64(s, 5)};
    if (sqlite3_column_bytes(s, 0) != 32 || who == NULL || sqlite3_column_int(s, 3) < ROLE_VIEWER ||
        sqlite3_column_int(s, 3) > ROLE_CUSTODIAN)
        return COFFER_OK; /* not ours: signs nobody in */
    c->role = (enum deploy_role)sqlite3_column_int(s, 3);
    memcpy(c->hash, sqlite3_column_blob(s, 0), 32);
    hex_encode(bytes_of(c->hash, 4), c->id);
    (void)snprintf(c->who, sizeof c->who, "%s", who);
    work->count++;
    return COFFER_OK;
}

static int
load_all(void *arg, sqlite3 *db, struct coffer_error *err)
{
    struct work *work = arg;
    sqlite3_stmt *s = NULL;
    int rc = COFFER_OK, step;

    if (sqlite3_exec(db, TABLE, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "select hash, kind, who, role, made, seen, expires from daemon_credentials", -1, &s, NULL) !=
            SQLITE_OK)
        return failed(db, err);
    while ((step = sqlite3_step(s)) == SQLITE_ROW && rc == COFFER_OK && work->count < work->max)
        rc = add_row(work, s, err);
    if (rc == COFFER_OK && step != SQLITE_DONE && step != SQLITE_ROW)
        rc = failed(db, err);
    (void)sqlite3_finalize(s);
    return rc;
}

int
credentials_load(struct deploy *deploy, size_t max, struct credential **out, size_t *count, struct coffer_error *err)
{
    struct work work = {.max = max};
    int rc = deploy_state(deploy, load_all, &work, err);

    *out = work.all;
    *count = work.count;
    return rc;
}

int
credential_add(struct deploy *deploy, const struct credential *credential, struct coffer_error *err)
{
    struct work work = {.sql = "insert into daemon_credentials values(?1, ?2, ?3, ?4, ?5, ?6, ?7)", .one = credential};

    return deploy_state(deploy, run_one, &work, err);
}

int
credential_remove(struct deploy *deploy, const uint8_t hash[32], struct coffer_error *err)
{
    struct credential c = {0};
    struct work work = {.sql = "delete from daemon_credentials where hash = ?1", .one = &c};

    memcpy(c.hash, hash, 32);
    return deploy_state(deploy, run_one, &work, err);
}

int
credential_seen(struct deploy *deploy, const struct credential *credential, struct coffer_error *err)
{
    struct work work = {.sql = "update daemon_credentials set seen = ?2 where hash = ?1", .one = credential};

    return deploy_state(deploy, run_one, &work, err);
}

int
credential_audit(struct deploy *deploy, const struct os *os, const char *who, const char *event, json_t *details,
                 struct coffer_error *err)
{
    char *text = details == NULL ? NULL : json_dumps(details, JSON_COMPACT);
    int rc = audit_change(deploy_keyring(deploy), os, who, event, text, NULL, NULL, NULL, err);

    free(text);
    json_decref(details);
    return rc;
}

void
credential_time(int64_t us, char out[32])
{
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;

    if (gmtime_r(&seconds, &tm) == NULL || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        out[0] = '\0';
}
