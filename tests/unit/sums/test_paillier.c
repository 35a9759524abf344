/* SPDX-License-Identifier: Apache-2.0 */
/* Paillier: both ways to encrypt, sums, slots, forks, and what is refused.  The known answers are
 * with the vectors. */
#include "support/fault.h"
#include "support/test.h"

#include "sums/paillier.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct paillier_private *owner;
static struct paillier_public *writer;
static struct secret *primes;
static uint8_t n[PAILLIER_N_LEN], hs[PAILLIER_C_LEN], n2[PAILLIER_C_LEN];

static int
make_keys(void **state)
{
    assert_int_equal(paillier_generate(&primes, NULL), COFFER_OK);
    assert_int_equal(paillier_private_new(primes, &owner, NULL), COFFER_OK);
    assert_int_equal(paillier_publish(owner, n, hs, NULL), COFFER_OK);
    assert_int_equal(
        paillier_public_new(bytes_of(n, sizeof n), bytes_of(hs, sizeof hs), &writer, NULL),
        COFFER_OK);
    paillier_n_squared(writer, n2);
    return 0;
}

static int
free_keys(void **state)
{
    paillier_private_free(owner);
    paillier_public_free(writer);
    secret_free(primes);
    return secret_live_count() == 0 ? 0 : -1;
}

static struct paillier_pool *
new_pool(bool by_owner, size_t size)
{
    struct paillier_pool *pool;

    assert_int_equal(paillier_pool_new(by_owner ? paillier_public_of(owner) : writer,
                                       by_owner ? owner : NULL, size, &pool, NULL),
                     COFFER_OK);
    return pool;
}

static void
encrypt(struct paillier_pool *pool, int128 value, uint8_t c[PAILLIER_C_LEN])
{
    uint8_t plain[PAILLIER_N_LEN];

    paillier_plain(writer, value, plain);
    assert_int_equal(paillier_encrypt(pool, plain, c, NULL), COFFER_OK);
}

static int128
decrypt(const uint8_t c[PAILLIER_C_LEN])
{
    uint8_t plain[PAILLIER_N_LEN];
    int128 value;

    assert_int_equal(paillier_decrypt(owner, c, plain, NULL), COFFER_OK);
    assert_int_equal(paillier_value(writer, plain, &value, NULL), COFFER_OK);
    return value;
}

static void
values_come_back_from_owner_and_writer(void **state)
{
    static const int64_t VALUES[] = {0, 1, -1, 123456789, INT64_MAX, INT64_MIN};
    uint8_t c[PAILLIER_C_LEN], again[PAILLIER_C_LEN];

    for (int by_owner = 0; by_owner <= 1; by_owner++) {
        struct paillier_pool *pool = new_pool(by_owner != 0, 0);

        for (size_t i = 0; i < sizeof VALUES / sizeof *VALUES; i++) {
            encrypt(pool, VALUES[i], c);
            assert_true(decrypt(c) == VALUES[i]);
        }
        encrypt(pool, INT128_MAX, c);
        assert_true(decrypt(c) == INT128_MAX);
        encrypt(pool, -INT128_MAX, c);
        assert_true(decrypt(c) == -INT128_MAX);
        encrypt(pool, -INT128_MAX, again);
        assert_memory_not_equal(c, again, sizeof c);
        paillier_pool_free(pool);
    }
}

static void
products_hold_sums(void **state)
{
    struct paillier_pool *pools[2] = {new_pool(false, 0), new_pool(true, 0)};
    uint8_t c[PAILLIER_C_LEN], product[PAILLIER_C_LEN];
    struct paillier_sum *sum;
    int128 value = 0;

    assert_int_equal(paillier_sum_new(bytes_of(n2, sizeof n2), &sum, NULL), COFFER_OK);
    paillier_sum_result(sum, product);
    assert_true(decrypt(product) == 0); /* of no rows */
    for (int i = 0; i < 12; i++) {
        int64_t v = (i % 2 == 0 ? -1 : 1) * (INT64_MAX / 3) * (i % 4);

        encrypt(pools[i % 2], v, c);
        assert_int_equal(paillier_sum_add(sum, bytes_of(c, sizeof c), NULL), COFFER_OK);
        value += v;
    }
    paillier_sum_result(sum, product);
    assert_true(decrypt(product) == value);
    paillier_sum_free(sum);
    paillier_pool_free(pools[0]);
    paillier_pool_free(pools[1]);
}

