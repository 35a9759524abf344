/* SPDX-License-Identifier: Apache-2.0 */
/* A file's metadata, from its header or its attribute. */
#include "volume/ecryptfs/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What an attribute adds: 0, -ENODATA if there is none, or what is wrong with it. */
static int
read_attribute(struct lower *lower, struct metadata *out, struct coffer_error *err)
{
    ssize_t n = lower->ops->xattr_get(lower, XATTR_NAME, out->raw, sizeof out->raw);

    if (n == -ENODATA)
        return -ENODATA;
    if (n == -ERANGE)
        return volume_fail(err, -EBADMSG, "damaged metadata: attribute %s has over %u bytes",
                           XATTR_NAME, METADATA_LEN);
    if (n < 0)
        return volume_fail(err, (int)n, "attribute %s cannot be read: %s", XATTR_NAME,
                           strerror((int)-n));
    out->place = PLACE_XATTR;
    out->raw_len = (size_t)n;
    return header_parse(bytes_of(out->raw, out->raw_len), true, &out->header, err);
}

/* As the kernel does: the header first, and the attribute if that fails for any reason (a file with
 * an attribute begins with ciphertext, which looks like a header once in 2^32 files). */
int
metadata_read(struct lower *lower, struct metadata *out, struct coffer_error *err)
{
    struct iovec iov = {out->raw, sizeof out->raw};
    ssize_t n = lower->ops->read(lower, &iov, 1, 0);
    struct coffer_error in_header = {0};
    int rc, attribute;
    bool marked;

    if (n < 0)
        return volume_fail(err, (int)n, "the lower file cannot be read: %s", strerror((int)-n));
    memset(out->raw + n, 0,
           sizeof out->raw - (size_t)n); /* the kernel takes what is missing as zeros */
    out->raw_len = sizeof out->raw;
    out->place = PLACE_HEADER;
    marked = header_marked(bytes_of(out->raw, sizeof out->raw));
    rc = marked ? header_parse(bytes_of(out->raw, sizeof out->raw), false, &out->header, &in_header)
                : 0;
    if (marked && rc == 0)
        return 0;
    attribute = read_attribute(lower, out, err);
    if (attribute == 0)
        return 0;
    if (marked) {
        if (err != NULL)
            *err = in_header;
        return rc;
    }
    if (attribute != -ENODATA)
        return attribute;
    out->place = n == 0 ? PLACE_NONE : PLACE_PLAIN;
    out->header = (struct header){0};
    return 0;
}

static int
set_size_in_attribute(struct lower *lower, uint64_t size, struct coffer_error *err)
{
    uint8_t raw[METADATA_LEN];
    ssize_t n = lower->ops->xattr_get(lower, XATTR_NAME, raw, sizeof raw);
    int rc;

    /* Read anew each time: the keys in it may have been wrapped anew since the file was opened. */
    if (n < 8)
        return volume_fail(err, n < 0 ? (int)n : -EBADMSG, "attribute %s cannot be read: %s",
                           XATTR_NAME, n < 0 ? strerror((int)-n) : "cut off");
    put_be64(raw, size);
    rc = lower->ops->xattr_set(lower, XATTR_NAME, raw, (size_t)n);
    if (rc != 0)
        return volume_fail(err, rc, "attribute %s cannot be written: %s", XATTR_NAME,
                           strerror(-rc));
    return 0;
}

int
metadata_set_size(struct lower *lower, enum place place, uint64_t size, struct coffer_error *err)
{
    uint8_t raw[8];
    struct iovec iov = {raw, sizeof raw};
    int rc;

    if (place == PLACE_XATTR)
        return set_size_in_attribute(lower, size, err);
    put_be64(raw, size);
    rc = lower->ops->write(lower, &iov, 1, 0, false);
    if (rc != 0)
        return volume_fail(err, rc, "the header cannot be written: %s", strerror(-rc));
    return 0;
}

int
metadata_held_size(struct lower *lower, const struct header *header, uint64_t *size,
                   struct coffer_error *err)
{
    uint64_t length, held;
    int rc = lower->ops->length(lower, &length);

    if (rc != 0)
        return volume_fail(err, rc, "the lower file's length cannot be had: %s", strerror(-rc));
    held = length > header->data_at ? (length - header->data_at) / EXTENT_LEN * EXTENT_LEN : 0;
    *size = header->size < held ? header->size : held;
    return 0;
}

static void
list_keys(const struct metadata *metadata, struct volume_file_info *info)
{
    struct cursor c = header_packets(bytes_of(metadata->raw, metadata->raw_len), &metadata->header);
    struct packet packet;

    while (packet_next(&c, &packet, NULL) == 0 && packet.kind != PACKET_END) {
        if (info->key_count < sizeof info->keys / sizeof info->keys[0])
            hex_encode(packet.signature, info->keys[info->key_count]);
        info->key_count++;
    }
}

int
file_info(const struct volume *volume, struct lower *lower, struct volume_file_info *info,
          struct coffer_error *err)
{
    struct metadata metadata;
    int rc;

    *info = (struct volume_file_info){0};
    rc = metadata_read(lower, &metadata, err);
    if (rc != 0)
        return rc;
    switch (metadata.place) {
    case PLACE_NONE:
        info->empty = true;
        return 0;
    case PLACE_PLAIN:
        if (!volume->options.plain_passthrough)
            return volume_fail(err, -EBADMSG, "not an eCryptfs file: no marker, no attribute");
        (void)snprintf(info->cipher, sizeof info->cipher, "none");
        rc = lower->ops->length(lower, &info->size);
        return rc == 0 ? 0 : volume_fail(err, rc, "the lower file's length cannot be had");
    default:
        break;
    }
    info->size = metadata.header.size;
    info->key_bits = (unsigned)metadata.header.key_len * 8;
    cipher_text(metadata.header.cipher, metadata.header.key_len, info->cipher);
    list_keys(&metadata, info);
    return volume->options.after_crash
               ? metadata_held_size(lower, &metadata.header, &info->size, err)
               : 0;
}

int
file_settle(const struct volume *volume, struct lower *lower, bool *changed,
            struct coffer_error *err)
{
    struct metadata metadata;
    uint64_t size = 0;
    int rc;

    *changed = false;
    rc = metadata_read(lower, &metadata, err);
    if (rc != 0 || !volume->options.after_crash || metadata.place == PLACE_NONE ||
        metadata.place == PLACE_PLAIN)
        return rc;
    rc = metadata_held_size(lower, &metadata.header, &size, err);
    if (rc != 0 || size == metadata.header.size)
        return rc;
    *changed = true;
    return metadata_set_size(lower, metadata.place, size, err);
}

bool
file_keys_current(const struct volume *volume, const struct volume_file_info *info)
{
    uint8_t signature[SIGNATURE_LEN];
    char name[VOLUME_KEY_NAME + 1];

    if (info->empty)
        return true; /* nothing is sealed */
    volume_signature(volume, signature);
    hex_encode(bytes_of(signature, sizeof signature), name);
    return info->key_count == 1 && strcmp(info->keys[0], name) == 0;
}

bool
file_is_current(const struct volume *volume, const struct volume_file_info *info)
{
    return info->empty ||
           (file_keys_current(volume, info) && info->key_bits == volume_key_bits(volume) &&
            strncmp(info->cipher, "aes-", 4) == 0);
}
