/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104). */
#include "base/mem.h"
#include "crypto/internal.h"

#include <openssl/core_names.h>

struct sha256_state {
    EVP_MD_CTX *context;
};

int
sha256(struct bytes data, uint8_t out[32], struct coffer_error *err)
{
    EVP_MD *md = digest_sha256();

    if (md == NULL || EVP_Digest(data.len > 0 ? data.ptr : (const uint8_t *)"", data.len, out, NULL,
                                 md, NULL) != 1)
        return error_nomem(err);
    return COFFER_OK;
}

int
sha256_new(struct sha256_state **out, struct coffer_error *err)
{
    EVP_MD *md = digest_sha256();
    struct sha256_state *state = mem_alloc(sizeof *state);

    *out = NULL;
    if (state == NULL)
        return error_nomem(err);
    state->context = md != NULL ? EVP_MD_CTX_new() : NULL;
    if (state->context == NULL || EVP_DigestInit_ex2(state->context, md, NULL) != 1) {
        sha256_free(state);
        return error_nomem(err);
    }
    *out = state;
    return COFFER_OK;
}

int
sha256_add(struct sha256_state *state, struct bytes data, struct coffer_error *err)
{
    if (data.len > 0 && EVP_DigestUpdate(state->context, data.ptr, data.len) != 1)
        return error_nomem(err);
    return COFFER_OK;
}

int
sha256_end(struct sha256_state *state, uint8_t out[32], struct coffer_error *err)
{
    return EVP_DigestFinal_ex(state->context, out, NULL) == 1 ? COFFER_OK : error_nomem(err);
}

void
sha256_free(struct sha256_state *state)
{
    if (state == NULL)
        return;
    EVP_MD_CTX_free(state->context);
    mem_free(state);
}

int
hmac_sha256(struct bytes key, const struct bytes *parts, size_t count, uint8_t out[32],
            struct coffer_error *err)
{
    char name[] = "SHA2-256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
                           OSSL_PARAM_construct_end()};
    EVP_MAC *mac = mac_hmac();
    EVP_MAC_CTX *context = mac != NULL ? EVP_MAC_CTX_new(mac) : NULL;
    /* An empty key needs a pointer: NULL means "the key set before". */
    bool ok = context != NULL && EVP_MAC_init(context, key.len > 0 ? key.ptr : (const uint8_t *)"",
                                              key.len, params) == 1;
    size_t len = 0, i;

    for (i = 0; ok && i < count; i++)
        ok = parts[i].len == 0 || EVP_MAC_update(context, parts[i].ptr, parts[i].len) == 1;
    ok = ok && EVP_MAC_final(context, out, &len, SHA256_LEN) == 1;
    EVP_MAC_CTX_free(context);
    return ok ? COFFER_OK : error_nomem(err);
}
