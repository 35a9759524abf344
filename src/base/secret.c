/* SPDX-License-Identifier: Apache-2.0 */
/* Secrets live in slots of locked slabs; a large one has a slab of its own.
 *
 * A slab is mmap'd, locked (MLOCK), kept out of core dumps, and never given back while a secret is
 * in it.  Slots hold the struct and its bytes together, so that nothing about a secret is on the
 * heap.
 *
 * A forked child keeps the secrets, and out of dumps, but locks are not inherited: its fork handler
 * locks the slabs again.  The handlers also hold the mutex across the fork, so that no child starts
 * with a mutex that a thread it does not have will never release.
 */
#include "base/secret.h"

#include "base/mem.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#define SLAB_LEN 16384
#define SLOT_LEN 128
#define SECRET_MAX 4000

struct secret {
    size_t len;
    struct slab *slab;
    size_t slot; /* first of `slots` */
    size_t slots;
    uint8_t bytes[];
};

struct slab {
    struct slab *next;  /* of all */
    struct slab *roomy; /* of those with room; only while `listed` */
    bool listed;
    uint16_t free;
    uint8_t used[SLAB_LEN / SLOT_LEN]; /* slot 0… hold this header */
};

#define SLOTS (SLAB_LEN / SLOT_LEN)
#define HEADER_SLOTS ((sizeof(struct slab) + SLOT_LEN - 1) / SLOT_LEN)
#define ROOM                                                                                       \
    4 /* free slots that a slab must have to be looked at: with a million secrets there are many that have not */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slab *slabs, *roomy_slabs;
static size_t live;
static bool locked = true;

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void
fork_prepare(void)
{
    pthread_mutex_lock(&lock);
}

static void
fork_parent(void)
{
    pthread_mutex_unlock(&lock);
}

static void
fork_child(void)
{
    for (struct slab *slab = slabs; slab != NULL; slab = slab->next)
        if (mlock(slab, SLAB_LEN) != 0)
            locked = false;
    pthread_mutex_unlock(&lock);
}

static void
handle_forks(void)
{
    (void)pthread_atfork(fork_prepare, fork_parent, fork_child);
}

void
wipe(void *ptr, size_t len)
{
    if (len > 0)
        explicit_bzero(ptr, len);
}

static struct slab *
slab_new(void)
{
    struct slab *slab =
        mmap(NULL, SLAB_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (slab == MAP_FAILED)
        return NULL;
    if (mlock(slab, SLAB_LEN) != 0)
        locked = false;
    (void)madvise(slab, SLAB_LEN, MADV_DONTDUMP);
    memset(slab->used, 1, HEADER_SLOTS);
    slab->free = SLOTS - HEADER_SLOTS;
    slab->next = slabs;
    slabs = slab;
    slab->listed = true;
    slab->roomy = roomy_slabs;
    roomy_slabs = slab;
    return slab;
}

/* First run of `count` free slots, 0 if there is none. */
static size_t
slab_find(const struct slab *slab, size_t count)
{
    size_t i, run = 0;

    for (i = HEADER_SLOTS; i < SLOTS; i++) {
        run = slab->used[i] ? 0 : run + 1;
        if (run == count)
            return i + 1 - count;
    }
    return 0;
}

/* A slab with `count` free slots in a row, from `*at`.  Those on the way that have run short of room leave
 * the list. */
static struct slab *
slab_with_room(size_t count, size_t *at)
{
    struct slab **link = &roomy_slabs, *slab;

    while ((slab = *link) != NULL) {
        *at = slab_find(slab, count);
        if (*at != 0)
            return slab;
        if (slab->free < ROOM) {
            *link = slab->roomy;
            slab->listed = false;
        } else {
            link = &slab->roomy;
        }
    }
    return NULL;
}

int
secret_new(size_t len, struct secret **out, struct coffer_error *err)
{
    size_t count = (sizeof(struct secret) + len + SLOT_LEN - 1) / SLOT_LEN, at = 0;
    struct secret *secret;
    struct slab *slab;

    *out = NULL;
    if (len == 0 || len > SECRET_MAX)
        return error_set(err, COFFER_E_LIMIT, "a secret of %zu bytes: 1 to %d are possible", len,
                         SECRET_MAX);
    if (mem_fault())
        return error_nomem(err);
    pthread_once(&fork_once, handle_forks);
    pthread_mutex_lock(&lock);
    slab = slab_with_room(count, &at);
    if (slab == NULL && (slab = slab_new()) != NULL)
        at = slab_find(slab, count);
    if (slab != NULL) {
        memset(slab->used + at, 1, count);
        slab->free = (uint16_t)(slab->free - count);
        live++;
    }
    pthread_mutex_unlock(&lock);
    if (slab == NULL)
        return error_set(err, COFFER_E_NOMEM, "out of memory for secrets");
    secret = (struct secret *)(void *)((uint8_t *)slab + at * SLOT_LEN);
    *secret = (struct secret){.len = len, .slab = slab, .slot = at, .slots = count};
    memset(secret->bytes, 0, len);
    *out = secret;
    return COFFER_OK;
}

int
secret_copy(struct bytes data, struct secret **out, struct coffer_error *err)
{
    int rc = secret_new(data.len, out, err);

    if (rc == COFFER_OK)
        memcpy((*out)->bytes, data.ptr, data.len);
    return rc;
}

void
secret_free(struct secret *secret)
{
    struct slab *slab;
    size_t slot, count;

    if (secret == NULL)
        return;
    slab = secret->slab;
    slot = secret->slot;
    count = secret->slots;
    wipe(secret, count * SLOT_LEN);
    pthread_mutex_lock(&lock);
    memset(slab->used + slot, 0, count);
    slab->free = (uint16_t)(slab->free + count);
    if (!slab->listed && slab->free >= ROOM) {
        slab->listed = true;
        slab->roomy = roomy_slabs;
        roomy_slabs = slab;
    }
    live--;
    pthread_mutex_unlock(&lock);
}

struct bytes
secret_expose(const struct secret *secret)
{
    return (struct bytes){secret->bytes, secret->len};
}

uint8_t *
secret_expose_mut(struct secret *secret)
{
    return secret->bytes;
}

size_t
secret_len(const struct secret *secret)
{
    return secret->len;
}

bool
secret_equal(struct bytes a, struct bytes b)
{
    volatile uint8_t differ = 0;
    size_t i;

    if (a.len != b.len)
        return false;
    for (i = 0; i < a.len; i++)
        differ = (uint8_t)(differ | (a.ptr[i] ^ b.ptr[i]));
    return differ == 0;
}

size_t
secret_live_count(void)
{
    size_t n;

    pthread_mutex_lock(&lock);
    n = live;
    pthread_mutex_unlock(&lock);
    return n;
}

bool
secret_locked(void)
{
    bool all;

    pthread_mutex_lock(&lock);
    all = locked;
    pthread_mutex_unlock(&lock);
    return all;
}
