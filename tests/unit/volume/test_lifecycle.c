/* SPDX-License-Identifier: Apache-2.0 */
/* A volume's key from birth to escrow, not mounted: every step killed and resumed, plans, aborts, refusals. */
#include "lifecycle_bench.h"

#include "ledger/guard.h"
#include "rotate/rotate.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct volume_options PLAIN_NAMES = {.key_bits = 256};
static const struct volume_options SMALL_SEALED = {.key_bits = 192, .encrypt_names = true};

static struct volume_rotate_options
wanted(enum volume_work work)
{
    return (struct volume_rotate_options){.work = work, .encrypt_names = -1, .no_wait = true};
}

static int
rotate(struct bench *b, const struct volume_rotate_options *options, struct coffer_error *err)
{
    b->said_count = 0;
    return volume_rotate(&b->env, b->lower, options, err);
}

static void
must_rotate(struct bench *b, const struct volume_rotate_options *options)
{
    struct coffer_error err = {0};

    bench_must(b, rotate(b, options, &err), &err);
}

/* ---- birth ---- */

static void
a_new_volume_is_in_the_keyring_and_opens(void **state)
{
    struct bench *b = *state;
    struct keyring *kr;
    const struct keyring_key *key;
    struct volume_setup setup;
    char name[128];

    bench_fill(b, &SMALL_SEALED);
    bench_load(b, &setup);
    kr = bench_keyring(b);
    key = keyring_active(kr, KEY_VOLUME, setup.line);
    assert_non_null(key);
    assert_int_equal(key->database_count, 1);
    assert_true(uuid_equal(&key->databases[0], &setup.id));
    snprintf(name, sizeof name, "volume:%s", b->lower);
    assert_string_equal(keyring_database(kr, &setup.id)->name, name);
    assert_string_equal(keyring_database(kr, &setup.id)->engine, "ecryptfs");
    keyring_free(kr);
    volume_setup_close(&setup);
    bench_settled(b, 192, true);
}

static void
a_folder_with_entries_is_refused_and_a_volume_exists(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};
    char path[160];
    int fd;

    snprintf(path, sizeof path, "%s/something", b->lower);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(volume_create(&b->env, b->lower, &PLAIN_NAMES, &err), COFFER_E_REFUSED);
    assert_int_equal(bench_key(b, KEY_ACTIVE), 0);
    assert_int_equal(unlink(path), 0);
    bench_must(b, volume_create(&b->env, b->lower, &PLAIN_NAMES, &err), &err);
    assert_int_equal(volume_create(&b->env, b->lower, &PLAIN_NAMES, &err), COFFER_E_EXISTS);
}

/* Run in a child that dies at the n-th call; false when it came to its end. */
static bool
dies_at(struct bench *b, unsigned n, int (*run)(struct bench *b))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        bench_die_at(n);
        _exit(run(b) == COFFER_OK ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 9));
    return WEXITSTATUS(status) == 9;
}

static int
run_create(struct bench *b)
{
    return volume_create(&b->env, b->lower, &PLAIN_NAMES, NULL);
}

static void
a_create_killed_at_any_call_is_taken_up(void **state)
{
    struct bench *b = *state;
    unsigned n;

    for (n = 1; dies_at(b, n, run_create); n++) {
        struct coffer_error err = {0};
        struct keyring *kr;
        char command[160];
        int rc = volume_create(&b->env, b->lower, &PLAIN_NAMES, &err);

        if (rc != COFFER_E_EXISTS) /* the record was its last act */
            bench_must(b, rc, &err);
        kr = bench_keyring(b);
        assert_int_equal(keyring_database_count(kr),
                         1); /* one volume, however often it was begun */
        keyring_free(kr);
        snprintf(command, sizeof command, "rm %s/" VOLUME_RECORD, b->lower);
        assert_int_equal(system(command), 0);
    }
    assert_true(n > 4);
}

/* ---- change ---- */

static void
a_rewrap_moves_headers_and_nothing_else(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options = wanted(VOLUME_REWRAP);
    char path[400], other[400];
    struct stat before, after;
    uint32_t first;

    bench_fill(b, &PLAIN_NAMES);
    first = bench_key(b, KEY_ACTIVE);
    bench_lower_of(b, "one", path);
    assert_int_equal(stat(path, &before), 0);
    must_rotate(b, &options);
    bench_settled(b, 256, false);
    assert_int_not_equal(bench_key(b, KEY_ACTIVE), first);
    assert_int_equal(bench_key(b, KEY_ESCROWED), first);
    bench_lower_of(b, "one", other);
    assert_string_equal(path, other);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
}

