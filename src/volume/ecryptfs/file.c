/* SPDX-License-Identifier: Apache-2.0 */
/* A file from its beginning to its end: made, opened, synced, closed.
 *
 * An open file keeps its FEK, expanded, and the place of its metadata, but not the metadata: they
 * may be wrapped anew behind its back, and it writes only the size in them. */
#include "volume/ecryptfs/internal.h"

#include "base/mem.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <string.h>

static int
use_fek(struct volume_file *file, const struct cipher *cipher, struct bytes fek,
        struct coffer_error *err)
{
    int rc = extent_root_iv(fek, file->root_iv, err);

    if (rc == 0)
        rc = errno_of(block_key_new(cipher->block, fek, &file->key, err));
    return rc;
}

static int
write_header(struct lower *lower, struct buf *header, struct coffer_error *err)
{
    static const uint8_t ZEROS[HEADER_LEN];
    struct iovec iov[2] = {{header->ptr, header->len},
                           {(void *)(uintptr_t)ZEROS, HEADER_LEN - header->len}};
    int rc = lower->ops->write(lower, iov, 2, 0, false);

    return rc == 0 ? 0 : volume_fail(err, rc, "the header cannot be written: %s", strerror(-rc));
}

static int
write_attribute(struct lower *lower, struct buf *header, struct coffer_error *err)
{
    int rc = lower->ops->xattr_set(lower, XATTR_NAME, header->ptr, header->len);

    return rc == 0 ? 0
                   : volume_fail(err, rc, "attribute %s cannot be written: %s", XATTR_NAME,
                                 strerror(-rc));
}

static int
seal_and_write(struct volume_file *file, struct secret *fek, uint32_t marker,
               struct coffer_error *err)
{
    const struct volume_options *options = &file->volume->options;
    bool names = volume_encrypts_names(file->volume);
    struct header header = {
        .marker = marker,
        .flags = (uint8_t)(FLAG_ENCRYPTED | (names ? FLAG_NAMES : 0) |
                           (options->xattr_metadata ? FLAG_XATTR : 0)),
        .extent_len = EXTENT_LEN,
        .extent_count = HEADER_LEN / EXTENT_LEN,
        .cipher = cipher_of_code(cipher_code_aes((unsigned)secret_len(fek) * 8)),
    };
    struct buf out;
    int rc;

    buf_init(&out, SECTOR_LEN);
    rc = volume_seal_header(file->volume, &header, secret_expose(fek), &out, err);
    if (rc == 0)
        rc = use_fek(file, header.cipher, secret_expose(fek), err);
    if (rc == 0)
        rc = options->xattr_metadata ? write_attribute(file->lower, &out, err)
                                     : write_header(file->lower, &out, err);
    buf_wipe(&out);
    if (rc != 0) {
        block_key_free(file->key);
        file->key = NULL;
        return rc;
    }
    file->data_at = options->xattr_metadata ? 0 : HEADER_LEN;
    __atomic_store_n(&file->place, options->xattr_metadata ? PLACE_XATTR : PLACE_HEADER,
                     __ATOMIC_RELAXED); /* a sync may run beside this */
    return 0;
}

int
file_begin_metadata(struct volume_file *file, struct coffer_error *err)
{
    struct secret *fek = NULL;
    uint32_t marker;
    int rc;

    rc = errno_of(random_secret(volume_key_bits(file->volume) / 8, &fek, err));
    if (rc == 0)
        rc = errno_of(random_nonce(&marker, sizeof marker, err));
    if (rc == 0)
        rc = seal_and_write(file, fek, marker, err);
    secret_free(fek);
    return rc;
}

static void
file_free(struct volume_file *file)
{
    block_key_free(file->key);
    wipe(file, sizeof *file);
    mem_free(file);
}

