/* SPDX-License-Identifier: Apache-2.0 */
/* Block ciphers in ECB and CBC through OpenSSL, and AES-CBC handed to the lanes where there are any.
 *
 * Blowfish and CAST-128 are in OpenSSL's legacy provider.  It gets a library context of its own:
 * loading it into the default one would keep the default provider from being loaded unasked. */
#include "crypto/block.h"

#include "base/mem.h"
#include "crypto/aes_lanes.h"
#include "crypto/internal.h"

#include <assert.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct algorithm {
    enum block_cipher cipher;
    size_t key_min, key_max;
    bool legacy;
    const char *ecb_name, *cbc_name;
    EVP_CIPHER *ecb, *cbc; /* NULL: OpenSSL has it not */
};

struct block_key {
    const struct algorithm *algorithm;
    size_t len;
    bool lanes; /* the secret is a schedule of aes_lanes.h, which begins with the key */
    struct secret *secret;
};

struct contexts {
    EVP_CIPHER_CTX *ecb, *cbc;
};

static struct algorithm algorithms[] = {
    {BLOCK_AES, 16, 16, false, "AES-128-ECB", "AES-128-CBC", NULL, NULL},
    {BLOCK_AES, 24, 24, false, "AES-192-ECB", "AES-192-CBC", NULL, NULL},
    {BLOCK_AES, 32, 32, false, "AES-256-ECB", "AES-256-CBC", NULL, NULL},
    {BLOCK_DES3, 24, 24, false, "DES-EDE3-ECB", "DES-EDE3-CBC", NULL, NULL},
    {BLOCK_CAST5, 16, 16, true, "CAST5-ECB", "CAST5-CBC", NULL, NULL},
    {BLOCK_BLOWFISH, 16, BLOCK_KEY_MAX, true, "BF-ECB", "BF-CBC", NULL, NULL},
};
static pthread_once_t once = PTHREAD_ONCE_INIT, legacy_once = PTHREAD_ONCE_INIT;
static pthread_key_t contexts_key;
static __thread struct contexts mine;
static atomic_bool lanes_off;

static void
free_contexts(void *arg)
{
    struct contexts *contexts = arg;

    EVP_CIPHER_CTX_free(contexts->ecb); /* wipes the key schedule in it */
    EVP_CIPHER_CTX_free(contexts->cbc);
    contexts->ecb = contexts->cbc = NULL;
}

static void
fetch_kind(bool legacy, OSSL_LIB_CTX *context)
{
    for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++) {
        struct algorithm *a = &algorithms[i];

        if (a->legacy == legacy) {
            a->ecb = EVP_CIPHER_fetch(context, a->ecb_name, NULL);
            a->cbc = EVP_CIPHER_fetch(context, a->cbc_name, NULL);
        }
    }
}

static void
fetch_common(void)
{
    (void)pthread_key_create(&contexts_key, free_contexts);
    fetch_kind(false, NULL);
}

static void
fetch_legacy(void)
{
    OSSL_LIB_CTX *context = OSSL_LIB_CTX_new();

    if (context != NULL && OSSL_PROVIDER_load(context, "legacy") != NULL)
        fetch_kind(true, context);
    else
        OSSL_LIB_CTX_free(context);
}

static const struct algorithm *
find(enum block_cipher cipher, size_t key_len, struct coffer_error *err)
{
    static const char *const names[] = {"AES",      "Triple DES", "CAST-128",
                                        "Blowfish", "CAST-256",   "Twofish"};

    pthread_once(&once, fetch_common);
    for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++) {
        const struct algorithm *a = &algorithms[i];

        if (a->cipher != cipher || key_len < a->key_min || key_len > a->key_max)
            continue;
        if (a->legacy)
            pthread_once(&legacy_once, fetch_legacy);
        if (a->ecb != NULL && a->cbc != NULL)
            return a;
        (void)error_set(err, COFFER_E_UNSUPPORTED,
                        "cipher not available: %s needs OpenSSL's legacy provider, which this "
                        "machine has not",
                        names[cipher]);
        return NULL;
    }
    if (cipher == BLOCK_CAST6 || cipher == BLOCK_TWOFISH)
        (void)error_set(err, COFFER_E_UNSUPPORTED, "cipher not available: OpenSSL has no %s",
                        names[cipher]);
    else
        (void)error_set(err, COFFER_E_UNSUPPORTED, "%s takes no key of %zu bytes", names[cipher],
                        key_len);
    return NULL;
}

