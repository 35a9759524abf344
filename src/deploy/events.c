/* SPDX-License-Identifier: Apache-2.0 */
/* What happens, numbered, the last of it kept in memory. */
#include "deploy/internal.h"

#include "base/error.h"
#include "base/mem.h"

#include <errno.h>
#include <time.h>

#define KEPT 1024

struct events {
    pthread_mutex_t lock;
    pthread_cond_t more;
    json_t *kept[KEPT]; /* number n is at n % KEPT */
    uint64_t last;
    bool closed;
};

int
events_open(struct deploy *deploy, struct coffer_error *err)
{
    pthread_condattr_t monotonic;

    deploy->events = mem_alloc(sizeof *deploy->events);
    if (deploy->events == NULL)
        return error_nomem(err);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&deploy->events->lock, NULL);
    (void)pthread_cond_init(&deploy->events->more, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    return COFFER_OK;
}

void
events_close(struct deploy *deploy)
{
    struct events *events = deploy->events;

    if (events == NULL)
        return;
    for (size_t i = 0; i < KEPT; i++)
        json_decref(events->kept[i]);
    (void)pthread_cond_destroy(&events->more);
    (void)pthread_mutex_destroy(&events->lock);
    mem_free(events);
    deploy->events = NULL;
}

void
deploy_event(struct deploy *deploy, const char *kind, json_t *object)
{
    struct events *events = deploy->events;
    json_t *event;

    if (object == NULL)
        return;
    (void)pthread_mutex_lock(&events->lock);
    event = json_pack("{s:I,s:o,s:s}", "seq", (json_int_t)(events->last + 1), "at",
                      json_time(deploy->os->now_us(deploy->os)), "event", kind);
    if (event != NULL) {
        (void)json_object_update_missing(event, object);
        events->last++;
        json_decref(events->kept[events->last % KEPT]);
        events->kept[events->last % KEPT] = event;
        (void)pthread_cond_broadcast(&events->more);
    }
    (void)pthread_mutex_unlock(&events->lock);
    json_decref(object);
}

/* With the lock held.  Copies, because counts of references are not for several threads. */
static json_t *
collect(const struct events *events, uint64_t after)
{
    uint64_t oldest = events->last >= KEPT ? events->last - KEPT + 1 : 1;
    json_t *list = json_array();

    if (list == NULL)
        return NULL;
    if (after + 1 < oldest ||
        after > events->last) { /* forgotten, or numbers of an earlier process */
        (void)json_array_append_new(
            list, json_pack("{s:I,s:s}", "seq", (json_int_t)events->last, "event", "reset"));
        return list;
    }
    for (uint64_t n = after + 1; n <= events->last; n++)
        (void)json_array_append_new(list, json_deep_copy(events->kept[n % KEPT]));
    return list;
}

int
deploy_events(struct deploy *deploy, uint64_t after, unsigned wait_ms, json_t **out,
              struct coffer_error *err)
{
    struct events *events = deploy->events;
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&events->lock);
    while (events->last == after && wait_ms > 0 && !atomic_load(&deploy->closing)) {
        if (pthread_cond_timedwait(&events->more, &events->lock, &until) == ETIMEDOUT)
            break;
    }
    *out = collect(events, after);
    (void)pthread_mutex_unlock(&events->lock);
    return *out == NULL ? error_nomem(err) : COFFER_OK;
}

uint64_t
deploy_last_event(struct deploy *deploy)
{
    uint64_t last;

    (void)pthread_mutex_lock(&deploy->events->lock);
    last = deploy->events->last;
    (void)pthread_mutex_unlock(&deploy->events->lock);
    return last;
}
