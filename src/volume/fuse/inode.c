/* SPDX-License-Identifier: Apache-2.0 */
/* The table of inodes: by the lower file's (device, number), and their numbers as callers see them.
 *
 * A lower number may be used again once its file is gone.  We are the only ones who remove lower files, so whoever removes the
 * last name takes the inode out of the table first (inode_forget_number), and an entry never stands for another file.
 *
 * An inode keeps the number it was first shown under when a rotation replaces its lower file, because programs (SQLite) tell open
 * files apart by it.  A new lower file that is given the old number meanwhile is shown with the top bit set.
 */
#include "base/mem.h"
#include "volume/fuse/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define SHOWN_AGAIN ((uint64_t)1 << 63)

static size_t
bucket_of(const struct inode_table *table, dev_t dev, ino_t ino)
{
    uint64_t h = ((uint64_t)ino + (uint64_t)dev * 31) * 0x9e3779b97f4a7c15u;

    return (size_t)(h >> 20) & table->mask;
}

static struct inode *
table_find(struct inode_table *table, dev_t dev, ino_t ino)
{
    struct inode *inode = table->buckets[bucket_of(table, dev, ino)];

    while (inode != NULL && (inode->ino != ino || inode->dev != dev))
        inode = inode->next;
    return inode;
}

/* More buckets, so that chains stay short.  Without memory for them the table just gets slower. */
static void
table_grow(struct inode_table *table)
{
    size_t size = (table->mask + 1) * 2, old = table->mask;
    struct inode **buckets = mem_array(size, sizeof(struct inode *)), *inode, *next;

    if (buckets == NULL)
        return;
    table->mask = size - 1;
    for (size_t i = 0; i <= old; i++)
        for (inode = table->buckets[i]; inode != NULL; inode = next) {
            size_t at = bucket_of(table, inode->dev, inode->ino);

            next = inode->next;
            inode->next = buckets[at];
            buckets[at] = inode;
        }
    mem_free(table->buckets);
    table->buckets = buckets;
}

static void
table_add(struct inode_table *table, struct inode *inode)
{
    size_t at;

    if (table->count > table->mask)
        table_grow(table);
    at = bucket_of(table, inode->dev, inode->ino);
    inode->next = table->buckets[at];
    table->buckets[at] = inode;
    inode->hashed = true;
}

static void
table_remove(struct inode_table *table, struct inode *inode)
{
    struct inode **at = &table->buckets[bucket_of(table, inode->dev, inode->ino)];

    if (!inode->hashed)
        return;
    while (*at != inode)
        at = &(*at)->next;
    *at = inode->next;
    inode->hashed = false;
}

/* ---- files without a name ---- */

static void
nameless_add(struct inode_table *table, struct inode *inode)
{
    inode->nameless = true;
    inode->before = NULL;
    inode->next = table->nameless;
    if (inode->next != NULL)
        inode->next->before = inode;
    table->nameless = inode;
}

static void
nameless_remove(struct inode_table *table, struct inode *inode)
{
    if (!inode->nameless)
        return;
    if (inode->before != NULL)
        inode->before->next = inode->next;
    else
        table->nameless = inode->next;
    if (inode->next != NULL)
        inode->next->before = inode->before;
    inode->nameless = false;
}

/* ---- numbers that are shown but are no longer the lower ones ---- */

enum { SHOWN_BUCKETS = 1024 };

static struct inode **
shown_bucket(struct inode_table *table, uint64_t shown)
{
    return &table->by_shown[(shown ^ shown >> 10) & (SHOWN_BUCKETS - 1)];
}

static bool
shown_taken(struct inode_table *table, uint64_t number)
{
    const struct inode *inode;

    if (table->moved == 0)
        return false;
    for (inode = *shown_bucket(table, number); inode != NULL; inode = inode->next_shown)
        if (inode->shown == number)
            return true;
    return false;
}

static void
shown_remove(struct inode_table *table, struct inode *inode)
{
    struct inode **at = shown_bucket(table, inode->shown);

    while (*at != NULL && *at != inode)
        at = &(*at)->next_shown;
    if (*at != NULL) {
        *at = inode->next_shown;
        table->moved--;
    }
}

static void
shown_add(struct inode_table *table, struct inode *inode)
{
    struct inode **at = shown_bucket(table, inode->shown);

    inode->next_shown = *at;
    *at = inode;
    table->moved++;
}

uint64_t
inode_shown_number(struct volume_fs *fs, dev_t dev, ino_t ino)
{
    struct inode_table *table = &fs->table;
    const struct inode *inode;
    uint64_t shown = ino;

    pthread_mutex_lock(&table->mutex);
    if (table->moved > 0) {
        inode = table_find(table, dev, ino);
        if (inode != NULL)
            shown = inode->shown;
        else if (shown_taken(table, ino))
            shown = ino | SHOWN_AGAIN;
    }
    pthread_mutex_unlock(&table->mutex);
    return shown;
}

