/* SPDX-License-Identifier: Apache-2.0 */
/* Totals equal those of the plaintext, however they were asked for; what a server changes is refused. */
#include "support/fault.h"
#include "support/test.h"

#include "sums/modp.h"
#include "sums/sum.h"

#include <stdlib.h>
#include <string.h>

#define ROWS 600
#define VERSIONS 3 /* 1 to 3 */

static const uint8_t INDEX_ID[16] = {9, 8, 7, 6, 5, 4, 3, 2, 1};
static uint64_t random_state = 0x2545f4914f6cdd1d;

static uint64_t
next_random(uint64_t below)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (random_state * 0x2545f4914f6cdd1d >> 11) % below;
}

static int128
random_value(int128 max)
{
    uint128 v = (uint128)next_random(UINT64_MAX) << 64 | next_random(UINT64_MAX);

    switch (next_random(8)) {
    case 0:
        return 0;
    case 1:
        return max;
    case 2:
        return -max;
    default:
        return (int128)(v % (2 * (uint128)max + 1)) - max;
    }
}

/* A table with one sum column: some rows NULL, several sessions and versions, written in order and
 * then shuffled here and there by updates, which take new ids. */
struct row {
    struct sum_id id;
    struct sum_cell cell;
    int128 value;
    bool null;
    int group;
};
struct table {
    struct sum_def def;
    struct sum_key *keys[VERSIONS + 1];
    struct row rows[ROWS];
};

static const struct sum_key *
find_key(const void *ctx, unsigned version)
{
    const struct table *t = ctx;

    return version <= VERSIONS ? t->keys[version] : NULL;
}

static struct sum_keys
keys_of(const struct table *t)
{
    return (struct sum_keys){find_key, t};
}

static struct table *
make_table(unsigned flags)
{
    static const uint8_t MATERIAL[32] = {77, 1};
    struct table *t = calloc(1, sizeof *t);
    struct sum_issuer *issuers[VERSIONS + 1][2] = {{NULL}};
    struct secret *secret = NULL;

    assert_non_null(t);
    assert_int_equal(secret_copy(bytes_of(MATERIAL, 32), &secret, NULL), COFFER_OK);
    assert_int_equal(sum_def_init(&t->def, INDEX_ID, COFFER_NUMERIC,
                                  (flags & SUM_WIDE) != 0 ? (int128)1 << 110 : (int128)1 << 50, 2,
                                  flags, NULL),
                     COFFER_OK);
    for (unsigned v = 1; v <= VERSIONS; v++) {
        assert_int_equal(sum_key_new(secret, INDEX_ID, v, &t->keys[v], NULL), COFFER_OK);
        for (int writer = 0; writer < 2; writer++)
            assert_int_equal(sum_issuer_new(v, NULL, &issuers[v][writer], NULL), COFFER_OK);
    }
    for (int i = 0; i < ROWS + ROWS / 4; i++) { /* the last quarter are updates */
        struct row *row = &t->rows[i < ROWS ? (uint64_t)i : next_random(ROWS)];
        unsigned v = 1 + (unsigned)(i / 100) % VERSIONS;

        row->null = next_random(10) == 0;
        row->group = (int)next_random(5);
        row->value = random_value(t->def.max_abs);
        assert_int_equal(sum_ids_draw(issuers[v][next_random(20) == 0], 1, &row->id, NULL),
                         COFFER_OK);
        assert_int_equal(sum_encrypt(&t->def, t->keys[v], row->id, row->value, &row->cell, NULL),
                         COFFER_OK);
    }
    for (unsigned v = 1; v <= VERSIONS; v++)
        for (int writer = 0; writer < 2; writer++)
            sum_issuer_free(issuers[v][writer]);
    secret_free(secret);
    return t;
}

static void
free_table(struct table *t)
{
    for (unsigned v = 1; v <= VERSIONS; v++)
        sum_key_free(t->keys[v]);
    free(t);
    assert_int_equal(secret_live_count(), 0);
}

static struct sum_set *
new_set(const struct table *t)
{
    struct sum_set *set;

    assert_int_equal(sum_set_new(t->def.flags, &set, NULL), COFFER_OK);
    return set;
}

