/* SPDX-License-Identifier: Apache-2.0 */
/* Equality terms, Pi_bas tags, buckets. */
#include "fixture.h"
#include "support/fault.h"

#include "base/mem.h"
#include "field/field.h"
#include "search/bucket.h"
#include "search/equality.h"
#include "search/normalise.h"
#include "search/pibas.h"

#include <stdio.h>
#include <stdlib.h>

static struct equality_part
text_part(int normaliser, const char *text)
{
    return (struct equality_part){
        normaliser, {.type = COFFER_TEXT, .data = (const uint8_t *)text, .len = strlen(text)}};
}

static bool
equal_terms(const struct equality_part *a, size_t a_count, const struct equality_part *b,
            size_t b_count)
{
    struct secret *secret = sample_key();
    struct equality_key *key;
    uint8_t x[16], y[16];

    assert_int_equal(equality_key_new(secret, INDEX_ID, 1, &key, NULL), COFFER_OK);
    assert_int_equal(equality_term16(key, a, a_count, 112, x, NULL), COFFER_OK);
    assert_int_equal(equality_term16(key, b, b_count, 112, y, NULL), COFFER_OK);
    equality_key_free(key);
    secret_free(secret);
    return memcmp(x, y, 16) == 0;
}

static bool
same(int normaliser, const char *a, const char *b)
{
    struct equality_part x = text_part(normaliser, a), y = text_part(normaliser, b);

    return equal_terms(&x, 1, &y, 1);
}

static void
texts_are_equal_as_the_normaliser_says(void **state)
{
    assert_false(same(NORMALISE_EXACT, "é", "e\u0301"));
    assert_true(same(NORMALISE_CANONICAL, "é", "e\u0301"));
    assert_false(same(NORMALISE_CANONICAL, "É", "é"));
    assert_true(same(NORMALISE_CASELESS, "STRASSE", "straße"));
    assert_true(same(NORMALISE_CASELESS, "ＡＢＣ", "abc"));
    assert_false(same(NORMALISE_CASELESS, "café", "cafe"));
    assert_true(same(NORMALISE_ACCENTLESS, "Café", "CAFE"));
    assert_false(same(NORMALISE_ACCENTLESS, "が", "か"));
    assert_true(same(NORMALISE_DIGITS, "+49 (30) 123", "49/30-１２３"));
    assert_false(same(NORMALISE_DIGITS, "123", "124"));
    assert_false(same(NORMALISE_CASELESS, "a", "b"));
}

static void
parts_do_not_run_into_each_other(void **state)
{
    struct equality_part a[] = {text_part(2, "a"), text_part(2, "bc")};
    struct equality_part b[] = {text_part(2, "ab"), text_part(2, "c")};
    struct equality_part c = text_part(2, "abc");

    assert_true(equal_terms(a, 2, a, 2));
    assert_false(equal_terms(a, 2, b, 2));
    assert_false(equal_terms(a, 2, &c, 1));
}

/* Types, versions, indexes and normalisers are apart; what has no term is refused. */
static void
misuse_is_refused(void **state)
{
    struct equality_part part = {0, {.type = COFFER_BOOL}};
    struct secret *secret = sample_key(), *shorter;
    struct equality_key *key, *none;
    uint8_t term[16], bytes[31] = {0};
    int64_t term8 = 0;

    assert_int_equal(equality_key_new(secret, INDEX_ID, 1, &key, NULL), COFFER_OK);
    assert_int_equal(equality_term16(key, &part, 1, 112, term, NULL), COFFER_E_REFUSED);
    part.value.type = COFFER_NULL;
    assert_int_equal(equality_term16(key, &part, 1, 112, term, NULL), COFFER_E_MISUSE);
    part = text_part(9, "a");
    assert_int_equal(equality_term16(key, &part, 1, 112, term, NULL), COFFER_E_MISUSE);
    part = text_part(2, "a");
    assert_int_equal(equality_term16(key, &part, 0, 112, term, NULL), COFFER_E_MISUSE);
    assert_int_equal(equality_term16(key, &part, 1, 113, term, NULL), COFFER_E_MISUSE);
    assert_int_equal(equality_term16(key, &part, 1, 0, term, NULL), COFFER_E_MISUSE);
    assert_int_equal(equality_term8(key, &part, 1, 49, &term8, NULL), COFFER_E_MISUSE);
    part = text_part(2, "\xff");
    assert_int_equal(equality_term16(key, &part, 1, 112, term, NULL), COFFER_E_FORMAT);
    assert_int_equal(equality_key_new(secret, INDEX_ID, 0, &none, NULL), COFFER_E_MISUSE);
    assert_int_equal(equality_key_new(secret, INDEX_ID, 32768, &none, NULL), COFFER_E_MISUSE);
    assert_null(none);
    assert_int_equal(secret_copy(bytes_of(bytes, 31), &shorter, NULL), COFFER_OK);
    assert_int_equal(equality_key_new(shorter, INDEX_ID, 1, &none, NULL), COFFER_E_MISUSE);
    secret_free(shorter);
    equality_key_free(key);
    secret_free(secret);
}