static void
a_reencryption_writes_every_file_anew(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options = wanted(VOLUME_REENCRYPT);
    char path[400], old[400];
    struct stat before, after;

    bench_fill(b, &SMALL_SEALED);
    bench_lower_of(b, "one", old);
    assert_int_equal(stat(old, &before), 0);
    options.key_bits = 256;
    must_rotate(b, &options);
    bench_settled(b, 256, true);
    bench_lower_of(b, "one", path);
    assert_string_not_equal(path, old); /* names are under the volume's key, too */
    assert_int_equal(stat(path, &after), 0);
    assert_int_not_equal(before.st_ino, after.st_ino);
}

static void
names_become_encrypted_and_plain_again(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options = wanted(VOLUME_REWRAP);
    char path[400];

    bench_fill(b, &PLAIN_NAMES);
    options.encrypt_names = 1;
    must_rotate(b, &options);
    bench_settled(b, 256, true);
    snprintf(path, sizeof path, "%s/one", b->lower);
    assert_int_not_equal(access(path, F_OK), 0);
    options.encrypt_names = 0;
    must_rotate(b, &options);
    bench_settled(b, 256, false);
    assert_int_equal(access(path, F_OK), 0);
}

static void
another_cipher_needs_a_reencryption(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options = wanted(VOLUME_REWRAP);
    struct coffer_error err = {0};

    bench_fill(b, &PLAIN_NAMES);
    options.key_bits = 192;
    assert_int_equal(rotate(b, &options, &err), COFFER_E_MISUSE);
    options = wanted(0);
    assert_int_equal(rotate(b, &options, &err), COFFER_E_MISUSE);
    assert_int_equal(bench_key(b, KEY_STAGED), 0);
    bench_settled(b, 256, false);
}

static void
a_plan_counts_and_changes_nothing(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options = wanted(VOLUME_REENCRYPT);
    struct keyring *kr;
    uint64_t epoch;

    bench_fill(b, &PLAIN_NAMES);
    kr = bench_keyring(b);
    epoch = keyring_epoch(kr);
    keyring_free(kr);
    options.plan_only = true;
    must_rotate(b, &options);
    assert_true(bench_said(b, "nothing was changed"));
    assert_true(bench_said(b, "every file written anew"));
    kr = bench_keyring(b);
    assert_int_equal(keyring_epoch(kr), epoch);
    keyring_free(kr);
    bench_settled(b, 256, false);
}

/* ---- killed and resumed ---- */

static int
run_reencrypt(struct bench *b)
{
    struct volume_rotate_options options = wanted(VOLUME_REENCRYPT);

    return volume_rotate(&b->env, b->lower, &options, NULL);
}

static void
a_rotation_killed_at_any_call_is_ended_by_the_same_command(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options = wanted(VOLUME_REENCRYPT);
    unsigned n;

    bench_fill(b, &SMALL_SEALED);
    for (n = 1; dies_at(b, n, run_reencrypt); n++) {
        if (bench_key(b, KEY_STAGED) != 0 || bench_key(b, KEY_DRAINING) != 0 ||
            bench_key(b, KEY_FENCED) != 0 || bench_key(b, KEY_PROVEN) != 0) {
            uint32_t to = bench_key(b, KEY_STAGED);

            must_rotate(b, &options);
            if (to != 0) /* taken up, not staged once more */
                assert_int_equal(bench_key(b, KEY_ACTIVE), to);
        } else {
            must_rotate(b, &options);
        }
        bench_settled(b, 192, true);
    }
    assert_true(n > 25);
    bench_settled(b, 192, true);
}

static int
run_abort(struct bench *b)
{
    struct volume_rotate_options options = wanted(0);

    options.abort = true;
    return volume_rotate(&b->env, b->lower, &options, NULL);
}

/* Stop the walk where `asked` comes to `at`. */
static void
stop_at(struct bench *b, unsigned at)
{
    b->asked = 0;
    b->stop_at = at;
}