static void
add_cell(struct sum_sums *sums, const struct sum_cell *cell, int64_t weight)
{
    sums->l += (int128)cell->l * weight;
    sums->h += (int128)cell->h * weight;
    sums->tag_h += (int128)cell->tag_h * weight;
    sums->tag_l += (int128)cell->tag_l * weight;
}

/* ---- the ways to ask ---- */

/* coffer.sum(): the aggregate's bytes. */
static void
by_aggregate(const struct table *t, const bool *chosen, struct sum_set *set)
{
    struct sum_builder *b;
    struct buf answer;

    buf_init(&answer, 1u << 20);
    assert_int_equal(sum_builder_new(t->def.flags, ROWS, &b, NULL), COFFER_OK);
    for (int i = 0; i < ROWS; i++)
        if (chosen[i])
            assert_int_equal(sum_builder_add(b, t->rows[i].id, &t->rows[i].cell, NULL), COFFER_OK);
    assert_int_equal(sum_builder_encode(b, &answer, NULL), COFFER_OK);
    assert_int_equal(sum_set_answer(set, buf_view(&answer), NULL), COFFER_OK);
    sum_builder_free(b);
    buf_wipe(&answer);
}

/* GROUP BY hi: for each, sum and array_agg(lo), or count, min, max, sum of lo. */
static void
by_first_half(const struct table *t, const bool *chosen, bool ends, struct sum_set *set)
{
    static struct sum_id ids[ROWS];
    bool done[ROWS] = {false};

    for (int i = 0; i < ROWS; i++) {
        struct sum_sums sums = {0};
        int64_t min = INT64_MAX, max = INT64_MIN;
        bool contiguous = false;
        int128 total_lo = 0;
        size_t count = 0;

        if (!chosen[i] || done[i])
            continue;
        for (int k = i; k < ROWS; k++) {
            const struct row *row = &t->rows[k];

            if (!chosen[k] || row->id.hi != t->rows[i].id.hi)
                continue;
            done[k] = true;
            ids[count++] = row->id;
            add_cell(&sums, &row->cell, 1);
            min = row->id.lo < min ? row->id.lo : min;
            max = row->id.lo > max ? row->id.lo : max;
            total_lo += row->id.lo;
        }
        if (ends)
            assert_int_equal(sum_set_contiguous(set, ids[0].hi, count, min, max, total_lo, &sums,
                                                &contiguous, NULL),
                             COFFER_OK);
        if (!contiguous)
            assert_int_equal(sum_set_ids(set, ids, NULL, false, count, &sums, NULL), COFFER_OK);
    }
}

static void
assert_total(const struct table *t, struct sum_set *set, int128 value, uint64_t rows)
{
    struct sum_keys keys = keys_of(t);
    struct sum_total total;

    assert_int_equal(sum_open(&t->def, &keys, set, &total, NULL), COFFER_OK);
    assert_true(total.value == value);
    assert_int_equal(total.rows, rows);
    assert_int_equal(total.verified, (t->def.flags & SUM_TAGGED) != 0);
    sum_set_free(set);
}

static void
totals_are_those_of_the_plaintext(void **state)
{
    for (unsigned flags = 0; flags <= 3; flags++) {
        struct table *t = make_table(flags);

        for (int round = 0; round < 60; round++) {
            bool chosen[ROWS];
            unsigned kind = (unsigned)next_random(4), size = 1 + (unsigned)next_random(ROWS);
            struct sum_set *set;
            int128 value = 0;
            uint64_t rows = 0;

            for (unsigned i = 0; i < ROWS; i++) {
                chosen[i] = !t->rows[i].null && (kind == 0   ? t->rows[i].group == round % 5
                                                 : kind == 1 ? i < size
                                                 : kind == 2 ? next_random(3) == 0
                                                             : next_random(ROWS) < size);
                value += chosen[i] ? t->rows[i].value : 0;
                rows += chosen[i];
            }
            set = new_set(t);
            by_aggregate(t, chosen, set);
            assert_total(t, set, value, rows);
            for (int ends = 0; ends <= 1; ends++) {
                set = new_set(t);
                by_first_half(t, chosen, ends != 0, set);
                assert_total(t, set, value, rows);
            }
        }
        assert_total(t, new_set(t), 0, 0);
        free_table(t);
    }
}

