/* SPDX-License-Identifier: Apache-2.0 */
/* The built-in known answers: the published envelopes, sealed and opened again on this machine. */
#include "base/mem.h"
#include "field/field.h"

#include <string.h>

struct answer {
    const char *name;
    int expected;                     /* status of opening */
    const char *data_key, *column_id; /* hex, like all that follows but text_form */
    uint32_t key_id;
    int suite, type, binding;
    uint32_t pad;
    const char *row; /* for each part its type byte, a two-byte length, the encoded value */
    const char *nonce, *value;        /* of valid cases; the value encoded */
    const char *envelope, *text_form; /* NULL: not in this case */
};

#include "api/selftest_vectors.h"

#define ROOM 4096
#define PARTS_MAX 8

struct bench { /* one case laid out */
    struct field_def def;
    struct column_key *key;
    struct coffer_value parts[PARTS_MAX];
    struct coffer_place place;
    uint8_t row[ROOM], envelope[ROOM], out[ROOM], value[ROOM];
    size_t envelope_len, value_len;
};

static size_t
unhex(const char *text, uint8_t *out, size_t max)
{
    size_t len = 0;

    return hex_decode(bytes_str(text), out, max, &len) ? len : 0;
}

static int
lay_out(const struct answer *a, struct bench *b, struct coffer_error *err)
{
    struct secret *data_key = NULL;
    uint8_t raw[32];
    struct cursor row;
    int rc;

    b->def = (struct field_def){
        .type = a->type, .binding = a->binding, .suite = a->suite, .pad = a->pad};
    (void)unhex(a->column_id, b->def.column_id, sizeof b->def.column_id);
    (void)unhex(a->data_key, raw, sizeof raw);
    row = cursor_of(bytes_of(b->row, unhex(a->row, b->row, sizeof b->row)));
    while (cursor_left(&row) > 0 && b->place.count < PARTS_MAX) {
        int type = cursor_u8(&row);

        rc = field_decode(type, cursor_lp16(&row), &b->parts[b->place.count++], err);
        if (rc != COFFER_OK)
            return rc;
    }
    b->place.parts = b->parts;
    if (a->envelope != NULL)
        b->envelope_len = unhex(a->envelope, b->envelope, sizeof b->envelope);
    b->value_len = unhex(a->value, b->value, sizeof b->value);
    rc = secret_copy(bytes_of(raw, sizeof raw), &data_key, err);
    if (rc == COFFER_OK)
        rc = column_key_new(data_key, a->key_id, b->def.column_id, &b->key, err);
    secret_free(data_key);
    return rc;
}

/* What the cell gives: the status, and on success whether it is the value of the case. */
static int
open_cell(const struct answer *a, struct bench *b, struct bytes cell, bool *same)
{
    struct coffer_value value, expected;
    uint32_t key_id;
    int rc = field_key_id(&b->def, cell, &key_id, NULL);

    *same = false;
    if (rc == COFFER_OK && key_id != a->key_id)
        return COFFER_E_KEY;
    if (rc == COFFER_OK)
        rc = field_open(&b->def, b->key, &b->place, cell, b->out, sizeof b->out, &value, NULL);
    if (rc == COFFER_OK)
        *same =
            field_decode(a->type, bytes_of(b->value, b->value_len), &expected, NULL) == COFFER_OK &&
            value_equal(&value, &expected);
    return rc;
}

static bool
seals_as_published(const struct answer *a, struct bench *b, struct bytes published)
{
    struct coffer_value value;
    uint8_t nonce[24];
    size_t len = 0;

    (void)unhex(a->nonce, nonce, sizeof nonce);
    return field_decode(a->type, bytes_of(b->value, b->value_len), &value, NULL) == COFFER_OK &&
           field_seal(&b->def, b->key, &b->place, &value, nonce, b->out, sizeof b->out, &len,
                      NULL) == COFFER_OK &&
           bytes_equal(bytes_of(b->out, len), published);
}

static bool
form_holds(const struct answer *a, struct bench *b, bool text_form, struct bytes cell)
{
    bool same;
    int rc;

    b->def.text_form = text_form;
    if (a->expected == COFFER_OK && !seals_as_published(a, b, cell))
        return false;
    rc = open_cell(a, b, cell, &same);
    return rc == a->expected && (rc != COFFER_OK || same);
}

static int
answer_holds(const struct answer *a, struct bench *b, bool *holds, struct coffer_error *err)
{
    int rc;

    memset(b, 0, sizeof *b);
    rc = lay_out(a, b, err);
    *holds = rc == COFFER_OK;
    if (*holds && a->envelope != NULL)
        *holds = form_holds(a, b, false, bytes_of(b->envelope, b->envelope_len));
    if (*holds && a->text_form != NULL)
        *holds = form_holds(a, b, true, bytes_str(a->text_form));
    column_key_free(b->key);
    return rc;
}

int
coffer_selftest(unsigned *passed, unsigned *failed, struct coffer_error *err)
{
    struct bench *bench = mem_alloc(sizeof *bench);
    unsigned good = 0, bad = 0;
    const char *first = NULL;
    bool holds;
    size_t i;
    int rc = COFFER_OK;

    if (bench == NULL)
        return error_nomem(err);
    for (i = 0; rc == COFFER_OK && i < sizeof ANSWERS / sizeof *ANSWERS; i++) {
        rc = answer_holds(&ANSWERS[i], bench, &holds, err);
        if (holds)
            good++;
        else
            bad++;
        if (!holds && first == NULL)
            first = ANSWERS[i].name;
    }
    mem_free(bench);
    if (passed != NULL)
        *passed = good;
    if (failed != NULL)
        *failed = bad;
    if (rc == COFFER_OK && bad > 0)
        rc = error_set(
            err, COFFER_E_AUTH,
            "%u of %u known answers do not hold, the first is \"%s\": do not use this build", bad,
            good + bad, first);
    return rc;
}
