/* SPDX-License-Identifier: Apache-2.0 */
/* The bare ciphers and hashes of foreign formats: published answers, and lanes equal to OpenSSL. */
#include "support/test.h"

#include "crypto/block.h"

#include <string.h>

#define UNIT 4096
#define UNITS 150 /* more than two bursts of the lanes */

static struct bytes
hex(const char *text, uint8_t *room, size_t max)
{
    size_t len = 0;

    assert_true(hex_decode(bytes_str(text), room, max, &len));
    return bytes_of(room, len);
}

static void
assert_hex(const uint8_t *data, size_t len, const char *expected)
{
    char text[512];

    assert_true(len * 2 + 1 <= sizeof text);
    hex_encode(bytes_of(data, len), text);
    assert_string_equal(text, expected);
}

/* RFC 1321, A.5; FIPS 180-4's example "abc". */
static void
hashes_match_the_published_answers(void **state)
{
    uint8_t out[SHA512_LEN], twice[SHA512_LEN];

    assert_int_equal(md5(bytes_str("message digest"), out, NULL), COFFER_OK);
    assert_hex(out, MD5_LEN, "f96b697d7cb7938d525a2f31aaf161d0");
    assert_int_equal(sha512(bytes_str("abc"), out, NULL), COFFER_OK);
    assert_hex(out, 64,
               "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
               "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
    assert_int_equal(sha512(bytes_of(out, 64), twice, NULL), COFFER_OK);
    assert_int_equal(sha512_rounds(bytes_str("abc"), 2, out, NULL), COFFER_OK);
    assert_memory_equal(out, twice, 64);
}

static void
check_ecb(enum block_cipher cipher, const char *key_hex, const char *plain_hex,
          const char *cipher_hex)
{
    uint8_t key[BLOCK_KEY_MAX], block[32];
    struct bytes k = hex(key_hex, key, sizeof key);
    struct bytes p = hex(plain_hex, block, sizeof block);
    struct coffer_error err = {0};
    char text[65];
    int rc = block_ecb(cipher, k, true, block, block, p.len, &err);

    if (rc == COFFER_E_UNSUPPORTED && cipher != BLOCK_AES && cipher != BLOCK_DES3) {
        print_message("%s\n", err.message);
        return;
    }
    assert_int_equal(rc, COFFER_OK);
    assert_hex(block, p.len, cipher_hex);
    assert_int_equal(block_ecb(cipher, k, false, block, block, p.len, NULL), COFFER_OK);
    hex_encode(bytes_of(block, p.len), text);
    assert_string_equal(text, plain_hex);
}

/* FIPS 197, appendix C; NIST SP 800-67's key of three; RFC 2144, B.1; Schneier's Blowfish vectors. */
static void
ciphers_match_the_published_answers(void **state)
{
    check_ecb(BLOCK_AES, "000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff",
              "69c4e0d86a7b0430d8cdb78070b4c55a");
    check_ecb(BLOCK_AES, "000102030405060708090a0b0c0d0e0f1011121314151617",
              "00112233445566778899aabbccddeeff", "dda97ca4864cdfe06eaf70a0ec0d7191");
    check_ecb(BLOCK_AES, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
              "00112233445566778899aabbccddeeff", "8ea2b7ca516745bfeafc49904b496089");
    check_ecb(BLOCK_DES3, "0123456789abcdef23456789abcdef01456789abcdef0123", "5468652071756663",
              "a826fd8ce53b855f");
    check_ecb(BLOCK_CAST5, "0123456712345678234567893456789a", "0123456789abcdef",
              "238b4fe5847e44b2");
    check_ecb(BLOCK_BLOWFISH, "f0e1d2c3b4a5968778695a4b3c2d1e0f", "fedcba9876543210",
              "93142887ee3be15c");
}

static void
a_cipher_that_is_not_there_is_named(void **state)
{
    static const uint8_t KEY[32];
    struct block_key *key = (void *)state;
    struct coffer_error err = {0};
    uint8_t block[16] = {0};

    assert_int_equal(block_ecb(BLOCK_TWOFISH, bytes_of(KEY, 32), true, block, block, 16, &err),
                     COFFER_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "Twofish"));
    assert_int_equal(block_key_new(BLOCK_CAST6, bytes_of(KEY, 32), &key, &err),
                     COFFER_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "CAST-256"));
    assert_null(key);
    assert_int_equal(block_key_new(BLOCK_AES, bytes_of(KEY, 20), &key, &err), COFFER_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "20 bytes"));
}

