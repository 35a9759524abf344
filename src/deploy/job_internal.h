/* SPDX-License-Identifier: Apache-2.0 */
/* A job while its thread runs, and how it is asked for things.  Between job.c and job_actions.c. */
#ifndef COFFER_DEPLOY_JOB_INTERNAL_H
#define COFFER_DEPLOY_JOB_INTERNAL_H

#include "deploy/internal.h"

enum job_ask { ASK_NOTHING, ASK_PAUSE, ASK_CANCEL, ASK_END };

struct running {
    struct job job; /* first: steps get this */
    struct running *next;
    const struct job_kind *kind;
    char database[37], who[KEYRING_NAME_MAX];
    bool undo, found;
    atomic_int ask;

    pthread_mutex_t lock; /* of what follows */
    uint64_t done, total, since_done;
    char unit[16];
    double rate, latency, pace_rate, pace_duty;
    bool paced;
    int64_t since_ms, told_ms;
    json_t *messages;
};

struct job_pace_ask {
    double rate, duty; /* bytes a second, share of time; 0: none */
};
bool job_ask(struct deploy *deploy, uint64_t id, enum job_ask ask, const struct job_pace_ask *pace);
COFFER_MUST_CHECK int job_again(struct deploy *deploy, uint64_t id, bool undo, struct coffer_error *err);

#endif