/* Public weights, negative and zero ones, ids in any order; and a join, which repeats rows. */
static void
weights_and_repeats_count(void **state)
{
    for (unsigned flags = 0; flags <= 3; flags++) {
        struct table *t = make_table(flags);

        for (int round = 0; round < 40; round++) {
            struct sum_id ids[200];
            int64_t weights[200];
            struct sum_sums sums = {0};
            struct sum_set *set = new_set(t);
            bool join = round % 2 == 0;
            int128 value = 0;
            size_t count = 0;
            unsigned version = 1 + (unsigned)next_random(VERSIONS);

            while (count < 200) {
                const struct row *row = &t->rows[next_random(ROWS)];

                if (sum_id_version(&row->id) != version || row->value > (int128)1 << 100 ||
                    row->value < -((int128)1 << 100)) /* so that weights do not overflow */
                    continue;
                ids[count] = row->id;
                weights[count] = join ? 1 : (int64_t)next_random(21) - 10;
                value += row->value * weights[count];
                add_cell(&sums, &row->cell, weights[count]);
                count++;
            }
            assert_int_equal(sum_set_ids(set, ids, join ? NULL : weights, join, count, &sums, NULL),
                             COFFER_OK);
            assert_total(t, set, value, 200);
        }
        free_table(t);
    }
}

/* {1, 1, 3} has the count, the ends and the sum of a run of three, or near: it is none. */
static void
repeated_ids_are_never_a_run(void **state)
{
    static const uint32_t LISTS[][4] = {{1, 1, 3, 0}, {1, 3, 3, 0}, {1, 2, 2, 4}, {1, 1, 4, 4}};
    struct table *t = make_table(SUM_TAGGED);
    struct sum_keys keys = keys_of(t);
    uint8_t group[SUM_GROUP_LEN] = {0, 1, 42};
    struct sum_cell cells[5];

    for (uint32_t c = 1; c <= 4; c++)
        assert_int_equal(sum_encrypt(&t->def, t->keys[1], sum_id_of(group, c), c, &cells[c], NULL),
                         COFFER_OK);
    for (size_t i = 0; i < 4; i++) {
        struct sum_sums sums = {0};
        struct sum_id ids[4];
        struct sum_total total;
        struct sum_set *set = new_set(t);
        bool contiguous;
        int128 sum_lo = 0, value = 0;
        size_t count = 0;
        int rc;

        for (; count < 4 && LISTS[i][count] != 0; count++) {
            ids[count] = sum_id_of(group, LISTS[i][count]);
            sum_lo += ids[count].lo;
            value += LISTS[i][count];
            add_cell(&sums, &cells[LISTS[i][count]], 1);
        }
        assert_int_equal(sum_set_contiguous(set, ids[0].hi, count, ids[0].lo, ids[count - 1].lo,
                                            sum_lo, &sums, &contiguous, NULL),
                         COFFER_OK);
        /* {1, 1, 4, 4} meets every test by its ends: that form is for one table without a join. */
        assert_int_equal(contiguous, i == 3);
        sum_set_free(set);
        set = new_set(t);
        rc = sum_set_ids(set, ids, NULL, false, count, &sums, NULL);
        assert_int_equal(rc, COFFER_E_FORMAT);
        sum_set_free(set);
        set = new_set(t);
        assert_int_equal(sum_set_ids(set, ids, NULL, true, count, &sums, NULL), COFFER_OK);
        assert_int_equal(sum_open(&t->def, &keys, set, &total, NULL), COFFER_OK);
        assert_true(total.value == value);
        sum_set_free(set);
    }
    free_table(t);
}

