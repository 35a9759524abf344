/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/internal.h"

#include <openssl/err.h>
#include <pthread.h>

struct contexts {
    EVP_CIPHER_CTX *seal, *open;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t contexts_key;
static EVP_CIPHER *gcm, *ecb, *wrap_pad;
static EVP_MD *sha256_md, *sha512_md;
static EVP_MAC *hmac;
static __thread struct contexts mine;

static void
free_contexts(void *arg)
{
    struct contexts *contexts = arg;

    EVP_CIPHER_CTX_free(contexts->seal); /* wipes the key schedule in it */
    EVP_CIPHER_CTX_free(contexts->open);
    contexts->seal = contexts->open = NULL;
}

static void
fetch_all(void)
{
    (void)pthread_key_create(&contexts_key, free_contexts);
    gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    ecb = EVP_CIPHER_fetch(NULL, "AES-256-ECB", NULL);
    wrap_pad = EVP_CIPHER_fetch(NULL, "AES-256-WRAP-PAD", NULL);
    sha256_md = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    sha512_md = EVP_MD_fetch(NULL, "SHA2-512", NULL);
    hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
}

static EVP_CIPHER_CTX *
new_context(bool encrypt)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();

    if (context != NULL && EVP_CipherInit_ex2(context, gcm, NULL, NULL, encrypt, NULL) != 1) {
        EVP_CIPHER_CTX_free(context);
        context = NULL;
    }
    (void)pthread_setspecific(contexts_key, &mine);
    return context;
}

EVP_CIPHER_CTX *
gcm_context(bool encrypt)
{
    EVP_CIPHER_CTX **slot = encrypt ? &mine.seal : &mine.open;

    if (*slot == NULL) {
        pthread_once(&once, fetch_all);
        if (gcm != NULL)
            *slot = new_context(encrypt);
    }
    return *slot;
}

EVP_CIPHER *
cipher_ecb(void)
{
    pthread_once(&once, fetch_all);
    return ecb;
}

EVP_CIPHER *
cipher_wrap_pad(void)
{
    pthread_once(&once, fetch_all);
    return wrap_pad;
}

EVP_MD *
digest_sha256(void)
{
    pthread_once(&once, fetch_all);
    return sha256_md;
}

EVP_MD *
digest_sha512(void)
{
    pthread_once(&once, fetch_all);
    return sha512_md;
}

EVP_MAC *
mac_hmac(void)
{
    pthread_once(&once, fetch_all);
    return hmac;
}

bool
openssl_lacked_memory(void)
{
    bool lacked = false;
    unsigned long code;

    while ((code = ERR_get_error()) != 0)
        lacked |= ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE;
    return lacked;
}
