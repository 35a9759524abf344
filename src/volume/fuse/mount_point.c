/* SPDX-License-Identifier: Apache-2.0 */
/* Where volumes are mounted: checks before, and the way out. */
#include "base/mem.h"
#include "volume/fuse/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- what is mounted ---- */

void
mount_info_wipe(struct mount_info *info)
{
    mem_free(info->mount_point);
    mem_free(info->lower);
    memset(info, 0, sizeof *info);
}

/* "\040" and the like, in place. */
static void
unescape(char *text)
{
    char *out = text;

    for (; *text != 0; text++) {
        if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' &&
            text[2] <= '7' && text[3] >= '0' && text[3] <= '7') {
            *out++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
            text += 3;
        } else {
            *out++ = *text;
        }
    }
    *out = 0;
}

/* "36 35 0:45 / /mnt rw,… [tags] - fuse.coffer LOWER rw,…"; false if it is no volume. */
static bool
parse_line(char *line, unsigned *major, unsigned *minor, char **mount_point, char **lower)
{
    char *rest = strstr(line, " - fuse.coffer "), *save = NULL, *word;
    int field = 0;

    if (rest == NULL)
        return false;
    *rest = 0;
    rest += strlen(" - fuse.coffer ");
    *lower = strtok_r(rest, " \n", &save);
    save = NULL;
    for (word = strtok_r(line, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save)) {
        field++;
        if (field == 3 && sscanf(word, "%u:%u", major, minor) != 2)
            return false;
        if (field == 5) {
            *mount_point = word;
            break;
        }
    }
    if (field != 5 || *lower == NULL)
        return false;
    unescape(*mount_point);
    unescape(*lower);
    return true;
}

int
mount_info_find(const char *path, bool or_lower, struct mount_info *out, struct coffer_error *err)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char *line = NULL, *mount_point = NULL, *lower = NULL, real[PATH_MAX];
    unsigned major, minor;
    size_t size = 0;
    int rc = COFFER_OK;

    memset(out, 0, sizeof *out);
    if (file == NULL)
        return error_set(err, COFFER_E_IO, "/proc/self/mountinfo: %s", strerror(errno));
    if (realpath(path, real) == NULL) /* a dead mount has no attributes, but it has a name */
        (void)snprintf(real, sizeof real, "%s", path);
    while (rc == COFFER_OK && getline(&line, &size, file) > 0) {
        if (!parse_line(line, &major, &minor, &mount_point, &lower))
            continue;
        if (strcmp(mount_point, real) != 0 && (!or_lower || strcmp(lower, real) != 0))
            continue;
        mount_info_wipe(out);
        out->mount_point = mem_strdup(mount_point);
        out->lower = mem_strdup(lower);
        out->major = major;
        out->minor = minor;
        if (out->mount_point == NULL || out->lower == NULL)
            rc = error_nomem(err);
    }
    free(line);
    fclose(file);
    if (rc == COFFER_OK && out->mount_point == NULL)
        rc = error_set(err, COFFER_E_NOTFOUND, "%s: no volume is mounted there", path);
    return rc;
}

/* ---- the way in ---- */

static bool
is_empty(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    bool empty = true;

    if (folder == NULL)
        return true;
    while ((entry = readdir(folder)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            empty = false;
    closedir(folder);
    return empty;
}

/* A mount whose process is gone leaves a mount point on which nothing works: take it away, and those below it.  Attributes may come
 * from the kernel's cache even then; the room that is left is always asked for. */
static void
clear_dead(const char *path)
{
    struct mount_info info;
    struct statfs fs;
    bool ours = true;

    while (ours && statfs(path, &fs) != 0 && (errno == ENOTCONN || errno == ECONNABORTED)) {
        ours = mount_info_find(path, false, &info, NULL) == COFFER_OK &&
               mount_point_detach(path, true) == 0;
        mount_info_wipe(&info);
    }
}

int
mount_point_check(const struct volume_mount_options *options, struct coffer_error *err)
{
    const char *path = options->mount_point;
    size_t len = strlen(options->lower);
    struct stat st;

    clear_dead(path);
    if (stat(path, &st) != 0)
        return error_set(err, errno == ENOENT ? COFFER_E_NOTFOUND : COFFER_E_IO, "%s: %s", path,
                         errno == ENOENT ? "no such folder: make it first" : strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return error_set(err, COFFER_E_REFUSED, "%s is not a folder: a volume is mounted on one",
                         path);
    if (strcmp(path, options->lower) == 0)
        return COFFER_OK; /* over itself, as with mount -t ecryptfs */
    if (strncmp(path, options->lower, len) == 0 && (path[len] == '/' || len == 1))
        return error_set(err, COFFER_E_REFUSED,
                         "%s lies inside the lower folder %s: mount elsewhere", path,
                         options->lower);
    if (!options->non_empty && !is_empty(path))
        return error_set(
            err, COFFER_E_REFUSED,
            "%s is not empty, and a mount would hide what is in it: use an empty folder", path);
    return COFFER_OK;
}

/* ---- the way out ---- */

/* Ordinary users may unmount what they mounted through fusermount3 only. */
static int
run_fusermount(const char *mount_point, bool lazy)
{
    int status;
    pid_t pid = fork();

    if (pid < 0)
        return -errno;
    if (pid == 0) {
        if (lazy)
            execlp("fusermount3", "fusermount3", "-u", "-z", "-q", "--", mount_point, (char *)NULL);
        else
            execlp("fusermount3", "fusermount3", "-u", "-q", "--", mount_point, (char *)NULL);
        _exit(127);
    }
    if (waitpid(pid, &status, 0) < 0)
        return -errno;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return -ENOENT;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

int
mount_point_detach(const char *mount_point, bool lazy)
{
    if (umount2(mount_point, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
        return 0;
    return errno == EPERM && geteuid() != 0 ? run_fusermount(mount_point, lazy) : -errno;
}

static bool
mounted_again(const char *lower)
{
    struct mount_info info;
    bool yes = mount_info_find(lower, true, &info, NULL) == COFFER_OK;

    mount_info_wipe(&info);
    return yes;
}

/* The process that served it still writes to the lower filesystem what it has to, and lets the lock go when it is done; on a slow
 * disk that takes as long as it takes. */
static void
wait_for_end(const char *lower)
{
    struct timespec nap = {0, 5000000};
    int fd = open(lower, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    for (unsigned i = 1; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if (i % 200 == 0 && mounted_again(lower))
            break; /* by somebody else: it is his lock that is seen now */
        nanosleep(&nap, NULL);
    }
    if (fd >= 0)
        close(fd);
}

int
volume_unmount(const char *mount_point, struct coffer_error *err)
{
    struct mount_info info;
    int rc = mount_info_find(mount_point, false, &info, err), gone;

    if (rc == COFFER_OK) {
        gone = mount_point_detach(info.mount_point, false);
        if (gone == -EBUSY)
            rc = error_set(
                err, COFFER_E_CONFLICT,
                "%s is in use: end what has files open or its working folder there ('fuser -vm %s' "
                "lists it), then unmount again",
                mount_point, mount_point);
        else if (gone != 0)
            rc = error_set(err, gone == -EPERM ? COFFER_E_REFUSED : COFFER_E_IO,
                           "%s: cannot unmount: %s", mount_point, strerror(-gone));
        else
            wait_for_end(info.lower);
    }
    mount_info_wipe(&info);
    return rc;
}
