/* SPDX-License-Identifier: Apache-2.0 */
/* Random operations on two folders at once, in the spirit of fsx and fsstress: fsx [OPTIONS] TESTED MODEL
 *
 * Every operation is done in both; result, errno, and what the file then holds must be the same.  MODEL is a plain folder on an
 * ordinary filesystem, both are empty at the start.  The same seed does the same operations.
 *
 *   --ops N      how many (20000)            --seed N    (random, printed)
 *   --size N     largest file (262144)       --remount C a shell command that unmounts and mounts TESTED again, run 1 of 2000 times
 *   --name-max N longest name (143)          --hook C    a shell command run 1 of 500 times (a rotation, say)
 *
 * On a difference it prints the last operations, with the seed, and ends with 1.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { FOLDERS = 4, NAMES = 10, HANDLES = 12, LOG = 40 };

static int root[2];
static const char *path[2];
static uint64_t state, step;
static uint64_t seed;
static size_t size_max = 262144;
static char names[NAMES][256];
static char history[LOG][400];
static uint8_t *data, *seen[2];

struct handle {
    int fd[2];
    int flags;
};
static struct handle handles[HANDLES];

/* ---- dice and words ---- */

static uint64_t
dice(uint64_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return n > 0 ? (state * 0x2545f4914f6cdd1du >> 11) % n : 0;
}

static void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
    char *line = history[step % LOG];
    va_list args;
    int n = snprintf(line, sizeof history[0], "%llu: ", (unsigned long long)step);

    va_start(args, format);
    (void)vsnprintf(line + n, sizeof history[0] - (size_t)n, format, args);
    va_end(args);
}

static void __attribute__((format(printf, 1, 2), noreturn)) differ(const char *format, ...)
{
    va_list args;

    for (uint64_t i = step > LOG - 1 ? step - LOG + 1 : 0; i <= step; i++)
        fprintf(stderr, "%s\n", history[i % LOG]);
    fprintf(stderr, "fsx: seed %llu, operation %llu: ", (unsigned long long)seed,
            (unsigned long long)step);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    exit(1);
}

/* The result of an operation in one folder: a count, or minus the errno. */
#define RESULT(call)                                                                               \
    ({                                                                                             \
        long long result_ = (long long)(call);                                                     \
        result_ < 0 ? -(long long)errno : result_;                                                 \
    })

static bool
agree(long long tested, long long model)
{
    if (tested == model)
        return tested >= 0;
    differ("result %lld (%s), the model's %lld (%s)", tested,
           tested < 0 ? strerror((int)-tested) : "done", model,
           model < 0 ? strerror((int)-model) : "done");
}

/* A path in the tree: "NAME" or "FOLDER/NAME". */
static void
pick(char out[600])
{
    uint64_t folder = dice(FOLDERS + 2);

    if (folder < FOLDERS)
        (void)snprintf(out, 600, "d%llu/%s", (unsigned long long)folder, names[dice(NAMES)]);
    else
        (void)snprintf(out, 600, "%s", names[dice(NAMES)]);
}

static size_t
pick_length(void)
{
    switch (dice(4)) {
    case 0:
        return 1 + dice(64);
    case 1:
        return 4096 * (1 + dice(4));
    default:
        return 1 + dice(size_max / 8);
    }
}

static uint64_t
pick_offset(void)
{
    uint64_t at = dice(size_max - size_max / 8);

    return dice(3) == 0 ? at & ~(uint64_t)4095 : at;
}

static void
fill(size_t length)
{
    uint64_t word = dice(0x7fffffff) + 1;

    for (size_t i = 0; i < length; i++) {
        data[i] = (uint8_t)(word >> (i % 4 * 8));
        if (i % 4 == 3)
            word = word * 6364136223846793005u + 1442695040888963407u;
    }
}

/* ---- what must be the same ---- */

