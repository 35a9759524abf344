/* SPDX-License-Identifier: Apache-2.0 */
/* Pi_bas tags: equality that a copy of the database does not show.  docs/FORMAT.md "Search terms".
 *
 * The row that is number c (from 0) with a value stores tag c of that value; a counter table, found
 * by the value's address, holds how many there were.  Counters are the caller's: (value, c) is never
 * used twice.  Cash et al., NDSS 2014.  A prepared key may be used by any number of threads.
 */
#ifndef COFFER_SEARCH_PIBAS_H
#define COFFER_SEARCH_PIBAS_H

#include "base/bytes.h"
#include "base/secret.h"

struct pibas_key;
COFFER_MUST_CHECK int pibas_key_new(const struct secret *key, const uint8_t index_id[16],
                                    unsigned version, struct pibas_key **out,
                                    struct coffer_error *err);
void pibas_key_free(struct pibas_key *key); /* accepts NULL */

/* Where the value's count is kept.  `message` is equality_message()'s. */
void pibas_address(const struct pibas_key *key, struct bytes message, uint8_t out[16]);

/* The key of one value, K_v: it never leaves the client, so that past queries do not help a server
 * with later rows.  NOMEM. */
struct pibas_value;
COFFER_MUST_CHECK int pibas_value_new(const struct pibas_key *key, struct bytes message,
                                      struct pibas_value **out, struct coffer_error *err);
void pibas_value_free(struct pibas_value *value);
void pibas_tag(const struct pibas_value *value, uint64_t count, uint8_t out[16]);

#endif
