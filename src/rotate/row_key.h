/* SPDX-License-Identifier: Apache-2.0 */
/* A row's key that owns its bytes, and its form in JSON, as the journal keeps it: an array of
 * [type, value].
 *
 *   ["int64", 7]  beyond ±2^53 ["int64", "9007199254740993"]; date and timestamp likewise
 *   ["text", "…"]  ill-formed UTF-8 (SQLite) ["text-hex", "…"]    ["bytes", "<hex>"]  ["uuid",
 * "<hex>"]
 *   ["float64", "<the 8 bytes of IEEE 754, hex>"]                 ["null", null]
 * so that a walk goes on exactly where it stood.
 */
#ifndef COFFER_ROTATE_ROW_KEY_H
#define COFFER_ROTATE_ROW_KEY_H

#include "db/db.h"

#include <jansson.h>

struct row_key {
    struct coffer_value values[DB_KEY_MAX];
    size_t count; /* 0: none, "from the start" or "to the end" */
    uint8_t *data;
};
void row_key_init(struct row_key *key);
void row_key_wipe(struct row_key *key);
/* Take a copy; after a failure `key` is as it was.  MISUSE above DB_KEY_MAX values. */
COFFER_MUST_CHECK int row_key_set(struct row_key *key, const struct coffer_value *values,
                                  size_t count, struct coffer_error *err);
/* The values, or NULL for none: as db_walk_read() takes them. */
const struct coffer_value *row_key_values(const struct row_key *key);

/* A new reference; NULL when out of memory. */
json_t *row_key_to_json(const struct coffer_value *values, size_t count);
/* null or an array as above.  FORMAT for anything that row_key_to_json() does not write. */
COFFER_MUST_CHECK int row_key_from_json(struct row_key *key, const json_t *json,
                                        struct coffer_error *err);

#endif
