/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "field/internal.h"

#include <string.h>

static int
denied(struct coffer_error *err)
{
    return error_set(err, COFFER_E_AUTH, "authentication failed");
}

/* The envelope in binary: the cell itself, or its text form decoded into `small` or, if that is too
 * short,
 * `*heap` (the caller frees). */
static int
binary_of(const struct field_def *def, struct bytes cell, uint8_t small[ENVELOPE_STACK],
          uint8_t **heap, struct bytes *envelope, struct coffer_error *err)
{
    uint8_t *room = small;
    size_t len = 0;
    int rc;

    *heap = NULL;
    *envelope = cell;
    if (!def->text_form)
        return COFFER_OK;
    if (cell.len > ENVELOPE_STACK && (room = *heap = mem_alloc(cell.len)) == NULL)
        return error_nomem(err);
    rc = text_form_decode(cell, room, cell.len > ENVELOPE_STACK ? cell.len : ENVELOPE_STACK, &len,
                          err);
    *envelope = bytes_of(room, len);
    return rc;
}

int
field_key_id(const struct field_def *def, struct bytes cell, uint32_t *key_id,
             struct coffer_error *err)
{
    struct coffer_envelope_info info;
    uint8_t small[ENVELOPE_STACK], *heap;
    struct bytes envelope;
    int rc = binary_of(def, cell, small, &heap, &envelope, err);

    *key_id = 0;
    if (rc == COFFER_OK)
        rc = envelope_parse_binary(envelope, &info, err);
    if (rc == COFFER_OK)
        *key_id = info.key_id;
    mem_free(heap);
    return rc;
}

static int
open_suite2(const struct column_key *key, struct bytes ad, struct bytes envelope, uint8_t *out,
            struct coffer_error *err)
{
    struct bytes sealed = {envelope.ptr + HEADER_LEN + COMMITMENT_LEN,
                           envelope.len - HEADER_LEN - COMMITMENT_LEN};
    struct xaes_key *message = NULL;
    uint8_t derived[64];
    int rc = commit_derive(key, envelope.ptr + NONCE_AT, derived, err);

    if (rc == COFFER_OK && !secret_equal(bytes_of(derived + 32, COMMITMENT_LEN),
                                         bytes_of(envelope.ptr + HEADER_LEN, COMMITMENT_LEN)))
        rc = denied(err);
    if (rc == COFFER_OK)
        rc = xaes_key_new(derived, &message, err);
    if (rc == COFFER_OK)
        rc = xaes_open(message, envelope.ptr + NONCE_AT, ad, sealed, out, err);
    xaes_key_free(message);
    wipe(derived, sizeof derived);
    return rc;
}

/* The length before the padding; FORMAT if there is none. */
static int
unpad(const uint8_t *plain, size_t *len, struct coffer_error *err)
{
    size_t n = *len;

    while (n > 0 && plain[n - 1] == 0)
        n--;
    if (n == 0 || plain[n - 1] != 0x80)
        return error_set(err, COFFER_E_FORMAT, "what was sealed has no padding");
    *len = n - 1;
    return COFFER_OK;
}

static int
open_binary(const struct field_def *def, const struct column_key *key,
            const struct coffer_place *place, struct bytes envelope, uint8_t *out, size_t *len,
            struct coffer_error *err)
{
    struct coffer_envelope_info info;
    struct aad aad;
    int rc = envelope_parse_binary(envelope, &info, err);

    if (rc != COFFER_OK)
        return rc;
    /* The definition decides: an envelope that says otherwise was made for another place, or to
     * weaken this one. */
    if (info.suite != def->suite || info.binding != def->binding || info.type != def->type ||
        info.padded != (def->pad != 0) || info.key_id != key->id)
        return denied(err);
    *len = envelope.len - overhead_of(def->suite);
    rc = aad_build(&aad, def, place, envelope.ptr, err);
    if (rc != COFFER_OK)
        return rc;
    if (def->suite == COFFER_SUITE_XAES)
        rc = xaes_open(key->xaes, envelope.ptr + NONCE_AT, aad.view,
                       bytes_of(envelope.ptr + HEADER_LEN, envelope.len - HEADER_LEN), out, err);
    else
        rc = open_suite2(key, aad.view, envelope, out, err);
    aad_wipe(&aad);
    return rc == COFFER_E_AUTH ? denied(err) : rc; /* one message, whatever did not hold */
}

int
field_open(const struct field_def *def, const struct column_key *key,
           const struct coffer_place *place, struct bytes cell, uint8_t *out, size_t out_max,
           struct coffer_value *value, struct coffer_error *err)
{
    struct bytes envelope;
    size_t len = 0, written = 0;
    uint8_t small[ENVELOPE_STACK], *heap;
    int rc = binary_of(def, cell, small, &heap, &envelope, err);

    *value = (struct coffer_value){0};
    if (rc == COFFER_OK && out_max < cell.len)
        rc = error_set(err, COFFER_E_LIMIT, "the output has room for %zu bytes, give %zu", out_max,
                       cell.len);
    if (rc == COFFER_OK)
        rc = open_binary(def, key, place, envelope, out, &len, err);
    written = len;
    if (rc == COFFER_OK && def->pad != 0)
        rc = unpad(out, &len, err);
    if (rc == COFFER_OK)
        rc = field_decode(def->type, bytes_of(out, len), value, err);
    if (rc != COFFER_OK && written > 0)
        wipe(out, written <= out_max ? written : out_max);
    mem_free(heap);
    return rc;
}
