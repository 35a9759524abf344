/* SPDX-License-Identifier: Apache-2.0 */
/* Order terms, under public names. */
#include "coffer.h"
#include "search/ore_compare.h"

bool
coffer_ore_valid(const void *term, size_t len)
{
    return term != NULL && ore_valid(term, len);
}

int
coffer_ore_compare(const void *a, const void *b)
{
    return ore_compare(a, b);
}
