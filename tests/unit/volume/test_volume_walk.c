/* SPDX-License-Identifier: Apache-2.0 */
/* A volume that nobody uses, moved to other keys on a real folder: complete, with all that belongs to a file, and after a death
 * between any two steps. */
#include "support/test.h"

#include "support/volume_tree.h"
#include "volume/rotate/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define F (&volume_ecryptfs)

static char lower[64];

static int
setup(void **state)
{
    tree_make(lower);
    return 0;
}

static int
teardown(void **state)
{
    tree_remove(lower);
    return 0;
}

static const char *
at(const char *path)
{
    static char full[4][512];
    static unsigned turn;
    char *out = full[turn++ % 4];

    (void)snprintf(out, sizeof full[0], "%s/%s", lower, path);
    return out;
}

/* ---- a tree of files ---- */

static const struct {
    const char *path;
    size_t len;
} FILES[] = {{"a", 0},           {"b", 1},       {"c", 4096}, {"d/e", 100000},
             {"d/f/g", 2100000}, {"d/h", 12345}, {"i", 4095}};

enum { COUNT = sizeof FILES / sizeof FILES[0] };

static void
plant(struct volume *volume)
{
    assert_int_equal(mkdir(at("d"), 0755), 0);
    assert_int_equal(mkdir(at("d/f"), 0700), 0);
    for (unsigned i = 0; i < COUNT; i++)
        tree_write(volume, lower, FILES[i].path, FILES[i].len, i);
}

static void
expect_all(struct volume *volume)
{
    for (unsigned i = 0; i < COUNT; i++)
        tree_expect(volume, lower, FILES[i].path, FILES[i].len, i);
}

static unsigned hidden;

static int
count_hidden(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    char path[512];

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (strncmp(entry->d_name, ".coffer", 7) == 0)
            hidden++;
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
            count_hidden(path);
    }
    closedir(dir);
    return 0;
}

static void
expect_nothing_hidden(void)
{
    hidden = 0;
    count_hidden(lower);
    assert_int_equal(hidden, 0);
}

static struct volume_progress
walk(struct volume *volume, enum volume_work work)
{
    struct volume_walk_options options = {.work = work};
    struct volume_progress progress;
    struct coffer_error err = {0};

    if (volume_walk(lower, F, volume, &options, &progress, &err) != COFFER_OK)
        fail_msg("%s", err.message);
    assert_true(progress.ended);
    return progress;
}

static struct volume_count
scan(struct volume *volume)
{
    struct volume_count count;

    assert_int_equal(volume_scan(lower, NULL, F, volume, NULL, NULL, NULL, &count, NULL),
                     COFFER_OK);
    return count;
}

/* Files that a scan finds under key number `n`. */
static uint64_t
under(struct volume *volume, unsigned n)
{
    struct volume_count count = scan(volume);

    assert_int_equal(count.other_keys, 0);
    for (size_t i = 0; i < count.key_count; i++)
        if (strcmp(count.keys[i].key, tree_key(n)->name) == 0)
            return count.keys[i].files;
    return 0;
}

/* ---- the two kinds ---- */

static void
rewrap_changes_headers_and_nothing_else(void **state)
{
    struct volume *before = tree_volume1(256, 0), *both = tree_volume2(256, 1, 0),
                  *after = tree_volume1(256, 1);
    struct timespec old_times[2] = {{1000, 5}, {2000, 7}};
    struct volume_progress progress;
    uint8_t old_data[8192], new_data[8192];
    struct stat st;
    int fd;

    plant(before);
    fd = open(at("c"), O_RDWR);
    assert_int_equal(pread(fd, old_data, sizeof old_data, 8192), 4096);
    assert_int_equal(futimens(fd, old_times), 0);
    close(fd);
    progress = walk(both, VOLUME_REWRAP);
    assert_int_equal(progress.files, COUNT);
    assert_int_equal(progress.files_done, COUNT);
    assert_int_equal(progress.failed, 0);
    expect_all(after);
    assert_int_equal(tree_open_error(before, lower, "c"), -EKEYREJECTED);
    fd = open(at("c"), O_RDONLY);
    assert_int_equal(pread(fd, new_data, sizeof new_data, 8192), 4096);
    assert_memory_equal(old_data, new_data, 4096);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mtim.tv_sec, 2000);
    assert_int_equal(st.st_mtim.tv_nsec, 7);
    close(fd);
    expect_nothing_hidden();
    assert_int_equal(under(after, 0), 0);
    assert_int_equal(under(after, 1), COUNT);

    progress = walk(both, VOLUME_REWRAP); /* again: nothing to do */
    assert_int_equal(progress.files_done, 0);
    assert_int_equal(progress.files_skipped, COUNT);
    F->close(before);
    F->close(both);
    F->close(after);
}

