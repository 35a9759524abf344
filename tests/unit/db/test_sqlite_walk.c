/* SPDX-License-Identifier: Apache-2.0 */
/* The walk: what is read is what is stored, and a row is written only if it is still that row. */
#include "base/mem.h"
#include "sqlite_file.h"
#include "support/test.h"

#include <stdio.h>
#include <string.h>

#define KEY 0x00c0ffeeu

static struct db_want
wants(const char *column, int type, enum db_goal goal)
{
    return (struct db_want){
        .cell = {.plain = column, .type = type, .sql_type = ""}, .goal = goal, .target_key = KEY};
}

static struct db_walk *
walk_of(struct db *db, const struct db_table *table, const struct db_want *want, size_t count)
{
    struct db_walk *walk = NULL;
    struct coffer_error err = {0};

    if (db_walk_open(db, table, want, count, &walk, &err) != COFFER_OK)
        fail_msg("%s", err.message);
    return walk;
}

static struct db_batch *
batch_of(struct db_walk *walk)
{
    struct db_batch *batch = NULL;
    struct coffer_error err = {0};

    if (db_walk_read(walk, NULL, NULL, 100, &batch, &err) != COFFER_OK)
        fail_msg("%s", err.message);
    return batch;
}

static void
seal_rows(struct db_batch *batch)
{
    size_t r, i;

    for (r = 0; r < batch->count; r++) {
        for (i = 0; i < batch->cell_count; i++) {
            batch->rows[r].cells[i].set_sealed = true;
            batch->rows[r].cells[i].new_sealed = envelope(KEY, (uint8_t)(r + i));
        }
    }
}

static int
write_of(struct db_walk *walk, struct db_batch *batch, struct coffer_error *err)
{
    return db_walk_write(walk, batch, NULL, 0, "rotation", err);
}

/* Declared type, type, what is stored, and whether that is a value of the type. */
static const struct {
    const char *declared;
    int type;
    const char *stored;
    bool suits;
} VALUES[] = {
    {"INTEGER", COFFER_INT64, "42", true},
    {"BIGINT", COFFER_INT64, "9007199254740993", true},
    {"BIGINT", COFFER_INT64, "-9223372036854775808", true},
    {"INTEGER", COFFER_INT64, "'forty'", false},
    {"INTEGER", COFFER_INT64, "1.5", false},
    {"BOOLEAN", COFFER_BOOL, "1", true},
    {"BOOLEAN", COFFER_BOOL, "2", false},
    {"BOOLEAN", COFFER_BOOL, "'true'", false},
    {"REAL", COFFER_FLOAT64, "0.1", true},
    {"REAL", COFFER_FLOAT64, "1e300", true},
    {"REAL", COFFER_FLOAT64, "5", true},
    {"REAL", COFFER_FLOAT64, "'x'", false},
    {"NUMERIC", COFFER_NUMERIC, "5", true},
    {"DECIMAL(10,2)", COFFER_NUMERIC, "1.5", true},
    {"NUMERIC", COFFER_NUMERIC, "1e300", false},
    {"NUMERIC", COFFER_NUMERIC, "0.1+0.2", false},
    {"NUMERIC", COFFER_NUMERIC, "'1.5x'", false},
    {"REAL", COFFER_NUMERIC, "2.0", true},
    {"TEXT", COFFER_NUMERIC, "'1.50'", true},
    {"TEXT", COFFER_NUMERIC, "'-0.00'", true},
    {"TEXT", COFFER_NUMERIC, "'1e5'", false},
    {"TEXT", COFFER_NUMERIC, "'.5'", false},
    {"TEXT", COFFER_NUMERIC, "''", false},
    {"", COFFER_NUMERIC, "5", false},
    {"", COFFER_NUMERIC, "'5'", true},
    {"TEXT", COFFER_TEXT, "'Zoë ☃'", true},
    {"TEXT", COFFER_TEXT, "''", true},
    {"VARCHAR(5)", COFFER_TEXT, "'longer than five'", true},
    {"TEXT", COFFER_TEXT, "CAST(x'ff' AS TEXT)", false},
    {"TEXT", COFFER_TEXT, "'a'||char(0)||'b'", true},
    {"INTEGER", COFFER_TEXT, "7", false},
    {"BLOB", COFFER_BYTES, "x'00f9'", true},
    {"BLOB", COFFER_BYTES, "x''", true},
    {"", COFFER_BYTES, "x'f9'", true},
    {"BLOB", COFFER_BYTES, "'text'", false},
    {"DATE", COFFER_DATE, "'1969-07-20'", true},
    {"DATE", COFFER_DATE, "'0001-01-01'", true},
    {"DATE", COFFER_DATE, "'2024-02-29'", true},
    {"DATE", COFFER_DATE, "'2023-02-29'", false},
    {"DATE", COFFER_DATE, "'1.2.2023'", false},
    {"DATE", COFFER_DATE, "'2023-1-1'", false},
    {"DATE", COFFER_DATE, "20230101", false},
    {"DATETIME", COFFER_TIMESTAMP, "'2023-04-05 06:07:08'", true},
    {"DATETIME", COFFER_TIMESTAMP, "'1969-12-31 23:59:59.999999'", true},
    {"DATETIME", COFFER_TIMESTAMP, "'2023-04-05 06:07:08.5'", true},
    {"DATETIME", COFFER_TIMESTAMP, "'2023-04-05 06:07:08.500'", false},
    {"DATETIME", COFFER_TIMESTAMP, "'2023-04-05T06:07:08'", false},
    {"DATETIME", COFFER_TIMESTAMP, "'2023-04-05 24:00:00'", false},
    {"TIMESTAMP", COFFER_TIMESTAMP, "'2023-04-05 06:07:08Z'", false},
    {"TIMESTAMP", COFFER_TIMESTAMP, "1680675000", false},
    {"UUID", COFFER_UUID, "'00112233-4455-6677-8899-aabbccddeeff'", true},
    {"UUID", COFFER_UUID, "'00112233-4455-6677-8899-AABBCCDDEEFF'", false},
    {"UUID", COFFER_UUID, "'00112233445566778899aabbccddeeff'", false},
    {"BLOB", COFFER_UUID, "x'00112233445566778899aabbccddeeff'", true},
    {"BLOB", COFFER_UUID, "x'0011'", false},
    {"JSON", COFFER_JSON, "'{\"a\": 1}'", true},
    {"JSON", COFFER_JSON, "5", false},
};