/* ---- life ---- */

static void
inode_free(struct volume_fs *fs, struct inode *inode)
{
    inode_close(fs, inode);
    pthread_rwlock_destroy(&inode->lock);
    early_free(inode);
    mem_free(inode->handle);
    mem_free(inode);
}

int
inode_adopt(struct volume_fs *fs, int fd, enum access access, struct volume_file *file,
            const struct stat *st, struct inode **out)
{
    struct inode_table *table = &fs->table;
    struct inode *inode = mem_alloc(sizeof *inode), *other;
    int rc;

    *out = NULL;
    if (inode == NULL) {
        if (file != NULL)
            fs->format->file_close(file);
        else
            close(fd);
        return -ENOMEM;
    }
    inode->dev = st->st_dev;
    inode->ino = st->st_ino;
    inode->type = st->st_mode & S_IFMT;
    inode->refs = 1;
    inode->fd = -1;
    pthread_rwlock_init(&inode->lock, NULL);
    rc = inode_give_fd(fs, inode, fd, access, file);
    if (rc != 0) {
        inode_free(fs, inode);
        return rc;
    }

    pthread_mutex_lock(&table->mutex);
    other = table_find(table, inode->dev, inode->ino);
    if (other != NULL) { /* somebody found the same file by another name just now */
        other->refs++;
    } else {
        inode->shown = shown_taken(table, inode->ino) ? inode->ino | SHOWN_AGAIN : inode->ino;
        if (inode->shown != inode->ino)
            shown_add(table, inode);
        table->count++;
        table_add(table, inode);
    }
    pthread_mutex_unlock(&table->mutex);
    if (other != NULL)
        inode_free(fs, inode);
    *out = other != NULL ? other : inode;
    return 0;
}

struct inode *
inode_find(struct volume_fs *fs, dev_t dev, ino_t ino)
{
    struct inode *inode;

    pthread_mutex_lock(&fs->table.mutex);
    inode = table_find(&fs->table, dev, ino);
    if (inode != NULL)
        inode->refs++;
    pthread_mutex_unlock(&fs->table.mutex);
    return inode;
}

void
inode_retain(struct volume_fs *fs, struct inode *inode)
{
    pthread_mutex_lock(&fs->table.mutex);
    inode->refs++;
    pthread_mutex_unlock(&fs->table.mutex);
}

void
inode_release(struct volume_fs *fs, struct inode *inode, uint64_t count)
{
    struct inode_table *table = &fs->table;
    bool last;

    pthread_mutex_lock(&table->mutex);
    inode->refs -= count < inode->refs ? count : inode->refs;
    last = inode->refs == 0;
    if (last) {
        table_remove(table, inode);
        nameless_remove(table, inode);
        shown_remove(table, inode);
        table->count--;
    }
    pthread_mutex_unlock(&table->mutex);
    if (last)
        inode_free(fs, inode);
}

void
inode_forget_number(struct volume_fs *fs, struct inode *inode)
{
    pthread_mutex_lock(&fs->table.mutex);
    table_remove(&fs->table, inode);
    if (!inode->nameless)
        nameless_add(&fs->table, inode);
    pthread_mutex_unlock(&fs->table.mutex);
}

/* An ordinary user's own file, whose mode denies him to read it: it is opened all the same, as root's mount does, because what it holds
 * tells its size, and the kernel asks for that only once. */
static int
open_own(int folder_fd, const char *lower, const struct stat *st)
{
    int fd = -1, path_fd = openat(folder_fd, lower, O_PATH | O_CLOEXEC | O_NOFOLLOW);
    char path[32];

    if (path_fd < 0)
        return -1;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", path_fd);
    if (chmod(path, (st->st_mode & 07777) | 0600) == 0) {
        fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        (void)!chmod(path, st->st_mode & 07777);
    }
    close(path_fd);
    return fd;
}

/* What may be opened for reading and writing is; the rest gets a descriptor that has no effect on it.  Nothing is written below a
 * read-only mount, not even what a format would repair on the way. */
static int
open_named(struct volume_fs *fs, int folder_fd, const char *lower, const struct stat *st,
           enum access *access)
{
    int flags = O_CLOEXEC | O_NOFOLLOW, fd = -1;

    *access = ACCESS_WRITE;
    if (S_ISREG(st->st_mode)) {
        if (fs->options->read_only)
            errno = EROFS;
        else
            fd = openat(folder_fd, lower, flags | O_RDWR | O_NONBLOCK);
        if (fd < 0 && (errno == EACCES || errno == EPERM || errno == EROFS || errno == ETXTBSY)) {
            *access = ACCESS_READ;
            fd = openat(folder_fd, lower, flags | O_RDONLY | O_NONBLOCK);
        }
        if (fd >= 0 || errno != EACCES)
            return fd;
        if (st->st_uid == geteuid() && !fs->options->read_only) {
            *access = ACCESS_WRITE;
            fd = open_own(folder_fd, lower, st);
            if (fd >= 0)
                return fd;
        }
    }
    *access = ACCESS_PATH;
    return openat(folder_fd, lower, flags | O_PATH);
}

