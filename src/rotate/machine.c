/* SPDX-License-Identifier: Apache-2.0 */
/* The machine: a rotation of one line in one database, step by step.
 *
 *   STAGE ─▶ GATE ─▶ ACTIVATE ─▶ DRAIN ─▶ SETTLE ─▶ FENCE ─▶ PROVE ─▶ WAIT ─▶ ESCROW ─▶ DONE
 *   stage()  gate    activate()  drain_   settle()  fence()  prove_   step_   step_
 *            _wait()             step()                      step()   wait()  escrow()
 *
 *   GATE … SETTLE ── abort ──▶ step_reverse(): from and to change places, and it goes on at DRAIN
 *   WAIT ── an open under the proven key was seen ──▶ FENCE
 *
 * PLAN is rotate_run's; SWEEP is what drain() does from its second pass on, and again inside FENCE.
 *
 * Each step may be repeated: it looks at what is already so.  A step is saved in the record before
 * anything of it happens; the keyring is changed, and read back, before the database is touched.
 * What may be trusted: the keyring always; the record says only where to go on.
 */
#include "rotate/machine.h"

#include "base/mem.h"
#include "base/number.h"

#include <stdio.h>
#include <string.h>

static int64_t
now_us(struct session *s)
{
    return s->env->os->now_us(s->env->os);
}

/* ---- stage: a new key that everybody can open with and nobody seals with ---- */

struct stage_arg {
    const struct rotation *rotation;
    const struct uuid *database;
    const char *who;
    int64_t now_us;
    uint32_t id;
};

static int
change_stage(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct stage_arg *stage = arg;
    size_t i;
    int rc = COFFER_OK;

    stage->id = 0;
    for (i = 0; i < keyring_key_count(kr);
         i++) { /* a run that died before its record was written left one */
        const struct keyring_key *key = keyring_key_at(kr, i);

        if (key->purpose == KEY_FIELD && key->state == KEY_STAGED &&
            strcmp(key->line, stage->rotation->line) == 0)
            stage->id = key->id;
    }
    if (stage->id == 0)
        rc = keyring_key_add(kr, KEY_FIELD, stage->rotation->line, stage->who, stage->now_us,
                             &stage->id, err);
    /* The key becomes usable wherever the line has a column, so each of those databases will have
     * to prove it gone one day. */
    for (i = 0; rc == COFFER_OK && i < keyring_column_count(kr); i++) {
        const struct keyring_column *column = keyring_column_at(kr, i);

        if (!column->retired && strcmp(column->line, stage->rotation->line) == 0)
            rc = keyring_key_used_in(kr, stage->id, &column->database, err);
    }
    if (rc == COFFER_OK)
        rc = keyring_key_used_in(kr, stage->id, stage->database, err);
    return rc;
}

static int
stage(struct session *s, struct rotation *r, struct coffer_error *err)
{
    struct stage_arg arg = {
        .rotation = r, .database = &s->database->id, .who = s->env->who, .now_us = now_us(s)};
    char details[400];
    int rc;

    snprintf(details, sizeof details, "{\"rotation\":\"%s\"}", r->id);
    rc = session_change(s, "key.stage", details, change_stage, &arg, err);
    if (rc != COFFER_OK)
        return rc;
    r->to_key = arg.id;
    r->activate_epoch = keyring_epoch(s->keyring); /* the gate's, until activation */
    say(s->env, ROTATE_DONE, "stage",
        "new key %08x is in the keyring: every client can open with it, none seals with it yet",
        r->to_key);
    return rotation_enter(s, r, STEP_GATE, err);
}

/* ---- activate ---- */

struct activate_arg {
    const struct rotation *rotation;
    int64_t now_us;
};

static int
change_activate(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct activate_arg *activate = arg;
    const struct rotation *r = activate->rotation;
    struct move_arg move = {.key_id = r->to_key, .state = KEY_ACTIVE, .now_us = activate->now_us};
    const struct keyring_key *to = keyring_key(kr, r->to_key);
    size_t i;
    int rc;

    if (to != NULL && to->state > KEY_ACTIVE) /* this is late: another command turned back meanwhile */
        return error_set(err, COFFER_E_CONFLICT, "rotation %s was taken on by another command", r->id);
    rc = change_move(kr, &move, err);
    for (i = 0; rc == COFFER_OK && i < r->column_count;
         i++) { /* a split moves its columns to the new line at this moment */
        const struct keyring_column *found = keyring_column_by_id(kr, &r->columns[i]);
        struct keyring_column *column;

        if (found == NULL || strcmp(found->line, r->line) == 0)
            continue;
        column = mem_alloc(sizeof *column);
        if (column == NULL)
            return error_nomem(err);
        *column = *found;
        memcpy(column->line, r->line, sizeof column->line);
        rc = keyring_column_put(kr, column, err);
        mem_free(column);
    }
    return rc;
}

