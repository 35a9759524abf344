/* SPDX-License-Identifier: Apache-2.0 */
/* From a set to its total.  The order of checks: form, whether all keys are here, whether the total can
 * be told at all, the tags, and only then the total itself. */
#include "base/mem.h"
#include "sums/internal.h"

#include <stdlib.h>
#include <string.h>

#define BATCH 512 /* blocks */

/* ---- no id twice ---- */

static int
by_group(const void *a, const void *b)
{
    return memcmp(((const struct part *)a)->group, ((const struct part *)b)->group, SUM_GROUP_LEN);
}

static int
by_first(const void *a, const void *b)
{
    uint32_t x = ((const struct sum_run *)a)->first, y = ((const struct sum_run *)b)->first;

    return (x > y) - (x < y);
}

/* Parts of one session, each disjoint in itself. */
static int
check_disjoint(const struct part *parts, size_t count, struct coffer_error *err)
{
    struct sum_run *all;
    size_t runs = 0, n = 0;
    int rc = COFFER_OK;

    for (size_t i = 0; i < count; i++)
        runs += parts[i].count;
    all = mem_array(runs, sizeof *all);
    if (all == NULL)
        return error_nomem(err);
    for (size_t i = 0; i < count; i++)
        for (size_t r = 0; r < parts[i].count; r++)
            all[n++] = parts[i].runs[r];
    qsort(all, n, sizeof *all, by_first);
    for (size_t i = 1; i < n && rc == COFFER_OK; i++)
        if (all[i].first <= all[i - 1].last)
            rc = error_set(err, COFFER_E_FORMAT,
                           "not what a sum of encrypted rows can be: an id came twice");
    mem_free(all);
    return rc;
}

static int
check_ids(struct sum_set *set, struct coffer_error *err)
{
    size_t i, end;
    int rc = COFFER_OK;

    if (set->count > 1)
        qsort(set->parts, set->count, sizeof *set->parts, by_group);
    if (set->ids_repeat)
        return COFFER_OK;
    for (i = 0; i < set->count && rc == COFFER_OK; i = end) {
        for (end = i + 1; end < set->count && by_group(&set->parts[i], &set->parts[end]) == 0;)
            end++;
        if (end - i > 1)
            rc = check_disjoint(&set->parts[i], end - i, err);
    }
    return rc;
}

/* ---- masks: Σ w·(F(last) - F(first - 1)) ---- */

static void
add_masks(const struct sum_key *key, bool wide, const struct part *part, uint128 *total)
{
    uint8_t blocks[BATCH * 16];
    size_t done, n;

    for (done = 0; done < part->count; done += n) {
        n = part->count - done < BATCH / 2 ? part->count - done : BATCH / 2;
        for (size_t i = 0; i < n; i++) {
            const struct sum_run *run = &part->runs[done + i];

            memcpy(blocks + 32 * i, part->group, SUM_GROUP_LEN);
            put_be32(blocks + 32 * i + 12, run->last);
            memcpy(blocks + 32 * i + 16, part->group, SUM_GROUP_LEN);
            put_be32(blocks + 32 * i + 28, run->first - 1);
        }
        sum_masks(key, blocks, 2 * n);
        for (size_t i = 0; i < n; i++) {
            const uint8_t *b = blocks + 32 * i;
            uint128 mask =
                wide ? get_be128(b) - get_be128(b + 16) : (uint128)(get_be64(b) - get_be64(b + 16));

            *total +=
                part->weights == NULL ? mask : mask * (uint128)(int128)part->weights[done + i];
        }
    }
    wipe(blocks, 32 * (part->count < BATCH / 2 ? part->count : BATCH / 2));
}

/* ---- tags: Σ w·R(id) ---- */

static uint128
run_tags(const struct sum_key *key, const uint8_t group[SUM_GROUP_LEN], const struct sum_run *run)
{
    uint8_t blocks[BATCH * 16];
    uint64_t left = (uint64_t)run->last - run->first + 1, n, carries = 0;
    uint32_t counter = run->first;
    uint128 sum = 0, r;

    for (; left > 0; left -= n) {
        n = left < BATCH ? left : BATCH;
        for (size_t i = 0; i < n; i++) {
            memcpy(blocks + 16 * i, group, SUM_GROUP_LEN);
            put_be32(blocks + 16 * i + 12, counter++);
        }
        sum_tag_blocks(key, blocks, n);
        for (size_t i = 0; i < n; i++) {
            r = get_be128(blocks + 16 * i);
            sum += r;
            carries += sum < r;
        }
        wipe(blocks, 16 * n);
    }
    return modp_add(modp_of(sum), modp_of((uint128)carries << 1)); /* 2^128 is 2 mod p */
}

