/* SPDX-License-Identifier: Apache-2.0 */
/* Random primes. */
#include "support/fault.h"
#include "support/test.h"

#include "crypto/prime.h"

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
make_prime(void)
{
    struct secret *p = NULL;
    int rc = prime_new(256, &p, NULL);

    assert_true((rc == COFFER_OK) == (p != NULL));
    secret_free(p);
    return rc;
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
        cmocka_unit_test(a_prime_has_its_length_and_form),
        cmocka_unit_test(a_prime_that_finds_no_memory_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