static void
a_rotation_stopped_anywhere_goes_on(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options = wanted(VOLUME_REENCRYPT);
    struct coffer_error err = {0};
    unsigned at;
    int rc;

    bench_fill(b, &SMALL_SEALED);
    for (at = 1;; at += 3) {
        stop_at(b, at);
        rc = rotate(b, &options, &err);
        stop_at(b, 0);
        if (rc == COFFER_OK)
            break;
        assert_int_equal(rc, COFFER_E_CANCELLED);
        must_rotate(b, &options);
        bench_settled(b, 192, true);
    }
    assert_true(at > 20);
}

/* ---- abort ---- */

static void
an_abort_goes_back_to_the_former_key_and_form(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options = wanted(VOLUME_REENCRYPT);
    struct coffer_error err = {0};
    uint32_t first;
    unsigned at;

    bench_fill(b, &PLAIN_NAMES);
    first = bench_key(b, KEY_ACTIVE);
    for (at = 1; at < 40; at += 9) {
        options = wanted(VOLUME_REENCRYPT);
        options.key_bits = 128;
        options.encrypt_names = 1;
        stop_at(b, at);
        assert_int_equal(rotate(b, &options, &err), COFFER_E_CANCELLED);
        stop_at(b, 0);
        options = wanted(0);
        options.abort = true;
        must_rotate(b, &options);
        bench_settled(b, 256, false);
        assert_int_equal(bench_key(b, KEY_ACTIVE), first);
    }
    assert_int_equal(rotate(b, &options, &err), COFFER_E_NOTFOUND); /* none is open */
}

static void
an_abort_killed_at_any_call_is_ended_by_either_command(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options;
    struct coffer_error err = {0};
    struct volume_setup setup;
    uint32_t first;
    bool died = true, aborting, open;
    unsigned n;

    bench_fill(b, &PLAIN_NAMES);
    first = bench_key(b, KEY_ACTIVE);
    for (n = 1; died; n++) {
        options = wanted(VOLUME_REWRAP);
        options.encrypt_names = 1;
        stop_at(b, 14);
        assert_int_equal(rotate(b, &options, &err), COFFER_E_CANCELLED);
        stop_at(b, 0);
        died = dies_at(b, n, run_abort);
        if (died) {
            /* The abort had taken effect if the record says so; before, only --abort goes back. */
            bench_load(b, &setup);
            aborting = setup.rotation.work == 0 || setup.rotation.reversed;
            open = setup.rotation.work != 0;
            volume_setup_close(&setup);
            options = wanted(0);
            options.abort = !aborting || (n % 2 == 0 && bench_key(b, KEY_DRAINING) != 0);
            if (open)
                must_rotate(b, &options);
        }
        bench_settled(b, 256, false);
        assert_int_equal(bench_key(b, KEY_ACTIVE), first);
    }
    assert_true(n > 20);
}

static void
an_abort_never_goes_back_to_a_key_that_leaked(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options = wanted(VOLUME_REENCRYPT);
    struct coffer_error err = {0};
    struct keyring *kr;
    uint32_t first, second;

    bench_fill(b, &PLAIN_NAMES);
    first = bench_key(b, KEY_ACTIVE);
    stop_at(b, 14);
    assert_int_equal(rotate(b, &options, &err), COFFER_E_CANCELLED);
    stop_at(b, 0);
    second = bench_key(b, KEY_ACTIVE);
    assert_int_not_equal(first, second);
    kr = bench_keyring(b);
    bench_must(b, keyring_key_compromise(kr, first, &err), &err);
    bench_must(b, b->store->commit(b->store, kr, &err), &err);
    keyring_free(kr);
    options = wanted(0);
    options.abort = true;
    must_rotate(b, &options);
    bench_settled(b, 256, false);
    assert_int_not_equal(bench_key(b, KEY_ACTIVE), first);
    assert_int_not_equal(bench_key(b, KEY_ACTIVE), second);
}

/* ---- refusals ---- */

static void
an_open_rotation_is_not_turned_into_another_one(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options = wanted(VOLUME_REENCRYPT), other = wanted(VOLUME_REWRAP);
    struct coffer_error err = {0};

    bench_fill(b, &PLAIN_NAMES);
    stop_at(b, 14);
    assert_int_equal(rotate(b, &options, &err), COFFER_E_CANCELLED);
    stop_at(b, 0);
    assert_int_equal(rotate(b, &other, &err), COFFER_E_REFUSED);
    other = wanted(VOLUME_REENCRYPT);
    other.key_bits = 192;
    assert_int_equal(rotate(b, &other, &err), COFFER_E_REFUSED);
    other = wanted(0); /* whatever is open */
    must_rotate(b, &other);
    bench_settled(b, 256, false);
}

