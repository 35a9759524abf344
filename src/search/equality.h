/* SPDX-License-Identifier: Apache-2.0 */
/* Equality terms (a blind index): equal values of one index have equal terms.
 * docs/FORMAT.md "Search terms".
 *
 * A prepared key is made once for an index and a version and may be used by any number of threads.
 */
#ifndef COFFER_SEARCH_EQUALITY_H
#define COFFER_SEARCH_EQUALITY_H

#include "base/bytes.h"
#include "base/secret.h"
#include "search/subkey.h"

#define EQUALITY_PARTS_MAX 255

/* One column's share of a term; a compound index has several, which do not run into each other. */
struct equality_part {
    int normaliser; /* enum normaliser; EXACT for what is no text */
    struct coffer_value value;
};
/* Append the message that the MAC is over.  MISUSE for no parts or too many, a NULL value; else as
 * equality_encode(). */
COFFER_MUST_CHECK int equality_message(const struct equality_part *parts, size_t count,
                                       struct buf *out, struct coffer_error *err);

struct equality_key;
/* `key`: 32 bytes, purpose index; borrowed for the call.  MISUSE, NOMEM. */
COFFER_MUST_CHECK int equality_key_new(const struct secret *key, const uint8_t index_id[16],
                                       unsigned version, struct equality_key **out,
                                       struct coffer_error *err);
void equality_key_free(struct equality_key *key); /* accepts NULL */
unsigned equality_key_version(const struct equality_key *key);

/* HMAC-SHA-256 of the message, of which terms are cut. */
void equality_mac(const struct equality_key *key, struct bytes message, uint8_t mac[32]);
/* The stored term of `count` parts, `bits` long (1…112, 1…48; MISUSE).  Wiped buffers, no copy. */
COFFER_MUST_CHECK int equality_term16(const struct equality_key *key,
                                      const struct equality_part *parts, size_t count,
                                      unsigned bits, uint8_t out[16], struct coffer_error *err);
COFFER_MUST_CHECK int equality_term8(const struct equality_key *key,
                                     const struct equality_part *parts, size_t count, unsigned bits,
                                     int64_t *out, struct coffer_error *err);

/* Short terms merge values on purpose.  Coincidences: how many rows share a term by chance, for
 * `rows` rows of a domain of `domain_bits` bits a part.  C = rows / 2^Σ min(bits, domain bits). */
double equality_coincidences(double rows, const double *domain_bits, size_t parts, unsigned bits);
/* The lengths for which 2 ≤ C ≤ √rows: *shortest ≤ *longest.
 * REFUSED  fewer than 16 rows, or no length does it */
COFFER_MUST_CHECK int equality_short_bits(double rows, const double *domain_bits, size_t parts,
                                          unsigned *shortest, unsigned *longest,
                                          struct coffer_error *err);

#endif
