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
    size_t len;

    if (encoded_len > SIZE_MAX / 4) /* nothing that long can be sealed, nor counted here */
        return SIZE_MAX;
    len = padded_len(encoded_len, def->pad) + overhead_of(def->suite);
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
put_header(const struct field_def *def, uint32_t key_id, const uint8_t *nonce, uint8_t *envelope,
           struct coffer_error *err)
{
    envelope[0] = ENVELOPE_MARKER;
    envelope[1] = (uint8_t)def->suite;
    envelope[2] = (uint8_t)(def->binding | (def->pad != 0 ? FLAG_PADDED : 0));
    envelope[3] = (uint8_t)def->type;
    put_be32(envelope + 4, key_id);
    if (nonce == NULL) /* unique: 24 random bytes a value */
        return random_nonce(envelope + NONCE_AT, XAES_NONCE_LEN, err);
    memcpy(envelope + NONCE_AT, nonce, XAES_NONCE_LEN);
    return COFFER_OK;
}

/* Padding is laid out where the ciphertext will be and encrypted in place, so that no second copy
 * of the plaintext comes to be.  After a failure nothing of it is left in `envelope`. */
static int
seal_binary(const struct field_def *def, const struct column_key *key,
            const struct coffer_place *place, const uint8_t *nonce, struct bytes plain,
            uint8_t *envelope, size_t envelope_len, struct coffer_error *err)
{
    uint8_t *body = envelope + overhead_of(def->suite) - AES_GCM_TAG_LEN;
    struct aad aad;
    int rc;

    rc = put_header(def, key->id, nonce, envelope, err);
    if (rc == COFFER_OK)
        rc = aad_build(&aad, def, place, envelope, err);
    if (rc != COFFER_OK)
        return rc;
    if (def->pad != 0) {
        size_t target = padded_len(plain.len, def->pad);

        if (plain.len > 0)
            memcpy(body, plain.ptr, plain.len);
        body[plain.len] = 0x80;
        memset(body + plain.len + 1, 0, target - plain.len - 1);
        plain = bytes_of(body, target);
    }
    rc = seal_into(def, key, aad.view, plain, envelope, err);
    if (rc != COFFER_OK)
        wipe(envelope, envelope_len);
    aad_wipe(&aad);
    return rc;
}

/* Through memory of our own: text is longer than the envelope that it is made of. */
static int
seal_text(const struct field_def *def, const struct column_key *key,
          const struct coffer_place *place, const uint8_t *nonce, struct bytes plain, size_t len,
          uint8_t *out, struct coffer_error *err)
{
    uint8_t small[ENVELOPE_STACK], *envelope = small;
    int rc;

    if (len > sizeof small && (envelope = mem_alloc(len)) == NULL)
        return error_nomem(err);
    rc = seal_binary(def, key, place, nonce, plain, envelope, len, err);
    if (rc == COFFER_OK)
        text_form_encode(bytes_of(envelope, len), (char *)out);
    if (envelope != small)
        mem_free(envelope);
    return rc;
}

int
field_seal(const struct field_def *def, const struct column_key *key,
           const struct coffer_place *place, const struct coffer_value *value, const uint8_t *nonce,
           uint8_t *out, size_t out_max, size_t *out_len, struct coffer_error *err)
{
    size_t len, total;
    uint8_t fixed[16];
    struct bytes plain;
    int rc;

    *out_len = 0;
    rc = encode_view(def->type, value, fixed, &plain, err);
    if (rc != COFFER_OK)
        return rc;
    len = padded_len(plain.len, def->pad) + overhead_of(def->suite);
    total = def->text_form ? text_form_len(len) : len;
    if (out_max < total)
        rc = error_set(err, COFFER_E_LIMIT,
                       "the output has room for %zu bytes, the sealed value takes %zu", out_max,
                       total);
    else if (def->text_form)
        rc = seal_text(def, key, place, nonce, plain, len, out, err);
    else
        rc = seal_binary(def, key, place, nonce, plain, out, len, err);
    wipe(fixed, sizeof fixed);
    if (rc == COFFER_OK)
        *out_len = total;
    return rc;
}
