/* SPDX-License-Identifier: Apache-2.0 */
#include "search/encode.h"

#include "base/secret.h"
#include "search/normalise.h"

#include <math.h>
#include <string.h>

static int
refused(int type, struct coffer_error *err)
{
    return error_set(err, COFFER_E_REFUSED,
                     "type %s gets no term: too few values, or no order, to hide anything",
                     coffer_type_name(type));
}

static int
out_of_range(struct coffer_error *err)
{
    return error_set(err, COFFER_E_RANGE, "the value is outside what the column's order declares");
}

static void
flip(uint64_t value, unsigned width, uint8_t *out)
{
    uint8_t all[8];

    put_be64(all, value);
    memcpy(out, all + 8 - width, width);
    out[0] ^= 0x80;
}

/* IEEE 754 totally ordered as unsigned bytes; -0 is 0, any NaN is the one that sorts last. */
static void
float_order(double value, uint8_t out[8])
{
    uint64_t bits = 0;

    if (isnan(value))
        bits = 0x7ff8000000000000;
    else if (value != 0)
        memcpy(&bits, &value, sizeof bits);
    put_be64(out, (bits >> 63) != 0 ? ~bits : bits | (uint64_t)1 << 63);
}

struct numeric_parts {
    bool negative;
    struct bytes whole, fraction;
};

static size_t
digits(struct bytes text, size_t at)
{
    size_t n = 0;

    while (at + n < text.len && text.ptr[at + n] >= '0' && text.ptr[at + n] <= '9')
        n++;
    return n;
}

/* -?digits(.digits)?, zeros wherever they may be. */
static bool
split(struct bytes text, struct numeric_parts *parts)
{
    size_t at = 0, n;

    *parts = (struct numeric_parts){0};
    if (text.len > 0 && text.ptr[0] == '-') {
        parts->negative = true;
        at = 1;
    }
    n = digits(text, at);
    if (n == 0)
        return false;
    parts->whole = bytes_of(text.ptr + at, n);
    at += n;
    if (at == text.len)
        return true;
    if (text.ptr[at++] != '.')
        return false;
    n = digits(text, at);
    parts->fraction = bytes_of(text.ptr + at, n);
    return n > 0 && at + n == text.len;
}

static bool
canonical(const struct numeric_parts *p)
{
    bool zero = p->whole.len == 1 && p->whole.ptr[0] == '0';

    if (p->whole.ptr[0] == '0' && p->whole.len > 1)
        return false;
    if (p->fraction.len > 0 && p->fraction.ptr[p->fraction.len - 1] == '0')
        return false;
    return !(p->negative && zero && p->fraction.len == 0);
}

static int
numeric_split(const struct coffer_value *value, struct numeric_parts *parts,
              struct coffer_error *err)
{
    if (!split(bytes_of(value->data, value->len), parts) || !canonical(parts))
        return error_set(err, COFFER_E_FORMAT,
                         "a number of a term is written without needless zeros, as 19.99 or -0.5");
    return COFFER_OK;
}

int
numeric_canonical(struct bytes text, struct buf *out, struct coffer_error *err)
{
    struct numeric_parts p;

    if (!split(text, &p))
        return error_set(err, COFFER_E_FORMAT, "not a finite decimal number");
    while (p.whole.len > 1 && p.whole.ptr[0] == '0')
        p.whole = bytes_of(p.whole.ptr + 1, p.whole.len - 1);
    while (p.fraction.len > 0 && p.fraction.ptr[p.fraction.len - 1] == '0')
        p.fraction.len--;
    if (p.negative && (p.fraction.len > 0 || p.whole.ptr[0] != '0'))
        buf_u8(out, '-');
    buf_bytes(out, p.whole);
    if (p.fraction.len > 0) {
        buf_u8(out, '.');
        buf_bytes(out, p.fraction);
    }
    return buf_status(out, err);
}

static int
numeric_order(const struct order_domain *domain, const struct coffer_value *value, uint8_t *out,
              struct coffer_error *err)
{
    struct numeric_parts p;
    unsigned __int128 v = 0;
    int rc = numeric_split(value, &p, err);
    size_t i;

    if (rc != COFFER_OK)
        return rc;
    if (p.fraction.len > domain->scale ||
        (p.whole.ptr[0] != '0' && p.whole.len > domain->precision - domain->scale))
        return out_of_range(err);
    for (i = 0; i < p.whole.len; i++)
        v = v * 10 + (unsigned)(p.whole.ptr[i] - '0');
    for (i = 0; i < domain->scale; i++)
        v = v * 10 + (i < p.fraction.len ? (unsigned)(p.fraction.ptr[i] - '0') : 0);
    if (p.negative)
        v = -v;
    for (i = 0; i < domain->width; i++)
        out[i] = (uint8_t)(v >> (8 * (domain->width - 1 - i)));
    out[0] ^= 0x80;
    return COFFER_OK;
}

static unsigned
numeric_width(unsigned precision)
{
    return precision <= 4    ? 2
           : precision <= 9  ? 4
           : precision <= 18 ? 8
           : precision <= 33 ? 14
                             : 16;
}

