/* SPDX-License-Identifier: Apache-2.0 */
/* Money as integers and back, averages, variances; and totals by a small enum. */
#include "support/fault.h"
#include "support/test.h"

#include "sums/figures.h"
#include "sums/splashe.h"

#include <string.h>

static struct buf text;

static int
read_as(const char *decimal, unsigned scale, const char *integer)
{
    char got[INT128_TEXT_MAX];
    int128 value;
    int rc = decimal_read(bytes_str(decimal), scale, &value, NULL);

    if (rc == COFFER_OK) {
        int128_format(value, got);
        assert_string_equal(got, integer);
    } else {
        assert_true(value == 0);
    }
    return rc;
}

static void
decimals_become_integers_of_their_scale(void **state)
{
    assert_int_equal(read_as("12.34", 2, "1234"), COFFER_OK);
    assert_int_equal(read_as("-12.3", 2, "-1230"), COFFER_OK);
    assert_int_equal(read_as("7", 3, "7000"), COFFER_OK);
    assert_int_equal(read_as("0.10000", 1, "1"), COFFER_OK);
    assert_int_equal(read_as("-0.00", 2, "0"), COFFER_OK);
    assert_int_equal(read_as("5.", 0, "5"), COFFER_OK);
    assert_int_equal(read_as("170141183460469231731687303715884105727", 0,
                             "170141183460469231731687303715884105727"),
                     COFFER_OK);
    assert_int_equal(read_as("1.70141183460469231731687303715884105727", 38,
                             "170141183460469231731687303715884105727"),
                     COFFER_OK);
    assert_int_equal(read_as("-170141183460469231731687303715884105728", 0, ""), COFFER_E_LIMIT);
    assert_int_equal(read_as("17014118346046923173168730371588410572.8", 1, ""), COFFER_E_LIMIT);
    assert_int_equal(read_as("1701411834604692317316873037158841057270", 0, ""), COFFER_E_LIMIT);
    assert_int_equal(read_as("2", 38, ""), COFFER_E_LIMIT);
    assert_int_equal(read_as("0.001", 2, ""), COFFER_E_RANGE);
    assert_int_equal(read_as("1.5", 0, ""), COFFER_E_RANGE);
}

static void
what_is_no_decimal_is_refused(void **state)
{
    static const char *const BAD[] = {"",      "-",  ".",  ".5", "1e5", "NaN", "Infinity",
                                      "1.2.3", " 1", "1 ", "+1", "--1", "0x1", "1,5"};

    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        assert_int_equal(read_as(BAD[i], 2, ""), COFFER_E_FORMAT);
}

static const char *
written(int128 value, unsigned scale)
{
    buf_clear(&text);
    decimal_write(value, scale, &text);
    return buf_cstr(&text);
}

static void
integers_are_written_with_their_places(void **state)
{
    assert_string_equal(written(1234, 2), "12.34");
    assert_string_equal(written(-5, 2), "-0.05");
    assert_string_equal(written(0, 3), "0.000");
    assert_string_equal(written(-100, 2), "-1.00");
    assert_string_equal(written(42, 0), "42");
    assert_string_equal(written(INT128_MIN, 0), "-170141183460469231731687303715884105728");
    assert_string_equal(written(INT128_MAX, 38), "1.70141183460469231731687303715884105727");
}

static void
integers_of_databases_are_read_exactly(void **state)
{
    int128 v;

    assert_true(int128_parse(bytes_str("-170141183460469231731687303715884105728"), &v));
    assert_true(v == INT128_MIN);
    assert_true(int128_parse(bytes_str("007"), &v) && v == 7);
    assert_true(int128_parse(bytes_str("12.00"), &v) && v == 12);
    assert_false(int128_parse(bytes_str("170141183460469231731687303715884105728"), &v));
    assert_false(int128_parse(bytes_str("12.01"), &v));
    assert_false(int128_parse(bytes_str(""), &v));
    assert_false(int128_parse(bytes_str("-"), &v));
    assert_false(int128_parse(bytes_str("1e3"), &v));
}

static const char *
average(int128 sum, uint64_t rows, unsigned scale, unsigned places)
{
    buf_clear(&text);
    assert_int_equal(average_write(sum, rows, scale, places, &text, NULL), COFFER_OK);
    return buf_cstr(&text);
}

static void
averages_are_rounded_half_away_from_zero(void **state)
{
    assert_string_equal(average(10, 4, 0, 2), "2.50");
    assert_string_equal(average(10, 4, 0, 0), "3");
    assert_string_equal(average(-10, 4, 0, 0), "-3");
    assert_string_equal(average(2, 3, 0, 5), "0.66667");
    assert_string_equal(average(-1, 3, 2, 2), "0.00");
    assert_string_equal(average(12345, 10, 2, 3), "12.345");
    assert_string_equal(average(INT128_MAX, 1, 0, 38), "170141183460469231731687303715884105727."
                                                       "00000000000000000000000000000000000000");
    assert_int_equal(average_write(1, 0, 0, 0, &text, NULL), COFFER_E_MISUSE);
    assert_int_equal(average_write(1, 1, 0, 39, &text, NULL), COFFER_E_MISUSE);
}

