/* SPDX-License-Identifier: Apache-2.0 */
/* Changing the form of names of a mounted volume, through the control channel of volume_mount. */
#ifndef COFFER_TEST_VOLUME_FORWARD_H
#define COFFER_TEST_VOLUME_FORWARD_H

#include "volume/fuse/mount.h"

/* Every entry below the lower folder, deepest first.  `fs` NULL: offline.  Answers {"moved", "current", "failed": {ERRNO: count}}. */
void forward_all(struct volume_fs *fs, const struct volume_format *format, struct volume *volume,
                 int lower_fd, json_t *reply);

#endif