static void
all_terms_of_a_version_are_one_range(void **state)
{
    struct secret *secret = sample_key();
    struct equality_part part = text_part(0, "x");

    for (unsigned version = 1; version <= 32767; version += 1 + version / 2) {
        struct equality_key *key;
        uint8_t term[16], low[16], high[16];
        int64_t t, low8, high8;

        assert_int_equal(equality_key_new(secret, INDEX_ID, version, &key, NULL), COFFER_OK);
        assert_int_equal(equality_term16(key, &part, 1, 112, term, NULL), COFFER_OK);
        assert_int_equal(equality_term8(key, &part, 1, 48, &t, NULL), COFFER_OK);
        term16_range(version, low, high);
        term8_range(version, &low8, &high8);
        assert_true(memcmp(low, term, 16) <= 0 && memcmp(term, high, 16) < 0);
        assert_true(low8 <= t && t < high8 && t > 0);
        assert_int_equal(term16_version(term), version);
        assert_int_equal(term8_version(t), version);
        equality_key_free(key);
    }
    assert_int_equal(term8_version(-1), 0);
    secret_free(secret);
}

static void
short_terms_are_advised_by_rows(void **state)
{
    double bits = 30, few = 1;
    unsigned shortest, longest;

    assert_int_equal(equality_short_bits(1e6, &bits, 1, &shortest, &longest, NULL), COFFER_OK);
    assert_int_equal(shortest, 10); /* 1e6 / 2^10 = 977 ≤ 1000 */
    assert_int_equal(longest, 18);  /* 1e6 / 2^18 = 3.8 ≥ 2 */
    assert_int_equal(equality_short_bits(15, &bits, 1, &shortest, &longest, NULL),
                     COFFER_E_REFUSED);
    assert_int_equal(equality_short_bits(1e6, &few, 1, &shortest, &longest, NULL),
                     COFFER_E_REFUSED);
    assert_true(equality_coincidences(1024, &bits, 1, 4) == 64);
}

static int
compare16(const void *a, const void *b)
{
    return memcmp(a, b, 16);
}

/* Tags of one value and of many: none twice; the top bits are even. */
static void
pibas_tags_are_apart_and_even(void **state)
{
    static uint8_t tags[4000][16];
    struct secret *secret = sample_key();
    struct pibas_key *key;
    unsigned ones = 0;

    assert_int_equal(pibas_key_new(secret, INDEX_ID, 1, &key, NULL), COFFER_OK);
    for (unsigned value = 0; value < 4; value++) {
        char message[2] = {(char)('a' + value)};
        struct pibas_value *of;

        assert_int_equal(pibas_value_new(key, bytes_str(message), &of, NULL), COFFER_OK);
        for (unsigned c = 0; c < 1000; c++)
            pibas_tag(of, c, tags[value * 1000 + c]);
        pibas_value_free(of);
    }
    qsort(tags, 4000, 16, compare16);
    for (unsigned i = 1; i < 4000; i++)
        assert_memory_not_equal(tags[i - 1], tags[i], 16);
    for (unsigned i = 0; i < 4000; i++)
        ones += tags[i][2] >> 7;
    assert_in_range(ones, 1800, 2200);
    pibas_key_free(key);
    secret_free(secret);
}

/* A skewed sample: a third of it one value, the rest by chance, some of it dense. */
static void
skewed(uint8_t *sample, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t v = (uint32_t)chance();

        put_be32(sample + 4 * i, v % 3 == 0 ? 500 : v % 3 == 1 ? v % 4096 : v);
    }
}

