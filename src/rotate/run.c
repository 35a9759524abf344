/* SPDX-License-Identifier: Apache-2.0 */
/* `rotate`: which lines, which keys, and what is already under way. */
#include "base/mem.h"
#include "base/number.h"
#include "rotate/predict.h"
#include "rotate/machine.h"

#include <stdio.h>
#include <string.h>

static bool
has_database(const struct keyring_key *key, const struct uuid *database)
{
    size_t i;

    for (i = 0; i < key->database_count; i++) {
        if (uuid_equal(&key->databases[i], database))
            return true;
    }
    return false;
}

/* A key that another database's rotation has retired already, and that this one has not proven
 * gone. */
static const struct keyring_key *
left_over(struct session *s, const char *line)
{
    size_t i;

    for (i = 0; i < keyring_key_count(s->keyring); i++) {
        const struct keyring_key *key = keyring_key_at(s->keyring, i);

        if (key->purpose == KEY_FIELD && strcmp(key->line, line) == 0 &&
            has_database(key, &s->database->id) &&
            (key->state == KEY_DRAINING || key->state == KEY_FENCED) &&
            keyring_certificate(s->keyring, key->id, &s->database->id) == NULL)
            return key;
    }
    return NULL;
}

/* All columns of `line` in this database; for a split, `only` of them. */
static int
line_columns(struct session *s, const char *line, const struct uuid *only, size_t only_count,
             struct rotation *r, struct coffer_error *err)
{
    size_t total = keyring_column_count(s->keyring), i, j;

    r->columns = mem_array(total + 1, sizeof *r->columns);
    if (r->columns == NULL)
        return error_nomem(err);
    for (i = 0; i < total; i++) {
        const struct keyring_column *column = keyring_column_at(s->keyring, i);
        bool take = only == NULL;

        for (j = 0; only != NULL && j < only_count; j++)
            take = take || uuid_equal(&only[j], &column->id);
        if (take && !column->retired && uuid_equal(&column->database, &s->database->id) &&
            (line == NULL || strcmp(column->line, line) == 0))
            r->columns[r->column_count++] = column->id;
    }
    return COFFER_OK;
}

static int
refuse_open_protect(struct session *s, struct coffer_error *err)
{
    struct rotation open;
    int rc = rotation_find_open(&s->database->journal, ROTATION_PROTECT, NULL, &open, err);

    if (rc == COFFER_E_NOTFOUND)
        rc = rotation_find_open(&s->database->journal, ROTATION_UNPROTECT, NULL, &open, err);
    if (rc == COFFER_E_NOTFOUND)
        return COFFER_OK;
    if (rc == COFFER_OK) {
        rc =
            error_set(err, COFFER_E_REFUSED,
                      "a coffer %s is not finished in this database; run it again to its end first",
                      rotation_kind_name(open.kind));
        rotation_free(&open);
    }
    return rc;
}

static int
begin(struct session *s, const char *line, const struct uuid *split, size_t split_count,
      struct rotation *r, struct coffer_error *err)
{
    const struct keyring_key *active = keyring_active(s->keyring, KEY_FIELD, line),
                             *old = left_over(s, line);
    struct uuid id;
    int rc;

    memset(r, 0, sizeof *r);
    rc = uuid_new(&id, err);
    if (rc == COFFER_OK)
        rc = line_columns(s, split != NULL ? NULL : line, split, split_count, r, err);
    if (rc != COFFER_OK)
        return rc;
    uuid_format(&id, r->id);
    r->kind = ROTATION_ROTATE;
    r->step = STEP_STAGE;
    r->begin_epoch = keyring_epoch(s->keyring);
    r->started_us = r->step_us = s->env->os->now_us(s->env->os);
    snprintf(r->line, sizeof r->line, "%s", line);
    if (split != NULL) {
        r->from_key = 0; /* stays active for the columns that are left */
    } else if (old != NULL && active != NULL) {
        r->from_key = old->id;
        r->to_key = active->id;
        r->activate_epoch = keyring_epoch(s->keyring);
        r->step = STEP_DRAIN;
    } else if (active != NULL) {
        r->from_key = active->id;
    }
    rc = rotation_save(&s->database->journal, r, err);
    if (rc != COFFER_OK)
        rotation_free(r);
    return rc;
}

static void
say_columns(struct session *s, const struct rotation *r)
{
    struct buf names;
    size_t i;

    buf_init(&names, 2000);
    for (i = 0; i < r->column_count; i++) {
        const struct keyring_column *column = keyring_column_by_id(s->keyring, &r->columns[i]);

        if (column != NULL)
            buf_format(&names, "%s%s.%s", i > 0 ? ", " : "", column->table, column->name);
    }
    say(s->env, ROTATE_NOTE, "rotate", "line %s: %zu column%s come%s along: %.400s", r->line,
        r->column_count, r->column_count == 1 ? "" : "s", r->column_count == 1 ? "s" : "",
        buf_cstr(&names));
    buf_wipe(&names);
}

