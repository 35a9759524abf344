/* SPDX-License-Identifier: Apache-2.0 */
/* The attacks, on columns whose answer is known. */
#include "fixture.h"
#include "support/fault.h"

#include "search/leakage.h"

#include <math.h>
#include <stdlib.h>

#define ROWS 4000
static uint8_t room[ROWS][4];
static struct bytes values[ROWS];

static void
fill(uint32_t (*of)(size_t))
{
    for (size_t i = 0; i < ROWS; i++) {
        put_be32(room[i], of(i));
        values[i] = bytes_of(room[i], 4);
    }
}

static uint32_t
unique(size_t i)
{
    return (uint32_t)i * 100003;
}
static uint32_t
sex(size_t i)
{
    return i % 100 < 52;
}
static uint32_t
skewed(size_t i)
{
    return (uint32_t)sqrt((double)(chance() % 400)) + (uint32_t)(i % 2);
}
static uint32_t
dense(size_t i)
{
    return (uint32_t)i % 100;
}

static void
unique_values_are_an_a_and_a_sex_is_an_f(void **state)
{
    struct leakage_equality e;

    fill(unique);
    assert_int_equal(leakage_equality(values, ROWS, 1, &e, NULL), COFFER_OK);
    assert_int_equal(e.distinct, ROWS);
    assert_int_equal(leakage_grade(e.exact), 'A');
    assert_int_equal(leakage_grade(e.similar), 'A');
    fill(sex);
    assert_int_equal(leakage_equality(values, ROWS, 1, &e, NULL), COFFER_OK);
    assert_int_equal(leakage_grade(e.exact), 'F');
    assert_true(e.exact == 1);
    assert_true(e.similar == 1 || e.similar == 0); /* 52 to 48: the halves may swap ranks */
    assert_int_equal(leakage_equality(values, 0, 1, &e, NULL), COFFER_OK);
    assert_true(e.exact == 0 && e.similar == 0);
    assert_int_equal(leakage_grade(0.01), 'A');
    assert_int_equal(leakage_grade(0.05), 'B');
    assert_int_equal(leakage_grade(0.2), 'C');
    assert_int_equal(leakage_grade(0.5), 'D');
    assert_int_equal(leakage_grade(0.51), 'F');
}

/* The formula against an attacker who ranks and breaks ties by chance, many times over. */
static void
exact_share_equals_a_simulation(void **state)
{
    static size_t counts[ROWS];
    struct leakage_equality e;
    size_t n = 0;
    double right = 0;
    enum { ROUNDS = 4000 };

    fill(skewed);
    assert_int_equal(leakage_equality(values, ROWS, 1, &e, NULL), COFFER_OK);
    for (uint32_t v = 0; v < 32; v++) {
        size_t c = 0;

        for (size_t i = 0; i < ROWS; i++)
            c += get_be32(room[i]) == v;
        if (c > 0)
            counts[n++] = c;
    }
    assert_int_equal(n, e.distinct);
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < n; i++) {
            size_t ties = 0;

            for (size_t j = 0; j < n; j++)
                ties += counts[j] == counts[i];
            if (chance() % ties == 0)
                right += (double)counts[i];
        }
    }
    assert_true(fabs(right / ROUNDS / ROWS - e.exact) < 0.01);
}

static void
short_terms_lose_share_and_gain_false_positives(void **state)
{
    struct leakage_short two, eight, all;

    fill(skewed);
    assert_int_equal(leakage_short(values, ROWS, 2, 1, &two, NULL), COFFER_OK);
    assert_int_equal(leakage_short(values, ROWS, 8, 1, &eight, NULL), COFFER_OK);
    assert_int_equal(leakage_short(values, ROWS, 64, 1, &all, NULL), COFFER_OK);
    assert_true(two.share < all.share);
    assert_true(two.false_positives > eight.false_positives);
    assert_true(all.false_positives == 0);
}

