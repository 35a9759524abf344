/* SPDX-License-Identifier: Apache-2.0 */
/* Known answers for envelopes, in the format of tests/kat/field-vectors.json. */
#include "cli/vectors_section.h"

#include "base/mem.h"
#include "field/field.h"
#include "keyring/keyring.h"

#include <stdio.h>
#include <string.h>

#define CASE_MAX (4u << 20)

struct test_case {
    char label[80];
    struct field_def def;
    struct secret *data_key;
    struct column_key *key;
    uint32_t key_id;
    struct coffer_value parts[16];
    struct coffer_place place;
    struct buf storage[17]; /* of the parts, then of the value */
    struct bytes envelope;
    struct buf envelope_room;
    const char *text_form;
};

static int
bad_case(struct coffer_error *err, const struct test_case *c, const char *member)
{
    return error_set(err, COFFER_E_FORMAT, "%s: member \"%s\" is missing or malformed", c->label,
                     member);
}

/* A value as the file writes it: a bool, number, or text by its type; bytes are hex. */
static int
read_value(const struct test_case *c, int type, const json_t *json, struct buf *storage,
           struct coffer_value *value, struct coffer_error *err)
{
    const char *text = json_string_value(json);
    size_t len = 0;

    *value = (struct coffer_value){.type = type};
    if (type == COFFER_BOOL && json_is_boolean(json)) {
        value->i64 = json_is_true(json);
    } else if ((type == COFFER_INT64 || type == COFFER_DATE || type == COFFER_TIMESTAMP) &&
               json_is_integer(json)) {
        value->i64 = json_integer_value(json);
    } else if (type == COFFER_FLOAT64 && json_is_number(json)) {
        value->f64 = json_number_value(json);
    } else if (type == COFFER_BYTES && text != NULL) {
        uint8_t *room = mem_alloc(json_string_length(json) + 1);

        if (room == NULL)
            return error_nomem(err);
        if (!hex_decode(bytes_str(text), room, json_string_length(json), &len)) {
            mem_free(room);
            return bad_case(err, c, "value");
        }
        buf_add(storage, room, len);
        mem_free(room);
        value->data = storage->ptr;
        value->len = len;
    } else if (text != NULL) {
        return value_parse(type, bytes_of(text, json_string_length(json)), storage, value, err);
    } else {
        return bad_case(err, c, "value");
    }
    return COFFER_OK;
}

static int
read_row(struct test_case *c, const json_t *row, struct coffer_error *err)
{
    size_t i;
    int rc = COFFER_OK;

    if (row == NULL || json_is_null(row))
        return COFFER_OK;
    if (!json_is_array(row) || json_array_size(row) > 16)
        return bad_case(err, c, "row");
    for (i = 0; rc == COFFER_OK && i < json_array_size(row); i++) {
        const json_t *part = json_array_get(row, i);
        int type = coffer_type_parse(json_string_value(json_array_get(part, 0)));

        if (type < 0)
            return bad_case(err, c, "row");
        rc = read_value(c, type, json_array_get(part, 1), &c->storage[i], &c->parts[i], err);
    }
    c->place = (struct coffer_place){c->parts, json_array_size(row)};
    return rc;
}

static int
read_hex(const json_t *json, uint8_t *out, size_t want)
{
    const char *text = json_string_value(json);
    size_t len = 0;

    return text != NULL && hex_decode(bytes_str(text), out, want, &len) && len == want ? 0 : -1;
}

static int
read_definition(struct test_case *c, const json_t *json, struct coffer_error *err)
{
    static const char *const BINDINGS[] = {"none", "column", "row"};
    const char *binding = json_string_value(json_object_get(json, "binding"));
    const char *column = json_string_value(json_object_get(json, "column_id"));
    const char *type = json_string_value(json_object_get(json, "type"));
    struct uuid id;

    c->def.binding = -1;
    for (int i = 0; binding != NULL && i < 3; i++) {
        if (strcmp(binding, BINDINGS[i]) == 0)
            c->def.binding = i;
    }
    if (c->def.binding < 0)
        return bad_case(err, c, "binding");
    if (column == NULL || !uuid_parse(bytes_str(column), &id))
        return bad_case(err, c, "column_id");
    memcpy(c->def.column_id, id.b, 16);
    c->def.type = coffer_type_parse(type);
    if (c->def.type < 0)
        return bad_case(err, c, "type");
    c->def.suite = (int)json_integer_value(json_object_get(json, "suite"));
    if (c->def.suite != COFFER_SUITE_XAES && c->def.suite != COFFER_SUITE_XAES_COMMIT)
        return bad_case(err, c, "suite");
    if (json_integer_value(json_object_get(json, "pad")) < 0 ||
        json_integer_value(json_object_get(json, "pad")) > 65536)
        return bad_case(err, c, "pad");
    c->def.pad = (uint32_t)json_integer_value(json_object_get(json, "pad"));
    return COFFER_OK;
}

