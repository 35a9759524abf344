/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of deploy/ and backup/ share: the opened state folder, its tables, the databases in it, how they are run. */
#ifndef COFFER_DEPLOY_INTERNAL_H
#define COFFER_DEPLOY_INTERNAL_H

#include "deploy/deploy.h"
#include "deploy/engines/engine.h"
#include "deploy/job.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#define DEPLOY_PATH_MAX 512
#define DEPLOY_NAME_MAX 41 /* [a-z][a-z0-9-]{0,39} and NUL */
#define STATE_VERSION 1

struct snapshot;
struct running;
struct watch;
struct events;
struct archiver;

#define STATE_STATEMENTS 64

struct state_statement {
    sqlite3_stmt *statement;
    bool busy; /* somebody steps through it */
};

struct deploy {
    const struct os *os;
    char dir[DEPLOY_PATH_MAX], keyring_path[DEPLOY_PATH_MAX], kek[1024], program[1024], who[KEYRING_NAME_MAX];
    void (*log)(void *arg, const char *line);
    void *log_arg;
    bool serve, root;
    int lock_fd;

    pthread_mutex_t lock; /* recursive: of `db` and every transaction */
    sqlite3 *db;
    struct state_statement statements[STATE_STATEMENTS]; /* state.c */
    unsigned depth; /* of transactions */
    struct uuid id; /* of this state folder */

    struct keyring_store *store;
    pthread_mutex_t keyring_lock; /* of `snapshot` and `codec_of` */
    struct snapshot *snapshot;

    struct events *events;
    struct archiver *archiver; /* backup/archive.c */

    pthread_mutex_t jobs_lock;
    pthread_cond_t jobs_changed;
    struct running *jobs;
    unsigned jobs_ending;

    pthread_mutex_t watch_lock;
    pthread_cond_t watch_changed;
    struct watch *watches;
    pthread_t supervisor;
    bool supervising;
    unsigned at_work; /* threads that bring databases up */
    int wake_fd;
    atomic_bool closing;
};

void deploy_log(struct deploy *deploy, const char *format, ...) __attribute__((format(printf, 2, 3)));
void deploy_event(struct deploy *deploy, const char *kind, json_t *object); /* takes `object`; NULL: out of memory, dropped */
uint64_t deploy_last_event(struct deploy *deploy);
int events_open(struct deploy *deploy, struct coffer_error *err);
void events_close(struct deploy *deploy);

/* ---- state.c: tables.  Each call takes deploy->lock; between state_begin() and state_end() one thread has it. ---- */

COFFER_MUST_CHECK int state_open(struct deploy *deploy, struct coffer_error *err);
void state_close(struct deploy *deploy);
/* A write transaction, nested ones join.  state_end() commits when rc is OK, otherwise rolls back; gives rc, or why the commit failed. */
COFFER_MUST_CHECK int state_begin(struct deploy *deploy, struct coffer_error *err);
COFFER_MUST_CHECK int state_end(struct deploy *deploy, int rc, struct coffer_error *err);
/* One statement.  `types`: a letter a parameter: s const char * (NULL: NULL), i int64_t, b struct bytes *. */
COFFER_MUST_CHECK int state_run(struct deploy *deploy, struct coffer_error *err, const char *sql, const char *types, ...);
/* Rows: `fn` for each, deploy->lock held. */
typedef int (*state_row_fn)(void *arg, sqlite3_stmt *row, struct coffer_error *err);
COFFER_MUST_CHECK int state_each(struct deploy *deploy, state_row_fn fn, void *arg, struct coffer_error *err, const char *sql,
                                 const char *types, ...);
/* The first column of the first row; `found` false without one. */
COFFER_MUST_CHECK int state_number(struct deploy *deploy, int64_t *out, bool *found, struct coffer_error *err, const char *sql,
                                   const char *types, ...);
const char *state_text(sqlite3_stmt *row, int column); /* "" for NULL */

/* ---- secret.c: the keyring, and what is sealed under it ---- */

