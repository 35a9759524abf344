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

/* After a call of OpenSSL failed: was memory the reason?  Empties this thread's error queue.  Asked
 * where "no" would be an answer about somebody's data.  OpenSSL does not always know: false is no
 * proof. */
bool openssl_lacked_memory(void);

#endif
