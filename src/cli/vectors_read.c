/* SPDX-License-Identifier: Apache-2.0 */
/* Members of a case; see vectors_section.h. */
#include "base/mem.h"
#include "cli/vectors_section.h"
#include "keyring/keyring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
vectors_bad(struct coffer_error *err, const char *label, const char *member)
{
    return error_set(err, COFFER_E_FORMAT, "%s: member \"%s\" is missing or malformed", label,
                     member);
}

int
vectors_each(struct vectors *v, const char *section, const json_t *list,
             int (*run)(struct vectors *v, const char *label, const json_t *json,
                        struct coffer_error *err),
             struct coffer_error *err)
{
    int rc = COFFER_OK;

    if (!json_is_array(list))
        return error_set(err, COFFER_E_FORMAT, "section \"%s\" is no list", section);
    for (size_t i = 0; rc == COFFER_OK && i < json_array_size(list); i++) {
        const json_t *json = json_array_get(list, i);
        char label[80];

        (void)snprintf(label, sizeof label, "%s case %zu", section, i + 1);
        if (!json_is_object(json))
            return error_set(err, COFFER_E_FORMAT, "%s is no object", label);
        rc = run(v, label, json, err);
    }
    return rc;
}

bool
vectors_hex_of(const json_t *text, struct buf *out)
{
    const char *hex = json_string_value(text);
    size_t len = 0, room;
    uint8_t *bytes;
    bool ok;

    if (hex == NULL)
        return false;
    room = strlen(hex) / 2 + 1;
    bytes = mem_alloc(room);
    ok = bytes != NULL && hex_decode(bytes_str(hex), bytes, room, &len);
    buf_clear(out);
    if (ok)
        buf_add(out, bytes, len);
    mem_free(bytes);
    return ok && out->failed == 0;
}

bool
vectors_hex(const json_t *json, const char *member, struct buf *out)
{
    return vectors_hex_of(json_object_get(json, member), out);
}

bool
vectors_fixed(const json_t *json, const char *member, uint8_t *out, size_t len)
{
    const char *hex = json_string_value(json_object_get(json, member));
    size_t got = 0;

    return hex != NULL && strlen(hex) == 2 * len && hex_decode(bytes_str(hex), out, len, &got) &&
           got == len;
}

bool
vectors_uuid(const json_t *json, const char *member, uint8_t out[16])
{
    const char *text = json_string_value(json_object_get(json, member));
    struct uuid id;

    if (text == NULL || !uuid_parse(bytes_str(text), &id))
        return false;
    memcpy(out, id.b, 16);
    return true;
}

bool
vectors_number(const json_t *number, int64_t *out)
{
    const char *text = json_string_value(number);
    char *end;

    if (json_is_integer(number)) {
        *out = json_integer_value(number);
        return true;
    }
    if (text == NULL || *text == '\0')
        return false;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0';
}

bool
vectors_i64(const json_t *json, const char *member, int64_t *out)
{
    return vectors_number(json_object_get(json, member), out);
}

bool
vectors_unsigned(const json_t *json, const char *member, unsigned absent, unsigned *out)
{
    int64_t n = absent;

    if (json_object_get(json, member) != NULL && !vectors_i64(json, member, &n))
        return false;
    if (n < 0 || n > UINT32_MAX)
        return false;
    *out = (unsigned)n;
    return true;
}

bool
vectors_text(const json_t *json, const char *member, struct bytes *out)
{
    const json_t *text = json_object_get(json, member);

    *out = bytes_of(json_string_value(text), json_string_length(text));
    return json_is_string(text);
}

int
vectors_key(const json_t *json, const char *label, struct secret **key, uint8_t index_id[16],
            unsigned *version, struct coffer_error *err)
{
    uint8_t material[32];
    int rc;

    *key = NULL;
    if (!vectors_fixed(json, "key", material, sizeof material))
        return vectors_bad(err, label, "key");
    if (!vectors_uuid(json, "index_id", index_id))
        return vectors_bad(err, label, "index_id");
    if (!vectors_unsigned(json, "version", 0, version))
        return vectors_bad(err, label, "version");
    rc = secret_copy(bytes_of(material, sizeof material), key, err);
    wipe(material, sizeof material);
    return rc;
}

bool
vectors_error_is(const json_t *json, const char *member, int rc)
{
    const char *expected = json_string_value(json_object_get(json, member));

    return expected != NULL && strcmp(coffer_status_name(rc), expected) == 0;
}
