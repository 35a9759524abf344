/* SPDX-License-Identifier: Apache-2.0 */
/* A volume: its keys, and the table by which the filesystem core reaches this format. */
#include "volume/ecryptfs/internal.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>

static void
keys_free(struct fekek *keys, size_t count)
{
    for (size_t i = 0; keys != NULL && i < count; i++)
        fekek_wipe(&keys[i]);
    mem_free(keys);
}

static int
keys_copy(const struct volume_key *keys, size_t count, struct fekek **out, struct coffer_error *err)
{
    struct fekek *made;
    int rc = 0;

    *out = NULL;
    if (count == 0)
        return volume_fail(err, -EINVAL, "a volume needs a key");
    made = mem_array(count, sizeof *made);
    if (made == NULL)
        return volume_fail(err, -ENOMEM, "out of memory");
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = fekek_copy(&keys[i], &made[i], err);
    if (rc != 0) {
        keys_free(made, count);
        return rc;
    }
    *out = made;
    return 0;
}

/* The filler of names is MD5 of the whole FNEK, then MD5 of that; no zero may be in it, since a zero
 * ends it. */
static int
make_filler(struct volume *volume, struct coffer_error *err)
{
    uint8_t *filler = volume->name_filler;
    int rc = md5(fekek_key(&volume->name_key, FEKEK_LEN), filler, err);

    if (rc == COFFER_OK)
        rc = md5(bytes_of(filler, MD5_LEN), filler + MD5_LEN, err);
    for (size_t i = 0; i < NAME_FILLER_MAX; i++)
        if (filler[i] == 0)
            filler[i] = 0x42;
    return errno_of(rc);
}

static bool
key_bits_known(unsigned bits)
{
    return bits == 128 || bits == 192 || bits == 256;
}

/* Resolve and check the ciphers of files and names. */
static int
take_options(struct volume *volume, const struct volume_options *options, struct coffer_error *err)
{
    unsigned name_bits = options->name_key_bits > 0 ? options->name_key_bits : options->key_bits;

    volume->options = *options;
    volume->options.name_cipher = NULL; /* the caller's */
    if (!key_bits_known(options->key_bits) || !key_bits_known(name_bits))
        return volume_fail(err, -EINVAL, "a key of %u bits: AES takes 128, 192 or 256",
                           key_bits_known(options->key_bits) ? name_bits : options->key_bits);
    volume->name_cipher = cipher_of_code(cipher_code_aes(name_bits));
    volume->name_key_len = name_bits / 8;
    if (options->name_cipher != NULL)
        volume->name_cipher = cipher_of_text(options->name_cipher, &volume->name_key_len);
    if (volume->name_cipher == NULL)
        return volume_fail(err, -EINVAL, "names under %s: eCryptfs has no such cipher",
                           options->name_cipher);
    return 0;
}

static void
volume_close(struct volume *volume)
{
    if (volume == NULL)
        return;
    keys_free(volume->keys, volume->key_count);
    fekek_wipe(&volume->name_key);
    pthread_rwlock_destroy(&volume->lock);
    wipe(volume, sizeof *volume);
    mem_free(volume);
}

static int
volume_open(const struct volume_options *options, const struct volume_key *keys, size_t count,
            const struct volume_key *name_key, struct volume **out, struct coffer_error *err)
{
    struct volume *made;
    int rc;

    *out = NULL;
    made = mem_alloc(sizeof *made);
    if (made == NULL)
        return volume_fail(err, -ENOMEM, "out of memory");
    if (pthread_rwlock_init(&made->lock, NULL) != 0) {
        mem_free(made);
        return volume_fail(err, -ENOMEM, "out of memory");
    }
    rc = take_options(made, options, err);
    if (rc == 0)
        rc = keys_copy(keys, count, &made->keys, err);
    if (rc == 0) {
        made->key_count = count;
        rc = fekek_copy(name_key != NULL ? name_key : &keys[0], &made->name_key, err);
    }
    if (rc == 0)
        rc = make_filler(made, err);
    if (rc != 0) {
        volume_close(made);
        return rc;
    }
    *out = made;
    return 0;
}

static int
keys_change(struct volume *volume, const struct volume_key *keys, size_t count,
            struct coffer_error *err)
{
    struct fekek *fresh, *old;
    size_t old_count;
    int rc = keys_copy(keys, count, &fresh, err);

