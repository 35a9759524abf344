/* SPDX-License-Identifier: Apache-2.0 */
/* Make one allocation fail.
 *
 *     for (nth = 1;; nth++) {
 *         fault_alloc_at(nth);
 *         rc = the_call();
 *         if (!fault_fired())
 *             break;
 *         ... rc is COFFER_E_NOMEM and nothing is left behind
 *     }
 *
 * Works on base/mem.h and secret memory.  Allocations of any thread count; one test at a time.
 */
#ifndef COFFER_TESTS_FAULT_H
#define COFFER_TESTS_FAULT_H

#include <stdbool.h>

/* The `nth` allocation from now on fails (1 is the next); those after it succeed again. */
void fault_alloc_at(unsigned nth);

/* Did it come to that?  Disarms, so that what follows in the test allocates as usual. */
bool fault_fired(void);

/* The loop above over `run`: each failure must be COFFER_E_NOMEM and leave no secret behind, and at
 * least `least` allocations must have been failed before it succeeds.  Asserts; `name` is for the
 * message.  What else a failure may not leave is for `run` itself to assert. */
void fault_every_allocation(const char *name, int (*run)(void), unsigned least);
/* The same where some work is best effort: at most `unseen` failures may pass as COFFER_OK. */
void fault_nearly_every_allocation(const char *name, int (*run)(void), unsigned least,
                                   unsigned unseen);

#endif
