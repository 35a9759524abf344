/* SPDX-License-Identifier: Apache-2.0 */
#include "support/faulty_db.h"

#include "base/mem.h"
#include "db/db_ops.h"

struct faulty_db {
    struct db db;
    struct db *inner;
    unsigned calls, fail_at;
    int status;
    enum faulty_when when;
    bool fired;
    void (*watch)(void *arg, const char *what);
    void *watch_arg;
};

struct faulty_walk {
    struct db_walk walk;
    struct db_walk *inner;
};

static struct faulty_db *
faulty_of(struct db *db)
{
    return (struct faulty_db *)db;
}

static struct db *
inner_of(struct db *db)
{
    return faulty_of(db)->inner;
}

/* Counts the call; COFFER_OK: let it through. */
static int
enter(struct db *db, const char *what, struct coffer_error *err)
{
    struct faulty_db *faulty = faulty_of(db);

    faulty->calls++;
    if (faulty->watch != NULL)
        faulty->watch(faulty->watch_arg, what);
    if (faulty->calls != faulty->fail_at || faulty->when != FAULTY_BEFORE)
        return COFFER_OK;
    faulty->fired = true;
    db_rollback(faulty->inner);
    return error_set(err, faulty->status, "injected before %s (call %u)", what, faulty->calls);
}

/* After the inner call gave `rc`; a call that failed by itself stays as it is. */
static int
leave(struct db *db, const char *what, int rc, struct coffer_error *err)
{
    struct faulty_db *faulty = faulty_of(db);

    if (rc != COFFER_OK || faulty->calls != faulty->fail_at || faulty->when != FAULTY_AFTER)
        return rc;
    faulty->fired = true;
    db_rollback(faulty->inner);
    return error_set(err, faulty->status, "injected after %s (call %u)", what, faulty->calls);
}

static void
faulty_close(struct db *db)
{
    db_close(inner_of(db));
    mem_free(db);
}

static void
faulty_cancel(struct db *db)
{
    db_cancel(inner_of(db));
}

static int
faulty_incarnation(struct db *db, char *out, struct coffer_error *err)
{
    int rc = enter(db, "incarnation", err);

    return rc != COFFER_OK ? rc
                           : leave(db, "incarnation", db_incarnation(inner_of(db), out, err), err);
}

static int
faulty_run(struct db *db, const char *sql, const struct coffer_value *params, size_t count,
           struct db_result **result, struct coffer_error *err)
{
    int rc = enter(db, "run", err);

    if (rc != COFFER_OK)
        return rc;
    rc = leave(db, "run", db_run(inner_of(db), sql, params, count, result, err), err);
    if (rc != COFFER_OK && result != NULL) {
        db_result_free(*result);
        *result = NULL;
    }
    return rc;
}

static int
faulty_stream(struct db *db, const char *sql, const struct coffer_value *params, size_t count,
              db_row_fn fn, void *arg, struct coffer_error *err)
{
    int rc = enter(db, "stream", err);

    if (rc != COFFER_OK)
        return rc;
    return leave(db, "stream", db_stream(inner_of(db), sql, params, count, fn, arg, err), err);
}

static int
faulty_begin(struct db *db, enum db_txn kind, struct coffer_error *err)
{
    int rc = enter(db, "begin", err);

    return rc != COFFER_OK ? rc : leave(db, "begin", db_begin(inner_of(db), kind, err), err);
}

static int
faulty_commit(struct db *db, struct coffer_error *err)
{
    int rc = enter(db, "commit", err);

    return rc != COFFER_OK ? rc : leave(db, "commit", db_commit(inner_of(db), err), err);
}

static void
faulty_rollback(struct db *db)
{
    db_rollback(inner_of(db));
}

static int
faulty_catalog_install(struct db *db, struct coffer_error *err)
{
    int rc = enter(db, "catalog_install", err);

    return rc != COFFER_OK
               ? rc
               : leave(db, "catalog_install", db_catalog_install(inner_of(db), err), err);
}

