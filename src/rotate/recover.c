/* SPDX-License-Identifier: Apache-2.0 */
/* A database that was restored or copied.
 *
 * Its old keys come back from escrow, its records are parked, and the rotation that follows drains, fences and proves
 * them again.  What the copy holds in another form than the keyring says is brought forward by the same engine:
 *
 *   plaintext in a sealed column       sealed ─▶ dual ─▶ [protect] ─▶ sealed     from before its protect
 *   envelopes in an unprotected one    retired ─▶ sealed ─▶ [unprotect] ─▶ retired   from before its unprotect
 *   envelopes of an earlier protect    that record is in force again, the later one retired
 *
 * Each of these asks for the operator's word that this is a restore: whoever writes to the database could otherwise
 * have his plaintext sealed, or old envelopes opened, by making it look like one.  The copy counts as restored until
 * all is done; stopped anywhere, the same command begins again and finds less to do.
 */
#include "rotate/recover.h"

#include "base/mem.h"
#include "rotate/protect.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int
interrupted_finish(struct session *s, bool *finished, struct coffer_error *err)
{
    const struct keyring_database *record = keyring_database(s->keyring, &s->database->id);
    const char *slash = record != NULL ? strrchr(record->incarnation, '/') : NULL;
    struct rotation r = {0};
    struct coffer_error ignored;
    int rc = COFFER_OK;

    *finished = false;
    if (slash == NULL || rotation_load(&s->database->journal, slash + 1, &r, &ignored) != COFFER_OK)
        return COFFER_OK;
    if (r.step == STEP_DONE) {
        rc = host_database_saw(s->database, slash + 1, err);
        s->database->restored = rc != COFFER_OK;
        *finished = rc == COFFER_OK;
    }
    rotation_free(&r);
    return rc;
}

static int
park_open(struct session *s, enum rotation_kind kind, struct coffer_error *err)
{
    int rc = COFFER_OK;

    while (rc == COFFER_OK) {
        struct rotation r;

        rc = rotation_find_open(&s->database->journal, kind, NULL, &r, err);
        if (rc == COFFER_E_NOTFOUND)
            return COFFER_OK;
        if (rc != COFFER_OK)
            return rc;
        rc = rotation_enter(s, &r, STEP_ABORTED, err);
        rotation_free(&r);
    }
    return rc;
}

struct import_arg {
    const struct keyring *from;
};

static int
change_import(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct import_arg *import = arg;
    size_t count = 0;

    return keyring_import(kr, import->from, &count, err);
}

struct reopen {
    uint32_t key_id;
    int64_t now_us;
};

static int
change_reopen(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct reopen *reopen = arg;
    const struct keyring_key *key = keyring_key(kr, reopen->key_id);
    int rc = keyring_certificate_drop(kr, reopen->key_id, err);

    if (rc == COFFER_OK && (key->state == KEY_FENCED || key->state == KEY_PROVEN))
        rc = keyring_key_move(kr, reopen->key_id, KEY_DRAINING, reopen->now_us, err);
    return rc;
}

static int
bring_back(struct session *s, uint32_t key_id, struct coffer_error *err)
{
    const struct keyring_key *key = keyring_key(s->keyring, key_id);
    struct reopen reopen = {.key_id = key_id, .now_us = s->env->os->now_us(s->env->os)};
    struct keyring *escrowed = NULL;
    struct import_arg import;
    struct buf content;
    int rc = COFFER_OK;

    if (key == NULL)
        return error_set(
            err, COFFER_E_KEY,
            "the restored data is sealed under key %08x, which this keyring never held; import it "
            "with coffer keyring import",
            key_id);
    if (key->state == KEY_DESTROYED)
        return error_set(
            err, COFFER_E_KEY,
            "the restored data is sealed under key %08x, which was destroyed: it cannot be read",
            key_id);
    if (key->state == KEY_ESCROWED) {
        buf_init(&content, KEYRING_FILE_MAX);
        rc = s->env->store->escrow_get(s->env->store, key_id, &content, err);
        if (rc == COFFER_OK)
            rc = keyring_decode_again(buf_view(&content), s->keyring, &escrowed, err);
        import.from = escrowed;
        if (rc == COFFER_OK)
            rc = session_change(s, "key.import", NULL, change_import, &import, err);
        keyring_free(escrowed);
        buf_wipe(&content);
        if (rc == COFFER_OK)
            say(s->env, ROTATE_NOTE, "recover", "key %08x is back from escrow", key_id);
    }
    key = keyring_key(s->keyring, key_id); /* the keyring was replaced */
    if (rc == COFFER_OK && key->state != KEY_ACTIVE)
        rc = session_change(s, "key.reopen", NULL, change_reopen, &reopen, err);
    return rc;
}

