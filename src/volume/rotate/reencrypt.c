/* SPDX-License-Identifier: Apache-2.0 */
/* Files written anew while nobody uses the volume: into hidden copies, a batch at a time.
 *
 *   copy each file of the batch ─▶ one sync ─▶ rename each over its file
 *
 * A crash before a rename leaves the old file and an orphan, one after it the new file.  Renames become durable with the sync of the
 * next batch, the last ones with walk_run()'s.
 */
#include "volume/rotate/internal.h"

#include "base/mem.h"
#include "volume/attributes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { BATCH = 4096, FOLDERS = 400, FEW = 4, BYTES_MAX = 256 << 20, PIECE = 1 << 20, AHEAD = 8 << 20 };

struct copied {
    int folder; /* index of `folders` */
    char copy[64];
    char *name, *path;
};
struct copies {
    struct copied files[BATCH];
    size_t count;
    int folders[FOLDERS];
    ino_t folder_inos[FOLDERS];
    size_t folder_count;
    uint64_t bytes; /* lower bytes that wait for a sync */
};

/* ---- names of copies ---- */

int
copy_make(struct walk *walk, int folder, char name[64], int *fd)
{
    (void)snprintf(name, 64, VOLUME_COPY "%s.%u", walk->tag, walk->made++);
    *fd = openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return *fd < 0 ? -errno : 0;
}

bool
copy_is_orphan(const struct walk *walk, const char *name)
{
    size_t len = strlen(VOLUME_COPY);

    return strncmp(name, VOLUME_COPY, len) == 0 &&
           strncmp(name + len, walk->tag, strlen(walk->tag)) != 0;
}

/* ---- room ---- */

static uint64_t
free_bytes(int root)
{
    struct statvfs fs;

    if (fstatvfs(root, &fs) != 0)
        return UINT64_MAX;
    return (uint64_t)(geteuid() == 0 ? fs.f_bfree : fs.f_bavail) * fs.f_frsize;
}

int
room_for(struct walk *walk, const char *path, uint64_t bytes)
{
    uint64_t room = free_bytes(walk->root), needed = bytes + bytes / 64 + (1 << 16);

    if (needed <= room)
        return COFFER_OK;
    return error_set(walk->err, COFFER_E_LIMIT,
                     "%s: %llu bytes have to be free in the lower filesystem to copy it, and %llu "
                     "are: nothing of it was changed",
                     path, (unsigned long long)needed, (unsigned long long)room);
}

/* ---- one file ---- */

