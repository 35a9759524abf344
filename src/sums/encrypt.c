/* SPDX-License-Identifier: Apache-2.0 */
/* c = m - F(id) + F(id before) mod 2^64 or 2^128, and the tag R(id) + α·c mod p.  The masks of
 * neighbours cancel, so that a run of rows is opened with two blocks of AES however long it is. */
#include "sums/internal.h"

#include <string.h>

#define BATCH 128

int
sum_def_init(struct sum_def *def, const uint8_t index_id[16], int type, int128 max_abs,
             unsigned scale, unsigned flags, struct coffer_error *err)
{
    int128 most = (flags & SUM_WIDE) != 0 ? INT128_MAX : INT64_MAX;

    memset(def, 0, sizeof *def);
    if (type == COFFER_FLOAT64)
        return error_set(err, COFFER_E_REFUSED,
                         "no sums of floating point numbers: declare the column numeric");
    if (type != COFFER_INT64 && type != COFFER_NUMERIC)
        return error_set(err, COFFER_E_TYPE, "no sums of %s: int64 and numeric have them",
                         coffer_type_name(type));
    if ((flags & ~(unsigned)(SUM_WIDE | SUM_TAGGED)) != 0)
        return error_set(err, COFFER_E_MISUSE, "a sum column has no flags %#x", flags);
    if (max_abs < 1 || max_abs > most)
        return error_set(err, COFFER_E_MISUSE,
                         "the largest value of a sum column is 1 to 2^%d-1, without its point",
                         (flags & SUM_WIDE) != 0 ? 127 : 63);
    if (scale > (type == COFFER_NUMERIC ? 38 : 0))
        return error_set(err, COFFER_E_MISUSE,
                         type == COFFER_NUMERIC ? "a sum column has at most 38 decimal places"
                                                : "a sum column of int64 has no decimal places");
    memcpy(def->index_id, index_id, 16);
    def->max_abs = max_abs;
    def->scale = scale;
    def->flags = flags;
    return COFFER_OK;
}

static void
put_cell(const struct sum_def *def, uint128 c, struct sum_cell *out)
{
    memset(out, 0, sizeof *out);
    out->l = (int64_t)(uint64_t)c;
    if ((def->flags & SUM_WIDE) != 0)
        out->h = (int64_t)(uint64_t)((c - (uint128)(int128)out->l) >> 64);
}

static void
put_tag(const struct alphas *alphas, bool wide, const uint8_t r[16], struct sum_cell *cell)
{
    uint128 tag = modp_add(modp_of(get_be128(r)), modp_mul(alphas->l, modp_signed(cell->l)));
    int128 centred;

    if (wide)
        tag = modp_add(tag, modp_mul(alphas->h, modp_signed(cell->h)));
    centred = modp_centred(tag);
    cell->tag_l = (int64_t)(uint64_t)(uint128)centred;
    cell->tag_h = (int64_t)((centred - cell->tag_l) >> 64);
}

/* At most BATCH values. */
static void
encrypt_batch(const struct sum_def *def, const struct sum_key *key, struct sum_id first,
              const int128 *values, size_t count, struct sum_cell *out)
{
    bool wide = (def->flags & SUM_WIDE) != 0;
    uint8_t blocks[(BATCH + 1) * 16];
    struct sum_id id = {first.hi, first.lo - 1};

    for (size_t i = 0; i <= count; i++, id.lo++)
        sum_id_bytes(&id, blocks + 16 * i);
    sum_masks(key, blocks, count + 1);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *before = blocks + 16 * i, *own = before + 16;

        put_cell(def,
                 wide ? (uint128)values[i] - get_be128(own) + get_be128(before)
                      : (uint64_t)values[i] - get_be64(own) + get_be64(before),
                 &out[i]);
    }
    if ((def->flags & SUM_TAGGED) != 0) {
        for (size_t i = 0; i < count; i++, first.lo++)
            sum_id_bytes(&first, blocks + 16 * i);
        sum_tag_blocks(key, blocks, count);
        for (size_t i = 0; i < count; i++)
            put_tag(sum_alphas(key), wide, blocks + 16 * i, &out[i]);
    }
    wipe(blocks, 16 * (count + 1));
}

int
sum_encrypt_many(const struct sum_def *def, const struct sum_key *key, struct sum_id first,
                 const int128 *values, size_t count, struct sum_cell *out, struct coffer_error *err)
{
    uint32_t counter = sum_id_counter(&first);

    if (sum_id_version(&first) != key->version || counter == 0 ||
        count > (uint64_t)UINT32_MAX - counter + 1)
        return error_set(err, COFFER_E_MISUSE,
                         "the id of a sum is of another key version, or was not drawn for it");
    for (size_t i = 0; i < count; i++)
        if (values[i] > def->max_abs || values[i] < -def->max_abs)
            return error_set(err, COFFER_E_RANGE,
                             "a value is larger than the sum column declares: declare it anew with "
                             "a larger maximum");
    for (size_t done = 0, n; done < count; done += n) {
        n = count - done < BATCH ? count - done : BATCH;
        encrypt_batch(def, key, sum_id_next(first, (uint32_t)done), values + done, n, out + done);
    }
    return COFFER_OK;
}

int
sum_encrypt(const struct sum_def *def, const struct sum_key *key, struct sum_id id, int128 value,
            struct sum_cell *out, struct coffer_error *err)
{
    return sum_encrypt_many(def, key, id, &value, 1, out, err);
}
