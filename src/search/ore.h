/* SPDX-License-Identifier: Apache-2.0 */
/* Order-revealing terms: a server with the extension sorts them without a key.
 * docs/FORMAT.md "Search terms", ORE.  Comparison: ore_compare.h.
 *
 * What two terms show: which value is greater, equality, and the first byte in which they differ.
 * A prepared key may be used by any number of threads.
 */
#ifndef COFFER_SEARCH_ORE_H
#define COFFER_SEARCH_ORE_H

#include "base/bytes.h"
#include "base/secret.h"
#include "search/ore_compare.h"

struct ore_key;
/* `key`: 32 bytes, purpose index; borrowed for the call.  MISUSE, NOMEM. */
COFFER_MUST_CHECK int ore_key_new(const struct secret *key, const uint8_t index_id[16],
                                  unsigned version, struct ore_key **out, struct coffer_error *err);
void ore_key_free(struct ore_key *key); /* accepts NULL */

/* Encrypt an order encoding of 1 to 32 bytes (MISUSE) to ORE_LEN(value.len) bytes under a fresh
 * random nonce, or `nonce` if not NULL (known answers only).  A nonce masks the right half: with one
 * used twice, two terms could be compared with guesses of each other.
 * 3 to 5 µs a byte with AES instructions: 512 blocks of AES. */
COFFER_MUST_CHECK int ore_encrypt(const struct ore_key *key, struct bytes value,
                                  const uint8_t *nonce, uint8_t *out, struct coffer_error *err);

/* The bound of a version: below all its terms, above all of lower versions.  A one-sided range of
 * version v ends at the bound of v + 1; for 32767 there is none (MISUSE above 32767, or 0). */
COFFER_MUST_CHECK int ore_bound(unsigned version, uint8_t out[ORE_HEAD_LEN],
                                struct coffer_error *err);

#endif
