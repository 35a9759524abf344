/* SPDX-License-Identifier: Apache-2.0 */
/* Values as bytes under the envelope; docs/FORMAT.md "Envelope v1", encodings. */
#include "field/internal.h"

#include <string.h>

static int
wrong(struct coffer_error *err, int type, const char *what)
{
    return error_set(err, COFFER_E_TYPE, "not a value of type %s: %s", coffer_type_name(type),
                     what);
}

int
encode_view(int type, const struct coffer_value *value, uint8_t fixed[16], struct bytes *out,
            struct coffer_error *err)
{
    struct bytes data = {value->data, value->len};
    uint64_t bits;

    *out = (struct bytes){0};
    if (value->type != type)
        return error_set(err, COFFER_E_TYPE, "a value of type %s for a column of type %s",
                         coffer_type_name(value->type), coffer_type_name(type));
    switch (type) {
    case COFFER_BYTES:
    case COFFER_TEXT:
    case COFFER_JSON:
    case COFFER_NUMERIC:
    case COFFER_UUID:
        if (data.len > FIELD_VALUE_MAX)
            return error_set(err, COFFER_E_LIMIT, "a value of %zu bytes; at most %u are possible",
                             data.len, FIELD_VALUE_MAX);
        if (data.ptr == NULL && data.len > 0)
            return wrong(err, type, "a length and no data");
        if ((type == COFFER_TEXT || type == COFFER_JSON) && !utf8_valid(data))
            return wrong(err, type, "ill-formed UTF-8");
        if (type == COFFER_NUMERIC && !numeric_valid(data))
            return wrong(err, type, "write [-]digits[.digits], NaN, Infinity or -Infinity");
        if (type == COFFER_UUID && data.len != 16)
            return wrong(err, type, "not 16 bytes");
        *out = data;
        return COFFER_OK;
    case COFFER_BOOL:
        if (value->i64 != 0 && value->i64 != 1)
            return wrong(err, type, "neither 0 nor 1");
        fixed[0] = (uint8_t)value->i64;
        *out = (struct bytes){fixed, 1};
        return COFFER_OK;
    case COFFER_INT64:
    case COFFER_TIMESTAMP:
        put_be64(fixed, (uint64_t)value->i64);
        *out = (struct bytes){fixed, 8};
        return COFFER_OK;
    case COFFER_FLOAT64:
        memcpy(&bits, &value->f64, sizeof bits);
        put_be64(fixed, bits);
        *out = (struct bytes){fixed, 8};
        return COFFER_OK;
    case COFFER_DATE:
        if (value->i64 < INT32_MIN || value->i64 > INT32_MAX)
            return wrong(err, type, "beyond 32 bits of days");
        put_be32(fixed, (uint32_t)(int32_t)value->i64);
        *out = (struct bytes){fixed, 4};
        return COFFER_OK;
    default:
        return error_set(err, COFFER_E_TYPE, "type %d is unknown", type);
    }
}

int
field_encode(int type, const struct coffer_value *value, struct buf *out, struct coffer_error *err)
{
    uint8_t fixed[16];
    struct bytes view;
    int rc = encode_view(type, value, fixed, &view, err);

    if (rc == COFFER_OK) {
        buf_bytes(out, view);
        rc = buf_status(out, err);
    }
    wipe(fixed, sizeof fixed);
    return rc;
}

static int
malformed(struct coffer_error *err, int type)
{
    return error_set(err, COFFER_E_FORMAT, "what was sealed is no value of type %s",
                     coffer_type_name(type));
}

int
field_decode(int type, struct bytes encoded, struct coffer_value *value, struct coffer_error *err)
{
    struct coffer_value v = {.type = type};
    uint64_t bits;

    *value = (struct coffer_value){0};
    switch (type) {
    case COFFER_BYTES:
    case COFFER_TEXT:
    case COFFER_JSON:
    case COFFER_NUMERIC:
    case COFFER_UUID:
        if (((type == COFFER_TEXT || type == COFFER_JSON) && !utf8_valid(encoded)) ||
            (type == COFFER_NUMERIC && !numeric_valid(encoded)) ||
            (type == COFFER_UUID && encoded.len != 16))
            return malformed(err, type);
        v.data = encoded.ptr;
        v.len = encoded.len;
        break;
    case COFFER_BOOL:
        if (encoded.len != 1 || encoded.ptr[0] > 1)
            return malformed(err, type);
        v.i64 = encoded.ptr[0];
        break;
    case COFFER_INT64:
    case COFFER_TIMESTAMP:
    case COFFER_FLOAT64:
        if (encoded.len != 8)
            return malformed(err, type);
        bits = get_be64(encoded.ptr);
        if (type == COFFER_FLOAT64)
            memcpy(&v.f64, &bits, sizeof bits);
        else
            v.i64 = (int64_t)bits;
        break;
    case COFFER_DATE:
        if (encoded.len != 4)
            return malformed(err, type);
        v.i64 = (int32_t)get_be32(encoded.ptr);
        break;
    default:
        return malformed(err, type);
    }
    *value = v;
    return COFFER_OK;
}

bool
value_equal(const struct coffer_value *a, const struct coffer_value *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case COFFER_NULL:
        return true;
    case COFFER_FLOAT64:
        return memcmp(&a->f64, &b->f64, sizeof a->f64) == 0;
    case COFFER_BOOL:
    case COFFER_INT64:
    case COFFER_DATE:
    case COFFER_TIMESTAMP:
        return a->i64 == b->i64;
    default:
        return bytes_equal((struct bytes){a->data, a->len}, (struct bytes){b->data, b->len});
    }
}