static const char *
spread(enum spread kind, int128 sum, int128 squares, uint64_t rows, unsigned scale, unsigned places)
{
    buf_clear(&text);
    assert_int_equal(spread_write(kind, sum, squares, rows, scale, places, &text, NULL), COFFER_OK);
    return buf_cstr(&text);
}

/* 2 4 4 4 5 5 7 9: sum 40, of squares 232. */
static void
variances_are_exact(void **state)
{
    assert_string_equal(spread(VARIANCE_POPULATION, 40, 232, 8, 0, 4), "4.0000");
    assert_string_equal(spread(DEVIATION_POPULATION, 40, 232, 8, 0, 4), "2.0000");
    assert_string_equal(spread(VARIANCE_SAMPLE, 40, 232, 8, 0, 10), "4.5714285714");
    assert_string_equal(spread(DEVIATION_SAMPLE, 40, 232, 8, 0, 10), "2.1380899353");
    assert_string_equal(spread(VARIANCE_POPULATION, 4000, 2320000, 8, 2, 4), "4.0000");
    assert_string_equal(spread(DEVIATION_SAMPLE, 4000, 2320000, 8, 2, 3), "2.138");
    assert_string_equal(spread(DEVIATION_POPULATION, -7, 49, 1, 0, 2), "0.00");
    /* 2^62 twice, and its opposite: nothing is lost where doubles would */
    assert_string_equal(spread(VARIANCE_POPULATION, 0, (int128)1 << 125, 2, 0, 0),
                        "21267647932558653966460912964485513216");
    assert_string_equal(spread(VARIANCE_POPULATION, ((int128)1 << 63) + 1,
                               ((int128)1 << 125) + ((int128)1 << 63) + 1, 2, 0, 2),
                        "0.25");
    assert_int_equal(spread_write(VARIANCE_SAMPLE, 1, 1, 1, 0, 0, &text, NULL), COFFER_E_MISUSE);
    assert_int_equal(spread_write(VARIANCE_POPULATION, 40, 199, 8, 0, 0, &text, NULL),
                     COFFER_E_AUTH);
    assert_int_equal(spread_write(VARIANCE_POPULATION, 0, -1, 8, 0, 0, &text, NULL), COFFER_E_AUTH);
}

static void
totals_do_not_wrap(void **state)
{
    int128 v;

    assert_int_equal(total_add(INT128_MAX, 1, &v, NULL), COFFER_E_LIMIT);
    assert_int_equal(total_subtract(INT128_MIN, 1, &v, NULL), COFFER_E_LIMIT);
    assert_int_equal(total_multiply(INT128_MAX, 2, &v, NULL), COFFER_E_LIMIT);
    assert_int_equal(total_multiply(-3, 4, &v, NULL), COFFER_OK);
    assert_true(v == -12);
}

/* ---- SPLASHE ---- */

static struct splashe_plan
make_plan(size_t values)
{
    struct splashe_plan plan = {.values = values, .measures = 1, .flags = SUM_TAGGED};

    plan.measure[0] = (struct sum_def){.max_abs = 100000, .flags = SUM_TAGGED | SUM_WIDE};
    for (size_t i = 0; i < values; i++) {
        plan.count_ids[i][0] = (uint8_t)(1 + i);
        plan.measure_ids[0][i][0] = (uint8_t)(101 + i);
    }
    return plan;
}

static const struct sum_key *
the_key(const void *ctx, unsigned version)
{
    return version == sum_key_version(ctx) ? ctx : NULL;
}

static int
encrypt_and_total(struct sum_total totals[8], int128 wrong)
{
    static const size_t VALUES[] = {0, 2, 2, 3, 0, 0, 2};
    struct splashe_plan plan = make_plan(4);
    struct splashe_keys *keys = NULL;
    struct secret *secret = NULL;
    struct sum_sums sums[8] = {{0}};
    uint8_t group[SUM_GROUP_LEN] = {0, 5, 9};
    struct sum_run run = {1, 7};
    int rc = secret_new(32, &secret, NULL);

    if (rc == COFFER_OK)
        rc = splashe_keys_new(&plan, secret, 5, &keys, NULL);
    for (uint32_t r = 0; rc == COFFER_OK && r < 7; r++) {
        int128 measure = 10 * (int)(r + 1);
        struct sum_cell cells[8];

        rc =
            splashe_encrypt(&plan, keys, sum_id_of(group, r + 1), VALUES[r], &measure, cells, NULL);
        for (int i = 0; rc == COFFER_OK && i < 8; i++) {
            sums[i].l += cells[i].l;
            sums[i].h += cells[i].h;
            sums[i].tag_h += cells[i].tag_h;
            sums[i].tag_l += cells[i].tag_l;
        }
    }
    sums[0].l += wrong;
    for (size_t i = 0; rc == COFFER_OK && i < splashe_columns(&plan); i++) {
        struct sum_keys finder = {the_key, splashe_key(keys, i)};
        struct sum_set *set = NULL;
        struct sum_def def;

        splashe_column(&plan, i, &def);
        rc = sum_set_new(def.flags, &set, NULL);
        if (rc == COFFER_OK)
            rc = sum_set_runs(set, group, &run, 1, &sums[i], NULL);
        if (rc == COFFER_OK)
            rc = sum_open(&def, &finder, set, &totals[i], NULL);
        sum_set_free(set);
    }
    if (rc == COFFER_OK)
        rc = splashe_counts(&plan, totals, 7, NULL);
    splashe_keys_free(keys);
    secret_free(secret);
    return rc;
}

