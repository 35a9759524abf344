/* SPDX-License-Identifier: Apache-2.0 */
/* After the machine stopped while the volume was mounted: every lower file is made whole before anything is served.
 *
 *   mark of another boot ─▶ settle every file, sync those that changed ─▶ mark of this boot ─▶ serve
 *
 * Growth that nobody had synced may have left a size that the lower file does not reach, and blocks that were never written.  As
 * long as the crash is on record such a file is read up to where it ends, and such a block as zeros; without it both are
 * damage.  So the record goes only when no file needs it any more: a kill on the way leaves it, and the next mount begins again.
 *
 * Nobody else uses the volume yet.  Folders wait on a list by path, so that one descriptor is enough for a tree of any depth.
 */
#include "base/mem.h"
#include "volume/fuse/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 20 };

struct pending {
    struct pending *next;
    char path[]; /* lower, below the lower folder; "" is that itself */
};

struct settle {
    struct volume_fs *fs;
    struct pending *folders;
    uint8_t *chunk;
    uint64_t files, changed, left; /* left: could not be settled, so the crash stays on record */
};

static int
push(struct settle *s, const char *folder, const char *name)
{
    size_t folder_len = strlen(folder), name_len = strlen(name);
    struct pending *pending = mem_alloc(sizeof *pending + folder_len + name_len + 2);

    if (pending == NULL)
        return -ENOMEM;
    memcpy(pending->path, folder, folder_len);
    if (folder_len > 0)
        pending->path[folder_len++] = '/';
    memcpy(pending->path + folder_len, name, name_len);
    pending->next = s->folders;
    s->folders = pending;
    return 0;
}

/* Name by name: the path may be longer than one call takes, and no link is followed. */
static int
open_folder(struct settle *s, const char *path)
{
    char name[VOLUME_NAME_MAX + 1];
    int fd = openat(s->fs->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), next;

    while (fd >= 0 && *path != 0) {
        size_t len = strcspn(path, "/");

        memcpy(name, path, len);
        name[len] = 0;
        path += len + (path[len] == '/');
        next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close(fd);
        fd = next;
    }
    return fd >= 0 ? fd : -errno;
}

/* Damage is the file's own, crash or not; anything else means that it could not be settled now. */
static void
complain(struct settle *s, const char *folder, const char *name, int rc,
         const struct coffer_error *err)
{
    char lower[4096], upper[4096];

    if (rc == -ENOENT)
        return;
    s->left += rc != -EBADMSG;
    (void)snprintf(lower, sizeof lower, "%s%s%s", folder, *folder != 0 && *name != 0 ? "/" : "",
                   name);
    report_path(s->fs, lower, upper, sizeof upper);
    fs_log(s->fs, "%s: cannot be settled after the crash: %s",
           upper[0] != 0 ? upper : s->fs->options->lower,
           err->message[0] != 0 ? err->message : strerror(-rc));
}

/* ---- blocks ---- */

/* A hole of a lower file is a block that was never written, since a format has a value for zeros.  Where the lower filesystem
 * cannot tell, there are none. */
static bool
has_holes(int fd)
{
    struct stat st;
    off_t hole = lseek(fd, 0, SEEK_HOLE);

    return hole >= 0 && fstat(fd, &st) == 0 && hole < st.st_size;
}

