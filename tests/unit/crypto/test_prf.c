/* SPDX-License-Identifier: Apache-2.0 */
#include "support/fault.h"
#include "support/test.h"

#include "crypto/aes_block.h"
#include "crypto/block.h"
#include "crypto/crypto.h"
#include "crypto/prf.h"

#include <string.h>

static void
random_bytes(void *out, size_t len)
{
    assert_int_equal(random_nonce(out, len, NULL), COFFER_OK);
}

/* Keys and messages of any length give what the one-shot function gives. */
static void
prepared_hmac_equals_one_shot(void **state)
{
    uint8_t key[100], message[300], a[32], b[32];

    for (int i = 0; i < 300; i++) {
        size_t key_len = (size_t)i % (sizeof key + 1), len = (size_t)(i * 7) % sizeof message;
        struct bytes parts[] = {{message, len / 3}, {message + len / 3, len - len / 3}};
        struct hmac_key *prepared;

        random_bytes(key, sizeof key);
        random_bytes(message, sizeof message);
        assert_int_equal(hmac_key_new(bytes_of(key, key_len), &prepared, NULL), COFFER_OK);
        hmac_key_mac(prepared, parts, 2, a);
        assert_int_equal(hmac_sha256(bytes_of(key, key_len), parts, 2, b, NULL), COFFER_OK);
        assert_memory_equal(a, b, 32);
        hmac_key_mac(prepared, parts, 2, a); /* the states are as they were */
        assert_memory_equal(a, b, 32);
        hmac_key_free(prepared);
    }
}

/* RFC 4231, test cases 2 and 1. */
static void
hmac_sha512_gives_the_published_answers(void **state)
{
    static const uint8_t EXPECTED2[64] = {
        0x16, 0x4b, 0x7a, 0x7b, 0xfc, 0xf8, 0x19, 0xe2, 0xe3, 0x95, 0xfb, 0xe7, 0x3b,
        0x56, 0xe0, 0xa3, 0x87, 0xbd, 0x64, 0x22, 0x2e, 0x83, 0x1f, 0xd6, 0x10, 0x27,
        0x0c, 0xd7, 0xea, 0x25, 0x05, 0x54, 0x97, 0x58, 0xbf, 0x75, 0xc0, 0x5a, 0x99,
        0x4a, 0x6d, 0x03, 0x4f, 0x65, 0xf8, 0xf0, 0xe6, 0xfd, 0xca, 0xea, 0xb1, 0xa3,
        0x4d, 0x4a, 0x6b, 0x4b, 0x63, 0x6e, 0x07, 0x0a, 0x38, 0xbc, 0xe7, 0x37};
    struct bytes parts[] = {bytes_str("what do ya want "), bytes_str("for nothing?")};
    struct hmac512_key *key;
    uint8_t mac[64], long_key[129] = {0};

    assert_int_equal(hmac512_key_new(bytes_str("Jefe"), &key, NULL), COFFER_OK);
    hmac512_key_mac(key, parts, 2, mac);
    assert_memory_equal(mac, EXPECTED2, 64);
    hmac512_key_free(key);
    assert_int_equal(hmac512_key_new(bytes_of(long_key, sizeof long_key), &key, NULL),
                     COFFER_E_LIMIT);
    assert_null(key);
}

/* FIPS 197, appendix C.1 and C.3. */
static void
aes_gives_the_published_answers(void **state)
{
    static const uint8_t C128[16] = {0x69, 0xc4, 0xe0, 0xd8, 0x6a, 0x7b, 0x04, 0x30,
                                     0xd8, 0xcd, 0xb7, 0x80, 0x70, 0xb4, 0xc5, 0x5a};
    static const uint8_t C256[16] = {0x8e, 0xa2, 0xb7, 0xca, 0x51, 0x67, 0x45, 0xbf,
                                     0xea, 0xfc, 0x49, 0x90, 0x4b, 0x49, 0x60, 0x89};
    uint8_t key[32], plain[16], out[16];
    struct aes_schedule schedule;

    for (int i = 0; i < 32; i++)
        key[i] = (uint8_t)i;
    for (int i = 0; i < 16; i++)
        plain[i] = (uint8_t)(i * 0x11);
    for (int off = 0; off < 2; off++) {
        aes_block_hardware_off(off);
        aes128_once(key, plain, out);
        assert_memory_equal(out, C128, 16);
        aes128_schedule(&schedule, key);
        aes_blocks(&schedule, plain, out, 1);
        assert_memory_equal(out, C128, 16);
        aes256_schedule(&schedule, key);
        aes_blocks(&schedule, plain, out, 1);
        assert_memory_equal(out, C256, 16);
    }
    aes_block_hardware_off(false);
}

/* Both ways, any number of blocks, in place and not: what EVP gives. */
static void
aes_blocks_equal_evp(void **state)
{
    uint8_t key[32], in[16 * 40], out[16 * 40], expected[16 * 40], once[16];

    for (int i = 0; i < 200; i++) {
        size_t count = (size_t)i % 41;
        struct aes_schedule schedule;

        aes_block_hardware_off(i % 2 == 1);
        random_bytes(key, sizeof key);
        random_bytes(in, sizeof in);
        aes256_schedule(&schedule, key);
        assert_int_equal(
            block_ecb(BLOCK_AES, bytes_of(key, 32), true, in, expected, 16 * count, NULL),
            COFFER_OK);
        aes_blocks(&schedule, in, out, count);
        assert_memory_equal(out, expected, 16 * count);
        aes_block_hardware_off(i % 3 == 1); /* a schedule goes on working */
        memcpy(out, in, sizeof in);
        aes_blocks(&schedule, out, out, count);
        assert_memory_equal(out, expected, 16 * count);
        aes128_schedule(&schedule, key);
        aes_blocks(&schedule, in, out, count);
        assert_int_equal(block_ecb(BLOCK_AES, bytes_of(key, 16), true, in, expected, 16 * 40, NULL),
                         COFFER_OK);
        assert_memory_equal(out, expected, 16 * count);
        aes128_once(key, in, once);
        assert_memory_equal(once, expected, 16);
    }
    aes_block_hardware_off(false);
}

static int
make_all(void)
{
    static const uint8_t key[32];
    struct hmac_key *a = NULL;
    struct hmac512_key *b = NULL;
    int rc = hmac_key_new(bytes_of(key, 32), &a, NULL);

    if (rc == COFFER_OK)
        rc = hmac512_key_new(bytes_of(key, 32), &b, NULL);
    hmac_key_free(a);
    hmac512_key_free(b);
    return rc;
}

static void
every_allocation_failure_is_clean(void **state)
{
    fault_every_allocation("prepared keys", make_all, 4);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prepared_hmac_equals_one_shot),
        cmocka_unit_test(hmac_sha512_gives_the_published_answers),
        cmocka_unit_test(aes_gives_the_published_answers),
        cmocka_unit_test(aes_blocks_equal_evp),
        cmocka_unit_test(every_allocation_failure_is_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
