/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that walks beside the requests of a mounted volume. */
#include "volume/rotate/internal.h"

#include "base/mem.h"
#include "volume/fuse/internal.h"
#include "volume/fuse/watch.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

struct volume_walker {
    struct walk walk;
    struct board board;
    struct watch watch;
    struct coffer_error err;
    pthread_t thread;
};

static void *
run(void *arg)
{
    struct volume_walker *walker = arg;
    struct walk *walk = &walker->walk;
    int rc;

    watch_begin(walk->fs,
                &walker->watch); /* whoever makes a file from here on makes it as it should be */
    rc = walk_run(walk);
    watch_end(walk->fs, &walker->watch);
    atomic_store(&walk->fs->walked, false);
    walk_ended(walk, rc);
    return NULL;
}

/* What an interrupted walk left has to be put right before anybody uses the volume, and this one is in use. */
static int
check_records(const struct volume_fs *fs, struct coffer_error *err)
{
    static const char *const NAMES[] = {VOLUME_UNDO, VOLUME_LINKS};

    for (size_t i = 0; i < 2; i++)
        if (faccessat(fs->root_fd, NAMES[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            return error_set(
                err, COFFER_E_CONFLICT,
                "%s/%s: a walk was interrupted, and what it left is put right when the "
                "volume is mounted: unmount it and mount it again",
                fs->options->lower, NAMES[i]);
    return COFFER_OK;
}

static int
start_thread(struct volume_walker *walker, struct coffer_error *err)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&walker->thread, NULL, run, walker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? COFFER_OK
                   : error_set(err, COFFER_E_NOMEM, "cannot start a thread: %s", strerror(rc));
}

int
volume_walker_start(struct volume_fs *fs, const struct volume_walk_options *options,
                    struct volume_walker **out, struct coffer_error *err)
{
    struct volume_walker *walker;
    int rc;

    *out = NULL;
    if (fs->options->read_only)
        return error_set(err, COFFER_E_REFUSED, "%s is mounted read-only",
                         fs->options->mount_point);
    rc = walk_possible(fs->format, err);
    if (rc == COFFER_OK)
        rc = check_records(fs, err);
    if (rc != COFFER_OK)
        return rc;
    walker = mem_alloc(sizeof *walker);
    if (walker == NULL)
        return error_nomem(err);
    if (atomic_exchange(&fs->walked, true)) {
        mem_free(walker);
        return error_set(err, COFFER_E_CONFLICT, "%s: a walk is under way", fs->options->lower);
    }
    walker->walk = (struct walk){.fs = fs,
                                 .format = fs->format,
                                 .volume = fs->volume,
                                 .options = *options,
                                 .lower = fs->options->lower,
                                 .root = fs->root_fd,
                                 .board = &walker->board,
                                 .watch = &walker->watch,
                                 .err = &walker->err};
    rc = board_init(&walker->board);
    if (rc == COFFER_OK) {
        walker->board.pace = options->pace;
        walker->board.progress.counting = true;
        rc = start_thread(walker, err);
        if (rc != COFFER_OK)
            board_wipe(&walker->board);
    }
    if (rc != COFFER_OK) {
        atomic_store(&fs->walked, false);
        mem_free(walker);
        return rc;
    }
    *out = walker;
    return COFFER_OK;
}

void
volume_walker_pause(struct volume_walker *walker, bool pause)
{
    pthread_mutex_lock(&walker->board.mutex);
    walker->board.pause = pause;
    pthread_cond_broadcast(&walker->board.wake);
    pthread_mutex_unlock(&walker->board.mutex);
}

void
volume_walker_pace(struct volume_walker *walker, const struct volume_pace *pace)
{
    pthread_mutex_lock(&walker->board.mutex);
    walker->board.pace = *pace;
    walker->board.pace_changed = true;
    pthread_cond_broadcast(&walker->board.wake);
    pthread_mutex_unlock(&walker->board.mutex);
}

void
volume_walker_progress(struct volume_walker *walker, struct volume_progress *out)
{
    pthread_mutex_lock(&walker->board.mutex);
    *out = walker->board.progress;
    pthread_mutex_unlock(&walker->board.mutex);
}

void
volume_walker_stop(struct volume_walker *walker)
{
    if (walker == NULL)
        return;
    pthread_mutex_lock(&walker->board.mutex);
    walker->board.stop = true;
    pthread_cond_broadcast(&walker->board.wake);
    pthread_mutex_unlock(&walker->board.mutex);
    pthread_join(walker->thread, NULL);
    board_wipe(&walker->board);
    mem_free(walker);
}
