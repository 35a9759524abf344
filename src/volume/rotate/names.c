/* SPDX-License-Identifier: Apache-2.0 */
/* Names and link targets brought to the form that the volume writes now, nobody using it.
 *
 * A name is one rename within its folder, so at any time it stands in one form or the other, and both are read.  A link is made
 * anew beside the old one and renamed over it.
 */
#include "volume/rotate/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

bool
name_waits(const struct walk *walk, const char *lower)
{
    return strncmp(lower, OWN_PREFIX, strlen(OWN_PREFIX)) != 0 &&
           !walk->format->name_is_current(walk->volume, bytes_str(lower));
}

static int
move_name(struct walk *walk, const struct tree_entry *entry)
{
    char upper[VOLUME_NAME_MAX + 1], lower[VOLUME_NAME_MAX + 1];
    struct coffer_error why = {0};
    int rc = walk->format->name_to_upper(walk->volume, bytes_str(entry->name), upper, &why);

    if (rc == -ENOENT)
        return COFFER_OK; /* not a name of this volume: nobody sees it */
    if (rc == 0)
        rc = walk->format->name_to_lower(walk->volume, bytes_str(upper), lower, &why);
    if (rc == 0 &&
        renameat2(entry->folder, entry->name, entry->folder, lower, RENAME_NOREPLACE) != 0)
        rc = errno == EEXIST
                 ? volume_fail(&why, -EEXIST,
                               "the name stands here in its new form, too: rename one of them")
                 : -errno;
    if (rc == -ENOMEM)
        return error_nomem(walk->err);
    if (rc == -ENOENT)
        return COFFER_OK;
    if (rc != 0)
        walk_miss(walk, entry->path, &why, rc);
    else
        walk_count(walk, &walk->board->progress.names_done, 1);
    return walk_step(walk, 0);
}

/* ---- link targets ---- */

static bool
read_target(const struct tree_entry *entry, char target[VOLUME_TARGET_MAX + 1], struct bytes *out)
{
    ssize_t len = readlinkat(entry->folder, entry->name, target, VOLUME_TARGET_MAX + 1);

    if (len < 0 || len > VOLUME_TARGET_MAX)
        return false;
    *out = bytes_of(target, (size_t)len);
    return true;
}

bool
target_waits(const struct walk *walk, const struct tree_entry *entry)
{
    char room[VOLUME_TARGET_MAX + 1];
    struct bytes target;

    return read_target(entry, room, &target) &&
           !walk->format->target_is_current(walk->volume, target);
}

static int
make_link(struct walk *walk, const struct tree_entry *entry, const char *target)
{
    char copy[64];
    int rc = 0;

    (void)snprintf(copy, sizeof copy, VOLUME_COPY "%s.%u", walk->tag, walk->made++);
    if (symlinkat(target, entry->folder, copy) != 0)
        return -errno;
    if ((geteuid() == 0 && fchownat(entry->folder, copy, entry->st->st_uid, entry->st->st_gid,
                                    AT_SYMLINK_NOFOLLOW) != 0) ||
        utimensat(entry->folder, copy, (struct timespec[2]){entry->st->st_atim, entry->st->st_mtim},
                  AT_SYMLINK_NOFOLLOW) != 0 ||
        renameat(entry->folder, copy, entry->folder, entry->name) != 0)
        rc = -errno;
    if (rc != 0)
        (void)unlinkat(entry->folder, copy, 0);
    return rc;
}

static int
move_target(struct walk *walk, const struct tree_entry *entry)
{
    char room[VOLUME_TARGET_MAX + 1];
    struct coffer_error why = {0};
    struct bytes target;
    struct buf upper, lower;
    int rc;

    if (!read_target(entry, room, &target))
        return COFFER_OK;
    buf_init(&upper, VOLUME_TARGET_MAX);
    buf_init(&lower, VOLUME_TARGET_MAX + 1);
    rc = walk->format->target_to_upper(walk->volume, target, &upper, &why);
    if (rc == 0)
        rc = walk->format->target_to_lower(walk->volume, buf_view(&upper), &lower, &why);
    if (rc == 0)
        rc = make_link(walk, entry, buf_cstr(&lower));
    buf_wipe(&upper);
    buf_wipe(&lower);
    if (rc == -ENOMEM)
        return error_nomem(walk->err);
    if (rc != 0)
        walk_miss(walk, entry->path, &why, rc);
    else
        walk_count(walk, &walk->board->progress.names_done, 1);
    return walk_step(walk, 0);
}

static int
visit_name(void *arg, const struct tree_entry *entry)
{
    struct walk *walk = arg;
    int rc = COFFER_OK;

    if (S_ISLNK(entry->st->st_mode) && target_waits(walk, entry))
        rc = move_target(walk, entry);
    if (rc == COFFER_OK && name_waits(walk, entry->name))
        rc = move_name(walk, entry);
    return rc;
}

int
names_move(struct walk *walk)
{
    struct tree tree = {
        .root = walk->root, .visit = visit_name, .trouble = visit_no_trouble, .arg = walk};
    int rc = walk_status(walk, tree_walk(&tree, walk->root, "", ""));

    if (rc == COFFER_OK && syncfs(walk->root) != 0)
        rc = error_set(walk->err, COFFER_E_IO, "%s cannot be synced: %s", walk->lower,
                       strerror(errno));
    return rc;
}
