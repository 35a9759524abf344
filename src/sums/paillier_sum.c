/* SPDX-License-Identifier: Apache-2.0 */
/* What needs no secret: products of ciphertexts.  GMP's fast division, which is not constant in time,
 * takes its memory from the stack at these lengths. */
#include "base/mem.h"
#include "sums/paillier_numbers.h"

#include <string.h>

struct paillier_sum {
    mp_limb_t n2[C_LIMBS], c[C_LIMBS];
};

int
paillier_sum_new(struct bytes n_squared, struct paillier_sum **out, struct coffer_error *err)
{
    struct paillier_sum *made;

    *out = NULL;
    if (n_squared.len != PAILLIER_C_LEN || n_squared.ptr[0] < 0x40 ||
        (n_squared.ptr[PAILLIER_C_LEN - 1] & 1) == 0)
        return error_set(err, COFFER_E_FORMAT, "n² of a Paillier key has 768 bytes and is odd");
    made = mem_alloc(sizeof *made);
    if (made == NULL)
        return error_nomem(err);
    limbs_read(made->n2, n_squared.ptr, C_LIMBS);
    made->c[0] = 1;
    *out = made;
    return COFFER_OK;
}

void
paillier_sum_free(struct paillier_sum *sum)
{
    mem_free(sum);
}

int
paillier_sum_add(struct paillier_sum *sum, struct bytes c, struct coffer_error *err)
{
    mp_limb_t number[C_LIMBS], product[2 * C_LIMBS], quotient[C_LIMBS + 1];

    if (c.len != PAILLIER_C_LEN)
        return error_set(err, COFFER_E_FORMAT, "a Paillier ciphertext has %d bytes, not %zu",
                         PAILLIER_C_LEN, c.len);
    limbs_read(number, c.ptr, C_LIMBS);
    if (mpn_zero_p(number, C_LIMBS) || mpn_cmp(number, sum->n2, C_LIMBS) >= 0)
        return error_set(err, COFFER_E_FORMAT, "not a ciphertext of this Paillier key");
    mpn_mul_n(product, number, sum->c, C_LIMBS);
    mpn_tdiv_qr(quotient, sum->c, 0, product, 2 * C_LIMBS, sum->n2, C_LIMBS);
    return COFFER_OK;
}

void
paillier_sum_result(const struct paillier_sum *sum, uint8_t c[PAILLIER_C_LEN])
{
    limbs_write(c, sum->c, C_LIMBS);
}

int
paillier_multiply(const struct paillier_public *key, const uint8_t c[PAILLIER_C_LEN], int64_t k,
                  uint8_t out[PAILLIER_C_LEN], struct coffer_error *err)
{
    uint64_t size = k < 0 ? -(uint64_t)k : (uint64_t)k;
    mp_limb_t *number, *exponent;
    uint8_t bytes[8];
    struct work w;
    int rc = work_open(&w, WORK_POWER, err);

    if (rc != COFFER_OK)
        return rc;
    number = work_take(&w, C_LIMBS);
    exponent = work_take(&w, 8 / LIMB_LEN);
    limbs_read(number, c, C_LIMBS);
    put_be64(bytes, size);
    limbs_read(exponent, bytes, 8 / LIMB_LEN);
    if (limbs_zero(number, C_LIMBS) || !limbs_below(number, key->n2, C_LIMBS) ||
        (k < 0 && !limbs_invert(number, number, key->n2, C_LIMBS, &w))) {
        rc = error_set(err, COFFER_E_FORMAT, "not a ciphertext of this Paillier key");
    } else {
        limbs_power(number, number, exponent, 64, key->n2, C_LIMBS, &w);
        limbs_write(out, number, C_LIMBS);
    }
    work_close(&w);
    return rc;
}
