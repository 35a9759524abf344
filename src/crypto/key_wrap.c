/* SPDX-License-Identifier: Apache-2.0 */
/* AES-256 key wrap with padding, RFC 5649. */
#include "base/mem.h"
#include "crypto/internal.h"

#define WRAP_MAX 3992 /* so that what is wrapped fits a secret while it is unwrapped */

size_t
key_wrap_len(size_t plain_len)
{
    return (plain_len + 7) / 8 * 8 + 8;
}

static EVP_CIPHER_CTX *
wrap_context(const struct secret *kek, bool encrypt)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();

    if (context == NULL)
        return NULL;
    EVP_CIPHER_CTX_set_flags(context, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    if (EVP_CipherInit_ex2(context, cipher_wrap_pad(), secret_expose(kek).ptr, NULL, encrypt,
                           NULL) != 1) {
        EVP_CIPHER_CTX_free(context);
        return NULL;
    }
    return context;
}

int
key_wrap(const struct secret *kek, struct bytes plain, uint8_t *out, struct coffer_error *err)
{
    EVP_CIPHER_CTX *context;
    int len = 0, rc = COFFER_OK;

    if (plain.len == 0 || plain.len > WRAP_MAX || secret_len(kek) != 32)
        return error_set(err, COFFER_E_LIMIT,
                         "key wrap: %zu bytes under a key of %zu; 1 to %d under 32 are possible",
                         plain.len, secret_len(kek), WRAP_MAX);
    context = wrap_context(kek, true);
    if (context == NULL || EVP_CipherUpdate(context, out, &len, plain.ptr, (int)plain.len) != 1 ||
        (size_t)len != key_wrap_len(plain.len))
        rc = error_nomem(err);
    EVP_CIPHER_CTX_free(context);
    return rc;
}

int
key_unwrap(const struct secret *kek, struct bytes wrapped, struct secret **out,
           struct coffer_error *err)
{
    EVP_CIPHER_CTX *context = NULL;
    struct secret *room = NULL;
    int len = 0, rc;

    *out = NULL;
    if (wrapped.len < 16 || wrapped.len % 8 != 0 || wrapped.len > WRAP_MAX + 8 ||
        secret_len(kek) != 32)
        return error_set(err, COFFER_E_AUTH, "authentication failed");
    rc = secret_new(wrapped.len, &room, err); /* OpenSSL writes whole blocks while it unwraps */
    if (rc != COFFER_OK)
        return rc;
    context = wrap_context(kek, false);
    if (context == NULL)
        rc = error_nomem(err);
    else if (EVP_CipherUpdate(context, secret_expose_mut(room), &len, wrapped.ptr,
                              (int)wrapped.len) != 1 ||
             len <= 0)
        rc = error_set(err, COFFER_E_AUTH, "authentication failed");
    else
        rc = secret_copy((struct bytes){secret_expose(room).ptr, (size_t)len}, out, err);
    EVP_CIPHER_CTX_free(context);
    secret_free(room);
    return rc;
}
