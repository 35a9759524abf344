/* SPDX-License-Identifier: Apache-2.0 */
/* What the halves of a coffer_host share: opening it (coffer_host.c), and its thread (watch.c). */
#ifndef COFFER_HOST_WATCH_H
#define COFFER_HOST_WATCH_H

#include "coffer_host.h"
#include "host/host.h"

#include <pthread.h>

#define LOOK_EVERY_MS 250
#define USE_MAX 64

/* A database that is beaten for.  Once in the list it is the thread's alone. */
struct attached {
    struct attached *next;
    char *url;
    struct uuid id;
    struct host_database *database; /* NULL: connection lost, opened anew at next_ms */
    struct keyring *keyring;        /* its own copy, which `database` borrows */
    int64_t next_ms;
    unsigned back_off_ms;
    uint64_t shown_epoch;
    int64_t prune_ms; /* when to look next for rows of clients that are long gone */
};

struct coffer_host {
    const struct os *os;
    char *path;
    char client[KEYRING_NAME_MAX], role[KEYRING_NAME_MAX];
    struct coffer *coffer;
    pthread_t thread;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool stop;
    struct keyring *keyring; /* the newest, replaced by the thread */
    struct attached *first;
    struct coffer_error look_error, beat_error;

    uint64_t stamp; /* the thread's */
    struct coffer_use use[USE_MAX];
    size_t use_count;
};

void *coffer_host_run(void *host);
COFFER_MUST_CHECK int coffer_host_connect(struct coffer_host *host, struct attached *a, struct coffer_error *err);
COFFER_MUST_CHECK int coffer_host_beat(struct coffer_host *host, struct attached *a, bool leaving, struct coffer_error *err);

#endif
