/* SPDX-License-Identifier: Apache-2.0 */
/* Values as text, as PostgreSQL's text output writes them (ISO dates). */
#include "field/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
add_date(struct buf *out, int64_t days)
{
    int64_t year;
    int month, day;

    civil_from_days(days, &year, &month, &day);
    buf_format(out, "%04" PRId64 "-%02d-%02d", year > 0 ? year : 1 - year, month, day);
}

static bool
before_christ(int64_t days)
{
    int64_t year;
    int month, day;

    civil_from_days(days, &year, &month, &day);
    return year <= 0;
}

static void
add_timestamp(struct buf *out, int64_t us)
{
    int64_t day = us / 86400000000, rest = us % 86400000000;
    int fraction, digits = 6;

    if (rest < 0) {
        rest += 86400000000;
        day--;
    }
    add_date(out, day);
    buf_format(out, " %02d:%02d:%02d", (int)(rest / 3600000000), (int)(rest / 60000000 % 60),
               (int)(rest / 1000000 % 60));
    fraction = (int)(rest % 1000000);
    if (fraction != 0) {
        for (; fraction % 10 == 0; digits--)
            fraction /= 10;
        buf_format(out, ".%0*d", digits, fraction);
    }
    if (before_christ(day))
        buf_str(out, " BC");
}

/* The fewest digits that read back as the same number, laid out as PostgreSQL does: an exponent
 * below 1e-4 and from 1e15 on. */
static int
add_float(struct buf *out, double v, struct coffer_error *err)
{
    char text[48];
    locale_t old;
    int digits, exponent;

    if (isnan(v)) {
        buf_str(out, "NaN");
        return COFFER_OK;
    }
    if (isinf(v)) {
        buf_str(out, v < 0 ? "-Infinity" : "Infinity");
        return COFFER_OK;
    }
    if (!locale_enter(&old))
        return error_nomem(err);
    for (digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, v);
        if (strtod(text, NULL) == v)
            break;
    }
    exponent = atoi(strchr(text, 'e') + 1);
    if (exponent >= -4 && exponent < 15)
        snprintf(text, sizeof text, "%.*f", digits - 1 > exponent ? digits - 1 - exponent : 0, v);
    uselocale(old);
    buf_str(out, text);
    wipe(text, sizeof text);
    return COFFER_OK;
}

int
value_format(const struct coffer_value *value, struct buf *out, struct coffer_error *err)
{
    char uuid[33];
    size_t i;

    switch (value->type) {
    case COFFER_NULL:
        break;
    case COFFER_TEXT:
    case COFFER_JSON:
    case COFFER_NUMERIC:
        buf_add(out, value->data, value->len);
        break;
    case COFFER_BYTES:
        buf_str(out, "\\x");
        for (i = 0; i < value->len; i++)
            buf_format(out, "%02x", value->data[i]);
        break;
    case COFFER_BOOL:
        buf_str(out, value->i64 != 0 ? "t" : "f");
        break;
    case COFFER_INT64:
        buf_format(out, "%" PRId64, value->i64);
        break;
    case COFFER_FLOAT64:
        if (add_float(out, value->f64, err) != COFFER_OK)
            return COFFER_E_NOMEM;
        break;
    case COFFER_DATE:
        if (value->i64 == INT32_MAX || value->i64 == INT32_MIN) {
            buf_str(out, value->i64 > 0 ? "infinity" : "-infinity");
        } else {
            add_date(out, value->i64);
            if (before_christ(value->i64))
                buf_str(out, " BC");
        }
        break;
    case COFFER_TIMESTAMP:
        if (value->i64 == INT64_MAX || value->i64 == INT64_MIN)
            buf_str(out, value->i64 > 0 ? "infinity" : "-infinity");
        else
            add_timestamp(out, value->i64);
        break;
    case COFFER_UUID:
        if (value->len != 16)
            return error_set(err, COFFER_E_TYPE, "a UUID of %zu bytes", value->len);
        hex_encode(bytes_of(value->data, 16), uuid);
        buf_format(out, "%.8s-%.4s-%.4s-%.4s-%.12s", uuid, uuid + 8, uuid + 12, uuid + 16,
                   uuid + 20);
        break;
    default:
        return error_set(err, COFFER_E_TYPE, "type %d is unknown", value->type);
    }
    return buf_status(out, err);
}
