/* SPDX-License-Identifier: Apache-2.0 */
/* One sealed value: envelope, types, binding, padding, text form.  docs/FORMAT.md "Envelope v1".
 *
 * Pure functions over bytes.  The definition decides how a cell is opened, never the cell.
 */
#ifndef COFFER_FIELD_FIELD_H
#define COFFER_FIELD_FIELD_H

#include "base/bytes.h"
#include "base/secret.h"
#include "coffer.h"

#define ENVELOPE_MARKER 0xF9
#define ENVELOPE_OVERHEAD 48 /* suite 1; suite 2 adds 32 */
#define FIELD_VALUE_MAX (64u << 20)

struct field_def { /* what a column says of its cells */
    uint8_t column_id[16];
    int type, binding, suite;
    uint32_t pad; /* 0 none, else 1 to 65536 */
    bool text_form;
};

/* A data key prepared for one column (HKDF done, AES schedule kept). */
struct column_key;
COFFER_MUST_CHECK int column_key_new(const struct secret *data_key, uint32_t key_id,
                                     const uint8_t column_id[16], struct column_key **out,
                                     struct coffer_error *err);
void column_key_free(struct column_key *key);
uint32_t column_key_id(const struct column_key *key);

/* Upper bound of field_seal()'s output. */
size_t field_sealed_max(const struct field_def *def, size_t encoded_len);
/* Encode (value → bytes under the envelope).  TYPE.  field_decode borrows from `encoded`; FORMAT.
 */
COFFER_MUST_CHECK int field_encode(int type, const struct coffer_value *value, struct buf *out,
                                   struct coffer_error *err);
COFFER_MUST_CHECK int field_decode(int type, struct bytes encoded, struct coffer_value *value,
                                   struct coffer_error *err);

/* Seal under `key` with a fresh nonce, or with `nonce` if not NULL (known answers only). */
COFFER_MUST_CHECK int field_seal(const struct field_def *def, const struct column_key *key,
                                 const struct coffer_place *place, const struct coffer_value *value,
                                 const uint8_t *nonce, uint8_t *out, size_t out_max,
                                 size_t *out_len, struct coffer_error *err);

/* Which key a stored cell asks for.  FORMAT.  Then look the key up and call field_open(). */
COFFER_MUST_CHECK int field_key_id(const struct field_def *def, struct bytes cell, uint32_t *key_id,
                                   struct coffer_error *err);
/* `out` holds cell.len bytes; `value` borrows from it.  AUTH, FORMAT; on failure `out` is wiped. */
COFFER_MUST_CHECK int field_open(const struct field_def *def, const struct column_key *key,
                                 const struct coffer_place *place, struct bytes cell, uint8_t *out,
                                 size_t out_max, struct coffer_value *value,
                                 struct coffer_error *err);

/* Envelope or text form, without any key; strict.  FORMAT. */
COFFER_MUST_CHECK int envelope_parse(struct bytes cell, struct coffer_envelope_info *info,
                                     struct coffer_error *err);

/* Values as text, as `coffer cat`, `seal` and the vectors write them: ISO 8601 dates, bytes as \x…,
 * bool t/f, numbers as PostgreSQL's text output.  Parsing is strict.  TYPE for text that is no such
 * value. `storage` keeps what the value borrows. */
COFFER_MUST_CHECK int value_format(const struct coffer_value *value, struct buf *out,
                                   struct coffer_error *err);
COFFER_MUST_CHECK int value_parse(int type, struct bytes text, struct buf *storage,
                                  struct coffer_value *value, struct coffer_error *err);
bool value_equal(const struct coffer_value *a,
                 const struct coffer_value *b); /* same type and same encoding */

#endif
