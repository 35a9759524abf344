/* SPDX-License-Identifier: Apache-2.0 */
/* Known answers of SPLASHE and Paillier, in the format of tests/kat/search-vectors.json. */
#include "cli/vectors_section.h"
#include "cli/vectors_sums.h"
#include "sums/paillier.h"
#include "sums/splashe.h"

#include <string.h>

/* ---- SPLASHE ---- */

struct splashe_case {
    struct splashe_plan plan;
    struct secret *secret;
    struct splashe_keys *keys;
    uint8_t group[SUM_GROUP_LEN];
    unsigned version;
};

static const struct sum_key *
same_key(const void *ctx, unsigned version)
{
    const struct sum_key *key = ctx;

    return version == sum_key_version(key) ? key : NULL;
}

static int
read_plan(struct splashe_case *c, const json_t *json, struct coffer_error *err)
{
    const json_t *ids = json_object_get(json, "index_ids");
    uint8_t material[32];
    int rc;

    c->plan.values = json_array_size(json_object_get(json, "values"));
    if (c->plan.values == 0 || c->plan.values > SPLASHE_VALUES_MAX ||
        json_array_size(ids) != c->plan.values)
        return vectors_bad(err, "splashe", "values");
    for (size_t i = 0; i < c->plan.values; i++) {
        json_t *one = json_object();
        bool ok = json_object_set(one, "id", json_array_get(ids, i)) == 0 &&
                  vectors_uuid(one, "id", c->plan.count_ids[i]);

        json_decref(one);
        if (!ok)
            return vectors_bad(err, "splashe", "index_ids");
    }
    if (!vectors_fixed(json, "key", material, sizeof material))
        return vectors_bad(err, "splashe", "key");
    if (!vectors_unsigned(json, "version", 0, &c->version))
        return vectors_bad(err, "splashe", "version");
    if (!vectors_fixed(json, "session", c->group + 2, SUM_GROUP_LEN - 2))
        return vectors_bad(err, "splashe", "session");
    put_be16(c->group, (uint16_t)c->version);
    rc = secret_copy(bytes_of(material, sizeof material), &c->secret, err);
    if (rc == COFFER_OK)
        rc = splashe_keys_new(&c->plan, c->secret, c->version, &c->keys, err);
    return rc;
}

static int
splashe_row(struct vectors *v, const struct splashe_case *c, const json_t *json, const json_t *row,
            size_t number, uint32_t *counter, struct coffer_error *err)
{
    const json_t *values = json_object_get(json, "values"), *list = json_object_get(row, "c");
    struct sum_cell cells[SPLASHE_VALUES_MAX];
    size_t value = 0;
    bool held = json_array_size(list) == c->plan.values;
    int rc;

    while (value < c->plan.values &&
           !json_equal(json_array_get(values, value), json_object_get(row, "value")))
        value++;
    if (!vectors_unsigned(row, "counter", 0, counter))
        return vectors_bad(err, "splashe", "counter");
    rc = splashe_encrypt(&c->plan, c->keys, sum_id_of(c->group, *counter), value, NULL, cells, err);
    for (size_t i = 0; rc == COFFER_OK && i < c->plan.values; i++) {
        int64_t expected = 0;

        held = vectors_number(json_array_get(list, i), &expected) && expected == cells[i].l && held;
    }
    if (rc == COFFER_OK)
        vectors_count(v, held, "splashe row %zu", number);
    return rc;
}

static int
splashe_total(struct vectors *v, const struct splashe_case *c, const json_t *json, size_t column,
              const struct sum_run *run, struct sum_total *total, struct coffer_error *err)
{
    const struct sum_key *key = splashe_key(c->keys, column);
    struct sum_keys keys = {same_key, key};
    struct sum_sums sums = {0};
    struct sum_set *set = NULL;
    struct sum_def def;
    json_t *one = json_object();
    int64_t expected = 0;
    bool ok =
        json_object_set(one, "sum", json_array_get(json_object_get(json, "sums"), column)) == 0 &&
        vectors_i128(one, "sum", &sums.l) &&
        vectors_number(json_array_get(json_object_get(json, "totals"), column), &expected);
    int rc;

    json_decref(one);
    if (!ok)
        return vectors_bad(err, "splashe", "sums");
    splashe_column(&c->plan, column, &def);
    rc = sum_set_new(def.flags, &set, err);
    if (rc == COFFER_OK)
        rc = sum_set_runs(set, c->group, run, 1, &sums, err);
    if (rc == COFFER_OK)
        rc = sum_open(&def, &keys, set, total, err);
    sum_set_free(set);
    if (rc == COFFER_OK)
        vectors_count(v, total->value == expected, "splashe total %zu", column);
    return rc;
}