static void
same_stat(const struct stat *a, const struct stat *b, const char *what)
{
    if ((a->st_mode & S_IFMT) != (b->st_mode & S_IFMT) ||
        (a->st_mode & 07777) != (b->st_mode & 07777))
        differ("%s: mode %o, the model's %o", what, a->st_mode, b->st_mode);
    if (!S_ISDIR(a->st_mode) && a->st_size != b->st_size)
        differ("%s: size %lld, the model's %lld", what, (long long)a->st_size,
               (long long)b->st_size);
    if (!S_ISDIR(a->st_mode) && a->st_nlink != b->st_nlink)
        differ("%s: %llu links, the model's %llu", what, (unsigned long long)a->st_nlink,
               (unsigned long long)b->st_nlink);
    if (S_ISREG(a->st_mode) && a->st_size > 0 && a->st_blocks == 0)
        differ("%s: size %lld and no blocks", what, (long long)a->st_size);
}

static void
same_content(int a, int b, const char *what)
{
    size_t at = 0;
    ssize_t got[2];

    do {
        got[0] = pread(a, seen[0], size_max, (off_t)at);
        got[1] = pread(b, seen[1], size_max, (off_t)at);
        (void)agree(got[0] < 0 ? -errno : got[0], got[1]);
        for (ssize_t i = 0; i < got[0]; i++)
            if (seen[0][i] != seen[1][i])
                differ("%s: byte %zu is %02x, the model's %02x", what, at + (size_t)i, seen[0][i],
                       seen[1][i]);
        at += (size_t)got[0];
    } while (got[0] > 0);
}

static void
same_handle(const struct handle *h)
{
    struct stat st[2];

    if (fstat(h->fd[0], &st[0]) != 0 || fstat(h->fd[1], &st[1]) != 0)
        differ("fstat: %s", strerror(errno));
    same_stat(&st[0], &st[1], "open file");
    if ((h->flags & O_ACCMODE) != O_WRONLY && (h->flags & O_DIRECT) == 0)
        same_content(h->fd[0], h->fd[1], "open file");
}

static void
same_path(const char *name)
{
    struct stat st[2];
    char link[2][300] = {"", ""};
    long long r[2];
    int fd[2];

    for (int i = 0; i < 2; i++)
        r[i] = RESULT(fstatat(root[i], name, &st[i], AT_SYMLINK_NOFOLLOW));
    if (!agree(r[0], r[1]))
        return;
    same_stat(&st[0], &st[1], name);
    if (S_ISLNK(st[0].st_mode)) {
        for (int i = 0; i < 2; i++)
            r[i] = RESULT(readlinkat(root[i], name, link[i], sizeof link[i] - 1));
        if (agree(r[0], r[1]) && strcmp(link[0], link[1]) != 0)
            differ("%s: link to %s, the model's %s", name, link[0], link[1]);
    }
    if (!S_ISREG(st[0].st_mode))
        return;
    for (int i = 0; i < 2; i++)
        fd[i] = openat(root[i], name, O_RDONLY);
    if (fd[0] < 0 || fd[1] < 0)
        differ("%s: open: %s", name, strerror(errno));
    same_content(fd[0], fd[1], name);
    close(fd[0]);
    close(fd[1]);
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a folder, sorted; `types` the first letter of each. */
static size_t
list(int at, const char *name, char *out[], size_t max)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    size_t count = 0;

    if (folder == NULL)
        differ("%s: cannot be read: %s", name, strerror(errno));
    while ((entry = readdir(folder)) != NULL && count < max)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            out[count++] = strdup(entry->d_name);
    closedir(folder);
    qsort(out, count, sizeof out[0], by_name);
    return count;
}

static void
same_folder(const char *name)
{
    char *found[2][64];
    size_t count[2];

    for (int i = 0; i < 2; i++)
        count[i] = list(root[i], name, found[i], 64);
    if (count[0] != count[1])
        differ("%s: %zu names, the model has %zu", name, count[0], count[1]);
    for (size_t i = 0; i < count[0]; i++) {
        if (strcmp(found[0][i], found[1][i]) != 0)
            differ("%s: name %s, the model's %s", name, found[0][i], found[1][i]);
        free(found[0][i]);
        free(found[1][i]);
    }
}

