/* SPDX-License-Identifier: Apache-2.0 */
/* Text to values, strictly; the inverse of value_format(). */
#include "field/internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int
no_value(int type, struct bytes text, struct coffer_error *err)
{
    (void)text; /* may be what is to be protected: never in a message */
    return error_set(err, COFFER_E_TYPE, "the text given is no value of type %s",
                     coffer_type_name(type));
}

struct scanner {
    const char *p;
    bool ok;
};

static int64_t
number(struct scanner *s, int least, int most)
{
    int64_t v = 0;
    int n = 0;

    for (; n < most && *s->p >= '0' && *s->p <= '9'; n++)
        v = v * 10 + (*s->p++ - '0');
    if (n < least)
        s->ok = false;
    return v;
}

static void
literal(struct scanner *s, char c)
{
    if (*s->p == c)
        s->p++;
    else
        s->ok = false;
}

static bool
scan_bc(struct scanner *s)
{
    if (strcmp(s->p, " BC") != 0)
        return false;
    s->p += 3;
    return true;
}

struct date {
    int64_t year;
    int month, day;
};

static void
scan_date(struct scanner *s, struct date *d)
{
    d->year = number(s, 4, 7);
    literal(s, '-');
    d->month = (int)number(s, 2, 2);
    literal(s, '-');
    d->day = (int)number(s, 2, 2);
}

static bool
finish_date(struct scanner *s, struct date *d, int64_t *days)
{
    if (scan_bc(s))
        d->year = 1 - d->year;
    else if (d->year == 0)
        return false;
    if (!s->ok || *s->p != '\0' || !civil_valid(d->year, d->month, d->day))
        return false;
    *days = days_from_civil(d->year, d->month, d->day);
    return true;
}

static bool
parse_date(const char *text, int64_t *days)
{
    struct scanner s = {text, true};
    struct date d;

    if (strcmp(text, "infinity") == 0 || strcmp(text, "-infinity") == 0) {
        *days = text[0] == '-' ? INT32_MIN : INT32_MAX;
        return true;
    }
    scan_date(&s, &d);
    return finish_date(&s, &d, days) && *days > INT32_MIN && *days < INT32_MAX;
}

/* "Z", "+hh", "-hh:mm": minutes east. */
static int64_t
scan_offset(struct scanner *s)
{
    int64_t minutes;
    char sign = *s->p;

    if (sign == 'Z') {
        s->p++;
        return 0;
    }
    if (sign != '+' && sign != '-')
        return 0;
    s->p++;
    minutes = number(s, 2, 2) * 60;
    if (*s->p == ':') {
        s->p++;
        minutes += number(s, 2, 2);
    }
    if (minutes >= 16 * 60)
        s->ok = false;
    return sign == '-' ? -minutes : minutes;
}

static bool
parse_timestamp(const char *text, int64_t *us)
{
    struct scanner s = {text, true};
    struct date d;
    int64_t days, hour, minute, second, fraction = 0, scale = 100000, offset, time;

    if (strcmp(text, "infinity") == 0 || strcmp(text, "-infinity") == 0) {
        *us = text[0] == '-' ? INT64_MIN : INT64_MAX;
        return true;
    }
    scan_date(&s, &d);
    if (*s.p != ' ' && *s.p != 'T')
        return false;
    s.p++;
    hour = number(&s, 2, 2);
    literal(&s, ':');
    minute = number(&s, 2, 2);
    literal(&s, ':');
    second = number(&s, 2, 2);
    if (s.ok && *s.p == '.') {
        s.p++;
        if (*s.p < '0' || *s.p > '9')
            return false;
        for (; *s.p >= '0' && *s.p <= '9' && scale > 0; scale /= 10)
            fraction += (*s.p++ - '0') * scale;
    }
    offset = scan_offset(&s);
    if (!s.ok || hour > 23 || minute > 59 || second > 59 || !finish_date(&s, &d, &days))
        return false;
    time = ((hour * 60 + minute - offset) * 60 + second) * 1000000 + fraction;
    return !__builtin_mul_overflow(days, (int64_t)86400000000, us) &&
           !__builtin_add_overflow(*us, time, us) && *us != INT64_MIN && *us != INT64_MAX;
}

