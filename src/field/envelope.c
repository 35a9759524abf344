/* SPDX-License-Identifier: Apache-2.0 */
/* The strict parser of envelopes, and the text form.  docs/FORMAT.md "Envelope v1". */
#include "field/internal.h"

#include <string.h>

static int
not_an_envelope(struct coffer_error *err, const char *why)
{
    return error_set(err, COFFER_E_FORMAT, "not an envelope: %s", why);
}

int
envelope_parse_binary(struct bytes cell, struct coffer_envelope_info *info,
                      struct coffer_error *err)
{
    const uint8_t *p = cell.ptr;

    *info = (struct coffer_envelope_info){0};
    if (cell.len < 8)
        return not_an_envelope(err, "too short");
    if (p[0] != ENVELOPE_MARKER)
        return not_an_envelope(err, "unknown marker");
    if (p[1] != COFFER_SUITE_XAES && p[1] != COFFER_SUITE_XAES_COMMIT)
        return not_an_envelope(err, "unknown suite");
    if ((p[2] & ~(FLAG_BINDING | FLAG_PADDED)) != 0 || (p[2] & FLAG_BINDING) == FLAG_BINDING)
        return not_an_envelope(err, "unknown flags");
    if (p[3] < COFFER_BYTES || p[3] > COFFER_JSON)
        return not_an_envelope(err, "unknown type");
    if (get_be32(p + 4) == 0)
        return not_an_envelope(err, "key id zero");
    if (cell.len < overhead_of(p[1]))
        return not_an_envelope(err, "too short");
    info->suite = p[1];
    info->binding = p[2] & FLAG_BINDING;
    info->padded = (p[2] & FLAG_PADDED) != 0;
    info->type = p[3];
    info->key_id = get_be32(p + 4);
    return COFFER_OK;
}

size_t
text_form_len(size_t envelope_len)
{
    return TEXT_PREFIX_LEN + base64url_encoded_len(envelope_len);
}

void
text_form_encode(struct bytes envelope, char *out)
{
    char hex[9];

    memcpy(out, "cfr1.", 5);
    hex_encode((struct bytes){envelope.ptr + 4, 4}, hex);
    memcpy(out + 5, hex, 8);
    out[13] = '.';
    base64url_encode(envelope, out + TEXT_PREFIX_LEN);
}

int
text_form_decode(struct bytes text, uint8_t *out, size_t out_max, size_t *out_len,
                 struct coffer_error *err)
{
    char hex[9];

    *out_len = 0;
    if (text.len < TEXT_PREFIX_LEN || memcmp(text.ptr, "cfr1.", 5) != 0 || text.ptr[13] != '.')
        return not_an_envelope(err, "no text form");
    if (!base64url_decode((struct bytes){text.ptr + TEXT_PREFIX_LEN, text.len - TEXT_PREFIX_LEN},
                          out, out_max, out_len) ||
        *out_len < 8)
        return not_an_envelope(err, "ill-formed base64url");
    hex_encode((struct bytes){out + 4, 4}, hex);
    if (memcmp(hex, text.ptr + 5, 8) != 0) /* upper-case digits differ too */
        return not_an_envelope(err, "the key ids of the text form differ");
    return COFFER_OK;
}

/* A text form begins with 'c', an envelope with 0xF9: a first byte tells what to try, and trying
 * tells whether it is one. */
int
envelope_parse(struct bytes cell, struct coffer_envelope_info *info, struct coffer_error *err)
{
    struct buf room;
    size_t len = 0;
    int rc;

    if (cell.len == 0 || cell.ptr[0] != 'c')
        return envelope_parse_binary(cell, info, err);
    *info = (struct coffer_envelope_info){0};
    buf_init(&room, cell.len + 1);
    buf_add(&room, cell.ptr, cell.len); /* as large as the result can be */
    rc = buf_status(&room, err);
    if (rc == COFFER_OK)
        rc = text_form_decode(cell, room.ptr, room.len, &len, err);
    if (rc == COFFER_OK)
        rc = envelope_parse_binary((struct bytes){room.ptr, len}, info, err);
    if (rc == COFFER_OK)
        info->text_form = true;
    buf_wipe(&room);
    return rc;
}
