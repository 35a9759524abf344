/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that cofferd starts, with real ones of the system. */
#include "base/os.h"
#include "deploy/process.h"
#include "support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/test_process.XXXXXX";

static void
shell(struct process_spec *spec, const char *script)
{
    memset(spec, 0, sizeof *spec);
    process_spec_clear(spec);
    assert_int_equal(process_arg(spec, NULL, "/bin/sh"), COFFER_OK);
    assert_int_equal(process_arg(spec, NULL, "-c"), COFFER_OK);
    assert_int_equal(process_arg(spec, NULL, "%s", script), COFFER_OK);
}

static void
path_in(char out[256], const char *name)
{
    (void)snprintf(out, 256, "%s/%s", folder, name);
}

static void
input_goes_in_and_output_comes_out(void **state)
{
    struct coffer_error err = {0};
    struct process_spec spec;
    struct buf out;

    buf_init(&out, 1 << 20);
    shell(&spec, "tr a-z A-Z");
    assert_int_equal(process_run(&spec, bytes_str("hello"), &out, NULL, NULL, &err), COFFER_OK);
    assert_string_equal(buf_cstr(&out), "HELLO");
    buf_wipe(&out);
    process_spec_clear(&spec);
}

/* More than any pipe holds, both ways at once. */
static void
large_input_and_output_do_not_block_each_other(void **state)
{
    struct process_spec spec;
    struct buf out, in;

    buf_init(&out, 4 << 20);
    buf_init(&in, 4 << 20);
    for (unsigned i = 0; i < 300000; i++)
        buf_str(&in, "0123456789");
    shell(&spec, "cat; echo done >&2");
    assert_int_equal(process_run(&spec, buf_view(&in), &out, NULL, NULL, NULL), COFFER_OK);
    assert_int_equal(out.len, in.len);
    assert_memory_equal(out.ptr, in.ptr, in.len);
    buf_wipe(&out);
    buf_wipe(&in);
    process_spec_clear(&spec);
}

static void
a_program_that_reads_nothing_ends_nobody(void **state)
{
    struct process_spec spec;
    struct buf in;

    buf_init(&in, 4 << 20);
    for (unsigned i = 0; i < 100000; i++)
        buf_str(&in, "0123456789");
    shell(&spec, "exec 0<&-; exit 0");
    assert_int_equal(process_run(&spec, buf_view(&in), NULL, NULL, NULL, NULL), COFFER_OK);
    buf_wipe(&in);
    process_spec_clear(&spec);
}

static void
a_failure_says_program_code_and_its_last_words(void **state)
{
    struct coffer_error err = {0};
    struct process_spec spec;

    shell(&spec, "i=0; while [ $i -lt 900 ]; do echo chatter $i >&2; i=$((i+1)); done; "
                 "echo the disk is full >&2; exit 3");
    assert_int_equal(process_run(&spec, bytes_of(NULL, 0), NULL, NULL, NULL, &err), COFFER_E_IO);
    assert_non_null(strstr(err.message, "sh failed with exit code 3"));
    assert_non_null(strstr(err.message, "the disk is full"));
    process_spec_clear(&spec);
    shell(&spec, "kill -9 $$");
    assert_int_equal(process_run(&spec, bytes_of(NULL, 0), NULL, NULL, NULL, &err), COFFER_E_IO);
    assert_non_null(strstr(err.message, "signal 9"));
    process_spec_clear(&spec);
}

static void
a_missing_program_is_named(void **state)
{
    struct coffer_error err = {0};
    struct process_spec spec = {0};

    process_spec_clear(&spec);
    assert_int_equal(process_arg(&spec, &err, "/nowhere/initdb"), COFFER_OK);
    assert_int_equal(process_run(&spec, bytes_of(NULL, 0), NULL, NULL, NULL, &err),
                     COFFER_E_NOTFOUND);
    assert_non_null(strstr(err.message, "/nowhere/initdb"));
    process_spec_clear(&spec);
}

