/* SPDX-License-Identifier: Apache-2.0 */
/* The primitives against their published answers; sources are cited in the .txt files. */
#include "support/kat.h"
#include "support/test.h"

#include "crypto/internal.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

static bool
is_valid(const struct kat_case *c)
{
    return strcmp(kat_text(c, "result"), "valid") == 0;
}

static void
assert_wiped(const uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        assert_int_equal(out[i], 0);
}

static void
check_xaes(struct kat_case *c)
{
    struct bytes plain = kat_bytes(c, "plain"), sealed = kat_bytes(c, "sealed");
    const uint8_t *nonce = kat_bytes(c, "nonce").ptr;
    struct xaes_key *key;
    uint8_t out[256];

    assert_int_equal(xaes_key_new(kat_bytes(c, "key").ptr, &key, NULL), COFFER_OK);
    assert_int_equal(xaes_seal(key, nonce, kat_bytes(c, "aad"), plain, out, NULL), COFFER_OK);
    kat_assert_equal(c, "sealed", bytes_of(out, sealed.len));
    assert_int_equal(xaes_open(key, nonce, kat_bytes(c, "aad"), sealed, out, NULL), COFFER_OK);
    kat_assert_equal(c, "plain", bytes_of(out, plain.len));
    xaes_key_free(key);
}

static void
xaes_gives_the_answers_of_its_specification(void **state)
{
    kat_run("xaes.txt", 2, check_xaes);
}

static uint8_t *
shake128(struct bytes data, size_t len)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t *out = malloc(len);

    assert_int_equal(EVP_DigestInit_ex(context, EVP_shake128(), NULL), 1);
    assert_int_equal(EVP_DigestUpdate(context, data.ptr, data.len), 1);
    assert_int_equal(EVP_DigestFinalXOF(context, out, len), 1);
    EVP_MD_CTX_free(context);
    return out;
}

/* C2SP XAES-256-GCM, "Accumulated randomized tests": key, nonce, plaintext and additional data are
 * read from SHAKE-128 of nothing; the ciphertexts are hashed by another SHAKE-128. */
static void
xaes_gives_the_accumulated_answer_of_10000_messages(void **state)
{
    enum { RUNS = 10000, RUN_MAX = 32 + 24 + 1 + 255 + 1 + 255 };
    static const uint8_t FIRST[] = {0x7f, 0x9c, 0x2b, 0xa4, 0xe8, 0x8f, 0x82, 0x7d};
    uint8_t *stream = shake128(bytes_str(""), (size_t)RUNS * RUN_MAX), *hash;
    struct cursor c = cursor_of(bytes_of(stream, (size_t)RUNS * RUN_MAX));
    struct buf all;
    char text[65];

    assert_memory_equal(stream, FIRST, sizeof FIRST);
    buf_init(&all, (size_t)RUNS * (255 + AES_GCM_TAG_LEN));
    for (int run = 0; run < RUNS; run++) {
        const uint8_t *raw_key = cursor_take(&c, 32).ptr, *nonce = cursor_take(&c, 24).ptr;
        struct bytes plain = cursor_take(&c, cursor_u8(&c));
        struct bytes aad = cursor_take(&c, cursor_u8(&c));
        uint8_t sealed[255 + AES_GCM_TAG_LEN], opened[255];
        struct xaes_key *key;

        assert_int_equal(xaes_key_new(raw_key, &key, NULL), COFFER_OK);
        assert_int_equal(xaes_seal(key, nonce, aad, plain, sealed, NULL), COFFER_OK);
        buf_add(&all, sealed, plain.len + AES_GCM_TAG_LEN);
        assert_int_equal(
            xaes_open(key, nonce, aad, bytes_of(sealed, plain.len + AES_GCM_TAG_LEN), opened, NULL),
            COFFER_OK);
        assert_true(bytes_equal(bytes_of(opened, plain.len), plain));
        xaes_key_free(key);
    }
    assert_int_equal(buf_status(&all, NULL), COFFER_OK);
    hash = shake128(buf_view(&all), 32);
    hex_encode(bytes_of(hash, 32), text);
    assert_string_equal(text, "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939");
    free(hash);
    free(stream);
    buf_wipe(&all);
}

/* Which of the two ways is under test. */
static int (*gcm_seal)(const uint8_t *, const uint8_t *, struct bytes, struct bytes, uint8_t *,
                       struct coffer_error *);
static int (*gcm_open)(const uint8_t *, const uint8_t *, struct bytes, struct bytes, uint8_t *,
                       struct coffer_error *);