static int
section_splashe(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    const json_t *rows = json_object_get(json, "rows");
    struct splashe_case c = {0};
    struct sum_total totals[SPLASHE_VALUES_MAX];
    struct sum_run run = {UINT32_MAX, 0};
    int rc = read_plan(&c, json, err);

    for (size_t i = 0; rc == COFFER_OK && i < json_array_size(rows); i++) {
        uint32_t counter = 0;

        rc = splashe_row(v, &c, json, json_array_get(rows, i), i, &counter, err);
        run.first = counter < run.first ? counter : run.first;
        run.last = counter > run.last ? counter : run.last;
    }
    for (size_t i = 0; rc == COFFER_OK && i < c.plan.values; i++)
        rc = splashe_total(v, &c, json, i, &run, &totals[i], err);
    if (rc == COFFER_OK)
        vectors_count(v, splashe_counts(&c.plan, totals, json_array_size(rows), NULL) == COFFER_OK,
                      "splashe, counts together");
    splashe_keys_free(c.keys);
    secret_free(c.secret);
    return rc;
}

/* ---- Paillier ---- */

struct paillier_case {
    const json_t *json;
    struct secret *primes;
    struct paillier_private *private;
    const struct paillier_public *public;
};

static int
bad_member(struct coffer_error *err, const char *member)
{
    return vectors_bad(err, "paillier", member);
}

static int
read_primes(struct paillier_case *c, struct coffer_error *err)
{
    uint8_t n[PAILLIER_N_LEN], expected[PAILLIER_N_LEN];
    int rc = secret_new(PAILLIER_PRIVATE_LEN, &c->primes, err);

    if (rc != COFFER_OK)
        return rc;
    if (!vectors_fixed(c->json, "p", secret_expose_mut(c->primes), PAILLIER_PRIME_LEN) ||
        !vectors_fixed(c->json, "q", secret_expose_mut(c->primes) + PAILLIER_PRIME_LEN,
                       PAILLIER_PRIME_LEN))
        return bad_member(err, "p");
    rc = paillier_private_new(c->primes, &c->private, err);
    if (rc != COFFER_OK)
        return rc;
    c->public = paillier_public_of(c->private);
    paillier_n(c->public, n);
    if (!vectors_fixed(c->json, "n", expected, sizeof expected) ||
        memcmp(n, expected, sizeof n) != 0)
        return bad_member(err, "n");
    return COFFER_OK;
}

/* A decimal number of any length, mod n. */
static bool
read_plain(const struct paillier_case *c, const json_t *item, uint8_t plain[PAILLIER_N_LEN])
{
    const char *text = json_string_value(json_object_get(item, "m"));
    bool negative = text != NULL && *text == '-';
    uint8_t n[PAILLIER_N_LEN];
    unsigned borrow = 0, carry;

    memset(plain, 0, PAILLIER_N_LEN);
    if (text == NULL || strspn(text + negative, "0123456789") != strlen(text + negative))
        return false;
    for (text += negative; *text != '\0'; text++) {
        carry = (unsigned)(*text - '0');
        for (size_t i = PAILLIER_N_LEN; i > 0; i--, carry >>= 8) {
            carry += plain[i - 1] * 10u;
            plain[i - 1] = (uint8_t)carry;
        }
    }
    paillier_n(c->public, n);
    for (size_t i = PAILLIER_N_LEN; negative && i > 0; i--) {
        unsigned d = n[i - 1] - plain[i - 1] - borrow;

        plain[i - 1] = (uint8_t)d;
        borrow = d >> 8 & 1;
    }
    return true;
}

