/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL's binary numeric (base 10 000 digits) from and to decimal text; digits and scale stay
 * as written. */
#include "internal.h"

#include <string.h>

#define NUMERIC_NEG 0x4000
#define NUMERIC_NAN 0xC000
#define NUMERIC_PINF 0xD000
#define NUMERIC_NINF 0xF000

static void
digit_group(struct buf *out, unsigned group, bool trim)
{
    char text[5] = {(char)('0' + group / 1000), (char)('0' + group / 100 % 10),
                    (char)('0' + group / 10 % 10), (char)('0' + group % 10), '\0'};
    const char *p = text;

    while (trim && *p == '0' && p[1] != '\0')
        p++;
    buf_str(out, p);
}

bool
pg_numeric_decode(struct bytes raw, struct buf *out)
{
    struct cursor c = cursor_of(raw);
    int count = cursor_be16(&c);
    int weight = (int16_t)cursor_be16(&c);
    unsigned sign = cursor_be16(&c);
    int scale = cursor_be16(&c), i, left;
    const uint8_t *digits = c.ptr;

    if (c.bad || cursor_left(&c) != (size_t)count * 2 || scale > 0x3FFF)
        return false;
    if (sign == NUMERIC_NAN || sign == NUMERIC_PINF || sign == NUMERIC_NINF) {
        buf_str(out, sign == NUMERIC_NAN ? "NaN" : sign == NUMERIC_PINF ? "Infinity" : "-Infinity");
        return count == 0;
    }
    if (sign != 0 && sign != NUMERIC_NEG)
        return false;
#define GROUP(n)                                                                                   \
    ((n) >= 0 && (n) < count ? (unsigned)(digits[2 * (n)] << 8 | digits[2 * (n) + 1]) : 0u)
    for (i = 0; i < count; i++) {
        if (GROUP(i) > 9999)
            return false;
    }
    if (sign == NUMERIC_NEG)
        buf_u8(out, '-');
    if (weight < 0)
        buf_u8(out, '0');
    for (i = 0; i <= weight; i++)
        digit_group(out, GROUP(i), i == 0);
    if (scale > 0)
        buf_u8(out, '.');
    for (i = weight + 1, left = scale; left > 0; i++, left -= 4) {
        size_t before = out->len;

        digit_group(out, GROUP(i), false);
        if (left < 4 && out->failed == COFFER_OK)
            out->len = before + (size_t)left;
    }
#undef GROUP
    return out->failed == COFFER_OK;
}

static bool
special(struct bytes text, struct buf *out)
{
    static const struct {
        const char *name;
        uint16_t sign;
    } names[] = {{"NaN", NUMERIC_NAN}, {"Infinity", NUMERIC_PINF}, {"-Infinity", NUMERIC_NINF}};
    size_t i;

    for (i = 0; i < sizeof names / sizeof *names; i++) {
        if (!bytes_equal(text, bytes_str(names[i].name)))
            continue;
        buf_be32(out, 0);
        buf_be16(out, names[i].sign);
        buf_be16(out, 0);
        return true;
    }
    return false;
}

/* The decimal digit at power 10^`power` of a number whose `whole` digits stand before its point. */
static unsigned
digit_at(const uint8_t *whole, size_t whole_len, const uint8_t *fraction, size_t fraction_len,
         long power)
{
    if (power >= 0)
        return (size_t)power < whole_len ? whole[whole_len - 1 - (size_t)power] - (unsigned)'0'
                                         : 0u;
    power = -power - 1;
    return (size_t)power < fraction_len ? fraction[power] - (unsigned)'0' : 0u;
}

bool
pg_numeric_encode(struct bytes text, struct buf *out)
{
    const uint8_t *whole = text.ptr, *end = text.ptr + text.len, *fraction;
    size_t whole_len, fraction_len = 0, count = 0, count_at;
    bool negative = false, started = false;
    long weight, group, top, bottom;

    if (special(text, out))
        return true;
    if (whole < end && *whole == '-') {
        negative = true;
        whole++;
    }
    for (fraction = whole; fraction < end && *fraction >= '0' && *fraction <= '9'; fraction++)
        ;
    whole_len = (size_t)(fraction - whole);
    if (fraction < end) {
        if (*fraction != '.')
            return false;
        fraction++;
        fraction_len = (size_t)(end - fraction);
        for (const uint8_t *p = fraction; p < end; p++) {
            if (*p < '0' || *p > '9')
                return false;
        }
        if (fraction_len == 0)
            return false;
    }
    if (whole_len == 0 || whole_len > 131072 || fraction_len > 16383)
        return false;

    count_at = out->len;
    buf_be64(out, 0); /* filled in below */
    top = (long)(whole_len + 3) / 4 - 1;
    bottom = -(long)((fraction_len + 3) / 4);
    weight = 0;
    for (group = top; group >= bottom; group--) {
        unsigned value = 0;
        long i;

        for (i = 3; i >= 0; i--)
            value = value * 10 + digit_at(whole, whole_len, fraction, fraction_len, group * 4 + i);
        if (!started && value == 0)
            continue;
        if (!started)
            weight = group;
        started = true;
        buf_be16(out, (uint16_t)value);
        count++;
    }
    if (out->failed != COFFER_OK)
        return false;
    while (count > 0 && out->ptr[out->len - 1] == 0 && out->ptr[out->len - 2] == 0) {
        out->len -= 2; /* the server strips trailing zero groups too */
        count--;
    }
    put_be16(out->ptr + count_at, (uint16_t)count);
    put_be16(out->ptr + count_at + 2, (uint16_t)weight);
    put_be16(out->ptr + count_at + 4, negative && count > 0 ? NUMERIC_NEG : 0);
    put_be16(out->ptr + count_at + 6, (uint16_t)fraction_len);
    return true;
}
