/* SPDX-License-Identifier: Apache-2.0 */
#include "rotate/index_internal.h"

#include "base/mem.h"
#include "base/number.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
work_close(struct index_work *w)
{
    db_table_free(w->table);
    mem_free(w->column);
    memset(w, 0, sizeof *w);
}

/* What the database sees of the index, for rows of `version`. */
int
index_work_terms(struct index_work *w, unsigned version, struct coffer_error *err)
{
    struct stored_column columns[INDEX_COLUMNS_MAX];
    size_t count = index_columns(&w->def, columns);
    struct db_cell_spec cell;

    if (count == 0)
        return error_set(err, COFFER_E_UNSUPPORTED, "an index of kind %s is not made by this release", index_kind_name(w->def.kind));
    column_cell_spec(w->column, &cell);
    w->terms.table = w->table;
    w->terms.sealed = cell.sealed != NULL ? cell.sealed : cell.plain;
    w->terms.count = count;
    w->terms.unique = w->def.unique;
    for (size_t i = 0; i < count; i++) {
        _Static_assert(sizeof w->terms.columns[i].name == sizeof columns[i].name, "names of one length");
        memcpy(w->terms.columns[i].name, columns[i].name, sizeof columns[i].name);
        w->terms.columns[i].form = columns[i].form == STORED_TERM    ? DB_TERM_16
                                   : columns[i].form == STORED_BYTES ? DB_TERM_BYTES
                                   : columns[i].form == STORED_INT   ? DB_TERM_INT
                                                                     : DB_TERM_TOKENS;
    }
    (void)index_version_range(&w->def, version, &w->range);
    w->terms.low = w->range.low;
    w->terms.high = w->range.high;
    w->terms.open_end = w->range.open_end;
    return COFFER_OK;
}

static int
work_open(struct session *s, const struct keyring_index *def, const struct keyring_column *column, struct index_work *w, struct coffer_error *err)
{
    int rc;

    memset(w, 0, sizeof *w);
    w->s = s;
    w->def = *def;
    w->column = mem_alloc(sizeof *w->column);
    if (w->column == NULL)
        return error_nomem(err);
    *w->column = *column;
    for (size_t i = 0; i < column->part_count; i++)
        w->place[i] = w->column->parts[i].name;
    rc = column_table(s, w->column, &w->table, err);
    if (rc == COFFER_OK)
        rc = index_work_terms(w, 1, err);
    if (rc != COFFER_OK)
        work_close(w);
    return rc;
}

/* ---- gate ---- */

static int
pass_gate(struct session *s, uint64_t epoch, const char *step, struct coffer_error *err)
{
    struct coffer_error reason = {0};
    char last[sizeof reason.message] = "";

    for (unsigned polls = 1;; polls++) {
        int rc = gate_check(s, NULL, epoch, NULL, &reason);

        if (rc == COFFER_OK)
            return COFFER_OK;
        if (rc != COFFER_E_NOTYET || s->options->no_wait)
            return error_set(err, rc, "%s", reason.message);
        if (strcmp(last, reason.message) != 0) {
            (void)snprintf(last, sizeof last, "%s", reason.message);
            say(s->env, ROTATE_WAIT, step, "%s", reason.message);
        }
        s->env->os->sleep_ms(s->env->os, 200);
        if (stopped(s->env))
            return error_set(err, COFFER_E_CANCELLED, "stopped; run the same command again to go on");
        rc = polls % 5 == 0 ? session_refresh(s, err) : COFFER_OK;
        if (rc != COFFER_OK)
            return rc;
    }
}

/* ---- changes of the keyring ---- */

struct change {
    struct keyring_index index;
    const struct uuid *database;
    const char *who;
    int64_t now_us;
    uint32_t key, former; /* of the line */
};

static enum key_purpose
purpose_of(const struct keyring_index *def)
{
    return def->kind == INDEX_SUM ? KEY_SUM : KEY_INDEX;
}

static int
change_enter(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct change *c = arg;
    int rc = COFFER_OK;

    if (keyring_active(kr, purpose_of(&c->index), c->index.line) == NULL) {
        rc = keyring_key_add(kr, purpose_of(&c->index), c->index.line, c->who, c->now_us, &c->key, err);
        if (rc == COFFER_OK)
            rc = keyring_key_move(kr, c->key, KEY_ACTIVE, c->now_us, err);
        if (rc == COFFER_OK)
            rc = keyring_key_used_in(kr, c->key, c->database, err);
    }
    return rc == COFFER_OK ? keyring_index_put(kr, &c->index, err) : rc;
}

static int
change_put(struct keyring *kr, void *arg, struct coffer_error *err)
{
    return keyring_index_put(kr, &((struct change *)arg)->index, err);
}

