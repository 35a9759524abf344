/* SPDX-License-Identifier: Apache-2.0 */
#include "support/plain_format.h"

#include "base/mem.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>

enum { HEADER = 16, CHUNK = 65536 };

struct volume {
    uint8_t key, old;
};

struct volume_file {
    struct lower *lower;
    uint64_t size;
    uint8_t key;
};

struct volume *
plain_volume(uint8_t key, uint8_t old)
{
    struct volume *volume = mem_alloc(sizeof *volume);

    if (volume != NULL)
        *volume = (struct volume){key, old};
    return volume;
}

static void
plain_close(struct volume *volume)
{
    mem_free(volume);
}

/* ---- names ---- */

static size_t
plain_name_max(const struct volume *volume)
{
    return VOLUME_NAME_MAX - 2;
}

static int
plain_to_lower(const struct volume *volume, struct bytes upper, char lower[VOLUME_NAME_MAX + 1],
               struct coffer_error *err)
{
    if (upper.len > VOLUME_NAME_MAX - 2)
        return -ENAMETOOLONG;
    memcpy(lower, "p.", 2);
    memcpy(lower + 2, upper.ptr, upper.len);
    lower[2 + upper.len] = 0;
    return 0;
}

static int
plain_to_upper(const struct volume *volume, struct bytes lower, char upper[VOLUME_NAME_MAX + 1],
               struct coffer_error *err)
{
    if (lower.len <= 2 || memcmp(lower.ptr, "p.", 2) != 0)
        return -ENOENT;
    memcpy(upper, lower.ptr + 2, lower.len - 2);
    upper[lower.len - 2] = 0;
    return 0;
}

static int
plain_target(const struct volume *volume, struct bytes from, struct buf *to,
             struct coffer_error *err)
{
    for (size_t i = from.len; i > 0; i--)
        buf_u8(to, from.ptr[i - 1]);
    return to->failed ? -ENAMETOOLONG : 0;
}

static bool
plain_mixed(const struct volume *volume)
{
    return false;
}

static int
plain_former(const struct volume *volume, unsigned i, struct bytes upper,
             char lower[VOLUME_NAME_MAX + 1], struct coffer_error *err)
{
    return -ENOENT;
}

static bool
plain_name_current(const struct volume *volume, struct bytes lower)
{
    return lower.len > 2 && memcmp(lower.ptr, "p.", 2) == 0;
}

static bool
plain_target_current(const struct volume *volume, struct bytes lower)
{
    return true;
}

/* ---- the header ---- */

static ssize_t
lower_read(struct lower *lower, void *data, size_t len, uint64_t at)
{
    return lower->ops->read(lower, &(struct iovec){data, len}, 1, at);
}

static int
lower_write(struct lower *lower, void *data, size_t len, uint64_t at, bool dsync)
{
    return lower->ops->write(lower, &(struct iovec){data, len}, 1, at, dsync);
}

static int
header_write(struct volume_file *file, bool dsync)
{
    uint8_t header[HEADER] = "PLAIN";

    header[5] = file->key;
    put_be64(header + 8, file->size);
    return lower_write(file->lower, header, HEADER, 0, dsync);
}

static int
header_read(struct lower *lower, uint8_t *key, uint64_t *size, struct coffer_error *err)
{
    uint8_t header[HEADER];
    ssize_t got = lower_read(lower, header, HEADER, 0);

    if (got < 0)
        return (int)got;
    if (got < HEADER || memcmp(header, "PLAIN", 5) != 0 || get_be64(header + 8) > INT64_MAX)
        return volume_fail(err, -EBADMSG, "no header");
    *key = header[5];
    *size = get_be64(header + 8);
    return 0;
}

static int
plain_info(const struct volume *volume, struct lower *lower, struct volume_file_info *info,
           struct coffer_error *err)
{
    uint64_t length = 0;
    uint8_t key;
    int rc = lower->ops->length(lower, &length);

    memset(info, 0, sizeof *info);
    if (rc != 0)
        return rc;
    if (length == 0) {
        info->empty = true;
        return 0;
    }
    return header_read(lower, &key, &info->size, err);
}

/* ---- files ---- */

static int
plain_create(struct volume *volume, struct lower *lower, struct volume_file **out,
             struct coffer_error *err)
{
    struct volume_file *file = mem_alloc(sizeof *file);
    int rc;

    *out = NULL;
    if (file == NULL)
        return -ENOMEM;
    *file = (struct volume_file){lower, 0, volume->key};
    rc = header_write(file, false);
    if (rc != 0) {
        mem_free(file);
        return rc;
    }
    *out = file;
    return 0;
}

static int
plain_open(struct volume *volume, struct lower *lower, struct volume_file **out,
           struct coffer_error *err)
{
    struct volume_file *file;
    uint64_t size = 0;
    uint8_t key = 0;
    int rc = header_read(lower, &key, &size, err);

