/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes of libipsec-mb, one manager a thread (200 KB, 5 ms to make: it tests itself).  The burst
 * call is synchronous: when it returns, no lane holds a unit. */
#include "crypto/aes_lanes.h"

#include "base/mem.h"

#include <assert.h>
#include <intel-ipsec-mb.h>
#include <pthread.h>

#define BURST 64
_Static_assert(BURST <= IMB_MAX_BURST_SIZE, "as the library has it");

struct lanes {
    IMB_MGR *manager;
    IMB_JOB jobs[BURST];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t lanes_key;
static bool keyed;
static __thread struct lanes *mine;
static __thread bool refused; /* no AES instructions, or the library failed its own test */

static void
free_lanes(void *arg)
{
    struct lanes *lanes = arg;

    free_mb_mgr(lanes->manager);
    mem_free(lanes);
    mine = NULL;
}

static void
make_key(void)
{
    keyed = pthread_key_create(&lanes_key, free_lanes) == 0;
}

static struct lanes *
new_lanes(void)
{
    struct lanes *lanes = mem_alloc(sizeof *lanes);

    if (lanes == NULL)
        return NULL;
    lanes->manager = alloc_mb_mgr(0);
    if (lanes->manager != NULL) {
        init_mb_mgr_auto(lanes->manager, NULL);
        if (imb_get_errno(lanes->manager) == 0 &&
            (lanes->manager->features & IMB_FEATURE_AESNI) != 0 &&
            pthread_setspecific(lanes_key, lanes) == 0)
            return lanes;
        refused = true;
        free_mb_mgr(lanes->manager);
    }
    mem_free(lanes);
    return NULL;
}

static struct lanes *
my_lanes(void)
{
    if (mine == NULL && !refused) {
        pthread_once(&once, make_key);
        mine = keyed ? new_lanes() : NULL;
    }
    return mine;
}

static size_t
round_keys_len(size_t key_len)
{
    return (key_len / 4 + 7) * 16;
}

size_t
lanes_schedule_len(size_t key_len)
{
    return 2 * round_keys_len(key_len);
}

bool
lanes_expand(struct bytes key, uint8_t *schedule)
{
    uint8_t *decrypt = schedule + round_keys_len(key.len);
    struct lanes *lanes = my_lanes();

    assert((uintptr_t)schedule % 16 == 0);
    if (lanes == NULL)
        return false;
    if (key.len == IMB_KEY_128_BYTES)
        IMB_AES_KEYEXP_128(lanes->manager, key.ptr, schedule, decrypt);
    else if (key.len == IMB_KEY_192_BYTES)
        IMB_AES_KEYEXP_192(lanes->manager, key.ptr, schedule, decrypt);
    else
        IMB_AES_KEYEXP_256(lanes->manager, key.ptr, schedule, decrypt);
    return true;
}

bool
lanes_cbc(const uint8_t *schedule, size_t key_len, bool encrypt, const struct block_unit *units,
          size_t count, size_t unit_len)
{
    struct lanes *lanes = my_lanes();
    size_t i, n;

    if (lanes == NULL)
        return false;
    for (; count > 0; units += n, count -= n) {
        n = count < BURST ? count : BURST;
        for (i = 0; i < n; i++) {
            IMB_JOB *job = &lanes->jobs[i];

            job->enc_keys = schedule;
            job->dec_keys = schedule + round_keys_len(key_len);
            job->key_len_in_bytes = key_len;
            job->src = units[i].in;
            job->dst = units[i].out;
            job->msg_len_to_cipher_in_bytes = unit_len;
            job->iv = units[i].iv;
            job->iv_len_in_bytes = 16;
        }
        if (IMB_SUBMIT_CIPHER_BURST_NOCHECK(
                lanes->manager, lanes->jobs, (uint32_t)n, IMB_CIPHER_CBC,
                encrypt ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT, (IMB_KEY_SIZE_BYTES)key_len) != n)
            return false; /* uncovered: the library completes every valid job */
    }
    return true;
}
