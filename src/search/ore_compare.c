/* SPDX-License-Identifier: Apache-2.0 */
#include "search/ore_compare.h"

#include "crypto/aes_block.h"

#include <string.h>

#define FORMAT 0x01
#define VERSION_MAX 32767
#define NONCE_AT 4
#define NONCE_LEN 16

bool
ore_valid(const uint8_t *term, size_t len)
{
    static const uint8_t zero[NONCE_LEN];
    unsigned version;

    if (len < ORE_HEAD_LEN || term[0] != FORMAT || term[1] > ORE_BLOCKS_MAX ||
        len != ORE_LEN(term[1]))
        return false;
    version = (unsigned)term[2] << 8 | term[3];
    if (version < 1 || version > VERSION_MAX)
        return false;
    return term[1] > 0 || memcmp(term + NONCE_AT, zero, NONCE_LEN) == 0;
}

int
ore_compare(const uint8_t *a, const uint8_t *b)
{
    unsigned blocks = a[1], n;
    const uint8_t *left, *right;
    uint8_t hidden[16], t;
    int differ = (a[2] << 8 | a[3]) - (b[2] << 8 | b[3]); /* version */

    if (differ == 0)
        differ = (int)blocks - (int)b[1];
    if (differ != 0)
        return differ;
    for (n = 0; n < blocks && a[ORE_HEAD_LEN + n] == b[ORE_HEAD_LEN + n]; n++)
        ;
    if (n == blocks)
        return 0;
    t = a[ORE_HEAD_LEN + n];
    left = a + ORE_HEAD_LEN + blocks + 16 * n;       /* F(t) of a */
    right = b + ORE_HEAD_LEN + 17 * blocks + 32 * n; /* bits of b */
    aes128_once(b + NONCE_AT, left, hidden);
    return (((right[t / 8] >> (t % 8)) ^ hidden[15] ^ left[15]) & 1) != 0 ? 1 : -1;
}

size_t
ore_equality_key(const uint8_t *term, uint8_t out[4 + ORE_BLOCKS_MAX])
{
    memcpy(out, term, 4);
    memcpy(out + 4, term + ORE_HEAD_LEN, term[1]);
    return (size_t)4 + term[1];
}