static int
activate(struct session *s, struct rotation *r, struct coffer_error *err)
{
    struct activate_arg arg = {.rotation = r, .now_us = now_us(s)};
    char details[160];
    int rc;

    snprintf(details, sizeof details, "{\"from\":\"%08x\",\"rotation\":\"%s\",\"to\":\"%08x\"}",
             r->from_key, r->id, r->to_key);
    rc = session_change(s, "key.activate", details, change_activate, &arg, err);
    if (rc != COFFER_OK)
        return rc;
    r->activate_epoch = keyring_epoch(s->keyring);
    say(s->env, ROTATE_DONE, "activate", "key %08x seals from now on; %08x only opens", r->to_key,
        r->from_key);
    return rotation_enter(s, r, STEP_DRAIN, err);
}

/* ---- drain, settle ---- */

static void
say_drained(struct session *s, const char *step, const struct drain_result *result)
{
    say(s->env, ROTATE_DONE, step, "%s moved in %s%s", counted(result->stats.rows_done, "row").text,
        counted(result->passes, "pass").text,
        result->quarantined > 0 ? "; some are in quarantine" : "");
}

static int
drain_step(struct session *s, struct rotation *r, struct coffer_error *err)
{
    struct drain_result result;
    int rc = drain(s, r, "drain", &result, err);

    if (rc != COFFER_OK)
        return rc;
    say_drained(s, "drain", &result);
    if (result.quarantined > 0)
        return error_set(err, COFFER_E_REFUSED,
                         "%s could not be opened and stayed as they were (coffer status lists "
                         "them); repair or delete those "
                         "rows, then run coffer rotate again: the old key %08x stays until then",
                         counted(result.quarantined, "cell").text, r->from_key);
    return rotation_enter(s, r, STEP_SETTLE, err);
}

static int
settle(struct session *s, struct rotation *r, struct coffer_error *err)
{
    unsigned ms = 0;
    int rc = gate_wait(s, r, r->activate_epoch, "settle", err);

    if (rc == COFFER_OK)
        rc = settle_ms(s, &ms, err);
    if (rc == COFFER_OK)
        rc = wait_for(s, r, "settle", r->step_us + (int64_t)ms * 1000,
                      "letting stale write-backs settle before the fence", err);
    if (rc == COFFER_OK)
        rc = rotation_enter(s, r, STEP_FENCE, err);
    return rc;
}

/* ---- fence ---- */

static int
zero_under(struct session *s, const struct rotation *r, bool *zero, struct coffer_error *err)
{
    struct column_count *counts = NULL;
    size_t i;
    int rc = count_columns(s, r->columns, r->column_count, &counts, err);

    *zero = true;
    if (rc != COFFER_OK)
        return rc;
    for (i = 0; i < r->column_count; i++) {
        if (count_under(counts[i].count, r->from_key) > 0)
            *zero = false;
    }
    column_counts_free(counts, r->column_count);
    return COFFER_OK;
}

static int
fence(struct session *s, struct rotation *r, struct coffer_error *err)
{
    struct drain_result result;
    bool zero = false;
    int rc = fence_tables(s, r->columns, r->column_count, false, r->from_key, err);

    while (rc == COFFER_OK) {
        rc = rotation_check(s, r, err);
        if (rc == COFFER_OK)
            rc = drain(s, r, "sweep", &result, err);
        if (rc == COFFER_OK && result.quarantined > 0)
            rc = error_set(err, COFFER_E_REFUSED,
                           "in quarantine: %s; repair or delete those rows and run "
                           "coffer rotate again",
                           counted(result.quarantined, "cell").text);
        if (rc == COFFER_OK && r->from_key != 0)
            rc = zero_under(s, r, &zero, err);
        if (rc != COFFER_OK)
            return rc;
        if (r->from_key != 0 && !zero)
            continue; /* locked rows: sweep again */
        rc = fence_constrain(s, r, r->columns, r->column_count, false, r->from_key, err);
        if (rc != COFFER_E_CONFLICT)
            break;
        rc = COFFER_OK; /* a row slipped in before the trigger was everywhere: it will not again */
    }
    if (rc != COFFER_OK)
        return rc;
    say(s->env, ROTATE_DONE, "fence", "the database itself now refuses key %08x", r->from_key);
    return rotation_enter(s, r, r->from_key != 0 ? STEP_PROVE : STEP_DONE, err);
}

/* ---- prove ---- */

static int
prove_step(struct session *s, struct rotation *r, struct coffer_error *err)
{
    struct buf certificate;
    bool everywhere = false;
    int rc;

    buf_init(&certificate, 4u << 20);
    rc = prove(s, r->from_key, &r->mark, &certificate, err);
    if (rc == COFFER_OK)
        rc = certify(s, r->from_key, buf_view(&certificate), &everywhere, err);
    buf_wipe(&certificate);
    if (rc != COFFER_OK)
        return rc;
    say(s->env, ROTATE_DONE, "prove",
        "no cell of this database is under key %08x; the certificate is signed", r->from_key);
    if (!everywhere) {
        say(s->env, ROTATE_NOTE, "prove",
            "key %08x stays in the keyring until its other databases are rotated too; coffer key "
            "why %08x names them",
            r->from_key, r->from_key);
        return rotation_enter(s, r, STEP_DONE, err);
    }
    r->activate_epoch = keyring_epoch(s->keyring);
    return rotation_enter(s, r, STEP_WAIT, err);
}

