/* SPDX-License-Identifier: Apache-2.0 */
/* One file of a volume in use: looked at, given a new header, or copied, with its inode's lock where its users have to wait. */
#include "volume/rotate/internal.h"

#include "base/mem.h"
#include "volume/attributes.h"
#include "volume/fuse/internal.h"
#include "volume/fuse/mirror.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 1 << 20, CHASE = 64 };

/* ---- an inode held alone ---- */

/* Locked alone and pinned; its lower file, which nobody is making or changing now. */
static int
hold(struct volume_fs *fs, struct inode *inode, struct lower **lower, struct coffer_error *why)
{
    int rc;

    pthread_rwlock_wrlock(&inode->lock);
    rc = inode_pin(fs, inode, REACH_NODE, why);
    if (rc != 0) {
        pthread_rwlock_unlock(&inode->lock);
        return rc;
    }
    *lower = inode->file != NULL ? fs->format->file_lower(inode->file) : inode->lower;
    if (*lower != NULL)
        return 0;
    inode_unpin(fs, inode);
    pthread_rwlock_unlock(&inode->lock);
    return -EACCES;
}

static void
let_go(struct volume_fs *fs, struct inode *inode)
{
    inode_unpin(fs, inode);
    pthread_rwlock_unlock(&inode->lock);
}

static int
acquire(struct volume_fs *fs, const struct tree_entry *entry, struct inode **inode)
{
    int rc = inode_acquire(fs, entry->folder, entry->name, inode);

    if (rc == 0 && !S_ISREG((*inode)->type)) {
        inode_release(fs, *inode, 1);
        rc = -ENOENT; /* another thing has the name by now */
    }
    return rc;
}

void
online_release(struct walk *walk, struct inode *inode)
{
    inode_release(walk->fs, inode, 1);
}

/* A name that is being changed this very moment is there again afterwards. */
int
online_unlink(struct volume_fs *fs, int folder, const char *name)
{
    int rc;

    pthread_rwlock_wrlock(&fs->names);
    rc = unlinkat(folder, name, 0) != 0 ? -errno : 0;
    pthread_rwlock_unlock(&fs->names);
    return rc;
}

int
online_info(struct volume_fs *fs, const struct tree_entry *entry, struct volume_file_info *info,
            struct coffer_error *why)
{
    struct inode *inode;
    struct lower *lower;
    int rc = acquire(fs, entry, &inode);

    if (rc != 0)
        return rc;
    rc = hold(fs, inode, &lower, why);
    if (rc == 0) {
        rc = fs->format->file_info(fs->volume, lower, info, why);
        let_go(fs, inode);
    }
    inode_release(fs, inode, 1);
    return rc == 0 ? 0 : why->message[0] != 0 ? rc : volume_fail(why, rc, "%s", strerror(-rc));
}

enum file_state
online_state(struct walk *walk, const struct tree_entry *entry, struct volume_file_info *info,
             struct coffer_error *why)
{
    struct inode *inode;
    struct lower *lower;
    enum file_state state = FILE_BAD;
    int rc = acquire(walk->fs, entry, &inode);

    if (rc != 0)
        return rc == -ENOENT ? FILE_GONE : FILE_BAD;
    memset(why, 0, sizeof *why);
    rc = hold(walk->fs, inode, &lower, why);
    if (rc == 0) {
        state = lower_state(walk, lower, info, why);
        let_go(walk->fs, inode);
    }
    inode_release(walk->fs, inode, 1);
    return state;
}

/* ---- a new header ---- */

int
online_prepare(struct walk *walk, const struct tree_entry *entry, struct inode **inode,
               struct buf *metadata, struct coffer_error *why)
{
    struct volume_fs *fs = walk->fs;
    struct lower *lower;
    bool writable;
    int rc = acquire(fs, entry, inode);

    if (rc != 0) {
        *inode = NULL;
        return rc;
    }
    rc = hold(fs, *inode, &lower, why);
    if (rc == 0) {
        rc = fs->format->file_metadata(fs->volume, lower, metadata, why);
        writable = (*inode)->access == ACCESS_WRITE;
        inode_unpin(fs, *inode);
        if (rc == 0 && !writable)
            rc = inode_make_writable(fs, *inode);
        pthread_rwlock_unlock(&(*inode)->lock);
    }
    if (rc != 0) {
        inode_release(fs, *inode, 1);
        *inode = NULL;
    }
    return rc;
}

/* A header is not content: the file's times stay. */
int
online_rewrap(struct walk *walk, struct inode *inode, bool *changed, struct coffer_error *why)
{
    struct volume_fs *fs = walk->fs;
    struct lower *lower;
    struct stat st;
    int rc = hold(fs, inode, &lower, why);

    if (rc != 0)
        return rc;
    rc = fstat(inode->fd, &st) != 0 ? -errno : 0;
    if (rc == 0)
        rc = fs->format->file_rewrap(fs->volume, lower, changed, why);
    if (rc == 0 && *changed)
        (void)futimens(inode->fd, (struct timespec[2]){st.st_atim, st.st_mtim});
    let_go(fs, inode);
    return rc;
}

