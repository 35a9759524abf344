/* SPDX-License-Identifier: Apache-2.0 */
#include "support/fault.h"

#include "support/test.h"

#include "base/mem.h"
#include "base/secret.h"

#include <stdatomic.h>

static atomic_uint calls_left; /* until the failing one; 0: it has failed, or none is ordered */
static atomic_bool fired;

static int
fails_now(void)
{
    unsigned left = atomic_load(&calls_left);

    while (left > 0 && !atomic_compare_exchange_weak(&calls_left, &left, left - 1))
        ;
    if (left != 1)
        return 0;
    atomic_store(&fired, true);
    return 1;
}

void
fault_alloc_at(unsigned nth)
{
    atomic_store(&fired, false);
    atomic_store(&calls_left, nth);
    mem_set_fault(fails_now);
}

bool
fault_fired(void)
{
    mem_set_fault(NULL);
    return atomic_exchange(&fired, false);
}

void
fault_every_allocation(const char *name, int (*run)(void), unsigned least)
{
    fault_nearly_every_allocation(name, run, least, 0);
}

void
fault_nearly_every_allocation(const char *name, int (*run)(void), unsigned least, unsigned unseen)
{
    unsigned nth;
    int rc;

    for (nth = 1;; nth++) {
        size_t secrets = secret_live_count();

        fault_alloc_at(nth);
        rc = run();
        if (!fault_fired())
            break;
        if (rc == COFFER_OK && unseen > 0)
            unseen--;
        else if (rc != COFFER_E_NOMEM)
            fail_msg("%s: allocation %u failed and it returned %d", name, nth, rc);
        if (secret_live_count() != secrets)
            fail_msg("%s: allocation %u failed and %zu secrets were left", name, nth,
                     secret_live_count() - secrets);
    }
    if (rc != COFFER_OK)
        fail_msg("%s: returned %d with every allocation (%u) granted", name, rc, nth - 1);
    if (nth <= least)
        fail_msg("%s: only %u allocations", name, nth - 1);
}
