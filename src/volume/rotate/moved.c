/* SPDX-License-Identifier: Apache-2.0 */
/* What slipped past a walk of a volume in use: names moved into folders it had seen, files that lost their last name.
 *
 * A round walks all that was noted.  When a round had neither a folder nor a file that was not current, and nothing was under way
 * after it, nothing can be left: what was noted since is of files that were seen, or made, under the present key.
 */
#include "volume/rotate/internal.h"

#include "base/mem.h"
#include "volume/fuse/internal.h"
#include "volume/fuse/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROUNDS_MAX = 1000, LINK_ROUNDS_MAX = 10 };

/* The path of an open folder from the top, "" for that itself; NULL: it is gone, or out of memory. */
static char *
path_from_top(int root, int folder)
{
    char link[64], top[PATH_MAX], at[PATH_MAX];
    ssize_t n;
    size_t len;

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", root);
    n = readlink(link, top, sizeof top - 1);
    if (n <= 0)
        return NULL;
    len = (size_t)n;
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    n = readlink(link, at, sizeof at - 1);
    if (n <= 0)
        return NULL;
    at[n] = 0;
    if (memcmp(at, top, len) != 0 || (at[len] != 0 && at[len] != '/'))
        return NULL;
    return mem_strdup(at[len] == 0 ? "" : at + len + 1);
}

/* For reading: the inode's own descriptor is good for finding names alone, not for a sync. */
static int
open_folder(struct volume_fs *fs, struct inode *inode)
{
    int fd, rc = inode_pin(fs, inode, REACH_NODE, NULL);

    if (rc != 0)
        return rc;
    fd = openat(inode->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = fd < 0 ? -errno : fd;
    inode_unpin(fs, inode);
    return rc;
}

/* Walk what was noted; `*folders` counts those that are folders, in which more may have moved. */
static int
walk_moved(struct volume_fs *fs, const struct tree *tree, const struct moved *moved,
           size_t *folders)
{
    int rc = 0;

    for (; rc == 0 && moved != NULL; moved = moved->next) {
        struct stat st;
        char *path;
        int folder = open_folder(fs, moved->folder);

        if (folder == -ENOENT || folder == -ESTALE)
            continue; /* removed */
        if (folder < 0)
            return folder;
        path = path_from_top(fs->root_fd, folder);
        if (path != NULL) {
            *folders +=
                fstatat(folder, moved->lower, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
            rc = tree_walk(tree, folder, moved->lower, path);
        }
        mem_free(path);
        close(folder);
    }
    return rc;
}

/* One round; `*folders` is not 0 if another one is needed whatever this one found. */
static int
round_of(struct volume_fs *fs, struct watch *watch, const struct tree *tree, size_t *folders,
         size_t *seen)
{
    struct moved *moved;
    bool missed;
    int rc;

    watch_settle(fs);
    moved = watch_take(fs, watch, &missed);
    *folders = missed;
    *seen = moved != NULL || missed;
    rc = missed ? tree_walk(tree, tree->root, "", "") : walk_moved(fs, tree, moved, folders);
    watch_free(fs, moved);
    return rc;
}

/* ---- of a walk ---- */

int
online_catch_up(struct walk *walk, const struct tree *tree)
{
    size_t folders, seen;
    int rc;

    for (unsigned i = 0; i < ROUNDS_MAX; i++) {
        walk->moved = 0;
        rc = walk_status(walk, round_of(walk->fs, walk->watch, tree, &folders, &seen));
        if (rc == COFFER_OK)
            rc = walk_flush(walk);
        if (rc != COFFER_OK || (folders == 0 && walk->moved == 0))
            return rc;
    }
    return error_set(walk->err, COFFER_E_CONFLICT,
                     "%s: folders are being moved all the time: nobody can say that every file was "
                     "seen.  Walk again when that has ended",
                     walk->lower);
}

static int
catch_up(struct walk *walk)
{
    struct tree tree = {
        .root = walk->root, .visit = visit_move, .trouble = visit_trouble, .arg = walk};

    return online_catch_up(walk, &tree);
}

/* Files whose names were not all where they were noted: look for them anew. */
static int
settle_links(struct walk *walk)
{
    int rc = COFFER_OK;

    for (unsigned i = 0; rc == COFFER_OK && walk->links.count > 0; i++) {
        walk->unsettled = 0;
        walk->last_round = i == LINK_ROUNDS_MAX;
        rc = links_move(walk);
        if (rc != COFFER_OK || walk->unsettled == 0 || walk->last_round)
            break;
        rc = walk_tree(walk, walk->root, "", "");
        if (rc == COFFER_OK)
            rc = walk_flush(walk);
        if (rc == COFFER_OK)
            rc = catch_up(walk);
    }
    return rc;
}

/* After the last round: a name that had gone from where it was noted may stand elsewhere.  What has several names still is left to
 * another walk. */
static int
last_look(struct walk *walk)
{
    int rc = catch_up(walk);

    return rc == COFFER_OK ? links_move(walk) : rc;
}

int
online_rest(struct walk *walk)
{
    size_t left;
    int rc;

    walk->again = true;
    do {
        rc = catch_up(walk);
        left = walk->links.count;
        if (rc == COFFER_OK)
            rc = settle_links(walk);
        if (rc == COFFER_OK)
            rc = online_nameless(walk);
    } while (rc == COFFER_OK && left > 0 && !walk->last_round);
    return rc == COFFER_OK && walk->last_round ? last_look(walk) : rc;
}

/* ---- of a scan ---- */

int
online_scan(struct volume_fs *fs, struct tree *tree)
{
    struct watch watch;
    size_t folders, seen;
    int rc;

    watch_begin(fs, &watch);
    rc = tree_walk(tree, tree->root, "", "");
    for (unsigned i = 0; rc == 0 && i < ROUNDS_MAX; i++) {
        rc = round_of(fs, &watch, tree, &folders, &seen);
        if (folders == 0)
            break;
    }
    watch_end(fs, &watch);
    return rc;
}
