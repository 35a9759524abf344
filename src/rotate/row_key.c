/* SPDX-License-Identifier: Apache-2.0 */
#include "rotate/row_key.h"

#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXACT_MAX (INT64_C(1) << 53) /* beyond this many readers of JSON round */

static bool
holds_i64(int type)
{
    return type == COFFER_BOOL || type == COFFER_INT64 || type == COFFER_DATE ||
           type == COFFER_TIMESTAMP;
}

static bool
holds_text(int type)
{
    return type == COFFER_TEXT || type == COFFER_NUMERIC || type == COFFER_JSON;
}

static bool
holds_data(int type)
{
    return holds_text(type) || type == COFFER_BYTES || type == COFFER_UUID;
}

void
row_key_init(struct row_key *key)
{
    memset(key, 0, sizeof *key);
}

void
row_key_wipe(struct row_key *key)
{
    mem_free(key->data);
    row_key_init(key);
}

const struct coffer_value *
row_key_values(const struct row_key *key)
{
    return key->count != 0 ? key->values : NULL;
}

int
row_key_set(struct row_key *key, const struct coffer_value *values, size_t count,
            struct coffer_error *err)
{
    struct row_key copy = {.count = count};
    size_t total = 0;
    size_t at = 0;

    if (count > DB_KEY_MAX)
        return error_set(err, COFFER_E_MISUSE, "a key of %zu columns; %d at most", count,
                         DB_KEY_MAX);
    for (size_t i = 0; i < count; i++)
        if (holds_data(values[i].type) && !size_add(total, values[i].len, &total))
            return error_nomem(err);
    copy.data = mem_alloc(total);
    if (copy.data == NULL)
        return error_nomem(err);
    for (size_t i = 0; i < count; i++) {
        copy.values[i] = values[i];
        if (!holds_data(values[i].type))
            continue;
        if (values[i].len != 0)
            memcpy(copy.data + at, values[i].data, values[i].len);
        copy.values[i].data = copy.data + at;
        at += values[i].len;
    }
    mem_free(key->data);
    *key = copy;
    return COFFER_OK;
}

/* ---- to JSON ---- */

static json_t *
hex_json(const void *data, size_t len)
{
    char *text = mem_array(len + 1, 2);
    json_t *json;

    if (text == NULL)
        return NULL;
    hex_encode(bytes_of(data, len), text);
    json = json_stringn(text, 2 * len);
    mem_free(text);
    return json;
}

static json_t *
i64_json(int64_t v)
{
    char text[24];

    if (v >= -EXACT_MAX && v <= EXACT_MAX)
        return json_integer(v);
    snprintf(text, sizeof text, "%" PRId64, v);
    return json_string(text);
}

static json_t *
part_json(const struct coffer_value *v)
{
    const char *name = coffer_type_name(v->type);
    json_t *value;

    if (v->type == COFFER_NULL) {
        name = "null";
        value = json_null();
    } else if (holds_i64(v->type)) {
        value = i64_json(v->i64);
    } else if (v->type == COFFER_FLOAT64) {
        uint64_t bits;
        uint8_t be[8];

        memcpy(&bits, &v->f64, sizeof bits);
        put_be64(be, bits);
        value = hex_json(be, sizeof be);
    } else if (!holds_text(v->type)) {
        value = hex_json(v->data, v->len);
    } else if (utf8_valid(bytes_of(v->data, v->len))) {
        value = json_stringn(v->len != 0 ? (const char *)v->data : "", v->len);
    } else {
        name = "text-hex";
        value = hex_json(v->data, v->len);
    }
    return json_pack("[s,o]", name, value); /* NULL when `value` is */
}

json_t *
row_key_to_json(const struct coffer_value *values, size_t count)
{
    json_t *array;

    if (count == 0)
        return json_null();
    array = json_array();
    for (size_t i = 0; array != NULL && i < count; i++) {
        if (json_array_append_new(array, part_json(&values[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

/* ---- from JSON ---- */

static int
bad(struct coffer_error *err)
{
    return error_set(err, COFFER_E_FORMAT, "a row key in the journal is malformed");
}

static int
part_i64(const json_t *json, int64_t *out, struct coffer_error *err)
{
    const char *text = json_string_value(json);
    char *end = NULL;

    if (json_is_integer(json)) {
        *out = json_integer_value(json);
        return COFFER_OK;
    }
    if (text == NULL || *text == '\0')
        return bad(err);
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0' ? COFFER_OK : bad(err);
}

/* Read the `i`-th part; its bytes go to `data` at `*at`, which has room for every string of the
 * array. */
static int
part_read(const json_t *part, struct coffer_value *v, uint8_t *data, size_t *at,
          struct coffer_error *err)
{
    const char *name = json_string_value(json_array_get(part, 0));
    const json_t *value = json_array_get(part, 1);
    size_t len = json_string_length(value);
    struct bytes text = bytes_of(json_string_value(value), len);
    uint8_t bits[8];

    if (name == NULL || value == NULL || json_array_size(part) != 2)
        return bad(err);
    if (strcmp(name, "null") == 0)
        return json_is_null(value) ? COFFER_OK : bad(err);
    if (strcmp(name, "text-hex") == 0)
        v->type = COFFER_TEXT;
    else
        v->type = coffer_type_parse(name);
    if (v->type <= 0)
        return bad(err);
    if (holds_i64(v->type))
        return part_i64(value, &v->i64, err);
    if (!json_is_string(value))
        return bad(err);
    if (v->type == COFFER_FLOAT64) {
        uint64_t number;

        if (!hex_decode(text, bits, sizeof bits, &len) || len != sizeof bits)
            return bad(err);
        number = get_be64(bits);
        memcpy(&v->f64, &number, sizeof number);
        return COFFER_OK;
    }
    v->data = data + *at;
    if (holds_text(v->type) && strcmp(name, "text-hex") != 0) {
        if (len != 0)
            memcpy(data + *at, text.ptr, len);
    } else if (!hex_decode(text, data + *at, len, &len)) {
        return bad(err);
    }
    v->len = len;
    *at += len;
    return COFFER_OK;
}

int
row_key_from_json(struct row_key *key, const json_t *json, struct coffer_error *err)
{
    struct row_key read = {0};
    size_t total = 0;
    size_t at = 0;
    int rc = COFFER_OK;

    if (json_is_null(json)) {
        row_key_wipe(key);
        return COFFER_OK;
    }
    if (!json_is_array(json) || json_array_size(json) > DB_KEY_MAX || json_array_size(json) == 0)
        return bad(err);
    read.count = json_array_size(json);
    for (size_t i = 0; i < read.count; i++)
        total += json_string_length(json_array_get(json_array_get(json, i), 1));
    read.data = mem_alloc(total);
    if (read.data == NULL)
        return error_nomem(err);
    for (size_t i = 0; rc == COFFER_OK && i < read.count; i++)
        rc = part_read(json_array_get(json, i), &read.values[i], read.data, &at, err);
    if (rc != COFFER_OK) {
        mem_free(read.data);
        return rc;
    }
    row_key_wipe(key);
    *key = read;
    return COFFER_OK;
}
