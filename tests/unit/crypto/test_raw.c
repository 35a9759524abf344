/* SPDX-License-Identifier: Apache-2.0 */
/* Bare AES blocks and random primes. */
#include "support/fault.h"
#include "support/test.h"

#include "crypto/prime.h"
#include "crypto/raw_aes.h"

#include <pthread.h>
#include <string.h>

static const uint8_t KEY[32] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a,
                                0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15,
                                0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f};

/* FIPS 197, appendix C.3, alone and as each of many blocks. */
static void
blocks_are_those_of_fips_197(void **state)
{
    static const uint8_t PLAIN[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                      0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    static const uint8_t CIPHER[16] = {0x8e, 0xa2, 0xb7, 0xca, 0x51, 0x67, 0x45, 0xbf,
                                       0xea, 0xfc, 0x49, 0x90, 0x4b, 0x49, 0x60, 0x89};
    uint8_t many[33 * 16];
    struct raw_aes *aes;

    assert_int_equal(raw_aes_new(KEY, &aes, NULL), COFFER_OK);
    assert_int_equal(raw_aes_blocks(aes, PLAIN, many, 1, NULL), COFFER_OK);
    assert_memory_equal(many, CIPHER, 16);
    for (int i = 0; i < 33; i++)
        memcpy(many + 16 * i, PLAIN, 16);
    assert_int_equal(raw_aes_blocks(aes, many, many, 33, NULL), COFFER_OK);
    for (int i = 0; i < 33; i++)
        assert_memory_equal(many + 16 * i, CIPHER, 16);
    assert_int_equal(raw_aes_blocks(aes, many, many, 0, NULL), COFFER_OK);
    raw_aes_free(aes);
    raw_aes_free(NULL);
    assert_int_equal(secret_live_count(), 0);
}

static void *
encrypt_often(void *arg)
{
    struct raw_aes *aes = arg;
    uint8_t zero[16] = {0}, first[16], again[16];

    if (raw_aes_blocks(aes, zero, first, 1, NULL) != COFFER_OK)
        return arg;
    for (int i = 0; i < 2000; i++)
        if (raw_aes_blocks(aes, zero, again, 1, NULL) != COFFER_OK || memcmp(first, again, 16) != 0)
            return arg;
    return NULL;
}

/* More threads than contexts are kept for. */
static void
a_key_serves_many_threads(void **state)
{
    struct raw_aes *aes;
    pthread_t threads[12];
    void *wrong;

    assert_int_equal(raw_aes_new(KEY, &aes, NULL), COFFER_OK);
    for (int i = 0; i < 12; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, encrypt_often, aes), 0);
    for (int i = 0; i < 12; i++) {
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    raw_aes_free(aes);
}

static void
a_prime_has_its_length_and_form(void **state)
{
    struct secret *p;
    struct bytes b;
    bool yes;

    for (int i = 0; i < 5; i++) {
        assert_int_equal(prime_new(256, &p, NULL), COFFER_OK);
        b = secret_expose(p);
        assert_int_equal(b.len, 32);
        assert_int_equal(b.ptr[0] & 0xc0, 0xc0);
        assert_int_equal(b.ptr[31] & 3, 3);
        assert_int_equal(prime_test(p, &yes, NULL), COFFER_OK);
        assert_true(yes);
        secret_expose_mut(p)[31] ^= 2; /* 1 mod 4: even differences keep it odd, hardly prime */
        secret_expose_mut(p)[31] &= 0xfe;
        assert_int_equal(prime_test(p, &yes, NULL), COFFER_OK);
        assert_false(yes);
        secret_free(p);
    }
}

static int
make_aes(void)
{
    struct raw_aes *aes = NULL;
    int rc = raw_aes_new(KEY, &aes, NULL);

    assert_true((rc == COFFER_OK) == (aes != NULL));
    raw_aes_free(aes);
    return rc;
}

static int
make_prime(void)
{
    struct secret *p = NULL;
    int rc = prime_new(256, &p, NULL);

    assert_true((rc == COFFER_OK) == (p != NULL));
    secret_free(p);
    return rc;
}

static void
allocation_failures_leave_nothing(void **state)
{
    fault_every_allocation("raw_aes_new", make_aes, 3);
}

/* How many candidates a prime takes is chance, so only the first allocations are failed. */
static void
a_prime_that_finds_no_memory_says_so(void **state)
{
    for (unsigned nth = 1; nth <= 2; nth++) {
        fault_alloc_at(nth);
        assert_int_equal(make_prime(), COFFER_E_NOMEM);
        assert_true(fault_fired());
        assert_int_equal(secret_live_count(), 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_those_of_fips_197),
        cmocka_unit_test(a_key_serves_many_threads),
        cmocka_unit_test(a_prime_has_its_length_and_form),
        cmocka_unit_test(allocation_failures_leave_nothing),
        cmocka_unit_test(a_prime_that_finds_no_memory_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
