/* SPDX-License-Identifier: Apache-2.0 */
/* Gates: waiting until every client has shown that it holds a keyring.
 *
 * A client that is silent for 90 s is not waited for: its lease ran out after 60, so it can seal
 * nothing.  Declared clients (replica-only, batch, offline) are waited for until they have shown
 * the epoch or are waived by name.
 */
#include "base/mem.h"
#include "rotate/machine.h"

#include <string.h>

struct gate {
    struct session *s;
    uint64_t epoch;
    int64_t now_us;
    struct buf names;
    size_t waiting, live;
    bool *shown; /* of each declared client */
};

static int
look_at_beat(void *arg, const struct heartbeat *beat, struct coffer_error *err)
{
    struct gate *gate = arg;
    bool live = !beat->leaving && gate->now_us - beat->at_us < (int64_t)HEARTBEAT_LIVE_MS * 1000;
    size_t i;

    for (i = 0; i < keyring_client_count(gate->s->keyring); i++) {
        if (strcmp(keyring_client_at(gate->s->keyring, i)->name, beat->role) == 0 &&
            beat->epoch >= gate->epoch)
            gate->shown[i] = true;
    }
    if (!live)
        return COFFER_OK;
    gate->live++;
    if (beat->epoch < gate->epoch) {
        buf_format(&gate->names, "%s%s (at %llu)", gate->waiting++ ? ", " : "", beat->client, (unsigned long long)beat->epoch);
    }
    return COFFER_OK;
}

int
gate_check(struct session *s, const struct rotation *rotation, uint64_t epoch, size_t *live,
           struct coffer_error *err)
{
    struct gate gate = {.s = s, .epoch = epoch, .now_us = s->env->os->now_us(s->env->os)};
    size_t declared = keyring_client_count(s->keyring), i;
    int rc;

    buf_init(&gate.names, 4096);
    gate.shown = mem_array(declared + 1, sizeof *gate.shown);
    if (gate.shown == NULL)
        return error_nomem(err);
    rc = heartbeat_list(&s->database->journal, look_at_beat, &gate, err);
    for (i = 0; rc == COFFER_OK && i < declared; i++) {
        const struct keyring_client *client = keyring_client_at(s->keyring, i);

        if (!gate.shown[i] && client->waived_epoch < epoch &&
            (rotation == NULL || client->waived_epoch <= rotation->begin_epoch))
            buf_format(&gate.names, "%s%s (declared; waive it with: coffer client waive %s)",
                       gate.waiting++ ? ", " : "", client->name, client->name);
    }
    if (live != NULL)
        *live = gate.live + declared;
    if (rc == COFFER_OK && gate.waiting > 0)
        rc = error_set(err, COFFER_E_NOTYET,
                       "%zu client%s must show keyring epoch %llu first: %.300s", gate.waiting,
                       gate.waiting == 1 ? "" : "s", (unsigned long long)epoch,
                       buf_cstr(&gate.names));
    mem_free(gate.shown);
    buf_wipe(&gate.names);
    return rc;
}

int
rotation_check(struct session *s, struct rotation *rotation, struct coffer_error *err)
{
    bool said = false;
    int rc;

    for (;;) {
        struct rotation now;

        if (stopped(s->env))
            return error_set(err, COFFER_E_CANCELLED,
                             "stopped; run the same command again to go on");
        rc = rotation_load(&s->database->journal, rotation->id, &now, err);
        if (rc != COFFER_OK)
            return rc;
        rotation_free(rotation);
        *rotation = now;
        if (!rotation->paused)
            return COFFER_OK;
        if (s->options->no_wait)
            return error_set(err, COFFER_E_NOTYET, "paused; coffer rotate --resume goes on");
        if (!said)
            say(s->env, ROTATE_WAIT, rotation_step_name(rotation->step),
                "paused; coffer rotate --resume goes on");
        said = true;
        s->env->os->sleep_ms(s->env->os, 500);
    }
}

int
gate_wait(struct session *s, struct rotation *rotation, uint64_t epoch, const char *what,
          struct coffer_error *err)
{
    struct coffer_error reason = {0};
    char last[sizeof reason.message] = "";
    unsigned polls = 0;
    int rc;

    for (;;) {
        rc = gate_check(s, rotation, epoch, NULL, &reason);
        if (rc == COFFER_OK)
            return COFFER_OK;
        if (rc != COFFER_E_NOTYET || s->options->no_wait)
            return error_set(err, rc, "%s", reason.message);
        polls++;
        if (strcmp(last, reason.message) != 0) {
            strcpy(last, reason.message);
            say(s->env, ROTATE_WAIT, what, "%s", reason.message);
        }
        s->env->os->sleep_ms(s->env->os, 200);
        rc = rotation_check(s, rotation, err);
        if (rc == COFFER_OK && polls % 5 == 0) /* somebody may have waived a client */
            rc = session_refresh(s, err);
        if (rc != COFFER_OK)
            return rc;
    }
}

int
wait_for(struct session *s, struct rotation *rotation, const char *step, int64_t until_us,
         const char *what, struct coffer_error *err)
{
    int64_t left_us, said_at = 0;
    int rc;

    for (;;) {
        int64_t now_us = s->env->os->now_us(s->env->os);

        left_us = until_us - now_us;
        if (left_us <= 0)
            return COFFER_OK;
        if (s->options->no_wait)
            return error_set(err, COFFER_E_NOTYET, "%s: %lld s are left", what,
                             (long long)((left_us + 999999) / 1000000));
        if (now_us - said_at > 10000000) {
            said_at = now_us;
            say(s->env, ROTATE_WAIT, step, "%s: %lld s are left", what,
                (long long)((left_us + 999999) / 1000000));
        }
        s->env->os->sleep_ms(s->env->os, left_us > 500000 ? 500 : (unsigned)(left_us / 1000) + 1);
        rc = rotation_check(s, rotation, err);
        if (rc != COFFER_OK)
            return rc;
    }
}

/* Is anybody there who could still hold something old: a client, or a connection that we know
 * nothing of? */
static int
anybody(struct session *s, bool *out, struct coffer_error *err)
{
    size_t live = 0, others = 0;
    struct buf who;
    int rc;

    buf_init(&who, 4096);
    rc = gate_check(s, NULL, 0, &live, err);
    if (rc == COFFER_OK || rc == COFFER_E_NOTYET)
        rc = session_others(s, &others, &who, err);
    buf_wipe(&who);
    *out = live > 0 || others > 0;
    return rc;
}

static int
default_ms(struct session *s, bool set, unsigned given, unsigned otherwise, unsigned *out,
           struct coffer_error *err)
{
    bool there = false;
    int rc = COFFER_OK;

    *out = given;
    if (set)
        return COFFER_OK;
    *out = 0;
    if (db_engine(s->database->db) == DB_SQLITE)
        return COFFER_OK;
    rc = anybody(s, &there, err);
    if (rc == COFFER_OK && there)
        *out = otherwise;
    return rc;
}

int
settle_ms(struct session *s, unsigned *out, struct coffer_error *err)
{
    return default_ms(s, s->options->settle_set, s->options->settle_ms, 5 * 60 * 1000, out, err);
}

int
grace_ms(struct session *s, unsigned *out, struct coffer_error *err)
{
    return default_ms(s, s->options->grace_set, s->options->grace_ms, 60 * 60 * 1000, out, err);
}

int
rotation_enter(struct session *s, struct rotation *rotation, enum rotation_step step,
               struct coffer_error *err)
{
    rotation->step = step;
    rotation->step_us = s->env->os->now_us(s->env->os);
    return rotation_save(&s->database->journal, rotation, err);
}