static void
powers_hold_multiples(void **state)
{
    static const int64_t FACTORS[] = {0, 1, -1, 7, -1000003, INT64_MAX, INT64_MIN};
    struct paillier_pool *pool = new_pool(true, 0);
    uint8_t c[PAILLIER_C_LEN], power[PAILLIER_C_LEN];

    encrypt(pool, -4567, c);
    for (size_t i = 0; i < sizeof FACTORS / sizeof *FACTORS; i++) {
        assert_int_equal(paillier_multiply(writer, c, FACTORS[i], power, NULL), COFFER_OK);
        assert_true(decrypt(power) == (int128)-4567 * FACTORS[i]);
    }
    memset(c, 0, sizeof c);
    assert_int_equal(paillier_multiply(writer, c, 2, power, NULL), COFFER_E_FORMAT);
    assert_int_equal(paillier_multiply(writer, n2, 2, power, NULL), COFFER_E_FORMAT);
    paillier_pool_free(pool);
}

/* ---- slots ---- */

static void
slots_are_summed_side_by_side(void **state)
{
    struct paillier_pool *pool = new_pool(true, 0);
    int128 expected[PAILLIER_SLOTS] = {0}, totals[PAILLIER_SLOTS];
    int64_t values[PAILLIER_SLOTS];
    uint8_t plain[PAILLIER_N_LEN], c[PAILLIER_C_LEN];
    struct paillier_sum *sum;

    assert_int_equal(paillier_sum_new(bytes_of(n2, sizeof n2), &sum, NULL), COFFER_OK);
    for (int row = 0; row < 5; row++) {
        for (int s = 0; s < PAILLIER_SLOTS; s++) {
            values[s] = s % 3 == 0 ? INT64_MIN : s % 3 == 1 ? INT64_MAX : (int64_t)row * s - 40;
            expected[s] += s < 30 || row == 0 ? values[s] : 0;
        }
        /* a row that has fewer values than slots: the others hold 0 */
        paillier_pack(values, row == 0 ? PAILLIER_SLOTS : 30, plain);
        assert_int_equal(paillier_encrypt(pool, plain, c, NULL), COFFER_OK);
        assert_int_equal(paillier_sum_add(sum, bytes_of(c, sizeof c), NULL), COFFER_OK);
    }
    paillier_sum_result(sum, c);
    assert_int_equal(paillier_decrypt(owner, c, plain, NULL), COFFER_OK);
    assert_int_equal(paillier_unpack(plain, 5, PAILLIER_SLOTS, totals, NULL), COFFER_OK);
    for (int s = 0; s < PAILLIER_SLOTS; s++)
        assert_true(totals[s] == expected[s]);
    /* With extremes in it, another number of rows is seen. */
    assert_int_equal(paillier_unpack(plain, 4, PAILLIER_SLOTS, totals, NULL), COFFER_E_AUTH);
    assert_true(totals[0] == 0);
    assert_int_equal(paillier_unpack(plain, PAILLIER_ROWS_MAX + 1, 1, totals, NULL),
                     COFFER_E_LIMIT);
    assert_int_equal(paillier_unpack(plain, 5, PAILLIER_SLOTS + 1, totals, NULL), COFFER_E_MISUSE);
    plain[0] = 1; /* above all slots */
    assert_int_equal(paillier_unpack(plain, 5, 1, totals, NULL), COFFER_E_AUTH);
    paillier_sum_free(sum);
    paillier_pool_free(pool);
}

/* 2^32 rows of the largest value fit, and do not touch the neighbour. */
static void
the_largest_total_fits_its_slot(void **state)
{
    uint8_t plain[PAILLIER_N_LEN] = {0};
    int128 totals[3];

    /* 2^32·(2^64-1) is 32 zero bits under 64 ones: in slot 1, from bit 97 on. */
    for (unsigned i = 97 + 32; i < 97 + 96; i++)
        plain[PAILLIER_N_LEN - 1 - i / 8] |= (uint8_t)(1 << i % 8);
    assert_int_equal(paillier_unpack(plain, PAILLIER_ROWS_MAX, 3, totals, NULL), COFFER_OK);
    assert_true(totals[1] == (int128)INT64_MAX << 32);
    assert_true(totals[0] == -((int128)1 << 95) && totals[2] == totals[0]);
}

/* ---- pools ---- */