    *out = NULL;
    if (rc != 0)
        return rc;
    if (key != volume->key && key != volume->old)
        return volume_fail(err, -EKEYREJECTED, "key byte %u", key);
    file = mem_alloc(sizeof *file);
    if (file == NULL)
        return -ENOMEM;
    *file = (struct volume_file){lower, size, key};
    *out = file;
    return 0;
}

static void
plain_file_close(struct volume_file *file)
{
    file->lower->ops->close(file->lower);
    mem_free(file);
}

static struct lower *
plain_lower(struct volume_file *file)
{
    return file->lower;
}

static uint64_t
plain_size(const struct volume_file *file)
{
    return file->size;
}

static void
cross(uint8_t *data, size_t len, uint8_t key)
{
    for (size_t i = 0; i < len; i++)
        data[i] ^= key;
}

static ssize_t
plain_read(struct volume_file *file, void *out, size_t length, uint64_t at,
           struct coffer_error *err)
{
    ssize_t got;

    if (at >= file->size)
        return 0;
    if (length > file->size - at)
        length = (size_t)(file->size - at);
    got = lower_read(file->lower, out, length, HEADER + at);
    if (got >= 0 && (size_t)got < length)
        return volume_fail(err, -EBADMSG, "the lower file ends before the size in its header");
    if (got > 0)
        cross(out, (size_t)got, file->key);
    return got;
}

/* `data` NULL: zeros. */
static int
put(struct volume_file *file, const uint8_t *data, uint64_t length, uint64_t at, bool dsync)
{
    uint8_t chunk[CHUNK];
    int rc = 0;

    while (length > 0 && rc == 0) {
        size_t n = length < CHUNK ? (size_t)length : CHUNK;

        if (data != NULL)
            memcpy(chunk, data, n);
        else
            memset(chunk, 0, n);
        cross(chunk, n, file->key);
        rc = lower_write(file->lower, chunk, n, HEADER + at, dsync);
        data = data != NULL ? data + n : NULL;
        at += n;
        length -= n;
    }
    return rc;
}

static int
grow(struct volume_file *file, uint64_t size, bool dsync)
{
    file->size = size;
    return header_write(file, dsync);
}

static int
plain_write(struct volume_file *file, const void *data, size_t length, uint64_t at, unsigned flags,
            struct coffer_error *err)
{
    bool dsync = (flags & VOLUME_WRITE_DSYNC) != 0;
    int rc = at > file->size ? put(file, NULL, at - file->size, file->size, dsync) : 0;

    if (rc == 0)
        rc = put(file, data, length, at, dsync);
    return rc == 0 && at + length > file->size ? grow(file, at + length, dsync) : rc;
}

static int
plain_truncate(struct volume_file *file, uint64_t size, struct coffer_error *err)
{
    int rc = size > file->size ? put(file, NULL, size - file->size, file->size, false) : 0;

    if (rc == 0)
        rc = grow(file, size, false);
    return rc == 0 ? file->lower->ops->truncate(file->lower, HEADER + size) : rc;
}

static int
plain_allocate(struct volume_file *file, int mode, uint64_t at, uint64_t length,
               struct coffer_error *err)
{
    uint64_t end = at + length;

    if (mode == 0)
        return end > file->size ? plain_truncate(file, end, err) : 0;
    if (mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
        return at < file->size
                   ? put(file, NULL, (end < file->size ? end : file->size) - at, at, false)
                   : 0;
    return -EOPNOTSUPP;
}

static int
plain_sync(struct volume_file *file, bool data_only, struct coffer_error *err)
{
    char first[64];

    /* A disk that fails, at a test's wish. */
    if (plain_read(file, first, sizeof first, 0, NULL) >= 6 && memcmp(first, "NOSYNC", 6) == 0)
        return -EIO;
    return file->lower->ops->sync(file->lower, data_only);
}

const struct volume_format plain_format = {
    .name = "plain",
    .block = 4096,
    .close = plain_close,
    .hidden_xattrs = (const char *const[]){"user.plain", NULL},
    .name_max = plain_name_max,
    .name_to_lower = plain_to_lower,
    .name_to_upper = plain_to_upper,
    .target_to_lower = plain_target,
    .target_to_upper = plain_target,
    .names_mixed = plain_mixed,
    .name_former = plain_former,
    .name_is_current = plain_name_current,
    .target_is_current = plain_target_current,
    .file_info = plain_info,
    .file_create = plain_create,
    .file_open = plain_open,
    .file_close = plain_file_close,
    .file_lower = plain_lower,
    .file_size = plain_size,
    .file_read = plain_read,
    .file_write = plain_write,
    .file_truncate = plain_truncate,
    .file_allocate = plain_allocate,
    .file_sync = plain_sync,
};
