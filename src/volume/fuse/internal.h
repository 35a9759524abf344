/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of fuse/ share among themselves: the running filesystem and the reply helpers.
 *
 * Locks, in the order in which they may be taken:
 *   folder           an open folder's reader (dir.c)
 *   fs->names        shared by whatever changes a name, or finds one while names stand in several forms; alone by what changes a
 *                    form or brings a name to it, and by the end of a rotation's copy
 *   inode->lock      shared: read, stat, attributes; alone: write, truncate, swap (regular files)
 *   stripe           an inode's descriptor and volume file, and how many use them
 *   table, cache     the two lists, for a few instructions each
 */
#ifndef COFFER_VOLUME_FUSE_INTERNAL_H
#define COFFER_VOLUME_FUSE_INTERNAL_H

#define FUSE_USE_VERSION 314

#include "volume/fuse/inode.h"
#include "volume/fuse/mount.h"

#include <fuse_lowlevel.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define STRIPES 64
#define VOLUME_HIDDEN ".coffer" /* lower names that begin so are Coffer's own and never shown */
#define FOREVER 86400.0         /* seconds the kernel may trust names and attributes: we are the only writer */

enum { IO_MAX = 1 << 20, REQUEST_KINDS = 64 };

struct inode_table {
    pthread_mutex_t mutex;
    struct inode **buckets, **by_shown; /* by (dev, ino); by the number shown, of those that differ */
    struct inode *nameless; /* by ->next and ->before: no name left, but in use */
    size_t mask, count, moved;
};

struct fd_cache {
    pthread_mutex_t mutex;
    struct inode *oldest, *newest;
    atomic_size_t count;
    size_t max;
};

/* What stands between libfuse and /dev/fuse (device.c). */
struct device {
    uint64_t init;               /* the INIT request that waits for its answer */
    uint64_t offered;            /* the flags that the kernel offers with it */
    atomic_uint_fast64_t agreed; /* what was added to libfuse's answer */
    atomic_int running;          /* workers */
    int ended;                   /* an eventfd: the last worker ends */
    pthread_t *threads;
    unsigned thread_count;
};

struct volume_fs {
    const struct volume_mount_options *options;
    const struct volume_format *format;
    struct volume *volume;
    struct inode *root;
    int root_fd; /* the lower folder, open for reading: holds the lock against a second mount */
    struct inode_table table;
    struct fd_cache cache;
    pthread_mutex_t stripes[STRIPES];
    pthread_rwlock_t names;
    pthread_mutex_t folders_mutex; /* over the list of open folders; taken before those */
    struct folder *folders;
    bool handles;     /* a closed descriptor can come back through its file handle */
    bool switch_user; /* we are root: new files belong to who asked */
    bool acl;         /* the lower filesystem has access control lists */
    atomic_uint_fast64_t requests, reads, writes, syncs, joined, opens;
    atomic_flag writing_out; /* one worker in early_write_out() is enough */
    atomic_uint_fast64_t kinds[REQUEST_KINDS]; /* requests by opcode */
    atomic_uint_fast64_t timed, timed_ns; /* requests that synced, and how long they took in all */
    atomic_uint watched;                  /* see watch.h */
    struct watch *watches;                /* table.mutex */
    atomic_bool walked;                   /* a rotation's walk is under way */
    int64_t started_s;
    struct fuse_session *session;
    struct device device;
};

/* ---- a request and its worker ---- */

/* What a worker thread owns.  `kill_privileges`: the request in hand asks to drop set-uid and set-gid bits. */
struct worker {
    void *buffer; /* IO_MAX bytes, page aligned */
    bool kill_privileges;
    bool own_umask;
};
struct worker *worker_self(void);

static inline struct volume_fs *
fs_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static inline struct inode *
inode_of(struct volume_fs *fs, fuse_ino_t ino)
{
    return ino == FUSE_ROOT_ID ? fs->root : (struct inode *)(uintptr_t)ino;
}

