/* SPDX-License-Identifier: Apache-2.0 */
/* Regular files: open, make, read, write, sync.
 *
 * How a caller opened a file says nothing about the lower descriptor: that is open for reading and writing, without O_APPEND, and
 * the kernel gives every write its position.
 */
#include "volume/fuse/internal.h"
#include "volume/fuse/mirror.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

/* ---- open ---- */

/* Which way this open goes: see direct.c. */
static void
open_way(struct volume_fs *fs, struct inode *inode, struct fuse_file_info *fi)
{
    pthread_mutex_t *stripe = inode_stripe(fs, inode);
    bool direct = direct_wanted(fs, inode, fi->flags);

    pthread_mutex_lock(stripe);
    if (inode->opens == 0)
        inode->direct = direct;
    inode->opens++;
    fi->direct_io = inode->direct;
    fi->keep_cache = 1;
    if (inode->direct) {
        inode->stale_cache = true;
    } else if (inode->stale_cache) {
        fi->keep_cache = 0;
        inode->stale_cache = false;
    }
    pthread_mutex_unlock(stripe);
    atomic_fetch_add_explicit(&fs->opens, 1, memory_order_relaxed);
}

static void
open_done(struct volume_fs *fs, struct inode *inode)
{
    pthread_mutex_t *stripe = inode_stripe(fs, inode);

    pthread_mutex_lock(stripe);
    inode->opens--;
    pthread_mutex_unlock(stripe);
    atomic_fetch_sub_explicit(&fs->opens, 1, memory_order_relaxed);
}

/* Open what exists, and cut it if asked. */
static int
open_inode(struct volume_fs *fs, struct inode *inode, int flags, struct coffer_error *err)
{
    bool cut = (flags & O_TRUNC) != 0, write = (flags & O_ACCMODE) != O_RDONLY;
    struct stat st;
    int rc;

    (void)(cut ? pthread_rwlock_wrlock(&inode->lock) : pthread_rwlock_rdlock(&inode->lock));
    rc = inode_pin(fs, inode, REACH_FILE, err);
    if (rc == 0) {
        if (write && inode->access != ACCESS_WRITE)
            rc = -EROFS; /* see open_writable() */
        if (rc == 0 && cut) {
            rc = mirror_truncate(fs, inode, 0, err);
            if (rc == 0 && worker_self()->kill_privileges && fstat(inode->fd, &st) == 0)
                (void)attr_drop_privileges(inode, &st);
        }
        inode_unpin(fs, inode);
    }
    pthread_rwlock_unlock(&inode->lock);
    return rc;
}

/* Again, for a lower file that could only be read when we opened it, as its mode was then. */
static int
open_writable(struct volume_fs *fs, struct inode *inode, int flags, struct coffer_error *err)
{
    int rc;

    pthread_rwlock_wrlock(&inode->lock);
    rc = inode_pin(fs, inode, REACH_NODE, NULL);
    if (rc == 0) {
        inode_unpin(fs, inode);
        rc = inode_make_writable(fs, inode);
    }
    pthread_rwlock_unlock(&inode->lock);
    return rc != 0 ? rc : open_inode(fs, inode, flags, err);
}

static int
open_any(struct volume_fs *fs, struct inode *inode, int flags)
{
    struct coffer_error err = {0};
    int rc = open_inode(fs, inode, flags, &err);

    if (rc == -EROFS || rc == -EACCES)
        rc = open_writable(fs, inode, flags, &err);
    return report_failure(fs, inode, rc, &err);
}

void
op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino);
    int rc = open_any(fs, inode, fi->flags);

    if (rc != 0) {
        reply_status(req, rc);
        return;
    }
    open_way(fs, inode, fi);
    if (fuse_reply_open(req, fi) != 0)
        open_done(fs, inode);
}

void
op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    open_done(fs_of(req), inode_of(fs_of(req), ino));
    reply_status(req, 0);
}

/* ---- make ---- */

/* The new lower file, with its metadata, in a pinned folder.  A crash in between leaves a lower file of length 0. */
static int
make_in(struct volume_fs *fs, const struct fuse_ctx *ctx, int folder_fd, const char *lower_name,
        mode_t mode, struct inode **out)
{
    struct coffer_error err = {0};
    struct volume_file *file = NULL;
    struct lower *lower = NULL;
    struct stat st;
    int fd, rc;

    inode_make_room(fs);
    caller_become(fs, ctx);
    fd = openat(folder_fd, lower_name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW,
                mode & 07777);
    rc = fd < 0 ? -errno : 0;
    caller_restore(fs);
    if (rc != 0)
        return rc;

    rc = lower_fd_open(fd, &lower, &err);
    if (rc != 0) {
        close(fd);
    } else {
        rc = fs->format->file_create(fs->volume, lower, &file, &err);
        if (rc == 0 && fstat(fd, &st) != 0) {
            rc = -errno;
            fs->format->file_close(file);
        } else if (rc == 0) {
            rc = inode_adopt(fs, fd, ACCESS_WRITE, file, &st, out);
        } else {
            lower->ops->close(lower);
        }
    }
    if (rc != 0)
        (void)unlinkat(folder_fd, lower_name, 0);
    return rc;
}

