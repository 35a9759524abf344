/* SPDX-License-Identifier: Apache-2.0 */
/* The whole machine on a real SQLite file: protect, rotate, prove, escrow, restore, unprotect. */
#include "bench.h"

#include "base/mem.h"
#include "ledger/audit.h"
#include "ledger/certificate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
protect_seals_every_cell_and_unprotect_gives_all_back(void **state)
{
    struct bench *b = *state;

    bench_protect(b);
    bench_assert_all_under(b, bench_active_key(b));
    assert_int_equal(
        bench_number(
            b, "SELECT count(*) FROM patients WHERE typeof(ssn)='text' OR typeof(born)='text'"),
        0);
    assert_int_equal(bench_number(b, "SELECT count(*) FROM patients WHERE ssn IS NULL"),
                     300); /* NULL stays NULL, '' does not become it */
    bench_sql_refused(b, "UPDATE patients SET ssn='123-45-6789' WHERE id=5", "coffer: 23514");
    bench_sql_refused(b, "INSERT INTO patients(id, born) VALUES(9999, '2001-01-01')",
                      "coffer: 23514");
    bench_protect(b); /* again: nothing to do */
    bench_unprotect_and_compare(b);
    bench_sql(b, "UPDATE patients SET ssn='123-45-6789' WHERE id=5");
}

static void
rotate_moves_every_cell_and_escrows_the_old_key(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};
    uint32_t old, new;
    char text[300];

    bench_protect(b);
    old = bench_active_key(b);
    bench_must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    new = bench_active_key(b);
    assert_int_not_equal(old, new);
    bench_assert_all_under(b, new);
    assert_int_equal(bench_state_of(b, old), KEY_ESCROWED);
    assert_int_equal(b->store->escrow_count, 1);
    assert_int_equal(b->store->certificate_count, 1);
    /* The database itself refuses the old key. */
    snprintf(text, sizeof text,
             "UPDATE patients SET "
             "ssn=x'F9010102%"
             "08xababababababababababababababababababababababababababababababababababababababababab"
             "ababababababababababab' WHERE id=7",
             old);
    bench_sql_refused(b, text, "coffer: 40001");
    bench_unprotect_and_compare(b);
}

static void
the_certificate_is_true_signed_and_checked_offline(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};
    struct keyring *kr = NULL;
    uint8_t public_key[32];
    uint32_t key = 0, old;
    struct buf changed;

    bench_protect(b);
    old = bench_active_key(b);
    bench_must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    assert_int_equal(b->store->store.load(&b->store->store, &kr, NULL), COFFER_OK);
    assert_int_equal(audit_public_key(kr, public_key, NULL), COFFER_OK);
    assert_int_equal(certificate_verify(buf_view(&b->store->certificates[0].content), public_key,
                                        NULL, NULL, &key, &err),
                     COFFER_OK);
    assert_int_equal(key, old);
    buf_init(&changed, 1u << 20);
    buf_bytes(&changed, buf_view(&b->store->certificates[0].content));
    changed.ptr[changed.len / 2] ^= 1;
    assert_int_not_equal(certificate_verify(buf_view(&changed), public_key, NULL, NULL, &key, &err),
                         COFFER_OK);
    buf_wipe(&changed);
    bench_must(b, audit_verify(buf_view(&b->store->audit), kr, NULL, NULL, NULL, NULL, &err), &err);
    keyring_free(kr);
}

static void
destroy_is_refused_while_a_backup_may_need_the_key(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};
    uint32_t old;

    bench_protect(b);
    old = bench_active_key(b);
    assert_int_equal(rotate_destroy(&b->env, old, NULL, 0, &err), COFFER_E_REFUSED);
    bench_must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    assert_int_equal(rotate_destroy(&b->env, old, NULL, 0, &err),
                     COFFER_E_REFUSED); /* 400 days for backups nobody registered */
    assert_non_null(strstr(err.message, "still needed"));
    { /* a waiver is exact: a letter, or a part of a name, waives nothing */
        static const char *const LETTER[] = {"e"}, *const PART[] = {"promise"};
        char name[160];
        const char *const whole[] = {name};

        assert_int_equal(rotate_destroy(&b->env, old, LETTER, 1, &err), COFFER_E_REFUSED);
        assert_int_equal(rotate_destroy(&b->env, old, PART, 1, &err), COFFER_E_REFUSED);
        assert_int_equal(bench_state_of(b, old), KEY_ESCROWED);
        snprintf(name, sizeof name, "promise:%s", b->url);
        bench_must(b, rotate_destroy(&b->env, old, whole, 1, &err), &err);
        assert_int_equal(bench_state_of(b, old), KEY_DESTROYED);
        assert_int_equal(b->store->escrow_count, 0);
    }
}

