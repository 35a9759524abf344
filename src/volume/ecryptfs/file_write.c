/* SPDX-License-Identifier: Apache-2.0 */
/* Writing: an extent is sealed whole, so a part of one is read, changed and sealed anew; many go to the
 * lower file in one write, and then the size if it grew.
 *
 * What is beyond the size within the last extent is zeros, always.  That is not trusted but made: the
 * kernel, and a crash, can leave other bytes there, and growing the file would show them. */
#include "volume/ecryptfs/internal.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>

static const uint8_t ZEROS[EXTENT_LEN];

/* New upper bytes [at, end): `data`, or zeros where it is NULL. */
struct change {
    const uint8_t *data;
    uint64_t at, end;
};

static uint64_t
within(uint64_t start, uint64_t position)
{
    return position <= start ? 0 : position - start < EXTENT_LEN ? position - start : EXTENT_LEN;
}

/* Prepare the unit that seals extent `n` into `slot`: what was there, and zeros, with the change over
 * them. */
static int
compose(struct volume_file *file, const struct change *change, uint64_t n, uint8_t *slot,
        struct block_unit *unit, struct coffer_error *err)
{
    uint64_t start = n * EXTENT_LEN;
    size_t known = within(start, file->size); /* bytes that are in the file now */
    size_t from = within(start, change->at), to = within(start, change->end);
    int rc;

    if (from == 0 && to == EXTENT_LEN) {
        unit->in = change->data != NULL ? change->data + (start - change->at) : ZEROS;
    } else {
        unit->in = slot;
        if (known > 0 && (from > 0 || to < known)) {
            rc = file_read_extent(file, n, slot, err);
            if (rc != 0)
                return rc;
        } else {
            known = 0;
        }
        memset(slot + known, 0, EXTENT_LEN - known);
        if (change->data != NULL && to > from)
            memcpy(slot + from, change->data + (start + from - change->at), to - from);
        else if (to > from)
            memset(slot + from, 0, to - from);
    }
    unit->out = slot;
    return extent_iv(file->root_iv, n, unit->iv, err);
}

/* Seal and write extents [first, first + count). */
static int
write_batch(struct volume_file *file, const struct change *change, uint64_t first, size_t count,
            bool dsync, struct coffer_error *err)
{
    struct scratch *scratch = scratch_for_writing();
    struct block_unit units[BATCH_EXTENTS]; /* reading a part uses the scratch's */
    struct iovec iov;
    int rc = 0;

    if (scratch == NULL)
        return volume_fail(err, -ENOMEM, "out of memory");
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = compose(file, change, first + i, scratch->sealed + i * EXTENT_LEN, &units[i], err);
    if (rc == 0)
        rc = errno_of(block_cbc(file->key, true, units, count, EXTENT_LEN, err));
    if (rc != 0)
        return rc;
    iov = (struct iovec){scratch->sealed, count * EXTENT_LEN};
    rc = file->lower->ops->write(file->lower, &iov, 1, file->data_at + first * EXTENT_LEN, dsync);
    if (rc != 0)
        return volume_fail(err, rc, "the lower file cannot be written at extent %llu: %s",
                           (unsigned long long)first, strerror(-rc));
    return 0;
}

/* Put the change in place, with zeros before it where it begins beyond the end, and then the size.  A
 * failure leaves the size as it was, and all bytes outside of the change. */
static int
put(struct volume_file *file, const struct change *change, bool dsync, struct coffer_error *err)
{
    bool grows = change->end > file->size;
    uint64_t first = (change->at < file->size ? change->at : file->size) / EXTENT_LEN;
    uint64_t last = (change->end - 1) / EXTENT_LEN, n;
    /* One write is made durable by itself; more by one flush after them. */
    bool one = !grows && last - first < BATCH_EXTENTS;
    size_t count;
    int rc;

    for (n = first; n <= last; n += count) {
        count = last - n + 1 < BATCH_EXTENTS ? (size_t)(last - n + 1) : BATCH_EXTENTS;
        rc = write_batch(file, change, n, count, dsync && one, err);
        if (rc != 0)
            return rc;
    }
    if (grows) {
        rc = metadata_set_size(file->lower, file->place, change->end, err);
        if (rc != 0)
            return rc;
        file->size = change->end;
    }
    return dsync && !one ? file_sync(file, true, err) : 0;
}

