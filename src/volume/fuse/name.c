/* SPDX-License-Identifier: Apache-2.0 */
/* New names: folders, special files, links. */
#include "volume/fuse/internal.h"
#include "volume/fuse/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Answer with the entry of a name just made. */
static void
reply_new(fuse_req_t req, int rc, struct inode *folder, const char *lower, const char *name)
{
    struct volume_fs *fs = fs_of(req);
    struct fuse_entry_param entry;

    if (rc == 0)
        rc = lookup_in(fs, folder, lower, name, &entry);
    if (rc != 0)
        reply_status(req, rc);
    else if (fuse_reply_entry(req, &entry) != 0)
        inode_release(fs, inode_of(fs, entry.ino), 1);
}

/* Pin the folder, hold the names and translate one that is new; on success name_end() undoes it. */
static int
name_start(struct volume_fs *fs, struct inode *folder, const char *name,
           char lower[VOLUME_NAME_MAX + 1])
{
    int rc = inode_pin(fs, folder, REACH_NODE, NULL);

    if (rc != 0)
        return rc;
    pthread_rwlock_rdlock(&fs->names);
    rc = lookup_free(fs, folder->fd, name, lower);
    if (rc != 0) {
        pthread_rwlock_unlock(&fs->names);
        inode_unpin(fs, folder);
    }
    return rc;
}

static void
name_end(struct volume_fs *fs, struct inode *folder)
{
    pthread_rwlock_unlock(&fs->names);
    inode_unpin(fs, folder);
}

void
op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *folder = inode_of(fs, parent), *inode;
    struct fuse_entry_param entry;
    char lower[VOLUME_NAME_MAX + 1];
    int rc;

    if (S_ISREG(mode)) {
        rc = file_make(fs, fuse_req_ctx(req), folder, name, mode, &inode);
        if (rc == 0)
            rc = lookup_entry(fs, inode, &entry);
        if (rc != 0)
            reply_status(req, rc);
        else if (fuse_reply_entry(req, &entry) != 0)
            inode_release(fs, inode, 1);
        return;
    }
    rc = name_start(fs, folder, name, lower);
    if (rc == 0) {
        caller_become(fs, fuse_req_ctx(req));
        rc = mknodat(folder->fd, lower, mode, rdev) != 0 ? -errno : 0;
        caller_restore(fs);
        name_end(fs, folder);
    }
    reply_new(req, rc, folder, lower, name);
}

void
op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *folder = inode_of(fs, parent);
    char lower[VOLUME_NAME_MAX + 1];
    int rc = name_start(fs, folder, name, lower);

    if (rc == 0) {
        caller_become(fs, fuse_req_ctx(req));
        rc = mkdirat(folder->fd, lower, mode) != 0 ? -errno : 0;
        caller_restore(fs);
        name_end(fs, folder);
    }
    reply_new(req, rc, folder, lower, name);
}

void
op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *folder = inode_of(fs, parent);
    char lower[VOLUME_NAME_MAX + 1];
    struct buf sealed;
    int rc;

    buf_init(&sealed, VOLUME_TARGET_MAX + 1);
    rc = name_start(fs, folder, name, lower);
    if (rc == 0) {
        rc = fs->format->target_to_lower(fs->volume, bytes_str(target), &sealed, NULL);
        if (rc == 0) {
            caller_become(fs, fuse_req_ctx(req));
            rc = symlinkat(buf_cstr(&sealed), folder->fd, lower) != 0 ? -errno : 0;
            caller_restore(fs);
        }
        name_end(fs, folder);
    }
    buf_wipe(&sealed);
    reply_new(req, rc, folder, lower, name);
}

ssize_t
name_target(struct volume_fs *fs, int fd, const char *lower, char *out)
{
    char target[VOLUME_TARGET_MAX + 1];
    struct buf upper;
    ssize_t len = readlinkat(fd, lower, target, VOLUME_TARGET_MAX);
    int rc;

    if (len < 0)
        return -errno;
    buf_init(&upper, VOLUME_TARGET_MAX);
    rc = fs->format->target_to_upper(fs->volume, bytes_of(target, (size_t)len), &upper, NULL);
    len = rc;
    if (rc == 0) {
        memcpy(out, upper.ptr, upper.len);
        out[upper.len] = 0;
        len = (ssize_t)upper.len;
    }
    buf_wipe(&upper);
    return len;
}

void
op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino);
    char target[VOLUME_TARGET_MAX + 1];
    ssize_t len = inode_pin(fs, inode, REACH_NODE, NULL);

    if (len == 0) {
        len = name_target(fs, inode->fd, "", target);
        inode_unpin(fs, inode);
    }
    if (len < 0)
        reply_status(req, report_failure(fs, inode, (int)len, NULL));
    else
        (void)fuse_reply_readlink(req, target);
}

/* Another name for what is open; without the right to use the descriptor itself, through its name in /proc. */
static int
link_fd(struct inode *inode, int folder_fd, const char *lower)
{
    char path[32];

    if (linkat(inode->fd, "", folder_fd, lower, AT_EMPTY_PATH) == 0)
        return 0;
    if (errno != ENOENT && errno != EPERM)
        return -errno;
    attr_path(inode, path);
    return linkat(AT_FDCWD, path, folder_fd, lower, AT_SYMLINK_FOLLOW) != 0 ? -errno : 0;
}

void
op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino), *folder = inode_of(fs, parent);
    struct fuse_entry_param entry;
    char lower[VOLUME_NAME_MAX + 1];
    int rc = name_start(fs, folder, name, lower);

    if (rc == 0) {
        pthread_rwlock_rdlock(&inode->lock);
        rc = inode_pin(fs, inode, REACH_NODE, NULL);
        if (rc == 0) {
            rc = link_fd(inode, folder->fd, lower);
            if (rc == 0)
                watch_note(fs, folder, lower);
            inode_unpin(fs, inode);
        }
        pthread_rwlock_unlock(&inode->lock);
        name_end(fs, folder);
    }
    if (rc == 0) {
        direct_named(fs, folder, inode, name);
        inode_retain(fs, inode);
        rc = lookup_entry(fs, inode, &entry);
    }
    if (rc != 0)
        reply_status(req, rc);
    else if (fuse_reply_entry(req, &entry) != 0)
        inode_release(fs, inode, 1);
}
