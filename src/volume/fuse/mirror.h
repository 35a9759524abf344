/* SPDX-License-Identifier: Apache-2.0 */
/* Copying a regular file forward into another lower file while it is in use, and putting that in its place.
 *
 *    mirror_begin ──▶ mirror_step … ──▶ mirror_finish ──▶ the inode serves the new lower file
 *         └──────────────────┴──────────────▶ mirror_cancel
 *
 * Until the end the old lower file is the truth: it alone is read and synced, and a failure of the copy (no space) never reaches a
 * caller.  The copy holds everything up to `done`; a write below that goes to both, above it only to the old file, since the copy
 * will come there.  At the end, with the file locked alone, the last bytes are copied and synced, the names are moved, the folders
 * synced, and only then can anybody write to the new file: what is synced from then on is found by its name after a crash.
 *
 * One mirror at a time for each inode; one thread works on one mirror.
 */
#ifndef COFFER_VOLUME_FUSE_MIRROR_H
#define COFFER_VOLUME_FUSE_MIRROR_H

#include "volume/fuse/inode.h"

struct mirror_status {
    uint64_t done, size; /* bytes copied, and the upper size now */
};

/* Start copying into the lower file `fd` (empty, open for reading and writing; taken over, closed on failure too), made with the
 * format's present keys through `format` and `volume`: the volume's own, or those of another key or key length.
 * -EBUSY while another mirror of this inode is running; -EBADMSG, -EKEYREJECTED: the old file does not open. */
int mirror_begin(struct volume_fs *fs, struct inode *inode, int fd, struct volume *volume, struct coffer_error *err);

/* Copy at most `bytes` more.  Reads of the file go on meanwhile, writes wait.  `status->done == status->size`: nothing is left now.
 * An error stays: cancel then. */
int mirror_step(struct volume_fs *fs, struct inode *inode, size_t bytes, struct mirror_status *status, struct coffer_error *err);

/* How the new file takes the old one's place.  Both run while nobody can use the inode.  `replace` moves the names: it runs while
 * no name of the mount can change, must see for itself that the names are still the old file's (dev, ino), and may refuse
 * (-EAGAIN) without having changed anything.  For a file without a name left it removes the new file's temporary one.
 * `settle` makes that durable (fsync of the folders); it is called only after `replace` returned 0, and its failure is reported, though the
 * new file is in place then. */
struct mirror_end {
    int (*replace)(void *arg, struct inode *inode);
    int (*settle)(void *arg, struct inode *inode);
    void *arg;
};

/* Copy the rest, owner, mode, times and attributes; sync; replace; settle; serve the new file.  On failure of anything up to
 * `replace` the mirror goes on as it was. */
int mirror_finish(struct volume_fs *fs, struct inode *inode, const struct mirror_end *end, struct coffer_error *err);

/* Stop, and close the new file; removing it is the caller's business.  Nothing to cancel is fine. */
void mirror_cancel(struct volume_fs *fs, struct inode *inode);

/* ---- for the core: changes to a file that may have a mirror; inode->lock held alone, inode pinned with REACH_FILE ---- */

int mirror_write(struct volume_fs *fs, struct inode *inode, const void *data, size_t length, uint64_t at, unsigned flags,
                 struct coffer_error *err);
int mirror_truncate(struct volume_fs *fs, struct inode *inode, uint64_t size, struct coffer_error *err);
int mirror_allocate(struct volume_fs *fs, struct inode *inode, int mode, uint64_t at, uint64_t length, struct coffer_error *err);

#endif