/* Sealed and unsealed again, every value is the same class and bytes; what could not be is not
 * given as a plaintext at all. */
static void
every_value_comes_back_or_is_left(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    char sql[256], before[300];
    size_t i;

    for (i = 0; i < sizeof VALUES / sizeof *VALUES; i++) {
        struct db_want seal = wants("v", VALUES[i].type, DB_GOAL_SEAL), plain = seal;
        struct db_batch *batch, *back;
        struct db_table *table;
        struct db_walk *walk;
        struct db_cell *cell;

        plain.goal = DB_GOAL_PLAIN;
        snprintf(sql, sizeof sql, "CREATE TABLE t (id INTEGER PRIMARY KEY, v %s)",
                 VALUES[i].declared);
        sql_run(file->db, sql);
        snprintf(sql, sizeof sql, "INSERT INTO t VALUES (1, %s)", VALUES[i].stored);
        sql_run(file->db, sql);
        snprintf(before, sizeof before, "%s",
                 sql_text(file->db, "SELECT typeof(v)||' '||hex(v)||quote(v) FROM t"));
        table = table_of(file->db, "t");
        walk = walk_of(file->db, table, &seal, 1);
        batch = batch_of(walk);
        assert_int_equal(batch->count, 1);
        cell = &batch->rows[0].cells[0];
        if (!VALUES[i].suits) {
            if (cell->plain.type != COFFER_NULL)
                fail_msg("%s %s was taken for a value", VALUES[i].declared, VALUES[i].stored);
            assert_true(cell->plain_unsuitable || cell->sealed.ptr != NULL);
        } else {
            if (cell->plain.type != VALUES[i].type)
                fail_msg("%s %s was not taken", VALUES[i].declared, VALUES[i].stored);
            seal_rows(batch);
            assert_int_equal(write_of(walk, batch, &err), COFFER_OK);
            assert_int_equal(batch->rows[0].outcome, DB_ROW_DONE);
            assert_string_equal(sql_text(file->db, "SELECT typeof(v) FROM t"), "blob");
            db_walk_close(walk);
            walk = walk_of(file->db, table, &plain, 1);
            back = batch_of(walk);
            assert_int_equal(back->count, 1);
            back->rows[0].cells[0].set_plain = true;
            back->rows[0].cells[0].new_plain = cell->plain;
            if (write_of(walk, back, &err) != COFFER_OK)
                fail_msg("%s %s: %s", VALUES[i].declared, VALUES[i].stored, err.message);
            assert_string_equal(
                sql_text(file->db, "SELECT typeof(v)||' '||hex(v)||quote(v) FROM t"), before);
            db_batch_free(back);
        }
        db_batch_free(batch);
        db_walk_close(walk);
        db_table_free(table);
        sql_run(file->db, "DROP TABLE t");
    }
}

/* What another connection wrote between our read and our write stays, whatever the column's
 * comparisons say about it. */
