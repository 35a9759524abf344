/* SPDX-License-Identifier: Apache-2.0 */
/* What an application feels of a rotation.
 *
 *     bench_foreground [--db URL] [--rows N] [--threads N] [--writes PERCENT] [--pause-us N]
 *                      [--rounds N] [--seconds N] [--coffer PATH] [-- OPTION…]
 *
 * An application (foreground.h) reads and writes two protected columns all the time.  Each round is
 * a quiet span of --seconds and then a whole rotation by `coffer rotate`, from PLAN to ESCROW, at
 * its default throttle or with the OPTIONs given.  Printed: p50 and p99 of both, their ratio, and
 * requests that failed or read a wrong value.  The median of the rounds counts.
 *
 * Without --db: an SQLite file in a temporary folder (TMPDIR).  With it: a PostgreSQL database made for this;
 * table bench_foreground and schema coffer must not be there, and are dropped at the end.
 */
#include "foreground.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GOAL 1.25
#define ROUNDS_MAX 64
#define ARGS_MAX 32

extern char **environ;

struct bench {
    struct foreground_options app;
    unsigned rounds, seconds;
    char folder[200], url[256], keyring[256], kek[256], log[256];
    char coffer[4096];
    char *const *extra; /* options for `coffer rotate` */
    int extra_count;
};

struct round {
    struct foreground_figures quiet, rotating;
    double seconds; /* of the rotation */
};

static void
die(const char *doing, const char *why)
{
    fprintf(stderr, "bench_foreground: %s: %s\n", doing, why);
    exit(1);
}

static double
seconds_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ---- the command ---- */

static void
coffer(const struct bench *b, const char *const *words, char *const *extra, int extra_count)
{
    const char *argv[ARGS_MAX] = {b->coffer};
    posix_spawn_file_actions_t files;
    int argc = 1, status = 0;
    pid_t pid;

    for (; *words != NULL; words++)
        argv[argc++] = *words;
    for (int i = 0; i < extra_count && argc < ARGS_MAX - 5; i++)
        argv[argc++] = extra[i];
    argv[argc++] = "--keyring";
    argv[argc++] = b->keyring;
    argv[argc++] = "--kek";
    argv[argc++] = b->kek;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, b->log, O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
    if (posix_spawn(&pid, b->coffer, &files, NULL, (char **)(uintptr_t)argv, environ) != 0)
        die(b->coffer, "cannot be started; give --coffer PATH");
    posix_spawn_file_actions_destroy(&files);
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        die(argv[1], "coffer failed; its message is above");
}

/* ---- the table ---- */

static void
run(const struct bench *b, void *connection, const char *sql)
{
    if (b->app.driver->run(connection, sql) != 0)
        die(sql, b->app.driver->error(connection));
}

static void
make_table(const struct bench *b)
{
    void *connection;
    char numbers[200], sql[1000];

    if (b->app.driver->open(b->app.url, &connection) != 0)
        die("connecting", b->app.driver->error(connection));
    if (b->app.driver == &foreground_postgres)
        run(b, connection, "CREATE SCHEMA coffer; DROP SCHEMA coffer");
    snprintf(sql, sizeof sql,
             "CREATE TABLE " FOREGROUND_TABLE " (id %s PRIMARY KEY NOT NULL, name text, ssn text, "
             "email text, notes text, visits integer NOT NULL DEFAULT 0)",
             b->app.driver->key_type);
    run(b, connection, sql);
    snprintf(numbers, sizeof numbers, b->app.driver->numbers, b->app.rows);
    snprintf(sql, sizeof sql,
             "%s INSERT INTO " FOREGROUND_TABLE " (id, name, ssn, email, notes) SELECT i, "
             "'Name of ' || i, 'ssn of ' || i, 'p' || i || '@example.org', 'what else a row holds: "
             "some hundred bytes of dates and numbers and notes of patient ' || i FROM n",
             numbers);
    run(b, connection, sql);
    b->app.driver->close(connection);
}

static void
setup(struct bench *b)
{
    const char *const init[] = {"keyring", "init", NULL};
    const char *const protect[] = {"protect",
                                   "--yes",
                                   "--duty",
                                   "1",
                                   "--settle",
                                   "0",
                                   "--grace",
                                   "0",
                                   "--no-unaware-clients",
                                   b->app.url,
                                   FOREGROUND_TABLE ".ssn",
                                   FOREGROUND_TABLE ".email",
                                   NULL};

    make_table(b);
    coffer(b, init, NULL, 0);
    coffer(b, protect, NULL, 0);
}

