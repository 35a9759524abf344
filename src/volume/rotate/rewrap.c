/* SPDX-License-Identifier: Apache-2.0 */
/* New headers, a batch at a time: the old ones on record and synced, every header rewritten, one sync, the record removed. */
#include "volume/rotate/internal.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BATCH = 512, FEW = 8, RECORD_MAX = 16 << 20 };

struct member {
    struct inode *inode; /* of a volume in use */
    struct lower *lower; /* else */
    char *path;
    int fd; /* of `lower` */
    struct timespec times[2];
    bool changed;
};
struct batch {
    struct buf record;
    size_t count;
    struct member members[BATCH];
};

static void
member_wipe(struct walk *walk, struct member *member)
{
    if (member->inode != NULL)
        online_release(walk, member->inode);
    if (member->lower != NULL)
        member->lower->ops->close(member->lower);
    mem_free(member->path);
    memset(member, 0, sizeof *member);
}

static void
batch_clear(struct walk *walk)
{
    struct batch *batch = walk->batch;

    for (size_t i = 0; i < batch->count; i++)
        member_wipe(walk, &batch->members[i]);
    batch->count = 0;
    undo_begin(&batch->record);
}

void
rewrap_free(struct walk *walk)
{
    if (walk->batch == NULL)
        return;
    batch_clear(walk);
    buf_wipe(&walk->batch->record);
    mem_free(walk->batch);
    walk->batch = NULL;
}

static int
batch_open(struct walk *walk)
{
    if (walk->batch != NULL)
        return COFFER_OK;
    walk->batch = mem_alloc(sizeof *walk->batch);
    if (walk->batch == NULL)
        return error_nomem(walk->err);
    buf_init(&walk->batch->record, RECORD_MAX);
    undo_begin(&walk->batch->record);
    return COFFER_OK;
}

/* ---- one file ---- */

static int
open_lower(const struct tree_entry *entry, struct member *member, struct coffer_error *why)
{
    int fd = openat(entry->folder, entry->name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), rc;

    if (fd < 0)
        return -errno;
    member->fd = fd;
    member->times[0] = entry->st->st_atim;
    member->times[1] = entry->st->st_mtim;
    rc = lower_fd_open(fd, &member->lower, why);
    if (rc != 0)
        close(fd);
    return rc;
}

/* Rewrite one header.  A header is not content: what it says about times stays. */
static int
rewrap(struct walk *walk, struct member *member, struct coffer_error *why)
{
    int rc;

    if (member->inode != NULL)
        return online_rewrap(walk, member->inode, &member->changed, why);
    rc = walk->format->file_rewrap(walk->volume, member->lower, &member->changed, why);
    if (rc == 0 && member->changed)
        (void)futimens(member->fd, member->times);
    return rc;
}

static int
sync_member(struct walk *walk, struct member *member)
{
    if (member->inode != NULL)
        return online_sync(walk, member->inode);
    return member->lower->ops->sync(member->lower, false);
}

/* ---- the batch ---- */

static int
sync_batch(struct walk *walk)
{
    struct batch *batch = walk->batch;
    int rc = 0;

    if (batch->count > FEW)
        return syncfs(walk->root) != 0 ? -errno : 0;
    for (size_t i = 0; rc == 0 && i < batch->count; i++)
        if (batch->members[i].changed)
            rc = sync_member(walk, &batch->members[i]);
    return rc;
}

static int
rewrap_members(struct walk *walk)
{
    struct batch *batch = walk->batch;
    struct volume_progress *progress = &walk->board->progress;
    int rc = COFFER_OK;

    for (size_t i = 0; rc == COFFER_OK && i < batch->count; i++) {
        struct member *member = &batch->members[i];
        struct coffer_error why = {0};
        int failed = rewrap(walk, member, &why);

        if (failed == -ENOMEM)
            return error_nomem(walk->err);
        if (failed != 0) {
            walk_miss(walk, member->path, &why, failed);
        } else {
            pthread_mutex_lock(&walk->board->mutex);
            progress->files_done++;
            progress->bytes_done += HEADER_BYTES;
            pthread_mutex_unlock(&walk->board->mutex);
        }
        rc = walk_step(walk, HEADER_BYTES);
    }
    return rc;
}

int
rewrap_flush(struct walk *walk)
{
    struct batch *batch = walk->batch;
    int rc, stopped, failed;

    if (batch == NULL || batch->count == 0)
        return COFFER_OK;
    rc = undo_write(walk->root, &batch->record, walk->err);
    if (rc != COFFER_OK)
        return rc;
    /* Whatever ends it early, what was written is synced, and only then is the record removed. */
    stopped = rewrap_members(walk);
    failed = sync_batch(walk);
    if (failed != 0)
        return error_set(walk->err, COFFER_E_IO,
                         "%s cannot be synced: %s.  Unmount it and start again: what was "
                         "rewritten last is undone first",
                         walk->lower, strerror(-failed));
    rc = undo_remove(walk->root, walk->err);
    batch_clear(walk);
    return stopped != COFFER_OK ? stopped : rc;
}

/* On record and in the batch; `lower` or `inode` is taken over. */
static int
join(struct walk *walk, const struct tree_entry *entry, struct member *member, struct buf *metadata)
{
    struct batch *batch = walk->batch;
    struct undo_entry undo = {.dev = entry->st->st_dev,
                              .ino = entry->st->st_ino,
                              .path = bytes_str(entry->path),
                              .metadata = buf_view(metadata)};

    member->path = mem_strdup(entry->path);
    undo_add(&batch->record, &undo);
    if (member->path == NULL || buf_status(&batch->record, NULL) != COFFER_OK) {
        member_wipe(walk, member);
        return error_nomem(walk->err);
    }
    batch->members[batch->count++] = *member;
    return batch->count == BATCH ? rewrap_flush(walk) : COFFER_OK;
}

/* Open, and read what is to be on record. */
static int
prepare(struct walk *walk, const struct tree_entry *entry, struct member *member,
        struct buf *metadata, struct coffer_error *why)
{
    int rc;

    if (walk->fs != NULL)
        return online_prepare(walk, entry, &member->inode, metadata, why);
    rc = open_lower(entry, member, why);
    if (rc == 0)
        rc = walk->format->file_metadata(walk->volume, member->lower, metadata, why);
    return rc;
}

int
rewrap_add(struct walk *walk, const struct tree_entry *entry)
{
    struct member member = {0};
    struct coffer_error why = {0};
    struct buf metadata;
    int rc = batch_open(walk), failed;

    if (rc != COFFER_OK)
        return rc;
    buf_init(&metadata, 65536);
    failed = prepare(walk, entry, &member, &metadata, &why);
    if ((failed == -EMFILE || failed == -ENFILE) && walk->batch->count > 0) {
        member_wipe(walk, &member);
        rc = rewrap_flush(walk);
        if (rc == COFFER_OK)
            failed = prepare(walk, entry, &member, &metadata, &why);
    }
    if (rc == COFFER_OK && failed == 0) {
        rc = join(walk, entry, &member, &metadata);
    } else {
        member_wipe(walk, &member);
        if (failed == -ENOMEM)
            rc = error_nomem(walk->err);
        else if (rc == COFFER_OK && (failed == -EACCES || failed == -EPERM || failed == -ETXTBSY))
            rc = copy_entry(walk, entry); /* not to be written, but perhaps to be replaced */
        else if (rc == COFFER_OK && failed != -ENOENT)
            walk_miss(walk, entry->path, &why, failed);
    }
    buf_wipe(&metadata);
    return rc;
}
