/* SPDX-License-Identifier: Apache-2.0 */
/* The PostgreSQL adapter against a server of its own (tests/support/pg_cluster.sh run).  Each test
 * uses tables of its own. */
#include "support/test.h"

#include "base/mem.h"
#include "db/db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OLD_KEY 0x0a0b0c0dU
#define NEW_KEY 0x01020304U

static struct coffer_error err;

#define OK(call) assert_ok((call), #call, __LINE__)
static void
assert_ok(int rc, const char *what, int line)
{
    if (rc != COFFER_OK)
        fail_msg("line %d: %s: %d %s", line, what, rc, err.message);
}

static struct db *
open_url(const char *variable)
{
    struct db *db = NULL;

    OK(db_open(getenv(variable), false, NULL, &db, &err));
    return db;
}

static void
run(struct db *db, const char *sql)
{
    OK(db_run(db, sql, NULL, 0, NULL, &err));
}

static int64_t
number(struct db *db, const char *sql)
{
    struct db_result *result = NULL;
    int64_t v;

    OK(db_run(db, sql, NULL, 0, &result, &err));
    assert_true(result->rows == 1 && result->columns == 1);
    v = result->cells[0].i64;
    db_result_free(result);
    return v;
}

/* A well-shaped envelope under `key`; the adapter never opens one. */
static void
envelope(uint32_t key, uint8_t filler, uint8_t out[64])
{
    memset(out, filler, 64);
    out[0] = 0xF9;
    out[1] = 1;
    out[2] = 1;
    out[3] = COFFER_TEXT;
    put_be32(out + 4, key);
}

struct fixture {
    struct db *db, *second;
};

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->db = open_url("COFFER_TEST_PG");
    f->second = open_url("COFFER_TEST_PG");
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    db_close(f->db);
    db_close(f->second);
    free(f);
    return 0;
}

static struct db_table *
open_table(struct db *db, const char *name)
{
    struct db_table *table = NULL;

    OK(db_table_open(db, name, &table, &err));
    return table;
}

/* Seal every cell of column v of a table into its companion and back; the stored bytes must be what
 * they were. */
static void
round_trip(struct db *db, const char *table_name, int type, bool by_key)
{
    struct db_want want = {.cell = {.plain = "v", .sealed = "v_sealed", .type = type},
                           .goal = DB_GOAL_SEAL,
                           .target_key = NEW_KEY};
    struct db_table *table = open_table(db, table_name);
    struct db_walk *walk = NULL;
    struct db_batch *batch = NULL;
    struct coffer_value kept[64];
    uint8_t *copies[64] = {0}, sealed[64][64];
    size_t i, n;
    char sql[400];

    assert_int_equal(table->key_kind, by_key ? DB_KEY_PRIMARY : DB_KEY_ROWID);
    snprintf(sql, sizeof sql, "DROP TABLE IF EXISTS before_walk");
    run(db, sql);
    snprintf(sql, sizeof sql, "CREATE TABLE before_walk AS SELECT * FROM %s", table_name);
    run(db, sql);
    OK(db_phase_apply(db, table, &want.cell, COFFER_OFF, COFFER_SEALED, &err));
    OK(db_walk_open(db, table, &want, 1, &walk, &err));
    OK(db_walk_read(walk, NULL, NULL, 64, &batch, &err));
    n = batch->count;
    assert_true(n > 0 && n < 64);
    for (i = 0; i < n; i++) {
        struct db_cell *cell = &batch->rows[i].cells[0];

        assert_false(cell->plain_unsuitable);
        assert_int_equal(cell->plain.type, type);
        kept[i] = cell->plain;
        if (kept[i].data != NULL) {
            copies[i] = malloc(kept[i].len + 1);
            memcpy(copies[i], kept[i].data, kept[i].len);
            kept[i].data = copies[i];
        }
        envelope(NEW_KEY, (uint8_t)i, sealed[i]);
        cell->set_plain = cell->set_sealed = true;
        cell->new_sealed = bytes_of(sealed[i], 64);
    }
    OK(db_walk_write(walk, batch, NULL, 0, "r1", &err));
    for (i = 0; i < n; i++)
        assert_int_equal(batch->rows[i].outcome, DB_ROW_DONE);
    db_batch_free(batch);
    OK(db_walk_read(walk, NULL, NULL, 64, &batch, &err));
    assert_int_equal(batch->count, 0); /* nothing needs work any more */
    assert_true(batch->end);
    db_batch_free(batch);
    db_walk_close(walk);

    want.goal = DB_GOAL_PLAIN;
    OK(db_walk_open(db, table, &want, 1, &walk, &err));
    OK(db_walk_read(walk, NULL, NULL, 64, &batch, &err));
    assert_int_equal(batch->count, n);
    for (i = 0; i < n; i++) {
        struct db_cell *cell = &batch->rows[i].cells[0];

        cell->set_plain = cell->set_sealed = true;
        cell->new_plain = kept[cell->sealed.ptr[20]]; /* the filler says whose it is */
    }
    OK(db_walk_write(walk, batch, NULL, 0, "r1", &err));
    for (i = 0; i < n; i++)
        assert_int_equal(batch->rows[i].outcome, DB_ROW_DONE);
    db_batch_free(batch);
    db_walk_close(walk);
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM %s a JOIN before_walk b USING (id) WHERE a.v::text COLLATE "
             "\"C\" IS DISTINCT FROM b.v::text COLLATE \"C\"",
             table_name);
    assert_int_equal(number(db, sql), 0);
    for (i = 0; i < n; i++)
        free(copies[i]);
    OK(db_phase_apply(db, table, &want.cell, COFFER_SEALED, COFFER_OFF, &err));
    db_table_free(table);
    run(db, "DROP TABLE before_walk");
}

