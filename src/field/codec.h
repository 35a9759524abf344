/* SPDX-License-Identifier: Apache-2.0 */
/* Columns of a keyring, ready to seal and open: each column's keys prepared once and cached.
 *
 * Built over one keyring snapshot, which it borrows and which must not be edited meanwhile.
 * Thread-safe. Used by api/ for applications and by rotate/ for workers, so that both do the same
 * thing.
 */
#ifndef COFFER_FIELD_CODEC_H
#define COFFER_FIELD_CODEC_H

#include "field/field.h"
#include "keyring/keyring.h"

struct codec;
COFFER_MUST_CHECK int codec_new(const struct keyring *kr, struct codec **out,
                                struct coffer_error *err);
void codec_free(struct codec *codec);

void codec_def(const struct keyring_column *column, struct field_def *def);
/* Seal under key `key_id` (0: the active key of the column's line).  KEY if unknown, or not
 * active/staged unless forced by id. */
COFFER_MUST_CHECK int codec_seal(struct codec *codec, const struct keyring_column *column,
                                 uint32_t key_id, const struct coffer_place *place,
                                 const struct coffer_value *value, uint8_t *out, size_t out_max,
                                 size_t *out_len, struct coffer_error *err);
/* Open; `*key_id` (may be NULL) is the key that sealed it, also on AUTH. */
COFFER_MUST_CHECK int codec_open(struct codec *codec, const struct keyring_column *column,
                                 const struct coffer_place *place, struct bytes cell, uint8_t *out,
                                 size_t out_max, struct coffer_value *value, uint32_t *key_id,
                                 struct coffer_error *err);
/* Seals and opens by key id since the last take. */
size_t codec_take_use(struct codec *codec, struct coffer_use *use, size_t max);

#endif