static void *
fill_and_encrypt(void *arg)
{
    struct paillier_pool *pool = arg;
    uint8_t plain[PAILLIER_N_LEN], c[PAILLIER_C_LEN], back[PAILLIER_N_LEN];
    bool full;

    paillier_plain(writer, -77, plain);
    for (int i = 0; i < 4; i++)
        if (paillier_pool_fill(pool, &full, NULL) != COFFER_OK ||
            paillier_encrypt(pool, plain, c, NULL) != COFFER_OK ||
            paillier_decrypt(owner, c, back, NULL) != COFFER_OK ||
            memcmp(plain, back, sizeof plain) != 0)
            return arg;
    return NULL;
}

static void
a_pool_gives_each_factor_once(void **state)
{
    struct paillier_pool *pool = new_pool(true, 3);
    uint8_t c[5][PAILLIER_C_LEN];
    pthread_t threads[3];
    bool full = false;

    for (int i = 0; i < 3; i++) {
        assert_int_equal(paillier_pool_fill(pool, &full, NULL), COFFER_OK);
        assert_false(full);
    }
    assert_int_equal(paillier_pool_fill(pool, &full, NULL), COFFER_OK);
    assert_true(full);
    assert_int_equal(paillier_pool_ready(pool), 3);
    for (int i = 0; i < 5; i++) { /* the last two find it empty */
        encrypt(pool, 1, c[i]);
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(c[i], c[k], sizeof c[i]);
    }
    assert_int_equal(paillier_pool_ready(pool), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fill_and_encrypt, pool), 0);
    for (int i = 0; i < 3; i++) {
        void *wrong;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    paillier_pool_free(pool);
    paillier_pool_free(NULL);
}

