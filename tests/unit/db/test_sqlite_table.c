/* SPDX-License-Identifier: Apache-2.0 */
/* Tables as the walk sees them: every kind of key SQLite allows, names that bite, obstacles. */
#include "sqlite_file.h"
#include "support/test.h"

#include <string.h>

static struct db_table *
made(struct sqlite_file *file, const char *sql)
{
    sql_run(file->db, sql);
    return table_of(file->db, "t");
}

static void
integer_primary_key_is_the_rowid(void **state)
{
    struct db_table *table = made(*state, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)");

    assert_int_equal(table->key_kind, DB_KEY_PRIMARY);
    assert_string_equal(table->key[0], "id");
    assert_true(table->primary_not_null);
    assert_true(table->key_generated);
    db_table_free(table);
}

/* The one spelling that looks like a rowid alias and is none: it may hold NULL. */
static void
integer_primary_key_desc_may_hold_null(void **state)
{
    struct sqlite_file *file = *state;
    struct db_table *table = made(file, "CREATE TABLE t (id INTEGER PRIMARY KEY DESC, v TEXT)");

    sql_run(file->db, "INSERT INTO t VALUES (NULL,'a')");
    assert_string_equal(sql_text(file->db, "SELECT count(*) FROM t WHERE id IS NULL"), "1");
    assert_int_equal(table->key_kind, DB_KEY_ROWID);
    assert_false(table->primary_not_null);
    db_table_free(table);
}

static void
nullable_primary_key_is_no_walk_key(void **state)
{
    struct db_table *table = made(*state, "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT)");

    assert_int_equal(table->key_kind, DB_KEY_ROWID);
    assert_string_equal(table->key[0], "rowid");
    assert_false(table->primary_not_null);
    db_table_free(table);
}

static void
composite_key_keeps_its_declared_order(void **state)
{
    struct db_table *table = made(
        *state, "CREATE TABLE t (a TEXT NOT NULL, b INT NOT NULL, v TEXT, PRIMARY KEY (b, a))");

    assert_int_equal(table->key_count, 2);
    assert_string_equal(table->key[0], "b");
    assert_string_equal(table->key[1], "a");
    assert_int_equal(table->key_types[0], COFFER_INT64);
    assert_int_equal(table->key_types[1], COFFER_TEXT);
    assert_true(table->primary_not_null);
    assert_false(table->key_generated);
    db_table_free(table);
}

static void
without_rowid_key_is_not_null(void **state)
{
    struct db_table *table =
        made(*state, "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID");

    assert_int_equal(table->key_kind, DB_KEY_PRIMARY);
    assert_true(table->primary_not_null);
    db_table_free(table);
}

static void
unique_index_over_not_null_columns_serves(void **state)
{
    struct db_table *table = made(*state, "CREATE TABLE t (id TEXT PRIMARY KEY, n INT NOT NULL "
                                          "UNIQUE, v TEXT)");

    assert_int_equal(table->key_kind, DB_KEY_UNIQUE);
    assert_string_equal(table->key[0], "n");
    assert_false(table->primary_not_null);
    db_table_free(table);
}

/* Partial, nullable, collated and expression indexes would miss rows or hold them twice. */
static void
unique_indexes_that_do_not_fit_are_left(void **state)
{
    struct db_table *table =
        made(*state, "CREATE TABLE t (a TEXT NOT NULL, b TEXT, c TEXT NOT NULL COLLATE NOCASE, v)\n"
                     "CREATE UNIQUE INDEX i1 ON t(a) WHERE a > 'm'\n"
                     "CREATE UNIQUE INDEX i2 ON t(b)\n"
                     "CREATE UNIQUE INDEX i3 ON t(a COLLATE NOCASE)\n"
                     "CREATE UNIQUE INDEX i4 ON t(lower(a))\n"
                     "CREATE UNIQUE INDEX i5 ON t(c COLLATE BINARY)");

    assert_int_equal(table->key_kind, DB_KEY_ROWID);
    db_table_free(table);
}