static void
buckets_are_even_and_miss_nothing(void **state)
{
    enum { ROWS = 40000, ASKED = 200 };
    static uint8_t rows[ROWS][4], sample[ROWS][4];
    static int64_t terms[ROWS];
    struct secret *secret = sample_key();
    struct bucket_layout layout = {0};
    struct bucket_key *key;
    unsigned worst = 0, counts[1000] = {0};

    skewed(rows[0], ROWS);
    memcpy(sample, rows, sizeof rows);
    assert_int_equal(
        bucket_layout_build(sample[0], ROWS, 4, bucket_wanted(ROWS, ROWS), 1, &layout, NULL),
        COFFER_OK);
    assert_int_equal(bucket_wanted(ROWS, ROWS), 200);
    assert_int_equal(bucket_key_new(secret, INDEX_ID, 3, &key, NULL), COFFER_OK);
    for (int i = 0; i < ROWS; i++)
        assert_int_equal(bucket_term_of(key, &layout, rows[i], &terms[i], NULL), COFFER_OK);
    for (uint32_t b = 0, n = 0; b < layout.buckets; b++) {
        for (uint32_t s = 0; s < layout.splits[b]; s++, n++) {
            int64_t term = bucket_term(key, &layout, b, s);

            assert_true(n < 1000);
            for (int i = 0; i < ROWS; i++)
                counts[n] += terms[i] == term;
            worst = counts[n] > worst ? counts[n] : worst;
        }
    }
    assert_true(worst <= 2 * ROWS / 200);
    for (int q = 0; q < ASKED; q++) {
        uint8_t low[4], high[4];
        int64_t *wanted;
        size_t count;

        memcpy(low, rows[chance() % ROWS], 4);
        memcpy(high, rows[chance() % ROWS], 4);
        assert_int_equal(bucket_range(key, &layout, low, high, 10000, &wanted, &count, NULL),
                         COFFER_OK);
        assert_true((count == 0) == (memcmp(low, high, 4) > 0));
        for (int i = 0; i < ROWS; i += 97) {
            bool found = false;

            if (memcmp(rows[i], low, 4) < 0 || memcmp(rows[i], high, 4) > 0)
                continue;
            for (size_t w = 0; w < count; w++)
                found |= wanted[w] == terms[i];
            assert_true(found);
        }
        mem_free(wanted);
    }
    bucket_key_free(key);
    bucket_layout_wipe(&layout);
    secret_free(secret);
}

static void
one_value_makes_one_split_bucket(void **state)
{
    static uint8_t sample[1000][2];
    struct bucket_layout layout;

    assert_int_equal(bucket_layout_build(sample[0], 1000, 2, 10, 1, &layout, NULL), COFFER_OK);
    assert_int_equal(layout.buckets, 1);
    assert_int_equal(layout.splits[0], 10);
    bucket_layout_wipe(&layout);
    assert_int_equal(bucket_layout_build(sample[0], 0, 2, 10, 1, &layout, NULL), COFFER_E_MISUSE);
    assert_int_equal(bucket_layout_build(sample[0], 10, 33, 10, 1, &layout, NULL), COFFER_E_MISUSE);
}

static void
another_layout_gives_other_terms(void **state)
{
    struct bucket_layout a = {.number = 1, .width = 2, .buckets = 1}, b = a;
    struct secret *secret = sample_key();
    struct bucket_key *key;

    b.number = 2;
    assert_int_equal(bucket_key_new(secret, INDEX_ID, 3, &key, NULL), COFFER_OK);
    assert_true(bucket_term(key, &a, 0, 0) != bucket_term(key, &b, 0, 0));
    bucket_key_free(key);
    secret_free(secret);
}

/* Sealed and opened again; no other index's, no edited cell; every prefix and edit of a record is
 * refused, or reads as a layout that writes the same bytes. */