/* Restoring a copy from before the rotation: the key comes back, everything is moved again and
 * proven again. */
static void
a_restore_over_a_finished_rotation_recovers(void **state)
{
    struct bench *b = *state;
    struct rotate_status *status = NULL;
    struct coffer_error err = {0};
    uint32_t old;

    bench_protect(b);
    old = bench_active_key(b);
    bench_backup(b, "before");
    bench_must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    bench_restore(b, "before");
    bench_must(b, rotate_status(&b->env, true, &status, &err), &err);
    assert_true(status->restored);
    rotate_status_free(status);
    assert_int_equal(rotate_prove(&b->env, old, &b->options, &(struct buf){.max = 1u << 20}, &err),
                     COFFER_E_REFUSED);
    bench_must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    bench_assert_all_under(b, bench_active_key(b));
    assert_int_equal(bench_state_of(b, old), KEY_ESCROWED);
    bench_unprotect_and_compare(b);
    bench_must(b, rotate_status(&b->env, true, &status, &err), &err);
    assert_false(status->restored);
    rotate_status_free(status);
}

/* Stopped after the 1st, 2nd, 3rd … event and run again, both commands end in the same state. */
static void
stopped_anywhere_it_goes_on(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};
    unsigned nth, stops = 0;
    uint32_t old;
    int rc;

    for (nth = 1;; nth++) {
        b->stop = 0;
        b->stop_after = nth;
        rc = rotate_protect(&b->env, BENCH_COLUMNS, BENCH_COLUMN_COUNT, &b->options, &err);
        b->stop_after = 0;
        if (rc == COFFER_OK)
            break;
        assert_int_equal(rc, COFFER_E_CANCELLED);
        stops++;
    }
    b->stop = 0;
    bench_protect(b);
    old = bench_active_key(b);
    bench_assert_all_under(b, old);
    for (nth = 1;; nth++) {
        b->stop = 0;
        b->stop_after = nth;
        rc = rotate_run(&b->env, NULL, 0, &b->options, &err);
        b->stop_after = 0;
        if (rc == COFFER_OK)
            break;
        assert_int_equal(rc, COFFER_E_CANCELLED);
        stops++;
    }
    assert_true(stops > 5);
    bench_assert_all_under(b, bench_active_key(b));
    assert_int_equal(bench_state_of(b, old), KEY_ESCROWED);
}

/* An abort half-way takes everything back to the old key and proves the new one gone. */
static void
an_abort_goes_the_other_way_and_proves_the_abandoned_key(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};
    uint32_t old;

    bench_protect(b);
    old = bench_active_key(b);
    b->stop_after = 8; /* within the drain */
    assert_int_equal(rotate_run(&b->env, NULL, 0, &b->options, &err), COFFER_E_CANCELLED);
    b->stop = 0;
    bench_must(b, rotate_control(&b->env, ROTATE_ABORT, &err), &err);
    bench_must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    assert_int_equal(bench_active_key(b), old);
    bench_assert_all_under(b, old);
}

/* An envelope of another row, put in place of this one's, goes to quarantine and forbids the proof.
 */
static void
a_cell_that_does_not_open_forbids_the_proof(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};
    struct rotate_status *status = NULL;
    uint32_t old;

    bench_protect(b);
    old = bench_active_key(b);
    bench_sql(
        b,
        "UPDATE wards SET guest=(SELECT guest FROM wards WHERE bed=8) WHERE bed=9"); /* bound to its
                                                                                        row */
    assert_int_equal(rotate_run(&b->env, NULL, 0, &b->options, &err), COFFER_E_REFUSED);
    assert_non_null(strstr(err.message, "1 cell could not be opened"));
    assert_int_not_equal(bench_state_of(b, old), KEY_ESCROWED);
    bench_must(b, rotate_status(&b->env, true, &status, &err), &err);
    assert_int_equal(status->columns[5].quarantine, 1);
    rotate_status_free(status);
    bench_sql(b, "UPDATE wards SET guest=NULL WHERE bed=9");
    bench_must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    assert_int_equal(bench_state_of(b, old), KEY_ESCROWED);
}