/* ---- what is to be done ---- */

struct change { /* of one column's record; applied in this order */
    struct uuid id;
    bool retired;
    int phase;
};
struct plan {
    struct change *changes;
    size_t change_count;
    struct uuid *seal, *unseal;
    size_t seal_count, unseal_count;
    struct buf why; /* what needs the operator's word */
    size_t why_count;
};

static void
plan_free(struct plan *plan)
{
    mem_free(plan->changes);
    mem_free(plan->seal);
    mem_free(plan->unseal);
    buf_wipe(&plan->why);
    memset(plan, 0, sizeof *plan);
}

static void
reason(struct plan *plan, const struct keyring_column *column, const char *what)
{
    buf_format(&plan->why, "%s%s.%s %s", plan->why_count++ > 0 ? ", " : "", column->table,
               column->name, what);
}

static void
change_add(struct plan *plan, const struct keyring_column *column, bool retired, int phase)
{
    plan->changes[plan->change_count++] =
        (struct change){.id = column->id, .retired = retired, .phase = phase};
}

static bool
named_by(const struct rotation *r, const struct uuid *id)
{
    size_t i;

    for (i = 0; i < r->column_count; i++) {
        if (uuid_equal(&r->columns[i], id))
            return true;
    }
    return false;
}

static void
plan_current(struct plan *plan, const struct found_column *found,
             const struct rotation *unprotecting)
{
    const struct keyring_column *column = found->current;

    if (named_by(unprotecting,
                 &column->id)) { /* this recovery, or the copy, was taking it back already */
        reason(plan, column, "is from before its unprotect");
        plan->unseal[plan->unseal_count++] = column->id;
        change_add(plan, column, false, column->phase);
    } else if (column->phase == COFFER_SEALED && found->plaintext > 0) {
        reason(plan, column, "is from before its protect");
        plan->seal[plan->seal_count++] = column->id;
        change_add(plan, column, false, COFFER_DUAL);
    } else {
        if (column->phase == COFFER_DUAL) /* its protect goes to the end, as it would have */
            plan->seal[plan->seal_count++] = column->id;
        change_add(plan, column, false, column->phase);
    }
}

static void
plan_found(struct plan *plan, const struct found_column *found, const struct rotation *unprotecting)
{
    const struct keyring_column *owner = found->owner;

    if (owner == NULL || owner == found->current) {
        if (found->current != NULL)
            plan_current(plan, found, unprotecting);
        return;
    }
    if (found->current == NULL) {
        reason(plan, owner, "is from before its unprotect");
        plan->unseal[plan->unseal_count++] = owner->id;
        change_add(plan, owner, false, COFFER_SEALED);
        return;
    }
    reason(plan, owner, "is from an earlier time when it was protected");
    change_add(plan, found->current, true, found->current->phase);
    change_add(plan, owner, false, COFFER_DUAL); /* it may hold plaintext too; a pass finds out */
    plan->seal[plan->seal_count++] = owner->id;
}

static int
plan_make(const struct survey *survey, const struct rotation *unprotecting, struct plan *plan,
          struct coffer_error *err)
{
    size_t i;

    memset(plan, 0, sizeof *plan);
    buf_init(&plan->why, 4096);
    plan->changes = mem_array(2 * survey->count + 1, sizeof *plan->changes);
    plan->seal = mem_array(survey->count + 1, sizeof *plan->seal);
    plan->unseal = mem_array(survey->count + 1, sizeof *plan->unseal);
    if (plan->changes == NULL || plan->seal == NULL || plan->unseal == NULL) {
        plan_free(plan);
        return error_nomem(err);
    }
    for (i = 0; i < survey->count; i++)
        plan_found(plan, &survey->columns[i], unprotecting);
    return COFFER_OK;
}

