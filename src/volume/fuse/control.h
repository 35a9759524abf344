/* SPDX-License-Identifier: Apache-2.0 */
/* The control channel of a mounted volume: one line of JSON asks, one line answers.
 *
 * A Unix socket of the user who mounted (/run/coffer/volume-MAJOR-MINOR.sock of the mount's device number, in $XDG_RUNTIME_DIR for
 * ordinary users); only that user and root get an answer.  A request is {"command": NAME, …}; the answer {"ok": true, …}, or
 * {"ok": false, "status": N, "message": TEXT}.
 *
 *   status    lower, mount, format, inodes, descriptors, open files, requests served, and how many of each kind
 *   unmount   unmounts, or says that it is in use
 *   others    are the business of `control` in the mount options: rewrap, reencrypt, pause, resume, throttle
 */
#ifndef COFFER_VOLUME_FUSE_CONTROL_H
#define COFFER_VOLUME_FUSE_CONTROL_H

#include "base/error.h"

#include <jansson.h>

struct volume_fs;

/* Answer `request` by adding to `reply`.  For "status" it only adds.  COFFER_E_UNSUPPORTED: no such command. */
typedef int (*volume_control_fn)(void *arg, struct volume_fs *fs, const char *command, const json_t *request, json_t *reply,
                                 struct coffer_error *err);

/* Ask the volume that is mounted at, or from, `path`.  On success `*reply` is a new reference; a refusal by the other side is
 * returned as its status and message.  COFFER_E_NOTFOUND: no volume is mounted there. */
int volume_control_call(const char *path, json_t *request, json_t **reply, struct coffer_error *err);

#endif
