/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/fuse/mirror.h"

#include "base/mem.h"
#include "volume/attributes.h"
#include "volume/fuse/internal.h"

#include <errno.h>
#include <unistd.h>

struct mirror {
    struct volume_file *file;
    int fd;
    uint64_t done; /* the copy holds the upper file's bytes up to here */
    int failed;    /* a negative errno, for good */
    struct coffer_error err;
    void *room; /* IO_MAX */
};

/* ---- the foreground's side ---- */

static void
mirror_fail(struct mirror *mirror, int rc, const struct coffer_error *err)
{
    if (mirror->failed == 0) {
        mirror->failed = rc;
        mirror->err = *err;
    }
}

int
mirror_write(struct volume_fs *fs, struct inode *inode, const void *data, size_t length,
             uint64_t at, unsigned flags, struct coffer_error *err)
{
    struct mirror *mirror = inode->mirror;
    struct coffer_error quiet = {0};
    uint64_t both;
    int rc = fs->format->file_write(inode->file, data, length, at, flags, err);

    early_changed(fs, inode); /* after a failure, too: some of it may be there */
    if (rc != 0 || mirror == NULL || mirror->failed != 0 || at >= mirror->done)
        return rc;
    both = mirror->done - at < length ? mirror->done - at : length;
    rc = fs->format->file_write(mirror->file, data, (size_t)both, at, 0, &quiet);
    if (rc != 0)
        mirror_fail(mirror, rc, &quiet);
    return 0;
}

int
mirror_truncate(struct volume_fs *fs, struct inode *inode, uint64_t size, struct coffer_error *err)
{
    struct mirror *mirror = inode->mirror;
    struct coffer_error quiet = {0};
    int rc;

    if (inode->access != ACCESS_WRITE)
        return -EROFS;
    rc = fs->format->file_truncate(inode->file, size, err);
    early_changed(fs, inode);
    if (rc != 0 || mirror == NULL || mirror->failed != 0 || size >= mirror->done)
        return rc;
    mirror->done = size;
    rc = fs->format->file_truncate(mirror->file, size, &quiet);
    if (rc != 0)
        mirror_fail(mirror, rc, &quiet);
    return 0;
}

int
mirror_allocate(struct volume_fs *fs, struct inode *inode, int mode, uint64_t at, uint64_t length,
                struct coffer_error *err)
{
    int rc = fs->format->file_allocate(inode->file, mode, at, length, err);

    early_changed(fs, inode);
    /* Whatever the mode does from here on is copied anew. */
    if (rc == 0 && inode->mirror != NULL && at < inode->mirror->done)
        inode->mirror->done = at;
    return rc;
}

/* ---- the copy's side ---- */

static void
mirror_free(struct volume_fs *fs, struct mirror *mirror)
{
    if (mirror->file != NULL)
        fs->format->file_close(mirror->file);
    else if (mirror->fd >= 0)
        close(mirror->fd);
    mem_free(mirror->room);
    mem_free(mirror);
}

int
mirror_begin(struct volume_fs *fs, struct inode *inode, int fd, struct volume *volume,
             struct coffer_error *err)
{
    struct mirror *mirror = mem_alloc(sizeof *mirror);
    struct lower *lower = NULL;
    int rc;

    if (mirror == NULL) {
        close(fd);
        return -ENOMEM;
    }
    mirror->fd = fd;
    mirror->room = mem_alloc(IO_MAX);
    rc = mirror->room == NULL ? -ENOMEM : lower_fd_open(fd, &lower, err);
    if (rc == 0) {
        rc = fs->format->file_create(volume, lower, &mirror->file, err);
        if (rc != 0) {
            lower->ops->close(lower);
            mirror->fd = -1;
            mirror->file = NULL;
        }
    }
    if (rc == 0) {
        pthread_rwlock_wrlock(&inode->lock);
        rc = inode->mirror != NULL ? -EBUSY : inode_pin(fs, inode, REACH_FILE, err);
        if (rc == 0) {
            inode->mirror = mirror; /* the pin stays for as long as the mirror */
            mirror = NULL;
        }
        pthread_rwlock_unlock(&inode->lock);
    }
    if (mirror != NULL)
        mirror_free(fs, mirror);
    return rc;
}

