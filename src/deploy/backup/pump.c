/* SPDX-License-Identifier: Apache-2.0 */
#include "deploy/backup/pump.h"

#include "base/mem.h"
#include "base/secret.h"

int
pump_init(struct pump *pump, size_t size, struct coffer_error *err)
{
    *pump = (struct pump){0};
    (void)pthread_mutex_init(&pump->lock, NULL);
    (void)pthread_cond_init(&pump->changed, NULL);
    for (size_t i = 0; i < PUMP_BLOCKS; i++) {
        pump->blocks[i].bytes = mem_alloc(size);
        if (pump->blocks[i].bytes == NULL) {
            pump_wipe(pump);
            return error_nomem(err);
        }
        pump->blocks[i].len = size;
    }
    return COFFER_OK;
}

void
pump_wipe(struct pump *pump)
{
    for (size_t i = 0; i < PUMP_BLOCKS; i++) {
        if (pump->blocks[i].bytes != NULL)
            wipe(pump->blocks[i].bytes, pump->blocks[i].len);
        mem_free(pump->blocks[i].bytes);
        pump->blocks[i].bytes = NULL;
    }
    (void)pthread_cond_destroy(&pump->changed);
    (void)pthread_mutex_destroy(&pump->lock);
}

struct pump_block *
pump_empty(struct pump *pump)
{
    struct pump_block *block = NULL;

    pthread_mutex_lock(&pump->lock);
    while (!pump->stopped && pump->filled - pump->taken == PUMP_BLOCKS)
        pthread_cond_wait(&pump->changed, &pump->lock);
    if (!pump->stopped)
        block = &pump->blocks[pump->filled % PUMP_BLOCKS];
    pthread_mutex_unlock(&pump->lock);
    return block;
}

void
pump_fill(struct pump *pump)
{
    pthread_mutex_lock(&pump->lock);
    pump->filled++;
    pthread_cond_broadcast(&pump->changed);
    pthread_mutex_unlock(&pump->lock);
}

struct pump_block *
pump_full(struct pump *pump)
{
    struct pump_block *block = NULL;

    pthread_mutex_lock(&pump->lock);
    while (!pump->stopped && pump->filled == pump->taken)
        pthread_cond_wait(&pump->changed, &pump->lock);
    if (!pump->stopped)
        block = &pump->blocks[pump->taken % PUMP_BLOCKS];
    pthread_mutex_unlock(&pump->lock);
    return block;
}

void
pump_take(struct pump *pump)
{
    pthread_mutex_lock(&pump->lock);
    pump->taken++;
    pthread_cond_broadcast(&pump->changed);
    pthread_mutex_unlock(&pump->lock);
}

void
pump_stop(struct pump *pump)
{
    pthread_mutex_lock(&pump->lock);
    pump->stopped = true;
    pthread_cond_broadcast(&pump->changed);
    pthread_mutex_unlock(&pump->lock);
}

bool
pump_stopped(struct pump *pump)
{
    bool stopped;

    pthread_mutex_lock(&pump->lock);
    stopped = pump->stopped;
    pthread_mutex_unlock(&pump->lock);
    return stopped;
}
