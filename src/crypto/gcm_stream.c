/* SPDX-License-Identifier: Apache-2.0 */
/* Segments of a Tink streaming AEAD, AES256_GCM_HKDF: its key derivation and its nonces. */
#include "crypto/crypto.h"

#include <string.h>

#define KEY_LEN 32

int
gcm_stream_init(struct gcm_stream *stream, struct bytes key,
                const uint8_t salt[GCM_STREAM_SALT_LEN],
                const uint8_t prefix[GCM_STREAM_PREFIX_LEN], struct bytes ad,
                struct coffer_error *err)
{
    int rc = secret_new(KEY_LEN, &stream->key, err);

    memcpy(stream->prefix, prefix, GCM_STREAM_PREFIX_LEN);
    if (rc == COFFER_OK)
        rc = hkdf_sha256(key, bytes_of(salt, GCM_STREAM_SALT_LEN), ad,
                         secret_expose_mut(stream->key), KEY_LEN, err);
    if (rc != COFFER_OK)
        gcm_stream_wipe(stream);
    return rc;
}

void
gcm_stream_wipe(struct gcm_stream *stream)
{
    secret_free(stream->key);
    stream->key = NULL;
}

static int
nonce_of(const struct gcm_stream *stream, uint64_t segment, bool last, uint8_t out[12],
         struct coffer_error *err)
{
    if (segment > UINT32_MAX)
        return error_set(err, COFFER_E_LIMIT, "a stream has at most 4294967296 segments");
    memcpy(out, stream->prefix, GCM_STREAM_PREFIX_LEN);
    put_be32(out + GCM_STREAM_PREFIX_LEN, (uint32_t)segment);
    out[11] = last ? 1 : 0;
    return COFFER_OK;
}

int
gcm_stream_seal(const struct gcm_stream *stream, uint64_t segment, bool last, struct bytes plain,
                uint8_t *out, struct coffer_error *err)
{
    uint8_t nonce[12];
    int rc = nonce_of(stream, segment, last, nonce, err);

    if (rc != COFFER_OK)
        return rc;
    return aes256_gcm_seal(secret_expose(stream->key).ptr, nonce, bytes_of(NULL, 0), plain, out,
                           err);
}

int
gcm_stream_open(const struct gcm_stream *stream, uint64_t segment, bool last, struct bytes sealed,
                uint8_t *out, struct coffer_error *err)
{
    uint8_t nonce[12];
    int rc = nonce_of(stream, segment, last, nonce, err);

    if (rc != COFFER_OK)
        return rc;
    return aes256_gcm_open(secret_expose(stream->key).ptr, nonce, bytes_of(NULL, 0), sealed, out,
                           err);
}