static void
a_change_in_between_is_never_overwritten(void **state)
{
    static const struct {
        const char *declared;
        int type;
        const char *before, *after;
    } CASES[] = {
        {"TEXT COLLATE NOCASE", COFFER_TEXT, "'bob'", "'Bob'"},
        {"TEXT COLLATE RTRIM", COFFER_TEXT, "'bob'", "'bob '"},
        {"TEXT", COFFER_NUMERIC, "'1.0'", "'1.00'"},
        {"", COFFER_TEXT, "'1'", "1"},
        {"", COFFER_INT64, "1", "1.0"},
        {"", COFFER_BYTES, "x'61'", "'a'"},
        {"", COFFER_TEXT, "'a'", "x'61'"},
        {"", COFFER_TEXT, "'a'", "'a'||char(0)"},
        {"INTEGER", COFFER_INT64, "9007199254740992", "9007199254740993"},
        {"REAL", COFFER_FLOAT64, "0.1", "0.1000000000000000055"}, /* the same number */
        {"REAL", COFFER_FLOAT64, "0.1", "0.10000000000000002"},
        {"DATE", COFFER_DATE, "'2020-01-01'", "'2020-01-02'"},
        {"UUID", COFFER_UUID, "'00112233-4455-6677-8899-aabbccddeeff'", "NULL"},
        {"JSON", COFFER_JSON, "'{}'", "'{ }'"},
        {"BOOLEAN", COFFER_BOOL, "0", "1"},
    };
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    char sql[256], after[200];
    size_t i;

    for (i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct db_want seal = wants("v", CASES[i].type, DB_GOAL_SEAL);
        bool same = strstr(CASES[i].after, "055") != NULL;
        struct db_batch *batch;
        struct db_table *table;
        struct db_walk *walk;

        snprintf(sql, sizeof sql, "CREATE TABLE t (id INTEGER PRIMARY KEY, v %s)",
                 CASES[i].declared);
        sql_run(file->db, sql);
        snprintf(sql, sizeof sql, "INSERT INTO t VALUES (1, %s)", CASES[i].before);
        sql_run(file->db, sql);
        table = table_of(file->db, "t");
        walk = walk_of(file->db, table, &seal, 1);
        batch = batch_of(walk);
        seal_rows(batch);
        snprintf(sql, sizeof sql, "UPDATE t SET v = %s", CASES[i].after);
        sql_run(file->other, sql);
        snprintf(after, sizeof after, "%s", sql_text(file->db, "SELECT typeof(v)||hex(v) FROM t"));
        assert_int_equal(write_of(walk, batch, &err), COFFER_OK);
        if (batch->rows[0].outcome != (same ? DB_ROW_DONE : DB_ROW_MOVED))
            fail_msg("%s %s to %s", CASES[i].declared, CASES[i].before, CASES[i].after);
        if (!same)
            assert_string_equal(sql_text(file->db, "SELECT typeof(v)||hex(v) FROM t"), after);
        db_batch_free(batch);
        db_walk_close(walk);
        db_table_free(table);
        sql_run(file->db, "DROP TABLE t");
    }
}

static void
gone_and_renumbered_rows_have_moved(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db_want seal = wants("v", COFFER_TEXT, DB_GOAL_SEAL);
    struct db_batch *batch;
    struct db_table *table;
    struct db_walk *walk;

    sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)\n"
                      "INSERT INTO t VALUES (1,'a'),(2,'b'),(3,'c')");
    table = table_of(file->db, "t");
    walk = walk_of(file->db, table, &seal, 1);
    batch = batch_of(walk);
    seal_rows(batch);
    sql_run(file->other, "DELETE FROM t WHERE id=1\nUPDATE t SET id=9 WHERE id=2");
    assert_int_equal(write_of(walk, batch, &err), COFFER_OK);
    assert_int_equal(batch->rows[0].outcome, DB_ROW_MOVED);
    assert_int_equal(batch->rows[1].outcome, DB_ROW_MOVED);
    assert_int_equal(batch->rows[2].outcome, DB_ROW_DONE);
    assert_string_equal(sql_text(file->db, "SELECT v FROM t WHERE id=9"), "b");
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
}

/* All cells of a row or none: one changed cell keeps the others from being set. */
static void
one_changed_cell_holds_the_row(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db_want two[] = {wants("a", COFFER_TEXT, DB_GOAL_SEAL),
                            wants("b", COFFER_INT64, DB_GOAL_SEAL)};
    struct db_batch *batch;
    struct db_table *table;
    struct db_walk *walk;

    sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INT)\n"
                      "INSERT INTO t VALUES (1,'x',1),(2,'y',NULL)");
    table = table_of(file->db, "t");
    walk = walk_of(file->db, table, two, 2);
    batch = batch_of(walk);
    assert_int_equal(batch->rows[1].cells[1].plain.type, COFFER_NULL);
    assert_false(batch->rows[1].cells[1].plain_unsuitable);
    seal_rows(batch);
    batch->rows[1].cells[1].set_sealed = false;
    sql_run(file->other, "UPDATE t SET b=2 WHERE id=1");
    assert_int_equal(write_of(walk, batch, &err), COFFER_OK);
    assert_int_equal(batch->rows[0].outcome, DB_ROW_MOVED);
    assert_int_equal(batch->rows[1].outcome, DB_ROW_DONE);
    assert_string_equal(sql_text(file->db, "SELECT a||b FROM t WHERE id=1"), "x2");
    assert_string_equal(sql_text(file->db, "SELECT typeof(a)||typeof(b) FROM t WHERE id=2"),
                        "blobnull");
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
}

