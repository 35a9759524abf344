/* SPDX-License-Identifier: Apache-2.0 */
/* MD5 (RFC 1321) and SHA-512 (FIPS 180-4), with a context that each thread keeps: an extent's IV is
 * an MD5, and a passphrase is 65536 of SHA-512. */
#include "crypto/block.h"
#include "crypto/internal.h"

#include <pthread.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t context_key;
static EVP_MD *md5_md;
static __thread EVP_MD_CTX *mine;

static void
free_context(void *arg)
{
    EVP_MD_CTX_free(arg);
    mine = NULL;
}

static void
fetch(void)
{
    (void)pthread_key_create(&context_key, free_context);
    md5_md = EVP_MD_fetch(NULL, "MD5", NULL);
}

static int
digest(EVP_MD *md, struct bytes data, uint8_t *out, struct coffer_error *err)
{
    if (mine == NULL) {
        mine = EVP_MD_CTX_new();
        (void)pthread_setspecific(context_key, mine);
    }
    if (mine == NULL || EVP_DigestInit_ex2(mine, md, NULL) != 1 ||
        EVP_DigestUpdate(mine, data.ptr, data.len) != 1 || EVP_DigestFinal_ex(mine, out, NULL) != 1)
        return error_nomem(err);
    return COFFER_OK;
}

int
md5(struct bytes data, uint8_t out[MD5_LEN], struct coffer_error *err)
{
    pthread_once(&once, fetch);
    if (md5_md == NULL)
        return error_set(err, COFFER_E_UNSUPPORTED,
                         "MD5 is not available: OpenSSL runs in a mode that forbids it, and this "
                         "format cannot do without");
    return digest(md5_md, data, out, err);
}

int
sha512(struct bytes data, uint8_t out[SHA512_LEN], struct coffer_error *err)
{
    return sha512_rounds(data, 1, out, err);
}

int
sha512_rounds(struct bytes data, unsigned rounds, uint8_t out[SHA512_LEN], struct coffer_error *err)
{
    EVP_MD *md = digest_sha512();
    int rc;

    pthread_once(&once, fetch);
    if (md == NULL)
        return error_nomem(err);
    rc = digest(md, data, out, err);
    while (rc == COFFER_OK && --rounds > 0)
        rc = digest(md, bytes_of(out, SHA512_LEN), out, err);
    return rc;
}
