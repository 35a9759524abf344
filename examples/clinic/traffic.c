/* SPDX-License-Identifier: Apache-2.0 */
/* The clinic's application: it reads and writes patients through libcoffer, whatever phase their
 * columns are in.
 *
 * Each thread has its own connection and owns the patients whose id gives its number, so that it
 * knows what it wrote last and can tell when a value is lost or wrong.
 */
#include "clinic.h"
#include "db.h"

#include <coffer.h>
#include <coffer_host.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLES_MAX 2000000
#define PROBES 64
#define TRIES 5 /* of a write that somebody is in the way of */

struct shared {
    const char *url;
    struct coffer_host *host;
    const struct coffer_column *columns[CLINIC_CELLS];
    int threads;
    long patients;
    atomic_bool stop;
    pthread_mutex_t lock; /* of the samples */
    uint32_t *samples;    /* microseconds */
    size_t count;
    unsigned long requests, failed, wrong;
    unsigned long all_failed; /* failed and wrong, of what was printed and forgotten */
};

struct worker {
    struct shared *shared;
    int number;
    struct clinic_db *db;
    char last[PROBES][48]; /* what this thread wrote last to its own patients; "" not yet */
    uint64_t state;
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

static int
complain(const char *what, const char *why)
{
    fprintf(stderr, "clinic: %s: %s\n", what, why);
    return -1;
}

/* What one stored text cell says.  -1 on failure; 0, with `out` empty for NULL. */
static int
cell_text(struct worker *w, enum clinic_cell cell, long id, const struct coffer_stored *stored,
          char *out, size_t max)
{
    struct coffer *coffer = coffer_host_coffer(w->shared->host);
    struct coffer_value key = {.type = COFFER_INT64, .i64 = id}, value;
    struct coffer_place place = {&key, 1};
    struct coffer_error err = {0};
    uint8_t room[1024];

    out[0] = '\0';
    if (coffer_cell_read(coffer, w->shared->columns[cell], place, stored, room, sizeof room, &value,
                         &err) != COFFER_OK)
        return complain("reading a patient", err.message);
    if (value.type == COFFER_TEXT && value.len < max) {
        memcpy(out, value.data, value.len);
        out[value.len] = '\0';
    }
    return 0;
}

static int
read_patient(struct worker *w, long id, int probe)
{
    struct coffer_stored stored[CLINIC_CELLS];
    char ssn[64], email[64], what[32];
    int rc;

    if (clinic_db_read(w->db, id, stored) != CLINIC_DONE)
        return complain("reading a patient", w->db->error);
    rc = cell_text(w, CLINIC_SSN, id, &stored[CLINIC_SSN], ssn, sizeof ssn);
    if (rc == 0)
        rc = cell_text(w, CLINIC_EMAIL, id, &stored[CLINIC_EMAIL], email, sizeof email);
    if (rc == 0 &&
        ((ssn[0] != '\0' && (strlen(ssn) != 11 || ssn[3] != '-')) ||
         (probe >= 0 && w->last[probe][0] != '\0' && strcmp(w->last[probe], email) != 0))) {
        pthread_mutex_lock(&w->shared->lock);
        w->shared->wrong++;
        pthread_mutex_unlock(&w->shared->lock);
        snprintf(what, sizeof what, "patient %ld", id);
        rc = complain(what, "a value is not what was written");
    }
    return rc;
}

/* Seal anew at each try: it may be the key that is refused. */
static int
write_email(struct worker *w, long id, const struct coffer_value *value)
{
    struct coffer *coffer = coffer_host_coffer(w->shared->host);
    struct coffer_value key = {.type = COFFER_INT64, .i64 = id};
    struct coffer_stored stored;
    struct coffer_error err = {0};
    uint8_t room[512];
    int try, rc = CLINIC_AGAIN;

    for (try = 0; rc == CLINIC_AGAIN && try < TRIES; try++) {
        if (coffer_cell_write(coffer, w->shared->columns[CLINIC_EMAIL],
                              (struct coffer_place){&key, 1}, value, room, sizeof room, &stored,
                              &err) != COFFER_OK)
            return complain("writing a patient", err.message);
        rc = clinic_db_write_email(w->db, id, &stored);
    }
    return rc == CLINIC_DONE ? 0 : complain("writing a patient", w->db->error);
}

static int
write_patient(struct worker *w, long id, int probe)
{
    struct coffer_value value = {.type = COFFER_TEXT};
    char email[48];
    int rc;

    snprintf(email, sizeof email, "p%ld.%llu@example.org", id,
             (unsigned long long)(next(&w->state) % 1000000));
    value.data = (const uint8_t *)email;
    value.len = strlen(email);
    rc = write_email(w, id, &value);
    if (rc == 0)
        memcpy(w->last[probe], email, sizeof email);
    return rc;
}

static void
record(struct shared *shared, int64_t us, int rc)
{
    pthread_mutex_lock(&shared->lock);
    shared->requests++;
    shared->failed += rc != 0;
    if (shared->count < SAMPLES_MAX)
        shared->samples[shared->count++] = (uint32_t)us;
    pthread_mutex_unlock(&shared->lock);
}

static void *
serve(void *arg)
{
    struct worker *w = arg;
    struct timespec pause = {.tv_nsec = 1000000};

    while (!atomic_load(&w->shared->stop)) {
        uint64_t dice = next(&w->state);
        int probe = (int)((dice >> 8) % PROBES);
        long own = (long)probe * w->shared->threads + w->number + 1;
        int64_t began = now_us();
        int rc;

        if (dice % 10 < 2 && own <= w->shared->patients)
            rc = write_patient(w, own, probe);
        else if (dice % 10 < 4 && own <= w->shared->patients)
            rc = read_patient(w, own, probe);
        else
            rc = read_patient(w, 1 + (long)(dice >> 16) % w->shared->patients, -1);
        record(w->shared, now_us() - began, rc);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static int
by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void
print_figures(struct shared *shared)
{
    pthread_mutex_lock(&shared->lock);
    qsort(shared->samples, shared->count, sizeof *shared->samples, by_size);
    printf("{\"requests\":%lu,\"failed\":%lu,\"wrong\":%lu,\"p50_us\":%u,\"p99_us\":%u}\n",
           shared->requests, shared->failed, shared->wrong,
           shared->count > 0 ? shared->samples[shared->count / 2] : 0,
           shared->count > 0 ? shared->samples[shared->count * 99 / 100] : 0);
    fflush(stdout);
    shared->all_failed += shared->failed + shared->wrong;
    shared->requests = shared->failed = shared->wrong = 0;
    shared->count = 0;
    pthread_mutex_unlock(&shared->lock);
}

static void
print_so_far(struct shared *shared)
{
    pthread_mutex_lock(&shared->lock);
    printf("{\"so_far\":true,\"requests\":%lu,\"failed\":%lu,\"wrong\":%lu}\n", shared->requests,
           shared->failed, shared->wrong);
    fflush(stdout);
    pthread_mutex_unlock(&shared->lock);
}

/* Columns are known to the keyring from `coffer protect` on; until then there is nothing to ask it. */
static int
open_host(struct shared *shared, const char *keyring, const char *kek)
{
    static const char *const names[CLINIC_CELLS] = {"patients.ssn", "patients.email"};
    struct coffer_host_options options = {.keyring = keyring, .kek = kek, .client = "clinic"};
    struct coffer_error err = {0};
    uint8_t id[16];
    int i, rc = coffer_host_open(&options, &shared->host, &err);

    if (rc == COFFER_OK)
        rc = coffer_host_attach(shared->host, shared->url, id, &err);
    for (i = 0; rc == COFFER_OK && i < CLINIC_CELLS; i++)
        rc = coffer_column_find(coffer_host_coffer(shared->host), id, names[i], &shared->columns[i],
                                &err);
    return rc == COFFER_OK ? 0 : complain("opening the keyring", err.message);
}

static int
open_worker(struct worker *w)
{
    w->db = clinic_db_open(w->shared->url);
    if (w->db == NULL)
        return -1;
    if (clinic_db_serve(w->db, w->shared->columns) != CLINIC_DONE ||
        clinic_db_patients(w->db, &w->shared->patients) != CLINIC_DONE)
        return complain("opening the database", w->db->error);
    if (w->shared->patients == 0)
        return complain("opening the database", "there are no patients");
    return 0;
}

static void
serve_until_term(struct shared *shared, struct worker *workers, const sigset_t *signals)
{
    pthread_t *threads = calloc((size_t)shared->threads, sizeof *threads);
    int i, started, signal = 0;

    for (started = 0; threads != NULL && started < shared->threads; started++) {
        if (pthread_create(&threads[started], NULL, serve, &workers[started]) != 0)
            break;
    }
    if (started > 0) {
        puts("{\"serving\":true}"); /* from here on it takes signals */
        fflush(stdout);
    }
    while (started > 0 && sigwait(signals, &signal) == 0) {
        if (signal == SIGUSR1)
            print_figures(shared);
        else if (signal == SIGUSR2)
            print_so_far(shared);
        else
            break;
    }
    atomic_store(&shared->stop, true);
    for (i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    print_figures(shared);
    free(threads);
}

int
clinic_traffic(const char *url, const char *keyring, const char *kek, int threads)
{
    static const int taken[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    struct shared shared = {.url = url, .threads = threads > 0 ? threads : 1};
    struct worker *workers = calloc((size_t)shared.threads, sizeof *workers);
    sigset_t signals;
    int i, rc;

    sigemptyset(&signals);
    for (i = 0; i < (int)(sizeof taken / sizeof *taken); i++)
        sigaddset(&signals, taken[i]);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* every thread inherits it; sigwait takes them */
    pthread_mutex_init(&shared.lock, NULL);
    shared.samples = malloc(SAMPLES_MAX * sizeof *shared.samples);
    rc = workers == NULL || shared.samples == NULL ? complain("starting", "out of memory")
                                                   : open_host(&shared, keyring, kek);
    for (i = 0; rc == 0 && i < shared.threads; i++) {
        workers[i] = (struct worker){
            .shared = &shared, .number = i, .state = 88172645463325252u + (uint64_t)i};
        rc = open_worker(&workers[i]);
    }
    if (rc == 0)
        serve_until_term(&shared, workers, &signals);
    for (i = 0; workers != NULL && i < shared.threads; i++)
        clinic_db_close(workers[i].db);
    coffer_host_close(shared.host);
    free(shared.samples);
    free(workers);
    return rc == 0 && shared.all_failed == 0 ? 0 : 1;
}
