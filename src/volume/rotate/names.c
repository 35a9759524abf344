/* SPDX-License-Identifier: Apache-2.0 */
/* Names and link targets brought to the form that the volume writes now (volume/name_forward.h, fuse/names.h).
 *
 * In use, a folder that is moved meanwhile may take names along to where all was seen: what was moved is looked through again.
 */
#include "volume/rotate/internal.h"

#include "volume/fuse/names.h"
#include "volume/name_forward.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

bool
name_waits(const struct walk *walk, const char *lower)
{
    return strncmp(lower, OWN_PREFIX, strlen(OWN_PREFIX)) != 0 &&
           !walk->format->name_is_current(walk->volume, bytes_str(lower));
}

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
missed(struct walk *walk, const char *path, int error)
{
    struct coffer_error why = {0};

    if (error == -EEXIST)
        (void)volume_fail(&why, error,
                          "the name stands here in its new form, too: rename one of them");
    else if (error == -ENAMETOOLONG)
        (void)volume_fail(
            &why, error,
            "the name or link target is too long for its new form: give it a shorter one");
    else if (error == -EPERM)
        (void)volume_fail(&why, error, "the name means something else in its new form: rename it");
    walk_miss(walk, path, &why, error);
    return walk_step(walk, 0);
}

int
visit_to_rename(void *arg, const struct tree_entry *entry)
{
    struct walk *walk = arg;
    unsigned waiting = name_waits(walk, entry->name);
    int rc;

    if (S_ISLNK(entry->st->st_mode))
        waiting += target_waits(walk, entry);
    if (waiting == 0)
        return COFFER_OK;
    rc = walk->fs != NULL
             ? names_bring_forward(walk->fs, entry->folder, entry->name)
             : name_bring_forward(walk->format, walk->volume, entry->folder, entry->name);
    if (rc == -ENOMEM)
        return error_nomem(walk->err);
    if (rc == -ENOENT || rc == 1) /* not a name of this volume: nobody sees it; or gone meanwhile */
        return COFFER_OK;
    if (rc != 0)
        return missed(walk, entry->path, rc);
    walk->moved++;
    walk_count(walk, &walk->board->progress.names_done, waiting);
    return walk_step(walk, 0);
}

int
names_move(struct walk *walk)
{
    struct tree tree = {
        .root = walk->root, .visit = visit_to_rename, .trouble = visit_no_trouble, .arg = walk};
    int rc = walk_status(walk, tree_walk(&tree, walk->root, "", ""));

    if (rc == COFFER_OK && walk->fs != NULL)
        rc = online_names(walk);
    if (rc == COFFER_OK && syncfs(walk->root) != 0)
        rc = error_set(walk->err, COFFER_E_IO, "%s cannot be synced: %s", walk->lower,
                       strerror(errno));
    return rc;
}
