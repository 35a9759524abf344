/* SPDX-License-Identifier: Apache-2.0 */
/* Folder and volume of a generation: made, and removed. */
#ifndef COFFER_DEPLOY_GENERATION_H
#define COFFER_DEPLOY_GENERATION_H

#include "deploy/internal.h"

/* Each may be repeated after a crash. */
COFFER_MUST_CHECK int generation_folder(struct deploy *deploy, const struct database_place *place, struct coffer_error *err);
COFFER_MUST_CHECK int generation_volume(struct deploy *deploy, const struct database_place *place, const char *who, struct coffer_error *err);
/* Server, mount and folder go; the key of the volume is volume_shred()'s business. */
COFFER_MUST_CHECK int generation_remove(struct deploy *deploy, const struct database_place *place, struct coffer_error *err);
/* After the lower folder is gone: certify that nothing is under its keys, and destroy those that no backup needs; the others move to escrow.
 * `held` (text, may be NULL) says what still holds them; "" nothing does. */
COFFER_MUST_CHECK int volume_shred(struct deploy *deploy, const char *volume, const char *who, char *held, size_t max,
                                   struct coffer_error *err);
/* The cipher of a stack. */
COFFER_MUST_CHECK int stack_key_bits(struct deploy *deploy, const char *name, unsigned *bits, struct coffer_error *err);

#endif
