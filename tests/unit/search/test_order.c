/* SPDX-License-Identifier: Apache-2.0 */
/* Order terms: encodings sort as values do, ORE and OPE as encodings do. */
#include "fixture.h"
#include "support/fault.h"

#include "base/mem.h"
#include "crypto/aes_block.h"
#include "search/encode.h"
#include "search/ope.h"
#include "search/ore.h"

#include <math.h>
#include <stdlib.h>

#define VALUES 24

static int
sign(int n)
{
    return (n > 0) - (n < 0);
}

/* Values of a type, ascending: encodings, ORE terms and OPE terms must be, too, each against each.
 */
static void
check_ascending(const struct order_domain *declared, const struct coffer_value *values,
                size_t count)
{
    static uint8_t encoded[VALUES][ORDER_WIDTH_MAX], ore[VALUES][ORE_LEN_MAX],
        ope[VALUES][OPE_LEN_MAX];
    struct order_domain domain = *declared;
    struct secret *key = sample_key();
    struct ore_key *ore_key;
    struct ope_key *ope_key;

    assert_in_range(count, 2, VALUES);
    assert_int_equal(order_domain_check(&domain, NULL), COFFER_OK);
    assert_int_equal(ore_key_new(key, INDEX_ID, 1, &ore_key, NULL), COFFER_OK);
    assert_int_equal(ope_key_new(key, INDEX_ID, 1, &ope_key, NULL), COFFER_OK);
    for (size_t i = 0; i < count; i++) {
        struct bytes value = {encoded[i], domain.width};

        assert_int_equal(order_encode(&domain, &values[i], encoded[i], NULL), COFFER_OK);
        assert_int_equal(ore_encrypt(ore_key, value, NULL, ore[i], NULL), COFFER_OK);
        assert_true(ore_valid(ore[i], ORE_LEN(domain.width)));
        if (domain.width <= OPE_WIDTH_MAX)
            assert_int_equal(ope_encrypt(ope_key, value, ope[i], NULL), COFFER_OK);
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++) {
            int order = (i > j) - (i < j);

            assert_int_equal(sign(memcmp(encoded[i], encoded[j], domain.width)), order);
            assert_int_equal(sign(ore_compare(ore[i], ore[j])), order);
            if (domain.width <= OPE_WIDTH_MAX)
                assert_int_equal(sign(memcmp(ope[i], ope[j], OPE_LEN(domain.width))), order);
        }
    }
    ore_key_free(ore_key);
    ope_key_free(ope_key);
    secret_free(key);
}

static void
integers_sort_in_every_width(void **state)
{
    static const struct {
        unsigned width;
        int64_t values[9];
    } CASES[] = {
        {2, {INT16_MIN, -257, -256, -1, 0, 1, 255, 256, INT16_MAX}},
        {4, {INT32_MIN, -65537, -65536, -1, 0, 1, 65535, 65536, INT32_MAX}},
        {8, {INT64_MIN, INT32_MIN, -256, -1, 0, 1, 256, INT32_MAX, INT64_MAX}},
    };

    for (size_t c = 0; c < 3; c++) {
        struct order_domain domain = {.type = COFFER_INT64, .width = CASES[c].width};
        struct coffer_value values[9];

        for (size_t i = 0; i < 9; i++)
            values[i] = (struct coffer_value){.type = COFFER_INT64, .i64 = CASES[c].values[i]};
        check_ascending(&domain, values, 9);
    }
}

static void
floats_sort_with_nan_last(void **state)
{
    static const double VALUES_OF[] = {-INFINITY, -1e308, -1.5,     -1, -5e-324, 0,
                                       5e-324,    1,      1.000001, 2,  1e308,   INFINITY};
    struct order_domain domain = {.type = COFFER_FLOAT64};
    struct coffer_value values[13];
    uint8_t a[ORDER_WIDTH_MAX], b[ORDER_WIDTH_MAX];

    for (size_t i = 0; i < 12; i++)
        values[i] = (struct coffer_value){.type = COFFER_FLOAT64, .f64 = VALUES_OF[i]};
    values[12] = (struct coffer_value){.type = COFFER_FLOAT64, .f64 = NAN};
    check_ascending(&domain, values, 13);
    assert_int_equal(order_domain_check(&domain, NULL), COFFER_OK);
    values[0].f64 = -0.0;
    values[1].f64 = 0.0;
    assert_int_equal(order_encode(&domain, &values[0], a, NULL), COFFER_OK);
    assert_int_equal(order_encode(&domain, &values[1], b, NULL), COFFER_OK);
    assert_memory_equal(a, b, 8);
}

