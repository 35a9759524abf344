/* SPDX-License-Identifier: Apache-2.0 */
/* Names that go: unlink, rmdir, rename.
 *
 * Whoever takes a file's last name away sees to it that those who have it open can go on (it keeps its lower descriptor), and that
 * nobody takes a new file that gets the old number for it (see inode.c).
 */
#include "volume/fuse/internal.h"
#include "volume/fuse/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

/* The inode that is about to lose a name, held so that nothing else happens to it; NULL if nobody knows it. */
static int
victim_hold(struct volume_fs *fs, int folder_fd, const char *lower, struct inode **out)
{
    struct inode *inode;
    struct stat st;
    int rc;

    *out = NULL;
    if (fstatat(folder_fd, lower, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return -errno;
    inode = inode_find(fs, st.st_dev, st.st_ino);
    if (inode == NULL)
        return 0;
    pthread_rwlock_wrlock(&inode->lock);
    rc = inode_pin(fs, inode, REACH_NODE, NULL);
    if (rc != 0) {
        pthread_rwlock_unlock(&inode->lock);
        inode_release(fs, inode, 1);
        /* A lower file that does not even open must still be removable. */
        return rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE ? rc : 0;
    }
    *out = inode;
    return 0;
}

static void
victim_let_go(struct volume_fs *fs, struct inode *inode)
{
    struct stat st;

    if (inode == NULL)
        return;
    if (fstat(inode->fd, &st) == 0 && st.st_nlink == 0) {
        inode_keep(fs, inode);
        inode_forget_number(fs, inode);
    }
    inode_unpin(fs, inode);
    pthread_rwlock_unlock(&inode->lock);
    inode_release(fs, inode, 1);
}

static int
remove_lower(struct volume_fs *fs, struct inode *folder, const char *lower, int flags)
{
    struct inode *victim = NULL;
    int rc = victim_hold(fs, folder->fd, lower, &victim);

    if (rc == 0 && unlinkat(folder->fd, lower, flags) != 0)
        rc = -errno;
    victim_let_go(fs, victim);
    return rc;
}

/* What is gone is gone in every form.  That a name stands in two takes somebody who made one below; what then cannot be removed (a
 * folder with something in it) comes to light, and nobody above has asked for it to go. */
static void
remove_others(struct volume_fs *fs, struct inode *folder, const char *name, const char *lower)
{
    char other[VOLUME_NAME_MAX + 1];
    int rc;

    if (!fs->format->names_mixed(fs->volume))
        return;
    for (unsigned i = 0; (rc = lookup_form(fs, i, name, other)) != -ENOENT; i++) {
        if (rc != 0 || strcmp(other, lower) == 0)
            continue;
        rc = remove_lower(fs, folder, other, 0);
        if (rc == -EISDIR)
            rc = remove_lower(fs, folder, other, AT_REMOVEDIR);
        if (rc != 0 && rc != -ENOENT)
            fs_log(fs, "the name of %s stood in two forms, and the second cannot be removed: %s",
                   lower, strerror(-rc));
    }
}

static void
remove_name(fuse_req_t req, fuse_ino_t parent, const char *name, int flags)
{
    struct volume_fs *fs = fs_of(req);
    struct inode *folder = inode_of(fs, parent);
    char lower[VOLUME_NAME_MAX + 1];
    int rc = inode_pin(fs, folder, REACH_NODE, NULL);

    if (rc == 0) {
        pthread_rwlock_rdlock(&fs->names);
        rc = lookup_standing(fs, folder->fd, name, lower);
        if (rc == 0)
            rc = remove_lower(fs, folder, lower, flags);
        if (rc == 0)
            remove_others(fs, folder, name, lower);
        pthread_rwlock_unlock(&fs->names);
        inode_unpin(fs, folder);
    }
    reply_status(req, rc);
}

void
op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_name(req, parent, name, 0);
}

void
op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_name(req, parent, name, AT_REMOVEDIR);
}

/* ---- rename ---- */

struct end {
    struct inode *folder;
    const char *name;
    char lower[VOLUME_NAME_MAX + 1];
};

/* Whoever has a name now is, or is no longer, a direct file. */
static void
renamed(struct volume_fs *fs, const struct end *end)
{
    struct inode *inode;
    struct stat st;

    if (fstatat(end->folder->fd, end->lower, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return;
    inode = inode_find(fs, st.st_dev, st.st_ino);
    if (inode == NULL)
        return;
    direct_named(fs, end->folder, inode, end->name);
    inode_release(fs, inode, 1);
}

/* The lower names of both ends.  What is there and stays a name, the destination above all, is brought to its present form first: then
 * one system call replaces it, and no two forms of it are ever there. */
static int
find_ends(struct volume_fs *fs, struct end *from, struct end *to, unsigned flags)
{
    int rc;

    if ((flags & RENAME_EXCHANGE) != 0)
        rc = lookup_forward(fs, from->folder, from->name, from->lower);
    else
        rc = lookup_standing(fs, from->folder->fd, from->name, from->lower);
    if (rc != 0)
        return rc;
    return (flags & RENAME_NOREPLACE) != 0 ? lookup_free(fs, to->folder->fd, to->name, to->lower)
                                           : lookup_forward(fs, to->folder, to->name, to->lower);
}

/* Both folders pinned, fs->names held. */
static int
rename_pinned(struct volume_fs *fs, struct end *from, struct end *to, unsigned flags)
{
    struct inode *victim = NULL;
    int rc = find_ends(fs, from, to, flags);

    /* Only a plain rename takes a file away; no file there to take is the usual case. */
    if (rc == 0 && flags == 0) {
        rc = victim_hold(fs, to->folder->fd, to->lower, &victim);
        if (rc == -ENOENT)
            rc = 0;
    }
    if (rc == 0 && renameat2(from->folder->fd, from->lower, to->folder->fd, to->lower, flags) != 0)
        rc = -errno;
    victim_let_go(fs, victim);
    if (rc != 0)
        return rc;
    renamed(fs, to);
    watch_note(fs, to->folder, to->lower);
    if ((flags & RENAME_EXCHANGE) != 0) {
        renamed(fs, from);
        watch_note(fs, from->folder, from->lower);
        return 0;
    }
    remove_others(fs, from->folder, from->name, from->lower);
    remove_others(fs, to->folder, to->name, to->lower);
    return 0;
}

void
op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
          const char *new_name, unsigned flags)
{
    struct volume_fs *fs = fs_of(req);
    struct end from = {.folder = inode_of(fs, parent), .name = name};
    struct end to = {.folder = inode_of(fs, new_parent), .name = new_name};
    int rc = (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0 ? -EINVAL : 0;

    if (rc == 0)
        rc = inode_pin(fs, from.folder, REACH_NODE, NULL);
    if (rc == 0) {
        rc = inode_pin(fs, to.folder, REACH_NODE, NULL);
        if (rc == 0) {
            pthread_rwlock_rdlock(&fs->names);
            rc = rename_pinned(fs, &from, &to, flags);
            pthread_rwlock_unlock(&fs->names);
            inode_unpin(fs, to.folder);
        }
        inode_unpin(fs, from.folder);
    }
    reply_status(req, rc);
}
