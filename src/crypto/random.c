/* SPDX-License-Identifier: Apache-2.0 */
/* Nonces from a per-thread pool: at most 4 KiB, one second old.
 *
 * The pool is ChaCha20 output under a fresh 32-byte seed of the kernel's, made again when it is
 * used up or old.  Why a nonce is never given twice: a byte of the pool is given once and wiped;
 * the pool's page is MADV_WIPEONFORK, so that a child sees `filled` zero and seeds its own; a
 * virtual machine that is cloned repeats at most what is left of one second, and cannot repeat
 * under another seed.
 */
#include "base/mem.h"
#include "base/os.h"
#include "crypto/crypto.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define POOL_LEN 3840 /* with the rest of the struct, within one page */

struct pool {
    uint32_t filled; /* zero in a forked child */
    uint32_t used;
    struct timespec made;
    uint8_t bytes[POOL_LEN];
};

_Static_assert(sizeof(struct pool) <= 4096, "a pool is one page");

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t pool_key;
static __thread struct pool *pool;

static void
free_pool(void *arg)
{
    explicit_bzero(arg, 4096);
    munmap(arg, 4096);
}

static void
make_pool_key(void)
{
    (void)pthread_key_create(&pool_key, free_pool);
}

static int
pool_new(struct coffer_error *err)
{
    void *page = mem_fault()
                     ? MAP_FAILED
                     : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return error_nomem(err);
    (void)madvise(page, 4096, MADV_DONTDUMP);
    if (madvise(page, 4096, MADV_WIPEONFORK) != 0) {
        munmap(page, 4096);
        return error_set(
            err, COFFER_E_UNSUPPORTED,
            "this kernel has no MADV_WIPEONFORK (Linux 4.14): nonces could repeat after a fork");
    }
    pthread_once(&once, make_pool_key);
    (void)pthread_setspecific(pool_key, page);
    pool = page;
    return COFFER_OK;
}

static bool
too_old(const struct timespec *now)
{
    return now->tv_sec - pool->made.tv_sec > 1 ||
           (now->tv_sec - pool->made.tv_sec == 1 && now->tv_nsec >= pool->made.tv_nsec);
}

static int
refill(const struct timespec *now, struct coffer_error *err)
{
    static const uint8_t zero_nonce[crypto_stream_chacha20_NONCEBYTES];
    uint8_t seed[crypto_stream_chacha20_KEYBYTES];
    int rc = os_real.random(&os_real, seed, sizeof seed, err);

    if (rc == COFFER_OK) {
        crypto_stream_chacha20(pool->bytes, POOL_LEN, zero_nonce, seed);
        pool->used = 0;
        pool->made = *now;
        pool->filled = 1;
    }
    wipe(seed, sizeof seed);
    return rc;
}

int
random_nonce(void *out, size_t len, struct coffer_error *err)
{
    struct timespec now;
    int rc = COFFER_OK;

    if (len > POOL_LEN)
        return os_real.random(&os_real, out, len, err);
    if (pool == NULL && (rc = pool_new(err)) != COFFER_OK)
        return rc;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    if (!pool->filled || pool->used + len > POOL_LEN || too_old(&now))
        rc = refill(&now, err);
    if (rc != COFFER_OK)
        return rc;
    memcpy(out, pool->bytes + pool->used, len);
    wipe(pool->bytes + pool->used, len);
    pool->used += (uint32_t)len;
    return COFFER_OK;
}

int
random_secret(size_t len, struct secret **out, struct coffer_error *err)
{
    int rc = secret_new(len, out, err);

    if (rc != COFFER_OK)
        return rc;
    rc = os_real.random(&os_real, secret_expose_mut(*out), len, err);
    if (rc != COFFER_OK) {
        secret_free(*out);
        *out = NULL;
    }
    return rc;
}
