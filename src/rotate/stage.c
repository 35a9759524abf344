/* SPDX-License-Identifier: Apache-2.0 */
#include "rotate/stage.h"

#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define ROW_STORAGE_MAX (256u << 20)
#define IN_MAX 2

#define ROWS_AT_ONCE 64

enum { FREE = 0, AT_WORK, READY, TAKEN };

struct stages {
    struct cells *cells, *thread_cells; /* the caller's and the thread's */
    struct staged ring[IN_MAX], alone;
    unsigned in, out;      /* counts: the next one to begin and to take */
    bool threaded, shared; /* there is a thread; the caller may work beside it */
    pthread_t thread;
    pthread_mutex_t mutex; /* of all in the ring but the rows that somebody took, and of `stop` */
    pthread_cond_t changed;
    bool stop;
};

/* ---- the work ---- */

struct refusing {
    struct stages *stages;
    struct staged *staged;
    size_t row;
};

static int
keep_refusal(void *arg, const struct walk_column *column, const struct db_row *row,
             size_t place_count, const char *reason, struct coffer_error *err)
{
    struct refusing *r = arg;
    struct staged *s = r->staged;
    struct refusal *grown;

    pthread_mutex_lock(&r->stages->mutex);
    grown = mem_grow(s->refusals, (s->refusal_count + 1) * sizeof *grown);
    if (grown != NULL) {
        s->refusals = grown;
        grown += s->refusal_count++;
        grown->column = column;
        grown->row = r->row;
        snprintf(grown->reason, sizeof grown->reason, "%s", reason);
    }
    pthread_mutex_unlock(&r->stages->mutex);
    return grown != NULL ? COFFER_OK : error_nomem(err);
}

static int
storage_for(struct staged *s, size_t rows)
{
    struct buf *grown;

    if (rows <= s->storage_count)
        return COFFER_OK;
    grown = mem_grow(s->storage, rows * sizeof *grown);
    if (grown == NULL)
        return error_nomem(&s->error);
    s->storage = grown;
    while (s->storage_count < rows)
        buf_init(&s->storage[s->storage_count++], ROW_STORAGE_MAX);
    return COFFER_OK;
}

static void
begin(struct staged *s, struct db_batch **batch)
{
    s->batch = *batch;
    *batch = NULL;
    s->status = storage_for(s, s->batch->count);
    s->next = s->status == COFFER_OK ? 0 : s->batch->count;
    s->workers = 0;
    s->state = s->next < s->batch->count ? AT_WORK : READY;
}

static int
work_rows(struct stages *stages, struct staged *s, struct cells *cells, size_t first,
          struct coffer_error *err)
{
    struct refusing refusing = {.stages = stages, .staged = s, .row = first};
    int rc = COFFER_OK;

    for (; rc == COFFER_OK && refusing.row < s->batch->count && refusing.row < first + ROWS_AT_ONCE;
         refusing.row++) {
        buf_clear(&s->storage[refusing.row]);
        rc = cells_transform(cells, &s->batch->rows[refusing.row], s->batch->place_count,
                             &s->storage[refusing.row], keep_refusal, &refusing, err);
    }
    return rc;
}

/* Take rows of a batch until none is left; the mutex is held, and released over the work.  Whoever
 * is the last one makes it ready. */
static void
work(struct stages *stages, struct staged *s, struct cells *cells)
{
    struct coffer_error err;

    s->workers++;
    while (s->next < s->batch->count) {
        size_t first = s->next;
        int rc;

        s->next += ROWS_AT_ONCE;
        pthread_mutex_unlock(&stages->mutex);
        rc = work_rows(stages, s, cells, first, &err);
        pthread_mutex_lock(&stages->mutex);
        if (rc != COFFER_OK) {
            s->status = rc;
            s->error = err;
            s->next = s->batch->count;
        }
    }
    if (--s->workers == 0) {
        s->state = READY;
        pthread_cond_broadcast(&stages->changed);
    }
}

static struct staged *
unworked(struct stages *stages)
{
    for (unsigned i = stages->out; i != stages->in; i++) {
        struct staged *s = &stages->ring[i % IN_MAX];

        if (s->state == AT_WORK && s->next < s->batch->count)
            return s;
    }
    return NULL;
}

static void *
run(void *arg)
{
    struct stages *stages = arg;

    pthread_mutex_lock(&stages->mutex);
    while (!stages->stop) {
        struct staged *s = unworked(stages);

        if (s != NULL)
            work(stages, s, stages->thread_cells);
        else
            pthread_cond_wait(&stages->changed, &stages->mutex);
    }
    pthread_mutex_unlock(&stages->mutex);
    return NULL;
}

/* ---- the calls ---- */