static void
texts_of(const char *const *texts, size_t count, int type, struct coffer_value *values)
{
    for (size_t i = 0; i < count; i++)
        values[i] = (struct coffer_value){
            .type = type, .data = (const uint8_t *)texts[i], .len = strlen(texts[i])};
}

static void
numbers_texts_dates_and_uuids_sort(void **state)
{
    static const char *const NUMBERS[] = {"-9999999.99", "-10.5", "-10",  "-0.01", "0",
                                          "0.01",        "0.1",   "9.99", "10",    "9999999.99"};
    static const char *const LONG_NUMBERS[] = {"-99999999999999999999999999999999999999", "-1", "0",
                                               "18446744073709551616",
                                               "99999999999999999999999999999999999999"};
    static const char *const TEXTS[] = {"", "A", "ab", "ABC", "abd", "b", "é", "漢"};
    static const char *const UUIDS[] = {"0000000000000000", "0000000000000001", "1000000000000000",
                                        "~~~~~~~~~~~~~~~~"};
    struct coffer_value values[VALUES];
    struct order_domain domain = {.type = COFFER_NUMERIC, .precision = 9, .scale = 2};

    texts_of(NUMBERS, 10, COFFER_NUMERIC, values);
    check_ascending(&domain, values, 10);
    domain.precision = 38;
    domain.scale = 0;
    texts_of(LONG_NUMBERS, 5, COFFER_NUMERIC, values);
    check_ascending(&domain, values, 5);
    domain = (struct order_domain){.type = COFFER_TEXT, .width = 6, .normaliser = 2};
    texts_of(TEXTS, 8, COFFER_TEXT, values);
    check_ascending(&domain, values, 8);
    domain = (struct order_domain){.type = COFFER_UUID};
    texts_of(UUIDS, 4, COFFER_UUID, values);
    check_ascending(&domain, values, 4);
    domain = (struct order_domain){.type = COFFER_DATE};
    for (int i = 0; i < 5; i++)
        values[i] = (struct coffer_value){.type = COFFER_DATE,
                                          .i64 = (int64_t[]){INT32_MIN, -1, 0, 8903, INT32_MAX}[i]};
    check_ascending(&domain, values, 5);
}

static void
random_values_sort(void **state)
{
    struct order_domain domain = {.type = COFFER_INT64, .width = 8};

    for (int round = 0; round < 10; round++) {
        struct coffer_value values[VALUES];
        int64_t at = INT64_MIN + (int64_t)(chance() >> 8);

        for (size_t i = 0; i < VALUES; i++) {
            at += 1 + (int64_t)(chance() >> (8 + chance() % 55)); /* neighbours and far ones */
            values[i] = (struct coffer_value){.type = COFFER_INT64, .i64 = at};
        }
        check_ascending(&domain, values, VALUES);
    }
}

static void
domains_and_values_outside_are_refused(void **state)
{
    static const struct {
        struct order_domain domain;
        int expected;
    } DOMAINS[] = {
        {{.type = COFFER_BOOL}, COFFER_E_REFUSED},
        {{.type = COFFER_JSON}, COFFER_E_REFUSED},
        {{.type = COFFER_INT64, .width = 3}, COFFER_E_MISUSE},
        {{.type = COFFER_NUMERIC, .precision = 39}, COFFER_E_MISUSE},
        {{.type = COFFER_NUMERIC, .precision = 4, .scale = 5}, COFFER_E_MISUSE},
        {{.type = COFFER_TEXT, .width = 8, .normaliser = 4}, COFFER_E_MISUSE},
        {{.type = COFFER_BYTES, .width = 33}, COFFER_E_MISUSE},
        {{.type = COFFER_BYTES}, COFFER_E_MISUSE},
    };
    struct coffer_value date = {.type = COFFER_DATE, .i64 = (int64_t)INT32_MAX + 1};
    struct order_domain dates = {.type = COFFER_DATE};
    uint8_t out[ORDER_WIDTH_MAX];

    for (size_t i = 0; i < sizeof DOMAINS / sizeof *DOMAINS; i++) {
        struct order_domain domain = DOMAINS[i].domain;

        assert_int_equal(order_domain_check(&domain, NULL), DOMAINS[i].expected);
    }
    assert_int_equal(order_domain_check(&dates, NULL), COFFER_OK);
    assert_int_equal(order_encode(&dates, &date, out, NULL), COFFER_E_RANGE);
    date.type = COFFER_INT64;
    assert_int_equal(order_encode(&dates, &date, out, NULL), COFFER_E_TYPE);
}

