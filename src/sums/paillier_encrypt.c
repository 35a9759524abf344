/* SPDX-License-Identifier: Apache-2.0 */
/* c = (1 + m·n)·ρ mod n².  The factor ρ, an n-th power, is all the work:
 *   textbook  r^n mod n²
 *   owner     a^p mod p² and b^q mod q² put together: the same distribution, a quarter of the time
 *   public    h_s^r mod n² */
#include "sums/paillier_numbers.h"

#include <string.h>

static int
out_of_range(struct coffer_error *err, const char *what)
{
    return error_set(err, COFFER_E_FORMAT, "%s is out of range for this key", what);
}

int
paillier_factor_textbook(const struct paillier_public *key, const uint8_t r[PAILLIER_N_LEN],
                         uint8_t factor[PAILLIER_C_LEN], struct coffer_error *err)
{
    mp_limb_t *base, *result;
    struct work w;
    int rc = work_open(&w, WORK_POWER, err);

    if (rc != COFFER_OK)
        return rc;
    base = work_take(&w, C_LIMBS); /* zero above N_LIMBS */
    result = work_take(&w, C_LIMBS);
    limbs_read(base, r, N_LIMBS);
    if (limbs_zero(base, N_LIMBS) || !limbs_below(base, key->n, N_LIMBS)) {
        rc = out_of_range(err, "the randomness");
    } else {
        limbs_power(result, base, key->n, N_LIMBS * GMP_NUMB_BITS, key->n2, C_LIMBS, &w);
        limbs_write(factor, result, C_LIMBS);
    }
    work_close(&w);
    return rc;
}

int
paillier_factor_public(const struct paillier_public *key, const uint8_t r[PAILLIER_PRIME_LEN],
                       uint8_t factor[PAILLIER_C_LEN], struct coffer_error *err)
{
    mp_limb_t *exponent, *result;
    struct work w;
    int rc;

    if (!key->has_hs)
        return error_set(err, COFFER_E_MISUSE, "this public key has no h_s: it cannot encrypt");
    rc = work_open(&w, WORK_POWER, err);
    if (rc != COFFER_OK)
        return rc;
    exponent = work_take(&w, P_LIMBS);
    result = work_take(&w, C_LIMBS);
    limbs_read(exponent, r, P_LIMBS);
    limbs_power(result, key->hs, exponent, PRIME_BITS, key->n2, C_LIMBS, &w);
    limbs_write(factor, result, C_LIMBS);
    work_close(&w);
    return COFFER_OK;
}

/* a^p mod p², or b^q mod q². */
static bool
prime_power(mp_limb_t *result, const uint8_t *a, const mp_limb_t *p, const mp_limb_t *p2,
            struct work *w)
{
    size_t mark = w->used;
    mp_limb_t *base = work_take(w, N_LIMBS);
    bool ok;

    mpn_zero(base, N_LIMBS);
    limbs_read(base, a, P_LIMBS);
    ok = !limbs_zero(base, P_LIMBS) && limbs_below(base, p, P_LIMBS);
    if (ok)
        limbs_power(result, base, p, PRIME_BITS, p2, N_LIMBS, w);
    w->used = mark;
    return ok;
}

int
paillier_factor_owner(const struct paillier_private *key, const uint8_t a[PAILLIER_PRIME_LEN],
                      const uint8_t b[PAILLIER_PRIME_LEN], uint8_t factor[PAILLIER_C_LEN],
                      struct coffer_error *err)
{
    const struct primes *k = paillier_primes(key);
    mp_limb_t *x, *y, *t, *product;
    struct work w;
    int rc = work_open(&w, WORK_POWER, err);

    if (rc != COFFER_OK)
        return rc;
    x = work_take(&w, N_LIMBS);
    y = work_take(&w, C_LIMBS); /* zero above N_LIMBS */
    t = work_take(&w, N_LIMBS);
    product = work_take(&w, C_LIMBS);
    if (!prime_power(x, a, k->p, k->p2, &w) || !prime_power(y, b, k->q, k->q2, &w)) {
        rc = out_of_range(err, "the randomness");
    } else {
        /* y + q²·((x - y)·q^-2 mod p²) */
        limbs_mod(t, y, N_LIMBS, k->p2, N_LIMBS, &w);
        limbs_sub_mod(t, x, t, k->p2, N_LIMBS);
        limbs_mul_mod(t, t, k->q2_inverse, k->p2, N_LIMBS, &w);
        mpn_sec_mul(product, k->q2, N_LIMBS, t, N_LIMBS,
                    work_take(&w, (size_t)mpn_sec_mul_itch(N_LIMBS, N_LIMBS)));
        (void)mpn_add_n(product, product, y, C_LIMBS);
        limbs_write(factor, product, C_LIMBS);
    }
    work_close(&w);
    return rc;
}

int
paillier_encrypt_with(const struct paillier_public *key, const uint8_t plain[PAILLIER_N_LEN],
                      const uint8_t factor[PAILLIER_C_LEN], uint8_t c[PAILLIER_C_LEN],
                      struct coffer_error *err)
{
    mp_limb_t *m, *product, *rho;
    struct work w;
    int rc = work_open(&w, WORK_PRODUCT, err);

    if (rc != COFFER_OK)
        return rc;
    m = work_take(&w, N_LIMBS);
    product = work_take(&w, C_LIMBS);
    rho = work_take(&w, C_LIMBS);
    limbs_read(m, plain, N_LIMBS);
    limbs_read(rho, factor, C_LIMBS);
    if (!limbs_below(m, key->n, N_LIMBS) || !limbs_below(rho, key->n2, C_LIMBS)) {
        rc = out_of_range(err, "the plaintext");
    } else {
        mpn_sec_mul(product, key->n, N_LIMBS, m, N_LIMBS,
                    work_take(&w, (size_t)mpn_sec_mul_itch(N_LIMBS, N_LIMBS)));
        (void)mpn_sec_add_1(product, product, C_LIMBS, 1,
                            work_take(&w, (size_t)mpn_sec_add_1_itch(C_LIMBS)));
        limbs_mul_mod(product, product, rho, key->n2, C_LIMBS, &w);
        limbs_write(c, product, C_LIMBS);
    }
    work_close(&w);
    return rc;
}
