/* SPDX-License-Identifier: Apache-2.0 */
/* Two threads with a few blocks between them: one fills, the other takes, so that reading and writing overlap. */
#ifndef COFFER_DEPLOY_BACKUP_PUMP_H
#define COFFER_DEPLOY_BACKUP_PUMP_H

#include "base/bytes.h"

#include <pthread.h>

#define PUMP_BLOCKS 4

struct pump_block {
    uint8_t *bytes; /* of the size that pump_init() was given */
    size_t len;
    bool last;
};
struct pump {
    struct pump_block blocks[PUMP_BLOCKS];
    size_t filled, taken; /* how many, ever */
    bool stopped;         /* one side gave up */
    pthread_mutex_t lock;
    pthread_cond_t changed;
};
COFFER_MUST_CHECK int pump_init(struct pump *pump, size_t size, struct coffer_error *err);
void pump_wipe(struct pump *pump); /* overwrites the blocks */
/* The next block to fill, or to take; NULL once the other side has stopped.  Hand it on with the second call. */
struct pump_block *pump_empty(struct pump *pump);
void pump_fill(struct pump *pump);
struct pump_block *pump_full(struct pump *pump);
void pump_take(struct pump *pump);
void pump_stop(struct pump *pump);
bool pump_stopped(struct pump *pump);

#endif
