/* SPDX-License-Identifier: Apache-2.0 */
/* An inode's lower descriptor: opened when it is needed, closed when there are too many.
 *
 * A closed one comes back through its file handle (name_to_handle_at), which needs no name and survives renames.  Where the lower
 * filesystem has no handles, or we may not use them, the descriptor stays for as long as the inode does.
 *
 * The order of closing is that of the second chance: a list by time of opening, where an inode used since it was last looked at is
 * put at the new end instead.
 */
#include "base/mem.h"
#include "volume/fuse/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

pthread_mutex_t *
inode_stripe(struct volume_fs *fs, const struct inode *inode)
{
    return &fs->stripes[((uintptr_t)inode >> 8 ^ (uintptr_t)inode >> 14) % STRIPES];
}

/* ---- the list ---- */

static void
cache_unlink(struct fd_cache *cache, struct inode *inode)
{
    if (inode->older != NULL)
        inode->older->newer = inode->newer;
    else
        cache->oldest = inode->newer;
    if (inode->newer != NULL)
        inode->newer->older = inode->older;
    else
        cache->newest = inode->older;
    inode->newer = inode->older = NULL;
}

static void
cache_link(struct fd_cache *cache, struct inode *inode)
{
    inode->older = cache->newest;
    inode->newer = NULL;
    if (cache->newest != NULL)
        cache->newest->newer = inode;
    else
        cache->oldest = inode;
    cache->newest = inode;
}

static void
cache_add(struct volume_fs *fs, struct inode *inode)
{
    pthread_mutex_lock(&fs->cache.mutex);
    if (!inode->cached) {
        cache_link(&fs->cache, inode);
        fs->cache.count++;
        inode->cached = true;
    }
    pthread_mutex_unlock(&fs->cache.mutex);
}

/* The stripe is locked, or nobody else has the inode. */
static void
close_now(struct volume_fs *fs, struct inode *inode)
{
    if (inode->file != NULL)
        fs->format->file_close(inode->file);
    else if (inode->lower != NULL)
        inode->lower->ops->close(inode->lower);
    else if (inode->fd >= 0)
        close(inode->fd);
    inode->file = NULL;
    inode->lower = NULL;
    inode->fd = -1;
    inode->access = ACCESS_NONE;
}

void
inode_close(struct volume_fs *fs, struct inode *inode)
{
    pthread_mutex_lock(&fs->cache.mutex);
    if (inode->cached) {
        cache_unlink(&fs->cache, inode);
        fs->cache.count--;
        inode->cached = false;
    }
    pthread_mutex_unlock(&fs->cache.mutex);
    close_now(fs, inode);
}

/* Close descriptors nobody uses now until `most` are left, or none can be closed. */
static void
cache_shrink(struct volume_fs *fs, size_t most)
{
    struct fd_cache *cache = &fs->cache;
    struct inode *inode;
    size_t looks;

    pthread_mutex_lock(&cache->mutex);
    for (looks = 2 * cache->count; cache->count > most && looks > 0; looks--) {
        pthread_mutex_t *stripe;

        inode = cache->oldest;
        stripe = inode_stripe(fs, inode);
        cache_unlink(cache, inode);
        if (!atomic_exchange(&inode->used, false) && pthread_mutex_trylock(stripe) == 0) {
            if (inode->pins == 0 && !inode->keep) {
                close_now(fs, inode);
                inode->cached = false;
                cache->count--;
            }
            pthread_mutex_unlock(stripe);
        }
        if (inode->cached)
            cache_link(cache, inode);
    }
    pthread_mutex_unlock(&cache->mutex);
}

void
inode_make_room(struct volume_fs *fs)
{
    if (fs->cache.count >= fs->cache.max)
        cache_shrink(fs, fs->cache.max - fs->cache.max / 16 - 1);
}

size_t
inode_descriptor_count(struct volume_fs *fs)
{
    size_t count;

    pthread_mutex_lock(&fs->cache.mutex);
    count = fs->cache.count;
    pthread_mutex_unlock(&fs->cache.mutex);
    return count;
}

