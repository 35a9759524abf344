/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COFFER_API_INTERNAL_H
#define COFFER_API_INTERNAL_H

#include "field/codec.h"

#include <pthread.h>
#include <stdatomic.h>

#define USE_MAX 256 /* keys counted between two calls of coffer_take_use() */

/* One content of the keyring, ready for use.  Calls hold a reference while they work. */
struct snapshot {
    atomic_uint references;
    struct coffer *coffer; /* gets the counts when the last call is done with this content */
    struct keyring *keyring;
    struct codec *codec;
};

struct coffer_column { /* lives as long as its struct coffer */
    struct coffer_column *next;
    struct coffer *coffer;
    struct keyring_column record; /* as found; type, binding, suite and id never change */
};

struct coffer {
    pthread_mutex_t lock; /* of `current` and `columns`, held for moments */
    struct snapshot *current;
    struct coffer_column *columns;
    struct coffer_use past[USE_MAX]; /* of snapshots that were replaced */
    size_t past_count;
    atomic_int_fast64_t confirmed_ms; /* CLOCK_BOOTTIME */
};

/* A handle over a keyring that is decoded already.  Takes it, and leaves NULL, on success. */
COFFER_MUST_CHECK int coffer_adopt(struct keyring **keyring, struct coffer **out,
                                   struct coffer_error *err);
COFFER_MUST_CHECK int snapshot_new(struct coffer *coffer, struct keyring *keyring, struct snapshot **out,
                                   struct coffer_error *err); /* takes it on success */
struct snapshot *snapshot_hold(struct coffer *coffer);
void snapshot_release(struct snapshot *snapshot);
/* Under the lock: move the counts of `codec` to `past`. */
void keep_use(struct coffer *coffer, struct codec *codec);
bool lease_holds(const struct coffer *coffer);
/* The column's record in this snapshot; NULL if it is gone. */
const struct keyring_column *column_now(const struct snapshot *snapshot,
                                        const struct coffer_column *column);

#endif