static void
a_live_client_that_is_behind_holds_the_gate(void **state)
{
    struct bench *b = *state;
    struct heartbeat beat = {.client = "app@host:1", .role = "app", .epoch = 1};
    struct host_database *database = NULL;
    struct coffer_error err = {0};
    struct keyring *kr = NULL;

    bench_protect(b);
    assert_int_equal(b->store->store.load(&b->store->store, &kr, NULL), COFFER_OK);
    bench_must(b, host_database_open(kr, b->url, false, NULL, &database, &err), &err);
    beat.at_us = os_real.now_us(&os_real);
    bench_must(b, heartbeat_write(&database->journal, &beat, &err), &err);
    b->options.no_wait = true;
    assert_int_equal(rotate_run(&b->env, NULL, 0, &b->options, &err), COFFER_E_NOTYET);
    assert_non_null(strstr(err.message, "app@host:1"));
    beat.leaving = true;
    bench_must(b, heartbeat_write(&database->journal, &beat, &err), &err);
    bench_must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    host_database_close(database);
    keyring_free(kr);
}

static int64_t
later_us(const struct os *os)
{
    const int64_t *skip_us = os->ctx;

    return os_real.now_us(&os_real) + *skip_us;
}

/* Whoever is silent for longer than its lease cannot seal any more, so that nothing waits for it. */
static void
a_client_that_fell_silent_holds_the_gate_until_its_lease_is_surely_over(void **state)
{
    struct bench *b = *state;
    struct heartbeat beat = {.client = "app@host:1", .role = "app", .epoch = 1};
    struct host_database *database = NULL;
    struct coffer_error err = {0};
    struct keyring *kr = NULL;
    struct os os = os_real;
    int64_t skip_us = 0;

    assert_true(HEARTBEAT_LIVE_MS > COFFER_LEASE_MS + HEARTBEAT_EVERY_MS);
    os.now_us = later_us;
    os.ctx = &skip_us;
    b->env.os = &os;
    b->options.no_wait = true;
    bench_protect(b);
    assert_int_equal(b->store->store.load(&b->store->store, &kr, NULL), COFFER_OK);
    bench_must(b, host_database_open(kr, b->url, false, NULL, &database, &err), &err);
    beat.at_us = os_real.now_us(&os_real);
    bench_must(b, heartbeat_write(&database->journal, &beat, &err), &err);
    skip_us = (int64_t)(COFFER_LEASE_MS + HEARTBEAT_EVERY_MS) * 1000;
    assert_int_equal(rotate_run(&b->env, NULL, 0, &b->options, &err), COFFER_E_NOTYET);
    skip_us = (int64_t)HEARTBEAT_LIVE_MS * 1000;
    bench_must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    host_database_close(database);
    keyring_free(kr);
}

static int
declare(struct keyring *kr, void *arg, struct coffer_error *err)
{
    struct keyring_client client = {.name = "nightly",
                                    .declared_us = 1,
                                    .waived_epoch = arg != NULL ? keyring_epoch(kr) + 1 : 0};

    return keyring_client_put(kr, &client, err);
}

/* A waiver holds for each gate of the rotation that it was given in, and for no later one. */
static void
a_waiver_holds_for_the_rotation_that_is_open(void **state)
{
    struct bench *b = *state;
    struct keyring_store *store = &b->store->store;
    struct coffer_error err = {0};

    bench_protect(b);
    assert_int_equal(keyring_store_edit(store, declare, NULL, NULL, NULL), COFFER_OK);
    b->options.no_wait = true;
    assert_int_equal(rotate_run(&b->env, NULL, 0, &b->options, &err), COFFER_E_NOTYET);
    assert_non_null(strstr(err.message, "nightly"));
    assert_int_equal(keyring_store_edit(store, declare, store, NULL, NULL), COFFER_OK);
    bench_must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
    assert_int_equal(rotate_run(&b->env, NULL, 0, &b->options, &err), COFFER_E_NOTYET);
    assert_non_null(strstr(err.message, "coffer client waive nightly"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(protect_seals_every_cell_and_unprotect_gives_all_back),
        TEST(rotate_moves_every_cell_and_escrows_the_old_key),
        TEST(the_certificate_is_true_signed_and_checked_offline),
        TEST(destroy_is_refused_while_a_backup_may_need_the_key),
        TEST(a_restore_over_a_finished_rotation_recovers),
        TEST(stopped_anywhere_it_goes_on),
        TEST(an_abort_goes_the_other_way_and_proves_the_abandoned_key),
        TEST(a_cell_that_does_not_open_forbids_the_proof),
        TEST(a_live_client_that_is_behind_holds_the_gate),
        TEST(a_client_that_fell_silent_holds_the_gate_until_its_lease_is_surely_over),
        TEST(a_waiver_holds_for_the_rotation_that_is_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
