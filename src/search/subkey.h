/* SPDX-License-Identifier: Apache-2.0 */
/* From the key of an index to the subkey of one purpose, and the two forms of a stored term.
 * docs/FORMAT.md "Search terms".  No state.
 */
#ifndef COFFER_SEARCH_SUBKEY_H
#define COFFER_SEARCH_SUBKEY_H

#include "base/bytes.h"
#include "base/secret.h"

#define INDEX_VERSION_MAX 32767
#define TERM16_BITS_MAX 112
#define TERM8_BITS_MAX 48

/* HKDF-SHA-256 of `key` (32 bytes, purpose index or sum) for "coffer/v1/" `label`, the index id and
 * the key's version: `len` bytes (32; 64 for sum-alpha).  One subkey, one purpose.
 *
 * MISUSE  a key of another length, a version outside 1…32767      NOMEM
 */
COFFER_MUST_CHECK int subkey_derive(const struct secret *key, const char *label,
                                    const uint8_t index_id[16], unsigned version, size_t len,
                                    struct secret **out, struct coffer_error *err);

/* The term of a MAC: be16(version) ‖ its first 112 bits, all but the first `bits` (1…112) zero. */
void term16(unsigned version, const uint8_t mac[32], unsigned bits, uint8_t out[16]);
/* version·2^48 + the first 48 bits of the MAC, all but the first `bits` (1…48) zero; positive. */
int64_t term8(unsigned version, const uint8_t mac[32], unsigned bits);

/* All terms of a version: low ≤ term < high.  Version 32767 of term16 ends at 0x8000 0…; of term8
 * the high bound is beyond int64, so that *high is INT64_MAX and itself included. */
void term16_range(unsigned version, uint8_t low[16], uint8_t high[16]);
void term8_range(unsigned version, int64_t *low, int64_t *high);
unsigned term16_version(const uint8_t term[16]);
unsigned term8_version(int64_t term); /* 0: no term */

#endif
