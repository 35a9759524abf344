/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of rotate/ share: the journal record of a rotation, and the worker. */
#ifndef COFFER_ROTATE_INTERNAL_H
#define COFFER_ROTATE_INTERNAL_H

#include "field/codec.h"
#include "rotate/rotate.h"

/* ---- the record (journal table "rotation", key = id; its row epoch is the fence against late workers) ---- */

enum rotation_kind { ROTATION_PROTECT = 1, ROTATION_ROTATE, ROTATION_UNPROTECT, ROTATION_RECOVER };
/* In order.  docs/ROTATION.md has the diagram. */
enum rotation_step {
    STEP_PLAN = 1, STEP_STAGE, STEP_GATE, STEP_ACTIVATE, STEP_DRAIN, STEP_SWEEP, STEP_SETTLE, STEP_FENCE, STEP_PROVE, STEP_WAIT,
    STEP_ESCROW, STEP_DONE, STEP_ABORTED,
};
const char *rotation_step_name(enum rotation_step step);
const char *rotation_kind_name(enum rotation_kind kind);

struct rotation {
    char id[37];
    enum rotation_kind kind;
    enum rotation_step step;
    char line[KEYRING_NAME_MAX];
    uint32_t from_key, to_key; /* 0: none */
    struct uuid *columns;      /* owned */
    size_t column_count;
    uint32_t pass;             /* of the walk: 1 the drain, 2… the sweeps */
    bool paused, aborting;
    bool reversed;             /* an abort took effect: from and to have changed places */
    uint64_t begin_epoch;      /* keyring epoch before its first change: clients waived after it are not waited for */
    uint64_t activate_epoch;   /* keyring epoch that every client must have shown before the fence */
    int64_t started_us, step_us;
    struct db_mark mark;       /* taken at PROVE */
    uint64_t total_rows;
    uint64_t epoch;            /* of the journal row, as last read or written */
};
COFFER_MUST_CHECK int rotation_save(struct journal *journal, struct rotation *rotation, struct coffer_error *err); /* CAS; CONFLICT */
COFFER_MUST_CHECK int rotation_load(struct journal *journal, const char *id, struct rotation *out, struct coffer_error *err);
/* An open rotation of this kind (0: any) and line (NULL: any); NOTFOUND. */
COFFER_MUST_CHECK int rotation_find_open(struct journal *journal, enum rotation_kind kind, const char *line,
                                         struct rotation *out, struct coffer_error *err);
void rotation_free(struct rotation *rotation);

/* ---- the worker: walks tables in chunks, opens and seals, writes conditionally ---- */

struct walk_column {
    const struct keyring_column *column;
    struct db_want want;
};
struct walk_table { /* one table, all its cells that this rotation moves */
    const struct db_table *table;
    const struct walk_column *columns;
    size_t count;
};
struct walk_stats {
    uint64_t rows_read, rows_done, rows_moved, cells_done, quarantined, bytes_sealed, batches;
};
struct worker {
    const struct rotate_env *env;
    const struct rotate_options *options;
    struct host_database *database;
    struct codec *codec;
    const struct rotation *rotation;
    char owner[64]; /* host:pid:random, for leases */
    const char *step; /* for events */
};
/* Walk one table once (pass rotation->pass), sharing chunks with other workers through the journal, until no chunk is left to
 * claim and none is leased by somebody alive.  Adds to `stats`.  CANCELLED: stop was asked, or the rotation's row has another epoch
 * (paused, aborted, moved on): the caller reads the record again.  Everything already written is right; calling again goes on. */
COFFER_MUST_CHECK int worker_walk(struct worker *worker, const struct walk_table *table, struct walk_stats *stats,
                                  struct coffer_error *err);
/* Works out what to write for one row that was read: the heart of every walk.  Pure but for the codec; borrows all that it is given.
 * For one thread at a time. */
struct cells;
COFFER_MUST_CHECK int cells_new(struct codec *codec, const struct walk_column *columns, size_t count,
                                const struct rotate_options *options, struct cells **out, struct coffer_error *err);
void cells_free(struct cells *cells); /* wipes; accepts NULL */
/* Cells that cannot be moved are left alone and reported through `quarantine` (reason).  New values borrow from `storage`, which is
 * appended to and may move: give each row one of its own. */
typedef int (*walk_quarantine)(void *arg, const struct walk_column *column, const struct db_row *row, size_t place_count,
                               const char *reason, struct coffer_error *err);
COFFER_MUST_CHECK int cells_transform(struct cells *cells, struct db_row *row, size_t place_count, struct buf *storage,
                                      walk_quarantine quarantine, void *arg, struct coffer_error *err);

/* ---- quarantine: journal table "quarantine", key = column id / hash of the place ---- */
/* `key_id`: of the envelope that stands there; 0: plaintext, or nothing that says its key. */
COFFER_MUST_CHECK int quarantine_put(struct journal *journal, const struct keyring_column *column, const struct db_row *row,
                                     size_t key_count, uint32_t key_id, const char *reason, struct coffer_error *err);
/* Each cell in the order of its place's hash: `place` is its row key as JSON.  Edited rows are passed over and counted in `*tampered`. */
typedef int (*quarantine_fn)(void *arg, uint32_t key_id, const char *place, const char *reason, struct coffer_error *err);
COFFER_MUST_CHECK int quarantine_each(struct journal *journal, const struct uuid *column, quarantine_fn fn, void *arg,
                                      size_t *tampered, struct coffer_error *err);
COFFER_MUST_CHECK int quarantine_count(struct journal *journal, const struct uuid *column_or_null, uint64_t *count,
                                       struct coffer_error *err);
/* Take out what has been repaired meanwhile: called at the start of each sweep, which puts back what still will not open. */
COFFER_MUST_CHECK int quarantine_clear(struct journal *journal, const struct uuid *column, struct coffer_error *err);

/* ---- throttle ---- */
#define DUTY_DEFAULT 0.1 /* while others use the database */
struct throttle;
COFFER_MUST_CHECK int throttle_new(const struct throttle_options *options, struct host_database *database,
                                   const struct db_table *table, const struct os *os, struct throttle **out,
                                   struct coffer_error *err);
/* Take settings that were changed while running from journal table "rotation", key "<rotation id>.throttle", looked at every second. */
void throttle_follow(struct throttle *throttle, const char *rotation_id);
void throttle_free(struct throttle *throttle);
/* After a batch of `rows` that took `busy_ms`: sleeps as long as needed (returns at once when `stop` is set).  Reports why it waits. */
COFFER_MUST_CHECK int throttle_after(struct throttle *throttle, uint64_t rows, double busy_ms, const struct rotate_env *env,
                                     struct coffer_error *err);

/* ---- events ---- */
void say(const struct rotate_env *env, enum rotate_event_kind kind, const char *step, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void say_progress(const struct rotate_env *env, const char *step, uint64_t done, uint64_t total, double rate, double left);
bool stopped(const struct rotate_env *env);

#endif