/* A trigger that rewrites what was sent stops the rotation, and nothing of the batch stays. */
static void
mangling_triggers_are_named(void **state)
{
    static const char *const TRIGGERS[] = {
        "CREATE TRIGGER coffer_lower AFTER UPDATE OF v ON t BEGIN UPDATE t SET v=lower(NEW.v) "
        "WHERE "
        "id=NEW.id; END",
        "CREATE TRIGGER coffer_lower_too AFTER UPDATE ON t BEGIN DELETE FROM t WHERE id=NEW.id; "
        "END",
    };
    struct sqlite_file *file = *state;
    struct db_want seal = wants("v", COFFER_TEXT, DB_GOAL_SEAL);
    unsigned i;

    for (i = 0; i < 4; i++) {
        struct coffer_error err = {0};
        struct db_batch *batch;
        struct db_table *table;
        struct db_walk *walk;
        bool late = i >= 2; /* made after the walk was prepared */

        sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)\n"
                          "INSERT INTO t VALUES (1,'A'),(2,'B')");
        table = table_of(file->db, "t");
        if (!late)
            sql_run(file->other, TRIGGERS[i % 2]);
        walk = walk_of(file->db, table, &seal, 1);
        batch = batch_of(walk);
        seal_rows(batch);
        if (late)
            sql_run(file->other, TRIGGERS[i % 2]);
        assert_int_equal(write_of(walk, batch, &err), COFFER_E_MANGLED);
        assert_non_null(strstr(err.message, "coffer_lower"));
        assert_non_null(strstr(err.message, "t.v"));
        assert_string_equal(sql_text(file->other, "SELECT group_concat(v) FROM t"), "A,B");
        db_batch_free(batch);
        db_walk_close(walk);
        db_table_free(table);
        sql_run(file->db, "DROP TABLE t");
    }
}

/* A trigger that touches something else is no obstacle. */
static void
harmless_triggers_do_not_stop_it(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db_want seal = wants("v", COFFER_TEXT, DB_GOAL_SEAL);
    struct db_batch *batch;
    struct db_table *table;
    struct db_walk *walk;

    sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT, touched INT DEFAULT 0)\n"
                      "CREATE TRIGGER touch AFTER UPDATE OF v ON t BEGIN UPDATE t SET "
                      "touched=touched+1 WHERE id=NEW.id; END\n"
                      "INSERT INTO t(id,v) VALUES (1,'a'),(2,'b')");
    table = table_of(file->db, "t");
    walk = walk_of(file->db, table, &seal, 1);
    batch = batch_of(walk);
    seal_rows(batch);
    sql_run(file->other, "UPDATE t SET v='mine' WHERE id=2");
    assert_int_equal(write_of(walk, batch, &err), COFFER_OK);
    assert_int_equal(batch->rows[0].outcome, DB_ROW_DONE);
    assert_int_equal(batch->rows[1].outcome, DB_ROW_MOVED);
    assert_string_equal(sql_text(file->db, "SELECT v FROM t WHERE id=2"), "mine");
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
}

static const char *const JOURNALS[] = {"PRAGMA journal_mode=DELETE", "PRAGMA journal_mode=WAL"};

/* No room: IO, and each row is what it was; with room again the same batch goes through. */
static void
a_full_disk_changes_nothing(void **state)
{
    struct sqlite_file *file = *state;
    struct db_want seal = wants("v", COFFER_TEXT, DB_GOAL_SEAL);
    char sql[100], before[200];
    unsigned mode;

    for (mode = 0; mode < 2; mode++) {
        struct coffer_error err = {0};
        struct db_batch *batch;
        struct db_table *table;
        struct db_walk *walk;

        sql_text(file->db, JOURNALS[mode]);
        sql_run(file->db, "VACUUM\n"
                          "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)\n"
                          "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE "
                          "i<100) INSERT INTO t SELECT i, 'v'||i FROM n");
        snprintf(before, sizeof before, "%s", sql_text(file->db, "SELECT sum(length(v)) FROM t"));
        table = table_of(file->db, "t");
        walk = walk_of(file->db, table, &seal, 1);
        batch = batch_of(walk);
        seal_rows(batch);
        snprintf(sql, sizeof sql, "PRAGMA max_page_count=%s",
                 sql_text(file->db, "PRAGMA page_count"));
        sql_text(file->db, sql);
        assert_int_equal(write_of(walk, batch, &err), COFFER_E_IO);
        assert_non_null(strstr(err.message, "Is the disk full?"));
        assert_string_equal(sql_text(file->other, "SELECT sum(length(v)) FROM t"), before);
        assert_string_equal(sql_text(file->other, "SELECT count(*) FROM t WHERE typeof(v)='text'"),
                            "100");
        sql_text(file->db, "PRAGMA max_page_count=100000");
        assert_int_equal(write_of(walk, batch, &err), COFFER_OK);
        assert_string_equal(sql_text(file->other, "SELECT count(*) FROM t WHERE typeof(v)='blob'"),
                            "100");
        assert_string_equal(sql_text(file->other, "PRAGMA integrity_check"), "ok");
        db_batch_free(batch);
        db_walk_close(walk);
        db_table_free(table);
        sql_run(file->db, "DROP TABLE t");
    }
}

