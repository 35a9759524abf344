/* SPDX-License-Identifier: Apache-2.0 */
/* Canonical JSON and its signature.
 *
 * Canonical: members sorted by name, no white space, UTF-8 as it is, no floating-point number
 * (whose text differs between versions of a JSON library).  docs/FORMAT.md "Signed JSON".
 */
#ifndef COFFER_LEDGER_JSON_H
#define COFFER_LEDGER_JSON_H

#include "keyring/keyring.h"

#include <jansson.h>

#define LEDGER_SIGNATURE_LEN 64
#define LEDGER_JSON_MAX (16u << 20)

/* Parse one JSON object, strictly: no duplicate member, nothing after it but white space, no
 * floating-point number.  FORMAT with the place. */
COFFER_MUST_CHECK int json_parse(struct bytes text, json_t **out, struct coffer_error *err);
/* Append the canonical text.  NOMEM; MISUSE for a floating-point number. */
COFFER_MUST_CHECK int json_canonical(json_t *object, struct buf *out, struct coffer_error *err);
/* Members of a fixed form; FORMAT names the member. */
COFFER_MUST_CHECK int json_get_string(const json_t *object, const char *name, const char **out,
                                      struct coffer_error *err);
COFFER_MUST_CHECK int json_get_count(const json_t *object, const char *name, uint64_t *out,
                                     struct coffer_error *err);
COFFER_MUST_CHECK int json_get_hex(const json_t *object, const char *name, uint8_t *out, size_t len,
                                   struct coffer_error *err);
COFFER_MUST_CHECK int json_get_uuid(const json_t *object, const char *name, struct uuid *out,
                                    struct coffer_error *err);
/* Set a member; steals `value`, which may be NULL (out of memory). */
COFFER_MUST_CHECK int json_put(json_t *object, const char *name, json_t *value,
                               struct coffer_error *err);
json_t *json_hex(struct bytes data);
json_t *json_key_id(uint32_t id);
json_t *json_uuid(const struct uuid *id);
json_t *json_count(uint64_t n); /* NULL above INT64_MAX, which JSON readers do not keep */

/* Sign the canonical text under `seed` and set member "signature". */
COFFER_MUST_CHECK int json_sign(json_t *object, const struct secret *seed,
                                struct coffer_error *err);
/* Take member "signature" out and check it over the canonical text of the rest.  FORMAT, AUTH. */
COFFER_MUST_CHECK int json_check_signature(json_t *object, const uint8_t public_key[32],
                                           struct coffer_error *err);

/* The active audit key: its seed, borrowed.  KEY if there is none. */
COFFER_MUST_CHECK int ledger_audit_key(const struct keyring *keyring,
                                       const struct keyring_key **key, const struct secret **seed,
                                       struct coffer_error *err);

/* "2026-11-24 05:11 UTC". */
#define LEDGER_TIME_LEN 32
void ledger_time(int64_t us, char out[LEDGER_TIME_LEN]);

#endif
