/* SPDX-License-Identifier: Apache-2.0 */
/* Room on the volume is room on the lower filesystem; names may be shorter. */
#include "volume/fuse/internal.h"

#include <errno.h>
#include <sys/statvfs.h>

void
op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct volume_fs *fs = fs_of(req);
    struct statvfs st;

    if (fstatvfs(fs->root_fd, &st) != 0) {
        reply_status(req, -errno);
        return;
    }
    st.f_namemax = fs->format->name_max(fs->volume);
    (void)fuse_reply_statfs(req, &st);
}
