/* SPDX-License-Identifier: Apache-2.0 */
/* From plaintext to sealed.
 *
 *   off ──▶ shadow ──gate──▶ [fill companions] ──▶ dual ──gate──▶ [seal]
 *       ──▶ fence ──▶ [sweep to zero] ──▶ sealed
 *
 * In shadow a client reads both forms and writes plaintext; in dual it writes envelopes.  The gate
 * between them makes sure that nobody meets an envelope that it cannot read.  Each phase is in the
 * keyring, per column; a call begins where the columns are.
 */
#include "rotate/protect.h"

#include "base/mem.h"
#include "base/number.h"
#include "rotate/predict.h"
#include "rotate/recover.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- registration: the keyring knows database and columns, all in phase off ---- */

struct register_arg {
    struct session *s;
    const struct keyring_column *columns;
    size_t count;
};

static int
change_register(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct register_arg *reg = arg;
    const struct host_database *database = reg->s->database;
    struct keyring_database record = {.id = database->id, .keep_days = 400};
    size_t i;
    int rc = COFFER_OK;

    if (keyring_database(kr, &database->id) == NULL) {
        snprintf(record.name, sizeof record.name, "%s", database->name);
        snprintf(record.engine, sizeof record.engine, "%s", db_engine_name(database->db));
        snprintf(record.incarnation, sizeof record.incarnation, "%s", database->incarnation);
        rc = keyring_database_put(kr, &record, err);
    }
    for (i = 0; rc == COFFER_OK && i < reg->count; i++) {
        const struct keyring_key *active = keyring_active(kr, KEY_FIELD, reg->columns[i].line);
        uint32_t id = active != NULL ? active->id : 0;

        if (active == NULL) { /* a new line begins with a key of its own */
            int64_t now_us = reg->s->env->os->now_us(reg->s->env->os);

            rc = keyring_key_add(kr, KEY_FIELD, reg->columns[i].line, reg->s->env->who, now_us, &id,
                                 err);
            if (rc == COFFER_OK)
                rc = keyring_key_move(kr, id, KEY_ACTIVE, now_us, err);
        }
        if (rc == COFFER_OK)
            rc = keyring_key_used_in(kr, id, &database->id, err);
        if (rc == COFFER_OK && keyring_column_by_id(kr, &reg->columns[i].id) == NULL)
            rc = keyring_column_put(kr, &reg->columns[i], err);
    }
    return rc;
}

/* ---- the way through the phases ---- */

static int
unaware(struct session *s, struct rotation *r, struct coffer_error *err)
{
    struct uuid *ids = mem_array(r->column_count + 1, sizeof *ids);
    size_t others = 0, shadow;
    struct buf who;
    bool said = false;
    int rc = COFFER_OK;

    if (ids == NULL)
        return error_nomem(err);
    shadow = columns_in_phase(s, r, COFFER_SHADOW, ids);
    mem_free(ids);
    if (shadow == 0 || s->options->no_unaware_clients || db_engine(s->database->db) == DB_SQLITE)
        return COFFER_OK;
    buf_init(&who, 4096);
    for (;;) {
        buf_clear(&who);
        rc = session_others(s, &others, &who, err);
        if (rc != COFFER_OK || others == 0)
            break;
        rc = error_set(err, COFFER_E_NOTYET,
                       "%zu other connections (%.160s) may read or write plaintext; a pooler's idle ones count, since it "
                       "may lend them to anybody. Close them, or say --no-unaware-clients when every application goes "
                       "through libcoffer; until then the columns stay in phase shadow, where plaintext is the truth",
                       others, buf_cstr(&who));
        if (s->options->no_wait)
            break;
        if (!said)
            say(s->env, ROTATE_WAIT, "dual", "%s",
                err != NULL ? err->message : "other connections");
        said = true;
        s->env->os->sleep_ms(s->env->os, 500);
        rc = rotation_check(s, r, err);
        if (rc != COFFER_OK)
            break;
    }
    buf_wipe(&who);
    return rc;
}

