/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/vectors_terms.h"

#include "keyring/keyring.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_MAX (4u << 20)

static bool
parse_float(const char *text, double *out)
{
    char *end;

    *out = strtod(text, &end);
    return end != text && *end == '\0';
}

static bool
uuid_value(const char *text, struct buf *storage, struct coffer_value *value)
{
    struct uuid id;

    if (!uuid_parse(bytes_str(text), &id))
        return false;
    buf_add(storage, id.b, sizeof id.b);
    value->data = storage->ptr;
    value->len = sizeof id.b;
    return storage->failed == COFFER_OK;
}

bool
vectors_value(const json_t *json, struct buf *storage, struct coffer_value *value)
{
    const json_t *member = json_object_get(json, "value");
    const char *text = json_string_value(member);

    *value = (struct coffer_value){
        .type = coffer_type_parse(json_string_value(json_object_get(json, "type")))};
    switch (value->type) {
    case COFFER_INT64:
    case COFFER_DATE:
    case COFFER_TIMESTAMP:
        return vectors_number(member, &value->i64);
    case COFFER_FLOAT64:
        return text != NULL && parse_float(text, &value->f64);
    case COFFER_BOOL:
        value->i64 = text != NULL && strcmp(text, "true") == 0;
        return text != NULL;
    case COFFER_UUID:
        return text != NULL && uuid_value(text, storage, value);
    case COFFER_BYTES:
        if (!vectors_hex_of(member, storage))
            return false;
        value->data = storage->ptr;
        value->len = storage->len;
        return true;
    case COFFER_TEXT:
    case COFFER_JSON:
    case COFFER_NUMERIC:
        value->data = (const uint8_t *)text;
        value->len = json_string_length(member);
        return text != NULL;
    default:
        return false;
    }
}

bool
vectors_parts(const json_t *json, struct vectors_parts *out)
{
    const json_t *list = json_object_get(json, "parts");

    *out = (struct vectors_parts){0};
    if (!json_is_array(list) || json_array_size(list) > VECTORS_PARTS_MAX)
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *part = json_array_get(list, i);
        unsigned normaliser = 0;

        buf_init(&out->storage[i], VALUE_MAX);
        out->count = i + 1;
        if (!vectors_unsigned(part, "normaliser", 0, &normaliser) || normaliser > 65535 ||
            !vectors_value(part, &out->storage[i], &out->parts[i].value))
            return false;
        out->parts[i].normaliser = (int)normaliser;
    }
    return true;
}

void
vectors_parts_wipe(struct vectors_parts *parts)
{
    for (size_t i = 0; i < parts->count; i++)
        buf_wipe(&parts->storage[i]);
    parts->count = 0;
}

bool
vectors_same_hex(const json_t *text, const void *data, size_t len)
{
    struct buf bytes;
    bool same;

    buf_init(&bytes, VALUE_MAX);
    same = vectors_hex_of(text, &bytes) && bytes_equal(buf_view(&bytes), bytes_of(data, len));
    buf_wipe(&bytes);
    return same;
}

bool
vectors_same_numbers(const json_t *list, const int64_t *at, size_t count)
{
    if (!json_is_array(list) || json_array_size(list) != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        int64_t n;

        if (!vectors_number(json_array_get(list, i), &n) || n != at[i])
            return false;
    }
    return true;
}
