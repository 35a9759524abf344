/* SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"
#include "base/mem.h"

#include <time.h>

int
snapshot_new(struct coffer *coffer, struct keyring *keyring, struct snapshot **out,
             struct coffer_error *err)
{
    struct snapshot *made = mem_alloc(sizeof *made);
    int rc;

    *out = NULL;
    if (made == NULL)
        return error_nomem(err);
    rc = codec_new(keyring, &made->codec, err);
    if (rc != COFFER_OK) {
        mem_free(made);
        return rc;
    }
    made->keyring = keyring;
    made->coffer = coffer;
    atomic_init(&made->references, 1);
    *out = made;
    return COFFER_OK;
}

struct snapshot *
snapshot_hold(struct coffer *coffer)
{
    struct snapshot *snapshot;

    pthread_mutex_lock(&coffer->lock);
    snapshot = coffer->current;
    atomic_fetch_add(&snapshot->references, 1);
    pthread_mutex_unlock(&coffer->lock);
    return snapshot;
}

void
snapshot_release(struct snapshot *snapshot)
{
    if (snapshot == NULL || atomic_fetch_sub(&snapshot->references, 1) != 1)
        return;
    /* Calls that began before a swap count too: an open under a key that was proven must be seen.
     */
    pthread_mutex_lock(&snapshot->coffer->lock);
    keep_use(snapshot->coffer, snapshot->codec);
    pthread_mutex_unlock(&snapshot->coffer->lock);
    codec_free(snapshot->codec);
    keyring_free(snapshot->keyring);
    mem_free(snapshot);
}

static int64_t
boot_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME,
                  &ts); /* goes on while the machine sleeps: a lease must run out then too */
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void
coffer_confirm(struct coffer *coffer)
{
    atomic_store(&coffer->confirmed_ms, boot_ms());
}

bool
lease_holds(const struct coffer *coffer)
{
    return boot_ms() - atomic_load(&coffer->confirmed_ms) <= COFFER_LEASE_MS;
}
