/* SPDX-License-Identifier: Apache-2.0 */
#include "sums/paillier_numbers.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

int
work_open(struct work *w, size_t limbs, struct coffer_error *err)
{
    void *memory = mem_fault() ? MAP_FAILED
                               : mmap(NULL, limbs * LIMB_LEN, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    memset(w, 0, sizeof *w);
    if (memory == MAP_FAILED)
        return error_nomem(err);
    (void)madvise(memory, limbs * LIMB_LEN, MADV_DONTDUMP);
    (void)mlock(memory, limbs * LIMB_LEN); /* the limit may forbid it */
    w->limbs = memory;
    w->size = limbs;
    return COFFER_OK;
}

void
work_close(struct work *w)
{
    if (w->limbs == NULL)
        return;
    wipe(w->limbs, w->size * LIMB_LEN);
    munmap(w->limbs, w->size * LIMB_LEN);
    w->limbs = NULL;
}

mp_limb_t *
work_take(struct work *w, size_t limbs)
{
    mp_limb_t *taken = w->limbs + w->used;

    assert(limbs <= w->size - w->used);
    w->used += limbs;
    return taken;
}

void
limbs_read(mp_limb_t *to, const uint8_t *from, size_t limbs)
{
    for (size_t i = 0; i < limbs; i++) {
        const uint8_t *p = from + (limbs - 1 - i) * LIMB_LEN;
        mp_limb_t v = 0;

        for (size_t k = 0; k < LIMB_LEN; k++)
            v = v << 8 | p[k];
        to[i] = v;
    }
}

void
limbs_write(uint8_t *to, const mp_limb_t *from, size_t limbs)
{
    for (size_t i = 0; i < limbs; i++)
        for (size_t k = 0; k < LIMB_LEN; k++)
            to[(limbs - i) * LIMB_LEN - 1 - k] = (uint8_t)(from[i] >> (8 * k));
}

bool
limbs_zero(const mp_limb_t *a, size_t limbs)
{
    mp_limb_t any = 0;

    for (size_t i = 0; i < limbs; i++)
        any |= a[i];
    return any == 0;
}

bool
limbs_below(const mp_limb_t *a, const mp_limb_t *b, size_t limbs)
{
    mp_limb_t borrow = 0;

    for (size_t i = 0; i < limbs; i++) {
        mp_limb_t less = a[i] - b[i];

        borrow = (mp_limb_t)(a[i] < b[i]) | (mp_limb_t)(less < borrow);
    }
    return borrow != 0;
}

void
limbs_mod(mp_limb_t *r, const mp_limb_t *a, size_t a_limbs, const mp_limb_t *m, size_t limbs,
          struct work *w)
{
    size_t mark = w->used;
    mp_limb_t *copy = work_take(w, a_limbs);
    mp_limb_t *scratch =
        work_take(w, (size_t)mpn_sec_div_r_itch((mp_size_t)a_limbs, (mp_size_t)limbs));

    mpn_copyi(copy, a, (mp_size_t)a_limbs);
    mpn_sec_div_r(copy, (mp_size_t)a_limbs, m, (mp_size_t)limbs, scratch);
    mpn_copyi(r, copy, (mp_size_t)limbs);
    w->used = mark;
}

void
limbs_mul_mod(mp_limb_t *r, const mp_limb_t *a, const mp_limb_t *b, const mp_limb_t *m,
              size_t limbs, struct work *w)
{
    size_t mark = w->used;
    mp_limb_t *product = work_take(w, 2 * limbs);
    mp_limb_t *scratch = work_take(w, (size_t)mpn_sec_mul_itch((mp_size_t)limbs, (mp_size_t)limbs));

    mpn_sec_mul(product, a, (mp_size_t)limbs, b, (mp_size_t)limbs, scratch);
    limbs_mod(r, product, 2 * limbs, m, limbs, w);
    w->used = mark;
}

void
limbs_sub_mod(mp_limb_t *r, const mp_limb_t *a, const mp_limb_t *b, const mp_limb_t *m,
              size_t limbs)
{
    mp_limb_t borrow = mpn_sub_n(r, a, b, (mp_size_t)limbs);

    (void)mpn_cnd_add_n(borrow, r, r, m, (mp_size_t)limbs);
}

void
limbs_power(mp_limb_t *r, const mp_limb_t *a, const mp_limb_t *e, size_t bits, const mp_limb_t *m,
            size_t limbs, struct work *w)
{
    size_t mark = w->used;
    mp_limb_t *result = work_take(w, limbs); /* the result may overlap nothing */
    mp_limb_t *scratch =
        work_take(w, (size_t)mpn_sec_powm_itch((mp_size_t)limbs, bits, (mp_size_t)limbs));

    mpn_sec_powm(result, a, (mp_size_t)limbs, e, bits, m, (mp_size_t)limbs, scratch);
    mpn_copyi(r, result, (mp_size_t)limbs);
    w->used = mark;
}

bool
limbs_invert(mp_limb_t *r, const mp_limb_t *a, const mp_limb_t *m, size_t limbs, struct work *w)
{
    size_t mark = w->used;
    mp_limb_t *copy = work_take(w, limbs), *result = work_take(w, limbs);
    mp_limb_t *scratch = work_take(w, (size_t)mpn_sec_invert_itch((mp_size_t)limbs));
    bool found;

    mpn_copyi(copy, a, (mp_size_t)limbs);
    found =
        mpn_sec_invert(result, copy, m, (mp_size_t)limbs, 2 * limbs * GMP_NUMB_BITS, scratch) != 0;
    mpn_copyi(r, result, (mp_size_t)limbs);
    w->used = mark;
    return found;
}