/* inode->lock held, shared at least. */
static int
copy_some(struct volume_fs *fs, struct inode *inode, size_t bytes, struct coffer_error *err)
{
    struct mirror *mirror = inode->mirror;
    uint64_t size = fs->format->file_size(inode->file);

    while (bytes > 0 && mirror->done < size && mirror->failed == 0) {
        size_t want = bytes < IO_MAX ? bytes : IO_MAX;
        ssize_t got = fs->format->file_read(inode->file, mirror->room, want, mirror->done, err);
        int rc;

        if (got <= 0)
            return got < 0 ? (int)got : -EIO;
        rc = fs->format->file_write(mirror->file, mirror->room, (size_t)got, mirror->done, 0, err);
        if (rc != 0) {
            mirror_fail(mirror, rc, err);
            return rc;
        }
        mirror->done += (uint64_t)got;
        bytes -= (size_t)got < bytes ? (size_t)got : bytes;
    }
    if (mirror->failed != 0 && err != NULL)
        *err = mirror->err;
    return mirror->failed;
}

int
mirror_step(struct volume_fs *fs, struct inode *inode, size_t bytes, struct mirror_status *status,
            struct coffer_error *err)
{
    struct coffer_error local = {0};
    int rc;

    pthread_rwlock_rdlock(&inode->lock);
    rc = copy_some(fs, inode, bytes, &local);
    status->done = inode->mirror->done;
    status->size = fs->format->file_size(inode->file);
    pthread_rwlock_unlock(&inode->lock);
    if (err != NULL)
        *err = local;
    return rc;
}

/* inode->lock and names held alone. */
static int
finish_locked(struct volume_fs *fs, struct inode *inode, const struct mirror_end *end,
              struct coffer_error *err)
{
    struct mirror *mirror = inode->mirror;
    struct stat st;
    int rc = copy_some(fs, inode, SIZE_MAX, err);

    /* A file that shrank below what was copied was shrunk in both; only a failed copy may be longer. */
    if (rc == 0 && fs->format->file_size(mirror->file) != fs->format->file_size(inode->file))
        rc = fs->format->file_truncate(mirror->file, fs->format->file_size(inode->file), err);
    if (rc == 0)
        rc = attributes_copy(inode->fd, mirror->fd, fs->format->hidden_xattrs);
    if (rc == 0)
        rc = fs->format->file_sync(mirror->file, false, err);
    if (rc == 0 && fstat(mirror->fd, &st) != 0)
        rc = -errno;
    if (rc == 0)
        rc = end->replace(end->arg, inode);
    if (rc != 0)
        return rc;

    inode_replace(fs, inode, mirror->fd, mirror->file, &st);
    mirror->file = NULL;
    mirror->fd = -1;
    inode->mirror = NULL;
    mirror_free(fs, mirror);
    inode_unpin(fs, inode);
    return 0;
}

int
mirror_finish(struct volume_fs *fs, struct inode *inode, const struct mirror_end *end,
              struct coffer_error *err)
{
    struct coffer_error local = {0};
    struct mirror_status status;
    int rc;

    /* What takes long is done before anybody has to wait: most of the copy and the sync of it. */
    rc = mirror_step(fs, inode, SIZE_MAX, &status, err);
    if (rc == 0)
        rc = fs->format->file_sync(inode->mirror->file, true, err);
    if (rc != 0)
        return rc;
    pthread_rwlock_wrlock(&fs->names);
    pthread_rwlock_wrlock(&inode->lock);
    rc = finish_locked(fs, inode, end, &local);
    pthread_rwlock_unlock(&fs->names);
    if (rc == 0 && end->settle != NULL)
        rc = end->settle(end->arg, inode);
    pthread_rwlock_unlock(&inode->lock);
    if (err != NULL && local.message[0] != 0)
        *err = local;
    return rc;
}

void
mirror_cancel(struct volume_fs *fs, struct inode *inode)
{
    struct mirror *mirror;

    pthread_rwlock_wrlock(&inode->lock);
    mirror = inode->mirror;
    inode->mirror = NULL;
    if (mirror != NULL)
        inode_unpin(fs, inode);
    pthread_rwlock_unlock(&inode->lock);
    if (mirror != NULL)
        mirror_free(fs, mirror);
}
