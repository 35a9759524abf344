/* SPDX-License-Identifier: Apache-2.0 */
/* Encrypted names and link targets: a prefix, then a Tag 70 packet in 64 letters (fs/ecryptfs/crypto.c,
 * ecryptfs_encode_for_filename; fs/ecryptfs/keystore.c, ecryptfs_write_tag_70_packet).
 *
 * A name has one encoding under a key, the same in each folder, and lookup encodes: so a lower name
 * that decodes but is not the encoding of what it decodes to could never be opened, and is hidden.
 *
 * Where plain names stand among encrypted ones, what decodes is encrypted and all else is plain. */
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
    return volume_encrypts_names(volume) ? NAME_LEN_MAX : VOLUME_NAME_MAX;
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
encode(const struct name_form *form, struct bytes upper, struct buf *lower,
       struct coffer_error *err)
{
    size_t filler = FILLER_MIN, total, block_size = block_len(form->cipher->block);
    uint8_t block[PACKET_MAX + BLOCK_MAX];
    struct buf packet;
    int rc;

    if (upper.len > PACKET_MAX - FILLER_MIN - BLOCK_MAX)
        return volume_fail(err, -ENAMETOOLONG, "a name of %zu bytes is too long to encrypt",
                           upper.len);
    while ((filler + 1 + upper.len) % block_size != 0)
        filler++;
    total = filler + 1 + upper.len;
    memcpy(block, form->key->filler, filler);
    block[filler] = 0;
    memcpy(block + filler + 1, upper.ptr, upper.len);
    rc = errno_of(block_ecb(form->cipher->block, fekek_key(&form->key->fekek, form->key_len), true,
                            block, block, total, err));
    if (rc != 0)
        return rc;
    buf_init(&packet, PACKET_MAX + 64);
    buf_u8(&packet, TAG_70);
    packet_length_write(&packet, SIGNATURE_LEN + 1 + total);
    buf_add(&packet, form->key->fekek.signature, SIGNATURE_LEN);
    buf_u8(&packet, form->cipher->code);
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

const char *
ecryptfs_name_cipher(struct bytes lower, unsigned key_bits)
{
    uint8_t room[PACKET_MAX], code;
    const struct cipher *cipher;
    struct bytes raw, sealed;
    char text[32];
    size_t len;

    if (!open_packet(lower, room, sizeof room, &raw, &code, &sealed))
        return NULL;
    cipher = cipher_of_code(code);
    if (cipher == NULL)
        return NULL;
    len = cipher_takes(cipher, key_bits / 8) ? key_bits / 8 : cipher->key_lens[0];
    cipher_text(cipher, len, text);
    return ecryptfs_cipher_text(text);
}

/* A packet decrypted under `form`; `plain` holds PACKET_MAX.  -ENOENT: it does not open. */
static int
open_sealed(const struct name_form *form, struct bytes sealed, uint8_t *plain, struct bytes *upper,
            struct coffer_error *err)
{
    struct bytes key = fekek_key(&form->key->fekek, form->key_len);
    const uint8_t *zero;
    int rc;

    if (sealed.len % block_len(form->cipher->block) != 0)
        return volume_fail(err, -ENOENT, "not a name under this volume's key");
    rc = errno_of(block_ecb(form->cipher->block, key, false, sealed.ptr, plain, sealed.len, err));
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

static int
lower_in(const struct name_form *form, struct bytes upper, char lower[VOLUME_NAME_MAX + 1],
         struct coffer_error *err)
{
    size_t max = form->key != NULL ? NAME_LEN_MAX : VOLUME_NAME_MAX;
    struct buf text;
    int rc = 0;