static void
each_value_has_its_count_and_total(void **state)
{
    static const int COUNTS[] = {3, 0, 3, 1}, MEASURES[] = {10 + 50 + 60, 0, 20 + 30 + 70, 40};
    struct sum_total totals[8];

    assert_int_equal(encrypt_and_total(totals, 0), COFFER_OK);
    for (int i = 0; i < 4; i++) {
        assert_true(totals[i].value == COUNTS[i] && totals[i].verified);
        assert_true(totals[4 + i].value == MEASURES[i] && totals[4 + i].verified);
    }
    assert_int_equal(encrypt_and_total(totals, 1), COFFER_E_AUTH);
}

static void
counts_that_are_not_one_hot_are_refused(void **state)
{
    struct splashe_plan plan = make_plan(2);
    struct sum_total totals[2] = {{.value = 3, .rows = 5}, {.value = 2, .rows = 5}};

    assert_int_equal(splashe_counts(&plan, totals, 5, NULL), COFFER_OK);
    totals[1].value = 1;
    assert_int_equal(splashe_counts(&plan, totals, 5, NULL), COFFER_E_AUTH);
    totals[0].value = 6;
    totals[1].value = -1;
    assert_int_equal(splashe_counts(&plan, totals, 5, NULL), COFFER_E_AUTH);
    totals[0].value = 3;
    totals[1].value = 2;
    totals[1].rows = 4; /* a column summed over other rows */
    assert_int_equal(splashe_counts(&plan, totals, 5, NULL), COFFER_E_AUTH);
}

static void
plans_have_bounds(void **state)
{
    struct splashe_plan plan = make_plan(16);
    struct splashe_keys *keys = NULL;
    struct secret *secret = NULL;
    struct sum_cell cells[8];
    int128 measure = 1;

    assert_int_equal(splashe_check(&plan, NULL), COFFER_OK);
    memcpy(plan.measure_ids[0][3], plan.count_ids[2], 16); /* the same key and id twice */
    assert_int_equal(splashe_check(&plan, NULL), COFFER_E_MISUSE);
    plan.values = 17;
    assert_int_equal(splashe_check(&plan, NULL), COFFER_E_MISUSE);
    plan.values = 0;
    assert_int_equal(splashe_check(&plan, NULL), COFFER_E_MISUSE);
    plan = make_plan(2);
    assert_int_equal(secret_new(32, &secret, NULL), COFFER_OK);
    assert_int_equal(splashe_keys_new(&plan, secret, 1, &keys, NULL), COFFER_OK);
    assert_int_equal(splashe_encrypt(&plan, keys, (struct sum_id){(int64_t)1 << 48, 1}, 2, &measure,
                                     cells, NULL),
                     COFFER_E_MISUSE);
    measure = 100001;
    assert_int_equal(splashe_encrypt(&plan, keys, (struct sum_id){(int64_t)1 << 48, 1}, 1, &measure,
                                     cells, NULL),
                     COFFER_E_RANGE);
    splashe_keys_free(keys);
    secret_free(secret);
}

static int
splashe_life(void)
{
    struct sum_total totals[8];

    return encrypt_and_total(totals, 0);
}

static void
allocation_failures_leave_nothing(void **state)
{
    fault_every_allocation("splashe", splashe_life, 30);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimals_become_integers_of_their_scale),
        cmocka_unit_test(what_is_no_decimal_is_refused),
        cmocka_unit_test(integers_are_written_with_their_places),
        cmocka_unit_test(integers_of_databases_are_read_exactly),
        cmocka_unit_test(averages_are_rounded_half_away_from_zero),
        cmocka_unit_test(variances_are_exact),
        cmocka_unit_test(totals_do_not_wrap),
        cmocka_unit_test(each_value_has_its_count_and_total),
        cmocka_unit_test(counts_that_are_not_one_hot_are_refused),
        cmocka_unit_test(plans_have_bounds),
        cmocka_unit_test(allocation_failures_leave_nothing),
    };
    int rc;

    buf_init(&text, 4096);
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    buf_wipe(&text);
    return rc;
}
