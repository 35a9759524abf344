/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test.h"

#include "host/host.h"
#include "support/memory_store.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char folder[64], path[128], url[160];
static struct keyring *kr;
static struct memory_store *memory;

static void
sql(const char *text)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static int
try_open(struct host_database **d, struct coffer_error *err)
{
    return host_database_open(kr, url, false, NULL, d, err);
}

static int
record(struct keyring *keyring, void *arg, struct coffer_error *err)
{
    const struct host_database *d = arg;
    struct keyring_database r = {.id = d->id, .keep_days = 400};

    strcpy(r.name, d->name);
    strcpy(r.engine, "sqlite");
    strcpy(r.incarnation, d->incarnation);
    return keyring_database_put(keyring, &r, err);
}

static void
edit(keyring_change change, void *arg)
{
    keyring_free(kr);
    assert_int_equal(keyring_store_edit(&memory->store, change, arg, &kr, NULL), COFFER_OK);
}

static int
setup(void **state)
{
    struct host_database *d;

    strcpy(folder, "/tmp/coffer-host-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/d.db", folder);
    snprintf(url, sizeof url, "sqlite:%s", path);
    sql("CREATE TABLE t(a)");
    memory = memory_store_new();
    assert_int_equal(memory->store.load(&memory->store, &kr, NULL), COFFER_OK);
    assert_int_equal(try_open(&d, NULL), COFFER_OK);
    assert_false(d->registered);
    assert_false(d->lost);
    assert_int_equal(host_database_adopt(d, NULL), COFFER_OK);
    assert_int_equal(host_database_adopt(d, NULL), COFFER_OK);
    edit(record, d);
    host_database_use(d, kr);
    assert_true(d->registered);
    assert_false(d->restored);
    assert_int_equal(host_database_saw(d, NULL, NULL), COFFER_OK);
    host_database_close(d);
    return 0;
}

