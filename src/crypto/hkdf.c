/* SPDX-License-Identifier: Apache-2.0 */
/* HKDF, RFC 5869, by OpenSSL's own. */
#include "crypto/internal.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>

static int
hkdf(const char *digest, size_t digest_len, struct bytes ikm, struct bytes salt, struct bytes info,
     uint8_t *out, size_t len, struct coffer_error *err)
{
    OSSL_PARAM params[5], *p = params;
    EVP_KDF *kdf;
    EVP_KDF_CTX *context;
    bool ok;

    if (len == 0 || len > 255 * digest_len)
        return error_set(err, COFFER_E_LIMIT, "HKDF gives 1 to %zu bytes, not %zu",
                         255 * digest_len, len);
    *p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t)digest, 0);
    *p++ = OSSL_PARAM_construct_octet_string(
        OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)(ikm.len > 0 ? ikm.ptr : out), ikm.len);
    if (salt.len > 0)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt.ptr,
                                                 salt.len);
    if (info.len > 0)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info.ptr,
                                                 info.len);
    *p = OSSL_PARAM_construct_end();
    kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    context = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    ok = context != NULL && EVP_KDF_derive(context, out, len, params) == 1;
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    return ok ? COFFER_OK : error_nomem(err);
}

int
hkdf_sha256(struct bytes ikm, struct bytes salt, struct bytes info, uint8_t *out, size_t len,
            struct coffer_error *err)
{
    return hkdf("SHA2-256", 32, ikm, salt, info, out, len, err);
}

int
hkdf_sha512(struct bytes ikm, struct bytes salt, struct bytes info, uint8_t *out, size_t len,
            struct coffer_error *err)
{
    return hkdf("SHA2-512", 64, ikm, salt, info, out, len, err);
}