static void
every_type_goes_there_and_back(void **state)
{
    static const struct {
        const char *sql_type, *values;
        int type;
    } cases[] = {
        {"boolean", "(true), (false)", COFFER_BOOL},
        {"int2", "(-32768), (7), (32767)", COFFER_INT64},
        {"int4", "(-2147483648), (0), (2147483647)", COFFER_INT64},
        {"int8", "(-9223372036854775808), (9223372036854775807)", COFFER_INT64},
        {"float4", "(0.1), ('-0'), ('infinity'), (3.4e38), (1e-45), ('NaN')", COFFER_FLOAT64},
        {"float8", "(0.1), ('-0'), (5e-324), ('NaN')", COFFER_FLOAT64},
        {"numeric",
         "(1.50), (-0.00), (10000), (0.0001), (123456789012345678901234567890.123456789), ('NaN'), "
         "('Infinity'),"
         " ('-Infinity'), (0.00001000), (99990000.5), (-12), (0), (100000000)",
         COFFER_NUMERIC},
        {"numeric(12,2)", "(1.5), (-99999.99)", COFFER_NUMERIC},
        {"text", "(''), ('a''b\\c'), (U&'\\00e9'), (repeat('x', 20000))", COFFER_TEXT},
        {"varchar(10)", "(''), ('0123456789')", COFFER_TEXT},
        {"char(5)", "('ab'), ('abcde')", COFFER_TEXT},
        {"citext", "('Bob'), ('bob'), ('')", COFFER_TEXT},
        {"bytea", "(''), ('\\x00ff'), ('\\xf9')", COFFER_BYTES},
        {"date", "('2020-02-29'), ('infinity'), ('-infinity'), ('4713-01-01 BC')", COFFER_DATE},
        {"timestamp", "('1999-12-31 23:59:59.999999'), ('infinity')", COFFER_TIMESTAMP},
        {"timestamptz", "('2024-03-31 02:30:00+02'), ('-infinity')", COFFER_TIMESTAMP},
        {"uuid", "('00112233-4455-6677-8899-aabbccddeeff')", COFFER_UUID},
        {"json", "('{\"a\": 1,  \"b\":[1.50,null]}'), ('\"x\"')", COFFER_JSON},
        {"jsonb", "('{\"b\": 1, \"a\": [1.50, null]}'), ('null')", COFFER_JSON},
    };
    struct fixture *f = *state;
    char sql[1000];
    size_t i;

    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        run(f->db, "DROP TABLE IF EXISTS typed");
        snprintf(sql, sizeof sql,
                 "CREATE TABLE typed (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v %s)",
                 cases[i].sql_type);
        run(f->db, sql);
        snprintf(sql, sizeof sql, "INSERT INTO typed (v) VALUES %s", cases[i].values);
        run(f->db, sql);
        print_message("  type %s\n", cases[i].sql_type);
        round_trip(f->db, "typed", cases[i].type, true);
    }
    run(f->db, "DROP TABLE typed");
}

static void
a_table_without_a_key_is_walked_by_address(void **state)
{
    struct fixture *f = *state;

    run(f->db, "CREATE TABLE keyless (id int, v text)");
    run(f->db, "INSERT INTO keyless SELECT n, 'v' || n FROM generate_series(1, 50) n");
    round_trip(f->db, "keyless", COFFER_TEXT, false);
    run(f->db, "DROP TABLE keyless");
}

static const struct db_cell_spec SSN = {
    .plain = "ssn", .sealed = "ssn_sealed", .type = COFFER_TEXT};

/* people(id, ssn) with `extra` columns or constraints, protected up to `phase`. */
static struct db_table *
people(struct fixture *f, const char *definition, const char *rows, int phase)
{
    struct db_table *table;
    char sql[600];

    run(f->db, "DROP TABLE IF EXISTS people CASCADE");
    snprintf(sql, sizeof sql, "CREATE TABLE people (%s)", definition);
    run(f->db, sql);
    snprintf(sql, sizeof sql, "INSERT INTO people VALUES %s", rows);
    run(f->db, sql);
    table = open_table(f->db, "public.people");
    OK(db_phase_apply(f->db, table, &SSN, COFFER_OFF, phase, &err));
    db_table_free(table); /* it has another column now */
    return open_table(f->db, "public.people");
}

/* Read what needs sealing and fill in envelopes under NEW_KEY. */
static void
read_and_seal(struct db_walk *walk, uint8_t sealed[64], struct db_batch **batch)
{
    size_t i;

    envelope(NEW_KEY, 1, sealed);
    OK(db_walk_read(walk, NULL, NULL, 100, batch, &err));
    for (i = 0; i < (*batch)->count; i++) {
        (*batch)->rows[i].cells[0].set_sealed = true;
        (*batch)->rows[i].cells[0].new_sealed = bytes_of(sealed, 64);
    }
}

static struct db_walk *
open_walk(struct db *db, const struct db_table *table, struct db_want *want, enum db_goal goal)
{
    struct db_walk *walk = NULL;

    *want = (struct db_want){.cell = SSN, .goal = goal, .target_key = NEW_KEY};
    OK(db_walk_open(db, table, want, 1, &walk, &err));
    return walk;
}

/* 'bob' and 'Bob' are equal to citext: an edit between reading and writing must not be overwritten.
 * (T) */
