/* SPDX-License-Identifier: Apache-2.0 */
/* The column types that the adapter can move, and their values from and to the binary protocol. */
#include "internal.h"

#include <string.h>

static const struct pg_type types[] = {
    {PG_BOOL, COFFER_BOOL, "boolsend", "bool", 1000, false},
    {PG_INT2, COFFER_INT64, "int2send", "int2", 1005, false},
    {PG_INT4, COFFER_INT64, "int4send", "int4", 1007, false},
    {PG_INT8, COFFER_INT64, "int8send", "int8", 1016, false},
    {PG_FLOAT4, COFFER_FLOAT64, "float4send", "float4", 1021, false},
    {PG_FLOAT8, COFFER_FLOAT64, "float8send", "float8", 1022, false},
    {PG_NUMERIC, COFFER_NUMERIC, "numeric_send", "numeric", 1231, false},
    {PG_TEXT, COFFER_TEXT, "textsend", "text", 1009, false},
    {PG_VARCHAR, COFFER_TEXT, "varcharsend", "varchar", 1015, false},
    {PG_BPCHAR, COFFER_TEXT, "bpcharsend", "bpchar", 1014, false},
    {PG_NAME, COFFER_TEXT, "namesend", "name", 1003, false},
    {PG_BYTEA, COFFER_BYTES, "byteasend", "bytea", 1001, false},
    {PG_DATE, COFFER_DATE, "date_send", "date", 1182, false},
    {PG_TIMESTAMP, COFFER_TIMESTAMP, "timestamp_send", "timestamp", 1115, false},
    {PG_TIMESTAMPTZ, COFFER_TIMESTAMP, "timestamptz_send", "timestamptz", 1185, false},
    {PG_UUID, COFFER_UUID, "uuid_send", "uuid", 2951, false},
    {PG_JSON, COFFER_JSON, "json_send", "json", 199, false},
    {PG_JSONB, COFFER_JSON, "jsonb_send", "jsonb", 3807, false},
};
static const struct pg_type citext = {PG_TEXT, COFFER_TEXT, "textsend", "text", 1009, true};

const struct pg_type *
pg_type_find(Oid oid, const char *name)
{
    size_t i;

    for (i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].oid == oid)
            return &types[i];
    }
    return name != NULL && strcmp(name, "citext") == 0 ? &citext : NULL;
}

void
pg_type_send(const struct pg_type *type, const char *expression, struct buf *out)
{
    if (type->oid == PG_BYTEA)
        buf_str(out, expression); /* bytea equality is equality of bytes */
    else if (type->citext)
        buf_format(out, "pg_catalog.textsend((%s)::pg_catalog.text)", expression);
    else
        buf_format(out, "pg_catalog.%s(%s)", type->send, expression);
}

static int64_t
signed_be(struct bytes raw)
{
    uint64_t v = raw.len > 0 && (raw.ptr[0] & 0x80) != 0 ? ~(uint64_t)0 : 0;
    size_t i;

    for (i = 0; i < raw.len; i++)
        v = v << 8 | raw.ptr[i];
    return (int64_t)v;
}

static bool
float_decode(struct bytes raw, double *out)
{
    uint64_t bits = (uint64_t)signed_be(raw);

    if (raw.len == 4) {
        uint32_t bits4 = (uint32_t)bits;
        float f;

        memcpy(&f, &bits4, sizeof f);
        *out = (double)f;
        return true;
    }
    memcpy(out, &bits, sizeof *out);
    return raw.len == 8;
}

/* Text made here is given as an offset into `storage` (data NULL, i64 the offset plus one): the
 * buffer may still move. */
static int
decode_numeric(struct bytes raw, struct buf *storage, struct coffer_value *out)
{
    size_t at = storage->len;

    if (!pg_numeric_decode(raw, storage))
        return storage->failed != COFFER_OK ? storage->failed : COFFER_E_FORMAT;
    out->i64 = (int64_t)at + 1;
    out->len = storage->len - at;
    return COFFER_OK;
}

