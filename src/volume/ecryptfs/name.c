/* SPDX-License-Identifier: Apache-2.0 */
/* Encrypted names and link targets: a prefix, then a Tag 70 packet in 64 letters (fs/ecryptfs/crypto.c,
 * ecryptfs_encode_for_filename; fs/ecryptfs/keystore.c, ecryptfs_write_tag_70_packet).
 *
 * A name has one encoding, the same in each folder, and lookup encodes: so a lower name that decodes
 * but is not the encoding of what it decodes to could never be opened, and is hidden. */
#include "volume/ecryptfs/internal.h"

#include <errno.h>
#include <string.h>

#define PREFIX "ECRYPTFS_FNEK_ENCRYPTED."
#define PREFIX_LEN (sizeof PREFIX - 1)
#define TAG_70 0x46
#define FILLER_MIN 16
#define BLOCK_MAX 16
#define NAME_LEN_MAX 143 /* of an encrypted name, so that the lower one has 255 */
#define PACKET_MAX (VOLUME_TARGET_MAX / 4 * 3)

static const char LETTERS[] = "-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

size_t
name_max(const struct volume *volume)
{
    return volume->options.encrypt_names ? NAME_LEN_MAX : VOLUME_NAME_MAX;
}

/* Three bytes are four letters; an incomplete last group is filled with zeros and written whole. */
static void
letters_write(struct buf *out, struct bytes data)
{
    for (size_t i = 0; i < data.len; i += 3) {
        uint32_t group = (uint32_t)data.ptr[i] << 16;

        if (i + 1 < data.len)
            group |= (uint32_t)data.ptr[i + 1] << 8;
        if (i + 2 < data.len)
            group |= data.ptr[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            buf_u8(out, (uint8_t)LETTERS[group >> shift & 63]);
    }
}

static bool
letters_read(struct bytes text, uint8_t *out, size_t max, size_t *len)
{
    uint32_t group = 0;

    *len = 0;
    if (text.len % 4 != 0 || text.len / 4 * 3 > max)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        const char *at = text.ptr[i] != 0 ? strchr(LETTERS, text.ptr[i]) : NULL;

        if (at == NULL)
            return false;
        group = group << 6 | (uint32_t)(at - LETTERS);
        if (i % 4 == 3) {
            out[(*len)++] = (uint8_t)(group >> 16);
            out[(*len)++] = (uint8_t)(group >> 8);
            out[(*len)++] = (uint8_t)group;
        }
    }
    return true;
}

/* Prefix and letters of `upper`, up to what `lower` may hold (COFFER_E_LIMIT in its status). */
static int
encode(const struct volume *volume, struct bytes upper, struct buf *lower, struct coffer_error *err)
{
    size_t filler = FILLER_MIN, total, block_size = block_len(volume->name_cipher->block);
    uint8_t block[PACKET_MAX + BLOCK_MAX];
    struct buf packet;
    int rc;

    if (upper.len > PACKET_MAX - FILLER_MIN - BLOCK_MAX)
        return volume_fail(err, -ENAMETOOLONG, "a name of %zu bytes is too long to encrypt",
                           upper.len);
    while ((filler + 1 + upper.len) % block_size != 0)
        filler++;
    total = filler + 1 + upper.len;
    memcpy(block, volume->name_filler, filler);
    block[filler] = 0;
    memcpy(block + filler + 1, upper.ptr, upper.len);
    rc = errno_of(block_ecb(volume->name_cipher->block,
                            fekek_key(&volume->name_key, volume->name_key_len), true, block, block,
                            total, err));
    if (rc != 0)
        return rc;
    buf_init(&packet, PACKET_MAX + 64);
    buf_u8(&packet, TAG_70);
    packet_length_write(&packet, SIGNATURE_LEN + 1 + total);
    buf_add(&packet, volume->name_key.signature, SIGNATURE_LEN);
    buf_u8(&packet, volume->name_cipher->code);
    buf_add(&packet, block, total);
    buf_str(lower, PREFIX);
    letters_write(lower, buf_view(&packet));
    rc = buf_status(&packet, err);
    if (rc == COFFER_OK)
        rc = buf_status(lower, NULL);
    buf_wipe(&packet);
    if (rc == COFFER_E_LIMIT)
        return volume_fail(err, -ENAMETOOLONG, "a name of %zu bytes is too long to encrypt",
                           upper.len);
    return rc == COFFER_OK ? 0 : volume_fail(err, -ENOMEM, "out of memory");
}

/* The packet of a lower name; views into `room`. */
static bool
open_packet(struct bytes lower, uint8_t *room, size_t room_len, struct bytes *signature,
            uint8_t *code, struct bytes *sealed)
{
    struct cursor c;
    size_t len;

    if (lower.len < PREFIX_LEN || memcmp(lower.ptr, PREFIX, PREFIX_LEN) != 0 ||
        !letters_read(bytes_of(lower.ptr + PREFIX_LEN, lower.len - PREFIX_LEN), room, room_len,
                      &len))
        return false;
    c = cursor_of(bytes_of(room, len));
    if (cursor_u8(&c) != TAG_70 || !packet_length_read(&c, &len) || len < SIGNATURE_LEN + 2 ||
        len > cursor_left(&c))
        return false;
    *signature = cursor_take(&c, SIGNATURE_LEN);
    *code = cursor_u8(&c);
    *sealed = cursor_take(&c, len - SIGNATURE_LEN - 1);
    return !c.bad;
}