static void
an_edit_that_only_bytes_can_tell_is_seen(void **state)
{
    struct fixture *f = *state;
    static const char *const types[] = {"citext", "text COLLATE blind", "numeric"};
    size_t i;

    run(f->db, "CREATE COLLATION IF NOT EXISTS blind (provider = icu, locale = 'und-u-ks-level2', "
               "deterministic = false)");
    for (i = 0; i < 3; i++) {
        uint8_t sealed[64];
        char definition[100];
        struct db_want want;
        struct db_batch *batch;
        struct db_walk *walk;
        struct db_table *table;

        snprintf(definition, sizeof definition, "id int PRIMARY KEY, ssn %s", types[i]);
        table = people(f, definition, i == 2 ? "(1, 1.0)" : "(1, 'bob')", COFFER_SHADOW);
        want = (struct db_want){.cell = SSN, .goal = DB_GOAL_SEAL_BESIDE, .target_key = NEW_KEY};
        want.cell.type = i == 2 ? COFFER_NUMERIC : COFFER_TEXT;
        OK(db_walk_open(f->db, table, &want, 1, &walk, &err));
        read_and_seal(walk, sealed, &batch);
        assert_int_equal(batch->count, 1);
        run(f->second, i == 2 ? "UPDATE people SET ssn = 1.00" : "UPDATE people SET ssn = 'Bob'");
        OK(db_walk_write(walk, batch, NULL, 0, "r", &err));
        assert_int_equal(batch->rows[0].outcome, DB_ROW_MOVED);
        assert_int_equal(number(f->db, "SELECT count(*) FROM people WHERE ssn_sealed IS NOT NULL"),
                         0);
        db_batch_free(batch);
        db_walk_close(walk);
        db_table_free(table);
    }
}

static void
a_trigger_that_rewrites_is_named_and_nothing_is_written(void **state)
{
    struct fixture *f = *state;
    struct db_table *table =
        people(f, "id int PRIMARY KEY, ssn text", "(1, 'A'), (2, 'B')", COFFER_SHADOW);
    struct db_want want;
    struct db_walk *walk = open_walk(f->db, table, &want, DB_GOAL_SEAL_BESIDE);
    struct db_batch *batch;
    uint8_t sealed[64];

    run(f->db, "CREATE OR REPLACE FUNCTION mangle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF "
               "NEW.id = 2 THEN NEW.ssn_sealed :="
               " ''\\x00''; END IF; RETURN NEW; END'");
    run(f->db,
        "CREATE TRIGGER zz_lower BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION mangle()");
    read_and_seal(walk, sealed, &batch);
    assert_int_equal(db_walk_write(walk, batch, NULL, 0, "r", &err), COFFER_E_MANGLED);
    assert_non_null(strstr(err.message, "zz_lower"));
    assert_int_equal(number(f->db, "SELECT count(*) FROM people WHERE ssn_sealed IS NOT NULL"), 0);
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
}

static void
a_locked_row_is_skipped_and_the_rest_is_written(void **state)
{
    struct fixture *f = *state;
    struct db_table *table =
        people(f, "id int PRIMARY KEY, ssn text", "(1, 'A'), (2, 'B'), (3, 'C')", COFFER_SHADOW);
    struct db_want want;
    struct db_walk *walk = open_walk(f->db, table, &want, DB_GOAL_SEAL_BESIDE);
    struct db_batch *batch;
    uint8_t sealed[64];

    read_and_seal(walk, sealed, &batch);
    OK(db_begin(f->second, DB_TXN_WRITE, &err));
    run(f->second, "SELECT * FROM people WHERE id = 2 FOR UPDATE");
    OK(db_walk_write(walk, batch, NULL, 0, "r", &err)); /* a wait would end in a lock timeout */
    assert_int_equal(batch->rows[0].outcome, DB_ROW_DONE);
    assert_int_equal(batch->rows[1].outcome, DB_ROW_MOVED);
    assert_int_equal(batch->rows[2].outcome, DB_ROW_DONE);
    db_batch_free(batch);
    /* Taken alone it waits as long as it may, and no longer. */
    read_and_seal(walk, sealed, &batch);
    assert_int_equal(batch->count, 1);
    OK(db_walk_write(walk, batch, NULL, 50, "r", &err));
    assert_int_equal(batch->rows[0].outcome, DB_ROW_MOVED);
    db_rollback(f->second);
    OK(db_walk_write(walk, batch, NULL, 50, "r", &err));
    assert_int_equal(batch->rows[0].outcome, DB_ROW_DONE);
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
}

static void
a_guard_without_a_row_and_a_rehearsal_write_nothing(void **state)
{
    struct fixture *f = *state;
    struct db_table *table = people(f, "id int PRIMARY KEY, ssn text", "(1, 'A')", COFFER_SHADOW);
    struct db_guard guard = {.sql = "SELECT 1 WHERE false"},
                    rehearsal = {.sql = "SELECT 1", .rehearse = true};
    struct db_want want;
    struct db_walk *walk = open_walk(f->db, table, &want, DB_GOAL_SEAL_BESIDE);
    struct db_batch *batch;
    uint8_t sealed[64];

    read_and_seal(walk, sealed, &batch);
    assert_int_equal(db_walk_write(walk, batch, &guard, 0, "r", &err), COFFER_E_CANCELLED);
    assert_int_equal(batch->rows[0].outcome, DB_ROW_MOVED);
    OK(db_walk_write(walk, batch, &rehearsal, 0, "r", &err));
    assert_int_equal(batch->rows[0].outcome, DB_ROW_DONE);
    assert_int_equal(number(f->db, "SELECT count(*) FROM people WHERE ssn_sealed IS NOT NULL"), 0);
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
}

/* The fence refuses what a late worker writes; that it is late is what it must be told, not that the rows are busy. */
static void
a_late_worker_at_the_fence_is_told_that_it_is_late(void **state)
{
    static const uint32_t refused[] = {NEW_KEY};
    struct fixture *f = *state;
    struct db_table *table = people(f, "id int PRIMARY KEY, ssn text", "(1, 'A')", COFFER_SHADOW);
    struct db_fence fence = {.cell = SSN, .refused = refused, .refused_count = 1};
    struct db_guard late = {.sql = "SELECT 1 WHERE false"}, in_time = {.sql = "SELECT 1"};
    struct db_want want;
    struct db_walk *walk = open_walk(f->db, table, &want, DB_GOAL_SEAL_BESIDE);
    struct db_batch *batch;
    uint8_t sealed[64];

    OK(db_fence_set(f->second, table, &fence, 1, &err));
    read_and_seal(walk, sealed, &batch);
    assert_int_equal(db_walk_write(walk, batch, &late, 0, "r", &err), COFFER_E_CANCELLED);
    assert_int_equal(db_walk_write(walk, batch, &in_time, 0, "r", &err), COFFER_E_CONFLICT);
    assert_int_equal(number(f->db, "SELECT count(*) FROM people WHERE ssn_sealed IS NOT NULL"), 0);
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
}

