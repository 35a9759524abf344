/* SPDX-License-Identifier: Apache-2.0 */
/* The worker: chunk by chunk, reads rows, opens and seals them in memory (stage.c), and writes them
 * back if they are still as read.
 *
 * A batch is one short transaction that begins with the guard: the rotation's row at the epoch
 * under which this worker started. A transition changes that row, so it waits for batches under way
 * and shuts out the ones that come late, of a worker that was frozen too.  No lock is held while
 * opening and sealing.  Rows that somebody else holds or changed are left and taken again later: at
 * the end of the chunk, then by the sweep, and from the third pass on alone, with a short wait.
 */
#include "base/mem.h"
#include "rotate/batch_size.h"
#include "rotate/chunk.h"
#include "rotate/stage.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CHUNK_ROWS_MIN 10000
#define CHUNK_ROWS_MAX 50000
#define RENEW_MS (CHUNK_LEASE_MS / 3)
#define RETRIES 3
#define ALONE_PASS 3
#define ALONE_WAIT_MS 100
#define PROGRESS_MS 300

struct walker {
    struct worker *worker;
    const struct walk_table *table;
    struct walk_stats *stats;
    struct chunks chunks;
    struct db_want *wants;
    struct db_walk *walk;
    struct throttle *throttle;
    struct db_guard guard;
    struct coffer_value guard_params[2];
    char guard_sql[200];
    struct stages *stages;
    struct batch_size size;
    int64_t progress_at_ms, started_ms;
    uint64_t started_done;
    struct chunk chunk;
    int64_t renewed_ms;
    int64_t conflict_since_ms; /* 0: none */
    unsigned conflicts;
};

static int64_t
now_ms(const struct walker *w)
{
    const struct os *os = w->worker->env->os;

    return os->monotonic_ms(os);
}

static int
cancelled(struct coffer_error *err)
{
    return error_set(err, COFFER_E_CANCELLED, "stopped; the rotation can be resumed");
}

/* ---- setting up ---- */

static void
make_guard(struct walker *w)
{
    const struct rotation *rotation = w->worker->rotation;
    struct db *db = w->worker->database->db;

    snprintf(w->guard_sql, sizeof w->guard_sql, "SELECT 1 FROM %s WHERE key=$1 AND epoch=$2%s",
             db_catalog_name(db, "rotation"), db_engine(db) == DB_POSTGRESQL ? " FOR SHARE" : "");
    w->guard_params[0] = (struct coffer_value){
        .type = COFFER_TEXT, .data = (const uint8_t *)rotation->id, .len = strlen(rotation->id)};
    w->guard_params[1] =
        (struct coffer_value){.type = COFFER_INT64, .i64 = (int64_t)rotation->epoch};
    w->guard = (struct db_guard){.sql = w->guard_sql, .params = w->guard_params, .count = 2};
}

static void
choose_sizes(struct walker *w)
{
    const struct rotate_options *options = w->worker->options;
    const struct db_table *table = w->table->table;
    bool sqlite = db_engine(w->worker->database->db) == DB_SQLITE;
    uint64_t rows = table->estimate_rows / 50;

    w->chunks.rows = rows < CHUNK_ROWS_MIN   ? CHUNK_ROWS_MIN
                     : rows > CHUNK_ROWS_MAX ? CHUNK_ROWS_MAX
                                             : rows;
    if (sqlite) /* nobody to share with; each chunk costs three synced writes */
        w->chunks.rows = CHUNK_ROWS_MAX;
    batch_size_begin(&w->size, table, db_engine(w->worker->database->db), options->throttle.duty >= 1,
                     options->batch_rows);
}

static int
walker_open(struct walker *w, struct coffer_error *err)
{
    struct worker *worker = w->worker;
    struct db_want *wants = mem_array(w->table->count, sizeof *wants);
    int rc;

    if (wants == NULL)
        return error_nomem(err);
    for (size_t i = 0; i < w->table->count; i++)
        wants[i] = w->table->columns[i].want;
    rc = db_walk_open(worker->database->db, w->table->table, wants, w->table->count, &w->walk, err);
    w->wants = wants; /* borrowed by the walk */
    if (rc != COFFER_OK)
        return rc;
    rc = throttle_new(&worker->options->throttle, worker->database, w->table->table,
                      worker->env->os, &w->throttle, err);
    if (rc == COFFER_OK) {
        throttle_follow(w->throttle, worker->rotation->id);
        rc = throttle_after(w->throttle, 0, 0, worker->env, err); /* what holds the work holds its first batch, too */
    }
    /* At full speed the second core seals; under a throttle it is the application's. */
    if (rc == COFFER_OK)
        rc = stages_new(worker->codec, w->table, worker->options,
                        worker->options->throttle.duty >= 1, &w->stages, err);
    return rc;
}