/* Every pair of the 256 values of one byte. */
static void
ope_of_one_byte_is_exact(void **state)
{
    static uint8_t terms[256][OPE_LEN(1)];
    struct secret *key = sample_key();
    struct ope_key *ope;

    for (unsigned version = 1; version < 20; version++) {
        assert_int_equal(ope_key_new(key, INDEX_ID, version, &ope, NULL), COFFER_OK);
        for (unsigned x = 0; x < 256; x++) {
            uint8_t value = (uint8_t)x, back[OPE_WIDTH_MAX];

            assert_int_equal(ope_encrypt(ope, bytes_of(&value, 1), terms[x], NULL), COFFER_OK);
            assert_int_equal(ope_decrypt(ope, bytes_of(terms[x], OPE_LEN(1)), back, NULL),
                             COFFER_OK);
            assert_int_equal(back[0], x);
            if (x > 0)
                assert_true(memcmp(terms[x - 1], terms[x], OPE_LEN(1)) < 0);
        }
        ope_key_free(ope);
    }
    secret_free(key);
}

static void
ope_refuses_what_it_did_not_make(void **state)
{
    struct secret *key = sample_key();
    uint8_t term[OPE_LEN(4)], back[OPE_WIDTH_MAX], value[15] = {0};
    struct ope_key *ope, *other;

    assert_int_equal(ope_key_new(key, INDEX_ID, 3, &ope, NULL), COFFER_OK);
    assert_int_equal(ope_key_new(key, INDEX_ID, 4, &other, NULL), COFFER_OK);
    assert_int_equal(ope_encrypt(ope, bytes_of(value, 15), term, NULL), COFFER_E_MISUSE);
    assert_int_equal(ope_encrypt(ope, bytes_of(value, 0), term, NULL), COFFER_E_MISUSE);
    assert_int_equal(ope_encrypt(ope, bytes_of(value, 4), term, NULL), COFFER_OK);
    assert_int_equal(ope_decrypt(other, bytes_of(term, sizeof term), back, NULL), COFFER_E_KEY);
    for (size_t len = 0; len < sizeof term; len++) {
        int rc = ope_decrypt(ope, bytes_of(term, len), back, NULL);

        assert_true(rc == COFFER_E_FORMAT || rc == COFFER_E_AUTH); /* shorter: other blocks */
    }
    term[9] ^= 0x10;
    assert_int_equal(ope_decrypt(ope, bytes_of(term, sizeof term), back, NULL), COFFER_E_AUTH);
    ope_key_free(ope);
    ope_key_free(other);
    secret_free(key);
}

/* Equal values: other bytes, equal order; zeros show no pattern from block to block. */
static void
ore_hides_equality_of_bytes(void **state)
{
    struct secret *key = sample_key();
    uint8_t value[32] = {0}, a[ORE_LEN_MAX], b[ORE_LEN_MAX], x[36], y[36];
    struct ore_key *ore;
    unsigned same = 0;

    assert_int_equal(ore_key_new(key, INDEX_ID, 9, &ore, NULL), COFFER_OK);
    assert_int_equal(ore_encrypt(ore, bytes_of(value, 32), NULL, a, NULL), COFFER_OK);
    assert_int_equal(ore_encrypt(ore, bytes_of(value, 32), NULL, b, NULL), COFFER_OK);
    assert_int_equal(ore_compare(a, b), 0);
    assert_memory_not_equal(a, b, ORE_LEN(32));
    assert_int_equal(ore_equality_key(a, x), 36);
    assert_int_equal(ore_equality_key(b, y), 36);
    assert_memory_equal(x, y, 36);
    for (int i = 1; i < 32; i++)
        same += a[ORE_HEAD_LEN + i] == a[ORE_HEAD_LEN];
    assert_in_range(same, 0, 3);
    ore_key_free(ore);
    secret_free(key);
}

/* t of a fixed byte under many prefixes is uniform: χ² of 256 classes, 99.999 % below 360. */
static void
ore_permutation_is_uniform(void **state)
{
    struct secret *key = sample_key();
    unsigned counts[256] = {0};
    struct ore_key *ore;
    double chi = 0;

    assert_int_equal(ore_key_new(key, INDEX_ID, 2, &ore, NULL), COFFER_OK);
    for (unsigned i = 0; i < 12800; i++) {
        uint8_t value[3] = {(uint8_t)(i >> 8), (uint8_t)i, 77}, term[ORE_LEN(3)];

        assert_int_equal(ore_encrypt(ore, bytes_of(value, 3), NULL, term, NULL), COFFER_OK);
        counts[term[ORE_HEAD_LEN + 2]]++;
    }
    for (int i = 0; i < 256; i++)
        chi += (counts[i] - 50.0) * (counts[i] - 50.0) / 50.0;
    assert_true(chi > 150 && chi < 360);
    ore_key_free(ore);
    secret_free(key);
}