static void
dense_order_reads_everything(void **state)
{
    struct leakage_order o, sparse;

    fill(dense);
    assert_int_equal(leakage_order(values, ROWS, 100, 1, &o, NULL), COFFER_OK);
    assert_true(o.density == 1 && o.worst == 1);
    assert_int_equal(o.distinct, 100);
    assert_true(o.gap_bits == 0);
    assert_true(o.fixed_by_bit > 6 && o.fixed_by_bit <= 7); /* 100 of 128 leaves */
    assert_true(fabs(o.fixed_by_byte - log2(100)) < 1e-9);
    fill(skewed); /* few values, each with a share of its own */
    assert_int_equal(leakage_order(values, ROWS, 0, 1, &o, NULL), COFFER_OK);
    assert_true(o.crossing_free > 0.9 && o.assignment > 0.9 && o.worst > 0.9);
    fill(unique);
    assert_int_equal(leakage_order(values, ROWS, 0, 1, &sparse, NULL), COFFER_OK);
    assert_true(sparse.density < 1e-5 && sparse.worst < 0.01);
    assert_true(sparse.gap_bits > 10);
    assert_int_equal(leakage_order(values, 0, 0, 1, &sparse, NULL), COFFER_OK);
    assert_true(sparse.worst == 0);
}

static void
pairs_tell_more_than_each(void **state)
{
    static uint8_t other[ROWS][1];
    static struct bytes others[ROWS];
    struct leakage_equality one;
    double both, again;

    for (size_t i = 0; i < ROWS; i++) {
        other[i][0] = (uint8_t)(i % 7 % 3);
        others[i] = bytes_of(other[i], 1);
    }
    fill(dense);
    assert_int_equal(leakage_equality(values, ROWS, 1, &one, NULL), COFFER_OK);
    assert_int_equal(leakage_pair(values, others, ROWS, &both, NULL), COFFER_OK);
    assert_true(both > one.exact);
    assert_int_equal(leakage_pair(values, values, ROWS, &again, NULL), COFFER_OK);
    assert_true(again == one.exact);
}

static void
tokens_of_common_pieces_are_matched(void **state)
{
    static int64_t at[ROWS][3];
    static struct tokens rows[ROWS];
    struct leakage_tokens t;

    for (size_t i = 0; i < ROWS; i++) {
        at[i][0] = 1;                 /* in all rows */
        at[i][1] = 2 + (i % 4 == 0);  /* 3 : 1 */
        at[i][2] = 1000 + (int64_t)i; /* in this one alone */
        rows[i] = (struct tokens){at[i], i == 0 ? 2 : 3, 3};
    }
    assert_int_equal(leakage_tokens(rows, ROWS, 1, &t, NULL), COFFER_OK);
    assert_true(t.top_matched >= 0.03 && t.top_matched < 0.5);
    assert_true(fabs(t.unique_counts - 1.0 / ROWS) < 1e-9);
}

static void
even_buckets_show_nothing(void **state)
{
    static uint8_t sample[ROWS][4];
    struct bucket_layout layout;
    struct leakage_buckets b;

    fill(unique);
    memcpy(sample, room, sizeof room);
    assert_int_equal(bucket_layout_build(sample[0], ROWS, 4, 20, 1, &layout, NULL), COFFER_OK);
    assert_int_equal(leakage_buckets(&layout, values, ROWS, 1, &b, NULL), COFFER_OK);
    assert_true(b.entropy_bits > 0.99 * b.entropy_max_bits);
    assert_true(b.over_fetch >= 1 && b.over_fetch < 6);
    bucket_layout_wipe(&layout);
}

static int
all_attacks(void)
{
    struct leakage_equality e;
    struct leakage_short s;
    struct leakage_order o;
    double both;
    int rc = leakage_equality(values, 50, 1, &e, NULL);

    if (rc == COFFER_OK)
        rc = leakage_short(values, 50, 3, 1, &s, NULL);
    if (rc == COFFER_OK)
        rc = leakage_order(values, 50, 0, 1, &o, NULL);
    if (rc == COFFER_OK)
        rc = leakage_pair(values, values, 50, &both, NULL);
    return rc;
}

static void
every_allocation_failure_is_clean(void **state)
{
    fill(dense);
    fault_every_allocation("attacks", all_attacks, 15);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unique_values_are_an_a_and_a_sex_is_an_f),
        cmocka_unit_test(exact_share_equals_a_simulation),
        cmocka_unit_test(short_terms_lose_share_and_gain_false_positives),
        cmocka_unit_test(dense_order_reads_everything),
        cmocka_unit_test(pairs_tell_more_than_each),
        cmocka_unit_test(tokens_of_common_pieces_are_matched),
        cmocka_unit_test(even_buckets_show_nothing),
        cmocka_unit_test(every_allocation_failure_is_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