/* 'a' and 'A' are two keys of this index and one to the column's comparisons. */
static void
key_with_a_collation_of_its_own_is_left(void **state)
{
    struct db_table *table = made(*state, "CREATE TABLE t (k TEXT NOT NULL COLLATE NOCASE, v TEXT, "
                                          "PRIMARY KEY (k COLLATE BINARY))");

    assert_int_equal(table->key_kind, DB_KEY_ROWID);
    assert_false(table->primary_not_null);
    db_table_free(table);
}

static void
taken_rowid_names_are_stepped_over(void **state)
{
    struct sqlite_file *file = *state;
    struct db_table *table = NULL;
    struct coffer_error err = {0};

    sql_run(file->db, "CREATE TABLE t (rowid TEXT, OID TEXT, v)\n"
                      "CREATE TABLE u (rowid TEXT, oid TEXT, _ROWID_ TEXT, v)");
    table = table_of(file->db, "t");
    assert_string_equal(table->key[0], "_rowid_");
    db_table_free(table);
    assert_int_equal(db_table_open(file->db, "u", &table, &err), COFFER_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "add a primary key"));
    assert_null(table);
}

static void
columns_say_what_they_are(void **state)
{
    static const struct {
        const char *name;
        int type;
    } EXPECTED[] = {
        {"a", COFFER_INT64}, {"b", COFFER_INT64}, {"c", COFFER_FLOAT64},   {"d", COFFER_NUMERIC},
        {"e", COFFER_TEXT},  {"f", COFFER_TEXT},  {"g", COFFER_BYTES},     {"h", COFFER_BYTES},
        {"i", COFFER_BOOL},  {"j", COFFER_DATE},  {"k", COFFER_TIMESTAMP}, {"l", COFFER_TIMESTAMP},
        {"m", COFFER_UUID},  {"n", COFFER_JSON},  {"o", COFFER_FLOAT64},
    };
    struct db_table *table =
        made(*state, "CREATE TABLE t (a INTEGER, b BIGINT, c REAL, d DECIMAL(10,2), e VARCHAR(20), "
                     "f CLOB, g BLOB, h, i BOOLEAN, j DATE, k DATETIME, l TIMESTAMP, m UUID, n "
                     "JSON, o DOUBLE PRECISION, p GEOMETRY, q INT AS (a+1) STORED, r TEXT NOT NULL "
                     "DEFAULT 'x')");
    size_t i;

    for (i = 0; i < sizeof EXPECTED / sizeof *EXPECTED; i++)
        assert_int_equal(db_table_column(table, EXPECTED[i].name)->type, EXPECTED[i].type);
    assert_int_equal(db_table_column(table, "p")->type, 0);
    assert_true(db_table_column(table, "q")->generated);
    assert_true(db_table_column(table, "r")->not_null);
    assert_true(db_table_column(table, "r")->has_default);
    assert_null(db_table_column(table, "nope"));
    db_table_free(table);
}

static void
a_missing_table_names_the_near_ones(void **state)
{
    struct sqlite_file *file = *state;
    struct db_table *table = NULL;
    struct coffer_error err = {0};

    sql_run(file->db, "CREATE TABLE patients (id INTEGER PRIMARY KEY)\n"
                      "CREATE VIEW w AS SELECT * FROM patients");
    assert_int_equal(db_table_open(file->db, "patient", &table, &err), COFFER_E_NOTFOUND);
    assert_non_null(strstr(err.message, "patients"));
    assert_int_equal(db_table_open(file->db, "w", &table, &err), COFFER_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "view"));
}

