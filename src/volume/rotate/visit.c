/* SPDX-License-Identifier: Apache-2.0 */
/* What a lower file is under, and so what it needs: counted first, then moved. */
#include "volume/rotate/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum file_state
lower_state(const struct walk *walk, struct lower *lower, struct volume_file_info *info,
            struct coffer_error *why)
{
    int rc = walk->format->file_info(walk->volume, lower, info, why);
    bool current;

    if (rc != 0)
        return FILE_BAD;
    /* Without a key: another's file that the volume shows as it is. */
    if (!info->empty && info->key_count == 0)
        return FILE_CURRENT;
    current = walk->options.work == VOLUME_REWRAP
                  ? walk->format->file_keys_current(walk->volume, info)
                  : walk->format->file_is_current(walk->volume, info);
    return current ? FILE_CURRENT : FILE_OTHER;
}

/* Without a trace in its time of access, where that is possible. */
int
open_quietly(int folder, const char *name)
{
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int fd = openat(folder, name, flags | O_NOATIME);

    return fd < 0 && errno == EPERM ? openat(folder, name, flags) : fd;
}

enum file_state
file_state(const struct walk *walk, int folder, const char *name, struct volume_file_info *info,
           struct coffer_error *why)
{
    int fd = open_quietly(folder, name);
    enum file_state state;
    struct lower *lower;

    memset(info, 0, sizeof *info);
    if (fd < 0) {
        if (errno == ENOENT || errno == ELOOP)
            return FILE_GONE;
        (void)volume_fail(why, -errno, "cannot be opened: %s", strerror(errno));
        return FILE_BAD;
    }
    if (lower_fd_open(fd, &lower, why) != 0) {
        close(fd);
        return FILE_BAD;
    }
    state = lower_state(walk, lower, info, why);
    lower->ops->close(lower);
    return state;
}

/* ---- counting ---- */

/* Copies of a walk that ended early; nobody makes others meanwhile. */
static int
remove_orphan(struct walk *walk, const struct tree_entry *entry)
{
    struct coffer_error why = {0};
    int rc;

    if (!copy_is_orphan(walk, entry->name))
        return COFFER_OK;
    rc = walk->fs != NULL ? online_unlink(walk->fs, entry->folder, entry->name)
         : unlinkat(entry->folder, entry->name, 0) != 0 ? -errno
                                                        : 0;
    if (rc != 0 && rc != -ENOENT) {
        (void)volume_fail(&why, rc, "an old copy cannot be removed: %s", strerror(-rc));
        walk_miss(walk, entry->path, &why, rc);
    }
    return COFFER_OK;
}

int
visit_count(void *arg, const struct tree_entry *entry)
{
    struct walk *walk = arg;
    struct volume_progress *progress = &walk->board->progress;
    struct volume_file_info info;
    uint64_t bytes = 0, lower_size = (uint64_t)entry->st->st_size;

    if (strncmp(entry->name, OWN_PREFIX, strlen(OWN_PREFIX)) == 0)
        return remove_orphan(walk, entry);
    if (walk->options.names)
        walk_count(walk, &progress->names, name_waits(walk, entry));
    if (!S_ISREG(entry->st->st_mode))
        return COFFER_OK;
    if (file_state(walk, entry->folder, entry->name, &info, NULL) == FILE_OTHER) {
        /* All names of a file are one copy: a share for each. */
        bytes =
            walk->options.work == VOLUME_REWRAP ? HEADER_BYTES : info.size / entry->st->st_nlink;
        if (walk->options.work == VOLUME_REENCRYPT && lower_size > walk->largest) {
            int rc = room_for(walk, entry->path, lower_size);

            if (rc != COFFER_OK)
                return rc;
            walk->largest = lower_size;
        }
    }
    pthread_mutex_lock(&walk->board->mutex);
    progress->files++;
    progress->bytes += bytes;
    pthread_mutex_unlock(&walk->board->mutex);
    return walk_step(walk, 0);
}

/* ---- moving ---- */

int
visit_move(void *arg, const struct tree_entry *entry)
{
    struct walk *walk = arg;
    struct volume_progress *progress = &walk->board->progress;
    struct volume_file_info info;
    struct coffer_error why = {0};
    enum file_state state;
    int rc = COFFER_OK;

    if (!S_ISREG(entry->st->st_mode))
        return COFFER_OK;
    state = file_state(walk, entry->folder, entry->name, &info, &why);
    /* In use, it may be being made this very moment. */
    if (walk->fs != NULL && (info.empty || state == FILE_BAD))
        state = online_state(walk, entry, &info, &why);
    switch (state) {
    case FILE_GONE:
        break;
    case FILE_CURRENT:
        if (!walk->again)
            walk_count(walk, &progress->files_skipped, 1);
        break;
    case FILE_BAD:
        walk_miss(walk, entry->path, &why, -EIO);
        break;
    case FILE_OTHER:
        walk->moved++;
        rc =
            walk->options.work == VOLUME_REWRAP ? rewrap_add(walk, entry) : copy_entry(walk, entry);
        break;
    }
    return rc != COFFER_OK ? rc : walk_step(walk, 0);
}

int
copy_entry(struct walk *walk, const struct tree_entry *entry)
{
    if (entry->st->st_nlink > 1)
        return links_add(walk, entry);
    return walk->fs != NULL ? online_copy(walk, entry) : reencrypt_add(walk, entry);
}

/* While counting: the walk itself will say it. */
int
visit_no_trouble(void *arg, const char *path, int error)
{
    return COFFER_OK;
}

int
visit_trouble(void *arg, const char *path, int error)
{
    struct coffer_error why = {0};

    (void)volume_fail(&why, error, "the folder cannot be read: %s", strerror(-error));
    walk_miss(arg, path, &why, error);
    return COFFER_OK;
}