int
pg_value_decode(Oid oid, struct bytes raw, struct buf *storage, struct coffer_value *out)
{
    const struct pg_type *type = pg_type_find(oid, NULL);

    *out = (struct coffer_value){0};
    if (raw.ptr == NULL)
        return COFFER_OK;
    out->type = type != NULL ? type->coffer : COFFER_TEXT;
    out->data = raw.ptr;
    out->len = raw.len;
    switch (out->type) {
    case COFFER_BOOL:
    case COFFER_INT64:
    case COFFER_DATE:
    case COFFER_TIMESTAMP:
        out->i64 = signed_be(raw);
        out->data = NULL;
        out->len = 0;
        return raw.len >= 1 && raw.len <= 8 ? COFFER_OK : COFFER_E_FORMAT;
    case COFFER_FLOAT64:
        out->data = NULL;
        out->len = 0;
        return float_decode(raw, &out->f64) ? COFFER_OK : COFFER_E_FORMAT;
    case COFFER_NUMERIC:
        out->data = NULL;
        return decode_numeric(raw, storage, out);
    case COFFER_UUID:
        return raw.len == 16 ? COFFER_OK : COFFER_E_FORMAT;
    case COFFER_JSON:
        if (oid == PG_JSONB) { /* a version byte, then the text of jsonb_out */
            if (raw.len < 1 || raw.ptr[0] != 1)
                return COFFER_E_FORMAT;
            out->data++;
            out->len--;
        }
        /* fallthrough */
    case COFFER_TEXT:
        return utf8_valid((struct bytes){out->data, out->len}) ? COFFER_OK : COFFER_E_FORMAT;
    default:
        return COFFER_OK;
    }
}

static bool
encode_int(Oid oid, int64_t v, struct buf *out)
{
    if (oid == PG_INT2) {
        buf_be16(out, (uint16_t)v);
        return v >= INT16_MIN && v <= INT16_MAX;
    }
    if (oid == PG_INT4 || oid == PG_DATE) {
        buf_be32(out, (uint32_t)v);
        return v >= INT32_MIN && v <= INT32_MAX;
    }
    buf_be64(out, (uint64_t)v);
    return true;
}

static bool
encode_float(Oid oid, double v, struct buf *out)
{
    uint64_t bits;
    uint32_t bits4;
    float f = (float)v;
    double back = (double)f;

    if (oid == PG_FLOAT4) {
        memcpy(&bits4, &f, sizeof bits4);
        buf_be32(out, bits4);
        return memcmp(&back, &v, sizeof v) == 0;
    }
    memcpy(&bits, &v, sizeof bits);
    buf_be64(out, bits);
    return true;
}

bool
pg_value_encode(Oid oid, const struct coffer_value *value, struct buf *out)
{
    const struct pg_type *type = pg_type_find(oid, NULL);
    bool textual = value->type == COFFER_TEXT || value->type == COFFER_JSON;

    if (type == NULL)
        return false;
    /* Text may be kept as JSON and the other way: both are UTF-8, and the type's own send form
     * decides. */
    if (type->coffer != value->type &&
        !((type->coffer == COFFER_TEXT || type->coffer == COFFER_JSON) && textual))
        return false;
    switch (type->coffer) {
    case COFFER_BOOL:
        buf_u8(out, value->i64 != 0);
        return value->i64 == 0 || value->i64 == 1;
    case COFFER_INT64:
    case COFFER_DATE:
    case COFFER_TIMESTAMP:
        return encode_int(oid, value->i64, out);
    case COFFER_FLOAT64:
        return encode_float(oid, value->f64, out);
    case COFFER_NUMERIC:
        return pg_numeric_encode((struct bytes){value->data, value->len}, out);
    case COFFER_UUID:
        if (value->len != 16)
            return false;
        break;
    default:
        if (oid == PG_JSONB)
            buf_u8(out, 1);
        break;
    }
    buf_add(out, value->data, value->len);
    return true;
}
