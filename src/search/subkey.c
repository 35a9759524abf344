/* SPDX-License-Identifier: Apache-2.0 */
#include "search/subkey.h"

#include "crypto/crypto.h"

#include <assert.h>
#include <string.h>

#define PREFIX "coffer/v1/"
#define INFO_MAX 128

int
subkey_derive(const struct secret *key, const char *label, const uint8_t index_id[16],
              unsigned version, size_t len, struct secret **out, struct coffer_error *err)
{
    uint8_t info[INFO_MAX];
    size_t label_len = strlen(PREFIX) + strlen(label), at = 0;
    int rc;

    *out = NULL;
    assert(label_len < 64);
    if (secret_len(key) != 32)
        return error_set(err, COFFER_E_MISUSE, "the key of an index has 32 bytes, not %zu",
                         secret_len(key));
    if (version < 1 || version > INDEX_VERSION_MAX)
        return error_set(err, COFFER_E_MISUSE, "the version of an index key is 1 to %d, not %u",
                         INDEX_VERSION_MAX, version);
    put_be16(info, (uint16_t)label_len);
    at = 2;
    memcpy(info + at, PREFIX, strlen(PREFIX));
    at += strlen(PREFIX);
    memcpy(info + at, label, strlen(label));
    at += strlen(label);
    put_be16(info + at, 16);
    memcpy(info + at + 2, index_id, 16);
    at += 18;
    put_be16(info + at, 2);
    put_be16(info + at + 2, (uint16_t)version);
    at += 4;
    rc = secret_new(len, out, err);
    if (rc == COFFER_OK)
        rc = hkdf_sha256(secret_expose(key), (struct bytes){0}, bytes_of(info, at),
                         secret_expose_mut(*out), len, err);
    if (rc != COFFER_OK) {
        secret_free(*out);
        *out = NULL;
    }
    return rc;
}

void
term16(unsigned version, const uint8_t mac[32], unsigned bits, uint8_t out[16])
{
    assert(bits >= 1 && bits <= TERM16_BITS_MAX);
    put_be16(out, (uint16_t)version);
    memset(out + 2, 0, 14);
    memcpy(out + 2, mac, (bits + 7) / 8);
    if (bits % 8 != 0)
        out[2 + bits / 8] &= (uint8_t)(0xff << (8 - bits % 8));
}

int64_t
term8(unsigned version, const uint8_t mac[32], unsigned bits)
{
    uint64_t h = get_be64(mac) >> 16;

    assert(bits >= 1 && bits <= TERM8_BITS_MAX);
    h &= ~(uint64_t)0 << (48 - bits);
    return (int64_t)((uint64_t)version << 48 | h);
}

void
term16_range(unsigned version, uint8_t low[16], uint8_t high[16])
{
    memset(low, 0, 16);
    memset(high, 0, 16);
    put_be16(low, (uint16_t)version);
    put_be16(high, (uint16_t)(version + 1));
}

void
term8_range(unsigned version, int64_t *low, int64_t *high)
{
    *low = (int64_t)((uint64_t)version << 48);
    *high = version < INDEX_VERSION_MAX ? (int64_t)((uint64_t)(version + 1) << 48) : INT64_MAX;
}

unsigned
term16_version(const uint8_t term[16])
{
    return (unsigned)term[0] << 8 | term[1];
}

unsigned
term8_version(int64_t term)
{
    return term < 0 ? 0 : (unsigned)((uint64_t)term >> 48);
}