static void
ore_software_and_hardware_agree(void **state)
{
    struct secret *key = sample_key();
    uint8_t value[2] = {1, 200}, other[2] = {1, 201}, nonce[16] = {3};
    uint8_t a[ORE_LEN(2)], b[ORE_LEN(2)], c[ORE_LEN(2)];
    struct ore_key *ore;

    assert_int_equal(ore_key_new(key, INDEX_ID, 2, &ore, NULL), COFFER_OK);
    assert_int_equal(ore_encrypt(ore, bytes_of(value, 2), nonce, a, NULL), COFFER_OK);
    aes_block_hardware_off(true);
    assert_int_equal(ore_encrypt(ore, bytes_of(value, 2), nonce, b, NULL), COFFER_OK);
    assert_int_equal(ore_encrypt(ore, bytes_of(other, 2), NULL, c, NULL), COFFER_OK);
    assert_true(ore_compare(a, c) < 0);
    aes_block_hardware_off(false);
    assert_memory_equal(a, b, sizeof a);
    assert_true(ore_compare(c, a) > 0);
    ore_key_free(ore);
    secret_free(key);
}

/* Any one byte of the head changed, any other length: refused, or still comparable. */
static void
hostile_ore_terms_are_refused_or_compared(void **state)
{
    struct secret *key = sample_key();
    uint8_t value[2] = {0}, term[ORE_LEN(2)], bound[ORE_HEAD_LEN];
    struct ore_key *ore;

    assert_int_equal(ore_key_new(key, INDEX_ID, 1, &ore, NULL), COFFER_OK);
    assert_int_equal(ore_encrypt(ore, bytes_of(value, 2), NULL, term, NULL), COFFER_OK);
    assert_int_equal(ore_bound(1, bound, NULL), COFFER_OK);
    assert_true(ore_valid(bound, sizeof bound));
    assert_true(ore_compare(bound, term) < 0);
    assert_int_equal(ore_bound(2, bound, NULL), COFFER_OK);
    assert_true(ore_compare(bound, term) > 0);
    assert_int_equal(ore_bound(0, bound, NULL), COFFER_E_MISUSE);
    assert_int_equal(ore_bound(32768, bound, NULL), COFFER_E_MISUSE);
    for (size_t len = 0; len < sizeof term; len++)
        assert_false(ore_valid(term, len));
    for (int i = 0; i < 20000; i++) {
        uint8_t changed[ORE_LEN(2)], *exact;

        memcpy(changed, term, sizeof term);
        changed[chance() % sizeof changed] = (uint8_t)chance();
        exact = malloc(sizeof changed); /* so that one byte too far is seen */
        assert_non_null(exact);
        memcpy(exact, changed, sizeof changed);
        if (ore_valid(exact, sizeof changed))
            assert_int_equal(sign(ore_compare(exact, exact)), 0);
        free(exact);
    }
    ore_key_free(ore);
    secret_free(key);
}

static int
make_keys(void)
{
    struct secret *key = NULL;
    struct ore_key *ore = NULL;
    struct ope_key *ope = NULL;
    uint8_t bytes[32] = {0};
    int rc = secret_copy(bytes_of(bytes, 32), &key, NULL);

    if (rc == COFFER_OK)
        rc = ore_key_new(key, INDEX_ID, 1, &ore, NULL);
    if (rc == COFFER_OK)
        rc = ope_key_new(key, INDEX_ID, 1, &ope, NULL);
    ore_key_free(ore);
    ope_key_free(ope);
    secret_free(key);
    return rc;
}

static void
every_allocation_failure_is_clean(void **state)
{
    fault_every_allocation("order keys", make_keys, 7);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_sort_in_every_width),
        cmocka_unit_test(floats_sort_with_nan_last),
        cmocka_unit_test(numbers_texts_dates_and_uuids_sort),
        cmocka_unit_test(random_values_sort),
        cmocka_unit_test(domains_and_values_outside_are_refused),
        cmocka_unit_test(ope_of_one_byte_is_exact),
        cmocka_unit_test(ope_refuses_what_it_did_not_make),
        cmocka_unit_test(ore_hides_equality_of_bytes),
        cmocka_unit_test(ore_permutation_is_uniform),
        cmocka_unit_test(ore_software_and_hardware_agree),
        cmocka_unit_test(hostile_ore_terms_are_refused_or_compared),
        cmocka_unit_test(every_allocation_failure_is_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