static void
walker_close(struct walker *w)
{
    stages_free(w->stages);
    throttle_free(w->throttle);
    db_walk_close(w->walk);
    mem_free(w->wants);
    chunk_wipe(&w->chunk);
}

/* ---- one batch ---- */

/* The key of what stands in a cell; 0 if it says none. */
static uint32_t
stored_key(const struct db_cell *cell, const struct walk_column *column)
{
    struct coffer_envelope_info info;
    struct bytes stored = column->want.cell.sealed != NULL
                              ? cell->sealed
                              : bytes_of(cell->plain.data, cell->plain.len);

    if (column->want.cell.sealed == NULL && cell->sealed.ptr != NULL)
        stored = cell->sealed; /* in place: the adapter has told it from plaintext */
    return stored.ptr != NULL && envelope_parse(stored, &info, NULL) == COFFER_OK ? info.key_id : 0;
}

static int
to_quarantine(struct walker *w, const struct staged *staged, struct coffer_error *err)
{
    int rc = COFFER_OK;

    for (size_t i = 0; rc == COFFER_OK && i < staged->refusal_count; i++) {
        const struct refusal *refusal = &staged->refusals[i];

        const struct db_row *row = &staged->batch->rows[refusal->row];

        rc = quarantine_put(&w->worker->database->journal, refusal->column->column, row,
                            w->table->table->key_count,
                            stored_key(&row->cells[refusal->column - w->table->columns],
                                       refusal->column),
                            refusal->reason, err);
        w->stats->quarantined += rc == COFFER_OK;
        w->chunk.stats.quarantined += rc == COFFER_OK;
    }
    return rc;
}

static void
count_outcomes(struct walker *w, const struct db_batch *batch, uint64_t *moved)
{
    struct walk_stats *stats = w->stats;

    for (size_t i = 0; i < batch->count; i++) {
        const struct db_row *row = &batch->rows[i];

        if (row->outcome == DB_ROW_MOVED)
            (*moved)++;
        if (row->outcome != DB_ROW_DONE)
            continue;
        stats->rows_done++;
        w->chunk.stats.rows_done++;
        for (size_t c = 0; c < batch->cell_count; c++) {
            stats->cells_done += row->cells[c].set_plain || row->cells[c].set_sealed;
            stats->bytes_sealed += row->cells[c].set_sealed ? row->cells[c].new_sealed.len : 0;
        }
    }
    stats->batches++;
}

static bool
any_set(const struct db_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        for (size_t c = 0; c < batch->cell_count; c++)
            if (batch->rows[i].cells[c].set_plain || batch->rows[i].cells[c].set_sealed)
                return true;
    return false;
}

static int
write_batch(struct walker *w, struct db_batch *batch, unsigned wait_ms, struct coffer_error *err)
{
    if (!any_set(batch)) {
        for (size_t i = 0; i < batch->count; i++)
            batch->rows[i].outcome = DB_ROW_UNTOUCHED;
        return COFFER_OK;
    }
    return db_walk_write(w->walk, batch, &w->guard, wait_ms, w->worker->rotation->id, err);
}

/* Somebody else is at it: less at a time, after a pause that is different for every worker. */
static int
back_off(struct walker *w, struct coffer_error *err)
{
    const struct rotate_env *env = w->worker->env;
    int64_t now = now_ms(w);
    uint8_t jitter = 0;
    unsigned wait_ms = 5u << (w->conflicts < 6 ? w->conflicts : 6);

    if (stopped(env))
        return cancelled(err);
    if (w->conflicts++ == 0)
        w->conflict_since_ms = now;
    if (w->conflicts % 50 == 0)
        say(env, ROTATE_WAIT, w->worker->step,
            "the database has been busy for %" PRId64 " s: %.400s",
            (now - w->conflict_since_ms) / 1000, err != NULL ? err->message : "");
    batch_size_halve(&w->size);
    if (env->os->random(env->os, &jitter, sizeof jitter, NULL) != COFFER_OK)
        jitter = 0;
    env->os->sleep_ms(env->os, wait_ms + wait_ms * jitter / 256);
    return COFFER_OK;
}

