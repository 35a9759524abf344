/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include <string.h>

struct bytes
bytes_str(const char *text)
{
    return (struct bytes){(const uint8_t *)text, text != NULL ? strlen(text) : 0};
}

struct bytes
bytes_of(const void *ptr, size_t len)
{
    return (struct bytes){ptr, len};
}

bool
bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

int
bytes_compare(struct bytes a, struct bytes b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common > 0 ? memcmp(a.ptr, b.ptr, common) : 0;

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

bool
size_add(size_t a, size_t b, size_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

bool
size_mul(size_t a, size_t b, size_t *product)
{
    return !__builtin_mul_overflow(a, b, product);
}

void
hex_encode(struct bytes data, char *out)
{
    static const char DIGITS[] = "0123456789abcdef";
    size_t i;

    for (i = 0; i < data.len; i++) {
        out[2 * i] = DIGITS[data.ptr[i] >> 4];
        out[2 * i + 1] = DIGITS[data.ptr[i] & 15];
    }
    out[2 * data.len] = '\0';
}

static int
hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool
hex_decode(struct bytes text, uint8_t *out, size_t out_max, size_t *out_len)
{
    size_t i;

    *out_len = 0;
    if (text.len % 2 != 0 || text.len / 2 > out_max)
        return false;
    for (i = 0; i < text.len / 2; i++) {
        int high = hex_digit(text.ptr[2 * i]), low = hex_digit(text.ptr[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    *out_len = text.len / 2;
    return true;
}