    if (rc != 0)
        return rc;
    pthread_rwlock_wrlock(&volume->lock);
    old = volume->keys;
    old_count = volume->key_count;
    volume->keys = fresh;
    volume->key_count = count;
    pthread_rwlock_unlock(&volume->lock);
    keys_free(old, old_count);
    return 0;
}

/* Under the lock. */
static const struct fekek *
find_key(const struct volume *volume, struct bytes signature)
{
    for (size_t i = 0; i < volume->key_count; i++)
        if (bytes_equal(signature, bytes_of(volume->keys[i].signature, SIGNATURE_LEN)))
            return &volume->keys[i];
    return NULL;
}

int
volume_find_fek(struct volume *volume, struct bytes raw, const struct header *header,
                struct secret **fek, struct coffer_error *err)
{
    struct cursor c = header_packets(raw, header);
    const struct fekek *key = NULL;
    char name[2 * SIGNATURE_LEN + 1] = "";
    struct packet packet;
    int rc = 0;

    *fek = NULL;
    pthread_rwlock_rdlock(&volume->lock);
    do {
        rc = packet_next(&c, &packet, err);
        if (rc != 0 || packet.kind != PACKET_PASSPHRASE)
            continue;
        if (name[0] == '\0')
            hex_encode(packet.signature, name);
        key = find_key(volume, packet.signature);
    } while (rc == 0 && key == NULL && packet.kind != PACKET_END);
    if (rc == 0 && key == NULL)
        rc = volume_fail(err, -EKEYREJECTED, "sealed under key %s%s, which was not given", name,
                         header->key_count > 1 ? " and others" : "");
    if (rc == 0)
        rc = fek_unwrap(key, header->cipher, header->key_len, packet.wrapped, fek, err);
    pthread_rwlock_unlock(&volume->lock);
    return rc;
}

int
volume_seal_header(struct volume *volume, struct header *header, struct bytes fek, struct buf *out,
                   struct coffer_error *err)
{
    uint8_t wrapped[WRAPPED_FEK_MAX];
    const struct fekek *key;
    int rc;

    pthread_rwlock_rdlock(&volume->lock);
    key = &volume->keys[0];
    rc = fek_wrap(key, header->cipher, fek, wrapped, err);
    if (rc == 0) {
        struct packet packet = {
            .kind = PACKET_PASSPHRASE,
            .cipher_code = header->cipher->code,
            .salt = fekek_salt(key),
            .wrapped = bytes_of(wrapped, cipher_wrapped_len(header->cipher, fek.len)),
            .signature = bytes_of(key->signature, SIGNATURE_LEN),
        };

        header_write(out, header, &packet);
    }
    pthread_rwlock_unlock(&volume->lock);
    if (rc == 0 && buf_status(out, err) != COFFER_OK)
        rc = -ENOMEM;
    return rc;
}

void
volume_signature(const struct volume *volume, uint8_t signature[SIGNATURE_LEN])
{
    pthread_rwlock_t *lock = (pthread_rwlock_t *)(uintptr_t)&volume->lock;

    pthread_rwlock_rdlock(lock);
    memcpy(signature, volume->keys[0].signature, SIGNATURE_LEN);
    pthread_rwlock_unlock(lock);
}

static struct lower *
file_lower(struct volume_file *file)
{
    return file->lower;
}

static uint64_t
file_size(const struct volume_file *file)
{
    return file->size;
}

static const char *const HIDDEN_XATTRS[] = {XATTR_NAME, NULL};

const struct volume_format volume_ecryptfs = {
    .name = "ecryptfs",
    .block = EXTENT_LEN,
    .key_set = key_set,
    .open = volume_open,
    .close = volume_close,
    .keys_change = keys_change,
    .hidden_xattrs = HIDDEN_XATTRS,
    .name_max = name_max,
    .name_to_lower = name_to_lower,
    .name_to_upper = name_to_upper,
    .target_to_lower = target_to_lower,
    .target_to_upper = target_to_upper,
    .file_info = file_info,
    .file_create = file_create,
    .file_open = file_open,
    .file_close = file_close,
    .file_lower = file_lower,
    .file_size = file_size,
    .file_read = file_read,
    .file_write = file_write,
    .file_truncate = file_truncate,
    .file_allocate = file_allocate,
    .file_sync = file_sync,
    .file_settle = file_settle,
    .file_rewrap = file_rewrap,
    .file_is_current = file_is_current,
    .file_check = file_check,
};
