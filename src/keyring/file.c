/* SPDX-License-Identifier: Apache-2.0 */
/* Header and trailer of a keyring file, docs/FORMAT.md "Keyring v1", "Layout" and "Reading". */
#include "crypto/crypto.h"
#include "keyring/internal.h"

#include <string.h>

#define MAGIC_LEN 8
#define LENGTH_AT 12
#define CHECKSUM_LEN 32
#define FILE_MIN (FILE_HEADER_LEN + FILE_TRAILER_LEN)
#define MAC_LABEL "coffer/v1/keyring-mac"
#define WRAP_LABEL "coffer/v1/keyring-wrap"
#define ADVICE "restore the generation before it, NAME.<epoch>"

static int
derive(const struct secret *root, const struct uuid *id, const char *label, uint8_t out[32],
       struct coffer_error *err)
{
    uint8_t info[2 + 32];
    size_t len = strlen(label);

    put_be16(info, (uint16_t)len);
    memcpy(info + 2, label, len);
    return hkdf_sha256(secret_expose(root), bytes_of(id->b, sizeof id->b), bytes_of(info, 2 + len),
                       out, 32, err);
}

int
file_wrapping_key(const struct secret *root, const struct uuid *id, struct secret **out,
                  struct coffer_error *err)
{
    int rc;

    rc = secret_new(32, out, err);
    if (rc != COFFER_OK)
        return rc;
    rc = derive(root, id, WRAP_LABEL, secret_expose_mut(*out), err);
    if (rc != COFFER_OK) {
        secret_free(*out);
        *out = NULL;
    }
    return rc;
}

int
file_tag(struct bytes authenticated, const struct secret *root, const struct uuid *id,
         uint8_t out[32], struct coffer_error *err)
{
    struct secret *key = NULL;
    int rc;

    rc = secret_new(32, &key, err);
    if (rc != COFFER_OK)
        return rc;
    rc = derive(root, id, MAC_LABEL, secret_expose_mut(key), err);
    if (rc == COFFER_OK)
        rc = hmac_sha256(secret_expose(key), &authenticated, 1, out, err);
    secret_free(key);
    return rc;
}

void
file_begin(struct buf *out, enum file_kind kind, const struct uuid *id, uint64_t epoch,
           uint16_t kek_kind, struct bytes kek_params)
{
    buf_add(out, FILE_MAGIC, MAGIC_LEN);
    buf_be16(out, FILE_VERSION);
    buf_u8(out, (uint8_t)kind);
    buf_u8(out, 0);
    buf_be32(out, 0); /* the length, known in file_finish() */
    buf_add(out, id->b, sizeof id->b);
    buf_be64(out, epoch);
    buf_be16(out, kek_kind);
    buf_lp16(out, kek_params);
}

int
file_finish(struct buf *out, const struct secret *root, const struct uuid *id,
            struct coffer_error *err)
{
    uint8_t digest[32];
    int rc;

    rc = buf_status(out, err);
    if (rc != COFFER_OK)
        return rc;
    if (out->len > KEYRING_FILE_MAX - FILE_TRAILER_LEN)
        return error_set(err, COFFER_E_LIMIT, "the keyring would be larger than %u bytes",
                         KEYRING_FILE_MAX);
    put_be32(out->ptr + LENGTH_AT, (uint32_t)(out->len + FILE_TRAILER_LEN));
    rc = file_tag(buf_view(out), root, id, digest, err);
    if (rc != COFFER_OK)
        return rc;
    buf_add(out, digest, sizeof digest);
    rc = buf_status(out, err);
    if (rc != COFFER_OK)
        return rc;
    rc = sha256(buf_view(out), digest, err);
    if (rc != COFFER_OK)
        return rc;
    buf_add(out, digest, sizeof digest);
    return buf_status(out, err);
}

