/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include "base/os.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct folder {
    char path[64];
    char file[80];
};

static int
setup(void **state)
{
    struct folder *f = calloc(1, sizeof *f);

    (void)snprintf(f->path, sizeof f->path, "/tmp/coffer-os-XXXXXX");
    if (mkdtemp(f->path) == NULL)
        return -1;
    (void)snprintf(f->file, sizeof f->file, "%s/file", f->path);
    *state = f;
    return 0;
}

/* The names in the folder beside "." and "..". */
static int
entries(const struct folder *f, bool remove)
{
    DIR *dir = opendir(f->path);
    const struct dirent *entry;
    int count = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        count++;
        if (remove)
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir != NULL)
        (void)closedir(dir);
    return count;
}

static int
teardown(void **state)
{
    struct folder *f = *state;

    (void)entries(f, true);
    (void)rmdir(f->path);
    free(f);
    return 0;
}

static void
assert_content(const char *path, const char *expected)
{
    struct buf buf;

    buf_init(&buf, 1 << 20);
    assert_int_equal(os_real.read_file(&os_real, path, 1 << 20, &buf, NULL), COFFER_OK);
    assert_true(bytes_equal(buf_view(&buf), bytes_str(expected)));
    buf_wipe(&buf);
}

static int
put(const char *path, const char *text, bool exclusive)
{
    return os_real.write_file(&os_real, path, bytes_str(text), 0640, exclusive, NULL);
}

static void
a_file_is_replaced_whole_with_its_mode(void **state)
{
    const struct folder *f = *state;
    struct stat before, after;

    assert_int_equal(put(f->file, "old", false), COFFER_OK);
    assert_int_equal(stat(f->file, &before), 0);
    assert_int_equal(put(f->file, "new content", false), COFFER_OK);
    assert_int_equal(stat(f->file, &after), 0);
    assert_content(f->file, "new content");
    assert_int_equal(after.st_mode & 07777, 0640);
    assert_true(before.st_ino != after.st_ino); /* never written in place */
    assert_int_equal(entries(f, false), 1);
}

static void
exclusive_never_overwrites(void **state)
{
    const struct folder *f = *state;

    assert_int_equal(put(f->file, "first", true), COFFER_OK);
    assert_int_equal(put(f->file, "second", true), COFFER_E_EXISTS);
    assert_content(f->file, "first");
    assert_int_equal(entries(f, false), 1);
}

