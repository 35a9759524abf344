/* SPDX-License-Identifier: Apache-2.0 */
/* The clinic's application: it reads and writes patients through libcoffer, whatever phase their
 * columns are in.
 *
 * Each thread has its own connection and owns the patients whose id gives its number, so that it
 * knows what it wrote last and can tell when a value is lost or wrong.
 */
#include "clinic.h"

#include <coffer.h>
#include <coffer_host.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLES_MAX 2000000
#define PROBES 64

struct shared {
    const char *path;
    struct coffer_host *host;
    const struct coffer_column *ssn, *email;
    int threads;
    long patients;
    atomic_bool stop;
    pthread_mutex_t lock; /* of the samples */
    uint32_t *samples;    /* microseconds */
    size_t count;
    unsigned long requests, failed, wrong;
};

struct worker {
    struct shared *shared;
    int number;
    sqlite3 *db;
    sqlite3_stmt *read, *write;
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

/* A SQLite value of a protected text column, as libcoffer takes it: a BLOB can only be an envelope,
 * text only plaintext. */
static struct coffer_stored
stored_text(sqlite3_stmt *stmt, int column)
{
    struct coffer_stored stored = {0};

    if (sqlite3_column_type(stmt, column) == SQLITE_BLOB) {
        stored.sealed = sqlite3_column_blob(stmt, column);
        stored.sealed_len = (size_t)sqlite3_column_bytes(stmt, column);
    } else if (sqlite3_column_type(stmt, column) == SQLITE_TEXT) {
        stored.plain.type = COFFER_TEXT;
        stored.plain.data = sqlite3_column_text(stmt, column);
        stored.plain.len = (size_t)sqlite3_column_bytes(stmt, column);
    }
    return stored;
}

static int
complain(const char *what, const char *why)
{
    fprintf(stderr, "clinic: %s: %s\n", what, why);
    return -1;
}

/* Read one protected text cell.  -1 on failure; 0, with `out` empty for NULL. */
static int
read_cell(struct worker *w, const struct coffer_column *column, int index, long id, char *out,
          size_t max)
{
    struct coffer *coffer = coffer_host_coffer(w->shared->host);
    struct coffer_value key = {.type = COFFER_INT64, .i64 = id}, value;
    struct coffer_place place = {&key, 1};
    struct coffer_stored stored = stored_text(w->read, index);
    struct coffer_error err = {0};
    uint8_t room[1024];

    out[0] = '\0';
    if (coffer_cell_read(coffer, column, place, &stored, room, sizeof room, &value, &err) !=
        COFFER_OK)
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
    char ssn[64], email[64];
    int rc = 0, step;

    sqlite3_bind_int64(w->read, 1, id);
    step = sqlite3_step(w->read);
    if (step != SQLITE_ROW)
        rc = complain("reading a patient", sqlite3_errmsg(w->db));
    if (rc == 0)
        rc = read_cell(w, w->shared->ssn, 0, id, ssn, sizeof ssn);
    if (rc == 0)
        rc = read_cell(w, w->shared->email, 1, id, email, sizeof email);
    sqlite3_reset(w->read);
    if (rc == 0 &&
        ((ssn[0] != '\0' && (strlen(ssn) != 11 || ssn[3] != '-')) ||
         (probe >= 0 && w->last[probe][0] != '\0' && strcmp(w->last[probe], email) != 0))) {
        pthread_mutex_lock(&w->shared->lock);
        w->shared->wrong++;
        pthread_mutex_unlock(&w->shared->lock);
        rc = complain("a value is not what was written", ssn);
    }
    return rc;
}

static int
write_patient(struct worker *w, long id, int probe)
{
    struct coffer *coffer = coffer_host_coffer(w->shared->host);
    struct coffer_value key = {.type = COFFER_INT64, .i64 = id}, value = {.type = COFFER_TEXT};
    struct coffer_stored stored;
    struct coffer_error err = {0};
    uint8_t room[512];
    char email[48];

    snprintf(email, sizeof email, "p%ld.%llu@example.org", id,
             (unsigned long long)(next(&w->state) % 1000000));
    value.data = (const uint8_t *)email;
    value.len = strlen(email);
    if (coffer_cell_write(coffer, w->shared->email, (struct coffer_place){&key, 1}, &value, room,
                          sizeof room, &stored, &err) != COFFER_OK)
        return complain("writing a patient", err.message);
    if (stored.sealed != NULL)
        sqlite3_bind_blob(w->write, 1, stored.sealed, (int)stored.sealed_len, SQLITE_TRANSIENT);
    else
        sqlite3_bind_text(w->write, 1, email, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(w->write, 2, id);
    if (sqlite3_step(w->write) != SQLITE_DONE) {
        complain("writing a patient", sqlite3_errmsg(w->db));
        sqlite3_reset(w->write);
        return -1;
    }
    sqlite3_reset(w->write);
    memcpy(w->last[probe], email, sizeof email);
    return 0;
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
    shared->requests = shared->failed = 0;
    shared->count = 0;
    pthread_mutex_unlock(&shared->lock);
}

static int
open_worker(struct worker *w)
{
    if (sqlite3_open_v2(w->shared->path, &w->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK ||
        sqlite3_busy_timeout(w->db, 1000) != SQLITE_OK ||
        sqlite3_prepare_v2(w->db, "SELECT ssn, email FROM patients WHERE id=?", -1, &w->read,
                           NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(w->db, "UPDATE patients SET email=?, visits=visits+1 WHERE id=?", -1,
                           &w->write, NULL) != SQLITE_OK)
        return complain("opening the database", sqlite3_errmsg(w->db));
    return 0;
}

static long
count_patients(const char *path)
{
    sqlite3_stmt *stmt = NULL;
    sqlite3 *db = NULL;
    long n = 0;

    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "SELECT count(*) FROM patients", -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        n = (long)sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

/* Columns are known to the keyring from `coffer protect` on; until then there is nothing to ask it.
 */
static int
open_host(struct shared *shared, const char *keyring, const char *kek)
{
    struct coffer_host_options options = {.keyring = keyring, .kek = kek, .client = "clinic"};
    struct coffer_error err = {0};
    char url[4096];
    uint8_t id[16];

    snprintf(url, sizeof url, "sqlite:%s", shared->path);
    if (coffer_host_open(&options, &shared->host, &err) != COFFER_OK ||
        coffer_host_attach(shared->host, url, id, &err) != COFFER_OK ||
        coffer_column_find(coffer_host_coffer(shared->host), id, "patients.ssn", &shared->ssn,
                           &err) != COFFER_OK ||
        coffer_column_find(coffer_host_coffer(shared->host), id, "patients.email", &shared->email,
                           &err) != COFFER_OK)
        return complain("opening the keyring", err.message);
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
    while (started > 0 && sigwait(signals, &signal) == 0 && signal == SIGUSR1)
        print_figures(shared);
    atomic_store(&shared->stop, true);
    for (i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    print_figures(shared);
    free(threads);
}

int
clinic_traffic(const char *path, const char *keyring, const char *kek, int threads)
{
    struct shared shared = {.path = path, .threads = threads > 0 ? threads : 1};
    struct worker *workers = calloc((size_t)shared.threads, sizeof *workers);
    sigset_t signals;
    unsigned long failed;
    int i, rc;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* every thread inherits it; sigwait takes them */
    pthread_mutex_init(&shared.lock, NULL);
    shared.samples = malloc(SAMPLES_MAX * sizeof *shared.samples);
    shared.patients = count_patients(path);
    rc = workers == NULL || shared.samples == NULL || shared.patients == 0
             ? complain("starting", "no memory, or no patients")
             : open_host(&shared, keyring, kek);
    for (i = 0; rc == 0 && i < shared.threads; i++) {
        workers[i] = (struct worker){
            .shared = &shared, .number = i, .state = 88172645463325252u + (uint64_t)i};
        rc = open_worker(&workers[i]);
    }
    if (rc == 0)
        serve_until_term(&shared, workers, &signals);
    failed = shared.failed + shared.wrong;
    for (i = 0; workers != NULL && i < shared.threads; i++) {
        sqlite3_finalize(workers[i].read);
        sqlite3_finalize(workers[i].write);
        sqlite3_close(workers[i].db);
    }
    coffer_host_close(shared.host);
    free(shared.samples);
    free(workers);
    return rc == 0 && failed == 0 ? 0 : 1;
}
