/* SPDX-License-Identifier: Apache-2.0 */
/* Reading: whole extents go straight into the caller's memory and are opened there; only the first
 * and last, where he wants a part, pass through this thread's scratch.  One lower read and one call of
 * the cipher for each batch. */
#include "volume/ecryptfs/internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* A batch of a read: extents [first, first + count), which are in up to three pieces of memory. */
struct batch {
    struct volume_file *file;
    struct scratch *scratch;
    uint64_t first;
    size_t count;
    uint8_t *places[BATCH_EXTENTS];
    struct iovec iov[3];
    int iov_count;
};

static void
add_place(struct batch *b, uint8_t *place)
{
    struct iovec *last = b->iov_count > 0 ? &b->iov[b->iov_count - 1] : NULL;

    b->places[b->count++] = place;
    if (last != NULL && (uint8_t *)last->iov_base + last->iov_len == place)
        last->iov_len += EXTENT_LEN;
    else
        b->iov[b->iov_count++] = (struct iovec){place, EXTENT_LEN};
}

static int
fetch(struct batch *b, struct coffer_error *err)
{
    struct volume_file *file = b->file;
    struct lower *lower = file->lower;
    ssize_t n =
        lower->ops->read(lower, b->iov, b->iov_count, file->data_at + b->first * EXTENT_LEN);

    if (n < 0)
        return volume_fail(err, (int)n, "the lower file cannot be read at extent %llu: %s",
                           (unsigned long long)b->first, strerror((int)-n));
    if ((size_t)n < b->count * EXTENT_LEN)
        return volume_fail(err, -EBADMSG, "the lower file ends within extent %llu: it was cut off",
                           (unsigned long long)b->first + (size_t)n / EXTENT_LEN);
    return 0;
}

/* Open what was fetched.  No ciphertext is zeros: such an extent was never written, or punched out. */
static int
open_extents(struct batch *b, struct coffer_error *err)
{
    struct block_unit *units = b->scratch->units;
    size_t count = 0;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < b->count; i++) {
        if (!extent_is_zero(b->places[i])) {
            units[count].in = units[count].out = b->places[i];
            rc = extent_iv(b->file->root_iv, b->first + i, units[count].iv, err);
            count++;
        } else if (!b->file->volume->options.after_crash) {
            rc = volume_fail(err, -EBADMSG, "extent %llu is a hole: it was punched out, or lost",
                             (unsigned long long)b->first + i);
        } /* else it stays zeros */
    }
    if (rc == 0 && count > 0)
        rc = errno_of(block_cbc(b->file->key, false, units, count, EXTENT_LEN, err));
    return rc;
}

int
file_read_extent(struct volume_file *file, uint64_t n, uint8_t *extent, struct coffer_error *err)
{
    struct batch b = {.file = file, .scratch = scratch_get(), .first = n};
    int rc;

    if (b.scratch == NULL)
        return volume_fail(err, -ENOMEM, "out of memory");
    add_place(&b, extent);
    rc = fetch(&b, err);
    return rc == 0 ? open_extents(&b, err) : rc;
}

/* Read upper [at, end) to `out`, which has room up to `room_end`. */
static int
read_batch(struct batch *b, uint8_t *out, uint64_t at, uint64_t end, uint64_t room_end,
           struct coffer_error *err)
{
    uint64_t last = (end - 1) / EXTENT_LEN;
    int rc;

    b->first = at / EXTENT_LEN;
    b->count = 0;
    b->iov_count = 0;
    for (uint64_t n = b->first; n <= last; n++) {
        uint64_t start = n * EXTENT_LEN;
        bool whole = start >= at && start + EXTENT_LEN <= room_end;

        add_place(b, whole ? out + (start - at) : b->scratch->edges[n != b->first]);
    }
    rc = fetch(b, err);
    if (rc == 0)
        rc = open_extents(b, err);
    for (size_t i = 0; rc == 0 && i < b->count; i++) {
        uint64_t start = (b->first + i) * EXTENT_LEN;
        uint64_t from = start > at ? start : at;
        uint64_t to = start + EXTENT_LEN < end ? start + EXTENT_LEN : end;

        if (b->places[i] == b->scratch->edges[0] || b->places[i] == b->scratch->edges[1])
            memcpy(out + (from - at), b->places[i] + (from - start), to - from);
    }
    return rc;
}

static ssize_t
read_plain(struct volume_file *file, void *out, size_t length, uint64_t at,
           struct coffer_error *err)
{
    struct iovec iov = {out, length};
    ssize_t n = file->lower->ops->read(file->lower, &iov, 1, at);

    return n >= 0
               ? n
               : volume_fail(err, (int)n, "the lower file cannot be read: %s", strerror((int)-n));
}

ssize_t
file_read(struct volume_file *file, void *out, size_t length, uint64_t at, struct coffer_error *err)
{
    struct batch b = {.file = file, .scratch = scratch_get()};
    uint64_t end, room_end, next, batch_end;
    int rc;

    if (at >= file->size || length == 0)
        return 0;
    if (file->place == PLACE_PLAIN)
        return read_plain(file, out, length, at, err);
    if (b.scratch == NULL)
        return volume_fail(err, -ENOMEM, "out of memory");
    if (length > SSIZE_MAX - EXTENT_LEN)
        length = SSIZE_MAX - EXTENT_LEN;
    room_end = at + length;
    end = room_end < file->size ? room_end : file->size;
    for (next = at; next < end; next = batch_end) {
        batch_end = (next / EXTENT_LEN + BATCH_EXTENTS) * EXTENT_LEN;
        if (batch_end > end)
            batch_end = end;
        rc = read_batch(&b, (uint8_t *)out + (next - at), next, batch_end, room_end, err);
        if (rc != 0)
            return rc;
    }
    return (ssize_t)(end - at);
}