static void
a_damaged_file_forbids_the_end_until_it_is_gone(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options = wanted(VOLUME_REWRAP);
    struct coffer_error err = {0};
    char path[400], kept[400], command[900];
    uint32_t first;
    int fd;

    bench_fill(b, &PLAIN_NAMES);
    first = bench_key(b, KEY_ACTIVE);
    bench_lower_of(b, "page", path);
    snprintf(kept, sizeof kept, "%s.kept", b->base);
    snprintf(command, sizeof command, "cp -p %s %s", path, kept);
    assert_int_equal(system(command), 0);
    fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "00000000000000000000000000000000", 32, 8),
                     32); /* the marker and what follows */
    close(fd);
    options.plan_only = true;
    assert_int_equal(rotate(b, &options, &err), COFFER_E_REFUSED);
    assert_non_null(strstr(err.message, "page"));
    options.plan_only = false;
    assert_int_equal(rotate(b, &options, &err), COFFER_E_REFUSED);
    assert_non_null(strstr(err.message, "page"));
    assert_int_equal(bench_key(b, KEY_DRAINING), first); /* it stays in the keyring */
    snprintf(command, sizeof command, "mv %s %s", kept,
             path); /* restored as it was, under the former key */
    assert_int_equal(system(command), 0);
    must_rotate(b, &options);
    bench_settled(b, 256, false);
}

/* Between walk and proof somebody puts a file of the former key there: found, and moved. */
struct intruder {
    struct bench *b;
    char kept[400], path[400];
    bool done;
};
static struct intruder intruder;

static void
intrude(void *arg, const char *step, const char *text)
{
    char command[900];

    if (strcmp(step, "fence") != 0 || intruder.done)
        return;
    intruder.done = true;
    snprintf(command, sizeof command, "cp -p %s %s", intruder.kept, intruder.path);
    assert_int_equal(system(command), 0);
}

static void
a_proof_that_finds_a_file_reopens_the_key_and_moves_it(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options = wanted(VOLUME_REWRAP);
    struct coffer_error err = {0};
    struct volume_env env = b->env;
    char command[900];

    bench_fill(b, &PLAIN_NAMES);
    intruder = (struct intruder){.b = b};
    bench_lower_of(b, "page", intruder.path);
    snprintf(intruder.kept, sizeof intruder.kept, "%s.kept", b->base);
    snprintf(command, sizeof command, "cp -p %s %s", intruder.path, intruder.kept);
    assert_int_equal(system(command), 0);
    env.say = intrude;
    bench_must(b, volume_rotate(&env, b->lower, &options, &err), &err);
    assert_true(intruder.done);
    bench_settled(b, 256, false);
    assert_int_equal(unlink(intruder.kept), 0);
}

static void
one_command_at_a_time(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options = wanted(VOLUME_REWRAP);
    struct coffer_error err = {0};
    int lock;

    bench_fill(b, &PLAIN_NAMES);
    bench_must(b, volume_lower_lock(b->lower, &lock, &err), &err);
    assert_int_equal(rotate(b, &options, &err), COFFER_E_NOTYET);
    close(lock);
    must_rotate(b, &options);
}

/* ---- proof and destruction ---- */

static void
a_proof_is_refused_while_a_file_is_under_the_key(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options = wanted(VOLUME_REWRAP);
    struct coffer_error err = {0};
    struct volume_count count;
    struct buf certificate;
    uint32_t first, second;

    bench_fill(b, &PLAIN_NAMES);
    first = bench_key(b, KEY_ACTIVE);
    buf_init(&certificate, 1u << 20);
    assert_int_equal(volume_prove(&b->env, b->lower, first, &count, &certificate, &err),
                     COFFER_E_REFUSED);
    assert_int_equal(volume_prove(&b->env, b->lower, 0x12345678, &count, &certificate, &err),
                     COFFER_E_KEY);
    stop_at(b, 8); /* active already, walk just begun */
    assert_int_equal(rotate(b, &options, &err), COFFER_E_CANCELLED);
    stop_at(b, 0);
    assert_int_equal(bench_key(b, KEY_DRAINING), first);
    assert_int_equal(volume_prove(&b->env, b->lower, first, &count, &certificate, &err),
                     COFFER_E_REFUSED);
    assert_int_equal(certificate.len, 0);
    must_rotate(b, &options);
    second = bench_key(b, KEY_ACTIVE);
    bench_must(b, volume_prove(&b->env, b->lower, first, &count, &certificate, &err),
               &err); /* from escrow */
    assert_true(certificate.len > 0);
    assert_int_equal(volume_prove(&b->env, b->lower, second, &count, &certificate, &err),
                     COFFER_E_REFUSED);
    buf_wipe(&certificate);
}

