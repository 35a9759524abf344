/* SPDX-License-Identifier: Apache-2.0 */
/* Names and link targets brought to the form that the volume writes now, each within its folder. */
#include "volume/rotate/internal.h"

#include "volume/fuse/names.h"
#include "volume/name_forward.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static bool
target_waits(const struct walk *walk, const struct tree_entry *entry)
{
    char target[VOLUME_TARGET_MAX + 1];
    ssize_t len = readlinkat(entry->folder, entry->name, target, sizeof target);

    return len >= 0 && len <= VOLUME_TARGET_MAX &&
           !walk->format->target_is_current(walk->volume, bytes_of(target, (size_t)len));
}

bool
name_waits(const struct walk *walk, const struct tree_entry *entry)
{
    char upper[VOLUME_NAME_MAX + 1];

    if (strncmp(entry->name, OWN_PREFIX, strlen(OWN_PREFIX)) == 0)
        return false;
    if (walk->format->name_is_current(walk->volume, bytes_str(entry->name)))
        return S_ISLNK(entry->st->st_mode) && target_waits(walk, entry);
    /* What is no name of this volume is nobody's business. */
    return walk->format->name_to_upper(walk->volume, bytes_str(entry->name), upper, NULL) == 0;
}

static int
forward(struct walk *walk, const struct tree_entry *entry)
{
    return walk->fs != NULL
               ? names_bring_forward(walk->fs, entry->folder, entry->name)
               : name_bring_forward(walk->format, walk->volume, entry->folder, entry->name);
}

static void
refused(struct walk *walk, const struct tree_entry *entry, int rc)
{
    struct coffer_error why = {0};

    switch (rc) {
    case -EEXIST:
        (void)volume_fail(&why, rc, "another entry has this name in its present form: rename one");
        break;
    case -ENAMETOOLONG:
        (void)volume_fail(&why, rc, "the name or link target is too long for its present form");
        break;
    case -EPERM:
        (void)volume_fail(
            &why, rc,
            "in its present form the name would be taken for an encrypted one, or for "
            "one of Coffer's own");
        break;
    case -EINVAL:
        (void)volume_fail(&why, rc, "the link's target does not open");
        break;
    default:
        break;
    }
    walk_miss(walk, entry->path, &why, rc);
}

int
visit_name(void *arg, const struct tree_entry *entry)
{
    struct walk *walk = arg;
    int rc;

    if (!name_waits(walk, entry))
        return COFFER_OK;
    rc = forward(walk, entry);
    if (rc == -ENOMEM)
        return error_nomem(walk->err);
    if (rc == 0) {
        walk->moved++;
        walk_count(walk, &walk->board->progress.names_done, 1);
    } else if (rc < 0 && rc != -ENOENT) {
        refused(walk, entry, rc);
    }
    return walk_step(walk, 0);
}

int
names_move(struct walk *walk)
{
    struct tree tree = {
        .root = walk->root, .visit = visit_name, .trouble = visit_no_trouble, .arg = walk};
    int rc = walk_status(walk, tree_walk(&tree, walk->root, "", ""));

    if (rc == COFFER_OK && walk->fs != NULL)
        rc = online_catch_up(walk, &tree);
    if (rc == COFFER_OK && syncfs(walk->root) != 0)
        rc = error_set(walk->err, COFFER_E_IO, "%s cannot be synced: %s", walk->lower,
                       strerror(errno));
    return rc;
}