static int
drain_and_say(struct session *s, struct rotation *r, const char *step, struct coffer_error *err)
{
    struct drain_result result;
    int rc = drain(s, r, step, &result, err);

    if (rc != COFFER_OK)
        return rc;
    say(s->env, ROTATE_DONE, step, "%s sealed in %s", counted(result.stats.rows_done, "row").text,
        counted(result.passes, "pass").text);
    if (result.quarantined > 0)
        return error_set(
            err, COFFER_E_REFUSED,
            "%s could not be sealed and stayed plaintext (coffer status lists them); repair those "
            "rows and run coffer protect again. Everything else is sealed and readable",
            counted(result.quarantined, "cell").text);
    return COFFER_OK;
}

static int
no_plaintext_left(struct session *s, const struct rotation *r, bool *none, struct coffer_error *err)
{
    struct column_count *counts = NULL;
    size_t i;
    int rc = count_columns(s, r->columns, r->column_count, &counts, err);

    *none = true;
    for (i = 0; rc == COFFER_OK && i < r->column_count; i++)
        *none = *none && counts[i].count->plaintext == 0 && counts[i].count->both == 0;
    column_counts_free(counts, rc == COFFER_OK ? r->column_count : 0);
    return rc;
}

/* The database refuses plaintext; then what is left is sealed until one count finds none. */
static int
close_columns(struct session *s, struct rotation *r, struct coffer_error *err)
{
    bool none = false;
    int rc;

    say(s->env, ROTATE_STEP, "fence", "from here the database refuses plaintext in these columns");
    rc = fence_tables(s, r->columns, r->column_count, true, 0, err);
    while (rc == COFFER_OK) {
        rc = drain_and_say(s, r, "sweep", err);
        if (rc == COFFER_OK)
            rc = no_plaintext_left(s, r, &none, err);
        if (rc == COFFER_OK && none) {
            rc = fence_constrain(s, r, r->columns, r->column_count, true, 0, err);
            if (rc != COFFER_E_CONFLICT)
                break;
        }
        if (rc == COFFER_OK || rc == COFFER_E_CONFLICT)
            rc = rotation_check(s, r, err);
    }
    return rc;
}

static bool
has_companions(struct session *s, const struct rotation *r)
{
    size_t i;

    for (i = 0; i < r->column_count; i++) {
        const struct keyring_column *column = keyring_column_by_id(s->keyring, &r->columns[i]);

        if (column != NULL && column->companion[0] != '\0')
            return true;
    }
    return false;
}

int
protect_columns(struct session *s, struct rotation *r, struct coffer_error *err)
{
    int rc = phase_step(s, r, COFFER_OFF, COFFER_SHADOW, true, err);

    if (rc == COFFER_OK && has_companions(s, r)) { /* in place, shadow only teaches clients to read both */
        rc = plan_rehearse(s, r, err);
        if (rc == COFFER_OK)
            rc = drain_and_say(s, r, "shadow", err);
    }
    if (rc != COFFER_OK || s->options->shadow_only)
        return rc;
    rc = unaware(s, r, err);
    if (rc == COFFER_OK)
        rc = phase_step(s, r, COFFER_SHADOW, COFFER_DUAL, true, err);
    if (rc == COFFER_OK)
        rc = plan_rehearse(s, r, err); /* in place, this is the first time that a row is sealed */
    if (rc == COFFER_OK)
        rc = drain_and_say(s, r, "seal", err);
    if (rc == COFFER_OK)
        rc = close_columns(s, r, err);
    if (rc == COFFER_OK)
        rc = phase_step(s, r, COFFER_DUAL, COFFER_SEALED, false, err);
    if (rc == COFFER_OK)
        rc = clean_columns(s, r->columns, r->column_count, err);
    if (rc == COFFER_OK)
        rc = rotation_enter(s, r, STEP_DONE, err);
    if (rc == COFFER_OK)
        rc = incarnation_renew(s, r->id, err);
    return rc;
}

/* ---- the command ---- */

