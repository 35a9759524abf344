/* SPDX-License-Identifier: Apache-2.0 */
/* XAES-256-GCM, C2SP specification: a 24-byte nonce by deriving an AES-256-GCM key for each
 * message.
 *
 *   L  = AES-256(K, 0^128);  K1 = L doubled in GF(2^128)             (CMAC subkey)
 *   Kx = AES-256(K, M1 ^ K1) || AES-256(K, M2 ^ K1),  Mi = 0x00 i "X" 0x00 || nonce[0..11]
 *   out = AES-256-GCM(Kx, nonce[12..23], plain, ad)
 *
 * An EVP_CIPHER_CTX is not for several threads at once, so that each thread keeps contexts of its
 * own for the keys that it used last, found by the key's serial number.
 */
#include "base/mem.h"
#include "crypto/internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct xaes_key {
    uint64_t serial;         /* never used twice in a process: an address may be */
    struct secret *material; /* K, then K1 */
};

#define CACHE 16

struct slot {
    uint64_t serial;
    EVP_CIPHER_CTX *context;
};

static atomic_uint_fast64_t serials = 1;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t cache_key;
static __thread struct slot cache[CACHE];
static __thread bool cache_registered;

static void
free_cache(void *arg)
{
    struct slot *slots = arg;
    size_t i;

    for (i = 0; i < CACHE; i++) {
        EVP_CIPHER_CTX_free(slots[i].context);
        slots[i] = (struct slot){0};
    }
}

static void
make_cache_key(void)
{
    (void)pthread_key_create(&cache_key, free_cache);
}

static int
failed(struct coffer_error *err)
{
    return error_set(err, COFFER_E_NOMEM,
                     "XAES-256-GCM: the cryptographic library is out of memory");
}

/* This thread's ECB context under K, with the key schedule made. */
static EVP_CIPHER_CTX *
context_for(const struct xaes_key *key)
{
    struct slot *slot = &cache[key->serial % CACHE];

    if (slot->serial == key->serial)
        return slot->context;
    if (!cache_registered) {
        pthread_once(&once, make_cache_key);
        (void)pthread_setspecific(cache_key, cache);
        cache_registered = true;
    }
    slot->serial = 0;
    if (slot->context == NULL && (slot->context = EVP_CIPHER_CTX_new()) == NULL)
        return NULL;
    if (EVP_EncryptInit_ex2(slot->context, cipher_ecb(), secret_expose(key->material).ptr, NULL,
                            NULL) != 1 ||
        EVP_CIPHER_CTX_set_padding(slot->context, 0) != 1)
        return NULL;
    slot->serial = key->serial;
    return slot->context;
}

/* Doubling in GF(2^128), RFC 4493 section 2.3, without a branch on the secret bit. */
static void
double_block(uint8_t block[16])
{
    uint8_t carry = block[0] >> 7;
    int i;

    for (i = 0; i < 15; i++)
        block[i] = (uint8_t)(block[i] << 1 | block[i + 1] >> 7);
    block[15] = (uint8_t)(block[15] << 1 ^ (0x87 & -carry));
}

int
xaes_key_new(const uint8_t key[32], struct xaes_key **out, struct coffer_error *err)
{
    struct xaes_key *made = mem_alloc(sizeof *made);
    static const uint8_t zero[16];
    EVP_CIPHER_CTX *context;
    uint8_t *k1;
    int len = 0, rc;

    *out = NULL;
    if (made == NULL)
        return error_nomem(err);
    rc = secret_new(48, &made->material, err);
    if (rc != COFFER_OK) {
        mem_free(made);
        return rc;
    }
    made->serial = atomic_fetch_add(&serials, 1);
    memcpy(secret_expose_mut(made->material), key, 32);
    k1 = secret_expose_mut(made->material) + 32;
    context = context_for(made);
    if (context == NULL || EVP_EncryptUpdate(context, k1, &len, zero, sizeof zero) != 1) {
        xaes_key_free(made);
        return failed(err);
    }
    double_block(k1);
    *out = made;
    return COFFER_OK;
}

void
xaes_key_free(struct xaes_key *key)
{
    struct slot *slot;

    if (key == NULL)
        return;
    slot = &cache[key->serial % CACHE]; /* other threads' schedules go when their slot is reused or
                                           the thread ends */
    if (slot->serial == key->serial) {
        EVP_CIPHER_CTX_free(slot->context);
        *slot = (struct slot){0};
    }
    secret_free(key->material);
    mem_free(key);
}

static int
derive(const struct xaes_key *key, const uint8_t nonce[XAES_NONCE_LEN], uint8_t out[32],
       struct coffer_error *err)
{
    const uint8_t *k1 = secret_expose(key->material).ptr + 32;
    EVP_CIPHER_CTX *context = context_for(key);
    uint8_t blocks[32] = {0x00, 0x01, 'X', 0x00};
    int i, len = 0, ok;

    memcpy(blocks + 4, nonce, 12);
    memcpy(blocks + 16, blocks, 16);
    blocks[17] = 0x02;
    for (i = 0; i < 16; i++) {
        blocks[i] ^= k1[i];
        blocks[16 + i] ^= k1[i];
    }
    ok = context != NULL && EVP_EncryptUpdate(context, out, &len, blocks, sizeof blocks) == 1;
    wipe(blocks, sizeof blocks);
    return ok ? COFFER_OK : failed(err);
}

int
xaes_seal(const struct xaes_key *key, const uint8_t nonce[XAES_NONCE_LEN], struct bytes ad,
          struct bytes plain, uint8_t *out, struct coffer_error *err)
{
    uint8_t message_key[32];
    int rc = derive(key, nonce, message_key, err);

    if (rc == COFFER_OK)
        rc = aes256_gcm_seal(message_key, nonce + 12, ad, plain, out, err);
    wipe(message_key, sizeof message_key);
    return rc;
}

int
xaes_open(const struct xaes_key *key, const uint8_t nonce[XAES_NONCE_LEN], struct bytes ad,
          struct bytes sealed, uint8_t *out, struct coffer_error *err)
{
    uint8_t message_key[32];
    int rc = derive(key, nonce, message_key, err);

    if (rc == COFFER_OK)
        rc = aes256_gcm_open(message_key, nonce + 12, ad, sealed, out, err);
    wipe(message_key, sizeof message_key);
    return rc;
}
