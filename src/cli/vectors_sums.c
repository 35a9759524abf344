/* SPDX-License-Identifier: Apache-2.0 */
/* Known answers for sum columns, their tags and the aggregate's answer, in the format of
 * tests/kat/search-vectors.json. */
#include "cli/vectors_sums.h"
#include "cli/vectors_section.h"
#include "sums/sum.h"

#include <stdio.h>
#include <string.h>

bool
vectors_i128(const json_t *json, const char *member, int128 *out)
{
    const json_t *number = json_object_get(json, member);
    char text[32];

    if (json_is_string(number))
        return int128_parse(bytes_str(json_string_value(number)), out);
    if (!json_is_integer(number))
        return false;
    (void)snprintf(text, sizeof text, "%lld", (long long)json_integer_value(number));
    return int128_parse(bytes_str(text), out);
}

struct column { /* one element of the section "sum" */
    const char *label;
    struct sum_def def;
    struct secret *secret;
    struct sum_key *key;
    const json_t *rows;
};

static const struct sum_key *
find_key(const void *ctx, unsigned version)
{
    const struct sum_key *key = ctx;

    return version == sum_key_version(key) ? key : NULL;
}

static int
read_id(const struct column *c, const json_t *row, struct sum_id *out, struct coffer_error *err)
{
    uint8_t group[SUM_GROUP_LEN];
    int64_t counter = 0;

    put_be16(group, (uint16_t)sum_key_version(c->key));
    if (!vectors_fixed(row, "session", group + 2, SUM_GROUP_LEN - 2))
        return vectors_bad(err, c->label, "session");
    if (!vectors_i64(row, "counter", &counter) || counter < 0 || counter > UINT32_MAX)
        return vectors_bad(err, c->label, "counter");
    *out = sum_id_of(group, (uint32_t)counter);
    return COFFER_OK;
}

static int
read_cell(const struct column *c, const json_t *row, struct sum_cell *out, struct coffer_error *err)
{
    memset(out, 0, sizeof *out);
    if (!vectors_i64(row, "l", &out->l))
        return vectors_bad(err, c->label, "l");
    if ((c->def.flags & SUM_WIDE) != 0 && !vectors_i64(row, "h", &out->h))
        return vectors_bad(err, c->label, "h");
    if (!vectors_i64(row, "tag_h", &out->tag_h) || !vectors_i64(row, "tag_l", &out->tag_l))
        return vectors_bad(err, c->label, "tag_h");
    return COFFER_OK;
}

static int
case_row(struct vectors *v, const struct column *c, const json_t *row, size_t number,
         struct coffer_error *err)
{
    struct sum_cell expected, made;
    struct sum_id id;
    uint8_t bytes[SUM_ID_LEN], given[SUM_ID_LEN];
    int64_t hi = 0, lo = 0;
    int128 value = 0;
    int rc = read_id(c, row, &id, err);

    if (rc == COFFER_OK)
        rc = read_cell(c, row, &expected, err);
    if (rc != COFFER_OK)
        return rc;
    if (!vectors_i128(row, "value", &value))
        return vectors_bad(err, c->label, "value");
    if (!vectors_fixed(row, "id", given, sizeof given) || !vectors_i64(row, "id_hi", &hi) ||
        !vectors_i64(row, "id_lo", &lo))
        return vectors_bad(err, c->label, "id");
    sum_id_bytes(&id, bytes);
    rc = sum_encrypt(&c->def, c->key, id, value, &made, err);
    if (rc == COFFER_OK)
        vectors_count(v,
                      memcmp(&made, &expected, sizeof made) == 0 &&
                          memcmp(bytes, given, sizeof given) == 0 && id.hi == hi && id.lo == lo,
                      "%s, row %zu", c->label, number);
    return rc;
}

/* The aggregate's bytes over the rows of a query; `answer` NULL where the case gives none. */
static int
build_answer(const struct column *c, const json_t *query, bool tagged, const char *member,
             struct buf *answer, bool *equal, struct coffer_error *err)
{
    unsigned flags = (c->def.flags & SUM_WIDE) | (tagged ? SUM_TAGGED : 0u);
    const json_t *list = json_object_get(query, "rows");
    struct sum_builder *builder;
    struct buf expected;
    int rc = sum_builder_new(flags, SUM_ROWS_MAX, &builder, err);

    buf_init(&expected, 1u << 20);
    for (size_t i = json_array_size(list); rc == COFFER_OK && i > 0;
         i--) { /* the wrong way round */
        const json_t *row =
            json_array_get(c->rows, (size_t)json_integer_value(json_array_get(list, i - 1)));
        struct sum_cell cell;
        struct sum_id id;

        rc = read_id(c, row, &id, err);
        if (rc == COFFER_OK)
            rc = read_cell(c, row, &cell, err);
        if (rc == COFFER_OK)
            rc = sum_builder_add(builder, id, &cell, err);
    }
    if (rc == COFFER_OK)
        rc = sum_builder_encode(builder, answer, err);
    if (rc == COFFER_OK && !vectors_hex(query, member, &expected))
        rc = vectors_bad(err, c->label, member);
    *equal = rc == COFFER_OK && bytes_equal(buf_view(answer), buf_view(&expected));
    sum_builder_free(builder);
    buf_wipe(&expected);
    return rc;
}