/* Another writer: CONFLICT, nothing open afterwards, and it works once he is gone. */
static void
a_writer_elsewhere_is_a_conflict(void **state)
{
    struct sqlite_file *file = *state;
    struct db_want seal = wants("v", COFFER_TEXT, DB_GOAL_SEAL);
    unsigned mode;

    for (mode = 0; mode < 2; mode++) {
        struct coffer_error err = {0};
        struct db_batch *batch;
        struct db_table *table;
        struct db_walk *walk;

        sql_text(file->db, JOURNALS[mode]);
        sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)\n"
                          "INSERT INTO t VALUES (1,'a')");
        table = table_of(file->db, "t");
        walk = walk_of(file->db, table, &seal, 1);
        batch = batch_of(walk);
        seal_rows(batch);
        assert_int_equal(db_begin(file->other, DB_TXN_WRITE, &err), COFFER_OK);
        assert_int_equal(write_of(walk, batch, &err), COFFER_E_CONFLICT);
        db_rollback(file->other);
        assert_int_equal(write_of(walk, batch, &err), COFFER_OK);
        assert_int_equal(batch->rows[0].outcome, DB_ROW_DONE);
        db_batch_free(batch);
        db_walk_close(walk);
        db_table_free(table);
        sql_run(file->db, "DROP TABLE t");
    }
}

/* Rows in hand hold no lock: others write, and even change the table's shape. */
static void
no_lock_is_held_between_read_and_write(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db_want seal = wants("v", COFFER_TEXT, DB_GOAL_SEAL);
    struct db_batch *batch;
    struct db_table *table;
    struct db_walk *walk;

    sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)\n"
                      "INSERT INTO t VALUES (1,'a')");
    table = table_of(file->db, "t");
    walk = walk_of(file->db, table, &seal, 1);
    batch = batch_of(walk);
    seal_rows(batch);
    sql_run(file->other, "ALTER TABLE t ADD COLUMN more INT\nINSERT INTO t VALUES (2,'b',1)");
    assert_int_equal(write_of(walk, batch, &err), COFFER_OK);
    assert_int_equal(batch->rows[0].outcome, DB_ROW_DONE);
    sql_run(file->other, "DROP TABLE t");
    assert_int_equal(write_of(walk, batch, &err), COFFER_E_DB);
    assert_non_null(strstr(err.message, "no such table"));
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
}

static void
the_guard_is_asked_first(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct coffer_value epoch = int_value(3);
    struct db_guard guard = {
        .sql = "SELECT 1 FROM coffer_rotation WHERE epoch=$1", .params = &epoch, .count = 1};
    struct db_want seal = wants("v", COFFER_TEXT, DB_GOAL_SEAL);
    struct db_batch *batch;
    struct db_table *table;
    struct db_walk *walk;

    sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)\n"
                      "INSERT INTO t VALUES (1,'a')");
    assert_int_equal(db_catalog_install(file->db, &err), COFFER_OK);
    sql_run(file->db, "INSERT INTO coffer_rotation VALUES ('r',2,'',x'')");
    table = table_of(file->db, "t");
    walk = walk_of(file->db, table, &seal, 1);
    batch = batch_of(walk);
    seal_rows(batch);
    assert_int_equal(db_walk_write(walk, batch, &guard, 0, "r", &err), COFFER_E_CANCELLED);
    assert_string_equal(sql_text(file->other, "SELECT v FROM t"), "a");
    sql_run(file->other, "UPDATE coffer_rotation SET epoch=3");
    guard.rehearse = true;
    assert_int_equal(db_walk_write(walk, batch, &guard, 0, "r", &err), COFFER_OK);
    assert_int_equal(batch->rows[0].outcome, DB_ROW_DONE);
    assert_string_equal(sql_text(file->other, "SELECT v FROM t"), "a");
    guard.rehearse = false;
    assert_int_equal(db_walk_write(walk, batch, &guard, 0, "r", &err), COFFER_OK);
    assert_string_equal(sql_text(file->other, "SELECT typeof(v) FROM t"), "blob");
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
}

