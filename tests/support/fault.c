/* SPDX-License-Identifier: Apache-2.0 */
#include "support/fault.h"

#include "base/mem.h"

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
