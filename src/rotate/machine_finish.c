/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a rotation: waiting until nobody can read an old envelope, escrow, and the new incarnation. */
#include "ledger/retire.h"
#include "base/number.h"
#include "rotate/machine.h"

#include <stdio.h>
#include <string.h>

static int64_t
now_us(struct session *s)
{
    return s->env->os->now_us(s->env->os);
}

/* ---- wait: until nobody can still read an old envelope ---- */

struct opens {
    uint32_t key_id;
    uint64_t count;
};

static int
add_opens(void *arg, const struct heartbeat *beat, struct coffer_error *err)
{
    struct opens *opens = arg;
    size_t i;

    (void)err;
    for (i = 0; i < beat->use_count; i++) {
        if (beat->use[i].key_id == opens->key_id)
            opens->count += beat->use[i].opens + beat->use[i].seals;
    }
    return COFFER_OK;
}

static int
opens_under(struct session *s, uint32_t key_id, uint64_t *count, struct coffer_error *err)
{
    struct opens opens = {.key_id = key_id};
    int rc = heartbeat_list(&s->database->journal, add_opens, &opens, err);

    *count = opens.count;
    return rc;
}

static int
mark_wait(struct session *s, struct rotation *r, struct coffer_error *err)
{
    char last[500] = "";
    struct coffer_error reason = {0};
    int rc;

    for (;;) {
        rc = db_mark_passed(s->database->db, &r->mark, &reason);
        if (rc == COFFER_E_LOST)
            rc = session_reconnect(s, &reason) == COFFER_OK ? COFFER_E_NOTYET : COFFER_E_LOST;
        if (rc != COFFER_E_NOTYET || s->options->no_wait)
            return rc == COFFER_OK ? rc : error_set(err, rc, "%s", reason.message);
        if (strcmp(last, reason.message) != 0)
            say(s->env, ROTATE_WAIT, "wait", "%s", reason.message);
        memcpy(last, reason.message, sizeof last);
        s->env->os->sleep_ms(s->env->os, 300);
        rc = rotation_check(s, r, err);
        if (rc != COFFER_OK)
            return rc;
    }
}

struct reopen_arg {
    uint32_t key_id;
    int64_t now_us;
};

static int
change_reopen(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct reopen_arg *reopen = arg;
    struct move_arg move = {
        .key_id = reopen->key_id, .state = KEY_DRAINING, .now_us = reopen->now_us};
    int rc = keyring_certificate_drop(kr, reopen->key_id, err);

    return rc == COFFER_OK ? change_move(kr, &move, err) : rc;
}

int
step_wait(struct session *s, struct rotation *r, struct coffer_error *err)
{
    uint64_t before = 0, after = 0;
    unsigned ms = 0;
    int rc;

    /* Whoever beats with the proven epoch has finished what it read before, or reads it in a
     * transaction that the mark sees. */
    rc = gate_wait(s, r, r->activate_epoch, "wait", err);
    if (rc == COFFER_OK)
        rc = mark_wait(s, r, err);
    if (rc == COFFER_OK)
        rc = opens_under(s, r->from_key, &before, err);
    if (rc == COFFER_OK)
        rc = grace_ms(s, &ms, err);
    if (rc == COFFER_OK)
        rc = wait_for(s, r, "wait", r->step_us + (int64_t)ms * 1000,
                      "grace before the old key leaves the keyring", err);
    if (rc == COFFER_OK)
        rc = opens_under(s, r->from_key, &after, err);
    if (rc != COFFER_OK)
        return rc;
    if (after > before) {
        struct reopen_arg arg = {.key_id = r->from_key, .now_us = now_us(s)};

        say(s->env, ROTATE_WARN, "wait",
            "opened under the proven key %08x meanwhile: %s; sweeping again",
            r->from_key, counted(after - before, "cell").text);
        rc = session_change(s, "key.reopen", NULL, change_reopen, &arg, err);
        return rc == COFFER_OK ? rotation_enter(s, r, STEP_FENCE, err) : rc;
    }
    return rotation_enter(s, r, STEP_ESCROW, err);
}

/* ---- escrow ---- */

struct incarnation_arg {
    const struct session *s;
    const char *random;
};

static int
change_incarnation(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct incarnation_arg *in = arg;
    const struct keyring_database *found = keyring_database(kr, &in->s->database->id);
    struct keyring_database database;
    const char *slash = strrchr(in->s->database->incarnation, '/');

    if (found == NULL)
        return error_set(err, COFFER_E_NOTFOUND, "the keyring holds no record of %s",
                         in->s->database->name);
    database = *found;
    snprintf(database.incarnation, sizeof database.incarnation, "%.*s/%s",
             slash != NULL ? (int)(slash - in->s->database->incarnation) : 0,
             in->s->database->incarnation, in->random);
    return keyring_database_put(kr, &database, err);
}

int
incarnation_renew(struct session *s, const char *random, struct coffer_error *err)
{
    struct incarnation_arg arg = {.s = s, .random = random};
    int rc;

    /* Keyring first, without telling the database: whoever dies here is told from a restore by the
     * record (recover.c). */
    s->database->restored = true;
    rc = session_change(s, "database.renew", NULL, change_incarnation, &arg, err);
    s->database->restored = false;
    if (rc == COFFER_OK)
        rc = host_database_saw(s->database, random, err);
    return rc;
}

int
step_escrow(struct session *s, struct rotation *r, struct coffer_error *err)
{
    const struct keyring_key *key = keyring_key(s->keyring, r->from_key);
    struct move_arg move = {.key_id = r->from_key, .state = KEY_ESCROWED, .now_us = now_us(s)};
    char details[64];
    int rc = COFFER_OK;

    if (key != NULL && key->state == KEY_PROVEN) {
        snprintf(details, sizeof details, "{\"key\":\"%08x\"}", r->from_key);
        rc = retire_escrow_file(s->env->store, s->keyring, r->from_key, err);
        if (rc == COFFER_OK)
            rc = session_change(s, "key.escrow", details, change_move, &move, err);
    }
    if (rc != COFFER_OK)
        return rc;
    say(s->env, ROTATE_DONE, "escrow",
        "key %08x is out of the keyring, sealed apart for backups that need it", r->from_key);
    return rotation_enter(s, r, STEP_DONE, err);
}