static int
faulty_catalog_present(struct db *db, bool *present, struct coffer_error *err)
{
    int rc = enter(db, "catalog_present", err);

    if (rc != COFFER_OK)
        return rc;
    return leave(db, "catalog_present", db_catalog_present(inner_of(db), present, err), err);
}

static int
faulty_table_open(struct db *db, const char *name, struct db_table **out, struct coffer_error *err)
{
    int rc = enter(db, "table_open", err);

    if (rc != COFFER_OK)
        return rc;
    rc = leave(db, "table_open", db_table_open(inner_of(db), name, out, err), err);
    if (rc != COFFER_OK) {
        db_table_free(*out);
        *out = NULL;
    }
    return rc;
}

static int
faulty_obstacles(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
                 struct db_obstacles *out, struct coffer_error *err)
{
    int rc = enter(db, "obstacles", err);

    if (rc != COFFER_OK)
        return rc;
    return leave(db, "obstacles", db_obstacles(inner_of(db), table, cell, out, err), err);
}

static int
faulty_phase_apply(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
                   int from, int to, struct coffer_error *err)
{
    int rc = enter(db, "phase_apply", err);

    if (rc != COFFER_OK)
        return rc;
    return leave(db, "phase_apply", db_phase_apply(inner_of(db), table, cell, from, to, err), err);
}

static void
faulty_walk_close(struct db_walk *walk)
{
    db_walk_close(((struct faulty_walk *)walk)->inner);
    mem_free(walk);
}

static int
faulty_walk_open(struct db *db, const struct db_table *table, const struct db_want *wants,
                 size_t count, struct db_walk **out, struct coffer_error *err)
{
    struct faulty_walk *walk;
    int rc = enter(db, "walk_open", err);

    if (rc != COFFER_OK)
        return rc;
    walk = mem_alloc(sizeof *walk);
    if (walk == NULL)
        return error_nomem(err);
    walk->walk.db = db;
    rc = leave(db, "walk_open", db_walk_open(inner_of(db), table, wants, count, &walk->inner, err),
               err);
    if (rc == COFFER_OK)
        *out = &walk->walk;
    else
        faulty_walk_close(&walk->walk);
    return rc;
}

static int
faulty_walk_bound(struct db_walk *walk, const struct coffer_value *after, uint64_t rows,
                  struct db_result **key, bool *found, struct coffer_error *err)
{
    int rc = enter(walk->db, "walk_bound", err);

    if (rc != COFFER_OK)
        return rc;
    rc = leave(walk->db, "walk_bound",
               db_walk_bound(((struct faulty_walk *)walk)->inner, after, rows, key, found, err),
               err);
    if (rc != COFFER_OK) {
        db_result_free(*key);
        *key = NULL;
    }
    return rc;
}

static int
faulty_walk_read(struct db_walk *walk, const struct coffer_value *after,
                 const struct coffer_value *until, size_t limit, struct db_batch **out,
                 struct coffer_error *err)
{
    int rc = enter(walk->db, "walk_read", err);

    if (rc != COFFER_OK)
        return rc;
    rc = leave(walk->db, "walk_read",
               db_walk_read(((struct faulty_walk *)walk)->inner, after, until, limit, out, err),
               err);
    if (rc != COFFER_OK) {
        db_batch_free(*out);
        *out = NULL;
    }
    return rc;
}

static int
faulty_walk_write(struct db_walk *walk, struct db_batch *batch, const struct db_guard *guard,
                  unsigned wait_ms, const char *rotation_id, struct coffer_error *err)
{
    int rc = enter(walk->db, "walk_write", err);

    if (rc != COFFER_OK)
        return rc;
    rc =
        db_walk_write(((struct faulty_walk *)walk)->inner, batch, guard, wait_ms, rotation_id, err);
    return leave(walk->db, "walk_write", rc, err);
}

