/* SPDX-License-Identifier: Apache-2.0 */
/* Known answers of tests/kat/search-vectors.json for derivation, encodings, normalisation, equality
 * terms, text tokens and Pi_bas. */
#include "cli/vectors_terms.h"
#include "search/encode.h"
#include "search/normalise.h"
#include "search/pibas.h"
#include "search/subkey.h"
#include "search/tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_MAX (4u << 20)

static int
case_kdf(struct vectors *v, const char *label, const json_t *json, struct coffer_error *err)
{
    struct secret *key = NULL, *subkey = NULL;
    uint8_t index_id[16];
    unsigned version = 0, len = 0;
    struct bytes name;
    int rc;

    if (!vectors_text(json, "label", &name) || name.len < 10 ||
        memcmp(name.ptr, "coffer/v1/", 10) != 0 || name.len > 40)
        return vectors_bad(err, label, "label");
    if (!vectors_unsigned(json, "length", 0, &len) || len < 1 || len > 64)
        return vectors_bad(err, label, "length");
    rc = vectors_key(json, label, &key, index_id, &version, err);
    if (rc == COFFER_OK)
        rc = subkey_derive(key, (const char *)name.ptr + 10, index_id, version, len, &subkey, err);
    if (rc == COFFER_OK)
        vectors_count(
            v, vectors_same_hex(json_object_get(json, "okm"), secret_expose(subkey).ptr, len), "%s",
            label);
    secret_free(subkey);
    secret_free(key);
    return rc;
}

static int
section_kdf(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return vectors_each(v, "kdf", json, case_kdf, err);
}

/* What `rc` and the bytes are, against member `name`, or `name`_error. */
static bool
as_expected(const json_t *json, const char *name, int rc, const uint8_t *data, size_t len)
{
    char error[40];

    if (rc == COFFER_OK)
        return vectors_same_hex(json_object_get(json, name), data, len);
    (void)snprintf(error, sizeof error, "%s_error", name);
    return vectors_error_is(json, error, rc);
}

static int
case_encode(struct vectors *v, const char *label, const json_t *json, struct coffer_error *err)
{
    struct order_domain domain = {0};
    struct coffer_value value;
    uint8_t order[ORDER_WIDTH_MAX];
    unsigned normaliser = 0;
    struct buf storage, equality;
    bool held, read;
    int rc;

    buf_init(&storage, VALUE_MAX);
    buf_init(&equality, VALUE_MAX);
    read = vectors_value(json, &storage, &value) &&
           vectors_unsigned(json, "width", 0, &domain.width) &&
           vectors_unsigned(json, "precision", 0, &domain.precision) &&
           vectors_unsigned(json, "scale", 0, &domain.scale) &&
           vectors_unsigned(json, "normaliser", 0, &normaliser);
    if (read) {
        domain.type = value.type;
        domain.normaliser = (int)normaliser;
        rc = order_domain_check(&domain, NULL);
        if (rc == COFFER_OK)
            rc = order_encode(&domain, &value, order, NULL);
        held = as_expected(json, "order", rc, order, domain.width);
        rc = equality_encode(&value, domain.normaliser, &equality, NULL);
        held &= as_expected(json, "equality", rc, equality.ptr, equality.len);
        vectors_count(v, held, "%s", label);
    }
    buf_wipe(&storage);
    buf_wipe(&equality);
    return read ? COFFER_OK : vectors_bad(err, label, "value");
}

static int
section_encode(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return vectors_each(v, "encode", json, case_encode, err);
}

static int
case_normalise(struct vectors *v, const char *label, const json_t *json, struct coffer_error *err)
{
    unsigned normaliser = 0;
    struct buf text, result;
    int rc = COFFER_OK;

    buf_init(&text, VALUE_MAX);
    buf_init(&result, VALUE_MAX);
    if (!vectors_unsigned(json, "normaliser", 0, &normaliser) || normaliser >= NORMALISERS)
        rc = vectors_bad(err, label, "normaliser");
    else if (!vectors_hex(json, "text_utf8", &text))
        rc = vectors_bad(err, label, "text_utf8");
    else
        rc = normalise((int)normaliser, buf_view(&text), &result, err);
    if (rc == COFFER_OK)
        vectors_count(
            v, vectors_same_hex(json_object_get(json, "result_utf8"), result.ptr, result.len),
            "%s, normaliser %u", label, normaliser);
    buf_wipe(&text);
    buf_wipe(&result);
    return rc;
}

static int
section_normalise(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return vectors_each(v, "normalise", json, case_normalise, err);
}

/* Terms of each length that the case names. */
static bool
terms_hold(const struct equality_key *key, const struct vectors_parts *p, const json_t *json)
{
    json_t *expected;
    const char *bits;
    bool held = true;

    json_object_foreach(json_object_get(json, "term16"), bits, expected)
    {
        uint8_t term[16];

        held &= equality_term16(key, p->parts, p->count, (unsigned)strtoul(bits, NULL, 10), term,
                                NULL) == COFFER_OK &&
                vectors_same_hex(expected, term, sizeof term);
    }
    json_object_foreach(json_object_get(json, "term8"), bits, expected)
    {
        int64_t term = 0, wanted = 0;

        held &= equality_term8(key, p->parts, p->count, (unsigned)strtoul(bits, NULL, 10), &term,
                               NULL) == COFFER_OK &&
                vectors_number(expected, &wanted) && term == wanted;
    }
    return held;
}

