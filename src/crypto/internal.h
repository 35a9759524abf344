/* SPDX-License-Identifier: Apache-2.0 */
/* Fetched algorithms, kept for the life of the process, and cipher contexts, one set a thread. */
#ifndef COFFER_CRYPTO_INTERNAL_H
#define COFFER_CRYPTO_INTERNAL_H

#include "crypto/crypto.h"

#include <openssl/evp.h>

/* This thread's AES-256-GCM contexts; NULL when out of memory. */
EVP_CIPHER_CTX *gcm_context(bool encrypt);
/* Fetching is the slow part of an OpenSSL 3 call, so each algorithm is fetched once; NULL when it
 * cannot be had. */
EVP_CIPHER *cipher_ecb(void);
EVP_CIPHER *cipher_wrap_pad(void);
EVP_MD *digest_sha256(void);
EVP_MD *digest_sha512(void);
EVP_MAC *mac_hmac(void);

/* The two ways to AES-256-GCM (aes_gcm.c chooses by length); arguments as aes256_gcm_seal(), and at
 * least a tag to open. */
#define GCM_SHORT_MAX 1024       /* bytes of additional data and message */
bool gcm_sodium_available(void); /* the processor has what libsodium's code needs */
COFFER_MUST_CHECK int gcm_sodium_seal(const uint8_t key[32], const uint8_t nonce[12],
                                      struct bytes ad, struct bytes plain, uint8_t *out,
                                      struct coffer_error *err);
COFFER_MUST_CHECK int gcm_sodium_open(const uint8_t key[32], const uint8_t nonce[12],
                                      struct bytes ad, struct bytes sealed, uint8_t *out,
                                      struct coffer_error *err);
COFFER_MUST_CHECK int gcm_openssl_seal(const uint8_t key[32], const uint8_t nonce[12],
                                       struct bytes ad, struct bytes plain, uint8_t *out,
                                       struct coffer_error *err);
COFFER_MUST_CHECK int gcm_openssl_open(const uint8_t key[32], const uint8_t nonce[12],
                                       struct bytes ad, struct bytes sealed, uint8_t *out,
                                       struct coffer_error *err);

/* After a call of OpenSSL failed: was memory the reason?  Empties this thread's error queue.  Asked
 * where "no" would be an answer about somebody's data.  OpenSSL does not always know: false is no
 * proof. */
bool openssl_lacked_memory(void);

#endif
