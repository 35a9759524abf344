/* SPDX-License-Identifier: Apache-2.0 */
/* Reading folders.  A position is the lower filesystem's own; names that are not the volume's, and Coffer's own, are left out.
 *
 * While names stand in several forms they move within the lower folder, and a reader that walks through it would meet one twice or
 * never.  So then all names are listed at the start (listing.c), and positions are those of the list.  Which way a reader goes is
 * decided at its start; one that is in the middle when forms begin to change gets the rest as a list (dir_settle_all()).
 */
#include "base/mem.h"
#include "volume/fuse/internal.h"
#include "volume/fuse/listing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CHUNK = 32768 };

/* As getdents64 writes it. */
struct raw_entry {
    uint64_t ino;
    int64_t next;
    uint16_t length;
    uint8_t type;
    char name[];
};

/* An open folder: `have` bytes of lower entries, of which `at` are done; `next` is the position after those. */
struct folder {
    struct folder *newer, *older; /* fs->folders */
    pthread_mutex_t mutex;        /* over what follows */
    int fd;
    int64_t next;
    struct listing *listing; /* or NULL; then `next` is the position it begins at, and stays */
    int failed;              /* the list could not be made: better no more names than not all */
    size_t have, at;
    char entries[CHUNK] __attribute__((aligned(8)));
};

static void
folder_close(struct volume_fs *fs, struct folder *folder)
{
    pthread_mutex_lock(&fs->folders_mutex);
    if (folder->newer != NULL)
        folder->newer->older = folder->older;
    else
        fs->folders = folder->older;
    if (folder->older != NULL)
        folder->older->newer = folder->newer;
    pthread_mutex_unlock(&fs->folders_mutex);
    listing_free(folder->listing);
    pthread_mutex_destroy(&folder->mutex);
    close(folder->fd);
    mem_free(folder);
}

static struct folder *
folder_open(struct volume_fs *fs, int fd)
{
    struct folder *folder = mem_alloc(sizeof *folder);

    if (folder == NULL)
        return NULL;
    folder->fd = fd;
    pthread_mutex_init(&folder->mutex, NULL);
    pthread_mutex_lock(&fs->folders_mutex);
    folder->older = fs->folders;
    if (fs->folders != NULL)
        fs->folders->newer = folder;
    fs->folders = folder;
    pthread_mutex_unlock(&fs->folders_mutex);
    return folder;
}

void
folders_close(struct volume_fs *fs)
{
    while (fs->folders != NULL)
        folder_close(fs, fs->folders);
}

void
op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino);
    struct folder *folder = NULL;
    int fd = -1, rc = inode_pin(fs, inode, REACH_NODE, NULL);
    char path[32];

    if (rc == 0) {
        inode_make_room(fs);
        /* Not through its ".", for which one must be allowed to search it: reading is enough. */
        attr_path(inode, path);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            rc = -errno;
        inode_unpin(fs, inode);
    }
    if (rc == 0) {
        folder = folder_open(fs, fd);
        if (folder == NULL) {
            close(fd);
            rc = -ENOMEM;
        }
    }
    if (rc != 0) {
        reply_status(req, rc);
        return;
    }
    fi->fh = (uintptr_t)folder;
    if (fuse_reply_open(req, fi) != 0) /* interrupted: nobody will release it */
        folder_close(fs, folder);
}

void
op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    folder_close(fs_of(req), (struct folder *)(uintptr_t)fi->fh);
    reply_status(req, 0);
}

void
op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct folder *folder = (struct folder *)(uintptr_t)fi->fh;
    int rc = datasync ? fdatasync(folder->fd) : fsync(folder->fd);

    atomic_fetch_add_explicit(&fs_of(req)->syncs, 1, memory_order_relaxed);
    reply_status(req, rc != 0 ? -errno : 0);
}

/* The entry at the folder's position: 1, 0 at the end, or a negative errno. */
static int
entry_at(struct folder *folder, const struct raw_entry **out)
{
    if (folder->at >= folder->have) {
        long got = syscall(SYS_getdents64, folder->fd, folder->entries, CHUNK);

        if (got < 0)
            return -errno;
        folder->have = (size_t)got;
        folder->at = 0;
        if (got == 0)
            return 0;
    }
    *out = (const void *)(folder->entries + folder->at);
    return 1;
}

static bool
is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* The upper name, or false for what is not to be shown. */
static bool
entry_name(struct volume_fs *fs, const struct raw_entry *raw, char upper[VOLUME_NAME_MAX + 1])
{
    if (is_dots(raw->name)) {
        strcpy(upper, raw->name);
        return true;
    }
    if (strncmp(raw->name, VOLUME_HIDDEN, strlen(VOLUME_HIDDEN)) == 0)
        return false;
    return fs->format->name_to_upper(fs->volume, bytes_str(raw->name), upper, NULL) == 0;
}

/* ---- lists ---- */

/* The rest of a folder as a list.  Alone: no name moves meanwhile.  (The kernel lets nobody change a folder that it reads, so for its
 * own requests it is enough that nothing is brought forward.) */
static int
list_rest(struct volume_fs *fs, struct folder *folder, bool alone)
{
    char upper[VOLUME_NAME_MAX + 1], lower[VOLUME_NAME_MAX + 1];
    const struct raw_entry *raw = NULL;
    struct listing *made = listing_new();
    int rc = made == NULL ? -ENOMEM : 0;

    (void)(alone ? pthread_rwlock_wrlock(&fs->names) : pthread_rwlock_rdlock(&fs->names));
    while (rc == 0 && (rc = entry_at(folder, &raw)) > 0) {
        rc = 0;
        /* A name that stands in two forms is shown once: where lookup finds it. */
        if (entry_name(fs, raw, upper) &&
            (is_dots(upper) ||
             (lookup_standing(fs, folder->fd, upper, lower) == 0 && strcmp(lower, raw->name) == 0)))
            rc = listing_add(made, upper, raw->ino, raw->type);
        folder->at += raw->length;
    }
    pthread_rwlock_unlock(&fs->names);
    if (rc != 0) {
        listing_free(made);
        return rc;
    }
    listing_free(folder->listing);
    folder->listing = made;
    return 0;
}

