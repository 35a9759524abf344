/* SPDX-License-Identifier: Apache-2.0 */
/* A small clinic: its database, made from a seed, and an application that reads and writes it
 * through libcoffer.  `url` names the database as Coffer does: sqlite:PATH or postgresql://…
 */
#ifndef CLINIC_H
#define CLINIC_H

#include <stdint.h>

/* Make the database anew: `rows` patients, with laboratory values and invoices.  The same seed
 * gives the same data.  Whatever was not made here is left alone, and is a failure.  Returns 0, or 1
 * after a message on stderr. */
int clinic_make(const char *url, long rows, uint64_t seed);

/* Serve requests with `threads` threads until SIGTERM.  Prints {"serving":true} when it begins; on SIGUSR1, and at the end, prints one JSON
 * line about the requests since the last such line: requests, failed, wrong, p50_us, p99_us.
 * SIGUSR2 prints one that begins with "so_far" and forgets nothing.  Returns 0, or 1 if a request
 * failed or a value was wrong. */
int clinic_traffic(const char *url, const char *keyring, const char *kek, int threads);

#endif
