/* SPDX-License-Identifier: Apache-2.0 */
/* Moving protected cells to the form they should have, while the database is in use: protect, rotate, unprotect.
 *
 * docs/ROTATION.md is the specification.  A call takes one database; it can be stopped at any instant and called again.
 * Uses host and below.
 */
#ifndef COFFER_ROTATE_ROTATE_H
#define COFFER_ROTATE_ROTATE_H

#include "host/host.h"

#include <signal.h>

enum rotate_event_kind {
    ROTATE_STEP = 1, /* a step of the machine begins: `step` and one line of text */
    ROTATE_PROGRESS, /* done, total, rate, eta of the step */
    ROTATE_WAIT,     /* a gate is closed: for whom (repeated while it changes) */
    ROTATE_NOTE,     /* something worth saying */
    ROTATE_WARN,
    ROTATE_DONE,     /* the evidence of a step that ended */
    ROTATE_MUST,     /* what must be settled before the command can do its work */
};
struct rotate_event {
    enum rotate_event_kind kind;
    const char *step; /* "plan" "stage" "gate" "activate" "shadow" "dual" "seal" "drain" "sweep" "fence" "prove" "wait" "escrow" "recover" */
    char text[600];
    uint64_t done, total; /* rows */
    double rows_per_second, seconds_left; /* 0 unknown */
};

struct rotate_env {
    struct keyring_store *store;
    const struct os *os;
    const char *who; /* for the audit log: user@host */
    const char *url;
    bool allow_password;
    void (*say)(void *arg, const struct rotate_event *event); /* NULL: silent */
    bool (*ask)(void *arg, const char *question);             /* NULL: answers no */
    void *arg;
    const volatile sig_atomic_t *stop; /* non-zero: stop soon and return CANCELLED; NULL never */
};

struct throttle_options {
    double rows_per_second;   /* 0: no fixed limit */
    double duty;              /* share of time a worker may be writing, 0 < duty ≤ 1; 0: 0.1, and 0.8 while nobody else is seen (db_load); 1: as fast as it goes */
    double lag_seconds_max;   /* replica lag above which it pauses; 0: 10 */
    double sessions_max;      /* active sessions above which it slows; 0: no limit */
    double latency_ratio_max; /* slows when its latency probe takes more than this times its best; 0: 2 */
    uint64_t wal_bytes_per_second; /* 0: no limit */
    uint64_t dead_tuples_max; /* pauses above; 0: no limit */
    int window_from_minute, window_to_minute; /* local time of day; equal: always */
    const char *flag_file;    /* pauses while it exists */
    const char *command;      /* run every 10 s; pauses while it exits non-zero */
};

struct rotate_options {
    bool plan_only;          /* print the plan, change nothing */
    bool yes;                /* answers the prompt; never a safety rule */
    bool no_wait;            /* a closed gate: NOTYET instead of waiting */
    bool no_unaware_clients; /* the operator states that no writer is left that knows nothing of Coffer */
    bool scrub;              /* plaintext level 3: rewrite files after protect */
    bool open_only;          /* rotate: go on with what is open, begin nothing */
    bool forget_gone;        /* unprotect: columns that are not in the database any more are forgotten */
    bool shadow_only;        /* protect: stop in phase shadow; a later call goes on */
    bool restored;           /* rotate: the operator states that he restored this copy, so that plaintext in sealed columns and
                              * envelopes in unprotected ones are data to be brought forward */
    unsigned settle_ms, grace_ms;
    bool settle_set, grace_set; /* else defaults: 5 min / 1 h on PostgreSQL, 0 on SQLite */
    unsigned batch_rows;     /* 0: adaptive */
    const char *split;       /* rotate: new line for just these columns */
    const char *const *accept_unregistered;
    size_t accept_unregistered_count;
    struct throttle_options throttle;
    /* Turn one old value into the plaintext to protect (existing ciphertext); NULL: as it is. */
    int (*decode)(void *arg, const struct keyring_column *column, const struct coffer_value *old, struct buf *storage,
                  struct coffer_value *out, struct coffer_error *err);
    void *decode_arg;
};

