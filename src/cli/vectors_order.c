/* SPDX-License-Identifier: Apache-2.0 */
/* Known answers of tests/kat/search-vectors.json for order: ORE, OPE, buckets. */
#include "base/mem.h"
#include "cli/vectors_terms.h"
#include "search/bucket.h"
#include "search/ope.h"
#include "search/ore.h"

#include <stdio.h>
#include <string.h>

#define VALUE_MAX (4u << 20)
#define ITEMS_MAX 64

struct ore_items {
    uint8_t at[ITEMS_MAX][ORE_LEN_MAX];
    size_t count;
};

/* Encrypt item `i`; is it the published ciphertext? */
static int
ore_item(struct vectors *v, const char *label, const struct ore_key *key, unsigned width,
         const json_t *item, struct ore_items *items, struct coffer_error *err)
{
    uint8_t value[ORE_BLOCKS_MAX], nonce[16];
    uint8_t *term = items->at[items->count];
    int rc;

    if (!vectors_fixed(item, "value", value, width))
        return vectors_bad(err, label, "value");
    if (!vectors_fixed(item, "nonce", nonce, sizeof nonce))
        return vectors_bad(err, label, "nonce");
    rc = ore_encrypt(key, bytes_of(value, width), nonce, term, err);
    if (rc != COFFER_OK)
        return rc;
    items->count++;
    vectors_count(v,
                  ore_valid(term, ORE_LEN(width)) &&
                      vectors_same_hex(json_object_get(item, "ciphertext"), term, ORE_LEN(width)),
                  "%s, item %zu", label, items->count);
    return COFFER_OK;
}

/* Each item against each: a line of <, = and > for each. */
static void
ore_comparisons(struct vectors *v, const char *label, const struct ore_items *items,
                const json_t *lines)
{
    for (size_t i = 0; i < items->count; i++) {
        char line[ITEMS_MAX + 1] = "";
        const char *expected = json_string_value(json_array_get(lines, i));

        for (size_t j = 0; j < items->count; j++) {
            int order = ore_compare(items->at[i], items->at[j]);

            line[j] = order < 0 ? '<' : order > 0 ? '>' : '=';
        }
        vectors_count(v, expected != NULL && strcmp(expected, line) == 0, "%s, comparison %zu",
                      label, i + 1);
    }
}

static int
case_ore(struct vectors *v, const char *label, const json_t *json, struct coffer_error *err)
{
    struct ore_items *items = mem_alloc(sizeof *items);
    const json_t *list = json_object_get(json, "items");
    struct secret *material = NULL;
    struct ore_key *key = NULL;
    uint8_t index_id[16];
    unsigned version = 0, width = 0;
    int rc;

    if (items == NULL)
        return error_nomem(err);
    rc = vectors_key(json, label, &material, index_id, &version, err);
    if (rc == COFFER_OK &&
        (!vectors_unsigned(json, "width", 0, &width) || width < 1 || width > ORE_BLOCKS_MAX))
        rc = vectors_bad(err, label, "width");
    if (rc == COFFER_OK && (!json_is_array(list) || json_array_size(list) > ITEMS_MAX))
        rc = vectors_bad(err, label, "items");
    if (rc == COFFER_OK)
        rc = ore_key_new(material, index_id, version, &key, err);
    for (size_t i = 0; rc == COFFER_OK && i < json_array_size(list); i++)
        rc = ore_item(v, label, key, width, json_array_get(list, i), items, err);
    if (rc == COFFER_OK)
        ore_comparisons(v, label, items, json_object_get(json, "compare"));
    ore_key_free(key);
    secret_free(material);
    mem_free(items);
    return rc;
}

static int
section_ore(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return vectors_each(v, "ore", json, case_ore, err);
}

/* Each term against all of the list: below those after it, above those before. */
static int
section_ore_mixed(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    const json_t *list = json_object_get(json, "ascending");
    struct buf terms[ITEMS_MAX];
    size_t count = json_array_size(list);
    int rc = COFFER_OK;

    if (!json_is_array(list) || count > ITEMS_MAX)
        return vectors_bad(err, "ore_mixed", "ascending");
    for (size_t i = 0; i < count; i++) {
        buf_init(&terms[i], ORE_LEN_MAX);
        if (!vectors_hex_of(json_array_get(list, i), &terms[i]) && rc == COFFER_OK)
            rc = vectors_bad(err, "ore_mixed", "ascending");
    }
    for (size_t i = 0; rc == COFFER_OK && i < count; i++) {
        bool held = ore_valid(terms[i].ptr, terms[i].len);

        for (size_t j = 0; held && j < count; j++) {
            int order;

            if (!ore_valid(terms[j].ptr, terms[j].len))
                break;
            order = ore_compare(terms[i].ptr, terms[j].ptr);
            held = (order > 0) == (i > j) && (order < 0) == (i < j);
        }
        vectors_count(v, held, "ore_mixed item %zu", i + 1);
    }
    for (size_t i = 0; i < count; i++)
        buf_wipe(&terms[i]);
    return rc;
}