static void
a_forked_child_finds_the_pool_empty(void **state)
{
    struct paillier_pool *pool = new_pool(true, 1);
    bool full;
    int status;
    pid_t child;

    assert_int_equal(paillier_pool_fill(pool, &full, NULL), COFFER_OK);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(paillier_pool_ready(pool) == 0 ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(paillier_pool_ready(pool), 1);
    paillier_pool_free(pool);
}

/* ---- refused ---- */

static void
what_is_no_ciphertext_is_refused(void **state)
{
    uint8_t c[PAILLIER_C_LEN] = {0}, plain[PAILLIER_N_LEN];
    struct paillier_sum *sum;

    assert_int_equal(paillier_sum_new(bytes_of(n2, sizeof n2), &sum, NULL), COFFER_OK);
    assert_int_equal(paillier_decrypt(owner, c, plain, NULL), COFFER_E_FORMAT);
    assert_int_equal(paillier_sum_add(sum, bytes_of(c, sizeof c), NULL), COFFER_E_FORMAT);
    assert_int_equal(paillier_decrypt(owner, n2, plain, NULL), COFFER_E_FORMAT);
    assert_int_equal(paillier_sum_add(sum, bytes_of(n2, sizeof n2), NULL), COFFER_E_FORMAT);
    memset(c, 0xff, sizeof c);
    assert_int_equal(paillier_decrypt(owner, c, plain, NULL), COFFER_E_FORMAT);
    assert_int_equal(paillier_sum_add(sum, bytes_of(c, sizeof c), NULL), COFFER_E_FORMAT);
    assert_int_equal(paillier_sum_add(sum, bytes_of(c, sizeof c - 1), NULL), COFFER_E_FORMAT);
    memset(c, 0, sizeof c);
    for (int half = 0; half < 2; half++) { /* p, and q */
        memcpy(c + PAILLIER_C_LEN - PAILLIER_PRIME_LEN,
               secret_expose(primes).ptr + half * PAILLIER_PRIME_LEN, PAILLIER_PRIME_LEN);
        assert_int_equal(paillier_decrypt(owner, c, plain, NULL), COFFER_E_FORMAT);
    }
    paillier_sum_free(sum);
    assert_int_equal(paillier_sum_new(bytes_of(c, 767), &sum, NULL), COFFER_E_FORMAT);
    assert_int_equal(paillier_sum_new(bytes_of(c, sizeof c), &sum, NULL), COFFER_E_FORMAT);
    assert_null(sum);
}

static void
plaintexts_beyond_n_are_refused(void **state)
{
    struct paillier_pool *pool = new_pool(true, 0);
    uint8_t c[PAILLIER_C_LEN], plain[PAILLIER_N_LEN];
    int128 value;

    assert_int_equal(paillier_encrypt(pool, n, c, NULL), COFFER_E_FORMAT);
    memset(plain, 0, sizeof plain);
    plain[1] = 1;
    assert_int_equal(paillier_value(writer, plain, &value, NULL), COFFER_E_LIMIT);
    paillier_pool_free(pool);
}

static void
what_is_no_key_is_refused(void **state)
{
    struct paillier_private *private = (void *)state;
    struct paillier_public *public;
    struct paillier_pool *pool;
    struct secret *bad = NULL;
    uint8_t *b, even[PAILLIER_N_LEN];

    assert_int_equal(secret_copy(secret_expose(primes), &bad, NULL), COFFER_OK);
    b = secret_expose_mut(bad);
    memcpy(b + PAILLIER_PRIME_LEN, b, PAILLIER_PRIME_LEN); /* p = q */
    assert_int_equal(paillier_private_new(bad, &private, NULL), COFFER_E_FORMAT);
    assert_null(private);
    b[PAILLIER_PRIVATE_LEN - 3] ^= 1; /* p near q */
    assert_int_equal(paillier_private_new(bad, &private, NULL), COFFER_E_FORMAT);
    b[0] = 0x7f;
    assert_int_equal(paillier_private_new(bad, &private, NULL), COFFER_E_FORMAT);
    secret_free(bad);
    assert_int_equal(secret_new(100, &bad, NULL), COFFER_OK);
    assert_int_equal(paillier_private_new(bad, &private, NULL), COFFER_E_FORMAT);
    secret_free(bad);
    memcpy(even, n, sizeof n);
    even[sizeof even - 1] &= 0xfe;
    assert_int_equal(
        paillier_public_new(bytes_of(even, sizeof even), bytes_of(hs, 0), &public, NULL),
        COFFER_E_FORMAT);
    assert_int_equal(
        paillier_public_new(bytes_of(n, sizeof n), bytes_of(n2, sizeof n2), &public, NULL),
        COFFER_E_FORMAT);
    assert_int_equal(paillier_public_new(bytes_of(n, sizeof n), bytes_of(hs, 0), &public, NULL),
                     COFFER_OK);
    assert_int_equal(paillier_pool_new(public, NULL, 0, &pool, NULL), COFFER_E_MISUSE);
    paillier_public_free(public);
}

static int
whole_life(void)
{
    struct paillier_private *private = NULL;
    struct paillier_pool *pool = NULL;
    struct paillier_sum *sum = NULL;
    uint8_t plain[PAILLIER_N_LEN] = {0}, c[PAILLIER_C_LEN];
    bool full;
    int rc = paillier_private_new(primes, &private, NULL);

    if (rc == COFFER_OK)
        rc = paillier_pool_new(paillier_public_of(private), private, 1, &pool, NULL);
    if (rc == COFFER_OK)
        rc = paillier_pool_fill(pool, &full, NULL);
    if (rc == COFFER_OK)
        rc = paillier_encrypt(pool, plain, c, NULL);
    if (rc == COFFER_OK)
        rc = paillier_sum_new(bytes_of(n2, sizeof n2), &sum, NULL);
    if (rc == COFFER_OK)
        rc = paillier_sum_add(sum, bytes_of(c, sizeof c), NULL);
    if (rc == COFFER_OK)
        rc = paillier_decrypt(private, c, plain, NULL);
    paillier_sum_free(sum);
    paillier_pool_free(pool);
    paillier_private_free(private);
    return rc;
}

static void
allocation_failures_leave_nothing(void **state)
{
    size_t live = secret_live_count();
    unsigned nth;
    int rc;

    for (nth = 1;; nth++) {
        fault_alloc_at(nth);
        rc = whole_life();
        if (!fault_fired())
            break;
        assert_int_equal(rc, COFFER_E_NOMEM);
        assert_int_equal(secret_live_count(), live);
    }
    assert_int_equal(rc, COFFER_OK);
    assert_true(nth > 9);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back_from_owner_and_writer),
        cmocka_unit_test(products_hold_sums),
        cmocka_unit_test(powers_hold_multiples),
        cmocka_unit_test(slots_are_summed_side_by_side),
        cmocka_unit_test(the_largest_total_fits_its_slot),
        cmocka_unit_test(a_pool_gives_each_factor_once),
        cmocka_unit_test(a_forked_child_finds_the_pool_empty),
        cmocka_unit_test(what_is_no_ciphertext_is_refused),
        cmocka_unit_test(plaintexts_beyond_n_are_refused),
        cmocka_unit_test(what_is_no_key_is_refused),
        cmocka_unit_test(allocation_failures_leave_nothing),
    };

    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