static void
same_tree(void)
{
    char name[600];

    same_folder(".");
    for (int d = 0; d <= FOLDERS; d++) {
        if (d < FOLDERS) {
            struct stat st;

            (void)snprintf(name, sizeof name, "d%d", d);
            if (fstatat(root[1], name, &st, 0) == 0)
                same_folder(name);
        }
        for (int n = 0; n < NAMES; n++) {
            if (d < FOLDERS)
                (void)snprintf(name, sizeof name, "d%d/%s", d, names[n]);
            else
                (void)snprintf(name, sizeof name, "%s", names[n]);
            same_path(name);
        }
    }
    for (int i = 0; i < HANDLES; i++)
        if (handles[i].fd[0] >= 0)
            same_handle(&handles[i]);
}

/* ---- operations ---- */

static void
close_handle(struct handle *h)
{
    for (int i = 0; i < 2; i++)
        if (h->fd[i] >= 0)
            close(h->fd[i]);
    h->fd[0] = h->fd[1] = -1;
}

static void
do_open(void)
{
    static const int more[] = {
        0, 0, 0, O_CREAT, O_CREAT, O_CREAT | O_EXCL, O_TRUNC, O_CREAT | O_TRUNC};
    struct handle *h = &handles[dice(HANDLES)];
    char name[600];
    long long r[2];
    int flags = (int[]){O_RDONLY, O_WRONLY, O_RDWR, O_RDWR}[dice(4)] | more[dice(8)];
    mode_t mode = (mode_t[]){0600, 0644, 0640, 0400, 0000}[dice(12) < 8 ? dice(3) : dice(5)];

    if ((flags & O_ACCMODE) == O_RDONLY)
        flags &= ~O_TRUNC;
    if (dice(5) == 0)
        flags |= O_APPEND;
    if (dice(8) == 0)
        flags |= dice(2) ? O_DSYNC : O_SYNC;
    pick(name);
    say("open %s flags 0%o mode 0%o", name, flags, mode);
    close_handle(h);
    for (int i = 0; i < 2; i++) {
        r[i] = RESULT(openat(root[i], name, flags, mode));
        h->fd[i] = (int)r[i];
        r[i] = r[i] > 0 ? 0 : r[i];
    }
    h->flags = flags;
    if (agree(r[0], r[1]))
        same_handle(h);
    else
        h->fd[0] = h->fd[1] = -1;
}

static struct handle *
open_handle(void)
{
    for (int tries = 0; tries < 6; tries++) {
        struct handle *h = &handles[dice(HANDLES)];

        if (h->fd[0] >= 0)
            return h;
    }
    return NULL;
}

static void
do_write(struct handle *h)
{
    size_t length = pick_length();
    uint64_t at = pick_offset();
    bool positioned = dice(3) > 0;
    long long r[2];

    if ((h->flags & O_APPEND) != 0) { /* an appended file must end somewhere */
        struct stat st;

        if (fstat(h->fd[1], &st) == 0 && (size_t)st.st_size > size_max)
            return;
    }
    fill(length);
    say("write %zu at %lld fd %d%s", length, positioned ? (long long)at : -1, h->fd[0],
        (h->flags & O_APPEND) ? " append" : "");
    for (int i = 0; i < 2; i++)
        r[i] = positioned ? RESULT(pwrite(h->fd[i], data, length, (off_t)at))
                          : RESULT(write(h->fd[i], data, length));
    agree(r[0], r[1]);
    if (!positioned && lseek(h->fd[1], 0, SEEK_CUR) > (off_t)size_max)
        for (int i = 0; i < 2; i++)
            lseek(h->fd[i], 0, SEEK_SET);
    same_handle(h);
}

static void
do_read(struct handle *h)
{
    size_t length = pick_length();
    uint64_t at = pick_offset();
    long long r[2];

    say("read %zu at %llu", length, (unsigned long long)at);
    for (int i = 0; i < 2; i++)
        r[i] = RESULT(pread(h->fd[i], seen[i], length, (off_t)at));
    if (agree(r[0], r[1]) && memcmp(seen[0], seen[1], (size_t)r[0]) != 0)
        differ("other bytes were read");
}