static int
faulty_count(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
             struct db_count **out, struct coffer_error *err)
{
    int rc = enter(db, "count", err);

    if (rc != COFFER_OK)
        return rc;
    rc = leave(db, "count", db_count(inner_of(db), table, cell, out, err), err);
    if (rc != COFFER_OK) {
        db_count_free(*out);
        *out = NULL;
    }
    return rc;
}

static int
faulty_count_estimate(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
                      struct db_count **out, struct coffer_error *err)
{
    int rc = enter(db, "count_estimate", err);

    if (rc != COFFER_OK)
        return rc;
    rc = leave(db, "count_estimate", db_count_estimate(inner_of(db), table, cell, out, err), err);
    if (rc != COFFER_OK) {
        db_count_free(*out);
        *out = NULL;
    }
    return rc;
}

static int
faulty_fence_set(struct db *db, const struct db_table *table, const struct db_fence *fences,
                 size_t count, struct coffer_error *err)
{
    int rc = enter(db, "fence_set", err);

    if (rc != COFFER_OK)
        return rc;
    return leave(db, "fence_set", db_fence_set(inner_of(db), table, fences, count, err), err);
}

static int
faulty_fence_constrain(struct db *db, const struct db_table *table, const struct db_fence *fence,
                       char *name, struct coffer_error *err)
{
    int rc = enter(db, "fence_constrain", err);

    if (rc != COFFER_OK)
        return rc;
    return leave(db, "fence_constrain", db_fence_constrain(inner_of(db), table, fence, name, err),
                 err);
}

static int
faulty_fence_unconstrain(struct db *db, const struct db_table *table, const struct db_fence *fence,
                         struct coffer_error *err)
{
    int rc = enter(db, "fence_unconstrain", err);

    if (rc != COFFER_OK)
        return rc;
    return leave(db, "fence_unconstrain", db_fence_unconstrain(inner_of(db), table, fence, err),
                 err);
}

static int
faulty_mark_now(struct db *db, struct db_mark *mark, struct coffer_error *err)
{
    int rc = enter(db, "mark_now", err);

    return rc != COFFER_OK ? rc : leave(db, "mark_now", db_mark_now(inner_of(db), mark, err), err);
}

static int
faulty_mark_passed(struct db *db, const struct db_mark *mark, struct coffer_error *err)
{
    int rc = enter(db, "mark_passed", err);

    return rc != COFFER_OK ? rc
                           : leave(db, "mark_passed", db_mark_passed(inner_of(db), mark, err), err);
}

static int
faulty_others(struct db *db, bool *known, size_t *count, struct buf *who, struct coffer_error *err)
{
    int rc = enter(db, "others", err);

    return rc != COFFER_OK
               ? rc
               : leave(db, "others", db_others(inner_of(db), known, count, who, err), err);
}

static int
faulty_find_envelopes(struct db *db, const char *const *known, size_t known_count, db_find_fn fn,
                      void *arg, struct coffer_error *err)
{
    int rc = enter(db, "find_envelopes", err);

    if (rc != COFFER_OK)
        return rc;
    rc = db_find_envelopes(inner_of(db), known, known_count, fn, arg, err);
    return leave(db, "find_envelopes", rc, err);
}

static int
faulty_load(struct db *db, const struct db_table *table, struct db_load *load,
            struct coffer_error *err)
{
    int rc = enter(db, "load", err);

    return rc != COFFER_OK ? rc : leave(db, "load", db_load(inner_of(db), table, load, err), err);
}

static int
faulty_clean(struct db *db, const struct db_table *table, bool scrub, struct coffer_error *err)
{
    int rc = enter(db, "clean", err);

    return rc != COFFER_OK ? rc
                           : leave(db, "clean", db_clean(inner_of(db), table, scrub, err), err);
}

static int
faulty_sizes(struct db *db, uint64_t *database_bytes, uint64_t *written_bytes,
             struct coffer_error *err)
{
    int rc = enter(db, "sizes", err);