/* In shadow an unaware UPDATE of the plaintext empties the companion; one that brings a fresh
 * envelope keeps it. */
static void
the_shadow_trigger_drops_an_outdated_envelope(void **state)
{
    struct fixture *f = *state;
    struct db_table *table =
        people(f, "id int PRIMARY KEY, ssn text NOT NULL", "(1, 'A')", COFFER_DUAL);

    run(f->db, "UPDATE people SET ssn_sealed = '\\xf901'");
    run(f->db, "UPDATE people SET ssn = 'B'");
    assert_int_equal(number(f->db, "SELECT count(*) FROM people WHERE ssn_sealed IS NULL"), 1);
    run(f->db, "UPDATE people SET ssn = NULL, ssn_sealed = '\\xf902'");
    assert_int_equal(number(f->db, "SELECT count(*) FROM people WHERE ssn_sealed = '\\xf902'"), 1);
    /* NOT NULL has moved over: not both may be NULL. */
    assert_int_equal(db_run(f->db, "UPDATE people SET ssn_sealed = NULL", NULL, 0, NULL, &err),
                     COFFER_E_DB);
    db_table_free(table);
}

static const uint32_t REFUSED[] = {OLD_KEY};

static void
insert_sealed(struct db *db, int64_t id, uint32_t key, int expected)
{
    uint8_t sealed[64];
    struct coffer_value params[2] = {{.type = COFFER_INT64, .i64 = id},
                                     {.type = COFFER_BYTES, .data = sealed, .len = 64}};

    envelope(key, (uint8_t)id, sealed);
    assert_int_equal(
        db_run(db, "INSERT INTO people (id, ssn_sealed) VALUES ($1, $2)", params, 2, NULL, &err),
        expected);
}

/* Also under session_replication_role = replica, which passes ordinary triggers. (T) */
static void
the_fence_refuses_old_keys_and_plaintext(void **state)
{
    struct fixture *f = *state;
    struct db *super = open_url("COFFER_TEST_PG_SUPER");
    struct db_fence fence = {
        .cell = SSN, .refused = REFUSED, .refused_count = 1, .refuse_plaintext = true};
    struct db_table *table =
        people(f, "id int PRIMARY KEY, ssn text, note text", "(1, 'A')", COFFER_SEALED);

    insert_sealed(f->db, 2, OLD_KEY, COFFER_OK);
    OK(db_fence_set(f->db, table, &fence, 1, &err));
    insert_sealed(f->db, 3, OLD_KEY, COFFER_E_CONFLICT);
    assert_non_null(strstr(err.message, "reload the row"));
    assert_non_null(strstr(err.message, "40001"));
    insert_sealed(f->db, 4, NEW_KEY, COFFER_OK);
    assert_int_equal(db_run(f->db, "INSERT INTO people VALUES (5, 'plain')", NULL, 0, NULL, &err),
                     COFFER_E_DB);
    assert_non_null(strstr(err.message, "23514"));
    run(f->db,
        "UPDATE people SET note = 'other column'"); /* rows not drained yet may still be used */
    run(super, "SET session_replication_role = replica");
    insert_sealed(super, 6, OLD_KEY, COFFER_E_CONFLICT);
    OK(db_fence_set(f->db, table, NULL, 0, &err));
    insert_sealed(f->db, 7, OLD_KEY, COFFER_OK);
    db_close(super);
    db_table_free(table);
}

/* NOT VALID, a violating row, dropped at once; after the sweep it holds.  And the count does not
 * believe it. (T) */
static void
the_constraint_is_dropped_when_a_row_violates_it(void **state)
{
    struct fixture *f = *state;
    struct db_fence fence = {
        .cell = SSN, .refused = REFUSED, .refused_count = 1, .refuse_plaintext = true};
    struct db_table *table = people(f, "id int PRIMARY KEY, ssn text", "(1, NULL)", COFFER_SEALED);
    char name[DB_NAME_MAX];
    struct db_count *count = NULL;

    insert_sealed(f->db, 2, OLD_KEY, COFFER_OK);
    assert_int_equal(db_fence_constrain(f->db, table, &fence, name, &err), COFFER_E_CONFLICT);
    assert_int_equal(
        number(f->db, "SELECT count(*) FROM pg_constraint WHERE conname LIKE 'coffer_fence%'"), 0);
    OK(db_count(f->db, table, &SSN, &count, &err));
    assert_int_equal(count->rows, 2);
    assert_int_equal(count->nulls, 1);
    assert_int_equal(count->key_count, 1);
    assert_int_equal(count->keys[0].key_id, OLD_KEY);
    db_count_free(count);
    run(f->db, "DELETE FROM people WHERE id = 2");
    OK(db_fence_constrain(f->db, table, &fence, name, &err));
    assert_int_equal(number(f->db, "SELECT count(*) FROM pg_constraint WHERE conname LIKE "
                                   "'coffer_fence%' AND convalidated"),
                     1);
    OK(db_fence_constrain(f->db, table, &fence, name, &err)); /* again: nothing to do */
    insert_sealed(f->db, 3, OLD_KEY, COFFER_E_DB);
    OK(db_fence_unconstrain(f->db, table, &fence, &err));
    insert_sealed(f->db, 3, OLD_KEY, COFFER_OK);
    db_table_free(table);
}

