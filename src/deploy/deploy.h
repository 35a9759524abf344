/* SPDX-License-Identifier: Apache-2.0 */
/* A state folder and all that is deployed from it: stacks, databases on their volumes, backups, jobs.
 *
 *   DIR/                        0700
 *     lock                      held by the one process that serves it
 *     state.db                  SQLite: what is here, docs/FORMAT.md "State of cofferd".  Credentials in it are field envelopes
 *     keyring/keyring.coffer    with its audit log, escrow and certificates beside it; keyring/kek.key, unless another KEK is given
 *     tls/                      authority and certificates of the engines' ports and of the dashboard
 *     coffer.sock               the API for the command; whoever may open it is the owner
 *     databases/ID/GENERATION/lower   the volume's lower folder: ciphertext only
 *     databases/ID/GENERATION/mnt     where it is mounted; the engine's everything is in mnt/
 *     databases/ID/run          0711: the engine's Unix socket, pid files; nothing of the data
 *     backups/                  encrypted streams and their records
 *
 * ID is the first 8 hex digits of the database's id, GENERATION 1, 2, …: a rotation by dump and restore, or by replication, builds the
 * next generation beside the one that answers; the row in state.db that names the current one is the switch.
 *
 * Requests and answers are JSON objects, the same that the HTTP API takes and gives (docs/API.md): one table of actions
 * serves the socket, the dashboard and the tests.  Any number of threads may call.
 *
 * Servers and mounts are processes of their own that outlive cofferd: one that is killed, or upgraded, stops nothing; the next one finds
 * them by their pid files (process.h) and looks after them again.
 */
#ifndef COFFER_DEPLOY_DEPLOY_H
#define COFFER_DEPLOY_DEPLOY_H

#include "base/os.h"
#include "keyring/store.h"

#include <jansson.h>

struct deploy;

struct deploy_options {
    const char *kek;     /* URI of the keyring's KEK; NULL: DIR/keyring/kek.key, made at the first start */
    const char *program; /* path of the command `coffer`, which mounts volumes and archives logs; NULL: /proc/self/exe */
    const char *who;     /* for the audit log */
    bool serve;          /* look after databases: bring back what ran, restart what dies, go on with jobs.  False: a look (tests) */
    void (*log)(void *arg, const char *line); /* NULL: nowhere.  Any thread */
    void *arg;
};

/* Open DIR, making it at the first time.  CONFLICT: another process serves it (its pid).  FORMAT: state.db is damaged, or newer than this build:
 * nothing is deleted or changed, and the message says what to do.  REFUSED: DIR belongs to another user, or others may write it. */
COFFER_MUST_CHECK int deploy_open(const char *dir, const struct os *os, const struct deploy_options *options, struct deploy **out,
                                  struct coffer_error *err);
/* Stop looking after.  `stop_all`: also stop the servers, then unmount (a clean stop; they come back at the next start, because what is
 * wanted of them stays "running"). */
void deploy_close(struct deploy *deploy, bool stop_all);

enum deploy_role { ROLE_NONE = 0, ROLE_VIEWER = 1, ROLE_OPERATOR = 2, ROLE_CUSTODIAN = 3 }; /* each may what those before may */

/* Who asks.  `role` decides what may be asked for; `who` goes into the audit log. */
struct deploy_caller {
    enum deploy_role role;
    char who[KEYRING_NAME_MAX];
};

/* One thing that can be asked for.  `request` members are checked against a list of its own: an unknown member is FORMAT.
 * Answers either a JSON value at once, or {"job": ID} for what takes time. */
struct deploy_action {
    const char *name; /* "database.create" */
    enum deploy_role role;
    int (*run)(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request, json_t **reply, struct coffer_error *err);
};
extern const struct deploy_action *const deploy_actions[]; /* NULL at the end; actions.c puts the tables of all files together */

/* Find the action, check the role (REFUSED), run it.  NOTFOUND: no such action, database, backup, … */
COFFER_MUST_CHECK int deploy_do(struct deploy *deploy, const struct deploy_caller *caller, const char *action, const json_t *request,
                                json_t **reply, struct coffer_error *err);

/* ---- events ---- */

/* What happens is numbered from 1 and kept (the last 1024) in memory: {"seq","at","event":"job"|"database"|"backup"|"key"|"log", …the object}.
 * Wait until there are any after `after`, at most `wait_ms`; `*out` is an array, empty at a timeout.  Events that were forgotten
 * already are replaced by one {"event":"reset"}: read everything again. */
COFFER_MUST_CHECK int deploy_events(struct deploy *deploy, uint64_t after, unsigned wait_ms, json_t **out, struct coffer_error *err);

/* ---- for the daemon ---- */

struct keyring_store *deploy_keyring(struct deploy *deploy); /* borrowed; its own locking */
const char *deploy_dir(const struct deploy *deploy);
/* The state database, for tables of the caller's own (sign-in): run `fn` in a write transaction of it, alone. */
struct sqlite3;
COFFER_MUST_CHECK int deploy_state(struct deploy *deploy, int (*fn)(void *arg, struct sqlite3 *db, struct coffer_error *err), void *arg,
                                   struct coffer_error *err);
/* Figures for /metrics: one call a sample. */
typedef void (*deploy_metric_fn)(void *arg, const char *name, const char *labels_or_null, double value);
void deploy_metrics(struct deploy *deploy, deploy_metric_fn fn, void *arg);

#endif