/* Twice in one list, or in two rows of the answer. */
static void
an_id_twice_is_refused_across_parts(void **state)
{
    struct table *t = make_table(0);
    struct sum_keys keys = keys_of(t);
    const struct row *row = &t->rows[0];
    struct sum_sums sums = {.l = row->cell.l};
    struct sum_set *set = new_set(t);
    struct sum_total total;

    for (int i = 0; i < 2; i++)
        assert_int_equal(sum_set_ids(set, &row->id, NULL, false, 1, &sums, NULL), COFFER_OK);
    assert_int_equal(sum_open(&t->def, &keys, set, &total, NULL), COFFER_E_FORMAT);
    assert_true(total.value == 0 && total.rows == 0);
    sum_set_free(set);
    free_table(t);
}

/* ---- limits ---- */

static void
values_and_sums_keep_their_bounds(void **state)
{
    struct table *t = make_table(0);
    struct sum_keys keys = keys_of(t);
    struct sum_def def = t->def;
    struct sum_cell cell;
    struct sum_total total;
    struct sum_set *set;
    struct sum_run run = {1, 2};
    struct sum_sums sums = {0};
    struct sum_id id = t->rows[0].id;
    uint8_t group[SUM_GROUP_LEN] = {0, 1, 1};
    unsigned version = sum_id_version(&id);

    assert_int_equal(sum_encrypt(&def, t->keys[version], id, def.max_abs + 1, &cell, NULL),
                     COFFER_E_RANGE);
    assert_int_equal(sum_encrypt(&def, t->keys[version], id, -def.max_abs - 1, &cell, NULL),
                     COFFER_E_RANGE);
    assert_int_equal(sum_encrypt(&def, t->keys[version % VERSIONS + 1], id, 1, &cell, NULL),
                     COFFER_E_MISUSE);
    id.lo &= ~(int64_t)UINT32_MAX;
    assert_int_equal(sum_encrypt(&def, t->keys[version], id, 1, &cell, NULL), COFFER_E_MISUSE);
    assert_int_equal(sum_encrypt_many(&def, t->keys[1], sum_id_of(group, UINT32_MAX),
                                      (int128[]){1, 2}, 2, (struct sum_cell[2]){{0}}, NULL),
                     COFFER_E_MISUSE);
    def.max_abs = ((int128)1 << 62); /* two of them are 2^63 */
    set = new_set(t);
    assert_int_equal(sum_set_runs(set, group, &run, 1, &sums, NULL), COFFER_OK);
    assert_int_equal(sum_open(&def, &keys, set, &total, NULL), COFFER_E_LIMIT);
    def.max_abs--;
    assert_int_equal(sum_open(&def, &keys, set, &total, NULL) == COFFER_E_LIMIT, false);
    sum_set_free(set);
    free_table(t);
}

static void
columns_are_declared_within_reason(void **state)
{
    struct sum_def def;

    assert_int_equal(sum_def_init(&def, INDEX_ID, COFFER_FLOAT64, 1, 0, 0, NULL), COFFER_E_REFUSED);
    assert_int_equal(sum_def_init(&def, INDEX_ID, COFFER_TEXT, 1, 0, 0, NULL), COFFER_E_TYPE);
    assert_int_equal(sum_def_init(&def, INDEX_ID, COFFER_INT64, 0, 0, 0, NULL), COFFER_E_MISUSE);
    assert_int_equal(sum_def_init(&def, INDEX_ID, COFFER_INT64, (int128)1 << 63, 0, 0, NULL),
                     COFFER_E_MISUSE);
    assert_int_equal(sum_def_init(&def, INDEX_ID, COFFER_INT64, INT64_MAX, 1, 0, NULL),
                     COFFER_E_MISUSE);
    assert_int_equal(sum_def_init(&def, INDEX_ID, COFFER_NUMERIC, 1, 39, 0, NULL), COFFER_E_MISUSE);
    assert_int_equal(sum_def_init(&def, INDEX_ID, COFFER_NUMERIC, 1, 2, 4, NULL), COFFER_E_MISUSE);
    assert_int_equal(
        sum_def_init(&def, INDEX_ID, COFFER_NUMERIC, (int128)1 << 63, 38, SUM_WIDE, NULL),
        COFFER_OK);
}

