/* SPDX-License-Identifier: Apache-2.0 */
/* What an envelope is bound to, as its additional authenticated data.  docs/FORMAT.md "Envelope
 * v1". */
#include "base/mem.h"
#include "field/internal.h"

#include <string.h>

static const char LABEL[] = "coffer/v1/aad";
#define FIXED_LEN (2 + sizeof LABEL - 1 + 2 + 8 + 2 + 16)

static size_t
put_lp(uint8_t *p, const void *data, size_t len)
{
    put_be16(p, (uint16_t)len);
    if (len > 0)
        memcpy(p + 2, data, len);
    return 2 + len;
}

static int
part_view(const struct coffer_place *place, size_t i, uint8_t fixed[16], struct bytes *view,
          struct coffer_error *err)
{
    const struct coffer_value *part = &place->parts[i];
    int rc;

    if (part->type == COFFER_NULL)
        return error_set(err, COFFER_E_MISUSE,
                         "part %zu of the primary key is NULL: a bound row needs all parts", i + 1);
    rc = encode_view(part->type, part, fixed, view, err);
    if (rc == COFFER_OK && view->len > UINT16_MAX)
        rc = error_set(err, COFFER_E_LIMIT,
                       "part %zu of the primary key has %zu bytes; at most %d can be bound", i + 1,
                       view->len, UINT16_MAX);
    return rc;
}

static int
row_len(const struct coffer_place *place, size_t *len, struct coffer_error *err)
{
    uint8_t fixed[16];
    struct bytes view;
    size_t i;

    *len = 2;
    if (place == NULL || place->parts == NULL || place->count == 0 || place->count > UINT8_MAX)
        return error_set(err, COFFER_E_MISUSE,
                         "this column is bound to its row: give the primary key");
    for (i = 0; i < place->count; i++) {
        int rc = part_view(place, i, fixed, &view, err);

        if (rc != COFFER_OK)
            return rc;
        *len += 1 + 2 + view.len;
    }
    return COFFER_OK;
}

/* After row_len() found every part in order. */
static void
put_row(uint8_t *p, const struct coffer_place *place)
{
    uint8_t fixed[16];
    struct bytes view;
    size_t i;

    put_be16(p, (uint16_t)place->count);
    p += 2;
    for (i = 0; i < place->count; i++) {
        if (part_view(place, i, fixed, &view, NULL) != COFFER_OK)
            return;
        *p++ = (uint8_t)place->parts[i].type;
        p += put_lp(p, view.ptr, view.len);
    }
}

int
aad_build(struct aad *aad, const struct field_def *def, const struct coffer_place *place,
          const uint8_t header[8], struct coffer_error *err)
{
    size_t row = 0, n = 0;
    uint8_t *p = aad->small;
    int rc;

    aad->large = NULL;
    if (def->binding == COFFER_BIND_ROW) {
        rc = row_len(place, &row, err);
        if (rc != COFFER_OK)
            return rc;
    }
    if (FIXED_LEN + row > sizeof aad->small) {
        aad->large = mem_alloc(FIXED_LEN + row);
        if (aad->large == NULL)
            return error_nomem(err);
        p = aad->large;
    }
    n += put_lp(p, LABEL, sizeof LABEL - 1);
    n += put_lp(p + n, header, 8);
    if (def->binding >= COFFER_BIND_COLUMN)
        n += put_lp(p + n, def->column_id, 16);
    if (def->binding == COFFER_BIND_ROW) {
        put_row(p + n, place);
        n += row;
    }
    aad->view = bytes_of(p, n);
    return COFFER_OK;
}

void
aad_wipe(struct aad *aad)
{
    if (aad->large != NULL)
        wipe(aad->large, aad->view.len);
    mem_free(aad->large);
    aad->large = NULL;
}
