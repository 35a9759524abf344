/* SPDX-License-Identifier: Apache-2.0 */
/* Changing the form of a mounted volume's names while it is in use.
 *
 *    names_change: forms mixed ──▶ names_bring_forward for every entry ──▶ names_change: the present form alone
 *
 * Upper names do not change, so neither the kernel nor anybody above notices.  While forms are mixed, every name is looked for in each
 * of them, and folders are listed from memory: a list of all names, made when its reader starts.
 */
#ifndef COFFER_VOLUME_FUSE_NAMES_H
#define COFFER_VOLUME_FUSE_NAMES_H

#include "volume/format.h"

struct volume_fs;

/* The format's change(), at an instant when no name is being made; and those who are in the middle of a folder get what they
 * have not read yet as it is now.  0 or a negative errno; on failure nothing has changed. */
int names_change(struct volume_fs *fs, const struct volume_options *options, const struct volume_key *keys, size_t count,
                 const struct volume_key *name_keys, size_t name_count, struct coffer_error *err);

/* Bring one lower entry to its present form, as name_bring_forward() (volume/name_forward.h) does and with its answers, while the
 * volume is in use.  Hold none of the core's locks.  Those who walk the lower folder at the same time (watch.h) do not hear of it:
 * bring names forward when no such walk or scan is under way, or from within it. */
int names_bring_forward(struct volume_fs *fs, int folder_fd, const char *lower_name);

#endif