static int
must_be_stated(struct session *s, struct plan *plan, struct coffer_error *err)
{
    if (plan->why_count == 0)
        return COFFER_OK;
    if (s->options->plan_only) {
        say(s->env, ROTATE_NOTE, "recover", "%.400s; coffer rotate --restored brings it forward",
            buf_cstr(&plan->why));
        return COFFER_OK;
    }
    if (s->options->restored)
        return COFFER_OK;
    return error_set(
        err, COFFER_E_REFUSED,
        "%.200s. If you restored this copy, coffer rotate --restored brings it forward (with the "
        "--decoder that protect had, if any). If not, somebody put this here: plaintext in a "
        "sealed "
        "column is no data",
        buf_cstr(&plan->why));
}

/* ---- doing it ---- */

static int
change_records(struct keyring *kr, void *arg, struct coffer_error *err)
{
    const struct plan *plan = arg;
    struct keyring_column *column = mem_alloc(sizeof *column);
    size_t i;
    int rc = column == NULL ? error_nomem(err) : COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < plan->change_count; i++) {
        const struct keyring_column *found = keyring_column_by_id(kr, &plan->changes[i].id);

        if (found == NULL ||
            (found->retired == plan->changes[i].retired && found->phase == plan->changes[i].phase))
            continue;
        *column = *found;
        column->retired = plan->changes[i].retired;
        column->phase = plan->changes[i].phase;
        rc = keyring_column_put(kr, column, err);
    }
    mem_free(column);
    return rc;
}

/* The copy's tables get what the phase needs, whatever phase they were copied in: every step may be repeated. */
static int
prepare_table(struct session *s, const struct keyring_column *column, int phase,
              struct coffer_error *err)
{
    struct db_table *table = NULL;
    struct db_cell_spec cell;
    unsigned attempt;
    int rc;

    column_cell_spec(column, &cell);
    rc = db_table_open(s->database->db, column->table, &table, err);
    for (attempt = 0; rc == COFFER_OK; attempt++) {
        rc = db_phase_apply(s->database->db, table, &cell, COFFER_OFF, phase, err);
        if (rc != COFFER_E_CONFLICT || stopped(s->env))
            break;
        if (attempt == 5)
            say(s->env, ROTATE_WAIT, "recover",
                "table %s is busy; waiting for a moment between its transactions", table->name);
        s->env->os->sleep_ms(s->env->os, 100 + attempt % 7 * 30);
        rc = COFFER_OK;
    }
    db_table_free(table);
    return rc;
}

static int
prepare_tables(struct session *s, const struct plan *plan, struct coffer_error *err)
{
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < plan->change_count; i++) {
        const struct change *change = &plan->changes[i];
        const struct keyring_column *column = keyring_column_by_id(s->keyring, &change->id);

        if (!change->retired && change->phase != COFFER_OFF && column->companion[0] != '\0')
            rc = prepare_table(s, column, change->phase, err);
    }
    for (i = 0; rc == COFFER_OK && i < plan->seal_count;
         i++) /* nothing is claimed of plaintext that came back */
        rc = plaintext_level_set(s, &plan->seal[i], 0, err);
    return rc;
}

static int
bring_forward(struct session *s, struct plan *plan, struct coffer_error *err)
{
    struct rotation back = {0}, again = {0};
    char details[80];
    int rc = park_open(s, ROTATION_ROTATE, err);

    if (rc == COFFER_OK)
        rc = park_open(s, ROTATION_PROTECT, err);
    if (rc == COFFER_OK && plan->unseal_count == 0)
        rc = park_open(s, ROTATION_UNPROTECT, err);
    if (rc == COFFER_OK)
        rc = prepare_tables(s, plan, err);
    /* The record comes before the keyring's change here: it alone says that the column is on its way back. */
    if (rc == COFFER_OK && plan->unseal_count > 0)
        rc = open_record(s, ROTATION_UNPROTECT, plan->unseal, plan->unseal_count, &back, err);
    snprintf(details, sizeof details, "{\"sealed_again\":%zu,\"unsealed_again\":%zu}",
             plan->seal_count, plan->unseal_count);
    if (rc == COFFER_OK && plan->seal_count + plan->unseal_count > 0)
        rc = session_change(s, "database.recover", details, change_records, plan, err);
    if (rc == COFFER_OK && plan->unseal_count > 0)
        rc = unprotect_columns(s, &back, err);
    if (rc == COFFER_OK && plan->seal_count > 0)
        rc = open_record(s, ROTATION_PROTECT, plan->seal, plan->seal_count, &again, err);
    if (rc == COFFER_OK && plan->seal_count > 0)
        rc = protect_columns(s, &again, err);
    rotation_free(&back);
    rotation_free(&again);
    return rc;
}