static void
progress(struct walker *w)
{
    const struct worker *worker = w->worker;
    int64_t now = now_ms(w);
    double seconds = (double)(now - w->started_ms) / 1000;
    double rate = seconds > 0 ? (double)(w->stats->rows_done - w->started_done) / seconds : 0;
    uint64_t total = worker->rotation->total_rows;
    uint64_t done = w->stats->rows_done;

    if (now - w->progress_at_ms < PROGRESS_MS)
        return;
    w->progress_at_ms = now;
    say_progress(worker->env, worker->step, done, total, rate,
                 rate > 0 && total > done ? (double)(total - done) / rate : 0);
}

/* ---- a range of keys ---- */

/* Rows to be taken again: from after the row before the first one, to the last one. */
struct again {
    struct row_key after, until;
    uint64_t rows;
};

static int
note_moved(struct again *again, const struct db_batch *batch, const struct row_key *before,
           struct coffer_error *err)
{
    int rc = COFFER_OK;

    for (size_t i = 0; rc == COFFER_OK && i < batch->count; i++) {
        const struct db_row *row = &batch->rows[i];

        if (row->outcome != DB_ROW_MOVED)
            continue;
        if (again->rows == 0)
            rc = i == 0 ? row_key_set(&again->after, before->values, before->count, err)
                        : row_key_set(&again->after, batch->rows[i - 1].key, batch->key_count, err);
        if (rc == COFFER_OK)
            rc = row_key_set(&again->until, row->key, batch->key_count, err);
        again->rows++;
    }
    return rc;
}

/* Take the rows that were held by others in three passes one by one, waiting a moment for each. */
static int
take_alone(struct walker *w, struct db_batch *batch, const struct row_key *before,
           struct coffer_error *err)
{
    int rc = COFFER_OK;

    for (size_t i = 0; rc == COFFER_OK && i < batch->count; i++) {
        const struct coffer_value *after = i == 0 ? row_key_values(before) : batch->rows[i - 1].key;
        struct db_batch *one = NULL;
        struct staged *staged = NULL;
        uint64_t moved = 0;

        if (batch->rows[i].outcome != DB_ROW_MOVED)
            continue;
        rc = db_walk_read(w->walk, after, batch->rows[i].key, 1, &one, err);
        if (rc == COFFER_OK)
            rc = stages_now(w->stages, &one, &staged, err);
        if (rc == COFFER_OK)
            rc = to_quarantine(w, staged, err);
        if (rc == COFFER_OK)
            rc = write_batch(w, staged->batch, ALONE_WAIT_MS, err);
        if (rc == COFFER_OK) {
            count_outcomes(w, staged->batch, &moved);
            if (moved == 0)
                batch->rows[i].outcome = DB_ROW_UNTOUCHED; /* counted by now, or gone */
        } else if (rc == COFFER_E_CONFLICT) {
            rc = COFFER_OK; /* the next sweep */
        }
        stages_release(w->stages, &staged);
    }
    return rc;
}

/* Keep the lease; whether it was lost is for the caller to see by CONFLICT. */
static int
keep_lease(struct walker *w, struct coffer_error *err)
{
    int rc;

    if (now_ms(w) - w->renewed_ms < RENEW_MS)
        return COFFER_OK;
    rc = chunk_renew(&w->chunks, &w->chunk, err);
    w->renewed_ms = now_ms(w);
    return rc == COFFER_E_CONFLICT ? COFFER_E_EXISTS : rc;
}

/* How long a write took, and how much of that was waiting for other writers: no reason for a smaller
 * batch or a longer pause. */
static double
written_in(const struct walker *w, int64_t begun, double *waited_ms)
{
    double held_ms = db_held_ms(w->worker->database->db);
    double write_ms = (double)(now_ms(w) - begun);

    *waited_ms = held_ms > 0 && write_ms > held_ms ? write_ms - held_ms : 0;
    return held_ms > 0 ? held_ms : write_ms;
}

/* A range under way: rows up to and with `at` are written, those up to and with `ahead` are read. */
struct range {
    struct row_key at, ahead;
    const struct row_key *until;
    bool read_all; /* the last batch has been read */
    unsigned in;   /* batches that are read and not written: 0 to 2 */
    size_t limits[2];
    bool ends[2]; /* of these batches */
    bool alone;
    struct again *again;
};

