/* SPDX-License-Identifier: Apache-2.0 */
/* Cells.  The first byte of an input chooses the column's definition, the rest is the cell.
 * The parser must agree with itself, and nothing that was not sealed here may open. */
#include "base/mem.h"
#include "field/field.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct column_key *key;

static void
expect(bool true_always)
{
    if (!true_always)
        abort();
}

static void
start(const uint8_t column_id[16])
{
    struct secret *material = NULL;

    if (key != NULL)
        return;
    expect(secret_new(32, &material, NULL) == COFFER_OK);
    expect(column_key_new(material, 0x01020304, column_id, &key, NULL) == COFFER_OK);
    secret_free(material);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct coffer_value PART = {.type = COFFER_INT64, .i64 = 7};
    const struct coffer_place place = {&PART, 1};
    struct coffer_envelope_info info;
    struct coffer_error err = {0};
    struct coffer_value value;
    struct field_def def = {0};
    struct bytes cell;
    uint32_t key_id;
    uint8_t *out;
    int parsed, rc;

    if (len == 0)
        return 0;
    def.text_form = (data[0] & 1) != 0;
    def.suite = (data[0] & 2) != 0 ? COFFER_SUITE_XAES_COMMIT : COFFER_SUITE_XAES;
    def.binding = (data[0] >> 2) % 3;
    def.pad = (data[0] & 64) != 0 ? 32 : 0;
    def.type = 1 + data[0] % 10;
    start(def.column_id);
    cell = bytes_of(data + 1, len - 1);
    parsed = envelope_parse(cell, &info, NULL);
    expect(parsed == COFFER_OK || parsed == COFFER_E_FORMAT);
    rc = field_key_id(&def, cell, &key_id, &err);
    expect((rc == COFFER_OK) == (parsed == COFFER_OK && info.text_form == def.text_form));
    expect(rc != COFFER_OK || (key_id != 0 && key_id == info.key_id));
    expect(rc == COFFER_OK || (err.status == rc && err.message[0] != '\0'));
    out = calloc(1, cell.len + 1);
    expect(out != NULL);
    rc = field_open(&def, key, &place, cell, out, cell.len, &value, NULL);
    expect(rc == COFFER_E_FORMAT || rc == COFFER_E_AUTH);
    expect(parsed != COFFER_OK || info.text_form != def.text_form || rc == COFFER_E_AUTH);
    expect(value.type == COFFER_NULL && value.data == NULL);
    free(out);
    return 0;
}
