/* SPDX-License-Identifier: Apache-2.0 */
/* The history checker: an application that knows every write that was acknowledged to it.
 *
 * Its threads read, write single columns, write whole rows back as they were loaded, insert, delete
 * and change primary keys through libcoffer, on table patients(id, ssn, amount), while the test
 * runs a protect or a rotation beside them.  Each row has a lock in the test's memory that is held
 * from before a statement until after its acknowledgement, so that what a row must hold is known
 * exactly at any time.  A wrong or unreadable value fails the test at once.
 */
#ifndef COFFER_TESTS_HISTORY_H
#define COFFER_TESTS_HISTORY_H

#include "host/host.h"

#include <pthread.h>
#include <stdatomic.h>

#define HISTORY_SLOTS 400

struct history_slot {
    pthread_mutex_t lock;
    int64_t id; /* primary key */
    bool alive;
    uint64_t version;
    char ssn[48];
    int64_t amount;
};
struct history {
    const char *url, *keyring_path;
    uint8_t root[32]; /* the key of the keyring */
    struct coffer *coffer;
    struct history_slot slots[HISTORY_SLOTS];
    pthread_t threads[8];
    unsigned thread_count;
    atomic_bool stop;
    volatile int64_t next_id;
    uint64_t reads, writes, stale_writes, moves, deletes, retries, beats; /* atomic */
};

/* Fill the (empty) table and start the threads.  The keyring must know the database. */
void history_start(struct history *h);
void history_stop(struct history *h);
/* Read every row and compare it; with `refused` not 0, no cell may be under that key; with
 * `sealed`, none may be plaintext. */
void history_verify(struct history *h, bool sealed, uint32_t refused);

#endif