static void
a_missing_key_is_named(void **state)
{
    struct table *t = make_table(0);
    struct sum_keys keys = keys_of(t);
    uint8_t group[SUM_GROUP_LEN] = {0, 9, 1};
    struct sum_run run = {1, 1};
    struct sum_sums sums = {0};
    struct sum_set *set = new_set(t);
    struct coffer_error err = {0};
    struct sum_total total;

    assert_int_equal(sum_set_runs(set, group, &run, 1, &sums, NULL), COFFER_OK);
    assert_int_equal(sum_open(&t->def, &keys, set, &total, &err), COFFER_E_KEY);
    assert_non_null(strstr(err.message, "version 9"));
    sum_set_free(set);
    free_table(t);
}

/* ---- one by one and many ---- */

static void
many_at_once_are_the_same(void **state)
{
    static int128 values[300];
    static struct sum_cell many[300];
    uint8_t group[SUM_GROUP_LEN] = {0, 2, 5};

    for (unsigned flags = 0; flags <= 3; flags++) {
        struct table *t = make_table(flags);

        for (int i = 0; i < 300; i++)
            values[i] = random_value(t->def.max_abs);
        assert_int_equal(
            sum_encrypt_many(&t->def, t->keys[2], sum_id_of(group, 7), values, 300, many, NULL),
            COFFER_OK);
        for (uint32_t i = 0; i < 300; i++) {
            struct sum_cell one;

            assert_int_equal(
                sum_encrypt(&t->def, t->keys[2], sum_id_of(group, 7 + i), values[i], &one, NULL),
                COFFER_OK);
            assert_memory_equal(&one, &many[i], sizeof one);
        }
        free_table(t);
    }
}

/* ---- a server that lies ---- */

/* The honest answer to 40 rows of version 1. */
struct honest {
    struct sum_run runs[3];
    uint8_t group[SUM_GROUP_LEN];
    struct sum_sums sums;
};

static struct honest
honest_answer(const struct table *t)
{
    struct honest h = {{{1, 20}, {31, 31}, {52, 70}}, {0, 1, 200, 201}, {0}};

    for (int r = 0; r < 3; r++)
        for (uint32_t c = h.runs[r].first; c <= h.runs[r].last; c++) {
            struct sum_cell cell;

            assert_int_equal(
                sum_encrypt(&t->def, t->keys[1], sum_id_of(h.group, c), c * 1000, &cell, NULL),
                COFFER_OK);
            add_cell(&h.sums, &cell, 1);
        }
    return h;
}

static int
open_honest(const struct table *t, const struct honest *h)
{
    struct sum_keys keys = keys_of(t);
    struct sum_total total;
    struct sum_set *set = new_set(t);
    int rc = sum_set_runs(set, h->group, h->runs, 3, &h->sums, NULL);

    if (rc == COFFER_OK)
        rc = sum_open(&t->def, &keys, set, &total, NULL);
    assert_true(rc == COFFER_OK || rc == COFFER_E_AUTH || rc == COFFER_E_FORMAT);
    sum_set_free(set);
    return rc;
}