/* Answer with `rc`, 0 or a negative errno. */
static inline void
reply_status(fuse_req_t req, int rc)
{
    (void)fuse_reply_err(req, -rc);
}

/* ---- report.c ---- */
/* The errno a caller sees for what a format returned; damage is reported once an inode, with its path. */
int report_failure(struct volume_fs *fs, struct inode *inode, int rc, const struct coffer_error *err);
/* The upper path of a lower one below the lower folder; a name that is not the volume's stays as it is. */
void report_path(struct volume_fs *fs, const char *lower, char *out, size_t size);
void fs_log(struct volume_fs *fs, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- caller.c ---- */
/* Act for who asks: new files get that owner and mask.  Every caller_become() is followed by caller_restore(). */
void caller_become(struct volume_fs *fs, const struct fuse_ctx *ctx);
void caller_restore(struct volume_fs *fs);

/* ---- settle.c ---- */
/* The machine stopped while this lower folder was mounted: make every lower file what it is read as, and sync it.  `*settled` false: some
 * file could not be, so the crash must stay on record.  Damaged files are logged, and no reason for that. */
int settle_after_crash(struct volume_fs *fs, bool *settled, struct coffer_error *err);

/* ---- attr.c ---- */
/* What the upper file looks like.  The inode is not locked by the caller. */
int attr_of(struct volume_fs *fs, struct inode *inode, struct stat *st);
int attr_path(struct inode *inode, char path[32]); /* "/proc/self/fd/N" of a pinned inode */
int attr_drop_privileges(struct inode *inode, const struct stat *st);
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);

/* ---- lookup.c ---- */
/* The present lower name of an upper one; -EPERM for one that Coffer keeps for itself. */
int lookup_name(struct volume_fs *fs, const char *name, char lower[VOLUME_NAME_MAX + 1]);
/* fs->names is held, shared at least, while the answers of these are used.
 * standing: the lower name under which `name` stands in the folder; if it stands under none, the present one.
 * free: the present one, for what makes `name`; -EEXIST if it stands under a former one.
 * forward: as standing, after bringing it to the present form if that is possible; `folder` is pinned.
 * form: the one of index `i` of all (0 is the present one); -ENOENT beyond the last; another error: no form of that kind. */
int lookup_standing(struct volume_fs *fs, int folder_fd, const char *name, char lower[VOLUME_NAME_MAX + 1]);
int lookup_free(struct volume_fs *fs, int folder_fd, const char *name, char lower[VOLUME_NAME_MAX + 1]);
int lookup_forward(struct volume_fs *fs, struct inode *folder, const char *name, char lower[VOLUME_NAME_MAX + 1]);
int lookup_form(struct volume_fs *fs, unsigned i, const char *name, char lower[VOLUME_NAME_MAX + 1]);
/* Fill in `entry` for an inode whose reference goes to the kernel. On failure the reference is given back. */
int lookup_entry(struct volume_fs *fs, struct inode *inode, struct fuse_entry_param *entry);
/* Look a name up and take a reference for the kernel.  `lower`: where it was last seen, or NULL. */
int lookup_in(struct volume_fs *fs, struct inode *folder, const char *lower, const char *name, struct fuse_entry_param *entry);
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);

/* ---- direct.c ---- */
/* Which patterns' folder part fits a folder's name, as bits; and whether a file's name in such a folder is to be direct. */
uint32_t direct_folders(const struct volume_fs *fs, const char *name);
bool direct_match(const struct volume_fs *fs, uint32_t folders, const char *name);
void direct_named(struct volume_fs *fs, struct inode *folder, struct inode *inode, const char *name);
/* Is an open with these flags to be direct, if it is the first one? */
bool direct_wanted(const struct volume_fs *fs, const struct inode *inode, int flags);
int direct_check(const struct volume_mount_options *options, struct coffer_error *err);