int
inode_acquire(struct volume_fs *fs, int folder_fd, const char *lower_name, struct inode **out)
{
    struct stat st, now;
    enum access access;
    int fd;

    *out = NULL;
    for (int tries = 0; tries < 10; tries++) {
        if (fstatat(folder_fd, lower_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            return -errno;
        *out = inode_find(fs, st.st_dev, st.st_ino);
        if (*out != NULL)
            return 0;
        inode_make_room(fs);
        fd = open_named(fs, folder_fd, lower_name, &st, &access);
        if (fd < 0)
            return -errno;
        if (fstat(fd, &now) == 0 && now.st_ino == st.st_ino && now.st_dev == st.st_dev)
            return inode_adopt(fs, fd, access, NULL, &st, out);
        close(fd); /* another file got the name in between */
    }
    return -EAGAIN;
}

/* Gives all references back. */
static int
visit_all(struct volume_fs *fs, struct inode **all, size_t count,
          int (*visit)(void *arg, struct inode *inode), void *arg)
{
    int rc = 0;

    for (size_t i = 0; i < count; i++) {
        if (rc == 0)
            rc = visit(arg, all[i]);
        inode_release(fs, all[i], 1);
    }
    mem_free(all);
    return rc;
}

int
inode_each(struct volume_fs *fs, int (*visit)(void *arg, struct inode *inode), void *arg)
{
    struct inode_table *table = &fs->table;
    struct inode **all = NULL, *inode;
    size_t count = 0;

    pthread_mutex_lock(&table->mutex);
    all = mem_array(table->count + 1, sizeof(struct inode *));
    for (size_t i = 0; all != NULL && i <= table->mask; i++)
        for (inode = table->buckets[i]; inode != NULL; inode = inode->next) {
            inode->refs++;
            all[count++] = inode;
        }
    pthread_mutex_unlock(&table->mutex);
    return all == NULL ? -ENOMEM : visit_all(fs, all, count, visit, arg);
}

int
inode_each_nameless(struct volume_fs *fs, int (*visit)(void *arg, struct inode *inode), void *arg)
{
    struct inode_table *table = &fs->table;
    struct inode **all = NULL, *inode;
    size_t count = 0;

    pthread_mutex_lock(&table->mutex);
    for (inode = table->nameless; inode != NULL; inode = inode->next)
        count++;
    all = mem_array(count + 1, sizeof(struct inode *));
    count = 0;
    for (inode = table->nameless; all != NULL && inode != NULL; inode = inode->next) {
        inode->refs++;
        all[count++] = inode;
    }
    pthread_mutex_unlock(&table->mutex);
    return all == NULL ? -ENOMEM : visit_all(fs, all, count, visit, arg);
}

void
inode_replace(struct volume_fs *fs, struct inode *inode, int fd, struct volume_file *file,
              const struct stat *st)
{
    struct inode_table *table = &fs->table;
    bool hashed;

    pthread_mutex_lock(&table->mutex);
    hashed = inode->hashed;
    table_remove(table, inode);
    shown_remove(table, inode);
    inode->dev = st->st_dev;
    inode->ino = st->st_ino;
    if (inode->shown != inode->ino)
        shown_add(table, inode);
    if (hashed) /* it has a name */
        table_add(table, inode);
    pthread_mutex_unlock(&table->mutex);
    inode_swap_fd(fs, inode, fd, file);
}

size_t
inode_count(struct volume_fs *fs)
{
    size_t count;

    pthread_mutex_lock(&fs->table.mutex);
    count = fs->table.count;
    pthread_mutex_unlock(&fs->table.mutex);
    return count;
}

/* ---- the table ---- */

int
inode_table_open(struct volume_fs *fs)
{
    struct inode_table *table = &fs->table;

    pthread_mutex_init(&table->mutex, NULL);
    table->mask = 1023;
    table->buckets = mem_array(table->mask + 1, sizeof(struct inode *));
    table->by_shown = mem_array(SHOWN_BUCKETS, sizeof(struct inode *));
    return table->buckets == NULL || table->by_shown == NULL ? -ENOMEM : 0;
}

void
inode_table_close(struct volume_fs *fs)
{
    struct inode_table *table = &fs->table;
    struct inode *inode, *next;

    for (size_t i = 0; table->buckets != NULL && i <= table->mask; i++)
        for (inode = table->buckets[i]; inode != NULL; inode = next) {
            next = inode->next;
            inode_free(fs, inode);
        }
    for (inode = table->nameless; inode != NULL; inode = next) {
        next = inode->next;
        inode_free(fs, inode);
    }
    mem_free(table->buckets);
    mem_free(table->by_shown);
    table->buckets = table->by_shown = NULL;
    pthread_mutex_destroy(&table->mutex);
}
