/* SPDX-License-Identifier: Apache-2.0 */
/* The drain and its sweeps: pass after pass over the tables, until one finds nothing to do. */
#include "base/mem.h"
#include "base/number.h"
#include "rotate/machine.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static int
add_chunk(void *arg, const struct journal_row *row, struct coffer_error *err)
{
    struct walk_stats *sum = arg;
    json_t *chunk = json_loadb((const char *)row->content.ptr, row->content.len, 0, NULL);

    (void)err;
    sum->rows_read += (uint64_t)json_integer_value(json_object_get(chunk, "rows_read"));
    sum->rows_done += (uint64_t)json_integer_value(json_object_get(chunk, "rows_done"));
    sum->rows_moved += (uint64_t)json_integer_value(json_object_get(chunk, "moved"));
    sum->quarantined += (uint64_t)json_integer_value(json_object_get(chunk, "quarantined"));
    json_decref(chunk);
    return COFFER_OK;
}

int
pass_totals(struct session *s, const struct rotation *rotation, uint32_t pass,
            struct walk_stats *out, struct coffer_error *err)
{
    char prefix[64];

    memset(out, 0, sizeof *out);
    snprintf(prefix, sizeof prefix, "%s/%" PRIu32 "/", rotation->id, pass);
    return journal_list(&s->database->journal, "chunk", prefix, add_chunk, out, NULL, err);
}

static int
estimate_rows(struct session *s, const struct rotation *rotation, uint64_t *total,
              struct coffer_error *err)
{
    struct table_set set;
    size_t i;
    int rc = table_set_open(s, rotation, &set, err);

    *total = 0;
    if (rc != COFFER_OK)
        return rc;
    for (i = 0; i < set.count; i++)
        *total += set.items[i].table->estimate_rows;
    table_set_close(&set);
    return COFFER_OK;
}

/* One pass by this worker; the record and keyring of the session must be fresh. */
static int
walk_pass(struct session *s, struct rotation *rotation, const char *step, struct walk_stats *stats,
          struct coffer_error *err)
{
    struct worker worker = {.env = s->env,
                            .options = s->options,
                            .database = s->database,
                            .rotation = rotation,
                            .step = step};
    struct table_set set;
    size_t i;
    int rc;

    snprintf(worker.owner, sizeof worker.owner, "%s", session_owner(s));
    rc = table_set_open(s, rotation, &set, err); /* may read the keyring anew */
    if (rc == COFFER_OK)
        rc = session_codec(s, &worker.codec, err);
    for (i = 0; rc == COFFER_OK && i < set.count; i++) {
        struct walk_table table = {.table = set.items[i].table,
                                   .columns = set.items[i].columns,
                                   .count = set.items[i].count};

        rc = worker_walk(&worker, &table, stats, err);
        if (rc != COFFER_OK)
            rc = error_prefix(err, "table %s: ", table.table->name);
    }
    table_set_close(&set);
    return rc;
}

static int
clear_quarantine(struct session *s, const struct rotation *rotation, struct coffer_error *err)
{
    size_t i;
    int rc = COFFER_OK;

    for (i = 0; rc == COFFER_OK && i < rotation->column_count; i++)
        rc = quarantine_clear(&s->database->journal, &rotation->columns[i], err);
    return rc;
}

/* Begin a pass that no worker has begun: its number is never used again, so that its chunks are
 * fresh. */
static int
next_pass(struct session *s, struct rotation *rotation, struct coffer_error *err)
{
    int rc = clear_quarantine(s, rotation, err);

    if (rc != COFFER_OK)
        return rc;
    rotation->pass++;
    return rotation_save(&s->database->journal, rotation, err);
}

static int
in_quarantine(struct session *s, const struct rotation *rotation, uint64_t *count,
              struct coffer_error *err)
{
    size_t i;
    int rc = COFFER_OK;

    *count = 0;
    for (i = 0; rc == COFFER_OK && i < rotation->column_count; i++) {
        uint64_t n = 0;

        rc = quarantine_count(&s->database->journal, &rotation->columns[i], &n, err);
        *count += n;
    }
    return rc;
}

/* Is there no use in another pass?  In phase shadow every write of an application makes work, for
 * ever: then it is enough that a pass found no less than half of what the one before found, since
 * the walk of phase dual takes the rest. */
static bool
drained(const char *step, const struct walk_stats *pass, uint64_t done_before)
{
    if (pass->rows_done == 0 && pass->rows_moved == 0)
        return true;
    return strcmp(step, "shadow") == 0 && pass->rows_done >= done_before - done_before / 2;
}

