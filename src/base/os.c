/* SPDX-License-Identifier: Apache-2.0 */
/* The real operating system: POSIX files and clocks, getrandom(2). */
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int
io_error(struct coffer_error *err, const char *doing, const char *path)
{
    int status = errno == ENOENT   ? COFFER_E_NOTFOUND
                 : errno == EEXIST ? COFFER_E_EXISTS
                                   : COFFER_E_IO;

    return error_set(err, status, "cannot %s %s: %s", doing, path, strerror(errno));
}

static int
real_read_file(const struct os *os, const char *path, size_t max, struct buf *out,
               struct coffer_error *err)
{
    uint8_t chunk[16384];
    struct stat st;
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = COFFER_OK;

    if (fd < 0)
        return io_error(err, "open", path);
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        close(fd);
        errno = EISDIR;
        return io_error(err, "read", path);
    }
    while ((n = read(fd, chunk, sizeof chunk)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            rc = io_error(err, "read", path);
            break;
        }
        if (out->len + (size_t)n > max) {
            rc = error_set(err, COFFER_E_LIMIT, "%s is larger than the %zu bytes it may have", path,
                           max);
            break;
        }
        buf_add(out, chunk, (size_t)n);
    }
    explicit_bzero(chunk, sizeof chunk); /* key files come this way too */
    close(fd);
    return rc != COFFER_OK ? rc : buf_status(out, err);
}

/* What may hold a secret: a regular file or a pipe that nobody else can read.  Asked of the open
 * file, not of its name, so that it cannot be exchanged in between. */
static int
check_secret_file(int fd, const char *path, struct coffer_error *err)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return io_error(err, "look at", path);
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
        return error_set(err, COFFER_E_REFUSED,
                         "%s is neither a file nor a pipe: no secret is read from it", path);
    if ((st.st_mode & (S_IRGRP | S_IROTH)) != 0)
        return error_set(err, COFFER_E_REFUSED,
                         "%s can be read by others (mode %04o): chmod 600 it, and consider its "
                         "content known to them",
                         path, (unsigned)(st.st_mode & 07777));
    return COFFER_OK;
}

static int
real_read_secret(const struct os *os, const char *path, size_t max, struct secret **out,
                 struct coffer_error *err)
{
    struct secret *room = NULL;
    size_t len = 0;
    ssize_t n;
    int fd, rc;

    *out = NULL;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return io_error(err, "open", path);
    rc = check_secret_file(fd, path, err);
    if (rc != COFFER_OK)
        goto out;
    rc = secret_new(max + 1, &room, err); /* one more, to notice a longer file */
    if (rc != COFFER_OK)
        goto out;
    while (len <= max && (n = read(fd, secret_expose_mut(room) + len, max + 1 - len)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            rc = io_error(err, "read", path);
            goto out;
        }
        len += (size_t)n;
    }
    if (len > max)
        rc = error_set(err, COFFER_E_LIMIT, "%s is larger than the %zu bytes it may have", path,
                       max);
    else if (len == 0)
        rc = error_set(err, COFFER_E_FORMAT, "%s is empty", path);
    else
        rc = secret_copy(bytes_of(secret_expose(room).ptr, len), out, err);

out:
    secret_free(room);
    close(fd);
    return rc;
}

static int
write_all(int fd, struct bytes data)
{
    while (data.len > 0) {
        ssize_t n = write(fd, data.ptr, data.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data.ptr += n;
        data.len -= (size_t)n;
    }
    return 0;
}

/* After a rename or an unlink, only the folder's own fsync makes it last. */
static int
sync_folder_of(const char *path, struct coffer_error *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int fd, rc = COFFER_OK;

    if (slash == NULL)
        snprintf(folder, sizeof folder, ".");
    else
        snprintf(folder, sizeof folder, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return io_error(err, "open folder", folder);
    if (fsync(fd) != 0 && errno != EINVAL)
        rc = io_error(err, "sync folder", folder);
    close(fd);
    return rc;
}

static int
real_write_file(const struct os *os, const char *path, struct bytes data, unsigned mode,
                bool exclusive, struct coffer_error *err)
{
    char temporary[PATH_MAX];
    int fd, rc = COFFER_OK;

    if (snprintf(temporary, sizeof temporary, "%s.tmp.%ld", path, (long)getpid()) >=
        (int)sizeof temporary)
        return error_set(err, COFFER_E_LIMIT, "the path %.200s… is too long", path);
    (void)unlink(temporary); /* left by a crashed process that had our pid */
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode & 0777);
    if (fd < 0)
        return io_error(err, "create", temporary);
    if (fchmod(fd, mode & 0777) != 0 || write_all(fd, data) != 0 || fsync(fd) != 0)
        rc = io_error(err, "write", temporary);
    if (close(fd) != 0 && rc == COFFER_OK)
        rc = io_error(err, "close", temporary);
    if (rc == COFFER_OK && exclusive && link(temporary, path) != 0)
        rc = io_error(err, "create", path);
    else if (rc == COFFER_OK && !exclusive && rename(temporary, path) != 0)
        rc = io_error(err, "replace", path);
    if (rc != COFFER_OK || exclusive)
        (void)unlink(temporary);
    return rc != COFFER_OK ? rc : sync_folder_of(path, err);
}

static int
real_append_file(const struct os *os, const char *path, struct bytes data, unsigned mode,
                 struct coffer_error *err)
{
    struct stat before;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, mode & 0777), rc = COFFER_OK;

    if (fd < 0)
        return io_error(err, "open", path);
    if (fstat(fd, &before) != 0)
        rc = io_error(err, "look at", path);
    if (rc == COFFER_OK && (write_all(fd, data) != 0 || fsync(fd) != 0)) {
        rc = io_error(err, "append to", path);
        (void)!ftruncate(fd, before.st_size); /* a full disk leaves no half of a line */
    }
    close(fd);
    if (rc == COFFER_OK && before.st_size == 0)
        rc = sync_folder_of(path, err);
    return rc;
}

