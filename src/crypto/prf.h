/* SPDX-License-Identifier: Apache-2.0 */
/* HMAC with a key made ready once, as a pseudo-random function of many short messages; AES-256 as
 * one is in aes_block.h.
 *
 * The prepared key (hash states after the padded key) lies in secret memory.  A prepared key may be used by any number of threads; uses cannot fail and allocate
 * nothing.  Stack copies of states are wiped.
 */
#ifndef COFFER_CRYPTO_PRF_H
#define COFFER_CRYPTO_PRF_H

#include "base/bytes.h"
#include "base/secret.h"

/* HMAC-SHA-256, RFC 2104.  `key` of any length is borrowed for the call. */
struct hmac_key;
COFFER_MUST_CHECK int hmac_key_new(struct bytes key, struct hmac_key **out,
                                   struct coffer_error *err); /* NOMEM */
void hmac_key_free(struct hmac_key *key);                     /* accepts NULL */
void hmac_key_mac(const struct hmac_key *key, const struct bytes *parts, size_t count,
                  uint8_t out[32]);

/* HMAC-SHA-512, keys of at most 128 bytes (LIMIT). */
struct hmac512_key;
COFFER_MUST_CHECK int hmac512_key_new(struct bytes key, struct hmac512_key **out,
                                      struct coffer_error *err);
void hmac512_key_free(struct hmac512_key *key);
void hmac512_key_mac(const struct hmac512_key *key, const struct bytes *parts, size_t count,
                     uint8_t out[64]);

#endif