static bool
is_zero(const uint8_t *data, size_t length)
{
    return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

/* Write what reads as zeros again, as zeros.  Which of those blocks the hole is, only the format knows. */
static int
fill(struct settle *s, struct volume_file *file, struct coffer_error *err)
{
    const struct volume_format *format = s->fs->format;
    uint64_t size = format->file_size(file), at = 0;
    ssize_t got = 0;
    int rc = 0;

    for (; rc == 0 && at < size; at += (uint64_t)got) {
        got = format->file_read(file, s->chunk, CHUNK, at, err);
        if (got <= 0)
            return got < 0 ? (int)got : -EIO;
        for (size_t from = 0; rc == 0 && from < (size_t)got; from += format->block) {
            size_t len = (size_t)got - from < format->block ? (size_t)got - from : format->block;

            if (is_zero(s->chunk + from, len))
                rc = format->file_write(file, s->chunk + from, len, at + from, 0, err);
        }
    }
    return rc;
}

static int
settle_holes(struct settle *s, struct lower **lower, struct coffer_error *err)
{
    const struct volume_format *format = s->fs->format;
    struct volume_file *file = NULL;
    int rc = format->file_open(s->fs->volume, *lower, &file, err);

    if (rc != 0)
        return rc;
    rc = fill(s, file, err);
    if (rc == 0)
        rc = format->file_sync(file, false, err);
    format->file_close(file);
    *lower = NULL;
    return rc;
}

/* ---- files ---- */

/* Take `fd` over. */
static int
settle_fd(struct settle *s, int fd, struct coffer_error *err)
{
    const struct volume_format *format = s->fs->format;
    struct lower *lower = NULL;
    bool changed = false, holes = has_holes(fd);
    int rc = lower_fd_open(fd, &lower, err);

    if (rc != 0) {
        close(fd);
        return rc;
    }
    if (format->file_settle != NULL)
        rc = format->file_settle(s->fs->volume, lower, &changed, err);
    if (rc == 0 && changed)
        rc = lower->ops->sync(lower, false);
    if (rc == 0 && holes)
        rc = settle_holes(s, &lower, err);
    if (lower != NULL)
        lower->ops->close(lower);
    s->files++;
    s->changed += rc == 0 && (changed || holes);
    return rc;
}

static void
settle_file(struct settle *s, int folder_fd, const char *folder, const char *name)
{
    struct coffer_error err = {0};
    int flags = O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, rc;
    int fd = openat(folder_fd, name, flags | O_RDWR);

    /* Reading shows whether it needs anything; if it does, that fails and is said. */
    if (fd < 0 && (errno == EACCES || errno == EPERM || errno == ETXTBSY))
        fd = openat(folder_fd, name, flags | O_RDONLY);
    rc = fd < 0 ? -errno : settle_fd(s, fd, &err);
    if (rc != 0)
        complain(s, folder, name, rc, &err);
}

static mode_t
type_of(int folder_fd, const struct dirent *entry)
{
    struct stat st;

    if (entry->d_type != DT_UNKNOWN)
        return DTTOIF(entry->d_type);
    return fstatat(folder_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_mode & S_IFMT
                                                                            : 0;
}

static int
settle_entry(struct settle *s, int fd, const char *path, const struct dirent *entry)
{
    const char *name = entry->d_name;
    mode_t type = type_of(fd, entry);

    /* What Coffer keeps for itself is none of the format's.  A name of another key is hidden, but its file is settled all the same. */
    if (strncmp(name, VOLUME_HIDDEN, strlen(VOLUME_HIDDEN)) == 0 || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0)
        return 0;
    if (S_ISREG(type))
        settle_file(s, fd, path, name);
    return S_ISDIR(type) ? push(s, path, name) : 0;
}

static int
settle_folder(struct settle *s, const char *path)
{
    struct coffer_error none = {0};
    const struct dirent *entry;
    int fd = open_folder(s, path), rc = 0;
    DIR *folder;

    if (fd < 0) {
        complain(s, path, "", fd, &none);
        return 0;
    }
    folder = fdopendir(fd);
    if (folder == NULL) {
        close(fd);
        return -ENOMEM;
    }
    errno = 0;
    while (rc == 0 && (entry = readdir(folder)) != NULL) {
        rc = settle_entry(s, fd, path, entry);
        errno = 0;
    }
    if (rc == 0 && errno != 0)
        complain(s, path, "", -errno, &none);
    closedir(folder);
    return rc;
}

/* A service that is stopped meanwhile need not wait: the signals are blocked here and read only once the volume serves. */
static bool
asked_to_end(void)
{
    sigset_t set;

    return sigpending(&set) == 0 &&
           (sigismember(&set, SIGTERM) || sigismember(&set, SIGINT) || sigismember(&set, SIGHUP));
}

static int
settle_tree(struct settle *s)
{
    int rc = push(s, "", "");

    while (s->folders != NULL) {
        struct pending *folder = s->folders;

        s->folders = folder->next;
        if (rc == 0 && asked_to_end())
            rc = -EINTR;
        if (rc == 0)
            rc = settle_folder(s, folder->path);
        mem_free(folder);
    }
    return rc;
}

int
settle_after_crash(struct volume_fs *fs, bool *settled, struct coffer_error *err)
{
    struct settle s = {.fs = fs, .chunk = mem_alloc(CHUNK)};
    int rc = s.chunk == NULL ? -ENOMEM : settle_tree(&s);

    mem_free(s.chunk);
    *settled = rc == 0 && s.left == 0;
    if (rc == -EINTR)
        return error_set(err, COFFER_E_CANCELLED,
                         "stopped while settling files after the crash: mount again");
    if (rc != 0)
        return error_nomem(err);
    fs_log(fs, "the machine stopped while %s was mounted: %llu files looked at, %llu settled%s",
           fs->options->lower, (unsigned long long)s.files, (unsigned long long)s.changed,
           s.left > 0 ? "; some could not be, so the next mount will try again" : "");
    return COFFER_OK;
}