/* Whatever the key, chunks of three visit every row once, in the key's own order. */
static void
chunks_visit_every_row_once(void **state)
{
    static const char *const TABLES[] = {
        "CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)",
        "CREATE TABLE t (k, v TEXT)",
        "CREATE TABLE t (k TEXT NOT NULL PRIMARY KEY COLLATE NOCASE, v TEXT)",
        "CREATE TABLE t (k TEXT COLLATE NOCASE NOT NULL, v TEXT, PRIMARY KEY (k COLLATE BINARY))",
        "CREATE TABLE t (k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID",
        "CREATE TABLE t (k NOT NULL UNIQUE, v TEXT)",
        "CREATE TABLE t (k TEXT PRIMARY KEY DESC NOT NULL, v TEXT)",
        "CREATE TABLE t (k INTEGER PRIMARY KEY DESC, v TEXT)",
        "CREATE TABLE t (k INT NOT NULL, h INT NOT NULL DEFAULT 1, v TEXT, PRIMARY KEY (h, k))",
        "CREATE TABLE t (k TEXT, rowid TEXT, v TEXT)",
    };
    struct sqlite_file *file = *state;
    struct db_want seal = wants("v", COFFER_TEXT, DB_GOAL_SEAL);
    size_t i, r;

    for (i = 0; i < sizeof TABLES / sizeof *TABLES; i++) {
        struct coffer_error err = {0};
        struct db_result *after = NULL, *until = NULL;
        struct db_table *table;
        struct db_walk *walk;
        bool found = true;
        size_t rows = 0, chunks = 0;

        sql_run(file->db, TABLES[i]);
        sql_run(file->db,
                strstr(TABLES[i], "TEXT NOT NULL PRIMARY") || strstr(TABLES[i], "WITHOUT")
                    ? "INSERT INTO t(k,v) VALUES "
                      "('a','1'),('B','2'),('c','3'),('D','4'),('é','5'),('','6'),('zz','7'),"
                      "('f','8')"
                : strstr(TABLES[i], "COLLATE BINARY")
                    ? "INSERT INTO t(k,v) VALUES "
                      "('a','1'),('A','2'),('b','3'),('B','4'),('c','5'),('C','6'),('d','7'),"
                      "('D','8')"
                    : "INSERT INTO t(k,v) VALUES "
                      "(1,'1'),(-5,'2'),(3,'3'),(40,'4'),(5,'5'),(600,'6'),(7,'7'),(8,'8')");
        table = table_of(file->db, "t");
        walk = walk_of(file->db, table, &seal, 1);
        while (found) {
            struct db_batch *batch = NULL;

            assert_int_equal(
                db_walk_bound(walk, after != NULL ? after->cells : NULL, 3, &until, &found, &err),
                COFFER_OK);
            assert_int_equal(db_walk_read(walk, after != NULL ? after->cells : NULL,
                                          found ? until->cells : NULL, 100, &batch, &err),
                             COFFER_OK);
            assert_int_equal(batch->count, found ? 3 : 2);
            assert_true(batch->end);
            assert_int_equal(batch->place_count, table->primary_not_null ? table->key_count : 0);
            seal_rows(batch);
            assert_int_equal(write_of(walk, batch, &err), COFFER_OK);
            for (r = 0; r < batch->count; r++)
                assert_int_equal(batch->rows[r].outcome, DB_ROW_DONE);
            rows += batch->count;
            chunks++;
            db_batch_free(batch);
            db_result_free(after);
            after = until;
            until = NULL;
        }
        db_result_free(after);
        assert_int_equal(rows, 8);
        assert_int_equal(chunks, 3);
        assert_string_equal(sql_text(file->db, "SELECT count(*) FROM t WHERE typeof(v)='blob'"),
                            "8");
        db_walk_close(walk);
        db_table_free(table);
        sql_run(file->db, "DROP TABLE t");
    }
}

/* NOCASE orders the walk; the place is the key as it is stored. */
static void
places_are_stored_bytes(void **state)
{
    struct sqlite_file *file = *state;
    struct db_want seal = wants("v", COFFER_TEXT, DB_GOAL_SEAL);
    struct db_batch *batch;
    struct db_table *table;
    struct db_walk *walk;

    sql_run(file->db, "CREATE TABLE t (k TEXT NOT NULL PRIMARY KEY COLLATE NOCASE, v TEXT)\n"
                      "INSERT INTO t VALUES ('bOb','x'),('ALICE','y')");
    table = table_of(file->db, "t");
    walk = walk_of(file->db, table, &seal, 1);
    batch = batch_of(walk);
    assert_string_equal((const char *)batch->rows[0].place[0].data, "ALICE");
    assert_string_equal((const char *)batch->rows[1].place[0].data, "bOb");
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
}