static void
the_child_gets_a_clean_environment_no_descriptors_and_no_core(void **state)
{
    struct process_spec spec;
    struct buf out;
    int open_here = open("/etc/passwd", O_RDONLY); /* without O_CLOEXEC, as a library might */

    assert_true(open_here > 2);
    setenv("COFFER_TEST_LEAK", "secret", 1);
    buf_init(&out, 65536);
    shell(&spec, "env; ls /proc/self/fd; ulimit -c; umask; cat /proc/self/stat | cut -d' ' -f6; "
                 "echo $$; pwd");
    assert_int_equal(process_env(&spec, NULL, "GIVEN=%d", 7), COFFER_OK);
    (void)snprintf(spec.cwd, sizeof spec.cwd, "/usr");
    assert_int_equal(process_run(&spec, bytes_of(NULL, 0), &out, NULL, NULL, NULL), COFFER_OK);
    assert_null(strstr(buf_cstr(&out), "COFFER_TEST_LEAK"));
    assert_non_null(strstr(buf_cstr(&out), "GIVEN=7"));
    assert_non_null(strstr(buf_cstr(&out), "TZ=UTC"));
    assert_non_null(strstr(buf_cstr(&out), "\n0\n1\n2\n3\n0\n0077\n")); /* 3 is ls's own */
    assert_non_null(strstr(buf_cstr(&out), "/usr\n"));
    close(open_here);
    unsetenv("COFFER_TEST_LEAK");
    buf_wipe(&out);
    process_spec_clear(&spec);
}

static bool
at_once(void *arg)
{
    return true;
}

static void
what_is_stopped_ends_soon(void **state)
{
    int64_t began = os_real.monotonic_ms(&os_real);
    struct process_spec spec;

    shell(&spec, "exec sleep 60");
    assert_int_equal(process_run(&spec, bytes_of(NULL, 0), NULL, at_once, NULL, NULL),
                     COFFER_E_CANCELLED);
    assert_true(os_real.monotonic_ms(&os_real) - began < 20000);
    process_spec_clear(&spec);
}

/* A program that leaves somebody behind who holds its pipes. */
static void
somebody_left_behind_is_not_waited_for(void **state)
{
    int64_t began = os_real.monotonic_ms(&os_real);
    struct process_spec spec;
    struct buf out;

    buf_init(&out, 65536);
    shell(&spec, "sleep 15 & echo started");
    assert_int_equal(process_run(&spec, bytes_of(NULL, 0), &out, NULL, NULL, NULL), COFFER_OK);
    assert_string_equal(buf_cstr(&out), "started\n");
    assert_true(os_real.monotonic_ms(&os_real) - began < 10000);
    buf_wipe(&out);
    process_spec_clear(&spec);
}

static void
a_stream_gives_what_the_program_writes_and_its_error(void **state)
{
    struct process_stream *stream;
    struct coffer_error err = {0};
    struct process_spec spec;
    char room[4096];
    size_t total = 0;
    ssize_t n;
    int fd;

    shell(&spec, "head -c 300000 /dev/zero; echo half a backup >&2; exit 1");
    assert_int_equal(process_stream_begin(&spec, true, &fd, &stream, &err), COFFER_OK);
    while ((n = read(fd, room, sizeof room)) > 0)
        total += (size_t)n;
    assert_int_equal(total, 300000);
    assert_int_equal(process_stream_end(stream, false, &err), COFFER_E_IO);
    assert_non_null(strstr(err.message, "half a backup"));
    process_spec_clear(&spec);
}

static void
a_stream_takes_what_is_written_and_can_be_ended(void **state)
{
    char path[256], script[400];
    struct process_stream *stream;
    struct process_spec spec;
    struct stat st;
    int fd;

    path_in(path, "taken");
    (void)snprintf(script, sizeof script, "cat > %s", path);
    shell(&spec, script);
    assert_int_equal(process_stream_begin(&spec, false, &fd, &stream, NULL), COFFER_OK);
    assert_int_equal(write(fd, "12345", 5), 5);
    assert_int_equal(process_stream_end(stream, false, NULL), COFFER_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 5);
    process_spec_clear(&spec);
    shell(&spec, "exec sleep 60");
    assert_int_equal(process_stream_begin(&spec, true, &fd, &stream, NULL), COFFER_OK);
    assert_int_equal(process_stream_end(stream, true, NULL), COFFER_OK);
    process_spec_clear(&spec);
}