/* Whatever a name holds, it is a name. */
static void
hostile_names_are_only_names(void **state)
{
    static const char *const NAMES[] = {
        "select", "a b",       "qu\"ote", "x\"; DROP TABLE keep; --", "Ünï≈☃", "per%cent%s",
        "it's",   "[bracket]", "`tick`",
    };
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    size_t i;

    sql_run(file->db, "CREATE TABLE keep (a)");
    for (i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        struct db_cell_spec cell = {.plain = NAMES[i], .type = COFFER_TEXT, .sql_type = "TEXT"};
        struct db_want want = {.cell = cell, .goal = DB_GOAL_SEAL, .target_key = 7};
        uint32_t refused = 9;
        struct db_fence fence = {
            .cell = cell, .refused = &refused, .refused_count = 1, .refuse_plaintext = true};
        struct db_obstacles obstacles;
        struct db_table *table;
        struct db_walk *walk = NULL;
        struct db_batch *batch = NULL;
        struct db_count *count = NULL;
        struct buf sql;

        buf_init(&sql, 4096);
        buf_str(&sql, "CREATE TABLE ");
        db_quote(file->db, NAMES[i], &sql);
        buf_str(&sql, " (");
        db_quote(file->db, i % 2 ? "id" : "\"; --", &sql);
        buf_str(&sql, " INTEGER PRIMARY KEY, ");
        db_quote(file->db, NAMES[i], &sql);
        buf_str(&sql, " TEXT)");
        sql_run(file->db, buf_cstr(&sql));
        buf_clear(&sql);
        buf_str(&sql, "INSERT INTO ");
        db_quote(file->db, NAMES[i], &sql);
        buf_str(&sql, " VALUES (1,'secret')");
        sql_run(file->db, buf_cstr(&sql));
        table = table_of(file->db, NAMES[i]);
        assert_string_equal(table->name, NAMES[i]);
        assert_int_equal(db_obstacles(file->db, table, &cell, &obstacles, &err), COFFER_OK);
        db_obstacles_free(&obstacles);
        assert_int_equal(db_walk_open(file->db, table, &want, 1, &walk, &err), COFFER_OK);
        assert_int_equal(db_walk_read(walk, NULL, NULL, 10, &batch, &err), COFFER_OK);
        assert_int_equal(batch->count, 1);
        batch->rows[0].cells[0].set_sealed = true;
        batch->rows[0].cells[0].new_sealed = envelope(7, 1);
        assert_int_equal(db_walk_write(walk, batch, NULL, 0, "r", &err), COFFER_OK);
        assert_int_equal(batch->rows[0].outcome, DB_ROW_DONE);
        db_batch_free(batch);
        db_walk_close(walk);
        assert_int_equal(db_count(file->db, table, &cell, &count, &err), COFFER_OK);
        assert_int_equal(count->keys[0].key_id, 7);
        db_count_free(count);
        assert_int_equal(db_fence_set(file->db, table, &fence, 1, &err), COFFER_OK);
        assert_int_equal(sql_try(file->db, buf_cstr(&sql), &err), COFFER_E_DB);
        assert_int_equal(db_fence_set(file->db, table, NULL, 0, &err), COFFER_OK);
        db_table_free(table);
        buf_wipe(&sql);
    }
    assert_string_equal(sql_text(file->db, "SELECT count(*) FROM keep"), "0");
}

static const struct db_obstacle *
obstacle_of(const struct db_obstacles *list, const char *kind)
{
    size_t i;

    for (i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].kind, kind) == 0)
            return &list->items[i];
    }
    return NULL;
}