/* Every bit of every number: none may pass. */
static void
any_change_fails_the_tags(void **state)
{
    for (unsigned flags = SUM_TAGGED; flags <= (SUM_TAGGED | SUM_WIDE); flags++) {
        struct table *t = make_table(flags);
        struct honest honest = honest_answer(t), h;

        assert_int_equal(open_honest(t, &honest), COFFER_OK);
        for (int bit = 0; bit < 127; bit++) { /* not 127: a change by 2^127, which is 1 mod p */
            int128 change = (int128)((uint128)1 << bit);

            h = honest;
            h.sums.l ^= change;
            assert_int_equal(open_honest(t, &h), COFFER_E_AUTH);
            if ((flags & SUM_WIDE) != 0) {
                h = honest;
                h.sums.h ^= change;
                assert_int_equal(open_honest(t, &h), COFFER_E_AUTH);
            }
            h = honest;
            h.sums.tag_h ^= change;
            assert_int_equal(open_honest(t, &h), COFFER_E_AUTH);
            h = honest;
            h.sums.tag_l ^= change;
            assert_int_equal(open_honest(t, &h), COFFER_E_AUTH);
        }
        for (int bit = 0; bit < 8 * SUM_GROUP_LEN; bit++) {
            h = honest;
            h.group[bit / 8] ^= (uint8_t)(1 << bit % 8);
            if (h.group[0] == 0 && h.group[1] >= 1 && h.group[1] <= VERSIONS)
                assert_int_equal(open_honest(t, &h), COFFER_E_AUTH);
        }
        for (int r = 0; r < 3; r++)
            for (int bit = 0; bit < 12; bit++) {
                h = honest;
                h.runs[r].first ^= 1u << bit;
                assert_int_not_equal(open_honest(t, &h), COFFER_OK);
                h = honest;
                h.runs[r].last ^= 1u << bit;
                assert_int_not_equal(open_honest(t, &h), COFFER_OK);
            }
        free_table(t);
    }
}

/* Multiples of p move Σl without the tags seeing it; the bound does. */
static void
multiples_of_p_are_seen(void **state)
{
    struct table *t = make_table(SUM_TAGGED | SUM_WIDE);
    struct honest honest = honest_answer(t), h;
    const int128 p = INT128_MAX;

    for (int limb = 0; limb < 2; limb++)
        for (int sign = -1; sign <= 1; sign += 2) {
            int128 *sum, moved;

            h = honest;
            sum = limb == 0 ? &h.sums.l : &h.sums.h;
            if (__builtin_add_overflow(*sum, sign * p, &moved))
                continue;
            *sum = moved;
            assert_int_equal(open_honest(t, &h), COFFER_E_AUTH);
        }
    /* Of a tag it is the same tag. */
    h = honest;
    h.sums.tag_l = modp_centred(modp_limbs(h.sums.tag_h, h.sums.tag_l));
    h.sums.tag_h = 0;
    assert_int_equal(open_honest(t, &h), COFFER_OK);
    h.sums.tag_l += h.sums.tag_l < 0 ? p : -p;
    assert_int_equal(open_honest(t, &h), COFFER_OK);
    free_table(t);
}

/* Rows left out, swapped, of another column, or with the tags of another sum. */
static void
other_rows_fail_the_tags(void **state)
{
    struct table *t = make_table(SUM_TAGGED);
    struct honest honest = honest_answer(t), h = honest;
    uint8_t other_id[16] = {1};
    struct sum_key *own = t->keys[1];
    struct secret *secret = NULL;

    h.runs[2].last--;
    assert_int_equal(open_honest(t, &h), COFFER_E_AUTH);
    h = honest;
    h.runs[1].first = h.runs[1].last = 32;
    assert_int_equal(open_honest(t, &h), COFFER_E_AUTH);
    h = honest;
    h.sums.l += 5;
    h.sums.tag_l += 5;
    assert_int_equal(open_honest(t, &h), COFFER_E_AUTH);
    /* With the key of another column */
    assert_int_equal(secret_new(32, &secret, NULL), COFFER_OK);
    assert_int_equal(sum_key_new(secret, other_id, 1, &t->keys[1], NULL), COFFER_OK);
    assert_int_equal(open_honest(t, &honest), COFFER_E_AUTH);
    sum_key_free(t->keys[1]);
    t->keys[1] = own;
    secret_free(secret);
    free_table(t);
}

/* Without tags: what is larger than its rows could have is malformed, or refused when opened. */
static void
without_tags_only_the_impossible_is_seen(void **state)
{
    struct table *t = make_table(0);
    struct honest h = honest_answer(t);

    h.sums.l = (int128)40 << 63;
    h.sums.l += 1;
    assert_int_equal(open_honest(t, &h), COFFER_E_FORMAT);
    h = honest_answer(t);
    h.sums.l += ((int128)1 << 50) * 41; /* above 40 rows of max_abs */
    assert_int_equal(open_honest(t, &h), COFFER_E_AUTH);
    free_table(t);
}