static void
a_server_is_found_watched_and_stopped(void **state)
{
    char log[256], pid_file[256];
    struct process_id id, found;
    struct process_spec spec;
    struct pollfd end;
    struct stat st;

    path_in(log, "log");
    path_in(pid_file, "pid");
    shell(&spec, "echo serving; exec sleep 60");
    assert_int_equal(process_start(&spec, log, pid_file, &id, NULL), COFFER_OK);
    assert_int_equal(process_find(pid_file, &found, NULL), COFFER_OK);
    assert_int_equal(found.pid, id.pid);
    assert_true(process_alive(&found));
    end = (struct pollfd){process_watch(&found), POLLIN, 0};
    assert_true(end.fd >= 0);
    assert_int_equal(poll(&end, 1, 0), 0);
    while (stat(log, &st) != 0 || st.st_size == 0) /* until it runs: before that it is in our session still */
        os_real.sleep_ms(&os_real, 5);
    assert_int_equal(getsid(id.pid), id.pid);
    assert_int_equal(process_stop(&id, SIGTERM, 5000, NULL), COFFER_OK);
    assert_int_equal(poll(&end, 1, 1000), 1);
    close(end.fd);
    assert_false(process_alive(&id));
    assert_int_equal(process_watch(&id), -1);
    assert_int_equal(process_find(pid_file, &found, NULL), COFFER_E_NOTFOUND);
    assert_int_equal(process_stop(&id, SIGTERM, 5000, NULL), COFFER_OK);
    assert_int_equal(stat(log, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640 & ~0022);
    process_spec_clear(&spec);
}

static void
a_server_that_ignores_its_signal_is_killed(void **state)
{
    char log[256], pid_file[256];
    struct process_spec spec;
    struct process_id id;
    struct stat st;

    path_in(log, "deaf");
    path_in(pid_file, "deaf.pid");
    shell(&spec, "trap '' TERM; echo ready; while :; do sleep 1; done");
    assert_int_equal(process_start(&spec, log, pid_file, &id, NULL), COFFER_OK);
    while (stat(log, &st) != 0 || st.st_size == 0)
        os_real.sleep_ms(&os_real, 5);
    assert_int_equal(process_stop(&id, SIGTERM, 100, NULL), COFFER_OK);
    assert_false(process_alive(&id));
    process_spec_clear(&spec);
}

/* The number of a process that is another one, or was of another boot. */
static void
another_process_of_the_same_number_is_not_taken_for_it(void **state)
{
    char path[256], text[128];
    struct process_id id;

    path_in(path, "stale.pid");
    (void)snprintf(text, sizeof text, "%d 1 00000000-0000-0000-0000-000000000000\n", (int)getpid());
    assert_int_equal(os_real.write_file(&os_real, path, bytes_str(text), 0644, false, NULL),
                     COFFER_OK);
    assert_int_equal(process_find(path, &id, NULL), COFFER_E_NOTFOUND);
    assert_int_equal(os_real.write_file(&os_real, path, bytes_str("rubbish"), 0644, false, NULL),
                     COFFER_OK);
    assert_int_equal(process_find(path, &id, NULL), COFFER_E_NOTFOUND);
}

/* Nobody would find a server whose id could not be written: it does not run. */
static void
without_its_pid_file_a_server_does_not_run(void **state)
{
    char log[256], script[400], mark[256];
    struct process_spec spec;
    struct process_id id;

    path_in(log, "never");
    path_in(mark, "ran");
    (void)snprintf(script, sizeof script, "echo > %s", mark);
    shell(&spec, script);
    assert_int_not_equal(process_start(&spec, log, "/nowhere/at/all.pid", &id, NULL), COFFER_OK);
    assert_int_equal(access(mark, F_OK), -1);
    process_spec_clear(&spec);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input_goes_in_and_output_comes_out),
        cmocka_unit_test(large_input_and_output_do_not_block_each_other),
        cmocka_unit_test(a_program_that_reads_nothing_ends_nobody),
        cmocka_unit_test(a_failure_says_program_code_and_its_last_words),
        cmocka_unit_test(a_missing_program_is_named),
        cmocka_unit_test(the_child_gets_a_clean_environment_no_descriptors_and_no_core),
        cmocka_unit_test(what_is_stopped_ends_soon),
        cmocka_unit_test(somebody_left_behind_is_not_waited_for),
        cmocka_unit_test(a_stream_gives_what_the_program_writes_and_its_error),
        cmocka_unit_test(a_stream_takes_what_is_written_and_can_be_ended),
        cmocka_unit_test(a_server_is_found_watched_and_stopped),
        cmocka_unit_test(a_server_that_ignores_its_signal_is_killed),
        cmocka_unit_test(another_process_of_the_same_number_is_not_taken_for_it),
        cmocka_unit_test(without_its_pid_file_a_server_does_not_run),
    };
    char command[64];
    int failed;

    if (mkdtemp(folder) == NULL)
        return 1;
    (void)umask(022);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) != 0 || failed;
}
