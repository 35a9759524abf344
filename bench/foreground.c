/* SPDX-License-Identifier: Apache-2.0 */
#include "foreground.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLES_MAX (1u << 20) /* of a thread in one span */
#define PROBES 64

struct sample {
    uint32_t us;
    uint32_t request;
};

struct thread {
    struct foreground *app;
    pthread_t thread;
    int number;
    void *connection;
    uint64_t dice;
    char last[PROBES][48]; /* what this thread wrote last to its own rows; "" not yet */
    pthread_mutex_t lock;  /* of what follows; held for a few instructions */
    struct sample *samples;
    size_t count;
    unsigned long requests, failed, wrong;
};

struct foreground {
    struct foreground_options options;
    struct coffer_host *host;
    const struct coffer_column *column[2]; /* ssn, email */
    atomic_bool stop;
    struct thread *threads;
    uint32_t *sorted;
};

static uint64_t
next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static int64_t
now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void
die(const char *doing, const char *why)
{
    fprintf(stderr, "bench_foreground: %s: %s\n", doing, why);
    exit(1);
}

static int
complain(const char *doing, const char *why)
{
    fprintf(stderr, "bench_foreground: %s: %s\n", doing, why);
    return -1;
}

/* ---- requests ---- */

static int
open_cell(struct thread *t, int which, long id, const struct coffer_stored *stored, char *out,
          size_t max)
{
    struct coffer_value key = {.type = COFFER_INT64, .i64 = id};
    struct coffer_value value;
    struct coffer_error err = {0};
    uint8_t room[512];

    if (coffer_cell_read(coffer_host_coffer(t->app->host), t->app->column[which],
                         (struct coffer_place){&key, 1}, stored, room, sizeof room, &value,
                         &err) != COFFER_OK)
        return complain("opening a cell", err.message);
    if (value.type != COFFER_TEXT || value.len >= max)
        return complain("opening a cell", "it is no text that was written");
    memcpy(out, value.data, value.len);
    out[value.len] = '\0';
    return 0;
}

/* 1: a value is not what was written. */
static int
read_row(struct thread *t, long id, int probe)
{
    const struct foreground_driver *driver = t->app->options.driver;
    struct coffer_stored cells[2];
    char ssn[64], email[64], expect[64];

    if (driver->read(t->connection, id, cells) != 0)
        return complain("reading a row", driver->error(t->connection));
    if (open_cell(t, 0, id, &cells[0], ssn, sizeof ssn) != 0 ||
        open_cell(t, 1, id, &cells[1], email, sizeof email) != 0)
        return -1;
    snprintf(expect, sizeof expect, "ssn of %ld", id);
    if (strcmp(ssn, expect) != 0 ||
        (probe >= 0 && t->last[probe][0] != '\0' && strcmp(t->last[probe], email) != 0)) {
        complain("a value is not what was written", email);
        return 1;
    }
    return 0;
}

static int
write_row(struct thread *t, long id, int probe)
{
    const struct foreground_driver *driver = t->app->options.driver;
    struct coffer_value key = {.type = COFFER_INT64, .i64 = id};
    struct coffer_value value = {.type = COFFER_TEXT};
    struct coffer_stored stored;
    struct coffer_error err = {0};
    uint8_t room[512];
    char email[48];

    snprintf(email, sizeof email, "p%ld.%llu@example.org", id,
             (unsigned long long)(next(&t->dice) % 1000000));
    value.data = (const uint8_t *)email;
    value.len = strlen(email);
    if (coffer_cell_write(coffer_host_coffer(t->app->host), t->app->column[1],
                          (struct coffer_place){&key, 1}, &value, room, sizeof room, &stored,
                          &err) != COFFER_OK)
        return complain("sealing a cell", err.message);
    if (driver->write(t->connection, id, &stored) != 0)
        return complain("writing a row", driver->error(t->connection));
    memcpy(t->last[probe], email, sizeof email);
    return 0;
}

static void
record(struct thread *t, enum foreground_request request, int64_t us, int rc)
{
    pthread_mutex_lock(&t->lock);
    t->requests++;
    t->failed += rc < 0;
    t->wrong += rc > 0;
    if (t->count < SAMPLES_MAX)
        t->samples[t->count++] = (struct sample){(uint32_t)us, request};
    pthread_mutex_unlock(&t->lock);
}