/* A pass that only met rows which others hold: looking again at once would find the same. */
static int
wait_for_locks(struct session *s, struct rotation *rotation, const char *step, unsigned stuck,
               uint64_t rows, struct coffer_error *err)
{
    char who[300];

    if (stuck < 3)
        return COFFER_OK;
    session_blame(s, who, sizeof who);
    if (s->options->no_wait)
        return error_set(err, COFFER_E_NOTYET, "locked by others: %s: %s",
                         counted(rows, "row").text, who);
    if (stuck % 20 == 3)
        say(s->env, ROTATE_WAIT, step, "locked by others: %s: %s", counted(rows, "row").text, who);
    s->env->os->sleep_ms(s->env->os, stuck < 20 ? 100 * stuck : 2000);
    return rotation_check(s, rotation, err);
}

int
drain(struct session *s, struct rotation *rotation, const char *step, struct drain_result *result,
      struct coffer_error *err)
{
    enum rotation_step entered = rotation->step;
    uint64_t done_before = UINT64_MAX;
    struct walk_stats pass;
    bool own =
        false; /* this call began the pass, so that it has looked at every row as it is now */
    unsigned stuck = 0;
    int rc;

    memset(result, 0, sizeof *result);
    rc = estimate_rows(s, rotation, &rotation->total_rows, err);
    /* A drain that was interrupted goes on with its chunks; everything else looks at all rows
     * again. */
    if (rc == COFFER_OK && (rotation->pass == 0 || strcmp(step, "drain") != 0)) {
        rc = next_pass(s, rotation, err);
        own = true;
    }
    while (rc == COFFER_OK) {
        rc = walk_pass(s, rotation, step, &result->stats, err);
        if (rc == COFFER_E_LOST) {
            rc = session_reconnect(s, err);
            continue;
        }
        if (rc == COFFER_E_CANCELLED) { /* stopped, paused, or the record moved on */
            rc = rotation_check(s, rotation, err);
            if (rc == COFFER_OK &&
                (rotation->step != entered || (rotation->aborting && !rotation->reversed)))
                rc = error_set(err, COFFER_E_CONFLICT,
                               "rotation %s was taken on by another command", rotation->id);
            continue;
        }
        if (rc != COFFER_OK)
            break;
        result->passes++;
        rc = pass_totals(s, rotation, rotation->pass, &pass, err);
        if (rc != COFFER_OK || (own && drained(step, &pass, done_before)))
            break;
        done_before = pass.rows_done;
        stuck = pass.rows_done == 0 && pass.rows_moved > 0 ? stuck + 1 : 0;
        rc = wait_for_locks(s, rotation, step, stuck, pass.rows_moved, err);
        if (rc == COFFER_OK)
            rc = rotation_check(s, rotation, err);
        if (rc == COFFER_OK)
            rc = next_pass(s, rotation, err);
        own = true;
    }
    if (rc == COFFER_OK)
        rc = in_quarantine(s, rotation, &result->quarantined, err);
    return rc;
}

/* ---- a further worker, on this machine or another ---- */

int
rotate_worker(const struct rotate_env *env, const struct rotate_options *options,
              struct coffer_error *err)
{
    struct rotation rotation = {0};
    struct walk_stats stats = {0};
    uint32_t walked = 0;
    struct session s;
    bool helped = false;
    int rc = session_open(&s, env, options, err);

    if (rc != COFFER_OK)
        return rc;
    rc = session_require_registered(&s, err);
    while (rc == COFFER_OK) {
        if (stopped(env)) {
            rc = error_set(err, COFFER_E_CANCELLED,
                           "stopped; the rotation goes on in its other workers");
            break;
        }
        rotation_free(&rotation);
        rc = rotation_find_open(&s.database->journal, 0, NULL, &rotation, err);
        if (rc == COFFER_E_NOTFOUND && helped) {
            rc = COFFER_OK;
            break;
        }
        if (rc == COFFER_OK && (rotation.step == STEP_DRAIN || rotation.step == STEP_SWEEP) &&
            !rotation.paused && rotation.pass > walked) {
            rc = session_refresh(&s, err);
            if (rc == COFFER_OK)
                rc = walk_pass(&s, &rotation, "drain", &stats, err);
            if (rc == COFFER_OK)
                walked = rotation.pass;
            else if (rc == COFFER_E_CANCELLED)
                rc = COFFER_OK;
            else if (rc == COFFER_E_LOST)
                rc = session_reconnect(&s, err);
            helped = true;
        } else if (rc == COFFER_OK && helped && rotation.step > STEP_SWEEP) {
            break;
        } else if (rc == COFFER_OK) {
            env->os->sleep_ms(env->os, 300);
        }
    }
    if (rc == COFFER_OK)
        say(env, ROTATE_DONE, "drain", "this worker moved %s", counted(stats.rows_done, "row").text);
    rotation_free(&rotation);
    session_close(&s);
    return rc;
}