static void
do_map(struct handle *h, bool write)
{
    struct stat st;
    uint8_t *map[2];
    size_t at, length;

    if ((h->flags & O_ACCMODE) == O_WRONLY || fstat(h->fd[1], &st) != 0 || st.st_size == 0)
        return;
    if (write && ((h->flags & O_ACCMODE) != O_RDWR))
        return;
    at = dice((uint64_t)st.st_size);
    length = 1 + dice((uint64_t)st.st_size - at);
    say("map %s %zu at %zu", write ? "and write" : "and read", length, at);
    fill(length < size_max ? length : size_max);
    if (length > size_max)
        length = size_max;
    for (int i = 0; i < 2; i++) {
        map[i] = mmap(NULL, (size_t)st.st_size, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED,
                      h->fd[i], 0);
        if (map[i] == MAP_FAILED)
            differ("mmap: %s", strerror(errno));
        if (write) {
            memcpy(map[i] + at, data, length);
            if (dice(2) == 0 && msync(map[i], (size_t)st.st_size, MS_SYNC) != 0)
                differ("msync: %s", strerror(errno));
        }
    }
    if (memcmp(map[0], map[1], (size_t)st.st_size) != 0)
        differ("the mapped bytes are others");
    munmap(map[0], (size_t)st.st_size);
    munmap(map[1], (size_t)st.st_size);
    same_handle(h);
}

static void
do_truncate(struct handle *h)
{
    off_t size = dice(6) == 0 ? 0 : (off_t)dice(size_max);
    long long r[2];

    say("truncate to %lld", (long long)size);
    for (int i = 0; i < 2; i++)
        r[i] = RESULT(ftruncate(h->fd[i], size));
    agree(r[0], r[1]);
    same_handle(h);
}

/* Modes that the tested filesystem refuses are not asked of the model. */
static void
do_allocate(struct handle *h)
{
    static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                FALLOC_FL_ZERO_RANGE, FALLOC_FL_COLLAPSE_RANGE};
    int mode = modes[dice(5)];
    uint64_t at = pick_offset(), length = pick_length();
    long long r[2];

    if (mode == FALLOC_FL_COLLAPSE_RANGE) {
        at &= ~(uint64_t)4095;
        length = (length + 4095) & ~(size_t)4095;
    }
    say("allocate mode %d %llu at %llu", mode, (unsigned long long)length, (unsigned long long)at);
    r[0] = RESULT(fallocate(h->fd[0], mode, (off_t)at, (off_t)length));
    if (r[0] == -EOPNOTSUPP)
        return;
    r[1] = RESULT(fallocate(h->fd[1], mode, (off_t)at, (off_t)length));
    agree(r[0], r[1]);
    same_handle(h);
}

static void
do_sync(struct handle *h)
{
    bool whole = dice(2) == 0;

    say("%s", whole ? "fsync" : "fdatasync");
    if ((whole ? fsync(h->fd[0]) : fdatasync(h->fd[0])) != 0)
        differ("sync: %s", strerror(errno));
    same_handle(h);
}

/* Forget the cached pages, so that the next read comes from the filesystem. */
static void
do_evict(struct handle *h)
{
    say("evict");
    (void)fdatasync(h->fd[0]);
    (void)posix_fadvise(h->fd[0], 0, 0, POSIX_FADV_DONTNEED);
    same_handle(h);
}

static void
do_copy(void)
{
    struct handle *from = open_handle(), *to = open_handle();
    size_t length = pick_length();
    off_t at_in = (off_t)pick_offset(), at_out = (off_t)pick_offset();
    long long r[2];

    if (from == NULL || to == NULL)
        return;
    say("copy_file_range %zu from %lld to %lld", length, (long long)at_in, (long long)at_out);
    for (int i = 0; i < 2; i++) {
        loff_t in = at_in, out = at_out;

        r[i] = RESULT(copy_file_range(from->fd[i], &in, to->fd[i], &out, length, 0));
    }
    agree(r[0], r[1]);
    same_handle(to);
}