COFFER_MUST_CHECK int keys_open(struct deploy *deploy, struct coffer_error *err); /* keyring and KEK, made at the first start */
void keys_close(struct deploy *deploy);
COFFER_MUST_CHECK int locked_store_new(struct keyring_store *inner, struct keyring_store **out, struct coffer_error *err);
struct keyring_store *locked_store_inner(struct keyring_store *store);
void locked_store_free(struct keyring_store *store); /* not the inner one */
/* The newest keyring, shared; give it back. */
COFFER_MUST_CHECK int snapshot_take(struct deploy *deploy, struct snapshot **out, struct coffer_error *err);
void snapshot_give(struct snapshot *snapshot);
const struct keyring *snapshot_keyring(const struct snapshot *snapshot);
/* Cells of state.db, column "secret", in the row of `place` (a database's id). */
COFFER_MUST_CHECK int secret_seal_text(struct deploy *deploy, const char *place, const char *text, struct buf *out, struct coffer_error *err);
COFFER_MUST_CHECK int secret_open_text(struct deploy *deploy, const char *place, struct bytes cell, char *out, size_t max,
                                       struct coffer_error *err);
/* `len` characters of A-Za-z0-9 and a NUL. */
COFFER_MUST_CHECK int secret_make(const struct os *os, char *out, size_t len, struct coffer_error *err);
/* An audited entry without a change of the keyring.  Takes `details`. */
COFFER_MUST_CHECK int deploy_audit(struct deploy *deploy, const char *who, const char *event, json_t *details, struct coffer_error *err);

struct database_place;

/* ---- database.c: a deployed database, as its row says ---- */

struct database {
    char id[37], name[64], engine[32], stack[64], version[32], programs[512];
    unsigned major, generation, key_bits;
    char volume[37]; /* of the generation; "" until it is made */
    char known[37];  /* restored from a backup: the id under which the keyring knows the original; "" */
    char state[16], wanted[16], listen[64], error[500];
    unsigned port;
    uint64_t memory, limit, size;
    bool archive;
    int64_t created_us, size_us;
    uint64_t job; /* that is open; 0 */
    char folder[DEPLOY_PATH_MAX]; /* databases/ID */
};
/* By id (36 characters) or by name.  NOTFOUND. */
COFFER_MUST_CHECK int database_get(struct deploy *deploy, const char *name_or_id, struct database *out, struct coffer_error *err);
/* The id under which the keyring knows the database inside the server; false: no column of it was ever protected. */
bool database_known_as(const struct keyring *kr, const struct database *database, struct uuid *id);
/* Members "backups" and "last_backup" of its object: from the table of backup/, where that exists. */
void deploy_backup_summary(struct deploy *deploy, const char *id, json_t *object);
COFFER_MUST_CHECK int database_by_folder(struct deploy *deploy, const char *folder, struct database *out); /* 8 hex */
/* The last report of its doctor, null without one. */
COFFER_MUST_CHECK int doctor_last(struct deploy *deploy, const char *id, json_t **out, struct coffer_error *err);
/* The object of audit.list: entries after `after`, the oldest first; or, with `before` not 0, those before it, the newest first. */
COFFER_MUST_CHECK int audit_json(struct deploy *deploy, uint64_t after, uint64_t before, uint64_t limit, const char *event,
                                 const char *who, json_t **out, struct coffer_error *err);
typedef int (*database_fn)(void *arg, const struct database *database, struct coffer_error *err);
COFFER_MUST_CHECK int database_each(struct deploy *deploy, const char *after, int64_t limit, database_fn fn, void *arg,
                                    struct coffer_error *err);
/* The object of docs/API.md; `role` decides on the URL. */
COFFER_MUST_CHECK int database_json(struct deploy *deploy, const struct database *database, enum deploy_role role, json_t **out,
                                    struct coffer_error *err);
/* Write state (NULL: as it is) and error ("" none; NULL: as it is), and tell listeners. */
COFFER_MUST_CHECK int database_put_state(struct deploy *deploy, const char *id, const char *state, const char *error,
                                         struct coffer_error *err);
COFFER_MUST_CHECK int database_put_wanted(struct deploy *deploy, const char *id, const char *wanted, struct coffer_error *err);
void database_tell(struct deploy *deploy, const char *id);
/* Every generation of it, the current one too. */
COFFER_MUST_CHECK int generations_each(struct deploy *deploy, const char *id,
                                       int (*fn)(void *arg, const struct database_place *place, struct coffer_error *err), void *arg,
                                       struct coffer_error *err);
json_t *database_columns_json(const struct keyring *kr, const struct database *database);
COFFER_MUST_CHECK int name_check(const char *what, const char *name, struct coffer_error *err); /* FORMAT */

