/* SPDX-License-Identifier: Apache-2.0 */
/* For whoever walks the lower folder while it is used: names that were moved or made anew meanwhile, so that nothing slips through
 * from a folder not yet seen into one already seen.
 *
 * A name is noted while fs->names is held shared, after it was moved: whoever takes fs->names alone for a moment
 * (watch_settle()) and then finds nothing noted has seen everything.
 */
#ifndef COFFER_VOLUME_FUSE_WATCH_H
#define COFFER_VOLUME_FUSE_WATCH_H

#include "volume/fuse/inode.h"

struct moved {
    struct inode *folder; /* where it is now; a reference */
    struct moved *next;
    char lower[VOLUME_NAME_MAX + 1];
};

struct watch {
    struct moved *first;
    size_t count;
    bool missed; /* more than there is room or memory for: walk everything again */
    struct watch *next;
};

void watch_begin(struct volume_fs *fs, struct watch *watch);
void watch_end(struct volume_fs *fs, struct watch *watch);
/* All that was noted since the last call, to be given to watch_free(); NULL: nothing.  `*missed` is taken and reset. */
struct moved *watch_take(struct volume_fs *fs, struct watch *watch, bool *missed);
void watch_free(struct volume_fs *fs, struct moved *moved);
/* Wait until every change of names under way now is done. */
void watch_settle(struct volume_fs *fs);

/* For the core: `lower` is in `folder` now; fs->names held. */
void watch_note(struct volume_fs *fs, struct inode *folder, const char *lower);

#endif
