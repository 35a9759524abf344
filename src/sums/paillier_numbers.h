/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of fixed length as GMP's limbs, and memory for their intermediate results. */
#ifndef COFFER_SUMS_PAILLIER_NUMBERS_H
#define COFFER_SUMS_PAILLIER_NUMBERS_H

#include "sums/paillier.h"

#include <gmp.h>

#define LIMB_LEN sizeof(mp_limb_t)
_Static_assert(GMP_NAIL_BITS == 0 && PAILLIER_PRIME_LEN % sizeof(mp_limb_t) == 0, "whole limbs");
#define P_LIMBS (PAILLIER_PRIME_LEN / LIMB_LEN)
#define N_LIMBS (2 * P_LIMBS) /* of n, p², q² */
#define C_LIMBS (4 * P_LIMBS) /* of n² */
#define PRIME_BITS (8 * PAILLIER_PRIME_LEN)

struct paillier_public {
    mp_limb_t n[N_LIMBS], n2[C_LIMBS], hs[C_LIMBS];
    bool has_hs;
};

struct primes { /* in secret memory */
    mp_limb_t p[P_LIMBS], q[P_LIMBS], p2[N_LIMBS], q2[N_LIMBS];
    mp_limb_t q_inverse[P_LIMBS];  /* mod p */
    mp_limb_t p_inverse[P_LIMBS];  /* mod q */
    mp_limb_t q2_inverse[N_LIMBS]; /* mod p² */
};
struct paillier_private {
    struct secret *secret; /* struct primes */
    struct paillier_public public;
};
const struct primes *paillier_primes(const struct paillier_private *key);

/* Memory of one computation, taken piece by piece, locked if the system lets us, wiped at the end. */
struct work {
    mp_limb_t *limbs;
    size_t size, used;
};
COFFER_MUST_CHECK int work_open(struct work *w, size_t limbs, struct coffer_error *err);
void work_close(struct work *w);
mp_limb_t *work_take(struct work *w, size_t limbs); /* asserts that there is room */
#define WORK_POWER 20000  /* limbs that suffice for any one function of here, a power included */
#define WORK_PRODUCT 3000 /* without a power */

void limbs_read(mp_limb_t *to, const uint8_t *from, size_t limbs);
void limbs_write(uint8_t *to, const mp_limb_t *from, size_t limbs);
bool limbs_zero(const mp_limb_t *a, size_t limbs);                      /* constant time */
bool limbs_below(const mp_limb_t *a, const mp_limb_t *b, size_t limbs); /* constant time */

/* r = a·b mod m.  r may be a or b. */
void limbs_mul_mod(mp_limb_t *r, const mp_limb_t *a, const mp_limb_t *b, const mp_limb_t *m,
                   size_t limbs, struct work *w);
/* r = a mod m, of more limbs. */
void limbs_mod(mp_limb_t *r, const mp_limb_t *a, size_t a_limbs, const mp_limb_t *m, size_t limbs,
               struct work *w);
/* r = a - b mod m, both below m. */
void limbs_sub_mod(mp_limb_t *r, const mp_limb_t *a, const mp_limb_t *b, const mp_limb_t *m,
                   size_t limbs);
/* r = a^e mod m; m odd, a not 0, e of at most `bits`. */
void limbs_power(mp_limb_t *r, const mp_limb_t *a, const mp_limb_t *e, size_t bits,
                 const mp_limb_t *m, size_t limbs, struct work *w);
/* False: a has no inverse mod m. */
bool limbs_invert(mp_limb_t *r, const mp_limb_t *a, const mp_limb_t *m, size_t limbs,
                  struct work *w);

#endif
