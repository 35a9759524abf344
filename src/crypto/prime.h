/* SPDX-License-Identifier: Apache-2.0 */
/* Random primes for public-key schemes, by OpenSSL's test (FIPS 186-5, appendix B.3: error below
 * 2^-128).  Thread-safe. */
#ifndef COFFER_CRYPTO_PRIME_H
#define COFFER_CRYPTO_PRIME_H

#include "base/secret.h"

/* A prime of exactly `bits` (a multiple of 8, 256 to 4096), big-endian: uniform among candidates whose
 * two highest and two lowest bits are set, so that a product of two has twice the bits and each is
 * 3 mod 4.  About half a second for 1536 bits.  COFFER_E_NOMEM. */
COFFER_MUST_CHECK int prime_new(unsigned bits, struct secret **out, struct coffer_error *err);

/* Is it (probably) prime?  `number` is big-endian.  NOMEM. */
COFFER_MUST_CHECK int prime_test(const struct secret *number, bool *yes, struct coffer_error *err);

#endif