static void
do_rename(void)
{
    static const unsigned flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
    unsigned flag = flags[dice(5)];
    char from[600], to[600];
    long long r[2];

    pick(from);
    pick(to);
    if (dice(20) == 0) {
        (void)snprintf(from, sizeof from, "d%llu", (unsigned long long)dice(FOLDERS));
        (void)snprintf(to, sizeof to, "d%llu", (unsigned long long)dice(FOLDERS));
    }
    say("rename %s to %s flags %u", from, to, flag);
    for (int i = 0; i < 2; i++)
        r[i] = RESULT(renameat2(root[i], from, root[i], to, flag));
    agree(r[0], r[1]);
    same_path(from);
    same_path(to);
}

static void
do_link(void)
{
    char from[600], to[600];
    bool symbolic = dice(3) == 0;
    long long r[2];

    pick(from);
    pick(to);
    say("%s %s as %s", symbolic ? "symlink" : "link", from, to);
    for (int i = 0; i < 2; i++)
        r[i] = symbolic ? RESULT(symlinkat(from, root[i], to))
                        : RESULT(linkat(root[i], from, root[i], to, 0));
    agree(r[0], r[1]);
    same_path(to);
}

static void
do_unlink(void)
{
    char name[600];
    long long r[2];

    pick(name);
    say("unlink %s", name);
    for (int i = 0; i < 2; i++)
        r[i] = RESULT(unlinkat(root[i], name, 0));
    agree(r[0], r[1]);
    same_path(name);
}

static void
do_folder(void)
{
    char name[16];
    bool make = dice(3) > 0;
    long long r[2];

    (void)snprintf(name, sizeof name, "d%llu", (unsigned long long)dice(FOLDERS));
    say("%s %s", make ? "mkdir" : "rmdir", name);
    for (int i = 0; i < 2; i++)
        r[i] = make ? RESULT(mkdirat(root[i], name, 0750))
                    : RESULT(unlinkat(root[i], name, AT_REMOVEDIR));
    agree(r[0], r[1]);
    same_folder(".");
}

static void
do_attributes(void)
{
    struct timespec times[2] = {{(time_t)dice(2000000000), 5},
                                {(time_t)dice(2000000000), 123456789}};
    struct stat st[2];
    char name[600], full[2][1024], value[2][64];
    mode_t mode = (mode_t)(0600 | dice(0200));
    long long r[2];

    pick(name);
    say("attributes of %s: mode 0%o", name, mode);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(full[i], sizeof full[i], "%s/%s", path[i], name);
        r[i] = RESULT(fchmodat(root[i], name, mode, 0));
    }
    (void)agree(r[0], r[1]);
    for (int i = 0; i < 2; i++)
        r[i] = RESULT(utimensat(root[i], name, times, 0));
    if (agree(r[0], r[1]))
        for (int i = 0; i < 2; i++)
            if (fstatat(root[i], name, &st[i], 0) != 0 || st[i].st_mtim.tv_sec != times[1].tv_sec ||
                st[i].st_mtim.tv_nsec != times[1].tv_nsec)
                differ("%s: the time was not set", full[i]);
    for (int i = 0; i < 2; i++)
        r[i] = RESULT(
            setxattr(full[i], "user.fsx", full[1], strlen(name) < 40 ? strlen(name) : 40, 0));
    (void)agree(r[0], r[1]);
    for (int i = 0; i < 2; i++)
        r[i] = RESULT(getxattr(full[i], "user.fsx", value[i], sizeof value[i]));
    if (agree(r[0], r[1]) && memcmp(value[0], value[1], (size_t)r[0]) != 0)
        differ("the attribute is another");
    same_path(name);
}

static void
run_shell(const char *command)
{
    say("%s", command);
    if (system(command) != 0)
        differ("the command failed");
}

