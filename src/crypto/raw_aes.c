/* SPDX-License-Identifier: Apache-2.0 */
/* Keyed contexts of OpenSSL in slots.  A call takes one out of its slot, so that no other thread
 * sees it, and puts it back; when all are taken, one is made, and freed when no slot is empty. */
#include "crypto/raw_aes.h"

#include "base/mem.h"
#include "crypto/internal.h"

#include <stdatomic.h>

#define SLOTS 8
#define UPDATE_MAX ((size_t)1 << 20) /* blocks; the length that OpenSSL takes is an int */

typedef _Atomic(EVP_CIPHER_CTX *) slot;

struct raw_aes {
    struct secret *key;
    slot *slots; /* SLOTS of them, apart: a key is const to its users */
};

static EVP_CIPHER_CTX *
new_context(const struct secret *key)
{
    EVP_CIPHER *ecb = cipher_ecb();
    EVP_CIPHER_CTX *context = ecb != NULL && !mem_fault() ? EVP_CIPHER_CTX_new() : NULL;

    if (context != NULL &&
        EVP_EncryptInit_ex2(context, ecb, secret_expose(key).ptr, NULL, NULL) != 1) {
        EVP_CIPHER_CTX_free(context);
        context = NULL;
    }
    if (context != NULL)
        (void)EVP_CIPHER_CTX_set_padding(context, 0);
    return context;
}

static EVP_CIPHER_CTX *
take(const struct raw_aes *aes)
{
    for (int i = 0; i < SLOTS; i++) {
        EVP_CIPHER_CTX *context = NULL;

        if (atomic_load_explicit(&aes->slots[i], memory_order_relaxed) != NULL)
            context = atomic_exchange(&aes->slots[i], NULL);
        if (context != NULL)
            return context;
    }
    return new_context(aes->key);
}

static void
put_back(const struct raw_aes *aes, EVP_CIPHER_CTX *context)
{
    for (int i = 0; i < SLOTS; i++) {
        EVP_CIPHER_CTX *empty = NULL;

        if (atomic_compare_exchange_strong(&aes->slots[i], &empty, context))
            return;
    }
    EVP_CIPHER_CTX_free(context);
}

int
raw_aes_new(const uint8_t key[32], struct raw_aes **out, struct coffer_error *err)
{
    struct raw_aes *made;
    int rc;

    *out = NULL;
    made = mem_alloc(sizeof *made);
    if (made == NULL)
        return error_nomem(err);
    made->slots = mem_array(SLOTS, sizeof *made->slots);
    rc = made->slots == NULL ? error_nomem(err) : secret_copy(bytes_of(key, 32), &made->key, err);
    if (rc == COFFER_OK) {
        EVP_CIPHER_CTX *context = new_context(made->key);

        if (context != NULL)
            put_back(made, context);
        else
            rc = error_nomem(err);
    }
    if (rc != COFFER_OK) {
        raw_aes_free(made);
        return rc;
    }
    *out = made;
    return COFFER_OK;
}

void
raw_aes_free(struct raw_aes *aes)
{
    if (aes == NULL)
        return;
    for (int i = 0; aes->slots != NULL && i < SLOTS; i++)
        EVP_CIPHER_CTX_free(atomic_load(&aes->slots[i])); /* wipes the key schedule in it */
    mem_free(aes->slots);
    secret_free(aes->key);
    mem_free(aes);
}

int
raw_aes_blocks(const struct raw_aes *aes, const uint8_t *in, uint8_t *out, size_t count,
               struct coffer_error *err)
{
    EVP_CIPHER_CTX *context = take(aes);
    size_t n;
    int len;

    if (context == NULL)
        return error_nomem(err);
    for (; count > 0; count -= n, in += n * AES_BLOCK_LEN, out += n * AES_BLOCK_LEN) {
        n = count < UPDATE_MAX ? count : UPDATE_MAX;
        if (EVP_EncryptUpdate(context, out, &len, in, (int)(n * AES_BLOCK_LEN)) != 1) {
            EVP_CIPHER_CTX_free(context); /* uncovered: ECB of whole blocks does not fail */
            return error_nomem(err);
        }
    }
    put_back(aes, context);
    return COFFER_OK;
}
