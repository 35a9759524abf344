/* SPDX-License-Identifier: Apache-2.0 */
/* The packet set of a header (fs/ecryptfs/keystore.c, parse_tag_1_packet, parse_tag_3_packet,
 * parse_tag_11_packet).  All lengths are checked against what encloses them by the cursor. */
#include "volume/ecryptfs/internal.h"

#include <errno.h>

#define TAG_1 0x01
#define TAG_3 0x8c
#define TAG_11 0xed
#define TAG_3_FIXED 13 /* of its content, before the wrapped key */
#define S2K_SALTED 0x03
#define HASH_MD5 0x01   /* what it says; the key was made with SHA-512 */
#define ITERATIONS 0x60 /* 65536, never read */
#define BINARY 0x62

bool
packet_length_read(struct cursor *c, size_t *length)
{
    uint8_t first = cursor_u8(c);

    *length = first;
    if (first >= 192)
        *length = (size_t)(first - 192) * 256 + cursor_u8(c) + 192;
    return !c->bad && first < 224;
}

void
packet_length_write(struct buf *out, size_t length)
{
    if (length >= 192) {
        buf_u8(out, (uint8_t)((length - 192) / 256 + 192));
        buf_u8(out, (uint8_t)((length - 192) % 256));
    } else {
        buf_u8(out, (uint8_t)length);
    }
}

static int
bad(struct coffer_error *err, const char *what)
{
    return volume_fail(err, -EBADMSG, "damaged header: %s", what);
}

/* Takes the tag and the length; `body` is the packet's content. */
static int
open_packet(struct cursor *c, struct cursor *body, struct coffer_error *err)
{
    size_t length;

    (void)cursor_u8(c);
    if (!packet_length_read(c, &length) || length > cursor_left(c))
        return bad(err, "a packet is longer than the space for it");
    *body = cursor_of(cursor_take(c, length));
    return 0;
}

static int
read_tag_11(struct cursor *c, struct packet *out, struct coffer_error *err)
{
    struct cursor body;
    int rc;

    if (cursor_left(c) == 0 || *c->ptr != TAG_11)
        return bad(err, "a key packet (Tag 3) without its signature (Tag 11)");
    rc = open_packet(c, &body, err);
    if (rc != 0)
        return rc;
    if (cursor_u8(&body) != BINARY || cursor_u8(&body) != 8)
        return bad(err, "a signature packet (Tag 11) of another kind");
    (void)cursor_take(&body, 8 + 4); /* "_CONSOLE" and a date, which nobody reads */
    out->signature = cursor_take(&body, SIGNATURE_LEN);
    if (body.bad || cursor_left(&body) != 0)
        return bad(err, "a signature (Tag 11) that is not of 8 bytes");
    return 0;
}

static int
read_tag_3(struct cursor *c, struct packet *out, struct coffer_error *err)
{
    struct cursor body;
    int rc = open_packet(c, &body, err);

    if (rc != 0)
        return rc;
    out->kind = PACKET_PASSPHRASE;
    if (cursor_u8(&body) != 4)
        return bad(err, "a key packet (Tag 3) of another version");
    out->cipher_code = cursor_u8(&body);
    if (cursor_u8(&body) != S2K_SALTED || cursor_u8(&body) != HASH_MD5)
        return bad(err, "a key packet (Tag 3) with another key derivation");
    out->salt = cursor_take(&body, SALT_LEN);
    (void)cursor_u8(&body);
    out->wrapped = cursor_take(&body, cursor_left(&body));
    if (body.bad || out->wrapped.len == 0 || out->wrapped.len > WRAPPED_FEK_MAX)
        return bad(err, "a key packet (Tag 3) with no key of 1 to 64 bytes in it");
    return read_tag_11(c, out, err);
}

static int
read_tag_1(struct cursor *c, struct packet *out, struct coffer_error *err)
{
    struct cursor body;
    int rc = open_packet(c, &body, err);

    if (rc != 0)
        return rc;
    out->kind = PACKET_PUBLIC;
    if (cursor_u8(&body) != 3)
        return bad(err, "a public-key packet (Tag 1) of another version");
    out->signature = cursor_take(&body, SIGNATURE_LEN);
    (void)cursor_u8(&body);
    out->wrapped = cursor_take(&body, cursor_left(&body));
    if (body.bad || out->wrapped.len > 512)
        return bad(err, "a public-key packet (Tag 1) of a length that none has");
    return 0;
}

int
packet_next(struct cursor *c, struct packet *out, struct coffer_error *err)
{
    *out = (struct packet){.kind = PACKET_END};
    if (cursor_left(c) == 0)
        return 0;
    switch (*c->ptr) {
    case TAG_3:
        return read_tag_3(c, out, err);
    case TAG_1:
        return read_tag_1(c, out, err);
    case TAG_11:
        return bad(err, "a signature (Tag 11) without a key packet (Tag 3) before it");
    default:
        return 0; /* the kernel writes 0, and takes anything else for the end too */
    }
}

void
packet_write(struct buf *out, const struct packet *packet)
{
    buf_u8(out, TAG_3);
    packet_length_write(out, TAG_3_FIXED + packet->wrapped.len);
    buf_u8(out, 4);
    buf_u8(out, packet->cipher_code);
    buf_u8(out, S2K_SALTED);
    buf_u8(out, HASH_MD5);
    buf_bytes(out, packet->salt);
    buf_u8(out, ITERATIONS);
    buf_bytes(out, packet->wrapped);
    buf_u8(out, TAG_11);
    buf_u8(out, 14 + SIGNATURE_LEN);
    buf_u8(out, BINARY);
    buf_u8(out, 8);
    buf_str(out, "_CONSOLE");
    buf_be32(out, 0);
    buf_bytes(out, packet->signature);
}
