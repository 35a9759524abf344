/* SPDX-License-Identifier: Apache-2.0 */
/* Names to inodes.  The kernel remembers both that a name is there and that it is not, since nobody else changes the lower tree.
 *
 * While name keys are changed, or names come to be encrypted, a name stands in its present form or in one of the former ones
 * (format.h, mixed_names).  Names are made in the present form alone, and the others only become fewer; so a name is new if it
 * stands in no former form, and O_EXCL on the present one decides.
 */
#include "volume/fuse/internal.h"
#include "volume/fuse/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int
lookup_name(struct volume_fs *fs, const char *name, char lower[VOLUME_NAME_MAX + 1])
{
    int rc = fs->format->name_to_lower(fs->volume, bytes_str(name), lower, NULL);

    if (rc == 0 && strncmp(lower, VOLUME_HIDDEN, strlen(VOLUME_HIDDEN)) == 0)
        rc = -EPERM;
    return rc;
}

int
lookup_form(struct volume_fs *fs, unsigned i, const char *name, char lower[VOLUME_NAME_MAX + 1])
{
    int rc;

    if (i == 0)
        return lookup_name(fs, name, lower);
    rc = fs->format->name_former(fs->volume, i - 1, bytes_str(name), lower, NULL);
    if (rc == 0 && strncmp(lower, VOLUME_HIDDEN, strlen(VOLUME_HIDDEN)) == 0)
        rc = -EPERM;
    return rc;
}

static bool
stands(int folder_fd, const char *lower)
{
    struct stat st;

    return fstatat(folder_fd, lower, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The first former form that is there; -ENOENT: none. */
static int
find_former(struct volume_fs *fs, int folder_fd, const char *name, char lower[VOLUME_NAME_MAX + 1])
{
    int rc;

    for (unsigned i = 1;; i++) {
        rc = lookup_form(fs, i, name, lower);
        if (rc == -ENOENT || rc == -ENOMEM || (rc == 0 && stands(folder_fd, lower)))
            return rc;
    }
}

int
lookup_standing(struct volume_fs *fs, int folder_fd, const char *name,
                char lower[VOLUME_NAME_MAX + 1])
{
    char former[VOLUME_NAME_MAX + 1];
    int rc = lookup_name(fs, name, lower), found;

    if (!fs->format->names_mixed(fs->volume) || rc == -ENOMEM ||
        (rc == 0 && stands(folder_fd, lower)))
        return rc;
    found = find_former(fs, folder_fd, name, former);
    if (found == -ENOENT)
        return rc;
    if (found == 0)
        strcpy(lower, former);
    return found;
}

int
lookup_free(struct volume_fs *fs, int folder_fd, const char *name, char lower[VOLUME_NAME_MAX + 1])
{
    int rc;

    if (fs->format->names_mixed(fs->volume)) {
        rc = find_former(fs, folder_fd, name, lower);
        if (rc != -ENOENT)
            return rc == 0 ? -EEXIST : rc;
    }
    return lookup_name(fs, name, lower);
}

int
lookup_forward(struct volume_fs *fs, struct inode *folder, const char *name,
               char lower[VOLUME_NAME_MAX + 1])
{
    char present[VOLUME_NAME_MAX + 1];
    int rc = lookup_standing(fs, folder->fd, name, lower);

    if (rc != 0 || lookup_name(fs, name, present) != 0 || strcmp(lower, present) == 0)
        return rc;
    if (renameat(folder->fd, lower, folder->fd, present) != 0)
        return -errno;
    strcpy(lower, present);
    watch_note(fs, folder, lower);
    return 0;
}

int
lookup_entry(struct volume_fs *fs, struct inode *inode, struct fuse_entry_param *entry)
{
    int rc;

    memset(entry, 0, sizeof *entry);
    rc = attr_of(fs, inode, &entry->attr);
    if (rc != 0) {
        inode_release(fs, inode, 1);
        return rc;
    }
    entry->ino = inode == fs->root ? FUSE_ROOT_ID : (uintptr_t)inode;
    entry->attr_timeout = FOREVER;
    entry->entry_timeout = FOREVER;
    return 0;
}

/* Names held: between a copy's taking its file's name and our knowing it (mirror.c), the name would give the same file another inode. */
static int
acquire(struct volume_fs *fs, struct inode *folder, const char *lower, const char *name, struct inode **out)
{
    char found[VOLUME_NAME_MAX + 1];
    int rc;

    if (lower != NULL && !fs->format->names_mixed(fs->volume))
        return inode_acquire(fs, folder->fd, lower, out);
    rc = lookup_standing(fs, folder->fd, name, found);
    return rc != 0 ? rc : inode_acquire(fs, folder->fd, found, out);
}

int
lookup_in(struct volume_fs *fs, struct inode *folder, const char *lower, const char *name,
          struct fuse_entry_param *entry)
{
    struct inode *inode = NULL;
    int rc = inode_pin(fs, folder, REACH_NODE, NULL);

    if (rc != 0)
        return rc;
    pthread_rwlock_rdlock(&fs->names);
    rc = acquire(fs, folder, lower, name, &inode);
    pthread_rwlock_unlock(&fs->names);
    inode_unpin(fs, folder);
    if (rc != 0)
        return rc;
    direct_named(fs, folder, inode, name);
    return lookup_entry(fs, inode, entry);
}

void
op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct volume_fs *fs = fs_of(req);
    struct fuse_entry_param entry;
    int rc = lookup_in(fs, inode_of(fs, parent), NULL, name, &entry);

    if (rc == -ENOENT || rc == -EPERM) { /* -EPERM: no file can have that name */
        memset(&entry, 0, sizeof entry);
        entry.entry_timeout = FOREVER;
        rc = 0;
    }
    if (rc != 0)
        reply_status(req, rc);
    else
        (void)fuse_reply_entry(req, &entry);
}

void
op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
    struct volume_fs *fs = fs_of(req);

    if (ino != FUSE_ROOT_ID)
        inode_release(fs, inode_of(fs, ino), count);
    fuse_reply_none(req);
}

void
op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    struct volume_fs *fs = fs_of(req);

    for (size_t i = 0; i < count; i++)
        if (forgets[i].ino != FUSE_ROOT_ID)
            inode_release(fs, inode_of(fs, forgets[i].ino), forgets[i].nlookup);
    fuse_reply_none(req);
}
