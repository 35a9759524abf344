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

static int
check_options(const struct volume_options *options, struct coffer_error *err)
{
    unsigned bits = options->key_bits;

    return bits == 128 || bits == 192 || bits == 256
               ? 0
               : volume_fail(err, -EINVAL, "a key of %u bits: AES takes 128, 192 or 256", bits);
}

void
volume_lock_shared(const struct volume *volume)
{
    pthread_rwlock_rdlock((pthread_rwlock_t *)(uintptr_t)&volume->lock);
}

void
volume_unlock_shared(const struct volume *volume)
{
    pthread_rwlock_unlock((pthread_rwlock_t *)(uintptr_t)&volume->lock);
}

unsigned
volume_key_bits(const struct volume *volume)
{
    unsigned bits;

    volume_lock_shared(volume);
    bits = volume->key_bits;
    volume_unlock_shared(volume);
    return bits;
}

bool
volume_encrypts_names(const struct volume *volume)
{
    bool yes;

    volume_lock_shared(volume);
    yes = volume->encrypt_names;
    volume_unlock_shared(volume);
    return yes;
}

static void
volume_close(struct volume *volume)
{
    if (volume == NULL)
        return;
    keys_free(volume->keys, volume->key_count);
    naming_wipe(&volume->naming);
    pthread_rwlock_destroy(&volume->lock);
    wipe(volume, sizeof *volume);
    mem_free(volume);
}

static int
volume_change(struct volume *volume, const struct volume_options *options,
              const struct volume_key *keys, size_t count, const struct volume_key *name_keys,
              size_t name_count, struct coffer_error *err)
{
    struct fekek *fresh = NULL, *old;
    struct naming naming, old_naming;
    size_t old_count;
    int rc = check_options(options, err);

    if (rc == 0)
        rc = keys_copy(keys, count, &fresh, err);
    if (rc != 0)
        return rc;
    rc = name_count > 0 ? naming_make(options, name_keys, name_count, &naming, err)
                        : naming_make(options, keys, count, &naming, err);
    if (rc != 0) {
        keys_free(fresh, count);
        return rc;
    }
    pthread_rwlock_wrlock(&volume->lock);
    old = volume->keys;
    old_count = volume->key_count;
    old_naming = volume->naming;
    volume->keys = fresh;
    volume->key_count = count;
    volume->naming = naming;
    volume->key_bits = options->key_bits;
    volume->encrypt_names = options->encrypt_names;
    pthread_rwlock_unlock(&volume->lock);
    keys_free(old, old_count);
    naming_wipe(&old_naming);
    return 0;
}

static int
volume_open(const struct volume_options *options, const struct volume_key *keys, size_t count,
            const struct volume_key *name_keys, size_t name_count, struct volume **out,
            struct coffer_error *err)
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
    made->options = *options;
    made->options.name_cipher = NULL; /* the caller's, as the next */
    memset(made->options.former_name_ciphers, 0, sizeof made->options.former_name_ciphers);
    rc = volume_change(made, options, keys, count, name_keys, name_count, err);
    if (rc != 0) {
        volume_close(made);
        return rc;
    }
    *out = made;
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
    volume_lock_shared(volume);
    memcpy(signature, volume->keys[0].signature, SIGNATURE_LEN);
    volume_unlock_shared(volume);
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
    .change = volume_change,
    .hidden_xattrs = HIDDEN_XATTRS,
    .name_max = name_max,
    .name_to_lower = name_to_lower,
    .name_to_upper = name_to_upper,
    .target_to_lower = target_to_lower,
    .target_to_upper = target_to_upper,
    .names_mixed = names_mixed,
    .name_former = name_former,
    .name_is_current = name_is_current,
    .target_is_current = target_is_current,
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
    .file_metadata = file_metadata,
    .file_put_back = file_put_back,
    .file_keys_current = file_keys_current,
    .file_is_current = file_is_current,
    .file_check = file_check,
};
