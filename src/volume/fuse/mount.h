/* SPDX-License-Identifier: Apache-2.0 */
/* Mount a volume: serve the upper files of a lower folder through FUSE until somebody unmounts it.
 *
 * One process serves one mount.  A lower folder is served once: the second mount of it is refused.
 */
#ifndef COFFER_VOLUME_FUSE_MOUNT_H
#define COFFER_VOLUME_FUSE_MOUNT_H

#include "volume/format.h"
#include "volume/fuse/control.h"

struct volume_fs;
struct volume_background;

typedef void (*volume_log_fn)(void *arg, const char *line);

struct volume_mount_options {
    const char *lower, *mount_point;
    bool read_only;
    bool only_me;               /* do not let other users in (they are, under the permissions of the files) */
    bool non_empty;             /* the mount point may have content, which is hidden */
    const char *kernel_options; /* further mount options, comma separated: "dev,suid"; NULL */
    /* Files that bypass the kernel's cache, "NAME" or "FOLDER/NAME" as for fnmatch(3): logs written with a sync each.  NULL: the
     * segments of PostgreSQL's write-ahead log while they are opened with O_DSYNC. */
    const char *const *direct;
    size_t direct_count;
    unsigned threads;         /* 0: 4 to 8, by the number of processors */
    unsigned descriptors_max; /* lower files kept open at most; 0: by the limit of the process */
    struct volume_background *background; /* told when the volume is served, or why not; NULL in the foreground */
    volume_log_fn log;                    /* one line each: damage with its path, how the mount ended; any thread */
    void *log_arg;
    /* Requests on the control channel that the core does not know, and additions to "status" (NULL: none). */
    volume_control_fn control;
    void *control_arg;
    /* Called with the lower folder locked, before anything in it is looked at, and not on a read-only mount: what a killed rotation left is put
     * right here (volume_recover()).  An error ends the mount.  NULL: none. */
    int (*recover)(void *arg, const char *lower, struct coffer_error *err);
    void *recover_arg;
    /* Called once it serves, and once it will end soon (the last moment to stop what uses `fs`).  NULL: none. */
    void (*started)(void *arg, struct volume_fs *fs);
    void (*stopping)(void *arg, struct volume_fs *fs);
    void *hooks_arg;
};

/* Mount and serve; returns when the volume is unmounted and everything is on the lower filesystem.  SIGTERM, SIGINT and SIGHUP
 * unmount; if the volume is in use then, it leaves the tree and is served until its last user is gone.
 * `volume` stays the caller's.
 *
 * If the machine stopped while the lower folder was mounted (volume_lower_crashed(), which the caller asks before he opens the
 * volume, for volume_options.after_crash), every lower file is settled and synced before the volume is served, and only then is
 * the crash forgotten.  A file that cannot be, and a read-only mount, leave it on record.
 *
 * COFFER_E_NOTFOUND  lower folder or mount point is missing
 * COFFER_E_CONFLICT  the lower folder is mounted already
 * COFFER_E_REFUSED   the mount point cannot be used
 * COFFER_E_CANCELLED a signal came while files were settled
 * COFFER_E_IO        the system said no; the message says what */
int volume_mount_run(const struct volume_mount_options *options, const struct volume_format *format, struct volume *volume,
                     struct coffer_error *err);

/* Unmount what is mounted there.  COFFER_E_CONFLICT while it is in use, COFFER_E_NOTFOUND if no volume is mounted there. */
int volume_unmount(const char *mount_point, struct coffer_error *err);

/* Did the machine stop while this lower folder was mounted?  What volume_options.after_crash wants to know. */
int volume_lower_crashed(const char *lower, bool *after_crash, struct coffer_error *err);

/* ---- going to the background ---- */

/* Fork.  In the child `*parent` is false and the function returns at once; what it does until the volume is served may still use
 * the terminal.  In the parent `*parent` is true and it returns when the child has reported: with the child's status and message.
 * The child reports through volume_mount_run(), or with volume_background_report() if it fails before. */
int volume_background_start(struct volume_background **out, bool *parent, struct coffer_error *err);
void volume_background_report(struct volume_background *background, int status, const struct coffer_error *err);
void volume_background_free(struct volume_background *background);

#endif