/* NIST SP 800-38A, F.2.1: one unit of four blocks. */
static void
cbc_matches_sp_800_38a(void **state)
{
    uint8_t key_room[16], data[64];
    struct block_unit unit = {.in = data, .out = data};
    struct block_key *key = NULL;

    hex("000102030405060708090a0b0c0d0e0f", unit.iv, 16);
    hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        data, sizeof data);
    assert_int_equal(
        block_key_new(BLOCK_AES, hex("2b7e151628aed2a6abf7158809cf4f3c", key_room, 16), &key, NULL),
        COFFER_OK);
    assert_int_equal(block_cbc(key, true, &unit, 1, sizeof data, NULL), COFFER_OK);
    assert_hex(data, sizeof data,
               "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
               "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7");
    block_key_free(key);
}

/* The lanes give what OpenSSL gives, for every key length, any number of units, in place or not. */
static void
lanes_equal_openssl(void **state)
{
    static uint8_t plain[UNITS * UNIT], a[UNITS * UNIT], b[UNITS * UNIT];
    static struct block_unit units[UNITS];
    static const size_t COUNTS[] = {1, 2, 3, 7, 8, 15, 16, 17, 63, 64, 65, 128, 129, UNITS};
    struct block_key *key = NULL;
    uint8_t material[32];
    uint32_t x = 1;

    if (!block_lanes_used())
        print_message("no lanes here: only OpenSSL is tested\n");
    for (size_t i = 0; i < sizeof plain; i++, x = x * 1664525 + 1013904223)
        plain[i] = (uint8_t)(x >> 24);
    for (size_t len = 16; len <= 32; len += 8) {
        memcpy(material, plain + len, len);
        assert_int_equal(block_key_new(BLOCK_AES, bytes_of(material, len), &key, NULL), COFFER_OK);
        for (size_t c = 0; c < sizeof COUNTS / sizeof COUNTS[0]; c++) {
            size_t count = COUNTS[c];

            for (size_t i = 0; i < count; i++) {
                units[i] = (struct block_unit){plain + i * UNIT, a + i * UNIT, {0}};
                memcpy(units[i].iv, plain + 17 * i, 16);
            }
            assert_int_equal(block_cbc(key, true, units, count, UNIT, NULL), COFFER_OK);
            block_lanes_off(true);
            for (size_t i = 0; i < count; i++)
                units[i].out = b + i * UNIT;
            assert_int_equal(block_cbc(key, true, units, count, UNIT, NULL), COFFER_OK);
            assert_memory_equal(a, b, count * UNIT);
            for (size_t i = 0; i < count; i++) /* in place */
                units[i].in = b + i * UNIT;
            assert_int_equal(block_cbc(key, false, units, count, UNIT, NULL), COFFER_OK);
            block_lanes_off(false);
            assert_memory_equal(b, plain, count * UNIT);
            for (size_t i = 0; i < count; i++)
                units[i].in = units[i].out = a + i * UNIT;
            assert_int_equal(block_cbc(key, false, units, count, UNIT, NULL), COFFER_OK);
            assert_memory_equal(a, plain, count * UNIT);
        }
        block_key_free(key);
    }
    assert_int_equal(secret_live_count(), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_match_the_published_answers),
        cmocka_unit_test(ciphers_match_the_published_answers),
        cmocka_unit_test(a_cipher_that_is_not_there_is_named),
        cmocka_unit_test(cbc_matches_sp_800_38a),
        cmocka_unit_test(lanes_equal_openssl),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
