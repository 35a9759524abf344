/* SPDX-License-Identifier: Apache-2.0 */
/* A small clinic: its database, made from a seed, and an application that reads and writes it
 * through libcoffer. */
#ifndef CLINIC_H
#define CLINIC_H

#include <stdint.h>

/* Make the database file anew: `rows` patients, with laboratory values and invoices.  The same seed
 * gives the same bytes of data. Returns 0, or 1 after a message on stderr. */
int clinic_make(const char *path, long rows, uint64_t seed);

/* Serve requests with `threads` threads until SIGTERM.  On SIGUSR1, and at the end, prints one JSON
 * line about the requests since the last such line: requests, failed, p50_us, p99_us.  Returns 0,
 * or 1 if a request failed or a value was wrong. */
int clinic_traffic(const char *path, const char *keyring, const char *kek, int threads);

#endif
