/* SPDX-License-Identifier: Apache-2.0 */
/* Working memory of a thread: a read or write allocates nothing after its thread's first. */
#include "volume/ecryptfs/internal.h"

#include "base/mem.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool keyed;
static __thread struct scratch *mine;

static void
free_scratch(void *arg)
{
    struct scratch *scratch = arg;

    wipe(scratch->edges, sizeof scratch->edges);
    mem_free(scratch->sealed);
    mem_free(scratch);
    mine = NULL;
}

static void
make_key(void)
{
    keyed = pthread_key_create(&key, free_scratch) == 0;
}

struct scratch *
scratch_get(void)
{
    if (mine != NULL)
        return mine;
    pthread_once(&once, make_key);
    mine = keyed ? mem_alloc(sizeof *mine) : NULL;
    if (mine != NULL && pthread_setspecific(key, mine) != 0) {
        mem_free(mine);
        mine = NULL;
    }
    return mine;
}

struct scratch *
scratch_for_writing(void)
{
    struct scratch *scratch = scratch_get();

    if (scratch != NULL && scratch->sealed == NULL)
        scratch->sealed = mem_alloc((size_t)BATCH_EXTENTS * EXTENT_LEN);
    return scratch != NULL && scratch->sealed != NULL ? scratch : NULL;
}