static int
read_case(struct test_case *c, const json_t *json, struct coffer_error *err)
{
    const char *hex = json_string_value(json_object_get(json, "envelope"));
    uint8_t material[32];
    size_t i, len = 0;
    int rc;

    for (i = 0; i < sizeof c->storage / sizeof *c->storage; i++)
        buf_init(&c->storage[i], CASE_MAX);
    buf_init(&c->envelope_room, CASE_MAX);
    rc = read_definition(c, json, err);
    if (rc != COFFER_OK)
        return rc;
    if (read_hex(json_object_get(json, "data_key"), material, 32) != 0)
        return bad_case(err, c, "data_key");
    c->key_id = (uint32_t)json_integer_value(json_object_get(json, "key_id"));
    c->text_form = json_string_value(json_object_get(json, "text_form"));
    if (hex != NULL) {
        uint8_t *room = mem_alloc(strlen(hex) + 1);

        if (room == NULL)
            return error_nomem(err);
        if (hex_decode(bytes_str(hex), room, strlen(hex), &len))
            buf_add(&c->envelope_room, room, len);
        mem_free(room);
        if (len * 2 != strlen(hex))
            return bad_case(err, c, "envelope");
        c->envelope = bytes_of(len > 0 ? c->envelope_room.ptr : (const uint8_t *)"", len);
    } else if (c->text_form == NULL) {
        return bad_case(err, c, "envelope");
    }
    rc = read_row(c, json_object_get(json, "row"), err);
    if (rc == COFFER_OK)
        rc = secret_copy(bytes_of(material, 32), &c->data_key, err);
    if (rc == COFFER_OK)
        rc = column_key_new(c->data_key, c->key_id, c->def.column_id, &c->key, err);
    return rc;
}

static void
free_case(struct test_case *c)
{
    size_t i;

    column_key_free(c->key);
    secret_free(c->data_key);
    for (i = 0; i < sizeof c->storage / sizeof *c->storage; i++)
        buf_wipe(&c->storage[i]);
    buf_wipe(&c->envelope_room);
}

/* Seal with the case's nonce and compare; open and compare. */
static bool
holds_in_form(struct test_case *c, bool text_form, const struct coffer_value *value,
              const uint8_t *nonce, struct bytes expected)
{
    size_t room, len = 0;
    uint8_t *sealed, *plain;
    struct coffer_value back;
    bool ok;

    c->def.text_form = text_form;
    room = field_sealed_max(&c->def, value->len < 16 ? 16 : value->len) + 16;
    sealed = mem_alloc(room);
    plain = mem_alloc(expected.len + 1);
    ok = sealed != NULL && plain != NULL &&
         field_seal(&c->def, c->key, &c->place, value, nonce, sealed, room, &len, NULL) ==
             COFFER_OK &&
         bytes_equal(bytes_of(sealed, len), expected) &&
         field_open(&c->def, c->key, &c->place, expected, plain, expected.len, &back, NULL) ==
             COFFER_OK &&
         value_equal(value, &back);
    mem_free(sealed);
    mem_free(plain);
    return ok;
}

static int
run_valid(struct test_case *c, const json_t *json, bool *ok, struct coffer_error *err)
{
    struct coffer_value value;
    uint8_t nonce[24];
    int rc;

    if (read_hex(json_object_get(json, "nonce"), nonce, sizeof nonce) != 0)
        return bad_case(err, c, "nonce");
    rc = read_value(c, c->def.type, json_object_get(json, "value"), &c->storage[16], &value, err);
    if (rc != COFFER_OK)
        return error_prefix(err, "%s: ", c->label);
    *ok = holds_in_form(c, false, &value, nonce, c->envelope) &&
          (c->text_form == NULL || holds_in_form(c, true, &value, nonce, bytes_str(c->text_form)));
    return COFFER_OK;
}

static int
run_invalid(struct test_case *c, const json_t *json, bool *ok, struct coffer_error *err)
{
    const char *expected = json_string_value(json_object_get(json, "error"));
    struct bytes cell = c->text_form != NULL ? bytes_str(c->text_form) : c->envelope;
    struct coffer_value value;
    uint32_t asked = 0;
    uint8_t *out;
    int rc;

    if (expected == NULL)
        return bad_case(err, c, "error");
    c->def.text_form = c->text_form != NULL;
    out = mem_alloc(cell.len + 1);
    if (out == NULL)
        return error_nomem(err);
    rc = field_key_id(&c->def, cell, &asked, NULL);
    if (rc == COFFER_OK && asked != c->key_id)
        rc = COFFER_E_KEY; /* the keyring of the case holds one key */
    if (rc == COFFER_OK)
        rc = field_open(&c->def, c->key, &c->place, cell, out, cell.len, &value, NULL);
    *ok = strcmp(coffer_status_name(rc), expected) == 0;
    mem_free(out);
    return COFFER_OK;
}

static int
run_list(struct vectors *v, const char *member, const json_t *list,
         int (*run)(struct test_case *, const json_t *, bool *, struct coffer_error *),
         struct coffer_error *err)
{
    size_t i;
    int rc = COFFER_OK;

    if (!json_is_array(list))
        return error_set(err, COFFER_E_FORMAT, "the vectors file has no list \"%s\"", member);
    for (i = 0; rc == COFFER_OK && i < json_array_size(list); i++) {
        const json_t *json = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(json, "name"));
        struct test_case *c = mem_alloc(sizeof *c);
        bool ok = false;

        if (c == NULL)
            return error_nomem(err);
        snprintf(c->label, sizeof c->label, "%s case %zu%s%.40s", member, i + 1,
                 name != NULL ? ", " : "", name != NULL ? name : "");
        rc = read_case(c, json, err);
        if (rc == COFFER_OK)
            rc = run(c, json, &ok, err);
        if (rc == COFFER_OK)
            vectors_count(v, ok, "%s", c->label);
        free_case(c);
        mem_free(c);
    }
    return rc;
}

static int
section_valid(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return run_list(v, "valid", json, run_valid, err);
}

static int
section_invalid(struct vectors *v, const json_t *json, struct coffer_error *err)
{
    return run_list(v, "invalid", json, run_invalid, err);
}

const struct vectors_section vectors_field[] = {
    {"valid", section_valid}, {"invalid", section_invalid}, {NULL, NULL}};