static int
teardown(void **state)
{
    char command[128];

    keyring_free(kr);
    memory_store_free(memory);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void
an_adopted_database_is_known_again(void **state)
{
    struct host_database *d;

    assert_int_equal(try_open(&d, NULL), COFFER_OK);
    assert_true(d->registered);
    assert_false(d->restored);
    assert_int_equal(host_database_saw(d, "another", NULL), COFFER_OK);
    assert_true(d->restored);
    host_database_close(d);
}

static void
an_older_keyring_is_refused_with_both_epochs(void **state)
{
    struct host_database *d;
    struct coffer_error err = {0};
    struct keyring *old;

    assert_int_equal(keyring_clone(kr, &old, NULL), COFFER_OK);
    assert_int_equal(try_open(&d, NULL), COFFER_OK);
    edit(record, d);
    host_database_use(d, kr);
    assert_int_equal(host_database_saw(d, NULL, NULL), COFFER_OK);
    host_database_close(d);
    assert_int_equal(host_database_open(old, url, false, NULL, &d, &err), COFFER_E_ROLLBACK);
    assert_non_null(strstr(err.message, "this keyring is at epoch 2, the database has seen 3"));
    keyring_free(old);
}

/* Between loading the keyring and opening the database, a rotation changed both. */
static void
a_keyring_that_was_just_replaced_is_loaded_again(void **state)
{
    struct host_database *d;
    struct keyring *mine;

    assert_int_equal(keyring_clone(kr, &mine, NULL), COFFER_OK);
    assert_int_equal(try_open(&d, NULL), COFFER_OK);
    edit(record, d);
    host_database_use(d, kr);
    assert_int_equal(host_database_saw(d, NULL, NULL), COFFER_OK);
    host_database_close(d);
    assert_int_equal(
        host_database_open_newest(&memory->store, &mine, url, false, NULL, &d, NULL), COFFER_OK);
    assert_int_equal(keyring_epoch(mine), keyring_epoch(kr));
    assert_true(d->registered);
    assert_false(d->restored);
    assert_int_equal(host_database_saw(d, "restored", NULL), COFFER_OK); /* and this is no race */
    host_database_close(d);
    assert_int_equal(
        host_database_open_newest(&memory->store, &mine, url, false, NULL, &d, NULL), COFFER_OK);
    assert_true(d->restored);
    host_database_close(d);
    keyring_free(mine);
}

static void
another_keyrings_database_is_refused(void **state)
{
    struct memory_store *other = memory_store_new();
    struct host_database *d;
    struct keyring *theirs;
    struct coffer_error err = {0};
    char id[37];

    assert_int_equal(other->store.load(&other->store, &theirs, NULL), COFFER_OK);
    assert_int_equal(host_database_open(theirs, url, false, NULL, &d, &err), COFFER_E_REFUSED);
    struct uuid mine = keyring_id(kr);
    uuid_format(&mine, id);
    assert_non_null(strstr(err.message, id));
    keyring_free(theirs);
    memory_store_free(other);
}

static void
edited_and_robbed_rows_are_tampering(void **state)
{
    static const char *const attacks[] = {
        "UPDATE coffer_meta SET content = replace(content, 'random', 'rondom') WHERE "
        "key='database'",
        "UPDATE coffer_meta SET content = replace(content, '\"random\":\"', '\"random\":\"0') "
        "WHERE key='database'",
        "UPDATE coffer_meta SET epoch = epoch + 1 WHERE key='database'",
        "UPDATE coffer_meta SET mac = x'00' WHERE key='database'",
        "UPDATE coffer_meta SET content = replace(content, '\"epoch\":2', '\"epoch\":1') WHERE "
        "key='seen'",
        "UPDATE coffer_meta SET content = 7 WHERE key='seen'",
        "DELETE FROM coffer_meta WHERE key='seen'",
    };
    size_t i;

    for (i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        struct host_database *d = NULL;
        struct coffer_error err = {0};

        sql("CREATE TABLE keep AS SELECT * FROM coffer_meta");
        sql(attacks[i]);
        if (try_open(&d, &err) != COFFER_E_TAMPERED)
            fail_msg("attack %zu: %d %s", i, err.status, err.message);
        assert_null(d);
        sql("DELETE FROM coffer_meta; INSERT INTO coffer_meta SELECT * FROM keep; DROP TABLE keep");
    }
}

static void
a_lost_database_keeps_its_id_and_counts_as_restored(void **state)
{
    struct host_database *d;
    struct uuid id;

    assert_int_equal(try_open(&d, NULL), COFFER_OK);
    id = d->id;
    host_database_close(d);
    sql("DROP TABLE coffer_meta");
    assert_int_equal(try_open(&d, NULL), COFFER_OK);
    assert_true(d->lost && d->registered && d->restored);
    assert_true(uuid_equal(&d->id, &id));
    assert_int_equal(host_database_saw(d, "recovered", NULL), COFFER_OK);
    assert_false(d->lost);
    edit(record, d);
    host_database_close(d);
    assert_int_equal(try_open(&d, NULL), COFFER_OK);
    assert_true(d->registered);
    assert_false(d->restored);
    host_database_close(d);
}

struct beats {
    struct heartbeat last;
    size_t count;
};
static int
take_beat(void *arg, const struct heartbeat *beat, struct coffer_error *err)
{
    struct beats *beats = arg;

    beats->last = *beat;
    beats->count++;
    return COFFER_OK;
}

static void
heartbeats_come_back_and_a_tampered_one_is_passed_over(void **state)
{
    struct heartbeat beat = {
        .client = "web@host:1", .role = "web", .epoch = 7, .at_us = 5, .use_count = 1};
    struct beats beats = {0};
    struct host_database *d;

    beat.use[0] = (struct coffer_use){0xabcd1234, 3, 4};
    assert_int_equal(try_open(&d, NULL), COFFER_OK);
    assert_int_equal(heartbeat_write(&d->journal, &beat, NULL), COFFER_OK);
    beat.leaving = true;
    assert_int_equal(heartbeat_write(&d->journal, &beat, NULL), COFFER_OK);
    assert_int_equal(heartbeat_list(&d->journal, take_beat, &beats, NULL), COFFER_OK);
    assert_int_equal(beats.count, 1);
    assert_true(beats.last.leaving);
    assert_string_equal(beats.last.role, "web");
    assert_int_equal(beats.last.use[0].opens, 4);
    sql("UPDATE coffer_client SET content = replace(content, '\"epoch\":7', '\"epoch\":9')");
    beats.count = 0;
    assert_int_equal(heartbeat_list(&d->journal, take_beat, &beats, NULL), COFFER_OK);
    assert_int_equal(beats.count, 0);
    assert_int_equal(heartbeat_write(&d->journal, &beat, NULL), COFFER_OK);
    assert_int_equal(heartbeat_list(&d->journal, take_beat, &beats, NULL), COFFER_OK);
    assert_int_equal(beats.count, 1);
    host_database_close(d);
}

static int
count_row(void *arg, const struct journal_row *row, struct coffer_error *err)
{
    (*(size_t *)arg)++;
    return COFFER_OK;
}

static void
lists_go_over_pages_and_puts_compare_epochs(void **state)
{
    struct host_database *d;
    size_t count = 0, tampered = 0;
    char key[32];
    int i;

    assert_int_equal(try_open(&d, NULL), COFFER_OK);
    for (i = 0; i < 600; i++) {
        snprintf(key, sizeof key, "%s/%04d", i % 2 ? "a" : "b", i);
        assert_int_equal(journal_put(&d->journal, "chunk", key, bytes_str("{}"), 0, NULL),
                         COFFER_OK);
    }
    assert_int_equal(journal_list(&d->journal, "chunk", "a/", count_row, &count, &tampered, NULL),
                     COFFER_OK);
    assert_int_equal(count, 300);
    assert_int_equal(tampered, 0);
    assert_int_equal(journal_put(&d->journal, "chunk", "a/0001", bytes_str("{}"), 0, NULL),
                     COFFER_E_CONFLICT);
    assert_int_equal(journal_put(&d->journal, "chunk", "a/0001", bytes_str("{}"), 1, NULL),
                     COFFER_OK);
    assert_int_equal(journal_put(&d->journal, "chunk", "a/0001", bytes_str("{}"), 1, NULL),
                     COFFER_E_CONFLICT);
    host_database_close(d);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_adopted_database_is_known_again, setup, teardown),
        cmocka_unit_test_setup_teardown(an_older_keyring_is_refused_with_both_epochs, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_keyring_that_was_just_replaced_is_loaded_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(another_keyrings_database_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(edited_and_robbed_rows_are_tampering, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_database_keeps_its_id_and_counts_as_restored, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(heartbeats_come_back_and_a_tampered_one_is_passed_over,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(lists_go_over_pages_and_puts_compare_epochs, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