int
inode_cache_open(struct volume_fs *fs, unsigned max)
{
    pthread_mutex_init(&fs->cache.mutex, NULL);
    for (size_t i = 0; i < STRIPES; i++)
        pthread_mutex_init(&fs->stripes[i], NULL);
    fs->cache.max = max;
    return 0;
}

/* ---- handles ---- */

static struct file_handle *
handle_of(int fd)
{
    union {
        struct file_handle handle;
        char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } h;
    struct file_handle *copy;
    int mount_id;

    h.handle.handle_bytes = MAX_HANDLE_SZ;
    if (name_to_handle_at(fd, "", &h.handle, &mount_id, AT_EMPTY_PATH) != 0)
        return NULL;
    copy = mem_alloc(sizeof *copy + h.handle.handle_bytes);
    if (copy != NULL)
        memcpy(copy, &h.handle, sizeof *copy + h.handle.handle_bytes);
    return copy;
}

bool
inode_handles_work(int folder_fd)
{
    struct file_handle *handle = handle_of(folder_fd);
    int fd = -1;

    if (handle != NULL)
        fd = open_by_handle_at(folder_fd, handle, O_PATH | O_CLOEXEC);
    mem_free(handle);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* ---- opening ---- */

int
inode_give_fd(struct volume_fs *fs, struct inode *inode, int fd, enum access access,
              struct volume_file *file)
{
    bool with_handle = fs->handles && (fs->root == NULL || inode->dev == fs->root->dev);
    int rc = 0;

    inode->fd = fd;
    inode->access = access;
    inode->file = file;
    if (S_ISREG(inode->type) && file == NULL && access != ACCESS_PATH) {
        rc = lower_fd_open(fd, &inode->lower, NULL);
        if (rc != 0)
            return rc; /* the caller closes through inode_close */
    }
    if (with_handle && inode->handle == NULL)
        inode->handle = handle_of(fd);
    inode->keep = inode->handle == NULL;
    atomic_store(&inode->used, true);
    if (!inode->keep && !S_ISREG(inode->type) && !S_ISDIR(inode->type))
        close_now(fs, inode); /* links and special files are seldom asked for twice */
    else
        cache_add(fs, inode);
    return 0;
}

static int
open_handle(struct volume_fs *fs, struct inode *inode, int flags)
{
    int fd;

    flags |= O_CLOEXEC | O_NOFOLLOW;
    fd = open_by_handle_at(fs->root_fd, inode->handle, flags);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
        cache_shrink(fs, fs->cache.count / 2);
        fd = open_by_handle_at(fs->root_fd, inode->handle, flags);
    }
    return fd;
}

/* Stripe locked. */
static int
open_again(struct volume_fs *fs, struct inode *inode)
{
    enum access access = ACCESS_PATH;
    int fd = -1, rc;

    if (inode->handle == NULL)
        return -ESTALE;
    if (S_ISREG(inode->type)) {
        access = ACCESS_WRITE;
        if (fs->options->read_only)
            errno = EROFS;
        else
            fd = open_handle(fs, inode, O_RDWR | O_NONBLOCK);
        if (fd < 0 && (errno == EACCES || errno == EPERM || errno == EROFS || errno == ETXTBSY)) {
            access = ACCESS_READ;
            fd = open_handle(fs, inode, O_RDONLY | O_NONBLOCK);
        }
    } else {
        fd = open_handle(fs, inode, O_PATH);
    }
    if (fd < 0)
        return -errno;
    inode->fd = fd;
    inode->access = (uint8_t)access;
    if (S_ISREG(inode->type)) {
        rc = lower_fd_open(fd, &inode->lower, NULL);
        if (rc != 0) {
            close_now(fs, inode);
            return rc;
        }
    }
    cache_add(fs, inode);
    return 0;
}