/* Read the next batch and put it to work.  CONFLICT: try again. */
static int
read_ahead(struct walker *w, struct range *r, struct coffer_error *err)
{
    struct db_batch *batch = NULL;
    size_t limit = w->size.rows;
    int rc = db_walk_read(w->walk, row_key_values(&r->ahead), row_key_values(r->until), limit,
                          &batch, err);

    if (rc == COFFER_E_LIMIT && limit > 1)
        return COFFER_E_CONFLICT; /* larger rows than those before: fewer at a time */
    if (rc == COFFER_OK && batch->count != 0)
        rc = row_key_set(&r->ahead, batch->rows[batch->count - 1].key, batch->key_count, err);
    if (rc == COFFER_OK) {
        r->read_all = r->ends[r->in] = batch->end;
        r->limits[r->in++] = limit;
        stages_begin(w->stages, &batch);
    }
    db_batch_free(batch);
    return rc;
}

/* Forget what was read and not written. */
static int
fall_back(struct walker *w, struct range *r, struct coffer_error *err)
{
    stages_drop(w->stages);
    r->in = 0;
    r->read_all = false;
    return row_key_set(&r->ahead, r->at.values, r->at.count, err);
}

static int
write_staged(struct walker *w, struct range *r, const struct staged *staged, int64_t begun,
             struct coffer_error *err)
{
    struct db_batch *batch = staged->batch;
    int64_t writing = now_ms(w);
    double write_ms, waited_ms;
    uint64_t moved = 0;
    int rc = to_quarantine(w, staged, err);

    if (rc == COFFER_OK)
        rc = write_batch(w, batch, 0, err);
    if (rc != COFFER_OK)
        return rc;
    w->stats->rows_read += batch->count;
    w->chunk.stats.rows_read += batch->count;
    write_ms = written_in(w, writing, &waited_ms);
    batch_size_adapt(&w->size, batch, r->limits[0], write_ms);
    count_outcomes(w, batch, &moved);
    if (moved != 0 && r->alone)
        rc = take_alone(w, batch, &r->at, err);
    if (rc == COFFER_OK && moved != 0)
        rc = note_moved(r->again, batch, &r->at, err);
    if (rc == COFFER_OK && batch->count != 0)
        rc = row_key_set(&r->at, batch->rows[batch->count - 1].key, batch->key_count, err);
    progress(w);
    if (rc == COFFER_OK)
        rc = throttle_after(w->throttle, batch->count, (double)(now_ms(w) - begun) - waited_ms,
                            w->worker->env, err);
    return rc;
}

/* Write one batch, after reading the one behind it where a thread works on that meanwhile. */
static int
walk_batch(struct walker *w, struct range *r, bool *end, struct coffer_error *err)
{
    int64_t begun = now_ms(w);
    struct staged *staged = NULL;
    int rc = COFFER_OK;

    if (r->in == 0)
        rc = read_ahead(w, r, err);
    if (rc == COFFER_OK && r->in == 1 && !r->read_all && stages_threaded(w->stages)) {
        rc = read_ahead(w, r, err);
        if (rc == COFFER_E_CONFLICT) /* it is read when its turn comes */
            rc = COFFER_OK;
    }
    if (rc == COFFER_OK)
        rc = stages_take(w->stages, &staged, err);
    if (rc == COFFER_OK)
        rc = write_staged(w, r, staged, begun, err);
    stages_release(w->stages, &staged);
    if (rc != COFFER_OK)
        return rc;
    *end = r->ends[0];
    r->ends[0] = r->ends[1];
    r->limits[0] = r->limits[1];
    r->in--;
    return COFFER_OK;
}

static int
walk_range(struct walker *w, const struct row_key *after, const struct row_key *until, bool alone,
           struct again *again, struct coffer_error *err)
{
    struct range r = {.until = until, .alone = alone, .again = again};
    struct coffer_error local = {0};
    bool end = false;
    int rc = row_key_set(&r.at, after->values, after->count, err);

    if (err == NULL)
        err = &local;
    if (rc == COFFER_OK)
        rc = fall_back(w, &r, err);
    while (rc == COFFER_OK && !end) {
        if (stopped(w->worker->env)) {
            rc = cancelled(err);
            break;
        }
        rc = walk_batch(w, &r, &end, err);
        if (rc == COFFER_E_CONFLICT) {
            end = false;
            rc = back_off(w, err);
            if (rc == COFFER_OK)
                rc = fall_back(w, &r, err);
            continue;
        }
        if (rc == COFFER_OK)
            w->conflicts = 0;
        if (rc == COFFER_OK)
            rc = keep_lease(w, err);
    }
    stages_drop(w->stages);
    row_key_wipe(&r.at);
    row_key_wipe(&r.ahead);
    return rc;
}

