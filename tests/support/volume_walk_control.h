/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the control channel by which tests change a mounted volume's key and walk it; see volume_mount.c. */
#ifndef COFFER_TESTS_VOLUME_WALK_CONTROL_H
#define COFFER_TESTS_VOLUME_WALK_CONTROL_H

#include "volume/fuse/control.h"
#include "volume/rotate/walk.h"

/* What "change" goes by: the form, and the passphrases of the key that writes and of the next. */
void walk_control_keys(const struct volume_options *options, const char *key, const char *next);

/* COFFER_E_UNSUPPORTED: not one of these. */
int walk_control(struct volume_fs *fs, const struct volume_format *format, struct volume *volume, const char *lower,
                 const char *command, const json_t *request, json_t *reply, struct coffer_error *err);
void walk_control_stop(void);

#endif