/* Does `c` decrypt to the number in the member "m"? */
static bool
decrypts(const struct paillier_case *c, const uint8_t cipher[PAILLIER_C_LEN], const json_t *item)
{
    uint8_t plain[PAILLIER_N_LEN], expected[PAILLIER_N_LEN], short_form[PAILLIER_N_LEN];
    int128 value = 0;

    if (!read_plain(c, item, expected) ||
        paillier_decrypt(c->private, cipher, plain, NULL) != COFFER_OK)
        return false;
    if (paillier_value(c->public, plain, &value, NULL) == COFFER_OK) {
        paillier_plain(c->public, value, short_form);
        if (memcmp(short_form, expected, sizeof expected) != 0)
            return false;
    }
    return memcmp(plain, expected, sizeof expected) == 0;
}

/* An item of m with the factor made by its own randomness. */
static int
check_item(struct vectors *v, const struct paillier_case *c, const json_t *item,
           const uint8_t factor[PAILLIER_C_LEN], const char *kind, size_t number,
           struct coffer_error *err)
{
    uint8_t plain[PAILLIER_N_LEN], made[PAILLIER_C_LEN], expected[PAILLIER_C_LEN];
    int rc;

    if (!read_plain(c, item, plain))
        return bad_member(err, "m");
    if (!vectors_fixed(item, "c", expected, sizeof expected))
        return bad_member(err, "c");
    rc = paillier_encrypt_with(c->public, plain, factor, made, err);
    if (rc == COFFER_OK)
        vectors_count(v, memcmp(made, expected, sizeof made) == 0 && decrypts(c, expected, item),
                      "paillier %s %zu", kind, number);
    return rc;
}

static int
case_textbook(struct vectors *v, const struct paillier_case *c, const json_t *item, size_t number,
              struct coffer_error *err)
{
    uint8_t r[PAILLIER_N_LEN], factor[PAILLIER_C_LEN];
    int rc;

    if (!vectors_fixed(item, "r", r, sizeof r))
        return bad_member(err, "r");
    rc = paillier_factor_textbook(c->public, r, factor, err);
    return rc == COFFER_OK ? check_item(v, c, item, factor, "textbook", number, err) : rc;
}

static int
case_owner(struct vectors *v, const struct paillier_case *c, const json_t *item, size_t number,
           struct coffer_error *err)
{
    uint8_t a[PAILLIER_PRIME_LEN], b[PAILLIER_PRIME_LEN], factor[PAILLIER_C_LEN];
    int rc;

    if (!vectors_fixed(item, "a", a, sizeof a) || !vectors_fixed(item, "b", b, sizeof b))
        return bad_member(err, "a");
    rc = paillier_factor_owner(c->private, a, b, factor, err);
    return rc == COFFER_OK ? check_item(v, c, item, factor, "owner", number, err) : rc;
}

static int
case_public(struct vectors *v, const struct paillier_case *c, const json_t *item, size_t number,
            struct coffer_error *err)
{
    const json_t *djn = json_object_get(c->json, "djn");
    uint8_t x[PAILLIER_N_LEN], hs[PAILLIER_C_LEN], given[PAILLIER_C_LEN], n[PAILLIER_N_LEN];
    uint8_t r[PAILLIER_PRIME_LEN], factor[PAILLIER_C_LEN];
    struct paillier_public *public = NULL;
    int rc;

    if (!vectors_fixed(djn, "x", x, sizeof x) || !vectors_fixed(djn, "hs", given, sizeof given))
        return bad_member(err, "djn");
    if (!vectors_fixed(item, "r", r, sizeof r))
        return bad_member(err, "r");
    rc = paillier_hs_of(c->public, x, hs, err);
    if (rc == COFFER_OK && number == 0)
        vectors_count(v, memcmp(hs, given, sizeof hs) == 0, "paillier h_s");
    paillier_n(c->public, n);
    if (rc == COFFER_OK)
        rc =
            paillier_public_new(bytes_of(n, sizeof n), bytes_of(given, sizeof given), &public, err);
    if (rc == COFFER_OK)
        rc = paillier_factor_public(public, r, factor, err);
    paillier_public_free(public);
    return rc == COFFER_OK ? check_item(v, c, item, factor, "djn", number, err) : rc;
}

