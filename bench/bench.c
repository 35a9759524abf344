/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX 64

static bool json;

static double
seconds(clockid_t clock)
{
    struct timespec now;

    (void)clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double
rate(const struct bench_contestant *c, uint64_t times, clockid_t clock)
{
    double start = seconds(clock);

    c->run(c->ctx, times);
    return (double)times / (seconds(clock) - start);
}

/* How many times make a round of `round_ms`; warms caches on the way. */
static uint64_t
times_for(const struct bench_contestant *c, unsigned round_ms, clockid_t clock)
{
    uint64_t times = 16;

    for (;;) {
        double start = seconds(clock), took;

        c->run(c->ctx, times);
        took = seconds(clock) - start;
        if (took * 1000 >= round_ms / 4.0)
            return (uint64_t)((double)times * round_ms / (took * 1000)) + 1;
        times *= 4;
    }
}

static int
ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

void
bench_race(struct bench_contestant *contestants, size_t count, unsigned rounds, unsigned round_ms,
           clockid_t clock)
{
    double(*rates)[ROUNDS_MAX] = calloc(count, sizeof *rates);
    uint64_t *times = calloc(count, sizeof *times);

    if (rates == NULL || times == NULL)
        abort();
    if (rounds > ROUNDS_MAX)
        rounds = ROUNDS_MAX;
    for (size_t i = 0; i < count; i++)
        times[i] = times_for(&contestants[i], round_ms, clock);
    for (unsigned round = 0; round < rounds; round++)
        for (size_t i = 0; i < count; i++)
            rates[i][round] = rate(&contestants[i], times[i], clock);
    for (size_t i = 0; i < count; i++) {
        qsort(rates[i], rounds, sizeof rates[i][0], ascending);
        contestants[i].slowest = rates[i][0];
        contestants[i].per_second = rates[i][rounds / 2];
        contestants[i].fastest = rates[i][rounds - 1];
    }
    free(times);
    free(rates);
}

bool
bench_report(const char *title, const struct bench_contestant *it,
             const struct bench_contestant *floor, double ratio_min, double rate_min)
{
    double ratio = it->per_second / floor->per_second;
    bool met = ratio >= ratio_min && it->per_second >= rate_min;

    if (json)
        printf("{\"title\":\"%s\",\"name\":\"%s\",\"per_second\":%.0f,\"slowest\":%.0f,\"fastest\":"
               "%.0f,"
               "\"floor\":\"%s\",\"floor_per_second\":%.0f,\"ratio\":%.3f,\"ratio_min\":%.2f,"
               "\"per_second_min\":%.0f,\"met\":%s}\n",
               title, it->name, it->per_second, it->slowest, it->fastest, floor->name,
               floor->per_second, ratio, ratio_min, rate_min, met ? "true" : "false");
    else
        printf("%-16s %-6s %10.0f/s (%.0f to %.0f)  %s %10.0f/s  ratio %.2f, goal %.2f%s: %s\n",
               title, it->name, it->per_second, it->slowest, it->fastest, floor->name,
               floor->per_second, ratio, ratio_min, rate_min > 0 ? " and 1 million/s" : "",
               met ? "met" : "MISSED");
    (void)fflush(stdout);
    return met;
}

void
bench_options(int argc, char **argv, unsigned *rounds, unsigned *round_ms)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc && atoi(argv[i + 1]) > 0) {
            *rounds = (unsigned)atoi(argv[++i]);
        } else if (strcmp(argv[i], "--ms") == 0 && i + 1 < argc && atoi(argv[i + 1]) > 0) {
            *round_ms = (unsigned)atoi(argv[++i]);
        } else {
            fprintf(stderr, "usage: %s [--json] [--rounds N] [--ms N]\n", argv[0]);
            exit(2);
        }
    }
}
