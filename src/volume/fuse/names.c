/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/fuse/names.h"

#include "volume/fuse/internal.h"
#include "volume/name_forward.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int
names_change(struct volume_fs *fs, const struct volume_options *options,
             const struct volume_key *keys, size_t count, const struct volume_key *name_keys,
             size_t name_count, struct coffer_error *err)
{
    int rc;

    pthread_rwlock_wrlock(&fs->names);
    rc = fs->format->change(fs->volume, options, keys, count, name_keys, name_count, err);
    pthread_rwlock_unlock(&fs->names);
    if (rc == 0)
        dir_settle_all(fs);
    return rc;
}

/* The inode of a link that was made anew is now the new lower file's. */
static int
follow_link(struct volume_fs *fs, struct inode *inode, int folder_fd, const char *lower)
{
    struct stat st;
    int fd = openat(folder_fd, lower, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) != 0) {
        int rc = -errno;

        close(fd);
        return rc;
    }
    if (st.st_dev == inode->dev && st.st_ino == inode->ino)
        close(fd); /* only its name has changed */
    else
        inode_replace(fs, inode, fd, NULL, &st);
    return 0;
}

/* fs->names held alone. */
static int
forward_link(struct volume_fs *fs, struct inode *inode, int folder_fd, const char *lower)
{
    char now[VOLUME_NAME_MAX + 1];
    int rc;

    pthread_rwlock_wrlock(&inode->lock);
    rc = inode_pin(fs, inode, REACH_NODE, NULL);
    if (rc == 0) {
        rc = name_forward(fs->format, fs->volume, folder_fd, lower, now);
        if (rc == 0)
            rc = follow_link(fs, inode, folder_fd, now);
        inode_unpin(fs, inode);
    }
    pthread_rwlock_unlock(&inode->lock);
    return rc;
}

int
names_bring_forward(struct volume_fs *fs, int folder_fd, const char *lower_name)
{
    struct inode *link = NULL;
    struct stat st;
    int rc;

    pthread_rwlock_wrlock(&fs->names);
    if (fstatat(folder_fd, lower_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
        link = inode_find(fs, st.st_dev, st.st_ino);
    if (link != NULL)
        rc = forward_link(fs, link, folder_fd, lower_name);
    else
        rc = name_bring_forward(fs->format, fs->volume, folder_fd, lower_name);
    pthread_rwlock_unlock(&fs->names);
    if (link != NULL)
        inode_release(fs, link, 1);
    return rc;
}