static int
change_stage(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct change *c = arg;
    int rc = keyring_key_add(kr, purpose_of(&c->index), c->index.line, c->who, c->now_us, &c->key, err);

    return rc == COFFER_OK ? keyring_key_used_in(kr, c->key, c->database, err) : rc;
}

static int
change_activate(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct change *c = arg;

    return keyring_key_move(kr, c->key, KEY_ACTIVE, c->now_us, err);
}

/* Nothing live is under it any more, which was counted. */
static int
retire(struct keyring *kr, uint32_t key, int64_t now_us, struct coffer_error *err)
{
    int rc = COFFER_OK;

    if (keyring_key(kr, key)->state == KEY_ACTIVE)
        rc = keyring_key_move(kr, key, KEY_DRAINING, now_us, err);
    if (rc == COFFER_OK && keyring_key(kr, key)->state == KEY_DRAINING)
        rc = keyring_key_move(kr, key, KEY_FENCED, now_us, err);
    if (rc == COFFER_OK && keyring_key(kr, key)->state == KEY_FENCED)
        rc = keyring_key_move(kr, key, KEY_PROVEN, now_us, err);
    return rc;
}

static int
change_retire(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct change *c = arg;

    return retire(kr, c->former, c->now_us, err);
}

/* The index goes; its keys, too, unless a join group still has them. */
static int
change_remove(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct change *c = arg;
    bool shared = false;
    int rc = keyring_index_remove(kr, &c->index.id, err);

    for (size_t i = 0; i < keyring_index_count(kr); i++)
        shared = shared || strcmp(keyring_index_at(kr, i)->line, c->index.line) == 0;
    for (size_t i = 0; rc == COFFER_OK && !shared && i < keyring_key_count(kr); i++) {
        const struct keyring_key *key = keyring_key_at(kr, i);

        if (key->purpose == purpose_of(&c->index) && strcmp(key->line, c->index.line) == 0 && key->state >= KEY_ACTIVE &&
            key->state <= KEY_FENCED)
            rc = retire(kr, key->id, c->now_us, err);
    }
    return rc;
}

static int
change(struct index_work *w, const char *event, keyring_change how, struct change *arg, struct coffer_error *err)
{
    char name[2 * KEYRING_NAME_MAX], *details;
    json_t *object;
    int rc;

    (void)snprintf(name, sizeof name, "%s.%s", w->column->table, w->column->name);
    object = json_pack("{s:s, s:s}", "column", name, "kind", index_kind_name(w->def.kind));
    details = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    if (details == NULL)
        return error_nomem(err);
    arg->index = w->def;
    arg->database = &w->s->database->id;
    arg->who = w->s->env->who;
    arg->now_us = w->s->env->os->now_us(w->s->env->os);
    rc = session_change(w->s, event, details, how, arg, err);
    free(details);
    return rc;
}

static int
enter_state(struct index_work *w, int state, const char *event, struct coffer_error *err)
{
    struct change arg = {0};

    w->def.state = state;
    return change(w, event, state == INDEX_FILLING ? change_enter : change_put, &arg, err);
}

/* ---- add ---- */

static const char *
suffix_of(int kind)
{
    switch (kind) {
    case INDEX_EQUALITY:
        return "_eq";
    case INDEX_TEXT:
        return "_tok";
    case INDEX_OPE:
        return "_ope";
    case INDEX_ORE:
        return "_ore";
    case INDEX_BUCKET:
        return "_bkt";
    default:
        return ""; /* sums add their own */
    }
}

static int
find_column(struct session *s, const char *name, const struct keyring_column **out, struct coffer_error *err)
{
    struct uuid *ids = NULL;
    size_t count = 0;
    int rc = columns_resolve(s, &name, 1, &ids, &count, err);

    if (rc != COFFER_OK)
        return rc;
    *out = keyring_column_by_id(s->keyring, &ids[0]);
    mem_free(ids);
    return *out != NULL ? COFFER_OK : error_set(err, COFFER_E_NOTFOUND, "no protected column %s", name);
}

static const struct keyring_index *
find_index(const struct keyring *kr, const struct uuid *column, int kind)
{
    for (size_t i = 0; i < keyring_index_count(kr); i++) {
        const struct keyring_index *index = keyring_index_at(kr, i);

        if (uuid_equal(&index->column, column) && index->kind == kind)
            return index;
    }
    return NULL;
}

static bool
same_options(const struct keyring_index *a, const struct keyring_index *b)
{
    return a->normaliser == b->normaliser && a->bits == b->bits && a->width == b->width && a->precision == b->precision &&
           a->scale == b->scale && a->edge == b->edge && a->padding == b->padding && a->words == b->words &&
           a->short_grams == b->short_grams && a->unique == b->unique && a->wide == b->wide && a->tags == b->tags && a->max_abs == b->max_abs;
}