static void *
serve(void *arg)
{
    struct thread *t = arg;
    const struct foreground_options *o = &t->app->options;
    struct timespec pause = {.tv_nsec = (long)o->pause_us * 1000};

    while (!atomic_load(&t->app->stop)) {
        uint64_t dice = next(&t->dice);
        int probe = (int)((dice >> 8) % PROBES);
        /* spread over the table, so that a walk comes by wherever it is */
        long own = ((long)probe * o->threads + t->number) * (o->rows / (PROBES * o->threads)) + 1;
        int percent = (int)(dice % 100);
        enum foreground_request request =
            percent < o->write_percent ? FOREGROUND_WRITE : FOREGROUND_READ;
        int64_t began = now_us();
        int rc;

        if (request == FOREGROUND_WRITE)
            rc = write_row(t, own, probe);
        else if (percent < 2 * o->write_percent)
            rc = read_row(t, own, probe);
        else
            rc = read_row(t, 1 + (long)(dice >> 16) % o->rows, -1);
        record(t, request, now_us() - began, rc);
        if (o->pause_us > 0)
            nanosleep(&pause, NULL);
    }
    return NULL;
}

/* ---- start and stop ---- */

static void
open_host(struct foreground *app)
{
    const struct coffer_host_options options = {
        .keyring = app->options.keyring, .kek = app->options.kek, .client = "bench"};
    struct coffer_error err = {0};
    uint8_t id[16];

    if (coffer_host_open(&options, &app->host, &err) != COFFER_OK ||
        coffer_host_attach(app->host, app->options.url, id, &err) != COFFER_OK ||
        coffer_column_find(coffer_host_coffer(app->host), id, FOREGROUND_TABLE ".ssn",
                           &app->column[0], &err) != COFFER_OK ||
        coffer_column_find(coffer_host_coffer(app->host), id, FOREGROUND_TABLE ".email",
                           &app->column[1], &err) != COFFER_OK)
        die("opening the keyring", err.message);
}

struct foreground *
foreground_start(const struct foreground_options *options)
{
    struct foreground *app = calloc(1, sizeof *app);

    if (app == NULL)
        abort();
    app->options = *options;
    app->threads = calloc((size_t)options->threads, sizeof *app->threads);
    app->sorted = malloc((size_t)options->threads * SAMPLES_MAX * sizeof *app->sorted);
    if (app->threads == NULL || app->sorted == NULL)
        abort();
    open_host(app);
    for (int i = 0; i < options->threads; i++) {
        struct thread *t = &app->threads[i];

        t->app = app;
        t->number = i;
        t->dice = 88172645463325252u + (uint64_t)i;
        t->samples = malloc(SAMPLES_MAX * sizeof *t->samples);
        pthread_mutex_init(&t->lock, NULL);
        if (t->samples == NULL)
            abort();
        if (options->driver->open(options->url, &t->connection) != 0 ||
            options->driver->prepare(t->connection) != 0)
            die("connecting", options->driver->error(t->connection));
    }
    for (int i = 0; i < options->threads; i++)
        if (pthread_create(&app->threads[i].thread, NULL, serve, &app->threads[i]) != 0)
            abort();
    return app;
}

void
foreground_stop(struct foreground *app)
{
    atomic_store(&app->stop, true);
    for (int i = 0; i < app->options.threads; i++) {
        pthread_join(app->threads[i].thread, NULL);
        app->options.driver->close(app->threads[i].connection);
        free(app->threads[i].samples);
        pthread_mutex_destroy(&app->threads[i].lock);
    }
    coffer_host_close(app->host);
    free(app->threads);
    free(app->sorted);
    free(app);
}

/* ---- figures ---- */

static int
ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void
percentiles(struct foreground *app, enum foreground_request request, struct foreground_figures *out)
{
    size_t n = 0;

    for (int i = 0; i < app->options.threads; i++) {
        const struct thread *t = &app->threads[i];

        for (size_t k = 0; k < t->count; k++)
            if (request == FOREGROUND_ALL || t->samples[k].request == request)
                app->sorted[n++] = t->samples[k].us;
    }
    if (n == 0)
        return;
    qsort(app->sorted, n, sizeof *app->sorted, ascending);
    out->p50_us[request] = app->sorted[n / 2];
    out->p99_us[request] = app->sorted[n * 99 / 100];
    if (request == FOREGROUND_ALL)
        out->max_us = app->sorted[n - 1];
}

void
foreground_take(struct foreground *app, struct foreground_figures *out)
{
    *out = (struct foreground_figures){0};
    for (int i = 0; i < app->options.threads; i++)
        pthread_mutex_lock(&app->threads[i].lock);
    for (int request = 0; request <= FOREGROUND_ALL; request++)
        percentiles(app, request, out);
    for (int i = 0; i < app->options.threads; i++) {
        struct thread *t = &app->threads[i];

        out->requests += t->requests;
        out->failed += t->failed;
        out->wrong += t->wrong;
        t->requests = t->failed = t->wrong = 0;
        t->count = 0;
        pthread_mutex_unlock(&t->lock);
    }
}
