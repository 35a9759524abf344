/* SPDX-License-Identifier: Apache-2.0 */
/* What doctor_mount.c and doctor_lower.c share. */
#ifndef COFFER_DEPLOY_ENGINES_DOCTOR_MOUNT_H
#define COFFER_DEPLOY_ENGINES_DOCTOR_MOUNT_H

#include "deploy/engines/engine.h"

struct trial {
    const char *lower; /* NULL: not looked at */
    int folder;        /* an empty one on the mount */
    const char *state; /* of the answer; NULL: there is none */
    char text[400];
};

void trial_say(struct trial *trial, const char *state, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int trial_open(struct trial *trial, const char *name, int flags);
/* A marker that is written on the mount is in no file below. */
void trial_ciphertext(struct trial *trial);

#endif
