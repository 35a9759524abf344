/* SPDX-License-Identifier: Apache-2.0 */
/* Plaintexts: one integer, or slots side by side.  A slot holds v + 2^63, so that it is never negative
 * and no sum borrows from its neighbour; 33 bits above it take what 2^32 rows carry over. */
#include "sums/paillier_numbers.h"

#include <string.h>

#define PLAIN_BITS (8 * PAILLIER_N_LEN)

void
paillier_plain(const struct paillier_public *key, int128 value, uint8_t plain[PAILLIER_N_LEN])
{
    uint8_t n[PAILLIER_N_LEN];
    unsigned borrow = 0;

    memset(plain, 0, PAILLIER_N_LEN);
    put_be128(plain + PAILLIER_N_LEN - 16, uint128_abs(value));
    if (value >= 0)
        return;
    paillier_n(key, n);
    for (size_t i = PAILLIER_N_LEN; i > 0; i--) { /* n - |value| */
        unsigned d = n[i - 1] - plain[i - 1] - borrow;

        plain[i - 1] = (uint8_t)d;
        borrow = d >> 8 & 1;
    }
}

/* a - b, or 0 for a not above b, of big-endian numbers; false if it has more than 127 bits. */
static bool
small_difference(const uint8_t *a, const uint8_t *b, uint128 *out)
{
    uint8_t d[PAILLIER_N_LEN], high = 0;
    unsigned borrow = 0;

    for (size_t i = PAILLIER_N_LEN; i > 0; i--) {
        unsigned v = a[i - 1] - (b != NULL ? b[i - 1] : 0u) - borrow;

        d[i - 1] = (uint8_t)v;
        borrow = v >> 8 & 1;
    }
    for (size_t i = 0; i < PAILLIER_N_LEN - 16; i++)
        high |= d[i];
    *out = get_be128(d + PAILLIER_N_LEN - 16);
    wipe(d, sizeof d);
    return borrow == 0 && high == 0 && *out <= (uint128)INT128_MAX;
}

int
paillier_value(const struct paillier_public *key, const uint8_t plain[PAILLIER_N_LEN],
               int128 *value, struct coffer_error *err)
{
    uint8_t n[PAILLIER_N_LEN];
    uint128 size = 0;

    *value = 0;
    paillier_n(key, n);
    if (small_difference(plain, NULL, &size))
        *value = (int128)size;
    else if (small_difference(n, plain, &size))
        *value = -(int128)size;
    else
        return error_set(err, COFFER_E_LIMIT,
                         "the total has more than 127 bits: it holds slots, or "
                         "is too large");
    return COFFER_OK;
}

/* Bits `at` to `at` + 7 of a big-endian number. */
static unsigned
byte_at(const uint8_t *plain, size_t at)
{
    size_t from = PAILLIER_N_LEN - 1 - at / 8;
    unsigned pair = plain[from] | (from > 0 ? (unsigned)plain[from - 1] << 8 : 0u);

    return pair >> at % 8 & 0xff;
}

void
paillier_pack(const int64_t *values, size_t count, uint8_t plain[PAILLIER_N_LEN])
{
    memset(plain, 0, PAILLIER_N_LEN);
    for (size_t slot = 0; slot < PAILLIER_SLOTS; slot++) {
        uint64_t v = (slot < count ? (uint64_t)values[slot] : 0) ^ (uint64_t)1 << 63;

        for (size_t i = 0; i < 64; i += 8) { /* slots do not overlap: or is plus */
            size_t at = slot * PAILLIER_SLOT_BITS + i, to = PAILLIER_N_LEN - 1 - at / 8;
            unsigned pair = (unsigned)(v >> i & 0xff) << at % 8;

            plain[to] |= (uint8_t)pair;
            plain[to - 1] |= (uint8_t)(pair >> 8);
        }
    }
}

int
paillier_unpack(const uint8_t plain[PAILLIER_N_LEN], uint64_t rows, size_t count, int128 *totals,
                struct coffer_error *err)
{
    unsigned above = 0;

    if (rows > PAILLIER_ROWS_MAX)
        return error_set(err, COFFER_E_LIMIT,
                         "packed sums hold 2^32 rows: sum ranges of keys and add their totals");
    if (count > PAILLIER_SLOTS)
        return error_set(err, COFFER_E_MISUSE, "a packed value has %d slots", PAILLIER_SLOTS);
    for (size_t at = PAILLIER_SLOTS * PAILLIER_SLOT_BITS; at < PLAIN_BITS; at += 8)
        above |= byte_at(plain, at);
    for (size_t slot = 0; slot < PAILLIER_SLOTS; slot++) {
        uint128 sum = 0;

        for (size_t i = 0; i < PAILLIER_SLOT_BITS; i += 8)
            sum |= (uint128)byte_at(plain, slot * PAILLIER_SLOT_BITS + i) << i;
        sum &= ((uint128)1 << PAILLIER_SLOT_BITS) - 1;
        if (above != 0 || sum > (uint128)rows * UINT64_MAX) {
            memset(totals, 0, count * sizeof *totals);
            return error_set(
                err, COFFER_E_AUTH,
                "not the sum of %llu packed rows: rows were left out or repeated, or a "
                "writer encrypted something else",
                (unsigned long long)rows);
        }
        if (slot < count)
            totals[slot] = (int128)sum - ((int128)rows << 63);
    }
    return COFFER_OK;
}