static void
a_constraint_waits_for_an_older_transaction_and_says_whose(void **state)
{
    struct fixture *f = *state;
    struct db_fence fence = {.cell = SSN, .refused = REFUSED, .refused_count = 1};
    struct db_table *table = people(f, "id int PRIMARY KEY, ssn text", "(1, NULL)", COFFER_SEALED);
    char name[DB_NAME_MAX];

    OK(db_begin(f->second, DB_TXN_SNAPSHOT, &err));
    run(f->second, "SELECT * FROM people");
    assert_int_equal(db_fence_constrain(f->db, table, &fence, name, &err), COFFER_E_NOTYET);
    assert_non_null(strstr(err.message, "pid "));
    db_rollback(f->second);
    OK(db_fence_constrain(f->db, table, &fence, name, &err));
    db_table_free(table);
}

/* A planner that trusts a constraint would answer a proof without looking. (T) */
static void
a_count_looks_at_every_row_whatever_constraints_say(void **state)
{
    struct fixture *f = *state;
    struct db *super = open_url("COFFER_TEST_PG_SUPER");
    struct db_table *table = people(f, "id int PRIMARY KEY, ssn text", "(1, NULL)", COFFER_SEALED);
    struct db_count *count = NULL;

    insert_sealed(f->db, 2, OLD_KEY, COFFER_OK);
    run(f->db, "ALTER TABLE people ADD CONSTRAINT lies CHECK (ssn_sealed IS NULL) NOT VALID");
    run(super, "UPDATE pg_constraint SET convalidated = true WHERE conname = 'lies'");
    OK(db_count(f->db, table, &SSN, &count, &err));
    assert_int_equal(count->key_count, 1);
    assert_int_equal(count->keys[0].cells, 1);
    db_count_free(count);
    db_close(super);
    db_table_free(table);
}

static void
partitions_are_walked_and_fenced_through_the_parent(void **state)
{
    struct fixture *f = *state;
    struct db_fence fence = {.cell = SSN, .refused = REFUSED, .refused_count = 1};
    struct db_table *table;
    struct db_want want;
    struct db_walk *walk;
    struct db_batch *batch;
    char name[DB_NAME_MAX];
    uint8_t sealed[64];

    run(f->db, "DROP TABLE IF EXISTS people CASCADE");
    run(f->db, "CREATE TABLE people (id int PRIMARY KEY, ssn text) PARTITION BY RANGE (id)");
    run(f->db, "CREATE TABLE people_1 PARTITION OF people FOR VALUES FROM (0) TO (10)");
    run(f->db, "CREATE TABLE people_2 PARTITION OF people FOR VALUES FROM (10) TO (20)");
    run(f->db, "INSERT INTO people VALUES (1, 'a'), (11, 'b')");
    table = open_table(f->db, "people");
    assert_true(table->partitioned);
    OK(db_phase_apply(f->db, table, &SSN, COFFER_OFF, COFFER_SHADOW, &err));
    walk = open_walk(f->db, table, &want, DB_GOAL_SEAL_BESIDE);
    read_and_seal(walk, sealed, &batch);
    assert_int_equal(batch->count, 2);
    OK(db_walk_write(walk, batch, NULL, 0, "r", &err));
    assert_int_equal(batch->rows[0].outcome, DB_ROW_DONE);
    assert_int_equal(batch->rows[1].outcome, DB_ROW_DONE);
    OK(db_fence_set(f->db, table, &fence, 1, &err));
    insert_sealed(f->db, 12, OLD_KEY, COFFER_E_CONFLICT);
    OK(db_fence_constrain(f->db, table, &fence, name, &err));
    assert_int_equal(number(f->db, "SELECT count(*) FROM pg_constraint WHERE conname LIKE "
                                   "'coffer_fence%' AND convalidated"),
                     3);
    assert_int_equal(number(f->db, "SELECT count(*) FROM pg_trigger WHERE tgname = "
                                   "'coffer_zzz_fence' AND tgenabled = 'A'"),
                     3);
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
}

/* A role from whom policies hide rows must get an error, never a walk or a proof with gaps. */
static void
hidden_rows_are_an_error(void **state)
{
    struct fixture *f = *state;
    struct db_table *table = people(f, "id int PRIMARY KEY, ssn text", "(1, 'A')", COFFER_SHADOW);
    struct db_count *count = NULL;

    run(f->db, "ALTER TABLE people ENABLE ROW LEVEL SECURITY");
    run(f->db, "ALTER TABLE people FORCE ROW LEVEL SECURITY");
    assert_int_equal(db_count(f->db, table, &SSN, &count, &err), COFFER_E_DB);
    assert_non_null(strstr(err.message, "row-level security"));
    db_table_free(table);
}