/* The definition that is entered: as asked for, with names of its own. */
static int
define(struct session *s, const struct keyring_column *column, const struct keyring_index *asked, struct keyring_index *out, struct coffer_error *err)
{
    char text[37];
    int rc;

    *out = *asked;
    out->column = column->id;
    out->state = INDEX_FILLING;
    rc = uuid_new(&out->id, err);
    if (rc != COFFER_OK)
        return rc;
    if (uuid_zero(&out->group))
        out->group = out->id;
    uuid_format(&out->group, text);
    (void)snprintf(out->line, sizeof out->line, "index/%s", text);
    if (out->store[0] == '\0' && snprintf(out->store, sizeof out->store, "%s%s", column->name, suffix_of(out->kind)) >= (int)sizeof out->store)
        return error_set(err, COFFER_E_LIMIT, "%s: too long a name for a column beside it", column->name);
    return index_def_check(out, column, err);
}

static int
add_one(struct session *s, const struct rotate_index *asked, struct coffer_error *err)
{
    const struct keyring_column *column = NULL;
    const struct keyring_index *known;
    struct keyring_index def;
    struct index_work w;
    int rc = find_column(s, asked->column, &column, err);

    if (rc != COFFER_OK)
        return rc;
    if (column->phase != COFFER_SEALED)
        return error_set(err, COFFER_E_REFUSED, "%s is in phase %s: terms are added to sealed columns; run coffer protect first", asked->column,
                         coffer_phase_name(column->phase));
    rc = define(s, column, &asked->def, &def, err);
    if (rc != COFFER_OK)
        return rc;
    known = find_index(s->keyring, &column->id, def.kind);
    if (known != NULL && !same_options(known, &def))
        return error_set(err, COFFER_E_EXISTS, "%s has an index of kind %s with other options: drop it first (--drop-search)", asked->column,
                         index_kind_name(def.kind));
    if (known != NULL)
        def = *known;
    if (def.state == INDEX_DROPPING)
        return error_set(err, COFFER_E_REFUSED, "the index of %s is being dropped: let that end first", asked->column);
    if (def.state == INDEX_READY) {
        say(s->env, ROTATE_NOTE, "index", "%s has its index of kind %s already", asked->column, index_kind_name(def.kind));
        return COFFER_OK;
    }
    rc = work_open(s, &def, column, &w, err);
    if (rc != COFFER_OK)
        return rc;
    say(s->env, ROTATE_STEP, "index", "%s: terms of kind %s in %s", asked->column, index_kind_name(def.kind), w.terms.columns[0].name);
    rc = db_terms_add(s->database->db, &w.terms, err);
    if (rc == COFFER_OK && known == NULL)
        rc = enter_state(&w, INDEX_FILLING, "index.add", err);
    if (rc == COFFER_OK)
        rc = pass_gate(s, keyring_index(s->keyring, &def.id)->state_epoch, "gate", err);
    for (unsigned tries = 0; rc == COFFER_OK; tries++) {
        rc = index_fill(&w, "fill", err);
        if (rc == COFFER_OK)
            rc = db_terms_index(s->database->db, &w.terms, err);
        if (rc == COFFER_OK)
            rc = db_terms_require(s->database->db, &w.terms, err);
        if (rc != COFFER_E_CONFLICT || tries >= 20)
            break;
        s->env->os->sleep_ms(s->env->os, 200);
        rc = COFFER_OK;
    }
    if (rc == COFFER_OK)
        rc = enter_state(&w, INDEX_READY, "index.ready", err);
    if (rc == COFFER_OK)
        say(s->env, ROTATE_DONE, "index", "%s can be asked for by its terms", asked->column);
    work_close(&w);
    return rc;
}

static int
with_session(const struct rotate_env *env, const struct rotate_options *options, int (*work)(struct session *s, void *arg, struct coffer_error *err),
             void *arg, struct coffer_error *err)
{
    struct session s;
    int rc = session_open(&s, env, options, err);

    if (rc != COFFER_OK)
        return rc;
    rc = session_require_registered(&s, err);
    if (rc == COFFER_OK)
        rc = work(&s, arg, err);
    session_close(&s);
    return rc;
}

struct add_arg {
    const struct rotate_index *indexes;
    size_t count;
};

static int
add_all(struct session *s, void *arg, struct coffer_error *err)
{
    struct add_arg *add = arg;
    int rc = COFFER_OK;

    for (size_t i = 0; rc == COFFER_OK && i < add->count; i++)
        rc = add_one(s, &add->indexes[i], err);
    return rc;
}

int
rotate_index_add(const struct rotate_env *env, const struct rotate_index *indexes, size_t count, const struct rotate_options *options,
                 struct coffer_error *err)
{
    struct add_arg arg = {indexes, count};

    return with_session(env, options, add_all, &arg, err);
}

/* ---- drop, and another key ---- */