static int
writable(struct volume_file *file, uint64_t end, struct coffer_error *err)
{
    if (file->read_only)
        return volume_fail(err, -EROFS,
                           file->place == PLACE_PLAIN
                               ? "not an eCryptfs file: it is shown, but not written"
                               : "files of this cipher are read, but not written: re-encrypt them");
    if (end > (uint64_t)EXTENTS_MAX * EXTENT_LEN)
        return volume_fail(err, -EFBIG, "a size of %llu bytes: the format ends at %llu",
                           (unsigned long long)end, (unsigned long long)EXTENTS_MAX * EXTENT_LEN);
    return file->place == PLACE_NONE ? file_begin_metadata(file, err) : 0;
}

int
file_write(struct volume_file *file, const void *data, size_t length, uint64_t at, unsigned flags,
           struct coffer_error *err)
{
    struct change change = {data, at, at + length};
    int rc;

    if (length == 0)
        return 0;
    rc = writable(file, change.end < at ? UINT64_MAX : change.end, err);
    if (rc != 0)
        return rc;
    return put(file, &change, (flags & VOLUME_WRITE_DSYNC) != 0, err);
}

/* The size first, which is one write of eight bytes: a failure or crash after it leaves a file that was
 * shortened, with ciphertext behind its end that nobody reads. */
static int
shorten(struct volume_file *file, uint64_t size, struct coffer_error *err)
{
    struct change nothing = {.at = size, .end = size};
    uint64_t length = header_lower_len(file->data_at, size);
    int rc = metadata_set_size(file->lower, file->place, size, err);

    if (rc != 0)
        return rc;
    file->size = size;
    if (size % EXTENT_LEN != 0) /* the last extent anew, zeros behind its end */
        rc = write_batch(file, &nothing, size / EXTENT_LEN, 1, false, err);
    if (rc != 0)
        return rc;
    rc = file->lower->ops->truncate(file->lower, length);
    return rc == 0 ? 0
                   : volume_fail(err, rc, "the lower file cannot be shortened: %s", strerror(-rc));
}

int
file_truncate(struct volume_file *file, uint64_t size, struct coffer_error *err)
{
    struct change zeros = {.at = file->size, .end = size};
    int rc;

    if (size == file->size && !file->read_only)
        return 0;
    rc = writable(file, size, err);
    if (rc != 0)
        return rc;
    return size < file->size ? shorten(file, size, err) : put(file, &zeros, false, err);
}

static int
reserve(struct volume_file *file, uint64_t at, uint64_t end, struct coffer_error *err)
{
    uint64_t first = at / EXTENT_LEN * EXTENT_LEN;
    int rc = file->lower->ops->reserve(file->lower, file->data_at + first,
                                       header_lower_len(0, end) - first);

    if (rc == -EOPNOTSUPP)
        return volume_fail(err, rc, "the lower filesystem cannot reserve room");
    return rc == 0 ? 0 : volume_fail(err, rc, "no room can be reserved: %s", strerror(-rc));
}

/* The format has no holes.  Room is reserved below; growth is zeros, sealed; and of what changes bytes,
 * only zeroing a range can be done, by writing them. */
int
file_allocate(struct volume_file *file, int mode, uint64_t at, uint64_t length,
              struct coffer_error *err)
{
    bool keep = (mode & FALLOC_FL_KEEP_SIZE) != 0, zero = (mode & FALLOC_FL_ZERO_RANGE) != 0;
    struct change zeros = {.at = at, .end = at + length};
    int rc;

    if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE)) != 0)
        return volume_fail(
            err, -EOPNOTSUPP,
            "eCryptfs has no holes: a range can be neither punched, collapsed nor inserted");
    if (length == 0)
        return volume_fail(err, -EINVAL, "an empty range");
    rc = writable(file, zeros.end < at ? UINT64_MAX : zeros.end, err);
    if (rc != 0)
        return rc;
    rc = reserve(file, at, zeros.end, err);
    /* Where room cannot be reserved, writing it does as well. */
    if (rc != 0 && !(rc == -EOPNOTSUPP && (zero || zeros.end > file->size) && !keep))
        return rc;
    if (keep && zeros.end > file->size)
        zeros.end = file->size;
    if (!zero && zeros.at < file->size)
        zeros.at = file->size;
    return zeros.at < zeros.end ? put(file, &zeros, false, err) : 0;
}
