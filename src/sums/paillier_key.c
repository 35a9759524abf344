/* SPDX-License-Identifier: Apache-2.0 */
/* Keys.  Both primes have 1536 bits, their two highest set, and are 3 mod 4; so neither divides the
 * other less one, and n has 3072 bits. */
#include "base/mem.h"
#include "crypto/crypto.h"
#include "crypto/prime.h"
#include "sums/paillier_numbers.h"

#include <assert.h>
#include <string.h>

#define DISTANCE_BITS 1400 /* |p - q| is above 2^1400 */

const struct primes *
paillier_primes(const struct paillier_private *key)
{
    return (const struct primes *)(const void *)secret_expose(key->secret).ptr;
}

static int
bad_key(struct coffer_error *err)
{
    return error_set(err, COFFER_E_FORMAT, "not a private key of paillier-3072");
}

/* gcd(p-1, q-1) is 2: (p-1)/2 and (q-1)/2, which are odd, have no common factor. */
static bool
coprime_halves(const mp_limb_t *p, const mp_limb_t *q, struct work *w)
{
    size_t mark = w->used;
    mp_limb_t *a = work_take(w, P_LIMBS), *b = work_take(w, P_LIMBS);
    mp_limb_t *inverse = work_take(w, P_LIMBS);
    bool yes;

    (void)mpn_rshift(a, p, P_LIMBS, 1);
    (void)mpn_rshift(b, q, P_LIMBS, 1);
    limbs_mod(a, a, P_LIMBS, b, P_LIMBS, w);
    yes = !limbs_zero(a, P_LIMBS) && limbs_invert(inverse, a, b, P_LIMBS, w);
    w->used = mark;
    return yes;
}

static bool
far_apart(const mp_limb_t *p, const mp_limb_t *q, struct work *w)
{
    size_t mark = w->used, limb = DISTANCE_BITS / GMP_NUMB_BITS;
    mp_limb_t *d = work_take(w, P_LIMBS);
    bool p_less = limbs_below(p, q, P_LIMBS), far;

    (void)mpn_sub_n(d, p_less ? q : p, p_less ? p : q, P_LIMBS);
    d[limb] &= ~(mp_limb_t)0 << DISTANCE_BITS % GMP_NUMB_BITS;
    far = !limbs_zero(d + limb, P_LIMBS - limb);
    w->used = mark;
    return far;
}

static bool
good_form(const mp_limb_t *p)
{
    return p[P_LIMBS - 1] >> (GMP_NUMB_BITS - 2) == 3 && (p[0] & 3) == 3;
}

/* All that a private key computes with, from p and q. */
static bool
derive(struct primes *k, struct paillier_public *public, struct work *w)
{
    mp_limb_t *t = work_take(w, N_LIMBS);
    mp_limb_t *scratch = work_take(w, (size_t)mpn_sec_mul_itch(N_LIMBS, N_LIMBS));
    bool ok;

    mpn_sec_mul(k->p2, k->p, P_LIMBS, k->p, P_LIMBS, scratch);
    mpn_sec_mul(k->q2, k->q, P_LIMBS, k->q, P_LIMBS, scratch);
    mpn_sec_mul(public->n, k->p, P_LIMBS, k->q, P_LIMBS, scratch);
    mpn_sec_mul(public->n2, public->n, N_LIMBS, public->n, N_LIMBS, scratch);
    limbs_mod(t, k->q, P_LIMBS, k->p, P_LIMBS, w);
    ok = limbs_invert(k->q_inverse, t, k->p, P_LIMBS, w);
    limbs_mod(t, k->p, P_LIMBS, k->q, P_LIMBS, w);
    ok = limbs_invert(k->p_inverse, t, k->q, P_LIMBS, w) && ok;
    limbs_mod(t, k->q2, N_LIMBS, k->p2, N_LIMBS, w);
    return limbs_invert(k->q2_inverse, t, k->p2, N_LIMBS, w) && ok;
}

int
paillier_private_new(const struct secret *primes, struct paillier_private **out,
                     struct coffer_error *err)
{
    struct paillier_private *made;
    struct primes *k;
    struct work w;
    int rc;

    *out = NULL;
    if (secret_len(primes) != PAILLIER_PRIVATE_LEN)
        return bad_key(err);
    rc = work_open(&w, WORK_POWER, err);
    if (rc != COFFER_OK)
        return rc;
    made = mem_alloc(sizeof *made);
    rc = made == NULL ? error_nomem(err) : secret_new(sizeof *k, &made->secret, err);
    if (rc == COFFER_OK) {
        k = (struct primes *)(void *)secret_expose_mut(made->secret);
        limbs_read(k->p, secret_expose(primes).ptr, P_LIMBS);
        limbs_read(k->q, secret_expose(primes).ptr + PAILLIER_PRIME_LEN, P_LIMBS);
        if (!good_form(k->p) || !good_form(k->q) || !far_apart(k->p, k->q, &w) ||
            !coprime_halves(k->p, k->q, &w) || !derive(k, &made->public, &w))
            rc = bad_key(err);
    }
    work_close(&w);
    if (rc != COFFER_OK) {
        paillier_private_free(made);
        return rc;
    }
    *out = made;
    return COFFER_OK;
}

