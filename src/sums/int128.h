/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of 128 bits: sums of 64-bit ones, and large money.  No state. */
#ifndef COFFER_SUMS_INT128_H
#define COFFER_SUMS_INT128_H

#include "base/bytes.h"

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

#define INT128_MAX ((int128)(~(uint128)0 >> 1))
#define INT128_MIN (-INT128_MAX - 1)
#define INT128_TEXT_MAX 42 /* "-170141183460469231731687303715884105728" and its NUL */

static inline uint128
uint128_abs(int128 v)
{
    return v < 0 ? -(uint128)v : (uint128)v;
}
static inline uint128
get_be128(const uint8_t *p)
{
    return (uint128)get_be64(p) << 64 | get_be64(p + 8);
}
static inline void
put_be128(uint8_t *p, uint128 v)
{
    put_be64(p, (uint64_t)(v >> 64));
    put_be64(p + 8, (uint64_t)v);
}

void int128_format(int128 v, char out[INT128_TEXT_MAX]);
/* A database's exact integer, `-?[0-9]+` (leading zeros too, a fraction of zeros as MariaDB's DECIMAL
 * may have).  False for anything else, or when it does not fit. */
bool int128_parse(struct bytes text, int128 *out);

#endif
