/* SPDX-License-Identifier: Apache-2.0 */
/* Extended attributes: the lower file's, without those in which the format keeps its own. */
#include "base/mem.h"
#include "volume/fuse/internal.h"

#include <errno.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/xattr.h>

bool
xattr_hidden(const struct volume_fs *fs, const char *name)
{
    const char *const *hidden = fs->format->hidden_xattrs;

    for (; hidden != NULL && *hidden != NULL; hidden++)
        if (strcmp(name, *hidden) == 0)
            return true;
    return false;
}

/* The inode, reachable by `path` until xattr_end(). */
static int
xattr_start(struct volume_fs *fs, struct inode *inode, char path[32])
{
    int rc;

    if (S_ISREG(inode->type))
        pthread_rwlock_rdlock(&inode->lock);
    rc = inode_pin(fs, inode, REACH_NODE, NULL);
    if (rc == 0)
        attr_path(inode, path);
    else if (S_ISREG(inode->type))
        pthread_rwlock_unlock(&inode->lock);
    return rc;
}

static void
xattr_end(struct volume_fs *fs, struct inode *inode)
{
    inode_unpin(fs, inode);
    if (S_ISREG(inode->type))
        pthread_rwlock_unlock(&inode->lock);
}

void
op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
            int flags)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino);
    char path[32];
    int rc = xattr_hidden(fs, name) ? -EPERM : xattr_start(fs, inode, path);

    if (rc == 0) {
        rc = setxattr(path, name, value, size, flags) != 0 ? -errno : 0;
        xattr_end(fs, inode);
    }
    reply_status(req, rc);
}

void
op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino);
    char path[32];
    int rc = xattr_hidden(fs, name) ? -EPERM : xattr_start(fs, inode, path);

    if (rc == 0) {
        rc = removexattr(path, name) != 0 ? -errno : 0;
        xattr_end(fs, inode);
    }
    reply_status(req, rc);
}

/* Size 0 asks how long it is. */
static void
reply_attribute(fuse_req_t req, const void *value, ssize_t len, size_t size)
{
    if (len < 0)
        reply_status(req, (int)len);
    else if (size == 0)
        (void)fuse_reply_xattr(req, (size_t)len);
    else if ((size_t)len > size)
        reply_status(req, -ERANGE);
    else
        (void)fuse_reply_buf(req, value, (size_t)len);
}

void
op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino);
    char path[32], *value = worker_self()->buffer;
    ssize_t len = xattr_hidden(fs, name) ? -ENODATA : xattr_start(fs, inode, path);

    if (len == 0) {
        len = getxattr(path, name, value, size < IO_MAX ? size : IO_MAX);
        if (len < 0)
            len = -errno;
        xattr_end(fs, inode);
    }
    reply_attribute(req, value, len, size);
}

void
op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino);
    char path[32], *list = worker_self()->buffer;
    ssize_t len = xattr_start(fs, inode, path), kept = 0;

    if (len == 0) {
        len = listxattr(path, list, XATTR_LIST_MAX < IO_MAX ? XATTR_LIST_MAX : IO_MAX);
        if (len < 0)
            len = -errno;
        xattr_end(fs, inode);
    }
    for (ssize_t at = 0, step; at < len; at += step) {
        step = (ssize_t)strlen(list + at) + 1;
        if (xattr_hidden(fs, list + at))
            continue;
        memmove(list + kept, list + at, (size_t)step);
        kept += step;
    }
    reply_attribute(req, list, len < 0 ? len : kept, size);
}
