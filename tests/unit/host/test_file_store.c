/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include "crypto/crypto.h"
#include "host/host.h"
#include "ledger/audit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], path[128];

static struct kek *
kek_of(uint8_t byte)
{
    uint8_t key[32];
    struct kek *kek;

    memset(key, byte, sizeof key);
    assert_int_equal(kek_key_new(bytes_of(key, sizeof key), &kek, NULL), COFFER_OK);
    return kek;
}

static struct kek *
new_kek(void)
{
    return kek_of(0x42);
}

static struct keyring_store *
open_store(void)
{
    struct keyring_store *store;

    assert_int_equal(file_store_open(path, new_kek(), &os_real, &store, NULL), COFFER_OK);
    return store;
}

static int
setup(void **state)
{
    struct coffer_error err = {0};

    strcpy(folder, "/tmp/coffer-store-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/k.coffer", folder);
    if (file_store_init(path, new_kek(), &os_real, "tester", &err) != COFFER_OK)
        fail_msg("%s", err.message);
    *state = open_store();
    return 0;
}

static int
teardown(void **state)
{
    char command[128];

    file_store_close(*state);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static int
add_key(struct keyring *kr, void *arg, struct coffer_error *err)
{
    uint32_t id;

    return keyring_key_add(kr, KEY_FIELD, "main", "tester", 1, arg != NULL ? arg : &id, err);
}

static void
copy_file(const char *from, const char *to)
{
    struct buf content;

    buf_init(&content, KEYRING_FILE_MAX);
    assert_int_equal(os_real.read_file(&os_real, from, KEYRING_FILE_MAX, &content, NULL),
                     COFFER_OK);
    assert_int_equal(os_real.write_file(&os_real, to, buf_view(&content), 0600, false, NULL),
                     COFFER_OK);
    buf_wipe(&content);
}

static void
init_never_overwrites(void **state)
{
    struct coffer_error err = {0};

    assert_int_equal(file_store_init(path, new_kek(), &os_real, "tester", &err), COFFER_E_EXISTS);
}

static void
a_change_is_there_for_the_next_process_and_in_the_log(void **state)
{
    struct keyring_store *store = *state, *other = open_store();
    struct keyring *kr = NULL;
    struct coffer_error err = {0};
    struct buf log;
    uint64_t count = 0;
    uint32_t id = 0;

    if (audit_change(store, &os_real, "tester", "key.stage", "{\"line\":\"main\"}", add_key, &id,
                     NULL, &err) != COFFER_OK)
        fail_msg("%s", err.message);
    assert_int_equal(other->load(other, &kr, NULL), COFFER_OK);
    assert_non_null(keyring_key(kr, id));
    buf_init(&log, 1 << 20);
    assert_int_equal(other->audit_read(other, &log, NULL), COFFER_OK);
    assert_int_equal(audit_verify(buf_view(&log), kr, NULL, NULL, NULL, &count, NULL), COFFER_OK);
    assert_int_equal(count, 2);
    buf_wipe(&log);
    keyring_free(kr);
    file_store_close(other);
}

static void
an_older_file_is_refused_with_both_epochs(void **state)
{
    struct keyring_store *store = *state;
    struct keyring *kr;
    struct coffer_error err = {0};
    char saved[160];

    snprintf(saved, sizeof saved, "%s/saved", folder);
    copy_file(path, saved);
    assert_int_equal(keyring_store_edit(store, add_key, NULL, NULL, NULL), COFFER_OK);
    copy_file(saved, path);
    assert_int_equal(store->load(store, &kr, &err), COFFER_E_ROLLBACK);
    assert_non_null(strstr(err.message, "is at epoch 2, this process has seen 3"));
}

static void
five_generations_are_kept_and_a_damaged_file_names_the_newest(void **state)
{
    struct keyring_store *store = *state, *fresh;
    struct keyring *kr;
    struct coffer_error err = {0};
    char name[160];
    struct stat st;
    int i;

    for (i = 0; i < 8; i++)
        assert_int_equal(keyring_store_edit(store, add_key, NULL, NULL, NULL), COFFER_OK);
    /* now at epoch 10: 5 … 9 are kept */
    snprintf(name, sizeof name, "%s.4", path);
    assert_int_equal(stat(name, &st), -1);
    snprintf(name, sizeof name, "%s.5", path);
    assert_int_equal(stat(name, &st), 0);
    assert_int_equal(truncate(path, 100), 0);
    fresh = open_store();
    assert_int_equal(fresh->load(fresh, &kr, &err), COFFER_E_FORMAT);
    assert_non_null(strstr(err.message, "k.coffer.9"));
    file_store_close(fresh);
}

static void
two_processes_lose_no_change(void **state)
{
    enum { EACH = 10 };
    struct keyring_store *store = *state;
    struct keyring *kr;
    size_t before;
    int child, status, i, tries;

    assert_int_equal(store->load(store, &kr, NULL), COFFER_OK);
    before = keyring_key_count(kr);
    keyring_free(kr);
    child = fork();
    if (child == 0) {
        struct keyring_store *own;

        if (file_store_open(path, new_kek(), &os_real, &own, NULL) != COFFER_OK)
            _exit(2);
        for (i = 0; i < EACH; i++) {
            for (tries = 0; keyring_store_edit(own, add_key, NULL, NULL, NULL) != COFFER_OK;
                 tries++) {
                if (tries > 50)
                    _exit(1);
            }
        }
        _exit(0);
    }
    for (i = 0; i < EACH; i++) {
        for (tries = 0; keyring_store_edit(store, add_key, NULL, NULL, NULL) != COFFER_OK; tries++)
            assert_true(tries < 50);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(store->load(store, &kr, NULL), COFFER_OK);
    assert_int_equal(keyring_key_count(kr), before + 2 * EACH);
    keyring_free(kr);
}

/* ---- a process that dies at its n-th change to the disk ---- */

static unsigned calls_left;
static struct os dying;

static bool
dead(void)
{
    return calls_left == 0 || --calls_left == 0;
}
static int
dying_write(const struct os *os, const char *name, struct bytes data, unsigned mode, bool exclusive,
            struct coffer_error *err)
{
    return dead() ? error_set(err, COFFER_E_IO, "no space left on device")
                  : os_real.write_file(&os_real, name, data, mode, exclusive, err);
}
static int
dying_append(const struct os *os, const char *name, struct bytes data, unsigned mode,
             struct coffer_error *err)
{
    if (!dead())
        return os_real.append_file(&os_real, name, data, mode, err);
    /* half a line reaches the disk */
    (void)!os_real.append_file(&os_real, name, bytes_of(data.ptr, data.len / 2), mode, NULL);
    return error_set(err, COFFER_E_IO, "no space left on device");
}
static int
dying_remove(const struct os *os, const char *name, struct coffer_error *err)
{
    return dead() ? error_set(err, COFFER_E_IO, "gone") : os_real.remove_file(&os_real, name, err);
}

static int
dying_rename(const struct os *os, const char *from, const char *to, struct coffer_error *err)
{
    return dead() ? error_set(err, COFFER_E_IO, "gone")
                  : os_real.rename_file(&os_real, from, to, err);
}

static void
death_at_any_step_leaves_the_old_or_the_new(void **state)
{
    unsigned nth;
    int rc = COFFER_E_IO;

    for (nth = 1; rc != COFFER_OK; nth++) {
        struct keyring_store *store, *after;
        struct keyring *kr = NULL;
        struct coffer_error err = {0};
        uint32_t id = 0;

        dying = os_real;
        dying.write_file = dying_write;
        dying.append_file = dying_append;
        dying.remove_file = dying_remove;
        calls_left = nth;
        assert_true(nth < 50);
        assert_int_equal(file_store_open(path, new_kek(), &dying, &store, NULL), COFFER_OK);
        rc = audit_change(store, &dying, "tester", "key.stage", NULL, add_key, &id, NULL, NULL);
        file_store_close(store);

        after = open_store();
        if (after->load(after, &kr, &err) != COFFER_OK)
            fail_msg("after death at step %u: %s", nth, err.message);
        if (rc == COFFER_OK)
            assert_non_null(keyring_key(kr, id));
        keyring_free(kr);
        /* life goes on, and the log holds */
        if (audit_change(after, &os_real, "tester", "note", NULL, NULL, NULL, &kr, &err) !=
            COFFER_OK)
            fail_msg("after death at step %u: %s", nth, err.message);
        {
            struct buf log;

            buf_init(&log, 1 << 20);
            assert_int_equal(after->audit_read(after, &log, NULL), COFFER_OK);
            if (audit_verify(buf_view(&log), kr, NULL, NULL, NULL, NULL, &err) != COFFER_OK)
                fail_msg("after death at step %u: %s", nth, err.message);
            buf_wipe(&log);
        }
        keyring_free(kr);
        file_store_close(after);
    }
    assert_true(nth > 3);
}

static void
an_escrow_file_must_hold_the_key_and_destroying_cleans_the_generations(void **state)
{
    struct keyring_store *store = *state;
    struct keyring *kr, *extract;
    struct coffer_error err = {0};
    struct buf content, back;
    uint32_t id = 0;
    char name[160];
    struct stat st;

    assert_int_equal(keyring_store_edit(store, add_key, &id, &kr, NULL), COFFER_OK);
    buf_init(&content, KEYRING_FILE_MAX);
    buf_init(&back, KEYRING_FILE_MAX);
    assert_int_equal(store->escrow_put(store, id, bytes_str("nonsense"), &err), COFFER_E_FORMAT);
    assert_int_equal(keyring_extract(kr, id, NULL, &extract, NULL), COFFER_OK);
    assert_int_equal(keyring_encode(extract, &content, NULL), COFFER_OK);
    assert_int_equal(store->escrow_put(store, id + 1, buf_view(&content), &err), COFFER_E_MISUSE);
    assert_int_equal(store->escrow_put(store, id, buf_view(&content), NULL), COFFER_OK);
    snprintf(name, sizeof name, "%s.escrow/%08x.key", path, (unsigned)id);
    assert_int_equal(stat(name, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(store->escrow_get(store, id, &back, NULL), COFFER_OK);
    assert_true(bytes_equal(buf_view(&content), buf_view(&back)));

    assert_int_equal(keyring_store_edit(store, add_key, NULL, NULL, NULL), COFFER_OK);
    snprintf(name, sizeof name, "%s.3", path); /* holds the key */
    assert_int_equal(stat(name, &st), 0);
    assert_int_equal(store->escrow_remove(store, id, NULL), COFFER_OK);
    assert_int_equal(stat(name, &st), -1);
    assert_int_equal(store->escrow_get(store, id, &back, NULL), COFFER_E_NOTFOUND);
    buf_wipe(&content);
    buf_wipe(&back);
    keyring_free(extract);
    keyring_free(kr);
}

static uint32_t
escrowed_key(struct keyring_store *store)
{
    static const enum key_state way[] = {KEY_DRAINING, KEY_FENCED, KEY_PROVEN, KEY_ESCROWED};
    struct keyring *kr, *extract;
    struct buf content;
    uint32_t id = 0;

    assert_int_equal(keyring_store_edit(store, add_key, &id, &kr, NULL), COFFER_OK);
    buf_init(&content, KEYRING_FILE_MAX);
    assert_int_equal(keyring_extract(kr, id, NULL, &extract, NULL), COFFER_OK);
    assert_int_equal(keyring_encode(extract, &content, NULL), COFFER_OK);
    assert_int_equal(store->escrow_put(store, id, buf_view(&content), NULL), COFFER_OK);
    for (size_t i = 0; i < sizeof way / sizeof *way; i++)
        assert_int_equal(keyring_key_move(kr, id, way[i], 9, NULL), COFFER_OK);
    assert_int_equal(store->commit(store, kr, NULL), COFFER_OK);
    buf_wipe(&content);
    keyring_free(extract);
    keyring_free(kr);
    return id;
}

static bool
opens_all(uint8_t kek, const uint32_t ids[2])
{
    struct keyring_store *store;
    struct keyring *kr = NULL;
    struct buf content;
    int rc;

    assert_int_equal(file_store_open(path, kek_of(kek), &os_real, &store, NULL), COFFER_OK);
    rc = store->load(store, &kr, NULL);
    buf_init(&content, KEYRING_FILE_MAX);
    for (int i = 0; i < 2 && rc == COFFER_OK; i++) {
        struct keyring *escrow;

        assert_int_equal(store->escrow_get(store, ids[i], &content, NULL), COFFER_OK);
        assert_int_equal(keyring_decode_again(buf_view(&content), kr, &escrow, NULL), COFFER_OK);
        assert_non_null(keyring_material(escrow, ids[i]));
        keyring_free(escrow);
    }
    buf_wipe(&content);
    keyring_free(kr);
    file_store_close(store);
    assert_true(rc == COFFER_OK || rc == COFFER_E_KEK);
    return rc == COFFER_OK;
}

/* Whatever instant a change of the KEK dies at, one KEK opens the keyring and every escrow file. */
static void
a_change_of_the_kek_cut_short_leaves_nothing_behind(void **state)
{
    uint32_t ids[2] = {escrowed_key(*state), escrowed_key(*state)};
    uint8_t kek = 0x42;
    char next[200];
    struct stat st;
    unsigned nth, after_the_moment = 0;
    int rc;

    calls_left = 0;
    for (nth = 1; calls_left == 0; nth++) {
        struct keyring_store *store;
        struct kek *to = kek_of((uint8_t)(kek + 1));
        size_t count = 0;

        dying = os_real;
        dying.write_file = dying_write;
        dying.append_file = dying_append;
        dying.remove_file = dying_remove;
        dying.rename_file = dying_rename;
        calls_left = nth;
        assert_true(nth < 50);
        assert_int_equal(file_store_open(path, kek_of(kek), &dying, &store, NULL), COFFER_OK);
        rc = file_store_rewrap(store, to, "tester", &count, NULL);
        kek_close(to);
        file_store_close(store);
        if (opens_all((uint8_t)(kek + 1), ids)) {
            kek++;
            after_the_moment += calls_left == 0;
        } else {
            assert_int_not_equal(rc, COFFER_OK);
            assert_true(opens_all(kek, ids));
        }
    }
    assert_true(after_the_moment > 0); /* between keyring and escrow files, too */
    assert_true(nth > 5);
    snprintf(next, sizeof next, "%s.escrow/%08x.key.new", path, (unsigned)ids[0]);
    assert_int_equal(stat(next, &st), -1);
}

static void
a_certificate_name_stays_in_its_folder(void **state)
{
    struct keyring_store *store = *state;
    struct buf back;

    buf_init(&back, 1000);
    assert_int_equal(store->certificate_put(store, "../x", bytes_str("c"), NULL), COFFER_E_MISUSE);
    assert_int_equal(store->certificate_put(store, "0123-ab.json", bytes_str("c"), NULL),
                     COFFER_OK);
    assert_int_equal(store->certificate_get(store, "0123-ab.json", &back, NULL), COFFER_OK);
    assert_string_equal(buf_cstr(&back), "c");
    buf_wipe(&back);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(init_never_overwrites, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_is_there_for_the_next_process_and_in_the_log,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(an_older_file_is_refused_with_both_epochs, setup, teardown),
        cmocka_unit_test_setup_teardown(
            five_generations_are_kept_and_a_damaged_file_names_the_newest, setup, teardown),
        cmocka_unit_test_setup_teardown(two_processes_lose_no_change, setup, teardown),
        cmocka_unit_test_setup_teardown(death_at_any_step_leaves_the_old_or_the_new, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            an_escrow_file_must_hold_the_key_and_destroying_cleans_the_generations, setup,
            teardown),
        cmocka_unit_test_setup_teardown(a_change_of_the_kek_cut_short_leaves_nothing_behind, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_certificate_name_stays_in_its_folder, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
