/* SPDX-License-Identifier: Apache-2.0 */
/* NOT NULL made a comment in the stored CREATE TABLE, and put back. */
#include "support/test.h"

#include "sqlite_file.h"

#include <stdio.h>
#include <string.h>

static const struct db_cell_spec CELL = {
    .plain = "note", .sealed = "note_sealed", .type = COFFER_TEXT, .sql_type = "TEXT"};

static const char *
schema(struct db *db)
{
    return sql_text(db, "SELECT sql FROM sqlite_schema WHERE name='t'");
}

static int
go(struct sqlite_file *file, int from, int to)
{
    struct db_table *table = table_of(file->db, "t");
    struct coffer_error err = {0};
    int rc = db_phase_apply(file->db, table, &CELL, from, to, &err);

    if (rc != COFFER_OK)
        print_message("%s\n", err.message);
    db_table_free(table);
    return rc;
}

/* However it was written, it comes back byte by byte. */
static void
every_way_to_write_it_comes_back(void **state)
{
    static const char *const DEFINITIONS[] = {
        "CREATE TABLE t(id INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT",
        "CREATE TABLE t(note TEXT  not\t null  , id INTEGER PRIMARY KEY)",
        "CREATE TABLE \"t\" (id INTEGER PRIMARY KEY, \"note\" VARCHAR(20) CONSTRAINT needed NOT "
        "NULL ON CONFLICT ROLLBACK DEFAULT 'NOT "
        "NULL, (x)' CHECK(length(note) > 0 OR note NOT NULL), other TEXT NOT NULL DEFAULT 'o')",
        "CREATE TABLE t(id INTEGER PRIMARY KEY /* note TEXT NOT NULL, */, /* note NOT NULL -- */ "
        "[note] TEXT NOT NULL UNIQUE)",
        "CREATE TABLE t(id INTEGER PRIMARY KEY, notes TEXT NOT NULL DEFAULT '', note TEXT DEFAULT "
        "('a' || 'b') NOT NULL, CHECK(note NOT NULL OR id > 0))",
        "CREATE TABLE t(id INTEGER NOT NULL, note TEXT NOT NULL, PRIMARY KEY(id)) WITHOUT ROWID",
    };
    struct sqlite_file *file = *state;
    size_t i;

    for (i = 0; i < sizeof DEFINITIONS / sizeof *DEFINITIONS; i++) {
        sql_run(file->db, DEFINITIONS[i]);
        sql_run(file->db, "INSERT INTO t(id, note) VALUES(1, 'a')");
        assert_int_equal(go(file, COFFER_OFF, COFFER_SHADOW), COFFER_OK);
        assert_int_not_equal(sql_try(file->db, "UPDATE t SET note=NULL", NULL), COFFER_OK);
        assert_int_equal(go(file, COFFER_SHADOW, COFFER_DUAL), COFFER_OK);
        assert_int_equal(go(file, COFFER_SHADOW, COFFER_DUAL), COFFER_OK); /* again */
        sql_run(file->db, "UPDATE t SET note=NULL, note_sealed=x'01'");
        assert_int_equal(go(file, COFFER_DUAL, COFFER_SEALED), COFFER_OK);
        assert_int_equal(go(file, COFFER_SEALED, COFFER_DUAL), COFFER_OK);
        sql_run(file->db, "UPDATE t SET note='a', note_sealed=NULL");
        assert_int_equal(go(file, COFFER_SHADOW, COFFER_OFF), COFFER_OK);
        assert_string_equal(schema(file->db), DEFINITIONS[i]);
        assert_string_equal(
            sql_text(file->db, "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'coffer%'"),
            "0");
        assert_int_not_equal(sql_try(file->db, "UPDATE t SET note=NULL", NULL), COFFER_OK);
        assert_string_equal(sql_text(file->db, "PRAGMA integrity_check"), "ok");
        sql_run(file->db, "DROP TABLE t");
    }
}

/* While it is lifted, one of the two has a value: on every connection. */
static void
one_of_the_two_has_a_value(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};

    sql_run(
        file->db,
        "CREATE TABLE t(id INTEGER PRIMARY KEY, note TEXT NOT NULL, other TEXT NOT NULL) STRICT");
    sql_run(file->db, "INSERT INTO t VALUES(1, 'a', 'b')");
    assert_string_equal(sql_text(file->other, "SELECT note FROM t"), "a"); /* has read the schema */
    assert_int_equal(go(file, COFFER_OFF, COFFER_DUAL), COFFER_OK);
    assert_int_equal(sql_try(file->other, "UPDATE t SET note=NULL", &err), COFFER_E_DB);
    assert_non_null(strstr(err.message, "coffer: 23502"));
    assert_int_equal(sql_try(file->other, "INSERT INTO t(id, other) VALUES(2, 'x')", &err),
                     COFFER_E_DB);
    assert_non_null(strstr(err.message, "coffer: 23502"));
    sql_run(file->other, "UPDATE t SET note=NULL, note_sealed=x'01'");
    sql_run(file->other, "INSERT INTO t(id, note_sealed, other) VALUES(2, x'02', 'x')");
    assert_int_not_equal(sql_try(file->other, "UPDATE t SET other=NULL", &err),
                         COFFER_OK); /* another column's stays */
}

/* What cannot be edited is told before anything is done. */
static void
a_comment_within_it_is_an_obstacle(void **state)
{
    struct sqlite_file *file = *state;
    struct db_obstacles found;
    struct db_table *table;
    bool told = false;
    size_t i;

    sql_run(file->db,
            "CREATE TABLE t(id INTEGER PRIMARY KEY, note TEXT NOT /* really */ NULL) STRICT");
    table = table_of(file->db, "t");
    assert_int_equal(db_obstacles(file->db, table, &CELL, &found, NULL), COFFER_OK);
    for (i = 0; i < found.count; i++)
        told = told ||
               (found.items[i].severity == 'r' && strcmp(found.items[i].kind, "not-null") == 0);
    assert_true(told);
    db_obstacles_free(&found);
    db_table_free(table);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, sqlite_file_setup, sqlite_file_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_way_to_write_it_comes_back),
        TEST(one_of_the_two_has_a_value),
        TEST(a_comment_within_it_is_an_obstacle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
