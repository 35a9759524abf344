/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that a database or a writer gives: the first chooses what they are said to be. */
#include "sums/figures.h"
#include "sums/paillier.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void
expect(bool true_always)
{
    if (!true_always)
        abort();
}

/* n², then ciphertexts; a product is a ciphertext again, or no sum is. */
static void
check_sum(struct bytes data)
{
    struct paillier_sum *sum;
    uint8_t product[PAILLIER_C_LEN];
    struct bytes n2 = bytes_of(data.ptr, data.len < PAILLIER_C_LEN ? data.len : PAILLIER_C_LEN);
    int rc = paillier_sum_new(n2, &sum, NULL);

    expect(rc == COFFER_OK || rc == COFFER_E_FORMAT);
    if (rc != COFFER_OK)
        return;
    for (size_t at = PAILLIER_C_LEN; at < data.len; at += PAILLIER_C_LEN) {
        size_t n = data.len - at < PAILLIER_C_LEN ? data.len - at : PAILLIER_C_LEN;

        rc = paillier_sum_add(sum, bytes_of(data.ptr + at, n), NULL);
        expect(rc == COFFER_OK || rc == COFFER_E_FORMAT);
    }
    paillier_sum_result(sum, product);
    expect(memcmp(product, n2.ptr, sizeof product) < 0);
    paillier_sum_free(sum);
}

static void
check_public(struct bytes data)
{
    struct paillier_public *key;
    size_t n = data.len < PAILLIER_N_LEN ? data.len : PAILLIER_N_LEN;
    uint8_t c[PAILLIER_C_LEN] = {0}, plain[PAILLIER_N_LEN] = {0};
    int rc = paillier_public_new(bytes_of(data.ptr, n), bytes_of(data.ptr + n, data.len - n), &key,
                                 NULL);
    int128 value;

    expect(rc == COFFER_OK || rc == COFFER_E_FORMAT);
    if (rc != COFFER_OK)
        return;
    memcpy(c + PAILLIER_N_LEN, data.ptr,
           PAILLIER_N_LEN); /* n: not prime to n², so it has no inverse */
    expect(paillier_multiply(key, c, -3, c, NULL) == COFFER_E_FORMAT);
    for (int64_t v = -1; v <= 1; v++) {
        paillier_plain(key, v, plain);
        expect(paillier_value(key, plain, &value, NULL) == COFFER_OK && value == v);
    }
    paillier_public_free(key);
}

/* What is unpacked is packed to the same bytes, of one row. */
static void
check_slots(struct bytes data)
{
    uint8_t plain[PAILLIER_N_LEN] = {0}, again[PAILLIER_N_LEN];
    int128 totals[PAILLIER_SLOTS];
    int64_t values[PAILLIER_SLOTS];

    memcpy(plain, data.ptr, data.len < sizeof plain ? data.len : sizeof plain);
    if (paillier_unpack(plain, 1, PAILLIER_SLOTS, totals, NULL) != COFFER_OK)
        return;
    for (int i = 0; i < PAILLIER_SLOTS; i++) {
        expect(totals[i] >= INT64_MIN && totals[i] <= INT64_MAX);
        values[i] = (int64_t)totals[i];
    }
    paillier_pack(values, PAILLIER_SLOTS, again);
    expect(memcmp(plain, again, sizeof plain) == 0);
}

/* Decimal text of a sum column: what is read is written and read again. */
static void
check_decimal(struct bytes data)
{
    unsigned scale = data.len > 0 ? data.ptr[0] % (FIGURES_SCALE_MAX + 1) : 0;
    struct bytes text = bytes_of(data.ptr + (data.len > 0), data.len - (data.len > 0));
    int128 value, again;
    struct buf out;
    int rc = decimal_read(text, scale, &value, NULL);

    expect(rc == COFFER_OK || rc == COFFER_E_FORMAT || rc == COFFER_E_RANGE ||
           rc == COFFER_E_LIMIT);
    (void)!int128_parse(text, &again);
    if (rc != COFFER_OK)
        return;
    buf_init(&out, 256);
    decimal_write(value, scale, &out);
    expect(decimal_read(buf_view(&out), scale, &again, NULL) == COFFER_OK && again == value);
    buf_wipe(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static void (*const CHECKS[])(struct bytes) = {check_sum, check_public, check_slots,
                                                   check_decimal};

    if (len > 0)
        CHECKS[data[0] % 4](bytes_of(data + 1, len - 1));
    return 0;
}