/* Only rows that need work are read; what cannot be told by its form is read when asked. */
static void
finished_rows_are_not_read_again(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db_want seal = wants("v", COFFER_BYTES, DB_GOAL_SEAL);
    struct coffer_value done = {.type = COFFER_BYTES, .data = envelope(KEY, 1).ptr, .len = 64};
    struct coffer_value old = {.type = COFFER_BYTES, .data = envelope(0xabcd, 2).ptr, .len = 64};
    struct db_batch *batch;
    struct db_table *table;
    struct db_walk *walk;

    sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)\n"
                      "INSERT INTO t VALUES (1,NULL),(4,x'f9'),(5,x'00')");
    assert_int_equal(db_run(file->db, "INSERT INTO t VALUES (2,$1)", &done, 1, NULL, &err),
                     COFFER_OK);
    assert_int_equal(db_run(file->db, "INSERT INTO t VALUES (3,$1)", &old, 1, NULL, &err),
                     COFFER_OK);
    table = table_of(file->db, "t");
    walk = walk_of(file->db, table, &seal, 1);
    batch = batch_of(walk);
    assert_int_equal(batch->count, 3);
    assert_int_equal(batch->rows[0].key[0].i64, 3);
    /* A blob in a bytes column can be either: both are given, and the reader opens it to know. */
    assert_int_equal(batch->rows[0].cells[0].plain.type, COFFER_BYTES);
    assert_non_null(batch->rows[0].cells[0].sealed.ptr);
    db_batch_free(batch);
    db_walk_close(walk);
    seal.examine_all = true;
    walk = walk_of(file->db, table, &seal, 1);
    batch = batch_of(walk);
    assert_int_equal(batch->count, 4);
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
}

static const char *
pair(struct sqlite_file *file)
{
    return sql_text(file->other, "SELECT typeof(v)||' '||typeof(v_sealed) FROM t");
}

/* The whole way of a companion: beside, alone, beside again, plain. */
static void
a_companion_goes_there_and_back(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db_cell_spec cell = {
        .plain = "v", .sealed = "v_sealed", .type = COFFER_TEXT, .sql_type = "TEXT"};
    static const struct {
        enum db_goal goal;
        const char *result;
    } STEPS[] = {
        {DB_GOAL_SEAL_BESIDE, "text blob"},
        {DB_GOAL_SEAL, "null blob"},
        {DB_GOAL_PLAIN, "text null"},
    };
    struct db_table *table;
    size_t i;

    sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT) STRICT\n"
                      "INSERT INTO t VALUES (1,'a')");
    table = table_of(file->db, "t");
    assert_true(table->strict);
    assert_int_equal(db_phase_apply(file->db, table, &cell, COFFER_OFF, COFFER_SHADOW, &err),
                     COFFER_OK);
    for (i = 0; i < sizeof STEPS / sizeof *STEPS; i++) {
        struct db_want want = {.cell = cell, .goal = STEPS[i].goal, .target_key = KEY};
        struct db_walk *walk = walk_of(file->db, table, &want, 1);
        struct db_batch *batch = batch_of(walk);
        struct db_cell *row;

        assert_int_equal(batch->count, 1);
        row = &batch->rows[0].cells[0];
        row->set_sealed = STEPS[i].goal != DB_GOAL_SEAL;
        row->set_plain = STEPS[i].goal != DB_GOAL_SEAL_BESIDE;
        if (STEPS[i].goal == DB_GOAL_SEAL_BESIDE)
            row->new_sealed = envelope(KEY, 3);
        if (STEPS[i].goal == DB_GOAL_PLAIN)
            row->new_plain = text_value("a");
        if (STEPS[i].goal == DB_GOAL_SEAL)
            assert_int_equal(
                db_phase_apply(file->db, table, &cell, COFFER_DUAL, COFFER_SEALED, &err),
                COFFER_OK);
        assert_int_equal(write_of(walk, batch, &err), COFFER_OK);
        assert_int_equal(batch->rows[0].outcome, DB_ROW_DONE);
        assert_string_equal(pair(file), STEPS[i].result);
        db_batch_free(batch);
        batch = batch_of(walk);
        assert_int_equal(batch->count, 0);
        assert_true(batch->end);
        db_batch_free(batch);
        db_walk_close(walk);
    }
    db_table_free(table);
}

/* Plaintext or companion changed in between: the pair is compared as one. */
static void
a_companion_row_changed_on_either_side_has_moved(void **state)
{
    static const char *const CHANGES[] = {"UPDATE t SET v='b'", "UPDATE t SET v_sealed=x'00'",
                                          "UPDATE t SET v='A'"};
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db_want want = {
        .cell = {.plain = "v", .sealed = "v_sealed", .type = COFFER_TEXT, .sql_type = "TEXT"},
        .goal = DB_GOAL_SEAL_BESIDE,
        .target_key = KEY};
    struct db_table *table;
    size_t i;

    sql_run(file->db,
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT COLLATE NOCASE, v_sealed BLOB)");
    table = table_of(file->db, "t");
    for (i = 0; i < 3; i++) {
        struct db_walk *walk = walk_of(file->db, table, &want, 1);
        struct db_batch *batch;

        sql_run(file->db, "INSERT OR REPLACE INTO t VALUES (1,'a',NULL)");
        batch = batch_of(walk);
        seal_rows(batch);
        sql_run(file->other, CHANGES[i]);
        assert_int_equal(write_of(walk, batch, &err), COFFER_OK);
        assert_int_equal(batch->rows[0].outcome, DB_ROW_MOVED);
        db_batch_free(batch);
        db_walk_close(walk);
    }
    db_table_free(table);
}

