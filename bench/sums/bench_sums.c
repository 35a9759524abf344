/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of encrypted values against a plain sum and one block of AES, by one core. */
#include "bench.h"

#include "crypto/aes_block.h"
#include "sums/paillier.h"
#include "sums/sum.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 1000000

static struct sum_def def = {.max_abs = 1000000, .flags = SUM_TAGGED};
static struct sum_key *key;
static uint8_t group[SUM_GROUP_LEN] = {0, 1, 7};
static int64_t *plain;
static struct sum_cell *cells;
static struct buf all, third;
static struct paillier_private *owner;
static struct paillier_pool *pool;
static struct paillier_sum *product;
static uint8_t number[PAILLIER_N_LEN], cipher[PAILLIER_C_LEN];
static volatile int64_t sink;

static void
check(int rc)
{
    if (rc == COFFER_OK)
        return;
    fprintf(stderr, "bench_sums: %s\n", coffer_status_name(rc));
    exit(1);
}

static void
plain_sum(void *ctx, uint64_t times)
{
    int64_t sum = 0;

    for (uint64_t i = 0; i < times; i++)
        sum += ((volatile int64_t *)plain)[i % ROWS];
    sink = sum;
}

static void
one_block(void *ctx, uint64_t times)
{
    struct aes_schedule schedule;
    uint8_t own[32] = {0}, block[16] = {0};

    aes256_schedule(&schedule, own);
    for (uint64_t i = 0; i < times; i++)
        aes_blocks(&schedule, block, block, 1);
    sink = block[0];
}

static void
encrypt(void *ctx, uint64_t times)
{
    struct sum_def own = def;
    struct sum_cell cell = {0};

    own.flags = *(unsigned *)ctx;
    for (uint64_t i = 0; i < times; i++)
        check(sum_encrypt(&own, key, sum_id_of(group, 1 + (uint32_t)(i % ROWS)), plain[i % ROWS],
                          &cell, NULL));
    sink = cell.l;
}

static const struct sum_key *
the_key(const void *ctx, unsigned version)
{
    return version == 1 ? key : NULL;
}

/* Parse and open a whole answer, each time. */
static void
open_answer(const struct buf *answer, unsigned flags, uint64_t times)
{
    struct sum_keys keys = {the_key, NULL};
    struct sum_def own = def;
    struct sum_total total;
    struct sum_set *set;

    own.flags = flags;
    for (uint64_t i = 0; i < times; i++) {
        check(sum_set_new(flags, &set, NULL));
        check(sum_set_answer(set, buf_view(answer), NULL));
        check(sum_open(&own, &keys, set, &total, NULL));
        sum_set_free(set);
    }
}

static void
open_third(void *ctx, uint64_t times)
{
    open_answer(&third, 0, times);
}

static void
verify_all(void *ctx, uint64_t times)
{
    open_answer(&all, SUM_TAGGED, times);
}

static void
aggregate(void *ctx, uint64_t times)
{
    struct sum_builder *b;

    check(sum_builder_new(0, UINT64_MAX, &b, NULL));
    for (uint64_t i = 0; i < times; i++) {
        if (i > 0 && i % ROWS == 0) {
            sum_builder_free(b);
            check(sum_builder_new(0, UINT64_MAX, &b, NULL));
        }
        check(
            sum_builder_add(b, sum_id_of(group, 1 + (uint32_t)(i % ROWS)), &cells[i % ROWS], NULL));
    }
    sum_builder_free(b);
}

static void
paillier_add(void *ctx, uint64_t times)
{
    for (uint64_t i = 0; i < times; i++)
        check(paillier_sum_add(product, bytes_of(cipher, sizeof cipher), NULL));
}

static void
paillier_owner(void *ctx, uint64_t times)
{
    for (uint64_t i = 0; i < times; i++)
        check(paillier_encrypt(pool, number, cipher, NULL));
}

static void
paillier_open(void *ctx, uint64_t times)
{
    uint8_t out[PAILLIER_N_LEN];

    for (uint64_t i = 0; i < times; i++)
        check(paillier_decrypt(owner, cipher, out, NULL));
}

static void
build(bool whole, unsigned flags, struct buf *out)
{
    struct sum_builder *b;

    buf_init(out, 64u << 20);
    check(sum_builder_new(flags, UINT64_MAX, &b, NULL));
    for (uint32_t i = 0; i < ROWS; i++) /* every third row, so that each is a run */
        if (whole || i % 3 == 0)
            check(sum_builder_add(b, sum_id_of(group, i + 1), &cells[i], NULL));
    check(sum_builder_encode(b, out, NULL));
    sum_builder_free(b);
}

static void
prepare(void)
{
    struct secret *material = NULL;
    uint8_t n2[PAILLIER_C_LEN];

    plain = calloc(ROWS, sizeof *plain);
    cells = calloc(ROWS, sizeof *cells);
    if (plain == NULL || cells == NULL)
        check(COFFER_E_NOMEM);
    check(secret_new(32, &material, NULL));
    check(sum_key_new(material, def.index_id, 1, &key, NULL));
    secret_free(material);
    for (uint32_t i = 0; i < ROWS; i++) {
        plain[i] = (int64_t)(i * 2654435761u % 1000000);
        check(sum_encrypt(&def, key, sum_id_of(group, i + 1), plain[i], &cells[i], NULL));
    }
    build(true, SUM_TAGGED, &all);
    build(false, 0, &third);
    check(paillier_generate(&material, NULL));
    check(paillier_private_new(material, &owner, NULL));
    secret_free(material);
    check(paillier_pool_new(paillier_public_of(owner), owner, 0, &pool, NULL));
    check(paillier_encrypt(pool, number, cipher, NULL));
    paillier_n_squared(paillier_public_of(owner), n2);
    check(paillier_sum_new(bytes_of(n2, sizeof n2), &product, NULL));
}

int
main(int argc, char **argv)
{
    static unsigned untagged = 0, tagged = SUM_TAGGED;
    struct bench_contestant it[] = {
        {.name = "plain int64 addition", .run = plain_sum},
        {.name = "one block of AES-256", .run = one_block},
        {.name = "encrypt", .run = encrypt, .ctx = &untagged},
        {.name = "encrypt with tag", .run = encrypt, .ctx = &tagged},
        {.name = "aggregate a row", .run = aggregate},
        {.name = "open a scattered third, a row", .run = open_third},
        {.name = "open and verify tags, a row", .run = verify_all},
        {.name = "Paillier: add", .run = paillier_add},
        {.name = "Paillier: encrypt as owner", .run = paillier_owner},
        {.name = "Paillier: decrypt", .run = paillier_open},
    };
    const size_t count = sizeof it / sizeof *it;
    unsigned rounds = 5, round_ms = 200;

    bench_options(argc, argv, &rounds, &round_ms);
    prepare();
    bench_race(it, count, rounds, round_ms, CLOCK_THREAD_CPUTIME_ID);
    /* Rates of whole answers and of packed additions, as those of one row and one value. */
    it[5].per_second *= (ROWS + 2) / 3;
    it[6].per_second *= ROWS;
    for (size_t i = 0; i < count; i++)
        printf("%-32s %12.1f ns  %10.2f x one block of AES, %10.2f x a plain addition\n",
               it[i].name, 1e9 / it[i].per_second, it[1].per_second / it[i].per_second,
               it[0].per_second / it[i].per_second);
    printf("%-32s %12.1f ns\n", "Paillier: add, a packed value",
           1e9 / it[7].per_second / PAILLIER_SLOTS);
    return 0;
}