static void
hostile_names_and_composite_text_keys_are_walked(void **state)
{
    struct fixture *f = *state;
    struct db_want want = {
        .cell = {.plain = "s'\"; DROP", .sealed = "s_sealed", .type = COFFER_TEXT},
        .goal = DB_GOAL_SEAL_BESIDE,
        .target_key = NEW_KEY};
    struct db_fence fence = {.cell = want.cell, .refused = REFUSED, .refused_count = 1};
    struct db_walk *walk = NULL;
    struct db_batch *batch = NULL;
    struct db_result *key = NULL;
    struct db_table *table;
    uint8_t sealed[64];
    char name[DB_NAME_MAX];
    bool found;

    run(f->db, "CREATE SCHEMA \"we.ird\"");
    run(f->db, "CREATE TABLE \"we.ird\".\"ta$f$b'l\"\"e\" (\"k\"\"1\" text, k2 int2, \"s'\"\"; "
               "DROP\" text, PRIMARY KEY (\"k\"\"1\", k2))");
    run(f->db, "INSERT INTO \"we.ird\".\"ta$f$b'l\"\"e\" SELECT chr(65 + n), n, 'x' FROM "
               "generate_series(1, 9) n");
    table = open_table(f->db, "we.ird.ta$f$b'l\"e");
    assert_int_equal(table->key_count, 2);
    OK(db_phase_apply(f->db, table, &want.cell, COFFER_OFF, COFFER_DUAL, &err));
    OK(db_walk_open(f->db, table, &want, 1, &walk, &err));
    OK(db_walk_bound(walk, NULL, 4, &key, &found, &err));
    assert_true(found);
    OK(db_walk_read(walk, key->cells, NULL, 3, &batch, &err));
    assert_int_equal(batch->count, 3);
    assert_int_equal(batch->rows[0].key[1].i64, 5);
    db_batch_free(batch);
    OK(db_walk_read(walk, NULL, key->cells, 100, &batch, &err));
    assert_int_equal(batch->count, 4);
    db_batch_free(batch);
    read_and_seal(walk, sealed, &batch);
    OK(db_walk_write(walk, batch, NULL, 0, "r'\"", &err));
    assert_int_equal(batch->rows[8].outcome, DB_ROW_DONE);
    OK(db_fence_set(f->db, table, &fence, 1, &err));
    OK(db_fence_constrain(f->db, table, &fence, name, &err));
    db_result_free(key);
    db_batch_free(batch);
    db_walk_close(walk);
    db_table_free(table);
    run(f->db, "DROP SCHEMA \"we.ird\" CASCADE");
}

/* A REPEATABLE READ session still reads what was there before a complete proof. (T) */
static void
a_mark_has_not_passed_while_an_older_snapshot_reads(void **state)
{
    struct fixture *f = *state;
    struct db_mark mark;

    OK(db_begin(f->second, DB_TXN_SNAPSHOT, &err));
    run(f->second, "SELECT 1");
    run(f->db, "CREATE TABLE IF NOT EXISTS ticks (n int)");
    run(f->db, "INSERT INTO ticks VALUES (1)"); /* takes a transaction id, as every drain does */
    OK(db_mark_now(f->db, &mark, &err));
    assert_int_equal(db_mark_passed(f->db, &mark, &err), COFFER_E_NOTYET);
    assert_non_null(strstr(err.message, "session"));
    db_rollback(f->second);
    OK(db_mark_passed(f->db, &mark, &err));
}

/* The snapshot of a session of another role shows to an ordinary one. */
static void
a_mark_sees_the_snapshots_of_other_roles(void **state)
{
    struct fixture *f = *state;
    struct db *super = open_url("COFFER_TEST_PG_SUPER");
    struct db_mark mark;

    OK(db_begin(super, DB_TXN_SNAPSHOT, &err));
    run(super, "SELECT 1");
    run(f->db, "CREATE TABLE IF NOT EXISTS ticks (n int)");
    run(f->db, "INSERT INTO ticks VALUES (1)");
    OK(db_mark_now(f->db, &mark, &err));
    assert_int_equal(db_mark_passed(f->db, &mark, &err), COFFER_E_NOTYET);
    db_close(super);
}

static void
the_catalog_installs_twice_and_its_functions_recognise_envelopes(void **state)
{
    struct fixture *f = *state;
    bool present = false;

    OK(db_catalog_install(f->db, &err));
    OK(db_catalog_install(f->db, &err));
    OK(db_catalog_present(f->db, &present, &err));
    assert_true(present);
    assert_int_equal(
        number(
            f->db,
            "SELECT coffer.is_sealed(decode('f9010102' || '0a0b0c0d' || repeat('11', 40), 'hex'))"),
        1);
    assert_int_equal(
        number(
            f->db,
            "SELECT coffer.is_sealed(decode('f9010102' || '0a0b0c0d' || repeat('11', 39), 'hex'))"),
        0);
    assert_int_equal(
        number(
            f->db,
            "SELECT coffer.is_sealed(decode('f9010302' || '0a0b0c0d' || repeat('11', 40), 'hex'))"),
        0);
    assert_int_equal(number(f->db, "SELECT coffer.key_id(decode('f9010102' || '0a0b0c0d' || "
                                   "repeat('11', 40), 'hex')) = '\\x0a0b0c0d'"),
                     1);
#define TEXT_FORM                                                                                  \
    "'cfr1.0a0b0c0d.' || translate(encode(decode('f9010102' || '0a0b0c0d' || repeat('11', 40), "   \
    "'hex'), 'base64'), '+/=' || chr(10), '-_')"
    assert_int_equal(number(f->db, "SELECT coffer.is_sealed(" TEXT_FORM ")"), 1);
    assert_int_equal(
        number(f->db, "SELECT coffer.is_sealed(replace(" TEXT_FORM ", 'cfr1.0a', 'cfr1.0b'))"), 0);
    assert_int_equal(number(f->db, "SELECT coffer.is_sealed(" TEXT_FORM " || 'A')"), 0);
    assert_int_equal(number(f->db, "SELECT coffer.key_id('cfr1.hello') IS NULL"), 1);
}

static int
collect_find(void *arg, const struct db_find *find, struct coffer_error *e)
{
    struct buf *out = arg;

    buf_format(out, "%s=%llu/%08x%s;", find->column, (unsigned long long)find->count, find->key_id,
               find->unreadable ? "!" : "");
    return COFFER_OK;
}