    lower[0] = '\0';
    if (upper.len == 0)
        return volume_fail(err, -ENOENT, "an empty name");
    if (upper.len > max)
        return volume_fail(err, -ENAMETOOLONG, "a name of %zu bytes: at most %zu are possible",
                           upper.len, max);
    buf_init(&text, VOLUME_NAME_MAX);
    if (form->key != NULL)
        rc = encode(form, upper, &text, err);
    if (rc == 0) {
        struct bytes made = form->key != NULL ? buf_view(&text) : upper;

        memcpy(lower, made.ptr, made.len);
        lower[made.len] = '\0';
    }
    buf_wipe(&text);
    return rc;
}

/* What a name opened to, if it is one that lookup makes. */
static int
check_name(const struct name_form *form, struct bytes lower, struct bytes upper,
           struct coffer_error *err)
{
    char again[VOLUME_NAME_MAX + 1];
    int rc;

    /* ECB lets whoever can write below put blocks together: no path may come of it. */
    if (memchr(upper.ptr, '/', upper.len) != NULL || bytes_equal(upper, bytes_str(".")) ||
        bytes_equal(upper, bytes_str("..")))
        return volume_fail(err, -ENOENT, "a name under this volume's key that is a path");
    rc = lower_in(form, upper, again, NULL);
    if (rc == -ENOMEM)
        return volume_fail(err, rc, "out of memory");
    if (rc != 0 || !bytes_equal(bytes_str(again), lower))
        return volume_fail(err, -ENOENT,
                           "a name under this volume's key in a form that lookup does not make");
    return 0;
}

/* The form in which `lower` stands, and what it is, in `plain` (PACKET_MAX bytes).  Under the lock.
 * -ENOENT: in none. */
static int
find_form(const struct volume *volume, struct bytes lower, bool is_name, uint8_t *plain,
          struct bytes *upper, const struct name_form **out, struct coffer_error *err)
{
    const struct naming *naming = &volume->naming;
    const struct name_form *bare = NULL;
    uint8_t room[PACKET_MAX], code = 0;
    struct bytes signature, sealed;
    bool packet = open_packet(lower, room, sizeof room, &signature, &code, &sealed);
    int rc = volume_fail(err, -ENOENT, "not a name under this volume's key");

    for (size_t i = 0; i < naming->form_count; i++) {
        const struct name_form *form = &naming->forms[i];

        if (form->key == NULL)
            bare = form;
        if (form->key == NULL || !packet || code != form->cipher->code ||
            !bytes_equal(signature, bytes_of(form->key->fekek.signature, SIGNATURE_LEN)))
            continue;
        rc = open_sealed(form, sealed, plain, upper, err);
        if (rc == 0 && is_name)
            rc = check_name(form, lower, *upper, err);
        if (rc != -ENOENT) {
            *out = form;
            return rc;
        }
    }
    if (bare == NULL || lower.len == 0)
        return rc;
    *upper = lower;
    *out = bare;
    return 0;
}

/* A plain name or target may not look like one that is sealed: it would be taken for that. */
static int
check_plain(const struct volume *volume, const struct name_form *form, struct bytes text,
            bool is_name, struct coffer_error *err)
{
    const struct name_form *found = form;
    uint8_t plain[PACKET_MAX];
    struct bytes upper;
    int rc = 0;

    if (form->key == NULL && volume->naming.form_count > 1)
        rc = find_form(volume, text, is_name, plain, &upper, &found, err);
    if (rc == 0 && found != form)
        return volume_fail(err, -EPERM, "an encrypted name of this volume, given as a plain one");
    return rc;
}

int
name_to_lower(const struct volume *volume, struct bytes upper, char lower[VOLUME_NAME_MAX + 1],
              struct coffer_error *err)
{
    int rc;