static int
real_remove_file(const struct os *os, const char *path, struct coffer_error *err)
{
    if (unlink(path) != 0)
        return errno == ENOENT ? COFFER_OK : io_error(err, "remove", path);
    return sync_folder_of(path, err);
}

static int
real_rename_file(const struct os *os, const char *from, const char *to, struct coffer_error *err)
{
    if (rename(from, to) != 0)
        return io_error(err, "rename", from);
    return sync_folder_of(to, err);
}

static int
real_make_folder(const struct os *os, const char *path, unsigned mode, struct coffer_error *err)
{
    struct stat st;

    if (mkdir(path, mode & 0777) != 0) {
        if (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
            return COFFER_OK;
        return io_error(err, "create folder", path);
    }
    return sync_folder_of(path, err);
}

static int
real_stamp_file(const struct os *os, const char *path, uint64_t *stamp, struct coffer_error *err)
{
    struct stat st;
    uint64_t h = 1469598103934665603u; /* FNV-1a over what changes with a replacement or a write */
    uint64_t parts[5];
    size_t i;

    *stamp = 0;
    if (stat(path, &st) != 0)
        return errno == ENOENT ? COFFER_OK : io_error(err, "look at", path);
    parts[0] = (uint64_t)st.st_ino;
    parts[1] = (uint64_t)st.st_size;
    parts[2] = (uint64_t)st.st_mtim.tv_sec;
    parts[3] = (uint64_t)st.st_mtim.tv_nsec;
    parts[4] = (uint64_t)st.st_ctim.tv_nsec;
    for (i = 0; i < sizeof parts / sizeof *parts; i++)
        h = (h ^ parts[i]) * 1099511628211u;
    *stamp = h != 0 ? h : 1;
    return COFFER_OK;
}

static void real_sleep_ms(const struct os *os, unsigned ms);
static int64_t real_monotonic_ms(const struct os *os);

static int
real_lock(const struct os *os, const char *path, unsigned wait_ms, int *handle,
          struct coffer_error *err)
{
    int64_t end = real_monotonic_ms(os) + wait_ms;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    *handle = -1;
    if (fd < 0)
        return io_error(err, "open", path);
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            close(fd);
            return io_error(err, "lock", path);
        }
        if (real_monotonic_ms(os) >= end) {
            close(fd);
            return error_set(err, COFFER_E_CONFLICT,
                             "another process holds %s; try again when it is done", path);
        }
        real_sleep_ms(os, 10);
    }
    *handle = fd;
    return COFFER_OK;
}

static void
real_unlock(const struct os *os, int handle)
{
    if (handle >= 0)
        close(handle); /* the lock goes with its last descriptor */
}

static int64_t
clock_us(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int64_t
real_now_us(const struct os *os)
{
    return clock_us(CLOCK_REALTIME);
}

static int64_t
real_monotonic_ms(const struct os *os)
{
    return clock_us(CLOCK_BOOTTIME) /
           1000; /* counts while suspended: leases must run out then too */
}

static void
real_sleep_ms(const struct os *os, unsigned ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)nanosleep(&ts, NULL);
}

static int
real_random(const struct os *os, void *out, size_t len, struct coffer_error *err)
{
    uint8_t *p = out;

    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, COFFER_E_IO, "the kernel gives no random bytes: %s",
                             strerror(errno));
        p += n;
        len -= (size_t)n;
    }
    return COFFER_OK;
}

const struct os os_real = {
    .read_file = real_read_file,
    .read_secret = real_read_secret,
    .write_file = real_write_file,
    .append_file = real_append_file,
    .remove_file = real_remove_file,
    .rename_file = real_rename_file,
    .make_folder = real_make_folder,
    .stamp_file = real_stamp_file,
    .lock = real_lock,
    .unlock = real_unlock,
    .now_us = real_now_us,
    .monotonic_ms = real_monotonic_ms,
    .sleep_ms = real_sleep_ms,
    .random = real_random,
};