static int
case_equality(struct vectors *v, const char *label, const json_t *json, struct coffer_error *err)
{
    struct equality_key *key = NULL;
    struct secret *material = NULL;
    struct vectors_parts p = {0};
    uint8_t index_id[16], mac[32];
    unsigned version = 0;
    struct buf message;
    bool held;
    int rc;

    buf_init(&message, VALUE_MAX);
    rc = vectors_key(json, label, &material, index_id, &version, err);
    if (rc == COFFER_OK && !vectors_parts(json, &p))
        rc = vectors_bad(err, label, "parts");
    if (rc == COFFER_OK)
        rc = equality_key_new(material, index_id, version, &key, err);
    if (rc == COFFER_OK)
        rc = equality_message(p.parts, p.count, &message, err);
    if (rc == COFFER_OK) {
        equality_mac(key, buf_view(&message), mac);
        held = vectors_same_hex(json_object_get(json, "message"), message.ptr, message.len) &&
               vectors_same_hex(json_object_get(json, "mac"), mac, sizeof mac) &&
               json_object_size(json_object_get(json, "term16")) > 0 &&
               json_object_size(json_object_get(json, "term8")) > 0 && terms_hold(key, &p, json);
        vectors_count(v, held, "%s", label);
    }
    equality_key_free(key);
    vectors_parts_wipe(&p);
    secret_free(material);
    buf_wipe(&message);
    return rc;
}

static int
section_equality(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return vectors_each(v, "equality", json, case_equality, err);
}

static bool
read_options(const json_t *json, struct token_options *o)
{
    const char *mode = json_string_value(json_object_get(json, "mode"));
    unsigned normaliser = 0;

    *o = (struct token_options){.words = mode != NULL && strcmp(mode, "word") == 0,
                                .short_grams = json_is_true(json_object_get(json, "short"))};
    if (!vectors_unsigned(json, "normaliser", 0, &normaliser) ||
        !vectors_unsigned(json, "edge", 0, &o->edge) ||
        !vectors_unsigned(json, "bits", 48, &o->bits) || !vectors_unsigned(json, "pad", 0, &o->pad))
        return false;
    o->normaliser = (int)normaliser;
    return token_options_check(o, NULL) == COFFER_OK;
}

static int
case_text(struct vectors *v, const char *label, const json_t *json, struct coffer_error *err)
{
    struct secret *material = NULL;
    struct text_key *key = NULL;
    struct token_options options;
    struct tokens tokens = {0};
    struct bytes text;
    uint8_t index_id[16];
    unsigned version = 0;
    int rc = vectors_key(json, label, &material, index_id, &version, err);

    if (rc == COFFER_OK && !vectors_text(json, "text", &text))
        rc = vectors_bad(err, label, "text");
    if (rc == COFFER_OK && !read_options(json, &options))
        rc = vectors_bad(err, label, "mode");
    if (rc == COFFER_OK)
        rc = text_key_new(material, index_id, version, &key, err);
    if (rc == COFFER_OK)
        rc = tokens_of_text(key, &options, text, &tokens, err);
    if (rc == COFFER_OK)
        vectors_count(
            v, vectors_same_numbers(json_object_get(json, "tokens"), tokens.at, tokens.count), "%s",
            label);
    tokens_wipe(&tokens);
    text_key_free(key);
    secret_free(material);
    return rc;
}

static int
section_text(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return vectors_each(v, "text", json, case_text, err);
}

/* Which rows hold the tokens, and which of them match: row numbers, against two lists. */
static int
like_rows(const struct text_key *key, const struct token_options *o, const struct like *like,
          const struct tokens *wanted, const json_t *rows, const json_t *json, bool *held,
          struct coffer_error *err)
{
    json_t *candidates = json_array(), *matches = json_array(), *row;
    struct tokens tokens = {0};
    int rc = COFFER_OK;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        struct bytes text = bytes_of(json_string_value(row), json_string_length(row));
        bool match = false;

        if (rc == COFFER_OK)
            rc = tokens_of_text(key, o, text, &tokens, err);
        if (rc == COFFER_OK)
            rc = like_match(like, text, &match, err);
        if (rc == COFFER_OK && tokens_hold(&tokens, wanted)) {
            json_array_append_new(candidates, json_integer((json_int_t)i));
        } else if (rc == COFFER_OK && match) { /* a candidate that was missed */
            *held = false;
        }
        if (rc == COFFER_OK && match)
            json_array_append_new(matches, json_integer((json_int_t)i));
    }
    *held = *held && json_equal(candidates, json_object_get(json, "candidates")) &&
            json_equal(matches, json_object_get(json, "matches"));
    tokens_wipe(&tokens);
    json_decref(candidates);
    json_decref(matches);
    return rc;
}

