/* SPDX-License-Identifier: Apache-2.0 */
/* The history checker: an application that knows every write that was acknowledged to it.
 *
 * Its threads read, write one column or both, write whole rows back as they were loaded, insert,
 * delete and change primary keys through libcoffer, on table patients(id, ssn, amount), while the
 * test runs a protect or a rotation beside them.  Each row has a lock in the test's memory that is
 * held from before a statement until after its acknowledgement, so that what a row must hold is
 * known exactly at any time.  A wrong or unreadable value ends the process at once, with a line
 * "history broken: …".
 *
 * history.c is the threads and the checks, history_row.c the application's data layer.
 */
#ifndef COFFER_TESTS_HISTORY_H
#define COFFER_TESTS_HISTORY_H

#include "host/host.h"

#include <pthread.h>
#include <stdatomic.h>

#define HISTORY_SLOTS 400
#define HISTORY_QUIET 16 /* the first slots: read, and written by history_put_back() alone */

struct history_slot {
    pthread_mutex_t lock;
    int64_t id; /* primary key */
    bool alive;
    uint64_t version;
    char ssn[48];
    int64_t amount;
};

/* ---- rows as stored (history_row.c) ---- */

struct history_form {                   /* how a column is stored now */
    const struct coffer_column *column; /* NULL: not protected */
    const char *companion;              /* NULL: in place */
    bool text_form;
};
struct history_row {
    struct db_result *result; /* owns the bytes */
    struct history_form forms[2];
    struct coffer_value stored[2][2]; /* of ssn and amount: the column itself, its companion */
};

enum history_bug { /* planted to show that the checker sees it */
                   HISTORY_NO_BUG = 0,
                   HISTORY_LOST_UPDATES, /* a worker that writes whatever was written meanwhile over */
                   HISTORY_SWAPPED_CELLS /* somebody copies a sealed cell to another row */
};

struct history {
    const char *url, *keyring_path;
    uint8_t root[32]; /* the key of the keyring */
    enum history_bug bug;
    uint64_t bug_rounds;
    struct coffer *coffer;
    struct history_slot slots[HISTORY_SLOTS];
    struct history_row kept[HISTORY_QUIET];
    pthread_t threads[8];
    unsigned thread_count;
    atomic_bool stop;
    int64_t next_id;
    uint64_t reads, writes, stale_writes, moves, deletes, retries, beats; /* atomic */
};

/* Fill the (empty) table and start the threads.  The keyring must know the database. */
void history_start(struct history *h);
void history_stop(struct history *h);
/* Read every row and compare it; with `refused` not 0, no cell may be under that key; with
 * `sealed`, none may be plaintext. */
void history_verify(struct history *h, bool sealed, uint32_t refused);

/* Load the quiet rows as they are stored now, and later write those old bytes back, which is what
 * an application does that saves whole rows after a long while.  Returns how many the database
 * took; `refusal` is what the message of every other one must say. */
void history_keep(struct history *h);
unsigned history_put_back(struct history *h, const char *refusal);

/* ---- the data layer ---- */

enum history_write {
    HISTORY_INSERT = 1,
    HISTORY_CHANGE,
    HISTORY_CHANGE_AMOUNT, /* one column alone */
    HISTORY_MOVE /* to slot->id from `old_id`: another place, so the cells are sealed anew */
};
/* NOTFOUND if there is no such row.  Free with history_row_free(). */
COFFER_MUST_CHECK int history_row_load(struct history *h, struct db *db, int64_t id,
                                       struct history_row *out, struct coffer_error *err);
/* All rows in one statement: history_row_at() makes `stored` the i-th one's and returns its id. */
COFFER_MUST_CHECK int history_row_load_all(struct history *h, struct db *db,
                                           struct history_row *out, struct coffer_error *err);
int64_t history_row_at(struct history_row *rows, size_t i);
void history_row_free(struct history_row *row);
/* CONFLICT: a column changed its form between the two calls; load it again. */
COFFER_MUST_CHECK int history_row_open(struct history *h, int64_t id, const struct history_row *row,
                                       char ssn[48], int64_t *amount, struct coffer_error *err);
COFFER_MUST_CHECK int history_row_write(struct history *h, struct db *db, enum history_write what,
                                        const struct history_slot *slot, int64_t old_id,
                                        struct coffer_error *err);
/* The stored bytes again, as they were loaded. */
COFFER_MUST_CHECK int history_row_store(struct db *db, int64_t id, const struct history_row *row,
                                        struct coffer_error *err);

#endif
