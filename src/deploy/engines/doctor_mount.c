/* SPDX-License-Identifier: Apache-2.0 */
/* What every database needs of a mount, each thing really done on it. */
#include "deploy/engines/doctor_mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define FUSE_MAGIC 0x65735546
#define PAGE 4096

void
trial_say(struct trial *trial, const char *state, const char *format, ...)
{
    va_list ap;

    trial->state = state;
    va_start(ap, format);
    (void)vsnprintf(trial->text, sizeof trial->text, format, ap);
    va_end(ap);
}

int
trial_open(struct trial *trial, const char *name, int flags)
{
    return openat(trial->folder, name, flags | O_CLOEXEC, 0600);
}

static void
broken(struct trial *trial, const char *doing)
{
    trial_say(trial, "fail", "cannot %s: %s", doing, strerror(errno));
}

/* ---- syncing ---- */

static void
try_fsync(struct trial *trial)
{
    int fd = trial_open(trial, "fsync", O_RDWR | O_CREAT);

    if (fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) != 0 || fdatasync(fd) != 0)
        broken(trial, "sync a file");
    else
        trial_say(trial, "ok", "fsync and fdatasync reach the filesystem");
    if (fd >= 0)
        close(fd);
}

static void
try_folder_fsync(struct trial *trial)
{
    if (fsync(trial->folder) != 0)
        broken(trial, "sync a folder");
    else
        trial_say(trial, "ok", "a folder can be synced");
}

/* It cannot be tried: where it does nothing it says that it worked. */
static void
try_syncfs(struct trial *trial)
{
    struct statfs fs;

    if (fstatfs(trial->folder, &fs) != 0)
        broken(trial, "look at the filesystem");
    else if ((unsigned long)fs.f_type == FUSE_MAGIC)
        trial_say(trial, "warn",
                  "syncfs(2) and sync(1) never reach a filesystem in userspace, though they return "
                  "as if; engines are set to sync each file");
    else
        trial_say(trial, "ok", "syncfs(2) reaches this filesystem");
}

/* ---- files ---- */