struct one_arg {
    const char *column;
    int kind;
    int (*work)(struct index_work *w, struct coffer_error *err);
    size_t done;
};

static int
drop_one(struct index_work *w, struct coffer_error *err)
{
    struct change arg = {0};
    int rc = COFFER_OK;

    if (w->def.state != INDEX_DROPPING)
        rc = enter_state(w, INDEX_DROPPING, "index.drop", err);
    if (rc == COFFER_OK)
        rc = pass_gate(w->s, keyring_index(w->s->keyring, &w->def.id)->state_epoch, "gate", err);
    if (rc == COFFER_OK)
        rc = db_terms_drop(w->s->database->db, &w->terms, err);
    if (rc == COFFER_OK)
        rc = change(w, "index.gone", change_remove, &arg, err);
    if (rc == COFFER_OK)
        say(w->s->env, ROTATE_DONE, "index", "%s.%s has no %s terms any more", w->column->table, w->column->name, index_kind_name(w->def.kind));
    return rc;
}

/* The newest key of the line in `state`; 0: none. */
static uint32_t
key_in(const struct keyring *kr, const struct keyring_index *def, enum key_state state)
{
    uint32_t found = 0;

    for (size_t i = 0; i < keyring_key_count(kr); i++) {
        const struct keyring_key *key = keyring_key_at(kr, i);

        if (key->purpose == purpose_of(def) && strcmp(key->line, def->line) == 0 && key->state == state)
            found = key->id;
    }
    return found;
}

static int
rotate_one(struct index_work *w, struct coffer_error *err)
{
    struct session *s = w->s;
    struct change arg = {0};
    int rc = COFFER_OK;

    if (w->def.state != INDEX_READY)
        return error_set(err, COFFER_E_REFUSED, "the index of %s.%s is not ready yet", w->column->table, w->column->name);
    if (w->def.unique)
        return error_set(err, COFFER_E_UNSUPPORTED, "%s.%s: a unique index cannot get another key in place, since equal values under two keys look "
                                                    "different; drop it and add it again", w->column->table, w->column->name);
    arg.former = key_in(s->keyring, &w->def, KEY_DRAINING);
    arg.key = key_in(s->keyring, &w->def, KEY_STAGED);
    if (arg.former == 0) { /* else it went that far already */
        if (arg.key == 0)
            rc = change(w, "index.stage", change_stage, &arg, err);
        if (rc == COFFER_OK)
            rc = pass_gate(s, keyring_epoch(s->keyring), "gate", err);
        arg.former = key_in(s->keyring, &w->def, KEY_ACTIVE);
        if (rc == COFFER_OK)
            rc = change(w, "index.activate", change_activate, &arg, err);
    }
    if (rc == COFFER_OK)
        rc = pass_gate(s, keyring_epoch(s->keyring), "gate", err);
    if (rc == COFFER_OK)
        rc = index_fill(w, "fill", err);
    if (rc == COFFER_OK)
        rc = change(w, "index.proven", change_retire, &arg, err);
    if (rc == COFFER_OK)
        say(s->env, ROTATE_DONE, "index", "no term of %s.%s is under key %08x any more", w->column->table, w->column->name, arg.former);
    return rc;
}

static int
each_index(struct session *s, void *arg, struct coffer_error *err)
{
    struct one_arg *one = arg;
    const struct keyring_column *found = NULL;
    struct keyring_column *column;
    int rc = find_column(s, one->column, &found, err);

    if (rc != COFFER_OK)
        return rc;
    column = mem_alloc(sizeof *column);
    if (column == NULL)
        return error_nomem(err);
    *column = *found;
    for (int kind = INDEX_EQUALITY; rc == COFFER_OK && kind <= INDEX_PAILLIER; kind++) {
        const struct keyring_index *index = find_index(s->keyring, &column->id, kind);
        struct index_work w;

        if (index == NULL || (one->kind != 0 && kind != one->kind))
            continue;
        rc = work_open(s, index, column, &w, err);
        if (rc != COFFER_OK)
            break;
        rc = one->work(&w, err);
        work_close(&w);
        one->done++;
    }
    mem_free(column);
    if (rc == COFFER_OK && one->done == 0)
        rc = error_set(err, COFFER_E_NOTFOUND, "%s has no such index; coffer status lists them", one->column);
    return rc;
}

int
rotate_index_drop(const struct rotate_env *env, const char *column, int kind, const struct rotate_options *options, struct coffer_error *err)
{
    struct one_arg arg = {.column = column, .kind = kind, .work = drop_one};

    return with_session(env, options, each_index, &arg, err);
}

int
rotate_index_key(const struct rotate_env *env, const char *column, int kind, const struct rotate_options *options, struct coffer_error *err)
{
    struct one_arg arg = {.column = column, .kind = kind, .work = rotate_one};

    return with_session(env, options, each_index, &arg, err);
}