/* First of all, and a statement a line, to be copied. */
static void
say_grants(struct session *s)
{
    struct buf grants;
    char *line, *end;

    buf_init(&grants, 4096);
    if (db_catalog_grants(s->database->db, "APPLICATION", &grants) == COFFER_OK && grants.len > 0) {
        say(s->env, ROTATE_NOTE, "plan",
            "each application's role needs, besides its rights on the table, which cover the companion unless they are "
            "granted by column:");
        buf_u8(&grants, '\0');
        for (line = (char *)grants.ptr; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            say(s->env, ROTATE_NOTE, "plan", "  %s", line);
        }
    }
    buf_wipe(&grants);
}

/* Every name before anything is said.  `*begun`: columns that an earlier call began with; `*sealed`: that need nothing. */
static int
find_all(struct session *s, const struct rotate_column *asked, size_t count, size_t *begun, size_t *sealed,
         struct coffer_error *err)
{
    size_t i;
    int rc = COFFER_OK;

    *begun = *sealed = 0;
    for (i = 0; rc == COFFER_OK && i < count; i++) {
        const struct keyring_column *record;

        rc = plan_find(s, &asked[i], &record, err);
        *begun += rc == COFFER_OK && record != NULL && record->phase != COFFER_SEALED;
        *sealed += rc == COFFER_OK && record != NULL && record->phase == COFFER_SEALED;
    }
    return rc;
}

/* `*open`: columns that are to be worked on; `*begun`: those of them that only go on. */
static int
plan_all(struct session *s, const struct rotate_column *asked, size_t count,
         struct keyring_column *columns, size_t *open, size_t *begun, struct coffer_error *err)
{
    struct plan_said said = {0};
    size_t i, sealed;
    bool known;
    int rc = find_all(s, asked, count, begun, &sealed, err);

    *open = 0;
    if (rc == COFFER_OK && *begun + sealed < count)
        say_grants(s);
    for (i = 0; rc == COFFER_OK && i < count; i++) {
        rc = plan_column(s, &asked[i], &columns[i], &known, &said, err);
        if (rc != COFFER_OK)
            break;
        if (columns[i].phase == COFFER_SEALED)
            say(s->env, ROTATE_NOTE, "protect", "%s.%s is sealed already", columns[i].table,
                columns[i].name);
        else if (known)
            say(s->env, ROTATE_NOTE, "protect", "%s.%s is in phase %s, and goes on from there", columns[i].table,
                columns[i].name, coffer_phase_name(columns[i].phase));
        *open += columns[i].phase != COFFER_SEALED;
    }
    if (rc == COFFER_OK && said.refused > 0)
        rc = error_set(err, COFFER_E_REFUSED,
                       "%s must be settled before these columns can be protected; see above",
                       counted(said.refused, "thing").text);
    return rc;
}

/* All sealed already, and --scrub asked for: only the files are left to be done. */
static int
scrub_sealed(struct session *s, const struct keyring_column *columns, size_t count, struct coffer_error *err)
{
    struct uuid *ids = mem_array(count + 1, sizeof *ids);
    size_t i;
    int rc = ids == NULL ? error_nomem(err) : COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < count; i++)
        ids[i] = columns[i].id;
    if (rc == COFFER_OK)
        rc = clean_columns(s, ids, count, err);
    mem_free(ids);
    return rc;
}

static int
confirm(struct session *s, size_t count, struct coffer_error *err)
{
    char question[400];

    if (s->options->yes)
        return COFFER_OK;
    snprintf(question, sizeof question, "Protect %zu column%s of %.250s?", count,
             count == 1 ? "" : "s", s->database->name);
    if (s->env->ask != NULL && s->env->ask(s->env->arg, question))
        return COFFER_OK;
    return error_set(err, COFFER_E_CANCELLED, "nothing was changed; answer yes, or give --yes");
}

/* Which columns of which database the keyring now holds. */
static char *
register_details(const struct session *s, const struct keyring_column *columns, size_t count)
{
    json_t *names = json_array(), *details;
    char *text;

    for (size_t i = 0; i < count; i++)
        if (json_array_append_new(names, json_sprintf("%s.%s", columns[i].table, columns[i].name)) != 0) {
            json_decref(names);
            return NULL;
        }
    details = json_pack("{s:s, s:o}", "database", s->database->name, "columns", names);
    text = details == NULL ? NULL : json_dumps(details, JSON_COMPACT);
    json_decref(details);
    return text;
}

