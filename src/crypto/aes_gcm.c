/* SPDX-License-Identifier: Apache-2.0 */
/* AES-256-GCM, NIST SP 800-38D, 12-byte nonce, 16-byte tag.
 *
 * Each message has a key of its own (XAES), so for a short one the time goes into setting up.
 * libsodium does that in a third of OpenSSL's time where the processor has AES instructions (its
 * code needs them), and is the slower one from about a kilobyte on: docs/decisions/0007.
 */
#include "crypto/internal.h"

#include <limits.h>
#include <pthread.h>
#include <sodium.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool available;

static void
look(void)
{
    available = sodium_init() >= 0 && crypto_aead_aes256gcm_is_available() == 1;
}

bool
gcm_sodium_available(void)
{
    pthread_once(&once, look); /* sodium_init() itself takes a lock each time */
    return available;
}

int
gcm_sodium_seal(const uint8_t key[32], const uint8_t nonce[12], struct bytes ad, struct bytes plain,
                uint8_t *out, struct coffer_error *err)
{
    crypto_aead_aes256gcm_state state; /* the key schedule */

    crypto_aead_aes256gcm_beforenm(&state, key);
    crypto_aead_aes256gcm_encrypt_detached_afternm(out, out + plain.len, NULL, plain.ptr, plain.len,
                                                   ad.ptr, ad.len, NULL, nonce,
                                                   (const crypto_aead_aes256gcm_state *)&state);
    wipe(&state, sizeof state);
    (void)err; /* it cannot fail */
    return COFFER_OK;
}

int
gcm_sodium_open(const uint8_t key[32], const uint8_t nonce[12], struct bytes ad,
                struct bytes sealed, uint8_t *out, struct coffer_error *err)
{
    size_t plain_len = sealed.len - AES_GCM_TAG_LEN;
    crypto_aead_aes256gcm_state state;
    int failed;

    crypto_aead_aes256gcm_beforenm(&state, key);
    failed = crypto_aead_aes256gcm_decrypt_detached_afternm(
        out, NULL, sealed.ptr, plain_len, sealed.ptr + plain_len, ad.ptr, ad.len, nonce,
        (const crypto_aead_aes256gcm_state *)&state);
    wipe(&state, sizeof state);
    if (failed == 0)
        return COFFER_OK;
    wipe(out, plain_len);
    return error_set(err, COFFER_E_AUTH, "authentication failed");
}

static int
failed(struct coffer_error *err)
{
    return error_set(err, COFFER_E_NOMEM,
                     "AES-256-GCM: the cryptographic library is out of memory");
}

static int
too_long(size_t a, size_t b, struct coffer_error *err)
{
    if (a > INT_MAX || b > INT_MAX)
        return error_set(err, COFFER_E_LIMIT, "AES-256-GCM: more than 2 GiB in one call");
    return COFFER_OK;
}

int
gcm_openssl_seal(const uint8_t key[32], const uint8_t nonce[12], struct bytes ad,
                 struct bytes plain, uint8_t *out, struct coffer_error *err)
{
    EVP_CIPHER_CTX *context = gcm_context(true);
    int len = 0, rc = too_long(ad.len, plain.len, err);

    if (rc != COFFER_OK)
        return rc;
    if (context == NULL || EVP_EncryptInit_ex2(context, NULL, key, nonce, NULL) != 1)
        return failed(err);
    if (ad.len > 0 && EVP_EncryptUpdate(context, NULL, &len, ad.ptr, (int)ad.len) != 1)
        return failed(err);
    if (plain.len > 0 && EVP_EncryptUpdate(context, out, &len, plain.ptr, (int)plain.len) != 1)
        return failed(err);
    if (EVP_EncryptFinal_ex(context, out + plain.len, &len) != 1 ||
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, AES_GCM_TAG_LEN, out + plain.len) != 1)
        return failed(err);
    return COFFER_OK;
}

int
gcm_openssl_open(const uint8_t key[32], const uint8_t nonce[12], struct bytes ad,
                 struct bytes sealed, uint8_t *out, struct coffer_error *err)
{
    EVP_CIPHER_CTX *context = gcm_context(false);
    size_t plain_len = sealed.len - AES_GCM_TAG_LEN;
    uint8_t tag[AES_GCM_TAG_LEN];
    int len = 0, i, rc = too_long(ad.len, sealed.len, err);

    if (rc != COFFER_OK)
        return rc;
    for (i = 0; i < AES_GCM_TAG_LEN; i++)
        tag[i] = sealed.ptr[plain_len + (size_t)i];
    if (context == NULL || EVP_DecryptInit_ex2(context, NULL, key, nonce, NULL) != 1 ||
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, AES_GCM_TAG_LEN, tag) != 1)
        return failed(err);
    if (ad.len > 0 && EVP_DecryptUpdate(context, NULL, &len, ad.ptr, (int)ad.len) != 1)
        return failed(err);
    if (plain_len > 0 && EVP_DecryptUpdate(context, out, &len, sealed.ptr, (int)plain_len) != 1) {
        wipe(out, plain_len);
        return failed(err);
    }
    if (EVP_DecryptFinal_ex(context, tag, &len) != 1) {
        wipe(out, plain_len);
        return error_set(err, COFFER_E_AUTH, "authentication failed");
    }
    return COFFER_OK;
}

/* ---- which of the two ---- */

static bool
short_message(size_t len)
{
    return len <= GCM_SHORT_MAX && gcm_sodium_available();
}

int
aes256_gcm_seal(const uint8_t key[32], const uint8_t nonce[12], struct bytes ad, struct bytes plain,
                uint8_t *out, struct coffer_error *err)
{
    return (short_message(ad.len + plain.len) ? gcm_sodium_seal
                                              : gcm_openssl_seal)(key, nonce, ad, plain, out, err);
}

int
aes256_gcm_open(const uint8_t key[32], const uint8_t nonce[12], struct bytes ad,
                struct bytes sealed, uint8_t *out, struct coffer_error *err)
{
    if (sealed.len < AES_GCM_TAG_LEN)
        return error_set(err, COFFER_E_FORMAT, "AES-256-GCM: shorter than a tag");
    return (short_message(ad.len + sealed.len) ? gcm_sodium_open : gcm_openssl_open)(
        key, nonce, ad, sealed, out, err);
}