void
paillier_private_free(struct paillier_private *key)
{
    if (key == NULL)
        return;
    secret_free(key->secret);
    mem_free(key);
}

int
paillier_generate(struct secret **out, struct coffer_error *err)
{
    struct secret *p = NULL, *q = NULL, *both = NULL;
    struct paillier_private *key = NULL;
    int rc;

    *out = NULL;
    do { /* that a pair does not do is a matter of common factors: rare */
        secret_free(p);
        secret_free(q);
        p = q = NULL;
        rc = prime_new(PRIME_BITS, &p, err);
        if (rc == COFFER_OK)
            rc = prime_new(PRIME_BITS, &q, err);
        if (rc == COFFER_OK && both == NULL)
            rc = secret_new(PAILLIER_PRIVATE_LEN, &both, err);
        if (rc == COFFER_OK) {
            memcpy(secret_expose_mut(both), secret_expose(p).ptr, PAILLIER_PRIME_LEN);
            memcpy(secret_expose_mut(both) + PAILLIER_PRIME_LEN, secret_expose(q).ptr,
                   PAILLIER_PRIME_LEN);
            rc = paillier_private_new(both, &key, err);
        }
    } while (rc == COFFER_E_FORMAT);
    paillier_private_free(key);
    secret_free(p);
    secret_free(q);
    if (rc == COFFER_OK)
        *out = both;
    else
        secret_free(both);
    return rc;
}

/* ---- public ---- */

int
paillier_public_new(struct bytes n, struct bytes hs, struct paillier_public **out,
                    struct coffer_error *err)
{
    struct paillier_public *made;
    struct work w;
    int rc;

    *out = NULL;
    if (n.len != PAILLIER_N_LEN || n.ptr[0] < 0x80 || (n.ptr[n.len - 1] & 1) == 0 ||
        (hs.len != 0 && hs.len != PAILLIER_C_LEN))
        return error_set(err, COFFER_E_FORMAT, "not a public key of paillier-3072");
    rc = work_open(&w, WORK_POWER, err);
    if (rc != COFFER_OK)
        return rc;
    made = mem_alloc(sizeof *made);
    if (made != NULL) {
        limbs_read(made->n, n.ptr, N_LIMBS);
        mpn_sec_mul(made->n2, made->n, N_LIMBS, made->n, N_LIMBS,
                    work_take(&w, (size_t)mpn_sec_mul_itch(N_LIMBS, N_LIMBS)));
        made->has_hs = hs.len != 0;
        if (made->has_hs)
            limbs_read(made->hs, hs.ptr, C_LIMBS);
    }
    work_close(&w);
    if (made == NULL)
        return error_nomem(err);
    if (made->has_hs &&
        (limbs_zero(made->hs, C_LIMBS) || !limbs_below(made->hs, made->n2, C_LIMBS))) {
        mem_free(made);
        return error_set(err, COFFER_E_FORMAT, "not a public key of paillier-3072");
    }
    *out = made;
    return COFFER_OK;
}

const struct paillier_public *
paillier_public_of(const struct paillier_private *key)
{
    return &key->public;
}

void
paillier_public_free(struct paillier_public *key)
{
    mem_free(key);
}

void
paillier_n(const struct paillier_public *key, uint8_t n[PAILLIER_N_LEN])
{
    limbs_write(n, key->n, N_LIMBS);
}

void
paillier_n_squared(const struct paillier_public *key, uint8_t out[PAILLIER_C_LEN])
{
    limbs_write(out, key->n2, C_LIMBS);
}

int
paillier_hs_of(const struct paillier_public *key, const uint8_t x[PAILLIER_N_LEN],
               uint8_t hs[PAILLIER_C_LEN], struct coffer_error *err)
{
    mp_limb_t *h, *result;
    struct work w;
    int rc = work_open(&w, WORK_POWER, err);

    if (rc != COFFER_OK)
        return rc;
    h = work_take(&w, C_LIMBS); /* zero above N_LIMBS */
    result = work_take(&w, C_LIMBS);
    limbs_read(h, x, N_LIMBS);
    if (limbs_zero(h, N_LIMBS) || !limbs_below(h, key->n, N_LIMBS)) {
        rc = error_set(err, COFFER_E_FORMAT, "x is not between 0 and n");
    } else {
        limbs_mul_mod(h, h, h, key->n, N_LIMBS, &w);
        (void)mpn_sub_n(h, key->n, h, N_LIMBS);
        limbs_power(result, h, key->n, N_LIMBS * GMP_NUMB_BITS, key->n2, C_LIMBS, &w);
        limbs_write(hs, result, C_LIMBS);
    }
    work_close(&w);
    return rc;
}

int
paillier_publish(const struct paillier_private *key, uint8_t n[PAILLIER_N_LEN],
                 uint8_t hs[PAILLIER_C_LEN], struct coffer_error *err)
{
    struct secret *x = NULL;
    int rc;

    paillier_n(&key->public, n);
    do { /* below n with a chance of 9/16 or more */
        secret_free(x);
        x = NULL;
        rc = random_secret(PAILLIER_N_LEN, &x, err);
        if (rc == COFFER_OK)
            rc = paillier_hs_of(&key->public, secret_expose(x).ptr, hs, err);
    } while (rc == COFFER_E_FORMAT);
    secret_free(x);
    return rc;
}
