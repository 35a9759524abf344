/* SPDX-License-Identifier: Apache-2.0 */
/* keyring_store_edit(): lost races are run again, everything else is not. */
#include "support/memory_store.h"
#include "support/test.h"

#include <stdio.h>
#include <string.h>

static unsigned runs, intruders;

static int
declare_client(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct keyring_client client = {.declared_us = 1};

    runs++;
    snprintf(client.name, sizeof client.name, "%s", (const char *)arg);
    return keyring_client_put(kr, &client, err);
}

static int
refuse(struct keyring *kr, void *arg, struct coffer_error *err)
{
    (void)kr;
    runs++;
    return error_set(err, *(int *)arg, "not this");
}

/* Another client commits between our load and our commit, `intruders` times. */
static void
intrude(struct memory_store *m)
{
    char name[32];

    if (intruders == 0)
        return;
    m->before_commit = NULL;
    snprintf(name, sizeof name, "intruder-%u", intruders--);
    assert_int_equal(keyring_store_edit(&m->store, declare_client, name, NULL, NULL), COFFER_OK);
    m->before_commit = intrude;
}

static int
setup(void **state)
{
    *state = memory_store_new();
    runs = intruders = 0;
    return 0;
}

static int
teardown(void **state)
{
    memory_store_free(*state);
    assert_int_equal(secret_live_count(), 0);
    return 0;
}

static void
an_edit_is_stored_and_handed_back(void **state)
{
    struct memory_store *m = *state;
    char name[] = "web";
    struct keyring *newest, *loaded;

    assert_int_equal(keyring_store_edit(&m->store, declare_client, name, &newest, NULL), COFFER_OK);
    assert_int_equal(keyring_epoch(newest), 2);
    assert_int_equal(m->store.load(&m->store, &loaded, NULL), COFFER_OK);
    assert_int_equal(keyring_epoch(loaded), 2);
    assert_string_equal(keyring_client_at(loaded, 0)->name, "web");
    keyring_free(newest);
    keyring_free(loaded);
}

static void
a_lost_race_loses_neither_change(void **state)
{
    struct memory_store *m = *state;
    char name[] = "web";
    struct keyring *newest;

    m->before_commit = intrude;
    intruders = 2;
    assert_int_equal(keyring_store_edit(&m->store, declare_client, name, &newest, NULL), COFFER_OK);
    assert_int_equal(runs, 5); /* three of ours, two of theirs */
    assert_int_equal(keyring_epoch(newest), 4);
    assert_int_equal(keyring_client_count(newest), 3);
    keyring_free(newest);
}

static void
endless_conflict_ends(void **state)
{
    struct memory_store *m = *state;
    char name[] = "web";
    struct keyring *newest;
    struct coffer_error err = {0};

    m->fail[MEMORY_COMMIT].status = COFFER_E_CONFLICT;
    m->fail[MEMORY_COMMIT].times = 1000000;
    assert_int_equal(keyring_store_edit(&m->store, declare_client, name, &newest, &err),
                     COFFER_E_CONFLICT);
    assert_null(newest);
    assert_int_equal(runs, 100);
    assert_non_null(strstr(err.message, "try again"));
}

static void
a_change_that_fails_stores_nothing_and_runs_once(void **state)
{
    struct memory_store *m = *state;
    int statuses[] = {COFFER_E_REFUSED, COFFER_E_CONFLICT};
    struct keyring *newest;

    for (size_t i = 0; i < 2; i++) {
        runs = 0;
        assert_int_equal(keyring_store_edit(&m->store, refuse, &statuses[i], &newest, NULL),
                         statuses[i]);
        assert_null(newest);
        assert_int_equal(runs, 1);
    }
    assert_int_equal(m->calls[MEMORY_COMMIT], 0);
}

static void
failures_of_the_store_are_passed_on(void **state)
{
    struct memory_store *m = *state;
    char name[] = "web";

    m->fail[MEMORY_LOAD].status = COFFER_E_ROLLBACK;
    m->fail[MEMORY_LOAD].times = 1;
    assert_int_equal(keyring_store_edit(&m->store, declare_client, name, NULL, NULL),
                     COFFER_E_ROLLBACK);
    m->fail[MEMORY_COMMIT].status = COFFER_E_IO;
    m->fail[MEMORY_COMMIT].times = 1;
    assert_int_equal(keyring_store_edit(&m->store, declare_client, name, NULL, NULL), COFFER_E_IO);
    assert_int_equal(keyring_store_edit(&m->store, declare_client, name, NULL, NULL), COFFER_OK);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_edit_is_stored_and_handed_back),
        TEST(a_lost_race_loses_neither_change),
        TEST(endless_conflict_ends),
        TEST(a_change_that_fails_stores_nothing_and_runs_once),
        TEST(failures_of_the_store_are_passed_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
