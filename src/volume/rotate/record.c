/* SPDX-License-Identifier: Apache-2.0 */
/* A record in the top folder: there whole, or not at all; with a checksum at its end. */
#include "volume/rotate/internal.h"

#include "base/mem.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { RECORD_MAX = 64 << 20 };

static int
failed(struct coffer_error *err, const char *name, const char *what)
{
    int status = errno == ENOSPC || errno == EDQUOT ? COFFER_E_LIMIT : COFFER_E_IO;

    return error_set(err, status, "%s: cannot %s: %s", name, what, strerror(errno));
}

static int
write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

int
kept_write(int root, const char *name, struct buf *content, struct coffer_error *err)
{
    char fresh[64];
    uint8_t sum[SHA256_LEN];
    int fd, rc;

    rc = buf_status(content, err);
    if (rc == COFFER_OK)
        rc = sha256(buf_view(content), sum, err);
    if (rc != COFFER_OK)
        return rc;
    buf_add(content, sum, sizeof sum);
    rc = buf_status(content, err);
    if (rc != COFFER_OK)
        return rc;
    (void)snprintf(fresh, sizeof fresh, "%s.new", name);
    (void)unlinkat(root, fresh, 0);
    fd = openat(root, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed(err, name, "make it");
    if (write_all(fd, content->ptr, content->len) != 0 || fsync(fd) != 0 ||
        renameat(root, fresh, root, name) != 0 || fsync(root) != 0) {
        rc = failed(err, name, "write it");
        (void)unlinkat(root, fresh, 0);
    }
    close(fd);
    return rc;
}

static int
read_all(int fd, const char *name, struct buf *content, struct coffer_error *err)
{
    uint8_t room[16384];
    ssize_t n;

    while ((n = read(fd, room, sizeof room)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return failed(err, name, "read it");
        buf_add(content, room, (size_t)n);
    }
    return buf_status(content, err);
}

int
kept_read(int root, const char *name, const char *magic, struct buf *content, struct cursor *c,
          struct coffer_error *err)
{
    uint8_t sum[SHA256_LEN];
    size_t len = strlen(magic);
    int fd = openat(root, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), rc;

    buf_init(content, RECORD_MAX);
    if (fd < 0)
        return errno == ENOENT ? error_set(err, COFFER_E_NOTFOUND, "%s: there is none", name)
                               : failed(err, name, "open it");
    rc = read_all(fd, name, content, err);
    close(fd);
    if (rc == COFFER_OK && content->len >= SHA256_LEN)
        rc = sha256(bytes_of(content->ptr, content->len - SHA256_LEN), sum, err);
    if (rc != COFFER_OK)
        return rc;
    if (content->len < len + SHA256_LEN || memcmp(content->ptr, magic, len) != 0 ||
        memcmp(content->ptr + content->len - SHA256_LEN, sum, SHA256_LEN) != 0)
        return error_set(err, COFFER_E_FORMAT,
                         "%s is damaged: it tells how an interrupted change of keys is undone.  "
                         "Check the volume, and move the record away",
                         name);
    *c = cursor_of(bytes_of(content->ptr + len, content->len - len - SHA256_LEN));
    return COFFER_OK;
}

int
kept_remove(int root, const char *name, struct coffer_error *err)
{
    if (unlinkat(root, name, 0) != 0 && errno != ENOENT)
        return failed(err, name, "remove it");
    return COFFER_OK;
}
