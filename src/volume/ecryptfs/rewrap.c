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
