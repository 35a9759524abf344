/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic modulo the prime p = 2^127 - 1, on which the tags of sums rest.
 *
 * A residue is 0 to p-1.  No branch and no address depends on the numbers. */
#ifndef COFFER_SUMS_MODP_H
#define COFFER_SUMS_MODP_H

#include "sums/int128.h"

#define MODP ((uint128)INT128_MAX)
#define MODP_CENTRED_MAX ((int128)(MODP >> 1)) /* (p-1)/2 */

static inline uint128
modp_once(uint128 v) /* v below 2p */
{
    uint128 less = v - MODP;

    return less + (MODP & -(less >> 127));
}
static inline uint128
modp_of(uint128 v)
{
    return modp_once((v & MODP) + (v >> 127));
}
static inline uint128
modp_add(uint128 a, uint128 b)
{
    return modp_once(a + b);
}
static inline uint128
modp_negate(uint128 a)
{
    return modp_once(MODP - a);
}
static inline uint128
modp_signed(int128 v)
{
    uint128 sign = -((uint128)v >> 127), size = ((uint128)v ^ sign) - sign;
    uint128 r = modp_of(size);

    return modp_once((r & ~sign) | ((MODP - r) & sign));
}
static inline uint128
modp_mul(uint128 a, uint128 b)
{
    uint64_t a0 = (uint64_t)a, a1 = (uint64_t)(a >> 64), b0 = (uint64_t)b, b1 = (uint64_t)(b >> 64);
    uint128 low = (uint128)a0 * b0, high = (uint128)a1 * b1; /* a1, b1 below 2^63 */
    uint128 cross = (uint128)a0 * b1 + (uint128)a1 * b0, sum;

    sum = low + (cross << 64);
    high += (cross >> 64) + (sum < low);
    /* high·2^128 + sum, and 2^128 is 2 mod p */
    return modp_add(modp_of(sum), modp_of(high << 1));
}
/* -(p-1)/2 to (p-1)/2, as tags are stored. */
static inline int128
modp_centred(uint128 a)
{
    return a > (uint128)MODP_CENTRED_MAX ? (int128)(a - MODP) : (int128)a;
}
/* th·2^64 + tl, of any two stored columns. */
static inline uint128
modp_limbs(int128 th, int128 tl)
{
    return modp_add(modp_mul(modp_signed(th), (uint128)1 << 64), modp_signed(tl));
}

#endif