/* ---- all steps ---- */

static int
run_step(struct session *s, struct rotation *r, struct coffer_error *err)
{
    int rc;

    if (r->aborting && !r->reversed && r->step < STEP_FENCE)
        return step_reverse(s, r, err);
    switch (r->step) {
    case STEP_PLAN:
    case STEP_STAGE:
        return stage(s, r, err);
    case STEP_GATE:
        rc = gate_wait(s, r, r->activate_epoch, "gate", err);
        return rc == COFFER_OK ? rotation_enter(s, r, STEP_ACTIVATE, err) : rc;
    case STEP_ACTIVATE:
        return activate(s, r, err);
    case STEP_DRAIN:
    case STEP_SWEEP:
        return drain_step(s, r, err);
    case STEP_SETTLE:
        return settle(s, r, err);
    case STEP_FENCE:
        return fence(s, r, err);
    case STEP_PROVE:
        return s->constraint_count == 0
                   ? fence(s, r, err) /* another run made them: learn their names by making sure */
                   : prove_step(s, r, err);
    case STEP_WAIT:
        return step_wait(s, r, err);
    case STEP_ESCROW:
        return step_escrow(s, r, err);
    case STEP_DONE:
    case STEP_ABORTED:
        break;
    }
    return COFFER_OK;
}

/* Chunks of a finished rotation are of no use any more. */
static int
forget_chunks(struct session *s, const struct rotation *r, struct coffer_error *err)
{
    struct coffer_value prefix = {
        .type = COFFER_TEXT, .data = (const uint8_t *)r->id, .len = strlen(r->id)};
    char sql[200];

    snprintf(sql, sizeof sql, "DELETE FROM %s WHERE substr(key, 1, 36) = $1",
             db_catalog_name(s->database->db, "chunk"));
    return db_run(s->database->db, sql, &prefix, 1, NULL, err);
}

/* What the step is about; its evidence follows when it is done. */
static void
say_step(struct session *s, const struct rotation *r)
{
    const char *step = rotation_step_name(r->step);

    switch (r->step) {
    case STEP_GATE:
        say(s->env, ROTATE_STEP, step, "until every client holds the new key %08x", r->to_key);
        break;
    case STEP_ACTIVATE:
        say(s->env, ROTATE_STEP, step, "key %08x becomes the one that seals", r->to_key);
        break;
    case STEP_DRAIN:
    case STEP_SWEEP:
        say(s->env, ROTATE_STEP, step, "re-encrypting what is not under key %08x yet", r->to_key);
        break;
    case STEP_SETTLE:
        say(s->env, ROTATE_STEP, step, "until nobody writes back what was read before");
        break;
    case STEP_FENCE:
        say(s->env, ROTATE_STEP, step, "sweeping once more, behind a fence in the database");
        break;
    case STEP_PROVE:
        say(s->env, ROTATE_STEP, step, "looking at every cell for key %08x", r->from_key);
        break;
    case STEP_WAIT:
        say(s->env, ROTATE_STEP, step, "until nobody can still see a row as it was before");
        break;
    case STEP_ESCROW:
        say(s->env, ROTATE_STEP, step, "key %08x leaves the keyring", r->from_key);
        break;
    default:
        if (r->from_key == 0)
            say(s->env, ROTATE_STEP, step, "line %s: its first key", r->line);
        else
            say(s->env, ROTATE_STEP, step, "line %s: a key to follow %08x", r->line, r->from_key);
    }
}

/* Columns that were dropped from the database, and forgotten, since the rotation began. */
static void
leave_out_retired(struct session *s, struct rotation *r)
{
    size_t i, left = 0;

    for (i = 0; i < r->column_count; i++) {
        const struct keyring_column *column = keyring_column_by_id(s->keyring, &r->columns[i]);

        if (column != NULL && !column->retired)
            r->columns[left++] = r->columns[i];
    }
    r->column_count = left;
}

int
machine_run(struct session *s, struct rotation *r, struct coffer_error *err)
{
    enum rotation_step shown = 0;
    unsigned lost = 0;
    int rc = COFFER_OK;

    while (rc == COFFER_OK && r->step < STEP_DONE) {
        rc = rotation_check(s, r, err);
        if (rc == COFFER_OK)
            leave_out_retired(s, r);
        if (rc == COFFER_OK && r->step != shown)
            say_step(s, r);
        shown = r->step;
        if (rc == COFFER_OK)
            rc = run_step(s, r, err);
        if (rc == COFFER_E_CONFLICT) /* another command moved the record on: look again */
            rc = COFFER_OK;
        if (rc == COFFER_E_LOST && lost++ < 20)
            rc = session_reconnect(s, err);
    }
    if (rc == COFFER_OK && r->step == STEP_DONE)
        rc = incarnation_renew(s, r->id, err);
    if (rc == COFFER_OK)
        rc = forget_chunks(s, r, err);
    return rc;
}