/* Go on with the open rotation, or else begin one if `may_begin`; `*ran` says whether there was one. */
static int
rotate_once(struct session *s, const char *line, const struct uuid *split, size_t split_count,
            bool may_begin, bool *ran, struct coffer_error *err)
{
    struct rotation r = {0};
    int rc = rotation_find_open(&s->database->journal, ROTATION_ROTATE, line, &r, err);

    *ran = rc == COFFER_OK || may_begin;
    if (rc == COFFER_OK)
        say(s->env, ROTATE_NOTE, "rotate", "going on with the rotation of line %s that is at step %s",
            line, rotation_step_name(r.step));
    else if (rc == COFFER_E_NOTFOUND && !may_begin) /* another command has ended it */
        return COFFER_OK;
    else if (rc == COFFER_E_NOTFOUND)
        rc = begin(s, line, split, split_count, &r, err);
    if (rc == COFFER_OK) {
        say_columns(s, &r);
        rc = machine_run(s, &r, err);
    }
    rotation_free(&r);
    return rc;
}

/* An abort that went forward leaves two keys behind; each is fenced and proven in a rotation of its own. */
static int
rotate_line(struct session *s, const char *line, const struct uuid *split, size_t split_count,
            struct coffer_error *err)
{
    bool ran = false;
    int rc = rotate_once(s, line, split, split_count, !s->options->open_only, &ran, err);

    while (rc == COFFER_OK && ran && split == NULL && left_over(s, line) != NULL)
        rc = rotate_once(s, line, NULL, 0, true, &ran, err);
    return rc;
}

/* Each line of these columns once, in `lines` (room for n). */
static size_t
lines_of(struct session *s, const struct uuid *ids, size_t n, char (*lines)[KEYRING_NAME_MAX])
{
    size_t count = 0, i, j;

    for (i = 0; i < n; i++) {
        const char *line = keyring_column_by_id(s->keyring, &ids[i])->line;

        for (j = 0; j < count && strcmp(lines[j], line) != 0; j++)
            ;
        if (j == count)
            memcpy(lines[count++], line, KEYRING_NAME_MAX);
    }
    return count;
}

static int
say_column(struct session *s, const struct keyring_column *column, uint32_t to_key, struct coffer_error *err)
{
    struct db_table *table = NULL;
    struct db_cell_spec spec;
    struct db_count *count = NULL;
    uint64_t moved = 0;
    int rc = column_table(s, column, &table, err);

    column_cell_spec(column, &spec);
    if (rc == COFFER_OK)
        rc = db_count_estimate(s->database->db, table, &spec, &count, err);
    db_table_free(table);
    if (rc != COFFER_OK)
        return rc;
    for (size_t i = 0; i < count->key_count; i++) /* what an open rotation has moved */
        if (to_key != 0 && count->keys[i].key_id == to_key)
            moved = count->keys[i].cells;
    say(s->env, ROTATE_NOTE, "plan", "%s.%s: line %s, %s, about %s to re-encrypt",
        column->table, column->name, column->line, coffer_phase_name(column->phase),
        counted(count->rows - count->nulls - moved, "cell").text);
    db_count_free(count);
    return COFFER_OK;
}

static int
say_plan(struct session *s, const struct rotation *open, const struct uuid *ids, size_t n, struct coffer_error *err)
{
    struct keyring_column *columns = mem_array(n + 1, sizeof *columns);
    size_t i;
    int rc = columns == NULL ? error_nomem(err) : COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < n; i++) {
        columns[i] = *keyring_column_by_id(s->keyring, &ids[i]);
        rc = say_column(s, &columns[i], strcmp(columns[i].line, open->line) == 0 ? open->to_key : 0, err);
    }
    if (rc == COFFER_OK)
        rc = predict(s, columns, n, err);
    mem_free(columns);
    return rc;
}

static int
run_lines(struct session *s, const struct uuid *ids, size_t n, struct coffer_error *err)
{
    char(*lines)[KEYRING_NAME_MAX] = mem_array(n + 1, sizeof *lines);
    size_t count, i;
    int rc = COFFER_OK;

    if (lines == NULL)
        return error_nomem(err);
    count = lines_of(s, ids, n, lines);
    for (i = 0; rc == COFFER_OK && i < count; i++)
        rc = rotate_line(s, lines[i], NULL, 0, err);
    mem_free(lines);
    return rc;
}

/* --restored said of a database that is as the keyring saw it last: a rotation of a day's work begun by mistake.  A
 * rotation that is open may be the one that a recovery began: that goes on. */
static int
refuse_restored(struct session *s, struct coffer_error *err)
{
    struct rotation open;
    int rc = rotation_find_open(&s->database->journal, ROTATION_ROTATE, NULL, &open, err);

    if (rc == COFFER_OK)
        rotation_free(&open);
    if (rc != COFFER_E_NOTFOUND)
        return rc;
    return error_set(err, COFFER_E_REFUSED,
                     "%s is no restored copy: it is as this keyring saw it last, so that --restored has nothing to bring "
                     "forward. Leave it away to rotate; if you did restore a backup, is this the database it went to?",
                     s->database->name);
}

