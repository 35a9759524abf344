/* SPDX-License-Identifier: Apache-2.0 */
/* A file's metadata under another key.
 *
 * In a header, all that changes lies in its first sector, which a disk writes whole or not at all.
 * Only a header that had many keys reaches beyond it; what they left there is wiped in a second write,
 * and looked for again when the file seems to be current already. */
#include "volume/ecryptfs/internal.h"

#include <errno.h>
#include <string.h>

static int
failed(struct coffer_error *err, int rc)
{
    return volume_fail(err, rc, "the metadata cannot be written: %s", strerror(-rc));
}

static bool
under_first_key_alone(struct volume *volume, const struct metadata *metadata)
{
    struct cursor c = header_packets(bytes_of(metadata->raw, metadata->raw_len), &metadata->header);
    uint8_t signature[SIGNATURE_LEN];
    struct packet packet;

    volume_signature(volume, signature);
    return metadata->header.key_count == 1 && metadata->header.public_count == 0 &&
           packet_next(&c, &packet, NULL) == 0 &&
           bytes_equal(packet.signature, bytes_of(signature, sizeof signature));
}

static bool
all_zero(const uint8_t *bytes, size_t len)
{
    return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* The new metadata in place of the old: fixed part and one packet pair. */
static int
seal_anew(struct volume *volume, struct metadata *metadata, struct buf *out,
          struct coffer_error *err)
{
    struct secret *fek = NULL;
    int rc = volume_find_fek(volume, bytes_of(metadata->raw, metadata->raw_len), &metadata->header,
                             &fek, err);

    if (rc == 0)
        rc = volume_seal_header(volume, &metadata->header, secret_expose(fek), out, err);
    secret_free(fek);
    return rc;
}

static int
write_sectors(struct lower *lower, const struct buf *fresh, const struct metadata *old,
              bool *changed, struct coffer_error *err)
{
    static const uint8_t ZEROS[METADATA_LEN];
    uint8_t sector[SECTOR_LEN] = {0};
    struct iovec iov = {sector, SECTOR_LEN};
    int rc = 0;

    memcpy(sector, fresh->ptr, fresh->len);
    if (memcmp(sector, old->raw, SECTOR_LEN) != 0) {
        *changed = true;
        rc = lower->ops->write(lower, &iov, 1, 0, false);
    }
    if (rc == 0 && !all_zero(old->raw + SECTOR_LEN, METADATA_LEN - SECTOR_LEN)) {
        *changed = true;
        iov = (struct iovec){(void *)(uintptr_t)ZEROS, METADATA_LEN - SECTOR_LEN};
        rc = lower->ops->write(lower, &iov, 1, SECTOR_LEN, false);
    }
    return rc == 0 ? 0 : failed(err, rc);
}

int
file_rewrap(struct volume *volume, struct lower *lower, bool *changed, struct coffer_error *err)
{
    struct metadata metadata;
    struct buf fresh;
    bool current;
    int rc;

    *changed = false;
    rc = metadata_read(lower, &metadata, err);
    if (rc != 0 || metadata.place == PLACE_NONE)
        return rc;
    if (metadata.place == PLACE_PLAIN)
        return volume_fail(err, -EBADMSG, "not an eCryptfs file: no marker, no attribute");
    current = under_first_key_alone(volume, &metadata);
    if (current &&
        (metadata.place == PLACE_XATTR || all_zero(metadata.raw + metadata.header.packets_end,
                                                   METADATA_LEN - metadata.header.packets_end)))
        return 0;
    buf_init(&fresh, SECTOR_LEN);
    rc = seal_anew(volume, &metadata, &fresh, err);
    if (rc == 0 && metadata.place == PLACE_HEADER)
        rc = write_sectors(lower, &fresh, &metadata, changed, err);
    if (rc == 0 && metadata.place == PLACE_XATTR) {
        *changed = true;
        rc = lower->ops->xattr_set(lower, XATTR_NAME, fresh.ptr, fresh.len);
        if (rc != 0)
            rc = failed(err, rc);
    }
    buf_wipe(&fresh);
    return rc;
}

/* ---- on record ---- */

/* The place, then the attribute, or what of the header a rewrap overwrites: its first sector, and packets beyond it. */
int
file_metadata(const struct volume *volume, struct lower *lower, struct buf *record,
              struct coffer_error *err)
{
    struct metadata metadata;
    size_t len;
    int rc = metadata_read(lower, &metadata, err);

    if (rc != 0)
        return rc;
    if (metadata.place != PLACE_HEADER && metadata.place != PLACE_XATTR)
        return volume_fail(err, -EBADMSG, "not an eCryptfs file: no marker, no attribute");
    len = metadata.raw_len;
    if (metadata.place == PLACE_HEADER)
        len = metadata.header.packets_end > SECTOR_LEN ? metadata.header.packets_end : SECTOR_LEN;
    buf_u8(record, metadata.place == PLACE_HEADER ? 'h' : 'x');
    buf_add(record, metadata.raw, len);
    return buf_status(record, err) == COFFER_OK ? 0 : -ENOMEM;
}

/* The marker's random half tells files apart: a number that was free may be another file's by now. */
static bool
same_marker(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a + 8, b + 8, 8) == 0;
}

static int
put_header_back(struct lower *lower, struct bytes old, struct coffer_error *err)
{
    uint8_t now[16];
    struct iovec iov = {now, sizeof now};
    ssize_t n = lower->ops->read(lower, &iov, 1, 0);
    int rc;

    if (n < 0)
        return volume_fail(err, (int)n, "the lower file cannot be read: %s", strerror((int)-n));
    if ((size_t)n < sizeof now || !same_marker(now, old.ptr))
        return 0;
    iov = (struct iovec){(void *)(uintptr_t)(old.ptr + 16), old.len - 16};
    rc = lower->ops->write(lower, &iov, 1, 16, false);
    return rc == 0 ? 0 : failed(err, rc);
}

static int
put_attribute_back(struct lower *lower, struct bytes old, struct coffer_error *err)
{
    uint8_t value[METADATA_LEN];
    ssize_t n = lower->ops->xattr_get(lower, XATTR_NAME, value, sizeof value);
    int rc;

    if (n < 16 || old.len > sizeof value || !same_marker(value, old.ptr))
        return n == -ENODATA || n >= 0 ? 0 : failed(err, (int)n);
    memcpy(value + 8, old.ptr + 8, old.len - 8);
    rc = lower->ops->xattr_set(lower, XATTR_NAME, value, old.len);
    return rc == 0 ? 0 : failed(err, rc);
}

int
file_put_back(const struct volume *volume, struct lower *lower, struct bytes record,
              struct coffer_error *err)
{
    struct bytes old = bytes_of(record.ptr + 1, record.len - 1);

    if (record.len < 1 + 16)
        return volume_fail(err, -EBADMSG, "a record of metadata that is too short");
    return record.ptr[0] == 'h' ? put_header_back(lower, old, err)
                                : put_attribute_back(lower, old, err);
}
