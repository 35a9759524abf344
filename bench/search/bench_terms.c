/* SPDX-License-Identifier: Apache-2.0 */
/* Search terms of one value, each against the cheapest thing that could do a part of its work: a
 * plain HMAC for an equality term, a memcmp of two plain numbers for a comparison, one AES block for
 * order terms.  The names of the lines say which. */
#include "bench.h"

#include "crypto/aes_block.h"
#include "crypto/crypto.h"
#include "search/equality.h"
#include "search/ope.h"
#include "search/ore.h"
#include "search/tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TERMS 64

struct work {
    struct equality_key *equality;
    struct text_key *text;
    struct ore_key *ore;
    struct ope_key *ope;
    struct aes_schedule schedule;
    uint8_t key[32], block[16], value[TERMS][8];
    uint8_t ore_terms[TERMS][ORE_LEN(8)], ope_terms[TERMS][OPE_LEN(8)];
    int sum; /* so that nothing is optimised away */
};

static void
must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench_terms: %s failed\n", what);
        exit(1);
    }
}

static void
run_hmac(void *ctx, uint64_t times)
{
    struct work *w = ctx;
    struct bytes part = {(const uint8_t *)"\1\0\2\2\0\0\0\20ada lovelace@org", 24};
    uint8_t mac[32];

    while (times-- > 0)
        must(hmac_sha256(bytes_of(w->key, 32), &part, 1, mac, NULL) == COFFER_OK, "HMAC");
}

static void
run_equality(void *ctx, uint64_t times)
{
    struct work *w = ctx;
    struct equality_part part = {
        2, {.type = COFFER_TEXT, .data = (const uint8_t *)"Ada Lovelace@org", .len = 16}};
    uint8_t term[16];

    while (times-- > 0)
        must(equality_term16(w->equality, &part, 1, 112, term, NULL) == COFFER_OK, "equality");
}

static void
run_block(void *ctx, uint64_t times)
{
    struct work *w = ctx;

    while (times-- > 0)
        aes_blocks(&w->schedule, w->block, w->block, 1);
}

static void
run_ore(void *ctx, uint64_t times)
{
    struct work *w = ctx;

    while (times-- > 0)
        must(ore_encrypt(w->ore, bytes_of(w->value[times % TERMS], 8), NULL,
                         w->ore_terms[times % TERMS], NULL) == COFFER_OK,
             "ORE");
}

static void
run_ope(void *ctx, uint64_t times)
{
    struct work *w = ctx;

    while (times-- > 0)
        must(ope_encrypt(w->ope, bytes_of(w->value[times % TERMS], 8), w->ope_terms[times % TERMS],
                         NULL) == COFFER_OK,
             "OPE");
}

static void
run_compare_plain(void *ctx, uint64_t times)
{
    struct work *w = ctx;

    while (times-- > 0)
        w->sum += memcmp(w->value[times % TERMS], w->value[times * 7 % TERMS], 8) < 0;
}

static void
run_compare_ore(void *ctx, uint64_t times)
{
    struct work *w = ctx;

    while (times-- > 0)
        w->sum += ore_compare(w->ore_terms[times % TERMS], w->ore_terms[times * 7 % TERMS]) < 0;
}

static void
run_compare_ope(void *ctx, uint64_t times)
{
    struct work *w = ctx;

    while (times-- > 0)
        w->sum +=
            memcmp(w->ope_terms[times % TERMS], w->ope_terms[times * 7 % TERMS], OPE_LEN(8)) < 0;
}

static void
run_tokens(void *ctx, uint64_t times)
{
    struct work *w = ctx;
    struct token_options o = {.normaliser = 2, .bits = 48};
    struct tokens tokens = {0};

    while (times-- > 0)
        must(tokens_of_text(w->text, &o, bytes_str("Maria Müller-Lüdenscheidt"), &tokens, NULL) ==
                 COFFER_OK,
             "tokens");
    tokens_wipe(&tokens);
}

static struct work *
work_new(void)
{
    static const uint8_t index_id[16];
    struct work *w = calloc(1, sizeof *w);
    struct secret *key;

    must(w != NULL && secret_new(32, &key, NULL) == COFFER_OK, "memory");
    must(equality_key_new(key, index_id, 1, &w->equality, NULL) == COFFER_OK &&
             text_key_new(key, index_id, 1, &w->text, NULL) == COFFER_OK &&
             ore_key_new(key, index_id, 1, &w->ore, NULL) == COFFER_OK &&
             ope_key_new(key, index_id, 1, &w->ope, NULL) == COFFER_OK,
         "keys");
    secret_free(key);
    aes256_schedule(&w->schedule, w->key);
    must(random_nonce(w->value, sizeof w->value, NULL) == COFFER_OK, "random");
    run_ore(w, TERMS);
    run_ope(w, TERMS);
    return w;
}

static void
work_free(struct work *w)
{
    equality_key_free(w->equality);
    text_key_free(w->text);
    ore_key_free(w->ore);
    ope_key_free(w->ope);
    free(w);
}

int
main(int argc, char **argv)
{
    unsigned rounds = 15, round_ms = 40;
    struct work *w = work_new();
    struct bench_contestant all[] = {
        {.name = "HMAC-SHA-256 by EVP", .run = run_hmac, .ctx = w},
        {.name = "equality term", .run = run_equality, .ctx = w},
        {.name = "tokens of a name", .run = run_tokens, .ctx = w},
        {.name = "one AES-256 block", .run = run_block, .ctx = w},
        {.name = "ORE encrypt", .run = run_ore, .ctx = w},
        {.name = "OPE encrypt", .run = run_ope, .ctx = w},
        {.name = "memcmp of 8 bytes", .run = run_compare_plain, .ctx = w},
        {.name = "ORE compare", .run = run_compare_ore, .ctx = w},
        {.name = "OPE compare", .run = run_compare_ope, .ctx = w},
    };
    bool met;

    bench_options(argc, argv, &rounds, &round_ms);
    bench_race(all, sizeof all / sizeof *all, rounds, round_ms, CLOCK_THREAD_CPUTIME_ID);
    met = bench_report("16-byte text", &all[1], &all[0], 1, 1e6);
    met &= bench_report("25 characters", &all[2], &all[0], 0, 2e4);
    met &= bench_report("int64", &all[4], &all[3], 0, 5e4); /* 50 000 rows a second and core */
    met &= bench_report("int64", &all[5], &all[3], 0, 2.5e5);
    met &= bench_report("int64", &all[7], &all[6], 0, 2.5e7); /* 40 ns */
    met &= bench_report("int64", &all[8], &all[6], 0, 1e8);
    work_free(w);
    return met ? 0 : 1;
}
