/* SPDX-License-Identifier: Apache-2.0 */
/* See prf.h.  OpenSSL's plain hash states are used, deprecated as they are: an EVP context cannot
 * be told to live in secret memory, and to copy one costs more than the hash. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "crypto/prf.h"

#include "base/mem.h"

#include <openssl/sha.h>
#include <string.h>

struct states256 {
    SHA256_CTX inner, outer;
};
struct states512 {
    SHA512_CTX inner, outer;
};
struct hmac_key {
    struct secret *states;
};
struct hmac512_key {
    struct secret *states;
};

/* One small block that owns a secret of `len`; each of the two is just that. */
static void *
holder_new(size_t len, struct coffer_error *err)
{
    struct secret **holder = mem_alloc(sizeof *holder);

    if (holder == NULL) {
        (void)error_nomem(err);
        return NULL;
    }
    if (secret_new(len, holder, err) != COFFER_OK) {
        mem_free(holder);
        return NULL;
    }
    return holder;
}

static void
xor_pad(uint8_t *block, size_t len, uint8_t pad)
{
    for (size_t i = 0; i < len; i++)
        block[i] ^= pad;
}

int
hmac_key_new(struct bytes key, struct hmac_key **out, struct coffer_error *err)
{
    struct hmac_key *made = holder_new(sizeof(struct states256), err);
    uint8_t block[64] = {0};
    struct states256 *s;

    *out = made;
    if (made == NULL)
        return COFFER_E_NOMEM;
    s = (void *)secret_expose_mut(made->states);
    if (key.len > sizeof block)
        (void)SHA256(key.ptr, key.len, block);
    else if (key.len > 0)
        memcpy(block, key.ptr, key.len);
    xor_pad(block, sizeof block, 0x36);
    SHA256_Init(&s->inner);
    SHA256_Update(&s->inner, block, sizeof block);
    xor_pad(block, sizeof block, 0x36 ^ 0x5c);
    SHA256_Init(&s->outer);
    SHA256_Update(&s->outer, block, sizeof block);
    wipe(block, sizeof block);
    return COFFER_OK;
}

void
hmac_key_free(struct hmac_key *key)
{
    if (key != NULL)
        secret_free(key->states);
    mem_free(key);
}

void
hmac_key_mac(const struct hmac_key *key, const struct bytes *parts, size_t count, uint8_t out[32])
{
    const struct states256 *s = (const void *)secret_expose(key->states).ptr;
    SHA256_CTX state = s->inner;

    for (size_t i = 0; i < count; i++) {
        if (parts[i].len > 0)
            SHA256_Update(&state, parts[i].ptr, parts[i].len);
    }
    SHA256_Final(out, &state);
    state = s->outer;
    SHA256_Update(&state, out, 32);
    SHA256_Final(out, &state);
    wipe(&state, sizeof state);
}

int
hmac512_key_new(struct bytes key, struct hmac512_key **out, struct coffer_error *err)
{
    struct hmac512_key *made;
    uint8_t block[128] = {0};
    struct states512 *s;

    *out = NULL;
    if (key.len > sizeof block)
        return error_set(err, COFFER_E_LIMIT, "HMAC-SHA-512 here takes keys of at most 128 bytes");
    made = holder_new(sizeof(struct states512), err);
    if (made == NULL)
        return COFFER_E_NOMEM;
    s = (void *)secret_expose_mut(made->states);
    if (key.len > 0)
        memcpy(block, key.ptr, key.len);
    xor_pad(block, sizeof block, 0x36);
    SHA512_Init(&s->inner);
    SHA512_Update(&s->inner, block, sizeof block);
    xor_pad(block, sizeof block, 0x36 ^ 0x5c);
    SHA512_Init(&s->outer);
    SHA512_Update(&s->outer, block, sizeof block);
    wipe(block, sizeof block);
    *out = made;
    return COFFER_OK;
}

void
hmac512_key_free(struct hmac512_key *key)
{
    if (key != NULL)
        secret_free(key->states);
    mem_free(key);
}

void
hmac512_key_mac(const struct hmac512_key *key, const struct bytes *parts, size_t count,
                uint8_t out[64])
{
    const struct states512 *s = (const void *)secret_expose(key->states).ptr;
    SHA512_CTX state = s->inner;

    for (size_t i = 0; i < count; i++) {
        if (parts[i].len > 0)
            SHA512_Update(&state, parts[i].ptr, parts[i].len);
    }
    SHA512_Final(out, &state);
    state = s->outer;
    SHA512_Update(&state, out, 64);
    SHA512_Final(out, &state);
    wipe(&state, sizeof state);
}
