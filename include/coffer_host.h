/* SPDX-License-Identifier: Apache-2.0 */
/* libcoffer-host: what a program needs around libcoffer.
 *
 * It reads the keyring file and watches it (a new one is in use within a second), unlocks it by a KEK provider, and beats for
 * each database that the program uses: a row in Coffer's working tables that shows, every 5 seconds and at once after a change, which keyring
 * this client holds.  Rotations wait for that.  One background thread a host; it holds no lock of the program's and uses its own
 * connections.  A program that forks opens its host after the fork.
 */
#ifndef COFFER_HOST_H
#define COFFER_HOST_H

#include "coffer.h"

#ifdef __cplusplus
extern "C" {
#endif

struct coffer_host;

struct coffer_host_options {
    const char *keyring; /* path; NULL: coffer.toml in the working folder, then COFFER_KEYRING */
    const char *kek;     /* "file:PATH" or "passphrase:FILE" or "passphrase:" (prompts on the terminal); NULL likewise, COFFER_KEK */
    const char *client;  /* this client's name in heartbeats, e.g. "clinic-web"; NULL: program name.  Host name and pid are added */
};

/* Open.  Errors as coffer_new(), and IO, NOTFOUND, ROLLBACK.  On failure `*out` is NULL. */
COFFER_PUBLIC COFFER_MUST_CHECK int coffer_host_open(const struct coffer_host_options *options, struct coffer_host **out,
                                                     struct coffer_error *err);
/* Stops the thread, says goodbye to the databases (so that no gate waits), frees.  Handles from it die too. */
COFFER_PUBLIC void coffer_host_close(struct coffer_host *host);

/* The keyring in use; owned by the host. */
COFFER_PUBLIC struct coffer *coffer_host_coffer(struct coffer_host *host);

/* Begin to beat for a database (URL as for the command).  Checks that the database and the keyring know each other.
 * ROLLBACK: the database has seen a newer keyring.  NOTFOUND: the keyring holds nothing of this database. */
COFFER_PUBLIC COFFER_MUST_CHECK int coffer_host_attach(struct coffer_host *host, const char *url, uint8_t database_id[16],
                                                       struct coffer_error *err);

/* When the last look at the keyring or the last beat failed: its status and message, else COFFER_OK.  For logs and health checks. */
COFFER_PUBLIC int coffer_host_health(struct coffer_host *host, struct coffer_error *err);

#ifdef __cplusplus
}
#endif
#endif