/* An answer without tags is none for a column that has them. */
static void
tags_cannot_be_left_out(void **state)
{
    struct table *t = make_table(SUM_TAGGED);
    struct sum_keys keys = keys_of(t);
    struct sum_total total;
    struct sum_builder *b;
    struct sum_set *set = new_set(t);
    struct buf answer;

    buf_init(&answer, 1u << 20);
    assert_int_equal(sum_builder_new(0, ROWS, &b, NULL), COFFER_OK);
    assert_int_equal(sum_builder_add(b, t->rows[0].id, &t->rows[0].cell, NULL), COFFER_OK);
    assert_int_equal(sum_builder_encode(b, &answer, NULL), COFFER_OK);
    assert_int_equal(sum_set_answer(set, buf_view(&answer), NULL), COFFER_E_FORMAT);
    sum_set_free(set);
    assert_int_equal(sum_set_new(0, &set, NULL), COFFER_OK);
    assert_int_equal(sum_set_answer(set, buf_view(&answer), NULL), COFFER_OK);
    assert_int_equal(sum_open(&t->def, &keys, set, &total, NULL), COFFER_E_FORMAT);
    sum_set_free(set);
    sum_builder_free(b);
    buf_wipe(&answer);
    free_table(t);
}

/* ---- without memory ---- */

static int
derive_encrypt_open(void)
{
    static const uint8_t MATERIAL[32] = {3};
    struct table t = {.def = {.max_abs = 1000, .flags = SUM_TAGGED | SUM_WIDE}};
    struct sum_keys keys = keys_of(&t);
    uint8_t group[SUM_GROUP_LEN] = {0, 1, 6};
    struct sum_id ids[3] = {sum_id_of(group, 5), sum_id_of(group, 2), sum_id_of(group, 3)};
    int64_t weights[3] = {1, 1, 1};
    struct secret *secret = NULL;
    struct sum_set *set = NULL;
    struct sum_total total;
    struct sum_sums sums = {0};
    int rc = secret_copy(bytes_of(MATERIAL, 32), &secret, NULL);

    if (rc == COFFER_OK)
        rc = sum_key_new(secret, INDEX_ID, 1, &t.keys[1], NULL);
    for (int i = 0; rc == COFFER_OK && i < 3; i++) {
        struct sum_cell cell;

        rc = sum_encrypt(&t.def, t.keys[1], ids[i], 100, &cell, NULL);
        add_cell(&sums, &cell, 1);
    }
    if (rc == COFFER_OK)
        rc = sum_set_new(t.def.flags, &set, NULL);
    if (rc == COFFER_OK)
        rc = sum_set_ids(set, ids, NULL, false, 3, &sums, NULL);
    if (rc == COFFER_OK)
        rc = sum_set_ids(set, ids, weights, false, 3, &sums, NULL);
    if (rc == COFFER_OK)
        rc = sum_open(&t.def, &keys, set, &total, NULL);
    assert_true(rc != COFFER_OK || total.value == 600);
    sum_set_free(set);
    sum_key_free(t.keys[1]);
    secret_free(secret);
    return rc;
}

static void
allocation_failures_leave_nothing(void **state)
{
    fault_every_allocation("sums", derive_encrypt_open, 12);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(totals_are_those_of_the_plaintext),
        cmocka_unit_test(weights_and_repeats_count),
        cmocka_unit_test(repeated_ids_are_never_a_run),
        cmocka_unit_test(an_id_twice_is_refused_across_parts),
        cmocka_unit_test(values_and_sums_keep_their_bounds),
        cmocka_unit_test(columns_are_declared_within_reason),
        cmocka_unit_test(a_missing_key_is_named),
        cmocka_unit_test(many_at_once_are_the_same),
        cmocka_unit_test(any_change_fails_the_tags),
        cmocka_unit_test(multiples_of_p_are_seen),
        cmocka_unit_test(other_rows_fail_the_tags),
        cmocka_unit_test(without_tags_only_the_impossible_is_seen),
        cmocka_unit_test(tags_cannot_be_left_out),
        cmocka_unit_test(allocation_failures_leave_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
