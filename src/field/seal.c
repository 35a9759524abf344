/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "field/internal.h"

#include <string.h>

int
column_key_new(const struct secret *data_key, uint32_t key_id, const uint8_t column_id[16],
               struct column_key **out, struct coffer_error *err)
{
    struct column_key *key = mem_alloc(sizeof *key);
    struct buf info;
    int rc;

    *out = NULL;
    if (key == NULL)
        return error_nomem(err);
    key->id = key_id;
    memcpy(key->column_id, column_id, 16);
    buf_init(&info, 64);
    buf_lp16(&info, bytes_str("coffer/v1/field"));
    buf_lp16(&info, bytes_of(column_id, 16));
    rc = buf_status(&info, err);
    if (rc == COFFER_OK)
        rc = secret_new(32, &key->key, err);
    if (rc == COFFER_OK)
        rc = hkdf_sha256(secret_expose(data_key), (struct bytes){0}, buf_view(&info),
                         secret_expose_mut(key->key), 32, err);
    if (rc == COFFER_OK)
        rc = xaes_key_new(secret_expose(key->key).ptr, &key->xaes, err);
    buf_wipe(&info);
    if (rc != COFFER_OK)
        column_key_free(key);
    else
        *out = key;
    return rc;
}

void
column_key_free(struct column_key *key)
{
    if (key == NULL)
        return;
    xaes_key_free(key->xaes);
    secret_free(key->key);
    mem_free(key);
}

uint32_t
column_key_id(const struct column_key *key)
{
    return key->id;
}

int
commit_derive(const struct column_key *key, const uint8_t nonce[XAES_NONCE_LEN], uint8_t out[64],
              struct coffer_error *err)
{
    uint8_t info[2 + 16 + 2 + XAES_NONCE_LEN];

    put_be16(info, 16);
    memcpy(info + 2, "coffer/v1/commit", 16);
    put_be16(info + 18, XAES_NONCE_LEN);
    memcpy(info + 20, nonce, XAES_NONCE_LEN);
    return hkdf_sha512(secret_expose(key->key), (struct bytes){0}, bytes_of(info, sizeof info), out,
                       64, err);
}

static size_t
padded_len(size_t len, uint32_t pad)
{
    return pad == 0 ? len : (len / pad + 1) * pad; /* at least the 0x80 */
}

size_t
field_sealed_max(const struct field_def *def, size_t encoded_len)
{
    size_t len = padded_len(encoded_len, def->pad) + overhead_of(def->suite);

    return def->text_form ? text_form_len(len) : len;
}

/* Header, nonce and, with suite 2, commitment into `envelope`; encrypts `plain` behind them. */
static int
seal_into(const struct field_def *def, const struct column_key *key, struct bytes ad,
          struct bytes plain, uint8_t *envelope, struct coffer_error *err)
{
    uint8_t derived[64];
    struct xaes_key *message = NULL;
    int rc;

    if (def->suite == COFFER_SUITE_XAES)
        return xaes_seal(key->xaes, envelope + NONCE_AT, ad, plain, envelope + HEADER_LEN, err);
    rc = commit_derive(key, envelope + NONCE_AT, derived, err);
    if (rc == COFFER_OK)
        rc = xaes_key_new(derived, &message, err);
    if (rc == COFFER_OK) {
        memcpy(envelope + HEADER_LEN, derived + 32, COMMITMENT_LEN);
        rc = xaes_seal(message, envelope + NONCE_AT, ad, plain,
                       envelope + HEADER_LEN + COMMITMENT_LEN, err);
    }
    xaes_key_free(message);
    wipe(derived, sizeof derived);
    return rc;
}

static int
seal_encoded(const struct field_def *def, const struct column_key *key,
             const struct coffer_place *place, const uint8_t *nonce, struct buf *plain,
             uint8_t *envelope, struct coffer_error *err)
{
    struct buf ad;
    int rc;

    envelope[0] = ENVELOPE_MARKER;
    envelope[1] = (uint8_t)def->suite;
    envelope[2] = (uint8_t)(def->binding | (def->pad != 0 ? FLAG_PADDED : 0));
    envelope[3] = (uint8_t)def->type;
    put_be32(envelope + 4, key->id);
    if (nonce != NULL) {
        memcpy(envelope + NONCE_AT, nonce, XAES_NONCE_LEN);
        rc = COFFER_OK;
    } else { /* unique: 24 random bytes a value */
        rc = random_nonce(envelope + NONCE_AT, XAES_NONCE_LEN, err);
    }
    if (rc != COFFER_OK)
        return rc;
    if (def->pad != 0) {
        size_t target = padded_len(plain->len, def->pad);

        buf_u8(plain, 0x80);
        while (plain->failed == COFFER_OK && plain->len < target)
            buf_u8(plain, 0);
        rc = buf_status(plain, err);
    }
    buf_init(&ad, FIELD_VALUE_MAX);
    if (rc == COFFER_OK)
        rc = place_aad(def, place, envelope, &ad, err);
    if (rc == COFFER_OK)
        rc = seal_into(def, key, buf_view(&ad), buf_view(plain), envelope, err);
    buf_wipe(&ad);
    return rc;
}

int
field_seal(const struct field_def *def, const struct column_key *key,
           const struct coffer_place *place, const struct coffer_value *value, const uint8_t *nonce,
           uint8_t *out, size_t out_max, size_t *out_len, struct coffer_error *err)
{
    struct buf plain;
    size_t len = 0;
    int rc;

    *out_len = 0;
    buf_init(&plain, FIELD_VALUE_MAX + 65536 + 1);
    rc = field_encode(def->type, value, &plain, err);
    if (rc == COFFER_OK) {
        len = padded_len(plain.len, def->pad) + overhead_of(def->suite);
        if (out_max < (def->text_form ? text_form_len(len) : len))
            rc = error_set(err, COFFER_E_LIMIT,
                           "the output has room for %zu bytes, the sealed value takes %zu", out_max,
                           def->text_form ? text_form_len(len) : len);
    }
    if (rc == COFFER_OK && !def->text_form) {
        rc = seal_encoded(def, key, place, nonce, &plain, out, err);
    } else if (rc == COFFER_OK) {
        uint8_t *envelope = mem_alloc(len);

        rc = envelope == NULL ? error_nomem(err)
                              : seal_encoded(def, key, place, nonce, &plain, envelope, err);
        if (rc == COFFER_OK)
            text_form_encode(bytes_of(envelope, len), (char *)out);
        mem_free(envelope);
    }
    buf_wipe(&plain);
    if (rc == COFFER_OK)
        *out_len = def->text_form ? text_form_len(len) : len;
    return rc;
}