static void
try_mmap(struct trial *trial)
{
    int fd = trial_open(trial, "mmap", O_RDWR | O_CREAT);
    char seen[4] = "";
    char *map = MAP_FAILED;

    if (fd < 0 || ftruncate(fd, PAGE) != 0 ||
        (map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) {
        broken(trial, "map a file for writing");
    } else {
        memcpy(map, "one", 3);
        if (pread(fd, seen, 3, 0) != 3 || memcmp(seen, "one", 3) != 0)
            trial_say(trial, "fail",
                      "what is written through a shared map is not what read(2) sees");
        else if (pwrite(fd, "two", 3, 0) != 3 || memcmp(map, "two", 3) != 0)
            trial_say(trial, "fail", "what write(2) writes does not show in a shared map");
        else
            trial_say(trial, "ok", "shared maps and read and write see the same");
    }
    if (map != MAP_FAILED)
        (void)munmap(map, PAGE);
    if (fd >= 0)
        close(fd);
}

static void
try_direct(struct trial *trial)
{
    int fd = trial_open(trial, "direct", O_RDWR | O_CREAT | O_DIRECT);
    void *room = NULL;

    if (fd < 0) {
        trial_say(trial, "warn", "O_DIRECT is refused (%s): engines use the cache",
                  strerror(errno));
        return;
    }
    if (posix_memalign(&room, PAGE, PAGE) != 0)
        room = NULL;
    if (room != NULL)
        memset(room, 'd', PAGE);
    if (room == NULL || pwrite(fd, room, PAGE, 0) != PAGE || memset(room, 0, PAGE) != room ||
        pread(fd, room, PAGE, 0) != PAGE)
        broken(trial, "read and write with O_DIRECT");
    else if (((char *)room)[0] != 'd' || ((char *)room)[PAGE - 1] != 'd')
        trial_say(trial, "fail", "O_DIRECT reads other bytes than it wrote");
    else
        trial_say(trial, "ok", "O_DIRECT reads what it wrote");
    free(room);
    close(fd);
}

static void
try_fallocate(struct trial *trial)
{
    int fd = trial_open(trial, "fallocate", O_RDWR | O_CREAT);
    struct stat st;
    char last = 1;

    if (fd < 0)
        broken(trial, "make a file");
    else if (fallocate(fd, 0, 0, 1 << 20) != 0)
        trial_say(trial, errno == EOPNOTSUPP ? "warn" : "fail",
                  "fallocate: %s; engines write zeros instead", strerror(errno));
    else if (fstat(fd, &st) != 0 || st.st_size != 1 << 20 ||
             pread(fd, &last, 1, (1 << 20) - 1) != 1 || last != 0)
        trial_say(trial, "fail", "fallocate made something other than 1 MiB of zeros");
    else
        trial_say(trial, "ok", "space is allocated ahead, and reads as zeros");
    if (fd >= 0)
        close(fd);
}

static void
try_append(struct trial *trial)
{
    int one = trial_open(trial, "append", O_WRONLY | O_CREAT | O_APPEND),
        two = trial_open(trial, "append", O_RDWR | O_APPEND);
    char seen[8] = "";

    if (one < 0 || two < 0 || write(one, "ab", 2) != 2 || write(two, "cd", 2) != 2 ||
        write(one, "ef", 2) != 2 || pread(two, seen, 7, 0) < 0)
        broken(trial, "append to a file");
    else if (strcmp(seen, "abcdef") != 0)
        trial_say(trial, "fail", "appends of two descriptors overwrite each other");
    else
        trial_say(trial, "ok", "appends go to the end");
    if (one >= 0)
        close(one);
    if (two >= 0)
        close(two);
}

static void
try_unlink(struct trial *trial)
{
    int fd = trial_open(trial, "unlink", O_RDWR | O_CREAT);
    char seen[5] = "";

    if (fd < 0 || write(fd, "still", 5) != 5 || unlinkat(trial->folder, "unlink", 0) != 0)
        broken(trial, "remove an open file");
    else if (pread(fd, seen, 5, 0) != 5 || memcmp(seen, "still", 5) != 0 ||
             write(fd, "more", 4) != 4)
        trial_say(trial, "fail", "a file that was removed cannot be used by who has it open");
    else
        trial_say(trial, "ok", "a removed file lives until it is closed");
    if (fd >= 0)
        close(fd);
}

/* ---- names ---- */

static bool
put(struct trial *trial, const char *name, const char *text)
{
    int fd = trial_open(trial, name, O_WRONLY | O_CREAT | O_TRUNC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return ok;
}

static void
try_rename(struct trial *trial)
{
    char seen[4] = "";
    int fd;

    if (!put(trial, "rename.new", "new") || !put(trial, "rename", "old") ||
        renameat(trial->folder, "rename.new", trial->folder, "rename") != 0 ||
        fsync(trial->folder) != 0) {
        broken(trial, "rename over a file");
        return;
    }
    fd = trial_open(trial, "rename", O_RDONLY);
    if (fd < 0 || read(fd, seen, 3) != 3 || memcmp(seen, "new", 3) != 0)
        trial_say(trial, "fail", "a rename over a file left the former one");
    else
        trial_say(trial, "ok", "a rename replaces a file");
    if (fd >= 0)
        close(fd);
}

static void
try_noreplace(struct trial *trial)
{
    bool made = put(trial, "noreplace", "a") && put(trial, "noreplace.other", "b");

    if (!made)
        broken(trial, "make files");
    else if (renameat2(trial->folder, "noreplace", trial->folder, "noreplace.other",
                       RENAME_NOREPLACE) == 0)
        trial_say(trial, "fail", "RENAME_NOREPLACE replaced a file");
    else if (errno != EEXIST)
        trial_say(trial, "warn", "RENAME_NOREPLACE is refused (%s): engines use links",
                  strerror(errno));
    else
        trial_say(trial, "ok", "RENAME_NOREPLACE replaces nothing");
}

/* ---- locks ---- */

enum kind { LOCK_OF_FLOCK, LOCK_OF_FCNTL, LOCK_OF_OFD };

static bool
take(int fd, enum kind kind)
{
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (kind == LOCK_OF_FLOCK)
        return flock(fd, LOCK_EX | LOCK_NB) == 0;
    return fcntl(fd, kind == LOCK_OF_FCNTL ? F_SETLK : F_OFD_SETLK, &all) == 0;
}

/* Another process tries: 0 it got the lock, 1 it did not, -1 it could not try.  System calls alone, since other threads may hold anything at the
 * moment of the fork. */
static int
other_takes(struct trial *trial, enum kind kind)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        int fd = openat(trial->folder, "lock", O_RDWR | O_CLOEXEC);

        _exit(fd < 0 ? 2 : take(fd, kind) ? 0 : 1);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) < 2 ? WEXITSTATUS(status) : -1;
}

