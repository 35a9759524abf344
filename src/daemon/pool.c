/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "daemon/internal.h"

#include <signal.h>

#define THREADS_MAX 16

struct pool {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct request *first, **last;
    bool ending;
    void (*run)(struct request *request);
    pthread_t threads[THREADS_MAX];
    size_t count;
};

static void *
pool_thread(void *arg)
{
    struct pool *pool = arg;

    for (;;) {
        struct request *request;

        (void)pthread_mutex_lock(&pool->mutex);
        while (pool->first == NULL && !pool->ending)
            (void)pthread_cond_wait(&pool->wake, &pool->mutex);
        request = pool->first;
        if (request != NULL) {
            pool->first = request->next;
            if (pool->first == NULL)
                pool->last = &pool->first;
        }
        (void)pthread_mutex_unlock(&pool->mutex);
        if (request == NULL)
            return NULL;
        pool->run(request);
    }
}

void
pool_put(struct pool *pool, struct request *request)
{
    (void)pthread_mutex_lock(&pool->mutex);
    if (pool->ending) {
        (void)pthread_mutex_unlock(&pool->mutex);
        reply_error(request, MHD_HTTP_SERVICE_UNAVAILABLE, "cancelled", "cofferd is stopping");
        request_ready(request);
        return;
    }
    request->next = NULL;
    *pool->last = request;
    pool->last = &request->next;
    (void)pthread_cond_signal(&pool->wake);
    (void)pthread_mutex_unlock(&pool->mutex);
}

int
pool_new(size_t threads, void (*run)(struct request *request), struct pool **out, struct coffer_error *err)
{
    struct pool *pool = mem_alloc(sizeof *pool);
    sigset_t all, old;

    *out = NULL;
    if (pool == NULL)
        return error_nomem(err);
    (void)pthread_mutex_init(&pool->mutex, NULL);
    (void)pthread_cond_init(&pool->wake, NULL);
    pool->last = &pool->first;
    pool->run = run;
    (void)sigfillset(&all); /* signals are the main thread's */
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    while (pool->count < threads && pool->count < THREADS_MAX &&
           pthread_create(&pool->threads[pool->count], NULL, pool_thread, pool) == 0)
        pool->count++;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (pool->count == 0) {
        pool_free(pool);
        return error_set(err, COFFER_E_LIMIT, "no thread could be started");
    }
    *out = pool;
    return COFFER_OK;
}

void
pool_stop(struct pool *pool)
{
    if (pool == NULL)
        return;
    (void)pthread_mutex_lock(&pool->mutex);
    pool->ending = true;
    (void)pthread_cond_broadcast(&pool->wake);
    (void)pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 0; i < pool->count; i++)
        (void)pthread_join(pool->threads[i], NULL);
    pool->count = 0;
}

void
pool_free(struct pool *pool)
{
    if (pool == NULL)
        return;
    pool_stop(pool);
    (void)pthread_cond_destroy(&pool->wake);
    (void)pthread_mutex_destroy(&pool->mutex);
    mem_free(pool);
}