static bool
parse_uuid(struct bytes text, struct buf *storage)
{
    uint8_t out[16];
    char hex[32];
    size_t i, n = 0, len = 0;

    if (text.len != 36)
        return false;
    for (i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash != (text.ptr[i] == '-'))
            return false;
        if (!dash)
            hex[n++] = (char)text.ptr[i];
    }
    if (!hex_decode(bytes_of(hex, 32), out, sizeof out, &len))
        return false;
    buf_add(storage, out, sizeof out);
    return true;
}

static bool
parse_bytes(struct bytes text, struct buf *storage)
{
    size_t i;

    if (text.len < 2 || text.len % 2 != 0 || text.ptr[0] != '\\' || text.ptr[1] != 'x')
        return false;
    for (i = 2; i < text.len; i += 2) {
        uint8_t byte;
        size_t len;

        if (!hex_decode((struct bytes){text.ptr + i, 2}, &byte, 1, &len))
            return false;
        buf_u8(storage, byte);
    }
    return true;
}

static bool
parse_int(const char *text, int64_t *out)
{
    char *end;

    if ((text[0] < '0' || text[0] > '9') && !(text[0] == '-' && text[1] >= '0' && text[1] <= '9'))
        return false;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static bool
parse_float(const char *text, double *out)
{
    locale_t old;
    char *end;

    if (strcmp(text, "NaN") == 0 || strcmp(text, "Infinity") == 0 ||
        strcmp(text, "-Infinity") == 0) {
        *out = strtod(text, NULL);
        return true;
    }
    if (text[strspn(text, "+-0123456789.eE")] != '\0' || text[0] == '\0' || !locale_enter(&old))
        return false;
    *out = strtod(text, &end);
    uselocale(old);
    return *end == '\0' && isfinite(*out); /* 1e999 is no number, rather than infinity */
}

static bool
parse_scalar(int type, const char *text, struct coffer_value *value)
{
    switch (type) {
    case COFFER_BOOL:
        value->i64 = strcmp(text, "t") == 0 || strcmp(text, "true") == 0;
        return value->i64 != 0 || strcmp(text, "f") == 0 || strcmp(text, "false") == 0;
    case COFFER_INT64:
        return parse_int(text, &value->i64);
    case COFFER_FLOAT64:
        return parse_float(text, &value->f64);
    case COFFER_DATE:
        return parse_date(text, &value->i64);
    case COFFER_TIMESTAMP:
        return parse_timestamp(text, &value->i64);
    default:
        return false;
    }
}

int
value_parse(int type, struct bytes text, struct buf *storage, struct coffer_value *value,
            struct coffer_error *err)
{
    size_t start = storage->len;
    bool ok;

    *value = (struct coffer_value){.type = type};
    switch (type) {
    case COFFER_TEXT:
    case COFFER_JSON:
        ok = utf8_valid(text);
        buf_bytes(storage, text);
        break;
    case COFFER_NUMERIC:
        ok = numeric_valid(text);
        buf_bytes(storage, text);
        break;
    case COFFER_BYTES:
        ok = parse_bytes(text, storage);
        break;
    case COFFER_UUID:
        ok = parse_uuid(text, storage);
        break;
    default: {
        char copy[64];

        if (text.len >= sizeof copy ||
            memchr(text.len > 0 ? text.ptr : (const uint8_t *)"", 0, text.len) != NULL)
            return no_value(type, text, err);
        memcpy(copy, text.len > 0 ? text.ptr : (const uint8_t *)"", text.len);
        copy[text.len] = '\0';
        ok = parse_scalar(type, copy, value);
        wipe(copy, sizeof copy);
        return ok ? COFFER_OK : no_value(type, text, err);
    }
    }
    if (!ok)
        return no_value(type, text, err);
    if (storage->failed != COFFER_OK)
        return buf_status(storage, err);
    value->data = storage->ptr != NULL
                      ? storage->ptr + start
                      : (const uint8_t *)""; /* `storage` must not grow after this */
    value->len = storage->len - start;
    return COFFER_OK;
}
