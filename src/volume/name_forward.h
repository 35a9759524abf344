/* SPDX-License-Identifier: Apache-2.0 */
/* One lower entry, brought to the form that its volume gives names now (volume_options.mixed_names).
 *
 * A name is renamed within its folder.  A symbolic link whose target stands in another form is made anew under a hidden name and
 * renamed over the old one, with its owner, times and extended attributes; so it is another lower file then, and of several
 * names of one link each becomes a link of its own.  At every instant the entry is there under one form, and only one; its
 * folder's times stay.  Nothing is synced: the caller syncs the folder when it has brought many forward.
 */
#ifndef COFFER_VOLUME_NAME_FORWARD_H
#define COFFER_VOLUME_NAME_FORWARD_H

#include "volume/format.h"

/* Offline: nobody else changes the folder.  For a mounted volume: names_bring_forward() (fuse/names.h).
 *
 * 0              moved
 * 1              was current
 * -ENOENT        no such entry, or not a name of the volume, or one of Coffer's own
 * -ENAMETOOLONG  the present form is longer than a lower name or target may be   } the entry stays as it was,
 * -EEXIST        another entry has the present form                              } and is found under that form
 * -EPERM         in the present form it would be taken for something else        }
 * -EINVAL        a link whose target does not open
 * or what the lower filesystem says */
int name_bring_forward(const struct volume_format *format, const struct volume *volume, int folder_fd, const char *lower);

/* The same; `now` becomes the lower name that the entry has afterwards, whatever is returned. */
int name_forward(const struct volume_format *format, const struct volume *volume, int folder_fd, const char *lower,
                 char now[VOLUME_NAME_MAX + 1]);

#endif
