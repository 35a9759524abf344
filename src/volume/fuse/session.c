/* SPDX-License-Identifier: Apache-2.0 */
/* The session with the kernel: what is agreed at the start, and the mount itself. */
#include "volume/fuse/internal.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void
op_init(void *userdata, struct fuse_conn_info *conn)
{
    struct volume_fs *fs = userdata;
    unsigned want = FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS |
                    FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ATOMIC_O_TRUNC |
                    FUSE_CAP_DONT_MASK | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_ASYNC_DIO;
    /* Nobody else writes, so cached data need no doubt; splicing only copies once more; locks are the kernel's business, since
     * one mount is all there is of a volume. */
    unsigned not = FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
                   FUSE_CAP_SPLICE_MOVE | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS;

    if (fs->acl)
        want |= FUSE_CAP_POSIX_ACL;
    conn->want = (conn->want & ~not ) | (want & conn->capable);
    conn->max_write = IO_MAX;
    conn->max_readahead = IO_MAX;
    conn->max_background = 64;
    conn->congestion_threshold = 48;
    conn->time_gran = 1;
}

const struct fuse_lowlevel_ops session_ops = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .symlink = op_symlink,
    .rename = op_rename,
    .link = op_link,
    .open = op_open,
    .create = op_create,
    .read = op_read,
    .write = op_write,
    .release = op_release,
    .fsync = op_fsync,
    .fallocate = op_fallocate,
    .copy_file_range = op_copy_file_range,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .readdirplus = op_readdirplus,
    .releasedir = op_releasedir,
    .fsyncdir = op_fsyncdir,
    .statfs = op_statfs,
    .setxattr = op_setxattr,
    .getxattr = op_getxattr,
    .listxattr = op_listxattr,
    .removexattr = op_removexattr,
    /* Not here on purpose: flush (nothing is held back), lseek (no holes: the kernel answers by itself), locks. */
};

/* A value in a list of mount options: commas and backslashes are escaped. */
static void
add_escaped(struct buf *out, const char *value)
{
    for (; *value != 0; value++) {
        if (*value == ',' || *value == '\\')
            buf_u8(out, '\\');
        buf_u8(out, (uint8_t)*value);
    }
}

static void
mount_options(struct volume_fs *fs, struct buf *out)
{
    const struct volume_mount_options *options = fs->options;

    buf_str(out, "default_permissions,subtype=coffer,fsname=");
    add_escaped(out, options->lower);
    if (!options->only_me)
        buf_str(out, ",allow_other");
    if (options->read_only)
        buf_str(out, ",ro");
    if (options->kernel_options != NULL && options->kernel_options[0] != 0)
        buf_format(out, ",%s", options->kernel_options);
}

int
session_mount(struct volume_fs *fs, struct coffer_error *err)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct buf list;
    int rc = 0;

    buf_init(&list, 65536);
    mount_options(fs, &list);
    if (fuse_opt_add_arg(&args, "coffer") != 0 || fuse_opt_add_arg(&args, "-o") != 0 ||
        fuse_opt_add_arg(&args, buf_cstr(&list)) != 0 || buf_status(&list, NULL) != 0)
        rc = error_nomem(err);
    if (rc == 0) {
        fs->session = fuse_session_new(&args, &session_ops, sizeof session_ops, fs);
        if (fs->session == NULL)
            rc = error_set(err, COFFER_E_MISUSE, "mount options '%s' are not known",
                           fs->options->kernel_options != NULL ? fs->options->kernel_options : "");
    }
    if (rc == 0 && fuse_session_mount(fs->session, fs->options->mount_point) != 0) {
        rc = error_set(err, COFFER_E_IO, "%s: cannot mount here%s", fs->options->mount_point,
                       geteuid() == 0 ? ": is /dev/fuse there, and may this process mount?"
                       : !fs->options->only_me
                           ? ": ordinary users need user_allow_other in /etc/fuse.conf, or give --only-me"
                           : "");
        fuse_session_destroy(fs->session);
        fs->session = NULL;
    }
    fuse_opt_free_args(&args);
    buf_wipe(&list);
    return rc;
}

static void
set_bdi(dev_t dev, const char *name, const char *value)
{
    char path[128];
    int fd;

    (void)snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/%s", major(dev), minor(dev), name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* an old kernel, or a container: slower bursts, nothing else */
    (void)!write(fd, value, strlen(value));
    close(fd);
}

/* The kernel gives a FUSE mount 1 % of the dirty pages and 128 KiB of read-ahead.  A database's filesystem is no USB stick. */
void
session_tune(struct volume_fs *fs)
{
    struct stat st;

    if (stat(fs->options->mount_point, &st) != 0)
        return;
    set_bdi(st.st_dev, "strict_limit", "0");
    set_bdi(st.st_dev, "max_ratio", "100");
    set_bdi(st.st_dev, "read_ahead_kb", "1024");
}