/* The chunk, then up to three times what was held or changed by others meanwhile. */
static int
walk_chunk(struct walker *w, struct coffer_error *err)
{
    const struct os *os = w->worker->env->os;
    struct row_key after = {0};
    struct row_key until = {0};
    struct again again = {0};
    int rc = row_key_set(&after, w->chunk.after.values, w->chunk.after.count, err);

    if (rc == COFFER_OK)
        rc = row_key_set(&until, w->chunk.until.values, w->chunk.until.count, err);
    for (unsigned tries = 0; rc == COFFER_OK; tries++) {
        bool alone = tries == RETRIES && w->worker->rotation->pass >= ALONE_PASS;

        again.rows = 0;
        rc = walk_range(w, &after, &until, alone, &again, err);
        if (rc != COFFER_OK || again.rows == 0 || tries == RETRIES)
            break;
        rc = row_key_set(&after, again.after.values, again.after.count, err);
        if (rc == COFFER_OK)
            rc = row_key_set(&until, again.until.values, again.until.count, err);
        os->sleep_ms(os, 5 + 20 * tries);
    }
    if (rc == COFFER_OK) { /* left to the next sweep */
        w->stats->rows_moved += again.rows;
        w->chunk.stats.rows_moved += again.rows;
    }
    row_key_wipe(&after);
    row_key_wipe(&until);
    row_key_wipe(&again.after);
    row_key_wipe(&again.until);
    return rc;
}

/* ---- the table ---- */

/* A chunk that has become another worker's (we were frozen past our lease) is simply no longer
 * ours. */
static int
end_chunk(struct walker *w, bool done, struct coffer_error *err)
{
    int rc = chunk_end(&w->chunks, &w->chunk, done, err);

    return rc == COFFER_E_CONFLICT ? COFFER_OK : rc;
}

static int
walk_all(struct walker *w, struct coffer_error *err)
{
    const struct rotate_env *env = w->worker->env;
    int rc;

    for (;;) {
        enum chunk_found found = CHUNK_NONE;

        if (stopped(env))
            return cancelled(err);
        rc = chunk_claim(&w->chunks, w->walk, &w->chunk, &found, err);
        if (rc != COFFER_OK || found == CHUNK_NONE)
            return rc;
        if (found == CHUNK_BUSY) {
            env->os->sleep_ms(env->os, 200);
            continue;
        }
        w->renewed_ms = now_ms(w);
        rc = walk_chunk(w, err);
        if (rc == COFFER_E_EXISTS) /* our lease ran out and somebody took it */
            continue;
        if (rc == COFFER_OK) {
            rc = end_chunk(w, true, err);
        } else if (rc != COFFER_E_LOST) {
            /* Give it back; the first failure is the one to tell. */
            if (end_chunk(w, false, NULL) != COFFER_OK)
                return rc;
        }
        if (rc != COFFER_OK)
            return rc;
    }
}

/* A worker whose epoch has passed is not to cut chunks of a pass that is over. */
static int
check_epoch(struct walker *w, struct coffer_error *err)
{
    struct db_result *result = NULL;
    int rc = db_run(w->worker->database->db, w->guard_sql, w->guard_params, 2, &result, err);

    if (rc == COFFER_OK && result->rows == 0)
        rc = error_set(err, COFFER_E_CANCELLED,
                       "the rotation has moved on; its record must be read again");
    db_result_free(result);
    return rc;
}

int
worker_walk(struct worker *worker, const struct walk_table *table, struct walk_stats *stats,
            struct coffer_error *err)
{
    struct walker w = {.worker = worker, .table = table, .stats = stats};
    int rc;

    w.chunks = (struct chunks){.journal = &worker->database->journal,
                               .os = worker->env->os,
                               .rotation = worker->rotation,
                               .table = table->table,
                               .owner = worker->owner};
    chunk_init(&w.chunk);
    choose_sizes(&w);
    make_guard(&w);
    w.started_ms = now_ms(&w);
    w.started_done = stats->rows_done;
    rc = walker_open(&w, err);
    if (rc == COFFER_OK)
        rc = check_epoch(&w, err);
    if (rc == COFFER_OK)
        rc = walk_all(&w, err);
    walker_close(&w);
    return rc;
}