static void
reencryption_writes_data_anew_and_keeps_what_belongs_to_a_file(void **state)
{
    struct volume *before = tree_volume1(256, 0), *both = tree_volume2(256, 1, 0),
                  *after = tree_volume1(256, 1);
    struct timespec times[2] = {{1000, 5}, {2000, 7}};
    struct volume_progress progress;
    uint8_t old_data[4096], new_data[4096];
    char value[16] = "";
    struct stat st;
    int fd;

    plant(before);
    fd = open(at("d/h"), O_RDWR);
    assert_int_equal(pread(fd, old_data, sizeof old_data, 8192), 4096);
    assert_int_equal(fsetxattr(fd, "user.note", "kept", 4, 0), 0);
    if (geteuid() == 0)
        assert_int_equal(fchown(fd, 1234, 4321), 0);
    assert_int_equal(fchmod(fd, 06751), 0);
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
    progress = walk(both, VOLUME_REENCRYPT);
    assert_int_equal(progress.files_done, COUNT);
    assert_int_equal(progress.failed, 0);
    assert_int_equal(progress.bytes, progress.bytes_done);
    expect_all(after);
    expect_nothing_hidden();
    fd = open(at("d/h"), O_RDONLY);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(pread(fd, new_data, sizeof new_data, 8192), 4096);
    assert_memory_not_equal(old_data, new_data, sizeof old_data);
    assert_int_equal(st.st_mode & 07777, 06751);
    if (geteuid() == 0) {
        assert_int_equal(st.st_uid, 1234);
        assert_int_equal(st.st_gid, 4321);
    }
    assert_int_equal(st.st_mtim.tv_sec, 2000);
    assert_int_equal(st.st_mtim.tv_nsec, 7);
    assert_int_equal(fgetxattr(fd, "user.note", value, sizeof value), 4);
    assert_memory_equal(value, "kept", 4);
    close(fd);
    assert_int_equal(under(after, 0), 0);
    assert_int_equal(under(after, 1), COUNT);
    F->close(before);
    F->close(both);
    F->close(after);
}

/* In a folder with a default list, a copy would get an access list that the file did not have. */
static void
a_copy_has_no_more_rights_than_the_file_had(void **state)
{
    /* version 2; user::rwx user:1234:rwx group::r-x mask::rwx other::--- */
    static const uint8_t ACL[] = {2, 0,   0,   0,   1,   0,   7,  0, 255, 255, 255, 255, 2,   0,  7,
                                  0, 210, 4,   0,   0,   4,   0,  5, 0,   255, 255, 255, 255, 16, 0,
                                  7, 0,   255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255};
    struct volume *before = tree_volume1(256, 0), *both = tree_volume2(256, 1, 0);
    uint8_t list[64];

    tree_write(before, lower, "x", 10, 1);
    tree_write(before, lower, "y", 10, 2);
    if (setxattr(lower, "system.posix_acl_default", ACL, sizeof ACL, 0) != 0)
        skip();
    assert_int_equal(setxattr(at("y"), "system.posix_acl_access", ACL, sizeof ACL, 0), 0);
    (void)walk(both, VOLUME_REENCRYPT);
    assert_int_equal(getxattr(at("x"), "system.posix_acl_access", list, sizeof list), -1);
    assert_int_equal(errno, ENODATA);
    assert_int_equal(getxattr(at("y"), "system.posix_acl_access", list, sizeof list), sizeof ACL);
    assert_memory_equal(list, ACL, sizeof ACL);
    F->close(before);
    F->close(both);
}