static int
case_invalid(struct vectors *v, const struct paillier_case *c, const json_t *item, size_t number,
             struct coffer_error *err)
{
    uint8_t cipher[PAILLIER_C_LEN], plain[PAILLIER_N_LEN];

    if (!vectors_fixed(item, "c", cipher, sizeof cipher))
        return bad_member(err, "c");
    vectors_count(
        v, vectors_error_is(item, "error", paillier_decrypt(c->private, cipher, plain, NULL)),
        "paillier invalid %zu", number);
    return COFFER_OK;
}

static bool
textbook_cipher(const struct paillier_case *c, const json_t *item, const char *member,
                uint8_t out[PAILLIER_C_LEN])
{
    unsigned at = 0;

    return vectors_unsigned(item, member, UINT32_MAX, &at) &&
           vectors_fixed(json_array_get(json_object_get(c->json, "textbook"), at), "c", out,
                         PAILLIER_C_LEN);
}

static int
add_up(const struct paillier_case *c, struct paillier_sum **sum, struct coffer_error *err)
{
    uint8_t n2[PAILLIER_C_LEN];

    paillier_n_squared(c->public, n2);
    return paillier_sum_new(bytes_of(n2, sizeof n2), sum, err);
}

static int
check_add(struct vectors *v, const struct paillier_case *c, struct coffer_error *err)
{
    const json_t *item = json_object_get(c->json, "add");
    uint8_t a[PAILLIER_C_LEN], b[PAILLIER_C_LEN], made[PAILLIER_C_LEN], expected[PAILLIER_C_LEN];
    struct paillier_sum *sum = NULL;
    int rc;

    if (!textbook_cipher(c, item, "a", a) || !textbook_cipher(c, item, "b", b) ||
        !vectors_fixed(item, "c", expected, sizeof expected))
        return bad_member(err, "add");
    rc = add_up(c, &sum, err);
    if (rc == COFFER_OK)
        rc = paillier_sum_add(sum, bytes_of(a, sizeof a), err);
    if (rc == COFFER_OK)
        rc = paillier_sum_add(sum, bytes_of(b, sizeof b), err);
    if (rc == COFFER_OK) {
        paillier_sum_result(sum, made);
        vectors_count(v, memcmp(made, expected, sizeof made) == 0 && decrypts(c, made, item),
                      "paillier add");
    }
    paillier_sum_free(sum);
    return rc;
}

static int
check_multiply(struct vectors *v, const struct paillier_case *c, struct coffer_error *err)
{
    const json_t *item = json_object_get(c->json, "multiply");
    uint8_t a[PAILLIER_C_LEN], made[PAILLIER_C_LEN], expected[PAILLIER_C_LEN];
    int64_t k = 0;
    int rc;

    if (!textbook_cipher(c, item, "a", a) || !vectors_i64(item, "k", &k) ||
        !vectors_fixed(item, "c", expected, sizeof expected))
        return bad_member(err, "multiply");
    rc = paillier_multiply(c->public, a, k, made, err);
    if (rc == COFFER_OK)
        vectors_count(v, memcmp(made, expected, sizeof made) == 0 && decrypts(c, made, item),
                      "paillier multiply");
    return rc;
}

static int
packed_row(struct vectors *v, const struct paillier_case *c, const json_t *row, size_t number,
           struct paillier_sum *sum, struct coffer_error *err)
{
    const json_t *values = json_object_get(row, "values");
    int64_t list[PAILLIER_SLOTS] = {0};
    uint8_t plain[PAILLIER_N_LEN], expected_plain[PAILLIER_N_LEN], r[PAILLIER_N_LEN];
    uint8_t factor[PAILLIER_C_LEN], made[PAILLIER_C_LEN], expected[PAILLIER_C_LEN];
    size_t n = json_array_size(values);
    int rc;

