/* SPDX-License-Identifier: Apache-2.0 */
/* A keyring store for many threads: one call at a time. */
#include "deploy/internal.h"

#include "base/error.h"
#include "base/mem.h"

struct locked_store {
    struct keyring_store store; /* first */
    struct keyring_store *inner;
    pthread_mutex_t lock; /* recursive: what audit_append() calls may load */
};

#define LOCKED(store, call)                                                                        \
    struct locked_store *l = (struct locked_store *)(store);                                       \
    int rc;                                                                                        \
    (void)pthread_mutex_lock(&l->lock);                                                            \
    rc = l->inner->call;                                                                           \
    (void)pthread_mutex_unlock(&l->lock);                                                          \
    return rc

static int
load(struct keyring_store *store, struct keyring **out, struct coffer_error *err)
{
    LOCKED(store, load(l->inner, out, err));
}

static int
commit(struct keyring_store *store, struct keyring *kr, struct coffer_error *err)
{
    LOCKED(store, commit(l->inner, kr, err));
}

static int
escrow_put(struct keyring_store *store, uint32_t key_id, struct bytes content,
           struct coffer_error *err)
{
    LOCKED(store, escrow_put(l->inner, key_id, content, err));
}

static int
escrow_get(struct keyring_store *store, uint32_t key_id, struct buf *content,
           struct coffer_error *err)
{
    LOCKED(store, escrow_get(l->inner, key_id, content, err));
}

static int
escrow_remove(struct keyring_store *store, uint32_t key_id, struct coffer_error *err)
{
    LOCKED(store, escrow_remove(l->inner, key_id, err));
}

static int
audit_append(struct keyring_store *store,
             int (*make)(void *arg, struct bytes log, struct buf *line, struct coffer_error *err),
             void *arg, struct coffer_error *err)
{
    LOCKED(store, audit_append(l->inner, make, arg, err));
}

static int
audit_read(struct keyring_store *store, struct buf *out, struct coffer_error *err)
{
    LOCKED(store, audit_read(l->inner, out, err));
}

static int
certificate_put(struct keyring_store *store, const char *name, struct bytes content,
                struct coffer_error *err)
{
    LOCKED(store, certificate_put(l->inner, name, content, err));
}

static int
certificate_get(struct keyring_store *store, const char *name, struct buf *content,
                struct coffer_error *err)
{
    LOCKED(store, certificate_get(l->inner, name, content, err));
}

int
locked_store_new(struct keyring_store *inner, struct keyring_store **out, struct coffer_error *err)
{
    struct locked_store *l = mem_alloc(sizeof *l);
    pthread_mutexattr_t recursive;

    *out = NULL;
    if (l == NULL)
        return error_nomem(err);
    (void)pthread_mutexattr_init(&recursive);
    (void)pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init(&l->lock, &recursive);
    (void)pthread_mutexattr_destroy(&recursive);
    l->inner = inner;
    l->store = (struct keyring_store){.load = load,
                                      .commit = commit,
                                      .escrow_put = escrow_put,
                                      .escrow_get = escrow_get,
                                      .escrow_remove = escrow_remove,
                                      .audit_append = audit_append,
                                      .audit_read = audit_read,
                                      .certificate_put = certificate_put,
                                      .certificate_get = certificate_get,
                                      .ctx = inner->ctx};
    *out = &l->store;
    return COFFER_OK;
}

void
locked_store_free(struct keyring_store *store)
{
    struct locked_store *l = (struct locked_store *)store;

    if (l == NULL)
        return;
    (void)pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

struct keyring_store *
locked_store_inner(struct keyring_store *store)
{
    return ((struct locked_store *)store)->inner;
}