struct rotate_column { /* what protect is asked for */
    const char *name;  /* "table.column" */
    int type;          /* 0: from the schema */
    int binding;       /* -1: default, explained */
    int suite;         /* 0: 1 */
    uint32_t pad;
    const char *line;  /* NULL: "main" */
    bool in_place;     /* PostgreSQL text form in the column itself */
};

/* Plaintext → sealed, all phases as far as the gates let it.  A second call goes on where the first stopped. */
COFFER_MUST_CHECK int rotate_protect(const struct rotate_env *env, const struct rotate_column *columns, size_t count,
                                     const struct rotate_options *options, struct coffer_error *err);
COFFER_MUST_CHECK int rotate_unprotect(const struct rotate_env *env, const char *const *columns, size_t count,
                                       const struct rotate_options *options, struct coffer_error *err);
/* New key for the lines of these columns (none: every line in this database), up to ESCROW.  Resumes an open rotation. */
COFFER_MUST_CHECK int rotate_run(const struct rotate_env *env, const char *const *columns, size_t count,
                                 const struct rotate_options *options, struct coffer_error *err);
/* Help an open rotation as a further worker until its drain is done. */
COFFER_MUST_CHECK int rotate_worker(const struct rotate_env *env, const struct rotate_options *options, struct coffer_error *err);

enum rotate_control { ROTATE_PAUSE = 1, ROTATE_RESUME, ROTATE_ABORT };
COFFER_MUST_CHECK int rotate_control(const struct rotate_env *env, enum rotate_control what, struct coffer_error *err);

/* Prove (again) that nothing in this database is under the key; the signed certificate in `out`.  REFUSED with counts if something is. */
COFFER_MUST_CHECK int rotate_prove(const struct rotate_env *env, uint32_t key_id, const struct rotate_options *options,
                                   struct buf *out, struct coffer_error *err);
/* Destroy an escrowed (or proven) key's material.  REFUSED while something needs it, unless every holder is named in `waive`. */
COFFER_MUST_CHECK int rotate_destroy(const struct rotate_env *env, uint32_t key_id, const char *const *waive, size_t waive_count,
                                     struct coffer_error *err);

#define ROTATE_QUARANTINED_MAX 20
struct rotate_quarantined { /* a cell that does not open, or is plaintext that cannot be sealed */
    uint32_t key_id; /* of the envelope; 0: none */
    char place[200];  /* its row key: [["int64",7]] */
    char reason[200];
};
struct rotate_column_status {
    const struct keyring_column *column;
    uint64_t rows, nulls, plaintext, quarantine;
    uint64_t both; /* of those under a key: with the plaintext beside them, in phases shadow and dual */
    struct db_key_count keys[64];
    size_t key_count;
    bool exact;
    struct rotate_quarantined *cells; /* the first ROTATE_QUARANTINED_MAX of them */
    size_t cell_count;
    const char *plaintext_level; /* of what was there before: "readable", "not selectable", "not in live tuples", "not in the files" */
};
struct rotate_open { /* a rotation in this database that is not done */
    char id[40], kind[16], step[16], line[KEYRING_NAME_MAX]; /* line: "" where it is none of one line */
    char columns[400]; /* of a protect or unprotect: their names, those that fit */
    uint32_t from_key, to_key;
    bool paused, aborting;
    uint64_t done, total; /* cells */
    int64_t started_us;
    char waiting[300]; /* for whom its gate waits, or "" */
};
struct rotate_status {
    struct keyring *keyring; /* the columns point into it */
    struct rotate_column_status *columns;
    size_t column_count;
    struct rotate_open *open;
    size_t open_count;
    struct heartbeat *clients;
    size_t client_count;
    size_t tampered; /* working rows whose MAC does not hold */
    bool restored;   /* another incarnation than the keyring accepted: rotate recovers it */
};
COFFER_MUST_CHECK int rotate_status(const struct rotate_env *env, bool exact, struct rotate_status **out, struct coffer_error *err);
void rotate_status_free(struct rotate_status *status);

#endif
