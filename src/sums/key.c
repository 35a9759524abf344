/* SPDX-License-Identifier: Apache-2.0 */
/* Subkeys of a sum key: masks, tags, and the two secret factors of the tags. */
#include "base/mem.h"
#include "crypto/crypto.h"
#include "sums/internal.h"

#include <assert.h>
#include <string.h>

int
sums_subkey(const struct secret *key, const char *label, const uint8_t index_id[16],
            unsigned version, uint8_t *out, size_t len, struct coffer_error *err)
{
    uint8_t be_version[2];
    struct buf info;
    int rc;

    put_be16(be_version, (uint16_t)version);
    buf_init(&info, 128);
    buf_lp16(&info, bytes_str(label));
    buf_lp16(&info, bytes_of(index_id, 16));
    buf_lp16(&info, bytes_of(be_version, 2));
    rc = buf_status(&info, err);
    if (rc == COFFER_OK)
        rc = hkdf_sha256(secret_expose(key), bytes_of("", 0), buf_view(&info), out, len, err);
    buf_wipe(&info);
    return rc;
}

/* 1 + (256 bits mod p-1), without a branch on them. */
static uint128
factor(const uint8_t bytes[32])
{
    const uint128 modulus = MODP - 1;
    uint128 r = 0, less;

    for (int i = 0; i < 256; i++) {
        r = r << 1 | (bytes[i / 8] >> (7 - i % 8) & 1); /* below 2^128: r was below 2^127 */
        less = r - modulus;
        r = less + (modulus & -(less >> 127));
    }
    return r + 1;
}

static int
derive_alphas(const struct secret *key, const uint8_t index_id[16], unsigned version,
              struct secret **out, struct coffer_error *err)
{
    uint8_t bytes[64];
    struct alphas alphas;
    int rc = sums_subkey(key, "coffer/v1/sum-alpha", index_id, version, bytes, sizeof bytes, err);

    if (rc == COFFER_OK) {
        alphas = (struct alphas){factor(bytes), factor(bytes + 32)};
        rc = secret_copy(bytes_of(&alphas, sizeof alphas), out, err);
    }
    wipe(&alphas, sizeof alphas);
    wipe(bytes, sizeof bytes);
    return rc;
}

/* The key schedule, in secret memory. */
static int
derive_aes(const struct secret *key, const char *label, const uint8_t index_id[16],
           unsigned version, struct secret **out, struct coffer_error *err)
{
    uint8_t bytes[32];
    int rc = sums_subkey(key, label, index_id, version, bytes, sizeof bytes, err);

    if (rc == COFFER_OK)
        rc = secret_new(sizeof(struct aes_schedule), out, err);
    if (rc == COFFER_OK)
        aes256_schedule((struct aes_schedule *)(void *)secret_expose_mut(*out), bytes);
    wipe(bytes, sizeof bytes);
    return rc;
}

int
sum_key_new(const struct secret *key, const uint8_t index_id[16], unsigned version,
            struct sum_key **out, struct coffer_error *err)
{
    struct sum_key *made;
    int rc;

    *out = NULL;
    if (version == 0 || version > SUM_VERSION_MAX || secret_len(key) != 32)
        return error_set(err, COFFER_E_MISUSE, "a sum key has 32 bytes and a version of 1 to %d",
                         SUM_VERSION_MAX);
    made = mem_alloc(sizeof *made);
    if (made == NULL)
        return error_nomem(err);
    made->version = version;
    rc = derive_aes(key, "coffer/v1/sum", index_id, version, &made->mask, err);
    if (rc == COFFER_OK)
        rc = derive_aes(key, "coffer/v1/sum-tag", index_id, version, &made->tag, err);
    if (rc == COFFER_OK)
        rc = derive_alphas(key, index_id, version, &made->alpha, err);
    if (rc != COFFER_OK) {
        sum_key_free(made);
        return rc;
    }
    *out = made;
    return COFFER_OK;
}

void
sum_key_free(struct sum_key *key)
{
    if (key == NULL)
        return;
    secret_free(key->mask);
    secret_free(key->tag);
    secret_free(key->alpha);
    mem_free(key);
}

unsigned
sum_key_version(const struct sum_key *key)
{
    return key->version;
}

const struct alphas *
sum_alphas(const struct sum_key *key)
{
    const void *bytes = secret_expose(key->alpha).ptr;

    assert((uintptr_t)bytes % _Alignof(struct alphas) == 0);
    return bytes;
}

void
sum_masks(const struct sum_key *key, uint8_t *blocks, size_t count)
{
    const void *schedule = secret_expose(key->mask).ptr;

    aes_blocks(schedule, blocks, blocks, count);
}

void
sum_tag_blocks(const struct sum_key *key, uint8_t *blocks, size_t count)
{
    const void *schedule = secret_expose(key->tag).ptr;

    aes_blocks(schedule, blocks, blocks, count);
}
