/* SPDX-License-Identifier: Apache-2.0 */
/* Names to inodes.  The kernel remembers both that a name is there and that it is not, since nobody else changes the lower tree. */
#include "volume/fuse/internal.h"

#include <errno.h>
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

int
lookup_in(struct volume_fs *fs, struct inode *folder, const char *lower, const char *name,
          struct fuse_entry_param *entry)
{
    struct inode *inode;
    int rc = inode_pin(fs, folder, REACH_NODE, NULL);

    if (rc != 0)
        return rc;
    rc = inode_acquire(fs, folder->fd, lower, &inode);
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
    char lower[VOLUME_NAME_MAX + 1];
    int rc = lookup_name(fs, name, lower);

    if (rc == -EPERM)
        rc = -ENOENT;
    if (rc == 0)
        rc = lookup_in(fs, inode_of(fs, parent), lower, name, &entry);
    if (rc == -ENOENT) {
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