static void
one_step(const char *remount, const char *hook)
{
    struct handle *h = open_handle();

    if (remount != NULL && dice(2000) == 0) {
        for (int i = 0; i < HANDLES; i++)
            close_handle(&handles[i]);
        close(root[0]);
        run_shell(remount);
        root[0] = open(path[0], O_RDONLY | O_DIRECTORY);
        same_tree();
        return;
    }
    if (hook != NULL && dice(500) == 0) {
        run_shell(hook);
        same_tree();
        return;
    }
    switch (h == NULL ? dice(8) : dice(40)) {
    case 0:
        do_rename();
        break;
    case 1:
        do_link();
        break;
    case 2:
        do_unlink();
        break;
    case 3:
        do_folder();
        break;
    case 4:
        do_attributes();
        break;
    case 5:
    case 6:
    case 7:
    case 8:
    case 9:
        do_open();
        break;
    case 10:
    case 11:
        do_truncate(h);
        break;
    case 12:
    case 13:
        do_allocate(h);
        break;
    case 14:
    case 15:
    case 16:
        do_read(h);
        break;
    case 17:
    case 18:
        do_map(h, false);
        break;
    case 19:
    case 20:
    case 21:
        do_map(h, true);
        break;
    case 22:
    case 23:
        do_sync(h);
        break;
    case 24:
    case 25:
        do_evict(h);
        break;
    case 26:
    case 27:
        do_copy();
        break;
    case 28:
        say("close");
        close_handle(h);
        break;
    default:
        do_write(h);
    }
}

static void
make_names(size_t name_max)
{
    for (int i = 0; i < NAMES; i++)
        (void)snprintf(names[i], sizeof names[i], "file%d", i);
    memset(names[0], 'n', name_max);
    names[0][name_max] = 0;
    strcpy(names[1], "\xff\xfe not UTF-8 \x80");
    strcpy(names[2], "with space, comma\nand newline");
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {{"ops", 1, NULL, 'o'},  {"seed", 1, NULL, 's'},
                                            {"size", 1, NULL, 'z'}, {"remount", 1, NULL, 'r'},
                                            {"hook", 1, NULL, 'h'}, {"name-max", 1, NULL, 'n'},
                                            {NULL, 0, NULL, 0}};
    const char *remount = NULL, *hook = NULL;
    uint64_t ops = 20000;
    size_t name_max = 143;
    int opt;

    if (getentropy(&seed, sizeof seed) != 0)
        return 2;
    seed &= 0xffffffff;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'o')
            ops = strtoull(optarg, NULL, 10);
        else if (opt == 's')
            seed = strtoull(optarg, NULL, 10);
        else if (opt == 'z')
            size_max = strtoull(optarg, NULL, 10);
        else if (opt == 'r')
            remount = optarg;
        else if (opt == 'h')
            hook = optarg;
        else if (opt == 'n')
            name_max = strtoull(optarg, NULL, 10);
        else
            return 2;
    }
    if (argc - optind != 2 || size_max < 16384 || name_max < 8 || name_max > 255)
        return 2;
    state = seed * 0x9e3779b97f4a7c15u + 1;
    make_names(name_max);
    umask(0);
    for (int i = 0; i < 2; i++) {
        path[i] = argv[optind + i];
        root[i] = open(path[i], O_RDONLY | O_DIRECTORY);
        seen[i] = malloc(size_max);
        if (root[i] < 0 || seen[i] == NULL) {
            fprintf(stderr, "fsx: %s: %s\n", path[i], strerror(errno));
            return 2;
        }
    }
    data = malloc(size_max);
    for (int i = 0; i < HANDLES; i++)
        handles[i].fd[0] = handles[i].fd[1] = -1;
    for (step = 0; step < ops; step++) {
        one_step(remount, hook);
        if (step % 1000 == 999)
            same_tree();
    }
    same_tree();
    printf("fsx: seed %llu, %llu operations, no difference\n", (unsigned long long)seed,
           (unsigned long long)ops);
    return 0;
}
