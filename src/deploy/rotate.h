/* SPDX-License-Identifier: Apache-2.0 */
/* What the three ways to change a database's disk key share. */
#ifndef COFFER_DEPLOY_ROTATE_H
#define COFFER_DEPLOY_ROTATE_H

#include "deploy/generation.h"

COFFER_MUST_CHECK int rotate_active_key(struct deploy *deploy, const char *volume, uint32_t *id, struct coffer_error *err);
json_t *rotate_key_json(uint32_t id);
json_t *rotate_certificate_json(struct deploy *deploy, uint32_t id, const char *volume); /* its path; null */

/* Steps of those that build a new generation, rotate_copy.c. */
int copy_begin(struct job *job, struct coffer_error *err);
int copy_folder(struct job *job, struct coffer_error *err);
int copy_volume(struct job *job, struct coffer_error *err);
int copy_init(struct job *job, struct coffer_error *err);
int copy_server(struct job *job, struct coffer_error *err);
int copy_switch(struct job *job, struct coffer_error *err);
int copy_retire(struct job *job, struct coffer_error *err);
int copy_end(struct job *job, const char *method, struct coffer_error *err);
int copy_undo(struct job *job, struct coffer_error *err);    /* the new generation goes */
int copy_no_way_back(struct job *job, struct coffer_error *err);
struct copy {
    struct database_place from, to;
};
COFFER_MUST_CHECK int copy_places(struct job *job, struct copy *out, struct coffer_error *err);
void copy_wipe(struct copy *copy);
/* No more writes, from now on counted as downtime; and back. */
COFFER_MUST_CHECK int copy_quiet(struct job *job, const struct copy *copy, struct coffer_error *err);
void copy_unquiet(struct job *job, const struct copy *copy);
/* Tables and rows of both are the same. */
COFFER_MUST_CHECK int copy_compare(struct job *job, const struct copy *copy, struct coffer_error *err);

#endif
