/* SPDX-License-Identifier: Apache-2.0 */
/* Counters that others read while the walk goes on, and the steps between which it stops, pauses and rests. */
#include "volume/rotate/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TELL_S 0.25

int
board_init(struct board *board)
{
    pthread_condattr_t attr;

    memset(board, 0, sizeof *board);
    if (pthread_mutex_init(&board->mutex, NULL) != 0)
        return COFFER_E_NOMEM;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&board->wake, &attr);
    pthread_condattr_destroy(&attr);
    return COFFER_OK;
}

void
board_wipe(struct board *board)
{
    pthread_cond_destroy(&board->wake);
    pthread_mutex_destroy(&board->mutex);
}

void
walk_count(struct walk *walk, uint64_t *counter, uint64_t add)
{
    pthread_mutex_lock(&walk->board->mutex);
    *counter += add;
    pthread_mutex_unlock(&walk->board->mutex);
}

void
walk_miss(struct walk *walk, const char *path, const struct coffer_error *why, int error)
{
    struct volume_progress *progress = &walk->board->progress;
    char text[sizeof walk->board->progress.failure];

    (void)snprintf(text, sizeof text, "%s: %s", path,
                   why != NULL && why->message[0] != 0 ? why->message : strerror(-error));
    pthread_mutex_lock(&walk->board->mutex);
    if (progress->failed++ == 0)
        memcpy(progress->failure, text, sizeof text);
    pthread_mutex_unlock(&walk->board->mutex);
    if (walk->options.damage != NULL)
        walk->options.damage(walk->options.arg, path, text + strlen(path) + 2);
}

/* ---- steps ---- */

/* Bytes a second over the last ten seconds or so, and what that makes of the rest.  Mutex held. */
static void
estimate(struct walk *walk, double now)
{
    struct volume_progress *progress = &walk->board->progress;
    struct meter *meter = &walk->meter;
    double span = now - meter->at, rate;

    if (meter->at == 0) {
        meter->at = now;
        meter->bytes = progress->bytes_done;
        return;
    }
    if (span < 1 || progress->counting)
        return;
    rate = (double)(progress->bytes_done - meter->bytes) / span;
    progress->rate = progress->rate == 0 ? rate : progress->rate * 0.8 + rate * 0.2;
    meter->at = now;
    meter->bytes = progress->bytes_done;
    progress->seconds_left = progress->rate > 0 && progress->bytes > progress->bytes_done
                                 ? (double)(progress->bytes - progress->bytes_done) / progress->rate
                                 : 0;
}

void
walk_tell(struct walk *walk, bool now)
{
    struct volume_progress copy;
    double t = now_s();

    if (!now && t - walk->told < TELL_S)
        return;
    walk->told = t;
    pthread_mutex_lock(&walk->board->mutex);
    estimate(walk, t);
    copy = walk->board->progress;
    pthread_mutex_unlock(&walk->board->mutex);
    if (walk->options.progress != NULL)
        walk->options.progress(walk->options.arg, &copy);
}

static void
rest(struct board *board, double seconds)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(seconds * 1e9);
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (!board->stop)
        (void)pthread_cond_timedwait(&board->wake, &board->mutex, &until);
}

static bool
stopped(struct walk *walk)
{
    bool stop;

    pthread_mutex_lock(&walk->board->mutex);
    stop = walk->board->stop;
    pthread_mutex_unlock(&walk->board->mutex);
    return stop || (walk->options.stop != NULL && walk->options.stop(walk->options.arg));
}

int
walk_step(struct walk *walk, uint64_t bytes)
{
    struct board *board = walk->board;
    double debt;
    bool paused;

    for (;;) {
        walk_tell(walk, false);
        if (stopped(walk))
            return error_set(walk->err, COFFER_E_CANCELLED,
                             "stopped; the same command goes on from here");
        pthread_mutex_lock(&board->mutex);
        paused = board->progress.paused = board->pause;
        if (board->pace_changed)
            pace_restart(walk);
        board->pace_changed = false;
        debt = pace_debt(walk, &board->pace, bytes);
        bytes = 0;
        if (paused || debt > 0)
            rest(board, paused ? TELL_S : debt);
        pthread_mutex_unlock(&board->mutex);
        if (paused || debt > 0)
            pace_rested(walk);
        if (!paused && debt == 0)
            return COFFER_OK;
    }
}
