/* SPDX-License-Identifier: Apache-2.0 */
/* Making files as the one who asks, so that owner, group and mask are right from the first instant.
 *
 * The kernel has checked the permissions (default_permissions) with all groups of the caller; the lower filesystem knows only its user and
 * group here.  So the thread keeps the capability to pass over file permissions, which changing the filesystem user
 * would drop.  User and mask are per thread: the raw system calls, and a mask of its own for each thread.
 */
#include "volume/fuse/internal.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

static void
raise_override(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &header, data) != 0)
        return;
    data[0].effective |=
        data[0].permitted & (1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH | 1u << CAP_MKNOD);
    (void)syscall(SYS_capset, &header, data);
}

void
caller_become(struct volume_fs *fs, const struct fuse_ctx *ctx)
{
    struct worker *worker = worker_self();

    if (!worker->own_umask)
        worker->own_umask = unshare(CLONE_FS) == 0;
    if (worker->own_umask)
        (void)umask(ctx->umask);
    if (!fs->switch_user || (ctx->uid == 0 && ctx->gid == 0))
        return;
    (void)syscall(SYS_setfsgid, ctx->gid);
    (void)syscall(SYS_setfsuid, ctx->uid);
    if (ctx->uid != 0)
        raise_override();
}

void
caller_restore(struct volume_fs *fs)
{
    if (worker_self()->own_umask)
        (void)umask(0);
    if (!fs->switch_user)
        return;
    (void)syscall(SYS_setfsuid, 0);
    (void)syscall(SYS_setfsgid, 0);
}