int
file_make(struct volume_fs *fs, const struct fuse_ctx *ctx, struct inode *folder, const char *name,
          mode_t mode, struct inode **out)
{
    char lower[VOLUME_NAME_MAX + 1];
    int rc = inode_pin(fs, folder, REACH_NODE, NULL);

    if (rc != 0)
        return rc;
    pthread_rwlock_rdlock(&fs->names);
    rc = lookup_free(fs, folder->fd, name, lower);
    if (rc == 0)
        rc = make_in(fs, ctx, folder->fd, lower, mode, out);
    pthread_rwlock_unlock(&fs->names);
    inode_unpin(fs, folder);
    if (rc == 0)
        direct_named(fs, folder, *out, name);
    return rc;
}

void
op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
          struct fuse_file_info *fi)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *folder = inode_of(fs, parent), *inode;
    struct fuse_entry_param entry;
    int rc = file_make(fs, fuse_req_ctx(req), folder, name, mode, &inode);

    if (rc == 0) {
        rc = lookup_entry(fs, inode, &entry);
    } else if (rc == -EEXIST && (fi->flags & O_EXCL) == 0) {
        rc = lookup_in(fs, folder, NULL, name, &entry);
        if (rc == 0) {
            inode = inode_of(fs, entry.ino);
            rc = S_ISREG(inode->type) ? open_any(fs, inode, fi->flags) : -EEXIST;
            if (rc != 0)
                inode_release(fs, inode, 1);
        }
    }
    if (rc != 0) {
        reply_status(req, rc);
        return;
    }
    open_way(fs, inode, fi);
    if (fuse_reply_create(req, &entry, fi) != 0) {
        open_done(fs, inode);
        inode_release(fs, inode, 1);
    }
}

/* ---- read and write ---- */

void
op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino);
    struct coffer_error err = {0};
    void *out = worker_self()->buffer;
    ssize_t got;

    pthread_rwlock_rdlock(&inode->lock);
    got = inode_pin(fs, inode, REACH_FILE, &err);
    if (got == 0) {
        got = fs->format->file_read(inode->file, out, size < IO_MAX ? size : IO_MAX, (uint64_t)off,
                                    &err);
        inode_unpin(fs, inode);
    }
    if (got < 0)
        got = report_failure(fs, inode, (int)got, &err);
    pthread_rwlock_unlock(&inode->lock);
    atomic_fetch_add_explicit(&fs->reads, 1, memory_order_relaxed);
    if (got < 0)
        reply_status(req, (int)got);
    else
        (void)fuse_reply_buf(req, out, (size_t)got);
}

/* After an operation of which the kernel does not expect it: it is told, or it would go on to execute the file with them. */
static int
drop_privileges_unasked(struct volume_fs *fs, struct inode *inode)
{
    struct stat st;
    int rc = 0;

    if (!worker_self()->kill_privileges || !atomic_load(&inode->privileged))
        return 0;
    if (fstat(inode->fd, &st) == 0) {
        rc = attr_drop_privileges(inode, &st);
        (void)fuse_lowlevel_notify_inval_inode(fs->session, (uintptr_t)inode, -1, 0);
    }
    return rc;
}

/* Write at once under the lock; what set-uid there was is gone, if the writer may not keep it. */
static int
write_inode(struct volume_fs *fs, struct inode *inode, const void *data, size_t size, uint64_t at,
            unsigned flags)
{
    struct coffer_error err = {0};
    struct stat st;
    int rc;

    pthread_rwlock_wrlock(&inode->lock);
    rc = inode_pin(fs, inode, REACH_FILE, &err);
    if (rc == 0) {
        rc = mirror_write(fs, inode, data, size, at, flags, &err);
        if (rc == 0 && worker_self()->kill_privileges && atomic_load(&inode->privileged) &&
            fstat(inode->fd, &st) == 0)
            rc = attr_drop_privileges(inode, &st);
        inode_unpin(fs, inode);
    }
    rc = report_failure(fs, inode, rc, &err);
    pthread_rwlock_unlock(&inode->lock);
    return rc;
}

