/* SPDX-License-Identifier: Apache-2.0 */
/* The record of metadata as they were before a batch was rewrapped (docs/FORMAT.md, "A lower folder while its keys change").
 *
 *   write the record, synced ─▶ rewrap every file of it ─▶ sync the filesystem ─▶ remove the record
 *
 * Found after a crash, all of it is put back: a header that was torn is whole again, and one that was not is rewrapped anew by the
 * next walk.  The format knows the file again by what is in its metadata, since its number may be another file's by now.
 */
#include "volume/rotate/internal.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define MAGIC "cofundo1"

void
undo_begin(struct buf *record)
{
    buf_clear(record);
    buf_str(record, MAGIC);
}

void
undo_add(struct buf *record, const struct undo_entry *entry)
{
    buf_be64(record, entry->dev);
    buf_be64(record, entry->ino);
    buf_lp32(record, entry->path);
    buf_lp32(record, entry->metadata);
}

int
undo_write(int root, struct buf *record, struct coffer_error *err)
{
    return kept_write(root, VOLUME_UNDO, record, err);
}

int
undo_remove(int root, struct coffer_error *err)
{
    return kept_remove(root, VOLUME_UNDO, err);
}

/* ---- after a crash ---- */

struct recovery {
    int root;
    const struct volume_format *format;
    struct volume *volume;
    struct undo_entry *entries;
    size_t count, missing;
    struct coffer_error *err;
};

/* Put one file's metadata back, if it is the file on record; sets `ino` of the entry to 0 then. */
static int
put_back(struct recovery *r, struct undo_entry *entry, int folder, const char *name)
{
    struct lower *lower;
    struct stat st;
    int fd = openat(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), rc;

    if (fd < 0)
        return errno == ENOENT || errno == ELOOP || errno == EISDIR ? 0 : -errno;
    if (fstat(fd, &st) != 0 || st.st_ino != entry->ino || !S_ISREG(st.st_mode)) {
        close(fd);
        return 0;
    }
    rc = lower_fd_open(fd, &lower, r->err);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    rc = r->format->file_put_back(r->volume, lower, entry->metadata, r->err);
    if (rc == 0)
        rc = lower->ops->sync(lower, false);
    lower->ops->close(lower);
    if (rc == 0) {
        entry->ino = 0;
        r->missing--;
    }
    return rc;
}

static int
put_back_at(struct recovery *r, struct undo_entry *entry)
{
    char *path = mem_strndup((const char *)entry->path.ptr, entry->path.len);
    const char *name;
    int folder, rc = 0;

    if (path == NULL)
        return -ENOMEM;
    folder = path_folder(r->root, path, &name);
    if (folder >= 0) {
        rc = put_back(r, entry, folder, name);
        close(folder);
    } else if (folder != -ENOENT && folder != -ENOTDIR && folder != -ELOOP) {
        rc = folder;
    }
    mem_free(path);
    return rc;
}

/* A file that was renamed since is found by its number. */
static int
visit_moved(void *arg, const struct tree_entry *at)
{
    struct recovery *r = arg;
    int rc = 0;

    if (r->missing == 0 || !S_ISREG(at->st->st_mode))
        return 0;
    for (size_t i = 0; rc == 0 && i < r->count; i++)
        if (r->entries[i].ino == at->st->st_ino)
            rc = put_back(r, &r->entries[i], at->folder, at->name);
    return rc;
}

static int
parse(struct cursor c, struct recovery *r)
{
    size_t room = 0;

    while (cursor_left(&c) > 0) {
        struct undo_entry entry;

        entry.dev = cursor_be64(&c);
        entry.ino = cursor_be64(&c);
        entry.path = cursor_lp32(&c);
        entry.metadata = cursor_lp32(&c);
        if (c.bad)
            return error_set(r->err, COFFER_E_FORMAT, VOLUME_UNDO " is damaged: it ends early");
        if (r->count == room) {
            struct undo_entry *more;

            room = room * 2 + 64;
            more = mem_grow(r->entries, room * sizeof *more);
            if (more == NULL)
                return error_nomem(r->err);
            r->entries = more;
        }
        r->entries[r->count++] = entry;
    }
    r->missing = r->count;
    return COFFER_OK;
}

static int
put_all_back(struct recovery *r)
{
    struct tree tree = {.root = r->root, .visit = visit_moved, .arg = r};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < r->count; i++)
        rc = put_back_at(r, &r->entries[i]);
    if (rc == 0 && r->missing > 0)
        rc = tree_walk(&tree, r->root, "", "");
    if (rc >= 0)
        return rc;
    if (r->err != NULL && r->err->message[0] == 0)
        (void)volume_fail(r->err, rc, "headers on record cannot be put back: %s", strerror(-rc));
    return rc == -ENOMEM ? COFFER_E_NOMEM : COFFER_E_IO;
}

int
undo_recover(int root, const struct volume_format *format, struct volume *volume,
             struct coffer_error *err)
{
    struct coffer_error local = {0};
    struct recovery r = {root, format, volume, .err = err != NULL ? err : &local};
    struct buf content;
    struct cursor c;
    int rc = kept_read(root, VOLUME_UNDO, MAGIC, &content, &c, &local);

    if (rc == COFFER_E_NOTFOUND) {
        rc = COFFER_OK;
    } else if (rc != COFFER_OK) {
        *r.err = local;
    } else {
        rc = parse(c, &r);
        if (rc == COFFER_OK)
            rc = put_all_back(&r);
        if (rc == COFFER_OK)
            rc = undo_remove(root, r.err);
        if (rc == COFFER_OK && fsync(root) != 0)
            rc = error_set(r.err, COFFER_E_IO, VOLUME_UNDO ": cannot remove it: %s",
                           strerror(errno));
    }
    mem_free(r.entries);
    buf_wipe(&content);
    return rc;
}