static int
destroy(struct bench *b, uint32_t key, struct coffer_error *err)
{
    struct rotate_env env = {.store = b->store, .os = &os_real, .who = "tester"};

    return rotate_destroy(&env, key, NULL, 0, err);
}

static void
a_key_is_destroyed_when_no_backup_needs_it_any_more(void **state)
{
    struct bench *b = *state;
    struct volume_rotate_options options = wanted(VOLUME_REWRAP);
    struct coffer_error err = {0};
    struct keyring_backup backup = {.label = "monday"};
    struct keyring_database database;
    struct volume_setup setup;
    struct keyring *kr;
    uint32_t first;

    bench_fill(b, &PLAIN_NAMES);
    first = bench_key(b, KEY_ACTIVE);
    assert_int_equal(destroy(b, first, &err), COFFER_E_REFUSED); /* it is in use */
    bench_load(b, &setup);
    kr = bench_keyring(b);
    backup.id.b[0] = 1;
    backup.database = setup.id;
    backup.start_us = backup.end_us = os_real.now_us(&os_real);
    bench_must(b, keyring_backup_put(kr, &backup, &err), &err);
    database = *keyring_database(kr, &setup.id);
    database.keep_days = 0;
    bench_must(b, keyring_database_put(kr, &database, &err), &err);
    bench_must(b, b->store->commit(b->store, kr, &err), &err);
    keyring_free(kr);
    volume_setup_close(&setup);

    must_rotate(b, &options);
    assert_int_equal(destroy(b, first, &err), COFFER_E_REFUSED);
    assert_non_null(strstr(err.message, "monday"));
    kr = bench_keyring(b);
    backup.expired_us = os_real.now_us(&os_real);
    bench_must(b, keyring_backup_put(kr, &backup, &err), &err);
    bench_must(b, b->store->commit(b->store, kr, &err), &err);
    keyring_free(kr);
    bench_must(b, destroy(b, first, &err), &err);
    assert_int_equal(bench_key(b, KEY_DESTROYED), first);
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        WITH_BENCH(a_new_volume_is_in_the_keyring_and_opens),
        WITH_BENCH(a_folder_with_entries_is_refused_and_a_volume_exists),
        WITH_BENCH(a_create_killed_at_any_call_is_taken_up),
        WITH_BENCH(a_rewrap_moves_headers_and_nothing_else),
        WITH_BENCH(a_reencryption_writes_every_file_anew),
        WITH_BENCH(names_become_encrypted_and_plain_again),
        WITH_BENCH(another_cipher_needs_a_reencryption),
        WITH_BENCH(a_plan_counts_and_changes_nothing),
        WITH_BENCH(a_rotation_killed_at_any_call_is_ended_by_the_same_command),
        WITH_BENCH(a_rotation_stopped_anywhere_goes_on),
        WITH_BENCH(an_abort_goes_back_to_the_former_key_and_form),
        WITH_BENCH(an_abort_killed_at_any_call_is_ended_by_either_command),
        WITH_BENCH(an_abort_never_goes_back_to_a_key_that_leaked),
        WITH_BENCH(an_open_rotation_is_not_turned_into_another_one),
        WITH_BENCH(a_damaged_file_forbids_the_end_until_it_is_gone),
        WITH_BENCH(a_proof_that_finds_a_file_reopens_the_key_and_moves_it),
        WITH_BENCH(one_command_at_a_time),
        WITH_BENCH(a_proof_is_refused_while_a_file_is_under_the_key),
        WITH_BENCH(a_key_is_destroyed_when_no_backup_needs_it_any_more),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
