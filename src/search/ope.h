/* SPDX-License-Identifier: Apache-2.0 */
/* Order-preserving terms: any server sorts them, as bytes.  docs/FORMAT.md "Search terms", OPE.
 *
 * What two terms show: which value is greater, equality, and the first bit in which they differ.
 * Chenette, Lewi, Weis, Wu: FSE 2016, with digits of 16 bits that never carry.  A prepared key may
 * be used by any number of threads.
 */
#ifndef COFFER_SEARCH_OPE_H
#define COFFER_SEARCH_OPE_H

#include "base/bytes.h"
#include "base/secret.h"

#define OPE_WIDTH_MAX 14                          /* bytes of an order encoding */
#define OPE_LEN(width) (2 + 16 * (size_t)(width)) /* bytes of a term */
#define OPE_LEN_MAX OPE_LEN(OPE_WIDTH_MAX)

struct ope_key;
COFFER_MUST_CHECK int ope_key_new(const struct secret *key, const uint8_t index_id[16],
                                  unsigned version, struct ope_key **out, struct coffer_error *err);
void ope_key_free(struct ope_key *key); /* accepts NULL */

/* Encrypt an order encoding of 1 to 14 bytes (MISUSE) to OPE_LEN(value.len) bytes.  Deterministic. */
COFFER_MUST_CHECK int ope_encrypt(const struct ope_key *key, struct bytes value, uint8_t *out,
                                  struct coffer_error *err);
/* Back to the encoding, for the index check; `out` gets (term.len - 2) / 16 bytes, at most 14.
 *
 * FORMAT  another length      KEY  another version      AUTH  not made under this key; `out` is wiped
 */
COFFER_MUST_CHECK int ope_decrypt(const struct ope_key *key, struct bytes term,
                                  uint8_t out[OPE_WIDTH_MAX], struct coffer_error *err);
/* Below all terms of the version: its two bytes alone.  1…32767 (MISUSE). */
COFFER_MUST_CHECK int ope_bound(unsigned version, uint8_t out[2], struct coffer_error *err);

#endif