/* ---- dir.c ---- */
void folders_close(struct volume_fs *fs); /* those that nobody released */
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
/* Readers in the middle of a folder get the rest as it is now, if names are about to move. */
void dir_settle_all(struct volume_fs *fs);
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

/* ---- file.c ---- */
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t at, off_t length, struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in, fuse_ino_t ino_out,
                        off_t off_out, struct fuse_file_info *fi_out, size_t length, int flags);
/* Make a regular file, open and with its metadata; with a reference for the kernel. */
int file_make(struct volume_fs *fs, const struct fuse_ctx *ctx, struct inode *folder, const char *name, mode_t mode,
              struct inode **out);

/* Sync a regular file; 0 or the errno that a caller sees, reported. */
int file_sync_now(struct volume_fs *fs, struct inode *inode, bool data_only);

/* ---- early.c ---- */
/* Bytes or size have changed; inode->lock held alone. */
void early_changed(struct volume_fs *fs, struct inode *inode);
/* After a write, before it is answered: is a sync going to be asked for?  Then early_sync() has to follow the answer. */
bool early_expected(struct volume_fs *fs, struct inode *inode);
void early_sync(struct volume_fs *fs, struct inode *inode);
/* A sync is asked for: true if an early one answers `req`.  Else `*error` is what an early one failed with, or 0. */
bool early_join(struct volume_fs *fs, struct inode *inode, fuse_req_t req, bool data_only, int *error);
/* The kernel writes a piece of a file back from its cache. */
void early_write_out(struct volume_fs *fs, struct inode *inode, uint64_t at, size_t size);
void early_free(struct inode *inode);

/* ---- name.c ---- */
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_readlink(fuse_req_t req, fuse_ino_t ino);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
/* remove.c */
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name, unsigned flags);
/* The upper target of a lower symbolic link; `out` holds VOLUME_TARGET_MAX + 1. Returns its length. */
ssize_t name_target(struct volume_fs *fs, int fd, const char *lower, char *out);

/* ---- xattr.c ---- */
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
bool xattr_hidden(const struct volume_fs *fs, const char *name);

/* ---- statfs.c ---- */
void op_statfs(fuse_req_t req, fuse_ino_t ino);

/* ---- device.c ---- */
/* Put our hands between libfuse and the device, before the first request is read. */
int device_open(struct volume_fs *fs);
/* Serve with so many threads until the mount is gone; device_wait() returns then. */
int device_start(struct volume_fs *fs, unsigned threads);
void device_wait(struct volume_fs *fs);

/* ---- session.c ---- */
extern const struct fuse_lowlevel_ops session_ops;
int session_mount(struct volume_fs *fs, struct coffer_error *err); /* mounts */
void session_tune(struct volume_fs *fs);                          /* the mount's share of the page cache and read-ahead */

/* ---- mount_point.c ---- */
/* A mounted volume, as /proc/self/mountinfo has it. */
struct mount_info {
    char *mount_point, *lower;
    unsigned major, minor;
};
/* The volume mounted at `path`, or, with `or_lower`, made of that lower folder; the last one mounted. */
int mount_info_find(const char *path, bool or_lower, struct mount_info *out, struct coffer_error *err);
void mount_info_wipe(struct mount_info *info);
int mount_point_check(const struct volume_mount_options *options, struct coffer_error *err);
int mount_point_detach(const char *mount_point, bool lazy); /* 0 or a negative errno */

/* ---- requests.c ---- */
void requests_count(struct volume_fs *fs, uint32_t opcode);
json_t *requests_by_kind(struct volume_fs *fs); /* {"lookup": N, …}, a new reference; NULL: out of memory */

/* ---- control.c ---- */
struct control;
int control_open(struct volume_fs *fs, struct control **out, struct coffer_error *err);
void control_close(struct control *control);
int control_path(unsigned major, unsigned minor, char *out, size_t size);

#endif
