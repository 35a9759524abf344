/* SPDX-License-Identifier: Apache-2.0 */
/* The wrapper that rotation tests rely on. */
#include "sqlite_file.h"
#include "support/faulty_db.h"
#include "support/test.h"

#include <string.h>

/* The n-th call fails, the ones before and after do what they should. */
static void
only_the_chosen_call_fails(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db *faulty = faulty_db_adopt(&file->db);

    file->db = faulty;
    faulty_db_at(faulty, 2, COFFER_E_LOST, FAULTY_BEFORE);
    assert_int_equal(sql_try(faulty, "CREATE TABLE t (a)", &err), COFFER_OK);
    assert_int_equal(sql_try(faulty, "INSERT INTO t VALUES (1)", &err), COFFER_E_LOST);
    assert_non_null(strstr(err.message, "before run"));
    assert_true(faulty_db_fired(faulty));
    assert_string_equal(sql_text(faulty, "SELECT count(*) FROM t"), "0");
    assert_int_equal(faulty_db_calls(faulty), 3);
}

/* A lost answer to COMMIT: the caller sees LOST, the data is there. */
static void
a_lost_answer_leaves_the_work_done(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db *faulty = faulty_db_adopt(&file->db);

    file->db = faulty;
    sql_run(faulty, "CREATE TABLE t (a)");
    faulty_db_at(faulty, 3, COFFER_E_LOST, FAULTY_AFTER);
    assert_int_equal(db_begin(faulty, DB_TXN_WRITE, &err), COFFER_OK);
    sql_run(faulty, "INSERT INTO t VALUES (1)");
    assert_int_equal(db_commit(faulty, &err), COFFER_E_LOST);
    assert_string_equal(sql_text(file->other, "SELECT count(*) FROM t"), "1");
}

/* A failure inside a transaction leaves none open, as db.h says. */
static void
an_injected_failure_rolls_back(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db *faulty = faulty_db_adopt(&file->db);

    file->db = faulty;
    sql_run(faulty, "CREATE TABLE t (a)");
    faulty_db_at(faulty, 3, COFFER_E_CONFLICT, FAULTY_BEFORE);
    assert_int_equal(db_begin(faulty, DB_TXN_WRITE, &err), COFFER_OK);
    sql_run(faulty, "INSERT INTO t VALUES (1)");
    assert_int_equal(db_commit(faulty, &err), COFFER_E_CONFLICT);
    assert_int_equal(db_begin(faulty, DB_TXN_WRITE, &err), COFFER_OK);
    assert_string_equal(sql_text(faulty, "SELECT count(*) FROM t"), "0");
    db_rollback(faulty);
}

/* Calls on a walk count too, and the walk belongs to the wrapper. */
static void
walks_go_through_the_wrapper(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db *faulty = faulty_db_adopt(&file->db);
    struct db_want want = {.cell = {.plain = "v", .type = COFFER_TEXT, .sql_type = "TEXT"},
                           .goal = DB_GOAL_SEAL,
                           .target_key = 7};
    struct db_table *table;
    struct db_walk *walk = NULL;
    struct db_batch *batch = NULL;

    file->db = faulty;
    sql_run(faulty,
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)\nINSERT INTO t VALUES (1,'x')");
    table = table_of(faulty, "t");
    assert_int_equal(db_walk_open(faulty, table, &want, 1, &walk, &err), COFFER_OK);
    faulty_db_at(faulty, 1, COFFER_E_LOST, FAULTY_AFTER);
    assert_int_equal(db_walk_read(walk, NULL, NULL, 10, &batch, &err), COFFER_E_LOST);
    assert_null(batch);
    assert_int_equal(db_walk_read(walk, NULL, NULL, 10, &batch, &err), COFFER_OK);
    assert_int_equal(batch->count, 1);
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
}

#define WITH_FILE(test)                                                                            \
    cmocka_unit_test_setup_teardown(test, sqlite_file_setup, sqlite_file_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILE(only_the_chosen_call_fails),
        WITH_FILE(a_lost_answer_leaves_the_work_done),
        WITH_FILE(an_injected_failure_rolls_back),
        WITH_FILE(walks_go_through_the_wrapper),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