static int
run_protect(struct session *s, struct keyring_column *columns, size_t count,
            struct coffer_error *err)
{
    struct register_arg arg = {.s = s, .columns = columns, .count = count};
    struct uuid *ids = mem_array(count + 1, sizeof *ids);
    struct rotation r = {0};
    char *details = NULL;
    size_t i;
    int rc = ids == NULL ? error_nomem(err) : host_database_adopt(s->database, err);

    for (i = 0; rc == COFFER_OK && i < count; i++) {
        columns[i].database = s->database->id;
        ids[i] = columns[i].id;
    }
    if (rc == COFFER_OK) {
        details = register_details(s, columns, count);
        rc = details == NULL ? error_nomem(err)
                             : session_change(s, "column.register", details, change_register, &arg, err);
        free(details);
    }
    if (rc == COFFER_OK) {
        s->database->registered = true;
        rc = host_database_saw(s->database, NULL, err);
    }
    if (rc == COFFER_OK)
        rc = open_record(s, ROTATION_PROTECT, ids, count, &r, err);
    if (rc == COFFER_OK)
        rc = protect_columns(s, &r, err);
    rotation_free(&r);
    mem_free(ids);
    return rc;
}

/* Killed between the last column's phase and the end of the record, every column is sealed and yet
 * the protect is open, which nothing else would ever close. */
static int
go_on_with_open(struct session *s, size_t *open, struct coffer_error *err)
{
    struct rotation r;
    int rc;

    if (!s->database->registered)
        return COFFER_OK;
    rc = rotation_find_open(&s->database->journal, ROTATION_PROTECT, NULL, &r, err);
    if (rc != COFFER_OK)
        return rc == COFFER_E_NOTFOUND ? COFFER_OK : rc;
    *open = r.column_count;
    rotation_free(&r);
    return COFFER_OK;
}

static int
none_twice(const struct rotate_column *asked, size_t count, struct coffer_error *err)
{
    for (size_t i = 1; i < count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(asked[i].name, asked[k].name) == 0)
                return error_set(err, COFFER_E_MISUSE, "column %s is given twice", asked[i].name);
    return COFFER_OK;
}

int
rotate_protect(const struct rotate_env *env, const struct rotate_column *asked, size_t count,
               const struct rotate_options *options, struct coffer_error *err)
{
    struct keyring_column *columns = mem_array(count + 1, sizeof *columns);
    struct session s;
    bool finished = false;
    size_t open = 0, begun = 0;
    int rc;

    if (columns == NULL)
        return error_nomem(err);
    rc = session_open(&s, env, options, err);
    if (rc != COFFER_OK) {
        mem_free(columns);
        return rc;
    }
    if (s.database->restored && !options->plan_only)
        rc = interrupted_finish(&s, &finished, err);
    if (rc == COFFER_OK && s.database->restored)
        rc = session_require_registered(&s, err);
    if (rc == COFFER_OK)
        rc = none_twice(asked, count, err);
    if (rc == COFFER_OK)
        rc = plan_all(&s, asked, count, columns, &open, &begun, err);
    if (rc == COFFER_OK && open > begun)
        rc = predict(&s, columns, count, err);
    if (rc == COFFER_OK && open == 0)
        rc = go_on_with_open(&s, &open, err);
    if (rc == COFFER_OK && open == 0 && options->scrub && !options->plan_only)
        rc = scrub_sealed(&s, columns, count, err);
    if (rc == COFFER_OK && options->plan_only)
        open = 0;
    if (rc == COFFER_OK && open > 0)
        rc = confirm(&s, count, err);
    if (rc == COFFER_OK && open > 0)
        rc = run_protect(&s, columns, count, err);
    session_close(&s);
    mem_free(columns);
    return rc;
}
