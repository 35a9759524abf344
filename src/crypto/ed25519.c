/* SPDX-License-Identifier: Apache-2.0 */
/* Ed25519, RFC 8032 (pure), and the PEM of its public keys, RFC 8410. */
#include "crypto/internal.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sodium.h>

static EVP_PKEY *
private_key(const struct secret *seed)
{
    struct bytes s = secret_expose(seed);

    return s.len == 32 ? EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, s.ptr, s.len) : NULL;
}

int
ed25519_public(const struct secret *seed, uint8_t out[32], struct coffer_error *err)
{
    EVP_PKEY *key = private_key(seed);
    size_t len = 32;
    bool ok = key != NULL && EVP_PKEY_get_raw_public_key(key, out, &len) == 1;

    EVP_PKEY_free(key);
    return ok ? COFFER_OK : error_nomem(err);
}

int
ed25519_sign(const struct secret *seed, struct bytes message, uint8_t out[64],
             struct coffer_error *err)
{
    EVP_PKEY *key = private_key(seed);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t len = 64;
    bool ok = key != NULL && context != NULL &&
              EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 &&
              EVP_DigestSign(context, out, &len, message.ptr, message.len) == 1 && len == 64;

    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    return ok ? COFFER_OK : error_nomem(err);
}

/* By libsodium, which allocates nothing: OpenSSL answers "does not hold" when it runs out of memory
 * in the middle, and a certificate would be taken for forged.  Also strict: no small-order keys, no
 * second form of a signature. */
int
ed25519_verify(const uint8_t public_key[32], struct bytes message, const uint8_t signature[64],
               struct coffer_error *err)
{
    static const uint8_t nothing;

    if (crypto_sign_verify_detached(signature, message.len > 0 ? message.ptr : &nothing,
                                    message.len, public_key) != 0)
        return error_set(err, COFFER_E_AUTH, "the signature does not hold");
    return COFFER_OK;
}

int
ed25519_pem_write(const uint8_t public_key[32], struct buf *out, struct coffer_error *err)
{
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public_key, 32);
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len;
    int rc = COFFER_OK;

    if (key == NULL || bio == NULL || PEM_write_bio_PUBKEY(bio, key) != 1 ||
        (len = BIO_get_mem_data(bio, &text)) <= 0)
        rc = error_nomem(err);
    else
        buf_add(out, text, (size_t)len);
    BIO_free(bio);
    EVP_PKEY_free(key);
    return rc != COFFER_OK ? rc : buf_status(out, err);
}

/* A file may claim to be encrypted: without this, OpenSSL would ask the terminal for a passphrase.
 */
static int
no_passphrase(char *out, int size, int writing, void *arg)
{
    return -1;
}

int
ed25519_pem_read(struct bytes pem, uint8_t public_key[32], struct coffer_error *err)
{
    BIO *bio = pem.len > 0 && pem.len < 65536 ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL) : NULL;
    size_t len = 32;
    bool ok = key != NULL && EVP_PKEY_get_id(key) == EVP_PKEY_ED25519 &&
              EVP_PKEY_get_raw_public_key(key, public_key, &len) == 1 && len == 32;

    EVP_PKEY_free(key);
    BIO_free(bio);
    if (!ok && openssl_lacked_memory())
        return error_nomem(err);
    return ok ? COFFER_OK
              : error_set(err, COFFER_E_FORMAT, "not a PEM file with an Ed25519 public key");
}
