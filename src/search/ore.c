/* SPDX-License-Identifier: Apache-2.0 */
#include "search/ore.h"

#include "base/mem.h"
#include "crypto/aes_block.h"
#include "crypto/crypto.h"
#include "crypto/prf.h"
#include "search/subkey.h"

#include <string.h>

#define STREAM_BLOCKS 24 /* of the permutation's key stream at a time: 255 draws and some refused */

struct ore_key {
    unsigned version;
    struct hmac512_key *mac;
    /* Public constants of the permutation, for m = 1…256: draws below `limit` are taken, and
     * draw · reciprocal / 2^16 is draw / m, exactly for a byte: divisions would cost the most. */
    uint16_t limit[257];
    uint32_t reciprocal[257];
};

/* What one block of a value takes; wiped as a whole. */
struct work {
    uint8_t keys[64]; /* A: of F; B: of the permutation */
    struct aes_schedule schedule;
    uint8_t permutation[256], greater[256];
    uint8_t stream[16 * STREAM_BLOCKS];
    uint8_t in[256][16], f[256][16], hidden[256][16];
};

int
ore_key_new(const struct secret *key, const uint8_t index_id[16], unsigned version,
            struct ore_key **out, struct coffer_error *err)
{
    struct ore_key *made = mem_alloc(sizeof *made);
    struct secret *subkey = NULL;
    int rc;

    *out = NULL;
    if (made == NULL)
        return error_nomem(err);
    made->version = version;
    for (unsigned m = 1; m <= 256; m++) {
        made->limit[m] = (uint16_t)(256 - 256 % m);
        made->reciprocal[m] = 65536 / m + 1;
    }
    rc = subkey_derive(key, "ore", index_id, version, 32, &subkey, err);
    if (rc == COFFER_OK)
        rc = hmac512_key_new(secret_expose(subkey), &made->mac, err);
    secret_free(subkey);
    if (rc != COFFER_OK) {
        ore_key_free(made);
        return rc;
    }
    *out = made;
    return COFFER_OK;
}

void
ore_key_free(struct ore_key *key)
{
    if (key != NULL)
        hmac512_key_free(key->mac);
    mem_free(key);
}

/* The next stretch of AES-256-CTR key stream, counter blocks from `counter`. */
static void
next_stream(struct work *w, uint32_t counter)
{
    memset(w->stream, 0, sizeof w->stream);
    for (uint32_t i = 0; i < STREAM_BLOCKS; i++)
        put_be32(w->stream + 16 * i + 12, counter + i);
    aes_blocks(&w->schedule, w->stream, w->stream, STREAM_BLOCKS);
}

/* Fisher-Yates from the top, without bias: bytes above a multiple of the bound are drawn again. */
static void
permute(const struct ore_key *key, struct work *w)
{
    uint32_t counter = 0;
    size_t at = sizeof w->stream;

    aes256_schedule(&w->schedule, w->keys + 32);
    for (unsigned i = 0; i < 256; i++)
        w->permutation[i] = (uint8_t)i;
    for (unsigned i = 255; i > 0; i--) {
        unsigned m = i + 1, limit = key->limit[m], draw;
        uint8_t swap = w->permutation[i];

        do {
            if (at == sizeof w->stream) {
                next_stream(w, counter);
                counter += STREAM_BLOCKS;
                at = 0;
            }
            draw = w->stream[at++];
        } while (draw >= limit);
        draw -= (draw * key->reciprocal[m] >> 16) * m; /* draw mod m */
        w->permutation[i] = w->permutation[draw];
        w->permutation[draw] = swap;
    }
}

/* One byte `x` of a value: its t, F(t) and right bits. */
static void
encrypt_block(const struct ore_key *key, struct work *w, const struct aes_schedule *nonce,
              uint8_t x, uint8_t *t, uint8_t *f, uint8_t right[32])
{
    permute(key, w);
    *t = w->permutation[x];
    aes256_schedule(&w->schedule, w->keys);
    aes_blocks(&w->schedule, w->in[0], w->f[0], 256);
    aes_blocks(nonce, w->f[0], w->hidden[0], 256);
    memcpy(f, w->f[*t], 16);
    for (unsigned y = 0; y < 256; y++)
        w->greater[w->permutation[y]] = y > x;
    for (unsigned j = 0; j < 256; j += 8) {
        unsigned bits = 0;

        for (unsigned i = 0; i < 8; i++)
            bits |= (w->greater[j + i] ^ ((w->hidden[j + i][15] ^ w->f[j + i][15]) & 1u)) << i;
        right[j / 8] = (uint8_t)bits;
    }
}

int
ore_encrypt(const struct ore_key *key, struct bytes value, const uint8_t *nonce, uint8_t *out,
            struct coffer_error *err)
{
    struct aes_schedule of_nonce;
    struct work w;
    size_t blocks = value.len;
    int rc;

    if (blocks < 1 || blocks > ORE_BLOCKS_MAX)
        return error_set(err, COFFER_E_MISUSE, "an order term is over 1 to %d bytes, not %zu",
                         ORE_BLOCKS_MAX, blocks);
    out[0] = 0x01;
    out[1] = (uint8_t)blocks;
    put_be16(out + 2, (uint16_t)key->version);
    if (nonce != NULL) {
        memcpy(out + 4, nonce, 16);
    } else {
        rc = random_nonce(out + 4, 16, err); /* unique: 128 random bits a term */
        if (rc != COFFER_OK)
            return rc;
    }
    aes128_schedule(&of_nonce, out + 4);
    memset(w.in, 0, sizeof w.in);
    for (unsigned j = 0; j < 256; j++)
        w.in[j][15] = (uint8_t)j;
    for (size_t n = 0; n < blocks; n++) {
        uint8_t head[2] = {(uint8_t)blocks, (uint8_t)n};
        struct bytes parts[] = {{head, 2}, {value.ptr, n}};

        hmac512_key_mac(key->mac, parts, 2, w.keys);
        encrypt_block(key, &w, &of_nonce, value.ptr[n], out + ORE_HEAD_LEN + n,
                      out + ORE_HEAD_LEN + blocks + 16 * n,
                      out + ORE_HEAD_LEN + 17 * blocks + 32 * n);
    }
    wipe(&w, sizeof w);
    return COFFER_OK;
}

int
ore_bound(unsigned version, uint8_t out[ORE_HEAD_LEN], struct coffer_error *err)
{
    if (version < 1 || version > INDEX_VERSION_MAX)
        return error_set(err, COFFER_E_MISUSE, "no bound of version %u", version);
    memset(out, 0, ORE_HEAD_LEN);
    out[0] = 0x01;
    put_be16(out + 2, (uint16_t)version);
    return COFFER_OK;
}
