/* SPDX-License-Identifier: Apache-2.0 */
/* The order of things in a walk.
 *
 *   count ─▶ move what is not current ─▶ files with several names ─▶ names ─▶ ended
 *              ▲                                │
 *              └── in use: what moved meanwhile, files without a name
 */
#include "volume/rotate/internal.h"

#include "base/mem.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What tree_walk() returned, as a status. */
int
walk_status(struct walk *walk, int rc)
{
    if (rc >= 0)
        return rc;
    if (rc == -ENOMEM)
        return error_nomem(walk->err);
    return error_set(walk->err, COFFER_E_IO, "%s: cannot be walked: %s", walk->lower,
                     strerror(-rc));
}

static int
count_all(struct walk *walk)
{
    struct tree tree = {.root = walk->root,
                        .own = true,
                        .visit = visit_count,
                        .trouble = visit_no_trouble,
                        .arg = walk};
    int rc = walk_status(walk, tree_walk(&tree, walk->root, "", ""));

    pthread_mutex_lock(&walk->board->mutex);
    walk->board->progress.counting = false;
    pthread_mutex_unlock(&walk->board->mutex);
    return rc;
}

int
walk_tree(struct walk *walk, int folder, const char *name, const char *path)
{
    struct tree tree = {
        .root = walk->root, .visit = visit_move, .trouble = visit_trouble, .arg = walk};

    return walk_status(walk, tree_walk(&tree, folder, name, path));
}

int
walk_flush(struct walk *walk)
{
    int rc = rewrap_flush(walk);

    return rc != COFFER_OK ? rc : reencrypt_flush(walk);
}

static int
move_all(struct walk *walk)
{
    int rc = walk_tree(walk, walk->root, "", "");

    if (rc == COFFER_OK)
        rc = walk_flush(walk);
    if (rc == COFFER_OK)
        rc = walk->fs != NULL ? online_rest(walk) : links_move(walk);
    return rc;
}

static int
make_tag(struct walk *walk)
{
    uint32_t number;
    int rc = random_nonce(&number, sizeof number, walk->err);

    (void)snprintf(walk->tag, sizeof walk->tag, "%08x", rc == COFFER_OK ? number : 0);
    return rc;
}

int
walk_run(struct walk *walk)
{
    int rc = make_tag(walk);

    if (rc == COFFER_OK)
        rc = count_all(walk);
    if (rc == COFFER_OK)
        rc = move_all(walk);
    if (rc == COFFER_OK && walk->options.names)
        rc = names_move(walk);
    if (rc == COFFER_OK && (walk->fs != NULL ? fsync(walk->root) : syncfs(walk->root)) != 0)
        rc = error_set(walk->err, COFFER_E_IO, "%s: cannot sync: %s", walk->lower, strerror(errno));
    reencrypt_free(walk);
    rewrap_free(walk);
    links_wipe(&walk->links);
    return rc;
}

/* Everything that others see when it is over. */
void
walk_ended(struct walk *walk, int rc)
{
    struct volume_progress *progress = &walk->board->progress;

    pthread_mutex_lock(&walk->board->mutex);
    progress->counting = progress->paused = false;
    progress->ended = true;
    progress->status = rc;
    progress->seconds_left = 0;
    if (rc != COFFER_OK && walk->err != NULL)
        progress->error = *walk->err;
    pthread_mutex_unlock(&walk->board->mutex);
    walk_tell(walk, true);
}

int
walk_possible(const struct volume_format *format, struct coffer_error *err)
{
    return format->file_is_current != NULL && format->file_rewrap != NULL
               ? COFFER_OK
               : error_set(err, COFFER_E_UNSUPPORTED,
                           "files of format %s cannot be moved to other keys", format->name);
}

int
volume_walk(const char *lower, const struct volume_format *format, struct volume *volume,
            const struct volume_walk_options *options, struct volume_progress *progress,
            struct coffer_error *err)
{
    struct coffer_error local = {0};
    struct board board;
    struct walk walk = {.format = format,
                        .volume = volume,
                        .options = *options,
                        .lower = lower,
                        .board = &board,
                        .err = &local};
    int rc = walk_possible(format, &local);

    memset(progress, 0, sizeof *progress);
    if (rc == COFFER_OK)
        rc = volume_recover(lower, format, volume, &local);
    if (rc == COFFER_OK)
        rc = board_init(&board);
    if (rc == COFFER_OK) {
        board.pace = options->pace;
        board.progress.counting = true;
        walk.root = open(lower, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rc = walk.root < 0 ? error_set(&local, COFFER_E_IO, "%s: %s", lower, strerror(errno))
                           : walk_run(&walk);
        walk_ended(&walk, rc);
        *progress = board.progress;
        if (walk.root >= 0)
            close(walk.root);
        board_wipe(&board);
    } else {
        progress->ended = true;
        progress->status = rc;
        progress->error = local;
    }
    if (rc != COFFER_OK && err != NULL)
        *err = local;
    return rc;
}