static int
case_ore_invalid(struct vectors *v, const char *label, const json_t *json, struct coffer_error *err)
{
    struct buf term;
    bool read;

    buf_init(&term, VALUE_MAX);
    read = vectors_hex(json, "ciphertext", &term);
    if (read)
        vectors_count(v,
                      vectors_error_is(json, "error",
                                       ore_valid(term.ptr, term.len) ? COFFER_OK : COFFER_E_FORMAT),
                      "%s", label);
    buf_wipe(&term);
    return read ? COFFER_OK : vectors_bad(err, label, "ciphertext");
}

static int
section_ore_invalid(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return vectors_each(v, "ore_invalid", json, case_ore_invalid, err);
}

static int
ope_item(struct vectors *v, const char *label, const struct ope_key *key, unsigned width,
         const json_t *item, size_t i, uint8_t before[OPE_LEN_MAX], struct coffer_error *err)
{
    uint8_t value[OPE_WIDTH_MAX], term[OPE_LEN_MAX], back[OPE_WIDTH_MAX];
    bool held;
    int rc;

    if (!vectors_fixed(item, "value", value, width))
        return vectors_bad(err, label, "value");
    rc = ope_encrypt(key, bytes_of(value, width), term, err);
    if (rc != COFFER_OK)
        return rc;
    held = vectors_same_hex(json_object_get(item, "ciphertext"), term, OPE_LEN(width)) &&
           ope_decrypt(key, bytes_of(term, OPE_LEN(width)), back, NULL) == COFFER_OK &&
           memcmp(back, value, width) == 0 && (i == 0 || memcmp(before, term, OPE_LEN(width)) <= 0);
    vectors_count(v, held, "%s, item %zu", label, i + 1);
    memcpy(before, term, OPE_LEN(width));
    return COFFER_OK;
}

static int
ope_key_of(const json_t *json, const char *label, struct ope_key **key, struct coffer_error *err)
{
    struct secret *material = NULL;
    uint8_t index_id[16];
    unsigned version = 0;
    int rc = vectors_key(json, label, &material, index_id, &version, err);

    if (rc == COFFER_OK)
        rc = ope_key_new(material, index_id, version, key, err);
    secret_free(material);
    return rc;
}

static int
case_ope(struct vectors *v, const char *label, const json_t *json, struct coffer_error *err)
{
    const json_t *list = json_object_get(json, "items");
    uint8_t before[OPE_LEN_MAX];
    struct ope_key *key = NULL;
    unsigned width = 0;
    int rc;

    if (!vectors_unsigned(json, "width", 0, &width) || width < 1 || width > OPE_WIDTH_MAX)
        return vectors_bad(err, label, "width");
    if (!json_is_array(list))
        return vectors_bad(err, label, "items");
    rc = ope_key_of(json, label, &key, err);
    for (size_t i = 0; rc == COFFER_OK && i < json_array_size(list); i++)
        rc = ope_item(v, label, key, width, json_array_get(list, i), i, before, err);
    ope_key_free(key);
    return rc;
}

static int
section_ope(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return vectors_each(v, "ope", json, case_ope, err);
}

/* These are under the key of ope[1]: "digit changed" is wrong for that one. */
static int
case_ope_invalid(struct vectors *v, const char *label, const json_t *json, struct coffer_error *err)
{
    const json_t *of_key = json_array_get(json_object_get(v->root, "ope"), 1);
    uint8_t back[OPE_WIDTH_MAX];
    struct ope_key *key = NULL;
    struct buf term;
    int rc;

    buf_init(&term, VALUE_MAX);
    rc = ope_key_of(of_key, "ope case 2", &key, err);
    if (rc == COFFER_OK && !vectors_hex(json, "ciphertext", &term))
        rc = vectors_bad(err, label, "ciphertext");
    if (rc == COFFER_OK)
        vectors_count(
            v, vectors_error_is(json, "error", ope_decrypt(key, buf_view(&term), back, NULL)), "%s",
            label);
    buf_wipe(&term);
    ope_key_free(key);
    return rc;
}

static int
section_ope_invalid(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return vectors_each(v, "ope_invalid", json, case_ope_invalid, err);
}

/* The sample as one block of values. */
static uint8_t *
read_sample(const json_t *list, unsigned width)
{
    size_t count = json_array_size(list);
    uint8_t *sample = mem_array(count + 1, width);

    for (size_t i = 0; sample != NULL && i < count; i++) {
        const char *hex = json_string_value(json_array_get(list, i));
        size_t len = 0;

        if (hex == NULL || strlen(hex) != 2 * (size_t)width ||
            !hex_decode(bytes_str(hex), sample + i * width, width, &len)) {
            mem_free(sample);
            return NULL;
        }
    }
    return sample;
}

