/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes: the lower file's, with the upper file's size. */
#include "volume/fuse/internal.h"
#include "volume/fuse/mirror.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int
attr_path(struct inode *inode, char path[32])
{
    return snprintf(path, 32, "/proc/self/fd/%d", inode->fd);
}

/* Pinned, and locked if it is a regular file. */
static int
attr_pinned(struct volume_fs *fs, struct inode *inode, struct stat *st)
{
    struct coffer_error err = {0};
    struct volume_file_info info;
    char target[VOLUME_TARGET_MAX + 1];
    blkcnt_t least;
    ssize_t len;
    int rc;

    if (fstat(inode->fd, st) != 0)
        return -errno;
    st->st_ino = inode->shown;
    if (S_ISLNK(inode->type)) {
        len = name_target(fs, inode->fd, "", target);
        if (len >= 0)
            st->st_size = len;
    }
    if (!S_ISREG(inode->type))
        return 0;

    /* Without a readable header the lower size has to do: whoever opens it is told. */
    pthread_mutex_lock(inode_stripe(fs, inode));
    if (inode->file != NULL) {
        st->st_size = (off_t)fs->format->file_size(inode->file);
    } else if (inode->lower != NULL && st->st_size > 0) {
        rc = fs->format->file_info(fs->volume, inode->lower, &info, &err);
        if (rc == 0)
            st->st_size = (off_t)info.size;
    }
    pthread_mutex_unlock(inode_stripe(fs, inode));

    /* Blocks still in our kernel's cache are not below yet; "no blocks" would say "all zeros" to tar.  An empty file has one, too: the
     * kernel keeps the number while it lets the file grow. */
    least = (blkcnt_t)(((uint64_t)st->st_size + 511) / 512);
    if (least == 0)
        least = 1;
    if (st->st_blocks < least)
        st->st_blocks = least;
    if ((st->st_mode & (S_ISUID | S_ISGID)) != 0)
        atomic_store(&inode->privileged, true);
    return 0;
}

static bool
is_file(const struct inode *inode)
{
    return S_ISREG(inode->type);
}

int
attr_of(struct volume_fs *fs, struct inode *inode, struct stat *st)
{
    int rc;

    if (is_file(inode))
        pthread_rwlock_rdlock(&inode->lock);
    rc = inode_pin(fs, inode, REACH_NODE, NULL);
    if (rc == 0) {
        rc = attr_pinned(fs, inode, st);
        inode_unpin(fs, inode);
    }
    if (is_file(inode))
        pthread_rwlock_unlock(&inode->lock);
    return rc;
}

void
op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct volume_fs *fs = fs_of(req);
    struct stat st;
    int rc = attr_of(fs, inode_of(fs, ino), &st);

    if (rc != 0)
        reply_status(req, rc);
    else
        (void)fuse_reply_attr(req, &st, FOREVER);
}

int
attr_drop_privileges(struct inode *inode, const struct stat *st)
{
    mode_t drop = S_ISUID;
    char path[32];

    /* Set-group-id without group execute was mandatory locking: not a privilege. */
    if ((st->st_mode & S_IXGRP) != 0)
        drop |= S_ISGID;
    atomic_store(&inode->privileged, false);
    if ((st->st_mode & drop) == 0)
        return 0;
    attr_path(inode, path);
    return chmod(path, st->st_mode & 07777 & ~drop) != 0 ? -errno : 0;
}

static void
time_to_set(struct timespec *out, struct timespec value, int to_set, int given, int now)
{
    *out = value;
    if ((to_set & now) != 0)
        out->tv_nsec = UTIME_NOW;
    else if ((to_set & given) == 0)
        out->tv_nsec = UTIME_OMIT;
}

/* Pinned; locked alone when the size changes. */
static int
setattr_pinned(struct volume_fs *fs, struct inode *inode, const struct stat *attr, int to_set,
               struct coffer_error *err)
{
    struct timespec times[2];
    struct stat st;
    char path[32];
    int rc;

    attr_path(inode, path);
    if ((to_set & FUSE_SET_ATTR_MODE) != 0) {
        if (chmod(path, attr->st_mode & 07777) != 0)
            return -errno;
        atomic_store(&inode->privileged, (attr->st_mode & (S_ISUID | S_ISGID)) != 0);
    }
    if ((to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0 &&
        fchownat(inode->fd, "", (to_set & FUSE_SET_ATTR_UID) != 0 ? attr->st_uid : (uid_t)-1,
                 (to_set & FUSE_SET_ATTR_GID) != 0 ? attr->st_gid : (gid_t)-1,
                 AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0)
        return -errno;
    if ((to_set & FUSE_SET_ATTR_SIZE) != 0) {
        if (attr->st_size < 0)
            return -EINVAL;
        rc = mirror_truncate(fs, inode, (uint64_t)attr->st_size, err);
        if (rc != 0)
            return rc;
        if (worker_self()->kill_privileges && fstat(inode->fd, &st) == 0)
            (void)attr_drop_privileges(inode, &st);
    }
    if ((to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME)) != 0) {
        time_to_set(&times[0], attr->st_atim, to_set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW);
        time_to_set(&times[1], attr->st_mtim, to_set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW);
        if (utimensat(AT_FDCWD, path, times, 0) != 0)
            return -errno;
    }
    return 0;
}

void
op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino);
    struct coffer_error err = {0};
    bool resize = (to_set & FUSE_SET_ATTR_SIZE) != 0;
    struct stat st;
    int rc;

    if (resize && !is_file(inode)) {
        reply_status(req, S_ISDIR(inode->type) ? -EISDIR : -EINVAL);
        return;
    }
    if (is_file(inode))
        (void)(resize ? pthread_rwlock_wrlock(&inode->lock) : pthread_rwlock_rdlock(&inode->lock));
    rc = inode_pin(fs, inode, resize ? REACH_FILE : REACH_NODE, &err);
    if (rc == 0) {
        rc = setattr_pinned(fs, inode, attr, to_set, &err);
        if (rc == 0)
            rc = attr_pinned(fs, inode, &st);
        inode_unpin(fs, inode);
    }
    rc = report_failure(fs, inode, rc, &err);
    if (is_file(inode))
        pthread_rwlock_unlock(&inode->lock);
    if (rc != 0)
        reply_status(req, rc);
    else
        (void)fuse_reply_attr(req, &st, FOREVER);
}
