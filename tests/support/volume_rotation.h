/* SPDX-License-Identifier: Apache-2.0 */
/* A rotation in a volume mounted for tests: {"command":"rotate","work":"rewrap"|"reencrypt","key":K,"old":K}. */
#ifndef SUPPORT_VOLUME_ROTATION_H
#define SUPPORT_VOLUME_ROTATION_H

#include "base/error.h"
#include "volume/format.h"

#include <jansson.h>

struct volume_fs;

/* Write under `key` from now on, open with `old` too, and move every file there.  Names are not encrypted. */
int rotation_begin(struct volume_fs *fs, const struct volume_options *options, const json_t *request, struct coffer_error *err);
void rotation_status(json_t *reply); /* "walk": where it stands, if there is one */
void rotation_end(void);             /* before the volume goes */
/* What a killed walk left; volume_mount_options.recover. */
int rotation_recover(void *volume, const char *lower, struct coffer_error *err);

#endif
