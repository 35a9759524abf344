/* SPDX-License-Identifier: Apache-2.0 */
/* Who has drawn what is one atomic counter in a session that never changes otherwise.
 *
 *     current NULL ──draw──▶ session ──draw: counter used up, an hour old──▶ next session
 *          ▲                    │
 *          └──────fork: the child's page is zero, its generation another────────┘
 *
 * A session that was replaced stays allocated until the issuer goes: a slow thread may still add to
 * its counter, harmlessly.  That is 48 bytes an hour. */
#include "sums/ids.h"

#include "base/mem.h"
#include "base/os.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define DRAW_MAX (1u << 20)
#define SESSION_MS (3600 * 1000)
#define PAGE 4096

struct session {
    uint8_t group[SUM_GROUP_LEN];
    int64_t born_ms;
    unsigned generation;
    atomic_uint_fast64_t next;
    struct session *older;
};

/* The page of an issuer that a forked child finds zeroed, however it was forked. */
struct shared {
    _Atomic(struct session *) current;
};

struct sum_issuer {
    uint8_t version[2];
    int64_t (*now_ms)(void);
    struct shared *shared;
    _Atomic(struct session *) all; /* for freeing */
};

/* Counts forks, where the child's C library runs the handlers: a second net under the page. */
static atomic_uint generation;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
in_child(void)
{
    atomic_fetch_add(&generation, 1);
}

static void
watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, in_child);
}

static int64_t
boot_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int
sum_issuer_new(unsigned version, int64_t (*now_ms)(void), struct sum_issuer **out,
               struct coffer_error *err)
{
    struct sum_issuer *made;
    void *page;

    *out = NULL;
    if (version == 0 || version > SUM_VERSION_MAX)
        return error_set(err, COFFER_E_MISUSE, "a sum key's version is 1 to %d", SUM_VERSION_MAX);
    made = mem_alloc(sizeof *made);
    if (made == NULL)
        return error_nomem(err);
    page = mem_fault()
               ? MAP_FAILED
               : mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        mem_free(made);
        return error_nomem(err);
    }
    if (madvise(page, PAGE, MADV_WIPEONFORK) != 0) {
        munmap(page, PAGE);
        mem_free(made);
        return error_set(
            err, COFFER_E_UNSUPPORTED,
            "this kernel has no MADV_WIPEONFORK (Linux 4.14): ids of sum columns could "
            "repeat after a fork");
    }
    pthread_once(&once, watch_forks);
    put_be16(made->version, (uint16_t)version);
    made->now_ms = now_ms != NULL ? now_ms : boot_ms;
    made->shared = page;
    *out = made;
    return COFFER_OK;
}

void
sum_issuer_free(struct sum_issuer *issuer)
{
    struct session *session, *older;

    if (issuer == NULL)
        return;
    for (session = atomic_load(&issuer->all); session != NULL; session = older) {
        older = session->older;
        mem_free(session);
    }
    munmap(issuer->shared, PAGE);
    mem_free(issuer);
}

/* A session with ids left, of this process, younger than an hour. */
static bool
usable(const struct sum_issuer *issuer, const struct session *session)
{
    int64_t age = session != NULL ? issuer->now_ms() - session->born_ms : 0;

    return session != NULL && session->generation == atomic_load(&generation) && age >= 0 &&
           age < SESSION_MS;
}

/* Put a new session in the place of `seen`, unless another thread did. */
static int
renew(struct sum_issuer *issuer, struct session *seen, struct coffer_error *err)
{
    struct session *made = mem_alloc(sizeof *made);
    int rc;

    if (made == NULL)
        return error_nomem(err);
    memcpy(made->group, issuer->version, 2);
    rc = os_real.random(&os_real, made->group + 2, SUM_GROUP_LEN - 2, err);
    if (rc != COFFER_OK) {
        mem_free(made);
        return rc;
    }
    made->born_ms = issuer->now_ms();
    made->generation = atomic_load(&generation);
    atomic_init(&made->next, 1);
    made->older = atomic_load(&issuer->all);
    if (!atomic_compare_exchange_strong(&issuer->shared->current, &seen, made)) {
        mem_free(made);
        return COFFER_OK;
    }
    while (!atomic_compare_exchange_weak(&issuer->all, &made->older, made))
        continue;
    return COFFER_OK;
}

int
sum_ids_draw(struct sum_issuer *issuer, uint32_t count, struct sum_id *first,
             struct coffer_error *err)
{
    struct session *session;
    uint64_t counter;
    int rc;

    if (count == 0 || count > DRAW_MAX)
        return error_set(err, COFFER_E_MISUSE, "1 to %u ids are drawn at once", DRAW_MAX);
    for (;;) {
        session = atomic_load(&issuer->shared->current);
        if (usable(issuer, session)) {
            counter = atomic_fetch_add(&session->next, count);
            /* A signal handler may have forked since `session` was read: the child's page says so. */
            if (counter + count - 1 <= UINT32_MAX &&
                atomic_load(&issuer->shared->current) == session) {
                *first = sum_id_of(session->group, (uint32_t)counter);
                return COFFER_OK;
            }
        }
        rc = renew(issuer, session, err);
        if (rc != COFFER_OK)
            return rc;
    }
}