static void
every_obstacle_is_named(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db_cell_spec cell = {.plain = "ssn", .type = COFFER_TEXT, .sql_type = "TEXT"};
    struct db_cell_spec age = {.plain = "age", .type = COFFER_INT64, .sql_type = "INT"};
    struct db_cell_spec free_column = {.plain = "note", .type = COFFER_TEXT, .sql_type = "TEXT"};
    struct db_obstacles list;
    struct db_table *table =
        made(file, "CREATE TABLE t (id INTEGER PRIMARY KEY, ssn TEXT COLLATE NOCASE NOT NULL "
                   "DEFAULT '0' UNIQUE CHECK (length(ssn) < 12) REFERENCES o(k), age INT, note "
                   "TEXT, g AS (upper(ssn)))\n"
                   "CREATE TABLE o (k TEXT UNIQUE)\n"
                   "CREATE INDEX by_ssn ON t(ssn)\n"
                   "CREATE VIEW shows AS SELECT ssn FROM t\n"
                   "CREATE TRIGGER copies AFTER UPDATE OF ssn ON t BEGIN SELECT NEW.ssn; END\n"
                   "CREATE VIRTUAL TABLE words USING fts5(ssn, content='t', content_rowid='id')\n"
                   "INSERT INTO t(id,ssn,age) VALUES (1,'a',3),(5,'b','old'),(6,'c','older')");

    assert_int_equal(db_obstacles(file->db, table, &cell, &list, &err), COFFER_OK);
    assert_non_null(obstacle_of(&list, "index"));
    assert_string_equal(obstacle_of(&list, "view")->object, "shows");
    assert_string_equal(obstacle_of(&list, "trigger")->object, "copies");
    assert_non_null(obstacle_of(&list, "unique"));
    assert_non_null(obstacle_of(&list, "check"));
    assert_non_null(obstacle_of(&list, "default"));
    assert_non_null(obstacle_of(&list, "collation"));
    assert_non_null(obstacle_of(&list, "generated"));
    assert_int_equal(obstacle_of(&list, "foreign-key")->severity, 'r');
    assert_string_equal(obstacle_of(&list, "copy")->object, "words");
    db_obstacles_free(&list);

    assert_int_equal(db_obstacles(file->db, table, &age, &list, &err), COFFER_OK);
    assert_int_equal(obstacle_of(&list, "storage-class")->severity, 'r');
    assert_non_null(
        strstr(obstacle_of(&list, "storage-class")->text, "2 cells of t.age: text that is no "));
    assert_non_null(strstr(obstacle_of(&list, "storage-class")->text, "id 5"));
    db_obstacles_free(&list);

    /* A column that nothing touches has none, though its table is full of them. */
    assert_int_equal(db_obstacles(file->db, table, &free_column, &list, &err), COFFER_OK);
    assert_int_equal(list.count, 0);
    db_obstacles_free(&list);
    db_table_free(table);
}

/* Text that is no date as we write it would not come back the same: it is counted before, not met
 * later; a sealed cell is no obstacle. */
static void
values_that_would_not_come_back_are_counted(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db_cell_spec born = {.plain = "born", .type = COFFER_DATE, .sql_type = "DATE"};
    struct db_obstacles list;
    struct db_table *table = made(file, "CREATE TABLE t (id INTEGER PRIMARY KEY, born DATE)\n"
                                        "INSERT INTO t VALUES (1,'1999-12-31'),(2,NULL)");
    struct coffer_value cell = {
        .type = COFFER_BYTES, .data = envelope(7, 1).ptr, .len = envelope(7, 1).len};

    assert_int_equal(db_run(file->db, "INSERT INTO t VALUES (3,$1)", &cell, 1, NULL, &err),
                     COFFER_OK);
    assert_int_equal(db_obstacles(file->db, table, &born, &list, &err), COFFER_OK);
    assert_int_equal(list.count, 0);
    db_obstacles_free(&list);
    sql_run(file->db, "INSERT INTO t VALUES (4,'31.12.1999')");
    assert_int_equal(db_obstacles(file->db, table, &born, &list, &err), COFFER_OK);
    assert_non_null(strstr(obstacle_of(&list, "storage-class")->text, "id 4"));
    db_obstacles_free(&list);
    db_table_free(table);
}

#define WITH_FILE(test)                                                                            \
    cmocka_unit_test_setup_teardown(test, sqlite_file_setup, sqlite_file_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILE(integer_primary_key_is_the_rowid),
        WITH_FILE(integer_primary_key_desc_may_hold_null),
        WITH_FILE(nullable_primary_key_is_no_walk_key),
        WITH_FILE(composite_key_keeps_its_declared_order),
        WITH_FILE(without_rowid_key_is_not_null),
        WITH_FILE(unique_index_over_not_null_columns_serves),
        WITH_FILE(unique_indexes_that_do_not_fit_are_left),
        WITH_FILE(key_with_a_collation_of_its_own_is_left),
        WITH_FILE(taken_rowid_names_are_stepped_over),
        WITH_FILE(columns_say_what_they_are),
        WITH_FILE(a_missing_table_names_the_near_ones),
        WITH_FILE(hostile_names_are_only_names),
        WITH_FILE(every_obstacle_is_named),
        WITH_FILE(values_that_would_not_come_back_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