bool
ecryptfs_name_signature(struct bytes lower, char signature[VOLUME_KEY_NAME + 1])
{
    uint8_t room[PACKET_MAX];
    struct bytes raw, sealed;
    uint8_t code;

    signature[0] = '\0';
    if (!open_packet(lower, room, sizeof room, &raw, &code, &sealed))
        return false;
    hex_encode(raw, signature);
    return true;
}

/* -ENOENT for anything that is not under this volume's name key. */
static int
decode(const struct volume *volume, struct bytes lower, uint8_t *room, size_t room_len,
       struct bytes *upper, struct coffer_error *err)
{
    struct bytes signature, sealed, key = fekek_key(&volume->name_key, volume->name_key_len);
    uint8_t code, *plain;
    const uint8_t *zero;
    int rc;

    if (!open_packet(lower, room, room_len, &signature, &code, &sealed) ||
        !bytes_equal(signature, bytes_of(volume->name_key.signature, SIGNATURE_LEN)) ||
        code != volume->name_cipher->code ||
        sealed.len % block_len(volume->name_cipher->block) != 0)
        return volume_fail(err, -ENOENT, "not a name under this volume's key");
    plain = room + (sealed.ptr - room);
    rc = errno_of(
        block_ecb(volume->name_cipher->block, key, false, sealed.ptr, plain, sealed.len, err));
    if (rc != 0)
        return rc;
    zero = memchr(plain, 0, sealed.len);
    if (zero == NULL || zero + 1 == plain + sealed.len)
        return volume_fail(err, -ENOENT, "a name under this volume's key that decrypts to none");
    *upper = bytes_of(zero + 1, (size_t)(plain + sealed.len - zero - 1));
    if (memchr(upper->ptr, 0, upper->len) != NULL)
        return volume_fail(err, -ENOENT, "a name under this volume's key with a zero byte in it");
    return 0;
}

static void
copy_name(struct bytes name, char out[VOLUME_NAME_MAX + 1])
{
    memcpy(out, name.ptr, name.len);
    out[name.len] = '\0';
}

int
name_to_lower(const struct volume *volume, struct bytes upper, char lower[VOLUME_NAME_MAX + 1],
              struct coffer_error *err)
{
    struct buf text;
    int rc;

    lower[0] = '\0';
    if (upper.len == 0)
        return volume_fail(err, -ENOENT, "an empty name");
    if (upper.len > name_max(volume))
        return volume_fail(err, -ENAMETOOLONG, "a name of %zu bytes: at most %zu are possible",
                           upper.len, name_max(volume));
    if (!volume->options.encrypt_names) {
        copy_name(upper, lower);
        return 0;
    }
    buf_init(&text, VOLUME_NAME_MAX);
    rc = encode(volume, upper, &text, err);
    if (rc == 0)
        copy_name(buf_view(&text), lower);
    buf_wipe(&text);
    return rc;
}

int
name_to_upper(const struct volume *volume, struct bytes lower, char upper[VOLUME_NAME_MAX + 1],
              struct coffer_error *err)
{
    uint8_t room[VOLUME_NAME_MAX];
    char again[VOLUME_NAME_MAX + 1];
    struct bytes name = lower;
    int rc;

    upper[0] = '\0';
    if (lower.len > VOLUME_NAME_MAX)
        return volume_fail(err, -ENOENT, "a name of %zu bytes", lower.len);
    if (volume->options.encrypt_names) {
        rc = decode(volume, lower, room, sizeof room, &name, err);
        if (rc != 0)
            return rc;
        /* ECB lets whoever can write below put blocks together: no path may come of it. */
        if (memchr(name.ptr, '/', name.len) != NULL || bytes_equal(name, bytes_str(".")) ||
            bytes_equal(name, bytes_str("..")))
            return volume_fail(err, -ENOENT, "a name under this volume's key that is a path");
        rc = name_to_lower(volume, name, again, NULL);
        if (rc == -ENOMEM)
            return volume_fail(err, rc, "out of memory");
        if (rc != 0 || !bytes_equal(bytes_str(again), lower))
            return volume_fail(err, -ENOENT,
                               "a name under this volume's key in a form that lookup "
                               "does not make");
    }
    copy_name(name, upper);
    return 0;
}

int
target_to_lower(const struct volume *volume, struct bytes upper, struct buf *lower,
                struct coffer_error *err)
{
    size_t max = lower->max;
    int rc;

    if (!volume->options.encrypt_names) {
        if (upper.len > VOLUME_TARGET_MAX)
            return volume_fail(err, -ENAMETOOLONG, "a link target of %zu bytes", upper.len);
        buf_bytes(lower, upper);
        return buf_status(lower, err) == COFFER_OK ? 0 : -ENOMEM;
    }
    if (max > VOLUME_TARGET_MAX)
        lower->max = VOLUME_TARGET_MAX;
    rc = encode(volume, upper, lower, err);
    lower->max = max;
    return rc;
}

int
target_to_upper(const struct volume *volume, struct bytes lower, struct buf *upper,
                struct coffer_error *err)
{
    uint8_t room[PACKET_MAX];
    struct bytes target = lower;
    int rc;

    if (lower.len > VOLUME_TARGET_MAX)
        return volume_fail(err, -ENAMETOOLONG, "a link target of %zu bytes", lower.len);
    if (volume->options.encrypt_names) {
        rc = decode(volume, lower, room, sizeof room, &target, err);
        if (rc == -ENOENT) /* readlink's answer, as the kernel gives it */
            return volume_fail(err, -EINVAL, "a link target that is not under this volume's key");
        if (rc != 0)
            return rc;
    }
    buf_bytes(upper, target);
    return buf_status(upper, err) == COFFER_OK ? 0 : -ENOMEM;
}