static struct volume_file *
file_new(struct volume *volume, struct lower *lower)
{
    struct volume_file *file = mem_alloc(sizeof *file);

    if (file != NULL) {
        file->volume = volume;
        file->lower = lower;
        file->place = PLACE_NONE;
    }
    return file;
}

int
file_create(struct volume *volume, struct lower *lower, struct volume_file **out,
            struct coffer_error *err)
{
    struct volume_file *file = file_new(volume, lower);
    int rc;

    *out = NULL;
    if (file == NULL)
        return volume_fail(err, -ENOMEM, "out of memory");
    rc = file_begin_metadata(file, err);
    if (rc != 0) {
        file_free(file);
        return rc;
    }
    *out = file;
    return 0;
}

/* A size that the lower file does not reach: cut off, or growth lost in a crash.  The latter is settled for
 * good, if the lower file can be written: the next mount does not know of the crash. */
static int
check_length(struct volume_file *file, const struct header *header, struct coffer_error *err)
{
    uint64_t held;
    int rc = metadata_held_size(file->lower, header, &held, err);

    if (rc != 0)
        return rc;
    file->size = header->size;
    if (held == header->size)
        return 0;
    if (!file->volume->options.after_crash)
        return volume_fail(err, -EBADMSG,
                           "its size is %llu bytes, but the lower file holds %llu: it was cut off",
                           (unsigned long long)header->size, (unsigned long long)held);
    file->size = held;
    rc = metadata_set_size(file->lower, file->place, held, err);
    return rc == -EROFS || rc == -EBADF ? 0 : rc;
}

static int
open_sealed(struct volume_file *file, const struct metadata *metadata, struct coffer_error *err)
{
    const struct header *header = &metadata->header;
    struct secret *fek = NULL;
    int rc;

    rc = volume_find_fek(file->volume, bytes_of(metadata->raw, metadata->raw_len), header, &fek,
                         err);
    if (rc == 0)
        rc = use_fek(file, header->cipher, secret_expose(fek), err);
    secret_free(fek);
    file->data_at = header->data_at;
    file->read_only = header->cipher->block != BLOCK_AES;
    return rc == 0 ? check_length(file, header, err) : rc;
}

static int
open_plain(struct volume_file *file, struct coffer_error *err)
{
    int rc;

    if (!file->volume->options.plain_passthrough)
        return volume_fail(err, -EBADMSG, "not an eCryptfs file: no marker, no attribute");
    file->read_only = true;
    rc = file->lower->ops->length(file->lower, &file->size);
    return rc == 0 ? 0 : volume_fail(err, rc, "the lower file's length cannot be had");
}

int
file_open(struct volume *volume, struct lower *lower, struct volume_file **out,
          struct coffer_error *err)
{
    struct metadata metadata;
    struct volume_file *file;
    int rc;

    *out = NULL;
    rc = metadata_read(lower, &metadata, err);
    if (rc != 0)
        return rc;
    file = file_new(volume, lower);
    if (file == NULL)
        return volume_fail(err, -ENOMEM, "out of memory");
    file->place = metadata.place;
    if (file->place == PLACE_PLAIN)
        rc = open_plain(file, err);
    else if (file->place != PLACE_NONE)
        rc = open_sealed(file, &metadata, err);
    if (rc != 0) {
        file_free(file);
        return rc;
    }
    *out = file;
    return 0;
}

void
file_close(struct volume_file *file)
{
    if (file == NULL)
        return;
    file->lower->ops->close(file->lower);
    file_free(file);
}

int
file_sync(struct volume_file *file, bool data_only, struct coffer_error *err)
{
    /* With an attribute the size is not in the file's data, and fdatasync may leave it out. */
    enum place place = __atomic_load_n(&file->place, __ATOMIC_RELAXED);
    int rc = file->lower->ops->sync(file->lower, data_only && place != PLACE_XATTR);

    return rc == 0 ? 0 : volume_fail(err, rc, "the lower file cannot be synced: %s", strerror(-rc));
}