static void
check_aes_gcm(struct kat_case *c)
{
    struct bytes msg = kat_bytes(c, "msg"), ct = kat_bytes(c, "ct"), aad = kat_bytes(c, "aad");
    const uint8_t *key = kat_bytes(c, "key").ptr, *nonce = kat_bytes(c, "nonce").ptr;
    uint8_t out[1024], sealed[1024];
    int rc;

    memcpy(sealed, ct.ptr, ct.len);
    memcpy(sealed + ct.len, kat_bytes(c, "tag").ptr, AES_GCM_TAG_LEN);
    memset(out, 0xee, sizeof out);
    rc = gcm_open(key, nonce, aad, bytes_of(sealed, ct.len + AES_GCM_TAG_LEN), out, NULL);
    if (!is_valid(c)) {
        kat_assert_int(c, "open", rc, COFFER_E_AUTH);
        assert_wiped(out, ct.len);
        return;
    }
    kat_assert_int(c, "open", rc, COFFER_OK);
    kat_assert_equal(c, "msg", bytes_of(out, msg.len));
    assert_int_equal(gcm_seal(key, nonce, aad, msg, out, NULL), COFFER_OK);
    kat_assert_equal(c, "ct", bytes_of(out, msg.len));
    kat_assert_equal(c, "tag", bytes_of(out + msg.len, AES_GCM_TAG_LEN));
}

static void
aes_gcm_gives_published_answers_and_refuses_other_tags(void **state)
{
    gcm_seal = gcm_openssl_seal;
    gcm_open = gcm_openssl_open;
    kat_run("aes_gcm.txt", 41, check_aes_gcm);
    if (!gcm_sodium_available()) {
        print_message("libsodium has no AES-256-GCM for this processor: that way was not tried\n");
        return;
    }
    gcm_seal = gcm_sodium_seal;
    gcm_open = gcm_sodium_open;
    kat_run("aes_gcm.txt", 41, check_aes_gcm);
}

static void
check_key_wrap(struct kat_case *c)
{
    struct bytes msg = kat_bytes(c, "msg"), ct = kat_bytes(c, "ct");
    struct secret *kek, *opened;
    uint8_t out[1024];
    int rc;

    assert_int_equal(secret_copy(kat_bytes(c, "key"), &kek, NULL), COFFER_OK);
    rc = key_unwrap(kek, ct, &opened, NULL);
    if (is_valid(c)) {
        kat_assert_int(c, "unwrap", rc, COFFER_OK);
        kat_assert_equal(c, "msg", secret_expose(opened));
        assert_int_equal(key_wrap_len(msg.len), ct.len);
        assert_int_equal(key_wrap(kek, msg, out, NULL), COFFER_OK);
        kat_assert_equal(c, "ct", bytes_of(out, ct.len));
    } else {
        kat_assert_int(c, "unwrap", rc, COFFER_E_AUTH);
        assert_null(opened);
    }
    secret_free(opened);
    secret_free(kek);
    assert_int_equal(secret_live_count(), 0);
}

static void
key_wrap_gives_published_answers_and_refuses_bad_padding(void **state)
{
    kat_run("key_wrap.txt", 60, check_key_wrap);
}

static void
check_hkdf(struct kat_case *c, int (*hkdf)(struct bytes, struct bytes, struct bytes, uint8_t *,
                                           size_t, struct coffer_error *))
{
    size_t size = kat_u64(c, "size");
    uint8_t *okm = malloc(size);
    int rc = hkdf(kat_bytes(c, "ikm"), kat_bytes(c, "salt"), kat_bytes(c, "info"), okm, size, NULL);

    kat_assert_int(c, "hkdf", rc, is_valid(c) ? COFFER_OK : COFFER_E_LIMIT);
    if (is_valid(c))
        kat_assert_equal(c, "okm", bytes_of(okm, size));
    free(okm);
}

static void
check_hkdf_sha256(struct kat_case *c)
{
    check_hkdf(c, hkdf_sha256);
}

static void
check_hkdf_sha512(struct kat_case *c)
{
    check_hkdf(c, hkdf_sha512);
}

static void
hkdf_gives_published_answers_up_to_its_limit(void **state)
{
    kat_run("hkdf_sha256.txt", 17, check_hkdf_sha256);
    kat_run("hkdf_sha512.txt", 17, check_hkdf_sha512);
}

/* The message is given in two parts, which must mean the same as one. */
static void
check_hmac(struct kat_case *c)
{
    struct bytes msg = kat_bytes(c, "msg"), tag = kat_bytes(c, "tag");
    struct bytes parts[2] = {{msg.ptr, msg.len / 2},
                             {msg.ptr + msg.len / 2, msg.len - msg.len / 2}};
    uint8_t out[32];

    assert_int_equal(hmac_sha256(kat_bytes(c, "key"), parts, 2, out, NULL), COFFER_OK);
    kat_assert_int(c, "the tag holds", secret_equal(bytes_of(out, 32), tag), is_valid(c));
}

