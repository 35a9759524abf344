/* SPDX-License-Identifier: Apache-2.0 */
/* Restored copies that hold another form than the keyring says: from before a protect, within it, from before an
 * unprotect, from an earlier protection. */
#include "bench.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const NAMES[] = {"patients.ssn",   "patients.born", "patients.weight",
                                    "patients.photo", "patients.fee",  "wards.guest"};

static bool
restored(struct bench *b)
{
    struct rotate_status *status = NULL;
    struct coffer_error err = {0};
    bool yes;

    bench_must(b, rotate_status(&b->env, false, &status, &err), &err);
    yes = status->restored;
    rotate_status_free(status);
    return yes;
}

static void
unprotect(struct bench *b)
{
    struct coffer_error err = {0};

    bench_must(b, rotate_unprotect(&b->env, NAMES, BENCH_COLUMN_COUNT, &b->options, &err), &err);
}

static void
rotate(struct bench *b)
{
    struct coffer_error err = {0};

    bench_must(b, rotate_run(&b->env, NULL, 0, &b->options, &err), &err);
}

static size_t
columns_in_force(struct bench *b)
{
    struct keyring *kr = NULL;
    size_t i, n = 0;

    assert_int_equal(b->store->store.load(&b->store->store, &kr, NULL), COFFER_OK);
    for (i = 0; i < keyring_column_count(kr); i++)
        n += !keyring_column_at(kr, i)->retired;
    keyring_free(kr);
    return n;
}

static int64_t
plaintext_rows(struct bench *b)
{
    return bench_number(b, "SELECT count(*) FROM patients WHERE typeof(ssn)='text'");
}

/* Plaintext is sealed again only on the operator's word; refused, the copy is left as it is. */
static void
a_copy_from_before_the_protect_is_sealed_again_when_it_is_stated(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};

    bench_backup(b, "plain");
    bench_protect(b);
    rotate(b);
    bench_restore(b, "plain");
    assert_true(restored(b));
    assert_int_equal(rotate_run(&b->env, NULL, 0, &b->options, &err), COFFER_E_REFUSED);
    assert_non_null(strstr(err.message, "patients.ssn is from before its protect"));
    assert_non_null(strstr(err.message, "--restored"));
    assert_int_equal(plaintext_rows(b), 2700);
    assert_true(restored(b));
    b->options.restored = true;
    rotate(b);
    b->options.restored = false;
    assert_false(restored(b));
    bench_assert_all_under(b, bench_active_key(b));
    bench_sql_refused(b, "UPDATE patients SET ssn='123-45-6789' WHERE id=5", "coffer: 23514");
    bench_unprotect_and_compare(b);
}

/* The plan of it says what the copy is and changes nothing. */
static void
the_plan_of_a_recovery_says_what_the_copy_is(void **state)
{
    struct bench *b = *state;
    bool said = false;
    size_t i;

    bench_backup(b, "plain");
    bench_protect(b);
    bench_restore(b, "plain");
    b->options.plan_only = true;
    rotate(b);
    for (i = 0; i < b->logged && i < 200; i++)
        said = said || strstr(b->log[i], "patients.ssn is from before its protect") != NULL;
    assert_true(said);
    assert_int_equal(
        bench_number(b, "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'coffer%'"), 0);
    assert_true(restored(b));
}

/* A copy taken half-way through the protect holds both forms, and records of its own. */
static void
a_copy_from_within_the_protect_is_sealed_again(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};

    unsigned nth;

    b->options.batch_rows = 500;
    for (nth = 1; plaintext_rows(b) == 2700;
         nth++) { /* a little further each time, until it is within the seal */
        b->stop_after = nth;
        assert_int_equal(
            rotate_protect(&b->env, BENCH_COLUMNS, BENCH_COLUMN_COUNT, &b->options, &err),
            COFFER_E_CANCELLED);
        b->stop = 0;
    }
    b->stop_after = 0;
    bench_backup(b, "half");
    bench_protect(b);
    rotate(b);
    bench_restore(b, "half");
    assert_true(plaintext_rows(b) > 0);
    b->options.restored = true;
    rotate(b);
    bench_assert_all_under(b, bench_active_key(b));
    bench_unprotect_and_compare(b);
}

