/* SPDX-License-Identifier: Apache-2.0 */
/* Measure things against each other in one run.
 *
 * The contestants take turns, round after round, so that a change of the machine's clock or load
 * meets all of them; what counts is the median of the rounds.  Figures are ratios against a named
 * floor.
 */
#ifndef COFFER_BENCH_H
#define COFFER_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct bench_contestant {
    const char *name;
    void (*run)(void *ctx, uint64_t times); /* do the work `times` times; exits on failure */
    void *ctx;
    /* filled by bench_race() */
    double per_second; /* median of the rounds */
    double slowest, fastest;
};

/* Race `count` contestants: `rounds` (at most 64) turns each of about `round_ms`, by the wall clock
 * (CLOCK_MONOTONIC), or by this thread's processor time (CLOCK_THREAD_CPUTIME_ID) where nothing
 * waits, so that other programs matter less. */
void bench_race(struct bench_contestant *contestants, size_t count, unsigned rounds,
                unsigned round_ms, clockid_t clock);

/* One line for a goal: name, rate, ratio to the floor, and whether `ratio_min` (and `rate_min`, 0:
 * none) hold.  Returns if so. */
bool bench_report(const char *title, const struct bench_contestant *it,
                  const struct bench_contestant *floor, double ratio_min, double rate_min);

/* Options of every program here: --json (one object a line), --rounds N, --ms N.  Exits with 2 on
 * others. */
void bench_options(int argc, char **argv, unsigned *rounds, unsigned *round_ms);

#endif