static int
like_query(struct vectors *v, const struct text_key *key, const json_t *rows, const json_t *json,
           size_t number, struct coffer_error *err)
{
    const char *op = json_string_value(json_object_get(json, "operator"));
    const char *escape = json_string_value(json_object_get(json, "escape"));
    struct token_options options;
    struct tokens wanted = {0};
    struct like like = {0};
    struct bytes pattern;
    char label[60];
    bool held;
    int rc;

    (void)snprintf(label, sizeof label, "like query %zu", number + 1);
    if (op == NULL || (strcmp(op, "like") != 0 && strcmp(op, "ilike") != 0))
        return vectors_bad(err, label, "operator");
    if (!vectors_text(json, "pattern", &pattern) || (escape != NULL && strlen(escape) > 1))
        return vectors_bad(err, label, "pattern");
    if (!read_options(json, &options))
        return vectors_bad(err, label, "normaliser");
    rc = like_parse(
        pattern, escape != NULL && *escape != '\0' ? (int32_t)(uint8_t)*escape : LIKE_ESCAPE_NONE,
        strcmp(op, "ilike") == 0 ? LIKE_CASELESS : LIKE_EXACT, &like, err);
    if (rc == COFFER_OK)
        rc = tokens_of_like(key, &options, &like, &wanted, err);
    if (json_object_get(json, "error") != NULL || rc != COFFER_OK) {
        held = vectors_error_is(json, "error", rc);
        rc = rc == COFFER_E_NOMEM ? rc : COFFER_OK;
    } else {
        held = vectors_same_numbers(json_object_get(json, "tokens"), wanted.at, wanted.count);
        rc = like_rows(key, &options, &like, &wanted, rows, json, &held, err);
    }
    if (rc == COFFER_OK)
        vectors_count(v, held, "%s", label);
    tokens_wipe(&wanted);
    like_wipe(&like);
    return rc;
}

static int
section_like(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    const json_t *queries = json_object_get(json, "queries");
    struct secret *material = NULL;
    struct text_key *key = NULL;
    uint8_t index_id[16];
    unsigned version = 0;
    int rc;

    if (!json_is_array(queries))
        return vectors_bad(err, "like", "queries");
    rc = vectors_key(json, "like", &material, index_id, &version, err);
    if (rc == COFFER_OK)
        rc = text_key_new(material, index_id, version, &key, err);
    for (size_t i = 0; rc == COFFER_OK && i < json_array_size(queries); i++)
        rc = like_query(v, key, json_object_get(json, "rows"), json_array_get(queries, i), i, err);
    text_key_free(key);
    secret_free(material);
    return rc;
}

static bool
tags_hold(const struct pibas_value *value, const json_t *json)
{
    const json_t *tags = json_object_get(json, "tags");
    bool held = json_array_size(tags) > 0;

    for (size_t i = 0; i < json_array_size(tags); i++) {
        const json_t *tag = json_array_get(tags, i);
        uint8_t made[16];
        int64_t count = 0;

        held &= vectors_i64(tag, "count", &count);
        pibas_tag(value, (uint64_t)count, made);
        held &= vectors_same_hex(json_object_get(tag, "tag"), made, sizeof made);
    }
    return held;
}

static int
case_pibas(struct vectors *v, const char *label, const json_t *json, struct coffer_error *err)
{
    struct secret *material = NULL;
    struct pibas_key *key = NULL;
    struct pibas_value *value = NULL;
    struct vectors_parts p = {0};
    uint8_t index_id[16], address[16];
    unsigned version = 0;
    struct buf message;
    bool held;
    int rc;

    buf_init(&message, VALUE_MAX);
    rc = vectors_key(json, label, &material, index_id, &version, err);
    if (rc == COFFER_OK && !vectors_parts(json, &p))
        rc = vectors_bad(err, label, "parts");
    if (rc == COFFER_OK)
        rc = pibas_key_new(material, index_id, version, &key, err);
    if (rc == COFFER_OK)
        rc = equality_message(p.parts, p.count, &message, err);
    if (rc == COFFER_OK)
        rc = pibas_value_new(key, buf_view(&message), &value, err);
    if (rc == COFFER_OK) {
        pibas_address(key, buf_view(&message), address);
        held = vectors_same_hex(json_object_get(json, "message"), message.ptr, message.len) &&
               vectors_same_hex(json_object_get(json, "counter_address"), address, 16) &&
               tags_hold(value, json);
        vectors_count(v, held, "%s", label);
    }
    pibas_value_free(value);
    pibas_key_free(key);
    vectors_parts_wipe(&p);
    secret_free(material);
    buf_wipe(&message);
    return rc;
}

static int
section_pibas(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return vectors_each(v, "pibas", json, case_pibas, err);
}

const struct vectors_section vectors_search[] = {{"kdf", section_kdf},
                                                 {"encode", section_encode},
                                                 {"normalise", section_normalise},
                                                 {"equality", section_equality},
                                                 {"text", section_text},
                                                 {"like", section_like},
                                                 {"pibas", section_pibas},
                                                 {NULL, NULL}};