/* Runs of one row each, which a scattered third of a table mostly is, in one batch. */
static uint128
single_tags(const struct sum_key *key, const struct part *part, size_t first, size_t count)
{
    uint8_t blocks[BATCH * 16];
    uint128 sum = 0;

    memset(blocks, 0, 16); /* a compiler cannot know that there is one */
    for (size_t i = 0; i < count; i++) {
        memcpy(blocks + 16 * i, part->group, SUM_GROUP_LEN);
        put_be32(blocks + 16 * i + 12, part->runs[first + i].first);
    }
    sum_tag_blocks(key, blocks, count);
    for (size_t i = 0; i < count; i++) {
        uint128 r = modp_of(get_be128(blocks + 16 * i));

        if (part->weights != NULL)
            r = modp_mul(r, modp_signed(part->weights[first + i]));
        sum = modp_add(sum, r);
    }
    wipe(blocks, 16 * count);
    return sum;
}

static void
add_tags(const struct sum_key *key, const struct part *part, uint128 *total)
{
    size_t i, n;

    for (i = 0; i < part->count; i += n) {
        const struct sum_run *run = &part->runs[i];
        uint128 sum;

        for (n = 0; n < BATCH && i + n < part->count && run[n].first == run[n].last;)
            n++;
        if (n > 0) {
            sum = single_tags(key, part, i, n);
        } else {
            n = 1;
            sum = run_tags(key, part->group, run);
            if (part->weights != NULL)
                sum = modp_mul(sum, modp_signed(part->weights[i]));
        }
        *total = modp_add(*total, sum);
    }
}

/* ---- together ---- */

/* All parts of one version: C + masks in `total`, and the tags hold. */
static int
open_version(const struct sum_def *def, const struct sum_key *key, const struct sum_set *set,
             const struct part_sums *sums, uint128 *total, struct coffer_error *err)
{
    bool wide = (def->flags & SUM_WIDE) != 0, tagged = (def->flags & SUM_TAGGED) != 0;
    uint8_t expected[16], given[16];
    uint128 tag = 0;
    int rc = COFFER_OK;

    *total += (uint128)sums->l + ((uint128)sums->h << 64);
    for (size_t i = 0; i < set->count; i++) {
        const struct part *part = &set->parts[i];

        if (((unsigned)part->group[0] << 8 | part->group[1]) != sums->version)
            continue;
        add_masks(key, wide, part, total);
        if (tagged)
            add_tags(key, part, &tag);
    }
    if (!tagged)
        return COFFER_OK;
    tag = modp_add(tag, modp_mul(sum_alphas(key)->l, modp_signed(sums->l)));
    if (wide)
        tag = modp_add(tag, modp_mul(sum_alphas(key)->h, modp_signed(sums->h)));
    put_be128(expected, tag);
    put_be128(given, sums->tag);
    if (!secret_equal(bytes_of(expected, 16), bytes_of(given, 16)))
        rc =
            error_set(err, COFFER_E_AUTH, "the sum is not that of its rows: its tag does not hold");
    wipe(expected, sizeof expected);
    return rc;
}

static uint64_t
total_weight(const struct sum_set *set, uint64_t *rows, bool *too_many)
{
    uint64_t weight = 0;

    *rows = 0;
    *too_many = false;
    for (size_t i = 0; i < set->sums_count; i++) {
        *too_many = *too_many || set->sums[i].weight >= SUM_WEIGHT_MAX - weight;
        weight += *too_many ? 0 : set->sums[i].weight;
        *rows += set->sums[i].rows;
    }
    return weight;
}

int
sum_open(const struct sum_def *def, const struct sum_keys *keys, struct sum_set *set,
         struct sum_total *out, struct coffer_error *err)
{
    bool wide = (def->flags & SUM_WIDE) != 0, too_many;
    uint128 total = 0;
    uint64_t rows, weight = total_weight(set, &rows, &too_many);
    int rc;

    memset(out, 0, sizeof *out);
    if (set->flags != def->flags)
        return error_set(err, COFFER_E_FORMAT, "the sum is of another kind of column");
    rc = check_ids(set, err);
    if (rc != COFFER_OK)
        return rc;
    for (size_t i = 0; i < set->sums_count; i++)
        if (keys->find(keys->ctx, set->sums[i].version) == NULL)
            return error_set(err, COFFER_E_KEY, "no sum key of version %u here",
                             set->sums[i].version);
    if (too_many || (weight > 0 && def->max_abs > (wide ? INT128_MAX : INT64_MAX) / weight))
        return error_set(err, COFFER_E_LIMIT,
                         "so many rows could overflow their sum: sum ranges of keys and add their "
                         "totals");
    for (size_t i = 0; i < set->sums_count && rc == COFFER_OK; i++)
        rc = open_version(def, keys->find(keys->ctx, set->sums[i].version), set, &set->sums[i],
                          &total, err);
    if (rc != COFFER_OK)
        return rc;
    out->value = wide ? (int128)total : (int128)(int64_t)(uint64_t)total;
    if (uint128_abs(out->value) > (uint128)def->max_abs * weight) {
        out->value = 0;
        return error_set(
            err, COFFER_E_AUTH,
            "the sum is not that of its rows: its value is larger than they could have");
    }
    out->rows = rows;
    out->verified = (def->flags & SUM_TAGGED) != 0;
    return COFFER_OK;
}