static int
open_answer(const struct column *c, const struct buf *answer, bool tagged, int128 *value,
            struct coffer_error *err)
{
    struct sum_def def = c->def;
    struct sum_keys keys = {find_key, c->key};
    struct sum_total total;
    struct sum_set *set;
    int rc;

    if (!tagged)
        def.flags &= ~(unsigned)SUM_TAGGED;
    rc = sum_set_new(def.flags, &set, err);
    if (rc == COFFER_OK)
        rc = sum_set_answer(set, buf_view(answer), err);
    if (rc == COFFER_OK)
        rc = sum_open(&def, &keys, set, &total, err);
    sum_set_free(set);
    *value = rc == COFFER_OK ? total.value : 0;
    return rc;
}

static int
case_answer(const struct column *c, const json_t *query, bool tagged, int128 expected, bool *held,
            struct coffer_error *err)
{
    struct buf answer;
    int128 value = 0;
    int rc;

    buf_init(&answer, 1u << 20);
    rc = build_answer(c, query, tagged, tagged ? "answer_tagged" : "answer", &answer, held, err);
    if (rc == COFFER_OK)
        *held =
            open_answer(c, &answer, tagged, &value, err) == COFFER_OK && value == expected && *held;
    buf_wipe(&answer);
    return rc;
}

static bool
read_sums(const json_t *json, bool wide, struct sum_sums *out)
{
    *out = (struct sum_sums){0};
    return vectors_i128(json, "sum_l", &out->l) && vectors_i128(json, "tag", &out->tag_l) &&
           (!wide || vectors_i128(json, "sum_h", &out->h));
}

/* Rows with public weights, given one by one. */
static int
case_weights(const struct column *c, const json_t *query, int128 expected, bool *held,
             struct coffer_error *err)
{
    const json_t *list = json_object_get(query, "rows"),
                 *weights = json_object_get(query, "weights");
    struct sum_keys keys = {find_key, c->key};
    struct sum_sums sums;
    struct sum_total total = {0};
    struct sum_set *set = NULL;
    struct sum_id ids[64];
    int64_t w[64];
    size_t n = json_array_size(list);
    int rc = COFFER_OK;

    if (n > 64 || json_array_size(weights) != n)
        return vectors_bad(err, c->label, "weights");
    if (!read_sums(query, (c->def.flags & SUM_WIDE) != 0, &sums))
        return vectors_bad(err, c->label, "sum_l");
    for (size_t i = 0; rc == COFFER_OK && i < n; i++) {
        rc =
            read_id(c, json_array_get(c->rows, (size_t)json_integer_value(json_array_get(list, i))),
                    &ids[i], err);
        if (rc == COFFER_OK && !vectors_number(json_array_get(weights, i), &w[i]))
            rc = vectors_bad(err, c->label, "weights");
    }
    if (rc == COFFER_OK)
        rc = sum_set_new(c->def.flags, &set, err);
    if (rc == COFFER_OK)
        rc = sum_set_ids(set, ids, w, false, n, &sums, err);
    if (rc == COFFER_OK)
        rc = sum_open(&c->def, &keys, set, &total, err);
    *held = rc == COFFER_OK && total.value == expected && total.verified;
    sum_set_free(set);
    return rc == COFFER_E_AUTH ? COFFER_OK : rc;
}

static int
case_query(struct vectors *v, const struct column *c, const json_t *query, size_t number,
           struct coffer_error *err)
{
    int128 expected = 0;
    bool held = false, tagged = false;
    int rc;

    if (!vectors_i128(query, "result", &expected))
        return vectors_bad(err, c->label, "result");
    if (json_object_get(query, "weights") != NULL) {
        rc = case_weights(c, query, expected, &held, err);
        tagged = held;
    } else {
        rc = case_answer(c, query, false, expected, &held, err);
        if (rc == COFFER_OK)
            rc = case_answer(c, query, true, expected, &tagged, err);
    }
    if (rc == COFFER_OK)
        vectors_count(v, held && tagged, "%s, query %zu", c->label, number);
    return rc;
}

/* Runs of sessions, as the case has them; the sums go with the first. */
static int
add_runs(const struct column *c, const json_t *runs, const struct sum_sums *sums,
         struct sum_set *set, struct coffer_error *err)
{
    uint8_t group[SUM_GROUP_LEN];
    struct sum_run list[64];
    size_t n = json_array_size(runs), len = 0;

