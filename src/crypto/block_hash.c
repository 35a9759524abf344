/* SPDX-License-Identifier: Apache-2.0 */
/* MD5 (RFC 1321) and SHA-512 (FIPS 180-4).
 *
 * An extent's IV is an MD5 of 32 bytes, beside a cipher that takes as little as 0.4 us for the extent: so
 * MD5 goes by OpenSSL's direct functions, which take half the time of EVP's (0.15 us), as long as EVP says
 * that MD5 may be had at all.  A passphrase is 65536 of SHA-512: each thread keeps a context. */
#define OPENSSL_SUPPRESS_DEPRECATED /* of the direct functions */
#include "crypto/block.h"
#include "crypto/internal.h"

#include <openssl/md5.h>
#include <pthread.h>

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
    MD5_CTX context;

    pthread_once(&once, fetch);
    if (md5_md == NULL)
        return error_set(err, COFFER_E_UNSUPPORTED,
                         "MD5 is not available: OpenSSL runs in a mode that forbids it, and this "
                         "format cannot do without");
    if (MD5_Init(&context) != 1 || MD5_Update(&context, data.ptr, data.len) != 1 ||
        MD5_Final(out, &context) != 1)
        return error_nomem(err);               /* uncovered: they cannot fail */
    OPENSSL_cleanse(&context, sizeof context); /* it may have been a key */
    return COFFER_OK;
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