int
online_sync(struct walk *walk, struct inode *inode)
{
    struct lower *lower;
    int rc;

    pthread_rwlock_rdlock(&inode->lock);
    rc = inode_pin(walk->fs, inode, REACH_NODE, NULL);
    if (rc == 0) {
        lower = inode->file != NULL ? walk->format->file_lower(inode->file) : inode->lower;
        rc = lower->ops->sync(lower, false);
        inode_unpin(walk->fs, inode);
    }
    pthread_rwlock_unlock(&inode->lock);
    return rc;
}

/* ---- a copy ---- */

/* How a file's names are moved at the end. */
struct place {
    struct walk *walk;
    int folder; /* of the copy */
    char copy[64];
    const char *name; /* the file's only name, beside the copy; NULL: see links, or it has none */
    struct linked *links; /* all its names */
    int status;           /* of the walk, when moving the names could not be finished */
};

static int
replace_name(struct place *place, const struct inode *inode)
{
    struct stat st;

    if (fstatat(place->folder, place->name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        st.st_dev != inode->dev || st.st_ino != inode->ino || st.st_nlink != 1)
        return -EAGAIN;
    return renameat(place->folder, place->copy, place->folder, place->name) != 0 ? -errno : 0;
}

static int
replace_links(struct place *place, const struct inode *inode)
{
    struct walk *walk = place->walk;
    struct stat made;
    char *path;
    bool begun = false;

    if (links_known(walk, place->links) != 0)
        return -EAGAIN;
    if (fstatat(place->folder, place->copy, &made, AT_SYMLINK_NOFOLLOW) != 0)
        return -errno;
    path = path_beside(place->links->paths[0], place->copy);
    if (path == NULL)
        return -ENOMEM;
    place->status = links_record(walk, place->links, path, &made, &begun, walk->err);
    mem_free(path);
    /* Begun and not finished, the record stays, and so does the new file. */
    return place->status == COFFER_OK || begun ? 0 : -EIO;
}

static int
replace(void *arg, struct inode *inode)
{
    struct place *place = arg;

    if (place->links != NULL)
        return replace_links(place, inode);
    if (place->name != NULL)
        return replace_name(place, inode);
    return unlinkat(place->folder, place->copy, 0) != 0 ? -errno : 0;
}

static int
settle(void *arg, struct inode *inode)
{
    struct place *place = arg;

    return place->links != NULL ? 0 : fsync(place->folder) != 0 ? -errno : 0;
}

/* Copy until nothing is left, or a file that grows as fast as it is copied has been chased for long enough. */
static int
copy_forward(struct walk *walk, struct inode *inode, int *stopped, struct coffer_error *why)
{
    struct mirror_status status = {0};
    uint64_t before = 0, most = 0;
    size_t over = 0;
    int rc;

    do {
        rc = mirror_step(walk->fs, inode, PIECE, &status, why);
        if (rc != 0)
            return rc;
        if (status.done > most) {
            walk_count(walk, &walk->board->progress.bytes_done, status.done - most);
            most = status.done;
        }
        *stopped = walk_step(walk, status.done > before ? status.done - before : 0);
        if (*stopped != COFFER_OK)
            return -ECANCELED;
        before = status.done;
        over += status.size - status.done < PIECE;
    } while (status.done < status.size && over < CHASE);
    return 0;
}

/* What a failed copy means for the walk; -EAGAIN: the file will be seen again. */
static int
outcome(struct walk *walk, const char *path, uint64_t size, int rc, struct coffer_error *why)
{
    switch (rc) {
    case 0:
    case -ECANCELED:
    case -EAGAIN:
    case -ENOENT:
        return COFFER_OK;
    case -ENOMEM:
        return error_nomem(walk->err);
    case -ENOSPC:
    case -EDQUOT:
        return error_set(walk->err, COFFER_E_LIMIT,
                         "%s: no room to copy it: %llu bytes have to be free in the lower "
                         "filesystem.  Nothing of it was changed; walk again then",
                         path, (unsigned long long)size);
    default:
        walk_miss(walk, path, why, rc);
        return COFFER_OK;
    }
}

/* Copy an inode's file to `place`, whose folder is given; `again` is set if it changed its names meanwhile. */
static int
copy_inode(struct walk *walk, struct inode *inode, struct place *place, const char *path,
           uint64_t size, unsigned names, bool *again)
{
    struct mirror_end end = {replace, settle, place};
    struct coffer_error why = {0};
    int fd, rc, stopped = COFFER_OK;

    *again = false;
    rc = room_for(walk, path, size);
    if (rc != COFFER_OK)
        return rc;
    rc = copy_make(walk, place->folder, place->copy, &fd);
    if (rc == 0) {
        int from = place->name != NULL ? open_quietly(place->folder, place->name) : -1;

        if (from >= 0) {
            attributes_begin(from, fd);
            close(from);
        }
        rc = mirror_begin(walk->fs, inode, fd, walk->volume, &why);
        if (rc == 0) {
            rc = copy_forward(walk, inode, &stopped, &why);
            if (rc == 0)
                rc = mirror_finish(walk->fs, inode, &end, &why);
            if (rc != 0)
                mirror_cancel(walk->fs, inode);
        }
        if (rc != 0)
            (void)unlinkat(place->folder, place->copy, 0);
    }
    if (rc == 0)
        walk_count(walk, &walk->board->progress.files_done, names);
    *again = rc == -EAGAIN;
    if (stopped != COFFER_OK || place->status != COFFER_OK)
        return stopped != COFFER_OK ? stopped : place->status;
    rc = outcome(walk, path, size, rc, &why);
    return rc != COFFER_OK ? rc : walk_step(walk, 0);
}

int
online_copy(struct walk *walk, const struct tree_entry *entry)
{
    struct place place = {.walk = walk, .folder = entry->folder, .name = entry->name};
    struct inode *inode;
    bool again;
    int rc = acquire(walk->fs, entry, &inode);

    if (rc != 0)
        return outcome(walk, entry->path, 0, rc, NULL);
    rc = copy_inode(walk, inode, &place, entry->path, (uint64_t)entry->st->st_size, 1, &again);
    inode_release(walk->fs, inode, 1);
    /* Renamed or removed, it was noted elsewhere; with another name it is a matter of links. */
    return rc == COFFER_OK && again ? links_add(walk, entry) : rc;
}

/* Its names were changed just then: it is looked for anew, or in the last round left to another walk, which has to come. */
static void
unsettled(struct walk *walk, const struct linked *file)
{
    walk->unsettled++;
    if (walk->last_round)
        walk_miss(walk, file->count > 0 ? file->paths[0] : "(a file with several names)", NULL, -EBUSY);
}

int
online_links(struct walk *walk, struct linked *file)
{
    struct place place = {.walk = walk, .links = file};
    struct inode *inode = NULL;
    struct stat st;
    const char *name;
    bool again = false;
    int known = links_known(walk, file), rc = COFFER_OK;

    if (known == -ENOENT)
        return COFFER_OK;
    if (known != 0) {
        unsettled(walk, file);
        return COFFER_OK;
    }
    place.folder = path_folder(walk->root, file->paths[0], &name);
    if (place.folder < 0) {
        unsettled(walk, file);
        return COFFER_OK;
    }
    known = inode_acquire(walk->fs, place.folder, name, &inode);
    if (known == 0 && inode->ino == file->ino && inode->dev == file->dev &&
        fstatat(place.folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        rc = copy_inode(walk, inode, &place, file->paths[0], (uint64_t)st.st_size,
                        (unsigned)file->count, &again);
    else
        again = true;
    if (known == 0)
        inode_release(walk->fs, inode, 1);
    close(place.folder);
    if (again)
        unsettled(walk, file);
    return rc;
}

/* ---- files without a name ---- */

static int
nameless(void *arg, struct inode *inode)
{
    struct walk *walk = arg;
    struct place place = {.walk = walk, .folder = walk->root};
    struct volume_file_info info = {0};
    struct coffer_error why = {0};
    struct lower *lower;
    enum file_state state;
    bool changed, again;
    int rc;

    if (!S_ISREG(inode->type))
        return COFFER_OK;
    rc = hold(walk->fs, inode, &lower, &why);
    if (rc == 0) {
        state = lower_state(walk, lower, &info, &why);
        let_go(walk->fs, inode);
        if (state == FILE_CURRENT)
            return COFFER_OK;
        /* A crash takes it away, so there is nothing to put on record. */
        if (state == FILE_OTHER && walk->options.work == VOLUME_REWRAP)
            rc = online_rewrap(walk, inode, &changed, &why);
        else if (state == FILE_OTHER)
            return copy_inode(walk, inode, &place, "(a removed file, in use)", info.size, 0,
                              &again);
        else
            rc = -EIO;
    }
    if (rc != 0)
        walk_miss(walk, "(a removed file, in use)", &why, rc);
    return walk_step(walk, 0);
}

int
online_nameless(struct walk *walk)
{
    int rc = inode_each_nameless(walk->fs, nameless, walk);

    return rc >= 0 ? rc : error_nomem(walk->err);
}