    put_be16(group, (uint16_t)sum_key_version(c->key));
    if (n == 0 || n > 64)
        return vectors_bad(err, c->label, "runs");
    for (size_t i = 0; i < n; i++) {
        const json_t *run = json_array_get(runs, i);
        const char *session = json_string_value(json_array_get(run, 0));

        if (session == NULL || !hex_decode(bytes_str(session), group + 2, 10, &len) || len != 10 ||
            strcmp(session, json_string_value(json_array_get(json_array_get(runs, 0), 0))) != 0)
            return vectors_bad(err, c->label, "runs");
        list[i].first = (uint32_t)json_integer_value(json_array_get(run, 1));
        list[i].last = (uint32_t)json_integer_value(json_array_get(run, 2));
    }
    return sum_set_runs(set, group, list, n, sums, err);
}

static int
case_tampered(struct vectors *v, const struct column *c, const json_t *json, size_t number,
              struct coffer_error *err)
{
    struct sum_keys keys = {find_key, c->key};
    struct sum_def def = c->def;
    struct sum_total total;
    struct sum_set *set = NULL;
    struct sum_sums sums;
    int rc;

    if (!vectors_i128(json, "max_abs", &def.max_abs))
        return vectors_bad(err, c->label, "max_abs");
    if (!read_sums(json, (def.flags & SUM_WIDE) != 0, &sums))
        return vectors_bad(err, c->label, "sum_l");
    rc = sum_set_new(def.flags, &set, err);
    if (rc != COFFER_OK)
        return rc;
    rc = add_runs(c, json_object_get(json, "runs"), &sums, set, err);
    if (rc == COFFER_OK)
        rc = sum_open(&def, &keys, set, &total, err);
    vectors_count(v, vectors_error_is(json, "error", rc), "%s, tampered %zu", c->label, number);
    sum_set_free(set);
    return COFFER_OK;
}

static int
read_column(struct column *c, const json_t *json, struct coffer_error *err)
{
    unsigned version = 0, bits = 0;
    int128 max_abs = 0;
    uint8_t index_id[16];
    int rc = vectors_key(json, c->label, &c->secret, index_id, &version, err);

    if (rc != COFFER_OK)
        return rc;
    if (!vectors_unsigned(json, "bits", 0, &bits) || (bits != 64 && bits != 128))
        return vectors_bad(err, c->label, "bits");
    if (!vectors_i128(json, "max_abs", &max_abs))
        return vectors_bad(err, c->label, "max_abs");
    c->rows = json_object_get(json, "rows");
    if (!json_is_array(c->rows))
        return vectors_bad(err, c->label, "rows");
    rc = sum_def_init(&c->def, index_id, COFFER_NUMERIC, max_abs, 0,
                      SUM_TAGGED | (bits == 128 ? SUM_WIDE : 0u), err);
    if (rc == COFFER_OK)
        rc = sum_key_new(c->secret, index_id, version, &c->key, err);
    return rc;
}

static int
case_column(struct vectors *v, const char *label, const json_t *json, struct coffer_error *err)
{
    static int (*const RUN[])(struct vectors *, const struct column *, const json_t *, size_t,
                              struct coffer_error *) = {case_row, case_query, case_tampered};
    static const char *const MEMBERS[] = {"rows", "queries", "tampered"};
    struct column c = {.label = label};
    int rc = read_column(&c, json, err);

    for (size_t m = 0; m < 3 && rc == COFFER_OK; m++) {
        const json_t *list = json_object_get(json, MEMBERS[m]);

        for (size_t i = 0; rc == COFFER_OK && i < json_array_size(list); i++)
            rc = RUN[m](v, &c, json_array_get(list, i), i, err);
    }
    sum_key_free(c.key);
    secret_free(c.secret);
    return rc;
}

static int
section_sum(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return vectors_each(v, "sum", json, case_column, err);
}

static int
case_answer_invalid(struct vectors *v, const char *label, const json_t *json,
                    struct coffer_error *err)
{
    static const struct sum_visitor NOBODY;
    struct buf answer;
    unsigned flags;
    int rc;

    buf_init(&answer, 1u << 20);
    if (!vectors_hex(json, "answer", &answer)) {
        buf_wipe(&answer);
        return vectors_bad(err, label, "answer");
    }
    rc = sum_answer_flags(buf_view(&answer), &flags, NULL);
    if (rc == COFFER_OK)
        rc = sum_answer_read(buf_view(&answer), flags, &NOBODY, NULL);
    buf_wipe(&answer);
    vectors_count(v, vectors_error_is(json, "error", rc), "%s", label);
    return COFFER_OK;
}

static int
section_answer_invalid(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return vectors_each(v, "sum_answer_invalid", json, case_answer_invalid, err);
}

const struct vectors_section vectors_sums[] = {
    {"sum", section_sum}, {"sum_answer_invalid", section_answer_invalid}, {NULL, NULL}};