    volume_lock_shared(volume);
    rc = lower_in(&volume->naming.forms[0], upper, lower, err);
    if (rc == 0)
        rc = check_plain(volume, &volume->naming.forms[0], upper, true, err);
    volume_unlock_shared(volume);
    return rc;
}

bool
names_mixed(const struct volume *volume)
{
    bool mixed;

    volume_lock_shared(volume);
    mixed = volume->naming.form_count > 1;
    volume_unlock_shared(volume);
    return mixed;
}

int
name_former(const struct volume *volume, unsigned i, struct bytes upper,
            char lower[VOLUME_NAME_MAX + 1], struct coffer_error *err)
{
    const struct naming *naming = &volume->naming;
    int rc;

    lower[0] = '\0';
    volume_lock_shared(volume);
    if (i + 1 >= naming->form_count) {
        rc = volume_fail(err, -ENOENT, "names have no form number %u", i);
    } else {
        rc = lower_in(&naming->forms[1 + i], upper, lower, err);
        if (rc == 0)
            rc = check_plain(volume, &naming->forms[1 + i], upper, true, err);
    }
    volume_unlock_shared(volume);
    return rc;
}

int
name_to_upper(const struct volume *volume, struct bytes lower, char upper[VOLUME_NAME_MAX + 1],
              struct coffer_error *err)
{
    const struct name_form *form;
    uint8_t plain[PACKET_MAX];
    struct bytes name;
    int rc;

    upper[0] = '\0';
    if (lower.len > VOLUME_NAME_MAX)
        return volume_fail(err, -ENOENT, "a name of %zu bytes", lower.len);
    volume_lock_shared(volume);
    rc = find_form(volume, lower, true, plain, &name, &form, err);
    volume_unlock_shared(volume);
    if (rc != 0)
        return rc;
    memcpy(upper, name.ptr, name.len);
    upper[name.len] = '\0';
    return 0;
}

static bool
is_current(const struct volume *volume, struct bytes lower, bool is_name)
{
    const struct name_form *form = NULL;
    uint8_t plain[PACKET_MAX];
    struct bytes upper;
    bool current;

    volume_lock_shared(volume);
    current = find_form(volume, lower, is_name, plain, &upper, &form, NULL) == 0 &&
              form == &volume->naming.forms[0];
    volume_unlock_shared(volume);
    return current;
}

bool
name_is_current(const struct volume *volume, struct bytes lower)
{
    return lower.len <= VOLUME_NAME_MAX && is_current(volume, lower, true);
}

bool
target_is_current(const struct volume *volume, struct bytes lower)
{
    return lower.len <= VOLUME_TARGET_MAX && is_current(volume, lower, false);
}

static int
target_in(const struct name_form *form, struct bytes upper, struct buf *lower,
          struct coffer_error *err)
{
    size_t max = lower->max;
    int rc;

    if (form->key == NULL) {
        if (upper.len > VOLUME_TARGET_MAX)
            return volume_fail(err, -ENAMETOOLONG, "a link target of %zu bytes", upper.len);
        buf_bytes(lower, upper);
        return buf_status(lower, err) == COFFER_OK ? 0 : -ENOMEM;
    }
    if (max > VOLUME_TARGET_MAX)
        lower->max = VOLUME_TARGET_MAX;
    rc = encode(form, upper, lower, err);
    lower->max = max;
    return rc;
}

int
target_to_lower(const struct volume *volume, struct bytes upper, struct buf *lower,
                struct coffer_error *err)
{
    int rc;

    volume_lock_shared(volume);
    rc = check_plain(volume, &volume->naming.forms[0], upper, false, err);
    if (rc == 0)
        rc = target_in(&volume->naming.forms[0], upper, lower, err);
    volume_unlock_shared(volume);
    return rc;
}

int
target_to_upper(const struct volume *volume, struct bytes lower, struct buf *upper,
                struct coffer_error *err)
{
    const struct name_form *form;
    uint8_t plain[PACKET_MAX];
    struct bytes target;
    int rc;

    if (lower.len > VOLUME_TARGET_MAX)
        return volume_fail(err, -ENAMETOOLONG, "a link target of %zu bytes", lower.len);
    volume_lock_shared(volume);
    rc = find_form(volume, lower, false, plain, &target, &form, err);
    volume_unlock_shared(volume);
    if (rc == -ENOENT) /* readlink's answer, as the kernel gives it */
        return volume_fail(err, -EINVAL, "a link target that is not under this volume's key");
    if (rc != 0)
        return rc;
    buf_bytes(upper, target);
    return buf_status(upper, err) == COFFER_OK ? 0 : -ENOMEM;
}
