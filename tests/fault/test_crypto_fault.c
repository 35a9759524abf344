/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation of crypto/ fails once, those that OpenSSL makes on our behalf too (but for PEM
 * files, a thousand of its own): the answer is NOMEM, nothing leaks (the sanitizer watches), and
 * the next call works. */
#include "support/fault.h"
#include "support/test.h"

#include "base/mem.h"
#include "crypto/crypto.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t KEY[32] = {1};
static const uint8_t NONCE[XAES_NONCE_LEN] = {2};

static void *
openssl_alloc(size_t size, const char *file, int line)
{
    return mem_fault() ? NULL : malloc(size);
}

static void *
openssl_grow(void *old, size_t size, const char *file, int line)
{
    return mem_fault() ? NULL : realloc(old, size);
}

static void
openssl_free(void *block, const char *file, int line)
{
    free(block);
}

/* Work in a thread of its own, so that its contexts and its pool have to be made. */
static void *
run_in_thread(void *arg)
{
    int (*work)(void) = *(int (**)(void))arg;

    return (void *)(intptr_t)work();
}

static int
in_new_thread(int (*work)(void))
{
    pthread_t thread;
    void *rc;

    assert_int_equal(pthread_create(&thread, NULL, run_in_thread, &work), 0);
    assert_int_equal(pthread_join(thread, &rc), 0);
    return (int)(intptr_t)rc;
}

static int
here(int (*work)(void))
{
    return work();
}

static void
fail_each(int (*run)(int (*work)(void)), int (*work)(void), unsigned at_least)
{
    unsigned nth = 0, failures = 0;
    int rc;

    assert_int_equal(run(work), COFFER_OK); /* what is made once a process is made now */
    for (;;) {
        fault_alloc_at(++nth);
        rc = run(work);
        if (!fault_fired())
            break;
        /* OpenSSL can do without some of its allocations; then the answer is the right one all the
         * same. */
        if (rc != COFFER_E_NOMEM && rc != COFFER_OK)
            fail_msg("allocation %u failed, the answer was %s", nth, coffer_status_name(rc));
        failures += rc == COFFER_E_NOMEM;
        assert_int_equal(secret_live_count(), 0);
    }
    assert_int_equal(rc, COFFER_OK);
    assert_true(failures >= at_least);
}

static int
seal_and_open(void)
{
    uint8_t sealed[32 + AES_GCM_TAG_LEN], opened[32], plain[32] = {3};
    struct xaes_key *key;
    int rc = xaes_key_new(KEY, &key, NULL);

    if (rc == COFFER_OK)
        rc = xaes_seal(key, NONCE, bytes_str("ad"), bytes_of(plain, 32), sealed, NULL);
    if (rc == COFFER_OK)
        rc = xaes_open(key, NONCE, bytes_str("ad"), bytes_of(sealed, sizeof sealed), opened, NULL);
    if (rc == COFFER_OK && memcmp(plain, opened, 32) != 0)
        rc = COFFER_E_AUTH;
    xaes_key_free(key);
    return rc;
}

static int
make_random(void)
{
    struct secret *secret = NULL;
    uint8_t nonce[24];
    int rc = random_nonce(nonce, sizeof nonce, NULL);

    if (rc == COFFER_OK)
        rc = random_secret(32, &secret, NULL);
    secret_free(secret);
    return rc;
}

static int
wrap_and_unwrap(void)
{
    struct secret *kek = NULL, *opened = NULL;
    uint8_t wrapped[40];
    int rc = secret_copy(bytes_of(KEY, 32), &kek, NULL);

    if (rc == COFFER_OK)
        rc = key_wrap(kek, bytes_str("20 bytes of material"), wrapped, NULL);
    if (rc == COFFER_OK)
        rc = key_unwrap(kek, bytes_of(wrapped, key_wrap_len(20)), &opened, NULL);
    secret_free(opened);
    secret_free(kek);
    return rc;
}

static int
derive(void)
{
    struct bytes part = bytes_str("part");
    struct secret *key = NULL;
    static uint8_t expected[160]; /* the answers of the first run, when nothing failed */
    uint8_t out[160] = {0};
    int rc = hkdf_sha256(bytes_str("ikm"), bytes_str(""), part, out, 32, NULL);

    if (rc == COFFER_OK)
        rc = hkdf_sha512(bytes_str("ikm"), bytes_str("salt"), part, out + 32, 64, NULL);
    if (rc == COFFER_OK)
        rc = hmac_sha256(bytes_str("key"), &part, 1, out + 96, NULL);
    if (rc == COFFER_OK)
        rc = sha256(part, out + 128, NULL);
    if (rc == COFFER_OK)
        rc = argon2id(part, KEY, 1, 8, 32, &key, NULL);
    if (rc == COFFER_OK && expected[0] == 0)
        memcpy(expected, out, sizeof out);
    if (rc == COFFER_OK && memcmp(expected, out, sizeof out) != 0)
        rc = COFFER_E_AUTH;
    secret_free(key);
    return rc;
}

static int
sign_and_verify(void)
{
    uint8_t public_key[32], signature[64];
    struct secret *seed = NULL;
    int rc = secret_copy(bytes_of(KEY, 32), &seed, NULL);

    if (rc == COFFER_OK)
        rc = ed25519_public(seed, public_key, NULL);
    if (rc == COFFER_OK)
        rc = ed25519_sign(seed, bytes_str("m"), signature, NULL);
    if (rc == COFFER_OK)
        rc = ed25519_verify(public_key, bytes_str("m"), signature, NULL);
    secret_free(seed);
    return rc;
}

static void
sealing_survives_each_failed_allocation(void **state)
{
    fail_each(in_new_thread, seal_and_open, 4);
}

static void
random_bytes_survive_each_failed_allocation(void **state)
{
    fail_each(in_new_thread, make_random, 2);
}

static void
key_wrap_survives_each_failed_allocation(void **state)
{
    fail_each(here, wrap_and_unwrap, 4);
}

static void
derivation_survives_each_failed_allocation(void **state)
{
    fail_each(here, derive, 4);
}

static void
signatures_survive_each_failed_allocation(void **state)
{
    fail_each(here, sign_and_verify, 4);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sealing_survives_each_failed_allocation),
        cmocka_unit_test(random_bytes_survive_each_failed_allocation),
        cmocka_unit_test(key_wrap_survives_each_failed_allocation),
        cmocka_unit_test(derivation_survives_each_failed_allocation),
        cmocka_unit_test(signatures_survive_each_failed_allocation),
    };

    if (CRYPTO_set_mem_functions(openssl_alloc, openssl_grow, openssl_free) != 1)
        return 1;
    return cmocka_run_group_tests_name("crypto: failed allocations", tests, NULL, NULL);
}