/* Without its word, an attacker who makes the database look restored has nothing of his sealed. */
static void
planted_plaintext_is_not_sealed_by_making_it_look_restored(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};

    bench_protect(b);
    bench_sql(b, "DELETE FROM coffer_meta; DELETE FROM coffer_rotation; DROP TRIGGER "
                 "coffer_zzz_fence_update_patients;"
                 "UPDATE patients SET ssn='planted' WHERE id=5");
    assert_true(restored(b));
    assert_int_equal(rotate_run(&b->env, NULL, 0, &b->options, &err), COFFER_E_REFUSED);
    assert_non_null(strstr(err.message, "somebody put this here"));
    assert_int_equal(bench_number(b, "SELECT ssn='planted' FROM patients WHERE id=5"), 1);
}

/* unprotect renews the incarnation, so that a copy from before it is told apart; its cells become plaintext again. */
static void
a_copy_from_before_the_unprotect_is_unprotected_again_when_it_is_stated(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};
    uint32_t old;

    bench_protect(b);
    old = bench_active_key(b);
    bench_backup(b, "sealed");
    rotate(b); /* the copy's key is in escrow */
    unprotect(b);
    bench_restore(b, "sealed");
    assert_true(restored(b));
    assert_int_equal(rotate_run(&b->env, NULL, 0, &b->options, &err), COFFER_E_REFUSED);
    assert_non_null(strstr(err.message, "is from before its unprotect"));
    assert_int_equal(bench_state_of(b, old), KEY_ESCROWED); /* refused before any key came back */
    b->options.restored = true;
    rotate(b);
    assert_false(restored(b));
    assert_int_equal(columns_in_force(b), 0);
    assert_int_equal(
        bench_number(
            b, "SELECT count(*) FROM patients p JOIN twin t USING(id) WHERE p.ssn IS t.ssn "
               "COLLATE BINARY AND p.born IS t.born AND p.photo IS t.photo AND p.fee IS t.fee"),
        BENCH_ROWS);
    bench_sql(b, "UPDATE patients SET ssn='123-45-6789' WHERE id=5");
}

/* Protected, unprotected, protected anew, and then a copy of the first time: its own record is in force again. */
static void
a_copy_of_an_earlier_protection_stays_readable(void **state)
{
    struct bench *b = *state;
    struct coffer_error err = {0};

    bench_protect(b);
    bench_backup(b, "first");
    unprotect(b);
    bench_protect(b);
    rotate(b);
    bench_restore(b, "first");
    assert_int_equal(rotate_run(&b->env, NULL, 0, &b->options, &err), COFFER_E_REFUSED);
    assert_non_null(strstr(err.message, "earlier time"));
    b->options.restored = true;
    rotate(b);
    assert_int_equal(columns_in_force(b), BENCH_COLUMN_COUNT);
    bench_assert_all_under(b, bench_active_key(b));
    bench_unprotect_and_compare(b);
}

