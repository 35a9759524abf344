/* SPDX-License-Identifier: Apache-2.0 */
/* Work that takes time: a row of state.db, a thread, and steps that may be repeated.
 *
 * A job's step is written down before it begins.  Whoever starts after a crash runs the job again from that step, so a step first looks at
 * what is already so.  A job that cannot go on is `failed`, with its message, and can be resumed or taken back by the owner.
 * One job a database at a time (CONFLICT names the other).
 */
#ifndef COFFER_DEPLOY_JOB_H
#define COFFER_DEPLOY_JOB_H

#include "deploy/deploy.h"

struct job {
    struct deploy *deploy;
    uint64_t id;
    const char *kind;       /* "create", "rotate", "backup", … */
    const char *database;   /* id, 36 characters; "" if of none */
    const char *who;
    json_t *request;        /* as asked for */
    json_t *memory;         /* what steps leave for later steps and for a resume; job_step() stores it */
    json_t *result;         /* what the answer becomes; set by steps */
    char step[64];
};

struct job_step {
    const char *name;
    int (*run)(struct job *job, struct coffer_error *err);
    int (*undo)(struct job *job, struct coffer_error *err); /* for a cancelled job, in reverse; NULL: nothing to undo */
};
struct job_kind {
    const char *name;
    const struct job_step *steps; /* name NULL at the end */
};
extern const struct job_kind *const job_kinds[]; /* NULL at the end */

/* Enter a job and start it.  `database` NULL: of none. */
COFFER_MUST_CHECK int job_begin(struct deploy *deploy, const struct job_kind *kind, const char *database, const struct deploy_caller *caller,
                                const json_t *request, uint64_t *id, struct coffer_error *err);

/* From within a step.  Progress reaches listeners at most 4 times a second.  `unit` is "bytes", "files", "rows". */
void job_progress(struct job *job, uint64_t done, uint64_t total, const char *unit);
void job_say(struct job *job, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Store `memory` now: for a step that must not do something twice. */
COFFER_MUST_CHECK int job_remember(struct job *job, struct coffer_error *err);
bool job_cancelled(const struct job *job); /* asked to pause, to cancel, or the daemon stops: return CANCELLED soon */

/* {"id","kind","database","state":"running"|"paused"|"failed"|"done"|"cancelled","step","done","total","unit","rate","seconds_left",
 *  "messages":[{"at","text"}],"error","result","created","updated"} */
COFFER_MUST_CHECK int job_json(struct deploy *deploy, uint64_t id, json_t **out, struct coffer_error *err);

#endif