/* How long those wait who sync is what a rotation goes by. */
static void
timed(struct volume_fs *fs, const struct timespec *since)
{
    struct timespec now;
    int64_t ns;

    clock_gettime(CLOCK_MONOTONIC, &now);
    ns = (int64_t)(now.tv_sec - since->tv_sec) * 1000000000 + (now.tv_nsec - since->tv_nsec);
    atomic_fetch_add_explicit(&fs->timed_ns, (uint64_t)ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&fs->timed, 1, memory_order_relaxed);
}

void
op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
         struct fuse_file_info *fi)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino);
    struct timespec since;
    unsigned flags = 0;
    bool sync;
    int rc;

    /* Through the cache the kernel asks for the sync itself. */
    if (!fi->writepage && inode->direct && (fi->flags & O_DSYNC) != 0)
        flags = VOLUME_WRITE_DSYNC;
    if (flags != 0)
        clock_gettime(CLOCK_MONOTONIC, &since);
    rc = write_inode(fs, inode, data, size, (uint64_t)off, flags);
    if (flags != 0)
        timed(fs, &since);
    atomic_fetch_add_explicit(&fs->writes, 1, memory_order_relaxed);
    sync = rc == 0 && early_expected(fs, inode);
    if (rc == 0 && fi->writepage)
        early_write_out(fs, inode, (uint64_t)off, size);
    if (rc != 0)
        reply_status(req, rc);
    else
        (void)fuse_reply_write(req, size);
    if (sync)
        early_sync(fs, inode);
}

/* Without the lock: a sync takes long, and readers and writers need not wait for it.  The pin keeps the file. */
int
file_sync_now(struct volume_fs *fs, struct inode *inode, bool data_only)
{
    struct coffer_error err = {0};
    struct volume_file *file = NULL;
    struct timespec since;
    int rc;

    clock_gettime(CLOCK_MONOTONIC, &since);
    pthread_rwlock_rdlock(&inode->lock);
    rc = inode_pin(fs, inode, REACH_FILE, &err);
    if (rc == 0)
        file = inode->file;
    pthread_rwlock_unlock(&inode->lock);
    if (rc == 0) {
        rc = fs->format->file_sync(file, data_only, &err);
        inode_unpin(fs, inode);
    }
    timed(fs, &since);
    return report_failure(fs, inode, rc, &err);
}

void
op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino);
    int rc;

    atomic_fetch_add_explicit(&fs->syncs, 1, memory_order_relaxed);
    if (early_join(fs, inode, req, datasync != 0, &rc))
        return;
    reply_status(req, rc != 0 ? rc : file_sync_now(fs, inode, datasync != 0));
}

void
op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t at, off_t length,
             struct fuse_file_info *fi)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino);
    struct coffer_error err = {0};
    int rc;

    pthread_rwlock_wrlock(&inode->lock);
    rc = inode_pin(fs, inode, REACH_FILE, &err);
    if (rc == 0) {
        rc = mirror_allocate(fs, inode, mode, (uint64_t)at, (uint64_t)length, &err);
        if (rc == 0)
            rc = drop_privileges_unasked(fs, inode);
        inode_unpin(fs, inode);
    }
    rc = report_failure(fs, inode, rc, &err);
    pthread_rwlock_unlock(&inode->lock);
    reply_status(req, rc);
}

/* Copy here instead of through the kernel and the caller: half the requests, and large pieces. */
void
op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
                   fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t length,
                   int flags)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *from = inode_of(fs, ino_in), *to = inode_of(fs, ino_out);
    struct coffer_error err = {0};
    void *room = worker_self()->buffer;
    size_t done = 0, most = (size_t)64 << 20; /* a request should not keep a worker for ever */
    ssize_t got = 0;
    bool privileged = atomic_load(&to->privileged); /* write_inode() takes what there is */
    int rc = 0;

    if (length > most)
        length = most;
    while (rc == 0 && done < length) {
        size_t want = length - done < IO_MAX ? length - done : IO_MAX;

        pthread_rwlock_rdlock(&from->lock);
        got = inode_pin(fs, from, REACH_FILE, &err);
        if (got == 0) {
            got = fs->format->file_read(from->file, room, want, (uint64_t)off_in + done, &err);
            inode_unpin(fs, from);
        }
        if (got < 0)
            rc = report_failure(fs, from, (int)got, &err);
        pthread_rwlock_unlock(&from->lock);
        if (got <= 0)
            break;
        rc = write_inode(fs, to, room, (size_t)got, (uint64_t)off_out + done, 0);
        if (rc == 0)
            done += (size_t)got;
    }
    if (privileged && worker_self()->kill_privileges && done > 0)
        (void)fuse_lowlevel_notify_inval_inode(fs->session, ino_out, -1, 0);
    if (rc != 0 && done == 0)
        reply_status(req, rc);
    else
        (void)fuse_reply_write(req, done);
}