static void
unregistered_envelopes_are_found_wherever_they_hide(void **state)
{
    static const char *const known[] = {"public.people.ssn_sealed"};
    struct fixture *f = *state;
    struct db *super = open_url("COFFER_TEST_PG_SUPER");
    struct db_table *table = people(f, "id int PRIMARY KEY, ssn text", "(1, NULL)", COFFER_SEALED);
    struct buf found;

    insert_sealed(f->db, 2, OLD_KEY, COFFER_OK);
    run(f->db,
        "CREATE TABLE stash (id int, b bytea, j jsonb, x xml, h hstore, a bytea[], d text[])");
    run(f->db,
        "INSERT INTO stash SELECT 1, e, jsonb_build_object('k', t), NULL, hstore('k', t), "
        "ARRAY[e], ARRAY[t] FROM"
        " (SELECT decode('f9010102' || '0a0b0c0d' || repeat('11', 40), 'hex') AS e, " TEXT_FORM
        " AS t) s");
    run(super, "CREATE TABLE IF NOT EXISTS private_notes (n text)");
    buf_init(&found, 65536);
    OK(db_find_envelopes(f->db, known, 1, collect_find, &found, &err));
    assert_non_null(strstr(buf_cstr(&found), "public.stash.b=1/0a0b0c0d;"));
    assert_non_null(strstr(buf_cstr(&found), "public.stash.j=1/0a0b0c0d;"));
    assert_non_null(strstr(buf_cstr(&found), "public.stash.h=1/0a0b0c0d;"));
    assert_non_null(strstr(buf_cstr(&found), "public.stash.a=1/0a0b0c0d;"));
    assert_non_null(strstr(buf_cstr(&found), "public.stash.d=1/0a0b0c0d;"));
    assert_non_null(strstr(buf_cstr(&found), "public.private_notes.n=0/00000000!;"));
    assert_null(strstr(buf_cstr(&found), "people.ssn_sealed"));
    buf_wipe(&found);
    run(f->db, "DROP TABLE stash");
    run(super, "DROP TABLE private_notes");
    db_close(super);
    db_table_free(table);
}

static bool
has_obstacle(const struct db_obstacles *list, char severity, const char *kind, const char *object)
{
    size_t i;

    for (i = 0; i < list->count; i++) {
        if (list->items[i].severity == severity && strcmp(list->items[i].kind, kind) == 0 &&
            strcmp(list->items[i].object, object) == 0)
            return true;
    }
    return false;
}

static void
obstacles_are_listed_with_what_they_mean(void **state)
{
    struct fixture *f = *state;
    struct db_obstacles list;
    struct db_table *table;

    run(f->db, "DROP TABLE IF EXISTS people CASCADE");
    run(f->db, "CREATE TABLE people (id int PRIMARY KEY, ssn varchar(11) DEFAULT 'x' CHECK "
               "(length(ssn) < 12) UNIQUE,"
               " g text GENERATED ALWAYS AS (lower(ssn)) STORED)");
    run(f->db, "CREATE INDEX by_ssn ON people (lower(ssn))");
    run(f->db, "CREATE VIEW shown AS SELECT ssn FROM people");
    run(f->db, "CREATE MATERIALIZED VIEW copied AS SELECT ssn FROM people");
    run(f->db, "CREATE TABLE refers (s varchar(11) REFERENCES people (ssn))");
    table = open_table(f->db, "people");
    OK(db_obstacles(f->db, table, &SSN, &list, &err));
    assert_true(has_obstacle(&list, 'r', "default", "ssn"));
    assert_true(has_obstacle(&list, 'r', "generated", "g"));
    assert_true(has_obstacle(&list, 'r', "unique", "people_ssn_key"));
    assert_true(has_obstacle(&list, 'r', "foreign-key", "refers_s_fkey"));
    assert_true(has_obstacle(&list, 'w', "check", "people_ssn_check"));
    assert_true(has_obstacle(&list, 'w', "index", "by_ssn"));
    assert_true(has_obstacle(&list, 'w', "view", "shown"));
    assert_true(has_obstacle(&list, 'w', "copy", "copied"));
    db_obstacles_free(&list);
    db_table_free(table);
    run(f->db, "DROP TABLE people, refers CASCADE");
}

/* The session is ended at a statement: LOST, and the data is as it was. */
static void
a_lost_connection_is_said_and_leaves_the_data(void **state)
{
    struct fixture *f = *state;
    struct db_table *table = people(f, "id int PRIMARY KEY, ssn text", "(1, 'A')", COFFER_SHADOW);
    struct db_guard dies = {
        .sql = "SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())"};
    struct db *victim = open_url("COFFER_TEST_PG");
    struct db_want want;
    struct db_walk *walk = open_walk(victim, table, &want, DB_GOAL_SEAL_BESIDE);
    struct db_batch *batch, *none;
    struct db_count *count = NULL;
    struct db_mark mark;
    uint8_t sealed[64];

    read_and_seal(walk, sealed, &batch);
    assert_int_equal(db_walk_write(walk, batch, &dies, 0, "r", &err), COFFER_E_LOST);
    assert_int_equal(db_walk_read(walk, NULL, NULL, 1, &none, &err), COFFER_E_LOST);
    assert_int_equal(db_walk_write(walk, batch, NULL, 0, "r", &err), COFFER_E_LOST);
    assert_int_equal(db_fence_set(victim, table, NULL, 0, &err), COFFER_E_LOST);
    assert_int_equal(db_count(victim, table, &SSN, &count, &err), COFFER_E_LOST);
    assert_int_equal(db_mark_now(victim, &mark, &err), COFFER_E_LOST);
    assert_int_equal(db_commit(victim, &err), COFFER_E_LOST);
    assert_int_equal(db_run(victim, "SELECT 1", NULL, 0, NULL, &err), COFFER_E_LOST);
    assert_int_equal(number(f->db, "SELECT count(*) FROM people WHERE ssn_sealed IS NOT NULL"), 0);
    db_batch_free(batch);
    db_walk_close(walk);
    db_close(victim);
    db_table_free(table);
}

static int
count_rows(void *arg, const struct coffer_value *cells, size_t columns, struct coffer_error *e)
{
    int64_t *n = arg;

    assert_int_equal(columns, 2);
    assert_int_equal(cells[0].i64, ++*n);
    assert_memory_equal(cells[1].data, "127.0.0.1", 9);
    return *n == 500 ? COFFER_E_CANCELLED : COFFER_OK;
}