static void
hmac_gives_published_answers(void **state)
{
    kat_run("hmac_sha256.txt", 26, check_hmac);
}

static void
check_argon2id(struct kat_case *c)
{
    struct secret *tag;

    assert_int_equal(argon2id(kat_bytes(c, "passphrase"), kat_bytes(c, "salt").ptr,
                              (uint32_t)kat_u64(c, "iterations"),
                              (uint32_t)kat_u64(c, "memory_kib"), kat_bytes(c, "tag").len, &tag,
                              NULL),
                     COFFER_OK);
    kat_assert_equal(c, "tag", secret_expose(tag));
    secret_free(tag);
}

static void
argon2id_gives_published_answers(void **state)
{
    kat_run("argon2id.txt", 5, check_argon2id);
}

static void
check_ed25519_sign(struct kat_case *c)
{
    uint8_t public_key[32], signature[64];
    struct secret *seed;

    assert_int_equal(secret_copy(kat_bytes(c, "seed"), &seed, NULL), COFFER_OK);
    assert_int_equal(ed25519_public(seed, public_key, NULL), COFFER_OK);
    kat_assert_equal(c, "pk", bytes_of(public_key, 32));
    assert_int_equal(ed25519_sign(seed, kat_bytes(c, "msg"), signature, NULL), COFFER_OK);
    kat_assert_equal(c, "sig", bytes_of(signature, 64));
    assert_int_equal(ed25519_verify(public_key, kat_bytes(c, "msg"), signature, NULL), COFFER_OK);
    secret_free(seed);
}

static void
check_ed25519_verify(struct kat_case *c)
{
    kat_assert_int(
        c, "verify",
        ed25519_verify(kat_bytes(c, "pk").ptr, kat_bytes(c, "msg"), kat_bytes(c, "sig").ptr, NULL),
        is_valid(c) ? COFFER_OK : COFFER_E_AUTH);
}

static void
ed25519_gives_published_answers_and_refuses_malleable_signatures(void **state)
{
    kat_run("ed25519_sign.txt", 4, check_ed25519_sign);
    kat_run("ed25519_verify.txt", 73, check_ed25519_verify);
}

/* The whole ciphertext, segment by segment, by its digest. */
static void
check_stream(struct kat_case *c)
{
    const uint8_t *header = kat_bytes(c, "header").ptr;
    size_t len = kat_u64(c, "len"), room = 1048576 - 40 - 16, done = 0;
    uint8_t *plain = malloc(len + 1), *sealed = malloc(1048576), digest[32];
    struct sha256_state *state;
    struct gcm_stream stream;
    uint64_t segment = 0;
    bool last = false;

    for (size_t i = 0; i < len; i++)
        plain[i] = (uint8_t)(i % 251);
    assert_int_equal(gcm_stream_init(&stream, kat_bytes(c, "key"), header + 1, header + 33,
                                     kat_bytes(c, "ad"), NULL),
                     COFFER_OK);
    assert_int_equal(sha256_new(&state, NULL), COFFER_OK);
    assert_int_equal(sha256_add(state, bytes_of(header, 40), NULL), COFFER_OK);
    while (!last) {
        size_t n = len - done < room ? len - done : room;

        last = done + n == len;
        assert_int_equal(
            gcm_stream_seal(&stream, segment++, last, bytes_of(plain + done, n), sealed, NULL),
            COFFER_OK);
        assert_int_equal(sha256_add(state, bytes_of(sealed, n + 16), NULL), COFFER_OK);
        done += n;
        room = 1048576 - 16;
    }
    assert_int_equal(sha256_end(state, digest, NULL), COFFER_OK);
    kat_assert_equal(c, "sha256", bytes_of(digest, sizeof digest));
    sha256_free(state);
    gcm_stream_wipe(&stream);
    free(sealed);
    free(plain);
}

static void
streams_are_those_of_tink(void **state)
{
    kat_run("stream.txt", 10, check_stream);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xaes_gives_the_answers_of_its_specification),
        cmocka_unit_test(streams_are_those_of_tink),
        cmocka_unit_test(xaes_gives_the_accumulated_answer_of_10000_messages),
        cmocka_unit_test(aes_gcm_gives_published_answers_and_refuses_other_tags),
        cmocka_unit_test(key_wrap_gives_published_answers_and_refuses_bad_padding),
        cmocka_unit_test(hkdf_gives_published_answers_up_to_its_limit),
        cmocka_unit_test(hmac_gives_published_answers),
        cmocka_unit_test(argon2id_gives_published_answers),
        cmocka_unit_test(ed25519_gives_published_answers_and_refuses_malleable_signatures),
    };

    return cmocka_run_group_tests_name("crypto: known answers", tests, NULL, NULL);
}
