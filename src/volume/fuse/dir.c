/* SPDX-License-Identifier: Apache-2.0 */
/* Reading folders.  A position is the lower filesystem's own; names that are not the volume's, and Coffer's own, are left out. */
#include "base/mem.h"
#include "volume/fuse/internal.h"

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
    int fd;
    int64_t next;
    size_t have, at;
    char entries[CHUNK] __attribute__((aligned(8)));
};

void
op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino);
    struct folder *folder = mem_alloc(sizeof *folder);
    int rc = folder == NULL ? -ENOMEM : inode_pin(fs, inode, REACH_NODE, NULL);

    if (rc == 0) {
        inode_make_room(fs);
        folder->fd = openat(inode->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder->fd < 0)
            rc = -errno;
        inode_unpin(fs, inode);
    }
    if (rc != 0) {
        mem_free(folder);
        reply_status(req, rc);
        return;
    }
    fi->fh = (uintptr_t)folder;
    if (fuse_reply_open(req, fi) != 0) { /* interrupted: nobody will release it */
        close(folder->fd);
        mem_free(folder);
    }
}

void
op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct folder *folder = (struct folder *)(uintptr_t)fi->fh;

    close(folder->fd);
    mem_free(folder);
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

/* The upper name, or false for what is not to be shown. */
static bool
entry_name(struct volume_fs *fs, const struct raw_entry *raw, char upper[VOLUME_NAME_MAX + 1])
{
    if (strcmp(raw->name, ".") == 0 || strcmp(raw->name, "..") == 0) {
        strcpy(upper, raw->name);
        return true;
    }
    if (strncmp(raw->name, VOLUME_HIDDEN, strlen(VOLUME_HIDDEN)) == 0)
        return false;
    return fs->format->name_to_upper(fs->volume, bytes_str(raw->name), upper, NULL) == 0;
}

/* The bytes that `name` takes in a reply; more than `room` if it does not fit and was not put there. */
static size_t
entry_put(fuse_req_t req, struct inode *inode, const struct raw_entry *raw, const char *name,
          bool plus, char *out, size_t room)
{
    struct volume_fs *fs = fs_of(req);
    struct fuse_entry_param entry;
    size_t needed;

    memset(&entry, 0, sizeof entry);
    entry.attr.st_ino = inode_shown_number(fs, inode->dev, raw->ino);
    entry.attr.st_mode = (mode_t)raw->type << 12;
    if (!plus)
        return fuse_add_direntry(req, out, room, name, &entry.attr, raw->next);

    /* The size is known without looking the file up, which the kernel would never forget if it did not fit. */
    needed = fuse_add_direntry_plus(req, NULL, 0, name, NULL, 0);
    if (needed > room)
        return needed;
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
        lookup_in(fs, inode, raw->name, name, &entry) != 0) {
        memset(&entry, 0, sizeof entry); /* gone meanwhile, or unreadable: its name alone */
        entry.attr.st_ino = raw->ino;
        entry.attr.st_mode = (mode_t)raw->type << 12;
    }
    return fuse_add_direntry_plus(req, out, room, name, &entry, raw->next);
}

static void
read_entries(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi,
             bool plus)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *inode = inode_of(fs, ino);
    struct folder *folder = (struct folder *)(uintptr_t)fi->fh;
    char upper[VOLUME_NAME_MAX + 1], *out = worker_self()->buffer;
    const struct raw_entry *raw = NULL;
    size_t used = 0, took;
    int rc;

    if (size > IO_MAX)
        size = IO_MAX;
    if (off != folder->next) {
        if (lseek(folder->fd, off, SEEK_SET) < 0) {
            reply_status(req, -errno);
            return;
        }
        folder->next = off;
        folder->have = folder->at = 0;
    }
    while ((rc = entry_at(folder, &raw)) > 0) {
        if (entry_name(fs, raw, upper)) {
            took = entry_put(req, inode, raw, upper, plus, out + used, size - used);
            if (took > size - used)
                break;
            used += took;
        }
        folder->next = raw->next;
        folder->at += raw->length;
    }
    if (rc < 0 && used == 0)
        reply_status(req, rc);
    else
        (void)fuse_reply_buf(req, out, used);
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