static void
clean_up(const struct bench *b)
{
    char command[300];
    void *connection;

    if (b->app.driver == &foreground_postgres) {
        if (b->app.driver->open(b->app.url, &connection) != 0)
            die("connecting", b->app.driver->error(connection));
        run(b, connection,
            "SET client_min_messages = warning; DROP TABLE " FOREGROUND_TABLE
            "; DROP SCHEMA coffer CASCADE");
        b->app.driver->close(connection);
    }
    snprintf(command, sizeof command, "rm -rf %s", b->folder);
    if (system(command) != 0)
        exit(1);
}

/* ---- rounds ---- */

static void
print_span(const char *name, const struct foreground_figures *f, double seconds)
{
    printf("  %-9s %7.1f s  %8lu requests, %lu failed, %lu wrong   p50 %6.0f  p99 %6.0f  (reads "
           "%.0f, writes %.0f)  max %.0f us\n",
           name, seconds, f->requests, f->failed, f->wrong, f->p50_us[FOREGROUND_ALL],
           f->p99_us[FOREGROUND_ALL], f->p99_us[FOREGROUND_READ], f->p99_us[FOREGROUND_WRITE],
           f->max_us);
    fflush(stdout);
}

static void
take_round(const struct bench *b, struct foreground *app, struct round *round)
{
    const char *const rotate[] = {"rotate",  "--yes", "--settle", "0",
                                  "--grace", "0",     b->app.url, NULL};
    double begun;

    foreground_take(app, &round->quiet); /* what was between the rounds is not counted */
    sleep(b->seconds);
    foreground_take(app, &round->quiet);
    print_span("quiet", &round->quiet, b->seconds);
    begun = seconds_now();
    coffer(b, rotate, b->extra, b->extra_count);
    round->seconds = seconds_now() - begun;
    foreground_take(app, &round->rotating);
    print_span("rotating", &round->rotating, round->seconds);
}

static int
ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Median, least and most of a percentile's ratio over the rounds. */
static double
print_ratio(const char *what, const struct round *rounds, unsigned count, bool p99,
            enum foreground_request request)
{
    double quiet[ROUNDS_MAX], rotating[ROUNDS_MAX], ratio[ROUNDS_MAX];

    for (unsigned i = 0; i < count; i++) {
        const struct foreground_figures *q = &rounds[i].quiet, *r = &rounds[i].rotating;

        quiet[i] = p99 ? q->p99_us[request] : q->p50_us[request];
        rotating[i] = p99 ? r->p99_us[request] : r->p50_us[request];
        ratio[i] = quiet[i] > 0 ? rotating[i] / quiet[i] : 0;
    }
    qsort(quiet, count, sizeof *quiet, ascending);
    qsort(rotating, count, sizeof *rotating, ascending);
    qsort(ratio, count, sizeof *ratio, ascending);
    printf("%-12s %6.0f us quiet, %6.0f us rotating, ratio %.2f (%.2f to %.2f)\n", what,
           quiet[count / 2], rotating[count / 2], ratio[count / 2], ratio[0], ratio[count - 1]);
    return ratio[count / 2];
}

static int
bench(struct bench *b)
{
    struct round rounds[ROUNDS_MAX] = {{{0}}};
    struct foreground *app;
    unsigned long failed = 0, wrong = 0;
    double ratio;

    setup(b);
    printf("%s, %ld rows, two columns; %d threads, %d %% writes, %u us between requests\n",
           b->app.driver == &foreground_sqlite ? "sqlite" : "postgresql", b->app.rows,
           b->app.threads, b->app.write_percent, b->app.pause_us);
    app = foreground_start(&b->app);
    sleep(1); /* caches */
    for (unsigned i = 0; i < b->rounds; i++) {
        take_round(b, app, &rounds[i]);
        failed += rounds[i].quiet.failed + rounds[i].rotating.failed;
        wrong += rounds[i].quiet.wrong + rounds[i].rotating.wrong;
    }
    foreground_stop(app);
    print_ratio("p50", rounds, b->rounds, false, FOREGROUND_ALL);
    ratio = print_ratio("p99", rounds, b->rounds, true, FOREGROUND_ALL);
    print_ratio("p99 reads", rounds, b->rounds, true, FOREGROUND_READ);
    print_ratio("p99 writes", rounds, b->rounds, true, FOREGROUND_WRITE);
    printf("%lu failed, %lu wrong; goal %.2f: %s\n", failed, wrong, GOAL,
           ratio <= GOAL && failed + wrong == 0 ? "met" : "MISSED");
    clean_up(b);
    return failed + wrong == 0 ? 0 : 1;
}

