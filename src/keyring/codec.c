/* SPDX-License-Identifier: Apache-2.0 */
/* A keyring to bytes and back. */
#include "base/mem.h"
#include "crypto/crypto.h"
#include "keyring/internal.h"

#include <string.h>

int
keyring_encode(struct keyring *kr, struct buf *out, struct coffer_error *err)
{
    struct secret *wrapping = NULL;
    int rc;

    if (kr->epoch == UINT64_MAX)
        return error_set(err, COFFER_E_LIMIT, "the keyring's epoch cannot grow any more");
    buf_clear(out);
    rc = file_wrapping_key(kr->root, &kr->id, &wrapping, err);
    if (rc != COFFER_OK)
        goto out;
    file_begin(out, kr->kind, &kr->id, kr->epoch + 1, kr->kek_kind,
               bytes_of(kr->kek_params, kr->kek_params_len));
    rc = records_write(kr, wrapping, out, err);
    if (rc != COFFER_OK)
        goto out;
    rc = file_finish(out, kr->root, &kr->id, err);
    if (rc != COFFER_OK)
        goto out;
    kr->epoch++;

out:
    secret_free(wrapping);
    return rc;
}

/* A record of a type that this release does not know. */
static int
keep_unknown(struct keyring *kr, uint16_t type, uint16_t flags, struct bytes body,
             struct coffer_error *err)
{
    struct unknown_record record = {.type = type, .flags = flags, .len = body.len};
    int rc;

    if ((flags & RECORD_CRITICAL) != 0)
        return error_set(err, COFFER_E_FORMAT,
                         "the keyring holds a record of type %u, which this release does not know "
                         "and may not ignore: use a newer release",
                         type);
    record.body = mem_alloc(body.len);
    if (record.body == NULL)
        return error_nomem(err);
    if (body.len > 0)
        memcpy(record.body, body.ptr, body.len);
    rc = list_append(&kr->unknown, &record, err);
    if (rc != COFFER_OK)
        mem_free(record.body);
    return rc;
}

static int
read_records(struct keyring *kr, struct bytes records, struct coffer_error *err)
{
    struct secret *wrapping = NULL;
    struct cursor c = cursor_of(records);
    unsigned audit_marks = 0;
    int rc;

    rc = file_wrapping_key(kr->root, &kr->id, &wrapping, err);
    if (rc != COFFER_OK)
        return rc;
    while (cursor_left(&c) > 0) {
        uint16_t type = cursor_be16(&c);
        uint16_t flags = cursor_be16(&c);
        struct bytes body = cursor_lp32(&c);

        if (c.bad)
            rc = error_set(err, COFFER_E_FORMAT, "the keyring's last record is cut");
        else if (type < RECORD_KEY || type > RECORD_LAST)
            rc = keep_unknown(kr, type, flags, body, err);
        else if (flags != RECORD_CRITICAL)
            rc = error_set(err, COFFER_E_FORMAT,
                           "the keyring holds a record of type %u with unknown flags %04x", type,
                           flags);
        else
            rc = record_read(kr, wrapping, (enum record_type)type, body, err);
        if (rc != COFFER_OK)
            goto out;
        audit_marks += type == RECORD_AUDIT_MARK;
    }
    if (audit_marks != (kr->kind == FILE_KEYRING))
        rc = error_set(err, COFFER_E_FORMAT, "the keyring holds %u audit marks", audit_marks);
    else
        rc = keyring_check(kr, err);

out:
    secret_free(wrapping);
    return rc;
}

/* Steps 7 and 8 of "Reading".  Takes `*root` in any case. */
static int
decode_under(const struct file_header *header, struct secret **root, struct keyring **out,
             struct coffer_error *err)
{
    struct keyring *kr = NULL;
    uint8_t tag[32];
    int rc;

    rc = keyring_empty_new(&kr, err);
    if (rc != COFFER_OK)
        goto out;
    kr->root = *root;
    *root = NULL;
    kr->kind = header->kind;
    kr->id = header->id;
    kr->epoch = header->epoch;
    kr->kek_kind = header->kek_kind;
    rc = keyring_set_params(kr, header->kek_params, err);
    if (rc != COFFER_OK)
        goto out;
    rc = file_tag(header->authenticated, kr->root, &kr->id, tag, err);
    if (rc != COFFER_OK)
        goto out;
    if (!secret_equal(bytes_of(tag, sizeof tag), header->tag)) {
        rc = error_set(err, COFFER_E_KEK, "wrong %s, or the keyring was edited",
                       kek_kind_name(kr->kek_kind));
        goto out;
    }
    rc = read_records(kr, header->records, err);
    if (rc != COFFER_OK)
        goto out;
    *out = kr;
    kr = NULL;

out:
    secret_free(*root);
    *root = NULL;
    keyring_free(kr);
    return rc;
}

int
keyring_decode(struct bytes file, struct kek *kek, struct keyring **out, struct coffer_error *err)
{
    struct file_header header;
    struct secret *root = NULL;
    int rc;

    *out = NULL;

    rc = file_header_read(file, &header, err);
    if (rc != COFFER_OK)
        return rc;
    if (header.kek_kind != kek->kind && kek->kind != COFFER_KEK_ROOT)
        return error_set(err, COFFER_E_KEK, "the keyring is under a %s, not under a %s",
                         kek_kind_name(header.kek_kind), kek_kind_name(kek->kind));
    rc = kek->unlock(kek, header.kek_params, &root, err);
    if (rc != COFFER_OK)
        return rc;
    if (secret_len(root) != ROOT_LEN) {
        rc = error_set(err, COFFER_E_KEK, "the KEK provider gave a root key of %zu bytes, not %d",
                       secret_len(root), ROOT_LEN);
        secret_free(root);
        return rc;
    }
    return decode_under(&header, &root, out, err);
}

int
keyring_decode_again(struct bytes file, const struct keyring *known, struct keyring **out,
                     struct coffer_error *err)
{
    struct file_header header;
    struct secret *root = NULL;
    int rc;

    *out = NULL;

    rc = file_header_read(file, &header, err);
    if (rc != COFFER_OK)
        return rc;
    if (!uuid_equal(&header.id, &known->id))
        return error_set(err, COFFER_E_ROLLBACK, "this is another keyring than the one in use");
    if (header.kek_kind != known->kek_kind ||
        !bytes_equal(header.kek_params, bytes_of(known->kek_params, known->kek_params_len)))
        return error_set(err, COFFER_E_KEK,
                         "the keyring was put under another KEK: open it anew with that");
    rc = secret_copy(secret_expose(known->root), &root, err);
    if (rc != COFFER_OK)
        return rc;
    return decode_under(&header, &root, out, err);
}