static void
key_lengths_change_by_reencryption_alone(void **state)
{
    struct volume *v128 = tree_volume1(128, 0), *v192 = tree_volume1(192, 0),
                  *v256 = tree_volume2(256, 1, 0);
    struct volume_progress progress;

    plant(v128);
    progress = walk(v192, VOLUME_REWRAP); /* the key is the same: nothing that this kind can do */
    assert_int_equal(progress.files_skipped, COUNT);
    progress = walk(v192, VOLUME_REENCRYPT);
    assert_int_equal(progress.files_done, COUNT);
    expect_all(v192);
    progress = walk(v256, VOLUME_REWRAP); /* AES-192 still, under the new key */
    assert_int_equal(progress.files_done, COUNT);
    expect_all(v256);
    progress = walk(v256, VOLUME_REENCRYPT);
    assert_int_equal(progress.files_done, COUNT);
    expect_all(v256);
    progress = walk(v256, VOLUME_REENCRYPT);
    assert_int_equal(progress.files_done, 0);
    F->close(v128);
    F->close(v192);
    F->close(v256);
}

static void
metadata_in_attributes_move_too(void **state)
{
    static const unsigned BOTH[] = {1, 0}, AGAIN[] = {2, 1}, LAST[] = {2};
    struct volume_options options = {.key_bits = 192, .xattr_metadata = true};
    struct volume *before = tree_volume(&options, (const unsigned[]){0}, 1);
    struct volume *both = tree_volume(&options, BOTH, 2), *again = tree_volume(&options, AGAIN, 2);
    struct volume *after = tree_volume(&options, LAST, 1);

    plant(before);
    assert_int_equal(walk(both, VOLUME_REWRAP).files_done, COUNT);
    expect_all(both);
    assert_int_equal(under(both, 0), 0);
    assert_int_equal(walk(again, VOLUME_REENCRYPT).files_done, COUNT);
    expect_all(after);
    assert_int_equal(under(after, 1), 0);
    expect_nothing_hidden();
    F->close(before);
    F->close(both);
    F->close(again);
    F->close(after);
}