/* Text form in place: an envelope is text, and so is what a person typed. */
static void
text_form_gives_both_readings(void **state)
{
    struct sqlite_file *file = *state;
    struct db_want want = wants("v", COFFER_TEXT, DB_GOAL_SEAL);
    struct db_batch *batch;
    struct db_table *table;
    struct db_walk *walk;

    want.cell.text_form = true;
    sql_run(file->db,
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)\n"
            "INSERT INTO t VALUES (1,'cfr1.00c0ffee.'||substr(hex(zeroblob(64)),1,64)),"
            "(2,'cfr1.0000abcd.'||substr(hex(zeroblob(64)),1,64)),(3,'cfr1. is a fine word')");
    table = table_of(file->db, "t");
    walk = walk_of(file->db, table, &want, 1);
    batch = batch_of(walk);
    assert_int_equal(batch->count, 2);
    assert_int_equal(batch->rows[0].key[0].i64, 2);
    assert_int_equal(batch->rows[1].cells[0].plain.type, COFFER_TEXT);
    assert_non_null(batch->rows[1].cells[0].sealed.ptr);
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
}

/* Applications wait while a batch commits: in WAL mode it does not wait for the disk, and whatever
 * follows the walk does, so that it is durable before a key is retired. */
static void
in_wal_mode_only_the_walk_leaves_the_disk_to_later(void **state)
{
    static const char *const MODES[] = {"wal", "delete"};
    struct sqlite_file *file = *state;
    struct db_want want = wants("v", COFFER_TEXT, DB_GOAL_SEAL);
    struct db_table *table;
    size_t i;

    sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)");
    table = table_of(file->db, "t");
    for (i = 0; i < 2; i++) {
        struct db_walk *walk;
        char sql[60];

        snprintf(sql, sizeof sql, "PRAGMA journal_mode=%s", MODES[i]);
        assert_string_equal(sql_text(file->db, sql), MODES[i]);
        sql_run(file->db, "PRAGMA synchronous=EXTRA");
        walk = walk_of(file->db, table, &want, 1);
        assert_string_equal(sql_text(file->db, "PRAGMA synchronous"), i == 0 ? "1" : "3");
        db_walk_close(walk);
        assert_string_equal(sql_text(file->db, "PRAGMA synchronous"), "3");
    }
    db_table_free(table);
}

static void
the_time_of_a_write_is_told_without_the_wait_for_it(void **state)
{
    struct sqlite_file *file = *state;
    struct db_want want = wants("v", COFFER_TEXT, DB_GOAL_SEAL);
    struct coffer_error err = {0};
    struct db_table *table;
    struct db_batch *batch;
    struct db_walk *walk;

    assert_true(db_held_ms(file->db) == 0);
    sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)\n"
                      "INSERT INTO t VALUES (1,'a')");
    table = table_of(file->db, "t");
    walk = walk_of(file->db, table, &want, 1);
    batch = batch_of(walk);
    seal_rows(batch);
    assert_int_equal(write_of(walk, batch, &err), COFFER_OK);
    assert_true(db_held_ms(file->db) > 0);
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
}

static void
a_missing_column_is_said(void **state)
{
    struct sqlite_file *file = *state;
    struct coffer_error err = {0};
    struct db_want want = wants("gone", COFFER_TEXT, DB_GOAL_SEAL);
    struct db_walk *walk = NULL;
    struct db_table *table;

    sql_run(file->db, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)");
    table = table_of(file->db, "t");
    assert_int_equal(db_walk_open(file->db, table, &want, 1, &walk, &err), COFFER_E_NOTFOUND);
    assert_null(walk);
    assert_non_null(strstr(err.message, "gone"));
    db_table_free(table);
}

#define WITH_FILE(test)                                                                            \
    cmocka_unit_test_setup_teardown(test, sqlite_file_setup, sqlite_file_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILE(every_value_comes_back_or_is_left),
        WITH_FILE(a_change_in_between_is_never_overwritten),
        WITH_FILE(gone_and_renumbered_rows_have_moved),
        WITH_FILE(one_changed_cell_holds_the_row),
        WITH_FILE(mangling_triggers_are_named),
        WITH_FILE(harmless_triggers_do_not_stop_it),
        WITH_FILE(a_full_disk_changes_nothing),
        WITH_FILE(a_writer_elsewhere_is_a_conflict),
        WITH_FILE(no_lock_is_held_between_read_and_write),
        WITH_FILE(the_guard_is_asked_first),
        WITH_FILE(chunks_visit_every_row_once),
        WITH_FILE(places_are_stored_bytes),
        WITH_FILE(finished_rows_are_not_read_again),
        WITH_FILE(a_companion_goes_there_and_back),
        WITH_FILE(a_companion_row_changed_on_either_side_has_moved),
        WITH_FILE(text_form_gives_both_readings),
        WITH_FILE(in_wal_mode_only_the_walk_leaves_the_disk_to_later),
        WITH_FILE(the_time_of_a_write_is_told_without_the_wait_for_it),
        WITH_FILE(a_missing_column_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
