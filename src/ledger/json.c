/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger/json.h"
#include "base/mem.h"
#include "crypto/crypto.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static bool
has_real(json_t *value)
{
    const char *name;
    json_t *item;
    size_t i;

    if (json_is_real(value))
        return true;
    json_object_foreach(value, name, item)
    {
        (void)name;
        if (has_real(item))
            return true;
    }
    json_array_foreach(value, i, item)
    {
        if (has_real(item))
            return true;
    }
    return false;
}

int
json_parse(struct bytes text, json_t **out, struct coffer_error *err)
{
    json_error_t where;
    json_t *value;

    *out = NULL;
    value = json_loadb((const char *)text.ptr, text.len, JSON_REJECT_DUPLICATES, &where);
    if (value == NULL) /* jansson says nothing of most allocations that fail */
        return where.text[0] == '\0' || json_error_code(&where) == json_error_out_of_memory
                   ? error_nomem(err)
                   : error_set(err, COFFER_E_FORMAT, "not JSON: %s at byte %d", where.text,
                               where.position);
    if (!json_is_object(value) || has_real(value)) {
        json_decref(value);
        return error_set(err, COFFER_E_FORMAT, "not a JSON object of texts and whole numbers");
    }
    *out = value;
    return COFFER_OK;
}

/* Into memory of the right size from the start: when jansson's own buffer cannot grow, the name of a
 * member may be missing from a text that is given as good, and a signature over it never holds. */
int
json_canonical(json_t *object, struct buf *out, struct coffer_error *err)
{
    const size_t flags = JSON_SORT_KEYS | JSON_COMPACT;
    size_t len;
    char *text;

    if (has_real(object))
        return error_set(err, COFFER_E_MISUSE,
                         "a floating-point number cannot be signed: write it as text");
    len = json_dumpb(object, NULL, 0, flags);
    text = len == 0 ? NULL : mem_alloc(len);
    if (text == NULL || json_dumpb(object, text, len, flags) != len) {
        mem_free(text);
        return error_nomem(err);
    }
    buf_add(out, text, len);
    mem_free(text);
    return buf_status(out, err);
}

int
json_get_string(const json_t *object, const char *name, const char **out, struct coffer_error *err)
{
    const json_t *value = json_object_get(object, name);

    *out = json_string_value(value);
    if (*out == NULL)
        return error_set(err, COFFER_E_FORMAT, "member \"%s\" is missing or no text", name);
    return COFFER_OK;
}

int
json_get_count(const json_t *object, const char *name, uint64_t *out, struct coffer_error *err)
{
    const json_t *value = json_object_get(object, name);

    *out = 0;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return error_set(err, COFFER_E_FORMAT, "member \"%s\" is missing or no count", name);
    *out = (uint64_t)json_integer_value(value);
    return COFFER_OK;
}

int
json_get_hex(const json_t *object, const char *name, uint8_t *out, size_t len,
             struct coffer_error *err)
{
    const char *text;
    size_t got = 0;

    memset(out, 0, len);
    if (json_get_string(object, name, &text, NULL) != COFFER_OK ||
        !hex_decode(bytes_str(text), out, len, &got) || got != len)
        return error_set(err, COFFER_E_FORMAT, "member \"%s\" is missing or not %zu bytes of hex",
                         name, len);
    return COFFER_OK;
}

int
json_get_uuid(const json_t *object, const char *name, struct uuid *out, struct coffer_error *err)
{
    const char *text;

    memset(out, 0, sizeof *out);
    if (json_get_string(object, name, &text, NULL) != COFFER_OK ||
        !uuid_parse(bytes_str(text), out))
        return error_set(err, COFFER_E_FORMAT, "member \"%s\" is missing or no UUID", name);
    return COFFER_OK;
}

int
json_put(json_t *object, const char *name, json_t *value, struct coffer_error *err)
{
    if (value == NULL || json_object_set_new(object, name, value) != 0)
        return error_nomem(err);
    return COFFER_OK;
}

json_t *
json_hex(struct bytes data)
{
    char text[2 * 64 + 1];

    if (data.len > 64)
        return NULL;
    hex_encode(data, text);
    return json_string(text);
}

json_t *
json_key_id(uint32_t id)
{
    uint8_t raw[4];

    put_be32(raw, id);
    return json_hex(bytes_of(raw, sizeof raw));
}

json_t *
json_uuid(const struct uuid *id)
{
    char text[37];

    uuid_format(id, text);
    return json_string(text);
}

json_t *
json_count(uint64_t n)
{
    return n > INT64_MAX ? NULL : json_integer((json_int_t)n);
}

int
json_sign(json_t *object, const struct secret *seed, struct coffer_error *err)
{
    uint8_t signature[LEDGER_SIGNATURE_LEN];
    struct buf text;
    int rc;

    buf_init(&text, LEDGER_JSON_MAX);
    rc = json_canonical(object, &text, err);
    if (rc == COFFER_OK)
        rc = ed25519_sign(seed, buf_view(&text), signature, err);
    if (rc == COFFER_OK)
        rc = json_put(object, "signature", json_hex(bytes_of(signature, sizeof signature)), err);
    buf_wipe(&text);
    return rc;
}

int
json_check_signature(json_t *object, const uint8_t public_key[32], struct coffer_error *err)
{
    uint8_t signature[LEDGER_SIGNATURE_LEN];
    struct buf text;
    int rc;

    rc = json_get_hex(object, "signature", signature, sizeof signature, err);
    if (rc != COFFER_OK)
        return rc;
    json_object_del(object, "signature");

    buf_init(&text, LEDGER_JSON_MAX);
    rc = json_canonical(object, &text, err);
    if (rc == COFFER_OK)
        rc = ed25519_verify(public_key, buf_view(&text), signature, err);
    buf_wipe(&text);
    return rc;
}

int
ledger_audit_key(const struct keyring *keyring, const struct keyring_key **key,
                 const struct secret **seed, struct coffer_error *err)
{
    *key = keyring_active(keyring, KEY_AUDIT, "main");
    *seed = *key == NULL ? NULL : keyring_material(keyring, (*key)->id);
    if (*seed == NULL)
        return error_set(err, COFFER_E_KEY, "this keyring holds no active audit key to sign with");
    return COFFER_OK;
}

void
ledger_time(int64_t us, char out[LEDGER_TIME_LEN])
{
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;

    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(out, LEDGER_TIME_LEN, "%Y-%m-%d %H:%M UTC", &tm) == 0)
        snprintf(out, LEDGER_TIME_LEN, "%" PRId64 " us", us);
}
