/* SPDX-License-Identifier: Apache-2.0 */
/* A header's fixed part and its packets as a whole (fs/ecryptfs/crypto.c, ecryptfs_read_headers_virt).
 *
 * Stricter than the kernel where it is lax and nobody's files are: a header under 8192 bytes, flags that
 * nobody sets, keys whose length their cipher has not, keys that disagree.  As lenient as the kernel
 * about what follows the packets, the random half of the marker, and everything decorative. */
#include "volume/ecryptfs/internal.h"

#include <errno.h>

#define MARKER 0x3c81b7f5u
#define VERSION 3

bool
header_marked(struct bytes raw)
{
    return raw.len >= 16 && (get_be32(raw.ptr + 8) ^ get_be32(raw.ptr + 12)) == MARKER;
}

/* Version 0 ends after the flags. */
static int
parse_fixed(struct cursor *c, bool xattr, struct header *out, struct coffer_error *err)
{
    uint16_t reserved;

    out->size = cursor_be64(c);
    out->marker = cursor_be32(c);
    if ((out->marker ^ cursor_be32(c)) != MARKER)
        return volume_fail(err, -EBADMSG, "no eCryptfs header: its marker is missing");
    out->version = cursor_u8(c);
    reserved = cursor_be16(c);
    out->flags = cursor_u8(c);
    if (out->version > VERSION)
        return volume_fail(err, -EBADMSG, "damaged header: version %u (0 to %u are known)",
                           out->version, VERSION);
    if (reserved != 0 || (out->flags & ~(unsigned)FLAGS_KNOWN) != 0)
        return volume_fail(err, -EBADMSG, "damaged header: unknown flags %06x",
                           (unsigned)reserved << 8 | out->flags);
    if (((out->flags & FLAG_XATTR) != 0) != xattr)
        return volume_fail(
            err, -EBADMSG,
            xattr ? "damaged attribute: its flags say that a header has the metadata"
                  : "damaged header: its flags say that an attribute has the metadata");
    out->extent_len = out->version > 0 ? cursor_be32(c) : EXTENT_LEN;
    out->extent_count = out->version > 0 ? cursor_be16(c) : HEADER_LEN / EXTENT_LEN;
    out->data_at = xattr ? 0 : (uint64_t)out->extent_len * out->extent_count;
    if (c->bad)
        return volume_fail(err, -EBADMSG, "damaged metadata: cut off within the fixed part");
    if (!xattr && (out->data_at < HEADER_LEN || out->data_at > HEADER_LEN_MAX))
        return volume_fail(err, -EBADMSG,
                           "damaged header: it says that it has %llu bytes (%u to %u)",
                           (unsigned long long)out->data_at, HEADER_LEN, HEADER_LEN_MAX);
    /* The extent's number in an IV has 15 digits, and lower offsets end at 2^63. */
    if (out->size > (uint64_t)EXTENTS_MAX * EXTENT_LEN)
        return volume_fail(err, -EBADMSG, "damaged metadata: a size of %llu bytes",
                           (unsigned long long)out->size);
    return 0;
}

static int
parse_key(const struct packet *packet, struct header *out, struct coffer_error *err)
{
    const struct cipher *cipher = cipher_of_code(packet->cipher_code);
    /* AES-192's code alone fixes the key's length; with the others it is that of the wrapped key. */
    size_t len = packet->cipher_code == 0x08 ? 24 : packet->wrapped.len;

    if (cipher == NULL)
        return volume_fail(err, -EBADMSG, "damaged header: cipher %02x is none of eCryptfs's",
                           packet->cipher_code);
    if (!cipher_takes(cipher, len) || cipher_wrapped_len(cipher, len) != packet->wrapped.len)
        return volume_fail(err, -EBADMSG, "damaged header: cipher %02x with a key of %zu bytes",
                           packet->cipher_code, packet->wrapped.len);
    if (out->key_count > 0 && (cipher != out->cipher || len != out->key_len))
        return volume_fail(err, -EBADMSG, "damaged header: its keys are of different ciphers");
    out->cipher = cipher;
    out->key_len = len;
    out->key_count++;
    return 0;
}

int
header_parse(struct bytes raw, bool xattr, struct header *out, struct coffer_error *err)
{
    struct cursor c = cursor_of(raw);
    struct packet packet;
    int rc;

    *out = (struct header){0};
    rc = parse_fixed(&c, xattr, out, err);
    if (rc != 0)
        return rc;
    out->packets_at = (size_t)(c.ptr - raw.ptr);
    for (;;) {
        out->packets_end = (size_t)(c.ptr - raw.ptr);
        rc = packet_next(&c, &packet, err);
        if (rc == 0 && packet.kind == PACKET_PASSPHRASE)
            rc = parse_key(&packet, out, err);
        if (rc != 0)
            return rc;
        if (packet.kind == PACKET_END)
            break;
        out->public_count += packet.kind == PACKET_PUBLIC;
    }
    if (out->key_count == 0 && out->public_count == 0)
        return volume_fail(err, -EBADMSG, "damaged header: there is no key in it");
    if (out->key_count == 0)
        return volume_fail(
            err, -EOPNOTSUPP,
            "the file is sealed under public keys alone, which Coffer does not have");
    if (!xattr && out->packets_end == raw.len)
        return volume_fail(err, -EBADMSG, "damaged header: its keys fill it and do not end");
    return 0;
}

struct cursor
header_packets(struct bytes raw, const struct header *header)
{
    return cursor_of(
        bytes_of(raw.ptr + header->packets_at, header->packets_end - header->packets_at));
}

void
header_write(struct buf *out, const struct header *header, const struct packet *packet)
{
    buf_be64(out, header->size);
    buf_be32(out, header->marker);
    buf_be32(out, header->marker ^ MARKER);
    buf_u8(out, VERSION);
    buf_be16(out, 0);
    buf_u8(out, header->flags);
    buf_be32(out, header->extent_len);
    buf_be16(out, header->extent_count);
    packet_write(out, packet);
}

uint64_t
header_lower_len(uint64_t data_at, uint64_t size)
{
    return data_at + (size + EXTENT_LEN - 1) / EXTENT_LEN * EXTENT_LEN;
}