static void
layout_records_are_strict(void **state)
{
    uint8_t sample[300][2], other[16] = {8};
    struct bucket_layout layout, back;
    struct secret *secret = sample_key();
    struct column_key *column, *column2;
    struct buf record, cell;

    for (int i = 0; i < 300; i++)
        put_be16(sample[i], (uint16_t)(i * 7));
    buf_init(&record, 1 << 20);
    buf_init(&cell, 1 << 20);
    assert_int_equal(bucket_layout_build(sample[0], 300, 2, 20, 4, &layout, NULL), COFFER_OK);
    assert_int_equal(bucket_layout_write(&layout, &record, NULL), COFFER_OK);
    for (size_t len = 0; len < record.len; len++)
        assert_int_equal(bucket_layout_parse(bytes_of(record.ptr, len), &back, NULL),
                         COFFER_E_FORMAT);
    for (int i = 0; i < 3000; i++) {
        uint8_t *at = record.ptr + chance() % record.len, before = *at;
        struct buf again;

        *at = (uint8_t)chance();
        buf_init(&again, 1 << 20);
        if (bucket_layout_parse(buf_view(&record), &back, NULL) == COFFER_OK) {
            assert_int_equal(bucket_layout_write(&back, &again, NULL), COFFER_OK);
            assert_true(bytes_equal(buf_view(&again), buf_view(&record)));
        }
        bucket_layout_wipe(&back);
        buf_wipe(&again);
        *at = before;
    }
    assert_int_equal(column_key_new(secret, 1, INDEX_ID, &column, NULL), COFFER_OK);
    assert_int_equal(column_key_new(secret, 1, other, &column2, NULL), COFFER_OK);
    assert_int_equal(bucket_layout_seal(&layout, INDEX_ID, column, &cell, NULL), COFFER_OK);
    assert_int_equal(bucket_layout_open(buf_view(&cell), INDEX_ID, column, &back, NULL), COFFER_OK);
    assert_int_equal(back.buckets, layout.buckets);
    bucket_layout_wipe(&back);
    assert_int_equal(bucket_layout_open(buf_view(&cell), other, column2, &back, NULL),
                     COFFER_E_AUTH);
    cell.ptr[cell.len - 1] ^= 1;
    assert_int_equal(bucket_layout_open(buf_view(&cell), INDEX_ID, column, &back, NULL),
                     COFFER_E_AUTH);
    column_key_free(column);
    column_key_free(column2);
    bucket_layout_wipe(&layout);
    buf_wipe(&record);
    buf_wipe(&cell);
    secret_free(secret);
}

static int
make_terms(void)
{
    struct equality_part part = text_part(2, "Ängström");
    struct bucket_layout layout = {0}, back = {0};
    struct equality_key *equality = NULL;
    struct pibas_key *pibas = NULL;
    struct bucket_key *bucket = NULL;
    struct pibas_value *value = NULL;
    struct secret *secret = NULL;
    uint8_t term[16], sample[40][2] = {{0}};
    int64_t *terms = NULL;
    struct buf record;
    size_t count;
    int rc = secret_new(32, &secret, NULL);

    buf_init(&record, 1 << 20);
    for (int i = 0; i < 40; i++)
        sample[i][1] = (uint8_t)i;
    if (rc == COFFER_OK)
        rc = equality_key_new(secret, INDEX_ID, 1, &equality, NULL);
    if (rc == COFFER_OK)
        rc = equality_term16(equality, &part, 1, 112, term, NULL);
    if (rc == COFFER_OK)
        rc = pibas_key_new(secret, INDEX_ID, 1, &pibas, NULL);
    if (rc == COFFER_OK)
        rc = pibas_value_new(pibas, bytes_str("x"), &value, NULL);
    if (rc == COFFER_OK)
        rc = bucket_key_new(secret, INDEX_ID, 1, &bucket, NULL);
    if (rc == COFFER_OK)
        rc = bucket_layout_build(sample[0], 40, 2, 4, 1, &layout, NULL);
    if (rc == COFFER_OK)
        rc = bucket_layout_write(&layout, &record, NULL);
    if (rc == COFFER_OK)
        rc = bucket_layout_parse(buf_view(&record), &back, NULL);
    if (rc == COFFER_OK)
        rc = bucket_range(bucket, &back, sample[0], sample[39], 100, &terms, &count, NULL);
    mem_free(terms);
    buf_wipe(&record);
    bucket_layout_wipe(&layout);
    bucket_layout_wipe(&back);
    bucket_key_free(bucket);
    pibas_value_free(value);
    pibas_key_free(pibas);
    equality_key_free(equality);
    secret_free(secret);
    return rc;
}

static void
every_allocation_failure_is_clean(void **state)
{
    fault_every_allocation("terms", make_terms, 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_equal_as_the_normaliser_says),
        cmocka_unit_test(parts_do_not_run_into_each_other),
        cmocka_unit_test(misuse_is_refused),
        cmocka_unit_test(all_terms_of_a_version_are_one_range),
        cmocka_unit_test(short_terms_are_advised_by_rows),
        cmocka_unit_test(pibas_tags_are_apart_and_even),
        cmocka_unit_test(buckets_are_even_and_miss_nothing),
        cmocka_unit_test(one_value_makes_one_split_bucket),
        cmocka_unit_test(another_layout_gives_other_terms),
        cmocka_unit_test(layout_records_are_strict),
        cmocka_unit_test(every_allocation_failure_is_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
