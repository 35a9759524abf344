/* SPDX-License-Identifier: Apache-2.0 */
/* Batches between being read and being written: where their cells are opened and sealed.
 *
 *   (free) --stages_begin--> at work --> ready --stages_take--> taken --stages_release--> (free)
 *
 * At full speed a thread of its own does the work, so that one batch is sealed while the one before
 * it is written and the one after it is read; stages_take() does its share of what is not ready yet,
 * and all of it where there is no thread.  The thread has no
 * database connection: what it refuses is kept with the batch, for the caller to record.  The calls
 * are for one thread, the worker's; batches come out in the order in which they went in.
 */
#ifndef COFFER_ROTATE_STAGE_H
#define COFFER_ROTATE_STAGE_H

#include "rotate/internal.h"

struct stages;

struct refusal { /* a cell for the quarantine */
    const struct walk_column *column;
    size_t row;
    char reason[300];
};

struct staged {
    struct db_batch *batch; /* owned; its new values borrow from `storage` */
    struct refusal *refusals;
    size_t refusal_count;
    struct buf *storage; /* one a row; kept from batch to batch */
    size_t storage_count;
    int status;
    struct coffer_error error;
    int state;
    size_t next;      /* row that nobody works on yet */
    unsigned workers; /* threads at work on it */
};

COFFER_MUST_CHECK int stages_new(struct codec *codec, const struct walk_table *table,
                                 const struct rotate_options *options, bool threaded,
                                 struct stages **out, struct coffer_error *err);
void stages_free(struct stages *stages); /* waits for the thread; accepts NULL */
bool stages_threaded(const struct stages *stages);

/* Put a batch in; takes it over.  At most two may be in at a time. */
void stages_begin(struct stages *stages, struct db_batch **batch);
/* The one that went in first, worked out; waits for it.  Its status is the result. */
COFFER_MUST_CHECK int stages_take(struct stages *stages, struct staged **out,
                                  struct coffer_error *err);
/* Work one out at once, past those that are in. */
COFFER_MUST_CHECK int stages_now(struct stages *stages, struct db_batch **batch,
                                 struct staged **out, struct coffer_error *err);
void stages_release(struct stages *stages, struct staged **staged); /* frees the batch */
void stages_drop(struct stages *stages);                            /* all that are in */

#endif