    if (n > PAILLIER_SLOTS || !vectors_fixed(row, "plaintext", expected_plain, PAILLIER_N_LEN) ||
        !vectors_fixed(row, "r", r, sizeof r) ||
        !vectors_fixed(row, "c", expected, sizeof expected))
        return bad_member(err, "packed");
    for (size_t i = 0; i < n; i++)
        if (!vectors_number(json_array_get(values, i), &list[i]))
            return bad_member(err, "values");
    paillier_pack(list, n, plain);
    rc = paillier_factor_textbook(c->public, r, factor, err);
    if (rc == COFFER_OK)
        rc = paillier_encrypt_with(c->public, plain, factor, made, err);
    if (rc == COFFER_OK)
        rc = paillier_sum_add(sum, bytes_of(expected, sizeof expected), err);
    if (rc == COFFER_OK)
        vectors_count(v,
                      memcmp(plain, expected_plain, sizeof plain) == 0 &&
                          memcmp(made, expected, sizeof made) == 0,
                      "paillier packed row %zu", number);
    return rc;
}

static int
check_packed(struct vectors *v, const struct paillier_case *c, struct coffer_error *err)
{
    const json_t *packed = json_object_get(c->json, "packed");
    const json_t *rows = json_object_get(packed, "rows"), *list = json_object_get(packed, "totals");
    uint8_t made[PAILLIER_C_LEN], expected[PAILLIER_C_LEN], plain[PAILLIER_N_LEN];
    int128 totals[PAILLIER_SLOTS];
    struct paillier_sum *sum = NULL;
    bool held = false;
    int rc;

    if (!vectors_fixed(packed, "sum", expected, sizeof expected) ||
        json_array_size(list) > PAILLIER_SLOTS)
        return bad_member(err, "packed");
    rc = add_up(c, &sum, err);
    for (size_t i = 0; rc == COFFER_OK && i < json_array_size(rows); i++)
        rc = packed_row(v, c, json_array_get(rows, i), i, sum, err);
    if (rc == COFFER_OK) {
        paillier_sum_result(sum, made);
        held = memcmp(made, expected, sizeof made) == 0;
        rc = paillier_decrypt(c->private, made, plain, err);
    }
    if (rc == COFFER_OK)
        rc = paillier_unpack(plain, json_array_size(rows), json_array_size(list), totals, err);
    for (size_t i = 0; rc == COFFER_OK && i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        int128 total = 0;

        held = text != NULL && int128_parse(bytes_str(text), &total) && total == totals[i] && held;
    }
    if (rc == COFFER_OK)
        vectors_count(v, held, "paillier packed totals");
    paillier_sum_free(sum);
    return rc;
}

static int
section_paillier(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    static const struct {
        const char *outer, *member;
        int (*run)(struct vectors *, const struct paillier_case *, const json_t *, size_t,
                   struct coffer_error *);
    } LISTS[] = {{NULL, "textbook", case_textbook},
                 {NULL, "owner", case_owner},
                 {"djn", "items", case_public},
                 {NULL, "invalid", case_invalid}};
    struct paillier_case c = {.json = json};
    int rc = read_primes(&c, err);

    for (size_t m = 0; m < sizeof LISTS / sizeof *LISTS && rc == COFFER_OK; m++) {
        const json_t *from = LISTS[m].outer != NULL ? json_object_get(json, LISTS[m].outer) : json;
        const json_t *list = json_object_get(from, LISTS[m].member);

        if (!json_is_array(list))
            rc = bad_member(err, LISTS[m].member);
        for (size_t i = 0; rc == COFFER_OK && i < json_array_size(list); i++)
            rc = LISTS[m].run(v, &c, json_array_get(list, i), i, err);
    }
    if (rc == COFFER_OK)
        rc = check_add(v, &c, err);
    if (rc == COFFER_OK)
        rc = check_multiply(v, &c, err);
    if (rc == COFFER_OK)
        rc = check_packed(v, &c, err);
    paillier_private_free(c.private);
    secret_free(c.primes);
    return rc;
}

const struct vectors_section vectors_totals[] = {
    {"splashe", section_splashe}, {"paillier", section_paillier}, {NULL, NULL}};