int
stages_new(struct codec *codec, const struct walk_table *table,
           const struct rotate_options *options, bool threaded, struct stages **out,
           struct coffer_error *err)
{
    struct stages *stages = mem_alloc(sizeof *stages);
    int rc;

    *out = NULL;
    if (stages == NULL)
        return error_nomem(err);
    rc = cells_new(codec, table->columns, table->count, options, &stages->cells, err);
    if (rc == COFFER_OK)
        rc = cells_new(codec, table->columns, table->count, options, &stages->thread_cells, err);
    if (rc != COFFER_OK) {
        cells_free(stages->cells);
        mem_free(stages);
        return rc;
    }
    stages->shared = options == NULL || options->decode == NULL; /* a decoder is one process */
    pthread_mutex_init(&stages->mutex, NULL);
    pthread_cond_init(&stages->changed, NULL);
    /* Without a thread it is only slower. */
    stages->threaded = threaded && pthread_create(&stages->thread, NULL, run, stages) == 0;
    *out = stages;
    return COFFER_OK;
}

static void
staged_clear(struct staged *s)
{
    db_batch_free(s->batch);
    s->batch = NULL;
    mem_free(s->refusals);
    s->refusals = NULL;
    s->refusal_count = 0;
    s->status = COFFER_OK;
    s->error = (struct coffer_error){0};
}

static void
staged_wipe(struct staged *s)
{
    staged_clear(s);
    for (size_t i = 0; i < s->storage_count; i++)
        buf_wipe(&s->storage[i]);
    mem_free(s->storage);
}

void
stages_free(struct stages *stages)
{
    if (stages == NULL)
        return;
    if (stages->threaded) {
        pthread_mutex_lock(&stages->mutex);
        stages->stop = true;
        pthread_cond_broadcast(&stages->changed);
        pthread_mutex_unlock(&stages->mutex);
        pthread_join(stages->thread, NULL);
    }
    for (size_t i = 0; i < IN_MAX; i++)
        staged_wipe(&stages->ring[i]);
    staged_wipe(&stages->alone);
    cells_free(stages->thread_cells);
    cells_free(stages->cells);
    pthread_cond_destroy(&stages->changed);
    pthread_mutex_destroy(&stages->mutex);
    mem_free(stages);
}

bool
stages_threaded(const struct stages *stages)
{
    return stages->threaded;
}

void
stages_begin(struct stages *stages, struct db_batch **batch)
{
    struct staged *s = &stages->ring[stages->in % IN_MAX];

    pthread_mutex_lock(&stages->mutex);
    begin(s, batch);
    stages->in++;
    pthread_cond_broadcast(&stages->changed);
    pthread_mutex_unlock(&stages->mutex);
}

static int
result_of(struct staged *s, struct staged **out, struct coffer_error *err)
{
    *out = s;
    return s->status == COFFER_OK ? COFFER_OK : error_set(err, s->status, "%s", s->error.message);
}

int
stages_take(struct stages *stages, struct staged **out, struct coffer_error *err)
{
    struct staged *s = &stages->ring[stages->out % IN_MAX];

    pthread_mutex_lock(&stages->mutex);
    if (s->state == AT_WORK && (stages->shared || !stages->threaded))
        work(stages, s, stages->cells);
    while (s->state != READY)
        pthread_cond_wait(&stages->changed, &stages->mutex);
    s->state = TAKEN;
    stages->out++;
    pthread_mutex_unlock(&stages->mutex);
    return result_of(s, out, err);
}

/* Wait until the thread has nothing to do. */
static void
settle(struct stages *stages)
{
    pthread_mutex_lock(&stages->mutex);
    for (unsigned i = stages->out; stages->threaded && i != stages->in; i++)
        while (stages->ring[i % IN_MAX].state != READY)
            pthread_cond_wait(&stages->changed, &stages->mutex);
    pthread_mutex_unlock(&stages->mutex);
}

int
stages_now(struct stages *stages, struct db_batch **batch, struct staged **out,
           struct coffer_error *err)
{
    settle(stages); /* a decoder is one process */
    begin(&stages->alone, batch);
    pthread_mutex_lock(&stages->mutex);
    if (stages->alone.state == AT_WORK)
        work(stages, &stages->alone, stages->cells);
    pthread_mutex_unlock(&stages->mutex);
    return result_of(&stages->alone, out, err);
}

void
stages_release(struct stages *stages, struct staged **staged)
{
    struct staged *s = *staged;

    *staged = NULL;
    if (s == NULL)
        return;
    staged_clear(s);
    pthread_mutex_lock(&stages->mutex);
    s->state = FREE;
    pthread_mutex_unlock(&stages->mutex);
}

void
stages_drop(struct stages *stages)
{
    settle(stages);
    for (; stages->out != stages->in; stages->out++) {
        struct staged *s = &stages->ring[stages->out % IN_MAX];

        stages_release(stages, &s);
    }
}