size_t
block_len(enum block_cipher cipher)
{
    return cipher == BLOCK_DES3 || cipher == BLOCK_CAST5 || cipher == BLOCK_BLOWFISH ? 8 : 16;
}

/* This thread's context, keyed; NULL when out of memory. */
static EVP_CIPHER_CTX *
keyed_context(EVP_CIPHER_CTX **slot, const EVP_CIPHER *cipher, struct bytes key, bool encrypt)
{
    if (*slot == NULL) {
        *slot = EVP_CIPHER_CTX_new();
        (void)pthread_setspecific(contexts_key, &mine);
    }
    /* Blowfish must hear the length of the key before the key. */
    if (*slot == NULL || EVP_CipherInit_ex2(*slot, cipher, NULL, NULL, encrypt, NULL) != 1 ||
        EVP_CIPHER_CTX_set_key_length(*slot, (int)key.len) != 1 ||
        EVP_CipherInit_ex2(*slot, NULL, key.ptr, NULL, encrypt, NULL) != 1)
        return NULL;
    (void)EVP_CIPHER_CTX_set_padding(*slot, 0);
    return *slot;
}

int
block_ecb(enum block_cipher cipher, struct bytes key, bool encrypt, const uint8_t *in, uint8_t *out,
          size_t len, struct coffer_error *err)
{
    const struct algorithm *a = find(cipher, key.len, err);
    EVP_CIPHER_CTX *context;
    int n;

    assert(len % block_len(cipher) == 0);
    if (a == NULL)
        return COFFER_E_UNSUPPORTED;
    context = keyed_context(&mine.ecb, a->ecb, key, encrypt);
    if (context == NULL || EVP_CipherUpdate(context, out, &n, in, (int)len) != 1)
        return error_nomem(err);
    return COFFER_OK;
}

int
block_key_new(enum block_cipher cipher, struct bytes key, struct block_key **out,
              struct coffer_error *err)
{
    const struct algorithm *a = find(cipher, key.len, err);
    size_t schedule = cipher == BLOCK_AES ? lanes_schedule_len(key.len) : 0;
    struct block_key *made;
    int rc;

    *out = NULL;
    if (a == NULL)
        return COFFER_E_UNSUPPORTED;
    made = mem_alloc(sizeof *made);
    if (made == NULL)
        return error_nomem(err);
    made->algorithm = a;
    made->len = key.len;
    rc = secret_new(schedule > 0 ? schedule : key.len, &made->secret, err);
    if (rc != COFFER_OK) {
        mem_free(made);
        return rc;
    }
    made->lanes = schedule > 0 && lanes_expand(key, secret_expose_mut(made->secret));
    if (!made->lanes)
        memcpy(secret_expose_mut(made->secret), key.ptr, key.len);
    *out = made;
    return COFFER_OK;
}

void
block_key_free(struct block_key *key)
{
    if (key == NULL)
        return;
    secret_free(key->secret);
    mem_free(key);
}

int
block_cbc(const struct block_key *key, bool encrypt, const struct block_unit *units, size_t count,
          size_t unit_len, struct coffer_error *err)
{
    const uint8_t *material = secret_expose(key->secret).ptr;
    EVP_CIPHER_CTX *context;
    int n;

    assert(unit_len % block_len(key->algorithm->cipher) == 0);
    if (key->lanes && !atomic_load_explicit(&lanes_off, memory_order_relaxed) &&
        lanes_cbc(material, key->len, encrypt, units, count, unit_len))
        return COFFER_OK;
    context = keyed_context(&mine.cbc, key->algorithm->cbc, bytes_of(material, key->len), encrypt);
    if (context == NULL)
        return error_nomem(err);
    for (size_t i = 0; i < count; i++)
        if (EVP_CipherInit_ex2(context, NULL, NULL, units[i].iv, -1, NULL) != 1 ||
            EVP_CipherUpdate(context, units[i].out, &n, units[i].in, (int)unit_len) != 1)
            return error_nomem(err);
    return COFFER_OK;
}

void
block_lanes_off(bool off)
{
    atomic_store(&lanes_off, off);
}

bool
block_lanes_used(void)
{
    uint8_t schedule[480] __attribute__((aligned(16)));

    return lanes_schedule_len(32) > 0 && lanes_schedule_len(32) <= sizeof schedule &&
           !atomic_load(&lanes_off) && lanes_expand(bytes_of((uint8_t[32]){0}, 32), schedule);
}
