/* SPDX-License-Identifier: Apache-2.0 */
/* What an envelope is bound to, as its additional authenticated data. */
#include "field/internal.h"

int
place_aad(const struct field_def *def, const struct coffer_place *place, const uint8_t header[8],
          struct buf *out, struct coffer_error *err)
{
    size_t i;

    buf_lp16(out, bytes_str("coffer/v1/aad"));
    buf_lp16(out, bytes_of(header, 8));
    if (def->binding >= COFFER_BIND_COLUMN)
        buf_lp16(out, bytes_of(def->column_id, 16));
    if (def->binding == COFFER_BIND_ROW) {
        if (place == NULL || place->count == 0 || place->count > UINT16_MAX)
            return error_set(err, COFFER_E_MISUSE,
                             "this column is bound to its row: give the primary key");
        buf_be16(out, (uint16_t)place->count);
        for (i = 0; i < place->count; i++) {
            const struct coffer_value *part = &place->parts[i];
            struct buf encoded;
            int rc;

            buf_init(&encoded, FIELD_VALUE_MAX);
            rc = part->type == COFFER_NULL
                     ? error_set(err, COFFER_E_MISUSE,
                                 "part %zu of the primary key is NULL: a bound row needs all parts",
                                 i + 1)
                     : field_encode(part->type, part, &encoded, err);
            if (rc == COFFER_OK) {
                buf_u8(out, (uint8_t)part->type);
                buf_lp16(out, buf_view(&encoded));
            }
            buf_wipe(&encoded);
            if (rc != COFFER_OK)
                return rc;
        }
    }
    return buf_status(out, err);
}
