/* SPDX-License-Identifier: Apache-2.0 */
/* A lower file over a file descriptor. */
#include "base/mem.h"
#include "volume/format.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define IOV_ROOM 8 /* formats pass few */

struct lower_fd {
    struct lower lower;
    int fd;
};

static int
fd_of(const struct lower *lower)
{
    return ((const struct lower_fd *)lower)->fd;
}

/* Drop `n` bytes from the front; returns how many vectors are left. */
static int
advance(struct iovec *iov, int count, size_t n)
{
    int first = 0;

    while (first < count && n >= iov[first].iov_len)
        n -= iov[first++].iov_len;
    memmove(iov, iov + first, (size_t)(count - first) * sizeof *iov);
    if (first < count) {
        iov[0].iov_base = (uint8_t *)iov[0].iov_base + n;
        iov[0].iov_len -= n;
    }
    return count - first;
}

static ssize_t
fd_read(struct lower *lower, const struct iovec *iov, int count, uint64_t at)
{
    struct iovec left[IOV_ROOM];
    ssize_t n, sum = 0;

    if (count > IOV_ROOM)
        return -EINVAL;
    memcpy(left, iov, (size_t)count * sizeof *iov);
    while (count > 0) {
        n = preadv(fd_of(lower), left, count, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        sum += n;
        at += (uint64_t)n;
        count = advance(left, count, (size_t)n);
    }
    return sum;
}

static int
fd_write(struct lower *lower, const struct iovec *iov, int count, uint64_t at, bool dsync)
{
    struct iovec left[IOV_ROOM];
    bool flag = dsync;
    ssize_t n;

    if (count > IOV_ROOM)
        return -EINVAL;
    memcpy(left, iov, (size_t)count * sizeof *iov);
    while (count > 0) {
        n = pwritev2(fd_of(lower), left, count, (off_t)at, flag ? RWF_DSYNC : 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && flag && (errno == EOPNOTSUPP || errno == ENOSYS)) {
            flag = false; /* a filesystem or kernel without the flag: flush afterwards */
            continue;
        }
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO;
        at += (uint64_t)n;
        count = advance(left, count, (size_t)n);
    }
    if (dsync && !flag && fdatasync(fd_of(lower)) != 0)
        return -errno;
    return 0;
}

static int
fd_truncate(struct lower *lower, uint64_t length)
{
    return ftruncate(fd_of(lower), (off_t)length) == 0 ? 0 : -errno;
}

static int
fd_reserve(struct lower *lower, uint64_t at, uint64_t length)
{
    int rc;

    do
        rc = fallocate(fd_of(lower), FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)length);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : -errno;
}

static int
fd_length(struct lower *lower, uint64_t *length)
{
    struct stat st;

    if (fstat(fd_of(lower), &st) != 0)
        return -errno;
    *length = (uint64_t)st.st_size;
    return 0;
}

static int
fd_sync(struct lower *lower, bool data_only)
{
    return (data_only ? fdatasync(fd_of(lower)) : fsync(fd_of(lower))) == 0 ? 0 : -errno;
}

/* Attributes, unlike data, need the rights of the file's mode at every access, even of its owner and of who has it open: a file made
 * without them, or a mode changed since, would cut an ordinary user off.  So its owner takes them for a moment, and nobody else
 * gets any. */
static bool
widen(int fd, struct stat *st)
{
    return errno == EACCES && fstat(fd, st) == 0 && st->st_uid == geteuid() &&
           (st->st_mode & 0600) != 0600 && fchmod(fd, (st->st_mode & 07777) | 0600) == 0;
}

static void
narrow(int fd, const struct stat *st)
{
    int error = errno;

    (void)!fchmod(fd, st->st_mode & 07777);
    errno = error;
}

static ssize_t
fd_xattr_get(struct lower *lower, const char *name, void *value, size_t max)
{
    ssize_t n = fgetxattr(fd_of(lower), name, value, max);
    struct stat st;

    if (n < 0 && widen(fd_of(lower), &st)) {
        n = fgetxattr(fd_of(lower), name, value, max);
        narrow(fd_of(lower), &st);
    }
    if (n >= 0)
        return n;
    return errno == EOPNOTSUPP ? -ENODATA : -errno; /* no attributes there, so none of this name */
}

static int
fd_xattr_set(struct lower *lower, const char *name, const void *value, size_t length)
{
    int rc = fsetxattr(fd_of(lower), name, value, length, 0);
    struct stat st;

    if (rc != 0 && widen(fd_of(lower), &st)) {
        rc = fsetxattr(fd_of(lower), name, value, length, 0);
        narrow(fd_of(lower), &st);
    }
    return rc == 0 ? 0 : -errno;
}

static void
fd_close(struct lower *lower)
{
    (void)close(fd_of(lower));
    mem_free(lower);
}

int
lower_fd_open(int fd, struct lower **out, struct coffer_error *err)
{
    static const struct lower_ops OPS = {
        .read = fd_read,
        .write = fd_write,
        .truncate = fd_truncate,
        .reserve = fd_reserve,
        .length = fd_length,
        .sync = fd_sync,
        .xattr_get = fd_xattr_get,
        .xattr_set = fd_xattr_set,
        .close = fd_close,
    };
    struct lower_fd *made = mem_alloc(sizeof *made);

    *out = NULL;
    if (made == NULL)
        return volume_fail(err, -ENOMEM, "out of memory");
    made->lower.ops = &OPS;
    made->fd = fd;
    *out = &made->lower;
    return 0;
}