    if (rc != COFFER_OK)
        return rc;
    return leave(db, "sizes", db_sizes(inner_of(db), database_bytes, written_bytes, err), err);
}

static int
faulty_replicas(struct db *db, db_line_fn fn, void *arg, struct coffer_error *err)
{
    int rc = enter(db, "replicas", err);

    return rc != COFFER_OK ? rc : leave(db, "replicas", db_replicas(inner_of(db), fn, arg, err), err);
}

static int
faulty_files(struct db *db, const struct db_table *table, size_t overlap, db_file_fn fn, void *arg,
             bool *readable, struct coffer_error *err)
{
    int rc = enter(db, "files", err);

    if (rc != COFFER_OK)
        return rc;
    return leave(db, "files", db_files(inner_of(db), table, overlap, fn, arg, readable, err), err);
}

static int
faulty_trial(struct db *db, const struct db_table *table, const struct db_cell_spec *cell,
             unsigned rows, struct db_trial *out, struct coffer_error *err)
{
    int rc = enter(db, "trial", err);

    if (rc != COFFER_OK)
        return rc;
    return leave(db, "trial", db_trial(inner_of(db), table, cell, rows, out, err), err);
}

struct db *
faulty_db_adopt(struct db **inner)
{
    struct faulty_db *faulty = mem_alloc(sizeof *faulty + sizeof(struct db_ops));
    struct db_ops *ops;

    if (faulty == NULL)
        return NULL;
    ops = (struct db_ops *)(faulty + 1);
    *ops = (struct db_ops){
        .close = faulty_close,
        .cancel = faulty_cancel,
        .incarnation = faulty_incarnation,
        .run = faulty_run,
        .stream = faulty_stream,
        .begin = faulty_begin,
        .commit = faulty_commit,
        .rollback = faulty_rollback,
        .catalog_name = (*inner)->ops->catalog_name,
        .catalog_install = faulty_catalog_install,
        .catalog_present = faulty_catalog_present,
        .catalog_grants = (*inner)->ops->catalog_grants,
        .table_open = faulty_table_open,
        .obstacles = faulty_obstacles,
        .phase_apply = faulty_phase_apply,
        .walk_open = faulty_walk_open,
        .walk_close = faulty_walk_close,
        .walk_bound = faulty_walk_bound,
        .walk_read = faulty_walk_read,
        .walk_write = faulty_walk_write,
        .count = faulty_count,
        .count_estimate = faulty_count_estimate,
        .fence_set = faulty_fence_set,
        .fence_constrain = faulty_fence_constrain,
        .fence_unconstrain = faulty_fence_unconstrain,
        .mark_now = faulty_mark_now,
        .mark_passed = faulty_mark_passed,
        .replicas = faulty_replicas,
        .others = faulty_others,
        .find_envelopes = faulty_find_envelopes,
        .load = faulty_load,
        .clean = faulty_clean,
        .files = faulty_files,
        .trial = faulty_trial,
        .sizes = faulty_sizes,
    };
    faulty->db.ops = ops;
    faulty->db.engine = (*inner)->engine;
    faulty->inner = *inner;
    *inner = NULL;
    return &faulty->db;
}

void
faulty_db_at(struct db *db, unsigned nth, int status, enum faulty_when when)
{
    struct faulty_db *faulty = faulty_of(db);

    faulty->calls = 0;
    faulty->fail_at = nth;
    faulty->status = status;
    faulty->when = when;
    faulty->fired = false;
}

bool
faulty_db_fired(const struct db *db)
{
    return ((const struct faulty_db *)db)->fired;
}

unsigned
faulty_db_calls(const struct db *db)
{
    return ((const struct faulty_db *)db)->calls;
}

void
faulty_db_watch(struct db *db, void (*watch)(void *arg, const char *what), void *arg)
{
    faulty_of(db)->watch = watch;
    faulty_of(db)->watch_arg = arg;
}