void
dir_settle_all(struct volume_fs *fs)
{
    if (!fs->format->names_mixed(fs->volume))
        return;
    pthread_mutex_lock(&fs->folders_mutex);
    for (struct folder *folder = fs->folders; folder != NULL; folder = folder->older) {
        pthread_mutex_lock(&folder->mutex);
        if (folder->listing == NULL && folder->next != 0)
            folder->failed = list_rest(fs, folder, true);
        pthread_mutex_unlock(&folder->mutex);
    }
    pthread_mutex_unlock(&fs->folders_mutex);
}

/* ---- reading ---- */

/* One name of a reply. */
struct shown {
    const char *name, *lower; /* lower: NULL if it may have moved */
    uint64_t ino;
    uint8_t type;
    off_t next;
};

/* The bytes that it takes in a reply; more than `room` if it does not fit and was not put there. */
static size_t
entry_put(fuse_req_t req, struct inode *inode, const struct shown *shown, bool plus, char *out,
          size_t room)
{
    struct volume_fs *fs = fs_of(req);
    struct fuse_entry_param entry;
    size_t needed;

    memset(&entry, 0, sizeof entry);
    entry.attr.st_ino = inode_shown_number(fs, inode->dev, shown->ino);
    entry.attr.st_mode = (mode_t)shown->type << 12;
    if (!plus)
        return fuse_add_direntry(req, out, room, shown->name, &entry.attr, shown->next);

    /* The size is known without looking the file up, which the kernel would never forget if it did not fit. */
    needed = fuse_add_direntry_plus(req, NULL, 0, shown->name, NULL, 0);
    if (needed > room)
        return needed;
    if (!is_dots(shown->name) && lookup_in(fs, inode, shown->lower, shown->name, &entry) != 0) {
        memset(&entry, 0, sizeof entry); /* gone meanwhile, or unreadable: its name alone */
        entry.attr.st_ino = shown->ino;
        entry.attr.st_mode = (mode_t)shown->type << 12;
    }
    return fuse_add_direntry_plus(req, out, room, shown->name, &entry, shown->next);
}

/* Both fill `out` and say how much of it they used, or a negative errno. */
static ssize_t
read_lower(fuse_req_t req, struct inode *inode, struct folder *folder, off_t off, bool plus,
           char *out, size_t size)
{
    char upper[VOLUME_NAME_MAX + 1];
    const struct raw_entry *raw = NULL;
    size_t used = 0, took;
    int rc;

    if (off != folder->next) {
        if (lseek(folder->fd, off, SEEK_SET) < 0)
            return -errno;
        folder->next = off;
        folder->have = folder->at = 0;
    }
    while ((rc = entry_at(folder, &raw)) > 0) {
        if (entry_name(fs_of(req), raw, upper)) {
            struct shown shown = {upper, raw->name, raw->ino, raw->type, raw->next};

            took = entry_put(req, inode, &shown, plus, out + used, size - used);
            if (took > size - used)
                break;
            used += took;
        }
        folder->next = raw->next;
        folder->at += raw->length;
    }
    return rc < 0 && used == 0 ? rc : (ssize_t)used;
}

static ssize_t
read_list(fuse_req_t req, struct inode *inode, struct folder *folder, off_t off, bool plus,
          char *out, size_t size)
{
    struct shown shown = {0};
    size_t used = 0, took;

    if (off <
        LISTING_START) /* the position where the list begins, or one from before it was made */
        off = LISTING_START;
    while (listing_at(folder->listing, off, &shown.name, &shown.ino, &shown.type)) {
        shown.next = off + 1;
        took = entry_put(req, inode, &shown, plus, out + used, size - used);
        if (took > size - used)
            break;
        used += took;
        off++;
    }
    return (ssize_t)used;
}

/* From the beginning: the way that is right now. */
static int
start_over(struct volume_fs *fs, struct folder *folder)
{
    listing_free(folder->listing);
    folder->listing = NULL;
    folder->failed = 0;
    if (lseek(folder->fd, 0, SEEK_SET) < 0)
        return -errno;
    folder->next = 0;
    folder->have = folder->at = 0;
    return fs->format->names_mixed(fs->volume) ? list_rest(fs, folder, false) : 0;
}

static void
read_entries(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi,
             bool plus)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino);
    struct folder *folder = (struct folder *)(uintptr_t)fi->fh;
    char *out = worker_self()->buffer;
    ssize_t used = 0;

    if (size > IO_MAX)
        size = IO_MAX;
    pthread_mutex_lock(&folder->mutex);
    used = off == 0 ? start_over(fs, folder) : folder->failed;
    if (used == 0)
        used = folder->listing != NULL ? read_list(req, inode, folder, off, plus, out, size)
                                       : read_lower(req, inode, folder, off, plus, out, size);
    pthread_mutex_unlock(&folder->mutex);
    if (used < 0)
        reply_status(req, (int)used);
    else
        (void)fuse_reply_buf(req, out, (size_t)used);
}

void
op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    read_entries(req, ino, size, off, fi, false);
}

void
op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    read_entries(req, ino, size, off, fi, true);
}
