/* SPDX-License-Identifier: Apache-2.0 */
/* AES-256 block by block (FIPS 197), as the pseudorandom function of published schemes.
 *
 * It hides nothing by itself: equal blocks give equal blocks.  Contexts live in the key, a few of
 * them, so that a call costs no key schedule and threads do not wait for each other; nothing of the
 * key is left after raw_aes_free().  Thread-safe but for free.
 */
#ifndef COFFER_CRYPTO_RAW_AES_H
#define COFFER_CRYPTO_RAW_AES_H

#include "base/bytes.h"
#include "base/secret.h"

#define AES_BLOCK_LEN 16

struct raw_aes;

/* COFFER_E_NOMEM. */
COFFER_MUST_CHECK int raw_aes_new(const uint8_t key[32], struct raw_aes **out,
                                  struct coffer_error *err);
void raw_aes_free(struct raw_aes *aes); /* wipes; accepts NULL */

/* Encrypt `count` blocks; `in` may be `out`.  Many at once cost a fraction of as many calls.  NOMEM. */
COFFER_MUST_CHECK int raw_aes_blocks(const struct raw_aes *aes, const uint8_t *in, uint8_t *out,
                                     size_t count, struct coffer_error *err);

#endif
