/* SPDX-License-Identifier: Apache-2.0 */
/* How fast the walk goes: a share of the time, a number of bytes a second, and less while those who use the volume wait for it.
 *
 * What others feel is measured where it hurts a database: how long a request takes that syncs.  The best average of a window is the
 * measure, and it slowly forgets, because disks change; a window that is `latency_ratio` times as slow makes the walk slower by half
 * again, one that is not makes it faster by an eighth.
 */
#include "volume/rotate/internal.h"

#include "volume/fuse/internal.h"

#include <time.h>

#define WINDOW_S 0.25
#define BRAKE_MAX 64.0
#define DEBT_MIN_S 0.004 /* shorter sleeps are saved up */
#define NAP_MAX_S 0.25

double
now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Look at the foreground's latency once a window. */
static void
feel(struct walk *walk, const struct volume_pace *set, double now)
{
    struct pace *pace = &walk->pace;
    double ratio = set->latency_ratio > 1 ? set->latency_ratio : 1.5, mean;
    uint64_t count, ns;

    if (walk->fs == NULL || now - pace->window < WINDOW_S)
        return;
    count = atomic_load(&walk->fs->timed) - pace->window_count;
    ns = atomic_load(&walk->fs->timed_ns) - pace->window_ns;
    pace->window = now;
    pace->window_count += count;
    pace->window_ns += ns;
    if (count < 3) { /* nobody waits */
        pace->brake = pace->brake > 1.14 ? pace->brake / 1.125 : 1;
        return;
    }
    mean = (double)ns / (double)count;
    if (pace->best == 0 || mean < pace->best)
        pace->best = mean;
    else
        pace->best *= 1.002;
    if (mean > pace->best * ratio)
        pace->brake = pace->brake * 1.5 < BRAKE_MAX ? pace->brake * 1.5 : BRAKE_MAX;
    else
        pace->brake = pace->brake > 1.14 ? pace->brake / 1.125 : 1;
}

double
pace_debt(struct walk *walk, const struct volume_pace *set, uint64_t bytes)
{
    struct pace *pace = &walk->pace;
    double now = now_s(), worked, behind;
    double duty = set->duty > 0 && set->duty <= 1 ? set->duty : walk->fs != NULL ? 0.25 : 1;

    if (pace->since == 0) {
        pace->since = pace->bytes_from = pace->window = now;
        pace->brake = 1;
        if (walk->fs != NULL) {
            pace->window_count = atomic_load(&walk->fs->timed);
            pace->window_ns = atomic_load(&walk->fs->timed_ns);
        }
    }
    feel(walk, set, now);
    worked = now - pace->since;
    pace->since = now;
    pace->owed += worked * (pace->brake / duty - 1);
    pace->bytes += bytes;
    if (set->bytes_per_second > 0) {
        behind = (double)pace->bytes / set->bytes_per_second - (now - pace->bytes_from);
        if (behind > pace->owed)
            pace->owed = behind;
    }
    /* What was not needed for a while does not count later. */
    if (set->bytes_per_second <= 0 ||
        now - pace->bytes_from > 1 + (double)pace->bytes / set->bytes_per_second) {
        pace->bytes_from = now;
        pace->bytes = 0;
    }
    if (pace->owed < DEBT_MIN_S)
        return 0;
    return pace->owed < NAP_MAX_S ? pace->owed : NAP_MAX_S;
}

void
pace_restart(struct walk *walk)
{
    walk->pace.owed = 0;
    walk->pace.bytes = 0;
    walk->pace.bytes_from = now_s();
}

void
pace_rested(struct walk *walk)
{
    struct pace *pace = &walk->pace;
    double now = now_s();

    pace->owed -= now - pace->since;
    if (pace->owed < 0)
        pace->owed = 0;
    pace->since = now;
}
