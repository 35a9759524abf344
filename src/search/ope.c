/* SPDX-License-Identifier: Apache-2.0 */
#include "search/ope.h"

#include "base/mem.h"
#include "crypto/aes_block.h"
#include "search/subkey.h"

#include <string.h>

#define BITS_MAX (8 * OPE_WIDTH_MAX)

struct ope_key {
    unsigned version;
    struct secret *schedule; /* a struct aes_schedule */
};

int
ope_key_new(const struct secret *key, const uint8_t index_id[16], unsigned version,
            struct ope_key **out, struct coffer_error *err)
{
    struct ope_key *made = mem_alloc(sizeof *made);
    struct secret *subkey = NULL;
    int rc;

    *out = NULL;
    if (made == NULL)
        return error_nomem(err);
    made->version = version;
    rc = subkey_derive(key, "ope", index_id, version, 32, &subkey, err);
    if (rc == COFFER_OK)
        rc = secret_new(sizeof(struct aes_schedule), &made->schedule, err);
    if (rc == COFFER_OK)
        aes256_schedule((void *)secret_expose_mut(made->schedule), secret_expose(subkey).ptr);
    secret_free(subkey);
    if (rc != COFFER_OK) {
        ope_key_free(made);
        return rc;
    }
    *out = made;
    return COFFER_OK;
}

void
ope_key_free(struct ope_key *key)
{
    if (key != NULL)
        secret_free(key->schedule);
    mem_free(key);
}

static void
hide(const struct ope_key *key, uint8_t *blocks, size_t count)
{
    aes_blocks((const void *)secret_expose(key->schedule).ptr, blocks, blocks, count);
}

/* The block of bit `i`: n ‖ i ‖ the bits above it, zero-filled to 14 bytes. */
static void
block_of(unsigned n, unsigned i, struct bytes value, uint8_t block[16])
{
    memset(block, 0, 16);
    block[0] = (uint8_t)n;
    block[1] = (uint8_t)i;
    memcpy(block + 2, value.ptr, i / 8);
    if (i % 8 != 0)
        block[2 + i / 8] = (uint8_t)(value.ptr[i / 8] & (0xff00 >> (i % 8)));
}

/* At most 65534, so that a bit more never carries into the digit before. */
static uint16_t
digit(const uint8_t hidden[16])
{
    return (uint16_t)(get_be64(hidden) % 65535);
}

int
ope_encrypt(const struct ope_key *key, struct bytes value, uint8_t *out, struct coffer_error *err)
{
    unsigned bits = 8 * (unsigned)value.len;
    uint8_t blocks[BITS_MAX][16];

    if (value.len < 1 || value.len > OPE_WIDTH_MAX)
        return error_set(err, COFFER_E_MISUSE, "an order term is over 1 to %d bytes, not %zu",
                         OPE_WIDTH_MAX, value.len);
    for (unsigned i = 0; i < bits; i++)
        block_of(bits, i, value, blocks[i]);
    hide(key, blocks[0], bits);
    put_be16(out, (uint16_t)key->version);
    for (unsigned i = 0; i < bits; i++) {
        unsigned bit = value.ptr[i / 8] >> (7 - i % 8) & 1u;

        put_be16(out + 2 + 2 * i, (uint16_t)(digit(blocks[i]) + bit));
    }
    wipe(blocks, sizeof blocks);
    return COFFER_OK;
}

static int
check_form(const struct ope_key *key, struct bytes term, struct coffer_error *err)
{
    unsigned version;

    if (term.len < OPE_LEN(1) || term.len > OPE_LEN_MAX || (term.len - 2) % 16 != 0)
        return error_set(err, COFFER_E_FORMAT, "an order term has no length of %zu bytes",
                         term.len);
    version = term16_version(term.ptr);
    if (version < 1 || version > INDEX_VERSION_MAX)
        return error_set(err, COFFER_E_FORMAT, "an order term has no version %u", version);
    if (version != key->version)
        return error_set(err, COFFER_E_KEY, "the order term is of version %u, the key of %u",
                         version, key->version);
    return COFFER_OK;
}

int
ope_decrypt(const struct ope_key *key, struct bytes term, uint8_t out[OPE_WIDTH_MAX],
            struct coffer_error *err)
{
    uint8_t block[16];
    unsigned bits;
    int rc;

    memset(out, 0, OPE_WIDTH_MAX);
    rc = check_form(key, term, err);
    if (rc != COFFER_OK)
        return rc;
    bits = (unsigned)(term.len - 2) / 2;
    for (unsigned i = 0; rc == COFFER_OK && i < bits; i++) {
        unsigned stored = (unsigned)term.ptr[2 + 2 * i] << 8 | term.ptr[3 + 2 * i], bit;

        block_of(bits, i, bytes_of(out, OPE_WIDTH_MAX), block);
        hide(key, block, 1);
        bit = stored - digit(block);
        if (bit > 1)
            rc = error_set(err, COFFER_E_AUTH, "the order term was not made under this key");
        else
            out[i / 8] |= (uint8_t)(bit << (7 - i % 8));
    }
    wipe(block, sizeof block);
    if (rc != COFFER_OK)
        wipe(out, OPE_WIDTH_MAX);
    return rc;
}

int
ope_bound(unsigned version, uint8_t out[2], struct coffer_error *err)
{
    if (version < 1 || version > INDEX_VERSION_MAX)
        return error_set(err, COFFER_E_MISUSE, "no bound of version %u", version);
    put_be16(out, (uint16_t)version);
    return COFFER_OK;
}