static void
try_lock(struct trial *trial, enum kind kind, const char *name)
{
    int fd = trial_open(trial, "lock", O_RDWR | O_CREAT), held, left = -1;

    if (fd < 0 || !take(fd, kind)) {
        broken(trial, "lock a file");
    } else {
        held = other_takes(trial, kind);
        close(fd);
        fd = -1;
        if (held >= 0)
            left = other_takes(trial, kind);
        if (held == 0)
            trial_say(trial, "fail",
                      "two processes hold one %s lock: two servers could run on one folder", name);
        else if (held < 0 || left < 0)
            trial_say(trial, "fail", "another process could not try the %s lock", name);
        else if (left != 0)
            trial_say(trial, "fail", "a %s lock outlives its holder", name);
        else
            trial_say(trial, "ok", "a %s lock keeps another process out, and goes with its holder",
                      name);
    }
    if (fd >= 0)
        close(fd);
}

static void
try_flock(struct trial *trial)
{
    try_lock(trial, LOCK_OF_FLOCK, "flock");
}

static void
try_fcntl(struct trial *trial)
{
    try_lock(trial, LOCK_OF_FCNTL, "fcntl");
}

static void
try_ofd(struct trial *trial)
{
    try_lock(trial, LOCK_OF_OFD, "OFD");
}

/* ---- all ---- */

static const struct {
    const char *name;
    void (*run)(struct trial *trial);
} trials[] = {
    {"file sync", try_fsync},
    {"folder sync", try_folder_fsync},
    {"syncfs", try_syncfs},
    {"shared mmap", try_mmap},
    {"flock", try_flock},
    {"fcntl locks", try_fcntl},
    {"OFD locks", try_ofd},
    {"rename", try_rename},
    {"rename noreplace", try_noreplace},
    {"O_DIRECT", try_direct},
    {"fallocate", try_fallocate},
    {"O_APPEND", try_append},
    {"unlink while open", try_unlink},
    {"ciphertext below", trial_ciphertext},
};

static void
clean(struct trial *trial, const char *path)
{
    int copy = dup(trial->folder);
    DIR *folder = copy >= 0 ? fdopendir(copy) : NULL;
    struct dirent *entry;

    if (folder != NULL)
        rewinddir(folder);
    while (folder != NULL && (entry = readdir(folder)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlinkat(trial->folder, entry->d_name, 0);
    if (folder != NULL)
        closedir(folder);
    close(trial->folder);
    (void)rmdir(path);
}

int
doctor_mount(const char *root, const char *lower, engine_check_fn fn, void *arg,
             struct coffer_error *err)
{
    struct trial trial = {.lower = lower, .folder = -1};
    char path[ENGINE_PATH_MAX];
    size_t i;
    int rc = COFFER_OK;

    if (snprintf(path, sizeof path, "%s/.doctor-XXXXXX", root) >= (int)sizeof path)
        return error_set(err, COFFER_E_LIMIT, "the path %.200s… is too long", root);
    if (mkdtemp(path) == NULL ||
        (trial.folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return error_set(err, COFFER_E_IO, "cannot make a folder in %.200s: %s", root,
                         strerror(errno));
    for (i = 0; rc == COFFER_OK && i < sizeof trials / sizeof *trials; i++) {
        struct engine_check check = {.name = trials[i].name};

        trial.state = NULL;
        trials[i].run(&trial);
        if (trial.state == NULL)
            continue; /* not looked at */
        check.state = trial.state;
        check.text = trial.text;
        rc = fn(arg, &check, err);
    }
    clean(&trial, path);
    return rc;
}