/* Steps 1 and 2: is it one of ours, and of a version that we know? */
static int
check_magic(struct bytes file, struct coffer_error *err)
{
    size_t len = file.len < MAGIC_LEN ? file.len : MAGIC_LEN;
    struct cursor c = cursor_of(file);
    unsigned version;

    if (file.len == 0)
        return error_set(err, COFFER_E_FORMAT, "the keyring is empty: " ADVICE);
    if (memcmp(file.ptr, FILE_MAGIC, len) != 0)
        return error_set(err, COFFER_E_FORMAT, "this is not a Coffer keyring");
    (void)cursor_take(&c, MAGIC_LEN);
    version = cursor_be16(&c);
    if (c.bad)
        return COFFER_OK; /* truncated: step 3 says so */
    if (version > FILE_VERSION)
        return error_set(err, COFFER_E_FORMAT,
                         "the keyring is of version %u, this release reads version %d: use a newer "
                         "release",
                         version, FILE_VERSION);
    if (version == 0)
        return error_set(err, COFFER_E_FORMAT, "the keyring is damaged (version 0): " ADVICE);
    return COFFER_OK;
}

/* Steps 3 and 4: is all of it there, as it was written? */
static int
check_whole(struct bytes file, struct coffer_error *err)
{
    uint8_t digest[CHECKSUM_LEN];
    struct cursor c = cursor_of(file);
    size_t total;
    int rc;

    (void)cursor_take(&c, LENGTH_AT);
    total = cursor_be32(&c);
    if (file.len < FILE_MIN && (c.bad || total >= FILE_MIN))
        return error_set(err, COFFER_E_FORMAT,
                         "the keyring is truncated: %zu of %zu bytes: " ADVICE, file.len,
                         c.bad ? (size_t)FILE_MIN : total);
    if (total < FILE_MIN || total > KEYRING_FILE_MAX)
        return error_set(err, COFFER_E_FORMAT,
                         "the keyring is damaged (it claims a length of %zu bytes): " ADVICE,
                         total);
    if (file.len < total)
        return error_set(err, COFFER_E_FORMAT,
                         "the keyring is truncated: %zu of %zu bytes: " ADVICE, file.len, total);
    if (file.len > total)
        return error_set(err, COFFER_E_FORMAT,
                         "the keyring has %zu bytes after its end at %zu: " ADVICE,
                         file.len - total, total);
    rc = sha256(bytes_of(file.ptr, total - CHECKSUM_LEN), digest, err);
    if (rc != COFFER_OK)
        return rc;
    if (memcmp(digest, file.ptr + total - CHECKSUM_LEN, sizeof digest) != 0)
        return error_set(err, COFFER_E_FORMAT,
                         "the keyring is damaged (its checksum does not hold): " ADVICE);
    return COFFER_OK;
}

int
file_header_read(struct bytes file, struct file_header *out, struct coffer_error *err)
{
    struct cursor c;
    unsigned kind, zero;
    int rc;

    memset(out, 0, sizeof *out);
    rc = check_magic(file, err);
    if (rc != COFFER_OK)
        return rc;
    rc = check_whole(file, err);
    if (rc != COFFER_OK)
        return rc;

    out->authenticated = bytes_of(file.ptr, file.len - FILE_TRAILER_LEN);
    out->tag = bytes_of(file.ptr + file.len - FILE_TRAILER_LEN, 32);
    c = cursor_of(out->authenticated);
    (void)cursor_take(&c, MAGIC_LEN + 2);
    kind = cursor_u8(&c);
    zero = cursor_u8(&c);
    (void)cursor_take(&c, 4);
    memcpy(out->id.b, cursor_take(&c, sizeof out->id.b).ptr, sizeof out->id.b);
    out->epoch = cursor_be64(&c);
    out->kek_kind = cursor_be16(&c);
    out->kek_params = cursor_lp16(&c);
    out->records = cursor_take(&c, cursor_left(&c));
    out->kind = (enum file_kind)kind;

    if (c.bad || (kind != FILE_KEYRING && kind != FILE_ESCROW) || zero != 0 || out->epoch == 0 ||
        uuid_zero(&out->id) || out->kek_params.len > KEK_PARAMS_MAX)
        return error_set(err, COFFER_E_FORMAT, "the keyring has a malformed header: " ADVICE);
    return COFFER_OK;
}

int
keyring_peek(struct bytes file, struct uuid *id, uint64_t *epoch, uint16_t *kek_kind,
             struct coffer_error *err)
{
    struct file_header header;
    int rc;

    rc = file_header_read(file, &header, err);
    *id = header.id;
    *epoch = header.epoch;
    *kek_kind = header.kek_kind;
    return rc;
}
