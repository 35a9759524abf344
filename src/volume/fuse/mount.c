/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a mount, from the lower folder's lock to its release.
 *
 *   lock the lower folder ─▶ (after a crash: settle.c) ─▶ mount ─▶ serve ─▶ (unmounted) ─▶ close every file ─▶ sync the lower filesystem ─▶ unlock
 *
 * The lock is flock(2) on the lower folder itself, so that nothing has to lie in it.  What does lie in it while it is mounted is
 * the mark .coffer.mounted with the kernel's boot id: found later with another boot id, the machine stopped meanwhile.  The mark
 * is a symbolic link, which needs no block of its own: a volume on a full disk can be mounted, to make room.
 */
#include "base/mem.h"
#include "volume/fuse/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define MARK VOLUME_HIDDEN ".mounted"

enum { BOOT_ID = 36 };

/* ---- the mark ---- */

static bool
boot_id(char out[BOOT_ID + 1])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, out, BOOT_ID) : -1;

    if (fd >= 0)
        close(fd);
    out[got == BOOT_ID ? BOOT_ID : 0] = 0;
    return got == BOOT_ID;
}

static bool
mark_says_crash(int folder)
{
    char now[BOOT_ID + 1], then[BOOT_ID + 1] = "";
    ssize_t got = readlinkat(folder, MARK, then, sizeof then);
    int fd;

    if (got < 0) { /* a file where there are no links */
        fd = openat(folder, MARK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return false;
        got = read(fd, then, BOOT_ID);
        close(fd);
    }
    return !boot_id(now) || got != BOOT_ID || memcmp(now, then, BOOT_ID) != 0;
}

int
volume_lower_crashed(const char *lower, bool *after_crash, struct coffer_error *err)
{
    int fd = open(lower, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *after_crash = false;
    if (fd < 0)
        return error_set(err, errno == ENOENT ? COFFER_E_NOTFOUND : COFFER_E_IO, "%s: %s", lower,
                         strerror(errno));
    *after_crash = mark_says_crash(fd);
    close(fd);
    return COFFER_OK;
}

/* A crash before it is durable loses nothing: only what is written after it matters, and the folder is synced first. */
static int
mark_set(int folder, const char *lower, struct coffer_error *err)
{
    char id[BOOT_ID + 1];
    int fd, rc = 0;

    if (!boot_id(id))
        return error_set(err, COFFER_E_IO, "/proc/sys/kernel/random/boot_id cannot be read");
    (void)unlinkat(folder, MARK ".new", 0);
    if (symlinkat(id, folder, MARK ".new") == 0 && renameat(folder, MARK ".new", folder, MARK) == 0)
        return fsync(folder) == 0 ? COFFER_OK
                                  : error_set(err, COFFER_E_IO, "%s: cannot sync it: %s", lower, strerror(errno));
    (void)unlinkat(folder, MARK ".new", 0);
    fd = openat(folder, MARK, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_set(err, COFFER_E_IO, "%s/" MARK ": cannot make it: %s", lower,
                         strerror(errno));
    if (write(fd, id, BOOT_ID) != BOOT_ID || fsync(fd) != 0 || fsync(folder) != 0)
        rc =
            error_set(err, COFFER_E_IO, "%s/" MARK ": cannot write it: %s", lower, strerror(errno));
    close(fd);
    return rc;
}

/* ---- opening ---- */

static int
lower_lock(struct volume_fs *fs, struct coffer_error *err)
{
    const char *lower = fs->options->lower;

    fs->root_fd = open(lower, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fs->root_fd < 0)
        return error_set(err, errno == ENOENT ? COFFER_E_NOTFOUND : COFFER_E_IO, "%s: %s", lower,
                         strerror(errno));
    if (flock(fs->root_fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK
                   ? error_set(err, COFFER_E_CONFLICT,
                               "%s is mounted already, by another process: unmount it there first",
                               lower)
                   : error_set(err, COFFER_E_IO, "%s: cannot lock: %s", lower, strerror(errno));
    return COFFER_OK;
}

/* As many descriptors as we may have, since a database opens thousands of files; returns how many lower files may stay open. */
static unsigned
raise_limit(unsigned wanted)
{
    struct rlimit limit;
    rlim_t most = 1 << 20;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 512;
    if (limit.rlim_max < most && geteuid() == 0) {
        struct rlimit more = {most, most};

        if (setrlimit(RLIMIT_NOFILE, &more) == 0)
            limit = more;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max < most ? limit.rlim_max : most;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        (void)getrlimit(RLIMIT_NOFILE, &limit);
    }
    most = limit.rlim_cur / 4 * 3;
    if (most > 65536)
        most = 65536; /* an open lower file costs the kernel a kilobyte or more */
    if (wanted > 0 && wanted < most)
        most = wanted;
    return most < 16 ? 16 : (unsigned)most;
}

static int
root_open(struct volume_fs *fs, struct coffer_error *err)
{
    struct stat st;
    int fd = openat(fs->root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC), rc;

    if (fd < 0 || fstat(fd, &st) != 0) {
        rc = -errno;
        if (fd >= 0)
            close(fd);
    } else {
        rc = inode_adopt(fs, fd, ACCESS_PATH, NULL, &st, &fs->root);
    }
    if (rc == 0)
        inode_keep(fs, fs->root);
    return rc == 0 ? COFFER_OK
                   : error_set(err, rc == -ENOMEM ? COFFER_E_NOMEM : COFFER_E_IO, "%s: %s",
                               fs->options->lower, strerror(-rc));
}

static int
fs_open(struct volume_fs *fs, struct coffer_error *err)
{
    pthread_rwlockattr_t attr;
    int rc;

    /* Whoever waits for all names to stand still is let in before more changes are. */
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&fs->names, &attr);
    pthread_rwlockattr_destroy(&attr);
    pthread_mutex_init(&fs->folders_mutex, NULL);

    fs->switch_user = geteuid() == 0;
    fs->handles = inode_handles_work(fs->root_fd);
    fs->acl = fgetxattr(fs->root_fd, "system.posix_acl_access", NULL, 0) >= 0 || errno == ENODATA;
    fs->started_s = (int64_t)time(NULL);
    inode_cache_open(fs, raise_limit(fs->options->descriptors_max));
    if (inode_table_open(fs) != 0)
        return error_nomem(err);
    rc = root_open(fs, err);
    if (rc != COFFER_OK)
        return rc;
    fs->device.ended = eventfd(0, EFD_CLOEXEC);
    if (fs->device.ended < 0)
        return error_set(err, COFFER_E_IO, "cannot make an eventfd: %s", strerror(errno));
    return COFFER_OK;
}

static unsigned
thread_count(const struct volume_fs *fs)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);

    if (fs->options->threads > 0)
        return fs->options->threads < 64 ? fs->options->threads : 64;
    return processors < 4 ? 4 : processors > 8 ? 8 : (unsigned)processors;
}

/* ---- serving ---- */

/* A signal asks to end.  A volume in use leaves the tree, so that nobody new comes, and is served to its last user: a
 * database must not lose its files because somebody stops services in the wrong order. */
static void
leave(struct volume_fs *fs)
{
    const char *path = fs->options->mount_point;
    int rc = mount_point_detach(path, false);

    if (rc != -EBUSY) {
        if (rc != 0 && rc != -EINVAL)
            fs_log(fs, "%s: cannot unmount: %s", path, strerror(-rc));
        return;
    }
    fs_log(fs, "%s is in use: taken out of the tree, and served until its last user is gone", path);
    rc = mount_point_detach(path, true);
    if (rc != 0)
        fs_log(fs, "%s: cannot unmount: %s", path, strerror(-rc));
}

static void
serve(struct volume_fs *fs, int signals)
{
    struct pollfd fds[2] = {{.fd = signals, .events = POLLIN},
                            {.fd = fs->device.ended, .events = POLLIN}};
    struct signalfd_siginfo info;

    while (atomic_load(&fs->device.running) > 0) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if ((fds[0].revents & POLLIN) != 0 && read(signals, &info, sizeof info) == sizeof info)
            leave(fs);
        if ((fds[1].revents & POLLIN) != 0)
            break;
    }
    device_wait(fs);
}

/* Mounted: start the workers, tell who waits, serve, and come back when the mount is gone. */
static int
run_mounted(struct volume_fs *fs, int signals, struct coffer_error *err)
{
    const struct volume_mount_options *options = fs->options;
    struct coffer_error quiet = {0};
    struct control *control = NULL;
    int rc = device_open(fs);

    if (rc == 0)
        rc = device_start(fs, thread_count(fs));
    if (rc != 0) {
        (void)mount_point_detach(options->mount_point, true);
        return error_set(err, COFFER_E_IO, "%s: cannot serve: %s", options->mount_point,
                         strerror(-rc));
    }
    session_tune(fs);
    if (control_open(fs, &control, &quiet) != COFFER_OK)
        fs_log(fs, "no control channel: %s", quiet.message);
    if (options->started != NULL)
        options->started(options->hooks_arg, fs);
    volume_background_report(options->background, COFFER_OK, NULL);
    serve(fs, signals);
    control_close(control);
    if (options->stopping != NULL)
        options->stopping(options->hooks_arg, fs);
    return COFFER_OK;
}

static void
fs_close(struct volume_fs *fs, bool marked)
{
    folders_close(fs); /* of a mount that was taken away while they were open */
    inode_table_close(fs);
    if (fs->session != NULL) {
        fuse_session_unmount(
            fs->session); /* does nothing to a mount that is gone, which is the usual case */
        fuse_session_destroy(fs->session);
    }
    /* Unmounted means: on the disk.  Only then is the mark taken away. */
    if (marked && syncfs(fs->root_fd) == 0)
        (void)unlinkat(fs->root_fd, MARK, 0);
    if (fs->device.ended > 0)
        close(fs->device.ended);
    if (fs->root_fd >= 0)
        close(fs->root_fd);
}

/* `*marked`: the mark is this mount's, which takes it away at the end.  That of a crash stays as long as a file needs it, even
 * for the mounts to come. */
static int
mark(struct volume_fs *fs, bool *marked, struct coffer_error *err)
{
    bool settled = true;
    int rc = mark_says_crash(fs->root_fd) ? settle_after_crash(fs, &settled, err) : COFFER_OK;

    if (rc == COFFER_OK && settled) {
        rc = mark_set(fs->root_fd, fs->options->lower, err);
        *marked = rc == COFFER_OK;
    }
    return rc;
}

static int
run(struct volume_fs *fs, struct coffer_error *err)
{
    bool marked = false;
    sigset_t set, before;
    int signals = -1, rc;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGPIPE);
    sigaddset(&set,
              SIGXFSZ); /* a file beyond our limit is an error of that file, and no reason to end */
    pthread_sigmask(SIG_BLOCK, &set, &before);
    sigdelset(&set, SIGPIPE);
    sigdelset(&set, SIGXFSZ);

    rc = lower_lock(fs, err);
    if (rc == COFFER_OK && fs->options->recover != NULL && !fs->options->read_only)
        rc = fs->options->recover(fs->options->recover_arg, fs->options->lower, err);
    if (rc == COFFER_OK)
        rc = fs_open(fs, err);
    if (rc == COFFER_OK && !fs->options->read_only)
        rc = mark(fs, &marked, err);
    if (rc == COFFER_OK) {
        signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        rc = signals < 0
                 ? error_set(err, COFFER_E_IO, "cannot wait for signals: %s", strerror(errno))
                 : session_mount(fs, err);
    }
    if (rc == COFFER_OK)
        rc = run_mounted(fs, signals, err);
    fs_close(fs, marked);
    if (signals >= 0)
        close(signals);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

int
volume_mount_run(const struct volume_mount_options *given, const struct volume_format *format,
                 struct volume *volume, struct coffer_error *err)
{
    char lower[PATH_MAX], mount_point[PATH_MAX];
    struct volume_mount_options options = *given;
    struct volume_fs *fs = mem_alloc(sizeof *fs);
    struct coffer_error local = {0};
    int rc;

    rc = fs == NULL ? error_nomem(&local) : direct_check(given, &local);
    if (rc == COFFER_OK) {
        /* A dead mount cannot be resolved: its path has to do, and the check takes it away. */
        if (realpath(given->mount_point, mount_point) == NULL)
            (void)snprintf(mount_point, sizeof mount_point, "%s", given->mount_point);
        if (realpath(given->lower, lower) == NULL)
            (void)snprintf(lower, sizeof lower, "%s", given->lower);
        options.lower = lower;
        options.mount_point = mount_point;
        rc = mount_point_check(&options, &local);
    }
    if (rc == COFFER_OK) {
        fs->options = &options;
        fs->format = format;
        fs->volume = volume;
        fs->root_fd = -1;
        rc = run(fs, &local);
    }
    volume_background_report(given->background, rc, &local);
    mem_free(fs);
    if (err != NULL)
        *err = local;
    return rc;
}