/* Where a generation of it is: what an engine needs to know. */
struct database_place {
    struct engine_place place;
    const struct engine *engine;
    struct engine_programs programs;
    struct database database;
    unsigned generation;
    bool current;       /* the generation that answers */
    char volume[37];
    unsigned key_bits;
    char lower[DEPLOY_PATH_MAX], mount[DEPLOY_PATH_MAX], run[DEPLOY_PATH_MAX], tls[DEPLOY_PATH_MAX];
    char mount_pid[DEPLOY_PATH_MAX], server_pid[DEPLOY_PATH_MAX], mount_log[DEPLOY_PATH_MAX], server_log[DEPLOY_PATH_MAX];
    char user[16], dbname[64], password[64];
};
/* `generation` 0: the current one.  Wipe it: it has the password. */
COFFER_MUST_CHECK int database_place(struct deploy *deploy, const char *name_or_id, unsigned generation, struct database_place *out,
                                     struct coffer_error *err);
void database_place_wipe(struct database_place *place);

/* ---- run.c: mounts and servers.  Each looks at what is already so ---- */

COFFER_MUST_CHECK int run_mount(struct deploy *deploy, const struct database_place *place, struct coffer_error *err);
COFFER_MUST_CHECK int run_unmount(struct deploy *deploy, const struct database_place *place, struct coffer_error *err); /* lazily, if it must be */
bool run_mounted(const struct database_place *place); /* and alive */
COFFER_MUST_CHECK int run_server(struct deploy *deploy, const struct database_place *place, struct coffer_error *err); /* until it answers */
COFFER_MUST_CHECK int run_stop_server(struct deploy *deploy, const struct database_place *place, struct coffer_error *err);
bool run_serving(const struct database_place *place);
COFFER_MUST_CHECK int run_port_free(const char *listen_at, unsigned port, struct coffer_error *err); /* CONFLICT: taken */
/* Everything of the current generation, and its state; the database held (watch_hold()) by the caller. */
COFFER_MUST_CHECK int run_up(struct deploy *deploy, const char *id, struct coffer_error *err);
COFFER_MUST_CHECK int run_down(struct deploy *deploy, const char *id, struct coffer_error *err);

/* ---- supervise.c ---- */

COFFER_MUST_CHECK int supervise_start(struct deploy *deploy, struct coffer_error *err);
void supervise_stop(struct deploy *deploy);
/* Keep the supervisor's hands off a database while a step works on it; waits for whoever has it. */
void watch_hold(struct deploy *deploy, const char *id);
void watch_release(struct deploy *deploy, const char *id);
/* Size of the lower folder, into the row; says when it is over its limit. */
void database_measure(struct deploy *deploy, const char *id);
uint64_t folder_bytes(int at, const char *name);
void supervise_wake(struct deploy *deploy);

/* ---- job.c ---- */

void jobs_resume(struct deploy *deploy); /* those that ran when the last process ended */
void jobs_stop(struct deploy *deploy);   /* ask all to stop, wait for them; they go on at the next start */
/* How fast a job may go, as somebody asked last; false: nobody did. */
void job_latency(struct job *job, double ratio); /* how much slower others are served; 0 unknown */
bool job_paused(const struct job *job);
bool job_pace(struct job *job, double *rate, double *duty);

/* ---- actions of single files; actions.c joins them ---- */

extern const struct deploy_action job_actions[], stack_actions[], create_actions[], database_actions[], change_actions[], rotate_actions[], key_actions[], doctor_actions[],
    protect_actions[], report_actions[];
extern const struct job_kind job_create, job_start, job_stop, job_resize, job_destroy, job_rotate, job_rotate_copy, job_rotate_replicate, job_doctor, job_protect,
    job_rotate_field;

/* What a creation is asked for, checked and entered; the job does the rest.  For backup/, too: a restore creates. */
COFFER_MUST_CHECK int database_enter(struct deploy *deploy, const struct deploy_caller *caller, const json_t *request, char id[37],
                                     struct coffer_error *err);
/* Server, mount, folder, key and row of the job's database go. */
COFFER_MUST_CHECK int database_remove(struct job *job, struct coffer_error *err);

/* Members of a request: only those in `names` (NULL at the end).  FORMAT. */
COFFER_MUST_CHECK int request_check(const json_t *request, const char *const *names, struct coffer_error *err);
/* NULL without it or when it is null; FORMAT when it is no string. */
COFFER_MUST_CHECK int request_text(const json_t *request, const char *name, bool needed, const char **out, struct coffer_error *err);
COFFER_MUST_CHECK int request_count(const json_t *request, const char *name, uint64_t otherwise, uint64_t max, uint64_t *out,
                                    struct coffer_error *err);
json_t *json_time(int64_t us); /* ISO 8601, null for 0 */
json_t *json_job(uint64_t id); /* {"job": ID} */

#endif
