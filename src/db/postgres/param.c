/* SPDX-License-Identifier: Apache-2.0 */
/* Binary parameters of one statement, arrays among them, gathered in one buffer. */
#include "internal.h"

#include <limits.h>
#include <string.h>

void
pg_params_init(struct pg_params *params)
{
    memset(params, 0, sizeof *params);
    buf_init(&params->data, PG_PARAMS_MAX);
}

void
pg_params_wipe(struct pg_params *params)
{
    buf_wipe(&params->data);
    params->count = 0;
}

/* Open parameter number count + 1 at the end of the buffer. */
static int
next(struct pg_params *params, Oid type)
{
    if (params->count >= PG_PARAM_MAX) {
        params->failed = true;
        return params->count;
    }
    params->types[params->count] = type;
    params->offset[params->count] = params->data.len;
    params->length[params->count] = -1;
    params->format[params->count] = 1;
    return ++params->count;
}

static int
close_param(struct pg_params *params, int number)
{
    size_t len = params->data.len - params->offset[number - 1];

    params->length[number - 1] = (int)len;
    buf_u8(&params->data, 0); /* an empty value still needs an address of its own */
    return number;
}

int
pg_params_raw(struct pg_params *params, Oid type, const void *data, size_t len)
{
    int number = next(params, type);

    if (params->failed)
        return number;
    buf_add(&params->data, data, len);
    return close_param(params, number);
}

int
pg_params_text(struct pg_params *params, const char *text)
{
    return pg_params_raw(params, PG_TEXT, text, strlen(text));
}

int
pg_params_int(struct pg_params *params, int64_t v)
{
    uint8_t b[8];

    put_be64(b, (uint64_t)v);
    return pg_params_raw(params, PG_INT8, b, sizeof b);
}

int
pg_params_oid(struct pg_params *params, Oid oid)
{
    uint8_t b[4];

    put_be32(b, oid);
    return pg_params_raw(params, PG_OID, b, sizeof b);
}

int
pg_params_bytes(struct pg_params *params, struct bytes data)
{
    return pg_params_raw(params, PG_BYTEA, data.ptr, data.len);
}

static Oid
type_of_value(const struct coffer_value *value)
{
    switch (value->type) {
    case COFFER_BYTES:
        return PG_BYTEA;
    case COFFER_TEXT:
        return PG_TEXT;
    case COFFER_BOOL:
        return PG_BOOL;
    case COFFER_INT64:
        return PG_INT8;
    case COFFER_FLOAT64:
        return PG_FLOAT8;
    case COFFER_NUMERIC:
        return PG_NUMERIC;
    case COFFER_DATE:
        return PG_DATE;
    case COFFER_TIMESTAMP:
        return PG_TIMESTAMP;
    case COFFER_UUID:
        return PG_UUID;
    case COFFER_JSON:
        return PG_JSON;
    default:
        return 0;
    }
}

int
pg_params_value(struct pg_params *params, Oid type, const struct coffer_value *value)
{
    Oid encoded = type != 0 ? type : type_of_value(value);
    /* timestamp and timestamptz are the same bytes; left to the server, no time zone is applied. */
    int number = next(params, type == 0 && encoded == PG_TIMESTAMP ? 0 : encoded);

    if (params->failed || value->type == COFFER_NULL)
        return number;
    if (!pg_value_encode(encoded, value, &params->data))
        params->failed = true;
    return close_param(params, number);
}

int
pg_params_array(struct pg_params *params, Oid array_type, Oid element_type)
{
    int number = next(params, array_type);

    params->array_at = params->data.len;
    params->array_count = 0;
    buf_be32(&params->data, 1); /* dimensions */
    buf_be32(&params->data, 0); /* holds a NULL */
    buf_be32(&params->data, element_type);
    buf_be32(&params->data, 0); /* elements, set at the end */
    buf_be32(&params->data, 1); /* lower bound */
    return number;
}

static void
count_element(struct pg_params *params, bool null)
{
    params->array_count++;
    if (null && params->data.failed == COFFER_OK)
        put_be32(params->data.ptr + params->array_at + 4, 1);
}

void
pg_params_element(struct pg_params *params, struct bytes data)
{
    count_element(params, data.ptr == NULL);
    buf_be32(&params->data, data.ptr == NULL ? UINT32_MAX : (uint32_t)data.len);
    if (data.ptr != NULL)
        buf_bytes(&params->data, data);
}

void
pg_params_element_value(struct pg_params *params, Oid type, const struct coffer_value *value)
{
    size_t at = params->data.len;

    count_element(params, value->type == COFFER_NULL);
    buf_be32(&params->data, UINT32_MAX);
    if (value->type == COFFER_NULL)
        return;
    if (!pg_value_encode(type, value, &params->data))
        params->failed = true;
    if (params->data.failed == COFFER_OK)
        put_be32(params->data.ptr + at, (uint32_t)(params->data.len - at - 4));
}

void
pg_params_array_end(struct pg_params *params)
{
    if (params->data.failed == COFFER_OK)
        put_be32(params->data.ptr + params->array_at + 12, params->array_count);
    (void)close_param(params, params->count);
}

int
pg_params_finish(struct pg_params *params, struct coffer_error *err)
{
    int i, rc = buf_status(&params->data, err);

    if (rc != COFFER_OK)
        return rc;
    if (params->failed)
        return error_set(err, COFFER_E_TYPE,
                         "a value does not fit the type of its column or parameter");
    for (i = 0; i < params->count; i++) {
        params->value[i] =
            params->length[i] < 0 ? NULL : (const char *)params->data.ptr + params->offset[i];
        if (params->length[i] < 0)
            params->length[i] = 0;
    }
    return COFFER_OK;
}