static bool
layout_holds(const struct bucket_layout *layout, const json_t *json)
{
    const json_t *bounds = json_object_get(json, "bounds");
    const json_t *splits = json_object_get(json, "splits");
    struct bucket_layout again = {0};
    struct buf record;
    bool held;

    buf_init(&record, VALUE_MAX);
    held = bucket_layout_write(layout, &record, NULL) == COFFER_OK &&
           vectors_same_hex(json_object_get(json, "record"), record.ptr, record.len) &&
           bucket_layout_parse(buf_view(&record), &again, NULL) == COFFER_OK &&
           again.buckets == layout->buckets && again.number == layout->number &&
           json_array_size(bounds) + 1 == layout->buckets &&
           json_array_size(splits) == layout->buckets;
    for (size_t i = 0; held && i < json_array_size(bounds); i++)
        held = vectors_same_hex(json_array_get(bounds, i), again.bounds + i * again.width,
                                again.width);
    for (size_t i = 0; held && i < json_array_size(splits); i++)
        held = json_integer_value(json_array_get(splits, i)) == again.splits[i];
    bucket_layout_wipe(&again);
    buf_wipe(&record);
    return held;
}

static bool
bucket_value_holds(const struct bucket_layout *layout, const json_t *item)
{
    uint8_t value[ORDER_WIDTH_MAX];
    unsigned bucket = 0;

    return vectors_fixed(item, "value", value, layout->width) &&
           vectors_unsigned(item, "bucket", 0, &bucket) && bucket_of(layout, value) == bucket;
}

static bool
bucket_term_holds(const struct bucket_key *key, const struct bucket_layout *layout,
                  const json_t *item)
{
    unsigned bucket = 0, sub = 0;
    int64_t term = 0;

    return vectors_unsigned(item, "bucket", 0, &bucket) && vectors_unsigned(item, "sub", 0, &sub) &&
           vectors_i64(item, "term", &term) && bucket_term(key, layout, bucket, sub) == term;
}

static bool
bucket_range_holds(const struct bucket_key *key, const struct bucket_layout *layout,
                   const json_t *item)
{
    uint8_t low[ORDER_WIDTH_MAX], high[ORDER_WIDTH_MAX];
    int64_t *terms = NULL;
    size_t count = 0;
    bool held = vectors_fixed(item, "low", low, layout->width) &&
                vectors_fixed(item, "high", high, layout->width) &&
                bucket_range(key, layout, low, high, 100000, &terms, &count, NULL) == COFFER_OK &&
                vectors_same_numbers(json_object_get(item, "terms"), terms, count);

    mem_free(terms);
    return held;
}

static void
bucket_items(struct vectors *v, const char *label, const struct bucket_key *key,
             const struct bucket_layout *layout, const json_t *json)
{
    const json_t *values = json_object_get(json, "values");
    const json_t *terms = json_object_get(json, "terms");
    const json_t *ranges = json_object_get(json, "ranges");

    vectors_count(v, layout_holds(layout, json), "%s, layout", label);
    for (size_t i = 0; i < json_array_size(values); i++)
        vectors_count(v, bucket_value_holds(layout, json_array_get(values, i)), "%s, value %zu",
                      label, i + 1);
    for (size_t i = 0; i < json_array_size(terms); i++)
        vectors_count(v, bucket_term_holds(key, layout, json_array_get(terms, i)), "%s, term %zu",
                      label, i + 1);
    for (size_t i = 0; i < json_array_size(ranges); i++)
        vectors_count(v, bucket_range_holds(key, layout, json_array_get(ranges, i)),
                      "%s, range %zu", label, i + 1);
}

static int
case_bucket(struct vectors *v, const char *label, const json_t *json, struct coffer_error *err)
{
    const json_t *list = json_object_get(json, "sample");
    struct bucket_layout layout = {0};
    struct bucket_key *key = NULL;
    struct secret *material = NULL;
    uint8_t index_id[16], *sample = NULL;
    unsigned version = 0, width = 0, wanted = 0, number = 0;
    int rc = vectors_key(json, label, &material, index_id, &version, err);

    if (rc == COFFER_OK &&
        (!vectors_unsigned(json, "width", 0, &width) || width < 1 || width > ORDER_WIDTH_MAX))
        rc = vectors_bad(err, label, "width");
    if (rc == COFFER_OK && (!vectors_unsigned(json, "wanted", 0, &wanted) || wanted < 1 ||
                            wanted > BUCKETS_MAX || !vectors_unsigned(json, "layout", 0, &number)))
        rc = vectors_bad(err, label, "wanted");
    if (rc == COFFER_OK && (sample = read_sample(list, width)) == NULL)
        rc = vectors_bad(err, label, "sample");
    if (rc == COFFER_OK)
        rc = bucket_key_new(material, index_id, version, &key, err);
    if (rc == COFFER_OK)
        rc =
            bucket_layout_build(sample, json_array_size(list), width, wanted, number, &layout, err);
    if (rc == COFFER_OK)
        bucket_items(v, label, key, &layout, json);
    bucket_layout_wipe(&layout);
    bucket_key_free(key);
    mem_free(sample);
    secret_free(material);
    return rc;
}

static int
section_bucket(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return vectors_each(v, "bucket", json, case_bucket, err);
}

const struct vectors_section vectors_order[] = {{"ore", section_ore},
                                                {"ore_mixed", section_ore_mixed},
                                                {"ore_invalid", section_ore_invalid},
                                                {"ope", section_ope},
                                                {"ope_invalid", section_ope_invalid},
                                                {"bucket", section_bucket},
                                                {NULL, NULL}};