static void
files_that_were_never_finished_are_nobodys(void **state)
{
    struct volume *both = tree_volume2(256, 1, 0);
    struct volume_progress progress;
    struct stat st;

    close(open(at("empty"), O_CREAT | O_RDWR, 0644));
    progress = walk(both, VOLUME_REENCRYPT);
    assert_int_equal(progress.files_skipped, 1);
    assert_int_equal(stat(at("empty"), &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(scan(both).empty, 1);
    F->close(both);
}

/* ---- several names ---- */

static void
all_names_of_a_file_move_together(void **state)
{
    struct volume *before = tree_volume1(256, 0), *both = tree_volume2(256, 1, 0),
                  *after = tree_volume1(256, 1);
    struct volume_progress progress;
    struct stat a, b, c;

    plant(before);
    assert_int_equal(link(at("d/h"), at("h2")), 0);
    assert_int_equal(link(at("d/h"), at("d/f/h3")), 0);
    progress = walk(both, VOLUME_REENCRYPT);
    assert_int_equal(progress.failed, 0);
    assert_int_equal(progress.files_done, COUNT + 2);
    assert_int_equal(stat(at("d/h"), &a), 0);
    assert_int_equal(stat(at("h2"), &b), 0);
    assert_int_equal(stat(at("d/f/h3"), &c), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    assert_int_equal(a.st_ino, c.st_ino);
    assert_int_equal(a.st_nlink, 3);
    expect_all(after);
    tree_expect(after, lower, "d/f/h3", 12345, 5);
    expect_nothing_hidden();
    F->close(before);
    F->close(both);
    F->close(after);
}

static void
a_name_outside_of_the_volume_is_said(void **state)
{
    struct volume *before = tree_volume1(256, 0), *both = tree_volume2(256, 1, 0);
    struct volume_progress progress;
    char outside[80];

    (void)snprintf(outside, sizeof outside, "%s.outside", lower);
    tree_write(before, lower, "x", 100, 1);
    assert_int_equal(link(at("x"), outside), 0);
    progress = walk(both, VOLUME_REENCRYPT);
    assert_int_equal(progress.failed, 1);
    assert_non_null(strstr(progress.failure, "x: the file has 2 names, and 1 of them"));
    tree_expect(before, lower, "x", 100, 1);
    progress = walk(both, VOLUME_REWRAP); /* which needs no other file */
    assert_int_equal(progress.failed, 0);
    unlink(outside);
    F->close(before);
    F->close(both);
}

/* ---- trouble ---- */

struct heard {
    unsigned count;
    char path[64], text[256];
};

static void
hear(void *arg, const char *path, const char *message)
{
    struct heard *heard = arg;

    heard->count++;
    (void)snprintf(heard->path, sizeof heard->path, "%s", path);
    (void)snprintf(heard->text, sizeof heard->text, "%s", message);
}

static void
damage_hinders_its_own_file_alone(void **state)
{
    struct volume *before = tree_volume1(256, 0), *both = tree_volume2(256, 1, 0),
                  *after = tree_volume1(256, 1);
    struct heard heard = {0};
    struct volume_walk_options options = {.damage = hear, .arg = &heard};
    struct volume_progress progress;
    int fd;

    for (int kind = VOLUME_REWRAP; kind <= VOLUME_REENCRYPT; kind++) {
        options.work = (enum volume_work)kind;
        plant(before);
        fd = open(at("d/h"), O_RDWR);
        assert_int_equal(pwrite(fd, "damaged", 7, 8), 7);
        close(fd);
        heard.count = 0;
        assert_int_equal(volume_walk(lower, F, both, &options, &progress, NULL), COFFER_OK);
        assert_int_equal(progress.failed, 1);
        assert_int_equal(heard.count, 1);
        assert_string_equal(heard.path, "d/h");
        assert_non_null(strstr(progress.failure, "d/h: "));
        assert_int_equal(progress.files_done, COUNT - 1);
        tree_expect(after, lower, "d/f/g", 2100000, 4);
        tree_remove(lower);
        assert_int_equal(mkdir(lower, 0700), 0);
    }
    F->close(before);
    F->close(both);
    F->close(after);
}

/* A file whose data cannot be read stays as it is, readable where it is. */
static void
a_file_cut_off_is_kept(void **state)
{
    struct volume *before = tree_volume1(256, 0), *both = tree_volume2(256, 1, 0);
    struct volume_progress progress;
    struct stat st;

    tree_write(before, lower, "x", 100000, 1);
    assert_int_equal(truncate(at("x"), 50000), 0);
    progress = walk(both, VOLUME_REENCRYPT);
    assert_int_equal(progress.failed, 1);
    assert_int_equal(stat(at("x"), &st), 0);
    assert_int_equal(st.st_size, 50000);
    expect_nothing_hidden();
    F->close(before);
    F->close(both);
}

/* In a process of its own, on a filesystem with room for little; exits 0 if all is as it should be, 77 if it cannot be made. */
static int
on_a_small_disk(void)
{
    struct volume *before = tree_volume1(256, 0), *both = tree_volume2(256, 1, 0);
    struct volume_walk_options options = {.work = VOLUME_REENCRYPT};
    struct volume_progress progress;
    struct coffer_error err = {0};
    int rc;

    if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", lower, "tmpfs", 0, "size=4m") != 0)
        return 77;
    tree_write(before, lower, "small", 5000, 1);
    tree_write(before, lower, "large", 2500000, 2);
    rc = volume_walk(lower, F, both, &options, &progress, &err);
    if (rc != COFFER_E_LIMIT || strstr(err.message, "large: 26") == NULL ||
        progress.files_done != 0)
        return 1;
    tree_expect(before, lower, "large", 2500000, 2);
    tree_expect(before, lower, "small", 5000, 1); /* refused before anything was written */
    expect_nothing_hidden();
    /* With room for one at a time it goes through, though not for all at once. */
    assert_int_equal(truncate(at("large"), 0), 0);
    assert_int_equal(unlink(at("large")), 0);
    for (unsigned i = 0; i < 5; i++) {
        char name[8];

        (void)snprintf(name, sizeof name, "f%u", i);
        tree_write(before, lower, name, 480000, i);
    }
    rc = volume_walk(lower, F, both, &options, &progress, &err);
    if (rc != COFFER_OK || progress.files_done != 6)
        return 2;
    tree_expect(both, lower, "f4", 480000, 4);
    return 0;
}

static void
a_file_larger_than_the_free_space_is_refused_with_what_would_do(void **state)
{
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(on_a_small_disk());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- stopping and dying ---- */

struct countdown {
    unsigned left;
    bool die;
};

static bool
count_down(void *arg)
{
    struct countdown *countdown = arg;

    if (countdown->left == 0)
        return true;
    if (--countdown->left > 0)
        return false;
    if (countdown->die)
        _exit(99);
    return true;
}

static void
stopped_anywhere_it_goes_on_from_there(void **state)
{
    struct volume *before = tree_volume1(256, 0), *both = tree_volume2(256, 1, 0),
                  *after = tree_volume1(256, 1);

    for (int kind = VOLUME_REWRAP; kind <= VOLUME_REENCRYPT; kind++) {
        unsigned stops = 0;
        int rc;

        plant(before);
        assert_int_equal(link(at("d/h"), at("h2")), 0);
        for (unsigned n = 1;; n += 2) {
            struct countdown countdown = {n, false};
            struct volume_walk_options options = {
                .work = (enum volume_work)kind, .stop = count_down, .arg = &countdown};
            struct volume_progress progress;

            rc = volume_walk(lower, F, both, &options, &progress, NULL);
            expect_all(both);
            if (rc == COFFER_OK)
                break;
            assert_int_equal(rc, COFFER_E_CANCELLED);
            stops++;
        }
        assert_true(stops > 3);
        expect_all(after);
        tree_expect(after, lower, "h2", 12345, 5);
        expect_nothing_hidden();
        tree_remove(lower);
        assert_int_equal(mkdir(lower, 0700), 0);
    }
    F->close(before);
    F->close(both);
    F->close(after);
}

/* Killed after the n-th step, for every n: what is there opens, whole, and the next walk makes it complete. */
static void
die_everywhere(enum volume_work work, bool xattr)
{
    static const unsigned BOTH[] = {1, 0}, FIRST[] = {0}, LAST[] = {1};
    struct volume_options form = {.key_bits = 256, .xattr_metadata = xattr};
    struct volume *before = tree_volume(&form, FIRST, 1), *both = tree_volume(&form, BOTH, 2);
    struct volume *after = tree_volume(&form, LAST, 1);
    unsigned deaths = 0;

    for (unsigned n = 1;; n++) {
        struct countdown countdown = {n, true};
        struct volume_walk_options options = {.work = work, .stop = count_down, .arg = &countdown};
        struct volume_progress progress;
        struct coffer_error err = {0};
        int status;
        pid_t pid;

        plant(before);
        assert_int_equal(link(at("d/h"), at("h2")), 0);
        assert_int_equal(link(at("d/h"), at("d/f/h3")), 0);
        pid = fork();
        if (pid == 0)
            _exit(volume_walk(lower, F, both, &options, &progress, NULL));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        expect_all(both);
        if (volume_recover(lower, F, both, &err) != COFFER_OK)
            fail_msg("%s", err.message);
        expect_all(both);
        assert_int_equal(access(at(VOLUME_UNDO), F_OK), -1);
        assert_int_equal(access(at(VOLUME_LINKS), F_OK), -1);
        {
            struct stat a, b, c; /* all names are one file's still */

            assert_int_equal(stat(at("d/h"), &a), 0);
            assert_int_equal(stat(at("h2"), &b), 0);
            assert_int_equal(stat(at("d/f/h3"), &c), 0);
            assert_int_equal(a.st_ino, b.st_ino);
            assert_int_equal(a.st_ino, c.st_ino);
        }
        assert_int_equal(walk(both, work).failed, 0);
        expect_all(after);
        assert_int_equal(under(after, 0), 0);
        expect_nothing_hidden();
        tree_remove(lower);
        assert_int_equal(mkdir(lower, 0700), 0);
        if (WEXITSTATUS(status) == 0)
            break;
        assert_int_equal(WEXITSTATUS(status), 99);
        deaths++;
    }
    assert_true(deaths > 15);
    F->close(before);
    F->close(both);
    F->close(after);
}

static void
killed_at_any_step_of_a_rewrap_nothing_is_lost(void **state)
{
    die_everywhere(VOLUME_REWRAP, false);
    die_everywhere(VOLUME_REWRAP, true);
}

static void
killed_at_any_step_of_a_reencryption_nothing_is_lost(void **state)
{
    die_everywhere(VOLUME_REENCRYPT, false);
}

/* A header that a dying disk left half old, half new is as it was before. */
static void
a_torn_header_is_put_back(void **state)
{
    struct volume *before = tree_volume1(256, 0), *both = tree_volume2(256, 1, 0);
    unsigned n = 1;

    for (;; n++) {
        struct countdown countdown = {n, true};
        struct volume_walk_options options = {
            .work = VOLUME_REWRAP, .stop = count_down, .arg = &countdown};
        struct volume_progress progress;
        int status;
        pid_t pid;

        plant(before);
        pid = fork();
        if (pid == 0)
            _exit(volume_walk(lower, F, both, &options, &progress, NULL));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(WEXITSTATUS(status), 99); /* it must be found before the walk ends */
        if (access(at(VOLUME_UNDO), F_OK) == 0)
            break;
        tree_remove(lower);
        assert_int_equal(mkdir(lower, 0700), 0);
    }
    {
        int fd = open(at("d/h"), O_RDWR);
        struct stat st;

        /* In the middle of the wrapped key; and a file with a name that it did not have. */
        assert_int_equal(pwrite(fd, "torn torn torn", 14, 45), 14);
        close(fd);
        assert_int_equal(rename(at("d/h"), at("d/moved")), 0);
        fd = open(at("c"), O_RDWR);
        assert_int_equal(pwrite(fd, "torn torn torn", 14, 45), 14);
        close(fd);
        /* One that grew meanwhile keeps its size. */
        assert_int_equal(stat(at("b"), &st), 0);
    }
    assert_int_equal(volume_recover(lower, F, both, NULL), COFFER_OK);
    tree_expect(before, lower, "c", 4096, 2);
    tree_expect(before, lower, "d/moved", 12345, 5);
    F->close(before);
    F->close(both);
}

static void
a_damaged_record_is_said_and_kept(void **state)
{
    struct volume *both = tree_volume2(256, 1, 0);
    struct coffer_error err = {0};
    int fd = open(at(VOLUME_UNDO), O_CREAT | O_RDWR, 0600);

    assert_int_equal(write(fd, "cofundo1 and then nothing that has a checksum", 45), 45);
    close(fd);
    assert_int_equal(volume_recover(lower, F, both, &err), COFFER_E_FORMAT);
    assert_non_null(strstr(err.message, "damaged"));
    assert_int_equal(access(at(VOLUME_UNDO), F_OK), 0);
    F->close(both);
}

/* ---- scan and lock ---- */

struct found {
    unsigned count;
    char last[128];
};

static void
find(void *arg, const char *path, const char *what)
{
    struct found *found = arg;

    found->count++;
    (void)snprintf(found->last, sizeof found->last, "%s: %s", path, what);
}

static void
a_scan_finds_every_unit_under_a_key(void **state)
{
    struct volume *one = tree_volume1(256, 0), *two = tree_volume1(128, 1);
    struct volume_options names_options = {.key_bits = 256, .encrypt_names = true};
    struct volume *names = tree_volume(&names_options, (const unsigned[]){2}, 1);
    struct volume_count count;
    struct found found = {0};
    char sealed[VOLUME_NAME_MAX + 1];
    struct buf target;
    int fd;

    plant(one);
    tree_write(two, lower, "two", 10, 1);
    tree_write(two, lower, VOLUME_COPY "00000000.1", 10, 1);
    assert_int_equal(F->name_to_lower(names, bytes_str("secret"), sealed, NULL), 0);
    assert_int_equal(mkdir(at(sealed), 0755), 0);
    buf_init(&target, VOLUME_TARGET_MAX);
    assert_int_equal(F->target_to_lower(names, bytes_str("there"), &target, NULL), 0);
    assert_int_equal(symlink(buf_cstr(&target), at("link")), 0);
    buf_wipe(&target);
    close(open(at("empty"), O_CREAT | O_RDWR, 0600));
    fd = open(at("plain"), O_CREAT | O_RDWR, 0600);
    assert_int_equal(write(fd, "plain text, sixteen bytes and more", 34), 34);
    close(fd);
    assert_int_equal(
        volume_scan(lower, NULL, F, one, tree_key(1)->name, find, &found, &count, NULL), COFFER_OK);
    assert_int_equal(count.files, COUNT + 2);
    assert_int_equal(count.empty, 1);
    assert_int_equal(count.plain, 1);
    assert_int_equal(count.damaged, 0);
    assert_int_equal(count.names, 1);
    assert_int_equal(count.links, 1);
    assert_int_equal(count.folders, 3);
    assert_int_equal(count.key_count, 3);
    assert_int_equal(found.count, 2);
    memset(&found, 0, sizeof found);
    assert_int_equal(
        volume_scan(lower, NULL, F, one, tree_key(2)->name, find, &found, &count, NULL), COFFER_OK);
    assert_int_equal(found.count, 2);
    memset(&found, 0, sizeof found);
    assert_int_equal(volume_scan(lower, NULL, F, one, NULL, find, &found, &count, NULL), COFFER_OK);
    assert_int_equal(found.count, 1);
    assert_non_null(strstr(found.last, "plain: "));
    /* Copies that nobody owns are not there after a walk. */
    (void)walk(one, VOLUME_REWRAP);
    assert_int_equal(access(at(VOLUME_COPY "00000000.1"), F_OK), -1);
    F->close(one);
    F->close(two);
    F->close(names);
}

static void
the_lock_is_held_by_one(void **state)
{
    struct coffer_error err = {0};
    int fd, other;

    assert_int_equal(volume_lower_lock(lower, &fd, NULL), COFFER_OK);
    assert_int_equal(volume_lower_lock(lower, &other, &err), COFFER_E_CONFLICT);
    assert_int_equal(other, -1);
    close(fd);
    assert_int_equal(volume_lower_lock(lower, &other, NULL), COFFER_OK);
    close(other);
    assert_int_equal(volume_lower_lock("/nowhere/at/all", &fd, NULL), COFFER_E_NOTFOUND);
}

/* ---- names ---- */

static void
names_and_targets_take_their_new_form(void **state)
{
    struct volume_options options = {.key_bits = 256, .encrypt_names = true, .mixed_names = true};
    struct volume_walk_options walk_options = {.work = VOLUME_REWRAP, .names = true};
    struct volume *before = tree_volume1(256, 0),
                  *both = tree_volume(&options, (const unsigned[]){1, 0}, 2);
    struct volume_progress progress;
    struct volume_count count;
    struct coffer_error err = {0};
    char name[VOLUME_NAME_MAX + 1], sub[VOLUME_NAME_MAX + 1], path[2 * VOLUME_NAME_MAX + 2];

    plant(before);
    assert_int_equal(symlink("d/e", at("link")), 0);
    if (volume_walk(lower, F, both, &walk_options, &progress, &err) != COFFER_OK)
        fail_msg("%s", err.message);
    assert_int_equal(progress.failed, 0);
    assert_int_equal(progress.names, COUNT + 2 + 1); /* folders, a link */
    assert_int_equal(progress.names_done, progress.names);
    assert_int_equal(access(at("d"), F_OK), -1);
    assert_int_equal(F->name_to_lower(both, bytes_str("d"), name, NULL), 0);
    assert_int_equal(F->name_to_lower(both, bytes_str("e"), sub, NULL), 0);
    (void)snprintf(path, sizeof path, "%s/%s", name, sub);
    tree_expect(both, lower, path, 100000, 3);
    count = scan(both);
    assert_int_equal(count.names, COUNT + 3);
    assert_int_equal(count.key_count, 1);
    assert_int_equal(count.keys[0].names, COUNT + 4);
    expect_nothing_hidden();
    F->close(before);
    F->close(both);
}

#define ONE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(rewrap_changes_headers_and_nothing_else),
        ONE(reencryption_writes_data_anew_and_keeps_what_belongs_to_a_file),
        ONE(a_copy_has_no_more_rights_than_the_file_had),
        ONE(key_lengths_change_by_reencryption_alone),
        ONE(metadata_in_attributes_move_too),
        ONE(files_that_were_never_finished_are_nobodys),
        ONE(all_names_of_a_file_move_together),
        ONE(a_name_outside_of_the_volume_is_said),
        ONE(damage_hinders_its_own_file_alone),
        ONE(a_file_cut_off_is_kept),
        ONE(a_file_larger_than_the_free_space_is_refused_with_what_would_do),
        ONE(stopped_anywhere_it_goes_on_from_there),
        ONE(killed_at_any_step_of_a_rewrap_nothing_is_lost),
        ONE(killed_at_any_step_of_a_reencryption_nothing_is_lost),
        ONE(a_torn_header_is_put_back),
        ONE(a_damaged_record_is_said_and_kept),
        ONE(a_scan_finds_every_unit_under_a_key),
        ONE(the_lock_is_held_by_one),
        ONE(names_and_targets_take_their_new_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
