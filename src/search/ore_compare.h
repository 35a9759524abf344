/* SPDX-License-Identifier: Apache-2.0 */
/* Order terms as a server sees them: is it one, and which of two is less.  docs/FORMAT.md "Search
 * terms", ORE.
 *
 * No key is needed and none is here: this header and ore_compare.c use only crypto/aes_block.h,
 * which in turn uses only OpenSSL, so that a database extension gets the comparison from libcoffer
 * (coffer.h has both functions under public names) or, where linking it is not wanted, by compiling
 * the two .c files into itself.  Nothing allocates, fails or keeps state; any thread.
 *
 * Lewi, Wu: Order-revealing encryption, CCS 2016 (left and right halves, blocks of one byte).
 */
#ifndef COFFER_SEARCH_ORE_COMPARE_H
#define COFFER_SEARCH_ORE_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORE_BLOCKS_MAX 32
#define ORE_HEAD_LEN 20                              /* format, blocks, version, nonce */
#define ORE_LEN(blocks) (20 + 49 * (size_t)(blocks)) /* bytes of a ciphertext */
#define ORE_LEN_MAX ORE_LEN(ORE_BLOCKS_MAX)

/* Well-formed: length, format, blocks at most 32, version 1…32767; a bound has a zero nonce.
 * Everything that is compared must have passed this. */
bool ore_valid(const uint8_t *term, size_t len);

/* Less than, equal to or greater than zero as `a` is to `b`.  Total over all valid terms: by
 * version, then by number of blocks (a bound has none and is below), then by value.  Reads nothing
 * outside valid terms, which say their own length. */
int ore_compare(const uint8_t *a, const uint8_t *b);

/* How many leading bytes of equal terms are equal, for a hash class: the head up to the version and
 * the permuted blocks.  Writes at most 4 + 32 bytes to `out` and returns how many. */
size_t ore_equality_key(const uint8_t *term, uint8_t out[4 + ORE_BLOCKS_MAX]);

#endif
