/* SPDX-License-Identifier: Apache-2.0 */
/* Order terms: the input is cut in two; what is valid compares, with itself as equal. */
#include "search/ore_compare.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint8_t *
exact(const uint8_t *data, size_t len) /* so that one byte too far is seen */
{
    uint8_t *copy = malloc(len > 0 ? len : 1);

    if (copy == NULL)
        abort();
    memcpy(copy, data, len);
    return copy;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    size_t half = len / 2;
    uint8_t *whole = exact(data, len), *a = exact(data, half), *b = exact(data + half, len - half);
    uint8_t key[4 + ORE_BLOCKS_MAX];

    if (ore_valid(whole, len)) {
        if (ore_compare(whole, whole) != 0 || ore_equality_key(whole, key) > sizeof key)
            abort();
    }
    if (ore_valid(a, half) && ore_valid(b, len - half))
        (void)ore_compare(a, b);
    free(whole);
    free(a);
    free(b);
    return 0;
}
