/* SPDX-License-Identifier: Apache-2.0 */
/* With L(x) = (x-1)/p:  m mod p = -L(c^(p-1) mod p²)·q^-1 mod p, since g = n+1; likewise mod q; then the
 * two are put together. */
#include "sums/paillier_numbers.h"

#include <string.h>

/* m mod p.  False: p divides c. */
static bool
residue(mp_limb_t *m, const mp_limb_t *c, const mp_limb_t *p, const mp_limb_t *p2,
        const mp_limb_t *inverse, struct work *w)
{
    size_t mark = w->used;
    mp_limb_t *x = work_take(w, N_LIMBS), *e = work_take(w, P_LIMBS), *l = work_take(w, P_LIMBS);
    bool prime_to;

    limbs_mod(x, c, C_LIMBS, p2, N_LIMBS, w);
    limbs_mod(l, x, N_LIMBS, p, P_LIMBS, w);
    prime_to = !limbs_zero(l, P_LIMBS);
    if (prime_to) {
        mpn_copyi(e, p, P_LIMBS);
        e[0] -= 1; /* p is odd */
        limbs_power(x, x, e, PRIME_BITS, p2, N_LIMBS, w);
        (void)mpn_sec_sub_1(x, x, N_LIMBS, 1, work_take(w, (size_t)mpn_sec_sub_1_itch(N_LIMBS)));
        (void)mpn_sec_div_qr(l, x, N_LIMBS, p, P_LIMBS,
                             work_take(w, (size_t)mpn_sec_div_qr_itch(N_LIMBS, P_LIMBS)));
        limbs_mul_mod(l, l, inverse, p, P_LIMBS, w);
        mpn_zero(m, P_LIMBS);
        limbs_sub_mod(m, m, l, p, P_LIMBS);
    }
    w->used = mark;
    return prime_to;
}

int
paillier_decrypt(const struct paillier_private *key, const uint8_t c[PAILLIER_C_LEN],
                 uint8_t plain[PAILLIER_N_LEN], struct coffer_error *err)
{
    const struct primes *k = paillier_primes(key);
    mp_limb_t *number, *mp, *mq, *t, *m;
    struct work w;
    int rc = work_open(&w, WORK_POWER, err);

    if (rc != COFFER_OK)
        return rc;
    number = work_take(&w, C_LIMBS);
    mp = work_take(&w, P_LIMBS);
    mq = work_take(&w, N_LIMBS); /* zero above P_LIMBS */
    t = work_take(&w, P_LIMBS);
    m = work_take(&w, N_LIMBS);
    limbs_read(number, c, C_LIMBS);
    if (limbs_zero(number, C_LIMBS) || !limbs_below(number, key->public.n2, C_LIMBS) ||
        !residue(mp, number, k->p, k->p2, k->q_inverse, &w) ||
        !residue(mq, number, k->q, k->q2, k->p_inverse, &w)) {
        rc = error_set(err, COFFER_E_FORMAT, "not a ciphertext of this Paillier key");
    } else {
        /* mq + q·((mp - mq)·q^-1 mod p) */
        limbs_mod(t, mq, P_LIMBS, k->p, P_LIMBS, &w);
        limbs_sub_mod(t, mp, t, k->p, P_LIMBS);
        limbs_mul_mod(t, t, k->q_inverse, k->p, P_LIMBS, &w);
        mpn_sec_mul(m, k->q, P_LIMBS, t, P_LIMBS,
                    work_take(&w, (size_t)mpn_sec_mul_itch(P_LIMBS, P_LIMBS)));
        (void)mpn_add_n(m, m, mq, N_LIMBS);
        limbs_write(plain, m, N_LIMBS);
    }
    work_close(&w);
    return rc;
}
