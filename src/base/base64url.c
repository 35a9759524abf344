/* SPDX-License-Identifier: Apache-2.0 */
/* Unpadded base64url, RFC 4648 §5. */
#include "base/bytes.h"

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t
base64url_encoded_len(size_t len)
{
    return len / 3 * 4 + (len % 3 != 0 ? len % 3 + 1 : 0);
}

void
base64url_encode(struct bytes data, char *out)
{
    size_t i;
    uint32_t v;

    for (i = 0; i + 3 <= data.len; i += 3) {
        v = (uint32_t)data.ptr[i] << 16 | (uint32_t)data.ptr[i + 1] << 8 | data.ptr[i + 2];
        *out++ = ALPHABET[v >> 18];
        *out++ = ALPHABET[v >> 12 & 63];
        *out++ = ALPHABET[v >> 6 & 63];
        *out++ = ALPHABET[v & 63];
    }
    if (data.len - i == 1) {
        v = (uint32_t)data.ptr[i] << 16;
        *out++ = ALPHABET[v >> 18];
        *out++ = ALPHABET[v >> 12 & 63];
    } else if (data.len - i == 2) {
        v = (uint32_t)data.ptr[i] << 16 | (uint32_t)data.ptr[i + 1] << 8;
        *out++ = ALPHABET[v >> 18];
        *out++ = ALPHABET[v >> 12 & 63];
        *out++ = ALPHABET[v >> 6 & 63];
    }
}

static int
sextet(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool
base64url_decode(struct bytes text, uint8_t *out, size_t out_max, size_t *out_len)
{
    size_t len = text.len / 4 * 3 + (text.len % 4 != 0 ? text.len % 4 - 1 : 0), i, n = 0;
    uint32_t v = 0;
    unsigned bits = 0;

    *out_len = 0;
    if (text.len % 4 == 1 || len > out_max)
        return false;
    for (i = 0; i < text.len; i++) {
        int s = sextet(text.ptr[i]);

        if (s < 0)
            return false;
        v = v << 6 | (uint32_t)s;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[n++] = (uint8_t)(v >> bits);
        }
        v &= (1u << bits) - 1;
    }
    if (v != 0) /* unused bits: two texts would mean the same bytes */
        return false;
    *out_len = n;
    return true;
}
