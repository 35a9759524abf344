/* SPDX-License-Identifier: Apache-2.0 */
/* Factors made ahead.
 *
 *     empty ──fill──▶ busy ──▶ full ──encrypt──▶ busy ──(copied, wiped)──▶ empty
 *
 * A slot belongs to the thread that made it busy.  The slots lie in pages that a forked child finds
 * zeroed, that is empty: no factor serves both sides. */
#include "base/mem.h"
#include "crypto/crypto.h"
#include "sums/paillier_numbers.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#define SIZE_MAX_SLOTS 65536

enum { EMPTY, BUSY, FULL };
struct slot {
    atomic_int state;
    uint8_t factor[PAILLIER_C_LEN];
};
struct paillier_pool {
    const struct paillier_public *key;
    const struct paillier_private *owner;
    struct slot *slots;
    size_t size, bytes;
};

int
paillier_pool_new(const struct paillier_public *key, const struct paillier_private *owner,
                  size_t size, struct paillier_pool **out, struct coffer_error *err)
{
    size_t bytes = (size * sizeof(struct slot) + 4095) & ~(size_t)4095;
    struct paillier_pool *made;
    void *memory = NULL;

    *out = NULL;
    if (size > SIZE_MAX_SLOTS || (owner == NULL && !key->has_hs))
        return error_set(err, COFFER_E_MISUSE,
                         "a pool of Paillier factors needs the private key or h_s, and holds at "
                         "most %d",
                         SIZE_MAX_SLOTS);
    made = mem_alloc(sizeof *made);
    if (made == NULL)
        return error_nomem(err);
    if (size > 0) {
        memory = mem_fault() ? MAP_FAILED
                             : mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            mem_free(made);
            return error_nomem(err);
        }
        (void)madvise(memory, bytes, MADV_DONTDUMP);
        (void)mlock(memory, bytes); /* the limit may forbid it */
        if (madvise(memory, bytes, MADV_WIPEONFORK) != 0) {
            munmap(memory, bytes);
            mem_free(made);
            return error_set(err, COFFER_E_UNSUPPORTED,
                             "this kernel has no MADV_WIPEONFORK (Linux 4.14): factors could serve "
                             "twice after a fork");
        }
    }
    *made = (struct paillier_pool){key, owner, memory, size, bytes};
    *out = made;
    return COFFER_OK;
}

void
paillier_pool_free(struct paillier_pool *pool)
{
    if (pool == NULL)
        return;
    if (pool->slots != NULL) {
        wipe(pool->slots, pool->bytes);
        munmap(pool->slots, pool->bytes);
    }
    mem_free(pool);
}

/* The kernel gives the randomness; one that is not below its prime is drawn anew. */
static int
make_factor(const struct paillier_pool *pool, uint8_t factor[PAILLIER_C_LEN],
            struct coffer_error *err)
{
    struct secret *random;
    int rc;

    do {
        rc = random_secret(2 * PAILLIER_PRIME_LEN, &random, err);
        if (rc != COFFER_OK)
            return rc;
        if (pool->owner != NULL)
            rc = paillier_factor_owner(pool->owner, secret_expose(random).ptr,
                                       secret_expose(random).ptr + PAILLIER_PRIME_LEN, factor, err);
        else
            rc = paillier_factor_public(pool->key, secret_expose(random).ptr, factor, err);
        secret_free(random);
    } while (rc == COFFER_E_FORMAT);
    return rc;
}

/* A slot in state `from`, now busy; NULL if there is none. */
static struct slot *
claim(const struct paillier_pool *pool, int from)
{
    for (size_t i = 0; i < pool->size; i++) {
        int expected = from;

        if (atomic_load_explicit(&pool->slots[i].state, memory_order_relaxed) == from &&
            atomic_compare_exchange_strong(&pool->slots[i].state, &expected, BUSY))
            return &pool->slots[i];
    }
    return NULL;
}

int
paillier_pool_fill(struct paillier_pool *pool, bool *full, struct coffer_error *err)
{
    struct slot *slot = claim(pool, EMPTY);
    int rc;

    *full = slot == NULL;
    if (slot == NULL)
        return COFFER_OK;
    rc = make_factor(pool, slot->factor, err);
    atomic_store(&slot->state, rc == COFFER_OK ? FULL : EMPTY);
    return rc;
}

size_t
paillier_pool_ready(const struct paillier_pool *pool)
{
    size_t ready = 0;

    for (size_t i = 0; i < pool->size; i++)
        ready += atomic_load(&pool->slots[i].state) == FULL;
    return ready;
}

int
paillier_encrypt(struct paillier_pool *pool, const uint8_t plain[PAILLIER_N_LEN],
                 uint8_t c[PAILLIER_C_LEN], struct coffer_error *err)
{
    struct slot *slot = claim(pool, FULL);
    uint8_t factor[PAILLIER_C_LEN];
    int rc = COFFER_OK;

    if (slot != NULL) {
        memcpy(factor, slot->factor, sizeof factor);
        wipe(slot->factor, sizeof slot->factor);
        atomic_store(&slot->state, EMPTY);
    } else {
        rc = make_factor(pool, factor, err);
    }
    if (rc == COFFER_OK)
        rc = paillier_encrypt_with(pool->key, plain, factor, c, err);
    wipe(factor, sizeof factor);
    return rc;
}