/* Make writes beyond 4 KiB fail, as a full disk does. */
static void
set_file_limit(rlim_t bytes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void
a_write_that_fails_leaves_the_old_file_and_nothing_else(void **state)
{
    const struct folder *f = *state;
    static char large[100000];
    struct coffer_error err = {0};
    int rc;

    memset(large, 'x', sizeof large - 1);
    assert_int_equal(put(f->file, "old", false), COFFER_OK);
    (void)signal(SIGXFSZ, SIG_IGN);
    set_file_limit(4096);
    rc = os_real.write_file(&os_real, f->file, bytes_str(large), 0600, false, &err);
    set_file_limit(RLIM_INFINITY);
    assert_int_equal(rc, COFFER_E_IO);
    assert_non_null(strstr(err.message, f->file));
    assert_content(f->file, "old");
    assert_int_equal(entries(f, false), 1);
}

/* Half a line at the end of a log would spoil the next one too. */
static void
an_append_that_fails_leaves_what_was_there(void **state)
{
    const struct folder *f = *state;
    static char large[100000];
    int rc;

    memset(large, 'x', sizeof large - 1);
    assert_int_equal(os_real.append_file(&os_real, f->file, bytes_str("one\n"), 0600, NULL),
                     COFFER_OK);
    assert_int_equal(os_real.append_file(&os_real, f->file, bytes_str("two\n"), 0600, NULL),
                     COFFER_OK);
    (void)signal(SIGXFSZ, SIG_IGN);
    set_file_limit(4096);
    rc = os_real.append_file(&os_real, f->file, bytes_str(large), 0600, NULL);
    set_file_limit(RLIM_INFINITY);
    assert_int_equal(rc, COFFER_E_IO);
    assert_content(f->file, "one\ntwo\n");
}

static void
reading_says_missing_too_large_and_folder_apart(void **state)
{
    const struct folder *f = *state;
    struct coffer_error err = {0};
    struct buf buf;

    buf_init(&buf, 100);
    assert_int_equal(os_real.read_file(&os_real, f->file, 100, &buf, &err), COFFER_E_NOTFOUND);
    assert_non_null(strstr(err.message, f->file));
    assert_int_equal(os_real.read_file(&os_real, f->path, 100, &buf, NULL), COFFER_E_IO);
    assert_int_equal(put(f->file, "12345", false), COFFER_OK);
    assert_int_equal(os_real.read_file(&os_real, f->file, 4, &buf, NULL), COFFER_E_LIMIT);
    buf_wipe(&buf);
    assert_int_equal(os_real.read_file(&os_real, f->file, 5, &buf, NULL), COFFER_OK);
    buf_wipe(&buf);
}

static int
read_secret(const char *path, size_t max, struct secret **out)
{
    return os_real.read_secret(&os_real, path, max, out, NULL);
}

static void
a_secret_is_read_only_where_nobody_else_can(void **state)
{
    const struct folder *f = *state;
    struct secret *secret;

    assert_int_equal(put(f->file, "0123456789", false), COFFER_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(chmod(f->file, i == 0 ? 0640 : 0604), 0);
        assert_int_equal(read_secret(f->file, 32, &secret), COFFER_E_REFUSED);
        assert_null(secret);
    }
    assert_int_equal(chmod(f->file, 0600), 0);
    assert_int_equal(read_secret(f->file, 10, &secret), COFFER_OK);
    assert_true(bytes_equal(secret_expose(secret), bytes_str("0123456789")));
    secret_free(secret);
    assert_int_equal(read_secret(f->file, 9, &secret), COFFER_E_LIMIT);
    assert_int_equal(read_secret("/dev/zero", 32, &secret), COFFER_E_REFUSED);
    assert_int_equal(read_secret(f->path, 32, &secret), COFFER_E_REFUSED);
    assert_int_equal(truncate(f->file, 0), 0);
    assert_int_equal(read_secret(f->file, 32, &secret), COFFER_E_FORMAT);
    assert_int_equal(unlink(f->file), 0);
    assert_int_equal(read_secret(f->file, 32, &secret), COFFER_E_NOTFOUND);
    assert_int_equal(secret_live_count(), 0);
}

/* A process holds the lock until it unlocks or dies; a waiter gets it then. */
static void
a_lock_excludes_others_and_dies_with_its_holder(void **state)
{
    const struct folder *f = *state;
    struct coffer_error err = {0};
    int ready[2], hold[2], handle = -1;
    char byte;
    pid_t child;

    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(hold), 0);
    child = fork();
    if (child == 0) {
        (void)close(hold[1]);
        if (os_real.lock(&os_real, f->file, 0, &handle, NULL) == COFFER_OK)
            (void)!write(ready[1], "x", 1);
        (void)!read(hold[0], &byte,
                    1); /* until the parent closes its end; then exit without unlock */
        _exit(0);
    }
    (void)close(hold[0]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(os_real.lock(&os_real, f->file, 20, &handle, &err), COFFER_E_CONFLICT);
    assert_non_null(strstr(err.message, f->file));
    (void)close(hold[1]);
    assert_int_equal(os_real.lock(&os_real, f->file, 5000, &handle, NULL), COFFER_OK);
    assert_int_equal(waitpid(child, NULL, 0), child);
    os_real.unlock(&os_real, handle);
    assert_int_equal(os_real.lock(&os_real, f->file, 0, &handle, NULL), COFFER_OK);
    os_real.unlock(&os_real, handle);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

static void
a_stamp_changes_with_the_file(void **state)
{
    const struct folder *f = *state;
    uint64_t none = 1, first, again, replaced, longer;

    assert_int_equal(os_real.stamp_file(&os_real, f->file, &none, NULL), COFFER_OK);
    assert_true(none == 0);
    assert_int_equal(put(f->file, "aaa", false), COFFER_OK);
    assert_int_equal(os_real.stamp_file(&os_real, f->file, &first, NULL), COFFER_OK);
    assert_int_equal(os_real.stamp_file(&os_real, f->file, &again, NULL), COFFER_OK);
    assert_true(first != 0 && first == again);
    assert_int_equal(put(f->file, "aab", false), COFFER_OK); /* same length, same tick perhaps */
    assert_int_equal(os_real.stamp_file(&os_real, f->file, &replaced, NULL), COFFER_OK);
    assert_true(replaced != first);
    assert_int_equal(os_real.append_file(&os_real, f->file, bytes_str("b"), 0600, NULL), COFFER_OK);
    assert_int_equal(os_real.stamp_file(&os_real, f->file, &longer, NULL), COFFER_OK);
    assert_true(longer != replaced);
}

static void
removing_twice_and_making_a_folder_twice_is_fine(void **state)
{
    const struct folder *f = *state;
    char folder[100], moved[100];

    (void)snprintf(folder, sizeof folder, "%s/sub", f->path);
    (void)snprintf(moved, sizeof moved, "%s/moved", f->path);
    assert_int_equal(os_real.make_folder(&os_real, folder, 0700, NULL), COFFER_OK);
    assert_int_equal(os_real.make_folder(&os_real, folder, 0700, NULL), COFFER_OK);
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(put(f->file, "x", false), COFFER_OK);
    assert_int_equal(os_real.rename_file(&os_real, f->file, moved, NULL), COFFER_OK);
    assert_int_equal(os_real.rename_file(&os_real, f->file, moved, NULL), COFFER_E_NOTFOUND);
    assert_content(moved, "x");
    assert_int_equal(os_real.remove_file(&os_real, moved, NULL), COFFER_OK);
    assert_int_equal(os_real.remove_file(&os_real, moved, NULL), COFFER_OK);
}

/* A file where a folder should be is no folder. */
static void
a_file_in_the_place_of_a_folder_is_an_error(void **state)
{
    const struct folder *f = *state;

    assert_int_equal(put(f->file, "x", false), COFFER_OK);
    assert_int_not_equal(os_real.make_folder(&os_real, f->file, 0700, NULL), COFFER_OK);
    assert_content(f->file, "x");
}

static void
clocks_go_on_and_random_bytes_differ(void **state)
{
    int64_t before = os_real.monotonic_ms(&os_real);
    uint8_t a[300] = {0}, b[300] = {0};

    os_real.sleep_ms(&os_real, 3);
    assert_true(os_real.monotonic_ms(&os_real) - before >= 2);
    assert_true(os_real.now_us(&os_real) > INT64_C(1700000000000000));
    assert_int_equal(os_real.random(&os_real, a, sizeof a, NULL), COFFER_OK);
    assert_int_equal(os_real.random(&os_real, b, sizeof b, NULL), COFFER_OK);
    assert_memory_not_equal(a, b, sizeof a);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_replaced_whole_with_its_mode),
        TEST(exclusive_never_overwrites),
        TEST(a_write_that_fails_leaves_the_old_file_and_nothing_else),
        TEST(an_append_that_fails_leaves_what_was_there),
        TEST(reading_says_missing_too_large_and_folder_apart),
        TEST(a_secret_is_read_only_where_nobody_else_can),
        TEST(a_lock_excludes_others_and_dies_with_its_holder),
        TEST(a_stamp_changes_with_the_file),
        TEST(removing_twice_and_making_a_folder_twice_is_fine),
        TEST(a_file_in_the_place_of_a_folder_is_an_error),
        TEST(clocks_go_on_and_random_bytes_differ),
    };

    return cmocka_run_group_tests_name("base: the operating system", tests, NULL, NULL);
}