/* Keys first, as the copy names them; then whose envelopes they are, which only the keys tell. */
static int
look(struct session *s, const struct rotation *unprotecting, struct plan *plan,
     struct coffer_error *err)
{
    struct survey survey;
    size_t i;
    int rc = survey_count(s, s->options->restored, &survey, err);

    if (rc != COFFER_OK)
        return rc;
    for (i = 0; i < survey.count;
         i++) { /* before the keys are there: what is certain without them */
        struct found_column *found = &survey.columns[i];

        found->owner = found->current == NULL && found->retired_envelopes
                           ? found->retired[found->retired_count - 1]
                           : found->current;
    }
    rc = plan_make(&survey, unprotecting, plan, err);
    if (rc == COFFER_OK)
        rc = must_be_stated(s, plan, err);
    for (i = 0; rc == COFFER_OK && !s->options->plan_only && i < survey.key_count; i++) {
        const struct keyring_key *key = keyring_key(s->keyring, survey.keys[i]);

        if (key == NULL || key->state > KEY_DRAINING)
            rc = bring_back(s, survey.keys[i], err);
    }
    survey_free(&survey);
    if (rc != COFFER_OK || s->options->plan_only)
        return rc;

    plan_free(plan);
    rc = survey_count(s, s->options->restored, &survey, err); /* the keyring was replaced */
    if (rc != COFFER_OK)
        return rc;
    rc = survey_owners(s, &survey, err);
    if (rc == COFFER_OK)
        rc = plan_make(&survey, unprotecting, plan, err);
    if (rc == COFFER_OK)
        rc = must_be_stated(s, plan, err);
    survey_free(&survey);
    return rc;
}

static int
renew(struct session *s, struct coffer_error *err)
{
    struct uuid id;
    char random[37];
    int rc = uuid_new(&id, err);

    if (rc != COFFER_OK)
        return rc;
    uuid_format(&id, random);
    return incarnation_renew(s, random, err);
}

int
recover(struct session *s, struct coffer_error *err)
{
    struct rotation unprotecting = {0};
    struct plan plan = {0};
    bool finished = false;
    int rc = COFFER_OK;

    if (!s->options->plan_only)
        rc = interrupted_finish(s, &finished, err);
    if (rc != COFFER_OK || finished)
        return rc;
    say(s->env, ROTATE_STEP, "recover", "%s was restored or copied since the keyring saw it last",
        s->database->name);
    if (s->database->lost &&
        !s->options->plan_only) /* a copy without Coffer's working tables gets new ones */
        rc = host_database_adopt(s->database, err);
    if (rc == COFFER_OK && !(s->database->lost && s->options->plan_only))
        rc =
            rotation_find_open(&s->database->journal, ROTATION_UNPROTECT, NULL, &unprotecting, err);
    if (rc == COFFER_OK || rc == COFFER_E_NOTFOUND)
        rc = look(s, &unprotecting, &plan, err);
    if (rc == COFFER_OK && !s->options->plan_only)
        rc = bring_forward(s, &plan, err);
    if (rc == COFFER_OK && !s->options->plan_only && s->database->restored)
        rc = renew(s, err); /* protect and unprotect did it themselves */
    if (rc == COFFER_OK && !s->options->plan_only)
        say(s->env, ROTATE_DONE, "recover",
            "every key that the restored data needs is in the keyring; now they are rotated away");
    plan_free(&plan);
    rotation_free(&unprotecting);
    return rc;
}