static bool
all_zero(const uint8_t *data, size_t len)
{
    return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* The disk begins with what is written already, so that the sync of the batch finds little left to wait for. */
static void
begin_writeback(int fd)
{
    (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

/* What is zeros is not written: the format makes it so when something follows, as cheaply as it can.  `fd` is the lower file of `to`. */
static int
copy_content(struct walk *walk, struct volume_file *from, struct volume_file *to, int fd,
             struct coffer_error *why)
{
    const struct volume_format *format = walk->format;
    uint64_t size = format->file_size(from), at = 0, begun = 0;
    uint8_t *room = mem_alloc(PIECE);
    int rc = room == NULL ? -ENOMEM : 0;

    while (rc == 0 && at < size) {
        ssize_t got = format->file_read(from, room, PIECE, at, why);

        if (got <= 0) {
            rc = got < 0 ? (int)got : -EIO;
            break;
        }
        if (!all_zero(room, (size_t)got))
            rc = format->file_write(to, room, (size_t)got, at, 0, why);
        at += (uint64_t)got;
        if (at - begun >= AHEAD) {
            begin_writeback(fd);
            begun = at;
        }
        walk_count(walk, &walk->board->progress.bytes_done, (uint64_t)got);
        if (rc == 0 && walk_step(walk, (uint64_t)got) != COFFER_OK)
            rc = -ECANCELED;
    }
    if (room != NULL)
        wipe(room, PIECE);
    mem_free(room);
    if (rc == 0 && format->file_size(to) != size)
        rc = format->file_truncate(to, size, why);
    if (rc == 0)
        begin_writeback(fd);
    return rc;
}

/* Opens both; takes `from` and `to` over. */
int
copy_file(struct walk *walk, int from, int to, struct coffer_error *why)
{
    const struct volume_format *format = walk->format;
    struct lower *lower_from = NULL, *lower_to = NULL;
    struct volume_file *file_from = NULL, *file_to = NULL;
    int rc;

    attributes_begin(from, to);
    rc = lower_fd_open(from, &lower_from, why);
    if (rc == 0)
        rc = lower_fd_open(to, &lower_to, why);
    if (rc == 0)
        rc = format->file_open(walk->volume, lower_from, &file_from, why);
    if (rc == 0)
        rc = format->file_create(walk->volume, lower_to, &file_to, why);
    if (rc == 0)
        rc = copy_content(walk, file_from, file_to, to, why);
    if (rc == 0)
        rc = attributes_copy(from, to, format->hidden_xattrs);

    if (file_to != NULL)
        format->file_close(file_to);
    else if (lower_to != NULL)
        lower_to->ops->close(lower_to);
    else
        close(to);
    if (file_from != NULL)
        format->file_close(file_from);
    else if (lower_from != NULL)
        lower_from->ops->close(lower_from);
    else
        close(from);
    return rc;
}

/* ---- the batch ---- */

static int
sync_copies(struct walk *walk)
{
    struct copies *copies = walk->copies;
    int rc = 0;

    if (copies->count > FEW)
        return syncfs(walk->root) != 0 ? -errno : 0;
    for (size_t i = 0; rc == 0 && i < copies->count; i++) {
        const struct copied *file = &copies->files[i];
        int fd = openat(copies->folders[file->folder], file->copy,
                        O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

        /* Its owner may have taken our right to read it: then all of it. */
        if (fd < 0)
            return syncfs(walk->root) != 0 ? -errno : 0;
        rc = fsync(fd) != 0 ? -errno : 0;
        close(fd);
    }
    return rc;
}

static int
put_in_place(struct walk *walk, struct copied *file)
{
    struct copies *copies = walk->copies;
    struct volume_progress *progress = &walk->board->progress;
    int folder = copies->folders[file->folder];

    if (renameat(folder, file->copy, folder, file->name) != 0) {
        struct coffer_error why = {0};

        (void)volume_fail(&why, -errno, "its copy cannot take its place: %s", strerror(errno));
        (void)unlinkat(folder, file->copy, 0);
        walk_miss(walk, file->path, &why, 0);
        return COFFER_OK;
    }
    pthread_mutex_lock(&walk->board->mutex);
    progress->files_done++;
    pthread_mutex_unlock(&walk->board->mutex);
    return COFFER_OK;
}

static void
copies_clear(struct walk *walk)
{
    struct copies *copies = walk->copies;

    for (size_t i = 0; i < copies->count; i++) {
        mem_free(copies->files[i].name);
        mem_free(copies->files[i].path);
    }
    for (size_t i = 0; i < copies->folder_count; i++)
        close(copies->folders[i]);
    copies->count = copies->folder_count = 0;
    copies->bytes = 0;
}

/* Remove copies that did not take their places. */
static void
copies_drop(struct walk *walk, size_t first)
{
    struct copies *copies = walk->copies;

    for (size_t i = first; i < copies->count; i++)
        (void)unlinkat(copies->folders[copies->files[i].folder], copies->files[i].copy, 0);
}

int
reencrypt_flush(struct walk *walk)
{
    struct copies *copies = walk->copies;
    size_t done = 0;
    int rc, failed;

    if (copies == NULL || copies->count == 0)
        return COFFER_OK;
    rc = walk_step(walk, 0);
    failed = sync_copies(walk);
    if (failed != 0)
        rc = error_set(walk->err, COFFER_E_IO, "%s cannot be synced: %s", walk->lower,
                       strerror(-failed));
    while (failed == 0 && done < copies->count) {
        (void)put_in_place(walk, &copies->files[done++]);
        /* Asked to stop, it finishes what is synced already, which takes no time. */
        if (rc == COFFER_OK)
            rc = walk_step(walk, 0);
    }
    copies_drop(walk, done);
    copies_clear(walk);
    return rc;
}

void
reencrypt_free(struct walk *walk)
{
    if (walk->copies == NULL)
        return;
    copies_drop(walk, 0);
    copies_clear(walk);
    mem_free(walk->copies);
    walk->copies = NULL;
}

/* The index of a folder among those of the batch, -1 if there is no room or memory for it. */
static int
folder_of(struct copies *copies, int folder)
{
    struct stat st;
    int fd;

    if (fstat(folder, &st) != 0)
        return -1;
    for (size_t i = copies->folder_count; i > 0; i--)
        if (copies->folder_inos[i - 1] == st.st_ino)
            return (int)i - 1;
    if (copies->folder_count == FOLDERS)
        return -1;
    fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    copies->folders[copies->folder_count] = fd;
    copies->folder_inos[copies->folder_count] = st.st_ino;
    return (int)copies->folder_count++;
}

static int
copy_one(struct walk *walk, const struct tree_entry *entry, struct copied *file,
         struct coffer_error *why)
{
    int from = open_quietly(entry->folder, entry->name), to, rc;

    if (from < 0)
        return volume_fail(why, -errno, "cannot be opened: %s", strerror(errno));
    rc = copy_make(walk, entry->folder, file->copy, &to);
    if (rc != 0) {
        close(from);
        return volume_fail(why, rc, "no copy can be made beside it: %s", strerror(-rc));
    }
    rc = copy_file(walk, from, to, why);
    if (rc != 0)
        (void)unlinkat(entry->folder, file->copy, 0);
    return rc;
}

/* What a failed copy means: for the walk, or for the file alone. */
static int
copy_failed(struct walk *walk, const struct tree_entry *entry, int failed,
            const struct coffer_error *why)
{
    switch (failed) {
    case -ECANCELED:
        return COFFER_E_CANCELLED; /* walk->err says so */
    case -ENOMEM:
        return error_nomem(walk->err);
    case -ENOSPC:
    case -EDQUOT:
        return error_set(walk->err, COFFER_E_LIMIT,
                         "%s: no room to copy it: %llu bytes have to be free in the lower "
                         "filesystem.  Nothing of it was changed; walk again then",
                         entry->path, (unsigned long long)entry->st->st_size);
    default:
        walk_miss(walk, entry->path, why, failed);
        return COFFER_OK;
    }
}

int
reencrypt_add(struct walk *walk, const struct tree_entry *entry)
{
    uint64_t lower_size = (uint64_t)entry->st->st_size;
    struct copied file = {0};
    struct copies *copies;
    struct coffer_error why = {0};
    int rc = COFFER_OK, failed;

    if (walk->copies == NULL && (walk->copies = mem_alloc(sizeof *walk->copies)) == NULL)
        return error_nomem(walk->err);
    copies = walk->copies;
    /* The room of files that were replaced is free only after the batch. */
    if (copies->bytes > 0 && lower_size + lower_size / 64 + (1 << 20) > free_bytes(walk->root))
        rc = reencrypt_flush(walk);
    if (rc == COFFER_OK)
        rc = room_for(walk, entry->path, lower_size);
    file.folder = folder_of(copies, entry->folder);
    if (rc == COFFER_OK && file.folder < 0) {
        rc = reencrypt_flush(walk);
        file.folder = folder_of(copies, entry->folder);
        if (rc == COFFER_OK && file.folder < 0)
            return error_set(walk->err, COFFER_E_IO, "%s: its folder cannot be opened",
                             entry->path);
    }
    if (rc != COFFER_OK)
        return rc;
    failed = copy_one(walk, entry, &file, &why);
    if (failed != 0)
        return copy_failed(walk, entry, failed, &why);
    file.name = mem_strdup(entry->name);
    file.path = mem_strdup(entry->path);
    copies->bytes += lower_size;
    copies->files[copies->count++] = file;
    if (file.name == NULL || file.path == NULL) {
        copies_drop(walk, copies->count - 1);
        mem_free(file.name);
        mem_free(file.path);
        copies->count--;
        return error_nomem(walk->err);
    }
    return copies->count == BATCH || copies->bytes > BYTES_MAX ? reencrypt_flush(walk) : COFFER_OK;
}