static void
a_stream_stops_when_it_is_told_and_shows_other_types_as_text(void **state)
{
    struct fixture *f = *state;
    int64_t n = 0;

    assert_int_equal(
        db_stream(f->db,
                  "SELECT g, '127.0.0.1'::inet FROM generate_series(1, 100000) g ORDER BY g;", NULL,
                  0, count_rows, &n, &err),
        COFFER_E_CANCELLED);
    assert_int_equal(n, 500);
    assert_int_equal(number(f->db, "SELECT 1"), 1); /* the connection is usable */
}

static void
an_error_ends_the_transaction(void **state)
{
    struct fixture *f = *state;

    OK(db_begin(f->db, DB_TXN_WRITE, &err));
    assert_int_equal(db_run(f->db, "SELECT 1 / 0", NULL, 0, NULL, &err), COFFER_E_DB);
    assert_int_equal(number(f->db, "SELECT 1"), 1);
    OK(db_begin(f->db, DB_TXN_WRITE, &err));
    OK(db_commit(f->db, &err));
}

/* Everything a worker does, through a pooler that gives each transaction another server connection.
 */
static void
a_pooler_in_transaction_mode_may_stand_between(void **state)
{
    struct fixture *f = *state;
    struct db_table *table =
        people(f, "id int PRIMARY KEY, ssn text", "(1, 'A'), (2, 'B')", COFFER_SHADOW);
    struct db_fence fence = {.cell = SSN, .refused = REFUSED, .refused_count = 1};
    struct db_want want;
    struct db_walk *walk;
    struct db_batch *batch;
    struct db_count *count;
    struct db *pooled;
    uint8_t sealed[64];
    int64_t n = 0;

    if (getenv("COFFER_TEST_PGBOUNCER") == NULL) {
        db_table_free(table);
        skip();
    }
    pooled = open_url("COFFER_TEST_PGBOUNCER");
    walk = open_walk(pooled, table, &want, DB_GOAL_SEAL_BESIDE);
    read_and_seal(walk, sealed, &batch);
    OK(db_walk_write(walk, batch, NULL, 0, "r", &err));
    assert_int_equal(batch->rows[1].outcome, DB_ROW_DONE);
    OK(db_fence_set(pooled, table, &fence, 1, &err));
    OK(db_count(pooled, table, &SSN, &count, &err));
    assert_int_equal(count->keys[0].cells, 2);
    (void)!db_stream(pooled, "SELECT g, '127.0.0.1'::inet FROM generate_series(1, 20) g ORDER BY g",
                     NULL, 0, count_rows, &n, &err);
    assert_int_equal(n, 20);
    db_count_free(count);
    db_batch_free(batch);
    db_walk_close(walk);
    db_close(pooled);
    db_table_free(table);
}

static void
the_rest_answers(void **state)
{
    struct fixture *f = *state;
    struct db_table *table = people(f, "id int PRIMARY KEY, ssn text", "(1, 'A')", COFFER_OFF);
    char incarnation[DB_NAME_MAX];
    struct db_load load;
    uint64_t size, written;
    size_t others;
    bool known;
    struct buf who;
    struct db_table *none;

    buf_init(&who, 4096);
    OK(db_incarnation(f->db, incarnation, &err));
    assert_int_equal(strncmp(incarnation, "postgresql/", 11), 0);
    OK(db_load(f->db, table, &load, &err));
    assert_true(load.wal_bytes > 0);
    OK(db_sizes(f->db, &size, &written, &err));
    assert_true(size > 1000000);
    OK(db_others(f->db, &known, &others, &who, &err));
    assert_true(known);
    OK(db_clean(f->db, table, false, &err));
    OK(db_clean(f->db, table, true, &err));
    assert_int_equal(db_table_open(f->db, "peopel", &none, &err), COFFER_E_NOTFOUND);
    assert_non_null(strstr(err.message, "people"));
    buf_wipe(&who);
    db_table_free(table);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(the_catalog_installs_twice_and_its_functions_recognise_envelopes),
        T(an_error_ends_the_transaction),
        T(a_stream_stops_when_it_is_told_and_shows_other_types_as_text),
        T(every_type_goes_there_and_back),
        T(a_table_without_a_key_is_walked_by_address),
        T(an_edit_that_only_bytes_can_tell_is_seen),
        T(a_trigger_that_rewrites_is_named_and_nothing_is_written),
        T(a_locked_row_is_skipped_and_the_rest_is_written),
        T(a_guard_without_a_row_and_a_rehearsal_write_nothing),
        T(a_late_worker_at_the_fence_is_told_that_it_is_late),
        T(the_shadow_trigger_drops_an_outdated_envelope),
        T(the_fence_refuses_old_keys_and_plaintext),
        T(the_constraint_is_dropped_when_a_row_violates_it),
        T(a_constraint_waits_for_an_older_transaction_and_says_whose),
        T(a_count_looks_at_every_row_whatever_constraints_say),
        T(partitions_are_walked_and_fenced_through_the_parent),
        T(hidden_rows_are_an_error),
        T(hostile_names_and_composite_text_keys_are_walked),
        T(a_mark_has_not_passed_while_an_older_snapshot_reads),
        T(a_mark_sees_the_snapshots_of_other_roles),
        T(unregistered_envelopes_are_found_wherever_they_hide),
        T(obstacles_are_listed_with_what_they_mean),
        T(a_lost_connection_is_said_and_leaves_the_data),
        T(a_pooler_in_transaction_mode_may_stand_between),
        T(the_rest_answers),
    };

    if (getenv("COFFER_TEST_PG") == NULL || getenv("COFFER_TEST_PG_SUPER") == NULL) {
        fprintf(
            stderr,
            "SKIPPED: COFFER_TEST_PG is not set; run through tests/support/pg_cluster.sh run\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
