/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of a Redis that runs: no more writes, its settings, its keys. */
#include "deploy/engines/internal.h"
#include "deploy/engines/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUSY_TRIES 40 /* of a quarter of a second */

/* The server runs one command at a time, and asks for rights before each, those of a transaction and of a script too: once the answer is here,
 * nothing that writes is under way or will be. */
int
redis_read_only(const struct engine_place *place, bool on, struct coffer_error *err)
{
    char command[256];
    struct buf out;
    int rc = on ? place_write(place, REDIS_READ_ONLY, bytes_of(NULL, 0), err)
                : place_remove(place, REDIS_READ_ONLY, err),
        i;

    snprintf(command, sizeof command, "ACL SETUSER %s " REDIS_RULES "%s\n", place->user,
             on ? " -@write" : "");
    buf_init(&out, OUTPUT_MAX);
    for (i = 0; rc == COFFER_OK && i < BUSY_TRIES; i++) {
        buf_clear(&out);
        rc = redis_ask(place, command, &out, err);
        if (rc != COFFER_E_NOTYET || i == BUSY_TRIES - 1)
            break;
        place->os->sleep_ms(place->os, 250); /* a script runs */
        rc = COFFER_OK;
    }
    buf_wipe(&out);
    return rc;
}

/* "db0:keys=5,expires=0,avg_ttl=0" a line. */
static int
count_keys(const char *answer, json_t *tables, struct coffer_error *err)
{
    const char *line = answer;
    unsigned number;
    unsigned long long keys;
    char name[32];

    while (line != NULL && *line != '\0') {
        if (sscanf(line, "db%u:keys=%llu", &number, &keys) == 2) {
            snprintf(name, sizeof name, "db%u", number);
            if (json_object_set_new(tables, name, json_integer((json_int_t)keys)) != 0)
                return error_nomem(err);
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return COFFER_OK;
}

int
redis_census(const struct engine_place *place, json_t **out, struct coffer_error *err)
{
    json_t *tables = json_object();
    struct buf answer;
    int rc;

    *out = NULL;
    buf_init(&answer, OUTPUT_MAX);
    rc = tables == NULL ? error_nomem(err) : redis_ask(place, "INFO keyspace\n", &answer, err);
    if (rc == COFFER_OK)
        rc = count_keys(buf_cstr(&answer), tables, err);
    if (rc == COFFER_OK && (*out = json_pack("{s:O}", "tables", tables)) == NULL)
        rc = error_nomem(err);
    json_decref(tables);
    buf_wipe(&answer);
    return rc;
}

/* ---- doctor ---- */

static const struct {
    const char *name;
    char between; /* name and value: CONFIG GET writes two lines, INFO one */
    const char *wanted, *state, *advice;
} settings[] = {
    {"appendonly", '\n', "yes", "fail",
     "a crash loses what was written since the last snapshot; CONFIG SET it back"},
    {"appendfsync", '\n', "always", "warn",
     "a crash loses the last writes that clients were told of; CONFIG SET it back"},
    {"no-appendfsync-on-rewrite", '\n', "no", "warn",
     "a crash during a rewrite loses writes; CONFIG SET it back"},
    {"stop-writes-on-bgsave-error", '\n', "yes", "warn",
     "a full disk goes unnoticed; CONFIG SET it back"},
    {"port", '\n', "0", "fail",
     "passwords and data cross the network in clear; CONFIG SET it back"},
    {"maxmemory-policy", '\n', "noeviction", "warn", "keys are dropped when memory runs short"},
    {"aof_last_write_status", ':', "ok", "fail",
     "the last write to the log of commands failed: see the log"},
    {"aof_last_bgrewrite_status", ':', "ok", "warn",
     "the log of commands could not be shortened: see the log"},
    {"rdb_last_bgsave_status", ':', "ok", "warn", "the last snapshot failed: see the log"},
};

int
redis_doctor(const struct engine_place *place, engine_check_fn fn, void *arg,
             struct coffer_error *err)
{
    char seen[64];
    struct buf out;
    size_t i;
    int rc;

    buf_init(&out, OUTPUT_MAX);
    rc = redis_ask(place, "CONFIG GET *\nINFO persistence\n", &out, err);
    for (i = 0; rc == COFFER_OK && i < sizeof settings / sizeof *settings; i++) {
        line_value(buf_cstr(&out), settings[i].name, settings[i].between, seen, sizeof seen);
        rc = check_setting(settings[i].name, seen, settings[i].wanted, settings[i].state,
                           settings[i].advice, fn, arg, err);
    }
    buf_wipe(&out);
    return rc;
}