/* ---- options ---- */

static int
usage(void)
{
    fprintf(stderr, "usage: bench_foreground [--db URL] [--rows N] [--threads N] [--writes "
                    "PERCENT] [--pause-us N]\n"
                    "                        [--rounds N] [--seconds N] [--coffer PATH] [-- "
                    "OPTION...]\n");
    return 2;
}

/* The command that was built beside this program. */
static void
find_coffer(struct bench *b)
{
    ssize_t n = readlink("/proc/self/exe", b->coffer, sizeof b->coffer - 20);
    char *slash;

    b->coffer[n > 0 ? n : 0] = '\0';
    slash = strrchr(b->coffer, '/');
    if (slash != NULL)
        strcpy(slash, "/../coffer");
}

static bool
take_number(const char *name, const char *value, struct bench *b)
{
    long n = strtol(value, NULL, 10);

    if (strcmp(name, "--rows") == 0)
        b->app.rows = n;
    else if (strcmp(name, "--threads") == 0)
        b->app.threads = (int)n;
    else if (strcmp(name, "--writes") == 0)
        b->app.write_percent = (int)n;
    else if (strcmp(name, "--pause-us") == 0)
        b->app.pause_us = (unsigned)n;
    else if (strcmp(name, "--rounds") == 0)
        b->rounds = (unsigned)n;
    else if (strcmp(name, "--seconds") == 0)
        b->seconds = (unsigned)n;
    else
        return false;
    return n >= 0;
}

int
main(int argc, char **argv)
{
    struct bench b = {.app = {.rows = 20000, .threads = 2, .write_percent = 20, .pause_us = 1000},
                      .rounds = 5,
                      .seconds = 5,
                      .folder = "/tmp/coffer-foreground-XXXXXX"};
    const char *temporary = getenv("TMPDIR");
    int i;

    find_coffer(&b);
    for (i = 1; i + 1 < argc && strcmp(argv[i], "--") != 0; i += 2) {
        if (strcmp(argv[i], "--db") == 0)
            b.app.url = argv[i + 1];
        else if (strcmp(argv[i], "--coffer") == 0)
            snprintf(b.coffer, sizeof b.coffer, "%s", argv[i + 1]);
        else if (!take_number(argv[i], argv[i + 1], &b))
            return usage();
    }
    if (i < argc && strcmp(argv[i], "--") != 0)
        return usage();
    b.extra = argv + i + 1;
    b.extra_count = i < argc ? argc - i - 1 : 0;
    if (b.rounds == 0 || b.rounds > ROUNDS_MAX || b.seconds == 0 || b.app.threads <= 0 ||
        b.app.rows < 64L * b.app.threads || b.app.write_percent > 50 || b.app.pause_us > 900000)
        return usage();
    snprintf(b.folder, sizeof b.folder, "%.150s/coffer-foreground-XXXXXX",
             temporary != NULL ? temporary : "/tmp");
    if (mkdtemp(b.folder) == NULL)
        die(b.folder, "cannot be made");
    snprintf(b.keyring, sizeof b.keyring, "%s/k.coffer", b.folder);
    snprintf(b.kek, sizeof b.kek, "file:%s/kek.bin", b.folder);
    snprintf(b.log, sizeof b.log, "%s/log", b.folder);
    b.app.driver = b.app.url != NULL ? &foreground_postgres : &foreground_sqlite;
    if (b.app.url == NULL) {
        snprintf(b.url, sizeof b.url, "sqlite:%s/bench.db", b.folder);
        b.app.url = b.url;
    }
    b.app.keyring = b.keyring;
    b.app.kek = b.kek;
    return bench(&b);
}
