/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COFFER_FIELD_INTERNAL_H
#define COFFER_FIELD_INTERNAL_H

#include "crypto/crypto.h"
#include "field/field.h"

#include <locale.h>

#define FLAG_BINDING 0x03
#define FLAG_PADDED 0x04
#define NONCE_AT 8
#define HEADER_LEN 32 /* up to the nonce's end */
#define COMMITMENT_LEN 32
#define TEXT_PREFIX_LEN 14 /* "cfr1." + 8 hex + "." */

struct column_key {
    uint32_t id;
    uint8_t column_id[16];
    struct secret *key;    /* the 32-byte column key, for suite 2's derivation */
    struct xaes_key *xaes; /* suite 1: prepared */
};

static inline size_t
overhead_of(int suite)
{
    return suite == COFFER_SUITE_XAES_COMMIT ? ENVELOPE_OVERHEAD + COMMITMENT_LEN
                                             : ENVELOPE_OVERHEAD;
}

/* envelope.c: a binary envelope's header; FORMAT. */
COFFER_MUST_CHECK int envelope_parse_binary(struct bytes cell, struct coffer_envelope_info *info,
                                            struct coffer_error *err);
/* Text form to binary in `out` (cell.len bytes are enough); FORMAT. */
COFFER_MUST_CHECK int text_form_decode(struct bytes text, uint8_t *out, size_t out_max,
                                       size_t *out_len, struct coffer_error *err);
size_t text_form_len(size_t envelope_len);
void text_form_encode(struct bytes envelope, char *out);

/* encode.c: the encoding of a value without a copy where there need be none: a view of `fixed`, or
 * of the value's own data.  TYPE, LIMIT. */
COFFER_MUST_CHECK int encode_view(int type, const struct coffer_value *value, uint8_t fixed[16],
                                  struct bytes *out, struct coffer_error *err);

/* place.c: the AAD of an envelope with header `header` (8 bytes) at this place; on the stack for
 * all but long text keys.  MISUSE for a place that does not fit.  Wipe after success. */
struct aad {
    uint8_t small[256];
    uint8_t *large; /* NULL: small is enough */
    struct bytes view;
};
COFFER_MUST_CHECK int aad_build(struct aad *aad, const struct field_def *def,
                                const struct coffer_place *place, const uint8_t header[8],
                                struct coffer_error *err);
void aad_wipe(struct aad *aad);

/* Envelopes up to this size are laid out on the stack where they cannot be in the caller's memory.
 */
#define ENVELOPE_STACK 1024

/* Suite 2: the message's XAES key and commitment. */
COFFER_MUST_CHECK int commit_derive(const struct column_key *key,
                                    const uint8_t nonce[XAES_NONCE_LEN], uint8_t out[64],
                                    struct coffer_error *err);

bool numeric_valid(struct bytes text); /* [-]digits[.digits] or NaN, Infinity, -Infinity */

/* locale.c: the C locale for this thread, since a program may have set one with a decimal comma.
 * Leave with uselocale(*old). */
COFFER_MUST_CHECK bool locale_enter(locale_t *old);

/* date.c: proleptic Gregorian, days since 2000-01-01. Year 0 is 1 BC. */
int64_t days_from_civil(int64_t year, int month, int day);
void civil_from_days(int64_t days, int64_t *year, int *month, int *day);
bool civil_valid(int64_t year, int month, int day);

#endif
