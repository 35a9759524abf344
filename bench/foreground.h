/* SPDX-License-Identifier: Apache-2.0 */
/* The application of bench_foreground: threads that read and write protected columns through
 * libcoffer, as a program of one's own would, and note how long each request took.
 *
 * Each thread has a connection of its own.  It owns some rows all over the table, remembers what it
 * wrote last to them, and so tells a lost or wrong value; the other column never changes and is
 * compared with what it must be.
 */
#ifndef COFFER_BENCH_FOREGROUND_H
#define COFFER_BENCH_FOREGROUND_H

#include <coffer.h>
#include <coffer_host.h>
#include <stdbool.h>
#include <stdint.h>

#define FOREGROUND_TABLE "bench_foreground"

/* How an engine is spoken to; every function but `open` takes what `open` made.  -1: it failed, and
 * `error` says why. */
struct foreground_driver {
    int (*open)(const char *url, void **out);
    void (*close)(void *connection);
    const char *(*error)(void *connection);
    int (*run)(void *connection, const char *sql);
    /* Ready the two statements of the application, once the columns are protected. */
    int (*prepare)(void *connection);
    /* ssn and email of a row, borrowed until the next call. */
    int (*read)(void *connection, long id, struct coffer_stored cells[2]);
    int (*write)(void *connection, long id, const struct coffer_stored *email);
    const char *key_type; /* of an integer primary key */
    const char *numbers;  /* format of a query for the integers i from 1 to %ld */
};
extern const struct foreground_driver foreground_sqlite, foreground_postgres;

enum foreground_request { FOREGROUND_READ, FOREGROUND_WRITE, FOREGROUND_ALL };

struct foreground_figures { /* of one span of time */
    unsigned long requests, failed, wrong;
    double p50_us[FOREGROUND_ALL + 1], p99_us[FOREGROUND_ALL + 1], max_us;
};

struct foreground_options {
    const struct foreground_driver *driver;
    const char *url, *keyring, *kek;
    long rows;
    int threads, write_percent;
    unsigned pause_us; /* of a thread between two requests */
};

/* Start.  Exits after a message when it cannot. */
struct foreground *foreground_start(const struct foreground_options *options);
/* The figures since the last call, or the start. */
void foreground_take(struct foreground *app, struct foreground_figures *out);
void foreground_stop(struct foreground *app); /* and frees */

#endif
