/* SPDX-License-Identifier: Apache-2.0 */
#include "sums/int128.h"

#include <string.h>

void
int128_format(int128 v, char out[INT128_TEXT_MAX])
{
    uint128 rest = uint128_abs(v);
    char digits[INT128_TEXT_MAX];
    size_t n = sizeof digits;

    digits[--n] = '\0';
    do {
        digits[--n] = (char)('0' + (int)(rest % 10));
        rest /= 10;
    } while (rest != 0);
    if (v < 0)
        digits[--n] = '-';
    memcpy(out, digits + n, sizeof digits - n);
}

bool
int128_parse(struct bytes text, int128 *out)
{
    bool negative = text.len > 0 && text.ptr[0] == '-';
    uint128 v = 0, max = (uint128)INT128_MAX + negative;
    size_t i = negative, first = i;

    for (; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++) {
        unsigned digit = text.ptr[i] - '0';

        if (v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    if (i == first)
        return false;
    if (i < text.len && text.ptr[i] == '.')
        for (i++; i < text.len && text.ptr[i] == '0';)
            i++;
    if (i != text.len)
        return false;
    *out = negative ? (int128)-v : (int128)v;
    return true;
}