/* A rotation that is open already: a plan says so; one that somebody paused is not gone on with in passing. */
static int
look_for_open(struct session *s, struct rotation *open, struct coffer_error *err)
{
    struct coffer_error why = {0};
    int rc = rotation_find_open(&s->database->journal, ROTATION_ROTATE, NULL, open, &why);

    if (rc == COFFER_E_NOTFOUND)
        return COFFER_OK;
    if (rc != COFFER_OK)
        return error_set(err, rc, "%s", why.message);
    if (s->options->plan_only)
        say(s->env, ROTATE_NOTE, "plan", "a rotation of line %s to key %08x is open (%s%s); coffer rotate%s goes on with it", open->line,
            (unsigned)open->to_key, rotation_step_name(open->step), open->paused ? ", paused" : "",
            open->paused ? " --resume" : "");
    else if (open->paused)
        return error_set(err, COFFER_E_NOTYET, "the rotation of line %s is paused; coffer rotate --resume goes on", open->line);
    return COFFER_OK;
}

int
rotate_run(const struct rotate_env *env, const char *const *columns, size_t count,
           const struct rotate_options *options, struct coffer_error *err)
{
    struct rotation open = {0};
    struct uuid *ids = NULL;
    size_t n = 0;
    struct session s;
    bool was_restored;
    int rc = session_open(&s, env, options, err);

    if (rc != COFFER_OK)
        return rc;
    was_restored = s.database->restored;
    if (was_restored) {
        rc = recover(&s, err);
        if (options->plan_only) {
            session_close(&s);
            return rc;
        }
    }
    if (rc == COFFER_OK)
        rc = session_require_registered(&s, err);
    if (rc == COFFER_OK && options->restored && !was_restored)
        rc = refuse_restored(&s, err);
    if (rc == COFFER_OK)
        rc = refuse_open_protect(&s, err);
    if (rc == COFFER_OK)
        rc = look_for_open(&s, &open, err);
    if (rc == COFFER_OK)
        rc = columns_resolve(&s, columns, count, &ids, &n, err);
    if (rc == COFFER_OK && n == 0)
        say(env, ROTATE_NOTE, options->plan_only ? "plan" : "rotate", "nothing to do: no column of this database is protected");
    if (rc == COFFER_OK && n > 0) {
        if (options->plan_only)
            rc = say_plan(&s, &open, ids, n, err);
        else if (options->split != NULL && count == 0)
            rc = error_set(err, COFFER_E_MISUSE,
                           "--split moves just the columns that are named; name them");
        else if (options->split != NULL)
            rc = rotate_line(&s, options->split, ids, n, err);
        else
            rc = run_lines(&s, ids, n, err);
    }
    mem_free(ids);
    rotation_free(&open);
    session_close(&s);
    return rc;
}

int
rotate_control(const struct rotate_env *env, enum rotate_control what, struct coffer_error *err)
{
    struct rotate_options options = {0};
    struct rotation r = {0};
    struct session s;
    unsigned attempt;
    int rc = session_open(&s, env, &options, err);

    if (rc != COFFER_OK)
        return rc;
    rc = session_require_registered(&s, err);
    for (attempt = 0; rc == COFFER_OK && attempt < 20;
         attempt++) { /* the running command saves the record too */
        rotation_free(&r);
        rc = rotation_find_open(&s.database->journal, 0, NULL, &r, err);
        if (rc != COFFER_OK)
            break;
        if (what == ROTATE_ABORT && r.step >= STEP_FENCE)
            rc = error_set(
                err, COFFER_E_REFUSED,
                "the fence is up: going back now would be a rotation of its own; let it finish");
        else if (what == ROTATE_ABORT && (r.kind != ROTATION_ROTATE || r.from_key == 0))
            rc = error_set(
                err, COFFER_E_REFUSED,
                "only a rotation can be aborted; use coffer unprotect to take back a protect");
        if (rc != COFFER_OK)
            break;
        r.paused = what == ROTATE_PAUSE || (r.paused && what == ROTATE_ABORT);
        r.aborting = r.aborting || what == ROTATE_ABORT;
        if (what == ROTATE_ABORT)
            r.paused = false;
        rc = rotation_save(&s.database->journal, &r, err);
        if (rc == COFFER_OK)
            break;
        if (rc == COFFER_E_CONFLICT)
            rc = COFFER_OK;
    }
    if (rc == COFFER_OK)
        say(env, ROTATE_DONE, "rotate", "the rotation of line %s is %s", r.line,
            what == ROTATE_PAUSE    ? "paused; coffer rotate --resume goes on"
            : what == ROTATE_RESUME ? "going on"
                                    : "being taken back: its values go back to the old key");
    rotation_free(&r);
    session_close(&s);
    return rc;
}