int
order_domain_check(struct order_domain *domain, struct coffer_error *err)
{
    bool ok = true;

    switch (domain->type) {
    case COFFER_INT64:
        ok = domain->width == 2 || domain->width == 4 || domain->width == 8;
        break;
    case COFFER_NUMERIC:
        ok =
            domain->precision >= 1 && domain->precision <= 38 && domain->scale <= domain->precision;
        if (ok)
            domain->width = numeric_width(domain->precision);
        break;
    case COFFER_DATE:
        domain->width = 4;
        break;
    case COFFER_FLOAT64:
    case COFFER_TIMESTAMP:
        domain->width = 8;
        break;
    case COFFER_UUID:
        domain->width = 16;
        break;
    case COFFER_TEXT:
        ok = domain->normaliser >= NORMALISE_EXACT && domain->normaliser <= NORMALISE_ACCENTLESS &&
             domain->width >= 1 && domain->width <= ORDER_WIDTH_MAX;
        break;
    case COFFER_BYTES:
        ok = domain->width >= 1 && domain->width <= ORDER_WIDTH_MAX;
        break;
    case COFFER_BOOL:
    case COFFER_JSON:
        return refused(domain->type, err);
    default:
        ok = false;
    }
    if (!ok)
        return error_set(err, COFFER_E_MISUSE,
                         "no order over type %s of width %u, precision %u, scale %u, normaliser %s",
                         coffer_type_name(domain->type), domain->width, domain->precision,
                         domain->scale, normaliser_name(domain->normaliser));
    return COFFER_OK;
}

static int
text_order(const struct order_domain *domain, struct bytes text, uint8_t *out,
           struct coffer_error *err)
{
    struct points points = {0};
    int rc = normalise_points(domain->normaliser, EDGE_CLOSED, text, &points, err);
    struct buf utf8;

    buf_init(&utf8, 4 * ORDER_WIDTH_MAX);
    if (rc == COFFER_OK) {
        points_encode(points.at, points.count < domain->width ? points.count : domain->width,
                      &utf8);
        rc = buf_status(&utf8, err);
    }
    if (rc == COFFER_OK)
        memcpy(out, utf8.ptr != NULL ? utf8.ptr : (const uint8_t *)"",
               utf8.len < domain->width ? utf8.len : domain->width);
    buf_wipe(&utf8);
    points_wipe(&points);
    return rc;
}

int
order_encode(const struct order_domain *domain, const struct coffer_value *value,
             uint8_t out[ORDER_WIDTH_MAX], struct coffer_error *err)
{
    unsigned width = domain->width;
    int64_t limit = width < 8 ? (int64_t)1 << (8 * width - 1) : 0;

    memset(out, 0, ORDER_WIDTH_MAX);
    if (value->type != domain->type)
        return error_set(err, COFFER_E_TYPE, "a value of type %s for an order over %s",
                         coffer_type_name(value->type), coffer_type_name(domain->type));
    switch (domain->type) {
    case COFFER_INT64:
    case COFFER_DATE:
        if (limit != 0 && (value->i64 < -limit || value->i64 >= limit))
            return out_of_range(err);
        flip((uint64_t)value->i64, width, out);
        return COFFER_OK;
    case COFFER_TIMESTAMP:
        flip((uint64_t)value->i64, 8, out);
        return COFFER_OK;
    case COFFER_FLOAT64:
        float_order(value->f64, out);
        return COFFER_OK;
    case COFFER_NUMERIC:
        return numeric_order(domain, value, out, err);
    case COFFER_TEXT:
        return text_order(domain, bytes_of(value->data, value->len), out, err);
    case COFFER_UUID:
        if (value->len != 16)
            return error_set(err, COFFER_E_TYPE, "a uuid has 16 bytes");
        memcpy(out, value->data, 16);
        return COFFER_OK;
    case COFFER_BYTES:
        if (value->len > 0)
            memcpy(out, value->data, value->len < width ? value->len : width);
        return COFFER_OK;
    default:
        return refused(domain->type, err);
    }
}

int
equality_encode(const struct coffer_value *value, int normaliser, struct buf *out,
                struct coffer_error *err)
{
    struct order_domain domain = {.type = value->type, .width = 8};
    struct numeric_parts parts;
    uint8_t fixed[ORDER_WIDTH_MAX];
    int rc;

    switch (value->type) {
    case COFFER_NULL:
        return error_set(err, COFFER_E_MISUSE, "NULL has no term: its index is NULL");
    case COFFER_BOOL:
    case COFFER_JSON:
        return refused(value->type, err);
    case COFFER_TEXT:
        return normalise(normaliser, bytes_of(value->data, value->len), out, err);
    case COFFER_BYTES:
        buf_add(out, value->data, value->len);
        return buf_status(out, err);
    case COFFER_NUMERIC:
        rc = numeric_split(value, &parts, err);
        if (rc != COFFER_OK)
            return rc;
        buf_add(out, value->data, value->len);
        return buf_status(out, err);
    default:
        rc = order_domain_check(&domain, err);
        if (rc == COFFER_OK)
            rc = order_encode(&domain, value, fixed, err);
        if (rc == COFFER_OK) {
            buf_add(out, fixed, domain.width);
            rc = buf_status(out, err);
        }
        wipe(fixed, sizeof fixed);
        return rc;
    }
}