/* Companions of STRICT tables are made anew. */
static void
a_copy_from_before_the_companion_gets_one(void **state)
{
    static const struct rotate_column COLUMN[] = {{.name = "strict.note", .binding = -1}};
    static const char *const NAME[] = {"strict.note"};
    struct bench *b = *state;
    struct coffer_error err = {0};
    static const char *const ACCEPTED[] = {"twin.photo", "patients.photo"};

    b->options.accept_unregistered = ACCEPTED;
    b->options.accept_unregistered_count = 2;
    bench_sql(b, "CREATE TABLE strict(id INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;"
                 "INSERT INTO strict SELECT id, 'note '||id FROM patients");
    bench_backup(b, "plain");
    bench_must(b, rotate_protect(&b->env, COLUMN, 1, &b->options, &err), &err);
    bench_restore(b, "plain");
    b->options.restored = true;
    rotate(b);
    assert_int_equal(
        bench_number(b,
                     "SELECT count(*) FROM strict WHERE note IS NULL AND note_sealed IS NOT NULL"),
        BENCH_ROWS);
    bench_sql_refused(b, "UPDATE strict SET note_sealed=NULL WHERE id=5", "coffer: 23502");
    bench_sql_refused(b, "INSERT INTO strict(id) VALUES(9999)", "coffer: 23502");
    bench_must(b, rotate_unprotect(&b->env, NAME, 1, &b->options, &err), &err);
    assert_int_equal(bench_number(b, "SELECT sql='CREATE TABLE strict(id INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT' "
                                     "FROM sqlite_schema WHERE name='strict'"),
                     1);
    assert_int_equal(bench_number(b, "SELECT count(*) FROM strict WHERE note='note '||id"),
                     BENCH_ROWS);
}

/* Stopped after the 1st, 2nd, 3rd … event and run again, a recovery ends as if it had not been stopped. */
static void
stopped_anywhere(struct bench *b)
{
    struct coffer_error err = {0};
    unsigned nth, stops = 0;
    int rc;

    b->options.restored = true;
    for (nth = 1;; nth += 1 + nth / 6) {
        b->stop = 0;
        b->stop_after = nth;
        rc = rotate_run(&b->env, NULL, 0, &b->options, &err);
        b->stop_after = 0;
        if (rc == COFFER_OK)
            break;
        if (rc == COFFER_E_REFUSED &&
            strstr(err.message, "is not finished in this database") != NULL)
            rc =
                strstr(err.message, "unprotect") != NULL
                    ? rotate_unprotect(&b->env, NAMES, BENCH_COLUMN_COUNT, &b->options, &err)
                    : rotate_protect(&b->env, BENCH_COLUMNS, BENCH_COLUMN_COUNT, &b->options, &err);
        if (rc != COFFER_OK && rc != COFFER_E_CANCELLED)
            bench_must(b, rc, &err);
        stops++;
    }
    b->stop = 0;
    assert_true(stops > 1);
}

static void
a_recovery_to_sealed_may_be_stopped_anywhere(void **state)
{
    struct bench *b = *state;

    bench_backup(b, "plain");
    bench_protect(b);
    bench_restore(b, "plain");
    stopped_anywhere(b);
    bench_assert_all_under(b, bench_active_key(b));
    bench_unprotect_and_compare(b);
}

static void
a_recovery_to_plaintext_may_be_stopped_anywhere(void **state)
{
    struct bench *b = *state;

    bench_protect(b);
    bench_backup(b, "sealed");
    unprotect(b);
    bench_restore(b, "sealed");
    stopped_anywhere(b);
    assert_int_equal(columns_in_force(b), 0);
    assert_int_equal(
        bench_number(
            b, "SELECT count(*) FROM patients p JOIN twin t USING(id) WHERE p.ssn IS t.ssn "
               "COLLATE BINARY AND p.born IS t.born AND p.photo IS t.photo AND p.fee IS t.fee"),
        BENCH_ROWS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_copy_from_before_the_protect_is_sealed_again_when_it_is_stated),
        TEST(the_plan_of_a_recovery_says_what_the_copy_is),
        TEST(a_copy_from_within_the_protect_is_sealed_again),
        TEST(planted_plaintext_is_not_sealed_by_making_it_look_restored),
        TEST(a_copy_from_before_the_unprotect_is_unprotected_again_when_it_is_stated),
        TEST(a_copy_of_an_earlier_protection_stays_readable),
        TEST(a_copy_from_before_the_companion_gets_one),
        TEST(a_recovery_to_sealed_may_be_stopped_anywhere),
        TEST(a_recovery_to_plaintext_may_be_stopped_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