/* Stripe locked.  A lower file of length 0 was made but never finished, as a crash leaves it: it becomes an empty file. */
static int
open_file(struct volume_fs *fs, struct inode *inode, struct coffer_error *err)
{
    struct volume_file_info info;
    struct stat st;
    int rc;

    if (inode->lower == NULL)
        return -EACCES; /* O_PATH was all we got */
    if (fstat(inode->fd, &st) != 0)
        return -errno;
    memset(&info, 0, sizeof info);
    if (st.st_size == 0 && fs->format->file_info(fs->volume, inode->lower, &info, NULL) == 0 &&
        info.empty && inode->access == ACCESS_WRITE)
        rc = fs->format->file_create(fs->volume, inode->lower, &inode->file, err);
    else
        rc = fs->format->file_open(fs->volume, inode->lower, &inode->file, err);
    if (rc == 0)
        inode->lower = NULL; /* the file has it */
    else
        inode->file = NULL;
    return rc;
}

int
inode_pin(struct volume_fs *fs, struct inode *inode, enum reach reach, struct coffer_error *err)
{
    pthread_mutex_t *stripe = inode_stripe(fs, inode);
    bool opened = false;
    int rc = 0;

    pthread_mutex_lock(stripe);
    if (inode->fd < 0) {
        rc = open_again(fs, inode);
        opened = true;
    }
    if (rc == 0 && reach == REACH_FILE && inode->file == NULL)
        rc = open_file(fs, inode, err);
    if (rc == 0)
        inode->pins++;
    pthread_mutex_unlock(stripe);
    atomic_store_explicit(&inode->used, true, memory_order_relaxed);
    if (opened)
        inode_make_room(fs);
    return rc;
}

void
inode_unpin(struct volume_fs *fs, struct inode *inode)
{
    pthread_mutex_t *stripe = inode_stripe(fs, inode);

    pthread_mutex_lock(stripe);
    inode->pins--;
    pthread_mutex_unlock(stripe);
}

void
inode_keep(struct volume_fs *fs, struct inode *inode)
{
    pthread_mutex_t *stripe = inode_stripe(fs, inode);

    pthread_mutex_lock(stripe);
    inode->keep = true;
    pthread_mutex_unlock(stripe);
}

/* Wait until only the caller uses the descriptor.  A sync under way is all there can be: inode->lock is held alone. */
static void
wait_alone(struct volume_fs *fs, struct inode *inode, unsigned own)
{
    pthread_mutex_t *stripe = inode_stripe(fs, inode);
    struct timespec nap = {0, 200000};

    pthread_mutex_lock(stripe);
    while (inode->pins > own) {
        pthread_mutex_unlock(stripe);
        nanosleep(&nap, NULL);
        pthread_mutex_lock(stripe);
    }
}

void
inode_swap_fd(struct volume_fs *fs, struct inode *inode, int fd, struct volume_file *file)
{
    wait_alone(fs, inode, 1); /* locks the stripe */
    close_now(fs, inode);
    mem_free(inode->handle);
    inode->handle = fs->handles ? handle_of(fd) : NULL;
    inode->fd = fd;
    inode->access = file != NULL ? ACCESS_WRITE : ACCESS_PATH;
    inode->file = file;
    inode->keep = inode->keep || inode->handle == NULL;
    if (file == NULL && !inode->keep)
        close_now(fs, inode); /* a link: its handle will do */
    pthread_mutex_unlock(inode_stripe(fs, inode));
}

int
inode_make_writable(struct volume_fs *fs, struct inode *inode)
{
    char path[32];
    int fd, rc = 0;

    wait_alone(fs, inode, 0);
    if (inode->access == ACCESS_READ || inode->access == ACCESS_PATH) {
        attr_path(inode, path);
        fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (fd >= 0) {
            close_now(fs, inode);
            inode->fd = fd;
            inode->access = ACCESS_WRITE;
            rc = lower_fd_open(fd, &inode->lower, NULL);
            if (rc != 0)
                close_now(fs, inode);
        } else {
            rc = -errno;
        }
    }
    pthread_mutex_unlock(inode_stripe(fs, inode));
    return rc;
}
