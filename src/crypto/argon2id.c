/* SPDX-License-Identifier: Apache-2.0 */
/* Argon2id, RFC 9106, version 0x13, one lane, by libsodium. */
#include "crypto/crypto.h"

#include <sodium.h>

#define MEMORY_KIB_MAX (4u << 20)

int
argon2id(struct bytes passphrase, const uint8_t salt[16], uint32_t iterations, uint32_t memory_kib,
         size_t len, struct secret **out, struct coffer_error *err)
{
    int rc;

    _Static_assert(crypto_pwhash_SALTBYTES == 16, "the salt of Argon2id is 16 bytes");
    *out = NULL;
    if (iterations < 1 || memory_kib < 8 || memory_kib > MEMORY_KIB_MAX || len < 16)
        return error_set(err, COFFER_E_LIMIT,
                         "Argon2id with %u passes over %u KiB is outside what is allowed",
                         iterations, memory_kib);
    if (sodium_init() < 0)
        return error_set(err, COFFER_E_NOMEM, "libsodium cannot be initialised");
    rc = secret_new(len, out, err);
    if (rc != COFFER_OK)
        return rc;
    if (crypto_pwhash(secret_expose_mut(*out), len, (const char *)passphrase.ptr, passphrase.len,
                      salt, iterations, (size_t)memory_kib * 1024,
                      crypto_pwhash_ALG_ARGON2ID13) != 0) {
        secret_free(*out);
        *out = NULL;
        return error_set(err, COFFER_E_NOMEM, "out of memory: Argon2id needs %u MiB",
                         memory_kib / 1024);
    }
    return COFFER_OK;
}
